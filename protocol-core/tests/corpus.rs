//! Real messages, and a second opinion: the structure found here against the one `mail-parser` finds.
//!
//! The corpus is `data/mail/real-600.mbox.gz` below the directory that `INBOX_SHARED` names, or below
//! `../../shared` beside the checkout. Without it the test says so and passes, unless
//! `INBOX_TEST_REQUIRE_ALL=1`.

mod support;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;

use mail_parser::{MessageParser, MimeHeaders as _, PartType};
use protocol_core::message::date::DateTime;
use protocol_core::message::decode::{DecodedSize, Decoder};
use protocol_core::message::{Envelope, Flags, Kind, Structure};
use support::{check_invariants, scan, scan_by};

/// Messages of the corpus that we read otherwise than the other parser, on purpose.
const EXPLAINED: &[(usize, &str)] = &[
    (75, "its multipart names a boundary that no line has, so there is no part: taken as text"),
    (117, "an RFC 2047 word stands for the local part of its From; words are never decoded into addresses"),
];

fn corpus() -> Option<Vec<Vec<u8>>> {
    let shared = std::env::var_os("INBOX_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = shared.join("data/mail/real-600.mbox.gz");
    let Ok(packed) = std::fs::read(&path) else {
        assert!(std::env::var_os("INBOX_TEST_REQUIRE_ALL").is_none_or(|v| v != "1"), "no {}", path.display());
        eprintln!("left out: the corpus of real messages, {} is not there", path.display());
        return None;
    };
    let mut mbox = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut mbox).expect("a corpus that can be unpacked");
    Some(split_mbox(&mbox))
}

/// Splits at `From ` lines behind an empty line (RFC 4155), takes one `>` from quoted ones, and makes CRLF of
/// the line ends, as import does.
fn split_mbox(mbox: &[u8]) -> Vec<Vec<u8>> {
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let mut after_empty = true;
    for line in mbox.split_inclusive(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if after_empty && line.starts_with(b"From ") {
            messages.push(Vec::new());
        } else if let Some(message) = messages.last_mut() {
            let unquoted = line
                .iter()
                .position(|&b| b != b'>')
                .is_some_and(|at| at > 0 && line[at..].starts_with(b"From "));
            message.extend_from_slice(if unquoted { &line[1..] } else { line });
            message.extend_from_slice(b"\r\n");
        }
        after_empty = line.is_empty();
    }
    messages
}

/// `type/subtype` of every part in document order, by either parser.
fn ours(structure: &Structure) -> Vec<String> {
    structure.parts().iter().map(|p| format!("{}/{}", p.media_type, p.media_subtype)).collect()
}

fn theirs(message: &mail_parser::Message<'_>, index: u32, in_digest: bool, out: &mut Vec<String>) {
    let part = &message.parts[index as usize];
    let label =
        part.content_type().map(|t| format!("{}/{}", t.ctype(), t.subtype().unwrap_or("")).to_lowercase());
    let default = if in_digest { "message/rfc822" } else { "text/plain" };
    let label = label.unwrap_or_else(|| default.into());
    match &part.body {
        PartType::Multipart(children) => {
            out.push(label.clone());
            for child in children {
                theirs(message, *child, label == "multipart/digest", out);
            }
        }
        PartType::Message(inner) => {
            out.push(label);
            theirs(inner, 0, false, out);
        }
        _ => out.push(label),
    }
}

#[test]
fn real_messages_have_the_structure_that_another_parser_finds() {
    let Some(messages) = corpus() else { return };
    assert!(messages.len() >= 600, "{} messages", messages.len());
    let mut differences: BTreeMap<usize, String> = BTreeMap::new();
    let (mut parts, mut leaves, mut from_ok, mut dated) = (0, 0, 0, 0);
    for (number, message) in messages.iter().enumerate() {
        let structure = scan(message);
        check_invariants(message, &structure);
        assert_eq!(scan_by(message, 1 + number % 97), structure, "message {number}");
        assert!(!structure.flags.has(Flags::HEADER_TOO_LARGE));
        parts += structure.parts().len();
        from_ok += usize::from(structure.from.judge(false).is_ok());
        let date = structure.envelope().date.as_deref().and_then(DateTime::parse_rfc5322);
        dated += usize::from(date.is_some());

        let parsed = MessageParser::default().parse(message).expect("a message that mail-parser reads");
        let mut expected = Vec::new();
        theirs(&parsed, 0, false, &mut expected);
        let found = ours(&structure);
        if found != expected {
            differences.insert(number, format!("ours {found:?}\n  theirs {expected:?}"));
            continue;
        }
        leaves += compare_bodies(number, message, &structure, &parsed);
        if let Some(difference) = from_difference(&structure, &parsed) {
            differences.insert(number, difference);
        }
        if let (Some(ours), Some(theirs)) = (date, parsed.date()) {
            assert_eq!(ours.time.secs(), theirs.to_timestamp(), "date of message {number}");
        }
    }
    eprintln!(
        "{} messages, {parts} parts, {leaves} leaves alike, {from_ok} with a valid From, {dated} dated, {} differ",
        messages.len(),
        differences.len()
    );
    for (number, why) in EXPLAINED {
        assert!(differences.remove(number).is_some(), "message {number} no longer differs ({why})");
    }
    assert!(differences.is_empty(), "unexplained: {differences:#?}");
}

/// Decoded octets of attachments must be the same; how many leaves were compared.
fn compare_bodies(
    number: usize,
    message: &[u8],
    structure: &Structure,
    parsed: &mail_parser::Message<'_>,
) -> usize {
    let mut compared = 0;
    let top: Vec<_> = structure.leaves().filter(|(i, _)| in_own_message(structure, *i)).collect();
    let theirs: Vec<_> = parsed
        .parts
        .iter()
        .filter(|p| !matches!(p.body, PartType::Multipart(_) | PartType::Message(_)))
        .collect();
    assert_eq!(top.len(), theirs.len(), "leaves of message {number}");
    for ((_, part), other) in top.into_iter().zip(theirs) {
        let body = &message[part.body_start as usize..part.body_end as usize];
        let mut decoded = Vec::new();
        let mut decoder = Decoder::new(&part.encoding);
        decoder.feed(body, &mut decoded);
        decoder.finish(&mut decoded);
        let mut size = DecodedSize::new(&part.encoding);
        size.feed(body);
        assert_eq!(size.finish(), decoded.len() as u64);
        if let PartType::Binary(octets) | PartType::InlineBinary(octets) = &other.body {
            assert_eq!(octets.as_ref(), decoded, "a leaf of message {number}");
            compared += 1;
        }
    }
    compared
}

fn in_own_message(structure: &Structure, index: usize) -> bool {
    let mut at = index;
    while let Some(parent) = structure.parts()[at].parent {
        at = parent as usize;
        if structure.parts()[at].kind == Kind::Message {
            return false;
        }
    }
    true
}

/// Where the From addresses are not the same.
fn from_difference(structure: &Structure, parsed: &mail_parser::Message<'_>) -> Option<String> {
    let ours: Vec<String> = Envelope::list(&structure.envelope().from)
        .mailboxes()
        .map(|m| format!("{}@{}", String::from_utf8_lossy(&m.local), String::from_utf8_lossy(&m.domain)))
        .collect();
    let theirs: Vec<String> = parsed
        .from()
        .map(|list| list.iter().filter_map(|a| a.address()).map(str::to_string).collect())
        .unwrap_or_default();
    (ours != theirs).then(|| format!("From: ours {ours:?}, theirs {theirs:?}"))
}
