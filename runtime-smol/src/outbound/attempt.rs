//! One attempt: the name servers are asked, hosts are dialled in the order that `route` decides, and a session
//! with each goes on until every recipient is settled.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use async_io::{Async, Timer};
use futures_lite::future;
use protocol_core::{RecvBuf, SendBuf};
use protocol_smtp::address::{Mailbox, Path};
use protocol_smtp::client::{
    BodyEncoder, ClientConfig, ClientSession, ClientStep, Envelope, Missing, Prove, RECV_BUF_MIN, Recipient,
};
use protocol_smtp::params::{Body, RcptParams, Ret};
use protocol_smtp::queue::{Event, Failure, Fence, Health, Verdict};
use protocol_smtp::route::{
    self, AddressAnswer, Candidate, Family, HostAddresses, HostResult, Hosts, Limits, MxAnswer, Next,
    TlsDemand, TlsMode, TlsSettings, Walk,
};
use protocol_smtp::status::Status;
use rustls_pki_types::ServerName;
use storage::Job;

use crate::app::App;
use crate::config;
use crate::wire::Wire;

use super::relay::Proof;
use super::source::Source;

const SEND_HIGH_WATER: usize = 64 * 1024;
/// Why an attempt ends when the server stops.
const STOPPING: &str = "this server is stopping";

/// What the queue tells an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Write the final dot.
    Proceed,
    /// Do not, and report.
    Withhold,
    /// The lease is lost: drop everything, report nothing.
    Abandon,
    /// The server stops: dial no further host.
    Stop,
}

/// Where a recipient was tried.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    /// Host and address.
    pub host: String,
    /// TLS version, cipher and what the certificate was worth; or `plaintext`.
    pub tls: String,
}

/// What an attempt found.
pub struct Attempted {
    pub verdicts: Vec<(u16, Verdict)>,
    pub health: Health,
    pub tried: HashMap<u16, Tried>,
    pub took: Duration,
}

struct Attempt<'a> {
    app: &'a App,
    job: &'a Job,
    fence: Fence,
    control: Receiver<Control>,
    events: &'a Sender<Event>,
    tried: HashMap<u16, Tried>,
    stopped: bool,
    /// The message made 7-bit, once a server without 8BITMIME was met; an error says why it cannot be.
    seven_bit: Option<Result<Source, String>>,
}

/// Tries these recipients of a job.
pub async fn run(
    app: &App,
    job: &Job,
    recipients: &[u16],
    fence: Fence,
    control: Receiver<Control>,
    events: &Sender<Event>,
) -> Attempted {
    let began = super::monotonic();
    let (tried, seven_bit) = (HashMap::new(), None);
    let mut attempt = Attempt { app, job, fence, control, events, tried, stopped: false, seven_bit };
    let (verdicts, health) = attempt.walk(recipients).await;
    Attempted { verdicts, health, tried: attempt.tried, took: began.elapsed() }
}

