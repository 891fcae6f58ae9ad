//! FETCH: rows from the view, structures from storage in batches, content streamed from objects to the wire.

use std::collections::HashMap;
use std::io;
use std::ops::Range;

use protocol_core::SendBuf;
use protocol_core::message::Structure;
use protocol_core::message::content::Encoding;
use protocol_core::message::decode::{DecodedSize, Decoder};
use protocol_imap::server::{Fetching, Message, RowStep, Running, ServerSession};
use storage::{FlagOp, Flags, NamedFlags, Object, Row};

use super::selected::row_data;
use super::session::{Connection, refuse};
use super::store::target_uids;
use crate::wire::Wire;

/// Messages whose structures are loaded at once.
const BATCH: usize = 256;
/// Octets that are read from an object at a time.
const PIECE: usize = 64 * 1024;

impl Connection {
    pub(super) async fn fetch(
        &mut self,
        running: Running,
        fetching: &Fetching<'_>,
        session: &mut ServerSession,
        out: &mut SendBuf,
        wire: &mut Wire,
    ) -> io::Result<()> {
        let seen_now = match self.mark_seen(fetching, session).await {
            Ok(seen) => seen,
            Err(error) => {
                refuse(running, &error, session, out);
                return Ok(());
            }
        };
        // What changed is told before rows that already show it.
        self.follow(session, out);
        let mut targets = session.targets();
        loop {
            let mut batch: Vec<Message> = Vec::with_capacity(BATCH);
            while batch.len() < BATCH
                && let Some(message) = targets.next(session)
            {
                batch.push(message);
            }
            if batch.is_empty() {
                break;
            }
            let structures = match fetching.needs().structure {
                true => self.structures(&batch).await,
                false => Ok(HashMap::new()),
            };
            let structures = match structures {
                Ok(structures) => structures,
                Err(error) => {
                    refuse(running, &error, session, out);
                    return Ok(());
                }
            };
            for message in batch {
                let seen = seen_now.binary_search(&message.uid).is_ok();
                let structure = structures.get(&message.uid);
                self.fetch_row(fetching, message, seen, structure, session, out, wire).await?;
                if out.is_high() {
                    wire.flush(out).await?;
                }
            }
        }
        self.follow(session, out);
        running.fetched(session, out);
        Ok(())
    }

    /// Stores `\Seen` where this FETCH counts as reading; which messages did not have it.
    async fn mark_seen(&self, fetching: &Fetching<'_>, session: &ServerSession) -> storage::Result<Vec<u32>> {
        let Some(selected) = self.selected.as_ref().filter(|_| fetching.sets_seen()) else {
            return Ok(Vec::new());
        };
        let mut uids = target_uids(session);
        uids.retain(|uid| {
            selected
                .row(*uid)
                .is_some_and(|row| !row.flags.contains(Flags::SEEN) && fetching.wants(row.modseq))
        });
        if !uids.is_empty() {
            let seen = NamedFlags { system: Flags::SEEN, keywords: Vec::new() };
            self.app.storage.set_flags(selected.id(), &uids, FlagOp::Add, &seen, None).await?;
        }
        Ok(uids)
    }

    /// The structures of these messages, by UID. One that cannot be read is left out.
    pub(super) async fn structures(&self, batch: &[Message]) -> storage::Result<HashMap<u32, Structure>> {
        let (Some(selected), Some(first), Some(last)) = (&self.selected, batch.first(), batch.last()) else {
            return Ok(HashMap::new());
        };
        let metas = self.app.storage.meta(selected.id(), first.uid..=last.uid).await?;
        let wanted = |uid: &u32| batch.binary_search_by_key(uid, |m| m.uid).is_ok();
        Ok(metas
            .into_iter()
            .filter(|(uid, _)| wanted(uid))
            .filter_map(|(uid, meta)| Structure::decode(&meta).ok().map(|structure| (uid, structure)))
            .collect())
    }

