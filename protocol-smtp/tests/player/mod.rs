//! Plays a conversation from a text file against a `ServerSession`: whole, octet by octet, and with every burst
//! cut in two at every place. What the session asks and says must be the same each time.
//!
//! ```text
//! == title                     a new conversation
//! % rcptmax 2                  a setting; see `Script::setting`
//! ? connect                    the session asks...
//! ! accept                     ...and this is the answer
//! S: 220 mx.test ESMTP Inbox   it says this line
//! C: NOOP                      the client says this line; `C|` is one without its CRLF
//! C*9 x                        a line of nine x; `C|*9 x` without CRLF
//! >> 3                         the lines up to `<<` stand here three times
//! = text                       a line of the message, as it is handed out (`=|` without CRLF); not
//!                              compared when the message is discarded in the end
//! @ 5m                         time passes; `@ idle` passes exactly to the deadline, which must be this one
//! EOF                          the client closes its side; SHUTDOWN: the server is to stop
//! ```
//!
//! Escapes: `\r \n \0 \t \\ \xNN`. Lines that begin with `#` are comments.

use std::sync::Arc;
use std::time::Duration;

use protocol_core::{Instant, RecvBuf, SendBuf, Timestamp};
use protocol_smtp::server::{Refusal, ServerConfig, ServerSession, Service, Step, Verdict};

/// Bursts longer than this are cut at so many places only.
const CUTS_MAX: usize = 150;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Said(Vec<u8>),
    Message(Vec<u8>),
    Asked(String),
}

#[derive(Clone, Debug)]
enum Input {
    Burst(Vec<u8>),
    Pass(String),
    Eof,
    ShutDown,
}

