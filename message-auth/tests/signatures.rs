//! What we sign, judged by others: the verifier of the library and, where it is there, dkimpy.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fs;
use std::hash::Hash;
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::common::verify::DomainKey;
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt};
use message_auth::sign::{BodyHash, Key, SIGNED_WHEN_PRESENT, Signer};
use protocol_core::Timestamp;
use protocol_core::message::header::header_len;

const RSA: &str = include_str!("data/test-rsa-private.b64");
const RSA_PUBLIC: &str = include_str!("data/test-rsa-public.b64");
const ED25519: &str = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";
const ED25519_PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const ALWAYS: [&str; 4] = ["From", "To", "Subject", "Date"];

/// Every field of the specification, two of them twice.
const HEADER: &str = "From: Alice <alice@example.com>\r\nTo: bob@example.net,\r\n  carol@example.org\r\n\
    Subject: A  long \t subject\r\n\twith folding \r\nDate: Fri, 11 Jul 2003 21:00:37 -0700\r\nsender: a@example.com\r\n\
    Cc: one@example.net\r\nCC: two@example.net\r\nReply-To: r@example.com\r\nMessage-ID: <1@example.com>\r\n\
    In-Reply-To: <0@example.com>\r\nReferences: <0@example.com>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\
    Content-Transfer-Encoding: 8bit\r\nList-Unsubscribe: <https://example.com/u>\r\n\
    List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nX-Unsigned: x\r\n\r\n";

fn der(b64: &str) -> Vec<u8> {
    BASE64.decode(b64.split_whitespace().collect::<String>()).unwrap()
}

/// The verifiers compare with the clock and take no other time.
#[allow(clippy::disallowed_methods)]
fn now() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_secs(now.as_secs() as i64)
}

/// The message with both signatures on top.
fn signed_at(message: &[u8], at: Timestamp) -> Vec<u8> {
    let keys = [("rsa", RSA), ("ed", ED25519)];
    let keys = keys.map(|(selector, key)| (selector.to_owned(), Key::from_pkcs8(&der(key)).unwrap()));
    let signer = Signer::new("example.com", keys.into(), &ALWAYS.map(str::to_owned));
    let (header, body) = message.split_at(header_len(message));
    let mut hash = BodyHash::new();
    body.chunks(7).for_each(|piece| hash.feed(piece));
    [signer.sign(header, hash.finish(), at).unwrap(), message.to_vec()].concat()
}

fn signed(message: &str) -> Vec<u8> {
    signed_at(message.as_bytes(), now())
}

/// The DNS of these tests.
struct Records(HashMap<Box<str>, Txt>);

impl Records {
    fn new() -> Records {
        let rsa = format!("v=DKIM1; k=rsa; p={}", RSA_PUBLIC.trim());
        let ed = format!("v=DKIM1; k=ed25519; p={ED25519_PUBLIC}");
        let records = [("rsa", rsa), ("ed", ed)].map(|(selector, record)| {
            let key = DomainKey::parse(record.as_bytes()).unwrap();
            (format!("{selector}._domainkey.example.com.").into(), Txt::DomainKey(Arc::new(key)))
        });
        Records(records.into())
    }
}

impl ResolverCache<Box<str>, Txt> for Records {
    fn get<Q>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.get(name).cloned()
    }

    fn remove<Q>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: std::time::Instant) {}
}

/// How many of the signatures the library finds good, and how many there are.
fn good(message: &[u8]) -> (usize, usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let authenticator = MessageAuthenticator::new_quad9().unwrap();
        let parsed = AuthenticatedMessage::parse(message).expect("it has a header");
        let records = Records::new();
        let results = authenticator.verify_dkim(Parameters::new(&parsed).with_txt_cache(&records)).await;
        let passed = results.iter().filter(|r| *r.result() == DkimResult::Pass).count();
        (passed, results.len())
    })
}

fn replaced(message: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(message.to_vec()).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from}");
    text.replace(from, to).into_bytes()
}

/// Bodies that canonicalisation treats in different ways.
fn bodies() -> Vec<String> {
    let long = "x".repeat(100_000);
    [
        "",
        "text\r\n",
        "no line end",
        "\r\n",
        "\r\n\r\n\r\n",
        "text\r\n\r\n\r\n",
        " a \t b \r\n\r\nc\r\n",
        &long,
    ]
    .map(str::to_owned)
    .into()
}

#[test]
fn both_signatures_are_good_for_every_body() {
    for body in bodies() {
        let message = signed(&format!("{HEADER}{body}"));
        assert_eq!(good(&message), (2, 2), "{body:.20}");
    }
}

#[test]
fn long_headers_are_signed() {
    let references = " <123456789@example.com>\r\n".repeat(2_000);
    let header =
        format!("From: a@example.com\r\nReferences:{references}Subject: {}\r\n\r\n", "s".repeat(900));
    assert_eq!(good(&signed(&format!("{header}body\r\n"))), (2, 2));
}

