//! One attempt: the hosts of a destination in turn, real octets between the client machine and the servers.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_channel::Receiver;
use futures_lite::future;
use protocol_core::time::Duration;
use protocol_core::{RecvBuf, SendBuf};
use protocol_smtp::address::{Mailbox, Path};
use protocol_smtp::client::{
    BodyEncoder, ClientConfig, ClientSession, ClientStep, Envelope, RECV_BUF_MIN, Recipient,
};
use protocol_smtp::params::{Body, RcptParams};
use protocol_smtp::queue::{DsnDuty, Event, Failure, Fence, Health, Verdict};
use protocol_smtp::route::{Candidate, HostResult, Next, Tls, TlsDemand, Walk};
use protocol_smtp::status::Status;
use storage::Job;

use crate::exec::lock;
use crate::mutants::Mutant;
use crate::node::{Phase, Worker, claim_of};
use crate::pipe::Conn;
use crate::remote::{self, Caller};
use crate::setup::Kind;

/// What the queue tells an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Write the final dot.
    Proceed,
    /// Do not, and report.
    Withhold,
    /// The lease is lost: report nothing.
    Abandon,
    /// Dial no further host.
    Stop,
}

/// What an attempt found.
pub struct Attempted {
    /// One for each recipient.
    pub verdicts: Vec<(u16, Verdict)>,
    /// How the destination behaved.
    pub health: Health,
    /// Where each recipient was tried.
    pub hosts: BTreeMap<u16, String>,
}

struct Attempt<'a> {
    worker: &'a Arc<Worker>,
    job: &'a Job,
    fence: Fence,
    control: Receiver<Control>,
    phase: &'a Phase<'a>,
    hosts: BTreeMap<u16, String>,
    stopped: bool,
}

struct Talk {
    session: ClientSession,
    conn: Conn,
    input: RecvBuf,
    out: SendBuf,
    todo: Vec<u16>,
    verdicts: Vec<(u16, Verdict)>,
}

/// What is tried.
pub struct What<'a> {
    /// The job.
    pub job: &'a Job,
    /// Its recipients that are tried.
    pub recipients: &'a [u16],
    /// Which attempt it is.
    pub number: u32,
    /// From when until when it was looked up who is suppressed, in true time.
    pub looked: Option<(u64, u64)>,
}

/// Tries these recipients.
pub async fn run(
    worker: &Arc<Worker>,
    what: What<'_>,
    fence: Fence,
    control: Receiver<Control>,
    phase: &Phase<'_>,
) -> Attempted {
    let What { job, recipients, .. } = what;
    let (hosts, world) = (BTreeMap::new(), &worker.world);
    if recipients.is_empty() {
        return Attempted { verdicts: Vec::new(), health: Health::Good, hosts };
    }
    let now = world.exec.now();
    let begun = world.books().attempt_started(worker.node, claim_of(fence), &what, now);
    if let Err(why) = begun {
        world.fail(why);
    }
    world.count("attempt");
    let mut attempt = Attempt { worker, job, fence, control, phase, hosts, stopped: false };
    let (verdicts, health) = attempt.walk(recipients).await;
    Attempted { verdicts, health, hosts: attempt.hosts }
}

