//! Where a message goes, and under what conditions: asks the name servers, and has `route` decide.

use protocol_core::address::canonical_domain;
use protocol_core::message::header::header_len;
use protocol_smtp::queue::Failure;
use protocol_smtp::route::dane::Expansion;
use protocol_smtp::route::posture::{
    DaneMode, Destination, HostFacts, HostPlan, MessageWish, Settings, StsState, TlsaAnswer, Way, plan,
};
use protocol_smtp::route::{
    self, AddressAnswer, Candidate, Conditioned, Family, HostAddresses, Hosts, Limits, MxAnswer, TlsMode,
    TlsSettings,
};
use protocol_smtp::status::Status;
use storage::Job;

use crate::app::App;
use crate::config;
use crate::dns::{Asking, Seen};
use crate::mta_sts::Look;

use super::noted;

/// Octets of a message that its header lies within; a larger one is refused at the door.
const HEADER_MAX: usize = 640 * 1024;

/// The addresses to dial, in order, and what each host must show.
pub struct Route {
    pub conditioned: Vec<Conditioned>,
    pub plans: Vec<HostPlan>,
    /// What is known of the domain's MTA-STS policy; `None` where none is looked for.
    pub look: Option<Look>,
}

/// Finds the route of one job.
pub struct Planner<'a> {
    app: &'a App,
    job: &'a Job,
}

/// What was found of the way to the hosts.
struct Found<'a> {
    domain: &'a str,
    /// Where the aliases of the domain lead.
    expanded: String,
    way: Way,
    hosts: Hosts,
}

