//! What a driver is asked to do, with names decoded and checked, and sets resolved.

use alloc::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::{IsNormalized, is_nfc_quick};

use super::FlagBits;
use super::fetch::Fetching;
use super::limits::{KEYWORD_MAX, LEVEL_MAX, NAME_MAX};
use super::list::{Listing, StatusQuery};
use super::reason::{Bad, No};
use super::search::Searching;
use super::session::Refused;
use crate::codec::{Flag, List, MailboxName, SpecialUse, Store, StoreOp};

/// A command that needs the mail store. Complete the [`Running`](super::Running) that came with it: with the
/// method named here, or with [`Running::no`](super::Running::no).
///
/// Requests about messages name them as [`ServerSession::targets`](super::ServerSession::targets). Before
/// completing anything, pass in what changed in the selected folder
/// ([`ServerSession::mailbox_changed`](super::ServerSession::mailbox_changed)): what the client did itself must
/// be seen by its next command.
#[derive(Clone, Debug)]
pub enum Request<'b> {
    /// NOOP or CHECK: `ok`.
    Noop,
    /// SELECT or EXAMINE: `selected`. The folder selected before is left: forget it, whatever comes.
    Select {
        /// The folder.
        name: Cow<'b, str>,
        /// EXAMINE.
        read_only: bool,
    },
    /// CREATE: `ok`.
    Create {
        /// The new folder's name.
        name: Cow<'b, str>,
        /// The special use it is to have (RFC 6154 §3).
        special_use: Option<SpecialUse>,
    },
    /// DELETE: `ok`.
    Delete {
        /// The folder.
        name: Cow<'b, str>,
    },
    /// RENAME: `ok`.
    Rename {
        /// The folder.
        from: Cow<'b, str>,
        /// Its new name.
        to: Cow<'b, str>,
    },
    /// SUBSCRIBE or UNSUBSCRIBE: `ok`.
    Subscribe {
        /// The name; a folder need not exist.
        name: Cow<'b, str>,
        /// SUBSCRIBE.
        on: bool,
    },
    /// LIST or LSUB: `listed`.
    List(Listing<'b>),
    /// STATUS: `status`.
    Status {
        /// The folder.
        name: Cow<'b, str>,
        /// What is asked.
        query: StatusQuery<'b>,
    },
    /// CLOSE: remove what carries `\Deleted` when `expunge`, tell nothing, forget the folder, `ok`.
    Close {
        /// False when the folder is read-only.
        expunge: bool,
    },
    /// UNSELECT: forget the folder, `ok`.
    Unselect,
    /// EXPUNGE (all messages are targets) or UID EXPUNGE: remove those of the targets that carry `\Deleted`,
    /// `expunged`.
    Expunge,
    /// SEARCH: `searched`.
    Search(Searching<'b>),
    /// FETCH: `fetched`.
    Fetch(Fetching<'b>),
    /// STORE: `stored`.
    Store(Storing<'b>),
    /// COPY: `copied`.
    Copy {
        /// The destination.
        to: Cow<'b, str>,
    },
    /// MOVE: `moved`.
    Move {
        /// The destination.
        to: Cow<'b, str>,
    },
}

/// STORE.
#[derive(Clone, Copy, Debug)]
pub struct Storing<'b> {
    pub(super) store: Store<'b>,
}

impl<'b> Storing<'b> {
    /// Add, remove or replace.
    pub fn op(&self) -> StoreOp {
        self.store.op
    }

    /// The system flags among the flags.
    pub fn system(&self) -> FlagBits {
        system_flags(self.store.flags)
    }

    /// The keywords among the flags, as the client wrote them.
    pub fn keywords(&self) -> impl Iterator<Item = &'b str> + use<'b> {
        keywords(self.store.flags)
    }

    /// No FETCH responses are wanted; [`ServerSession::stored_row`](super::ServerSession::stored_row) knows.
    pub fn is_silent(&self) -> bool {
        self.store.silent
    }

    /// Only messages whose modification sequence is at most this (RFC 7162 §3.1.3).
    pub fn unchanged_since(&self) -> Option<u64> {
        self.store.unchanged_since
    }
}

/// The system flags in a list.
pub(super) fn system_flags(flags: List<'_, Flag<'_>>) -> FlagBits {
    flags.iter().fold(FlagBits(0), |bits, flag| {
        bits.union(match flag {
            Flag::Seen => FlagBits::SEEN,
            Flag::Answered => FlagBits::ANSWERED,
            Flag::Flagged => FlagBits::FLAGGED,
            Flag::Deleted => FlagBits::DELETED,
            Flag::Draft => FlagBits::DRAFT,
            _ => FlagBits(0),
        })
    })
}

/// The keywords in a list.
pub(super) fn keywords<'b>(flags: List<'b, Flag<'b>>) -> impl Iterator<Item = &'b str> + use<'b> {
    flags.iter().filter_map(|flag| match flag {
        Flag::Keyword(word) => Some(word),
        _ => None,
    })
}

/// Flags that a client may set: `\Recent` is the server's (and passed over), others with a backslash are
/// unknown.
pub(super) fn check_flags(flags: List<'_, Flag<'_>>) -> Result<(), Refused> {
    for flag in flags.iter() {
        match flag {
            Flag::Wildcard | Flag::Extension(_) => return Err(Bad::Flag.into()),
            Flag::Keyword(word) if word.len() > KEYWORD_MAX => return Err(No::Limit.into()),
            _ => {}
        }
    }
    Ok(())
}

/// What a name is for: which names are good depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Of a folder to be made: a `/` at its end says that levels below will follow (RFC 9051 §6.3.4).
    Create,
    /// Of a folder that should be there.
    Find,
}

