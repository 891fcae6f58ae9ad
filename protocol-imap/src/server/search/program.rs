//! The search program: conditions, and how they hang together.

use alloc::string::String;
use alloc::vec::Vec;

use protocol_core::Timestamp;
use protocol_core::message::{DateTime, Envelope, Fields, Structure, encoded_word, header::unfold};
use protocol_core::time::Duration;

use super::needle::Needle;
use super::{Need, Verdict};
use crate::codec::command::search::SEARCH_DEPTH_MAX;
use crate::codec::{Date, Search, SearchKey, SearchOp, Text};
use crate::server::limits::NEEDLES_MAX;
use crate::server::reason::No;
use crate::server::session::ServerSession;
use crate::server::targets::{self, Message};
use crate::server::{FlagBits, RowData};
use crate::set::SequenceSet;

/// A SEARCH in a form that can be asked of one message after another.
#[derive(Clone, Debug)]
pub struct Program {
    nodes: Vec<Node>,
    root: usize,
    leaves: Vec<Leaf>,
    /// MODSEQ is among the conditions.
    modseq: bool,
}

#[derive(Clone, Debug)]
enum Node {
    Leaf(usize),
    Not(usize),
    Or(usize, usize),
    And(Vec<usize>),
}

#[derive(Clone, Debug)]
struct Leaf {
    test: Test,
    /// The current message's header was looked through.
    header_seen: bool,
    /// What the current message says, once it is known.
    value: Option<bool>,
}

/// Which day a message's date is compared with, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Day {
    Before,
    On,
    Since,
}

/// Fields of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    From,
    To,
    Cc,
    Bcc,
    Subject,
}

#[derive(Clone, Debug)]
enum Test {
    Constant(bool),
    Flag {
        bit: FlagBits,
        set: bool,
    },
    /// Ranges of message numbers.
    Numbers(Vec<(u32, u32)>),
    Larger(u64),
    Smaller(u64),
    Internal(Day, Date),
    /// INTERNALDATE at or before, or at or after, a time.
    Earlier(Timestamp),
    Later(Timestamp),
    ModSeq(u64),
    Sent(Day, Date),
    Envelope(Part, Needle),
    Header(String, Needle),
    Body(Needle),
    Text(Needle),
}

impl Leaf {
    /// What decides it; `None` for the row.
    fn need(&self) -> Option<Need> {
        match self.test {
            Test::Sent(..) | Test::Envelope(..) => Some(Need::Structure),
            Test::Header(..) => Some(Need::Header),
            // TEXT is in the header or in the text (RFC 9051 §6.4.4).
            Test::Text(_) if !self.header_seen => Some(Need::Header),
            Test::Body(_) | Test::Text(_) => Some(Need::Text),
            _ => None,
        }
    }
}

impl Program {
    pub(super) fn compile(
        search: &Search<'_>,
        session: &ServerSession,
        now: Timestamp,
    ) -> Result<Program, No> {
        let mut compiler = Compiler { session, now, nodes: Vec::new(), leaves: Vec::new(), text_len: 0 };
        let mut ops = search.program.iter();
        let mut operands = Vec::new();
        while let Some(op) = ops.next() {
            operands.push(compiler.operand(op, &mut ops, 0)?);
        }
        let root = compiler.node(Node::And(operands));
        let modseq = compiler.leaves.iter().any(|leaf| matches!(leaf.test, Test::ModSeq(_)));
        Ok(Program { nodes: compiler.nodes, root, leaves: compiler.leaves, modseq })
    }

    /// Whether the answer tells the highest modification sequence.
    pub(in crate::server) fn wants_modseq(&self) -> bool {
        self.modseq
    }

