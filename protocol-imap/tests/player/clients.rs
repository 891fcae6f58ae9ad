//! Real clients against the machine over a blocking socket: the mailbox is in memory, TLS is pretended to end
//! in front. A client that is not installed is left out, by name; with `INBOX_TEST_REQUIRE_ALL=1` none may be.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use protocol_core::{Instant, RecvBuf, SendBuf};
use protocol_imap::server::{ServerConfig, ServerSession, TlsInfo, Transport, limits};

use super::store::Store;
use super::{Event, Player};

fn have(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok() {
        return true;
    }
    assert!(std::env::var_os("INBOX_TEST_REQUIRE_ALL").is_none(), "{program} is not installed");
    eprintln!("left out: {program} is not installed");
    false
}

/// Serves a mailbox on a port of its own; one connection at a time, as these clients make them.
fn serve(store: Store) -> (u16, Arc<Mutex<Store>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let store = Arc::new(Mutex::new(store));
    let shared = store.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut store = shared.lock().expect("not poisoned");
            converse(stream, &mut store);
        }
    });
    (port, store)
}

fn converse(mut stream: TcpStream, store: &mut Store) {
    let config = Arc::new(ServerConfig::new("mx.test", 1_000_000));
    let transport = Transport::Tls(TlsInfo::default());
    let mut player = Player {
        session: ServerSession::new(config, transport, Instant(0)),
        out: SendBuf::with_high_water(16 * 1024),
        store: store.clone(),
        now: Instant(0),
        answers: [].iter(),
        events: Vec::new(),
        asks: false,
        upgraded: false,
        closed: false,
        spool: Vec::new(),
        sasl: None,
        during: Vec::new(),
    };
    let mut input = RecvBuf::with_limit(limits::RECV_LIMIT);
    loop {
        player.drive(&mut input, "a client");
        for event in player.events.drain(..) {
            if let Event::Said(said) = event
                && stream.write_all(&said).is_err()
            {
                player.closed = true;
            }
        }
        if player.closed {
            break;
        }
        match stream.read(input.spare()) {
            Ok(0) | Err(_) => input.commit_eof(),
            Ok(n) => input.commit(n),
        }
    }
    player.store.selected = None;
    *store = player.store;
}

/// A directory that goes with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("imap-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        Scratch(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let subs = ["cur", "new"].map(|sub| dir.join(sub));
    let mut files: Vec<PathBuf> = subs
        .iter()
        .flat_map(|sub| fs::read_dir(sub).into_iter().flatten().flatten())
        .map(|e| e.path())
        .collect();
    files.sort();
    files
}

