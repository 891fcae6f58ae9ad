//! What became of e-mails, told as it happens: server-sent events and WebSockets of the real binary; and templates.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::User;
use crate::harness::Inbox;

const SUBSCRIPTION: &str =
    "subscription($after: ID) { deliveryEvents(after: $after) { id type emailId recipient reply } }";

fn letter(to: &str) -> Value {
    json!({"from": "alice@example.test", "to": [to], "subject": "x", "textBody": "x", "tags": ["t"],
           "metadata": [{"name": "order", "value": "7"}]})
}

/// A stream of events over one POST.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(user: &User, after: Option<&str>) -> Stream {
        let mut stream = TcpStream::connect(("127.0.0.1", user.port)).expect("the port accepts");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out can be set");
        let body = json!({"query": SUBSCRIPTION, "variables": {"after": after}}).to_string();
        let head = format!(
            "POST /graphql HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
             Accept: text/event-stream\r\nContent-Length: {}\r\n\r\n",
            user.authorization,
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).expect("taken");
        let mut stream = Stream(BufReader::new(stream));
        let mut line = stream.line();
        assert_eq!(line, "HTTP/1.1 200 OK");
        while !line.is_empty() {
            line = stream.line();
        }
        stream
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// The next answer; none at the end.
    fn next(&mut self) -> Option<Value> {
        loop {
            let line = self.line();
            if line == "event: complete" {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).expect("JSON"));
            }
        }
    }

    fn event(&mut self) -> Value {
        let answer = self.next().expect("an event");
        assert!(answer.get("errors").is_none(), "{answer}");
        answer["data"]["deliveryEvents"].clone()
    }
}

