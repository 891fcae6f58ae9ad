//! Several processes on one database server, with one directory of objects and one master key.
//!
//! `INBOX_NODES_MESSAGES` sets how many messages the proof with three processes submits; the README names the
//! long run.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Inbox, PASSWORD, eventually, free_port, have};
use crate::scripted::{Class, Remote, class};

const USER: &str = "alice@example.test";
/// How long a process lives until it is killed, in the proof.
const KILL_EVERY: Duration = Duration::from_secs(5);
/// More messages than this are the long form, which also waits for what is in doubt to be tried again.
const LONG_FORM: u64 = 1_000;

/// A lease of ten seconds that nobody has renewed for this long is a dead process's. Nobody takes the job over
/// only when the final dot was announced: it is in doubt, which is written down ten minutes later.
const ORPHANED: Duration = Duration::from_secs(18);

/// The database server, which ends when its standard input does.
pub struct Database {
    child: Child,
    url: String,
}

impl Database {
    pub fn start() -> Database {
        let program = Path::new(env!("CARGO_BIN_EXE_inbox")).with_file_name("dbserver");
        assert!(program.is_file(), "{}: built by `cargo build --workspace`", program.display());
        let mut child = Command::new(program)
            .args(["127.0.0.1:0", "mem://"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the database server starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on ").expect("where it listens");
        Database { url: format!("ws://{address}"), child }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `count` processes, not started, that share database, objects and master key, and send everything to `remote`.
pub fn nodes(count: usize, database: &Database, remote: &Remote) -> Vec<Inbox> {
    let mut nodes: Vec<Inbox> = (0..count).map(|_| Inbox::bare()).collect();
    let shared = nodes[0].dir.0.join("shared");
    std::fs::create_dir_all(&shared).expect("a directory");
    for node in &mut nodes {
        node.set("DATABASE_URL", &database.url)
            .set("INBOX_INCOMING_DIR", shared.join("incoming").display())
            .set("INBOX_MASTER_KEY_FILE", shared.join("master.key").display())
            .set("SMTP_OUTBOUND_RELAY_HOST", format!("127.0.0.1:{}", remote.port))
            .set("SMTP_OUTBOUND_TLS_MODE", "disabled")
            .set("SMTP_OUTBOUND_DANE_MODE", "off")
            .set("SMTP_OUTBOUND_QUEUE_LEASE_SECS", 10)
            .set("SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS", 1)
            .set("SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS", 1)
            .set("SMTP_OUTBOUND_RETRY_MAX_DELAY_SECS", 2)
            .set("DNS_RESOLVERS", "127.0.0.1:1");
    }
    nodes
}

/// An organisation with one mailbox, made through the first process.
pub fn furnish(nodes: &[Inbox]) {
    nodes[0].cli_ok(&["org", "create", "test"]);
    nodes[0].cli_ok(&["domain", "add", "example.test", "--org", "test"]);
    nodes[0].add_mailbox(USER);
}

pub fn queue(node: &Inbox) -> Vec<serde_json::Value> {
    node.cli_json(&["queue", "list", "--json"]).as_array().expect("an array").clone()
}

#[test]
fn two_processes_on_one_database_serve_the_same_mailboxes_and_deliver_once() {
    if !have(&["python3"]) {
        return;
    }
    let (database, remote) = (Database::start(), Remote::start());
    let mut nodes = nodes(2, &database, &remote);
    nodes.iter_mut().for_each(|node| node.spawn(&["serve"]));
    nodes.iter_mut().for_each(Inbox::wait_ready);
    furnish(&nodes);
    // Made at the first, used at the second.
    nodes[1].python_ok("submit.py", &[USER, USER, USER, "1", "own"]);
    assert_eq!(nodes[0].python_ok("ids.py", &[USER]).trim(), "own-0");
    assert_eq!(nodes[1].python_ok("ids.py", &[USER]).trim(), "own-0");
    nodes[0].python_ok("submit.py", &[USER, USER, "m5@d0.test", "1", "one"]);
    nodes[1].python_ok("submit.py", &[USER, USER, "m6@d0.test", "1", "two"]);
    eventually(Duration::from_secs(30), "an empty queue", || queue(&nodes[1]).is_empty());
    assert_eq!(remote.copies(), HashMap::from([(5, 1), (6, 1)]));
    for node in &mut nodes {
        assert!(node.stop().success(), "{}", node.log());
    }
}

#[test]
fn a_database_server_that_is_not_there_is_named_at_the_start() {
    let mut inbox = Inbox::bare();
    let url = format!("ws://127.0.0.1:{}", free_port());
    inbox.set("DATABASE_URL", &url);
    let begun = Instant::now();
    let out = inbox.cli(&["serve"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success());
    assert!(said.contains(&format!("cannot connect to the database at {url}")), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(25));
    assert!(!said.contains(PASSWORD));
}

/// What the submitters were told.
#[derive(Default)]
struct Told {
    accepted: BTreeSet<u64>,
    unanswered: BTreeSet<u64>,
    refused: BTreeMap<u64, String>,
}

impl Told {
    fn read(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let (what, n) = (words.next(), words.next().and_then(|n| n.parse().ok()));
            let n = n.unwrap_or_else(|| panic!("a number in {line:?}"));
            match what {
                Some("accepted") => self.accepted.insert(n),
                Some("unanswered") => self.unanswered.insert(n),
                _ => self.refused.insert(n, words.next().unwrap_or_default().to_owned()).is_none(),
            };
        }
    }
}

/// Starts the submitter of one process.
fn submitter(node: &Inbox, first: usize, step: usize, messages: u64, gap: &str) -> Child {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/e2e/py/submit_paced.py");
    let log = std::fs::File::create(node.dir.0.join("submitter.log")).expect("a file");
    Command::new("python3")
        .args([script, USER, &first.to_string(), &messages.to_string(), &step.to_string(), gap])
        .envs(&node.env)
        .env("PASSWORD", PASSWORD)
        .stdout(std::fs::File::create(node.dir.0.join("told")).expect("a file"))
        .stderr(log)
        .spawn()
        .expect("python3 runs")
}

/// Kills one process after another until every submitter is done and at least two were killed.
fn kill_in_turns(nodes: &mut [Inbox], submitters: &mut [Child]) -> usize {
    let mut kills = 0;
    loop {
        std::thread::sleep(KILL_EVERY);
        let mut busy = false;
        for child in submitters.iter_mut() {
            match child.try_wait().expect("it can be waited for") {
                Some(status) => assert!(status.success(), "a submitter gave up: {status}"),
                None => busy = true,
            }
        }
        if !busy && kills >= 2 {
            return kills;
        }
        let victim = kills % nodes.len();
        nodes[victim].kill();
        nodes[victim].start();
        kills += 1;
    }
}

/// The number of the message that goes to `mN@...`.
fn number(recipient: &str) -> Option<u64> {
    recipient.strip_prefix('m')?.split('@').next()?.parse().ok()
}

/// Attempts of a job that ended in doubt, and whether the last one did.
fn doubts(node: &Inbox, job: &str) -> (u32, bool) {
    let shown = node.cli_json(&["queue", "show", job, "--json"]);
    let mut deliveries = shown["deliveries"].as_array().expect("an array").clone();
    deliveries.sort_by_key(|d| d["at"].as_str().expect("a time").to_owned());
    let in_doubt = |d: &serde_json::Value| d["inDoubt"] == true;
    let count = deliveries.iter().filter(|d| in_doubt(d)).count();
    (u32::try_from(count).expect("few"), deliveries.last().is_some_and(in_doubt))
}

/// The jobs that the logs name, by the number of their message.
fn jobs_of_logs(nodes: &[Inbox]) -> HashMap<u64, String> {
    let mut jobs = HashMap::new();
    for line in nodes.iter().flat_map(|n| n.log().lines().map(str::to_owned).collect::<Vec<_>>()) {
        let Ok(line) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
        if let (Some(job), Some(n)) = (line["job"].as_str(), line["to"].as_str().and_then(number)) {
            jobs.insert(n, job.to_owned());
        }
    }
    jobs
}

/// Waits until nothing is queued but jobs in doubt; those, by the number of their message.
fn drained(node: &Inbox, messages: u64) -> HashMap<u64, String> {
    let limit = Duration::from_secs(if messages > LONG_FORM { 1_800 } else { 60 });
    let begun = Instant::now();
    let mut doubtful: HashSet<String> = HashSet::new();
    let mut leases: HashMap<String, (String, Instant)> = HashMap::new();
    let left = loop {
        let mut left = queue(node);
        left.retain(|job| job["state"] != "dead"); // returned, and kept to be looked at
        let is_id = |job: &serde_json::Value| job["id"].as_str().expect("an ID").to_owned();
        if messages <= LONG_FORM {
            let queued = left.iter().filter(|job| job["state"] == "queued").map(is_id);
            let unknown: Vec<String> = queued.filter(|id| !doubtful.contains(id)).collect();
            doubtful.extend(unknown.into_iter().filter(|id| doubts(node, id).1));
            for job in left.iter().filter(|job| job["state"] == "processing") {
                let lease = job["leaseUntil"].as_str().expect("a lease").to_owned();
                let seen = leases.entry(is_id(job)).or_insert_with(|| (lease.clone(), Instant::now()));
                if seen.0 != lease {
                    *seen = (lease, Instant::now());
                } else if seen.1.elapsed() > ORPHANED {
                    doubtful.insert(is_id(job));
                }
            }
        }
        let open: Vec<String> = left.iter().map(is_id).filter(|id| !doubtful.contains(id)).collect();
        if open.is_empty() {
            break left;
        }
        let shown = || node.cli_ok(&["queue", "show", &open[0], "--json"]);
        assert!(begun.elapsed() < limit, "{} jobs do not end, one of them: {}", open.len(), shown());
        std::thread::sleep(Duration::from_millis(250));
    };
    let text = |v: &serde_json::Value| v.as_str().expect("text").to_owned();
    let of = |job: &serde_json::Value| {
        let recipient = text(&job["recipients"][0]["address"]);
        (number(&recipient).expect("one of ours"), text(&job["id"]))
    };
    left.iter().map(of).collect()
}

#[test]
fn q6_three_processes_that_are_killed_in_turns_lose_nothing_and_account_for_every_copy() {
    if !have(&["python3"]) {
        return;
    }
    let messages = std::env::var("INBOX_NODES_MESSAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(201);
    let gap = if messages > LONG_FORM { "0" } else { "0.12" };
    let (database, remote) = (Database::start(), Remote::start());
    let mut nodes = nodes(3, &database, &remote);
    nodes.iter_mut().for_each(|node| node.spawn(&["serve"]));
    nodes.iter_mut().for_each(Inbox::wait_ready);
    furnish(&nodes);
    let begun = Instant::now();
    let mut submitters: Vec<Child> =
        nodes.iter().enumerate().map(|(n, node)| submitter(node, n, 3, messages, gap)).collect();
    let kills = kill_in_turns(&mut nodes, &mut submitters);
    let submitted = begun.elapsed();
    let mut told = Told::default();
    for node in &nodes {
        told.read(&std::fs::read_to_string(node.dir.0.join("told")).expect("readable"));
    }
    let waiting = drained(&nodes[0], messages);
    let copies = remote.copies();
    let jobs = jobs_of_logs(&nodes);
    let bounces = nodes[1].python_ok("bounces.py", &[USER]);
    let account = Account { told: &told, copies: &copies, waiting: &waiting, jobs: &jobs, bounces: &bounces };
    let (extra, explained) = account.check(&nodes[2]);
    println!(
        "{messages} messages, {kills} kills: {} accepted, {} unanswered, {} refused in {submitted:?}; drained \
         after {:?}; {} waiting in doubt; {extra} extra copies, {explained} in doubt among them; {} connections",
        told.accepted.len(),
        told.unanswered.len(),
        told.refused.len(),
        begun.elapsed(),
        waiting.len(),
        remote.connections(),
    );
    assert!(told.accepted.len() as u64 > messages * 3 / 4, "the test did some work: {:?}", told.refused);
}

/// Everything that is known at the end.
struct Account<'a> {
    told: &'a Told,
    copies: &'a HashMap<u64, u32>,
    waiting: &'a HashMap<u64, String>,
    jobs: &'a HashMap<u64, String>,
    bounces: &'a str,
}

impl Account<'_> {
    /// Copies beyond the first, and records of doubt of the messages that have them.
    fn check(&self, node: &Inbox) -> (u32, u32) {
        for &n in &self.told.accepted {
            let (copies, bounced) = (self.copies.get(&n).copied().unwrap_or(0), self.bounced(n));
            if class(n) == Class::NoSuchUser {
                assert_eq!((copies, bounced), (0, 1), "message {n} is returned once");
            } else {
                assert_eq!(bounced, 0, "message {n} is not returned");
                assert!(copies > 0 || self.waiting.contains_key(&n), "message {n} is lost");
            }
        }
        let (mut extra, mut explained) = (0, 0);
        for (n, &copies) in self.copies {
            let known = self.told.accepted.contains(n)
                || self.told.unanswered.contains(n)
                || self.told.refused.contains_key(n);
            assert!(known, "message {n} was not submitted");
            if copies > 1 {
                let job = self.waiting.get(n).or_else(|| self.jobs.get(n));
                let job = job.unwrap_or_else(|| panic!("no job of message {n} is known"));
                let (doubts, _) = doubts(node, job);
                assert!(copies - 1 <= doubts, "message {n} came {copies} times with {doubts} in doubt");
                extra += copies - 1;
                explained += doubts;
            }
        }
        (extra, explained)
    }

    fn bounced(&self, n: u64) -> usize {
        let address = format!("m{n}@d{}.test", n % 5);
        // A line each; what comes before the address is no part of a longer one.
        self.bounces.lines().filter(|line| line.contains(&address)).count()
    }
}