    #[allow(clippy::too_many_arguments)]
    async fn fetch_row(
        &self,
        fetching: &Fetching<'_>,
        message: Message,
        seen: bool,
        structure: Option<&Structure>,
        session: &mut ServerSession,
        out: &mut SendBuf,
        wire: &mut Wire,
    ) -> io::Result<()> {
        let stored = self.selected.as_ref().and_then(|s| s.row(message.uid));
        let Some(stored) = stored else {
            session.message_gone();
            return Ok(());
        };
        if !fetching.wants(stored.modseq) && !seen {
            return Ok(());
        }
        let mut content = Content { connection: self, row: stored, object: None };
        let mut row = session.row(fetching, message, row_data(&stored), seen, structure);
        let mut step = row.step(session, out);
        loop {
            step = match step {
                RowStep::Done => return Ok(()),
                RowStep::Read { range } => {
                    match content.read_all(range).await {
                        Ok(header) => row.supply(&header, session, out),
                        Err(error) => {
                            content.unreadable(&error);
                            row.unreadable(session, out);
                        }
                    }
                    row.step(session, out)
                }
                RowStep::Size { range, encoding } => {
                    let size = content.decoded_size(range, &encoding).await;
                    let next = match size {
                        Ok(size) => row.decoded_size(Some(size), session, out),
                        Err(error) => {
                            content.unreadable(&error);
                            row.unreadable(session, out);
                            None
                        }
                    };
                    next.unwrap_or_else(|| row.step(session, out))
                }
                RowStep::Stream { range } => {
                    wire.flush(out).await?;
                    let octets = content.stream(range, wire).await?;
                    row.streamed(octets).map_err(|cut| io::Error::other(cut.to_string()))?;
                    row.step(session, out)
                }
                RowStep::StreamDecoded { range, encoding, skip, len } => {
                    wire.flush(out).await?;
                    let octets = content.stream_decoded(range, &encoding, skip, len, wire).await?;
                    row.streamed(octets).map_err(|cut| io::Error::other(cut.to_string()))?;
                    row.step(session, out)
                }
            };
        }
    }
}

/// The stored octets of one message, opened when first asked for.
pub(super) struct Content<'c> {
    pub connection: &'c Connection,
    pub row: Row,
    pub object: Option<Object>,
}

impl Content<'_> {
    async fn object(&mut self) -> storage::Result<&mut Object> {
        if self.object.is_none() {
            let Some(account) = &self.connection.account else { return Err(storage::Error::NotFound) };
            let storage = &self.connection.app.storage;
            self.object = Some(storage.open_message(account.org, account.id, self.row.message).await?);
        }
        self.object.as_mut().ok_or(storage::Error::NotFound)
    }

    /// At most [`PIECE`] octets from `at`, at least one.
    pub async fn piece(&mut self, at: u64, end: u64) -> storage::Result<&[u8]> {
        let name = self.row.message;
        let len = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(PIECE);
        let piece = self.object().await?.read(at, len).await?;
        if piece.is_empty() {
            return Err(storage::Error::Corrupt(format!(
                "message {name} is shorter than its structure says"
            )));
        }
        Ok(piece)
    }

    /// A whole range; for headers.
    pub async fn read_all(&mut self, range: Range<u64>) -> storage::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let piece = self.piece(at, range.end).await?;
            at += piece.len() as u64;
            bytes.extend_from_slice(piece);
        }
        Ok(bytes)
    }

    async fn decoded_size(&mut self, range: Range<u64>, encoding: &Encoding) -> storage::Result<u64> {
        let mut counter = DecodedSize::new(encoding);
        let mut at = range.start;
        while at < range.end {
            let piece = self.piece(at, range.end).await?;
            at += piece.len() as u64;
            counter.feed(piece);
        }
        Ok(counter.finish())
    }

    /// Copies a range to the wire; how many octets went. An error after the literal was announced cuts the
    /// connection, because nothing else can be said in its place.
    async fn stream(&mut self, range: Range<u64>, wire: &mut Wire) -> io::Result<u64> {
        let mut at = range.start;
        while at < range.end {
            let piece = self.piece(at, range.end).await.map_err(cut)?;
            at += piece.len() as u64;
            wire.write_all(piece).await?;
        }
        Ok(at - range.start)
    }

    async fn stream_decoded(
        &mut self,
        range: Range<u64>,
        encoding: &Encoding,
        skip: u64,
        len: u64,
        wire: &mut Wire,
    ) -> io::Result<u64> {
        let mut decoder = Decoder::new(encoding);
        let (mut at, mut skip, mut left) = (range.start, skip, len);
        let mut decoded = Vec::new();
        while left > 0 {
            decoded.clear();
            if at < range.end {
                let piece = self.piece(at, range.end).await.map_err(cut)?;
                at += piece.len() as u64;
                decoder.feed(piece, &mut decoded);
            } else {
                decoder.finish(&mut decoded);
                if decoded.is_empty() {
                    break;
                }
            }
            let passed = usize::try_from(skip).unwrap_or(usize::MAX).min(decoded.len());
            skip -= passed as u64;
            let rest = &decoded[passed..];
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            wire.write_all(&rest[..take]).await?;
            left -= take as u64;
        }
        Ok(len - left)
    }

    pub fn unreadable(&self, error: &storage::Error) {
        tracing::error!(message = %self.row.message, %error, "a stored message could not be read");
    }
}

fn cut(error: storage::Error) -> io::Error {
    tracing::error!(%error, "a stored message could not be read to its end");
    io::Error::other("a stored message could not be read to its end")
}
