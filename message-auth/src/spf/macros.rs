//! Domain-specs and macro strings (RFC 7208 §7): read once, expanded as often as needed.

use std::fmt::Write as _;
use std::net::IpAddr;

/// Octets of a domain name without its final dot (RFC 1035 §2.3.4).
const NAME_MAX: usize = 253;
/// Octets of an expansion that are worth having: labels hold 63 at most, so what stands further to the left
/// than this is cut off or makes the name invalid anyway.
const EXPANSION_TAIL: usize = 512;
/// Octets of an explanation (RFC 7208 leaves it to us; it goes into one reply line).
pub const EXPLANATION_MAX: usize = 512;

/// A macro string, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MacroString(Vec<Token>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(String),
    Macro(Macro),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Macro {
    /// In lower case.
    letter: u8,
    /// An upper-case letter asks for URL escapes.
    escape: bool,
    /// Rightmost parts to keep; `usize::MAX` for all.
    keep: usize,
    reverse: bool,
    delimiters: String,
}

/// What macros stand for.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// `l`: local part of the sender.
    pub local: &'a str,
    /// `o`: domain of the sender.
    pub sender_domain: &'a str,
    /// `d`: the domain whose record is evaluated.
    pub domain: &'a str,
    /// `i`, `c`, `v`: the client's address.
    pub ip: IpAddr,
    /// `h`: the HELO name.
    pub helo: &'a str,
    /// `r`: our name.
    pub receiver: &'a str,
    /// `t`: seconds of the Unix epoch.
    pub now_secs: i64,
    /// `p`: the validated name of the client.
    pub validated: &'a str,
}

impl MacroString {
    /// Reads a domain-spec: a macro string that ends in a macro or in a top label (RFC 7208 §7.1).
    pub fn domain_spec(text: &str) -> Result<MacroString, &'static str> {
        let spec = MacroString::read(text, false)?;
        match spec.0.last() {
            None => Err("empty domain-spec"),
            Some(Token::Literal(end)) if !ends_in_top_label(end) => Err("domain-spec without a top label"),
            _ => Ok(spec),
        }
    }

    /// Reads the value of an unknown modifier: only whether it is a macro string matters.
    pub fn modifier_value(text: &str) -> Result<MacroString, &'static str> {
        MacroString::read(text, true)
    }

    /// Reads an explanation, in which spaces and the letters c, r and t are allowed too (RFC 7208 §6.2, §7.2).
    pub fn explanation(text: &str) -> Result<MacroString, &'static str> {
        let words: Result<Vec<_>, _> = text.split(' ').map(|w| MacroString::read(w, true)).collect();
        let mut tokens = Vec::new();
        for (n, word) in words?.into_iter().enumerate() {
            if n > 0 {
                tokens.push(Token::Literal(" ".into()));
            }
            tokens.extend(word.0);
        }
        Ok(MacroString(tokens))
    }

    fn read(text: &str, explaining: bool) -> Result<MacroString, &'static str> {
        let mut tokens = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if c != '%' {
                if !('!'..='~').contains(&c) {
                    return Err("character that is not allowed in a macro string");
                }
                literal.push(c);
                rest = &rest[1..];
                continue;
            }
            let (plain, skip) = match rest.as_bytes().get(1) {
                Some(b'%') => ("%", 2),
                Some(b'_') => (" ", 2),
                Some(b'-') => ("%20", 2),
                Some(b'{') => ("", 0),
                _ => return Err("lone % in a macro string"),
            };
            literal.push_str(plain);
            if skip == 0 {
                if !literal.is_empty() {
                    tokens.push(Token::Literal(std::mem::take(&mut literal)));
                }
                let close = rest.find('}').ok_or("macro without its closing brace")?;
                tokens.push(Token::Macro(Macro::read(&rest[2..close], explaining)?));
                rest = &rest[close + 1..];
            } else {
                rest = &rest[skip..];
            }
        }
        if !literal.is_empty() {
            tokens.push(Token::Literal(literal));
        }
        Ok(MacroString(tokens))
    }

    /// Whether expanding needs `p`, for which DNS has to be asked.
    pub fn needs_validated_name(&self) -> bool {
        self.0.iter().any(|t| matches!(t, Token::Macro(m) if m.letter == b'p'))
    }

    /// The name that a domain-spec stands for; labels are removed from the left until it fits (RFC 7208 §7.3).
    pub fn expand_name(&self, values: &Values<'_>) -> String {
        let mut parts = Vec::new();
        let mut len = 0;
        for token in self.0.iter().rev() {
            let part = token.expand(values);
            len += part.len();
            parts.push(part);
            if len > EXPANSION_TAIL {
                break;
            }
        }
        let whole: String = parts.into_iter().rev().collect();
        let mut name = whole.strip_suffix('.').unwrap_or(&whole);
        while name.len() > NAME_MAX {
            match name.split_once('.') {
                Some((_, rest)) => name = rest,
                None => break,
            }
        }
        name.to_ascii_lowercase()
    }

    /// The text that an explanation stands for, cut off at [`EXPLANATION_MAX`].
    pub fn expand_text(&self, values: &Values<'_>) -> String {
        let mut text = String::new();
        for token in &self.0 {
            text.push_str(&token.expand(values));
            if text.len() > EXPLANATION_MAX {
                let end = (0..=EXPLANATION_MAX).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
                text.truncate(end);
                break;
            }
        }
        text
    }
}

