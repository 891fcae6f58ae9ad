//! Real messages through FETCH: what the server writes of each, the client's half of the codec reads, and it
//! says what the structure says.
//!
//! The corpus is `data/mail/real-600.mbox.gz` below the directory that `INBOX_SHARED` names, or below
//! `../../shared` beside the checkout. Without it the test says so and passes, unless
//! `INBOX_TEST_REQUIRE_ALL=1`.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use protocol_core::message::{Kind, Scanner, Structure};
use protocol_core::{Instant, RecvBuf, SendBuf, Timestamp};
use protocol_imap::codec::{Body, FetchAttr, Response, Untagged};
use protocol_imap::server::{
    FlagBits, Request, RowData, RowStep, Selected, ServerConfig, ServerSession, Step, TlsInfo, Transport,
    limits,
};

fn corpus() -> Option<Vec<Vec<u8>>> {
    let shared = std::env::var_os("INBOX_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = shared.join("data/mail/real-600.mbox.gz");
    let Ok(packed) = std::fs::read(&path) else {
        assert!(std::env::var_os("INBOX_TEST_REQUIRE_ALL").is_none_or(|v| v != "1"), "no {}", path.display());
        eprintln!("left out: the corpus of real messages, {} is not there", path.display());
        return None;
    };
    let mut mbox = String::new();
    let mut octets = Vec::new();
    flate2::read::GzDecoder::new(&packed[..])
        .read_to_end(&mut octets)
        .expect("a corpus that can be unpacked");
    mbox.extend(octets.iter().map(|&b| char::from(b)));
    // Each octet is one character here, so that 8-bit text passes unchanged.
    let messages = mbox.split("\n\nFrom ").map(|m| m.split_once('\n').map_or("", |(_, rest)| rest));
    Some(messages.map(|m| m.replace('\n', "\r\n").chars().map(|c| c as u8).collect()).collect())
}

fn fetched(message: &[u8], structure: &Structure) -> Vec<u8> {
    let config = Arc::new(ServerConfig::new("mx.test", 1000));
    let mut session = ServerSession::new(config, Transport::Tls(TlsInfo::default()), Instant(0));
    let mut input = RecvBuf::with_limit(limits::RECV_LIMIT);
    let mut out = SendBuf::with_high_water(1 << 24);
    input.feed(b"a LOGIN a b\r\na EXAMINE x\r\na FETCH 1 (ENVELOPE BODYSTRUCTURE BODY BODY[HEADER])\r\n");
    let mut said = Vec::new();
    loop {
        match session.poll(Instant(0), &mut input, &mut out) {
            Step::Connect(connect) => connect.accept(&mut session, &mut out),
            Step::Authenticate(ask) => ask.succeed(&mut session, &mut out),
            Step::Command(running, Request::Select { name, .. }) => {
                let (uid_validity, uid_next, highest_modseq) = (1, 2, 1);
                let folder =
                    Selected { name: &name, uid_validity, uid_next, highest_modseq, read_only: true };
                let rows = [(1, FlagBits(0))].into_iter();
                running.selected(&folder, std::iter::empty(), rows, &mut session, &mut out);
                out.advance(out.len());
            }
            Step::Command(running, Request::Fetch(fetching)) => {
                out.advance(out.len());
                let target = session.targets().next(&session).expect("a message");
                let data = RowData {
                    uid: 1,
                    flags: FlagBits(0),
                    modseq: 1,
                    size: message.len() as u64,
                    internal_date: Timestamp(0),
                };
                let mut row = session.row(&fetching, target, data, false, Some(structure));
                loop {
                    match row.step(&mut session, &mut out) {
                        RowStep::Done => break,
                        RowStep::Stream { range } => {
                            out.push(&message[range.start as usize..range.end as usize]);
                            row.streamed(range.end - range.start).expect("as announced");
                        }
                        other => panic!("{other:?}"),
                    }
                }
                said.extend_from_slice(out.bytes());
                out.advance(out.len());
                running.fetched(&mut session, &mut out);
                return said;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Leaves of a body structure, in order: type, subtype, octets.
fn leaves(body: &Body<'_>, into: &mut Vec<(String, u64)>) {
    match body {
        Body::Multi { parts, .. } => parts.iter().for_each(|part| leaves(&part, into)),
        Body::Single(single) => match &single.message {
            Some((_, inside)) => inside.iter().for_each(|part| leaves(&part, into)),
            None => {
                let text = |t: protocol_imap::codec::Text<'_>| t.to_str().expect("text").into_owned();
                into.push((
                    format!("{}/{}", text(single.media_type), text(single.subtype)),
                    single.fields.octets,
                ));
            }
        },
    }
}

#[test]
fn what_fetch_says_of_real_messages_is_read_back() {
    let Some(messages) = corpus() else { return };
    assert!(messages.len() >= 500, "{} messages", messages.len());
    for (i, message) in messages.iter().enumerate() {
        let mut scanner = Scanner::new();
        scanner.feed(message);
        let structure = scanner.finish();
        let said = fetched(message, &structure);
        let Ok(Response::Untagged(Untagged::Fetch { number: 1, attrs })) = Response::parse(&said) else {
            panic!("message {i}: {:?}: {}", Response::parse(&said), said.escape_ascii());
        };
        let expected: Vec<(String, u64)> = structure
            .leaves()
            .filter(|(_, p)| {
                p.kind == Kind::Leaf && !matches!(p.media_type.as_str(), "multipart" | "message")
            })
            .map(|(_, p)| (format!("{}/{}", p.media_type, p.media_subtype), p.size()))
            .collect();
        let mut seen = 0;
        for attr in attrs.iter() {
            seen += 1;
            match attr {
                FetchAttr::Envelope(envelope) => {
                    let subject = envelope.subject.map(|s| s.to_vec());
                    assert_eq!(subject, structure.envelope().subject, "message {i}");
                }
                FetchAttr::Body(body) | FetchAttr::BodyStructure(body) => {
                    let mut found = Vec::new();
                    leaves(&body, &mut found);
                    found.retain(|(kind, _)| {
                        !kind.starts_with("message/") && kind != "application/octet-stream"
                            || expected.iter().any(|(e, _)| e == kind)
                    });
                    if expected.iter().all(|(kind, _)| kind != "application/octet-stream") {
                        assert_eq!(found, expected, "message {i}");
                    }
                }
                FetchAttr::Section { data: Some(data), .. } => {
                    let header = structure.root().header();
                    assert_eq!(data.to_vec(), message[..header.end as usize], "message {i}");
                }
                other => panic!("message {i}: {other:?}"),
            }
        }
        assert_eq!(seen, 4, "message {i}");
    }
}
