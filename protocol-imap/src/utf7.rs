//! Modified UTF-7 of mailbox names (RFC 3501 §5.1.3), strict: every name has exactly one encoding.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt;

/// The octets are not a mailbox name in the encoding that the session uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName;

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Not a mailbox name in the encoding in use")
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// The name in UTF-8. Borrows when nothing is encoded.
///
/// Refused: octets outside 0x20..=0x7e, shifts that do not end, hold printable US-ASCII, end in bits that
/// are not zero or stand next to another shift, unpaired surrogates, and control characters.
pub fn decode(octets: &[u8]) -> Result<Cow<'_, str>, BadName> {
    let name = core::str::from_utf8(octets).map_err(|_| BadName)?;
    if octets.iter().any(|b| !(0x20..=0x7e).contains(b)) {
        return Err(BadName);
    }
    if !octets.contains(&b'&') {
        return Ok(Cow::Borrowed(name));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    let mut behind_shift = false;
    while let Some((plain, shifted)) = rest.split_once('&') {
        out.push_str(plain);
        let (code, behind) = shifted.split_once('-').ok_or(BadName)?;
        if code.is_empty() {
            out.push('&');
            behind_shift = false;
        } else {
            if behind_shift && plain.is_empty() {
                return Err(BadName);
            }
            decode_shift(code.as_bytes(), &mut out)?;
            behind_shift = true;
        }
        rest = behind;
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

/// The inside of `&...-`: base64 of UTF-16BE without padding.
fn decode_shift(code: &[u8], out: &mut String) -> Result<(), BadName> {
    let mut bits: u32 = 0;
    let mut count = 0;
    let mut high: Option<u32> = None;
    for &c in code {
        let value = BASE64.iter().position(|&b| b == c).ok_or(BadName)?;
        bits = bits << 6 | value as u32;
        count += 6;
        if count < 16 {
            continue;
        }
        count -= 16;
        let unit = bits >> count & 0xffff;
        bits &= (1 << count) - 1;
        let scalar = match (high.take(), unit) {
            (None, 0xd800..=0xdbff) => {
                high = Some(unit);
                continue;
            }
            (Some(high), 0xdc00..=0xdfff) => 0x1_0000 + ((high - 0xd800) << 10) + (unit - 0xdc00),
            (None, unit) => unit,
            (Some(_), _) => return Err(BadName),
        };
        let c = char::from_u32(scalar).ok_or(BadName)?;
        if c.is_control() || matches!(c, ' '..='~') {
            return Err(BadName);
        }
        out.push(c);
    }
    if high.is_some() || count >= 6 || bits != 0 { Err(BadName) } else { Ok(()) }
}

/// The name in modified UTF-7. Borrows when it is printable US-ASCII without `&`.
pub fn encode(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|b| (0x20..=0x7e).contains(&b) && b != b'&') {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() * 2);
    let mut shift: Option<Shift> = None;
    for c in name.chars() {
        if matches!(c, ' '..='~') {
            if let Some(open) = shift.take() {
                open.close(&mut out);
            }
            out.push(c);
            if c == '&' {
                out.push('-');
            }
            continue;
        }
        let open = shift.get_or_insert_with(|| {
            out.push('&');
            Shift::default()
        });
        for unit in c.encode_utf16(&mut [0; 2]) {
            open.push(*unit, &mut out);
        }
    }
    if let Some(open) = shift {
        open.close(&mut out);
    }
    Cow::Owned(out)
}

#[derive(Default)]
struct Shift {
    bits: u32,
    count: u32,
}

impl Shift {
    fn push(&mut self, unit: u16, out: &mut String) {
        self.bits = self.bits << 16 | u32::from(unit);
        self.count += 16;
        while self.count >= 6 {
            self.count -= 6;
            push_sextet(self.bits >> self.count, out);
        }
        self.bits &= (1 << self.count) - 1;
    }

    fn close(self, out: &mut String) {
        if self.count > 0 {
            push_sextet(self.bits << (6 - self.count), out);
        }
        out.push('-');
    }
}

fn push_sextet(bits: u32, out: &mut String) {
    if let Some(&c) = BASE64.get((bits & 63) as usize) {
        out.push(char::from(c));
    }
}
