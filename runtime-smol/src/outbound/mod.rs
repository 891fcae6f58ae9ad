//! Mail out: carries out the effects of the queue machine. What to try, when, and what becomes of it is
//! decided there; here are the claims, the connections and the writes.

mod attempt;
mod convert;
mod dial;
mod home;
mod kept;
mod lease;
mod new;
mod noted;
mod notice;
mod plan;
mod relay;
mod session;
mod source;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use async_io::Timer;
use event_listener::EventListener;
use futures_lite::{FutureExt, future};
use protocol_core::Timestamp;
use protocol_smtp::queue::{
    Effect, Event, Failure, Fence, JobKey, NodeId, Policy, Queue, Settlement, StoreError, Verdict,
};
use protocol_smtp::status::Status;
use storage::{Job, JobState, JobWrite};
use tracing::{Instrument, Span};

use crate::app::App;
use crate::metrics::METRICS;
use crate::smtp::{canonical_text, suppression_told};
use crate::telemetry::{self, TARGET};
use crate::wire::wall_now;
use crate::{config, logging, task};
use attempt::{Attempted, Control, Tried};
use convert::fence_of;
use home::Homes;
use kept::Kept;
use lease::{Anchor, Lease, lengthened, shortened};
use new::{Door, Knocker, New};
pub(crate) use notice::{Told, compose};

/// How far the clocks of two nodes may differ: a lease is taken over only so long after its end.
const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// The status of a recipient whose mail is held back.
const SUPPRESSED: Status = Status::new(5, 7, 1);

/// New jobs that one look at their organisations is about.
const TAKEN_IN_AT_ONCE: usize = 100;

/// How often the state of the name servers is looked at; they are asked again when it is time.
const DNSSEC_INTERVAL: Duration = Duration::from_secs(300);

/// The queue's variables as its machine takes them.
pub fn policy(outbound: &config::Outbound) -> Policy {
    Policy {
        retry_base: outbound.retry.base_delay,
        retry_max: outbound.retry.max_delay,
        max_attempts: outbound.retry.max_attempts,
        ttl: outbound.retry.ttl,
        delay_warning: outbound.delay_warning.unwrap_or_default(),
        poll_interval: outbound.queue.poll_interval,
        batch: u16::try_from(outbound.queue.batch_size).unwrap_or(u16::MAX),
        lease: outbound.queue.lease,
        timeout: outbound.timeout,
        ..Policy::default()
    }
}

/// A job that this node holds.
#[derive(Clone)]
struct Held {
    job: Job,
    lease: Lease,
    control: Option<Sender<Control>>,
    /// Where each recipient was tried, for its delivery record.
    tried: HashMap<u16, Tried>,
    /// Where the mail of recipients goes who live here.
    homes: Homes,
    /// The last attempt's place in its trace.
    trace: Option<String>,
}

/// The worker's shared state: effects run in tasks of their own.
struct Worker {
    app: Arc<App>,
    owner: String,
    anchor: Anchor,
    events: Sender<Event>,
    held: Mutex<HashMap<JobKey, Held>>,
    /// Milliseconds by which the store's clock is ahead of the queue's, as of the last claim.
    lead: AtomicI64,
    kept: Arc<Kept>,
}