    /// Begins with a message; the row alone may decide.
    pub fn row(&mut self, message: Message, data: &RowData) -> Verdict {
        for leaf in &mut self.leaves {
            leaf.header_seen = false;
            leaf.value = match &mut leaf.test {
                Test::Constant(value) => Some(*value),
                Test::Flag { bit, set } => Some(data.flags.contains(*bit) == *set),
                Test::Numbers(ranges) => Some(targets::contains(ranges, message.number)),
                Test::Larger(n) => Some(data.size > *n),
                Test::Smaller(n) => Some(data.size < *n),
                Test::Internal(day, date) => Some(day.holds(Date::of(data.internal_date), *date)),
                Test::Earlier(than) => Some(data.internal_date < *than),
                Test::Later(than) => Some(data.internal_date >= *than),
                Test::ModSeq(n) => Some(data.modseq >= *n),
                Test::Sent(..) => None,
                Test::Envelope(_, needle) | Test::Header(_, needle) => {
                    needle.reset();
                    None
                }
                // The empty text is in every message.
                Test::Body(needle) | Test::Text(needle) => {
                    needle.reset();
                    needle.is_found().then_some(true)
                }
            };
        }
        self.verdict()
    }

    /// Goes on with what [`Need::Structure`] asked for.
    pub fn structure(&mut self, structure: &Structure) -> Verdict {
        let envelope = structure.envelope();
        for leaf in self.leaves.iter_mut().filter(|leaf| leaf.value.is_none()) {
            leaf.value = match &mut leaf.test {
                Test::Sent(day, date) => Some(sent(envelope).is_some_and(|sent| day.holds(sent, *date))),
                Test::Envelope(part, needle) => Some(in_envelope(*part, envelope, needle)),
                _ => None,
            };
        }
        self.verdict()
    }

    /// Goes on with the message's whole header.
    pub fn header(&mut self, header: &[u8]) -> Verdict {
        for leaf in self.leaves.iter_mut().filter(|leaf| leaf.value.is_none()) {
            match &mut leaf.test {
                Test::Header(name, needle) => {
                    let mut fields = Fields::new(header).filter(|field| field.is(name));
                    leaf.value = Some(fields.any(|field| needle.is_in(&decoded(field.value))));
                }
                Test::Text(needle) => {
                    for field in Fields::new(header) {
                        needle.part();
                        needle.feed(&String::from_utf8_lossy(field.name));
                        needle.feed(": ");
                        needle.feed(&decoded(field.value));
                    }
                    needle.part();
                    leaf.value = needle.is_found().then_some(true);
                    leaf.header_seen = true;
                }
                _ => {}
            }
        }
        self.verdict()
    }

    /// Goes on with a piece of text. A match may be certain before the text ends; then nothing more is needed.
    pub fn text(&mut self, text: &str) -> Verdict {
        for leaf in self.leaves.iter_mut().filter(|leaf| leaf.value.is_none()) {
            if let Test::Body(needle) | Test::Text(needle) = &mut leaf.test {
                needle.feed(text);
                leaf.value = needle.is_found().then_some(true);
            }
        }
        self.verdict()
    }

    /// A part of the text ended.
    pub fn part_ended(&mut self) {
        for leaf in &mut self.leaves {
            if let Test::Body(needle) | Test::Text(needle) = &mut leaf.test {
                needle.part();
            }
        }
    }

    /// The text ended: what was not found is not there.
    pub fn text_ended(&mut self) -> Verdict {
        for leaf in self.leaves.iter_mut().filter(|leaf| leaf.value.is_none()) {
            leaf.value = Some(false);
        }
        self.verdict()
    }

    fn verdict(&self) -> Verdict {
        match self.value(self.root) {
            Some(true) => Verdict::Match,
            Some(false) => Verdict::NoMatch,
            None => {
                let unknown = self.leaves.iter().filter(|leaf| leaf.value.is_none());
                let need = unknown.filter_map(Leaf::need).min();
                need.map_or(Verdict::NoMatch, Verdict::Need)
            }
        }
    }

