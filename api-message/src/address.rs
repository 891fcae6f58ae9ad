//! One address of a request, as a person writes it: `local@domain`, or a name with the address in angle brackets.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};

use protocol_core::address::{Canonical, canonical_domain};

use crate::fault::{Fault, Reason};
use crate::limits::{ADDRESS_MAX, LOCAL_MAX, NAME_MAX};
use crate::text::check_line;

/// A checked address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The display name, as text.
    pub name: Option<String>,
    /// As it goes into commands and fields: the local part as it was written, the domain as an A-label.
    pub wire: String,
    /// What it is found and compared by.
    pub canonical: Canonical,
}

impl Address {
    /// Reads an address: `a@b.example`, `<a@b.example>`, `Name <a@b.example>` or `"Name" <a@b.example>`.
    ///
    /// # Errors
    /// A fault of `argument`; names that hold line ends are refused before anything else is looked at.
    pub fn parse(argument: &str, text: &str) -> Result<Address, Fault> {
        check_line(argument, text, NAME_MAX + ADDRESS_MAX + 8)?;
        let text = text.trim_matches(' ');
        if text.is_empty() {
            return Err(Fault::new(argument, Reason::Missing, "an address must not be empty"));
        }
        let (name, address) = match text.strip_suffix('>') {
            None => (None, text),
            Some(rest) => {
                let bad = || wrong(argument, "write it as Name <local@domain>");
                let (name, address) = rest.rsplit_once('<').ok_or_else(bad)?;
                (name_of(argument, name.trim_matches(' '))?, address)
            }
        };
        let canonical = Canonical::parse(address).map_err(|fault| wrong(argument, &fault.to_string()))?;
        let (local, domain) = address.rsplit_once('@').unwrap_or_default();
        let domain = canonical_domain(domain).map_err(|fault| wrong(argument, &fault.to_string()))?;
        let wire = format!("{local}@{domain}");
        if local.len() > LOCAL_MAX || wire.len() > ADDRESS_MAX {
            return Err(Fault::new(argument, Reason::TooLarge, "the address is too long"));
        }
        Ok(Address { name, wire, canonical })
    }

    /// Whether it can be sent to without SMTPUTF8 (RFC 6531 §3.2).
    pub fn is_ascii(&self) -> bool {
        self.wire.is_ascii()
    }
}

fn wrong(argument: &str, why: &str) -> Fault {
    Fault::new(argument, Reason::Address, why)
}

/// A display name without the quotes that may stand around it.
fn name_of(argument: &str, name: &str) -> Result<Option<String>, Fault> {
    let name = match name.strip_prefix('"') {
        None => name.to_owned(),
        Some(rest) => {
            let bad = || wrong(argument, "the quotes around the name do not match");
            let inner = rest.strip_suffix('"').ok_or_else(bad)?;
            unquoted(inner).ok_or_else(bad)?
        }
    };
    if name.len() > NAME_MAX {
        return Err(Fault::too_large(argument, NAME_MAX));
    }
    Ok(Some(name).filter(|name| !name.is_empty()))
}

fn unquoted(inner: &str) -> Option<String> {
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next()?),
            '"' => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Option<String>, String) {
        let address = Address::parse("to[0]", text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
        (address.name, address.wire)
    }

    #[test]
    fn addresses_as_people_write_them() {
        let some = |name: &str| Some(name.to_owned());
        for (text, name, wire) in [
            ("User@Example.NET", None, "User@example.net"),
            (" <user@example.net> ", None, "user@example.net"),
            ("Ann Lee <a@b.example>", some("Ann Lee"), "a@b.example"),
            ("\"Lee, \\\"Ann\\\"\" <a@b.example>", some("Lee, \"Ann\""), "a@b.example"),
            ("Lee, Ann <a@b.example>", some("Lee, Ann"), "a@b.example"),
            ("Jörg <a@bücher.example>", some("Jörg"), "a@xn--bcher-kva.example"),
            ("é@b.example", None, "é@b.example"),
            ("\"a b\"@b.example", None, "\"a b\"@b.example"),
            ("a <b> <c@d.example>", some("a <b>"), "c@d.example"),
        ] {
            assert_eq!(parsed(text), (name, wire.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_named() {
        for text in [
            "",
            " ",
            "a",
            "a@",
            "@b",
            "a@b@c",
            "a b@c.d",
            "x <a@b.c",
            "x a@b.c>",
            "<>",
            "\"x <a@b.c>",
            "a@b.c,d@e.f",
            "a@b.c d",
        ] {
            let fault = Address::parse("cc[3]", text).unwrap_err();
            assert_eq!(fault.argument, "cc[3]", "{text}");
            assert!(matches!(fault.reason, Reason::Address | Reason::Missing), "{text}: {fault:?}");
        }
        let fault = Address::parse("to[0]", "a@b.c\r\nBcc: d@e.f").unwrap_err();
        assert_eq!(fault.reason, Reason::ForbiddenCharacter);
    }

    #[test]
    fn lengths_at_their_limits_and_one_past() {
        let local = "a".repeat(LOCAL_MAX);
        assert!(Address::parse("to", &format!("{local}@b.example")).is_ok());
        assert!(Address::parse("to", &format!("{local}a@b.example")).is_err());
        let name = "n".repeat(NAME_MAX);
        assert!(Address::parse("to", &format!("{name} <a@b.example>")).is_ok());
        assert_eq!(
            Address::parse("to", &format!("{name}n <a@b.example>")).unwrap_err().reason,
            Reason::TooLarge
        );
    }
}
