//! Write locks (RFC 4918 §6, §7): which of them bind a change, and whether one more can be granted.

use protocol_core::Timestamp;
use protocol_core::time::Duration;

use crate::limits;
use crate::path::Path;
use crate::refusal::{Condition, Refusal, Response, Status, XML_DECLARATION, XML_TYPE};
use crate::xml::text_element;

/// A lock that was granted and has not expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveLock {
    /// Its token, a URI.
    pub token: Box<str>,
    /// Where it was taken.
    pub root: Path,
    /// Whether it covers all that is in its root too.
    pub infinite: bool,
    /// Whether it tolerates no other lock.
    pub exclusive: bool,
    /// The canonical address of who took it; nobody else's submission of the token counts (§6.4).
    pub principal: Box<str>,
    /// The `owner` element, as it came.
    pub owner: Option<Box<str>>,
    /// When it ends.
    pub expires: Timestamp,
}

impl ActiveLock {
    /// Whether it covers this place.
    pub fn covers(&self, path: &Path) -> bool {
        self.root == *path || (self.infinite && self.root.contains(path))
    }
}

/// What a method does to a place, as far as locks are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The content or the properties of what is there (§7.1).
    Content,
    /// It is made: the membership of its parent changes too (§7.4).
    Make,
    /// It is locked: as [`Change::Make`] when nothing is there (§7.3); what is there is not changed, and whether
    /// one more lock can be granted beside others is asked by [`LockRequest::grant`].
    Lock,
    /// It and all that is in it are removed or replaced.
    Remove,
}

/// Checks that the locks which bind a change were submitted. `locks` holds at least those rooted at the path,
/// above it, or in it.
pub fn check(
    path: &Path,
    change: Change,
    locks: &[ActiveLock],
    submitted: &[&str],
    principal: &str,
) -> Result<(), Refusal> {
    free(path, locks, submitted, principal)?;
    if change != Change::Content
        && let Some(parent) = path.parent()
    {
        free(&parent, locks, submitted, principal)?;
    }
    if change == Change::Remove {
        for inner in locks.iter().filter(|lock| lock.root != *path && path.contains(&lock.root)) {
            free(&inner.root, locks, submitted, principal).map_err(|refusal| {
                let href = inner.root.href(false);
                Refusal { members: vec![(href, Status(423))], ..refusal }
            })?;
        }
    }
    Ok(())
}

/// Of the locks that cover a place one must have been submitted by who holds it, when there are any: of several
/// shared ones any will do (§6.2).
fn free(path: &Path, locks: &[ActiveLock], submitted: &[&str], principal: &str) -> Result<(), Refusal> {
    let mut covering = locks.iter().filter(|lock| lock.covers(path)).peekable();
    let Some(first) = covering.peek() else { return Ok(()) };
    let href = first.root.href(false);
    if covering.any(|lock| *lock.principal == *principal && submitted.contains(&&*lock.token)) {
        return Ok(());
    }
    Err(Refusal::condition(Condition::LockTokenSubmitted, "the resource is locked").at(href))
}

/// A `LOCK` that asks for a new lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRequest {
    /// Where.
    pub path: Path,
    /// Whether it shall cover all that is in it.
    pub infinite: bool,
    /// Whether it shall tolerate no other.
    pub exclusive: bool,
    /// The `owner` element.
    pub owner: Option<Box<str>>,
    /// Who asks.
    pub principal: Box<str>,
    /// How long it shall last, in seconds, within [`limits::LOCK_SECS_MAX`].
    pub timeout_secs: u64,
}

impl LockRequest {
    /// Grants the lock or says what is in the way. `token` is a fresh URI that nobody can guess
    /// (`urn:uuid:...`); `locks` are those of the owner's tree; `held` is how many the principal holds. To be
    /// called within the transaction that writes the lock.
    pub fn grant(
        &self,
        token: &str,
        locks: &[ActiveLock],
        held: usize,
        now: Timestamp,
    ) -> Result<ActiveLock, Refusal> {
        let conflicts = |lock: &&ActiveLock| self.exclusive || lock.exclusive;
        if let Some(other) = locks.iter().filter(|lock| lock.covers(&self.path)).find(conflicts) {
            let refusal = Refusal::condition(Condition::NoConflictingLock, "another lock is in the way");
            return Err(refusal.at(other.root.href(false)));
        }
        let inside = |lock: &&ActiveLock| self.infinite && self.path.contains(&lock.root);
        if let Some(other) = locks.iter().filter(inside).find(conflicts) {
            let refusal = Refusal::condition(Condition::NoConflictingLock, "a member is locked");
            let other = other.root.href(false);
            let members = vec![(other, Status(423)), (self.path.href(false), Status(424))];
            return Err(Refusal { members, ..refusal });
        }
        let here = locks.iter().filter(|lock| lock.root == self.path).count();
        if here >= limits::LOCKS_PER_RESOURCE_MAX || held >= limits::LOCKS_PER_PRINCIPAL_MAX {
            return Err(Refusal::status(403, "there are too many locks"));
        }
        Ok(ActiveLock {
            token: token.into(),
            root: self.path.clone(),
            infinite: self.infinite,
            exclusive: self.exclusive,
            principal: self.principal.clone(),
            owner: self.owner.clone(),
            expires: now + Duration::from_secs(self.timeout_secs),
        })
    }
}

