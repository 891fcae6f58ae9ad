//! Rows against objects: at start, every day, and when an administrator asks.
//!
//! The database is not trusted alone with accepted mail: after some kinds of damage it opens without its
//! newest transactions and without a word. Every object says what it was accepted for, so rows that are
//! missing can be made again. An object without a row is one of three things: on its way to its row (this
//! process knows which), left over from a refusal, a deletion or a crash, or all that remains of an accepted
//! message. The last is sure when the object carries the mark that its rows were committed and is about as new
//! as the newest that has a row, or newer: what a database loses is its end. One without the mark was under way
//! when the last process was killed: its sender was not told 250 and comes again, so giving it rows would
//! deliver it twice. Only where the database is seen to have lost something, or marks are not kept, is it
//! given rows all the same: twice is better than never.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use protocol_core::Timestamp;

use crate::error::{Error, Result};
use crate::facade::{Inner, Storage, now};
use crate::keys;
use crate::objects::{Envelope, Listed, Object, ObjectKey, ObjectPart, Place};
use crate::types::*;

/// How long an object without a row is kept.
pub const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3600);
/// A queued message is not queued again when it is older: nobody waits for it any more.
pub const REQUEUE_AGE: Duration = Duration::from_secs(5 * 24 * 3600);
/// Objects looked at when storage opens; more when the older half of them has no rows.
const NEWEST: usize = 512;
/// Acceptances under way at the same time may be committed in another order than they were numbered.
const DISORDER_US: u64 = 600 * 1_000_000;

/// What the comparison at start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartReport {
    /// Objects looked at.
    pub examined: u64,
    /// Objects as new as the newest rows, or newer, that had no row: what the database lost, or what was
    /// under way when the last process ended.
    pub missing: Vec<ObjectKey>,
    /// How many of these have rows again.
    pub restored: u64,
    /// Objects as new that were never acknowledged; they are collected in a day.
    pub unacknowledged: u64,
    /// Objects that could not be read.
    pub damaged: Vec<ObjectKey>,
}

/// What a check found, and did when it was to repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Mailboxes looked at.
    pub mailboxes: u64,
    /// Stored messages looked at.
    pub messages: u64,
    /// Objects found.
    pub objects: u64,
    /// Messages and queued messages whose object is missing: loss.
    pub without_object: Vec<ObjectKey>,
    /// Objects that are not what was written. They are never removed.
    pub damaged: Vec<ObjectKey>,
    /// Objects without a row that are younger than a day.
    pub leftovers_young: u64,
    /// Objects without a row that are older.
    pub leftovers_old: Vec<ObjectKey>,
    /// Objects of organisations that the database does not know. They are never removed.
    pub strangers: u64,
    /// Counters that do not agree with their rows, one line each; a repair puts them right.
    pub counters: Vec<String>,
    /// Objects that were given rows again.
    pub restored: u64,
    /// Objects without rows that were removed.
    pub removed: u64,
}

impl CheckReport {
    /// Nothing is lost, damaged or wrong; leftovers are no fault.
    pub fn is_clean(&self) -> bool {
        self.without_object.is_empty()
            && self.damaged.is_empty()
            && self.counters.is_empty()
            && self.strangers == 0
    }
}

/// What the database says.
struct Known {
    messages: HashMap<(OrgId, Option<MailboxId>), HashSet<MessageId>>,
    mailboxes: HashMap<MailboxId, Mailbox>,
    orgs: HashSet<OrgId>,
}

impl Known {
    fn has(&self, key: &ObjectKey) -> bool {
        self.messages.get(&(key.org, key.mailbox)).is_some_and(|messages| messages.contains(&key.message))
    }
}

impl Storage {
    /// Compares rows and objects, reading every object through. With `repair`, an intact object without a row
    /// is given its rows again where its mailbox exists; other objects without rows that are older than a day
    /// are removed; wrong counters are put right. May run while mail arrives.
    pub async fn check(&self, repair: bool) -> Result<CheckReport> {
        self.durable(async move |inner| inner.check(repair).await).await
    }

    /// Removes objects without rows that are older than a day; how many. Does nothing when the comparison at
    /// start found something missing that could not be restored: it may be all that is left.
    pub async fn collect(&self) -> Result<u64> {
        self.collect_at(now()).await
    }