/// Runs the queue until the server stops; every job it holds then is finished or given back.
pub async fn run(app: Arc<App>) {
    let mut seed = [0; 32];
    if getrandom::fill(&mut seed).is_err() {
        return tracing::error!("no randomness for the queue: nothing is delivered");
    }
    let node = u64::from_le_bytes(seed[..8].try_into().unwrap_or_default());
    let anchor = Anchor(app.storage.store_now(), monotonic());
    let (events, inbox) = async_channel::unbounded();
    let owner = format!("{}-{node:016x}", app.config.server.hostname);
    let mut queue = Queue::new(policy(&app.config.outbound), NodeId(node), seed);
    let (door, new) = Door::new(owner.clone(), app.config.outbound.queue.lease, app.queued.clone());
    app.storage.set_claimer(Arc::new(Knocker(door.clone())));
    let mut queued = app.queued.listen();
    let worker = Arc::new(Worker {
        app,
        owner,
        anchor,
        events,
        held: Mutex::default(),
        lead: AtomicI64::new(0),
        kept: Arc::default(),
    });
    let taking_in = worker.clone();
    task::spawn(async move { taking_in.take_in(new).await }).detach();
    let mut stopping = false;
    loop {
        queue.promised(door.shut());
        while let Some(effect) = queue.poll(anchor.now()) {
            worker.clone().carry_out(effect);
        }
        METRICS.queue_depth.store(queue.held() as i64, std::sync::atomic::Ordering::Relaxed);
        if !stopping {
            door.open(queue.room_for_new());
        } else if queue.is_idle() {
            // What was claimed meanwhile is given back too.
            door.is_empty().await;
            match inbox.try_recv() {
                Ok(event) => queue.handle(event, anchor.now()),
                Err(_) => return,
            }
            continue;
        }
        match worker.wait(&inbox, &mut queued, queue.deadline(), stopping).await {
            Happened::Event(event) => queue.handle(event, anchor.now()),
            Happened::Queued => {
                queued = worker.app.queued.listen();
                queue.handle(Event::Wake, anchor.now());
            }
            Happened::Stop => {
                stopping = true;
                door.close();
                queue.handle(Event::Paused(true), anchor.now());
                worker.stop_attempts();
                worker.kept.end_all();
            }
            Happened::Deadline => {}
        }
    }
}

/// Small rows of one table that one cleaning looks at.
const SMALL_ROWS_MAX: usize = 2_000;

/// Removes what is older than its retention, for ever.
pub async fn clean(app: Arc<App>) {
    loop {
        Timer::after(app.config.outbound.queue.cleanup_interval).await;
        let now = wall_now();
        let dead = now - app.config.outbound.dead_job_retention;
        let deliveries = now - app.config.outbound.delivery_retention;
        let small = app.storage.store().clean_slots(app.storage.store_now(), SMALL_ROWS_MAX).await;
        match &small {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "removed counters, suppressions and keys that were over"),
            Err(error) => tracing::warn!(%error, "counters, suppressions and keys could not be cleaned"),
        }
        match app.storage.clean_jobs(dead, deliveries).await {
            Ok((0, 0)) => {}
            Ok((dead, deliveries)) => tracing::info!(dead, deliveries, "removed what was past its retention"),
            Err(error) => tracing::warn!(%error, "the queue could not be cleaned"),
        }
    }
}

/// Asks now and hourly whether the name servers hand on what DNSSEC needs, when that matters.
pub async fn watch_dnssec(app: Arc<App>) {
    let outbound = &app.config.outbound;
    let asks_tlsa =
        outbound.dane_mode != config::DaneMode::Off && outbound.tls_mode != config::TlsMode::Disabled;
    if !asks_tlsa || !outbound.dnssec_validate {
        return;
    }
    loop {
        app.resolver.is_stripped().await;
        Timer::after(DNSSEC_INTERVAL).await;
    }
}

enum Happened {
    Event(Event),
    Queued,
    Stop,
    Deadline,
}

fn monotonic() -> Instant {
    #[allow(clippy::disallowed_methods)] // the one anchor of the queue's clock
    Instant::now()
}

impl Worker {
    async fn wait(
        &self,
        inbox: &Receiver<Event>,
        queued: &mut EventListener,
        deadline: Option<Timestamp>,
        stopping: bool,
    ) -> Happened {
        let event = async {
            match inbox.recv().await {
                Ok(event) => Happened::Event(event),
                Err(_) => future::pending().await,
            }
        };
        let queued = async {
            queued.await;
            Happened::Queued
        };
        let stop = async {
            if stopping {
                return future::pending().await;
            }
            self.app.stop.wait().await;
            Happened::Stop
        };
        let timer = async {
            match deadline {
                Some(at) => Timer::after(at.since(self.anchor.now())).await,
                None => future::pending().await,
            };
            Happened::Deadline
        };
        future::or(event, future::or(stop, future::or(queued, timer))).await
    }

    fn carry_out(self: Arc<Self>, effect: Effect) {
        match effect {
            Effect::Proceed { fence } => self.tell(fence, Control::Proceed),
            Effect::Withhold { fence } => self.tell(fence, Control::Withhold),
            Effect::Abandon { fence } => self.tell(fence, Control::Abandon),
            effect => task::spawn(async move { self.perform(effect).await }).detach(),
        }
    }

