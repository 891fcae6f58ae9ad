//! Scheduling (RFC 6638): what a change of one calendar does to others. To somebody of the same organisation a message
//! goes in the transaction of the change; to everybody else as a mail, which that transaction keeps until it is on its
//! way.

use std::collections::BTreeMap;

use protocol_dav::ical::{self, BusyPeriods};
use protocol_dav::itip::{self, FreeBusyRequest, Message, Party, Received, Recipient, Terms};
use protocol_dav::name::{Name, Namespace};
use protocol_dav::path::{Area, Path};
use protocol_dav::plan::{self, ObjectType};
use protocol_dav::refusal::Refusal;
use protocol_dav::resource::{Components, Kind};
use serde::{Deserialize, Serialize};
use storage::directory::{Resolution, resolve};
use storage::{DavDraft, DavTable, Mailbox, MailboxId};

use super::Answer;
use super::fault::Fault;
use super::node::Node;
use super::read::add_busy;
use super::session::{DEFAULT, Session};
use super::write::{keep_text, uuid};
use crate::app::App;

/// RFC 6638 §3.2.9, RFC 5546 §3.6.
const SENT: &str = "1.1";
const DELIVERED: &str = "1.2";
const NO_SUCH_USER: &str = "3.7";

/// A change of an object.
pub struct Change<'a> {
    /// As it was.
    pub old: Option<String>,
    /// As it is to be.
    pub new: Option<String>,
    /// Whether an organizer is told that an invitation is deleted.
    pub reply: bool,
    /// Where it is, so that it is not in its own way.
    pub except: Option<&'a Path>,
}

/// What comes of a change of an object of scheduling.
pub struct Scheduled {
    /// The object to keep.
    pub text: String,
    /// Changes of others' trees.
    pub drafts: Vec<DavDraft>,
}

/// A mail that carries a message, kept until it is on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptMail {
    /// Who sends it.
    pub from: String,
    /// Whom it is for.
    pub to: String,
    /// Its subject.
    pub subject: String,
    /// Its plain text.
    pub text: String,
    /// Of the calendar part.
    pub content_type: String,
    /// The calendar object.
    pub calendar: String,
}

/// All addresses at which somebody is invited, their mailbox's first.
pub async fn addresses_of(app: &App, mailbox: &Mailbox) -> Result<Vec<String>, Fault> {
    let mut addresses = vec![mailbox.address.clone()];
    let aliases = app.storage.store().list_aliases().await?;
    let theirs =
        aliases.into_iter().filter(|alias| alias.org == mailbox.org && alias.targets == addresses[..1]);
    let theirs: Vec<String> = theirs.map(|alias| alias.address).collect();
    addresses.extend(theirs);
    Ok(addresses)
}

/// Whether a text names an organizer at all: most objects do not, and cost nothing more.
pub fn may_be_scheduled(text: Option<&String>) -> bool {
    let has =
        |text: &String| text.as_bytes().windows(9).any(|window| window.eq_ignore_ascii_case(b"ORGANIZER"));
    text.is_some_and(has)
}

/// What the change of an object means to others. None: it is no object of scheduling.
pub async fn on_change(
    app: &App,
    session: &Session,
    draft: &mut DavDraft,
    uid: &str,
    change: Change<'_>,
) -> Result<Option<Scheduled>, Fault> {
    if !may_be_scheduled(change.old.as_ref()) && !may_be_scheduled(change.new.as_ref()) {
        return Ok(None);
    }
    let addresses = addresses_of(app, &session.mailbox).await?;
    let terms = Terms { now: session.now.secs(), reply: change.reply };
    let (old, new) = (change.old.clone(), change.new.clone());
    let outgoing: Result<itip::Outgoing, Refusal> = blocking::unblock(move || {
        let parsed =
            |text: &Option<String>| text.as_ref().and_then(|text| Some(ical::parse(text).ok()?.into_owned()));
        let (old, new) = (parsed(&old), parsed(&new));
        let names: Vec<&str> = addresses.iter().map(String::as_str).collect();
        itip::on_change(old.as_ref(), new.as_ref(), Party { addresses: &names }, terms)
    })
    .await;
    let outgoing = outgoing?;
    if !outgoing.is_scheduling {
        return Ok(None);
    }
    if let (Some(except), Some(_)) = (change.except, &change.new) {
        unique(session, uid, except).await?;
    }
    let mut statuses: Vec<(String, &str)> = Vec::new();
    let mut others: BTreeMap<MailboxId, Delivery> = BTreeMap::new();
    for message in outgoing.messages {
        let status = send(app, session, draft, &message, &mut others).await?;
        statuses.push((message.recipient_uri, status));
    }
    let text = match &change.new {
        Some(new) => noted(new, &statuses),
        None => String::new(),
    };
    let drafts = others.into_values().map(|delivery| delivery.draft).filter(|draft| !draft.is_empty());
    Ok(Some(Scheduled { text, drafts: drafts.collect() }))
}

