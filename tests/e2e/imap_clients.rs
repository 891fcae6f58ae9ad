//! Ordinary IMAP clients: mbsync, curl, imaplib.

use std::fs;
use std::process::Command;

use crate::harness::{Inbox, PASSWORD, have};

#[test]
fn mbsync_pulls_the_folder_and_finds_nothing_to_do_the_second_time() {
    if !have(&["python3", "mbsync"]) {
        return;
    }
    let inbox = Inbox::started();
    inbox.python_ok("real_mail.py", &["send", "0", "120"]);
    let maildir = inbox.dir.0.join("mail");
    fs::create_dir_all(&maildir).expect("a directory");
    let config = inbox.dir.0.join("mbsyncrc");
    fs::write(
        &config,
        format!(
            "IMAPAccount inbox\nHost 127.0.0.1\nPort {}\nUser alice@example.test\nPass \"{PASSWORD}\"\n\
             SSLType IMAPS\nCertificateFile {}\n\n\
             IMAPStore far\nAccount inbox\n\n\
             MaildirStore near\nPath {}/\nInbox {}/INBOX\nSubFolders Verbatim\n\n\
             Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n",
            inbox.port("IMAPS_PORT"),
            certificate(&inbox).display(),
            maildir.display(),
            maildir.display(),
        ),
    )
    .expect("a configuration");
    let run = || {
        let out =
            Command::new("mbsync").arg("-V").arg("-c").arg(&config).arg("-a").output().expect("mbsync runs");
        let text =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "mbsync: {text}");
        text
    };
    run();
    let count = |dir: &str| fs::read_dir(maildir.join("INBOX").join(dir)).map(|d| d.count()).unwrap_or(0);
    assert_eq!(count("cur") + count("new"), 120);
    let before: Vec<_> = tree(&maildir);
    run();
    assert_eq!(tree(&maildir), before, "the second run changes no file");
    // A flag set in the Maildir goes up, and a message put there is appended.
    let file = fs::read_dir(maildir.join("INBOX/cur"))
        .into_iter()
        .flatten()
        .chain(fs::read_dir(maildir.join("INBOX/new")).into_iter().flatten())
        .next()
        .expect("a message")
        .expect("readable")
        .path();
    let name = file.file_name().expect("named").to_str().expect("UTF-8").to_owned();
    let base = name.split(":2,").next().expect("a base").to_owned();
    fs::rename(&file, maildir.join("INBOX/cur").join(format!("{base}:2,FS"))).expect("renamed");
    fs::write(maildir.join("INBOX/new/1.made.here"), "From: a@b.test\nX-Test-Id: made\n\nhello\n")
        .expect("written");
    run();
    let flagged = inbox.python_ok("imap_flags.py", &["alice@example.test", "FLAGGED"]);
    assert_eq!(flagged.trim(), "1");
    let count = inbox.python_ok("imap_flags.py", &["alice@example.test", "ALL"]);
    assert_eq!(count.trim(), "121");
}

/// The self-signed certificate, which mbsync is told to trust.
fn certificate(inbox: &Inbox) -> std::path::PathBuf {
    let files = fs::read_dir(inbox.data_dir().join("tls")).expect("a directory for TLS").flatten();
    let mut certificates = files.map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "crt"));
    certificates.next().expect("a certificate was made")
}

fn tree(dir: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    for folder in fs::read_dir(dir).expect("readable").flatten() {
        for sub in ["cur", "new"] {
            let Ok(entries) = fs::read_dir(folder.path().join(sub)) else { continue };
            names.extend(entries.flatten().map(|e| e.path().display().to_string()));
        }
    }
    names.sort();
    names
}

#[test]
fn curl_lists_fetches_and_searches() {
    if !have(&["python3", "curl"]) {
        return;
    }
    let inbox = Inbox::started();
    inbox.python_ok("real_mail.py", &["send", "0", "3"]);
    let curl = |path: &str, request: Option<&str>| {
        let mut command = Command::new("curl");
        command.args(["-sk", "--max-time", "30", "-u", &format!("alice@example.test:{PASSWORD}")]);
        command.arg(format!("imaps://127.0.0.1:{}/{path}", inbox.port("IMAPS_PORT")));
        if let Some(request) = request {
            command.args(["-X", request]);
        }
        let out = command.output().expect("curl runs");
        assert!(out.status.success(), "curl {path}: {}", out.status);
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let list = curl("", None);
    for name in ["INBOX", "Drafts", "Sent", "Junk", "Trash", "Archive"] {
        assert!(list.contains(name), "{name} is not in {list}");
    }
    assert!(curl("INBOX;UID=1", None).starts_with("Return-Path: <sender@ext.test>\r\n"));
    assert!(curl("INBOX", Some("SEARCH ALL")).contains("* SEARCH 1 2 3"));
}

#[test]
fn imaplib_uses_every_command_that_a_mail_program_does() {
    if !have(&["python3"]) {
        return;
    }
    let inbox = Inbox::started();
    inbox.python_ok("real_mail.py", &["send", "0", "40"]);
    inbox.python_ok("imap_session.py", &[]);
}
