//! The header fields of RFC 4918 §10 and those of HTTP that decide what is done.

mod condition;
mod etag;
mod range;

pub use condition::{Condition, IfHeader, List, Tag, Test};
pub use etag::{EntityTag, TagList};
pub use range::{ByteRange, RangeRequest, Ranges};

use crate::limits;
use crate::path::Path;
use crate::refusal::Refusal;

/// The head of a request, borrowed from whatever read it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'h> {
    /// The method, as it was sent.
    pub method: &'h str,
    /// The request target: path and query.
    pub target: &'h str,
    /// The `Host` field or `:authority`.
    pub host: &'h str,
    /// All fields, in any letter case.
    pub fields: &'h [(&'h str, &'h [u8])],
    /// The canonical address of who has authenticated.
    pub principal: &'h str,
}

impl<'h> Head<'h> {
    /// The value of a field that may stand once; a repeated one is refused, for two readers could differ.
    pub fn field(&self, name: &str) -> Result<Option<&'h str>, Refusal> {
        let mut values = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let Some((_, value)) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Refusal::status(400, "a field that may stand once is repeated"));
        }
        text(value).map(Some)
    }

    /// The values of a field that is a list, joined by commas (RFC 9110 §5.3).
    pub fn list(&self, name: &str) -> Result<Option<String>, Refusal> {
        let mut joined: Option<String> = None;
        for (_, value) in self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)) {
            let value = text(value)?;
            joined = Some(match joined {
                None => value.to_owned(),
                Some(before) => before + ", " + value,
            });
        }
        Ok(joined)
    }
}

fn text(value: &[u8]) -> Result<&str, Refusal> {
    let value = std::str::from_utf8(value).map_err(|_| bad("a field's value is not UTF-8"))?;
    Ok(value.trim_matches([' ', '\t']))
}

fn bad(reason: &'static str) -> Refusal {
    Refusal::status(400, reason)
}

/// `Depth` (RFC 4918 §10.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// The resource alone.
    Zero,
    /// And what is directly in it.
    One,
    /// And all that is in it.
    Infinity,
}

impl Depth {
    /// From the field; `default` when there is none.
    pub fn of(head: &Head<'_>, default: Depth) -> Result<Depth, Refusal> {
        match head.field("depth")? {
            None => Ok(default),
            Some("0") => Ok(Depth::Zero),
            Some("1") => Ok(Depth::One),
            Some(text) if text.eq_ignore_ascii_case("infinity") => Ok(Depth::Infinity),
            Some(_) => Err(bad("Depth is 0, 1 or infinity")),
        }
    }
}

/// `Overwrite` (RFC 4918 §10.6); true when there is none.
pub fn overwrite(head: &Head<'_>) -> Result<bool, Refusal> {
    match head.field("overwrite")? {
        None => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("t") => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("f") => Ok(false),
        Some(_) => Err(bad("Overwrite is T or F")),
    }
}

/// `Destination` (RFC 4918 §10.3): `502` when it is on another server.
pub fn destination(head: &Head<'_>) -> Result<Path, Refusal> {
    let value = head.field("destination")?.ok_or_else(|| bad("COPY and MOVE need a Destination"))?;
    Path::parse(value, head.host).map_err(|fault| match fault {
        crate::path::PathFault::OtherServer => Refusal::status(502, "the Destination is on another server"),
        crate::path::PathFault::Unknown => Refusal::status(403, "nothing can be put at the Destination"),
        _ => bad("the Destination is not valid"),
    })
}

/// `Timeout` (RFC 4918 §10.7): the first value that is understood, within [`limits::LOCK_SECS_MAX`].
pub fn timeout_secs(head: &Head<'_>) -> Result<u64, Refusal> {
    let Some(value) = head.list("timeout")? else { return Ok(limits::LOCK_SECS_DEFAULT) };
    for choice in value.split(',').map(str::trim) {
        if choice.eq_ignore_ascii_case("infinite") {
            return Ok(limits::LOCK_SECS_MAX);
        }
        let prefixed = choice.get(..7).is_some_and(|prefix| prefix.eq_ignore_ascii_case("second-"));
        let digits = choice.get(7..).filter(|d| prefixed && !d.is_empty());
        if let Some(digits) = digits.filter(|d| d.bytes().all(|b| b.is_ascii_digit())) {
            // What is too large for a number is more than the most.
            let secs = digits.parse::<u64>().unwrap_or(u64::MAX);
            return Ok(secs.clamp(1, limits::LOCK_SECS_MAX));
        }
    }
    Ok(limits::LOCK_SECS_DEFAULT)
}

/// `Lock-Token` (RFC 4918 §10.5): a Coded-URL.
pub fn lock_token(head: &Head<'_>) -> Result<String, Refusal> {
    let value = head.field("lock-token")?.ok_or_else(|| bad("UNLOCK needs a Lock-Token"))?;
    let token = value.strip_prefix('<').and_then(|v| v.strip_suffix('>'));
    match token {
        Some(token) if is_token(token) => Ok(token.to_owned()),
        _ => Err(bad("the Lock-Token is not valid")),
    }
}

/// What may stand between the angle brackets of a Coded-URL: an absolute URI, as far as it matters here.
fn is_token(token: &str) -> bool {
    !token.is_empty()
        && token.len() <= limits::TAG_MAX
        && token.contains(':')
        && token.bytes().all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>')
}

