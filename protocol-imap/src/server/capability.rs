//! What the server offers, when, and which of it must be enabled first: one table.
//!
//! A capability stands here only when every line of its RFC is honoured end to end; a new one is a new row.

use protocol_core::SendBuf;
use protocol_core::sasl::Mechanism;

use super::{ServerConfig, TlsInfo};

/// When a row is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    /// STARTTLS is possible: no TLS, not logged in, and the port offers it.
    BeforeTls,
    /// No TLS and not logged in.
    Insecure,
    /// TLS and not logged in.
    SecureBeforeLogin,
    /// TLS with channel bindings, and not logged in.
    ChannelBinding,
    BeforeLogin,
    LoggedIn,
}

const TABLE: &[(&str, When)] = &[
    ("IMAP4rev1", When::Always),
    ("IMAP4rev2", When::Always),
    ("STARTTLS", When::BeforeTls),
    ("LOGINDISABLED", When::Insecure),
    ("AUTH=SCRAM-SHA-256-PLUS", When::ChannelBinding),
    ("AUTH=SCRAM-SHA-256", When::SecureBeforeLogin),
    ("AUTH=PLAIN", When::SecureBeforeLogin),
    ("AUTH=LOGIN", When::SecureBeforeLogin),
    ("SASL-IR", When::BeforeLogin),
    // Before log-in no literal is worth more than RFC 7888 §5 gives; after it APPEND profits.
    ("LITERAL-", When::BeforeLogin),
    ("LITERAL+", When::LoggedIn),
    ("ID", When::Always),
    ("ENABLE", When::Always),
    ("IDLE", When::LoggedIn),
    ("NAMESPACE", When::LoggedIn),
    ("UNSELECT", When::LoggedIn),
    ("UIDPLUS", When::LoggedIn),
    ("MOVE", When::LoggedIn),
    ("SPECIAL-USE", When::LoggedIn),
    ("LIST-EXTENDED", When::LoggedIn),
    ("LIST-STATUS", When::LoggedIn),
    ("CHILDREN", When::LoggedIn),
    ("ESEARCH", When::LoggedIn),
    ("SEARCHRES", When::LoggedIn),
    ("WITHIN", When::LoggedIn),
    ("CONDSTORE", When::LoggedIn),
    ("STATUS=SIZE", When::LoggedIn),
    ("BINARY", When::LoggedIn),
    ("UTF8=ACCEPT", When::LoggedIn),
];

/// What decides which rows are shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    pub tls: bool,
    pub channel_binding: bool,
    pub logged_in: bool,
}

/// The capabilities with spaces between them, and `APPENDLIMIT=n` (RFC 7889 §3) at their end after log-in.
pub(super) fn write(config: &ServerConfig, now: Situation, out: &mut SendBuf) {
    let mut first = true;
    for (name, when) in TABLE {
        let shown = match when {
            When::Always => true,
            When::BeforeTls => !now.tls && !now.logged_in && config.starttls,
            When::Insecure => !now.tls && !now.logged_in,
            When::SecureBeforeLogin => now.tls && !now.logged_in,
            When::ChannelBinding => now.tls && now.channel_binding && !now.logged_in && config.scram_plus,
            When::BeforeLogin => !now.logged_in,
            When::LoggedIn => now.logged_in,
        };
        if shown {
            if !first {
                out.push_u8(b' ');
            }
            first = false;
            out.push(name.as_bytes());
        }
    }
    if now.logged_in {
        out.push(b" APPENDLIMIT=");
        out.push_decimal(config.append_max);
    }
}

/// The mechanism of that name, when it is offered.
pub(super) fn offered(name: &str, config: &ServerConfig, tls: TlsInfo) -> Option<Mechanism> {
    let found = Mechanism::parse(name.as_bytes())?;
    (found != Mechanism::ScramSha256Plus || tls.channel_binding && config.scram_plus).then_some(found)
}

/// What ENABLE has turned on (RFC 5161).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Enabled {
    /// IMAP4rev2 (RFC 9051 §6.3.1).
    pub rev2: bool,
    /// UTF8=ACCEPT (RFC 6855 §3).
    pub utf8_accept: bool,
    /// CONDSTORE, by ENABLE or by any command that implies it (RFC 7162 §3.1).
    pub condstore: bool,
}

impl Enabled {
    /// Whether names and quoted strings are UTF-8.
    pub fn utf8(self) -> bool {
        self.rev2 || self.utf8_accept
    }

    /// Turns on what `name` stands for; whether there is such a thing. One that is on stays on.
    pub(super) fn enable(&mut self, name: &str) -> Option<&'static str> {
        let rows = [
            ("IMAP4rev2", &mut self.rev2),
            ("UTF8=ACCEPT", &mut self.utf8_accept),
            ("CONDSTORE", &mut self.condstore),
        ];
        let (name, flag) = rows.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        *flag = true;
        Some(name)
    }
}
