//! Transfer encodings and charsets, decoded as they stream by.
//!
//! All decoders take chunks of any size, give the same octets for every split, hold a few octets of state and
//! never fail: mail on the road is damaged in known ways, and what can be read is read.

use alloc::string::String;
use alloc::vec::Vec;

use encoding_rs::{CoderResult, WINDOWS_1252};

use super::content::{Encoding, hex};

/// Undoes a Content-Transfer-Encoding.
#[derive(Clone, Debug)]
pub enum Decoder {
    /// 7bit, 8bit, binary and encodings nobody knows: octets as they stand.
    Identity,
    /// RFC 2045 §6.8.
    Base64(Base64),
    /// RFC 2045 §6.7.
    QuotedPrintable(QuotedPrintable),
}

impl Decoder {
    /// The decoder for an encoding.
    pub fn new(encoding: &Encoding) -> Decoder {
        match encoding {
            Encoding::Base64 => Decoder::Base64(Base64::default()),
            Encoding::QuotedPrintable => Decoder::QuotedPrintable(QuotedPrintable::default()),
            _ => Decoder::Identity,
        }
    }

    /// Decodes the next octets and appends what they give; never more than `chunk` and the few octets held.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        match self {
            Decoder::Identity => out.extend_from_slice(chunk),
            Decoder::Base64(decoder) => decoder.feed(chunk, out),
            Decoder::QuotedPrintable(decoder) => decoder.feed(chunk, out),
        }
    }

    /// The content ended: appends what is still held.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Decoder::Identity => {}
            Decoder::Base64(decoder) => decoder.flush(out),
            Decoder::QuotedPrintable(decoder) => decoder.finish(out),
        }
    }
}

/// Counts what decoding gives, for BINARY.SIZE (RFC 3516 §4.3), without keeping it.
#[derive(Clone, Debug)]
pub struct DecodedSize {
    decoder: Decoder,
    scratch: Vec<u8>,
    size: u64,
}

impl DecodedSize {
    /// Counts for this encoding.
    pub fn new(encoding: &Encoding) -> Self {
        DecodedSize { decoder: Decoder::new(encoding), scratch: Vec::new(), size: 0 }
    }

    /// Counts the next octets.
    pub fn feed(&mut self, chunk: &[u8]) {
        if let Decoder::Identity = self.decoder {
            self.size = self.size.saturating_add(chunk.len() as u64);
            return;
        }
        for piece in chunk.chunks(4096) {
            self.scratch.clear();
            self.decoder.feed(piece, &mut self.scratch);
            self.size = self.size.saturating_add(self.scratch.len() as u64);
        }
    }

    /// The decoded size.
    pub fn finish(mut self) -> u64 {
        self.scratch.clear();
        self.decoder.finish(&mut self.scratch);
        self.size.saturating_add(self.scratch.len() as u64)
    }
}

/// Base64. Octets outside the alphabet are passed over; `=` ends a group, and what follows begins a new one,
/// because some senders put encoded pieces one behind the other. A last group of two or three characters
/// counts without its padding; a single character is dropped.
#[derive(Clone, Debug, Default)]
pub struct Base64 {
    bits: u32,
    held: u8,
}

const NOT_BASE64: u8 = 0xff;
const BASE64_VALUES: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut table = [NOT_BASE64; 256];
    let mut i = 0;
    while i < 64 {
        table[alphabet[i] as usize] = i as u8;
        i += 1;
    }
    table
};

impl Base64 {
    /// Decodes the next octets.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        for &b in chunk {
            let value = BASE64_VALUES[usize::from(b)];
            if value != NOT_BASE64 {
                self.bits = self.bits << 6 | u32::from(value);
                self.held += 1;
                if self.held == 4 {
                    out.extend_from_slice(&self.bits.to_be_bytes()[1..]);
                    (self.bits, self.held) = (0, 0);
                }
            } else if b == b'=' {
                self.flush(out);
            }
        }
    }

    /// Ends a group.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        match self.held {
            2 => out.push((self.bits >> 4) as u8),
            3 => out.extend_from_slice(&((self.bits >> 2) as u16).to_be_bytes()),
            _ => {}
        }
        (self.bits, self.held) = (0, 0);
    }
}

/// White space in front of a line end that is held back, to be dropped (RFC 2045 §6.7 rule 3). A longer run is
/// let through.
const QP_BLANKS_MAX: usize = 1_000;

/// Quoted-printable. A soft line break may have white space behind its `=`; `=` in front of anything else
/// stands for itself; hexadecimal digits may be in lower case.
#[derive(Clone, Debug, Default)]
pub struct QuotedPrintable {
    state: Qp,
    /// Held back: white space, or the white space behind a soft break's `=`.
    blanks: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Qp {
    #[default]
    Text,
    /// White space is held back.
    Blanks,
    /// White space, then CR.
    BlanksCr,
    /// `=`.
    Equals,
    /// `=` and one hexadecimal digit, as it stands.
    Digit(u8),
    /// `=` and white space.
    SoftBlanks,
    /// `=`, maybe white space, then CR.
    SoftCr,
}

impl QuotedPrintable {
    /// Decodes the next octets.
    pub fn feed(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let mut rest = chunk;
        while let [b, tail @ ..] = rest {
            if self.state == Qp::Text {
                let plain = rest.iter().position(|b| matches!(b, b'=' | b' ' | b'\t')).unwrap_or(rest.len());
                if plain > 0 {
                    out.extend_from_slice(&rest[..plain]);
                    rest = &rest[plain..];
                    continue;
                }
            }
            self.octet(*b, out);
            rest = tail;
        }
    }

