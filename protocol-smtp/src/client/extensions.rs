//! What a server announced in its reply to EHLO or LHLO.

use alloc::string::String;
use alloc::vec::Vec;

use crate::limits::MECHANISM_MAX;
use crate::params::By;
use crate::reply::Reply;

/// SASL mechanisms remembered; a server that announces more is not asked for the rest.
pub const MECHANISMS_MAX: usize = 16;

/// Extensions (RFC 5321 §2.2), as far as a client uses them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Extensions {
    pub pipelining: bool,
    /// SIZE is offered; the limit is 0 when the server names none (RFC 1870 §4).
    pub size: Option<u64>,
    pub eight_bit: bool,
    pub binary: bool,
    pub chunking: bool,
    pub smtputf8: bool,
    pub starttls: bool,
    pub dsn: bool,
    pub require_tls: bool,
    /// DELIVERBY is offered; the least time it asks for with mode `R`, in seconds, 0 when it names none
    /// (RFC 2852 §2).
    pub deliver_by: Option<u32>,
    /// LIMITS RCPTMAX (RFC 9422).
    pub recipients_max: Option<usize>,
    /// As announced.
    pub mechanisms: Vec<String>,
}

impl Extensions {
    /// Reads the reply; its first line only names the server.
    pub(super) fn of(reply: &Reply<'_>) -> Extensions {
        let mut found = Extensions::default();
        for line in reply.lines().skip(1) {
            let Ok(line) = str::from_utf8(line) else { continue };
            let mut words = line.split_ascii_whitespace();
            if let Some(keyword) = words.next() {
                found.take(keyword, words);
            }
        }
        found
    }

    fn take<'a>(&mut self, keyword: &str, mut words: impl Iterator<Item = &'a str>) {
        let is = |name: &str| keyword.eq_ignore_ascii_case(name);
        if is("PIPELINING") {
            self.pipelining = true;
        } else if is("SIZE") {
            // A limit that is no number is none.
            self.size = Some(words.next().and_then(|w| w.parse().ok()).unwrap_or(0));
        } else if is("8BITMIME") {
            self.eight_bit = true;
        } else if is("BINARYMIME") {
            self.binary = true;
        } else if is("CHUNKING") {
            self.chunking = true;
        } else if is("SMTPUTF8") {
            self.smtputf8 = true;
        } else if is("STARTTLS") {
            self.starttls = true;
        } else if is("DSN") {
            self.dsn = true;
        } else if is("REQUIRETLS") {
            self.require_tls = true;
        } else if is("DELIVERBY") {
            self.deliver_by = Some(words.next().and_then(|w| w.parse().ok()).unwrap_or(0));
        } else if is("LIMITS") {
            let limit =
                words.find_map(|w| w.get(..8).filter(|n| n.eq_ignore_ascii_case("RCPTMAX=")).and(w.get(8..)));
            self.recipients_max = limit.and_then(|n| n.parse().ok()).filter(|n| *n > 0);
        } else if is("AUTH") {
            let fits = |w: &&str| w.len() <= MECHANISM_MAX && !self.mechanisms.iter().any(|m| m == w);
            let new: Vec<String> = words.filter(fits).map(String::from).collect();
            self.mechanisms.extend(new);
            self.mechanisms.truncate(MECHANISMS_MAX);
        }
    }

    /// Whether the server announced this SASL mechanism.
    pub fn has_mechanism(&self, name: &str) -> bool {
        self.mechanisms.iter().any(|m| m.eq_ignore_ascii_case(name))
    }

    /// Whether a deadline of mode `R` may be passed on (RFC 2852 §4.1.4): to a server without DELIVERBY, or one that
    /// needs longer, such a message must not be relayed.
    pub(super) fn keeps(&self, by: By) -> bool {
        let least = self.deliver_by.map(|least| i64::from(least).max(1));
        least.is_some_and(|least| i64::from(by.secs) >= least)
    }

    /// Whether messages go by BDAT: its replies must not be awaited one by one.
    pub(super) fn bdat(&self) -> bool {
        self.chunking && self.pipelining
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::ReplyParser;
    use alloc::format;
    use alloc::vec;
    use protocol_core::RecvBuf;

    fn read(lines: &[&str]) -> Extensions {
        let mut input = RecvBuf::with_limit(super::super::RECV_BUF_MIN);
        input.feed(b"250-mx.test\r\n");
        lines.iter().for_each(|l| assert!(input.feed(format!("250-{l}\r\n").as_bytes()) > 0));
        input.feed(b"250 HELP\r\n");
        let mut parser = ReplyParser::new();
        Extensions::of(&parser.poll(&mut input).unwrap().unwrap())
    }

    #[test]
    fn announcements_by_row() {
        let none = Extensions::default();
        for (line, expected) in [
            ("SIZE 1000", Extensions { size: Some(1_000), ..none.clone() }),
            ("size", Extensions { size: Some(0), ..none.clone() }),
            ("SIZE 99999999999999999999999", Extensions { size: Some(0), ..none.clone() }),
            ("Pipelining", Extensions { pipelining: true, ..none.clone() }),
            ("LIMITS MAILMAX=3 rcptmax=50", Extensions { recipients_max: Some(50), ..none.clone() }),
            ("DELIVERBY", Extensions { deliver_by: Some(0), ..none.clone() }),
            ("deliverby 240", Extensions { deliver_by: Some(240), ..none.clone() }),
            ("DELIVERBY soon", Extensions { deliver_by: Some(0), ..none.clone() }),
            ("LIMITS RCPTMAX=0", none.clone()),
            ("LIMITS RCPTMAX=x", none.clone()),
            ("LIMITS é", none.clone()),
            (
                "AUTH PLAIN LOGIN",
                Extensions { mechanisms: vec!["PLAIN".into(), "LOGIN".into()], ..none.clone() },
            ),
            ("AUTH=LOGIN", none.clone()),
            ("X-SIZE 5", none.clone()),
            ("", none.clone()),
        ] {
            assert_eq!(read(&[line]), expected, "{line}");
        }
    }

    #[test]
    fn mechanisms_are_remembered_up_to_the_limit() {
        let names: Vec<String> = (0..=MECHANISMS_MAX).map(|n| format!("M{n}")).collect();
        let (fit, over) = (names[..MECHANISMS_MAX].join(" "), names.join(" "));
        assert_eq!(read(&[&format!("AUTH {fit}")]).mechanisms, &names[..MECHANISMS_MAX]);
        assert_eq!(read(&[&format!("AUTH {over}")]).mechanisms, &names[..MECHANISMS_MAX]);
        let long = "X".repeat(MECHANISM_MAX);
        assert!(read(&[&format!("AUTH {long} {long}Y")]).has_mechanism(&long));
        assert_eq!(read(&[&format!("AUTH {long} {long}Y")]).mechanisms.len(), 1);
    }
}
