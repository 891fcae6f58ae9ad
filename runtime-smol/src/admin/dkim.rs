//! DKIM keys (RFC 6376, RFC 8463) and the DNS records a domain needs.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use protocol_smtp::route::mta_sts::{self, Mode, POLICY_HOST_PREFIX, id_of};
use protocol_smtp::tlsrpt;
use rsa::pkcs8::EncodePublicKey as _;
use rsa::traits::PublicKeyParts;
use rsa::{RsaPrivateKey, RsaPublicKey};
use serde_json::{Value, json};
use storage::{Domain, Keys, Purpose};
use zeroize::Zeroizing;

use super::{Failure, rotate};
use crate::config::Config;
use crate::mta_sts::own;

const RSA_BITS: usize = 2048;
/// RFC 8301 §3.2 advises against shorter ones, and the library that signs refuses them.
const RSA_BITS_MIN: usize = 2048;
const RSA_BITS_MAX: usize = 4096;

/// A private key in PKCS#8 and the public half as a DNS record wants it, both in base64.
pub(super) struct Pair {
    pub(super) private: Zeroizing<String>,
    pub(super) public: String,
}

/// A new RSA key of 2048 bits. Takes a second.
pub(super) fn make_rsa() -> Result<Pair, Failure> {
    let key = RsaPrivateKey::new(&mut rand_core::OsRng, RSA_BITS).map_err(failed)?;
    rsa_pair(&key)
}

/// A given RSA key.
pub(super) fn read_rsa(b64: &str) -> Result<Pair, Failure> {
    let der = decode(b64)?;
    let key =
        RsaPrivateKey::from_pkcs8_der(&der).map_err(|_| Failure("this is no RSA key in PKCS#8".into()))?;
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&(key.size() * 8)) {
        return Err(Failure(format!("an RSA key for DKIM has {RSA_BITS_MIN} to {RSA_BITS_MAX} bits")));
    }
    rsa_pair(&key)
}

fn rsa_pair(key: &RsaPrivateKey) -> Result<Pair, Failure> {
    let public = RsaPublicKey::from(key).to_public_key_der().map_err(failed)?;
    let private = key.to_pkcs8_der().map_err(failed)?;
    Ok(Pair {
        private: Zeroizing::new(BASE64.encode(private.as_bytes())),
        public: BASE64.encode(public.as_bytes()),
    })
}

/// A new Ed25519 key.
pub(super) fn make_ed25519() -> Result<Pair, Failure> {
    ed25519_pair(&SigningKey::generate(&mut rand_core::OsRng))
}

/// A given Ed25519 key.
pub(super) fn read_ed25519(b64: &str) -> Result<Pair, Failure> {
    let key = SigningKey::from_pkcs8_der(&decode(b64)?);
    ed25519_pair(&key.map_err(|_| Failure("this is no Ed25519 key in PKCS#8".into()))?)
}

fn ed25519_pair(key: &SigningKey) -> Result<Pair, Failure> {
    let private = key.to_pkcs8_der().map_err(failed)?;
    Ok(Pair {
        private: Zeroizing::new(BASE64.encode(private.as_bytes())),
        public: BASE64.encode(key.verifying_key().as_bytes()),
    })
}

fn decode(b64: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    BASE64.decode(b64.trim()).map(Zeroizing::new).map_err(|_| Failure("this is not base64".into()))
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure(format!("no key can be made: {error}"))
}

/// A secret of a domain, sealed with the master key, in base64.
pub(super) fn seal(keys: &Keys, purpose: Purpose, domain: &str, secret: &str) -> Result<String, Failure> {
    let sealed = keys.seal(purpose, domain, secret.as_bytes()).map_err(|e| Failure(e.to_string()))?;
    Ok(BASE64.encode(sealed))
}

/// The records to publish for a domain, in the order of their importance.
pub(crate) fn records(config: &Config, domain: &Domain) -> Vec<Value> {
    let (name, host) = (&domain.name, &config.server.hostname);
    let record =
        |name: String, kind: &str, value: String| json!({"name": name, "type": kind, "value": value});
    let mut out = vec![
        record(format!("{name}."), "MX", format!("10 {host}.")),
        record(format!("{name}."), "TXT", "v=spf1 mx -all".into()),
    ];
    let s = &domain.settings;
    let selector = s.dkim_selector.as_deref().unwrap_or(&config.dkim.selector);
    let (rsa, ed25519) = (s.dkim_public_key_b64.as_ref(), s.dkim_ed25519_public_key_b64.as_ref());
    let signing = rotate::key_records(name, selector, rsa, ed25519);
    for key in signing.into_iter().chain(rotate::next_records(domain)).chain(rotate::old_records(domain)) {
        out.push(record(format!("{}.", key.name), "TXT", key.kind.record(&key.public)));
    }
    let policy = format!("v=DMARC1; p=none; rua=mailto:postmaster@{name}");
    out.push(record(format!("_dmarc.{name}."), "TXT", policy));
    // The record's `id` is that of the policy as it will be once our certificate is valid.
    if config.ports.https.is_some() && config.mta_sts.own_mode != Mode::None.as_str() {
        let id = id_of(&own::policy(config, true));
        out.push(record(format!("{POLICY_HOST_PREFIX}{name}."), "CNAME", format!("{host}.")));
        out.push(record(format!("{}{name}.", mta_sts::RECORD_PREFIX), "TXT", format!("v=STSv1; id={id}")));
    }
    let reports = format!("v=TLSRPTv1; rua=mailto:postmaster@{name}");
    out.push(record(format!("{}{name}.", tlsrpt::RECORD_PREFIX), "TXT", reports));
    let services = [
        ("_submissions._tcp", config.ports.smtp_submissions),
        ("_submission._tcp", config.ports.smtp_submission),
        ("_imaps._tcp", config.ports.imaps),
    ];
    for (service, port) in services {
        if let Some(port) = port {
            out.push(record(format!("{service}.{name}."), "SRV", format!("0 1 {port} {host}.")));
        }
    }
    // RFC 6764 §3, §4: an address is enough for a client to find its calendars and contacts.
    for service in ["_caldavs._tcp", "_carddavs._tcp"] {
        if let Some(port) = config.ports.https {
            out.push(record(format!("{service}.{name}."), "SRV", format!("0 1 {port} {host}.")));
            out.push(record(format!("{service}.{name}."), "TXT", "path=/dav/".into()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back_with_the_same_public_half() {
        let rsa = make_rsa().unwrap();
        let again = read_rsa(&rsa.private).unwrap();
        assert_eq!((&*again.private, again.public), (&*rsa.private, rsa.public.clone()));
        assert!(BASE64.decode(&rsa.public).unwrap().len() > RSA_BITS / 8);
        let ed25519 = make_ed25519().unwrap();
        assert_eq!(read_ed25519(&ed25519.private).unwrap().public, ed25519.public);
        assert_eq!(BASE64.decode(&ed25519.public).unwrap().len(), 32);
        assert!(read_rsa(&ed25519.private).is_err() && read_ed25519(&rsa.private).is_err());
        assert!(read_rsa("!").is_err() && read_rsa("").is_err());
    }
}
