//! Folders: SELECT, LIST, STATUS, CREATE, DELETE, RENAME, SUBSCRIBE, CLOSE, EXPUNGE.

use protocol_core::SendBuf;
use protocol_imap::codec::SpecialUse as WireUse;
use protocol_imap::server::{
    FlagBits, Folder, Listing, No, Request, Running, Selected as Answer, ServerSession, StatusData,
    StatusQuery,
};
use storage::{FolderInfo, Mailbox, SpecialUse};

use super::selected::{Selected, deleted};
use super::session::{Connection, refuse};

impl Connection {
    /// The folder of that name.
    pub(super) async fn folder_named(&self, name: &str) -> storage::Result<FolderInfo> {
        let Some(account) = &self.account else { return Err(storage::Error::NotFound) };
        let folders = self.app.storage.folders(account.id).await?;
        folders.into_iter().find(|f| f.name == name).ok_or(storage::Error::NotFound)
    }

    pub(super) async fn select(
        &mut self,
        running: Running,
        name: &str,
        read_only: bool,
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) {
        self.selected = None;
        let opened = match self.folder_named(name).await {
            Ok(info) => self.app.storage.folder(info.id).await,
            Err(error) => Err(error),
        };
        let view = match opened {
            Ok(view) => view,
            Err(error) => return refuse(running, &error, session, out),
        };
        let (info, rows, version) = view.with_version(|state, version| {
            let rows: Vec<(u32, FlagBits)> =
                state.rows.iter().map(|r| (r.uid, FlagBits(r.flags.0))).collect();
            (state.info.clone(), rows, version)
        });
        let answer = Answer {
            name: &info.name,
            uid_validity: info.uid_validity,
            uid_next: info.uid_next,
            highest_modseq: info.highest_modseq,
            read_only,
        };
        self.selected = Some(Selected::new(view, version));
        running.selected(&answer, info.keywords.iter().map(String::as_str), rows.into_iter(), session, out);
    }

    pub(super) async fn change_folders(
        &mut self,
        running: Running,
        request: Request<'_>,
        account: &Mailbox,
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) {
        let storage = &self.app.storage;
        let done = match request {
            Request::Create { name, special_use } => match special_use.map(stored_use) {
                Some(None) => return running.no(No::UseAttr, session, out),
                wanted => storage.create_folder(account.id, &name, wanted.flatten()).await.map(|_| ()),
            },
            Request::Delete { name } if name == "INBOX" => return running.no(No::Inbox, session, out),
            Request::Delete { name } => storage.delete_folder(account.id, &name).await,
            Request::Rename { from, to } => storage.rename_folder(account.id, &from, &to).await,
            Request::Subscribe { name, on } => storage.subscribe(account.id, &name, on).await,
            _ => return running.no(No::Cannot, session, out),
        };
        self.follow(session, out);
        match done {
            Ok(()) => running.ok(session, out),
            Err(error) => refuse(running, &error, session, out),
        }
    }

    pub(super) async fn list(
        &mut self,
        running: Running,
        listing: &Listing<'_>,
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) {
        match self.folder_list(listing).await {
            Ok((infos, statuses, subscriptions)) => {
                let folders: Vec<Folder<'_>> = infos
                    .iter()
                    .zip(statuses)
                    .map(|(info, status)| Folder {
                        name: &info.name,
                        special_use: info.special_use.and_then(shown_use),
                        status,
                    })
                    .collect();
                self.follow(session, out);
                running.listed(listing, &folders, subscriptions.iter().map(String::as_str), session, out);
            }
            Err(error) => refuse(running, &error, session, out),
        }
    }

    async fn folder_list(
        &self,
        listing: &Listing<'_>,
    ) -> storage::Result<(Vec<FolderInfo>, Vec<StatusData>, Vec<String>)> {
        let Some(account) = &self.account else { return Err(storage::Error::NotFound) };
        let infos = self.app.storage.folders(account.id).await?;
        let mut statuses = Vec::with_capacity(infos.len());
        for info in &infos {
            statuses.push(self.figures(info, listing.wants_deleted()).await?);
        }
        let subscriptions = match listing.wants_subscriptions() {
            true => self.app.storage.subscriptions(account.id).await?,
            false => Vec::new(),
        };
        Ok((infos, statuses, subscriptions))
    }

    async fn figures(&self, info: &FolderInfo, with_deleted: bool) -> storage::Result<StatusData> {
        let deleted = match with_deleted {
            true => self.app.storage.folder(info.id).await?.with(|state| deleted(state).len()),
            false => 0,
        };
        Ok(StatusData {
            messages: info.messages,
            uid_next: info.uid_next,
            uid_validity: info.uid_validity,
            unseen: info.unseen,
            deleted: u32::try_from(deleted).unwrap_or(u32::MAX),
            size: info.size,
            highest_modseq: info.highest_modseq,
        })
    }

    pub(super) async fn status(
        &mut self,
        running: Running,
        name: &str,
        query: &StatusQuery<'_>,
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) {
        let figures = match self.folder_named(name).await {
            Ok(info) => self.figures(&info, query.wants_deleted()).await,
            Err(error) => Err(error),
        };
        self.follow(session, out);
        match figures {
            Ok(figures) => running.status(name, query, &figures, session, out),
            Err(error) => refuse(running, &error, session, out),
        }
    }

    pub(super) async fn close(
        &mut self,
        running: Running,
        expunge: bool,
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) {
        let selected = self.selected.take();
        if let Some(selected) = selected.filter(|_| expunge) {
            let uids = selected.view.with(deleted);
            if !uids.is_empty()
                && let Err(error) = self.app.storage.expunge(selected.id(), &uids).await
            {
                return refuse(running, &error, session, out);
            }
        }
        running.ok(session, out);
    }

    pub(super) async fn expunge(&mut self, running: Running, session: &mut ServerSession, out: &mut SendBuf) {
        let Some(selected) = &self.selected else { return running.no(No::Unavailable, session, out) };
        let mut targets = session.targets();
        let mut uids = Vec::new();
        while let Some(message) = targets.next(session) {
            if selected.row(message.uid).is_some_and(|row| row.flags.contains(storage::Flags::DELETED)) {
                uids.push(message.uid);
            }
        }
        let gone = match uids.is_empty() {
            true => Ok(Vec::new()),
            false => self.app.storage.expunge(selected.id(), &uids).await.map(|expunged| expunged.uids),
        };
        self.follow(session, out);
        match gone {
            Ok(gone) => running.expunged(&gone, session, out),
            Err(error) => refuse(running, &error, session, out),
        }
    }
}

/// The uses that a folder can have here; `None` for one that is not kept.
fn stored_use(wanted: WireUse) -> Option<SpecialUse> {
    match wanted {
        WireUse::Archive => Some(SpecialUse::Archive),
        WireUse::Drafts => Some(SpecialUse::Drafts),
        WireUse::Junk => Some(SpecialUse::Junk),
        WireUse::Sent => Some(SpecialUse::Sent),
        WireUse::Trash => Some(SpecialUse::Trash),
        _ => None,
    }
}

fn shown_use(stored: SpecialUse) -> Option<WireUse> {
    match stored {
        SpecialUse::Inbox => None,
        SpecialUse::Archive => Some(WireUse::Archive),
        SpecialUse::Drafts => Some(WireUse::Drafts),
        SpecialUse::Junk => Some(WireUse::Junk),
        SpecialUse::Sent => Some(WireUse::Sent),
        SpecialUse::Trash => Some(WireUse::Trash),
    }
}
