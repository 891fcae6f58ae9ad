//! Folders: names, special uses, subscriptions.

use std::collections::HashSet;

use protocol_core::Timestamp;

use super::names::{self, folder_name, invalid, is_below, levels_above};
use super::{Engine, mail};
use crate::error::{Error, Refusal, Result};
use crate::rows::{MailboxRow, MailboxState, Rows, Select, Writes};
use crate::types::*;

/// A new folder of the mailbox, with the mailbox's next UIDVALIDITY: the time, or one more than the last
/// where that is larger, so that it is above that of every earlier folder whatever its name.
pub(super) fn new_folder(
    row: &mut MailboxRow,
    name: String,
    special_use: Option<SpecialUse>,
    now: Timestamp,
) -> FolderInfo {
    FolderInfo {
        id: FolderId::random(),
        mailbox: row.mailbox.id,
        name,
        special_use,
        uid_validity: next_uid_validity(row, now),
        uid_next: 1,
        highest_modseq: 1,
        keywords: Vec::new(),
        messages: 0,
        unseen: 0,
        size: 0,
    }
}

fn next_uid_validity(row: &mut MailboxRow, now: Timestamp) -> u32 {
    let time = u32::try_from(now.secs()).unwrap_or(0);
    row.uid_validity_last = time.max(row.uid_validity_last.saturating_add(1));
    row.uid_validity_last
}

fn named<'a>(folders: &'a [FolderInfo], name: &str) -> Option<&'a FolderInfo> {
    folders.iter().find(|folder| folder.name == name)
}

/// Makes the missing levels above `name`, then `name` itself, which is the last of the answer.
fn make_levels(
    state: &mut MailboxState,
    name: &str,
    special_use: Option<SpecialUse>,
    now: Timestamp,
) -> Result<Vec<FolderInfo>> {
    let taken: HashSet<&str> = state.folders.iter().map(|folder| folder.name.as_str()).collect();
    if taken.contains(name) {
        return Err(Refusal::Exists(name.to_owned()).into());
    }
    let missing: Vec<&str> = levels_above(name).filter(|level| !taken.contains(level)).collect();
    if state.folders.len() + missing.len() + 1 > names::FOLDERS_MAX {
        return Err(Refusal::TooMany(format!("a mailbox has at most {} folders", names::FOLDERS_MAX)).into());
    }
    let row = &mut state.row;
    let mut made: Vec<FolderInfo> =
        missing.into_iter().map(|level| new_folder(row, level.to_owned(), None, now)).collect();
    made.push(new_folder(row, name.to_owned(), special_use, now));
    Ok(made)
}

/// Makes the missing levels above `name` only.
fn make_levels_above(state: &mut MailboxState, name: &str, now: Timestamp) -> Result<Vec<FolderInfo>> {
    match levels_above(name).last() {
        Some(parent) if named(&state.folders, parent).is_none() => {
            let parent = parent.to_owned();
            make_levels(state, &parent, None, now)
        }
        _ => Ok(Vec::new()),
    }
}

/// Gives `folder` and everything below it their new names.
fn rename_tree(
    state: &mut MailboxState,
    from: &str,
    to: &str,
    now: Timestamp,
    writes: &mut Writes,
) -> Result<()> {
    // What was given up before this call: a name that is taken up again must not bring back a UIDVALIDITY
    // that it, or an earlier folder of that name, may have had (RFC 9051 §2.3.1.1).
    let vacated = state.row.uid_validity_vacated;
    for folder in &mut state.folders {
        let below = is_below(&folder.name, from);
        if folder.name != from && !below {
            continue;
        }
        let rest = folder.name.get(from.len()..).unwrap_or_default();
        folder.name = folder_name(&format!("{to}{rest}"))?;
        state.row.uid_validity_vacated = state.row.uid_validity_vacated.max(folder.uid_validity);
        if folder.uid_validity <= vacated {
            folder.uid_validity = next_uid_validity(&mut state.row, now);
        }
        writes.folders.push(folder.clone());
    }
    Ok(())
}

impl<R: Rows> Engine<R> {
    pub(super) async fn mailbox_state(&self, mailbox: MailboxId) -> Result<MailboxState> {
        let states = self.rows.mailbox_states(&[mailbox]).await?;
        states.into_iter().next().flatten().ok_or(Error::NotFound)
    }

    pub(super) async fn do_folders(&self, mailbox: MailboxId) -> Result<Vec<FolderInfo>> {
        let mut folders = self.mailbox_state(mailbox).await?.folders;
        folders.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(folders)
    }

    pub(super) async fn do_create_folder(
        &self,
        mailbox: MailboxId,
        name: &str,
        special_use: Option<SpecialUse>,
        now: Timestamp,
    ) -> Result<FolderInfo> {
        let name = folder_name(name)?;
        if special_use == Some(SpecialUse::Inbox) {
            return invalid("a mailbox has one inbox");
        }
        let _guard = self.lock_mailbox(mailbox).await?;
        let mut tries = 0;
        loop {
            let mut state = self.mailbox_state(mailbox).await?;
            if special_use.is_some() && state.folders.iter().any(|f| f.special_use == special_use) {
                return Err(Refusal::InUse("another folder has this special use".into()).into());
            }
            let made = make_levels(&mut state, &name, special_use, now)?;
            let Some(answer) = made.last().cloned() else { return Err(Error::NotFound) };
            let writes = Writes { mailboxes: vec![state.row], folders_new: made, ..Writes::default() };
            if self.apply("create_folder", writes, &mut tries).await? {
                return Ok(answer);
            }
        }
    }

