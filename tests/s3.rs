//! The S3 server of the tests (`tests/e2e/py/s3_server.py`): started on loopback, told what to do wrong, ended by PID.
#![allow(dead_code)] // each package uses a part of it

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub const KEY_ID: &str = "test-key-id";
pub const SECRET: &str = "test-secret-key";
pub const BUCKET: &str = "inbox-mail";

pub struct S3Server {
    child: Child,
    port: u16,
    control: u16,
    tls: Option<PathBuf>,
}

impl S3Server {
    /// Over HTTP, or over HTTPS with certificates in a directory.
    pub fn start(tls: Option<&Path>) -> S3Server {
        S3Server::start_with(tls, 1000)
    }

    /// The same; a listing has at most so many objects.
    pub fn start_with(tls: Option<&Path>, page: usize) -> S3Server {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/e2e/py/s3_server.py");
        let mut command = Command::new("python3");
        command.arg("-B").arg(script).stdout(Stdio::piped()).stdin(Stdio::null());
        command.env("S3_PAGE", page.to_string());
        if let Some(dir) = tls {
            command.arg("--tls").arg(dir);
        }
        let mut child = command.spawn().expect("python3 runs");
        let mut line = String::new();
        let out = child.stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("it says its ports");
        let ports: Vec<u16> = line.split_whitespace().map(|p| p.parse().expect("a port")).collect();
        S3Server { child, port: ports[0], control: ports[ports.len() - 1], tls: tls.map(Path::to_owned) }
    }

    pub fn endpoint(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The root to trust.
    pub fn root(&self) -> Option<PathBuf> {
        self.tls.as_ref().map(|dir| dir.join("root.pem"))
    }

    /// What it does wrong from now on: as the script describes.
    pub fn faults(&self, json: &str) {
        self.ask("POST", "/_test/faults", json.as_bytes());
    }

    /// How many seconds its clock is ahead.
    pub fn clock(&self, ahead: i64) {
        self.ask("POST", "/_test/clock", ahead.to_string().as_bytes());
    }

    /// What it has, as JSON.
    pub fn state(&self) -> String {
        String::from_utf8(self.ask("GET", "/_test/state", b"")).expect("UTF-8")
    }

    /// What it was asked, as JSON.
    pub fn log(&self) -> String {
        String::from_utf8(self.ask("GET", "/_test/log", b"")).expect("UTF-8")
    }

    /// Names of what it has.
    pub fn keys(&self) -> Vec<String> {
        let state = self.state();
        let named = state.split("\"key\": \"").skip(1);
        named.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
    }

    /// The octets of an object as they were sent to it.
    pub fn raw(&self, key: &str) -> Vec<u8> {
        self.ask("GET", &format!("/_test/raw?key={key}"), b"")
    }

    fn ask(&self, method: &str, target: &str, body: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.control)).expect("the server accepts");
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: s3\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("it listens");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        assert!(
            answer.starts_with(b"HTTP/1.1 200"),
            "{method} {target}: {}",
            String::from_utf8_lossy(&answer)
        );
        let at = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
        answer.split_off(at + 4)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
