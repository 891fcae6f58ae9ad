//! Records that were made from a wildcard. Their signature is that of the wildcard: they count only with a proof that
//! there is nothing closer to the name.
//!
//! The validator looks for that proof too, but denies it where an NSEC shows the wildcard as the record before the
//! name, which is the usual case, and where an alias and its target stand in one answer. So it is looked for here.

use hickory_proto::dnssec::Proof;
use hickory_proto::dnssec::rdata::{DNSSECRData, NSEC, NSEC3};
use hickory_proto::rr::{Name, RData, Record};

use super::secure::ITERATIONS_INSECURE;

/// The names in an answer whose proved records were made from a wildcard, each with the number of labels below
/// which the wildcard stands (RFC 4034 §3.1.3).
pub(super) fn from_wildcards(answers: &[Record]) -> Vec<(&Name, u8)> {
    let labels = |r: &Record| match &r.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) if r.proof == Proof::Secure => {
            Some(signature.input().num_labels).filter(|labels| *labels < r.name.num_labels())
        }
        _ => None,
    };
    answers.iter().filter_map(|r| Some((&r.name, labels(r)?))).collect()
}

/// Whether a proved record says that there is nothing closer to a name than the wildcard below these labels.
pub(super) fn nothing_is_closer(authorities: &[Record], at: &Name, labels: u8) -> bool {
    let mut proved = authorities.iter().filter(|r| r.proof == Proof::Secure);
    proved.any(|r| match &r.data {
        RData::DNSSEC(DNSSECRData::NSEC(nsec)) => nsec_says(&r.name, nsec, at, labels),
        RData::DNSSEC(DNSSECRData::NSEC3(nsec3)) => nsec3_says(&r.name, nsec3, at, labels),
        _ => false,
    })
}

/// RFC 4035 §5.3.4: it covers the name, and what it shows to exist has no more labels in common with it.
fn nsec_says(owner: &Name, nsec: &NSEC, at: &Name, labels: u8) -> bool {
    let next = nsec.next_domain_name();
    // RFC 6840 §4.1: the parent's side of a zone cut says nothing of what is below it.
    let cut = nsec.is_ancestor_delegation() && owner.zone_of(at);
    let last = next <= owner;
    let covers = owner < at && (at < next || last && next.zone_of(at)) && !cut;
    covers && in_common(owner, at).max(in_common(next, at)) == usize::from(labels)
}

/// RFC 5155 §8.8: it covers the hash of the name that has one label more than what the wildcard stands below.
/// One with the Opt-Out flag may cover a delegation and says nothing.
fn nsec3_says(owner: &Name, nsec3: &NSEC3, at: &Name, labels: u8) -> bool {
    let zone = owner.base_name();
    let of_the_zone = zone.zone_of(at) && zone.num_labels() <= labels;
    if nsec3.opt_out() || nsec3.iterations() > ITERATIONS_INSECURE || !of_the_zone {
        return false;
    }
    let closer = at.trim_to(usize::from(labels) + 1);
    let hash = nsec3.hash_algorithm().hash(nsec3.salt(), &closer, nsec3.iterations());
    let (Ok(hash), Some(first)) = (hash, owner.iter().next()) else { return false };
    let (hash, owner) = (base32hex(hash.as_ref()), first.to_ascii_lowercase());
    let next = base32hex(nsec3.next_hashed_owner_name());
    match owner < next {
        true => owner < hash && hash < next,
        false => hash > owner || hash < next, // the last of the zone
    }
}

/// RFC 4648 §7, lower case, without padding: sorts as the octets do.
fn base32hex(octets: &[u8]) -> Vec<u8> {
    let bit = |n: usize| octets.get(n / 8).map_or(0, |octet| octet >> (7 - n % 8) & 1);
    let digits = (octets.len() * 8).div_ceil(5);
    let value = |digit: usize| (0..5).fold(0, |value, n| value << 1 | bit(digit * 5 + n));
    (0..digits).map(|digit| b"0123456789abcdefghijklmnopqrstuv"[usize::from(value(digit))]).collect()
}

/// Labels that two names share at their ends.
fn in_common(a: &Name, b: &Name) -> usize {
    let same = |(x, y): &(&[u8], &[u8])| x.eq_ignore_ascii_case(y);
    a.iter().rev().zip(b.iter().rev()).take_while(same).count()
}

