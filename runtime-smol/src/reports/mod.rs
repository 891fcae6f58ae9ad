//! What all reports to other organisations share: things are noted in files by day, and when a day is over, its
//! reports go out by mail, each once.

pub(crate) mod files;
mod letter;
pub(crate) mod notes;

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

pub(crate) use letter::Letter;
pub use notes::Notes;

/// Sixteen octets that are always the same for the same parts, and another server's are others.
pub(crate) fn key(hostname: &str, parts: &[&str]) -> [u8; 16] {
    let mut hash = blake3::Hasher::new();
    hash.update(hostname.as_bytes());
    for part in parts {
        hash.update(&[0]).update(part.as_bytes());
    }
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize().as_bytes()[..16]);
    key
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|b| format!("{b:02x}")).collect()
}

/// A report, packed as it is sent.
pub(crate) async fn compressed(text: String) -> io::Result<Vec<u8>> {
    blocking::unblock(move || {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(text.as_bytes())?;
        gzip.finish()
    })
    .await
}
