//! Organisations, domains, addresses, and who they lead to.

use storage::directory::{ALIAS_STEPS_MAX, Requires, Resolution, resolve};
use storage::*;

use crate::support::*;

pub async fn organisations_have_unique_names(store: S) {
    let made = store.create_org("Zed", b"key", at(7)).await.unwrap();
    assert_eq!((made.name.as_str(), made.created), ("Zed", at(7)));
    let again = store.create_org("Zed", b"other", at(8)).await;
    assert_eq!(again, Err(Refusal::Exists("Zed".into()).into()));
    let other = org(&store, "Alpha").await;
    let names: Vec<String> = store.list_orgs().await.unwrap().into_iter().map(|org| org.name).collect();
    assert_eq!(names, ["Alpha", "Zed"]);
    assert_eq!(store.org("Zed").await.unwrap(), made);
    assert_eq!(store.org_key(made.id).await.unwrap(), b"key");
    domain(&store, other, "example.test").await;
    assert!(matches!(store.delete_org("Alpha").await, Err(Error::Refused(Refusal::InUse(_)))));
    store.delete_org("Zed").await.unwrap();
    assert_eq!(store.org("Zed").await, Err(Error::NotFound));
    assert_eq!(store.org_key(made.id).await, Err(Error::NotFound));
    assert_eq!(store.delete_org("Zed").await, Err(Error::NotFound));
    assert!(store.create_org("", b"", at(0)).await.is_err());
    store.create_org("Zed", b"new", at(9)).await.unwrap();
}

pub async fn domains_belong_to_one_organisation(store: S) {
    let (one, two) = (org(&store, "one").await, org(&store, "two").await);
    domain(&store, one, "b.test").await;
    domain(&store, one, "a.test").await;
    let taken = Domain { name: "b.test".into(), org: two, settings: DomainSettings::default() };
    assert_eq!(store.add_domain(&taken).await, Err(Refusal::Exists("b.test".into()).into()));
    let nobody = Domain { name: "c.test".into(), org: OrgId::random(), ..taken };
    assert_eq!(store.add_domain(&nobody).await, Err(Error::NotFound));
    let names: Vec<String> = store.list_domains().await.unwrap().into_iter().map(|d| d.name).collect();
    assert_eq!(names, ["a.test", "b.test"]);
    let foreign = new_mailbox(two, "x@a.test");
    assert_eq!(store.create_mailbox(&foreign, &password("p"), at(0)).await, Err(Error::NotFound));
    mailbox(&store, one, "x@a.test").await;
    assert!(matches!(store.delete_domain("a.test").await, Err(Error::Refused(Refusal::InUse(_)))));
    let alias = Alias { address: "y@b.test".into(), org: one, targets: vec!["x@a.test".into()] };
    store.add_alias(&alias).await.unwrap();
    assert!(matches!(store.delete_domain("b.test").await, Err(Error::Refused(Refusal::InUse(_)))));
    store.delete_alias("y@b.test").await.unwrap();
    store.delete_domain("b.test").await.unwrap();
    assert_eq!(store.domain("b.test").await, Err(Error::NotFound));
    assert_eq!(store.delete_domain("b.test").await, Err(Error::NotFound));
}

pub async fn settings_come_back_as_they_were_given(store: S) {
    let org = org(&store, "org").await;
    domain(&store, org, "a.test").await;
    assert_eq!(store.domain("a.test").await.unwrap().settings, DomainSettings::default());
    let settings = DomainSettings {
        dkim_selector: Some("mail".into()),
        dkim_private_key_b64_pkcs8: Some("c2VhbGVk".into()),
        dkim_next_selector: Some("mail2".into()),
        dkim_old_selector: Some("mail0".into()),
        dkim_old_until: Some(2_000_000_000),
        require_spf_pass: Some(false),
        require_dkim_pass: Some(true),
        enc_mode: Some("e2ee".into()),
        quota_hourly_send_limit: Some(0),
        quota_mailbox_bytes: Some(1 << 50),
        plus_delimiter: Some("'; DELETE organization; --".into()),
        catch_all: Some("".into()),
        ..DomainSettings::default()
    };
    store.set_domain("a.test", &settings).await.unwrap();
    let expected = Domain { name: "a.test".into(), org, settings };
    assert_eq!(store.domain("a.test").await.unwrap(), expected);
    assert_eq!(store.list_domains().await.unwrap(), [expected]);
    store.set_domain("a.test", &DomainSettings::default()).await.unwrap();
    assert_eq!(store.domain("a.test").await.unwrap().settings, DomainSettings::default());
    assert_eq!(store.set_domain("b.test", &DomainSettings::default()).await, Err(Error::NotFound));
}

