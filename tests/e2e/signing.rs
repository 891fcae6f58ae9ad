//! DKIM signatures of what leaves, judged by dkimpy with the records that the command line prints.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Inbox, Raw, eventually, free_port, have};

const TOOLS: [&str; 4] = ["python3", "python3:aiosmtpd", "python3:dkim", "python3:nacl"];

/// A process of the test's own, ended with it.
pub struct Helper(Child);

impl Helper {
    pub fn python(script: &str, args: &[&str]) -> Helper {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/e2e/py").join(script);
        let mut command = Command::new("python3");
        command.arg(path).args(args).stdout(Stdio::null()).stderr(Stdio::null());
        Helper(command.spawn().expect("python3 starts"))
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Our server, another organisation's, and the DNS of both.
pub struct World {
    pub inbox: Inbox,
    zone: PathBuf,
    mail: PathBuf,
    _helpers: [Helper; 2],
}

impl World {
    pub fn new() -> World {
        let mut inbox = Inbox::prepared();
        let (dns, smtp) = (free_port(), free_port());
        let (zone, mail) = (inbox.dir.0.join("zone.json"), inbox.dir.0.join("far"));
        inbox.set("DNS_RESOLVERS", format!("127.0.0.1:{dns}")).set("SMTP_OUTBOUND_PORT", smtp);
        inbox.set("SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS", 1);
        let names = Helper::python("names.py", &[&dns.to_string(), &zone.display().to_string()]);
        let far_end = Helper::python("far_end.py", &[&smtp.to_string(), &mail.display().to_string()]);
        eventually(Duration::from_secs(20), "the far end listens", || {
            std::net::TcpStream::connect(("127.0.0.1", smtp)).is_ok()
        });
        let world = World { inbox, zone, mail, _helpers: [names, far_end] };
        world.publish(&world.records());
        world
    }

    /// The records that `inbox domain show` prints.
    fn records(&self) -> Value {
        self.inbox.cli_json(&["domain", "show", "example.test", "--json"])["dns"].take()
    }

    /// Puts TXT records into the zone, beside those of the far end.
    fn publish(&self, records: &Value) {
        let mut zone = json!({
            "remote.test.": {"MX": ["10 mx.remote.test."]},
            "mx.remote.test.": {"A": ["127.0.0.1"]},
        });
        for record in records.as_array().expect("records").iter().filter(|r| r["type"] == "TXT") {
            zone[record["name"].as_str().expect("a name")] = json!({"TXT": [record["value"]]});
        }
        let temporary = self.zone.with_extension("tmp");
        fs::write(&temporary, zone.to_string()).expect("written");
        fs::rename(&temporary, &self.zone).expect("renamed");
    }

    fn submit(&self, rcpts: &str, subject: &str) {
        self.inbox.python_ok("submit.py", &["alice@example.test", "alice@example.test", rcpts, "1", subject]);
    }

    /// What dkimpy says of the messages at the far end, one line each.
    pub fn at_far_end(&self) -> Vec<String> {
        let mut files: Vec<String> = self.files().iter().map(|p| p.display().to_string()).collect();
        files.sort();
        self.verified(&[&["files"], &files.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat())
    }

    /// The files at the far end.
    pub fn files(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.mail).expect("readable").flatten().map(|e| e.path());
        files.filter(|p| p.extension().is_some_and(|e| e == "eml")).collect()
    }

    /// What a second verifier says of a file, which asks the name server itself.
    fn mail_dkim(&self, file: &PathBuf) -> String {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/e2e/py/mail_dkim.pl");
        let port = self.inbox.env["DNS_RESOLVERS"].rsplit_once(':').expect("a port").1;
        let out = Command::new("perl").args([script, port]).arg(file).output().expect("perl runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    fn in_inbox(&self, user: &str) -> Vec<String> {
        self.verified(&["imap", user])
    }

    fn verified(&self, args: &[&str]) -> Vec<String> {
        let zone = self.zone.display().to_string();
        let out = self.inbox.python_ok("verify_dkim.py", &[&[zone.as_str()], args].concat());
        out.lines().map(str::to_owned).collect()
    }

    fn arrives(&self, subject: &str) -> String {
        let of = || self.at_far_end().into_iter().find(|line| line.starts_with(subject));
        eventually(Duration::from_secs(30), "the message arrives", || of().is_some());
        of().expect("there")
    }
}

/// Both signatures of the domain under a selector.
fn both(selector: &str) -> String {
    format!("example.test/{selector}/rsa-sha256=good; example.test/{selector}-ed25519/ed25519-sha256=good")
}

#[test]
fn submitted_mail_leaves_with_both_signatures_and_forwarded_mail_with_none() {
    if !have(&TOOLS) || !have(&["perl", "perl:Mail::DKIM::Verifier"]) {
        return;
    }
    let mut world = World::new();
    world.inbox.cli_ok(&["alias", "add", "away@example.test", "--to", "friend@remote.test"]);
    world.inbox.start();
    world.submit("friend@remote.test,bob@example.test", "both");
    assert_eq!(world.arrives("both 0"), format!("both 0; {}", both("mail")));
    assert_eq!(world.in_inbox("bob@example.test"), [format!("both 0; {}", both("mail"))]);
    let file = world.files().remove(0);
    // This verifier does not know Ed25519.
    assert!(world.mail_dkim(&file).contains("example.test/mail/rsa-sha256=pass"));
    let octets = fs::read_to_string(&file).expect("readable");
    let altered = file.with_extension("altered");
    fs::write(&altered, octets.replace("Subject: both", "Subject: BOTH")).expect("written");
    assert!(world.mail_dkim(&altered).contains("example.test/mail/rsa-sha256=fail"));
    let mut raw = Raw::greeted(world.inbox.smtp());
    for (line, reply) in [
        ("MAIL FROM:<carol@elsewhere.test>\r\n", "250"),
        ("RCPT TO:<away@example.test>\r\n", "250"),
        ("DATA\r\n", "354"),
        ("From: carol@elsewhere.test\r\nSubject: forwarded\r\n\r\nhello\r\n.\r\n", "250"),
    ] {
        let got = raw.ask(line);
        assert!(got.starts_with(reply), "{line:?}: {got}");
    }
    assert_eq!(world.arrives("forwarded"), "forwarded");
}

#[test]
fn notifications_are_signed_by_the_domain_of_the_host() {
    if !have(&TOOLS) {
        return;
    }
    let mut world = World::new();
    world.inbox.start();
    fs::write(world.mail.join("mode"), "550").expect("written");
    world.submit("nobody@remote.test", "refused");
    let bounce =
        || world.in_inbox("alice@example.test").into_iter().find(|line| line.ends_with(&both("mail")));
    eventually(Duration::from_secs(30), "a signed notification", || bounce().is_some());
    assert!(!bounce().expect("there").starts_with("refused"));
}

#[test]
fn a_domain_without_keys_sends_unsigned_and_says_so_once() {
    if !have(&TOOLS) {
        return;
    }
    let mut world = World::new();
    let none = ["dkim_private_key_b64_pkcs8=", "dkim_ed25519_private_key_b64_pkcs8="];
    world.inbox.cli_ok(&[&["domain", "set", "example.test"], &none[..]].concat());
    world.inbox.start();
    world.submit("friend@remote.test", "bare");
    world.submit("friend@remote.test", "again");
    assert_eq!(world.arrives("bare"), "bare 0");
    assert_eq!(world.arrives("again"), "again 0");
    assert_eq!(world.inbox.log().matches("there is no DKIM key for this domain").count(), 1);
}

#[test]
fn keys_are_changed_without_a_message_that_cannot_be_verified() {
    if !have(&TOOLS) {
        return;
    }
    let mut world = World::new();
    let old = world.records();
    world.inbox.start();
    let begun = world.inbox.cli_json(&["domain", "rotate-dkim", "example.test", "--json"]);
    let next = begun["selector"].as_str().expect("a selector").to_owned();
    assert_eq!((&begun["state"], &begun["signingWith"]), (&json!("waiting"), &json!("mail")));
    assert_eq!(begun["dns"].as_array().map(Vec::len), Some(2), "{begun}");
    assert!(next.starts_with("mail2") && begun["dns"][0]["live"] == false, "{begun}");
    let text = world.inbox.cli_ok(&["domain", "rotate-dkim", "example.test"]);
    assert!(text.contains(&format!("{next}._domainkey.example.test. IN TXT \"v=DKIM1; k=rsa; p=")), "{text}");
    assert_eq!(text.matches(" ; not published yet").count(), 2, "{text}");

    let refused = world.inbox.cli(&["domain", "rotate-dkim", "example.test", "--finish"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not published yet"));
    world.submit("friend@remote.test", "before");
    assert_eq!(world.arrives("before"), format!("before 0; {}", both("mail")));

    world.publish(&world.records());
    let done = world.inbox.cli_json(&["domain", "rotate-dkim", "example.test", "--finish", "--json"]);
    assert_eq!((&done["selector"], &done["oldSelector"]), (&json!(next), &json!("mail")));
    world.submit("friend@remote.test", "after");
    assert_eq!(world.arrives("after"), format!("after 0; {}", both(&next)));
    assert_eq!(world.arrives("before"), format!("before 0; {}", both("mail")), "still verified");
    let (records, names) = (world.records(), |value: &Value| value.to_string().matches("_domainkey").count());
    assert_eq!((names(&old), names(&records)), (2, 4), "the old records are still to be published");

    // The running server finds new records by itself, when it starts and every hour after that.
    let again = world.inbox.cli_json(&["domain", "rotate-dkim", "example.test", "--json"]);
    let last = again["selector"].as_str().expect("a selector").to_owned();
    assert_ne!(last, next);
    world.publish(&world.records());
    assert!(world.inbox.stop().success());
    world.inbox.start();
    eventually(Duration::from_secs(30), "the new keys sign", || {
        world.inbox.cli_json(&["domain", "show", "example.test", "--json"])["settings"]["dkim_selector"]
            == json!(last)
    });
    world.submit("friend@remote.test", "last");
    assert_eq!(world.arrives("last"), format!("last 0; {}", both(&last)));
}

#[test]
fn a_copy_for_a_server_without_8bitmime_has_signatures_of_its_own() {
    if !have(&TOOLS) {
        return;
    }
    let mut world = World::new();
    fs::write(world.mail.join("seven-bit"), "").expect("written");
    world.inbox.start();
    let message =
        "From: alice@example.test\r\nSubject: copy\r\n\r\nGr\u{fc}\u{df}e in a line that is long enough\r\n";
    let path = world.inbox.dir.0.join("copy.eml");
    fs::write(&path, message).expect("written");
    let path = path.display().to_string();
    world.inbox.python_ok("send_raw.py", &["alice@example.test", "friend@remote.test", "8BITMIME", &path]);
    let line = world.arrives("copy");
    assert!(fs::read(world.mail.join("wire")).expect("captured").is_ascii(), "it was changed");
    let signatures: Vec<&str> = line.split("; ").skip(1).collect();
    assert_eq!(signatures.len(), 2, "those that held before are gone: {line}");
    assert!(signatures.iter().all(|s| s.ends_with("=good")), "{line}");
}
