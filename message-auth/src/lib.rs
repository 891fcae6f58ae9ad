//! Who sent a message: SPF, DKIM, ARC and DMARC.
//!
//! **It is** the checks of an incoming message's origin: [`Verifier`] runs them, [`spf`] is check_host() as a
//! pure evaluator, and the results are the plain values of [`protocol_core::auth`]. [`sign`] makes
//! signatures of our own.
//!
//! **It is not** a policy: what a result leads to is decided in `protocol-smtp`. Nor does anything of the
//! libraries it uses, or of their runtime, show outside.
//!
//! **To drive it**: open one [`Verifier`], await [`Verifier::spf`] at MAIL, take a [`Permit`] before a message
//! is read into memory, and await [`Verifier::message`].
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod aggregate;
mod chain;
mod dmarc;
mod dns;
mod message;
pub mod sign;
mod signatures;
pub mod spf;
mod tags;
mod verifier;

pub use chain::ARC_SETS_MAX;
pub use dns::DnsSettings;
pub use message::{FROM_DOMAINS_MAX, Message, needs_body};
pub use signatures::{CLOCK_SKEW_SECS, RSA_BITS, SIGNATURES_MAX};
pub use verifier::{Pending, Permit, Settings, Verifier};
