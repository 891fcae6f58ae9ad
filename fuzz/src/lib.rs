//! Fuzz targets of the protocol crates. Each is a function over octets that panics when something is wrong: a
//! round trip that changes its value, an output that depends on how the input was cut, a limit passed, a
//! response that the other side's parser refuses.
//!
//! `run SECONDS` builds them with libFuzzer and runs each so long; `cargo test --no-default-features` replays
//! the committed corpora on any toolchain.

mod dav;
mod imap;
mod imap_server;
mod input;
mod message;
mod policy;
mod reported;
mod sasl;
mod smtp;
mod smtp_client;
mod smtp_server;

pub use dav::{dav_fields, dav_request, ical_object, ical_recurrence, vcard_card};
pub use imap::{imap_command, imap_framing, imap_response};
pub use imap_server::imap_server;
pub use message::message_structure;
pub use policy::tls_policy;
pub use reported::smtp_report;
pub use sasl::sasl;
pub use smtp::{smtp_command, smtp_reply, unstuffing};
pub use smtp_client::smtp_client;
pub use smtp_server::smtp_server;

/// A function over an input; it panics when something is wrong.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 18] = [
    ("smtp_command", smtp_command),
    ("smtp_reply", smtp_reply),
    ("smtp_server", smtp_server),
    ("smtp_client", smtp_client),
    ("smtp_report", smtp_report),
    ("unstuffing", unstuffing),
    ("imap_command", imap_command),
    ("imap_response", imap_response),
    ("imap_server", imap_server),
    ("imap_framing", imap_framing),
    ("message_structure", message_structure),
    ("sasl", sasl),
    ("tls_policy", tls_policy),
    ("dav_request", dav_request),
    ("dav_fields", dav_fields),
    ("ical_object", ical_object),
    ("ical_recurrence", ical_recurrence),
    ("vcard_card", vcard_card),
];
