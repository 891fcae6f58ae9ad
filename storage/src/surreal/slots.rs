//! Small rows as the database's, and back. Their keys are arrays: `suppression:[organisation or '', scope, entry]`,
//! `rate_window:[end, name]`, `quota:[end, name]`, `idempotency:[organisation, key]`, `api_key:[key]`,
//! `email:[organisation, e-mail]`, `email_time:[organisation, time downwards, e-mail inverted]`,
//! `webhook:[organisation, webhook]`, `template:[organisation, template, version]`,
//! `audit:[organisation or '', time downwards, entry inverted]`.

use core::cmp::Reverse;

use protocol_core::Timestamp;
use surrealdb_types::{Array, RecordId, RecordIdKey, Value};

use super::value::*;
use crate::api::{ApiKey, Email, EmailPlace, Template, Webhook};
use crate::audit::{AuditEntry, AuditPlace};
use crate::error::Result;
use crate::slots::*;
use crate::types::{Id, MessageId, OrgId};

pub fn table_name(table: SlotTable) -> &'static str {
    match table {
        SlotTable::Suppression => "suppression",
        SlotTable::RateWindow => "rate_window",
        SlotTable::Quota => "quota",
        SlotTable::Idempotency => "idempotency",
        SlotTable::ApiKey => "api_key",
        SlotTable::Email => "email",
        SlotTable::EmailTime => "email_time",
        SlotTable::Webhook => "webhook",
        SlotTable::Template => "template",
        SlotTable::Audit => "audit",
    }
}

const SCOPES: [(SuppressionScope, &str); 2] =
    [(SuppressionScope::Address, "address"), (SuppressionScope::Domain, "domain")];

const SOURCES: [(SuppressionSource, &str); 4] = [
    (SuppressionSource::Manual, "manual"),
    (SuppressionSource::Bounce, "bounce"),
    (SuppressionSource::Complaint, "complaint"),
    (SuppressionSource::Suspicion, "suspicion"),
];

