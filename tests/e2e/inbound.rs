//! Mail in over port 25, out over IMAP; refusals by their exact codes (SPEC sections 4 and 5).

use std::process::Command;

use crate::harness::{Inbox, Raw, have};

#[test]
fn real_mail_goes_in_over_smtp_and_comes_out_over_imap_byte_for_byte() {
    if !have(&["python3", "swaks"]) {
        return;
    }
    let inbox = Inbox::started();
    assert_eq!(inbox.python_ok("real_mail.py", &["send", "0", "580"]).trim(), "sent 580");
    // The last twenty by swaks, each in a session of its own.
    for n in 580..600 {
        let file = inbox.dir.0.join("message.eml");
        inbox.python_ok("corpus_one.py", &[&n.to_string(), file.to_str().expect("UTF-8")]);
        let out = Command::new("swaks")
            .args(["--server", "127.0.0.1", "--port", &inbox.smtp().to_string(), "--helo", "client.test"])
            .args(["--from", "sender@ext.test", "--to", "alice@example.test", "--silent", "2"])
            .arg("--data")
            .arg(format!("@{}", file.display()))
            .output()
            .expect("swaks runs");
        assert!(out.status.success(), "swaks, message {n}: {}", String::from_utf8_lossy(&out.stdout));
    }
    assert_eq!(inbox.python_ok("real_mail.py", &["check", "600"]).trim(), "checked 600");
}

fn transaction(raw: &mut Raw, message: &[u8]) -> String {
    assert_eq!(&raw.ask("MAIL FROM:<sender@ext.test>\r\n")[..3], "250");
    assert_eq!(&raw.ask("RCPT TO:<alice@example.test>\r\n")[..3], "250");
    assert_eq!(&raw.ask("DATA\r\n")[..3], "354");
    raw.send(message);
    raw.send(b".\r\n");
    raw.reply()
}

#[test]
fn refusals_have_the_codes_of_the_specification() {
    let mut inbox = Inbox::prepared();
    inbox.set("SMTP_MAX_MESSAGE_BYTES", 70_000).set("SMTP_INBOUND_MAX_RCPT_TO", 2);
    inbox.cli_ok(&["mailbox", "disable", "bob@example.test"]);
    inbox.start();
    let mut raw = Raw::greeted(inbox.smtp());
    let cases = [
        ("MAIL FROM:<a@ext.test> SIZE=70001\r\n", "552 5.3.4"),
        ("RCPT TO:<alice@example.test>\r\n", "503 5.5.1"),
        ("MAIL FROM:<a@ext.test> SIZE=70000\r\n", "250 2.1.0"),
        ("RCPT TO:<nobody@example.test>\r\n", "550 5.1.1"),
        ("RCPT TO:<bob@example.test>\r\n", "550 5.2.1"),
        ("RCPT TO:<someone@elsewhere.test>\r\n", "550 5.7.1"),
        ("RCPT TO:<alice@example.test>\r\n", "250 2.1.5"),
        ("RCPT TO:<alice+tag@example.test>\r\n", "250 2.1.5"),
        ("RCPT TO:<alice+more@example.test>\r\n", "452 4.5.3"),
        ("AUTH PLAIN AGFsaWNl\r\n", "502 5.5.1"),
        ("VRFY alice\r\n", "252 2.1.5"),
        ("EXPN list\r\n", "502 5.5.1"),
        ("FOO\r\n", "500 5.5.1"),
        ("RSET\r\n", "250 2.0.0"),
        ("MAIL FROM:<a@ext.test> FOO=1\r\n", "555 5.5.4"),
        ("MAIL FROM:<a@@ext.test>\r\n", "501 5.1.7"),
        ("MAIL FROM:<\u{e9}@ext.test>\r\n", "553 5.6.7"),
        ("MAIL FROM:<>\r\n", "250 2.1.0"),
        ("RCPT TO:<alice@>\r\n", "501 5.1.3"),
        ("QUIT\r\n", "221 2.0.0"),
    ];
    for (line, expected) in cases {
        let reply = raw.ask(line);
        assert!(reply.starts_with(expected), "{line:?}: {reply:?}, expected {expected}");
    }
}

#[test]
fn si16_messages_over_the_limit_without_announcement_are_refused_and_the_session_stays_in_step() {
    let mut inbox = Inbox::prepared();
    inbox.set("SMTP_MAX_MESSAGE_BYTES", 70_000);
    inbox.start();
    let mut raw = Raw::greeted(inbox.smtp());
    let head = b"From: a@ext.test\r\n\r\n".to_vec();
    let big = [head.clone(), b"0123456789abcdef\r\n".repeat(20_000)].concat();
    let reply = transaction(&mut raw, &big);
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    let reply = transaction(&mut raw, &[head, b"small\r\n".to_vec()].concat());
    assert!(reply.starts_with("250 2.0.0"), "{reply}");
}

