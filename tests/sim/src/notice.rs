//! Notifications of a settlement: written to the objects, and a job that goes with the settlement.

use std::collections::BTreeMap;

use protocol_core::Timestamp;
use protocol_core::time::Duration;
use protocol_smtp::dsn::{self, Action, Dsn, Report, Returned};
use protocol_smtp::queue::{NoticeKind, Settlement};
use storage::{Job, JobId, JobRecipient, MessageId, NewJob};

use crate::convert::with_status;
use crate::exec::lock;
use crate::mutants::Mutant;
use crate::world::World;

/// The job that carries a settlement's notices to the sender; none when there are none.
pub fn build(
    world: &World,
    job: &Job,
    settlement: &Settlement,
    hosts: &BTreeMap<u16, String>,
    now: Timestamp,
) -> Option<NewJob> {
    let tells_nobody = world.mutant == Some(Mutant::DsnForNullSender);
    if settlement.notices.is_empty() || (job.spec.sender.is_empty() && !tells_nobody) {
        return None;
    }
    let sender = match job.spec.sender.is_empty() {
        true => "postmaster@home0.test",
        false => &*job.spec.sender,
    };
    let reports = reports(job, settlement, hosts, (world.setup.policy.ttl, now));
    let object = lock(&world.objects).get(&job.spec.message).cloned();
    let header = object.map(|bytes| {
        let end = protocol_core::message::header::header_len(&bytes);
        bytes[..end].to_vec()
    });
    let id = MessageId(world.id());
    let bytes = dsn::build(&Dsn {
        hostname: "mx.inbox.test",
        id: &id.to_string(),
        to: sender,
        arrival: job.spec.created,
        envid: job.spec.envid.as_deref(),
        deliver_by: None,
        reports: &reports,
        returned: Returned::Header(header.unwrap_or_default()),
        now,
    });
    let spec = carrier(JobId(world.id()), job, id, sender, bytes.len() as u64, now);
    lock(&world.objects).insert(id, bytes.into());
    Some(spec)
}

fn reports<'a>(
    job: &'a Job,
    settlement: &'a Settlement,
    hosts: &'a BTreeMap<u16, String>,
    (ttl, now): (Duration, Timestamp),
) -> Vec<Report<'a>> {
    let mut reports = Vec::new();
    for notice in &settlement.notices {
        for index in &notice.recipients {
            let change = settlement.changes.iter().find(|c| c.index == *index);
            let row = job.spec.recipients.get(usize::from(*index));
            let (Some(change), Some(row)) = (change, row) else { continue };
            reports.push(Report {
                recipient: &row.address,
                orcpt: row.orcpt.as_deref(),
                action: match notice.kind {
                    NoticeKind::Failed => Action::Failed,
                    NoticeKind::Delayed => Action::Delayed,
                    NoticeKind::Relayed => Action::Relayed,
                    NoticeKind::Delivered => Action::Delivered,
                },
                status: change.status,
                remote: hosts.get(index).map(String::as_str),
                diagnostic: with_status(change.status, &change.reply),
                last_attempt: Some(now),
                retry_until: (notice.kind == NoticeKind::Delayed).then_some(job.spec.start + ttl),
            });
        }
    }
    reports
}

fn carrier(id: JobId, job: &Job, message: MessageId, to: &str, size: u64, now: Timestamp) -> NewJob {
    let recipient = JobRecipient::new(to.to_owned());
    NewJob {
        id,
        org: job.spec.org,
        message,
        size,
        sender: String::new(),
        domain: to.rsplit_once('@').map_or("", |(_, domain)| domain).to_owned(),
        recipients: vec![recipient],
        envid: None,
        ret: None,
        eight_bit: false,
        binary: false,
        smtputf8: false,
        require_tls: false,
        is_dsn: true,
        created: now,
        start: now,
        due: now,
        deliver_by: None,
        counted: None,
        logged: false,
        trace: None,
    }
}
