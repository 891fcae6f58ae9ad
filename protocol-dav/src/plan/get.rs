//! GET and HEAD.

use super::place::http_date;
use crate::headers::{Head, RangeRequest, Ranges, TagList};
use crate::path::Path;
use crate::refusal::{Refusal, Status};
use crate::resource::{Kind, Resource};

/// A GET or HEAD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// Where.
    pub path: Path,
    /// Whether only the head of the answer is sent.
    pub head_only: bool,
    range: Option<RangeRequest>,
    if_match: Option<TagList>,
    if_none_match: Option<TagList>,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetAnswer {
    /// The status: `200`, `206`, `304` or `416`.
    pub status: Status,
    /// Header fields, their names in lower case; without `Content-Length`.
    pub headers: Vec<(&'static str, String)>,
    /// From which octet of the content, and how many; none of it for HEAD, `304` and `416`.
    pub part: Option<(u64, u64)>,
    /// The `Content-Length` of the answer: for HEAD what GET would send; none for `304`.
    pub length: Option<u64>,
}

impl Get {
    pub(super) fn of(head: &Head<'_>, path: Path, head_only: bool) -> Result<Get, Refusal> {
        let tags = |name| head.list(name)?.map(|value| TagList::parse(&value)).transpose();
        // A range is defined for GET alone (RFC 9110 §14.2).
        let range = match head_only {
            true => None,
            false => RangeRequest::parse(head.list("range")?.as_deref(), head.field("if-range")?),
        };
        Ok(Get { path, head_only, range, if_match: tags("if-match")?, if_none_match: tags("if-none-match")? })
    }

    /// The answer for what is there. Collections have no content.
    pub fn answer(&self, resource: Option<&Resource<'_>>) -> Result<GetAnswer, Refusal> {
        let resource = resource.ok_or_else(Refusal::not_found)?;
        let Some(etag) = resource.etag else {
            let refusal = Refusal::status(405, "a collection has no content");
            return Err(Refusal { allow: Some(super::allow(&self.path)), ..refusal });
        };
        if self.if_match.as_ref().is_some_and(|list| !list.matches_strongly(Some(etag))) {
            return Err(Refusal::status(412, "the resource is in another state"));
        }
        let mut headers = vec![("etag", format!("\"{etag}\""))];
        if let Some(tag) = resource.schedule_tag {
            headers.push(("schedule-tag", format!("\"{tag}\"")));
        }
        if self.if_none_match.as_ref().is_some_and(|list| list.matches_weakly(Some(etag))) {
            return Ok(GetAnswer { status: Status(304), headers, part: None, length: None });
        }
        headers.push(("last-modified", http_date(resource.modified)));
        headers.push(("accept-ranges", "bytes".to_owned()));
        let length = resource.length;
        match self.range.as_ref().map_or(Ranges::Whole, |range| range.of(length, etag)) {
            Ranges::Whole => {
                content_headers(resource, &mut headers);
                let part = (!self.head_only).then_some((0, length));
                Ok(GetAnswer { status: Status(200), headers, part, length: Some(length) })
            }
            Ranges::Part { from, length: count } => {
                content_headers(resource, &mut headers);
                let last = from + count - 1;
                headers.push(("content-range", format!("bytes {from}-{last}/{length}")));
                Ok(GetAnswer { status: Status(206), headers, part: Some((from, count)), length: Some(count) })
            }
            Ranges::Unsatisfiable => {
                headers.push(("content-range", format!("bytes */{length}")));
                Ok(GetAnswer { status: Status(416), headers, part: None, length: Some(0) })
            }
        }
    }
}

/// What a browser must not do with what somebody stored: run it, guess its type, show it as a page of ours.
fn content_headers(resource: &Resource<'_>, headers: &mut Vec<(&'static str, String)>) {
    headers.push(("content-type", content_type(resource)));
    headers.push(("content-disposition", "attachment".to_owned()));
    headers.push(("x-content-type-options", "nosniff".to_owned()));
    headers.push(("content-security-policy", "sandbox; default-src 'none'".to_owned()));
}

/// The media type of a resource's content.
pub(crate) fn content_type(resource: &Resource<'_>) -> String {
    match resource.kind {
        Kind::CalendarObject => {
            let component = resource.components.names().next();
            let component = component.map(|name| format!("; component={name}")).unwrap_or_default();
            format!("text/calendar; charset=utf-8{component}")
        }
        Kind::Card => "text/vcard; charset=utf-8".to_owned(),
        _ if resource.content_type.is_empty() => "application/octet-stream".to_owned(),
        _ => resource.content_type.to_owned(),
    }
}
