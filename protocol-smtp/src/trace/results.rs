//! Authentication-Results (RFC 8601) and Received-SPF (RFC 7208 §9.1). Whatever the peer chose stands in them
//! as a token or as a quoted string, so that none of it can end a value, a line or the field.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::net::IpAddr;

use protocol_core::auth::{ArcResult, DkimResult, Iprev, MessageResults, Spf, SpfIdentity};

/// Characters of a peer's value that are shown.
const VALUE_MAX: usize = 256;

/// The Authentication-Results field of a message, with its CRLF. `sender`: the reverse-path, empty for null;
/// `iprev`: the client's address and its reverse look-up, when there was one.
pub fn authentication_results(
    own_host: &str,
    iprev: Option<(IpAddr, &Iprev)>,
    spf: &Spf,
    sender: &str,
    found: &MessageResults,
) -> Vec<u8> {
    let mut out = String::from("Authentication-Results: ");
    out.push_str(&value(own_host));
    let property = match spf.identity {
        SpfIdentity::MailFrom if !sender.is_empty() => ("smtp.mailfrom", sender),
        _ => ("smtp.helo", spf.domain.as_str()),
    };
    result(&mut out, "spf", spf.result.name(), None, &[property]);
    for dkim in &found.dkim {
        let properties = [
            ("header.d", dkim.domain.as_str()),
            ("header.s", dkim.selector.as_str()),
            ("header.a", dkim.algorithm.as_str()),
            ("header.b", dkim.signature_start.as_str()),
        ];
        result(&mut out, "dkim", dkim.result.name(), dkim.reason.as_deref(), &properties);
    }
    if found.dkim.is_empty() {
        result(&mut out, "dkim", DkimResult::None.name(), None, &[]);
    }
    let dmarc = &found.dmarc;
    let policy = ("policy.dmarc", dmarc.policy.name());
    result(&mut out, "dmarc", dmarc.result.name(), None, &[("header.from", &dmarc.domain), policy]);
    if found.arc.result != ArcResult::None {
        result(&mut out, "arc", found.arc.result.name(), found.arc.reason.as_deref(), &[]);
    }
    if let Some((client, iprev)) = iprev {
        let mut ip = String::new();
        let _ = write!(ip, "{client}");
        result(&mut out, "iprev", iprev.result.name(), None, &[("policy.iprev", &ip)]);
    }
    out.push_str("\r\n");
    out.into_bytes()
}

/// The Received-SPF field, with its CRLF.
pub fn received_spf(own_host: &str, spf: &Spf, sender: &str, helo: &str, client: IpAddr) -> Vec<u8> {
    let mut out = String::from("Received-SPF: ");
    out.push_str(spf.result.name());
    let mut pair = |name: &str, text: &str| {
        if !text.is_empty() {
            let _ = write!(out, "\r\n\t{name}={};", value(text));
        }
    };
    let mut ip = String::new();
    let _ = write!(ip, "{client}");
    pair("receiver", own_host);
    pair("client-ip", &ip);
    pair("identity", if spf.identity == SpfIdentity::Helo { "helo" } else { "mailfrom" });
    pair("envelope-from", sender);
    pair("helo", helo);
    pair("mechanism", spf.mechanism.as_deref().unwrap_or_default());
    pair("problem", spf.problem.as_deref().unwrap_or_default());
    out.pop();
    out.push_str("\r\n");
    out.into_bytes()
}

fn result(out: &mut String, method: &str, result: &str, reason: Option<&str>, properties: &[(&str, &str)]) {
    let _ = write!(out, ";\r\n\t{method}={result}");
    if let Some(reason) = reason {
        let _ = write!(out, "\r\n\treason={}", quoted(reason));
    }
    for (name, text) in properties.iter().filter(|(_, text)| !text.is_empty()) {
        let _ = write!(out, "\r\n\t{name}={}", value(text));
    }
}

