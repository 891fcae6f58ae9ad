//! The life of a queued message's body.

use super::*;

const LEASE: Duration = Duration::from_secs(60);

fn claim(world: &World) -> Vec<Job> {
    block_on(world.storage.claim_jobs("worker", LEASE, Duration::ZERO, 10)).unwrap()
}

fn finish(world: &World, job: &Job, state: RecipientState, dead: bool) {
    let mut recipients = job.spec.recipients.clone();
    recipients[0].state = state;
    let update = JobUpdate { recipients, attempts: 1, dead, ..JobUpdate::default() };
    block_on(world.storage.save_job(job, update, Vec::new())).unwrap();
}

#[test]
fn a_body_goes_when_its_last_job_is_settled() {
    let world = World::new();
    world.queue("text", 2).unwrap();
    let jobs = claim(&world);
    finish(&world, &jobs[0], RecipientState::Delivered, false);
    assert_eq!(world.objects().len(), 1);
    finish(&world, &jobs[1], RecipientState::Delivered, false);
    assert!(world.objects().is_empty());
}

#[test]
fn a_dead_job_keeps_its_body_and_a_retried_one_too() {
    let world = World::new();
    world.queue("text", 1).unwrap();
    let jobs = claim(&world);
    let later = JobUpdate {
        recipients: jobs[0].spec.recipients.clone(),
        attempts: 1,
        next_due: Some(NOW),
        ..JobUpdate::default()
    };
    block_on(world.storage.save_job(&jobs[0], later, Vec::new())).unwrap();
    assert_eq!(world.objects().len(), 1);
    finish(&world, &claim(&world)[0], RecipientState::Bounced, true);
    assert_eq!(world.objects().len(), 1);
}

#[test]
fn a_cancelled_job_takes_its_body_unless_another_job_needs_it() {
    let world = World::new();
    let jobs = world.queue("text", 2).unwrap();
    block_on(world.storage.act_on_job(jobs[0].id, JobAction::Cancel, NOW)).unwrap();
    assert_eq!(world.objects().len(), 1);
    block_on(world.storage.act_on_job(jobs[1].id, JobAction::Cancel, NOW)).unwrap();
    assert!(world.objects().is_empty());
}

#[test]
fn q12_a_job_accepted_while_its_tenant_was_deleted_is_cancelled_and_not_claimed() {
    let world = World::new();
    let gone = block_on(world.storage.create_org("Gone")).unwrap();
    let accept = |org: OrgId| {
        let message = MessageId::random();
        let queued = Queued { org, message, prefix: Vec::new(), skip: Vec::new() };
        let jobs = vec![job(org, message, "a.test")];
        let accept = Accept { queued: Some(queued), jobs: jobs.clone(), ..world.accept_of(Vec::new()) };
        block_on(world.storage.accept(&Spool::from_bytes(b"text".to_vec()), accept)).unwrap();
        jobs[0].id
    };
    let early = accept(gone.id);
    // The store's part of it alone: what was accepted knows the key, as in the middle of an acceptance.
    block_on(world.store.delete_org("Gone")).unwrap();
    let late = accept(gone.id);
    let others = accept(world.org.id);
    let claimed = claim(&world);
    assert_eq!(claimed.iter().map(|job| job.spec.id).collect::<Vec<_>>(), [others]);
    for id in [early, late] {
        let (job, _) = block_on(world.store.job(id)).unwrap();
        assert_eq!(job.unwrap().state, JobState::Cancelled);
    }
    assert!(claim(&world).is_empty());
}

#[test]
fn a_stale_worker_changes_nothing_and_its_notice_leaves_no_object() {
    let world = World::new();
    world.queue("text", 1).unwrap();
    let stale = claim(&world).remove(0);
    let later = NOW + LEASE + LEASE;
    world.store.set_now(Some(later));
    block_on(world.storage.claim_jobs("other", LEASE, Duration::ZERO, 1)).unwrap();
    let update = JobUpdate { recipients: stale.spec.recipients.clone(), ..JobUpdate::default() };
    let notice = Accept { received: NOW, deliveries: vec![world.deliver("")], ..Accept::default() };
    let also = vec![(Spool::from_bytes(b"notice".to_vec()), notice)];
    let outcome = block_on(world.storage.save_job(&stale, update, also));
    assert_eq!(outcome, Err(Error::Refused(Refusal::Fenced)));
    assert_eq!(world.objects().len(), 1, "the body of the job that goes on");
}

#[test]
fn a_notice_is_placed_with_the_result_and_seen_in_the_view() {
    let world = World::new();
    world.queue("text", 1).unwrap();
    let view = block_on(world.storage.folder(world.folder_id("INBOX"))).unwrap();
    let job = claim(&world).remove(0);
    let update = JobUpdate { recipients: job.spec.recipients.clone(), ..JobUpdate::default() };
    let notice = Accept { received: NOW, deliveries: vec![world.deliver("N: 1\r\n")], ..Accept::default() };
    let also = vec![(Spool::from_bytes(b"\r\nbounced".to_vec()), notice)];
    let placed = block_on(world.storage.save_job(&job, update, also)).unwrap();
    assert_eq!(view.with(|state| state.rows.clone()), [placed[0].row]);
    assert_eq!(world.read(placed[0].row.message).unwrap(), b"N: 1\r\n\r\nbounced");
}

#[test]
fn jobs_without_the_body_they_name_are_refused() {
    let world = World::new();
    let message = MessageId::random();
    let jobs = vec![job(world.org.id, message, "a.test")];
    let without = Accept { jobs: jobs.clone(), ..Accept::default() };
    let other = Queued { org: world.org.id, message: MessageId::random(), prefix: vec![], skip: vec![] };
    let mismatched = Accept { jobs, queued: Some(other), ..Accept::default() };
    for accept in [without, mismatched] {
        let outcome = block_on(world.storage.accept(&Spool::from_bytes(vec![]), accept));
        assert!(matches!(outcome, Err(Error::Refused(Refusal::Invalid(_)))));
    }
    assert!(world.objects().is_empty());
}
