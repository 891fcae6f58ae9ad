//! Rows of the attack table on real sockets; those a machine decides alone are tested in its crate too.

use std::time::{Duration, Instant};

use crate::harness::{Inbox, Raw, have};

/// The ten false ends of data that mail servers have been fooled with.
const FALSE_ENDS: [&[u8]; 10] = [
    b"\n.\n",
    b"\r.\r",
    b"\r.\n",
    b"\n.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
];

#[test]
fn si1_si2_no_false_end_of_data_smuggles_a_message_however_it_is_split() {
    if !have(&["python3"]) {
        return;
    }
    let inbox = Inbox::started();
    for end in FALSE_ENDS {
        let message = [
            b"From: a@ext.test\r\nX-Test-Id: outer\r\n\r\nouter" as &[u8],
            end,
            b"MAIL FROM:<admin@example.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nFrom: admin@example.test\r\n\
              X-Test-Id: smuggled\r\n\r\ninner\r\n.\r\n",
        ]
        .concat();
        for split in [0, 1, 2, 3, 4] {
            let mut raw = Raw::greeted(inbox.smtp());
            raw.ask("MAIL FROM:<a@ext.test>\r\n");
            raw.ask("RCPT TO:<alice@example.test>\r\n");
            assert!(raw.ask("DATA\r\n").starts_with("354"));
            let at = 45 + split;
            raw.send(&message[..at]);
            if split > 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = std::io::Write::write_all(&mut raw.stream, &message[at..]);
            let reply = raw.try_reply();
            assert!(reply.as_deref().is_none_or(|r| r.starts_with("550 5.5.2")), "{end:?}: {reply:?}");
            assert_eq!(raw.try_reply(), None, "{end:?}: one reply, then the connection is closed");
        }
    }
    assert_eq!(inbox.python_ok("ids.py", &["alice@example.test"]), "", "nothing is stored");
}

#[test]
fn si4_commands_before_the_banner_and_data_before_354() {
    let inbox = Inbox::started();
    let mut raw = Raw::greeted(inbox.smtp());
    raw.send(b"MAIL FROM:<a@ext.test>\r\nDATA\r\nFrom: a@ext.test\r\n\r\nx\r\n.\r\n");
    assert!(raw.reply().starts_with("250"));
    assert!(raw.reply().starts_with("503 5.5.1"), "DATA without a recipient");
    let mut patient = Inbox::prepared();
    patient.set("SMTP_TRANSFER_GREET_DELAY_SECS", 1).start();
    let mut early = Raw::connect(patient.smtp());
    early.send(b"EHLO early.test\r\nMAIL FROM:<a@ext.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n");
    assert!(early.reply().starts_with("554 5.5.1"), "commands before the greeting");
    assert!(early.closed());
    drop(Raw::greeted(patient.smtp()));
}

#[test]
fn si5_what_stands_behind_starttls_is_discarded() {
    if !have(&["python3"]) {
        return;
    }
    let inbox = Inbox::started();
    inbox.python_ok("starttls_injection.py", &[]);
}

#[test]
fn si14_long_lines_junk_and_errors_are_bounded() {
    let inbox = Inbox::started();
    let mut raw = Raw::greeted(inbox.smtp());
    for _ in 0..64 {
        raw.send(&[b'x'; 16_384]);
    }
    raw.send(b"\r\n");
    assert!(raw.reply().starts_with("500 5.5.2"));
    let mut raw = Raw::greeted(inbox.smtp());
    let closed = (0..30).map(|_| raw.ask("BOGUS\r\n")).find(|r| r.starts_with("421 4.7.0"));
    assert!(closed.is_some(), "too many errors end the session");
    let mut raw = Raw::greeted(inbox.smtp());
    let closed = (0..200).map(|_| raw.ask("NOOP\r\n")).find(|r| r.starts_with("421"));
    assert!(closed.is_some(), "endless NOOP ends the session");
}

