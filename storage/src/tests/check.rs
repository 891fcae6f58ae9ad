//! Rows against objects.

use super::*;
use crate::rows::{Rows, Writes};

/// Takes a message's rows away, as a damaged database does; its object stays.
pub(super) fn lose_row(world: &World, message: MessageId) {
    let inbox = world.folder_id("INBOX");
    let rows = block_on(world.store.load_folder(inbox)).unwrap().1;
    let uid = rows.iter().find(|row| row.message == message).unwrap().uid;
    let deleted = NamedFlags { system: Flags::DELETED, keywords: Vec::new() };
    block_on(world.store.set_flags(inbox, &[uid], FlagOp::Add, &deleted, None)).unwrap();
    block_on(world.store.expunge(inbox, &[uid])).unwrap();
}

fn stored(world: &World, message: MessageId) -> ObjectKey {
    ObjectKey::stored(world.org.id, world.mailbox.id, message)
}

#[test]
fn a_sound_installation_is_clean() {
    let world = World::new();
    world.accept("x").unwrap();
    world.queue("y", 1).unwrap();
    let report = block_on(world.storage.check(false)).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.objects, report.messages, report.mailboxes), (2, 2, 1));
    assert_eq!(world.storage.start_report(), StartReport::default());
}

#[test]
fn sc8_an_object_without_a_row_is_collected_after_a_day_and_never_one_with_a_row() {
    let world = World::new();
    let kept = world.accept("kept").unwrap()[0].row.message;
    let lost = world.accept("lost").unwrap()[0].row.message;
    lose_row(&world, lost);
    world.make_old(stored(&world, kept));
    assert_eq!(block_on(world.storage.collect()).unwrap(), 0, "it is young");
    world.make_old(stored(&world, lost));
    assert_eq!(block_on(world.storage.collect()).unwrap(), 1);
    assert_eq!(world.objects(), [stored(&world, kept)]);
}

#[test]
fn sc8_an_object_on_its_way_to_its_row_is_not_collected() {
    let world = World::new();
    let (storage, dir) = (world.storage.clone(), world.dir.path().join("objects"));
    let collected = Arc::new(Mutex::new(None));
    let seen = collected.clone();
    // Between the object and its row, on the thread that writes the rows: the object looks old by now.
    world.store.inject(Some(Box::new(move |what| {
        if what == "commit_batch" {
            let inner = storage.clone();
            let listed = block_on(inner.inner.blobs.list("msg/")).unwrap();
            for object in &listed {
                let file = std::fs::File::options().write(true).open(dir.join(object.key.to_string()));
                file.unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
            }
            let idle = listed.iter().filter(|o| !inner.inner.is_in_flight(&o.key)).count();
            *seen.lock().unwrap() = Some((listed.len(), idle));
        }
        None
    })));
    let message = world.accept("x").unwrap()[0].row.message;
    assert_eq!(*collected.lock().unwrap(), Some((1, 0)), "one object, and it is under way");
    assert_eq!(block_on(world.storage.collect()).unwrap(), 0);
    assert_eq!(world.read(message).unwrap(), b"x");
    world.store.inject(None);
}

#[test]
fn a_message_whose_row_was_lost_is_restored_when_storage_opens() {
    let mut world = World::new();
    world.accept("first").unwrap();
    let deliver = Deliver {
        flags: NamedFlags { system: Flags::SEEN, keywords: vec!["$Work".into()] },
        ..world.deliver("")
    };
    let accept = world.accept_of(vec![deliver]);
    let lost = block_on(world.storage.accept(&Spool::from_bytes(b"lost".to_vec()), accept)).unwrap();
    let message = lost[0].row.message;
    lose_row(&world, message);
    world.reopen();
    let report = world.storage.start_report();
    assert_eq!((report.missing, report.restored), (vec![stored(&world, message)], 1));
    let inbox = world.folder_id("INBOX");
    let view = block_on(world.storage.folder(inbox)).unwrap();
    let row = view.with(|state| *state.rows.iter().find(|row| row.message == message).unwrap());
    assert_eq!((row.size, row.internal_date), (4, NOW));
    assert_eq!(row.flags, Flags::SEEN.union(Flags::keyword(0)));
    let meta = block_on(world.storage.meta(inbox, row.uid..=row.uid)).unwrap();
    assert_eq!(meta, [(row.uid, b"structure".to_vec())]);
    world.reopen();
    assert_eq!(world.storage.start_report().missing, []);
}