/// First levels that belong to namespaces of others.
const RESERVED: [&str; 2] = ["Shared", "Users"];

/// The name in UTF-8, in normal form C, within the limits.
pub(super) fn mailbox<'b>(
    name: MailboxName<'b>,
    utf8: bool,
    purpose: Purpose,
) -> Result<Cow<'b, str>, Refused> {
    let name = name.decode(utf8).map_err(|_| Bad::Name)?;
    let name = normal_form(name);
    let refusal = match purpose {
        Purpose::Create => No::Cannot,
        Purpose::Find => No::NonExistent,
    };
    let name = match purpose {
        Purpose::Create if name.ends_with('/') => Cow::Owned(name.trim_end_matches('/').into()),
        _ => name,
    };
    let levels_are_good = name.split('/').all(|level| !level.is_empty() && level.len() <= LEVEL_MAX);
    let reserved = purpose == Purpose::Create
        && name.split('/').next().is_some_and(|first| RESERVED.iter().any(|r| r.eq_ignore_ascii_case(first)));
    if name.len() > NAME_MAX || !levels_are_good || reserved || name.chars().any(char::is_control) {
        return Err(refusal.into());
    }
    // A first level that is INBOX in another letter case would be a second INBOX to most clients.
    match name.split_once('/') {
        Some((first, below)) if first != "INBOX" && first.eq_ignore_ascii_case("INBOX") => {
            Ok(Cow::Owned(alloc::format!("INBOX/{below}")))
        }
        _ => Ok(name),
    }
}

/// Normal form C; copies only what is not in it.
pub(super) fn normal_form(name: Cow<'_, str>) -> Cow<'_, str> {
    match is_nfc_quick(name.chars()) {
        IsNormalized::Yes => name,
        _ => Cow::Owned(name.nfc().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn named(octets: &[u8], utf8: bool, purpose: Purpose) -> Result<String, Refused> {
        mailbox(MailboxName::new(octets), utf8, purpose).map(Cow::into_owned)
    }

    #[test]
    fn names_are_decoded_and_normalised() {
        for (octets, utf8, expected) in [
            (&b"inbox"[..], false, "INBOX"),
            (b"Inbox/Sub", false, "INBOX/Sub"),
            (b"Entw&APw-rfe", false, "Entw\u{fc}rfe"),
            ("Entwu\u{308}rfe".as_bytes(), true, "Entw\u{fc}rfe"),
            (b"a&-b", false, "a&b"),
        ] {
            assert_eq!(named(octets, utf8, Purpose::Find).unwrap(), expected);
        }
        assert_eq!(named(b"a/b/", false, Purpose::Create).unwrap(), "a/b");
    }

    #[test]
    fn names_that_can_not_be_are_refused() {
        assert_eq!(named(b"a&b", false, Purpose::Find), Err(Bad::Name.into()));
        for name in ["", "/", "a//b", "/a", "Shared/x", "users"] {
            assert_eq!(named(name.as_bytes(), true, Purpose::Create), Err(No::Cannot.into()), "{name}");
        }
        assert_eq!(named(b"a/", true, Purpose::Find), Err(No::NonExistent.into()));
    }

    #[test]
    fn levels_and_names_at_their_limits_and_past_them() {
        let level = "x".repeat(LEVEL_MAX);
        assert!(named(level.as_bytes(), true, Purpose::Create).is_ok());
        assert!(named([level.as_bytes(), b"x"].concat().as_slice(), true, Purpose::Create).is_err());
        let mut name = String::new();
        while name.len() < NAME_MAX {
            name.push_str("x/");
        }
        name.pop();
        name.push('x');
        assert_eq!(name.len(), NAME_MAX);
        assert!(named(name.as_bytes(), true, Purpose::Create).is_ok());
        name.push('x');
        assert!(named(name.as_bytes(), true, Purpose::Create).is_err());
    }
}
