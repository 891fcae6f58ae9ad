//! Domains, mailboxes, aliases and the queue of an organisation.

use async_graphql::{Context, Enum, ID, MaybeUndefined, Object, SimpleObject};
use storage::{JobAction, MailboxEdit};

use super::query::{count, parts};
use super::types::DateTime;
use crate::api::{directory, tenants};

/// What was named, null included.
pub(super) fn named<T>(value: MaybeUndefined<T>) -> Option<Option<T>> {
    match value {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(value)),
    }
}

/// A domain of the organisation.
pub struct Domain(pub storage::Domain);

/// A record that a domain publishes.
#[derive(SimpleObject)]
pub struct DnsRecord {
    /// Its name, with the final dot.
    name: String,
    /// Its type.
    r#type: String,
    /// Its content.
    value: String,
    /// Whether it is published; looked up when asked for.
    live: Option<bool>,
}

impl From<directory::DnsRecord> for DnsRecord {
    fn from(record: directory::DnsRecord) -> DnsRecord {
        let directory::DnsRecord { name, kind, value, live } = record;
        DnsRecord { name, r#type: kind, value, live }
    }
}

/// A domain of the organisation.
#[Object]
impl Domain {
    /// Its name, an A-label.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// Recipients that one message may have.
    async fn max_recipients_per_message(&self) -> Option<u64> {
        self.0.settings.quota_max_recipients_per_message
    }

    /// Recipients in an hour.
    async fn hourly_send_limit(&self) -> Option<u64> {
        self.0.settings.quota_hourly_send_limit
    }

    /// Recipients in a day.
    async fn daily_send_limit(&self) -> Option<u64> {
        self.0.settings.quota_daily_send_limit
    }

    /// Jobs that may be queued at once.
    async fn max_queued_jobs(&self) -> Option<u64> {
        self.0.settings.quota_max_queued_jobs
    }

    /// What a recipient of the domain that nobody has gets its mail to.
    async fn catch_all(&self) -> Option<&str> {
        self.0.settings.catch_all.as_deref()
    }

    /// Whether what stands behind a delimiter in an address is left out when its mailbox is looked for.
    async fn plus_addressing(&self) -> bool {
        self.0.settings.plus_addressing.unwrap_or(true)
    }

    /// The delimiter.
    async fn plus_delimiter(&self) -> &str {
        self.0.settings.plus_delimiter.as_deref().unwrap_or("+")
    }

    /// Octets that a mailbox of the domain may hold which has no limit of its own.
    async fn mailbox_quota_bytes(&self) -> Option<u64> {
        self.0.settings.quota_mailbox_bytes
    }

    /// Recipients that this hour's messages had so far, in UTC. Counted while there is a limit.
    #[graphql(complexity = "5")]
    async fn sent_this_hour(&self, context: &Context<'_>) -> async_graphql::Result<u64> {
        let (app, _) = parts(context)?;
        Ok(tenants::used(app, &self.0.name, tenants::Used::Hour).await?)
    }

    /// The same of today's.
    #[graphql(complexity = "5")]
    async fn sent_today(&self, context: &Context<'_>) -> async_graphql::Result<u64> {
        let (app, _) = parts(context)?;
        Ok(tenants::used(app, &self.0.name, tenants::Used::Day).await?)
    }

    /// Jobs that are queued now. Counted while there is a limit.
    #[graphql(complexity = "5")]
    async fn queued_jobs(&self, context: &Context<'_>) -> async_graphql::Result<u64> {
        let (app, _) = parts(context)?;
        Ok(tenants::used(app, &self.0.name, tenants::Used::Jobs).await?)
    }

