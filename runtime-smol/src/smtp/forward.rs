//! Mail that goes on from here: whose it is, and its reverse-path, under which bounces find back (SRS).

use protocol_core::Timestamp;
use protocol_core::address::Canonical;
use protocol_smtp::srs;
use storage::{OrgId, Storage};

const DAY_SECS: i64 = 86_400;

/// The reverse-path of what an alias sends on from `host`.
pub(crate) fn rewritten(storage: &Storage, host: &str, sender: &str, now: Timestamp) -> String {
    let tag = |parts: &[&[u8]]| storage.keys().tag("srs", parts);
    srs::forward(sender, host, now.secs() / DAY_SECS, &tag)
}

/// Whose bounce this is, when `given` is a reverse-path that was rewritten here.
pub(crate) fn original(storage: &Storage, host: &str, given: &str, now: Timestamp) -> Option<String> {
    let (local, domain) = given.rsplit_once('@')?;
    let tag = |parts: &[&[u8]]| storage.keys().tag("srs", parts);
    domain.eq_ignore_ascii_case(host).then(|| srs::reverse(local, now.secs() / DAY_SECS, &tag)).flatten()
}

/// The organisation whose alias this is.
pub(crate) async fn owner(storage: &Storage, alias: &str) -> Option<OrgId> {
    let address = Canonical::parse(alias).ok()?;
    let domain = storage.store().domain(address.domain()).await.ok()?;
    Some(domain.org)
}
