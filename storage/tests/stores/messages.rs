//! Messages in folders.

use std::sync::Arc;

use storage::*;

use crate::support::*;

pub async fn commits_place_in_order(store: S) {
    let id = alice(&store).await.id;
    let inbox_before = folder(&store, id, "INBOX").await;
    let new: Vec<NewRow> = (0..3).map(|n| row(id, inbox(), 10 + n)).collect();
    let commits = vec![commit(new[..2].to_vec()), commit(vec![]), commit(new[2..].to_vec())];
    let answers = store.commit_batch(commits).await;
    let placed: Vec<Placed> = answers.into_iter().flat_map(|answer| answer.unwrap()).collect();
    let uids: Vec<u32> = placed.iter().map(|p| p.row.uid).collect();
    assert_eq!(uids, [1, 2, 3]);
    assert!(
        placed.iter().all(|p| p.folder == inbox_before.id && p.uid_validity == inbox_before.uid_validity)
    );
    assert_eq!(placed[0].row.modseq, placed[1].row.modseq);
    assert!(placed[2].row.modseq > placed[1].row.modseq);

    let (info, rows) = store.load_folder(inbox_before.id).await.unwrap();
    assert_eq!(rows, placed.iter().map(|p| p.row).collect::<Vec<_>>());
    assert_eq!((info.messages, info.unseen, info.size, info.uid_next), (3, 3, 33, 4));
    assert_eq!(info.highest_modseq, placed[2].row.modseq);
    assert_eq!(rows[0].internal_date, at(1));
    assert_eq!(store.mailbox(id).await.unwrap().used_bytes, 33);

    // A use that no folder carries means the inbox; a keyword comes with the row.
    store.delete_folder(id, "Junk").await.unwrap();
    let mut junk = row(id, FolderTarget::Use(SpecialUse::Junk), 5);
    junk.flags = flags(Flags::SEEN, &["$Junk"]);
    let placed = place(&store, vec![junk]).await;
    assert_eq!((placed[0].folder, placed[0].row.flags), (info.id, Flags(1 | 1 << 8)));
    let info = folder(&store, id, "INBOX").await;
    assert_eq!((info.unseen, info.keywords), (3, vec!["$Junk".to_string()]));
}

pub async fn a_refused_commit_leaves_its_neighbours(store: S) {
    let org = org(&store, "org").await;
    domain(&store, org, "example.test").await;
    let mut small = new_mailbox(org, "small@example.test");
    small.quota_bytes = Some(100);
    store.create_mailbox(&small, &password("x"), at(0)).await.unwrap();
    let big = mailbox(&store, org, "big@example.test").await;
    let over = commit(vec![row(big.id, inbox(), 7), row(small.id, inbox(), 101)]);
    let unchecked = commit(vec![NewRow { check_quota: false, ..row(small.id, inbox(), 30) }]);
    let nowhere = commit(vec![row(big.id, FolderTarget::Id(FolderId::random()), 1)]);
    let nobody = commit(vec![row(MailboxId::random(), inbox(), 1)]);
    let batch = vec![
        commit(vec![row(small.id, inbox(), 60)]),
        over,
        commit(vec![row(small.id, inbox(), 40)]),
        nowhere,
        commit(vec![row(small.id, inbox(), 1)]),
        nobody,
        unchecked,
        commit(vec![row(big.id, inbox(), 1000)]),
    ];
    let answers = store.commit_batch(batch).await;
    let outcome: Vec<Result<Vec<u32>>> =
        answers.into_iter().map(|a| a.map(|p| p.iter().map(|p| p.row.uid).collect())).collect();
    let over = || Err(Refusal::OverQuota.into());
    let expected = vec![
        Ok(vec![1]),
        over(),
        Ok(vec![2]),
        Err(Error::NotFound),
        over(),
        Err(Error::NotFound),
        Ok(vec![3]),
        Ok(vec![1]),
    ];
    assert_eq!(outcome, expected);
    assert_eq!(store.mailbox(small.id).await.unwrap().used_bytes, 130);
    let info = folder(&store, big.id, "INBOX").await;
    assert_eq!((info.messages, info.size, info.uid_next), (1, 1000, 2));

    // The domain's quota holds for who has none.
    let settings = DomainSettings { quota_mailbox_bytes: Some(1001), ..DomainSettings::default() };
    store.set_domain("example.test", &settings).await.unwrap();
    let answers = store.commit_batch(vec![commit(vec![row(big.id, inbox(), 2)])]).await;
    assert_eq!(answers, [Err(Refusal::OverQuota.into())]);
    assert_eq!(place(&store, vec![row(big.id, inbox(), 1)]).await.len(), 1);
}

