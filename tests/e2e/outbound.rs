//! Submission with TLS and AUTH, and delivery to another organisation's server found through a name server.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Inbox, PASSWORD, Raw, eventually, free_port, have};

/// A process of the test's own, ended with it.
pub struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The world outside: a name server for `remote.test` and its mail server.
pub struct World {
    dns_port: u16,
    smtp_port: u16,
    pub mail: PathBuf,
    _dns: Helper,
    far_end: Option<Helper>,
}

pub const TOOLS: [&str; 3] = ["python3", "python3:aiosmtpd", "dnsmasq"];

impl World {
    pub fn new(inbox: &mut Inbox) -> World {
        let (dns_port, smtp_port) = (free_port(), free_port());
        let dns = Command::new(if PathBuf::from("/usr/sbin/dnsmasq").is_file() {
            "/usr/sbin/dnsmasq"
        } else {
            "dnsmasq"
        })
        .args([
            "--keep-in-foreground",
            "--no-resolv",
            "--no-hosts",
            "--conf-file=/dev/null",
            "--bind-interfaces",
        ])
        .args(["--listen-address=127.0.0.1", "--pid-file=", "--user=", "--log-facility=-", "--local=/test/"])
        .arg(format!("--port={dns_port}"))
        .args(["--mx-host=remote.test,mx.remote.test,10", "--host-record=mx.remote.test,127.0.0.1"])
        .args(["--mx-host=two.test,down.two.test,5", "--mx-host=two.test,mx.remote.test,20"])
        .args(["--host-record=down.two.test,127.0.0.2", "--host-record=implicit.test,127.0.0.1"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("dnsmasq starts");
        inbox.set("DNS_RESOLVERS", format!("127.0.0.1:{dns_port}"));
        inbox.set("SMTP_OUTBOUND_PORT", smtp_port);
        let mail = inbox.dir.0.join("far");
        fs::create_dir_all(&mail).expect("a directory");
        World { dns_port, smtp_port, mail, _dns: Helper(dns), far_end: None }
    }

    pub fn open(&mut self) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/e2e/py/far_end.py");
        let child = Command::new("python3")
            .args([script, &self.smtp_port.to_string()])
            .arg(&self.mail)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the far end starts");
        self.far_end = Some(Helper(child));
        let port = self.smtp_port;
        eventually(Duration::from_secs(20), "the far end listens", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }

    fn mode(&self, mode: &str) {
        fs::write(self.mail.join("mode"), mode).expect("written");
    }

    pub fn received(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.mail) else { return Vec::new() };
        let names = entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "eml"));
        names.map(|p| String::from_utf8_lossy(&fs::read(p).expect("readable")).into_owned()).collect()
    }

    /// Whether a RCPT named this address.
    pub fn tried(&self, address: &str) -> bool {
        let text = fs::read_to_string(self.mail.join("attempts")).unwrap_or_default();
        text.lines().any(|line| line.split(' ').nth(1) == Some(address))
    }

    fn attempts(&self) -> Vec<f64> {
        let text = fs::read_to_string(self.mail.join("attempts")).unwrap_or_default();
        text.lines().filter_map(|l| l.split(' ').next()?.parse().ok()).collect()
    }
}

