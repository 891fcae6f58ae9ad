//! The client against our own server, in memory: whatever the message, the recipients, the offers and the
//! sizes of the segments, what the client sends is what the server stores, and each recipient hears of its
//! own fate only.

use std::sync::Arc;

use proptest::prelude::*;
use protocol_core::time::Duration;
use protocol_core::{Instant, RecvBuf, SendBuf};
use protocol_smtp::address::{Mailbox, Path};
use protocol_smtp::client::*;
use protocol_smtp::limits::RECV_BUF_MIN as SERVER_BUF;
use protocol_smtp::params::{Body, RcptParams};
use protocol_smtp::queue::{DsnDuty, Verdict};
use protocol_smtp::route::{Tls, TlsDemand};
use protocol_smtp::server::{Refusal, ServerConfig, ServerSession, Service, Step};

const NOW: Instant = Instant(0);

/// What becomes of a recipient at the server, by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Taken,
    Later,
    Never,
    /// LMTP: accepted, then not stored.
    Full,
}

struct Wire {
    client: ClientSession,
    client_in: RecvBuf,
    client_out: SendBuf,
    server: ServerSession,
    server_in: RecvBuf,
    server_out: SendBuf,
    lmtp: bool,
    /// Octets moved at a time, one after another.
    segments: Vec<usize>,
    moved: usize,
    /// Extensions whose names are blotted out on their way to the client.
    hidden: Vec<&'static str>,
    spool: Vec<u8>,
    stored: Vec<(Vec<u8>, usize)>,
    accepted: Vec<Fate>,
}

impl Wire {
    fn new(lmtp: bool, segments: Vec<usize>, hidden: Vec<&'static str>) -> Wire {
        let demand = TlsDemand { tls: Tls::Opportunistic, verify: false, plaintext_ok: true };
        let config = ClientConfig {
            name: "client.test".into(),
            lmtp,
            timeout: Duration::from_secs(30),
            demand,
            plaintext: true,
            authenticate: false,
        };
        let service = if lmtp { Service::Lmtp } else { Service::Transfer };
        let mut server_config = ServerConfig::new("server.test", service);
        // Its patience with unknown recipients is not what is tried here.
        (server_config.unknown_recipients_max, server_config.errors_max) = (u32::MAX, u32::MAX);
        Wire {
            client: ClientSession::new(Arc::new(config), None),
            client_in: RecvBuf::with_limit(RECV_BUF_MIN),
            client_out: SendBuf::with_high_water(65_536),
            server: ServerSession::new(Arc::new(server_config), None, NOW),
            server_in: RecvBuf::with_limit(SERVER_BUF),
            server_out: SendBuf::with_high_water(65_536),
            lmtp,
            segments,
            moved: 0,
            hidden,
            spool: Vec::new(),
            stored: Vec::new(),
            accepted: Vec::new(),
        }
    }

    fn segment(&mut self) -> usize {
        self.moved += 1;
        self.segments[self.moved % self.segments.len()]
    }

    /// One segment each way; whether anything moved.
    fn carry(&mut self) -> bool {
        assert!(self.moved < 1_000_000, "the conversation does not end");
        let up = self.segment();
        let n = self.server_in.feed(&self.client_out.bytes()[..up.min(self.client_out.len())]);
        self.client_out.advance(n);
        self.serve();
        // Names are blotted out in whole replies only: the server writes them in one go.
        let mut down = self.server_out.bytes().to_vec();
        for name in &self.hidden {
            while let Some(at) = down.windows(name.len()).position(|w| w == name.as_bytes()) {
                down[at] = b'X';
            }
        }
        let mut rest = &down[..];
        while !rest.is_empty() {
            let size = self.segment().min(rest.len());
            let m = self.client_in.feed(&rest[..size]);
            rest = &rest[m..];
            if m == 0 {
                break;
            }
        }
        let taken = down.len() - rest.len();
        self.server_out.advance(taken);
        n + taken > 0
    }

