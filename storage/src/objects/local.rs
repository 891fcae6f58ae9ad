//! Objects as files. Each is written under a temporary name, made durable, then given its name, then the
//! directory is made durable: under its name an object is always whole.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::{Blobs, Listed, ObjectKey, ObjectPart, Source};
use crate::error::{Error, Result};
use crate::lock::private_dir;
use crate::spool::TMP_DIR;

/// The mode of an object whose rows are not yet committed, or never were.
const WRITTEN: u32 = 0o600;
/// The mode of one whose rows were committed: it is never written again.
const CONFIRMED: u32 = 0o400;

/// Marked as objects are, where marks were made since before the first of them: a copy that loses marks loses this
/// one too.
const MARKED: &str = ".marked";

/// Objects in files under one directory.
#[derive(Clone)]
pub struct LocalBlobs {
    shared: Arc<Shared>,
}

struct Shared {
    root: PathBuf,
    /// Directories that are known to exist, durably.
    known: Mutex<HashSet<PathBuf>>,
    syncing: Mutex<HashMap<PathBuf, Arc<DirSync>>>,
    #[cfg(test)]
    fault: Mutex<Option<Fault>>,
}

/// Where a put can fail; tests make it fail there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Create,
    Write,
    SyncFile,
    Rename,
    SyncDir,
}

/// Decides whether a step of a put fails.
#[cfg(test)]
pub(crate) type Fault = Box<dyn FnMut(Step) -> io::Result<()> + Send>;

impl LocalBlobs {
    /// Objects under `root`, which is made (mode 0700) when it is absent.
    pub fn open(root: &Path) -> io::Result<LocalBlobs> {
        let is_new = !root.join("msg").try_exists()?;
        private_dir(&root.join(TMP_DIR))?;
        let marked = root.join(MARKED);
        if is_new {
            // A start before this one may have been cut short.
            match fs::remove_file(&marked) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = OpenOptions::new().write(true).create_new(true).mode(WRITTEN).open(&marked)?;
            file.set_permissions(fs::Permissions::from_mode(CONFIRMED))?;
            file.sync_all()?;
        }
        File::open(root)?.sync_all()?;
        let shared = Shared {
            root: root.to_owned(),
            known: Mutex::default(),
            syncing: Mutex::default(),
            #[cfg(test)]
            fault: Mutex::new(None),
        };
        Ok(LocalBlobs { shared: Arc::new(shared) })
    }

    #[cfg(test)]
    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        *lock(&self.shared.fault) = fault;
    }

    async fn run<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = self.shared.clone();
        blocking::unblock(move || what(&shared)).await
    }
}

#[async_trait::async_trait]
impl Blobs for LocalBlobs {
    async fn put(&self, key: ObjectKey, mut source: Box<dyn Source>) -> Result<()> {
        self.run(move |shared| shared.put(key, source.as_mut())).await
    }

    async fn read(&self, key: ObjectKey, offset: u64, len: usize) -> Result<(Vec<u8>, u64)> {
        self.run(move |shared| {
            let mut file = File::open(shared.path(key)).map_err(|e| failed(key, "open", &e))?;
            let total = file.metadata().map_err(|e| failed(key, "stat", &e))?.len();
            let want = total.saturating_sub(offset).min(len as u64) as usize;
            let mut out = Vec::with_capacity(want);
            if offset > 0 {
                file.seek(SeekFrom::Start(offset)).map_err(|e| failed(key, "seek", &e))?;
            }
            file.take(want as u64).read_to_end(&mut out).map_err(|e| failed(key, "read", &e))?;
            Ok((out, total))
        })
        .await
    }

