//! Why something is refused, and the one table of codes and texts. No other place words a refusal.

use alloc::string::String;
use core::fmt::Write as _;

use protocol_core::SendBuf;

use crate::limits::DETAIL_MAX;
use crate::reply;
use crate::status::Status;

/// A reason that the driver gives or the session finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No such mailbox or alias here.
    UnknownRecipient,
    /// The mailbox is disabled.
    Disabled,
    /// The mailbox is full.
    OverQuota,
    /// Neither local nor from an authenticated sender.
    RelayDenied,
    /// More recipients than one message may have.
    TooManyRecipients,
    /// The address is not the authenticated mailbox's to use; what is refused (`MAIL FROM`, `From`, `Sender`).
    SenderNotAllowed(&'static str),
    /// Aliases or Received fields go round.
    Loop,
    /// The message's header is larger than what is taken.
    HeaderLimit,
    /// The message is larger than what is taken.
    TooBig,
    /// Not exactly one From field with a valid address.
    BadFrom,
    /// The recipient of a transaction differs in policy from the first (SPEC section 4).
    SeparateTransaction,
    /// Storage could not keep it; nothing was lost.
    StorageFailed,
    /// The tenant's key is missing.
    EncryptionUnavailable,
    /// Too many messages in this window.
    RateLimited,
    /// Too many connections, of all or of this address.
    TooManyConnections,
    /// The sender's quota for recipients of one message.
    RecipientQuota,
    /// The sender's quota for a period.
    SendQuota,
    /// The recipient is on the suppression list; reason, date and cure.
    Suppressed(String),
    /// A verdict of sender authentication: code, status, and its text.
    Policy {
        /// 4yz or 5yz.
        code: u16,
        /// Its enhanced code.
        status: Status,
        /// Result, domain and variable.
        text: String,
    },
    /// Wrong password, unknown user, disabled account, forbidden scope: never told apart.
    AuthFailed,
    /// Credentials could not be checked now.
    AuthUnavailable,
    /// The server stops.
    ShuttingDown,
}

impl Refusal {
    /// Code, enhanced code and text.
    fn words(&self) -> (u16, Status, &str) {
        use Refusal::*;
        match self {
            UnknownRecipient => (550, Status::new(5, 1, 1), "No such recipient here"),
            Disabled => (550, Status::new(5, 2, 1), "This mailbox is disabled"),
            OverQuota => (452, Status::new(4, 2, 2), "The mailbox is full"),
            RelayDenied => (550, Status::new(5, 7, 1), "Relaying is refused: this domain is not served here"),
            TooManyRecipients => (452, Status::new(4, 5, 3), "Too many recipients for one transaction"),
            SenderNotAllowed(_) => (553, Status::new(5, 7, 1), "This address is not yours to send from:"),
            Loop => (554, Status::new(5, 4, 6), "The message goes round in a loop"),
            HeaderLimit => (552, Status::new(5, 3, 4), "The header is too large"),
            TooBig => (552, Status::new(5, 3, 4), "The message is too large"),
            BadFrom => (550, Status::new(5, 6, 0), "Exactly one From field with a valid address is needed"),
            SeparateTransaction => {
                (452, Status::new(4, 5, 3), "Send to this recipient in another transaction")
            }
            StorageFailed => (451, Status::new(4, 3, 0), "The message could not be stored, try again later"),
            EncryptionUnavailable => {
                (451, Status::new(4, 3, 5), "The recipient's encryption key is not usable now")
            }
            RateLimited => (450, Status::new(4, 7, 1), "Too many messages, try again later"),
            TooManyConnections => (421, Status::new(4, 7, 0), "Too many connections, try again later"),
            RecipientQuota => {
                (452, Status::new(4, 5, 3), "Your quota of recipients for one message is used up")
            }
            SendQuota => (450, Status::new(4, 7, 1), "Your sending quota for this period is used up"),
            Suppressed(_) => (550, Status::new(5, 7, 1), "Suppressed:"),
            Policy { code, status, .. } => (*code, *status, ""),
            AuthFailed => (535, Status::new(5, 7, 8), "Authentication failed"),
            AuthUnavailable => (454, Status::new(4, 7, 0), "Authentication is not available now"),
            ShuttingDown => (421, Status::new(4, 3, 2), "The server is shutting down"),
        }
    }

    /// The reply code.
    pub fn code(&self) -> u16 {
        self.words().0
    }

    /// The enhanced code.
    pub fn status(&self) -> Status {
        self.words().1
    }

    /// Whether trying again can help.
    pub fn is_temporary(&self) -> bool {
        self.code() < 500
    }

    /// Appends the reply.
    pub(crate) fn write(&self, out: &mut SendBuf) {
        let (code, status, text) = self.words();
        match self {
            Refusal::SenderNotAllowed(what) => {
                let mut line = String::from(text);
                let _ = write!(line, " {what}");
                reply::write(out, code, Some(status), &line);
            }
            Refusal::Suppressed(detail) => {
                let mut line = String::from(text);
                let _ = write!(line, " {}", cleaned(detail));
                reply::write(out, code, Some(status), &line);
            }
            Refusal::Policy { text, .. } => reply::write(out, code, Some(status), &cleaned(text)),
            _ => reply::write(out, code, Some(status), text),
        }
    }
}

/// On one line, printable ASCII, bounded: what may stand in a reply whoever wrote it.
fn cleaned(text: &str) -> String {
    text.chars().take(DETAIL_MAX).map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_cleaned_and_bounded() {
        let mut out = SendBuf::with_high_water(4096);
        let text = String::from("bad\r\n250 injected\u{1b}") + &"x".repeat(DETAIL_MAX);
        Refusal::Suppressed(text).write(&mut out);
        let line = core::str::from_utf8(out.bytes()).unwrap();
        assert!(line.starts_with("550 5.7.1 Suppressed: bad??250 injected?xxx"));
        assert_eq!(line.matches("\r\n").count(), 1);
        assert_eq!(line.len(), "550 5.7.1 Suppressed: \r\n".len() + DETAIL_MAX);
    }
}