#[test]
fn au7_events_come_as_they_happen_go_on_where_they_were_left_and_end_with_the_key() {
    let inbox = Inbox::started();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read"]);
    let mut live = Stream::open(&user, None);
    let id = user.send(letter("bob@example.test"));
    let told: Vec<Value> = (0..3).map(|_| live.event()).collect();
    let types: Vec<&str> = told.iter().map(|event| event["type"].as_str().expect("a type")).collect();
    assert_eq!(types, ["ACCEPTED", "ATTEMPTED", "DELIVERED"]);
    assert!(told.iter().all(|event| event["emailId"] == *id), "{told:?}");
    assert_eq!((&told[2]["recipient"], &told[0]["recipient"]), (&json!("bob@example.test"), &Value::Null));

    let after = told[1]["id"].as_str().expect("an ID");
    assert_eq!(Stream::open(&user, Some(after)).event(), told[2], "the same event has the same ID");
    let mut again = Stream::open(&user, Some("evt_0_1"));
    assert_eq!((0..3).map(|_| again.event()).collect::<Vec<_>>(), told);
    let asked =
        user.graphql("query($after: ID) { deliveryEvents(after: $after) { id } }", json!({"after": after}));
    assert_eq!(asked["data"]["deliveryEvents"], json!([{"id": told[2]["id"]}]));

    // Another organisation hears nothing of it.
    inbox.cli_ok(&["org", "create", "other"]);
    let other = User::made(&inbox, &["--org", "other", "--scope", "read"]);
    let asked = other.graphql("{ deliveryEvents { id } }", json!({}));
    assert_eq!(asked["data"]["deliveryEvents"], json!([]));

    let keys = inbox.cli_json(&["key", "list", "--json"]);
    for key in keys.as_array().expect("keys").iter().filter(|key| key["org"] == "test") {
        inbox.cli_ok(&["key", "revoke", key["id"].as_str().expect("an ID")]);
    }
    let last = live.next().expect("an answer");
    assert_eq!(last["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{last}");
    assert_eq!(live.next(), None);
}

/// The client's side of a WebSocket, as far as it is needed.
struct Socket(TcpStream);

impl Socket {
    fn open(port: u16, fields: &str) -> Result<Socket, String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port accepts");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out can be set");
        let head = format!(
            "GET /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: graphql-transport-ws\r\n{fields}\r\n"
        );
        stream.write_all(head.as_bytes()).expect("taken");
        let mut answer = Vec::new();
        let mut octet = [0];
        while !answer.ends_with(b"\r\n\r\n") && stream.read_exact(&mut octet).is_ok() {
            answer.push(octet[0]);
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        match answer.starts_with("HTTP/1.1 101 ") {
            // RFC 6455 §1.3 has this key and this answer.
            true => assert!(answer.to_lowercase().contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}"),
            false => return Err(answer),
        }
        Ok(Socket(stream))
    }

    fn send(&mut self, message: Value) {
        let text = message.to_string();
        let mask = [1, 2, 3, 4];
        let mut frame = vec![0x81, 0x80 | 126];
        frame.extend((text.len() as u16).to_be_bytes());
        frame.extend(mask);
        frame.extend(text.bytes().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        self.0.write_all(&frame).expect("taken");
    }

    /// The next text, or the code of a close.
    fn next(&mut self) -> Result<Value, u16> {
        loop {
            let mut head = [0; 2];
            self.0.read_exact(&mut head).expect("a frame");
            let length = match head[1] {
                126 => {
                    let mut length = [0; 2];
                    self.0.read_exact(&mut length).expect("a length");
                    usize::from(u16::from_be_bytes(length))
                }
                length => usize::from(length),
            };
            let mut octets = vec![0; length];
            self.0.read_exact(&mut octets).expect("a payload");
            match head[0] & 15 {
                1 => return Ok(serde_json::from_slice(&octets).expect("JSON")),
                8 => return Err(u16::from_be_bytes([octets[0], octets[1]])),
                _ => {}
            }
        }
    }
}

#[test]
fn subscriptions_are_served_over_graphql_transport_ws() {
    let mut inbox = Inbox::started();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read"]);
    let open = |fields: &str| Socket::open(user.port, fields);
    let subscribe =
        json!({"id": "1", "type": "subscribe", "payload": {"query": SUBSCRIPTION, "variables": {}}});
    // Who asks is told by the handshake or by the first message.
    for (fields, payload) in [
        (format!("Authorization: {}\r\n", user.authorization), json!({})),
        (String::new(), json!({"Authorization": user.authorization})),
        (format!("Origin: http://localhost\r\nAuthorization: {}\r\n", user.authorization), json!({})),
    ] {
        let mut socket = open(&fields).expect("accepted");
        socket.send(json!({"type": "connection_init", "payload": payload}));
        assert_eq!(socket.next().expect("an answer")["type"], "connection_ack");
        socket.send(subscribe.clone());
        // A query over the same connection, which also shows that the subscription was taken before.
        let query = json!({"query": "{ __typename }"});
        socket.send(json!({"id": "2", "type": "subscribe", "payload": query}));
        let answer = socket.next().expect("an answer");
        assert_eq!((&answer["id"], &answer["payload"]["data"]["__typename"]), (&json!("2"), &json!("Query")));
        assert_eq!(socket.next().expect("the end of the query")["type"], "complete");
        let id = user.send(letter("bob@example.test"));
        let event = socket.next().expect("an event");
        let told = &event["payload"]["data"]["deliveryEvents"];
        assert_eq!((&told["type"], &told["emailId"]), (&json!("ACCEPTED"), &json!(id)), "{event}");
        let nested = format!("query{}{}", "{a".repeat(50), "}".repeat(50));
        socket.send(json!({"id": "3", "type": "subscribe", "payload": {"query": nested}}));
        let refused = loop {
            let answer = socket.next().expect("an answer");
            if answer["id"] == "3" {
                break answer;
            }
        };
        assert!(refused.to_string().contains("BAD_REQUEST"), "{refused}");
    }
    let mut stranger = open("").expect("accepted");
    stranger.send(json!({"type": "connection_init", "payload": {"Authorization": "Bearer nonsense"}}));
    assert!(stranger.next().is_err());
    let mut early = open("").expect("accepted");
    early.send(subscribe);
    assert!(early.next().is_err(), "nothing is carried out for a stranger");
    assert!(
        open("Authorization: Bearer nonsense\r\n").is_err_and(|answer| answer.starts_with("HTTP/1.1 401 "))
    );
    let page = format!("Origin: https://evil.example\r\nAuthorization: {}\r\n", user.authorization);
    assert!(open(&page).is_err_and(|answer| answer.starts_with("HTTP/1.1 403 ")));
    let mut last = open(&format!("Authorization: {}\r\n", user.authorization)).expect("accepted");
    last.send(json!({"type": "connection_init"}));
    assert_eq!(last.next().expect("an answer")["type"], "connection_ack");
    assert!(inbox.stop().success());
    assert_eq!(last.next(), Err(1001), "the server says that it stops");
}

#[test]
fn hg14_templates_make_messages_and_belong_to_their_organisation() {
    let inbox = Inbox::started();
    let user = User::made(&inbox, &["--org", "test", "--scope", "send,read,admin"]);
    let save = "mutation($html: String!, $id: ID) { saveTemplate(id: $id, name: \"n\", subject: \"Order {{ order }}\", \
                htmlBody: $html, variables: [{name: \"order\", type: NUMBER}, {name: \"who\", type: STRING, optional: true}]) \
                { id version } }";
    let made = user.graphql(save, json!({"html": "<p>{{ who }}</p>"}));
    let id = made["data"]["saveTemplate"]["id"].clone();
    let next = user.graphql(save, json!({"html": "<b>{{ who }}</b>", "id": id}));
    assert_eq!(next["data"]["saveTemplate"], json!({"id": id, "version": 2}));
    let bad = user.graphql(save, json!({"html": "{{ other }}"}));
    assert_eq!(bad["errors"][0]["extensions"]["argument"], "htmlBody", "{bad}");
    let email = |variables: Value, version: Value| {
        json!({"from": "alice@example.test", "to": ["bob@example.test"], "templateId": id,
               "templateVersion": version, "variables": variables})
    };
    let sent = user.send(email(json!({"order": 7, "who": "<script>{{ 1 }}"}), Value::Null));
    assert_eq!(user.email(&sent)["subject"], "Order 7");
    user.send(email(json!({"order": 8}), json!(1)));
    let path = inbox.dir.0.join("out.mbox").display().to_string();
    inbox.cli_ok(&["export", "mbox", &path, "--mailbox", "bob@example.test"]);
    let text = fs::read_to_string(path).expect("readable");
    assert!(text.contains("<b>&lt;script&gt;{{ 1 }}</b>") && text.contains("<p></p>"), "{text}");
    for (variables, reason) in
        [(json!({}), "MISSING"), (json!({"order": "7"}), "SYNTAX"), (json!({"order": 1, "x": 1}), "SYNTAX")]
    {
        let answer = user.ask("POST", "/v1/emails", &email(variables, Value::Null));
        assert_eq!(answer.json()["error"]["reason"], reason, "{}", answer.body);
    }
    inbox.cli_ok(&["org", "create", "other"]);
    inbox.cli_ok(&["domain", "add", "other.test", "--org", "other"]);
    let other = User::made(&inbox, &["--org", "other", "--scope", "send,read,admin"]);
    let mut theirs = email(json!({"order": 7}), Value::Null);
    theirs["from"] = json!("a@other.test");
    assert_eq!(other.ask("POST", "/v1/emails", &theirs).status, 404);
    assert_eq!(other.graphql("{ templates { id } }", json!({}))["data"]["templates"], json!([]));
}
