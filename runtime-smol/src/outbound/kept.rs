//! Connections that rest between two messages. One that is taken up again is judged by the plan of the message that
//! takes it, as if it had just been made: nothing of what it was good for before counts.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol_core::Instant;
use protocol_smtp::route::Candidate;

use super::session::Conversation;
use crate::task;
use crate::wire::{monotonic_now, timer_at};

/// How long a connection rests before it is given up.
const IDLE: Duration = Duration::from_secs(2);
/// Messages that one connection carries.
pub const MESSAGES_MAX: u32 = 100;
/// Connections that rest for one host: as many as there are attempts for one destination.
const PER_HOST_MAX: usize = 20;
/// Connections that rest in all.
const ALL_MAX: usize = 200;

/// What must be the same for a connection to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Host, address and port.
    pub to: Candidate,
    /// Our own address, where one is chosen (`SMTP_OUTBOUND_SOURCE_ADDRS`).
    pub from: Option<IpAddr>,
}

struct Resting {
    place: Place,
    until: Instant,
    conversation: Conversation,
}

#[derive(Default)]
struct Inner {
    /// The one that rests for longest first.
    resting: Vec<Resting>,
    /// Somebody waits for the first one's end.
    watched: bool,
}

/// The connections of this process that rest.
#[derive(Default)]
pub struct Kept(Mutex<Inner>);

impl Kept {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection rest, or ends it when enough do.
    pub fn keep(self: &Arc<Self>, place: Place, conversation: Conversation) {
        let mut inner = self.inner();
        let of_host = inner.resting.iter().filter(|r| r.place.to.host == place.to.host).count();
        if of_host >= PER_HOST_MAX || inner.resting.len() >= ALL_MAX {
            drop(inner);
            return task::spawn(conversation.farewell()).detach();
        }
        inner.resting.push(Resting { place, until: monotonic_now() + IDLE, conversation });
        if !std::mem::replace(&mut inner.watched, true) {
            task::spawn(Arc::clone(self).watch()).detach();
        }
    }

    /// The connection to this place that `fits` and was used last.
    pub fn take(
        &self,
        place: &Place,
        mut fits: impl FnMut(&mut Conversation) -> bool,
    ) -> Option<Conversation> {
        let mut inner = self.inner();
        let at = (0..inner.resting.len()).rev().find(|at| {
            let resting = &mut inner.resting[*at];
            resting.place == *place && fits(&mut resting.conversation)
        })?;
        Some(inner.resting.remove(at).conversation)
    }

    /// Ends all that rest.
    pub fn end_all(&self) {
        for resting in std::mem::take(&mut self.inner().resting) {
            task::spawn(resting.conversation.farewell()).detach();
        }
    }

    /// Ends those whose time is over, until none is left.
    async fn watch(self: Arc<Self>) {
        loop {
            let until = {
                let mut inner = self.inner();
                let Some(until) = inner.resting.first().map(|r| r.until) else {
                    inner.watched = false;
                    return;
                };
                until
            };
            timer_at(Some(until)).await;
            let now = monotonic_now();
            let over: Vec<Resting> = {
                let mut inner = self.inner();
                let over = inner.resting.iter().take_while(|r| r.until <= now).count();
                inner.resting.drain(..over).collect()
            };
            for resting in over {
                task::spawn(resting.conversation.farewell()).detach();
            }
        }
    }
}
