//! What a submission server adds to and takes from a message (RFC 6409 §8, SPEC section 5).

use alloc::string::String;
use core::fmt::Write as _;

use super::header::{Edit, Field, Fields, trim};
use crate::time::Timestamp;

/// The edit that completes a submitted message: Date, Message-ID and, when a Content field is there,
/// MIME-Version are put on top where they are missing; Bcc and Resent-Bcc are left out, malformed ones
/// (`Bcc :`) too, because some reader would show them.
///
/// `header` is the message from its first octet to the end of its header; `now` the time of acceptance;
/// `random` 128 fresh random bits; `domain` the sender's domain in canonical form.
pub fn complete(header: &[u8], now: Timestamp, random: [u8; 16], domain: &str) -> Edit {
    let mut edit = Edit::default();
    let has = |name: &str| Fields::find(header, name).is_some();
    let mut prefix = String::new();
    // Writing to a String cannot fail.
    if !has("Date") {
        prefix.push_str("Date: ");
        let _ = now.civil().write_rfc5322(&mut prefix);
        prefix.push_str("\r\n");
    }
    if !has("Message-ID") {
        let _ = write!(prefix, "Message-ID: <{}@{domain}>\r\n", base32(random));
    }
    let is_content = |f: &Field<'_>| {
        f.well_formed && f.name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"Content-"))
    };
    if !has("MIME-Version") && Fields::new(header).any(|f| is_content(&f)) {
        prefix.push_str("MIME-Version: 1.0\r\n");
    }
    edit.prefix = prefix.into_bytes();
    edit.skip_fields(header, is_bcc);
    edit.removes_bcc = true;
    edit
}

fn is_bcc(field: &Field<'_>) -> bool {
    let name = trim(field.name);
    name.eq_ignore_ascii_case(b"Bcc") || name.eq_ignore_ascii_case(b"Resent-Bcc")
}

/// RFC 4648 §6 in lower case, without padding: 26 characters.
pub fn base32(bits: [u8; 16]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let number = u128::from_be_bytes(bits);
    // The last character holds the three bits that are left, padded with zeros on the right.
    (0..26)
        .map(|i: u32| {
            let low = 123_u32.checked_sub(i * 5);
            let digit = low.map_or(number << 2, |shift| number >> shift);
            char::from(ALPHABET[(digit & 31) as usize])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn completed(header: &[u8]) -> String {
        let edit = complete(header, Timestamp::from_secs(0), [0xff; 16], "example.com");
        let mut out = edit.prefix.clone();
        for piece in edit.kept(0, header) {
            out.extend_from_slice(piece);
        }
        assert_eq!(out.len() as u64, edit.new_len(header.len() as u64));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_is_missing_is_added() {
        assert_eq!(
            completed(b"From: a@b\r\nContent-Type: text/html\r\n\r\nbody"),
            "Date: Thu, 1 Jan 1970 00:00:00 +0000\r\nMessage-ID: <77777777777777777777777774@example.com>\r\n\
             MIME-Version: 1.0\r\nFrom: a@b\r\nContent-Type: text/html\r\n\r\nbody"
        );
        let full = "date: x\r\nMESSAGE-id: <y>\r\nMime-Version: 1.0\r\nContent-Type: text/html\r\n\r\n";
        assert_eq!(completed(full.as_bytes()), full);
        assert_eq!(completed(b"Date: x\r\nMessage-ID: y\r\n\r\n"), "Date: x\r\nMessage-ID: y\r\n\r\n");
    }

    #[test]
    fn so13_bcc_is_left_out_in_every_spelling() {
        let header = "Bcc: x@y\r\nDate: x\r\nBCC:\r\n a@b,\r\n c@d\r\nMessage-ID: y\r\nBcc : z@z\r\nResent-Bcc: r@r\r\n\
                      X-Bcc: kept\r\n\r\nBcc: body\r\n";
        assert_eq!(
            completed(header.as_bytes()),
            "Date: x\r\nMessage-ID: y\r\nX-Bcc: kept\r\n\r\nBcc: body\r\n"
        );
        assert_eq!(
            completed(b" Bcc: x@y\r\nDate: x\r\nMessage-ID: y\r\n\r\n"),
            "Date: x\r\nMessage-ID: y\r\n\r\n"
        );
    }

    #[test]
    fn base32_known_answers() {
        let mut bits = [0; 16];
        bits[..6].copy_from_slice(b"foobar");
        assert_eq!(base32(bits), "mzxw6ytboiaaaaaaaaaaaaaaaa");
        let all: Vec<char> = base32([0xff; 16]).chars().collect();
        assert_eq!((all.len(), all[25]), (26, '4'));
    }
}
