//! Address lists of header fields (RFC 5322 §3.4, with the obsolete forms of §4.4 and UTF-8 by RFC 6532).
//!
//! The one parser behind ENVELOPE, policy and the API: whoever asks which addresses a field holds gets the
//! same answer. It reads lazily, in one pass, and holds one entry at a time. RFC 2047 words are never decoded
//! before addresses are told apart, so nothing encoded can turn into an address.

use alloc::borrow::Cow;
use alloc::vec::Vec;

/// One mailbox of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox<'a> {
    /// The display name, quotes removed, RFC 2047 words left as they are; the last comment when there is no
    /// name (the old form `a@b (Name)`).
    pub name: Option<Cow<'a, [u8]>>,
    /// The source route of RFC 5322 §4.4, without its colon: `@a,@b`.
    pub route: Option<Cow<'a, [u8]>>,
    /// The local part, quotes removed.
    pub local: Cow<'a, [u8]>,
    /// The domain or address literal (with its brackets), as written, comments removed.
    pub domain: Cow<'a, [u8]>,
}

/// What a list is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// An address.
    Mailbox(Mailbox<'a>),
    /// A group begins; its name. Its members follow, then [`Entry::GroupEnd`].
    GroupStart(Cow<'a, [u8]>),
    /// The group ends, at `;` or at the end of the list.
    GroupEnd,
    /// Something that is no address, up to the next separator, as it stands. No address is ever taken out
    /// of it, not even one in angle brackets with text behind it.
    Invalid(&'a [u8]),
}

/// Iterates over the entries of a list.
#[derive(Clone, Debug)]
pub struct AddressList<'a> {
    text: Text<'a>,
    in_group: bool,
}

impl<'a> AddressList<'a> {
    /// Over a field's value, folded or unfolded.
    pub fn new(value: &'a [u8]) -> Self {
        AddressList { text: Text { bytes: value, at: 0, comment: None, damaged: false }, in_group: false }
    }

    /// Only the mailboxes, those in groups too.
    pub fn mailboxes(self) -> impl Iterator<Item = Mailbox<'a>> {
        self.filter_map(|entry| match entry {
            Entry::Mailbox(mailbox) => Some(mailbox),
            _ => None,
        })
    }
}

impl<'a> Iterator for AddressList<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let start = self.text.at;
            self.text.skip_cfws();
            if core::mem::take(&mut self.text.damaged) {
                return Some(Entry::Invalid(super::header::trim(&self.text.bytes[start..])));
            }
            match self.text.peek() {
                Some(b',') => self.text.at += 1,
                // Some senders separate addresses by semicolons; outside a group that is an empty entry.
                Some(b';') => {
                    self.text.at += 1;
                    if core::mem::take(&mut self.in_group) {
                        return Some(Entry::GroupEnd);
                    }
                }
                Some(_) => return Some(self.entry()),
                None => return core::mem::take(&mut self.in_group).then_some(Entry::GroupEnd),
            }
        }
    }
}

impl<'a> AddressList<'a> {
    /// Reads one entry; the text stands at its first octet.
    fn entry(&mut self) -> Entry<'a> {
        let start = self.text.at;
        self.text.comment = None;
        let phrase = self.text.phrase();
        let parsed = match self.text.peek() {
            Some(b'<') => self.text.angle_address().map(|(route, local, domain)| {
                let name = phrase.name.or_else(|| self.text.comment.map(Cow::Borrowed));
                Mailbox { name, route, local, domain }
            }),
            Some(b':') if !self.in_group && phrase.clean => {
                self.text.at += 1;
                self.in_group = true;
                return Entry::GroupStart(phrase.name.unwrap_or_default());
            }
            Some(b'@') => self.bare_address(start),
            _ => None,
        };
        self.text.skip_cfws();
        match parsed {
            Some(mut mailbox) if self.text.at_separator() && !self.text.damaged => {
                if mailbox.name.is_none() {
                    mailbox.name = self.text.comment.map(Cow::Borrowed);
                }
                Entry::Mailbox(mailbox)
            }
            _ => {
                self.text.skip_to_separator();
                self.text.damaged = false;
                Entry::Invalid(super::header::trim(&self.text.bytes[start..self.text.at]))
            }
        }
    }

    /// `local@domain`, and `local@domain <local@domain>`, in which the first is but the name of the second:
    /// no RFC allows it, many senders write it.
    fn bare_address(&mut self, start: usize) -> Option<Mailbox<'a>> {
        self.text.at = start;
        let (local, domain) = self.text.addr_spec()?;
        let end = self.text.at;
        self.text.skip_cfws();
        if self.text.peek() == Some(b'<') {
            let (route, local, domain) = self.text.angle_address()?;
            let name = super::header::trim(&self.text.bytes[start..end]);
            return Some(Mailbox { name: Some(Cow::Borrowed(name)), route, local, domain });
        }
        Some(Mailbox { name: None, route: None, local, domain })
    }
}

