//! Messages that break the rule for line endings, however they are cut; and random conversations, which must
//! give the same result for every cut.

use std::sync::Arc;

use proptest::prelude::*;
use protocol_core::{Instant, RecvBuf, SendBuf};
use protocol_smtp::limits::RECV_BUF_MIN;
use protocol_smtp::server::{CloseReason, Refusal, ServerConfig, ServerSession, Service, Step};

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    said: Vec<u8>,
    /// Messages that were finished.
    stored: Vec<Vec<u8>>,
    recipients: Vec<String>,
    closed: Option<CloseReason>,
}

/// Octets that are fed at once end at `cuts`.
fn converse(config: &ServerConfig, pieces: &[&[u8]]) -> Outcome {
    let mut session = ServerSession::new(Arc::new(config.clone()), None, Instant(0));
    let mut input = RecvBuf::with_limit(RECV_BUF_MIN);
    let mut out = SendBuf::with_high_water(4096);
    let mut outcome = Outcome::default();
    let mut message = Vec::new();
    for mut piece in std::iter::once(&b""[..]).chain(pieces.iter().copied()) {
        loop {
            let n = input.feed(piece);
            piece = &piece[n..];
            loop {
                let step = session.poll(Instant(0), &mut input, &mut out);
                outcome.said.extend_from_slice(out.bytes());
                out.advance(out.len());
                match step {
                    Step::NeedInput => break,
                    Step::Flush => {}
                    Step::Discard => message.clear(),
                    Step::Connect(q) => q.accept(&mut session, &mut out),
                    Step::Sender(q) => q.accept(&mut session, &mut out),
                    Step::Recipient(q) => {
                        outcome.recipients.push(q.path().to_string());
                        q.accept(&mut session, &mut out);
                    }
                    Step::Begin(q) => q.accept(&mut session, &mut out),
                    Step::Chunk(text) => message.extend_from_slice(text),
                    Step::Finish(q) => {
                        outcome.stored.push(std::mem::take(&mut message));
                        q.accept("id", &mut session, &mut out);
                    }
                    Step::Authenticate(q) => q.fail(&Refusal::AuthFailed, &mut session, &mut out),
                    Step::UpgradeTls(q) => q.failed(&mut session),
                    Step::Closed(why) => {
                        outcome.closed = Some(why);
                        return outcome;
                    }
                }
                outcome.said.extend_from_slice(out.bytes());
                out.advance(out.len());
            }
            if piece.is_empty() {
                break;
            }
        }
    }
    outcome
}

fn config() -> ServerConfig {
    ServerConfig::new("mx.test", Service::Transfer)
}

const ENVELOPE: &[u8] = b"HELO c\r\nMAIL FROM:<a@ext.test>\r\nRCPT TO:<r@example.test>\r\nDATA\r\n";

const FALSE_ENDS: [&[u8]; 10] = [
    b"\n.\n",
    b"\r.\r",
    b"\r.\n",
    b"\n.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
];

#[test]
fn si1_si2_false_ends_never_end_a_message_wherever_they_are_cut() {
    for end in FALSE_ENDS {
        let smuggled = b"MAIL FROM:<admin@x>\r\nRCPT TO:<victim@example.test>\r\nDATA\r\nsmuggled\r\n.\r\n";
        let message = [b"Subject: x\r\n\r\nfirst line\r\nsecond" as &[u8], end, smuggled].concat();
        for cut in 0..=message.len() {
            let outcome = converse(&config(), &[ENVELOPE, &message[..cut], &message[cut..]]);
            let said = String::from_utf8(outcome.said).unwrap();
            assert_eq!(said.matches("550 5.5.2").count(), 1, "{end:?} cut at {cut}: {said}");
            assert!(said.trim_end().lines().last().unwrap().starts_with("550 5.5.2"), "{said}");
            assert_eq!(outcome.stored, Vec::<Vec<u8>>::new(), "{end:?} cut at {cut}");
            assert_eq!(outcome.recipients, ["<r@example.test>"], "{end:?} cut at {cut}");
            assert_eq!(outcome.closed, Some(CloseReason::BareOctet));
        }
    }
}

#[test]
fn si3_no_bare_octet_is_ever_handed_to_storage() {
    for (at, bad) in (0..40).flat_map(|at| [(at, b'\r'), (at, b'\n'), (at, 0)]) {
        let mut message = b"From: a@ext.test\r\n\r\nsome text\r\nmore text\r\n".to_vec();
        message.insert(at, bad);
        if message.windows(3).any(|w| w == b"\r\r\n") || bad != b'\r' || message.get(at + 1) != Some(&b'\n') {
            let whole = [message.as_slice(), b".\r\n"].concat();
            let outcome = converse(&config(), &[ENVELOPE, &whole]);
            assert_eq!(outcome.closed, Some(CloseReason::BareOctet), "{bad} at {at}");
            assert!(outcome.stored.is_empty());
        }
    }
}

#[test]
fn si35_half_a_million_fields_cost_no_more_than_their_limit() {
    let header = b"To: somebody@example.test\r\n".repeat(500_000);
    let message = [header.as_slice(), b"\r\nbody\r\n.\r\nNOOP\r\n"].concat();
    let outcome = converse(&config(), &[ENVELOPE, &message]);
    let said = String::from_utf8(outcome.said).unwrap();
    assert!(said.ends_with("552 5.3.4 The header is too large\r\n250 2.0.0 OK\r\n"), "{said}");
}

