//! The in-memory reference implementation: plain maps behind one lock, with faults to inject.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeInclusive};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol_core::Timestamp;

use crate::api::LogRow;
use crate::dav::memory::DavTables;
use crate::dav::{DavGone, DavKey, DavMail, DavNode, DavOwner, DavTable, DavText};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::rows::*;
use crate::slots::{Slot, SlotKey, SlotRow, SlotTable};
use crate::types::*;

/// A fault to inject into one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is applied; the answer is [`Error::Unavailable`].
    Before,
    /// Everything is applied; the answer is [`Error::OutcomeUnknown`].
    After,
}

/// Asked before each write, with the name of the method of the [`Store`](crate::Store) that makes it.
pub type FaultHook = Box<dyn Fn(&'static str) -> Option<Fault> + Send + Sync>;

/// A [`Store`](crate::Store) in memory; lost when dropped.
pub type MemoryStore = Engine<MemoryRows>;

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Engine::over(MemoryRows::default())
    }

    /// An empty store whose writes fail as `hook` says.
    pub fn with_faults(hook: FaultHook) -> Self {
        let store = Self::new();
        store.inject(Some(hook));
        store
    }

    /// Sets the store's clock, which then stands still; none: it is the system's again.
    pub fn set_now(&self, now: Option<Timestamp>) {
        *lock(&self.rows().clock) = now;
    }

    /// Sets or removes the source of faults.
    pub fn inject(&self, hook: Option<FaultHook>) {
        *lock(&self.rows().hook) = hook;
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

/// The maps of a [`MemoryStore`]. A clone shows the same maps.
#[derive(Clone, Default)]
pub struct MemoryRows {
    tables: Arc<Mutex<Tables>>,
    hook: Arc<Mutex<Option<FaultHook>>>,
    clock: Arc<Mutex<Option<Timestamp>>>,
}

#[derive(Clone, Default)]
struct Tables {
    closed: bool,
    directory_rev: u64,
    orgs: BTreeMap<OrgId, OrgRow>,
    domains: BTreeMap<String, Domain>,
    aliases: BTreeMap<String, Alias>,
    addresses: BTreeMap<String, MailboxId>,
    mailboxes: BTreeMap<MailboxId, MailboxRow>,
    administrators: BTreeSet<(OrgId, MailboxId)>,
    credentials: BTreeMap<MailboxId, PasswordRecord>,
    folders: BTreeMap<FolderId, FolderInfo>,
    mailbox_folders: BTreeSet<(MailboxId, FolderId)>,
    messages: BTreeMap<(FolderId, u32), Row>,
    expunged: BTreeMap<(FolderId, u64), Vec<u32>>,
    objects: BTreeMap<(MailboxId, MessageId), ObjectRow>,
    subscriptions: BTreeSet<(MailboxId, String)>,
    jobs: BTreeMap<JobId, JobRow>,
    due: BTreeSet<DueKey>,
    deliveries: BTreeMap<(JobId, u32), DeliveryRecord>,
    policies: BTreeMap<String, StoredPolicy>,
    slots: BTreeMap<SlotKey, (u64, Slot)>,
    log: BTreeMap<(OrgId, u64), LogRow>,
    dav: DavTables,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic of another test thread leaves the maps as they are: nothing here panics between two writes.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const LOWEST: Id = Id([0; 16]);

impl Tables {
    fn folders_of(&self, mailbox: MailboxId) -> impl Iterator<Item = FolderId> + '_ {
        self.mailbox_folders
            .range((mailbox, FolderId(LOWEST))..)
            .take_while(move |(owner, _)| *owner == mailbox)
            .map(|(_, folder)| *folder)
    }

    fn stale(&self, writes: &Writes) -> bool {
        let mailbox =
            |row: &MailboxRow| self.mailboxes.get(&row.mailbox.id).is_none_or(|stored| stored.rev != row.rev);
        let job = |row: &JobRow| self.jobs.get(&row.job.spec.id).is_none_or(|stored| stored.rev != row.rev);
        writes.directory_rev.is_some_and(|rev| rev != self.directory_rev)
            || writes.mailboxes.iter().chain(&writes.mailboxes_gone).any(mailbox)
            || writes.jobs.iter().chain(&writes.jobs_gone).any(job)
            || self.dav.is_stale(&writes.dav)
            || writes
                .slots
                .iter()
                .any(|write| self.slots.get(&write.key).map_or(0, |(rev, _)| *rev) != write.rev)
    }

    fn exists(&self, writes: &Writes) -> bool {
        let mut fresh = BTreeSet::new();
        let object = |o: &ObjectRow| {
            self.objects.contains_key(&(o.mailbox, o.message)) || !fresh.insert((o.mailbox.0, o.message.0))
        };
        let doubled = writes.objects_new.iter().any(object);
        let mut fresh = BTreeSet::new();
        let job = |j: &JobRow| {
            let id = j.job.spec.id;
            self.jobs.contains_key(&id) || !fresh.insert(id)
        };
        doubled || writes.jobs_new.iter().any(job)
    }

    fn remove_folder(&mut self, mailbox: MailboxId, folder: FolderId) {
        self.folders.remove(&folder);
        self.mailbox_folders.remove(&(mailbox, folder));
        self.messages.retain(|(f, _), _| *f != folder);
        self.expunged.retain(|(f, _), _| *f != folder);
    }

    fn remove_mailbox(&mut self, row: &MailboxRow) {
        let id = row.mailbox.id;
        self.objects.retain(|(owner, _), _| *owner != id);
        self.subscriptions.retain(|(owner, _)| *owner != id);
        self.dav.remove_mailbox(id);
        self.administrators.remove(&(row.mailbox.org, id));
        self.credentials.remove(&id);
        self.addresses.remove(&row.mailbox.address);
        self.mailboxes.remove(&id);
    }

    fn apply(&mut self, writes: Writes) {
        self.apply_directory(&writes);
        self.apply_mail(&writes);
        for row in writes.jobs_new.into_iter().chain(writes.jobs) {
            self.jobs.insert(row.job.spec.id, JobRow { rev: row.rev + 1, ..row });
        }
        for row in &writes.jobs_gone {
            self.jobs.remove(&row.job.spec.id);
        }
        for key in &writes.due_gone {
            self.due.remove(key);
        }
        self.due.extend(writes.due_new);
        let records = writes.deliveries.into_iter().chain(writes.events);
        self.deliveries.extend(records.map(|(job, n, record)| ((job, n), record)));
        self.log.extend(writes.log.into_iter().map(|row| ((row.org, row.number), row)));
        for write in writes.slots {
            match write.slot {
                Some(slot) => self.slots.insert(write.key, (write.rev + 1, slot)),
                None => self.slots.remove(&write.key),
            };
        }
        for policy in writes.policies {
            if self.policies.get(&policy.domain).is_none_or(|stored| stored.fetched <= policy.fetched) {
                self.policies.insert(policy.domain.clone(), policy);
            }
        }
        for domain in &writes.policies_gone {
            self.policies.remove(domain);
        }
        self.dav.apply(writes.dav);
    }

    fn apply_directory(&mut self, writes: &Writes) {
        if let Some(rev) = writes.directory_rev {
            self.directory_rev = rev + 1;
        }
        for row in writes.orgs_new.iter().chain(&writes.orgs) {
            self.orgs.insert(row.org.id, row.clone());
        }
        for id in &writes.orgs_gone {
            self.orgs.remove(id);
        }
        for domain in writes.domains_new.iter().chain(&writes.domains) {
            self.domains.insert(domain.name.clone(), domain.clone());
        }
        for name in &writes.domains_gone {
            self.domains.remove(name);
        }
        for alias in &writes.aliases_new {
            self.aliases.insert(alias.address.clone(), alias.clone());
        }
        for address in &writes.aliases_gone {
            self.aliases.remove(address);
        }
        for row in writes.mailboxes_new.iter().chain(&writes.mailboxes) {
            self.addresses.insert(row.mailbox.address.clone(), row.mailbox.id);
            self.mailboxes.insert(row.mailbox.id, MailboxRow { rev: row.rev + 1, ..row.clone() });
        }
        for row in &writes.mailboxes_gone {
            self.remove_mailbox(row);
        }
        self.administrators.extend(writes.administrators.iter().copied());
        self.credentials.extend(writes.credentials.iter().cloned());
    }

    fn apply_mail(&mut self, writes: &Writes) {
        for folder in writes.folders_new.iter().chain(&writes.folders) {
            self.mailbox_folders.insert((folder.mailbox, folder.id));
            self.folders.insert(folder.id, folder.clone());
        }
        for (mailbox, folder) in &writes.folders_gone {
            self.remove_folder(*mailbox, *folder);
        }
        for (folder, row) in writes.messages_new.iter().chain(&writes.messages) {
            self.messages.insert((*folder, row.uid), *row);
        }
        for key in &writes.messages_gone {
            self.messages.remove(key);
        }
        for (folder, modseq, uids) in &writes.expunged {
            self.expunged.insert((*folder, *modseq), uids.clone());
        }
        for object in &writes.objects_new {
            self.objects.insert((object.mailbox, object.message), object.clone());
        }
        for (mailbox, message, refs) in &writes.objects {
            if let Some(object) = self.objects.get_mut(&(*mailbox, *message)) {
                object.refs = *refs;
            }
        }
        for (mailbox, message, meta) in &writes.objects_meta {
            if let Some(object) = self.objects.get_mut(&(*mailbox, *message)) {
                object.meta.clone_from(meta);
            }
        }
        for key in &writes.objects_gone {
            self.objects.remove(key);
        }
        self.subscriptions.extend(writes.subscriptions.iter().cloned());
        for key in &writes.subscriptions_gone {
            self.subscriptions.remove(key);
        }
    }

    fn due_of(&self, org: OrgId) -> impl Iterator<Item = &DueKey> {
        let lowest = DueKey { org, at: Timestamp(i64::MIN), job: JobId(LOWEST), leased: false };
        self.due.range(lowest..).take_while(move |key| key.org == org)
    }

    fn rows_in(&self, folder: FolderId, uids: RangeInclusive<u32>) -> impl Iterator<Item = &Row> {
        let bounds = (Bound::Included((folder, *uids.start())), Bound::Included((folder, *uids.end())));
        let empty = uids.start() > uids.end();
        // An empty range would be one that ends before it starts, on which `range` panics.
        let bounds = if empty { (bounds.0, Bound::Excluded((folder, *uids.start()))) } else { bounds };
        self.messages.range(bounds).map(|(_, row)| row)
    }
}

impl MemoryRows {
    /// Other maps with the same rows in them.
    pub fn fork(&self) -> MemoryRows {
        let tables = lock(&self.tables).clone();
        MemoryRows { tables: Arc::new(Mutex::new(tables)), ..MemoryRows::default() }
    }

    /// Puts the rows of other maps in place of its own.
    pub fn restore(&self, from: &MemoryRows) {
        let tables = lock(&from.tables).clone();
        *lock(&self.tables) = tables;
    }

    /// Writes again what was applied to other maps before, guarded by nothing.
    pub fn replay(&self, writes: Writes) {
        lock(&self.tables).apply(writes);
    }

    fn read(&self) -> Result<MutexGuard<'_, Tables>> {
        let tables = lock(&self.tables);
        if tables.closed { Err(Error::Unavailable("the store is closed".into())) } else { Ok(tables) }
    }
}

