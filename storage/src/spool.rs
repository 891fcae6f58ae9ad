//! Where a message waits while it arrives: in memory while it is small, then in an encrypted file.
//!
//! The file's key is random and exists in memory only, and the file has no name from the moment it is made,
//! so nothing of a message that was never accepted can be read back from the disk, not even after a crash.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aes_gcm::aead::{AeadInPlace, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, Result};
use crate::keys::{self, KEY_LEN, NONCE_LEN, TAG_LEN};
use crate::objects::CHUNK_LEN;

/// Octets of one message that are kept in memory; a larger one goes to a file.
pub const MEMORY_MAX: usize = 128 * 1024;

/// Name of the directory for temporary files under the objects directory.
pub const TMP_DIR: &str = "tmp";

/// A message as it arrives. Dropping it leaves nothing behind.
pub struct Spool {
    dir: Option<PathBuf>,
    limit: u64,
    len: u64,
    hasher: blake3::Hasher,
    file: Option<Arc<SpoolFile>>,
    in_file: u64,
    /// What is not in the file: everything, or what came after its last whole chunk.
    tail: Arc<Vec<u8>>,
}

/// Reads a spooled message; what is written to the spool later is not seen.
#[derive(Clone)]
pub struct SpoolReader {
    file: Option<Arc<SpoolFile>>,
    in_file: u64,
    tail: Arc<Vec<u8>>,
}

struct SpoolFile {
    file: File,
    cipher: Aes256Gcm,
}

impl Spool {
    /// An empty spool that takes at most `limit` octets; its file, when it needs one, lies in `dir`.
    pub(crate) fn new(dir: PathBuf, limit: u64) -> Spool {
        Spool { dir: Some(dir), limit, ..Spool::from_bytes(Vec::new()) }
    }

