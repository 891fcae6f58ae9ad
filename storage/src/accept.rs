//! Acceptance: objects first, then one commit of every row and job, then `Ok`.

use std::ops::Range;
use std::sync::Arc;

use protocol_core::Timestamp;
use protocol_core::message::{Structure, encrypted};
use tracing::Instrument;

use crate::api::{LogRow, NewEmail};
use crate::claimer::{Claimer, Claiming};
use crate::e2ee::Recipient;
use crate::error::{Error, Refusal, Result};
use crate::facade::{Inner, Storage};
use crate::keys::{self, TenantKey};
use crate::objects::{Content, Encoder, Envelope, EnvelopeJob, NewObject, ObjectKey, Place};
use crate::parts::PartObject;
use crate::slots::{Charge, Idempotency, SuppressionChange};
use crate::spool::Spool;
use crate::types::*;

/// The target of spans: what follows a message through this crate. Only a subscriber that wants them has them made.
pub const SPANS: &str = "telemetry";
/// Objects of one acceptance that are written at once.
const PUTS_AT_ONCE: usize = 8;

/// A message to be made durable: for folders, for the queue, or for both.
#[derive(Clone, Debug, Default)]
pub struct Accept {
    /// Reverse-path without brackets.
    pub sender: String,
    /// Forward-paths as they were given.
    pub recipients: Vec<String>,
    /// When it was received.
    pub received: Timestamp,
    /// Folders it goes to; each gets an object of its own.
    pub deliveries: Vec<Deliver>,
    /// The body that `jobs` share.
    pub queued: Option<Queued>,
    /// Jobs; their message must be that of `queued`, and their size is set to its size.
    pub jobs: Vec<NewJob>,
    /// As in [`Commit`].
    pub charges: Vec<Charge>,
    /// As in [`Commit`].
    pub idempotency: Option<Idempotency>,
    /// As in [`Commit`].
    pub suppressions: Vec<(OrgId, SuppressionChange)>,
    /// As in [`Commit`].
    pub events: Vec<(JobId, DeliveryRecord)>,
    /// As in [`Commit`], not yet sealed.
    pub email: Option<NewEmail>,
    /// The trace of the reception, as in [`NewJob`], for those who are told what arrives.
    pub trace: Option<String>,
}

/// A message for a folder of one mailbox.
#[derive(Clone, Debug)]
pub struct Deliver {
    /// The mailbox's organisation.
    pub org: OrgId,
    /// Whose folder.
    pub mailbox: MailboxId,
    /// A new ID, different from that of every other delivery.
    pub message: MessageId,
    /// Trace fields, put in front.
    pub prefix: Vec<u8>,
    /// Ranges of the spooled message that are left out, in order.
    pub skip: Vec<Range<u64>>,
    /// Which folder.
    pub folder: FolderTarget,
    /// Initial flags.
    pub flags: NamedFlags,
    /// INTERNALDATE.
    pub internal_date: Timestamp,
    /// Envelope and structure; sealed here, opaque to storage.
    pub meta: Vec<u8>,
    /// Whether the mailbox's quota is checked ([`Refusal::OverQuota`]).
    pub check_quota: bool,
    /// The mailbox's address, when that it arrived goes into the organisation's log.
    pub told: Option<String>,
}

/// The body of a queued message.
#[derive(Clone, Debug)]
pub struct Queued {
    /// The sender's organisation.
    pub org: OrgId,
    /// A new ID.
    pub message: MessageId,
    /// Put in front.
    pub prefix: Vec<u8>,
    /// Left out, in order.
    pub skip: Vec<Range<u64>>,
}

/// An acceptance with its objects and rows made ready; nothing is written yet.
#[derive(Default)]
pub(crate) struct Plan {
    objects: Vec<(NewObject, TenantKey)>,
    commit: Commit,
}

/// Due jobs of a commit: claimed with it, or not.
struct Born {
    claiming: Option<Box<dyn Claiming>>,
    jobs: Vec<Job>,
}

impl Storage {
    /// Makes a message durable: all of it when the answer is `Ok`, and then it is in its folders' views; the
    /// answer says where each delivery went, in order. After a refusal or [`Error::Unavailable`] nothing of it
    /// is stored. After [`Error::OutcomeUnknown`] its objects stay, so that it is not lost if it counts.
    pub async fn accept(&self, spool: &Spool, accept: Accept) -> Result<Vec<Placed>> {
        self.accept_forms(spool, spool, accept).await
    }

