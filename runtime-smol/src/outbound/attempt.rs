//! One attempt: the hosts of the destination are dialled in the order that was planned, and a session with each
//! goes on until every recipient is settled.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use async_channel::{Receiver, Sender};
use async_io::Async;
use protocol_smtp::client::{ClientConfig, ClientSession};
use protocol_smtp::queue::{Event, Fence, Health, Verdict};
use protocol_smtp::route::posture::{Check, HostPlan, Posture};
use protocol_smtp::route::{Candidate, HostResult, Next, TlsDemand, Walk};
use rustls_pki_types::ServerName;
use storage::Job;
use tracing::Instrument;

use super::dial;
use super::kept::{Kept, Place};
use super::lease::Lease;
use super::noted;
use super::plan::Planner;
use super::session::{Conversation, End, Shown};
use super::source::Source;
use crate::app::App;
use crate::metrics::METRICS;
use crate::mta_sts::Look;
use crate::telemetry::TARGET;
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

impl Attempted {
    /// An attempt that came to nothing, and counts as none.
    pub fn nothing() -> Attempted {
        Attempted { verdicts: Vec::new(), health: Health::Good, tried: HashMap::new(), took: Duration::ZERO }
    }
}

/// What an attempt wants of a host.
struct Wanted {
    demand: TlsDemand,
    plaintext: bool,
    recipients: Vec<u16>,
}

pub(super) struct Attempt<'a> {
    pub(super) app: &'a App,
    kept: &'a Arc<Kept>,
    pub(super) job: &'a Job,
    pub(super) fence: Fence,
    lease: Lease,
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
    (app, kept): (&App, &Arc<Kept>),
    (job, lease): (&Job, Lease),
    recipients: &[u16],
    fence: Fence,
    control: Receiver<Control>,
    events: &Sender<Event>,
) -> Attempted {
    let began = super::monotonic();
    let (tried, seven_bit) = (HashMap::new(), None);
    let (plans, look, stopped) = (Vec::new(), None, false);
    let mut attempt =
        Attempt { app, kept, job, fence, lease, control, events, tried, plans, look, stopped, seven_bit };
    let (verdicts, health) = attempt.walk(recipients).await;
    Attempted { verdicts, health, tried: attempt.tried, took: began.elapsed() }
}

