//! What stands between the name servers and the validator: it bounds the work that answers can cause.
//!
//! A validator is asked by strangers' data to verify signatures (KeyTrap, CVE-2023-50387). Here sections that
//! prove nothing are dropped, an answer with too many signatures or keys is refused as a whole, and each look-up
//! has a number of questions that it may lead to. What is over a limit is a temporary failure.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_lite::{Stream, StreamExt, stream};
use hickory_proto::dnssec::rdata::DNSSECRData;
use hickory_proto::op::{DnsRequest, DnsResponse, Query, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_resolver::net::xfer::DnsHandle;
use hickory_resolver::net::{DnsError, NetError, NoRecords};

use super::cache::{Cache, Key, key};

/// Signatures in one answer.
const SIGNATURES_MAX: usize = 16;
/// Keys in one answer.
const KEYS_MAX: usize = 32;
/// Questions to the name servers that one look-up may lead to; those known already are not counted. A name of
/// five labels, each a zone, needs about twenty.
const QUESTIONS_MAX: usize = 48;
/// How long keys, and what says that there are none, are kept before they are validated.
const KEPT_MAX: Duration = Duration::from_secs(60);

/// Answers to the questions that every validation repeats: keys, their digests, where zones begin.
pub(super) type Chain = Cache<Result<DnsResponse, NetError>>;

/// One look-up's view of the name servers.
pub(super) struct Limited<H> {
    inner: H,
    chain: Arc<Chain>,
    asked: Arc<AtomicUsize>,
}

impl<H: Clone> Clone for Limited<H> {
    fn clone(&self) -> Limited<H> {
        Limited { inner: self.inner.clone(), chain: self.chain.clone(), asked: self.asked.clone() }
    }
}

impl<H> Limited<H> {
    pub(super) fn new(inner: H, chain: Arc<Chain>) -> Limited<H> {
        Limited { inner, chain, asked: Arc::default() }
    }
}

impl<H: DnsHandle> DnsHandle for Limited<H> {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = H::Runtime;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let Some(query) = request.queries.first() else {
            return Box::pin(stream::once(Err(NetError::from("no question"))));
        };
        let kind = query.query_type();
        let repeated = matches!(kind, RecordType::DNSKEY | RecordType::DS | RecordType::NS);
        let kept = repeated.then(|| key(query.name(), kind));
        if let Some(known) = kept.as_ref().and_then(|key| self.chain.get(key)) {
            return Box::pin(stream::once(known));
        }
        if self.asked.fetch_add(1, Ordering::Relaxed) >= QUESTIONS_MAX {
            return Box::pin(stream::once(Err(NetError::from("a look-up leads to too many questions"))));
        }
        let chain = self.chain.clone();
        let query = query.clone();
        Box::pin(self.inner.send(request).map(move |answer| {
            let answer = limit(answer, kind).map_err(|error| no_zone(error, query.clone()));
            if let Some(key) = &kept {
                keep(&chain, key.clone(), &answer);
            }
            answer
        }))
    }
}

/// Where a zone begins is asked for to find what its parent says of it; that answer is not validated. Servers that
/// know one type only fail such questions: then the zone is taken to begin further up, where its signatures or the
/// proof that there are none must be found all the same.
fn no_zone(error: NetError, query: Query) -> NetError {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(_)) => error,
        _ if query.query_type() == RecordType::NS => NoRecords::new(query, ResponseCode::NoError).into(),
        _ => error,
    }
}

fn keep(chain: &Chain, key: Key, answer: &Result<DnsResponse, NetError>) {
    let ttl = match answer {
        Ok(response) => {
            response.answers.iter().map(|r| r.ttl).min().or(response.negative_ttl()).unwrap_or_default()
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => none.negative_ttl.unwrap_or_default(),
        Err(_) => return,
    };
    chain.put(key, answer.clone(), Duration::from_secs(ttl.into()).min(KEPT_MAX));
}

/// The answer without what proves nothing, or an error when it is more than it may be.
fn limit(answer: Result<DnsResponse, NetError>, kind: RecordType) -> Result<DnsResponse, NetError> {
    let proves = |r: &Record| kind == RecordType::NS || covered(r) != RecordType::NS;
    match answer {
        Ok(mut response) => {
            response.additionals.clear();
            response.authorities.retain(proves);
            within_limits(response.answers.iter().chain(&response.authorities))?;
            Ok(response)
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(mut none))) => {
            if let Some(records) = none.authorities.take() {
                let records: Vec<Record> = records.iter().filter(|r| proves(r)).cloned().collect();
                within_limits(records.iter())?;
                none.authorities = Some(records.into());
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
        }
        Err(error) => Err(error),
    }
}

fn within_limits<'a>(records: impl Iterator<Item = &'a Record>) -> Result<(), NetError> {
    let (mut signatures, mut keys) = (0, 0);
    for record in records {
        match record.record_type() {
            RecordType::RRSIG => signatures += 1,
            RecordType::DNSKEY => keys += 1,
            _ => {}
        }
    }
    match () {
        () if signatures > SIGNATURES_MAX => Err(NetError::from("an answer has too many signatures")),
        () if keys > KEYS_MAX => Err(NetError::from("an answer has too many keys")),
        () => Ok(()),
    }
}

