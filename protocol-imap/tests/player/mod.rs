//! Plays a conversation from a text file against a `ServerSession` over a mailbox in memory: whole, octet by
//! octet, and with every burst cut in two at every place. What the session says must be the same each time.
//!
//! ```text
//! == title              a new conversation
//! % tls                 a setting; see `Script::setting`
//! C: a NOOP             the client says this line; `C|` is one without its CRLF, `C*3 x` three of them
//! S: a OK NOOP completed   the session says this line; `S|` is one without its CRLF
//! ? select INBOX        the session asks this (compared only in conversations that have such lines)
//! ! no OverQuota        the next question but `connect` is answered so: see `Store::answer`
//! > expunge 2           another session does this; see `Store::change`
//! @ 5m                  time passes; `@ idle` passes exactly to the deadline, which must be this one
//! EOF                   the client closes its side; BYE Reason: the driver ends the session
//! ```
//!
//! Escapes: `\r \n \0 \t \\ \xNN`. Lines that begin with `#` are comments.

mod answers;
mod clients;
mod model;
mod store;

use std::sync::Arc;
use std::time::Duration;

use protocol_core::{Instant, RecvBuf, SendBuf};
use protocol_imap::codec::frame::{ResponseFrame, ResponseFramer};
use protocol_imap::codec::{Response, Untagged};
use protocol_imap::server::{ServerConfig, ServerSession, Step, TlsInfo, Transport, limits};
use store::Store;

/// Bursts longer than this are cut at so many places only.
const CUTS_MAX: usize = 120;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Said(Vec<u8>),
    Asked(String),
}

#[derive(Clone, Debug)]
enum Input {
    Burst(Vec<u8>),
    Change(String),
    Pass(String),
    Eof,
    Bye(String),
}

struct Script {
    title: String,
    config: ServerConfig,
    transport: Transport,
    /// Greeting and log-in go before, unseen; and a folder is selected.
    ready: bool,
    selected: Option<String>,
    rev2: bool,
    store: Store,
    asks: bool,
    whole_only: bool,
    high_water: usize,
    answers: Vec<String>,
    /// Each input, and what is expected before it.
    inputs: Vec<(Vec<Event>, Input)>,
    expected: Vec<Event>,
}

/// Plays every conversation of a file.
pub fn play(file: &str) {
    let path = format!("{}/tests/dialogues/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let scripts = parse(&text);
    assert!(!scripts.is_empty(), "{file} holds no conversation");
    for script in &scripts {
        let bursts = script.inputs.iter().map(|(_, i)| if let Input::Burst(b) = i { b.len() } else { 0 });
        let longest = bursts.max().unwrap_or(0);
        run(script, file, usize::MAX, false);
        if script.whole_only {
            continue;
        }
        if longest < 20_000 {
            run(script, file, 1, true);
        }
        let step = longest.div_ceil(CUTS_MAX).max(1);
        (1..longest).step_by(step).for_each(|cut| run(script, file, cut, false));
    }
}

fn parse(text: &str) -> Vec<Script> {
    let mut scripts: Vec<Script> = Vec::new();
    for line in text.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(title) = line.strip_prefix("== ") {
            scripts.push(Script::new(title));
            continue;
        }
        scripts.last_mut().expect("a title first").line(line);
    }
    scripts
}

impl Script {
    fn new(title: &str) -> Script {
        Script {
            title: title.to_owned(),
            config: ServerConfig::new("mx.test", 10_000),
            transport: Transport::Tls(TlsInfo::default()),
            ready: false,
            selected: None,
            rev2: false,
            store: Store::new(),
            asks: false,
            whole_only: false,
            high_water: 64 * 1024,
            answers: Vec::new(),
            inputs: Vec::new(),
            expected: Vec::new(),
        }
    }

    fn line(&mut self, line: &str) {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        let with_crlf = || [unescape(rest), b"\r\n".to_vec()].concat();
        match mark {
            "%" => self.setting(rest),
            "?" => {
                self.asks = true;
                self.expected.push(Event::Asked(rest.to_owned()));
            }
            "!" => self.answers.push(rest.to_owned()),
            ">" => self.inputs.push((self.expected.clone(), Input::Change(rest.to_owned()))),
            "@" => self.inputs.push((self.expected.clone(), Input::Pass(rest.to_owned()))),
            "EOF" => self.inputs.push((self.expected.clone(), Input::Eof)),
            "BYE" => self.inputs.push((self.expected.clone(), Input::Bye(rest.to_owned()))),
            "S:" => push(&mut self.expected, Event::Said(with_crlf())),
            "S|" => push(&mut self.expected, Event::Said(unescape(rest))),
            "C:" => self.burst(with_crlf()),
            "C|" => self.burst(unescape(rest)),
            _ => {
                let Some(count) = mark.strip_prefix("C*") else { panic!("not a line of a dialogue: {line}") };
                self.burst(with_crlf().repeat(count.parse().expect("C*count")));
            }
        }
    }

