//! Under which conditions each host of a destination is used: how DANE, MTA-STS, REQUIRETLS and the settings
//! combine, strictest first.
//!
//! **To drive it**: say what DNS and the MTA-STS cache know, and [`plan`] gives the hosts that may be used, in
//! the order to try them, each with its [`TlsDemand`] and the [`Check`] that its certificate must pass. A
//! [`Check`] that is passed is [`TlsOutcome::Valid`](super::TlsOutcome::Valid), whatever its kind. Hosts that are
//! ourselves and those behind them must be gone before, since a plan may leave out any host.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::dane::{self, Tlsa};
use super::mx::DnsFailure;
use super::tls::{Contradiction, Tls, TlsDemand, TlsMode, TlsSettings};
use crate::queue::Failure;
use crate::status::Status;

/// `SMTP_OUTBOUND_DANE_MODE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DaneMode {
    /// No TLSA record is asked for.
    Off,
    /// Hosts under DANE first, within one preference.
    Prefer,
    /// No other hosts.
    Require,
}

/// What is configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// `TLS_MODE` and its companions.
    pub tls: TlsSettings,
    /// `DANE_MODE`.
    pub dane: DaneMode,
    /// `DNSSEC_VALIDATE`. Without it TLSA records are used without proof.
    pub dnssec_validate: bool,
    /// `MTA_STS_ENFORCE`. Without it policies bind nothing.
    pub mta_sts_enforce: bool,
}

impl Settings {
    /// The demand of the settings alone, when they do not contradict one another.
    pub fn demand(self) -> Result<TlsDemand, Contradiction> {
        match (self.tls.mode, self.dane) {
            (TlsMode::Disabled, DaneMode::Require) => Err(Contradiction),
            _ => TlsDemand::by_settings(self.tls),
        }
    }

    /// Whether TLSA records are asked for.
    pub fn asks_tlsa(self) -> bool {
        self.dane != DaneMode::Off && self.tls.mode != TlsMode::Disabled
    }
}

/// What is known of a domain's MTA-STS policy (RFC 8461).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StsState {
    /// None is announced and none is cached; or it was not asked for.
    None,
    /// `_mta-sts` announces one, but none could be fetched and none is cached.
    Advertised,
    /// In mode `testing`.
    Testing,
    /// In mode `none`.
    Off,
    /// In mode `enforce`.
    Enforce {
        /// Its patterns: host names in lower case, `*.` in front standing for one label.
        mx: Vec<String>,
    },
}

/// What became of the question for TLSA records.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TlsaAnswer {
    /// It was not asked, because the host's addresses are not secure, or because nobody wants to know.
    NotAsked,
    /// Records, proved to be the zone's own; or, with `DNSSEC_VALIDATE=false`, believed to be.
    Records {
        /// At least one.
        records: Vec<Tlsa>,
        /// Where they were found ([`dane::base_domains`]).
        base_domain: String,
    },
    /// Proved that there are none.
    None,
    /// The answer is provably outside of DNSSEC: it counts for nothing.
    Insecure,
    /// No answer, or one that DNSSEC proves false.
    Failed(DnsFailure),
}

/// What is known of a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostFacts {
    /// As MX has it, lower case, without final dot.
    pub name: String,
    /// Lower is better.
    pub preference: u16,
    /// Its address answer is secure.
    pub secure: bool,
    /// Its TLSA records.
    pub tlsa: TlsaAnswer,
}

/// How the host names were found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// By an MX answer that is secure.
    SecureMx,
    /// By one that is not.
    InsecureMx,
    /// There is no MX, and this is known for certain or not: the host is the domain.
    Domain {
        /// DNSSEC proves that there is no MX.
        secure: bool,
    },
    /// It is set here. MTA-STS is not asked.
    Relay,
}

/// What a message asks for itself (RFC 8689).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MessageWish {
    /// It came with REQUIRETLS.
    pub require_tls: bool,
    /// Its header says `TLS-Required: No`; without effect beside REQUIRETLS (RFC 8689 §4.1).
    pub tls_optional: bool,
}

/// What is known of a destination.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// The domain, an A-label.
    pub domain: &'a str,
    /// Where its aliases lead; the same without aliases.
    pub expanded: &'a str,
    /// How its hosts were found.
    pub way: Way,
    /// Its MTA-STS policy.
    pub sts: &'a StsState,
    /// Our resolvers strip DNSSEC: nothing can be proved.
    pub stripped: bool,
}

/// How a certificate is judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Check {
    /// Valid for the host's name under the roots that are trusted.
    Pkix,
    /// As TLSA records say ([`dane::matches`]).
    Dane {
        /// Usable ones.
        records: Vec<Tlsa>,
        /// Sent in SNI.
        base_domain: String,
        /// [`dane::reference_names`].
        names: Vec<String>,
    },
}

/// The posture under which a host is used; its name stands on the delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Posture {
    Dane,
    MtaSts,
    RequireTls,
    Pkix,
    Opportunistic,
    Plaintext,
}