impl Attempt<'_> {
    async fn walk(&mut self, recipients: &[u16]) -> (Vec<(u16, Verdict)>, Health) {
        if recipients.is_empty() {
            return (Vec::new(), Health::Good);
        }
        let planning = tracing::info_span!(target: TARGET, "queue.route");
        let route = match Planner::new(self.app, self.job).route().instrument(planning).await {
            Ok(route) => route,
            Err(failure) => return finished(Walk::failed(&failure, recipients)),
        };
        (self.plans, self.look) = (route.plans, route.look);
        let mut walk = Walk::conditioned(route.conditioned, recipients);
        loop {
            match walk.next() {
                Next::Finish { verdicts, health } => return (verdicts, health),
                Next::Dial { .. } if self.is_stopped() => walk.report(HostResult::Stopped),
                Next::Dial { candidate, demand, plaintext, recipients, others } => {
                    let wanted = Wanted { demand, plaintext, recipients };
                    let addresses: Vec<&Candidate> = std::iter::once(&candidate).chain(&others).collect();
                    let span = tracing::info_span!(target: TARGET, "smtp.session", otel.kind = "client");
                    if let Some(result) = self.host(&mut walk, &addresses, &wanted).instrument(span).await {
                        walk.report(result);
                    }
                }
            }
        }
    }

    /// Whether the lease holds for so long from now, whatever was said before: this process may have been stopped.
    pub(super) fn still_ours(&self, wait: Duration) -> bool {
        self.lease.outlasts(wait)
    }

    fn is_stopped(&mut self) -> bool {
        self.stopped |= matches!(self.control.try_recv(), Ok(Control::Stop | Control::Abandon));
        self.stopped |= !self.still_ours(Duration::ZERO);
        self.stopped
    }

    /// One connection to one host: one that was kept, else a new one to the first of its addresses that answers.
    /// `None`: none of them does, which the walk knows.
    async fn host(
        &mut self,
        walk: &mut Walk,
        addresses: &[&Candidate],
        wanted: &Wanted,
    ) -> Option<HostResult> {
        let kept = addresses.iter().find_map(|to| Some((*to, self.kept_connection(to, wanted)?)));
        if let Some((candidate, conversation)) = kept
            && let Some(result) = self.speak(conversation, candidate, wanted).await
        {
            walk.connected(candidate);
            return Some(result);
        }
        let timeout = self.app.config.outbound.timeout;
        let raced = dial::first(addresses, timeout, |to| self.source(to)).await;
        for (n, why) in &raced.failed {
            walk.not_connected(addresses[*n], why);
        }
        let (n, stream) = raced.winner?;
        let candidate = addresses[n];
        walk.connected(candidate);
        METRICS.outbound_connections.add("new");
        match self.open(stream, candidate, wanted).await {
            Ok(conversation) => self.speak(conversation, candidate, wanted).await,
            Err(why) => Some(HostResult::NoConnection(why)),
        }
    }

    /// A connection to this address that rests and is good for this message too.
    fn kept_connection(&self, candidate: &Candidate, wanted: &Wanted) -> Option<Conversation> {
        let (check, name) = self.check(candidate);
        let place = Place { to: candidate.clone(), from: self.source(candidate) };
        loop {
            let fits = |talk: &mut Conversation| talk.resume(&check, &name, wanted.demand, wanted.plaintext);
            let mut conversation = self.kept.take(&place, fits)?;
            if conversation.is_quiet() {
                conversation.begin(&wanted.recipients);
                METRICS.outbound_connections.add("kept");
                return Some(conversation);
            }
        }
    }

    /// A connection that was just made: implicit TLS, where the relay has it, and the machine.
    async fn open(
        &self,
        stream: Async<TcpStream>,
        candidate: &Candidate,
        wanted: &Wanted,
    ) -> Result<Conversation, String> {
        let timeout = self.app.config.outbound.timeout;
        let sending_ip = stream.get_ref().local_addr().ok().map(|address| address.ip());
        let mut wire = Wire::tcp(stream).map_err(|error| error.to_string())?;
        wire.set_write_stall(timeout);
        let relay = self.app.config.outbound.relay.as_ref();
        let secured = match relay.is_some_and(|r| r.implicit_tls) {
            true => {
                let shown = self.handshake(&mut wire, candidate).await;
                Some(shown.map_err(|error| format!("TLS: {error}"))?)
            }
            false => None,
        };
        let config = ClientConfig {
            name: self.app.config.server.hostname.clone(),
            lmtp: false,
            timeout,
            demand: wanted.demand,
            plaintext: wanted.plaintext,
            authenticate: relay.is_some_and(|r| r.credentials.is_some()),
        };
        let session = ClientSession::new(config.into(), secured.as_ref().map(|(_, worth)| worth.is_ok()));
        let mut conversation = Conversation::new(session, wire, sending_ip);
        conversation.begin(&wanted.recipients);
        if let Some((shown, worth)) = secured {
            conversation.shows(shown, worth);
        }
        Ok(conversation)
    }

    /// Brings the message to this host, and lets the connection rest when it is good for another. `None`: the
    /// connection had been kept too long.
    async fn speak(
        &mut self,
        mut conversation: Conversation,
        candidate: &Candidate,
        wanted: &Wanted,
    ) -> Option<HostResult> {
        let (result, end) = self.converse(&mut conversation, candidate).await;
        if end == End::Stale {
            return None;
        }
        if let (Some(plan), Some(look)) = (self.plan(candidate), &self.look)
            && conversation.is_new_to(&self.job.spec.domain)
        {
            let found = (&conversation, &result);
            noted::connection(self.app, self.job, (candidate, plan, look), wanted.plaintext, found);
        }
        let tls = self.had(candidate, &conversation, &result);
        let host = format!("{} [{}]", candidate.host, candidate.address);
        for index in &wanted.recipients {
            self.tried.insert(*index, Tried { host: host.clone(), tls: tls.clone() });
        }
        if end == End::Rests {
            conversation.met(&self.job.spec.domain);
            let place = Place { to: candidate.clone(), from: self.source(candidate) };
            self.kept.keep(place, conversation);
        }
        Some(result)
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

    /// Our own address for connections to this one, where some are configured: jobs are spread over them, and the
    /// tries of one job keep to theirs.
    fn source(&self, to: &Candidate) -> Option<IpAddr> {
        let sources = &self.app.config.outbound.source_addrs;
        let fitting: Vec<&IpAddr> = sources.iter().filter(|s| s.is_ipv4() == to.address.is_ipv4()).collect();
        let chosen = usize::from(self.job.spec.id.0.0[0]).checked_rem(fitting.len())?;
        fitting.get(chosen).map(|source| **source)
    }

    /// By what the certificate of a host is judged, and the name it is asked for.
    fn check(&self, candidate: &Candidate) -> (Check, ServerName<'static>) {
        let check = self.plan(candidate).map_or(Check::Pkix, |plan| plan.check.clone());
        let name = match &check {
            Check::Dane { base_domain, .. } => base_domain,
            Check::Pkix => &candidate.host,
        };
        let name = match ServerName::try_from(name.clone()) {
            Ok(name) => name,
            Err(_) => ServerName::from(candidate.address),
        };
        (check, name)
    }

    /// The client's side of TLS: what was shown, and what it is worth under the host's check. It is known before
    /// anything more is said.
    pub(super) async fn handshake(
        &self,
        wire: &mut Wire,
        candidate: &Candidate,
    ) -> io::Result<(Shown, Result<(), String>)> {
        let (config, verdict) = self.app.client_tls.recording().map_err(|e| io::Error::other(e.0))?;
        let (check, name) = self.check(candidate);
        wire.connect_tls(config, name.clone(), self.app.config.outbound.timeout).await?;
        let worth = verdict.judge(&check);
        Ok((Shown { verdict, name }, worth))
    }
}

fn finished(next: Next) -> (Vec<(u16, Verdict)>, Health) {
    match next {
        Next::Finish { verdicts, health } => (verdicts, health),
        Next::Dial { .. } => (Vec::new(), Health::Good),
    }
}
