//! Trust anchors: what DNS_TRUST_ANCHOR_FILE holds, or the keys of the root.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, RRSIG};
use hickory_proto::dnssec::{PublicKey, TrustAnchors, Verifier};
use hickory_proto::op::{DnsRequestOptions, Query};
use hickory_proto::rr::{DNSClass, LowerName, Name, RData, Record, RecordType, SerialNumber};
use hickory_proto::serialize::txt::trust_anchor::{Entry, Parser};
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};

use crate::wire::wall_now;

pub(super) struct Anchors {
    keys: Arc<TrustAnchors>,
    /// Zones other than the root that have an anchor.
    zones: Vec<Name>,
    /// The zone of the first.
    first: Name,
}

impl Default for Anchors {
    fn default() -> Anchors {
        Anchors { keys: Arc::default(), zones: Vec::new(), first: Name::root() }
    }
}

impl Anchors {
    /// Reads a file of DNSKEY records.
    pub(super) fn read(path: &Path) -> Result<Anchors, String> {
        Anchors::parse(&std::fs::read_to_string(path).map_err(|e| e.to_string())?)
    }

    fn parse(text: &str) -> Result<Anchors, String> {
        let text: String = text.lines().map(|line| plain_line(line) + "\n").collect();
        let wrong = |e: &dyn Display| format!("{e}; valid are DNSKEY records as in a zone file");
        let entries = Parser::new(text.as_str()).parse().map_err(|e| wrong(&e))?;
        let keys: TrustAnchors = text.parse().map_err(|e| wrong(&e))?;
        let mut zones: Vec<Name> = Vec::new();
        for entry in entries {
            let Entry::DNSKEY(record) = entry else { return Err(wrong(&"a record of another type")) };
            let mut zone = record.name().clone();
            zone.set_fqdn(true);
            if !zones.contains(&zone) {
                zones.push(zone);
            }
        }
        let Some(first) = zones.first().cloned() else { return Err(wrong(&"there is no record")) };
        zones.retain(|zone| !zone.is_root());
        Ok(Anchors { keys: Arc::new(keys), zones, first })
    }

    /// Whether an anchor stands above a name. Of the others nothing can be proved, nor can it be false.
    pub(super) fn cover(&self, name: &Name) -> bool {
        !self.keys.is_empty() || self.zones.iter().any(|zone| zone.zone_of(name))
    }

    pub(super) fn first_zone(&self) -> &Name {
        &self.first
    }

    /// What the validator is to trust. For a zone other than the root it knows only keys that are trusted
    /// themselves, and asks the parent for the others; so the keys that an anchor signs are added here.
    pub(super) async fn trusted(
        &self,
        handle: &impl DnsHandle,
        options: DnsRequestOptions,
    ) -> Arc<TrustAnchors> {
        if self.zones.is_empty() {
            return self.keys.clone();
        }
        let mut all = (*self.keys).clone();
        for zone in &self.zones {
            let question = Query::query(zone.clone(), RecordType::DNSKEY);
            let Ok(response) = handle.lookup(question, options).first_answer().await else { continue };
            let seconds = (wall_now().0 / 1000) & i64::from(u32::MAX); // they wrap (RFC 4034 §3.1.5)
            let now = u32::try_from(seconds).unwrap_or_default();
            for key in self.signed_keys(zone, &response.answers, now) {
                all.insert_with_name(key.public_key(), LowerName::new(zone));
            }
        }
        Arc::new(all)
    }

    /// The keys of a zone, when one that is trusted signs them all.
    fn signed_keys<'a>(&self, zone: &Name, answers: &'a [Record], now: u32) -> Vec<&'a DNSKEY> {
        let here = || answers.iter().filter(|r| r.name == *zone);
        let set: Vec<&Record> = here().filter(|r| r.record_type() == RecordType::DNSKEY).collect();
        let keys: Vec<&DNSKEY> = here().filter_map(key).collect();
        let trusted = |key: &&&DNSKEY| self.keys.contains_with_name(key.public_key(), &LowerName::new(zone));
        let signed = here().filter_map(signature).any(|signature| {
            let input = signature.input();
            let now = SerialNumber::new(now);
            let in_time = input.sig_inception <= now && now <= input.sig_expiration;
            let signs = |key: &&DNSKEY| {
                key.calculate_key_tag().is_ok_and(|tag| tag == input.key_tag)
                    && key.public_key().algorithm() == input.algorithm
                    && key.verify_rrsig(zone, DNSClass::IN, signature, set.iter().copied()).is_ok()
            };
            in_time && input.signer_name == *zone && keys.iter().filter(trusted).copied().any(|k| signs(&k))
        });
        if signed { keys.into_iter().filter(|k| k.zone_key() && !k.revoke()).collect() } else { Vec::new() }
    }
}

fn key(record: &Record) -> Option<&DNSKEY> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::DNSKEY(key)) => Some(key),
        _ => None,
    }
}