#[async_trait::async_trait]
impl Rows for MemoryRows {
    async fn apply(&self, what: &'static str, writes: Writes) -> Result<(), ApplyError> {
        let fault = lock(&self.hook).as_ref().and_then(|hook| hook(what));
        if fault == Some(Fault::Before) {
            return Err(ApplyError::Other(Error::Unavailable(format!("injected fault before {what}"))));
        }
        let mut tables = self.read().map_err(ApplyError::Other)?;
        if tables.stale(&writes) {
            return Err(ApplyError::Stale);
        }
        if tables.exists(&writes) {
            return Err(ApplyError::Exists);
        }
        tables.apply(writes);
        if fault == Some(Fault::After) {
            return Err(ApplyError::Other(Error::OutcomeUnknown(format!("injected fault after {what}"))));
        }
        Ok(())
    }

    async fn pause(&self, _attempt: u32) {
        futures_lite::future::yield_now().await;
    }

    async fn ping(&self) -> Result<()> {
        self.read().map(drop)
    }

    async fn close(&self) {
        lock(&self.tables).closed = true;
    }

    async fn directory_rev(&self) -> Result<u64> {
        Ok(self.read()?.directory_rev)
    }

    async fn orgs(&self) -> Result<Vec<Org>> {
        Ok(self.read()?.orgs.values().map(|row| row.org.clone()).collect())
    }

