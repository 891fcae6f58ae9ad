//! Where messages rest and who can read them there: a bucket, a tenant's own keys, mail only its owner opens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::harness::{Inbox, Raw, TempDir, eventually, have};
use crate::s3::{BUCKET, KEY_ID, S3Server, SECRET};

const CANARY: &str = "canary-in-the-coal-mine";

/// An inbox whose objects rest in the server's bucket; its data is prepared, it is not started.
pub fn prepared_in(server: &S3Server) -> Inbox {
    let mut inbox = Inbox::bare();
    inbox
        .set("S3_ENDPOINT", server.endpoint())
        .set("S3_BUCKET", BUCKET)
        .set("S3_ACCESS_KEY_ID", KEY_ID)
        .set("S3_SECRET_ACCESS_KEY", SECRET);
    if let Some(root) = server.root() {
        inbox.set("TLS_EXTRA_ROOTS_FILE", root.display());
    }
    inbox.cli_ok(&["org", "create", "test"]);
    inbox.cli_ok(&["domain", "add", "example.test", "--org", "test"]);
    for user in ["alice", "bob"] {
        inbox.add_mailbox(&format!("{user}@example.test"));
    }
    inbox
}

/// Sends a message; the last reply.
fn send(inbox: &Inbox, rcpt: &str, message: &str) -> String {
    let mut raw = Raw::greeted(inbox.smtp());
    assert!(raw.ask("MAIL FROM:<sender@ext.test>\r\n").starts_with("250"));
    let reply = raw.ask(&format!("RCPT TO:<{rcpt}>\r\n"));
    if !reply.starts_with("250") {
        return reply;
    }
    assert!(raw.ask("DATA\r\n").starts_with("354"));
    raw.send(message.as_bytes());
    raw.ask(".\r\n")
}

fn message(n: usize, body: &str) -> String {
    format!(
        "From: Sender <sender@ext.test>\r\nTo: alice@example.test\r\nSubject: {CANARY} {n}\r\n\
         Date: Mon, 5 Jan 2026 10:00:00 +0000\r\nMessage-ID: <{n}@ext.test>\r\n\r\n{body}\r\n"
    )
}

/// The messages of an inbox as IMAP shows them.
fn inbox_of(inbox: &Inbox, user: &str) -> Vec<String> {
    let text = inbox.python_ok("folder.py", &[user, "INBOX"]);
    serde_json::from_str(&text).expect("a list")
}

fn files_under(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { dirs.push(path) } else { found.push(path) }
        }
    }
    found
}

fn contains(octets: &[u8], what: &[u8]) -> bool {
    octets.windows(what.len()).any(|window| window == what)
}

