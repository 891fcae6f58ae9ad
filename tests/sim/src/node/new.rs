//! Jobs that a node claims as it queues them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use protocol_core::Timestamp;
use protocol_smtp::queue::{Event, JobKey};
use storage::{Charge, Claim, Error, NewJob};

use super::{Held, Worker};
use crate::convert;
use crate::exec::lock;
use crate::mutants::Mutant;

/// Of a thousand messages for which there is room, so many are claimed as they are queued: the others take the long
/// way, which must be good too.
const CLAIMED_PERMILLE: u64 = 700;

impl Worker {
    /// Makes a message's jobs durable, and takes them at once when there is room.
    pub(super) async fn queue(&self, jobs: Vec<NewJob>, charges: Vec<Charge>) -> Result<(), Error> {
        let at = self.store_now().await;
        let claim = self.promise(jobs.len());
        let (count, new) = (jobs.len(), jobs.clone());
        let written = match self.world.mutant {
            Some(Mutant::NewClaimUnwritten) => None,
            _ => claim.clone(),
        };
        let queued = self.store.submit(jobs, charges, written, at).await;
        match (&queued, claim) {
            (Ok(()), Some(claim)) => self.take_in(new, &claim, at).await,
            (_, Some(_)) => {
                self.keeps_promise(count);
                self.tell_queue(Event::Wake);
            }
            (Ok(()), None) => self.tell_queue(Event::Wake),
            (Err(_), None) => {}
        }
        queued
    }

    fn promise(&self, jobs: usize) -> Option<Claim> {
        if !self.world.rng().chance(CLAIMED_PERMILLE) {
            return None;
        }
        let mut queue = lock(&self.queue);
        let promised = self.promised.load(Ordering::Relaxed) + jobs;
        if promised > queue.room_for_new() {
            return None;
        }
        self.promised.store(promised, Ordering::Relaxed);
        queue.promised(promised);
        drop(queue);
        self.world.count("message claimed as it was queued");
        Some(Claim { owner: self.owner.clone(), lease: self.world.setup.policy.lease })
    }

    /// So many jobs are held now, or will not come.
    pub(super) fn keeps_promise(&self, jobs: usize) {
        let mut queue = lock(&self.queue);
        let promised = self.promised.load(Ordering::Relaxed) - jobs;
        self.promised.store(promised, Ordering::Relaxed);
        queue.promised(promised);
    }

    async fn take_in(&self, new: Vec<NewJob>, claim: &Claim, at: Timestamp) {
        let (here, store) = (self.now(), self.store_now().await);
        let (lead, lease) = (store.0 - self.now().0, claim.lease);
        let end = Timestamp((at + lease).0 - lead);
        let until = Timestamp(end.0 - (lease - self.shortened(lease)).as_millis() as i64);
        let until = until.min(here + self.shortened(lease));
        if until <= self.now() {
            self.claimed_late.store(true, Ordering::Relaxed);
        }
        let jobs: Vec<_> = new.iter().filter_map(|spec| claim.of(spec, at)).collect();
        self.looks_at_claim(&jobs).await;
        // Those of a message that are due later are nobody's.
        self.keeps_promise(new.len() - jobs.len());
        let mut known = Vec::with_capacity(jobs.len());
        let mut table = lock(&self.held);
        for job in jobs {
            let mut of_queue = convert::job(&job, until, lead);
            if let Some(mutant) = self.world.mutant {
                mutant.claimed(&mut of_queue);
            }
            known.push(of_queue);
            table.insert(JobKey(job.spec.id.0.0), Held { job, control: None, hosts: BTreeMap::new() });
        }
        drop(table);
        self.tell_queue(Event::Queued(known));
    }
}