    async fn org_named(&self, name: &str) -> Result<Option<OrgRow>> {
        Ok(self.read()?.orgs.values().find(|row| row.org.name == name).cloned())
    }

    async fn org(&self, id: OrgId) -> Result<Option<OrgRow>> {
        Ok(self.read()?.orgs.get(&id).cloned())
    }

    async fn domains(&self) -> Result<Vec<Domain>> {
        Ok(self.read()?.domains.values().cloned().collect())
    }

    async fn domain(&self, name: &str) -> Result<Option<Domain>> {
        Ok(self.read()?.domains.get(name).cloned())
    }

    async fn mailboxes(&self) -> Result<Vec<Mailbox>> {
        Ok(self.read()?.mailboxes.values().map(|row| row.mailbox.clone()).collect())
    }

    async fn mailbox(&self, id: MailboxId) -> Result<Option<MailboxRow>> {
        Ok(self.read()?.mailboxes.get(&id).cloned())
    }

    async fn administrators(&self, org: Option<OrgId>) -> Result<Vec<Mailbox>> {
        let tables = self.read()?;
        let of = tables.administrators.iter().filter(|(owner, _)| org.is_none_or(|org| org == *owner));
        Ok(of.filter_map(|(_, id)| tables.mailboxes.get(id)).map(|row| row.mailbox.clone()).collect())
    }

