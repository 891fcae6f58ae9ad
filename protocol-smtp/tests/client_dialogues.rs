//! Plays the text files in `client_dialogues/` against the client machine: whole, byte by byte, and at every
//! two-way split of what the server says, with the same outcome each time.
//!
//! ```text
//! set KEY=VALUE ...     lmtp=yes, tls=implicit|unproven, auth=yes, mode=required|opportunistic|disabled, fallback=no
//! S: line               the server sends it, with CRLF;  S= the same without;  \r \n \t \\ \xNN
//! C: line               the client has sent it;          C= the same without CRLF
//! ? step                the machine gives this step
//! ! answer              what the driver does then;      ! resume [required|disabled] [plaintext] [valid]
//! @ 30                  so many seconds pass
//! EOF                   the server closes
//! whole                 only played whole: the dialogue is about what comes in one piece
//! ```

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::Path as FilePath;
use std::sync::Arc;

use protocol_core::time::Duration;
use protocol_core::{Instant, RecvBuf, SendBuf};
use protocol_smtp::address::{Mailbox, Path};
use protocol_smtp::client::*;
use protocol_smtp::params::{Body, RcptParams, Ret};
use protocol_smtp::queue::Verdict;
use protocol_smtp::route::{TlsDemand, TlsMode, TlsSettings};

#[test]
fn so1_so2_so3_so6_so7_so12_client_dialogues() {
    let dir = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/client_dialogues");
    let mut files: Vec<_> =
        std::fs::read_dir(&dir).expect("the dialogues are there").map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut played = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for dialogue in text.split("\n---\n") {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            play(&name, dialogue);
            played += 1;
        }
    }
    assert!(played >= 75, "only {played} dialogues were found");
}

fn play(name: &str, text: &str) {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')).collect();
    let total: usize = lines.iter().filter_map(|l| server_bytes(l)).map(|b| b.len()).sum();
    Player::new(name, &lines, Split::Whole).run(&lines);
    if lines.contains(&"whole") {
        return;
    }
    Player::new(name, &lines, Split::Bytes).run(&lines);
    for at in 1..total.min(2_000) {
        Player::new(name, &lines, Split::At(at)).run(&lines);
    }
}

#[derive(Clone, Copy, Debug)]
enum Split {
    Whole,
    Bytes,
    At(usize),
}

struct Player<'a> {
    name: &'a str,
    split: Split,
    session: ClientSession,
    input: RecvBuf,
    out: SendBuf,
    now: Instant,
    /// Octets the server sent so far.
    fed: usize,
    sent: Vec<u8>,
    steps: VecDeque<String>,
    held: Option<ClientStep>,
}

