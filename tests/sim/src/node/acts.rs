//! What clients and administrators ask of a node.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use async_channel::Sender;
use protocol_core::Timestamp;
use protocol_smtp::queue::{Change, Notice, NoticeKind, Notify, Recipient, Settlement};
use protocol_smtp::status::Status;
use storage::{Charge, Error, JobId, MessageId, NewJob, SuppressionKey};

use super::Worker;
use crate::books::Asked;
use crate::exec::lock;
use crate::mutants::Mutant;
use crate::notice;
use crate::quotas;
use crate::setup::Quotas;
use crate::world::{SECOND, World};

impl Worker {
    /// Accepts a message of a home for a client, in a task of this node.
    pub fn submit(
        self: &Arc<Self>,
        home: usize,
        message: MessageId,
        mut jobs: Vec<NewJob>,
        answer: Sender<Result<(), Error>>,
    ) {
        let worker = self.clone();
        self.world.exec.spawn(self.group, async move {
            let _phase = worker.phase("submit");
            if worker.world.mutant == Some(Mutant::AckBeforeCommit) {
                let _ = answer.try_send(Ok(()));
            }
            let accepted = match worker.charges(home, message, &mut jobs).await {
                Ok(charges) => worker.queue(jobs, charges).await,
                Err(error) => Err(error),
            };
            let _ = worker.answer(accepted.clone());
            let _ = answer.try_send(accepted);
        });
    }

    /// What a message is charged by the quotas that its sender's domain has when it begins.
    async fn charges(
        &self,
        home: usize,
        message: MessageId,
        jobs: &mut [NewJob],
    ) -> Result<Vec<Charge>, Error> {
        if self.world.setup.limits.is_none() {
            return Ok(Vec::new());
        }
        let (domain, from) = (&self.world.setup.domains[home].name, self.world.exec.now());
        let seen = quotas::of(&self.store.settings(domain).await?);
        let quotas = match self.world.mutant {
            Some(Mutant::QuotaRemembered) => *lock(&self.first_quotas).entry(home).or_insert(seen),
            _ => seen,
        };
        // The message takes its time.
        let takes = self.world.rng().below(5 * SECOND);
        self.world.exec.sleep(takes).await;
        let now = self.store_now().await;
        let recipients = jobs.iter().map(|job| job.recipients.len()).sum();
        let charges = quotas::charges(domain, quotas, recipients, jobs.len(), now);
        if quotas.jobs.is_some() {
            jobs.iter_mut().for_each(|job| job.counted = Some(domain.clone()));
        }
        self.world.books().asks(message, Asked { domain: domain.clone(), from, charges: charges.clone() });
        Ok(charges)
    }

    /// Releases a job that is held, for an administrator, in a task of this node.
    pub fn release_held(self: &Arc<Self>, job: JobId) {
        let worker = self.clone();
        self.world.exec.spawn(self.group, async move {
            let now = worker.store_now().await;
            let released = worker.store.release_held(job, now).await;
            worker.world.note(format_args!("n{}: {job} is released: {released:?}", worker.node));
        });
    }

    /// Cancels a job.
    pub fn cancel(self: &Arc<Self>, job: JobId) {
        self.administer(format!("cancel {}", crate::db::world_name(job)), move |worker| async move {
            let now = worker.store_now().await;
            worker.store.cancel(job, now).await?;
            if worker.world.mutant == Some(Mutant::CancelTold) {
                worker.tell_of_cancellation(job, now).await?;
            }
            Ok(())
        });
    }

    /// A planted fault: the sender hears of what he asked for as of a failure.
    async fn tell_of_cancellation(&self, job: JobId, now: Timestamp) -> Result<(), Error> {
        let Some(row) = self.world.db.live_job(job) else { return Ok(()) };
        let recipient = Recipient::new(Notify::Absent);
        let (status, reply) = (Status::PERMANENT, String::from("cancelled"));
        let change = Change { index: 0, recipient, status, reply, in_doubt: false, class: None };
        let settlement = Settlement {
            attempts: row.job.attempts,
            changes: vec![change],
            next_due: None,
            dead: true,
            notices: vec![Notice { kind: NoticeKind::Failed, recipients: vec![0] }],
            suppressions: Vec::new(),
        };
        let told = notice::build(&self.world, &row.job, &settlement, &BTreeMap::new(), now);
        self.store.submit(told.into_iter().collect(), Vec::new(), None, now).await
    }

    /// Holds mail back.
    pub fn suppress(self: &Arc<Self>, key: SuppressionKey) {
        let what = format!("suppress {} for {:?}", key.entry, key.org);
        self.administer(what, move |worker| async move {
            let now = worker.store_now().await;
            worker.store.suppress(key, now).await
        });
    }

    /// Lets mail go again.
    pub fn lift(self: &Arc<Self>, key: SuppressionKey) {
        let what = format!("lift {} for {:?}", key.entry, key.org);
        self.administer(what, move |worker| async move { worker.store.lift(&key).await.map(drop) });
    }

    /// Edits the quotas of a home.
    pub fn edit(self: &Arc<Self>, home: usize, quotas: Quotas) {
        self.administer(format!("home{home} may send {quotas:?}"), move |worker| async move {
            let domain = &worker.world.setup.domains[home].name;
            worker.store.edit(domain, &quotas::settings(quotas)).await
        });
    }

    /// Deletes a home's organisation.
    pub fn delete_tenant(self: &Arc<Self>, home: usize) {
        self.administer(format!("delete home{home}"), move |worker| async move {
            let now = worker.store_now().await;
            let domain = &worker.world.setup.domains[home].name;
            worker.store.delete_tenant(World::org(home), domain, now).await
        });
    }

    /// Does something for an administrator in a task of this node. What came of it shows in the commits.
    fn administer<F>(self: &Arc<Self>, what: String, act: impl FnOnce(Arc<Worker>) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let worker = self.clone();
        self.world.exec.spawn(self.group, async move {
            let _phase = worker.phase("administer");
            let done = act(worker.clone()).await;
            worker.world.note(format_args!("n{}: admin: {what}: {done:?}", worker.node));
            let _ = worker.answer(done);
        });
    }
}
