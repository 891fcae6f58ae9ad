//! Trees of collections: guarded by their owners, counted with the mail, gone with their mailbox.

use storage::*;

use crate::support::*;

fn name(n: u8) -> Id {
    Id([n; 16])
}

fn key(mailbox: &Mailbox, table: DavTable, parent: u64, n: u8) -> DavKey {
    DavKey { table, mailbox: mailbox.id, parent, name: name(n) }
}

fn node(key: DavKey, id: u64, changed: u64, size: u64) -> DavNode {
    let meta = vec![id as u8, 0, 255];
    DavNode { key, id, changed, members: None, size, object: None, uid: None, meta }
}

fn calendar(mailbox: &Mailbox, id: u64) -> DavNode {
    let members = Some(DavMembers { changed: id, ..DavMembers::default() });
    DavNode { members, ..node(key(mailbox, DavTable::Calendar, 1, id as u8), id, id, 0) }
}

fn text(mailbox: &Mailbox, id: u64, text: &str) -> DavText {
    DavText { mailbox: mailbox.id, id, text: text.into() }
}

async fn begun(store: &S, mailbox: &Mailbox) -> DavChange {
    let none = DavOwner { mailbox: mailbox.id, rev: 0, last: 0 };
    DavChange::of(store.dav_owner(mailbox.id).await.unwrap().unwrap_or(none))
}

/// A change that gives so many numbers.
async fn change(store: &S, mailbox: &Mailbox, many: u64) -> DavChange {
    let mut change = begun(store, mailbox).await;
    change.owner.last += many;
    change
}

async fn commit_one(store: &S, change: DavChange) -> Vec<MessageId> {
    let orphans = store.dav_commit(vec![change]).await.unwrap().expect("not stale");
    orphans.into_iter().map(|(_, _, id)| id).collect()
}

/// A tree with the calendar number 1.
async fn tree(store: &S, mailbox: &Mailbox) {
    let mut first = change(store, mailbox, 1).await;
    first.put.push(calendar(mailbox, 1));
    commit_one(store, first).await;
}

pub async fn a_tree_is_guarded_by_its_owner(store: S) {
    let alice = alice(&store).await;
    assert_eq!(store.dav_owner(alice.id).await.unwrap(), None);
    let (mut one, mut other) = (change(&store, &alice, 1).await, change(&store, &alice, 1).await);
    one.put.push(calendar(&alice, 1));
    other.put.push(calendar(&alice, 1));
    commit_one(&store, one.clone()).await;
    for late in [one, other] {
        assert_eq!(store.dav_commit(vec![late]).await, Ok(None), "decided by what was before");
    }
    let owner = store.dav_owner(alice.id).await.unwrap().unwrap();
    assert_eq!((owner.rev, owner.last), (1, 1));
    let mut back = begun(&store, &alice).await;
    back.owner.last = 0;
    assert!(matches!(store.dav_commit(vec![back]).await, Err(Error::Refused(Refusal::Invalid(_)))));
    assert_eq!(
        store
            .dav_commit(vec![DavChange::of(DavOwner { mailbox: MailboxId::random(), rev: 0, last: 0 })])
            .await,
        Err(Error::NotFound)
    );
}

