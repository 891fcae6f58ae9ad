//! Views against the rows they stand for.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Deliver {
        folder: usize,
        keyword: usize,
    },
    Flags {
        folder: usize,
        uids: Vec<u32>,
        op: FlagOp,
        system: u64,
        keyword: usize,
    },
    Expunge {
        folder: usize,
        uids: Vec<u32>,
    },
    Relocate {
        from: usize,
        to: usize,
        uids: Vec<u32>,
        remove: bool,
    },
    /// Something that another process does: nobody tells the view.
    Elsewhere(Box<Op>),
}

fn op() -> impl Strategy<Value = Op> {
    let uids = || prop::collection::vec(1u32..12, 1..5);
    let flag_op = prop_oneof![Just(FlagOp::Add), Just(FlagOp::Remove), Just(FlagOp::Replace)];
    let here = prop_oneof![
        3 => (0..2usize, 0..4usize).prop_map(|(folder, keyword)| Op::Deliver { folder, keyword }),
        3 => (0..2usize, uids(), flag_op, 0..32u64, 0..4usize).prop_map(|(folder, uids, op, system, keyword)| {
            Op::Flags { folder, uids, op, system, keyword }
        }),
        1 => (0..2usize, uids()).prop_map(|(folder, uids)| Op::Expunge { folder, uids }),
        2 => (0..2usize, 0..2usize, uids(), any::<bool>()).prop_map(|(from, to, uids, remove)| {
            Op::Relocate { from, to, uids, remove }
        }),
    ];
    (here, 0..4u8).prop_map(|(op, n)| if n == 0 { Op::Elsewhere(Box::new(op)) } else { op })
}

fn named(system: u64, keyword: usize) -> NamedFlags {
    let keywords = (1..=keyword).map(|n| format!("k{n}")).collect();
    NamedFlags { system: Flags(system), keywords }
}

fn new_row(world: &World, folder: FolderId, keyword: usize) -> Commit {
    let row = NewRow {
        mailbox: world.mailbox.id,
        folder: FolderTarget::Id(folder),
        message: MessageId::random(),
        size: 10,
        internal_date: NOW,
        flags: named(0, keyword),
        meta: Vec::new(),
        check_quota: false,
    };
    Commit { rows: vec![row], jobs: Vec::new(), ..Commit::default() }
}

/// Does it, through the facade or behind its back; which folders a view was told of.
fn run(world: &World, folders: [FolderId; 2], op: &Op, elsewhere: bool) -> Vec<FolderId> {
    let told = block_on(async {
        match op {
            Op::Deliver { folder, keyword } if elsewhere => {
                let commit = new_row(world, folders[*folder], *keyword);
                world.store.commit_batch(vec![commit]).await.remove(0).unwrap();
                vec![]
            }
            Op::Deliver { folder, keyword } => {
                world.storage.inner.writer.write(new_row(world, folders[*folder], *keyword)).await.unwrap();
                vec![folders[*folder]]
            }
            Op::Flags { folder, uids, op, system, keyword } => {
                let flags = named(*system, *keyword);
                let changed = match elsewhere {
                    true => world.store.set_flags(folders[*folder], uids, *op, &flags, None).await,
                    false => world.storage.set_flags(folders[*folder], uids, *op, &flags, None).await,
                };
                if changed.unwrap().changed.is_empty() { vec![] } else { vec![folders[*folder]] }
            }
            Op::Expunge { folder, uids } => {
                let gone = match elsewhere {
                    true => world.store.expunge(folders[*folder], uids).await,
                    false => world.storage.expunge(folders[*folder], uids).await,
                };
                if gone.unwrap().uids.is_empty() { vec![] } else { vec![folders[*folder]] }
            }
            Op::Relocate { from, to, uids, remove } => {
                let (from, to) = (folders[*from], folders[*to]);
                let copied = match (elsewhere, remove) {
                    (true, remove) => world.store.copy(from, uids, to, *remove).await,
                    (false, true) => world.storage.move_(from, uids, to).await,
                    (false, false) => world.storage.copy(from, uids, to).await,
                };
                match (copied.unwrap().pairs.is_empty(), remove) {
                    (true, _) => vec![],
                    (false, true) => vec![from, to],
                    (false, false) => vec![to],
                }
            }
            Op::Elsewhere(_) => vec![],
        }
    });
    match op {
        Op::Elsewhere(op) => run(world, folders, op, true),
        _ if elsewhere => vec![],
        _ => told,
    }
}

/// A session: it keeps rows of its own and learns of changes only.
struct Session {
    view: Arc<FolderView>,
    rows: Vec<Row>,
    version: u64,
}

impl Session {
    fn new(view: Arc<FolderView>) -> Session {
        let (rows, version) = view.with_version(|state, version| (state.rows.clone(), version));
        Session { view, rows, version }
    }

