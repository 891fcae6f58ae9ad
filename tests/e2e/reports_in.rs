//! What other servers report about messages that were sent from here: what is proved suppresses, nothing else does,
//! and the report is delivered all the same.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Inbox, Raw, eventually, have};
use crate::outbound::World;

const TOOLS: [&str; 2] = ["python3", "dnsmasq"];
const ALICE: &str = "alice@example.test";
const LIMIT: Duration = Duration::from_secs(20);
/// Reports that are kept of one recipient.
const REPORTS_MAX: usize = 10;

/// Another organisation's server, which offers DSN and accepts everything; what it heard of envelopes.
struct FarEnd(Arc<Mutex<Vec<String>>>);

impl FarEnd {
    fn listen(port: u16) -> FarEnd {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let heard = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream, &heard).ok());
            }
        });
        FarEnd(heard)
    }

    fn heard(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// MAIL of the transaction in which an address was named, once it was.
    fn mail_for(&self, address: &str) -> String {
        let mut found = None;
        eventually(LIMIT, address, || {
            let heard = self.heard();
            let rcpt = heard.iter().position(|line| line.contains(&format!("<{address}>")));
            found =
                rcpt.and_then(|at| heard[..at].iter().rev().find(|line| line.starts_with("MAIL")).cloned());
            found.is_some()
        });
        found.expect("just seen")
    }
}

fn serve(stream: &TcpStream, heard: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    let mut say = |text: &str| writer.write_all(format!("{text}\r\n").as_bytes());
    say("220 mx.remote.test ESMTP")?;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.get(..4).unwrap_or_default() {
            "EHLO" => say("250-mx.remote.test\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES")?,
            "DATA" => {
                say("354 go on")?;
                while line != ".\r\n" {
                    line.clear();
                    reader.read_line(&mut line)?;
                }
                say("250 2.0.0 kept")?;
            }
            "QUIT" => return say("221 2.0.0 bye"),
            verb => {
                if ["MAIL", "RCPT"].contains(&verb) {
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push(line.trim_end().to_owned());
                }
                say("250 2.0.0 OK")?;
            }
        }
    }
}

/// A server, and another one that takes its mail.
fn world() -> Option<(Inbox, World, FarEnd)> {
    if !have(&TOOLS) {
        return None;
    }
    let mut inbox = Inbox::prepared();
    let world = World::new(&mut inbox);
    inbox.set("SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS", 1);
    let far = FarEnd::listen(inbox.port("SMTP_OUTBOUND_PORT"));
    inbox.start();
    Some((inbox, world, far))
}

/// Sends a message; the codes of the replies to MAIL, each RCPT and DATA.
fn send(inbox: &Inbox, rcpts: &str, params: &[&str]) -> Vec<String> {
    let text = inbox.python_ok("replies.py", &[&[ALICE, rcpts], params].concat());
    let told: Vec<(String, u16, String)> = serde_json::from_str(&text).expect("JSON");
    told.into_iter().map(|(_, code, text)| format!("{code} {text}")).collect()
}

fn parameter<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// Sends a message to `address` and waits until it is gone; its envelope identifier.
fn sent(inbox: &Inbox, far: &FarEnd, address: &str) -> String {
    assert!(send(inbox, address, &[]).iter().all(|reply| reply.starts_with("250")));
    let mail = far.mail_for(address);
    eventually(LIMIT, "an empty queue", || {
        inbox.cli_json(&["queue", "list", "--json"]).as_array().is_some_and(Vec::is_empty)
    });
    parameter(&mail, "ENVID").unwrap_or_else(|| panic!("no ENVID in {mail}")).to_owned()
}

/// A report of this kind, with these fields.
fn report(kind: &str, media_type: &str, fields: &str) -> String {
    format!(
        "From: <mailer-daemon@remote.test>\r\nTo: <{ALICE}>\r\nSubject: a report\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type={kind}; boundary=b\r\n\r\n--b\r\n\r\nRead on.\r\n\
         --b\r\nContent-Type: {media_type}\r\n\r\n{fields}\r\n\
         --b\r\nContent-Type: text/rfc822-headers\r\n\r\nSubject: replies\r\n\r\n--b--\r\n"
    )
}

