//! Reading an Authentication-Results value (RFC 8601 §2.2), for a gateway's verdict that stands in for ours and
//! for what an ARC chain recorded. What is malformed ends the reading there: results before it count.

use alloc::string::String;
use alloc::vec::Vec;

use protocol_core::auth::{
    ArcChain, Dkim, DkimResult, Dmarc, DmarcPolicy, DmarcResult, MessageResults, Spf, SpfIdentity, SpfResult,
};

/// Results of one field that are read.
const METHODS_MAX: usize = 64;
/// Properties of one result that are read.
const PROPERTIES_MAX: usize = 32;

/// What an Authentication-Results value says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadResults {
    /// Who says it.
    pub authserv_id: String,
    /// Its results, in order.
    pub methods: Vec<MethodResult>,
}

/// One result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MethodResult {
    /// The method in lower case, without version.
    pub method: String,
    /// The result in lower case.
    pub result: String,
    /// `reason` and properties: name in lower case and value.
    pub properties: Vec<(String, String)>,
    /// Comments about it, in order, without parentheses.
    pub comments: Vec<String>,
}

impl MethodResult {
    /// Whether it is of this method.
    pub fn is(&self, method: &str) -> bool {
        self.method == method
    }

    fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn domain(&self, name: &str) -> String {
        let value = self.property(name).unwrap_or_default();
        value.rsplit_once('@').map_or(value, |(_, domain)| domain).to_lowercase()
    }
}

impl ReadResults {
    /// What it says of SPF; `none` when it says nothing.
    pub fn spf(&self) -> Spf {
        let Some(said) = self.methods.iter().find(|m| m.is("spf")) else { return Spf::default() };
        let by_helo = said.property("smtp.mailfrom").is_none_or(str::is_empty);
        Spf {
            identity: if by_helo { SpfIdentity::Helo } else { SpfIdentity::MailFrom },
            domain: said.domain(if by_helo { "smtp.helo" } else { "smtp.mailfrom" }),
            result: SpfResult::from_name(&said.result).unwrap_or_default(),
            ..Spf::default()
        }
    }

    /// What it says of DKIM and DMARC; `none` of what it does not mention. ARC is never taken from it.
    pub fn message(&self) -> MessageResults {
        let dkim = self.methods.iter().filter(|m| m.is("dkim")).filter_map(|said| {
            let result = DkimResult::from_name(&said.result).unwrap_or_default();
            (result != DkimResult::None).then(|| Dkim {
                result,
                domain: said.domain("header.d"),
                ..Dkim::default()
            })
        });
        let dmarc = self.methods.iter().find(|m| m.is("dmarc")).map(|said| Dmarc {
            result: DmarcResult::from_name(&said.result).unwrap_or_default(),
            domain: said.domain("header.from"),
            policy: policy_of(said),
            ..Dmarc::default()
        });
        MessageResults {
            dkim: dkim.collect(),
            dkim_ignored: 0,
            arc: ArcChain::default(),
            dmarc: dmarc.unwrap_or_default(),
        }
    }
}

/// The policy that a DMARC result was found under: a property, or as most write it a comment `(p=REJECT ...)`.
fn policy_of(said: &MethodResult) -> DmarcPolicy {
    let properties = ["policy.dmarc", "policy.published-domain-policy"];
    let named = properties.iter().find_map(|name| said.property(name));
    let words = said.comments.iter().flat_map(|c| c.split([' ', ';', ',']));
    let commented = words.filter_map(|w| w.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("p"));
    let text = named.or(commented.map(|(_, value)| value)).unwrap_or_default();
    DmarcPolicy::from_name(text).unwrap_or_default()
}

/// Reads a value; `None` when it does not begin with an authserv-id.
pub fn read_results(value: &[u8]) -> Option<ReadResults> {
    let mut at = Cursor { rest: value, comments: Vec::new() };
    let authserv_id = at.value()?;
    let mut found = ReadResults { authserv_id, methods: Vec::new() };
    at.skip();
    at.name(); // its version
    while at.take(b';') && found.methods.len() < METHODS_MAX {
        at.comments.clear();
        let Some(method) = at.name() else { break };
        if !at.take(b'=') {
            break; // `none` alone, or no result
        }
        let Some(result) = at.name() else { break };
        let bare = method.split('/').next().unwrap_or_default();
        let mut said = MethodResult { method: bare.into(), result, ..MethodResult::default() };
        while said.properties.len() < PROPERTIES_MAX
            && let Some(name) = at.name()
        {
            if !at.take(b'=') {
                break;
            }
            at.skip();
            let Some(value) = at.value() else { break };
            said.properties.push((name, value));
        }
        at.skip();
        said.comments = core::mem::take(&mut at.comments);
        found.methods.push(said);
    }
    Some(found)
}