impl Posture {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Posture::Dane => "dane",
            Posture::MtaSts => "mta-sts",
            Posture::RequireTls => "requiretls",
            Posture::Pkix => "pkix",
            Posture::Opportunistic => "opportunistic",
            Posture::Plaintext => "plaintext",
        }
    }
}

/// A host that may be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostPlan {
    /// Its name.
    pub name: String,
    /// What a connection needs.
    pub demand: TlsDemand,
    /// How the certificate is judged; where the demand does not verify, the result is only recorded.
    pub check: Check,
    /// What to call it.
    pub posture: Posture,
    /// Which variable would relax the demand: for the text of a failure.
    pub variable: &'static str,
}

impl HostPlan {
    /// What a delivery over this host really had: `encrypted` is false where the message went in plaintext.
    pub fn posture_used(&self, encrypted: bool) -> Posture {
        if encrypted { self.posture } else { Posture::Plaintext }
    }
}

/// A host that may not be used now.
struct Excluded(Failure);

/// Decides for every host of a destination. `hosts` stand in the order of their preference. When none may be
/// used, the failure is the one that a retry can cure, if there is such a one.
pub fn plan(
    settings: Settings,
    destination: Destination<'_>,
    wish: MessageWish,
    hosts: &[HostFacts],
) -> Result<Vec<HostPlan>, Failure> {
    let by_settings = settings.demand().map_err(|why| Failure::local(Status::NO_TLS, format!("{why}")))?;
    let lenient = wish.tls_optional && !wish.require_tls;
    let mut used: Vec<(u16, HostPlan)> = Vec::new();
    let mut failures: Vec<Failure> = Vec::new();
    for host in hosts {
        let case = Case { settings, destination, wish, lenient, by_settings, host };
        match case.decide() {
            Ok(plan) => used.push((host.preference, plan)),
            Err(Excluded(failure)) => failures.push(failure),
        }
    }
    if used.is_empty() {
        let curable = failures.iter().position(|f| f.status.class == 4).unwrap_or(0);
        let unknown = || Failure::local(Status::NO_SUCH_DOMAIN, String::from("there is no host"));
        return Err(failures.into_iter().nth(curable).unwrap_or_else(unknown));
    }
    used.sort_by_key(|(preference, plan)| (*preference, !matches!(plan.check, Check::Dane { .. }))); // stable
    Ok(used.into_iter().map(|(_, plan)| plan).collect())
}

/// One host.
struct Case<'a> {
    settings: Settings,
    destination: Destination<'a>,
    wish: MessageWish,
    lenient: bool,
    by_settings: TlsDemand,
    host: &'a HostFacts,
}

/// TLS, whatever the certificate.
const ENCRYPTED: TlsDemand = TlsDemand { tls: Tls::Required, verify: false, plaintext_ok: false };
/// TLS, and the check is passed.
const PROVED: TlsDemand = TlsDemand { tls: Tls::Required, verify: true, plaintext_ok: false };

