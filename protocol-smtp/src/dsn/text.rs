//! Fields and sentences: folded, and without what could end a line or deceive a reader.

use alloc::string::String;
use alloc::vec::Vec;

use protocol_core::Timestamp;

use crate::params::decode_xtext;

/// Where a line is folded when it can be (RFC 5322 §2.1.1).
const FOLD_AT: usize = 76;
/// Where a word without spaces is cut: a line with it stays below 998 octets.
const WORD_MAX: usize = 900;

/// Appends a field, folded where it has spaces. Controls in the value become `?`.
pub(crate) fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b":");
    let mut column = name.len() + 1;
    for word in pieces(&clean(value)) {
        if column + 1 + word.len() > FOLD_AT && column > name.len() + 1 {
            out.extend_from_slice(b"\r\n");
            column = 0;
        }
        out.extend_from_slice(b" ");
        out.extend_from_slice(word.as_bytes());
        column += 1 + word.len();
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a sentence, broken into lines that begin with `indent`.
pub(super) fn wrap(text: &mut String, sentence: &str, indent: &str) {
    let mut column = 0;
    for word in pieces(sentence) {
        if column > 0 && column + 1 + word.len() > FOLD_AT {
            text.push_str("\r\n");
            column = 0;
        }
        let space = if column == 0 { indent } else { " " };
        text.push_str(space);
        text.push_str(word);
        column += space.len() + word.len();
    }
    text.push_str("\r\n");
}

/// Words, none longer than [`WORD_MAX`].
fn pieces(value: &str) -> impl Iterator<Item = &str> {
    value.split(' ').filter(|w| !w.is_empty()).flat_map(|mut word| {
        core::iter::from_fn(move || {
            let end = (0..=WORD_MAX.min(word.len())).rev().find(|at| word.is_char_boundary(*at))?;
            let (front, rest) = word.split_at_checked(end).filter(|(front, _)| !front.is_empty())?;
            word = rest;
            Some(front)
        })
    })
}

/// Without what could end a line or deceive a reader.
pub(crate) fn clean(value: &str) -> String {
    let bad = |c: char| {
        c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    value.chars().map(|c| if bad(c) { '?' } else { c }).collect()
}

pub(super) fn ascii(value: &str) -> String {
    value.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
}

/// Decoded xtext, if it is printable ASCII.
pub(super) fn xtext(value: &str) -> Option<String> {
    let octets: Vec<u8> = decode_xtext(value)?.collect();
    let printable = octets.iter().all(|b| matches!(b, 0x20..=0x7e));
    String::from_utf8(octets).ok().filter(|_| printable)
}

pub(crate) fn date(at: Timestamp) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = at.civil().write_rfc5322(&mut text);
    text
}
