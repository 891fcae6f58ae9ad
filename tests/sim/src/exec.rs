//! An executor with virtual time: one thread, first come first served, and when nothing can go on, time jumps
//! to the next timer. Tasks belong to groups; a group can be frozen (a stopped process) or killed (a crash),
//! after any poll of any of its tasks.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The group of everything that outlives the nodes.
pub const WORLD: u32 = 0;

/// No world needs more polls than this.
const POLLS_MAX: u64 = 20_000_000;

/// Locks a mutex of this single-threaded world.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the module.
#[derive(Default)]
pub struct Exec {
    inner: Mutex<Inner>,
    ready: Arc<Mutex<VecDeque<u64>>>,
}

#[derive(Default)]
struct Inner {
    now: u64,
    timers: BTreeMap<(u64, u64), Waker>,
    seq: u64,
    tasks: BTreeMap<u64, Task>,
    groups: BTreeMap<u32, Group>,
    doomed: Vec<u32>,
    polls: u64,
    stopped: bool,
    /// See [`Exec::slow_down`].
    pause: std::time::Duration,
}

struct Task {
    group: u32,
    /// None while it is polled.
    future: Option<Boxed>,
    waker: Waker,
}

#[derive(Default)]
struct Group {
    frozen: bool,
    /// Since when, and how long it was frozen at the most.
    frozen_since: u64,
    frozen_longest: u64,
    dead: bool,
    parked: Vec<u64>,
    polls: u64,
    /// Dies, or is frozen, after so many polls.
    trip: Option<(u64, Trip)>,
    mourners: Vec<Waker>,
}

impl Group {
    fn freeze(&mut self, now: u64) {
        if !self.frozen {
            (self.frozen, self.frozen_since) = (true, now);
        }
    }
}

/// What happens to a group at a chosen poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trip {
    /// It is killed.
    Kill,
    /// It is frozen.
    Freeze,
}

struct TaskWaker {
    id: u64,
    ready: Arc<Mutex<VecDeque<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut ready = lock(&self.ready);
        if !ready.contains(&self.id) {
            ready.push_back(self.id);
        }
    }
}

/// Why [`Exec::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// [`Exec::stop`] was called.
    Stopped,
    /// No task can ever go on.
    Idle,
    /// More was done than any world needs: something goes round in a circle.
    Restless,
    /// The limit of time was reached.
    Limit,
}

impl Exec {
    /// True time, in nanoseconds since the world began.
    pub fn now(&self) -> u64 {
        lock(&self.inner).now
    }

    /// Polls of tasks so far.
    pub fn polls(&self) -> u64 {
        lock(&self.inner).polls
    }

    /// Polls of a group's tasks so far.
    pub fn polls_of(&self, group: u32) -> u64 {
        lock(&self.inner).groups.get(&group).map_or(0, |g| g.polls)
    }

    /// Runs a task; it is dropped unfinished when its group is killed. In a dead group it never runs.
    pub fn spawn(&self, group: u32, future: impl Future<Output = ()> + Send + 'static) {
        let mut inner = lock(&self.inner);
        if inner.groups.entry(group).or_default().dead {
            return;
        }
        inner.seq += 1;
        let id = inner.seq;
        let waker = Waker::from(Arc::new(TaskWaker { id, ready: self.ready.clone() }));
        inner.tasks.insert(id, Task { group, future: Some(Box::pin(future)), waker });
        lock(&self.ready).push_back(id);
    }

