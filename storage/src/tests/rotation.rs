//! Keys that change while mail is there, and processes that end in between.

use protocol_core::message::Scanner;

use super::*;
use crate::objects::ObjectPart;

/// A message with an attachment and a text, and its structure.
pub(super) fn with_attachment() -> (&'static [u8], Vec<u8>) {
    let message: &[u8] = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\
        the text\r\n--b\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\nContent-Disposition: attachment\r\n\
        Content-Transfer-Encoding: base64\r\n\r\naGVsbG8g\r\nd29ybGQ=\r\n--b--\r\n";
    let mut scanner = Scanner::new();
    scanner.feed(message);
    (message, scanner.finish().encode())
}

fn accept_with_attachment(world: &World) -> MessageId {
    let (message, meta) = with_attachment();
    let accept = world.accept_of(vec![Deliver { meta, ..world.deliver("") }]);
    let placed = block_on(world.storage.accept(&Spool::from_bytes(message.to_vec()), accept)).unwrap();
    placed[0].row.message
}

fn all_objects(world: &World) -> Vec<ObjectKey> {
    let list = |prefix| block_on(world.local.list(prefix)).unwrap();
    let mut keys: Vec<ObjectKey> =
        ["msg/", "att/", "part/"].into_iter().flat_map(list).map(|o| o.key).collect();
    keys.sort();
    keys
}

#[test]
fn an_attachment_is_an_object_of_its_own_and_goes_with_its_message() {
    let world = World::new();
    let message = accept_with_attachment(&world);
    let keys = all_objects(&world);
    assert_eq!(keys.len(), 2);
    let part = keys.iter().find(|key| key.part != ObjectPart::Message).unwrap();
    assert!(part.to_string().ends_with(&format!("{message}/2")), "{part}");
    let mut object = block_on(world.storage.inner.open_object(*part)).unwrap();
    assert_eq!(block_on(object.read_all()).unwrap(), b"hello world");
    let place = &object.envelope().place;
    assert!(matches!(place, Place::Part { media_type, file_name }
        if media_type == "application/pdf" && file_name.as_deref() == Some("a.pdf")));
    let report = block_on(world.storage.check(false)).unwrap();
    assert!(report.is_clean() && report.objects == 2, "{report:?}");
    super::check::lose_row(&world, message);
    // `lose_row` is what an EXPUNGE does to the rows; through the facade the objects go too.
    let other = accept_with_attachment(&world);
    let inbox = world.folder_id("INBOX");
    let rows = block_on(world.store.load_folder(inbox)).unwrap().1;
    let uid = rows.iter().find(|row| row.message == other).unwrap().uid;
    let deleted = NamedFlags { system: Flags::DELETED, keywords: Vec::new() };
    block_on(world.storage.set_flags(inbox, &[uid], FlagOp::Add, &deleted, None)).unwrap();
    block_on(world.storage.expunge(inbox, &[uid])).unwrap();
    assert_eq!(all_objects(&world), keys, "the other message and its part");
    for key in &keys {
        world.make_old(*key);
    }
    // The message, and with it its part.
    assert_eq!(block_on(world.storage.collect()).unwrap(), 1);
    assert!(all_objects(&world).is_empty());
}

#[test]
fn ti11_equal_attachments_are_never_shared() {
    let world = World::new();
    let [a, b] = [accept_with_attachment(&world), accept_with_attachment(&world)];
    let parts: Vec<ObjectKey> =
        all_objects(&world).into_iter().filter(|key| key.part != ObjectPart::Message).collect();
    assert_eq!(parts.len(), 2);
    assert_ne!(std::fs::read(world.path(parts[0])).unwrap(), std::fs::read(world.path(parts[1])).unwrap());
    assert_ne!(a, b);
}

/// What is there can be read, and nothing of it is sealed with another key than the current one.
fn all_is_current(world: &World, message: MessageId, text: &[u8]) {
    assert_eq!(world.read(message).unwrap(), text);
    for key in all_objects(world) {
        assert!(block_on(world.storage.inner.open_object(key)).unwrap().is_current(), "{key}");
    }
    let inbox = world.folder_id("INBOX");
    let metas = block_on(world.storage.meta(inbox, 1..=u32::MAX)).unwrap();
    assert_eq!(metas.len(), block_on(world.store.load_folder(inbox)).unwrap().1.len());
    let tenant = block_on(world.storage.inner.tenant_of(world.org.id, Some(world.mailbox.id))).unwrap();
    for (_, sealed) in block_on(world.store.meta(inbox, 1..=u32::MAX)).unwrap() {
        assert!(tenant.is_current_meta(&sealed));
    }
    assert!(block_on(world.storage.check(false)).unwrap().is_clean());
}

fn has_old_keys(world: &World) -> bool {
    let sealed = block_on(world.store.org_key(world.org.id)).unwrap();
    world.storage.keys().open_ring(world.org.id, &sealed).unwrap().has_old()
}

