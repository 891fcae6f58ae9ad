//! The canonical form of a mail address: what mailboxes and aliases are found by.
//!
//! Two spellings of one address have one canonical form: the domain as an A-label in lower case
//! (UTS #46, RFC 5891), the local part without quotes, in NFC and in lower case. Folding is Unicode's lower
//! case after NFC, and NFC again; `ß` and `ss` stay apart, as do letters of different scripts that look alike.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use unicode_normalization::UnicodeNormalization;

/// Octets of a local part (RFC 5321 §4.5.3.1.1).
pub const LOCAL_MAX: usize = 64;
/// Octets of a domain (RFC 1035 §2.3.4, without the root's dot).
pub const DOMAIN_MAX: usize = 253;
/// Octets of an address (RFC 5321 §4.5.3.1.3, without the angle brackets).
pub const ADDRESS_MAX: usize = 254;

/// Why something is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFault {
    /// There is no `@`, or nothing on one side of it.
    Syntax,
    /// The local part is not `dot-string` or `quoted-string`, or holds control characters.
    Local,
    /// The domain is no host name, or an `xn--` label is not what it claims to be.
    Domain,
    /// One of the limits is passed.
    TooLong,
}

impl fmt::Display for AddressFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressFault::Syntax => "an address is written local@domain",
            AddressFault::Local => "the part before the @ is not valid",
            AddressFault::Domain => "the domain is not valid",
            AddressFault::TooLong => "the address is too long",
        })
    }
}

impl core::error::Error for AddressFault {}

/// An address in canonical form. Its [`Display`](fmt::Display) form is what rows and look-ups hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Canonical {
    local: String,
    domain: String,
}

impl Canonical {
    /// From `local@domain`; the local part may be quoted.
    pub fn parse(address: &str) -> Result<Canonical, AddressFault> {
        let (local, domain) = address.rsplit_once('@').ok_or(AddressFault::Syntax)?;
        if local.is_empty() || domain.is_empty() {
            return Err(AddressFault::Syntax);
        }
        let unquoted;
        let local = if local.starts_with('"') {
            unquoted = unquote(local).ok_or(AddressFault::Local)?;
            unquoted.as_str()
        } else {
            if !is_dot_string(local) {
                return Err(AddressFault::Local);
            }
            local
        };
        Canonical::from_parts(local, domain)
    }

    /// From a local part without quotes and a domain.
    pub fn from_parts(local: &str, domain: &str) -> Result<Canonical, AddressFault> {
        let domain = canonical_domain(domain)?;
        // A character grows to at most three in NFC and lower case, so a longer one cannot fit afterwards
        // either, except by composing; four times the limit leaves room for that.
        if local.len() > LOCAL_MAX * 4 {
            return Err(AddressFault::TooLong);
        }
        if local.is_empty() || local.chars().any(char::is_control) {
            return Err(AddressFault::Local);
        }
        let local = fold(local);
        if local.len() > LOCAL_MAX || local.len() + 1 + domain.len() > ADDRESS_MAX {
            return Err(AddressFault::TooLong);
        }
        Ok(Canonical { local, domain })
    }

    /// The local part, without quotes.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain as an A-label, or an address literal with its brackets.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Whether the domain is an address literal (RFC 5321 §4.1.3).
    pub fn is_literal(&self) -> bool {
        self.domain.starts_with('[')
    }

    /// The address without `delimiter` and what follows it, and the tag; `None` when there is no delimiter or
    /// nothing in front of it. The first delimiter counts.
    pub fn split_plus(&self, delimiter: char) -> Option<(Canonical, &str)> {
        let (base, tag) = self.local.split_once(delimiter)?;
        if base.is_empty() {
            return None;
        }
        Some((Canonical { local: base.into(), domain: self.domain.clone() }, tag))
    }

    /// The same local part at another domain that is already canonical.
    pub fn at(&self, domain: &str) -> Result<Canonical, AddressFault> {
        Canonical::from_parts(&self.local, domain)
    }

    /// Whether the address can be sent without SMTPUTF8: the local part is ASCII (the domain always is).
    pub fn is_ascii(&self) -> bool {
        self.local.is_ascii()
    }
}

impl fmt::Display for Canonical {
    /// `local@domain`, the local part quoted only where it must be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local) {
            return write!(f, "{}@{}", self.local, self.domain);
        }
        f.write_char('"')?;
        for c in self.local.chars() {
            if matches!(c, '"' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(c)?;
        }
        write!(f, "\"@{}", self.domain)
    }
}

