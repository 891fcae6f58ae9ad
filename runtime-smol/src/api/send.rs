//! The one way by which an e-mail is accepted through the API, whatever it was asked by: checked, composed, signed,
//! counted, and made durable together with its key of idempotency. An ID is answered only then.

use std::sync::atomic::Ordering;

use api_message::{Composed, Email, Request, Unique, check_line};
use protocol_core::Timestamp;
use protocol_core::message::{Edit, Flags, Scanner, Structure};
use protocol_smtp::trace::{Received, With};
use storage::{
    Accept, Deliver, DeliveryRecord, EmailOpen, EmailPrivate, EmailRecipient, EmailRecipientKind, Error,
    Idempotency, JOBS_OF_MESSAGE_MAX, JobEvent, JobId, JobRecipient, MessageId, NewEmail, NewJob, Queued,
    RecipientState, Refusal, SpecialUse, Spool,
};
use tracing::{Instrument, Span};

use super::auth::{Caller, Scope};
use super::error::{ApiError, Code};
use super::routes::{self, Route};
use super::templates;
use crate::app::App;
use crate::logging;
use crate::metrics::METRICS;
use crate::signing::sign_spooled;
use crate::smtp::{Copies, Quotas, domain_of, forward};
use crate::telemetry::{self, TARGET};
use crate::wire::{monotonic_now, wall_now};

/// How long a key of idempotency is kept (SPEC section 9).
const IDEMPOTENCY_SECS: i64 = 86_400;

/// A message that is made and signed, with what stands on top of it.
struct Made {
    spool: Spool,
    structure: Structure,
    /// Signatures.
    edit: Edit,
    received: Vec<u8>,
    smtputf8: bool,
    message_id: String,
}

/// Accepts an e-mail. The answer is its ID: that of the first request when an equal one came before under the same
/// key, and then nothing new is sent.
pub async fn send(
    app: &App,
    caller: &Caller,
    request: Request,
    key: Option<String>,
) -> Result<MessageId, ApiError> {
    let span = tracing::info_span!(
        target: TARGET,
        "email.send",
        inbox.org = %caller.org,
        inbox.message = tracing::field::Empty,
        inbox.code = tracing::field::Empty,
    );
    // What came over a WebSocket has no span around it.
    let alone = Span::current().is_disabled();
    let span = telemetry::continues(span, caller.trace.as_deref().filter(|_| alone));
    let outcome = sending(app, caller, request, key).instrument(span.clone()).await;
    match &outcome {
        Ok(id) => span.record("inbox.message", tracing::field::display(id)),
        Err(error) => span.record("inbox.code", error.code.name()),
    };
    outcome
}

async fn sending(
    app: &App,
    caller: &Caller,
    request: Request,
    key: Option<String>,
) -> Result<MessageId, ApiError> {
    caller.needs(Scope::Send)?;
    if let Some(key) = &key {
        if key.is_empty() {
            return Err(ApiError::argument("idempotencyKey", "MISSING", "idempotencyKey: must not be empty"));
        }
        check_line("idempotencyKey", key, api_message::limits::IDEMPOTENCY_KEY_MAX)?;
    }
    let (began, now) = (monotonic_now(), wall_now());
    let fingerprint = request.fingerprint();
    // What was answered before counts, whatever became of its template or its sender's domain meanwhile.
    if let Some(key) = &key
        && let Some(answer) = answered_before(app, caller, key, fingerprint).await?
    {
        return Ok(answer);
    }
    let email = templates::apply(app, caller, request).await?.check(now)?;
    if !caller.may_send_as(&app.storage, &email.from.canonical).await? {
        return Err(ApiError {
            argument: Some("from".into()),
            ..ApiError::new(Code::SenderNotAllowed, "the caller may not send as this address")
        });
    }
    let quotas = quotas(app, &email).await?;
    let routes = routes::find(app, caller, &email.recipients, email.send_at.is_some()).await?;
    let id = MessageId::random();
    // The trace goes on in the queue, and in what webhooks are told, also where this server traces nothing.
    let trace = telemetry::current().or_else(|| caller.trace.clone());
    let letter = Letter { app, caller, id, now, email: &email, routes: &routes, trace };
    let made = letter.make().await?;
    let mut accept = letter.accept(&made);
    let sent = routes.iter().filter(|route| matches!(route, Route::Local { .. } | Route::Queue)).count();
    if let Some(quotas) = &quotas {
        accept.charges = quotas.charges(sent, accept.jobs.len(), app.storage.store_now());
        accept.jobs.iter_mut().for_each(|job| job.counted = quotas.counted());
    }
    accept.idempotency = key.map(|key| Idempotency {
        org: caller.org,
        key,
        fingerprint,
        answer: id.to_string(),
        expires: Timestamp(app.storage.store_now().0 + IDEMPOTENCY_SECS * 1_000),
    });
    let local = accept.deliveries.len();
    match app.storage.accept(&made.spool, accept).await {
        Ok(_) => {}
        Err(Error::Refused(Refusal::Repeated(answer))) => return repeated(&answer),
        Err(error) => return Err(error.into()),
    }
    METRICS.local_deliveries.fetch_add(local as u64, Ordering::Relaxed);
    METRICS.messages_accepted.add("api");
    app.logged.notify(usize::MAX);
    letter.log(&made, began);
    Ok(id)
}

