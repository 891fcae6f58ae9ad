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
        let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
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
    use super::*;

    const KEY: &str =
        "257 3 13 GDDFmDsuIx88Stecx7UU+3pNf9G5MoyB7wTjxuV3k2gNRUMFQbJMSYmUxuU2BAFQoZIkc426EFBFpbTiEibt8A==";

    fn read(text: &str) -> Result<(usize, String), String> {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("inbox-anchors-{}-{n}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let read = Anchors::read(&path).map(|a| (a.keys.len(), a.first_zone().to_ascii()));
        std::fs::remove_file(&path).unwrap();
        read
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
}