fn dsn(envid: &str, recipient: &str, action: &str, status: &str) -> String {
    let said = if status == "5.1.1" { "no such user" } else { "your mail is not wanted" };
    let fields = format!(
        "Original-Envelope-Id: {envid}\r\nReporting-MTA: dns; mx.remote.test\r\n\r\n\
         Original-Recipient: rfc822; {recipient}\r\nFinal-Recipient: rfc822; somebody@inner.remote.test\r\n\
         Action: {action}\r\nStatus: {status}\r\nDiagnostic-Code: smtp; 550 {status} {said}\r\n"
    );
    report("delivery-status", "message/delivery-status", &fields)
}

fn complaint(envid: &str, kind: &str) -> String {
    let fields = format!(
        "Feedback-Type: {kind}\r\nUser-Agent: Loop/1.0\r\nVersion: 1\r\nOriginal-Envelope-Id: {envid}\r\n\
         Original-Rcpt-To: redacted@remote.test\r\n"
    );
    report("feedback-report", "message/feedback-report", &fields)
}

/// Brings a message to the transfer port.
fn bring(inbox: &Inbox, sender: &str, to: &str, message: &str) {
    let mut raw = Raw::greeted(inbox.smtp());
    assert!(raw.ask(&format!("MAIL FROM:<{sender}>\r\n")).starts_with("250"));
    assert!(raw.ask(&format!("RCPT TO:<{to}>\r\n")).starts_with("250"));
    assert!(raw.ask("DATA\r\n").starts_with("354"));
    let reply = raw.ask(&format!("{message}.\r\n"));
    assert!(reply.starts_with("250"), "a report is mail like any other: {reply}");
}

fn suppressions(inbox: &Inbox) -> Vec<Value> {
    let listed = inbox.cli_json(&["suppression", "list", "--json"]);
    listed.as_array().cloned().expect("an array")
}

/// Messages in a folder of alice's.
fn in_inbox(inbox: &Inbox) -> usize {
    inbox.python_ok("folder.py", &[ALICE, "INBOX"]).matches("Subject: a report").count()
}

fn events(inbox: &Inbox, envid: &str) -> Vec<(String, String)> {
    let job = envid.split('.').next().expect("a name");
    let shown = inbox.cli_json(&["queue", "show", job, "--json"]);
    let events = shown["events"].as_array().cloned().expect("events").into_iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let reported = events.map(|event| (text(&event["event"]), text(&event["recipient"])));
    reported.filter(|(event, _)| event != "queued").collect()
}

