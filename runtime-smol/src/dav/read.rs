//! Requests that change nothing: PROPFIND, GET and the reports.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use protocol_dav::headers::Depth;
use protocol_dav::ical::{self, BusyPeriods, Zone};
use protocol_dav::limits;
use protocol_dav::path::{Area, Path};
use protocol_dav::plan::{Get, Propfind, Report};
use protocol_dav::props::Viewer;
use protocol_dav::recur::Budget;
use protocol_dav::refusal::{Condition, Refusal, XML_TYPE};
use protocol_dav::report;
use protocol_dav::request::{Multiget, ReportBody, SyncCollection, TimeRange};
use protocol_dav::resource::{Kind, SyncToken};
use storage::{CHUNK_LEN, DavKey, Storage};

use super::Answer;
use super::body::{Sink, made_by};
use super::directory::is_directory;
use super::fault::Fault;
use super::node::{Node, table};
use super::rows::{Filter, Row, Table};
use super::session::Session;
use super::share;

/// A change of a collection, or what became of a member: in order of their numbers.
enum Changed {
    Node(DavKey),
    Gone(String),
}

fn broken(fault: &Fault) -> io::Error {
    if let Fault::Storage(error) = fault {
        tracing::warn!(%error, "a DAV answer could not be finished");
    }
    io::Error::other("the answer could not be finished")
}

/// The answer to PROPFIND.
pub async fn propfind(storage: &Storage, session: Session, propfind: Propfind) -> Result<Answer, Fault> {
    let Propfind { path, depth, props, prefer } = propfind;
    let top = session.find(&path).await?;
    if top.is_none() && report::fixed(&path).is_none() {
        return Err(Refusal::not_found().into());
    }
    let quota = session.quota(storage).await?;
    let zone = top.as_ref().map_or(Zone::Utc, Session::zone_of);
    let rows = Table::new(&session, props, Filter::None, prefer.minimal, zone, quota);
    let mut first = Vec::new();
    if !prefer.no_root || depth == Depth::Zero {
        first.push(match &top {
            Some(node) => Row::of(node.clone()),
            None => Row::Fixed(path.clone()),
        });
    }
    if depth == Depth::One {
        for fixed in report::fixed_members(&path, session.principal()) {
            first.push(match session.find(&fixed).await? {
                Some(node) => Row::of(node),
                None => Row::Fixed(fixed),
            });
        }
    }
    let top = top.filter(|_| depth == Depth::One);
    if let Some(home) = top.as_ref().filter(|top| top.kind == Kind::Home) {
        first.extend(share::shown(storage, &session, home).await?.into_iter().map(Row::of));
    }
    Ok(streamed(move |sink| async move {
        sink.send(rows.begin().into_bytes()).await?;
        rows.send(first, usize::MAX, &sink).await?;
        if let Some(top) = &top {
            members(&session, top, &rows, usize::MAX, &sink).await?;
        }
        sink.send(rows.end(None, None).into_bytes()).await
    }))
}

/// Sends the members of a collection that are shown, at most `limit`; whether there are more.
async fn members(
    session: &Session,
    of: &Node,
    rows: &Arc<Table>,
    limit: usize,
    sink: &Sink,
) -> io::Result<bool> {
    let (mut after, mut left) = (None, limit);
    loop {
        let page = session.members(of, after).await.map_err(|fault| broken(&fault))?;
        let Some(last) = page.last() else { return Ok(false) };
        after = Some(last.row.key.name);
        let admitted = page.into_iter().filter(|node| rows.filter().admits(node));
        let passed = send(session, admitted.map(Row::of).collect(), rows, left, sink).await?;
        if passed > left {
            return Ok(true);
        }
        left -= passed;
    }
}

/// Sends rows with their contents, when these are needed: as many at a time as may be in memory. How many of them
/// passed, which may be one more than `limit`.
async fn send(
    session: &Session,
    rows: Vec<Row>,
    table: &Arc<Table>,
    limit: usize,
    sink: &Sink,
) -> io::Result<usize> {
    if !table.needs_text() {
        return table.send(rows, limit, sink).await;
    }
    let mut passed = 0;
    let mut rows = rows.into_iter().peekable();
    while passed <= limit
        && let Some(mut part) = Session::part(&mut rows, Row::octets)
    {
        with_texts(session, &mut part).await.map_err(|fault| broken(&fault))?;
        passed += table.send(part, limit - passed, sink).await?;
    }
    Ok(passed)
}

