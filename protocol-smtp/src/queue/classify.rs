//! What a refusal is about, told from the reply code, the enhanced code and the text.
//!
//! The rules are data: `rules` is one ordered table, and the first rule that fits decides. Texts come before
//! codes, because large providers use one code for everything (550 5.1.1 and 550 5.7.1 above all): among
//! texts, those of a block or a doubt about the sender come before those of a missing mailbox, so that what
//! was refused for its sender never counts against the recipient. Only a 5yz reply can say that an address or
//! a domain is gone.

mod rules;

use alloc::string::String;
use core::fmt;

use super::types::{Failure, Origin};
use crate::status::Status;
use rules::RULES;

/// Octets of a reply's text that are looked at.
pub const CLASSIFIED_MAX: usize = 2_048;

/// What a failure is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// The mailbox does not exist, was closed or has moved.
    AddressPermanent,
    /// The domain does not exist or takes no mail.
    DomainPermanent,
    /// The peer will not have it: reputation, a list of blocked senders, a rule of its own. Also a refusal
    /// that could mean anything.
    Policy,
    /// The mailbox is there and full.
    MailboxFull,
    /// It may pass by itself or by a repair: network, load, greylisting, rate, a fault on the way.
    Transient,
    /// This message: its size, form, or something harmful in it.
    Content,
    /// Something was not proved: SPF, DKIM, DMARC, the client's name, or a password.
    Auth,
}

impl Class {
    /// All, in the order of [`Class::name`]'s documentation.
    pub const ALL: [Class; 7] = [
        Class::AddressPermanent,
        Class::DomainPermanent,
        Class::Policy,
        Class::MailboxFull,
        Class::Transient,
        Class::Content,
        Class::Auth,
    ];

    /// The stable name for logs, events and metrics: `address-permanent`, `domain-permanent`, `policy`,
    /// `mailbox-full`, `transient`, `content`, `auth`.
    pub const fn name(self) -> &'static str {
        match self {
            Class::AddressPermanent => "address-permanent",
            Class::DomainPermanent => "domain-permanent",
            Class::Policy => "policy",
            Class::MailboxFull => "mailbox-full",
            Class::Transient => "transient",
            Class::Content => "content",
            Class::Auth => "auth",
        }
    }

    /// Only a 5yz reply can mean this.
    const fn is_for_good(self) -> bool {
        matches!(self, Class::AddressPermanent | Class::DomainPermanent)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A row of the table.
#[derive(PartialEq, Eq, Debug)]
pub struct Rule {
    /// Unique and stable, for logs.
    pub name: &'static str,
    /// What a reply that fits is about.
    pub class: Class,
    test: Test,
}

/// When a rule fits.
#[derive(PartialEq, Eq, Debug)]
enum Test {
    /// Every one of these stands in the text: lower case, single spaces, no addresses, no codes.
    Says(&'static [&'static str]),
    /// The same, under this subject and detail.
    SaysUnder(u16, u16, &'static str),
    /// This subject and detail, whatever the class.
    Status(u16, u16),
    /// Any detail of this subject.
    Subject(u16),
    /// A 5yz reply with any detail of this subject.
    Refused(u16),
    /// This reply code.
    Code(u16),
    /// Any reply of this class: the last resort.
    Reply(u8),
}

impl Test {
    fn fits(&self, code: u16, status: Option<Status>, text: &str) -> bool {
        match *self {
            Test::Says(all) => all.iter().all(|part| text.contains(part)),
            Test::SaysUnder(subject, detail, part) => {
                is_status(status, subject, detail) && text.contains(part)
            }
            Test::Status(subject, detail) => is_status(status, subject, detail),
            Test::Subject(subject) => status.is_some_and(|s| s.subject == subject),
            Test::Refused(subject) => code >= 500 && status.is_some_and(|s| s.subject == subject),
            Test::Code(wanted) => code == wanted,
            Test::Reply(class) => code / 100 == u16::from(class),
        }
    }
}

fn is_status(status: Option<Status>, subject: u16, detail: u16) -> bool {
    status.is_some_and(|s| (s.subject, s.detail) == (subject, detail))
}

/// What a peer's reply is about. `status` is the reply's enhanced code; when there is none, one of the same
/// class within the text counts (`(#5.1.1)`). `text` may begin with the code and hold all lines of the reply.
pub fn classify(code: u16, status: Option<Status>, text: &str) -> Class {
    rule(code, status, text).class
}

/// The rule that [`classify`] goes by.
pub fn rule(code: u16, status: Option<Status>, text: &str) -> &'static Rule {
    // `5.0.0` says no more than the code does.
    let says = |s: &Status| u16::from(s.class) == code / 100 && (s.subject, s.detail) != (0, 0);
    let (text, within) = normalized(text, says);
    let status = status.filter(says).or(within);
    let permanent = (500..600).contains(&code);
    let fits = |rule: &&Rule| (permanent || !rule.class.is_for_good()) && rule.test.fits(code, status, &text);
    RULES.iter().find(fits).unwrap_or(&rules::UNKNOWN)
}

/// What a failure of any origin is about.
pub fn class_of(failure: &Failure) -> Class {
    match failure.origin {
        Origin::Peer { code, .. } => classify(code, Some(failure.status), &failure.reply),
        Origin::NoSuchDomain | Origin::NullMx => Class::DomainPermanent,
        Origin::Local => local(failure.status),
    }
}

/// Our own reasons: these texts are ours, so the status says all. That no host of a domain has an address is
/// named here for what it is; it proves less than NXDOMAIN and suppresses nothing.
fn local(status: Status) -> Class {
    match (status.class, status.subject, status.detail) {
        (_, 3, 4) | (5, 6, _) => Class::Content,
        (_, 7, _) => Class::Policy,
        (5, 1, 2 | 10) => Class::DomainPermanent,
        _ => Class::Transient,
    }
}

/// Lower case, single spaces, without words that hold an address or a code: `postmaster@spam.test` must not
/// look like a block, and lines of one reply repeat its codes. The first enhanced code that says something comes
/// out beside it.
fn normalized(text: &str, says: impl Fn(&Status) -> bool) -> (String, Option<Status>) {
    let end = (0..=CLASSIFIED_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let mut out = String::from(" ");
    let mut status = None;
    for word in text[..end].split_ascii_whitespace() {
        let bare = word.trim_matches(|c: char| matches!(c, '#' | '(' | ')' | '[' | ']' | ':' | ';' | ','));
        let (front, rest) = bare.split_once('-').unwrap_or((bare, ""));
        let is_code = front.len() == 3 && front.bytes().all(|b| b.is_ascii_digit());
        let bare = if is_code && !rest.is_empty() { rest } else { bare };
        let found = Status::parse(bare.as_bytes());
        status = status.or(found.filter(&says));
        if found.is_some() || word.contains('@') || (is_code && rest.is_empty()) {
            continue;
        }
        let shown = if is_code { rest } else { word };
        out.extend(shown.chars().map(|c| c.to_ascii_lowercase()));
        out.push(' ');
    }
    (out, status)
}

#[cfg(test)]
mod tests;
