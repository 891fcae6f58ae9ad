//! TLS reports (RFC 8460): every connection to another server is noted in SMTP_TLS_REPORT_DIR, and when a day is
//! over, the domains that ask for it are told how it went.
//!
//! What a line and a report hold is decided in [`protocol_smtp::tlsrpt`]. For each day (UTC) there is a file
//! `DAY.jsonl` of connections, and beside it `DAY.sent`, which says who was told, so that a restart neither
//! repeats a report nor forgets one.

mod journal;
mod mail;
mod note;
pub mod received;
mod send;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_channel::{Receiver, Sender as Channel};
use protocol_smtp::tlsrpt::{Day, Session};
use storage::NewJob;

use crate::task;

pub use note::{Applied, Connection, Outcome, session_of};
pub use send::{Sender, Sent, run};
pub(crate) use send::{list, send_now};

/// Lines on their way to their file; what comes when there are so many is lost rather than waited for.
const WAITING_MAX: usize = 4_096;
/// Begins the envelope identifier of a report's own mail.
const ENVID: &str = "tlsrpt.";

/// Where connections are noted. One for the process; copies share it.
#[derive(Clone)]
pub struct Reports {
    lines: Channel<Entry>,
    full: Arc<AtomicBool>,
}

enum Entry {
    Line(Day, String),
    /// Everything before it is to be written, and its sender dropped.
    Flush(Channel<()>),
}

impl Reports {
    /// Notes into a directory, which is made when absent; without one nothing is noted.
    pub fn open(dir: Option<&Path>) -> Reports {
        let (lines, received) = async_channel::bounded(WAITING_MAX);
        if let Some(dir) = dir {
            task::spawn(write(received, dir.to_owned())).detach();
        }
        Reports { lines, full: Arc::default() }
    }

    /// Notes how a connection went. Never waits: a report is worth less than a delivery.
    pub fn note(&self, session: &Session) {
        let sent = self.lines.try_send(Entry::Line(Day::of(session.at), session.line()));
        let is_full = sent.is_err_and(|e| e.is_full());
        if is_full && !self.full.swap(true, Ordering::Relaxed) {
            tracing::warn!("connections are made faster than they can be noted for TLS reports");
        }
    }

    /// Waits until everything that was noted is written.
    pub async fn flush(&self) {
        let (done, written) = async_channel::bounded::<()>(1);
        if self.lines.send(Entry::Flush(done)).await.is_ok() {
            let _ = written.recv().await;
        }
    }
}

/// Whether a job carries a TLS report: its connections are not noted, or two servers that report to each other
/// would never come to an end.
pub fn is_report(job: &NewJob) -> bool {
    job.is_dsn && job.envid.as_deref().is_some_and(|envid| envid.starts_with(ENVID))
}

/// Writes lines to the files of their days, as many at once as there are. A fault is said once, until writing
/// succeeds again.
async fn write(received: Receiver<Entry>, dir: PathBuf) {
    let mut told = false;
    while let Ok(first) = received.recv().await {
        let mut days: BTreeMap<Day, String> = BTreeMap::new();
        let mut waiting = Vec::new();
        let mut next = Some(first);
        while let Some(entry) = next {
            match entry {
                Entry::Line(day, line) => days.entry(day).or_default().push_str(&line),
                Entry::Flush(done) => waiting.push(done),
            }
            next = received.try_recv().ok();
        }
        let to = dir.clone();
        let written = blocking::unblock(move || {
            days.into_iter()
                .try_for_each(|(day, lines)| journal::append(&journal::sessions(&to, day), &lines))
        });
        match written.await {
            Ok(()) => told = false,
            Err(_) if told => {}
            Err(error) => {
                told = true;
                tracing::warn!(dir = %dir.display(), %error, "connections cannot be noted for TLS reports");
            }
        }
    }
}
