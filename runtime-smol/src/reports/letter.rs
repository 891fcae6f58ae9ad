//! A report by mail: signed, under the null reverse-path, into a folder here or into the queue.

use protocol_core::Timestamp;
use protocol_core::message::Scanner;
use protocol_smtp::trace;
use storage::directory::{Resolution, resolve};
use storage::{
    Accept, Deliver, Error, FolderTarget, Id, JobId, JobRecipient, Mailbox, MessageId, NamedFlags, NewJob,
    OrgId, Queued, Refusal, SpecialUse, Spool, Storage,
};

use crate::smtp::{canonical_text, domain_of};

/// A report that is ready to go.
pub(crate) struct Letter<'a> {
    /// What it is known by: the same report to the same address has the same one, however often it is tried.
    pub key: [u8; 16],
    /// Begins its envelope identifier.
    pub envid: &'a str,
    /// Where it goes.
    pub to: &'a str,
    /// The message, signed.
    pub bytes: Vec<u8>,
    /// Our host's name.
    pub hostname: &'a str,
    /// When.
    pub now: Timestamp,
}

impl Letter<'_> {
    /// Places it. `Ok(false)`: the address is ours, and nobody has it.
    pub(crate) async fn place(self, storage: &Storage) -> storage::Result<bool> {
        let job = JobId(Id(self.key));
        match storage.job(job).await {
            // It was queued before the mark was written, and may be delivered already.
            Ok(_) => return Ok(true),
            Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
        let address = canonical_text(self.to);
        let resolved = resolve(storage.store(), self.hostname, std::slice::from_ref(&address)).await?;
        let mut accept =
            Accept { recipients: vec![self.to.to_owned()], received: self.now, ..Accept::default() };
        match resolved.into_iter().next() {
            Some(Resolution::Local { mailboxes, .. }) if !mailboxes.is_empty() => {
                accept.deliveries = self.deliveries(&mailboxes);
            }
            Some(Resolution::NotLocal) => {
                let Some(org) = self.organisation(storage).await? else { return Ok(false) };
                let message = MessageId::random();
                accept.queued = Some(Queued { org, message, prefix: Vec::new(), skip: Vec::new() });
                accept.jobs.push(self.job(job, org, message, storage.store_now()));
            }
            _ => return Ok(false),
        }
        match storage.accept(&Spool::from_bytes(self.bytes), accept).await {
            Ok(_) | Err(Error::Refused(Refusal::Exists(_))) => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn deliveries(&self, mailboxes: &[Mailbox]) -> Vec<Deliver> {
        let mut scanner = Scanner::new().with_own_host(self.hostname);
        scanner.feed(&self.bytes);
        let mut structure = scanner.finish();
        let prefix = [trace::return_path(""), trace::delivered_to(self.to)].concat();
        structure.shift(prefix.len() as u64);
        let meta = structure.encode();
        let deliver = |mailbox: &Mailbox| Deliver {
            org: mailbox.org,
            mailbox: mailbox.id,
            message: MessageId::random(),
            prefix: prefix.clone(),
            skip: Vec::new(),
            folder: FolderTarget::Use(SpecialUse::Inbox),
            flags: NamedFlags::default(),
            internal_date: self.now,
            meta: meta.clone(),
            check_quota: true,
            told: mailbox.told.then(|| mailbox.address.clone()),
        };
        mailboxes.iter().map(deliver).collect()
    }

    /// The organisation that sends it: that of our host's domain, or the nearest above it that is ours, else the
    /// oldest.
    async fn organisation(&self, storage: &Storage) -> storage::Result<Option<OrgId>> {
        let mut name = self.hostname;
        while name.contains('.') {
            match storage.store().domain(name).await {
                Ok(domain) => return Ok(Some(domain.org)),
                Err(Error::NotFound) => name = name.split_once('.').map_or("", |(_, above)| above),
                Err(error) => return Err(error),
            }
        }
        let orgs = storage.store().list_orgs().await?;
        Ok(orgs.into_iter().min_by_key(|org| org.created).map(|org| org.id))
    }

    /// `due` is the store's time, by which what is due is judged on all nodes.
    fn job(&self, id: JobId, org: OrgId, message: MessageId, due: Timestamp) -> NewJob {
        NewJob {
            id,
            org,
            message,
            size: self.bytes.len() as u64,
            // Nobody is told when it does not arrive, and `is_dsn` lets it die silently.
            sender: String::new(),
            domain: domain_of(self.to),
            recipients: vec![JobRecipient::new(self.to.to_owned())],
            envid: Some(format!("{}{id}", self.envid)),
            ret: None,
            eight_bit: false,
            binary: false,
            smtputf8: !self.to.is_ascii(),
            require_tls: false,
            is_dsn: true,
            created: self.now,
            start: due,
            due,
            deliver_by: None,
            counted: None,
            logged: false,
            trace: None,
        }
    }
}