    /// The records to publish.
    #[graphql(complexity = "20 + child_complexity")]
    async fn dns_records(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Look up which are published.")] check: Option<bool>,
    ) -> async_graphql::Result<Vec<DnsRecord>> {
        let (app, _) = parts(context)?;
        let records = directory::records(app, &self.0, check.unwrap_or_default()).await;
        Ok(records.into_iter().map(DnsRecord::from).collect())
    }
}

/// A person's or role's account.
#[derive(SimpleObject)]
pub struct Mailbox {
    /// Its ID.
    id: ID,
    /// Its address.
    address: String,
    /// The name of whoever has it.
    name: String,
    /// Octets it may hold; none: its domain's limit, or none.
    quota_bytes: Option<u64>,
    /// Octets it holds.
    used_bytes: u64,
    /// It takes no mail and lets nobody in.
    disabled: bool,
}

impl From<storage::Mailbox> for Mailbox {
    fn from(mailbox: storage::Mailbox) -> Mailbox {
        Mailbox {
            id: ID(mailbox.id.to_string()),
            address: mailbox.address,
            name: mailbox.name,
            quota_bytes: mailbox.quota_bytes,
            used_bytes: mailbox.used_bytes,
            disabled: mailbox.disabled,
        }
    }
}

/// An address whose mail goes to others.
#[derive(SimpleObject)]
pub struct Alias {
    /// The address.
    address: String,
    /// Where its mail goes.
    targets: Vec<String>,
}

impl From<storage::Alias> for Alias {
    fn from(alias: storage::Alias) -> Alias {
        Alias { address: alias.address, targets: alias.targets }
    }
}

/// Where a job stands.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "storage::JobState")]
pub enum JobState {
    /// It waits for its next attempt.
    Queued,
    /// It is being delivered.
    Processing,
    /// It was held.
    Held,
    /// It failed, and is kept for a while.
    Dead,
    /// It was given up.
    Cancelled,
}

/// What can be done to a job.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub enum QueueAction {
    /// Try it now.
    Retry,
    /// Hold it.
    Hold,
    /// Let it go on.
    Release,
    /// Give it up.
    Cancel,
}

/// One message on its way to one destination.
#[derive(SimpleObject)]
pub struct Job {
    /// Its ID.
    id: ID,
    /// Where it stands.
    state: JobState,
    /// The reverse-path.
    sender: String,
    /// The destination.
    domain: String,
    /// Its recipients.
    recipients: Vec<String>,
    /// Attempts so far.
    attempts: u32,
    /// When it was accepted.
    created_at: DateTime,
    /// When it is tried next.
    next_attempt_at: Option<DateTime>,
}

impl From<storage::Job> for Job {
    fn from(job: storage::Job) -> Job {
        let waits = job.state == storage::JobState::Queued;
        Job {
            id: ID(job.spec.id.to_string()),
            state: job.state.into(),
            sender: job.spec.sender,
            domain: job.spec.domain,
            recipients: job.spec.recipients.into_iter().map(|r| r.address).collect(),
            attempts: job.attempts,
            created_at: DateTime(job.spec.created),
            next_attempt_at: waits.then_some(DateTime(job.due)),
        }
    }
}

/// What an organisation has.
#[derive(Default)]
pub struct DirectoryQuery;

#[Object]
impl DirectoryQuery {
    /// The organisation's domains. Needs the scope `admin`.
    async fn domains(&self, context: &Context<'_>) -> async_graphql::Result<Vec<Domain>> {
        let (app, caller) = parts(context)?;
        Ok(directory::domains(app, caller).await?.into_iter().map(Domain).collect())
    }

    /// The organisation's mailboxes, by address. Needs the scope `admin`.
    async fn mailboxes(&self, context: &Context<'_>) -> async_graphql::Result<Vec<Mailbox>> {
        let (app, caller) = parts(context)?;
        Ok(directory::mailboxes(app, caller).await?.into_iter().map(Mailbox::from).collect())
    }

    /// The organisation's aliases, by address. Needs the scope `admin`.
    async fn aliases(&self, context: &Context<'_>) -> async_graphql::Result<Vec<Alias>> {
        let (app, caller) = parts(context)?;
        Ok(directory::aliases(app, caller).await?.into_iter().map(Alias::from).collect())
    }

