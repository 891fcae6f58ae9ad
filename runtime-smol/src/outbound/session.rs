//! One session with a host, from its greeting to its end: the machine's steps are carried out.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future;
use protocol_core::{RecvBuf, SendBuf};
use protocol_smtp::address::{Mailbox, Path};
use protocol_smtp::client::{
    BodyEncoder, ClientSession, ClientStep, CloseReason, Envelope, Missing, Prove, RECV_BUF_MIN, Recipient,
};
use protocol_smtp::params::{Body, RcptParams, Ret};
use protocol_smtp::queue::{Event, Health, Verdict};
use protocol_smtp::route::posture::Check;
use protocol_smtp::route::{Candidate, HostResult, TlsDemand};
use rustls_pki_types::ServerName;
use storage::Job;

use super::attempt::{Attempt, Control};
use super::convert::deliver_by;
use super::kept::MESSAGES_MAX;
use super::relay::Proof;
use super::source::Source;
use crate::reported::{self, Marks};
use crate::tls;
use crate::wire::Wire;

const SEND_HIGH_WATER: usize = 64 * 1024;
/// Why an attempt ends when the server stops.
const STOPPING: &str = "this server is stopping";

enum Waited {
    Read(usize),
    Deadline,
    Told,
}

/// What a server showed of itself when TLS began.
pub(super) struct Shown {
    pub(super) verdict: Arc<tls::Verdict>,
    /// The name that it was asked for.
    pub(super) name: ServerName<'static>,
}

/// How a conversation about a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The connection is closed.
    Closed,
    /// It is good for another message.
    Rests,
    /// It had been kept, and was no longer good: nothing of the message was sent.
    Stale,
}

/// One connection: what lasts from one message to the next, and what is of the message under way.
pub(super) struct Conversation {
    session: ClientSession,
    pub(super) wire: Wire,
    input: RecvBuf,
    out: SendBuf,
    /// Our own address.
    pub(super) sending_ip: Option<IpAddr>,
    shown: Option<Shown>,
    /// Transactions begun.
    messages: u32,
    /// Domains whose mail it carried.
    domains: Vec<String>,
    /// Recipients not yet sent to.
    todo: Vec<u16>,
    verdicts: Vec<(u16, Verdict)>,
    proof: Option<Proof>,
    lacks: Option<Missing>,
    /// The copy that is 7-bit is sent here.
    sends_copy: bool,
    /// Whether the certificate is valid for this message, or why not, once there is TLS.
    pub(super) certificate: Option<Result<(), String>>,
    /// Why the handshake broke.
    pub(super) broken: Option<String>,
}

impl Conversation {
    pub(super) fn new(session: ClientSession, wire: Wire, sending_ip: Option<IpAddr>) -> Conversation {
        Conversation {
            session,
            wire,
            input: RecvBuf::with_limit(RECV_BUF_MIN),
            out: SendBuf::with_high_water(SEND_HIGH_WATER),
            sending_ip,
            shown: None,
            messages: 0,
            domains: Vec::new(),
            todo: Vec::new(),
            verdicts: Vec::new(),
            proof: None,
            lacks: None,
            sends_copy: false,
            certificate: None,
            broken: None,
        }
    }

    /// The next message is for these; nothing of the one before is left.
    pub(super) fn begin(&mut self, recipients: &[u16]) {
        self.todo = recipients.to_vec();
        self.verdicts.clear();
        self.lacks = None;
        self.sends_copy = false;
    }

    /// There is TLS.
    pub(super) fn shows(&mut self, shown: Shown, worth: Result<(), String>) {
        (self.shown, self.certificate) = (Some(shown), Some(worth));
    }

    /// Whether it is good for another message: what the server showed is judged anew, under that message's check.
    pub(super) fn resume(
        &mut self,
        check: &Check,
        name: &ServerName<'_>,
        demand: TlsDemand,
        plaintext: bool,
    ) -> bool {
        let worth = match &self.shown {
            Some(shown) if shown.name != *name => return false,
            Some(shown) => Some(shown.verdict.judge(check)),
            None => None,
        };
        let fits = self.session.resume(demand, plaintext, matches!(worth, Some(Ok(()))));
        if fits {
            self.certificate = worth;
        }
        fits
    }

    /// Whether the server has said nothing since the last message, and not closed either.
    pub(super) fn is_quiet(&mut self) -> bool {
        let read = future::block_on(future::poll_once(self.wire.read(&mut self.input)));
        read.is_none()
    }

    /// Whether no mail for that domain went over it before.
    pub(super) fn is_new_to(&self, domain: &str) -> bool {
        !self.domains.iter().any(|d| d == domain)
    }

    /// Mail for that domain went over it.
    pub(super) fn met(&mut self, domain: &str) {
        if self.is_new_to(domain) {
            self.domains.push(domain.to_owned());
        }
    }

    /// Whether the server settled somebody and may be given another message.
    fn may_rest(&self) -> bool {
        !self.verdicts.is_empty() && self.lacks.is_none() && self.messages < MESSAGES_MAX
    }

