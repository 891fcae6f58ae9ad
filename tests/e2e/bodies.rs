//! How the bodies of messages are changed, and when they are not: BINARYMIME, long lines, large parts, and
//! servers without 8BITMIME (SPEC sections 4, 5 and 6).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::harness::{Inbox, Raw, eventually, have};
use crate::outbound::{TOOLS, World};

const BINARY: &[u8] = b"\x89PNG\r\n\x1a\n\0\0bare\nlf and\rcr \xff\xfe\r\n--not the boundary\r\n.\r\n";

fn binary_message() -> Vec<u8> {
    [
        &b"From: alice@example.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\
           Content-Transfer-Encoding: binary\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b\r\n\
           Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n"[..],
        BINARY,
        b"\r\n--b--\r\n",
    ]
    .concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn file(inbox: &Inbox, name: &str, octets: &[u8]) -> String {
    let path = inbox.dir.0.join(name);
    fs::write(&path, octets).expect("written");
    path.display().to_string()
}

/// The message that came to the far end, without the line about its envelope.
fn only_message(world: &World) -> Vec<u8> {
    let mut names: Vec<PathBuf> =
        fs::read_dir(&world.mail).expect("there").flatten().map(|e| e.path()).collect();
    names.retain(|p| p.extension().is_some_and(|e| e == "eml"));
    assert_eq!(names.len(), 1, "one message");
    let octets = fs::read(&names[0]).expect("readable");
    let line = octets.iter().position(|b| *b == b'\n').expect("a first line");
    octets[line + 1..].to_vec()
}

#[test]
fn binarymime_goes_in_by_bdat_and_comes_out_of_imap_with_the_same_octets() {
    if !have(&["python3"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let lmtp = crate::harness::free_port();
    inbox.set("LMTP_SOCKET", format!("127.0.0.1:{lmtp}"));
    inbox.start();
    for (port, hello) in
        [(inbox.smtp(), "EHLO"), (inbox.port("SMTP_SUBMISSION_PORT"), "EHLO"), (lmtp, "LHLO")]
    {
        let mut raw = Raw::connect(port);
        assert!(raw.reply().starts_with("220 "));
        let offer = raw.ask(&format!("{hello} client.test\r\n"));
        assert!(offer.contains("-BINARYMIME") && offer.contains("-CHUNKING"), "{offer}");
    }
    let message = binary_message();
    let mut raw = Raw::greeted(inbox.smtp());
    assert!(raw.ask("MAIL FROM:<a@ext.test> BODY=BINARYMIME\r\n").starts_with("250"));
    assert!(raw.ask("RCPT TO:<alice@example.test>\r\n").starts_with("250"));
    assert!(raw.ask("DATA\r\n").starts_with("503 5.5.1"), "BINARYMIME needs BDAT");
    let (front, back) = message.split_at(message.len() / 2);
    raw.send(&[format!("BDAT {}\r\n", front.len()).as_bytes(), front].concat());
    assert!(raw.reply().starts_with("250"));
    raw.send(&[format!("BDAT {} LAST\r\n", back.len()).as_bytes(), back].concat());
    assert!(raw.reply().starts_with("250 2.0.0"));
    let want = format!("{}\n{}\n", hex(b"hello"), hex(BINARY));
    assert_eq!(inbox.python_ok("parts.py", &["imap", "alice@example.test"]), want);
    // The same by submission; without the declaration the strict rules hold.
    let path = file(&inbox, "binary.eml", &message);
    let sent =
        inbox.python_ok("send_raw.py", &["alice@example.test", "bob@example.test", "BINARYMIME", &path]);
    assert!(sent.starts_with("250 2.0.0"), "{sent}");
    assert_eq!(inbox.python_ok("parts.py", &["imap", "bob@example.test"]), want);
    assert!(raw.ask("MAIL FROM:<a@ext.test> BODY=8BITMIME\r\n").starts_with("250"));
    assert!(raw.ask("RCPT TO:<alice@example.test>\r\n").starts_with("250"));
    raw.send(&[format!("BDAT {} LAST\r\n", message.len()).as_bytes(), &message].concat());
    assert!(raw.reply().starts_with("550 5.5.2"));
    assert!(raw.closed());
}

#[test]
fn binarymime_for_a_server_without_it_comes_back_as_5_6_3() {
    if !have(&TOOLS) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let mut world = World::new(&mut inbox);
    world.open();
    inbox.start();
    let path = file(&inbox, "binary.eml", &binary_message());
    inbox.python_ok("send_raw.py", &["alice@example.test", "friend@remote.test", "BINARYMIME", &path]);
    eventually(Duration::from_secs(20), "a bounce", || {
        inbox.python_ok("bounces.py", &["alice@example.test"]).contains("5.6.3")
    });
    assert!(world.received().is_empty());
}

#[test]
fn so5_submitted_mail_is_made_7_bit_with_short_lines_for_a_server_without_8bitmime() {
    if !have(&TOOLS) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let mut world = World::new(&mut inbox);
    fs::write(world.mail.join("seven-bit"), "").expect("written");
    world.open();
    inbox.start();
    let long = "x".repeat(1_000_000);
    let text = format!(".\r\n..\r\n.dot\r\nGr\u{fc}\u{df}e \r\n{long}\r\n-- \r\nend");
    let image: Vec<u8> =
        (0..=255u8).filter(|b| !matches!(b, 0 | b'\r' | b'\n')).cycle().take(5_000).collect();
    let message = [
        b"From: alice@example.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\
          Content-Transfer-Encoding: 8bit\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\
          Content-Transfer-Encoding: 8bit\r\n\r\n",
        text.as_bytes(),
        b"\r\n--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
        &image,
        b"\r\n--b--\r\n",
    ]
    .concat();
    let path = file(&inbox, "long.eml", &message);
    inbox.python_ok("send_raw.py", &["alice@example.test", "friend@remote.test", "8BITMIME", &path]);
    eventually(Duration::from_secs(30), "delivery", || world.received().len() == 1);
    let wire = fs::read(world.mail.join("wire")).expect("captured");
    assert!(wire.is_ascii());
    assert!(wire.split(|b| *b == b'\n').all(|line| line.len() <= 999));
    let path = file(&inbox, "arrived.eml", &only_message(&world));
    let want = format!("{}\n{}\n", hex(text.as_bytes()), hex(&image));
    assert_eq!(inbox.python_ok("parts.py", &[&path]), want);
    // Nothing of this one is changed before it is queued: the copy is made for the server.
    let short = "From: alice@example.test\r\n\r\nGr\u{fc}\u{df}e in a line that is long enough\r\n";
    let path = file(&inbox, "short.eml", short.as_bytes());
    inbox.python_ok("send_raw.py", &["alice@example.test", "friend@remote.test", "8BITMIME", &path]);
    eventually(Duration::from_secs(30), "delivery", || world.received().len() == 2);
    let copy = "\r\nMIME-Version: 1.0\r\n\r\nGr=C3=BC=C3=9Fe in a line that is long enough\r\n";
    assert!(world.received().iter().any(|m| m.ends_with(copy)));
    assert!(fs::read(world.mail.join("wire")).expect("captured").is_ascii());
    // What somebody signed is not changed.
    let signed = "From: alice@example.test\r\nDKIM-Signature: v=1; d=other.test\r\n\r\n\u{fc}\r\n";
    let path = file(&inbox, "signed.eml", signed.as_bytes());
    inbox.python_ok("send_raw.py", &["alice@example.test", "friend@remote.test", "8BITMIME", &path]);
    eventually(Duration::from_secs(20), "a bounce", || {
        inbox.python_ok("bounces.py", &["alice@example.test"]).contains("5.6.3")
    });
    assert_eq!(world.received().len(), 2);
}

#[test]
fn so5_relayed_mail_is_on_the_wire_as_it_came_or_comes_back() {
    if !have(&TOOLS) {
        return;
    }
    let mut inbox = Inbox::prepared();
    inbox.cli_ok(&["alias", "add", "away@example.test", "--to", "friend@remote.test"]);
    let mut world = World::new(&mut inbox);
    world.open();
    inbox.start();
    let message = [
        &b"From: a@ext.test\r\nX-Test-Id: so5\r\n\r\n.\r\n..\r\n.dot\r\n8-bit: \xff\xc3\xa4\r\n"[..],
        &b"x".repeat(1_000_000),
        b"\r\n.\r\n",
    ]
    .concat();
    let stuffed = [
        &b"From: a@ext.test\r\nX-Test-Id: so5\r\n\r\n..\r\n...\r\n..dot\r\n8-bit: \xff\xc3\xa4\r\n"[..],
        &b"x".repeat(1_000_000),
        b"\r\n..\r\n.\r\n",
    ]
    .concat();
    let send = |inbox: &Inbox| {
        let mut raw = Raw::greeted(inbox.smtp());
        assert!(raw.ask("MAIL FROM:<a@ext.test> BODY=8BITMIME\r\n").starts_with("250"));
        assert!(raw.ask("RCPT TO:<away@example.test>\r\n").starts_with("250"));
        assert!(raw.ask("DATA\r\n").starts_with("354"));
        raw.send(&stuffed);
        assert!(raw.reply().starts_with("250 2.0.0"));
    };
    send(&inbox);
    eventually(Duration::from_secs(30), "delivery", || world.received().len() == 1);
    assert!(only_message(&world).ends_with(&message), "what was below our fields is as it came");
    let wire = fs::read(world.mail.join("wire")).expect("captured");
    assert!(
        wire.windows(stuffed.len()).any(|w| w == stuffed),
        "and on the wire it is stuffed as RFC 5321 says"
    );
    fs::write(world.mail.join("seven-bit"), "").expect("written");
    // A connection that was kept would still have what its server offered before.
    inbox.stop();
    inbox.start();
    send(&inbox);
    eventually(Duration::from_secs(20), "a refusal", || inbox.log().contains("5.6.3"));
}

#[test]
fn one_part_may_decode_to_18_874_368_octets_and_no_more() {
    if !have(&["python3"]) {
        return;
    }
    let inbox = Inbox::started();
    let message = |octets: usize| {
        let head = "From: alice@example.test\r\nMIME-Version: 1.0\r\nContent-Type: application/zip\r\n\
                    Content-Transfer-Encoding: base64\r\n\r\n";
        let line = ["QUFB".repeat(19), "\r\n".into()].concat();
        let rest = octets % 57;
        let end = ["QUFB".repeat(rest / 3).as_str(), ["", "QQ==", "QUE="][rest % 3], "\r\n"].concat();
        [head, &line.repeat(octets / 57), &end].concat().into_bytes()
    };
    for (name, octets, reply) in [("at", 18_874_368, "250 2.0.0"), ("past", 18_874_369, "552 5.3.4")] {
        let path = file(&inbox, name, &message(octets));
        let sent = inbox.python_ok("send_raw.py", &["alice@example.test", "bob@example.test", "7BIT", &path]);
        assert!(sent.starts_with(reply), "{octets}: {sent}");
    }
}