    pub(crate) async fn collect_at(&self, now: Timestamp) -> Result<u64> {
        let start = self.start_report();
        if start.restored < start.missing.len() as u64 {
            tracing::error!("objects are not collected: the database lacks rows that it had; run a check");
            return Ok(0);
        }
        self.durable(async move |inner| {
            if let Err(error) = inner.blobs.sweep().await {
                tracing::warn!(%error, "what was begun and not ended could not be removed yet");
            }
            let listed = inner.blobs.list("msg/").await?;
            let orphans = inner.orphans(&listed).await?.0;
            let old: Vec<ObjectKey> =
                orphans.iter().filter(|o| age(o, now) > LEFTOVER_AGE).map(|o| o.key).collect();
            inner.delete_objects(&old).await;
            let parts = inner.leftover_parts(|_| {}).await?;
            let parts: Vec<ObjectKey> =
                parts.iter().filter(|o| age(o, now) > LEFTOVER_AGE).map(|o| o.key).collect();
            inner.delete_objects(&parts).await;
            Ok((old.len() + parts.len()) as u64)
        })
        .await
    }

    pub(crate) async fn compare_at_start(&self) -> Result<()> {
        // With several processes on one database, objects without rows are somebody's work under way.
        if !self.inner.alone() {
            return Ok(());
        }
        let report = self.durable(async move |inner| inner.compare().await).await?;
        for key in &report.damaged {
            tracing::error!(object = %key, "an object is damaged");
        }
        if !report.missing.is_empty() {
            tracing::error!(
                missing = report.missing.len(),
                restored = report.restored,
                "the database lacks rows of its newest messages: it was damaged"
            );
        }
        if report.unacknowledged > 0 {
            tracing::info!(
                messages = report.unacknowledged,
                "the last process ended while messages were stored; they were not acknowledged and are left out"
            );
        }
        let _ = self.inner.start.set(report);
        Ok(())
    }
}

impl Inner {
    async fn compare(self: &Arc<Self>) -> Result<StartReport> {
        let mut report = StartReport::default();
        let mut n = NEWEST;
        let (newest, known) = loop {
            let newest = self.blobs.newest(n).await?;
            let named: HashSet<MailboxId> = newest.iter().filter_map(|o| o.key.mailbox).collect();
            let known = self.known(|mailbox| named.contains(&mailbox)).await?;
            let older_half = newest.iter().skip(newest.len() / 2);
            if newest.len() < n || older_half.clone().all(|object| known.has(&object.key)) {
                break (newest, known);
            }
            n = n.saturating_mul(8);
        };
        report.examined = newest.len() as u64;
        // The list is by age; numbers follow age but for a little disorder.
        let mut highest_known = 0;
        for object in newest.iter().filter(|object| known.has(&object.key)).take(16) {
            match self.open_object(object.key).await {
                Ok(open) => highest_known = highest_known.max(open.envelope().sequence),
                Err(Error::Corrupt(_)) => report.damaged.push(object.key),
                Err(error) => tracing::warn!(%error, object = %object.key, "an object cannot be opened"),
            }
        }
        self.sequence_seen(highest_known);
        let unmarked = |object: &&Listed| object.confirmed == Some(false);
        let with_rows = newest.iter().filter(|object| known.has(&object.key));
        let late: Vec<ObjectKey> = with_rows.filter(unmarked).map(|object| object.key).collect();
        let marks_kept = newest.iter().any(|object| object.confirmed == Some(true))
            || self.blobs.marks_from_the_start().await;
        // Marked ones first: they tell whether the others can be trusted to be nobody's.
        let mut orphans: Vec<&Listed> = newest.iter().filter(|object| !known.has(&object.key)).collect();
        orphans.sort_by_key(|object| object.confirmed == Some(false));
        for object in orphans {
            let open = match self.open_object(object.key).await {
                Ok(open) => open,
                Err(Error::Corrupt(_)) => {
                    report.damaged.push(object.key);
                    continue;
                }
                Err(_) => {
                    // Its organisation is not known, or went: nothing can be made of it here.
                    report.missing.push(object.key);
                    continue;
                }
            };
            self.sequence_seen(open.envelope().sequence);
            if open.envelope().sequence.saturating_add(DISORDER_US) >= highest_known {
                if marks_kept && unmarked(&object) && report.missing.is_empty() {
                    report.unacknowledged += 1;
                    continue;
                }
                match self.restore(open, &known).await? {
                    Restored::Settled => continue,
                    Restored::Yes => report.restored += 1,
                    Restored::No => {}
                }
                report.missing.push(object.key);
            }
        }
        if !report.missing.is_empty() {
            // Where rows went, what counted them may have stayed.
            for mailbox in known.mailboxes.values() {
                self.settle(self.store.recount(mailbox.id).await)?;
            }
        }
        // The last process ended between their commit and their mark, or was too old to make marks.
        self.confirm(&late).await;
        Ok(report)
    }

