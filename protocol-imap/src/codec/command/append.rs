//! APPEND. The message is a literal that is never held whole: a command is read up to its announcement.

use super::super::date::DateTime;
use super::super::flag::Flag;
use super::super::list::List;
use super::super::read::{Cursor, Fault};
use super::super::text::MailboxName;
use super::super::write::Emit;
use super::store::{FLAGS_MAX, settable};

/// APPEND up to the announcement of its (first) message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Append<'b> {
    /// Where to.
    pub mailbox: MailboxName<'b>,
    /// The message whose literal follows.
    pub message: AppendMessage<'b>,
}

/// What stands before a message literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendMessage<'b> {
    /// Flags to set.
    pub flags: List<'b, Flag<'b>>,
    /// INTERNALDATE to set.
    pub date: Option<DateTime>,
    /// Octets of the message.
    pub size: u64,
    /// Announced as literal8 (RFC 3516 §4.4): the message may hold NUL.
    pub binary: bool,
    /// Announced inside `UTF8 (...)` (RFC 6855 §4).
    pub utf8: bool,
    /// Announced as non-synchronising: the octets come without a continuation (RFC 7888).
    pub non_sync: bool,
}

impl<'b> Append<'b> {
    /// Behind the command's name and a space, up to and with the announcement of the message; its line end
    /// may stand behind it.
    pub(super) fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let mailbox = MailboxName(c.astring()?);
        c.sp()?;
        let message = AppendMessage::read(c)?;
        Ok(Append { mailbox, message })
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        e.astring(self.mailbox.0);
        e.push(b" ");
        self.message.emit(e);
    }
}

impl<'b> AppendMessage<'b> {
    /// Reads what stands between two messages of one APPEND (RFC 3502): the end of the first, a space, and
    /// all up to the announcement of the second, with or without its CRLF.
    pub fn parse_next(octets: &'b [u8]) -> Result<Self, Fault> {
        let mut c = Cursor::new(octets, true);
        c.eat(b')');
        c.sp()?;
        let message = AppendMessage::read(&mut c)?;
        c.end()?;
        Ok(message)
    }

    pub(super) fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let mut flags = List::empty();
        if c.peek() == Some(b'(') {
            flags = settable(List::read(c, FLAGS_MAX)?)?;
            c.sp()?;
        }
        let mut date = None;
        if c.peek() == Some(b'"') {
            date = Some(DateTime::read(c)?);
            c.sp()?;
        }
        let utf8 = c.eat_text(b"UTF8 (");
        let binary = c.eat(b'~');
        if utf8 && !binary {
            // RFC 6855 §4: the message in UTF8 (...) is a literal8.
            return Err(Fault::Expected("a literal8"));
        }
        c.expect(b'{', "a literal with the message")?;
        let size = c.number64()?;
        let non_sync = c.eat(b'+');
        c.expect(b'}', "the end of a literal's length")?;
        c.eat_text(b"\r\n");
        Ok(AppendMessage { flags, date, size, binary, utf8, non_sync })
    }

    /// Up to the announcement and its line end; the octets, the parenthesis of `UTF8 (` and the line end of
    /// the command are the caller's to write.
    fn emit(&self, e: &mut Emit<'_>) {
        if !self.flags.is_empty() {
            self.flags.emit(e);
            e.push(b" ");
        }
        if let Some(date) = self.date {
            date.emit(e);
            e.push(b" ");
        }
        if self.utf8 {
            e.push(b"UTF8 (");
        }
        e.push(if self.binary { b"~{" } else { b"{" });
        e.number(self.size);
        e.push(if self.non_sync { b"+}\r\n" } else { b"}\r\n" });
    }
}
