//! Counters and suppressions as the rest of the server asks for them.

use crate::error::{Error, Result};
use crate::facade::Storage;
use crate::slots::*;
use crate::types::OrgId;

impl Storage {
    /// Adds to a counter unless its limit would be exceeded, together with what else waits; whether it was added.
    /// It is durable then, for all nodes.
    pub async fn count(&self, charge: Charge) -> Result<bool> {
        let counted = self.durable(async move |inner| inner.counts.write(charge).await).await;
        // Nothing is promised by a count: where it is not known whether it was written, it is read again next time.
        counted.map_err(|error| match error {
            Error::OutcomeUnknown(why) => Error::Unavailable(why),
            error => error,
        })
    }

    /// The suppression that holds for mail of an organisation to each of these canonical addresses, if any: the
    /// installation's before the organisation's, the address's before its domain's.
    pub async fn suppressed(&self, org: OrgId, addresses: &[String]) -> Result<Vec<Option<Suppression>>> {
        let keys = |address: &String| {
            let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
            let entries = [(SuppressionScope::Address, address.as_str()), (SuppressionScope::Domain, domain)];
            let all = [None, Some(org)].into_iter().flat_map(move |org| {
                entries.map(|(scope, entry)| SuppressionKey { org, scope, entry: entry.to_owned() })
            });
            all.collect::<Vec<_>>()
        };
        let wanted: Vec<SuppressionKey> = addresses.iter().flat_map(keys).collect();
        let (now, rows) = (self.store_now(), self.store().suppressions(&wanted).await?);
        let holding = |address: &String| {
            let keys = keys(address);
            keys.iter().find_map(|key| rows.iter().find(|row| row.key == *key && row.holds(now)).cloned())
        };
        Ok(addresses.iter().map(holding).collect())
    }
}
