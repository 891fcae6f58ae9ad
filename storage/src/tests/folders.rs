//! Folders through the facade: what happens to views and objects.

use super::*;

fn flag_deleted(world: &World, folder: FolderId, uids: &[u32]) {
    let flags = NamedFlags { system: Flags::DELETED, keywords: Vec::new() };
    block_on(world.storage.set_flags(folder, uids, FlagOp::Add, &flags, None)).unwrap();
}

#[test]
fn an_object_goes_with_the_last_row_that_shows_it() {
    let world = World::new();
    let [inbox, archive] = ["INBOX", "Archive"].map(|name| world.folder_id(name));
    let message = world.accept("x").unwrap()[0].row.message;
    block_on(world.storage.copy(inbox, &[1], archive)).unwrap();
    flag_deleted(&world, inbox, &[1]);
    block_on(world.storage.expunge(inbox, &[1])).unwrap();
    assert_eq!(world.read(message).unwrap(), b"x");
    flag_deleted(&world, archive, &[1]);
    block_on(world.storage.expunge(archive, &[1])).unwrap();
    assert_eq!(world.read(message), Err(Error::NotFound));
    assert!(world.objects().is_empty());
}

#[test]
fn deleting_a_folder_ends_its_view_and_deletes_what_only_it_showed() {
    let world = World::new();
    let folder = block_on(world.storage.create_folder(world.mailbox.id, "Work", None)).unwrap();
    let deliver = Deliver { folder: FolderTarget::Id(folder.id), ..world.deliver("") };
    let accept = world.accept_of(vec![deliver]);
    block_on(world.storage.accept(&Spool::from_bytes(b"x".to_vec()), accept)).unwrap();
    world.accept("y").unwrap();
    let view = block_on(world.storage.folder(folder.id)).unwrap();
    block_on(world.storage.delete_folder(world.mailbox.id, "Work")).unwrap();
    assert!(view.with(|state| state.gone));
    assert_eq!(world.objects().len(), 1);
}

#[test]
fn renaming_reaches_the_views_and_inbox_gives_its_messages_away() {
    let world = World::new();
    world.accept("x").unwrap();
    let inbox = block_on(world.storage.folder(world.folder_id("INBOX"))).unwrap();
    let archive = block_on(world.storage.folder(world.folder_id("Archive"))).unwrap();
    block_on(world.storage.rename_folder(world.mailbox.id, "Archive", "Old")).unwrap();
    assert_eq!(archive.with(|state| state.info.name.clone()), "Old");
    block_on(world.storage.rename_folder(world.mailbox.id, "INBOX", "Before")).unwrap();
    assert_eq!(inbox.with(|state| state.rows.len()), 0);
    let before = block_on(world.storage.folder(world.folder_id("Before"))).unwrap();
    assert_eq!(before.with(|state| state.rows.len()), 1);
}

#[test]
fn a_deleted_mailbox_takes_its_objects_and_ends_its_views() {
    let world = World::new();
    let bob = add_mailbox(&world.store, &world.org, "bob@example.com", None);
    let accept = world.accept_of(vec![world.deliver(""), deliver(&bob, "")]);
    block_on(world.storage.accept(&Spool::from_bytes(b"x".to_vec()), accept)).unwrap();
    let view = block_on(world.storage.folder(world.folder_id("INBOX"))).unwrap();
    block_on(world.storage.delete_mailbox("alice@example.com")).unwrap();
    assert!(view.with(|state| state.gone));
    assert_eq!(world.objects().iter().map(|key| key.mailbox).collect::<Vec<_>>(), [Some(bob.id)]);
}

#[test]
fn a_deleted_organisation_takes_its_key_and_objects() {
    let world = World::new();
    world.accept("x").unwrap();
    assert!(block_on(world.storage.delete_org("acme")).is_err(), "it has a domain");
    block_on(world.storage.delete_mailbox("alice@example.com")).unwrap();
    block_on(world.store.delete_domain("example.com")).unwrap();
    block_on(world.storage.delete_org("acme")).unwrap();
    assert!(world.objects().is_empty());
    assert!(world.storage.keys().cached_tenant(world.org.id, Duration::MAX).is_none());
}

#[test]
fn ti8_what_a_deleted_organisation_learned_goes_and_that_of_others_stays() {
    let world = World::new();
    block_on(async {
        let orgs =
            [world.storage.create_org("a").await.unwrap(), world.storage.create_org("b").await.unwrap()];
        let owners = [None, Some(orgs[0].id), Some(orgs[1].id), Some(world.org.id)];
        for org in owners {
            for (scope, entry) in
                [(SuppressionScope::Address, "x@ext.test"), (SuppressionScope::Domain, "ext.test")]
            {
                let row = Suppression {
                    key: SuppressionKey { org, scope, entry: entry.into() },
                    reason: "550 no such user".into(),
                    source: SuppressionSource::Manual,
                    created: NOW,
                    expires: None,
                };
                world.store.put_suppression(&row).await.unwrap();
            }
        }
        world.storage.delete_org("a").await.unwrap();
        let left = world.store.list_suppressions(None, 100).await.unwrap();
        let of = |org| left.iter().filter(|row| row.key.org == org).count();
        assert_eq!(owners.map(of), [2, 0, 2, 2]);
    });
}

#[test]
fn accounts_through_the_facade() {
    let world = World::new();
    let storage = &world.storage;
    block_on(async {
        let made =
            storage.create_mailbox("carol@example.com", b"s3cret", "Carol", Some(5), true).await.unwrap();
        assert_eq!((made.org, made.admin, made.quota_bytes), (world.org.id, true, Some(5)));
        let verify = async |password: &[u8]| {
            storage.verify_password("carol@example.com", password).await.unwrap().map(|mailbox| mailbox.id)
        };
        assert_eq!(verify(b"s3cret").await, Some(made.id));
        assert_eq!(verify(b"wrong").await, None);
        assert_eq!(storage.verify_password("nobody@example.com", b"s3cret").await, Ok(None));

        let (verifier, found) = storage.scram_verifier("carol@example.com").await.unwrap();
        assert_eq!(found.map(|mailbox| mailbox.id), Some(made.id));
        let (stand_in, nobody) = storage.scram_verifier("nobody@example.com").await.unwrap();
        assert!(nobody.is_none());
        assert_eq!((stand_in.iterations, stand_in.salt.len()), (verifier.iterations, verifier.salt.len()));
        assert_eq!(storage.scram_verifier("nobody@example.com").await.unwrap().0, stand_in);

        storage.set_disabled("carol@example.com", true).await.unwrap();
        assert_eq!(verify(b"s3cret").await, None);
        let (closed, found) = storage.scram_verifier("carol@example.com").await.unwrap();
        assert!(found.is_none() && closed.salt == verifier.salt && closed != verifier);
        storage.set_disabled("carol@example.com", false).await.unwrap();

        storage.set_password("carol@example.com", b"other").await.unwrap();
        assert_eq!(verify(b"s3cret").await, None, "the remembered password is forgotten");
        assert_eq!(verify(b"other").await, Some(made.id));
    });
}
