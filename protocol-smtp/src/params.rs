//! Parameters of MAIL and RCPT: the extensions' words behind the path.

use core::fmt::Write as _;

use protocol_core::{SendBuf, Timestamp};

use crate::limits::{ENVID_MAX, ORCPT_MAX};

mod values;
mod words;

use values::{body, by, date_time, decimal, flag, notify, orcpt, ret, xtext};
pub use values::{decode_xtext, encode_xtext};
use words::Words;

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
        params.read(rest, 0, accepts)?;
        Ok(params)
    }

    /// The same of what stands in `line` from `at` on, into the default, so that what is large is not moved about.
    ///
    /// Values are judged before it matters whether the parameter is offered: what is malformed is malformed
    /// everywhere.
    #[inline]
    pub(crate) fn read(&mut self, line: &'b str, at: usize, accepts: &Accepts) -> Result<(), ParamError> {
        let mut words = Words::new(line, at)?;
        let mut seen = Seen(0);
        while let Some(first) = words.next_word() {
            let offered = if words.keyword(first, b"SIZE") {
                let size = decimal(&mut words)?;
                seen.once(0)?;
                self.size = Some(size);
                accepts.size
            } else if words.keyword(first, b"BODY") {
                self.body = body(&mut words)?;
                seen.once(1)?;
                accepts.binary || (accepts.eight_bit && self.body != Body::Binary)
            } else {
                let (bit, offered) = self.take(first, &mut words, accepts)?;
                seen.once(bit)?;
                offered
            };
            if !offered {
                return Err(ParamError::Unknown);
            }
        }
        Ok(())
    }

    /// The parameters that are not in most commands: which it is, and whether it is offered.
    #[inline(never)]
    fn take(
        &mut self,
        first: u64,
        words: &mut Words<'b>,
        accepts: &Accepts,
    ) -> Result<(u8, bool), ParamError> {
        let found = match () {
            () if words.keyword(first, b"SMTPUTF8") => {
                self.smtputf8 = flag(words)?;
                (2, accepts.smtputf8)
            }
            () if words.keyword(first, b"RET") => {
                self.ret = Some(ret(words)?);
                (3, accepts.dsn)
            }
            () if words.keyword(first, b"ENVID") => {
                self.envid = Some(xtext(words.value(), ENVID_MAX)?);
                (4, accepts.dsn)
            }
            () if words.keyword(first, b"AUTH") => {
                self.auth = Some(xtext(words.value(), ORCPT_MAX)?);
                (5, accepts.auth)
            }
            () if words.keyword(first, b"REQUIRETLS") => {
                self.require_tls = flag(words)?;
                (6, accepts.require_tls)
            }
            () if words.keyword(first, b"HOLDFOR") => {
                let secs = u32::try_from(decimal(words)?).map_err(|_| ParamError::Bad)?;
                self.hold = Some(Hold::For(secs));
                (7, accepts.future_release)
            }
            // RFC 4865 §4: one of the two, not both.
            () if words.keyword(first, b"HOLDUNTIL") => {
                self.hold = Some(Hold::Until(words.value().and_then(date_time).ok_or(ParamError::Bad)?));
                (7, accepts.future_release)
            }
            () if words.keyword(first, b"BY") => {
                self.by = Some(by(words.value())?);
                (8, accepts.deliver_by)
            }
            _ => return Err(ParamError::Unknown),
        };
        Ok(found)
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
                out.push(b" HOLDUNTIL=");
                write_date_time(at, out);
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
        params.read(rest, 0, accepts)?;
        Ok(params)
    }

    /// The same of what stands in `line` from `at` on, into the default.
    #[inline]
    pub(crate) fn read(&mut self, line: &'b str, at: usize, accepts: &Accepts) -> Result<(), ParamError> {
        let mut words = Words::new(line, at)?;
        let mut seen = Seen(0);
        while let Some(first) = words.next_word() {
            match () {
                () if words.keyword(first, b"NOTIFY") => {
                    seen.once(0)?;
                    self.notify = Some(notify(&mut words)?);
                }
                () if words.keyword(first, b"ORCPT") => {
                    seen.once(1)?;
                    self.orcpt = Some(orcpt(words.value())?);
                }
                _ => return Err(ParamError::Unknown),
            }
        }
        if accepts.dsn || seen.0 == 0 { Ok(()) } else { Err(ParamError::Unknown) }
    }

    /// Appends the parameters, each behind a space.
    pub fn write(&self, out: &mut SendBuf) {
        push_word(out, " NOTIFY=", self.notify);
        push_word(out, " ORCPT=", self.orcpt);
    }
}

/// Appends a date-time in UTC (RFC 3339 §5.6).
pub(crate) fn write_date_time(at: Timestamp, out: &mut SendBuf) {
    let c = at.civil();
    // Writing to a SendBuf can't fail.
    let _ = write!(
        out,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        c.year, c.month, c.day, c.hour, c.minute, c.second
    );
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
    #[inline(always)]
    fn once(&mut self, bit: u8) -> Result<(), ParamError> {
        let mask = 1 << bit;
        if self.0 & mask != 0 {
            return Err(ParamError::Bad);
        }
        self.0 |= mask;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
