//! The rows behind one trait, so that SurrealDB (embedded, in memory, remote) and the in-memory reference
//! implementation answer alike; `conformance` runs the same suite against each.
//!
//! Every writing method is one transaction: all of it is durable when it returns `Ok`, nothing of it when it
//! returns [`Error::Refused`] or [`Error::Unavailable`](crate::Error::Unavailable). Write conflicts are
//! retried inside.

use std::ops::RangeInclusive;

use protocol_core::{Timestamp, time::Duration};

use crate::api::*;
use crate::audit::{AuditEntry, AuditPlace};
use crate::dav::*;
use crate::error::Result;
use crate::slots::*;
use crate::types::*;

/// Organisations, domains, mailboxes, aliases and what proves a password.
#[async_trait::async_trait]
pub trait Directory: Send + Sync {
    /// Makes an organisation; refused when the name is taken. `sealed_key` is its tenant key, sealed.
    async fn create_org(&self, name: &str, sealed_key: &[u8], now: Timestamp) -> Result<Org>;
    /// All organisations by name.
    async fn list_orgs(&self) -> Result<Vec<Org>>;
    /// The organisation of that name.
    async fn org(&self, name: &str) -> Result<Org>;
    /// Its sealed tenant key.
    async fn org_key(&self, org: OrgId) -> Result<Vec<u8>>;
    /// Replaces the sealed tenant key `before`; whether it was that.
    async fn set_org_key(&self, org: OrgId, before: &[u8], after: &[u8]) -> Result<bool>;
    /// Replaces what proves a mailbox's password when it is still `before`; whether it was.
    async fn set_password_if(
        &self,
        address: &str,
        before: &PasswordRecord,
        after: &PasswordRecord,
    ) -> Result<bool>;
    /// Removes an organisation; [`Refusal::InUse`](crate::Refusal::InUse) while it has domains.
    async fn delete_org(&self, name: &str) -> Result<()>;

    /// Gives a domain to an organisation; refused when any organisation has it.
    async fn add_domain(&self, domain: &Domain) -> Result<()>;
    /// Replaces a domain's settings.
    async fn set_domain(&self, name: &str, settings: &DomainSettings) -> Result<()>;
    /// The same, if they are still what they were; whether they were.
    async fn replace_domain(
        &self,
        name: &str,
        before: &DomainSettings,
        after: &DomainSettings,
    ) -> Result<bool>;
    /// The domain of that canonical name.
    async fn domain(&self, name: &str) -> Result<Domain>;
    /// The same as it was at some moment of the last second, and not before the last change that this process made:
    /// for mail on its way, not for whoever changes what he read.
    async fn domain_lately(&self, name: &str) -> Result<Domain>;
    /// All domains by name.
    async fn list_domains(&self) -> Result<Vec<Domain>>;
    /// Removes a domain; in use while it has mailboxes or aliases.
    async fn delete_domain(&self, name: &str) -> Result<()>;

    /// Makes a mailbox with INBOX and the five special-use folders, all subscribed. Its address must be free
    /// as a mailbox and as an alias; its domain must be the organisation's.
    async fn create_mailbox(
        &self,
        mailbox: &Mailbox,
        password: &PasswordRecord,
        now: Timestamp,
    ) -> Result<()>;
    /// Replaces the password.
    async fn set_password(&self, address: &str, password: &PasswordRecord) -> Result<()>;
    /// Disables or enables.
    async fn set_disabled(&self, address: &str, disabled: bool) -> Result<()>;
    /// Changes name and quota.
    async fn edit_mailbox(&self, address: &str, edit: MailboxEdit) -> Result<()>;
    /// Whether what arrives goes into the organisation's log.
    async fn set_told(&self, address: &str, told: bool) -> Result<()>;
    /// All mailboxes by address.
    async fn list_mailboxes(&self) -> Result<Vec<Mailbox>>;
    /// By ID.
    async fn mailbox(&self, id: MailboxId) -> Result<Mailbox>;
    /// Removes a mailbox and its rows; the answer is its messages, whose objects can be deleted.
    async fn delete_mailbox(&self, address: &str) -> Result<(Mailbox, Vec<MessageId>)>;

    /// Who gets an organisation's role addresses (`postmaster`, `abuse`): its administrators, else the mailbox
    /// it had when it had no administrator; by address. `None`: those of the oldest organisation that has any.
    async fn administrators(&self, org: Option<OrgId>) -> Result<Vec<Mailbox>>;

