//! IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC 9051) as a codec for both roles and as pure session machines.
//!
//! **It is** `no_std` with `alloc` and without `unsafe`: octets and answers in, steps and octets out.
//! Commands and responses borrow from the receive buffer; parsing one allocates nothing.
//!
//! **It is not** a mail store and performs no I/O: what is in a folder, and who may see it, is asked of the
//! driver as values that are consumed by answering them.
//!
//! **To drive it**: [`codec::frame`] finds where a command or response ends, [`codec::Command::parse`] and
//! [`codec::Response::parse`] read it, and the `write` methods beside them are their exact inverse. A server
//! is [`server::ServerSession`]: poll it, do what its steps say, answer what they ask.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod codec;
pub mod server;
pub mod set;
pub mod utf7;
