//! RFC 2047 encoded words, decoded for people and for SEARCH. Never used to find addresses.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::content::hex;
use super::decode::{Base64, to_utf8};

/// Decodes every encoded word in an unfolded value and returns UTF-8. White space between two encoded words
/// is dropped (§6.2). Words that cannot be read stay as they are; octets over 127 outside of words are taken
/// as UTF-8 when they are, else as windows-1252. The result has at most three octets for each of `value`.
pub fn decode(value: &[u8]) -> String {
    let mut out = String::with_capacity(value.len());
    // Octets of neighbouring words in one charset are joined before they are decoded, because many senders
    // split a character over two words.
    let mut pending: Option<(&[u8], Vec<u8>)> = None;
    let mut rest = value;
    while !rest.is_empty() {
        let Some(start) = memchr::memmem::find(rest, b"=?") else { break };
        let (plain, candidate) = rest.split_at(start);
        let Some(word) = Word::parse(candidate) else {
            flush(&mut pending, &mut out);
            push_plain(&rest[..start + 2], &mut out);
            rest = &rest[start + 2..];
            continue;
        };
        let between_words =
            pending.is_some() && plain.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
        if !between_words {
            flush(&mut pending, &mut out);
            push_plain(plain, &mut out);
        }
        match &mut pending {
            Some((charset, octets)) if charset.eq_ignore_ascii_case(word.charset) => word.decode(octets),
            _ => {
                flush(&mut pending, &mut out);
                let mut octets = Vec::with_capacity(word.text.len());
                word.decode(&mut octets);
                pending = Some((word.charset, octets));
            }
        }
        rest = &candidate[word.len..];
    }
    flush(&mut pending, &mut out);
    push_plain(rest, &mut out);
    out
}

fn flush(pending: &mut Option<(&[u8], Vec<u8>)>, out: &mut String) {
    if let Some((charset, octets)) = pending.take() {
        out.push_str(&to_utf8(charset, &octets));
    }
}

fn push_plain(octets: &[u8], out: &mut String) {
    match core::str::from_utf8(octets) {
        Ok(text) => out.push_str(text),
        Err(_) => {
            let text: Cow<'_, str> = encoding_rs::WINDOWS_1252.decode_without_bom_handling(octets).0;
            out.push_str(&text);
        }
    }
}

struct Word<'a> {
    charset: &'a [u8],
    base64: bool,
    text: &'a [u8],
    /// Octets of the whole word.
    len: usize,
}

impl<'a> Word<'a> {
    /// `=?charset?B|Q?text?=`. Longer than the 75 characters of §2 is accepted; a space in the text of a Q
    /// word too, because senders forget to write it as `_`.
    fn parse(bytes: &'a [u8]) -> Option<Word<'a>> {
        const CHARSET_MAX: usize = 60;
        let rest = bytes.strip_prefix(b"=?")?;
        let charset_len = rest.iter().take(CHARSET_MAX).position(|&b| b == b'?')?;
        let label = &rest[..charset_len];
        if label.is_empty() || !label.iter().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        // RFC 2231 §5 allows a language behind the charset.
        let charset = label.split(|&b| b == b'*').next().unwrap_or(label);
        let rest = &rest[charset_len + 1..];
        let base64 = match rest {
            [b'B' | b'b', b'?', ..] => true,
            [b'Q' | b'q', b'?', ..] => false,
            _ => return None,
        };
        let text = &rest[2..];
        // The text has no question mark, so a word that does not end costs no more than its own length.
        let text_len = memchr::memchr(b'?', text)?;
        if text.get(text_len + 1) != Some(&b'=') {
            return None;
        }
        Some(Word { charset, base64, text: &text[..text_len], len: 2 + charset_len + 1 + 2 + text_len + 2 })
    }

    fn decode(&self, out: &mut Vec<u8>) {
        if self.base64 {
            let mut decoder = Base64::default();
            decoder.feed(self.text, out);
            decoder.flush(out);
            return;
        }
        let mut rest = self.text;
        while let [b, tail @ ..] = rest {
            rest = tail;
            match b {
                b'_' => out.push(b' '),
                b'=' => match rest {
                    [high, low, tail @ ..] if hex(*high).is_some() && hex(*low).is_some() => {
                        out.push(hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0));
                        rest = tail;
                    }
                    _ => out.push(b'='),
                },
                _ => out.push(*b),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_decoded_as_rfc_2047_section_8_says() {
        for (value, want) in [
            ("(=?ISO-8859-1?Q?a?=)", "(a)"),
            ("(=?ISO-8859-1?Q?a?= b)", "(a b)"),
            ("(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)"),
            ("(=?ISO-8859-1?Q?a?=  \t =?UTF-8?q?b?=)", "(ab)"),
            ("(=?ISO-8859-1?Q?a_b?=)", "(a b)"),
            ("=?ISO-8859-1*de?Q?Gr=FC=DFe?= x", "Grüße x"),
            ("=?utf-8?B?w6Q=?=", "ä"),
            // One character over two words.
            ("=?utf-8?Q?=C3?= =?utf-8?Q?=A4?=", "ä"),
            ("=?utf-8?Q?open", "=?utf-8?Q?open"),
            ("=?utf-8?X?x?=", "=?utf-8?X?x?="),
            ("=?=?utf-8?Q?x?=", "=?x"),
            ("=?utf-8?Q?a b?= c", "a b c"),
            ("plain =? text", "plain =? text"),
            ("=?utf-8?Q?bad=ZZ?=", "bad=ZZ"),
        ] {
            assert_eq!(decode(value.as_bytes()), want, "{value}");
        }
    }

    #[test]
    fn raw_octets_are_utf8_or_windows_1252() {
        assert_eq!(decode("Grüße".as_bytes()), "Grüße");
        assert_eq!(decode(b"Gr\xfc\xdfe"), "Grüße");
    }

    #[test]
    fn a_million_openings_take_linear_time() {
        let value = b"=?".repeat(1 << 20);
        assert_eq!(decode(&value).len(), value.len());
        let value = b"=?a?q?".repeat(1 << 18);
        assert_eq!(decode(&value).len(), value.len());
    }
}
