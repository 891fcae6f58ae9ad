//! From the last octet of a message to its durable acceptance: what is checked, what is put on top, where it
//! goes. The 250 is written only when `Storage::accept` has returned.

use std::sync::atomic::Ordering;

use protocol_core::Timestamp;
use protocol_core::address::Canonical;
use protocol_core::auth::Iprev;
use protocol_core::message::{Edit, Flags as Noticed, Structure};
use protocol_smtp::limits::OWN_RECEIVED_LOOP;
use protocol_smtp::params::Body;
use protocol_smtp::policy::Place;
use protocol_smtp::server::{Refusal, ServerSession, Service};
use protocol_smtp::srs;
use protocol_smtp::trace::{self, Received, With};
use storage::{
    Accept, Deliver, FolderTarget, JobId, JobRecipient, Mailbox, MessageId, NamedFlags, NewJob, OrgId,
    Queued, SpecialUse,
};

use super::bodies::{Form, Forms};
use super::header::header_of;
use super::idempotency;
use super::limits::Quotas;
use super::origin::Origin;
use super::repeats::fingerprint;
use super::session::Connection;
use super::transaction::{Incoming, Transaction};
use crate::config::is_hostname;
use crate::logging;
use crate::metrics::METRICS;
use crate::wire::{monotonic_now, wall_now};