/// The object without what was an order to the server, and with what became of its messages.
fn noted(text: &str, statuses: &[(String, &str)]) -> String {
    let Ok(object) = ical::parse(text) else { return text.to_owned() };
    let text = itip::without_orders(&object).unwrap_or_else(|| text.to_owned());
    if statuses.is_empty() {
        return text;
    }
    let Ok(object) = ical::parse(&text) else { return text };
    let statuses: Vec<(&str, &str)> = statuses.iter().map(|(uri, status)| (uri.as_str(), *status)).collect();
    itip::with_status(&object, &statuses)
}

/// The UID of an object of scheduling is once in all calendars of its owner (RFC 6638 §3.2.4.1).
async fn unique(session: &Session, uid: &str, except: &Path) -> Result<(), Fault> {
    let own = session.find(except).await?.map(|node| node.row.key);
    for row in session.tree.with_uid(uid).await? {
        if row.key.table == DavTable::Event && Some(row.key) != own {
            let home = Path::home(Area::Calendars, session.principal());
            let other = place_of(session, &home, row.key.parent, &Node::member(&home, row)?).await?;
            if let Some(other) = other {
                return Err(plan::uid_conflict(ObjectType::Calendar, false, &other).into());
            }
        }
    }
    Ok(())
}

/// Where an object of a calendar of this number is; none when the calendar is gone, and the object not yet.
async fn place_of(session: &Session, home: &Path, calendar: u64, node: &Node) -> Result<Option<Path>, Fault> {
    let home = session.must_find(home).await?;
    let mut after = None;
    loop {
        let page = session.members(&home, after).await?;
        let Some(last) = page.last() else { return Ok(None) };
        after = Some(last.row.key.name);
        if let Some(calendar) = page.iter().find(|member| member.row.id == calendar) {
            return Ok(Some(calendar.path.join(&node.meta.name)));
        }
    }
}

/// Brings a message on its way: what became of it.
async fn send(
    app: &App,
    session: &Session,
    draft: &mut DavDraft,
    message: &Message,
    others: &mut BTreeMap<MailboxId, Delivery>,
) -> Result<&'static str, Fault> {
    let Some(recipient) = &message.recipient else { return Ok(NO_SUCH_USER) };
    let host = &app.config.server.hostname;
    let resolved = resolve(app.storage.store(), host, std::slice::from_ref(recipient)).await?;
    let of_ours = |mailbox: &Mailbox| mailbox.org == session.mailbox.org;
    match resolved.into_iter().next() {
        Some(Resolution::Local { mailboxes, remote, .. })
            if remote.is_empty() && mailboxes.iter().all(of_ours) =>
        {
            for mailbox in mailboxes.iter().filter(|mailbox| mailbox.id != session.mailbox.id) {
                let delivery = match others.remove(&mailbox.id) {
                    Some(delivery) => delivery,
                    None => Delivery::begin(app, mailbox, &message.uid).await?.without_quota(),
                };
                // What they cannot take is theirs to look at no more than a mail that was refused.
                let delivery = delivery.take(&message.text, &message.sender).await?;
                others.insert(mailbox.id, delivery);
            }
            Ok(DELIVERED)
        }
        Some(Resolution::UnknownLocal | Resolution::Disabled) => Ok(NO_SUCH_USER),
        _ => {
            let mail = message.mail();
            let kept = KeptMail {
                from: session.mailbox.address.clone(),
                to: recipient.clone(),
                subject: mail.subject,
                text: mail.text,
                content_type: mail.content_type,
                calendar: message.text.to_string(),
            };
            let json = serde_json::to_vec(&kept).map_err(|e| storage::Error::Unavailable(e.to_string()))?;
            draft.mail(&json)?;
            Ok(SENT)
        }
    }
}

