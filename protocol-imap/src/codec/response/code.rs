//! Response codes (RFC 9051 §7.1 and the extensions cited).

use super::super::flag::Flag;
use super::super::list::{Atom, List};
use super::super::read::{Cursor, Fault, Upper};
use super::super::text::Text;
use super::super::write::Emit;
use super::untagged::RESPONSE_LIST_MAX;
use crate::set::SequenceSet;

/// What stands in brackets at the beginning of a status text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Code<'b> {
    Alert,
    AlreadyExists,
    /// RFC 4315 §3: UIDVALIDITY and the UIDs given.
    AppendUid {
        uid_validity: u32,
        uids: SequenceSet<'b>,
    },
    AuthenticationFailed,
    AuthorizationFailed,
    /// The charsets that are supported, when told. None of their names holds `]`.
    BadCharset(List<'b, Text<'b>>),
    Cannot,
    Capability(List<'b, Atom<'b>>),
    ClientBug,
    /// RFC 7162 §3.2.11: the mailbox that was selected is closed.
    Closed,
    /// RFC 4978 §3.
    CompressionActive,
    ContactAdmin,
    /// RFC 4315 §3: UIDVALIDITY of the destination, UIDs here and there, in the same order.
    CopyUid {
        uid_validity: u32,
        from: SequenceSet<'b>,
        to: SequenceSet<'b>,
    },
    Corruption,
    Expired,
    ExpungeIssued,
    HasChildren,
    /// RFC 7162 §3.1.2.1.
    HighestModSeq(u64),
    InUse,
    Limit,
    /// RFC 7162 §3.1.3: numbers or UIDs that STORE with UNCHANGEDSINCE did not change.
    Modified(SequenceSet<'b>),
    /// RFC 7162 §3.1.2.2.
    NoModSeq,
    NonExistent,
    NoPerm,
    /// RFC 5182 §2.1.
    NotSaved,
    OverQuota,
    Parse,
    PermanentFlags(List<'b, Flag<'b>>),
    PrivacyRequired,
    ReadOnly,
    ReadWrite,
    ServerBug,
    /// RFC 7889 §4 and RFC 9051 §7.1.
    TooBig,
    TryCreate,
    UidNext(u32),
    UidNotSticky,
    UidValidity(u32),
    Unavailable,
    UnknownCte,
    /// RFC 3501 §7.1: the first unseen message's number.
    Unseen(u32),
    /// RFC 6154 §3.
    UseAttr,
    /// A code unknown here.
    Other {
        name: Atom<'b>,
        text: Option<Text<'b>>,
    },
}

