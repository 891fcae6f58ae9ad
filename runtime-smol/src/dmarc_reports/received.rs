//! Reports that others sent here: found in a mailbox, unpacked within limits, and shown.

use message_auth::aggregate::{MESSAGE_MAX, Received, parse_received};
use protocol_core::message::encoded_word;
use protocol_core::message::header::unfold;
use serde_json::{Value, json};
use storage::{FolderId, Mailbox, Row, Storage};

use crate::admin::Failure;

/// Octets read from storage at once.
const READ_LEN: usize = 256 * 1024;
/// What stands in the header of every report (RFC 9990 §3.5.2), as it is looked for.
const SUBJECT: &[u8] = b"report domain:";

/// The reports in a folder, oldest first: one object for each, or one that says why a report is not read.
pub(crate) async fn list(storage: &Storage, mailbox: &Mailbox, folder: FolderId) -> Result<Value, Failure> {
    let failed = |error: storage::Error| Failure(error.to_string());
    let view = storage.folder(folder).await.map_err(failed)?;
    let rows: Vec<Row> = view.with(|state| state.rows.to_vec());
    let mut all = Vec::new();
    for row in rows.iter().filter(|row| row.size <= MESSAGE_MAX as u64) {
        let octets = match message(storage, mailbox, row).await {
            Ok(Some(octets)) => octets,
            Ok(None) => continue,
            Err(error) => {
                all.push(json!({"uid": row.uid, "state": error.to_string()}));
                continue;
            }
        };
        match blocking::unblock(move || parse_received(&octets)).await {
            Ok(report) => all.push(shown(row.uid, &report)),
            Err(why) => all.push(json!({"uid": row.uid, "state": why})),
        }
    }
    Ok(all.into())
}

/// A message that says it is a report.
async fn message(storage: &Storage, mailbox: &Mailbox, row: &Row) -> storage::Result<Option<Vec<u8>>> {
    let mut object = storage.open_message(mailbox.org, mailbox.id, row.message).await?;
    let mut octets = Vec::new();
    loop {
        let piece = object.read(octets.len() as u64, READ_LEN).await?;
        if piece.is_empty() {
            return Ok(Some(octets));
        }
        let is_first = octets.is_empty();
        octets.extend_from_slice(piece);
        if is_first && !is_report(&octets) {
            return Ok(None);
        }
    }
}

fn is_report(header: &[u8]) -> bool {
    let subject = protocol_core::message::Fields::find(header, "Subject");
    subject.is_some_and(|field| {
        let value = encoded_word::decode(field.value).to_ascii_lowercase();
        let value: Vec<u8> = unfold(value.as_bytes()).into_owned();
        value.windows(SUBJECT.len()).any(|part| part == SUBJECT)
    })
}

fn shown(uid: u32, report: &Received) -> Value {
    let rows: Vec<Value> = report
        .rows
        .iter()
        .map(|row| {
            json!({
                "source": row.source,
                "count": row.count,
                "disposition": row.disposition,
                "dkim": if row.dkim { "pass" } else { "fail" },
                "spf": if row.spf { "pass" } else { "fail" },
                "headerFrom": row.header_from,
            })
        })
        .collect();
    json!({
        "uid": uid,
        "from": report.reporter,
        "id": report.id,
        "domain": report.domain,
        "begin": report.begin,
        "end": report.end,
        "rows": rows,
    })
}