#[test]
fn ti7_a_tenants_key_is_replaced_while_objects_are_open() {
    let mut world = World::new();
    let message = accept_with_attachment(&world);
    world.queue("queued\r\n", 1).unwrap();
    let large = vec![b'x'; 3 * CHUNK_LEN];
    let placed = block_on(async {
        let accept = world.accept_of(vec![world.deliver("")]);
        world.storage.accept(&Spool::from_bytes(large.clone()), accept).await.unwrap()
    });
    let mut open =
        block_on(world.storage.open_message(world.org.id, world.mailbox.id, placed[0].row.message)).unwrap();
    let before = std::fs::read(world.path(all_objects(&world)[0])).unwrap();
    let done = block_on(world.storage.rotate_tenant_key("acme")).unwrap();
    assert_eq!((done.objects, done.rows, done.keys_kept), (4, 2, false));
    assert!(!has_old_keys(&world));
    assert_ne!(std::fs::read(world.path(all_objects(&world)[0])).unwrap(), before);
    // Whoever was reading goes on.
    assert_eq!(block_on(open.read(2 * CHUNK_LEN as u64, 10)).unwrap(), b"xxxxxxxxxx");
    all_is_current(&world, message, with_attachment().0);
    world.reopen();
    assert_eq!(world.storage.start_report(), StartReport { examined: 3, ..StartReport::default() });
    all_is_current(&world, message, with_attachment().0);
}

#[test]
fn ti7_a_change_of_keys_that_was_interrupted_goes_on_at_the_next_start() {
    for stop_after in 0..4 {
        let mut world = World::new();
        let message = accept_with_attachment(&world);
        world.accept("another\r\n").unwrap();
        let mut left = stop_after;
        world.blobs.set_fault(Some(Box::new(move |what, _| {
            if what != "replace" {
                return Ok(());
            }
            left -= 1;
            if left < 0 { Err(Error::Unavailable("the process ends here".into())) } else { Ok(()) }
        })));
        let done = block_on(world.storage.rotate_tenant_key("acme")).unwrap();
        assert_eq!(done.keys_kept, stop_after < 3, "{stop_after}: {done:?}");
        assert_eq!(has_old_keys(&world), stop_after < 3);
        world.reopen();
        world.blobs.set_fault(None);
        assert_eq!(world.read(message).unwrap(), with_attachment().0, "both keys can be used");
        block_on(world.storage.finish_rotations()).unwrap();
        assert!(!has_old_keys(&world));
        all_is_current(&world, message, with_attachment().0);
    }
}

#[test]
fn ti7_a_key_is_not_forgotten_while_somebody_seals_with_it() {
    let world = World::new();
    let message = accept_with_attachment(&world);
    // An acceptance that has its keys, and whose object comes to rest after everything was looked for.
    let held = block_on(world.storage.inner.tenant(world.org.id)).unwrap();
    let late = ObjectKey::stored(world.org.id, world.mailbox.id, MessageId::random());
    std::thread::scope(|scope| {
        let rotating = scope.spawn(|| block_on(world.storage.rotate_tenant_key("acme")).unwrap());
        while !has_old_keys(&world) {
            std::thread::yield_now();
        }
        let content = Content::new(Vec::new(), &Spool::from_bytes(b"late\r\n".to_vec()), &[]).unwrap();
        let object = crate::objects::NewObject { key: late, envelope: super::format::envelope(), content };
        let source = Box::new(crate::objects::Encoder::new(object, held));
        block_on(world.blobs.put(late, source)).unwrap();
        assert!(!rotating.join().unwrap().keys_kept);
    });
    assert!(!has_old_keys(&world));
    assert_eq!(world.read(late.message).unwrap(), b"late\r\n");
    all_is_current(&world, message, with_attachment().0);
}

#[test]
fn ti7_two_changes_of_keys_at_once_lose_nothing() {
    let world = World::new();
    let message = accept_with_attachment(&world);
    for n in 0..20 {
        world.accept(&format!("{n}\r\n")).unwrap();
    }
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| block_on(world.storage.rotate_tenant_key("acme")).unwrap());
        }
        for n in 0..20 {
            world.accept(&format!("between {n}\r\n")).unwrap();
        }
    });
    assert!(!has_old_keys(&world));
    all_is_current(&world, message, with_attachment().0);
}

#[test]
fn a_domains_own_key_seals_its_mail_and_is_forgotten_when_it_is_taken_away() {
    let world = World::new();
    let message = accept_with_attachment(&world);
    let domain = block_on(world.store.domain("example.com")).unwrap();
    assert!(!block_on(world.storage.set_domain_key(&domain, None)).unwrap());
    assert!(block_on(world.storage.set_domain_key(&domain, Some([9; 32]))).unwrap());
    assert!(!block_on(world.storage.set_domain_key(&domain, Some([9; 32]))).unwrap());
    let done = block_on(world.storage.reseal(world.org.id)).unwrap();
    assert_eq!((done.objects, done.rows), (2, 1));
    all_is_current(&world, message, with_attachment().0);
    let new = accept_with_attachment(&world);
    all_is_current(&world, new, with_attachment().0);
    assert!(block_on(world.storage.set_domain_key(&domain, None)).unwrap());
    assert!(has_old_keys(&world));
    block_on(world.storage.reseal(world.org.id)).unwrap();
    assert!(!has_old_keys(&world));
    all_is_current(&world, new, with_attachment().0);
}
