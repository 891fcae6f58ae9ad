//! Reads, each one statement, and so one snapshot.
//!
//! The engine (3.3) takes a LIMIT into its scan when the source is a call that it cannot work out while it plans. For a
//! range that is bound, or written out, it reads all of it and cuts off the rest. So a range of which only the first
//! rows are wanted is named by `type::record($range.chain(|$it| $it))`, and no condition of such a read is an OR, which
//! keeps the limit out too.

use std::collections::{BTreeSet, HashMap};
use std::ops::{Bound, RangeInclusive};
use std::sync::PoisonError;

use protocol_core::Timestamp;
use surrealdb_types::{Value, Variables};

use super::SurrealRows;
use super::rows as codec;
use super::value::*;
use super::{dav, jobs, slots, write};
use crate::api::LogRow;
use crate::dav::{DavGone, DavKey, DavMail, DavNode, DavOwner, DavTable, DavText};
use crate::error::{Error, Result};
use crate::rows::*;
use crate::slots::{SlotKey, SlotRow, SlotTable};
use crate::types::*;

fn bind<const N: usize>(values: [(&str, Value); N]) -> Variables {
    let mut bound = Variables::new();
    for (name, value) in values {
        bound.insert(name, value);
    }
    bound
}

fn all_of(table: &str, first: Id) -> Value {
    range2(table, &id(first), Bound::Unbounded, Bound::Unbounded)
}

fn one<T>(what: &'static str, value: Value, read: impl FnOnce(Fields) -> Result<T>) -> Result<Option<T>> {
    rows(what, value)?.into_iter().next().map(read).transpose()
}

fn many<T>(what: &'static str, value: Value, read: impl FnMut(Fields) -> Result<T>) -> Result<Vec<T>> {
    rows(what, value)?.into_iter().map(read).collect()
}

/// The first rows of a range; see the module for why it is written so.
const FIRST: &str = "SELECT * FROM type::record($rows.chain(|$it| $it)) LIMIT $limit";

/// The first rows of a range of the due index that are not held, or whose holder is to be looked after.
const DUE: &str = "SELECT * FROM type::record($rows.chain(|$it| $it))
    WHERE !(leased AND id[1] >= $ended) LIMIT $limit";

const FOLDER: &str = "RETURN {
    mailbox: (SELECT * FROM $mailbox),
    folder: (SELECT * FROM $folder),
    rows: (SELECT * FROM $rows)
}";

const CHANGES: &str = "RETURN {
    folder: (SELECT * FROM $folder),
    rows: (SELECT * FROM $rows WHERE modseq > $modseq),
    gone: (SELECT VALUE uids FROM $gone)
}";

const META: &str = "RETURN {
    folder: (SELECT VALUE name FROM $folder),
    rows: (SELECT id, type::record('object', [$mailbox, message]).meta AS meta FROM $rows)
}";

#[async_trait::async_trait]
impl Rows for SurrealRows {
    async fn apply(&self, what: &'static str, writes: Writes) -> Result<(), ApplyError> {
        let Some(transaction) = write::transaction(&writes).map_err(ApplyError::Other)? else {
            return Ok(());
        };
        let writing = self.lately.writing(&writes);
        let outcome = self.calls.transaction_with(&transaction.text, transaction.bound, writing).await;
        if let Err(ApplyError::Other(error)) = &outcome {
            tracing::error!(operation = what, %error, "a transaction failed");
        }
        outcome
    }

    async fn pause(&self, attempt: u32) {
        self.calls.pause(attempt).await;
    }

