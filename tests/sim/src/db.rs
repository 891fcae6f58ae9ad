//! The database that the nodes share: the memory's maps behind latency and faults. A commit is visible to
//! others at once and durable later; a crash of the database loses what was not yet durable.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use async_channel::Sender;
use protocol_core::Timestamp;
use storage::simulated::{ApplyError, DueKey, JobRow, Rows, Writes, memory_rows};
use storage::{CounterKey, Error, JobId, MemoryRows, Slot, SlotKey, SlotTable, SuppressionKey};

use crate::exec::{WORLD, lock};
use crate::mutants::Mutant;
use crate::world::{MILLI, World};

/// A commit that is visible and not yet durable.
struct Entry {
    seq: u64,
    commit: Applied,
}

/// A commit as it was applied.
#[derive(Clone, Debug)]
pub struct Applied {
    /// By which node.
    pub node: usize,
    /// The operation's name.
    pub what: &'static str,
    /// What it wrote.
    pub writes: Writes,
    /// When it became visible, in true time.
    pub at: u64,
}

/// One node's connection to the database.
#[derive(Clone, Default)]
struct Link {
    /// It is cut until then.
    cut_until: u64,
    /// Raised whenever what is under way is lost.
    generation: u64,
}

#[derive(Default)]
struct State {
    pending: VecDeque<Entry>,
    applied: u64,
    /// Raised by a crash of the database.
    generation: u64,
    down_until: u64,
    links: BTreeMap<usize, Link>,
    /// Writes are answered with conflicts until then.
    storm_until: u64,
    /// Writes fail now and then until then.
    trouble_until: u64,
}

/// See the module.
pub struct Database {
    live: MemoryRows,
    durable: MemoryRows,
    state: Mutex<State>,
}

/// What becomes of one write, beside its rules.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Well,
    RefusedBefore,
    Conflict,
    LostUnknown,
    AppliedUnknown,
}

impl Default for Database {
    fn default() -> Self {
        Database { live: memory_rows(), durable: memory_rows(), state: Mutex::default() }
    }
}

/// The value of a future that never waits.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn row_in(rows: &MemoryRows, job: JobId) -> Option<JobRow> {
    at_once(rows.jobs(&[job]))?.ok()?.pop()
}

impl Database {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// A job's row as every node sees it.
    pub fn live_job(&self, job: JobId) -> Option<JobRow> {
        row_in(&self.live, job)
    }

    /// A job's row as a crash would leave it.
    pub fn durable_job(&self, job: JobId) -> Option<JobRow> {
        row_in(&self.durable, job)
    }

    /// All rows of jobs as every node sees them.
    pub fn live_jobs(&self) -> Vec<JobRow> {
        at_once(self.live.jobs_oldest(usize::MAX)).and_then(Result::ok).unwrap_or_default()
    }

    /// The due index, of the organisations of the homes.
    pub fn live_due(&self) -> Vec<DueKey> {
        let end = Timestamp(i64::MAX);
        let of_home =
            |home| at_once(self.live.due(World::org(home), end, end, usize::MAX)).and_then(Result::ok);
        (0..8).filter_map(of_home).flatten().collect()
    }

    /// What is there when the world begins.
    pub fn seed(&self, writes: Writes) {
        self.live.replay(writes.clone());
        self.durable.replay(writes);
    }

    /// A counter as a crash would leave it.
    pub fn durable_counter(&self, key: &CounterKey) -> u64 {
        let rows = at_once(self.durable.slots(&[SlotKey::Counter(key.clone())])).and_then(Result::ok);
        match rows.and_then(|mut rows| rows.pop()).map(|row| row.slot) {
            Some(Slot::Counter(used)) => used,
            _ => 0,
        }
    }

    /// All suppressions as every node sees them.
    pub fn live_suppressions(&self) -> Vec<SuppressionKey> {
        let rows = at_once(self.live.slots_after(SlotTable::Suppression, None, usize::MAX));
        let keys = rows.and_then(Result::ok).unwrap_or_default().into_iter().map(|row| row.key);
        keys.filter_map(|key| if let SlotKey::Suppression(key) = key { Some(key) } else { None }).collect()
    }

    /// Cuts a node off.
    pub fn cut(&self, node: usize, until: u64) {
        let mut state = self.state();
        let link = state.links.entry(node).or_default();
        link.cut_until = until;
        link.generation += 1;
    }

    /// Answers conflicts until then.
    pub fn storm(&self, until: u64) {
        self.state().storm_until = until;
    }

