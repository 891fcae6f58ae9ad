//! Recipients of a job that are here: an e-mail that waited for its time, or whose domain has become ours since it was
//! queued. They get their copies in the transaction that says that they have them.

use std::collections::HashMap;

use protocol_core::Timestamp;
use protocol_core::message::{Edit, Scanner};
use protocol_smtp::queue::{DsnDuty, Failure, Settlement, State, Verdict};
use protocol_smtp::srs;
use protocol_smtp::status::Status;
use storage::directory::{Resolution, resolve};
use storage::{
    Accept, Deliver, Error, Job, JobId, JobRecipient, Mailbox, MessageId, NewJob, Queued, SpecialUse, Spool,
};

use super::source::PIECE;
use crate::app::App;
use crate::smtp::{Copy, canonical_text, domain_of};
use crate::wire::wall_now;

const DAY_SECS: i64 = 86_400;

/// Where a recipient's copies go.
#[derive(Clone, Debug)]
pub struct Here {
    mailboxes: Vec<Mailbox>,
    /// Addresses elsewhere that its alias names.
    forwarded: Vec<String>,
}

/// The recipients of an attempt, told apart.
#[derive(Default)]
pub struct Split {
    /// Those that are elsewhere.
    pub elsewhere: Vec<u16>,
    /// What is known of the others.
    pub verdicts: Vec<(u16, Verdict)>,
    /// Those of them that have somebody behind them.
    pub here: HashMap<u16, Here>,
}

/// Tells those that are here from those that are elsewhere. Where that cannot be found out now, nobody is tried.
pub async fn split(app: &App, job: &Job, recipients: Vec<u16>) -> Split {
    match app.storage.store().domain(&job.spec.domain).await {
        Ok(_) => {}
        Err(Error::NotFound) => return Split { elsewhere: recipients, ..Split::default() },
        Err(error) => return none(job, &error, recipients),
    }
    let address =
        |index: &u16| job.spec.recipients.get(usize::from(*index)).map(|r| canonical_text(&r.address));
    let addresses: Vec<String> = recipients.iter().filter_map(address).collect();
    let resolved = match resolve(app.storage.store(), &app.config.server.hostname, &addresses).await {
        Ok(resolved) => resolved,
        Err(error) => return none(job, &error, recipients),
    };
    let mut split = Split::default();
    for (index, resolution) in recipients.into_iter().zip(resolved) {
        let failed = |class, subject, detail, why: &str| {
            Failure::local(Status::new(class, subject, detail), why.to_owned())
        };
        let verdict = match resolution {
            Resolution::NotLocal => {
                split.elsewhere.push(index);
                continue;
            }
            Resolution::Local { mailboxes, remote, .. } => {
                split.here.insert(index, Here { mailboxes, forwarded: remote });
                let (reply, dsn) = ("2.0.0 delivered here".to_owned(), DsnDuty::Final);
                Verdict::Delivered { reply, dsn, by_passed_on: true }
            }
            Resolution::UnknownLocal => Verdict::Permanent(failed(5, 1, 1, "there is no such mailbox")),
            Resolution::Disabled => Verdict::Permanent(failed(5, 2, 1, "the mailbox is disabled")),
            Resolution::OverQuota => Verdict::Temporary(failed(4, 2, 2, "the mailbox is full")),
            Resolution::AliasLoop => Verdict::Permanent(failed(5, 4, 6, "the aliases lead in a circle")),
        };
        split.verdicts.push((index, verdict));
    }
    split
}

fn none(job: &Job, error: &Error, recipients: Vec<u16>) -> Split {
    tracing::warn!(job = %job.spec.id, %error, "the recipients of a job could not be looked up");
    let verdicts = recipients.into_iter().map(|index| (index, Verdict::NotTried));
    Split { verdicts: verdicts.collect(), ..Split::default() }
}

/// The copies of those recipients that a settlement says have theirs; none when it says so of nobody here.
pub async fn copies(
    app: &App,
    job: &Job,
    settlement: &Settlement,
    here: &HashMap<u16, Here>,
    now: Timestamp,
) -> storage::Result<Option<(Spool, Accept)>> {
    let delivered = settlement.changes.iter().filter(|change| change.recipient.state == State::Delivered);
    let delivered: Vec<(u16, &Here)> =
        delivered.filter_map(|change| Some((change.index, here.get(&change.index)?))).collect();
    if delivered.is_empty() {
        return Ok(None);
    }
    let mut object = app.storage.open_queued(job.spec.org, job.spec.message).await?;
    let mut spool = app.storage.spool_up_to(object.len());
    let mut scanner = Scanner::new().with_own_host(&app.config.server.hostname);
    while spool.len() < object.len() {
        let piece = object.read(spool.len(), PIECE).await?;
        scanner.feed(piece);
        spool.write(piece).await?;
    }
    let structure = scanner.finish();
    let received = wall_now();
    let mut deliveries: Vec<Deliver> = Vec::new();
    let mut forwarded: Vec<&String> = Vec::new();
    for (index, here) in delivered {
        let recipient = job.spec.recipients.get(usize::from(index)).map_or("", |r| &r.address);
        let copy = Copy {
            sender: &job.spec.sender,
            recipient,
            received: &[],
            edit: &Edit::default(),
            structure: &structure,
            folder: SpecialUse::Inbox,
            now: received,
            // It was looked at when the recipient was resolved; a refusal here would undo the whole settlement.
            check_quota: false,
        };
        for mailbox in &here.mailboxes {
            if !deliveries.iter().any(|deliver| deliver.mailbox == mailbox.id) {
                deliveries.push(copy.of(mailbox, MessageId::random()));
            }
        }
        forwarded.extend(&here.forwarded);
    }
    let (jobs, queued) = forwards(app, job, forwarded, now);
    let recipients = job.spec.recipients.iter().map(|r| r.address.clone()).collect();
    let sender = job.spec.sender.clone();
    Ok(Some((spool, Accept { sender, recipients, received, deliveries, queued, jobs, ..Accept::default() })))
}

/// What aliases send on, as a message of its own under a rewritten sender.
fn forwards(
    app: &App,
    job: &Job,
    mut addresses: Vec<&String>,
    now: Timestamp,
) -> (Vec<NewJob>, Option<Queued>) {
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return (Vec::new(), None);
    }
    let (org, message) = (job.spec.org, MessageId::random());
    let tag = |parts: &[&[u8]]| app.storage.keys().tag("srs", parts);
    let host = &app.config.server.hostname;
    let sender = srs::forward(&job.spec.sender, host, now.secs() / DAY_SECS, &tag);
    let forward = |(n, address): (u16, &String)| NewJob {
        id: JobId::of(message, n),
        message,
        sender: sender.clone(),
        domain: domain_of(address),
        recipients: vec![JobRecipient::new(address)],
        start: now,
        due: now,
        counted: None,
        logged: false,
        ..job.spec.clone()
    };
    let jobs = (0..storage::JOBS_OF_MESSAGE_MAX).zip(addresses).map(forward).collect();
    (jobs, Some(Queued { org, message, prefix: Vec::new(), skip: Vec::new() }))
}