    async fn perform(self: Arc<Self>, effect: Effect) {
        let otherwise = after_panic(&effect);
        let Some(event) = despite_panic(self.event_of(effect), otherwise).await else { return };
        if let Event::Attempted { fence, .. } | Event::Crashed { fence } = &event {
            self.end_attempt(*fence);
        }
        if let Event::Saved { fence, result } | Event::Released { fence, result } = &event
            && *result != Err(StoreError::Unavailable)
        {
            self.forget(*fence);
        }
        let _ = self.events.send(event).await;
    }

    async fn event_of(&self, effect: Effect) -> Option<Event> {
        Some(match effect {
            Effect::Claim { limit, lease } => self.claim(usize::from(limit), lease).await,
            Effect::Renew { fence, lease } => {
                Event::Renewed { fence, result: self.renew(fence, lease).await }
            }
            Effect::RecordDot { fence, recipients, lease } => {
                let result = self.record_dot(fence, &recipients, lease).await;
                Event::DotRecorded { fence, result }
            }
            Effect::Deliver { fence, recipients, attempt, .. } => {
                let (job, lease, control) = self.begin_attempt(fence)?;
                let span = self.trace_attempt(&job, attempt, recipients.len());
                self.deliver(fence, recipients, attempt, (job, lease, control)).instrument(span).await
            }
            Effect::Save { fence, settlement } => {
                let span = self.trace_result(fence);
                Event::Saved { fence, result: self.save(fence, settlement).instrument(span).await }
            }
            Effect::Release { fence, due, crashed } => {
                let due = self.to_store(due);
                let release = if crashed { JobWrite::Crashed { due } } else { JobWrite::Release { due } };
                let result = self.app.storage.write_job(fence_of(fence), release).await;
                Event::Released { fence, result: result.map_err(store_error) }
            }
            Effect::Proceed { .. } | Effect::Withhold { .. } | Effect::Abandon { .. } => return None,
        })
    }

    async fn deliver(
        &self,
        fence: Fence,
        recipients: Vec<u16>,
        attempt: u32,
        (job, lease, control): (Job, Lease, Receiver<Control>),
    ) -> Event {
        if let Some(outcome) = self.at_home(&job, &recipients, fence).await {
            return self.attempted(fence, attempt, outcome);
        }
        let means = (&*self.app, &self.kept);
        let (recipients, suppressed) = self.not_suppressed(&job, recipients).await;
        let mut tried = attempt::run(means, (&job, lease), &recipients, fence, control, &self.events).await;
        tried.verdicts.extend(suppressed);
        self.attempted(fence, attempt, tried)
    }

    /// The span of an attempt, in the trace that the job's row names.
    fn trace_attempt(&self, job: &Job, attempt: u32, recipients: usize) -> Span {
        let span = tracing::info_span!(
            target: TARGET,
            "queue.attempt",
            otel.kind = "consumer",
            inbox.org = %job.spec.org,
            inbox.message = %job.spec.message,
            inbox.job = %job.spec.id,
            inbox.attempt = attempt,
            inbox.recipients = recipients,
            inbox.waited_ms = self.app.storage.store_now().since(job.due).as_millis() as u64,
        );
        let span = telemetry::continues(span, job.spec.trace.as_deref());
        if let Some(trace) = telemetry::of(&span)
            && let Some(held) = self.table().get_mut(&JobKey(job.spec.id.0.0))
        {
            held.trace = Some(trace);
        }
        span
    }

    /// The span of the write of what an attempt found, behind that of the attempt.
    fn trace_result(&self, fence: Fence) -> Span {
        let span = tracing::info_span!(target: TARGET, "queue.result");
        if span.is_disabled() {
            return span;
        }
        let trace = self.table().get(&fence.job).and_then(|held| held.trace.clone());
        telemetry::continues(span, trace.as_deref())
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<JobKey, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, fence: Fence, control: Control) {
        let sender = self
            .table()
            .get(&fence.job)
            .filter(|h| h.job.epoch == fence.epoch)
            .and_then(|h| h.control.clone());
        if let Some(sender) = sender {
            let _ = sender.try_send(control);
        }
    }

    fn stop_attempts(&self) {
        for control in self.table().values().filter_map(|h| h.control.as_ref()) {
            let _ = control.try_send(Control::Stop);
        }
    }