    /// A message that is in memory already, for example a DSN. It stays there whatever its size.
    pub fn from_bytes(bytes: Vec<u8>) -> Spool {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes);
        let len = bytes.len() as u64;
        Spool { dir: None, limit: u64::MAX, len, hasher, file: None, in_file: 0, tail: Arc::new(bytes) }
    }

    /// Appends. A message over the limit is refused ([`Error::Refused`]), a full or failing disk is
    /// [`Error::Unavailable`]; after an error the spool is good for nothing but dropping.
    pub async fn write(&mut self, mut chunk: &[u8]) -> Result<()> {
        if self.len.saturating_add(chunk.len() as u64) > self.limit {
            return Err(Error::Refused(crate::Refusal::TooMany(
                "the message is larger than the spool takes".into(),
            )));
        }
        self.len += chunk.len() as u64;
        self.hasher.update(chunk);
        while !chunk.is_empty() {
            let room = self.tail_max() - self.tail.len();
            let (now, later) = chunk.split_at(room.min(chunk.len()));
            Arc::make_mut(&mut self.tail).extend_from_slice(now);
            chunk = later;
            if self.tail.len() == self.tail_max() && (self.file.is_some() || !chunk.is_empty()) {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Octets so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// BLAKE3 of what was written so far.
    pub fn hash(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }

    /// At most `len` octets from `offset`, fewer only at the end.
    pub async fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let reader = self.reader();
        let read = move || {
            let mut out = Vec::new();
            reader.read(offset, len, &mut out).map(|()| out)
        };
        if self.file.is_none() { read() } else { blocking::unblock(read).await }
    }

    /// A reader for use where blocking is allowed.
    pub(crate) fn reader(&self) -> SpoolReader {
        SpoolReader { file: self.file.clone(), in_file: self.in_file, tail: self.tail.clone() }
    }

    fn tail_max(&self) -> usize {
        match (&self.dir, &self.file) {
            (None, _) => usize::MAX,
            (Some(_), None) => MEMORY_MAX,
            (Some(_), Some(_)) => CHUNK_LEN,
        }
    }

    /// Moves the tail, which is one or more whole chunks, to the file.
    async fn flush(&mut self) -> Result<()> {
        let first = self.in_file / CHUNK_LEN as u64;
        let tail = std::mem::take(&mut self.tail);
        let (file, dir) = (self.file.take(), self.dir.clone().unwrap_or_default());
        let written = blocking::unblock(move || -> io::Result<(Arc<SpoolFile>, Vec<u8>, u64)> {
            let file = match file {
                Some(file) => file,
                None => Arc::new(SpoolFile::create(&dir)?),
            };
            // A reader that still holds the tail keeps it; without one this takes and copies nothing.
            let mut tail = Arc::unwrap_or_clone(tail);
            for (chunk, index) in tail.chunks(CHUNK_LEN).zip(first..) {
                file.write_chunk(index, chunk)?;
            }
            let len = tail.len() as u64;
            tail.zeroize();
            Ok((file, tail, len))
        });
        let (file, tail, len) = written.await.map_err(|error| unavailable(&error))?;
        self.file = Some(file);
        self.tail = Arc::new(tail);
        self.in_file += len;
        Ok(())
    }
}

impl SpoolReader {
    /// Appends at most `len` octets from `offset` to `out`, fewer only at the end. Blocks.
    pub(crate) fn read(&self, mut offset: u64, mut len: usize, out: &mut Vec<u8>) -> Result<()> {
        while len > 0 && offset < self.in_file {
            let Some(file) = &self.file else { break };
            let (index, within) = (offset / CHUNK_LEN as u64, (offset % CHUNK_LEN as u64) as usize);
            let chunk = file.read_chunk(index).map_err(|error| unavailable(&error))?;
            let piece = &chunk[within..CHUNK_LEN.min(within.saturating_add(len))];
            out.extend_from_slice(piece);
            offset += piece.len() as u64;
            len -= piece.len();
        }
        let start = usize::try_from(offset - self.in_file.min(offset)).unwrap_or(usize::MAX);
        let start = start.min(self.tail.len());
        out.extend_from_slice(&self.tail[start..self.tail.len().min(start.saturating_add(len))]);
        Ok(())
    }
}

impl SpoolFile {
    /// A file that has no name once this returns. Its key is used for nothing else, so chunk numbers serve as nonces.
    fn create(dir: &Path) -> io::Result<SpoolFile> {
        crate::lock::private_dir(dir)?;
        let path = dir.join(format!("spool-{}", crate::Id::random()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        fs::remove_file(&path)?;
        let key: Zeroizing<[u8; KEY_LEN]> = Zeroizing::new(keys::random());
        Ok(SpoolFile { file, cipher: Aes256Gcm::new(key.as_slice().into()) })
    }

    fn write_chunk(&self, index: u64, plain: &[u8]) -> io::Result<()> {
        let mut sealed = Vec::with_capacity(SEALED_LEN);
        sealed.extend_from_slice(plain);
        self.cipher
            .encrypt_in_place(Nonce::from_slice(&nonce(index)), &[], &mut sealed)
            .map_err(|_| io::Error::other("a chunk cannot be encrypted"))?;
        self.file.write_all_at(&sealed, index * SEALED_LEN as u64)
    }

    fn read_chunk(&self, index: u64) -> io::Result<Vec<u8>> {
        let mut sealed = vec![0; SEALED_LEN];
        self.file.read_exact_at(&mut sealed, index * SEALED_LEN as u64)?;
        self.cipher
            .decrypt_in_place(Nonce::from_slice(&nonce(index)), &[], &mut sealed)
            .map_err(|_| io::Error::other("the temporary file was changed while it was in use"))?;
        Ok(sealed)
    }
}

/// How old a temporary file of a shared directory is before it is a leftover: no message takes as long.
pub(crate) const SHARED_LEFTOVER_AGE: Duration = Duration::from_secs(6 * 3600);

/// Removes what a crash left in the directory for temporary files: what is at least so old, for in a directory that
/// is shared the young ones are other processes' work. What somebody else removed first is gone all the same.
pub(crate) fn remove_leftovers(dir: &Path, age: Duration) -> io::Result<u64> {
    crate::lock::private_dir(dir)?;
    let mut removed = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let outcome = entry.metadata().and_then(|metadata| {
            // A file from the future is young.
            let old = age.is_zero() || metadata.modified()?.elapsed().is_ok_and(|elapsed| elapsed >= age);
            if old { fs::remove_file(entry.path()).map(|()| 1) } else { Ok(0) }
        });
        match outcome {
            Ok(count) => removed += count,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

/// Octets of a chunk in the file.
const SEALED_LEN: usize = CHUNK_LEN + TAG_LEN;

fn nonce(index: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 8..].copy_from_slice(&index.to_be_bytes());
    nonce
}

fn unavailable(error: &io::Error) -> Error {
    Error::Unavailable(format!("spool: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;
    use futures_lite::future::block_on;

    fn pattern(len: usize) -> Vec<u8> {
        (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    #[test]
    fn what_was_written_is_read_back_at_sizes_around_every_boundary() {
        let dir = TempDir::new();
        for len in
            [0, 1, CHUNK_LEN, MEMORY_MAX - 1, MEMORY_MAX, MEMORY_MAX + 1, 3 * CHUNK_LEN, 5 * CHUNK_LEN + 77]
        {
            let bytes = pattern(len);
            let mut spool = Spool::new(dir.path().join(TMP_DIR), u64::MAX);
            block_on(async {
                for piece in bytes.chunks(4099) {
                    spool.write(piece).await.unwrap();
                }
                assert_eq!(spool.len(), len as u64);
                assert_eq!(spool.hash(), *blake3::hash(&bytes).as_bytes());
                assert_eq!(spool.file.is_some(), len > MEMORY_MAX);
                assert_eq!(spool.read(0, len + 1).await.unwrap(), bytes);
                for offset in [1, CHUNK_LEN - 1, CHUNK_LEN, MEMORY_MAX + 5, len] {
                    let from = offset.min(len);
                    let want = &bytes[from..len.min(from + 70_000)];
                    assert_eq!(spool.read(offset as u64, 70_000).await.unwrap(), want, "{len} {offset}");
                }
            });
        }
    }

    #[test]
    fn the_file_has_no_name_and_holds_no_plaintext() {
        use std::io::{Read, Seek};
        let dir = TempDir::new();
        let mut spool = Spool::new(dir.path().join(TMP_DIR), u64::MAX);
        block_on(spool.write(&b"attack at dawn. ".repeat(20_000))).unwrap();
        assert_eq!(fs::read_dir(dir.path().join(TMP_DIR)).unwrap().count(), 0);
        let mut file = &spool.file.as_ref().unwrap().file;
        let mut raw = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut raw).unwrap();
        assert!(raw.len() >= MEMORY_MAX);
        assert!(!raw.windows(16).any(|w| w == b"attack at dawn. "));
    }

    #[test]
    fn the_limit_is_reached_and_not_passed() {
        let dir = TempDir::new();
        let mut spool = Spool::new(dir.path().join(TMP_DIR), 10);
        block_on(spool.write(b"0123456789")).unwrap();
        assert!(matches!(block_on(spool.write(b"x")), Err(Error::Refused(_))));
    }

    #[test]
    fn sc4_a_spool_that_cannot_be_written_is_unavailable() {
        let dir = TempDir::new();
        fs::write(dir.path().join(TMP_DIR), b"a file where the directory should be").unwrap();
        let mut spool = Spool::new(dir.path().join(TMP_DIR), u64::MAX);
        let outcome = block_on(spool.write(&vec![0; MEMORY_MAX + 1]));
        assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?}");
    }

    #[test]
    fn leftovers_are_removed() {
        let dir = TempDir::new();
        fs::write(dir.path().join("put-x"), b"x").unwrap();
        assert_eq!(
            remove_leftovers(dir.path(), SHARED_LEFTOVER_AGE).unwrap(),
            0,
            "somebody may be writing it"
        );
        assert_eq!(remove_leftovers(dir.path(), Duration::ZERO).unwrap(), 1);
        assert_eq!(remove_leftovers(dir.path(), Duration::ZERO).unwrap(), 0);
    }
}