fn name_of<T: PartialEq + Copy>(names: &[(T, &'static str)], of: T) -> &'static str {
    names.iter().find(|(value, _)| *value == of).map_or("", |(_, name)| name)
}

fn named<T: Copy>(names: &[(T, &'static str)], name: &str) -> Result<T> {
    let known = names.iter().find(|(_, known)| *known == name).map(|(value, _)| *value);
    known.ok_or_else(|| corrupt("slot", "a name"))
}

pub fn parts(key: &SlotKey) -> RecordIdKey {
    match key {
        SlotKey::Suppression(key) => {
            let org = key.org.map_or_else(|| text(""), |org| id(org.0));
            key3(org, text(name_of(&SCOPES, key.scope)), text(&key.entry))
        }
        SlotKey::Counter(key) => key2(signed(key.ends.0), text(&key.name)),
        SlotKey::Idempotency(org, key) => key2(id(org.0), text(key)),
        SlotKey::ApiKey(key) => RecordIdKey::Array(Array::from(vec![id(key.0)])),
        SlotKey::Email(org, email) => key2(id(org.0), id(email.0)),
        // The database sorts upwards: what is newer has the smaller number, and among equals the greater ID.
        SlotKey::EmailTime(org, Reverse(EmailPlace { created, id: email })) => {
            key3(id(org.0), signed(-created.0), id(inverted(email.0)))
        }
        SlotKey::Webhook(org, webhook) => key2(id(org.0), id(webhook.0)),
        SlotKey::Audit(org, Reverse(AuditPlace { at, id: entry })) => {
            let org = org.map_or_else(|| text(""), |org| id(org.0));
            // The highest time has no negative of its own but this.
            key3(org, signed(at.0.saturating_neg()), id(inverted(entry.0)))
        }
        SlotKey::Template(org, template, version) => key3(id(org.0), id(template.0), int((*version).into())),
    }
}

fn inverted(id: Id) -> Id {
    Id(id.0.map(|octet| !octet))
}

pub fn key(key: &SlotKey) -> Value {
    record(table_name(key.table()), parts(key))
}

/// The row as it will be; none when it goes.
pub fn row(write: &SlotWrite) -> Result<Option<Value>> {
    let head = [("id", key(&write.key)), ("rev", int(write.rev + 1))];
    let [id, rev] = head;
    let Some(slot) = write.slot.as_ref() else { return Ok(None) };
    Ok(Some(match slot {
        Slot::Suppression(row) => object([
            id,
            rev,
            ("reason", text(&row.reason)),
            ("source", text(name_of(&SOURCES, row.source))),
            ("created", signed(row.created.0)),
            ("expires", optional(row.expires, |end| signed(end.0))),
        ]),
        Slot::Counter(used) => object([id, rev, ("used", int(*used))]),
        Slot::Idempotency(row) => object([
            id,
            rev,
            ("fingerprint", bytes(&row.fingerprint)),
            ("answer", text(&row.answer)),
            ("expires", signed(row.expires.0)),
        ]),
        Slot::ApiKey(row) => object([id, rev, ("record", json(&**row)?)]),
        Slot::Email(row) => object([id, rev, ("record", json(&row.open)?), ("sealed", bytes(&row.sealed))]),
        Slot::EmailTime(expires) => object([id, rev, ("expires", signed(expires.0))]),
        Slot::Webhook(row) => object([id, rev, ("record", json(&**row)?)]),
        Slot::Template(row) => object([id, rev, ("record", json(&**row)?)]),
        Slot::Audit(row) => object([id, rev, ("record", json(&**row)?)]),
    }))
}

/// A part of a row that nothing is looked up by.
fn json<T: serde::Serialize>(value: &T) -> Result<Value> {
    serde_json::to_string(value).map(text).map_err(|_| corrupt("slot", "record"))
}

fn from_json<T: serde::de::DeserializeOwned>(fields: &mut Fields) -> Result<T> {
    serde_json::from_str(&fields.text("record")?).map_err(|_| corrupt("slot", "record"))
}

fn text_part(value: Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(corrupt("slot", "id")),
    }
}

/// What kind of row it is, its key says.
pub fn read(mut fields: Fields) -> Result<SlotRow> {
    let id = fields.take("id");
    let Value::RecordId(RecordId { table, key: RecordIdKey::Array(parts) }) = id else {
        return Err(corrupt("slot", "id"));
    };
    let mut parts = parts.into_vec().into_iter();
    let mut part = || parts.next().ok_or_else(|| corrupt("slot", "id"));
    let rev = fields.int("rev")?;
    let (key, slot) = match table.as_str() {
        "suppression" => {
            let org = text_part(part()?)?;
            let org = if org.is_empty() { None } else { Some(OrgId(as_id("slot", &text(org))?)) };
            let key = SuppressionKey {
                org,
                scope: named(&SCOPES, &text_part(part()?)?)?,
                entry: text_part(part()?)?,
            };
            let row = Suppression {
                key: key.clone(),
                reason: fields.text("reason")?,
                source: named(&SOURCES, &fields.text("source")?)?,
                created: Timestamp(fields.signed("created")?),
                expires: fields.optional_signed("expires")?.map(Timestamp),
            };
            (SlotKey::Suppression(key), Slot::Suppression(row))
        }
        name @ ("rate_window" | "quota") => {
            let kind = if name == "quota" { CounterKind::Quota } else { CounterKind::Rate };
            let ends = Timestamp(as_int("slot", &part()?)?);
            let key = CounterKey { kind, ends, name: text_part(part()?)? };
            (SlotKey::Counter(key), Slot::Counter(fields.int("used")?))
        }
        "idempotency" => {
            let org = OrgId(as_id("slot", &part()?)?);
            let key = text_part(part()?)?;
            let fingerprint = fields.bytes("fingerprint")?;
            let row = Idempotency {
                org,
                key: key.clone(),
                fingerprint: fingerprint.try_into().map_err(|_| corrupt("slot", "fingerprint"))?,
                answer: fields.text("answer")?,
                expires: Timestamp(fields.signed("expires")?),
            };
            (SlotKey::Idempotency(org, key), Slot::Idempotency(row))
        }
        "api_key" => {
            let row: ApiKey = from_json(&mut fields)?;
            (SlotKey::ApiKey(row.id), Slot::ApiKey(Box::new(row)))
        }
        "email" => {
            let org = OrgId(as_id("slot", &part()?)?);
            let email = MessageId(as_id("slot", &part()?)?);
            let row =
                Email { id: email, org, open: from_json(&mut fields)?, sealed: fields.bytes("sealed")? };
            (SlotKey::Email(org, email), Slot::Email(Box::new(row)))
        }
        "email_time" => {
            let org = OrgId(as_id("slot", &part()?)?);
            let created: i64 = as_int("slot", &part()?)?;
            let email = MessageId(inverted(as_id("slot", &part()?)?));
            let place = EmailPlace { created: Timestamp(-created), id: email };
            let expires = Timestamp(fields.signed("expires")?);
            (SlotKey::EmailTime(org, Reverse(place)), Slot::EmailTime(expires))
        }
        "webhook" => {
            let row: Webhook = from_json(&mut fields)?;
            (SlotKey::Webhook(row.org, row.id), Slot::Webhook(Box::new(row)))
        }
        "template" => {
            let row: Template = from_json(&mut fields)?;
            (SlotKey::Template(row.org, row.id, row.version), Slot::Template(Box::new(row)))
        }
        "audit" => {
            let row: AuditEntry = from_json(&mut fields)?;
            (SlotKey::Audit(row.org, row.place()), Slot::Audit(Box::new(row)))
        }
        _ => return Err(corrupt("slot", "id")),
    };
    Ok(SlotRow { key, rev, slot })
}
