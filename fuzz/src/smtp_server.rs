//! The session machine of an SMTP server.

use std::fmt;
use std::sync::Arc;

use protocol_core::{Instant, RecvBuf, SendBuf};
use protocol_smtp::limits::RECV_BUF_MIN;
use protocol_smtp::server::{Refusal, ServerConfig, ServerSession, Service, Step};

use crate::input::{Cut, Input};

/// What an observer of the session sees.
#[derive(PartialEq)]
enum Event {
    Said(Vec<u8>),
    Message(Vec<u8>),
    Asked(String),
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Said(octets) => write!(f, "S: {}", octets.escape_ascii()),
            Event::Message(octets) => write!(f, "=: {}", octets.escape_ascii()),
            Event::Asked(question) => write!(f, "?: {question}"),
        }
    }
}

/// The same conversation, however it arrives and whatever is answered.
pub fn smtp_server(data: &[u8]) {
    let input = Input::new(data);
    let all = Cut::all(input.seed).map(|cut| Player::new(&input).play(cut));
    all.iter().for_each(|events| check_replies(events));
    // Octets that come with DATA end the session, and whether they do is a matter of the cut.
    if all.iter().any(|events| said(events, b"before 354")) {
        return;
    }
    let [whole, octets, pieces] = all;
    assert_eq!(whole, octets);
    assert_eq!(whole, pieces);
}

fn said(events: &[Event], text: &[u8]) -> bool {
    events.iter().any(|e| matches!(e, Event::Said(b) if b.windows(text.len()).any(|w| w == text)))
}

/// The pieces of a burst, with an end behind each line that may be DATA: what follows waits for the reply.
fn pieces(burst: &[u8], cut: Cut) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = burst;
    let mut from = 0;
    while let Some(lf) = rest[from..].iter().position(|&b| b == b'\n') {
        let line = &rest[from..from + lf + 1];
        from += lf + 1;
        if line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"DATA")) {
            let (before, behind) = rest.split_at(from);
            pieces.extend(cut.pieces(before));
            (rest, from) = (behind, 0);
        }
    }
    pieces.extend(cut.pieces(rest));
    pieces
}

/// Every reply is one that our own client reads.
fn check_replies(events: &[Event]) {
    let mut parser = protocol_smtp::reply::ReplyParser::new();
    let mut buffer = RecvBuf::with_limit(1 << 18);
    for event in events {
        let Event::Said(said) = event else { continue };
        let mut rest = &said[..];
        while !rest.is_empty() {
            rest = &rest[buffer.feed(rest)..];
            while let Some(reply) = parser.poll(&mut buffer).expect("a reply") {
                assert!(reply.lines().all(|line| line.len() <= 512), "{reply}");
            }
        }
    }
    assert!(buffer.is_empty(), "half a reply");
}

struct Player<'i> {
    input: &'i Input<'i>,
    session: ServerSession,
    buffer: RecvBuf,
    out: SendBuf,
    events: Vec<Event>,
    questions: usize,
    upgraded: bool,
    closed: bool,
}

impl<'i> Player<'i> {
    fn new(input: &'i Input<'i>) -> Self {
        let service = match input.config & 3 {
            0 => Service::Transfer,
            1 => Service::Submission,
            2 => Service::Submissions,
            _ => Service::Lmtp,
        };
        let mut config = ServerConfig::new("mx.test", service);
        config.binarymime = input.config & 4 != 0;
        config.require_tls = input.config & 8 != 0;
        config.extensions.future_release = input.config & 16 != 0;
        config.extensions.deliver_by = input.config & 16 != 0;
        config.message_max = 300;
        config.recipients_max = 3;
        let tls = (service == Service::Submissions || input.config & 32 != 0).then_some(true);
        Player {
            input,
            session: ServerSession::new(Arc::new(config), tls, Instant(0)),
            buffer: RecvBuf::with_limit(RECV_BUF_MIN),
            out: SendBuf::with_high_water(256),
            events: Vec::new(),
            questions: 0,
            upgraded: false,
            closed: false,
        }
    }

    fn play(mut self, cut: Cut) -> Vec<Event> {
        self.drive();
        for burst in self.input.bursts() {
            self.upgraded = false;
            for mut piece in pieces(burst, cut) {
                while !piece.is_empty() && !self.upgraded && !self.closed {
                    let fed = self.buffer.feed(piece);
                    piece = &piece[fed..];
                    self.drive();
                    assert!(fed > 0 || self.closed, "the session reads no more");
                }
            }
        }
        self.buffer.commit_eof();
        self.drive();
        assert!(self.closed, "a session without a client ends");
        self.events
    }

    fn collect(&mut self) {
        let said = self.out.bytes().to_vec();
        self.out.advance(said.len());
        push(&mut self.events, Event::Said(said));
    }

