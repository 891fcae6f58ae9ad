//! From when the times of a job count.

use protocol_core::Timestamp;
use protocol_core::time::Duration;
use protocol_smtp::queue::*;
use protocol_smtp::status::Status;

use crate::world::*;

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

fn queue() -> Queue {
    Queue::new(Policy::default(), NodeId(1), [1; 32])
}

#[test]
fn ttl_warning_and_attempts_count_from_the_start_and_not_from_the_acceptance() {
    // Held for two days: the TTL of one day has not begun when it is claimed for the first time.
    let start = T0 + HOUR * 48;
    let mut queue = queue();
    drain(&mut queue, start);
    let held = Job { start, ..job(1, 1, "good.test", start + HOUR * 2) };
    let fence = held.fence;
    queue.handle(Event::Claimed(vec![held]), start);
    let effects = drain(&mut queue, start);
    assert!(matches!(effects[..1], [Effect::Deliver { attempt: 1, .. }]), "{effects:?}");
    let told = |after: Duration, queue: &mut Queue| -> (usize, Option<Timestamp>) {
        let failure = Failure::local(Status::new(4, 2, 0), "450 later");
        let verdicts = vec![(0, Verdict::Temporary(failure))];
        queue.handle(Event::Attempted { fence, verdicts, health: Health::Good }, start + after);
        let effects = drain(queue, start + after);
        let saved = effects.iter().find_map(|e| match e {
            Effect::Save { settlement, .. } => Some((settlement.notices.len(), settlement.next_due)),
            _ => None,
        });
        saved.unwrap_or_else(|| panic!("{effects:?}"))
    };
    let (notices, due) = told(MINUTE, &mut queue);
    assert_eq!(notices, 0, "no warning within the first hour after the start");
    assert!(due.is_some_and(|due| due < start + MINUTE * 2), "{due:?}");
}