impl<'a> Player<'a> {
    fn new(name: &'a str, lines: &[&str], split: Split) -> Player<'a> {
        let settings = lines.iter().filter_map(|l| l.strip_prefix("set "));
        let has = |wanted: &str| settings.clone().any(|s| s.split(' ').any(|w| w == wanted));
        let mode = match () {
            () if has("mode=required") => TlsMode::Required,
            () if has("mode=disabled") => TlsMode::Disabled,
            () => TlsMode::Opportunistic,
        };
        let settings = TlsSettings {
            mode,
            require_starttls: false,
            allow_plaintext_fallback: !has("fallback=no"),
            allow_invalid_certs: false,
        };
        let config = ClientConfig {
            name: "me.test".into(),
            lmtp: has("lmtp=yes"),
            timeout: Duration::from_secs(30),
            demand: TlsDemand::by_settings(settings).unwrap(),
            plaintext: false,
            authenticate: has("auth=yes"),
        };
        let secured = match () {
            () if has("tls=implicit") => Some(true),
            () if has("tls=unproven") => Some(false),
            () => None,
        };
        Player {
            name,
            split,
            session: ClientSession::new(Arc::new(config), secured),
            input: RecvBuf::with_limit(RECV_BUF_MIN),
            out: SendBuf::with_high_water(65_536),
            now: Instant(0),
            fed: 0,
            sent: Vec::new(),
            steps: VecDeque::new(),
            held: None,
        }
    }

    fn run(mut self, lines: &[&str]) {
        self.drain();
        for line in lines {
            if line.starts_with("set ") || *line == "whole" {
                continue;
            }
            let place = format!("{} {:?}: {line}", self.name, self.split);
            if let Some(bytes) = server_bytes(line) {
                self.feed(&bytes);
            } else if let Some(bytes) = line.strip_prefix("C: ").map(|l| [&unescape(l)[..], b"\r\n"].concat())
            {
                self.expect_sent(&bytes, &place);
            } else if let Some(bytes) = line.strip_prefix("C= ") {
                self.expect_sent(&unescape(bytes), &place);
            } else if let Some(step) = line.strip_prefix("? ") {
                assert_eq!(self.steps.pop_front().as_deref(), Some(step), "{place}");
            } else if let Some(answer) = line.strip_prefix("! ") {
                assert_eq!(self.sent.escape_ascii().to_string(), "", "sent and not expected: {place}");
                self.answer(answer, &place);
            } else if let Some(secs) = line.strip_prefix("@ ") {
                self.now = self.now + Duration::from_secs(secs.parse().unwrap());
                self.drain();
            } else if *line == "EOF" {
                self.input.commit_eof();
                self.drain();
            } else {
                panic!("not understood: {place}");
            }
        }
        let place = format!("{} {:?}", self.name, self.split);
        assert_eq!(self.sent.escape_ascii().to_string(), "", "sent and not expected at the end of {place}");
        assert!(self.steps.is_empty(), "steps not expected at the end of {place}: {:?}", self.steps);
    }

    fn feed(&mut self, bytes: &[u8]) {
        let cut = match self.split {
            Split::At(at) if at > self.fed && at < self.fed + bytes.len() => at - self.fed,
            Split::Whole | Split::Bytes | Split::At(_) => bytes.len(),
        };
        let size = if let Split::Bytes = self.split { 1 } else { cut };
        let (front, back) = bytes.split_at(cut);
        for mut piece in front.chunks(size).chain(back.chunks(back.len().max(1))) {
            while !piece.is_empty() {
                let n = self.input.feed(piece);
                piece = &piece[n..];
                self.drain();
                if n == 0 {
                    break; // back-pressure: the machine reads no more
                }
            }
        }
        self.fed += bytes.len();
        if let Some(ClientStep::Ready) = self.held {
            self.held = None;
            self.drain();
        }
    }

    fn flush(&mut self) {
        self.sent.extend_from_slice(self.out.bytes());
        self.out.advance(self.out.len());
    }

    fn drain(&mut self) {
        while self.held.is_none() {
            let step = self.session.poll(self.now, &mut self.input, &mut self.out);
            self.flush();
            let shown = match &step {
                ClientStep::NeedInput => return,
                ClientStep::Flush => continue,
                step => show(step),
            };
            let again = matches!(step, ClientStep::Ready) && self.steps.back() == Some(&shown);
            if !again {
                self.steps.push_back(shown);
            }
            match step {
                ClientStep::Settled { .. } | ClientStep::Later { .. } => {}
                other => self.held = Some(other),
            }
        }
    }

    fn expect_sent(&mut self, bytes: &[u8], place: &str) {
        let n = bytes.len().min(self.sent.len());
        let front: Vec<u8> = self.sent.drain(..n).collect();
        let rest = self.sent.escape_ascii().to_string();
        assert_eq!(
            front.escape_ascii().to_string(),
            bytes.escape_ascii().to_string(),
            "{place} (then: {rest})"
        );
    }

    fn answer(&mut self, answer: &str, place: &str) {
        let (verb, rest) = answer.split_once(' ').unwrap_or((answer, ""));
        let held = self.held.take();
        match (verb, held) {
            ("send", Some(ClientStep::Ready)) => self.send(rest, place),
            ("quit", Some(ClientStep::Ready)) => self.session.quit(&mut self.out),
            ("resume", Some(ClientStep::Ready)) => {
                let has = |wanted: &str| rest.split(' ').any(|word| word == wanted);
                let (require_starttls, allow_invalid_certs) = (false, false);
                let (mode, allow_plaintext_fallback) = match () {
                    () if has("required") => (TlsMode::Required, false),
                    () if has("disabled") => (TlsMode::Disabled, true),
                    () => (TlsMode::Opportunistic, true),
                };
                let settings =
                    TlsSettings { mode, require_starttls, allow_plaintext_fallback, allow_invalid_certs };
                let demand = TlsDemand::by_settings(settings).unwrap();
                if !self.session.resume(demand, has("plaintext"), has("valid")) {
                    self.steps.push_back("Unfit".to_owned());
                    self.held = Some(ClientStep::Ready);
                    return;
                }
            }
            ("tls", Some(ClientStep::UpgradeTls(upgrade))) => match rest {
                "valid" => upgrade.done(true, "", &mut self.session, &mut self.out),
                "invalid" => upgrade.done(false, "name mismatch", &mut self.session, &mut self.out),
                "broken" => upgrade.failed("alert", &mut self.session),
                _ => panic!("{place}"),
            },
            ("auth", Some(ClientStep::Prove(prove))) => {
                let (mechanism, initial) = rest.split_once(' ').map_or((rest, None), |(m, i)| (m, Some(i)));
                assert!(prove.offers(mechanism), "{place}");
                let initial = initial.map(unescape);
                prove.start(mechanism, initial.as_deref(), &mut self.session, &mut self.out);
            }
            ("respond", Some(ClientStep::Prove(prove))) => {
                prove.respond(&unescape(rest), &mut self.session, &mut self.out)
            }
            ("cancel", Some(ClientStep::Prove(prove))) => prove.cancel(rest, &mut self.session),
            ("body", Some(ClientStep::Body(mut encoder))) => {
                for part in rest.split(" | ") {
                    encoder.encode(&unescape(part)).for_each(|piece| self.sent.extend_from_slice(piece));
                }
                encoder.finish(&mut self.session);
            }
            ("proceed", Some(ClientStep::DotPending { .. })) => {
                assert!(!self.session.is_after_dot(), "{place}");
                self.session.proceed(&mut self.out);
                assert!(self.session.is_after_dot(), "{place}");
            }
            ("withhold", Some(ClientStep::DotPending { .. })) => self.session.withhold("storage is away"),
            ("drop", Some(_)) => {}
            (_, held) => panic!("{place}: the step was {held:?}"),
        }
        self.flush();
        self.drain();
    }

    /// `send SENDER RCPT[,NOTIFY=..][,ORCPT=..]... [+option]`
    fn send(&mut self, words: &str, place: &str) {
        let path = |text: &'static str| match text {
            "<>" => Path::Null,
            "postmaster" => Path::Postmaster,
            text => Path::Mailbox(Mailbox::parse(text).expect("an address")),
        };
        let words: Vec<&'static str> = words.split(' ').map(|w| &*w.to_string().leak()).collect();
        let option =
            |name: &str| words.iter().find_map(|w| w.strip_prefix('+').and_then(|w| w.strip_prefix(name)));
        let addresses = words[1..].iter().filter(|w| !w.starts_with('+'));
        let first = option("first=").map_or(0, |n| n.parse().unwrap());
        let recipients: Vec<Recipient<'static>> = addresses
            .zip(first..)
            .map(|(word, index)| {
                let mut parts = word.split(';');
                let address = parts.next().unwrap();
                let mut params = RcptParams::default();
                for part in parts {
                    params.notify = part.strip_prefix("NOTIFY=").or(params.notify);
                    params.orcpt =
                        part.strip_prefix("ORCPT=").map(|o| &*o.replace('/', ";").leak()).or(params.orcpt);
                }
                Recipient { index, path: path(address), params }
            })
            .collect();
        let envelope = Envelope {
            sender: path(words[0]),
            recipients: &recipients,
            size: option("size=").map_or(100, |n| n.parse().unwrap()),
            body: match () {
                () if option("8bit").is_some() => Body::EightBit,
                () if option("binary").is_some() => Body::Binary,
                () => Body::SevenBit,
            },
            utf8_header: option("utf8header").is_some(),
            require_tls: option("requiretls").is_some(),
            ret: option("hdrs").map(|_| Ret::Headers),
            envid: option("envid="),
        };
        match self.session.send(&envelope, &mut self.out) {
            Ok(taken) => assert_eq!(
                taken,
                option("taken=").map_or(recipients.len(), |n| n.parse().unwrap()),
                "{place}"
            ),
            Err(missing) => self.steps.push_back(format!("Missing {missing:?} {}", missing.status())),
        }
    }
}

