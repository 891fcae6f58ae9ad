//! The values of parameters: what is well-formed.

use alloc::string::String;
use core::fmt::Write as _;

use protocol_core::Timestamp;
use protocol_core::time::Civil;

use super::words::Words;
use super::{Body, By, ParamError, Ret};
use crate::limits::ORCPT_MAX;
use crate::word;

/// At most twenty digits (RFC 1870 §3).
#[inline(always)]
pub(super) fn decimal(words: &mut Words<'_>) -> Result<u64, ParamError> {
    words.parsed(|words| {
        let octets = words.octets();
        match word::digits(octets) {
            0 => None,
            8 => long_decimal(words),
            digits => {
                words.pass(digits);
                Some(word::decimal(octets, digits))
            }
        }
    })
}

/// Eight digits and more.
#[cold]
fn long_decimal(words: &mut Words<'_>) -> Option<u64> {
    let mut n: u64 = 0;
    for _ in 0..20 {
        let Some(digit) = words.peek().map(|b| b.wrapping_sub(b'0')).filter(|digit| *digit < 10) else {
            break;
        };
        n = n.checked_mul(10)?.checked_add(u64::from(digit))?;
        words.pass(1);
    }
    Some(n)
}

/// Whether there is no value. What is not a value is not read.
pub(super) fn flag(words: &Words<'_>) -> Result<bool, ParamError> {
    if words.at_end() { Ok(true) } else { Err(ParamError::Bad) }
}

#[inline(always)]
pub(super) fn body(words: &mut Words<'_>) -> Result<Body, ParamError> {
    words.parsed(|words| {
        let octets = words.octets();
        if word::begins(octets, b"8BITMIME") {
            words.pass(8);
            Some(Body::EightBit)
        } else if word::begins(octets, b"7BIT") {
            words.pass(4);
            Some(Body::SevenBit)
        } else {
            words.eat(b"BINARYMIME").then_some(Body::Binary)
        }
    })
}

pub(super) fn ret(words: &mut Words<'_>) -> Result<Ret, ParamError> {
    words.parsed(|words| {
        if words.eat(b"FULL") {
            return Some(Ret::Full);
        }
        words.eat(b"HDRS").then_some(Ret::Headers)
    })
}

/// An Internet date-time (RFC 3339 §5.6); a fraction of a second is dropped.
pub(super) fn date_time(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0i64, |n, d| d.is_ascii_digit().then(|| n * 10 + i64::from(d - b'0')))
    };
    let small = |from: usize| number(from, from + 2).and_then(|n| u8::try_from(n).ok());
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !marks.iter().all(|(at, mark)| bytes.get(*at).is_some_and(|b| b.to_ascii_uppercase() == *mark)) {
        return None;
    }
    let civil = Civil {
        year: number(0, 4)?,
        month: small(5)?,
        day: small(8)?,
        hour: small(11)?,
        minute: small(14)?,
        second: small(17)?,
        weekday: 0,
    };
    let mut zone = 19;
    if bytes.get(zone) == Some(&b'.') {
        let digits = bytes.get(zone + 1..)?.iter().take_while(|b| b.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) {
            return None;
        }
        zone += 1 + digits;
    }
    let offset = match bytes.get(zone..)? {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (i64::from(small(zone + 1)?), i64::from(small(zone + 4)?));
            if hours > 23 || minutes > 59 {
                return None;
            }
            if *sign == b'+' { hours * 3_600 + minutes * 60 } else { -(hours * 3_600 + minutes * 60) }
        }
        _ => return None,
    };
    civil.to_unix().map(|secs| Timestamp::from_secs(secs - offset))
}

pub(super) fn by(value: Option<&str>) -> Result<By, ParamError> {
    let (secs, mode) = value.and_then(|v| v.split_once(';')).ok_or(ParamError::Bad)?;
    let digits = secs.strip_prefix(['+', '-']).unwrap_or(secs);
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParamError::Bad);
    }
    let size: i32 = digits.parse().map_err(|_| ParamError::Bad)?;
    let secs = if secs.starts_with('-') { -size } else { size };
    let (give_up, trace) = match mode.as_bytes() {
        [b'R' | b'r'] => (true, false),
        [b'R' | b'r', b'T' | b't'] => (true, true),
        [b'N' | b'n'] => (false, false),
        [b'N' | b'n', b'T' | b't'] => (false, true),
        _ => return Err(ParamError::Bad),
    };
    // RFC 2852 §4: a mode of R needs a time that is yet to come.
    if give_up && secs <= 0 { Err(ParamError::Bad) } else { Ok(By { secs, give_up, trace }) }
}

