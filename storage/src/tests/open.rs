//! Everything together on the embedded database: opened, closed, opened again.

use super::*;

fn options(dir: &TempDir) -> StorageOptions {
    let data = dir.path().join("data");
    StorageOptions {
        database: SurrealOptions::at(format!("surrealkv://{}", data.join("db").display())),
        objects_dir: data.join("incoming"),
        s3: None,
        parsed_parts: false,
        master_key_file: data.join("master.key"),
        data_dir: data,
        spool_limit: 1 << 20,
    }
}

#[test]
fn what_was_accepted_is_there_after_a_restart() {
    let dir = TempDir::new();
    block_on(async {
        let storage = Storage::open(options(&dir)).await.unwrap();
        let org = storage.create_org("acme").await.unwrap();
        let settings = DomainSettings::default();
        let domain = Domain { name: "example.com".into(), org: org.id, settings };
        storage.store().add_domain(&domain).await.unwrap();
        let made = storage.create_mailbox("a@example.com", b"s3cret", "", None, false).await;
        let mailbox = made.unwrap();
        let mut spool = storage.spool();
        spool.write(b"Subject: x\r\n\r\nbody\r\n").await.unwrap();
        let accept = Accept { deliveries: vec![deliver(&mailbox, "A: 1\r\n")], ..Accept::default() };
        let placed = storage.accept(&spool, accept).await.unwrap();

        let second = Storage::open(options(&dir)).await.unwrap_err();
        assert!(matches!(second, OpenError::Lock(LockError::Held { .. })), "{second}");
        storage.close().await;
        drop(storage);

        let storage = Storage::open(options(&dir)).await.unwrap();
        assert_eq!(storage.start_report().missing, []);
        let found = storage.verify_password("a@example.com", b"s3cret").await.unwrap();
        assert_eq!(found.map(|mailbox| mailbox.id), Some(mailbox.id));
        let view = storage.folder(placed[0].folder).await.unwrap();
        assert_eq!(view.with(|state| state.rows.clone()), [placed[0].row]);
        let mut object = storage.open_message(org.id, mailbox.id, placed[0].row.message).await.unwrap();
        assert_eq!(object.read_all().await.unwrap(), b"A: 1\r\nSubject: x\r\n\r\nbody\r\n");
        let meta = storage.meta(placed[0].folder, 1..=1).await.unwrap();
        assert_eq!(meta, [(1, b"structure".to_vec())]);
        assert!(storage.check(false).await.unwrap().is_clean());
        storage.close().await;
    });
}
