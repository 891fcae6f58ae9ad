//! The words behind a path, read once from front to back.

use super::ParamError;
use crate::word;

/// `esmtp-keyword ["=" esmtp-value]` (RFC 5321 §4.1.2), each behind a space. More than one space is taken as one.
///
/// A keyword is compared where it stands and a value is read by its own grammar, so that nobody first looks for
/// their ends.
pub(super) struct Words<'b> {
    line: &'b str,
    at: usize,
}

impl<'b> Words<'b> {
    /// At `at` in the line stands a space unless the line ends there.
    #[inline(always)]
    pub(super) fn new(line: &'b str, at: usize) -> Result<Words<'b>, ParamError> {
        let words = Words { line, at };
        if words.at_end() { Ok(words) } else { Err(ParamError::Bad) }
    }

    #[inline(always)]
    pub(super) fn peek(&self) -> Option<u8> {
        self.line.as_bytes().get(self.at).copied()
    }

    /// Whether a word ends here.
    #[inline(always)]
    pub(super) fn at_end(&self) -> bool {
        matches!(self.peek(), None | Some(b' '))
    }

    /// Goes to the next word, if there is one; what comes back are its first octets.
    #[inline(always)]
    pub(super) fn next_word(&mut self) -> Option<u64> {
        loop {
            match self.peek()? {
                b' ' => self.at += 1,
                _ => return Some(self.octets()),
            }
        }
    }

    /// The eight octets that stand here.
    #[inline(always)]
    pub(super) fn octets(&self) -> u64 {
        word::word_at(self.line.as_bytes(), self.at)
    }

    /// Passes so many octets.
    #[inline(always)]
    pub(super) fn pass(&mut self, octets: usize) {
        self.at += octets;
    }

    /// Passes `octets` if they stand here, in any case; they are given in upper case.
    #[inline(always)]
    pub(super) fn eat<const N: usize>(&mut self, octets: &[u8; N]) -> bool {
        let is_here = word::stands_at(self.line.as_bytes(), self.at, octets);
        if is_here {
            self.at += N;
        }
        is_here
    }

    /// Passes a keyword if it is this one. `first` are the octets that stand here.
    #[inline(always)]
    pub(super) fn keyword<const N: usize>(&mut self, first: u64, keyword: &[u8; N]) -> bool {
        let octets = self.line.as_bytes();
        if word::begins(first, keyword)
            && (N <= 8 || word::stands_at(octets, self.at, keyword))
            && matches!(octets.get(self.at + N), None | Some(b' ' | b'='))
        {
            self.at += N;
            return true;
        }
        false
    }

    /// The value as one of a few words: [`Words::eat`] them in `read`, which must come to the value's end.
    #[inline(always)]
    pub(super) fn parsed<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Result<T, ParamError> {
        let value = if self.eat(b"=") { read(self) } else { None };
        value.filter(|_| self.at_end()).ok_or(ParamError::Bad)
    }

    /// What was passed since `from`.
    #[inline(always)]
    pub(super) fn since(&self, from: usize) -> Option<&'b str> {
        self.line.get(from..self.at)
    }

    /// Where the next octet stands.
    #[inline(always)]
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The value to its end, when there is one.
    #[inline]
    pub(super) fn value(&mut self) -> Option<&'b str> {
        if !self.eat(b"=") {
            return None;
        }
        let from = self.at;
        while !self.at_end() {
            self.at += 1;
        }
        self.since(from)
    }
}
