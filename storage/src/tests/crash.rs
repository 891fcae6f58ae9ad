//! The process dies at every step of an acceptance, a removal and a result, one after the other.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

/// Lets a number of steps pass; from then on the process is dead: nothing more is done.
#[derive(Clone, Default)]
struct Fuse {
    left: Arc<AtomicUsize>,
    dead: Arc<AtomicBool>,
}

impl Fuse {
    fn step(&self) -> bool {
        let burn = |left: usize| left.checked_sub(1);
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, burn).is_err() {
            self.dead.store(true, Ordering::SeqCst);
        }
        self.dead.load(Ordering::SeqCst)
    }
}

impl World {
    /// Dies at the given step; `fault` is what the rows' write that it meets does.
    fn light(&self, steps: usize, fault: Fault) -> Fuse {
        let fuse = Fuse::default();
        fuse.left.store(steps, Ordering::SeqCst);
        let died = || Error::Unavailable("the process is dead".into());
        let (a, b, c) = (fuse.clone(), fuse.clone(), fuse.clone());
        self.blobs.set_fault(Some(Box::new(move |what, _| {
            let reads = matches!(what, "read" | "list" | "newest");
            if !reads && a.step() { Err(died()) } else { Ok(()) }
        })));
        self.local.set_fault(Some(Box::new(move |_| {
            if b.step() { Err(std::io::Error::other("the process is dead")) } else { Ok(()) }
        })));
        let applied = AtomicBool::new(false);
        self.store.inject(Some(Box::new(move |_| {
            if !c.step() {
                return None;
            }
            // Only the write that was under way at death can have been applied.
            let first = !applied.swap(true, Ordering::SeqCst);
            Some(if first { fault } else { Fault::Before })
        })));
        fuse
    }

    fn heal(&mut self) {
        self.blobs.set_fault(None);
        self.local.set_fault(None);
        self.store.inject(None);
        self.reopen();
    }

    /// Rows and objects agree, whatever happened before.
    fn assert_sound(&self, when: &str) {
        let report = block_on(self.storage.check(false)).unwrap();
        assert!(report.is_clean(), "{when}: {report:?}");
        for message in block_on(self.store.messages(self.mailbox.id)).unwrap() {
            self.read(message).unwrap();
        }
    }
}

/// Runs `what` with death at step 0, 1, 2… until it lives through it; `then` looks at what a new process finds.
fn at_every_step<T>(
    set_up: impl Fn(&World),
    what: impl Fn(&World) -> Result<T>,
    then: impl Fn(&World, Result<T>, &str),
) {
    for fault in [Fault::Before, Fault::After] {
        for step in 0.. {
            let mut world = World::new();
            set_up(&world);
            let fuse = world.light(step, fault);
            let outcome = what(&world);
            let died = fuse.dead.load(Ordering::SeqCst);
            world.heal();
            let when = format!("{fault:?} at step {step}");
            world.assert_sound(&when);
            then(&world, outcome, &when);
            if !died {
                break;
            }
            assert!(step < 100, "it never lives through");
        }
    }
}

#[test]
fn an_accepted_message_survives_death_at_every_step() {
    at_every_step(
        |world| drop(world.accept("earlier").unwrap()),
        |world| world.accept("text"),
        |world, outcome, when| {
            let messages = block_on(world.store.messages(world.mailbox.id)).unwrap();
            let texts: Vec<Vec<u8>> = messages.iter().map(|m| world.read(*m).unwrap()).collect();
            assert!(texts.contains(&b"earlier".to_vec()), "{when}");
            let there = texts.contains(&b"text".to_vec());
            match outcome {
                Ok(_) => assert!(there, "{when}: it was acknowledged"),
                Err(Error::OutcomeUnknown(_)) => assert!(there, "{when}: it may have been acknowledged"),
                // Whoever sent it was not told 250 and sends it again.
                Err(_) => assert!(!there, "{when}: it was not acknowledged"),
            }
        },
    );
}

#[test]
fn a_queued_message_survives_death_at_every_step() {
    at_every_step(
        |_| {},
        |world| world.queue("text", 2),
        |world, outcome, when| {
            let jobs = block_on(world.storage.list_jobs(10)).unwrap();
            assert!(jobs.is_empty() || jobs.len() == 2, "{when}: {} jobs", jobs.len());
            if outcome.is_ok() {
                assert_eq!(jobs.len(), 2, "{when}: it was acknowledged");
            }
            for job in jobs {
                let mut body = block_on(world.storage.open_queued(job.spec.org, job.spec.message)).unwrap();
                assert_eq!(block_on(body.read_all()).unwrap(), b"X: y\r\ntext", "{when}");
            }
        },
    );
}

#[test]
fn removing_messages_survives_death_at_every_step() {
    at_every_step(
        |world| {
            for text in ["one", "two"] {
                world.accept(text).unwrap();
            }
            let deleted = NamedFlags { system: Flags::DELETED, keywords: Vec::new() };
            let inbox = world.folder_id("INBOX");
            block_on(world.storage.set_flags(inbox, &[1], FlagOp::Add, &deleted, None)).unwrap();
        },
        |world| block_on(world.storage.expunge(world.folder_id("INBOX"), &[1, 2])),
        |world, outcome, when| {
            let messages = block_on(world.store.messages(world.mailbox.id)).unwrap();
            let texts: Vec<Vec<u8>> = messages.iter().map(|m| world.read(*m).unwrap()).collect();
            assert!(texts.contains(&b"two".to_vec()), "{when}");
            if outcome.is_ok() && world.objects().len() == 1 {
                assert_eq!(texts.len(), 1, "{when}");
            }
        },
    );
}

#[test]
fn a_result_and_its_notice_survive_death_at_every_step() {
    at_every_step(
        |world| drop(world.queue("text", 1).unwrap()),
        |world| {
            let lease = Duration::from_secs(60);
            let claimed = block_on(world.storage.claim_jobs("w", lease, Duration::ZERO, 1))?;
            let job = claimed.into_iter().next().ok_or(Error::NotFound)?;
            let mut recipients = job.spec.recipients.clone();
            recipients[0].state = RecipientState::Bounced;
            let deliveries = vec![record(&job, RecipientState::Bounced)];
            let update = JobUpdate { recipients, attempts: 1, deliveries, ..JobUpdate::default() };
            let notice = Accept { received: NOW, deliveries: vec![world.deliver("")], ..Accept::default() };
            let also = vec![(Spool::from_bytes(b"it bounced".to_vec()), notice)];
            block_on(world.storage.save_job(&job, update, also))
        },
        |world, outcome, when| {
            let jobs = block_on(world.storage.list_jobs(10)).unwrap();
            let notices = block_on(world.store.messages(world.mailbox.id)).unwrap();
            if outcome.is_ok() {
                assert!(jobs.is_empty(), "{when}");
            }
            assert!(
                !jobs.is_empty() || !notices.is_empty(),
                "{when}: neither the job nor its notice is there"
            );
        },
    );
}