fn show(step: &ClientStep) -> String {
    let mut text = String::new();
    let _ = match step {
        ClientStep::UpgradeTls(_) => write!(text, "UpgradeTls"),
        ClientStep::Prove(prove) => match prove.challenge() {
            None => write!(text, "Prove"),
            Some(challenge) => write!(text, "Prove {}", challenge.escape_ascii()),
        },
        ClientStep::Settled { index, verdict } => write!(text, "Settled {index} {}", show_verdict(verdict)),
        ClientStep::DotPending { recipients, wait } => {
            write!(text, "DotPending {recipients:?} {}", wait.as_secs())
        }
        ClientStep::Later { index } => write!(text, "Later {index}"),
        ClientStep::Body(_) => write!(text, "Body"),
        ClientStep::Closed(CloseReason::Tls { outcome, .. }) => write!(text, "Closed Tls {outcome:?}"),
        ClientStep::Closed(CloseReason::Refused(f)) => write!(text, "Closed Refused {}", f.status),
        ClientStep::Closed(CloseReason::Gone(f)) => write!(text, "Closed Gone {}", f.status),
        ClientStep::Closed(CloseReason::Stale(f)) => write!(text, "Closed Stale {}", f.status),
        ClientStep::Closed(CloseReason::PeerMisbehaved(f)) => {
            write!(text, "Closed PeerMisbehaved {}", f.status)
        }
        ClientStep::Closed(CloseReason::TimedOut(timer, f)) => {
            write!(text, "Closed TimedOut {timer:?} {}", f.status)
        }
        ClientStep::Closed(reason) => write!(text, "Closed {reason:?}"),
        other => write!(text, "{other:?}"),
    };
    text
}