    fn forget(&self, fence: Fence) {
        let mut table = self.table();
        if table.get(&fence.job).is_some_and(|h| h.job.epoch == fence.epoch) {
            table.remove(&fence.job);
        }
    }

    /// The same moment on the store's clock.
    fn to_store(&self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.saturating_add(self.lead.load(Ordering::Relaxed)))
    }

    async fn claim(&self, limit: usize, lease: Duration) -> Event {
        let asked = self.anchor.now();
        match self.app.storage.claim_jobs(&self.owner, lease, CLOCK_SKEW, limit).await {
            Ok(mut jobs) => {
                // Both clocks at one moment: the claim itself may have taken long.
                let lead = self.app.storage.store_now().0 - self.anchor.now().0;
                self.lead.store(lead, Ordering::Relaxed);
                jobs.retain(|job| job.state == JobState::Processing);
                // Counted from before the claim, and shorter: clocks that count differently must not matter.
                let until = asked + shortened(lease);
                Event::Claimed(jobs.into_iter().map(|job| self.hold(job, until, lead)).collect())
            }
            Err(error) => {
                tracing::warn!(%error, "no jobs could be claimed");
                Event::ClaimFailed
            }
        }
    }

    /// Keeps a job that this node has claimed; as the queue knows it.
    fn hold(&self, job: Job, until: Timestamp, lead: i64) -> protocol_smtp::queue::Job {
        let relay = self.app.config.outbound.relay.as_ref().map(|r| r.host.to_string());
        let known = convert::job(&job, relay.as_deref(), until, lead);
        let lease = Lease::new(self.anchor, until);
        let (tried, homes) = (HashMap::new(), Homes::new());
        let held = Held { job, lease, control: None, tried, homes, trace: None };
        self.table().insert(known.fence.job, held);
        known
    }

    /// Takes in what is claimed as it is queued, for as long as there is a door.
    async fn take_in(&self, new: Receiver<New>) {
        while let Ok(New { mut jobs, room }) = new.recv().await {
            let mut rooms = vec![room];
            while jobs.len() < TAKEN_IN_AT_ONCE
                && let Ok(more) = new.try_recv()
            {
                jobs.extend(more.jobs);
                rooms.push(more.room);
            }
            match self.app.storage.still_wanted(jobs).await {
                Ok(jobs) => {
                    let known = jobs.into_iter().map(|job| self.hold_new(job)).collect();
                    let _ = self.events.send(Event::Queued(known)).await;
                }
                // They are held by nobody until their leases end.
                Err(error) => tracing::warn!(%error, "new jobs wait for the end of their claim"),
            }
        }
    }

    /// The same for one that was claimed as it was queued.
    fn hold_new(&self, job: Job) -> protocol_smtp::queue::Job {
        let (here, store) = (self.anchor.now(), self.app.storage.store_now());
        let lead = store.0 - here.0;
        let lease = self.app.config.outbound.queue.lease;
        let end = job.lease_until.map_or(here, |end| Timestamp(end.0.saturating_sub(lead)));
        // As for a claim: shorter, by what clocks may differ.
        let until = Timestamp(end.0 - (lease - shortened(lease)).as_millis() as i64);
        self.hold(job, until.min(here + shortened(lease)), lead)
    }

    async fn renew(&self, fence: Fence, lease: Duration) -> Result<Timestamp, StoreError> {
        let asked = self.anchor.now();
        let renewed = self.app.storage.write_job(fence_of(fence), JobWrite::Renew { lease }).await;
        self.prolonged(fence, renewed, asked + shortened(lease))
    }

    async fn record_dot(
        &self,
        fence: Fence,
        recipients: &[u16],
        lease: Duration,
    ) -> Result<Timestamp, StoreError> {
        let asked = self.anchor.now();
        let recipients = recipients.iter().map(|n| usize::from(*n)).collect();
        // Longer than it is taken for here, by what clocks may differ.
        let dot = JobWrite::Dot { recipients, lease: lengthened(lease) };
        let recorded = self.app.storage.write_job(fence_of(fence), dot).await;
        self.prolonged(fence, recorded, asked + lease)
    }

    /// The lease holds until then, if storage says so; whoever attempts the job sees it too.
    fn prolonged(
        &self,
        fence: Fence,
        written: storage::Result<()>,
        until: Timestamp,
    ) -> Result<Timestamp, StoreError> {
        written.map_err(store_error)?;
        if let Some(held) = self.table().get(&fence.job).filter(|h| h.job.epoch == fence.epoch) {
            held.lease.prolong(until);
        }
        Ok(until)
    }

    /// What becomes of recipients who live here; `None` when the job's domain is elsewhere.
    async fn at_home(&self, job: &Job, recipients: &[u16], fence: Fence) -> Option<Attempted> {
        match home::look_up(&self.app, job, recipients).await {
            Ok(found) => {
                let (outcome, homes) = found?;
                let mut table = self.table();
                let held = table.get_mut(&fence.job).filter(|h| h.job.epoch == fence.epoch)?;
                held.homes = homes;
                Some(outcome)
            }
            Err(error) => {
                tracing::warn!(job = %job.spec.id, %error, "whether recipients live here could not be looked up");
                Some(Attempted::nothing())
            }
        }
    }

    /// The recipients that may be tried, and the verdict for those whose mail is held back: looked up when the attempt
    /// begins, whatever was known when the message was accepted (SPEC section 6).
    async fn not_suppressed(&self, job: &Job, recipients: Vec<u16>) -> (Vec<u16>, Vec<(u16, Verdict)>) {
        let address = |index: &u16| job.spec.recipients.get(usize::from(*index)).map(|r| &r.address);
        let addresses: Vec<String> =
            recipients.iter().filter_map(address).map(|address| canonical_text(address)).collect();
        let rows = match self.app.storage.suppressed(job.spec.org, &addresses).await {
            Ok(rows) => rows,
            Err(error) => {
                // Without the database no final dot could be recorded either.
                tracing::warn!(job = %job.spec.id, %error, "suppressions could not be looked up");
                return (Vec::new(), Vec::new());
            }
        };
        let (mut tried, mut held_back) = (Vec::new(), Vec::new());
        for (index, row) in recipients.into_iter().zip(rows) {
            match row {
                None => tried.push(index),
                Some(row) => {
                    let reply = format!("suppressed: {}", suppression_told(&row));
                    held_back.push((index, Verdict::Suppressed(Failure::local(SUPPRESSED, reply))));
                }
            }
        }
        (tried, held_back)
    }

    fn begin_attempt(&self, fence: Fence) -> Option<(Job, Lease, Receiver<Control>)> {
        let (sender, receiver) = async_channel::unbounded();
        let mut table = self.table();
        let held = table.get_mut(&fence.job).filter(|h| h.job.epoch == fence.epoch)?;
        held.control = Some(sender);
        held.tried.clear();
        held.homes.clear();
        Some((held.job.clone(), held.lease.clone(), receiver))
    }

    /// Nobody is there to be told anything.
    fn end_attempt(&self, fence: Fence) {
        if let Some(held) = self.table().get_mut(&fence.job).filter(|h| h.job.epoch == fence.epoch) {
            held.control = None;
        }
    }

    fn attempted(&self, fence: Fence, attempt: u32, outcome: Attempted) -> Event {
        if let Some(held) = self.table().get_mut(&fence.job) {
            held.tried = outcome.tried;
            log_attempt(&held.job, attempt, &outcome.verdicts, &held.tried, outcome.took);
        }
        Event::Attempted { fence, verdicts: outcome.verdicts, health: outcome.health }
    }

    async fn save(&self, fence: Fence, settlement: Settlement) -> Result<(), StoreError> {
        let held = self.table().get(&fence.job).filter(|h| h.job.epoch == fence.epoch).cloned();
        let Some(Held { job, tried, homes, .. }) = held else { return Err(StoreError::Stale) };
        let now = self.to_store(self.anchor.now());
        let settlement =
            Settlement { next_due: settlement.next_due.map(|due| self.to_store(due)), ..settlement };
        let mut also = home::placed(&self.app, &job, &settlement, &homes, now).await?;
        also.extend(notice::build(&self.app, &job, &settlement, &tried, now).await?);
        let has_jobs = also.iter().any(|(_, accept)| !accept.jobs.is_empty());
        let update = convert::update(&job, &settlement, &tried, now);
        match self.app.storage.save_job(&job, update, also).await {
            Ok(_) => {
                if has_jobs {
                    self.app.queued.notify(usize::MAX);
                }
                if job.spec.logged {
                    self.app.logged.notify(usize::MAX);
                }
                Ok(())
            }
            Err(error) => {
                tracing::warn!(job = %job.spec.id, %error, "the result of an attempt could not be written");
                Err(store_error(error))
            }
        }
    }
}