    fn serve(&mut self) {
        loop {
            match self.server.poll(NOW, &mut self.server_in, &mut self.server_out) {
                Step::NeedInput | Step::Flush | Step::Closed(_) => return,
                Step::Connect(connect) => connect.accept(&mut self.server, &mut self.server_out),
                Step::Sender(sender) => sender.accept(&mut self.server, &mut self.server_out),
                Step::Recipient(recipient) => {
                    let address = recipient.path().to_string();
                    let fate = fate(&address);
                    match fate {
                        Fate::Never => recipient.refuse(
                            &Refusal::UnknownRecipient,
                            &mut self.server,
                            &mut self.server_out,
                        ),
                        Fate::Later => {
                            recipient.refuse(&Refusal::Unavailable, &mut self.server, &mut self.server_out)
                        }
                        Fate::Taken | Fate::Full => {
                            self.accepted.push(fate);
                            recipient.accept(&mut self.server, &mut self.server_out);
                        }
                    }
                }
                Step::Begin(begin) => {
                    self.spool.clear();
                    begin.accept(&mut self.server, &mut self.server_out);
                }
                Step::Chunk(octets) => self.spool.extend_from_slice(octets),
                Step::Finish(finish) => {
                    self.stored.push((self.spool.clone(), finish.recipients()));
                    let verdicts: Vec<Result<&str, Refusal>> = self
                        .accepted
                        .drain(..)
                        .map(|fate| if fate == Fate::Full { Err(Refusal::OverQuota) } else { Ok("id") })
                        .collect();
                    match self.lmtp {
                        true => finish.each(&verdicts, &mut self.server, &mut self.server_out),
                        false => finish.accept("id", &mut self.server, &mut self.server_out),
                    }
                }
                Step::Discard => self.accepted.clear(),
                other => panic!("not expected here: {other:?}"),
            }
        }
    }

    /// Until the client is ready for a message; its verdicts on the way.
    fn talk(&mut self, message: &[u8], piece: usize) -> Result<Vec<(u16, Verdict)>, CloseReason> {
        let mut verdicts = Vec::new();
        loop {
            match self.client.poll(NOW, &mut self.client_in, &mut self.client_out) {
                ClientStep::NeedInput => {
                    assert!(self.carry(), "both sides wait for each other");
                }
                ClientStep::Flush => {
                    self.carry();
                }
                ClientStep::Ready => return Ok(verdicts),
                ClientStep::Settled { index, verdict } => verdicts.push((index, verdict)),
                ClientStep::Body(mut encoder) => {
                    for chunk in message.chunks(piece) {
                        for octets in encoder.encode(chunk) {
                            self.client_out.push(octets);
                        }
                    }
                    assert_eq!(encoder.octets(), message.len() as u64);
                    encoder.finish(&mut self.client);
                }
                ClientStep::DotPending { .. } => {
                    // Everything but the end is there, and nothing is stored.
                    let stored = self.stored.len();
                    while !self.client_out.is_empty() {
                        assert!(self.carry(), "the peer takes no more");
                    }
                    assert_eq!(self.stored.len(), stored, "stored before its end was sent");
                    self.client.proceed(&mut self.client_out);
                }
                ClientStep::Closed(reason) => return Err(reason),
                other => panic!("not expected here: {other:?}"),
            }
        }
    }

    fn send(&mut self, fates: &[Fate], message: &[u8], piece: usize) -> Vec<(u16, Verdict)> {
        let names: Vec<String> =
            fates.iter().enumerate().map(|(n, f)| format!("{f:?}{n}@server.test")).collect();
        let recipients: Vec<Recipient<'_>> = names
            .iter()
            .zip(0..)
            .map(|(name, index)| Recipient {
                index,
                path: Path::Mailbox(Mailbox::parse(name).unwrap()),
                params: RcptParams::default(),
            })
            .collect();
        let envelope = Envelope {
            sender: Path::Mailbox(Mailbox::parse("a@client.test").unwrap()),
            recipients: &recipients,
            size: message.len() as u64,
            body: Body::SevenBit,
            utf8_header: false,
            require_tls: false,
            ret: None,
            envid: None,
            by: None,
        };
        let taken = self.client.send(&envelope, &mut self.client_out).expect("the server has everything");
        assert_eq!(taken, recipients.len());
        self.talk(message, piece).expect("the session goes on")
    }
}

fn fate(path: &str) -> Fate {
    [Fate::Later, Fate::Never, Fate::Full]
        .into_iter()
        .find(|f| path[1..].starts_with(&format!("{f:?}")))
        .unwrap_or(Fate::Taken)
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::collection::vec(prop_oneof![Just(b'.'), Just(b'a'), Just(0xe9), Just(b' ')], 0..12);
    prop_oneof![Just(b".".to_vec()), Just(b"..".to_vec()), Just(vec![b'x'; 3_000]), text]
}

