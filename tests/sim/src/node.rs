//! A node: the queue machine, its store, its clocks, and a driver that carries out effects as the server's
//! shell does. Everything here is lost in a crash.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_channel::{Receiver, Sender};
use futures_lite::future;
use protocol_core::time::Duration;
use protocol_core::{Instant, Timestamp};
use protocol_smtp::queue::{Effect, Event, Fence, JobKey, NodeId, Queue, StoreError, Verdict};
use storage::{Error, Job, JobId, JobState, NewJob};

use crate::attempt::{self, Attempted, Control};
use crate::clock::{Anchor, Clock};
use crate::convert::{self, fence_of};
use crate::exec::lock;
use crate::front::Front;
use crate::mutants::Mutant;
use crate::notice;
use crate::world::World;

/// How long a node goes by the store's clock as it was shown last: a tenth of it is less than the skew.
const STORE_CLOCK_AGE_MAX: Duration = Duration::from_secs(10);

/// A monotonic clock may run a tenth faster or slower than the store's.
const DRIFT: u32 = 10;

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
    store: Front,
    events: Sender<Event>,
    inbox: Receiver<Event>,
    stop: (Sender<()>, Receiver<()>),
    held: Mutex<BTreeMap<JobKey, Held>>,
    queue: Mutex<Queue>,
    phases: Mutex<BTreeMap<u64, &'static str>>,
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
            events,
            inbox,
            stop: async_channel::bounded(1),
            held: Mutex::default(),
            queue: Mutex::new(Queue::new(policy, NodeId(u64::from(group)), seed)),
            phases: Mutex::default(),
        })
    }

    /// Now, as this node takes it.
    pub fn now(&self) -> Timestamp {
        let truth = self.world.exec.now();
        if self.world.mutant == Some(Mutant::WallClockLease) {
            let step = lock(&self.world.wall_step_ms).get(&self.node).copied().unwrap_or(0);
            return self.clock.wall(truth, step);
        }
        lock(&self.anchor).now(truth)
    }

    /// The store's clock, as this node knows it: asked again when that was long ago, for the two may count
    /// differently.
    async fn store_now(&self) -> Timestamp {
        let age = lock(&self.store_clock).age(self.world.exec.now());
        if age > STORE_CLOCK_AGE_MAX && self.world.mutant != Some(Mutant::StoreClockStale) {
            let _ = self.ask_store().await;
        }
        lock(&self.store_clock).now(self.world.exec.now())
    }

    /// Asks the store for its time. An answer that took long is not taken: leases would end too late by as much.
    async fn ask_store(&self) -> Option<Timestamp> {
        for _ in 0..3 {
            let asked = self.world.exec.now();
            let now = self.store.now().await.ok()?;
            let took = Duration::from_nanos(self.world.exec.now() - asked);
            if took <= STORE_CLOCK_AGE_MAX || self.world.mutant == Some(Mutant::StoreClockLate) {
                self.store_shows(now, asked);
                return Some(now);
            }
        }
        None
    }

    /// The same moment on the store's clock.
    fn to_store(&self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.saturating_add(self.lead_ms.load(Ordering::Relaxed)))
    }

    /// Takes over what the store's clock shows, counted on from before it was asked: a node that was stopped before
    /// it heard the answer must not write leases that end too early.
    fn store_shows(&self, now: Timestamp, asked: u64) {
        let late = self.world.mutant == Some(Mutant::StoreClockLate);
        let from = if late { self.world.exec.now() } else { asked };
        *lock(&self.store_clock) = Anchor::new(self.clock, from, now);
    }

    /// Monotonic time, as this node takes it.
    pub fn monotonic(&self) -> Instant {
        Instant(self.clock.monotonic(self.world.exec.now()))
    }

    /// The true time at which this node's monotonic clock shows `at`.
    pub fn truth_of(&self, at: Instant) -> u64 {
        self.clock.truth_of(at.0)
    }

    /// The true time at which the queue's clock shows `at`.
    fn truth_of_queue(&self, at: Timestamp) -> u64 {
        let truth = lock(&self.anchor).truth_of(at);
        match self.world.mutant {
            // A clock that steps back would be asked again at once.
            Some(Mutant::WallClockLease) => truth.max(self.world.exec.now() + crate::world::SECOND),
            _ => truth,
        }
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
            if stopping && idle {
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

    /// Anchors the queue's time to the store's.
    async fn asks_the_time(&self) -> bool {
        if self.ask_store().await.is_none() {
            return false;
        }
        *lock(&self.anchor) = *lock(&self.store_clock);
        true
    }

    fn handle(&self, event: Event) {
        lock(&self.queue).handle(event, self.now());
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
        if self.world.setup.focus.is_some() || self.world.setup.stops_before_dots {
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

    // ---- effects --------------------------------------------------------------------------------------

    fn carry_out(self: &Arc<Self>, effect: Effect) {
        match effect {
            Effect::Proceed { fence } => {
                self.tell(fence, Control::Proceed);
                crate::chaos::before_the_dot(&self.world, self.group);
            }
            Effect::Withhold { fence } => self.tell(fence, Control::Withhold),
            Effect::Abandon { fence } => {
                self.world.books().attempt_ended(self.node, claim_of(fence));
                self.tell(fence, Control::Abandon);
            }
            Effect::Deliver { .. } if self.world.mutant == Some(Mutant::ClaimedTwice) => {
                self.start(effect.clone());
                self.start(effect);
            }
            Effect::RecordDot { fence, lease, .. }
                if self.world.mutant == Some(Mutant::ProceedBeforeDurable) =>
            {
                let _ = self.events.try_send(Event::DotRecorded { fence, result: Ok(self.now() + lease) });
                self.start(effect);
            }
            effect => self.start(effect),
        }
    }

    fn start(self: &Arc<Self>, effect: Effect) {
        let worker = self.clone();
        self.world.exec.spawn(self.group, async move { worker.perform(effect).await });
    }

    async fn perform(self: Arc<Self>, effect: Effect) {
        let phase = self.phase("effect");
        let event = match effect {
            Effect::Claim { limit, lease } => {
                phase.now("claim");
                self.claim(usize::from(limit), lease).await
            }
            Effect::Renew { fence, lease } => {
                phase.now("renew");
                Event::Renewed { fence, result: self.renew(fence, lease).await }
            }
            Effect::RecordDot { fence, recipients, lease } => {
                phase.now("record dot");
                let result = self.record_dot(fence, &recipients, lease).await;
                Event::DotRecorded { fence, result }
            }
            Effect::Deliver { fence, recipients, attempt, .. } => {
                let Some((job, control)) = self.begin_attempt(fence) else { return };
                let found = attempt::run(&self, &job, &recipients, attempt, fence, control, &phase).await;
                match found {
                    Some(found) => self.attempted(fence, found),
                    None => return,
                }
            }
            Effect::Save { fence, settlement } => {
                phase.now("save");
                Event::Saved { fence, result: self.save(fence, settlement).await }
            }
            // No attempt of this world crashes without its node.
            Effect::Release { fence, due, crashed: _ } => {
                phase.now("release");
                let result = self.store.release(fence_of(fence), self.to_store(due)).await;
                Event::Released { fence, result: self.answer(result) }
            }
            Effect::Proceed { .. } | Effect::Withhold { .. } | Effect::Abandon { .. } => return,
        };
        if let Event::Saved { fence, result } | Event::Released { fence, result } = &event
            && *result != Err(StoreError::Unavailable)
        {
            self.forget(*fence);
        }
        let _ = self.events.try_send(event);
    }

    /// What the queue may conclude. An unknown outcome ends the process.
    fn answer<T>(&self, result: Result<T, Error>) -> Result<T, StoreError> {
        result.map_err(|error| match error {
            Error::Refused(_) | Error::NotFound => StoreError::Stale,
            Error::OutcomeUnknown(_) => {
                self.dies("an unknown outcome");
                StoreError::Unavailable
            }
            _ => StoreError::Unavailable,
        })
    }

    fn dies(&self, of: &str) {
        self.world.note(format_args!("n{}: ends because of {of}", self.node));
        self.world.count("node ended itself");
        self.world.exec.kill(self.group);
    }

    fn tell(&self, fence: Fence, control: Control) {
        let table = lock(&self.held);
        let held = table.get(&fence.job).filter(|h| h.job.epoch == fence.epoch);
        if let Some(sender) = held.and_then(|h| h.control.as_ref()) {
            let _ = sender.try_send(control);
        }
    }

    fn forget(&self, fence: Fence) {
        let mut table = lock(&self.held);
        if table.get(&fence.job).is_some_and(|h| h.job.epoch == fence.epoch) {
            table.remove(&fence.job);
        }
    }

    async fn claim(&self, limit: usize, lease: Duration) -> Event {
        let asked = self.now();
        let Some(now) = self.ask_store().await else { return Event::ClaimFailed };
        let claimed = self.store.claim(now, lease, limit).await;
        let Ok(mut jobs) = self.answer(claimed) else { return Event::ClaimFailed };
        // Both at one moment: the process may have been stopped while it asked.
        let lead_ms = lock(&self.store_clock).now(self.world.exec.now()).0 - self.now().0;
        self.lead_ms.store(lead_ms, Ordering::Relaxed);
        // The queue takes a claim for lost whose answer came so late; its jobs wait for the end of the lease.
        if !jobs.is_empty() && asked + self.shortened(lease) <= self.now() {
            self.claimed_late.store(true, Ordering::Relaxed);
        }
        jobs.retain(|job| job.state == JobState::Processing);
        let mut known = Vec::with_capacity(jobs.len());
        let mut table = lock(&self.held);
        for job in jobs {
            let mut of_queue = convert::job(&job, asked + self.shortened(lease), lead_ms);
            if let Some(mutant) = self.world.mutant {
                mutant.claimed(&mut of_queue);
            }
            known.push(of_queue);
            table.insert(JobKey(job.spec.id.0.0), Held { job, control: None, hosts: BTreeMap::new() });
        }
        Event::Claimed(known)
    }

    /// A lease as it is taken for here: the clock that counts it may be slow.
    fn shortened(&self, lease: Duration) -> Duration {
        match self.world.mutant {
            Some(Mutant::LeaseNotShortened) => lease,
            _ => lease - lease / DRIFT,
        }
    }

    async fn renew(&self, fence: Fence, lease: Duration) -> Result<Timestamp, StoreError> {
        let asked = self.now();
        if self.world.mutant == Some(Mutant::NoRenewal) {
            return Ok(asked + lease);
        }
        let renewed = self.store.renew(fence_of(fence), self.store_now().await, lease).await;
        let asked = if self.world.mutant == Some(Mutant::RenewalIgnoresStale) { self.now() } else { asked };
        self.answer(renewed).map(|()| asked + self.shortened(lease))
    }

    async fn record_dot(
        &self,
        fence: Fence,
        recipients: &[u16],
        lease: Duration,
    ) -> Result<Timestamp, StoreError> {
        let asked = self.now();
        let long = lease + lease / (DRIFT - 1);
        if self.world.mutant == Some(Mutant::NoDotRecord) {
            return self.renew(fence, long).await;
        }
        let recipients: Vec<usize> = recipients.iter().map(|n| usize::from(*n)).collect();
        // Longer than it is taken for here, by what clocks may differ.
        let recorded = self.store.dot_sent(fence_of(fence), &recipients, self.store_now().await, long).await;
        self.answer(recorded).map(|()| asked + lease)
    }

    fn begin_attempt(&self, fence: Fence) -> Option<(Job, Receiver<Control>)> {
        // The process may have been stopped since the queue decided.
        if !self.holds_for(fence, Duration::ZERO) {
            return None;
        }
        let (sender, receiver) = async_channel::unbounded();
        let mut table = lock(&self.held);
        let held = table.get_mut(&fence.job).filter(|h| h.job.epoch == fence.epoch)?;
        held.control = Some(sender);
        held.hosts.clear();
        Some((held.job.clone(), receiver))
    }

    fn attempted(&self, fence: Fence, mut found: Attempted) -> Event {
        let now = self.world.exec.now();
        let mut books = self.world.books();
        // What a session reports under a claim that was lost meanwhile is of no account: nothing is written.
        if lock(&self.queue).lease_until(fence).is_some() {
            books.learnt(claim_of(fence), &found.verdicts, now);
        }
        books.attempt_ended(self.node, claim_of(fence));
        drop(books);
        if let Some(held) = lock(&self.held).get_mut(&fence.job) {
            held.control = None;
            held.hosts = found.hosts;
        }
        for (index, verdict) in &found.verdicts {
            self.world.note(format_args!("n{}: {} {index} {}", self.node, name(fence), short(verdict)));
        }
        if let Some(mutant) = self.world.mutant {
            mutant.verdicts(&mut found.verdicts);
        }
        Event::Attempted { fence, verdicts: found.verdicts, health: found.health }
    }

    async fn save(
        &self,
        fence: Fence,
        mut settlement: protocol_smtp::queue::Settlement,
    ) -> Result<(), StoreError> {
        let held = lock(&self.held).get(&fence.job).filter(|h| h.job.epoch == fence.epoch).cloned();
        let Some(Held { job, hosts, .. }) = held else { return Err(StoreError::Stale) };
        let now = self.to_store(self.now());
        settlement.next_due = settlement.next_due.map(|due| self.to_store(due));
        if self.world.mutant == Some(Mutant::NoBackoff) {
            settlement.next_due = settlement.next_due.map(|_| now);
        }
        let mut update = convert::update(&job, &settlement, &hosts, now);
        update.also.jobs.extend(notice::build(&self.world, &job, &settlement, &hosts, now));
        if self.world.mutant == Some(Mutant::TwoDsns) {
            update.also.jobs.extend(notice::build(&self.world, &job, &settlement, &hosts, now));
        }
        let tells = !update.also.jobs.is_empty();
        let store_now = self.store_now().await;
        let saved = self.store.save(fence_of(fence), update, store_now).await;
        self.answer(saved)?;
        if tells {
            let _ = self.events.try_send(Event::Wake);
        }
        Ok(())
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

    // ---- submissions ----------------------------------------------------------------------------------

    /// Accepts a message for a client, in a task of this node.
    pub fn submit(self: &Arc<Self>, jobs: Vec<NewJob>, answer: Sender<Result<(), Error>>) {
        let worker = self.clone();
        self.world.exec.spawn(self.group, async move {
            let _phase = worker.phase("submit");
            if worker.world.mutant == Some(Mutant::AckBeforeCommit) {
                let _ = answer.try_send(Ok(()));
            }
            let accepted = worker.store.submit(jobs, worker.store_now().await).await;
            if accepted.is_ok() {
                let _ = worker.events.try_send(Event::Wake);
            }
            let _ = worker.answer(accepted.clone());
            let _ = answer.try_send(accepted);
        });
    }
}

/// A fence as the books have it.
pub fn claim_of(fence: Fence) -> (JobId, u64) {
    let fence = fence_of(fence);
    (fence.job, fence.epoch)
}

fn name(fence: Fence) -> String {
    format!("{}#{}", crate::db::world_name(claim_of(fence).0), fence.epoch)
}

fn short(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Delivered { reply, .. } => format!("delivered: {reply}"),
        Verdict::Temporary(f) => format!("temporary: {}", f.reply),
        Verdict::Permanent(f) => format!("permanent: {}", f.reply),
        Verdict::InDoubt(f) => format!("in doubt: {}", f.reply),
        Verdict::Suppressed(f) => format!("suppressed: {}", f.reply),
        Verdict::NotTried => "not tried".into(),
    }
}
