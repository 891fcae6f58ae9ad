//! Trace fields (RFC 5321 §4.4) that are put on top of a message when it is accepted.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::net::IpAddr;

use protocol_core::Timestamp;

mod read;
mod results;

pub use read::{MethodResult, ReadResults, read_results};
pub use results::{authentication_results, received_spf};

/// Where a folded field is broken (RFC 5322 §2.1.1 asks for 78).
const FOLD_AT: usize = 76;

/// What a Received field tells.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Name given in EHLO, HELO or LHLO.
    pub helo: &'a str,
    /// Name of the client's address by DNS, when known.
    pub ptr: Option<&'a str>,
    /// The client's address; none over a Unix socket, and hidden for submission.
    pub address: Option<IpAddr>,
    /// TLS version and cipher, when there is TLS.
    pub tls: Option<&'a str>,
    /// Our name.
    pub by: &'a str,
    /// The protocol, by RFC 3848 and RFC 6531.
    pub with: With,
    /// Queue ID.
    pub id: &'a str,
    /// The one recipient; none when there are several, whom one another's copies must not tell of.
    pub recipient: Option<&'a str>,
    /// When.
    pub date: Timestamp,
}

/// The transmission type's parts (RFC 3848, RFC 6531 §4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct With {
    pub lmtp: bool,
    /// EHLO was used; HELO makes plain `SMTP`.
    pub extended: bool,
    pub smtputf8: bool,
    pub tls: bool,
    pub auth: bool,
    /// It came through the API, by no mail protocol at all.
    pub http: bool,
}

impl With {
    /// For example `ESMTPSA` or `UTF8SMTPS`.
    pub fn name(self) -> String {
        if self.http {
            return String::from(if self.tls { "HTTPS" } else { "HTTP" });
        }
        let mut name = String::from(match (self.smtputf8, self.lmtp) {
            (true, true) => "UTF8LMTP",
            (true, false) => "UTF8SMTP",
            (false, true) => "LMTP",
            (false, false) if self.extended => "ESMTP",
            (false, false) => return String::from("SMTP"),
        });
        if self.tls {
            name.push('S');
        }
        if self.auth {
            name.push('A');
        }
        name
    }
}

impl Received<'_> {
    /// The field with its CRLF, folded.
    pub fn write(&self) -> Vec<u8> {
        let mut field = Folded::new("Received:");
        field.word("from");
        field.word(&clean(self.helo));
        if let Some(address) = self.address {
            let mut text = String::new();
            let prefix = if address.is_ipv6() { "IPv6:" } else { "" };
            let ptr = self.ptr.map_or_else(|| String::from("unknown"), clean);
            let _ = write!(text, "({ptr} [{prefix}{address}])");
            field.word(&text);
        }
        if let Some(tls) = self.tls {
            let mut text = String::new();
            let _ = write!(text, "({})", clean_words(tls));
            field.word(&text);
        }
        field.word("by");
        field.word(&clean(self.by));
        field.word("with");
        field.word(&self.with.name());
        field.word("id");
        field.word(&clean(self.id));
        if let Some(recipient) = self.recipient {
            field.word("for");
            let mut text = String::from("<");
            text.push_str(&visible(recipient));
            text.push('>');
            field.word(&text);
        }
        let mut date = String::new();
        let _ = self.date.civil().write_rfc5322(&mut date);
        field.end_with("; ", &date)
    }
}

/// Whether the value of a Received field that we wrote says that the message was submitted here: it came with
/// authentication (RFC 3848). In a message of our queue the topmost such field is ours.
pub fn is_submission(received: &[u8]) -> bool {
    let mut words = received.split(|b| b.is_ascii_whitespace()).filter(|w| !w.is_empty());
    // `from`, then a name that the client chose. Of the comments behind it no word but the last is a bare one.
    words.nth(1).is_some()
        && words.any(|w| w == b"by")
        && words.nth(1) == Some(b"with")
        && words.next().is_some_and(|w| w.ends_with(b"A"))
}

/// `Return-Path: <...>`, added at final delivery (RFC 5321 §4.4).
pub fn return_path(sender: &str) -> Vec<u8> {
    address_field("Return-Path: <", sender, ">\r\n")
}

/// `Delivered-To: ...`: the whole address of the recipient, tag included.
pub fn delivered_to(recipient: &str) -> Vec<u8> {
    address_field("Delivered-To: ", recipient, "\r\n")
}