/// The ID that was answered to an equal request under the same key.
async fn answered_before(
    app: &App,
    caller: &Caller,
    key: &str,
    fingerprint: [u8; 32],
) -> Result<Option<MessageId>, ApiError> {
    let storage = &app.storage;
    let answer = storage.answered_before(caller.org, key, fingerprint).await?;
    answer.as_deref().map(repeated).transpose()
}

fn repeated(answer: &str) -> Result<MessageId, ApiError> {
    tracing::info!(id = answer, "the same request came before under its key");
    let id = MessageId::parse(answer);
    id.ok_or_else(|| ApiError::new(Code::Internal, "the server cannot carry out this request"))
}

/// The quotas of the sender's domain, and the one that is about this message alone.
async fn quotas(app: &App, email: &Email) -> Result<Option<Quotas>, ApiError> {
    let quotas = Quotas::of(&app.storage, email.from.canonical.domain()).await?;
    let max = quotas.as_ref().and_then(Quotas::recipients_max);
    match max {
        Some(max) if email.recipients.len() as u64 > max => Err(ApiError::new(
            Code::QuotaExceeded,
            format!("one message of the sender's domain has at most {max} recipients"),
        )),
        _ => Ok(quotas),
    }
}

/// An e-mail on its way to acceptance.
struct Letter<'a> {
    app: &'a App,
    caller: &'a Caller,
    id: MessageId,
    now: Timestamp,
    email: &'a Email,
    routes: &'a [Route],
    trace: Option<String>,
}

