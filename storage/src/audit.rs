//! The audit log: who did what to which thing. Kept for each organisation, and for the installation as a whole.
//!
//! An entry is durable before what it tells of is done, so that nothing is done without one; afterwards it says what
//! came of it. One that still says [`AuditOutcome::Begun`] is about something that was cut short. No entry holds a secret.

use std::cmp::Reverse;

use protocol_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::millis;
use crate::error::Result;
use crate::facade::Storage;
use crate::types::{ApiKeyId, AuditId, Id, MailboxId, OrgId};

/// How long an entry is kept.
pub const AUDIT_KEPT_DAYS: i64 = 400;
const DAY_MS: i64 = 86_400_000;

/// Who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// Whoever may use the command line on this machine.
    CommandLine,
    /// The bearer of a key.
    Key(ApiKeyId),
    /// The owner of a mailbox, by its password.
    Mailbox(MailboxId),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditOutcome {
    /// It was begun, and nothing is known of its end.
    Begun,
    /// It was done.
    Done,
    /// It was refused or failed, with this code.
    Refused(String),
}

/// Where an entry stands: the newest first, in an organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditPlace {
    /// When.
    pub at: Timestamp,
    /// Its ID.
    pub id: AuditId,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    /// Its ID.
    pub id: AuditId,
    /// In whose log; none: the installation's.
    pub org: Option<OrgId>,
    /// When it was begun.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What, by a name of ours such as `mailbox create`.
    pub action: String,
    /// To which thing: an address, a domain, an ID; empty when there is none yet.
    pub target: String,
    /// What was named beside it, without values: `password`, `disabled`.
    pub named: Vec<String>,
    /// What came of it.
    pub outcome: AuditOutcome,
}

impl AuditEntry {
    /// Its place.
    pub fn place(&self) -> Reverse<AuditPlace> {
        Reverse(AuditPlace { at: self.at, id: self.id })
    }

    /// Whether it is kept no longer.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.0.saturating_sub(self.at.0) > AUDIT_KEPT_DAYS * DAY_MS
    }
}

/// What is about to be done.
#[derive(Clone, Debug)]
pub struct Deed {
    /// Who.
    pub actor: Actor,
    /// As in [`AuditEntry`].
    pub action: String,
    /// As in [`AuditEntry`].
    pub target: String,
    /// As in [`AuditEntry`].
    pub named: Vec<String>,
}

impl Storage {
    /// Writes down what is about to be done, in these logs; the answer is for [`audit_end`](Storage::audit_end).
    ///
    /// # Errors
    /// Storage's: then it must not be done.
    pub async fn audit_begin(&self, orgs: &[Option<OrgId>], deed: Deed) -> Result<Vec<AuditEntry>> {
        let at = self.store_now();
        let entry = |org: &Option<OrgId>| AuditEntry {
            id: AuditId::random(),
            org: *org,
            at,
            actor: deed.actor,
            action: deed.action.clone(),
            target: deed.target.clone(),
            named: deed.named.clone(),
            outcome: AuditOutcome::Begun,
        };
        let entries: Vec<AuditEntry> = orgs.iter().map(entry).collect();
        self.put_audit(entries.clone()).await?;
        Ok(entries)
    }

    /// Writes down what came of it. It is done or not, whether this can be written or not.
    pub async fn audit_end(&self, mut entries: Vec<AuditEntry>, outcome: AuditOutcome) {
        entries.iter_mut().for_each(|entry| entry.outcome = outcome.clone());
        if let Err(error) = self.put_audit(entries).await {
            tracing::warn!(%error, "the end of an entry of the audit log could not be written down");
        }
    }

    async fn put_audit(&self, entries: Vec<AuditEntry>) -> Result<()> {
        self.durable(async move |inner| {
            for entry in &entries {
                inner.settle(inner.store.put_audit(entry).await)?;
            }
            Ok(())
        })
        .await
    }

    /// Entries of a log behind `after`, the newest first, at most `limit`.
    pub async fn audit(
        &self,
        org: Option<OrgId>,
        after: Option<AuditPlace>,
        limit: usize,
    ) -> Result<Vec<AuditEntry>> {
        let highest = AuditPlace { at: Timestamp(i64::MAX), id: AuditId(Id([u8::MAX; 16])) };
        self.store().audit(org, after.unwrap_or(highest), limit).await
    }
}
