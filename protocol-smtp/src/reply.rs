//! Replies (RFC 5321 §4.2, with the enhanced codes of RFC 2034): written by servers, read by clients.

use core::fmt;

use protocol_core::{RecvBuf, SendBuf};

use crate::limits::REPLY_MAX;
use crate::status::Status;

/// Appends a one-line reply. `text` holds no line end; the callers' texts are constants or cleaned.
pub fn write(out: &mut SendBuf, code: u16, status: Option<Status>, text: &str) {
    write_line(out, code, true, status, text);
}

/// Appends one line of a reply, the last one or not.
pub fn write_line(out: &mut SendBuf, code: u16, last: bool, status: Option<Status>, text: &str) {
    write_start(out, code, last, status);
    out.push(text.as_bytes());
    out.push(b"\r\n");
}

/// Appends what stands before the text of a line of a reply.
pub fn write_start(out: &mut SendBuf, code: u16, last: bool, status: Option<Status>) {
    out.push_decimal(u64::from(code));
    out.push_u8(if last { b' ' } else { b'-' });
    if let Some(status) = status {
        out.push_decimal(u64::from(status.class));
        out.push_u8(b'.');
        out.push_decimal(u64::from(status.subject));
        out.push_u8(b'.');
        out.push_decimal(u64::from(status.detail));
        out.push_u8(b' ');
    }
}

/// A whole reply, borrowed from the receive buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reply<'b> {
    code: u16,
    /// Its lines with their codes and line ends, checked.
    raw: &'b [u8],
}

impl<'b> Reply<'b> {
    /// 200 to 599.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The first digit: 2 done, 3 go on, 4 try later, 5 no.
    pub fn class(&self) -> u8 {
        (self.code / 100) as u8
    }

    /// The texts of its lines, enhanced codes included.
    pub fn lines(&self) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        self.raw.split_inclusive(|b| *b == b'\n').map(|line| {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            line.get(4..).unwrap_or(b"")
        })
    }

    /// The enhanced code of the first line, when it has one of the reply's own class.
    pub fn status(&self) -> Option<Status> {
        let status = Status::parse(self.lines().next()?)?;
        (status.class == self.class()).then_some(status)
    }
}

impl fmt::Display for Reply<'_> {
    /// On one line, without controls: fit for logs, delivery records and Diagnostic-Code.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        for line in self.lines() {
            f.write_str(" ")?;
            for chunk in line.utf8_chunks() {
                for c in chunk.valid().chars() {
                    let shown = if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { '?' } else { c };
                    fmt::Write::write_char(f, shown)?;
                }
                if !chunk.invalid().is_empty() {
                    f.write_str("\u{fffd}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The peer does not speak SMTP. Sticky: the connection is of no further use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// A line does not begin with three digits (200 to 599) and a space, a hyphen or nothing.
    Malformed,
    /// The lines of one reply have different codes (RFC 5321 §4.2.1).
    CodesDiffer,
    /// More than [`REPLY_MAX`] octets.
    TooLong,
    /// The peer closed in the middle of a reply.
    CutShort,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReplyError::Malformed => "the server's reply is malformed",
            ReplyError::CodesDiffer => "the lines of the server's reply have different codes",
            ReplyError::TooLong => "the server's reply is too long",
            ReplyError::CutShort => "the server closed the connection in the middle of a reply",
        })
    }
}

impl core::error::Error for ReplyError {}

/// Finds whole replies in a receive buffer. Looks at each octet once.
#[derive(Clone, Debug, Default)]
pub struct ReplyParser {
    /// Octets of whole lines already checked.
    checked: usize,
    /// Octets already searched for a line end.
    searched: usize,
    code: Option<u16>,
}

impl ReplyParser {
    /// At the start of a reply.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next reply, consumed from `input`; `None` when it is not all there yet.
    pub fn poll<'b>(&mut self, input: &'b mut RecvBuf) -> Result<Option<Reply<'b>>, ReplyError> {
        loop {
            let bytes = input.bytes();
            let Some(found) = memchr::memchr(b'\n', &bytes[self.searched..]) else {
                if bytes.len() > REPLY_MAX || input.is_full() {
                    return Err(ReplyError::TooLong);
                }
                self.searched = bytes.len();
                let cut = input.is_eof() && !input.is_empty();
                return if cut { Err(ReplyError::CutShort) } else { Ok(None) };
            };
            let end = self.searched + found + 1;
            if end > REPLY_MAX {
                return Err(ReplyError::TooLong);
            }
            let (code, last) = line_head(&bytes[self.checked..end])?;
            if self.code.is_some_and(|c| c != code) {
                return Err(ReplyError::CodesDiffer);
            }
            self.code = Some(code);
            (self.checked, self.searched) = (end, end);
            if last {
                *self = Self::default();
                return Ok(Some(Reply { code, raw: input.take(end) }));
            }
        }
    }
}

