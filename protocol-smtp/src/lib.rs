//! SMTP, message submission and LMTP as pure state machines.
//!
//! **It is** the server's side of a connection ([`server`]), the client's ([`client`]), and the grammar that
//! both share: addresses ([`address`]), commands ([`command`]), replies ([`reply`]) and dot-stuffing
//! ([`stuffing`]). Bytes and answers go in, steps come out. And it is what a server decides about mail on its
//! way out: when to try and what becomes of it ([`queue`]), where to and how safely ([`route`]), what the
//! sender is told ([`dsn`]), what others report of it ([`reported`]), what the message shows of it ([`trace`]) and
//! what domains are told about TLS ([`tlsrpt`]). On its way in, it is what the checks of its origin lead to
//! ([`policy`]).
//!
//! **It is not** a runtime: it opens no socket, reads no clock, makes no random number, starts no thread and
//! decides nothing that needs a database. It is `no_std` and holds no `unsafe`, so this is checked by the
//! compiler.
//!
//! **To drive it**: keep one [`protocol_core::RecvBuf`] and one [`protocol_core::SendBuf`] for each
//! connection, call `poll`, and do what the returned step says. A step that is a question is answered by one
//! of its methods, which consume it; a question dropped unanswered is a temporary failure at the next `poll`.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod address;
pub mod client;
pub mod command;
pub mod dmarc;
pub mod dsn;
pub mod limits;
pub mod params;
pub mod policy;
pub mod queue;
pub mod reply;
pub mod reported;
mod rng;
pub mod route;
pub mod server;
pub mod srs;
pub mod status;
pub mod stuffing;
pub mod tlsrpt;
pub mod trace;
mod word;