    /// Fails now and then until then.
    pub fn trouble(&self, until: u64) {
        self.state().trouble_until = until;
    }

    /// Loses what is not durable, and is away until then.
    pub fn crash(&self, until: u64) -> usize {
        let mut state = self.state();
        let lost = state.pending.len();
        state.pending.clear();
        state.generation += 1;
        state.down_until = until;
        self.live.restore(&self.durable);
        lost
    }

    /// Ends all trouble.
    pub fn heal(&self) {
        let mut state = self.state();
        (state.storm_until, state.trouble_until, state.down_until) = (0, 0, 0);
        state.links.values_mut().for_each(|link| link.cut_until = 0);
    }

    /// Whether nothing stood between a node and the database for so long.
    pub fn was_well(&self, node: usize, since: u64) -> bool {
        let state = self.state();
        let link = state.links.get(&node).map_or(0, |link| link.cut_until);
        [link, state.down_until, state.storm_until, state.trouble_until].iter().all(|until| *until <= since)
    }

    fn is_away(&self, node: usize, now: u64) -> bool {
        let state = self.state();
        now < state.down_until || state.links.get(&node).is_some_and(|link| now < link.cut_until)
    }

    /// What an answer must find unchanged to arrive.
    fn generations(&self, node: usize) -> (u64, u64) {
        let state = self.state();
        (state.generation, state.links.get(&node).map_or(0, |link| link.generation))
    }

    fn fate(&self, world: &World, what: &'static str) -> Fate {
        let now = world.exec.now();
        let (storm, trouble) = {
            let state = self.state();
            (now < state.storm_until, now < state.trouble_until)
        };
        let rng = world.rng();
        let fate = match (rng.below(1_000), storm, trouble) {
            (n, true, _) if n < 600 => Fate::Conflict,
            (n, _, true) if n < 150 => Fate::RefusedBefore,
            (n, _, true) if n < 170 => Fate::LostUnknown,
            (n, _, true) if n < 200 => Fate::AppliedUnknown,
            _ => Fate::Well,
        };
        let name = match fate {
            Fate::Well => return fate,
            Fate::RefusedBefore => "write refused",
            Fate::Conflict => "write conflict",
            Fate::LostUnknown => "write lost, outcome unknown",
            Fate::AppliedUnknown => "write applied, outcome unknown",
        };
        world.count(name);
        world.pair(what, name);
        fate
    }

    /// Makes everything up to `seq` durable, in the order of application.
    fn sync(&self, world: &Arc<World>, seq: u64) {
        loop {
            let entry = {
                let mut state = self.state();
                match state.pending.front() {
                    Some(entry) if entry.seq <= seq => state.pending.pop_front(),
                    _ => None,
                }
            };
            let Some(Entry { commit, .. }) = entry else { return };
            self.durable.replay(commit.writes.clone());
            world.books().commit_durable(world, &commit);
        }
    }
}

fn unknown() -> ApplyError {
    ApplyError::Other(Error::OutcomeUnknown("the connection broke".into()))
}

fn unavailable() -> ApplyError {
    ApplyError::Other(Error::Unavailable("no connection".into()))
}

/// The rows as one node reaches them.
#[derive(Clone)]
pub struct SimRows {
    pub(crate) world: Arc<World>,
    pub(crate) node: usize,
}

impl SimRows {
    /// Before and after each read.
    pub(crate) async fn read_gate(&self) -> Result<(), Error> {
        let world = &self.world;
        if !world.setup.has_latency {
            return Ok(());
        }
        let delay = world.rng().between(MILLI / 10, world.setup.read_latency);
        world.exec.sleep(delay).await;
        match world.db.is_away(self.node, world.exec.now()) {
            true => Err(Error::Unavailable("no connection".into())),
            false => Ok(()),
        }
    }

    pub(crate) fn live(&self) -> &MemoryRows {
        &self.world.db.live
    }

    pub(crate) async fn write(&self, what: &'static str, writes: Writes) -> Result<(), ApplyError> {
        let world = &self.world;
        if !world.setup.has_latency {
            return world.db.live.apply(what, writes).await;
        }
        if world.db.is_away(self.node, world.exec.now()) {
            let delay = world.rng().between(MILLI, 50 * MILLI);
            world.exec.sleep(delay).await;
            return Err(unavailable());
        }
        let (answer, answered) = async_channel::bounded(1);
        let commit = Applied { node: self.node, what, writes, at: 0 };
        // The request goes on when the node that made it is gone.
        world.exec.spawn(WORLD, carry_out(world.clone(), commit, answer));
        answered.recv().await.unwrap_or_else(|_| Err(unknown()))
    }