struct Script {
    title: String,
    config: ServerConfig,
    tls: Option<bool>,
    wall: Option<Timestamp>,
    early: bool,
    whole_only: bool,
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
        let longest =
            script.inputs.iter().map(|(_, i)| if let Input::Burst(b) = i { b.len() } else { 0 }).max();
        let longest = longest.unwrap_or(0);
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
    let mut block: Option<(usize, Vec<&str>)> = None;
    for line in text.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(count) = line.strip_prefix(">> ") {
            block = Some((count.parse().expect(">> count"), Vec::new()));
            continue;
        }
        if line == "<<" {
            let (count, lines) = block.take().expect(">> before <<");
            let script = scripts.last_mut().expect("a title first");
            (0..count).for_each(|_| lines.iter().for_each(|l| script.line(l)));
            continue;
        }
        if let Some((_, lines)) = &mut block {
            lines.push(line);
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
            config: ServerConfig::new("mx.test", Service::Transfer),
            tls: None,
            wall: None,
            early: false,
            whole_only: false,
            answers: Vec::new(),
            inputs: Vec::new(),
            expected: Vec::new(),
        }
    }

    fn line(&mut self, line: &str) {
        let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
        match mark {
            "%" => self.setting(rest),
            "?" => self.expected.push(Event::Asked(rest.to_owned())),
            "!" => self.answers.push(rest.to_owned()),
            "@" => self.inputs.push((self.expected.clone(), Input::Pass(rest.to_owned()))),
            "EOF" => self.inputs.push((self.expected.clone(), Input::Eof)),
            "SHUTDOWN" => self.inputs.push((self.expected.clone(), Input::ShutDown)),
            "S:" => push(&mut self.expected, Event::Said([unescape(rest), b"\r\n".to_vec()].concat())),
            "=" => push(&mut self.expected, Event::Message([unescape(rest), b"\r\n".to_vec()].concat())),
            "=|" => push(&mut self.expected, Event::Message(unescape(rest))),
            "C:" => self.burst([unescape(rest), b"\r\n".to_vec()].concat()),
            "C|" => self.burst(unescape(rest)),
            _ => {
                if let Some(count) = mark.strip_prefix("=*") {
                    let text = unescape(rest).repeat(count.parse().expect("a count"));
                    push(&mut self.expected, Event::Message([text, b"\r\n".to_vec()].concat()));
                    return;
                }
                // `C*n text` is a line whose text is repeated, `C|*n text` the same without CRLF.
                let (count, end): (_, &[u8]) = match (mark.strip_prefix("C*"), mark.strip_prefix("C|*")) {
                    (Some(count), _) => (count, b"\r\n"),
                    (_, Some(count)) => (count, b""),
                    _ => panic!("not a line of a dialogue: {line}"),
                };
                let text = unescape(rest).repeat(count.parse().expect("a count"));
                self.burst([text, end.to_vec()].concat());
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
        let number = || value.parse::<u64>().expect("a number");
        let config = &mut self.config;
        match name {
            "service" => {
                let service = match value {
                    "submission" => Service::Submission,
                    "submissions" => Service::Submissions,
                    "lmtp" => Service::Lmtp,
                    _ => panic!("service {value}"),
                };
                *config = ServerConfig::new("mx.test", service);
            }
            "tls" => self.tls = Some(value == "binding"),
            "early" => self.early = true,
            "whole" => self.whole_only = true,
            "max" => config.message_max = number(),
            "rcptmax" => config.recipients_max = number() as usize,
            "unknownmax" => config.unknown_recipients_max = number() as u32,
            "greetdelay" => config.greet_delay = Duration::from_millis(number()),
            "binarymime" => config.binarymime = true,
            "requiretls" => config.require_tls = true,
            "futurerelease" => config.extensions.future_release = true,
            // 2026-11-23T12:00:00Z, in seconds.
            "clock" => self.wall = Some(Timestamp::from_secs(1_795_435_200)),
            "deliverby" => config.extensions.deliver_by = true,
            "nostarttls" => config.starttls = false,
            "bare" => {
                config.extensions.smtputf8 = false;
                config.extensions.chunking = false;
                config.extensions.dsn = false;
                config.extensions.size = false;
            }
            _ => panic!("setting {name}"),
        }
    }
}

/// Adds an event; what is said in one go is one event.
fn push(events: &mut Vec<Event>, event: Event) {
    match (events.last_mut(), event) {
        (_, Event::Said(b) | Event::Message(b)) if b.is_empty() => {}
        (Some(Event::Said(last)), Event::Said(more)) | (Some(Event::Message(last)), Event::Message(more)) => {
            last.extend(more);
        }
        (_, event) => events.push(event),
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b != b'\\' {
            out.push(b);
            continue;
        }
        out.push(match bytes.next().expect("an escape") {
            b'r' => b'\r',
            b'n' => b'\n',
            b'0' => 0,
            b't' => b'\t',
            b'\\' => b'\\',
            b'x' => {
                let hex: String =
                    [bytes.next(), bytes.next()].iter().map(|d| char::from(d.expect("hex"))).collect();
                u8::from_str_radix(&hex, 16).expect("two hex digits")
            }
            other => panic!("escape \\{}", char::from(other)),
        });
    }
    out
}

struct Player<'s> {
    session: ServerSession,
    input: RecvBuf,
    out: SendBuf,
    now: Instant,
    answers: std::slice::Iter<'s, String>,
    events: Vec<Event>,
    upgraded: bool,
    closed: bool,
}

/// `cut`: the first piece of each burst; with `all`, every piece.
fn run(script: &Script, file: &str, cut: usize, all: bool) {
    let now = Instant(0);
    let mut player = Player {
        session: ServerSession::new(Arc::new(script.config.clone()), script.tls, now),
        input: RecvBuf::with_limit(protocol_smtp::limits::RECV_BUF_MIN),
        out: SendBuf::with_high_water(4096),
        now,
        answers: script.answers.iter(),
        events: Vec::new(),
        upgraded: false,
        closed: false,
    };
    if let Some(wall) = script.wall {
        player.session.set_wall_clock(wall, now);
    }
    let name = format!("{file}: {}, cut at {cut}", script.title);
    if !script.early {
        player.drive(&name);
    }
    let mut compared: &[Event] = &[];
    for (before, input) in &script.inputs {
        // Between two inputs without a line of expectation the order of things is not said.
        if before != compared {
            compare(before, &player.events, &name);
            compared = before;
        }
        match input {
            Input::Burst(bytes) => {
                let pieces: Vec<&[u8]> = match bytes.split_at_checked(cut) {
                    _ if all => bytes.chunks(cut).collect(),
                    Some((first, rest)) => vec![first, rest],
                    None => vec![bytes],
                };
                player.upgraded = false;
                for piece in pieces {
                    player.feed(piece, &name);
                }
            }
            Input::Pass(time) => player.pass(time, &name),
            Input::Eof => player.input.commit_eof(),
            Input::ShutDown => {
                player.session.shut_down(&mut player.out);
                player.collect();
            }
        }
        player.drive(&name);
    }
    compare(&script.expected, &player.events, &name);
    assert_eq!(player.answers.next(), None, "{name}: an answer was not asked for");
}

