//! Enhanced status codes (RFC 3463) as values.

use core::fmt;

/// An enhanced status code: `class.subject.detail` (RFC 3463 §2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// 0 to 999; RFC 3463 §3 names 0 to 7.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
}

#[allow(missing_docs)]
impl Status {
    pub const OK: Status = Status::new(2, 0, 0);
    pub const TEMPORARY: Status = Status::new(4, 0, 0);
    pub const PERMANENT: Status = Status::new(5, 0, 0);
    /// Bad destination system: no such domain, or nothing that takes its mail.
    pub const NO_SUCH_DOMAIN: Status = Status::new(5, 1, 2);
    /// Null MX (RFC 7505 §5).
    pub const NULL_MX: Status = Status::new(5, 1, 10);
    pub const TOO_BIG: Status = Status::new(5, 3, 4);
    /// The connection could not be made.
    pub const NO_ANSWER: Status = Status::new(4, 4, 1);
    /// The connection broke, or the peer did not keep to the protocol.
    pub const BAD_CONNECTION: Status = Status::new(4, 4, 2);
    /// The name server could not answer.
    pub const DNS_FAILED: Status = Status::new(4, 4, 3);
    pub const LOOP: Status = Status::new(5, 4, 6);
    pub const EXPIRED: Status = Status::new(5, 4, 7);
    pub const CONVERSION: Status = Status::new(5, 6, 3);
    /// A non-ASCII address for a server without SMTPUTF8 (RFC 6531 §3.7.4.2).
    pub const UTF8_ADDRESS: Status = Status::new(5, 6, 7);
    /// A header field with non-ASCII octets for a server without SMTPUTF8.
    pub const UTF8_HEADER: Status = Status::new(5, 6, 9);
    pub const SUPPRESSED: Status = Status::new(5, 7, 1);
    /// TLS was demanded and not offered.
    pub const NO_TLS: Status = Status::new(4, 7, 4);
    /// TLS was demanded and its handshake or certificate failed.
    pub const BAD_TLS: Status = Status::new(4, 7, 5);
    /// REQUIRETLS is not offered (RFC 8689 §5).
    pub const REQUIRETLS: Status = Status::new(5, 7, 30);
}

impl Status {
    /// `class.subject.detail`, unchecked.
    pub const fn new(class: u8, subject: u16, detail: u16) -> Status {
        Status { class, subject, detail }
    }

    /// The same with another class: what a transient failure becomes when it is given up.
    pub const fn with_class(self, class: u8) -> Status {
        Status { class, ..self }
    }

    /// Reads a code at the start of `text`, which must end there or go on with a space (RFC 2034 §4).
    pub fn parse(text: &[u8]) -> Option<Status> {
        let end = text.iter().position(|&b| b == b' ').unwrap_or(text.len());
        let mut parts = text.get(..end)?.split(|&b| b == b'.');
        let class = number(parts.next()?)?;
        let (subject, detail) = (number(parts.next()?)?, number(parts.next()?)?);
        if parts.next().is_some() || !matches!(class, 2 | 4 | 5) {
            return None;
        }
        Some(Status { class: class as u8, subject, detail })
    }
}

/// One to three digits.
fn number(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 3 {
        return None;
    }
    digits.iter().try_fold(0u16, |n, d| d.is_ascii_digit().then(|| n * 10 + u16::from(d - b'0')))
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_at_the_start_of_a_reply_text_only() {
        for (text, code) in [
            (&b"5.1.1 no such user"[..], Some(Status::new(5, 1, 1))),
            (b"4.7.0", Some(Status::new(4, 7, 0))),
            (b"5.7.509 policy", Some(Status::new(5, 7, 509))),
            (b"3.1.1 no class three", None),
            (b"5.1 short", None),
            (b"5.1.1.1 long", None),
            (b"5.1.1000 big", None),
            (b"5..1", None),
            (b"", None),
            (b"5.1.1, comma", None),
        ] {
            assert_eq!(Status::parse(text), code, "{}", text.escape_ascii());
        }
    }
}