/// Messages about one UID on their way into one tree.
pub struct Delivery {
    session: Session,
    addresses: Vec<String>,
    /// The object as it is after what was taken so far.
    object: Option<(Node, String)>,
    /// What is written.
    pub draft: DavDraft,
}

impl Delivery {
    /// Opens the tree of whom it is for.
    pub async fn begin(app: &App, mailbox: &Mailbox, uid: &str) -> Result<Delivery, Fault> {
        let session = Session::open(&app.storage, mailbox).await?;
        let addresses = addresses_of(app, mailbox).await?;
        let home = Path::home(Area::Calendars, session.principal());
        let mut object = None;
        for row in session.tree.with_uid(uid).await? {
            if row.key.table == DavTable::Event {
                let node = Node::member(&home, row)?;
                let place = place_of(&session, &home, node.row.key.parent, &node).await?;
                let Some(path) = place else { continue };
                let node = Node { path, ..node };
                let text = session.text(&node).await?;
                object = Some((node, text));
            }
        }
        let draft = session.tree.draft();
        Ok(Delivery { session, addresses, object, draft })
    }

    /// The mailbox may grow beyond its quota by it: the change that it belongs to must not fail for somebody else's
    /// lack of room.
    fn without_quota(mut self) -> Delivery {
        self.draft.without_quota();
        self
    }

    /// Takes a message from somebody who is known to be this sender.
    pub async fn take(mut self, text: &str, sender: &str) -> Result<Delivery, Fault> {
        let (message, existing) = (text.to_owned(), self.object.as_ref().map(|(_, text)| text.clone()));
        let (addresses, sender) = (self.addresses.clone(), sender.to_owned());
        let received: Result<(Received, String), Refusal> = blocking::unblock(move || {
            let unreadable = |_| Refusal::status(400, "this is no iCalendar object");
            let message = ical::parse(&message).map_err(unreadable)?;
            let existing = existing.as_ref().and_then(|text| ical::parse(text).ok());
            let names: Vec<&str> = addresses.iter().map(String::as_str).collect();
            let me = Party { addresses: &names };
            let uid = message.components.iter().find_map(|c| c.value("UID")).unwrap_or("").to_owned();
            Ok((itip::receive(&message, existing.as_ref(), me, &sender)?, uid))
        })
        .await;
        let (received, uid) = match received {
            Ok(received) => received,
            Err(refusal) => {
                tracing::info!(%refusal, "a scheduling message was not taken");
                return Ok(self);
            }
        };
        match received {
            Received::Nothing => return Ok(self),
            Received::InboxOnly => {}
            Received::Store { text, new_schedule_tag } => self.store(text, &uid, new_schedule_tag).await?,
        }
        self.show_in_inbox(text, &uid).await?;
        Ok(self)
    }

    async fn store(&mut self, text: String, uid: &str, new_schedule_tag: bool) -> Result<(), Fault> {
        let text_of = text.clone();
        let checked = blocking::unblock(move || ical::check(text_of.as_bytes(), Components::ALL)).await;
        let stored = match checked {
            Ok(stored) => stored,
            Err(refusal) => {
                tracing::info!(%refusal, "a scheduling message came to no valid object");
                return Ok(());
            }
        };
        let calendars = Path::home(Area::Calendars, self.session.principal());
        let mut node = match self.object.take() {
            Some((node, _)) => node,
            None => {
                let calendar = self.calendar(&calendars, stored.index.component).await?;
                let path = calendar.path.join(&format!("{}.ics", uuid()?));
                self.session.new_node(&path, &calendar, Kind::CalendarObject, &mut self.draft)?
            }
        };
        let etag = format!("{:x}", self.draft.number());
        if new_schedule_tag || node.meta.schedule_tag.is_none() {
            node.meta.schedule_tag = Some(etag.clone());
        }
        node.meta.etag = Some(etag);
        node.meta.modified = self.session.now.0;
        node.set_index(&stored.index);
        keep_text(&self.session, &mut node, uid, &stored.text, &mut self.draft)?;
        if let Some(parent) = self.session.parent(&node.path).await? {
            self.draft.touch(parent.row.key);
        }
        self.object = Some((node, stored.text));
        Ok(())
    }