    fn octet(&mut self, b: u8, out: &mut Vec<u8>) {
        self.state = match (self.state, b) {
            (Qp::Text, b'=') => Qp::Equals,
            (Qp::Text, b' ' | b'\t') => self.hold(b, Qp::Blanks, out),
            (Qp::Text, _) => {
                out.push(b);
                Qp::Text
            }
            (Qp::Blanks, b' ' | b'\t') => self.hold(b, Qp::Blanks, out),
            (Qp::Blanks, b'\r') => Qp::BlanksCr,
            (Qp::Blanks, b'\n') => {
                self.blanks.clear();
                out.push(b'\n');
                Qp::Text
            }
            (Qp::BlanksCr, b'\n') => {
                self.blanks.clear();
                out.extend_from_slice(b"\r\n");
                Qp::Text
            }
            (Qp::Equals | Qp::SoftBlanks, b'\r') => Qp::SoftCr,
            (Qp::Equals | Qp::SoftBlanks, b'\n') | (Qp::SoftCr, b'\n') => {
                self.blanks.clear();
                Qp::Text
            }
            (Qp::Equals | Qp::SoftBlanks, b' ' | b'\t') => self.hold(b, Qp::SoftBlanks, out),
            (Qp::Equals, _) if hex(b).is_some() => Qp::Digit(b),
            (Qp::Digit(high), _) if hex(b).is_some() => {
                out.push(hex(high).unwrap_or(0) << 4 | hex(b).unwrap_or(0));
                Qp::Text
            }
            // What was held stands for itself after all, and this octet is looked at anew.
            _ => {
                self.release(out);
                self.octet(b, out);
                self.state
            }
        };
    }

    fn hold(&mut self, b: u8, state: Qp, out: &mut Vec<u8>) -> Qp {
        self.blanks.push(b);
        self.state = state;
        if self.blanks.len() > QP_BLANKS_MAX {
            self.release(out);
        }
        self.state
    }

    fn release(&mut self, out: &mut Vec<u8>) {
        match self.state {
            Qp::Text | Qp::Blanks | Qp::BlanksCr => {}
            Qp::Digit(high) => out.extend_from_slice(&[b'=', high]),
            Qp::Equals | Qp::SoftBlanks | Qp::SoftCr => out.push(b'='),
        }
        out.append(&mut self.blanks);
        if matches!(self.state, Qp::BlanksCr | Qp::SoftCr) {
            out.push(b'\r');
        }
        self.state = Qp::Text;
    }

    /// The content ended. White space at the very end is dropped, as in front of a line end.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        match self.state {
            Qp::Text | Qp::Blanks | Qp::Equals | Qp::SoftBlanks | Qp::SoftCr => {
                self.blanks.clear();
                self.state = Qp::Text;
            }
            Qp::BlanksCr | Qp::Digit(_) => self.release(out),
        }
    }
}

/// The encoding for a charset label; UTF-8 for `utf-8`, windows-1252 (a superset of ASCII and Latin-1) for
/// labels nobody knows, so that text in ASCII can be found whatever it is labelled.
fn charset_of(label: &[u8]) -> &'static encoding_rs::Encoding {
    encoding_rs::Encoding::for_label(label).unwrap_or(WINDOWS_1252)
}

/// Octets in a charset to UTF-8; what cannot be decoded becomes U+FFFD. US-ASCII, an empty and an unknown
/// label are read as UTF-8 when the octets are valid UTF-8, which is what unlabelled mail of today holds.
pub fn to_utf8(charset: &[u8], octets: &[u8]) -> String {
    let unlabelled = charset.is_empty()
        || charset.eq_ignore_ascii_case(b"us-ascii")
        || encoding_rs::Encoding::for_label(charset).is_none();
    if unlabelled && let Ok(text) = core::str::from_utf8(octets) {
        return String::from(text);
    }
    charset_of(charset).decode_without_bom_handling(octets).0.into_owned()
}

/// Decodes a text part from its transfer encoding and its charset to UTF-8, as it streams by; for SEARCH and
/// previews.
pub struct TextDecoder {
    transfer: Decoder,
    charset: encoding_rs::Decoder,
    scratch: Vec<u8>,
}

impl TextDecoder {
    /// For a part's encoding and its charset label, if it has one; without one UTF-8 is assumed.
    pub fn new(encoding: &Encoding, charset: Option<&str>) -> Self {
        let charset = match charset {
            None => encoding_rs::UTF_8,
            Some(label) if label.eq_ignore_ascii_case("us-ascii") => encoding_rs::UTF_8,
            Some(label) => charset_of(label.as_bytes()),
        };
        TextDecoder {
            transfer: Decoder::new(encoding),
            charset: charset.new_decoder_without_bom_handling(),
            scratch: Vec::new(),
        }
    }

