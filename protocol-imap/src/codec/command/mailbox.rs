//! Parameters of SELECT and EXAMINE; LIST and STATUS.

use super::super::list::{Element, List};
use super::super::read::{Cursor, Fault, Upper};
use super::super::text::{MailboxName, Text};
use super::super::write::Emit;
use crate::set::SequenceSet;

/// Parameters of SELECT and EXAMINE (RFC 7162).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelectParams<'b> {
    /// `(CONDSTORE)`.
    pub condstore: bool,
    /// `(QRESYNC (...))`.
    pub qresync: Option<Qresync<'b>>,
}

/// What a client knows of a mailbox (RFC 7162 §3.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Qresync<'b> {
    /// UIDVALIDITY it knows.
    pub uid_validity: u32,
    /// Highest modification sequence it knows.
    pub modseq: u64,
    /// UIDs it knows.
    pub known_uids: Option<SequenceSet<'b>>,
    /// Message numbers and the UIDs they had, in the same order.
    pub seq_match: Option<(SequenceSet<'b>, SequenceSet<'b>)>,
}

/// LIST, also in its extended form (RFC 5258).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListCommand<'b> {
    /// What to list.
    pub selection: ListSelection,
    /// The reference name.
    pub reference: MailboxName<'b>,
    /// Patterns; at least one.
    pub patterns: List<'b, ListPattern<'b>>,
    /// What to say of each; `None` without `RETURN`.
    pub returns: Option<ListReturn<'b>>,
    /// The extended form was used: a selection, a list of patterns or `RETURN` stood in the command.
    pub extended: bool,
}

/// One pattern of LIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListPattern<'b>(pub Text<'b>);

/// Selection options of LIST (RFC 5258 §3.1, RFC 6154 §5.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ListSelection {
    pub subscribed: bool,
    pub remote: bool,
    pub recursive_match: bool,
    pub special_use: bool,
}

/// Return options of LIST (RFC 5258 §3.2, RFC 6154 §5.3, RFC 5819).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ListReturn<'b> {
    pub subscribed: bool,
    pub children: bool,
    pub special_use: bool,
    pub status: Option<List<'b, StatusItem>>,
}

/// What STATUS asks for and answers (RFC 9051 §6.3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum StatusItem {
    Messages,
    /// RFC 3501 only.
    Recent,
    UidNext,
    UidValidity,
    Unseen,
    /// Messages with `\Deleted`.
    Deleted,
    /// RFC 8438.
    Size,
    /// RFC 7162 §3.1.7.
    HighestModSeq,
    /// RFC 7889 §4.
    AppendLimit,
}

/// Most patterns in one LIST.
pub const PATTERNS_MAX: usize = 64;
/// Most items in one STATUS.
pub const STATUS_ITEMS_MAX: usize = 32;

/// Reads `"(" option *(SP option) ")"`, each option by its name in capitals.
fn read_options<'b>(
    c: &mut Cursor<'b>,
    mut option: impl FnMut(&[u8], &mut Cursor<'b>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    c.expect(b'(', "options in parentheses")?;
    if c.eat(b')') {
        return Ok(());
    }
    loop {
        let name = Upper::of(c.name());
        option(name.as_bytes(), c)?;
        if c.eat(b')') {
            return Ok(());
        }
        c.sp()?;
    }
}

impl<'b> SelectParams<'b> {
    /// Behind the mailbox name: nothing, or a space and parameters.
    pub(super) fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let mut params = SelectParams::default();
        if !c.eat(b' ') {
            return Ok(params);
        }
        read_options(c, |name, c| match name {
            b"CONDSTORE" => {
                params.condstore = true;
                Ok(())
            }
            b"QRESYNC" if params.qresync.is_none() => {
                c.sp()?;
                params.qresync = Some(Qresync::read(c)?);
                Ok(())
            }
            _ => Err(Fault::Expected("a parameter that is known here")),
        })?;
        Ok(params)
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        if !self.condstore && self.qresync.is_none() {
            return;
        }
        e.push(b" (");
        if self.condstore {
            e.push(b"CONDSTORE");
        }
        if let Some(qresync) = self.qresync {
            e.push(if self.condstore { b" QRESYNC (" } else { b"QRESYNC (" });
            qresync.emit(e);
            e.push(b")");
        }
        e.push(b")");
    }
}

