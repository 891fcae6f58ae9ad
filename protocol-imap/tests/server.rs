//! What does not fit into dialogues: figures, and sessions against models.

use std::sync::Arc;

use protocol_core::{Instant, RecvBuf, SendBuf};
use protocol_imap::server::{
    CloseReason, Request, ServerConfig, ServerSession, Step, Timer, TlsInfo, Transport, limits,
};

struct Client {
    session: ServerSession,
    input: RecvBuf,
    out: SendBuf,
    said: Vec<u8>,
    closed: Option<CloseReason>,
    input_max: usize,
}

impl Client {
    fn connected() -> Client {
        let config = Arc::new(ServerConfig::new("mx.test", 10_000));
        let session = ServerSession::new(config, Transport::Tls(TlsInfo::default()), Instant(0));
        let mut client = Client {
            session,
            input: RecvBuf::with_limit(limits::RECV_LIMIT),
            out: SendBuf::with_high_water(64 * 1024),
            said: Vec::new(),
            closed: None,
            input_max: 0,
        };
        client.drive();
        client.said.clear();
        client
    }

    fn logged_in() -> Client {
        let mut client = Client::connected();
        client.send(b"0 LOGIN ann pw\r\n");
        assert!(client.said.starts_with(b"0 OK "));
        client.said.clear();
        client
    }

    fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.closed.is_none() {
            let n = self.input.feed(bytes);
            bytes = &bytes[n..];
            self.input_max = self.input_max.max(self.input.len());
            self.drive();
        }
    }

    fn drive(&mut self) {
        loop {
            let step = self.session.poll(Instant(0), &mut self.input, &mut self.out);
            match step {
                Step::NeedInput | Step::Idle => return self.flush(),
                Step::Flush => self.flush(),
                Step::Connect(connect) => connect.accept(&mut self.session, &mut self.out),
                Step::Authenticate(ask) => ask.succeed(&mut self.session, &mut self.out),
                Step::Closed(why) => {
                    self.closed = Some(why);
                    return self.flush();
                }
                Step::Command(running, Request::Noop) => running.ok(&mut self.session, &mut self.out),
                step => panic!("{step:?}"),
            }
        }
    }

    fn flush(&mut self) {
        self.said.extend_from_slice(self.out.bytes());
        self.out.advance(self.out.len());
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.said).into_owned()
    }
}

#[test]
fn im2_a_hundred_thousand_literals_are_one_bad_command() {
    let mut client = Client::logged_in();
    let mut command = b"a SEARCH".to_vec();
    for _ in 0..100_000 {
        command.extend_from_slice(b" TEXT {1+}\r\nx");
    }
    command.extend_from_slice(b"\r\nb NOOP\r\n");
    client.send(&command);
    assert_eq!(client.said(), "a BAD Command too long\r\nb OK NOOP completed\r\n");
    assert!(client.input_max <= limits::RECV_LIMIT);
}

#[test]
fn im1_an_announced_size_allocates_nothing() {
    let mut client = Client::connected();
    client.send(b"a LOGIN {4294967295+}\r\n");
    client.send(&[b'x'; 100_000]);
    assert_eq!(client.closed, Some(CloseReason::Abuse));
    assert_eq!(client.said(), "a BAD Literal too large\r\n* BYE The command is too long\r\n");
    assert!(client.input_max <= limits::RECV_LIMIT);
}

#[test]
fn a_line_before_log_in_at_its_limit_and_one_octet_past_it() {
    for (len, expected) in [(12_288, "a BAD Unknown command\r\n"), (12_289, "a BAD Line too long\r\n")] {
        let mut client = Client::connected();
        let mut line = b"a ".to_vec();
        line.resize(len, b'x');
        line.extend_from_slice(b"\r\n");
        client.send(&line);
        assert_eq!(client.said(), expected);
    }
}

#[test]
fn a_hundred_commands_before_log_in_and_one_more() {
    let mut client = Client::connected();
    for _ in 0..limits::COMMANDS_BEFORE_LOGIN_MAX {
        client.send(b"a NOOP\r\n");
    }
    assert_eq!(client.closed, None);
    client.send(b"a NOOP\r\n");
    assert_eq!(client.closed, Some(CloseReason::Abuse));
}

#[test]
fn deadlines_say_what_they_are_for() {
    let mut client = Client::connected();
    assert_eq!(client.session.deadline(), Some((Instant(0) + limits::LOGIN_TIME, Timer::Login)));
    client.send(b"a LOGIN ann pw\r\n");
    assert_eq!(client.session.deadline(), Some((Instant(0) + limits::IDLE_TIME, Timer::Idle)));
    client.send(b"b IDLE\r\n");
    assert_eq!(client.session.deadline(), Some((Instant(0) + limits::KEEP_ALIVE_TIME, Timer::KeepAlive)));
    client.send(b"DONE\r\nc LOGOUT\r\n");
    assert_eq!(client.closed, Some(CloseReason::Logout));
    assert_eq!(client.session.deadline(), None);
}
