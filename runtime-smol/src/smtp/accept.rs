//! From the last octet of a message to its durable acceptance: what is checked, what is put on top, where it
//! goes. The 250 is written only when `Storage::accept` has returned.

use std::sync::atomic::Ordering;

use protocol_core::Timestamp;
use protocol_core::address::Canonical;
use protocol_core::auth::Iprev;
use protocol_core::message::from::from_addresses;
use protocol_core::message::{Edit, Flags as Noticed, Structure};
use protocol_core::time::Duration;
use protocol_smtp::limits::OWN_RECEIVED_LOOP;
use protocol_smtp::params::Body;
use protocol_smtp::policy::Place;
use protocol_smtp::queue::DeliverBy;
use protocol_smtp::server::{Refusal, ServerSession, Service};
use protocol_smtp::trace::{Received, With};
use storage::{Accept, Deliver, JobId, JobRecipient, MessageId, NewJob, OrgId, Queued, SpecialUse};
use tracing::Instrument;

use super::bodies::{Form, Forms};
use super::copies::Copies;
use super::forward;
use super::header::{header_of, written};
use super::idempotency;
use super::limits::Quotas;
use super::origin::Origin;
use super::repeats::fingerprint;
use super::session::Connection;
use super::transaction::{Incoming, Transaction};
use crate::config::is_hostname;
use crate::dav::imip;
use crate::logging;
use crate::metrics::METRICS;
use crate::wire::{monotonic_now, wall_now};

impl Connection {
    /// Makes a whole message durable; the answer is the queue ID that the client is shown.
    pub(super) async fn store(
        &self,
        mut transaction: Transaction,
        iprev: Option<Iprev>,
        octets: u64,
        session: &ServerSession,
    ) -> Result<String, Refusal> {
        let Some(incoming) = transaction.incoming.take() else { return Err(Refusal::StorageFailed) };
        let id = MessageId::random();
        let origin = (std::mem::take(&mut transaction.origin), iprev);
        let span = transaction.span.clone();
        let storing = self.try_store(&transaction, origin, incoming, id, session);
        let outcome = storing.instrument(span.clone()).await;
        span.record("inbox.octets", octets);
        match &outcome {
            Ok(shown) => span.record("inbox.message", tracing::field::display(shown)),
            Err(why) => span.record("inbox.reply", why.code()),
        };
        match &outcome {
            Ok(shown) if *shown == id => self.log_accepted(&transaction, id, octets),
            Ok(first) => tracing::info!(id = %first, "the same message was accepted before under its key"),
            Err(why) => self.log_refusal(&transaction.sender, None, why),
        }
        outcome.map(|shown| shown.to_string())
    }