    async fn aliases(&self) -> Result<Vec<Alias>> {
        Ok(self.read()?.aliases.values().cloned().collect())
    }

    async fn addresses(&self, addresses: &[String]) -> Result<Vec<Option<AddressRow>>> {
        let tables = self.read()?;
        let find = |address: &String| {
            let mailbox = tables.addresses.get(address).and_then(|id| tables.mailboxes.get(id));
            mailbox
                .map(|row| AddressRow::Mailbox(row.mailbox.clone()))
                .or_else(|| tables.aliases.get(address).cloned().map(AddressRow::Alias))
        };
        Ok(addresses.iter().map(find).collect())
    }

    async fn credential(&self, mailbox: MailboxId) -> Result<Option<PasswordRecord>> {
        Ok(self.read()?.credentials.get(&mailbox).cloned())
    }

    async fn mailbox_states(&self, ids: &[MailboxId]) -> Result<Vec<Option<MailboxState>>> {
        let tables = self.read()?;
        let state = |id: &MailboxId| {
            let row = tables.mailboxes.get(id)?.clone();
            let folders = tables.folders_of(*id).filter_map(|f| tables.folders.get(&f).cloned()).collect();
            let domain = row.mailbox.address.rsplit_once('@').and_then(|(_, name)| tables.domains.get(name));
            let domain_quota_bytes = domain.and_then(|domain| domain.settings.quota_mailbox_bytes);
            Some(MailboxState { row, folders, domain_quota_bytes })
        };
        Ok(ids.iter().map(state).collect())
    }