/// A `LOCK` without a body: a lock is to last longer (RFC 4918 §9.10.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// The place of the request, which the lock must cover.
    pub path: Path,
    /// The token of the `If` field.
    pub token: Box<str>,
    /// Who asks.
    pub principal: Box<str>,
    /// How long it shall last from now, in seconds.
    pub timeout_secs: u64,
}

impl Refresh {
    /// The lock with its new end, to be written.
    pub fn grant(&self, locks: &[ActiveLock], now: Timestamp) -> Result<ActiveLock, Refusal> {
        let lock = held(&self.path, &self.token, &self.principal, locks).ok_or_else(|| {
            let status = Refusal::status(412, "no such lock covers the resource");
            Refusal { condition: Some(Condition::LockTokenMatchesRequestUri), ..status }
        })?;
        Ok(ActiveLock { expires: now + Duration::from_secs(self.timeout_secs), ..lock.clone() })
    }
}

/// `UNLOCK` (RFC 4918 §9.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlock {
    /// The place of the request, which the lock must cover.
    pub path: Path,
    /// The token.
    pub token: Box<str>,
    /// Who asks.
    pub principal: Box<str>,
}

impl Unlock {
    /// The lock to be removed, whole, wherever its root is. Another's token is answered as one that is not there.
    pub fn find<'l>(&self, locks: &'l [ActiveLock]) -> Result<&'l ActiveLock, Refusal> {
        held(&self.path, &self.token, &self.principal, locks).ok_or_else(|| {
            Refusal::condition(Condition::LockTokenMatchesRequestUri, "no such lock covers the resource")
        })
    }
}

fn held<'l>(path: &Path, token: &str, principal: &str, locks: &'l [ActiveLock]) -> Option<&'l ActiveLock> {
    locks.iter().find(|lock| *lock.token == *token && *lock.principal == *principal && lock.covers(path))
}

/// The answer to a `LOCK` that was granted or refreshed: `201` when it made an empty resource.
pub fn granted(lock: &ActiveLock, created: bool, now: Timestamp) -> Response {
    let mut body = format!("{XML_DECLARATION}<D:prop xmlns:D=\"DAV:\"><D:lockdiscovery>");
    write_active_lock(lock, now, &mut body);
    body.push_str("</D:lockdiscovery></D:prop>\n");
    let headers = vec![("content-type", XML_TYPE.to_owned()), ("lock-token", format!("<{}>", lock.token))];
    Response { status: Status(if created { 201 } else { 200 }), headers, body: body.into_bytes() }
}