const DAY_SECS: i64 = 86_400;

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
        let outcome = self.try_store(&transaction, origin, incoming, id, session).await;
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
        let accept = Accept {
            sender: transaction.sender.clone(),
            recipients: transaction.recipients.iter().map(|r| r.given.clone()).collect(),
            received: now,
            deliveries: deliveries(transaction, id, structure, &edit, &received, judged.place, now),
            ..Accept::default()
        };
        let (queued_form, queued_edit) = &for_queue;
        let mut accept =
            self.with_jobs(accept, transaction, id, &queued_form.structure, queued_edit, &received, now);
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
        let (local, queued) = (accept.deliveries.len(), !accept.jobs.is_empty());
        match self.app.storage.accept_forms(spool, &queued_form.spool, accept).await {
            Ok(_) => {}
            Err(storage::Error::Refused(storage::Refusal::Repeated(first))) => {
                return MessageId::parse(&first).ok_or(Refusal::StorageFailed);
            }
            Err(error) => return Err(storage_failed(error)),
        }
        METRICS.local_deliveries.fetch_add(local as u64, Ordering::Relaxed);
        if self.app.repeats.is_repeat(transaction, &hasher, monotonic_now()) {
            // The client did not hear our 250, or sends twice on purpose: both are delivered, and counted.
            METRICS.messages_repeated.fetch_add(1, Ordering::Relaxed);
            tracing::info!(%id, "the same message for the same recipients was accepted minutes ago");
        }
        if queued {
            self.app.queued.notify(usize::MAX);
        }
        Ok(id)
    }

    /// A bounce that comes back to a sender we rewrote goes on to the original sender.
    pub(super) async fn bounce_target(&self, given: &str) -> Option<(String, OrgId)> {
        let is_bounce = self.transaction.as_ref().is_some_and(|t| t.sender.is_empty());
        let (local, domain) = given.rsplit_once('@')?;
        if !is_bounce || !domain.eq_ignore_ascii_case(&self.app.config.server.hostname) {
            return None;
        }
        let tag = |parts: &[&[u8]]| self.app.storage.keys().tag("srs", parts);
        let target = srs::reverse(local, wall_now().secs() / DAY_SECS, &tag)?;
        let org = self.app.storage.store().list_orgs().await.ok()?.first()?.id;
        Some((target, org))
    }

    /// The organisation whose alias sends mail on from here.
    pub(super) async fn forwarder(&self, given: &str) -> Option<(String, OrgId)> {
        let address = Canonical::parse(given).ok()?;
        let domain = self.app.storage.store().domain(address.domain()).await.ok()?;
        Some((given.to_owned(), domain.org))
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
        let due = self.app.storage.store_now();
        let counted = transaction.quotas.as_ref().and_then(Quotas::counted);
        for (n, ((org, domain, forwarded), group)) in (0..).zip(transaction.remote_groups()) {
            let recipients = group.iter().map(|(recipient, remote)| JobRecipient {
                notify: recipient.notify.clone(),
                orcpt: recipient.orcpt.clone(),
                ..JobRecipient::new(&remote.address)
            });
            accept.jobs.push(NewJob {
                id: JobId::of(id, n),
                org,
                message: id,
                size: 0,
                sender: if forwarded {
                    self.forwarded_sender(&transaction.sender, now)
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
                deliver_by: None,
                counted: counted.clone(),
                logged: false,
            });
            let prefix = [received, &edit.prefix].concat();
            accept.queued = Some(Queued { org, message: id, prefix, skip: edit.skip.clone() });
        }
        accept
    }

    fn forwarded_sender(&self, sender: &str, now: Timestamp) -> String {
        let tag = |parts: &[&[u8]]| self.app.storage.keys().tag("srs", parts);
        srs::forward(sender, &self.app.config.server.hostname, now.secs() / DAY_SECS, &tag)
    }

    fn log_accepted(&self, transaction: &Transaction, id: MessageId, octets: u64) {
        METRICS.messages_accepted.add(match self.service {
            Service::Transfer => "transfer",
            Service::Submission | Service::Submissions => "submission",
            Service::Lmtp => "lmtp",
        });
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

/// Each mailbox's own copy: its trace fields, and the structure as it is with them on top.
fn deliveries(
    transaction: &Transaction,
    id: MessageId,
    structure: &Structure,
    edit: &Edit,
    received: &[u8],
    place: Place,
    now: Timestamp,
) -> Vec<Deliver> {
    let folder = match place {
        Place::Inbox => SpecialUse::Inbox,
        Place::Junk => SpecialUse::Junk,
    };
    let each = transaction.deliveries().into_iter().enumerate().map(|(n, (mailbox, recipient))| {
        let copy = Copy {
            sender: &transaction.sender,
            recipient: &recipient.given,
            received,
            edit,
            structure,
            folder,
            now,
            check_quota: !recipient.role,
        };
        copy.of(mailbox, if n == 0 { id } else { MessageId::random() })
    });
    each.collect()
}

/// What the copies of one message for one recipient's mailboxes are made of.
pub(crate) struct Copy<'a> {
    /// Reverse-path without brackets.
    pub sender: &'a str,
    /// The address that led there.
    pub recipient: &'a str,
    /// Received and what stands with it.
    pub received: &'a [u8],
    /// What else changes.
    pub edit: &'a Edit,
    /// Of the message without all that.
    pub structure: &'a Structure,
    /// Where it goes.
    pub folder: SpecialUse,
    /// When.
    pub now: Timestamp,
    /// The mailbox's quota counts.
    pub check_quota: bool,
}

impl Copy<'_> {
    /// One mailbox's own: its trace fields, and the structure as it is with them on top.
    pub fn of(&self, mailbox: &Mailbox, message: MessageId) -> Deliver {
        let mut edit = self.edit.clone();
        edit.prefix = [
            trace::return_path(self.sender),
            trace::delivered_to(self.recipient),
            self.received.to_vec(),
            edit.prefix,
        ]
        .concat();
        let mut structure = self.structure.clone();
        structure.apply(&edit);
        Deliver {
            org: mailbox.org,
            mailbox: mailbox.id,
            message,
            prefix: edit.prefix,
            skip: edit.skip,
            folder: FolderTarget::Use(self.folder),
            flags: NamedFlags::default(),
            internal_date: self.now,
            meta: structure.encode(),
            check_quota: self.check_quota,
        }
    }
}

/// What storage's refusal means to the client.
pub(super) fn storage_failed(error: storage::Error) -> Refusal {
    match error {
        storage::Error::Refused(storage::Refusal::OverQuota) => Refusal::OverQuota,
        storage::Error::Refused(storage::Refusal::Quota(_)) => Refusal::SendQuota,
        storage::Error::Refused(storage::Refusal::IdempotencyConflict) => Refusal::IdempotencyConflict,
        error => {
            tracing::error!(%error, "a message could not be stored");
            Refusal::StorageFailed
        }
    }
}
