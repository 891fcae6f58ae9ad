//! The organisation's own people as an address book that everybody in it has and nobody changes. It is made of the
//! directory whenever it is looked at, and its state is a hash of what it shows.

use protocol_dav::name::{Name, Namespace};
use protocol_dav::object::{Component, Property};
use protocol_dav::path::{Area, Path};
use protocol_dav::resource::{DeadProperty, Kind};
use storage::{DavMembers, DavNode, DavTable, Mailbox, Storage};

use super::fault::Fault;
use super::node::{Meta, Node};
use super::session::Session;

/// What it is called in everybody's home.
pub const DIRECTORY: &str = "directory";
/// People that it shows at most.
const PEOPLE_MAX: usize = 10_000;
/// Its number and those of what is in it are above all that storage gives.
const NUMBER: u64 = 1 << 62;

/// The address book.
pub struct Directory {
    /// Itself.
    pub book: Node,
    /// What is in it, by key.
    pub cards: Vec<(Node, String)>,
}

/// Whether a place is the directory or in it.
pub fn is_directory(path: &Path) -> bool {
    path.area() == Some(Area::Books) && path.names().first().is_some_and(|name| &**name == DIRECTORY)
}

/// Reads it as it is now.
pub async fn read(storage: &Storage, session: &Session) -> Result<Directory, Fault> {
    let mut people = storage.store().list_mailboxes().await?;
    people.retain(|mailbox| mailbox.org == session.mailbox.org && !mailbox.disabled);
    people.truncate(PEOPLE_MAX);
    let path = Path::home(Area::Books, session.principal()).join(DIRECTORY);
    let mut hasher = blake3::Hasher::new();
    let mut cards = Vec::with_capacity(people.len());
    for (n, mailbox) in (1..).zip(&people) {
        let text = card(mailbox);
        hasher.update(text.as_bytes());
        let path = path.join(&format!("{}.vcf", mailbox.id));
        let mut node = virtual_node(session, path, (DavTable::Contact, NUMBER, NUMBER + n), Kind::Card);
        node.meta.etag = Some(blake3::hash(text.as_bytes()).to_hex()[..32].to_owned());
        node.meta.length = text.len() as u64;
        node.meta.uid = format!("urn:inbox:mailbox:{}", mailbox.id);
        cards.push((node, text));
    }
    cards.sort_by_key(|(node, _)| node.row.key);
    let mut state = [0; 8];
    state.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    let changed = u64::from_be_bytes(state) >> 2;
    for (node, _) in &mut cards {
        node.row.changed = changed;
    }
    let mut book = virtual_node(session, path, (DavTable::AddressBook, 0, NUMBER), Kind::Book);
    // No other state is known: who has seen one reads all again.
    book.row.members = Some(DavMembers { changed, removed: 0, forgotten: changed });
    let name = Name::new(Namespace::Dav, "displayname");
    let fragment = "<D:displayname xmlns:D=\"DAV:\">Directory</D:displayname>".into();
    book.dead.push(DeadProperty { name, fragment });
    Ok(Directory { book, cards })
}

fn virtual_node(session: &Session, path: Path, key: (DavTable, u64, u64), kind: Kind) -> Node {
    let (table, parent, id) = key;
    let key = session.tree.key(table, parent, path.name().unwrap_or(""));
    let row =
        DavNode { key, id, changed: 0, members: None, size: 0, object: None, uid: None, meta: Vec::new() };
    Node { read_only: true, ..Node::new(path, kind, row, Meta::default()) }
}

fn card(mailbox: &Mailbox) -> String {
    let name = if mailbox.name.is_empty() { &mailbox.address } else { &mailbox.name };
    let mut card = Component::new("VCARD");
    card.properties = vec![
        Property::new("VERSION", &[], "3.0"),
        Property::new("UID", &[], &format!("urn:inbox:mailbox:{}", mailbox.id)),
        Property::new("FN", &[], &escaped(name)),
        Property::new("N", &[], &format!("{};;;;", escaped(name))),
        Property::new("EMAIL", &[("TYPE", "INTERNET")], &escaped(&mailbox.address)),
    ];
    card.to_string()
}

/// A text value (RFC 6350 §3.4).
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | ',' | ';' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}
