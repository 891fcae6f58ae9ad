//! What a seed decides before anything happens: how many nodes, what policy, which destinations, how much
//! trouble.

use protocol_core::time::Duration;
use protocol_smtp::queue::Policy;

use crate::mutants::Mutant;
use crate::rng::Rng;
use crate::world::{MILLI, SECOND};

/// Everything that a seed decides beforehand.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Nodes of the installation.
    pub nodes: usize,
    /// One node with its database inside: both go down together.
    pub embedded: bool,
    /// False for a store that is only compared.
    pub has_latency: bool,
    /// Longest reads, in nanoseconds.
    pub read_latency: u64,
    /// Longest way of a write, to the database or back.
    pub write_latency: u64,
    /// Longest time between a commit's being visible and its being durable.
    pub sync_latency: u64,
    /// The queue's variables.
    pub policy: Policy,
    /// Destinations; the first ones are the senders' own.
    pub domains: Vec<Domain>,
    /// Of these are the senders' own.
    pub homes: usize,
    /// Messages that are submitted.
    pub messages: u64,
    /// Length of the safety phase, in nanoseconds.
    pub safety: u64,
    /// Mean time between two faults of the nodes and the database; 0: none.
    pub chaos_gap: u64,
    /// Clocks of nodes: whether they keep to the allowed skew or are off by an hour and drift by a tenth.
    pub clocks: Clocks,
    /// A node dies at this poll of its tasks, counted from its start; then at the next such, and so on.
    pub trip: Option<u64>,
    /// Most faults are of this kind.
    pub focus: Option<&'static str>,
    /// Nodes are stopped between the word to write a final dot and the dot.
    pub stops_before_dots: bool,
    /// Real time that passes at each poll of a task, for tests that it does not matter.
    pub pause: std::time::Duration,
    /// What senders may send and addresses may get, and who changes it; none in worlds where nothing of it is asked.
    pub limits: Option<Limits>,
}

/// What holds senders and addresses back, and what administrators do meanwhile.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Mean time between two of their acts, in nanoseconds.
    pub acts_gap: u64,
    /// Most acts are of this kind.
    pub focus: Option<Act>,
    /// The quotas of each sender's domain at first.
    pub quotas: Vec<Quotas>,
    /// A home whose organisation is deleted, and when.
    pub deletion: Option<(usize, u64)>,
    /// All clients begin at about the same time.
    pub rush: bool,
}

/// The quotas of a sender's domain; none: without a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Recipients an hour.
    pub hourly: Option<u64>,
    /// Queued jobs.
    pub jobs: Option<u64>,
}

/// What an administrator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Cancels a job.
    Cancel,
    /// Holds mail to an address or a domain back.
    Suppress,
    /// Lets it go again.
    Lift,
    /// Edits a domain's quotas.
    Edit,
}

/// How the nodes' clocks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clocks {
    /// Off by less than the skew that the lease rules allow, and nearly without drift.
    Close,
    /// Off by up to an hour, drifting by up to a tenth, stepping.
    Wild,
}

/// What kind of destination it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A server of ours with scripted verdicts.
    Plain,
    /// Of a sender: takes its notifications.
    Home,
    /// It does not exist: nothing is dialled.
    NoSuchDomain,
    /// Breaks the protocol, in one of several ways.
    Rogue(u8),
}

/// A destination.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// See [`Kind`].
    pub kind: Kind,
    /// Its first host never answers; there is a second.
    pub has_dead_host: bool,
    /// Offers DSN.
    pub dsn: bool,
    /// Offers PIPELINING.
    pub pipelining: bool,
    /// Offers CHUNKING.
    pub chunking: bool,
    /// Recipients of a transaction.
    pub recipients_max: usize,
    /// Unreachable from and until, in true time.
    pub down: Vec<(u64, u64)>,
    /// Of a thousand connections so many break.
    pub breaks_permille: u64,
    /// Of a thousand messages so many end badly after the dot.
    pub endings_permille: u64,
    /// Longest way of an octet, in nanoseconds.
    pub latency: u64,
}