#[test]
fn a_message_stored_in_a_folder_goes_back_there_or_to_the_inbox() {
    let mut world = World::new();
    let archive = world.folder_id("Archive");
    let work = block_on(world.storage.create_folder(world.mailbox.id, "Work", None)).unwrap().id;
    for folder in [archive, work] {
        let deliver = Deliver { folder: FolderTarget::Id(folder), ..world.deliver("") };
        let accept = world.accept_of(vec![deliver]);
        block_on(world.storage.accept(&Spool::from_bytes(b"x".to_vec()), accept)).unwrap();
        let deleted = NamedFlags { system: Flags::DELETED, keywords: Vec::new() };
        block_on(world.store.set_flags(folder, &[1], FlagOp::Add, &deleted, None)).unwrap();
        block_on(world.store.expunge(folder, &[1])).unwrap();
    }
    block_on(world.store.delete_folder(world.mailbox.id, "Work")).unwrap();
    world.reopen();
    assert_eq!(world.storage.start_report().restored, 2);
    for folder in [archive, world.folder_id("INBOX")] {
        assert_eq!(block_on(world.store.load_folder(folder)).unwrap().1.len(), 1);
    }
}

#[test]
fn jobs_that_were_lost_are_queued_again_and_settled_ones_are_not() {
    let mut world = World::new();
    world.queue("settled", 1).unwrap();
    let claimed = block_on(world.storage.claim_jobs("w", Duration::from_secs(9), Duration::ZERO, 1));
    let job = claimed.unwrap().remove(0);
    let record = record(&job, RecipientState::Delivered);
    let mut recipients = job.spec.recipients.clone();
    recipients[0].state = RecipientState::Delivered;
    let update = JobUpdate { recipients, attempts: 1, deliveries: vec![record], ..JobUpdate::default() };
    world.blobs.set_fault(Some(Box::new(|what, _| match what {
        "delete" => Err(Error::Unavailable("the process is dead".into())),
        _ => Ok(()),
    })));
    block_on(world.storage.save_job(&job, update, Vec::new())).unwrap();
    world.blobs.set_fault(None);
    assert_eq!(world.objects().len(), 1, "its body was not deleted");
    // A body whose jobs are gone although they were there: it has its mark.
    let lost = body_without_rows(&world, |world| world.queue("lost", 2).map(drop));
    block_on(world.local.confirm(&[lost])).unwrap();
    world.reopen();
    let jobs = block_on(world.storage.list_jobs(10)).unwrap();
    assert_eq!(jobs.len(), 2);
    assert!(jobs.iter().all(|again| again.state == JobState::Queued && again.spec.id != job.spec.id));
    assert_eq!(world.storage.start_report().restored, 1);
    let mut body = block_on(world.storage.open_queued(world.org.id, jobs[0].spec.message)).unwrap();
    assert_eq!(block_on(body.read_all()).unwrap(), b"X: y\r\nlost");
}

/// An object whose rows never came: the commit failed, and the process died before it could clean up.
fn body_without_rows(world: &World, put: impl Fn(&World) -> Result<()>) -> ObjectKey {
    let before = world.objects();
    world.store.inject(Some(Box::new(|what| (what == "commit_batch").then_some(Fault::Before))));
    world.blobs.set_fault(Some(Box::new(|what, _| match what {
        "delete" => Err(Error::Unavailable("the process is dead".into())),
        _ => Ok(()),
    })));
    put(world).unwrap_err();
    world.store.inject(None);
    world.blobs.set_fault(None);
    let new: Vec<ObjectKey> = world.objects().into_iter().filter(|key| !before.contains(key)).collect();
    assert_eq!(new.len(), 1);
    new[0]
}

