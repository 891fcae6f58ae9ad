//! Flags and mailbox attributes.

use super::list::Element;
use super::read::{Cursor, Fault};
use super::write::Emit;

/// A message flag (RFC 9051 §2.3.2). Keywords compare without letter case.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Flag<'b> {
    Seen,
    Answered,
    Flagged,
    Deleted,
    Draft,
    /// Read-only, and gone in IMAP4rev2.
    Recent,
    /// `\*` in PERMANENTFLAGS: new keywords can be made.
    Wildcard,
    /// A keyword: an atom without a backslash.
    Keyword(&'b str),
    /// A system flag unknown here, without its backslash.
    Extension(&'b str),
}

impl PartialEq for Flag<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Flag::Keyword(a), Flag::Keyword(b)) | (Flag::Extension(a), Flag::Extension(b)) => {
                a.eq_ignore_ascii_case(b)
            }
            _ => core::mem::discriminant(self) == core::mem::discriminant(other),
        }
    }
}

impl Eq for Flag<'_> {}

/// The system flags by name, without the backslash.
const SYSTEM: [(&str, Flag<'static>); 6] = [
    ("Seen", Flag::Seen),
    ("Answered", Flag::Answered),
    ("Flagged", Flag::Flagged),
    ("Deleted", Flag::Deleted),
    ("Draft", Flag::Draft),
    ("Recent", Flag::Recent),
];

impl<'b> Element<'b> for Flag<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        if !c.eat(b'\\') {
            return c.atom().map(Flag::Keyword);
        }
        if c.eat(b'*') {
            return Ok(Flag::Wildcard);
        }
        let name = c.atom()?;
        let known = SYSTEM.iter().find(|(system, _)| system.eq_ignore_ascii_case(name));
        Ok(known.map_or(Flag::Extension(name), |(_, flag)| *flag))
    }

    fn emit(&self, e: &mut Emit<'_>) {
        match self {
            Flag::Keyword(word) => return e.push(word.as_bytes()),
            Flag::Wildcard => return e.push(b"\\*"),
            _ => e.push(b"\\"),
        }
        match self {
            Flag::Extension(name) => e.push(name.as_bytes()),
            _ => {
                if let Some((name, _)) = SYSTEM.iter().find(|(_, flag)| flag == self) {
                    e.push(name.as_bytes());
                }
            }
        }
    }
}

/// Attributes of RFC 6154 §2: what a mailbox is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SpecialUse {
    All,
    Archive,
    Drafts,
    Flagged,
    Junk,
    Sent,
    Trash,
    /// RFC 8457 §4.
    Important,
}

const USES: [(&str, SpecialUse); 8] = [
    ("All", SpecialUse::All),
    ("Archive", SpecialUse::Archive),
    ("Drafts", SpecialUse::Drafts),
    ("Flagged", SpecialUse::Flagged),
    ("Junk", SpecialUse::Junk),
    ("Sent", SpecialUse::Sent),
    ("Trash", SpecialUse::Trash),
    ("Important", SpecialUse::Important),
];

impl SpecialUse {
    /// The attribute's name without its backslash.
    pub fn name(self) -> &'static str {
        USES.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }

    /// The attribute of that name, in any letter case.
    pub fn from_name(name: &str) -> Option<Self> {
        USES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, u)| *u)
    }
}

/// What stands in CREATE's `USE (...)` and in LIST responses: attributes by name.
///
/// In CREATE an attribute that is not a special use stays a name, so that the server can answer
/// `NO [USEATTR]` (RFC 6154 §3).
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'b>(pub &'b str);

impl Attribute<'_> {
    /// The special use it names.
    pub fn special_use(self) -> Option<SpecialUse> {
        SpecialUse::from_name(self.0)
    }
}

impl PartialEq for Attribute<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }
}

impl Eq for Attribute<'_> {}

impl<'b> Element<'b> for Attribute<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        c.expect(b'\\', "an attribute")?;
        c.atom().map(Attribute)
    }
    fn emit(&self, e: &mut Emit<'_>) {
        e.push(b"\\");
        e.push(self.0.as_bytes());
    }
}