    async fn subscriptions(&self, mailbox: MailboxId) -> Result<Vec<String>> {
        let tables = self.read()?;
        let names = tables.subscriptions.range((mailbox, String::new())..);
        Ok(names.take_while(|(owner, _)| *owner == mailbox).map(|(_, name)| name.clone()).collect())
    }

    async fn folder_mailbox(&self, folder: FolderId) -> Result<Option<MailboxId>> {
        Ok(self.read()?.folders.get(&folder).map(|info| info.mailbox))
    }

    async fn folder(&self, _: MailboxId, folder: FolderId, select: Select) -> Result<Option<FolderRead>> {
        let tables = self.read()?;
        let Some(info) = tables.folders.get(&folder).cloned() else { return Ok(None) };
        let Some(mailbox) = tables.mailboxes.get(&info.mailbox).cloned() else { return Ok(None) };
        let rows = match select {
            Select::None => Vec::new(),
            Select::All => tables.rows_in(folder, 0..=u32::MAX).copied().collect(),
            Select::Uids(uids) => {
                let uids: BTreeSet<u32> = uids.into_iter().collect();
                uids.into_iter().filter_map(|uid| tables.messages.get(&(folder, uid)).copied()).collect()
            }
        };
        Ok(Some(FolderRead { mailbox, folder: info, rows }))
    }

    async fn changes(
        &self,
        _: MailboxId,
        folder: FolderId,
        modseq: u64,
    ) -> Result<Option<(FolderInfo, Vec<Row>, Vec<u32>)>> {
        let tables = self.read()?;
        let Some(info) = tables.folders.get(&folder).cloned() else { return Ok(None) };
        let rows = tables.rows_in(folder, 0..=u32::MAX).filter(|row| row.modseq > modseq).copied().collect();
        let later = (Bound::Excluded((folder, modseq)), Bound::Included((folder, u64::MAX)));
        let mut gone: Vec<u32> = match modseq {
            u64::MAX => Vec::new(),
            _ => tables.expunged.range(later).flat_map(|(_, uids)| uids.iter().copied()).collect(),
        };
        gone.sort_unstable();
        Ok(Some((info, rows, gone)))
    }

    async fn meta(
        &self,
        _: MailboxId,
        folder: FolderId,
        uids: RangeInclusive<u32>,
    ) -> Result<Option<Vec<(u32, Vec<u8>)>>> {
        let tables = self.read()?;
        let Some(info) = tables.folders.get(&folder) else { return Ok(None) };
        let meta = tables.rows_in(folder, uids).filter_map(|row| {
            let object = tables.objects.get(&(info.mailbox, row.message))?;
            Some((row.uid, object.meta.clone()))
        });
        Ok(Some(meta.collect()))
    }

    async fn objects(
        &self,
        mailbox: MailboxId,
        messages: &[MessageId],
    ) -> Result<Vec<(MessageId, u32, u64)>> {
        let tables = self.read()?;
        let found = messages.iter().filter_map(|message| tables.objects.get(&(mailbox, *message)));
        Ok(found.map(|object| (object.message, object.refs, object.size)).collect())
    }

    async fn messages(&self, mailbox: MailboxId) -> Result<Vec<MessageId>> {
        let tables = self.read()?;
        let objects = tables.objects.range((mailbox, MessageId(LOWEST))..);
        Ok(objects.take_while(|((owner, _), _)| *owner == mailbox).map(|((_, id), _)| *id).collect())
    }

    async fn now(&self) -> Result<Timestamp> {
        self.read().map(drop)?;
        Ok((*lock(&self.clock)).unwrap_or_else(crate::facade::now))
    }