/// Code of a line, and whether it is the reply's last. A lone LF ends a line here: a client must understand
/// what servers send (RFC 5321 §2.3.8 forbids only sending it).
fn line_head(line: &[u8]) -> Result<(u16, bool), ReplyError> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (&[a, b, c], rest) = line.split_first_chunk::<3>().ok_or(ReplyError::Malformed)?;
    let digits = matches!(a, b'2'..=b'5') && b.is_ascii_digit() && c.is_ascii_digit();
    let code = u16::from(a.wrapping_sub(b'0')) * 100
        + u16::from(b.wrapping_sub(b'0')) * 10
        + u16::from(c.wrapping_sub(b'0'));
    match rest.first() {
        _ if !digits => Err(ReplyError::Malformed),
        None | Some(b' ') => Ok((code, true)),
        Some(b'-') => Ok((code, false)),
        Some(_) => Err(ReplyError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    /// Code and lines.
    type Owned = (u16, Vec<Vec<u8>>);

    fn parse(bytes: &[u8]) -> Result<Option<Owned>, ReplyError> {
        let mut input = RecvBuf::with_limit(2 * REPLY_MAX);
        let mut rest = bytes;
        let mut parser = ReplyParser::new();
        while !rest.is_empty() {
            let n = input.feed(rest);
            rest = &rest[n..];
            if n == 0 {
                break;
            }
        }
        let reply = parser.poll(&mut input)?;
        Ok(reply.map(|r| (r.code(), r.lines().map(<[u8]>::to_vec).collect())))
    }

    #[test]
    fn so2_replies_that_are_and_are_not() {
        let lines = |l: &[&[u8]]| l.iter().map(|l| l.to_vec()).collect::<Vec<_>>();
        assert_eq!(parse(b"250 ok\r\n"), Ok(Some((250, lines(&[b"ok"])))));
        assert_eq!(parse(b"250\r\n"), Ok(Some((250, lines(&[b""])))));
        assert_eq!(parse(b"250-a\r\n250-b\r\n250 c\r\n"), Ok(Some((250, lines(&[b"a", b"b", b"c"])))));
        assert_eq!(parse(b"250-a\r\n250"), Ok(None));
        assert_eq!(parse(b"250-a\r\n550 b\r\n"), Err(ReplyError::CodesDiffer));
        for bad in [
            &b"25x ok\r\n"[..],
            b"ok\r\n",
            b"\r\n",
            b"25\r\n",
            b"2500 ok\r\n",
            b"150 early\r\n",
            b"650 x\r\n",
        ] {
            assert_eq!(parse(bad), Err(ReplyError::Malformed), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn so2_a_reply_may_have_64_kib_and_no_more() {
        let line = b"250-0123456789abcdef0123456789ab\r\n";
        let n = (REPLY_MAX - 8) / line.len();
        let mut bytes = line.repeat(n);
        let pad = REPLY_MAX - bytes.len() - 6;
        bytes.extend_from_slice(b"250 ");
        bytes.extend(core::iter::repeat_n(b'x', pad));
        bytes.extend_from_slice(b"\r\n");
        assert_eq!(bytes.len(), REPLY_MAX);
        assert!(parse(&bytes).is_ok_and(|r| r.is_some()));
        bytes.splice(bytes.len() - 2..bytes.len() - 2, *b"y");
        assert_eq!(parse(&bytes), Err(ReplyError::TooLong));
        assert_eq!(parse(&line.repeat(100_000)), Err(ReplyError::TooLong));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = SendBuf::with_high_water(1024);
        write(&mut out, 550, Some(Status::new(5, 1, 1)), "No such user here");
        let mut input = RecvBuf::with_limit(1024);
        input.feed(out.bytes());
        let mut parser = ReplyParser::new();
        let reply = parser.poll(&mut input).unwrap().unwrap();
        assert_eq!((reply.code(), reply.status()), (550, Some(Status::new(5, 1, 1))));
        assert_eq!(reply.to_string(), "550 5.1.1 No such user here");
    }

    #[test]
    fn shown_replies_hold_no_controls() {
        let mut input = RecvBuf::with_limit(1024);
        input.feed(b"550-\x1b[31mred\xff\r\n550 \xe2\x80\xa8end\r\n");
        let mut parser = ReplyParser::new();
        let text = parser.poll(&mut input).unwrap().unwrap().to_string();
        assert_eq!(text, "550 ?[31mred\u{fffd} ?end");
    }
}
