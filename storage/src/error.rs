//! Errors, split by what the caller may conclude.

use core::fmt;

use crate::slots::Quota;

/// Why a storage call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no such thing, or it is not the caller's to see: the two are never told apart.
    NotFound,
    /// The request is understood and refused; nothing was applied.
    Refused(Refusal),
    /// Nothing was applied; trying again later may succeed.
    Unavailable(String),
    /// It is not known whether it was applied. The process must not go on as if it were, or were not.
    OutcomeUnknown(String),
    /// Stored bytes are not what was written; names the object or row.
    Corrupt(String),
}

/// What [`Error::OutcomeUnknown`] says of an engine that answers nothing any more.
pub(crate) const STANDSTILL: &str = "the database engine has come to a standstill";

impl Error {
    /// Whether the cause is an engine that stands still: a new process usually does not have it.
    pub fn is_standstill(&self) -> bool {
        matches!(self, Error::OutcomeUnknown(why) | Error::Unavailable(why) if why == STANDSTILL)
    }
}

/// Definite refusals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A thing of that name exists.
    Exists(String),
    /// The mailbox's or organisation's quota would be exceeded.
    OverQuota,
    /// The epoch is no longer current: another worker holds the job, or it was settled.
    Fenced,
    /// The named field or argument is not valid; the text says why.
    Invalid(String),
    /// Something depends on it; the text says what.
    InUse(String),
    /// A limit on a count (keywords, folders) is reached.
    TooMany(String),
    /// This limit of the sender's domain would be exceeded.
    Quota(Quota),
    /// Mail for the mailbox must be encrypted to its owner's key, and there is none that can be used: why.
    NoEncryptionKey(String),
    /// The same request was accepted before under the same key of idempotency: what was answered then. It is as
    /// durable as if it were new.
    Repeated(String),
    /// Another request was accepted before under the same key of idempotency.
    IdempotencyConflict,
}

/// The result of a storage call.
pub type Result<T, E = Error> = core::result::Result<T, E>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFound => f.write_str("not found"),
            Error::Refused(why) => why.fmt(f),
            Error::Unavailable(why) => write!(f, "storage is not available: {why}"),
            Error::OutcomeUnknown(why) => {
                write!(f, "it is not known whether storage applied the change: {why}")
            }
            Error::Corrupt(what) => write!(f, "damaged data: {what}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Exists(what) => write!(f, "{what} exists already"),
            Refusal::OverQuota => f.write_str("over quota"),
            Refusal::Fenced => f.write_str("another worker holds this job, or it was settled"),
            Refusal::Invalid(why) | Refusal::InUse(why) | Refusal::TooMany(why) => f.write_str(why),
            Refusal::Quota(quota) => write!(f, "the sender's domain has reached its limit of {quota}"),
            Refusal::NoEncryptionKey(why) => write!(f, "mail cannot be encrypted to its owner's key: {why}"),
            Refusal::Repeated(_) => f.write_str("the same request was accepted before"),
            Refusal::IdempotencyConflict => {
                f.write_str("another request was accepted before under the same key")
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<Refusal> for Error {
    fn from(why: Refusal) -> Error {
        Error::Refused(why)
    }
}
