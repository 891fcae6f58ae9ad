//! TLS reports (RFC 8460): what is noted about each connection, and what domains that ask for it are told
//! once a day.
//!
//! **It is** the record by which a domain asks ([`destinations`]), one connection's result and its line in a
//! journal ([`Session`]), their sum over a day ([`Aggregate`]), the report as JSON ([`Report`]) and as a
//! message ([`Mail`]), and a report of others read back ([`Received`]). No report holds an address of a sender or recipient, or anything of a message.
//!
//! **It is not** a journal, a compressor or a clock: files, gzip and the time are the caller's.
//!
//! **To drive it**: write [`Session::line`] to the journal after every connection. When the day is over, feed
//! the journal to an [`Aggregate`], write [`Report::json`], compress it, and send it to every
//! [`Destination`], as a [`Mail`] or by HTTPS.

mod aggregate;
mod json;
mod mail;
mod read;
mod received;
mod report;
mod session;
#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;

pub use aggregate::{Aggregate, DETAILS_MAX, Detail, POLICIES_MAX, Totals};
pub use mail::Mail;
pub use received::{RATIO_MAX, REPORT_OCTETS_MAX, Received, ReceivedPolicy, ReportFault};
pub use report::{Day, Report};
pub use session::{PolicyKind, PolicySeen, REASON_MAX, ResultType, Session};

/// The record stands at `_smtp._tls.` and the domain (RFC 8460 §3).
pub const RECORD_PREFIX: &str = "_smtp._tls.";
/// Destinations of one record that get a report.
pub const DESTINATIONS_MAX: usize = 5;
/// Octets of one destination.
pub const DESTINATION_OCTETS_MAX: usize = 2_048;
/// The media type of a compressed report (RFC 8460 §6.3).
pub const MEDIA_TYPE: &str = "application/tlsrpt+gzip";

/// Where a domain wants its reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Destination {
    /// By mail to this address.
    Mail(String),
    /// By POST to this `https` address.
    Https(String),
}

/// Where the TXT records of `_smtp._tls.` say that reports go, the strings of each record joined. Empty: the
/// domain asks for none, or not in exactly one valid record (RFC 8460 §3). Addresses of schemes that are not
/// known are skipped.
pub fn destinations<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Vec<Destination> {
    let mut ours = records.into_iter().filter(|r| {
        r.strip_prefix(b"v=TLSRPTv1")
            .is_some_and(|rest| rest.iter().find(|b| !matches!(b, b' ' | b'\t')) == Some(&b';'))
    });
    let (Some(record), None) = (ours.next(), ours.next()) else { return Vec::new() };
    let Ok(record) = core::str::from_utf8(record) else { return Vec::new() };
    let fields = record.split(';').skip(1).map(|f| f.trim_matches([' ', '\t']));
    let Some(rua) = fields.filter_map(|f| f.strip_prefix("rua=")).next() else { return Vec::new() };
    rua.split(',')
        .filter_map(|uri| destination(uri.trim_matches([' ', '\t'])))
        .take(DESTINATIONS_MAX)
        .collect()
}

fn destination(uri: &str) -> Option<Destination> {
    let printable = uri.bytes().all(|b| b.is_ascii_graphic());
    if uri.len() > DESTINATION_OCTETS_MAX || !printable {
        return None;
    }
    let (scheme, rest) = uri.split_once(':')?;
    if scheme.eq_ignore_ascii_case("mailto") {
        // RFC 6068: what stands behind the question mark would be header fields, and is not for others to say.
        let address = percent_decoded(rest.split('?').next()?)?;
        let mailbox = crate::address::Mailbox::parse(&address).ok()?;
        return mailbox.literal().is_none().then(|| Destination::Mail(String::from(mailbox.as_str())));
    }
    let is_https =
        scheme.eq_ignore_ascii_case("https") && rest.strip_prefix("//").is_some_and(|r| !r.is_empty());
    is_https.then(|| Destination::Https(String::from(uri)))
}

/// RFC 3986 §2.1. The record needs it for `!`, `,` and `;` (RFC 8460 §3).
fn percent_decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out).ok()
}
