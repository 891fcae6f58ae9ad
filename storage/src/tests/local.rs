//! Objects as files: what is durable when, and what a failing disk does.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::objects::Step;

struct Pieces(Vec<Vec<u8>>);

impl Source for Pieces {
    fn next(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(if self.0.is_empty() { None } else { Some(self.0.remove(0)) })
    }
}

fn key() -> ObjectKey {
    ObjectKey::stored(OrgId::random(), MailboxId::random(), MessageId::random())
}

fn put(blobs: &LocalBlobs, key: ObjectKey) -> Result<()> {
    block_on(blobs.put(key, Box::new(Pieces(vec![b"one ".to_vec(), b"two".to_vec()]))))
}

fn temporary_files(dir: &TempDir) -> usize {
    std::fs::read_dir(dir.path().join("tmp")).unwrap().count()
}

#[test]
fn whether_marks_were_made_from_the_start_is_known_unless_they_were_lost() {
    let dir = TempDir::new();
    let marks = |blobs: &LocalBlobs| block_on(blobs.marks_from_the_start());
    assert!(marks(&LocalBlobs::open(dir.path()).unwrap()));
    let blobs = LocalBlobs::open(dir.path()).unwrap();
    assert!(marks(&blobs), "a start before the first object changes nothing");
    put(&blobs, key()).unwrap();
    assert!(marks(&LocalBlobs::open(dir.path()).unwrap()));
    // A copy without modes.
    let mark = dir.path().join(".marked");
    std::fs::set_permissions(&mark, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert!(!marks(&LocalBlobs::open(dir.path()).unwrap()));
    // Objects of a version that made none.
    std::fs::remove_file(&mark).unwrap();
    assert!(!marks(&LocalBlobs::open(dir.path()).unwrap()));
}

#[test]
fn what_is_put_is_read_listed_and_deleted() {
    let dir = TempDir::new();
    let blobs = LocalBlobs::open(dir.path()).unwrap();
    let [a, b] = [key(), key()];
    put(&blobs, a).unwrap();
    put(&blobs, b).unwrap();
    block_on(async {
        assert_eq!(blobs.read(a, 2, 4).await.unwrap(), (b"e tw".to_vec(), 7));
        assert_eq!(blobs.read(a, 6, 100).await.unwrap(), (b"o".to_vec(), 7));
        assert_eq!(blobs.read(a, 9, 1).await.unwrap(), (Vec::new(), 7));
        assert_eq!(blobs.read(key(), 0, 1).await, Err(Error::NotFound));
        assert_eq!(blobs.list("msg/").await.unwrap().len(), 2);
        let of_org = blobs.list(&ObjectKey::org_prefix(a.org)).await.unwrap();
        assert_eq!(of_org.iter().map(|o| (o.key, o.len)).collect::<Vec<_>>(), [(a, 7)]);
        let of_place = blobs.list(&ObjectKey::place_prefix(a.org, a.mailbox)).await.unwrap();
        assert_eq!(of_place.len(), 1);
        assert!(blobs.list(&ObjectKey::place_prefix(a.org, None)).await.unwrap().is_empty());
        blobs.delete(&[a, key()]).await.unwrap();
        assert_eq!(blobs.read(a, 0, 1).await, Err(Error::NotFound));
    });
    assert_eq!(temporary_files(&dir), 0);
}

#[test]
fn names_that_are_no_keys_are_not_listed() {
    let dir = TempDir::new();
    let blobs = LocalBlobs::open(dir.path()).unwrap();
    let a = key();
    put(&blobs, a).unwrap();
    let place = dir.path().join(ObjectKey::place_prefix(a.org, a.mailbox));
    std::fs::write(place.join("note.txt"), b"x").unwrap();
    std::fs::create_dir_all(dir.path().join("msg/not-an-org/queue")).unwrap();
    std::fs::write(dir.path().join("msg/not-an-org/queue/x.eml"), b"x").unwrap();
    assert_eq!(block_on(blobs.list("msg/")).unwrap().len(), 1);
}

#[test]
fn the_newest_objects_are_found_in_whichever_directory_they_lie() {
    let dir = TempDir::new();
    let blobs = LocalBlobs::open(dir.path()).unwrap();
    let [quiet, busy] = [(OrgId::random(), MailboxId::random()), (OrgId::random(), MailboxId::random())];
    let keys: Vec<ObjectKey> = (0..10)
        .map(|n| {
            let (org, mailbox) = if n % 3 == 0 { quiet } else { busy };
            let key = ObjectKey::stored(org, mailbox, MessageId::random());
            put(&blobs, key).unwrap();
            let file = std::fs::File::options().write(true).open(dir.path().join(key.to_string())).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(n)).unwrap();
            key
        })
        .collect();
    for n in [1, 4, 10, 11] {
        let newest = block_on(blobs.newest(n)).unwrap();
        let found: Vec<ObjectKey> = newest.iter().take(n).map(|o| o.key).collect();
        let want: Vec<ObjectKey> = keys.iter().rev().take(n).copied().collect();
        assert_eq!(found, want);
    }
}

