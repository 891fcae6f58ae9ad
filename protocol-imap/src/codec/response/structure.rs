//! ENVELOPE and BODYSTRUCTURE (RFC 9051 §7.5.2).

use super::super::list::{Element, List};
use super::super::read::{Cursor, Fault};
use super::super::text::{Str, Text};
use super::super::write::Emit;
use super::untagged::RESPONSE_LIST_MAX;

/// ENVELOPE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Envelope<'b> {
    pub date: Option<Text<'b>>,
    pub subject: Option<Text<'b>>,
    /// Empty lists are `NIL`.
    pub from: List<'b, Address<'b>>,
    pub sender: List<'b, Address<'b>>,
    pub reply_to: List<'b, Address<'b>>,
    pub to: List<'b, Address<'b>>,
    pub cc: List<'b, Address<'b>>,
    pub bcc: List<'b, Address<'b>>,
    pub in_reply_to: Option<Text<'b>>,
    pub message_id: Option<Text<'b>>,
}

/// An address of an envelope. A group begins with an address without host and ends with one without mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Address<'b> {
    pub name: Option<Text<'b>>,
    /// The obsolete source route.
    pub route: Option<Text<'b>>,
    pub mailbox: Option<Text<'b>>,
    pub host: Option<Text<'b>>,
}

/// A body structure, read level by level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // A box would allocate, and no more than one is held at a time.
pub enum Body<'b> {
    /// A part that is not multipart.
    Single(Single<'b>),
    /// A multipart.
    Multi {
        /// Its parts; at least one.
        parts: List<'b, Body<'b>>,
        /// The media subtype.
        subtype: Text<'b>,
        /// Content-Type parameters; part of the extension data.
        params: List<'b, Param<'b>>,
        /// What BODYSTRUCTURE adds.
        extension: Extension<'b>,
    },
}

/// A part that is not multipart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Single<'b> {
    /// Media type.
    pub media_type: Text<'b>,
    /// Media subtype.
    pub subtype: Text<'b>,
    /// What every such part has.
    pub fields: BodyFields<'b>,
    /// For message/rfc822 and message/global: the envelope and, in a list of one, the structure within.
    pub message: Option<(Envelope<'b>, List<'b, Body<'b>>)>,
    /// For text and messages: the body's lines.
    pub lines: Option<u64>,
    /// Content-MD5; part of the extension data.
    pub md5: Option<Text<'b>>,
    /// What BODYSTRUCTURE adds.
    pub extension: Extension<'b>,
}

/// `body-fields`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyFields<'b> {
    /// Content-Type parameters. Empty is `NIL`.
    pub params: List<'b, Param<'b>>,
    /// Content-ID.
    pub id: Option<Text<'b>>,
    /// Content-Description.
    pub description: Option<Text<'b>>,
    /// Content-Transfer-Encoding.
    pub encoding: Text<'b>,
    /// Size of the body in octets, encoded.
    pub octets: u64,
}

/// Extension data of BODYSTRUCTURE that parts and multiparts share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extension<'b> {
    /// Content-Disposition.
    pub disposition: Option<Disposition<'b>>,
    /// Content-Language. Empty is `NIL`.
    pub language: List<'b, Str<'b>>,
    /// Content-Location.
    pub location: Option<Text<'b>>,
}

/// Content-Disposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disposition<'b> {
    /// `inline`, `attachment` or another.
    pub kind: Text<'b>,
    /// Its parameters. Empty is `NIL`.
    pub params: List<'b, Param<'b>>,
}

/// A parameter of Content-Type or Content-Disposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Param<'b> {
    pub name: Text<'b>,
    pub value: Text<'b>,
}

impl<'b> Element<'b> for Param<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let name = c.string()?;
        c.sp()?;
        Ok(Param { name, value: c.string()? })
    }
    fn emit(&self, e: &mut Emit<'_>) {
        e.string(self.name);
        e.push(b" ");
        e.string(self.value);
    }
}

