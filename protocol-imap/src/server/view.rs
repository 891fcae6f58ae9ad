//! The session's own view of the selected folder.
//!
//! A client counts messages: number 7 is the seventh of those it has been told of. So the view is exactly
//! what the client knows, not what the folder holds. Changes by others wait beside it until they may be told
//! (RFC 9051 §5.5, §7.5.1), merged: of many changes to one message only the last is told, and a message that
//! came and went in between is never mentioned.
//!
//! Numbers and UIDs are kept as runs of neighbouring UIDs: a folder of 100,000 messages that lost none is one
//! run of eight octets.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use protocol_core::SendBuf;

use super::FlagBits;
use super::limits::KEYWORDS_MAX;

/// Something another session, a delivery or a filter did to the selected folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A message came. UIDs rise: one below those already known is ignored.
    Added {
        /// Its UID.
        uid: u32,
    },
    /// A message's flags are these now.
    Flags {
        /// Its UID.
        uid: u32,
        /// All its flags.
        flags: FlagBits,
        /// The modification sequence of the change: one that the client has seen already is ignored.
        modseq: u64,
    },
    /// A message went.
    Expunged {
        /// Its UID.
        uid: u32,
        /// The modification sequence of its removal.
        modseq: u64,
    },
}

/// Neighbouring UIDs with neighbouring numbers, up to where the next run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    number: u32,
    uid: u32,
}

/// What the client knows of the selected folder, and what it has not been told yet.
#[derive(Clone, Debug, Default)]
pub struct View {
    runs: Vec<Run>,
    /// Messages: what the last EXISTS said.
    count: u32,
    /// The UID of the last message that was ever in the view.
    highest_uid: u32,
    added: Vec<u32>,
    flags: BTreeMap<u32, (FlagBits, u64)>,
    expunged: BTreeSet<u32>,
    /// EXPUNGE responses that are yet to be written, behind what these messages left in the view: a number,
    /// and how often it is told. Numbers fall as messages go, so neighbours that went share one entry.
    expunging: Vec<(u32, u32)>,
    /// How many entries of `expunging` are written.
    expunging_done: usize,
    /// Modification sequence as of which the client was told everything, but for what `told` says.
    baseline: u64,
    /// Messages whose flags were told later than `baseline`.
    told: BTreeMap<u32, u64>,
    /// The highest modification sequence heard of.
    highest_modseq: u64,
    keywords: Vec<String>,
    keywords_grew: bool,
    pub(super) read_only: bool,
}

/// How flags are told: with MODSEQ once the client is CONDSTORE-aware (RFC 7162 §3.2), and with UID as every
/// client understands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Telling {
    pub modseq: bool,
    /// IMAP4rev2: no RECENT.
    pub rev2: bool,
}

impl View {
    /// A folder as it was loaded: UIDs in rising order, as of `highest_modseq`.
    pub(super) fn load(&mut self, uids: impl Iterator<Item = u32>, highest_modseq: u64, read_only: bool) {
        self.clear();
        uids.for_each(|uid| self.append(uid));
        self.baseline = highest_modseq;
        self.highest_modseq = highest_modseq;
        self.read_only = read_only;
    }

    /// Nothing is selected.
    pub(super) fn clear(&mut self) {
        let mut old = core::mem::take(self);
        old.runs.clear();
        if old.runs.capacity() <= 64 {
            self.runs = old.runs;
        }
    }

    /// How many messages the client knows of.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether the client knows of no message.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the folder was selected with EXAMINE, or is read-only.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The UID of the message of that number.
    pub fn uid(&self, number: u32) -> Option<u32> {
        if number == 0 || number > self.count {
            return None;
        }
        let at = self.runs.partition_point(|r| r.number <= number).checked_sub(1)?;
        let run = self.runs.get(at)?;
        run.uid.checked_add(number - run.number)
    }

    /// The number of the message of that UID.
    pub fn number(&self, uid: u32) -> Option<u32> {
        let number = self.numbers_below(uid).checked_add(1)?;
        (self.uid(number) == Some(uid)).then_some(number)
    }

    /// How many messages have a UID below `uid`.
    pub(super) fn numbers_below(&self, uid: u32) -> u32 {
        let Some(at) = self.runs.partition_point(|r| r.uid < uid).checked_sub(1) else { return 0 };
        let (run, len) = (self.runs[at], self.run_len(at));
        run.number - 1 + (uid - run.uid).min(len)
    }

    /// The UID of the last message; 0 when there is none.
    pub fn last_uid(&self) -> u32 {
        self.uid(self.count).unwrap_or(0)
    }

