//! DMARC aggregate reports (RFC 9990): every message that was checked is noted in SMTP_DMARC_REPORT_DIR when its
//! domain asks for reports, and when a day is over, the domain is told what came under its name.
//!
//! What a line and a report hold is decided in [`message_auth::aggregate`].

pub mod received;
mod send;

use std::path::Path;

use message_auth::aggregate::Observation;
use protocol_smtp::tlsrpt::Day;

use crate::reports::Notes;
use crate::wire::wall_now;

pub use send::run;
pub(crate) use send::{list, send_now};

/// Begins the envelope identifier of a report's own mail.
const ENVID: &str = "dmarcrpt.";

/// Where messages are noted. One for the process; copies share it.
#[derive(Clone)]
pub struct Observations(Notes);

impl Observations {
    /// Notes into a directory, which is made when absent; without one nothing is noted.
    pub fn open(dir: Option<&Path>) -> Observations {
        Observations(Notes::open(dir))
    }

    /// Waits until everything that was noted is written.
    pub async fn flush(&self) {
        self.0.flush().await;
    }

    /// Notes what was found about a message.
    pub fn note(&self, observation: &Observation) {
        self.0.note(Day::of(wall_now()), format!("{}\n", observation.line()));
    }
}