#[test]
fn made_messages_get_the_reply_that_the_specification_gives_them() {
    if !have(&["python3"]) {
        return;
    }
    let inbox = Inbox::started();
    let refused_and_closed: [&[u8]; 3] = [
        b"From: a@ext.test\r\n\r\nbare\rcr\r\n",
        b"From: a@ext.test\r\n\r\nbare\nlf\r\n",
        b"From: a@ext.test\r\n\r\nnul\0\r\n",
    ];
    for message in refused_and_closed {
        let mut raw = Raw::greeted(inbox.smtp());
        let reply = transaction(&mut raw, message);
        assert!(reply.starts_with("550 5.5.2"), "{message:?}: {reply}");
        assert!(raw.closed());
    }
    let mut raw = Raw::greeted(inbox.smtp());
    let refused: [&[u8]; 4] = [
        b"Subject: no From\r\n\r\nx\r\n",
        b"From: a@ext.test\r\nFrom: b@ext.test\r\n\r\ntwo\r\n",
        b"From: nobody at all\r\n\r\nno address\r\n",
        b"From : a@ext.test\r\n\r\nspace before the colon\r\n",
    ];
    for message in refused {
        let reply = transaction(&mut raw, message);
        assert!(reply.starts_with("550 5.6.0"), "{message:?}: {reply}");
    }
    let long =
        [b"From: a@ext.test\r\nX-Test-Id: long\r\n\r\n".to_vec(), vec![b'x'; 200_000], b"\r\n".to_vec()]
            .concat();
    let carried: [&[u8]; 3] = [
        b"From: a@ext.test\r\nX-Test-Id: header\r\nSubject: gr\xfc\xdfe\r\n\r\n8-bit header\r\n",
        b"From: a@ext.test\r\nX-Test-Id: body\r\n\r\n8-bit body: \xff\xfe\r\n..stuffed\r\n",
        &long,
    ];
    for message in carried {
        let reply = transaction(&mut raw, message);
        assert!(reply.starts_with("250 2.0.0"), "{reply}");
    }
    let mut ids: Vec<String> =
        inbox.python_ok("ids.py", &["alice@example.test"]).lines().map(str::to_owned).collect();
    ids.sort();
    assert_eq!(ids, ["body", "header", "long"]);
}

#[test]
fn lmtp_answers_for_each_recipient() {
    let mut inbox = Inbox::prepared();
    let port = crate::harness::free_port();
    inbox.set("LMTP_SOCKET", format!("127.0.0.1:{port}"));
    inbox.start();
    let mut raw = Raw::connect(port);
    assert!(raw.reply().starts_with("220 "));
    assert!(raw.ask("EHLO client.test\r\n").starts_with("500 5.5.1"), "LMTP has no EHLO (RFC 2033 4.1)");
    assert!(raw.ask("LHLO client.test\r\n").starts_with("250"));
    assert!(raw.ask("MAIL FROM:<a@ext.test>\r\n").starts_with("250"));
    assert!(raw.ask("RCPT TO:<alice@example.test>\r\n").starts_with("250"));
    assert!(raw.ask("RCPT TO:<nobody@example.test>\r\n").starts_with("550 5.1.1"));
    assert!(raw.ask("RCPT TO:<bob@example.test>\r\n").starts_with("250"));
    assert!(raw.ask("DATA\r\n").starts_with("354"));
    raw.send(b"From: a@ext.test\r\n\r\nhello\r\n.\r\n");
    assert!(raw.reply().starts_with("250 2.0.0"));
    assert!(raw.reply().starts_with("250 2.0.0"));
    assert!(raw.ask("QUIT\r\n").starts_with("221"));
}

#[test]
fn aliases_catch_all_and_role_addresses_reach_their_mailboxes_once() {
    if !have(&["python3"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    inbox.cli_ok(&["alias", "add", "team@example.test", "--to", "alice@example.test", "bob@example.test"]);
    inbox.cli_ok(&["domain", "add", "catch.test", "--org", "test", "--set", "catch_all=bob@example.test"]);
    inbox.start();
    let mut raw = Raw::greeted(inbox.smtp());
    for (id, rcpts) in [
        ("both", &["team@example.test", "alice@example.test"][..]),
        ("tag", &["Alice+News@EXAMPLE.test"][..]),
        ("quoted", &["\"bob\"@example.test"][..]),
        ("catch", &["whoever@catch.test"][..]),
    ] {
        assert!(raw.ask("MAIL FROM:<a@ext.test>\r\n").starts_with("250"));
        for rcpt in rcpts {
            let reply = raw.ask(&format!("RCPT TO:<{rcpt}>\r\n"));
            assert!(reply.starts_with("250"), "{rcpt}: {reply}");
        }
        assert!(raw.ask("DATA\r\n").starts_with("354"));
        raw.send(format!("From: a@ext.test\r\nX-Test-Id: {id}\r\n\r\nx\r\n.\r\n").as_bytes());
        assert!(raw.reply().starts_with("250"));
    }
    let ids = |user: &str| {
        let mut ids: Vec<String> = inbox.python_ok("ids.py", &[user]).lines().map(str::to_owned).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids("alice@example.test"), ["both", "tag"]);
    assert_eq!(ids("bob@example.test"), ["both", "catch", "quoted"]);
}
