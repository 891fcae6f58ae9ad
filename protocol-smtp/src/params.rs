//! Parameters of MAIL and RCPT: the extensions' words behind the path.

use core::fmt::Write as _;

use protocol_core::time::Civil;
use protocol_core::{SendBuf, Timestamp};

use crate::limits::{ENVID_MAX, ORCPT_MAX};

/// BODY (RFC 6152 §3, RFC 3030 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// `7BIT`, or not given.
    #[default]
    SevenBit,
    /// `8BITMIME`.
    EightBit,
    /// `BINARYMIME`.
    Binary,
}

/// RET (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// `FULL`.
    Full,
    /// `HDRS`.
    Headers,
}

/// HOLDFOR or HOLDUNTIL (RFC 4865 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Seconds from now.
    For(u32),
    /// Not before this time; whole seconds.
    Until(Timestamp),
}

/// BY (RFC 2852 §4): seconds, may be negative, and what to do then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By {
    /// Seconds from now.
    pub secs: i32,
    /// `R`: return it, else `N`: notify.
    pub give_up: bool,
    /// `T`: trace.
    pub trace: bool,
}

/// What stood behind the reverse-path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailParams<'b> {
    /// SIZE (RFC 1870 §3), octets.
    pub size: Option<u64>,
    /// BODY.
    pub body: Body,
    /// SMTPUTF8 (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID, still in xtext.
    pub envid: Option<&'b str>,
    /// AUTH (RFC 4954 §5), still in xtext; nothing is concluded from it.
    pub auth: Option<&'b str>,
    /// REQUIRETLS (RFC 8689 §3).
    pub require_tls: bool,
    /// FUTURERELEASE.
    pub hold: Option<Hold>,
    /// DELIVERBY.
    pub by: Option<By>,
}

/// What stood behind the forward-path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RcptParams<'b> {
    /// NOTIFY as given: `NEVER`, or a list of `SUCCESS`, `FAILURE` and `DELAY` (RFC 3461 §4.1).
    pub notify: Option<&'b str>,
    /// ORCPT, still in xtext (RFC 3461 §4.2).
    pub orcpt: Option<&'b str>,
}

/// Extensions whose parameters are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Accepts {
    pub size: bool,
    pub eight_bit: bool,
    pub binary: bool,
    pub smtputf8: bool,
    pub dsn: bool,
    pub auth: bool,
    pub require_tls: bool,
    pub future_release: bool,
    pub deliver_by: bool,
}

impl Accepts {
    /// All of them: for parsers that judge later.
    pub const ALL: Accepts = Accepts {
        size: true,
        eight_bit: true,
        binary: true,
        smtputf8: true,
        dsn: true,
        auth: true,
        require_tls: true,
        future_release: true,
        deliver_by: true,
    };
}

/// Why a parameter was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamError {
    /// 555 5.5.4: not an extension that is offered (RFC 5321 §4.1.1.11).
    Unknown,
    /// 501 5.5.4: the value is not valid, or the parameter is given twice.
    Bad,
}