    async fn due(
        &self,
        org: OrgId,
        now: Timestamp,
        lease_ended: Timestamp,
        limit: usize,
    ) -> Result<Vec<DueKey>> {
        let tables = self.read()?;
        let due = tables.due_of(org).take_while(|key| key.at <= now);
        Ok(due.filter(|key| !key.leased || key.at < lease_ended).take(limit).copied().collect())
    }

    async fn due_org_after(&self, org: Option<OrgId>) -> Result<Option<OrgId>> {
        let tables = self.read()?;
        let highest =
            |org| DueKey { org, at: Timestamp(i64::MAX), job: JobId(Id([u8::MAX; 16])), leased: true };
        let from = org.map_or(Bound::Unbounded, |org| Bound::Excluded(highest(org)));
        Ok(tables.due.range((from, Bound::Unbounded)).next().map(|key| key.org))
    }

    async fn due_first(&self, org: OrgId) -> Result<Option<Timestamp>> {
        Ok(self.read()?.due_of(org).next().map(|key| key.at))
    }

    async fn jobs(&self, ids: &[JobId]) -> Result<Vec<JobRow>> {
        let tables = self.read()?;
        Ok(ids.iter().filter_map(|id| tables.jobs.get(id).cloned()).collect())
    }

    async fn jobs_oldest(&self, limit: usize) -> Result<Vec<JobRow>> {
        let tables = self.read()?;
        let mut jobs: Vec<&JobRow> = tables.jobs.values().collect();
        jobs.sort_by_key(|row| (row.job.spec.created, row.job.spec.id));
        Ok(jobs.into_iter().take(limit).cloned().collect())
    }

    async fn jobs_held(&self, org: OrgId, limit: usize) -> Result<Vec<JobRow>> {
        let tables = self.read()?;
        let held = |row: &&JobRow| row.job.state == JobState::Held && row.job.spec.org == org;
        Ok(tables.jobs.values().filter(held).take(limit).cloned().collect())
    }

    async fn jobs_ended(&self, before: Timestamp, limit: usize) -> Result<Vec<JobRow>> {
        let tables = self.read()?;
        let ended = tables.jobs.values().filter(|row| {
            matches!(row.job.state, JobState::Dead | JobState::Cancelled) && row.job.updated < before
        });
        Ok(ended.take(limit).cloned().collect())
    }

    async fn deliveries(&self, job: JobId) -> Result<Vec<DeliveryRecord>> {
        let tables = self.read()?;
        let records = tables.deliveries.range((job, 0)..=(job, u32::MAX));
        Ok(records.map(|(_, record)| record.clone()).collect())
    }

    async fn deliveries_between(&self, jobs: RangeInclusive<JobId>) -> Result<Vec<(JobId, DeliveryRecord)>> {
        let tables = self.read()?;
        let records = tables.deliveries.range((*jobs.start(), 0)..=(*jobs.end(), u32::MAX));
        Ok(records.map(|((job, _), record)| (*job, record.clone())).collect())
    }

    async fn clean_deliveries(&self, before: Timestamp) -> Result<u64> {
        let mut tables = self.read()?;
        let count = tables.deliveries.len();
        tables.deliveries.retain(|_, record| record.at_ms >= before.0);
        Ok((count - tables.deliveries.len()) as u64)
    }

    async fn queued_messages(&self) -> Result<Vec<(OrgId, MessageId)>> {
        let tables = self.read()?;
        let needed = tables.jobs.values().filter(|row| row.job.state != JobState::Cancelled);
        let messages: BTreeSet<_> = needed.map(|row| (row.job.spec.org, row.job.spec.message)).collect();
        Ok(messages.into_iter().collect())
    }

    async fn log_after(&self, org: OrgId, number: u64, limit: usize) -> Result<Vec<LogRow>> {
        let tables = self.read()?;
        let later = (Bound::Excluded((org, number)), Bound::Included((org, u64::MAX)));
        Ok(match number {
            u64::MAX => Vec::new(),
            _ => tables.log.range(later).take(limit).map(|(_, row)| row.clone()).collect(),
        })
    }