pub async fn one_message_in_two_folders_counts_once(store: S) {
    let id = alice(&store).await.id;
    let first = row(id, inbox(), 50);
    let second = NewRow { folder: FolderTarget::Use(SpecialUse::Archive), ..first.clone() };
    let placed = place(&store, vec![first, second]).await;
    assert_ne!(placed[0].folder, placed[1].folder);
    assert_eq!(store.mailbox(id).await.unwrap().used_bytes, 50);
    let message = placed[0].row.message;
    for (n, place) in placed.iter().enumerate() {
        let deleted = flags(Flags::DELETED, &[]);
        store.set_flags(place.folder, &[1], FlagOp::Add, &deleted, None).await.unwrap();
        let gone = store.expunge(place.folder, &[1]).await.unwrap();
        assert_eq!(gone.orphans, if n == 0 { vec![] } else { vec![message] });
    }
    assert_eq!(store.mailbox(id).await.unwrap().used_bytes, 0);
}

pub async fn the_same_message_is_not_stored_twice(store: S) {
    let alice = alice(&store).await;
    let once = row(alice.id, inbox(), 50);
    let exists = || Err(Refusal::Exists(once.message.to_string()).into());
    let within = store.commit_batch(vec![commit(vec![once.clone()]), commit(vec![once.clone()])]).await;
    assert_eq!((within[0].is_ok(), &within[1]), (true, &exists()));
    let batch = vec![commit(vec![row(alice.id, inbox(), 1)]), commit(vec![once.clone()])];
    let later = store.commit_batch(batch).await;
    assert!(later[0].is_ok());
    assert!(matches!(later[1], Err(Error::Refused(Refusal::Exists(_)))));
    // Another mailbox may store an object of the same ID.
    let bob = mailbox(&store, alice.org, "bob@example.test").await;
    assert_eq!(place(&store, vec![NewRow { mailbox: bob.id, ..once.clone() }]).await.len(), 1);
    assert_eq!(folder(&store, alice.id, "INBOX").await.messages, 2);
}

