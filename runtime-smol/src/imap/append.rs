//! APPEND: a message from the client into a folder.

use protocol_core::message::Scanner;
use protocol_core::{SendBuf, Timestamp};
use protocol_imap::server::{Append, No, Running, ServerSession};
use storage::{Accept, Deliver, Flags, FolderId, FolderTarget, MessageId, NamedFlags, Spool};
use tracing::{Instrument, Span};

use super::session::{Connection, reason, refuse};
use crate::telemetry::TARGET;
use crate::wire::wall_now;

/// A message as it arrives.
pub struct Incoming {
    folder: FolderId,
    flags: NamedFlags,
    internal_date: Timestamp,
    spool: Spool,
    scanner: Scanner,
    failed: Option<storage::Error>,
    span: Span,
}

impl Connection {
    pub(super) async fn append(
        &mut self,
        append: Append<'_>,
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) {
        let folder = match self.folder_named(append.name()).await {
            Ok(info) => info.id,
            Err(storage::Error::NotFound) => return append.refuse(No::TryCreate, session, out),
            Err(error) => return append.refuse(reason(&error), session, out),
        };
        match self.has_room(append.size()).await {
            Ok(true) => {}
            Ok(false) => return append.refuse(No::OverQuota, session, out),
            Err(error) => return append.refuse(reason(&error), session, out),
        }
        self.incoming = Some(Box::new(Incoming {
            folder,
            flags: NamedFlags {
                system: Flags(append.system().0),
                keywords: append.keywords().map(str::to_owned).collect(),
            },
            internal_date: append.internal_date().unwrap_or_else(wall_now),
            spool: self.app.storage.spool(),
            scanner: Scanner::new().with_own_host(&self.app.config.server.hostname),
            failed: None,
            span: tracing::info_span!(
                target: TARGET,
                "imap.append",
                otel.kind = "server",
                inbox.org = self.account.as_ref().map(|account| tracing::field::display(account.org)),
                inbox.message = tracing::field::Empty,
                inbox.octets = append.size(),
            ),
        }));
        append.accept(session, out);
    }

    /// Whether the quota leaves room, before one octet is taken; the commit checks again.
    async fn has_room(&self, size: u64) -> storage::Result<bool> {
        let Some(account) = &self.account else { return Ok(false) };
        let mailbox = self.app.storage.store().mailbox(account.id).await?;
        Ok(mailbox.quota_bytes.is_none_or(|quota| mailbox.used_bytes.saturating_add(size) <= quota))
    }

    pub(super) async fn chunk(&mut self, octets: &[u8]) {
        let Some(incoming) = &mut self.incoming else { return };
        incoming.scanner.feed(octets);
        if incoming.failed.is_none() {
            incoming.failed = incoming.spool.write(octets).await.err();
        }
    }

    pub(super) async fn appended(
        &mut self,
        running: Running,
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) {
        let (Some(incoming), Some(account)) = (self.incoming.take(), self.account.clone()) else {
            return running.no(No::Unavailable, session, out);
        };
        let incoming = *incoming;
        if let Some(error) = incoming.failed {
            return refuse(running, &error, session, out);
        }
        let message = MessageId::random();
        incoming.span.record("inbox.message", tracing::field::display(message));
        let deliver = Deliver {
            org: account.org,
            mailbox: account.id,
            message,
            prefix: Vec::new(),
            skip: Vec::new(),
            folder: FolderTarget::Id(incoming.folder),
            flags: incoming.flags,
            internal_date: incoming.internal_date,
            meta: incoming.scanner.finish().encode(),
            check_quota: true,
            told: None,
        };
        let accept = Accept { received: wall_now(), deliveries: vec![deliver], ..Accept::default() };
        let placed = self.app.storage.accept(&incoming.spool, accept).instrument(incoming.span).await;
        self.follow(session, out);
        match placed {
            Ok(placed) => match placed.first() {
                Some(placed) => running.appended(placed.uid_validity, placed.row.uid, session, out),
                None => running.no(No::Unavailable, session, out),
            },
            Err(error) => refuse(running, &error, session, out),
        }
    }
}
