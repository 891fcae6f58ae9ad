//! Who starts the nodes, and who makes their lives hard.

use std::sync::Arc;

use crate::clock::Clock;
use crate::exec::{Trip, WORLD, lock};
use crate::node::Worker;
use crate::world::{MILLI, SECOND, World};

/// Starts a node, and starts it again whenever it has died.
pub async fn supervise(world: Arc<World>, node: usize) {
    let clock = Clock::new(&mut world.rng().split(), world.setup.clocks);
    let mut incarnation = 0;
    loop {
        let group = (node as u32 + 1) * 100_000 + incarnation;
        incarnation += 1;
        let worker = Worker::new(&world, node, group, clock);
        world.note(format_args!("n{node}: starts as {group}"));
        lock(&world.nodes).insert(node, worker.clone());
        world.exec.spawn(group, worker.run());
        if let Some(polls) = world.setup.trip.filter(|_| !world.is_calm()) {
            world.exec.trip(group, polls.saturating_mul(u64::from(incarnation)), Trip::Kill);
        }
        world.exec.death_of(group).await;
        lock(&world.nodes).remove(&node);
        world.count("node died");
        let lost = if world.setup.embedded { world.crash_database(0) } else { 0 };
        world.note(format_args!("n{node}: dead, {lost} commits lost"));
        let delay = if world.is_calm() { SECOND } else { world.rng().between(SECOND, 120 * SECOND) };
        world.exec.sleep(delay).await;
    }
}

/// Faults of nodes and of the database, one after another, until the safety phase ends.
pub async fn storm(world: Arc<World>) {
    if world.setup.chaos_gap == 0 {
        return;
    }
    loop {
        let gap = world.rng().between(1, 2 * world.setup.chaos_gap);
        world.exec.sleep(gap).await;
        if world.is_calm() {
            return;
        }
        strike(&world);
    }
}

fn victim(world: &World) -> Option<Arc<Worker>> {
    let nodes = lock(&world.nodes);
    let n = world.rng().below(nodes.len() as u64) as usize;
    nodes.values().nth(n).cloned()
}

fn strike(world: &Arc<World>) {
    let Some(worker) = victim(world) else { return };
    let (node, group, now) = (worker.node, worker.group, world.exec.now());
    let length = world.rng().between(1, 60);
    let kind = world.rng().below(100);
    let name = match kind {
        _ if world.setup.focus.is_some() && world.rng().chance(700) => world.setup.focus.unwrap_or("pause"),
        0..20 => "crash",
        20..40 => "crash at an await",
        40..50 => "pause",
        50..60 => "pause at an await",
        60..70 => "link cut",
        70..78 => "database crash",
        78..85 => "conflict storm",
        85..92 => "trouble with writes",
        92..96 => "wall clock step",
        _ => "polite stop",
    };
    world.count(name);
    worker.phases().into_iter().for_each(|phase| world.pair(phase, name));
    world.note(format_args!("chaos: {name} n{node} ({length})"));
    match name {
        "crash" => world.exec.kill(group),
        "crash at an await" => world.exec.trip(group, length, Trip::Kill),
        "pause" => {
            world.exec.freeze(group);
            pause(world, group, length);
        }
        "pause at an await" => {
            world.exec.trip(group, length, Trip::Freeze);
            pause(world, group, length);
        }
        // An embedded database has no link, and goes down with its node.
        "link cut" | "database crash" if world.setup.embedded => world.exec.kill(group),
        "link cut" => world.db.cut(node, now + length * 6 * SECOND),
        "database crash" => {
            let lost = world.crash_database(now + length * SECOND);
            world.note(format_args!("db: {lost} commits lost"));
        }
        "conflict storm" => world.db.storm(now + length * SECOND),
        "trouble with writes" => world.db.trouble(now + 2 * length * SECOND),
        "wall clock step" => step(world, node, length),
        _ => worker.shut_down(),
    }
}

/// Stops a node between the word to write a dot and the dot, in worlds that are about this.
pub fn before_the_dot(world: &Arc<World>, group: u32) {
    if world.setup.stops_before_dots && !world.is_calm() && world.rng().chance(150) {
        world.count("pause before a dot");
        world.exec.freeze(group);
        resume(world, group, 2_000);
    }
}

fn pause(world: &Arc<World>, group: u32, length: u64) {
    let lease = world.setup.policy.lease.as_secs();
    let secs = match world.rng().below(4) {
        0 => length,
        1 => lease + length,
        2 => lease * 3 + length,
        // Longer than the wait for a final reply and everything after it.
        _ => 1_500 + length * 10,
    };
    resume(world, group, secs);
}

fn resume(world: &Arc<World>, group: u32, secs: u64) {
    let world = world.clone();
    world.clone().exec.spawn(WORLD, async move {
        world.exec.sleep(secs * SECOND + MILLI).await;
        world.note(format_args!("chaos: {group} goes on"));
        world.exec.thaw(group);
    });
}

fn step(world: &Arc<World>, node: usize, length: u64) {
    let step = if world.rng().chance(500) { 600_000 } else { -600_000 };
    lock(&world.wall_step_ms).insert(node, step);
    let world = world.clone();
    world.clone().exec.spawn(WORLD, async move {
        world.exec.sleep(4 * length * SECOND).await;
        lock(&world.wall_step_ms).remove(&node);
    });
}