impl Case<'_> {
    fn decide(&self) -> Result<HostPlan, Excluded> {
        let plan = match self.dane()? {
            Some(plan) => plan,
            None => match self.mta_sts()? {
                Some(plan) => plan,
                None => self.by_settings(),
            },
        };
        if self.wish.require_tls {
            return self.require_tls(plan);
        }
        // The certificate is judged all the same, and what it is worth stands on the delivery.
        Ok(match self.lenient {
            true => HostPlan { demand: plan.demand.with_tls_optional(), ..plan },
            false => plan,
        })
    }

    /// `None`: DANE says nothing of this host.
    fn dane(&self) -> Result<Option<HostPlan>, Excluded> {
        if !self.settings.asks_tlsa() {
            return Ok(None);
        }
        let proved = self.host.secure && self.is_way_secure() || !self.settings.dnssec_validate;
        let found = match &self.host.tlsa {
            _ if self.destination.stripped && self.settings.dnssec_validate => None,
            TlsaAnswer::Failed(why) if !self.lenient => return Err(self.tlsa_failed(*why)),
            TlsaAnswer::Records { records, base_domain } if proved => Some((records, base_domain)),
            _ => None,
        };
        let usable = found.map(|(records, base)| (dane::usable(records), base));
        match usable {
            Some((records, base_domain)) if !records.is_empty() => {
                Ok(Some(self.dane_plan(records, base_domain)))
            }
            _ if self.settings.dane == DaneMode::Require && !self.lenient => Err(self.no_dane()),
            // RFC 7672 §2.2: whoever publishes records has TLS.
            Some(_) => Ok(Some(self.pkix(ENCRYPTED, Posture::Opportunistic, "SMTP_OUTBOUND_DANE_MODE"))),
            None => Ok(None),
        }
    }

    fn is_way_secure(&self) -> bool {
        match self.destination.way {
            Way::SecureMx | Way::Relay => true,
            Way::InsecureMx => false,
            Way::Domain { secure } => secure,
        }
    }

    fn dane_plan(&self, records: Vec<Tlsa>, base_domain: &str) -> HostPlan {
        let Destination { domain, expanded, .. } = self.destination;
        let names = dane::reference_names(base_domain, domain, expanded, self.is_way_secure());
        let names = names.into_iter().map(String::from).collect();
        let check = Check::Dane { records, base_domain: String::from(base_domain), names };
        HostPlan { check, ..self.pkix(PROVED, Posture::Dane, "SMTP_OUTBOUND_DANE_MODE") }
    }

    fn tlsa_failed(&self, why: DnsFailure) -> Excluded {
        let status = if why == DnsFailure::Bogus { Status::BAD_TLS } else { Status::DNS_FAILED };
        let text = format!("TLSA of {}: {} (SMTP_OUTBOUND_DANE_MODE)", self.host.name, why.text());
        Excluded(Failure::local(status, text))
    }

    fn no_dane(&self) -> Excluded {
        let why = match &self.host.tlsa {
            _ if self.destination.stripped => "our name servers leave DNSSEC out",
            TlsaAnswer::Records { .. } if self.host.secure && self.is_way_secure() => {
                "none of its TLSA records can be used"
            }
            TlsaAnswer::None => "it has no TLSA record",
            _ => "DNSSEC does not protect the way to it",
        };
        let text = format!("{}: DANE is required, and {why} (SMTP_OUTBOUND_DANE_MODE)", self.host.name);
        Excluded(Failure::local(Status::BAD_TLS, text))
    }

    /// `None`: MTA-STS asks for nothing.
    fn mta_sts(&self) -> Result<Option<HostPlan>, Excluded> {
        const VARIABLE: &str = "SMTP_OUTBOUND_MTA_STS_ENFORCE";
        let disabled = self.settings.tls.mode == TlsMode::Disabled;
        if !self.settings.mta_sts_enforce || disabled || self.destination.way == Way::Relay {
            return Ok(None);
        }
        match self.destination.sts {
            StsState::None | StsState::Testing | StsState::Off => Ok(None),
            // The name check is the settings' affair, the ban on plaintext is not.
            StsState::Advertised if self.by_settings.plaintext_ok => {
                Ok(Some(self.pkix(ENCRYPTED, Posture::MtaSts, VARIABLE)))
            }
            StsState::Advertised => Ok(None),
            StsState::Enforce { .. } if self.is_listed() || self.lenient => {
                Ok(Some(self.pkix(PROVED, Posture::MtaSts, VARIABLE)))
            }
            StsState::Enforce { .. } => {
                let Destination { domain, .. } = self.destination;
                let name = &self.host.name;
                let text = format!("{name} is not listed in the MTA-STS policy of {domain} ({VARIABLE})");
                Err(Excluded(Failure::local(Status::BAD_TLS, text)))
            }
        }
    }

    fn is_listed(&self) -> bool {
        match self.destination.sts {
            StsState::Enforce { mx } => mx.iter().any(|pattern| lists(pattern, &self.host.name)),
            _ => false,
        }
    }

    fn by_settings(&self) -> HostPlan {
        let (posture, variable) = match (self.by_settings.tls, self.by_settings.verify) {
            (Tls::Disabled, _) => (Posture::Plaintext, "SMTP_OUTBOUND_TLS_MODE"),
            (Tls::Required, true) => (Posture::Pkix, "SMTP_OUTBOUND_TLS_MODE"),
            (Tls::Required, false) => (Posture::Opportunistic, "SMTP_OUTBOUND_TLS_MODE"),
            (Tls::Opportunistic, verify) => (
                if verify { Posture::Pkix } else { Posture::Opportunistic },
                "SMTP_OUTBOUND_REQUIRE_STARTTLS, SMTP_OUTBOUND_ALLOW_PLAINTEXT_FALLBACK",
            ),
        };
        self.pkix(self.by_settings, posture, variable)
    }

    /// RFC 8689 §4.2.1: under DANE, or with a certificate for a host whose name is beyond doubt.
    fn require_tls(&self, plan: HostPlan) -> Result<HostPlan, Excluded> {
        let certain = matches!(plan.check, Check::Dane { .. })
            || self.is_listed()
            || match self.destination.way {
                Way::SecureMx | Way::Relay | Way::Domain { .. } => true,
                Way::InsecureMx => false,
            };
        if !certain {
            let name = &self.host.name;
            let text = format!(
                "{name}: the message demands REQUIRETLS, and neither DNSSEC nor MTA-STS proves that this host \
                 takes mail for {}",
                self.destination.domain
            );
            return Err(Excluded(Failure::local(Status::REQUIRETLS, text)));
        }
        let demand = plan.demand.with_requiretls();
        Ok(HostPlan { demand, posture: Posture::RequireTls, variable: "REQUIRETLS of the message", ..plan })
    }

    fn pkix(&self, demand: TlsDemand, posture: Posture, variable: &'static str) -> HostPlan {
        HostPlan { name: self.host.name.clone(), demand, check: Check::Pkix, posture, variable }
    }
}

/// RFC 8461 §4.1: the star is one label.
fn lists(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        None => pattern.eq_ignore_ascii_case(host),
        Some(rest) => host
            .split_once('.')
            .is_some_and(|(label, tail)| !label.is_empty() && rest.eq_ignore_ascii_case(tail)),
    }
}

#[cfg(test)]
#[path = "posture_tests.rs"]
mod tests;