    /// UIDs in rising order.
    pub fn uids(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.runs.len()).flat_map(|at| {
            let run = self.runs[at];
            (0..self.run_len(at)).map(move |n| run.uid + n)
        })
    }

    /// The folder's keywords as the client was told them.
    pub fn keywords(&self) -> &[String] {
        &self.keywords
    }

    /// The highest modification sequence heard of (RFC 7162 §3.1.2.1).
    pub fn highest_modseq(&self) -> u64 {
        self.highest_modseq
    }

    fn run_len(&self, at: usize) -> u32 {
        let end = self.runs.get(at + 1).map_or(self.count + 1, |next| next.number);
        self.runs.get(at).map_or(0, |run| end - run.number)
    }

    fn append(&mut self, uid: u32) {
        if uid <= self.highest_uid || self.count == u32::MAX {
            return;
        }
        let follows = self.count > 0 && self.last_uid().checked_add(1) == Some(uid);
        self.count += 1;
        self.highest_uid = uid;
        if !follows {
            self.runs.push(Run { number: self.count, uid });
        }
    }

    // ---- changes by others ----------------------------------------------------------------------------

    /// Merges a change into what waits.
    pub(super) fn note(&mut self, change: Change) {
        match change {
            Change::Added { uid } => {
                let last = self.added.last().copied().unwrap_or(self.highest_uid);
                if uid > last {
                    self.added.push(uid);
                }
            }
            Change::Flags { uid, flags, modseq } => {
                self.highest_modseq = self.highest_modseq.max(modseq);
                let seen = self.told.get(&uid).copied().unwrap_or(self.baseline);
                let waiting = self.flags.get(&uid).map_or(0, |(_, waiting)| *waiting);
                if modseq > seen.max(waiting) && self.number(uid).is_some() && !self.expunged.contains(&uid) {
                    self.flags.insert(uid, (flags, modseq));
                }
            }
            Change::Expunged { uid, modseq } => {
                self.highest_modseq = self.highest_modseq.max(modseq);
                self.added.retain(|&a| a != uid);
                self.flags.remove(&uid);
                if self.number(uid).is_some() {
                    self.expunged.insert(uid);
                }
            }
        }
    }

    /// Keywords of the folder, in the order of their bits. Names only ever join.
    pub(super) fn learn_keywords<'k>(&mut self, names: impl Iterator<Item = &'k str>) {
        for name in names.skip(self.keywords.len()).take(KEYWORDS_MAX - self.keywords.len().min(KEYWORDS_MAX))
        {
            self.keywords.push(String::from(name));
            self.keywords_grew = true;
        }
    }

    pub(super) fn keywords_are_told(&mut self) {
        self.keywords_grew = false;
    }

    /// Every change up to `modseq` was noted: what is remembered to recognise earlier ones can go.
    pub(super) fn synced(&mut self, modseq: u64) {
        self.baseline = self.baseline.max(modseq);
        self.highest_modseq = self.highest_modseq.max(modseq);
        let baseline = self.baseline;
        self.told.retain(|_, told| *told > baseline);
    }

    /// The client learns this message's flags as of `modseq` from a FETCH response. Flags with a keyword that
    /// the view has not learnt are told without it, so they do not count as told.
    pub(super) fn tell_flags(&mut self, uid: u32, flags: FlagBits, modseq: u64) {
        self.highest_modseq = self.highest_modseq.max(modseq);
        if flags.0 >> 8 >> self.keywords.len() != 0 {
            return;
        }
        if self.flags.get(&uid).is_some_and(|(_, waiting)| *waiting <= modseq) {
            self.flags.remove(&uid);
        }
        if modseq > self.baseline {
            let told = self.told.entry(uid).or_insert(modseq);
            *told = modseq.max(*told);
        }
    }

    /// Whether a change to this message's flags waits.
    pub(super) fn flags_wait(&self, uid: u32) -> bool {
        self.flags.contains_key(&uid)
    }

    /// Whether a message waits to be told gone.
    pub fn is_gone(&self, uid: u32) -> bool {
        self.expunged.contains(&uid)
    }

    /// Removes these UIDs (in rising order) from the view; [`View::tell_expunged`] tells so of each that was
    /// there. Changes to the others stay waiting.
    pub(super) fn expunge(&mut self, uids: impl Iterator<Item = u32>) {
        let mut gone = uids.peekable();
        if gone.peek().is_none() {
            return;
        }
        let old = core::mem::take(&mut self.runs);
        let old_count = core::mem::take(&mut self.count);
        let mut removed: u32 = 0;
        for (at, run) in old.iter().enumerate() {
            let end = old.get(at + 1).map_or(old_count + 1, |next| next.number);
            let mut uid = run.uid;
            let last = run.uid + (end - run.number - 1);
            while uid <= last {
                while gone.peek().is_some_and(|&g| g < uid) {
                    gone.next();
                }
                let next_gone = gone.peek().copied().filter(|&g| g <= last);
                let keep_to = next_gone.map_or(last + 1, |g| g);
                if keep_to > uid {
                    self.runs.push(Run { number: self.count + 1, uid });
                    self.count += keep_to - uid;
                }
                let Some(g) = next_gone else { break };
                // Numbers fall with each EXPUNGE, so the client counts from what is left.
                let number = self.count + 1;
                match self.expunging.last_mut() {
                    Some((last, times)) if *last == number => *times += 1,
                    _ => self.expunging.push((number, 1)),
                }
                removed += 1;
                self.flags.remove(&g);
                self.told.remove(&g);
                self.expunged.remove(&g);
                uid = g + 1;
            }
        }
        debug_assert_eq!(self.count + removed, old_count);
    }

    /// Writes `EXPUNGE` for what [`View::expunge`] removed, as long as `out` is not high. Whether all are told.
    pub(super) fn tell_expunged(&mut self, out: &mut SendBuf) -> bool {
        while let Some((number, times)) = self.expunging.get_mut(self.expunging_done) {
            if out.is_high() {
                return false;
            }
            out.push(b"* ");
            out.push_decimal(u64::from(*number));
            out.push(b" EXPUNGE\r\n");
            *times -= 1;
            if *times == 0 {
                self.expunging_done += 1;
            }
        }
        self.expunging_done = 0;
        self.expunging.clear();
        self.expunging.shrink_to(64);
        true
    }

    /// Tells what waits, as long as `out` is not high; what does not fit waits on. Whether all is told. Without
    /// `expunge`, messages that went stay counted.
    pub(super) fn tell(&mut self, expunge: bool, how: Telling, out: &mut SendBuf) -> bool {
        if !self.tell_expunged(out) {
            return false;
        }
        if expunge && !self.expunged.is_empty() {
            let gone = core::mem::take(&mut self.expunged);
            self.expunge(gone.into_iter());
            if !self.tell_expunged(out) {
                return false;
            }
        }
        if !self.added.is_empty() {
            let added = core::mem::take(&mut self.added);
            added.iter().for_each(|&uid| self.append(uid));
            self.write_exists(out);
            if !how.rev2 {
                out.push(b"* 0 RECENT\r\n");
            }
            self.added = added;
            self.added.clear();
            self.added.shrink_to(64);
        }
        self.tell_keywords(out);
        while !out.is_high()
            && let Some((uid, (flags, modseq))) = self.flags.pop_first()
        {
            let Some(number) = self.number(uid) else { continue };
            self.tell_flags(uid, flags, modseq);
            out.push(b"* ");
            out.push_decimal(u64::from(number));
            out.push(b" FETCH (UID ");
            out.push_decimal(u64::from(uid));
            if how.modseq {
                write_modseq(modseq, out);
            }
            out.push(b" FLAGS ");
            self.write_flags(flags, out);
            out.push(b")\r\n");
        }
        self.flags.is_empty()
    }

    // ---- writing --------------------------------------------------------------------------------------

    /// `* n EXISTS`.
    pub(super) fn write_exists(&self, out: &mut SendBuf) {
        out.push(b"* ");
        out.push_decimal(u64::from(self.count));
        out.push(b" EXISTS\r\n");
    }

    /// FLAGS and PERMANENTFLAGS, when keywords joined since they were last told.
    pub(super) fn tell_keywords(&mut self, out: &mut SendBuf) {
        if core::mem::take(&mut self.keywords_grew) {
            self.write_keywords(out);
        }
    }

    /// FLAGS, and PERMANENTFLAGS with `\*` while keywords can still be made (RFC 9051 §7.3.5, §7.1).
    pub(super) fn write_keywords(&self, out: &mut SendBuf) {
        const ALL: FlagBits = FlagBits(u64::MAX);
        out.push(b"* FLAGS ");
        self.write_flags(ALL, out);
        out.push(b"\r\n* OK [PERMANENTFLAGS ");
        if self.read_only {
            out.push(b"()");
        } else if self.keywords.len() < KEYWORDS_MAX {
            self.write_flag_names(ALL, b" \\*", out);
        } else {
            self.write_flags(ALL, out);
        }
        out.push(b"] Flags that last\r\n");
    }

    /// The names of the flags in parentheses. Bits of keywords the view has not learnt are left out.
    pub(super) fn write_flags(&self, flags: FlagBits, out: &mut SendBuf) {
        self.write_flag_names(flags, b"", out);
    }

    fn write_flag_names(&self, flags: FlagBits, behind: &[u8], out: &mut SendBuf) {
        const SYSTEM: [&str; 5] = ["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"];
        let system = SYSTEM.iter().enumerate().map(|(bit, name)| (1 << bit, *name));
        let keywords =
            self.keywords.iter().enumerate().map(|(n, name)| (FlagBits::keyword(n).0, name.as_str()));
        out.push_u8(b'(');
        let mut first = true;
        for (_, name) in system.chain(keywords).filter(|(bit, _)| flags.0 & bit != 0) {
            if !first {
                out.push_u8(b' ');
            }
            first = false;
            out.push(name.as_bytes());
        }
        out.push(behind);
        out.push_u8(b')');
    }
}

/// ` MODSEQ (n)`.
pub(super) fn write_modseq(modseq: u64, out: &mut SendBuf) {
    out.push(b" MODSEQ (");
    out.push_decimal(modseq);
    out.push_u8(b')');
}