impl<'b> Qresync<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        c.expect(b'(', "parameters of QRESYNC in parentheses")?;
        let uid_validity = c.nz_number()?;
        c.sp()?;
        let modseq = c.number64()?;
        let mut qresync = Qresync { uid_validity, modseq, known_uids: None, seq_match: None };
        let mut more = c.eat(b' ');
        if more && c.peek() != Some(b'(') {
            qresync.known_uids = Some(SequenceSet::read(c)?);
            more = c.eat(b' ');
        }
        if more {
            c.expect(b'(', "message numbers and UIDs in parentheses")?;
            let numbers = SequenceSet::read(c)?;
            c.sp()?;
            let uids = SequenceSet::read(c)?;
            c.expect(b')', "the end of message numbers and UIDs")?;
            qresync.seq_match = Some((numbers, uids));
        }
        c.expect(b')', "the end of the parameters of QRESYNC")?;
        // RFC 7162 §3.2.5: none of these sets may hold `*` (or `$`).
        let sets = [qresync.known_uids, qresync.seq_match.map(|m| m.0), qresync.seq_match.map(|m| m.1)];
        if sets.into_iter().flatten().any(|set| set.is_saved() || set.has_largest()) {
            return Err(Fault::Value("* or $ among what a client knows"));
        }
        Ok(qresync)
    }

    fn emit(&self, e: &mut Emit<'_>) {
        e.number(u64::from(self.uid_validity));
        e.push(b" ");
        e.number(self.modseq);
        if let Some(uids) = self.known_uids {
            e.push(b" ");
            uids.emit(e);
        }
        if let Some((numbers, uids)) = self.seq_match {
            e.push(b" (");
            numbers.emit(e);
            e.push(b" ");
            uids.emit(e);
            e.push(b")");
        }
    }
}

impl<'b> ListCommand<'b> {
    /// Behind the command's name and a space.
    pub(super) fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let mut extended = false;
        let mut selection = ListSelection::default();
        if c.peek() == Some(b'(') {
            extended = true;
            selection = ListSelection::read(c)?;
            c.sp()?;
        }
        let reference = MailboxName(c.astring()?);
        c.sp()?;
        let patterns = if c.peek() == Some(b'(') {
            extended = true;
            List::read_some(c, PATTERNS_MAX)?
        } else {
            List::read_bare(c, 1)?
        };
        let mut returns = None;
        if c.eat(b' ') {
            if !c.eat_word(b"RETURN") {
                return Err(Fault::Expected("RETURN or the end of the line"));
            }
            extended = true;
            c.sp()?;
            returns = Some(ListReturn::read(c)?);
        }
        Ok(ListCommand { selection, reference, patterns, returns, extended })
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        if self.selection != ListSelection::default() || self.extended && self.returns.is_none() {
            self.selection.emit(e);
            e.push(b" ");
        }
        e.astring(self.reference.0);
        e.push(b" ");
        if self.patterns.len() == 1 {
            self.patterns.emit_bare(e);
        } else {
            self.patterns.emit(e);
        }
        if let Some(returns) = &self.returns {
            e.push(b" RETURN ");
            returns.emit(e);
        }
    }
}

impl<'b> Element<'b> for ListPattern<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        c.list_mailbox().map(ListPattern)
    }
    fn emit(&self, e: &mut Emit<'_>) {
        e.list_mailbox(self.0);
    }
}

