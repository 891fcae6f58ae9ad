//! Transfer encodings, written as the content streams by (RFC 2045 §6.7, §6.8).

use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Octets that make one line of 76 characters (RFC 2045 §6.8).
const BASE64_LINE_OCTETS: usize = 57;
/// Characters of a line in front of the `=` of a soft line break (RFC 2045 §6.7 rule 5).
const QP_LINE: usize = 75;

/// Writes base64 in lines of 76 characters; the last one gets no line end.
#[derive(Debug, Default)]
pub struct Base64 {
    line: Vec<u8>,
}

impl Base64 {
    /// Takes content, in pieces of any size.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            // A full line waits for the octet behind it, because the last one gets no line end.
            if self.line.len() == BASE64_LINE_OCTETS {
                self.write_line(out);
                out.extend_from_slice(b"\r\n");
            }
            let (now, later) = bytes.split_at((BASE64_LINE_OCTETS - self.line.len()).min(bytes.len()));
            self.line.extend_from_slice(now);
            bytes = later;
        }
    }

    /// The content ended. Whether anything was written on the last line.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        let some = !self.line.is_empty();
        self.write_line(out);
        some
    }

    fn write_line(&mut self, out: &mut Vec<u8>) {
        let mut encoded = [0; BASE64_LINE_OCTETS / 3 * 4];
        // The buffer is as large as a full line becomes.
        let len = STANDARD.encode_slice(&self.line, &mut encoded).unwrap_or(0);
        out.extend_from_slice(&encoded[..len]);
        self.line.clear();
    }
}

/// Writes quoted-printable in lines of at most 76 characters. CRLF stays a line end; a lone CR or LF is
/// escaped as any other octet that is not printable.
///
/// No line begins with `-`: a soft break may move text to the beginning of a line, and there it must not
/// become a delimiter of the multipart that the content stands in.
#[derive(Debug, Default)]
pub struct QuotedPrintable {
    column: usize,
    /// White space that must not come last on its line.
    blank: Option<u8>,
    /// A CR that may begin a line end; comes behind `blank`.
    cr: bool,
}

impl QuotedPrintable {
    /// Takes content, in pieces of any size.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &b in bytes {
            if core::mem::take(&mut self.cr) {
                if b == b'\n' {
                    self.escape_blank(out);
                    out.extend_from_slice(b"\r\n");
                    self.column = 0;
                    continue;
                }
                self.write_blank(out);
                self.escape(b'\r', out);
            }
            match b {
                b'\r' => self.cr = true,
                b' ' | b'\t' => {
                    self.write_blank(out);
                    self.blank = Some(b);
                }
                b'-' => {
                    self.write_blank(out);
                    // One that does not fit begins the next line.
                    if self.column == 0 || self.column == QP_LINE {
                        self.escape(b, out);
                    } else {
                        self.write(&[b], out);
                    }
                }
                b'=' | 0..=32 | 127.. => {
                    self.write_blank(out);
                    self.escape(b, out);
                }
                _ => {
                    self.write_blank(out);
                    self.write(&[b], out);
                }
            }
        }
    }

    /// The content ended. Whether it ended in the middle of a line.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        if core::mem::take(&mut self.cr) {
            self.write_blank(out);
            self.escape(b'\r', out);
        }
        self.escape_blank(out);
        core::mem::take(&mut self.column) > 0
    }

    fn write_blank(&mut self, out: &mut Vec<u8>) {
        if let Some(blank) = self.blank.take() {
            self.write(&[blank], out);
        }
    }

    fn escape_blank(&mut self, out: &mut Vec<u8>) {
        if let Some(blank) = self.blank.take() {
            self.escape(blank, out);
        }
    }

    fn escape(&mut self, b: u8, out: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        self.write(&[b'=', DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]], out);
    }

    fn write(&mut self, token: &[u8], out: &mut Vec<u8>) {
        if self.column + token.len() > QP_LINE {
            out.extend_from_slice(b"=\r\n");
            self.column = 0;
        }
        out.extend_from_slice(token);
        self.column += token.len();
    }
}

/// Either of them, behind a decoder of what the content was in.
#[derive(Debug)]
pub(super) enum Encoder {
    Base64(Base64),
    QuotedPrintable(QuotedPrintable),
}

impl Encoder {
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Encoder::Base64(encoder) => encoder.feed(bytes, out),
            Encoder::QuotedPrintable(encoder) => encoder.feed(bytes, out),
        }
    }

    /// The content ended. At the end of the message its last line is ended too, without a change of what it
    /// decodes to; elsewhere the line end of the delimiter behind it does that.
    pub fn finish(&mut self, is_end_of_message: bool, out: &mut Vec<u8>) {
        let (is_open, line_end): (bool, &[u8]) = match self {
            Encoder::Base64(encoder) => (encoder.finish(out), b"\r\n"),
            Encoder::QuotedPrintable(encoder) => (encoder.finish(out), b"=\r\n"),
        };
        if is_open && is_end_of_message {
            out.extend_from_slice(line_end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::content::Encoding;
    use crate::message::decode::Decoder;
    use alloc::string::String;

    fn quoted(bytes: &[u8]) -> String {
        let mut whole = None;
        for size in 1..=bytes.len().max(1) {
            let mut encoder = QuotedPrintable::default();
            let mut out = Vec::new();
            bytes.chunks(size).for_each(|chunk| encoder.feed(chunk, &mut out));
            encoder.finish(&mut out);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(whole.get_or_insert_with(|| text.clone()), &text, "split by {size}");
        }
        let text = whole.unwrap_or_default();
        assert!(text.split("\r\n").all(|line| line.len() <= 76 && !line.starts_with('-')), "{text}");
        let mut decoder = Decoder::new(&Encoding::QuotedPrintable);
        let mut back = Vec::new();
        decoder.feed(text.as_bytes(), &mut back);
        decoder.finish(&mut back);
        assert_eq!(back, bytes);
        text
    }

    #[test]
    fn quoted_printable_known_answers() {
        for (plain, want) in [
            ("", ""),
            ("a=b\r\n", "a=3Db\r\n"),
            ("é\r\n", "=C3=A9\r\n"),
            ("end \r\n\t\r\nlast ", "end=20\r\n=09\r\nlast=20"),
            ("a  b", "a  b"),
            ("a\rb\nc\0", "a=0Db=0Ac=00"),
            ("a \r", "a =0D"),
            ("\r\r\n", "=0D\r\n"),
            ("--x--\r\na-b", "=2D-x--\r\na-b"),
        ] {
            assert_eq!(quoted(plain.as_bytes()), want, "{plain:?}");
        }
    }

    #[test]
    fn long_lines_are_broken_softly_and_begin_no_delimiter() {
        for n in 70..80 {
            quoted(&[b"x".repeat(n), b"--x--".to_vec()].concat());
            quoted(&[b"x".repeat(n), b" ".repeat(10), b"\r\n-".to_vec()].concat());
            quoted(&[b"x".repeat(n), b"\xff-\r\n".to_vec()].concat());
        }
        assert_eq!(quoted(&b"-".repeat(200)).matches("=2D").count(), 3);
        assert_eq!(quoted(&b"x".repeat(76)).split("\r\n").next().map(str::len), Some(76));
    }
}
