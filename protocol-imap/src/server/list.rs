//! LIST, LSUB and STATUS: which folders match, and what is said of each. Pure functions over the folder list.

mod pattern;

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use protocol_core::SendBuf;

use super::reason::Bad;
use super::request::normal_form;
use super::session::Refused;
use crate::codec::{Emit, List, ListCommand, ListSelection, MailboxName, SpecialUse, StatusItem, Text};
use crate::utf7;
use pattern::matches;

/// A folder as LIST sees it.
#[derive(Clone, Copy, Debug)]
pub struct Folder<'a> {
    /// Its name in UTF-8, levels separated by `/`; the inbox is `INBOX`.
    pub name: &'a str,
    /// The special use it carries.
    pub special_use: Option<SpecialUse>,
    /// Its figures, for `RETURN (STATUS (...))`.
    pub status: StatusData,
}

/// The figures of a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct StatusData {
    pub messages: u32,
    pub uid_next: u32,
    pub uid_validity: u32,
    pub unseen: u32,
    /// Messages with `\Deleted`; needed only when [`StatusQuery::wants_deleted`] says so.
    pub deleted: u32,
    /// Octets of all messages.
    pub size: u64,
    pub highest_modseq: u64,
}

/// LIST or LSUB.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'b>(pub(super) Kind<'b>);

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind<'b> {
    List(ListCommand<'b>),
    Lsub { reference: MailboxName<'b>, pattern: Text<'b> },
}

impl Listing<'_> {
    /// Whether the answer depends on the subscriptions.
    pub fn wants_subscriptions(&self) -> bool {
        match &self.0 {
            Kind::Lsub { .. } => true,
            Kind::List(list) => {
                list.selection.subscribed || list.returns.as_ref().is_some_and(|r| r.subscribed)
            }
        }
    }

    /// Whether [`StatusData::deleted`] is needed of the folders.
    pub fn wants_deleted(&self) -> bool {
        self.status().is_some_and(|items| items.contains(&StatusItem::Deleted))
    }

    fn status(&self) -> Option<List<'_, StatusItem>> {
        match &self.0 {
            Kind::List(list) => list.returns.as_ref().and_then(|r| r.status),
            Kind::Lsub { .. } => None,
        }
    }

    /// Patterns behind their reference, in UTF-8 and normal form C.
    fn patterns(&self, utf8: bool) -> Result<Vec<String>, Refused> {
        let (reference, patterns) = match self.0 {
            Kind::List(list) => (list.reference, list.patterns.iter().map(|p| p.0).collect()),
            Kind::Lsub { reference, pattern } => (reference, Vec::from([pattern])),
        };
        let reference = decode(reference.0, utf8)?;
        patterns.into_iter().map(|p| Ok(join(&reference, &decode(p, utf8)?))).collect()
    }

    /// `LIST "" ""` asks for the delimiter (RFC 9051 §6.3.9).
    fn asks_for_delimiter(&self) -> bool {
        match &self.0 {
            Kind::List(list) => !list.extended && list.patterns.iter().all(|p| p.0.is_empty()),
            Kind::Lsub { .. } => false,
        }
    }
}

/// Octets of a reference or a pattern; wildcards stand outside of modified UTF-7's shifts.
fn decode(text: Text<'_>, utf8: bool) -> Result<String, Refused> {
    let octets = text.bytes();
    let name = if utf8 {
        Cow::Borrowed(core::str::from_utf8(&octets).map_err(|_| Bad::Name)?)
    } else {
        utf7::decode(&octets).map_err(|_| Bad::Name)?
    };
    Ok(normal_form(name).into_owned())
}

/// A pattern is taken relative to its reference (RFC 9051 §6.3.9). Both start at the root here, so a leading
/// delimiter says nothing.
fn join(reference: &str, pattern: &str) -> String {
    let reference = reference.trim_start_matches('/');
    let pattern = if reference.is_empty() { pattern.trim_start_matches('/') } else { pattern };
    alloc::format!("{reference}{pattern}")
}

/// How names are written.
#[derive(Clone, Copy)]
pub(super) struct Style {
    pub utf8: bool,
    pub append_max: u64,
}

/// What is known of a name, folder or not.
#[derive(Clone, Copy, Default)]
struct Candidate<'a> {
    folder: Option<&'a Folder<'a>>,
    subscribed: bool,
    /// A name below is subscribed.
    subscribed_below: bool,
}

type Candidates<'a> = BTreeMap<&'a str, Candidate<'a>>;

/// Writes the answer, but for its completion.
pub(super) fn write<'a>(
    listing: &Listing<'_>,
    folders: &'a [Folder<'a>],
    subscriptions: impl Iterator<Item = &'a str>,
    style: Style,
    out: &mut SendBuf,
) -> Result<(), Refused> {
    let patterns = listing.patterns(style.utf8)?;
    if listing.asks_for_delimiter() {
        out.push(b"* LIST (\\Noselect) \"/\" \"\"\r\n");
        return Ok(());
    }
    let candidates = candidates(folders, subscriptions);
    for (name, candidate) in &candidates {
        if !patterns.iter().any(|p| matches(p, name)) {
            continue;
        }
        match listing.0 {
            Kind::Lsub { .. } => write_lsub(name, candidate, &patterns, &candidates, style, out),
            Kind::List(list) => write_list(&list, name, candidate, &candidates, style, out),
        }
    }
    Ok(())
}

