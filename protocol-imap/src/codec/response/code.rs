//! Response codes (RFC 9051 §7.1 and the extensions cited).

use super::super::flag::Flag;
use super::super::list::{Atom, List};
use super::super::text::Text;
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
    /// The charsets that are supported, when told.
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
