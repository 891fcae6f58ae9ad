//! Rows of answers: written page by page where blocking is allowed, and sent as they are written.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::vec::IntoIter;

use protocol_core::Timestamp;
use protocol_dav::ical::Zone;
use protocol_dav::lock::ActiveLock;
use protocol_dav::multistatus::Multistatus;
use protocol_dav::path::Path;
use protocol_dav::props::{PropSet, Viewer};
use protocol_dav::refusal::Condition;
use protocol_dav::report;
use protocol_dav::request::{CalendarQuery, CardQuery};
use protocol_dav::resource::{Quota, SyncToken};

use super::body::Sink;
use super::node::Node;
use super::session::Session;

/// Octets of an answer that are written before they are sent, and what its last row has beyond.
const PIECE_OCTETS: usize = 128 * 1024;

/// One row.
pub enum Row {
    /// A node and, when it is needed, its content.
    Node(Box<Node>, Option<String>),
    /// What is there for every owner.
    Fixed(Path),
    /// Nothing is there.
    Gone(String),
}

impl Row {
    /// A node without its content.
    pub fn of(node: Node) -> Row {
        Row::Node(Box::new(node), None)
    }

    /// Octets of its content.
    pub fn octets(&self) -> u64 {
        match self {
            Row::Node(node, _) => node.meta.length,
            _ => 0,
        }
    }
}

/// Which objects are shown.
pub enum Filter {
    /// All.
    None,
    /// Those that pass.
    Calendar(Box<CalendarQuery>),
    /// Those that pass.
    Card(Box<CardQuery>),
}

impl Filter {
    /// Whether an object can pass, by what its row says.
    pub fn admits(&self, node: &Node) -> bool {
        match self {
            Filter::None => true,
            Filter::Calendar(query) => {
                let index = node.index();
                query.admits(index.component, index.first, index.last)
            }
            Filter::Card(_) => true,
        }
    }

    /// Whether the content is needed to decide.
    pub fn needs_text(&self) -> bool {
        !matches!(self, Filter::None)
    }
}

/// What is said of each row, and to whom.
pub struct Table {
    props: PropSet,
    filter: Filter,
    minimal: bool,
    principal: String,
    now: Timestamp,
    /// Zones count what is done with them, so that threads cannot share one: each page takes a copy.
    zone: Mutex<Zone>,
    locks: Vec<ActiveLock>,
    quota: Option<Quota>,
}

impl Table {
    /// What a request wants to be told.
    pub fn new(
        session: &Session,
        props: PropSet,
        filter: Filter,
        minimal: bool,
        zone: Zone,
        quota: Option<Quota>,
    ) -> Arc<Table> {
        Arc::new(Table {
            props,
            filter,
            minimal,
            principal: session.principal().to_owned(),
            now: session.now,
            zone: Mutex::new(zone),
            // Whose a lock is and by what it is known is its owner's business.
            locks: if session.is_lent() { Vec::new() } else { session.locks.clone() },
            quota,
        })
    }

    /// Whether the content of objects is needed.
    pub fn needs_text(&self) -> bool {
        self.props.wants_data() || self.filter.needs_text()
    }

    /// Which objects are shown.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    fn viewer<'z>(&'z self, zone: &'z Zone) -> Viewer<'z> {
        Viewer { principal: &self.principal, now: self.now, zone }
    }

    fn zone(&self) -> Zone {
        self.zone.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the answer begins.
    pub fn begin(&self) -> String {
        let mut out = String::new();
        Multistatus::begin(&self.props, self.viewer(&Zone::Utc), self.minimal, &mut out);
        out
    }

    /// How it ends.
    pub fn end(&self, sync: Option<SyncToken>, truncated: Option<&Path>) -> String {
        let (mut begun, mut out) = (String::new(), String::new());
        let answer = Multistatus::begin(&self.props, self.viewer(&Zone::Utc), self.minimal, &mut begun);
        answer.finish(sync, truncated, &mut out);
        out
    }

    /// Writes the next piece of those rows that pass, at most `limit`: how many passed, which may be one more.
    fn write(&self, rows: &mut IntoIter<Row>, limit: usize, out: &mut String) -> usize {
        let mut begun = String::new();
        let zone = self.zone();
        let mut answer = Multistatus::begin(&self.props, self.viewer(&zone), self.minimal, &mut begun);
        let mut passed = 0;
        while out.len() < PIECE_OCTETS
            && let Some(row) = rows.next()
        {
            let shown = match &row {
                Row::Node(node, text) => self.passes(node, text.as_deref().unwrap_or(""), &zone),
                _ => Ok(true),
            };
            if shown == Ok(false) {
                continue;
            }
            passed += 1;
            if passed > limit {
                return passed;
            }
            match (&row, shown) {
                (Row::Node(node, _), Err(condition)) => {
                    answer.status(&node.path.href(false), condition.status(), Some(condition), out);
                }
                (Row::Node(node, text), Ok(_)) => {
                    let covers = |lock: &&ActiveLock| lock.covers(&node.path);
                    let locks: Vec<ActiveLock> = self.locks.iter().filter(covers).cloned().collect();
                    answer.row(&node.resource(text.as_deref(), &locks, self.quota), out);
                }
                (Row::Fixed(path), _) => {
                    if let Some(resource) = report::fixed(path) {
                        answer.row(&resource, out);
                    }
                }
                (Row::Gone(href), _) => answer.gone(href, out),
            }
        }
        passed
    }

    fn passes(&self, node: &Node, text: &str, zone: &Zone) -> Result<bool, Condition> {
        match &self.filter {
            Filter::None => Ok(true),
            Filter::Calendar(query) => query.passes(text, zone).map_err(|_| Condition::MaxInstances),
            Filter::Card(query) => Ok(!node.kind.is_collection() && query.passes(text)),
        }
    }

    /// Sends those of the rows that pass, at most `limit`: how many passed, which may be one more. They are written
    /// where a hostile object holds nobody else up, and what is not taken is not written.
    pub async fn send(self: &Arc<Self>, rows: Vec<Row>, limit: usize, sink: &Sink) -> io::Result<usize> {
        let mut rows = rows.into_iter();
        let mut passed = 0;
        while rows.len() > 0 && passed <= limit {
            let table = self.clone();
            let (octets, more, left) = blocking::unblock(move || {
                let mut out = String::new();
                let more = table.write(&mut rows, limit - passed, &mut out);
                (out.into_bytes(), more, rows)
            })
            .await;
            passed += more;
            rows = left;
            sink.send(octets).await?;
        }
        Ok(passed)
    }
}
