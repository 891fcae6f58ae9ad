//! Reports, carried out.

use protocol_dav::ical::{self, BusyPeriods, Zone};
use protocol_dav::multistatus::Multistatus;
use protocol_dav::path::Path;
use protocol_dav::plan::Report;
use protocol_dav::recur::Budget;
use protocol_dav::refusal::{Condition, Refusal, Response};
use protocol_dav::report;
use protocol_dav::request::{CalendarQuery, PropSet, ReportBody, SyncCollection, TimeRange};
use protocol_dav::resource::SyncToken;

use super::{Store, multi};

impl Store {
    pub(super) fn report(&self, report: &Report) -> Result<Response, Refusal> {
        self.kind(&report.path).ok_or_else(Refusal::not_found)?;
        let utc = Zone::Utc;
        match &report.body {
            ReportBody::CalendarQuery(query) => self.calendar_query(report, query),
            ReportBody::CardQuery(query) => {
                let passes = |path: &Path| {
                    let node = &self.nodes[path];
                    std::str::from_utf8(&node.content).is_ok_and(|text| query.passes(text))
                };
                let paths = self.members(&report.path).into_iter().filter(passes).collect::<Vec<_>>();
                let limit = query.limit.unwrap_or(usize::MAX);
                let truncated = (paths.len() > limit).then_some(&report.path);
                Ok(self.rows(report, &query.props, paths.iter().take(limit), truncated, &utc))
            }
            ReportBody::CalendarMultiget(multiget) | ReportBody::CardMultiget(multiget) => {
                let mut out = String::new();
                let viewer = self.viewer(&utc);
                let minimal = report.prefer.minimal;
                let mut multistatus = Multistatus::begin(&multiget.props, viewer, minimal, &mut out);
                for (href, path) in multiget.targets(&report.path) {
                    match path.and_then(|path| self.resource(path, true)) {
                        Some(resource) => multistatus.row(&resource, &mut out),
                        None => multistatus.gone(href, &mut out),
                    }
                }
                multistatus.finish(None, None, &mut out);
                Ok(multi(out))
            }
            ReportBody::SyncCollection(sync) => self.sync(report, sync),
            ReportBody::FreeBusy(range) => self.free_busy(&report.path, *range),
            ReportBody::ExpandProperty(properties) => {
                let resource = self.resource(&report.path, false).ok_or_else(Refusal::not_found)?;
                Ok(multi(report::expand(properties, &resource, self.viewer(&utc))))
            }
            ReportBody::PrincipalSearch(search) => {
                let own = self.principal();
                let found = report::fixed(&own).is_some_and(|own| search.matches(&own, self.viewer(&utc)));
                Ok(self.rows(report, &search.props, found.then_some(&own).into_iter(), None, &utc))
            }
            ReportBody::PrincipalSearchProperties => Ok(report::principal_search_properties()),
            ReportBody::AclPrincipals(props) | ReportBody::PrincipalMatch(props) => {
                Ok(self.rows(report, props, std::iter::once(&self.principal()), None, &utc))
            }
        }
    }

    fn principal(&self) -> Path {
        Path::home(protocol_dav::path::Area::Principals, &self.owner)
    }

    fn rows<'p>(
        &self,
        report: &Report,
        props: &PropSet,
        paths: impl Iterator<Item = &'p Path>,
        truncated: Option<&Path>,
        zone: &Zone,
    ) -> Response {
        let mut out = String::new();
        let mut multistatus = Multistatus::begin(props, self.viewer(zone), report.prefer.minimal, &mut out);
        for path in paths {
            if let Some(resource) = self.resource(path, true) {
                multistatus.row(&resource, &mut out);
            }
        }
        multistatus.finish(None, truncated, &mut out);
        multi(out)
    }

    fn calendar_query(&self, report: &Report, query: &CalendarQuery) -> Result<Response, Refusal> {
        let zone = query.zone()?.unwrap_or(Zone::Utc);
        let mut out = String::new();
        let mut multistatus =
            Multistatus::begin(&query.props, self.viewer(&zone), report.prefer.minimal, &mut out);
        for path in self.members(&report.path) {
            let node = &self.nodes[&path];
            let Some(index) = &node.index else { continue };
            let text = std::str::from_utf8(&node.content).unwrap_or("");
            if !query.admits(index.component, index.first, index.last) {
                assert_ne!(query.passes(text, &zone), Ok(true), "the index hides {path:?}");
                continue;
            }
            match query.passes(text, &zone) {
                Ok(true) => multistatus.row(&self.resource(&path, true).expect("a member"), &mut out),
                Ok(false) => {}
                Err(_) => {
                    let condition = Condition::MaxInstances;
                    multistatus.status(&path.href(false), condition.status(), Some(condition), &mut out);
                }
            }
        }
        multistatus.finish(None, None, &mut out);
        Ok(multi(out))
    }

    fn sync(&self, report: &Report, sync: &SyncCollection) -> Result<Response, Refusal> {
        let node = self.nodes.get(&report.path).ok_or_else(Refusal::not_found)?;
        let since = match sync.since {
            None => 0,
            Some(token) if token.collection == node.collection && token.change <= self.changes => {
                token.change
            }
            Some(_) => {
                return Err(Refusal::condition(
                    Condition::ValidSyncToken,
                    "the sync-token is of another time",
                ));
            }
        };
        // Whatever changed is shown in the order in which it did, so that a limit can cut anywhere.
        let inside = |path: &Path| path.parent().as_ref() == Some(&report.path);
        let mut changes: Vec<(u64, Path)> =
            self.nodes.iter().filter(|(path, _)| inside(path)).map(|(p, n)| (n.changed, p.clone())).collect();
        if sync.since.is_some() {
            let gone = self.gone.iter().filter(|(_, path)| inside(path) && !self.nodes.contains_key(path));
            changes.extend(gone.cloned());
        }
        changes.retain(|(change, _)| *change > since);
        changes.sort();
        let limit = sync.limit.unwrap_or(usize::MAX);
        let last = changes.get(limit - 1).filter(|_| changes.len() > limit).map(|(change, _)| *change);
        changes.truncate(limit);
        let mut out = String::new();
        let zone = Zone::Utc;
        let mut multistatus =
            Multistatus::begin(&sync.props, self.viewer(&zone), report.prefer.minimal, &mut out);
        for (_, path) in &changes {
            match self.resource(path, true).filter(|_| self.nodes.contains_key(path)) {
                Some(resource) => multistatus.row(&resource, &mut out),
                None => multistatus.gone(&path.href(false), &mut out),
            }
        }
        let token = SyncToken { collection: node.collection, change: last.unwrap_or(self.changes) };
        multistatus.finish(Some(token), last.map(|_| &report.path), &mut out);
        Ok(multi(out))
    }

    fn free_busy(&self, path: &Path, range: TimeRange) -> Result<Response, Refusal> {
        let mut busy = BusyPeriods::new(range);
        for member in self.members(path) {
            let node = &self.nodes[&member];
            let Some(index) = node.index.as_ref().filter(|index| report::may_be_busy(index, range)) else {
                continue;
            };
            assert!(!index.uid.is_empty());
            let text = std::str::from_utf8(&node.content).unwrap_or("");
            let Ok(object) = ical::parse(text) else { continue };
            busy.add(&object, &Zone::Utc, None, &mut Budget::default())
                .map_err(|_| Refusal::condition(Condition::MaxInstances, "there are too many instances"))?;
        }
        Ok(report::free_busy_response(range, busy, self.now().secs()))
    }
}
