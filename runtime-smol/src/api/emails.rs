//! What became of an e-mail, read from its row, its jobs and what was written about them.

use std::collections::BTreeMap;

use api_message::limits::SEND_AT_AHEAD_MAX_SECS;
use protocol_core::Timestamp;
use storage::{
    DeliveryRecord, Email, EmailPlace, EmailPrivate, EmailRecipientKind, Job, JobEvent, JobId, JobState,
    MailboxId, MessageId, RecipientState,
};

use super::auth::{Caller, Scope};
use super::error::ApiError;
use crate::app::App;

/// E-mails that one listing returns at most.
pub const PAGE_MAX: usize = 100;
/// E-mails that one listing looks at at most, while it looks for those that fit.
pub const LOOKED_AT_MAX: usize = 2_000;

/// Where a recipient stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not tried yet.
    Queued,
    /// Tried, and to be tried again.
    Deferred,
    /// The next server, or the mailbox here, has it.
    Delivered,
    /// It will not arrive.
    Bounced,
    /// Mail to it is held back.
    Suppressed,
    /// It was delivered, and the recipient complained.
    Complained,
    /// Given up before it was sent.
    Cancelled,
}

/// Where an e-mail stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for its time.
    Scheduled,
    /// Some recipient's outcome is open.
    Queued,
    /// Every recipient has it.
    Delivered,
    /// Some recipients have it, the others never will.
    PartiallyDelivered,
    /// No recipient has it, and none will.
    Failed,
    /// Given up before any recipient had it.
    Cancelled,
}

/// A recipient and what became of the e-mail for it.
#[derive(Clone, Debug)]
pub struct RecipientStory {
    /// As it was given, in wire form.
    pub address: String,
    /// How it is named in the message.
    pub kind: EmailRecipientKind,
    /// Where it stands.
    pub status: Status,
    /// Everything about it, by time.
    pub records: Vec<DeliveryRecord>,
}

/// An e-mail and what became of it.
#[derive(Clone, Debug)]
pub struct Story {
    /// Its row.
    pub email: Email,
    /// What the row keeps sealed.
    pub private: EmailPrivate,
    /// Where it stands.
    pub state: State,
    /// Each with what became of it.
    pub recipients: Vec<RecipientStory>,
    /// When the next attempt is due.
    pub next_attempt: Option<Timestamp>,
}

/// Which e-mails are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// In one of these states; none: in any.
    pub states: Vec<State>,
    /// For this recipient, in canonical form.
    pub recipient: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// Accepted at or after.
    pub after: Option<Timestamp>,
    /// Accepted before.
    pub before: Option<Timestamp>,
}

/// A page of a listing.
pub struct Page {
    /// Those that fit, the newest first.
    pub stories: Vec<Story>,
    /// There may be more behind `end`.
    pub more: bool,
    /// Where the listing goes on.
    pub end: Option<EmailPlace>,
}

impl Status {
    fn is_open(self) -> bool {
        matches!(self, Status::Queued | Status::Deferred)
    }

    fn has_it(self) -> bool {
        matches!(self, Status::Delivered | Status::Complained)
    }

    /// What a record makes of where its recipient stood before.
    pub fn after(self, record: &DeliveryRecord) -> Status {
        match (record.event, record.state) {
            (JobEvent::Complained, _) => Status::Complained,
            (JobEvent::Cancelled, _) | (_, RecipientState::Cancelled) => Status::Cancelled,
            (JobEvent::Attempted | JobEvent::Reported, state) => match state {
                RecipientState::Pending if self == Status::Queued => Status::Deferred,
                RecipientState::Pending => self,
                RecipientState::Delivered if self == Status::Complained => self,
                RecipientState::Delivered => Status::Delivered,
                RecipientState::Bounced | RecipientState::Expired => Status::Bounced,
                RecipientState::Suppressed => Status::Suppressed,
                RecipientState::Cancelled => Status::Cancelled,
            },
            _ => self,
        }
    }
}