impl ListSelection {
    fn read(c: &mut Cursor<'_>) -> Result<Self, Fault> {
        let mut selection = ListSelection::default();
        read_options(c, |name, _| {
            match name {
                b"SUBSCRIBED" => selection.subscribed = true,
                b"REMOTE" => selection.remote = true,
                b"RECURSIVEMATCH" => selection.recursive_match = true,
                b"SPECIAL-USE" => selection.special_use = true,
                _ => return Err(Fault::Expected("a selection option that is known here")),
            }
            Ok(())
        })?;
        // RFC 5258 §3.1: RECURSIVEMATCH needs a criterion of its own, and REMOTE is none.
        if selection.recursive_match && !selection.subscribed && !selection.special_use {
            return Err(Fault::Value("RECURSIVEMATCH without what it shall match"));
        }
        Ok(selection)
    }

    fn emit(self, e: &mut Emit<'_>) {
        emit_words(
            &[
                (self.subscribed, b"SUBSCRIBED"),
                (self.remote, b"REMOTE"),
                (self.recursive_match, b"RECURSIVEMATCH"),
                (self.special_use, b"SPECIAL-USE"),
            ],
            e,
        );
        e.push(b")");
    }
}

/// `(` and the words whose flag is set, with spaces between them; whether there was one.
pub(super) fn emit_words(words: &[(bool, &[u8])], e: &mut Emit<'_>) -> bool {
    e.push(b"(");
    let mut any = false;
    for (_, word) in words.iter().filter(|(set, _)| *set) {
        if any {
            e.push(b" ");
        }
        any = true;
        e.push(word);
    }
    any
}

impl<'b> ListReturn<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let mut returns = ListReturn::default();
        read_options(c, |name, c| {
            match name {
                b"SUBSCRIBED" => returns.subscribed = true,
                b"CHILDREN" => returns.children = true,
                b"SPECIAL-USE" => returns.special_use = true,
                b"STATUS" if returns.status.is_none() => {
                    c.sp()?;
                    returns.status = Some(List::read_some(c, STATUS_ITEMS_MAX)?);
                }
                _ => return Err(Fault::Expected("a return option that is known here")),
            }
            Ok(())
        })?;
        Ok(returns)
    }

    fn emit(&self, e: &mut Emit<'_>) {
        let words: [(bool, &[u8]); 3] = [
            (self.subscribed, b"SUBSCRIBED"),
            (self.children, b"CHILDREN"),
            (self.special_use, b"SPECIAL-USE"),
        ];
        let any = emit_words(&words, e);
        if let Some(status) = &self.status {
            e.push(if any { b" STATUS " } else { b"STATUS " });
            status.emit(e);
        }
        e.push(b")");
    }
}

impl StatusItem {
    /// Its name in capitals.
    pub const fn as_str(self) -> &'static str {
        match self {
            StatusItem::Messages => "MESSAGES",
            StatusItem::Recent => "RECENT",
            StatusItem::UidNext => "UIDNEXT",
            StatusItem::UidValidity => "UIDVALIDITY",
            StatusItem::Unseen => "UNSEEN",
            StatusItem::Deleted => "DELETED",
            StatusItem::Size => "SIZE",
            StatusItem::HighestModSeq => "HIGHESTMODSEQ",
            StatusItem::AppendLimit => "APPENDLIMIT",
        }
    }
}

impl<'b> Element<'b> for StatusItem {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        Ok(match Upper::of(c.name()).as_bytes() {
            b"MESSAGES" => StatusItem::Messages,
            b"RECENT" => StatusItem::Recent,
            b"UIDNEXT" => StatusItem::UidNext,
            b"UIDVALIDITY" => StatusItem::UidValidity,
            b"UNSEEN" => StatusItem::Unseen,
            b"DELETED" => StatusItem::Deleted,
            b"SIZE" => StatusItem::Size,
            b"HIGHESTMODSEQ" => StatusItem::HighestModSeq,
            b"APPENDLIMIT" => StatusItem::AppendLimit,
            _ => return Err(Fault::Expected("a status item that is known here")),
        })
    }
    fn emit(&self, e: &mut Emit<'_>) {
        e.push(self.as_str().as_bytes());
    }
}
