//! What a row store must be able to do: read rows, and apply a set of writes in one transaction.
//!
//! The rules of the [`Store`](crate::Store) stand once, in `engine`; a row store knows tables and keys only.
//! Every organisation-wide change is guarded by the directory's revision, every change to a mailbox, its
//! folders and messages by the mailbox's, every change to a job by the job's: [`Rows::apply`] compares the
//! revisions that were read with those stored, raises them, and applies nothing when one differs. Snapshot
//! isolation alone would let two writers who read the same rows and write different ones both commit.

use std::ops::RangeInclusive;

use protocol_core::Timestamp;
use protocol_core::time::Duration;

use crate::api::LogRow;
use crate::dav::{DavGone, DavKey, DavMail, DavNode, DavOwner, DavTable, DavText, DavWrites};
use crate::error::{Error, Refusal, Result};
use crate::slots::{SlotKey, SlotRow, SlotTable, SlotWrite};
use crate::types::*;

/// An organisation and its sealed key.
#[derive(Clone, Debug)]
pub struct OrgRow {
    pub org: Org,
    pub sealed_key: Vec<u8>,
}

/// A mailbox and what only the store knows of it.
#[derive(Clone, Debug)]
pub struct MailboxRow {
    pub mailbox: Mailbox,
    /// As it was read. [`Rows::apply`] stores the next one.
    pub rev: u64,
    /// The UIDVALIDITY given last.
    pub uid_validity_last: u32,
    /// The highest UIDVALIDITY of any folder name that was given up, by removal or renaming.
    pub uid_validity_vacated: u32,
}

/// A mailbox with all its folders, and the quota that holds when it has none of its own.
#[derive(Clone, Debug)]
pub struct MailboxState {
    pub row: MailboxRow,
    pub folders: Vec<FolderInfo>,
    pub domain_quota_bytes: Option<u64>,
}

/// A stored message of a mailbox.
#[derive(Clone, Debug)]
pub struct ObjectRow {
    pub mailbox: MailboxId,
    pub message: MessageId,
    /// How many folder rows show it; the row goes with the last.
    pub refs: u32,
    pub size: u64,
    /// Sealed by the caller.
    pub meta: Vec<u8>,
}

/// A job and what only the store knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    pub job: Job,
    /// As it was read. [`Rows::apply`] stores the next one.
    pub rev: u64,
    /// While it is processing, where its row in the due index is: when somebody looks whether its lease has ended. A
    /// lease that is prolonged leaves it where it is; who looks too early moves it ([`JobRow::lost_at`]).
    pub look_at: Option<Timestamp>,
    /// Recipients for whom the final dot was announced in the current attempt.
    pub dot_sent: Vec<usize>,
    /// Delivery records written so far; numbers the next.
    pub deliveries: u32,
    /// Attempts that ended in a crash of their task, in a row.
    pub crashes: u32,
    /// Claims whose holder was not heard of again, in a row.
    pub lost: u32,
}

/// Added to the end of a lease under which a final dot was announced: what became of it is in doubt, and
/// such a job is retried not sooner.
pub const IN_DOUBT_DELAY: Duration = Duration::from_secs(600);

impl JobRow {
    /// When its holder is taken for lost: the end of its lease, and later when it announced a final dot.
    pub fn lost_at(&self) -> Option<Timestamp> {
        let delay = if self.dot_sent.is_empty() { Duration::ZERO } else { IN_DOUBT_DELAY };
        Some(self.job.lease_until? + delay)
    }

    /// The key of its row in the due index: when it is due, or when somebody looks after its holder.
    pub fn due_at(&self) -> Option<DueKey> {
        let at = match self.job.state {
            JobState::Queued => self.job.due,
            JobState::Processing => self.look_at?,
            JobState::Held | JobState::Dead | JobState::Cancelled => return None,
        };
        let leased = self.job.state == JobState::Processing;
        Some(DueKey { org: self.job.spec.org, at, job: self.job.spec.id, leased })
    }
}

