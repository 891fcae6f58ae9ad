//! Strings of commands and responses, borrowed as they stand on the wire.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::list::Element;
use super::read::{Cursor, Fault};
use super::write::Emit;
use crate::utf7::{self, BadName};

/// The content of an atom, a quoted string or a literal. Compares by content, however it was sent.
#[derive(Clone, Copy, Default)]
pub struct Text<'b> {
    raw: &'b [u8],
    /// `raw` holds `\"` and `\\` as a quoted string writes them.
    escaped: bool,
}

impl<'b> Text<'b> {
    /// A string with this content.
    pub const fn new(content: &'b [u8]) -> Self {
        Text { raw: content, escaped: false }
    }

    /// The inside of a quoted string in which every `\` is followed by `"` or `\`.
    pub(super) const fn from_escaped(raw: &'b [u8]) -> Self {
        Text { raw, escaped: true }
    }

    /// The content octet by octet, without allocating.
    pub fn octets(self) -> impl Iterator<Item = u8> + Clone + use<'b> {
        let mut behind_backslash = false;
        self.raw.iter().copied().filter(move |&b| {
            let escape = self.escaped && b == b'\\' && !behind_backslash;
            behind_backslash = escape;
            !escape
        })
    }

    /// The content; copied only when it holds escapes.
    pub fn bytes(self) -> Cow<'b, [u8]> {
        if self.escaped { Cow::Owned(self.octets().collect()) } else { Cow::Borrowed(self.raw) }
    }

    /// The content as UTF-8; `None` when it is not.
    pub fn to_str(self) -> Option<Cow<'b, str>> {
        match self.bytes() {
            Cow::Borrowed(bytes) => core::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        }
    }

    /// The content when no copy is needed for it: anything but a quoted string with escapes.
    pub fn as_bytes(self) -> Option<&'b [u8]> {
        (!self.escaped).then_some(self.raw)
    }

    /// Length of the content in octets.
    pub fn len(self) -> usize {
        if self.escaped { self.octets().count() } else { self.raw.len() }
    }

    /// Whether the content is empty.
    pub fn is_empty(self) -> bool {
        self.raw.is_empty()
    }

    /// Compares with ASCII letters in any case.
    pub fn eq_ignore_ascii_case(self, other: &[u8]) -> bool {
        if self.escaped {
            self.octets().map(|b| b.to_ascii_lowercase()).eq(other.iter().map(u8::to_ascii_lowercase))
        } else {
            self.raw.eq_ignore_ascii_case(other)
        }
    }

    /// A copy of the content.
    pub fn to_vec(self) -> Vec<u8> {
        self.bytes().into_owned()
    }

    pub(super) fn raw(self) -> (&'b [u8], bool) {
        (self.raw, self.escaped)
    }
}

impl<'b> From<&'b str> for Text<'b> {
    fn from(s: &'b str) -> Self {
        Text::new(s.as_bytes())
    }
}

impl<'b> From<&'b [u8]> for Text<'b> {
    fn from(s: &'b [u8]) -> Self {
        Text::new(s)
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        if self.escaped || other.escaped { self.octets().eq(other.octets()) } else { self.raw == other.raw }
    }
}

impl Eq for Text<'_> {}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.bytes().escape_ascii())
    }
}

impl<'b> Element<'b> for Text<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        c.astring()
    }
    fn emit(&self, e: &mut Emit<'_>) {
        e.astring(*self);
    }
}

/// A mailbox name as it stands on the wire; decoded when [`MailboxName::decode`] is asked.
///
/// Two names are equal when their octets are: `Entw&APw-rfe` and `Entwürfe` are not, INBOX and inbox are.
#[derive(Clone, Copy, Debug, Default, Eq)]
pub struct MailboxName<'b>(pub Text<'b>);

impl<'b> MailboxName<'b> {
    /// A name from its octets on the wire.
    pub const fn new(octets: &'b [u8]) -> Self {
        MailboxName(Text::new(octets))
    }

    /// Whether this is INBOX, in any letter case (RFC 9051 §5.1).
    pub fn is_inbox(self) -> bool {
        self.0.eq_ignore_ascii_case(b"INBOX")
    }

    /// The name in UTF-8: read as UTF-8 when `utf8` (IMAP4rev2 or UTF8=ACCEPT was enabled), as modified
    /// UTF-7 otherwise (RFC 3501 §5.1.3). INBOX in any letter case becomes `INBOX`. Copies only what is
    /// encoded or escaped. Neither NFC nor lengths are looked at here.
    pub fn decode(self, utf8: bool) -> Result<Cow<'b, str>, BadName> {
        if self.is_inbox() {
            return Ok(Cow::Borrowed("INBOX"));
        }
        match self.0.bytes() {
            Cow::Borrowed(octets) => decode_octets(octets, utf8),
            Cow::Owned(octets) => decode_octets(&octets, utf8).map(|name| Cow::Owned(name.into_owned())),
        }
    }
}

fn decode_octets(octets: &[u8], utf8: bool) -> Result<Cow<'_, str>, BadName> {
    if utf8 {
        let name = core::str::from_utf8(octets).map_err(|_| BadName)?;
        if name.chars().any(char::is_control) { Err(BadName) } else { Ok(Cow::Borrowed(name)) }
    } else {
        utf7::decode(octets)
    }
}

impl PartialEq for MailboxName<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0 || self.is_inbox() && other.is_inbox()
    }
}

impl<'b> From<&'b str> for MailboxName<'b> {
    fn from(s: &'b str) -> Self {
        MailboxName(s.into())
    }
}

impl<'b> Element<'b> for MailboxName<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        c.astring().map(MailboxName)
    }
    fn emit(&self, e: &mut Emit<'_>) {
        e.astring(self.0);
    }
}

/// A password as LOGIN carries it: `Debug` shows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret<'b>(pub Text<'b>);

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A string in a list: quoted or a literal, never an atom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Str<'b>(pub Text<'b>);

impl<'b> Element<'b> for Str<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        c.string().map(Str)
    }
    fn emit(&self, e: &mut Emit<'_>) {
        e.string(self.0);
    }
}
