//! A [`Structure`] as octets, to be kept beside its message: a version, then fields in a fixed order, numbers
//! as LEB128, texts with their length in front. Read back with every relation between offsets and parts
//! checked, so that a damaged row cannot make a view read outside its message.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::content::{Disposition, Encoding, Param};
use super::from::FromVerdict;
use super::limits::{ENCODED_MAX, ENCODING_FIELDS_MAX, LANGUAGES_MAX, PARAMS_MAX, PARTS_MAX};
use super::structure::{Envelope, Flags, Kind, Part, Structure};

const VERSION: u8 = 1;

/// The octets are not what [`Structure::encode`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stored structure of a message is damaged")
    }
}

impl core::error::Error for Damaged {}

impl Structure {
    /// At most [`ENCODED_MAX`] octets; a few hundred for ordinary mail.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer { out: Vec::with_capacity(512) };
        w.out.push(VERSION);
        w.number(self.size);
        w.number(u64::from(self.flags.0));
        w.number(self.longest_line);
        for n in [self.received, self.own_received, self.from.fields, self.from.lookalikes] {
            w.number(u64::from(n));
        }
        w.number(u64::from(self.from.valid));
        w.number(u64::from(self.from.invalid));
        w.optional(&self.references);
        w.number(self.parts.len() as u64);
        for part in &self.parts {
            w.part(part);
        }
        w.out
    }

    /// The inverse of [`Structure::encode`].
    ///
    /// # Errors
    /// [`Damaged`] for anything else, another version's octets among it.
    pub fn decode(bytes: &[u8]) -> Result<Structure, Damaged> {
        if bytes.len() > ENCODED_MAX {
            return Err(Damaged);
        }
        let mut r = Reader { rest: bytes };
        if r.octet()? != VERSION {
            return Err(Damaged);
        }
        let size = r.number()?;
        let flags = Flags(r.small()?);
        let longest_line = r.number()?;
        let (received, own_received) = (r.small()?, r.small()?);
        let (fields, lookalikes, valid, invalid) = (r.small()?, r.small()?, r.small()?, r.small()?);
        let from = FromVerdict { fields, lookalikes, valid, invalid };
        let references = r.optional()?;
        let count = r.count(PARTS_MAX)?;
        let mut parts = Vec::with_capacity(count);
        for _ in 0..count {
            parts.push(r.part()?);
        }
        if !r.rest.is_empty() {
            return Err(Damaged);
        }
        check(&parts, size)?;
        Ok(Structure { size, flags, longest_line, received, own_received, from, references, parts })
    }
}

/// Whether the parts are a tree in document order and lie within one another.
fn check(parts: &[Part], size: u64) -> Result<(), Damaged> {
    let root_fits = parts.first().is_some_and(|root| {
        root.parent.is_none()
            && root.header_start == 0
            && root.body_end == size
            && root.end as usize == parts.len()
    });
    // Where the next child of each part must begin, and its index.
    let mut next_child: Vec<usize> = (1..=parts.len()).collect();
    for (index, part) in parts.iter().enumerate() {
        let in_order = part.header_start <= part.body_start && part.body_start <= part.body_end;
        let end = part.end as usize;
        let fits = match part.parent.map(|p| p as usize) {
            None => index == 0,
            Some(parent) if parent < index => {
                let (p, expected) = (&parts[parent], next_child[parent]);
                next_child[parent] = end;
                let first_or_multipart =
                    p.kind == Kind::Multipart || (p.kind == Kind::Message && expected == parent + 1);
                expected == index
                    && first_or_multipart
                    && end <= p.end as usize
                    && p.body_start <= part.header_start
                    && part.body_end <= p.body_end
                    && part.envelope.is_some() == (p.kind == Kind::Message)
            }
            Some(_) => false,
        };
        let has_children = end > index + 1;
        let fields_fit = part.encoding_fields.iter().all(|r| r.start <= r.end && r.end <= part.body_start);
        let shape = end > index && end <= parts.len() && has_children == (part.kind != Kind::Leaf);
        if !(in_order && fits && shape && fields_fit) {
            return Err(Damaged);
        }
    }
    let complete = parts.iter().zip(&next_child).all(|(part, next)| *next == part.end as usize);
    if root_fits && complete && parts[0].envelope.is_some() { Ok(()) } else { Err(Damaged) }
}

struct Writer {
    out: Vec<u8>,
}