/// A value: bare when it is a dot-atom, else a quoted string.
fn value(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if !text.is_empty() && text.len() <= VALUE_MAX && text.chars().all(bare) {
        return text.into();
    }
    quoted(text)
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars().take(VALUE_MAX) {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            ' '..='~' => out.push(c),
            // Internationalised addresses are UTF-8 in header fields (RFC 6532).
            c if !c.is_ascii() && !c.is_control() => out.push(c),
            _ => out.push('?'),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use protocol_core::auth::{Dkim, Dmarc, DmarcPolicy, DmarcResult, IprevResult, SpfResult};

    fn spf() -> Spf {
        Spf { domain: "a.test".into(), result: SpfResult::Pass, ..Spf::default() }
    }

    #[test]
    fn the_fields_say_what_was_found() {
        let found = MessageResults {
            dkim: vec![Dkim {
                result: DkimResult::Fail,
                domain: "d.test".into(),
                selector: "s1".into(),
                algorithm: "rsa-sha256".into(),
                signature_start: "AbC+/9=x".into(),
                reason: Some("expired".into()),
                ..Dkim::default()
            }],
            dmarc: Dmarc {
                result: DmarcResult::Pass,
                domain: "a.test".into(),
                policy: DmarcPolicy::Reject,
                ..Dmarc::default()
            },
            ..MessageResults::default()
        };
        let iprev = Iprev { result: IprevResult::Pass, name: Some("c.test".into()) };
        let client = "192.0.2.7".parse().unwrap();
        let field = authentication_results("mx.test", Some((client, &iprev)), &spf(), "u@a.test", &found);
        let text = String::from_utf8(field).unwrap();
        assert_eq!(
            text,
            "Authentication-Results: mx.test;\r\n\tspf=pass\r\n\tsmtp.mailfrom=\"u@a.test\";\r\n\tdkim=fail\r\n\
             \treason=\"expired\"\r\n\theader.d=d.test\r\n\theader.s=s1\r\n\theader.a=rsa-sha256\r\n\
             \theader.b=\"AbC+/9=x\";\r\n\tdmarc=pass\r\n\theader.from=a.test\r\n\tpolicy.dmarc=reject;\r\n\t\
             iprev=pass\r\n\tpolicy.iprev=192.0.2.7\r\n"
        );
        let text = String::from_utf8(received_spf("mx.test", &spf(), "", "h.test", client)).unwrap();
        assert_eq!(
            text,
            "Received-SPF: pass\r\n\treceiver=mx.test;\r\n\tclient-ip=192.0.2.7;\r\n\tidentity=mailfrom;\r\n\
             \thelo=h.test\r\n"
        );
    }

    #[test]
    fn si22_si23_nothing_of_the_peers_becomes_a_result() {
        let hostile = "legit.test\"; dkim=pass (\r\nX: y\0\\";
        let found = MessageResults {
            dkim: vec![Dkim {
                result: DkimResult::PermError,
                domain: hostile.into(),
                selector: hostile.into(),
                reason: Some(hostile.into()),
                ..Dkim::default()
            }],
            ..MessageResults::default()
        };
        let bad = Spf { domain: hostile.into(), problem: Some(hostile.into()), ..spf() };
        let client = "2001:db8::1".parse().unwrap();
        for field in [
            authentication_results("mx.test", None, &bad, hostile, &found),
            received_spf("mx.test", &bad, hostile, hostile, client),
        ] {
            let text = String::from_utf8(field).unwrap();
            assert!(text.trim_end().lines().skip(1).all(|l| l.starts_with('\t')), "{text}");
            // Outside quoted strings stands nothing of it.
            let (mut outside, mut inside, mut escaped) = (String::new(), false, false);
            for c in text.chars() {
                match c {
                    _ if escaped => escaped = false,
                    '\\' if inside => escaped = true,
                    '"' => inside = !inside,
                    c if !inside => outside.push(c),
                    _ => {}
                }
            }
            assert!(!inside && !outside.contains("dkim=pass") && !outside.contains("X:"), "{outside}");
        }
    }
}
