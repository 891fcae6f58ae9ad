//! A request's line and fields, octet for octet as RFC 9112 has them.
//!
//! What is wrong is refused rather than repaired: two servers that repair differently see different requests.

/// Octets of a method: longer ones are none that is known (501, RFC 9112 §3).
pub const METHOD_MAX: usize = 24;
/// Fields of one request: 431 beyond.
pub const FIELDS_MAX: usize = 100;

/// Octets of a body: more than anybody may send.
pub const LENGTH_MAX: u64 = 1 << 40;

const BAD: u16 = 400;
const TOO_LARGE: u16 = 413;
const EXPECTATION_FAILED: u16 = 417;
const TOO_MANY_FIELDS: u16 = 431;
const NOT_IMPLEMENTED: u16 = 501;
const VERSION_NOT_SUPPORTED: u16 = 505;

/// What has been read of a request's head, and what it says about what follows it.
#[derive(Default)]
pub struct Head {
    minor: u8,
    fields: usize,
    hosts: usize,
    length: Option<u64>,
    codings: usize,
    /// One that is not `chunked`.
    other_coding: bool,
    /// `chunked`, and nothing behind it so far.
    chunked_last: bool,
    /// `chunked`, and something behind it.
    chunked_within: bool,
    connection_upgrade: bool,
    to_websocket: bool,
}

/// How the body of a request is delimited (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many octets; none is none.
    Octets(u64),
    /// Chunks.
    Chunked,
}

impl Head {
    /// Reads the request line, without its end. A minor version above 1 is written over by 1, as which it is to be
    /// read (RFC 9110 §2.5).
    ///
    /// # Errors
    /// The status that says what is wrong.
    pub fn request_line(&mut self, line: &mut [u8]) -> Result<(), u16> {
        let mut parts = line.split(|octet| *octet == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BAD);
        };
        if !is_token(method) {
            return Err(BAD);
        }
        if method.len() > METHOD_MAX {
            return Err(NOT_IMPLEMENTED);
        }
        let [b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'] = version else {
            return Err(BAD);
        };
        if *major != b'1' {
            return Err(VERSION_NOT_SUPPORTED);
        }
        self.minor = (minor - b'0').min(1);
        check_target(method, target)?;
        let end = line.len() - 1;
        line[end] = b'0' + self.minor;
        Ok(())
    }

    /// Reads one field line, without its end (RFC 9112 §5).
    ///
    /// # Errors
    /// The status that says what is wrong.
    pub fn field(&mut self, line: &[u8]) -> Result<(), u16> {
        self.fields += 1;
        if self.fields > FIELDS_MAX {
            return Err(TOO_MANY_FIELDS);
        }
        let colon = line.iter().position(|octet| *octet == b':').ok_or(BAD)?;
        let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
        // A line that continues another one, and a space before the colon, fail here too (§5.1, §5.2).
        if !is_token(name) {
            return Err(BAD);
        }
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
            return if self.hosts == 1 && is_authority(value) { Ok(()) } else { Err(BAD) };
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            // The same one twice may be refused (RFC 9112 §6.3), and nobody means it.
            let length = digits(value).ok_or(BAD)?;
            if length > LENGTH_MAX {
                return Err(TOO_LARGE);
            }
            return if self.length.replace(length).is_none() { Ok(()) } else { Err(BAD) };
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            value.split(|octet| *octet == b',').for_each(|coding| self.coding(trim(coding)));
        } else if name.eq_ignore_ascii_case(b"connection") {
            self.connection_upgrade |= has_word(value, b"upgrade");
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.to_websocket |= has_word(value, b"websocket");
        } else if name.eq_ignore_ascii_case(b"expect")
            && self.minor > 0
            && !value.eq_ignore_ascii_case(b"100-continue")
        {
            return Err(EXPECTATION_FAILED);
        }
        Ok(())
    }

    fn coding(&mut self, coding: &[u8]) {
        self.codings += 1;
        self.chunked_within |= self.chunked_last;
        self.chunked_last = coding.eq_ignore_ascii_case(b"chunked");
        self.other_coding |= !self.chunked_last;
    }

    /// How the body that follows is delimited, now that all fields are known.
    ///
    /// # Errors
    /// The status that says why that cannot be told (RFC 9112 §3.2, §6.1, §6.3).
    pub fn end(&self) -> Result<Length, u16> {
        if self.hosts == 0 && self.minor > 0 {
            return Err(BAD);
        }
        if self.codings == 0 {
            return Ok(Length::Octets(self.length.unwrap_or(0)));
        }
        if self.minor == 0 || self.length.is_some() || !self.chunked_last || self.chunked_within {
            return Err(BAD);
        }
        if self.other_coding { Err(NOT_IMPLEMENTED) } else { Ok(Length::Chunked) }
    }

    /// Whether the connection may become a WebSocket: what follows is then no request.
    pub fn may_switch(&self) -> bool {
        self.minor > 0 && self.connection_upgrade && self.to_websocket
    }
}

