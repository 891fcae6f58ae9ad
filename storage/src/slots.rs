//! Small rows that many writers change: counters of quotas and rates, suppressions, keys of idempotency.
//!
//! Each is guarded by a revision of its own, also when it is not there yet: who decides by what such a row says
//! writes it, and of two who read the same revision one is told to read again.

use core::cmp::Reverse;

use protocol_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::{ApiKey, Email, EmailPlace, Template, Webhook};
use crate::audit::{AuditEntry, AuditPlace};
use crate::types::{ApiKeyId, MessageId, OrgId, TemplateId, WebhookId};

// ---- suppressions -----------------------------------------------------------------------------------------

/// What a suppression is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum SuppressionScope {
    Address,
    Domain,
}

/// Where a suppression comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SuppressionSource {
    /// Made by hand: only a hand removes it.
    Manual,
    /// A permanent failure that says that there is no such address or domain.
    Bounce,
    /// The recipient complained.
    Complaint,
    /// A first sign that a domain is gone. It suppresses nothing until a second one confirms it.
    Suspicion,
}

/// Which suppression.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SuppressionKey {
    /// For whose mail; none: for everybody's on this installation.
    pub org: Option<OrgId>,
    /// Address or domain.
    pub scope: SuppressionScope,
    /// The canonical address, or the A-label of the domain.
    pub entry: String,
}

/// A row of `suppression`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// Which.
    pub key: SuppressionKey,
    /// One line: the reply, or what an administrator wrote.
    pub reason: String,
    /// Where it comes from.
    pub source: SuppressionSource,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends; none: never.
    pub expires: Option<Timestamp>,
}

impl Suppression {
    /// Whether mail is held back by it now.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.source != SuppressionSource::Suspicion && self.expires.is_none_or(|end| now < end)
    }
}

/// What an attempt, a report or an administrator says about an address or a domain, for one organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SuppressionChange {
    /// Mail to it is held back from now on. A row made by hand, and one that lasts longer, stay.
    Suppress {
        /// Canonical address.
        address: String,
        /// The reply.
        reason: String,
        /// [`SuppressionSource::Bounce`] or [`SuppressionSource::Complaint`].
        source: SuppressionSource,
        /// Its end.
        expires: Option<Timestamp>,
    },
    /// The domain seems to be gone. The second time, at least [`CONFIRM_AFTER_SECS`] after the first, it is
    /// suppressed for [`DOMAIN_LASTS_SECS`].
    SuspectDomain {
        /// A-label.
        domain: String,
        /// What was found.
        reason: String,
    },
    /// A message went through: the address and its domain are alive. What was made by hand stays, and so does a
    /// complaint, which comes after a success and not before it.
    Delivered {
        /// Canonical address.
        address: String,
    },
    /// The person behind the address wrote to us: everything that was not made by hand goes.
    Replied {
        /// Canonical address.
        address: String,
    },
}

/// Between the two signs that a domain is gone (SPEC: six hours).
pub const CONFIRM_AFTER_SECS: i64 = 6 * 3600;
/// How long a domain that is gone stays suppressed.
pub const DOMAIN_LASTS_SECS: i64 = 7 * 86_400;

// ---- counters ---------------------------------------------------------------------------------------------

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CounterKind {
    /// Connections or messages of a source in a window (table `rate_window`).
    Rate,
    /// Recipients or jobs of a domain (table `quota`).
    Quota,
}

/// Which counter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterKey {
    /// What it counts.
    pub kind: CounterKind,
    /// The end of its window, after which it can be removed; [`Timestamp`]'s greatest for one without.
    pub ends: Timestamp,
    /// Whose, and of what: any text without control characters.
    pub name: String,
}

impl CounterKey {
    /// The number of the last entry of an organisation's log.
    pub fn log(org: OrgId) -> CounterKey {
        CounterKey { kind: CounterKind::Quota, ends: Timestamp(i64::MAX), name: format!("log {org}") }
    }

    /// The counter of jobs that are queued for a sender's domain.
    pub fn queued_jobs(domain: &str) -> CounterKey {
        CounterKey { kind: CounterKind::Quota, ends: Timestamp(i64::MAX), name: format!("jobs {domain}") }
    }

    /// The counter of what a sender's domain sent in a fixed UTC window of `secs` that holds `now`.
    pub fn sent(domain: &str, secs: i64, now: Timestamp) -> CounterKey {
        CounterKey::window(CounterKind::Quota, format!("sent {secs} {domain}"), secs, now)
    }

    /// The counter of a fixed window, counted from 1970.
    pub fn window(kind: CounterKind, name: String, secs: i64, now: Timestamp) -> CounterKey {
        let length = secs.max(1).saturating_mul(1_000);
        CounterKey { kind, ends: Timestamp((now.0.div_euclid(length) + 1).saturating_mul(length)), name }
    }
}

