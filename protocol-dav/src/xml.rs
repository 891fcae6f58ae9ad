//! XML, read into a bounded tree and written with escapes.
//!
//! Document type declarations are refused, so no entity but the five predefined ones can be named and nothing
//! outside the body is ever looked at (RFC 4918 §17.8, §20.6). Namespaces are resolved here: the reader
//! underneath only finds where tags begin and end.

mod read;
mod tree;
mod write;

#[cfg(test)]
mod tests;

pub use read::parse;
pub use tree::{Attribute, Element, Node};
pub use write::{escape_attribute, escape_text, text_element};

/// Why a body is no XML that this server reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XmlFault {
    /// It is longer, deeper or wider than the limits allow.
    TooLarge,
    /// It has a document type declaration, or names an entity.
    Entity,
    /// It is not well-formed, or a prefix is not bound.
    Malformed,
    /// Neither UTF-8 nor UTF-16.
    Encoding,
}

impl std::fmt::Display for XmlFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            XmlFault::TooLarge => "the XML is larger than this server reads",
            XmlFault::Entity => "document types and entities are not read",
            XmlFault::Malformed => "the XML is not well-formed",
            XmlFault::Encoding => "the XML is neither UTF-8 nor UTF-16",
        })
    }
}

impl std::error::Error for XmlFault {}
