//! What leads to the hosts of a destination, and how far it is proved: MX, addresses and TLSA records.

use std::net::IpAddr;

use futures_lite::future;
use hickory_proto::rr::{Name, RData, RecordType};
use protocol_smtp::route::dane::{self, Expansion, Tlsa};
use protocol_smtp::route::posture::TlsaAnswer;
use protocol_smtp::route::{AddressAnswer, DnsFailure, Mx, MxAnswer};

use super::answer::{Answer, Found, Outcome, Trust, Way};
use super::{Missing, Resolver};

/// Whom a question goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// The resolver that validates.
    Validated,
    /// The one that does not: nothing counts as secure.
    Plainly,
}

/// An answer, and what is known of the way to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen<T> {
    /// What was said.
    pub answer: T,
    /// Where the aliases of the name lead, lower case, without final dot; the name itself without aliases.
    pub expanded: String,
    /// All of it is proved.
    pub secure: bool,
    /// What stands at the name itself is proved, though an alias may lead out of DNSSEC.
    pub first_secure: bool,
}

impl<T> Seen<T> {
    fn new(answer: T, of: &Answer) -> Seen<T> {
        let Answer { secure, first_secure, .. } = *of;
        Seen { answer, expanded: text(&of.expanded), secure, first_secure }
    }
}

impl Resolver {
    /// Whether the name servers leave out what DNSSEC needs, so that nothing can be proved.
    pub async fn is_stripped(&self) -> bool {
        self.validator.is_stripped().await
    }

    /// The MX records of a domain (an A-label).
    pub async fn mx(&self, domain: &str, asking: Asking) -> Seen<MxAnswer> {
        let found = self.question(domain, RecordType::MX, asking).await;
        let answer = match &found.outcome {
            Outcome::Records(records) => MxAnswer::Records(records.iter().filter_map(mx).collect()),
            Outcome::NoData => MxAnswer::NoData,
            Outcome::NxDomain => MxAnswer::NxDomain,
            Outcome::Failed(why) => MxAnswer::Failed(*why),
        };
        Seen::new(answer, &found)
    }

    /// The addresses of a host, of both families. One answer that was changed on the way is a failure of both:
    /// what changed it may have left out the other's as well.
    pub async fn addresses(&self, host: &str, asking: Asking) -> Seen<AddressAnswer> {
        let v4 = self.question(host, RecordType::A, asking);
        let v6 = self.question(host, RecordType::AAAA, asking);
        let (v4, v6) = future::zip(v4, v6).await;
        let both = [&v6, &v4];
        let records = |answer: &Answer| match &answer.outcome {
            Outcome::Records(records) => records.iter().filter_map(address).collect(),
            _ => Vec::new(),
        };
        let failure = |answer: &&Answer| match answer.outcome {
            Outcome::Failed(why) => Some(why),
            _ => None,
        };
        let failures: Vec<DnsFailure> = both.iter().filter_map(failure).collect();
        if failures.contains(&DnsFailure::Bogus) {
            return Seen::new(AddressAnswer::Failed(DnsFailure::Bogus), &v4);
        }
        let found: Vec<IpAddr> = both.iter().flat_map(|answer| records(answer)).collect();
        let mut with_some = both.iter().filter(|answer| !records(answer).is_empty());
        match (with_some.next(), failures.first()) {
            (Some(first), _) => {
                // Of two families that are not worth the same, the weaker counts.
                let rest = with_some.next().unwrap_or(first);
                let mut seen = Seen::new(AddressAnswer::Addresses(found), first);
                seen.secure &= rest.secure && rest.expanded == first.expanded;
                seen.first_secure &= rest.first_secure;
                seen
            }
            (None, Some(why)) => Seen::new(AddressAnswer::Failed(*why), &v4),
            (None, None) => Seen::new(AddressAnswer::None, &v4),
        }
    }

    /// The TLSA records for a port of a host (RFC 7672 §2.2.2), looked for where its aliases lead, then at the
    /// name itself.
    pub async fn tlsa(&self, port: u16, host: &Expansion, asking: Asking) -> TlsaAnswer {
        let mut none = TlsaAnswer::None;
        for base_domain in dane::base_domains(host) {
            let found = self.question(&dane::owner(port, &base_domain), RecordType::TLSA, asking).await;
            match (found.outcome, found.secure || asking == Asking::Plainly) {
                (Outcome::Failed(why), _) => return TlsaAnswer::Failed(why),
                (Outcome::Records(records), true) => {
                    let records = records.iter().filter_map(tlsa).collect();
                    return TlsaAnswer::Records { records, base_domain };
                }
                (Outcome::NoData | Outcome::NxDomain, true) => {}
                (_, false) => none = TlsaAnswer::Insecure,
            }
        }
        none
    }

    pub(super) async fn question(&self, name: &str, kind: RecordType, asking: Asking) -> Answer {
        let Ok(mut asked) = Name::from_ascii(name) else {
            return Answer::failed(&Name::root(), DnsFailure::ServFail);
        };
        // A name with its final dot is asked for as it is: no search list.
        asked.set_fqdn(true);
        match asking {
            Asking::Validated if self.validator.covers(&asked) => {
                self.validator.ask(&asked, kind, self.limit).await
            }
            Asking::Validated | Asking::Plainly => self.plain(&asked, kind).await,
        }
    }

    async fn plain(&self, name: &Name, kind: RecordType) -> Answer {
        let lookup = match self.ask_name(name.clone(), kind).await {
            Ok(lookup) => lookup,
            Err(missing) => {
                let outcome = match missing {
                    Missing::NxDomain => Outcome::NxDomain,
                    Missing::NoData => Outcome::NoData,
                    Missing::Failed(why) => Outcome::Failed(why),
                };
                return Way::new(name).denied(outcome, false, 0).0;
            }
        };
        let mut way = Way::new(name);
        // Where the target of an alias was known already, the resolver leaves the aliases out.
        let here = |at: &Name| lookup.answers().iter().any(|r| r.name == *at);
        let found = lookup.answers().iter().find(|r| r.record_type() == kind);
        if let Some(found) = found.filter(|_| !here(name)) {
            way.at = found.name.clone();
        }
        match way.follow(lookup.answers(), kind, Trust::Anything) {
            Ok(Found::Records(records)) => way.ends(Outcome::Records(records)),
            Ok(Found::Nothing) => way.denied(Outcome::NoData, false, 0).0,
            Err(why) => Answer::failed(name, why),
        }
    }
}

fn text(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn mx(data: &RData) -> Option<Mx> {
    match data {
        RData::MX(mx) => Some(Mx { preference: mx.preference, exchange: mx.exchange.to_ascii() }),
        _ => None,
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(a) => Some(IpAddr::V6(a.0)),
        _ => None,
    }
}

fn tlsa(data: &RData) -> Option<Tlsa> {
    match data {
        RData::TLSA(tlsa) => Some(Tlsa {
            usage: tlsa.cert_usage.into(),
            selector: tlsa.selector.into(),
            matching: tlsa.matching.into(),
            data: tlsa.cert_data.clone(),
        }),
        _ => None,
    }
}