#[test]
fn so15_si18_a_bounce_that_is_proved_suppresses_and_a_forged_one_does_not() {
    let Some((inbox, _world, far)) = world() else { return };
    let envid = sent(&inbox, &far, "friend@remote.test");
    let heard = far.heard().join("\n");
    assert!(heard.contains("ORCPT=rfc822;friend@remote.test"), "{heard}");

    let last = if envid.ends_with('0') { "1" } else { "0" };
    let forged = format!("{}{last}", &envid[..envid.len() - 1]);
    let failed = |envid: &str, who: &str| dsn(envid, who, "failed", "5.1.1");
    for (sender, message) in [
        ("", failed(&forged, "friend@remote.test")),
        ("", failed(envid.split('.').next().expect("a name"), "friend@remote.test")),
        ("", failed(&envid, "victim@remote.test")),
        // A notification comes from nobody.
        ("friend@remote.test", failed(&envid, "friend@remote.test")),
        // Soft, and not about the address.
        ("", dsn(&envid, "friend@remote.test", "delayed", "4.4.1")),
        ("", dsn(&envid, "friend@remote.test", "failed", "5.7.1")),
    ] {
        bring(&inbox, sender, ALICE, &message);
        assert_eq!(suppressions(&inbox), Vec::<Value>::new(), "{message}");
    }
    let reported = ("reported".to_owned(), "friend@remote.test".to_owned());
    assert_eq!(events(&inbox, &envid), [reported.clone(), reported.clone()]);

    bring(&inbox, "", ALICE, &failed(&envid, "friend@remote.test"));
    let rows = suppressions(&inbox);
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((&row["entry"], &row["source"]), (&"friend@remote.test".into(), &"bounce".into()));
    assert_eq!((&row["org"], &row["holds"]), (&"test".into(), &true.into()));
    assert!(row["expires"].is_string() && row["reason"] == "550 5.1.1 no such user", "{row}");
    let refused = send(&inbox, "friend@remote.test,other@remote.test", &[]);
    assert!(refused[1].starts_with("550 5.7.1"), "{refused:?}");
    assert!(refused[2].starts_with("250"), "{refused:?}");
    far.mail_for("other@remote.test");

    // Whatever came was delivered, and no report was answered by one.
    assert_eq!(in_inbox(&inbox), 7);
    assert!(!far.heard().iter().any(|line| line.starts_with("MAIL FROM:<>")), "{:?}", far.heard());

    // What is kept of them has an end.
    for _ in 3..REPORTS_MAX + 1 {
        bring(&inbox, "", ALICE, &dsn(&envid, "friend@remote.test", "delayed", "4.4.1"));
    }
    assert_eq!(events(&inbox, &envid), vec![reported; REPORTS_MAX]);
}

#[test]
fn so15_a_complaint_that_is_proved_suppresses_without_an_end() {
    let Some((inbox, _world, far)) = world() else { return };
    let envid = sent(&inbox, &far, "friend@remote.test");
    let (sender, to) = ("fbl@remote.test", "postmaster@example.test");
    let last = if envid.ends_with('0') { "1" } else { "0" };
    let forged = format!("{}{last}", &envid[..envid.len() - 1]);
    for message in [complaint(&forged, "abuse"), complaint(&envid, "not-spam"), complaint("", "abuse")] {
        bring(&inbox, sender, to, &message);
        assert_eq!(suppressions(&inbox), Vec::<Value>::new(), "{message}");
    }
    assert_eq!(events(&inbox, &envid), []);
    bring(&inbox, sender, to, &complaint(&envid, "abuse"));
    let rows = suppressions(&inbox);
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((&row["entry"], &row["source"]), (&"friend@remote.test".into(), &"complaint".into()));
    assert_eq!((&row["expires"], &row["org"]), (&Value::Null, &"test".into()));
    assert_eq!(events(&inbox, &envid), [("complained".to_owned(), "friend@remote.test".to_owned())]);
    let refused = send(&inbox, "friend@remote.test", &[]);
    assert!(refused[1].starts_with("550 5.7.1") && refused[1].contains("abuse"), "{refused:?}");
    assert_eq!(in_inbox(&inbox), 4, "all of them are delivered");

    // Who writes again wants to hear from us again; what somebody decided by hand stays.
    let letter = "From: <friend@remote.test>\r\nSubject: sorry\r\n\r\nA slip.\r\n";
    bring(&inbox, "else@remote.test", ALICE, letter);
    assert_eq!(suppressions(&inbox).len(), 1, "it is the sender of the envelope who is known");
    bring(&inbox, "friend@remote.test", ALICE, letter);
    assert_eq!(suppressions(&inbox), Vec::<Value>::new());
    assert!(send(&inbox, "friend@remote.test", &[])[1].starts_with("250"));
    inbox.cli_ok(&["suppression", "add", "friend@remote.test"]);
    inbox.cli_ok(&["suppression", "add", "friend@remote.test", "--org", "test"]);
    bring(&inbox, "friend@remote.test", ALICE, letter);
    assert_eq!(suppressions(&inbox).len(), 2);
}

/// A complaint as most providers write it: the message comes back with its header, and its recipient is blacked out.
fn complaint_about(header: &str) -> String {
    complaint("", "abuse").replace("Original-Envelope-Id: \r\n", "").replace("Subject: replies\r\n", header)
}

