//! DKIM signatures of our own (RFC 6376, RFC 8463): relaxed/relaxed, over a body hashed as it passed and a
//! header at hand, by every key the domain has.
//!
//! A name in `h=` stands there once more than the field occurs, so that one more of it breaks the signature.
//! There is no `l=`: nothing can be appended. `x=` ends a signature seven days after it was made.

mod canonical;
mod key;
mod record;

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use protocol_core::Timestamp;
use protocol_core::message::Fields;
use protocol_core::message::header::trim;

use canonical::relaxed_field;
pub use canonical::{BodyDigest, BodyHash};
pub use key::{BadKey, Key};
pub use record::KeyKind;

/// How long a signature is valid: longer than any queue holds a message with the default settings, short
/// enough that a copy cannot be sent again for months.
pub const VALID_SECS: i64 = 7 * 86_400;

/// Signed when present, beside the fields that the settings name.
pub const SIGNED_WHEN_PRESENT: [&str; 11] = [
    "Sender",
    "Cc",
    "Reply-To",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
];

/// Lines of a signature's field end before this column (RFC 5322 §2.1.1).
const COLUMNS: usize = 78;

/// Whether a field is never signed: servers on the way add, change and remove these (RFC 6376 §5.4.1).
pub fn is_never_signed(name: &str) -> bool {
    const NEVER: [&str; 6] = [
        "Return-Path",
        "Received",
        "Received-SPF",
        "Delivered-To",
        "Authentication-Results",
        "DKIM-Signature",
    ];
    let arc = name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("ARC-"));
    arc || NEVER.iter().any(|n| n.eq_ignore_ascii_case(name))
}

/// Who signs: a domain, its keys and the fields it always signs.
#[derive(Debug)]
pub struct Signer {
    domain: String,
    keys: Vec<(String, Key)>,
    always: Vec<String>,
}

impl Signer {
    /// `domain` is an A-label name in lower case, `keys` are pairs of a selector and its key, one signature each.
    /// `always` are the names that stand in `h=` whether the field is there or not; From is added when it is
    /// missing (RFC 6376 §5.4), and names for which [`is_never_signed`] is true are left out.
    pub fn new(domain: impl Into<String>, keys: Vec<(String, Key)>, always: &[String]) -> Signer {
        let mut names: Vec<String> = Vec::new();
        for name in std::iter::once("From").chain(always.iter().map(|name| name.trim())) {
            let known = names.iter().any(|n| n.eq_ignore_ascii_case(name));
            let valid =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':' && b != b';');
            if valid && !known && !is_never_signed(name) {
                names.push(name.to_owned());
            }
        }
        Signer { domain: domain.into(), keys, always: names }
    }

    /// The domain of `d=`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// DKIM-Signature fields, each with its CRLF, to stand above `header`: the message's own header as it will
    /// be sent, its blank line included or not. `now` becomes `t=`.
    ///
    /// # Errors
    /// [`Unsigned`] when no signature can be made now.
    pub fn sign(&self, header: &[u8], body: BodyDigest, now: Timestamp) -> Result<Vec<u8>, Unsigned> {
        let (names, mut canonical) = self.fields(header);
        let fields_end = canonical.len();
        let mut out = Vec::new();
        for (selector, key) in &self.keys {
            let mut field = self.unsigned_field(key.algorithm(), selector, &names, body, now);
            let colon = field.find(':').unwrap_or(0);
            canonical.truncate(fields_end);
            relaxed_field(&field.as_bytes()[..colon], &field.as_bytes()[colon + 1..], &mut canonical);
            let signature = BASE64.encode(key.sign(&canonical).ok_or(Unsigned)?);
            let mut column = field.len() - field.rfind('\n').map_or(0, |at| at + 1);
            for piece in signature.as_bytes().chunks(4) {
                fold(&mut field, &mut column, std::str::from_utf8(piece).unwrap_or_default());
            }
            field.push_str("\r\n");
            out.extend_from_slice(field.as_bytes());
        }
        Ok(out)
    }

    /// The names for `h=` in order, and the canonical fields that they stand for, each with its CRLF: of several
    /// fields with one name the last is taken first (RFC 6376 §5.4.2).
    fn fields<'s>(&'s self, header: &[u8]) -> (Vec<&'s str>, Vec<u8>) {
        let fields: Vec<_> = Fields::new(header).collect();
        let (mut names, mut canonical) = (Vec::new(), Vec::new());
        let optional = SIGNED_WHEN_PRESENT.iter().copied();
        let optional = optional.filter(|name| !self.always.iter().any(|n| n.eq_ignore_ascii_case(name)));
        let always = self.always.iter().map(|name| (name.as_str(), true));
        for (name, always) in always.chain(optional.map(|name| (name, false))) {
            let start = names.len();
            // White space before the colon is no part of the name (RFC 6376 §3.4.2).
            let same = fields.iter().rev().filter(|f| trim(f.name).eq_ignore_ascii_case(name.as_bytes()));
            for field in same {
                relaxed_field(field.name, field.value, &mut canonical);
                canonical.extend_from_slice(b"\r\n");
                names.push(name);
            }
            if always || names.len() > start {
                names.push(name);
            }
        }
        (names, canonical)
    }

    /// The field up to and with `b=`.
    fn unsigned_field(
        &self,
        algorithm: &str,
        selector: &str,
        names: &[&str],
        body: BodyDigest,
        now: Timestamp,
    ) -> String {
        let signed_at = now.secs().max(0);
        let expires = signed_at.saturating_add(VALID_SECS);
        let mut field = format!("DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed;\r\n\td=");
        // Writing to a String cannot fail.
        let _ = write!(field, "{}; s={selector};\r\n\tt={signed_at}; x={expires};\r\n\th=", self.domain);
        let mut column = 4;
        for (n, name) in names.iter().enumerate() {
            let end = if n + 1 == names.len() { ';' } else { ':' };
            fold(&mut field, &mut column, &format!("{name}{end}"));
        }
        let _ = write!(field, "\r\n\tbh={};\r\n\tb=", BASE64.encode(body.0));
        field
    }
}

/// Appends a piece, on a new line when it would not fit on this one.
fn fold(field: &mut String, column: &mut usize, piece: &str) {
    if *column + piece.len() > COLUMNS {
        field.push_str("\r\n\t");
        *column = 1;
    }
    field.push_str(piece);
    *column += piece.len();
}

/// No signature could be made now: the system has no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsigned;

impl std::fmt::Display for Unsigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no signature can be made: the system gives no random octets")
    }
}

impl std::error::Error for Unsigned {}

#[cfg(test)]
mod tests;
