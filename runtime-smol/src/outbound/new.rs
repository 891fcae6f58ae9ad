//! Jobs that are claimed as they are queued: what the loop says there is room for, and their way to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use event_listener::Event;
use storage::{Claim, Claimer, Claiming, Job};

/// Jobs of one acceptance, and the room that they were promised.
pub struct New {
    /// Claimed by this node.
    pub jobs: Vec<Job>,
    /// Dropped when the queue holds them.
    pub room: Room,
}

/// Between those who accept messages and the queue's loop.
pub struct Door {
    owner: String,
    lease: Duration,
    /// What the queue has room for beside what it holds.
    open: AtomicUsize,
    /// Promised to acceptances that are under way.
    promised: AtomicUsize,
    new: Sender<New>,
    /// Told when a promise ends while the queue is stopping.
    stopping: AtomicBool,
    ended: Event,
    /// Told of jobs that are nobody's.
    queued: Arc<Event>,
}

impl Door {
    /// A closed one, and where jobs come out.
    pub fn new(owner: String, lease: Duration, queued: Arc<Event>) -> (Arc<Door>, Receiver<New>) {
        let (new, received) = async_channel::unbounded();
        let door = Door {
            owner,
            lease,
            open: AtomicUsize::new(0),
            promised: AtomicUsize::new(0),
            new,
            stopping: AtomicBool::new(false),
            ended: Event::new(),
            queued,
        };
        (Arc::new(door), received)
    }

    /// So many jobs have room now.
    pub fn open(&self, room: usize) {
        self.open.store(room, Ordering::SeqCst);
    }

    /// Promises nothing more until it is opened again; what has been promised and has not come yet.
    pub fn shut(&self) -> usize {
        self.open(0);
        self.promised.load(Ordering::SeqCst)
    }

    /// No new jobs from here on.
    pub fn close(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.open(0);
    }

    /// Waits until what was promised has come, or will not come.
    pub async fn is_empty(&self) {
        loop {
            let listener = self.ended.listen();
            if self.promised.load(Ordering::SeqCst) == 0 {
                return;
            }
            listener.await;
        }
    }
}

/// A part of the queue's room.
pub struct Room {
    door: Arc<Door>,
    jobs: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.door.promised.fetch_sub(self.jobs, Ordering::SeqCst);
        if self.door.stopping.load(Ordering::SeqCst) {
            self.door.ended.notify(usize::MAX);
        }
    }
}

/// The door as storage knows it.
pub struct Knocker(pub Arc<Door>);

impl Claimer for Knocker {
    fn claim(&self, jobs: usize) -> Option<Box<dyn Claiming>> {
        let door = &self.0;
        let room = Room { door: door.clone(), jobs };
        let promised = door.promised.fetch_add(jobs, Ordering::SeqCst);
        let fits = promised.saturating_add(jobs) <= door.open.load(Ordering::SeqCst);
        fits.then(|| Box::new(room) as Box<dyn Claiming>)
    }

    fn queued(&self) {
        self.0.queued.notify(usize::MAX);
    }
}

impl Claiming for Room {
    fn claim(&self) -> Claim {
        Claim { owner: self.door.owner.clone(), lease: self.door.lease }
    }

    fn claimed(self: Box<Self>, jobs: Vec<Job>) {
        let door = self.door.clone();
        // Nobody listens only when the process ends; the lease ends then too.
        let _ = door.new.try_send(New { jobs, room: *self });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(room: usize) -> (Knocker, Receiver<New>) {
        let (door, new) = Door::new("n".into(), Duration::from_secs(120), Arc::default());
        door.open(room);
        (Knocker(door), new)
    }

    #[test]
    fn no_more_is_promised_than_there_is_room_for_and_what_is_dropped_is_free_again() {
        let (knocker, new) = door(3);
        let two = knocker.claim(2).unwrap();
        assert!(knocker.claim(2).is_none());
        let one = knocker.claim(1).unwrap();
        assert!(knocker.claim(1).is_none());
        drop(two);
        let two = knocker.claim(2).unwrap();
        assert_eq!(two.claim(), Claim { owner: "n".into(), lease: Duration::from_secs(120) });
        two.claimed(Vec::new());
        one.claimed(Vec::new());
        // Until the queue has them.
        assert!(knocker.claim(1).is_none());
        drop((new.try_recv().unwrap(), new.try_recv().unwrap()));
        assert!(knocker.claim(3).is_some());
    }

    #[test]
    fn a_closed_door_waits_for_what_was_promised() {
        let (knocker, new) = door(1);
        let one = knocker.claim(1).unwrap();
        knocker.0.close();
        assert!(knocker.claim(1).is_none());
        let empty = std::pin::pin!(knocker.0.is_empty());
        let polled = futures_lite::future::block_on(futures_lite::future::poll_once(empty));
        assert!(polled.is_none());
        one.claimed(Vec::new());
        drop(new.try_recv().unwrap());
        futures_lite::future::block_on(knocker.0.is_empty());
    }
}