pub async fn flags_change_and_say_so(store: S) {
    let id = alice(&store).await.id;
    let inbox = fill(&store, id, 4).await[0].folder;
    let before = folder(&store, id, "INBOX").await;
    let add = flags(Flags::SEEN, &["Work"]);
    let changed = store.set_flags(inbox, &[3, 1, 3, 99], FlagOp::Add, &add, None).await.unwrap();
    assert_eq!(changed.changed.iter().map(|row| row.uid).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(changed.changed[0].flags, Flags(1 | 1 << 8));
    assert_eq!(changed.changed[0].modseq, before.highest_modseq + 1);
    assert_eq!(changed.keywords, ["Work"]);
    // Compared without case; nothing changes, and nothing is said to.
    let again =
        store.set_flags(inbox, &[1], FlagOp::Add, &flags(Flags::SEEN, &["WORK"]), None).await.unwrap();
    assert_eq!(again, FlagsChanged { keywords: vec!["Work".into()], ..FlagsChanged::default() });
    let info = folder(&store, id, "INBOX").await;
    assert_eq!((info.unseen, info.highest_modseq, info.messages), (2, before.highest_modseq + 1, 4));

    let removed = store.set_flags(inbox, &[1], FlagOp::Remove, &flags(Flags(0), &["work", "no"]), None).await;
    let removed = removed.unwrap();
    assert_eq!((removed.changed[0].flags, removed.keywords.len()), (Flags::SEEN, 1));
    let replace = flags(Flags::FLAGGED.union(Flags::DRAFT), &["b"]);
    let replaced = store.set_flags(inbox, &[1, 2], FlagOp::Replace, &replace, None).await.unwrap();
    assert!(replaced.changed.iter().all(|row| row.flags == Flags(4 | 16 | 1 << 9)));
    let (info, rows) = store.load_folder(inbox).await.unwrap();
    assert_eq!((info.unseen, info.keywords.len()), (3, 2));
    assert_eq!(rows[0], replaced.changed[0]);
    assert_eq!(rows[3].flags, Flags(0));
}

pub async fn keywords_have_a_limit(store: S) {
    let id = alice(&store).await.id;
    let inbox = fill(&store, id, 2).await[0].folder;
    let all: Vec<String> = (0..KEYWORDS_MAX).map(|n| format!("k{n}")).collect();
    let named = NamedFlags { system: Flags(0), keywords: all.clone() };
    let changed = store.set_flags(inbox, &[1], FlagOp::Add, &named, None).await.unwrap();
    assert_eq!(changed.keywords, all);
    let one_more = store.set_flags(inbox, &[1], FlagOp::Add, &flags(Flags::SEEN, &["more"]), None).await;
    assert!(matches!(one_more, Err(Error::Refused(Refusal::TooMany(_)))));
    let known = store.set_flags(inbox, &[2], FlagOp::Add, &flags(Flags(0), &["K49"]), None).await.unwrap();
    assert_eq!(known.changed[0].flags, Flags::keyword(49));
    // A commit with one keyword too many is refused alone.
    let bad = NewRow { flags: flags(Flags(0), &["more"]), ..row(id, inbox_target(inbox), 1) };
    let answers =
        store.commit_batch(vec![commit(vec![bad]), commit(vec![row(id, inbox_target(inbox), 1)])]).await;
    assert!(matches!(answers[0], Err(Error::Refused(Refusal::TooMany(_)))));
    assert_eq!(answers[1].as_ref().unwrap()[0].row.uid, 3);
}

fn inbox_target(folder: FolderId) -> FolderTarget {
    FolderTarget::Id(folder)
}

pub async fn unchanged_since_keeps_rows(store: S) {
    let id = alice(&store).await.id;
    let inbox = fill(&store, id, 3).await[0].folder;
    let seen = flags(Flags::SEEN, &[]);
    let since = folder(&store, id, "INBOX").await.highest_modseq;
    store.set_flags(inbox, &[2], FlagOp::Add, &seen, None).await.unwrap();
    let flagged = flags(Flags::FLAGGED, &[]);
    let answer = store.set_flags(inbox, &[1, 2, 3], FlagOp::Add, &flagged, Some(since)).await.unwrap();
    assert_eq!(answer.modified, [2]);
    assert_eq!(answer.changed.iter().map(|row| row.uid).collect::<Vec<_>>(), [1, 3]);
    let none = store.set_flags(inbox, &[1], FlagOp::Add, &flags(Flags(0), &["new"]), Some(0)).await.unwrap();
    assert_eq!((none.modified, none.changed.len(), none.keywords.len()), (vec![1], 0, 0));
}

pub async fn expunge_takes_deleted_rows_only(store: S) {
    let id = alice(&store).await.id;
    let placed = fill(&store, id, 4).await;
    let inbox = placed[0].folder;
    let deleted = flags(Flags::DELETED.union(Flags::SEEN), &[]);
    store.set_flags(inbox, &[2, 3], FlagOp::Add, &deleted, None).await.unwrap();
    let before = folder(&store, id, "INBOX").await;
    let nothing = store.expunge(inbox, &[1, 4]).await.unwrap();
    assert_eq!(nothing, Expunged { uids: vec![], modseq: before.highest_modseq, orphans: vec![] });
    let gone = store.expunge(inbox, &[1, 2, 4]).await.unwrap();
    assert_eq!((gone.uids, gone.modseq), (vec![2], before.highest_modseq + 1));
    assert_eq!(gone.orphans, [placed[1].row.message]);
    let (info, rows) = store.load_folder(inbox).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.uid).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!((info.messages, info.unseen, info.size, info.uid_next), (3, 2, 300, 5));
    assert_eq!(store.mailbox(id).await.unwrap().used_bytes, 300);
    // A UID is never given again, even when it was the last.
    store.set_flags(inbox, &[4], FlagOp::Add, &deleted, None).await.unwrap();
    store.expunge(inbox, &[4]).await.unwrap();
    assert_eq!(fill(&store, id, 1).await[0].row.uid, 5);
}

