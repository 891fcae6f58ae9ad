//! Stopping: the word to stop, who still has to hear it out, and the signals that give it.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use async_io::Timer;
use async_signal::{Signal as Os, Signals};
use event_listener::{Event, listener};
use futures_lite::{StreamExt, future};

use crate::metrics::METRICS;

/// Gives the word to stop.
#[derive(Debug)]
pub struct Stopper {
    sender: Sender<Infallible>,
    shutdown: Shutdown,
}

/// Hears the word to stop; cloned into whatever must.
#[derive(Clone, Debug)]
pub struct Shutdown {
    receiver: Receiver<Infallible>,
    open: Arc<Open>,
}

#[derive(Debug, Default)]
struct Open {
    sessions: AtomicUsize,
    ended: Event,
}

impl Stopper {
    /// Nothing has stopped yet.
    pub fn new() -> Stopper {
        let (sender, receiver) = async_channel::bounded(1);
        Stopper { sender, shutdown: Shutdown { receiver, open: Arc::default() } }
    }

    /// What the word is heard by.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Gives the word.
    pub fn stop(&self) {
        self.sender.close();
    }

    /// Waits until every session has ended, at most for `limit`; how many have not.
    pub async fn drained(&self, limit: Duration) -> usize {
        let open = &self.shutdown.open;
        let all_ended = async {
            loop {
                listener!(open.ended => ended);
                if open.sessions.load(Ordering::SeqCst) == 0 {
                    return;
                }
                ended.await;
            }
        };
        future::or(all_ended, async {
            Timer::after(limit).await;
        })
        .await;
        open.sessions.load(Ordering::SeqCst)
    }
}

impl Default for Stopper {
    fn default() -> Self {
        Stopper::new()
    }
}

impl Shutdown {
    /// Completes when the word is given.
    pub async fn stopping(&self) {
        // Nothing is ever sent: the only answer is that the channel was closed.
        let _ = self.receiver.recv().await;
    }

    /// Whether the word was given.
    pub fn is_stopping(&self) -> bool {
        self.receiver.is_closed()
    }

    /// Counts a session until what is returned is dropped.
    pub fn session(&self) -> Session {
        self.open.sessions.fetch_add(1, Ordering::SeqCst);
        METRICS.sessions.fetch_add(1, Ordering::Relaxed);
        Session { shutdown: self.clone() }
    }
}

/// An open session: the process waits for it (up to 30 s) before it ends.
#[derive(Debug)]
pub struct Session {
    shutdown: Shutdown,
}

impl Session {
    /// Completes when the session should come to its end.
    pub async fn stopping(&self) {
        self.shutdown.stopping().await;
    }

    /// Whether it should.
    pub fn is_stopping(&self) -> bool {
        self.shutdown.is_stopping()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        METRICS.sessions.fetch_sub(1, Ordering::Relaxed);
        if self.shutdown.open.sessions.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.shutdown.open.ended.notify(usize::MAX);
        }
    }
}

/// What the system asks of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// SIGTERM, SIGINT and SIGHUP as they come.
pub fn signals() -> io::Result<impl futures_lite::Stream<Item = Signal> + Unpin> {
    let signals = Signals::new([Os::Term, Os::Int, Os::Hup])?;
    Ok(signals.filter_map(|signal| match signal {
        Ok(Os::Term | Os::Int) => Some(Signal::Stop),
        Ok(Os::Hup) => Some(Signal::Reload),
        _ => None,
    }))
}
