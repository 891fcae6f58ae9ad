//! The answer to SELECT and EXAMINE.

use protocol_core::SendBuf;

use super::list::write_name;
use super::view::View;

/// A folder as it was loaded for a session.
#[derive(Clone, Copy, Debug)]
pub struct Selected<'a> {
    /// Its name as it is, which may differ from what was asked in letter case or normal form.
    pub name: &'a str,
    /// UIDVALIDITY; never 0.
    pub uid_validity: u32,
    /// UIDNEXT.
    pub uid_next: u32,
    /// HIGHESTMODSEQ; at least 1.
    pub highest_modseq: u64,
    /// The folder can not be written, by this user or by anybody. EXAMINE implies it.
    pub read_only: bool,
}

/// Writes everything but the completion; the view is loaded. `first_unseen`: the number of the first message
/// without `\Seen`.
pub(super) fn write(
    folder: &Selected<'_>,
    view: &mut View,
    first_unseen: Option<u32>,
    rev2: bool,
    utf8: bool,
    out: &mut SendBuf,
) {
    view.write_keywords(out);
    view.keywords_are_told();
    view.write_exists(out);
    if !rev2 {
        // RFC 9051 drops RECENT and UNSEEN; RFC 3501 §6.3.1 requires the one and knows the other.
        out.push(b"* 0 RECENT\r\n");
        if let Some(number) = first_unseen {
            number_code("UNSEEN", u64::from(number), "First unseen", out);
        }
    }
    number_code("UIDVALIDITY", u64::from(folder.uid_validity), "UIDs valid", out);
    number_code("UIDNEXT", u64::from(folder.uid_next), "Predicted next UID", out);
    number_code("HIGHESTMODSEQ", folder.highest_modseq, "Highest", out);
    if rev2 {
        // RFC 9051 §6.3.2: LIST with the name as it is.
        out.push(b"* LIST () \"/\" ");
        write_name(folder.name, utf8, out);
        out.push(b"\r\n");
    }
}

/// `* OK [CODE n] text`.
pub(super) fn number_code(code: &str, n: u64, text: &str, out: &mut SendBuf) {
    out.push(b"* OK [");
    out.push(code.as_bytes());
    out.push_u8(b' ');
    out.push_decimal(n);
    out.push(b"] ");
    out.push(text.as_bytes());
    out.push(b"\r\n");
}