impl Setup {
    /// What this seed decides.
    pub fn of(seed: u64, mutant: Option<Mutant>) -> Setup {
        let mut rng = Rng::new(seed ^ 0x0005_e70b);
        let embedded = rng.chance(150);
        let safety = rng.between(600, 3_000) * SECOND;
        let homes = rng.between(1, 3) as usize;
        let mut domains: Vec<Domain> = (0..homes).map(|n| home(&mut rng, n, safety)).collect();
        for n in 0..rng.between(2, 5) {
            domains.push(destination(&mut rng, n, safety));
        }
        let slow = rng.chance(200);
        let mut setup = Setup {
            nodes: if embedded { 1 } else { rng.between(1, 4) as usize },
            embedded,
            has_latency: true,
            read_latency: if slow { 400 * MILLI } else { 3 * MILLI },
            write_latency: if slow { 2 * SECOND } else { 5 * MILLI },
            sync_latency: if slow { 3 * SECOND } else { 20 * MILLI },
            policy: policy(&mut rng),
            domains,
            homes,
            messages: rng.between(2, 14),
            safety,
            chaos_gap: if rng.chance(100) { 0 } else { rng.between(40, 400) * SECOND },
            clocks: if rng.chance(500) { Clocks::Wild } else { Clocks::Close },
            trip: rng.chance(100).then(|| rng.between(5, 400)),
            focus: None,
            stops_before_dots: rng.chance(50),
            pause: std::time::Duration::ZERO,
            limits: None,
        };
        // From a generator of its own: nothing else that a seed decides depends on it.
        let mut rng = Rng::new(seed ^ 0x0011_3175);
        if rng.chance(600) {
            setup.limits = Some(limits(&mut rng, &setup));
        }
        if let Some(mutant) = mutant {
            mutant.adjust(&mut setup);
        }
        setup
    }

    /// A world of several nodes that are stopped for long, at chosen awaits, again and again.
    pub fn stopped(seed: u64) -> Setup {
        Setup::of(seed, Some(Mutant::StoreClockLate))
    }

    /// The same without limits.
    pub fn unlimited(seed: u64) -> Setup {
        Setup { limits: None, ..Setup::of(seed, None) }
    }

    /// A world for one crash at a chosen poll: one node, one message, a quiet network.
    pub fn tiny(seed: u64, poll: u64) -> Setup {
        let mut setup = Setup::of(seed, None);
        (setup.nodes, setup.messages, setup.chaos_gap, setup.limits) = (1, 1, 0, None);
        setup.trip = Some(poll);
        setup
    }
}

fn policy(rng: &mut Rng) -> Policy {
    let secs = Duration::from_secs;
    let base = rng.between(10, 60);
    Policy {
        retry_base: secs(base),
        retry_max: secs(rng.between(base * 2, 900)),
        max_attempts: rng.between(2, 12) as u32,
        ttl: secs(rng.between(1_200, 9_000)),
        delay_warning: secs(rng.pick(&[0, 300, 900, 1_800])),
        poll_interval: secs(rng.between(5, 20)),
        batch: rng.between(1, 8) as u16,
        lease: secs(rng.between(40, 130)),
        timeout: secs(30),
        held_max: rng.between(2, 20) as usize,
        deliveries_max: rng.between(1, 8) as usize,
        per_destination_start: rng.between(1, 2) as u32,
        per_destination_max: rng.between(1, 3) as u32,
    }
}

/// Limits as a seed makes them.
pub(crate) fn limits(rng: &mut Rng, setup: &Setup) -> Limits {
    Limits {
        acts_gap: rng.between(10, 200) * SECOND,
        focus: None,
        quotas: (0..setup.homes).map(|_| quotas(rng)).collect(),
        deletion: rng
            .chance(200)
            .then(|| (rng.below(setup.homes as u64) as usize, rng.between(setup.safety / 4, setup.safety))),
        rush: rng.chance(300),
    }
}

/// Quotas that a few messages use up, or none.
pub(crate) fn quotas(rng: &mut Rng) -> Quotas {
    let (hourly, jobs) = (rng.between(2, 16), rng.between(1, 8));
    Quotas { hourly: rng.chance(600).then_some(hourly), jobs: rng.chance(600).then_some(jobs) }
}

fn home(rng: &mut Rng, n: usize, safety: u64) -> Domain {
    let mut domain = destination(rng, n as u64, safety);
    domain.name = format!("home{n}.test");
    domain.kind = Kind::Home;
    domain
}

fn destination(rng: &mut Rng, n: u64, safety: u64) -> Domain {
    let kind = match rng.below(20) {
        0 => Kind::NoSuchDomain,
        1 | 2 => Kind::Rogue(rng.below(7) as u8),
        _ => Kind::Plain,
    };
    let bad = rng.chance(500);
    let mut down = Vec::new();
    while rng.chance(if bad { 500 } else { 100 }) && down.len() < 3 {
        let from = rng.below(safety);
        down.push((from, from + rng.between(10, 1_200) * SECOND));
    }
    Domain {
        name: format!("d{n}.test"),
        kind,
        has_dead_host: rng.chance(100),
        dsn: rng.chance(700),
        pipelining: rng.chance(700),
        chunking: rng.chance(500),
        recipients_max: if rng.chance(150) { 1 } else { 100 },
        down,
        breaks_permille: if bad { rng.between(50, 500) } else { rng.pick(&[0, 30]) },
        endings_permille: if bad { rng.between(50, 500) } else { rng.pick(&[0, 30]) },
        latency: rng.pick(&[20, 200, 2_000]) * MILLI,
    }
}
