//! Stopping: the word to stop, who still has to hear it out, and the signals that give it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_io::Timer;
use async_signal::{Signal as Os, Signals};
use event_listener::{Event, listener};
use futures_lite::{StreamExt, future};

use crate::app::Stop;
use crate::metrics::METRICS;

/// The word to stop, and the sessions that have still to hear it out. Clones share both.
#[derive(Clone, Default)]
pub struct Sessions {
    stop: Stop,
    open: Arc<Open>,
}

#[derive(Default)]
struct Open {
    sessions: AtomicUsize,
    ended: Event,
}

impl Sessions {
    /// None yet; they end when `stop` is set.
    pub fn new(stop: Stop) -> Sessions {
        Sessions { stop, open: Arc::default() }
    }

    /// Counts a session until what is returned is dropped.
    pub fn begin(&self) -> Session {
        self.open.sessions.fetch_add(1, Ordering::SeqCst);
        METRICS.sessions.fetch_add(1, Ordering::Relaxed);
        Session { sessions: self.clone() }
    }

    /// Waits until every session has ended, at most for `limit`; how many have not.
    pub async fn drained(&self, limit: Duration) -> usize {
        let all_ended = async {
            loop {
                listener!(self.open.ended => ended);
                if self.open.sessions.load(Ordering::SeqCst) == 0 {
                    return;
                }
                ended.await;
            }
        };
        future::or(all_ended, async {
            Timer::after(limit).await;
        })
        .await;
        self.open.sessions.load(Ordering::SeqCst)
    }

    pub(super) fn stop(&self) -> &Stop {
        &self.stop
    }
}

/// An open session: the process waits for it (up to 30 s) before it ends.
pub struct Session {
    sessions: Sessions,
}

impl Session {
    /// Completes when the session should come to its end.
    pub async fn stopping(&self) {
        self.sessions.stop.wait().await;
    }

    /// Whether it should.
    pub fn is_stopping(&self) -> bool {
        self.sessions.stop.is_set()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        METRICS.sessions.fetch_sub(1, Ordering::Relaxed);
        if self.sessions.open.sessions.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.sessions.open.ended.notify(usize::MAX);
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