    /// Adds an alias; refused when the address is a mailbox or an alias.
    async fn add_alias(&self, alias: &Alias) -> Result<()>;
    /// All aliases by address.
    async fn list_aliases(&self) -> Result<Vec<Alias>>;
    /// Removes an alias.
    async fn delete_alias(&self, address: &str) -> Result<()>;

    /// What each canonical address is; one query for all. `None` for an address with no row of its own.
    async fn address_rows(&self, addresses: &[String]) -> Result<Vec<Option<AddressRow>>>;
    /// The mailbox of a log-in name (its canonical address) and its password record.
    async fn credential(&self, address: &str) -> Result<Option<(Mailbox, PasswordRecord)>>;
}

/// Folders and the messages in them.
#[async_trait::async_trait]
pub trait Mail: Send + Sync {
    /// Makes each commit durable. One answer each, in order: where each of its rows went. A refused commit
    /// (over quota, folder gone) does not hinder its neighbours in the batch.
    async fn commit_batch(&self, commits: Vec<Commit>) -> Vec<Result<Vec<Placed>>>;

    /// The mailbox's folders by name, with their counts.
    async fn folders(&self, mailbox: MailboxId) -> Result<Vec<FolderInfo>>;
    /// Makes a folder, and the levels above it that are missing.
    async fn create_folder(
        &self,
        mailbox: MailboxId,
        name: &str,
        special_use: Option<SpecialUse>,
        now: Timestamp,
    ) -> Result<FolderInfo>;
    /// Renames a folder and everything below it. INBOX: its messages move to the new folder, INBOX stays
    /// (RFC 9051 §6.3.6).
    async fn rename_folder(&self, mailbox: MailboxId, from: &str, to: &str, now: Timestamp) -> Result<()>;
    /// Removes a folder and its messages; the answer is messages that no folder shows any more. INBOX and
    /// folders with levels below are refused.
    async fn delete_folder(&self, mailbox: MailboxId, name: &str) -> Result<Vec<MessageId>>;
    /// Counts the mailbox's messages again and puts wrong counters right; whether any was wrong.
    async fn recount(&self, mailbox: MailboxId) -> Result<bool>;
    /// Names the mailbox is subscribed to; a name may have no folder (RFC 9051 §6.3.7).
    async fn subscriptions(&self, mailbox: MailboxId) -> Result<Vec<String>>;
    /// Adds or removes a subscription.
    async fn subscribe(&self, mailbox: MailboxId, name: &str, on: bool) -> Result<()>;

    /// The folder and all its rows by UID, in one range read.
    async fn load_folder(&self, folder: FolderId) -> Result<(FolderInfo, Vec<Row>)>;
    /// Rows changed after `modseq`, and UIDs removed after it.
    async fn changes_since(&self, folder: FolderId, modseq: u64) -> Result<(FolderInfo, Vec<Row>, Vec<u32>)>;
    /// The sealed meta of the rows in a UID range, by UID.
    async fn meta(&self, folder: FolderId, uids: RangeInclusive<u32>) -> Result<Vec<(u32, Vec<u8>)>>;
    /// Changes flags of the given UIDs (those not there are skipped); only rows whose modseq is at most
    /// `unchanged_since` when given.
    async fn set_flags(
        &self,
        folder: FolderId,
        uids: &[u32],
        op: FlagOp,
        flags: &NamedFlags,
        unchanged_since: Option<u64>,
    ) -> Result<FlagsChanged>;
    /// Removes the given UIDs that carry `\Deleted`.
    async fn expunge(&self, folder: FolderId, uids: &[u32]) -> Result<Expunged>;
    /// Copies rows of one mailbox into another folder of the same mailbox; with `remove` it is MOVE, atomic:
    /// the message is in exactly one of the two folders at any time.
    async fn copy(&self, from: FolderId, uids: &[u32], to: FolderId, remove: bool) -> Result<Copied>;
    /// All messages of a mailbox that some folder shows, for `check`.
    async fn messages(&self, mailbox: MailboxId) -> Result<Vec<MessageId>>;
    /// Replaces the meta of messages by the same, sealed anew; those that are gone meanwhile stay away.
    async fn set_meta(&self, mailbox: MailboxId, metas: Vec<(MessageId, Vec<u8>)>) -> Result<()>;
}