/// Codes without arguments, by name.
const PLAIN: [(&str, Code<'static>); 33] = [
    ("ALERT", Code::Alert),
    ("ALREADYEXISTS", Code::AlreadyExists),
    ("AUTHENTICATIONFAILED", Code::AuthenticationFailed),
    ("AUTHORIZATIONFAILED", Code::AuthorizationFailed),
    ("BADCHARSET", Code::BadCharset(List::empty())),
    ("CANNOT", Code::Cannot),
    ("CLIENTBUG", Code::ClientBug),
    ("CLOSED", Code::Closed),
    ("COMPRESSIONACTIVE", Code::CompressionActive),
    ("CONTACTADMIN", Code::ContactAdmin),
    ("CORRUPTION", Code::Corruption),
    ("EXPIRED", Code::Expired),
    ("EXPUNGEISSUED", Code::ExpungeIssued),
    ("HASCHILDREN", Code::HasChildren),
    ("INUSE", Code::InUse),
    ("LIMIT", Code::Limit),
    ("NOMODSEQ", Code::NoModSeq),
    ("NONEXISTENT", Code::NonExistent),
    ("NOPERM", Code::NoPerm),
    ("NOTSAVED", Code::NotSaved),
    ("OVERQUOTA", Code::OverQuota),
    ("PARSE", Code::Parse),
    ("PRIVACYREQUIRED", Code::PrivacyRequired),
    ("READ-ONLY", Code::ReadOnly),
    ("READ-WRITE", Code::ReadWrite),
    ("SERVERBUG", Code::ServerBug),
    ("TOOBIG", Code::TooBig),
    ("TRYCREATE", Code::TryCreate),
    ("UIDNOTSTICKY", Code::UidNotSticky),
    ("UNAVAILABLE", Code::Unavailable),
    ("UNKNOWN-CTE", Code::UnknownCte),
    ("USEATTR", Code::UseAttr),
    ("CAPABILITY", Code::Capability(List::empty())),
];

impl<'b> Code<'b> {
    /// Its name in capitals.
    pub fn name(&self) -> &'b str {
        match self {
            Code::AppendUid { .. } => "APPENDUID",
            Code::CopyUid { .. } => "COPYUID",
            Code::HighestModSeq(_) => "HIGHESTMODSEQ",
            Code::Modified(_) => "MODIFIED",
            Code::PermanentFlags(_) => "PERMANENTFLAGS",
            Code::UidNext(_) => "UIDNEXT",
            Code::UidValidity(_) => "UIDVALIDITY",
            Code::Unseen(_) => "UNSEEN",
            Code::Other { name, .. } => name.0,
            _ => {
                let same = |code: &Code<'_>| core::mem::discriminant(code) == core::mem::discriminant(self);
                PLAIN.iter().find(|(_, code)| same(code)).map_or("", |(name, _)| name)
            }
        }
    }

    /// Behind `[`, up to and with the first `]`: no name of a flag, capability or charset holds one, and so it
    /// is never in doubt where the text begins. A code whose arguments are not as its RFC says comes as
    /// [`Code::Other`]: a client must not stumble over a code.
    pub(super) fn read(behind: &mut Cursor<'b>) -> Result<Self, Fault> {
        let len = memchr::memchr(b']', behind.rest()).ok_or(Fault::Expected("a closing bracket"))?;
        let mut c = Cursor::new(behind.take(len).unwrap_or_default(), true);
        behind.eat(b']');
        let name = c.atom()?;
        let upper = Upper::of(name.as_bytes());
        if c.is_empty() {
            let known = PLAIN.iter().find(|(known, _)| known.as_bytes() == upper.as_bytes());
            return Ok(known.map_or(Code::Other { name: Atom(name), text: None }, |(_, code)| *code));
        }
        c.sp()?;
        let text = c.rest();
        match Self::read_arguments(upper.as_bytes(), &mut c) {
            Ok(code) if c.is_empty() => Ok(code),
            _ => Ok(Code::Other { name: Atom(name), text: Some(Text::new(text)) }),
        }
    }

    fn read_arguments(name: &[u8], c: &mut Cursor<'b>) -> Result<Self, Fault> {
        Ok(match name {
            b"APPENDUID" => {
                let uid_validity = c.nz_number()?;
                c.sp()?;
                Code::AppendUid { uid_validity, uids: SequenceSet::read(c)? }
            }
            b"COPYUID" => {
                let uid_validity = c.nz_number()?;
                c.sp()?;
                let from = SequenceSet::read(c)?;
                c.sp()?;
                Code::CopyUid { uid_validity, from, to: SequenceSet::read(c)? }
            }
            b"BADCHARSET" => Code::BadCharset(List::read_some(c, RESPONSE_LIST_MAX)?),
            b"CAPABILITY" => Code::Capability(List::read_bare(c, RESPONSE_LIST_MAX)?),
            b"HIGHESTMODSEQ" => Code::HighestModSeq(c.number64()?),
            b"MODIFIED" => Code::Modified(SequenceSet::read(c)?),
            b"PERMANENTFLAGS" => Code::PermanentFlags(List::read(c, RESPONSE_LIST_MAX)?),
            b"UIDNEXT" => Code::UidNext(c.nz_number()?),
            b"UIDVALIDITY" => Code::UidValidity(c.nz_number()?),
            b"UNSEEN" => Code::Unseen(c.nz_number()?),
            _ => return Err(Fault::Expected("a response code that is known here")),
        })
    }

    /// Without the brackets.
    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        e.push(self.name().as_bytes());
        match self {
            Code::AppendUid { uid_validity, uids } => {
                e.push(b" ");
                e.number(u64::from(*uid_validity));
                e.push(b" ");
                uids.emit(e);
            }
            Code::CopyUid { uid_validity, from, to } => {
                e.push(b" ");
                e.number(u64::from(*uid_validity));
                e.push(b" ");
                from.emit(e);
                e.push(b" ");
                to.emit(e);
            }
            Code::BadCharset(charsets) if !charsets.is_empty() => {
                e.push(b" ");
                charsets.emit(e);
            }
            Code::Capability(names) if !names.is_empty() => {
                e.push(b" ");
                names.emit_bare(e);
            }
            Code::PermanentFlags(flags) => {
                e.push(b" ");
                flags.emit(e);
            }
            Code::Modified(set) => {
                e.push(b" ");
                set.emit(e);
            }
            Code::HighestModSeq(n) => {
                e.push(b" ");
                e.number(*n);
            }
            Code::UidNext(n) | Code::UidValidity(n) | Code::Unseen(n) => {
                e.push(b" ");
                e.number(u64::from(*n));
            }
            Code::Other { text: Some(text), .. } => {
                e.push(b" ");
                e.text(*text);
            }
            _ => {}
        }
    }
}
