//! A reader of JSON (RFC 8259) for the shapes that reports have: values are taken in the order in which they
//! stand, and what nobody wants is skipped. Depth and the length of texts have limits.

use alloc::string::String;

/// How deep arrays and objects may stand in one another.
const DEPTH_MAX: u32 = 16;
/// Octets of a text that is kept; longer ones are cut.
pub(super) const TEXT_MAX: usize = 1_024;

/// This is no JSON, or not what was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Malformed;

pub(super) type Result<T> = core::result::Result<T, Malformed>;

/// Reads values one after the other.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    depth: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(json: &'a [u8]) -> Self {
        Reader { rest: json, depth: 0 }
    }

    /// Nothing but white space is left.
    pub(super) fn end(mut self) -> Result<()> {
        if self.peek().is_none() { Ok(()) } else { Err(Malformed) }
    }

    /// The next octet that is no white space.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = self.rest {
            self.rest = rest;
        }
        self.rest.first().copied()
    }

    fn octet(&mut self) -> Result<u8> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*first)
    }

    fn expect(&mut self, octet: u8) -> Result<()> {
        self.peek();
        if self.octet()? == octet { Ok(()) } else { Err(Malformed) }
    }

    /// An object; `member` takes each value by its name, or skips it.
    pub(super) fn object(&mut self, mut member: impl FnMut(&mut Self, &str) -> Result<()>) -> Result<()> {
        self.items(b'{', b'}', |reader| {
            let name = reader.string()?;
            reader.expect(b':')?;
            member(reader, &name)
        })
    }

    /// An array; `item` takes each value.
    pub(super) fn array(&mut self, item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.items(b'[', b']', item)
    }

    fn items(&mut self, open: u8, close: u8, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.expect(open)?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Malformed);
        }
        if self.peek() == Some(close) {
            self.octet()?;
        } else {
            loop {
                item(self)?;
                self.peek();
                match self.octet()? {
                    b',' => {}
                    octet if octet == close => break,
                    _ => return Err(Malformed),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// A text, cut at [`TEXT_MAX`].
    pub(super) fn string(&mut self) -> Result<String> {
        self.expect(b'"')?;
        let mut text = String::new();
        let mut put = |c: char| {
            if text.len() + c.len_utf8() <= TEXT_MAX {
                text.push(c);
            }
        };
        loop {
            let plain = self.rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f));
            let (piece, rest) = self.rest.split_at_checked(plain.ok_or(Malformed)?).ok_or(Malformed)?;
            core::str::from_utf8(piece).map_err(|_| Malformed)?.chars().for_each(&mut put);
            self.rest = rest;
            match self.octet()? {
                b'"' => return Ok(text),
                b'\\' => put(self.escaped()?),
                _ => return Err(Malformed),
            }
        }
    }

    fn escaped(&mut self) -> Result<char> {
        Ok(match self.octet()? {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            octet @ (b'"' | b'\\' | b'/') => char::from(octet),
            b'u' => {
                let first = self.unit()?;
                if !(0xd800..0xdc00).contains(&first) {
                    return char::from_u32(first).ok_or(Malformed);
                }
                if (self.octet()?, self.octet()?) != (b'\\', b'u') {
                    return Err(Malformed);
                }
                let second = self.unit()?.checked_sub(0xdc00).filter(|n| *n < 0x400).ok_or(Malformed)?;
                char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + second).ok_or(Malformed)?
            }
            _ => return Err(Malformed),
        })
    }

    fn unit(&mut self) -> Result<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            unit = unit * 16 + char::from(self.octet()?).to_digit(16).ok_or(Malformed)?;
        }
        Ok(unit)
    }

    /// A whole number that is not negative; a greater one than fits is the greatest.
    pub(super) fn number(&mut self) -> Result<u64> {
        self.peek();
        let digits = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (number, rest) = self.rest.split_at_checked(digits).ok_or(Malformed)?;
        if number.is_empty() || matches!(rest.first(), Some(b'.' | b'e' | b'E')) {
            return Err(Malformed);
        }
        self.rest = rest;
        let add = |n: u64, b: &u8| n.saturating_mul(10).saturating_add(u64::from(b - b'0'));
        Ok(number.iter().fold(0, add))
    }

    /// Whatever comes.
    pub(super) fn skip(&mut self) -> Result<()> {
        match self.peek().ok_or(Malformed)? {
            b'{' => self.object(|reader, _| reader.skip()),
            b'[' => self.array(Reader::skip),
            b'"' => self.string().map(drop),
            _ => {
                let word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.');
                let len = self.rest.iter().take_while(|b| word(b)).count();
                let (word, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
                let is_number = word.first().is_some_and(|b| b.is_ascii_digit() || *b == b'-');
                if !is_number && !matches!(word, b"true" | b"false" | b"null") {
                    return Err(Malformed);
                }
                self.rest = rest;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;

    fn text(json: &str) -> Result<String> {
        Reader::new(json.as_bytes()).string()
    }

    #[test]
    fn texts() {
        assert_eq!(text(r#" "a\"\\\/\n\u00e9\ud83d\udce7é" "#).as_deref(), Ok("a\"\\/\né\u{1f4e7}é"));
        for bad in [r#""a"#, r#""\x""#, r#""\ud83d""#, r#""\udce7""#, r#""\u12""#, "\"a\nb\"", "a", ""] {
            assert_eq!(text(bad), Err(Malformed), "{bad}");
        }
        assert_eq!(Reader::new(b"\"\xff\"").string(), Err(Malformed));
        assert_eq!(text(&format!("\"{}\"", "x".repeat(TEXT_MAX))).map(|t| t.len()), Ok(TEXT_MAX));
        assert_eq!(text(&format!("\"{}\"", "x".repeat(TEXT_MAX + 1))).map(|t| t.len()), Ok(TEXT_MAX));
    }

    #[test]
    fn numbers() {
        let number = |json: &str| Reader::new(json.as_bytes()).number();
        assert_eq!(
            (number("0"), number(" 12,"), number("99999999999999999999")),
            (Ok(0), Ok(12), Ok(u64::MAX))
        );
        for bad in ["", "-1", "1.5", "1e9", "x"] {
            assert_eq!(number(bad), Err(Malformed), "{bad}");
        }
    }

    #[test]
    fn members_and_what_is_skipped() {
        let json = br#"{"a":1,"b":{"x":[true,null,-1.5e3,"]"]},"c":[1, 2 ,3],"d":{}} "#;
        let (mut a, mut c) = (0, Vec::new());
        let mut reader = Reader::new(json);
        let read = reader.object(|reader, name| {
            match name {
                "a" => a = reader.number()?,
                "c" => reader.array(|reader| {
                    c.push(reader.number()?);
                    Ok(())
                })?,
                _ => reader.skip()?,
            }
            Ok(())
        });
        assert_eq!((read, a, c.as_slice()), (Ok(()), 1, &[1, 2, 3][..]));
        assert_eq!(reader.end(), Ok(()));
        for bad in ["{\"a\" 1}", "{\"a\":1,}", "{\"a\":1", "[1]", "{a:1}", "{\"a\":tru}"] {
            assert_eq!(Reader::new(bad.as_bytes()).object(|r, _| r.skip()), Err(Malformed), "{bad}");
        }
    }

    #[test]
    fn depth_at_its_limit() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let skip = |n: usize| Reader::new(nested(n).as_bytes()).skip();
        assert_eq!(skip(DEPTH_MAX as usize), Ok(()));
        assert_eq!(skip(DEPTH_MAX as usize + 1), Err(Malformed));
    }
}
