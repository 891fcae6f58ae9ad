//! Quotas, suppressions, and what administrators change.

use protocol_core::Timestamp;
use storage::simulated::{Rows, Writes};
use storage::{
    Charge, Claim, Commit, Directory, DomainSettings, Error, JobAction, JobId, JobState, Jobs, Limits, Mail,
    NewJob, OrgId, RecipientState, Refusal, Suppression, SuppressionKey, SuppressionSource,
};

use super::Front;
use crate::mutants::Mutant;

impl Front {
    /// What a sender's domain may send.
    pub async fn settings(&self, domain: &str) -> Result<DomainSettings, Error> {
        Ok(self.engine.domain(domain).await?.settings)
    }

    /// Accepts a message and what it is charged: all or none. Its jobs belong to who claims them at once.
    pub async fn submit(
        &self,
        jobs: Vec<NewJob>,
        charges: Vec<Charge>,
        claim: Option<Claim>,
        now: Timestamp,
    ) -> Result<(), Error> {
        if self.is(Mutant::CountThenInsert) {
            return self.count_then_insert(jobs, charges, claim, now).await;
        }
        self.commit(Commit { jobs, charges, claim, at: now, ..Commit::default() }).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), Error> {
        let mut answers = self.engine.commit_batch(vec![commit]).await;
        let missing = || Err(Error::OutcomeUnknown("no answer".into()));
        answers.pop().unwrap_or_else(missing).map(drop)
    }

    async fn count_then_insert(
        &self,
        jobs: Vec<NewJob>,
        charges: Vec<Charge>,
        claim: Option<Claim>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let keys: Vec<_> = charges.iter().map(|charge| charge.counter.clone()).collect();
        let used = self.engine.counters(&keys).await?;
        if let Some((charge, _)) =
            charges.iter().zip(used).find(|(c, used)| used.saturating_add_signed(c.amount) > c.limit)
        {
            return Err(Refusal::Quota(charge.quota).into());
        }
        self.commit(Commit { jobs, claim, at: now, ..Commit::default() }).await?;
        let unlimited = charges.into_iter().map(|charge| Charge { limit: u64::MAX, ..charge });
        self.engine.count(unlimited.collect()).await.map(drop)
    }

    /// What holds mail of an organisation to an address back, if anything: by what keys it is asked for, and which of
    /// them hold at a time of the store.
    pub async fn suppressed(
        &self,
        keys: &[SuppressionKey],
        now: Timestamp,
    ) -> Result<Vec<SuppressionKey>, Error> {
        let rows = self.engine.suppressions(keys).await?;
        Ok(rows.into_iter().filter(|row| row.holds(now)).map(|row| row.key).collect())
    }

    /// Holds mail back.
    pub async fn suppress(&self, key: SuppressionKey, now: Timestamp) -> Result<(), Error> {
        let (reason, source) = ("by hand".into(), SuppressionSource::Manual);
        self.engine.put_suppression(&Suppression { key, reason, source, created: now, expires: None }).await
    }

    /// Lets it go again.
    pub async fn lift(&self, key: &SuppressionKey) -> Result<bool, Error> {
        self.engine.remove_suppression(key).await
    }

    /// Edits what a sender's domain may send.
    pub async fn edit(&self, domain: &str, settings: &DomainSettings) -> Result<(), Error> {
        self.engine.set_domain(domain, settings).await
    }

    /// Cancels a job.
    pub async fn cancel(&self, job: JobId, now: Timestamp) -> Result<(), Error> {
        let done = self.engine.act_on_job(job, JobAction::Cancel, now).await;
        match done {
            Err(Error::Refused(Refusal::InUse(_))) if self.is(Mutant::CancelAfterDot) => {
                self.cancel_anyway(job).await
            }
            done => done,
        }
    }

    async fn cancel_anyway(&self, job: JobId) -> Result<(), Error> {
        let Some(mut row) = self.rows.jobs(&[job]).await?.pop() else { return Err(Error::NotFound) };
        if row.job.state != JobState::Processing {
            return Ok(());
        }
        let before = row.due_at();
        (row.job.state, row.job.owner, row.job.lease_until) = (JobState::Cancelled, None, None);
        let pending = row.job.spec.recipients.iter_mut().filter(|r| r.state == RecipientState::Pending);
        pending.for_each(|recipient| recipient.state = RecipientState::Cancelled);
        let mut writes = Writes::default();
        writes.job(before, row);
        self.rows.apply("act_on_job", writes).await.map_err(Error::from)
    }

    /// Deletes a tenant: its domain first, then all that it has queued, then itself.
    pub async fn delete_tenant(&self, org: OrgId, domain: &str, now: Timestamp) -> Result<(), Error> {
        match self.engine.delete_domain(domain).await {
            Ok(()) | Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
        if !self.is(Mutant::DeletionLeavesLeased) {
            return self.engine.delete_org(domain).await;
        }
        for job in self.engine.list_jobs(usize::MAX).await? {
            if job.spec.org == org && job.state == JobState::Queued {
                self.engine.act_on_job(job.spec.id, JobAction::Cancel, now).await?;
            }
        }
        let directory_rev = Some(self.rows.directory_rev().await?);
        let writes = Writes { directory_rev, orgs_gone: vec![org], ..Writes::default() };
        self.rows.apply("delete_org", writes).await.map_err(Error::from)
    }
}
