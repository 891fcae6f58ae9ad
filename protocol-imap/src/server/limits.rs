//! What a peer can make grow, and how far; the sizes of lines and literals are in
//! [`frame::Limits`](crate::codec::frame::Limits).

use protocol_core::time::Duration;

use crate::codec::frame::Limits;

/// What a driver gives to [`RecvBuf::with_limit`](protocol_core::RecvBuf::with_limit), in octets.
pub const RECV_LIMIT: usize = Limits::AFTER_LOGIN.command + 4096;
/// Bad commands that end a session.
pub const BAD_COMMANDS_MAX: u32 = 20;
/// Commands before log-in that end a session.
pub const COMMANDS_BEFORE_LOGIN_MAX: u32 = 100;
/// Failed log-ins that end a session.
pub const FAILED_LOGINS_MAX: u32 = 5;
/// Octets of one level of a mailbox name.
pub const LEVEL_MAX: usize = 255;
/// Octets of a mailbox name.
pub const NAME_MAX: usize = 1000;
/// Octets of a keyword.
pub const KEYWORD_MAX: usize = 100;
/// Keywords of a folder (bits 8 to 57 of [`FlagBits`](super::FlagBits)).
pub const KEYWORDS_MAX: usize = 50;
/// Octets of what SEARCH looks for in text, in one command.
pub const NEEDLES_MAX: usize = 16 * 1024;

/// Time to log in, from the start of the session or of TLS.
pub const LOGIN_TIME: Duration = Duration::from_secs(60);
/// Time without input after log-in (RFC 9051 §5.4: at least 30 minutes).
pub const IDLE_TIME: Duration = Duration::from_secs(30 * 60);
/// Time between `* OK Still here` in IDLE.
pub const KEEP_ALIVE_TIME: Duration = Duration::from_secs(5 * 60);