fn nstring<'b>(c: &mut Cursor<'b>) -> Result<Option<Text<'b>>, Fault> {
    let text = c.nstring()?;
    c.sp()?;
    Ok(text)
}

impl<'b> Envelope<'b> {
    pub(super) fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let addresses = |c: &mut Cursor<'b>| {
            let list = List::read_or_nil(c, RESPONSE_LIST_MAX)?;
            c.sp()?;
            Ok(list)
        };
        c.expect(b'(', "an envelope")?;
        let envelope = Envelope {
            date: nstring(c)?,
            subject: nstring(c)?,
            from: addresses(c)?,
            sender: addresses(c)?,
            reply_to: addresses(c)?,
            to: addresses(c)?,
            cc: addresses(c)?,
            bcc: addresses(c)?,
            in_reply_to: nstring(c)?,
            message_id: c.nstring()?,
        };
        c.expect(b')', "the end of an envelope")?;
        Ok(envelope)
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        e.push(b"(");
        e.nstring(self.date);
        e.push(b" ");
        e.nstring(self.subject);
        for list in [&self.from, &self.sender, &self.reply_to, &self.to, &self.cc, &self.bcc] {
            e.push(b" ");
            list.emit_or_nil(e);
        }
        e.push(b" ");
        e.nstring(self.in_reply_to);
        e.push(b" ");
        e.nstring(self.message_id);
        e.push(b")");
    }
}

impl<'b> Element<'b> for Address<'b> {
    const ADJACENT: bool = true;

    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        c.expect(b'(', "an address")?;
        let address =
            Address { name: nstring(c)?, route: nstring(c)?, mailbox: nstring(c)?, host: c.nstring()? };
        c.expect(b')', "the end of an address")?;
        Ok(address)
    }

    fn emit(&self, e: &mut Emit<'_>) {
        for (before, text) in [(b"(", self.name), (b" ", self.route), (b" ", self.mailbox), (b" ", self.host)]
        {
            e.push(before);
            e.nstring(text);
        }
        e.push(b")");
    }
}

impl<'b> Element<'b> for Body<'b> {
    const ADJACENT: bool = true;

    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        c.enter()?;
        c.expect(b'(', "a body structure")?;
        let body = if c.peek() == Some(b'(') { read_multi(c)? } else { Body::Single(Single::read(c)?) };
        skip_extensions(c)?;
        c.expect(b')', "the end of a body structure")?;
        c.leave();
        Ok(body)
    }

    fn emit(&self, e: &mut Emit<'_>) {
        self.emit_as(true, e);
    }
}

fn read_multi<'b>(c: &mut Cursor<'b>) -> Result<Body<'b>, Fault> {
    let parts = List::read_bare(c, RESPONSE_LIST_MAX)?;
    c.sp()?;
    let subtype = c.string()?;
    let (mut params, mut extension) = (List::empty(), Extension::default());
    if c.eat(b' ') {
        params = List::read_or_nil(c, RESPONSE_LIST_MAX)?;
        extension = Extension::read(c)?;
    }
    Ok(Body::Multi { parts, subtype, params, extension })
}

/// Extension data that a later RFC may add (`body-extension`).
fn skip_extensions(c: &mut Cursor<'_>) -> Result<(), Fault> {
    while c.eat(b' ') {
        c.skip_value()?;
    }
    Ok(())
}

impl<'b> Body<'b> {
    /// Writes BODY, or BODYSTRUCTURE when `extended`.
    pub(super) fn emit_as(&self, extended: bool, e: &mut Emit<'_>) {
        e.push(b"(");
        match self {
            Body::Single(single) => single.emit(extended, e),
            Body::Multi { parts, subtype, params, extension } => {
                for part in parts.iter() {
                    part.emit_as(extended, e);
                }
                e.push(b" ");
                e.string(*subtype);
                if extended {
                    e.push(b" ");
                    params.emit_or_nil(e);
                    extension.emit(e);
                }
            }
        }
        e.push(b")");
    }
}

