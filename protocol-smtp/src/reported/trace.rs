//! What a returned message says of itself: who wrote it, and who took it in under what name (its `Received` fields,
//! RFC 5321 §4.4).

use alloc::string::String;
use alloc::vec::Vec;

use protocol_core::address::Canonical;
use protocol_core::message::header::unfold;
use protocol_core::message::{AddressList, Fields};

use super::{FIELDS_MAX, Located, RETURNED_OCTETS_MAX, VALUE_MAX, decoded, fields};

/// `Received` fields of one message that are looked at.
const TRACES_MAX: usize = 50;

/// What a `Received` field says of the server that wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trace {
    /// Its name, as it is behind `by`.
    pub by: String,
    /// The name that it gave the message, as it is behind `id`.
    pub id: String,
}

/// The message or header that a report returns, as far as it says where it comes from. Anybody can write such fields:
/// a name that a server gave a message counts for as much as it is hard to guess.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Returned {
    /// The canonical domain of its first author.
    pub author: Option<String>,
    /// Its traces, newest first, as far as they name both.
    pub traces: Vec<Trace>,
}

impl Returned {
    /// Reads the octets of [`Located::returned`], as they stand in the message.
    pub fn read(located: &Located, returned: &[u8]) -> Returned {
        let end = returned.len().min(RETURNED_OCTETS_MAX as usize);
        let header = decoded(&located.encodings[1], &returned[..end]);
        let received = Fields::new(&header).take(FIELDS_MAX).filter(|field| field.is("Received"));
        let traces = received.take(TRACES_MAX).filter_map(|field| trace(&fields::text(&unfold(field.value))));
        Returned { author: author(&header), traces: traces.collect() }
    }
}

fn author(header: &[u8]) -> Option<String> {
    let from = Fields::find(header, "From")?;
    let mailbox = AddressList::new(from.value).mailboxes().next()?;
    let text = |octets| core::str::from_utf8(octets).ok();
    let canonical = Canonical::from_parts(text(&mailbox.local)?, text(&mailbox.domain)?).ok()?;
    Some(String::from(canonical.domain()))
}

fn trace(value: &str) -> Option<Trace> {
    let value = without_comments(value);
    let mut words = value.split(';').next().unwrap_or_default().split_ascii_whitespace();
    let (mut by, mut id) = (None, None);
    while let Some(word) = words.next() {
        let found = match word {
            _ if word.eq_ignore_ascii_case("by") => &mut by,
            _ if word.eq_ignore_ascii_case("id") => &mut id,
            _ => continue,
        };
        if found.is_none() {
            *found = words.next().filter(|word| word.len() <= VALUE_MAX).map(String::from);
        }
    }
    Some(Trace { by: by?, id: id? })
}

/// Comments nest, and hide a parenthesis behind a backslash (RFC 5322 §3.2.2).
fn without_comments(value: &str) -> String {
    let (mut out, mut depth, mut quoted) = (String::with_capacity(value.len()), 0_usize, false);
    for c in value.chars() {
        match c {
            _ if quoted => quoted = false,
            '\\' if depth > 0 => quoted = true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => out.push(c),
            _ => {}
        }
        // What stood on both sides of a comment are two words.
        if c == ')' && depth == 0 {
            out.push(' ');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_names_who_wrote_it_and_what_the_message_is_called_there() {
        let field = "from a.test (by (id\\) x) y.test [192.0.2.1]) by Mx.Own.test(Postfix) with ESMTPS\tid abc123 for <b@own.test>; Fri, 27 Nov 2026 id z";
        assert_eq!(trace(field), Some(Trace { by: "Mx.Own.test".into(), id: "abc123".into() }));
        for field in ["", "by", "by mx.own.test", "id 1", "(by a id b)", "from by.test with id; by a id b"] {
            assert_eq!(trace(field), None, "{field}");
        }
        assert_eq!(trace("by a id b by c id d"), Some(Trace { by: "a".into(), id: "b".into() }));
    }

    #[test]
    fn the_author_is_the_first_of_the_header() {
        let of = |header: &str| author(header.as_bytes());
        assert_eq!(of("From: B <b@Own.TEST>, c@other.test\r\n\r\n").as_deref(), Some("own.test"));
        assert_eq!(of("To: b@own.test\r\nFrom: nobody\r\n\r\n"), None);
        assert_eq!(of(""), None);
    }
}
