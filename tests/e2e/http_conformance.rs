//! HG3: HTTP/1.1 as RFC 9110 and RFC 9112 have it, over raw sockets to the real binary; and the same requests through
//! other people's proxies, which must not see one request more or fewer than we do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::api::User;
use crate::harness::Inbox;
use crate::http_corpus::{self, BODY, LAST};

/// Octets of a request's line and fields.
const HEAD_MAX: usize = 8 * 1024;

pub fn started() -> (Inbox, String) {
    let inbox = Inbox::started();
    let credentials = User::made(&inbox, &["--org", "test", "--scope", "read"]).authorization;
    (inbox, credentials)
}

/// All that a server answers to these octets until it closes.
pub fn exchange(port: u16, octets: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the port accepts");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out can be set");
    stream.set_nodelay(true).expect("no delay");
    // What is refused early may be closed before the rest was sent.
    let _ = stream.write_all(octets);
    read_to_end(&mut stream)
}

fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return answer,
            Ok(many) => answer.extend_from_slice(&piece[..many]),
            // A reset after a refusal is as good as an end.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return answer,
            Err(error) => panic!("no end: {error}; so far {}", String::from_utf8_lossy(&answer)),
        }
    }
}

/// The answers in what came: status and body. The first of them has no body when it is one to HEAD.
pub fn answers(mut octets: &[u8], mut to_head: bool) -> Vec<(u16, Vec<u8>)> {
    let mut answers = Vec::new();
    while !octets.is_empty() {
        let Some(end) = octets.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) else {
            // No answer at all: what it is instead is shown.
            answers.push((0, octets.to_vec()));
            break;
        };
        let head = String::from_utf8_lossy(&octets[..end]).to_ascii_lowercase();
        octets = &octets[end..];
        // To version 1.0 the answer is one of version 1.0.
        let line = head.strip_prefix("http/1.1 ").or_else(|| head.strip_prefix("http/1.0 "));
        let status = line.expect("a status line")[..3].parse().expect("a status");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        let mut body = Vec::new();
        if head.contains("transfer-encoding: chunked") {
            loop {
                let at = octets.windows(2).position(|w| w == b"\r\n").expect("a chunk's line ends");
                let size = std::str::from_utf8(&octets[..at]).expect("digits");
                let size = usize::from_str_radix(size, 16).expect("a chunk's size");
                body.extend_from_slice(&octets[at + 2..at + 2 + size]);
                octets = &octets[at + size + 4..];
                if size == 0 {
                    break;
                }
            }
        } else if !to_head && status >= 200 && status != 204 {
            let length: usize = length.expect("a length");
            body.extend_from_slice(&octets[..length]);
            octets = &octets[length..];
        }
        to_head = false;
        answers.push((status, body));
    }
    answers
}

/// What came, in the words of the tables.
fn told(octets: &[u8], to_head: bool) -> String {
    let told = answers(octets, to_head).into_iter().map(|(status, body)| match &body[..] {
        b"ready\n" => "last".to_owned(),
        rest if status == 0 => format!("? {}", String::from_utf8_lossy(rest)),
        _ => status.to_string(),
    });
    told.collect::<Vec<_>>().join(" ")
}

