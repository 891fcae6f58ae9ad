//! Messages in folders: flags, removal, copies.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;

use protocol_core::Timestamp;

use super::Engine;
use super::names::{KEYWORD_OCTETS_MAX, invalid};
use crate::error::{Error, Refusal, Result};
use crate::rows::{FolderRead, MailboxRow, Rows, Select, Writes};
use crate::store::Mail;
use crate::types::*;

const SYSTEM_FLAGS: u64 = 0x1f;

/// The folder's next UID, taken.
pub(super) fn take_uid(folder: &mut FolderInfo) -> Result<u32> {
    let uid = folder.uid_next;
    folder.uid_next = uid
        .checked_add(1)
        .ok_or_else(|| Error::from(Refusal::TooMany("the folder's UIDs are used up".into())))?;
    Ok(uid)
}

/// Counts a row that came into the folder.
pub(super) fn count_in(folder: &mut FolderInfo, row: &Row) {
    folder.messages = folder.messages.saturating_add(1);
    folder.unseen = folder.unseen.saturating_add(u32::from(!row.flags.contains(Flags::SEEN)));
    folder.size = folder.size.saturating_add(row.size);
}

fn count_out(folder: &mut FolderInfo, row: &Row) {
    folder.messages = folder.messages.saturating_sub(1);
    folder.unseen = folder.unseen.saturating_sub(u32::from(!row.flags.contains(Flags::SEEN)));
    folder.size = folder.size.saturating_sub(row.size);
}

/// Takes rows out of a folder, at its next modification sequence.
pub(super) fn remove_rows(folder: &mut FolderInfo, rows: &[Row], writes: &mut Writes) {
    folder.highest_modseq += 1;
    for row in rows {
        count_out(folder, row);
        writes.messages_gone.push((folder.id, row.uid));
    }
    let uids = rows.iter().map(|row| row.uid).collect();
    writes.expunged.push((folder.id, folder.highest_modseq, uids));
}

/// Named flags as the folder's bits. Keywords the folder does not know are given bits when `learn`, and
/// left out otherwise. Keywords are compared without ASCII case (RFC 9051 §2.3.2).
pub(super) fn flags_of(folder: &mut FolderInfo, named: &NamedFlags, learn: bool) -> Result<Flags> {
    let mut flags = Flags(named.system.0 & SYSTEM_FLAGS);
    for keyword in &named.keywords {
        let known = folder.keywords.iter().position(|k| k.eq_ignore_ascii_case(keyword));
        let n = match known {
            Some(n) => n,
            None if !learn => continue,
            None => learn_keyword(folder, keyword)?,
        };
        flags = flags.union(Flags::keyword(n));
    }
    Ok(flags)
}

fn learn_keyword(folder: &mut FolderInfo, keyword: &str) -> Result<usize> {
    if keyword.is_empty() || keyword.len() > KEYWORD_OCTETS_MAX || keyword.chars().any(char::is_control) {
        return invalid(format!("a keyword has 1 to {KEYWORD_OCTETS_MAX} octets"));
    }
    let n = folder.keywords.len();
    if n >= KEYWORDS_MAX {
        return Err(Refusal::TooMany(format!("a folder has at most {KEYWORDS_MAX} keywords")).into());
    }
    folder.keywords.push(keyword.to_owned());
    Ok(n)
}

/// The keyword names behind flags.
fn keywords_of(folder: &FolderInfo, flags: Flags) -> Vec<String> {
    let set = folder.keywords.iter().take(KEYWORDS_MAX).enumerate();
    set.filter(|(n, _)| flags.contains(Flags::keyword(*n))).map(|(_, name)| name.clone()).collect()
}

fn changed_flags(op: FlagOp, before: Flags, flags: Flags) -> Flags {
    match op {
        FlagOp::Add => before.union(flags),
        FlagOp::Remove => before.minus(flags),
        FlagOp::Replace => flags,
    }
}

impl<R: Rows> Engine<R> {
    async fn read_folder(&self, mailbox: MailboxId, folder: FolderId, uids: &[u32]) -> Result<FolderRead> {
        self.rows.folder(mailbox, folder, Select::Uids(uids.to_vec())).await?.ok_or(Error::NotFound)
    }

    /// Lowers the reference counts of what rows showed. The answer is what no row shows any more, each once,
    /// in the order of the rows; it no longer counts as used.
    pub(super) async fn release(
        &self,
        mailbox: &mut MailboxRow,
        rows: &[Row],
        writes: &mut Writes,
    ) -> Result<Vec<MessageId>> {
        let mut shown: BTreeMap<MessageId, u32> = BTreeMap::new();
        for row in rows {
            *shown.entry(row.message).or_default() += 1;
        }
        let ids: Vec<MessageId> = shown.keys().copied().collect();
        let id = mailbox.mailbox.id;
        let mut gone = BTreeSet::new();
        for (message, refs, size) in self.rows.objects(id, &ids).await? {
            let fewer = shown.get(&message).copied().unwrap_or(0);
            if refs > fewer {
                writes.objects.push((id, message, refs - fewer));
            } else {
                writes.objects_gone.push((id, message));
                mailbox.mailbox.used_bytes = mailbox.mailbox.used_bytes.saturating_sub(size);
                gone.insert(message);
            }
        }
        Ok(rows.iter().map(|row| row.message).filter(|message| gone.remove(message)).collect())
    }