    /// Waits for a length of true time.
    pub fn sleep(&self, nanos: u64) -> Sleep<'_> {
        self.sleep_until(self.now().saturating_add(nanos))
    }

    /// Waits for a moment of true time.
    pub fn sleep_until(&self, at: u64) -> Sleep<'_> {
        Sleep { exec: self, at, key: None }
    }

    /// Completes when the group has been killed.
    pub fn death_of(&self, group: u32) -> impl Future<Output = ()> + Send + '_ {
        std::future::poll_fn(move |cx| {
            let mut inner = lock(&self.inner);
            let group = inner.groups.entry(group).or_default();
            if group.dead {
                return Poll::Ready(());
            }
            group.mourners.push(cx.waker().clone());
            Poll::Pending
        })
    }

    /// Stops a group's tasks where they are.
    pub fn freeze(&self, group: u32) {
        let mut inner = lock(&self.inner);
        let now = inner.now;
        inner.groups.entry(group).or_default().freeze(now);
    }

    /// Lets them go on.
    pub fn thaw(&self, group: u32) {
        let mut inner = lock(&self.inner);
        let now = inner.now;
        let group = inner.groups.entry(group).or_default();
        if group.frozen {
            group.frozen_longest = group.frozen_longest.max(now - group.frozen_since);
        }
        group.frozen = false;
        group.trip = group.trip.filter(|(_, what)| *what == Trip::Kill);
        lock(&self.ready).extend(std::mem::take(&mut group.parked));
    }

    /// Whether it is frozen.
    pub fn is_frozen(&self, group: u32) -> bool {
        lock(&self.inner).groups.get(&group).is_some_and(|g| g.frozen)
    }

    /// How long it was frozen at the most, in nanoseconds.
    pub fn frozen_longest(&self, group: u32) -> u64 {
        lock(&self.inner).groups.get(&group).map_or(0, |g| g.frozen_longest)
    }

    /// Drops a group's tasks when the task that runs now comes to its next await.
    pub fn kill(&self, group: u32) {
        lock(&self.inner).doomed.push(group);
    }

    /// Kills or freezes the group after so many more polls of its tasks.
    pub fn trip(&self, group: u32, polls: u64, what: Trip) {
        let mut inner = lock(&self.inner);
        let group = inner.groups.entry(group).or_default();
        group.trip = Some((group.polls.saturating_add(polls), what));
    }

    /// Lets so much real time pass at each poll, as on a machine that is busy with other things. Nothing in the
    /// world may notice.
    pub fn slow_down(&self, pause: std::time::Duration) {
        lock(&self.inner).pause = pause;
    }

    /// Makes [`Exec::run`] return.
    pub fn stop(&self) {
        lock(&self.inner).stopped = true;
    }

    /// Runs until it is stopped, nothing can go on, or true time would pass `limit`.
    pub fn run(&self, limit: u64) -> Ran {
        loop {
            while let Some(id) = self.next_ready() {
                self.poll(id);
                self.bury();
                let inner = lock(&self.inner);
                if inner.stopped {
                    return Ran::Stopped;
                }
                if inner.polls > POLLS_MAX {
                    return Ran::Restless;
                }
            }
            self.bury();
            let mut inner = lock(&self.inner);
            let Some((&(at, _), _)) = inner.timers.first_key_value() else {
                inner.now = inner.now.max(limit);
                return Ran::Idle;
            };
            if at > limit {
                inner.now = inner.now.max(limit);
                return Ran::Limit;
            }
            inner.now = inner.now.max(at);
            if let Some((_, waker)) = inner.timers.pop_first() {
                drop(inner);
                waker.wake();
            }
        }
    }

    fn next_ready(&self) -> Option<u64> {
        lock(&self.ready).pop_front()
    }

    fn poll(&self, id: u64) {
        let mut inner = lock(&self.inner);
        let now = inner.now;
        let Some(task) = inner.tasks.get_mut(&id) else { return };
        let (number, waker) = (task.group, task.waker.clone());
        let Some(mut future) = task.future.take() else { return };
        let group = inner.groups.entry(number).or_default();
        if group.frozen {
            group.parked.push(id);
            if let Some(task) = inner.tasks.get_mut(&id) {
                task.future = Some(future);
            }
            return;
        }
        group.polls += 1;
        match group.trip.filter(|(at, _)| group.polls >= *at) {
            Some((_, Trip::Kill)) => {
                group.trip = None;
                inner.doomed.push(number);
            }
            Some((_, Trip::Freeze)) => {
                group.trip = None;
                group.freeze(now);
            }
            None => {}
        }
        inner.polls += 1;
        let pause = inner.pause;
        drop(inner);
        if !pause.is_zero() {
            #[allow(clippy::disallowed_methods)] // it is real time that must not matter
            std::thread::sleep(pause);
        }
        let done = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut inner = lock(&self.inner);
        if done {
            inner.tasks.remove(&id);
            drop(inner);
            drop(future);
        } else if let Some(task) = inner.tasks.get_mut(&id) {
            task.future = Some(future);
        }
    }

    /// Drops the tasks of killed groups. Dropping may wake others, and may kill more.
    fn bury(&self) {
        loop {
            let mut inner = lock(&self.inner);
            let Some(number) = inner.doomed.pop() else { return };
            let group = inner.groups.entry(number).or_default();
            (group.dead, group.frozen) = (true, false);
            let mourners = std::mem::take(&mut group.mourners);
            let ids: Vec<u64> =
                inner.tasks.iter().filter(|(_, t)| t.group == number).map(|(id, _)| *id).collect();
            let dead: Vec<Task> = ids.iter().filter_map(|id| inner.tasks.remove(id)).collect();
            drop(inner);
            drop(dead);
            mourners.into_iter().for_each(Waker::wake);
        }
    }

    /// Drops every task: nothing of the world keeps itself alive afterwards.
    pub fn clear(&self) {
        loop {
            let mut inner = lock(&self.inner);
            let tasks = std::mem::take(&mut inner.tasks);
            inner.timers.clear();
            drop(inner);
            if tasks.is_empty() {
                return;
            }
            drop(tasks);
        }
    }
}

/// See [`Exec::sleep`].
pub struct Sleep<'a> {
    exec: &'a Exec,
    at: u64,
    key: Option<(u64, u64)>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = lock(&self.exec.inner);
        if inner.now >= self.at {
            return Poll::Ready(());
        }
        let key = match self.key {
            Some(key) if inner.timers.contains_key(&key) => key,
            _ => {
                inner.seq += 1;
                (self.at, inner.seq)
            }
        };
        inner.timers.insert(key, cx.waker().clone());
        drop(inner);
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            lock(&self.exec.inner).timers.remove(&key);
        }
    }
}