fn address_field(front: &str, address: &str, back: &str) -> Vec<u8> {
    let mut out = Vec::from(front.as_bytes());
    out.extend_from_slice(visible(address).as_bytes());
    out.extend_from_slice(back.as_bytes());
    out
}

/// An address was checked when it was parsed; this makes sure that none ends a line, wherever it came from.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// One word of the peer's: nothing that opens a comment, ends a line or begins another clause.
fn clean(text: &str) -> String {
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    let out: String = text.chars().map(|c| if fine(c) { c } else { '?' }).collect();
    if out.is_empty() { String::from("unknown") } else { out }
}

fn clean_words(text: &str) -> String {
    let words: Vec<String> = text.split(' ').filter(|w| !w.is_empty()).map(clean).collect();
    words.join(" ")
}

struct Folded {
    out: Vec<u8>,
    line: usize,
}

impl Folded {
    fn new(name: &str) -> Self {
        Folded { out: name.as_bytes().to_vec(), line: name.len() }
    }

    fn word(&mut self, word: &str) {
        if self.line + 1 + word.len() > FOLD_AT && self.line > 8 {
            self.out.extend_from_slice(b"\r\n\t");
            self.line = 8;
        } else {
            self.out.push(b' ');
            self.line += 1;
        }
        self.out.extend_from_slice(word.as_bytes());
        self.line += word.len();
    }

    fn end_with(mut self, separator: &str, text: &str) -> Vec<u8> {
        self.out.extend_from_slice(separator.trim_end().as_bytes());
        self.line += 1;
        self.word(text);
        self.out.extend_from_slice(b"\r\n");
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received() -> Received<'static> {
        Received {
            helo: "client.example.net",
            ptr: None,
            address: Some("192.0.2.7".parse().unwrap()),
            tls: Some("TLSv1.3 TLS_AES_128_GCM_SHA256"),
            by: "mx.example.org",
            with: With { extended: true, tls: true, ..With::default() },
            id: "0123456789abcdefghjkmnpqrs",
            recipient: Some("user@example.org"),
            date: Timestamp::from_secs(1_795_433_195),
        }
    }

    #[test]
    fn the_field_is_folded_and_says_everything() {
        let text = String::from_utf8(received().write()).unwrap();
        assert_eq!(
            text,
            "Received: from client.example.net (unknown [192.0.2.7])\r\n\
             \t(TLSv1.3 TLS_AES_128_GCM_SHA256) by mx.example.org with ESMTPS id\r\n\
             \t0123456789abcdefghjkmnpqrs for <user@example.org>;\r\n\
             \tMon, 23 Nov 2026 11:26:35 +0000\r\n"
        );
    }

    #[test]
    fn nothing_of_the_peers_ends_a_line_or_opens_a_comment() {
        let hostile = Received {
            helo: "a\r\nX: (",
            ptr: Some("p)\r\nY: z"),
            recipient: Some("a\r\nb@c"),
            ..received()
        };
        let text = String::from_utf8(hostile.write()).unwrap();
        assert!(text.lines().skip(1).all(|l| l.starts_with('\t')), "{text}");
        assert!(text.starts_with("Received: from a??X:?? (p???Y:?z [192.0.2.7])"), "{text}");
        assert_eq!(return_path("a\r\nb"), b"Return-Path: <a??b>\r\n");
    }

    #[test]
    fn what_was_submitted_is_known_by_our_own_field() {
        let written = |helo, ptr, auth| {
            let with = With { extended: true, tls: true, auth, ..With::default() };
            let field = Received { helo, ptr, with, by: "with.example.org", ..received() }.write();
            is_submission(&field["Received:".len()..])
        };
        for helo in ["client.test", "by", "with", "A"] {
            assert!(written(helo, None, true), "{helo}");
            for ptr in [None, Some("x.A"), Some("by"), Some("with")] {
                assert!(!written(helo, ptr, false), "{helo} {ptr:?}");
            }
        }
        assert!(!is_submission(b"") && !is_submission(b" from a by b with"));
    }

    #[test]
    fn transmission_types() {
        let with = |extended, smtputf8, tls, auth, lmtp| {
            With { lmtp, extended, smtputf8, tls, auth, http: false }.name()
        };
        assert_eq!(with(false, false, false, false, false), "SMTP");
        assert_eq!(with(true, false, false, false, false), "ESMTP");
        assert_eq!(with(true, false, true, true, false), "ESMTPSA");
        assert_eq!(with(true, true, true, false, false), "UTF8SMTPS");
        assert_eq!(with(true, false, false, false, true), "LMTP");
    }
}