    async fn confirm(&self, keys: &[ObjectKey]) -> Result<()> {
        let keys = keys.to_vec();
        self.run(move |shared| {
            for key in keys {
                let mode = fs::Permissions::from_mode(CONFIRMED);
                match fs::set_permissions(shared.path(key), mode) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(failed(key, "confirm", &error));
                    }
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }

    async fn marks_from_the_start(&self) -> bool {
        let is_marked = |shared: &Shared| {
            let found = fs::metadata(shared.root.join(MARKED));
            Ok(found.is_ok_and(|meta| meta.permissions().mode() & 0o200 == 0))
        };
        self.run(is_marked).await.unwrap_or(false)
    }

    async fn delete(&self, keys: &[ObjectKey]) -> Result<()> {
        let keys = keys.to_vec();
        self.run(move |shared| {
            for key in keys {
                match fs::remove_file(shared.path(key)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(failed(key, "delete", &error));
                    }
                    _ => {}
                }
                if key.part != ObjectPart::Message {
                    shared.remove_dir_of(key);
                }
            }
            Ok(())
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let prefix = prefix.to_owned();
        self.run(move |shared| {
            let dirs = shared.object_dirs(&prefix).map_err(|e| unavailable("list objects", &e))?;
            let mut found = Vec::new();
            for (_, dir) in dirs {
                shared.list_dir(&dir, &mut found).map_err(|e| unavailable("list objects", &e))?;
            }
            Ok(found)
        })
        .await
    }

    async fn newest(&self, n: usize) -> Result<Vec<Listed>> {
        self.run(move |shared| shared.newest(n).map_err(|e| unavailable("list objects", &e))).await
    }
}

impl Shared {
    fn path(&self, key: ObjectKey) -> PathBuf {
        self.root.join(key.to_string())
    }

    /// The parts of a message have a directory of their own, which goes with the last of them.
    fn remove_dir_of(&self, key: ObjectKey) {
        let path = self.path(key);
        if let Some(dir) = path.parent()
            && fs::remove_dir(dir).is_ok()
        {
            lock(&self.known).remove(dir);
        }
    }

    fn put(&self, key: ObjectKey, source: &mut dyn Source) -> Result<()> {
        let temporary = self.root.join(TMP_DIR).join(format!("put-{}", crate::Id::random()));
        let path = self.path(key);
        let outcome = self.write(&temporary, source).and_then(|()| {
            let dir = path.parent().unwrap_or(&self.root);
            self.name(&temporary, &path, dir).map_err(|e| unavailable("store an object", &e))
        });
        if outcome.is_err() {
            // Under either name it would be collected later; removing it now gives the space back.
            let _ = fs::remove_file(&temporary);
            let _ = fs::remove_file(&path);
        }
        outcome
    }

    fn write(&self, temporary: &Path, source: &mut dyn Source) -> Result<()> {
        let io = |e: io::Error| unavailable("write an object", &e);
        self.step(Step::Create).map_err(io)?;
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(WRITTEN).open(temporary).map_err(io)?;
        while let Some(piece) = source.next()? {
            self.step(Step::Write).and_then(|()| file.write_all(&piece)).map_err(io)?;
        }
        self.step(Step::SyncFile).and_then(|()| file.sync_all()).map_err(io)
    }

    fn name(&self, temporary: &Path, path: &Path, dir: &Path) -> io::Result<()> {
        self.make_dir(dir)?;
        self.step(Step::Rename)?;
        match fs::rename(temporary, path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The directory went with a deleted mailbox and is needed again.
                lock(&self.known).remove(dir);
                self.make_dir(dir)?;
                fs::rename(temporary, path)?;
            }
            other => other?,
        }
        self.sync_dir(dir)
    }

    /// Makes the directory and those above it, each durable in the one that holds it.
    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        if dir == self.root || lock(&self.known).contains(dir) {
            return Ok(());
        }
        let parent = dir.parent().unwrap_or(&self.root);
        self.make_dir(parent)?;
        private_dir(dir)?;
        self.sync_dir(parent)?;
        lock(&self.known).insert(dir.to_owned());
        Ok(())
    }

    /// Returns when everything that was named in the directory before the call is durable there.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let sync = lock(&self.syncing).entry(dir.to_owned()).or_default().clone();
        let outcome = sync.wait(|| {
            self.step(Step::SyncDir)?;
            File::open(dir)?.sync_all()
        });
        drop(sync);
        let mut syncing = lock(&self.syncing);
        if syncing.get(dir).is_some_and(|sync| Arc::strong_count(sync) == 1) {
            syncing.remove(dir);
        }
        outcome
    }

