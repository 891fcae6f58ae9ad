//! A change of a domain's DKIM keys, without a message that nobody can verify.
//!
//! New keys are made under a new selector, and the old ones go on signing until the new records are seen in DNS:
//! the running server looks every hour, `--finish` looks at once. Then the new keys sign, the old private keys
//! are deleted, and the old records stay published for as long as a signature made with them may be checked.

use std::time::Duration;

use async_io::Timer;
use message_auth::sign::{KeyKind, VALID_SECS};
use protocol_core::Timestamp;
use serde_json::{Value, json};
use storage::{Domain, DomainSettings, Purpose};

use super::execute::{Answer, domain_row, explained, iso};
use super::{Context, Failure, dkim};
use crate::dns::Resolver;
use crate::wire::wall_now;

/// How often the running server looks whether new records are published and old ones past their time.
const INTERVAL: Duration = Duration::from_secs(3_600);
/// How long the records of keys that sign no more stay published: a signature's life and a day.
const OLD_SECS: i64 = VALID_SECS + 86_400;

/// Makes new keys, or shows those that wait for their records.
pub(crate) async fn begin(context: &Context, domain: &str) -> Answer {
    let mut row = domain_row(&context.storage, domain).await?;
    let mut notes = Vec::new();
    if row.settings.dkim_next_selector.is_none() {
        let selector = new_selector(&row.settings, &context.config.dkim.selector, wall_now());
        let rsa = blocking::unblock(dkim::make_rsa).await?;
        let ed25519 = dkim::make_ed25519()?;
        let seal = |secret| dkim::seal(context.storage.keys(), Purpose::Dkim, &row.name, secret);
        let (sealed_rsa, sealed_ed25519) = (seal(&rsa.private)?, seal(&ed25519.private)?);
        let s = &mut row.settings;
        s.dkim_next_selector = Some(selector);
        (s.dkim_next_private_key_b64_pkcs8, s.dkim_next_public_key_b64) =
            (Some(sealed_rsa), Some(rsa.public));
        (s.dkim_next_ed25519_private_key_b64_pkcs8, s.dkim_next_ed25519_public_key_b64) =
            (Some(sealed_ed25519), Some(ed25519.public));
        save(context, &row).await?;
        tracing::info!(
            domain = row.name,
            selector = s_text(&row.settings.dkim_next_selector),
            "new DKIM keys wait for their records"
        );
    } else {
        notes.push("these keys were made before and wait for their records".to_owned());
    }
    let found = look(context, &row).await.unwrap_or_else(|Failure(why)| {
        notes.push(why);
        vec![false; next_records(&row).len()]
    });
    notes.push(
        "publish these records beside the old ones: the old keys sign until the new records are found".into(),
    );
    notes.push(
        "the running server looks every hour; `inbox domain rotate-dkim DOMAIN --finish` looks at once"
            .into(),
    );
    Ok(waiting(context, &row, &found, notes))
}

/// Lets the new keys sign if their records are published.
pub(crate) async fn finish(context: &Context, domain: &str) -> Answer {
    let row = domain_row(&context.storage, domain).await?;
    if row.settings.dkim_next_selector.is_none() {
        return Err(Failure(format!("{}: no new DKIM keys wait for their records", row.name)));
    }
    let found = look(context, &row).await?;
    let records = next_records(&row);
    let missing: Vec<&str> =
        records.iter().zip(&found).filter(|(_, found)| !**found).map(|(r, _)| r.name.as_str()).collect();
    if !missing.is_empty() {
        let missing = missing.join(" and ");
        return Err(Failure(format!(
            "{}: not published yet, so the old keys go on signing: {missing}",
            row.name
        )));
    }
    let now = wall_now();
    let Some(row) = switch_row(context, &row, now).await? else {
        return Err(Failure(format!("{}: the keys were changed meanwhile", row.name)));
    };
    let until = row.settings.dkim_old_until.map(|secs| iso(until_time(secs)));
    let mut notes = Vec::new();
    if let (Some(old), Some(until)) = (&row.settings.dkim_old_selector, &until) {
        notes.push(format!("leave the records of selector {old} published until {until}"));
    }
    Ok(json!({
        "domain": row.name,
        "state": "switched",
        "selector": row.settings.dkim_selector,
        "oldSelector": row.settings.dkim_old_selector,
        "oldUntil": until,
        "notes": notes,
    }))
}

