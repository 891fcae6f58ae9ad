//! A node: the queue machine, its store, its clocks, and a driver that carries out effects as the server's
//! shell does. Everything here is lost in a crash.

mod acts;
mod effects;
mod new;
mod suppressed;
mod time;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_channel::{Receiver, Sender};
use futures_lite::future;
use protocol_core::Timestamp;
use protocol_core::time::Duration;
use protocol_smtp::queue::{Event, Fence, JobKey, NodeId, Queue};
use storage::{Job, JobId, JobState, SuppressionKey};

use crate::attempt::Control;
use crate::clock::{Anchor, Clock};
use crate::convert::fence_of;
use crate::exec::lock;
use crate::front::Front;
use crate::setup::Quotas;
use crate::world::World;

/// A job that this node holds.
#[derive(Clone)]
struct Held {
    job: Job,
    control: Option<Sender<Control>>,
    hosts: BTreeMap<u16, String>,
}

/// One incarnation of a node.
pub struct Worker {
    /// Where it runs.
    pub world: Arc<World>,
    /// Which node.
    pub node: usize,
    /// Its tasks.
    pub group: u32,
    owner: String,
    clock: Clock,
    /// The queue's own time: the store's as it was at start, counted on by the monotonic clock.
    anchor: Mutex<Anchor>,
    /// The store's time as it was shown last, counted on likewise.
    store_clock: Mutex<Anchor>,
    /// Milliseconds by which the store's clock is ahead of the queue's, as of the last claim.
    lead_ms: AtomicI64,
    claimed_late: AtomicBool,
    /// Jobs for which messages that are being accepted have been promised room.
    promised: AtomicUsize,
    store: Front,
    events: Sender<Event>,
    inbox: Receiver<Event>,
    stop: (Sender<()>, Receiver<()>),
    held: Mutex<BTreeMap<JobKey, Held>>,
    queue: Mutex<Queue>,
    phases: Mutex<BTreeMap<u64, &'static str>>,
    /// For planted faults: the quotas that this process saw first, and who was suppressed at a claim.
    first_quotas: Mutex<BTreeMap<usize, Quotas>>,
    at_claim: Mutex<BTreeMap<JobId, Vec<SuppressionKey>>>,
}

enum Happened {
    Event(Event),
    Stop,
    Deadline,
}

/// What a task of a node is about, for as long as it is kept.
pub struct Phase<'a> {
    worker: &'a Worker,
    key: u64,
}

impl Phase<'_> {
    /// It goes on with something else.
    pub fn now(&self, what: &'static str) {
        lock(&self.worker.phases).insert(self.key, what);
    }
}

impl Drop for Phase<'_> {
    fn drop(&mut self) {
        lock(&self.worker.phases).remove(&self.key);
    }
}

impl Worker {
    /// A node that starts now.
    pub fn new(world: &Arc<World>, node: usize, group: u32, clock: Clock) -> Arc<Worker> {
        let anchor = Anchor::new(clock, world.exec.now(), clock.wall(world.exec.now(), 0));
        let owner = format!("n{node}.{group}");
        let (events, inbox) = async_channel::unbounded();
        let policy = match world.mutant {
            Some(mutant) => mutant.policy(&world.setup.policy),
            None => world.setup.policy.clone(),
        };
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(&world.rng().bytes16());
        world.books().node_started(node, &owner);
        Arc::new(Worker {
            world: world.clone(),
            node,
            group,
            store: Front::new(world, node, &owner),
            owner,
            clock,
            anchor: Mutex::new(anchor),
            store_clock: Mutex::new(anchor),
            lead_ms: AtomicI64::new(0),
            claimed_late: AtomicBool::new(false),
            promised: AtomicUsize::new(0),
            events,
            inbox,
            stop: async_channel::bounded(1),
            held: Mutex::default(),
            queue: Mutex::new(Queue::new(policy, NodeId(u64::from(group)), seed)),
            phases: Mutex::default(),
            first_quotas: Mutex::default(),
            at_claim: Mutex::default(),
        })
    }

    /// How much longer this node believes to hold a claim; none when it does not.
    pub fn believes_to_hold(&self, job: JobId, epoch: u64) -> Option<Duration> {
        let fence = Fence { job: JobKey(job.0.0), epoch };
        let until = lock(&self.queue).lease_until(fence)?;
        let now = self.now();
        (until > now).then(|| until.since(now))
    }

    /// Whether the lease lasts for so long from now.
    pub fn holds_for(&self, fence: Fence, wait: Duration) -> bool {
        lock(&self.queue).lease_until(fence).is_some_and(|until| until >= self.now() + wait)
    }