#[test]
fn si31_a_second_field_breaks_both_signatures() {
    let message = signed(&format!("{HEADER}body\r\n"));
    for name in ALWAYS.iter().chain(&SIGNED_WHEN_PRESENT) {
        let field = format!("{name}: changed\r\n");
        assert_eq!(good(&[field.as_bytes(), &message].concat()).0, 0, "{name} on top");
        let below = replaced(&message, "X-Unsigned: x\r\n", &format!("X-Unsigned: x\r\n{field}"));
        assert_eq!(good(&below).0, 0, "{name} below");
    }
    // A field that is not signed changes nothing.
    assert_eq!(good(&[b"Received: from x by y; now\r\n", &message[..]].concat()), (2, 2));
    assert_eq!(good(&replaced(&message, "X-Unsigned: x", "X-Unsigned: y")), (2, 2));
}

#[test]
fn si31_a_missing_field_of_the_settings_cannot_be_added() {
    let message = signed("From: a@example.com\r\nX-Unsigned: x\r\n\r\nbody\r\n");
    assert_eq!(good(&message), (2, 2));
    for name in ["To", "Subject", "Date"] {
        assert_eq!(good(&[format!("{name}: x\r\n").as_bytes(), &message].concat()).0, 0, "{name}");
    }
}

#[test]
fn a_change_of_any_signed_field_or_of_the_body_breaks_both_signatures() {
    let message = signed(&format!("{HEADER}body\r\n"));
    for line in HEADER.split("\r\n").filter(|line| line.contains(": ") && !line.starts_with("X-")) {
        let changed = format!("{line}!");
        assert_eq!(
            good(&replaced(&message, &format!("\r\n{line}\r\n"), &format!("\r\n{changed}\r\n"))).0,
            0,
            "{line}"
        );
        assert_eq!(good(&replaced(&message, &format!("\r\n{line}\r\n"), "\r\nX: y\r\n")).0, 0, "{line} gone");
    }
    assert_eq!(good(&replaced(&message, "\r\n\r\nbody", "\r\n\r\nbodies")).0, 0);
    assert_eq!(good(&[&message[..], b"more\r\n"].concat()).0, 0);
}

#[test]
fn si32_a_message_sent_again_after_seven_days_fails() {
    let at = |days: i64| Timestamp::from_secs(now().secs() - days * 86_400 + 60);
    let message = format!("{HEADER}body\r\n");
    assert_eq!(good(&signed_at(message.as_bytes(), at(7))), (2, 2));
    let late = Timestamp::from_secs(at(7).secs() - 120);
    assert_eq!(good(&signed_at(message.as_bytes(), late)).0, 0);
}

fn have_dkimpy() -> bool {
    let imports = Command::new("python3").args(["-c", "import dkim, nacl"]).output();
    if imports.is_ok_and(|out| out.status.success()) {
        return true;
    }
    assert!(std::env::var_os("INBOX_TEST_REQUIRE_ALL").is_none(), "not installed: dkimpy and pynacl");
    eprintln!("left out, not installed: dkimpy and pynacl");
    false
}

const DKIMPY: &str = r#"
import dkim, sys
records = dict(zip((b"rsa._domainkey.example.com.", b"ed._domainkey.example.com."), (a.encode() for a in sys.argv[1:3])))
for path in sys.argv[3:]:
    signed = dkim.DKIM(open(path, "rb").read())
    count = sum(1 for name, _ in signed.headers if name.lower() == b"dkim-signature")
    def good(index):
        try:
            return signed.verify(idx=index, dnsfunc=lambda name, timeout=5: records[name])
        except dkim.DKIMException:
            return False
    print(sum(good(index) for index in range(count)))
"#;

/// How many signatures of each message dkimpy finds good.
fn dkimpy(messages: &[Vec<u8>]) -> Vec<usize> {
    let dir = std::env::temp_dir().join(format!("inbox-dkimpy-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let paths: Vec<_> = (0..messages.len()).map(|n| dir.join(format!("{n}.eml"))).collect();
    for (path, message) in paths.iter().zip(messages) {
        fs::write(path, message).unwrap();
    }
    let out = Command::new("python3")
        .args(["-c", DKIMPY, &format!("v=DKIM1; k=rsa; p={}", RSA_PUBLIC.trim())])
        .arg(format!("v=DKIM1; k=ed25519; p={ED25519_PUBLIC}"))
        .args(&paths)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    fs::remove_dir_all(&dir).unwrap();
    String::from_utf8(out.stdout).unwrap().lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn si31_dkimpy_agrees() {
    if !have_dkimpy() {
        return;
    }
    let message = signed(&format!("{HEADER}body\r\n"));
    let mut good: Vec<Vec<u8>> = bodies().iter().map(|body| signed(&format!("{HEADER}{body}"))).collect();
    // The library's verifier does not take a last line of white space for a blank one; RFC 6376 §3.4.4 does.
    good.push(signed(&format!("{HEADER}text\r\n\r\n \t \r\n")));
    good.push([b"Return-Path: <a@b>\r\nReceived: from x by y; now\r\n", &message[..]].concat());
    assert_eq!(dkimpy(&good), vec![2; good.len()]);
    let mut bad = vec![[&message[..], b"more\r\n"].concat()];
    for name in ALWAYS.iter().chain(&SIGNED_WHEN_PRESENT) {
        bad.push([format!("{name}: second\r\n").as_bytes(), &message].concat());
    }
    for line in HEADER.split("\r\n").filter(|line| line.contains(": ") && !line.starts_with("X-")) {
        bad.push(replaced(&message, &format!("\r\n{line}\r\n"), &format!("\r\n{line}!\r\n")));
    }
    assert_eq!(dkimpy(&bad), vec![0; bad.len()]);
}