pub async fn copies_share_the_object(store: S) {
    let id = alice(&store).await.id;
    let placed = fill(&store, id, 3).await;
    let inbox = placed[0].folder;
    store.set_flags(inbox, &[1], FlagOp::Add, &flags(Flags::SEEN, &["x", "y"]), None).await.unwrap();
    let archive = folder(&store, id, "Archive").await;
    let other = NewRow { flags: flags(Flags(0), &["Y"]), ..row(id, FolderTarget::Id(archive.id), 9) };
    place(&store, vec![other]).await;

    let copied = store.copy(inbox, &[3, 1, 77], archive.id, false).await.unwrap();
    assert_eq!((copied.uid_validity, copied.removed_modseq), (archive.uid_validity, None));
    assert_eq!(copied.keywords, ["Y", "x"]);
    let pairs: Vec<(u32, u32)> = copied.pairs.iter().map(|(uid, row)| (*uid, row.uid)).collect();
    assert_eq!(pairs, [(1, 2), (3, 3)]);
    let copy = copied.pairs[0].1;
    assert_eq!((copy.flags, copy.message), (Flags(1 | 1 << 8 | 1 << 9), placed[0].row.message));
    assert_eq!(copy.internal_date, placed[0].row.internal_date);
    let (info, rows) = store.load_folder(archive.id).await.unwrap();
    assert_eq!((info.messages, info.unseen, info.size), (3, 2, 209));
    assert_eq!(rows[1], copy);
    assert_eq!(store.mailbox(id).await.unwrap().used_bytes, 309);
    assert_eq!(
        store.meta(archive.id, 2..=2).await.unwrap(),
        store.meta(inbox, 1..=1).await.unwrap().into_iter().map(|(_, meta)| (2, meta)).collect::<Vec<_>>()
    );

    // Into its own folder, and of nothing.
    let own = store.copy(inbox, &[2], inbox, false).await.unwrap();
    assert_eq!(own.pairs[0].1.uid, 4);
    assert!(store.copy(inbox, &[99], archive.id, true).await.unwrap().pairs.is_empty());
    let deleted = flags(Flags::DELETED, &[]);
    store.set_flags(inbox, &[2, 4], FlagOp::Add, &deleted, None).await.unwrap();
    assert_eq!(store.expunge(inbox, &[2, 4]).await.unwrap().orphans, [placed[1].row.message]);
}

pub async fn moves_keep_the_message(store: S) {
    let id = alice(&store).await.id;
    let placed = fill(&store, id, 3).await;
    let inbox = placed[0].folder;
    let trash = folder(&store, id, "Trash").await;
    let before = folder(&store, id, "INBOX").await;
    let moved = store.copy(inbox, &[1, 2], trash.id, true).await.unwrap();
    assert_eq!(moved.removed_modseq, Some(before.highest_modseq + 1));
    assert_eq!(moved.pairs.len(), 2);
    let (info, rows) = store.load_folder(inbox).await.unwrap();
    assert_eq!((rows.len(), info.messages, info.size, info.unseen), (1, 1, 100, 1));
    let (_, _, gone) = store.changes_since(inbox, before.highest_modseq).await.unwrap();
    assert_eq!(gone, [1, 2]);
    assert_eq!(store.mailbox(id).await.unwrap().used_bytes, 300);
    assert_eq!(store.messages(id).await.unwrap().len(), 3);

    // Within one folder the message gets a new UID.
    let own = store.copy(inbox, &[3], inbox, true).await.unwrap();
    assert_eq!(own.pairs[0].1.uid, 4);
    let (info, rows) = store.load_folder(inbox).await.unwrap();
    assert_eq!((rows.len(), rows[0].uid, info.messages), (1, 4, 1));
    assert_eq!(own.removed_modseq, Some(info.highest_modseq));
    assert_eq!(store.messages(id).await.unwrap().len(), 3);
}