fn show_verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Delivered { reply, dsn } => format!("Delivered {dsn:?}: {reply}"),
        Verdict::Temporary(f) => format!("Temporary {}: {}", f.status, f.reply),
        Verdict::Permanent(f) => format!("Permanent {}: {}", f.status, f.reply),
        Verdict::InDoubt(f) => format!("InDoubt {}: {}", f.status, f.reply),
        other => format!("{other:?}"),
    }
}

/// What a line makes the server send; `*N` at its end repeats it.
fn server_bytes(line: &str) -> Option<Vec<u8>> {
    if let Some(text) = line.strip_prefix("S: ") {
        return Some([&unescape(text)[..], b"\r\n"].concat());
    }
    if let Some((count, text)) = line.strip_prefix("S*").and_then(|l| l.split_once(' ')) {
        return Some([&unescape(text)[..], b"\r\n"].concat().repeat(count.parse().unwrap()));
    }
    line.strip_prefix("S= ").map(unescape)
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next().expect("an escape has a letter") {
                'r' => out.push(b'\r'),
                'n' => out.push(b'\n'),
                't' => out.push(b'\t'),
                '\\' => out.push(b'\\'),
                'x' => {
                    let digits: String = chars.by_ref().take(2).collect();
                    out.push(u8::from_str_radix(&digits, 16).expect("two hexadecimal digits"));
                }
                other => panic!("no such escape: {other}"),
            },
            (c, false) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}
