//! Administrators: they edit quotas, hold mail back and let it go, cancel jobs and delete a tenant, while everything
//! else goes on. Clocks, nodes and the database are not their business.

use std::sync::Arc;

use storage::simulated::{JobRow, OrgRow, Writes};
use storage::{Domain, JobState, Org, RecipientState, SuppressionKey, SuppressionScope};

use crate::exec::lock;
use crate::node::Worker;
use crate::quotas;
use crate::setup::{Act, Limits, Quotas};
use crate::world::{SECOND, World};

/// The organisations and domains of the homes, with their quotas, as they are when the world begins.
pub fn found(world: &World) {
    let Some(limits) = &world.setup.limits else { return };
    let mut writes = Writes::default();
    for (home, quotas) in limits.quotas.iter().enumerate() {
        let name = world.setup.domains[home].name.clone();
        let org = World::org(home);
        writes.orgs_new.push(OrgRow {
            org: Org { id: org, name: name.clone(), created: world.now() },
            sealed_key: Vec::new(),
        });
        writes.domains_new.push(Domain { name: name.clone(), org, settings: quotas::settings(*quotas) });
        world.books().quotas_founded(name, *quotas);
    }
    world.db.seed(writes);
}

/// One act after another, until the safety phase ends.
pub async fn acts(world: Arc<World>) {
    let Some(limits) = &world.setup.limits else { return };
    loop {
        let gap = world.rng().between(1, 2 * limits.acts_gap);
        world.exec.sleep(gap).await;
        if world.is_calm() {
            return;
        }
        if let Some(worker) = anyone(&world) {
            act(&world, limits, &worker);
        }
    }
}

/// The end of a tenant, tried until it has come.
pub async fn deletion(world: Arc<World>) {
    let Some((home, at)) = world.setup.limits.as_ref().and_then(|limits| limits.deletion) else { return };
    world.exec.sleep(at).await;
    let (org, now) = (World::org(home), world.exec.now());
    world.books().asks_deletion(org, now);
    world.count("tenant deleted");
    world.note(format_args!("admin: deletes home{home}"));
    while !world.books().is_deleted(org) {
        if let Some(worker) = anyone(&world) {
            worker.delete_tenant(home);
        }
        world.exec.sleep(30 * SECOND).await;
    }
}

fn anyone(world: &World) -> Option<Arc<Worker>> {
    let nodes = lock(&world.nodes);
    let n = world.rng().below(nodes.len() as u64) as usize;
    nodes.values().nth(n).cloned()
}

fn act(world: &Arc<World>, limits: &Limits, worker: &Arc<Worker>) {
    let any = match world.rng().below(100) {
        0..30 => Act::Cancel,
        30..60 => Act::Suppress,
        60..75 => Act::Lift,
        _ => Act::Edit,
    };
    let act = limits.focus.filter(|_| world.rng().chance(700)).unwrap_or(any);
    match act {
        Act::Cancel => {
            if let Some(row) = some_job(world) {
                world.count("job cancelled");
                world.books().asks_cancel(row.job.spec.id);
                worker.cancel(row.job.spec.id);
            }
        }
        Act::Suppress => {
            if let Some(key) = some_address(world) {
                world.count("mail held back");
                worker.suppress(key);
            }
        }
        Act::Lift => {
            let keys = world.db.live_suppressions();
            let n = world.rng().below(keys.len() as u64) as usize;
            if let Some(key) = keys.into_iter().nth(n) {
                world.count("mail let go");
                worker.lift(key);
            }
        }
        Act::Edit => {
            let home = world.rng().below(world.setup.homes as u64) as usize;
            let rng = world.rng();
            let (hourly, jobs) = (rng.between(2, 16), rng.between(1, 8));
            let quotas =
                Quotas { hourly: rng.chance(800).then_some(hourly), jobs: rng.chance(800).then_some(jobs) };
            world.count("quotas edited");
            worker.edit(home, quotas);
        }
    }
}

/// A job that is not at its end; one that is leased when there is one.
fn some_job(world: &World) -> Option<JobRow> {
    let rows = world.db.live_jobs();
    let open =
        |row: &&JobRow| matches!(row.job.state, JobState::Queued | JobState::Processing | JobState::Held);
    let leased: Vec<&JobRow> = rows.iter().filter(|row| row.job.state == JobState::Processing).collect();
    let open: Vec<&JobRow> = rows.iter().filter(open).collect();
    let among = if !leased.is_empty() && world.rng().chance(700) { leased } else { open };
    let n = world.rng().below(among.len() as u64) as usize;
    among.get(n).map(|row| (*row).clone())
}

/// The address or the domain of somebody who waits for mail, for its sender's organisation or for everybody.
fn some_address(world: &World) -> Option<SuppressionKey> {
    let row = some_job(world)?;
    let spec = &row.job.spec;
    let pending: Vec<_> = spec.recipients.iter().filter(|r| r.state == RecipientState::Pending).collect();
    let n = world.rng().below(pending.len() as u64) as usize;
    let address = pending.get(n)?.address.clone();
    let org = world.rng().chance(700).then_some(spec.org);
    let by_domain = world.rng().chance(200);
    let (scope, entry) = match by_domain {
        true => (SuppressionScope::Domain, spec.domain.clone()),
        false => (SuppressionScope::Address, address),
    };
    Some(SuppressionKey { org, scope, entry })
}
