use std::path::PathBuf;

use storage::{DomainSettings, StorageOptions, SurrealOptions};

use super::*;
use crate::config::{Dkim, Secret};
use crate::task::block_on;

/// RFC 8410 §7 around the seed of RFC 8032 §7.1, test 1.
const ED25519: &str = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";

struct World {
    storage: Storage,
    dir: PathBuf,
}

impl World {
    fn new(name: &str) -> World {
        let dir = std::env::temp_dir().join(format!("inbox-signing-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let storage = block_on(Storage::open(StorageOptions {
            database: SurrealOptions::memory(),
            data_dir: dir.clone(),
            objects_dir: dir.join("incoming"),
            s3: None,
            parsed_parts: false,
            master_key_file: dir.join("master.key"),
            spool_limit: 4096,
        }));
        World { storage: storage.unwrap(), dir }
    }

    fn add(&self, name: &str, settings: DomainSettings) {
        block_on(async {
            let org = match self.storage.store().org("acme").await {
                Ok(org) => org,
                Err(_) => self.storage.create_org("acme").await.unwrap(),
            };
            let row = Domain { name: name.into(), org: org.id, settings };
            self.storage.store().add_domain(&row).await.unwrap();
        });
    }

    fn set(&self, name: &str, settings: &DomainSettings) {
        block_on(self.storage.store().set_domain(name, settings)).unwrap();
    }

    /// Settings with an Ed25519 key under a selector.
    fn with_key(&self, domain: &str, selector: &str) -> DomainSettings {
        let sealed = self.storage.keys().seal(Purpose::Dkim, domain, ED25519.as_bytes()).unwrap();
        DomainSettings {
            dkim_selector: Some(selector.into()),
            dkim_ed25519_private_key_b64_pkcs8: Some(BASE64.encode(sealed)),
            ..DomainSettings::default()
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        block_on(self.storage.close());
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn signing(domain: Option<&str>) -> Signing {
    let config = Dkim {
        domain: domain.map(str::to_owned),
        selector: "mail".into(),
        private_key_b64_pkcs8: domain.map(|_| Secret::new(ED25519.into())),
        headers: vec!["From".into(), "Subject".into()],
    };
    Signing::open(&config).unwrap()
}

fn field(signer: &Signer) -> String {
    String::from_utf8(sign_whole(signer, b"From: a@a.test\r\n\r\nx\r\n", Timestamp::from_secs(0))).unwrap()
}

#[test]
fn a_domains_own_keys_sign_and_another_setting_takes_effect_at_once() {
    let world = World::new("own");
    world.add("a.test", world.with_key("a.test", "one"));
    let signing = signing(None);
    let author = |domain: &str| block_on(signing.for_author(&world.storage, domain)).unwrap();
    let first = author("a.test").unwrap();
    let text = field(&first);
    assert!(text.contains("d=a.test; s=one-ed25519;") && text.contains("h=From:From:Subject;"), "{text}");
    assert!(Arc::ptr_eq(&first, &author("a.test").unwrap()), "the opened key is kept");
    let changed =
        DomainSettings { dkim_headers: Some("Subject, To".into()), ..world.with_key("a.test", "two") };
    world.set("a.test", &changed);
    let text = field(&author("a.test").unwrap());
    assert!(text.contains("s=two-ed25519;") && text.contains("h=From:From:Subject:To;"), "{text}");
    world.set("a.test", &DomainSettings::default());
    assert!(author("a.test").is_none() && author("b.test").is_none());
}

#[test]
fn the_installations_key_signs_for_authors_within_its_domain_only() {
    let world = World::new("installation");
    world.add("a.test", DomainSettings::default());
    world.add("own.a.test", world.with_key("own.a.test", "one"));
    let signing = signing(Some("a.test"));
    for (author, signer) in [
        ("a.test", Some("a.test")),
        ("sub.a.test", Some("a.test")),
        ("test", Some("a.test")),
        ("own.a.test", Some("own.a.test")),
        ("xa.test", None),
        ("b.test", None),
    ] {
        let found = block_on(signing.for_author(&world.storage, author)).unwrap();
        assert_eq!(found.as_ref().map(|s| s.domain()), signer, "{author}");
    }
}

#[test]
fn a_host_signs_with_the_keys_of_the_nearest_domain_above_it() {
    let world = World::new("host");
    world.add("a.test", world.with_key("a.test", "one"));
    let domain = |signing: &Signing, host: &str| {
        let found = block_on(signing.for_host(&world.storage, host)).unwrap();
        found.map(|s| s.domain().to_owned())
    };
    assert_eq!(domain(&signing(None), "mx.eu.a.test").as_deref(), Some("a.test"));
    assert_eq!(domain(&signing(None), "mx.b.test"), None);
    assert_eq!(domain(&signing(Some("c.test")), "mx.b.test").as_deref(), Some("c.test"));
}

#[test]
fn ti5_a_sealed_key_opens_for_its_own_domain_only_and_a_damaged_one_signs_nothing() {
    let world = World::new("sealed");
    world.add("a.test", world.with_key("b.test", "one"));
    let signing = signing(None);
    let author = || block_on(signing.for_author(&world.storage, "a.test")).unwrap();
    assert!(author().is_none());
    world.set(
        "a.test",
        &DomainSettings { dkim_private_key_b64_pkcs8: Some("!".into()), ..DomainSettings::default() },
    );
    assert!(author().is_none());
}

#[test]
fn a_spooled_message_is_signed_as_it_will_be_sent() {
    let world = World::new("spool");
    world.add("a.test", world.with_key("a.test", "one"));
    let signer = block_on(signing(None).for_author(&world.storage, "a.test")).unwrap().unwrap();
    let body = "line of text\r\n".repeat(40_000);
    let header = "From: a@a.test\r\nBcc: secret@a.test\r\nSubject: s\r\n\r\n";
    let spool = Spool::from_bytes(format!("{header}{body}").into_bytes());
    let mut edit = Edit { prefix: b"Date: x\r\n".to_vec(), ..Edit::default() };
    edit.skip_fields(header.as_bytes(), |f| f.is("Bcc"));
    let now = Timestamp::from_secs(0);
    let got = block_on(sign_spooled(&signer, header.as_bytes(), &edit, &spool, now)).unwrap();
    let sent = format!("Date: x\r\nFrom: a@a.test\r\nSubject: s\r\n\r\n{body}");
    assert_eq!([&got, sent.as_bytes()].concat(), sign_whole(&signer, sent.as_bytes(), now));
}

#[test]
fn a_key_of_the_installation_that_is_none_is_named() {
    let config = Dkim {
        domain: Some("a.test".into()),
        selector: "mail".into(),
        private_key_b64_pkcs8: Some(Secret::new("AAAA".into())),
        headers: Vec::new(),
    };
    let why = Signing::open(&config).err().unwrap();
    assert!(why.starts_with("SMTP_DKIM_PRIVATE_KEY_B64_PKCS8: ") && why.contains("PKCS#8"), "{why}");
}