impl Attempt<'_> {
    async fn walk(&mut self, recipients: &[u16]) -> (Vec<(u16, Verdict)>, Health) {
        let demand = match self.demand() {
            Ok(demand) => demand,
            Err(failure) => return finished(Walk::failed(&failure, recipients)),
        };
        let mut walk = match self.candidates().await {
            Ok(candidates) => Walk::new(candidates, demand, recipients),
            Err(failure) => return finished(Walk::failed(&failure, recipients)),
        };
        loop {
            match walk.next() {
                Next::Finish { verdicts, health } => return (verdicts, health),
                Next::Dial { .. } if self.is_stopped() => walk.report(HostResult::Stopped),
                Next::Dial { candidate, demand, plaintext, recipients } => {
                    let result = self.host(&candidate, demand, plaintext, &recipients).await;
                    walk.report(result);
                }
            }
        }
    }

    fn demand(&self) -> Result<TlsDemand, Failure> {
        let outbound = &self.app.config.outbound;
        let settings = TlsSettings {
            mode: match outbound.tls_mode {
                config::TlsMode::Required => TlsMode::Required,
                config::TlsMode::Opportunistic => TlsMode::Opportunistic,
                config::TlsMode::Disabled => TlsMode::Disabled,
            },
            require_starttls: outbound.require_starttls,
            allow_plaintext_fallback: outbound.allow_plaintext_fallback,
            allow_invalid_certs: outbound.allow_invalid_certs,
        };
        let demand = TlsDemand::by_settings(settings)
            .map_err(|error| Failure { status: Status::NO_TLS, reply: error.to_string() })?;
        Ok(if self.job.spec.require_tls { demand.with_requiretls() } else { demand })
    }

    /// Asks the name servers, and orders what they say.
    async fn candidates(&self) -> Result<Vec<Candidate>, Failure> {
        let outbound = &self.app.config.outbound;
        let own = &self.app.config.server;
        let relay = outbound.relay.as_ref();
        let port = relay.map_or(outbound.port, |r| r.host.port);
        let own_addresses = match self.app.config.ports.smtp_transfer {
            Some(ours) if ours == port => own.bind_addrs.as_slice(),
            _ => &[],
        };
        let limits = Limits {
            family: match outbound.ip_family {
                config::IpFamily::Any => Family::Any,
                config::IpFamily::Ipv4 => Family::Ipv4,
                config::IpFamily::Ipv6 => Family::Ipv6,
            },
            // A relay is the operator's own choice, wherever it stands.
            allow_private: outbound.allow_private_networks || relay.is_some(),
            own_addresses,
            port,
        };
        let domain = relay.map_or(self.job.spec.domain.as_str(), |r| r.host.host.as_str());
        let hosts = match relay {
            Some(_) => route::relay(domain),
            None => {
                let answer = match domain.starts_with('[') {
                    true => MxAnswer::NoData,
                    false => self.app.resolver.lookup_mx(domain).await,
                };
                let mut seed = [0; 32];
                let _ = getrandom::fill(&mut seed);
                route::hosts(domain, &answer, &[own.hostname.as_str()], seed)?
            }
        };
        if let Some(literal) = hosts.literal(&limits) {
            return literal.map(|candidate| vec![candidate]);
        }
        let Hosts::Named { hosts, implicit } = hosts else { return Ok(Vec::new()) };
        let mut answers = Vec::with_capacity(hosts.len());
        for host in hosts {
            let answer: AddressAnswer = self.app.resolver.lookup_ip(&host.name).await;
            answers.push(HostAddresses { host, answer });
        }
        route::candidates(domain, &answers, implicit, &limits)
    }

    fn is_stopped(&mut self) -> bool {
        self.stopped |= matches!(self.control.try_recv(), Ok(Control::Stop | Control::Abandon));
        self.stopped
    }

    /// One connection to one host, from dialling to closing.
    async fn host(
        &mut self,
        candidate: &Candidate,
        demand: TlsDemand,
        plaintext: bool,
        recipients: &[u16],
    ) -> HostResult {
        let timeout = self.app.config.outbound.timeout;
        let stream = match within(timeout, self.dial(candidate)).await {
            Ok(stream) => stream,
            Err(error) => return HostResult::NoConnection(error.to_string()),
        };
        let mut wire = match Wire::tcp(stream) {
            Ok(wire) => wire,
            Err(error) => return HostResult::NoConnection(error.to_string()),
        };
        wire.set_write_stall(timeout);
        let relay = self.app.config.outbound.relay.as_ref();
        let secured = match relay.is_some_and(|r| r.implicit_tls) {
            true => match self.handshake(&mut wire, candidate).await {
                Ok(Ok(())) => Some(true),
                Ok(Err(why)) => {
                    tracing::debug!(host = candidate.host, why, "the relay's certificate is not valid");
                    Some(false)
                }
                Err(error) => return HostResult::NoConnection(format!("TLS: {error}")),
            },
            false => None,
        };
        let config = ClientConfig {
            name: self.app.config.server.hostname.clone(),
            lmtp: false,
            timeout,
            demand,
            plaintext,
            authenticate: relay.is_some_and(|r| r.credentials.is_some()),
        };
        let session = ClientSession::new(config.into(), secured);
        let mut conversation = Conversation {
            session,
            wire,
            input: RecvBuf::with_limit(RECV_BUF_MIN),
            out: SendBuf::with_high_water(SEND_HIGH_WATER),
            todo: recipients.to_vec(),
            verdicts: Vec::new(),
            proof: None,
            lacks: None,
            sends_copy: false,
            certificate: None,
        };
        let result = self.converse(&mut conversation, candidate).await;
        let tls = match (conversation.wire.tls_description(), conversation.certificate) {
            (Some(tls), Some(true)) => format!("{tls} verified"),
            (Some(tls), _) => format!("{tls} unverified"),
            (None, _) => "plaintext".to_owned(),
        };
        let host = format!("{} [{}]", candidate.host, candidate.address);
        for index in recipients {
            self.tried.insert(*index, Tried { host: host.clone(), tls: tls.clone() });
        }
        result
    }

    async fn dial(&self, candidate: &Candidate) -> io::Result<Async<TcpStream>> {
        let address = SocketAddr::new(candidate.address, candidate.port);
        let sources = &self.app.config.outbound.source_addrs;
        let fitting: Vec<&IpAddr> = sources.iter().filter(|s| s.is_ipv4() == address.is_ipv4()).collect();
        if fitting.is_empty() {
            return Async::<TcpStream>::connect(address).await;
        }
        // Jobs are spread over the addresses; the tries of one job keep to theirs.
        let source = fitting[usize::from(self.job.spec.id.0.0[0]) % fitting.len()];
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(*source, 0).into())?;
        socket.set_nonblocking(true)?;
        match socket.connect(&address.into()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                Err(error)
            }
            _ => {
                let stream = Async::new(TcpStream::from(socket))?;
                stream.writable().await?;
                match stream.get_ref().take_error()? {
                    Some(error) => Err(error),
                    None => Ok(stream),
                }
            }
        }
    }

    /// The client's side of TLS; the inner result is what the certificate is worth.
    async fn handshake(&self, wire: &mut Wire, candidate: &Candidate) -> io::Result<Result<(), String>> {
        let (config, verdict) = self.app.client_tls.recording().map_err(|e| io::Error::other(e.0))?;
        let name = match ServerName::try_from(candidate.host.clone()) {
            Ok(name) => name,
            Err(_) => ServerName::from(candidate.address),
        };
        wire.connect_tls(config, name, self.app.config.outbound.timeout).await?;
        Ok(match verdict.result() {
            Some(Ok(())) => Ok(()),
            Some(Err(why)) => Err(why.to_owned()),
            None => Err("no certificate was shown".to_owned()),
        })
    }

    /// Drives a session to its end.
    async fn converse(&mut self, talk: &mut Conversation, candidate: &Candidate) -> HostResult {
        loop {
            let step = talk.session.poll(talk.wire.now(), &mut talk.input, &mut talk.out);
            let done = match step {
                ClientStep::NeedInput => self.wait(talk).await,
                ClientStep::Flush => talk.wire.flush(&mut talk.out).await,
                ClientStep::UpgradeTls(upgrade) => {
                    let flushed = talk.wire.flush(&mut talk.out).await;
                    match self.handshake(&mut talk.wire, candidate).await {
                        Ok(valid) => {
                            talk.certificate = Some(valid.is_ok());
                            let why = valid.as_ref().err().map_or("", String::as_str);
                            upgrade.done(valid.is_ok(), why, &mut talk.session, &mut talk.out);
                        }
                        Err(error) => upgrade.failed(&error.to_string(), &mut talk.session),
                    }
                    flushed
                }
                ClientStep::Prove(prove) => {
                    self.prove(talk, prove);
                    Ok(())
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
                    return match &talk.lacks {
                        Some(missing) if verdicts.is_empty() => {
                            HostResult::Lacks(missing.failure(&candidate.host))
                        }
                        _ if self.stopped && verdicts.is_empty() => HostResult::Stopped,
                        _ => reason.host_result(verdicts),
                    };
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
        let mut recipients = Vec::with_capacity(talk.todo.len());
        for index in &talk.todo {
            let Some(row) = spec.recipients.get(usize::from(*index)) else { continue };
            let Ok(mailbox) = Mailbox::parse(&row.address) else { continue };
            let params = RcptParams { notify: row.notify.as_deref(), orcpt: row.orcpt.as_deref() };
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
            envid: spec.envid.as_deref(),
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
                Ok(Control::Proceed) => return true,
                Ok(Control::Stop) => {}
                Ok(Control::Withhold | Control::Abandon) | Err(_) => {
                    self.stopped = true;
                    return false;
                }
            }
        }
    }
}

enum Waited {
    Read(usize),
    Deadline,
    Told,
}

/// One connection under way.
struct Conversation {
    session: ClientSession,
    wire: Wire,
    input: RecvBuf,
    out: SendBuf,
    /// Recipients not yet sent to.
    todo: Vec<u16>,
    verdicts: Vec<(u16, Verdict)>,
    proof: Option<Proof>,
    lacks: Option<Missing>,
    /// The copy that is 7-bit is sent here.
    sends_copy: bool,
    /// Whether the certificate is valid, once there is TLS.
    certificate: Option<bool>,
}

fn unreadable(job: &Job, error: &storage::Error) -> io::Error {
    tracing::error!(job = %job.spec.id, %error, "a queued message could not be read");
    io::Error::other("the queued message could not be read")
}

fn finished(next: Next) -> (Vec<(u16, Verdict)>, Health) {
    match next {
        Next::Finish { verdicts, health } => (verdicts, health),
        Next::Dial { .. } => (Vec::new(), Health::Good),
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    future::or(work, async {
        Timer::after(limit).await;
        Err(io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))
    })
    .await
}
