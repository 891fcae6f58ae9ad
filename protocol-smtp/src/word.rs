//! Eight octets looked at in one step, and keywords in any case.

use core::num::NonZeroU32;

const ONES: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each octet.
const HIGH: u64 = ONES << 7;

/// The eight octets that begin at `at`, the first in the lowest bits; behind the end stand zeros.
#[inline(always)]
pub(crate) fn word_at(octets: &[u8], at: usize) -> u64 {
    match octets.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(octets) => u64::from_le_bytes(*octets),
        None => last_word(octets, at),
    }
}

#[inline(never)]
fn last_word(octets: &[u8], at: usize) -> u64 {
    let rest = octets.get(at..).unwrap_or_default();
    match octets.last_chunk() {
        Some(_) if rest.is_empty() => 0,
        Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
        None => rest.iter().rev().fold(0, |word, &b| word << 8 | u64::from(b)),
    }
}

/// The highest bit of each octet of `word` that is neither a letter nor a digit.
#[inline(always)]
fn not_alphanumeric(word: u64) -> u64 {
    // The sums leave each octet's highest bit where the octet is not below the number, and carry nothing on.
    let octets = word & !HIGH;
    let not_below = |octets: u64, least: u8| octets + (0x80 - u64::from(least)) * ONES;
    let letters = octets | (0x20 * ONES);
    let letter = not_below(letters, b'a') ^ not_below(letters, b'z' + 1);
    let digit = not_below(octets, b'0') ^ not_below(octets, b'9' + 1);
    // No octet is both.
    (!(letter ^ digit) | word) & HIGH
}

/// The places of the octets from `at` on that are neither letters nor digits, in turn. The end is one of them.
pub(crate) struct Others<'b> {
    octets: &'b [u8],
    /// Where the octet of the lowest bit stands, and how many were looked at.
    base: usize,
    looked_at: usize,
    bits: u32,
}

impl<'b> Others<'b> {
    #[inline(always)]
    pub(crate) fn new(octets: &'b [u8], at: usize) -> Others<'b> {
        // Most paths are not longer than that.
        match octets.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(window) => Others { octets, base: at, looked_at: 32, bits: others_of_four(window) },
            None => Others { octets, base: at, looked_at: 8, bits: others(octets, at) },
        }
    }

    /// The next of them; from the end on, some place not before it.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> usize {
        loop {
            if let Some(bits) = NonZeroU32::new(self.bits) {
                self.bits = bits.get() & (bits.get() - 1);
                return self.base + bits.trailing_zeros() as usize;
            }
            self.base += self.looked_at;
            self.looked_at = 8;
            self.bits = others(self.octets, self.base);
        }
    }
}

/// A bit for each octet of `word` that is neither a letter nor a digit.
#[inline(always)]
fn bits(word: u64) -> u32 {
    // Each octet's highest bit comes into the highest octet, beside those of the others.
    (not_alphanumeric(word).wrapping_mul(0x0002_0408_1020_4081) >> 56) as u32
}

#[inline(never)]
fn others_of_four(octets: &[u8; 32]) -> u32 {
    let (words, _) = octets.as_chunks::<8>();
    words.iter().rev().fold(0, |all, word| all << 8 | bits(u64::from_le_bytes(*word)))
}

#[inline(never)]
fn others(octets: &[u8], at: usize) -> u32 {
    bits(word_at(octets, at))
}

/// How many digits `word` begins with.
#[inline(always)]
pub(crate) fn digits(word: u64) -> usize {
    let value = word ^ (u64::from(b'0') * ONES);
    let other = (((value & !HIGH) + (0x80 - 10) * ONES) | value) & HIGH;
    other.trailing_zeros() as usize / 8
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
    use std::vec::Vec;

    use super::*;

    #[test]
    fn every_octet_in_every_place_is_told_apart() {
        for b in 0..=255_u8 {
            for place in 0..8 {
                for around in [b'a', 0, 0xff, b'9', b'/'] {
                    let mut octets = [around; 8];
                    octets[place] = b;
                    let high = not_alphanumeric(word_at(&octets, 0)).to_le_bytes();
                    let expected = octets.map(|b| if b.is_ascii_alphanumeric() { 0 } else { 0x80 });
                    assert_eq!(high, expected, "{octets:?}");
                    let expected = octets.iter().take_while(|b| b.is_ascii_digit()).count();
                    assert_eq!(digits(word_at(&octets, 0)), expected, "{octets:?}");
                    let keyword = *b"SIZE=8=/";
                    assert_eq!(begins(word_at(&octets, 0), &keyword), octets.eq_ignore_ascii_case(&keyword));
                }
            }
        }
    }

    #[test]
    fn others_are_found_in_texts_of_every_length() {
        for len in 0..100 {
            for step in 1..12 {
                let octets: Vec<u8> = (0..len).map(|i| if i % step == 0 { b'.' } else { b'a' }).collect();
                for at in 0..len + 2 {
                    let expected: Vec<usize> = (at..len).filter(|i| i % step == 0).collect();
                    let mut others = Others::new(&octets, at);
                    let found: Vec<usize> = expected.iter().map(|_| others.next()).collect();
                    assert_eq!(found, expected, "{len} {step} {at}");
                    // Beginning behind the end, the end is where it began.
                    assert_eq!(others.next(), len.max(at), "{len} {step} {at}");
                }
            }
        }
    }

    #[test]
    fn words_end_with_zeros() {
        for len in 0..20 {
            let octets: Vec<u8> = (1..=len).collect();
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
