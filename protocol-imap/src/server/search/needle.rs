//! Looking for text in a stream, without regard to letter case.

use alloc::vec::Vec;

/// Calls `each` with the octets of `text`, folded: letters in lower case as Unicode has them, so that what
/// differs in case only becomes equal (i;ascii-casemap of RFC 4790 and more).
fn fold(text: &str, mut each: impl FnMut(u8)) {
    for c in text.chars() {
        if c.is_ascii() {
            each(c.to_ascii_lowercase() as u8);
            continue;
        }
        for lower in c.to_lowercase() {
            // A final sigma is a sigma; a sharp s is two.
            match lower {
                'ς' => push('σ', &mut each),
                'ß' => "ss".bytes().for_each(&mut each),
                _ => push(lower, &mut each),
            }
        }
    }
}

fn push(c: char, each: &mut impl FnMut(u8)) {
    c.encode_utf8(&mut [0; 4]).bytes().for_each(each);
}

/// A text to look for, by the method of Knuth, Morris and Pratt: each octet of the stream is looked at once,
/// and only a position is kept between pieces.
#[derive(Clone, Debug)]
pub(super) struct Needle {
    folded: Vec<u8>,
    /// For each length matched, the length of the longest proper prefix that is a suffix of it.
    fallback: Vec<u16>,
    matched: usize,
    found: bool,
}

impl Needle {
    /// Looks for `text`; the empty text is found everywhere.
    pub fn new(text: &str) -> Needle {
        let mut folded = Vec::new();
        fold(text, |b| folded.push(b));
        let mut fallback = Vec::with_capacity(folded.len());
        let mut len: usize = 0;
        for (i, b) in folded.iter().enumerate() {
            if i > 0 {
                while len > 0 && folded.get(len) != Some(b) {
                    len = usize::from(fallback[len - 1]);
                }
                if folded.get(len) == Some(b) {
                    len += 1;
                }
            }
            fallback.push(u16::try_from(len).unwrap_or(u16::MAX));
        }
        Needle { found: folded.is_empty(), folded, fallback, matched: 0 }
    }

    /// Begins a new message.
    pub fn reset(&mut self) {
        self.found = self.folded.is_empty();
        self.matched = 0;
    }

    /// Forgets a match that has begun: what follows does not continue what came before.
    pub fn part(&mut self) {
        self.matched = 0;
    }

    /// Looks through the next piece.
    pub fn feed(&mut self, text: &str) {
        if self.found {
            return;
        }
        let Needle { folded, fallback, matched, found } = self;
        fold(text, |b| {
            if *found {
                return;
            }
            while *matched > 0 && folded.get(*matched) != Some(&b) {
                *matched = fallback.get(*matched - 1).map_or(0, |&n| usize::from(n));
            }
            if folded.get(*matched) == Some(&b) {
                *matched += 1;
            }
            *found = *matched == folded.len();
        });
    }

    /// Whether the text has come.
    pub fn is_found(&self) -> bool {
        self.found
    }

    /// Whether the text is in `text`.
    pub fn is_in(&mut self, text: &str) -> bool {
        self.reset();
        self.feed(text);
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn found_across_any_split_as_in_the_whole(text in "[abAB ]{0,30}", needle in "[ab ]{0,5}", at in 0usize..30) {
            let expected = text.to_lowercase().contains(&needle);
            let at = at.min(text.len());
            let mut search = Needle::new(&needle);
            search.feed(&text[..at]);
            search.feed(&text[at..]);
            prop_assert_eq!(search.is_found(), expected);
            prop_assert_eq!(search.is_in(&text), expected);
        }
    }

    #[test]
    fn letters_match_in_any_case() {
        for (needle, text) in [
            ("ENTWÜRFE", "die entwürfe sind da"),
            ("strasse", "Lange STRAßE 5"),
            ("ΟΔΟΣ", "μια οδος"),
            ("привет", "ПРИВЕТ мир"),
        ] {
            assert!(Needle::new(needle).is_in(text), "{needle}");
        }
        assert!(!Needle::new("b").is_in("é"));
    }

    #[test]
    fn parts_do_not_run_into_one_another() {
        let mut needle = Needle::new("ab");
        needle.feed("a");
        needle.part();
        needle.feed("b");
        assert!(!needle.is_found());
    }

    #[test]
    fn a_long_needle_of_repeats_is_linear() {
        let mut needle = Needle::new(&("a".repeat(10_000) + "b"));
        needle.feed(&"a".repeat(1_000_000));
        assert!(!needle.is_found());
        needle.feed("b");
        assert!(needle.is_found());
    }
}