#[test]
fn sc8_what_was_under_way_when_the_process_died_is_not_delivered_beside_its_second_try() {
    let mut world = World::new();
    world.accept("earlier").unwrap();
    let mail = body_without_rows(&world, |world| world.accept("text").map(drop));
    let job = body_without_rows(&world, |world| world.queue("text", 1).map(drop));
    world.reopen();
    let report = world.storage.start_report();
    assert_eq!((report.missing.len(), report.restored, report.unacknowledged), (0, 0, 2), "{report:?}");
    world.accept("text").unwrap();
    assert_eq!(block_on(world.store.messages(world.mailbox.id)).unwrap().len(), 2);
    assert!(block_on(world.storage.list_jobs(10)).unwrap().is_empty());
    let report = block_on(world.storage.check(true)).unwrap();
    assert_eq!((report.restored, report.removed, report.leftovers_young), (0, 0, 2), "{report:?}");
    world.make_old(mail);
    world.make_old(job);
    assert_eq!(block_on(world.storage.collect()).unwrap(), 2);
}

#[test]
fn where_the_database_lost_mail_what_was_under_way_is_kept_too() {
    let mut world = World::new();
    let lost = world.accept("lost").unwrap()[0].row.message;
    let mail = body_without_rows(&world, |world| world.accept("text").map(drop));
    lose_row(&world, lost);
    world.reopen();
    let report = world.storage.start_report();
    assert_eq!((report.missing.len(), report.restored, report.unacknowledged), (2, 2, 0), "{report:?}");
    assert!(block_on(world.store.messages(world.mailbox.id)).unwrap().contains(&mail.message));
    world.reopen();
    assert_eq!(world.storage.start_report().missing, []);
}

#[test]
fn without_any_mark_every_new_object_gets_its_rows() {
    let mut world = World::new();
    // What an earlier version stored.
    world.blobs.set_fault(Some(Box::new(|what, _| match what {
        "confirm" => Err(Error::Unavailable("not known then".into())),
        _ => Ok(()),
    })));
    let kept = world.accept("kept").unwrap()[0].row.message;
    let lost = world.accept("lost").unwrap()[0].row.message;
    lose_row(&world, lost);
    world.blobs.set_fault(None);
    world.reopen();
    assert_eq!(world.storage.start_report().restored, 1);
    let listed = block_on(world.local.list("msg/")).unwrap();
    assert!(listed.iter().all(|object| object.confirmed == Some(true)), "they have their marks from now on");
    assert_eq!(world.read(kept).unwrap(), b"kept");
}

#[test]
fn repair_restores_intact_mail_removes_old_leftovers_and_keeps_what_is_damaged() {
    let world = World::new();
    let [intact, damaged, plain] = ["a", "b", "c"].map(|text| world.accept(text).unwrap()[0].row.message);
    lose_row(&world, intact);
    let path = world.path(stored(&world, damaged));
    let mut octets = std::fs::read(&path).unwrap();
    let last = octets.len() - 1;
    octets[last] ^= 1;
    std::fs::write(&path, octets).unwrap();
    let gone = ObjectKey::stored(world.org.id, MailboxId::random(), MessageId::random());
    std::fs::create_dir_all(world.path(gone).parent().unwrap()).unwrap();
    std::fs::copy(world.path(stored(&world, plain)), world.path(gone)).unwrap();

    let report = block_on(world.storage.check(false)).unwrap();
    assert_eq!(report.damaged.len(), 2, "{report:?}");
    assert!(report.damaged.contains(&stored(&world, damaged)));
    assert_eq!((report.leftovers_young, report.restored, report.removed), (1, 0, 0));

    let report = block_on(world.storage.check(true)).unwrap();
    assert_eq!((report.restored, report.removed), (1, 0), "{report:?}");
    assert!(block_on(world.store.messages(world.mailbox.id)).unwrap().contains(&intact));
    assert!(world.objects().contains(&stored(&world, damaged)), "damaged objects are never removed");
}

