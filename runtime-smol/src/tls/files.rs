//! Certificates and keys in files: reading them, making a self-signed pair, seeing that they changed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::Error;

/// A certificate chain and its key.
pub(super) struct Pair {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// Reads both files.
pub(super) fn read(cert: &Path, key: &Path) -> Result<Pair, Error> {
    let chain = certificates(cert)?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|e| Error(format!("{}: no private key can be read: {e}", key.display())))?;
    Ok(Pair { chain, key })
}

/// All certificates in a PEM file; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let fail =
        |e: &dyn std::fmt::Display| Error(format!("{}: no certificate can be read: {e}", path.display()));
    let all = CertificateDer::pem_file_iter(path).map_err(|e| fail(&e))?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|e| fail(&e))?;
    if all.is_empty() { Err(fail(&"the file holds none")) } else { Ok(all) }
}

/// Where the self-signed pair of `hostname` lies; made when absent. The flag says whether it was made now.
pub(super) fn self_signed(data_dir: &Path, hostname: &str) -> Result<(PathBuf, PathBuf, bool), Error> {
    let dir = data_dir.join("tls");
    let (cert, key) = (dir.join(format!("{hostname}.crt")), dir.join(format!("{hostname}.key")));
    if cert.exists() && key.exists() {
        return Ok((cert, key, false));
    }
    let fail = |path: &Path, e: std::io::Error| Error(format!("{}: {e}", path.display()));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|e| fail(&dir, e))?;
    let (cert_pem, key_pem) =
        make(hostname).map_err(|e| Error(format!("no certificate can be made: {e}")))?;
    write(&key, key_pem.as_bytes(), 0o600).map_err(|e| fail(&key, e))?;
    write(&cert, cert_pem.as_bytes(), 0o644).map_err(|e| fail(&cert, e))?;
    Ok((cert, key, true))
}

fn make(hostname: &str) -> Result<(String, String), rcgen::Error> {
    let mut names = vec![hostname.to_owned()];
    if hostname != "localhost" {
        names.push("localhost".into());
    }
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, hostname);
    let key = KeyPair::generate()?;
    let cert = params.self_signed(&key)?;
    Ok((cert.pem(), key.serialize_pem()))
}

/// A crash leaves the old file or the new one, never half of it.
fn write(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let tmp = path.with_extension("tmp");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&tmp)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&tmp, path)
}

/// What tells one state of the two files from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp(Vec<Option<(u64, u64, i64, i64)>>);

pub(super) fn stamp(paths: [&Path; 2]) -> Stamp {
    let one = |path: &Path| {
        let m = fs::metadata(path).ok()?;
        Some((m.ino(), m.size(), m.mtime(), m.mtime_nsec()))
    };
    Stamp(paths.into_iter().map(one).collect())
}