/// Looks after every domain's keys for as long as the server runs.
pub async fn tend(context: Context) {
    loop {
        if let Err(Failure(why)) = tend_once(&context, wall_now()).await {
            tracing::warn!(why, "DKIM keys could not be looked after");
        }
        Timer::after(INTERVAL).await;
    }
}

/// New keys whose records are published begin to sign; old ones past their time are forgotten.
pub(super) async fn tend_once(context: &Context, now: Timestamp) -> Result<(), Failure> {
    for row in context.storage.store().list_domains().await.map_err(super::execute::failed)? {
        if row.settings.dkim_next_selector.is_some() {
            match look(context, &row).await {
                Ok(found) if found.iter().all(|found| *found) => {
                    switch_row(context, &row, now).await?;
                }
                Ok(_) => tracing::info!(domain = row.name, "new DKIM records are not published yet"),
                Err(Failure(why)) => {
                    tracing::warn!(domain = row.name, why, "new DKIM records cannot be looked up")
                }
            }
        } else if is_past(&row.settings, now) {
            let Some(mut row) = again(context, &row).await? else { continue };
            let selector = row.settings.dkim_old_selector.clone();
            forget_old(&mut row.settings);
            save(context, &row).await?;
            tracing::info!(domain = row.name, selector, "old DKIM records can be removed from DNS");
        }
    }
    Ok(())
}

/// The row as it is now, when its keys are still those of `seen`: others may have changed it since.
async fn again(context: &Context, seen: &Domain) -> Result<Option<Domain>, Failure> {
    let row = domain_row(&context.storage, &seen.name).await?;
    let key = |d: &Domain| {
        let s = &d.settings;
        (s.dkim_next_public_key_b64.clone(), s.dkim_public_key_b64.clone(), s.dkim_old_selector.clone())
    };
    Ok((key(&row) == key(seen)).then_some(row))
}

async fn switch_row(context: &Context, seen: &Domain, now: Timestamp) -> Result<Option<Domain>, Failure> {
    let Some(mut row) = again(context, seen).await? else { return Ok(None) };
    switch(&mut row.settings, &context.config.dkim.selector, now);
    save(context, &row).await?;
    let selector = s_text(&row.settings.dkim_selector);
    tracing::info!(domain = row.name, selector, "new DKIM keys sign from now on");
    Ok(Some(row))
}

async fn save(context: &Context, row: &Domain) -> Result<(), Failure> {
    let saved = context.storage.store().set_domain(&row.name, &row.settings).await;
    saved.map_err(|e| explained(&format!("domain {}", row.name), e))
}

/// Which of the new records are in DNS, in their order.
async fn look(context: &Context, row: &Domain) -> Result<Vec<bool>, Failure> {
    // A resolver of its own remembers no answer of before.
    let resolver = Resolver::open(&context.config.dns).map_err(Failure)?;
    let mut found = Vec::new();
    for record in next_records(row) {
        let texts = resolver.lookup_txt(&record.name).await;
        let texts = texts.map_err(|why| Failure(format!("{} cannot be looked up: {why:?}", record.name)))?;
        found.push(texts.iter().any(|text| record.kind.is_published_by(text, &record.public)));
    }
    Ok(found)
}

