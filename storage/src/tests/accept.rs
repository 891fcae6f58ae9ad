//! Acceptance: order, failures, many at once.

use super::*;

/// Notes object operations, the disk's steps and the rows' writes in one log.
fn record(world: &World) -> Log {
    let log = Log::default();
    let (a, b, c) = (log.clone(), log.clone(), log.clone());
    world.blobs.set_fault(Some(Box::new(move |what, _| {
        a.note(what);
        Ok(())
    })));
    world.local.set_fault(Some(Box::new(move |step| {
        b.note(format!("{step:?}"));
        Ok(())
    })));
    world.store.inject(Some(Box::new(move |what| {
        c.note(what);
        None
    })));
    log
}

#[test]
fn sc3_objects_are_durable_before_rows_and_rows_before_ok() {
    let world = World::new();
    world.accept("warm up").unwrap();
    let log = record(&world);
    world.accept("Subject: x\r\n\r\nbody\r\n").unwrap();
    log.note("ok");
    let steps = log.take();
    let want = ["put", "Create", "Write", "SyncFile", "Rename", "SyncDir", "put done", "commit_batch"];
    assert_eq!(steps, [&want[..], &["confirm", "ok"]].concat());
}

#[test]
fn sc3_all_objects_of_an_acceptance_come_before_its_one_commit() {
    let world = World::new();
    let bob = add_mailbox(&world.store, &world.org, "bob@example.com", None);
    let log = record(&world);
    let message = MessageId::random();
    let jobs = vec![job(world.org.id, message, "a.test"), job(world.org.id, message, "b.test")];
    let accept = Accept {
        deliveries: vec![world.deliver("To: alice\r\n"), deliver(&bob, "To: bob\r\n")],
        queued: Some(Queued { org: world.org.id, message, prefix: Vec::new(), skip: Vec::new() }),
        jobs,
        ..world.accept_of(Vec::new())
    };
    let placed = block_on(world.storage.accept(&Spool::from_bytes(b"text".to_vec()), accept)).unwrap();
    assert_eq!(placed.len(), 2);
    let steps = log.take();
    assert_eq!(steps.iter().filter(|s| *s == "put done").count(), 3);
    assert_eq!(steps[steps.len() - 2..], ["commit_batch", "confirm"]);
    assert_eq!(world.objects().len(), 3, "the same text for two mailboxes is two objects");
    let body = block_on(async {
        world.storage.open_queued(world.org.id, message).await.unwrap().read_all().await.unwrap()
    });
    assert_eq!(body, b"text");
    assert_eq!(block_on(world.storage.list_jobs(10)).unwrap()[0].spec.size, 4);
}

#[test]
fn prefix_and_left_out_ranges_make_the_stored_message() {
    let world = World::new();
    let deliver = Deliver { skip: vec![4..6, 6..8], ..world.deliver("A: 1\r\n") };
    let spool = Spool::from_bytes(b"B: 2CUT!\r\n\r\nbody".to_vec());
    let placed = block_on(world.storage.accept(&spool, world.accept_of(vec![deliver]))).unwrap();
    let row = placed[0].row;
    let text = b"A: 1\r\nB: 2\r\n\r\nbody";
    assert_eq!(world.read(row.message).unwrap(), text);
    assert_eq!(row.size, text.len() as u64);
    let object = block_on(world.storage.open_message(world.org.id, world.mailbox.id, row.message)).unwrap();
    assert_eq!(object.envelope().sender, "bob@example.org");
    assert_eq!(object.envelope().recipients, ["alice@example.com"]);
    let meta = block_on(world.storage.meta(placed[0].folder, 1..=u32::MAX)).unwrap();
    assert_eq!(meta, [(row.uid, b"structure".to_vec())]);
}

#[test]
fn a_large_message_goes_through_a_file_and_comes_back_equal() {
    let world = World::new();
    let text: Vec<u8> = (0..1_000_003u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut spool = world.storage.spool();
    block_on(async {
        for piece in text.chunks(16_000) {
            spool.write(piece).await.unwrap();
        }
    });
    let deliver = Deliver { skip: vec![70_000..90_000, 90_000..140_000], ..world.deliver("P: 1\r\n") };
    let placed = block_on(world.storage.accept(&spool, world.accept_of(vec![deliver]))).unwrap();
    let want = [b"P: 1\r\n", &text[..70_000], &text[140_000..]].concat();
    assert_eq!(world.read(placed[0].row.message).unwrap(), want);
}

#[test]
fn a_refused_commit_leaves_no_object() {
    let world = World::new();
    let full = add_mailbox(&world.store, &world.org, "full@example.com", Some(10));
    let accept = world.accept_of(vec![world.deliver(""), deliver(&full, "")]);
    let outcome = block_on(world.storage.accept(&Spool::from_bytes(vec![b'x'; 11]), accept));
    assert_eq!(outcome, Err(Error::Refused(Refusal::OverQuota)));
    assert!(world.objects().is_empty());
    let accept = world.accept_of(vec![deliver(&full, "")]);
    block_on(world.storage.accept(&Spool::from_bytes(vec![b'x'; 10]), accept)).unwrap();
    assert_eq!(world.objects().len(), 1);
}

#[test]
fn sc4_a_failing_object_store_is_never_ok_and_leaves_no_row() {
    let world = World::new();
    for at in ["put", "put done"] {
        let fail_second = {
            let mut seen = 0;
            move |what: &'static str, _| {
                seen += usize::from(what == at);
                if what == at && seen == 2 { Err(Error::Unavailable("no space".into())) } else { Ok(()) }
            }
        };
        world.blobs.set_fault(Some(Box::new(fail_second)));
        let accept = world.accept_of(vec![world.deliver(""), world.deliver("")]);
        let outcome = block_on(world.storage.accept(&Spool::from_bytes(b"x".to_vec()), accept));
        assert!(matches!(outcome, Err(Error::Unavailable(_))), "{at}: {outcome:?}");
        world.blobs.set_fault(None);
        assert!(world.objects().is_empty(), "{at}");
        assert!(block_on(world.store.messages(world.mailbox.id)).unwrap().is_empty(), "{at}");
    }
}