/// Without the octets of messages that were discarded: how much of a lost message was handed out depends on
/// how it was cut, and matters to nobody.
fn normal(events: &[Event]) -> Vec<Event> {
    let mut normal = Vec::new();
    for event in events {
        if *event == Event::Asked("discard".to_owned()) {
            let begun = normal.iter().rposition(|e| matches!(e, Event::Asked(q) if q.starts_with("begin")));
            let after = normal.split_off(begun.map_or(0, |at| at + 1));
            after.into_iter().filter(|e| !matches!(e, Event::Message(_))).for_each(|e| push(&mut normal, e));
        }
        push(&mut normal, event.clone());
    }
    normal
}

fn compare(expected: &[Event], seen: &[Event], name: &str) {
    let (expected, seen) = (&normal(expected), &normal(seen));
    let show = |events: &[Event]| {
        let lines = events.iter().map(|e| match e {
            Event::Said(b) => format!("S: {}", b.escape_ascii().to_string().replace("\\r\\n", "\n   ")),
            Event::Message(b) => format!("=: {}", b.escape_ascii()),
            Event::Asked(q) => format!("?: {q}"),
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    assert!(expected == seen, "{name}\n--- expected\n{}\n--- seen\n{}\n", show(expected), show(seen));
}

impl Player<'_> {
    fn feed(&mut self, mut bytes: &[u8], name: &str) {
        // What stands behind STARTTLS in one burst is not fed: a driver that reads it would hand it to TLS.
        while !bytes.is_empty() && !self.upgraded && !self.closed {
            let n = self.input.feed(bytes);
            bytes = &bytes[n..];
            self.drive(name);
            assert!(n > 0 || self.closed || self.upgraded, "{name}: the session reads no more");
        }
    }

    fn pass(&mut self, time: &str, name: &str) {
        if let Some(unit) = time.find(|c: char| c.is_ascii_alphabetic()).filter(|at| *at > 0) {
            let n: u64 = time[..unit].parse().expect("a number");
            let millis = match &time[unit..] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                _ => panic!("time {time}"),
            };
            self.now = self.now + Duration::from_millis(n * millis);
            return;
        }
        let (at, timer) = self.session.deadline().unwrap_or_else(|| panic!("{name}: no deadline"));
        assert_eq!(format!("{timer:?}").to_lowercase(), time, "{name}");
        // One nanosecond earlier nothing happens.
        self.now = Instant(at.0 - 1);
        self.drive(name);
        self.now = at;
    }

    fn collect(&mut self) {
        let said = self.out.bytes().to_vec();
        self.out.advance(said.len());
        push(&mut self.events, Event::Said(said));
    }

    fn drive(&mut self, name: &str) {
        loop {
            let step = self.session.poll(self.now, &mut self.input, &mut self.out);
            let said = self.out.bytes().to_vec();
            self.out.advance(said.len());
            push(&mut self.events, Event::Said(said));
            let asked = match &step {
                Step::NeedInput => return,
                Step::Flush => continue,
                Step::Chunk(text) => {
                    push(&mut self.events, Event::Message(text.to_vec()));
                    continue;
                }
                Step::Closed(why) => {
                    if !self.closed {
                        self.closed = true;
                        self.events.push(Event::Asked(format!("closed {why:?}")));
                    }
                    return;
                }
                other => question(other),
            };
            if matches!(step, Step::Discard) {
                self.events.push(Event::Asked(asked));
                continue;
            }
            self.events.push(Event::Asked(asked.clone()));
            let answer = self.answers.next().unwrap_or_else(|| panic!("{name}: no answer to {asked}"));
            self.upgraded |= matches!(step, Step::UpgradeTls(_));
            reply(step, answer, &mut self.session, &mut self.out, self.now);
            self.collect();
        }
    }
}

fn question(step: &Step<'_>) -> String {
    match step {
        Step::Connect(c) if c.spoke_first() => "connect early".to_owned(),
        Step::Connect(_) => "connect".to_owned(),
        Step::Authenticate(a) => {
            let response = a.response().map_or("-".to_owned(), |r| r.escape_ascii().to_string());
            format!("auth {} {} {response}", a.mechanism(), if a.is_first() { "first" } else { "next" })
        }
        Step::Sender(s) => {
            let mut params = SendBuf::with_high_water(0);
            s.params().write(&mut params);
            format!("sender {}{}", s.path(), String::from_utf8_lossy(params.bytes()))
        }
        Step::Recipient(r) => {
            let mut params = SendBuf::with_high_water(0);
            r.params().write(&mut params);
            format!("recipient {}{}", r.path(), String::from_utf8_lossy(params.bytes()))
        }
        Step::Begin(b) => format!("begin {}{}", b.limit(), if b.is_binary() { " binary" } else { "" }),
        Step::Finish(f) => format!("finish {} octets, {} recipients", f.octets(), f.recipients()),
        Step::Discard => "discard".to_owned(),
        Step::UpgradeTls(_) => "tls".to_owned(),
        Step::NeedInput | Step::Flush | Step::Chunk(_) | Step::Closed(_) => unreachable!("not questions"),
    }
}

fn reply(step: Step<'_>, answer: &str, session: &mut ServerSession, out: &mut SendBuf, now: Instant) {
    let (verb, rest) = answer.split_once(' ').unwrap_or((answer, ""));
    match (step, verb) {
        (step, "drop") => drop(step),
        (Step::Connect(q), "accept") => q.accept(session, out),
        (Step::Connect(q), "refuse") => q.refuse(&refusal(rest), session, out),
        (Step::Sender(q), "accept") => q.accept(session, out),
        (Step::Sender(q), "refuse") => q.refuse(&refusal(rest), session, out),
        (Step::Recipient(q), "accept") => q.accept(session, out),
        (Step::Recipient(q), "refuse") => q.refuse(&refusal(rest), session, out),
        (Step::Begin(q), "accept") => q.accept(session, out),
        (Step::Begin(q), "refuse") => q.refuse(&refusal(rest), session, out),
        (Step::Finish(q), "accept") => q.accept(rest, session, out),
        (Step::Finish(q), "refuse") => q.refuse(&refusal(rest), session, out),
        (Step::Finish(q), "each") => {
            let verdicts: Vec<Result<&str, Refusal>> =
                rest.split(' ').map(|v| v.strip_prefix("id=").ok_or_else(|| refusal(v))).collect();
            q.each(&verdicts, session, out);
        }
        (Step::Authenticate(q), "challenge") => q.challenge(&unescape(rest), session, out),
        (Step::Authenticate(q), "succeed") => q.succeed(rest, session, out),
        (Step::Authenticate(q), "fail") => q.fail(&refusal(rest), session, out),
        (Step::UpgradeTls(q), "done") => q.done(rest == "binding", session, now),
        (Step::UpgradeTls(q), "failed") => q.failed(session),
        (step, _) => panic!("`{answer}` does not answer {step:?}"),
    }
}

fn refusal(name: &str) -> Refusal {
    use Refusal::*;
    let all = [
        UnknownRecipient,
        Disabled,
        OverQuota,
        RelayDenied,
        BadRecipient,
        BadSender,
        TooManyRecipients,
        SenderNotAllowed("MAIL FROM"),
        Loop,
        HeaderLimit,
        TooBig,
        PartTooBig,
        BadFrom,
        HoldTooLong,
        SeparateTransaction,
        StorageFailed,
        StorageFull,
        Unavailable,
        EncryptionUnavailable,
        RateLimited,
        TooManyConnections,
        RecipientQuota,
        SendQuota,
        AuthFailed,
        AuthUnavailable,
        ShuttingDown,
        Suppressed("address, since 2026-01-02\r\n250 2.0.0 injected".to_owned()),
        Refusal::spf(Verdict::SoftFail, "ext.test", "SMTP_REQUIRE_SPF_PASS"),
    ];
    let word = |r: &Refusal| format!("{r:?}").split(['(', ' ', '{']).next().unwrap_or_default().to_owned();
    all.into_iter().find(|r| word(r) == name).unwrap_or_else(|| panic!("refusal {name}"))
}