/// `DAV:activelock` (RFC 4918 §14.1).
pub(crate) fn write_active_lock(lock: &ActiveLock, now: Timestamp, out: &mut String) {
    let scope = if lock.exclusive { "exclusive" } else { "shared" };
    out.push_str("<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:");
    out.push_str(scope);
    out.push_str("/></D:lockscope><D:depth>");
    out.push_str(if lock.infinite { "infinity" } else { "0" });
    out.push_str("</D:depth>");
    if let Some(owner) = &lock.owner {
        out.push_str(owner);
    }
    let left = lock.expires.since(now).as_secs();
    out.push_str(&format!("<D:timeout>Second-{left}</D:timeout><D:locktoken>"));
    text_element("D:href", &lock.token, out);
    out.push_str("</D:locktoken><D:lockroot>");
    text_element("D:href", &lock.root.href(false), out);
    out.push_str("</D:lockroot></D:activelock>");
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn path(below: &str) -> Path {
        Path::parse(&format!("/dav/files/a@h.example/{below}"), "").unwrap()
    }

    fn request(below: &str, infinite: bool, exclusive: bool) -> LockRequest {
        let (owner, principal) = (None, "a@h.example".into());
        LockRequest { path: path(below), infinite, exclusive, owner, principal, timeout_secs: 60 }
    }

    fn lock(below: &str, infinite: bool, exclusive: bool, token: &str) -> ActiveLock {
        request(below, infinite, exclusive).grant(token, &[], 0, NOW).unwrap()
    }

    fn status<T>(result: Result<T, Refusal>) -> u16 {
        result.err().map_or(200, |refusal| refusal.response().status.0)
    }

    #[test]
    fn which_locks_bind() {
        let locks =
            [lock("d", true, true, "u:d"), lock("e", false, true, "u:e"), lock("f/g/h", false, true, "u:h")];
        for (below, change, submitted, expected) in [
            ("d/x", Change::Content, &[][..], 423),
            ("d/x", Change::Content, &["u:d"], 200),
            ("d/x", Change::Content, &["u:e"], 423),
            ("e", Change::Content, &[], 423),
            ("e/x", Change::Content, &[], 200),
            ("e/x", Change::Make, &[], 423),
            ("e/x", Change::Remove, &[], 423),
            ("e/x", Change::Make, &["u:e"], 200),
            ("f", Change::Content, &[], 200),
            ("f", Change::Make, &[], 200),
            ("f", Change::Remove, &[], 207),
            ("f", Change::Remove, &["u:h"], 200),
            ("z", Change::Remove, &[], 200),
        ] {
            let result = check(&path(below), change, &locks, submitted, "a@h.example");
            assert_eq!(status(result), expected, "{below} {change:?} {submitted:?}");
        }
    }

    #[test]
    fn dv12_a_stolen_token_opens_nothing() {
        let locks = [lock("d", true, true, "u:d")];
        assert_eq!(status(check(&path("d"), Change::Content, &locks, &["u:d"], "b@h.example")), 423);
        let mut unlock = Unlock { path: path("d/x"), token: "u:d".into(), principal: "b@h.example".into() };
        assert_eq!(status(unlock.find(&locks)), 409);
        unlock.principal = "a@h.example".into();
        assert_eq!(unlock.find(&locks), Ok(&locks[0]));
        let refresh = Refresh {
            path: path("d"),
            token: "u:d".into(),
            principal: "b@h.example".into(),
            timeout_secs: 1,
        };
        assert_eq!(status(refresh.grant(&locks, NOW)), 412);
    }

    #[test]
    fn one_shared_lock_of_several_is_enough() {
        let other = ActiveLock { principal: "b@h.example".into(), ..lock("d", false, false, "u:2") };
        let locks = [lock("d", false, false, "u:1"), other];
        assert_eq!(status(check(&path("d"), Change::Content, &locks, &["u:1"], "a@h.example")), 200);
        assert_eq!(status(check(&path("d"), Change::Content, &locks, &["u:2"], "a@h.example")), 423);
    }

    #[test]
    fn what_can_be_granted_beside_what() {
        let shared = [lock("d", true, false, "u:1")];
        assert_eq!(status(request("d/x", false, false).grant("u:2", &shared, 1, NOW)), 200);
        assert_eq!(status(request("d/x", false, true).grant("u:2", &shared, 1, NOW)), 423);
        let exclusive = [lock("d/x", false, true, "u:1")];
        assert_eq!(status(request("d", false, true).grant("u:2", &exclusive, 1, NOW)), 200);
        assert_eq!(status(request("d", true, true).grant("u:2", &exclusive, 1, NOW)), 207);
        assert_eq!(status(request("d", true, false).grant("u:2", &exclusive, 1, NOW)), 207);
    }

    #[test]
    fn dv12_locks_are_counted() {
        let request = request("d", false, false);
        assert_eq!(status(request.grant("u:x", &[], limits::LOCKS_PER_PRINCIPAL_MAX - 1, NOW)), 200);
        assert_eq!(status(request.grant("u:x", &[], limits::LOCKS_PER_PRINCIPAL_MAX, NOW)), 403);
        let mut locks = vec![lock("d", false, false, "u:1"); limits::LOCKS_PER_RESOURCE_MAX];
        assert_eq!(status(request.grant("u:x", &locks, 0, NOW)), 403);
        locks.pop();
        assert_eq!(status(request.grant("u:x", &locks, 0, NOW)), 200);
    }

    #[test]
    fn the_answer_shows_the_lock() {
        let owner = Some("<D:owner xmlns:D=\"DAV:\">me &amp; you</D:owner>".into());
        let lock = ActiveLock { owner, ..lock("d", true, true, "urn:uuid:1") };
        let response = granted(&lock, true, NOW + Duration::from_secs(10));
        let text = String::from_utf8(response.body).unwrap();
        crate::xml::parse(text.as_bytes()).unwrap();
        assert!(text.contains("<D:timeout>Second-50</D:timeout>"), "{text}");
        assert!(text.contains("me &amp; you") && text.contains("<D:exclusive/>"));
        assert_eq!(response.headers[1].1, "<urn:uuid:1>");
        assert_eq!(response.status, Status(201));
    }
}
