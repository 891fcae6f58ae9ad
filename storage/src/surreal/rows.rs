//! Our rows as the database's, and back.

use protocol_core::Timestamp;
use surrealdb_types::{RecordId, Value};

use super::value::*;
use crate::api::LogRow;
use crate::error::Result;
use crate::rows::*;
use crate::types::*;

pub fn org(row: &OrgRow) -> Value {
    object([
        ("id", record("organization", row.org.id.to_string())),
        ("name", text(&row.org.name)),
        ("created", signed(row.org.created.0)),
        ("sealed_key", bytes(&row.sealed_key)),
    ])
}

pub fn read_org(mut row: Fields) -> Result<OrgRow> {
    let org =
        Org { id: OrgId(row.key_id()?), name: row.text("name")?, created: Timestamp(row.signed("created")?) };
    Ok(OrgRow { org, sealed_key: row.bytes("sealed_key")? })
}

/// The fields of a domain's settings, as serde names them.
pub fn edge(domain: &Domain) -> Result<Value> {
    let json = serde_json::to_value(&domain.settings).map_err(|_| corrupt("has_domain", "settings"))?;
    let mut fields = vec![
        ("id".to_owned(), record("has_domain", domain.name.as_str())),
        ("in".to_owned(), record("organization", domain.org.to_string())),
        ("out".to_owned(), record("domain", domain.name.as_str())),
    ];
    let serde_json::Value::Object(settings) = json else { return Err(corrupt("has_domain", "settings")) };
    for (name, value) in settings {
        let value = match value {
            serde_json::Value::Null => continue,
            serde_json::Value::Bool(flag) => Value::Bool(flag),
            serde_json::Value::Number(n) => int(n.as_u64().ok_or_else(|| corrupt("has_domain", &name))?),
            serde_json::Value::String(value) => text(value),
            _ => return Err(corrupt("has_domain", &name)),
        };
        fields.push((name, value));
    }
    Ok(Value::Object(fields.into_iter().collect()))
}

pub fn read_edge(mut row: Fields) -> Result<Domain> {
    let name = row.key_text()?;
    let org = match row.take("in") {
        Value::RecordId(RecordId { key: surrealdb_types::RecordIdKey::String(id), .. }) => {
            as_id("has_domain", &Value::String(id))?
        }
        _ => return Err(corrupt("has_domain", "in")),
    };
    let _ = row.take("out");
    let mut settings = serde_json::Map::new();
    for (name, value) in row.rest() {
        let value = match value {
            Value::None | Value::Null => continue,
            Value::Bool(flag) => flag.into(),
            Value::String(value) => value.into(),
            ref number @ Value::Number(_) => as_int::<u64>("has_domain", number)?.into(),
            _ => return Err(corrupt("has_domain", &name)),
        };
        settings.insert(name, value);
    }
    let settings = serde_json::from_value(settings.into()).map_err(|_| corrupt("has_domain", &name))?;
    Ok(Domain { name, org: OrgId(org), settings })
}

/// With the revision that the row will have.
pub fn mailbox(row: &MailboxRow) -> Value {
    let mailbox = &row.mailbox;
    let domain = mailbox.address.rsplit_once('@').map_or("", |(_, domain)| domain);
    object([
        ("id", record("mailbox", mailbox.id.to_string())),
        ("org", id(mailbox.org.0)),
        ("address", text(&mailbox.address)),
        ("domain", record("has_domain", domain)),
        ("name", text(&mailbox.name)),
        ("quota_bytes", optional(mailbox.quota_bytes, int)),
        ("used_bytes", int(mailbox.used_bytes)),
        ("disabled", Value::Bool(mailbox.disabled)),
        ("admin", Value::Bool(mailbox.admin)),
        ("told", optional(Some(true).filter(|_| mailbox.told), Value::Bool)),
        ("rev", int(row.rev + 1)),
        ("uid_validity_last", int(row.uid_validity_last.into())),
        ("uid_validity_vacated", int(row.uid_validity_vacated.into())),
    ])
}