    /// How much of a lost message was handed out, and when it was found to be lost, depends on the cut, and
    /// matters to nobody.
    fn discard(&mut self) {
        let begun = self.events.iter().rposition(|e| matches!(e, Event::Asked(q) if q == "begin"));
        let mut behind = self.events.split_off(begun.expect("a spool is open"));
        behind[0] = Event::Asked("begin, discarded".into());
        behind.retain(|e| !matches!(e, Event::Message(_)));
        behind.into_iter().for_each(|event| push(&mut self.events, event));
    }

    fn drive(&mut self) {
        for _ in 0..100_000 {
            let step = self.session.poll(Instant(0), &mut self.buffer, &mut self.out);
            assert!(self.out.len() < 64 * 1024, "the send buffer grows");
            let said = self.out.bytes().to_vec();
            self.out.advance(said.len());
            push(&mut self.events, Event::Said(said));
            match step {
                Step::NeedInput => return,
                Step::Flush => {}
                Step::Chunk(octets) => push(&mut self.events, Event::Message(octets.to_vec())),
                Step::Discard => self.discard(),
                Step::Closed(why) => {
                    if !self.closed {
                        self.events.push(Event::Asked(format!("closed {why:?}")));
                    }
                    self.closed = true;
                    return;
                }
                step => {
                    let answer = self.input.answer(self.questions);
                    self.questions += 1;
                    self.events.push(Event::Asked(question(&step)));
                    self.upgraded |= matches!(step, Step::UpgradeTls(_));
                    reply(step, answer, &mut self.session, &mut self.out);
                    self.collect();
                }
            }
        }
        panic!("no end of steps");
    }
}

fn push(events: &mut Vec<Event>, event: Event) {
    match (events.last_mut(), event) {
        (_, Event::Said(b) | Event::Message(b)) if b.is_empty() => {}
        (Some(Event::Said(last)), Event::Said(more)) | (Some(Event::Message(last)), Event::Message(more)) => {
            last.extend(more);
        }
        (_, event) => events.push(event),
    }
}

fn question(step: &Step<'_>) -> String {
    match step {
        Step::Connect(_) => "connect".into(),
        Step::Authenticate(ask) => format!("authenticate {} {:?}", ask.mechanism(), ask.response()),
        Step::Sender(sender) => format!("sender {} {:?}", sender.path(), sender.params()),
        Step::Recipient(recipient) => {
            // How many stand behind it depends on the cut.
            let _ = recipient.upcoming().count();
            format!("recipient {} {:?}", recipient.path(), recipient.params())
        }
        Step::Begin(_) => "begin".into(),
        Step::Finish(finish) => format!("finish {} {}", finish.octets(), finish.recipients()),
        Step::UpgradeTls(_) => "tls".into(),
        other => panic!("not a question: {other:?}"),
    }
}

fn refusal(answer: u8) -> Refusal {
    match answer >> 2 & 7 {
        0 => Refusal::UnknownRecipient,
        1 => Refusal::Unavailable,
        2 => Refusal::RateLimited,
        3 => Refusal::ShuttingDown,
        4 => Refusal::Suppressed("a\r\n250 b".into()),
        5 => Refusal::OverQuota,
        6 => Refusal::AuthFailed,
        _ => Refusal::TooBig,
    }
}

/// `.` accepts; of other answers the low bits refuse or drop.
fn reply(step: Step<'_>, answer: u8, session: &mut ServerSession, out: &mut SendBuf) {
    let why = refusal(answer);
    match (step, answer & 3) {
        (step, 3) => drop(step),
        (Step::Connect(q), 1) => q.refuse(&why, session, out),
        (Step::Connect(q), _) => q.accept(session, out),
        (Step::Sender(q), 1) => q.refuse(&why, session, out),
        (Step::Sender(q), _) => q.accept(session, out),
        (Step::Recipient(q), 1) => q.refuse(&why, session, out),
        (Step::Recipient(q), _) => q.accept(session, out),
        (Step::Begin(q), 1) => q.refuse(&why, session, out),
        (Step::Begin(q), _) => q.accept(session, out),
        (Step::Finish(q), 1) => q.refuse(&why, session, out),
        (Step::Finish(q), 0) => {
            let verdicts: Vec<_> =
                (0..q.recipients()).map(|n| if n == 1 { Err(why.clone()) } else { Ok("id") }).collect();
            q.each(&verdicts, session, out);
        }
        (Step::Finish(q), _) => q.accept("id", session, out),
        (Step::Authenticate(q), 0) => q.challenge(b"go on", session, out),
        (Step::Authenticate(q), 1) => q.fail(&why, session, out),
        (Step::Authenticate(q), _) => q.succeed("ann@x.test", session, out),
        (Step::UpgradeTls(q), 1) => q.failed(session),
        (Step::UpgradeTls(q), _) => q.done(answer & 4 != 0, session, Instant(0)),
        _ => {}
    }
}
