//! A 250 is never lost and never doubled, whatever is killed when.
//!
//! `INBOX_CRASH_CYCLES` sets how often the process is killed; the README names the long run.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::harness::{Inbox, Raw, have};

const SENDERS: usize = 6;

/// What a sender was told about one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Accepted,
    /// The connection broke before an answer: it may be there or not, but not twice.
    Nothing,
}

fn cycles() -> u64 {
    std::env::var("INBOX_CRASH_CYCLES").ok().and_then(|n| n.parse().ok()).unwrap_or(12)
}

/// A generator good enough to choose moments; its seed is printed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

#[test]
fn sc1_every_message_that_got_a_250_is_there_exactly_once_after_kill_9() {
    if !have(&["python3"]) {
        return;
    }
    killed_again_and_again(Inbox::prepared(), cycles(), 50);
}

#[test]
fn sc1_the_same_with_objects_in_a_bucket() {
    if !have(&["python3"]) {
        return;
    }
    let server = crate::s3::S3Server::start(None);
    killed_again_and_again(crate::objects::prepared_in(&server), cycles().div_ceil(2), 10);
}

fn killed_again_and_again(mut inbox: Inbox, cycles: u64, accepted_min: usize) {
    // An alias outside makes queue jobs that nobody answers: they must stay queued, once each.
    inbox.cli_ok(&["alias", "add", "away@example.test", "--to", "friend@elsewhere.test"]);
    inbox.set("SMTP_OUTBOUND_QUEUE_ENABLED", "true").set("DNS_RESOLVERS", "127.0.0.1:1");
    let told = Mutex::new(HashMap::new());
    let next = AtomicU64::new(0);
    let seed = u64::from(std::process::id()) << 20 | 0x5eed;
    println!("seed {seed}");
    let mut dice = Dice(seed);
    for _ in 0..cycles {
        inbox.start();
        let (stop, port) = (AtomicBool::new(false), inbox.smtp());
        std::thread::scope(|scope| {
            for _ in 0..SENDERS {
                scope.spawn(|| send_until(&stop, port, &next, &told));
            }
            std::thread::sleep(Duration::from_millis(30 + dice.roll(600)));
            inbox.kill();
            stop.store(true, Ordering::Relaxed);
        });
    }
    inbox.start();
    let told = told.into_inner().expect("no sender panicked");
    let mut seen: HashMap<String, u32> = HashMap::new();
    for line in inbox.python_ok("ids.py", &["alice@example.test"]).lines() {
        *seen.entry(line.to_owned()).or_default() += 1;
    }
    let queue = inbox.cli_json(&["queue", "list", "--json"]);
    for job in queue.as_array().expect("an array") {
        let sender = job["sender"].as_str().expect("a sender");
        let id = id_of_srs(sender).unwrap_or_else(|| panic!("whose job is {sender}?"));
        *seen.entry(id).or_default() += 1;
    }
    let kept = told.iter().filter(|(id, answer)| **answer == Told::Nothing && seen.contains_key(*id)).count();
    let accepted = told.values().filter(|t| **t == Told::Accepted).count();
    for (id, answer) in &told {
        let times = seen.remove(id).unwrap_or(0);
        let fine = match answer {
            Told::Accepted => times == 1,
            Told::Nothing => times <= 1,
        };
        assert!(fine, "message {id}: the sender was told {answer:?}, it is there {times} times");
    }
    assert!(seen.is_empty(), "messages that nobody sent: {seen:?}");
    assert!(accepted > accepted_min, "the test did some work: {accepted}");
    println!(
        "{} cycles, {accepted} accepted, {} unanswered ({kept} of them stored), none lost, none doubled",
        cycles,
        told.len() - accepted
    );
    assert!(inbox.cli(&["check"]).status.success(), "check finds database and objects at one");
}

/// SRS0=hash=stamp=domain=local@ours: the local part of the original sender is the message's ID.
fn id_of_srs(sender: &str) -> Option<String> {
    let local = sender.split('@').next()?;
    local.rsplit('=').next().map(str::to_owned)
}

fn send_until(stop: &AtomicBool, port: u16, next: &AtomicU64, told: &Mutex<HashMap<String, Told>>) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { return };
        let mut raw = Raw::over(stream);
        if !raw.try_reply().is_some_and(|r| r.starts_with("220")) || raw.try_ask("EHLO c.test\r\n").is_none()
        {
            return;
        }
        for _ in 0..20 {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let id = format!("m{n}");
            let rcpt = if n.is_multiple_of(5) { "away" } else { "alice" };
            let Some(go) = raw
                .try_ask(&format!("MAIL FROM:<{id}@ext.test>\r\nRCPT TO:<{rcpt}@example.test>\r\nDATA\r\n"))
            else {
                return;
            };
            assert!(go.starts_with("250"), "{go}");
            let (Some(rcpt), Some(data)) = (raw.try_reply(), raw.try_reply()) else { return };
            assert!(rcpt.starts_with("250") && data.starts_with("354"), "{rcpt} {data}");
            let filler = "a line of some length to make the message larger than a packet\r\n"
                .repeat((n % 90) as usize);
            let message = format!("From: a@ext.test\r\nX-Test-Id: {id}\r\n\r\n{filler}\r\n.\r\n");
            told.lock().expect("sound").insert(id.clone(), Told::Nothing);
            if raw.stream.write_all(message.as_bytes()).is_err() {
                return;
            }
            match raw.try_reply() {
                Some(reply) if reply.starts_with("250") => {
                    told.lock().expect("sound").insert(id, Told::Accepted);
                }
                Some(reply) => panic!("refused: {reply}"),
                None => return,
            }
        }
    }
}