pub fn read_mailbox(row: &mut Fields) -> Result<MailboxRow> {
    let mailbox = Mailbox {
        id: MailboxId(row.key_id()?),
        org: OrgId(row.id("org")?),
        address: row.text("address")?,
        name: row.text("name")?,
        quota_bytes: row.optional_int("quota_bytes")?,
        used_bytes: row.int("used_bytes")?,
        disabled: row.flag("disabled")?,
        admin: row.flag("admin")?,
        told: absent_or_flag(row, "mailbox", "told")?,
    };
    Ok(MailboxRow {
        mailbox,
        rev: row.int("rev")?,
        uid_validity_last: row.int("uid_validity_last")?,
        uid_validity_vacated: row.int("uid_validity_vacated")?,
    })
}

pub fn alias(alias: &Alias) -> Value {
    object([
        ("id", record("alias", alias.address.as_str())),
        ("org", id(alias.org.0)),
        ("targets", list(alias.targets.iter().map(text))),
    ])
}

pub fn read_alias(mut row: Fields) -> Result<Alias> {
    Ok(Alias { address: row.key_text()?, org: OrgId(row.id("org")?), targets: row.texts("targets")? })
}

pub fn credential(mailbox: MailboxId, password: &PasswordRecord) -> Value {
    object([
        ("id", record("credential", mailbox.to_string())),
        ("argon2", text(&password.argon2)),
        ("scram_sealed", bytes(&password.scram_sealed)),
    ])
}

const SPECIAL_USES: [(SpecialUse, &str); 6] = [
    (SpecialUse::Inbox, "inbox"),
    (SpecialUse::Drafts, "drafts"),
    (SpecialUse::Sent, "sent"),
    (SpecialUse::Junk, "junk"),
    (SpecialUse::Trash, "trash"),
    (SpecialUse::Archive, "archive"),
];

pub fn folder_key(mailbox: MailboxId, folder: FolderId) -> Value {
    record("folder", key2(id(mailbox.0), id(folder.0)))
}

pub fn folder(folder: &FolderInfo) -> Value {
    let name_of = |special| SPECIAL_USES.iter().find(|(s, _)| *s == special).map(|(_, name)| text(*name));
    object([
        ("id", folder_key(folder.mailbox, folder.id)),
        ("name", text(&folder.name)),
        ("special_use", optional(folder.special_use.and_then(name_of), |name| name)),
        ("uid_validity", int(folder.uid_validity.into())),
        ("uid_next", int(folder.uid_next.into())),
        ("highest_modseq", int(folder.highest_modseq)),
        ("keywords", list(folder.keywords.iter().map(text))),
        ("messages", int(folder.messages.into())),
        ("unseen", int(folder.unseen.into())),
        ("size", int(folder.size)),
    ])
}

pub fn read_folder(mut row: Fields) -> Result<FolderInfo> {
    let (mailbox, folder) = row.key_pair()?;
    let special_use = match row.optional_text("special_use")? {
        None => None,
        Some(name) => {
            let known = SPECIAL_USES.iter().find(|(_, n)| *n == name);
            Some(known.ok_or_else(|| corrupt("folder", "special_use"))?.0)
        }
    };
    Ok(FolderInfo {
        id: FolderId(as_id("folder", &folder)?),
        mailbox: MailboxId(as_id("folder", &mailbox)?),
        name: row.text("name")?,
        special_use,
        uid_validity: row.int("uid_validity")?,
        uid_next: row.int("uid_next")?,
        highest_modseq: row.int("highest_modseq")?,
        keywords: row.texts("keywords")?,
        messages: row.int("messages")?,
        unseen: row.int("unseen")?,
        size: row.int("size")?,
    })
}

pub fn message_key(folder: FolderId, uid: u32) -> Value {
    record("message", key2(id(folder.0), int(uid.into())))
}

pub fn message(folder: FolderId, row: &Row) -> Value {
    object([
        ("id", message_key(folder, row.uid)),
        ("flags", int(row.flags.0)),
        ("modseq", int(row.modseq)),
        ("size", int(row.size)),
        ("date", signed(row.internal_date.0)),
        ("message", id(row.message.0)),
    ])
}

pub fn read_message(mut row: Fields) -> Result<Row> {
    let (_, uid) = row.key_pair()?;
    Ok(Row {
        uid: as_int("message", &uid)?,
        flags: Flags(row.int("flags")?),
        modseq: row.int("modseq")?,
        size: row.int("size")?,
        internal_date: Timestamp(row.signed("date")?),
        message: MessageId(row.id("message")?),
    })
}

