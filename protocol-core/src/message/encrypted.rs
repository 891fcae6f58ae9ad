//! What a message is shown as whose text only its owner can open: fields by which it is found and answered, and the
//! encrypted octets as an age file (`message.eml.age`) or as PGP/MIME (RFC 3156).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::header::Fields;
use super::structure::Structure;

/// Fields of the message that are shown, as they stand.
pub const SHOWN_FIELDS: [&str; 7] = ["From", "To", "Cc", "Date", "Message-ID", "In-Reply-To", "References"];

/// In place of the subject.
pub const SHOWN_SUBJECT: &str = "[encrypted]";

/// Octets of an age file in one line of base64 (RFC 2045 §6.8: 76 characters).
pub const LINE_OCTETS: usize = 57;

/// Whether the message is encrypted already, by whoever wrote it (RFC 1847 §2.2).
pub fn is_encrypted(structure: &Structure) -> bool {
    let root = structure.root();
    root.media_type == "multipart" && root.media_subtype == "encrypted"
}

fn shown(header: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let mut seen: [bool; SHOWN_FIELDS.len()] = [false; SHOWN_FIELDS.len()];
    for field in Fields::new(header) {
        let Some(at) = SHOWN_FIELDS.iter().position(|name| field.is(name)) else { continue };
        // A field that is cut off, or a second one of a kind that there is once (RFC 5322 §3.6), is left out.
        let raw = &header[field.range.clone()];
        if raw.ends_with(b"\r\n") && !core::mem::replace(&mut seen[at], true) {
            out.extend_from_slice(raw);
        }
    }
    out.extend_from_slice(format!("Subject: {SHOWN_SUBJECT}\r\nMIME-Version: 1.0\r\n").as_bytes());
    out
}

/// What stands in front of an age file in base64. `header` is the header of the message.
pub fn age_head(header: &[u8]) -> Vec<u8> {
    let mut out = shown(header);
    out.extend_from_slice(
        b"Content-Type: application/octet-stream; name=\"message.eml.age\"\r\n\
          Content-Disposition: attachment; filename=\"message.eml.age\"\r\n\
          Content-Transfer-Encoding: base64\r\n\r\n",
    );
    out
}

/// What stands in front of an armored OpenPGP message (RFC 3156 §4), and what behind it. The boundary is of
/// letters and digits.
pub fn pgp_head_and_tail(header: &[u8], boundary: &str) -> (Vec<u8>, String) {
    let mut out = shown(header);
    out.extend_from_slice(
        format!(
            "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\";\r\n\tboundary=\"{boundary}\"\r\n\
             \r\n\
             This is an OpenPGP/MIME encrypted message (RFC 3156).\r\n\
             --{boundary}\r\n\
             Content-Type: application/pgp-encrypted\r\n\
             Content-Description: PGP/MIME version identification\r\n\
             \r\n\
             Version: 1\r\n\
             \r\n\
             --{boundary}\r\n\
             Content-Type: application/octet-stream; name=\"encrypted.asc\"\r\n\
             Content-Description: OpenPGP encrypted message\r\n\
             Content-Disposition: inline; filename=\"encrypted.asc\"\r\n\
             \r\n"
        )
        .as_bytes(),
    );
    (out, format!("\r\n--{boundary}--\r\n"))
}

#[cfg(test)]
mod tests {
    use super::super::Scanner;
    use super::*;

    const HEADER: &[u8] = b"Received: from x\r\nFrom: a@example.org\r\nTo: b@example.com,\r\n c@example.com\r\n\
        Subject: the secret plan\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nX-Plan: secret\r\nFrom: other@example.org\r\n\
        Message-ID: <1@example.org>\r\nContent-Type: text/plain; name=secret.txt\r\n\r\nbody secret\r\n";

    fn scanned(message: &[u8]) -> Structure {
        let mut scanner = Scanner::new();
        scanner.feed(message);
        scanner.finish()
    }

    #[test]
    fn only_what_finds_and_answers_a_message_is_shown() {
        let head = age_head(HEADER);
        let text = core::str::from_utf8(&head).unwrap();
        assert!(!text.contains("secret") && !text.contains("Received") && !text.contains("other@"), "{text}");
        assert!(text.contains("To: b@example.com,\r\n c@example.com\r\nDate:"), "{text}");
        assert!(text.contains("Subject: [encrypted]\r\n"), "{text}");
        let structure = scanned(&head);
        assert_eq!(structure.root().file_name().as_deref(), Some("message.eml.age"));
        assert!(!is_encrypted(&structure));
    }

    #[test]
    fn pgp_mime_has_its_two_parts() {
        let (mut message, tail) = pgp_head_and_tail(HEADER, "abc123");
        message.extend_from_slice(b"-----BEGIN PGP MESSAGE-----\r\n\r\n-----END PGP MESSAGE-----\r\n");
        message.extend_from_slice(tail.as_bytes());
        let structure = scanned(&message);
        assert!(is_encrypted(&structure));
        let types: Vec<_> = structure.leaves().map(|(_, part)| part.media_subtype.as_str()).collect();
        assert_eq!(types, ["pgp-encrypted", "octet-stream"]);
        assert!(message.split(|b| *b == b'\n').all(|line| line.is_empty() || line.ends_with(b"\r")));
    }
}
