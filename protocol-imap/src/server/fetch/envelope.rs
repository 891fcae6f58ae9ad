//! ENVELOPE (RFC 9051 §7.5.2), written straight from the stored fields.

use protocol_core::SendBuf;
use protocol_core::message::address_list::{Entry, Mailbox};
use protocol_core::message::{AddressList, Envelope};

use crate::codec::{Emit, Text};

/// Writes an envelope.
pub(super) fn write(envelope: &Envelope, utf8: bool, out: &mut SendBuf) {
    let mut e = Emit::server(out, utf8);
    e.push(b"(");
    e.nstring(text(&envelope.date));
    e.push(b" ");
    e.nstring(text(&envelope.subject));
    // RFC 9051 §7.5.2: Sender and Reply-To that are absent or empty are those of From.
    let or_from = |field| if has_address(field) { field } else { &envelope.from };
    for field in [&envelope.from, or_from(&envelope.sender), or_from(&envelope.reply_to)] {
        addresses(field, &mut e);
    }
    for field in [&envelope.to, &envelope.cc, &envelope.bcc] {
        addresses(field, &mut e);
    }
    e.push(b" ");
    e.nstring(text(&envelope.in_reply_to));
    e.push(b" ");
    e.nstring(text(&envelope.message_id));
    e.push(b")");
}

fn text(value: &Option<alloc::vec::Vec<u8>>) -> Option<Text<'_>> {
    value.as_deref().map(Text::new)
}

fn has_address(field: &Option<alloc::vec::Vec<u8>>) -> bool {
    Envelope::list(field).any(|entry| !matches!(entry, Entry::Invalid(_)))
}

/// A space and the addresses of a field; `NIL` when it holds none.
fn addresses(field: &Option<alloc::vec::Vec<u8>>, e: &mut Emit<'_>) {
    let list: AddressList<'_> = Envelope::list(field);
    let mut any = false;
    for entry in list {
        let mailbox = match &entry {
            // What is no address is shown as none: no view of a message may find one in it.
            Entry::Invalid(_) => continue,
            Entry::Mailbox(mailbox) => Some(mailbox),
            Entry::GroupStart(_) | Entry::GroupEnd => None,
        };
        e.push(if any { b"(" } else { b" ((" });
        any = true;
        match (&entry, mailbox) {
            (_, Some(mailbox)) => address(mailbox, e),
            (Entry::GroupStart(name), _) => {
                e.push(b"NIL NIL ");
                e.string(Text::new(name));
                e.push(b" NIL");
            }
            _ => e.push(b"NIL NIL NIL NIL"),
        }
        e.push(b")");
    }
    e.push(if any { b")" } else { b" NIL" });
}

fn address(mailbox: &Mailbox<'_>, e: &mut Emit<'_>) {
    e.nstring(mailbox.name.as_deref().map(Text::new));
    e.push(b" ");
    e.nstring(mailbox.route.as_deref().map(Text::new));
    e.push(b" ");
    e.string(Text::new(&mailbox.local));
    e.push(b" ");
    e.string(Text::new(&mailbox.domain));
}