impl<'b> MailParams<'b> {
    /// Reads everything behind the path, which begins with a space or is empty.
    pub fn parse(rest: &'b str, accepts: &Accepts) -> Result<MailParams<'b>, ParamError> {
        let mut params = MailParams::default();
        let mut seen = Seen(0);
        for (name, value) in words(rest)? {
            params.take(name, value, accepts, &mut seen)?;
        }
        Ok(params)
    }

    /// Values are judged before it matters whether the parameter is offered: what is malformed is malformed
    /// everywhere.
    fn take(
        &mut self,
        name: &str,
        value: Option<&'b str>,
        accepts: &Accepts,
        seen: &mut Seen,
    ) -> Result<(), ParamError> {
        let is = |keyword: &str| name.eq_ignore_ascii_case(keyword);
        let (bit, offered) = if is("SIZE") {
            self.size = Some(decimal(value)?);
            (0, accepts.size)
        } else if is("BODY") {
            self.body = body(value)?;
            (1, if self.body == Body::Binary { accepts.binary } else { accepts.eight_bit || accepts.binary })
        } else if is("SMTPUTF8") {
            self.smtputf8 = flag(value)?;
            (2, accepts.smtputf8)
        } else if is("RET") {
            self.ret = Some(ret(value)?);
            (3, accepts.dsn)
        } else if is("ENVID") {
            self.envid = Some(xtext(value, ENVID_MAX)?);
            (4, accepts.dsn)
        } else if is("AUTH") {
            self.auth = Some(xtext(value, ORCPT_MAX)?);
            (5, accepts.auth)
        } else if is("REQUIRETLS") {
            self.require_tls = flag(value)?;
            (6, accepts.require_tls)
        } else if is("HOLDFOR") {
            let secs = u32::try_from(decimal(value)?).map_err(|_| ParamError::Bad)?;
            self.hold = Some(Hold::For(secs));
            (7, accepts.future_release)
        } else if is("HOLDUNTIL") {
            // RFC 4865 §4: one of the two, not both.
            self.hold = Some(Hold::Until(value.and_then(date_time).ok_or(ParamError::Bad)?));
            (7, accepts.future_release)
        } else if is("BY") {
            self.by = Some(by(value)?);
            (8, accepts.deliver_by)
        } else {
            return Err(ParamError::Unknown);
        };
        seen.once(bit)?;
        if offered { Ok(()) } else { Err(ParamError::Unknown) }
    }

    /// Appends the parameters, each behind a space.
    pub fn write(&self, out: &mut SendBuf) {
        if let Some(size) = self.size {
            out.push(b" SIZE=");
            out.push_decimal(size);
        }
        match self.body {
            Body::SevenBit => {}
            Body::EightBit => out.push(b" BODY=8BITMIME"),
            Body::Binary => out.push(b" BODY=BINARYMIME"),
        }
        if self.smtputf8 {
            out.push(b" SMTPUTF8");
        }
        match self.ret {
            None => {}
            Some(Ret::Full) => out.push(b" RET=FULL"),
            Some(Ret::Headers) => out.push(b" RET=HDRS"),
        }
        push_word(out, " ENVID=", self.envid);
        push_word(out, " AUTH=", self.auth);
        if self.require_tls {
            out.push(b" REQUIRETLS");
        }
        match self.hold {
            None => {}
            Some(Hold::For(secs)) => {
                out.push(b" HOLDFOR=");
                out.push_decimal(u64::from(secs));
            }
            Some(Hold::Until(at)) => {
                let c = at.civil();
                // Writing to a SendBuf can't fail.
                let _ = write!(
                    out,
                    " HOLDUNTIL={:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
                    c.year, c.month, c.day, c.hour, c.minute, c.second
                );
            }
        }
        if let Some(by) = self.by {
            out.push(if by.secs < 0 { b" BY=-" } else { b" BY=" });
            out.push_decimal(u64::from(by.secs.unsigned_abs()));
            out.push(if by.give_up { b";R" } else { b";N" });
            out.push(if by.trace { b"T" } else { b"" });
        }
    }
}

impl<'b> RcptParams<'b> {
    /// Reads everything behind the path.
    pub fn parse(rest: &'b str, accepts: &Accepts) -> Result<RcptParams<'b>, ParamError> {
        let mut params = RcptParams::default();
        let mut seen = Seen(0);
        for (name, value) in words(rest)? {
            if name.eq_ignore_ascii_case("NOTIFY") && accepts.dsn {
                seen.once(0)?;
                params.notify = Some(value.filter(|v| is_notify(v)).ok_or(ParamError::Bad)?);
            } else if name.eq_ignore_ascii_case("ORCPT") && accepts.dsn {
                seen.once(1)?;
                params.orcpt = Some(orcpt(value)?);
            } else {
                return Err(ParamError::Unknown);
            }
        }
        Ok(params)
    }

    /// Appends the parameters, each behind a space.
    pub fn write(&self, out: &mut SendBuf) {
        push_word(out, " NOTIFY=", self.notify);
        push_word(out, " ORCPT=", self.orcpt);
    }
}

fn push_word(out: &mut SendBuf, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        out.push(name.as_bytes());
        out.push(value.as_bytes());
    }
}

/// Which parameters were given, so that none is given twice (RFC 5321 §4.1.1.11 allows each once).
struct Seen(u16);

impl Seen {
    fn once(&mut self, bit: u8) -> Result<(), ParamError> {
        let mask = 1 << bit;
        if self.0 & mask != 0 {
            return Err(ParamError::Bad);
        }
        self.0 |= mask;
        Ok(())
    }
}

type Word<'b> = (&'b str, Option<&'b str>);

/// `SP esmtp-keyword ["=" esmtp-value]`, any number of times. More than one space is taken as one.
fn words(rest: &str) -> Result<impl Iterator<Item = Word<'_>>, ParamError> {
    if !rest.is_empty() && !rest.starts_with(' ') {
        return Err(ParamError::Bad);
    }
    Ok(rest.split(' ').filter(|w| !w.is_empty()).map(|word| match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    }))
}

fn decimal(value: Option<&str>) -> Result<u64, ParamError> {
    let digits = value.filter(|v| !v.is_empty() && v.len() <= 20 && v.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|d| d.parse().ok()).ok_or(ParamError::Bad)
}

fn flag(value: Option<&str>) -> Result<bool, ParamError> {
    if value.is_none() { Ok(true) } else { Err(ParamError::Bad) }
}

fn body(value: Option<&str>) -> Result<Body, ParamError> {
    match value {
        Some(v) if v.eq_ignore_ascii_case("8BITMIME") => Ok(Body::EightBit),
        Some(v) if v.eq_ignore_ascii_case("7BIT") => Ok(Body::SevenBit),
        Some(v) if v.eq_ignore_ascii_case("BINARYMIME") => Ok(Body::Binary),
        _ => Err(ParamError::Bad),
    }
}

fn ret(value: Option<&str>) -> Result<Ret, ParamError> {
    match value {
        Some(v) if v.eq_ignore_ascii_case("FULL") => Ok(Ret::Full),
        Some(v) if v.eq_ignore_ascii_case("HDRS") => Ok(Ret::Headers),
        _ => Err(ParamError::Bad),
    }
}

