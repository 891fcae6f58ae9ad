//! Nothing that is secret rests in clear: after mixed traffic no text of a message, no password and no key is found in
//! the database, the objects or the logs.

use std::fs;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::harness::{Inbox, PASSWORD, Raw, have};

/// One for each way in.
const CANARIES: [&str; 8] = [
    "QxkVSubjectCanary",
    "QxkVBodyCanary",
    "QxkVFileNameCanary",
    "QxkVAttachmentCanary",
    "QxkVSubmittedCanary",
    "QxkVAppendedCanary",
    "QxkVApiSubjectCanary",
    "QxkVApiBodyCanary",
];
/// A key of 32 octets.
const TENANT_KEY: &str = "UXhrVlRlbmFudEtleVRlbmFudEtleVRlbmFudEtleVE=";

#[test]
fn ti5_no_text_password_or_key_is_found_on_disk_or_in_the_logs() {
    if !have(&["python3"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    inbox.set("LOG_LEVEL", "debug").set("INBOX_STORE_PARSED_PARTS", "true");
    inbox.set("DNS_RESOLVERS", "127.0.0.1:1");
    inbox.cli_ok(&["domain", "set", "example.test", &format!("enc_sse_c_key_b64={TENANT_KEY}")]);
    let key = inbox.cli_json(&["key", "create", "--json", "--org", "test", "--scope", "send,read"]);
    let secret = key["secret"].as_str().expect("a secret").to_owned();
    inbox.start();
    traffic(&inbox, &secret);
    assert!(inbox.stop().success());
    inbox.start();
    inbox.kill();
    let mut wanted: Vec<(String, Vec<u8>)> = Vec::new();
    for text in CANARIES.iter().copied().chain([PASSWORD, secret.as_str(), TENANT_KEY]) {
        for form in forms(text.as_bytes()) {
            wanted.push((text.to_owned(), form));
        }
    }
    wanted.push(("the tenant's key".into(), STANDARD.decode(TENANT_KEY).expect("base64")));
    let master = fs::read(inbox.data_dir().join("master.key")).expect("the master key");
    let master = STANDARD.decode(master.trim_ascii()).expect("base64");
    wanted.push(("the master key".into(), master));
    let mut files = files_under(inbox.data_dir());
    files.retain(|path| !path.ends_with("master.key"));
    files.push(inbox.log_path());
    assert!(
        files.iter().any(|path| path.to_string_lossy().contains("/att/")),
        "attachments are there: {files:?}"
    );
    assert!(files.iter().any(|path| path.to_string_lossy().contains("/part/")), "parts are there");
    for path in files {
        let octets = fs::read(&path).unwrap_or_default();
        for (what, form) in &wanted {
            let found = octets.windows(form.len()).position(|window| window == form);
            assert_eq!(found, None, "{what} is in {}", path.display());
        }
    }
}

/// Mail by SMTP, submission, IMAP and the API; a log-in that fails.
fn traffic(inbox: &Inbox, secret: &str) {
    let [subject, body, name, attached, submitted, appended, api_subject, api_body] = CANARIES;
    let message = format!(
        "From: a@ext.test\r\nTo: alice@example.test\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n{body}\r\n--b\r\n\
         Content-Type: application/pdf; name=\"{name}.pdf\"\r\nContent-Disposition: attachment; filename=\"{name}.pdf\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{}\r\n--b--\r\n",
        STANDARD
            .encode(attached.repeat(40))
            .as_bytes()
            .chunks(76)
            .map(|l| String::from_utf8_lossy(l))
            .collect::<Vec<_>>()
            .join("\r\n")
    );
    for rcpt in ["alice@example.test", "bob@example.test"] {
        let mut raw = Raw::greeted(inbox.smtp());
        raw.ask("MAIL FROM:<a@ext.test>\r\n");
        assert!(raw.ask(&format!("RCPT TO:<{rcpt}>\r\n")).starts_with("250"));
        assert!(raw.ask("DATA\r\n").starts_with("354"));
        raw.send(message.as_bytes());
        assert!(raw.ask(".\r\n").starts_with("250"));
    }
    inbox.python_ok(
        "submit.py",
        &["alice@example.test", "alice@example.test", "bob@example.test,far@elsewhere.test", "2", submitted],
    );
    inbox.python_ok("canary.py", &["alice@example.test", appended, "wrong password"]);
    let api = crate::api::User { port: inbox.port("HTTP_PORT"), authorization: format!("Bearer {secret}") };
    api.send(json!({
        "from": "alice@example.test", "to": ["bob@example.test", "far@elsewhere.test"],
        "subject": api_subject, "textBody": api_body,
    }));
}

/// The octets as they are, and in base64 at each of the three places in which they can begin.
fn forms(octets: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![octets.to_vec()];
    for shift in 0..3 {
        let padded = [&vec![0; shift], octets].concat();
        let text = STANDARD.encode(&padded);
        // The first and the last characters hold bits of what is around.
        let whole = text.trim_end_matches('=');
        let (from, to) = (shift.min(1) * 4, whole.len().saturating_sub(2));
        if to > from + 8 {
            forms.push(whole.as_bytes()[from..to].to_vec());
        }
    }
    forms
}

fn files_under(dir: PathBuf) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { dirs.push(path) } else { found.push(path) }
        }
    }
    found
}