pub fn object_key(mailbox: MailboxId, message: MessageId) -> Value {
    record("object", key2(id(mailbox.0), id(message.0)))
}

pub fn stored_object(row: &ObjectRow) -> Value {
    object([
        ("id", object_key(row.mailbox, row.message)),
        ("refs", int(row.refs.into())),
        ("size", int(row.size)),
        ("meta", bytes(&row.meta)),
    ])
}

pub fn due_key(key: &DueKey) -> Value {
    record("due", key3(id(key.org.0), signed(key.at.0), id(key.job.0)))
}

pub fn due(key: &DueKey) -> Value {
    object([("id", due_key(key)), ("leased", Value::Bool(key.leased))])
}

pub fn read_due(mut row: Fields) -> Result<DueKey> {
    let [org, at, job] = row.key_three()?;
    Ok(DueKey {
        org: OrgId(as_id("due", &org)?),
        at: Timestamp(as_int("due", &at)?),
        job: JobId(as_id("due", &job)?),
        leased: row.flag("leased")?,
    })
}

/// False when it is not there, as in rows of earlier versions.
pub fn absent_or_flag(row: &mut Fields, table: &str, name: &str) -> Result<bool> {
    match row.take(name) {
        Value::None | Value::Null => Ok(false),
        Value::Bool(flag) => Ok(flag),
        _ => Err(corrupt(table, name)),
    }
}

pub fn delivery(job: JobId, n: u32, record_of: &DeliveryRecord) -> Result<Value> {
    let json = serde_json::to_string(record_of).map_err(|_| corrupt("delivery", "record"))?;
    Ok(object([
        ("id", record("delivery", key2(id(job.0), int(n.into())))),
        ("at", signed(record_of.at_ms)),
        ("record", text(json)),
    ]))
}

pub fn read_delivery(mut row: Fields) -> Result<DeliveryRecord> {
    serde_json::from_str(&row.text("record")?).map_err(|_| corrupt("delivery", "record"))
}

/// The record and whose it is.
pub fn read_delivery_of(mut row: Fields) -> Result<(JobId, DeliveryRecord)> {
    let (job, _) = row.key_pair()?;
    let job = JobId(as_id("delivery", &job)?);
    Ok((job, serde_json::from_str(&row.text("record")?).map_err(|_| corrupt("delivery", "record"))?))
}

pub fn log_entry(row: &LogRow) -> Result<Value> {
    let json = serde_json::to_string(&row.record).map_err(|_| corrupt("api_log", "record"))?;
    Ok(object([
        ("id", record("api_log", key2(id(row.org.0), int(row.number)))),
        ("at", signed(row.record.at_ms)),
        ("email", id(row.email.0)),
        ("job", id(row.job.0)),
        ("record", text(json)),
        ("trace", optional(row.trace.as_deref(), text)),
    ]))
}

pub fn read_log_entry(mut row: Fields) -> Result<LogRow> {
    let (org, number) = row.key_pair()?;
    Ok(LogRow {
        org: OrgId(as_id("api_log", &org)?),
        number: as_int("api_log", &number)?,
        email: MessageId(row.id("email")?),
        job: JobId(row.id("job")?),
        record: serde_json::from_str(&row.text("record")?).map_err(|_| corrupt("api_log", "record"))?,
        trace: row.optional_text("trace")?,
    })
}

pub fn policy(policy: &StoredPolicy) -> Value {
    object([
        ("id", record("mta_sts", policy.domain.as_str())),
        ("text", text(&policy.text)),
        ("fetched", signed(policy.fetched.0)),
        ("refresh", signed(policy.refresh.0)),
        ("expires", signed(policy.expires.0)),
    ])
}

pub fn read_policy(mut row: Fields) -> Result<StoredPolicy> {
    Ok(StoredPolicy {
        domain: row.key_text()?,
        text: row.text("text")?,
        fetched: Timestamp(row.signed("fetched")?),
        refresh: Timestamp(row.signed("refresh")?),
        expires: Timestamp(row.signed("expires")?),
    })
}
