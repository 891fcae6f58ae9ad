//! One world: everything that a seed made, and the only way from one part of it to another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Arguments;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use protocol_core::Timestamp;
use storage::simulated::JobRow;
use storage::{Id, JobId, JobState, MessageId, OrgId};

use crate::books::Books;
use crate::db::{Applied, Database};
use crate::exec::{Exec, lock};
use crate::log::Log;
use crate::mutants::Mutant;
use crate::node::Worker;
use crate::rng::{Dice, Rng};
use crate::setup::Setup;

/// Nanoseconds.
pub const MILLI: u64 = 1_000_000;
/// Nanoseconds.
pub const SECOND: u64 = 1_000_000_000;
/// The true wall clock when the world begins.
pub const T0: Timestamp = Timestamp(1_800_000_000_000);

/// See the module.
pub struct World {
    /// The seed.
    pub seed: u64,
    /// Time and tasks.
    pub exec: Exec,
    /// What the seed decided beforehand.
    pub setup: Setup,
    /// The planted fault.
    pub mutant: Option<Mutant>,
    /// The database.
    pub db: Database,
    rng: Mutex<Rng>,
    log: Mutex<Log>,
    books: Mutex<Books>,
    /// The running incarnation of each node.
    pub nodes: Mutex<BTreeMap<usize, Arc<Worker>>>,
    /// Messages as objects: written before their rows, never lost.
    pub objects: Mutex<BTreeMap<MessageId, Arc<[u8]>>>,
    /// When a recipient of a greylisting server was first tried.
    pub greylist: Mutex<BTreeMap<String, u64>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    pairs: Mutex<BTreeSet<(&'static str, &'static str)>>,
    calm: AtomicBool,
    next_id: AtomicU64,
    /// Wall clocks are off by so many milliseconds for a while: who reads them twice sees a step.
    pub wall_step_ms: Mutex<BTreeMap<usize, i64>>,
    failed: Mutex<Option<String>>,
    /// Clients whose message was accepted.
    pub clients: Arc<Mutex<u64>>,
}

impl World {
    /// A world before its first event.
    pub fn new(seed: u64, setup: Setup, mutant: Option<Mutant>, echo: bool) -> Arc<World> {
        let books = Books::new(&setup);
        let log = Log::new(echo);
        Arc::new(World {
            seed,
            exec: Exec::default(),
            setup,
            mutant,
            db: Database::default(),
            rng: Mutex::new(Rng::new(seed)),
            log: Mutex::new(log),
            books: Mutex::new(books),
            nodes: Mutex::default(),
            objects: Mutex::default(),
            greylist: Mutex::default(),
            counts: Mutex::default(),
            pairs: Mutex::default(),
            calm: AtomicBool::new(false),
            next_id: AtomicU64::new(0),
            wall_step_ms: Mutex::default(),
            failed: Mutex::default(),
            clients: Arc::default(),
        })
    }