#[test]
fn mail_goes_through_a_bucket_in_and_out_over_restarts() {
    if !have(&["python3"]) {
        return;
    }
    let server = S3Server::start(None);
    let mut inbox = prepared_in(&server);
    inbox.start();
    let large =
        "a line of seventy octets or so that fills a large message quickly\r\n".to_owned().repeat(80_000);
    for (n, body) in ["small", "another", &large].into_iter().enumerate() {
        assert!(send(&inbox, "alice@example.test", &message(n, body)).starts_with("250"), "message {n}");
    }
    let state = server.state();
    assert!(state.contains("\"parts\": 2"), "the large one went in parts: {state}");
    for key in server.keys() {
        assert!(key.starts_with("msg/") && key.ends_with(".eml"), "{key}");
        assert!(!contains(&server.raw(&key), CANARY.as_bytes()), "{key} is in clear");
    }
    let before = inbox_of(&inbox, "alice@example.test");
    assert_eq!(before.len(), 3);
    assert!(before[0].ends_with("small\r\n") && before[2].ends_with(&format!("{large}\r\n")));
    assert!(inbox.stop().success());
    inbox.start();
    assert!(send(&inbox, "alice@example.test", &message(3, "after")).starts_with("250"));
    inbox.kill();
    inbox.start();
    let after = inbox_of(&inbox, "alice@example.test");
    assert_eq!(after[..3], before[..]);
    assert_eq!(after.len(), 4);
    // Nothing but marks without octets lies here.
    let local = files_under(&inbox.data_dir().join("incoming"));
    assert!(local.iter().all(|path| fs::metadata(path).map_or(0, |m| m.len()) == 0), "{local:?}");
    server.faults(r#"[{"on": "PUT", "do": "status", "status": 403, "code": "AccessDenied"}]"#);
    assert!(send(&inbox, "alice@example.test", &message(4, "refused")).starts_with("451 4.3.0"));
    server.faults("[]");
    assert!(inbox.cli(&["check"]).status.success());
    inbox.cli_ok(&["mailbox", "delete", "alice@example.test"]);
    assert_eq!(server.keys(), Vec::<String>::new(), "a deleted mailbox takes its objects");
    assert!(!inbox.log().contains(SECRET));
}

#[test]
fn a_bucket_that_encrypts_gets_the_tenants_key() {
    if !have(&["python3", "openssl"]) {
        return;
    }
    let dir = TempDir::new();
    let server = S3Server::start(Some(&dir.0.join("tls")));
    let mut inbox = prepared_in(&server);
    inbox.set("S3_ENCRYPTION", "sse-c");
    inbox.start();
    assert!(send(&inbox, "alice@example.test", &message(0, "first")).starts_with("250"));
    assert!(server.state().contains("\"sse_c\": true") && !server.state().contains("\"sse_c\": false"));
    // A key of the domain's own takes over while the server runs, for what is there too.
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let before = server.keys();
    let raw = server.raw(&before[0]);
    let set = format!("enc_sse_c_key_b64={key}");
    let shown = inbox.cli_ok(&["domain", "set", "example.test", &set, "--json"]);
    assert!(!shown.contains(key));
    assert_ne!(server.raw(&before[0]), raw, "it was sealed anew");
    assert!(send(&inbox, "alice@example.test", &message(1, "second")).starts_with("250"));
    inbox.stop();
    inbox.start();
    let found = inbox_of(&inbox, "alice@example.test");
    assert!(found.len() == 2 && found[0].ends_with("first\r\n") && found[1].ends_with("second\r\n"));
    assert!(!inbox.log().contains(key));
    inbox.stop();
    inbox.set("S3_ENDPOINT", server.endpoint().replace("127.0.0.1", "localhost")).set("S3_BUCKET", "nowhere");
    let out = inbox.cli(&["org", "list"]);
    let why = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(
        !out.status.success() && why.contains("NoSuchBucket") && why.contains("S3_BUCKET=nowhere"),
        "{why}"
    );
}

fn run(command: &mut Command) -> Output {
    let out = command.output().expect("the program runs");
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

fn piped(command: &mut Command, input: &[u8]) -> Output {
    use std::io::Write;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    let mut stdin = child.stdin.take().expect("piped");
    // It writes while it reads.
    let out = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).expect("it reads"));
        child.wait_with_output().expect("it ends")
    });
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

/// Nothing on disk but the files named may hold the canary.
fn nothing_in_clear(inbox: &Inbox) {
    for path in files_under(&inbox.data_dir()) {
        let octets = fs::read(&path).unwrap_or_default();
        assert!(!contains(&octets, CANARY.as_bytes()), "{} holds the text", path.display());
    }
    assert!(!inbox.log().contains(CANARY));
}