    /// The answer is the message's ID; that of an earlier one, when it was the same under the same key of idempotency.
    async fn try_store(
        &self,
        transaction: &Transaction,
        (mut origin, iprev): (Origin, Option<Iprev>),
        incoming: Incoming,
        id: MessageId,
        session: &ServerSession,
    ) -> Result<MessageId, Refusal> {
        let (app, submitted) = (&self.app, self.service.is_submission());
        let own_host = &app.config.server.hostname;
        let hasher = incoming.hasher.clone();
        let forms = Forms::make(incoming, transaction.body, submitted, own_host, &app.storage).await?;
        let Form { spool, structure } = &forms.delivered;
        if structure.own_received >= OWN_RECEIVED_LOOP {
            return Err(Refusal::Loop);
        }
        let now = wall_now();
        let original = forms.queued.as_ref().unwrap_or(&forms.delivered);
        let header = header_of(original).await?;
        let author = self.judge_authors(transaction, &header).await?;
        let judged =
            self.judge_message(transaction, &mut origin, iprev.as_ref(), &original.spool, &header, session);
        let judged = judged.await?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| Refusal::StorageFailed)?;
        let edit = self.edit(&forms.delivered, &judged, &author, now, random).await?;
        let for_queue = match &forms.queued {
            Some(form) => (form, self.edit(form, &judged, &author, now, random).await?),
            None => (&forms.delivered, edit.clone()),
        };
        let ptr = iprev.as_ref().and_then(|iprev| iprev.name.as_deref()).filter(|name| is_hostname(name));
        let received = [judged.fields.clone(), self.received(transaction, ptr, id, session, now)].concat();
        let folder = match judged.place {
            Place::Inbox => SpecialUse::Inbox,
            Place::Junk => SpecialUse::Junk,
        };
        let (sender, received) = (&transaction.sender, &received);
        let copies = Copies { sender, received, edit: &edit, structure, folder, now };
        let accept = Accept {
            sender: transaction.sender.clone(),
            recipients: transaction.recipients.iter().map(|r| r.given.clone()).collect(),
            received: now,
            deliveries: deliveries(transaction, id, &copies),
            trace: transaction.trace(),
            ..Accept::default()
        };
        let (queued_form, queued_edit) = &for_queue;
        let mut accept =
            self.with_jobs(accept, transaction, id, &queued_form.structure, queued_edit, received, now);
        if let Some(quotas) = &transaction.quotas {
            let (recipients, jobs) = (transaction.recipients.len(), accept.jobs.len());
            accept.charges = quotas.charges(recipients, jobs, self.app.storage.store_now());
        }
        if let Some(account) = &self.account
            && let Some(key) = idempotency::key_of(&header)?
        {
            let (print, at) = (fingerprint(transaction, &hasher), self.app.storage.store_now());
            accept.idempotency = Some(idempotency::promise(account.org, key, print, id, at));
        }
        let is_known = judged.sender_is_known && judged.place == Place::Inbox;
        self.note_report(transaction, &forms.delivered, is_known, &mut accept).await?;
        if is_known {
            self.note_reply(transaction, &mut accept);
        }
        let told = match is_known {
            true => self.success_notice(transaction, &header, now).await.map_err(storage_failed)?,
            false => None,
        };
        let local = accept.deliveries.len();
        let logged = accept.deliveries.iter().any(|copy| copy.told.is_some());
        match self.app.storage.accept_with(spool, &queued_form.spool, accept, told).await {
            Ok(_) => {}
            Err(storage::Error::Refused(storage::Refusal::Repeated(first))) => {
                return MessageId::parse(&first).ok_or(Refusal::StorageFailed);
            }
            Err(error) => return Err(storage_failed(error)),
        }
        METRICS.local_deliveries.fetch_add(local as u64, Ordering::Relaxed);
        if judged.place == Place::Inbox
            && let Some(from) = self.known_author(&header, judged.author)
        {
            let mailboxes =
                transaction.deliveries().into_iter().map(|(mailbox, _)| mailbox.clone()).collect();
            // It is accepted: what its calendar part comes to is no reason to say anything else.
            if let Ok(Some(text)) = imip::message_in(spool, structure).await {
                imip::take(&self.app, mailboxes, text, from.to_string());
            }
        }
        if self.app.repeats.is_repeat(transaction, &hasher, monotonic_now()) {
            // The client did not hear our 250, or sends twice on purpose: both are delivered, and counted.
            METRICS.messages_repeated.fetch_add(1, Ordering::Relaxed);
            tracing::info!(%id, "the same message for the same recipients was accepted minutes ago");
        }
        if logged {
            self.app.logged.notify(usize::MAX);
        }
        Ok(id)
    }

    /// The one author of a message: of what is submitted the account has been checked to be theirs.
    fn known_author(&self, header: &[u8], proved: Option<Canonical>) -> Option<Canonical> {
        if self.account.is_none() {
            return proved;
        }
        match from_addresses(header, false).ok()?.as_slice() {
            [author] => written(author),
            _ => None,
        }
    }

    /// A bounce that comes back to a sender we rewrote goes on to the original sender.
    pub(super) async fn bounce_target(&self, given: &str) -> Option<(String, OrgId)> {
        self.transaction.as_ref().filter(|t| t.sender.is_empty())?;
        let (storage, host) = (&self.app.storage, &self.app.config.server.hostname);
        let target = forward::original(storage, host, given, wall_now())?;
        let org = storage.store().list_orgs().await.ok()?.first()?.id;
        Some((target, org))
    }

    /// The organisation whose alias sends mail on from here.
    pub(super) async fn forwarder(&self, given: &str) -> Option<(String, OrgId)> {
        Some((given.to_owned(), forward::owner(&self.app.storage, given).await?))
    }

    fn received(
        &self,
        transaction: &Transaction,
        ptr: Option<&str>,
        id: MessageId,
        session: &ServerSession,
        now: Timestamp,
    ) -> Vec<u8> {
        let submitted = self.service.is_submission();
        let helo = session.client_name().filter(|name| !submitted || !name.starts_with('['));
        let address = self.peer.ip().filter(|_| !submitted);
        let recipient = match transaction.recipients.as_slice() {
            [one] => Some(one.given.as_str()),
            _ => None,
        };
        Received {
            helo: helo.unwrap_or("unknown"),
            ptr,
            address,
            tls: self.tls.as_deref(),
            by: &self.app.config.server.hostname,
            with: With {
                lmtp: self.service == Service::Lmtp,
                extended: session.is_extended(),
                smtputf8: transaction.smtputf8,
                tls: session.is_secure(),
                auth: session.account().is_some(),
                http: false,
            },
            id: &id.to_string(),
            recipient,
            date: now,
        }
        .write()
    }

    #[allow(clippy::too_many_arguments)]
    fn with_jobs(
        &self,
        mut accept: Accept,
        transaction: &Transaction,
        id: MessageId,
        structure: &Structure,
        edit: &Edit,
        received: &[u8],
        now: Timestamp,
    ) -> Accept {
        // What is due is compared with the store's clock, on whatever node.
        let wait = transaction.hold.as_ref().map_or(Duration::ZERO, |hold| hold.release.since(now));
        let due = self.app.storage.store_now() + wait;
        let deliver_by = transaction.by.map(|by| DeliverBy::new(by, due));
        let counted = transaction.quotas.as_ref().and_then(Quotas::counted);
        for (n, ((org, domain, forwarded), group)) in (0..).zip(transaction.groups()) {
            let recipients = group.iter().map(|(recipient, address)| JobRecipient {
                notify: recipient.notify.clone(),
                orcpt: recipient.orcpt.clone(),
                ..JobRecipient::new(*address)
            });
            accept.jobs.push(NewJob {
                id: JobId::of(id, n),
                org,
                message: id,
                size: 0,
                sender: if forwarded {
                    let host = &self.app.config.server.hostname;
                    forward::rewritten(&self.app.storage, host, &transaction.sender, now)
                } else {
                    transaction.sender.clone()
                },
                domain,
                recipients: recipients.collect(),
                envid: transaction.envid.clone(),
                ret: transaction.ret.map(str::to_owned),
                // What was declared and is not there needs nothing of the next server.
                eight_bit: structure.flags.has(Noticed::BODY_8BIT)
                    || (transaction.body != Body::SevenBit && structure.flags.has(Noticed::HEADER_8BIT)),
                binary: transaction.body == Body::Binary,
                smtputf8: transaction.smtputf8 && structure.flags.has(Noticed::HEADER_8BIT),
                require_tls: transaction.require_tls,
                is_dsn: false,
                created: now,
                start: due,
                due,
                deliver_by: deliver_by.map(|by| storage::DeliverBy {
                    at_ms: by.at.0,
                    give_up: by.give_up,
                    trace: by.trace,
                }),
                counted: counted.clone(),
                logged: false,
                trace: transaction.trace(),
            });
            let prefix = [received, &edit.prefix].concat();
            accept.queued = Some(Queued { org, message: id, prefix, skip: edit.skip.clone() });
        }
        accept
    }

    fn log_accepted(&self, transaction: &Transaction, id: MessageId, octets: u64) {
        METRICS.messages_accepted.add(self.service_name());
        let to: Vec<String> = transaction.recipients.iter().map(|r| logging::address(&r.given)).collect();
        tracing::info!(
            id = %id,
            peer = %self.peer,
            from = %logging::address(&transaction.sender),
            to = %logging::peer(to.join(",").as_bytes()),
            size = octets,
            tls = self.tls.as_deref().unwrap_or("none"),
            duration_ms = monotonic_now().since(self.began).as_millis() as u64,
            "accepted"
        );
    }
}

/// Each mailbox's own copy, the first under the message's own ID.
fn deliveries(transaction: &Transaction, id: MessageId, copies: &Copies<'_>) -> Vec<Deliver> {
    let each = transaction.deliveries().into_iter().enumerate().map(|(n, (mailbox, recipient))| {
        let message = if n == 0 { id } else { MessageId::random() };
        copies.one(mailbox, &recipient.given, message, !recipient.role)
    });
    each.collect()
}

/// What storage's refusal means to the client.
pub(super) fn storage_failed(error: storage::Error) -> Refusal {
    match error {
        storage::Error::Refused(storage::Refusal::OverQuota) => Refusal::OverQuota,
        storage::Error::Refused(storage::Refusal::NoEncryptionKey(why)) => {
            tracing::error!(why, "mail cannot be encrypted to its owner's key, and is not taken");
            Refusal::EncryptionUnavailable
        }
        storage::Error::Refused(storage::Refusal::Quota(_)) => Refusal::SendQuota,
        storage::Error::Refused(storage::Refusal::IdempotencyConflict) => Refusal::IdempotencyConflict,
        error => {
            tracing::error!(%error, "a message could not be stored");
            Refusal::StorageFailed
        }
    }
}