    fn catch_up(&mut self) {
        let Changes::List(changes, version) = self.view.changes(self.version) else {
            *self = Session::new(self.view.clone());
            return;
        };
        for change in changes {
            match change {
                Change::Added(row) => self.rows.push(row),
                Change::Flags(row) => {
                    let mine = self.rows.iter_mut().find(|mine| mine.uid == row.uid);
                    *mine.expect("flags of a known message") = row;
                }
                Change::Expunged { uid, .. } => {
                    let at = self.rows.iter().position(|row| row.uid == uid);
                    self.rows.remove(at.expect("a known message goes"));
                }
                Change::Keywords | Change::Gone => {}
            }
        }
        self.version = version;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_view_equals_the_folder_read_anew_whenever_it_was_told_of_a_change(
        ops in prop::collection::vec(op(), 1..40),
    ) {
        let world = World::new();
        let folders = [world.folder_id("INBOX"), world.folder_id("Archive")];
        let views = folders.map(|id| block_on(world.storage.folder(id)).unwrap());
        let mut sessions = views.clone().map(Session::new);
        for op in &ops {
            let told = run(&world, folders, op, false);
            for (view, session) in views.iter().zip(&mut sessions) {
                if told.contains(&view.id()) {
                    let (info, rows) = block_on(world.store.load_folder(view.id())).unwrap();
                    view.with(|state| {
                        prop_assert_eq!(&state.rows, &rows);
                        prop_assert_eq!(&state.info, &info);
                        Ok(())
                    })?;
                }
                session.catch_up();
                prop_assert_eq!(&session.rows, &view.with(|state| state.rows.clone()));
            }
        }
    }
}

#[test]
fn a_view_is_shared_while_it_is_held_and_loaded_again_after() {
    let world = World::new();
    let inbox = world.folder_id("INBOX");
    let view = block_on(world.storage.folder(inbox)).unwrap();
    assert!(Arc::ptr_eq(&view, &block_on(world.storage.folder(inbox)).unwrap()));
    drop(view);
    assert!(world.storage.inner.views.live(inbox).is_none());
    world.accept("x").unwrap();
    let view = block_on(world.storage.folder(inbox)).unwrap();
    assert_eq!(view.with(|state| state.rows.len()), 1);
    assert!(block_on(world.storage.folder(FolderId::random())).is_err());
}

#[test]
fn a_session_too_far_behind_reads_everything_again() {
    let world = World::new();
    let inbox = world.folder_id("INBOX");
    world.accept("x").unwrap();
    let view = block_on(world.storage.folder(inbox)).unwrap();
    let start = view.version();
    let flag = |n: usize| {
        let op = if n.is_multiple_of(2) { FlagOp::Add } else { FlagOp::Remove };
        let flags = NamedFlags { system: Flags::FLAGGED, keywords: Vec::new() };
        block_on(world.storage.set_flags(inbox, &[1], op, &flags, None)).unwrap();
    };
    (0..CHANGES_MAX).for_each(flag);
    match view.changes(start) {
        Changes::List(changes, version) => {
            assert_eq!((changes.len(), version), (CHANGES_MAX, start + CHANGES_MAX as u64));
        }
        Changes::Resync => panic!("as many as are remembered"),
    }
    flag(CHANGES_MAX);
    assert_eq!(view.changes(start), Changes::Resync);
}

#[test]
fn waiting_for_a_change_ends_with_it_and_tells_which() {
    let world = World::new();
    let inbox = world.folder_id("INBOX");
    let view = block_on(world.storage.folder(inbox)).unwrap();
    let version = view.version();
    let waiter = {
        let view = view.clone();
        std::thread::spawn(move || block_on(view.changed(version)))
    };
    world.accept("x").unwrap();
    waiter.join().unwrap();
    let row = view.with(|state| state.rows[0]);
    assert_eq!(view.changes(version), Changes::List(vec![Change::Added(row)], version + 1));
    let keywords = NamedFlags { system: Flags::default(), keywords: vec!["$Work".into()] };
    block_on(world.storage.set_flags(inbox, &[1], FlagOp::Add, &keywords, None)).unwrap();
    let Changes::List(changes, _) = view.changes(version + 1) else { panic!("one change") };
    assert!(changes.contains(&Change::Keywords), "{changes:?}");
    assert_eq!(view.with(|state| state.info.keywords.clone()), ["$Work"]);
}

#[test]
fn a_notice_that_was_overtaken_makes_the_view_read_what_is_missing() {
    let world = World::new();
    let inbox = world.folder_id("INBOX");
    let view = block_on(world.storage.folder(inbox)).unwrap();
    let commit = |n| block_on(world.store.commit_batch(vec![new_row(&world, inbox, n)])).remove(0).unwrap();
    let (first, second) = (commit(0), commit(1));
    block_on(world.storage.inner.views.placed(second.iter()));
    assert_eq!(view.with(|state| state.rows.len()), 2, "the gap was read");
    let version = view.version();
    block_on(world.storage.inner.views.placed(first.iter()));
    assert_eq!(view.version(), version, "what is known changes nothing");
}

#[test]
fn a_view_that_could_not_read_a_gap_reads_it_when_it_is_next_asked_for() {
    let world = World::new();
    let inbox = world.folder_id("INBOX");
    let view = block_on(world.storage.folder(inbox)).unwrap();
    block_on(world.store.commit_batch(vec![new_row(&world, inbox, 0)])).remove(0).unwrap();
    assert_eq!(view.with(|state| state.rows.len()), 0, "nobody told the view");
    world.storage.inner.views.mark_behind(inbox);
    block_on(world.storage.folder(inbox)).unwrap();
    assert_eq!(view.with(|state| state.rows.len()), 1);
}