    /// Raises the reference counts of what rows show once more.
    async fn retain(&self, mailbox: MailboxId, rows: &[Row], writes: &mut Writes) -> Result<()> {
        let mut shown: HashMap<MessageId, u32> = HashMap::new();
        for row in rows {
            *shown.entry(row.message).or_default() += 1;
        }
        let ids: BTreeSet<MessageId> = shown.keys().copied().collect();
        let ids: Vec<MessageId> = ids.into_iter().collect();
        for (message, refs, _) in self.rows.objects(mailbox, &ids).await? {
            let more = shown.get(&message).copied().unwrap_or(0);
            writes.objects.push((mailbox, message, refs.saturating_add(more)));
        }
        Ok(())
    }
}

/// The copies of rows in `to`, one modification sequence for all.
fn place_copies(
    source: &FolderInfo,
    rows: &[Row],
    to: &mut FolderInfo,
    writes: &mut Writes,
) -> Result<Vec<(u32, Row)>> {
    to.highest_modseq += 1;
    let mut pairs = Vec::with_capacity(rows.len());
    for row in rows {
        let named = NamedFlags { system: row.flags, keywords: keywords_of(source, row.flags) };
        let flags = flags_of(to, &named, true)?;
        let copy = Row { uid: take_uid(to)?, flags, modseq: to.highest_modseq, ..*row };
        count_in(to, &copy);
        writes.messages_new.push((to.id, copy));
        pairs.push((row.uid, copy));
    }
    Ok(pairs)
}

#[async_trait::async_trait]
impl<R: Rows> Mail for Engine<R> {
    async fn commit_batch(&self, commits: Vec<Commit>) -> Vec<Result<Vec<Placed>>> {
        self.do_commit_batch(commits).await
    }

    async fn folders(&self, mailbox: MailboxId) -> Result<Vec<FolderInfo>> {
        self.do_folders(mailbox).await
    }

    async fn recount(&self, mailbox: MailboxId) -> Result<bool> {
        self.do_recount(mailbox).await
    }

    async fn create_folder(
        &self,
        mailbox: MailboxId,
        name: &str,
        special_use: Option<SpecialUse>,
        now: Timestamp,
    ) -> Result<FolderInfo> {
        self.do_create_folder(mailbox, name, special_use, now).await
    }

    async fn rename_folder(&self, mailbox: MailboxId, from: &str, to: &str, now: Timestamp) -> Result<()> {
        self.do_rename_folder(mailbox, from, to, now).await
    }

    async fn delete_folder(&self, mailbox: MailboxId, name: &str) -> Result<Vec<MessageId>> {
        self.do_delete_folder(mailbox, name).await
    }

    async fn subscriptions(&self, mailbox: MailboxId) -> Result<Vec<String>> {
        self.rows.subscriptions(mailbox).await
    }

    async fn subscribe(&self, mailbox: MailboxId, name: &str, on: bool) -> Result<()> {
        self.do_subscribe(mailbox, name, on).await
    }

    async fn load_folder(&self, folder: FolderId) -> Result<(FolderInfo, Vec<Row>)> {
        let mailbox = self.mailbox_of(folder).await?;
        let read = self.rows.folder(mailbox, folder, Select::All).await?.ok_or(Error::NotFound)?;
        Ok((read.folder, read.rows))
    }

    async fn changes_since(&self, folder: FolderId, modseq: u64) -> Result<(FolderInfo, Vec<Row>, Vec<u32>)> {
        self.rows.changes(self.mailbox_of(folder).await?, folder, modseq).await?.ok_or(Error::NotFound)
    }

    async fn meta(&self, folder: FolderId, uids: RangeInclusive<u32>) -> Result<Vec<(u32, Vec<u8>)>> {
        self.rows.meta(self.mailbox_of(folder).await?, folder, uids).await?.ok_or(Error::NotFound)
    }

