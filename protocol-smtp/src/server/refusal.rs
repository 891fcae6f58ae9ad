//! Why something is refused, and the one table of codes and texts. What the session finds by itself is worded
//! in `replies`; no other place words a refusal.

use alloc::format;
use alloc::string::String;
use core::fmt;

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
    /// The recipient's address is well-formed and yet none: a label that decodes to nothing, say.
    BadRecipient,
    /// The same for the sender's.
    BadSender,
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
    /// One part of the message is larger than what is taken.
    PartTooBig,
    /// Not exactly one From field with a valid address.
    BadFrom,
    /// An Idempotency-Key that is none, or two of them.
    BadIdempotencyKey,
    /// Another message was accepted under the same Idempotency-Key.
    IdempotencyConflict,
    /// The release asked for is too far ahead (RFC 4865 §4).
    HoldTooLong,
    /// The recipient of a transaction differs in policy from the first (SPEC section 4).
    SeparateTransaction,
    /// Storage could not keep it; nothing was lost.
    StorageFailed,
    /// Storage is full.
    StorageFull,
    /// What must be asked before answering could not be asked now.
    Unavailable,
    /// The tenant's key is missing.
    EncryptionUnavailable,
    /// Too many messages in this window; at connecting, too many connections.
    RateLimited,
    /// Too many connections, of all or of this address.
    TooManyConnections,
    /// The sender's quota for recipients of one message.
    RecipientQuota,
    /// The sender's quota for a period, or for queued messages.
    SendQuota,
    /// The recipient is on the suppression list; reason, date and cure.
    Suppressed(String),
    /// A verdict of sender authentication; [`Refusal::spf`], [`Refusal::dkim`] and [`Refusal::dmarc`] word it.
    Policy {
        /// 4yz or 5yz.
        code: u16,
        /// Its enhanced code.
        status: Status,
        /// Result, domain and variable.
        text: String,
        /// Check and result, for counting: `spf-softfail`.
        label: String,
    },
    /// Wrong password, unknown user, disabled account, forbidden scope: never told apart.
    AuthFailed,
    /// Credentials could not be checked now.
    AuthUnavailable,
    /// The server stops.
    ShuttingDown,
}

/// A result of SPF, DKIM or DMARC as RFC 8601 §2.7 names it. `pass` is none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `fail`
    Fail,
    /// `softfail`
    SoftFail,
    /// `neutral`
    Neutral,
    /// `none`
    None,
    /// `permerror`
    PermError,
    /// `temperror`
    TempError,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Fail => "fail",
            Verdict::SoftFail => "softfail",
            Verdict::Neutral => "neutral",
            Verdict::None => "none",
            Verdict::PermError => "permerror",
            Verdict::TempError => "temperror",
        })
    }
}

impl Refusal {
    /// SPF is required and is not `pass`. `variable`: the setting that requires it.
    pub fn spf(verdict: Verdict, domain: &str, variable: &str) -> Refusal {
        // RFC 7372 §3.2 registers 23 and 24.
        let detail = if verdict == Verdict::PermError { 24 } else { 23 };
        Self::policy("SPF", verdict, detail, domain, variable)
    }

    /// A passing DKIM signature is required and there is none (RFC 7372 §3.1).
    pub fn dkim(verdict: Verdict, domain: &str, variable: &str) -> Refusal {
        Self::policy("DKIM", verdict, 20, domain, variable)
    }

    /// DMARC is required and is not `pass`, or the sender's own policy says so (RFC 7372 §3.3).
    pub fn dmarc(verdict: Verdict, domain: &str, variable: &str) -> Refusal {
        Self::policy("DMARC", verdict, 26, domain, variable)
    }

    fn policy(what: &str, verdict: Verdict, detail: u16, domain: &str, variable: &str) -> Refusal {
        let text = format!("{what} of {domain} is {verdict}; required by {variable}");
        let label = format!("{}-{verdict}", what.to_ascii_lowercase());
        match verdict {
            Verdict::TempError => Refusal::Policy { code: 451, status: Status::DNS_FAILED, text, label },
            _ => Refusal::Policy { code: 550, status: Status::new(5, 7, detail), text, label },
        }
    }

