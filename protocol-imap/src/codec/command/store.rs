//! STORE and UID STORE.

use super::super::flag::Flag;
use super::super::list::List;
use super::super::read::{Cursor, Fault, Upper};
use super::super::write::Emit;
use crate::set::SequenceSet;

/// How STORE changes flags (RFC 9051 §6.4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum StoreOp {
    Replace,
    Add,
    Remove,
}

/// STORE or UID STORE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store<'b> {
    /// UID STORE: `set` holds UIDs.
    pub uid: bool,
    /// Which messages.
    pub set: SequenceSet<'b>,
    /// Only messages not changed after this modification sequence (RFC 7162 §3.1.3).
    pub unchanged_since: Option<u64>,
    /// How.
    pub op: StoreOp,
    /// No FETCH responses are wanted for what this command itself changes.
    pub silent: bool,
    /// What.
    pub flags: List<'b, Flag<'b>>,
}

/// Most flags in one STORE or APPEND.
pub const FLAGS_MAX: usize = 256;

impl<'b> Store<'b> {
    /// Behind the command's name and a space.
    pub(super) fn read(uid: bool, c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let set = SequenceSet::read(c)?;
        c.sp()?;
        let unchanged_since = if c.eat(b'(') { Some(read_unchanged_since(c)?) } else { None };
        let op = if c.eat(b'+') {
            StoreOp::Add
        } else if c.eat(b'-') {
            StoreOp::Remove
        } else {
            StoreOp::Replace
        };
        let silent = match Upper::of(c.name()).as_bytes() {
            b"FLAGS" => false,
            b"FLAGS.SILENT" => true,
            _ => return Err(Fault::Expected("FLAGS or FLAGS.SILENT")),
        };
        c.sp()?;
        let flags = read_flags(c)?;
        Ok(Store { uid, set, unchanged_since, op, silent, flags })
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        self.set.emit(e);
        if let Some(modseq) = self.unchanged_since {
            e.push(b" (UNCHANGEDSINCE ");
            e.number(modseq);
            e.push(b")");
        }
        e.push(match self.op {
            StoreOp::Replace => b" FLAGS",
            StoreOp::Add => b" +FLAGS",
            StoreOp::Remove => b" -FLAGS",
        });
        e.push(if self.silent { b".SILENT " } else { b" " });
        self.flags.emit(e);
    }
}

fn read_unchanged_since(c: &mut Cursor<'_>) -> Result<u64, Fault> {
    if !c.eat_word(b"UNCHANGEDSINCE") {
        return Err(Fault::Expected("UNCHANGEDSINCE"));
    }
    c.sp()?;
    let modseq = c.number64()?;
    c.expect(b')', "the end of the store modifiers")?;
    c.sp()?;
    Ok(modseq)
}

/// A list of flags, or flags with spaces between them (`store-att-flags`).
fn read_flags<'b>(c: &mut Cursor<'b>) -> Result<List<'b, Flag<'b>>, Fault> {
    let flags =
        if c.peek() == Some(b'(') { List::read(c, FLAGS_MAX)? } else { List::read_bare(c, FLAGS_MAX)? };
    settable(flags)
}

/// `\*` is no flag that a message can have.
pub(super) fn settable<'b>(flags: List<'b, Flag<'b>>) -> Result<List<'b, Flag<'b>>, Fault> {
    if flags.contains(&Flag::Wildcard) { Err(Fault::Value("\\* as a flag to set")) } else { Ok(flags) }
}