impl core::str::FromStr for Canonical {
    type Err = AddressFault;
    fn from_str(address: &str) -> Result<Self, AddressFault> {
        Canonical::parse(address)
    }
}

/// A domain as an A-label in lower case, or an address literal in lower case. No final dot; an `xn--` label
/// must be what encoding its own decoded form gives, so one that decodes to ASCII is refused.
pub fn canonical_domain(domain: &str) -> Result<String, AddressFault> {
    if domain.starts_with('[') {
        return literal(domain);
    }
    if domain.len() > DOMAIN_MAX * 4 {
        return Err(AddressFault::TooLong);
    }
    if domain.is_empty() || domain.ends_with('.') {
        return Err(AddressFault::Domain);
    }
    let ascii = Uts46::new()
        .to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify)
        .map_err(|_| AddressFault::Domain)?;
    if ascii.len() > DOMAIN_MAX {
        return Err(AddressFault::TooLong);
    }
    // A domain of digits and dots is an address without its brackets, not a host name (RFC 1123 §2.1).
    if ascii.rsplit('.').next().is_some_and(|top| top.bytes().all(|b| b.is_ascii_digit())) {
        return Err(AddressFault::Domain);
    }
    Ok(ascii.into_owned())
}

/// RFC 5321 §4.1.3: an IPv4 address, `IPv6:` and an IPv6 address.
fn literal(domain: &str) -> Result<String, AddressFault> {
    let inner = domain.strip_prefix('[').and_then(|d| d.strip_suffix(']')).ok_or(AddressFault::Domain)?;
    let lower = inner.to_ascii_lowercase();
    let mut out = String::from("[");
    match lower.strip_prefix("ipv6:") {
        Some(v6) => {
            let v6: core::net::Ipv6Addr = v6.parse().map_err(|_| AddressFault::Domain)?;
            let _ = write!(out, "ipv6:{v6}");
        }
        None => {
            let v4: core::net::Ipv4Addr = lower.parse().map_err(|_| AddressFault::Domain)?;
            let _ = write!(out, "{v4}");
        }
    }
    out.push(']');
    Ok(out)
}

/// The domain for people: U-labels, unless a label mixes scripts that look alike (then A-labels as they are).
pub fn display_domain(domain: &str) -> String {
    let (unicode, result) =
        Uts46::new().to_unicode(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast);
    if result.is_err() || is_mixed_script(&unicode) { domain.into() } else { unicode.into_owned() }
}

/// Whether some label of a domain, or a local part, mixes Latin, Greek and Cyrillic letters, which have
/// look-alikes in one another.
pub fn is_mixed_script(text: &str) -> bool {
    text.split('.').any(|label| {
        let mut scripts: Vec<u8> = label.chars().filter_map(script).collect();
        scripts.dedup();
        scripts.len() > 1
    })
}

fn script(c: char) -> Option<u8> {
    match c {
        'a'..='z' | 'A'..='Z' | '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => Some(0),
        '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => Some(1),
        '\u{400}'..='\u{52f}' | '\u{2de0}'..='\u{2dff}' | '\u{a640}'..='\u{a69f}' => Some(2),
        _ => None,
    }
}

fn fold(local: &str) -> String {
    if local.is_ascii() {
        return local.to_ascii_lowercase();
    }
    let composed: String = local.nfc().collect();
    composed.to_lowercase().nfc().collect()
}

/// RFC 5321 §4.1.2 `Dot-string`, with RFC 6531 §3.3: any character over 127.
fn is_dot_string(local: &str) -> bool {
    local.split('.').all(|atom| {
        let is_atext =
            |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii();
        !atom.is_empty() && atom.chars().all(is_atext)
    })
}