impl<'a> Planner<'a> {
    pub fn new(app: &'a App, job: &'a Job) -> Planner<'a> {
        Planner { app, job }
    }

    pub async fn route(&self) -> Result<Route, Failure> {
        let settings = self.settings().await?;
        let wants_proof = settings.dnssec_validate
            && settings.tls.mode != TlsMode::Disabled
            && (settings.asks_tlsa() || self.job.spec.require_tls);
        let stripped = wants_proof && self.app.resolver.is_stripped().await;
        let asking = if wants_proof && !stripped { Asking::Validated } else { Asking::Plainly };
        let limits = self.limits();
        let found = self.hosts(asking).await?;
        let is_name = matches!(found.hosts, Hosts::Named { .. });
        let look = match is_name && found.way != Way::Relay && settings.tls.mode != TlsMode::Disabled {
            true => Some(self.app.policies.look(found.domain).await),
            false => None,
        };
        let sts = look.as_ref().map_or(StsState::None, |look| look.state.clone());
        let destination = Destination {
            domain: found.domain,
            expanded: &found.expanded,
            way: found.way,
            sts: &sts,
            stripped,
        };
        let wish = MessageWish::of(self.job.spec.require_tls, &self.header().await?);
        let plan = |facts: &[HostFacts]| plan(settings, destination, wish, facts);
        let (hosts, implicit) = match &found.hosts {
            Hosts::Named { hosts, implicit } => (hosts, *implicit),
            literal => {
                let candidate = literal.literal(&limits).unwrap_or_else(|| Err(nowhere()))?;
                let plans = plan(&[facts_of_literal(&candidate)])?;
                return Ok(Route { conditioned: conditioned(vec![candidate], &plans), plans, look });
            }
        };
        let mut seen = Vec::with_capacity(hosts.len());
        let mut answers = Vec::with_capacity(hosts.len());
        for host in hosts {
            let addresses = self.app.resolver.addresses(&host.name, asking).await;
            answers.push(HostAddresses { host: host.clone(), answer: addresses.answer.clone() });
            seen.push((host.name.clone(), addresses));
        }
        let answers = route::not_ourselves(found.domain, &answers, &limits)?;
        let mut facts = Vec::with_capacity(answers.len());
        for HostAddresses { host, answer } in &answers {
            let Some((_, seen)) = seen.iter().find(|(name, _)| *name == host.name) else { continue };
            if !matches!(answer, AddressAnswer::Addresses(_)) {
                continue;
            }
            let tlsa = self.tlsa(&settings, asking, found.way, &host.name, seen, limits.port).await;
            facts.push(HostFacts {
                name: host.name.clone(),
                preference: host.preference,
                secure: seen.first_secure,
                tlsa,
            });
        }
        if facts.is_empty() {
            let none = route::candidates(found.domain, &answers, implicit, &limits);
            return Err(none.err().unwrap_or_else(nowhere));
        }
        let plans = plan(&facts);
        if let Some(look) = &look {
            noted::left_out(self.app, self.job, look, &facts, &plans);
        }
        let plans = plans.map_err(|failure| curable(failure, &answers))?;
        let left: Vec<HostAddresses> =
            plans.iter().filter_map(|p| answers.iter().find(|a| a.host.name == p.name).cloned()).collect();
        let candidates = route::candidates(found.domain, &left, implicit, &limits).map_err(|failure| {
            // A host that was left out because of something that passes outweighs what is wrong with the rest.
            let out: Vec<HostFacts> =
                facts.iter().filter(|f| plans.iter().all(|p| p.name != f.name)).cloned().collect();
            match (failure.status.class, out.is_empty()) {
                (5, false) => plan(&out).err().unwrap_or(failure),
                _ => failure,
            }
        })?;
        Ok(Route { conditioned: conditioned(candidates, &plans), plans, look })
    }

    /// The beginning of the message, where its header is.
    async fn header(&self) -> Result<Vec<u8>, Failure> {
        let spec = &self.job.spec;
        let read = async {
            let mut object = self.app.storage.open_queued(spec.org, spec.message).await?;
            let mut header: Vec<u8> = Vec::new();
            while header.len() < HEADER_MAX {
                let piece = object.read(header.len() as u64, HEADER_MAX - header.len()).await?;
                let ends = piece.is_empty();
                header.extend_from_slice(piece);
                let complete = header_len(&header) < header.len();
                if ends || complete {
                    break;
                }
            }
            Ok::<_, storage::Error>(header)
        };
        read.await.map_err(|error| {
            tracing::error!(job = %spec.id, %error, "a queued message could not be read");
            Failure::local(Status::TEMPORARY, "the queued message could not be read")
        })
    }

    /// The MX of the destination, or the relay.
    async fn hosts(&self, asking: Asking) -> Result<Found<'_>, Failure> {
        let relay = self.app.config.outbound.relay.as_ref();
        let domain = relay.map_or(self.job.spec.domain.as_str(), |r| r.host.host.as_str());
        if relay.is_some() {
            let (expanded, hosts) = (domain.to_owned(), route::relay(domain));
            return Ok(Found { domain, expanded, way: Way::Relay, hosts });
        }
        let seen = match domain.starts_with('[') {
            true => Seen {
                answer: MxAnswer::NoData,
                expanded: domain.to_owned(),
                secure: false,
                first_secure: false,
            },
            false => self.app.resolver.mx(domain, asking).await,
        };
        let mut seed = [0; 32];
        let _ = getrandom::fill(&mut seed);
        let own = self.app.config.server.hostname.as_str();
        let hosts = route::hosts(domain, &seen.answer, &[own], seed)?;
        let way = match (&seen.answer, seen.secure) {
            (MxAnswer::Records(_), true) => Way::SecureMx,
            (MxAnswer::Records(_), false) => Way::InsecureMx,
            (_, secure) => Way::Domain { secure },
        };
        Ok(Found { domain, expanded: seen.expanded, way, hosts })
    }

    /// The TLSA records of a host, when they would count: the way to it is proved, or no proof is wanted.
    async fn tlsa(
        &self,
        settings: &Settings,
        asking: Asking,
        way: Way,
        host: &str,
        seen: &Seen<AddressAnswer>,
        port: u16,
    ) -> TlsaAnswer {
        let way_is_secure = matches!(way, Way::SecureMx | Way::Relay | Way::Domain { secure: true });
        let would_count = match asking {
            Asking::Validated => way_is_secure && seen.first_secure,
            Asking::Plainly => !settings.dnssec_validate,
        };
        if !settings.asks_tlsa() || !would_count {
            return TlsaAnswer::NotAsked;
        }
        // Where nothing is proved, aliases are believed as the records are.
        let secure = seen.secure || asking == Asking::Plainly;
        let expansion = Expansion { original: host.to_owned(), expanded: seen.expanded.clone(), secure };
        self.app.resolver.tlsa(port, &expansion, asking).await
    }

    /// What is configured, and what the sender's domain has set over it.
    async fn settings(&self) -> Result<Settings, Failure> {
        let outbound = &self.app.config.outbound;
        let tls = TlsSettings {
            mode: match outbound.tls_mode {
                config::TlsMode::Required => TlsMode::Required,
                config::TlsMode::Opportunistic => TlsMode::Opportunistic,
                config::TlsMode::Disabled => TlsMode::Disabled,
            },
            require_starttls: outbound.require_starttls,
            allow_plaintext_fallback: outbound.allow_plaintext_fallback,
            allow_invalid_certs: outbound.allow_invalid_certs,
        };
        let dane = match outbound.dane_mode {
            config::DaneMode::Off => DaneMode::Off,
            config::DaneMode::Prefer => DaneMode::Prefer,
            config::DaneMode::Require => DaneMode::Require,
        };
        let dnssec_validate = self.sender_validates().await?.unwrap_or(outbound.dnssec_validate);
        Ok(Settings { tls, dane, dnssec_validate, mta_sts_enforce: outbound.mta_sts_enforce })
    }

    /// `outbound_dnssec_validate` of the sender's domain, where it is one of ours and sets it.
    async fn sender_validates(&self) -> Result<Option<bool>, Failure> {
        let Some((_, domain)) = self.job.spec.sender.rsplit_once('@') else { return Ok(None) };
        let Ok(name) = canonical_domain(domain) else { return Ok(None) };
        match self.app.storage.store().domain_lately(&name).await {
            Ok(domain) => Ok(domain.settings.outbound_dnssec_validate),
            Err(storage::Error::NotFound) => Ok(None),
            Err(error) => {
                tracing::warn!(%error, domain = name, "the settings of the sender's domain could not be read");
                let reply = "the settings of the sender's domain could not be read".to_owned();
                Err(Failure::local(Status::TEMPORARY, reply))
            }
        }
    }

    fn limits(&self) -> Limits<'_> {
        let config = &self.app.config;
        let outbound = &config.outbound;
        let relay = outbound.relay.as_ref();
        let port = relay.map_or(outbound.port, |r| r.host.port);
        Limits {
            family: match outbound.ip_family {
                config::IpFamily::Any => Family::Any,
                config::IpFamily::Ipv4 => Family::Ipv4,
                config::IpFamily::Ipv6 => Family::Ipv6,
            },
            // A relay is the operator's own choice, wherever it stands.
            allow_private: outbound.allow_private_networks || relay.is_some(),
            own_addresses: match config.ports.smtp_transfer {
                Some(ours) if ours == port => config.server.bind_addrs.as_slice(),
                _ => &[],
            },
            port,
        }
    }
}

