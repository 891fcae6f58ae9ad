//! The policies of our own domains: what `https://mta-sts.DOMAIN/.well-known/mta-sts.txt` answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol_core::Timestamp;
use protocol_core::address::canonical_domain;
use protocol_smtp::route::mta_sts::{self, Mode, POLICY_HOST_PREFIX, Policy};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use storage::{Error, Storage};

use crate::config::Config;
use crate::tls::{ClientTls, ServerTls};
use crate::wire::wall_now;

/// How long the verdict on our certificate is believed: anybody may ask, any number of times.
const VERDICT_LIFE: Duration = Duration::from_secs(60);

/// What is served.
pub struct Own {
    config: Arc<Config>,
    storage: Storage,
    certificate: Arc<ServerTls>,
    roots: ClientTls,
    verdict: Mutex<Option<(Timestamp, bool)>>,
}

impl Own {
    /// For the domains in storage. `roots` say whether others can verify our certificate.
    pub fn new(config: Arc<Config>, storage: Storage, certificate: Arc<ServerTls>, roots: ClientTls) -> Own {
        Own { config, storage, certificate, roots, verdict: Mutex::default() }
    }

    /// The policy's text for a `Host`; none when no domain of ours is meant.
    ///
    /// # Errors
    /// The domains cannot be read.
    pub async fn text(&self, host: &str) -> Result<Option<String>, Error> {
        let Some(domain) = domain_of(host) else { return Ok(None) };
        match self.storage.store().domain(&domain).await {
            Ok(_) => Ok(Some(policy(&self.config, self.is_valid().await).text())),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether our certificate is valid for our name under the roots that we trust ourselves: the public ones and
    /// those of TLS_EXTRA_ROOTS_FILE, which an installation sets that lives among its own.
    async fn is_valid(&self) -> bool {
        let now = wall_now();
        let last = *self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, valid)) = last
            && now.since(at) < VERDICT_LIFE
        {
            return valid;
        }
        let (path, roots) = (self.certificate.cert_path().to_owned(), self.roots.clone());
        let name = self.config.server.hostname.clone();
        let verdict = blocking::unblock(move || {
            let chain = CertificateDer::pem_file_iter(&path).map_err(|e| e.to_string())?;
            let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
            roots.check(&chain, &name)
        });
        let verdict = verdict.await;
        if let Err(why) = &verdict
            && last.is_none_or(|(_, valid)| valid)
            && self.config.mta_sts.own_mode != Mode::None.as_str()
        {
            tracing::warn!(why, "our MTA-STS policies are served in mode none: our certificate is not valid");
        }
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, verdict.is_ok()));
        verdict.is_ok()
    }
}

/// The policy of all our domains, whose mail comes to SERVER_HOSTNAME.
pub fn policy(config: &Config, publicly_valid: bool) -> Policy {
    let mode = Mode::parse(&config.mta_sts.own_mode).unwrap_or(Mode::None);
    mta_sts::own(mode, &config.server.hostname, publicly_valid)
}

/// The domain whose policy host is asked for.
fn domain_of(host: &str) -> Option<String> {
    // An address in brackets has colons too, and is no domain.
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let domain = name.strip_prefix(POLICY_HOST_PREFIX)?;
    canonical_domain(domain).ok().filter(|d| !d.starts_with('['))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_names_the_domain() {
        for (host, domain) in [
            ("mta-sts.example.test", Some("example.test")),
            ("MTA-STS.Example.Test.:8443", Some("example.test")),
            ("mta-sts.a.example.test:443", Some("a.example.test")),
            ("example.test", None),
            ("mta-sts.", None),
            ("mta-sts.[192.0.2.1]", None),
            ("[2001:db8::1]:443", None),
            ("", None),
        ] {
            assert_eq!(domain_of(host).as_deref(), domain, "{host}");
        }
    }
}