    /// Says goodbye to a server that is left with nothing under way. Its answer changes nothing.
    pub(super) async fn farewell(mut self) {
        self.session.quit(&mut self.out);
        if self.wire.flush(&mut self.out).await.is_ok() {
            self.wire.close().await;
        }
    }
}

impl Attempt<'_> {
    /// Drives a session until the message is done with.
    pub(super) async fn converse(
        &mut self,
        talk: &mut Conversation,
        candidate: &Candidate,
    ) -> (HostResult, End) {
        loop {
            let step = talk.session.poll(talk.wire.now(), &mut talk.input, &mut talk.out);
            let done = match step {
                ClientStep::NeedInput => self.wait(talk).await,
                ClientStep::Flush => talk.wire.flush(&mut talk.out).await,
                ClientStep::UpgradeTls(upgrade) => {
                    let flushed = talk.wire.flush(&mut talk.out).await;
                    match self.handshake(&mut talk.wire, candidate).await {
                        Ok((shown, worth)) => {
                            let why = worth.as_ref().err().map_or("", String::as_str);
                            upgrade.done(worth.is_ok(), why, &mut talk.session, &mut talk.out);
                            talk.shows(shown, worth);
                        }
                        Err(error) => {
                            let why = error.to_string();
                            upgrade.failed(&why, &mut talk.session);
                            talk.broken = Some(why);
                        }
                    }
                    flushed
                }
                ClientStep::Prove(prove) => {
                    self.prove(talk, prove);
                    Ok(())
                }
                ClientStep::Ready if talk.todo.is_empty() && !self.is_stopping() && talk.may_rest() => {
                    let verdicts = std::mem::take(&mut talk.verdicts);
                    return (HostResult::Answered { verdicts, health: Health::Good }, End::Rests);
                }
                ClientStep::Ready => self.next_message(talk).await,
                ClientStep::Settled { index, verdict } => {
                    talk.verdicts.push((index, verdict));
                    Ok(())
                }
                ClientStep::Later { index } => {
                    talk.todo.push(index);
                    Ok(())
                }
                ClientStep::Body(encoder) => self.body(talk, encoder).await,
                ClientStep::DotPending { recipients, wait } => {
                    if !self.may_end(recipients, wait).await {
                        talk.session.withhold(STOPPING);
                    } else {
                        talk.session.proceed(&mut talk.out);
                    }
                    Ok(())
                }
                ClientStep::Closed(reason) => {
                    let _ = talk.wire.flush(&mut talk.out).await;
                    let verdicts = std::mem::take(&mut talk.verdicts);
                    let (stale, stopped) = (matches!(reason, CloseReason::Stale(_)), self.stopped);
                    let result = match &talk.lacks {
                        Some(missing) if verdicts.is_empty() => {
                            HostResult::Lacks(missing.failure(&candidate.host))
                        }
                        _ if stopped && verdicts.is_empty() => HostResult::Stopped,
                        _ => reason.host_result(verdicts),
                    };
                    return (result, if stale && !stopped { End::Stale } else { End::Closed });
                }
            };
            if let Err(error) = done {
                // The machine hears of it as the peer's end; it knows what that means where it stands.
                tracing::debug!(host = candidate.host, %error, "the connection broke");
                talk.input.commit_eof();
                let unsent = talk.out.len();
                talk.out.advance(unsent);
            }
        }
    }

    /// Whether there will be no further message for a connection.
    fn is_stopping(&self) -> bool {
        self.stopped || self.app.stop.is_set()
    }

    /// Waits for the peer, the deadline, or the word to stop while nothing is in doubt.
    async fn wait(&mut self, talk: &mut Conversation) -> io::Result<()> {
        talk.wire.flush(&mut talk.out).await?;
        let timer = talk.wire.timer(talk.session.deadline().map(|(at, _)| at));
        let interruptible = !talk.session.is_after_dot() && !self.stopped;
        let control = self.control.clone();
        let told = async {
            if !interruptible {
                return future::pending().await;
            }
            match control.recv().await {
                Ok(_) => Ok(Waited::Told),
                Err(_) => future::pending().await,
            }
        };
        let timed = async {
            timer.await;
            Ok(Waited::Deadline)
        };
        let read = async { talk.wire.read(&mut talk.input).await.map(Waited::Read) };
        match future::or(read, future::or(told, timed)).await? {
            Waited::Read(0) => talk.input.commit_eof(),
            Waited::Read(n) => talk.input.commit(n),
            Waited::Deadline => {}
            Waited::Told => {
                self.stopped = true;
                return Err(io::Error::other(STOPPING));
            }
        }
        Ok(())
    }

    fn prove(&self, talk: &mut Conversation, prove: Prove) {
        let credentials = self.app.config.outbound.relay.as_ref().and_then(|r| r.credentials.as_ref());
        Proof::go_on(&mut talk.proof, prove, credentials, &talk.wire, &mut talk.session, &mut talk.out);
    }

    /// Sends the message to those who are left, or says goodbye.
    async fn next_message(&mut self, talk: &mut Conversation) -> io::Result<()> {
        let spec = &self.job.spec;
        if talk.todo.is_empty() || self.stopped {
            talk.session.quit(&mut talk.out);
            return Ok(());
        }
        let sender = match Mailbox::parse(&spec.sender) {
            Ok(mailbox) => Path::Mailbox(mailbox),
            Err(_) => Path::Null,
        };
        let marks = if talk.session.extensions().dsn { self.marks().await } else { None };
        let mut recipients = Vec::with_capacity(talk.todo.len());
        for index in &talk.todo {
            let at = usize::from(*index);
            let Some(row) = spec.recipients.get(at) else { continue };
            let Ok(mailbox) = Mailbox::parse(&row.address) else { continue };
            let own = marks.as_ref().and_then(|marks| marks.orcpts.get(at)?.as_deref());
            let params = RcptParams { notify: row.notify.as_deref(), orcpt: row.orcpt.as_deref().or(own) };
            recipients.push(Recipient { index: *index, path: Path::Mailbox(mailbox), params });
        }
        let mut envelope = Envelope {
            sender,
            recipients: &recipients,
            size: spec.size,
            body: match (spec.binary, spec.eight_bit) {
                (true, _) => Body::Binary,
                (false, true) => Body::EightBit,
                (false, false) => Body::SevenBit,
            },
            utf8_header: spec.smtputf8,
            require_tls: spec.require_tls,
            ret: match spec.ret.as_deref() {
                Some("FULL") => Some(Ret::Full),
                Some("HDRS") => Some(Ret::Headers),
                _ => None,
            },
            envid: spec.envid.as_deref().or(marks.as_ref().map(|marks| &*marks.envid)),
            // Kept in the store's time.
            by: spec.deliver_by.map(|by| deliver_by(by, 0).remaining(self.app.storage.store_now())),
        };
        let mut sent = talk.session.send(&envelope, &mut talk.out);
        if sent == Err(Missing::EightBitMime)
            && let Some(size) = self.seven_bit_size().await?
        {
            (envelope.body, envelope.size) = (Body::SevenBit, size);
            sent = talk.session.send(&envelope, &mut talk.out);
            talk.sends_copy = true;
        }
        match sent {
            Ok(0) => talk.session.quit(&mut talk.out),
            Ok(taken) => {
                talk.messages += 1;
                let taken: Vec<u16> = recipients.iter().take(taken).map(|r| r.index).collect();
                talk.todo.retain(|index| !taken.contains(index));
            }
            Err(missing) => {
                talk.lacks = Some(missing);
                talk.session.quit(&mut talk.out);
            }
        }
        Ok(())
    }

    /// By what a report about the message would be known. It goes without when that cannot be looked up.
    async fn marks(&self) -> Option<Marks> {
        let marks = reported::marks(&self.app.storage, &self.job.spec).await;
        marks.unwrap_or_else(|error| {
            tracing::warn!(job = %self.job.spec.id, %error, "a message goes without an envelope identifier");
            None
        })
    }

    /// Octets of the message made 7-bit, when it can be.
    async fn seven_bit_size(&mut self) -> io::Result<Option<u64>> {
        if self.seven_bit.is_none() {
            let made = Source::seven_bit(self.app, self.job).await;
            let made = made.map_err(|error| unreadable(self.job, &error))?;
            if let Err(why) = &made {
                tracing::info!(job = %self.job.spec.id, why, "a message is not made 7-bit");
            }
            self.seven_bit = Some(made);
        }
        Ok(self.seven_bit.as_ref().and_then(|made| made.as_ref().ok()).map(Source::len))
    }

    /// Copies the message from storage to the wire.
    async fn body(&mut self, talk: &mut Conversation, mut encoder: BodyEncoder) -> io::Result<()> {
        talk.wire.flush(&mut talk.out).await?;
        let mut queued;
        let source = match &mut self.seven_bit {
            Some(Ok(copy)) if talk.sends_copy => copy,
            _ => {
                queued = Source::queued(self.app, self.job).await.map_err(|e| unreadable(self.job, &e))?;
                &mut queued
            }
        };
        let mut at = 0;
        while at < source.len() {
            let piece = source.read(at).await.map_err(|e| unreadable(self.job, &e))?;
            at += piece.len() as u64;
            let pieces: Vec<&[u8]> = encoder.encode(&piece).collect();
            talk.wire.write_pieces(&pieces).await?;
        }
        encoder.finish(&mut talk.session);
        Ok(())
    }

    /// Asks the queue whether the final dot may be written; storage has recorded it when the answer is yes.
    async fn may_end(&mut self, recipients: Vec<u16>, wait: Duration) -> bool {
        let asked = Event::DotPending { fence: self.fence, recipients, wait };
        if self.events.send(asked).await.is_err() {
            return false;
        }
        loop {
            match self.control.recv().await {
                Ok(Control::Proceed) if self.still_ours(wait) => return true,
                Ok(Control::Stop) => {}
                Ok(Control::Proceed | Control::Withhold | Control::Abandon) | Err(_) => {
                    self.stopped = true;
                    return false;
                }
            }
        }
    }
}

fn unreadable(job: &Job, error: &storage::Error) -> io::Error {
    tracing::error!(job = %job.spec.id, %error, "a queued message could not be read");
    io::Error::other("the queued message could not be read")
}
