//! Starting, stopping, and the clear message that every fault at start gets.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::harness::{Inbox, Raw, eventually, free_port, http_get, http_status};

#[test]
fn every_fault_in_the_configuration_is_reported_together_with_status_78() {
    let mut inbox = Inbox::bare();
    inbox.set("SMTP_TRANSFER_PORT", "99999").set("SMTP_OUTBOUND_TLS_MODE", "sometimes");
    inbox.set("S3_ACCESS_KEY_ID", "only-this").set("SMTP_OUTBOUND_TTL_SECS", "soon");
    let out = inbox.cli(&["serve"]);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(78), "{text}");
    for name in [
        "SMTP_TRANSFER_PORT",
        "99999",
        "SMTP_OUTBOUND_TLS_MODE",
        "opportunistic",
        "S3_ENDPOINT",
        "SMTP_OUTBOUND_TTL_SECS",
    ] {
        assert!(text.contains(name), "{name} is not named in:\n{text}");
    }
    assert!(!inbox.data_dir().exists(), "nothing is made before the configuration is right");
}

#[test]
fn disabled_tls_contradicts_a_requirement_and_an_unknown_variable_gets_the_nearest_name() {
    let mut inbox = Inbox::bare();
    inbox.set("SMTP_OUTBOUND_TLS_MODE", "disabled").set("SMTP_OUTBOUND_REQUIRE_STARTTLS", "true");
    let out = inbox.cli(&["config"]);
    assert_eq!(out.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&out.stderr).contains("SMTP_OUTBOUND_REQUIRE_STARTTLS"));
    let mut inbox = Inbox::bare();
    inbox.set("SMTP_TRANSFER_PROT", "25");
    let out = inbox.cli(&["config"]);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(0), "{text}");
    assert!(text.contains("SMTP_TRANSFER_PROT") && text.contains("SMTP_TRANSFER_PORT"), "{text}");
}

#[test]
fn config_shows_every_variable_with_its_source_and_masks_secrets() {
    let mut inbox = Inbox::bare();
    let file = inbox.dir.0.join("env");
    fs::write(&file, "SMTP_MAX_MESSAGE_BYTES=1000000\nSMTP_RETRY=1\nDATABASE_PASSWORD=hush-hush\n")
        .expect("written");
    inbox.set("SMTP_OUTBOUND_MAX_ATTEMPTS", "7");
    let out = inbox.cli(&["config", "--env-file", file.to_str().expect("UTF-8")]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success());
    assert!(!text.contains("hush-hush"), "secrets are masked");
    for line in
        ["SMTP_MAX_MESSAGE_BYTES=1000000", "SMTP_OUTBOUND_MAX_ATTEMPTS=7", "SMTP_OUTBOUND_DANE_MODE=prefer"]
    {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    assert!(text.contains("attempts"), "the retry horizon is printed:\n{text}");
}

#[test]
fn a_port_in_use_is_named_with_its_variable_and_address() {
    let mut inbox = Inbox::prepared();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    inbox.set("IMAP_PORT", port);
    let out = inbox.cli(&["serve"]);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success());
    assert!(text.contains("IMAP_PORT") && text.contains(&format!("127.0.0.1:{port}")), "{text}");
}

#[test]
fn an_unwritable_data_directory_is_one_clear_message() {
    let mut inbox = Inbox::bare();
    let file = inbox.dir.0.join("a-file");
    fs::write(&file, "").expect("written");
    inbox.set("INBOX_DATA_DIR", file.join("data").display());
    let out = inbox.cli(&["serve"]);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(text.contains("a-file"), "{text}");
}

#[test]
fn a_second_process_on_the_same_data_directory_is_refused() {
    let inbox = Inbox::started();
    let mut second = Inbox::bare();
    second.set("INBOX_DATA_DIR", inbox.data_dir().display());
    let out = second.cli(&["serve"]);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(text.contains(&inbox.pid().to_string()), "the holder is named: {text}");
    assert_eq!(http_status(inbox.port("HTTP_PORT"), "/health/ready"), Some(200), "the first goes on");
}

