//! Framing: where a command or a response ends. Lines and literals only; what they mean is read afterwards.
//!
//! Only CRLF ends a line. A line that ends in `{n}`, `{n+}`, `~{n}` or `~{n+}` announces a literal of n
//! octets, and the message goes on behind them. Each octet is looked at once, however it arrives.

mod command;
mod response;

pub use command::{BadFrame, Frame, FrameFault, Framer, Limits, Refused};
pub use response::{ResponseFrame, ResponseFramer};

/// A literal's announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Its octets.
    pub octets: u64,
    /// `{n+}`: the octets come without a continuation (RFC 7888).
    pub non_sync: bool,
    /// `~{n}`: it may hold NUL (RFC 3516 §4.4).
    pub binary: bool,
}

/// Most digits in a literal's announcement. No number that can be meant has more, but for leading zeros.
const DIGITS_MAX: usize = 40;
/// Octets of the longest announcement: `~{`, digits, `+}`.
const ANNOUNCEMENT_MAX: usize = DIGITS_MAX + 4;

/// How a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnd {
    /// The message ends with it.
    Plain,
    /// A literal follows.
    Literal(Announced),
    /// A literal of more than 2^63-1 octets follows at once: nothing behind it can be understood.
    Endless,
}

/// Looks at the end of a line without its CRLF.
fn line_end(line: &[u8]) -> LineEnd {
    let Some(inside) = line.strip_suffix(b"}") else { return LineEnd::Plain };
    let (digits, non_sync) = match inside.strip_suffix(b"+") {
        Some(inside) => (inside, true),
        None => (inside, false),
    };
    let count = digits.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let (before, number) = digits.split_at(digits.len() - count);
    let Some(before) = before.strip_suffix(b"{") else { return LineEnd::Plain };
    if number.is_empty() || number.len() > DIGITS_MAX {
        return LineEnd::Plain;
    }
    let octets = number.iter().try_fold(0u64, |n, d| {
        n.checked_mul(10)?.checked_add(u64::from(d - b'0')).filter(|&n| n <= i64::MAX as u64)
    });
    match octets {
        Some(octets) => LineEnd::Literal(Announced { octets, non_sync, binary: before.ends_with(b"~") }),
        None if non_sync => LineEnd::Endless,
        // The peer waits for a continuation that will not come; the reader answers the line.
        None => LineEnd::Plain,
    }
}

/// Offset of the first LF at or behind `from` with a CR before it that is not before `start`.
fn find_crlf(bytes: &[u8], start: usize, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr::memchr(b'\n', bytes.get(at..)?)?;
        if at > start && bytes.get(at - 1) == Some(&b'\r') {
            return Some(at);
        }
        at += 1;
    }
}