#[test]
fn so15_a_complaint_that_returns_the_message_is_about_it_and_one_that_cannot_know_its_name_is_not() {
    let Some((inbox, _world, far)) = world() else { return };
    let envid = sent(&inbox, &far, "friend@remote.test");
    let job = envid.split('.').next().expect("a name");
    // The first job of a message has the message's own name.
    let header = |name: &str, by: &str, author: &str| {
        format!(
            "Received: from mx.remote.test by far.test id {name}; Fri, 27 Nov 2026 12:00:00 +0000\r\nReceived: \
             from client (by a.test id x)\r\n by {by} with ESMTPSA id {name}\r\n for <redacted>; Fri, 27 Nov 2026 \
             12:00:00 +0000\r\nFrom: Alice <{author}>\r\nSubject: hi\r\n"
        )
    };
    let host = inbox.env["SERVER_HOSTNAME"].clone();
    let (sender, to) = ("fbl@remote.test", "postmaster@example.test");
    let other = format!("{}{}", &job[..job.len() - 1], if job.ends_with('0') { '1' } else { '0' });
    for header in [
        header(&other, &host, ALICE),
        header(job, "mx.else.test", ALICE),
        header(job, &host, "alice@else.test"),
        header(job, &host, "nobody"),
    ] {
        bring(&inbox, sender, to, &complaint_about(&header));
        assert_eq!(suppressions(&inbox), Vec::<Value>::new(), "{header}");
    }
    bring(&inbox, sender, to, &complaint_about(&header(job, &host, ALICE)));
    let rows = suppressions(&inbox);
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((&row["entry"], &row["source"]), (&"friend@remote.test".into(), &"complaint".into()));
    assert_eq!(events(&inbox, &envid), [("complained".to_owned(), "friend@remote.test".to_owned())]);

    // Of several recipients none speaks for another.
    assert!(send(&inbox, "one@remote.test,two@remote.test", &[])[1].starts_with("250"));
    let envid = parameter(&far.mail_for("two@remote.test"), "ENVID").expect("ours").to_owned();
    eventually(LIMIT, "an empty queue", || {
        inbox.cli_json(&["queue", "list", "--json"]).as_array().is_some_and(Vec::is_empty)
    });
    let job = envid.split('.').next().expect("a name");
    bring(&inbox, sender, to, &complaint_about(&header(job, &host, ALICE)));
    assert_eq!(suppressions(&inbox).len(), 1);
}

#[test]
fn so14_an_envid_of_the_senders_own_goes_as_it_is_and_what_passes_through_gets_none() {
    let Some((inbox, _world, far)) = world() else { return };
    assert!(send(&inbox, "own@remote.test", &["ENVID=QQ+2B1", "RET=HDRS"])[2].starts_with("250"));
    let mail = far.mail_for("own@remote.test");
    assert_eq!(
        (parameter(&mail, "ENVID"), parameter(&mail, "RET")),
        (Some("QQ+2B1"), Some("HDRS")),
        "{mail}"
    );

    inbox.cli_ok(&["alias", "add", "list@example.test", "--to", "member@remote.test"]);
    let message = "From: a@ext.test\r\n\r\nx\r\n";
    bring(&inbox, "a@ext.test", "list@example.test", message);
    let mail = far.mail_for("member@remote.test");
    assert!(mail.starts_with("MAIL FROM:<SRS0=") && parameter(&mail, "ENVID").is_none(), "{mail}");
    assert!(!far.heard().join("\n").contains("ORCPT="), "{:?}", far.heard());

    // SI18: what comes back from nobody and cannot be passed on is answered by nobody.
    bring(&inbox, "", "list@example.test", message);
    eventually(LIMIT, "it is passed on", || far.heard().iter().any(|line| line.starts_with("MAIL FROM:<>")));
    let mail = far.heard().into_iter().find(|line| line.starts_with("MAIL FROM:<>")).expect("just seen");
    assert_eq!(parameter(&mail, "ENVID"), None, "{mail}");
}
