//! From the last octet of a message to its durable acceptance: what is checked, what is put on top, where it
//! goes. The 250 is written only when `Storage::accept` has returned.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_io::Timer;
use futures_lite::future;
use protocol_core::Timestamp;
use protocol_core::address::Canonical;
use protocol_core::message::from::from_addresses;
use protocol_core::message::header::is_authentication_results_by;
use protocol_core::message::{self, AddressList, Edit, Fields, Flags as Noticed, Structure, submission};
use protocol_smtp::limits::OWN_RECEIVED_LOOP;
use protocol_smtp::params::Body;
use protocol_smtp::server::{Refusal, ServerSession, Service};
use protocol_smtp::srs;
use protocol_smtp::trace::{self, Received, With};
use storage::{
    Accept, AddressRow, Deliver, FolderTarget, JobId, JobRecipient, Mailbox, MessageId, NamedFlags, NewJob,
    OrgId, Queued, RecipientState, SpecialUse, Spool,
};

use super::bodies::{Form, Forms};
use super::domain_of;
use super::session::Connection;
use super::transaction::{Incoming, Transaction};
use crate::logging;
use crate::metrics::METRICS;
use crate::signing::sign_spooled;
use crate::wire::{monotonic_now, wall_now};

const DAY_SECS: i64 = 86_400;
/// How long a message waits for the name of the peer's address.
const PTR_LIMIT: Duration = Duration::from_secs(3);

impl Connection {
    /// Makes a whole message durable; the answer is the queue ID that the client is shown.
    pub(super) async fn store(
        &self,
        mut transaction: Transaction,
        octets: u64,
        session: &ServerSession,
    ) -> Result<String, Refusal> {
        let Some(incoming) = transaction.incoming.take() else { return Err(Refusal::StorageFailed) };
        let id = MessageId::random();
        let outcome = self.try_store(&transaction, incoming, id, session).await;
        match &outcome {
            Ok(()) => self.log_accepted(&transaction, id, octets),
            Err(why) => self.log_refusal(&transaction.sender, None, why),
        }
        outcome.map(|()| id.to_string())
    }