    /// The generator.
    pub fn rng(&self) -> Dice<'_> {
        Dice(&self.rng)
    }

    /// What really happened.
    pub fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }

    /// The log.
    pub fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    /// True wall-clock time.
    pub fn now(&self) -> Timestamp {
        Timestamp(T0.0 + (self.exec.now() / MILLI) as i64)
    }

    /// Writes a line.
    pub fn note(&self, what: Arguments<'_>) {
        let now = self.exec.now();
        self.log().note(now, what);
    }

    /// Counts a fault or an event.
    pub fn count(&self, what: &'static str) {
        *lock(&self.counts).entry(what).or_default() += 1;
    }

    /// A fault met a state.
    pub fn pair(&self, state: &'static str, fault: &'static str) {
        lock(&self.pairs).insert((state, fault));
    }

    /// Counts so far.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.counts).clone()
    }

    /// States that faults met.
    pub fn pairs(&self) -> BTreeSet<(&'static str, &'static str)> {
        lock(&self.pairs).clone()
    }

    /// Whether faults have ended.
    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.calm.store(true, Ordering::Relaxed);
        self.db.heal();
        lock(&self.wall_step_ms).clear();
    }

    /// An invariant is broken: the world stops at once.
    pub fn fail(&self, what: String) {
        let mut failed = lock(&self.failed);
        if failed.is_none() {
            self.note(format_args!("VIOLATED: {what}"));
            *failed = Some(what);
            self.exec.stop();
        }
    }

    /// The first broken invariant.
    pub fn failure(&self) -> Option<String> {
        lock(&self.failed).clone()
    }

    /// A new ID; the last two octets count, so that IDs have short names and jobs their own locks.
    pub fn id(&self) -> Id {
        let n = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut bytes = self.rng().bytes16();
        bytes[14..].copy_from_slice(&(n as u16).to_be_bytes());
        Id(bytes)
    }

    /// The organisation of a home.
    pub fn org(home: usize) -> OrgId {
        OrgId(Id([home as u8 + 1; 16]))
    }

    /// A commit became visible: the books see it, and what the other nodes believe at this moment.
    pub fn commit_visible(&self, commit: &Applied, before: &[JobRow]) {
        let now = self.exec.now();
        let found = self.books().commit_visible(commit, before, now);
        if let Err(why) = found {
            self.fail(why);
        }
        if commit.what == "claim_jobs" {
            // What was given back or written is free, though its holder has not heard of it yet; and whose holder is not
            // lost, stays its holder's.
            let kept = |old: &JobRow| {
                let new = commit.writes.jobs.iter().find(|new| new.job.spec.id == old.job.spec.id);
                new.is_some_and(|new| new.job == old.job)
            };
            for old in before.iter().filter(|row| row.job.state == JobState::Processing && !kept(row)) {
                self.check_believers(old, commit.node);
            }
        }
    }

    /// The database goes down until then, and what was not durable is lost; how many commits.
    pub fn crash_database(&self, until: u64) -> usize {
        let lost = self.db.crash(until);
        self.books().database_crashed(self.exec.now());
        lost
    }

    /// I3: at a claim nobody else still believes to hold the job.
    fn check_believers(&self, old: &JobRow, claimer: usize) {
        let nodes = lock(&self.nodes);
        for (node, worker) in nodes.iter() {
            if let Some(left) = worker.believes_to_hold(old.job.spec.id, old.job.epoch) {
                self.fail(format!(
                    "I3: n{claimer} claims {} while n{node} believes to hold epoch {} for {} ms more",
                    crate::db::world_name(old.job.spec.id),
                    old.job.epoch,
                    left.as_millis()
                ));
            }
        }
    }

    /// Whether the dot may be written now: I3 by what is stored, and by what a crash would leave.
    pub fn check_dot(&self, (job, epoch): (JobId, u64), recipients: &[u16]) {
        let name = crate::db::world_name(job);
        let (Some(live), Some(durable)) = (self.db.live_job(job), self.db.durable_job(job)) else {
            return self.fail(format!("I3: a dot for {name}, which is not there"));
        };
        // The end of its tenant does not wait for a dot that is announced.
        let ended = live.job.state == JobState::Cancelled && self.books().is_closing(live.job.spec.org);
        if live.job.epoch != epoch || !(live.job.state == JobState::Processing || ended) {
            let (stored, state) = (live.job.epoch, live.job.state);
            return self
                .fail(format!("I3: a dot for {name} under epoch {epoch}, stored is {stored} {state:?}"));
        }
        let recorded = recipients.iter().all(|n| durable.dot_sent.contains(&usize::from(*n)));
        if !recorded || durable.job.epoch != epoch {
            self.fail(format!("I2: a dot for {name} without a durable record"));
        }
    }

    /// Lets nothing keep itself alive.
    pub fn end(&self) {
        self.exec.clear();
        lock(&self.nodes).clear();
    }
}