    /// Decodes the next octets and appends text: at most three octets of UTF-8 for each octet of `chunk`.
    pub fn feed(&mut self, chunk: &[u8], out: &mut String) {
        self.scratch.clear();
        self.transfer.feed(chunk, &mut self.scratch);
        decode_all(&mut self.charset, &self.scratch, out, false);
    }

    /// The part ended.
    pub fn finish(&mut self, out: &mut String) {
        self.scratch.clear();
        self.transfer.finish(&mut self.scratch);
        decode_all(&mut self.charset, &self.scratch, out, true);
    }
}

fn decode_all(decoder: &mut encoding_rs::Decoder, mut octets: &[u8], out: &mut String, last: bool) {
    loop {
        out.reserve(decoder.max_utf8_buffer_length(octets.len()).unwrap_or(64).clamp(64, 64 * 1024));
        let (result, read, _) = decoder.decode_to_string(octets, out, last);
        octets = &octets[read..];
        if result == CoderResult::InputEmpty {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn decode(encoding: &Encoding, text: &[u8]) -> Vec<u8> {
        let mut whole = Vec::new();
        for size in 1..=text.len().max(1) {
            let mut decoder = Decoder::new(encoding);
            let mut count = DecodedSize::new(encoding);
            let mut out = Vec::new();
            for chunk in text.chunks(size) {
                decoder.feed(chunk, &mut out);
                count.feed(chunk);
            }
            decoder.finish(&mut out);
            assert_eq!(count.finish(), out.len() as u64);
            if size == 1 {
                whole = out;
            } else {
                assert_eq!(out, whole, "split by {size}");
            }
        }
        whole
    }

    #[test]
    fn si37_base64_with_junk_and_padding_in_the_middle() {
        for (text, want) in [
            ("aGVsbG8=", &b"hello"[..]),
            ("aGVs\r\nbG8=\r\n", b"hello"),
            ("aGVsbG8", b"hello"),
            ("aG!V*s-bG8=", b"hello"),
            ("aGk=aGk=", b"hihi"),
            ("aGk==aGk=", b"hihi"),
            ("a", b""),
            ("", b""),
            ("====", b""),
        ] {
            assert_eq!(decode(&Encoding::Base64, text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn quoted_printable_with_every_damage() {
        for (text, want) in [
            ("a=3Db", "a=b"),
            ("a=3db", "a=b"),
            ("soft=\r\nbreak", "softbreak"),
            ("soft=\nbreak", "softbreak"),
            ("soft= \t\r\nbreak", "softbreak"),
            ("trail  \r\nx", "trail\r\nx"),
            ("trail\t\nx", "trail\nx"),
            ("in  side", "in  side"),
            ("bad=ZZ", "bad=ZZ"),
            ("bad=4Z", "bad=4Z"),
            ("bad=4", "bad=4"),
            ("end=", "end"),
            ("==41", "=A"),
            ("=4=41", "=4A"),
            ("a \rb", "a \rb"),
            ("=\rb", "=\rb"),
            ("= b", "= b"),
            ("last  ", "last"),
        ] {
            let got = decode(&Encoding::QuotedPrintable, text.as_bytes());
            assert_eq!(String::from_utf8_lossy(&got), want, "{text:?}");
        }
    }

    #[test]
    fn a_run_of_blanks_is_held_up_to_its_limit() {
        for (blanks, kept) in [(QP_BLANKS_MAX, 0), (QP_BLANKS_MAX + 1, QP_BLANKS_MAX + 1)] {
            let mut text = vec![b' '; blanks];
            text.extend_from_slice(b"\r\n");
            let mut decoder = QuotedPrintable::default();
            let mut out = Vec::new();
            decoder.feed(&text, &mut out);
            assert_eq!(out.len(), kept + 2);
        }
    }

    #[test]
    fn text_is_decoded_across_chunks() {
        let octets = "Grüße, 世界".as_bytes();
        let (sjis, _, _) = encoding_rs::SHIFT_JIS.encode("日本語テスト");
        for (charset, octets, want) in [
            (None, octets, "Grüße, 世界"),
            (Some("US-ASCII"), octets, "Grüße, 世界"),
            (Some("iso-8859-1"), &b"Gr\xfc\xdfe"[..], "Grüße"),
            (Some("x-nobody"), b"plain", "plain"),
            (Some("shift_jis"), &sjis, "日本語テスト"),
            (Some("utf-8"), b"a\xffb", "a\u{fffd}b"),
        ] {
            for size in 1..=octets.len() {
                let mut decoder = TextDecoder::new(&Encoding::EightBit, charset);
                let mut out = String::new();
                for chunk in octets.chunks(size) {
                    decoder.feed(chunk, &mut out);
                }
                decoder.finish(&mut out);
                assert_eq!(out, want);
            }
        }
    }
}