/// xtext (RFC 3461 §4) whose decoded octets are printable ASCII, so that nothing of it can end a line later.
pub(super) fn xtext(value: Option<&str>, max: usize) -> Result<&str, ParamError> {
    let value = value.filter(|v| (1..=max).contains(&v.len())).ok_or(ParamError::Bad)?;
    // Most hold nothing encoded; without a branch for each octet that is known several octets at a step.
    let plain = |b: u8| matches!(b, b'!'..=b'~') & (b != b'+') & (b != b'=');
    if value.bytes().fold(true, |all, b| all & plain(b)) {
        return Ok(value);
    }
    let printable = decode_xtext(value).is_some_and(|mut octets| octets.all(|b| matches!(b, b' '..=b'~')));
    if printable { Ok(value) } else { Err(ParamError::Bad) }
}

/// The octets that `value` stands for; `None` when it is not xtext.
pub fn decode_xtext(value: &str) -> Option<impl Iterator<Item = u8> + '_> {
    let bytes = value.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'+' => {
                let digits = bytes.get(at + 1..at + 3)?;
                if !digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'A'..=b'F')) {
                    return None;
                }
                at += 3;
            }
            b'!'..=b'~' if bytes[at] != b'=' => at += 1,
            _ => return None,
        }
    }
    let mut rest = bytes;
    Some(core::iter::from_fn(move || {
        let (&first, tail) = rest.split_first()?;
        let (octet, tail) = match (first, tail) {
            (b'+', [high, low, tail @ ..]) => (hex(*high) << 4 | hex(*low), tail),
            _ => (first, tail),
        };
        rest = tail;
        Some(octet)
    }))
}

/// Text as xtext (RFC 3461 §4): [`decode_xtext`] gives its octets back.
pub fn encode_xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        match octet {
            b'!'..=b'~' if octet != b'+' && octet != b'=' => out.push(char::from(octet)),
            // Writing to a string does not fail.
            _ => drop(write!(out, "+{octet:02X}")),
        }
    }
    out
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.wrapping_sub(b'A').wrapping_add(10) & 15,
    }
}

/// `addr-type ";" xtext`; with SMTPUTF8 the type is `utf-8` and the address may be raw UTF-8 (RFC 6533 §3).
pub(super) fn orcpt(value: Option<&str>) -> Result<&str, ParamError> {
    let value = value.filter(|v| v.len() <= ORCPT_MAX).ok_or(ParamError::Bad)?;
    let end = value.bytes().position(|b| b == b';').ok_or(ParamError::Bad)?;
    let (kind, address) = (value.get(..end).unwrap_or(""), value.get(end + 1..).unwrap_or(""));
    let kind_fine = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let address_fine = if kind.eq_ignore_ascii_case("utf-8") {
        is_utf8_address(address)
    } else {
        xtext(Some(address), ORCPT_MAX).is_ok()
    };
    if kind_fine && address_fine { Ok(value) } else { Err(ParamError::Bad) }
}

/// `utf-8-addr-xtext` or `utf-8-addr-unitext` (RFC 6533 §3): printable octets without `+`, `=` and a bare `\`,
/// characters as they are or as `\x{...}`, and none that ends a line or turns text round.
fn is_utf8_address(mut text: &str) -> bool {
    if text.is_empty() {
        return false;
    }
    while let Some(c) = text.chars().next() {
        let (c, len) = if c == '\\' {
            let Some((hex, _)) = text.strip_prefix("\\x{").and_then(|t| t.split_once('}')) else {
                return false;
            };
            let digits = (2..=6).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit());
            let Some(c) = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32).filter(|_| digits)
            else {
                return false;
            };
            (c, hex.len() + 4)
        } else if matches!(c, '\u{21}'..='*' | ','..='<' | '>'..='~') || !c.is_ascii() {
            (c, c.len_utf8())
        } else {
            return false;
        };
        if c.is_ascii_control() || crate::address::is_deceptive(c) {
            return false;
        }
        text = text.get(len..).unwrap_or("");
    }
    true
}

/// RFC 3461 §4.1: `NEVER` alone, or a list of the others.
#[inline(always)]
pub(super) fn notify<'b>(words: &mut Words<'b>) -> Result<&'b str, ParamError> {
    words.parsed(|words| {
        let from = words.position();
        let mut octets = words.octets();
        if word::begins(octets, b"NEVER") {
            words.pass(5);
            return words.since(from);
        }
        loop {
            if word::begins(octets, b"SUCCESS") || word::begins(octets, b"FAILURE") {
                words.pass(7);
            } else if word::begins(octets, b"DELAY") {
                words.pass(5);
            } else {
                return None;
            }
            if !words.eat(b",") {
                return words.since(from);
            }
            octets = words.octets();
        }
    })
}
