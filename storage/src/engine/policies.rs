//! MTA-STS policies of other domains: rows that rest on no others, so that nothing but their age is compared.

use protocol_core::Timestamp;

use super::Engine;
use crate::error::Result;
use crate::rows::{Rows, Writes};
use crate::store::Policies;
use crate::types::StoredPolicy;

/// Rows removed by one transaction.
const CLEAN_BATCH: usize = 1_000;

#[async_trait::async_trait]
impl<R: Rows> Policies for Engine<R> {
    async fn policy(&self, domain: &str) -> Result<Option<StoredPolicy>> {
        self.rows.policy(domain).await
    }

    async fn put_policy(&self, policy: &StoredPolicy) -> Result<()> {
        let mut tries = 0;
        loop {
            let writes = Writes { policies: vec![policy.clone()], ..Writes::default() };
            if self.apply("put_policy", writes, &mut tries).await? {
                return Ok(());
            }
        }
    }

    async fn policies_due(&self, now: Timestamp, limit: usize) -> Result<Vec<StoredPolicy>> {
        self.rows.policies_due(now, limit).await
    }

    async fn clean_policies(&self, before: Timestamp) -> Result<u64> {
        let mut cleaned = 0;
        let mut tries = 0;
        loop {
            let gone = self.rows.policies_expired(before, CLEAN_BATCH).await?;
            if gone.is_empty() {
                return Ok(cleaned);
            }
            let count = gone.len() as u64;
            let writes = Writes { policies_gone: gone, ..Writes::default() };
            if self.apply("clean_policies", writes, &mut tries).await? {
                cleaned += count;
            }
        }
    }
}
