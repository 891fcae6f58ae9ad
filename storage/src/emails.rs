//! E-mails of the API: sealed and opened, cancelled and put off.

use protocol_core::Timestamp;

use crate::api::{Email, EmailPrivate, NewEmail};
use crate::error::{Error, Refusal, Result};
use crate::facade::{Inner, Storage};
use crate::types::{DeliveryRecord, Id, Job, JobAction, JobId, JobState, MailboxId, MessageId, OrgId};

/// Stands for the mailbox that an e-mail has none of, where its row is sealed. No mailbox has this ID.
const NO_MAILBOX: MailboxId = MailboxId(Id([0; 16]));

impl Inner {
    pub(crate) async fn seal_email(&self, new: NewEmail) -> Result<Email> {
        let NewEmail { id, org, open, private } = new;
        let json = serde_json::to_vec(&private).map_err(|e| Error::Unavailable(e.to_string()))?;
        let sealed = self.tenant(org).await?.seal_meta(NO_MAILBOX, id, &json)?;
        Ok(Email { id, org, open, sealed })
    }
}

impl Storage {
    /// Opens what an e-mail's row keeps sealed.
    pub async fn open_email(&self, email: &Email) -> Result<EmailPrivate> {
        let tenant = self.inner.tenant(email.org).await?;
        let json = tenant.open_meta(NO_MAILBOX, email.id, &email.sealed)?;
        serde_json::from_slice(&json).map_err(|_| Error::Corrupt(format!("e-mail {}", email.id)))
    }

    /// What was answered to the request of an organisation that came before under this key; none when there was none,
    /// or it is longer ago than keys are kept.
    ///
    /// # Errors
    /// [`Refusal::IdempotencyConflict`] when it was another request.
    pub async fn answered_before(
        &self,
        org: OrgId,
        key: &str,
        fingerprint: [u8; 32],
    ) -> Result<Option<String>> {
        let (key, now) = (key.to_owned(), self.store_now());
        self.durable(async move |inner| {
            inner.settle(inner.store.answered_before(org, &key, &fingerprint, now).await)
        })
        .await
    }

    /// What became of an e-mail: its jobs that have a row, and all that was written about it, by time.
    pub async fn story_of(&self, email: &Email) -> Result<(Vec<Job>, Vec<(JobId, DeliveryRecord)>)> {
        // Jobs first: one that is settled between the two reads has left its records by then.
        let jobs = self.store().jobs_of(email.id, email.open.jobs).await?;
        Ok((jobs, self.store().timeline(email.id).await?))
    }

    /// Cancels those jobs of an e-mail that are not yet handed over; how many. [`Refusal::InUse`] when there are none
    /// left to cancel.
    pub async fn cancel_email(&self, org: OrgId, id: MessageId) -> Result<usize> {
        self.act_on_email(org, id, JobAction::Cancel, |_| true).await
    }

    /// Puts a scheduled e-mail off, or sends it earlier, as long as nothing of it was tried; [`Refusal::InUse`]
    /// otherwise.
    pub async fn reschedule_email(&self, org: OrgId, id: MessageId, at: Timestamp) -> Result<()> {
        if self.store().email(org, id).await?.open.send_at.is_none() {
            return Err(Refusal::InUse("the e-mail was not scheduled".into()).into());
        }
        let untried = |job: &Job| job.state == JobState::Queued && job.attempts == 0;
        self.act_on_email(org, id, JobAction::Reschedule(at), untried).await?;
        self.durable(async move |inner| inner.settle(inner.store.put_off_email(org, id, at).await)).await
    }

    async fn act_on_email(
        &self,
        org: OrgId,
        id: MessageId,
        action: JobAction,
        can: impl Fn(&Job) -> bool,
    ) -> Result<usize> {
        let email = self.store().email(org, id).await?;
        let jobs = self.store().jobs_of(id, email.open.jobs).await?;
        if !jobs.iter().all(can) {
            return Err(Refusal::InUse("the e-mail is under way already".into()).into());
        }
        let mut done = 0;
        for job in jobs {
            match self.act_on_job(job.spec.id, action, self.store_now()).await {
                Ok(()) => done += 1,
                // Handed over, settled or cancelled: that recipient's outcome stands.
                Err(Error::Refused(_) | Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        match done {
            0 => Err(Refusal::InUse("nothing of the e-mail waits to be sent any more".into()).into()),
            done => Ok(done),
        }
    }
}
