//! HTTP as hostile bytes speak it, to the real binary.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::api::User;
use crate::harness::Inbox;

struct Server {
    inbox: Inbox,
    key: String,
}

impl Server {
    fn new() -> Server {
        let inbox = Inbox::started();
        let key = User::made(&inbox, &["--org", "test", "--scope", "read"]).authorization;
        Server { inbox, key }
    }

    fn connect(&self) -> TcpStream {
        let stream =
            TcpStream::connect(("127.0.0.1", self.inbox.port("HTTP_PORT"))).expect("the port accepts");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out can be set");
        stream.set_nodelay(true).expect("no delay");
        stream
    }

    /// The head of a POST to the API with these fields.
    fn head(&self, fields: &str) -> String {
        format!(
            "POST /graphql HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Type: application/json\r\n{fields}\r\n",
            self.key
        )
    }

    /// All that comes for these pieces, each a segment of its own, until the server closes.
    fn ask(&self, pieces: &[&str]) -> String {
        let mut stream = self.connect();
        for piece in pieces {
            // What is refused early may be closed before the rest was sent.
            if stream.write_all(piece.as_bytes()).and_then(|()| stream.flush()).is_err() {
                break;
            }
            // Lets the piece arrive by itself; nothing depends on it but what is tested.
            std::thread::yield_now();
        }
        until_closed(&mut stream)
    }
}

fn until_closed(stream: &mut TcpStream) -> String {
    let mut octets = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => octets.extend_from_slice(&piece[..n]),
            // A reset after a refusal is as good as an end.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("neither an answer nor an end: {error}"),
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

fn statuses(text: &str) -> Vec<&str> {
    text.split("HTTP/1.1 ").skip(1).map(|rest| rest.get(..3).unwrap_or("")).collect()
}

const BODY: &str = "{\"query\":\"{ __typename }\"}";

#[test]
fn hg1_requests_that_two_servers_could_read_differently_are_refused() {
    let server = Server::new();
    let chunked = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    for fields in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
    ] {
        let text = server.ask(&[&server.head(fields), &chunked]);
        assert!(matches!(statuses(&text)[..], ["400"] | ["501"]), "(a) {fields:?}: {text}");
    }
    for fields in ["Content-Length: 27\r\nContent-Length: 3\r\n", "Content-Length: 3, 27\r\n"] {
        let text = server.ask(&[&server.head(fields), BODY]);
        assert_eq!(statuses(&text), ["400"], "(b) {fields:?}: {text}");
    }
    for length in ["+3", "-3", "0x3", "3 3", "99999999999999999999999"] {
        let text = server.ask(&[&server.head(&format!("Content-Length: {length}\r\n")), "{}}"]);
        assert_eq!(statuses(&text), ["400"], "(c) {length:?}: {text}");
    }
    let hosts = "POST /graphql HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(statuses(&server.ask(&[hosts])), ["400"], "(h)");
    for nonsense in [
        "\x16\x03\x01\x02\x00\x01\x00\x01",
        "NONSENSE\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\0 HTTP/1.1\r\n\r\n",
    ] {
        let text = server.ask(&[nonsense]);
        assert!(
            text.starts_with("HTTP/1.1 400 ") || text.starts_with("HTTP/1.1 505 "),
            "(i) {nonsense:?}: {text:?}"
        );
    }
}

#[test]
fn hg1_chunks_are_read_alike_however_they_arrive() {
    let server = Server::new();
    let head = server.head("Transfer-Encoding: chunked\r\nConnection: close\r\n");
    let chunk = format!("{:x}\r\n{BODY}\r\n", BODY.len());
    let good = format!("{head}{chunk}0\r\n\r\n");
    let answer = server.ask(&[&good]);
    assert_eq!(statuses(&answer), ["200"], "{answer}");
    let end = good.len();
    // (e) Every split of the end, and of what surrounds the chunk.
    for at in (head.len() - 4..head.len() + 6).chain(end - 8..end) {
        let text = server.ask(&[&good[..at], &good[at..]]);
        assert_eq!(statuses(&text), ["200"], "split at {at}: {text}");
        assert!(
            text.ends_with("{\"data\":{\"__typename\":\"Query\"}}") || text.contains("__typename"),
            "{text}"
        );
    }
    // (d) A blank line, or nothing, is no last chunk.
    for wrong in [
        "\r\n\r\n",
        "\r\n0\r\n\r\n",
        "x\r\n",
        "-1\r\n",
        "ffffffffffffffffff\r\n",
        "0\r\nbroken\n\n\r\nx\0: y\r\n\r\n",
    ] {
        let text = server.ask(&[&head, &chunk, wrong]);
        assert_eq!(statuses(&text), ["400"], "{wrong:?}: {text}");
    }
}

#[test]
fn hg1_a_header_that_does_not_end_is_cut_at_its_limit() {
    let server = Server::new();
    let mut stream = server.connect();
    stream.set_write_timeout(Some(Duration::from_secs(20))).expect("a time-out can be set");
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: a\r\nX: ").expect("taken");
    let piece = vec![b'x'; 64 * 1024];
    let mut sent = 0usize;
    while sent < 256 << 20 && stream.write_all(&piece).is_ok() {
        sent += piece.len();
    }
    assert!(sent < 16 << 20, "the server took {sent} octets of one field");
    let text = until_closed(&mut stream);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 431 "), "{text}");
    let text =
        server.ask(&[&format!("GET /health/live HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(9_000))]);
    assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
}

#[test]
fn hg1_two_requests_in_one_segment_are_both_answered() {
    let server = Server::new();
    let first = format!("{}{BODY}", server.head(&format!("Content-Length: {}\r\n", BODY.len())));
    let last = "GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let text = server.ask(&[&format!("{first}{first}{last}")]);
    assert_eq!(statuses(&text), ["200", "200", "200"], "{text}");
    // What stands behind a request that is refused for its form is never read as another one.
    let refused = server.head("Transfer-Encoding: gzip, chunked\r\n");
    let text = server.ask(&[&format!("{refused}{last}")]);
    assert_eq!(statuses(&text).len(), 1, "{text}");
}

#[test]
fn hg4_no_field_of_a_stranger_chooses_anything() {
    let server = Server::new();
    for fields in [
        "X-Forwarded-For: 192.0.2.1\r\n",
        "X-Forwarded-Host: evil.example\r\n",
        "X-Forwarded-Proto: http\r\n",
    ] {
        let head = server.head(&format!("{fields}Content-Length: {}\r\nConnection: close\r\n", BODY.len()));
        let text = server.ask(&[&head, BODY]);
        assert_eq!(statuses(&text), ["200"], "{fields:?}: {text}");
        assert!(!text.contains("evil.example") && !text.contains("192.0.2.1"), "{text}");
    }
}