    /// Directories that hold objects under a prefix, and when each was last changed.
    fn object_dirs(&self, prefix: &str) -> io::Result<Vec<(SystemTime, PathBuf)>> {
        let levels = prefix.trim_end_matches('/').split('/').count();
        // Parts lie in a directory of their message.
        let depth = if prefix.starts_with("msg/") { 3 } else { 4 };
        let mut dirs = vec![(SystemTime::UNIX_EPOCH, self.root.join(prefix))];
        for _ in levels..depth {
            let mut below = Vec::new();
            for (_, dir) in dirs {
                for entry in read_dir_or_none(&dir)?.into_iter().flatten() {
                    let entry = entry?;
                    if entry.file_type()?.is_dir() {
                        below.push((entry.metadata()?.modified()?, entry.path()));
                    }
                }
            }
            dirs = below;
        }
        Ok(dirs)
    }

    fn list_dir(&self, dir: &Path, found: &mut Vec<Listed>) -> io::Result<()> {
        for entry in read_dir_or_none(dir)?.into_iter().flatten() {
            let entry = entry?;
            let path = entry.path();
            let name = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
            let Some(key) = name.and_then(ObjectKey::parse) else { continue };
            match entry.metadata() {
                Ok(meta) => found.push(Listed {
                    key,
                    len: meta.len(),
                    modified: meta.modified()?,
                    confirmed: Some(meta.permissions().mode() & 0o200 == 0),
                }),
                // Deleted since the directory was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A directory changes when an object in it appears or goes, so none holds an object newer than itself.
    fn newest(&self, n: usize) -> io::Result<Vec<Listed>> {
        let mut dirs = self.object_dirs("msg/")?;
        dirs.sort_by_key(|(changed, _)| Reverse(*changed));
        let mut found: Vec<Listed> = Vec::new();
        for (changed, dir) in dirs {
            if found.len() >= n {
                found.sort_by_key(|object| Reverse(object.modified));
                found.truncate(n);
                if n == 0 || found[n - 1].modified > changed {
                    break;
                }
            }
            self.list_dir(&dir, &mut found)?;
        }
        found.sort_by_key(|object| Reverse(object.modified));
        Ok(found)
    }

    #[cfg(test)]
    fn step(&self, step: Step) -> io::Result<()> {
        lock(&self.fault).as_mut().map_or(Ok(()), |fault| fault(step))
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    fn step(&self, _: Step) -> io::Result<()> {
        Ok(())
    }
}

/// Groups the fsyncs of one directory: whoever asks while one runs is served by the next.
#[derive(Default)]
struct DirSync {
    state: Mutex<SyncState>,
    ended: Condvar,
}

#[derive(Default)]
struct SyncState {
    running: bool,
    /// Fsyncs started, the number of the last that ended, and number and error of the last that failed.
    started: u64,
    ended: u64,
    failed: Option<(u64, i32)>,
}

impl DirSync {
    fn wait(&self, sync: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let mut state = lock(&self.state);
        // One that runs now may have begun before the caller's rename; the one after it has not.
        let served_by = state.started + 1;
        loop {
            // The system reports a failure once: a later fsync that succeeds proves nothing about earlier changes.
            match state.failed {
                Some((failed, code)) if failed >= served_by => {
                    return Err(io::Error::from_raw_os_error(code));
                }
                _ if state.ended >= served_by => return Ok(()),
                _ => {}
            }
            if state.running {
                state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.running = true;
            state.started += 1;
            let this = state.started;
            drop(state);
            let outcome = sync();
            state = lock(&self.state);
            state.running = false;
            state.ended = this;
            if let Err(error) = outcome {
                state.failed =
                    Some((this, error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error())));
            }
            self.ended.notify_all();
        }
    }
}

fn read_dir_or_none(dir: &Path) -> io::Result<Option<fs::ReadDir>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(Some(entries)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn failed(key: ObjectKey, what: &str, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::NotFound,
        _ => Error::Unavailable(format!("{what} object {key}: {error}")),
    }
}

fn unavailable(what: &str, error: &io::Error) -> Error {
    Error::Unavailable(format!("{what}: {error}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
