//! Folders and the messages in them: every change goes to the rows, then to the views, then to the objects
//! that nothing shows any more.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::error::Result;
use crate::facade::{Inner, Storage, now};
use crate::objects::ObjectKey;
use crate::types::*;
use crate::view::{FolderView, Notice};

impl Storage {
    /// The folder in memory, shared by all who look at it.
    pub async fn folder(&self, id: FolderId) -> Result<Arc<FolderView>> {
        self.inner.views.open(id).await
    }

    /// What rows hold beside their flags, in clear: as given to [`Storage::accept`]. By UID; UIDs that the
    /// folder does not have are left out.
    pub async fn meta(&self, folder: FolderId, uids: RangeInclusive<u32>) -> Result<Vec<(u32, Vec<u8>)>> {
        let view = self.folder(folder).await?;
        let sealed = self.inner.store.meta(folder, uids.clone()).await?;
        let (mailbox, messages): (MailboxId, HashMap<u32, MessageId>) = view.with(|state| {
            let start = state.rows.partition_point(|row| row.uid < *uids.start());
            let rows = state.rows.iter().skip(start).take_while(|row| row.uid <= *uids.end());
            (state.info.mailbox, rows.map(|row| (row.uid, row.message)).collect())
        });
        let tenant = self.inner.tenant(self.inner.store.mailbox(mailbox).await?.org).await?;
        let mut out = Vec::with_capacity(sealed.len());
        for (uid, sealed) in sealed {
            // One that came since the view was looked at will be asked for when it is seen.
            if let Some(message) = messages.get(&uid) {
                out.push((uid, tenant.open_meta(mailbox, *message, &sealed)?));
            }
        }
        Ok(out)
    }

    /// See [`crate::Mail::set_flags`].
    pub async fn set_flags(
        &self,
        folder: FolderId,
        uids: &[u32],
        op: FlagOp,
        flags: &NamedFlags,
        unchanged_since: Option<u64>,
    ) -> Result<FlagsChanged> {
        let (uids, flags) = (uids.to_vec(), flags.clone());
        self.durable(async move |inner| {
            let outcome = inner.store.set_flags(folder, &uids, op, &flags, unchanged_since).await;
            let answer = inner.settle(outcome)?;
            if !answer.changed.is_empty() {
                let keywords = Some(answer.keywords.clone());
                let notice = Notice { rows: answer.changed.clone(), expunged: None, keywords };
                inner.views.notice(folder, notice).await;
            }
            Ok(answer)
        })
        .await
    }

    /// See [`crate::Mail::expunge`]; objects that no folder shows any more are deleted.
    pub async fn expunge(&self, folder: FolderId, uids: &[u32]) -> Result<Expunged> {
        let uids = uids.to_vec();
        self.durable(async move |inner| {
            let answer = inner.settle(inner.store.expunge(folder, &uids).await)?;
            if !answer.uids.is_empty() {
                let expunged = Some((answer.uids.clone(), answer.modseq));
                inner.views.notice(folder, Notice { expunged, ..Notice::default() }).await;
            }
            if !answer.orphans.is_empty() {
                let mailbox = inner.mailbox_of(folder).await;
                inner.delete_orphans(mailbox, &answer.orphans).await;
            }
            Ok(answer)
        })
        .await
    }

    /// Copies messages into another folder of the mailbox.
    pub async fn copy(&self, from: FolderId, uids: &[u32], to: FolderId) -> Result<Copied> {
        self.relocate(from, uids, to, false).await
    }

    /// Moves messages into another folder of the mailbox: at any time each is in exactly one of the two.
    pub async fn move_(&self, from: FolderId, uids: &[u32], to: FolderId) -> Result<Copied> {
        self.relocate(from, uids, to, true).await
    }

    async fn relocate(&self, from: FolderId, uids: &[u32], to: FolderId, remove: bool) -> Result<Copied> {
        let uids = uids.to_vec();
        self.durable(async move |inner| {
            let answer = inner.settle(inner.store.copy(from, &uids, to, remove).await)?;
            if answer.pairs.is_empty() {
                return Ok(answer);
            }
            let rows = answer.pairs.iter().map(|(_, row)| *row).collect();
            let gone = answer
                .removed_modseq
                .map(|modseq| (answer.pairs.iter().map(|(uid, _)| *uid).collect::<Vec<u32>>(), modseq));
            let mut notice = Notice { rows, expunged: None, keywords: Some(answer.keywords.clone()) };
            if from == to {
                notice.expunged = gone;
                inner.views.notice(to, notice).await;
            } else {
                inner.views.notice(to, notice).await;
                if gone.is_some() {
                    inner.views.notice(from, Notice { expunged: gone, ..Notice::default() }).await;
                }
            }
            Ok(answer)
        })
        .await
    }

    /// The mailbox's folders by name, with their counts.
    pub async fn folders(&self, mailbox: MailboxId) -> Result<Vec<FolderInfo>> {
        self.inner.store.folders(mailbox).await
    }

    /// Makes a folder, and the levels above it that are missing.
    pub async fn create_folder(
        &self,
        mailbox: MailboxId,
        name: &str,
        special_use: Option<SpecialUse>,
    ) -> Result<FolderInfo> {
        let name = name.to_owned();
        self.durable(async move |inner| {
            inner.settle(inner.store.create_folder(mailbox, &name, special_use, now()).await)
        })
        .await
    }

    /// Renames a folder and everything below it; INBOX's messages move (RFC 9051 §6.3.6).
    pub async fn rename_folder(&self, mailbox: MailboxId, from: &str, to: &str) -> Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.durable(async move |inner| {
            inner.settle(inner.store.rename_folder(mailbox, &from, &to, now()).await)?;
            inner.views.refresh_mailbox(mailbox).await;
            Ok(())
        })
        .await
    }

    /// Removes a folder and its messages; those that no other folder shows lose their objects.
    pub async fn delete_folder(&self, mailbox: MailboxId, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.durable(async move |inner| {
            let orphans = inner.settle(inner.store.delete_folder(mailbox, &name).await)?;
            inner.views.refresh_mailbox(mailbox).await;
            inner.delete_orphans(inner.store.mailbox(mailbox).await, &orphans).await;
            Ok(())
        })
        .await
    }

    /// Names the mailbox is subscribed to.
    pub async fn subscriptions(&self, mailbox: MailboxId) -> Result<Vec<String>> {
        self.inner.store.subscriptions(mailbox).await
    }

    /// Adds or removes a subscription.
    pub async fn subscribe(&self, mailbox: MailboxId, name: &str, on: bool) -> Result<()> {
        let name = name.to_owned();
        self.durable(async move |inner| inner.settle(inner.store.subscribe(mailbox, &name, on).await)).await
    }
}

impl Inner {
    async fn mailbox_of(&self, folder: FolderId) -> Result<Mailbox> {
        let mailbox = match self.views.live(folder).and_then(|view| view.mailbox()) {
            Some(mailbox) => mailbox,
            None => self.store.changes_since(folder, u64::MAX).await?.0.mailbox,
        };
        self.store.mailbox(mailbox).await
    }

    async fn delete_orphans(&self, mailbox: Result<Mailbox>, orphans: &[MessageId]) {
        match mailbox {
            Ok(mailbox) => {
                let key = |message: &MessageId| ObjectKey::stored(mailbox.org, mailbox.id, *message);
                let keys: Vec<ObjectKey> = orphans.iter().map(key).collect();
                self.delete_objects(&keys).await;
            }
            Err(error) => {
                tracing::warn!(%error, "objects that are no longer needed could not be deleted yet")
            }
        }
    }
}
