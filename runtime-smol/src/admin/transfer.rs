//! Messages in and out of mailboxes, one at a time.

use futures_lite::{AsyncBufRead, AsyncWrite};
use protocol_core::Timestamp;
use protocol_core::message::Scanner;
use serde_json::{Value, json};
use storage::{
    Accept, AddressRow, Deliver, Error, Flags, FolderId, FolderTarget, Mailbox, MessageId, NamedFlags,
    Refusal, Row, Storage,
};

use super::execute::{canonical, explained, failed};
use super::frame::{self, Frame, Head};
use super::{Context, Failure};
use crate::wire::wall_now;

/// Messages between two words about how far it is.
const PROGRESS_EVERY: u64 = 100;
/// Octets read from storage at once.
const READ_LEN: usize = 256 * 1024;

/// Takes messages until the client sends no more.
pub(super) async fn import<R, W>(
    context: &Context,
    mailbox: &str,
    folder: Option<&str>,
    from: &mut R,
    to: &mut W,
) -> Result<Value, Failure>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let storage = &context.storage;
    let mailbox = find_mailbox(storage, mailbox).await?;
    let folder = find_folder(storage, &mailbox, folder.unwrap_or("INBOX")).await?;
    let (mut imported, mut failures) = (0u64, 0u64);
    loop {
        let head = match frame::receive(from).await? {
            Some(Frame::Message(head)) => head,
            Some(Frame::End) => break,
            _ => return Err(Failure("the messages ended in the middle".into())),
        };
        let octets = frame::receive_octets(from, &head).await?;
        match store(storage, &mailbox, folder, &head, &octets).await {
            Ok(()) => imported += 1,
            Err(error @ (Error::OutcomeUnknown(_) | Error::Unavailable(_) | Error::NotFound)) => {
                return Err(Failure(format!("after {imported} messages: {error}")));
            }
            Err(error @ Error::Refused(Refusal::OverQuota)) => {
                return Err(Failure(format!("after {imported} messages: {error}")));
            }
            Err(error) => {
                failures += 1;
                frame::send(to, &Frame::Trouble(format!("message {}: {error}", imported + failures))).await?;
            }
        }
        if (imported + failures).is_multiple_of(PROGRESS_EVERY) {
            frame::send(to, &Frame::Progress(imported + failures)).await?;
        }
    }
    Ok(json!({"imported": imported, "skipped": 0, "failed": failures}))
}

async fn store(
    storage: &Storage,
    mailbox: &Mailbox,
    folder: FolderId,
    head: &Head,
    octets: &[u8],
) -> storage::Result<()> {
    let mut spool = storage.spool();
    spool.write(octets).await?;
    let mut scanner = Scanner::new();
    scanner.feed(octets);
    let structure = scanner.finish();
    let now = wall_now();
    let flags = [
        (head.seen, Flags::SEEN),
        (head.answered, Flags::ANSWERED),
        (head.flagged, Flags::FLAGGED),
        (head.draft, Flags::DRAFT),
    ];
    let system = flags.iter().filter(|(on, _)| *on).fold(Flags::default(), |all, (_, flag)| all.union(*flag));
    let deliver = Deliver {
        org: mailbox.org,
        mailbox: mailbox.id,
        message: MessageId::random(),
        prefix: Vec::new(),
        skip: Vec::new(),
        folder: FolderTarget::Id(folder),
        flags: NamedFlags { system, keywords: Vec::new() },
        internal_date: head.date_ms.map_or(now, Timestamp),
        meta: structure.encode(),
        check_quota: true,
        told: None,
    };
    let accept = Accept {
        sender: head.sender.clone(),
        recipients: vec![mailbox.address.clone()],
        received: now,
        deliveries: vec![deliver],
        ..Accept::default()
    };
    storage.accept(&spool, accept).await.map(drop)
}

/// Sends every message of a mailbox once, however many folders show it: the inbox first, then by folder name.
pub(super) async fn export<W>(context: &Context, mailbox: &str, to: &mut W) -> Result<Value, Failure>
where
    W: AsyncWrite + Unpin,
{
    let storage = &context.storage;
    let mailbox = find_mailbox(storage, mailbox).await?;
    let mut folders = storage.folders(mailbox.id).await.map_err(failed)?;
    folders.sort_by(|a, b| (a.name != "INBOX", &a.name).cmp(&(b.name != "INBOX", &b.name)));
    let mut seen = std::collections::HashSet::new();
    let (mut exported, mut failures) = (0u64, 0u64);
    for folder in folders {
        let view = storage.folder(folder.id).await.map_err(failed)?;
        let rows: Vec<Row> = view.with(|state| state.rows.to_vec());
        for row in rows {
            if !seen.insert(row.message) {
                continue;
            }
            match read(storage, &mailbox, &row).await {
                Ok((head, octets)) => {
                    frame::send_message(to, &head, &octets).await?;
                    exported += 1;
                }
                // Expunged since the list was made.
                Err(Error::NotFound) => {}
                Err(error) => {
                    failures += 1;
                    let place = format!("{} UID {}", folder.name, row.uid);
                    frame::send(to, &Frame::Trouble(format!("{place}: {error}"))).await?;
                }
            }
        }
    }
    Ok(json!({"exported": exported, "failed": failures}))
}

async fn read(storage: &Storage, mailbox: &Mailbox, row: &Row) -> storage::Result<(Head, Vec<u8>)> {
    let mut object = storage.open_message(mailbox.org, mailbox.id, row.message).await?;
    let sender = object.envelope().sender.clone();
    let mut octets = Vec::new();
    loop {
        let chunk = object.read(octets.len() as u64, READ_LEN).await?;
        if chunk.is_empty() {
            break;
        }
        octets.extend_from_slice(chunk);
    }
    let head = Head { date_ms: Some(row.internal_date.0), sender, ..Head::default() };
    Ok((head, octets))
}

pub(super) async fn find_mailbox(storage: &Storage, address: &str) -> Result<Mailbox, Failure> {
    let address = canonical(address)?;
    let rows = storage.store().address_rows(std::slice::from_ref(&address)).await.map_err(failed)?;
    match rows.into_iter().next().flatten() {
        Some(AddressRow::Mailbox(mailbox)) => Ok(mailbox),
        _ => Err(Failure(format!("there is no mailbox {address}"))),
    }
}

async fn find_folder(storage: &Storage, mailbox: &Mailbox, name: &str) -> Result<FolderId, Failure> {
    let name = if name.eq_ignore_ascii_case("INBOX") { "INBOX" } else { name };
    let folders = storage.folders(mailbox.id).await.map_err(failed)?;
    if let Some(found) = folders.iter().find(|f| f.name == name) {
        return Ok(found.id);
    }
    let made = storage.create_folder(mailbox.id, name, None).await;
    made.map(|f| f.id).map_err(|e| explained(&format!("folder {name}"), e))
}