/// What the queue is told when carrying out an effect ended in a panic: nothing may wait for an answer for ever, and
/// no lease be renewed for work that nobody does.
fn after_panic(effect: &Effect) -> Option<Event> {
    let unavailable = StoreError::Unavailable;
    Some(match effect {
        Effect::Claim { .. } => Event::ClaimFailed,
        Effect::Renew { fence, .. } => Event::Renewed { fence: *fence, result: Err(unavailable) },
        Effect::RecordDot { fence, .. } => Event::DotRecorded { fence: *fence, result: Err(unavailable) },
        // Who may have the message already is known to the queue, which recorded the final dot.
        Effect::Deliver { fence, .. } => Event::Crashed { fence: *fence },
        Effect::Save { fence, .. } => Event::Saved { fence: *fence, result: Err(unavailable) },
        Effect::Release { fence, .. } => Event::Released { fence: *fence, result: Err(unavailable) },
        Effect::Proceed { .. } | Effect::Withhold { .. } | Effect::Abandon { .. } => return None,
    })
}

async fn despite_panic(work: impl Future<Output = Option<Event>>, otherwise: Option<Event>) -> Option<Event> {
    // What the work shares with others is behind locks that are taken whether they are poisoned or not.
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(event) => event,
        Err(_) => {
            tracing::error!(event = ?otherwise, "a panic in the queue's work; it is told that the work failed");
            otherwise
        }
    }
}

