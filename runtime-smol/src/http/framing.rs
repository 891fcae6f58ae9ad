//! Where requests begin and end in what a client of HTTP/1.1 sends (RFC 9112): a machine without I/O.
//!
//! It stands in front of hyper, which is laxer in places, so that there is one opinion only about what is a request.

use super::head::{Head, LENGTH_MAX, Length, METHOD_MAX, is_of_token, is_of_value};

/// Empty lines in front of a request (RFC 9112 §2.2 wants one to be ignored at least).
const EMPTY_LINES_MAX: usize = 2;
/// Octets of one chunk's extensions: nobody here wants to know any.
const EXTENSION_MAX: usize = 256;
/// Octets of all trailer fields of a request.
const TRAILERS_MAX: usize = 4096;

const BAD: u16 = 400;
const TARGET_TOO_LONG: u16 = 414;
const HEAD_TOO_LONG: u16 = 431;
const NOT_IMPLEMENTED: u16 = 501;

/// What is to be done with the octets that were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many from the front are good, and go on.
    Pass(usize),
    /// Nothing can be said before there are more.
    More,
    /// A request begins here that is refused with this status; nothing behind it is looked at.
    Refuse(u16),
    /// The body that is under way is none.
    Broken,
    /// What follows is a request only if the connection does not become a WebSocket: see [`Framing::switched`].
    Wait,
}

/// The place in the stream.
pub struct Framing {
    state: State,
    head_max: usize,
}

enum State {
    Head { scanned: usize, line: usize, empty: usize, head: Option<Head> },
    Octets(u64),
    Chunk(Chunk),
    Waiting,
    Tunnel,
}

#[derive(Clone, Copy)]
enum Chunk {
    Size {
        digits: u8,
        size: u64,
    },
    /// White space in front of an extension.
    Space {
        size: u64,
        seen: usize,
    },
    /// Behind its semicolon.
    Name {
        size: u64,
        seen: usize,
    },
    Extension {
        size: u64,
        seen: usize,
        quoted: bool,
        escaped: bool,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    TrailerStart {
        seen: usize,
    },
    TrailerName {
        seen: usize,
    },
    TrailerValue {
        seen: usize,
    },
    TrailerLf {
        seen: usize,
    },
    EndLf,
}

impl State {
    fn start() -> State {
        State::Head { scanned: 0, line: 0, empty: 0, head: None }
    }
}

impl Framing {
    /// At the beginning of a connection; a request's line and fields have at most `head_max` octets.
    pub fn new(head_max: usize) -> Framing {
        Framing { state: State::start(), head_max }
    }

    /// Whether nothing is under way: an end here is a good one.
    pub fn at_rest(&self) -> bool {
        match &self.state {
            State::Head { scanned, line, head, .. } => head.is_none() && scanned == line,
            State::Tunnel => true,
            _ => false,
        }
    }

    /// Whether a head is under way, or could begin.
    pub fn in_head(&self) -> bool {
        matches!(self.state, State::Head { .. })
    }

    /// Octets that go on unseen.
    pub fn bulk(&self) -> u64 {
        match self.state {
            State::Octets(left) | State::Chunk(Chunk::Data { left }) => left,
            State::Tunnel => u64::MAX,
            _ => 0,
        }
    }

    /// So many of [`bulk`](Framing::bulk) went on.
    pub fn went_on(&mut self, octets: u64) {
        match &mut self.state {
            State::Octets(left) => {
                *left -= octets.min(*left);
                if *left == 0 {
                    self.state = State::start();
                }
            }
            State::Chunk(Chunk::Data { left }) => {
                *left -= octets.min(*left);
                if *left == 0 {
                    self.state = State::Chunk(Chunk::DataCr);
                }
            }
            _ => {}
        }
    }

    /// What was waited for: whether the connection is a WebSocket now.
    pub fn switched(&mut self, to_websocket: bool) {
        if let State::Waiting = self.state {
            self.state = if to_websocket { State::Tunnel } else { State::start() };
        }
    }

    /// Looks at all that has come and has not gone on; the same octets again when there are more.
    pub fn advance(&mut self, input: &mut [u8]) -> Step {
        match &self.state {
            State::Waiting => Step::Wait,
            _ if input.is_empty() => Step::More,
            State::Head { .. } => self.head(input),
            State::Chunk(_) => self.chunks(input),
            State::Octets(_) | State::Tunnel => {
                let many = self.bulk().min(input.len() as u64);
                self.went_on(many);
                Step::Pass(many as usize)
            }
        }
    }

