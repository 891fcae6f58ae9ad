//! TLS towards other servers: verified, or encrypted whatever the certificate, with what was shown recorded, to be
//! judged before anything is said.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use protocol_smtp::route::dane::CHAIN_MAX;
use protocol_smtp::route::posture::Check;

use super::{Error, files, judge, provider};

/// What the certificate of one connection was worth, once its handshake is done.
#[derive(Debug, Default)]
pub struct Verdict(OnceLock<Shown>);

#[derive(Debug)]
struct Shown {
    /// Under the trusted roots, for the name that was asked for.
    pkix: Result<(), String>,
    /// The server's own certificate first.
    chain: Vec<CertificateDer<'static>>,
    at: UnixTime,
}

impl Verdict {
    /// `Ok` when the certificate is valid for the name asked for under our roots, else why not; `None`
    /// before the handshake.
    pub fn result(&self) -> Option<Result<(), &str>> {
        self.0.get().map(|shown| shown.pkix.as_ref().copied().map_err(String::as_str))
    }

    /// Whether the certificate is valid for the name asked for under our roots.
    pub fn is_valid(&self) -> bool {
        matches!(self.result(), Some(Ok(())))
    }

    /// What the certificate is worth under a check, else why it is worth nothing.
    pub fn judge(&self, check: &Check) -> Result<(), String> {
        let Some(shown) = self.0.get() else { return Err("no certificate was shown".to_owned()) };
        match check {
            Check::Pkix => shown.pkix.clone(),
            Check::Dane { records, names, base_domain } => {
                judge::dane(records, names, &shown.chain, shown.at)
                    .map_err(|why| format!("{why} (TLSA of {base_domain})"))
            }
        }
    }
}

/// The trusted roots: the public ones and those of TLS_EXTRA_ROOTS_FILE.
#[derive(Clone, Debug)]
pub struct ClientTls {
    verifier: Arc<WebPkiServerVerifier>,
}

impl ClientTls {
    /// Reads the extra roots.
    pub fn open(extra_roots: Option<&Path>) -> Result<ClientTls, Error> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = extra_roots {
            for cert in files::certificates(path)? {
                roots
                    .add(cert)
                    .map_err(|e| Error(format!("TLS_EXTRA_ROOTS_FILE {}: {e}", path.display())))?;
            }
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|e| Error(e.to_string()))?;
        Ok(ClientTls { verifier })
    }

    /// The handshake fails unless the certificate is valid for the name.
    pub fn verifying(&self) -> Result<Arc<ClientConfig>, Error> {
        self.config(self.verifier.clone())
    }

    /// The handshake goes on whatever the certificate is; the verdict is there afterwards. For one
    /// connection: no session is resumed, because a resumed one shows no certificate.
    pub fn recording(&self) -> Result<(Arc<ClientConfig>, Arc<Verdict>), Error> {
        let verdict = Arc::new(Verdict::default());
        let recorder = Recorder { inner: self.verifier.clone(), verdict: verdict.clone() };
        Ok((self.config(Arc::new(recorder))?, verdict))
    }

    /// Whether a chain, the server's own certificate first, is valid for a name now; if not, why.
    pub fn check(&self, chain: &[CertificateDer<'_>], name: &str) -> Result<(), String> {
        let (own, others) = chain.split_first().ok_or("there is no certificate")?;
        let name = ServerName::try_from(name).map_err(|e| e.to_string())?;
        let checked = self.verifier.verify_server_cert(own, others, &name, &[], UnixTime::now());
        checked.map(drop).map_err(|e| e.to_string())
    }

    fn config(&self, verifier: Arc<dyn ServerCertVerifier>) -> Result<Arc<ClientConfig>, Error> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|e| Error(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// Lets every certificate pass and remembers what the real verifier said. That the peer holds the
/// certificate's key is still checked.
#[derive(Debug)]
struct Recorder {
    inner: Arc<WebPkiServerVerifier>,
    verdict: Arc<Verdict>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let result =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let looked_at = intermediates.iter().take(CHAIN_MAX - 1);
        let chain = std::iter::once(end_entity).chain(looked_at).map(|c| c.clone().into_owned()).collect();
        let pkix = result.map(|_| ()).map_err(|e| e.to_string());
        let _ = self.verdict.0.set(Shown { pkix, chain, at: now });
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