    /// What its tasks are about.
    pub fn phases(&self) -> Vec<&'static str> {
        lock(&self.phases).values().copied().collect()
    }

    /// A task begins with something.
    pub fn phase(&self, what: &'static str) -> Phase<'_> {
        let mut phases = lock(&self.phases);
        let key = phases.keys().next_back().map_or(0, |k| k + 1);
        phases.insert(key, what);
        Phase { worker: self, key }
    }

    /// What it is about, for a report.
    pub fn state(&self) -> String {
        let (idle, held, deadline) = {
            let queue = lock(&self.queue);
            (queue.is_idle(), queue.held(), queue.deadline())
        };
        let now = self.now();
        format!("idle: {idle}, holds {held}, now {now:?}, deadline {deadline:?}, {:?}", self.phases())
    }

    /// Asks it to stop politely.
    pub fn shut_down(&self) {
        let _ = self.stop.0.try_send(());
    }

    /// Runs the queue until it is told to stop and holds nothing any more.
    pub async fn run(self: Arc<Self>) {
        while !self.asks_the_time().await {
            self.world.exec.sleep(crate::world::SECOND).await;
        }
        let mut stopping = false;
        loop {
            self.drain();
            let (idle, held, deadline) = {
                let queue = lock(&self.queue);
                (queue.is_idle(), queue.held(), queue.deadline())
            };
            if held > self.world.setup.policy.held_max {
                self.world.fail(format!("I11: n{} holds {held} jobs", self.node));
            }
            if stopping && idle && self.promised.load(Ordering::Relaxed) == 0 {
                return self.check_nothing_leased();
            }
            match self.wait(deadline, stopping).await {
                Happened::Event(event) => self.handle(event),
                Happened::Stop => {
                    stopping = true;
                    self.handle(Event::Paused(true));
                    let table = lock(&self.held);
                    for control in table.values().filter_map(|h| h.control.as_ref()) {
                        let _ = control.try_send(Control::Stop);
                    }
                }
                Happened::Deadline => {}
            }
        }
    }

    /// Tells the queue what happened in an attempt.
    pub fn tell_queue(&self, event: Event) {
        let _ = self.events.try_send(event);
    }

    fn handle(&self, event: Event) {
        let new = if let Event::Queued(jobs) = &event { jobs.len() } else { 0 };
        lock(&self.queue).handle(event, self.now());
        if new > 0 {
            self.keeps_promise(new);
        }
    }

    fn drain(self: &Arc<Self>) {
        loop {
            let effect = lock(&self.queue).poll(self.now());
            let Some(mut effect) = effect else { return };
            if let Some(mutant) = self.world.mutant {
                mutant.effect(&mut effect);
            }
            self.carry_out(effect);
        }
    }

    async fn wait(&self, deadline: Option<Timestamp>, stopping: bool) -> Happened {
        let event = async {
            match self.inbox.recv().await {
                Ok(event) => Happened::Event(event),
                Err(_) => future::pending().await,
            }
        };
        let stop = async {
            if stopping || self.stop.1.recv().await.is_err() {
                return future::pending().await;
            }
            Happened::Stop
        };
        let timer = async {
            match deadline {
                Some(at) => self.world.exec.sleep_until(self.truth_of_queue(at)).await,
                None => future::pending().await,
            }
            Happened::Deadline
        };
        future::or(event, future::or(stop, timer)).await
    }

    /// SPEC section 11: a node that stopped politely leaves no job leased.
    fn check_nothing_leased(&self) {
        let since = self.world.exec.now().saturating_sub(900 * crate::world::SECOND);
        // Whoever was stopped so long that a lease ended gives nothing back: it ends by itself.
        let stood_still = Duration::from_nanos(self.world.exec.frozen_longest(self.group));
        let long = stood_still >= self.world.setup.policy.lease / 3;
        if long || self.world.setup.focus.is_some() || self.world.setup.stops_before_dots {
            return self.world.exec.kill(self.group);
        }
        let well = self.world.db.was_well(self.node, since) && !self.claimed_late.load(Ordering::Relaxed);
        for row in self.world.db.live_jobs() {
            // A lease is longer in the store than it counts here, by a tenth and the way.
            let wait = if row.dot_sent.is_empty() { 0 } else { 600 };
            let longer =
                (self.world.setup.policy.lease + Duration::from_secs(wait)) / 8 + Duration::from_secs(10);
            let leased = row.job.lease_until.is_some_and(|until| until > self.world.now() + longer);
            let ours = row.job.owner.as_deref() == Some(&self.owner) && leased;
            if well && ours && row.job.state == JobState::Processing {
                let name = crate::db::world_name(row.job.spec.id);
                self.world.fail(format!("I3: n{} stopped and left {name} leased", self.node));
            }
        }
        self.world.note(format_args!("n{}: stopped", self.node));
        self.world.exec.kill(self.group);
    }
}

pub use suppressed::keys;

/// A fence as the books have it.
pub fn claim_of(fence: Fence) -> (JobId, u64) {
    let fence = fence_of(fence);
    (fence.job, fence.epoch)
}
