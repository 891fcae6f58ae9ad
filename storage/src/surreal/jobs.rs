//! Jobs: what queries ask for in fields of their own, and the rest as one text. The engine reads and checks the
//! definition of each field anew in every transaction, which was a third of its work.

use protocol_core::Timestamp;
use protocol_core::time::Duration;
use serde::{Deserialize, Serialize};
use surrealdb_types::Value;

use super::rows::absent_or_flag;
use super::value::*;
use crate::error::Result;
use crate::objects::EnvelopeJob;
use crate::rows::*;
use crate::types::*;

const STATES: [(JobState, &str); 5] = [
    (JobState::Queued, "queued"),
    (JobState::Processing, "processing"),
    (JobState::Held, "held"),
    (JobState::Dead, "dead"),
    (JobState::Cancelled, "cancelled"),
];

fn state_name(state: JobState) -> &'static str {
    STATES.iter().find(|(s, _)| *s == state).map_or("", |(_, name)| name)
}

/// A job but for what stands in fields of its row. Its first part is written in the message's object too.
#[derive(Serialize, Deserialize)]
struct Record {
    spec: EnvelopeJob,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    counted: Option<String>,
    attempts: u32,
    epoch: u64,
    owner: Option<String>,
    lease_until_ms: Option<i64>,
    look_at_ms: Option<i64>,
    due_ms: i64,
    dot_sent: Vec<usize>,
    deliveries: u32,
    crashes: u32,
    lost: u32,
}

/// With the revision that the row will have.
pub fn job(row: &JobRow) -> Result<Value> {
    let JobRow { job, rev, look_at, dot_sent, deliveries, crashes, lost } = row;
    let spec = &job.spec;
    let record_of = Record {
        spec: EnvelopeJob::from(spec),
        size: spec.size,
        counted: spec.counted.clone(),
        attempts: job.attempts,
        epoch: job.epoch,
        owner: job.owner.clone(),
        lease_until_ms: job.lease_until.map(|t| t.0),
        look_at_ms: look_at.map(|t| t.0),
        due_ms: job.due.0,
        dot_sent: dot_sent.clone(),
        deliveries: *deliveries,
        crashes: *crashes,
        lost: *lost,
    };
    let json = serde_json::to_string(&record_of).map_err(|_| corrupt("job", "record"))?;
    Ok(object([
        ("id", record("outbound_queue", spec.id.to_string())),
        ("rev", int(rev + 1)),
        ("org", id(spec.org.0)),
        ("message", id(spec.message.0)),
        ("created", signed(spec.created.0)),
        ("state", text(state_name(job.state))),
        ("updated", signed(job.updated.0)),
        ("record", text(json)),
    ]))
}

fn read_state(row: &mut Fields) -> Result<JobState> {
    let state = row.text("state")?;
    let known = STATES.iter().find(|(_, name)| *name == state);
    Ok(known.ok_or_else(|| corrupt("job", "state"))?.0)
}

/// A row of this or an earlier version.
pub fn read_job(mut row: Fields) -> Result<JobRow> {
    let Some(json) = row.optional_text("record")? else { return read_job_of_version_7(row) };
    let read: Record = serde_json::from_str(&json).map_err(|_| corrupt("job", "record"))?;
    let (org, message) = (OrgId(row.id("org")?), MessageId(row.id("message")?));
    let spec = read.spec.to_job(org, message, read.size).ok_or_else(|| corrupt("job", "record"))?;
    let job = Job {
        spec: NewJob { counted: read.counted, ..spec },
        state: read_state(&mut row)?,
        attempts: read.attempts,
        epoch: read.epoch,
        owner: read.owner,
        lease_until: read.lease_until_ms.map(Timestamp),
        due: Timestamp(read.due_ms),
        updated: Timestamp(row.signed("updated")?),
    };
    Ok(JobRow {
        job,
        rev: row.int("rev")?,
        look_at: read.look_at_ms.map(Timestamp),
        dot_sent: read.dot_sent,
        deliveries: read.deliveries,
        crashes: read.crashes,
        lost: read.lost,
    })
}

// ---- rows of version 7 and before, which stay until they are written again --------------------------------