    async fn try_store(
        &self,
        transaction: &Transaction,
        incoming: Incoming,
        id: MessageId,
        session: &ServerSession,
    ) -> Result<(), Refusal> {
        let (app, submitted) = (&self.app, self.service.is_submission());
        let own_host = &app.config.server.hostname;
        let hasher = incoming.hasher.clone();
        let forms = Forms::make(incoming, transaction.body, submitted, own_host, &app.storage).await?;
        let Form { spool, structure } = &forms.delivered;
        if structure.own_received >= OWN_RECEIVED_LOOP {
            return Err(Refusal::Loop);
        }
        let now = wall_now();
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| Refusal::StorageFailed)?;
        let edit = self.edit(transaction, &forms.delivered, now, random).await?;
        let for_queue = match &forms.queued {
            Some(form) => (form, self.edit(transaction, form, now, random).await?),
            None => (&forms.delivered, edit.clone()),
        };
        let received = self.received(transaction, id, session, now);
        let accept = Accept {
            sender: transaction.sender.clone(),
            recipients: transaction.recipients.iter().map(|r| r.given.clone()).collect(),
            received: now,
            deliveries: deliveries(transaction, id, structure, &edit, &received, now),
            queued: None,
            jobs: Vec::new(),
        };
        let (queued_form, queued_edit) = &for_queue;
        let accept =
            self.with_jobs(accept, transaction, id, &queued_form.structure, queued_edit, &received, now);
        let (local, queued) = (accept.deliveries.len(), !accept.jobs.is_empty());
        let stored = self.app.storage.accept_forms(spool, &queued_form.spool, accept);
        stored.await.map_err(storage_failed)?;
        METRICS.local_deliveries.fetch_add(local as u64, Ordering::Relaxed);
        if self.app.repeats.is_repeat(transaction, hasher, monotonic_now()) {
            // The client did not hear our 250, or sends twice on purpose: both are delivered, and counted.
            METRICS.messages_repeated.fetch_add(1, Ordering::Relaxed);
            tracing::info!(%id, "the same message for the same recipients was accepted minutes ago");
        }
        if queued {
            self.app.queued.notify(usize::MAX);
        }
        Ok(())
    }

    /// Judges the header and says how it changes: for submission, fields that are missing or must go; for all,
    /// results that claim to be ours.
    async fn edit(
        &self,
        transaction: &Transaction,
        form: &Form,
        now: Timestamp,
        random: [u8; 16],
    ) -> Result<Edit, Refusal> {
        let header_len = usize::try_from(form.structure.root().body_start).unwrap_or(usize::MAX);
        let header = &form.spool.read(0, header_len).await.map_err(storage_failed)?;
        let null_sender = transaction.sender.is_empty();
        let from = from_addresses(header, null_sender).map_err(|_| Refusal::BadFrom)?;
        let mut edit = match &self.account {
            None => Edit::default(),
            Some(account) => {
                for mailbox in &from {
                    if !self.may_send_as(account, written(mailbox)).await.map_err(storage_failed)? {
                        return Err(Refusal::SenderNotAllowed("From"));
                    }
                }
                if let Some(sender) = Fields::find(header, "Sender") {
                    for mailbox in AddressList::new(sender.value).mailboxes() {
                        if !self.may_send_as(account, written(&mailbox)).await.map_err(storage_failed)? {
                            return Err(Refusal::SenderNotAllowed("Sender"));
                        }
                    }
                }
                let domain = account.address.rsplit_once('@').map_or("", |(_, d)| d);
                submission::complete(header, now, random, domain)
            }
        };
        let own = &self.app.config.server.hostname;
        edit.skip_fields(header, |field| is_authentication_results_by(field, own));
        // Nothing of what is signed changes any more; trace fields go above.
        let signatures = self.signatures(transaction, header, &edit, &form.spool, now).await?;
        edit.prefix = [signatures, edit.prefix].concat();
        Ok(edit)
    }

    /// DKIM-Signature fields for what is submitted; none for other mail, which is its author's server's to sign.
    async fn signatures(
        &self,
        transaction: &Transaction,
        header: &[u8],
        edit: &Edit,
        spool: &Spool,
        now: Timestamp,
    ) -> Result<Vec<u8>, Refusal> {
        let Some(account) = &self.account else { return Ok(Vec::new()) };
        let from = from_addresses(header, transaction.sender.is_empty()).map_err(|_| Refusal::BadFrom)?;
        let author = from.first().and_then(written).map(|address| address.domain().to_owned());
        let author = author.unwrap_or_else(|| domain_of(&account.address));
        let signer = self.app.signing.for_author(&self.app.storage, &author).await.map_err(storage_failed)?;
        match signer {
            Some(signer) => sign_spooled(&signer, header, edit, spool, now).await.map_err(storage_failed),
            None => Ok(Vec::new()),
        }
    }

    /// Whether an address is the account's own, or one of its aliases, with a tag or without.
    pub(super) async fn may_send_as(
        &self,
        account: &Mailbox,
        address: Option<Canonical>,
    ) -> storage::Result<bool> {
        let Some(address) = address else { return Ok(false) };
        let store = self.app.storage.store();
        let settings = match store.domain(address.domain()).await {
            Ok(domain) if domain.org == account.org => domain.settings,
            Ok(_) | Err(storage::Error::NotFound) => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut forms = vec![address.to_string()];
        if settings.plus_addressing.unwrap_or(true) {
            let delimiter = settings.plus_delimiter.and_then(|d| d.chars().next()).unwrap_or('+');
            forms.extend(address.split_plus(delimiter).map(|(plain, _)| plain.to_string()));
        }
        if forms.contains(&account.address) {
            return Ok(true);
        }
        let rows = store.address_rows(&forms).await?;
        Ok(rows.iter().flatten().any(|row| match row {
            AddressRow::Alias(alias) => alias.org == account.org && alias.targets.contains(&account.address),
            AddressRow::Mailbox(_) => false,
        }))
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

    /// Asks for the name of the peer's address, once, for a few seconds; networks that have no public names
    /// are not asked about.
    pub(super) async fn look_up_peer(&mut self) {
        if self.ptr.is_some() {
            return;
        }
        let asked = self.peer.ip().filter(|ip| !self.service.is_submission() && is_public(*ip));
        let lookup = async {
            match asked {
                Some(ip) => self.app.resolver.lookup_ptr(ip).await,
                None => None,
            }
        };
        let limit = async {
            Timer::after(PTR_LIMIT).await;
            None
        };
        self.ptr = Some(future::or(lookup, limit).await);
    }

    fn received(
        &self,
        transaction: &Transaction,
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
            ptr: self.ptr.as_ref().and_then(|p| p.as_deref()),
            address,
            tls: self.tls.as_deref(),
            by: &self.app.config.server.hostname,
            with: With {
                lmtp: self.service == Service::Lmtp,
                extended: session.is_extended(),
                smtputf8: transaction.smtputf8,
                tls: session.is_secure(),
                auth: session.account().is_some(),
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
        for ((org, domain, forwarded), group) in transaction.remote_groups() {
            let recipients = group.iter().map(|(recipient, remote)| JobRecipient {
                address: remote.address.clone(),
                state: RecipientState::Pending,
                notify: recipient.notify.clone(),
                orcpt: recipient.orcpt.clone(),
                reply: None,
                attempts: 0,
                in_doubt: 0,
                delay_notified: false,
            });
            accept.jobs.push(NewJob {
                id: JobId::random(),
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
                start: now,
                due: now,
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
    now: Timestamp,
) -> Vec<Deliver> {
    let each = transaction.deliveries().into_iter().enumerate().map(|(n, (mailbox, recipient))| {
        let mut edit = edit.clone();
        edit.prefix = [
            trace::return_path(&transaction.sender),
            trace::delivered_to(&recipient.given),
            received.to_vec(),
            edit.prefix,
        ]
        .concat();
        let mut structure = structure.clone();
        structure.apply(&edit);
        Deliver {
            org: mailbox.org,
            mailbox: mailbox.id,
            message: if n == 0 { id } else { MessageId::random() },
            prefix: edit.prefix,
            skip: edit.skip,
            folder: FolderTarget::Use(SpecialUse::Inbox),
            flags: NamedFlags::default(),
            internal_date: now,
            meta: structure.encode(),
            check_quota: !recipient.role,
        }
    });
    each.collect()
}

/// An address of a header field in canonical form.
fn written(mailbox: &message::Mailbox<'_>) -> Option<Canonical> {
    let local = std::str::from_utf8(&mailbox.local).ok()?;
    Canonical::from_parts(local, std::str::from_utf8(&mailbox.domain).ok()?).ok()
}

fn is_public(ip: IpAddr) -> bool {
    protocol_smtp::route::is_public(ip)
}

/// What storage's refusal means to the client.
pub(super) fn storage_failed(error: storage::Error) -> Refusal {
    match error {
        storage::Error::Refused(storage::Refusal::OverQuota) => Refusal::OverQuota,
        error => {
            tracing::error!(%error, "a message could not be stored");
            Refusal::StorageFailed
        }
    }
}