#[test]
fn si35_a_million_addresses_in_one_field_are_too_much_header() {
    let addresses = b"a@b.test, ".repeat(1_000_000);
    let message = [b"To: " as &[u8], &addresses, b"z@b.test\r\n\r\nbody\r\n.\r\nNOOP\r\n"].concat();
    let outcome = converse(&config(), &[ENVELOPE, &message]);
    let said = String::from_utf8(outcome.said).unwrap();
    assert!(said.ends_with("552 5.3.4 The header is too large\r\n250 2.0.0 OK\r\n"), "{said}");
}

#[test]
fn recipients_behind_this_one_can_be_seen_ahead() {
    let mut session = ServerSession::new(Arc::new(config()), None, Instant(0));
    let mut input = RecvBuf::with_limit(RECV_BUF_MIN);
    let mut out = SendBuf::with_high_water(4096);
    let Step::Connect(q) = session.poll(Instant(0), &mut input, &mut out) else { panic!("connect") };
    q.accept(&mut session, &mut out);
    assert!(matches!(session.poll(Instant(0), &mut input, &mut out), Step::NeedInput));
    input.feed(
        b"HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.test>\r\nRCPT TO:<c@d.test> NOTIFY=NEVER\r\nrcpt to:<e@f.test>\r\n\
          DATA\r\nRCPT TO:<g@h.test>\r\nRCPT TO:<i@j",
    );
    let Step::Sender(q) = session.poll(Instant(0), &mut input, &mut out) else { panic!("sender") };
    q.accept(&mut session, &mut out);
    let Step::Recipient(q) = session.poll(Instant(0), &mut input, &mut out) else { panic!("recipient") };
    let ahead: Vec<&str> = q.upcoming().map(|m| m.as_str()).collect();
    assert_eq!(
        (q.path().to_string().as_str(), ahead.as_slice()),
        ("<a@b.test>", &["c@d.test", "e@f.test"][..])
    );
    q.accept(&mut session, &mut out);
    let Step::Recipient(q) = session.poll(Instant(0), &mut input, &mut out) else { panic!("recipient") };
    assert_eq!(q.upcoming().count(), 1);
}

/// Lines and scraps that lead a session through its states. DATA is last in its burst, as a client that waits
/// for 354 sends it.
fn burst() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        8 => Just(&b"MAIL FROM:<a@b.test>\r\n"[..]),
        8 => Just(&b"RCPT TO:<c@d.test>\r\n"[..]),
        2 => Just(&b"RSET\r\n"[..]),
        2 => Just(&b"NOOP\r\n"[..]),
        4 => Just(&b"EHLO x\r\n"[..]),
        2 => Just(&b"BDAT 4\r\nab\r\n"[..]),
        2 => Just(&b"BDAT 4 LAST\r\ncd\r\n"[..]),
        1 => Just(&b"BDAT 2 LAST\r\n\r\n"[..]),
        1 => Just(&b"BDAT x\r\n"[..]),
        1 => Just(&b"MAIL FROM:<a@@b>\r\n"[..]),
        1 => Just(&b"\n"[..]),
        1 => Just(&b"\r"[..]),
        1 => Just(&b"x"[..]),
        1 => Just(&b"AUTH PLAIN\r\n"[..]),
        1 => Just(&b"QUIT\r\n"[..]),
    ];
    let text = prop_oneof![
        Just(&b"text\r\n"[..]),
        Just(&b"..\r\n"[..]),
        Just(&b".x\r\n"[..]),
        Just(&b"\r\n"[..]),
        Just(&b"Received: by mx.test\r\n"[..]),
    ];
    let commands = prop::collection::vec(line, 1..8).prop_map(|l| l.concat());
    let data = Just(b"HELO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n".to_vec());
    let message = (prop::collection::vec(text, 0..8), any::<bool>())
        .prop_map(|(t, end)| [t.concat().as_slice(), if end { b".\r\n" } else { b"" }].concat());
    prop_oneof![4 => commands, 2 => data, 2 => message]
}

proptest! {
    #[test]
    fn si2_every_cut_of_a_conversation_has_the_same_outcome(
        bursts in prop::collection::vec(burst(), 1..8),
        cuts in prop::collection::vec(0usize..200, 0..6),
    ) {
        let config = ServerConfig { message_max: 60, errors_max: 6, ..config() };
        let whole: Vec<&[u8]> = bursts.iter().map(Vec::as_slice).collect();
        let mut cut: Vec<&[u8]> = Vec::new();
        for burst in &bursts {
            let mut at: Vec<usize> = cuts.iter().map(|c| c % (burst.len() + 1)).collect();
            at.sort_unstable();
            let mut from = 0;
            for to in at {
                cut.push(&burst[from..to]);
                from = to;
            }
            cut.push(&burst[from..]);
        }
        let bytes: Vec<&[u8]> = bursts.iter().flat_map(|b| b.chunks(1)).collect();
        let expected = converse(&config, &whole);
        prop_assert_eq!(&expected, &converse(&config, &cut));
        prop_assert_eq!(&expected, &converse(&config, &bytes));
        for message in &expected.stored {
            prop_assert!(message.len() <= 60);
        }
    }

    #[test]
    fn any_octets_at_all_are_survived(octets in prop::collection::vec(any::<u8>(), 0..600), size in 1usize..50) {
        let pieces: Vec<&[u8]> = octets.chunks(size).collect();
        let outcome = converse(&config(), &pieces);
        prop_assert!(outcome.stored.is_empty());
        prop_assert!(outcome.said.starts_with(b"220 "));
    }
}
