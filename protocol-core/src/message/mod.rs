//! Internet messages: their header fields, addresses, dates and MIME structure (RFC 5322, RFC 2045 to 2049,
//! RFC 2183, RFC 2231, RFC 6532).
//!
//! A message is read once, in chunks of any size, by [`Scanner`]; what it finds is a [`Structure`]: offsets
//! and a few header values, never content. Whoever needs content reads the octets at those offsets and puts
//! them through [`decode`].
//!
//! Every view of a message comes from here: policy, IMAP and the API ask the same functions what the From
//! address ([`from`]), the file name ([`Part::file_name`]) and the parts are.

pub mod address_list;
pub mod binary;
mod boundary;
pub mod content;
pub mod date;
pub mod decode;
mod decoded;
pub mod encode;
pub mod encoded_word;
pub mod encrypted;
mod entity;
pub mod from;
pub mod header;
pub mod limits;
pub mod scan;
mod stored;
pub mod structure;
pub mod submission;
pub mod transcode;

pub use address_list::{AddressList, Entry, Mailbox};
pub use content::{Disposition, Encoding, Param};
pub use date::{Date, DateTime};
pub use from::{FromFault, FromVerdict};
pub use header::{Edit, Field, Fields};
pub use scan::Scanner;
pub use stored::Damaged;
pub use structure::{Envelope, Flags, Kind, Part, Structure};