    /// With three values: `None` is not known yet. Nesting is bounded by the parser.
    fn value(&self, node: usize) -> Option<bool> {
        match self.nodes.get(node)? {
            Node::Leaf(leaf) => self.leaves.get(*leaf)?.value,
            Node::Not(inner) => self.value(*inner).map(|v| !v),
            Node::Or(a, b) => match (self.value(*a), self.value(*b)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Node::And(operands) => {
                let mut all = Some(true);
                for &operand in operands {
                    match self.value(operand) {
                        Some(false) => return Some(false),
                        None => all = None,
                        Some(true) => {}
                    }
                }
                all
            }
        }
    }
}

impl Day {
    fn holds(self, day: Date, than: Date) -> bool {
        match self {
            Day::Before => day < than,
            Day::On => day == than,
            Day::Since => day >= than,
        }
    }
}

/// The day of the Date field, in the zone it was written in (RFC 9051 §6.4.4: time and zone are disregarded).
fn sent(envelope: &Envelope) -> Option<Date> {
    let date = DateTime::parse_rfc5322(envelope.date.as_deref()?)?.date();
    Some(Date { year: date.year, month: date.month, day: date.day })
}

fn in_envelope(part: Part, envelope: &Envelope, needle: &mut Needle) -> bool {
    let field = match part {
        Part::From => &envelope.from,
        Part::To => &envelope.to,
        Part::Cc => &envelope.cc,
        Part::Bcc => &envelope.bcc,
        Part::Subject => &envelope.subject,
    };
    field.as_deref().is_some_and(|value| needle.is_in(&decoded(value)))
}

/// A field's value on one line, RFC 2047 words decoded.
fn decoded(value: &[u8]) -> String {
    encoded_word::decode(&unfold(value))
}

struct Compiler<'s> {
    session: &'s ServerSession,
    now: Timestamp,
    nodes: Vec<Node>,
    leaves: Vec<Leaf>,
    text_len: usize,
}