/// Where an e-mail stands by where its recipients do.
fn state_of(statuses: &[Status], waits: bool) -> State {
    let any = |is: fn(Status) -> bool| statuses.iter().any(|status| is(*status));
    let all = |is: fn(Status) -> bool| statuses.iter().all(|status| is(*status));
    if any(Status::is_open) {
        return if waits { State::Scheduled } else { State::Queued };
    }
    match (all(Status::has_it), any(Status::has_it)) {
        (true, _) => State::Delivered,
        (false, true) => State::PartiallyDelivered,
        (false, false) if any(|status| status == Status::Cancelled) => State::Cancelled,
        (false, false) => State::Failed,
    }
}

/// Puts together what is known.
fn told(
    email: Email,
    private: EmailPrivate,
    jobs: &[Job],
    timeline: Vec<(JobId, DeliveryRecord)>,
    now: Timestamp,
) -> Story {
    let mut by_recipient: BTreeMap<String, Vec<DeliveryRecord>> = BTreeMap::new();
    for (_, record) in timeline.into_iter().filter(|(_, record)| !record.recipient.is_empty()) {
        by_recipient.entry(record.recipient.clone()).or_default().push(record);
    }
    let recipients: Vec<RecipientStory> = email
        .open
        .recipients
        .iter()
        .map(|r| {
            let records = by_recipient.remove(&r.address).unwrap_or_default();
            let status = records.iter().fold(Status::Queued, |status, record| status.after(record));
            RecipientStory { address: r.address.clone(), kind: r.kind, status, records }
        })
        .collect();
    let statuses: Vec<Status> = recipients.iter().map(|r| r.status).collect();
    let waiting = || jobs.iter().filter(|job| job.state == JobState::Queued);
    let waits = jobs.iter().all(|job| job.state == JobState::Queued && job.attempts == 0 && job.due > now);
    let next_attempt = waiting().map(|job| job.due).min();
    let state = state_of(&statuses, waits && !jobs.is_empty());
    Story { email, private, state, recipients, next_attempt }
}

async fn story_of(app: &App, email: Email) -> Result<Story, ApiError> {
    let private = app.storage.open_email(&email).await?;
    let (jobs, timeline) = app.storage.story_of(&email).await?;
    Ok(told(email, private, &jobs, timeline, app.storage.store_now()))
}

/// Whether an e-mail is the caller's to see: a mailbox sees its own.
pub(super) fn is_visible(caller: &Caller, email: &Email) -> bool {
    may_see(caller, email.open.mailbox)
}

/// Whether what is a mailbox's, or no mailbox's, is the caller's to see.
pub(super) fn may_see(caller: &Caller, owner: Option<MailboxId>) -> bool {
    match &caller.mailbox {
        Some(mailbox) if !caller.scopes.admin => owner == Some(mailbox.id),
        _ => true,
    }
}

/// One e-mail. Another organisation's, another mailbox's, and one that never was are not told apart.
pub async fn find(app: &App, caller: &Caller, id: &str) -> Result<Story, ApiError> {
    caller.needs(Scope::Read)?;
    story_of(app, row(app, caller, id).await?).await
}

async fn row(app: &App, caller: &Caller, id: &str) -> Result<Email, ApiError> {
    let id = MessageId::parse(id).ok_or_else(ApiError::not_found)?;
    let email = app.storage.store().email(caller.org, id).await?;
    if is_visible(caller, &email) { Ok(email) } else { Err(ApiError::not_found()) }
}

/// Those of the caller's e-mails that fit, the newest first.
pub async fn list(
    app: &App,
    caller: &Caller,
    filter: &Filter,
    after: Option<EmailPlace>,
    first: usize,
) -> Result<Page, ApiError> {
    caller.needs(Scope::Read)?;
    let (mut page, mut looked_at) = (Page { stories: Vec::new(), more: false, end: after }, 0);
    // What is newer than the filter wants is passed over at once.
    if let (Some(before), None) = (filter.before, after) {
        page.end = Some(EmailPlace { created: before, id: MessageId(storage::Id([0; 16])) });
    }
    loop {
        let rows = app.storage.store().emails(caller.org, page.end, PAGE_MAX).await?;
        let last_read = rows.len() < PAGE_MAX;
        for email in rows {
            if page.stories.len() == first || looked_at == LOOKED_AT_MAX {
                page.more = true;
                return Ok(page);
            }
            if filter.after.is_some_and(|after| email.open.created < after) {
                return Ok(page);
            }
            looked_at += 1;
            page.end = Some(EmailPlace { created: email.open.created, id: email.id });
            if !is_visible(caller, &email) || !fits_row(filter, &email) {
                continue;
            }
            let story = story_of(app, email).await?;
            if fits_story(filter, &story) {
                page.stories.push(story);
            }
        }
        if last_read {
            return Ok(page);
        }
    }
}

