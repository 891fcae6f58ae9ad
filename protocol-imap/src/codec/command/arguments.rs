//! Arguments of commands, read and written: which command has which.

use super::super::flag::Attribute;
use super::super::list::{Atom, List};
use super::super::read::{Cursor, Fault};
use super::super::table::Name;
use super::super::text::{MailboxName, Secret};
use super::super::write::Emit;
use super::append::Append;
use super::fetch::Fetch;
use super::mailbox::{ListCommand, STATUS_ITEMS_MAX, SelectParams};
use super::search::Search;
use super::store::Store;
use super::{CommandBody, ENABLE_MAX, Initial, USES_MAX, read_id};
use crate::set::SequenceSet;

impl<'b> CommandBody<'b> {
    /// Reads the arguments of `name` and the space before them.
    pub(super) fn read(name: Name, c: &mut Cursor<'b>) -> Result<Self, Fault> {
        Ok(match name {
            Name::Capability => CommandBody::Capability,
            Name::Noop => CommandBody::Noop,
            Name::Logout => CommandBody::Logout,
            Name::StartTls => CommandBody::StartTls,
            Name::Namespace => CommandBody::Namespace,
            Name::Idle => CommandBody::Idle,
            Name::Check => CommandBody::Check,
            Name::Close => CommandBody::Close,
            Name::Unselect => CommandBody::Unselect,
            Name::Expunge => CommandBody::Expunge,
            _ => {
                c.sp()?;
                return Self::read_arguments(name, c);
            }
        })
    }

    fn read_arguments(name: Name, c: &mut Cursor<'b>) -> Result<Self, Fault> {
        Ok(match name {
            Name::Id => CommandBody::Id(read_id(c)?),
            Name::Authenticate => {
                CommandBody::Authenticate { mechanism: Atom(c.atom()?), initial: Initial::read(c)? }
            }
            Name::Login => {
                let user = c.astring()?;
                c.sp()?;
                CommandBody::Login { user, password: Secret(c.astring()?) }
            }
            Name::Enable => CommandBody::Enable(List::read_bare(c, ENABLE_MAX)?),
            Name::Compress => CommandBody::Compress(Atom(c.atom()?)),
            Name::UidExpunge => CommandBody::UidExpunge(SequenceSet::read(c)?),
            Name::Search | Name::UidSearch => CommandBody::Search(Search::read(name == Name::UidSearch, c)?),
            Name::Fetch | Name::UidFetch => CommandBody::Fetch(Fetch::read(name == Name::UidFetch, c)?),
            Name::Store | Name::UidStore => CommandBody::Store(Store::read(name == Name::UidStore, c)?),
            Name::Copy | Name::UidCopy | Name::Move | Name::UidMove => {
                let set = SequenceSet::read(c)?;
                c.sp()?;
                let mailbox = MailboxName(c.astring()?);
                match name {
                    Name::Copy | Name::UidCopy => {
                        CommandBody::Copy { uid: name == Name::UidCopy, set, mailbox }
                    }
                    _ => CommandBody::Move { uid: name == Name::UidMove, set, mailbox },
                }
            }
            Name::Append => CommandBody::Append(Append::read(c)?),
            Name::List => CommandBody::List(ListCommand::read(c)?),
            _ => return Self::read_mailbox_command(name, c),
        })
    }

    /// Commands whose first argument is a mailbox name.
    fn read_mailbox_command(name: Name, c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let mailbox = MailboxName(c.astring()?);
        Ok(match name {
            Name::Select => CommandBody::Select { mailbox, params: SelectParams::read(c)? },
            Name::Examine => CommandBody::Examine { mailbox, params: SelectParams::read(c)? },
            Name::Create => CommandBody::Create { mailbox, uses: read_uses(c)? },
            Name::Delete => CommandBody::Delete(mailbox),
            Name::Subscribe => CommandBody::Subscribe(mailbox),
            Name::Unsubscribe => CommandBody::Unsubscribe(mailbox),
            Name::Rename => {
                c.sp()?;
                CommandBody::Rename { from: mailbox, to: MailboxName(c.astring()?) }
            }
            Name::Lsub => {
                c.sp()?;
                CommandBody::Lsub { reference: mailbox, pattern: c.list_mailbox()? }
            }
            Name::Status => {
                c.sp()?;
                CommandBody::Status { mailbox, items: List::read_some(c, STATUS_ITEMS_MAX)? }
            }
            _ => return Err(Fault::UnknownCommand),
        })
    }