impl Letter<'_> {
    /// When it is sent: what its Date and its signatures say.
    fn date(&self) -> Timestamp {
        self.email.send_at.unwrap_or(self.now)
    }

    async fn make(&self) -> Result<Made, ApiError> {
        let unique = Unique { message_id: random()?, boundary: random()? };
        let composed = self.email.clone().compose(self.date(), unique)?;
        let (spool, structure) = self.spooled(&composed).await?;
        let mut edit = Edit::default();
        let domain = self.email.from.canonical.domain();
        // What waits for its time is signed when it is sent.
        if self.email.send_at.is_none()
            && let Some(signer) = self.app.signing.for_author(&self.app.storage, domain).await?
        {
            let length = usize::try_from(structure.root().body_start).unwrap_or(usize::MAX);
            let header = spool.read(0, length).await?;
            edit.prefix = sign_spooled(&signer, &header, &edit, &spool, self.date()).await?;
        }
        let smtputf8 = composed.smtputf8 && structure.flags.has(Flags::HEADER_8BIT);
        Ok(Made {
            spool,
            structure,
            edit,
            received: self.received(),
            smtputf8,
            message_id: composed.message_id,
        })
    }

    async fn spooled(&self, composed: &Composed) -> storage::Result<(Spool, Structure)> {
        let mut spool = self.app.storage.spool_up_to(composed.octets());
        let mut scanner = Scanner::new().with_own_host(&self.app.config.server.hostname);
        for chunk in composed.chunks() {
            scanner.feed(&chunk);
            spool.write(&chunk).await?;
        }
        Ok((spool, scanner.finish()))
    }

    fn received(&self) -> Vec<u8> {
        Received {
            helo: "unknown",
            ptr: None,
            address: None,
            tls: None,
            by: &self.app.config.server.hostname,
            with: With { http: true, tls: self.caller.tls, ..With::default() },
            id: &self.id.to_string(),
            // One recipient is told of in no other's copy, and of Bcc in none.
            recipient: None,
            date: self.now,
        }
        .write()
    }

    /// Everything but quotas and the key.
    fn accept(&self, made: &Made) -> Accept {
        let mut jobs = self.jobs(made);
        let of_email = u16::try_from(jobs.len()).unwrap_or(u16::MAX);
        jobs.extend(self.forwards(made, of_email));
        let prefix = [&made.received[..], &made.edit.prefix].concat();
        let queued = Queued { org: self.caller.org, message: self.id, prefix, skip: Vec::new() };
        Accept {
            sender: self.email.from.wire.clone(),
            recipients: self.email.recipients.iter().map(|r| r.address.wire.clone()).collect(),
            received: self.now,
            deliveries: self.deliveries(made),
            queued: (!jobs.is_empty()).then_some(queued),
            jobs,
            events: self.events(),
            email: Some(self.row(made, of_email)),
            trace: self.trace.clone(),
            ..Accept::default()
        }
    }

    fn deliveries(&self, made: &Made) -> Vec<Deliver> {
        let shared = Copies {
            sender: &self.email.from.wire,
            received: &made.received,
            edit: &made.edit,
            structure: &made.structure,
            folder: SpecialUse::Inbox,
            now: self.now,
        };
        let mut copies: Vec<Deliver> = Vec::new();
        for (recipient, route) in self.email.recipients.iter().zip(self.routes) {
            let Route::Local { mailboxes, check_quota, .. } = route else { continue };
            for mailbox in mailboxes {
                // Several recipients may lead to one mailbox, which gets one copy.
                if !copies.iter().any(|c| c.mailbox == mailbox.id) {
                    copies.push(shared.one(
                        mailbox,
                        &recipient.address.wire,
                        MessageId::random(),
                        *check_quota,
                    ));
                }
            }
        }
        copies
    }

    fn jobs(&self, made: &Made) -> Vec<NewJob> {
        let groups = routes::groups(&self.email.recipients, self.routes);
        let job = |(n, (domain, recipients)): (u16, (&str, Vec<&api_message::Recipient>))| {
            let recipients = recipients.into_iter().map(|r| JobRecipient {
                // Its sender is told by events; a delay is nothing to write a letter about.
                notify: Some("FAILURE".into()),
                ..JobRecipient::new(&r.address.wire)
            });
            let sender = self.email.from.wire.clone();
            NewJob { logged: true, ..self.job(made, n, sender, domain, recipients.collect()) }
        };
        (0..).zip(groups).map(job).collect()
    }

    /// What aliases of ours send on: under a rewritten sender, and told of to nobody, for the recipient that was
    /// asked for has got the message.
    fn forwards(&self, made: &Made, first: u16) -> Vec<NewJob> {
        let mut addresses: Vec<&String> = Vec::new();
        for route in self.routes {
            if let Route::Local { forwarded, .. } = route {
                addresses.extend(forwarded);
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        let host = &self.app.config.server.hostname;
        let sender = forward::rewritten(&self.app.storage, host, &self.email.from.wire, self.now);
        // The last number is that of what no job did.
        let numbers = first..JOBS_OF_MESSAGE_MAX - 1;
        let job = |(n, address): (u16, &String)| {
            let recipients = vec![JobRecipient::new(address)];
            self.job(made, n, sender.clone(), &domain_of(address), recipients)
        };
        numbers.zip(addresses).map(job).collect()
    }

    fn job(
        &self,
        made: &Made,
        n: u16,
        sender: String,
        domain: &str,
        recipients: Vec<JobRecipient>,
    ) -> NewJob {
        // What is due is compared with the store's clock, on whatever node.
        let due = self.app.storage.store_now().max(self.email.send_at.unwrap_or_default());
        NewJob {
            id: JobId::of(self.id, n),
            org: self.caller.org,
            message: self.id,
            size: 0,
            sender,
            domain: domain.to_owned(),
            recipients,
            envid: None,
            ret: None,
            eight_bit: false,
            binary: false,
            smtputf8: made.smtputf8,
            require_tls: self.email.require_tls,
            is_dsn: false,
            created: self.now,
            start: due,
            due,
            deliver_by: None,
            counted: None,
            logged: false,
            trace: self.trace.clone(),
        }
    }

    /// What is told at once: that it was accepted, and of those recipients whose outcome is known.
    fn events(&self) -> Vec<(JobId, DeliveryRecord)> {
        let accepted = DeliveryRecord {
            recipient: String::new(),
            state: RecipientState::Pending,
            host: None,
            reply: String::new(),
            tls: String::new(),
            attempt: 0,
            in_doubt: false,
            at_ms: self.now.0,
            event: JobEvent::Accepted,
        };
        let host = &self.app.config.server.hostname;
        let known = self.email.recipients.iter().zip(self.routes);
        let known = known.flat_map(|(r, route)| routes::records(&r.address.wire, route, host, self.now));
        let no_job = JobId::of(self.id, JOBS_OF_MESSAGE_MAX - 1);
        std::iter::once(accepted).chain(known).map(|record| (no_job, record)).collect()
    }

    fn row(&self, made: &Made, jobs: u16) -> NewEmail {
        let recipient = |r: &api_message::Recipient| EmailRecipient {
            address: r.address.wire.clone(),
            kind: match r.kind {
                api_message::RecipientKind::To => EmailRecipientKind::To,
                api_message::RecipientKind::Cc => EmailRecipientKind::Cc,
                api_message::RecipientKind::Bcc => EmailRecipientKind::Bcc,
            },
        };
        let metadata = self.email.metadata.iter().map(|pair| (pair.name.clone(), pair.value.clone()));
        NewEmail {
            id: self.id,
            org: self.caller.org,
            open: EmailOpen {
                key: self.caller.key.as_ref().map(|key| key.id),
                mailbox: self.caller.mailbox.as_ref().map(|mailbox| mailbox.id),
                sender: self.email.from.wire.clone(),
                recipients: self.email.recipients.iter().map(recipient).collect(),
                created: self.now,
                send_at: self.email.send_at,
                jobs,
                size: made.edit.new_len(made.spool.len()),
                message_id: made.message_id.clone(),
                test: self.caller.is_test(),
                expires: self.date() + self.app.config.outbound.delivery_retention,
                trace: self.trace.clone(),
            },
            private: EmailPrivate {
                subject: self.email.subject.clone(),
                tags: self.email.tags.clone(),
                metadata: metadata.collect(),
            },
        }
    }

    fn log(&self, made: &Made, began: protocol_core::Instant) {
        let to: Vec<String> =
            self.email.recipients.iter().map(|r| logging::address(&r.address.wire)).collect();
        tracing::info!(
            id = %self.id,
            key = self.caller.key.as_ref().map(|key| key.id.to_string()),
            from = %logging::address(&self.email.from.wire),
            to = %logging::peer(to.join(",").as_bytes()),
            size = made.spool.len(),
            test = self.caller.is_test(),
            duration_ms = monotonic_now().since(began).as_millis() as u64,
            "accepted"
        );
    }
}

fn random<const N: usize>() -> Result<[u8; N], ApiError> {
    let mut octets = [0; N];
    match getrandom::fill(&mut octets) {
        Ok(()) => Ok(octets),
        Err(_) => {
            Err(ApiError::new(Code::Unavailable, "the request cannot be carried out now; try again later"))
        }
    }
}