impl Writer {
    fn number(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.out.push(n as u8 | 0x80);
            n >>= 7;
        }
        self.out.push(n as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    /// Nothing is 0, a value its length and one.
    fn optional(&mut self, value: &Option<Vec<u8>>) {
        match value {
            None => self.number(0),
            Some(value) => {
                self.number(value.len() as u64 + 1);
                self.out.extend_from_slice(value);
            }
        }
    }

    fn params(&mut self, params: &[Param]) {
        self.number(params.len() as u64);
        for param in params {
            self.bytes(param.name.as_bytes());
            self.bytes(&param.value);
        }
    }

    fn part(&mut self, part: &Part) {
        let kind = match part.kind {
            Kind::Leaf => 0,
            Kind::Multipart => 1,
            Kind::Message => 2,
        };
        let bits = kind
            | u8::from(part.unclean) << 2
            | u8::from(part.disposition.is_some()) << 3
            | u8::from(part.envelope.is_some()) << 4
            | u8::from(part.eight_bit > 0) << 5
            | u8::from(part.long_line) << 6;
        self.out.push(bits);
        self.number(part.parent.map_or(0, |p| u64::from(p) + 1));
        for n in [u64::from(part.end), part.header_start, part.body_start, part.body_end, part.lines] {
            self.number(n);
        }
        if part.eight_bit > 0 {
            self.number(part.eight_bit);
        }
        self.bytes(part.media_type.as_bytes());
        self.bytes(part.media_subtype.as_bytes());
        self.params(&part.params);
        if let Some(disposition) = &part.disposition {
            self.bytes(disposition.kind.as_bytes());
            self.params(&disposition.params);
        }
        match &part.encoding {
            Encoding::SevenBit => self.out.push(0),
            Encoding::EightBit => self.out.push(1),
            Encoding::Binary => self.out.push(2),
            Encoding::QuotedPrintable => self.out.push(3),
            Encoding::Base64 => self.out.push(4),
            Encoding::Other(token) => {
                self.out.push(5);
                self.bytes(token.as_bytes());
            }
        }
        self.number(part.encoding_fields.len() as u64);
        for range in &part.encoding_fields {
            self.number(range.start);
            self.number(range.end);
        }
        for value in [&part.id, &part.description, &part.md5, &part.location] {
            self.optional(value);
        }
        self.number(part.language.len() as u64);
        for tag in &part.language {
            self.bytes(tag);
        }
        if let Some(e) = &part.envelope {
            for value in [&e.date, &e.subject, &e.from, &e.sender, &e.reply_to, &e.to, &e.cc, &e.bcc] {
                self.optional(value);
            }
            self.optional(&e.in_reply_to);
            self.optional(&e.message_id);
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn octet(&mut self) -> Result<u8, Damaged> {
        let (&first, rest) = self.rest.split_first().ok_or(Damaged)?;
        self.rest = rest;
        Ok(first)
    }

    fn number(&mut self) -> Result<u64, Damaged> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let octet = self.octet()?;
            let bits = u64::from(octet & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Damaged);
            }
            n |= bits << shift;
            if octet & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(Damaged)
    }

    fn small(&mut self) -> Result<u32, Damaged> {
        u32::try_from(self.number()?).map_err(|_| Damaged)
    }

    fn count(&mut self, max: usize) -> Result<usize, Damaged> {
        usize::try_from(self.number()?).ok().filter(|n| *n <= max).ok_or(Damaged)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Damaged)?;
        self.rest = rest;
        Ok(taken)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Damaged> {
        let len = self.count(ENCODED_MAX)?;
        Ok(self.take(len)?.to_vec())
    }

    fn text(&mut self) -> Result<String, Damaged> {
        String::from_utf8(self.bytes()?).map_err(|_| Damaged)
    }

    fn optional(&mut self) -> Result<Option<Vec<u8>>, Damaged> {
        match self.count(ENCODED_MAX)? {
            0 => Ok(None),
            len => Ok(Some(self.take(len - 1)?.to_vec())),
        }
    }

    fn params(&mut self) -> Result<Vec<Param>, Damaged> {
        let count = self.count(PARAMS_MAX)?;
        (0..count).map(|_| Ok(Param { name: self.text()?, value: self.bytes()? })).collect()
    }

    fn part(&mut self) -> Result<Part, Damaged> {
        let bits = self.octet()?;
        let kind = match bits & 3 {
            0 => Kind::Leaf,
            1 => Kind::Multipart,
            2 => Kind::Message,
            _ => return Err(Damaged),
        };
        if bits >> 7 != 0 {
            return Err(Damaged);
        }
        Ok(Part {
            kind,
            unclean: bits & 1 << 2 != 0,
            parent: self.small()?.checked_sub(1),
            end: self.small()?,
            header_start: self.number()?,
            body_start: self.number()?,
            body_end: self.number()?,
            lines: self.number()?,
            long_line: bits & 1 << 6 != 0,
            eight_bit: match bits & 1 << 5 {
                0 => 0,
                // Nothing is written as an unset bit, so that every structure has one form.
                _ => Some(self.number()?).filter(|n| *n > 0).ok_or(Damaged)?,
            },
            media_type: self.text()?,
            media_subtype: self.text()?,
            params: self.params()?,
            disposition: if bits & 1 << 3 != 0 {
                Some(Disposition { kind: self.text()?, params: self.params()? })
            } else {
                None
            },
            encoding: self.encoding()?,
            encoding_fields: {
                let count = self.count(ENCODING_FIELDS_MAX)?;
                (0..count).map(|_| Ok(self.number()?..self.number()?)).collect::<Result<_, _>>()?
            },
            id: self.optional()?,
            description: self.optional()?,
            md5: self.optional()?,
            location: self.optional()?,
            language: {
                let count = self.count(LANGUAGES_MAX)?;
                (0..count).map(|_| self.bytes()).collect::<Result<_, _>>()?
            },
            envelope: if bits & 1 << 4 != 0 { Some(Box::new(self.envelope()?)) } else { None },
        })
    }

    fn encoding(&mut self) -> Result<Encoding, Damaged> {
        Ok(match self.octet()? {
            0 => Encoding::SevenBit,
            1 => Encoding::EightBit,
            2 => Encoding::Binary,
            3 => Encoding::QuotedPrintable,
            4 => Encoding::Base64,
            5 => Encoding::Other(self.text()?),
            _ => return Err(Damaged),
        })
    }

    fn envelope(&mut self) -> Result<Envelope, Damaged> {
        Ok(Envelope {
            date: self.optional()?,
            subject: self.optional()?,
            from: self.optional()?,
            sender: self.optional()?,
            reply_to: self.optional()?,
            to: self.optional()?,
            cc: self.optional()?,
            bcc: self.optional()?,
            in_reply_to: self.optional()?,
            message_id: self.optional()?,
        })
    }
}