fn signature(record: &Record) -> Option<&RRSIG> {
    match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) if rrsig.input().type_covered == RecordType::DNSKEY => {
            Some(rrsig)
        }
        _ => None,
    }
}

/// A line as the parser takes it: without comment, and with the class alone between name and type. The programs
/// that write such files leave out the class or the time to live, or write them in either order.
fn plain_line(line: &str) -> String {
    let line = line.split(';').next().unwrap_or("").trim();
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.iter().take(4).position(|word| word.eq_ignore_ascii_case("DNSKEY")) {
        Some(at @ 1..) => format!("{} IN DNSKEY {}", words[0], words[at + 1..].join(" ")),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::dnssec::crypto::EcdsaSigningKey;
    use hickory_proto::dnssec::rdata::SigInput;
    use hickory_proto::dnssec::{Algorithm, SigningKey, TBS};

    use super::*;

    const KEY: &str =
        "257 3 13 GDDFmDsuIx88Stecx7UU+3pNf9G5MoyB7wTjxuV3k2gNRUMFQbJMSYmUxuU2BAFQoZIkc426EFBFpbTiEibt8A==";

    fn read(text: &str) -> Result<(usize, String), String> {
        Anchors::parse(text).map(|a| (a.keys.len(), a.first_zone().to_ascii()))
    }

    #[test]
    fn trust_anchors_as_programs_write_them() {
        for middle in ["DNSKEY", "IN DNSKEY", "172800 IN DNSKEY", "IN 172800 DNSKEY", "3600 DNSKEY"] {
            let text = format!("; a comment\n\n. {middle} {KEY} ;;state=2 [  VALID  ]\n");
            assert_eq!(read(&text), Ok((1, ".".into())), "{middle}");
        }
        assert_eq!(read(&format!("test. IN DNSKEY {KEY}\n")), Ok((0, "test.".into())));
        for wrong in ["", ". IN DS 20326 8 2 E06D44B8", "no anchor at all"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    fn new_key() -> (EcdsaSigningKey, DNSKEY) {
        let algorithm = Algorithm::ECDSAP256SHA256;
        let pkcs8 = EcdsaSigningKey::generate_pkcs8(algorithm).unwrap();
        let key = EcdsaSigningKey::from_pkcs8(&pkcs8, algorithm).unwrap();
        let public = DNSKEY::new(true, true, false, key.to_public_key().unwrap());
        (key, public)
    }

    /// The keys as records, and a signature over them that is good from 1,000 to 2,000.
    fn signed(zone: &Name, keys: &[&DNSKEY], (key, public): &(EcdsaSigningKey, DNSKEY)) -> Vec<Record> {
        let record = |data| Record::from_rdata(zone.clone(), 60, RData::DNSSEC(data));
        let mut records: Vec<Record> =
            keys.iter().map(|key| record(DNSSECRData::DNSKEY((*key).clone()))).collect();
        let input = SigInput {
            type_covered: RecordType::DNSKEY,
            algorithm: Algorithm::ECDSAP256SHA256,
            num_labels: zone.num_labels(),
            original_ttl: 60,
            sig_expiration: SerialNumber::new(2000),
            sig_inception: SerialNumber::new(1000),
            key_tag: public.calculate_key_tag().unwrap(),
            signer_name: zone.clone(),
        };
        let octets = TBS::from_input(zone, DNSClass::IN, &input, records.iter()).unwrap();
        let signature = RRSIG::from_sig(input, key.sign(&octets).unwrap());
        records.push(record(DNSSECRData::RRSIG(signature)));
        records
    }

    #[test]
    fn the_keys_that_an_anchor_below_the_root_signs_are_trusted() {
        let zone = Name::from_ascii("island.test.").unwrap();
        let [anchor, other, late] = [(); 3].map(|()| new_key());
        let base64 = &base64::engine::general_purpose::STANDARD;
        let public = base64::Engine::encode(base64, anchor.1.public_key().public_bytes());
        let anchors = Anchors::parse(&format!("island.test. IN DNSKEY 257 3 13 {public}")).unwrap();
        let trusted = |records: &[Record], now| anchors.signed_keys(&zone, records, now).len();
        let records = signed(&zone, &[&anchor.1, &other.1], &anchor);
        for (now, expected) in [(999, 0), (1000, 2), (2000, 2), (2001, 0)] {
            assert_eq!(trusted(&records, now), expected, "{now}");
        }
        assert_eq!(trusted(&signed(&zone, &[&anchor.1, &other.1], &other), 1500), 0, "signed by another");
        let mut added = records;
        let data = DNSSECRData::DNSKEY(late.1);
        added.push(Record::from_rdata(zone.clone(), 60, RData::DNSSEC(data)));
        assert_eq!(trusted(&added, 1500), 0, "a key was added");
        let name = |text: &str| Name::from_ascii(text).unwrap();
        assert!(anchors.cover(&name("mx.island.test.")) && !anchors.cover(&name("other.test.")));
        assert!(Anchors::default().cover(&name("other.test.")));
    }
}
