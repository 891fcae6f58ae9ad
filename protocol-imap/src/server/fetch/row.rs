//! One FETCH response in the making.

use core::ops::Range;

use protocol_core::SendBuf;
use protocol_core::message::{Encoding, Structure};

use super::section::{self, Source, clip};
use super::{Fetching, RowStep, Truncated, body, envelope};
use crate::codec::list::ListIter;
use crate::codec::{Emit, FetchItem, Partial, Section};
use crate::server::session::ServerSession;
use crate::server::targets::Message;
use crate::server::view::write_modseq;
use crate::server::{FlagBits, RowData};

/// What a row waits for.
#[derive(Clone, Debug)]
enum Pending<'r> {
    Nothing,
    /// HEADER.FIELDS: the header.
    Header {
        section: Section<'r>,
        partial: Option<Partial>,
    },
    /// BINARY: how long it is.
    BinarySize {
        item: FetchItem<'r>,
        range: Range<u64>,
        encoding: Encoding,
    },
    /// So many octets of a literal.
    Literal(u64),
}

/// One FETCH response in the making.
pub struct Row<'r> {
    data: RowData,
    number: u32,
    structure: Option<&'r Structure>,
    items: ListIter<'r, FetchItem<'r>>,
    /// UID is shown first, whether asked for or not.
    uid: bool,
    /// FLAGS is shown last, because the row itself changed them.
    flags_last: bool,
    modseq_last: bool,
    started: bool,
    first: bool,
    ended: bool,
    pending: Pending<'r>,
}