/// A row of the due index. It is sorted by organisation first, so that the line of one does not stand before
/// that of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DueKey {
    pub org: OrgId,
    pub at: Timestamp,
    pub job: JobId,
    /// The job is being processed, and `at` is about its lease.
    pub leased: bool,
}

/// A folder, its mailbox and some of its rows, all of one moment.
#[derive(Clone, Debug)]
pub struct FolderRead {
    pub mailbox: MailboxRow,
    pub folder: FolderInfo,
    pub rows: Vec<Row>,
}

/// Which rows of a folder are read.
#[derive(Clone, Debug)]
pub enum Select {
    None,
    All,
    Uids(Vec<u32>),
}

/// Everything one transaction writes. Rows that carry a revision are guarded by it.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    /// Guards the directory with the revision that was read.
    pub directory_rev: Option<u64>,
    pub orgs_new: Vec<OrgRow>,
    /// Whose key changed.
    pub orgs: Vec<OrgRow>,
    pub orgs_gone: Vec<OrgId>,
    pub domains_new: Vec<Domain>,
    pub domains: Vec<Domain>,
    pub domains_gone: Vec<String>,
    pub aliases_new: Vec<Alias>,
    pub aliases_gone: Vec<String>,
    pub mailboxes_new: Vec<MailboxRow>,
    pub mailboxes: Vec<MailboxRow>,
    /// Go with their addresses, credentials, objects and subscriptions; `folders_gone` names the folders.
    pub mailboxes_gone: Vec<MailboxRow>,
    /// Gone with their mailboxes.
    pub administrators: Vec<(OrgId, MailboxId)>,
    pub credentials: Vec<(MailboxId, PasswordRecord)>,
    pub folders_new: Vec<FolderInfo>,
    pub folders: Vec<FolderInfo>,
    /// Go with their rows and their history.
    pub folders_gone: Vec<(MailboxId, FolderId)>,
    pub messages_new: Vec<(FolderId, Row)>,
    /// New flags and modseq of rows that are there.
    pub messages: Vec<(FolderId, Row)>,
    pub messages_gone: Vec<(FolderId, u32)>,
    /// UIDs removed from a folder at a modification sequence.
    pub expunged: Vec<(FolderId, u64, Vec<u32>)>,
    pub objects_new: Vec<ObjectRow>,
    /// New reference counts.
    pub objects: Vec<(MailboxId, MessageId, u32)>,
    /// The same meta, sealed anew. What is not there any more stays away.
    pub objects_meta: Vec<(MailboxId, MessageId, Vec<u8>)>,
    pub objects_gone: Vec<(MailboxId, MessageId)>,
    pub subscriptions: Vec<(MailboxId, String)>,
    pub subscriptions_gone: Vec<(MailboxId, String)>,
    pub jobs_new: Vec<JobRow>,
    pub jobs: Vec<JobRow>,
    pub jobs_gone: Vec<JobRow>,
    pub due_new: Vec<DueKey>,
    pub due_gone: Vec<DueKey>,
    pub deliveries: Vec<(JobId, u32, DeliveryRecord)>,
    /// Records that are not numbered by their job, which may be gone: in place of an equal one.
    pub events: Vec<(JobId, u32, DeliveryRecord)>,
    /// New entries of logs; numbered by the engine before they are applied.
    pub log: Vec<LogRow>,
    /// Guarded by their own revisions.
    pub slots: Vec<SlotWrite>,
    /// In place of earlier ones of the same domain, unless those were fetched later.
    pub policies: Vec<StoredPolicy>,
    pub policies_gone: Vec<String>,
    pub dav: DavWrites,
}

impl Writes {
    /// Replaces a job's row, moving its row in the due index from where `before` says.
    pub fn job(&mut self, before: Option<DueKey>, row: JobRow) {
        let after = row.due_at();
        if before != after {
            self.due_gone.extend(before);
            self.due_new.extend(after);
        }
        self.jobs.push(row);
    }
}

/// Why a set of writes was not applied.
#[derive(Clone, Debug)]
pub enum ApplyError {
    /// A revision has moved on: read again, decide again.
    Stale,
    /// A row to be made exists: an object or a job that was committed before.
    Exists,
    Other(Error),
}