#[test]
fn sc4_a_failing_database_is_never_ok() {
    let world = World::new();
    world.store.inject(Some(Box::new(|what| (what == "commit_batch").then_some(Fault::Before))));
    assert!(matches!(world.accept("x"), Err(Error::Unavailable(_))));
    assert!(world.objects().is_empty(), "nothing was applied, so nothing refers to the object");
    world.store.inject(Some(Box::new(|what| (what == "commit_batch").then_some(Fault::After))));
    assert!(matches!(world.accept("y"), Err(Error::OutcomeUnknown(_))));
    assert_eq!(world.objects().len(), 1, "it may count");
    assert!(matches!(block_on(world.storage.fatal()), Error::OutcomeUnknown(_)));
}

#[test]
fn many_acceptances_at_once_are_all_stored_each_under_its_own_uid() {
    let world = World::new();
    let inbox = world.folder_id("INBOX");
    let view = block_on(world.storage.folder(inbox)).unwrap();
    let threads: Vec<_> = (0..8)
        .map(|t| {
            let (storage, mailbox) = (world.storage.clone(), world.mailbox.clone());
            std::thread::spawn(move || {
                (0..25)
                    .map(|n| {
                        let text = format!("message {t} {n}");
                        let accept = Accept {
                            received: NOW,
                            deliveries: vec![deliver(&mailbox, "")],
                            ..Accept::default()
                        };
                        let spool = Spool::from_bytes(text.clone().into_bytes());
                        (text, block_on(storage.accept(&spool, accept)).unwrap()[0].row)
                    })
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let mut rows: Vec<(String, Row)> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    rows.sort_by_key(|(_, row)| row.uid);
    assert_eq!(rows.iter().map(|(_, row)| row.uid).collect::<Vec<_>>(), (1..=200).collect::<Vec<_>>());
    for (text, row) in &rows {
        assert_eq!(world.read(row.message).unwrap(), text.as_bytes());
    }
    let (info, loaded) = block_on(world.store.load_folder(inbox)).unwrap();
    view.with(|state| {
        assert_eq!(state.rows, loaded);
        assert_eq!(state.info, info);
    });
}

#[test]
fn what_waits_goes_into_one_batch_up_to_its_limit() {
    let world = World::new();
    let sizes = Log::default();
    let noted = sizes.clone();
    world.store.inject(Some(Box::new(move |what| {
        noted.note(what);
        None
    })));
    let (writer, received) = crate::writer::Writer::new();
    let row = |n: u8| NewRow {
        mailbox: world.mailbox.id,
        folder: FolderTarget::Use(SpecialUse::Inbox),
        message: MessageId(Id([n; 16])),
        size: 1,
        internal_date: NOW,
        flags: NamedFlags::default(),
        meta: Vec::new(),
        check_quota: false,
    };
    let commits = (0..=BATCH_MAX).map(|n| {
        let mut commit = Commit { rows: vec![row(n as u8)], jobs: Vec::new(), ..Commit::default() };
        commit.rows[0].message.0.0[0] = (n / 256) as u8;
        writer.write(commit)
    });
    let mut commits: Vec<_> = commits.map(Box::pin).collect();
    block_on(async {
        for commit in &mut commits {
            assert!(futures_lite::future::poll_once(commit).await.is_none());
        }
        writer.close();
        let store = world.store.clone();
        crate::writer::run(received, async move |commits| store.commit_batch(commits).await).await;
        for commit in commits {
            assert_eq!(commit.await.unwrap().len(), 1);
        }
        let late = writer.write(Commit::default()).await;
        assert!(matches!(late, Err(Error::Unavailable(_))));
    });
    assert_eq!(sizes.take(), ["commit_batch", "commit_batch"], "one more than a batch takes two");
}

#[test]
fn an_acceptance_whose_caller_goes_away_is_finished() {
    let world = World::new();
    let inbox = world.folder_id("INBOX");
    let view = block_on(world.storage.folder(inbox)).unwrap();
    let spool = Spool::from_bytes(b"x".to_vec());
    let mut accepting = Box::pin(world.storage.accept(&spool, world.accept_of(vec![world.deliver("")])));
    block_on(async {
        assert!(futures_lite::future::poll_once(&mut accepting).await.is_none());
        drop(accepting);
        view.changed(0).await;
    });
    assert_eq!(view.with(|state| state.rows.len()), 1);
}
