//! LOCK bodies (RFC 4918 §14.11).

use super::bad;
use crate::limits;
use crate::name::Namespace;
use crate::refusal::Refusal;
use crate::xml::Element;

/// `DAV:lockinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockInfo {
    /// Whether the lock shall tolerate no other.
    pub exclusive: bool,
    /// The `owner` element as it came.
    pub owner: Option<Box<str>>,
}

impl LockInfo {
    /// From `DAV:lockinfo`.
    pub fn parse(root: &Element) -> Result<LockInfo, Refusal> {
        if !root.is(&Namespace::Dav, "lockinfo") {
            return Err(bad("the body of LOCK is DAV:lockinfo"));
        }
        let lock_type = root.child(&Namespace::Dav, "locktype");
        if lock_type.is_none_or(|t| t.child(&Namespace::Dav, "write").is_none()) {
            return Err(bad("only write locks are granted"));
        }
        let scope = root.child(&Namespace::Dav, "lockscope").ok_or_else(|| bad("a lock has a scope"))?;
        let exclusive = scope.child(&Namespace::Dav, "exclusive").is_some();
        if exclusive == scope.child(&Namespace::Dav, "shared").is_some() {
            return Err(bad("a lock is exclusive or shared"));
        }
        let owner = root.child(&Namespace::Dav, "owner").map(|owner| owner.to_fragment().into_boxed_str());
        if owner.as_ref().is_some_and(|owner| owner.len() > limits::LOCK_OWNER_MAX) {
            return Err(Refusal::status(413, "the owner of a lock is too long"));
        }
        Ok(LockInfo { exclusive, owner })
    }
}