/// Reads the contents of rows.
async fn with_texts(session: &Session, rows: &mut [Row]) -> Result<(), Fault> {
    let node = |row: &Row| match row {
        Row::Node(node, _) => Some((**node).clone()),
        _ => None,
    };
    let mut texts = session.texts(rows.iter().filter_map(node).collect()).await?.into_iter();
    for row in rows {
        if let Row::Node(_, text) = row {
            *text = texts.next().and_then(|(_, text)| text);
        }
    }
    Ok(())
}

/// A multistatus that `work` sends.
fn streamed<F>(work: impl FnOnce(Sink) -> F) -> Answer
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let headers = vec![("content-type", XML_TYPE.to_owned())];
    Answer { status: 207, headers, body: made_by(None, work) }
}

/// The answer to GET and HEAD.
pub async fn get(session: Session, get: &Get) -> Result<Answer, Fault> {
    let node = session.find(&get.path).await?;
    if node.is_none() && report::fixed(&get.path).is_none() {
        return Err(Refusal::not_found().into());
    }
    let answer = match &node {
        Some(node) => get.answer(Some(&node.resource(None, &[], None)))?,
        None => get.answer(report::fixed(&get.path).as_ref())?,
    };
    let mut headers = answer.headers;
    headers.push(("cache-control", "private, no-cache".to_owned()));
    let status = answer.status.0;
    let Some(((from, length), node)) = answer.part.zip(node) else {
        // Of HEAD the length is told that GET would have.
        headers.extend(answer.length.filter(|_| get.head_only).map(|n| ("content-length", n.to_string())));
        return Ok(Answer { status, headers, body: tide::Body::empty() });
    };
    let Some(object) = node.row.object else {
        let text = session.text(&node).await?;
        let end = from.saturating_add(length);
        let range = usize::try_from(from).unwrap_or(usize::MAX)..usize::try_from(end).unwrap_or(usize::MAX);
        let part = text.as_bytes().get(range).unwrap_or_default().to_vec();
        return Ok(Answer { status, headers, body: tide::Body::from_bytes(part) });
    };
    let mut object = session.tree.open_file(object).await?;
    let body = made_by(Some(length), move |sink| async move {
        let mut at = from;
        while at < from + length {
            let wanted = usize::try_from(from + length - at).unwrap_or(CHUNK_LEN).min(CHUNK_LEN);
            let piece =
                object.read(at, wanted).await.map_err(|error| broken(&Fault::Storage(error)))?.to_vec();
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at += piece.len() as u64;
            sink.send(piece).await?;
        }
        Ok(())
    });
    Ok(Answer { status, headers, body })
}

/// The answer to REPORT.
pub async fn report(storage: &Storage, session: Session, report: Report) -> Result<Answer, Fault> {
    let Report { path, body, prefer, .. } = report;
    let top = session.find(&path).await?;
    let there = top.is_some() || report::fixed(&path).is_some();
    if !there {
        return Err(Refusal::not_found().into());
    }
    let minimal = prefer.minimal;
    match body {
        ReportBody::CalendarQuery(query) => {
            let top = top.ok_or_else(Refusal::not_found)?;
            let calendar = calendar_of(&session, &top).await?;
            let zone = query.zone()?.unwrap_or_else(|| Session::zone_of(&calendar));
            let (props, limit) = (query.props.clone(), query.limit);
            let filter = Filter::Calendar(Box::new(query));
            let rows = Table::new(&session, props, filter, minimal, zone, None);
            Ok(query_answer(session, top, rows, limit))
        }
        ReportBody::CardQuery(query) => {
            let top = top.ok_or_else(Refusal::not_found)?;
            let (props, limit) = (query.props.clone(), query.limit);
            let filter = Filter::Card(Box::new(query));
            let rows = Table::new(&session, props, filter, minimal, Zone::Utc, None);
            Ok(query_answer(session, top, rows, limit))
        }
        ReportBody::CalendarMultiget(multiget) | ReportBody::CardMultiget(multiget) => {
            let zone = top.as_ref().map_or(Zone::Utc, Session::zone_of);
            multiget_answer(session, path, multiget, minimal, zone)
        }
        ReportBody::SyncCollection(sync) => sync_answer(storage, session, top, sync, minimal).await,
        ReportBody::FreeBusy(range) => {
            let top = top.ok_or_else(Refusal::not_found)?;
            let mut busy = BusyPeriods::new(range);
            busy = add_busy(&session, &top, range, busy, None).await?;
            Ok(report::free_busy_response(range, busy, session.now.secs()).into())
        }
        body => small_report(&session, &path, top, body, minimal).await,
    }
}

