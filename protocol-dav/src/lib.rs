//! WebDAV (RFC 4918), CalDAV (RFC 4791, 6638) and CardDAV (RFC 6352) as pure decisions.
//!
//! **It is** values in, values out: what a request asks for, what storage must do for it, whether the conditions
//! hold at the moment it is done, and the octets of every answer. No I/O, no clock, no randomness, no threads, no
//! `unsafe`; the time is a [`Timestamp`](protocol_core::Timestamp) that is passed in, lock tokens are made by the
//! caller.
//!
//! **It is not** an HTTP server and no storage: it knows neither connections nor tables.
//!
//! **To drive it**, for each request whose user has been authenticated:
//!
//! 1. Build a [`headers::Head`] and call [`plan::plan`]. A [`refusal::Refusal`] at any step is answered with its
//!    [`response`](refusal::Refusal::response).
//! 2. Do with the body what [`plan::Planner::body`] says: [`feed`](plan::Planner::feed) XML as it arrives, collect
//!    an object within its limit, or spool a file. Then [`finish`](plan::Planner::finish) gives a [`plan::Plan`].
//! 3. Carry the plan out. What changes something is one transaction: read the kinds of the resource and of its
//!    parent and call the plan's `check`; read the states of
//!    [`Preconditions::paths`](precondition::Preconditions::paths) and the owner's locks and call
//!    [`Preconditions::check`](precondition::Preconditions::check); write.
//!    - An object is checked by [`ical::check`] or [`vcard::check`], which also give what an index must know; the
//!      collection is searched for its UID, and [`plan::uid_conflict`] is the refusal.
//!    - What a change of a calendar object means to others is said by [`itip::on_change`]; its messages are
//!      written in the same transaction, and what they make of a local recipient's object by [`itip::receive`].
//! 4. Answer. Rows are written by [`multistatus::Multistatus`] as a cursor yields [`resource::Resource`]s; the
//!    others have their own `response` or `answer`, or [`plan::made`]. For a query, [`report`] says which rows need
//!    not be read, and which pass. A hostile object costs some tens of milliseconds before its budget is used up, so
//!    queries are evaluated where that holds nobody else up.
//!
//! `tests/memory` is a store in memory that does all of this, and the example `serve` puts it on a socket.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod headers;
pub mod ical;
pub mod itip;
pub mod limits;
pub mod lock;
pub mod multistatus;
pub mod name;
pub mod object;
pub mod path;
pub mod plan;
pub mod precondition;
pub mod props;
pub mod recur;
pub mod refusal;
pub mod report;
pub mod request;
pub mod resource;
pub mod time;
pub mod vcard;
pub mod xml;
