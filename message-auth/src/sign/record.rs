//! Key records (RFC 6376 §3.6.1): written for an administrator to publish, and recognised in DNS.

/// The kind of a key in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// `k=rsa`; `p=` is a SubjectPublicKeyInfo.
    Rsa,
    /// `k=ed25519`; `p=` is the key's 32 octets (RFC 8463 §4).
    Ed25519,
}

impl KeyKind {
    fn name(self) -> &'static str {
        match self {
            KeyKind::Rsa => "rsa",
            KeyKind::Ed25519 => "ed25519",
        }
    }

    /// The text of the record for a public key in base64.
    pub fn record(self, public: &str) -> String {
        format!("v=DKIM1; k={}; p={public}", self.name())
    }

    /// Whether a record's text lets verifiers use this public key for mail signed with SHA-256. Others may have
    /// written it: with other white space, other tags, in another order.
    pub fn is_published_by(self, record: &str, public: &str) -> bool {
        let mut tags =
            record.split(';').filter_map(|tag| tag.split_once('=')).map(|(n, v)| (n.trim(), v.trim()));
        let first_is_version = record.trim_start().starts_with('v');
        let of = |name: &str| tags.clone().find(|(n, _)| *n == name).map(|(_, value)| value);
        let lists = |name: &str, wanted: &[&str]| {
            of(name).is_none_or(|value| value.split(':').any(|item| wanted.contains(&item.trim())))
        };
        let version = of("v").is_none_or(|version| version == "DKIM1" && first_is_version);
        let kind = of("k").unwrap_or("rsa").eq_ignore_ascii_case(self.name());
        let usable = lists("h", &["sha256"]) && lists("s", &["*", "email"]);
        let key = tags
            .find(|(name, _)| *name == "p")
            .map(|(_, value)| value.split_whitespace().collect::<String>());
        version && kind && usable && key.is_some_and(|key| key == public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_recognised_however_it_is_written() {
        for record in [
            "v=DKIM1; k=rsa; p=AAAA",
            "p=AAAA",
            " v = DKIM1;p=AA AA ;k= RSA; n=a note; t=y:s; h=sha1:sha256; s=email;",
        ] {
            assert!(KeyKind::Rsa.is_published_by(record, "AAAA"), "{record}");
        }
        for record in [
            "",
            "v=DKIM1; k=rsa; p=",
            "v=DKIM1; k=rsa; p=AAAB",
            "v=DKIM1; k=ed25519; p=AAAA",
            "k=rsa; v=DKIM1; p=AAAA",
            "v=DKIM2; p=AAAA",
            "v=DKIM1; h=sha1; p=AAAA",
            "v=DKIM1; s=other; p=AAAA",
        ] {
            assert!(!KeyKind::Rsa.is_published_by(record, "AAAA"), "{record}");
        }
        let own = KeyKind::Ed25519.record("BBBB");
        assert_eq!(own, "v=DKIM1; k=ed25519; p=BBBB");
        assert!(
            KeyKind::Ed25519.is_published_by(&own, "BBBB") && !KeyKind::Rsa.is_published_by(&own, "BBBB")
        );
    }
}
