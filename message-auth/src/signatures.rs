//! The signatures of a message, judged as far as that goes without DNS: which may be verified at all.

use std::ops::Range;

use mail_auth::common::crypto::{Algorithm, HashAlgorithm};
use mail_auth::dkim::Canonicalization;
use protocol_core::auth::{Dkim, DkimResult};
use protocol_core::message::{Field, Fields};

use crate::tags::{SIGNED_FIELDS_MAX, Tags};

/// Signatures of one message that are verified; what stands below in the header is not looked at.
pub const SIGNATURES_MAX: usize = 8;
/// Bits of an RSA key (RFC 8301 §3.2 allows 1,024 to 4,096 and more; larger ones cost more than they tell).
pub const RSA_BITS: std::ops::RangeInclusive<usize> = 1024..=4096;
/// How far ahead of our clock a signature may be dated, in seconds.
pub const CLOCK_SKEW_SECS: i64 = 300;

/// A signature that may be verified.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Where its field stands in the message.
    pub field: Range<usize>,
    /// What its field says, for the library.
    pub signature: mail_auth::dkim::Signature,
    /// What is known of it before it is verified.
    pub known: Dkim,
}

/// One signature: still to be verified, or judged already.
#[derive(Clone, Debug)]
pub enum Judged {
    /// To be verified.
    Candidate(Box<Candidate>),
    /// Judged by what it says.
    Done(Dkim),
}

/// The hash of a body that a signature needs.
pub type BodyHash = (Canonicalization, HashAlgorithm);

/// Judges the first [`SIGNATURES_MAX`] signatures of a header; also returns how many more there are.
pub fn judge(header: &[u8], now_secs: i64) -> (Vec<Judged>, usize) {
    let mut fields = Fields::new(header).filter(|f| f.is("DKIM-Signature"));
    let judged = fields.by_ref().take(SIGNATURES_MAX).map(|f| judge_one(header, &f, now_secs)).collect();
    (judged, fields.count())
}

fn judge_one(header: &[u8], field: &Field<'_>, now_secs: i64) -> Judged {
    let mut known = Dkim::default();
    let tags = match Tags::read(field.value) {
        Ok(tags) => tags,
        Err(why) => return Judged::Done(with(known, DkimResult::PermError, why)),
    };
    known.domain = tags.text("d").to_ascii_lowercase();
    known.selector = tags.text("s").to_ascii_lowercase();
    known.identity = tags.text("i").to_owned();
    known.algorithm = tags.text("a").to_ascii_lowercase();
    known.signature_start = tags.text("b").chars().take(8).collect();
    known.length_limited = tags.find("l").is_some();
    if let Err((result, why)) = acceptable(&tags, now_secs) {
        return Judged::Done(with(known, result, why));
    }
    let value = raw_value(header, field);
    let Ok(mut signature) = mail_auth::dkim::Signature::parse(value) else {
        return Judged::Done(with(known, DkimResult::PermError, "malformed signature"));
    };
    let same = |ours: &str, theirs: &str| ours.eq_ignore_ascii_case(theirs);
    if !same(&known.domain, &signature.d) || !same(&known.selector, &signature.s) {
        return Judged::Done(with(known, DkimResult::PermError, "ambiguous signature"));
    }
    if let Err(why) = key_size(signature.a, signature.b.len()) {
        return Judged::Done(with(known, DkimResult::PermError, why));
    }
    // Neither reports (RFC 6651) nor third parties (RFC 6541) are worth a look-up.
    (signature.r, signature.atps, signature.atpsh) = (false, None, None);
    Judged::Candidate(Box::new(Candidate { field: field.range.clone(), signature, known }))
}

