//! Counters made anew from the rows that they count.

use std::collections::HashMap;

use super::mail::count_in;
use super::{Engine, TRIES_MAX};
use crate::error::{Error, Result};
use crate::rows::{ApplyError, MailboxState, Rows, Select, Writes};
use crate::types::*;

impl<R: Rows> Engine<R> {
    /// Counts the messages of every folder and the octets of the mailbox again, and writes what differs.
    /// Whether anything did.
    pub(super) async fn do_recount(&self, mailbox: MailboxId) -> Result<bool> {
        let _guard = self.lock_mailbox(mailbox).await?;
        let mut tries = 0;
        loop {
            let MailboxState { mut row, folders, .. } = self.mailbox_state(mailbox).await?;
            let Some((wrong, octets)) = self.counted(row.rev, folders).await? else {
                // Another node changed something between two reads.
                tries += 1;
                if tries > TRIES_MAX {
                    return Err(ApplyError::Stale.into());
                }
                self.rows.pause(tries).await;
                continue;
            };
            let octets = octets.saturating_add(self.rows.dav_used(mailbox).await?);
            if wrong.is_empty() && row.mailbox.used_bytes == octets {
                return Ok(false);
            }
            row.mailbox.used_bytes = octets;
            let writes = Writes { mailboxes: vec![row], folders: wrong, ..Writes::default() };
            if self.apply("recount", writes, &mut tries).await? {
                return Ok(true);
            }
        }
    }

    /// The folders whose counters are wrong, with the right ones, and the octets of all messages, each once
    /// however many folders show it. None when the mailbox is no longer at the revision `rev`.
    async fn counted(&self, rev: u64, folders: Vec<FolderInfo>) -> Result<Option<(Vec<FolderInfo>, u64)>> {
        let mut wrong = Vec::new();
        let mut sizes: HashMap<MessageId, u64> = HashMap::new();
        for folder in folders {
            let read = self.rows.folder(folder.mailbox, folder.id, Select::All).await?;
            let read = match read {
                Some(read) if read.mailbox.rev == rev => read,
                Some(_) => return Ok(None),
                None => return Err(Error::NotFound),
            };
            let mut right = FolderInfo { messages: 0, unseen: 0, size: 0, ..read.folder.clone() };
            read.rows.iter().for_each(|row| count_in(&mut right, row));
            sizes.extend(read.rows.iter().map(|row| (row.message, row.size)));
            if right != read.folder {
                wrong.push(right);
            }
        }
        Ok(Some((wrong, sizes.values().sum())))
    }
}