/// What `Prefer` (RFC 7240, RFC 8144) and `Brief` ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preferences {
    /// `return=minimal`: leave out what was not found, and bodies that say only that all went well.
    pub minimal: bool,
    /// `return=representation`: answer with the new state.
    pub representation: bool,
    /// `depth-noroot`: leave out the collection itself.
    pub no_root: bool,
}

impl Preferences {
    /// From the fields. What is not understood is ignored (RFC 7240 §2).
    pub fn of(head: &Head<'_>) -> Result<Preferences, Refusal> {
        let mut preferences = Preferences::default();
        for preference in head.list("prefer")?.unwrap_or_default().split(',') {
            let token: String = preference.split(';').next().unwrap_or("").replace([' ', '\t', '"'], "");
            match token.to_ascii_lowercase().as_str() {
                // The first of the two that exclude one another counts (RFC 7240 §2).
                "return=minimal" if !preferences.representation => preferences.minimal = true,
                "return=representation" if !preferences.minimal => preferences.representation = true,
                "depth-noroot" => preferences.no_root = true,
                _ => {}
            }
        }
        if head.field("brief")?.is_some_and(|value| value.eq_ignore_ascii_case("t")) {
            preferences.minimal = true;
        }
        Ok(preferences)
    }

    /// The `Preference-Applied` field, when one was (RFC 7240 §3).
    pub fn applied(self) -> Option<&'static str> {
        match (self.minimal, self.representation, self.no_root) {
            (true, _, true) => Some("return=minimal, depth-noroot"),
            (true, _, false) => Some("return=minimal"),
            (_, true, true) => Some("return=representation, depth-noroot"),
            (_, true, false) => Some("return=representation"),
            (_, _, true) => Some("depth-noroot"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<R>(fields: &[(&str, &str)], read: impl Fn(&Head<'_>) -> R) -> R {
        let fields: Vec<(&str, &[u8])> = fields.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
        read(&Head { method: "GET", target: "/dav/", host: "h", fields: &fields, principal: "a@h" })
    }

    #[test]
    fn depth_and_overwrite() {
        let depth = |value| with(&[("Depth", value)], |h| Depth::of(h, Depth::Zero).map_err(|e| e.status.0));
        assert_eq!(depth("Infinity"), Ok(Depth::Infinity));
        assert_eq!(depth(" 1 "), Ok(Depth::One));
        assert_eq!(depth("2"), Err(400));
        assert!(with(&[("depth", "1"), ("Depth", "0")], |h| Depth::of(h, Depth::Zero).is_err()));
        assert_eq!(with(&[], |h| Depth::of(h, Depth::One)), Ok(Depth::One));
        assert_eq!(with(&[("overwrite", "f")], overwrite), Ok(false));
        assert!(with(&[("overwrite", "no")], overwrite).is_err());
    }

    #[test]
    fn dv12_timeouts_have_an_end() {
        for (value, secs) in [
            ("Infinite", limits::LOCK_SECS_MAX),
            ("Second-4100000000", limits::LOCK_SECS_MAX),
            ("Second-99999999999999999999999", limits::LOCK_SECS_MAX),
            ("second-60", 60),
            ("Second-0", 1),
            ("Extend, Second-30", 30),
            ("Second-, Second-+5, x", limits::LOCK_SECS_DEFAULT),
            ("", limits::LOCK_SECS_DEFAULT),
        ] {
            assert_eq!(with(&[("Timeout", value)], timeout_secs), Ok(secs), "{value}");
        }
    }

    #[test]
    fn destinations() {
        let to = |value| with(&[("Destination", value)], |h| destination(h).map_err(|e| e.status.0));
        assert_eq!(
            to("http://h/dav/files/a@h.example/x"),
            Ok(Path::parse("/dav/files/a@h.example/x", "").unwrap())
        );
        assert_eq!(to("http://other/dav/files/a@h.example/x"), Err(502));
        assert_eq!(to("http://h/elsewhere"), Err(403));
        assert_eq!(to("/dav/files/a@h.example/.."), Err(400));
        assert_eq!(with(&[], |h| destination(h).map_err(|e| e.status.0)), Err(400));
    }

    #[test]
    fn preferences() {
        let of = |fields: &[(&str, &str)]| with(fields, |h| Preferences::of(h).unwrap());
        assert!(of(&[("Prefer", "respond-async, return=\"minimal\"; x=y")]).minimal);
        assert!(of(&[("Brief", "t")]).minimal);
        let both = of(&[("Prefer", "return=representation"), ("prefer", "return=minimal, depth-noroot")]);
        assert_eq!(both.applied(), Some("return=representation, depth-noroot"));
        assert_eq!(of(&[("Prefer", "x")]), Preferences::default());
    }

    #[test]
    fn lock_tokens() {
        let token = |value: &str| with(&[("Lock-Token", value)], |h| lock_token(h).ok());
        assert_eq!(token("<urn:uuid:1>"), Some("urn:uuid:1".to_owned()));
        for value in ["urn:uuid:1", "<>", "<a b:c>", "<nocolon>", "<a:<b>"] {
            assert_eq!(token(value), None, "{value}");
        }
        assert!(token(&format!("<a:{}>", "x".repeat(limits::TAG_MAX - 2))).is_some());
        assert!(token(&format!("<a:{}>", "x".repeat(limits::TAG_MAX - 1))).is_none());
    }
}
