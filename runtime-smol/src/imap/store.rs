//! STORE, COPY and MOVE.

use std::io;

use protocol_core::SendBuf;
use protocol_imap::codec::StoreOp;
use protocol_imap::server::{FlagBits, No, Running, ServerSession, Storing};
use storage::{FlagOp, Flags, NamedFlags};

use super::session::{Connection, refuse};
use crate::wire::Wire;

impl Connection {
    pub(super) async fn store(
        &mut self,
        running: Running,
        storing: &Storing<'_>,
        session: &mut ServerSession,
        out: &mut SendBuf,
        wire: &mut Wire,
    ) -> io::Result<()> {
        let Some(selected) = &self.selected else {
            running.no(No::Unavailable, session, out);
            return Ok(());
        };
        let uids = target_uids(session);
        let op = match storing.op() {
            StoreOp::Add => FlagOp::Add,
            StoreOp::Remove => FlagOp::Remove,
            StoreOp::Replace => FlagOp::Replace,
        };
        let flags = NamedFlags {
            system: Flags(storing.system().0),
            keywords: storing.keywords().map(str::to_owned).collect(),
        };
        let changed =
            self.app.storage.set_flags(selected.id(), &uids, op, &flags, storing.unchanged_since()).await;
        self.follow(session, out);
        let changed = match changed {
            Ok(changed) => changed,
            Err(error) => {
                refuse(running, &error, session, out);
                return Ok(());
            }
        };
        let Some(selected) = &self.selected else {
            running.no(No::Unavailable, session, out);
            return Ok(());
        };
        for uid in uids {
            if changed.modified.binary_search(&uid).is_ok() {
                continue;
            }
            if let Some(row) = selected.row(uid) {
                session.stored_row(storing, uid, FlagBits(row.flags.0), row.modseq, out);
            }
            if out.is_high() {
                wire.flush(out).await?;
            }
        }
        running.stored(storing, &changed.modified, session, out);
        Ok(())
    }

    pub(super) async fn copy(
        &mut self,
        running: Running,
        to: &str,
        remove: bool,
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) {
        let Some(selected) = &self.selected else { return running.no(No::Unavailable, session, out) };
        let destination = match self.folder_named(to).await {
            Ok(info) => info.id,
            Err(storage::Error::NotFound) => return running.no(No::TryCreate, session, out),
            Err(error) => return refuse(running, &error, session, out),
        };
        let uids = target_uids(session);
        let (from, storage) = (selected.id(), &self.app.storage);
        let copied = match remove {
            false => storage.copy(from, &uids, destination).await,
            true => storage.move_(from, &uids, destination).await,
        };
        self.follow(session, out);
        match copied {
            Ok(copied) => {
                let pairs: Vec<(u32, u32)> =
                    copied.pairs.iter().map(|(from, row)| (*from, row.uid)).collect();
                match remove {
                    false => running.copied(copied.uid_validity, &pairs, session, out),
                    true => running.moved(copied.uid_validity, &pairs, session, out),
                }
            }
            Err(error) => refuse(running, &error, session, out),
        }
    }
}

/// UIDs of the messages that the running command is about, in rising order.
pub(super) fn target_uids(session: &ServerSession) -> Vec<u32> {
    let mut targets = session.targets();
    let mut uids = Vec::new();
    while let Some(message) = targets.next(session) {
        uids.push(message.uid);
    }
    uids
}
