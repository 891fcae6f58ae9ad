//! SEARCH and UID SEARCH: the program in a flat form, read without recursion.

pub use super::super::date::Date;
use super::super::list::{Element, List};
use super::super::read::{Cursor, Fault, Upper};
use super::super::text::Text;
use super::super::write::Emit;
use super::mailbox::emit_words;
use crate::set::SequenceSet;

/// Deepest nesting of parentheses, NOT and OR in a search program.
pub const SEARCH_DEPTH_MAX: usize = 64;
/// Most operations in a search program.
pub const SEARCH_OPS_MAX: usize = 4096;

/// SEARCH or UID SEARCH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search<'b> {
    /// UID SEARCH: the result holds UIDs.
    pub uid: bool,
    /// `RETURN (...)`; `None` when it was not given (RFC 9051 §6.4.4: an ESEARCH response is asked for when
    /// it was).
    pub returns: Option<SearchReturn>,
    /// CHARSET, as given.
    pub charset: Option<Text<'b>>,
    /// What to look for.
    pub program: List<'b, SearchOp<'b>>,
}

/// `RETURN (...)` of SEARCH. All false is `RETURN ()`, which means ALL (RFC 4731 §3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SearchReturn {
    pub min: bool,
    pub max: bool,
    pub all: bool,
    pub count: bool,
    /// RFC 5182.
    pub save: bool,
}

/// One operation of a search program, in prefix order.
///
/// The program is a conjunction of operands. An operand is a [`SearchOp::Key`]; `Not` and one operand; `Or`
/// and two operands; or `And`, operands and `End`. Nesting is at most [`SEARCH_DEPTH_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchOp<'b> {
    /// `(`: all operands up to the matching [`SearchOp::End`] must hold.
    And,
    /// `)`.
    End,
    /// The next operand must not hold.
    Not,
    /// One of the next two operands must hold.
    Or,
    /// A condition.
    Key(SearchKey<'b>),
}