fn facts_of_literal(candidate: &Candidate) -> HostFacts {
    HostFacts { name: candidate.host.clone(), preference: 0, secure: false, tlsa: TlsaAnswer::NotAsked }
}

/// Each address under the conditions of its host.
fn conditioned(candidates: Vec<Candidate>, plans: &[HostPlan]) -> Vec<Conditioned> {
    let with_plan = |candidate: Candidate| {
        let plan = plans.iter().find(|p| p.name == candidate.host)?;
        Some(Conditioned { candidate, demand: plan.demand, variable: Some(plan.variable) })
    };
    candidates.into_iter().filter_map(with_plan).collect()
}

/// A failure for good does not stand while a name server may yet say where another host is.
fn curable(failure: Failure, answers: &[HostAddresses]) -> Failure {
    let failed = answers.iter().find_map(|a| match a.answer {
        AddressAnswer::Failed(why) => Some((&a.host.name, why)),
        _ => None,
    });
    match failed {
        Some((name, why)) if failure.status.class == 5 => {
            let reply = format!("address of {name}: {}; {}", why.explained(), failure.reply);
            Failure::local(Status::DNS_FAILED, reply)
        }
        _ => failure,
    }
}

fn nowhere() -> Failure {
    Failure::local(Status::BAD_CONNECTION, "there is no address to dial")
}