    /// What the organisation has in the queue, the oldest first. Needs the scope `admin`.
    async fn queue(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "How many at most, 1 to 100; 20 when absent.")] first: Option<i32>,
    ) -> async_graphql::Result<Vec<Job>> {
        let (app, caller) = parts(context)?;
        Ok(directory::jobs(app, caller, count(first)?).await?.into_iter().map(Job::from).collect())
    }
}

/// What can be done with what an organisation has.
#[derive(Default)]
pub struct DirectoryMutation;

#[Object]
impl DirectoryMutation {
    /// Makes a mailbox at one of the organisation's domains. Needs the scope `admin`.
    async fn create_mailbox(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its address.")] address: String,
        #[graphql(desc = "The password that lets its owner in.", secret)] password: String,
        #[graphql(desc = "The name of whoever has it.")] name: Option<String>,
        #[graphql(desc = "Octets it may hold; absent: its domain's limit, or none.")] quota_bytes: Option<
            u64,
        >,
    ) -> async_graphql::Result<Mailbox> {
        let (app, caller) = parts(context)?;
        Ok(directory::create_mailbox(
            app,
            caller,
            &address,
            &password,
            &name.unwrap_or_default(),
            quota_bytes,
        )
        .await?
        .into())
    }

    /// Changes a mailbox; what is not named stays. Needs the scope `admin`.
    #[allow(clippy::too_many_arguments)] // each is an argument of the field
    async fn update_mailbox(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its address.")] address: String,
        #[graphql(desc = "Another password.", secret)] password: Option<String>,
        #[graphql(desc = "It takes no mail and lets nobody in.")] disabled: Option<bool>,
        #[graphql(desc = "The name of whoever has it.")] name: Option<String>,
        #[graphql(desc = "Octets it may hold; null: its domain's limit, or none.")]
        quota_bytes: MaybeUndefined<u64>,
    ) -> async_graphql::Result<Mailbox> {
        let (app, caller) = parts(context)?;
        let edit = MailboxEdit { name, quota_bytes: named(quota_bytes) };
        let password = password.as_deref();
        Ok(directory::update_mailbox(app, caller, &address, password, disabled, edit).await?.into())
    }

    /// Removes a mailbox with everything in it; its address. Needs the scope `admin`.
    async fn delete_mailbox(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its address.")] address: String,
    ) -> async_graphql::Result<String> {
        let (app, caller) = parts(context)?;
        Ok(directory::delete_mailbox(app, caller, &address).await?)
    }

    /// Sends the mail of an address to others. Needs the scope `admin`.
    async fn add_alias(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The address, at one of the organisation's domains.")] address: String,
        #[graphql(desc = "Where its mail goes.")] targets: Vec<String>,
    ) -> async_graphql::Result<Alias> {
        let (app, caller) = parts(context)?;
        Ok(directory::add_alias(app, caller, &address, targets).await?.into())
    }

    /// Removes an alias; its address. Needs the scope `admin`.
    async fn delete_alias(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The address.")] address: String,
    ) -> async_graphql::Result<String> {
        let (app, caller) = parts(context)?;
        Ok(directory::delete_alias(app, caller, &address).await?)
    }

    /// Does something to a job of the queue. Needs the scope `admin`.
    async fn act_on_job(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its ID.")] id: ID,
        #[graphql(desc = "What.")] action: QueueAction,
    ) -> async_graphql::Result<Job> {
        let (app, caller) = parts(context)?;
        let action = match action {
            QueueAction::Retry => JobAction::Retry,
            QueueAction::Hold => JobAction::Hold,
            QueueAction::Release => JobAction::Release,
            QueueAction::Cancel => JobAction::Cancel,
        };
        Ok(directory::act_on_job(app, caller, &id, action).await?.into())
    }
}