/// What the queue may conclude. An unknown outcome ends the process (`Storage::fatal`).
fn store_error(error: storage::Error) -> StoreError {
    match error {
        storage::Error::Refused(_) | storage::Error::NotFound => StoreError::Stale,
        _ => StoreError::Unavailable,
    }
}

fn log_attempt(
    job: &Job,
    attempt: u32,
    verdicts: &[(u16, Verdict)],
    tried: &HashMap<u16, Tried>,
    took: Duration,
) {
    for (index, verdict) in verdicts {
        let (outcome, reply) = convert::outcome(verdict);
        METRICS.deliveries.add(outcome);
        let recipient = job.spec.recipients.get(usize::from(*index)).map_or("", |r| r.address.as_str());
        let tried = tried.get(index);
        tracing::info!(
            id = %job.spec.message,
            job = %job.spec.id,
            from = %logging::address(&job.spec.sender),
            to = %logging::address(recipient),
            host = tried.map_or("", |t| t.host.as_str()),
            tls = tried.map_or("", |t| t.tls.as_str()),
            size = job.spec.size,
            attempt,
            outcome,
            class = convert::class(verdict),
            reply = %logging::peer(reply.as_bytes()),
            duration_ms = took.as_millis() as u64,
            "delivery attempt"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence() -> Fence {
        Fence { job: JobKey([7; 16]), epoch: 3 }
    }

    #[test]
    fn q13_a_panic_is_an_answer_to_whatever_was_asked() {
        let fence = fence();
        let lease = Duration::from_secs(120);
        let due = Timestamp(0);
        let deliver =
            Effect::Deliver { fence, destination: "a.test".into(), recipients: vec![0, 2], attempt: 1 };
        for effect in [
            Effect::Claim { limit: 1, lease },
            Effect::Renew { fence, lease },
            Effect::RecordDot { fence, recipients: vec![0], lease },
            Effect::Release { fence, due, crashed: false },
            Effect::Release { fence, due, crashed: true },
            deliver.clone(),
        ] {
            let otherwise = after_panic(&effect);
            let panics = async { panic!("on purpose, for {effect:?}") };
            let told = future::block_on(despite_panic(panics, otherwise.clone()));
            assert!(told.is_some() && told == otherwise, "{told:?}");
        }
        assert_eq!(after_panic(&deliver), Some(Event::Crashed { fence }));
        let well = async { Some(Event::ClaimFailed) };
        assert_eq!(future::block_on(despite_panic(well, None)), Some(Event::ClaimFailed));
    }
}
