//! What every protocol machine of Inbox shares: receive and send buffers, time as a value, SASL, and the
//! structure of an Internet message.
//!
//! **It is** pure: `no_std` with `alloc`, no I/O, no clock, no randomness, no threads, no `unsafe`. A driver
//! owns sockets and memory, lends [`RecvBuf`] and [`SendBuf`] to a machine for one call, and passes the time
//! in as an [`Instant`] or a [`Timestamp`].
//!
//! **It is not** a runtime, and it holds no protocol's commands: those are in `protocol-smtp` and
//! `protocol-imap`.
//!
//! **To drive it**: read from the peer into [`RecvBuf::spare`], [`RecvBuf::commit`] what arrived, call the
//! machine's `poll`, write [`SendBuf::bytes`] and [`SendBuf::advance`] past them.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod address;
pub mod auth;
pub mod buf;
pub mod message;
pub mod sasl;
pub mod time;

pub use buf::{RecvBuf, SendBuf};
pub use time::{Instant, Timestamp};