    async fn set_flags(
        &self,
        folder: FolderId,
        uids: &[u32],
        op: FlagOp,
        flags: &NamedFlags,
        unchanged_since: Option<u64>,
    ) -> Result<FlagsChanged> {
        let owner = self.mailbox_of(folder).await?;
        let _guard = self.lock_mailbox(owner).await?;
        let mut tries = 0;
        loop {
            let FolderRead { mailbox, mut folder, rows } = self.read_folder(owner, folder, uids).await?;
            let kept = |row: &Row| unchanged_since.is_some_and(|limit| row.modseq > limit);
            let modified = rows.iter().filter(|row| kept(row)).map(|row| row.uid).collect();
            let open: Vec<Row> = rows.into_iter().filter(|row| !kept(row)).collect();
            let flags = flags_of(&mut folder, flags, op != FlagOp::Remove && !open.is_empty())?;
            let modseq = folder.highest_modseq + 1;
            let mut changed = Vec::new();
            for row in open {
                let after = Row { flags: changed_flags(op, row.flags, flags), modseq, ..row };
                if after.flags != row.flags {
                    count_out(&mut folder, &row);
                    count_in(&mut folder, &after);
                    changed.push(after);
                }
            }
            let answer = FlagsChanged { changed, modified, keywords: folder.keywords.clone() };
            if answer.changed.is_empty() {
                return Ok(answer);
            }
            folder.highest_modseq = modseq;
            let messages = answer.changed.iter().map(|row| (folder.id, *row)).collect();
            let writes =
                Writes { mailboxes: vec![mailbox], folders: vec![folder], messages, ..Writes::default() };
            if self.apply("set_flags", writes, &mut tries).await? {
                return Ok(answer);
            }
        }
    }

    async fn expunge(&self, folder: FolderId, uids: &[u32]) -> Result<Expunged> {
        let owner = self.mailbox_of(folder).await?;
        let _guard = self.lock_mailbox(owner).await?;
        let mut tries = 0;
        loop {
            let FolderRead { mut mailbox, mut folder, mut rows } =
                self.read_folder(owner, folder, uids).await?;
            rows.retain(|row| row.flags.contains(Flags::DELETED));
            if rows.is_empty() {
                return Ok(Expunged { modseq: folder.highest_modseq, ..Expunged::default() });
            }
            let mut writes = Writes::default();
            remove_rows(&mut folder, &rows, &mut writes);
            let orphans = self.release(&mut mailbox, &rows, &mut writes).await?;
            let uids = rows.iter().map(|row| row.uid).collect();
            let answer = Expunged { uids, modseq: folder.highest_modseq, orphans };
            writes.mailboxes.push(mailbox);
            writes.folders.push(folder);
            if self.apply("expunge", writes, &mut tries).await? {
                return Ok(answer);
            }
        }
    }

    async fn copy(&self, from: FolderId, uids: &[u32], to: FolderId, remove: bool) -> Result<Copied> {
        let owner = self.mailbox_of(from).await?;
        if self.mailbox_of(to).await? != owner {
            return Err(Error::NotFound);
        }
        let _guard = self.lock_mailbox(owner).await?;
        let mut tries = 0;
        loop {
            // The mailbox's revision is read with the source, before the destination: what changes after
            // that is noticed.
            let FolderRead { mailbox, folder: mut source, rows } =
                self.read_folder(owner, from, uids).await?;
            let target = self.rows.folder(owner, to, Select::None).await?.ok_or(Error::NotFound)?.folder;
            let mut writes = Writes::default();
            let mut copied = Copied {
                uid_validity: target.uid_validity,
                pairs: Vec::new(),
                removed_modseq: None,
                keywords: target.keywords.clone(),
            };
            if rows.is_empty() {
                return Ok(copied);
            }
            let mut target = target;
            copied.pairs = place_copies(&source, &rows, &mut target, &mut writes)?;
            copied.keywords = target.keywords.clone();
            if remove {
                // Within one folder both changes are made to the one row of the folder.
                let from = if from == to { &mut target } else { &mut source };
                remove_rows(from, &rows, &mut writes);
                copied.removed_modseq = Some(from.highest_modseq);
                if from.id != to {
                    writes.folders.push(source);
                }
            } else {
                self.retain(mailbox.mailbox.id, &rows, &mut writes).await?;
            }
            writes.folders.push(target);
            writes.mailboxes.push(mailbox);
            if self.apply("copy", writes, &mut tries).await? {
                return Ok(copied);
            }
        }
    }

    async fn messages(&self, mailbox: MailboxId) -> Result<Vec<MessageId>> {
        self.rows.messages(mailbox).await
    }

    async fn set_meta(&self, mailbox: MailboxId, metas: Vec<(MessageId, Vec<u8>)>) -> Result<()> {
        let _guard = self.lock_mailbox(mailbox).await?;
        let objects_meta = metas.into_iter().map(|(message, meta)| (mailbox, message, meta)).collect();
        let writes = Writes { objects_meta, ..Writes::default() };
        self.rows.apply("set_meta", writes).await.map_err(Into::into)
    }
}

/// A message's place as a commit's answer says it.
pub(super) fn placed(folder: &FolderInfo, row: Row) -> Placed {
    Placed { folder: folder.id, uid_validity: folder.uid_validity, row }
}

/// A new row at the folder's current modification sequence.
pub(super) fn place(folder: &mut FolderInfo, new: &NewRow) -> Result<Row> {
    let flags = flags_of(folder, &new.flags, true)?;
    let internal_date: Timestamp = new.internal_date;
    let row = Row {
        uid: take_uid(folder)?,
        flags,
        modseq: folder.highest_modseq,
        size: new.size,
        internal_date,
        message: new.message,
    };
    count_in(folder, &row);
    Ok(row)
}