    async fn ping(&self) -> Result<()> {
        // A write, for a database that can only be read is not ready.
        let text = "UPSERT meta:ping SET version = 0 RETURN NONE;\n";
        match self.calls.transaction(text, Variables::new()).await {
            // Somebody else is writing the same row: it can be written.
            Ok(()) | Err(ApplyError::Stale) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn close(&self) {
        self.calls.close().await;
    }

    async fn directory_rev(&self) -> Result<u64> {
        let value = self.calls.read("SELECT rev FROM meta:directory", Variables::new()).await?;
        one("meta", value, |mut row| row.int("rev"))?.ok_or_else(|| corrupt("meta", "directory"))
    }

    async fn orgs(&self) -> Result<Vec<Org>> {
        let value = self.calls.read("SELECT * FROM organization", Variables::new()).await?;
        many("organization", value, |row| Ok(codec::read_org(row)?.org))
    }

    async fn org_named(&self, name: &str) -> Result<Option<OrgRow>> {
        let query = "SELECT * FROM organization WHERE name = $name";
        let value = self.calls.read(query, bind([("name", text(name))])).await?;
        one("organization", value, codec::read_org)
    }

    async fn org(&self, id: OrgId) -> Result<Option<OrgRow>> {
        let known = self.lately.orgs.get(&id, self.lately.age());
        let since = match known {
            Ok(known) if self.lately.is_alone() => return Ok(known),
            Ok(_) => None,
            Err(since) => Some(since),
        };
        let key = record("organization", id.to_string());
        let value = self.calls.read("SELECT * FROM $id", bind([("id", key)])).await?;
        let found = one("organization", value, codec::read_org)?;
        if let Some(since) = since.filter(|_| self.lately.is_alone()) {
            self.lately.orgs.remember(since, id, found.clone());
        }
        Ok(found)
    }

    async fn domains(&self) -> Result<Vec<Domain>> {
        let value = self.calls.read("SELECT * FROM has_domain", Variables::new()).await?;
        many("has_domain", value, codec::read_edge)
    }

    async fn domain(&self, name: &str) -> Result<Option<Domain>> {
        match self.lately.is_alone() {
            true => self.domain_lately(name).await,
            false => self.domain_now(name).await,
        }
    }

    async fn domain_lately(&self, name: &str) -> Result<Option<Domain>> {
        let name = name.to_owned();
        let since = match self.lately.domains.get(&name, self.lately.age()) {
            Ok(known) => return Ok(known),
            Err(since) => since,
        };
        let found = self.domain_now(&name).await?;
        self.lately.domains.remember(since, name, found.clone());
        Ok(found)
    }

    async fn mailboxes(&self) -> Result<Vec<Mailbox>> {
        let value = self.calls.read("SELECT * FROM mailbox", Variables::new()).await?;
        many("mailbox", value, |mut row| Ok(codec::read_mailbox(&mut row)?.mailbox))
    }

    async fn mailbox(&self, id: MailboxId) -> Result<Option<MailboxRow>> {
        let key = record("mailbox", id.to_string());
        let value = self.calls.read("SELECT * FROM $id", bind([("id", key)])).await?;
        one("mailbox", value, |mut row| codec::read_mailbox(&mut row))
    }

    async fn administrators(&self, org: Option<OrgId>) -> Result<Vec<Mailbox>> {
        let all = match org {
            Some(org) => all_of("administrator", org.0),
            None => range("administrator", Bound::Unbounded, Bound::Unbounded),
        };
        let query = "SELECT * FROM (SELECT VALUE mailbox FROM $all)";
        let value = self.calls.read(query, bind([("all", all)])).await?;
        many("mailbox", value, |mut row| Ok(codec::read_mailbox(&mut row)?.mailbox))
    }

    async fn aliases(&self) -> Result<Vec<Alias>> {
        let value = self.calls.read("SELECT * FROM alias", Variables::new()).await?;
        many("alias", value, codec::read_alias)
    }

    async fn addresses(&self, addresses: &[String]) -> Result<Vec<Option<AddressRow>>> {
        let query = "RETURN {
            mailboxes: (SELECT * FROM ((SELECT VALUE mailbox FROM $addresses) ?: $decoy)),
            aliases: (SELECT * FROM $aliases)
        }";
        let keys = |table: &str| list(addresses.iter().map(|address| record(table, address.as_str())));
        let decoy = *self.decoy.lock().unwrap_or_else(PoisonError::into_inner);
        let decoy = list(decoy.iter().map(|id| record("mailbox", id.to_string())));
        let bound = bind([("addresses", keys("address")), ("aliases", keys("alias")), ("decoy", decoy)]);
        let mut answer = Fields::of("address", self.calls.read(query, bound).await?)?;
        let mut found = HashMap::new();
        for alias in many("alias", answer.take("aliases"), codec::read_alias)? {
            found.insert(alias.address.clone(), AddressRow::Alias(alias));
        }
        for mut row in rows("mailbox", answer.take("mailboxes"))? {
            let mailbox = codec::read_mailbox(&mut row)?.mailbox;
            *self.decoy.lock().unwrap_or_else(PoisonError::into_inner) = Some(mailbox.id);
            found.insert(mailbox.address.clone(), AddressRow::Mailbox(mailbox));
        }
        Ok(addresses.iter().map(|address| found.get(address).cloned()).collect())
    }

    async fn credential(&self, mailbox: MailboxId) -> Result<Option<PasswordRecord>> {
        let key = record("credential", mailbox.to_string());
        let value = self.calls.read("SELECT * FROM $id", bind([("id", key)])).await?;
        one("credential", value, |mut row| {
            Ok(PasswordRecord { argon2: row.text("argon2")?, scram_sealed: row.bytes("scram_sealed")? })
        })
    }

    async fn mailbox_states(&self, ids: &[MailboxId]) -> Result<Vec<Option<MailboxState>>> {
        let mut bound = bind([("mailboxes", list(ids.iter().map(|id| record("mailbox", id.to_string()))))]);
        let mut folders = String::new();
        for (n, id) in ids.iter().enumerate() {
            let separator = if n == 0 { "" } else { ", " };
            folders.push_str(&format!("{separator}$f{n}"));
            bound.insert(format!("f{n}"), all_of("folder", id.0));
        }
        let query = format!(
            "RETURN {{
                mailboxes: (SELECT *, domain.quota_mailbox_bytes AS domain_quota FROM $mailboxes),
                folders: (SELECT * FROM {folders})
            }}"
        );
        let mut answer = Fields::of("mailbox", self.calls.read(query, bound).await?)?;
        let mut states = HashMap::new();
        for mut row in rows("mailbox", answer.take("mailboxes"))? {
            let domain_quota_bytes = row.optional_int("domain_quota")?;
            let row = codec::read_mailbox(&mut row)?;
            let state = MailboxState { row, folders: Vec::new(), domain_quota_bytes };
            states.insert(state.row.mailbox.id, state);
        }
        for row in rows("folder", answer.take("folders"))? {
            let folder = codec::read_folder(row)?;
            if let Some(state) = states.get_mut(&folder.mailbox) {
                state.folders.push(folder);
            }
        }
        Ok(ids.iter().map(|id| states.remove(id)).collect())
    }

    async fn subscriptions(&self, mailbox: MailboxId) -> Result<Vec<String>> {
        let bound = bind([("all", all_of("subscription", mailbox.0))]);
        let value = self.calls.read("SELECT id FROM $all", bound).await?;
        let mut names = many("subscription", value, |mut row| match row.key_pair()? {
            (_, Value::String(name)) => Ok(name),
            _ => Err(corrupt("subscription", "id")),
        })?;
        names.sort_unstable();
        Ok(names)
    }

    async fn folder_mailbox(&self, folder: FolderId) -> Result<Option<MailboxId>> {
        let key = record("folder_owner", folder.to_string());
        let value = self.calls.read("SELECT * FROM $id", bind([("id", key)])).await?;
        one("folder_owner", value, |mut row| Ok(MailboxId(row.id("mailbox")?)))
    }

    async fn folder(
        &self,
        mailbox: MailboxId,
        folder: FolderId,
        select: Select,
    ) -> Result<Option<FolderRead>> {
        let rows_wanted = match select {
            Select::None => list([]),
            Select::All => all_of("message", folder.0),
            Select::Uids(uids) => {
                let uids: BTreeSet<u32> = uids.into_iter().collect();
                list(uids.into_iter().map(|uid| codec::message_key(folder, uid)))
            }
        };
        let bound = bind([
            ("mailbox", record("mailbox", mailbox.to_string())),
            ("folder", codec::folder_key(mailbox, folder)),
            ("rows", rows_wanted),
        ]);
        let mut answer = Fields::of("folder", self.calls.read(FOLDER, bound).await?)?;
        let mailbox = one("mailbox", answer.take("mailbox"), |mut row| codec::read_mailbox(&mut row))?;
        let folder = one("folder", answer.take("folder"), codec::read_folder)?;
        let (Some(mailbox), Some(folder)) = (mailbox, folder) else { return Ok(None) };
        let mut rows = many("message", answer.take("rows"), codec::read_message)?;
        rows.sort_unstable_by_key(|row| row.uid);
        Ok(Some(FolderRead { mailbox, folder, rows }))
    }

    async fn changes(
        &self,
        mailbox: MailboxId,
        folder: FolderId,
        modseq: u64,
    ) -> Result<Option<(FolderInfo, Vec<Row>, Vec<u32>)>> {
        let later = range2("expunged", &id(folder.0), Bound::Excluded(int(modseq)), Bound::Unbounded);
        let bound = bind([
            ("folder", codec::folder_key(mailbox, folder)),
            ("rows", all_of("message", folder.0)),
            ("gone", later),
            ("modseq", int(modseq)),
        ]);
        let mut answer = Fields::of("folder", self.calls.read(CHANGES, bound).await?)?;
        let Some(folder) = one("folder", answer.take("folder"), codec::read_folder)? else { return Ok(None) };
        let mut rows = many("message", answer.take("rows"), codec::read_message)?;
        rows.sort_unstable_by_key(|row| row.uid);
        let mut gone = Vec::new();
        for uids in answer.list("gone")? {
            let Value::Array(uids) = uids else { return Err(corrupt("expunged", "uids")) };
            for uid in uids.iter() {
                gone.push(as_int("expunged", uid)?);
            }
        }
        gone.sort_unstable();
        Ok(Some((folder, rows, gone)))
    }

    async fn meta(
        &self,
        mailbox: MailboxId,
        folder: FolderId,
        uids: RangeInclusive<u32>,
    ) -> Result<Option<Vec<(u32, Vec<u8>)>>> {
        let bounds = |uid: &u32| Bound::Included(int(u64::from(*uid)));
        let wanted = if uids.is_empty() {
            list([])
        } else {
            range2("message", &id(folder.0), bounds(uids.start()), bounds(uids.end()))
        };
        let bound = bind([
            ("mailbox", id(mailbox.0)),
            ("folder", codec::folder_key(mailbox, folder)),
            ("rows", wanted),
        ]);
        let mut answer = Fields::of("meta", self.calls.read(META, bound).await?)?;
        if answer.list("folder")?.is_empty() {
            return Ok(None);
        }
        let mut meta = many("meta", answer.take("rows"), |mut row| {
            let (_, uid) = row.key_pair()?;
            Ok((as_int("meta", &uid)?, row.bytes("meta")?))
        })?;
        meta.sort_unstable_by_key(|(uid, _)| *uid);
        Ok(Some(meta))
    }

    async fn objects(
        &self,
        mailbox: MailboxId,
        messages: &[MessageId],
    ) -> Result<Vec<(MessageId, u32, u64)>> {
        let ids = list(messages.iter().map(|message| codec::object_key(mailbox, *message)));
        let value = self.calls.read("SELECT id, refs, size FROM $ids", bind([("ids", ids)])).await?;
        many("object", value, |mut row| {
            let (_, message) = row.key_pair()?;
            Ok((MessageId(as_id("object", &message)?), row.int("refs")?, row.int("size")?))
        })
    }

    async fn messages(&self, mailbox: MailboxId) -> Result<Vec<MessageId>> {
        let bound = bind([("all", all_of("object", mailbox.0))]);
        let value = self.calls.read("SELECT id FROM $all", bound).await?;
        let mut ids = many("object", value, |mut row| {
            let (_, message) = row.key_pair()?;
            Ok(MessageId(as_id("object", &message)?))
        })?;
        ids.sort_unstable();
        Ok(ids)
    }

    async fn now(&self) -> Result<Timestamp> {
        if let Some(clock) = &self.clock {
            return Ok(clock.now());
        }
        let value = self.calls.read("RETURN time::millis(time::now())", Variables::new()).await?;
        Ok(Timestamp(as_int("now", &value)?))
    }

    async fn due(
        &self,
        org: OrgId,
        now: Timestamp,
        lease_ended: Timestamp,
        limit: usize,
    ) -> Result<Vec<DueKey>> {
        // From the first of the organisation to behind every job of that millisecond.
        let first = key2(id(org.0), Value::None);
        let last = key3(id(org.0), signed(now.0), highest());
        let bound = bind([
            ("rows", range("due", Bound::Included(first), Bound::Included(last))),
            ("ended", signed(lease_ended.0)),
            ("limit", int(limit as u64)),
        ]);
        let mut due = many("due", self.calls.read(DUE, bound).await?, codec::read_due)?;
        due.sort_unstable();
        Ok(due)
    }

    async fn due_org_after(&self, org: Option<OrgId>) -> Result<Option<OrgId>> {
        let from = org.map_or(Bound::Unbounded, |org| Bound::Excluded(key2(id(org.0), highest())));
        let value = self.first(range("due", from, Bound::Unbounded), 1).await?;
        Ok(one("due", value, codec::read_due)?.map(|key| key.org))
    }

    async fn due_first(&self, org: OrgId) -> Result<Option<Timestamp>> {
        let value = self.first(all_of("due", org.0), 1).await?;
        Ok(one("due", value, codec::read_due)?.map(|key| key.at))
    }

    async fn jobs(&self, ids: &[JobId]) -> Result<Vec<JobRow>> {
        let ids = list(ids.iter().map(|id| record("outbound_queue", id.to_string())));
        let value = self.calls.read("SELECT * FROM $ids", bind([("ids", ids)])).await?;
        many("job", value, jobs::read_job)
    }

    async fn jobs_oldest(&self, limit: usize) -> Result<Vec<JobRow>> {
        let query = "SELECT * FROM outbound_queue ORDER BY created, id LIMIT $limit";
        let limit = bind([("limit", int(limit as u64))]);
        many("job", self.calls.read(query, limit).await?, jobs::read_job)
    }

    async fn jobs_held(&self, org: OrgId, limit: usize) -> Result<Vec<JobRow>> {
        let query = "SELECT * FROM outbound_queue WHERE state = 'held' AND org = $org LIMIT $limit";
        let bound = bind([("org", id(org.0)), ("limit", int(limit as u64))]);
        many("job", self.calls.read(query, bound).await?, jobs::read_job)
    }

    async fn jobs_ended(&self, before: Timestamp, limit: usize) -> Result<Vec<JobRow>> {
        let query = "SELECT * FROM outbound_queue
            WHERE state IN ['dead', 'cancelled'] AND updated < $before LIMIT $limit";
        let bound = bind([("before", signed(before.0)), ("limit", int(limit as u64))]);
        many("job", self.calls.read(query, bound).await?, jobs::read_job)
    }

    async fn deliveries(&self, job: JobId) -> Result<Vec<DeliveryRecord>> {
        let bound = bind([("all", all_of("delivery", job.0))]);
        many("delivery", self.calls.read("SELECT * FROM $all", bound).await?, codec::read_delivery)
    }

    async fn deliveries_between(&self, jobs: RangeInclusive<JobId>) -> Result<Vec<(JobId, DeliveryRecord)>> {
        let first = key2(id(jobs.start().0), Value::None);
        let last = key2(id(jobs.end().0), highest());
        let bound = bind([("all", range("delivery", Bound::Included(first), Bound::Included(last)))]);
        many("delivery", self.calls.read("SELECT * FROM $all", bound).await?, codec::read_delivery_of)
    }

    async fn clean_deliveries(&self, before: Timestamp) -> Result<u64> {
        self.clean("SELECT VALUE id FROM delivery WHERE at < $before LIMIT 1000", before).await
    }

    async fn log_after(&self, org: OrgId, number: u64, limit: usize) -> Result<Vec<LogRow>> {
        let rows = range2("api_log", &id(org.0), Bound::Excluded(int(number)), Bound::Unbounded);
        let value = self.first(rows, limit).await?;
        many("api_log", value, codec::read_log_entry)
    }

    async fn clean_log(&self, before: Timestamp) -> Result<u64> {
        self.clean("SELECT VALUE id FROM api_log WHERE at < $before LIMIT 1000", before).await
    }

    async fn queued_messages(&self) -> Result<Vec<(OrgId, MessageId)>> {
        let query = "SELECT org, message FROM outbound_queue WHERE state != 'cancelled'";
        let value = self.calls.read(query, Variables::new()).await?;
        let read = |mut row: Fields| Ok((OrgId(row.id("org")?), MessageId(row.id("message")?)));
        let messages: BTreeSet<_> = many("job", value, read)?.into_iter().collect();
        Ok(messages.into_iter().collect())
    }

    async fn slots(&self, keys: &[SlotKey]) -> Result<Vec<SlotRow>> {
        // Most addresses have no suppression, and are asked for with every message to them.
        let absent = |key: &SlotKey| match key {
            SlotKey::Suppression(_) if self.lately.is_alone() => {
                self.lately.absent.get(key, self.lately.age()).map_err(Some)
            }
            _ => Err(None),
        };
        let asked: Vec<_> = keys.iter().filter_map(|key| Some((key, absent(key).err()?))).collect();
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let ids = list(asked.iter().map(|(key, _)| slots::key(key)));
        let value = self.calls.read("SELECT * FROM $ids", bind([("ids", ids)])).await?;
        let found = many("slot", value, slots::read)?;
        for (key, since) in asked {
            if let Some(since) = since
                && !found.iter().any(|row| row.key == *key)
            {
                self.lately.absent.remember(since, key.clone(), ());
            }
        }
        Ok(found)
    }

    async fn slots_after(
        &self,
        table: SlotTable,
        after: Option<&SlotKey>,
        limit: usize,
    ) -> Result<Vec<SlotRow>> {
        let from = after.map_or(Bound::Unbounded, |key| Bound::Excluded(slots::parts(key)));
        let rows = range(slots::table_name(table), from, Bound::Unbounded);
        many("slot", self.first(rows, limit).await?, slots::read)
    }

    async fn policy(&self, domain: &str) -> Result<Option<StoredPolicy>> {
        let key = record("mta_sts", domain);
        let value = self.calls.read("SELECT * FROM $id", bind([("id", key)])).await?;
        one("mta_sts", value, codec::read_policy)
    }

    async fn policies_due(&self, now: Timestamp, limit: usize) -> Result<Vec<StoredPolicy>> {
        let query = "SELECT * FROM mta_sts WHERE refresh <= $now ORDER BY refresh, id LIMIT $limit";
        let bound = bind([("now", signed(now.0)), ("limit", int(limit as u64))]);
        many("mta_sts", self.calls.read(query, bound).await?, codec::read_policy)
    }

    async fn policies_expired(&self, before: Timestamp, limit: usize) -> Result<Vec<String>> {
        let query = "SELECT id FROM mta_sts WHERE expires < $before LIMIT $limit";
        let bound = bind([("before", signed(before.0)), ("limit", int(limit as u64))]);
        many("mta_sts", self.calls.read(query, bound).await?, |mut row| row.key_text())
    }

    async fn dav_owner(&self, mailbox: MailboxId) -> Result<Option<DavOwner>> {
        let bound = bind([("id", dav::owner_key(mailbox))]);
        one("dav_owner", self.calls.read("SELECT * FROM $id", bound).await?, dav::read_owner)
    }

    async fn dav_nodes(&self, keys: &[DavKey]) -> Result<Vec<DavNode>> {
        let ids = list(keys.iter().map(dav::node_key));
        many("dav", self.calls.read("SELECT * FROM $ids", bind([("ids", ids)])).await?, dav::read_node)
    }

    async fn dav_members(
        &self,
        of: (DavTable, MailboxId, u64),
        after: Option<Id>,
        limit: usize,
    ) -> Result<Vec<DavNode>> {
        let value = self.first(dav::members(of, after), limit).await?;
        many("dav", value, dav::read_node)
    }

    async fn dav_changes(&self, of: (DavTable, MailboxId, u64), since: u64) -> Result<Vec<(u64, DavKey)>> {
        let bound = bind([("rows", dav::members(of, None)), ("since", int(since))]);
        let value = self.calls.read("SELECT id, changed FROM $rows WHERE changed > $since", bound).await?;
        many("dav", value, |mut row| Ok((row.int("changed")?, dav::read_key(&mut row)?)))
    }

    async fn dav_texts(&self, mailbox: MailboxId, ids: &[u64]) -> Result<Vec<DavText>> {
        let ids = list(ids.iter().map(|id| dav::text_key(mailbox, *id)));
        many("dav_text", self.calls.read("SELECT * FROM $ids", bind([("ids", ids)])).await?, dav::read_text)
    }

    async fn dav_gone(&self, mailbox: MailboxId, parent: u64, since: u64) -> Result<Vec<DavGone>> {
        let rows = dav::gone_range(mailbox, parent, since.saturating_add(1), u64::MAX);
        many(
            "dav_gone",
            self.calls.read("SELECT * FROM $rows", bind([("rows", rows)])).await?,
            dav::read_gone,
        )
    }

    async fn dav_uids(&self, mailbox: MailboxId, uid: Id) -> Result<Vec<DavKey>> {
        let bound = bind([("rows", dav::uids(mailbox, uid))]);
        many("dav_uid", self.calls.read("SELECT * FROM $rows", bound).await?, dav::read_uid)
    }

    async fn dav_mails(&self, limit: usize) -> Result<Vec<DavMail>> {
        let bound = bind([("limit", int(limit as u64))]);
        many("dav_mail", self.calls.read("SELECT * FROM dav_mail LIMIT $limit", bound).await?, dav::read_mail)
    }

    async fn dav_used(&self, mailbox: MailboxId) -> Result<u64> {
        let mut bound = Variables::new();
        let mut names = Vec::new();
        for (n, table) in DavTable::ALL.into_iter().enumerate() {
            names.push(format!("$t{n}"));
            bound.insert(format!("t{n}"), all_of(table.name(), mailbox.0));
        }
        let query = format!("RETURN math::sum(SELECT VALUE size FROM {})", names.join(", "));
        as_int("dav", &self.calls.read(query, bound).await?)
    }
}