/// One conditional addition to a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Which counter.
    pub counter: CounterKey,
    /// How much is added; what is taken back is negative and never refused.
    pub amount: i64,
    /// The counter must not exceed this.
    pub limit: u64,
    /// What a refusal names.
    pub quota: Quota,
}

/// The limits of a sender's domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quota {
    /// `quota_hourly_send_limit`.
    Hourly,
    /// `quota_daily_send_limit`.
    Daily,
    /// `quota_max_queued_jobs`.
    QueuedJobs,
    /// A rate window.
    Rate,
}

impl core::fmt::Display for Quota {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Quota::Hourly => "recipients an hour",
            Quota::Daily => "recipients a day",
            Quota::QueuedJobs => "queued jobs",
            Quota::Rate => "what one source may send",
        })
    }
}

// ---- idempotency ------------------------------------------------------------------------------------------

/// A sender's promise that two requests with the same key are one (SPEC section 9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The key is the organisation's own.
    pub org: OrgId,
    /// As the sender chose it.
    pub key: String,
    /// Of everything that was asked for: another one under the same key is a conflict.
    pub fingerprint: [u8; 32],
    /// What was answered, and is answered again.
    pub answer: String,
    /// From then on the key is free.
    pub expires: Timestamp,
}

// ---- as rows ----------------------------------------------------------------------------------------------

/// The tables of small rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum SlotTable {
    Suppression,
    RateWindow,
    Quota,
    Idempotency,
    ApiKey,
    Email,
    EmailTime,
    Webhook,
    Template,
    Audit,
}

/// The key of a small row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum SlotKey {
    Suppression(SuppressionKey),
    Counter(CounterKey),
    Idempotency(OrgId, String),
    ApiKey(ApiKeyId),
    Email(OrgId, MessageId),
    /// Sorted by organisation, the newest first.
    EmailTime(OrgId, Reverse<EmailPlace>),
    Webhook(OrgId, WebhookId),
    /// Sorted by organisation, template and version.
    Template(OrgId, TemplateId, u32),
    /// Sorted by organisation, the installation's own first, and then the newest first.
    Audit(Option<OrgId>, Reverse<AuditPlace>),
}

impl SlotKey {
    /// Where it is kept.
    pub fn table(&self) -> SlotTable {
        match self {
            SlotKey::Suppression(_) => SlotTable::Suppression,
            SlotKey::Counter(CounterKey { kind: CounterKind::Rate, .. }) => SlotTable::RateWindow,
            SlotKey::Counter(CounterKey { kind: CounterKind::Quota, .. }) => SlotTable::Quota,
            SlotKey::Idempotency(..) => SlotTable::Idempotency,
            SlotKey::ApiKey(_) => SlotTable::ApiKey,
            SlotKey::Email(..) => SlotTable::Email,
            SlotKey::EmailTime(..) => SlotTable::EmailTime,
            SlotKey::Webhook(..) => SlotTable::Webhook,
            SlotKey::Template(..) => SlotTable::Template,
            SlotKey::Audit(..) => SlotTable::Audit,
        }
    }
}

/// What a small row says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Slot {
    Suppression(Suppression),
    Counter(u64),
    Idempotency(Idempotency),
    ApiKey(Box<ApiKey>),
    Email(Box<Email>),
    /// When the e-mail's row can go.
    EmailTime(Timestamp),
    Webhook(Box<Webhook>),
    Template(Box<Template>),
    Audit(Box<AuditEntry>),
}

impl Slot {
    /// Whether it says nothing any more at `now`. Counters know their end by their key.
    pub fn is_over(&self, key: &SlotKey, now: Timestamp) -> bool {
        match (self, key) {
            (_, SlotKey::Counter(counter)) => counter.ends <= now,
            (Slot::Suppression(row), _) => row.expires.is_some_and(|end| end <= now),
            (Slot::Idempotency(row), _) => row.expires <= now,
            (Slot::Email(row), _) => row.open.expires <= now,
            (Slot::EmailTime(expires), _) => *expires <= now,
            (Slot::Audit(entry), _) => entry.is_over(now),
            // One that has ended is still shown, until somebody removes it.
            (Slot::Counter(_) | Slot::ApiKey(_) | Slot::Webhook(_) | Slot::Template(_), _) => false,
        }
    }
}

/// A small row as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRow {
    /// Which.
    pub key: SlotKey,
    /// Never 0: that is the revision of a row that is not there.
    pub rev: u64,
    /// What it says.
    pub slot: Slot,
}

/// A change of a small row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotWrite {
    /// Which.
    pub key: SlotKey,
    /// As it was read; 0: it was not there.
    pub rev: u64,
    /// The new content, under the next revision; none removes the row.
    pub slot: Option<Slot>,
}
