//! A chain of certificates under TLSA records (RFC 7671, RFC 7672). Which certificate is meant is decided by
//! [`dane::matches`]; here the path to it is built.

use protocol_smtp::route::dane::{self, Certificate, Match, Tlsa};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::provider;

/// `Ok` when the chain is what the records say. `names` are those of which the certificate must show one when a
/// usage 2 record is what fits; under usage 3 neither names nor dates are looked at.
pub(super) fn dane(
    records: &[Tlsa],
    names: &[String],
    chain: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), String> {
    let anchors: Vec<Option<TrustAnchor<'_>>> =
        chain.iter().map(|c| webpki::anchor_from_trusted_cert(c).ok()).collect();
    let keys: Vec<Vec<u8>> = anchors.iter().map(|a| a.as_ref().map(key_of).unwrap_or_default()).collect();
    let shown: Vec<Certificate<'_>> =
        chain.iter().zip(&keys).map(|(c, key)| Certificate { der: c.as_ref(), spki: key }).collect();
    let mut why = "the certificate is not the one that is published".to_owned();
    for found in dane::matches(records, &shown) {
        match found {
            Match::EndEntity => return Ok(()),
            Match::Anchor(at) => {
                let Some(Some(anchor)) = anchors.get(at) else { continue };
                match leads_to(anchor, names, chain, now) {
                    Ok(()) => return Ok(()),
                    Err(error) => {
                        why = format!("the certificate does not come from the published one: {error}")
                    }
                }
            }
        }
    }
    Err(why)
}

/// SubjectPublicKeyInfo with its outer SEQUENCE.
fn key_of(anchor: &TrustAnchor<'_>) -> Vec<u8> {
    webpki::spki_for_anchor(anchor).as_ref().to_vec()
}

fn leads_to(
    anchor: &TrustAnchor<'_>,
    names: &[String],
    chain: &[CertificateDer<'_>],
    now: UnixTime,
) -> Result<(), String> {
    let (own, others) = chain.split_first().ok_or("there is none")?;
    let own = EndEntityCert::try_from(own).map_err(|e| e.to_string())?;
    let algorithms = provider().signature_verification_algorithms;
    own.verify_for_usage(
        algorithms.all,
        std::slice::from_ref(anchor),
        others,
        now,
        KeyUsage::server_auth(),
        None,
        None,
    )
    .map_err(|e| e.to_string())?;
    let mut shows = names.iter().filter_map(|name| ServerName::try_from(name.as_str()).ok());
    match shows.any(|name| own.verify_is_valid_for_subject_name(&name).is_ok()) {
        true => Ok(()),
        false => Err(format!("it shows none of {}", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData};
    use sha2::{Digest, Sha256};

    use super::*;

    const NAME: &str = "mx.example.test";

    struct Chain {
        certificates: Vec<CertificateDer<'static>>,
        /// SubjectPublicKeyInfo of each.
        keys: Vec<Vec<u8>>,
    }

    fn authority(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    /// Server, intermediate, root.
    fn chain() -> Chain {
        let [server_key, middle_key, root_key] = [(); 3].map(|()| KeyPair::generate().unwrap());
        let keys = [&server_key, &middle_key, &root_key].map(PublicKeyData::subject_public_key_info);
        let root = CertifiedIssuer::self_signed(authority("root"), root_key).unwrap();
        let middle = CertifiedIssuer::signed_by(authority("middle"), middle_key, &root).unwrap();
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let server = params.signed_by(&server_key, &middle).unwrap();
        let certificates = vec![server.der().clone(), middle.der().clone(), root.der().clone()];
        Chain { certificates, keys: keys.to_vec() }
    }

    fn record(usage: u8, key: &[u8]) -> Tlsa {
        Tlsa { usage, selector: 1, matching: 1, data: Sha256::digest(key).to_vec() }
    }

    fn year(years_since_1970: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(years_since_1970 * 365 * 86_400 + 30 * 86_400))
    }

    fn judged(
        chain: &[CertificateDer<'_>],
        records: &[Tlsa],
        name: &str,
        now: UnixTime,
    ) -> Result<(), String> {
        dane(records, &[name.to_owned()], chain, now)
    }

    #[test]
    fn dt3_usage_3_looks_at_neither_names_nor_dates() {
        let c = chain();
        let own = &c.certificates[..1];
        assert_eq!(judged(own, &[record(3, &c.keys[0])], "other.test", year(80)), Ok(()));
        assert!(judged(own, &[record(3, &c.keys[1])], NAME, year(55)).is_err());
        let rollover = [record(3, &c.keys[1]), record(3, &c.keys[0])];
        assert_eq!(judged(own, &rollover, NAME, year(55)), Ok(()));
        assert!(judged(&[], &[record(3, &c.keys[0])], NAME, year(55)).is_err());
    }

    #[test]
    fn dt3_usage_2_asks_for_the_path_the_name_and_the_dates() {
        let c = chain();
        for at in [1, 2] {
            let records = [record(2, &c.keys[at])];
            assert_eq!(judged(&c.certificates, &records, NAME, year(55)), Ok(()), "{at}");
            let other = judged(&c.certificates, &records, "other.test", year(55)).unwrap_err();
            assert!(other.contains("other.test"), "{other}");
            let late = judged(&c.certificates, &records, NAME, year(62)).unwrap_err();
            assert!(late.to_lowercase().contains("expired"), "{late}");
        }
        // The anchor must be shown, and the path must lead to it.
        assert!(judged(&c.certificates[..1], &[record(2, &c.keys[2])], NAME, year(55)).is_err());
        let other = chain();
        let mixed = [c.certificates[0].clone(), other.certificates[1].clone()];
        assert!(judged(&mixed, &[record(2, &other.keys[1])], NAME, year(55)).is_err());
        // A certificate that is not the server's own names no server under usage 3.
        assert!(judged(&c.certificates, &[record(3, &c.keys[1])], NAME, year(55)).is_err());
    }

    #[test]
    fn the_whole_certificate_and_its_hash_are_understood() {
        let c = chain();
        let der = c.certificates[0].as_ref();
        for (matching, data) in [(0, der.to_vec()), (1, Sha256::digest(der).to_vec())] {
            let record = Tlsa { usage: 3, selector: 0, matching, data };
            assert_eq!(judged(&c.certificates, &[record], NAME, year(55)), Ok(()));
        }
    }
}