pub async fn members_content_and_removals_are_told(store: S) {
    let alice = alice(&store).await;
    tree(&store, &alice).await;
    let home = calendar(&alice, 1).key;
    let event = |n: u8, id: u64| node(key(&alice, DavTable::Event, 1, n), id, id, 10);
    let mut put = change(&store, &alice, 3).await;
    for n in 2..=4u8 {
        let uid = Some(name(100 + n));
        put.put.push(DavNode { uid, ..event(n, n.into()) });
        put.texts.push(text(&alice, n.into(), &format!("text {n}")));
    }
    put.touched.push(home);
    commit_one(&store, put).await;
    let of = (DavTable::Event, alice.id, 1);
    let all = store.dav_members(of, None, 10).await.unwrap();
    assert_eq!(all.iter().map(|n| n.id).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(all[0], DavNode { uid: Some(name(102)), ..event(2, 2) });
    assert_eq!(store.dav_members(of, Some(name(2)), 1).await.unwrap()[0].id, 3);
    assert_eq!(store.dav_members(of, Some(name(4)), 9).await.unwrap(), []);
    assert_eq!(store.dav_members((DavTable::Event, alice.id, 2), None, 9).await.unwrap(), []);
    let top = store.dav_nodes(&[home]).await.unwrap();
    assert_eq!(top[0].members, Some(DavMembers { changed: 4, removed: 0, forgotten: 0 }));
    assert_eq!(store.dav_uids(alice.id, name(103)).await.unwrap(), [event(3, 3).key]);
    let mut texts = store.dav_texts(alice.id, &[2, 3, 9]).await.unwrap();
    texts.sort_by_key(|text| text.id);
    assert_eq!(texts, [text(&alice, 2, "text 2"), text(&alice, 3, "text 3")]);

    // One is changed, one is removed, one is renamed and keeps its number.
    let mut edit = change(&store, &alice, 4).await;
    edit.put.push(DavNode { changed: 5, uid: Some(name(99)), ..event(2, 2) });
    edit.texts.push(text(&alice, 2, "new"));
    edit.gone.push(event(3, 3).key);
    edit.gone.push(event(4, 4).key);
    edit.put.push(DavNode { changed: 8, uid: Some(name(104)), ..event(9, 4) });
    let gone = |change, name: &str| DavGone { mailbox: alice.id, parent: 1, change, name: name.into() };
    edit.history = vec![gone(6, "three"), gone(7, "four")];
    edit.touched.push(home);
    commit_one(&store, edit).await;
    assert_eq!(store.dav_changes(of, 4).await.unwrap(), [(5, event(2, 2).key), (8, event(9, 4).key)]);
    assert_eq!(store.dav_changes(of, 8).await.unwrap(), []);
    assert_eq!(store.dav_gone(alice.id, 1, 6).await.unwrap(), [gone(7, "four")]);
    assert_eq!(store.dav_gone(alice.id, 1, 0).await.unwrap().len(), 2);
    assert_eq!(store.dav_uids(alice.id, name(102)).await.unwrap(), []);
    assert_eq!(store.dav_uids(alice.id, name(103)).await.unwrap(), []);
    assert_eq!(store.dav_uids(alice.id, name(104)).await.unwrap(), [event(9, 4).key]);
    let mut texts = store.dav_texts(alice.id, &[2, 3, 4]).await.unwrap();
    texts.sort_by_key(|text| text.id);
    assert_eq!(texts, [text(&alice, 2, "new"), text(&alice, 4, "text 4")]);
    assert_eq!(store.dav_used(alice.id).await.unwrap(), 20);
    assert_eq!(store.mailbox(alice.id).await.unwrap().used_bytes, 20);
    assert!(!store.recount(alice.id).await.unwrap());
}

pub async fn trees_and_mail_share_a_quota(store: S) {
    let org = org(&store, "org").await;
    domain(&store, org, "example.test").await;
    let alice = Mailbox { quota_bytes: Some(1_000), ..new_mailbox(org, "alice@example.test") };
    store.create_mailbox(&alice, &password("x"), at(0)).await.unwrap();
    tree(&store, &alice).await;
    let event = |id: u64, size| node(key(&alice, DavTable::Event, 1, id as u8), id, id, size);
    let put = async |id: u64, size| {
        let mut put = change(&store, &alice, 1).await;
        put.put.push(event(id, size));
        store.dav_commit(vec![put]).await
    };
    fill(&store, alice.id, 5).await;
    assert_eq!(put(2, 501).await, Err(Error::Refused(Refusal::OverQuota)));
    assert!(put(2, 500).await.unwrap().is_some());
    let refused = store.commit_batch(vec![commit(vec![row(alice.id, inbox(), 1)])]).await;
    assert_eq!(refused, [Err(Error::Refused(Refusal::OverQuota))]);
    // What replaces something counts for it.
    assert!(put(2, 400).await.unwrap().is_some());
    assert_eq!(store.mailbox(alice.id).await.unwrap().used_bytes, 900);
    let mut forced = change(&store, &alice, 1).await;
    forced.check_quota = false;
    forced.put.push(event(3, 200));
    commit_one(&store, forced).await;
    assert_eq!(store.mailbox(alice.id).await.unwrap().used_bytes, 1_100);
}

pub async fn files_share_their_objects(store: S) {
    let alice = alice(&store).await;
    tree(&store, &alice).await;
    let object = MessageId::random();
    let file = |n: u8, id: u64| {
        let node = node(key(&alice, DavTable::File, 3, n), id, id, 7);
        DavNode { object: Some(object), ..node }
    };
    let mut made = change(&store, &alice, 2).await;
    made.put = vec![file(1, 2), file(2, 3)];
    assert_eq!(commit_one(&store, made).await, []);
    assert_eq!(store.messages(alice.id).await.unwrap(), [object]);
    let mut one = change(&store, &alice, 1).await;
    one.gone.push(file(1, 2).key);
    assert_eq!(commit_one(&store, one).await, []);
    let other = MessageId::random();
    let mut replaced = change(&store, &alice, 1).await;
    replaced.put.push(DavNode { object: Some(other), ..file(2, 3) });
    assert_eq!(commit_one(&store, replaced).await, [object]);
    assert_eq!(store.messages(alice.id).await.unwrap(), [other]);
    assert_eq!(store.mailbox(alice.id).await.unwrap().used_bytes, 7);
}

pub async fn changes_of_two_trees_are_one(store: S) {
    let alice = alice(&store).await;
    let bob = mailbox(&store, alice.org, "bob@example.test").await;
    tree(&store, &alice).await;
    tree(&store, &bob).await;
    let event = |of: &Mailbox| node(key(of, DavTable::Event, 1, 2), 2, 2, 1);
    let (mut one, mut other) = (change(&store, &alice, 1).await, change(&store, &bob, 1).await);
    one.put.push(event(&alice));
    one.mails.push(DavMail { mailbox: alice.id, number: 2, mail: b"mail".to_vec() });
    other.put.push(event(&bob));
    let mut meanwhile = change(&store, &bob, 1).await;
    meanwhile.put.push(node(key(&bob, DavTable::Event, 1, 9), 2, 2, 1));
    commit_one(&store, meanwhile).await;
    assert_eq!(store.dav_commit(vec![one.clone(), other.clone()]).await, Ok(None));
    assert_eq!(store.dav_nodes(&[event(&alice).key]).await.unwrap(), []);
    assert_eq!(store.dav_mails(9).await.unwrap(), []);
    other.owner = change(&store, &bob, 1).await.owner;
    assert!(store.dav_commit(vec![one, other]).await.unwrap().is_some());
    let keys = [event(&alice).key, event(&bob).key];
    assert_eq!(store.dav_nodes(&keys).await.unwrap().len(), 2);
    assert_eq!(store.dav_mails(9).await.unwrap().len(), 1);
    let mut sent = begun(&store, &alice).await;
    sent.mails_gone.push(2);
    commit_one(&store, sent).await;
    assert_eq!(store.dav_mails(9).await.unwrap(), []);
    let twice = begun(&store, &alice).await;
    let twice = store.dav_commit(vec![twice.clone(), twice]).await;
    assert!(matches!(twice, Err(Error::Refused(Refusal::Invalid(_)))), "{twice:?}");
}

pub async fn old_removals_are_forgotten(store: S) {
    let alice = alice(&store).await;
    tree(&store, &alice).await;
    let home = calendar(&alice, 1).key;
    let rounds = 3;
    for round in 0..rounds {
        let mut change = change(&store, &alice, DAV_HISTORY_MAX).await;
        let first = 2 + round * DAV_HISTORY_MAX;
        let gone = |change| DavGone { mailbox: alice.id, parent: 1, change, name: vec![1] };
        change.history = (first..first + DAV_HISTORY_MAX).map(gone).collect();
        change.touched.push(home);
        commit_one(&store, change).await;
    }
    let members = store.dav_nodes(&[home]).await.unwrap()[0].members.unwrap();
    let kept = store.dav_gone(alice.id, 1, 0).await.unwrap();
    assert_eq!(kept.len() as u64, 2 * DAV_HISTORY_MAX);
    assert_eq!(
        members,
        DavMembers {
            changed: 1 + rounds * DAV_HISTORY_MAX,
            removed: 2 * DAV_HISTORY_MAX,
            forgotten: 1 + DAV_HISTORY_MAX
        }
    );
    assert_eq!(kept[0].change, members.forgotten + 1);
}

pub async fn a_tree_goes_with_its_mailbox(store: S) {
    let alice = alice(&store).await;
    let bob = mailbox(&store, alice.org, "bob@example.test").await;
    for mailbox in [&alice, &bob] {
        tree(&store, mailbox).await;
        let mut all = change(&store, mailbox, 3).await;
        all.put.push(DavNode { uid: Some(name(7)), ..node(key(mailbox, DavTable::Event, 1, 2), 2, 2, 5) });
        all.texts.push(text(mailbox, 2, "x"));
        all.history.push(DavGone { mailbox: mailbox.id, parent: 1, change: 3, name: vec![1] });
        all.mails.push(DavMail { mailbox: mailbox.id, number: 4, mail: vec![1] });
        all.touched.push(calendar(mailbox, 1).key);
        commit_one(&store, all).await;
    }
    let mut late = change(&store, &alice, 1).await;
    late.put.push(node(key(&alice, DavTable::Event, 1, 3), 5, 5, 5));
    store.delete_mailbox("alice@example.test").await.unwrap();
    assert_eq!(store.dav_commit(vec![late]).await, Ok(None), "nothing comes back");
    let left = async |of: &Mailbox| {
        let key = key(of, DavTable::Event, 1, 2);
        (
            store.dav_owner(of.id).await.unwrap().is_some(),
            store.dav_nodes(&[key, calendar(of, 1).key]).await.unwrap().len(),
            store.dav_texts(of.id, &[2]).await.unwrap().len(),
            store.dav_gone(of.id, 1, 0).await.unwrap().len(),
            store.dav_uids(of.id, name(7)).await.unwrap().len(),
        )
    };
    assert_eq!(left(&alice).await, (false, 0, 0, 0, 0));
    assert_eq!(left(&bob).await, (true, 2, 1, 1, 1));
    assert_eq!(store.dav_mails(9).await.unwrap().len(), 1);
}