fn waiting(context: &Context, row: &Domain, found: &[bool], notes: Vec<String>) -> Value {
    let records = next_records(row).into_iter().zip(found).map(|(record, live)| {
        let value = record.kind.record(&record.public);
        json!({"name": format!("{}.", record.name), "type": "TXT", "value": value, "live": live})
    });
    json!({
        "domain": row.name,
        "state": "waiting",
        "selector": row.settings.dkim_next_selector,
        "signingWith": row.settings.dkim_selector.as_deref().unwrap_or(&context.config.dkim.selector),
        "dns": records.collect::<Vec<_>>(),
        "notes": notes,
    })
}

/// A key record: its name without the final dot, and what it says.
pub(super) struct Record {
    pub(super) name: String,
    pub(super) kind: KeyKind,
    pub(super) public: String,
}

/// The records of the keys under one selector.
pub(super) fn key_records(
    domain: &str,
    selector: &str,
    rsa: Option<&String>,
    ed25519: Option<&String>,
) -> Vec<Record> {
    let record = |selector: String, kind, public: &String| Record {
        name: format!("{selector}._domainkey.{domain}"),
        kind,
        public: public.clone(),
    };
    let rsa = rsa.map(|key| record(selector.to_owned(), KeyKind::Rsa, key));
    let ed25519 = ed25519.map(|key| record(format!("{selector}-ed25519"), KeyKind::Ed25519, key));
    rsa.into_iter().chain(ed25519).collect()
}

/// The records of keys that are to sign next.
pub(super) fn next_records(row: &Domain) -> Vec<Record> {
    let s = &row.settings;
    let Some(selector) = &s.dkim_next_selector else { return Vec::new() };
    let (rsa, ed25519) = (s.dkim_next_public_key_b64.as_ref(), s.dkim_next_ed25519_public_key_b64.as_ref());
    key_records(&row.name, selector, rsa, ed25519)
}

/// The records of keys that signed before and must stay published.
pub(super) fn old_records(row: &Domain) -> Vec<Record> {
    let s = &row.settings;
    let Some(selector) = &s.dkim_old_selector else { return Vec::new() };
    let (rsa, ed25519) = (s.dkim_old_public_key_b64.as_ref(), s.dkim_old_ed25519_public_key_b64.as_ref());
    key_records(&row.name, selector, rsa, ed25519)
}

/// The installation's selector with the date, and with a letter when that is taken.
fn new_selector(s: &DomainSettings, base: &str, now: Timestamp) -> String {
    let day = now.civil();
    let dated = format!("{base}{:04}{:02}{:02}", day.year, day.month, day.day);
    let taken = [s.dkim_selector.as_deref(), s.dkim_old_selector.as_deref(), Some(base)];
    let mut names =
        std::iter::once(dated.clone()).chain(('b'..='z').map(|letter| format!("{dated}{letter}")));
    names.find(|name| !taken.contains(&Some(name.as_str()))).unwrap_or(dated)
}

/// The next keys become those that sign; the private halves of the old ones are gone with this.
fn switch(s: &mut DomainSettings, base: &str, now: Timestamp) {
    let old = s.dkim_selector.take().unwrap_or_else(|| base.to_owned());
    s.dkim_selector = s.dkim_next_selector.take();
    s.dkim_private_key_b64_pkcs8 = s.dkim_next_private_key_b64_pkcs8.take();
    s.dkim_ed25519_private_key_b64_pkcs8 = s.dkim_next_ed25519_private_key_b64_pkcs8.take();
    s.dkim_old_public_key_b64 =
        std::mem::replace(&mut s.dkim_public_key_b64, s.dkim_next_public_key_b64.take());
    s.dkim_old_ed25519_public_key_b64 =
        std::mem::replace(&mut s.dkim_ed25519_public_key_b64, s.dkim_next_ed25519_public_key_b64.take());
    let had_keys = s.dkim_old_public_key_b64.is_some() || s.dkim_old_ed25519_public_key_b64.is_some();
    s.dkim_old_selector = had_keys.then_some(old);
    s.dkim_old_until = had_keys.then(|| u64::try_from(now.secs() + OLD_SECS).unwrap_or(0));
}

