//! DKIM, ARC and DMARC of one message, by mail-auth, within our limits: what reaches the library was read by
//! [`signatures`](crate::signatures) and [`chain`](crate::chain) before.

use std::ops::Range;
use std::sync::Arc;

use mail_auth::common::crypto::HashAlgorithm;
use mail_auth::common::headers::Header;
use mail_auth::{AuthenticatedMessage, DkimOutput, DkimResult as Outcome, MessageAuthenticator};
use protocol_core::auth::{
    ArcChain, ArcResult, ArcSet, Dkim, DkimResult, Dmarc, DmarcPolicy, DmarcResult, MessageResults, Spf,
};
use protocol_core::message::Fields;
use protocol_core::message::header::header_len;
use tokio::time::{Instant, timeout_at};

use crate::chain::{self, Chain};
use crate::dmarc;
use crate::signatures::{self, BodyHash, Candidate, Judged, raw_fields, with};

/// Domains of one From field that DMARC is asked for; a field with more fails.
pub const FROM_DOMAINS_MAX: usize = 8;
const TIME_OVER: &str = "the time for DNS is over";

/// A message to be verified.
#[derive(Clone, Debug)]
pub struct Message {
    /// The whole message; the header alone suffices when [`needs_body`] says so.
    pub octets: Vec<u8>,
    /// Domains of its From field, A-labels in lower case, as `protocol_core::message::from` reads them; empty
    /// when it has none.
    pub from_domains: Vec<String>,
    /// What SPF found for the reverse-path.
    pub spf: Spf,
    /// Seconds of the Unix epoch.
    pub now_secs: i64,
}

/// Whether a header holds signatures, so that the body has to be read.
pub fn needs_body(header: &[u8]) -> bool {
    Fields::new(header).any(|f| f.is("DKIM-Signature") || f.is("ARC-Message-Signature"))
}

/// The results when verifying broke off.
pub(crate) fn given_up(message: &Message) -> MessageResults {
    let problem = Some(TIME_OVER.to_owned());
    let dkim = Dkim { result: DkimResult::TempError, reason: problem.clone(), ..Dkim::default() };
    MessageResults {
        dkim: if needs_body(&message.octets) { vec![dkim] } else { Vec::new() },
        dkim_ignored: 0,
        arc: ArcChain { result: ArcResult::TempError, sets: Vec::new(), reason: problem },
        dmarc: Dmarc {
            result: if message.from_domains.is_empty() { DmarcResult::None } else { DmarcResult::TempError },
            domain: message.from_domains.first().cloned().unwrap_or_default(),
            policy: DmarcPolicy::None,
            ..Dmarc::default()
        },
    }
}

/// A message whose body has been hashed, shared by the tasks that verify its signatures.
struct Hashed {
    octets: Vec<u8>,
    header_len: usize,
    hashes: Vec<(BodyHash, Vec<u8>)>,
}

impl Hashed {
    /// The library's view of the message, without signatures: those to be verified are added.
    fn view(&self) -> AuthenticatedMessage<'_> {
        let hashes = self.hashes.iter().map(|((c, h), digest)| (*c, *h, 0, digest.clone()));
        AuthenticatedMessage {
            headers: raw_fields(&self.octets[..self.header_len]),
            raw_message: &self.octets,
            body_offset: u32::try_from(self.header_len).unwrap_or(u32::MAX),
            body_hashes: hashes.collect(),
            ..AuthenticatedMessage::default()
        }
    }

    fn field<T>(&self, range: &Range<usize>, header: T) -> Header<'_, T> {
        let field = &self.octets[range.clone()];
        let colon = field.iter().position(|b| *b == b':').unwrap_or(0);
        Header::new(&field[..colon], &field[colon + 1..], header)
    }
}