    async fn clean_log(&self, before: Timestamp) -> Result<u64> {
        let mut tables = self.read()?;
        let count = tables.log.len();
        tables.log.retain(|_, row| row.record.at_ms >= before.0);
        Ok((count - tables.log.len()) as u64)
    }

    async fn slots(&self, keys: &[SlotKey]) -> Result<Vec<SlotRow>> {
        let tables = self.read()?;
        let row = |key: &SlotKey| {
            let (rev, slot) = tables.slots.get(key)?.clone();
            Some(SlotRow { key: key.clone(), rev, slot })
        };
        Ok(keys.iter().filter_map(row).collect())
    }

    async fn slots_after(
        &self,
        table: SlotTable,
        after: Option<&SlotKey>,
        limit: usize,
    ) -> Result<Vec<SlotRow>> {
        let tables = self.read()?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = tables.slots.range::<SlotKey, _>((from, Bound::Unbounded));
        let of_table = rows.filter(|(key, _)| key.table() == table).take(limit);
        Ok(of_table
            .map(|(key, (rev, slot))| SlotRow { key: key.clone(), rev: *rev, slot: slot.clone() })
            .collect())
    }

    async fn policy(&self, domain: &str) -> Result<Option<StoredPolicy>> {
        Ok(self.read()?.policies.get(domain).cloned())
    }

    async fn policies_due(&self, now: Timestamp, limit: usize) -> Result<Vec<StoredPolicy>> {
        let tables = self.read()?;
        let mut due: Vec<&StoredPolicy> = tables.policies.values().filter(|p| p.refresh <= now).collect();
        due.sort_by_key(|policy| (policy.refresh, &policy.domain));
        Ok(due.into_iter().take(limit).cloned().collect())
    }

    async fn policies_expired(&self, before: Timestamp, limit: usize) -> Result<Vec<String>> {
        let tables = self.read()?;
        let expired = tables.policies.values().filter(|policy| policy.expires < before);
        Ok(expired.take(limit).map(|policy| policy.domain.clone()).collect())
    }

    async fn dav_owner(&self, mailbox: MailboxId) -> Result<Option<DavOwner>> {
        Ok(self.read()?.dav.owner(mailbox))
    }

    async fn dav_nodes(&self, keys: &[DavKey]) -> Result<Vec<DavNode>> {
        Ok(self.read()?.dav.nodes(keys))
    }

    async fn dav_members(
        &self,
        of: (DavTable, MailboxId, u64),
        after: Option<Id>,
        limit: usize,
    ) -> Result<Vec<DavNode>> {
        Ok(self.read()?.dav.members(of, after, limit))
    }

    async fn dav_changes(&self, of: (DavTable, MailboxId, u64), since: u64) -> Result<Vec<(u64, DavKey)>> {
        Ok(self.read()?.dav.changes(of, since))
    }

    async fn dav_texts(&self, mailbox: MailboxId, ids: &[u64]) -> Result<Vec<DavText>> {
        Ok(self.read()?.dav.texts(mailbox, ids))
    }

    async fn dav_gone(&self, mailbox: MailboxId, parent: u64, since: u64) -> Result<Vec<DavGone>> {
        Ok(self.read()?.dav.gone(mailbox, parent, since))
    }

    async fn dav_uids(&self, mailbox: MailboxId, uid: Id) -> Result<Vec<DavKey>> {
        Ok(self.read()?.dav.uids(mailbox, uid))
    }

    async fn dav_mails(&self, limit: usize) -> Result<Vec<DavMail>> {
        Ok(self.read()?.dav.mails(limit))
    }

    async fn dav_used(&self, mailbox: MailboxId) -> Result<u64> {
        Ok(self.read()?.dav.used(mailbox))
    }
}
