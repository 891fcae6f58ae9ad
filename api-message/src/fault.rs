//! Why a request is not one that can be sent.

use alloc::string::{String, ToString};
use core::fmt;

/// A fault of one argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which argument, as the caller named it: `to[2]`, `headers[0].name`.
    pub argument: String,
    /// What kind of fault.
    pub reason: Reason,
    /// A sentence for people. It repeats nothing of the value.
    pub message: String,
}

/// Kinds of faults, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Something that is needed is not there.
    Missing,
    /// Two arguments cannot be used together, or one is there twice.
    Conflict,
    /// A character that has no place there: CR, LF, NUL or another control, or a line or paragraph separator.
    ForbiddenCharacter,
    /// No mail address.
    Address,
    /// A header field that is not the sender's to set.
    ForbiddenHeader,
    /// Not written as it must be.
    Syntax,
    /// A size passes its limit.
    TooLarge,
    /// A count passes its limit.
    TooMany,
    /// A time that is too far ahead.
    TooFarAhead,
}

impl Reason {
    /// Its name in answers of the API.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Missing => "MISSING",
            Reason::Conflict => "CONFLICT",
            Reason::ForbiddenCharacter => "FORBIDDEN_CHARACTER",
            Reason::Address => "ADDRESS",
            Reason::ForbiddenHeader => "FORBIDDEN_HEADER",
            Reason::Syntax => "SYNTAX",
            Reason::TooLarge => "TOO_LARGE",
            Reason::TooMany => "TOO_MANY",
            Reason::TooFarAhead => "TOO_FAR_AHEAD",
        }
    }
}

impl Fault {
    /// A fault of an argument.
    pub fn new(argument: impl Into<String>, reason: Reason, message: impl Into<String>) -> Fault {
        Fault { argument: argument.into(), reason, message: message.into() }
    }

    pub(crate) fn too_large(argument: impl Into<String>, max: usize) -> Fault {
        Fault::new(argument, Reason::TooLarge, alloc::format!("at most {max} octets"))
    }

    pub(crate) fn too_many(argument: &str, max: usize) -> Fault {
        Fault::new(argument.to_string(), Reason::TooMany, alloc::format!("at most {max}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.argument, self.message)
    }
}

impl core::error::Error for Fault {}
