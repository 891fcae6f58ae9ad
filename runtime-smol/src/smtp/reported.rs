//! Reports that arrive for somebody here and are about messages of ours. They are delivered like any other mail;
//! what they prove is written with their acceptance.

use std::collections::BTreeSet;
use std::ops::Range;

use protocol_smtp::reported::{Outcome, Report, ReportKind, Returned, Told, locate, outcomes, read};
use protocol_smtp::server::{Refusal, Service};
use storage::{
    Accept, DeliveryRecord, Error, JobEvent, JobId, MessageId, OrgId, RecipientState, SuppressionChange,
    SuppressionSource,
};

use super::accept::storage_failed;
use super::bodies::Form;
use super::canonical_text;
use super::session::Connection;
use super::transaction::Transaction;
use crate::logging;
use crate::metrics::METRICS;
use crate::reported::proved;

/// Records of reports that are kept of one recipient of one job.
pub const REPORTS_MAX: usize = 10;

impl Connection {
    /// Adds to an acceptance what the message proves about messages of ours, if it is a report: from another server,
    /// and, for a notification of delivery, from nobody (RFC 3464 §2). That it is none is no fault of its sender, of
    /// whom it matters for a complaint without an envelope identifier whether he is known.
    pub(super) async fn note_report(
        &self,
        transaction: &Transaction,
        form: &Form,
        sender_is_known: bool,
        accept: &mut Accept,
    ) -> Result<(), Refusal> {
        if self.service != Service::Transfer {
            return Ok(());
        }
        let from_nobody = transaction.sender.is_empty();
        let Some((report, returned)) = report_in(form, from_nobody).await? else { return Ok(()) };
        let mut about = match report.envelope_id() {
            Some(envid) => proved(&self.app.storage, envid).await.map_err(storage_failed)?,
            None => None,
        };
        if about.is_none() && sender_is_known && matches!(report, Report::Feedback(_)) {
            about = self.traced(&returned).await.map_err(storage_failed)?;
        }
        let Some((job, org)) = about else {
            tracing::debug!(peer = %self.peer, "a report about a message that is not known to be ours");
            return Ok(());
        };
        let records = match self.app.storage.job(job).await {
            Ok((_, records)) => records,
            // It was so long ago that nothing is kept of it.
            Err(Error::NotFound) => return Ok(()),
            Err(error) => return Err(storage_failed(error)),
        };
        let sent = attempted(&records);
        for outcome in outcomes(&report, &sent) {
            let Some(address) = sent.get(outcome.recipient) else { continue };
            self.note_outcome((job, org), address, &outcome, &records, accept);
        }
        Ok(())
    }

    /// The job of a returned message that bears our own name for it, which only those know who got it, and the
    /// organisation of its author. Most who report complaints return the message and know no envelope identifier
    /// (RFC 5965 §3.2). Where it went to several, each of them could complain for the others: then it is of none.
    async fn traced(&self, returned: &Returned) -> storage::Result<Option<(JobId, OrgId)>> {
        let (store, own) = (self.app.storage.store(), &self.app.config.server.hostname);
        let mut ours = returned.traces.iter().filter(|trace| trace.by.eq_ignore_ascii_case(own));
        let Some(message) = ours.find_map(|trace| MessageId::parse(&trace.id)) else { return Ok(None) };
        let org = match &returned.author {
            Some(domain) => match store.domain_lately(domain).await {
                Ok(domain) => domain.org,
                Err(Error::NotFound) => return Ok(None),
                Err(error) => return Err(error),
            },
            None => return Ok(None),
        };
        let records = store.timeline(message).await?;
        // A message's first job has its name: without it the records are of the jobs of one with a name close by.
        if !records.iter().any(|(job, _)| *job == JobId::of(message, 0)) {
            return Ok(None);
        }
        let attempts = records.iter().filter(|(_, record)| record.event == JobEvent::Attempted);
        let sent: BTreeSet<(JobId, &str)> =
            attempts.map(|(job, record)| (*job, &*record.recipient)).collect();
        Ok(sent.first().filter(|_| sent.len() == 1).map(|(job, _)| (*job, org)))
    }

    /// Adds that a sender who is known wrote to somebody here: its address is alive and wants to hear from them, and
    /// what held their mail back by itself goes (SPEC section 6).
    pub(super) fn note_reply(&self, transaction: &Transaction, accept: &mut Accept) {
        if self.service != Service::Transfer || transaction.sender.is_empty() {
            return;
        }
        let address = canonical_text(&transaction.sender);
        let orgs: BTreeSet<OrgId> = accept.deliveries.iter().map(|delivery| delivery.org).collect();
        let replied = |org| (org, SuppressionChange::Replied { address: address.clone() });
        accept.suppressions.extend(orgs.into_iter().map(replied));
    }