impl<'b> Single<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let media_type = c.string()?;
        c.sp()?;
        let subtype = c.string()?;
        c.sp()?;
        let fields = BodyFields::read(c)?;
        let (mut message, mut lines, mut md5) = (None, None, None);
        if is_message(media_type, subtype) {
            c.sp()?;
            let envelope = Envelope::read(c)?;
            c.sp()?;
            message = Some((envelope, List::read_bare(c, 1)?));
        }
        if message.is_some() || media_type.eq_ignore_ascii_case(b"TEXT") {
            c.sp()?;
            lines = Some(c.number64()?);
        }
        let mut extension = Extension::default();
        if c.eat(b' ') {
            md5 = c.nstring()?;
            extension = Extension::read(c)?;
        }
        Ok(Single { media_type, subtype, fields, message, lines, md5, extension })
    }

    fn emit(&self, extended: bool, e: &mut Emit<'_>) {
        e.string(self.media_type);
        e.push(b" ");
        e.string(self.subtype);
        e.push(b" ");
        self.fields.emit(e);
        if let Some((envelope, within)) = &self.message {
            e.push(b" ");
            envelope.emit(e);
            e.push(b" ");
            for body in within.iter() {
                body.emit_as(extended, e);
            }
        }
        if let Some(lines) = self.lines {
            e.push(b" ");
            e.number(lines);
        }
        if extended {
            e.push(b" ");
            e.nstring(self.md5);
            self.extension.emit(e);
        }
    }
}

/// Whether a part of this type shows its envelope and structure (RFC 9051 §7.5.2, RFC 6532 §3.7).
fn is_message(media_type: Text<'_>, subtype: Text<'_>) -> bool {
    media_type.eq_ignore_ascii_case(b"MESSAGE")
        && (subtype.eq_ignore_ascii_case(b"RFC822") || subtype.eq_ignore_ascii_case(b"GLOBAL"))
}

impl<'b> BodyFields<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let params = List::read_or_nil(c, RESPONSE_LIST_MAX)?;
        c.sp()?;
        let (id, description) = (nstring(c)?, nstring(c)?);
        let encoding = c.string()?;
        c.sp()?;
        Ok(BodyFields { params, id, description, encoding, octets: c.number64()? })
    }

    fn emit(&self, e: &mut Emit<'_>) {
        self.params.emit_or_nil(e);
        e.push(b" ");
        e.nstring(self.id);
        e.push(b" ");
        e.nstring(self.description);
        e.push(b" ");
        e.string(self.encoding);
        e.push(b" ");
        e.number(self.octets);
    }
}

impl<'b> Extension<'b> {
    /// Each field is there only when the one before it is.
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let mut extension = Extension::default();
        if !c.eat(b' ') {
            return Ok(extension);
        }
        extension.disposition = Disposition::read(c)?;
        if !c.eat(b' ') {
            return Ok(extension);
        }
        extension.language = match c.peek() {
            Some(b'"' | b'{') => List::read_bare(c, 1)?,
            _ => List::read_or_nil(c, RESPONSE_LIST_MAX)?,
        };
        if c.eat(b' ') {
            extension.location = c.nstring()?;
        }
        Ok(extension)
    }

    fn emit(&self, e: &mut Emit<'_>) {
        e.push(b" ");
        match &self.disposition {
            None => e.push(b"NIL"),
            Some(disposition) => {
                e.push(b"(");
                e.string(disposition.kind);
                e.push(b" ");
                disposition.params.emit_or_nil(e);
                e.push(b")");
            }
        }
        e.push(b" ");
        self.language.emit_or_nil(e);
        e.push(b" ");
        e.nstring(self.location);
    }
}

impl<'b> Disposition<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Option<Self>, Fault> {
        if c.eat_word(b"NIL") {
            return Ok(None);
        }
        c.expect(b'(', "a disposition")?;
        let kind = c.string()?;
        c.sp()?;
        let params = List::read_or_nil(c, RESPONSE_LIST_MAX)?;
        c.expect(b')', "the end of a disposition")?;
        Ok(Some(Disposition { kind, params }))
    }
}
