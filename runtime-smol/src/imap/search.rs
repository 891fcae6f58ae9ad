//! SEARCH: most of it from the view; structure, header and text only where nothing else decides.

use std::collections::HashMap;

use protocol_core::SendBuf;
use protocol_core::message::Structure;
use protocol_core::message::decode::TextDecoder;
use protocol_imap::server::{Found, Message, Need, No, Program, Running, Searching, ServerSession, Verdict};
use storage::Row;

use super::fetch::Content;
use super::selected::row_data;
use super::session::{Connection, refuse};
use crate::wire::wall_now;

/// Messages whose structures are loaded at once.
const BATCH: usize = 256;

impl Connection {
    pub(super) async fn search(
        &mut self,
        running: Running,
        searching: &Searching<'_>,
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) {
        let mut program = match searching.program(session, wall_now()) {
            Ok(program) => program,
            Err(why) => return running.no(why, session, out),
        };
        let mut found = Found::new();
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
            if let Err(error) = self.search_batch(&batch, &mut program, &mut found).await {
                return refuse(running, &error, session, out);
            }
        }
        if self.selected.is_none() {
            return running.no(No::Unavailable, session, out);
        }
        self.follow(session, out);
        running.searched(searching, &program, &found, session, out);
    }

    async fn search_batch(
        &self,
        batch: &[Message],
        program: &mut Program,
        found: &mut Found,
    ) -> storage::Result<()> {
        // Loaded when the first message needs it: then the others most likely do as well.
        let mut structures: Option<HashMap<u32, Structure>> = None;
        for message in batch {
            let Some(row) = self.selected.as_ref().and_then(|s| s.row(message.uid)) else { continue };
            let mut verdict = program.row(*message, &row_data(&row));
            if let Verdict::Need(_) = verdict {
                if structures.is_none() {
                    structures = Some(self.structures(batch).await?);
                }
                let structure = structures.as_ref().and_then(|s| s.get(&message.uid));
                verdict = match structure {
                    Some(structure) => self.look_into(row, structure, program, verdict).await?,
                    None => Verdict::NoMatch,
                };
            }
            if verdict == Verdict::Match {
                found.push(*message, row.modseq);
            }
        }
        Ok(())
    }

    /// Gives the program what it needs of one message until it knows.
    async fn look_into(
        &self,
        row: Row,
        structure: &Structure,
        program: &mut Program,
        mut verdict: Verdict,
    ) -> storage::Result<Verdict> {
        let mut content = Content { connection: self, row, object: None };
        while let Verdict::Need(need) = verdict {
            verdict = match need {
                Need::Structure => program.structure(structure),
                Need::Header => match content.read_all(structure.root().header()).await {
                    Ok(header) => program.header(&header),
                    Err(error) => skip(&content, error)?,
                },
                Need::Text => match text(&mut content, structure, program).await {
                    Ok(verdict) => verdict,
                    Err(error) => skip(&content, error)?,
                },
            };
        }
        Ok(verdict)
    }
}

/// A damaged message matches nothing; a store that cannot answer fails the command.
fn skip(content: &Content<'_>, error: storage::Error) -> storage::Result<Verdict> {
    content.unreadable(&error);
    match error {
        storage::Error::Corrupt(_) | storage::Error::NotFound => Ok(Verdict::NoMatch),
        error => Err(error),
    }
}

async fn text(
    content: &mut Content<'_>,
    structure: &Structure,
    program: &mut Program,
) -> storage::Result<Verdict> {
    let mut decoded = String::new();
    for (_, part) in structure.leaves().filter(|(_, part)| part.media_type == "text") {
        let mut decoder = TextDecoder::new(&part.encoding, part.charset().as_deref());
        let (mut at, end) = (part.body_start, part.body_end);
        while at < end {
            decoded.clear();
            let piece = content.piece(at, end).await?;
            at += piece.len() as u64;
            decoder.feed(piece, &mut decoded);
            match program.text(&decoded) {
                Verdict::Need(_) => {}
                known => return Ok(known),
            }
        }
        decoded.clear();
        decoder.finish(&mut decoded);
        if let known @ (Verdict::Match | Verdict::NoMatch) = program.text(&decoded) {
            return Ok(known);
        }
        program.part_ended();
    }
    Ok(program.text_ended())
}