/// What a signature says about itself (RFC 6376 §3.5, §6.1.1; RFC 8301; RFC 8463).
fn acceptable(tags: &Tags<'_>, now_secs: i64) -> Result<(), (DkimResult, &'static str)> {
    let perm = |why| Err((DkimResult::PermError, why));
    if tags.text("v") != "1" {
        return perm("unknown version");
    }
    let (Some(domain), Some(_)) = (tags.name("d", 2), tags.name("s", 1)) else {
        return perm("domain or selector is no name");
    };
    let identity = tags.text("i").rsplit_once('@').map(|(_, d)| d.to_ascii_lowercase());
    let below = |name: &str| name.strip_suffix(&*domain).is_some_and(|f| f.is_empty() || f.ends_with('.'));
    if tags.find("i").is_some() && !identity.is_some_and(|name| below(&name)) {
        return perm("identity of another domain");
    }
    match &*tags.text("a").to_ascii_lowercase() {
        "rsa-sha256" | "ed25519-sha256" => {}
        "rsa-sha1" => return perm("SHA-1 is not accepted"),
        _ => return perm("unknown algorithm"),
    }
    let signed: Vec<&str> = tags.text("h").split(':').collect();
    if !signed.iter().any(|name| name.eq_ignore_ascii_case("from")) {
        return perm("From is not signed");
    }
    if signed.len() > SIGNED_FIELDS_MAX {
        return perm("too many signed fields");
    }
    if tags.find("q").is_some_and(|q| !q.split(':').any(|m| m.eq_ignore_ascii_case("dns/txt"))) {
        return perm("unknown query method");
    }
    times(tags, now_secs)?;
    if tags.find("l").is_some() {
        return Err((DkimResult::Policy, "only a part of the body is signed (l=)"));
    }
    Ok(())
}

/// `t=` and `x=`: expired signatures fail, and so do those of the future.
fn times(tags: &Tags<'_>, now_secs: i64) -> Result<(), (DkimResult, &'static str)> {
    let number = |name| match tags.find(name) {
        None => Ok(None),
        Some(text) if (1..=12).contains(&text.len()) => {
            text.parse::<u64>().map(|n| Some(n as i64)).map_err(|_| (DkimResult::PermError, "bad time"))
        }
        Some(_) => Err((DkimResult::PermError, "bad time")),
    };
    let (signed, expires) = (number("t")?, number("x")?);
    if let (Some(signed), Some(expires)) = (signed, expires)
        && expires <= signed
    {
        return Err((DkimResult::PermError, "expires before it was made"));
    }
    if expires.is_some_and(|x| x <= now_secs) {
        return Err((DkimResult::Fail, "expired"));
    }
    if signed.is_some_and(|t| t > now_secs.saturating_add(CLOCK_SKEW_SECS)) {
        return Err((DkimResult::Fail, "dated in the future"));
    }
    Ok(())
}

/// A signature is as long as the key's modulus, so its length tells the size of the key.
pub fn key_size(algorithm: Algorithm, signature_len: usize) -> Result<(), &'static str> {
    match algorithm {
        Algorithm::Ed25519Sha256 if signature_len == 64 => Ok(()),
        Algorithm::Ed25519Sha256 => Err("signature of a wrong length"),
        Algorithm::RsaSha1 => Err("SHA-1 is not accepted"),
        Algorithm::RsaSha256 if signature_len * 8 < *RSA_BITS.start() => Err("RSA key is too short"),
        Algorithm::RsaSha256 if signature_len * 8 > *RSA_BITS.end() => Err("RSA key is too long"),
        Algorithm::RsaSha256 => Ok(()),
    }
}

/// What follows a field's colon, its final line end included, as canonicalisation needs it.
pub fn raw_value<'h>(header: &'h [u8], field: &Field<'_>) -> &'h [u8] {
    let colon = field.range.start + field.name.len();
    header.get(colon + 1..field.range.end).unwrap_or_default()
}

/// Name and value of every field, as they stand.
pub fn raw_fields(header: &[u8]) -> Vec<(&[u8], &[u8])> {
    Fields::new(header)
        .filter(|f| !f.name.is_empty())
        .map(|f| (&header[f.range.start..f.range.start + f.name.len()], raw_value(header, &f)))
        .collect()
}

