//! The ARC chain of a message (RFC 8617), judged as far as that goes without DNS.

use std::ops::Range;

use mail_auth::arc::{ChainValidation, Results, Seal, Signature};
use protocol_core::message::header::unfold;
use protocol_core::message::{Field, Fields};

use crate::signatures::{key_size, raw_value};
use crate::tags::{SIGNED_FIELDS_MAX, Tags};

/// Sets of one chain (RFC 8617 §4.2.1).
pub const ARC_SETS_MAX: usize = 50;

/// A chain whose form is right: its sets in order.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// The ARC-Seals.
    pub seals: Vec<(Range<usize>, Seal)>,
    /// The ARC-Message-Signatures.
    pub signatures: Vec<(Range<usize>, Signature)>,
    /// The ARC-Authentication-Results, with their unfolded values.
    pub results: Vec<(Range<usize>, Results, String)>,
}

/// Reads the chain of a header; `None` when there is none.
///
/// # Errors
/// Why the chain fails as it stands.
pub fn read(header: &[u8]) -> Result<Option<Chain>, &'static str> {
    let of = |name: &'static str| Fields::new(header).filter(move |f| f.is(name));
    let counts = ["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"].map(|n| of(n).count());
    if counts == [0, 0, 0] {
        return Ok(None);
    }
    if counts.iter().any(|n| *n > ARC_SETS_MAX) {
        return Err("more than 50 ARC sets");
    }
    if counts[0] != counts[1] || counts[0] != counts[2] {
        return Err("incomplete ARC set");
    }
    let mut chain = Chain::default();
    for field in of("ARC-Seal") {
        chain.seals.push((field.range.clone(), seal(header, &field)?));
    }
    for field in of("ARC-Message-Signature") {
        chain.signatures.push((field.range.clone(), signature(header, &field)?));
    }
    for field in of("ARC-Authentication-Results") {
        let results = Results::parse(raw_value(header, &field)).map_err(|_| "malformed ARC results")?;
        let text = String::from_utf8_lossy(&unfold(field.value)).into_owned();
        chain.results.push((field.range.clone(), results, text));
    }
    chain.seals.sort_by_key(|(_, s)| s.i);
    chain.signatures.sort_by_key(|(_, s)| s.i);
    chain.results.sort_by_key(|(_, r, _)| r.i);
    chain.check()?;
    Ok(Some(chain))
}

impl Chain {
    /// Instances run from 1 without a gap, and each seal says what it must of the chain below it.
    fn check(&self) -> Result<(), &'static str> {
        for (n, (((_, seal), (_, signature)), (_, results, _))) in
            self.seals.iter().zip(&self.signatures).zip(&self.results).enumerate()
        {
            let instance = n as u32 + 1;
            if [seal.i, signature.i, results.i] != [instance; 3] {
                return Err("ARC instances are not in order");
            }
            let wanted = if n == 0 { ChainValidation::None } else { ChainValidation::Pass };
            if seal.cv != wanted {
                return Err("an ARC seal says that the chain fails");
            }
        }
        Ok(())
    }
}

fn seal(header: &[u8], field: &Field<'_>) -> Result<Seal, &'static str> {
    let tags = Tags::read(field.value)?;
    names(&tags)?;
    let seal = Seal::parse(raw_value(header, field)).map_err(|_| "malformed ARC seal")?;
    key_size(seal.a, seal.b.len())?;
    Ok(seal)
}

fn signature(header: &[u8], field: &Field<'_>) -> Result<Signature, &'static str> {
    let tags = Tags::read(field.value)?;
    names(&tags)?;
    if tags.find("l").is_some() {
        return Err("only a part of the body is signed (l=)");
    }
    let signed = tags.text("h").split(':');
    if signed.clone().count() > SIGNED_FIELDS_MAX {
        return Err("too many signed fields");
    }
    // RFC 8617 §4.1.2: the seals are signed by seals alone.
    if signed.clone().any(|name| name.eq_ignore_ascii_case("arc-seal")) {
        return Err("an ARC signature covers seals");
    }
    if !signed.clone().any(|name| name.eq_ignore_ascii_case("from")) {
        return Err("From is not signed");
    }
    let signature = Signature::parse(raw_value(header, field)).map_err(|_| "malformed ARC signature")?;
    key_size(signature.a, signature.b.len())?;
    Ok(signature)
}

fn names(tags: &Tags<'_>) -> Result<(), &'static str> {
    let (domain, selector) = (tags.name("d", 2), tags.name("s", 1));
    domain.and(selector).map(drop).ok_or("domain or selector is no name")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(i: usize, cv: &str) -> String {
        let b = "A".repeat(342) + "==";
        format!(
            "ARC-Seal: i={i}; a=rsa-sha256; cv={cv}; d=relay.example; s=s; b={b}\r\n\
             ARC-Message-Signature: i={i}; a=rsa-sha256; d=relay.example; s=s; h=From; bh=AAAA; b={b}\r\n\
             ARC-Authentication-Results: i={i}; relay.example; dmarc=pass\r\n"
        )
    }

    #[test]
    fn si28_a_chain_has_fifty_sets_at_most() {
        let chain = |n: usize| {
            let sets: String = (1..=n).map(|i| set(i, if i == 1 { "none" } else { "pass" })).collect();
            read(format!("{sets}\r\n").as_bytes()).map(|c| c.map(|c| c.seals.len()))
        };
        assert_eq!(chain(0), Ok(None));
        assert_eq!(chain(50), Ok(Some(50)));
        assert_eq!(chain(51), Err("more than 50 ARC sets"));
        assert!(read(set(51, "none").as_bytes()).is_err());
    }

    #[test]
    fn a_chain_must_be_whole_and_in_order() {
        let whole = set(1, "none") + &set(2, "pass");
        assert!(read(whole.as_bytes()).is_ok());
        assert!(read((set(2, "pass") + &set(1, "none")).as_bytes()).is_ok());
        for bad in [
            set(1, "pass"),
            set(1, "none") + &set(2, "fail"),
            set(1, "none") + &set(3, "pass"),
            set(1, "none") + &set(1, "none"),
            set(1, "none").replace("ARC-Seal", "X-Seal"),
            set(1, "none").replace("h=From", "h=To"),
            set(1, "none").replace("h=From", "h=From:ARC-Seal"),
            set(1, "none").replace("h=From", "l=0; h=From"),
            set(1, "none").replace("d=relay.example", "d=relay.example'x.y"),
        ] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
