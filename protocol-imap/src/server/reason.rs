//! Every text and response code that a session can send for a reason: one table each.

use protocol_core::SendBuf;

macro_rules! reasons {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident $code:literal $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type { $($(#[$variant_doc])* $variant,)* }

        impl $type {
            /// All of them.
            pub const ALL: &'static [$type] = &[$($type::$variant,)*];

            /// The response code, without brackets; empty for none.
            pub const fn code(self) -> &'static str {
                match self { $($type::$variant => $code,)* }
            }

            /// The text for people.
            pub const fn text(self) -> &'static str {
                match self { $($type::$variant => $text,)* }
            }

            /// `[CODE] text` and the line end.
            pub(super) fn write(self, out: &mut SendBuf) {
                if !self.code().is_empty() {
                    out.push(b"[");
                    out.push(self.code().as_bytes());
                    out.push(b"] ");
                }
                out.push(self.text().as_bytes());
                out.push(b"\r\n");
            }
        }
    };
}

reasons! {
    /// Why a command is answered NO.
    No {
        /// There is no such folder, or it is not this user's to see: the two are never told apart.
        NonExistent "NONEXISTENT" "There is no such mailbox";
        /// The destination of COPY, MOVE or APPEND is missing and could be made.
        TryCreate "TRYCREATE" "There is no such mailbox; it can be created";
        /// CREATE or RENAME onto a name that is taken.
        AlreadyExists "ALREADYEXISTS" "A mailbox of that name exists";
        /// DELETE of a folder with levels below.
        HasChildren "HASCHILDREN" "The mailbox has others below it";
        /// The name can not be that of a mailbox.
        Cannot "CANNOT" "That can not be done with this mailbox name";
        /// INBOX can not be deleted.
        Inbox "CANNOT" "INBOX can not be deleted";
        /// The user may not.
        NoPerm "NOPERM" "Permission denied";
        /// The mailbox's quota would be exceeded.
        OverQuota "OVERQUOTA" "The mailbox would be over its quota";
        /// The message is larger than any mailbox takes.
        TooBig "TOOBIG" "The message is too large";
        /// A limit on a count (keywords, folders) is reached.
        Limit "LIMIT" "A limit is reached";
        /// Something else uses it.
        InUse "INUSE" "The mailbox is in use; try again later";
        /// Storage or another service can not answer now.
        Unavailable "UNAVAILABLE" "Temporary failure; try again later";
        /// The folder was selected with EXAMINE.
        ReadOnly "READ-ONLY" "The mailbox is selected read-only";
        /// Some of the messages went before the command could be carried out (RFC 9051 §7.1).
        ExpungeIssued "EXPUNGEISSUED" "Some of the messages no longer exist";
        /// The part's transfer encoding is unknown, or it does not decode (RFC 3516 §4.3).
        UnknownCte "UNKNOWN-CTE" "The part can not be decoded";
        /// The message holds an octet that no stored message may hold.
        BareOctet "CANNOT" "A message must not hold a lone CR or a NUL";
        /// A stored message is damaged.
        Corruption "CORRUPTION" "Stored data is damaged";
        /// SEARCH in a charset that is not supported.
        BadCharset "BADCHARSET (UTF-8 US-ASCII)" "The charset is not supported";
        /// SEARCH looks for too much text.
        SearchTooLarge "LIMIT" "The search is too large";
        /// CREATE with a special use that is not supported or taken (RFC 6154 §3).
        UseAttr "USEATTR" "The special use is not supported or taken";
        /// Wrong name or password, or the account is disabled: always the same words.
        AuthenticationFailed "AUTHENTICATIONFAILED" "Authentication failed";
        /// Log-in without TLS.
        PrivacyRequired "PRIVACYREQUIRED" "TLS is required to log in";
        /// Known account, forbidden scope.
        AuthorizationFailed "AUTHORIZATIONFAILED" "Authorization failed";
        /// AUTHENTICATE with a mechanism that is not offered.
        Mechanism "CANNOT" "The mechanism is not supported";
        /// STARTTLS where it is not offered.
        NoStartTls "CANNOT" "TLS is not available";
    }
}

reasons! {
    /// Why a command is answered BAD, beyond faults of syntax.
    Bad {
        /// Not legal in this state.
        State "" "The command is not allowed in this state";
        /// STARTTLS under TLS.
        TlsActive "" "TLS is active";
        /// A message number that no message has (RFC 3501 §9 `seq-number`).
        Number "CLIENTBUG" "There is no message of that number";
        /// A line, a literal or a command over its limit.
        TooLong "" "The command is too long";
        /// A line that does not begin with a tag.
        Tag "" "A tag and a command are expected";
        /// The client cancelled AUTHENTICATE.
        Cancelled "" "Authentication cancelled";
        /// Not base64.
        Base64 "" "Base64 is expected";
        /// Something else than DONE in IDLE.
        Done "" "DONE is expected";
        /// Octets behind APPEND's literal.
        Append "" "The end of APPEND is expected behind its message";
        /// A mailbox name in another encoding than the session's.
        Name "" "Not a mailbox name in the encoding in use";
        /// STORE or APPEND of a flag that can not be set.
        Flag "" "Not a flag that can be set";
        /// CHARSET after UTF8=ACCEPT (RFC 6855 §3).
        Charset "" "No charset can be given when UTF8=ACCEPT is enabled";
        /// UTF8 (...) before UTF8=ACCEPT (RFC 6855 §4).
        Utf8 "" "UTF8 is not enabled";
        /// A command of an extension that is not offered.
        Extension "" "The extension is not supported";
    }
}

reasons! {
    /// Why a session ends with `* BYE`.
    Bye {
        /// LOGOUT.
        Logout "" "Logging out";
        /// Too many connections.
        Busy "UNAVAILABLE" "Too many connections; try again later";
        /// The server stops.
        ShuttingDown "UNAVAILABLE" "The server is shutting down; try again later";
        /// Too many errors.
        Abuse "" "Too many errors";
        /// Nothing came for too long.
        Timeout "" "Idle for too long";
        /// Not logged in in time.
        LoginTimeout "" "Not logged in for too long";
        /// The log-in is no longer good.
        Revoked "EXPIRED" "The log-in is no longer valid";
        /// The selected folder was deleted.
        Deleted "" "The selected mailbox was deleted";
        /// Storage is damaged or gone.
        Unavailable "UNAVAILABLE" "Temporary failure; try again later";
        /// The client sends more than anybody reads.
        TooLong "" "The command is too long";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_one_line_of_ascii_and_codes_are_of_the_grammar() {
        let rows = No::ALL.iter().map(|r| (r.code(), r.text()));
        let rows = rows.chain(Bad::ALL.iter().map(|r| (r.code(), r.text())));
        for (code, text) in rows.chain(Bye::ALL.iter().map(|r| (r.code(), r.text()))) {
            assert!(!text.is_empty() && text.bytes().all(|b| (b' '..=b'~').contains(&b)), "{text}");
            assert!(!text.starts_with('['), "{text}");
            assert!(
                code.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b'-' | b' ' | b'(' | b')')),
                "{code}"
            );
        }
    }
}