    async fn check(self: &Arc<Self>, repair: bool) -> Result<CheckReport> {
        let listed = self.blobs.list("msg/").await?;
        let (orphans, known) = self.orphans(&listed).await?;
        let mut report = CheckReport {
            objects: listed.len() as u64,
            mailboxes: known.mailboxes.len() as u64,
            strangers: listed.iter().filter(|o| !known.orgs.contains(&o.key.org)).count() as u64,
            ..CheckReport::default()
        };
        for ((org, mailbox), messages) in &known.messages {
            for message in messages {
                report.messages += 1;
                self.check_object(
                    ObjectKey { org: *org, mailbox: *mailbox, message: *message, part: ObjectPart::Message },
                    &mut report,
                )
                .await?;
            }
        }
        self.check_parts(repair, &mut report).await?;
        for mailbox in known.mailboxes.values() {
            let faults = report.counters.len();
            self.check_counters(mailbox, &mut report).await?;
            if repair && report.counters.len() > faults {
                self.settle(self.store.recount(mailbox.id).await)?;
            }
        }
        // The body of a settled job may be left over with its mark: it tells nothing about the database.
        let lost = orphans.iter().any(|o| o.confirmed == Some(true) && o.key.mailbox.is_some());
        let marks_kept = listed.iter().any(|object| object.confirmed == Some(true))
            || self.blobs.marks_from_the_start().await;
        for orphan in orphans {
            let restore = orphan.confirmed != Some(false) || lost || !marks_kept;
            self.check_orphan(&orphan, &known, restore, repair, &mut report).await?;
        }
        Ok(report)
    }