#[test]
fn mbsync_keeps_both_sides_alike() {
    if !have("mbsync") {
        return;
    }
    let mut store = Store::new();
    store.prepare("many INBOX 40");
    let (port, store) = serve(store);
    let scratch = Scratch::new("mbsync");
    let dir = scratch.0.display();
    let config = scratch.0.join("rc");
    let text = format!(
        "IMAPAccount a\nHost 127.0.0.1\nPort {port}\nUser ann\nPass pw\nSSLType None\nAuthMechs *\n\n\
         IMAPStore far\nAccount a\n\nMaildirStore near\nPath {dir}/\nInbox {dir}/INBOX\nSubFolders Verbatim\n\n\
         Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n"
    );
    fs::write(&config, text).expect("a configuration");
    let run = || {
        let out =
            Command::new("mbsync").arg("-V").arg("-c").arg(&config).arg("-a").output().expect("it runs");
        let text = [out.stdout, out.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
        assert!(out.status.success(), "{text}");
    };
    run();
    let inbox = scratch.0.join("INBOX");
    assert_eq!(files(&inbox).len(), 43);
    let before = files(&inbox);
    run();
    assert_eq!(files(&inbox), before, "the second run changes nothing");

    // Flags, a removal and a new message go up.
    let flagged = before.iter().find(|f| f.to_string_lossy().contains(":2,")).expect("a message with flags");
    let base = flagged.to_string_lossy().split(":2,").next().expect("a name").to_owned();
    fs::rename(flagged, format!("{base}:2,FS")).expect("renamed");
    fs::remove_file(before.last().expect("a message")).expect("removed");
    fs::write(inbox.join("new/1.made.here"), "From: a@b.test\nSubject: up\n\nhello\n").expect("written");
    run();
    {
        let store = store.lock().expect("not poisoned");
        let folder = store.folder("INBOX").expect("INBOX");
        assert_eq!(folder.rows.len(), 43);
        assert!(folder.rows.iter().any(|r| r.bytes.starts_with(b"From: a@b.test\r\n")));
        assert!(folder.rows.iter().any(|r| r.data.flags.0 & 5 == 5));
    }
    run();
    assert_eq!(files(&inbox).len(), 43);
}

#[test]
fn curl_lists_fetches_searches_and_appends() {
    if !have("curl") {
        return;
    }
    let (port, store) = serve(Store::new());
    let scratch = Scratch::new("curl");
    let curl = |path: &str, arguments: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-s", "--max-time", "20", "-u", "ann:pw"]).args(arguments);
        let out = command.arg(format!("imap://127.0.0.1:{port}/{path}")).output().expect("it runs");
        assert!(out.status.success(), "{path}: {}", out.status);
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    assert!(curl("", &[]).contains("* LIST (\\HasChildren) \"/\" Work\r\n"));
    assert!(curl("INBOX;UID=3", &[]).starts_with("From: dan@example.test\r\nSubject: no date\r\n\r\nshort"));
    assert_eq!(curl("INBOX;UID=2;SECTION=1", &[]), "Gr=C3=BC=C3=9Fe");
    assert_eq!(curl("INBOX?SUBJECT%20Files", &[]), "* SEARCH 2\r\n");
    let file = scratch.0.join("message");
    fs::write(&file, "Subject: from curl\r\n\r\nx\r\n").expect("written");
    curl("INBOX", &["-T", &file.display().to_string()]);
    let store = store.lock().expect("not poisoned");
    assert!(store.folder("INBOX").is_some_and(|f| f.rows.len() == 4));
}

const IMAPLIB: &str = r#"
import imaplib, sys
m = imaplib.IMAP4('127.0.0.1', int(sys.argv[1]))
def ok(answer):
    assert answer[0] == 'OK', answer
    return answer[1]
m.authenticate('PLAIN', lambda _: b'\0ann\0pw')
ok(m.enable('UTF8=ACCEPT'))
assert ok(m.select('INBOX')) == [b'3']
assert ok(m.search(None, 'FROM', '"ann"')) == [b'1']
assert b'UID 2' in ok(m.fetch('2', '(UID FLAGS ENVELOPE BODYSTRUCTURE)'))[0]
assert ok(m.fetch('3', '(RFC822)'))[0][1].endswith(b'short\r\n')
assert ok(m.uid('FETCH', '1:*', '(BODY.PEEK[HEADER.FIELDS (SUBJECT)])'))[4][1] == b'Subject: no date\r\n\r\n'
assert ok(m.store('1', '+FLAGS', r'(\Flagged)')) == [rb'1 (FLAGS (\Seen \Flagged))']
ok(m.create('"New folder"')); ok(m.subscribe('"New folder"')); ok(m.copy('1:2', '"New folder"'))
assert b'"New folder"' in ok(m.list('""', 'New*'))[0]
assert ok(m.status('"New folder"', '(MESSAGES)'))[0].endswith(b'(MESSAGES 2)')
ok(m.rename('"New folder"', 'Renamed')); ok(m.delete('Renamed'))
ok(m.append('INBOX', r'(\Seen)', imaplib.Time2Internaldate(0), b'Subject: a\r\n\r\nb\r\n'))
assert ok(m.noop()) and m.untagged_responses['EXISTS'][-1] == b'4'
ok(m.store('4', '+FLAGS', r'(\Deleted)'))
assert ok(m.expunge()) == [b'4']
ok(m.check()); ok(m.namespace()); ok(m.lsub())
ok(m.unselect()); ok(m.select('INBOX', readonly=True)); ok(m.close())
assert m.logout()[0] == 'BYE'
"#;

#[test]
fn imaplib_uses_every_command_that_a_mail_program_does() {
    if !have("python3") {
        return;
    }
    let (port, _) = serve(Store::new());
    let out =
        Command::new("python3").args(["-c", IMAPLIB, &port.to_string()]).output().expect("python3 runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}
