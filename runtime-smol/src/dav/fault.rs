//! Why a request is not carried out, and how it is told.

use protocol_dav::refusal::{Condition, Refusal, Response};

/// Why not.
#[derive(Debug)]
pub enum Fault {
    /// The request is refused.
    Refused(Box<Refusal>),
    /// Storage cannot do it.
    Storage(storage::Error),
    /// The body did not arrive in time or in full.
    Body(std::io::Error),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        Fault::Refused(Box::new(refusal))
    }
}

impl From<storage::Error> for Fault {
    fn from(error: storage::Error) -> Fault {
        Fault::Storage(error)
    }
}

impl Fault {
    /// The answer.
    pub fn response(&self) -> Response {
        let error = match self {
            Fault::Refused(refusal) => return refusal.response(),
            Fault::Body(error) => {
                tracing::debug!(%error, "the body of a request did not arrive");
                return Refusal::status(400, "the body did not arrive in time or in full").response();
            }
            Fault::Storage(error) => error,
        };
        match error {
            storage::Error::NotFound => Refusal::not_found(),
            storage::Error::Refused(storage::Refusal::OverQuota) => {
                Refusal::condition(Condition::QuotaNotExceeded, "the quota would be exceeded")
            }
            storage::Error::Refused(storage::Refusal::TooMany(_)) => {
                Refusal::condition(Condition::SufficientDiskSpace, "this is more than can be changed at once")
            }
            error @ (storage::Error::Corrupt(_) | storage::Error::Refused(_)) => {
                tracing::error!(%error, "a DAV request failed");
                Refusal::status(500, "the request could not be carried out")
            }
            error @ (storage::Error::Unavailable(_) | storage::Error::OutcomeUnknown(_)) => {
                tracing::warn!(%error, "a DAV request could not be carried out");
                Refusal::status(503, "this cannot be done now; try again later")
            }
        }
        .response()
    }
}
