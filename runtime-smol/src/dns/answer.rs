//! What an answer says of a name, aliases (CNAME) followed, and how far DNSSEC proves it.
//!
//! The validator marks each record with a proof and may hand out an answer that holds bogus ones. Here nothing is
//! taken from it but records that are proved, or that provably lie outside of DNSSEC; one that is neither makes
//! the whole answer a failure.

use hickory_proto::dnssec::Proof;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use protocol_smtp::route::DnsFailure;

/// Aliases that are followed from one name.
pub(super) const ALIASES_MAX: usize = 8;

/// What was found at the end of the aliases.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// At least one, all of the type that was asked for.
    Records(Vec<RData>),
    NoData,
    NxDomain,
    Failed(DnsFailure),
}

/// The answer to one question.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    /// Where the aliases lead; the name itself without aliases.
    pub(super) expanded: Name,
    /// Every record that was used, and the denial when there is none, is proved.
    pub(super) secure: bool,
    /// What stands at the name itself, an alias or what was asked for, is proved.
    pub(super) first_secure: bool,
}

impl Answer {
    pub(super) fn failed(name: &Name, why: DnsFailure) -> Answer {
        Answer { outcome: Outcome::Failed(why), expanded: name.clone(), secure: false, first_secure: false }
    }
}

/// How far a question has come.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// The name that is asked for at this step: the question's own, or where aliases have led.
    pub(super) at: Name,
    pub(super) aliases: usize,
    secure: bool,
    first_secure: Option<bool>,
    /// The shortest time that anything used may be kept.
    pub(super) ttl: u32,
}

/// What one message holds for a way.
#[derive(Debug)]
pub(super) enum Found {
    Records(Vec<RData>),
    /// Nothing at the name the way has come to.
    Nothing,
}

/// Whether proofs are looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Trust {
    /// Only what is proved, or proved to be outside of DNSSEC.
    Proved,
    /// Everything: nothing was validated, nothing is called secure.
    Anything,
}

impl Way {
    pub(super) fn new(name: &Name) -> Way {
        Way { at: name.clone(), aliases: 0, secure: true, first_secure: None, ttl: u32::MAX }
    }

    /// Goes as far as these records lead.
    pub(super) fn follow(
        &mut self,
        answers: &[Record],
        kind: RecordType,
        trust: Trust,
    ) -> Result<Found, DnsFailure> {
        loop {
            let here = |kind: RecordType| {
                answers.iter().filter(move |r| r.record_type() == kind).filter(|r| r.name == self.at)
            };
            let records: Vec<&Record> = here(kind).collect();
            let aliases: Vec<&Record> = here(RecordType::CNAME).collect();
            if !records.is_empty() {
                let found = records.iter().map(|r| r.data.clone()).collect();
                self.used(&records, trust)?;
                return Ok(Found::Records(found));
            }
            let Some(RData::CNAME(target)) = aliases.first().map(|r| &r.data) else {
                return Ok(Found::Nothing);
            };
            if aliases.len() > 1 {
                return Err(DnsFailure::ServFail);
            }
            let target = target.0.clone();
            self.used(&aliases, trust)?;
            self.aliases += 1;
            if self.aliases > ALIASES_MAX {
                return Err(DnsFailure::CnameLoop);
            }
            self.at = target;
        }
    }

    /// Notes what the records of one set are worth.
    fn used(&mut self, records: &[&Record], trust: Trust) -> Result<(), DnsFailure> {
        let secure = match trust {
            Trust::Anything => false,
            Trust::Proved => proof_of(records)?,
        };
        self.note(secure, records.iter().map(|r| r.ttl).min().unwrap_or_default());
        Ok(())
    }

    fn note(&mut self, secure: bool, ttl: u32) {
        self.secure &= secure;
        self.first_secure.get_or_insert(secure);
        self.ttl = self.ttl.min(ttl);
    }

    /// The way does not count as secure, whatever its records are worth.
    pub(super) fn is_not_secure(&mut self) {
        (self.secure, self.first_secure) = (false, Some(false));
    }

    pub(super) fn ends(self, outcome: Outcome) -> Answer {
        let first_secure = self.first_secure.unwrap_or(false);
        Answer { outcome, expanded: self.at, secure: self.secure, first_secure }
    }

    /// The end with nothing found; `secure` says whether that is proved.
    pub(super) fn denied(mut self, outcome: Outcome, secure: bool, ttl: u32) -> (Answer, u32) {
        self.note(secure, ttl);
        let ttl = self.ttl;
        (self.ends(outcome), ttl)
    }
}

/// Whether the records of one set are secure (true) or provably insecure (false). Records of one set that are
/// worth different things are a sign that somebody added to it.
fn proof_of(records: &[&Record]) -> Result<bool, DnsFailure> {
    match records {
        _ if records.iter().all(|r| r.proof == Proof::Secure) => Ok(true),
        _ if records.iter().all(|r| r.proof == Proof::Insecure) => Ok(false),
        _ => Err(DnsFailure::Bogus),
    }
}

