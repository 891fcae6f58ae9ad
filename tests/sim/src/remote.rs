//! Remote domains: our own server machines with scripted verdicts over simulated connections.

use std::sync::Arc;

use protocol_core::{Instant, RecvBuf, SendBuf};
use protocol_smtp::limits::RECV_BUF_MIN;
use protocol_smtp::server::{Refusal, ServerConfig, ServerSession, Service, Step};
use protocol_smtp::status::Status;

use crate::books::Claim;
use crate::exec::{WORLD, lock};
use crate::pipe::{Break, Conn, Weather, pair};
use crate::rogue;
use crate::setup::{Domain, Kind};
use crate::world::{MILLI, SECOND, World};

/// On whose behalf a connection was made: known to the books only.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The claim under which it was dialled.
    pub claim: Claim,
}

/// How a message ends whose last octet has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Accept,
    AcceptAndCut,
    AcceptInSilence,
    Refuse(u16),
    CutUntaken,
    SilentlyUntaken,
}

/// Dials a host of a domain: takes as long as it takes, the caller bounds it.
pub async fn dial(world: &Arc<World>, domain: usize, host: usize, caller: Caller) -> Result<Conn, String> {
    let server = &world.setup.domains[domain];
    let latency = world.rng().between(server.latency / 4, server.latency * 2);
    world.exec.sleep(latency).await;
    let now = world.exec.now();
    let down = !world.is_calm() && server.down.iter().any(|(from, to)| (*from..*to).contains(&now));
    if (server.has_dead_host && host == 0) || down {
        world.count("destination down");
        if world.rng().chance(500) {
            return Err("connection refused".into());
        }
        world.exec.sleep(1_000 * SECOND).await;
        return Err("no route to host".into());
    }
    let weather = weather(world, server);
    let (ours, theirs) = pair(world, weather);
    let world = world.clone();
    world.clone().exec.spawn(WORLD, async move {
        let server = &world.setup.domains[domain];
        match server.kind {
            Kind::Rogue(way) => rogue::serve(&world, theirs, way).await,
            _ => Serving::new(&world, server, theirs, caller).serve().await,
        }
    });
    Ok(ours)
}

fn weather(world: &World, server: &Domain) -> Weather {
    let rng = world.rng();
    let mut weather = Weather { latency: server.latency, torn: rng.chance(300), breaks: [None, None] };
    if !world.is_calm() && rng.chance(server.breaks_permille) {
        let side = rng.below(2);
        let at = rng.below(if side == 0 { 2_200 } else { 700 });
        let how = rng.pick(&[Break::Cut, Break::Cut, Break::Cut, Break::HalfClose, Break::Stall]);
        weather.breaks[side as usize] = Some((at, how));
    }
    weather
}

/// One connection at a server of ours.
struct Serving<'a> {
    world: &'a Arc<World>,
    domain: &'a Domain,
    caller: Caller,
    conn: Conn,
    session: ServerSession,
    out: SendBuf,
    sender: String,
    accepted: Vec<String>,
    spool: Vec<u8>,
}

/// What a server does next, when it is more than answering.
enum Then {
    GoOn,
    Wait,
    Finish,
    Leave,
}

impl<'a> Serving<'a> {
    fn new(world: &'a Arc<World>, domain: &'a Domain, conn: Conn, caller: Caller) -> Self {
        let mut config = ServerConfig::new(&domain.name, Service::Transfer);
        config.starttls = false;
        config.extensions.dsn = domain.dsn;
        config.extensions.pipelining = domain.pipelining;
        config.extensions.chunking = domain.chunking;
        config.recipients_max = domain.recipients_max;
        (config.unknown_recipients_max, config.errors_max) = (u32::MAX, u32::MAX);
        let session = ServerSession::new(config.into(), None, Instant(world.exec.now()));
        Serving {
            world,
            domain,
            caller,
            conn,
            session,
            out: SendBuf::with_high_water(65_536),
            sender: String::new(),
            accepted: Vec::new(),
            spool: Vec::new(),
        }
    }

    async fn serve(mut self) {
        let mut input = RecvBuf::with_limit(RECV_BUF_MIN);
        loop {
            match self.step(&mut input) {
                Then::GoOn => {}
                Then::Leave => return,
                Then::Finish => {
                    // The question was answered or left open by `finish`.
                    if !self.finish(&mut input).await {
                        return;
                    }
                }
                Then::Wait => {
                    if self.conn.flush(&mut self.out).is_err() {
                        input.commit_eof();
                        continue;
                    }
                    let until = self.session.deadline().map_or(u64::MAX, |(at, _)| at.0);
                    if self.conn.read_until(&mut input, until).await == Some(0) {
                        input.commit_eof();
                    }
                }
            }
        }
    }