    /// The same for a message that folders get in one form, `delivered`, and the queue in another, `queued`.
    pub async fn accept_forms(
        &self,
        delivered: &Spool,
        queued: &Spool,
        accept: Accept,
    ) -> Result<Vec<Placed>> {
        self.accept_with(delivered, queued, accept, []).await
    }

    /// The same, and in the same transaction all that `also` accepts; the answer's further places are its own.
    pub async fn accept_with(
        &self,
        delivered: &Spool,
        queued: &Spool,
        accept: Accept,
        also: impl IntoIterator<Item = (Spool, Accept)>,
    ) -> Result<Vec<Placed>> {
        let mut plan = self.inner.plan(delivered, queued, accept).await?;
        for (spool, accept) in also {
            plan.join(self.inner.plan(&spool, &spool, accept).await?)?;
        }
        let span = tracing::info_span!(
            target: SPANS,
            "storage.accept",
            inbox.rows = plan.commit.rows.len(),
            inbox.jobs = plan.commit.jobs.len(),
        );
        self.durable(async move |inner| {
            let accepted = async {
                let (objects, keys, mut commit) = plan.into_parts();
                let due = inner.claim_at_birth(&mut commit);
                // Keys are not forgotten while somebody holds them: the rows are sealed with them too.
                let _held: Vec<TenantKey> = objects.iter().map(|(_, tenant)| tenant.clone()).collect();
                let _flight = inner.begin_flight(keys.clone());
                inner
                    .put_all(objects)
                    .instrument(tracing::info_span!(target: SPANS, "storage.objects"))
                    .await?;
                let committing = tracing::info_span!(target: SPANS, "storage.commit");
                let outcome = inner.settle(inner.writer.write(commit).instrument(committing).await);
                inner.conclude(&outcome, &keys).await;
                if let (Ok(_), Some(due)) = (&outcome, due) {
                    inner.born(due);
                }
                outcome
            };
            accepted.instrument(span).await
        })
        .await
    }

    /// Who takes jobs at once that this process accepts; for good.
    pub fn set_claimer(&self, claimer: Arc<dyn Claimer>) {
        let _ = self.inner.claimer.set(claimer);
    }

    /// Those of jobs just claimed that are still wanted. Jobs of an organisation that was deleted while they were being
    /// accepted are cancelled.
    pub async fn still_wanted(&self, jobs: Vec<Job>) -> Result<Vec<Job>> {
        self.durable(async move |inner| inner.without_the_deleted(jobs, inner.clock.now()).await).await
    }
}

impl Inner {
    pub(crate) async fn plan(&self, delivered: &Spool, for_queue: &Spool, accept: Accept) -> Result<Plan> {
        let Accept { sender, recipients, received, deliveries, queued, mut jobs, .. } = accept;
        let Accept { charges, idempotency, suppressions, events, email, trace, .. } = accept;
        let at = self.clock.now();
        let email = match email {
            Some(email) => Some(self.seal_email(email).await?),
            None => None,
        };
        let commit = Commit { charges, idempotency, suppressions, events, email, at, ..Commit::default() };
        let mut plan = Plan { objects: Vec::with_capacity(deliveries.len() + 1), commit };
        let envelope = |place, meta| Envelope {
            place,
            sender: sender.clone(),
            recipients: recipients.clone(),
            received_ms: received.0,
            len: 0,
            hash: [0; 32],
            sequence: self.next_sequence(),
            wrapped_key: None,
            meta,
        };
        let mut parts = Vec::new();
        for deliver in deliveries {
            let key = ObjectKey::stored(deliver.org, deliver.mailbox, deliver.message);
            let content = Content::new(deliver.prefix.clone(), delivered, &deliver.skip)?;
            let original = Structure::decode(&deliver.meta).ok();
            let (content, deliver, wrapped) =
                self.for_owner(content, deliver, original.as_ref(), at, &mut parts).await?;
            let tenant = self.tenant_of(deliver.org, Some(deliver.mailbox)).await?;
            plan.commit.rows.push(row(&deliver, content.len(), &tenant, wrapped.as_deref())?);
            if let Some(address) = &deliver.told {
                let (mailbox, message) = ((deliver.mailbox, address.as_str()), deliver.message);
                let row = LogRow::arrived(deliver.org, mailbox, message, received, trace.clone());
                plan.commit.arrived.push(row);
            }
            for part in parts.drain(..) {
                let envelope = Envelope { wrapped_key: wrapped.clone(), ..envelope(part.place, Vec::new()) };
                let object = NewObject { key: part.key, envelope, content: part.content };
                plan.objects.push((object, tenant.clone()));
            }
            let envelope = Envelope { wrapped_key: wrapped, ..envelope(place(&deliver), deliver.meta) };
            plan.objects.push((NewObject { key, envelope, content }, tenant));
        }
        match queued {
            Some(queued) if jobs.iter().all(|j| (j.org, j.message) == (queued.org, queued.message)) => {
                let key = ObjectKey::queued(queued.org, queued.message);
                let content = Content::new(queued.prefix, for_queue, &queued.skip)?;
                jobs.iter_mut().for_each(|job| job.size = content.len());
                let place = Place::Queue { jobs: jobs.iter().map(EnvelopeJob::from).collect() };
                let tenant = self.tenant(queued.org).await?;
                plan.objects
                    .push((NewObject { key, envelope: envelope(place, Vec::new()), content }, tenant));
            }
            None if jobs.is_empty() => {}
            _ => return Err(Refusal::Invalid("jobs need the body they name".into()).into()),
        }
        plan.commit.jobs = jobs;
        Ok(plan)
    }

