//! What must hold at the moment a change is made: `If`, `If-Match`, `If-None-Match`, `If-Schedule-Tag-Match` and
//! locks. [`Preconditions::check`] is called within the transaction that makes the change.

use crate::headers::{EntityTag, Head, IfHeader, Tag, TagList, Test};
use crate::lock::{self, ActiveLock, Change};
use crate::path::Path;
use crate::refusal::Refusal;

/// The conditions of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preconditions {
    path: Path,
    principal: Box<str>,
    changes: Vec<(Path, Change)>,
    if_header: Option<IfHeader>,
    if_match: Option<TagList>,
    if_none_match: Option<TagList>,
    if_schedule_tag_match: Option<EntityTag>,
}

/// What storage knows of a resource that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State<'a> {
    /// Its strong entity tag without quotes; none for collections.
    pub etag: Option<&'a str>,
    /// Its schedule tag without quotes.
    pub schedule_tag: Option<&'a str>,
}

/// What storage knows at the moment of the change.
#[derive(Clone, Copy, Debug)]
pub struct Current<'a> {
    /// The state of each of [`Preconditions::paths`], in that order; none where nothing is.
    pub states: &'a [Option<State<'a>>],
    /// The locks that have not expired and are rooted at the changed places, above them or in them.
    pub locks: &'a [ActiveLock],
}

impl Preconditions {
    /// Of a request to `path` that makes these changes.
    pub fn of(head: &Head<'_>, path: &Path, changes: Vec<(Path, Change)>) -> Result<Preconditions, Refusal> {
        let if_header = match head.list("if")? {
            Some(value) => Some(IfHeader::parse(&value, head.host)?),
            None => None,
        };
        let tags = |name| head.list(name)?.map(|value| TagList::parse(&value)).transpose();
        let schedule_tag = match head.field("if-schedule-tag-match")? {
            None => None,
            Some(value) => match EntityTag::read(value) {
                Some((tag, "")) if !tag.weak => Some(tag),
                _ => return Err(Refusal::status(400, "If-Schedule-Tag-Match is not valid")),
            },
        };
        Ok(Preconditions {
            path: path.clone(),
            principal: head.principal.into(),
            changes,
            if_header,
            if_match: tags("if-match")?,
            if_none_match: tags("if-none-match")?,
            if_schedule_tag_match: schedule_tag,
        })
    }

    /// The places whose state is needed, the request's own first. What belongs to somebody else is not among
    /// them: it counts as absent, or its state could be found out by asking.
    pub fn paths(&self) -> Vec<&Path> {
        let mut paths = vec![&self.path];
        for list in self.if_header.iter().flat_map(|header| &header.lists) {
            if let Some(Tag::Path(path)) = &list.tag
                && path.owner() == Some(&*self.principal)
                && !paths.contains(&path)
            {
                paths.push(path);
            }
        }
        paths
    }

    /// The places that are changed, for storage to load their locks.
    pub fn changes(&self) -> &[(Path, Change)] {
        &self.changes
    }

    /// The token of an `If` field that names one and nothing else, as a LOCK does that refreshes.
    pub(crate) fn only_token(&self) -> Option<&str> {
        let header = self.if_header.as_ref()?;
        let mut tokens = header.tokens();
        let first = tokens.next()?;
        tokens.all(|token| token == first).then_some(first)
    }

    /// Whether the request may go on: `412` when a condition does not hold, `423` when a lock binds.
    pub fn check(&self, current: &Current<'_>) -> Result<(), Refusal> {
        let paths = self.paths();
        assert_eq!(paths.len(), current.states.len(), "one state for each path");
        let state = |path: &Path| {
            let at = paths.iter().position(|p| *p == path)?;
            current.states[at]
        };
        self.check_own(current.states[0])?;
        let Some(header) = &self.if_header else { return self.check_locks(current, &[]) };
        let holds = header.lists.iter().any(|list| {
            let path = match &list.tag {
                None => Some(&self.path),
                Some(Tag::Path(path)) => Some(path),
                Some(Tag::Elsewhere) => None,
            };
            list.conditions.iter().all(|condition| {
                let found = path.is_some_and(|path| found(&condition.test, path, state(path), current.locks));
                found != condition.not
            })
        });
        if !holds {
            return Err(Refusal::status(412, "the If field does not hold"));
        }
        let submitted: Vec<&str> = header.tokens().collect();
        self.check_locks(current, &submitted)
    }

    /// RFC 9110 §13.2.2, and RFC 6638 §3.2.10.
    fn check_own(&self, state: Option<State<'_>>) -> Result<(), Refusal> {
        let failed = |reason| Err(Refusal::status(412, reason));
        if let Some(tag) = &self.if_schedule_tag_match {
            let matches = state.and_then(|s| s.schedule_tag).is_some_and(|own| tag.is_strongly(own));
            return if matches { Ok(()) } else { failed("the schedule tag is another") };
        }
        if let Some(list) = &self.if_match
            && !names(list, state, TagList::matches_strongly)
        {
            return failed("the resource is in another state");
        }
        if let Some(list) = &self.if_none_match
            && names(list, state, TagList::matches_weakly)
        {
            return failed("the resource is there already, or in that state");
        }
        Ok(())
    }

    fn check_locks(&self, current: &Current<'_>, submitted: &[&str]) -> Result<(), Refusal> {
        for (path, change) in &self.changes {
            // What is there already is not made: the membership of its parent stays as it is.
            let there = *path == self.path && current.states[0].is_some();
            let change = match change {
                Change::Lock if there => continue,
                Change::Make if there => Change::Content,
                change => *change,
            };
            lock::check(path, change, current.locks, submitted, &self.principal)?;
        }
        Ok(())
    }
}