/// Verifies a message.
pub(crate) async fn verify(
    authenticator: &MessageAuthenticator,
    message: Message,
    deadline: Instant,
) -> MessageResults {
    let Message { octets, from_domains, spf, now_secs } = message;
    let header_len = header_len(&octets);
    let (judged, dkim_ignored) = signatures::judge(&octets[..header_len], now_secs);
    let chain = chain::read(&octets[..header_len]);
    let wanted = wanted_hashes(&judged, chain.as_ref().ok().and_then(Option::as_ref));
    let hashing = tokio::task::spawn_blocking(move || {
        let body = &octets[header_len..];
        let hashes = wanted.into_iter().map(|(c, h)| {
            let digest = h.hash(c.canonical_body(body, 0)).as_ref().to_vec();
            ((c, h), digest)
        });
        Hashed { hashes: hashes.collect(), header_len, octets }
    });
    let hashed = match hashing.await {
        Ok(hashed) => Arc::new(hashed),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    let dkim = verify_signatures(authenticator, &hashed, judged, deadline).await;
    let arc = match chain {
        Ok(None) => ArcChain::default(),
        Ok(Some(chain)) => verify_chain(authenticator, &hashed, chain, deadline).await,
        Err(why) => failed_chain(ArcResult::Fail, why),
    };
    let dmarc = dmarc::verify(authenticator, &from_domains, &spf, &dkim, deadline).await;
    MessageResults { dkim, dkim_ignored, arc, dmarc }
}

fn wanted_hashes(judged: &[Judged], chain: Option<&Chain>) -> Vec<BodyHash> {
    let signatures = judged.iter().filter_map(|j| match j {
        Judged::Candidate(c) => Some((c.signature.cb, HashAlgorithm::from(c.signature.a))),
        Judged::Done(_) => None,
    });
    let newest = chain.and_then(|c| c.signatures.last()).map(|(_, s)| (s.cb, HashAlgorithm::from(s.a)));
    let mut wanted: Vec<BodyHash> = Vec::new();
    for hash in signatures.chain(newest) {
        if !wanted.iter().any(|(c, h)| *c == hash.0 && *h == hash.1) {
            wanted.push(hash);
        }
    }
    wanted
}

/// Verifies the candidates side by side, so that one slow name server holds up one signature.
async fn verify_signatures(
    authenticator: &MessageAuthenticator,
    hashed: &Arc<Hashed>,
    judged: Vec<Judged>,
    deadline: Instant,
) -> Vec<Dkim> {
    let tasks: Vec<_> = judged
        .into_iter()
        .map(|judged| {
            let (authenticator, hashed) = (authenticator.clone(), Arc::clone(hashed));
            tokio::spawn(async move {
                match judged {
                    Judged::Done(dkim) => dkim,
                    Judged::Candidate(candidate) => {
                        verify_one(&authenticator, &hashed, *candidate, deadline).await
                    }
                }
            })
        })
        .collect();
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(
            task.await
                .unwrap_or_else(|_| with(Dkim::default(), DkimResult::TempError, "verifying broke off")),
        );
    }
    results
}

async fn verify_one(
    authenticator: &MessageAuthenticator,
    hashed: &Hashed,
    candidate: Candidate,
    deadline: Instant,
) -> Dkim {
    let Candidate { field, signature, mut known } = candidate;
    let mut view = hashed.view();
    view.dkim_headers.push(hashed.field(&field, signature));
    let Ok(outputs) = timeout_at(deadline, authenticator.verify_dkim(&view)).await else {
        return with(known, DkimResult::TempError, TIME_OVER);
    };
    let Some(output) = outputs.first() else {
        return with(known, DkimResult::Neutral, "not verified");
    };
    let (result, why) = outcome(output);
    known.result = result;
    known.reason = why;
    known
}

/// What the library says, in our words: a signature whose body hash differs fails (RFC 8601 §2.7.1).
fn outcome(output: &DkimOutput<'_>) -> (DkimResult, Option<String>) {
    match output.result() {
        Outcome::Pass => (DkimResult::Pass, None),
        Outcome::Fail(why) | Outcome::Neutral(why) => (DkimResult::Fail, Some(why.to_string())),
        Outcome::PermError(why) => (DkimResult::PermError, Some(why.to_string())),
        Outcome::TempError(why) => (DkimResult::TempError, Some(why.to_string())),
        Outcome::None => (DkimResult::Neutral, None),
    }
}

async fn verify_chain(
    authenticator: &MessageAuthenticator,
    hashed: &Hashed,
    chain: Chain,
    deadline: Instant,
) -> ArcChain {
    let mut view = hashed.view();
    let mut sets = Vec::with_capacity(chain.seals.len());
    for ((seal, signature), results) in chain.seals.into_iter().zip(chain.signatures).zip(chain.results) {
        sets.push(ArcSet { instance: seal.1.i, sealer: seal.1.d.to_ascii_lowercase(), results: results.2 });
        view.as_headers.push(hashed.field(&seal.0, seal.1));
        view.ams_headers.push(hashed.field(&signature.0, signature.1));
        view.aar_headers.push(hashed.field(&results.0, results.1));
    }
    let Ok(output) = timeout_at(deadline, authenticator.verify_arc(&view)).await else {
        return failed_chain(ArcResult::TempError, TIME_OVER);
    };
    match output.result() {
        Outcome::Pass => ArcChain { result: ArcResult::Pass, sets, reason: None },
        Outcome::TempError(why) => failed_chain(ArcResult::TempError, &why.to_string()),
        Outcome::Fail(why) | Outcome::Neutral(why) | Outcome::PermError(why) => {
            failed_chain(ArcResult::Fail, &why.to_string())
        }
        Outcome::None => failed_chain(ArcResult::Fail, "not verified"),
    }
}

fn failed_chain(result: ArcResult, why: &str) -> ArcChain {
    ArcChain { result, sets: Vec::new(), reason: Some(why.to_owned()) }
}