impl<'r> Row<'r> {
    pub(in crate::server) fn new(
        fetching: &Fetching<'r>,
        message: Message,
        data: RowData,
        seen_now: bool,
        condstore: bool,
        structure: Option<&'r Structure>,
    ) -> Row<'r> {
        let asks_flags = fetching.asks_for(&FetchItem::Flags);
        let flags_last = seen_now && !asks_flags;
        let asks_modseq = fetching.asks_for(&FetchItem::ModSeq);
        Row {
            data,
            number: message.number,
            structure,
            items: fetching.fetch.items.iter(),
            uid: fetching.fetch.uid || fetching.asks_for(&FetchItem::Uid),
            flags_last,
            // RFC 7162 §3.2: FLAGS goes with MODSEQ; so does every answer to CHANGEDSINCE (§3.1.4.1).
            modseq_last: !asks_modseq
                && (condstore && (asks_flags || flags_last) || fetching.fetch.changed_since.is_some()),
            started: false,
            first: true,
            ended: false,
            pending: Pending::Nothing,
        }
    }

    /// Goes on until something is needed.
    pub fn step(&mut self, session: &mut ServerSession, out: &mut SendBuf) -> RowStep {
        if !self.started {
            self.start(session, out);
        }
        while let Pending::Nothing = self.pending {
            let Some(item) = self.items.next() else {
                self.end(session, out);
                return RowStep::Done;
            };
            if let Some(step) = self.item(item, session, out) {
                return step;
            }
        }
        // The driver polled again without answering: nothing can be made of the item.
        self.unreadable(session, out);
        self.step(session, out)
    }

    fn start(&mut self, session: &mut ServerSession, out: &mut SendBuf) {
        self.started = true;
        session.view.tell_keywords(out);
        out.push(b"* ");
        out.push_decimal(u64::from(self.number));
        out.push(b" FETCH (");
        if self.uid {
            self.name("UID ", out);
            out.push_decimal(u64::from(self.data.uid));
        }
    }

    fn end(&mut self, session: &mut ServerSession, out: &mut SendBuf) {
        if core::mem::replace(&mut self.ended, true) {
            return;
        }
        if self.flags_last {
            self.flags(session, out);
        }
        if self.modseq_last {
            self.modseq(out);
        }
        out.push(b")\r\n");
    }

    /// A space where one is due, and the item's name.
    fn name(&mut self, name: &str, out: &mut SendBuf) {
        if !core::mem::replace(&mut self.first, false) {
            out.push_u8(b' ');
        }
        out.push(name.as_bytes());
    }

    fn flags(&mut self, session: &mut ServerSession, out: &mut SendBuf) {
        self.name("FLAGS ", out);
        session.view.write_flags(self.data.flags, out);
        session.view.tell_flags(self.data.uid, self.data.flags, self.data.modseq);
    }

    fn modseq(&mut self, out: &mut SendBuf) {
        if core::mem::replace(&mut self.first, false) {
            out.push(b"MODSEQ (");
            out.push_decimal(self.data.modseq);
            out.push_u8(b')');
        } else {
            write_modseq(self.data.modseq, out);
        }
    }

    fn item(
        &mut self,
        item: FetchItem<'r>,
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) -> Option<RowStep> {
        let utf8 = session.enabled().utf8();
        match item {
            FetchItem::Uid => {}
            FetchItem::Flags => self.flags(session, out),
            FetchItem::ModSeq => self.modseq(out),
            FetchItem::InternalDate => {
                self.name("INTERNALDATE \"", out);
                // Writing to a send buffer can not fail.
                let _ = self.data.internal_date.civil().write_imap(out);
                out.push_u8(b'"');
            }
            FetchItem::Rfc822Size => {
                self.name("RFC822.SIZE ", out);
                out.push_decimal(self.data.size);
            }
            FetchItem::Envelope => {
                self.name("ENVELOPE ", out);
                match self.structure {
                    Some(structure) => envelope::write(structure.envelope(), utf8, out),
                    None => out.push(b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"),
                }
            }
            FetchItem::Body | FetchItem::BodyStructure => {
                let extended = item == FetchItem::BodyStructure;
                self.name(if extended { "BODYSTRUCTURE " } else { "BODY " }, out);
                match self.structure {
                    Some(structure) => body::write(structure, extended, utf8, out),
                    None => out.push(b"(\"application\" \"octet-stream\" NIL NIL NIL \"8bit\" 0)"),
                }
            }
            FetchItem::Rfc822 => {
                self.name("RFC822", out);
                return self.range(0..self.data.size, None, out);
            }
            FetchItem::Rfc822Header | FetchItem::Rfc822Text => {
                let text = item == FetchItem::Rfc822Text;
                self.name(if text { "RFC822.TEXT" } else { "RFC822.HEADER" }, out);
                let root = self.structure.map(Structure::root);
                match root {
                    Some(root) => {
                        return self.range(if text { root.body() } else { root.header() }, None, out);
                    }
                    None => out.push(b" NIL"),
                }
            }
            FetchItem::Section { section, partial, .. } => return self.section(section, partial, utf8, out),
            FetchItem::Binary { .. } | FetchItem::BinarySize(_) => return self.binary(item, session, out),
        }
        None
    }

    fn section(
        &mut self,
        section: Section<'r>,
        partial: Option<Partial>,
        utf8: bool,
        out: &mut SendBuf,
    ) -> Option<RowStep> {
        match section::locate(&section, self.data.size, self.structure) {
            Source::Fields(range) if !range.is_empty() => {
                self.pending = Pending::Header { section, partial };
                return Some(RowStep::Read { range });
            }
            Source::Fields(_) => {
                self.section_name(&section, partial, utf8, out);
                section::write_fields(&section.text, b"", partial, out);
            }
            Source::Range(range) => {
                self.section_name(&section, partial, utf8, out);
                return self.range(range, partial, out);
            }
            Source::Nothing => {
                self.section_name(&section, partial, utf8, out);
                out.push(b" NIL");
            }
        }
        None
    }

    fn section_name(
        &mut self,
        section: &Section<'_>,
        partial: Option<Partial>,
        utf8: bool,
        out: &mut SendBuf,
    ) {
        self.name("BODY", out);
        section.emit(&mut Emit::server(out, utf8));
        origin(partial, out);
    }

    /// ` {n}` and the octets of the range.
    fn range(&mut self, range: Range<u64>, partial: Option<Partial>, out: &mut SendBuf) -> Option<RowStep> {
        let (skip, len) = clip(range.end.saturating_sub(range.start), partial);
        if len == 0 {
            out.push(b" \"\"");
            return None;
        }
        self.announce(" {", len, out);
        let start = range.start + skip;
        Some(RowStep::Stream { range: start..start + len })
    }

    fn announce(&mut self, opening: &str, len: u64, out: &mut SendBuf) {
        out.push(opening.as_bytes());
        out.push_decimal(len);
        out.push(b"}\r\n");
        self.pending = Pending::Literal(len);
    }

    fn binary(
        &mut self,
        item: FetchItem<'r>,
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) -> Option<RowStep> {
        let (FetchItem::Binary { part, .. } | FetchItem::BinarySize(part)) = item else { return None };
        match section::binary(&part, self.data.size, self.structure) {
            None => self.binary_nil(item, out),
            Some((_, Some(Encoding::Other(_)))) => self.undecodable(item, session, out),
            Some((range, None)) => return self.binary_range(item, range, out),
            Some((range, Some(encoding))) => {
                let step = RowStep::Size { range: range.clone(), encoding: encoding.clone() };
                self.pending = Pending::BinarySize { item, range, encoding };
                return Some(step);
            }
        }
        None
    }

    fn binary_name(&mut self, item: FetchItem<'r>, out: &mut SendBuf) {
        match item {
            FetchItem::BinarySize(part) => {
                self.name("BINARY.SIZE", out);
                part.emit_in_brackets(&mut Emit::server(out, false));
            }
            FetchItem::Binary { part, partial, .. } => {
                self.name("BINARY", out);
                part.emit_in_brackets(&mut Emit::server(out, false));
                origin(partial, out);
            }
            _ => {}
        }
    }

    fn binary_nil(&mut self, item: FetchItem<'r>, out: &mut SendBuf) {
        self.binary_name(item, out);
        out.push(if matches!(item, FetchItem::BinarySize(_)) { b" 0" } else { b" NIL" });
    }

    /// RFC 3516 §4.3: the item holds nothing, and the command ends with NO [UNKNOWN-CTE].
    fn undecodable(&mut self, item: FetchItem<'r>, session: &mut ServerSession, out: &mut SendBuf) {
        session.note_undecodable();
        self.binary_nil(item, out);
    }

    /// The part stands as it is.
    fn binary_range(&mut self, item: FetchItem<'r>, range: Range<u64>, out: &mut SendBuf) -> Option<RowStep> {
        let size = range.end.saturating_sub(range.start);
        self.binary_name(item, out);
        let FetchItem::Binary { partial, .. } = item else {
            out.push_u8(b' ');
            out.push_decimal(size);
            return None;
        };
        let (skip, len) = clip(size, partial);
        if len == 0 {
            out.push(b" \"\"");
            return None;
        }
        self.announce(" ~{", len, out);
        let start = range.start + skip;
        Some(RowStep::Stream { range: start..start + len })
    }

    // ---- answers --------------------------------------------------------------------------------------

    /// The octets of [`RowStep::Read`].
    pub fn supply(&mut self, header: &[u8], session: &mut ServerSession, out: &mut SendBuf) {
        if let Pending::Header { section, partial } = core::mem::replace(&mut self.pending, Pending::Nothing)
        {
            self.section_name(&section, partial, session.enabled().utf8(), out);
            section::write_fields(&section.text, header, partial, out);
        }
    }

    /// What [`RowStep::Size`] asked for; `None` when the content does not decode. For an item that wants the
    /// content the answer is the next step: what to stream.
    pub fn decoded_size(
        &mut self,
        size: Option<u64>,
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) -> Option<RowStep> {
        let pending = core::mem::replace(&mut self.pending, Pending::Nothing);
        let Pending::BinarySize { item, range, encoding } = pending else { return None };
        let Some(size) = size else {
            self.undecodable(item, session, out);
            return None;
        };
        self.binary_name(item, out);
        let FetchItem::Binary { partial, .. } = item else {
            out.push_u8(b' ');
            out.push_decimal(size);
            return None;
        };
        let (skip, len) = clip(size, partial);
        if len == 0 {
            out.push(b" \"\"");
            return None;
        }
        self.announce(" ~{", len, out);
        Some(RowStep::StreamDecoded { range, encoding, skip, len })
    }

    /// So many octets went to the transport.
    pub fn streamed(&mut self, octets: u64) -> Result<(), Truncated> {
        match core::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Literal(len) if len == octets => Ok(()),
            Pending::Literal(len) => Err(Truncated { missing: i128::from(len) - i128::from(octets) }),
            _ => Err(Truncated { missing: -i128::from(octets) }),
        }
    }

    /// The message can not be read. What [`RowStep::Read`] or [`RowStep::Size`] asked for becomes `NIL`, and
    /// the command will end with NO. Once a literal is announced it is too late: cut the connection.
    pub fn unreadable(&mut self, session: &mut ServerSession, out: &mut SendBuf) {
        session.note_unreadable();
        match core::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Header { section, partial } => {
                self.section_name(&section, partial, session.enabled().utf8(), out);
                out.push(b" NIL");
            }
            Pending::BinarySize { item, .. } => self.binary_nil(item, out),
            Pending::Nothing | Pending::Literal(_) => {}
        }
    }

    /// Flags as they stand in the row.
    pub fn flag_bits(&self) -> FlagBits {
        self.data.flags
    }
}

/// `<offset>` of a partial item.
fn origin(partial: Option<Partial>, out: &mut SendBuf) {
    if let Some(partial) = partial {
        out.push_u8(b'<');
        out.push_decimal(partial.offset);
        out.push_u8(b'>');
    }
}