    /// Code, enhanced code and text.
    fn words(&self) -> (u16, Status, &str) {
        use Refusal::*;
        match self {
            UnknownRecipient => (550, Status::new(5, 1, 1), "No such recipient here"),
            Disabled => (550, Status::new(5, 2, 1), "This mailbox is disabled"),
            OverQuota => (452, Status::new(4, 2, 2), "The mailbox is full"),
            RelayDenied => (550, Status::new(5, 7, 1), "Relaying is refused: this domain is not served here"),
            BadRecipient => (501, Status::new(5, 1, 3), "Bad recipient address"),
            BadSender => (501, Status::new(5, 1, 7), "Bad sender address"),
            TooManyRecipients => (452, Status::new(4, 5, 3), "Too many recipients for one transaction"),
            SenderNotAllowed(_) => (553, Status::new(5, 7, 1), "This address is not yours to send from:"),
            Loop => (554, Status::new(5, 4, 6), "The message goes round in a loop"),
            HeaderLimit => (552, Status::new(5, 3, 4), "The header is too large"),
            TooBig => (552, Status::new(5, 3, 4), "The message is too large"),
            PartTooBig => (552, Status::new(5, 3, 4), "One part of the message is too large"),
            BadFrom => (550, Status::new(5, 6, 0), "Exactly one From field with a valid address is needed"),
            BadIdempotencyKey => {
                (550, Status::new(5, 6, 0), "Idempotency-Key holds 1 to 255 printable ASCII characters, once")
            }
            IdempotencyConflict => {
                (550, Status::new(5, 6, 0), "Another message was accepted under the same Idempotency-Key")
            }
            HoldTooLong => (501, Status::new(5, 5, 4), "The release time is too far ahead"),
            SeparateTransaction => {
                (452, Status::new(4, 5, 3), "Send to this recipient in another transaction")
            }
            StorageFailed => (451, Status::new(4, 3, 0), "The message could not be stored, try again later"),
            StorageFull => (452, Status::new(4, 3, 1), "Storage is full, try again later"),
            Unavailable => (451, Status::new(4, 3, 0), "This cannot be answered now, try again later"),
            EncryptionUnavailable => {
                (451, Status::new(4, 3, 5), "The recipient's encryption key is not usable now")
            }
            RateLimited => (450, Status::new(4, 7, 1), "Too many messages, try again later"),
            TooManyConnections => (421, Status::new(4, 7, 0), "Too many connections, try again later"),
            RecipientQuota => {
                (452, Status::new(4, 5, 3), "Your quota of recipients for one message is used up")
            }
            SendQuota => (450, Status::new(4, 7, 1), "Your sending quota for this period is used up"),
            Suppressed(text) => (550, Status::new(5, 7, 1), text),
            Policy { code, status, text, .. } => (*code, *status, text),
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

    /// Appends the reply, once.
    pub(crate) fn write(&self, out: &mut SendBuf) {
        self.write_as(self.code(), out);
    }

    /// Appends the reply with another code of the same class.
    pub(super) fn write_as(&self, code: u16, out: &mut SendBuf) {
        let (_, status, text) = self.words();
        reply::write_start(out, code, true, Some(status));
        match self {
            Refusal::Suppressed(_) => out.push(b"Suppressed: "),
            Refusal::SenderNotAllowed(what) => {
                out.push(text.as_bytes());
                out.push_u8(b' ');
                push_cleaned(what, out);
                return out.push(b"\r\n");
            }
            _ => {}
        }
        push_cleaned(text, out);
        out.push(b"\r\n");
    }
}

impl fmt::Display for Refusal {
    /// The reply without its line end, for logs; a driver's own text is not cleaned here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, status, text) = self.words();
        write!(f, "{code} {status} {text}")?;
        if let Refusal::SenderNotAllowed(what) = self { write!(f, " {what}") } else { Ok(()) }
    }
}

/// On one line, printable ASCII, bounded: what may stand in a reply whoever wrote it.
pub(super) fn push_cleaned(text: &str, out: &mut SendBuf) {
    for c in text.chars().take(DETAIL_MAX) {
        out.push_u8(if matches!(c, ' '..='~') { c as u8 } else { b'?' });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(why: &Refusal) -> String {
        let mut out = SendBuf::with_high_water(4096);
        why.write(&mut out);
        String::from(core::str::from_utf8(out.bytes()).unwrap())
    }

    #[test]
    fn details_are_cleaned_and_bounded() {
        let text = String::from("bad\r\n250 injected\u{1b}") + &"x".repeat(DETAIL_MAX);
        let line = written(&Refusal::Suppressed(text));
        assert!(line.starts_with("550 5.7.1 Suppressed: bad??250 injected?xxx"), "{line}");
        assert_eq!(line.matches("\r\n").count(), 1);
        assert_eq!(line.len(), "550 5.7.1 Suppressed: \r\n".len() + DETAIL_MAX);
    }

    #[test]
    fn verdicts_have_the_codes_of_the_specification() {
        for (verdict, spf) in [
            (Verdict::Fail, "550 5.7.23"),
            (Verdict::SoftFail, "550 5.7.23"),
            (Verdict::Neutral, "550 5.7.23"),
            (Verdict::None, "550 5.7.23"),
            (Verdict::PermError, "550 5.7.24"),
            (Verdict::TempError, "451 4.4.3"),
        ] {
            let line = written(&Refusal::spf(verdict, "a.test", "SMTP_REQUIRE_SPF_PASS"));
            assert_eq!(
                line,
                format!("{spf} SPF of a.test is {verdict}; required by SMTP_REQUIRE_SPF_PASS\r\n")
            );
        }
        assert_eq!(&written(&Refusal::dkim(Verdict::None, "a.test", "V"))[..10], "550 5.7.20");
        assert_eq!(&written(&Refusal::dmarc(Verdict::Fail, "a.test", "V"))[..10], "550 5.7.26");
        assert_eq!(&written(&Refusal::dmarc(Verdict::TempError, "a.test", "V"))[..9], "451 4.4.3");
    }

    #[test]
    fn classes_of_code_and_status_agree() {
        use Refusal::*;
        for why in [
            UnknownRecipient,
            Disabled,
            OverQuota,
            RelayDenied,
            BadRecipient,
            BadSender,
            TooManyRecipients,
            SenderNotAllowed("From"),
            Loop,
            HeaderLimit,
            TooBig,
            PartTooBig,
            BadFrom,
            BadIdempotencyKey,
            IdempotencyConflict,
            HoldTooLong,
            SeparateTransaction,
            StorageFailed,
            StorageFull,
            Unavailable,
            EncryptionUnavailable,
            RateLimited,
            TooManyConnections,
            RecipientQuota,
            SendQuota,
            AuthFailed,
            AuthUnavailable,
            ShuttingDown,
        ] {
            assert_eq!(u16::from(why.status().class), why.code() / 100, "{why}");
            assert_eq!(written(&why), format!("{why}\r\n"));
        }
    }
}
