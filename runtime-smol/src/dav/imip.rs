//! Scheduling messages that come by mail (RFC 6047): the mail is delivered like any other, and what it asks is done in
//! the calendars of those it is for, when it is known who wrote it.

use std::sync::Arc;

use protocol_core::message::Structure;
use protocol_core::message::decode::Decoder;
use protocol_dav::ical;
use protocol_dav::limits::CALENDAR_OBJECT_MAX;
use storage::{Mailbox, Spool};

use super::fault::Fault;
use super::schedule::Delivery;
use crate::app::App;
use crate::logging;
use crate::task;

/// How often a message is taken anew when others keep changing the same tree.
const TRIES_MAX: u32 = 16;
/// Octets of the part, in whatever encoding it has.
const PART_MAX: u64 = 2 * CALENDAR_OBJECT_MAX as u64;

/// The scheduling message that a mail carries; none when it carries none, or more than one.
pub async fn message_in(spool: &Spool, structure: &Structure) -> storage::Result<Option<String>> {
    let is_message = |part: &&protocol_core::message::Part| {
        part.media_type.eq_ignore_ascii_case("text")
            && part.media_subtype.eq_ignore_ascii_case("calendar")
            && part.param("method").is_some()
            && part.body().end - part.body().start <= PART_MAX
    };
    let mut parts = structure.leaves().map(|(_, part)| part).filter(is_message);
    let (Some(part), None) = (parts.next(), parts.next()) else { return Ok(None) };
    let body = part.body();
    let length = usize::try_from(body.end - body.start).unwrap_or(0);
    let encoded = spool.read(body.start, length).await?;
    let mut octets = Vec::with_capacity(encoded.len());
    let mut decoder = Decoder::new(&part.encoding);
    decoder.feed(&encoded, &mut octets);
    decoder.finish(&mut octets);
    Ok(String::from_utf8(octets).ok().filter(|text| text.len() <= CALENDAR_OBJECT_MAX))
}

/// Takes a message from this author for these mailboxes, without keeping anybody waiting.
pub fn take(app: &Arc<App>, mailboxes: Vec<Mailbox>, text: String, author: String) {
    let app = app.clone();
    task::spawn(async move {
        for mailbox in mailboxes {
            if let Err(fault) = take_one(&app, &mailbox, &text, &author).await {
                tracing::warn!(?fault, mailbox = %mailbox.id, "a scheduling message could not be taken");
            }
        }
    })
    .detach();
}

async fn take_one(app: &App, mailbox: &Mailbox, text: &str, author: &str) -> Result<(), Fault> {
    let uid = ical::parse(text)
        .ok()
        .and_then(|object| object.components.iter().find_map(|c| c.value("UID")).map(str::to_owned));
    let Some(uid) = uid else { return Ok(()) };
    for _ in 0..TRIES_MAX {
        let delivery = Delivery::begin(app, mailbox, &uid).await?;
        let delivery = delivery.take(text, author).await?;
        if delivery.draft.is_empty() {
            return Ok(());
        }
        if app.storage.dav_commit(vec![delivery.draft], None).await? {
            tracing::info!(mailbox = %mailbox.id, from = %logging::address(author), "a scheduling message was taken");
            return Ok(());
        }
    }
    Err(storage::Error::Unavailable("too many change the same calendars".into()).into())
}
