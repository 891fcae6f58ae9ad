//! Requests of the transactional API: what somebody asked to be sent is checked, and made into a message.
//!
//! **It is** pure: `no_std` with `alloc`, no I/O, no clock, no randomness. Time and unique values are given, and
//! the same request with the same ones gives the same octets.
//!
//! **It is not** where it is decided who may send, to whom, and how often; nor does it know of GraphQL, JSON or
//! storage.
//!
//! **To drive it**: fill in a [`Request`], take its [`Request::fingerprint`] (which tells whether two requests under
//! one key of idempotency are the same), [`Request::check`] it, which gives an [`Email`] or a [`Fault`] that names
//! the argument, and [`Email::compose`] that: the [`Composed`] message is read in chunks.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod address;
mod check;
mod compose;
mod fault;
mod field;
mod fingerprint;
mod headers;
pub mod limits;
mod mime;
mod request;
mod text;

pub use address::Address;
pub use check::{Email, Part, Recipient, RecipientKind};
pub use compose::{Chunks, Composed, Unique};
pub use fault::{Fault, Reason};
pub use headers::{ALLOWED, is_allowed};
pub use request::{Attachment, Pair, Request, TemplateUse, Unsubscribe};
pub use text::check_line;