#[test]
fn a_corrupt_database_stops_the_start_with_one_message() {
    let inbox = Inbox::prepared();
    let mut damaged = 0;
    let mut dirs = vec![inbox.data_dir().join("db")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("readable").flatten() {
            if entry.path().is_dir() {
                dirs.push(entry.path());
            } else if entry.metadata().is_ok_and(|m| m.len() > 0) && entry.file_name() != "LOCK" {
                fs::write(entry.path(), b"not what was written here").expect("written");
                damaged += 1;
            }
        }
    }
    assert!(damaged > 0, "there is a database to damage");
    let out = inbox.cli(&["serve"]);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{text}");
    assert!(text.contains("database"), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

#[test]
fn administration_works_while_the_server_runs_and_while_it_does_not() {
    let mut inbox = Inbox::prepared();
    let list =
        |inbox: &Inbox| inbox.cli_json(&["mailbox", "list", "--json"]).as_array().expect("an array").len();
    assert_eq!(list(&inbox), 2);
    inbox.start();
    inbox.add_mailbox("carol@example.test");
    assert_eq!(list(&inbox), 3);
    assert!(Raw::greeted(inbox.smtp()).ask("MAIL FROM:<>\r\n").starts_with("250"));
    let mut raw = Raw::greeted(inbox.smtp());
    raw.ask("MAIL FROM:<>\r\n");
    assert!(raw.ask("RCPT TO:<carol@example.test>\r\n").starts_with("250"), "known at once");
    assert_eq!(inbox.cli(&["org", "create", "test"]).status.code(), Some(1), "taken");
    assert_eq!(inbox.cli(&["org", "create"]).status.code(), Some(2), "wrong usage");
    assert_eq!(inbox.cli(&["nonsense"]).status.code(), Some(2));
    let socket = inbox.data_dir().join("inbox.sock");
    let mode = fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert!(inbox.stop().success(), "SIGTERM is a clean end");
    assert_eq!(list(&inbox), 3);
    assert_eq!(
        fs::metadata(inbox.data_dir().join("master.key")).expect("a key").permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn health_and_metrics_answer() {
    let inbox = Inbox::started();
    let port = inbox.port("HTTP_PORT");
    assert_eq!(http_status(port, "/health/live"), Some(200));
    assert_eq!(http_status(port, "/health/ready"), Some(200));
    assert_eq!(http_status(port, "/nothing"), Some(404));
    let metrics = http_get(port, "/metrics").expect("an answer");
    assert!(metrics.contains("# TYPE inbox_"), "{metrics}");
}

#[test]
fn quickstart_prints_what_to_try_and_it_works() {
    let mut inbox = Inbox::bare();
    for name in ["SMTP_OUTBOUND_TLS_MODE", "SMTP_REQUIRE_SPF_PASS", "SERVER_HOSTNAME", "SERVER_BIND_ADDR"] {
        inbox.env.remove(name);
    }
    inbox.spawn(&["quickstart", "--json"]);
    inbox.wait_ready();
    let json = || -> Option<serde_json::Value> {
        inbox
            .log()
            .lines()
            .filter_map(|l| serde_json::from_str(l).ok())
            .find(|v: &serde_json::Value| v.get("mailboxes").is_some())
    };
    eventually(Duration::from_secs(5), "the JSON object", || json().is_some());
    let json = json().expect("there");
    let boxes = json["mailboxes"].as_array().expect("an array");
    assert_eq!(boxes[0]["address"], "alice@example.test");
    assert!(boxes[0]["password"].as_str().is_some_and(|p| p.len() >= 12));
    assert_eq!(json["ports"].as_object().expect("ports").len(), 7);
    let mut raw = Raw::greeted(inbox.smtp());
    raw.ask("MAIL FROM:<>\r\n");
    assert!(raw.ask("RCPT TO:<bob@example.test>\r\n").starts_with("250"));
}

#[test]
fn import_and_export_give_back_what_was_given() {
    let inbox = Inbox::started();
    let mbox = inbox.dir.0.join("in.mbox");
    let text = "From a@b.test Thu Jan  1 00:00:01 2015\nFrom: a@b.test\nSubject: one\n\n>From the start\nend\n\n\
                From a@b.test Thu Jan  1 00:00:02 2015\nFrom: a@b.test\nSubject: two\n\nbody\n\n";
    fs::write(&mbox, text).expect("written");
    let path = mbox.to_str().expect("UTF-8");
    let json = inbox.cli_json(&[
        "import",
        "mbox",
        path,
        "--mailbox",
        "alice@example.test",
        "--folder",
        "Old/Mail",
        "--json",
    ]);
    assert_eq!((json["imported"].as_u64(), json["failed"].as_u64()), (Some(2), Some(0)), "{json}");
    let out = inbox.dir.0.join("out.mbox");
    inbox.cli_ok(&["export", "mbox", out.to_str().expect("UTF-8"), "--mailbox", "alice@example.test"]);
    let exported = fs::read_to_string(&out).expect("an mbox");
    let strip = |text: &str| {
        text.lines().filter(|l| !l.starts_with("From ")).map(|l| format!("{l}\n")).collect::<String>()
    };
    assert_eq!(strip(&exported), strip(text));
    let missing = inbox.cli(&["import", "mbox", "nowhere.mbox", "--mailbox", "alice@example.test"]);
    assert_eq!(missing.status.code(), Some(1));
    let check = inbox.cli(&["check"]);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn rs9_a_stop_closes_idle_sessions_with_a_word_and_ends_within_its_time() {
    let mut inbox = Inbox::started();
    let mut raw = Raw::greeted(inbox.smtp());
    let mut imap = Raw::connect(inbox.port("IMAP_PORT"));
    assert!(imap.line().is_some_and(|l| l.starts_with("* OK")));
    let begun = std::time::Instant::now();
    assert!(inbox.stop().success());
    assert!(begun.elapsed() < Duration::from_secs(32));
    assert!(raw.line().is_some_and(|l| l.starts_with("421 4.3.2")));
    assert!(imap.line().is_some_and(|l| l.starts_with("* BYE")));
}

#[test]
fn a_port_of_zero_turns_its_listener_off() {
    let mut inbox = Inbox::prepared();
    let port = free_port();
    inbox.set("SMTP_TRANSFER_PORT", 0).set("IMAP_PORT", port);
    inbox.start();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
}
