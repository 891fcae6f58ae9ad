//! An SPF record (RFC 7208 §4.6, §5, §6), read as a whole: a fault anywhere makes it a `permerror`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use protocol_core::auth::SpfResult;

use super::macros::MacroString;

/// Octets of a record; RFC 7208 §3.4 advises 450, and what is published stays below 4 KiB.
pub const RECORD_MAX: usize = 16 * 1024;

/// A record, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// In order.
    pub directives: Vec<Directive>,
    /// `redirect=`.
    pub redirect: Option<MacroString>,
    /// `exp=`.
    pub explanation: Option<MacroString>,
}

/// One directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// The result when the mechanism matches.
    pub result: SpfResult,
    /// What is compared.
    pub mechanism: Mechanism,
    /// As published.
    pub text: String,
}

/// How many leading bits count, by address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// For IPv4: 0 to 32.
    pub v4: u8,
    /// For IPv6: 0 to 128.
    pub v6: u8,
}

/// The mechanisms; a missing domain is the current one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Mechanism {
    All,
    Include(MacroString),
    A(Option<MacroString>, Prefix),
    Mx(Option<MacroString>, Prefix),
    Ptr(Option<MacroString>),
    Ip(IpAddr, u8),
    Exists(MacroString),
}

impl Prefix {
    /// Whether two addresses of one family agree in the leading bits.
    pub fn matches(self, a: IpAddr, b: IpAddr) -> bool {
        within(a, b, if a.is_ipv4() { self.v4 } else { self.v6 })
    }
}

/// Whether two addresses are of one family and agree in their first `bits` bits.
pub fn within(a: IpAddr, b: IpAddr, bits: u8) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let shift = 32 - u32::from(bits.min(32));
            a.to_bits().checked_shr(shift) == b.to_bits().checked_shr(shift)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let shift = 128 - u32::from(bits.min(128));
            a.to_bits().checked_shr(shift) == b.to_bits().checked_shr(shift)
        }
        _ => false,
    }
}

/// Whether a TXT record is an SPF record: the version, then a space or nothing (RFC 7208 §4.5).
pub fn is_spf(text: &[u8]) -> bool {
    let Some((version, rest)) = text.split_at_checked(6) else { return false };
    version.eq_ignore_ascii_case(b"v=spf1") && matches!(rest.first(), None | Some(b' '))
}

impl Record {
    /// Reads a TXT record that is an SPF record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(text: &[u8]) -> Result<Record, String> {
        if text.len() > RECORD_MAX {
            return Err(format!("record of more than {RECORD_MAX} octets"));
        }
        let text = std::str::from_utf8(text).ok().filter(|t| t.is_ascii());
        let text = text.ok_or("record that is not ASCII")?;
        let mut record = Record::default();
        for term in text[6..].split(' ').filter(|t| !t.is_empty()) {
            record.add(term).map_err(|why| format!("{why} in \"{}\"", excerpt(term)))?;
        }
        Ok(record)
    }

    fn add(&mut self, term: &str) -> Result<(), &'static str> {
        let stop = term.find([':', '/', '=']).unwrap_or(term.len());
        if term[stop..].starts_with('=') {
            return self.add_modifier(&term[..stop], &term[stop + 1..]);
        }
        let (result, name) = match term.as_bytes()[0] {
            b'+' => (SpfResult::Pass, &term[1..]),
            b'-' => (SpfResult::Fail, &term[1..]),
            b'?' => (SpfResult::Neutral, &term[1..]),
            b'~' => (SpfResult::SoftFail, &term[1..]),
            _ => (SpfResult::Pass, term),
        };
        self.directives.push(Directive { result, mechanism: Mechanism::read(name)?, text: term.to_owned() });
        Ok(())
    }

    fn add_modifier(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
        if !begins || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err("bad modifier name");
        }
        let slot = match name.to_ascii_lowercase().as_str() {
            "redirect" => &mut self.redirect,
            "exp" => &mut self.explanation,
            _ => return MacroString::modifier_value(value).map(drop),
        };
        if slot.is_some() {
            return Err("modifier given twice");
        }
        *slot = Some(MacroString::domain_spec(value)?);
        Ok(())
    }
}

impl Mechanism {
    fn read(text: &str) -> Result<Mechanism, &'static str> {
        let stop = text.find([':', '/']).unwrap_or(text.len());
        let (name, argument) = text.split_at(stop);
        let spec = |text: &str| match text.strip_prefix(':') {
            Some(spec) => MacroString::domain_spec(spec).map(Some),
            None if text.is_empty() => Ok(None),
            None => Err("bad argument"),
        };
        match name.to_ascii_lowercase().as_str() {
            "all" if argument.is_empty() => Ok(Mechanism::All),
            "all" => Err("argument of all"),
            "include" => Ok(Mechanism::Include(spec(argument)?.ok_or("no domain")?)),
            "exists" => Ok(Mechanism::Exists(spec(argument)?.ok_or("no domain")?)),
            "ptr" => Ok(Mechanism::Ptr(spec(argument)?)),
            "a" => dual_cidr(argument).and_then(|(rest, prefix)| Ok(Mechanism::A(spec(rest)?, prefix))),
            "mx" => dual_cidr(argument).and_then(|(rest, prefix)| Ok(Mechanism::Mx(spec(rest)?, prefix))),
            "ip4" => {
                let (address, bits) = cidr(argument, 32)?;
                let address: Ipv4Addr = address.parse().map_err(|_| "bad IPv4 address")?;
                Ok(Mechanism::Ip(address.into(), bits))
            }
            "ip6" => {
                let (address, bits) = cidr(argument, 128)?;
                let address: Ipv6Addr = address.parse().map_err(|_| "bad IPv6 address")?;
                Ok(Mechanism::Ip(address.into(), bits))
            }
            _ => Err("unknown mechanism"),
        }
    }
}