/// A condition (RFC 9051 §6.4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SearchKey<'b> {
    All,
    Answered,
    Deleted,
    Draft,
    Flagged,
    /// RFC 3501: `RECENT UNSEEN`.
    New,
    /// RFC 3501.
    Old,
    /// RFC 3501.
    Recent,
    Seen,
    Unanswered,
    Undeleted,
    Undraft,
    Unflagged,
    Unseen,
    /// An atom; compared without letter case.
    Keyword(&'b str),
    Unkeyword(&'b str),
    Bcc(Text<'b>),
    Body(Text<'b>),
    Cc(Text<'b>),
    From(Text<'b>),
    /// Field name and what it holds; an empty string asks for the field's presence.
    Header(Text<'b>, Text<'b>),
    Subject(Text<'b>),
    Text(Text<'b>),
    To(Text<'b>),
    Before(Date),
    On(Date),
    Since(Date),
    SentBefore(Date),
    SentOn(Date),
    SentSince(Date),
    /// More octets than this.
    Larger(u64),
    /// Fewer octets than this.
    Smaller(u64),
    /// RFC 5032: INTERNALDATE more than so many seconds ago.
    Older(u32),
    /// RFC 5032: INTERNALDATE at most so many seconds ago.
    Younger(u32),
    /// RFC 7162 §3.1.5: changed at or after this. The entry name, when given, is of no effect here.
    ModSeq(u64),
    /// UIDs, or `$`.
    Uid(SequenceSet<'b>),
    /// Message numbers, or `$`: what the last SEARCH saved.
    Sequence(SequenceSet<'b>),
}

impl<'b> Search<'b> {
    /// Behind the command's name and a space.
    pub(super) fn read(uid: bool, c: &mut Cursor<'b>) -> Result<Self, Fault> {
        let mut returns = None;
        if c.eat_word(b"RETURN") {
            c.sp()?;
            returns = Some(SearchReturn::read(c)?);
            c.sp()?;
        }
        let mut charset = None;
        if c.eat_word(b"CHARSET") {
            c.sp()?;
            charset = Some(c.astring()?);
            c.sp()?;
        }
        let start = *c;
        check_program(c)?;
        Ok(Search { uid, returns, charset, program: List::from_checked(c.since(start)) })
    }

    pub(super) fn emit(&self, e: &mut Emit<'_>) {
        if let Some(returns) = self.returns {
            e.push(b"RETURN ");
            returns.emit(e);
            e.push(b" ");
        }
        if let Some(charset) = self.charset {
            e.push(b"CHARSET ");
            e.astring(charset);
            e.push(b" ");
        }
        self.program.emit_bare(e);
    }
}

impl SearchReturn {
    fn read(c: &mut Cursor<'_>) -> Result<Self, Fault> {
        let mut returns = SearchReturn::default();
        c.expect(b'(', "return options in parentheses")?;
        if c.eat(b')') {
            return Ok(returns);
        }
        loop {
            match Upper::of(c.name()).as_bytes() {
                b"MIN" => returns.min = true,
                b"MAX" => returns.max = true,
                b"ALL" => returns.all = true,
                b"COUNT" => returns.count = true,
                b"SAVE" => returns.save = true,
                _ => return Err(Fault::Expected("a return option that is known here")),
            }
            if c.eat(b')') {
                return Ok(returns);
            }
            c.sp()?;
        }
    }

    fn emit(self, e: &mut Emit<'_>) {
        let words: [(bool, &[u8]); 5] = [
            (self.min, b"MIN"),
            (self.max, b"MAX"),
            (self.all, b"ALL"),
            (self.count, b"COUNT"),
            (self.save, b"SAVE"),
        ];
        emit_words(&words, e);
        e.push(b")");
    }
}

/// What is open around the operand that is read next.
#[derive(Clone, Copy)]
enum Open {
    Parenthesis,
    Not,
    /// OR, and how many operands it still needs.
    Or(u8),
}

/// Reads a whole program up to the end of the line, with a stack of its own instead of recursion.
fn check_program(c: &mut Cursor<'_>) -> Result<(), Fault> {
    let mut stack = [Open::Parenthesis; SEARCH_DEPTH_MAX];
    let mut depth = 0;
    let mut ops = 0;
    loop {
        ops += 1;
        if ops > SEARCH_OPS_MAX {
            return Err(Fault::Limit("search keys"));
        }
        let opened = match SearchOp::read(c)? {
            SearchOp::And => Open::Parenthesis,
            SearchOp::Not => Open::Not,
            SearchOp::Or => Open::Or(2),
            SearchOp::End => return Err(Fault::Expected("a search key")),
            SearchOp::Key(_) => {
                close_operands(c, &mut stack, &mut depth)?;
                if depth == 0 && c.is_empty() {
                    return Ok(());
                }
                c.sp()?;
                continue;
            }
        };
        *stack.get_mut(depth).ok_or(Fault::Limit("nested search keys"))? = opened;
        depth += 1;
        if !matches!(opened, Open::Parenthesis) {
            c.sp()?;
        }
    }
}

/// An operand is complete: closes what it completes, until something still needs another.
fn close_operands(c: &mut Cursor<'_>, stack: &mut [Open], depth: &mut usize) -> Result<(), Fault> {
    while let Some(top) = depth.checked_sub(1).and_then(|top| stack.get_mut(top)) {
        match top {
            Open::Not | Open::Or(0 | 1) => {}
            Open::Or(needed) => {
                *needed -= 1;
                return if c.is_empty() {
                    Err(Fault::Expected("a second search key for OR"))
                } else {
                    Ok(())
                };
            }
            Open::Parenthesis if c.eat(b')') => {}
            Open::Parenthesis if c.is_empty() => return Err(Fault::Expected("a closing parenthesis")),
            Open::Parenthesis => return Ok(()),
        }
        *depth -= 1;
    }
    Ok(())
}

impl<'b> Element<'b> for SearchOp<'b> {
    fn read(c: &mut Cursor<'b>) -> Result<Self, Fault> {
        match c.peek() {
            Some(b'(') => {
                c.eat(b'(');
                Ok(SearchOp::And)
            }
            Some(b')') => {
                c.eat(b')');
                Ok(SearchOp::End)
            }
            Some(b'0'..=b'9' | b'*' | b'$') => {
                SequenceSet::read(c).map(|set| SearchOp::Key(SearchKey::Sequence(set)))
            }
            _ => match Upper::of(c.name()).as_bytes() {
                b"NOT" => Ok(SearchOp::Not),
                b"OR" => Ok(SearchOp::Or),
                name => read_key(name, c).map(SearchOp::Key),
            },
        }
    }

    fn emit(&self, e: &mut Emit<'_>) {
        match self {
            SearchOp::And => e.push(b"("),
            SearchOp::End => e.push(b")"),
            SearchOp::Not => e.push(b"NOT"),
            SearchOp::Or => e.push(b"OR"),
            SearchOp::Key(key) => emit_key(key, e),
        }
    }

    fn spaced(&self, next: &Self) -> bool {
        !matches!(self, SearchOp::And) && !matches!(next, SearchOp::End)
    }
}

fn argument<'b>(c: &mut Cursor<'b>) -> Result<Text<'b>, Fault> {
    c.sp()?;
    c.astring()
}

fn date(c: &mut Cursor<'_>) -> Result<Date, Fault> {
    c.sp()?;
    Date::read(c)
}

fn number(c: &mut Cursor<'_>) -> Result<u64, Fault> {
    c.sp()?;
    c.number64()
}

fn seconds(c: &mut Cursor<'_>) -> Result<u32, Fault> {
    c.sp()?;
    c.nz_number()
}

fn keyword<'b>(c: &mut Cursor<'b>) -> Result<&'b str, Fault> {
    c.sp()?;
    c.atom()
}

fn read_key<'b>(name: &[u8], c: &mut Cursor<'b>) -> Result<SearchKey<'b>, Fault> {
    Ok(match name {
        b"ALL" => SearchKey::All,
        b"ANSWERED" => SearchKey::Answered,
        b"DELETED" => SearchKey::Deleted,
        b"DRAFT" => SearchKey::Draft,
        b"FLAGGED" => SearchKey::Flagged,
        b"NEW" => SearchKey::New,
        b"OLD" => SearchKey::Old,
        b"RECENT" => SearchKey::Recent,
        b"SEEN" => SearchKey::Seen,
        b"UNANSWERED" => SearchKey::Unanswered,
        b"UNDELETED" => SearchKey::Undeleted,
        b"UNDRAFT" => SearchKey::Undraft,
        b"UNFLAGGED" => SearchKey::Unflagged,
        b"UNSEEN" => SearchKey::Unseen,
        b"KEYWORD" => SearchKey::Keyword(keyword(c)?),
        b"UNKEYWORD" => SearchKey::Unkeyword(keyword(c)?),
        b"BCC" => SearchKey::Bcc(argument(c)?),
        b"BODY" => SearchKey::Body(argument(c)?),
        b"CC" => SearchKey::Cc(argument(c)?),
        b"FROM" => SearchKey::From(argument(c)?),
        b"HEADER" => SearchKey::Header(argument(c)?, argument(c)?),
        b"SUBJECT" => SearchKey::Subject(argument(c)?),
        b"TEXT" => SearchKey::Text(argument(c)?),
        b"TO" => SearchKey::To(argument(c)?),
        b"BEFORE" => SearchKey::Before(date(c)?),
        b"ON" => SearchKey::On(date(c)?),
        b"SINCE" => SearchKey::Since(date(c)?),
        b"SENTBEFORE" => SearchKey::SentBefore(date(c)?),
        b"SENTON" => SearchKey::SentOn(date(c)?),
        b"SENTSINCE" => SearchKey::SentSince(date(c)?),
        b"LARGER" => SearchKey::Larger(number(c)?),
        b"SMALLER" => SearchKey::Smaller(number(c)?),
        b"OLDER" => SearchKey::Older(seconds(c)?),
        b"YOUNGER" => SearchKey::Younger(seconds(c)?),
        b"MODSEQ" => read_modseq(c)?,
        b"UID" => {
            c.sp()?;
            SearchKey::Uid(SequenceSet::read(c)?)
        }
        _ => return Err(Fault::Expected("a search key that is known here")),
    })
}

/// `MODSEQ [entry-name SP entry-type SP] number` (RFC 7162 §3.1.5).
fn read_modseq<'b>(c: &mut Cursor<'b>) -> Result<SearchKey<'b>, Fault> {
    c.sp()?;
    if c.peek() == Some(b'"') {
        c.quoted()?;
        c.sp()?;
        if !(c.eat_word(b"priv") || c.eat_word(b"shared") || c.eat_word(b"all")) {
            return Err(Fault::Expected("priv, shared or all"));
        }
        c.sp()?;
    }
    c.number64().map(SearchKey::ModSeq)
}

fn emit_key(key: &SearchKey<'_>, e: &mut Emit<'_>) {
    e.push(key.name().as_bytes());
    if !matches!(key, SearchKey::Sequence(_)) && key.has_argument() {
        e.push(b" ");
    }
    match key {
        SearchKey::Keyword(word) | SearchKey::Unkeyword(word) => e.push(word.as_bytes()),
        SearchKey::Header(name, text) => {
            e.astring(*name);
            e.push(b" ");
            e.astring(*text);
        }
        SearchKey::Bcc(text)
        | SearchKey::Body(text)
        | SearchKey::Cc(text)
        | SearchKey::From(text)
        | SearchKey::Subject(text)
        | SearchKey::Text(text)
        | SearchKey::To(text) => e.astring(*text),
        SearchKey::Before(date)
        | SearchKey::On(date)
        | SearchKey::Since(date)
        | SearchKey::SentBefore(date)
        | SearchKey::SentOn(date)
        | SearchKey::SentSince(date) => date.emit(e),
        SearchKey::Larger(n) | SearchKey::Smaller(n) | SearchKey::ModSeq(n) => e.number(*n),
        SearchKey::Older(n) | SearchKey::Younger(n) => e.number(u64::from(*n)),
        SearchKey::Uid(set) | SearchKey::Sequence(set) => set.emit(e),
        _ => {}
    }
}

impl SearchKey<'_> {
    /// Its name in capitals; empty for [`SearchKey::Sequence`].
    pub const fn name(&self) -> &'static str {
        match self {
            SearchKey::All => "ALL",
            SearchKey::Answered => "ANSWERED",
            SearchKey::Deleted => "DELETED",
            SearchKey::Draft => "DRAFT",
            SearchKey::Flagged => "FLAGGED",
            SearchKey::New => "NEW",
            SearchKey::Old => "OLD",
            SearchKey::Recent => "RECENT",
            SearchKey::Seen => "SEEN",
            SearchKey::Unanswered => "UNANSWERED",
            SearchKey::Undeleted => "UNDELETED",
            SearchKey::Undraft => "UNDRAFT",
            SearchKey::Unflagged => "UNFLAGGED",
            SearchKey::Unseen => "UNSEEN",
            SearchKey::Keyword(_) => "KEYWORD",
            SearchKey::Unkeyword(_) => "UNKEYWORD",
            SearchKey::Bcc(_) => "BCC",
            SearchKey::Body(_) => "BODY",
            SearchKey::Cc(_) => "CC",
            SearchKey::From(_) => "FROM",
            SearchKey::Header(..) => "HEADER",
            SearchKey::Subject(_) => "SUBJECT",
            SearchKey::Text(_) => "TEXT",
            SearchKey::To(_) => "TO",
            SearchKey::Before(_) => "BEFORE",
            SearchKey::On(_) => "ON",
            SearchKey::Since(_) => "SINCE",
            SearchKey::SentBefore(_) => "SENTBEFORE",
            SearchKey::SentOn(_) => "SENTON",
            SearchKey::SentSince(_) => "SENTSINCE",
            SearchKey::Larger(_) => "LARGER",
            SearchKey::Smaller(_) => "SMALLER",
            SearchKey::Older(_) => "OLDER",
            SearchKey::Younger(_) => "YOUNGER",
            SearchKey::ModSeq(_) => "MODSEQ",
            SearchKey::Uid(_) => "UID",
            SearchKey::Sequence(_) => "",
        }
    }

    const fn has_argument(&self) -> bool {
        !matches!(
            self,
            SearchKey::All
                | SearchKey::Answered
                | SearchKey::Deleted
                | SearchKey::Draft
                | SearchKey::Flagged
                | SearchKey::New
                | SearchKey::Old
                | SearchKey::Recent
                | SearchKey::Seen
                | SearchKey::Unanswered
                | SearchKey::Undeleted
                | SearchKey::Undraft
                | SearchKey::Unflagged
                | SearchKey::Unseen
        )
    }
}