impl Macro {
    /// Reads what stands between the braces.
    fn read(text: &str, explaining: bool) -> Result<Macro, &'static str> {
        let letter = *text.as_bytes().first().ok_or("empty macro")?;
        let lower = letter.to_ascii_lowercase();
        match lower {
            b's' | b'l' | b'o' | b'd' | b'i' | b'p' | b'v' | b'h' => {}
            b'c' | b'r' | b't' if explaining => {}
            _ => return Err("unknown macro letter"),
        }
        let rest = &text[1..];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let keep = match &rest[..digits] {
            "" => usize::MAX,
            number => match number.parse::<usize>() {
                Ok(0) => return Err("macro that keeps no part"),
                Ok(keep) => keep,
                Err(_) => usize::MAX,
            },
        };
        let rest = &rest[digits..];
        let (reverse, delimiters) = match rest.as_bytes().first() {
            Some(b'r' | b'R') => (true, &rest[1..]),
            _ => (false, rest),
        };
        if !delimiters.chars().all(|c| ".-+,/_=".contains(c)) {
            return Err("macro with a bad transformer or delimiter");
        }
        let delimiters = if delimiters.is_empty() { "." } else { delimiters };
        Ok(Macro { letter: lower, escape: letter != lower, keep, reverse, delimiters: delimiters.to_owned() })
    }

    fn value(&self, values: &Values<'_>) -> String {
        match self.letter {
            b's' => format!("{}@{}", values.local, values.sender_domain),
            b'l' => values.local.to_owned(),
            b'o' => values.sender_domain.to_owned(),
            b'd' => values.domain.to_owned(),
            b'i' => dotted(values.ip),
            b'p' => values.validated.to_owned(),
            b'v' if values.ip.is_ipv4() => "in-addr".to_owned(),
            b'v' => "ip6".to_owned(),
            b'h' => values.helo.to_owned(),
            b'c' => values.ip.to_string(),
            b'r' => values.receiver.to_owned(),
            _ => values.now_secs.to_string(),
        }
    }
}

impl Token {
    fn expand(&self, values: &Values<'_>) -> String {
        let wanted = match self {
            Token::Literal(text) => return text.clone(),
            Token::Macro(wanted) => wanted,
        };
        let value = wanted.value(values);
        let mut parts: Vec<&str> = value.split(|c| wanted.delimiters.contains(c)).collect();
        if wanted.reverse {
            parts.reverse();
        }
        let first = parts.len().saturating_sub(wanted.keep);
        let text = parts[first..].join(".");
        if wanted.escape { url_escaped(&text) } else { text }
    }
}

/// An address as `i` shows it: IPv6 as 32 dotted nibbles.
fn dotted(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().flat_map(|o| [o >> 4, o & 15]);
            nibbles.map(|n| format!("{n:X}")).collect::<Vec<_>>().join(".")
        }
    }
}

/// Everything but the unreserved characters of RFC 3986 as `%xx`.
fn url_escaped(text: &str) -> String {
    let mut out = String::new();
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(b.into());
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

/// Whether a literal ends in `"." toplabel [ "." ]`: a label that is not all digits and has no dash at an end.
fn ends_in_top_label(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let Some((_, label)) = text.rsplit_once('.') else { return false };
    let inner = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let edges = !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
    inner && edges && !label.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of RFC 7208 §7.4.
    fn values(ip: &str) -> Values<'static> {
        Values {
            local: "strong-bad",
            sender_domain: "email.example.com",
            domain: "email.example.com",
            ip: ip.parse().unwrap(),
            helo: "mx.example.org",
            receiver: "mail.example.net",
            now_secs: 1_000_000_000,
            validated: "mx.example.org",
        }
    }

    #[test]
    fn examples_of_rfc_7208_section_7_4() {
        for (text, want) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l-}", "strong.bad"),
            ("%{lr}", "strong-bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
            ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        ] {
            let spec = MacroString::domain_spec(text).unwrap();
            assert_eq!(spec.expand_name(&values("192.0.2.3")), want, "{text}");
        }
        let v6 = MacroString::domain_spec("%{ir}.%{v}._spf.%{d2}").unwrap();
        assert_eq!(
            v6.expand_name(&values("2001:db8::cb01")),
            "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
        );
    }

    #[test]
    fn what_is_no_domain_spec() {
        for text in [
            "", "example", "a..", "a.123", "a.-b", "%", "%{", "%{}", "%{x}.a.b", "%{d0}", "%{dq}", "%{t}",
            "a b.c", "a.\u{e9}", "%{d}foo",
        ] {
            assert!(MacroString::domain_spec(text).is_err(), "{text}");
        }
        for text in ["a.b", "a.b.", "%{d}", "a.b2", "%{i}.x.y-z", "%%.a", "%{d99999999999999999999999}"] {
            assert!(MacroString::domain_spec(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn long_expansions_lose_labels_on_the_left() {
        let long = format!("{}.example.com", "%{l}.".repeat(2_000).trim_end_matches('.'));
        let spec = MacroString::domain_spec(&long).unwrap();
        let local = "x".repeat(64);
        let name = spec.expand_name(&Values { local: &local, ..values("192.0.2.3") });
        assert!(name.len() <= NAME_MAX && name.ends_with(".example.com"), "{name}");
        let text = MacroString::explanation(&"%{l} ".repeat(2_000)).unwrap();
        assert_eq!(text.expand_text(&values("192.0.2.3")).len(), EXPLANATION_MAX);
    }

    #[test]
    fn capital_letters_escape() {
        let text = MacroString::explanation("see %{S} %{c} %_%-%% at %{t}").unwrap();
        assert_eq!(
            text.expand_text(&values("192.0.2.3")),
            "see strong-bad%40email.example.com 192.0.2.3  %20% at 1000000000"
        );
    }
}