/// `:address[/bits]`.
fn cidr(argument: &str, max: u8) -> Result<(&str, u8), &'static str> {
    let network = argument.strip_prefix(':').ok_or("no address")?;
    match network.split_once('/') {
        Some((address, bits)) => Ok((address, number(bits, max)?)),
        None => Ok((network, max)),
    }
}

/// Splits `[/bits][//bits]` off the end of an argument.
fn dual_cidr(argument: &str) -> Result<(&str, Prefix), &'static str> {
    let mut prefix = Prefix { v4: 32, v6: 128 };
    let mut rest = argument;
    if let Some((front, bits)) = bits_at_end(rest)
        && let Some(front) = front.strip_suffix('/')
    {
        prefix.v6 = number(bits, 128)?;
        rest = front;
    }
    if let Some((front, bits)) = bits_at_end(rest) {
        prefix.v4 = number(bits, 32)?;
        rest = front;
    }
    Ok((rest, prefix))
}

/// What stands in front of a final `/digits`, and the digits.
fn bits_at_end(text: &str) -> Option<(&str, &str)> {
    let (front, bits) = text.rsplit_once('/')?;
    (!bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit())).then_some((front, bits))
}

/// A prefix length: no leading zero, at most `max`.
fn number(bits: &str, max: u8) -> Result<u8, &'static str> {
    const WHY: &str = "bad prefix length";
    let plain = bits == "0" || (!bits.starts_with('0') && bits.bytes().all(|b| b.is_ascii_digit()));
    if !plain {
        return Err(WHY);
    }
    bits.parse().ok().filter(|n| *n <= max).ok_or(WHY)
}

/// The front of a term, for an error text.
fn excerpt(term: &str) -> &str {
    term.get(..60).unwrap_or(term)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read_or_refused() {
        for good in [
            "v=spf1",
            "v=spf1 ",
            "v=spf1  -all",
            "v=spf1 a/24//64 mx:a.b//32 a:%{d}/0",
            "v=spf1 ip4:1.2.3.4/32",
            "v=spf1 ip6:2001:db8::/32 ptr PTR:a.b exists:%{i}.a.b",
            "v=spf1 moo.cow-far_out=man:dog/cat ip4:1.2.3.4",
            "V=SPF1 redirect=a.b exp=%{d}",
            "v=spf1 a:foo:8080.a",
            "v=spf1 include:a.b",
        ] {
            assert!(is_spf(good.as_bytes()), "{good}");
            assert!(Record::read(good.as_bytes()).is_ok(), "{good}: {:?}", Record::read(good.as_bytes()));
        }
        for bad in [
            "v=spf1 all:a.b",
            "v=spf1 all/8",
            "v=spf1 a/",
            "v=spf1 a/33",
            "v=spf1 a//129",
            "v=spf1 a/024",
            "v=spf1 a:",
            "v=spf1 ip4",
            "v=spf1 ip4:1.2.3",
            "v=spf1 ip4:1.2.3.4/",
            "v=spf1 ip4:1.2.3.4/33",
            "v=spf1 ip6:::1/129",
            "v=spf1 include",
            "v=spf1 include:",
            "v=spf1 exists",
            "v=spf1 ptr/0",
            "v=spf1 foo",
            "v=spf1 =x",
            "v=spf1 1x=y",
            "v=spf1 redirect=a.b redirect=c.d",
            "v=spf1 exp=",
            "v=spf1 x=%{t",
            "v=spf1 -",
            "v=spf1 a\rptr",
            "v=spf1 include:a.b/24",
            "v=spf1 moo=%",
        ] {
            assert!(Record::read(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(!is_spf(b"v=spf10") && !is_spf(b"v=spf") && !is_spf(b"v=spf1mx"));
    }

    #[test]
    fn a_record_has_a_longest_size() {
        let fits = format!("v=spf1 {}", "?all ".repeat((RECORD_MAX - 7) / 5));
        assert!(Record::read(format!("{fits:<RECORD_MAX$}").as_bytes()).is_ok());
        assert!(Record::read(format!("{fits:<0$}", RECORD_MAX + 1).as_bytes()).is_err());
    }

    #[test]
    fn prefixes_of_every_length() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(within(ip("1.2.3.4"), ip("200.1.1.1"), 0));
        assert!(within(ip("1.2.3.4"), ip("1.2.3.5"), 31) && !within(ip("1.2.3.4"), ip("1.2.3.5"), 32));
        assert!(within(ip("::1"), ip("8::"), 0) && !within(ip("::1"), ip("1.2.3.4"), 0));
        assert!(within(ip("::1"), ip("::1"), 128));
    }
}
