//! Questions whose answers are validated by DNSSEC (RFC 4035), from the trust anchors down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_io::Timer;
use async_lock::Mutex;
use futures_lite::future;
use hickory_proto::dnssec::Proof;
use hickory_proto::op::{DnsRequestOptions, DnsResponse, Query, ResponseCode};
use hickory_proto::rr::{Name, Record, RecordType};
use hickory_resolver::config::{NameServerConfig, ResolverOpts};
use hickory_resolver::net::dnssec::DnssecDnsHandle;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer, RetryDnsHandle};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use protocol_smtp::route::DnsFailure;

use super::anchors::Anchors;
use super::answer::{ALIASES_MAX, Answer, Found, Outcome, Trust, Way, denial_is_proved};
use super::cache::{Cache, key, now};
use super::limited::{Chain, Limited};
use super::provider::Provider;
use super::wildcard::{from_wildcards, nothing_is_closer};
use super::{Missing, NEGATIVE_TTL_MAX, TTL_MAX, why};
use crate::config;
use crate::metrics::METRICS;

/// Iterations of NSEC3 beyond which a zone counts as not signed (RFC 9276 §3.2).
pub(super) const ITERATIONS_INSECURE: u16 = 100;
/// Iterations beyond which its answers are not looked at.
const ITERATIONS_MAX: u16 = 500;
/// Answers kept, and the keys and digests that lead to them. One may be as long as a message over TCP.
const ANSWERS_MAX: usize = 4096;
const CHAIN_MAX: usize = 1024;
/// How often it is asked whether the name servers hand signatures on.
const PROBE_INTERVAL: Duration = Duration::from_secs(3600);
/// How soon it is asked again when they do not, or did not answer.
const PROBE_AGAIN: Duration = Duration::from_secs(300);
/// How long that question may take.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

type Pool = RetryDnsHandle<NameServerPool<Provider>>;

/// The validating resolver.
pub(super) struct Validator {
    pool: Pool,
    anchors: Anchors,
    options: DnsRequestOptions,
    chain: Arc<Chain>,
    answers: Cache<Answer>,
    stripped: AtomicBool,
    /// That is known, however long ago it was asked.
    known: AtomicBool,
    /// When it was asked last, and how long that is good for.
    probed: Mutex<Option<(Instant, Duration)>>,
}

impl Validator {
    pub(super) fn open(
        dns: &config::Dns,
        servers: Vec<NameServerConfig>,
        options: ResolverOpts,
    ) -> Result<Validator, String> {
        let anchors = match &dns.trust_anchor_file {
            None => Anchors::default(),
            Some(path) => {
                Anchors::read(path).map_err(|e| format!("DNS_TRUST_ANCHOR_FILE {}: {e}", path.display()))?
            }
        };
        let mut request = DnsRequestOptions::default();
        request.edns_payload_len = options.edns_payload_len;
        request.edns_set_dnssec_ok = true;
        request.case_randomization = options.case_randomization;
        let attempts = options.attempts;
        let tls = TlsConfig::new().map_err(|e| e.to_string())?;
        let context = Arc::new(PoolContext::new(options, tls));
        let pool = NameServerPool::from_config(servers, context, Provider);
        Ok(Validator {
            pool: RetryDnsHandle::new(pool, attempts),
            anchors,
            options: request,
            chain: Arc::new(Cache::new(CHAIN_MAX)),
            answers: Cache::new(ANSWERS_MAX),
            stripped: AtomicBool::new(false),
            known: AtomicBool::new(false),
            probed: Mutex::new(None),
        })
    }

    /// Whether an answer about this name can be validated at all. `localhost` is never asked for outside (RFC 6761
    /// §6.3).
    pub(super) fn covers(&self, name: &Name) -> bool {
        self.anchors.cover(name) && !name.is_localhost()
    }