/// The answer to one of one.
fn only<T>(mut answers: Vec<Result<T>>) -> Result<T> {
    let missing = || Err(crate::Error::OutcomeUnknown("the store left a write unanswered".into()));
    answers.pop().unwrap_or_else(missing)
}

/// The outbound queue.
#[async_trait::async_trait]
pub trait Jobs: Send + Sync {
    /// The database's clock: what leases are measured by on all nodes.
    async fn now(&self) -> Result<Timestamp>;
    /// Claims up to `limit` due jobs for `owner` until `now + lease`: raises the epoch of each. Takes queued
    /// jobs that are due and processing jobs whose lease ended more than `skew` ago. Organisations take turns,
    /// within one the oldest due come first. A job whose claims keep being lost is held instead
    /// ([`LOST_CLAIMS_MAX`](crate::LOST_CLAIMS_MAX)); it is in the answer as such, and not claimed.
    async fn claim_jobs(
        &self,
        owner: &str,
        now: Timestamp,
        lease: Duration,
        skew: Duration,
        limit: usize,
    ) -> Result<Vec<Job>>;
    /// Writes what holders of jobs ask for, all in one transaction. One answer each, in order: where the rows of a
    /// result's `also` went. One that is refused (fenced) does not hinder its neighbours.
    async fn write_jobs(&self, writes: Vec<(Fence, JobWrite)>, now: Timestamp) -> Vec<Result<Vec<Placed>>>;
    /// [`JobWrite::Renew`] alone.
    async fn renew_job(&self, fence: Fence, now: Timestamp, lease: Duration) -> Result<()> {
        only(self.write_jobs(vec![(fence, JobWrite::Renew { lease })], now).await).map(drop)
    }
    /// [`JobWrite::Dot`] alone.
    async fn dot_sent(
        &self,
        fence: Fence,
        recipients: &[usize],
        now: Timestamp,
        lease: Duration,
    ) -> Result<()> {
        let dot = JobWrite::Dot { recipients: recipients.to_vec(), lease };
        only(self.write_jobs(vec![(fence, dot)], now).await).map(drop)
    }
    /// [`JobWrite::Save`] alone.
    async fn save_job(&self, fence: Fence, update: JobUpdate, now: Timestamp) -> Result<Vec<Placed>> {
        only(self.write_jobs(vec![(fence, JobWrite::Save(Box::new(update)))], now).await)
    }
    /// [`JobWrite::Release`] alone.
    async fn release_job(&self, fence: Fence, due: Timestamp) -> Result<()> {
        only(self.write_jobs(vec![(fence, JobWrite::Release { due })], due).await).map(drop)
    }
    /// When the earliest queued job is due or the earliest lease ends.
    async fn next_due(&self) -> Result<Option<Timestamp>>;
    /// Everything written about a message's jobs ([`JobId::of`]), by time.
    async fn timeline(&self, message: MessageId) -> Result<Vec<(JobId, DeliveryRecord)>>;
    /// Jobs that have a row, oldest first, at most `limit`.
    async fn list_jobs(&self, limit: usize) -> Result<Vec<Job>>;
    /// One job and its delivery records; found also when settled, as long as deliveries remain (then without a job).
    async fn job(&self, id: JobId) -> Result<(Option<Job>, Vec<DeliveryRecord>)>;
    /// What an administrator does; refused for a job in a state that does not allow it.
    async fn act_on_job(&self, id: JobId, action: JobAction, now: Timestamp) -> Result<()>;
    /// Removes dead rows last changed before `dead_before` and delivery rows before `deliveries_before`;
    /// how many of each went.
    async fn clean_jobs(&self, dead_before: Timestamp, deliveries_before: Timestamp) -> Result<(u64, u64)>;
    /// Queue messages that some job still needs, for the collection of objects.
    async fn queued_messages(&self) -> Result<Vec<(OrgId, MessageId)>>;
}