/// Whether a denial that the validator has accepted is proved (true), or the name lies outside of DNSSEC (false).
/// `at` is the name that was asked for.
///
/// Proved is what holds a proved record that says so (NSEC, NSEC3). Else the validator accepted it because the zone
/// is not signed, and it looks at any zone that the answer names: one that has nothing to do with the name must
/// not speak for it.
pub(super) fn denial_is_proved(authorities: &[Record], at: &Name) -> Result<bool, DnsFailure> {
    let denies = |r: &Record| matches!(r.record_type(), RecordType::NSEC | RecordType::NSEC3);
    if authorities.iter().any(|r| r.proof == Proof::Secure && denies(r)) {
        return Ok(true);
    }
    let insecure = !authorities.is_empty() && authorities.iter().all(|r| r.proof == Proof::Insecure);
    match insecure && !authorities.iter().any(|r| r.name.zone_of(at)) {
        true => Err(DnsFailure::Bogus),
        false => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{A, CNAME};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn address(at: &str, last: u8, proof: Proof) -> Record {
        let mut record = Record::from_rdata(name(at), 300, RData::A(A::new(192, 0, 2, last)));
        record.proof = proof;
        record
    }

    fn alias(at: &str, to: &str, proof: Proof) -> Record {
        let mut record = Record::from_rdata(name(at), 60, RData::CNAME(CNAME(name(to))));
        record.proof = proof;
        record
    }

    fn ask(records: &[Record]) -> Result<Answer, DnsFailure> {
        let mut way = Way::new(&name("a.test."));
        match way.follow(records, RecordType::A, Trust::Proved)? {
            Found::Records(records) => Ok(way.ends(Outcome::Records(records))),
            Found::Nothing => Ok(way.denied(Outcome::NoData, true, 60).0),
        }
    }

    /// The validator may return bogus records without an error, and several proofs in one answer.
    #[test]
    fn dt4_an_answer_counts_only_when_every_record_that_is_used_is_proved() {
        use Proof::*;
        let one = |proof| ask(&[address("a.test.", 1, proof)]);
        assert!(one(Secure).unwrap().secure);
        assert!(!one(Insecure).unwrap().secure);
        assert_eq!(one(Bogus), Err(DnsFailure::Bogus));
        assert_eq!(one(Indeterminate), Err(DnsFailure::Bogus));
        for other in [Insecure, Bogus, Indeterminate] {
            let mixed = [address("a.test.", 1, Secure), address("a.test.", 2, other)];
            assert_eq!(ask(&mixed), Err(DnsFailure::Bogus), "{other}");
        }
        // What is not used does no harm.
        let beside = [address("a.test.", 1, Secure), address("b.test.", 2, Bogus)];
        assert!(ask(&beside).unwrap().secure);
    }

    #[test]
    fn dt4_aliases_are_part_of_the_way() {
        use Proof::*;
        let way = |first, second| ask(&[address("b.test.", 1, second), alias("A.test.", "b.test.", first)]);
        let secure = way(Secure, Secure).unwrap();
        assert_eq!((secure.secure, secure.first_secure), (true, true));
        assert_eq!(secure.expanded, name("b.test."));
        let leaves = way(Secure, Insecure).unwrap();
        assert_eq!((leaves.secure, leaves.first_secure), (false, true));
        let enters = way(Insecure, Secure).unwrap();
        assert_eq!((enters.secure, enters.first_secure), (false, false));
        assert_eq!(way(Bogus, Secure), Err(DnsFailure::Bogus));
        assert_eq!(way(Secure, Bogus), Err(DnsFailure::Bogus));
        let denied = ask(&[alias("a.test.", "b.test.", Insecure)]).unwrap();
        assert_eq!((denied.outcome, denied.secure), (Outcome::NoData, false));
    }

    #[test]
    fn dt5_aliases_in_a_circle_or_too_many_are_a_failure() {
        let circle = [alias("a.test.", "b.test.", Proof::Secure), alias("b.test.", "a.test.", Proof::Secure)];
        assert_eq!(ask(&circle), Err(DnsFailure::CnameLoop));
        let chain = |n: usize| -> Vec<Record> {
            let at = |i: usize| if i == 0 { "a.test.".to_owned() } else { format!("n{i}.test.") };
            (0..n).map(|i| alias(&at(i), &at(i + 1), Proof::Secure)).collect()
        };
        assert!(ask(&chain(ALIASES_MAX)).is_ok());
        assert_eq!(ask(&chain(ALIASES_MAX + 1)), Err(DnsFailure::CnameLoop));
        let two = [alias("a.test.", "b.test.", Proof::Secure), alias("a.test.", "c.test.", Proof::Secure)];
        assert_eq!(ask(&two), Err(DnsFailure::ServFail));
    }

    /// CVE-2026-0118 and its like: the zone in the authority section is not the one that was asked about.
    #[test]
    fn dt5_a_zone_that_has_nothing_to_do_with_the_name_denies_nothing() {
        let at = name("_25._tcp.mx.good.test.");
        let zone = |owner: &str, proof: Proof| {
            let mut record = address(owner, 1, proof); // its type does not matter, but for NSEC
            record.proof = proof;
            record
        };
        let denial = |records: &[Record]| denial_is_proved(records, &at);
        assert_eq!(denial(&[]), Ok(false));
        assert_eq!(denial(&[zone("good.test.", Proof::Insecure)]), Ok(false));
        assert_eq!(denial(&[zone("other.test.", Proof::Insecure)]), Err(DnsFailure::Bogus));
        let both = [zone("other.test.", Proof::Insecure), zone("good.test.", Proof::Insecure)];
        assert_eq!(denial(&both), Ok(false));
    }
}