impl Attempt<'_> {
    async fn walk(&mut self, recipients: &[u16]) -> (Vec<(u16, Verdict)>, Health) {
        let world = &self.worker.world;
        self.phase.now("look up");
        world.exec.sleep(crate::world::MILLI).await;
        let domains = &world.setup.domains;
        let known = domains.iter().position(|d| d.name == self.job.spec.domain);
        let Some(domain) = known.filter(|n| domains[*n].kind != Kind::NoSuchDomain) else {
            let failure = Failure::local(Status::NO_SUCH_DOMAIN, "no such domain");
            return finished(Walk::failed(&failure, recipients));
        };
        let hosts = if domains[domain].has_dead_host { 2 } else { 1 };
        let candidate = |n: u8| Candidate {
            host: format!("mx{n}.{}", domains[domain].name),
            address: [192, 0, 2, n].into(),
            port: 25,
        };
        let demand = TlsDemand { tls: Tls::Opportunistic, verify: false, plaintext_ok: true };
        let mut walk = Walk::new((0..hosts).map(candidate).collect(), demand, recipients);
        let mut host = 0;
        loop {
            match walk.next() {
                Next::Finish { verdicts, health } => return (verdicts, health),
                Next::Dial { .. } if self.is_stopped() => walk.report(HostResult::Stopped),
                Next::Dial { candidate, recipients, .. } => {
                    let result = self.host((domain, host), &candidate, demand, &recipients).await;
                    host += 1;
                    walk.report(result);
                }
            }
        }
    }

    fn is_stopped(&mut self) -> bool {
        self.stopped |= matches!(self.control.try_recv(), Ok(Control::Stop | Control::Abandon));
        self.stopped
    }

    async fn host(
        &mut self,
        (domain, host): (usize, usize),
        candidate: &Candidate,
        demand: TlsDemand,
        recipients: &[u16],
    ) -> HostResult {
        let world = &self.worker.world;
        let timeout = world.setup.policy.timeout;
        self.phase.now("dial");
        let until = self.worker.truth_of(self.worker.monotonic() + timeout);
        let dialled = remote::dial(world, domain, host, Caller { claim: claim_of(self.fence) });
        let dialled = future::or(dialled, async {
            world.exec.sleep_until(until).await;
            Err("no connection in time".into())
        });
        let conn = match dialled.await {
            Ok(conn) => conn,
            Err(why) => return HostResult::NoConnection(why),
        };
        let config = ClientConfig {
            name: "mx.inbox.test".into(),
            lmtp: false,
            timeout,
            demand,
            plaintext: false,
            authenticate: false,
        };
        let mut talk = Talk {
            session: ClientSession::new(config.into(), None),
            conn,
            input: RecvBuf::with_limit(RECV_BUF_MIN),
            out: SendBuf::with_high_water(65_536),
            todo: recipients.to_vec(),
            verdicts: Vec::new(),
        };
        let name = format!("{} [{}]", candidate.host, candidate.address);
        recipients.iter().for_each(|n| drop(self.hosts.insert(*n, name.clone())));
        self.converse(&mut talk).await
    }

    async fn converse(&mut self, talk: &mut Talk) -> HostResult {
        self.phase.now("converse");
        loop {
            let now = self.worker.monotonic();
            let done = match talk.session.poll(now, &mut talk.input, &mut talk.out) {
                ClientStep::NeedInput => self.wait(talk).await,
                ClientStep::Flush => talk.conn.flush(&mut talk.out).is_ok(),
                ClientStep::UpgradeTls(upgrade) => {
                    upgrade.failed("no TLS here", &mut talk.session);
                    true
                }
                ClientStep::Prove(prove) => {
                    prove.cancel("no credentials", &mut talk.session);
                    true
                }
                ClientStep::Ready => self.next_message(talk),
                ClientStep::Settled { index, verdict } => {
                    talk.verdicts.push((index, verdict));
                    true
                }
                ClientStep::Later { index } => {
                    talk.todo.push(index);
                    true
                }
                ClientStep::Body(encoder) => self.body(talk, encoder),
                ClientStep::DotPending { recipients, wait } => {
                    self.phase.now("before the dot");
                    match self.may_end(&recipients, wait).await {
                        true => {
                            self.worker.world.check_dot(claim_of(self.fence), &recipients);
                            self.phase.now("after the dot");
                            talk.session.proceed(&mut talk.out);
                            if self.worker.world.mutant == Some(Mutant::DotIsDelivery) {
                                return self.assume_delivered(talk, recipients);
                            }
                        }
                        false => talk.session.withhold("this server is stopping"),
                    }
                    true
                }
                ClientStep::Closed(reason) => {
                    let _ = talk.conn.flush(&mut talk.out);
                    let verdicts = std::mem::take(&mut talk.verdicts);
                    return match self.stopped && verdicts.is_empty() {
                        true => HostResult::Stopped,
                        false => reason.host_result(verdicts),
                    };
                }
            };
            if !done {
                talk.input.commit_eof();
                let unsent = talk.out.len();
                talk.out.advance(unsent);
            }
        }
    }

    fn assume_delivered(&self, talk: &mut Talk, recipients: Vec<u16>) -> HostResult {
        let _ = talk.conn.flush(&mut talk.out);
        let delivered =
            |n| (n, Verdict::Delivered { reply: "250".into(), dsn: DsnDuty::PassedOn, by_passed_on: false });
        let mut verdicts = std::mem::take(&mut talk.verdicts);
        verdicts.extend(recipients.into_iter().map(delivered));
        HostResult::Answered { verdicts, health: Health::Good }
    }

    /// Waits for the peer, the deadline, or the word to stop while nothing is in doubt.
    async fn wait(&mut self, talk: &mut Talk) -> bool {
        if talk.conn.flush(&mut talk.out).is_err() {
            return false;
        }
        let until = talk.session.deadline().map_or(u64::MAX, |(at, _)| self.worker.truth_of(at));
        let interruptible = !talk.session.is_after_dot() && !self.stopped;
        let control = self.control.clone();
        let told = async {
            if !interruptible || control.recv().await.is_err() {
                return future::pending().await;
            }
            Err(())
        };
        let read = async { Ok(talk.conn.read_until(&mut talk.input, until).await) };
        match future::or(read, told).await {
            Ok(Some(0)) => talk.input.commit_eof(),
            Ok(_) => {}
            Err(()) => {
                self.stopped = true;
                return false;
            }
        }
        true
    }

    fn next_message(&mut self, talk: &mut Talk) -> bool {
        let spec = &self.job.spec;
        if talk.todo.is_empty() || self.stopped {
            talk.session.quit(&mut talk.out);
            return true;
        }
        let sender = Mailbox::parse(&spec.sender).map_or(Path::Null, Path::Mailbox);
        let mut recipients = Vec::with_capacity(talk.todo.len());
        for index in &talk.todo {
            let Some(row) = spec.recipients.get(usize::from(*index)) else { continue };
            let Ok(mailbox) = Mailbox::parse(&row.address) else { continue };
            let params = RcptParams { notify: row.notify.as_deref(), orcpt: row.orcpt.as_deref() };
            recipients.push(Recipient { index: *index, path: Path::Mailbox(mailbox), params });
        }
        let envelope = Envelope {
            sender,
            recipients: &recipients,
            size: spec.size,
            body: Body::SevenBit,
            utf8_header: false,
            require_tls: false,
            ret: None,
            envid: spec.envid.as_deref(),
            by: None,
        };
        match talk.session.send(&envelope, &mut talk.out) {
            Ok(0) | Err(_) => talk.session.quit(&mut talk.out),
            Ok(taken) => {
                let taken: Vec<u16> = recipients.iter().take(taken).map(|r| r.index).collect();
                talk.todo.retain(|index| !taken.contains(index));
            }
        }
        true
    }

    fn body(&mut self, talk: &mut Talk, mut encoder: BodyEncoder) -> bool {
        let world = &self.worker.world;
        let objects = lock(&world.objects);
        let mut object = objects.get(&self.job.spec.message).cloned();
        if world.mutant == Some(Mutant::WrongBody) {
            object = objects.values().next().cloned();
        }
        drop(objects);
        let Some(bytes) = object else {
            world.fail("an object that a job needs is not there".into());
            return false;
        };
        let mut sent = talk.conn.flush(&mut talk.out).is_ok();
        for piece in bytes.chunks(500) {
            for octets in encoder.encode(piece) {
                sent = sent && talk.conn.write(octets).is_ok();
            }
        }
        if sent {
            encoder.finish(&mut talk.session);
        }
        sent
    }

    /// Asks the queue whether the final dot may be written; storage has recorded it when the answer is yes.
    async fn may_end(&mut self, recipients: &[u16], wait: Duration) -> bool {
        let asked = Event::DotPending { fence: self.fence, recipients: recipients.to_vec(), wait };
        self.worker.tell_queue(asked);
        loop {
            match self.control.recv().await {
                Ok(Control::Proceed) => {
                    // The process may have been stopped since the word was given.
                    let unlooked = self.worker.world.mutant == Some(Mutant::ProceedUnlooked);
                    return unlooked || self.worker.holds_for(self.fence, wait);
                }
                Ok(Control::Stop) => {}
                Ok(Control::Withhold | Control::Abandon) | Err(_) => {
                    self.stopped = true;
                    return false;
                }
            }
        }
    }
}

fn finished(next: Next) -> (Vec<(u16, Verdict)>, Health) {
    match next {
        Next::Finish { verdicts, health } => (verdicts, health),
        Next::Dial { .. } => (Vec::new(), Health::Good),
    }
}