/// The record's type; of a signature, the type that it signs.
fn covered(record: &Record) -> RecordType {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => signature.input().type_covered,
        _ => record.record_type(),
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::dnssec::rdata::{DNSKEY, RRSIG, SigInput};
    use hickory_proto::dnssec::{Algorithm, PublicKeyBuf};
    use hickory_proto::op::{Message, OpCode};
    use hickory_proto::rr::rdata::{A, NS};
    use hickory_proto::rr::{Name, SerialNumber};

    use super::*;

    fn signature() -> Record {
        let name = Name::from_ascii("zone.test.").unwrap();
        let input = SigInput {
            type_covered: RecordType::A,
            algorithm: Algorithm::ECDSAP256SHA256,
            num_labels: 2,
            original_ttl: 60,
            sig_expiration: SerialNumber::new(2),
            sig_inception: SerialNumber::new(1),
            key_tag: 1,
            signer_name: name.clone(),
        };
        let data = RRSIG::from_sig(input, vec![0; 64]);
        Record::from_rdata(name, 60, RData::DNSSEC(DNSSECRData::RRSIG(data)))
    }

    fn key() -> Record {
        let data = DNSKEY::new(true, true, false, PublicKeyBuf::new(vec![0; 64], Algorithm::ECDSAP256SHA256));
        let name = Name::from_ascii("zone.test.").unwrap();
        Record::from_rdata(name, 60, RData::DNSSEC(DNSSECRData::DNSKEY(data)))
    }

    fn limited(records: Vec<Record>, kind: RecordType) -> Result<DnsResponse, NetError> {
        let mut message = Message::response(1, OpCode::Query);
        message.add_answers(records);
        let ns = RData::NS(NS(Name::from_ascii("ns.zone.test.").unwrap()));
        message.add_authorities([Record::from_rdata(Name::from_ascii("zone.test.").unwrap(), 60, ns)]);
        let glue = RData::A(A::new(192, 0, 2, 1));
        message.add_additionals([Record::from_rdata(Name::from_ascii("ns.zone.test.").unwrap(), 60, glue)]);
        limit(Ok(DnsResponse::from_message(message).unwrap()), kind)
    }

    #[test]
    fn dt5_signatures_and_keys_of_one_answer_have_limits() {
        assert!(limited(vec![signature(); SIGNATURES_MAX], RecordType::A).is_ok());
        assert!(limited(vec![signature(); SIGNATURES_MAX + 1], RecordType::A).is_err());
        assert!(limited(vec![key(); KEYS_MAX], RecordType::DNSKEY).is_ok());
        assert!(limited(vec![key(); KEYS_MAX + 1], RecordType::DNSKEY).is_err());
    }

    #[test]
    fn a_server_that_fails_the_question_for_a_zone_has_none() {
        let about = |kind| Query::query(Name::from_ascii("lb.zone.test.").unwrap(), kind);
        let failed = || NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail));
        assert!(no_zone(failed(), about(RecordType::NS)).is_no_records_found());
        assert!(!no_zone(failed(), about(RecordType::DS)).is_no_records_found());
    }

    #[test]
    fn what_proves_nothing_is_dropped() {
        let answer = limited(vec![signature()], RecordType::A).unwrap();
        assert_eq!((answer.authorities.len(), answer.additionals.len()), (0, 0));
        let answer = limited(vec![signature()], RecordType::NS).unwrap();
        assert_eq!((answer.authorities.len(), answer.additionals.len()), (1, 0));
    }
}
