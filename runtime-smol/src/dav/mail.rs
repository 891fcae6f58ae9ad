//! What changes have left to be done. Scheduling messages by mail (RFC 6047) are composed, signed as whatever else leaves
//! here, and queued: a mail has one identity however often it is tried, so that it is queued once. And what was in a
//! large collection that is gone is removed, little by little.

use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use protocol_core::Timestamp;
use protocol_core::message::{Edit, Flags, Scanner};
use protocol_smtp::trace::{Received, With};
use serde::{Deserialize, Serialize};
use storage::{
    Accept, DavDraft, DavMail, DavTable, Error, Id, JobId, JobRecipient, Mailbox, MessageId, NewJob, Queued,
    Refusal, Spool,
};

use super::fault::Fault;
use super::schedule::KeptMail;
use crate::app::App;
use crate::signing::sign_spooled;
use crate::smtp::{Quotas, canonical_text, domain_of};
use crate::wire::wall_now;

/// How often mails are looked for that nobody announced: what a process left that ended.
const SWEEP: Duration = Duration::from_secs(30);
/// Mails that are looked at at once.
const MANY: usize = 100;
/// Octets of a line of base64 before they are encoded (RFC 2045 §6.8).
const LINE: usize = 57;
/// The same of an encoded word (RFC 2047 §2).
const WORD: usize = 42;

/// Resources that are removed at once, and how long those that change the same tree have it then for themselves.
const REMOVED_AT_ONCE: usize = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// What was in a collection that is gone, and that nobody gets at any more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Unreachable {
    table: String,
    collection: u64,
}

/// What a change has left to be done.
#[derive(Deserialize)]
#[serde(untagged)]
enum Waiting {
    Removal(Unreachable),
    Mail(KeptMail),
}

impl Unreachable {
    /// What is kept in this table of a collection of this number.
    pub fn new(table: DavTable, collection: u64) -> Unreachable {
        Unreachable { table: table.name().to_owned(), collection }
    }

    /// Has it removed after a change.
    pub fn keep(&self, draft: &mut DavDraft) -> Result<(), Fault> {
        let json = serde_json::to_vec(self).map_err(|e| Error::Unavailable(e.to_string()))?;
        Ok(draft.mail(&json)?)
    }
}

/// Sends what waits, now and then.
pub async fn run(app: Arc<App>) {
    loop {
        Timer::after(SWEEP).await;
        send_waiting(&app).await;
    }
}

/// Sends what waits.
pub async fn send_waiting(app: &App) {
    let mails = match app.storage.dav_mails(MANY).await {
        Ok(mails) => mails,
        Err(error) => {
            tracing::warn!(%error, "scheduling messages cannot be read");
            return;
        }
    };
    let mut removals = Vec::new();
    for mail in mails {
        match open(app, &mail).await {
            Ok((mailbox, Waiting::Removal(what))) => removals.push((mail, mailbox, what)),
            Ok((mailbox, Waiting::Mail(kept))) => {
                if let Err(error) = send(app, &mail, &mailbox, &kept).await {
                    tracing::warn!(%error, mailbox = %mail.mailbox, "a scheduling message cannot be sent yet");
                }
            }
            Err(error) => tracing::warn!(%error, mailbox = %mail.mailbox, "a row of a tree cannot be read"),
        }
    }
    // Nobody waits for these.
    for (mail, mailbox, what) in removals {
        if let Err(fault) = remove(app, &mail, &mailbox, &what).await {
            tracing::warn!(?fault, mailbox = %mail.mailbox, "what was in a collection cannot be removed yet");
        }
    }
}

async fn open(app: &App, mail: &DavMail) -> storage::Result<(Mailbox, Waiting)> {
    let mailbox = app.storage.store().mailbox(mail.mailbox).await?;
    let tree = app.storage.dav(&mailbox).await?;
    let waiting = serde_json::from_slice(&tree.open_mail(mail)?)
        .map_err(|_| Error::Corrupt(format!("what is to be done for {}", mail.mailbox)))?;
    Ok((mailbox, waiting))
}

/// Removes what was in a collection; what is in collections in it comes afterwards.
async fn remove(app: &App, mail: &DavMail, mailbox: &Mailbox, what: &Unreachable) -> Result<(), Fault> {
    let table = DavTable::of(&what.table).ok_or_else(|| Error::Corrupt("a table of a tree".into()))?;
    loop {
        let tree = app.storage.dav(mailbox).await?;
        let rows = tree.members(table, what.collection, None, REMOVED_AT_ONCE).await?;
        let mut draft = tree.draft();
        for row in &rows {
            draft.remove(row.key, None)?;
            if row.members.is_some() {
                Unreachable::new(table, row.id).keep(&mut draft)?;
            }
        }
        if rows.is_empty() {
            draft.mail_sent(mail.number);
        }
        if app.storage.dav_commit(vec![draft], None).await? && rows.is_empty() {
            return Ok(());
        }
        Timer::after(PAUSE).await;
    }
}

async fn send(app: &App, mail: &DavMail, mailbox: &Mailbox, kept: &KeptMail) -> storage::Result<()> {
    let number = mail.number.to_be_bytes();
    let tag = app.storage.keys().tag("dav mail", &[&mail.mailbox.0.0, &number]);
    let mut id = [0; 16];
    id.copy_from_slice(&tag[..16]);
    match queue(app, mailbox, kept, MessageId(Id(id)), &tag).await {
        Ok(()) => {}
        // It was queued before, and its row was not removed.
        Err(Error::Refused(Refusal::Exists(_))) => {}
        Err(Error::Refused(why)) => tracing::info!(%why, "a scheduling message is not sent"),
        Err(error) => return Err(error),
    }
    loop {
        let mut draft = app.storage.dav(mailbox).await?.draft();
        draft.mail_sent(mail.number);
        if app.storage.dav_commit(vec![draft], None).await? {
            return Ok(());
        }
    }
}

