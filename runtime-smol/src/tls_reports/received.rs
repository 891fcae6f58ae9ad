//! Reports that others sent here: found in a mailbox, unpacked within limits, and shown.

use std::io::Read;

use flate2::read::GzDecoder;
use protocol_core::message::decode::Decoder;
use protocol_core::message::{Part, Structure};
use protocol_smtp::tlsrpt::{RATIO_MAX, REPORT_OCTETS_MAX, Received, ReceivedPolicy, ReportFault};
use serde_json::{Value, json};
use storage::{FolderId, Mailbox, Row, Storage};

use crate::admin::Failure;

/// Octets of a part that is looked at, as it stands in the message.
const PART_MAX: u64 = 16 * 1024 * 1024;
/// Octets read from storage at once.
const READ_LEN: usize = 256 * 1024;
/// Messages whose structure is read at once.
const BATCH: usize = 500;

/// Why a part is no report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is longer than is looked at, or becomes so when it is unpacked.
    TooLong,
    /// It is no gzip.
    Gzip,
    /// What is in it is no report.
    Report(ReportFault),
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unread::TooLong => f.write_str("the report is too long when it is unpacked"),
            Unread::Gzip => f.write_str("the report cannot be unpacked"),
            Unread::Report(fault) => fault.fmt(f),
        }
    }
}

/// Reads a report, compressed or not. What it grows to when it is unpacked has two limits (10 MiB, and a hundred
/// times what came), and nothing beyond them is unpacked.
pub fn read(octets: &[u8], is_gzip: bool) -> Result<Received, Unread> {
    if !is_gzip {
        return Received::read(octets).map_err(Unread::Report);
    }
    let limit = REPORT_OCTETS_MAX.min(octets.len().saturating_mul(RATIO_MAX));
    let mut json = Vec::new();
    let mut unpacked = GzDecoder::new(octets).take(limit as u64 + 1);
    unpacked.read_to_end(&mut json).map_err(|_| Unread::Gzip)?;
    if json.len() > limit {
        return Err(Unread::TooLong);
    }
    Received::read(&json).map_err(Unread::Report)
}

/// Whether a part is a report, and a compressed one.
fn kind(part: &Part) -> Option<bool> {
    match (part.media_type.as_str(), part.media_subtype.as_str()) {
        ("application", "tlsrpt+gzip") => Some(true),
        ("application", "tlsrpt+json") => Some(false),
        _ => None,
    }
}

/// The reports in a folder, oldest first: one line for each policy, or one that says why a report is not read.
pub(crate) async fn list(storage: &Storage, mailbox: &Mailbox, folder: FolderId) -> Result<Value, Failure> {
    let failed = |error: storage::Error| Failure(error.to_string());
    let view = storage.folder(folder).await.map_err(failed)?;
    let rows: Vec<Row> = view.with(|state| state.rows.to_vec());
    let mut all = Vec::new();
    let unread = |uid: u32, why: String| json!({"uid": uid, "state": why});
    for some in rows.chunks(BATCH) {
        let (Some(first), Some(last)) = (some.first(), some.last()) else { break };
        let metas = storage.meta(folder, first.uid..=last.uid).await.map_err(failed)?;
        for (uid, meta) in metas {
            let Ok(structure) = Structure::decode(&meta) else { continue };
            let Some(row) = some.iter().find(|row| row.uid == uid) else { continue };
            for part in structure.parts() {
                let Some(is_gzip) = kind(part) else { continue };
                let octets = match content(storage, mailbox, row, part).await {
                    Ok(octets) => octets,
                    Err(error) => {
                        all.push(unread(uid, error.to_string()));
                        continue;
                    }
                };
                let report = blocking::unblock(move || match octets {
                    Some(octets) => read(&octets, is_gzip),
                    None => Err(Unread::TooLong),
                });
                match report.await {
                    Ok(report) => all.extend(report.policies.iter().map(|p| line(uid, &report, p))),
                    Err(why) => all.push(unread(uid, why.to_string())),
                }
            }
        }
    }
    Ok(all.into())
}

/// A part without its transfer encoding; none when it is too long.
async fn content(
    storage: &Storage,
    mailbox: &Mailbox,
    row: &Row,
    part: &Part,
) -> storage::Result<Option<Vec<u8>>> {
    if part.size() > PART_MAX {
        return Ok(None);
    }
    let mut object = storage.open_message(mailbox.org, mailbox.id, row.message).await?;
    let mut decoder = Decoder::new(&part.encoding);
    let mut octets = Vec::new();
    let mut at = part.body_start;
    while at < part.body_end {
        let left = usize::try_from(part.body_end - at).unwrap_or(READ_LEN);
        let piece = object.read(at, left.min(READ_LEN)).await?;
        if piece.is_empty() {
            break;
        }
        decoder.feed(piece, &mut octets);
        at += piece.len() as u64;
    }
    decoder.finish(&mut octets);
    Ok(Some(octets))
}

fn line(uid: u32, report: &Received, told: &ReceivedPolicy) -> Value {
    let details: Vec<Value> = told
        .details
        .iter()
        .map(|(detail, count)| {
            json!({
                "result": detail.result.as_str(),
                "count": count,
                "sendingIp": detail.sending_ip,
                "mx": detail.mx,
                "receivingIp": detail.receiving_ip,
                "reason": detail.reason,
            })
        })
        .collect();
    json!({
        "uid": uid,
        "from": report.organization,
        "start": report.start,
        "end": report.end,
        "domain": told.policy.domain,
        "policy": told.policy.kind.as_str(),
        "successes": told.successes,
        "failures": told.failures,
        "details": details,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const REPORT: &str = r#"{"policies":[{"policy":{"policy-type":"sts","policy-domain":"a.test"}}]}"#;

    fn packed(json: &[u8]) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(json).unwrap();
        gzip.finish().unwrap()
    }

    #[test]
    fn si34_a_report_that_grows_too_much_is_not_unpacked() {
        assert_eq!(read(REPORT.as_bytes(), false).unwrap().policies[0].policy.domain, "a.test");
        assert_eq!(read(&packed(REPORT.as_bytes()), true).unwrap().policies.len(), 1);
        let bomb = packed(&vec![b' '; 1 << 30]);
        assert!(bomb.len() > 100_000);
        assert_eq!(read(&bomb, true), Err(Unread::TooLong));
        // A hundred times what came, although far from 10 MiB.
        let padded = format!("{REPORT}{}", " ".repeat(60_000));
        assert_eq!(read(&packed(padded.as_bytes()), true), Err(Unread::TooLong));
        assert_eq!(read(b"\x1f\x8b\x08", true), Err(Unread::Gzip));
        assert_eq!(read(b"no gzip", true), Err(Unread::Gzip));
        assert_eq!(read(&packed(b"[]"), true), Err(Unread::Report(ReportFault::Malformed)));
    }
}