#[test]
fn si17_a_hundred_and_one_received_fields_are_a_loop() {
    let inbox = Inbox::started();
    let mut raw = Raw::greeted(inbox.smtp());
    for (count, expected) in [(101, "554 5.4.6"), (5, "250 2.0.0")] {
        assert!(raw.ask("MAIL FROM:<a@ext.test>\r\n").starts_with("250"));
        assert!(raw.ask("RCPT TO:<alice@example.test>\r\n").starts_with("250"));
        assert!(raw.ask("DATA\r\n").starts_with("354"));
        raw.send("Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n".repeat(count).as_bytes());
        raw.send(b"From: a@ext.test\r\n\r\nx\r\n.\r\n");
        let reply = raw.reply();
        assert!(reply.starts_with(expected), "{count}: {reply}");
    }
}

#[test]
fn si35_half_a_million_to_fields_are_refused_quickly() {
    let inbox = Inbox::started();
    let mut raw = Raw::greeted(inbox.smtp());
    raw.ask("MAIL FROM:<a@ext.test>\r\n");
    raw.ask("RCPT TO:<alice@example.test>\r\n");
    assert!(raw.ask("DATA\r\n").starts_with("354"));
    let begun = Instant::now();
    let block = "To: x@y.test\r\n".repeat(10_000);
    for _ in 0..50 {
        raw.send(block.as_bytes());
    }
    raw.send(b"\r\nx\r\n.\r\n");
    let reply = raw.reply();
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn si41_http_on_the_mail_port_gets_one_reply_without_an_echo() {
    let inbox = Inbox::started();
    let mut raw = Raw::connect(inbox.smtp());
    assert!(raw.reply().starts_with("220 "));
    raw.send(b"GET /secret-path HTTP/1.1\r\nHost: x\r\n\r\n");
    let reply = raw.reply();
    assert!(reply.starts_with('5') && !reply.contains("secret-path"), "{reply}");
    assert!(raw.closed());
    if have(&["python3"]) {
        inbox.python_ok("alpn.py", &[]);
    }
}

#[test]
fn si42_no_password_reaches_the_log_and_control_characters_are_escaped() {
    if !have(&["python3"]) {
        return;
    }
    let inbox = Inbox::started();
    inbox.python_ok("submission_refusals.py", &[]);
    let mut raw = Raw::connect(inbox.smtp());
    raw.reply();
    raw.ask("EHLO evil\u{1b}[31m\u{2028}name\r\n");
    raw.ask("MAIL FROM:<a@ext.test>\r\n");
    raw.ask("RCPT TO:<nobody@example.test>\r\n");
    let log = inbox.log();
    for secret in [crate::harness::PASSWORD, "wrong password", "AHdyb25n"] {
        assert!(!log.contains(secret), "a password is in the log");
    }
    assert!(!log.contains('\u{1b}') && !log.contains('\u{2028}'), "control characters are escaped");
}

#[test]
fn im1_im2_literals_that_no_one_may_announce_before_login() {
    let inbox = Inbox::started();
    for literal in ["{4294967295}", "{99999999999999999999}", "{-1}", "{1025}"] {
        let mut raw = Raw::connect(inbox.port("IMAP_PORT"));
        assert!(raw.line().is_some_and(|l| l.starts_with("* OK")));
        raw.send(format!("a LOGIN {literal}\r\n").as_bytes());
        let line = raw.line().unwrap_or_default();
        assert!(
            !line.starts_with('+') && (line.contains("BAD") || line.contains("BYE")),
            "{literal}: {line}"
        );
    }
    let mut raw = Raw::connect(inbox.port("IMAP_PORT"));
    raw.line();
    raw.send(b"a LOGIN ");
    let many = b"{1+}\r\nx ".repeat(100_000);
    let _ = std::io::Write::write_all(&mut raw.stream, &many);
    let line = raw.line().unwrap_or_default();
    assert!(line.contains("BAD") || line.contains("BYE") || line.is_empty(), "{line}");
}

#[test]
fn im9_what_stands_behind_starttls_is_not_run() {
    if !have(&["python3"]) {
        return;
    }
    let inbox = Inbox::started();
    inbox.python_ok("imap_starttls_injection.py", &[]);
}
