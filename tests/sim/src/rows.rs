//! The reading methods of [`Rows`], each behind the latency and the faults of a node's connection.

use std::ops::RangeInclusive;

use protocol_core::Timestamp;
use storage::simulated::*;
use storage::*;

use crate::db::SimRows;

/// A read happens at one moment between its question and its answer.
macro_rules! reads {
    ($($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        #[async_trait::async_trait]
        impl Rows for SimRows {
            async fn apply(&self, what: &'static str, writes: Writes) -> Result<(), ApplyError> {
                self.write(what, writes).await
            }

            async fn pause(&self, attempt: u32) {
                self.wait_for_another_try(attempt).await;
            }

            async fn close(&self) {}

            async fn now(&self) -> Result<Timestamp> {
                self.read_gate().await?;
                let now = self.world.now();
                self.read_gate().await?;
                Ok(now)
            }

            $(async fn $name(&self, $($arg: $type),*) -> Result<$answer> {
                self.read_gate().await?;
                let found = self.live().$name($($arg),*).await;
                self.read_gate().await?;
                found
            })*
        }
    };
}

reads! {
    ping() -> ();
    directory_rev() -> u64;
    orgs() -> Vec<Org>;
    org_named(name: &str) -> Option<OrgRow>;
    org(id: OrgId) -> Option<OrgRow>;
    domains() -> Vec<Domain>;
    domain(name: &str) -> Option<Domain>;
    mailboxes() -> Vec<Mailbox>;
    mailbox(id: MailboxId) -> Option<MailboxRow>;
    administrators(org: Option<OrgId>) -> Vec<Mailbox>;
    aliases() -> Vec<Alias>;
    addresses(addresses: &[String]) -> Vec<Option<AddressRow>>;
    credential(mailbox: MailboxId) -> Option<PasswordRecord>;
    mailbox_states(ids: &[MailboxId]) -> Vec<Option<MailboxState>>;
    subscriptions(mailbox: MailboxId) -> Vec<String>;
    folder_mailbox(folder: FolderId) -> Option<MailboxId>;
    folder(mailbox: MailboxId, folder: FolderId, select: Select) -> Option<FolderRead>;
    changes(mailbox: MailboxId, folder: FolderId, modseq: u64) -> Option<(FolderInfo, Vec<Row>, Vec<u32>)>;
    meta(mailbox: MailboxId, folder: FolderId, uids: RangeInclusive<u32>) -> Option<Vec<(u32, Vec<u8>)>>;
    objects(mailbox: MailboxId, messages: &[MessageId]) -> Vec<(MessageId, u32, u64)>;
    messages(mailbox: MailboxId) -> Vec<MessageId>;
    due(org: OrgId, now: Timestamp, lease_ended: Timestamp, limit: usize) -> Vec<DueKey>;
    due_org_after(org: Option<OrgId>) -> Option<OrgId>;
    due_first(org: OrgId) -> Option<Timestamp>;
    jobs(ids: &[JobId]) -> Vec<JobRow>;
    jobs_oldest(limit: usize) -> Vec<JobRow>;
    jobs_held(org: OrgId, limit: usize) -> Vec<JobRow>;
    jobs_ended(before: Timestamp, limit: usize) -> Vec<JobRow>;
    deliveries(job: JobId) -> Vec<DeliveryRecord>;
    deliveries_between(jobs: RangeInclusive<JobId>) -> Vec<(JobId, DeliveryRecord)>;
    clean_deliveries(before: Timestamp) -> u64;
    queued_messages() -> Vec<(OrgId, MessageId)>;
    log_after(org: OrgId, number: u64, limit: usize) -> Vec<LogRow>;
    clean_log(before: Timestamp) -> u64;
    slots(keys: &[SlotKey]) -> Vec<SlotRow>;
    slots_after(table: SlotTable, after: Option<&SlotKey>, limit: usize) -> Vec<SlotRow>;
    policy(domain: &str) -> Option<StoredPolicy>;
    policies_due(now: Timestamp, limit: usize) -> Vec<StoredPolicy>;
    policies_expired(before: Timestamp, limit: usize) -> Vec<String>;
    dav_owner(mailbox: MailboxId) -> Option<DavOwner>;
    dav_nodes(keys: &[DavKey]) -> Vec<DavNode>;
    dav_members(of: (DavTable, MailboxId, u64), after: Option<Id>, limit: usize) -> Vec<DavNode>;
    dav_changes(of: (DavTable, MailboxId, u64), since: u64) -> Vec<(u64, DavKey)>;
    dav_texts(mailbox: MailboxId, ids: &[u64]) -> Vec<DavText>;
    dav_gone(mailbox: MailboxId, parent: u64, since: u64) -> Vec<DavGone>;
    dav_uids(mailbox: MailboxId, uid: Id) -> Vec<DavKey>;
    dav_mails(limit: usize) -> Vec<DavMail>;
    dav_used(mailbox: MailboxId) -> u64;
}
