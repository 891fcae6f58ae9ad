//! `DAV:expand-property` (RFC 3253 §3.8): the resources that a property names, with properties of theirs in their
//! place.

use super::fixed;
use crate::multistatus::Multistatus;
use crate::path::Path;
use crate::props::{PropSet, PropertyRequest, Viewer, hrefs, write_propstats};
use crate::refusal::{Status, write_status};
use crate::request::ExpandProperty;
use crate::resource::Resource;
use crate::xml::text_element;

/// The whole answer for one resource. What is named and is no fixed place of the one who asks is shown as an href.
pub fn expand(properties: &[ExpandProperty], resource: &Resource<'_>, viewer: Viewer<'_>) -> String {
    let mut out = String::new();
    let none = PropSet::Some(Vec::new());
    let multistatus = Multistatus::begin(&none, viewer, true, &mut out);
    response(properties, resource, viewer, &mut out);
    multistatus.finish(None, None, &mut out);
    out
}

fn response(properties: &[ExpandProperty], resource: &Resource<'_>, viewer: Viewer<'_>, out: &mut String) {
    out.push_str("<D:response>");
    text_element("D:href", &resource.href(), out);
    let (expanded, plain): (Vec<&ExpandProperty>, Vec<&ExpandProperty>) = properties
        .iter()
        .partition(|p| !p.properties.is_empty() && !hrefs(&p.name, resource, viewer).is_empty());
    if !plain.is_empty() || expanded.is_empty() {
        let requests = plain.iter().map(|p| PropertyRequest { name: p.name.clone(), data: None }).collect();
        write_propstats(&PropSet::Some(requests), resource, viewer, false, out);
    }
    if !expanded.is_empty() {
        out.push_str("<D:propstat><D:prop>");
        for property in expanded {
            let prefix = property.name.namespace.prefix().unwrap_or("D");
            let tag = format!("{prefix}:{}", property.name.local);
            out.push_str(&format!("<{tag}>"));
            for href in hrefs(&property.name, resource, viewer) {
                let path = Path::parse(&href, "").ok().filter(|p| p.owner() == Some(viewer.principal));
                match path.as_ref().and_then(fixed) {
                    Some(inner) => response(&property.properties, &inner, viewer, out),
                    None => text_element("D:href", &href, out),
                }
            }
            out.push_str(&format!("</{tag}>"));
        }
        out.push_str("</D:prop>");
        write_status(Status(200), out);
        out.push_str("</D:propstat>");
    }
    out.push_str("</D:response>");
}