    /// The message as its mailbox keeps it: where only the owner may read, encrypted to the owner's key, unless it
    /// came encrypted. Beside it the owner's wrapped key, which goes with object and row; `parts` gets what is stored
    /// beside the message.
    async fn for_owner(
        &self,
        content: Content,
        mut deliver: Deliver,
        original: Option<&Structure>,
        at: Timestamp,
        parts: &mut Vec<PartObject>,
    ) -> Result<(Content, Deliver, Option<String>)> {
        let domain = self.domain_name_of(deliver.mailbox).await?;
        let settings = match self.store.domain_lately(&domain).await {
            Ok(domain) => domain.settings,
            // The mailbox is gone, and the commit says so.
            Err(Error::NotFound) => return Ok((content, deliver, None)),
            Err(error) => return Err(error),
        };
        let wrapped = settings.enc_wrapped_dek_customer.clone();
        let key = ObjectKey::stored(deliver.org, deliver.mailbox, deliver.message);
        let recipient = match settings.enc_mode.as_deref() {
            Some("e2ee") if original.is_some_and(encrypted::is_encrypted) => {
                return Ok((content, deliver, wrapped));
            }
            Some("e2ee") => Some(Recipient::of(&settings)?),
            _ => None,
        };
        if let Some(structure) = original {
            parts.extend(self.parts_of(key, &content, structure, recipient.as_ref(), at).await?);
        }
        let Some(recipient) = recipient else { return Ok((content, deliver, wrapped)) };
        // Base64 makes it longer by a third, and the limit was checked when the message came in.
        let shown = Spool::new(self.spool_dir.clone(), u64::MAX);
        let (shown, structure) = recipient.encrypt(content, shown, at).await?;
        (deliver.prefix, deliver.skip, deliver.meta) = (Vec::new(), Vec::new(), structure.encode());
        Ok((Content::new(Vec::new(), &shown, &[])?, deliver, wrapped))
    }

    /// Asks the queue to take the commit's jobs that are due, if there are any.
    fn claim_at_birth(&self, commit: &mut Commit) -> Option<Born> {
        let due = commit.jobs.iter().filter(|job| job.due <= commit.at).count();
        let claimer = self.claimer.get().filter(|_| due > 0)?;
        let claiming = claimer.claim(due);
        let claim = claiming.as_ref().map(|claiming| claiming.claim());
        let claimed =
            claim.iter().flat_map(|claim| commit.jobs.iter().filter_map(|job| claim.of(job, commit.at)));
        let jobs = claimed.collect();
        commit.claim = claim;
        Some(Born { claiming, jobs })
    }

    /// Tells the queue of jobs that are durable now: its own, or anybody's.
    fn born(&self, born: Born) {
        match (born.claiming, self.claimer.get()) {
            (Some(claiming), _) => claiming.claimed(born.jobs),
            (None, Some(claimer)) => claimer.queued(),
            (None, None) => {}
        }
    }

    /// Writes all objects of a plan; when one cannot be written, none stays.
    pub(crate) async fn put_all(self: &Arc<Self>, objects: Vec<(NewObject, TenantKey)>) -> Result<()> {
        let mut waiting = objects.into_iter();
        let mut written = Vec::with_capacity(waiting.len());
        let mut outcome = Ok(());
        while outcome.is_ok() && waiting.len() > 0 {
            let put = |(object, tenant): (NewObject, TenantKey)| {
                let (blobs, key) = (self.blobs_of(&tenant), object.key);
                let source = Box::new(Encoder::new(object, tenant));
                (key, self.spawn(async move { blobs.put(key, source).await }))
            };
            let under_way: Vec<_> = waiting.by_ref().take(PUTS_AT_ONCE).map(put).collect();
            for (key, put) in under_way {
                // Also what failed may have left something under its name.
                written.push(key);
                outcome = outcome.and(put.await);
            }
        }
        if outcome.is_err() {
            self.delete_objects(&written).await;
        }
        outcome
    }

