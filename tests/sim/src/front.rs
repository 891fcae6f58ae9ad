//! A node's way to its store: what it means to write is entered in the books before.

mod limits;

use std::sync::Arc;

use protocol_core::Timestamp;
use protocol_core::time::Duration;
use storage::{Engine, Error, Fence, Job, JobUpdate, Jobs};

use crate::db::SimRows;
use crate::mutants::Mutant;
use crate::world::World;

/// How far the clocks of two nodes may differ: a lease is taken over only so long after its end.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// See the module.
pub struct Front {
    world: Arc<World>,
    node: usize,
    owner: String,
    engine: Engine<SimRows>,
    /// Past the rules of the store, for planted faults.
    rows: SimRows,
}

impl Front {
    /// A new incarnation's: what earlier ones remembered is gone.
    pub fn new(world: &Arc<World>, node: usize, owner: &str) -> Front {
        let rows = SimRows { world: world.clone(), node };
        let engine = storage::simulated::engine(rows.clone());
        Front { world: world.clone(), node, owner: owner.into(), engine, rows }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.world.mutant == Some(mutant)
    }

    fn intends(&self, what: &'static str, fence: Fence) {
        self.world.books().intends(self.node, what, (fence.job, fence.epoch));
    }

    /// The store's clock.
    pub async fn now(&self) -> Result<Timestamp, Error> {
        self.engine.now().await
    }

    /// Claims due jobs at a time by the store's clock.
    pub async fn claim(&self, now: Timestamp, lease: Duration, limit: usize) -> Result<Vec<Job>, Error> {
        let early = if self.is(Mutant::TakeoverTooSoon) { lease / 2 } else { Duration::ZERO };
        self.engine.claim_jobs(&self.owner, now + early, lease, CLOCK_SKEW, limit).await
    }

    /// Prolongs a lease.
    pub async fn renew(&self, fence: Fence, now: Timestamp, lease: Duration) -> Result<(), Error> {
        self.intends("renew_job", fence);
        let renewed = self.engine.renew_job(fence, now, lease).await;
        match renewed {
            Err(Error::Refused(_) | Error::NotFound) if self.is(Mutant::RenewalIgnoresStale) => Ok(()),
            renewed => renewed,
        }
    }

    /// Records that the final dot is about to be written.
    pub async fn dot_sent(
        &self,
        fence: Fence,
        recipients: &[usize],
        now: Timestamp,
        lease: Duration,
    ) -> Result<(), Error> {
        self.intends("dot_sent", fence);
        self.engine.dot_sent(fence, recipients, now, lease).await
    }

    /// Writes a result.
    pub async fn save(&self, fence: Fence, mut update: JobUpdate, now: Timestamp) -> Result<(), Error> {
        self.intends("save_job", fence);
        if self.is(Mutant::RecordMissing) {
            update.deliveries.pop();
        }
        let saved = self.engine.save_job(fence, update.clone(), now).await.map(drop);
        let current = self.world.db.live_job(fence.job).map(|row| row.job.epoch);
        match (saved, current) {
            (Err(Error::Refused(_)), Some(epoch)) if self.is(Mutant::NoFence) => {
                self.engine.save_job(Fence { epoch, ..fence }, update, now).await.map(drop)
            }
            (saved, _) => saved,
        }
    }

    /// Gives a job back.
    pub async fn release(&self, fence: Fence, due: Timestamp) -> Result<(), Error> {
        self.intends("release_job", fence);
        self.engine.release_job(fence, due).await
    }

    /// What an administrator does who finds a job held.
    pub async fn release_held(&self, job: storage::JobId, now: Timestamp) -> Result<(), Error> {
        self.engine.act_on_job(job, storage::JobAction::Release, now).await
    }
}
