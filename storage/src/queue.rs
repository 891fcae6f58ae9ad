//! The outbound queue: passes on to the rows, and deletes a message's body when its last job is settled.

use std::collections::BTreeSet;

use protocol_core::Timestamp;
use protocol_core::time::Duration;
use tracing::Instrument;

use crate::accept::{Accept, Plan, SPANS};
use crate::error::{Error, Refusal, Result};
use crate::facade::{Inner, Storage, now};
use crate::keys::TenantKey;
use crate::objects::{ObjectKey, Place};
use crate::spool::Spool;
use crate::types::*;

impl Storage {
    /// The store's clock: all nodes judge leases by it, and what is due.
    pub fn store_now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// See [`crate::Jobs::claim_jobs`]; by the store's clock, which is asked for it. Jobs of an organisation that was
    /// deleted while they were being accepted are cancelled, and not among them.
    pub async fn claim_jobs(
        &self,
        owner: &str,
        lease: Duration,
        skew: Duration,
        limit: usize,
    ) -> Result<Vec<Job>> {
        let owner = owner.to_owned();
        self.durable(async move |inner| {
            let now = inner.clock.ask(&*inner.store).await?;
            let jobs = inner.settle(inner.store.claim_jobs(&owner, now, lease, skew, limit).await)?;
            inner.without_the_deleted(jobs, now).await
        })
        .await
    }

    /// Writes what a holder asks for, with what other holders ask for at the same time. A result goes through
    /// [`Storage::save_job`].
    pub async fn write_job(&self, fence: Fence, write: JobWrite) -> Result<()> {
        self.durable(async move |inner| inner.settle(inner.jobs.write((fence, write)).await.map(drop))).await
    }

    /// Writes an attempt's result, and with it, in the same transaction, all that `also` accepts: its objects are
    /// written before. `update.also` must be empty. When the job is settled and was its message's last, the
    /// body is deleted. The answer is where the rows of `also` went, in order.
    pub async fn save_job(
        &self,
        job: &Job,
        mut update: JobUpdate,
        also: impl IntoIterator<Item = (Spool, Accept)>,
    ) -> Result<Vec<Placed>> {
        if update.also != Commit::default() {
            return Err(Refusal::Invalid("what goes with a result is given by its content".into()).into());
        }
        let mut plan = Plan::default();
        for (spool, accept) in also {
            plan.join(self.inner.plan(&spool, &spool, accept).await?)?;
        }
        let (objects, keys, commit) = plan.into_parts();
        // Keys are not forgotten while somebody holds them: the rows are sealed with them too.
        let held: Vec<TenantKey> = objects.iter().map(|(_, tenant)| tenant.clone()).collect();
        update.also = commit;
        let fence = Fence { job: job.spec.id, epoch: job.epoch };
        let body = ObjectKey::queued(job.spec.org, job.spec.message);
        let settled = update.next_due.is_none() && !update.dead;
        let span = tracing::info_span!(target: SPANS, "storage.result", inbox.settled = settled);
        self.durable(async move |inner| {
            let saved = async {
                let _flight = inner.begin_flight(keys.clone());
                let _held = held;
                inner.put_all(objects).await?;
                let save = JobWrite::Save(Box::new(update));
                let outcome = inner.settle(inner.jobs.write((fence, save)).await);
                inner.conclude(&outcome, &keys).await;
                let placed = outcome?;
                if settled {
                    inner.delete_settled(body, fence.job).await;
                }
                Ok(placed)
            };
            saved.instrument(span).await
        })
        .await
    }

    /// See [`crate::Jobs::act_on_job`]; a cancelled job's body is deleted when no other job needs it.
    pub async fn act_on_job(&self, id: JobId, action: JobAction, now: Timestamp) -> Result<()> {
        self.durable(async move |inner| {
            let job = inner.store.job(id).await?.0;
            inner.settle(inner.store.act_on_job(id, action, now).await)?;
            if let (Some(job), JobAction::Cancel) = (job, action) {
                inner.delete_settled(ObjectKey::queued(job.spec.org, job.spec.message), id).await;
            }
            Ok(())
        })
        .await
    }

    /// See [`crate::Jobs::next_due`].
    pub async fn next_due(&self) -> Result<Option<Timestamp>> {
        self.inner.store.next_due().await
    }

    /// See [`crate::Jobs::list_jobs`].
    pub async fn list_jobs(&self, limit: usize) -> Result<Vec<Job>> {
        self.inner.store.list_jobs(limit).await
    }

    /// See [`crate::Jobs::job`].
    pub async fn job(&self, id: JobId) -> Result<(Option<Job>, Vec<DeliveryRecord>)> {
        self.inner.store.job(id).await
    }

    /// See [`crate::Jobs::clean_jobs`]; bodies that only dead rows needed are collected.
    pub async fn clean_jobs(
        &self,
        dead_before: Timestamp,
        deliveries_before: Timestamp,
    ) -> Result<(u64, u64)> {
        let storage = self.clone();
        self.durable(async move |inner| {
            let cleaned = inner.settle(inner.store.clean_jobs(dead_before, deliveries_before).await)?;
            if cleaned.0 > 0
                && let Err(error) = storage.collect_at(now()).await
            {
                tracing::warn!(%error, "bodies that no job needs could not be collected yet");
            }
            Ok(cleaned)
        })
        .await
    }
}

impl Inner {
    /// What nobody owns any more is cancelled: its organisation's deletion looked for jobs before it was there.
    pub(crate) async fn without_the_deleted(&self, mut jobs: Vec<Job>, now: Timestamp) -> Result<Vec<Job>> {
        let orgs: BTreeSet<OrgId> = jobs.iter().map(|job| job.spec.org).collect();
        for org in orgs {
            match self.store.org_key(org).await {
                Err(Error::NotFound) => {}
                Ok(_) => continue,
                // The claim stands, and nothing is known against it.
                Err(error) => {
                    tracing::warn!(%error, %org, "whether an organisation is still there is not known");
                    continue;
                }
            }
            for job in jobs.extract_if(.., |job| job.spec.org == org) {
                tracing::warn!(%org, job = %job.spec.id, "a job of a deleted organisation is cancelled");
                self.settle(self.store.act_on_job(job.spec.id, JobAction::Cancel, now).await)?;
                self.delete_settled(ObjectKey::queued(org, job.spec.message), job.spec.id).await;
            }
        }
        Ok(jobs)
    }

    /// Deletes a queued message's body unless one of its jobs has a row; `settled` is known to have none. The body
    /// itself says which jobs it was accepted for. On any doubt it stays, to be collected when it is a day old.
    async fn delete_settled(&self, body: ObjectKey, settled: JobId) {
        match self.needed_by_a_job(body, settled).await {
            Ok(true) | Err(Error::NotFound) => {}
            Ok(false) => self.delete_objects(&[body]).await,
            Err(error) => tracing::warn!(%error, object = %body, "a sent message's body is not deleted yet"),
        }
    }

    async fn needed_by_a_job(&self, body: ObjectKey, settled: JobId) -> Result<bool> {
        let object = self.open_object(body).await?;
        let Place::Queue { jobs } = &object.envelope().place else {
            return Err(Error::Corrupt(format!("object {body}")));
        };
        for job in jobs {
            let id = JobId::parse(&job.id).ok_or_else(|| Error::Corrupt(format!("object {body}")))?;
            if id == settled {
                continue;
            }
            match self.store.job(id).await {
                Ok((Some(job), _)) if job.state != JobState::Cancelled => return Ok(true),
                Ok(_) | Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}