/// Skips one comment (RFC 5322 §3.2.2), nested ones in it; what follows. `None` when it does not end.
pub(super) fn skip_comment(bytes: &[u8]) -> Option<&[u8]> {
    let mut text = Text { bytes, at: 0, comment: None, damaged: false };
    text.comment_end().map(|end| &bytes[end..])
}

struct Phrase<'a> {
    name: Option<Cow<'a, [u8]>>,
    /// Whether it is a phrase by RFC 5322; others are tolerated in front of `<`.
    clean: bool,
}

/// Local part and domain.
type Spec<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);
/// Route, local part and domain.
type Angle<'a> = (Option<Cow<'a, [u8]>>, Cow<'a, [u8]>, Cow<'a, [u8]>);

#[derive(Clone, Debug)]
struct Text<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Content of the last comment passed over.
    comment: Option<&'a [u8]>,
    /// A comment has no end: some reader may take what stands in it for addresses.
    damaged: bool,
}

impl<'a> Text<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn at_separator(&self) -> bool {
        matches!(self.peek(), None | Some(b',' | b';'))
    }

    /// White space, line ends and comments. A comment without end takes the rest of the text and damages the
    /// entry it stands in.
    fn skip_cfws(&mut self) {
        while let Some(b) = self.peek() {
            match b {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'(' => match self.comment_end() {
                    Some(end) => {
                        self.comment = Some(&self.bytes[self.at + 1..end - 1]);
                        self.at = end;
                    }
                    None => {
                        self.damaged = true;
                        self.at = self.bytes.len();
                    }
                },
                _ => return,
            }
        }
    }

    /// One past the comment that opens here.
    fn comment_end(&mut self) -> Option<usize> {
        let mut depth = 0usize;
        let mut at = self.at;
        while let Some(&b) = self.bytes.get(at) {
            match b {
                b'\\' => at += 1,
                b'(' => depth += 1,
                b')' if depth == 1 => return Some(at + 1),
                b')' => depth -= 1,
                _ => {}
            }
            at += 1;
        }
        None
    }

    fn atom(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&b| !is_atext(b)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// The content of the quoted string that opens here; `None` when it does not end, at the end of the text.
    fn quoted(&mut self) -> Option<Cow<'a, [u8]>> {
        self.at += 1;
        let start = self.at;
        let mut owned: Option<Vec<u8>> = None;
        while let Some(b) = self.peek() {
            match b {
                b'"' => {
                    let content = &self.bytes[start..self.at];
                    self.at += 1;
                    return Some(owned.map_or(Cow::Borrowed(content), Cow::Owned));
                }
                b'\\' | b'\r' | b'\n' => {
                    let seen = &self.bytes[start..self.at];
                    let owned = owned.get_or_insert_with(|| seen.to_vec());
                    self.at += 1;
                    if b == b'\\' {
                        owned.extend(self.peek());
                        self.at += usize::from(self.peek().is_some());
                    }
                }
                _ => {
                    if let Some(owned) = &mut owned {
                        owned.push(b);
                    }
                    self.at += 1;
                }
            }
        }
        None
    }

    /// Words up to something that is not part of a phrase: `<`, `:`, `@`, a separator, the end.
    fn phrase(&mut self) -> Phrase<'a> {
        let mut name: Option<Cow<'a, [u8]>> = None;
        let mut clean = true;
        loop {
            let before = self.at;
            self.skip_cfws();
            let spaced = self.at > before;
            let word = match self.peek() {
                None | Some(b'<' | b':' | b'@' | b',' | b';' | b'>' | b'\\') => {
                    return Phrase { name, clean };
                }
                Some(b'"') => match self.quoted() {
                    Some(word) => word,
                    None => return Phrase { name: None, clean: false },
                },
                Some(b) if is_atext(b) => Cow::Borrowed(self.atom()),
                Some(b) => {
                    // A dot is allowed by §4.1; brackets and the like are not, and are common.
                    clean &= b == b'.';
                    let word = &self.bytes[self.at..=self.at];
                    self.at += 1;
                    Cow::Borrowed(word)
                }
            };
            name = Some(match name {
                None => word,
                Some(so_far) => {
                    let mut joined = so_far.into_owned();
                    if spaced {
                        joined.push(b' ');
                    }
                    joined.extend_from_slice(&word);
                    Cow::Owned(joined)
                }
            });
        }
    }

    /// `<` [route] addr-spec `>`.
    fn angle_address(&mut self) -> Option<Angle<'a>> {
        self.at += 1;
        self.skip_cfws();
        let route = if matches!(self.peek(), Some(b'@' | b',')) { Some(self.route()?) } else { None };
        let (local, domain) = self.addr_spec()?;
        self.skip_cfws();
        if self.peek() != Some(b'>') {
            return None;
        }
        self.at += 1;
        Some((route, local, domain))
    }

    /// `@a,@b:` (RFC 5322 §4.4), without the colon.
    fn route(&mut self) -> Option<Cow<'a, [u8]>> {
        let mut route = Vec::new();
        loop {
            self.skip_cfws();
            match self.peek()? {
                b',' => self.at += 1,
                b':' => {
                    self.at += 1;
                    return Some(Cow::Owned(route));
                }
                b'@' => {
                    self.at += 1;
                    let domain = self.domain()?;
                    if !route.is_empty() {
                        route.push(b',');
                    }
                    route.push(b'@');
                    route.extend_from_slice(&domain);
                }
                _ => return None,
            }
        }
    }

    fn addr_spec(&mut self) -> Option<Spec<'a>> {
        let local = self.local_part()?;
        self.skip_cfws();
        if self.peek() != Some(b'@') {
            return None;
        }
        self.at += 1;
        let domain = self.domain()?;
        Some((local, domain))
    }

    /// Words joined by dots; comments and white space may stand around a dot (RFC 5322 §4.4). Dots at either
    /// end or side by side are accepted, because phone companies gave out such addresses.
    fn local_part(&mut self) -> Option<Cow<'a, [u8]>> {
        let mut local: Option<Cow<'a, [u8]>> = None;
        let mut after_dot = true;
        loop {
            self.skip_cfws();
            let is_dot = self.peek() == Some(b'.');
            let word = match self.peek() {
                Some(b'.') => {
                    self.at += 1;
                    Cow::Borrowed(&b"."[..])
                }
                Some(b'"') if after_dot => self.quoted()?,
                Some(b) if is_atext(b) && after_dot => {
                    let start = self.at;
                    while self.peek().is_some_and(|b| is_atext(b) || b == b'.') {
                        self.at += 1;
                    }
                    Cow::Borrowed(&self.bytes[start..self.at])
                }
                Some(b'@') => return local,
                _ => return None,
            };
            after_dot = is_dot || word.ends_with(b".");
            local = Some(match local {
                None => word,
                Some(so_far) => {
                    let mut joined = so_far.into_owned();
                    joined.extend_from_slice(&word);
                    Cow::Owned(joined)
                }
            });
        }
    }

    /// Atoms joined by single dots, or a literal in brackets.
    fn domain(&mut self) -> Option<Cow<'a, [u8]>> {
        self.skip_cfws();
        if self.peek() == Some(b'[') {
            return self.domain_literal();
        }
        let mut domain: Option<Cow<'a, [u8]>> = None;
        loop {
            self.skip_cfws();
            let start = self.at;
            while self.peek().is_some_and(|b| is_atext(b) || b == b'.') {
                self.at += 1;
            }
            let piece = &self.bytes[start..self.at];
            if piece.is_empty() {
                return None;
            }
            domain = Some(match domain {
                None => Cow::Borrowed(piece),
                Some(so_far) => {
                    let mut joined = so_far.into_owned();
                    joined.extend_from_slice(piece);
                    Cow::Owned(joined)
                }
            });
            // Comments behind the domain belong to the entry, white space in front of a dot to the domain.
            let end = self.at;
            let comment = self.comment;
            self.skip_cfws();
            if !piece.ends_with(b".") && self.peek() != Some(b'.') {
                (self.at, self.comment) = (end, comment);
                return domain.filter(|d| d.split(|&b| b == b'.').all(|label| !label.is_empty()));
            }
        }
    }

    fn domain_literal(&mut self) -> Option<Cow<'a, [u8]>> {
        let start = self.at;
        let rest = &self.bytes[start + 1..];
        let len = rest.iter().position(|&b| !(33..=126).contains(&b) || matches!(b, b'[' | b']' | b'\\'))?;
        if len == 0 || rest[len] != b']' {
            return None;
        }
        self.at = start + len + 2;
        Some(Cow::Borrowed(&self.bytes[start..self.at]))
    }

    /// Passes over what could not be read, up to a separator that stands in no quotes and no comment.
    fn skip_to_separator(&mut self) {
        loop {
            self.skip_cfws();
            match self.peek() {
                None | Some(b',' | b';') => return,
                Some(b'"') => {
                    self.quoted();
                }
                Some(_) => self.at += 1,
            }
        }
    }
}

/// RFC 5322 §3.2.3 `atext`, with RFC 6532 §3.2: every octet over 127.
fn is_atext(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b >= 0x80 || b"!#$%&'*+-/=?^_`{|}~".contains(&b)
}