    /// Lines of the client that stand together are one burst.
    fn burst(&mut self, bytes: Vec<u8>) {
        match self.inputs.last_mut() {
            Some((before, Input::Burst(burst))) if *before == self.expected => burst.extend(bytes),
            _ => self.inputs.push((self.expected.clone(), Input::Burst(bytes))),
        }
    }

    fn setting(&mut self, text: &str) {
        let (name, value) = text.split_once(' ').unwrap_or((text, ""));
        match name {
            "plain" => self.transport = Transport::Plain,
            "binding" => self.transport = Transport::Tls(TlsInfo { channel_binding: true }),
            "ready" => self.ready = true,
            "rev2" => (self.ready, self.rev2) = (true, true),
            "select" | "examine" => {
                self.ready = true;
                self.selected = Some(text.to_uppercase());
            }
            "whole" => self.whole_only = true,
            "high" => self.high_water = value.parse().expect("a number"),
            "nostarttls" => self.config.starttls = false,
            "store" => self.store.prepare(value),
            _ => panic!("setting {name}"),
        }
    }
}

/// Adds an event; what is said in one go is one event.
fn push(events: &mut Vec<Event>, event: Event) {
    match (events.last_mut(), event) {
        (_, Event::Said(b)) if b.is_empty() => {}
        (Some(Event::Said(last)), Event::Said(more)) => last.extend(more),
        (_, event) => events.push(event),
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes().peekable();
    while let Some(b) = bytes.next() {
        if b != b'\\' {
            out.push(b);
            continue;
        }
        // Flags and attributes begin with a backslash too: what is no escape stands for itself.
        let escape = match bytes.peek() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b'0') => 0,
            Some(b't') => b'\t',
            Some(b'\\') => b'\\',
            Some(b'x') => {
                bytes.next();
                let hex: String =
                    [bytes.next(), bytes.next()].map(|d| char::from(d.expect("hex"))).iter().collect();
                out.push(u8::from_str_radix(&hex, 16).expect("two hex digits"));
                continue;
            }
            _ => {
                out.push(b'\\');
                continue;
            }
        };
        bytes.next();
        out.push(escape);
    }
    out
}

/// A connection with its driver.
pub struct Player<'s> {
    session: ServerSession,
    out: SendBuf,
    store: Store,
    now: Instant,
    answers: std::slice::Iter<'s, String>,
    events: Vec<Event>,
    asks: bool,
    upgraded: bool,
    closed: bool,
    spool: Vec<u8>,
    sasl: Option<protocol_core::sasl::Server>,
    /// What others do while the next command runs, where no script says it.
    during: Vec<String>,
}

/// `cut`: the first piece of each burst; with `all`, every piece.
fn run(script: &Script, file: &str, cut: usize, all: bool) {
    let name = format!("{file}: {}, cut at {cut}", script.title);
    let now = Instant(0);
    let mut player = Player {
        session: ServerSession::new(Arc::new(script.config.clone()), script.transport, now),
        out: SendBuf::with_high_water(script.high_water),
        store: script.store.clone(),
        now,
        answers: script.answers.iter(),
        events: Vec::new(),
        asks: script.asks,
        upgraded: false,
        closed: false,
        spool: Vec::new(),
        sasl: None,
        during: Vec::new(),
    };
    let mut input = RecvBuf::with_limit(limits::RECV_LIMIT);
    player.drive(&mut input, &name);
    if script.ready {
        player.prepare(script, &mut input, &name);
    }
    let mut compared: &[Event] = &[];
    for (before, what) in &script.inputs {
        if before != compared {
            compare(before, &player.events, &name);
            compared = before;
        }
        match what {
            Input::Burst(bytes) => {
                let pieces: Vec<&[u8]> = match bytes.split_at_checked(cut) {
                    _ if all => bytes.chunks(cut).collect(),
                    Some((first, rest)) => vec![first, rest],
                    None => vec![bytes],
                };
                player.upgraded = false;
                pieces.iter().for_each(|piece| player.feed(piece, &mut input, &name));
            }
            Input::Change(change) => player.change(change),
            Input::Pass(time) => player.pass(time, &mut input, &name),
            Input::Eof => input.commit_eof(),
            Input::Bye(why) => {
                player.session.bye(answers::bye(why), &mut player.out);
                player.collect();
            }
        }
        player.drive(&mut input, &name);
    }
    compare(&script.expected, &player.events, &name);
    assert_eq!(player.answers.next(), None, "{name}: an answer was not asked for");
    check_grammar(&player.events, &name);
}