/// Reports that one resource answers.
async fn small_report(
    session: &Session,
    path: &Path,
    top: Option<Node>,
    body: ReportBody,
    minimal: bool,
) -> Result<Answer, Fault> {
    let own = Path::home(Area::Principals, session.principal());
    let principal = session.find(&own).await?;
    let (props, shown) = match body {
        ReportBody::ExpandProperty(properties) => {
            let text = match &top {
                Some(node) => report::expand(&properties, &node.resource(None, &[], None), viewer(session)),
                None => {
                    let fixed = report::fixed(path).ok_or_else(Refusal::not_found)?;
                    report::expand(&properties, &fixed, viewer(session))
                }
            };
            return Ok(whole(text.into_bytes()));
        }
        ReportBody::PrincipalSearch(search) => {
            let found = |p: &Node| search.matches(&p.resource(None, &[], None), viewer(session));
            let found = principal.as_ref().is_some_and(found);
            (search.props, found)
        }
        ReportBody::PrincipalSearchProperties => return Ok(report::principal_search_properties().into()),
        ReportBody::AclPrincipals(props) | ReportBody::PrincipalMatch(props) => (props, true),
        _ => {
            let condition = Condition::SupportedReport;
            return Err(Refusal::condition(condition, "this report is not made here").into());
        }
    };
    let rows = Table::new(session, props, Filter::None, minimal, Zone::Utc, None);
    let shown = principal.filter(|_| shown).map(Row::of).into_iter().collect();
    Ok(streamed(move |sink| async move {
        sink.send(rows.begin().into_bytes()).await?;
        rows.send(shown, 1, &sink).await?;
        sink.send(rows.end(None, None).into_bytes()).await
    }))
}

fn viewer(session: &Session) -> Viewer<'_> {
    Viewer { principal: session.principal(), now: session.now, zone: &Zone::Utc }
}

fn whole(xml: Vec<u8>) -> Answer {
    let headers = vec![("content-type", XML_TYPE.to_owned())];
    Answer { status: 207, headers, body: tide::Body::from_bytes(xml) }
}

/// The calendar that an object is in, or the place itself.
async fn calendar_of(session: &Session, node: &Node) -> Result<Node, Fault> {
    if node.kind.is_collection() {
        return Ok(node.clone());
    }
    Ok(session.parent(&node.path).await?.ok_or_else(Refusal::not_found)?)
}

fn query_answer(session: Session, top: Node, rows: Arc<Table>, limit: Option<usize>) -> Answer {
    let limit = limit.unwrap_or(limits::ROWS_MAX).min(limits::ROWS_MAX);
    streamed(move |sink| async move {
        sink.send(rows.begin().into_bytes()).await?;
        let more = if top.kind.is_collection() {
            members(&session, &top, &rows, limit, &sink).await?
        } else {
            send(&session, vec![Row::of(top.clone())], &rows, limit, &sink).await?;
            false
        };
        sink.send(rows.end(None, more.then_some(&top.path)).into_bytes()).await
    })
}

fn multiget_answer(
    session: Session,
    path: Path,
    multiget: Multiget,
    minimal: bool,
    zone: Zone,
) -> Result<Answer, Fault> {
    let rows = Table::new(&session, multiget.props.clone(), Filter::None, minimal, zone, None);
    Ok(streamed(move |sink| async move {
        sink.send(rows.begin().into_bytes()).await?;
        let targets: Vec<_> = multiget.targets(&path).collect();
        let mut parents = HashMap::new();
        for targets in targets.chunks(super::session::PAGE) {
            let page = targets_page(&session, targets, &mut parents).await;
            let page = page.map_err(|fault| broken(&fault))?;
            send(&session, page, &rows, usize::MAX, &sink).await?;
        }
        sink.send(rows.end(None, None).into_bytes()).await
    }))
}