pub async fn mailboxes_have_their_folders(store: S) {
    let alice = alice(&store).await;
    assert_eq!(store.mailbox(alice.id).await.unwrap(), alice);
    let folders = store.folders(alice.id).await.unwrap();
    let uses: Vec<(&str, Option<SpecialUse>)> =
        folders.iter().map(|f| (f.name.as_str(), f.special_use)).collect();
    let expected = [
        ("Archive", Some(SpecialUse::Archive)),
        ("Drafts", Some(SpecialUse::Drafts)),
        ("INBOX", Some(SpecialUse::Inbox)),
        ("Junk", Some(SpecialUse::Junk)),
        ("Sent", Some(SpecialUse::Sent)),
        ("Trash", Some(SpecialUse::Trash)),
    ];
    assert_eq!(uses, expected);
    assert!(folders.iter().all(|f| f.mailbox == alice.id && f.uid_validity > 0 && f.messages == 0));
    assert_eq!(store.folders(MailboxId::random()).await, Err(Error::NotFound));
    assert_eq!(store.mailbox(MailboxId::random()).await, Err(Error::NotFound));
    store.set_disabled("alice@example.test", true).await.unwrap();
    assert!(store.mailbox(alice.id).await.unwrap().disabled);
    assert_eq!(store.set_disabled("nobody@example.test", true).await, Err(Error::NotFound));
    mailbox(&store, alice.org, "a@example.test").await;
    let addresses: Vec<String> =
        store.list_mailboxes().await.unwrap().into_iter().map(|m| m.address).collect();
    assert_eq!(addresses, ["a@example.test", "alice@example.test"]);
}

pub async fn an_address_is_a_mailbox_or_an_alias(store: S) {
    let alice = alice(&store).await;
    let alias = |address: &str| Alias {
        address: address.into(),
        org: alice.org,
        targets: vec!["alice@example.test".into(), "out@example.net".into()],
    };
    let exists = |address: &str| Err(Refusal::Exists(address.into()).into());
    assert_eq!(store.add_alias(&alias("alice@example.test")).await, exists("alice@example.test"));
    store.add_alias(&alias("info@example.test")).await.unwrap();
    assert_eq!(store.add_alias(&alias("info@example.test")).await, exists("info@example.test"));
    let second = new_mailbox(alice.org, "info@example.test");
    assert_eq!(store.create_mailbox(&second, &password("p"), at(0)).await, exists("info@example.test"));
    assert_eq!(store.add_alias(&alias("info@example.org")).await, Err(Error::NotFound));
    let empty = Alias { targets: vec![], ..alias("e@example.test") };
    assert!(matches!(store.add_alias(&empty).await, Err(Error::Refused(Refusal::Invalid(_)))));
    let full = Alias { targets: vec!["a@b".into(); ALIAS_TARGETS_MAX], ..alias("f@example.test") };
    store.add_alias(&full).await.unwrap();
    let over = Alias { targets: vec!["a@b".into(); ALIAS_TARGETS_MAX + 1], ..alias("o@example.test") };
    assert!(matches!(store.add_alias(&over).await, Err(Error::Refused(Refusal::TooMany(_)))));

    let asked: Vec<String> =
        ["x@y", "info@example.test", "alice@example.test", "info@example.test"].map(String::from).into();
    let rows = store.address_rows(&asked).await.unwrap();
    let info = Some(AddressRow::Alias(alias("info@example.test")));
    assert_eq!(rows, [None, info.clone(), Some(AddressRow::Mailbox(alice)), info]);
    assert_eq!(store.address_rows(&[]).await.unwrap(), []);
    assert_eq!(store.list_aliases().await.unwrap().len(), 2);
    store.delete_alias("info@example.test").await.unwrap();
    assert_eq!(store.delete_alias("info@example.test").await, Err(Error::NotFound));
    assert_eq!(store.delete_alias("alice@example.test").await, Err(Error::NotFound));
}

pub async fn passwords_are_replaced(store: S) {
    let alice = alice(&store).await;
    let now = store.credential("alice@example.test").await.unwrap();
    assert_eq!(now, Some((alice.clone(), password("alice@example.test"))));
    store.set_password("alice@example.test", &password("new")).await.unwrap();
    assert_eq!(store.credential("alice@example.test").await.unwrap().unwrap().1, password("new"));
    assert_eq!(store.credential("bob@example.test").await.unwrap(), None);
    assert_eq!(store.set_password("bob@example.test", &password("x")).await, Err(Error::NotFound));
}