fn candidates<'a>(folders: &'a [Folder<'a>], subscriptions: impl Iterator<Item = &'a str>) -> Candidates<'a> {
    let mut candidates = Candidates::new();
    for folder in folders {
        candidates.entry(folder.name).or_default().folder = Some(folder);
    }
    for name in subscriptions {
        candidates.entry(name).or_default().subscribed = true;
        let mut above = name;
        while let Some((parent, _)) = above.rsplit_once('/') {
            candidates.entry(parent).or_default().subscribed_below = true;
            above = parent;
        }
    }
    candidates
}

/// Names below `name` come right behind `name/` in the order of octets.
fn below<'m, 'a>(
    candidates: &'m Candidates<'a>,
    name: &str,
) -> impl Iterator<Item = (&'m &'a str, &'m Candidate<'a>)> {
    let start = alloc::format!("{name}/");
    let prefix = start.clone();
    candidates
        .range::<str, _>((core::ops::Bound::Included(start.as_str()), core::ops::Bound::Unbounded))
        .take_while(move |(n, _)| n.starts_with(prefix.as_str()))
}

fn write_list(
    list: &ListCommand<'_>,
    name: &str,
    candidate: &Candidate<'_>,
    all: &Candidates<'_>,
    style: Style,
    out: &mut SendBuf,
) {
    let ListSelection { subscribed, special_use, recursive_match, .. } = list.selection;
    let use_of = candidate.folder.and_then(|f| f.special_use);
    let selected = (!subscribed || candidate.subscribed)
        && (!special_use || use_of.is_some())
        && (subscribed || candidate.folder.is_some());
    // RFC 5258 §3.5: a name whose children meet the criteria is told too, with CHILDINFO.
    let child_info = recursive_match && subscribed && candidate.subscribed_below;
    if !selected && !child_info {
        return;
    }
    let returns = list.returns.unwrap_or_default();
    out.push(b"* LIST (");
    let mut attributes = Attributes { first: true, out };
    if candidate.folder.is_none() {
        attributes.write("NonExistent");
    }
    if candidate.subscribed && (subscribed || returns.subscribed) {
        attributes.write("Subscribed");
    }
    let has_children = below(all, name).any(|(_, c)| c.folder.is_some());
    attributes.write(if has_children { "HasChildren" } else { "HasNoChildren" });
    if let Some(special_use) = use_of {
        attributes.write(special_use.name());
    }
    out.push(b") \"/\" ");
    write_name(name, style.utf8, out);
    if child_info {
        out.push(b" (\"CHILDINFO\" (\"SUBSCRIBED\"))");
    }
    out.push(b"\r\n");
    if let (Some(items), Some(folder)) = (returns.status, candidate.folder) {
        write_status(name, items, &folder.status, style, out);
    }
}

/// RFC 3501 §6.3.9: a name that is not subscribed is told with `\Noselect` when one below it is and does not
/// match by itself.
fn write_lsub(
    name: &str,
    candidate: &Candidate<'_>,
    patterns: &[String],
    all: &Candidates<'_>,
    style: Style,
    out: &mut SendBuf,
) {
    let hidden_below =
        || below(all, name).any(|(n, c)| c.subscribed && !patterns.iter().any(|p| matches(p, n)));
    if !candidate.subscribed && !hidden_below() {
        return;
    }
    out.push(if candidate.subscribed { b"* LSUB () \"/\" " } else { b"* LSUB (\\Noselect) \"/\" " });
    write_name(name, style.utf8, out);
    out.push(b"\r\n");
}

struct Attributes<'o> {
    first: bool,
    out: &'o mut SendBuf,
}

impl Attributes<'_> {
    fn write(&mut self, name: &str) {
        self.out.push(if self.first { b"\\" } else { b" \\" });
        self.first = false;
        self.out.push(name.as_bytes());
    }
}

/// A mailbox name in the encoding of the session.
pub(super) fn write_name(name: &str, utf8: bool, out: &mut SendBuf) {
    let encoded = if utf8 { Cow::Borrowed(name) } else { utf7::encode(name) };
    Emit::server(out, utf8).astring(Text::new(encoded.as_bytes()));
}

/// What STATUS asks for.
#[derive(Clone, Copy, Debug)]
pub struct StatusQuery<'b> {
    pub(super) items: List<'b, StatusItem>,
}

impl StatusQuery<'_> {
    /// Whether [`StatusData::deleted`] is needed.
    pub fn wants_deleted(&self) -> bool {
        self.items.contains(&StatusItem::Deleted)
    }
}

/// `* STATUS name (...)`.
pub(super) fn write_status(
    name: &str,
    items: List<'_, StatusItem>,
    data: &StatusData,
    style: Style,
    out: &mut SendBuf,
) {
    out.push(b"* STATUS ");
    write_name(name, style.utf8, out);
    out.push(b" (");
    let mut first = true;
    for item in items.iter() {
        if !first {
            out.push_u8(b' ');
        }
        first = false;
        let (word, value) = match item {
            StatusItem::Messages => ("MESSAGES", u64::from(data.messages)),
            // \Recent is never set, so that every session sees the same.
            StatusItem::Recent => ("RECENT", 0),
            StatusItem::UidNext => ("UIDNEXT", u64::from(data.uid_next)),
            StatusItem::UidValidity => ("UIDVALIDITY", u64::from(data.uid_validity)),
            StatusItem::Unseen => ("UNSEEN", u64::from(data.unseen)),
            StatusItem::Deleted => ("DELETED", u64::from(data.deleted)),
            StatusItem::Size => ("SIZE", data.size),
            StatusItem::HighestModSeq => ("HIGHESTMODSEQ", data.highest_modseq),
            StatusItem::AppendLimit => ("APPENDLIMIT", style.append_max),
        };
        out.push(word.as_bytes());
        out.push_u8(b' ');
        out.push_decimal(value);
    }
    out.push(b")\r\n");
}