    fn note_outcome(
        &self,
        (job, org): (JobId, OrgId),
        address: &str,
        outcome: &Outcome,
        records: &[DeliveryRecord],
        accept: &mut Accept,
    ) {
        let now = self.app.storage.store_now();
        METRICS.reported.add(outcome.told.name());
        tracing::info!(
            event = outcome.told.name(),
            %job,
            recipient = %logging::address(address),
            host = outcome.host.as_deref().map(|host| logging::peer(host.as_bytes())).unwrap_or_default(),
            reply = %logging::peer(outcome.reply.as_bytes()),
            suppressed = outcome.suppress.is_some(),
            "reported by another server"
        );
        if let Some(suppress) = outcome.suppress {
            let source = match outcome.told {
                Told::Complained => SuppressionSource::Complaint,
                _ => SuppressionSource::Bounce,
            };
            let change = SuppressionChange::Suppress {
                address: canonical_text(address),
                reason: outcome.reply.clone(),
                source,
                expires: suppress.lasts.map(|lasts| now + lasts),
            };
            accept.suppressions.push((org, change));
        }
        let known = records.iter().filter(|record| record.recipient == address && is_report(record)).count();
        if known < REPORTS_MAX {
            accept.events.push((job, record(address, outcome, records, now.0)));
        }
    }
}

/// The report that a message is, if it is one, and what it returns.
async fn report_in(form: &Form, from_nobody: bool) -> Result<Option<(Report, Returned)>, Refusal> {
    let Ok(located) = locate(&form.structure) else { return Ok(None) };
    if located.kind == ReportKind::Delivery && !from_nobody {
        return Ok(None);
    }
    let octets = async |range: &Range<u64>| {
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        form.spool.read(range.start, length).await.map_err(storage_failed)
    };
    let (status, returned) = (octets(&located.status).await?, octets(&located.returned).await?);
    match read(&located, &status, &returned) {
        Ok(report) => Ok(Some((report, Returned::read(&located, &returned)))),
        Err(why) => {
            tracing::debug!(%why, "a message that looks like a report");
            Ok(None)
        }
    }
}

/// The recipients for whom a job was tried, each once.
fn attempted(records: &[DeliveryRecord]) -> Vec<&str> {
    let mut sent: Vec<&str> = Vec::new();
    for record in records.iter().filter(|record| record.event == JobEvent::Attempted) {
        if !record.recipient.is_empty() && !sent.contains(&&*record.recipient) {
            sent.push(&record.recipient);
        }
    }
    sent
}

fn is_report(record: &DeliveryRecord) -> bool {
    matches!(record.event, JobEvent::Reported | JobEvent::Complained)
}

fn record(address: &str, outcome: &Outcome, records: &[DeliveryRecord], at_ms: i64) -> DeliveryRecord {
    let (state, event) = match outcome.told {
        Told::Bounced => (RecipientState::Bounced, JobEvent::Reported),
        Told::Delayed => (RecipientState::Pending, JobEvent::Reported),
        Told::Delivered | Told::Relayed => (RecipientState::Delivered, JobEvent::Reported),
        Told::Complained => (RecipientState::Delivered, JobEvent::Complained),
    };
    DeliveryRecord {
        recipient: address.to_owned(),
        state,
        host: outcome.host.clone(),
        reply: outcome.reply.clone(),
        tls: String::new(),
        attempt: records.iter().map(|record| record.attempt).max().unwrap_or(0),
        in_doubt: false,
        at_ms,
        event,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(recipient: &str, event: JobEvent) -> DeliveryRecord {
        let outcome = Outcome {
            recipient: 0,
            told: Told::Delivered,
            reply: "250 2.0.0 ok".into(),
            host: None,
            suppress: None,
        };
        DeliveryRecord { event, attempt: 3, ..record(recipient, &outcome, &[], 1) }
    }

    #[test]
    fn a_report_is_about_recipients_that_were_tried() {
        let records = [
            attempt("", JobEvent::Queued),
            attempt("a@mx.test", JobEvent::Attempted),
            attempt("b@mx.test", JobEvent::Attempted),
            attempt("a@mx.test", JobEvent::Attempted),
            attempt("c@mx.test", JobEvent::Cancelled),
        ];
        assert_eq!(attempted(&records), ["a@mx.test", "b@mx.test"]);
    }

    #[test]
    fn what_is_told_is_written_under_its_stable_name() {
        let told = |told| {
            let outcome = Outcome { recipient: 0, told, reply: "x".into(), host: None, suppress: None };
            let record = record("a@mx.test", &outcome, &[attempt("a@mx.test", JobEvent::Attempted)], 9);
            assert_eq!((record.attempt, record.at_ms, record.reply.as_str()), (3, 9, "x"));
            (record.event, record.state)
        };
        assert_eq!(told(Told::Bounced), (JobEvent::Reported, RecipientState::Bounced));
        assert_eq!(told(Told::Delayed), (JobEvent::Reported, RecipientState::Pending));
        assert_eq!(told(Told::Relayed), (JobEvent::Reported, RecipientState::Delivered));
        assert_eq!(told(Told::Delivered), (JobEvent::Reported, RecipientState::Delivered));
        assert_eq!(told(Told::Complained), (JobEvent::Complained, RecipientState::Delivered));
    }
}