pub async fn deleting_a_mailbox_leaves_nothing(store: S) {
    let alice = alice(&store).await;
    let bob = mailbox(&store, alice.org, "bob@example.test").await;
    let hers = fill(&store, alice.id, 3).await;
    let his = fill(&store, bob.id, 2).await;
    store.subscribe(alice.id, "x", true).await.unwrap();
    let (gone, messages) = store.delete_mailbox("alice@example.test").await.unwrap();
    assert_eq!((gone.id, gone.used_bytes), (alice.id, 300));
    let mut expected: Vec<MessageId> = hers.iter().map(|p| p.row.message).collect();
    expected.sort();
    assert_eq!(messages, expected);
    assert_eq!(store.mailbox(alice.id).await, Err(Error::NotFound));
    assert_eq!(store.load_folder(hers[0].folder).await.map(drop), Err(Error::NotFound));
    assert_eq!(store.messages(alice.id).await.unwrap(), []);
    assert_eq!(store.subscriptions(alice.id).await.unwrap(), Vec::<String>::new());
    assert_eq!(store.credential("alice@example.test").await.unwrap(), None);
    let commits = vec![commit(vec![row(alice.id, inbox(), 1)])];
    assert_eq!(store.commit_batch(commits).await, [Err(Error::NotFound)]);
    assert_eq!(store.load_folder(his[0].folder).await.unwrap().1.len(), 2);
    assert_eq!(store.delete_mailbox("alice@example.test").await.map(drop), Err(Error::NotFound));
    // The address is free again, and nothing of the old mailbox is in the new one.
    let again = mailbox(&store, alice.org, "alice@example.test").await;
    assert_eq!(folder(&store, again.id, "INBOX").await.messages, 0);
}

async fn one(store: &S, address: &str) -> Resolution {
    let all = resolve(&**store, "mx.example.test", &[address.to_string()]).await.unwrap();
    assert_eq!(all.len(), 1);
    all.into_iter().next().unwrap()
}

fn local(mailboxes: &[&Mailbox], remote: &[&str], tag: Option<&str>) -> Resolution {
    Resolution::Local {
        mailboxes: mailboxes.iter().cloned().cloned().collect(),
        remote: remote.iter().map(|r| r.to_string()).collect(),
        tag: tag.map(String::from),
        role: false,
        requires: Requires::default(),
    }
}

pub async fn resolution_of_recipients(store: S) {
    let alice = alice(&store).await;
    let org = alice.org;
    let bob = mailbox(&store, org, "bob@example.test").await;
    let tagged = mailbox(&store, org, "bob+real@example.test").await;
    let alias = Alias {
        address: "team@example.test".into(),
        org,
        targets: ["alice@example.test", "bob+t@example.test", "alice@example.test", "far@example.net"]
            .map(String::from)
            .into(),
    };
    store.add_alias(&alias).await.unwrap();
    assert_eq!(one(&store, "alice@example.test").await, local(&[&alice], &[], None));
    assert_eq!(one(&store, "alice+a+b@example.test").await, local(&[&alice], &[], Some("a+b")));
    assert_eq!(one(&store, "bob+real@example.test").await, local(&[&tagged], &[], None));
    let team = |tag| local(&[&alice, &bob], &["far@example.net"], tag);
    assert_eq!(one(&store, "team@example.test").await, team(None));
    assert_eq!(one(&store, "team+x@example.test").await, team(Some("x")));
    assert_eq!(one(&store, "nobody@example.test").await, Resolution::UnknownLocal);
    assert_eq!(one(&store, "+x@example.test").await, Resolution::UnknownLocal);
    assert_eq!(one(&store, "alice@example.net").await, Resolution::NotLocal);
    assert_eq!(one(&store, "alice@mx.example.test").await, Resolution::UnknownLocal);

    let settings = DomainSettings {
        plus_delimiter: Some("--".into()),
        catch_all: Some("bob".into()),
        ..DomainSettings::default()
    };
    store.set_domain("example.test", &settings).await.unwrap();
    assert_eq!(one(&store, "alice--a@example.test").await, local(&[&alice], &[], Some("a")));
    assert_eq!(one(&store, "nobody@example.test").await, local(&[&bob], &[], None));
    store.set_disabled("alice@example.test", true).await.unwrap();
    assert_eq!(one(&store, "alice@example.test").await, Resolution::Disabled);
    assert_eq!(one(&store, "alice--x@example.test").await, Resolution::Disabled);
    let settings = DomainSettings {
        plus_addressing: Some(false),
        catch_all: Some("all@example.net".into()),
        quota_mailbox_bytes: Some(100),
        ..DomainSettings::default()
    };
    store.set_domain("example.test", &settings).await.unwrap();
    assert_eq!(one(&store, "bob+x@example.test").await, local(&[], &["all@example.net"], None));
    assert!(matches!(one(&store, "bob@example.test").await, Resolution::Local { .. }));
    fill(&store, bob.id, 1).await;
    assert_eq!(one(&store, "bob@example.test").await, Resolution::OverQuota);

    let asked = ["bob@example.test", "x@example.net", "bob@example.test"].map(String::from);
    let all = resolve(&*store, "mx.example.test", &asked).await.unwrap();
    assert_eq!(all, [Resolution::OverQuota, Resolution::NotLocal, Resolution::OverQuota]);
}

