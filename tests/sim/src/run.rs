//! One run of one seed: a safety phase with faults, a liveness phase without, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol_core::time::Duration;
use storage::JobState;

use crate::books::nanos;
use crate::exec::{Ran, WORLD, lock};
use crate::mutants::Mutant;
use crate::setup::Setup;
use crate::world::{SECOND, World};
use crate::{admins, chaos, clients};

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The broken invariant.
    pub failure: Option<String>,
    /// A hash over every line of the log.
    pub hash: u64,
    /// Lines of the log.
    pub lines: u64,
    /// The last of them.
    pub tail: Vec<String>,
    /// Faults and events by name.
    pub counts: BTreeMap<&'static str, u64>,
    /// States and the faults that they met.
    pub pairs: BTreeSet<(&'static str, &'static str)>,
    /// True time that passed, in nanoseconds.
    pub simulated: u64,
    /// Polls of tasks.
    pub polls: u64,
    /// Polls of the first node's first incarnation.
    pub polls_of_first: u64,
}

/// Runs a seed.
pub fn run(seed: u64, mutant: Option<Mutant>, echo: bool) -> Outcome {
    run_in(seed, Setup::of(seed, mutant), mutant, echo)
}

/// Runs a seed in a world that was decided otherwise.
pub fn run_in(seed: u64, setup: Setup, mutant: Option<Mutant>, echo: bool) -> Outcome {
    let world = World::new(seed, setup, mutant, echo);
    world.exec.slow_down(world.setup.pause);
    begin(&world);
    match world.exec.run(world.setup.safety) {
        Ran::Stopped => {}
        Ran::Restless => world.fail("the world does not come to rest".into()),
        Ran::Idle | Ran::Limit => calm_down(&world),
    }
    let (hash, lines, tail) = {
        let log = world.log();
        (log.hash(), log.lines(), log.tail())
    };
    let outcome = Outcome {
        seed,
        failure: world.failure(),
        hash,
        lines,
        tail,
        counts: world.counts(),
        pairs: world.pairs(),
        simulated: world.exec.now(),
        polls: world.exec.polls(),
        polls_of_first: world.exec.polls_of(100_000),
    };
    world.end();
    outcome
}

fn begin(world: &Arc<World>) {
    admins::found(world);
    for node in 0..world.setup.nodes {
        world.exec.spawn(WORLD, chaos::supervise(world.clone(), node));
    }
    for number in 0..world.setup.messages {
        let client = clients::submit(world.clone(), number);
        let clients = world.clients.clone();
        world.exec.spawn(WORLD, async move {
            client.await;
            *lock(&clients) += 1;
        });
    }
    world.exec.spawn(WORLD, chaos::storm(world.clone()));
    world.exec.spawn(WORLD, admins::acts(world.clone()));
    world.exec.spawn(WORLD, admins::deletion(world.clone()));
}

/// The liveness phase: faults heal, and in bounded time everything comes to its end.
fn calm_down(world: &Arc<World>) {
    world.heal();
    let groups: Vec<u32> = lock(&world.nodes).values().map(|w| w.group).collect();
    groups.into_iter().for_each(|group| world.exec.thaw(group));
    world.note(format_args!("faults heal"));
    let policy = &world.setup.policy;
    // A message may live for its whole time, and its notification after it; a dot that nobody answered is
    // waited for, with its lease, and then left alone for ten minutes more.
    let doubt = Duration::from_secs(1_500) + policy.lease;
    let bound = nanos((policy.ttl + doubt + policy.retry_max + policy.poll_interval * 4) * 2);
    let limit = world.exec.now() + bound;
    let mut was_idle = false;
    loop {
        let slice = world.exec.now() + 30 * SECOND;
        let idle = match world.exec.run(slice) {
            Ran::Stopped => return,
            Ran::Restless => return world.fail("the world does not come to rest".into()),
            Ran::Idle => true,
            Ran::Limit => false,
        };
        release_held(world);
        let all_told = *lock(&world.clients) == world.setup.messages;
        if all_told && world.books().is_settled() && leased(world).is_empty() {
            break;
        }
        // Twice with nothing left that could still happen, or it takes too long.
        if (idle && was_idle) || world.exec.now() > limit {
            for worker in lock(&world.nodes).values() {
                let frozen = world.exec.is_frozen(worker.group);
                world.note(format_args!("n{}: frozen: {frozen}, {}", worker.node, worker.state()));
            }
            world.note(format_args!("due: {:?}", world.db.live_due()));
            let open = world.books().unsettled();
            let leased = leased(world);
            return world
                .fail(format!("liveness: clients told: {all_told}, open {open:?}, leased {leased:?}"));
        }
        was_idle = idle;
    }
    let found = world.books().at_end(world);
    if let Err(why) = found {
        world.fail(why);
    }
}

/// Somebody looks at what is held, and releases it.
fn release_held(world: &World) {
    for row in world.db.live_jobs().iter().filter(|row| row.job.state == JobState::Held) {
        let worker = lock(&world.nodes).values().next().cloned();
        if let Some(worker) = worker {
            worker.release_held(row.job.spec.id);
        }
    }
}

fn leased(world: &World) -> Vec<String> {
    let rows = world.db.live_jobs();
    let leased = rows.iter().filter(|row| row.job.state == JobState::Processing);
    leased
        .map(|row| {
            format!(
                "{} until {:?} by {:?}",
                crate::db::world_name(row.job.spec.id),
                row.job.lease_until,
                row.job.owner
            )
        })
        .collect()
}
