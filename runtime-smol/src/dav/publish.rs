//! Calendars that anybody may read who knows their address: one file, made anew for whoever asks. The address is made of
//! what only this installation can make, and is worth nothing once the calendar is published no longer, or again.

use std::collections::BTreeSet;
use std::io;

use protocol_dav::ical;
use protocol_dav::name::{Name, Namespace};
use protocol_dav::object::Component;
use protocol_dav::path::{Area, Path};
use protocol_dav::plan::{self, Publish};
use protocol_dav::refusal::Refusal;
use protocol_dav::resource::{DeadProperty, Kind};
use storage::{Id, Mailbox, MailboxId, Storage};

use super::Answer;
use super::body::made_by;
use super::fault::Fault;
use super::node::Node;
use super::session::Session;
use super::write::Decision;

const PREFIX: &str = "/dav/public/";
const SUFFIX: &str = ".ics";
/// Octets of an address before they are written: mailbox, calendar, tag.
const TOKEN_LEN: usize = 16 + 8 + 16;

/// What leads to a published calendar.
#[derive(Clone, Copy)]
pub struct Link {
    mailbox: MailboxId,
    calendar: u64,
    tag: [u8; 16],
}

impl Link {
    /// From a path; none for what is no such path.
    pub fn read(path: &str) -> Option<Link> {
        let hex = path.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        if hex.len() != 2 * TOKEN_LEN || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let mut octets = [0; TOKEN_LEN];
        for (n, octet) in octets.iter_mut().enumerate() {
            *octet = u8::from_str_radix(hex.get(2 * n..2 * n + 2)?, 16).ok()?;
        }
        let mailbox = MailboxId(Id(octets[..16].try_into().ok()?));
        let calendar = u64::from_be_bytes(octets[16..24].try_into().ok()?);
        Some(Link { mailbox, calendar, tag: octets[24..].try_into().ok()? })
    }

    fn of(storage: &Storage, mailbox: MailboxId, calendar: u64, number: u64) -> Link {
        let (id, count) = (calendar.to_be_bytes(), number.to_be_bytes());
        let full = storage.keys().tag("dav public calendar", &[&mailbox.0.0[..], &id, &count]);
        let mut tag = [0; 16];
        tag.copy_from_slice(&full[..16]);
        Link { mailbox, calendar, tag }
    }

    fn path(&self) -> String {
        let octets = [&self.mailbox.0.0[..], &self.calendar.to_be_bytes(), &self.tag].concat();
        let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        format!("{PREFIX}{hex}{SUFFIX}")
    }
}