    pub(super) async fn do_rename_folder(
        &self,
        mailbox: MailboxId,
        from: &str,
        to: &str,
        now: Timestamp,
    ) -> Result<()> {
        let (from, to) = (folder_name(from)?, folder_name(to)?);
        let _guard = self.lock_mailbox(mailbox).await?;
        let mut tries = 0;
        loop {
            let mut state = self.mailbox_state(mailbox).await?;
            let folder = named(&state.folders, &from).cloned().ok_or(Error::NotFound)?;
            if named(&state.folders, &to).is_some() {
                return Err(Refusal::Exists(to).into());
            }
            let mut writes = Writes::default();
            if folder.special_use == Some(SpecialUse::Inbox) {
                self.empty_inbox_into(&mut state, folder, &to, now, &mut writes).await?;
            } else if is_below(&to, &from) {
                return invalid("a folder cannot be moved below itself");
            } else {
                writes.folders_new = make_levels_above(&mut state, &to, now)?;
                rename_tree(&mut state, &from, &to, now, &mut writes)?;
            }
            writes.mailboxes.push(state.row);
            if self.apply("rename_folder", writes, &mut tries).await? {
                return Ok(());
            }
        }
    }

    /// RFC 9051 §6.3.6: renaming INBOX moves its messages to a new folder; INBOX and what is below it stay.
    async fn empty_inbox_into(
        &self,
        state: &mut MailboxState,
        inbox: FolderInfo,
        to: &str,
        now: Timestamp,
        writes: &mut Writes,
    ) -> Result<()> {
        let read = self.rows.folder(inbox.mailbox, inbox.id, Select::All).await?.ok_or(Error::NotFound)?;
        writes.folders_new = make_levels(state, to, None, now)?;
        let (Some(target), false) = (writes.folders_new.last_mut(), read.rows.is_empty()) else {
            return Ok(());
        };
        let mut inbox = read.folder;
        target.keywords = inbox.keywords.clone();
        target.highest_modseq += 1;
        for row in &read.rows {
            let moved = Row { uid: mail::take_uid(target)?, modseq: target.highest_modseq, ..*row };
            mail::count_in(target, &moved);
            writes.messages_new.push((target.id, moved));
        }
        mail::remove_rows(&mut inbox, &read.rows, writes);
        writes.folders.push(inbox);
        Ok(())
    }

    pub(super) async fn do_delete_folder(&self, mailbox: MailboxId, name: &str) -> Result<Vec<MessageId>> {
        let name = folder_name(name)?;
        let _guard = self.lock_mailbox(mailbox).await?;
        let mut tries = 0;
        loop {
            let state = self.mailbox_state(mailbox).await?;
            let folder = named(&state.folders, &name).ok_or(Error::NotFound)?;
            if folder.special_use == Some(SpecialUse::Inbox) {
                return invalid("INBOX cannot be removed");
            }
            if state.folders.iter().any(|other| is_below(&other.name, &name)) {
                return Err(Refusal::InUse(format!("{name} has folders below it")).into());
            }
            let read = self.rows.folder(mailbox, folder.id, Select::All).await?.ok_or(Error::NotFound)?;
            let mut row = state.row;
            row.uid_validity_vacated = row.uid_validity_vacated.max(folder.uid_validity);
            let mut writes = Writes { folders_gone: vec![(mailbox, folder.id)], ..Writes::default() };
            let orphans = self.release(&mut row, &read.rows, &mut writes).await?;
            writes.mailboxes.push(row);
            if self.apply("delete_folder", writes, &mut tries).await? {
                return Ok(orphans);
            }
        }
    }

    pub(super) async fn do_subscribe(&self, mailbox: MailboxId, name: &str, on: bool) -> Result<()> {
        let name = folder_name(name)?;
        let _guard = self.lock_mailbox(mailbox).await?;
        let mut tries = 0;
        loop {
            let row = self.rows.mailbox(mailbox).await?.ok_or(Error::NotFound)?;
            let subscribed = self.rows.subscriptions(mailbox).await?;
            if subscribed.contains(&name) == on {
                return Ok(());
            }
            if on && subscribed.len() >= names::SUBSCRIPTIONS_MAX {
                let why = format!("a mailbox has at most {} subscriptions", names::SUBSCRIPTIONS_MAX);
                return Err(Refusal::TooMany(why).into());
            }
            let mut writes = Writes { mailboxes: vec![row], ..Writes::default() };
            let list = if on { &mut writes.subscriptions } else { &mut writes.subscriptions_gone };
            list.push((mailbox, name.clone()));
            if self.apply("subscribe", writes, &mut tries).await? {
                return Ok(());
            }
        }
    }
}