    async fn check_object(&self, key: ObjectKey, report: &mut CheckReport) -> Result<()> {
        let outcome = match self.open_object(key).await {
            Ok(mut object) => object.verify().await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(Error::Corrupt(_)) => {
                report.damaged.push(key);
                Ok(())
            }
            Err(Error::NotFound) => {
                // It may have been deleted, row first, since the rows were read.
                if self.rows_of(key.org, key.mailbox).await?.contains(&key.message) {
                    report.without_object.push(key);
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Parts that lie beside messages: each is intact, and has its message.
    async fn check_parts(self: &Arc<Self>, repair: bool, report: &mut CheckReport) -> Result<()> {
        let mut whole = Vec::new();
        let alone = self.leftover_parts(|key| whole.push(key)).await?;
        report.objects += whole.len() as u64;
        for key in whole {
            self.check_object(key, report).await?;
        }
        for object in alone {
            if age(&object, now()) <= LEFTOVER_AGE {
                report.leftovers_young += 1;
            } else if repair {
                self.delete_objects(&[object.key]).await;
                report.removed += 1;
            } else {
                report.leftovers_old.push(object.key);
            }
        }
        Ok(())
    }

    /// Parts whose message is not there.
    async fn leftover_parts(&self, mut seen: impl FnMut(ObjectKey)) -> Result<Vec<Listed>> {
        let mut listed = self.blobs.list("att/").await?;
        listed.extend(self.blobs.list("part/").await?);
        let mut rows: HashMap<(OrgId, Option<MailboxId>), HashSet<MessageId>> = HashMap::new();
        let mut left = Vec::new();
        for object in listed {
            let place = (object.key.org, object.key.mailbox);
            if let std::collections::hash_map::Entry::Vacant(unknown) = rows.entry(place) {
                unknown.insert(self.rows_of(place.0, place.1).await?);
            }
            let has_row = rows.get(&place).is_some_and(|rows| rows.contains(&object.key.message));
            if has_row {
                seen(object.key);
            } else if !self.is_in_flight(&object.key) {
                left.push(object);
            }
        }
        Ok(left)
    }

    async fn check_counters(&self, mailbox: &Mailbox, report: &mut CheckReport) -> Result<()> {
        let mut sizes: HashMap<MessageId, u64> = HashMap::new();
        let folders = match self.store.folders(mailbox.id).await {
            Err(Error::NotFound) => return Ok(()),
            other => other?,
        };
        for folder in folders {
            let (info, rows) = match self.store.load_folder(folder.id).await {
                Err(Error::NotFound) => continue,
                other => other?,
            };
            let unseen = rows.iter().filter(|row| !row.flags.contains(Flags::SEEN)).count() as u64;
            for (what, counter, found) in [
                ("messages", u64::from(info.messages), rows.len() as u64),
                ("unseen messages", u64::from(info.unseen), unseen),
                ("octets", info.size, rows.iter().map(|row| row.size).sum()),
            ] {
                if counter != found {
                    let name = &info.name;
                    report
                        .counters
                        .push(format!("{} {name}: {counter} {what} counted, {found} there", mailbox.address));
                }
            }
            sizes.extend(rows.iter().map(|row| (row.message, row.size)));
        }
        let found = sizes.values().sum::<u64>().saturating_add(self.store.dav_used(mailbox.id).await?);
        let now = self.store.mailbox(mailbox.id).await?.used_bytes;
        // A mailbox that changes meanwhile proves nothing.
        if found != now && now == mailbox.used_bytes {
            report.counters.push(format!("{}: {now} octets counted, {found} there", mailbox.address));
        }
        Ok(())
    }

    async fn check_orphan(
        self: &Arc<Self>,
        orphan: &Listed,
        known: &Known,
        restore: bool,
        repair: bool,
        report: &mut CheckReport,
    ) -> Result<()> {
        let old = age(orphan, now()) > LEFTOVER_AGE;
        let opened = match self.open_object(orphan.key).await {
            Ok(mut object) => object.verify().await.map(|()| object),
            Err(error) => Err(error),
        };
        match opened {
            Err(Error::Corrupt(_)) => {
                report.damaged.push(orphan.key);
                return Ok(());
            }
            Err(Error::NotFound) => return Ok(()),
            // Another process may be about to commit its row while it is young.
            Ok(object) if repair && restore && (old || self.alone()) => {
                if let Restored::Yes = self.restore(object, known).await? {
                    report.restored += 1;
                    return Ok(());
                }
            }
            other => drop(other?),
        }
        match (old, repair) {
            (false, _) => report.leftovers_young += 1,
            (true, false) => report.leftovers_old.push(orphan.key),
            (true, true) => {
                self.delete_objects(&[orphan.key]).await;
                report.leftovers_old.push(orphan.key);
                report.removed += 1;
            }
        }
        Ok(())
    }

    /// Objects without rows that nobody is writing, of organisations that are known; and what the database says.
    async fn orphans(&self, listed: &[Listed]) -> Result<(Vec<Listed>, Known)> {
        // The order matters: an object that is neither in flight now nor has a row after this moment was
        // listed after its acceptance ended.
        let idle: Vec<Listed> = listed.iter().filter(|o| !self.is_in_flight(&o.key)).copied().collect();
        let known = self.known(|_| true).await?;
        let orphan = |o: &Listed| known.orgs.contains(&o.key.org) && !known.has(&o.key);
        Ok((idle.into_iter().filter(orphan).collect(), known))
    }

    /// Rows of the mailboxes that are wanted, and of every queue.
    async fn known(&self, wanted: impl Fn(MailboxId) -> bool) -> Result<Known> {
        let orgs: HashSet<OrgId> = self.store.list_orgs().await?.into_iter().map(|org| org.id).collect();
        let all = self.store.list_mailboxes().await?;
        let mailboxes: HashMap<MailboxId, Mailbox> = all.into_iter().map(|m| (m.id, m)).collect();
        let mut known = Known { messages: HashMap::new(), mailboxes, orgs };
        for mailbox in known.mailboxes.values().filter(|mailbox| wanted(mailbox.id)) {
            let rows = self.rows_of(mailbox.org, Some(mailbox.id)).await?;
            known.messages.insert((mailbox.org, Some(mailbox.id)), rows);
        }
        for (org, message) in self.store.queued_messages().await? {
            known.messages.entry((org, None)).or_default().insert(message);
        }
        Ok(known)
    }

    pub(crate) async fn rows_of(&self, org: OrgId, mailbox: Option<MailboxId>) -> Result<HashSet<MessageId>> {
        match mailbox {
            Some(mailbox) => match self.store.messages(mailbox).await {
                Ok(messages) => Ok(messages.into_iter().collect()),
                Err(Error::NotFound) => Ok(HashSet::new()),
                Err(error) => Err(error),
            },
            None => {
                let queued = self.store.queued_messages().await?;
                Ok(queued.into_iter().filter(|(of, _)| *of == org).map(|(_, message)| message).collect())
            }
        }
    }

    /// Makes an object's rows again from what it says of itself.
    async fn restore(self: &Arc<Self>, object: Object, known: &Known) -> Result<Restored> {
        let (key, envelope) = (object.key(), object.envelope().clone());
        let commit = match (&envelope.place, key.mailbox) {
            (Place::Folder { .. }, Some(mailbox)) => match known.mailboxes.get(&mailbox) {
                Some(mailbox) if mailbox.org == key.org => self.row_again(key, mailbox, &envelope).await?,
                _ => return Ok(Restored::No),
            },
            (Place::Queue { jobs }, None) => {
                let mut again = Vec::with_capacity(jobs.len());
                for job in jobs {
                    let Some(job) = job.to_job(key.org, key.message, envelope.len) else {
                        return Ok(Restored::No);
                    };
                    match self.store.job(job.id).await {
                        // It was settled or cancelled: only its body was not yet deleted.
                        Ok(_) => return Ok(Restored::Settled),
                        Err(Error::NotFound) => again.push(job),
                        Err(error) => return Err(error),
                    }
                }
                if now().since(Timestamp(envelope.received_ms)) > REQUEUE_AGE {
                    return Ok(Restored::No);
                }
                Commit { rows: Vec::new(), jobs: again, ..Commit::default() }
            }
            // Nobody was told that it is kept, or it was removed: it says nothing about the database.
            (Place::File, _) => return Ok(Restored::Settled),
            _ => return Ok(Restored::No),
        };
        let _flight = self.begin_flight(vec![key]);
        match self.settle(self.writer.write(commit).await) {
            Ok(_) => {
                self.confirm(&[key]).await;
                tracing::warn!(object = %key, "a message without a row has its row again");
                Ok(Restored::Yes)
            }
            Err(Error::Refused(why)) => {
                tracing::error!(object = %key, %why, "a message without a row cannot be restored");
                Ok(Restored::No)
            }
            Err(error) => Err(error),
        }
    }

    async fn row_again(&self, key: ObjectKey, mailbox: &Mailbox, envelope: &Envelope) -> Result<Commit> {
        let Place::Folder { folder, internal_date_ms, flags, keywords } = &envelope.place else {
            return Ok(Commit::default());
        };
        let folders = self.store.folders(mailbox.id).await?;
        let wanted = folder.as_deref().and_then(FolderId::parse);
        let folder = match wanted.filter(|id| folders.iter().any(|folder| folder.id == *id)) {
            Some(id) => FolderTarget::Id(id),
            None => FolderTarget::Use(SpecialUse::Inbox),
        };
        let tenant = self.tenant_of(key.org, key.mailbox).await?;
        let meta = tenant.seal_meta(mailbox.id, key.message, &envelope.meta)?;
        let row = NewRow {
            mailbox: mailbox.id,
            folder,
            message: key.message,
            size: envelope.len,
            internal_date: Timestamp(*internal_date_ms),
            flags: NamedFlags { system: Flags(*flags), keywords: keywords.clone() },
            meta: keys::with_wrapped_key(meta, envelope.wrapped_key.as_deref()),
            check_quota: false,
        };
        Ok(Commit { rows: vec![row], jobs: Vec::new(), ..Commit::default() })
    }
}

enum Restored {
    Yes,
    No,
    /// It needs no rows any more.
    Settled,
}

fn age(object: &Listed, now: Timestamp) -> Duration {
    let modified = object.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.since(Timestamp(i64::try_from(modified.as_millis()).unwrap_or(i64::MAX)))
}
