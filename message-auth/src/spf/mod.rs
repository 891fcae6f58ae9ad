//! The Sender Policy Framework (RFC 7208), as a pure evaluator.
//!
//! **It is** check_host() with its limits: [`Check`] asks DNS [`Question`]s as values and is given [`Answer`]s.
//! Each [`Check::poll`] evaluates anew with the answers known so far, and either needs one more or is done; so
//! there is no state to get wrong, and the number of questions is bounded by the limits of RFC 7208 §4.6.4.
//!
//! **It is not** a resolver and has no clock: whoever drives it bounds the time and answers
//! [`Answer::Failed`] when that is over.

mod check;
mod macros;
mod record;

pub use check::{Check, LOOKUPS_MAX, MX_HOSTS_MAX, PTR_NAMES_MAX, VOIDS_MAX};
pub use record::RECORD_MAX;

use std::net::IpAddr;

use protocol_core::auth::{Spf, SpfIdentity};

/// What is to be checked.
#[derive(Clone, Debug)]
pub struct Query {
    /// The client's address.
    pub ip: IpAddr,
    /// The name it gave in HELO or EHLO.
    pub helo: String,
    /// Which identity.
    pub identity: SpfIdentity,
    /// Local part of the identity; empty for none, which means `postmaster`.
    pub local: String,
    /// Domain of the identity, an A-label.
    pub domain: String,
    /// Our own name, for `%{r}`.
    pub receiver: String,
    /// Seconds of the Unix epoch, for `%{t}`.
    pub now_secs: i64,
}

/// A question to DNS. Names have no final dot and are in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Question {
    Txt(String),
    A(String),
    Aaaa(String),
    Mx(String),
    Ptr(IpAddr),
}

/// What DNS said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The texts, each record's strings joined.
    Txt(Vec<Vec<u8>>),
    /// Addresses of the family asked for.
    Addresses(Vec<IpAddr>),
    /// Names of mail exchangers.
    Mx(Vec<String>),
    /// Names of an address.
    Names(Vec<String>),
    /// There is nothing: no such name, or none of that type.
    Void,
    /// No answer: a failure of the server, a time-out.
    Failed,
}

/// What [`Check::poll`] returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Answer this by [`Check::answer`], then poll again.
    Ask(Question),
    /// The result.
    Done(Spf),
}
