//! Responses: what a server says.

pub mod code;
pub mod fetch;
pub mod structure;
pub mod untagged;

pub use code::Code;
pub use fetch::{FetchAttr, FetchWriter};
pub use structure::{Address, Body, BodyFields, Disposition, Envelope, Extension, Param, Single};
pub use untagged::{Esearch, EsearchItem, ListInfo, Namespace, NamespaceItem, StatusValue, Untagged};

use super::text::Text;

/// One response (RFC 9051 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response<'b> {
    /// `+ ...`: the text, which is base64 during AUTHENTICATE.
    Continue(Text<'b>),
    /// The completion of a command.
    Tagged {
        /// The command's tag.
        tag: &'b str,
        /// How it went: `Ok`, `No` or `Bad`.
        status: Status<'b>,
    },
    /// `* ...`.
    Untagged(Untagged<'b>),
}

/// A status response (RFC 9051 §7.1), tagged or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status<'b> {
    /// Which.
    pub kind: StatusKind,
    /// In brackets, for programs.
    pub code: Option<Code<'b>>,
    /// For people; on one line.
    pub text: Text<'b>,
}

/// The kinds of status responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum StatusKind {
    Ok,
    No,
    Bad,
    /// Untagged only.
    PreAuth,
    /// Untagged only.
    Bye,
}

impl<'b> Status<'b> {
    /// `OK` with a text.
    pub fn ok(text: &'b str) -> Self {
        Status { kind: StatusKind::Ok, code: None, text: text.into() }
    }

    /// `NO` with a text.
    pub fn no(text: &'b str) -> Self {
        Status { kind: StatusKind::No, code: None, text: text.into() }
    }

    /// `BAD` with a text.
    pub fn bad(text: &'b str) -> Self {
        Status { kind: StatusKind::Bad, code: None, text: text.into() }
    }

    /// `BYE` with a text.
    pub fn bye(text: &'b str) -> Self {
        Status { kind: StatusKind::Bye, code: None, text: text.into() }
    }

    /// The same with a response code.
    pub fn with(self, code: Code<'b>) -> Self {
        Status { code: Some(code), ..self }
    }
}
