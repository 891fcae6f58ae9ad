//! One attempt: the hosts of the destination are dialled in the order that was planned, and a session with each
//! goes on until every recipient is settled.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use async_channel::{Receiver, Sender};
use async_io::{Async, Timer};
use futures_lite::future;
use protocol_smtp::client::{ClientConfig, ClientSession};
use protocol_smtp::queue::{Event, Fence, Health, Verdict};
use protocol_smtp::route::posture::{Check, HostPlan, Posture};
use protocol_smtp::route::{Candidate, HostResult, Next, TlsDemand, Walk};
use rustls_pki_types::ServerName;
use storage::Job;

use super::noted;
use super::plan::Planner;
use super::session::Conversation;
use super::source::Source;
use crate::app::App;
use crate::mta_sts::Look;
use crate::wire::Wire;

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
    /// Posture, TLS version, cipher and what the certificate was worth, or `plaintext`:
    /// `dane TLSv1.3 TLS13_AES_256_GCM_SHA384 verified`, `dane no TLS`.
    pub tls: String,
}

/// What an attempt found.
pub struct Attempted {
    pub verdicts: Vec<(u16, Verdict)>,
    pub health: Health,
    pub tried: HashMap<u16, Tried>,
    pub took: Duration,
}

pub(super) struct Attempt<'a> {
    pub(super) app: &'a App,
    pub(super) job: &'a Job,
    pub(super) fence: Fence,
    pub(super) control: Receiver<Control>,
    pub(super) events: &'a Sender<Event>,
    tried: HashMap<u16, Tried>,
    /// What each host must show.
    plans: Vec<HostPlan>,
    /// What is known of the domain's MTA-STS policy; `None` where none is looked for.
    look: Option<Look>,
    pub(super) stopped: bool,
    /// The message made 7-bit, once a server without 8BITMIME was met; an error says why it cannot be.
    pub(super) seven_bit: Option<Result<Source, String>>,
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
    let (plans, look, stopped) = (Vec::new(), None, false);
    let mut attempt = Attempt { app, job, fence, control, events, tried, plans, look, stopped, seven_bit };
    let (verdicts, health) = attempt.walk(recipients).await;
    Attempted { verdicts, health, tried: attempt.tried, took: began.elapsed() }
}

impl Attempt<'_> {
    async fn walk(&mut self, recipients: &[u16]) -> (Vec<(u16, Verdict)>, Health) {
        let route = match Planner::new(self.app, self.job).route().await {
            Ok(route) => route,
            Err(failure) => return finished(Walk::failed(&failure, recipients)),
        };
        (self.plans, self.look) = (route.plans, route.look);
        let mut walk = Walk::conditioned(route.conditioned, recipients);
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
        let sending_ip = stream.get_ref().local_addr().ok().map(|address| address.ip());
        let mut wire = match Wire::tcp(stream) {
            Ok(wire) => wire,
            Err(error) => return HostResult::NoConnection(error.to_string()),
        };
        wire.set_write_stall(timeout);
        let relay = self.app.config.outbound.relay.as_ref();
        let secured = match relay.is_some_and(|r| r.implicit_tls) {
            true => match self.handshake(&mut wire, candidate).await {
                Ok(valid) => Some(valid),
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
        let session = ClientSession::new(config.into(), secured.as_ref().map(Result::is_ok));
        let mut conversation = Conversation::new(session, wire, recipients);
        conversation.certificate = secured;
        let result = self.converse(&mut conversation, candidate).await;
        if let (Some(plan), Some(look)) = (self.plan(candidate), &self.look) {
            let found = (&conversation, &result);
            noted::connection(self.app, self.job, (candidate, plan, look), sending_ip, plaintext, found);
        }
        let tls = self.had(candidate, &conversation, &result);
        let host = format!("{} [{}]", candidate.host, candidate.address);
        for index in recipients {
            self.tried.insert(*index, Tried { host: host.clone(), tls: tls.clone() });
        }
        result
    }

    /// What the connection really had: the posture, and where it was encrypted, how and under what certificate.
    fn had(&self, candidate: &Candidate, conversation: &Conversation, result: &HostResult) -> String {
        let Some(plan) = self.plan(candidate) else { return Posture::Plaintext.as_str().to_owned() };
        let verdict = match &conversation.certificate {
            Some(Ok(())) => "verified",
            _ => "unverified",
        };
        match (conversation.wire.tls_description(), result) {
            (Some(tls), _) => format!("{} {tls} {verdict}", plan.posture.as_str()),
            // Nothing was sent: the host did not give what the posture asks for.
            (None, HostResult::Tls(..)) => format!("{} no TLS", plan.posture.as_str()),
            (None, _) => plan.posture_used(false).as_str().to_owned(),
        }
    }

    fn plan(&self, candidate: &Candidate) -> Option<&HostPlan> {
        self.plans.iter().find(|plan| plan.name == candidate.host)
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

    /// The client's side of TLS; the inner result is what the certificate is worth under the host's check. It is
    /// known before anything more is said.
    pub(super) async fn handshake(
        &self,
        wire: &mut Wire,
        candidate: &Candidate,
    ) -> io::Result<Result<(), String>> {
        let (config, verdict) = self.app.client_tls.recording().map_err(|e| io::Error::other(e.0))?;
        let check = self.plan(candidate).map_or(Check::Pkix, |plan| plan.check.clone());
        let name = match &check {
            Check::Dane { base_domain, .. } => base_domain,
            Check::Pkix => &candidate.host,
        };
        let name = match ServerName::try_from(name.clone()) {
            Ok(name) => name,
            Err(_) => ServerName::from(candidate.address),
        };
        wire.connect_tls(config, name, self.app.config.outbound.timeout).await?;
        Ok(verdict.judge(&check))
    }
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