#[test]
fn wrong_counters_are_named_and_repair_puts_them_right() {
    let world = World::new();
    world.accept("four").unwrap();
    let state = block_on(world.store.rows().mailbox_states(&[world.mailbox.id])).unwrap().remove(0).unwrap();
    let mut inbox = state.folders.iter().find(|folder| folder.name == "INBOX").unwrap().clone();
    (inbox.messages, inbox.unseen, inbox.size) = (7, 0, 1);
    let mut row = state.row.clone();
    row.mailbox.used_bytes = 99;
    let writes = Writes { mailboxes: vec![row], folders: vec![inbox], ..Writes::default() };
    block_on(world.store.rows().apply("test", writes)).unwrap();

    let report = block_on(world.storage.check(false)).unwrap();
    assert_eq!(report.counters.len(), 4, "{report:?}");
    assert_eq!(block_on(world.storage.check(true)).unwrap().counters.len(), 4, "named once more");
    let report = block_on(world.storage.check(false)).unwrap();
    assert!(report.is_clean(), "{report:?}");
    let inbox = block_on(world.store.load_folder(world.folder_id("INBOX"))).unwrap().0;
    assert_eq!((inbox.messages, inbox.unseen, inbox.size), (1, 1, 4));
    assert_eq!(block_on(world.store.mailbox(world.mailbox.id)).unwrap().used_bytes, 4);
}

#[test]
fn counters_that_outlived_their_rows_are_put_right_when_storage_opens() {
    let mut world = World::new();
    let lost = world.accept("lost").unwrap()[0].row.message;
    world.accept("kept").unwrap();
    lose_row(&world, lost);
    let state = block_on(world.store.rows().mailbox_states(&[world.mailbox.id])).unwrap().remove(0).unwrap();
    let mut inbox = state.folders.iter().find(|folder| folder.name == "INBOX").unwrap().clone();
    (inbox.messages, inbox.unseen, inbox.size) = (2, 2, 8);
    let mut row = state.row.clone();
    row.mailbox.used_bytes = 8;
    let writes = Writes { mailboxes: vec![row], folders: vec![inbox], ..Writes::default() };
    block_on(world.store.rows().apply("test", writes)).unwrap();
    world.reopen();
    assert_eq!(world.storage.start_report().restored, 1);
    let report = block_on(world.storage.check(false)).unwrap();
    assert!(report.is_clean(), "{report:?}");
    let inbox = block_on(world.store.load_folder(world.folder_id("INBOX"))).unwrap().0;
    assert_eq!((inbox.messages, inbox.unseen, inbox.size), (2, 2, 8));
}

#[test]
fn a_missing_object_is_named() {
    let world = World::new();
    let message = world.accept("x").unwrap()[0].row.message;
    std::fs::remove_file(world.path(stored(&world, message))).unwrap();
    let report = block_on(world.storage.check(false)).unwrap();
    assert_eq!(report.without_object, [stored(&world, message)]);
    assert!(!report.is_clean());
}

#[test]
fn another_database_than_the_objects_is_reported_and_nothing_is_removed() {
    let mut world = World::new();
    let message = world.accept("x").unwrap()[0].row.message;
    let key = stored(&world, message);
    world.make_old(key);
    world.store = Arc::new(MemoryStore::new());
    world.reopen();
    assert_eq!(world.storage.start_report().missing, [key]);
    assert_eq!(block_on(world.storage.collect()).unwrap(), 0);
    let report = block_on(world.storage.check(true)).unwrap();
    assert_eq!((report.strangers, report.removed), (1, 0));
    assert_eq!(world.objects(), [key]);
}
