//! One process to a data directory: an advisory lock that ends with the process that holds it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Name of the lock file in the data directory.
pub const LOCK_FILE: &str = "inbox.lock";

/// The exclusive lock on a data directory, released when dropped or when the process ends.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

/// Why the lock could not be taken.
#[derive(Debug)]
pub enum LockError {
    /// Another process has it.
    Held {
        /// The lock file.
        path: PathBuf,
        /// The holder, when it could be read.
        pid: Option<u32>,
    },
    /// The directory or the lock file could not be used.
    Io(PathBuf, io::Error),
}

impl std::fmt::Display for LockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LockError::Held { path, pid: Some(pid) } => {
                write!(f, "process {pid} uses this data directory (it holds {})", path.display())
            }
            LockError::Held { path, pid: None } => {
                write!(f, "another process uses this data directory (it holds {})", path.display())
            }
            LockError::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for LockError {}

impl DataLock {
    /// Makes the directory (mode 0700) when it is absent, and takes its lock without waiting.
    pub fn take(data_dir: &Path) -> Result<DataLock, LockError> {
        let path = data_dir.join(LOCK_FILE);
        let io = |error| LockError::Io(path.clone(), error);
        private_dir(data_dir).map_err(|error| LockError::Io(data_dir.to_owned(), error))?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(LockError::Held { path, pid });
            }
            Err(error) => return Err(io(error.into())),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(io)?;
        Ok(DataLock { _file: file })
    }
}

/// Makes a directory and what is missing above it, readable by its owner only. One that exists is left as it is.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn the_second_taker_is_told_who_holds_the_lock() {
        let dir = TempDir::new();
        let data = dir.path().join("data");
        let lock = DataLock::take(&data).unwrap();
        let error = DataLock::take(&data).unwrap_err();
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(lock);
        DataLock::take(&data).unwrap();
    }

    #[test]
    fn directories_are_made_for_the_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = TempDir::new();
        let data = dir.path().join("a/b");
        let _lock = DataLock::take(&data).unwrap();
        for path in [data.as_path(), data.parent().unwrap()] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
        }
        assert_eq!(fs::metadata(data.join(LOCK_FILE)).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