/// The rows that hrefs name, in their order.
async fn targets_page(
    session: &Session,
    targets: &[(&str, Option<&Path>)],
    parents: &mut HashMap<Path, Option<Node>>,
) -> Result<Vec<Row>, Fault> {
    let mut keys = Vec::with_capacity(targets.len());
    for (_, path) in targets {
        keys.push(match path {
            Some(path) => key_of(session, path, parents).await?,
            None => None,
        });
    }
    let wanted: Vec<DavKey> = keys.iter().flatten().copied().collect();
    let found: HashMap<DavKey, _> =
        session.tree.nodes(&wanted).await?.into_iter().map(|row| (row.key, row)).collect();
    let mut nodes = Vec::new();
    for ((_, path), key) in targets.iter().zip(&keys) {
        if let Some(path) = path.filter(|path| is_directory(path)) {
            nodes.extend(session.find(path).await?);
            continue;
        }
        if let (Some(path), Some(row)) = (path, key.as_ref().and_then(|key| found.get(key))) {
            let node = Node::read((*path).clone(), row.clone())?;
            let parent = path.parent().and_then(|parent| parents.get(&parent)?.as_ref());
            nodes.push(match parent {
                Some(parent) => parent.share_with(node),
                None => node,
            });
        }
    }
    let mut shown: HashMap<Path, Row> =
        nodes.into_iter().map(|node| (node.path.clone(), Row::of(node))).collect();
    let row = |(href, path): &(&str, Option<&Path>)| {
        // An href that stands twice is answered once.
        path.and_then(|path| shown.remove(path)).unwrap_or_else(|| Row::Gone((*href).to_owned()))
    };
    Ok(targets.iter().map(row).collect())
}

/// The key of a place, whose collection is looked up once.
async fn key_of(
    session: &Session,
    path: &Path,
    parents: &mut HashMap<Path, Option<Node>>,
) -> Result<Option<DavKey>, Fault> {
    let (Some(parent), Some(area)) = (path.parent(), path.area()) else { return Ok(None) };
    let id = match parents.get(&parent) {
        Some(node) => node.as_ref().map(|node| node.row.id),
        None => {
            let node = session.find(&parent).await?;
            let id = node.as_ref().map(|node| node.row.id);
            parents.insert(parent, node);
            id
        }
    };
    let table = table(area, path.names().len());
    Ok(id.zip(table).map(|(id, table)| session.tree.key(table, id, path.name().unwrap_or(""))))
}

async fn sync_answer(
    storage: &Storage,
    session: Session,
    top: Option<Node>,
    sync: SyncCollection,
    minimal: bool,
) -> Result<Answer, Fault> {
    let top = top.ok_or_else(Refusal::not_found)?;
    let current = top.sync().ok_or_else(|| {
        Refusal::condition(Condition::SupportedReport, "this collection is not synchronised")
    })?;
    let since = match sync.since {
        None => 0,
        Some(token)
            if token.collection == current.collection
                && (top.members().forgotten..=current.change).contains(&token.change) =>
        {
            token.change
        }
        Some(_) => {
            let why = "the sync-token is of another time";
            return Err(Refusal::condition(Condition::ValidSyncToken, why).into());
        }
    };
    let mut changes = changes(&session, &top, since, sync.since.is_some()).await?;
    // Whatever changed is shown in the order in which it did, so that a limit can cut anywhere.
    changes.sort_by_key(|(number, _)| *number);
    let limit = sync.limit.unwrap_or(limits::ROWS_MAX).min(limits::ROWS_MAX);
    let truncated = changes.len() > limit;
    if truncated && top.read_only {
        // It has one state, so there is no going on from the middle of it.
        let condition = Condition::NumberOfMatchesWithinLimits;
        return Err(Refusal::condition(condition, "the directory is larger than the limit").into());
    }
    changes.truncate(limit);
    // What was written since the state was read is told again the next time.
    let change = match changes.last() {
        Some((number, _)) if truncated => *number,
        None if truncated => since,
        _ => current.change,
    };
    let token = SyncToken { change, ..current };
    let quota = session.quota(storage).await?;
    let zone = Session::zone_of(&top);
    let rows = Table::new(&session, sync.props, Filter::None, minimal, zone, quota);
    Ok(streamed(move |sink| async move {
        sink.send(rows.begin().into_bytes()).await?;
        let mut waiting = changes.into_iter();
        loop {
            let page: Vec<(u64, Changed)> = waiting.by_ref().take(super::session::PAGE).collect();
            if page.is_empty() {
                break;
            }
            let page = changed_page(&session, &top, page).await.map_err(|fault| broken(&fault))?;
            send(&session, page, &rows, usize::MAX, &sink).await?;
        }
        sink.send(rows.end(Some(token), truncated.then_some(&top.path)).into_bytes()).await
    }))
}

