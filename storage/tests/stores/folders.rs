//! Folders.

use storage::*;

use crate::support::*;

async fn names(store: &S, mailbox: MailboxId) -> Vec<String> {
    store.folders(mailbox).await.unwrap().into_iter().map(|folder| folder.name).collect()
}

pub async fn levels_above_are_made(store: S) {
    let id = alice(&store).await.id;
    let made = store.create_folder(id, "a/b/c", None, at(5)).await.unwrap();
    assert_eq!((made.name.as_str(), made.uid_next, made.messages), ("a/b/c", 1, 0));
    assert!(made.uid_validity > 0 && made.highest_modseq >= 1);
    let all = names(&store, id).await;
    assert_eq!(all, ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash", "a", "a/b", "a/b/c"]);
    assert_eq!(folder(&store, id, "a/b/c").await, made);
    let again = store.create_folder(id, "a/b", None, at(5)).await;
    assert_eq!(again, Err(Refusal::Exists("a/b".into()).into()));
    let nobody = store.create_folder(MailboxId::random(), "a", None, at(5)).await;
    assert_eq!(nobody, Err(Error::NotFound));
}

pub async fn names_are_checked(store: S) {
    let id = alice(&store).await.id;
    for bad in ["", "/", "a//b", "a/", "x\u{0}y", &"n".repeat(256)] {
        let answer = store.create_folder(id, bad, None, at(5)).await;
        assert!(matches!(answer, Err(Error::Refused(Refusal::Invalid(_)))), "{bad:?}: {answer:?}");
    }
    let inbox = store.create_folder(id, "inbox", None, at(5)).await;
    assert_eq!(inbox, Err(Refusal::Exists("INBOX".into()).into()));
    let second = store.create_folder(id, "Sent 2", Some(SpecialUse::Sent), at(5)).await;
    assert!(matches!(second, Err(Error::Refused(Refusal::InUse(_)))));
    assert!(matches!(
        store.create_folder(id, "Inbox 2", Some(SpecialUse::Inbox), at(5)).await,
        Err(Error::Refused(Refusal::Invalid(_)))
    ));
}

pub async fn renaming_moves_what_is_below(store: S) {
    let id = alice(&store).await.id;
    for name in ["a", "a/b", "ab"] {
        store.create_folder(id, name, None, at(5)).await.unwrap();
    }
    let before = folder(&store, id, "a/b").await;
    store.rename_folder(id, "a", "x/y", at(6)).await.unwrap();
    let all = names(&store, id).await;
    assert_eq!(&all[6..], ["ab", "x", "x/y", "x/y/b"]);
    let after = folder(&store, id, "x/y/b").await;
    assert_eq!(after, FolderInfo { name: "x/y/b".into(), ..before });

    let sent = folder(&store, id, "Sent").await;
    store.rename_folder(id, "Sent", "Gesendet", at(6)).await.unwrap();
    let renamed = folder(&store, id, "Gesendet").await;
    assert_eq!((renamed.id, renamed.special_use), (sent.id, Some(SpecialUse::Sent)));

    let refused = |answer| matches!(answer, Err(Error::Refused(_)));
    assert!(refused(store.rename_folder(id, "x", "x/y/z", at(6)).await));
    assert!(refused(store.rename_folder(id, "x", "ab", at(6)).await));
    assert_eq!(store.rename_folder(id, "none", "n", at(6)).await, Err(Error::NotFound));
}

pub async fn renaming_inbox_empties_it(store: S) {
    let id = alice(&store).await.id;
    fill(&store, id, 3).await;
    store.create_folder(id, "INBOX/below", None, at(5)).await.unwrap();
    let inbox = folder(&store, id, "INBOX").await;
    let keyworded = flags(Flags::SEEN, &["kept"]);
    store.set_flags(inbox.id, &[2], FlagOp::Add, &keyworded, None).await.unwrap();
    store.rename_folder(id, "inbox", "Old/2026", at(6)).await.unwrap();

    let (emptied, rows) = store.load_folder(inbox.id).await.unwrap();
    assert_eq!((emptied.name.as_str(), emptied.messages, emptied.unseen, emptied.size), ("INBOX", 0, 0, 0));
    assert_eq!((rows.len(), emptied.uid_next, emptied.uid_validity), (0, 4, inbox.uid_validity));
    let (_, _, gone) = store.changes_since(inbox.id, inbox.highest_modseq).await.unwrap();
    assert_eq!(gone, [1, 2, 3]);

    let target = folder(&store, id, "Old/2026").await;
    let (target, rows) = store.load_folder(target.id).await.unwrap();
    assert_eq!((target.messages, target.unseen, target.size, target.uid_next), (3, 2, 300, 4));
    assert_eq!(target.keywords, ["kept"]);
    assert_eq!(rows[1].flags, Flags::SEEN.union(Flags::keyword(0)));
    assert!(names(&store, id).await.contains(&"INBOX/below".to_string()));
    assert_eq!(store.mailbox(id).await.unwrap().used_bytes, 300);
    assert_eq!(store.meta(target.id, 1..=3).await.unwrap().len(), 3);
}

pub async fn deleting_gives_back_what_was_only_there(store: S) {
    let id = alice(&store).await.id;
    let made = store.create_folder(id, "work", None, at(5)).await.unwrap();
    let placed = place(&store, (0..3).map(|_| row(id, FolderTarget::Id(made.id), 10)).collect()).await;
    let inbox = folder(&store, id, "INBOX").await;
    store.copy(made.id, &[2], inbox.id, false).await.unwrap();
    assert_eq!(store.mailbox(id).await.unwrap().used_bytes, 30);

    let gone = store.delete_folder(id, "work").await.unwrap();
    assert_eq!(gone, [placed[0].row.message, placed[2].row.message]);
    assert_eq!(store.mailbox(id).await.unwrap().used_bytes, 10);
    assert_eq!(store.messages(id).await.unwrap(), [placed[1].row.message]);
    assert_eq!(store.load_folder(made.id).await.map(drop), Err(Error::NotFound));
    assert_eq!(store.delete_folder(id, "work").await, Err(Error::NotFound));

    store.create_folder(id, "p/q", None, at(5)).await.unwrap();
    assert!(matches!(store.delete_folder(id, "p").await, Err(Error::Refused(Refusal::InUse(_)))));
    assert!(matches!(store.delete_folder(id, "INBOX").await, Err(Error::Refused(_))));
    assert_eq!(store.delete_folder(id, "p/q").await.unwrap(), []);
}

pub async fn uid_validity_never_comes_back(store: S) {
    let id = alice(&store).await.id;
    // The clock stands still, or goes back: the numbers rise all the same.
    let first = store.create_folder(id, "f", None, at(5)).await.unwrap();
    store.delete_folder(id, "f").await.unwrap();
    let second = store.create_folder(id, "f", None, at(-500)).await.unwrap();
    assert!(second.uid_validity > first.uid_validity);
    // An older folder that takes up a name which a younger one had.
    let old = folder(&store, id, "Archive").await;
    store.delete_folder(id, "f").await.unwrap();
    store.rename_folder(id, "Archive", "f", at(6)).await.unwrap();
    let renamed = folder(&store, id, "f").await;
    assert_eq!(renamed.id, old.id);
    assert!(renamed.uid_validity > second.uid_validity);
}

pub async fn subscriptions_need_no_folder(store: S) {
    let id = alice(&store).await.id;
    let initial = ["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"];
    assert_eq!(store.subscriptions(id).await.unwrap(), initial);
    for _ in 0..2 {
        store.subscribe(id, "Shared/nowhere", true).await.unwrap();
        store.subscribe(id, "inbox", false).await.unwrap();
    }
    let now = store.subscriptions(id).await.unwrap();
    assert_eq!(now, ["Archive", "Drafts", "Junk", "Sent", "Shared/nowhere", "Trash"]);
    assert!(store.subscribe(id, "", true).await.is_err());
    assert_eq!(store.subscribe(MailboxId::random(), "x", true).await, Err(Error::NotFound));
}
