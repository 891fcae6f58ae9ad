//! Command names and their properties, in one table.
//!
//! The server reads from it where a command is legal and when EXPUNGE may be sent (RFC 9051 §5.5, §7.5.1),
//! so a new command is added here and nowhere is its name spelled again.

/// Session states in which a command is legal: a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States(pub u8);

#[allow(missing_docs)]
impl States {
    pub const NOT_AUTHENTICATED: States = States(1);
    pub const AUTHENTICATED: States = States(2);
    pub const SELECTED: States = States(4);
    /// RFC 9051 §6.1: any state.
    pub const ANY: States = States(7);
    /// Authenticated or selected.
    pub const LOGGED_IN: States = States(6);

    /// Whether all of `state` is in the set.
    pub const fn contains(self, state: States) -> bool {
        self.0 & state.0 == state.0
    }
}

/// What a command does to message numbers, and to what is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Where it is legal.
    pub states: States,
    /// Its arguments or its untagged responses are message numbers, and it is no UID command: no EXPUNGE may
    /// be sent while it runs (RFC 9051 §7.5.1). In a pipeline it must not stand behind a command that
    /// breaks numbers.
    pub uses_numbers: bool,
    /// Others' and its own EXPUNGE may come while it runs.
    pub breaks_numbers: bool,
    /// It selects or leaves a mailbox: what was pending for the old one is void.
    pub changes_mailbox: bool,
    /// Its line holds a secret: it is not logged and is wiped from the buffer.
    pub secret: bool,
}

/// A word in capitals as one number, so that a name is found by comparing numbers. Longer words than any name's are
/// all the same, and no name's.
#[inline(always)]
const fn number(word: &[u8]) -> u128 {
    let (mut number, mut i) = (1, 0);
    if word.len() > 15 {
        return 0;
    }
    while i < word.len() {
        number = number << 8 | word[i].to_ascii_uppercase() as u128;
        i += 1;
    }
    number
}

macro_rules! table {
    ($($(#[$doc:meta])* $variant:ident $name:literal $states:ident [$($property:ident)*];)*) => {
        /// The name of a command. UID commands have names of their own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Name { $($(#[$doc])* $variant,)* }

        #[allow(non_upper_case_globals)]
        mod numbers {
            $(pub(super) const $variant: u128 = super::number($name.as_bytes());)*
        }

        /// All names.
        pub const NAMES: &[Name] = &[$(Name::$variant,)*];

        impl Name {
            /// As it is written, in capitals.
            pub const fn as_str(self) -> &'static str {
                match self { $(Name::$variant => $name,)* }
            }

            /// The name written so, in any case.
            pub(super) fn from_word(word: &[u8]) -> Option<Name> {
                match number(word) {
                    $(numbers::$variant => Some(Name::$variant),)*
                    _ => None,
                }
            }

            /// What it does.
            pub const fn properties(self) -> Properties {
                match self {
                    $(Name::$variant => Properties { $($property: true,)* ..plain(States::$states) },)*
                }
            }
        }
    };
}

const fn plain(states: States) -> Properties {
    Properties { states, uses_numbers: false, breaks_numbers: false, changes_mailbox: false, secret: false }
}

table! {
    Capability "CAPABILITY" ANY [breaks_numbers];
    Noop "NOOP" ANY [breaks_numbers];
    Logout "LOGOUT" ANY [changes_mailbox];
    Id "ID" ANY [breaks_numbers];
    StartTls "STARTTLS" NOT_AUTHENTICATED [];
    Authenticate "AUTHENTICATE" NOT_AUTHENTICATED [secret];
    Login "LOGIN" NOT_AUTHENTICATED [secret];
    Enable "ENABLE" LOGGED_IN [breaks_numbers];
    Select "SELECT" LOGGED_IN [changes_mailbox];
    Examine "EXAMINE" LOGGED_IN [changes_mailbox];
    Create "CREATE" LOGGED_IN [breaks_numbers];
    Delete "DELETE" LOGGED_IN [breaks_numbers];
    Rename "RENAME" LOGGED_IN [breaks_numbers];
    Subscribe "SUBSCRIBE" LOGGED_IN [breaks_numbers];
    Unsubscribe "UNSUBSCRIBE" LOGGED_IN [breaks_numbers];
    List "LIST" LOGGED_IN [breaks_numbers];
    Lsub "LSUB" LOGGED_IN [breaks_numbers];
    Namespace "NAMESPACE" LOGGED_IN [breaks_numbers];
    Status "STATUS" LOGGED_IN [breaks_numbers];
    Append "APPEND" LOGGED_IN [breaks_numbers];
    Idle "IDLE" LOGGED_IN [breaks_numbers];
    Compress "COMPRESS" LOGGED_IN [breaks_numbers];
    Check "CHECK" SELECTED [breaks_numbers];
    Close "CLOSE" SELECTED [changes_mailbox];
    Unselect "UNSELECT" SELECTED [changes_mailbox];
    Expunge "EXPUNGE" SELECTED [breaks_numbers];
    UidExpunge "UID EXPUNGE" SELECTED [breaks_numbers];
    Search "SEARCH" SELECTED [uses_numbers];
    UidSearch "UID SEARCH" SELECTED [breaks_numbers];
    Fetch "FETCH" SELECTED [uses_numbers];
    UidFetch "UID FETCH" SELECTED [breaks_numbers];
    Store "STORE" SELECTED [uses_numbers];
    UidStore "UID STORE" SELECTED [breaks_numbers];
    Copy "COPY" SELECTED [uses_numbers];
    UidCopy "UID COPY" SELECTED [breaks_numbers];
    Move "MOVE" SELECTED [uses_numbers breaks_numbers];
    UidMove "UID MOVE" SELECTED [breaks_numbers];
}
