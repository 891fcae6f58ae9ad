//! Trees as the database's rows, and back. Keys: `dav_owner:mailbox`, `event:[mailbox, collection, name]` and so on for
//! each table of nodes, `dav_text:[mailbox, node]`, `dav_gone:[mailbox, collection, change]`,
//! `dav_uid:[mailbox, UID, collection]`, `dav_mail:[mailbox, number]`.

use std::ops::Bound;

use surrealdb_types::{RecordId, Value};

use super::value::*;
use crate::dav::*;
use crate::error::Result;
use crate::types::{Id, MailboxId, MessageId};

/// The tables whose rows begin with the mailbox.
pub fn tables() -> impl Iterator<Item = &'static str> {
    DavTable::ALL.into_iter().map(DavTable::name).chain(["dav_text", "dav_gone", "dav_uid", "dav_mail"])
}

pub fn owner_key(mailbox: MailboxId) -> Value {
    record("dav_owner", mailbox.to_string())
}

/// With the revision that the row will have.
pub fn owner(owner: &DavOwner) -> Value {
    object([("id", owner_key(owner.mailbox)), ("rev", int(owner.rev + 1)), ("last", int(owner.last))])
}

pub fn read_owner(mut row: Fields) -> Result<DavOwner> {
    Ok(DavOwner { mailbox: MailboxId(row.key_id()?), rev: row.int("rev")?, last: row.int("last")? })
}

pub fn node_key(key: &DavKey) -> Value {
    record(key.table.name(), key3(id(key.mailbox.0), int(key.parent), id(key.name)))
}

/// The members of a collection behind a name.
pub fn members(of: (DavTable, MailboxId, u64), after: Option<Id>) -> Value {
    let (table, mailbox, parent) = of;
    let key = |name: Value| key3(id(mailbox.0), int(parent), name);
    let from = match after {
        Some(name) => Bound::Excluded(key(id(name))),
        None => Bound::Included(key(Value::None)),
    };
    range(table.name(), from, Bound::Included(key(highest())))
}

pub fn node(node: &DavNode) -> Value {
    let members = |of: fn(DavMembers) -> u64| optional(node.members.map(of), int);
    object([
        ("id", node_key(&node.key)),
        ("node", int(node.id)),
        ("changed", int(node.changed)),
        ("members_changed", members(|m| m.changed)),
        ("members_removed", members(|m| m.removed)),
        ("members_forgotten", members(|m| m.forgotten)),
        ("size", int(node.size)),
        ("object", optional(node.object, |object| id(object.0))),
        ("uid", optional(node.uid, id)),
        ("meta", bytes(&node.meta)),
    ])
}

/// The key of a row of one of the tables of nodes.
pub fn read_key(row: &mut Fields) -> Result<DavKey> {
    let bad = || corrupt("dav", "id");
    let Value::RecordId(RecordId { table, key }) = row.take("id") else { return Err(bad()) };
    let table = DavTable::of(table.as_str()).ok_or_else(bad)?;
    let mut parts = Fields::of("dav", object([("id", record(table.name(), key))]))?;
    let [mailbox, parent, name] = parts.key_three()?;
    let mailbox = MailboxId(as_id("dav", &mailbox)?);
    Ok(DavKey { table, mailbox, parent: as_int("dav", &parent)?, name: as_id("dav", &name)? })
}

fn optional_id(row: &mut Fields, name: &str) -> Result<Option<Id>> {
    let Some(text) = row.optional_text(name)? else { return Ok(None) };
    Id::parse(&text).map(Some).ok_or_else(|| corrupt("dav", name))
}

pub fn read_node(mut row: Fields) -> Result<DavNode> {
    let key = read_key(&mut row)?;
    let members = match row.optional_int("members_changed")? {
        None => None,
        Some(changed) => {
            let (removed, forgotten) = (row.int("members_removed")?, row.int("members_forgotten")?);
            Some(DavMembers { changed, removed, forgotten })
        }
    };
    Ok(DavNode {
        key,
        id: row.int("node")?,
        changed: row.int("changed")?,
        members,
        size: row.int("size")?,
        object: optional_id(&mut row, "object")?.map(MessageId),
        uid: optional_id(&mut row, "uid")?,
        meta: row.bytes("meta")?,
    })
}

pub fn text_key(mailbox: MailboxId, node: u64) -> Value {
    record("dav_text", key2(id(mailbox.0), int(node)))
}

pub fn text_row(row: &DavText) -> Value {
    object([("id", text_key(row.mailbox, row.id)), ("text", bytes(&row.text))])
}

pub fn read_text(mut row: Fields) -> Result<DavText> {
    let (mailbox, node) = row.key_pair()?;
    let mailbox = MailboxId(as_id("dav_text", &mailbox)?);
    Ok(DavText { mailbox, id: as_int("dav_text", &node)?, text: row.bytes("text")? })
}

pub fn gone(row: &DavGone) -> Value {
    let key = key3(id(row.mailbox.0), int(row.parent), int(row.change));
    object([("id", record("dav_gone", key)), ("name", bytes(&row.name))])
}

/// Removals of a collection between two numbers, both included.
pub fn gone_range(mailbox: MailboxId, parent: u64, from: u64, to: u64) -> Value {
    let key = |change| Bound::Included(key3(id(mailbox.0), int(parent), int(change)));
    range("dav_gone", key(from), key(to))
}

pub fn read_gone(mut row: Fields) -> Result<DavGone> {
    let [mailbox, parent, change] = row.key_three()?;
    Ok(DavGone {
        mailbox: MailboxId(as_id("dav_gone", &mailbox)?),
        parent: as_int("dav_gone", &parent)?,
        change: as_int("dav_gone", &change)?,
        name: row.bytes("name")?,
    })
}

pub fn uid_key(uid: Id, key: &DavKey) -> Value {
    record("dav_uid", key3(id(key.mailbox.0), id(uid), int(key.parent)))
}

pub fn uid(uid: Id, key: &DavKey) -> Value {
    object([("id", uid_key(uid, key)), ("kind", text(key.table.name())), ("name", id(key.name))])
}

pub fn uids(mailbox: MailboxId, uid: Id) -> Value {
    let key = |parent: Value| Bound::Included(key3(id(mailbox.0), id(uid), parent));
    range("dav_uid", key(Value::None), key(highest()))
}

pub fn read_uid(mut row: Fields) -> Result<DavKey> {
    let [mailbox, _, parent] = row.key_three()?;
    let table = DavTable::of(&row.text("kind")?).ok_or_else(|| corrupt("dav_uid", "kind"))?;
    Ok(DavKey {
        table,
        mailbox: MailboxId(as_id("dav_uid", &mailbox)?),
        parent: as_int("dav_uid", &parent)?,
        name: row.id("name")?,
    })
}

pub fn mail_key(mailbox: MailboxId, number: u64) -> Value {
    record("dav_mail", key2(id(mailbox.0), int(number)))
}

pub fn mail(row: &DavMail) -> Value {
    object([("id", mail_key(row.mailbox, row.number)), ("mail", bytes(&row.mail))])
}

pub fn read_mail(mut row: Fields) -> Result<DavMail> {
    let (mailbox, number) = row.key_pair()?;
    let mailbox = MailboxId(as_id("dav_mail", &mailbox)?);
    Ok(DavMail { mailbox, number: as_int("dav_mail", &number)?, mail: row.bytes("mail")? })
}
