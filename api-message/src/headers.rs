//! Which header fields a sender may set, and what may stand in them.

use alloc::format;
use alloc::string::String;

use crate::fault::{Fault, Reason};
use crate::limits::{HEADER_NAME_MAX, HEADER_VALUE_MAX};
use crate::text::check_line;

/// Fields that a sender may set besides those whose names begin with `X-`. Everything else is made by the server,
/// has an argument of its own, or says what only a server on the way can know (`Received`, `DKIM-Signature`,
/// `Return-Path`, `Authentication-Results`).
pub const ALLOWED: [&str; 21] = [
    "Archived-At",
    "Auto-Submitted",
    "Comments",
    "Feedback-ID",
    "Importance",
    "In-Reply-To",
    "Keywords",
    "List-Archive",
    "List-Help",
    "List-Id",
    "List-Owner",
    "List-Post",
    "List-Subscribe",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Organization",
    "Precedence",
    "Priority",
    "References",
    "Sensitivity",
    "Thread-Topic",
];

/// Fields that hold text for people: only in these may words be encoded (RFC 2047 §5).
const UNSTRUCTURED: [&str; 4] = ["Comments", "Keywords", "Organization", "Thread-Topic"];

/// Whether a sender may set this field.
pub fn is_allowed(name: &str) -> bool {
    is_extension(name) || ALLOWED.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
}

fn is_extension(name: &str) -> bool {
    name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("X-")) && name.len() > 2
}

/// Whether the field's value is text for people.
pub(crate) fn is_unstructured(name: &str) -> bool {
    is_extension(name) || UNSTRUCTURED.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Checks a field that a sender wants to set.
pub(crate) fn check(argument: &str, name: &str, value: &str) -> Result<(), Fault> {
    let of_name = format!("{argument}.name");
    check_line(&of_name, name, HEADER_NAME_MAX)?;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !is_name {
        return Err(Fault::new(of_name, Reason::Syntax, "holds letters, digits and `-` only"));
    }
    if !is_allowed(name) {
        let message = String::from(
            "a sender cannot set this field; X- fields and those for threads and lists can be set",
        );
        return Err(Fault::new(of_name, Reason::ForbiddenHeader, message));
    }
    let of_value = format!("{argument}.value");
    check_line(&of_value, value, HEADER_VALUE_MAX)?;
    if value.trim().is_empty() {
        return Err(Fault::new(of_value, Reason::Missing, "must not be empty"));
    }
    if !is_unstructured(name) && (!value.is_ascii() || value.contains("=?")) {
        return Err(Fault::new(of_value, Reason::Syntax, "this field holds ASCII only"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hg8_what_is_not_the_senders_is_refused() {
        for name in [
            "Bcc",
            "bcc",
            "Received",
            "DKIM-Signature",
            "Return-Path",
            "Content-Type",
            "Date",
            "From",
            "To",
            "Cc",
            "Sender",
            "Subject",
            "Message-ID",
            "MIME-Version",
            "Content-Transfer-Encoding",
            "Resent-From",
            "Resent-Bcc",
            "Authentication-Results",
            "ARC-Seal",
            "ARC-Message-Signature",
            "Delivered-To",
            "Received-SPF",
            "TLS-Required",
            "Disposition-Notification-To",
            "Reply-To",
            "Errors-To",
            "Apparently-To",
            "X-",
        ] {
            let fault = check("headers[0]", name, "x").unwrap_err();
            assert_eq!(
                (fault.argument.as_str(), fault.reason),
                ("headers[0].name", Reason::ForbiddenHeader),
                "{name}"
            );
        }
    }

    #[test]
    fn names_and_values_are_checked() {
        assert!(check("h", "X-Entity-Ref", "Grüße").is_ok());
        assert!(check("h", "in-reply-to", "<a@b>").is_ok());
        assert_eq!(check("h", "In-Reply-To", "ü").unwrap_err().reason, Reason::Syntax);
        assert_eq!(check("h", "References", "=?utf-8?q?x?=").unwrap_err().reason, Reason::Syntax);
        for name in ["", "X Y", "X-A:", "X-Ü", "X-A\r\nBcc"] {
            assert!(check("h", name, "x").is_err(), "{name:?}");
        }
        assert_eq!(check("h", "X-A", "a\r\nBcc: b@c").unwrap_err().reason, Reason::ForbiddenCharacter);
        assert!(check("h", "X-A", "  ").is_err());
        let name = format!("X-{}", "a".repeat(HEADER_NAME_MAX - 2));
        assert!(check("h", &name, &"v".repeat(HEADER_VALUE_MAX)).is_ok());
        assert!(check("h", &format!("{name}a"), "v").is_err());
        assert!(check("h", &name, &"v".repeat(HEADER_VALUE_MAX + 1)).is_err());
    }
}