#[test]
fn mail_for_an_age_recipient_is_opened_by_the_age_tool_alone() {
    if !have(&["python3", "age", "age-keygen"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let key_file = inbox.dir.0.join("key.txt");
    run(Command::new("age-keygen").arg("-o").arg(&key_file));
    let recipient = run(Command::new("age-keygen").arg("-y").arg(&key_file)).stdout;
    let recipient = String::from_utf8(recipient).expect("text");
    inbox.cli_ok(&["domain", "set", "example.test", "enc_mode=e2ee"]);
    inbox.start();
    // Without a key mail waits at its sender's; nothing is kept in clear.
    let refused = send(&inbox, "alice@example.test", &message(0, "too early"));
    assert!(refused.starts_with("451 4.3.5"), "{refused}");
    inbox.cli_ok(&[
        "domain",
        "set",
        "example.test",
        &format!("enc_e2ee_recipient={}", recipient.trim()),
        "enc_wrapped_dek_customer=d3JhcHBlZA",
    ]);
    let sent = message(1, &"a secret line\r\n".repeat(20_000));
    assert!(send(&inbox, "alice@example.test", &sent).starts_with("250"));
    let shown = inbox_of(&inbox, "alice@example.test");
    let (head, body) = shown[0].split_once("\r\n\r\n").expect("a header");
    assert!(
        head.contains("Subject: [encrypted]") && head.contains("From: Sender <sender@ext.test>"),
        "{head}"
    );
    assert!(head.contains("Message-ID: <1@ext.test>") && head.contains("message.eml.age"), "{head}");
    assert!(!shown[0].contains(CANARY));
    let file = piped(Command::new("base64").args(["-d", "-i"]), body.as_bytes()).stdout;
    let opened = piped(Command::new("age").arg("-d").arg("-i").arg(&key_file), &file).stdout;
    assert!(String::from_utf8_lossy(&opened).ends_with(&sent), "the age tool opens what was sent");
    nothing_in_clear(&inbox);
    // What is encrypted by its writer stays as it is.
    let own = "From: a@ext.test\r\nContent-Type: multipart/encrypted; boundary=b;\r\n protocol=\"application/pgp-encrypted\"\r\n\r\n\
        --b\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n--b\r\n\r\nx\r\n--b--\r\n";
    assert!(send(&inbox, "alice@example.test", own).starts_with("250"));
    assert!(inbox_of(&inbox, "alice@example.test")[1].ends_with(own));
    assert!(inbox.cli(&["check"]).status.success());
}

#[test]
fn mail_for_an_openpgp_certificate_is_pgp_mime_that_gnupg_opens() {
    if !have(&["python3", "gpg"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    let home = TempDir::new();
    let gpg = |args: &[&str]| {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(&home.0).args(["--batch", "--quiet", "--no-tty"]).args(args);
        command
    };
    fs::set_permissions(&home.0, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .expect("a mode can be set");
    run(&mut gpg(&[
        "--pinentry-mode",
        "loopback",
        "--passphrase",
        "",
        "--quick-gen-key",
        "alice@example.test",
    ]));
    let certificate = run(&mut gpg(&["--armor", "--export", "alice@example.test"])).stdout;
    let certificate = String::from_utf8(certificate).expect("armored");
    inbox.cli_ok(&[
        "domain",
        "set",
        "example.test",
        "enc_mode=e2ee",
        &format!("enc_e2ee_recipient={certificate}"),
    ]);
    inbox.start();
    let sent = message(1, &"a secret line\r\n".repeat(20_000));
    assert!(send(&inbox, "alice@example.test", &sent).starts_with("250"));
    let shown = inbox_of(&inbox, "alice@example.test").remove(0);
    assert!(shown.contains("protocol=\"application/pgp-encrypted\"") && !shown.contains(CANARY));
    let from = shown.find("-----BEGIN PGP MESSAGE-----").expect("armor");
    let opened = piped(&mut gpg(&["--decrypt"]), &shown.as_bytes()[from..]).stdout;
    assert!(String::from_utf8_lossy(&opened).ends_with(&sent), "GnuPG opens what was sent");
    nothing_in_clear(&inbox);
    // A certificate that has expired is no key.
    let past = ["--faked-system-time", "20200101T000000", "--pinentry-mode", "loopback", "--passphrase", ""];
    let generate = ["--quick-gen-key", "old@example.test", "default", "default", "1d"];
    run(&mut gpg(&[&past[..], &generate].concat()));
    let old = run(&mut gpg(&["--armor", "--export", "old@example.test"])).stdout;
    let set = format!("enc_e2ee_recipient={}", String::from_utf8(old).expect("armored"));
    let out = inbox.cli(&["domain", "set", "example.test", &set]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("expired"), "{out:?}");
    let _ = Command::new("gpgconf").arg("--homedir").arg(&home.0).args(["--kill", "all"]).status();
}

#[test]
fn ti7_keys_change_while_mail_comes_and_the_server_is_killed() {
    if !have(&["python3"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    inbox.start();
    let mut sent = 0;
    for n in 0..10 {
        assert!(send(&inbox, "alice@example.test", &message(n, "before")).starts_with("250"));
        sent += 1;
    }
    let master = inbox.data_dir().join("master.key");
    for (n, delay_ms) in [1, 40, 150].into_iter().enumerate() {
        for rotate in [&["org", "rotate-key", "test"][..], &["master-key", "rotate"]] {
            let key = fs::read(&master).expect("the key file");
            let mut command = inbox.command();
            command.args(rotate).stdout(Stdio::null()).stderr(Stdio::null());
            let mut rotating = command.spawn().expect("the binary runs");
            // Not waited for: this chooses the moment at which the server is killed.
            std::thread::sleep(std::time::Duration::from_millis(delay_ms));
            inbox.kill();
            rotating.wait().expect("it ends");
            inbox.start();
            assert!(send(&inbox, "alice@example.test", &message(n, "between")).starts_with("250"));
            sent += 1;
            eventually(
                std::time::Duration::from_secs(30),
                "the change of the master key is finished",
                || !fs::read_to_string(&master).unwrap_or_default().contains("old "),
            );
            let out = inbox.cli(rotate);
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            if rotate[0] == "master-key" {
                assert_ne!(fs::read(&master).expect("the key file"), key);
            }
        }
    }
    // Log-ins, mail and signatures need what was sealed.
    let found = inbox_of(&inbox, "alice@example.test");
    assert_eq!(found.len(), sent);
    assert!(found[0].ends_with("before\r\n"));
    inbox.python_ok(
        "submit.py",
        &["alice@example.test", "alice@example.test", "bob@example.test", "1", "signed"],
    );
    assert!(inbox_of(&inbox, "bob@example.test")[0].contains("DKIM-Signature:"));
    assert!(inbox.cli(&["check"]).status.success());
}