    pub(super) fn emit_arguments(&self, e: &mut Emit<'_>) {
        match self {
            CommandBody::Capability
            | CommandBody::Noop
            | CommandBody::Logout
            | CommandBody::StartTls
            | CommandBody::Namespace
            | CommandBody::Idle
            | CommandBody::Check
            | CommandBody::Close
            | CommandBody::Unselect
            | CommandBody::Expunge => return,
            _ => e.push(b" "),
        }
        match self {
            CommandBody::Id(fields) => match fields {
                Some(fields) => fields.emit(e),
                None => e.push(b"NIL"),
            },
            CommandBody::Authenticate { mechanism, initial } => {
                e.push(mechanism.0.as_bytes());
                match initial {
                    None => {}
                    Some(Initial::Empty) => e.push(b" ="),
                    Some(Initial::Base64(text)) => {
                        e.push(b" ");
                        e.push(text);
                    }
                }
            }
            CommandBody::Login { user, password } => {
                e.astring(*user);
                e.push(b" ");
                e.astring(password.0);
            }
            CommandBody::Enable(names) => names.emit_bare(e),
            CommandBody::Compress(algorithm) => e.push(algorithm.0.as_bytes()),
            CommandBody::UidExpunge(set) => set.emit(e),
            CommandBody::Search(search) => search.emit(e),
            CommandBody::Fetch(fetch) => fetch.emit(e),
            CommandBody::Store(store) => store.emit(e),
            CommandBody::Copy { set, mailbox, .. } | CommandBody::Move { set, mailbox, .. } => {
                set.emit(e);
                e.push(b" ");
                e.astring(mailbox.0);
            }
            CommandBody::Append(append) => append.emit(e),
            CommandBody::List(list) => list.emit(e),
            _ => self.emit_mailbox_arguments(e),
        }
    }

    fn emit_mailbox_arguments(&self, e: &mut Emit<'_>) {
        match self {
            CommandBody::Select { mailbox, params } | CommandBody::Examine { mailbox, params } => {
                e.astring(mailbox.0);
                params.emit(e);
            }
            CommandBody::Create { mailbox, uses } => {
                e.astring(mailbox.0);
                if !uses.is_empty() {
                    e.push(b" (USE ");
                    uses.emit(e);
                    e.push(b")");
                }
            }
            CommandBody::Delete(mailbox)
            | CommandBody::Subscribe(mailbox)
            | CommandBody::Unsubscribe(mailbox) => e.astring(mailbox.0),
            CommandBody::Rename { from, to } => {
                e.astring(from.0);
                e.push(b" ");
                e.astring(to.0);
            }
            CommandBody::Lsub { reference, pattern } => {
                e.astring(reference.0);
                e.push(b" ");
                e.list_mailbox(*pattern);
            }
            CommandBody::Status { mailbox, items } => {
                e.astring(mailbox.0);
                e.push(b" ");
                items.emit(e);
            }
            _ => {}
        }
    }
}

/// Nothing, or `(USE (...))` (RFC 6154 §3).
fn read_uses<'b>(c: &mut Cursor<'b>) -> Result<List<'b, Attribute<'b>>, Fault> {
    if !c.eat(b' ') {
        return Ok(List::empty());
    }
    if !c.eat_text(b"(USE ") {
        return Err(Fault::Expected("USE or the end of the line"));
    }
    let uses = List::read(c, USES_MAX)?;
    c.expect(b')', "the end of the parameters of CREATE")?;
    Ok(uses)
}

impl<'b> Initial<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Option<Self>, Fault> {
        if !c.eat(b' ') {
            return Ok(None);
        }
        let text = c.rest();
        let is_base64 = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
        if text.is_empty() || !text.iter().all(is_base64) {
            return Err(Fault::Expected("an initial response in base64"));
        }
        c.take(text.len());
        Ok(Some(if text == b"=" { Initial::Empty } else { Initial::Base64(text) }))
    }
}
