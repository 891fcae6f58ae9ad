//! What the checks of a message's origin found (RFC 7208, 6376, 8617, 9989), as plain values: who evaluates
//! them, who decides by them and who writes them into header fields share these and nothing else.
//!
//! Every text in here may come from the peer. Whoever writes one into a header, a reply or a log line makes it
//! harmless there.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

macro_rules! names {
    ($type:ident { $($variant:ident => $name:literal,)* }) => {
        impl $type {
            /// The name in an Authentication-Results field (RFC 8601 §2.7).
            pub fn name(self) -> &'static str {
                match self { $($type::$variant => $name,)* }
            }

            /// The result of that name, in any letter case.
            pub fn from_name(name: &str) -> Option<$type> {
                [$(($name, $type::$variant),)*]
                    .into_iter()
                    .find(|(known, _)| name.eq_ignore_ascii_case(known))
                    .map(|(_, result)| result)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

/// Results of check_host() (RFC 7208 §2.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum SpfResult {
    #[default]
    None,
    Neutral,
    Pass,
    Fail,
    SoftFail,
    TempError,
    PermError,
}

names!(SpfResult {
    None => "none",
    Neutral => "neutral",
    Pass => "pass",
    Fail => "fail",
    SoftFail => "softfail",
    TempError => "temperror",
    PermError => "permerror",
});

/// Which identity SPF judged (RFC 7208 §2.3, §2.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpfIdentity {
    /// The name given in HELO or EHLO.
    Helo,
    /// The reverse-path; for a null one `postmaster` at the HELO name.
    #[default]
    MailFrom,
}

/// What SPF found for one identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spf {
    /// Which identity.
    pub identity: SpfIdentity,
    /// Its domain, an A-label in lower case; what was given when it is no domain.
    pub domain: String,
    /// The result.
    pub result: SpfResult,
    /// The directive that matched, as published; `default` when none did.
    pub mechanism: Option<String>,
    /// The domain's explanation of a `fail` (RFC 7208 §6.2), at most 512 octets of ASCII.
    pub explanation: Option<String>,
    /// What was wrong, for `temperror` and `permerror`.
    pub problem: Option<String>,
}

/// Results of a DKIM signature (RFC 8601 §2.7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DkimResult {
    /// There is no signature.
    #[default]
    None,
    /// It holds.
    Pass,
    /// It does not hold, or its time has passed or not come.
    Fail,
    /// It may hold, but some property of it is not accepted here (`l=`).
    Policy,
    /// It could not be processed.
    Neutral,
    /// Its key could not be asked for.
    TempError,
    /// It or its key is malformed or not acceptable.
    PermError,
}

names!(DkimResult {
    None => "none",
    Pass => "pass",
    Fail => "fail",
    Policy => "policy",
    Neutral => "neutral",
    TempError => "temperror",
    PermError => "permerror",
});

/// What became of one DKIM signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dkim {
    /// The result.
    pub result: DkimResult,
    /// `d=`.
    pub domain: String,
    /// `s=`.
    pub selector: String,
    /// `i=`, empty when not given.
    pub identity: String,
    /// `a=`.
    pub algorithm: String,
    /// The first eight characters of `b=`, which tell signatures apart (RFC 6008).
    pub signature_start: String,
    /// `l=` was given: octets can stand behind what was signed.
    pub length_limited: bool,
    /// Why, unless it passed.
    pub reason: Option<String>,
}

/// Results of an ARC chain (RFC 8617 §4.4, RFC 8601 §2.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum ArcResult {
    #[default]
    None,
    Pass,
    Fail,
    TempError,
}

names!(ArcResult {
    None => "none",
    Pass => "pass",
    Fail => "fail",
    TempError => "temperror",
});

/// One set of an ARC chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArcSet {
    /// `i=`.
    pub instance: u32,
    /// `d=` of the ARC-Seal, in lower case.
    pub sealer: String,
    /// Value of the ARC-Authentication-Results field, unfolded.
    pub results: String,
}

/// What became of the ARC chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArcChain {
    /// The result.
    pub result: ArcResult,
    /// The sets in order, oldest first; empty unless the chain passed.
    pub sets: Vec<ArcSet>,
    /// Why, when it did not pass.
    pub reason: Option<String>,
}

/// Results of DMARC (RFC 8601 §2.7, RFC 9989 §5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum DmarcResult {
    #[default]
    None,
    Pass,
    Fail,
    TempError,
    PermError,
}

