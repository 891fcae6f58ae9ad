//! TLS reports (RFC 8460): every connection to another server is noted in SMTP_TLS_REPORT_DIR, and when a day is
//! over, the domains that ask for it are told how it went.
//!
//! What a line and a report hold is decided in [`protocol_smtp::tlsrpt`]. For each day (UTC) there is a file
//! `DAY.jsonl` of connections, and beside it `DAY.sent`, which says who was told, so that a restart neither
//! repeats a report nor forgets one.

mod journal;
mod note;
pub mod received;
mod send;
#[cfg(test)]
mod tests;

use std::path::Path;

use protocol_smtp::tlsrpt::{Day, Session};
use storage::NewJob;

use crate::reports::Notes;

pub use note::{Applied, Connection, Outcome, session_of};
pub use send::{Sender, Sent, run};
pub(crate) use send::{list, send_now};

/// Begins the envelope identifier of a report's own mail.
const ENVID: &str = "tlsrpt.";

/// Where connections are noted. One for the process; copies share it.
#[derive(Clone)]
pub struct Reports(Notes);

impl Reports {
    /// Notes into a directory, which is made when absent; without one nothing is noted.
    pub fn open(dir: Option<&Path>) -> Reports {
        Reports(Notes::open(dir))
    }

    /// Notes how a connection went.
    pub fn note(&self, session: &Session) {
        self.0.note(Day::of(session.at), session.line());
    }

    /// Waits until everything that was noted is written.
    pub async fn flush(&self) {
        self.0.flush().await;
    }
}

/// Whether a job carries a TLS report: its connections are not noted, or two servers that report to each other
/// would never come to an end.
pub fn is_report(job: &NewJob) -> bool {
    job.is_dsn && job.envid.as_deref().is_some_and(|envid| envid.starts_with(ENVID))
}