pub fn with(mut known: Dkim, result: DkimResult, why: &str) -> Dkim {
    known.result = result;
    known.reason = Some(why.to_owned());
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn of(extra: &str) -> Dkim {
        let b = "A".repeat(342) + "==";
        let header = format!(
            "DKIM-Signature: v=1; a=rsa-sha256; d=legit.example; s=sel; h=From; bh=AAAA; b={b}{extra}\r\n\r\n"
        );
        match judge(header.as_bytes(), NOW).0.remove(0) {
            Judged::Done(dkim) => dkim,
            Judged::Candidate(candidate) => candidate.known,
        }
    }

    #[test]
    fn si29_a_length_limit_is_flagged_and_never_passes() {
        for extra in ["; l=0", "; l=5"] {
            let dkim = of(extra);
            assert_eq!((dkim.result, dkim.length_limited), (DkimResult::Policy, true), "{extra}");
        }
        assert!(!of("").length_limited);
        assert_eq!(of("").result, DkimResult::None);
    }

    #[test]
    fn si30_times() {
        let at = |t: i64, x: i64| of(&format!("; t={t}; x={x}")).result;
        assert_eq!(at(NOW - 20, NOW), DkimResult::Fail);
        assert_eq!(at(NOW - 20, NOW + 1), DkimResult::None);
        assert_eq!(at(NOW - 20, NOW - 30), DkimResult::PermError);
        assert_eq!(of(&format!("; t={}", NOW + CLOCK_SKEW_SECS)).result, DkimResult::None);
        assert_eq!(of(&format!("; t={}", NOW + CLOCK_SKEW_SECS + 1)).result, DkimResult::Fail);
        assert_eq!(of("; t=x").result, DkimResult::PermError);
        assert_eq!(of("; x=9999999999999999").result, DkimResult::PermError);
    }

    #[test]
    fn si30_sizes_of_keys() {
        for (bits, fine) in [(1016, false), (1024, true), (4096, true), (4104, false), (16_384, false)] {
            assert_eq!(key_size(Algorithm::RsaSha256, bits / 8).is_ok(), fine, "{bits}");
        }
        assert!(
            key_size(Algorithm::Ed25519Sha256, 63).is_err() && key_size(Algorithm::RsaSha1, 256).is_err()
        );
    }

    #[test]
    fn si23_names_that_would_be_cut_are_never_asked_for() {
        for (d, s) in [
            ("legit.example", "sel._domainkey.attack.example.\0.any"),
            ("legit.example'a.attack.example", "sel"),
        ] {
            let header =
                format!("DKIM-Signature: v=1; a=rsa-sha256; d={d}; s={s}; h=From; bh=AAAA; b=AAAA\r\n\r\n");
            let Judged::Done(dkim) = judge(header.as_bytes(), NOW).0.remove(0) else { panic!("{d} {s}") };
            assert_eq!(dkim.result, DkimResult::PermError);
        }
    }

    #[test]
    fn what_must_be_there() {
        for (header, why) in [
            ("a=rsa-sha256; d=a.b; s=s; h=From; bh=AA; b=AA", "unknown version"),
            ("v=1; a=rsa-sha1; d=a.b; s=s; h=From; bh=AA; b=AA", "SHA-1 is not accepted"),
            ("v=1; a=rsa-sha256; d=a.b; s=s; h=To; bh=AA; b=AA", "From is not signed"),
            ("v=1; a=rsa-sha256; d=a.b; i=@xa.b; s=s; h=From; bh=AA; b=AA", "identity of another domain"),
            ("v=1; a=rsa-sha256; d=a.b; s=s; q=http; h=From; bh=AA; b=AA", "unknown query method"),
            ("v=1; a=rsa-sha256; d=a.b; s=s; h=From; bh=AAAA; b=AAAA", "RSA key is too short"),
            ("v=1; a=rsa-sha256; d=a.b; s=s; h=From; b=AAAA", "malformed signature"),
        ] {
            let field = format!("DKIM-Signature: {header}\r\n\r\n");
            let Judged::Done(dkim) = judge(field.as_bytes(), NOW).0.remove(0) else { panic!("{header}") };
            assert_eq!((dkim.result, dkim.reason.as_deref()), (DkimResult::PermError, Some(why)), "{header}");
        }
    }

    #[test]
    fn signatures_and_signed_fields_have_limits() {
        let b = "A".repeat(342) + "==";
        let one = |fields: usize| {
            let h = vec!["From"; fields].join(":");
            format!("DKIM-Signature: v=1; a=rsa-sha256; d=a.example; s=s; h={h}; bh=AAAA; b={b}\r\n")
        };
        let is_candidate = |fields| matches!(judge(one(fields).as_bytes(), NOW).0[0], Judged::Candidate(_));
        assert!(is_candidate(SIGNED_FIELDS_MAX) && !is_candidate(SIGNED_FIELDS_MAX + 1));
        for (count, ignored) in [(SIGNATURES_MAX, 0), (SIGNATURES_MAX + 1, 1)] {
            let (judged, more) = judge(one(1).repeat(count).as_bytes(), NOW);
            assert_eq!((judged.len(), more), (SIGNATURES_MAX, ignored));
        }
    }
}