pub async fn role_addresses_have_somebody_behind_them(store: S) {
    let first = alice(&store).await;
    let addresses = |resolution| match resolution {
        Resolution::Local { mailboxes, role, .. } => {
            assert!(role);
            mailboxes.into_iter().map(|m| m.address).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    // The first mailbox stands in while there is no administrator.
    assert_eq!(addresses(one(&store, "postmaster@example.test").await), ["alice@example.test"]);
    let other = org(&store, "other").await;
    domain(&store, other, "other.test").await;
    assert_eq!(addresses(one(&store, "abuse@other.test").await), ["alice@example.test"]);
    for address in ["root@other.test", "admin@other.test"] {
        let admin = Mailbox { admin: true, quota_bytes: Some(0), ..new_mailbox(other, address) };
        store.create_mailbox(&admin, &password("p"), at(0)).await.unwrap();
    }
    let admins = ["admin@other.test", "root@other.test"];
    assert_eq!(addresses(one(&store, "postmaster@other.test").await), admins);
    assert_eq!(addresses(one(&store, "abuse@other.test").await), admins);
    // Our own hostname's are the installation's: those of the organisation made first.
    let installation = store.administrators(None).await.unwrap();
    let named: Vec<String> = installation.into_iter().map(|m| m.address).collect();
    assert_eq!(addresses(one(&store, "postmaster").await), named);
    assert_eq!(addresses(one(&store, "abuse@mx.example.test").await), named);
    assert_eq!(one(&store, "hostmaster@other.test").await, Resolution::UnknownLocal);
    // A mailbox of that name comes first.
    mailbox(&store, first.org, "abuse@example.test").await;
    assert_eq!(addresses(one(&store, "abuse@example.test").await), ["abuse@example.test"]);
    store.delete_mailbox("root@other.test").await.unwrap();
    assert_eq!(addresses(one(&store, "postmaster@other.test").await), ["admin@other.test"]);
}

pub async fn aliases_end_somewhere(store: S) {
    let alice = alice(&store).await;
    let alias = async |from: String, to: Vec<String>| {
        let alias = Alias { address: format!("{from}@example.test"), org: alice.org, targets: to };
        store.add_alias(&alias).await.unwrap();
    };
    let name = |n: usize| format!("a{n}@example.test");
    // a0 is a mailbox, and each further alias one step more.
    mailbox(&store, alice.org, &name(0)).await;
    for n in 1..=ALIAS_STEPS_MAX + 1 {
        alias(format!("a{n}"), vec![name(n - 1)]).await;
    }
    let at_limit = one(&store, &name(ALIAS_STEPS_MAX)).await;
    assert!(matches!(at_limit, Resolution::Local { ref mailboxes, .. } if mailboxes[0].address == name(0)));
    assert_eq!(one(&store, &name(ALIAS_STEPS_MAX + 1)).await, Resolution::AliasLoop);
    alias("x".into(), vec!["y@example.test".into(), "alice@example.test".into()]).await;
    alias("y".into(), vec!["x@example.test".into()]).await;
    assert_eq!(one(&store, "x@example.test").await, Resolution::AliasLoop);
    alias("self".into(), vec!["self@example.test".into()]).await;
    assert_eq!(one(&store, "self@example.test").await, Resolution::AliasLoop);
    // Two ways to one mailbox are no circle.
    alias("l".into(), vec!["alice@example.test".into()]).await;
    alias("r".into(), vec!["l@example.test".into(), "alice@example.test".into()]).await;
    alias("both".into(), vec!["l@example.test".into(), "r@example.test".into()]).await;
    assert_eq!(one(&store, "both@example.test").await, local(&[&alice], &[], None));
    alias("nowhere".into(), vec!["gone@example.test".into()]).await;
    assert_eq!(one(&store, "nowhere@example.test").await, Resolution::UnknownLocal);
}
