//! Starts the real binary on free loopback ports and a data directory of its own, and ends it by PID.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use crate::ports::free_port;

pub const PASSWORD: &str = "correct horse battery staple";
const START_LIMIT: Duration = Duration::from_secs(60);

/// A directory that goes with its owner.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("inbox-e2e-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory can be made");
        TempDir(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("kept for inspection: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// One `inbox` with its environment; running or not.
pub struct Inbox {
    pub dir: TempDir,
    pub env: BTreeMap<String, String>,
    child: Option<Child>,
}

impl Inbox {
    /// Data with organisation `test`, domain `example.test` and the mailboxes alice@ and bob@; not started.
    pub fn prepared() -> Inbox {
        let inbox = Inbox::bare();
        inbox.cli_ok(&["org", "create", "test"]);
        inbox.cli_ok(&["domain", "add", "example.test", "--org", "test"]);
        for user in ["alice", "bob"] {
            inbox.add_mailbox(&format!("{user}@example.test"));
        }
        inbox
    }

    /// Prepared and ready.
    pub fn started() -> Inbox {
        let mut inbox = Inbox::prepared();
        inbox.start();
        inbox
    }

    /// An environment with free ports and an empty data directory.
    pub fn bare() -> Inbox {
        let dir = TempDir::new();
        let mut env = BTreeMap::new();
        let mut set = |name: &str, value: String| env.insert(name.to_owned(), value);
        set("INBOX_DATA_DIR", dir.0.join("data").display().to_string());
        set("SERVER_BIND_ADDR", "127.0.0.1".into());
        set("SERVER_HOSTNAME", "mx.example.test".into());
        for name in [
            "SMTP_TRANSFER_PORT",
            "SMTP_SUBMISSION_PORT",
            "SMTP_SUBMISSIONS_PORT",
            "IMAP_PORT",
            "IMAPS_PORT",
            "HTTP_PORT",
            "HTTPS_PORT",
        ] {
            set(name, free_port().to_string());
        }
        set("SMTP_AUTH_EXEMPT_NETWORKS", "127.0.0.0/8".into());
        set("SMTP_RATE_LIMIT_EXEMPT_NETWORKS", "127.0.0.0/8".into());
        set("SMTP_OUTBOUND_ALLOW_PRIVATE_NETWORKS", "true".into());
        set("SMTP_OUTBOUND_TLS_MODE", "opportunistic".into());
        Inbox { dir, env, child: None }
    }

    pub fn set(&mut self, name: &str, value: impl ToString) -> &mut Inbox {
        self.env.insert(name.to_owned(), value.to_string());
        self
    }

    pub fn port(&self, name: &str) -> u16 {
        self.env[name].parse().expect("a port number")
    }

    pub fn smtp(&self) -> u16 {
        self.port("SMTP_TRANSFER_PORT")
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.0.join("data")
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_inbox"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(&self.env).current_dir(&self.dir.0).stdin(Stdio::null());
        command
    }

    pub fn cli(&self, args: &[&str]) -> Output {
        self.command().args(args).output().expect("the binary runs")
    }

    /// Runs a command that must succeed; its standard output.
    pub fn cli_ok(&self, args: &[&str]) -> String {
        let out = self.cli(args);
        assert!(
            out.status.success(),
            "inbox {args:?}: {}\n{}",
            out.status,
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).expect("UTF-8 output")
    }

    pub fn cli_json(&self, args: &[&str]) -> serde_json::Value {
        let text = self.cli_ok(args);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("inbox {args:?} printed no JSON ({e}): {text}"))
    }

    pub fn add_mailbox(&self, address: &str) {
        let mut child = self
            .command()
            .args(["mailbox", "create", address, "--password-stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary runs");
        writeln!(child.stdin.take().expect("piped"), "{PASSWORD}").expect("the password is read");
        assert!(child.wait().expect("it ends").success(), "mailbox create {address}");
    }

    pub fn start(&mut self) {
        self.spawn(&["serve"]);
        self.wait_ready();
    }

    pub fn spawn(&mut self, args: &[&str]) {
        assert!(self.child.is_none(), "started twice");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log file");
        let child = self
            .command()
            .args(args)
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        self.child = Some(child);
    }

    pub fn wait_ready(&mut self) {
        let begun = Instant::now();
        loop {
            if http_status(self.port("HTTP_PORT"), "/health/ready") == Some(200) {
                return;
            }
            let ended = self.child.as_mut().and_then(|c| c.try_wait().ok().flatten());
            assert!(
                ended.is_none() && begun.elapsed() < START_LIMIT,
                "the server is not ready ({ended:?}); its log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("running").id()
    }

    pub fn log_path(&self) -> PathBuf {
        self.dir.0.join("log")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// SIGKILL: nothing of the process runs any more when this returns.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("running");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// SIGTERM, and the exit status.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().expect("running");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it takes signals");
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("it can be waited for") {
                return status;
            }
            if begun.elapsed() > Duration::from_secs(40) {
                let _ = child.kill();
                panic!("it did not stop within 40 s of SIGTERM; its log:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs one of our Python clients with the ports and the password in its environment.
    pub fn python(&self, script: &str, args: &[&str]) -> Output {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/e2e/py").join(script);
        Command::new("python3")
            .arg(path)
            .args(args)
            .envs(&self.env)
            .env("PASSWORD", PASSWORD)
            .current_dir(&self.dir.0)
            .output()
            .expect("python3 runs")
    }

    pub fn python_ok(&self, script: &str, args: &[&str]) -> String {
        let out = self.python(script, args);
        assert!(
            out.status.success(),
            "{script} {args:?}: {}\n{}\n{}",
            out.status,
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8_lossy(&out.stdout).into_owned()
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("last lines of the server's log:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// Whether a program is there. Without it the test names what it leaves out, or fails when nothing may be.
pub fn have(programs: &[&str]) -> bool {
    let missing: Vec<&&str> = programs.iter().filter(|p| !installed(p)).collect();
    if missing.is_empty() {
        return true;
    }
    assert!(std::env::var_os("INBOX_TEST_REQUIRE_ALL").is_none(), "not installed: {missing:?}");
    eprintln!("left out, not installed: {missing:?}");
    false
}

fn installed(program: &str) -> bool {
    if let Some(module) = program.strip_prefix("python3:") {
        let import = format!("import {module}");
        return Command::new("python3")
            .args(["-c", &import])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success());
    }
    if let Some(module) = program.strip_prefix("node:") {
        let resolve = format!("require.resolve('{module}')");
        return Command::new("node")
            .args(["-e", &resolve])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success());
    }
    if let Some(module) = program.strip_prefix("perl:") {
        let mut perl = Command::new("perl");
        return perl
            .arg(format!("-M{module}"))
            .args(["-e", "1"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).any(|dir| dir.join(program).is_file())
}

/// Runs one of our JavaScript clients; its packages are where NODE_PATH says.
pub fn javascript(script: &str, args: &[&str]) -> Output {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/e2e/js").join(script);
    Command::new("node").arg(path).args(args).output().expect("node runs")
}

/// Waits until `done` says so.
pub fn eventually(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < limit, "after {limit:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

pub fn http_status(port: u16, path: &str) -> Option<u16> {
    http_get(port, path).and_then(|text| text.split(' ').nth(1)?.parse().ok())
}

pub fn http_get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// A line-by-line SMTP client over plain TCP that sends exactly what it is told.
pub struct Raw {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Raw {
    pub fn connect(port: u16) -> Raw {
        Raw::over(TcpStream::connect(("127.0.0.1", port)).expect("the port accepts"))
    }

    pub fn over(stream: TcpStream) -> Raw {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out can be set");
        stream.set_nodelay(true).expect("no delay");
        Raw { stream, buffer: Vec::new() }
    }

    /// Connected, greeted, and HELO said.
    pub fn greeted(port: u16) -> Raw {
        let mut raw = Raw::connect(port);
        assert!(raw.reply().starts_with("220 "));
        assert!(raw.ask("EHLO client.test\r\n").starts_with("250"));
        raw
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the peer takes it");
    }

    pub fn ask(&mut self, line: &str) -> String {
        self.send(line.as_bytes());
        self.reply()
    }

    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=at).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return None,
                // A read with a time-out is not taken up again behind a signal.
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => panic!("no answer: {e}"),
            }
        }
    }

    /// A whole reply, its lines joined by `|`; empty when the connection was closed.
    pub fn reply(&mut self) -> String {
        let mut lines = Vec::new();
        while let Some(line) = self.line() {
            let more = line.as_bytes().get(3) == Some(&b'-');
            lines.push(line);
            if !more {
                break;
            }
        }
        lines.join("|")
    }

    /// A whole reply, or none when the connection breaks: for tests in which the server is killed.
    pub fn try_reply(&mut self) -> Option<String> {
        loop {
            let end = self.buffer.windows(2).position(|w| w == b"\r\n");
            if let Some(at) = end {
                let line: Vec<u8> = self.buffer.drain(..at + 2).collect();
                if line.get(3) != Some(&b'-') {
                    return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
                }
                continue;
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return None,
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
            }
        }
    }

    pub fn try_ask(&mut self, line: &str) -> Option<String> {
        self.stream.write_all(line.as_bytes()).ok()?;
        self.try_reply()
    }

    /// Whether the server has closed the connection (after at most one more line).
    pub fn closed(&mut self) -> bool {
        self.line().is_none()
    }
}