fn read_spec(row: &mut Fields) -> Result<NewJob> {
    let recipients = row.texts("recipients")?;
    let recipients = recipients.iter().map(|r| serde_json::from_str(r)).collect::<Result<Vec<_>, _>>();
    Ok(NewJob {
        id: JobId(row.key_id()?),
        org: OrgId(row.id("org")?),
        message: MessageId(row.id("message")?),
        size: row.int("size")?,
        sender: row.text("sender")?,
        domain: row.text("domain")?,
        recipients: recipients.map_err(|_| corrupt("job", "recipients"))?,
        envid: row.optional_text("envid")?,
        ret: row.optional_text("ret")?,
        eight_bit: row.flag("eight_bit")?,
        binary: row.flag("binary")?,
        smtputf8: row.flag("smtputf8")?,
        require_tls: row.flag("require_tls")?,
        is_dsn: row.flag("is_dsn")?,
        created: Timestamp(row.signed("created")?),
        start: Timestamp(row.signed("starts")?),
        due: Timestamp(row.signed("first_due")?),
        deliver_by: match row.optional_signed("by_at")? {
            Some(at_ms) => {
                Some(DeliverBy { at_ms, give_up: row.flag("by_give_up")?, trace: row.flag("by_trace")? })
            }
            None => None,
        },
        counted: row.optional_text("counted")?,
        logged: absent_or_flag(row, "job", "logged")?,
        trace: row.optional_text("trace")?,
    })
}

fn read_job_of_version_7(mut row: Fields) -> Result<JobRow> {
    let spec = read_spec(&mut row)?;
    let job = Job {
        spec,
        state: read_state(&mut row)?,
        attempts: row.int("attempts")?,
        epoch: row.int("epoch")?,
        owner: row.optional_text("owner")?,
        lease_until: row.optional_signed("lease_until")?.map(Timestamp),
        due: Timestamp(row.signed("due")?),
        updated: Timestamp(row.signed("updated")?),
    };
    let dot_sent: Vec<usize> = row.ints("dot_sent")?;
    // Their rows in the due index were moved with each of these writes.
    let delay = if dot_sent.is_empty() { Duration::ZERO } else { IN_DOUBT_DELAY };
    Ok(JobRow {
        look_at: job.lease_until.map(|end| end + delay),
        job,
        rev: row.int("rev")?,
        dot_sent,
        deliveries: row.int("deliveries")?,
        crashes: row.optional_int("crashes")?.unwrap_or_default(),
        lost: row.optional_int("lost")?.unwrap_or_default(),
    })
}

/// Makes rows of before of those of today.
pub const AS_IN_VERSION_7: &str = "
REMOVE FIELD record ON outbound_queue;
DEFINE FIELD sender ON outbound_queue TYPE any;
DEFINE FIELD domain ON outbound_queue TYPE any;
DEFINE FIELD envid ON outbound_queue TYPE any;
DEFINE FIELD ret ON outbound_queue TYPE any;
DEFINE FIELD eight_bit ON outbound_queue TYPE any;
DEFINE FIELD binary ON outbound_queue TYPE any;
DEFINE FIELD smtputf8 ON outbound_queue TYPE any;
DEFINE FIELD require_tls ON outbound_queue TYPE any;
DEFINE FIELD is_dsn ON outbound_queue TYPE any;
DEFINE FIELD size ON outbound_queue TYPE any;
DEFINE FIELD attempts ON outbound_queue TYPE any;
DEFINE FIELD epoch ON outbound_queue TYPE any;
DEFINE FIELD owner ON outbound_queue TYPE any;
DEFINE FIELD dot_sent ON outbound_queue TYPE any;
DEFINE FIELD deliveries ON outbound_queue TYPE any;
DEFINE FIELD crashes ON outbound_queue TYPE any;
DEFINE FIELD lost ON outbound_queue TYPE any;
DEFINE FIELD recipients ON outbound_queue TYPE any;
DEFINE FIELD starts ON outbound_queue TYPE any;
DEFINE FIELD first_due ON outbound_queue TYPE any;
DEFINE FIELD due ON outbound_queue TYPE any;
DEFINE FIELD lease_until ON outbound_queue TYPE any;
FOR $row IN (SELECT * FROM outbound_queue) {
    LET $r = encoding::json::decode($row.record);
    UPDATE $row.id CONTENT {
        sender: $r.spec.sender,
        domain: $r.spec.domain,
        envid: $r.spec.envid,
        ret: $r.spec.ret,
        eight_bit: $r.spec.eight_bit,
        binary: $r.spec.binary,
        smtputf8: $r.spec.smtputf8,
        require_tls: $r.spec.require_tls,
        is_dsn: $r.spec.is_dsn,
        size: $r.size,
        attempts: $r.attempts,
        epoch: $r.epoch,
        owner: $r.owner,
        dot_sent: $r.dot_sent,
        deliveries: $r.deliveries,
        crashes: $r.crashes,
        lost: $r.lost,
        recipients: $r.spec.recipients.map(|$one| encoding::json::encode($one)),
        starts: $r.spec.start_ms,
        first_due: $r.spec.due_ms,
        due: $r.due_ms,
        lease_until: $r.lease_until_ms,
        rev: $row.rev,
        org: $row.org,
        message: $row.message,
        created: $row.created,
        state: $row.state,
        updated: $row.updated,
    } RETURN NONE;
};
";
