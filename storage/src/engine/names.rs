//! What names may be, and how many there may be of each thing.

use crate::error::{Error, Refusal, Result};

/// Octets in one level of a folder name.
pub const FOLDER_LEVEL_OCTETS_MAX: usize = 255;
/// Octets in a folder name.
pub const FOLDER_NAME_OCTETS_MAX: usize = 1_000;
/// Folders of one mailbox.
pub const FOLDERS_MAX: usize = 5_000;
/// Subscriptions of one mailbox.
pub const SUBSCRIPTIONS_MAX: usize = 5_000;
/// Targets of one alias.
pub const ALIAS_TARGETS_MAX: usize = 100;
/// Octets in a keyword.
pub const KEYWORD_OCTETS_MAX: usize = 255;
/// Octets in an address: the local part's 64, `@` and the domain's 255.
pub(super) const ADDRESS_OCTETS_MAX: usize = 320;
/// Octets in the name of an organisation or a person.
pub(super) const TEXT_OCTETS_MAX: usize = 255;

pub(super) fn invalid<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::Refused(Refusal::Invalid(why.into())))
}

/// A folder's name as it is stored: INBOX in capitals wherever it is the first level (RFC 9051 §5.1).
pub(super) fn folder_name(name: &str) -> Result<String> {
    if name.is_empty() || name.len() > FOLDER_NAME_OCTETS_MAX {
        return invalid(format!("a folder name has 1 to {FOLDER_NAME_OCTETS_MAX} octets"));
    }
    if name.chars().any(char::is_control) {
        return invalid("a folder name holds no control characters");
    }
    for level in name.split('/') {
        if level.is_empty() {
            return invalid("a level of a folder name is not empty");
        }
        if level.len() > FOLDER_LEVEL_OCTETS_MAX {
            return invalid(format!("a level of a folder name has at most {FOLDER_LEVEL_OCTETS_MAX} octets"));
        }
    }
    let (first, rest) = name.split_once('/').unwrap_or((name, ""));
    Ok(match (first.eq_ignore_ascii_case("INBOX"), rest) {
        (false, _) => name.to_owned(),
        (true, "") => "INBOX".to_owned(),
        (true, rest) => format!("INBOX/{rest}"),
    })
}

/// The names above a folder, the nearest last.
pub(super) fn levels_above(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').filter_map(|(at, _)| name.get(..at))
}

/// Whether `name` is below `top`.
pub(super) fn is_below(name: &str, top: &str) -> bool {
    name.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'))
}

/// The domain of a canonical address.
pub(super) fn domain_of(address: &str) -> Result<&str> {
    match address.rsplit_once('@') {
        Some((local, domain))
            if !local.is_empty()
                && !domain.is_empty()
                && address.len() <= ADDRESS_OCTETS_MAX
                && !address.chars().any(char::is_control) =>
        {
            Ok(domain)
        }
        _ => invalid("not an address"),
    }
}

/// A name for people.
pub(super) fn check_text(what: &str, text: &str) -> Result<()> {
    if text.len() > TEXT_OCTETS_MAX || text.chars().any(char::is_control) {
        return invalid(format!("{what} has at most {TEXT_OCTETS_MAX} octets and no control characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_at_and_past_their_limits() {
        let level = "x".repeat(FOLDER_LEVEL_OCTETS_MAX);
        assert!(folder_name(&level).is_ok());
        assert!(folder_name(&format!("{level}x")).is_err());
        let deep = format!("{level}/{level}/{level}/{}", "y".repeat(FOLDER_NAME_OCTETS_MAX - 3 * 256));
        assert_eq!(deep.len(), FOLDER_NAME_OCTETS_MAX);
        assert!(folder_name(&deep).is_ok());
        assert!(folder_name(&format!("{deep}y")).is_err());
        for bad in ["", "/", "a/", "/a", "a//b", "a\r\nb", "a\0"] {
            assert!(folder_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn inbox_has_one_spelling() {
        assert_eq!(folder_name("inBox").unwrap(), "INBOX");
        assert_eq!(folder_name("inbox/Work").unwrap(), "INBOX/Work");
        assert_eq!(folder_name("inboxes").unwrap(), "inboxes");
        assert_eq!(folder_name("Work/inbox").unwrap(), "Work/inbox");
    }

    #[test]
    fn levels() {
        assert_eq!(levels_above("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
        assert!(is_below("a/b", "a") && !is_below("ab", "a") && !is_below("a", "a"));
    }
}