    pub(crate) async fn wait_for_another_try(&self, attempt: u32) {
        if self.world.setup.has_latency {
            let delay = self.world.rng().between(MILLI, 10 * MILLI * u64::from(attempt));
            self.world.exec.sleep(delay).await;
        }
    }
}

/// One write at the database: on its way, applied, made durable, answered.
async fn carry_out(world: Arc<World>, mut commit: Applied, answer: Sender<Result<(), ApplyError>>) {
    let db = &world.db;
    let (node, what) = (commit.node, commit.what);
    let before = db.generations(node);
    nap(&world, world.setup.write_latency).await;
    let arrived = db.generations(node);
    // A request that was under way when the connection broke may have arrived all the same.
    let lost = arrived.0 != before.0 || (arrived.1 != before.1 && world.rng().chance(500));
    let fate = if world.is_calm() { Fate::Well } else { db.fate(&world, what) };
    let result = match fate {
        _ if lost => Err(unknown()),
        Fate::RefusedBefore => Err(unavailable()),
        Fate::Conflict => Err(ApplyError::Stale),
        Fate::LostUnknown => Err(unknown()),
        Fate::Well | Fate::AppliedUnknown => {
            commit.at = world.exec.now();
            apply(&world, commit).await
        }
    };
    nap(&world, world.setup.write_latency).await;
    let broken = db.generations(node) != before && !matches!(result, Err(ApplyError::Other(_)));
    let result = if broken || fate == Fate::AppliedUnknown { Err(unknown()) } else { result };
    if let Err(ApplyError::Other(error)) = &result {
        world.note(format_args!("db: {what} of n{node}: {error}"));
    }
    let _ = answer.try_send(result);
}

async fn apply(world: &Arc<World>, mut commit: Applied) -> Result<(), ApplyError> {
    let db = &world.db;
    if world.mutant == Some(Mutant::NoWriteGuard) {
        for row in commit.writes.jobs.iter_mut().chain(&mut commit.writes.jobs_gone) {
            if let Some(stored) = db.live_job(row.job.spec.id) {
                row.rev = stored.rev;
            }
        }
    }
    if world.mutant == Some(Mutant::DueForgotten) && commit.what == "write_jobs" {
        commit.writes.due_new.clear();
    }
    if world.mutant == Some(Mutant::CancelKeepsPlace) && commit.what == "act_on_job" {
        commit.writes.slots.clear();
    }
    if world.mutant == Some(Mutant::EpochNotRaised) && commit.what == "claim_jobs" {
        commit.writes.jobs.iter_mut().for_each(|row| row.job.epoch -= u64::from(row.job.epoch > 1));
    }
    let touched = commit.writes.jobs.iter().chain(&commit.writes.jobs_gone);
    let before: Vec<JobRow> = touched.filter_map(|row| db.live_job(row.job.spec.id)).collect();
    db.live.apply(commit.what, commit.writes.clone()).await?;
    world.note(format_args!("db: {} of n{} {}", commit.what, commit.node, summary(&commit.writes)));
    world.commit_visible(&commit, &before);
    let (seq, generation) = {
        let mut state = db.state();
        state.applied += 1;
        let seq = state.applied;
        state.pending.push_back(Entry { seq, commit });
        (seq, state.generation)
    };
    nap(world, world.setup.sync_latency).await;
    if db.state().generation != generation {
        return Err(unknown());
    }
    db.sync(world, seq);
    Ok(())
}

async fn nap(world: &World, most: u64) {
    let delay = world.rng().between(most / 10, most);
    world.exec.sleep(delay).await;
}

fn summary(writes: &Writes) -> String {
    let name = |row: &JobRow| format!("{}#{}", world_name(row.job.spec.id), row.job.epoch);
    let list = |rows: &[JobRow]| rows.iter().map(name).collect::<Vec<_>>().join(",");
    let (new, set, gone) = (list(&writes.jobs_new), list(&writes.jobs), list(&writes.jobs_gone));
    format!("new[{new}] set[{set}] gone[{gone}]")
}

/// A job's short name in the log.
pub fn world_name(job: JobId) -> String {
    let bytes = job.0.0;
    format!("j{}", u16::from_be_bytes([bytes[14], bytes[15]]))
}