/// Everything that is said is read back by the client's half of the codec.
fn check_grammar(events: &[Event], name: &str) {
    let mut input = RecvBuf::with_limit(1 << 20);
    for event in events {
        if let Event::Said(said) = event {
            let mut rest = &said[..];
            while !rest.is_empty() {
                rest = &rest[input.feed(rest)..];
            }
        }
    }
    let mut framer = ResponseFramer::new(1 << 20, 1 << 20);
    loop {
        match framer.poll(&mut input) {
            ResponseFrame::Whole { len } => {
                let octets = input.take(len);
                let read = Response::parse(octets);
                let known = !matches!(read, Ok(Response::Untagged(Untagged::Other(_))) | Err(_));
                assert!(known, "{name}: {}: {read:?}", octets.escape_ascii());
            }
            ResponseFrame::NeedInput => break,
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(input.is_empty(), "{name}: {}", input.bytes().escape_ascii());
}

fn compare(expected: &[Event], seen: &[Event], name: &str) {
    let show = |events: &[Event]| {
        let lines = events.iter().map(|e| match e {
            Event::Said(b) => {
                format!(
                    "S: {}",
                    b.escape_ascii().to_string().replace("\\r\\n", "\nS: ").replace("\\\"", "\"")
                )
            }
            Event::Asked(q) => format!("?: {q}"),
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    assert!(expected == seen, "{name}\n--- expected\n{}\n--- seen\n{}\n", show(expected), show(seen));
}

impl Player<'_> {
    /// Log-in, and SELECT, as every conversation would begin.
    fn prepare(&mut self, script: &Script, input: &mut RecvBuf, name: &str) {
        let mut lines = String::from("0 LOGIN ann pw\r\n");
        if script.rev2 {
            lines += "0 ENABLE IMAP4rev2\r\n";
        }
        if let Some(selected) = &script.selected {
            lines += &format!("0 {selected}\r\n");
        }
        let answers = std::mem::replace(&mut self.answers, [].iter());
        self.feed(lines.as_bytes(), input, name);
        self.answers = answers;
        let said = self
            .events
            .iter()
            .any(|e| matches!(e, Event::Said(b) if b.windows(5).any(|w| w == b"0 NO " || w == b"0 BAD")));
        assert!(!said, "{name}: {:?}", self.events);
        self.events.clear();
    }

    fn feed(&mut self, mut bytes: &[u8], input: &mut RecvBuf, name: &str) {
        // What stands behind STARTTLS in one burst is not fed: a driver that reads it would hand it to TLS.
        while !bytes.is_empty() && !self.upgraded && !self.closed {
            let n = input.feed(bytes);
            bytes = &bytes[n..];
            self.drive(input, name);
            assert!(n > 0 || self.closed || self.upgraded, "{name}: the session reads no more");
        }
    }

    fn pass(&mut self, time: &str, input: &mut RecvBuf, name: &str) {
        if let Some(unit) = time.find(|c: char| c.is_ascii_alphabetic()).filter(|at| *at > 0) {
            let n: u64 = time[..unit].parse().expect("a number");
            let secs = match &time[unit..] {
                "s" => 1,
                "m" => 60,
                _ => panic!("time {time}"),
            };
            self.now = self.now + Duration::from_secs(n * secs);
            return;
        }
        let (at, timer) = self.session.deadline().unwrap_or_else(|| panic!("{name}: no deadline"));
        assert_eq!(format!("{timer:?}").to_lowercase(), time, "{name}");
        // One nanosecond earlier nothing happens.
        self.now = Instant(at.0 - 1);
        self.drive(input, name);
        self.now = at;
    }

    fn collect(&mut self) {
        let said = self.out.bytes().to_vec();
        self.out.advance(said.len());
        push(&mut self.events, Event::Said(said));
    }

    fn asked(&mut self, what: impl Into<String>) {
        self.collect();
        if self.asks {
            self.events.push(Event::Asked(what.into()));
        }
    }

    fn drive(&mut self, input: &mut RecvBuf, name: &str) {
        for _ in 0..100_000 {
            let step = self.session.poll(self.now, input, &mut self.out);
            match step {
                Step::NeedInput | Step::Idle => return self.collect(),
                Step::Flush => {
                    assert!(self.out.len() < 256 * 1024, "{name}: the send buffer grows");
                    self.collect();
                }
                Step::Closed(reason) => {
                    if !self.closed {
                        self.asked(format!("closed {reason:?}"));
                    }
                    self.closed = true;
                    return self.collect();
                }
                // `step` borrows from `input`; everything else is the player's own.
                step => self.answer(step),
            }
        }
        panic!("{name}: no end of steps");
    }
}