/// RFC 5321 §4.1.2 `Quoted-string`.
fn unquote(quoted: &str) -> Option<String> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next()?),
            '"' => return None,
            _ => out.push(c),
        }
    }
    // `"\"`: the closing quote was escaped.
    (quoted.len() >= 2).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn canonical_forms() {
        for (address, want) in [
            ("Alice@Example.COM", "alice@example.com"),
            ("\"Alice\"@example.com", "alice@example.com"),
            ("\"a\\lice\"@example.com", "alice@example.com"),
            ("\"a b\"@example.com", "\"a b\"@example.com"),
            ("\"a@b\"@example.com", "\"a@b\"@example.com"),
            ("\"a\\\"b\\\\\"@example.com", "\"a\\\"b\\\\\"@example.com"),
            ("a@BÜCHER.example", "a@xn--bcher-kva.example"),
            ("a@xn--BCHER-kva.example", "a@xn--bcher-kva.example"),
            ("ÄRGER@example.com", "ärger@example.com"),
            ("a@[192.0.2.1]", "a@[192.0.2.1]"),
            ("a@[IPv6:2001:DB8:0::1]", "a@[ipv6:2001:db8::1]"),
            ("a+Tag+x@example.com", "a+tag+x@example.com"),
        ] {
            let canonical = Canonical::parse(address).unwrap_or_else(|e| panic!("{address}: {e}"));
            assert_eq!(canonical.to_string(), want);
            assert_eq!(Canonical::parse(want), Ok(canonical), "{want} is its own canonical form");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for address in [
            "",
            "@",
            "a@",
            "@b.c",
            "a",
            "a b@c.d",
            "a..b@c.d",
            ".a@c.d",
            "a.@c.d",
            "a@c.d.",
            "a@.c",
            "a@c..d",
            "a@-c.d",
            "a@c_d.e",
            "a@192.0.2.1",
            "a@[1.2.3]",
            "a@[1.2.3.4",
            "a@[ipv6:zz]",
            "\"a@b.c",
            "\"@b.c",
            "\"a\"b\"@c.d",
            "\"a\\\"@b.c",
            "a\"b@c.d",
            "\"a\u{1}\"@c.d",
            "\"a\nb\"@c.d",
            "a@b c.d",
            "\"\"@c.d",
            "<a@b.c>",
            "a@b.c\0",
        ] {
            assert!(Canonical::parse(address).is_err(), "{address:?}");
        }
    }

    #[test]
    fn lengths_at_their_limits_and_one_past() {
        let local = "a".repeat(LOCAL_MAX);
        assert!(Canonical::parse(&format!("{local}@b.cd")).is_ok());
        assert_eq!(Canonical::parse(&format!("{local}a@b.cd")), Err(AddressFault::TooLong));
        let label = "b".repeat(63);
        let domain = format!("{label}.{label}.{}", "c".repeat(61));
        let address = format!("{}@{domain}", &local);
        assert_eq!(address.len(), ADDRESS_MAX);
        assert!(Canonical::parse(&address).is_ok());
        assert_eq!(Canonical::parse(&address.replace("@", "@d.")), Err(AddressFault::TooLong));
        assert!(Canonical::parse(&format!("a@{}.de", "b".repeat(63))).is_ok());
        assert!(Canonical::parse(&format!("a@{}.de", "b".repeat(64))).is_err());
    }

    #[test]
    fn si38_one_mailbox_for_nfc_and_nfd() {
        let nfc = Canonical::parse("caf\u{e9}@example.com").unwrap();
        let nfd = Canonical::parse("CAFE\u{301}@example.com").unwrap();
        assert_eq!(nfc, nfd);
        assert!(!nfc.is_ascii());
    }

    #[test]
    fn folding_twice_changes_nothing() {
        for c in '\0'..=char::MAX {
            let once = fold(&format!("a{c}\u{301}"));
            assert_eq!(fold(&once), once, "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn si38_xn_labels_that_decode_to_ascii_are_refused() {
        for domain in
            ["xn--example-.com", "xn--a-.com", "xn--.com", "xn--99999999999.com", "xn--B\u{fc}cher.com"]
        {
            assert_eq!(canonical_domain(domain), Err(AddressFault::Domain), "{domain}");
        }
    }

    #[test]
    fn si38_mixed_scripts_are_noticed_and_shown_as_a_labels() {
        let domain = canonical_domain("p\u{430}ypal.com").unwrap();
        assert!(domain.starts_with("xn--"));
        assert_eq!(display_domain(&domain), domain);
        assert_eq!(display_domain("xn--bcher-kva.example"), "bücher.example");
        assert!(is_mixed_script("p\u{430}ypal.com"));
        assert!(!is_mixed_script("пример.com"));
    }

    #[test]
    fn plus_tags_are_split_at_the_first_delimiter() {
        let address = Canonical::parse("a+b+c@example.com").unwrap();
        let (base, tag) = address.split_plus('+').unwrap();
        assert_eq!((base.to_string().as_str(), tag), ("a@example.com", "b+c"));
        assert!(Canonical::parse("+b@example.com").unwrap().split_plus('+').is_none());
        assert!(address.split_plus('-').is_none());
    }
}