fn play(port: u16, credentials: &str, cases: &[http_corpus::Case]) {
    let mut wrong = Vec::new();
    for (rfc, name, text, allowed) in cases {
        let mut octets = http_corpus::filled(text, credentials);
        octets.extend_from_slice(LAST.as_bytes());
        let answer = exchange(port, &octets);
        let told = told(&answer, text.starts_with("HEAD"));
        let secret = String::from_utf8_lossy(&answer).contains("secret");
        if !allowed.split('|').any(|allowed| allowed == told) || secret {
            wrong.push(format!("RFC {rfc}: {name}: {told:?} and not {allowed:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn hg3_request_lines() {
    let (inbox, credentials) = started();
    play(inbox.port("HTTP_PORT"), &credentials, http_corpus::REQUEST_LINES);
}

#[test]
fn hg3_fields() {
    let (inbox, credentials) = started();
    play(inbox.port("HTTP_PORT"), &credentials, http_corpus::FIELDS);
}

#[test]
fn hg3_lengths_and_codings() {
    let (inbox, credentials) = started();
    play(inbox.port("HTTP_PORT"), &credentials, http_corpus::BODIES);
}

#[test]
fn hg3_chunks() {
    let (inbox, credentials) = started();
    play(inbox.port("HTTP_PORT"), &credentials, http_corpus::CHUNKS);
}

#[test]
fn hg3_the_tables_are_not_short() {
    let count = http_corpus::all().count();
    assert!(count >= 120, "{count} cases");
}

#[test]
fn hg3_limits_at_them_and_one_past_them() {
    let (inbox, credentials) = started();
    let port = inbox.port("HTTP_PORT");
    let ask = |text: &str| {
        told(&exchange(port, &[&http_corpus::filled(text, &credentials), LAST.as_bytes()].concat()), false)
    };
    let target = |octets: usize| {
        let fixed = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".len();
        ask(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(octets - fixed)))
    };
    assert_eq!(target(HEAD_MAX), "404 last", "RFC 9112 3: a head of {HEAD_MAX} octets");
    assert_eq!(target(HEAD_MAX + 1), "431", "RFC 6585 5: one octet more");
    assert_eq!(target(3 * HEAD_MAX), "414", "RFC 9110 15.5.15: a line that is too long by itself");
    let field = |octets: usize| {
        let fixed = "GET /health/live HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        ask(&format!("@GX: {}\r\n\r\n", "x".repeat(octets - fixed)))
    };
    assert_eq!(field(HEAD_MAX), "200 last");
    assert_eq!(field(HEAD_MAX + 1), "431");
    let fields = |many: usize| ask(&format!("@G{}\r\n", "X: y\r\n".repeat(many - 1)));
    assert_eq!(fields(100), "200 last", "RFC 6585 5: fields");
    assert_eq!(fields(101), "431", "RFC 6585 5: one field more");
    let chunked = |extension: usize, trailers: usize| {
        let (extension, trailers) = ("x".repeat(extension), "x".repeat(trailers));
        ask(&format!(
            "@PTransfer-Encoding: chunked\r\n\r\n@X;{extension}\r\n{BODY}\r\n0\r\nX:{trailers}\r\n\r\n"
        ))
    };
    assert_eq!(chunked(255, 4094), "200 last", "RFC 9112 7.1.1, 7.1.2: extensions and trailers");
    assert_eq!(chunked(256, 1), "400", "RFC 9112 7.1.1: one octet more");
    assert_eq!(chunked(1, 4095), "400", "RFC 9112 7.1.2: one octet more");
}

#[test]
fn hg3_every_split_of_a_request_is_the_same_request() {
    let (inbox, credentials) = started();
    let text = "@PTransfer-Encoding: chunked\r\n\r\n@X ;a=\"b\"\r\n@B\r\n0\r\nX: y\r\n\r\n";
    let octets = [&http_corpus::filled(text, &credentials)[..], LAST.as_bytes()].concat();
    for at in (1..octets.len()).step_by(3) {
        let mut stream = TcpStream::connect(("127.0.0.1", inbox.port("HTTP_PORT"))).expect("accepts");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out can be set");
        stream.set_nodelay(true).expect("no delay");
        stream.write_all(&octets[..at]).expect("taken");
        std::thread::yield_now();
        stream.write_all(&octets[at..]).expect("taken");
        assert_eq!(told(&read_to_end(&mut stream), false), "200 last", "split at {at}");
    }
}

#[test]
fn hg3_what_is_cut_is_nothing() {
    let (inbox, credentials) = started();
    for (text, allowed) in [
        // RFC 9112 §8: a request that ends too early is none, and whatever was answered is no success.
        ("GET /health/live HTT", ["400", ""]),
        ("@GX: y\r\n", ["400", ""]),
        ("@PContent-Length: 100\r\n\r\n@B", ["400", ""]),
        ("@PTransfer-Encoding: chunked\r\n\r\n@X\r\n@B", ["400", ""]),
        ("@PTransfer-Encoding: chunked\r\n\r\n@X\r\n@B\r\n0\r\n", ["400", ""]),
        ("\r\n", ["", ""]),
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", inbox.port("HTTP_PORT"))).expect("accepts");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out can be set");
        stream.write_all(&http_corpus::filled(text, &credentials)).expect("taken");
        stream.shutdown(std::net::Shutdown::Write).expect("half closed");
        let told = told(&read_to_end(&mut stream), false);
        assert!(allowed.contains(&told.as_str()), "{text:?}: {told:?}");
    }
}

#[test]
fn hg3_the_answer_to_a_refused_request_is_not_lost_by_what_is_still_sent() {
    let (inbox, _) = started();
    // RFC 9112 §9.6: closing with octets unread resets the connection, which can cost the client the answer.
    let mut octets = b"GET /health/live HTTP/1.1\r\nHost : a\r\n\r\n".to_vec();
    octets.resize(128 * 1024, b'x');
    for _ in 0..20 {
        assert_eq!(told(&exchange(inbox.port("HTTP_PORT"), &octets), false), "400");
    }
}