#[test]
fn submitted_mail_reaches_the_other_server_by_smtplib_swaks_and_curl() {
    if !have(&TOOLS) || !have(&["swaks", "curl"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let mut world = World::new(&mut inbox);
    world.open();
    inbox.start();
    assert_ne!(world.dns_port, 0);
    inbox.python_ok(
        "submit.py",
        &["alice@example.test", "alice@example.test", "friend@remote.test", "3", "lib"],
    );

    let port = inbox.port("SMTP_SUBMISSION_PORT").to_string();
    let out = Command::new("swaks")
        .args(["--server", "127.0.0.1", "--port", &port, "--tls", "--auth", "PLAIN"])
        .args(["--auth-user", "alice@example.test", "--auth-password", PASSWORD, "--helo", "client.test"])
        .args(["--from", "alice@example.test", "--to", "friend@remote.test", "--header", "X-Test-Id: swaks"])
        .output()
        .expect("swaks runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));

    let file = inbox.dir.0.join("curl.eml");
    fs::write(
        &file,
        "From: alice@example.test\r\nTo: friend@implicit.test\r\nX-Test-Id: curl\r\n\r\nby curl\r\n",
    )
    .expect("written");
    let out = Command::new("curl")
        .args(["-sk", "--url", &format!("smtps://127.0.0.1:{}", inbox.port("SMTP_SUBMISSIONS_PORT"))])
        .args(["--user", &format!("alice@example.test:{PASSWORD}"), "--mail-from", "alice@example.test"])
        .args(["--mail-rcpt", "friend@implicit.test", "--upload-file"])
        .arg(&file)
        .output()
        .expect("curl runs");
    assert!(out.status.success(), "curl: {}", out.status);

    eventually(Duration::from_secs(30), "five messages at the far end", || world.received().len() == 5);
    let all = world.received().join("\n");
    for id in ["lib-0", "lib-1", "lib-2", "swaks", "curl"] {
        assert_eq!(all.matches(&format!("X-Test-Id: {id}\r\n")).count(), 1, "{id}");
    }
    let curl = world.received().into_iter().find(|m| m.contains("X-Test-Id: curl")).expect("there");
    assert!(
        curl.contains("\r\nMessage-ID: <") && curl.contains("\r\nDate: "),
        "missing fields are added: {curl}"
    );
    assert!(
        curl.contains("Received: ") && !curl.contains("127.0.0.1"),
        "the client's address is hidden: {curl}"
    );
    let lib = world.received().into_iter().find(|m| m.contains("lib-0")).expect("there");
    assert!(lib.contains("\r\n.\r\n..two dots\r\nend\r\n"), "dots are carried: {lib}");
    eventually(Duration::from_secs(5), "an empty queue", || {
        inbox.cli_json(&["queue", "list", "--json"]).as_array().is_some_and(Vec::is_empty)
    });
}

#[test]
fn a_server_that_is_down_slow_or_busy_gets_the_mail_later_with_the_configured_backoff() {
    if !have(&TOOLS) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let mut world = World::new(&mut inbox);
    inbox.set("SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS", 1).set("SMTP_OUTBOUND_RETRY_MAX_DELAY_SECS", 4);
    inbox.set("SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS", 1);
    inbox.start();
    // Down: nothing listens.
    inbox.python_ok(
        "submit.py",
        &["alice@example.test", "alice@example.test", "friend@remote.test", "1", "down"],
    );
    eventually(Duration::from_secs(20), "a failed attempt is recorded", || {
        let list = inbox.cli_json(&["queue", "list", "--json"]);
        list[0]["attempts"].as_u64().is_some_and(|n| n >= 1) && list[0]["state"] == "queued"
    });
    // Busy: 451 to every recipient, then well.
    world.mode("451");
    world.open();
    eventually(Duration::from_secs(30), "three refused attempts", || world.attempts().len() >= 3);
    world.mode("slow");
    let begun = Instant::now();
    eventually(Duration::from_secs(30), "delivery", || world.received().len() == 1);
    assert!(begun.elapsed() < Duration::from_secs(25));
    let at = world.attempts();
    for (n, pair) in at.windows(2).enumerate() {
        let gap = pair[1] - pair[0];
        assert!((0.7..=7.0).contains(&gap), "gap {n} of {at:?}");
    }
    eventually(Duration::from_secs(10), "an empty queue", || {
        inbox.cli_json(&["queue", "list", "--json"]).as_array().is_some_and(Vec::is_empty)
    });
    assert_eq!(world.received().len(), 1, "delivered once");
}

#[test]
fn so6_each_recipient_has_its_own_outcome_and_a_permanent_failure_sends_one_dsn() {
    if !have(&TOOLS) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let mut world = World::new(&mut inbox);
    inbox.set("SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS", 2).set("SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS", 1);
    world.mode("mixed");
    world.open();
    inbox.start();
    let rcpts = "good@remote.test,later@remote.test,never@remote.test";
    inbox.python_ok("submit.py", &["alice@example.test", "alice@example.test", rcpts, "1", "mixed"]);
    eventually(Duration::from_secs(20), "the good one arrives", || world.received().len() == 1);
    eventually(Duration::from_secs(20), "a bounce in the sender's inbox", || {
        inbox.python_ok("bounces.py", &["alice@example.test"]).contains("never@remote.test")
    });
    let bounces = inbox.python_ok("bounces.py", &["alice@example.test"]);
    assert_eq!(bounces.lines().count(), 1, "one DSN: {bounces}");
    assert!(bounces.contains("5.1.1") && !bounces.contains("later@"), "{bounces}");
    world.mode("ok");
    eventually(Duration::from_secs(30), "the deferred one arrives", || world.received().len() == 2);
    let all = world.received().join("\n");
    assert_eq!(all.matches("\"to\": [\"good@remote.test\"]").count(), 1);
    assert_eq!(all.matches("\"to\": [\"later@remote.test\"]").count(), 1);
}

#[test]
fn an_mx_that_is_down_is_passed_over_for_the_next() {
    if !have(&TOOLS) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let mut world = World::new(&mut inbox);
    world.open();
    inbox.start();
    inbox.python_ok(
        "submit.py",
        &["alice@example.test", "alice@example.test", "friend@two.test", "1", "second"],
    );
    eventually(Duration::from_secs(20), "delivery by the second MX", || world.received().len() == 1);
}

#[test]
fn a_domain_that_does_not_exist_bounces_at_once_with_5_1_2() {
    if !have(&TOOLS) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let _world = World::new(&mut inbox);
    inbox.start();
    inbox
        .python_ok("submit.py", &["alice@example.test", "alice@example.test", "x@nowhere.test", "1", "gone"]);
    eventually(Duration::from_secs(20), "a bounce", || {
        inbox.python_ok("bounces.py", &["alice@example.test"]).contains("5.1.2")
    });
}

#[test]
fn local_recipients_are_delivered_without_leaving_the_machine() {
    if !have(&["python3"]) {
        return;
    }
    let inbox = Inbox::started();
    inbox.python_ok(
        "submit.py",
        &["alice@example.test", "alice@example.test", "bob@example.test", "2", "local"],
    );
    let ids = inbox.python_ok("ids.py", &["bob@example.test"]);
    assert_eq!(ids.lines().collect::<Vec<_>>(), ["local-0", "local-1"]);
}

#[test]
fn si27_submission_refuses_with_the_codes_of_the_specification() {
    if !have(&["python3"]) {
        return;
    }
    let inbox = Inbox::started();
    let port = inbox.port("SMTP_SUBMISSION_PORT");
    let mut raw = Raw::connect(port);
    assert!(raw.reply().starts_with("220 "));
    let ehlo = raw.ask("EHLO client.test\r\n");
    assert!(!ehlo.contains("AUTH") && ehlo.contains("STARTTLS"), "{ehlo}");
    for line in ["AUTH PLAIN AGEAYg==\r\n", "MAIL FROM:<alice@example.test>\r\n", "VRFY alice\r\n"] {
        let reply = raw.ask(line);
        assert!(reply.starts_with("530 5.7.0"), "{line:?}: {reply}");
    }
    inbox.python_ok("submission_refusals.py", &[]);
}