names!(DmarcResult {
    None => "none",
    Pass => "pass",
    Fail => "fail",
    TempError => "temperror",
    PermError => "permerror",
});

/// What a domain asks receivers to do with mail that fails (RFC 9989 §4.7); the strictest is the greatest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum DmarcPolicy {
    #[default]
    None,
    Quarantine,
    Reject,
}

names!(DmarcPolicy {
    None => "none",
    Quarantine => "quarantine",
    Reject => "reject",
});

/// A DMARC record as published (RFC 9989 §4.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishedPolicy {
    /// `p=`.
    pub policy: DmarcPolicy,
    /// `sp=`.
    pub subdomains: Option<DmarcPolicy>,
    /// `np=`.
    pub non_existent: Option<DmarcPolicy>,
    /// `adkim=s`.
    pub strict_dkim: bool,
    /// `aspf=s`.
    pub strict_spf: bool,
    /// `t=y`.
    pub testing: bool,
}

/// What DMARC found for the domain of the From field; for several domains, for the strictest of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dmarc {
    /// The result.
    pub result: DmarcResult,
    /// The domain of the From field, an A-label in lower case.
    pub domain: String,
    /// The policy that holds for it.
    pub policy: DmarcPolicy,
    /// What its record says; `None` without one.
    pub published: Option<PublishedPolicy>,
    /// SPF passed for an aligned domain.
    pub spf_aligned: bool,
    /// A DKIM signature of an aligned domain passed.
    pub dkim_aligned: bool,
    /// Addresses that aggregate reports are asked for at (`rua=`), without `mailto:`.
    pub report_to: Vec<String>,
}

/// Results of the reverse look-up of the peer's address (RFC 8601 §2.7.3, §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IprevResult {
    /// A name leads back to the address.
    Pass,
    /// The names do not lead back.
    Fail,
    /// DNS did not answer.
    TempError,
    /// There is no name.
    #[default]
    PermError,
}

names!(IprevResult {
    Pass => "pass",
    Fail => "fail",
    TempError => "temperror",
    PermError => "permerror",
});

/// What the reverse look-up found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Iprev {
    /// The result.
    pub result: IprevResult,
    /// The name that leads back to the address, in lower case without final dot.
    pub name: Option<String>,
}

/// What the message itself showed, after its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageResults {
    /// One for each signature looked at, in the message's order; empty without signatures.
    pub dkim: Vec<Dkim>,
    /// Signatures that were not looked at, for there were more than are verified.
    pub dkim_ignored: usize,
    /// The chain.
    pub arc: ArcChain,
    /// DMARC; `none` when From names no domain.
    pub dmarc: Dmarc,
}

impl MessageResults {
    /// The one result that stands for all signatures: a pass if any passed, else a failure of DNS if there was
    /// one, else that of the first signature.
    pub fn dkim_overall(&self) -> DkimResult {
        let any = |wanted| self.dkim.iter().any(|d| d.result == wanted);
        if any(DkimResult::Pass) {
            DkimResult::Pass
        } else if any(DkimResult::TempError) {
            DkimResult::TempError
        } else {
            self.dkim.first().map_or(DkimResult::None, |d| d.result)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for result in [SpfResult::None, SpfResult::Pass, SpfResult::SoftFail, SpfResult::PermError] {
            assert_eq!(SpfResult::from_name(result.name()), Some(result));
        }
        assert_eq!(DkimResult::from_name("PASS"), Some(DkimResult::Pass));
        assert_eq!(DmarcResult::from_name("bestguesspass"), None);
    }

    #[test]
    fn one_passing_signature_is_a_pass_and_dns_comes_before_a_failure() {
        let with = |results: &[DkimResult]| MessageResults {
            dkim: results.iter().map(|r| Dkim { result: *r, ..Dkim::default() }).collect(),
            ..MessageResults::default()
        };
        assert_eq!(with(&[]).dkim_overall(), DkimResult::None);
        assert_eq!(with(&[DkimResult::Fail, DkimResult::Pass]).dkim_overall(), DkimResult::Pass);
        assert_eq!(with(&[DkimResult::Fail, DkimResult::TempError]).dkim_overall(), DkimResult::TempError);
        assert_eq!(with(&[DkimResult::Policy, DkimResult::Fail]).dkim_overall(), DkimResult::Policy);
    }
}