/// Counters, suppressions and keys of idempotency.
#[async_trait::async_trait]
pub trait Limits: Send + Sync {
    /// Adds to each counter unless its limit would be exceeded, in one transaction; whether it was added. A
    /// refused one does not hinder its neighbours.
    async fn count(&self, charges: Vec<Charge>) -> Result<Vec<bool>>;
    /// What counters show; 0 for one that is not there.
    async fn counters(&self, keys: &[CounterKey]) -> Result<Vec<u64>>;
    /// Those there are, in any order, whether they hold or not.
    async fn suppressions(&self, keys: &[SuppressionKey]) -> Result<Vec<Suppression>>;
    /// Makes or replaces a row.
    async fn put_suppression(&self, row: &Suppression) -> Result<()>;
    /// Removes a row; whether it was there.
    async fn remove_suppression(&self, key: &SuppressionKey) -> Result<bool>;
    /// Rows behind `after`, by organisation (the installation's first), scope and entry, at most `limit`.
    async fn list_suppressions(
        &self,
        after: Option<&SuppressionKey>,
        limit: usize,
    ) -> Result<Vec<Suppression>>;
    /// Removes small rows that are over at `now`: all counters, by `limit` in one transaction, and of the others it
    /// looks at up to `limit` rows of each table, from where the last cleaning ended; how many were removed.
    async fn clean_slots(&self, now: Timestamp, limit: usize) -> Result<u64>;
}

/// MTA-STS policies of other domains that were fetched. What a policy says is opaque here.
#[async_trait::async_trait]
pub trait Policies: Send + Sync {
    /// What is kept of a domain (an A-label).
    async fn policy(&self, domain: &str) -> Result<Option<StoredPolicy>>;
    /// Keeps a policy in place of the domain's earlier one; one that was fetched later stays.
    async fn put_policy(&self, policy: &StoredPolicy) -> Result<()>;
    /// Policies to be fetched again by `now`, those that wait longest first, at most `limit`.
    async fn policies_due(&self, now: Timestamp, limit: usize) -> Result<Vec<StoredPolicy>>;
    /// Removes policies that expired before `before`; how many.
    async fn clean_policies(&self, before: Timestamp) -> Result<u64>;
}