    /// The calendar into which something new goes: the default one when it takes this, else any that does.
    async fn calendar(&self, home: &Path, component: Components) -> Result<Node, Fault> {
        let takes = |node: &Node| {
            node.kind == Kind::Calendar && node.components().contains(component) && node.meta.mount.is_none()
        };
        if let Some(node) = self.session.find(&home.join(DEFAULT)).await?.filter(takes) {
            return Ok(node);
        }
        let home = self.session.must_find(home).await?;
        let members = self.session.members(&home, None).await?;
        members.into_iter().find(takes).ok_or_else(|| storage::Error::NotFound.into())
    }

    /// Shows the message in the scheduling inbox.
    async fn show_in_inbox(&mut self, text: &str, uid: &str) -> Result<(), Fault> {
        let inbox = self.session.must_find(&Path::schedule_inbox(self.session.principal())).await?;
        let path = inbox.path.join(&format!("{}.ics", uuid()?));
        let mut node = self.session.new_node(&path, &inbox, Kind::CalendarObject, &mut self.draft)?;
        node.meta.etag = Some(format!("{:x}", self.draft.number()));
        node.meta.uid = uid.to_owned();
        node.set_components(component_of(text));
        node.meta.length = text.len() as u64;
        node.row.size = text.len() as u64;
        self.draft.text(node.row.id, text.as_bytes())?;
        self.draft.put(node.write()?)?;
        self.draft.touch(inbox.row.key);
        Ok(())
    }
}

fn component_of(text: &str) -> Components {
    let object = ical::parse(text).ok();
    let component = object.as_ref().and_then(|o| o.components.iter().find_map(|c| Components::of(&c.name)));
    component.unwrap_or(Components::EVENT)
}

/// The answer to a question for free and busy times (RFC 6638 §5).
pub async fn free_busy(app: &App, session: &Session, octets: &[u8]) -> Result<Answer, Fault> {
    let addresses = addresses_of(app, &session.mailbox).await?;
    let names: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let request = FreeBusyRequest::parse(octets, Party { addresses: &names })?;
    let mut answers = Vec::with_capacity(request.attendees.len());
    for (uri, address) in &request.attendees {
        let answer = match address {
            Some(address) => times_of(app, session, &request, uri, address).await?,
            None => Recipient::Unknown,
        };
        answers.push((uri.clone(), answer));
    }
    Ok(itip::schedule_response(&answers).into())
}

async fn times_of(
    app: &App,
    session: &Session,
    request: &FreeBusyRequest,
    uri: &str,
    address: &str,
) -> Result<Recipient, Fault> {
    let host = &app.config.server.hostname;
    let resolved = resolve(app.storage.store(), host, &[address.to_owned()]).await?;
    let Some(Resolution::Local { mailboxes, .. }) = resolved.into_iter().next() else {
        return Ok(Recipient::Unknown);
    };
    // Whose time it is, is nobody's business outside of their organisation.
    let [mailbox] = mailboxes.as_slice() else { return Ok(Recipient::Unknown) };
    if mailbox.org != session.mailbox.org {
        return Ok(Recipient::Unknown);
    }
    let theirs = Session::open(&app.storage, mailbox).await?;
    let home = theirs.must_find(&Path::home(Area::Calendars, theirs.principal())).await?;
    let mut busy = BusyPeriods::new(request.range);
    for calendar in theirs.members(&home, None).await? {
        if calendar.kind != Kind::Calendar || is_transparent(&calendar) {
            continue;
        }
        let owner = Some(format!("mailto:{}", mailbox.address));
        busy = match add_busy(&theirs, &calendar, request.range, busy, owner).await {
            Ok(busy) => busy,
            Err(Fault::Refused(_)) => return Ok(Recipient::TooMuch),
            Err(fault) => return Err(fault),
        };
    }
    let properties = request.answer_properties(uri);
    let (range, now) = (request.range, session.now.secs());
    Ok(Recipient::Times(ical::free_busy_object(range, &busy.merged(), Some("REPLY"), properties, now)))
}

/// Whether what is in a calendar makes nobody busy (RFC 6638 §9.1).
fn is_transparent(calendar: &Node) -> bool {
    let name = Name::new(Namespace::CalDav, "schedule-calendar-transp");
    let property = calendar.dead.iter().find(|property| property.name == name);
    let element = property.and_then(|p| protocol_dav::xml::parse(p.fragment.as_bytes()).ok());
    element.is_some_and(|element| element.child(&Namespace::CalDav, "transparent").is_some())
}
