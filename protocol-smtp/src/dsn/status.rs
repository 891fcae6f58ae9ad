//! The part for machines: `message/delivery-status`, or its international form (RFC 3464 §2, RFC 6533 §3).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::text::{ascii, clean, date, field, xtext};
use super::{Action, Dsn, Report};

/// RFC 3464 §2: fields of the message, then a group of fields for each recipient.
pub(super) fn status_part(dsn: &Dsn<'_>, global: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(envid) = dsn.envid.and_then(xtext) {
        field(&mut out, "Original-Envelope-Id", &envid);
    }
    field(&mut out, "Reporting-MTA", &format!("dns; {}", dsn.hostname));
    field(&mut out, "Arrival-Date", &date(dsn.arrival));
    if let Some(deadline) = dsn.deliver_by {
        field(&mut out, "Deliver-By-Date", &date(deadline));
    }
    for report in dsn.reports {
        out.extend_from_slice(b"\r\n");
        recipient_fields(report, global, &mut out);
    }
    out
}

fn recipient_fields(report: &Report<'_>, global: bool, out: &mut Vec<u8>) {
    if let Some(original) = report.orcpt.and_then(|o| original_recipient(o, global)) {
        field(out, "Original-Recipient", &original);
    }
    // RFC 6533 §3: utf-8 is the type of an address that is not ASCII.
    let kind = if report.recipient.is_ascii() { "rfc822" } else { "utf-8" };
    field(out, "Final-Recipient", &format!("{kind}; {}", report.recipient));
    field(out, "Action", report.action.name());
    field(out, "Status", &report.status.to_string());
    // RFC 3464 §2.3.5: the host that reported the status to us. Our own words are nobody's report.
    if let Some(remote) = report.remote.filter(|_| report.is_reply()) {
        field(out, "Remote-MTA", &format!("dns; {remote}"));
    }
    let kind = if report.is_reply() { "smtp" } else { "X-Inbox" };
    let diagnostic = clean(&report.diagnostic);
    let diagnostic = if global { diagnostic } else { ascii(&diagnostic) };
    field(out, "Diagnostic-Code", &format!("{kind}; {diagnostic}"));
    if let Some(at) = report.last_attempt {
        field(out, "Last-Attempt-Date", &date(at));
    }
    if let Some(until) = report.retry_until.filter(|_| report.action == Action::Delayed) {
        field(out, "Will-Retry-Until", &date(until));
    }
}

/// RFC 3461 §4.2: the type stays, the address comes out of its xtext. One that is not ASCII stands as it is where
/// that is allowed, else with `\x{...}` for each such character (RFC 6533 §3).
fn original_recipient(orcpt: &str, global: bool) -> Option<String> {
    let (kind, address) = orcpt.split_once(';')?;
    let utf8 = kind.eq_ignore_ascii_case("utf-8");
    let address = if utf8 { String::from(address) } else { xtext(address)? };
    let mut out = format!("{kind}; ");
    for c in address.chars() {
        if c.is_ascii() || global {
            out.push(c);
        } else {
            out.push_str(&format!("\\x{{{:X}}}", u32::from(c)));
        }
    }
    Some(out)
}