/// What the transactional API keeps.
#[async_trait::async_trait]
pub trait Api: Send + Sync {
    /// One e-mail of an organisation. Another organisation's is not found.
    async fn email(&self, org: OrgId, id: MessageId) -> Result<Email>;
    /// E-mails of an organisation behind `after`, the newest first, at most `limit`.
    async fn emails(&self, org: OrgId, after: Option<EmailPlace>, limit: usize) -> Result<Vec<Email>>;
    /// Writes down that an e-mail is not to be sent before another time; what is kept of it is kept as long after that.
    async fn put_off_email(&self, org: OrgId, id: MessageId, send_at: Timestamp) -> Result<()>;
    /// What was answered to the request that came before under this key, written once more before it is answered
    /// again; none when there was none that counts at `now`.
    async fn answered_before(
        &self,
        org: OrgId,
        key: &str,
        fingerprint: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<String>>;
    /// Writes an entry of the audit log, or what came of it.
    async fn put_audit(&self, entry: &AuditEntry) -> Result<()>;
    /// Entries of a log behind a place, the newest first, at most `limit`.
    async fn audit(&self, org: Option<OrgId>, after: AuditPlace, limit: usize) -> Result<Vec<AuditEntry>>;
    /// Removes an organisation's audit log.
    async fn remove_audit(&self, org: OrgId) -> Result<()>;
    /// Those jobs of a message that have a row, of the first `count`.
    async fn jobs_of(&self, message: MessageId, count: u16) -> Result<Vec<Job>>;
    /// Entries of an organisation's log behind a number, in order, at most `limit`.
    async fn log_after(&self, org: OrgId, number: u64, limit: usize) -> Result<Vec<LogRow>>;
    /// The number of the last entry of an organisation's log; 0 when there was none.
    async fn log_end(&self, org: OrgId) -> Result<u64>;

    /// Makes a key.
    async fn add_api_key(&self, key: &ApiKey) -> Result<()>;
    /// A key by its ID, ended or not.
    async fn api_key(&self, id: ApiKeyId) -> Result<ApiKey>;
    /// Keys of an organisation, or all, by ID.
    async fn list_api_keys(&self, org: Option<OrgId>) -> Result<Vec<ApiKey>>;
    /// Removes a key: it is worth nothing from then on; whether it was there.
    async fn remove_api_key(&self, id: ApiKeyId) -> Result<bool>;
    /// Writes down that a key was used, unless it was not long ago ([`LAST_USE_STEP_SECS`]).
    async fn touch_api_key(&self, id: ApiKeyId, now: Timestamp) -> Result<()>;
}

/// Webhooks and templates.
#[async_trait::async_trait]
pub trait Hooks: Send + Sync {
    /// Makes a webhook; [`Refusal::TooMany`](crate::Refusal::TooMany) beyond
    /// [`WEBHOOKS_MAX`](crate::WEBHOOKS_MAX).
    async fn add_webhook(&self, webhook: &Webhook) -> Result<()>;
    /// Webhooks of an organisation, or all, by organisation and ID.
    async fn webhooks(&self, org: Option<OrgId>) -> Result<Vec<Webhook>>;
    /// One webhook.
    async fn webhook(&self, org: OrgId, id: WebhookId) -> Result<Webhook>;
    /// Changes a webhook, which is tried anew from then on: whoever is at it can save nothing any more.
    async fn edit_webhook(&self, org: OrgId, id: WebhookId, edit: WebhookEdit) -> Result<Webhook>;
    /// Removes a webhook; whether it was there.
    async fn remove_webhook(&self, org: OrgId, id: WebhookId) -> Result<bool>;
    /// Takes a webhook that is due and nobody is at, until `now + lease`.
    async fn claim_webhook(
        &self,
        org: OrgId,
        id: WebhookId,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Option<Webhook>>;
    /// Writes how far a claimed webhook has got; whether it was still held.
    async fn save_webhook(&self, claimed: &Webhook, progress: &Webhook) -> Result<bool>;

    /// Makes the next version of a template; the first one of a new ID.
    async fn add_template(&self, template: &Template) -> Result<Template>;
    /// A version of a template, the newest when none is named.
    async fn template(&self, org: OrgId, id: TemplateId, version: Option<u32>) -> Result<Template>;
    /// The newest versions of an organisation's templates, by ID.
    async fn templates(&self, org: OrgId) -> Result<Vec<Template>>;
    /// Removes a template with all its versions; whether it was there.
    async fn remove_template(&self, org: OrgId, id: TemplateId) -> Result<bool>;
}

/// Collections and what is in them.
#[async_trait::async_trait]
pub trait Dav: Send + Sync {
    /// What guards a mailbox's tree; none before something is made in it.
    async fn dav_owner(&self, mailbox: MailboxId) -> Result<Option<DavOwner>>;
    /// Those of the nodes that are there, in any order.
    async fn dav_nodes(&self, keys: &[DavKey]) -> Result<Vec<DavNode>>;
    /// Of the collection of this number those behind a name, by name, at most `limit`.
    async fn dav_members(
        &self,
        of: (DavTable, MailboxId, u64),
        after: Option<Id>,
        limit: usize,
    ) -> Result<Vec<DavNode>>;
    /// The members of a collection that changed after a number, by the number of their change.
    async fn dav_changes(&self, of: (DavTable, MailboxId, u64), since: u64) -> Result<Vec<(u64, DavKey)>>;
    /// The content of nodes that is kept in rows, in any order.
    async fn dav_texts(&self, mailbox: MailboxId, ids: &[u64]) -> Result<Vec<DavText>>;
    /// The members that were removed from a collection after a number, by the number of their removal.
    async fn dav_gone(&self, mailbox: MailboxId, parent: u64, since: u64) -> Result<Vec<DavGone>>;
    /// The nodes that have a UID.
    async fn dav_uids(&self, mailbox: MailboxId, uid: Id) -> Result<Vec<DavKey>>;
    /// Mails that changes gave rise to and that are not on their way yet.
    async fn dav_mails(&self, limit: usize) -> Result<Vec<DavMail>>;
    /// The octets of all nodes of a mailbox.
    async fn dav_used(&self, mailbox: MailboxId) -> Result<u64>;
    /// Applies changes of trees, each of another owner's, in one transaction: the answer is objects that no node
    /// refers to any more. None: a tree is no longer what it was when its change was decided, and nothing was applied.
    async fn dav_commit(&self, changes: Vec<DavChange>)
    -> Result<Option<Vec<(OrgId, MailboxId, MessageId)>>>;
}

/// Everything.
#[async_trait::async_trait]
pub trait Store: Directory + Mail + Jobs + Limits + Policies + Api + Hooks + Dav {
    /// Answers when the database can read and write; for `/health/ready`.
    async fn ping(&self) -> Result<()>;
    /// Closes the database; later calls fail.
    async fn close(&self);
}