impl From<ApplyError> for Error {
    fn from(error: ApplyError) -> Error {
        match error {
            ApplyError::Stale => Error::Unavailable("too many concurrent changes to the same rows".into()),
            ApplyError::Exists => Refusal::Exists("a row of that ID".into()).into(),
            ApplyError::Other(error) => error,
        }
    }
}

/// Tables and keys. Each reading method is one consistent read.
#[async_trait::async_trait]
pub trait Rows: Send + Sync + 'static {
    /// Applies all of it durably or nothing. `what` names the operation, for faults and logs.
    async fn apply(&self, what: &'static str, writes: Writes) -> Result<(), ApplyError>;
    /// Waits a little before attempt number `attempt` after a stale read.
    async fn pause(&self, attempt: u32);
    async fn ping(&self) -> Result<()>;
    async fn close(&self);

    async fn directory_rev(&self) -> Result<u64>;
    async fn orgs(&self) -> Result<Vec<Org>>;
    async fn org_named(&self, name: &str) -> Result<Option<OrgRow>>;
    async fn org(&self, id: OrgId) -> Result<Option<OrgRow>>;
    async fn domains(&self) -> Result<Vec<Domain>>;
    async fn domain(&self, name: &str) -> Result<Option<Domain>>;
    /// The same as it was at some moment of the last second, and not before the last change that this process made:
    /// for readers who write nothing that rests on it.
    async fn domain_lately(&self, name: &str) -> Result<Option<Domain>> {
        self.domain(name).await
    }
    async fn mailboxes(&self) -> Result<Vec<Mailbox>>;
    async fn mailbox(&self, id: MailboxId) -> Result<Option<MailboxRow>>;
    /// Of an organisation, or all, in any order.
    async fn administrators(&self, org: Option<OrgId>) -> Result<Vec<Mailbox>>;
    async fn aliases(&self) -> Result<Vec<Alias>>;
    async fn addresses(&self, addresses: &[String]) -> Result<Vec<Option<AddressRow>>>;
    async fn credential(&self, mailbox: MailboxId) -> Result<Option<PasswordRecord>>;

    /// In the order of `ids`.
    async fn mailbox_states(&self, ids: &[MailboxId]) -> Result<Vec<Option<MailboxState>>>;
    async fn subscriptions(&self, mailbox: MailboxId) -> Result<Vec<String>>;
    async fn folder_mailbox(&self, folder: FolderId) -> Result<Option<MailboxId>>;
    /// Rows by UID.
    async fn folder(
        &self,
        mailbox: MailboxId,
        folder: FolderId,
        select: Select,
    ) -> Result<Option<FolderRead>>;
    /// Rows changed after a modification sequence, and UIDs removed after it, both by UID.
    async fn changes(
        &self,
        mailbox: MailboxId,
        folder: FolderId,
        modseq: u64,
    ) -> Result<Option<(FolderInfo, Vec<Row>, Vec<u32>)>>;
    /// UID and meta by UID.
    async fn meta(
        &self,
        mailbox: MailboxId,
        folder: FolderId,
        uids: RangeInclusive<u32>,
    ) -> Result<Option<Vec<(u32, Vec<u8>)>>>;
    /// Reference count and size of those there are, in any order.
    async fn objects(&self, mailbox: MailboxId, messages: &[MessageId])
    -> Result<Vec<(MessageId, u32, u64)>>;
    /// All stored messages of a mailbox by ID.
    async fn messages(&self, mailbox: MailboxId) -> Result<Vec<MessageId>>;

    /// The database's clock, which all nodes judge leases by.
    async fn now(&self) -> Result<Timestamp>;
    /// The first `limit` rows of an organisation in the due index that are at most `now`; leased ones are skipped
    /// unless they are before `lease_ended`.
    async fn due(
        &self,
        org: OrgId,
        now: Timestamp,
        lease_ended: Timestamp,
        limit: usize,
    ) -> Result<Vec<DueKey>>;
    /// The first organisation after this one that has rows in the due index.
    async fn due_org_after(&self, org: Option<OrgId>) -> Result<Option<OrgId>>;
    /// The earliest row of an organisation.
    async fn due_first(&self, org: OrgId) -> Result<Option<Timestamp>>;
    /// Those there are, in any order.
    async fn jobs(&self, ids: &[JobId]) -> Result<Vec<JobRow>>;
    /// By time of acceptance, then ID.
    async fn jobs_oldest(&self, limit: usize) -> Result<Vec<JobRow>>;
    /// Held jobs of an organisation, in any order, at most `limit`.
    async fn jobs_held(&self, org: OrgId, limit: usize) -> Result<Vec<JobRow>>;
    /// Dead and cancelled jobs last changed before `before`, at most `limit`.
    async fn jobs_ended(&self, before: Timestamp, limit: usize) -> Result<Vec<JobRow>>;
    /// In the order of writing.
    async fn deliveries(&self, job: JobId) -> Result<Vec<DeliveryRecord>>;
    /// Those of the jobs between the two, by job and in the order of writing.
    async fn deliveries_between(&self, jobs: RangeInclusive<JobId>) -> Result<Vec<(JobId, DeliveryRecord)>>;
    /// Removes delivery records from before `before`; how many.
    async fn clean_deliveries(&self, before: Timestamp) -> Result<u64>;
    async fn queued_messages(&self) -> Result<Vec<(OrgId, MessageId)>>;
    /// Entries of an organisation's log behind a number, in order, at most `limit`.
    async fn log_after(&self, org: OrgId, number: u64, limit: usize) -> Result<Vec<LogRow>>;
    /// Removes entries of all logs from before `before`; how many.
    async fn clean_log(&self, before: Timestamp) -> Result<u64>;

    /// Those there are, in any order.
    async fn slots(&self, keys: &[SlotKey]) -> Result<Vec<SlotRow>>;
    /// Rows of a table by key, from behind `after` on, at most `limit`.
    async fn slots_after(
        &self,
        table: SlotTable,
        after: Option<&SlotKey>,
        limit: usize,
    ) -> Result<Vec<SlotRow>>;

    async fn policy(&self, domain: &str) -> Result<Option<StoredPolicy>>;
    /// By time of refreshing, then domain.
    async fn policies_due(&self, now: Timestamp, limit: usize) -> Result<Vec<StoredPolicy>>;
    /// Domains of policies that expired before `before`, at most `limit`.
    async fn policies_expired(&self, before: Timestamp, limit: usize) -> Result<Vec<String>>;

    async fn dav_owner(&self, mailbox: MailboxId) -> Result<Option<DavOwner>>;
    /// Those there are, in any order.
    async fn dav_nodes(&self, keys: &[DavKey]) -> Result<Vec<DavNode>>;
    /// Of a collection those behind a name, by name, at most `limit`.
    async fn dav_members(
        &self,
        of: (DavTable, MailboxId, u64),
        after: Option<Id>,
        limit: usize,
    ) -> Result<Vec<DavNode>>;
    /// Members of a collection that changed after a number, in any order.
    async fn dav_changes(&self, of: (DavTable, MailboxId, u64), since: u64) -> Result<Vec<(u64, DavKey)>>;
    /// Those there are, in any order.
    async fn dav_texts(&self, mailbox: MailboxId, ids: &[u64]) -> Result<Vec<DavText>>;
    /// Members that were removed from a collection after a number, in any order.
    async fn dav_gone(&self, mailbox: MailboxId, parent: u64, since: u64) -> Result<Vec<DavGone>>;
    /// The nodes that have a UID, in any order.
    async fn dav_uids(&self, mailbox: MailboxId, uid: Id) -> Result<Vec<DavKey>>;
    /// In any order.
    async fn dav_mails(&self, limit: usize) -> Result<Vec<DavMail>>;
    /// The octets of all nodes.
    async fn dav_used(&self, mailbox: MailboxId) -> Result<u64>;
}