#[test]
fn sc4_every_step_of_a_put_that_fails_is_unavailable_and_leaves_nothing() {
    use rustix::io::Errno;
    for errno in [Errno::NOSPC, Errno::IO, Errno::ROFS] {
        for step in [Step::Create, Step::Write, Step::SyncFile, Step::Rename, Step::SyncDir] {
            let dir = TempDir::new();
            let blobs = LocalBlobs::open(dir.path()).unwrap();
            let a = key();
            let fault = move |at| if at == step { Err(io::Error::from(errno)) } else { Ok(()) };
            blobs.set_fault(Some(Box::new(fault)));
            let outcome = put(&blobs, a);
            assert!(matches!(outcome, Err(Error::Unavailable(_))), "{step:?} {errno:?}: {outcome:?}");
            blobs.set_fault(None);
            assert_eq!(block_on(blobs.read(a, 0, 1)), Err(Error::NotFound), "{step:?} {errno:?}");
            assert_eq!(temporary_files(&dir), 0, "{step:?} {errno:?}");
            put(&blobs, a).unwrap();
        }
    }
}

#[test]
fn sc3_a_file_is_durable_before_it_has_its_name_and_the_name_before_ok() {
    let dir = TempDir::new();
    let blobs = LocalBlobs::open(dir.path()).unwrap();
    let a = key();
    put(&blobs, a).unwrap();
    let log = Log::default();
    let noted = log.clone();
    blobs.set_fault(Some(Box::new(move |step| {
        noted.note(format!("{step:?}"));
        Ok(())
    })));
    put(&blobs, ObjectKey { message: MessageId::random(), ..a }).unwrap();
    assert_eq!(log.take(), ["Create", "Write", "Write", "SyncFile", "Rename", "SyncDir"]);
}

/// Puts into one directory while its first fsync is held up until all others are renamed: the answers, and
/// how many fsyncs of the directory there were.
fn grouped(puts: usize, first_fails: bool) -> (Vec<Result<()>>, usize) {
    let dir = TempDir::new();
    let blobs = LocalBlobs::open(dir.path()).unwrap();
    let a = key();
    put(&blobs, a).unwrap();
    let (syncs, renames) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (syncs.clone(), renames.clone());
    let gate = Arc::new((Mutex::new(false), std::sync::Condvar::new()));
    let held = gate.clone();
    // The hook itself must not wait, for it is held under a lock; the source of the last put opens the gate.
    blobs.set_fault(Some(Box::new(move |step| {
        match step {
            Step::Rename => drop(counts.1.fetch_add(1, Ordering::SeqCst)),
            Step::SyncDir if counts.0.fetch_add(1, Ordering::SeqCst) == 0 && first_fails => {
                return Err(io::Error::from(rustix::io::Errno::IO));
            }
            _ => {}
        }
        Ok(())
    })));
    struct Gated(Arc<(Mutex<bool>, std::sync::Condvar)>, bool);
    impl Source for Gated {
        fn next(&mut self) -> Result<Option<Vec<u8>>> {
            if std::mem::replace(&mut self.1, true) {
                return Ok(None);
            }
            let mut open = self.0.0.lock().unwrap();
            while !*open {
                open = self.0.1.wait(open).unwrap();
            }
            Ok(Some(b"x".to_vec()))
        }
    }
    let threads: Vec<_> = (0..puts)
        .map(|_| {
            let (blobs, held) = (blobs.clone(), held.clone());
            let key = ObjectKey { message: MessageId::random(), ..a };
            std::thread::spawn(move || block_on(blobs.put(key, Box::new(Gated(held, false)))))
        })
        .collect();
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    let answers = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(renames.load(Ordering::SeqCst), puts);
    (answers, syncs.load(Ordering::SeqCst))
}

#[test]
fn puts_into_one_directory_at_the_same_time_share_its_fsyncs() {
    let (answers, syncs) = grouped(24, false);
    assert!(answers.iter().all(Result::is_ok));
    assert!((1..=24).contains(&syncs), "{syncs}");
}

#[test]
fn sc4_a_failed_fsync_of_a_directory_fails_whoever_it_was_to_serve() {
    let (answers, _) = grouped(8, true);
    assert!(answers.iter().any(Result::is_err));
    assert!(answers.iter().all(|a| matches!(a, Ok(()) | Err(Error::Unavailable(_)))));
}