/// Whether a path can only be one of a published calendar.
pub fn is_public(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// The property that tells where.
pub fn name() -> Name {
    Name::new(Namespace::CalendarServer, "publish-url")
}

/// Decides that a calendar is published, or no longer. `base` is how this server is reached.
pub async fn publish(
    storage: &Storage,
    session: &Session,
    publish: &Publish,
    base: &str,
) -> Result<Decision, Fault> {
    let mut node = session.must_find(&publish.path).await?;
    session.check(&publish.preconditions).await?;
    if node.meta.mount.is_some() {
        return Err(plan::not_allowed().into());
    }
    let mut draft = session.tree.draft();
    node.dead.retain(|property| property.name != name());
    node.meta.public = None;
    if publish.on {
        let number = draft.number();
        let link = Link::of(storage, session.mailbox.id, node.row.id, number);
        let mut url = String::new();
        protocol_dav::xml::escape_text(&format!("{base}{}", link.path()), &mut url);
        let fragment = format!(
            "<CS:publish-url xmlns:CS=\"http://calendarserver.org/ns/\" xmlns:D=\"DAV:\"><D:href>{url}</D:href></CS:publish-url>"
        );
        node.meta.public = Some(number);
        node.dead.push(DeadProperty { name: name(), fragment: fragment.into() });
    }
    draft.put(node.write()?)?;
    let answer = Answer { status: 200, ..plan::made(true, None, None).into() };
    Ok(Decision { answer, drafts: vec![draft] })
}

/// The answer to whoever asks for a published calendar.
pub async fn answer(storage: &Storage, method: &str, path: &str) -> Result<Answer, Fault> {
    if !matches!(method, "GET" | "HEAD") {
        return Err(
            Refusal { allow: Some("GET, HEAD"), ..Refusal::status(405, "this can be read only") }.into()
        );
    }
    let link = Link::read(path).ok_or_else(Refusal::not_found)?;
    let mailbox = storage.store().mailbox(link.mailbox).await?;
    if mailbox.disabled {
        return Err(Refusal::not_found().into());
    }
    let (session, calendar) = find(storage, &mailbox, link).await?;
    let headers = vec![
        ("content-type", "text/calendar; charset=utf-8".to_owned()),
        ("content-disposition", "attachment; filename=\"calendar.ics\"".to_owned()),
        ("x-content-type-options", "nosniff".to_owned()),
        ("content-security-policy", "sandbox; default-src 'none'".to_owned()),
        ("cache-control", "private, no-cache".to_owned()),
        ("referrer-policy", "no-referrer".to_owned()),
        ("x-robots-tag", "noindex".to_owned()),
    ];
    if method == "HEAD" {
        return Ok(Answer { status: 200, headers, body: tide::Body::empty() });
    }
    let body = made_by(None, move |sink| async move {
        let whole = ical::join(&[]).to_string();
        let head = whole.strip_suffix("END:VCALENDAR\r\n").unwrap_or(&whole);
        sink.send(head.as_bytes().to_vec()).await?;
        let failed = |_| io::Error::other("the answer could not be finished");
        let (mut after, mut zones) = (None, BTreeSet::new());
        loop {
            let page = session.members(&calendar, after).await.map_err(failed)?;
            let Some(last) = page.last() else { break };
            after = Some(last.row.key.name);
            let mut page = page.into_iter().peekable();
            while let Some(part) = Session::part(&mut page, |node| node.meta.length) {
                let texts = session.texts(part).await.map_err(failed)?;
                let (octets, seen) = blocking::unblock(move || {
                    let mut out = String::new();
                    for (_, text) in &texts {
                        show(text.as_deref().unwrap_or(""), &mut zones, &mut out);
                    }
                    (out.into_bytes(), zones)
                })
                .await;
                zones = seen;
                sink.send(octets).await?;
            }
        }
        sink.send(b"END:VCALENDAR\r\n".to_vec()).await
    });
    Ok(Answer { status: 200, headers, body })
}

/// The calendar of a link that is worth something.
async fn find(storage: &Storage, mailbox: &Mailbox, link: Link) -> Result<(Session, Node), Fault> {
    let session = Session::open(storage, mailbox).await?;
    let home = session.must_find(&Path::home(Area::Calendars, session.principal())).await?;
    let mut after = None;
    loop {
        let page = session.members(&home, after).await?;
        let Some(last) = page.last() else { return Err(Refusal::not_found().into()) };
        after = Some(last.row.key.name);
        let found = page.into_iter().find(|node| node.row.id == link.calendar && node.kind == Kind::Calendar);
        let Some(calendar) = found else { continue };
        let number = calendar.meta.public.ok_or_else(Refusal::not_found)?;
        // Both are hashes of a key that nobody knows: how long they are alike tells nothing.
        if blake3::hash(&Link::of(storage, mailbox.id, link.calendar, number).tag) != blake3::hash(&link.tag)
        {
            return Err(Refusal::not_found().into());
        }
        return Ok((session, calendar));
    }
}

/// Writes what strangers may see of an object: nothing private, no alarms, and nobody's address.
fn show(text: &str, zones: &mut BTreeSet<String>, out: &mut String) {
    let Ok(object) = ical::parse(text) else { return };
    for component in &object.components {
        if component.is("VTIMEZONE") {
            if zones.insert(component.value("TZID").unwrap_or("").to_owned()) {
                component.write(out);
            }
            continue;
        }
        if component.value("CLASS").is_some_and(|class| !class.eq_ignore_ascii_case("PUBLIC")) {
            continue;
        }
        let mut shown: Component<'_> = component.clone();
        shown.remove(&["ATTENDEE", "ORGANIZER", "REQUEST-STATUS", "CONTACT"]);
        shown.components.retain(|inner| !inner.is("VALARM"));
        shown.write(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_as_they_are_written() {
        let link = Link { mailbox: MailboxId(Id([7; 16])), calendar: 0x1234_5678_9abc, tag: [0xF0; 16] };
        let path = link.path();
        let again = Link::read(&path).unwrap();
        assert_eq!((again.mailbox, again.calendar, again.tag), (link.mailbox, link.calendar, link.tag));
        for bad in
            [path.to_uppercase(), path.replace(".ics", ""), format!("{path}/x"), path.replacen("07", "7", 1)]
        {
            assert!(Link::read(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn strangers_see_no_addresses_and_nothing_private() {
        let text = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:Seen\r\n\
             ATTENDEE:mailto:a@h.example\r\nBEGIN:VALARM\r\nACTION:DISPLAY\r\nEND:VALARM\r\nEND:VEVENT\r\n\
             BEGIN:VEVENT\r\nUID:1\r\nCLASS:PRIVATE\r\nSUMMARY:Hidden\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
        let mut out = String::new();
        show(text, &mut BTreeSet::new(), &mut out);
        assert_eq!(out, "BEGIN:VEVENT\r\nUID:1\r\nSUMMARY:Seen\r\nEND:VEVENT\r\n");
    }
}