    /// Asks; a failure in `limit`.
    pub(super) async fn ask(&self, name: &Name, kind: RecordType, limit: Duration) -> Answer {
        let key = key(name, kind);
        if let Some(known) = self.answers.get(&key) {
            return known;
        }
        let asked = async { self.validated(name, kind).await };
        let timed = async {
            Timer::after(limit).await;
            (Answer::failed(name, DnsFailure::Timeout), Duration::ZERO)
        };
        let (answer, ttl) = future::or(asked, timed).await;
        self.answers.put(key, answer.clone(), ttl);
        answer
    }

    /// The answer, and how long it may be kept.
    async fn validated(&self, name: &Name, kind: RecordType) -> (Answer, Duration) {
        let mut way = Way::new(name);
        match self.walk(&mut way, kind).await {
            Ok(Found::Records(records)) => {
                let ttl = Duration::from_secs(way.ttl.into()).min(TTL_MAX);
                (way.ends(Outcome::Records(records)), ttl)
            }
            Ok(Found::Nothing) => (Answer::failed(name, DnsFailure::CnameLoop), Duration::ZERO),
            Err(Ended::Denied { outcome, secure, ttl }) => {
                let (answer, ttl) = way.denied(outcome, secure, ttl);
                (answer, Duration::from_secs(ttl.into()).min(NEGATIVE_TTL_MAX))
            }
            Err(Ended::Failed(why)) => (Answer::failed(name, why), Duration::ZERO),
        }
    }

    /// Follows the aliases, each name that an answer does not reach asked for by itself.
    async fn walk(&self, way: &mut Way, kind: RecordType) -> Result<Found, Ended> {
        // One validator for each look-up: the number of questions is counted in it.
        let limited = Limited::new(self.pool.clone(), self.chain.clone());
        let anchors = self.anchors.trusted(&limited, self.options).await;
        let handle = DnssecDnsHandle::with_trust_anchor(limited, anchors)
            .nsec3_iteration_limits(Some(ITERATIONS_INSECURE), Some(ITERATIONS_MAX))
            .validation_cache_size(256);
        for _ in 0..=ALIASES_MAX {
            let from = way.at.clone();
            let asked = handle.lookup(Query::query(from.clone(), kind), self.options).first_answer().await;
            let (response, denial) = match asked {
                Ok(response) => (response, None),
                Err(NetError::Dns(DnsError::Nsec { response, proof, .. })) => (*response, Some(proof)),
                Err(error) => return Err(Ended::of(&error)),
            };
            let found = way.follow(&response.answers, kind, Trust::Proved).map_err(Ended::Failed)?;
            if matches!(found, Found::Nothing) && way.at == from {
                return Err(Ended::denied(&response, denial, &from));
            }
            // What was made from a wildcard needs a proof that there is nothing closer.
            let wild = from_wildcards(&response.answers);
            let closest = |(at, labels): &(&Name, u8)| nothing_is_closer(&response.authorities, at, *labels);
            let accepted = denial.is_none() && denial_is_proved(&response.authorities, &from) == Ok(true);
            if !accepted && !wild.iter().all(closest) {
                match denial {
                    Some(Proof::Insecure) => way.is_not_secure(),
                    _ => return Err(Ended::Failed(DnsFailure::Bogus)),
                }
            }
            match (found, denial) {
                (Found::Records(records), None | Some(Proof::Insecure)) => {
                    return Ok(Found::Records(records));
                }
                // The validator judged the wildcard, and that is done.
                (Found::Records(records), Some(_)) if !wild.is_empty() => return Ok(Found::Records(records)),
                (Found::Records(_), Some(_)) => return Err(Ended::Failed(DnsFailure::Bogus)),
                // An alias, and nothing at its target. The validator looks for a denial of the alias then, and
                // finds that of the target; the target is asked for by itself.
                (Found::Nothing, _) => {}
            }
        }
        Ok(Found::Nothing)
    }