struct Cursor<'a> {
    rest: &'a [u8],
    comments: Vec<String>,
}

impl Cursor<'_> {
    /// White space and comments.
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_ascii_start();
            if self.rest.first() != Some(&b'(') {
                return;
            }
            let mut comment = Vec::new();
            let (mut depth, mut escaped, mut length) = (0_usize, false, 0);
            for &b in self.rest {
                length += 1;
                match b {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'(' => depth += 1,
                    b')' => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
                comment.push(b);
            }
            self.rest = &self.rest[length..];
            self.comments.push(String::from_utf8_lossy(comment.get(1..).unwrap_or_default()).into_owned());
        }
    }

    fn take(&mut self, wanted: u8) -> bool {
        self.skip();
        match self.rest.split_first() {
            Some((first, rest)) if *first == wanted => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// A name, in lower case.
    fn name(&mut self) -> Option<String> {
        self.skip();
        let ends = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b';' | b'=' | b'(' | b'"');
        let length = self.rest.iter().position(ends).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        (!name.is_empty()).then(|| String::from_utf8_lossy(name).to_ascii_lowercase())
    }

    /// A value: words and quoted strings that stand together (`"a b"@c.test`).
    fn value(&mut self) -> Option<String> {
        self.skip();
        let mut value = Vec::new();
        let (mut quoted, mut escaped, mut length) = (false, false, 0);
        for &b in self.rest {
            match b {
                _ if escaped => {
                    escaped = false;
                    value.push(b);
                }
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' if !quoted => break,
                _ => value.push(b),
            }
            length += 1;
        }
        self.rest = &self.rest[length..];
        (length > 0).then(|| String::from_utf8_lossy(&value).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::authentication_results;
    use alloc::vec;

    #[test]
    fn what_we_write_is_read_back() {
        let found = MessageResults {
            dkim: vec![Dkim { result: DkimResult::Pass, domain: "d.test".into(), ..Dkim::default() }],
            dmarc: Dmarc {
                result: DmarcResult::Fail,
                domain: "f.test".into(),
                policy: DmarcPolicy::Reject,
                ..Dmarc::default()
            },
            ..MessageResults::default()
        };
        let spf = Spf { domain: "a.test".into(), result: SpfResult::SoftFail, ..Spf::default() };
        let field = authentication_results("mx.test", None, &spf, "\"a; dkim=pass\"@a.test", &found);
        let value = field.strip_prefix(b"Authentication-Results:").unwrap();
        let read = read_results(value).unwrap();
        assert_eq!(read.authserv_id, "mx.test");
        assert_eq!((read.spf(), read.message()), (spf, found));
    }

    #[test]
    fn the_forms_of_others_are_read() {
        let value = b" gate.test 1 (x); spf=Pass (ok; p=none) smtp.mailfrom=a@b.test;\r\n dkim=pass (2048-bit key) \
            header.d=b.test header.b=\"Ab=;\"; dkim = fail header.i=@c.test;\r\n\tDMARC/1=fail (p=QUARANTINE sp=NONE) \
            header.from=b.test; x";
        let read = read_results(value).unwrap();
        assert_eq!(read.authserv_id, "gate.test");
        assert_eq!((read.spf().result, read.spf().domain.as_str()), (SpfResult::Pass, "b.test"));
        let message = read.message();
        assert_eq!(
            message.dkim.iter().map(|d| d.result).collect::<Vec<_>>(),
            [DkimResult::Pass, DkimResult::Fail]
        );
        assert_eq!(
            (message.dmarc.result, message.dmarc.policy),
            (DmarcResult::Fail, DmarcPolicy::Quarantine)
        );
        let none = read_results(b"gate.test; none").unwrap();
        assert!(none.methods.is_empty() && none.spf().result == SpfResult::None);
        assert_eq!(read_results(b"  "), None);
    }

    #[test]
    fn nothing_makes_it_fail_or_read_for_long() {
        let deep = "(".repeat(100_000);
        let many = alloc::format!("a;{}", "x=y ;".repeat(10_000));
        for value in
            [deep.as_bytes(), many.as_bytes(), b"a;b=\"unfinished", b"a;=;=;", b"a;b=c d=\\", b"\"\\"]
        {
            if let Some(read) = read_results(value) {
                assert!(read.methods.len() <= METHODS_MAX);
            }
        }
    }
}
