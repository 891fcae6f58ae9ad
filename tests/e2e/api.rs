//! Somebody who asks the API, and the world that the tests of the API share: the real binary, another organisation's
//! server, and the DNS of both.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Inbox, eventually, free_port};
use crate::signing::Helper;

/// What [`World`] needs.
pub const TOOLS: [&str; 4] = ["python3", "python3:aiosmtpd", "python3:dkim", "python3:nacl"];

/// An answer over HTTP.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// A field of the header, as it came but in lower case.
    pub fn field(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    }

    /// The body, put together when it came in chunks.
    pub fn text(&self) -> String {
        if !self.head.contains("transfer-encoding: chunked") {
            return self.body.clone();
        }
        let (mut text, mut rest) = (String::new(), self.body.as_str());
        while let Some((length, after)) = rest.split_once("\r\n") {
            let length = usize::from_str_radix(length.trim(), 16).expect("a chunk's length");
            text.push_str(&after[..length]);
            rest = after[length..].strip_prefix("\r\n").unwrap_or("");
        }
        text
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|e| panic!("no JSON ({e}): {} {}", self.status, self.body))
    }
}

pub fn http(port: u16, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port accepts");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out can be set");
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes()).expect("the head is taken");
    // A server that refuses a body may close before all of it was sent.
    let _ = stream.write_all(body);
    let mut octets = Vec::new();
    let _ = stream.read_to_end(&mut octets);
    let text = String::from_utf8_lossy(&octets).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status =
        head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no status: {text}"));
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// Somebody with a key.
pub struct User {
    pub port: u16,
    pub authorization: String,
}

impl User {
    pub fn with_key(inbox: &Inbox, secret: &str) -> User {
        User { port: inbox.port("HTTP_PORT"), authorization: format!("Bearer {secret}") }
    }

    /// A key made by hand.
    pub fn made(inbox: &Inbox, args: &[&str]) -> User {
        let made = inbox.cli_json(&[&["key", "create", "--json"], args].concat());
        User::with_key(inbox, made["secret"].as_str().expect("a secret"))
    }

    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let fields = [("Authorization", self.authorization.as_str()), ("Content-Type", "application/json")];
        http(self.port, method, path, &fields, body.to_string().as_bytes())
    }

    pub fn graphql(&self, document: &str, variables: Value) -> Value {
        let answer = self.ask("POST", "/graphql", &json!({"query": document, "variables": variables}));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    /// The ID of an e-mail that is sent with these arguments over REST.
    pub fn send(&self, email: Value) -> String {
        let answer = self.ask("POST", "/v1/emails", &email);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["id"].as_str().expect("an ID").to_owned()
    }

    pub fn email(&self, id: &str) -> Value {
        let answer = self.ask("GET", &format!("/v1/emails/{id}"), &Value::Null);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    pub fn reaches(&self, id: &str, state: &str) -> Value {
        eventually(Duration::from_secs(30), &format!("e-mail {id} is {state}"), || {
            self.email(id)["state"] == state
        });
        self.email(id)
    }
}

/// The demonstration server with `--deliver`, another organisation's server, and the DNS of both.
pub struct World {
    pub inbox: Inbox,
    pub key: String,
    pub zone: PathBuf,
    pub mail: PathBuf,
    _helpers: [Helper; 2],
}

impl World {
    pub fn new() -> World {
        let mut inbox = Inbox::bare();
        let (dns, smtp) = (free_port(), free_port());
        let (zone, mail) = (inbox.dir.0.join("zone.json"), inbox.dir.0.join("far"));
        fs::write(&zone, "{}").expect("written");
        inbox.set("DNS_RESOLVERS", format!("127.0.0.1:{dns}")).set("SMTP_OUTBOUND_PORT", smtp);
        inbox.set("SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS", 1);
        let names = Helper::python("names.py", &[&dns.to_string(), &zone.display().to_string()]);
        let far_end = Helper::python("far_end.py", &[&smtp.to_string(), &mail.display().to_string()]);
        eventually(Duration::from_secs(20), "the far end listens", || {
            TcpStream::connect(("127.0.0.1", smtp)).is_ok()
        });
        inbox.spawn(&["quickstart", "--deliver", "--json"]);
        inbox.wait_ready();
        let log = inbox.log();
        let line = log.lines().find(|line| line.contains("graphqlUrl")).expect("what quickstart prints");
        let printed: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(printed["graphqlUrl"], format!("http://127.0.0.1:{}/graphql", inbox.port("HTTP_PORT")));
        let key = printed["apiKey"].as_str().expect("a key").to_owned();
        inbox.cli_ok(&["domain", "add", "example.com", "--org", "demo"]);
        let world = World { inbox, key, zone, mail, _helpers: [names, far_end] };
        world.publish();
        world
    }

    fn publish(&self) {
        let mut zone = json!({
            "example.net.": {"MX": ["10 mx.example.net."]},
            "mx.example.net.": {"A": ["127.0.0.1"]},
        });
        let records = self.inbox.cli_json(&["domain", "show", "example.com", "--json"])["dns"].take();
        for record in records.as_array().expect("records").iter().filter(|r| r["type"] == "TXT") {
            zone[record["name"].as_str().expect("a name")] = json!({"TXT": [record["value"]]});
        }
        let temporary = self.zone.with_extension("tmp");
        fs::write(&temporary, zone.to_string()).expect("written");
        fs::rename(&temporary, &self.zone).expect("renamed");
    }

    pub fn user(&self) -> User {
        User::with_key(&self.inbox, &self.key)
    }

    pub fn files(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.mail) else { return Vec::new() };
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "eml")).collect()
    }

    /// Messages at the far end, each behind a line with its envelope.
    pub fn received(&self) -> Vec<String> {
        self.files().iter().map(|p| fs::read_to_string(p).expect("readable")).collect()
    }

    pub fn tried(&self, address: &str) -> bool {
        let text = fs::read_to_string(self.mail.join("attempts")).unwrap_or_default();
        text.lines().any(|line| line.split(' ').nth(1) == Some(address))
    }
}

pub fn letter(to: &str, subject: &str) -> Value {
    json!({"from": "sender@example.com", "to": [to], "subject": subject, "textBody": "Hi"})
}