    pub(crate) async fn confirm(&self, keys: &[ObjectKey]) {
        // Without its mark a message is no less durable; only a damaged database could then lose it.
        if let Err(error) = self.blobs.confirm(keys).await {
            tracing::warn!(%error, "a stored message could not be marked as such");
        }
    }

    /// What the commit's outcome means to the objects. Once their rows are there they are marked: an object
    /// with the mark and without rows is what a damaged database lost, one without either was never
    /// acknowledged. After a definite refusal no row will ever refer to them. When the outcome is not known
    /// they stay: one may be all that is left of an accepted message.
    pub(crate) async fn conclude<T>(&self, outcome: &Result<T>, keys: &[ObjectKey]) {
        match outcome {
            Ok(_) => self.confirm(keys).await,
            Err(Error::OutcomeUnknown(_) | Error::Corrupt(_)) => {}
            Err(Error::Refused(_) | Error::NotFound | Error::Unavailable(_)) => {
                self.delete_objects(keys).await
            }
        }
    }
}

impl Plan {
    /// Makes one of both.
    pub(crate) fn join(&mut self, other: Plan) -> Result<()> {
        self.objects.extend(other.objects);
        self.commit.join(other.commit)
    }

    /// Objects, their names and the commit.
    pub(crate) fn into_parts(self) -> (Vec<(NewObject, TenantKey)>, Vec<ObjectKey>, Commit) {
        let keys = self.objects.iter().map(|(object, _)| object.key).collect();
        (self.objects, keys, self.commit)
    }
}

fn row(deliver: &Deliver, size: u64, tenant: &TenantKey, wrapped: Option<&str>) -> Result<NewRow> {
    let meta = tenant.seal_meta(deliver.mailbox, deliver.message, &deliver.meta)?;
    Ok(NewRow {
        mailbox: deliver.mailbox,
        folder: deliver.folder.clone(),
        message: deliver.message,
        size,
        internal_date: deliver.internal_date,
        flags: deliver.flags.clone(),
        meta: keys::with_wrapped_key(meta, wrapped),
        check_quota: deliver.check_quota,
    })
}

fn place(deliver: &Deliver) -> Place {
    Place::Folder {
        folder: match &deliver.folder {
            FolderTarget::Id(id) => Some(id.to_string()),
            FolderTarget::Use(_) => None,
        },
        internal_date_ms: deliver.internal_date.0,
        flags: deliver.flags.system.0,
        keywords: deliver.flags.keywords.clone(),
    }
}

impl From<&NewJob> for EnvelopeJob {
    fn from(job: &NewJob) -> EnvelopeJob {
        EnvelopeJob {
            id: job.id.to_string(),
            sender: job.sender.clone(),
            domain: job.domain.clone(),
            recipients: job.recipients.clone(),
            envid: job.envid.clone(),
            ret: job.ret.clone(),
            eight_bit: job.eight_bit,
            binary: job.binary,
            smtputf8: job.smtputf8,
            require_tls: job.require_tls,
            is_dsn: job.is_dsn,
            created_ms: job.created.0,
            start_ms: job.start.0,
            due_ms: job.due.0,
            deliver_by: job.deliver_by,
            logged: job.logged,
            trace: job.trace.clone(),
        }
    }
}

impl EnvelopeJob {
    /// The job as it was queued; none when its ID cannot be read.
    pub(crate) fn to_job(&self, org: OrgId, message: MessageId, size: u64) -> Option<NewJob> {
        Some(NewJob {
            id: JobId::parse(&self.id)?,
            org,
            message,
            size,
            sender: self.sender.clone(),
            domain: self.domain.clone(),
            recipients: self.recipients.clone(),
            envid: self.envid.clone(),
            ret: self.ret.clone(),
            eight_bit: self.eight_bit,
            binary: self.binary,
            smtputf8: self.smtputf8,
            require_tls: self.require_tls,
            is_dsn: self.is_dsn,
            created: Timestamp(self.created_ms),
            start: Timestamp(self.start_ms),
            due: Timestamp(self.due_ms),
            deliver_by: self.deliver_by,
            // Its counter was lost or settled with its row.
            counted: None,
            logged: self.logged,
            trace: self.trace.clone(),
        })
    }
}