/// `*` names whatever is there, a collection without an entity tag too.
fn names(list: &TagList, state: Option<State<'_>>, matches: impl Fn(&TagList, Option<&str>) -> bool) -> bool {
    match (list, state) {
        (_, None) => false,
        (TagList::Any, Some(_)) => true,
        (TagList::Tags(_), Some(state)) => matches(list, state.etag),
    }
}

fn found(test: &Test, path: &Path, state: Option<State<'_>>, locks: &[ActiveLock]) -> bool {
    match test {
        Test::Token(token) => locks.iter().any(|lock| lock.token == *token && lock.covers(path)),
        Test::Etag(tag) => state.and_then(|s| s.etag).is_some_and(|own| tag.is_strongly(own)),
    }
}

#[cfg(test)]
mod tests {
    use protocol_core::Timestamp;

    use super::*;
    use crate::lock::LockRequest;

    fn path(below: &str) -> Path {
        Path::parse(&format!("/dav/files/a@h.example/{below}"), "").unwrap()
    }

    fn lock(below: &str, token: &str) -> ActiveLock {
        let (owner, principal) = (None, "a@h.example".into());
        LockRequest { path: path(below), infinite: true, exclusive: true, owner, principal, timeout_secs: 60 }
            .grant(token, &[], 0, Timestamp(0))
            .unwrap()
    }

    /// The status of a PUT to `x` with these fields, where `x` and `y` have the entity tags x1 and y1.
    fn put(fields: &[(&str, &str)], there: bool, locks: &[ActiveLock]) -> u16 {
        let fields: Vec<(&str, &[u8])> = fields.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
        let head =
            Head { method: "PUT", target: "", host: "h.example", fields: &fields, principal: "a@h.example" };
        let changes = vec![(path("x"), Change::Content)];
        let conditions = match Preconditions::of(&head, &path("x"), changes) {
            Ok(conditions) => conditions,
            Err(refusal) => return refusal.status.0,
        };
        let states: Vec<Option<State<'_>>> = conditions
            .paths()
            .iter()
            .map(|p| match p.name() {
                Some("x") if there => Some(State { etag: Some("x1"), schedule_tag: Some("s1") }),
                Some("y") => Some(State { etag: Some("y1"), schedule_tag: None }),
                _ => None,
            })
            .collect();
        conditions.check(&Current { states: &states, locks }).err().map_or(200, |refusal| refusal.status.0)
    }

    #[test]
    fn entity_tags() {
        for (field, value, there, status) in [
            ("If-Match", "\"x1\"", true, 200),
            ("If-Match", "\"x2\"", true, 412),
            ("If-Match", "W/\"x1\"", true, 412),
            ("If-Match", "*", true, 200),
            ("If-Match", "*", false, 412),
            ("If-None-Match", "*", true, 412),
            ("If-None-Match", "*", false, 200),
            ("If-None-Match", "W/\"x1\"", true, 412),
            ("If-None-Match", "\"x2\"", true, 200),
            ("If-Schedule-Tag-Match", "\"s1\"", true, 200),
            ("If-Schedule-Tag-Match", "\"s2\"", true, 412),
            ("If-Schedule-Tag-Match", "\"s1\"", false, 412),
            ("If-Schedule-Tag-Match", "s1", true, 400),
            ("If-Match", "\"", true, 400),
        ] {
            assert_eq!(put(&[(field, value)], there, &[]), status, "{field}: {value} {there}");
        }
    }

    #[test]
    fn the_if_field_and_locks() {
        let locked = [lock("x", "urn:uuid:x")];
        let elsewhere = [lock("y", "urn:uuid:y")];
        for (value, locks, status) in [
            (None, &locked[..], 423),
            (None, &elsewhere, 200),
            (Some("(<urn:uuid:x>)"), &locked, 200),
            (Some("(<urn:uuid:x> [\"x1\"])"), &locked, 200),
            (Some("(<urn:uuid:x> [\"x2\"])"), &locked, 412),
            (Some("(<urn:uuid:x> [\"x2\"]) (Not <DAV:no-lock> [\"x1\"])"), &locked, 200),
            (Some("(<urn:uuid:x> [\"x2\"]) (Not <DAV:no-lock> [\"x2\"])"), &locked, 412),
            (Some("(<urn:uuid:z>)"), &locked, 412),
            (Some("(<DAV:no-lock>) (Not <urn:uuid:x>)"), &[], 200),
            (Some("(<DAV:no-lock>)"), &[], 412),
            (Some("(Not <DAV:no-lock>)"), &locked, 423),
            (Some("</dav/files/a@h.example/y> ([\"y1\"])"), &[], 200),
            (Some("</dav/files/a@h.example/y> ([\"y2\"])"), &[], 412),
            (Some("</dav/files/a@h.example/y> (<urn:uuid:y>)"), &elsewhere, 200),
            (Some("<http://other/y> (Not [\"y1\"])"), &[], 200),
            (Some("<http://other/y> ([\"y1\"])"), &[], 412),
        ] {
            let fields: Vec<(&str, &str)> = value.map(|v| ("If", v)).into_iter().collect();
            assert_eq!(put(&fields, true, locks), status, "{value:?}");
        }
    }

    #[test]
    fn ti1_the_state_of_what_is_anothers_is_not_asked_for() {
        let fields: [(&str, &[u8]); 1] = [("if", b"</dav/files/b@h.example/y> ([\"y1\"])")];
        let head =
            Head { method: "PUT", target: "", host: "h.example", fields: &fields, principal: "a@h.example" };
        let conditions = Preconditions::of(&head, &path("x"), Vec::new()).unwrap();
        assert_eq!(conditions.paths(), [&path("x")]);
        let current = Current { states: &[None], locks: &[] };
        assert_eq!(conditions.check(&current).unwrap_err().status.0, 412);
    }
}