    fn head(&mut self, input: &mut [u8]) -> Step {
        let State::Head { scanned, line, empty, head } = &mut self.state else { return Step::More };
        while *scanned < input.len() {
            let at = *scanned;
            if at >= self.head_max {
                return Step::Refuse(if head.is_none() { TARGET_TOO_LONG } else { HEAD_TOO_LONG });
            }
            let octet = input[at];
            // Only CRLF ends a line (RFC 9112 §2.2 lets a server take LF alone; it does not have to).
            let after_cr = at > *line && input[at - 1] == b'\r';
            let good = match octet {
                b'\n' => after_cr,
                b'\r' => !after_cr,
                octet => !after_cr && is_of_value(octet),
            };
            if !good {
                return Step::Refuse(BAD);
            }
            *scanned += 1;
            if octet != b'\n' {
                let first = head.is_none() && at - *line >= METHOD_MAX;
                if first && !input[*line..=at].contains(&b' ') {
                    return Step::Refuse(NOT_IMPLEMENTED);
                }
                continue;
            }
            let (from, end) = (*line, at - 1);
            *line = at + 1;
            let read = match (&mut *head, from == end) {
                (None, true) if *empty < EMPTY_LINES_MAX => {
                    *empty += 1;
                    Ok(())
                }
                (None, true) => Err(BAD),
                (None, false) => {
                    let mut new = Head::default();
                    new.request_line(&mut input[from..end]).map(|()| *head = Some(new))
                }
                (Some(head), false) => head.field(&input[from..end]),
                (Some(head), true) => match head.end() {
                    Ok(length) => {
                        let octets = *scanned;
                        self.state = after(head, length);
                        return Step::Pass(octets);
                    }
                    Err(status) => Err(status),
                },
            };
            if let Err(status) = read {
                return Step::Refuse(status);
            }
        }
        Step::More
    }

    fn chunks(&mut self, input: &[u8]) -> Step {
        let mut at = 0;
        while at < input.len() {
            let State::Chunk(chunk) = &self.state else { break };
            if let Chunk::Data { left } = *chunk {
                let many = left.min((input.len() - at) as u64);
                self.went_on(many);
                at += many as usize;
                continue;
            }
            match chunk.next(input[at]) {
                Some(Chunk::EndLf) if matches!(chunk, Chunk::EndLf) => self.state = State::start(),
                Some(next) => self.state = State::Chunk(next),
                // What is good goes on first; the octet is looked at again.
                None if at > 0 => break,
                None => return Step::Broken,
            }
            at += 1;
        }
        Step::Pass(at)
    }
}

fn after(head: &Head, length: Length) -> State {
    match length {
        Length::Octets(0) if head.may_switch() => State::Waiting,
        Length::Octets(0) => State::start(),
        Length::Octets(octets) => State::Octets(octets),
        Length::Chunked => State::Chunk(Chunk::Size { digits: 0, size: 0 }),
    }
}

impl Chunk {
    /// What is expected behind this octet (RFC 9112 §7.1); none: it cannot stand here. The end of all leads from
    /// `EndLf` to itself.
    fn next(self, octet: u8) -> Option<Chunk> {
        Some(match (self, octet) {
            (Chunk::Size { digits, size }, octet) if octet.is_ascii_hexdigit() => {
                let digit = char::from(octet).to_digit(16).map(u64::from)?;
                let (digits, size) = (digits.checked_add(1)?, size.checked_mul(16)?.checked_add(digit)?);
                if size > LENGTH_MAX {
                    return None;
                }
                Chunk::Size { digits, size }
            }
            (Chunk::Size { digits: 1.., size }, b'\r') => Chunk::SizeLf { size },
            (Chunk::Size { digits: 1.., size }, b';') => Chunk::Name { size, seen: 1 },
            (Chunk::Size { digits: 1.., size }, b' ' | b'\t') => Chunk::Space { size, seen: 1 },
            (Chunk::Space { size, seen }, b' ' | b'\t') => Chunk::Space { size, seen: more(seen)? },
            (Chunk::Space { size, seen }, b';') => Chunk::Name { size, seen: more(seen)? },
            (Chunk::Name { size, seen }, b' ' | b'\t') => Chunk::Name { size, seen: more(seen)? },
            (Chunk::Name { size, seen }, octet) if is_of_token(octet) => {
                Chunk::Extension { size, seen: more(seen)?, quoted: false, escaped: false }
            }
            (Chunk::Extension { size, quoted: false, .. }, b'\r') => Chunk::SizeLf { size },
            (Chunk::Extension { size, seen, quoted, escaped }, octet) if is_of_value(octet) => {
                let seen = more(seen)?;
                let quoted = quoted != (octet == b'"' && !escaped);
                Chunk::Extension { size, seen, quoted, escaped: quoted && !escaped && octet == b'\\' }
            }
            (Chunk::SizeLf { size: 0 }, b'\n') => Chunk::TrailerStart { seen: 0 },
            (Chunk::SizeLf { size }, b'\n') => Chunk::Data { left: size },
            (Chunk::DataCr, b'\r') => Chunk::DataLf,
            (Chunk::DataLf, b'\n') => Chunk::Size { digits: 0, size: 0 },
            (Chunk::TrailerStart { .. }, b'\r') => Chunk::EndLf,
            (Chunk::TrailerStart { seen } | Chunk::TrailerName { seen }, octet) if is_of_token(octet) => {
                Chunk::TrailerName { seen: trailer(seen)? }
            }
            (Chunk::TrailerName { seen }, b':') => Chunk::TrailerValue { seen: trailer(seen)? },
            (Chunk::TrailerValue { seen }, b'\r') => Chunk::TrailerLf { seen },
            (Chunk::TrailerValue { seen }, octet) if is_of_value(octet) => {
                Chunk::TrailerValue { seen: trailer(seen)? }
            }
            (Chunk::TrailerLf { seen }, b'\n') => Chunk::TrailerStart { seen },
            (Chunk::EndLf, b'\n') => Chunk::EndLf,
            _ => return None,
        })
    }
}

fn more(seen: usize) -> Option<usize> {
    (seen < EXTENSION_MAX).then_some(seen + 1)
}

fn trailer(seen: usize) -> Option<usize> {
    (seen < TRAILERS_MAX).then_some(seen + 1)
}