async fn queue(app: &App, from: &Mailbox, mail: &KeptMail, id: MessageId, tag: &[u8]) -> storage::Result<()> {
    let canonical = canonical_text(&mail.to);
    if app.storage.suppressed(from.org, &[canonical]).await?.into_iter().next().flatten().is_some() {
        return Err(Refusal::Invalid("mail to this address is held back".into()).into());
    }
    let now = wall_now();
    let boundary: String = tag[16..].iter().map(|octet| format!("{octet:02x}")).collect();
    let octets = compose(mail, id, &boundary, now);
    let mut scanner = Scanner::new().with_own_host(&app.config.server.hostname);
    scanner.feed(&octets);
    let structure = scanner.finish();
    let smtputf8 = structure.flags.has(Flags::HEADER_8BIT);
    let spool = Spool::from_bytes(octets);
    let domain = domain_of(&mail.from);
    let mut edit = Edit::default();
    if let Some(signer) = app.signing.for_author(&app.storage, &domain).await? {
        let length = usize::try_from(structure.root().body_start).unwrap_or(usize::MAX);
        let header = spool.read(0, length).await?;
        edit.prefix = sign_spooled(&signer, &header, &edit, &spool, now).await?;
    }
    let received = Received {
        helo: "unknown",
        ptr: None,
        address: None,
        tls: None,
        by: &app.config.server.hostname,
        with: With { http: true, ..With::default() },
        id: &id.to_string(),
        recipient: Some(&mail.to),
        date: now,
    };
    let prefix = [&received.write()[..], &edit.prefix].concat();
    let quotas = Quotas::of(&app.storage, &domain).await?;
    let due = app.storage.store_now();
    let accept = Accept {
        sender: mail.from.clone(),
        recipients: vec![mail.to.clone()],
        received: now,
        queued: Some(Queued { org: from.org, message: id, prefix, skip: Vec::new() }),
        jobs: vec![NewJob {
            id: JobId::of(id, 0),
            org: from.org,
            message: id,
            size: 0,
            sender: mail.from.clone(),
            domain: domain_of(&mail.to),
            recipients: vec![JobRecipient::new(&mail.to)],
            envid: None,
            ret: None,
            eight_bit: false,
            binary: false,
            smtputf8,
            require_tls: false,
            is_dsn: false,
            created: now,
            start: due,
            due,
            deliver_by: None,
            counted: quotas.as_ref().and_then(Quotas::counted),
            logged: false,
            trace: None,
        }],
        charges: quotas.map(|quotas| quotas.charges(1, 1, due)).unwrap_or_default(),
        ..Accept::default()
    };
    app.storage.accept(&spool, accept).await.map(drop)
}

/// The message (RFC 6047 §2): a text for people, and the calendar object as an alternative to it.
fn compose(mail: &KeptMail, id: MessageId, boundary: &str, now: Timestamp) -> Vec<u8> {
    let mut date = String::new();
    // Writing to a String cannot fail.
    let _ = now.civil().write_rfc5322(&mut date);
    let mut out = format!(
        "From: <{}>\r\nTo: <{}>\r\nSubject: {}\r\nDate: {date}\r\nMessage-ID: <{id}@{}>\r\nMIME-Version: 1.0\r\n\
         Auto-Submitted: auto-generated\r\nContent-Type: multipart/alternative; boundary=\"{boundary}\"\r\n\r\n",
        mail.from,
        mail.to,
        words(&mail.subject),
        domain_of(&mail.from),
    );
    for (content_type, text) in
        [("text/plain; charset=UTF-8", &mail.text), (mail.content_type.as_str(), &mail.calendar)]
    {
        out.push_str(&format!(
            "--{boundary}\r\nContent-Type: {content_type}\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        ));
        for line in text.as_bytes().chunks(LINE) {
            out.push_str(&BASE64.encode(line));
            out.push_str("\r\n");
        }
    }
    out.push_str(&format!("--{boundary}--\r\n"));
    out.into_bytes()
}

/// A text as an unstructured field has it: in encoded words when it is not plain and short (RFC 2047 §5).
fn words(text: &str) -> String {
    if text.len() < 60 && text.bytes().all(|b| (b' '..0x7F).contains(&b)) && !text.contains("=?") {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain(std::iter::once('\0')) {
        if c == '\0' || word.len() + c.len_utf8() > WORD {
            if !out.is_empty() {
                out.push_str("\r\n ");
            }
            out.push_str(&format!("=?UTF-8?B?{}?=", BASE64.encode(&word)));
            word.clear();
        }
        word.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_plain_or_encoded_in_short_lines() {
        assert_eq!(words("Invitation: Tea"), "Invitation: Tea");
        let long = words(&"Ä".repeat(200));
        assert!(long.lines().all(|line| line.len() <= 76 && line.is_ascii()), "{long}");
        let decoded: Vec<u8> = long
            .split("\r\n ")
            .flat_map(|word| {
                BASE64.decode(word.trim_start_matches("=?UTF-8?B?").trim_end_matches("?=")).unwrap()
            })
            .collect();
        assert_eq!(String::from_utf8(decoded).unwrap(), "Ä".repeat(200));
    }
}