/// An Internet date-time (RFC 3339 §5.6); a fraction of a second is dropped.
fn date_time(text: &str) -> Option<Timestamp> {
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

fn by(value: Option<&str>) -> Result<By, ParamError> {
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
fn xtext(value: Option<&str>, max: usize) -> Result<&str, ParamError> {
    let value = value.filter(|v| !v.is_empty() && v.len() <= max).ok_or(ParamError::Bad)?;
    let printable = decode_xtext(value).is_some_and(|mut octets| octets.all(|b| matches!(b, 0x20..=0x7e)));
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
            0x21..=0x7e if bytes[at] != b'=' => at += 1,
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

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.wrapping_sub(b'A').wrapping_add(10) & 15,
    }
}

/// `addr-type ";" xtext`; with SMTPUTF8 the type is `utf-8` and the address may be raw UTF-8 (RFC 6533 §3).
fn orcpt(value: Option<&str>) -> Result<&str, ParamError> {
    let value = value.filter(|v| v.len() <= ORCPT_MAX).ok_or(ParamError::Bad)?;
    let (kind, address) = value.split_once(';').ok_or(ParamError::Bad)?;
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

fn is_notify(value: &str) -> bool {
    value.eq_ignore_ascii_case("NEVER")
        || value.split(',').all(|w| ["SUCCESS", "FAILURE", "DELAY"].iter().any(|k| w.eq_ignore_ascii_case(k)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(rest: &str) -> Result<MailParams<'_>, ParamError> {
        MailParams::parse(rest, &Accepts::ALL)
    }

    #[test]
    fn what_is_read_is_written() {
        for text in [
            "",
            " SIZE=100",
            " SIZE=0 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb AUTH=x+3Dy REQUIRETLS HOLDFOR=60 BY=120;RT",
            " BODY=BINARYMIME RET=FULL HOLDUNTIL=2026-11-23T12:00:00Z BY=-5;N",
        ] {
            let mut out = SendBuf::with_high_water(1024);
            mail(text).unwrap().write(&mut out);
            assert_eq!(core::str::from_utf8(out.bytes()), Ok(text));
        }
        for text in ["", " NOTIFY=NEVER", " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@c.test"] {
            let mut out = SendBuf::with_high_water(1024);
            RcptParams::parse(text, &Accepts::ALL).unwrap().write(&mut out);
            assert_eq!(core::str::from_utf8(out.bytes()), Ok(text));
        }
    }

    #[test]
    fn bad_values_and_unknown_words() {
        for text in [
            "SIZE=1",
            " SIZE=",
            " SIZE=-1",
            " SIZE=99999999999999999999",
            " SIZE=1 SIZE=2",
            " BODY=9BIT",
            " SMTPUTF8=yes",
            " RET=SOME",
            " ENVID=",
            " ENVID=a=b",
            " HOLDFOR=4294967296",
            " BY=0;R",
            " BY=1;X",
            " HOLDFOR=1 HOLDUNTIL=2026-11-23T12:00:00Z",
        ] {
            assert_eq!(mail(text), Err(ParamError::Bad), "{text}");
        }
        assert_eq!(mail(" FOO=1"), Err(ParamError::Unknown));
        assert_eq!(mail(" NOTIFY=NEVER"), Err(ParamError::Unknown));
        let none = Accepts { require_tls: false, dsn: false, ..Accepts::ALL };
        assert_eq!(MailParams::parse(" REQUIRETLS", &none), Err(ParamError::Unknown));
        for text in [" NOTIFY=SOMETIMES", " NOTIFY=NEVER,DELAY", " ORCPT=a@b", " ORCPT=rfc822;", " ORCPT=;a"]
        {
            assert_eq!(RcptParams::parse(text, &Accepts::ALL), Err(ParamError::Bad), "{text}");
        }
    }

    #[test]
    fn si11_line_ends_in_xtext_are_refused() {
        assert_eq!(mail(" AUTH=x+0D+0AY"), Err(ParamError::Bad));
        assert_eq!(mail(" ENVID=x+00"), Err(ParamError::Bad));
        let rcpt = RcptParams::parse(" ORCPT=rfc822;x+0D+0AInjected:+20y", &Accepts::ALL);
        assert_eq!(rcpt, Err(ParamError::Bad));
    }

    #[test]
    fn envid_and_orcpt_at_their_limits() {
        use alloc::{format, string::String};
        let long = |n: usize| String::from_utf8(alloc::vec![b'e'; n]).unwrap();
        assert!(mail(&format!(" ENVID={}", long(ENVID_MAX))).is_ok());
        assert_eq!(mail(&format!(" ENVID={}", long(ENVID_MAX + 1))), Err(ParamError::Bad));
        let orcpt = |n: usize| format!(" ORCPT=rfc822;{}", long(n - 7));
        assert!(RcptParams::parse(&orcpt(ORCPT_MAX), &Accepts::ALL).is_ok());
        assert_eq!(RcptParams::parse(&orcpt(ORCPT_MAX + 1), &Accepts::ALL), Err(ParamError::Bad));
    }
}