pub async fn changes_since_tell_everything(store: S) {
    let id = alice(&store).await.id;
    let inbox = fill(&store, id, 5).await[0].folder;
    let start = folder(&store, id, "INBOX").await.highest_modseq;
    store.set_flags(inbox, &[4], FlagOp::Add, &flags(Flags::DELETED, &[]), None).await.unwrap();
    let middle = folder(&store, id, "INBOX").await.highest_modseq;
    store.expunge(inbox, &[4]).await.unwrap();
    store.set_flags(inbox, &[1, 2], FlagOp::Add, &flags(Flags::DELETED, &[]), None).await.unwrap();
    store.expunge(inbox, &[2]).await.unwrap();
    fill(&store, id, 1).await;
    let (info, rows, gone) = store.changes_since(inbox, start).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.uid).collect::<Vec<_>>(), [1, 6]);
    assert_eq!((gone, info.messages), (vec![2, 4], 4));
    let (_, _, gone) = store.changes_since(inbox, middle + 1).await.unwrap();
    assert_eq!(gone, [2]);
    let (_, rows, gone) = store.changes_since(inbox, info.highest_modseq).await.unwrap();
    assert!(rows.is_empty() && gone.is_empty());
    let (_, rows, gone) = store.changes_since(inbox, 0).await.unwrap();
    assert_eq!((rows.len(), gone.len()), (4, 2));
    assert_eq!(store.changes_since(FolderId::random(), 0).await.map(drop), Err(Error::NotFound));
}

pub async fn meta_by_range(store: S) {
    let id = alice(&store).await.id;
    let mut new: Vec<NewRow> = (0..4).map(|_| row(id, inbox(), 1)).collect();
    new[2].meta = vec![0xa5; 40_000];
    let placed = place(&store, new.clone()).await;
    let inbox = placed[0].folder;
    let expected = |uid: usize| (uid as u32, new[uid - 1].meta.clone());
    assert_eq!(store.meta(inbox, 2..=3).await.unwrap(), [expected(2), expected(3)]);
    assert_eq!(store.meta(inbox, 4..=u32::MAX).await.unwrap(), [expected(4)]);
    assert_eq!(store.meta(inbox, 9..=12).await.unwrap(), []);
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = store.meta(inbox, 3..=2).await.unwrap();
    assert_eq!(backwards, []);
    assert_eq!(store.meta(FolderId::random(), 1..=2).await, Err(Error::NotFound));
}

pub async fn mailboxes_do_not_reach_each_other(store: S) {
    let alice = alice(&store).await;
    let bob = mailbox(&store, alice.org, "bob@example.test").await;
    let hers = fill(&store, alice.id, 1).await[0].folder;
    let his = folder(&store, bob.id, "INBOX").await.id;
    assert_eq!(store.copy(hers, &[1], his, false).await.map(drop), Err(Error::NotFound));
    let foreign = commit(vec![row(bob.id, FolderTarget::Id(hers), 1)]);
    assert_eq!(store.commit_batch(vec![foreign]).await, [Err(Error::NotFound)]);
    assert_eq!(folder(&store, alice.id, "INBOX").await.messages, 1);
}

pub async fn concurrent_changes_are_all_counted(store: S) {
    const TASKS: usize = 8;
    let id = alice(&store).await.id;
    let inbox = fill(&store, id, TASKS).await[0].folder;
    let threads: Vec<_> = (0..TASKS)
        .map(|n| {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                block_on(async {
                    fill(&store, id, 2).await;
                    let keyword = format!("k{n}");
                    let named = flags(Flags::SEEN, &[&keyword]);
                    store.set_flags(inbox, &[n as u32 + 1], FlagOp::Add, &named, None).await.unwrap();
                })
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let (info, rows) = store.load_folder(inbox).await.unwrap();
    assert_eq!((info.messages as usize, info.unseen as usize), (3 * TASKS, 2 * TASKS));
    assert_eq!((info.uid_next as usize, info.keywords.len()), (3 * TASKS + 1, TASKS));
    let uids: Vec<u32> = rows.iter().map(|row| row.uid).collect();
    assert_eq!(uids, (1..=3 * TASKS as u32).collect::<Vec<_>>());
    assert_eq!(info.highest_modseq, rows.iter().map(|row| row.modseq).max().unwrap());
}
