//! Eight octets looked at in one step, and keywords in any case.

use core::num::NonZeroU64;

const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each octet.
const HIGH: u64 = ONES << 7;

/// The eight octets that `octets` begins with, the first in the lowest bits; behind the end stand zeros.
#[inline(always)]
pub(crate) fn front(octets: &[u8]) -> u64 {
    match octets.first_chunk() {
        Some(octets) => u64::from_le_bytes(*octets),
        None => short(octets),
    }
}

/// The same at `at`.
#[inline(always)]
pub(crate) fn word_at(octets: &[u8], at: usize) -> u64 {
    match octets.get(at..) {
        Some(rest) => front(rest),
        None => 0,
    }
}

/// Fewer than eight octets.
#[inline(never)]
fn short(octets: &[u8]) -> u64 {
    octets.iter().rev().fold(0, |word, &b| word << 8 | u64::from(b))
}

/// Calls `each` with every octet that is neither a letter nor a digit, and with its place, in turn; until it
/// answers. Behind the end stand zeros without end, so it has to answer to one of them.
#[inline(always)]
pub(crate) fn each_other<T>(octets: &[u8], mut each: impl FnMut(u8, usize) -> Option<T>) -> T {
    let (mut rest, mut at) = (octets, 0);
    loop {
        let (octets, behind) = match rest.split_first_chunk::<8>() {
            Some((octets, behind)) => (*octets, behind),
            None => (short(rest).to_le_bytes(), &[] as &[u8]),
        };
        let mut others = not_alphanumeric(u64::from_le_bytes(octets));
        while let Some(place) = others.next() {
            if let Some(answer) = each(octets[place], at + place) {
                return answer;
            }
        }
        rest = behind;
        at += 8;
    }
}

/// Which octets of `word` are neither letters nor digits, to be walked with [`Places`].
#[inline(always)]
fn not_alphanumeric(word: u64) -> Places {
    // The sums leave each octet's highest bit where the octet is not below the number, and carry nothing on.
    let octets = word & !HIGH;
    let not_below = |octets: u64, least: u8| octets + (0x80 - u64::from(least)) * ONES;
    let letters = octets | (0x20 * ONES);
    let letter = not_below(letters, b'a') & !not_below(letters, b'z' + 1);
    let digit = not_below(octets, b'0') & !not_below(octets, b'9' + 1);
    Places(!(letter | digit) & HIGH | word & HIGH)
}

/// Which octets of `word` are other than digits.
#[inline(always)]
pub(crate) fn not_digit(word: u64) -> Places {
    let value = word ^ (u64::from(b'0') * ONES);
    Places(((value & !HIGH) + (0x80 - 10) * ONES | value) & HIGH)
}

/// Some of the eight octets of a word.
#[derive(Clone, Copy)]
pub(crate) struct Places(u64);

impl Iterator for Places {
    type Item = usize;

    /// The next of them from the front: its number.
    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let places = NonZeroU64::new(self.0)?;
        self.0 = places.get() & (places.get() - 1);
        Some(places.trailing_zeros() as usize / 8)
    }
}

/// What the first `count` octets of `word`, one to eight, are as decimal digits, which they have to be.
#[inline(always)]
pub(crate) fn decimal(word: u64, count: usize) -> u64 {
    // Zeros before the digits; then pairs, fours and eights of them are put together.
    let digits = (word & (0x0f * ONES)) << (64 - 8 * count);
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours * 10_000 + (fours >> 32)) & 0xffff_ffff
}

/// Whether `word` begins with `keyword`, given in upper case, in any case. No more than eight octets are compared.
///
/// The mask clears, in letters only, the bit that tells their case; for other octets it would take a control for
/// a digit. With a keyword known when it is compiled this is one comparison.
#[inline(always)]
pub(crate) fn begins<const N: usize>(word: u64, keyword: &[u8; N]) -> bool {
    let (mut mask, mut wanted, mut i) = (0, 0, 0);
    while i < N && i < 8 {
        let octet = if keyword[i].is_ascii_uppercase() { 0xdf } else { 0xff };
        mask |= octet << (8 * i);
        wanted |= (keyword[i] as u64) << (8 * i);
        i += 1;
    }
    word & mask == wanted
}

/// Whether `keyword` stands at `at`, given in upper case, in any case.
#[inline(always)]
pub(crate) fn stands_at<const N: usize>(octets: &[u8], at: usize, keyword: &[u8; N]) -> bool {
    let front = octets.get(at..).and_then(|rest| rest.first_chunk::<N>());
    front.is_some_and(|front| {
        let mut differ = 0;
        let mut i = 0;
        while i < N {
            let mask = if keyword[i].is_ascii_uppercase() { 0xdf } else { 0xff };
            differ |= (front[i] & mask) ^ keyword[i];
            i += 1;
        }
        differ == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_in_every_place_is_told_apart() {
        for b in 0..=255_u8 {
            for place in 0..8 {
                for around in [b'a', 0, 0xff, b'9', b'/'] {
                    let mut octets = [around; 8];
                    octets[place] = b;
                    let word = word_at(&octets, 0);
                    let expected = |wanted: fn(&u8) -> bool| {
                        (0..8).filter(|&i| !wanted(&octets[i])).collect::<std::vec::Vec<usize>>()
                    };
                    let found: std::vec::Vec<usize> = not_alphanumeric(word).collect();
                    assert_eq!(found, expected(u8::is_ascii_alphanumeric), "{octets:?}");
                    assert_eq!(
                        not_digit(word).collect::<std::vec::Vec<usize>>(),
                        expected(u8::is_ascii_digit)
                    );
                    let keyword = *b"SIZE=8=/";
                    let same = octets.eq_ignore_ascii_case(&keyword);
                    assert_eq!(begins(word, &keyword), same);
                }
            }
        }
    }

    #[test]
    fn words_end_with_zeros() {
        for len in 0..20 {
            let octets: std::vec::Vec<u8> = (1..=len).collect();
            for at in 0..22 {
                let mut expected = [0; 8];
                for (i, octet) in expected.iter_mut().enumerate() {
                    *octet = octets.get(at + i).copied().unwrap_or(0);
                }
                assert_eq!(word_at(&octets, at).to_le_bytes(), expected, "{len} {at}");
            }
        }
    }

    #[test]
    fn decimals_of_each_length() {
        for (text, value) in
            [("7", 7), ("12", 12), ("104857", 104_857), ("9999999", 9_999_999), ("12345678", 12_345_678)]
        {
            assert_eq!(decimal(word_at(text.as_bytes(), 0), text.len()), value);
            let more = std::format!("{text} BODY=8BITMIME");
            assert_eq!(decimal(word_at(more.as_bytes(), 0), text.len()), value);
        }
    }

    #[test]
    fn keywords_are_the_same_in_any_case_and_nothing_else_is() {
        for b in 0..=255_u8 {
            let is_s = matches!(b, b's' | b'S');
            assert_eq!(begins(word_at(&[b, b'8', b'='], 0), b"S8="), is_s, "{b}");
            assert_eq!(stands_at(&[b'x', b, b'8', b'='], 1, b"S8="), is_s, "{b}");
            assert_eq!(begins(word_at(&[b's', b, b'='], 0), b"S8="), b == b'8', "{b}");
            assert_eq!(stands_at(&[b's', b, b'='], 0, b"S8="), b == b'8', "{b}");
        }
        assert!(!stands_at(b"SIZ", 0, b"SIZE"));
        assert!(!stands_at(b"SIZE", 9, b"SIZE"));
    }
}