fn is_past(s: &DomainSettings, now: Timestamp) -> bool {
    s.dkim_old_selector.is_some() && s.dkim_old_until.is_none_or(|secs| until_time(secs) <= now)
}

fn until_time(secs: u64) -> Timestamp {
    Timestamp::from_secs(i64::try_from(secs).unwrap_or(i64::MAX / 1_000))
}

fn forget_old(s: &mut DomainSettings) {
    (s.dkim_old_selector, s.dkim_old_until) = (None, None);
    (s.dkim_old_public_key_b64, s.dkim_old_ed25519_public_key_b64) = (None, None);
}

fn s_text(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> DomainSettings {
        let some = |text: &str| Some(text.to_owned());
        DomainSettings {
            dkim_selector: some("mail"),
            dkim_private_key_b64_pkcs8: some("private-1"),
            dkim_public_key_b64: some("public-1"),
            dkim_next_selector: some("mail20260102"),
            dkim_next_private_key_b64_pkcs8: some("private-2"),
            dkim_next_public_key_b64: some("public-2"),
            dkim_next_ed25519_private_key_b64_pkcs8: some("private-3"),
            dkim_next_ed25519_public_key_b64: some("public-3"),
            ..DomainSettings::default()
        }
    }

    #[test]
    fn a_switch_deletes_the_old_private_keys_and_keeps_the_old_records_for_eight_days() {
        let mut s = settings();
        switch(&mut s, "mail", Timestamp::from_secs(1_000));
        let want = DomainSettings {
            dkim_selector: Some("mail20260102".into()),
            dkim_private_key_b64_pkcs8: Some("private-2".into()),
            dkim_public_key_b64: Some("public-2".into()),
            dkim_ed25519_private_key_b64_pkcs8: Some("private-3".into()),
            dkim_ed25519_public_key_b64: Some("public-3".into()),
            dkim_old_selector: Some("mail".into()),
            dkim_old_public_key_b64: Some("public-1".into()),
            dkim_old_until: Some(1_000 + 8 * 86_400),
            ..DomainSettings::default()
        };
        assert_eq!(s, want);
        let row = Domain { name: "a.test".into(), org: storage::OrgId::random(), settings: s.clone() };
        let names: Vec<String> = old_records(&row).into_iter().map(|r| r.name).collect();
        assert_eq!((names, next_records(&row).len()), (vec!["mail._domainkey.a.test".to_owned()], 0));
        let end = 1_000 + 8 * 86_400;
        assert!(!is_past(&s, Timestamp::from_secs(end - 1)) && is_past(&s, Timestamp::from_secs(end)));
        forget_old(&mut s);
        assert!(!is_past(&s, Timestamp::from_secs(end)));
        assert_eq!((s.dkim_old_selector, s.dkim_old_until), (None, None));
    }

    #[test]
    fn a_domain_without_keys_has_no_old_records_after_a_switch() {
        let mut s =
            DomainSettings { dkim_private_key_b64_pkcs8: None, dkim_public_key_b64: None, ..settings() };
        switch(&mut s, "mail", Timestamp::from_secs(0));
        assert_eq!((s.dkim_old_selector, s.dkim_old_until), (None, None));
        assert_eq!(s.dkim_public_key_b64.as_deref(), Some("public-2"));
    }

    #[test]
    fn selectors_are_dated_and_never_the_same_twice() {
        let day = Timestamp::from_secs(86_400);
        let mut s = DomainSettings::default();
        assert_eq!(new_selector(&s, "mail", day), "mail19700102");
        s.dkim_selector = Some("mail19700102".into());
        assert_eq!(new_selector(&s, "mail", day), "mail19700102b");
        s.dkim_old_selector = Some("mail19700102b".into());
        assert_eq!(new_selector(&s, "mail", day), "mail19700102c");
    }
}