/// RFC 9112 §3.2: each form of a target has its methods.
fn check_target(method: &[u8], target: &[u8]) -> Result<(), u16> {
    if method == b"CONNECT" {
        // No tunnels from here, well-formed or not.
        return Err(if has_port(target) && is_authority(target) { NOT_IMPLEMENTED } else { BAD });
    }
    let good = match target {
        b"*" => method == b"OPTIONS",
        [b'/', rest @ ..] => rest.iter().all(|octet| is_of_target(*octet)),
        _ => is_absolute(target),
    };
    if good { Ok(()) } else { Err(BAD) }
}

fn is_absolute(target: &[u8]) -> bool {
    let Some(at) = target.windows(3).position(|w| w == b"://") else { return false };
    let (scheme, rest) = (&target[..at], &target[at + 3..]);
    let end = rest.iter().position(|octet| matches!(octet, b'/' | b'?')).unwrap_or(rest.len());
    (scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https"))
        && is_authority(&rest[..end])
        && rest[end..].iter().all(|octet| is_of_target(*octet))
}

/// Octets of RFC 3986 and those that browsers leave as they are; never a fragment.
fn is_of_target(octet: u8) -> bool {
    matches!(octet, b'!'..=b'~') && !matches!(octet, b'#' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`')
}

/// A host, and a port or none: no user, nothing else (RFC 9110 §4.2, §7.2). An empty host is none of HTTP's.
fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match text {
        [b'[', ..] => {
            let Some(end) = text.iter().position(|octet| *octet == b']') else { return false };
            (&text[1..end], &text[end + 1..])
        }
        _ => text.split_at(text.iter().position(|octet| *octet == b':').unwrap_or(text.len())),
    };
    let literal = text.first() == Some(&b'[');
    let good = |octet: &u8| match literal {
        true => octet.is_ascii_hexdigit() || matches!(octet, b':' | b'.'),
        false => octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~' | b'%'),
    };
    let good_port = match port {
        [] => true,
        [b':', digits @ ..] => {
            let number =
                digits.iter().try_fold(0u32, |n, d| d.is_ascii_digit().then(|| n * 10 + u32::from(d - b'0')));
            digits.len() <= 5 && number.is_some_and(|n| n <= 65_535)
        }
        _ => false,
    };
    !host.is_empty() && host.iter().all(good) && good_port
}

fn has_port(text: &[u8]) -> bool {
    let colon = text.iter().rposition(|octet| *octet == b':');
    colon.is_some_and(|at| text.len() > at + 1 && text[at + 1..].iter().all(u8::is_ascii_digit))
}

/// RFC 9110 §8.6: digits and nothing else.
fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |n, octet| {
        let digit = octet.is_ascii_digit().then(|| u64::from(octet - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

fn has_word(value: &[u8], word: &[u8]) -> bool {
    value.split(|octet| *octet == b',').any(|token| trim(token).eq_ignore_ascii_case(word))
}

/// Without the white space around it (RFC 9110 §5.6.3): space and tab, and no other.
fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|octet| is_of_token(*octet))
}

/// RFC 9110 §5.6.2.
pub fn is_of_token(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet)
}

/// RFC 9110 §5.5: visible octets, space and tab, and what is not ASCII.
pub fn is_of_value(octet: u8) -> bool {
    octet == b'\t' || (octet >= b' ' && octet != 0x7f)
}