/// What changed in a collection after a number.
async fn changes(
    session: &Session,
    top: &Node,
    since: u64,
    with_gone: bool,
) -> Result<Vec<(u64, Changed)>, Fault> {
    let area = top.path.area().unwrap_or(Area::Files);
    let Some(table) = table(area, top.path.names().len() + 1) else { return Ok(Vec::new()) };
    let changed = session.changes(top, since).await?;
    let mut all = Vec::with_capacity(changed.len());
    if with_gone {
        let there: std::collections::HashSet<DavKey> = changed.iter().map(|(_, key)| *key).collect();
        let mut gone: HashMap<String, u64> = HashMap::new();
        for (number, name) in session.tree.gone(top.row.id, since).await? {
            // What was made again since is among the changes.
            if !there.contains(&session.tree.key(table, top.row.id, &name)) {
                gone.insert(name, number);
            }
        }
        all.extend(gone.into_iter().map(|(name, number)| (number, Changed::Gone(name))));
    }
    all.extend(changed.into_iter().map(|(number, key)| (number, Changed::Node(key))));
    Ok(all)
}

async fn changed_page(session: &Session, top: &Node, page: Vec<(u64, Changed)>) -> Result<Vec<Row>, Fault> {
    let mut keys = Vec::new();
    let mut out = Vec::new();
    for (_, changed) in page {
        match changed {
            Changed::Node(key) => keys.push(key),
            Changed::Gone(name) => out.push(Row::Gone(top.path.join(&name).href(false))),
        }
    }
    out.extend(session.members_by_key(top, &keys).await?.into_iter().map(Row::of));
    Ok(out)
}

/// Adds when the objects of a calendar make somebody busy.
pub async fn add_busy(
    session: &Session,
    calendar: &Node,
    range: TimeRange,
    mut busy: BusyPeriods,
    owner: Option<String>,
) -> Result<BusyPeriods, Fault> {
    let mut after = None;
    let zone = Session::zone_of(calendar);
    loop {
        let page = session.members(calendar, after).await?;
        let Some(last) = page.last() else { return Ok(busy) };
        after = Some(last.row.key.name);
        let may =
            |node: &Node| node.kind == Kind::CalendarObject && report::may_be_busy(&node.index(), range);
        let may_be: Vec<Node> = page.into_iter().filter(may).collect();
        let mut may_be = may_be.into_iter().peekable();
        while let Some(part) = Session::part(&mut may_be, |node| node.meta.length) {
            let texts = session.texts(part).await?;
            let (zone, owner) = (zone.clone(), owner.clone());
            let added = blocking::unblock(move || {
                for (_, text) in &texts {
                    let Ok(object) = ical::parse(text.as_deref().unwrap_or("")) else { continue };
                    busy.add(&object, &zone, owner.as_deref(), &mut Budget::default())?;
                }
                Ok(busy)
            });
            let added: Result<BusyPeriods, protocol_dav::recur::TooMany> = added.await;
            let too_many = |_| Refusal::condition(Condition::MaxInstances, "there are too many instances");
            busy = added.map_err(too_many)?;
        }
    }
}
