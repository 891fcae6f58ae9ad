//! SEARCH: which messages match, asking for as little of each as decides it.
//!
//! Most searches are decided by the row alone. What is not is asked for step by step: the structure (whose
//! envelope answers FROM, SUBJECT and their kin), the header, and last the text.

mod answer;
mod found;
mod needle;
mod program;

use protocol_core::Timestamp;

use super::reason::{Bad, No};
use super::session::{Refused, ServerSession};
use crate::codec::{Search, SearchReturn};

pub(super) use answer::Answer;
pub use found::Found;
pub use program::Program;

/// SEARCH.
///
/// Make a [`Program`] of it. For each target: [`Program::row`], and as long as the answer is
/// [`Verdict::Need`], what is needed; put those that match into a [`Found`]; complete with
/// [`Running::searched`](super::Running::searched).
#[derive(Clone, Copy, Debug)]
pub struct Searching<'b> {
    pub(super) search: Search<'b>,
}

impl Searching<'_> {
    /// The program, with message numbers and UIDs resolved. `now` decides OLDER and YOUNGER (RFC 5032).
    pub fn program(&self, session: &ServerSession, now: Timestamp) -> Result<Program, No> {
        Program::compile(&self.search, session, now)
    }

    /// What the result is to hold; `None` for an untagged SEARCH response.
    pub(super) fn returns(&self, rev2: bool) -> Option<SearchReturn> {
        match self.search.returns {
            // RFC 9051 §6.4.4: without RETURN, and with an empty one, ALL.
            None if !rev2 => None,
            None => Some(SearchReturn { all: true, ..SearchReturn::default() }),
            Some(r) if r == SearchReturn::default() => Some(SearchReturn { all: true, ..r }),
            Some(r) => Some(r),
        }
    }

    /// Faults that need no mail store.
    pub(super) fn check(&self, utf8_accept: bool) -> Result<(), Refused> {
        match self.search.charset {
            Some(_) if utf8_accept => Err(Bad::Charset.into()),
            Some(charset)
                if !["UTF-8", "US-ASCII"].iter().any(|c| charset.eq_ignore_ascii_case(c.as_bytes())) =>
            {
                Err(No::BadCharset.into())
            }
            _ => Ok(()),
        }
    }
}

/// Whether a message matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It does.
    Match,
    /// It does not.
    NoMatch,
    /// Only this can tell.
    Need(Need),
}

/// What is needed to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The structure: [`Program::structure`].
    Structure,
    /// The message's whole header: [`Program::header`].
    Header,
    /// The text parts in order, each decoded to UTF-8 and fed in pieces of any size: [`Program::text`], with
    /// [`Program::part_ended`] behind each, and [`Program::text_ended`] behind the last.
    Text,
}