#[cfg(test)]
mod tests {
    use hickory_proto::dnssec::Nsec3HashAlgorithm;
    use hickory_proto::rr::RecordType;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    #[test]
    fn what_was_made_from_a_wildcard_needs_a_proof_that_nothing_is_closer() {
        let nsec = |owner: &str, next: &str, types: &[RecordType]| {
            let data = NSEC::new(name(next), types.iter().copied());
            let mut record = Record::from_rdata(name(owner), 60, RData::DNSSEC(DNSSECRData::NSEC(data)));
            record.proof = Proof::Secure;
            record
        };
        let at = name("x.any.good.test.");
        let proves = |record: Record| nothing_is_closer(&[record], &at, 3);
        assert!(proves(nsec("*.any.good.test.", "mx.good.test.", &[RecordType::MX])));
        assert!(proves(nsec("any.good.test.", "y.any.good.test.", &[RecordType::A])));
        assert!(proves(nsec("*.any.good.test.", "good.test.", &[RecordType::MX])), "the last of the zone");
        let mut bogus = nsec("*.any.good.test.", "mx.good.test.", &[RecordType::MX]);
        bogus.proof = Proof::Bogus;
        assert!(!proves(bogus));
        assert!(
            !proves(nsec("mx.good.test.", "z.good.test.", &[RecordType::MX])),
            "it does not cover the name"
        );
        assert!(
            !proves(nsec("*.any.good.test.", "a.x.any.good.test.", &[RecordType::MX])),
            "the name exists"
        );
        assert!(
            !proves(nsec("a.good.test.", "mx.good.test.", &[RecordType::A])),
            "the wildcard is not the closest"
        );
        assert!(!proves(nsec("any.good.test.", "mx.good.test.", &[RecordType::NS])), "a zone cut");
    }

    /// The zone and the hashes of RFC 5155 appendix B.4, and A.
    #[test]
    fn nsec3_covers_the_next_closer_name() {
        assert_eq!(base32hex(b"foobar"), b"cpnmuoj1e8");
        let salt = vec![0xaa, 0xbb, 0xcc, 0xdd];
        let nsec3 = |owner: &str, next: &str, opt_out: bool| {
            let octets = decoded(next);
            let (sha1, types) = (Nsec3HashAlgorithm::SHA1, [RecordType::MX]);
            let data = NSEC3::new(sha1, opt_out, 12, salt.clone(), octets, types);
            let owner = name(&format!("{owner}.example."));
            let mut record = Record::from_rdata(owner, 60, RData::DNSSEC(DNSSECRData::NSEC3(data)));
            record.proof = Proof::Secure;
            record
        };
        let (at, below) = (name("a.z.w.example."), 2);
        // z.w.example is qlu7gtfaeh0ek0c05ksfhdpbcgglbe03.
        let covering = ["q04jkcevqvmu85r014c7dkba38o0ji5r", "r53bq7cc2uvmubfu5ocmm6pers9tk9en"];
        assert!(nothing_is_closer(&[nsec3(covering[0], covering[1], false)], &at, below));
        assert!(!nothing_is_closer(&[nsec3(covering[0], covering[1], true)], &at, below), "opt-out");
        assert!(!nothing_is_closer(&[nsec3(covering[0], covering[1], false)], &name("a.z.w.other."), below));
        let elsewhere = nsec3("0p9mhaveqvm6t7vbl5lop2u3t2rp3tom", "2t7b4g4vsa5smi47k61mv5bv1a22bojr", false);
        assert!(!nothing_is_closer(&[elsewhere], &at, below));
        let around = nsec3(covering[0], "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom", false);
        assert!(nothing_is_closer(&[around], &at, below), "the last of the zone");
    }

    fn decoded(text: &str) -> Vec<u8> {
        let digits = b"0123456789abcdefghijklmnopqrstuv";
        let value = |c: u8| digits.iter().position(|d| *d == c).unwrap();
        let bits: Vec<bool> =
            text.bytes().flat_map(|c| (0..5).rev().map(move |n| value(c) >> n & 1 == 1)).collect();
        bits.chunks_exact(8)
            .map(|bits| bits.iter().fold(0, |octet, bit| octet << 1 | u8::from(*bit)))
            .collect()
    }
}
