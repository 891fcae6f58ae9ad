//! The certificate we present, for each kind of port, replaced without a restart.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_io::Timer;
use rustls::ServerConfig;
use rustls_pki_types::UnixTime;

use super::files::{self, Stamp};
use super::{Error, binding, expiry, provider};
use crate::config::Config;
use crate::metrics::METRICS;

/// How often the files are looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);
/// How many looks there are from one look at the certificate's time to the next.
const LOOKS_A_DAY: u32 = 86_400 / 5;

/// Which protocol names (RFC 7301) a port answers to. A client that offers names, none of them the port's
/// own, gets alert 120.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Alpn {
    Smtp,
    Imap,
    Http,
}

/// A certificate in use: the configurations that present it and what binds a channel to it.
#[derive(Debug)]
pub struct Identity {
    smtp: Arc<ServerConfig>,
    imap: Arc<ServerConfig>,
    http: Arc<ServerConfig>,
    end_point: Option<Vec<u8>>,
    not_after: Option<UnixTime>,
}

impl Identity {
    /// The configuration for a port of that protocol.
    pub fn config(&self, alpn: Alpn) -> Arc<ServerConfig> {
        match alpn {
            Alpn::Smtp => self.smtp.clone(),
            Alpn::Imap => self.imap.clone(),
            Alpn::Http => self.http.clone(),
        }
    }

    /// RFC 5929 §4 `tls-server-end-point`; none for a certificate whose signature names no hash.
    pub fn end_point(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }
}

/// The current certificate. Connections take an [`Identity`] when they begin and keep it.
#[derive(Debug)]
pub struct ServerTls {
    cert: PathBuf,
    key: PathBuf,
    self_signed: bool,
    current: Mutex<(Arc<Identity>, Stamp)>,
}

impl ServerTls {
    /// Reads the configured pair, or the self-signed one, which is made when absent.
    pub fn open(config: &Config) -> Result<ServerTls, Error> {
        let (cert, key, self_signed) = match &config.tls.cert_and_key {
            Some((cert, key)) => (cert.clone(), key.clone(), false),
            None => {
                let (cert, key, made) = files::self_signed(&config.data_dir, &config.server.hostname)?;
                if made {
                    tracing::info!(path = %cert.display(), "made a self-signed certificate");
                }
                (cert, key, true)
            }
        };
        let stamp = files::stamp([&cert, &key]);
        let identity = identity(&cert, &key)?;
        Ok(ServerTls { cert, key, self_signed, current: Mutex::new((Arc::new(identity), stamp)) })
    }

    /// The warning that goes with a self-signed certificate.
    pub fn warning(&self) -> Option<String> {
        self.self_signed.then(|| {
            format!(
                "TLS_CERT_PATH is not set: the self-signed certificate {} is used; mail programs will not trust it",
                self.cert.display()
            )
        })
    }

    /// The file of the certificate in use.
    pub fn cert_path(&self) -> &std::path::Path {
        &self.cert
    }

    /// The certificate for a connection that begins now.
    pub fn identity(&self) -> Arc<Identity> {
        self.current.lock().unwrap_or_else(|e| e.into_inner()).0.clone()
    }

    /// Reads the files again. On an error the certificate in use stays.
    pub fn reload(&self) -> Result<(), Error> {
        let stamp = files::stamp([&self.cert, &self.key]);
        let identity = Arc::new(identity(&self.cert, &self.key)?);
        *self.current.lock().unwrap_or_else(|e| e.into_inner()) = (identity, stamp);
        Ok(())
    }

    /// Reads the files again if they are not what was read last; whether they were.
    pub fn reload_if_changed(&self) -> Result<bool, Error> {
        let stamp = files::stamp([&self.cert, &self.key]);
        if self.current.lock().unwrap_or_else(|e| e.into_inner()).1 == stamp {
            return Ok(false);
        }
        self.reload().map(|()| true)
    }

    /// Warns of a certificate that ends soon, and shows in /metrics when it does.
    fn look_at_the_time(&self) {
        let Some(not_after) = self.identity().not_after else { return };
        let secs = i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX);
        METRICS.certificate_not_after.store(secs, Ordering::Relaxed);
        if let Some(why) = expiry::warning(not_after, UnixTime::now()) {
            tracing::warn!(path = %self.cert.display(), "{why}");
        }
    }

    /// Watches the files for ever, and once a day the certificate's time. A pair that does not fit together (one of two files replaced) is tried
    /// again at the next look, and complained about once.
    pub async fn watch(&self) {
        let mut complained = None;
        let mut looks = 0u32;
        loop {
            if looks.is_multiple_of(LOOKS_A_DAY) {
                self.look_at_the_time();
            }
            looks = looks.wrapping_add(1);
            Timer::after(WATCH_INTERVAL).await;
            match self.reload_if_changed() {
                Ok(false) => {}
                Ok(true) => {
                    complained = None;
                    looks = 0;
                    tracing::info!(path = %self.cert.display(), "the certificate was replaced");
                }
                Err(e) if complained.as_ref() == Some(&e) => {}
                Err(e) => {
                    tracing::warn!(error = %e, "the new certificate cannot be used; the old one stays");
                    complained = Some(e);
                }
            }
        }
    }
}

fn identity(cert: &std::path::Path, key: &std::path::Path) -> Result<Identity, Error> {
    let pair = files::read(cert, key)?;
    let end_point = pair.chain.first().and_then(|c| binding::end_point(c));
    let not_after = pair.chain.first().and_then(expiry::not_after);
    let base = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| Error(e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(pair.chain, pair.key)
        .map_err(|e| Error(format!("{} and {}: {e}", cert.display(), key.display())))?;
    let with = |names: &[&str]| {
        let mut config = base.clone();
        config.alpn_protocols = names.iter().map(|n| n.as_bytes().to_vec()).collect();
        // Sessions are not resumed across protocols (ALPACA).
        config.session_storage = rustls::server::ServerSessionMemoryCache::new(1024);
        Arc::new(config)
    };
    Ok(Identity {
        smtp: with(&["smtp"]),
        imap: with(&["imap"]),
        http: with(&["h2", "http/1.1"]),
        end_point,
        not_after,
    })
}