    /// Whether the name servers leave out what DNSSEC needs. Asked when it is not known or no longer; nobody but
    /// the first waits for that while there is an older answer.
    pub(super) async fn is_stripped(&self) -> bool {
        let asking = match self.probed.try_lock() {
            Some(probed) => Some(probed),
            None if self.known.load(Ordering::Relaxed) => None,
            None => Some(self.probed.lock().await),
        };
        if let Some(mut probed) = asking
            && probed.is_none_or(|(at, good_for)| at.elapsed() >= good_for)
        {
            let again = self.probe().await;
            *probed = Some((now(), again));
            self.known.store(true, Ordering::Relaxed);
        }
        self.stripped.load(Ordering::Relaxed)
    }

    /// Looks at the zone of the trust anchor; when to look again.
    async fn probe(&self) -> Duration {
        let zone = self.anchors.first_zone();
        let (answer, _) = future::or(self.validated(zone, RecordType::SOA), async {
            Timer::after(PROBE_LIMIT).await;
            (Answer::failed(zone, DnsFailure::Timeout), Duration::ZERO)
        })
        .await;
        let proved = answer.secure && matches!(answer.outcome, Outcome::Records(_));
        if proved {
            self.set_stripped(false);
            return PROBE_INTERVAL;
        }
        if answer.outcome == Outcome::Failed(DnsFailure::Timeout) {
            return PROBE_AGAIN; // nothing is known, and nothing else will be answered either
        }
        let question = self.pool.lookup(Query::query(zone.clone(), RecordType::SOA), self.options);
        let signed = |records: &[Record]| records.iter().any(|r| r.record_type() == RecordType::RRSIG);
        match question.first_answer().await {
            Ok(response) if signed(&response.answers) => {
                tracing::error!(
                    %zone,
                    "signatures of the trust anchor's zone cannot be validated: until that is cured \
                     (DNS_TRUST_ANCHOR_FILE, or the name servers) mail under DNSSEC validation is deferred"
                );
                self.set_stripped(false);
            }
            Err(NetError::Timeout | NetError::Io(_) | NetError::NoConnections) => {}
            _ => self.set_stripped(true),
        }
        PROBE_AGAIN
    }

    fn set_stripped(&self, stripped: bool) {
        METRICS.dnssec_stripped.store(i64::from(stripped), Ordering::Relaxed);
        let before = self.stripped.swap(stripped, Ordering::Relaxed);
        match (before, stripped) {
            (false, true) => tracing::warn!(
                "the name servers leave out what DNSSEC needs: with SMTP_OUTBOUND_DANE_MODE=prefer mail is sent \
                 without DANE, with require it waits (DNS_RESOLVERS)"
            ),
            (true, false) => tracing::info!("the name servers answer with DNSSEC again: DANE is in effect"),
            _ => {}
        }
    }
}

/// A look-up that found no records.
enum Ended {
    Denied { outcome: Outcome, secure: bool, ttl: u32 },
    Failed(DnsFailure),
}

impl Ended {
    fn of(error: &NetError) -> Ended {
        match why(error) {
            // The validator turns these into messages; one that comes through was never judged.
            Missing::NxDomain | Missing::NoData => Ended::Failed(DnsFailure::Bogus),
            Missing::Failed(why) => Ended::Failed(why),
        }
    }

    fn denied(response: &DnsResponse, denial: Option<Proof>, at: &Name) -> Ended {
        let secure = match denial {
            None => match denial_is_proved(&response.authorities, at) {
                Ok(secure) => secure,
                Err(why) => return Ended::Failed(why),
            },
            Some(Proof::Insecure) => false,
            Some(_) => return Ended::Failed(DnsFailure::Bogus),
        };
        let outcome = match response.response_code {
            ResponseCode::NXDomain => Outcome::NxDomain,
            ResponseCode::NoError => Outcome::NoData,
            _ => return Ended::Failed(DnsFailure::ServFail),
        };
        Ended::Denied { outcome, secure, ttl: response.negative_ttl().unwrap_or_default() }
    }
}