    fn step(&mut self, input: &mut RecvBuf) -> Then {
        let now = Instant(self.world.exec.now());
        let (session, out) = (&mut self.session, &mut self.out);
        match session.poll(now, input, out) {
            Step::NeedInput | Step::Flush => return Then::Wait,
            Step::Connect(connect) => connect.accept(session, out),
            Step::Sender(sender) => {
                self.sender = sender.path().mailbox().map_or(String::new(), |m| m.as_str().to_owned());
                sender.accept(session, out);
            }
            Step::Recipient(recipient) => {
                let address = recipient.path().mailbox().map_or(String::new(), |m| m.as_str().to_owned());
                match verdict(self.world, self.domain, &address) {
                    Ok(()) => {
                        self.accepted.push(address);
                        recipient.accept(session, out);
                    }
                    Err(why) => {
                        self.world.books().said(self.caller.claim, &address, why.code());
                        recipient.refuse(&why, session, out);
                    }
                }
            }
            Step::Begin(begin) => {
                self.spool.clear();
                begin.accept(session, out);
            }
            Step::Chunk(octets) => self.spool.extend_from_slice(octets),
            Step::Finish(finish) => {
                let ending = ending(self.world, self.domain);
                self.conclude(ending);
                match ending {
                    Ending::Accept => finish.accept("sim", &mut self.session, &mut self.out),
                    Ending::Refuse(code) => {
                        finish.refuse(&refusal(code, "not now"), &mut self.session, &mut self.out)
                    }
                    Ending::AcceptAndCut | Ending::CutUntaken => return Then::Leave,
                    Ending::AcceptInSilence | Ending::SilentlyUntaken => return Then::Finish,
                }
            }
            Step::Discard => {
                self.accepted.clear();
                self.spool.clear();
            }
            Step::Closed(_) => {
                let _ = self.conn.flush(&mut self.out);
                return Then::Leave;
            }
            Step::Authenticate(_) | Step::UpgradeTls(_) => return Then::Leave,
        }
        Then::GoOn
    }

    /// The message's fate, in the server's own books and in ours.
    fn conclude(&mut self, ending: Ending) {
        let recipients = std::mem::take(&mut self.accepted);
        let octets = std::mem::take(&mut self.spool);
        self.world.note(format_args!(
            "{}: {ending:?} {} of <{}> for {}",
            self.domain.name,
            crate::db::world_name(self.caller.claim.0),
            self.sender,
            recipients.join(",")
        ));
        let mut books = self.world.books();
        if let Ending::Refuse(code) = ending {
            recipients.iter().for_each(|r| books.said(self.caller.claim, r, code));
        }
        if matches!(ending, Ending::Accept | Ending::AcceptAndCut | Ending::AcceptInSilence) {
            let claim = self.caller.claim;
            let found = books.took(claim, &self.domain.name, &self.sender, &recipients, &octets);
            drop(books);
            if let Err(why) = found {
                self.world.fail(why);
            }
        }
    }

    /// Says nothing any more; false when it is over.
    async fn finish(&mut self, input: &mut RecvBuf) -> bool {
        self.world.count("silence after the dot");
        let until = self.world.exec.now() + 3_000 * SECOND;
        while !matches!(self.conn.read_until(input, until).await, None | Some(0)) {
            input.discard_all();
        }
        false
    }
}

fn ending(world: &World, domain: &Domain) -> Ending {
    if world.is_calm() || !world.rng().chance(domain.endings_permille) {
        return Ending::Accept;
    }
    let ending = world.rng().pick(&[
        Ending::AcceptAndCut,
        Ending::AcceptAndCut,
        Ending::AcceptInSilence,
        Ending::Refuse(451),
        Ending::Refuse(552),
        Ending::Refuse(421),
        Ending::CutUntaken,
        Ending::SilentlyUntaken,
    ]);
    world.count(match ending {
        Ending::AcceptAndCut => "accepted, cut before the reply",
        Ending::AcceptInSilence => "accepted, no reply",
        Ending::Refuse(_) => "refused after the dot",
        Ending::CutUntaken => "not accepted, cut before the reply",
        _ => "not accepted, no reply",
    });
    ending
}

/// What the server says of a recipient: its local part tells.
fn verdict(world: &World, domain: &Domain, address: &str) -> Result<(), Refusal> {
    let local = address.split('@').next().unwrap_or("");
    let now = world.exec.now();
    match local.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "no" => Err(refusal(550, "no such user")),
        "never" => Err(refusal(554, "not here")),
        "later" => Err(refusal(450, "busy")),
        "full" if now < world.setup.safety => Err(refusal(452, "mailbox full")),
        "grey" => {
            let first = *lock(&world.greylist).entry(address.to_owned()).or_insert(now);
            let passed = now >= first + 60_000 * MILLI;
            if passed { Ok(()) } else { Err(refusal(450, "greylisted")) }
        }
        "moody" if !world.is_calm() && world.rng().chance(400) => Err(refusal(451, "moody")),
        _ if domain.kind == Kind::Home && local == "gone" => Err(refusal(550, "gone")),
        _ => Ok(()),
    }
}

fn refusal(code: u16, text: &str) -> Refusal {
    let class = if code < 500 { 4 } else { 5 };
    let status = match code {
        452 => Status::new(4, 2, 2),
        552 => Status::new(5, 2, 2),
        550 => Status::new(5, 1, 1),
        _ => Status::new(class, 3, 0),
    };
    Refusal::Policy { code, status, text: text.into(), label: "scripted".into() }
}
