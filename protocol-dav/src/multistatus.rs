//! `207 Multi-Status`, written row by row: memory is one row, not one collection.
//!
//! [`Multistatus::begin`] writes how it begins; each method appends to the text that it is given, which the
//! caller sends and clears whenever it likes; [`Multistatus::finish`] writes how it ends.

use crate::name::DECLARATIONS;
use crate::path::Path;
use crate::props::{PropSet, Viewer, write_propstats};
use crate::refusal::{Condition, Status, XML_DECLARATION, write_condition, write_status};
use crate::resource::{Resource, SyncToken};
use crate::xml::text_element;

/// An answer that is being written.
#[derive(Debug)]
pub struct Multistatus<'a> {
    props: &'a PropSet,
    viewer: Viewer<'a>,
    minimal: bool,
}

impl<'a> Multistatus<'a> {
    /// Begins an answer that says this of each row.
    pub fn begin(props: &'a PropSet, viewer: Viewer<'a>, minimal: bool, out: &mut String) -> Multistatus<'a> {
        out.push_str(XML_DECLARATION);
        out.push_str("<D:multistatus");
        out.push_str(DECLARATIONS);
        out.push('>');
        Multistatus { props, viewer, minimal }
    }

    /// A resource with its properties.
    pub fn row(&mut self, resource: &Resource<'_>, out: &mut String) {
        out.push_str("<D:response>");
        text_element("D:href", &resource.href(), out);
        write_propstats(self.props, resource, self.viewer, self.minimal, out);
        out.push_str("</D:response>");
    }

    /// A resource that is not there, by its href: a member that was removed (RFC 6578 §3.5), an href of a multiget
    /// that names nothing.
    pub fn gone(&mut self, href: &str, out: &mut String) {
        self.status(href, Status(404), None, out);
    }

    /// A resource of which only a status can be said.
    pub fn status(&mut self, href: &str, status: Status, condition: Option<Condition>, out: &mut String) {
        out.push_str("<D:response>");
        text_element("D:href", href, out);
        write_status(status, out);
        if let Some(condition) = condition {
            out.push_str("<D:error>");
            write_condition(condition, &[], out);
            out.push_str("</D:error>");
        }
        out.push_str("</D:response>");
    }

    /// Ends the answer. `truncated` is the request's own path when there is more than was sent (RFC 6578 §3.6,
    /// RFC 6352 §8.6.2); `sync` is the state that the rows lead to.
    pub fn finish(mut self, sync: Option<SyncToken>, truncated: Option<&Path>, out: &mut String) {
        if let Some(path) = truncated {
            let condition = Some(Condition::NumberOfMatchesWithinLimits);
            self.status(&path.href(true), Status(507), condition, out);
        }
        if let Some(token) = sync {
            text_element("D:sync-token", &token.to_string(), out);
        }
        out.push_str("</D:multistatus>\n");
    }
}