fn fits_row(filter: &Filter, email: &Email) -> bool {
    let is = |address: &str, wanted: &String| crate::smtp::canonical_text(address) == *wanted;
    let recipient = filter.recipient.as_ref();
    recipient.is_none_or(|wanted| email.open.recipients.iter().any(|r| is(&r.address, wanted)))
        && filter.before.is_none_or(|before| email.open.created < before)
}

fn fits_story(filter: &Filter, story: &Story) -> bool {
    (filter.states.is_empty() || filter.states.contains(&story.state))
        && filter.tag.as_ref().is_none_or(|tag| story.private.tags.contains(tag))
}

/// Gives up what is not sent yet; the e-mail as it stands then.
pub async fn cancel(app: &App, caller: &Caller, id: &str) -> Result<Story, ApiError> {
    caller.needs(Scope::Send)?;
    let email = row(app, caller, id).await?;
    app.storage.cancel_email(caller.org, email.id).await?;
    tracing::info!(id = %email.id, "an e-mail was cancelled by its sender");
    story_of(app, email).await
}

/// Sends an e-mail at another time, as long as nothing of it was tried; the e-mail as it stands then.
pub async fn reschedule(app: &App, caller: &Caller, id: &str, at: Timestamp) -> Result<Story, ApiError> {
    caller.needs(Scope::Send)?;
    let now = app.storage.store_now();
    if at.0 - now.0 > SEND_AT_AHEAD_MAX_SECS * 1_000 {
        return Err(ApiError::argument("sendAt", "TOO_FAR_AHEAD", "sendAt: at most 30 days ahead"));
    }
    let email = row(app, caller, id).await?;
    app.storage.reschedule_email(caller.org, email.id, at.max(now)).await?;
    app.queued.notify(usize::MAX);
    story_of(app, row(app, caller, id).await?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(state: RecipientState, event: JobEvent) -> DeliveryRecord {
        DeliveryRecord {
            recipient: "a@b".into(),
            state,
            host: None,
            reply: String::new(),
            tls: String::new(),
            attempt: 1,
            in_doubt: false,
            at_ms: 0,
            event,
        }
    }

    #[test]
    fn a_recipient_stands_where_its_records_leave_it() {
        use JobEvent::{Attempted, Complained, Held, Reported};
        use RecipientState::*;
        for (records, want) in [
            (vec![], Status::Queued),
            (vec![(Pending, Attempted)], Status::Deferred),
            (vec![(Pending, Attempted), (Delivered, Attempted)], Status::Delivered),
            (vec![(Pending, Attempted), (Bounced, Attempted)], Status::Bounced),
            (vec![(Expired, Attempted)], Status::Bounced),
            (vec![(Suppressed, Attempted)], Status::Suppressed),
            (vec![(Delivered, Attempted), (Delivered, Complained)], Status::Complained),
            (vec![(Delivered, Attempted), (Bounced, Reported)], Status::Bounced),
            (vec![(Cancelled, JobEvent::Cancelled)], Status::Cancelled),
            (vec![(Pending, Held)], Status::Queued),
        ] {
            let status =
                records.iter().fold(Status::Queued, |s, (state, event)| s.after(&record(*state, *event)));
            assert_eq!(status, want, "{records:?}");
        }
    }

    #[test]
    fn an_email_stands_where_its_recipients_do() {
        use Status::*;
        for (statuses, waits, want) in [
            (vec![Queued, Delivered], false, State::Queued),
            (vec![Queued], true, State::Scheduled),
            (vec![Delivered, Complained], false, State::Delivered),
            (vec![Delivered, Bounced], false, State::PartiallyDelivered),
            (vec![Suppressed, Bounced], false, State::Failed),
            (vec![Cancelled, Bounced], false, State::Cancelled),
            (vec![Deferred, Bounced], false, State::Queued),
        ] {
            assert_eq!(state_of(&statuses, waits), want, "{statuses:?}");
        }
    }
}
