//! The machine of an SMTP client against a server that says anything.

use std::sync::Arc;

use protocol_core::time::Duration;
use protocol_core::{Instant, RecvBuf, SendBuf};
use protocol_smtp::address::{Mailbox, Path};
use protocol_smtp::client::{
    ClientConfig, ClientSession, ClientStep, CloseReason, Envelope, RECV_BUF_MIN, Recipient,
};
use protocol_smtp::params::{Body, RcptParams};
use protocol_smtp::route::{Tls, TlsDemand};

use crate::input::{Cut, Input};

const MESSAGE: &[u8] = b"Subject: x\r\n\r\n.dots\r\n..\r\nend\r\n";

/// No panic, no endless turn, each recipient settled once, nothing said on a connection that must be
/// encrypted and is not, and an end that stays.
pub fn smtp_client(data: &[u8]) {
    let input = Input::new(data);
    for cut in Cut::all(input.seed) {
        Player::new(&input).play(cut);
    }
}

struct Player<'i> {
    input: &'i Input<'i>,
    session: ClientSession,
    buffer: RecvBuf,
    out: SendBuf,
    demand: TlsDemand,
    sends: usize,
    settled: Vec<u16>,
    questions: usize,
    sent: Vec<u8>,
    closed: Option<CloseReason>,
}

impl<'i> Player<'i> {
    fn new(input: &'i Input<'i>) -> Self {
        let config = input.config;
        let demand = TlsDemand {
            tls: if config & 1 != 0 { Tls::Required } else { Tls::Opportunistic },
            verify: config & 2 != 0,
            plaintext_ok: config & 1 == 0,
        };
        let session = ClientConfig {
            name: "client.test".into(),
            lmtp: config & 4 != 0,
            timeout: Duration::from_secs(30),
            demand,
            plaintext: false,
            authenticate: config & 8 != 0,
        };
        let secured = (config & 16 != 0).then_some(config & 32 != 0);
        Player {
            input,
            session: ClientSession::new(Arc::new(session), secured),
            buffer: RecvBuf::with_limit(RECV_BUF_MIN),
            out: SendBuf::with_high_water(4096),
            demand,
            sends: 0,
            settled: Vec::new(),
            questions: 0,
            sent: Vec::new(),
            closed: None,
        }
    }

    fn play(mut self, cut: Cut) {
        self.drive();
        for burst in self.input.bursts() {
            for mut piece in cut.pieces(burst) {
                while !piece.is_empty() && self.closed.is_none() {
                    let fed = self.buffer.feed(piece);
                    piece = &piece[fed..];
                    self.drive();
                    assert!(fed > 0 || self.closed.is_some(), "the client reads no more");
                }
            }
        }
        self.buffer.commit_eof();
        self.drive();
        let reason = self.closed.take().expect("a session without a server ends");
        // Sticky: whatever is done now, it stays ended, and nothing more is said.
        match self.session.poll(Instant(0), &mut self.buffer, &mut self.out) {
            ClientStep::Closed(again) => assert_eq!(again, reason),
            other => panic!("{other:?} behind {reason:?}"),
        }
        let needs_tls = self.demand.tls == Tls::Required && self.input.config & 16 == 0;
        if needs_tls && !self.session.is_tls() {
            let sent = self.sent.escape_ascii().to_string();
            assert!(!sent.contains("MAIL FROM") && !sent.contains("AUTH"), "{sent}");
        }
    }

    fn drive(&mut self) {
        for _ in 0..10_000 {
            if self.closed.is_some() {
                return;
            }
            let step = self.session.poll(Instant(0), &mut self.buffer, &mut self.out);
            self.sent.extend_from_slice(self.out.bytes());
            self.out.advance(self.out.len());
            let answer = self.input.answer(self.questions);
            match step {
                ClientStep::NeedInput => return,
                ClientStep::Flush => {}
                ClientStep::Closed(reason) => self.closed = Some(reason),
                ClientStep::Ready => self.send(answer),
                ClientStep::Settled { index, .. } | ClientStep::Later { index } => {
                    assert!(!self.settled.contains(&index), "recipient {index} is settled twice");
                    self.settled.push(index);
                }
                ClientStep::UpgradeTls(upgrade) => {
                    self.questions += 1;
                    match answer & 3 {
                        1 => upgrade.failed("broke", &mut self.session),
                        2 => upgrade.done(true, "", &mut self.session, &mut self.out),
                        3 => {}
                        _ => upgrade.done(false, "self-signed", &mut self.session, &mut self.out),
                    }
                }
                ClientStep::Prove(prove) => {
                    self.questions += 1;
                    match (answer & 3, prove.challenge().is_some()) {
                        (1, _) => prove.cancel("no more", &mut self.session),
                        (3, _) => drop(prove),
                        (_, true) => prove.respond(b"response", &mut self.session, &mut self.out),
                        (_, false) => {
                            prove.start("PLAIN", Some(b"\0u\0p"), &mut self.session, &mut self.out);
                        }
                    }
                }
                ClientStep::Body(mut encoder) => {
                    self.questions += 1;
                    if answer & 3 == 3 {
                        continue;
                    }
                    for chunk in MESSAGE.chunks(usize::from(answer) % 32 + 1) {
                        encoder.encode(chunk).for_each(|octets| self.out.push(octets));
                    }
                    encoder.finish(&mut self.session);
                }
                ClientStep::DotPending { recipients, .. } => {
                    assert!(recipients.iter().all(|index| !self.settled.contains(index)));
                    self.questions += 1;
                    if answer & 3 == 1 {
                        self.session.withhold("lease lost");
                    } else {
                        self.session.proceed(&mut self.out);
                    }
                }
            }
        }
        panic!("no end of steps");
    }

    fn send(&mut self, answer: u8) {
        self.questions += 1;
        self.sends += 1;
        self.settled.clear();
        if self.sends > 3 {
            return self.session.quit(&mut self.out);
        }
        let path = |text| Path::Mailbox(Mailbox::parse(text).expect("an address"));
        let recipients: Vec<Recipient<'_>> = ["a@x.test", "b@x.test", "c@x.test"]
            .into_iter()
            .zip(0..)
            .map(|(text, index)| Recipient { index, path: path(text), params: RcptParams::default() })
            .collect();
        let envelope = Envelope {
            sender: path("s@client.test"),
            recipients: &recipients,
            size: MESSAGE.len() as u64,
            body: if answer & 4 != 0 { Body::EightBit } else { Body::SevenBit },
            utf8_header: answer & 8 != 0,
            require_tls: answer & 16 != 0,
            ret: None,
            envid: None,
            by: None,
        };
        if self.session.send(&envelope, &mut self.out).is_err() {
            self.session.quit(&mut self.out);
        }
    }
}
