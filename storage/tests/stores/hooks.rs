//! Webhooks and templates.

use protocol_core::Timestamp;
use storage::*;

use crate::support::*;

fn webhook(org: OrgId) -> Webhook {
    Webhook {
        id: WebhookId::random(),
        org,
        url: "https://a.example/".into(),
        kinds: vec!["DELIVERED".into()],
        sealed_secret: vec![1, 2, 255],
        enabled: true,
        created: at(0),
        mailbox: None,
        position: "evt_3_1".into(),
        attempts: 0,
        given_up: 0,
        next_try: at(0),
        leased: Timestamp(0),
        last_error: None,
        last_success: None,
    }
}

pub async fn webhooks_are_their_organisations(store: S) {
    let (mine, yours) = (org(&store, "mine").await, org(&store, "yours").await);
    let (one, two) = (webhook(mine), webhook(yours));
    store.add_webhook(&one).await.unwrap();
    store.add_webhook(&two).await.unwrap();
    assert_eq!(store.webhook(mine, one.id).await.unwrap(), one);
    assert_eq!(store.webhook(yours, one.id).await, Err(Error::NotFound));
    assert_eq!(store.webhooks(Some(mine)).await.unwrap(), std::slice::from_ref(&one));
    assert_eq!(store.webhooks(None).await.unwrap().len(), 2);
    let edit = |url: &str| WebhookEdit { url: Some(url.into()), ..WebhookEdit::default() };
    assert_eq!(store.edit_webhook(yours, one.id, edit("https://evil.example/")).await, Err(Error::NotFound));
    assert_eq!(
        store.edit_webhook(mine, one.id, edit("https://b.example/")).await.unwrap().url,
        "https://b.example/"
    );
    assert!(!store.remove_webhook(yours, one.id).await.unwrap());
    assert!(store.remove_webhook(mine, one.id).await.unwrap());
    assert_eq!(store.webhooks(Some(mine)).await.unwrap(), []);
    for _ in 0..WEBHOOKS_MAX {
        store.add_webhook(&webhook(mine)).await.unwrap();
    }
    let more = store.add_webhook(&webhook(mine)).await;
    assert!(matches!(more, Err(Error::Refused(Refusal::TooMany(_)))), "{more:?}");
    assert_eq!(store.add_webhook(&webhook(OrgId::random())).await, Err(Error::NotFound));
}

pub async fn one_at_a_time_is_at_a_webhook(store: S) {
    let mine = org(&store, "mine").await;
    let new = webhook(mine);
    store.add_webhook(&new).await.unwrap();
    let claim = async |now: i64| store.claim_webhook(mine, new.id, at(now), secs(60)).await.unwrap();
    assert_eq!(claim(-1).await, None, "not due");
    let held = claim(0).await.unwrap();
    assert_eq!(held.leased, at(60));
    assert_eq!(claim(59).await, None, "held");
    let progress = Webhook { position: "evt_4_1".into(), leased: at(70), ..held.clone() };
    assert!(store.save_webhook(&held, &progress).await.unwrap());
    assert!(!store.save_webhook(&held, &progress).await.unwrap(), "the lease has moved on");
    // Taken over when it was not heard of; the first one can write nothing any more.
    let other = claim(70).await.unwrap();
    assert_eq!(other.position, "evt_4_1");
    assert!(!store.save_webhook(&progress, &progress).await.unwrap());
    // Who replays takes it from whoever is at it.
    let replay = WebhookEdit { position: Some("evt_0_1".into()), ..WebhookEdit::default() };
    store.edit_webhook(mine, new.id, replay).await.unwrap();
    assert!(!store.save_webhook(&other, &other).await.unwrap());
    assert_eq!(claim(71).await.unwrap().position, "evt_0_1");
    store
        .edit_webhook(mine, new.id, WebhookEdit { enabled: Some(false), ..WebhookEdit::default() })
        .await
        .unwrap();
    assert_eq!(claim(999).await, None, "turned off");
    assert_eq!(store.claim_webhook(mine, WebhookId::random(), at(0), secs(1)).await, Ok(None));
}

pub async fn hg14_templates_are_their_organisations_and_their_versions_stay(store: S) {
    let (mine, yours) = (org(&store, "mine").await, org(&store, "yours").await);
    let template = |org, name: &str, id| Template {
        id,
        org,
        version: 0,
        name: name.into(),
        subject: "{{ a }}".into(),
        text: Some("x".into()),
        html: None,
        variables: vec![TemplateVariable { name: "a".into(), kind: "string".into(), optional: true }],
        created: at(0),
    };
    let (id, other) = (TemplateId::random(), TemplateId::random());
    let first = store.add_template(&template(mine, "one", id)).await.unwrap();
    let second = store.add_template(&template(mine, "two", id)).await.unwrap();
    assert_eq!((first.version, second.version), (1, 2));
    let third = store.add_template(&template(mine, "other", other)).await.unwrap();
    assert_eq!(store.template(mine, id, None).await.unwrap(), second);
    assert_eq!(store.template(mine, id, Some(1)).await.unwrap(), first);
    assert_eq!(store.template(mine, id, Some(3)).await, Err(Error::NotFound));
    assert_eq!(store.template(yours, id, Some(1)).await, Err(Error::NotFound));
    assert_eq!(store.template(yours, id, None).await, Err(Error::NotFound));
    let mut newest = vec![second, third];
    newest.sort_by_key(|template| template.id);
    assert_eq!(store.templates(mine).await.unwrap(), newest);
    assert_eq!(store.templates(yours).await.unwrap(), []);
    assert!(!store.remove_template(yours, id).await.unwrap());
    assert!(store.remove_template(mine, id).await.unwrap());
    assert_eq!(store.template(mine, id, Some(1)).await, Err(Error::NotFound));
    assert_eq!(store.templates(mine).await.unwrap().len(), 1);
}