impl SurrealRows {
    async fn first(&self, rows: Value, limit: usize) -> Result<Value> {
        self.calls.read(FIRST, bind([("rows", rows), ("limit", int(limit as u64))])).await
    }

    async fn domain_now(&self, name: &str) -> Result<Option<Domain>> {
        let key = record("has_domain", name);
        let value = self.calls.read("SELECT * FROM $id", bind([("id", key)])).await?;
        one("has_domain", value, codec::read_edge)
    }

    /// Removes the rows whose IDs a query answers with, for as long as there are any; how many.
    async fn clean(&self, query: &'static str, before: Timestamp) -> Result<u64> {
        let mut cleaned = 0;
        loop {
            let value = self.calls.read(query, bind([("before", signed(before.0))])).await?;
            let count = match &value {
                Value::Array(ids) => ids.len() as u64,
                _ => return Err(corrupt("rows to be cleaned", "the list")),
            };
            if count == 0 {
                return Ok(cleaned);
            }
            let outcome = self.calls.transaction("DELETE $ids RETURN NONE;\n", bind([("ids", value)])).await;
            match outcome {
                Ok(()) => cleaned += count,
                // Another instance is cleaning the same rows.
                Err(ApplyError::Stale) => self.calls.pause(1).await,
                Err(other) => return Err(Error::from(other)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surreal::{SurrealOptions, SurrealStore};

    #[test]
    fn q14_the_engine_takes_the_limit_of_a_range_into_its_scan() {
        futures_lite::future::block_on(async {
            let store = SurrealStore::open(SurrealOptions::memory()).await.unwrap();
            let read = async |text: &str| {
                let rows = range("due", Bound::Unbounded, Bound::Unbounded);
                let bound = bind([("rows", rows), ("limit", int(1)), ("ended", signed(0))]);
                format!("{:?}", store.rows().calls.read(format!("{text} EXPLAIN"), bound).await.unwrap())
            };
            // An operator of its own, behind a scan of all there is.
            let cut_off = "\"operator\": String(\"Limit\")";
            assert!(read("SELECT * FROM $rows LIMIT $limit").await.contains(cut_off));
            for text in [FIRST, DUE] {
                let plan = read(text).await;
                assert!(plan.contains("\"limit\"") && !plan.contains(cut_off), "{plan}");
            }
        });
    }
}
