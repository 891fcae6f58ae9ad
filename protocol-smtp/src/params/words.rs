//! The words behind a path, read once from front to back.

use core::str;

use super::ParamError;
use crate::keyword::is_keyword;

/// `esmtp-keyword ["=" esmtp-value]` (RFC 5321 §4.1.2), each behind a space. More than one space is taken as one.
///
/// A keyword is compared where it stands and a value is read by its own grammar, so that nobody first looks for
/// their ends.
pub(super) struct Words<'b> {
    text: &'b [u8],
    at: usize,
}

impl<'b> Words<'b> {
    /// `text` begins with a space unless it is empty.
    #[inline]
    pub(super) fn new(text: &'b [u8]) -> Result<Words<'b>, ParamError> {
        if matches!(text, [] | [b' ', ..]) { Ok(Words { text, at: 0 }) } else { Err(ParamError::Bad) }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Whether a word ends here.
    #[inline]
    pub(super) fn at_end(&self) -> bool {
        matches!(self.peek(), None | Some(b' '))
    }

    /// Goes to the next word; its first letter in upper case.
    #[inline]
    pub(super) fn next_word(&mut self) -> Option<u8> {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
        self.peek().map(|b| b.to_ascii_uppercase())
    }

    /// Passes `octets` if they stand here, in any case; they are given in upper case.
    #[inline]
    pub(super) fn eat<const N: usize>(&mut self, octets: &[u8; N]) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_here = rest.first_chunk::<N>().is_some_and(|front| is_keyword(front, octets));
        if is_here {
            self.at += N;
        }
        is_here
    }

    /// Passes a keyword if it is this one.
    #[inline]
    pub(super) fn keyword<const N: usize>(&mut self, keyword: &[u8; N]) -> bool {
        let begin = self.at;
        if self.eat(keyword) && matches!(self.peek(), None | Some(b' ' | b'=')) {
            return true;
        }
        self.at = begin;
        false
    }

    /// The value as one of a few words: [`Words::eat`] them in `read`, which must come to the value's end.
    #[inline]
    pub(super) fn parsed<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Result<T, ParamError> {
        let value = if self.eat(b"=") { read(self) } else { None };
        value.filter(|_| self.at_end()).ok_or(ParamError::Bad)
    }

    /// What was passed since `from`, if it is UTF-8.
    #[inline]
    pub(super) fn since(&self, from: usize) -> Option<&'b str> {
        str::from_utf8(self.text.get(from..self.at)?).ok()
    }

    /// Where the next octet stands.
    #[inline]
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The next octet, which is passed, if it is a digit.
    #[inline]
    pub(super) fn digit(&mut self) -> Option<u8> {
        let digit = self.peek()?.wrapping_sub(b'0');
        (digit < 10).then(|| {
            self.at += 1;
            digit
        })
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
