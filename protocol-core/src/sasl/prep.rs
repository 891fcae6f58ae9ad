//! Passwords in the one form in which they are hashed and compared.

use alloc::string::String;
use alloc::vec::Vec;

use unicode_normalization::UnicodeNormalization;

use super::secret::Secret;

/// Octets of a password.
pub const PASSWORD_MAX: usize = 1_024;

/// Why a password cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordFault {
    /// Nothing is left of it.
    Empty,
    /// Over [`PASSWORD_MAX`] octets.
    TooLong,
    /// Not UTF-8, or with control characters.
    Characters,
}

impl PasswordFault {
    /// A reason for people.
    pub fn reason(self) -> &'static str {
        match self {
            PasswordFault::Empty => "the password is empty",
            PasswordFault::TooLong => "the password has more than 1,024 octets",
            PasswordFault::Characters => "the password has characters that are not allowed",
        }
    }
}

/// Prepares a password for hashing or comparing, whichever mechanism it came by: what RFC 4013 (SASLprep)
/// says of spaces, of characters mapped to nothing and of NFKC, and that control characters are refused.
/// Its tables of unassigned and bidirectional characters are left out, so a few passwords that it refuses
/// are accepted; no two that it keeps apart become one. ASCII is unchanged.
pub fn prepare_password(password: &[u8]) -> Result<Secret, PasswordFault> {
    if password.len() > PASSWORD_MAX {
        return Err(PasswordFault::TooLong);
    }
    let text = core::str::from_utf8(password).map_err(|_| PasswordFault::Characters)?;
    let mut octets = Vec::with_capacity(password.len() * 3);
    if text.is_ascii() {
        octets.extend_from_slice(password);
    } else {
        // NFKC can make eighteen characters of one; the string is moved into the secret, so that nothing
        // stays behind in memory but what growing leaves.
        let mut prepared = String::with_capacity(password.len() * 4);
        prepared.extend(text.chars().filter(|c| !is_mapped_to_nothing(*c)).map(space_to_ascii).nfkc());
        octets = prepared.into_bytes();
    }
    let secret = Secret::new(octets);
    let Some(text) = secret.expose_str() else { return Err(PasswordFault::Characters) };
    if text.is_empty() {
        return Err(PasswordFault::Empty);
    }
    if text.chars().any(is_prohibited) {
        return Err(PasswordFault::Characters);
    }
    Ok(secret)
}

/// RFC 3454 table C.1.2.
fn space_to_ascii(c: char) -> char {
    match c {
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => ' ',
        _ => c,
    }
}

/// RFC 3454 table B.1.
fn is_mapped_to_nothing(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{1806}' | '\u{180b}'..='\u{180d}' | '\u{200b}'..='\u{200d}'
        | '\u{2060}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// RFC 3454 tables C.2 (control), C.3 (private use), C.4 (non-characters), C.6 and C.8 as far as they are
/// invisible.
fn is_prohibited(c: char) -> bool {
    let code = u32::from(c);
    c.is_control()
        || matches!(code, 0xe000..=0xf8ff | 0xf0000.. | 0xfdd0..=0xfdef | 0xfff9..=0xfffd)
        || matches!(code, 0x200e | 0x200f | 0x2028..=0x202e | 0x206a..=0x206f | 0xe0001 | 0xe0020..=0xe007f)
        || code & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn rfc_4013_section_3() {
        for (given, want) in [
            ("I\u{ad}X", Ok("IX")),
            ("user", Ok("user")),
            ("USER", Ok("USER")),
            ("\u{aa}", Ok("a")),
            ("\u{2168}", Ok("IX")),
            ("a\u{a0}b", Ok("a b")),
            ("\u{7}", Err(PasswordFault::Characters)),
            ("a\u{85}", Err(PasswordFault::Characters)),
            ("\u{ad}", Err(PasswordFault::Empty)),
            ("", Err(PasswordFault::Empty)),
        ] {
            assert_eq!(prepare_password(given.as_bytes()), want.map(Secret::from), "{given:?}");
        }
        assert_eq!(prepare_password(b"\xff"), Err(PasswordFault::Characters));
    }

    #[test]
    fn length_at_the_limit_and_one_past() {
        assert!(prepare_password(&vec![b'x'; PASSWORD_MAX]).is_ok());
        assert_eq!(prepare_password(&vec![b'x'; PASSWORD_MAX + 1]), Err(PasswordFault::TooLong));
    }
}