impl Compiler<'_> {
    fn node(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// One operand in prefix order. The parser has bounded nesting; so does this, once more.
    fn operand<'b>(
        &mut self,
        op: SearchOp<'b>,
        ops: &mut impl Iterator<Item = SearchOp<'b>>,
        depth: usize,
    ) -> Result<usize, No> {
        if depth > SEARCH_DEPTH_MAX {
            return Err(No::SearchTooLarge);
        }
        let node = match op {
            SearchOp::Key(key) => {
                let test = self.test(key)?;
                self.leaves.push(Leaf { test, header_seen: false, value: None });
                Node::Leaf(self.leaves.len() - 1)
            }
            SearchOp::Not => Node::Not(self.next_operand(ops, depth)?),
            SearchOp::Or => Node::Or(self.next_operand(ops, depth)?, self.next_operand(ops, depth)?),
            SearchOp::And => {
                let mut operands = Vec::new();
                loop {
                    match ops.next() {
                        None | Some(SearchOp::End) => break,
                        Some(op) => operands.push(self.operand(op, ops, depth + 1)?),
                    }
                }
                Node::And(operands)
            }
            // The parser lets no END stand alone.
            SearchOp::End => Node::And(Vec::new()),
        };
        Ok(self.node(node))
    }

    fn next_operand<'b>(
        &mut self,
        ops: &mut impl Iterator<Item = SearchOp<'b>>,
        depth: usize,
    ) -> Result<usize, No> {
        let op = ops.next().ok_or(No::SearchTooLarge)?;
        self.operand(op, ops, depth + 1)
    }

    fn test(&mut self, key: SearchKey<'_>) -> Result<Test, No> {
        let flag = |bit, set| Test::Flag { bit, set };
        Ok(match key {
            // \Recent is never set: RECENT and NEW match nothing, OLD everything (RFC 3501 §6.4.4).
            SearchKey::All | SearchKey::Old => Test::Constant(true),
            SearchKey::Recent | SearchKey::New => Test::Constant(false),
            SearchKey::Answered => flag(FlagBits::ANSWERED, true),
            SearchKey::Deleted => flag(FlagBits::DELETED, true),
            SearchKey::Draft => flag(FlagBits::DRAFT, true),
            SearchKey::Flagged => flag(FlagBits::FLAGGED, true),
            SearchKey::Seen => flag(FlagBits::SEEN, true),
            SearchKey::Unanswered => flag(FlagBits::ANSWERED, false),
            SearchKey::Undeleted => flag(FlagBits::DELETED, false),
            SearchKey::Undraft => flag(FlagBits::DRAFT, false),
            SearchKey::Unflagged => flag(FlagBits::FLAGGED, false),
            SearchKey::Unseen => flag(FlagBits::SEEN, false),
            SearchKey::Keyword(word) => self.keyword(word, true),
            SearchKey::Unkeyword(word) => self.keyword(word, false),
            SearchKey::From(text) => Test::Envelope(Part::From, self.needle(text)?),
            SearchKey::To(text) => Test::Envelope(Part::To, self.needle(text)?),
            SearchKey::Cc(text) => Test::Envelope(Part::Cc, self.needle(text)?),
            SearchKey::Bcc(text) => Test::Envelope(Part::Bcc, self.needle(text)?),
            SearchKey::Subject(text) => Test::Envelope(Part::Subject, self.needle(text)?),
            SearchKey::Header(name, text) => {
                let name = name.to_str().ok_or(No::BadCharset)?.into_owned();
                Test::Header(name, self.needle(text)?)
            }
            SearchKey::Body(text) => Test::Body(self.needle(text)?),
            SearchKey::Text(text) => Test::Text(self.needle(text)?),
            SearchKey::Before(date) => Test::Internal(Day::Before, date),
            SearchKey::On(date) => Test::Internal(Day::On, date),
            SearchKey::Since(date) => Test::Internal(Day::Since, date),
            SearchKey::SentBefore(date) => Test::Sent(Day::Before, date),
            SearchKey::SentOn(date) => Test::Sent(Day::On, date),
            SearchKey::SentSince(date) => Test::Sent(Day::Since, date),
            SearchKey::Larger(n) => Test::Larger(n),
            SearchKey::Smaller(n) => Test::Smaller(n),
            SearchKey::Older(secs) => Test::Earlier(self.now - Duration::from_secs(u64::from(secs))),
            SearchKey::Younger(secs) => Test::Later(self.now - Duration::from_secs(u64::from(secs))),
            SearchKey::ModSeq(n) => Test::ModSeq(n),
            SearchKey::Uid(set) => Test::Numbers(self.numbers(&set, true)),
            SearchKey::Sequence(set) => Test::Numbers(self.numbers(&set, false)),
        })
    }

    fn keyword(&self, word: &str, set: bool) -> Test {
        let keywords = self.session.view().keywords();
        match keywords.iter().position(|k| k.eq_ignore_ascii_case(word)) {
            Some(n) => Test::Flag { bit: FlagBits::keyword(n), set },
            None => Test::Constant(!set),
        }
    }

    /// Texts of all conditions together are bounded, for each is compared with every octet.
    fn needle(&mut self, text: Text<'_>) -> Result<Needle, No> {
        self.text_len = self.text_len.saturating_add(text.len());
        if self.text_len > NEEDLES_MAX {
            return Err(No::SearchTooLarge);
        }
        text.to_str().map(|text| Needle::new(&text)).ok_or(No::BadCharset)
    }

    /// In SEARCH a number that no message has matches nothing.
    fn numbers(&self, set: &SequenceSet<'_>, uids: bool) -> Vec<(u32, u32)> {
        let mut ranges = Vec::new();
        let view = self.session.view();
        if set.is_saved() {
            targets::from_saved(self.session.saved(), view, &mut ranges);
        } else if uids {
            targets::from_uids(set, view, &mut ranges);
        } else {
            ranges.extend(set.resolve(view.len()));
            targets::merge(&mut ranges);
        }
        ranges
    }
}
