//! What the scenarios share.

use std::path::PathBuf;
use std::sync::Arc;

use protocol_core::Timestamp;
use protocol_core::time::Duration;
use storage::*;

pub use futures_lite::future::block_on;

/// A directory that goes with the value.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("inbox-stores-{}", Id::random()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    pub fn path(&self) -> PathBuf {
        self.0.join("db")
    }

    pub fn options(&self) -> SurrealOptions {
        SurrealOptions::at(format!("surrealkv://{}", self.path().display()))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub type S = Arc<dyn Store>;

/// Seconds after an arbitrary moment.
pub fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_795_000_000 + secs)
}

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub async fn org(store: &S, name: &str) -> OrgId {
    store.create_org(name, b"sealed", at(0)).await.unwrap().id
}

pub async fn domain(store: &S, org: OrgId, name: &str) {
    let domain = Domain { name: name.into(), org, settings: DomainSettings::default() };
    store.add_domain(&domain).await.unwrap();
}

pub fn password(text: &str) -> PasswordRecord {
    PasswordRecord { argon2: format!("$argon2id${text}"), scram_sealed: text.as_bytes().to_vec() }
}

pub fn new_mailbox(org: OrgId, address: &str) -> Mailbox {
    Mailbox {
        id: MailboxId::random(),
        org,
        address: address.into(),
        name: "Name".into(),
        quota_bytes: None,
        used_bytes: 0,
        disabled: false,
        admin: false,
        told: false,
    }
}

pub async fn mailbox(store: &S, org: OrgId, address: &str) -> Mailbox {
    let mailbox = new_mailbox(org, address);
    store.create_mailbox(&mailbox, &password(address), at(0)).await.unwrap();
    mailbox
}

/// An organisation, its domain `example.test` and the mailbox `alice`.
pub async fn alice(store: &S) -> Mailbox {
    let org = org(store, "org").await;
    domain(store, org, "example.test").await;
    mailbox(store, org, "alice@example.test").await
}

pub async fn folder(store: &S, mailbox: MailboxId, name: &str) -> FolderInfo {
    let folders = store.folders(mailbox).await.unwrap();
    folders.into_iter().find(|folder| folder.name == name).unwrap_or_else(|| panic!("no folder {name}"))
}

pub fn flags(system: Flags, keywords: &[&str]) -> NamedFlags {
    NamedFlags { system, keywords: keywords.iter().map(|k| k.to_string()).collect() }
}

pub fn row(mailbox: MailboxId, folder: FolderTarget, size: u64) -> NewRow {
    let message = MessageId::random();
    NewRow {
        mailbox,
        folder,
        message,
        size,
        internal_date: at(1),
        flags: NamedFlags::default(),
        meta: format!("meta of {message}").into_bytes(),
        check_quota: true,
    }
}

pub fn inbox() -> FolderTarget {
    FolderTarget::Use(SpecialUse::Inbox)
}

pub fn commit(rows: Vec<NewRow>) -> Commit {
    Commit { rows, jobs: Vec::new(), ..Commit::default() }
}

pub async fn place(store: &S, rows: Vec<NewRow>) -> Vec<Placed> {
    let mut answers = store.commit_batch(vec![commit(rows)]).await;
    assert_eq!(answers.len(), 1);
    answers.pop().unwrap().unwrap()
}

/// `n` messages of 100 octets in the mailbox's inbox.
pub async fn fill(store: &S, mailbox: MailboxId, n: usize) -> Vec<Placed> {
    place(store, (0..n).map(|_| row(mailbox, inbox(), 100)).collect()).await
}

pub fn recipient(address: &str) -> JobRecipient {
    JobRecipient { notify: Some("FAILURE,DELAY".into()), ..JobRecipient::new(address) }
}

pub fn job(org: OrgId, due: Timestamp, recipients: &[&str]) -> NewJob {
    NewJob {
        id: JobId::random(),
        org,
        message: MessageId::random(),
        size: 1234,
        sender: "alice@example.test".into(),
        domain: "example.net".into(),
        recipients: recipients.iter().map(|address| recipient(address)).collect(),
        envid: Some("QQ+2B".into()),
        ret: None,
        eight_bit: true,
        binary: false,
        smtputf8: true,
        require_tls: false,
        is_dsn: false,
        created: at(0),
        start: at(0),
        due,
        deliver_by: None,
        counted: None,
        logged: false,
        trace: None,
    }
}

pub async fn queue(store: &S, jobs: Vec<NewJob>) {
    for answer in store.commit_batch(vec![Commit { rows: Vec::new(), jobs, ..Commit::default() }]).await {
        assert_eq!(answer.unwrap(), []);
    }
}

pub fn fence(job: &Job) -> Fence {
    Fence { job: job.spec.id, epoch: job.epoch }
}

pub fn delivery(recipient: &str, state: RecipientState, attempt: u32, when: Timestamp) -> DeliveryRecord {
    DeliveryRecord {
        recipient: recipient.into(),
        state,
        host: Some("mx.example.net".into()),
        reply: "250 2.0.0 stored".into(),
        tls: "TLSv1_3 unverified".into(),
        attempt,
        in_doubt: false,
        at_ms: when.0,
        event: JobEvent::Attempted,
    }
}