/// Lines with their ends, as everything that is stored has them.
fn message() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(line(), 0..30).prop_map(|lines| {
        let mut message = b"Subject: test\r\n\r\n".to_vec();
        lines.iter().for_each(|l| message.extend([l, &b"\r\n"[..]].concat()));
        message
    })
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let one = prop_oneof![3 => Just(Fate::Taken), 1 => Just(Fate::Later), 1 => Just(Fate::Never), 1 => Just(Fate::Full)];
    prop::collection::vec(one, 1..8)
}

#[test]
fn a_transaction_takes_as_many_recipients_as_the_server_announces_and_the_rest_comes_after() {
    let mut wire = Wire::new(false, vec![1_000], vec![]);
    assert_eq!(wire.talk(b"", 1), Ok(vec![]));
    assert_eq!(wire.client.extensions().recipients_max, Some(100));
    let all = (0..=100).map(|index| Recipient {
        index,
        path: Path::Mailbox(Mailbox::parse("Taken@server.test").unwrap()),
        params: RcptParams::default(),
    });
    let all: Vec<Recipient<'_>> = all.collect();
    for (recipients, taken) in [(&all[..], 100), (&all[100..], 1)] {
        let envelope = Envelope {
            sender: Path::Null,
            recipients,
            size: 9,
            body: Body::SevenBit,
            utf8_header: false,
            require_tls: false,
            ret: None,
            envid: None,
            by: None,
        };
        assert_eq!(wire.client.send(&envelope, &mut wire.client_out), Ok(taken));
        assert_eq!(wire.client.send(&envelope, &mut wire.client_out), Ok(0), "one transaction at a time");
        assert_eq!(wire.talk(b"A: b\r\n\r\n", 9).unwrap().len(), taken);
    }
    assert_eq!(wire.stored.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [100, 1]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn so5_so6_so18_what_the_client_sends_is_what_the_server_stores(
        lmtp in any::<bool>(),
        hide_chunking in any::<bool>(),
        hide_pipelining in any::<bool>(),
        segments in prop::collection::vec(1usize..400, 1..6),
        piece in 1usize..700,
        mail in prop::collection::vec((fates(), message()), 1..4),
    ) {
        let hidden = [(hide_chunking, "CHUNKING"), (hide_pipelining, "PIPELINING")];
        let hidden = hidden.into_iter().filter(|(hide, _)| *hide).map(|(_, name)| name).collect();
        let mut wire = Wire::new(lmtp, segments, hidden);
        prop_assert_eq!(wire.talk(b"", 1), Ok(vec![]));
        prop_assert_eq!(wire.client.extensions().chunking, !hide_chunking);
        // Each chunk of BDAT has a reply, and replies are read after the last: chunks are large.
        let piece = if hide_chunking || hide_pipelining { piece } else { piece * 64 };
        for (fates, message) in mail {
            let before = wire.stored.len();
            let mut verdicts = wire.send(&fates, &message, piece);
            verdicts.sort_by_key(|(index, _)| *index);
            prop_assert_eq!(verdicts.len(), fates.len(), "each recipient once");
            for ((index, verdict), (n, fate)) in verdicts.iter().zip((0u16..).zip(&fates)) {
                prop_assert_eq!(*index, n);
                let fits = match (fate, verdict) {
                    (Fate::Full, Verdict::Temporary(_)) => lmtp,
                    (Fate::Full, Verdict::Delivered { .. }) => !lmtp,
                    (Fate::Taken, Verdict::Delivered { dsn, .. }) => *dsn == DsnDuty::PassedOn,
                    (Fate::Later, Verdict::Temporary(f)) => f.status.class == 4,
                    (Fate::Never, Verdict::Permanent(f)) => f.status.class == 5,
                    _ => false,
                };
                prop_assert!(fits, "{:?} became {:?}", fate, verdict);
            }
            let standing = fates.iter().filter(|f| matches!(f, Fate::Taken | Fate::Full)).count();
            if standing > 0 {
                prop_assert_eq!(&wire.stored[before..], &[(message, standing)]);
            } else {
                prop_assert_eq!(wire.stored.len(), before, "nothing is stored for nobody");
            }
        }
        wire.client.quit(&mut wire.client_out);
        prop_assert_eq!(wire.talk(b"", 1), Err(CloseReason::Quit));
    }
}
