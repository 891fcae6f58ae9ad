//! The replies that the session gives by itself: one table. What the driver refuses is worded in `refusal`.

use protocol_core::SendBuf;

use crate::reply;
use crate::status::Status;

/// Code, enhanced code and text of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    code: u16,
    status: Status,
    text: &'static str,
}

impl Row {
    pub(super) fn write(&self, out: &mut SendBuf) {
        reply::write(out, self.code, Some(self.status), self.text);
    }
}

const fn row(code: u16, subject: u16, detail: u16, text: &'static str) -> Row {
    Row { code, status: Status::new((code / 100) as u8, subject, detail), text }
}

pub(super) static BYE: Row = row(221, 0, 0, "Bye");
pub(super) static OK: Row = row(250, 0, 0, "OK");
pub(super) static CHUNK: Row = row(250, 0, 0, "Chunk received");
pub(super) static SENDER: Row = row(250, 1, 0, "Sender OK");
pub(super) static RECIPIENT: Row = row(250, 1, 5, "Recipient OK");
pub(super) static HELP: Row = row(214, 0, 0, "See RFC 5321");
pub(super) static STARTTLS: Row = row(220, 0, 0, "Ready to start TLS");
pub(super) static AUTHENTICATED: Row = row(235, 7, 0, "Authenticated");
/// RFC 5321 §3.5.3: an address is neither confirmed nor denied.
pub(super) static VRFY: Row = row(252, 1, 5, "Send some mail, it will be tried");

pub(super) static TIMEOUT: Row = row(421, 4, 2, "Timeout, closing connection");
pub(super) static TOO_MANY_ERRORS: Row = row(421, 7, 0, "Too many errors, closing connection");
pub(super) static TOO_MANY_IDLE: Row =
    row(421, 7, 0, "Too many commands without a message, closing connection");
pub(super) static TOO_MANY_UNKNOWN: Row = row(421, 7, 0, "Too many unknown recipients, closing connection");

pub(super) static UNKNOWN_COMMAND: Row = row(500, 5, 1, "Unknown command");
pub(super) static NOT_SMTP: Row = row(500, 5, 1, "This is a mail server, closing connection");
pub(super) static LINE_TOO_LONG: Row = row(500, 5, 2, "Line too long");
pub(super) static LINE_END: Row = row(500, 5, 2, "Lines end with CRLF");
pub(super) static LINE_OCTETS: Row = row(500, 5, 2, "The line holds octets that no command may hold");
pub(super) static AUTH_TOO_LONG: Row = row(500, 5, 6, "Authentication line too long");
pub(super) static ARGUMENT: Row = row(501, 5, 4, "Bad argument");
pub(super) static CHUNK_SIZE: Row = row(501, 5, 4, "Bad chunk size, closing connection");
pub(super) static BASE64: Row = row(501, 5, 2, "Not base64");
pub(super) static BAD_SENDER: Row = row(501, 1, 7, "Bad sender address");
pub(super) static BAD_RECIPIENT: Row = row(501, 1, 3, "Bad recipient address");
pub(super) static AUTH_CANCELLED: Row = row(501, 7, 0, "Authentication cancelled");
pub(super) static NO_EXPN: Row = row(502, 5, 1, "EXPN is not available");
pub(super) static NO_AUTH: Row = row(502, 5, 1, "AUTH is not available on this port");
pub(super) static NO_STARTTLS: Row = row(502, 5, 1, "STARTTLS is not available");
pub(super) static NO_CHUNKING: Row = row(502, 5, 1, "BDAT is not available");
pub(super) static HELLO_FIRST: Row = row(503, 5, 1, "Say hello first: EHLO, or LHLO to LMTP");
pub(super) static MAIL_FIRST: Row = row(503, 5, 1, "MAIL first");
pub(super) static RCPT_FIRST: Row = row(503, 5, 1, "A valid RCPT first");
pub(super) static IN_TRANSACTION: Row = row(503, 5, 1, "A transaction is under way");
pub(super) static IN_CHUNKS: Row = row(503, 5, 1, "BDAT has begun this message");
pub(super) static NEEDS_BDAT: Row = row(503, 5, 1, "BODY=BINARYMIME needs BDAT");
pub(super) static TOO_SOON: Row = row(503, 5, 1, "Message octets came before 354, closing connection");
pub(super) static TLS_ACTIVE: Row = row(503, 5, 1, "TLS is active already");
pub(super) static AUTH_DONE: Row = row(503, 5, 1, "Authenticated already");
pub(super) static MECHANISM: Row = row(504, 5, 4, "Unknown mechanism");
pub(super) static NEEDS_TLS: Row = row(530, 7, 0, "Issue STARTTLS first");
pub(super) static NEEDS_AUTH: Row = row(530, 7, 0, "Authentication required");
pub(super) static BARE_CR: Row = row(550, 5, 2, "The message holds CR without LF, closing connection");
pub(super) static BARE_LF: Row = row(550, 5, 2, "The message holds LF without CR, closing connection");
pub(super) static BARE_NUL: Row = row(550, 5, 2, "The message holds NUL, closing connection");
pub(super) static NEEDS_UTF8: Row = row(553, 6, 7, "A non-ASCII address needs SMTPUTF8");
pub(super) static SPOKE_FIRST: Row = row(554, 5, 1, "You spoke before the greeting, closing connection");
pub(super) static PARAMETER: Row = row(555, 5, 4, "Unknown parameter");
