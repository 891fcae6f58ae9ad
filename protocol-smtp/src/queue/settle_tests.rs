use super::*;
use alloc::string::ToString;
use alloc::vec;
use protocol_core::time::Duration;

const START: Timestamp = Timestamp(1_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// The jitter that makes j = 1.
const EVEN: u64 = 200_000;

fn failure(status: Status) -> Failure {
    Failure::local(status, "reply")
}

fn later() -> Verdict {
    Verdict::Temporary(failure(Status::new(4, 2, 0)))
}

fn delivered(dsn: DsnDuty) -> Verdict {
    Verdict::Delivered { reply: "250 ok".to_string(), dsn, by_passed_on: true }
}

fn notify(words: &str) -> Notify {
    Notify::parse(words).unwrap()
}

fn job(recipients: Vec<Recipient>) -> Job {
    Job {
        fence: Fence { job: JobKey([1; 16]), epoch: 1 },
        lease_until: START + MINUTE,
        destination: "mx.test".to_string(),
        null_sender: false,
        is_dsn: false,
        start: START,
        attempts: 0,
        tenant: [0; 16],
        deliver_by: None,
        recipients,
    }
}

#[test]
fn so6_250_450_and_550_are_settled_each_by_itself() {
    let three = job(vec![Recipient::new(Notify::Absent); 3]);
    let never = Verdict::Permanent(failure(Status::new(5, 1, 1)));
    let verdicts = [(0, delivered(DsnDuty::Relayed)), (1, later()), (2, never)];
    let settled = settle(&three, &verdicts, &Policy::default(), START, EVEN).unwrap();
    assert_eq!(settled.attempts, 1);
    assert_eq!(settled.next_due, Some(START + Duration::from_secs(30)));
    assert!(!settled.dead);
    let states: Vec<_> =
        settled.changes.iter().map(|c| (c.index, c.recipient.state, c.recipient.attempts)).collect();
    assert_eq!(states, [(0, State::Delivered, 1), (1, State::Pending, 1), (2, State::Bounced, 1)]);
    assert_eq!(settled.notices, [Notice { kind: NoticeKind::Failed, recipients: vec![2] }]);
}

#[test]
fn a_job_is_dead_when_its_last_recipient_is_settled_and_one_was_not_reached() {
    let mut two = job(vec![Recipient::new(Notify::Absent); 2]);
    two.recipients[0].state = State::Bounced;
    let settled = settle(&two, &[(1, delivered(DsnDuty::Relayed))], &Policy::default(), START, 0).unwrap();
    assert_eq!((settled.next_due, settled.dead), (None, true));
    two.recipients[0].state = State::Delivered;
    let settled = settle(&two, &[(1, delivered(DsnDuty::Relayed))], &Policy::default(), START, 0).unwrap();
    assert_eq!((settled.next_due, settled.dead), (None, false));
}

#[test]
fn notices_of_one_kind_are_one_message() {
    let three = job(vec![Recipient::new(Notify::Absent); 3]);
    let never = Verdict::Permanent(failure(Status::new(5, 1, 1)));
    let verdicts = [(0, never.clone()), (1, later()), (2, never)];
    let settled = settle(&three, &verdicts, &Policy::default(), START + HOUR, EVEN).unwrap();
    assert_eq!(
        settled.notices,
        [
            Notice { kind: NoticeKind::Failed, recipients: vec![0, 2] },
            Notice { kind: NoticeKind::Delayed, recipients: vec![1] },
        ]
    );
    assert!(settled.changes.iter().all(|c| c.recipient.delay_notified == (c.index == 1)));
}

#[test]
fn si18_nobody_hears_of_a_notification_or_of_mail_from_nobody() {
    let never = [(0, Verdict::Permanent(failure(Status::new(5, 1, 1))))];
    let everything = notify("SUCCESS,FAILURE,DELAY");
    for (null_sender, is_dsn) in [(true, false), (false, true), (true, true)] {
        let one = Job { null_sender, is_dsn, ..job(vec![Recipient::new(everything)]) };
        let settled = settle(&one, &never, &Policy::default(), START, 0).unwrap();
        assert_eq!((settled.notices.len(), settled.dead), (0, true));
        assert_eq!(settle_expired(&one).notices.len(), 0);
    }
}

#[test]
fn recipients_left_untried_do_not_wait_alone() {
    let two = job(vec![Recipient::new(Notify::Absent); 2]);
    let policy = Policy::default();
    let settled = settle(&two, &[(0, delivered(DsnDuty::Relayed))], &policy, START, 0).unwrap();
    assert_eq!(settled.next_due, Some(START));
    assert_eq!(settle(&two, &[(0, Verdict::NotTried)], &policy, START, 0), None);
    assert_eq!(settle(&two, &[], &policy, START, 0), None);
}

#[test]
fn hostile_indices_and_repeated_verdicts_change_nothing() {
    let one = job(vec![Recipient::new(Notify::Absent)]);
    let never = Verdict::Permanent(failure(Status::new(5, 1, 1)));
    let verdicts = [(7, never.clone()), (0, later()), (0, never), (u16::MAX, later())];
    let settled = settle(&one, &verdicts, &Policy::default(), START, EVEN).unwrap();
    assert_eq!(settled.changes.len(), 1);
    assert_eq!(
        (settled.changes[0].recipient.state, settled.changes[0].recipient.attempts),
        (State::Pending, 1)
    );
}

#[test]
fn suppression_is_no_attempt() {
    let one = job(vec![Recipient::new(Notify::Absent)]);
    let verdicts = [(0, Verdict::Suppressed(failure(Status::SUPPRESSED)))];
    let settled = settle(&one, &verdicts, &Policy::default(), START, 0).unwrap();
    assert_eq!((settled.attempts, settled.changes[0].recipient.attempts), (0, 0));
    assert_eq!(settled.changes[0].recipient.state, State::Suppressed);
}

#[test]
fn expiry_without_an_attempt_keeps_the_last_reply() {
    let mut tried = Recipient::new(Notify::Absent);
    tried.last = Some(Failure::kept("450 4.2.0 later"));
    tried.attempts = 3;
    let settled = settle_expired(&job(vec![tried, Recipient::new(Notify::Absent)]));
    let change = &settled.changes[0];
    assert_eq!(
        (change.status, &*change.reply, change.recipient.attempts),
        (Status::EXPIRED, "450 4.2.0 later", 3)
    );
    assert_eq!(settled.changes[1].status, Status::EXPIRED);
    assert!(settled.changes[1].reply.contains("could not be reached"));
    assert_eq!((settled.attempts, settled.next_due, settled.dead), (0, None, true));
}

fn refused(code: u16, status: Status, text: &str, own: bool) -> Verdict {
    let reply = alloc::format!("{code} {status} {text}");
    let failure = Failure { status, reply, origin: Origin::Peer { code, own } };
    if code < 500 { Verdict::Temporary(failure) } else { Verdict::Permanent(failure) }
}

fn learnt(job: &Job, verdicts: &[(u16, Verdict)]) -> Vec<SuppressionChange> {
    settle(job, verdicts, &Policy::default(), START, EVEN).unwrap().suppressions
}

#[test]
fn so15_an_address_that_is_gone_is_suppressed_for_90_days() {
    let one = job(vec![Recipient::new(Notify::Absent)]);
    let gone = refused(550, Status::new(5, 1, 1), "no such user", true);
    assert_eq!(
        learnt(&one, &[(0, gone.clone())]),
        [SuppressionChange::Suppress {
            recipient: 0,
            reason: "550 5.1.1 no such user".to_string(),
            lasts: Duration::from_secs(7_776_000)
        }]
    );
    let settled = settle(&one, &[(0, gone)], &Policy::default(), START, EVEN).unwrap();
    assert_eq!(settled.changes[0].class, Some(Class::AddressPermanent));
}

#[test]
fn so15_nothing_else_suppresses_an_address() {
    let one = job(vec![Recipient::new(Notify::Absent)]);
    let no = Status::new(5, 1, 1);
    for verdict in [
        // About the sender, the session or a message for several.
        refused(550, no, "no such user", false),
        refused(450, Status::new(4, 1, 1), "no such user", true),
        refused(550, no, "listed at zen.spamhaus.org", true),
        refused(552, Status::new(5, 2, 2), "mailbox full", true),
        refused(550, Status::new(5, 7, 26), "DMARC", true),
        refused(550, Status::new(5, 6, 0), "virus", true),
        refused(550, Status::new(5, 4, 4), "host unknown", true),
        refused(556, Status::new(5, 1, 10), "null MX", true),
        Verdict::Permanent(failure(Status::NO_SUCH_DOMAIN)),
        Verdict::Permanent(failure(no)),
        Verdict::InDoubt(failure(Status::BAD_CONNECTION)),
        Verdict::Suppressed(Failure::kept("550 5.1.1 no such user")),
    ] {
        assert_eq!(learnt(&one, &[(0, verdict.clone())]), [], "{verdict:?}");
    }
    // Attempts or time used up say nothing either, whatever was said last.
    let last = Some(Failure::kept("550 5.1.1 no such user"));
    let tired = job(vec![Recipient { last, ..Recipient::new(Notify::Absent) }]);
    assert_eq!(settle_expired(&tired).suppressions, []);
}

#[test]
fn so15_only_dns_makes_a_domain_suspect_and_once_for_each_attempt() {
    let three = job(vec![Recipient::new(Notify::Absent); 3]);
    for (origin, status) in
        [(Origin::NoSuchDomain, Status::NO_SUCH_DOMAIN), (Origin::NullMx, Status::NULL_MX)]
    {
        let verdict = Verdict::Permanent(Failure { origin, ..failure(status) });
        let verdicts = [(0, verdict.clone()), (1, verdict.clone()), (2, verdict)];
        assert_eq!(
            learnt(&three, &verdicts),
            [SuppressionChange::SuspectDomain {
                recipient: 0,
                reason: "reply".to_string(),
                confirmed_after: Duration::from_secs(21_600),
                lasts: Duration::from_secs(604_800)
            }]
        );
    }
}

#[test]
fn so15_a_delivery_lifts_and_mail_from_nobody_teaches_nothing() {
    let two = job(vec![Recipient::new(Notify::Absent); 2]);
    let gone = refused(550, Status::new(5, 1, 1), "no such user", true);
    let verdicts = [(0, delivered(DsnDuty::Relayed)), (1, gone)];
    let found = learnt(&two, &verdicts);
    assert_eq!(found[0], SuppressionChange::Lift { recipient: 0 });
    assert!(matches!(found[1], SuppressionChange::Suppress { recipient: 1, .. }));
    for (null_sender, is_dsn) in [(true, false), (false, true)] {
        assert_eq!(learnt(&Job { null_sender, is_dsn, ..two.clone() }, &verdicts), []);
    }
}

fn by(at: Timestamp, give_up: bool, trace: bool) -> Option<DeliverBy> {
    Some(DeliverBy { at, give_up, trace })
}

#[test]
fn rfc2852_mode_r_ends_at_the_deadline_and_no_retry_is_due_behind_it() {
    let at = START + Duration::from_secs(20);
    let one = Job { deliver_by: by(at, true, false), ..job(vec![Recipient::new(Notify::Absent)]) };
    let policy = Policy::default();
    let settled = settle(&one, &[(0, later())], &policy, START, EVEN).unwrap();
    assert_eq!((settled.next_due, settled.notices.len()), (Some(at), 0));
    let settled =
        settle(&one, &[(0, Verdict::Temporary(failure(Status::NO_TLS)))], &policy, at, EVEN).unwrap();
    assert_eq!((settled.next_due, settled.changes[0].status), (None, Status::EXPIRED));
    assert_eq!(settled.notices, [Notice { kind: NoticeKind::Failed, recipients: vec![0] }]);
    let settled = settle_expired(&one);
    assert_eq!(
        (settled.changes[0].status, settled.changes[0].recipient.state),
        (Status::EXPIRED, State::Expired)
    );
    // The TTL ends it too.
    let late = Job { deliver_by: by(START + HOUR * 100, true, false), ..one };
    let settled = settle(&late, &[(0, later())], &policy, START + HOUR * 24, EVEN).unwrap();
    assert_eq!(settled.next_due, None);
}

#[test]
fn rfc2852_mode_n_tells_of_the_delay_at_the_deadline_whatever_is_set() {
    let at = START + Duration::from_secs(20);
    let policy = Policy { delay_warning: Duration::ZERO, ..Policy::default() };
    let wants = |n: Notify| Job { deliver_by: by(at, false, false), ..job(vec![Recipient::new(n)]) };
    let one = wants(Notify::Absent);
    let settled = settle(&one, &[(0, later())], &policy, START, EVEN).unwrap();
    assert_eq!((settled.next_due, settled.notices.len()), (Some(at), 0), "back at the deadline");
    assert_eq!(settle_late(&one, &policy, at - Duration::from_millis(1)), None);
    let told = settle_late(&one, &policy, at).unwrap();
    assert_eq!(told.notices, [Notice { kind: NoticeKind::Delayed, recipients: vec![0] }]);
    assert_eq!((told.next_due, told.dead, told.attempts), (Some(at), false, 0));
    assert_eq!(told.changes[0].status, Status::new(4, 4, 7));
    let again = Job { recipients: vec![told.changes[0].recipient.clone()], ..one.clone() };
    assert_eq!(settle_late(&again, &policy, at + HOUR), None, "once");
    // An attempt that fails behind the deadline tells it too, and then goes on as usual.
    let settled = settle(&one, &[(0, later())], &policy, at, EVEN).unwrap();
    assert_eq!((settled.next_due, settled.notices.len()), (Some(at + Duration::from_secs(30)), 1));
    // Not when NOTIFY says no; not when the deadline was over before; nobody is told of a notification.
    for never in [
        wants(Notify::Never),
        wants(notify("FAILURE,SUCCESS")),
        Job { deliver_by: by(START, false, false), ..wants(Notify::Absent) },
        Job { is_dsn: true, ..wants(Notify::Absent) },
    ] {
        assert_eq!(settle_late(&never, &policy, at + HOUR), None);
        assert_eq!(settle(&never, &[(0, later())], &policy, at, EVEN).unwrap().notices, []);
    }
}

#[test]
fn rfc2852_a_trace_and_a_lost_deadline_are_told_as_relayed() {
    let at = START + HOUR;
    let passed = |dsn, by_passed_on| Verdict::Delivered { reply: "250 ok".to_string(), dsn, by_passed_on };
    let relayed = [NoticeKind::Relayed];
    for (deliver_by, words, verdict, expected) in [
        (by(at, true, true), "FAILURE", passed(DsnDuty::PassedOn, true), &relayed[..]),
        (by(at, false, true), "DELAY", passed(DsnDuty::Relayed, true), &relayed),
        (by(at, true, false), "FAILURE", passed(DsnDuty::PassedOn, true), &[]),
        (by(at, false, false), "FAILURE", passed(DsnDuty::PassedOn, true), &[]),
        (by(at, false, false), "FAILURE", passed(DsnDuty::PassedOn, false), &relayed),
        (by(at, false, true), "NEVER", passed(DsnDuty::Relayed, false), &[]),
        (by(at, false, true), "FAILURE", passed(DsnDuty::Final, true), &[]),
        (by(at, false, true), "SUCCESS", passed(DsnDuty::Final, true), &[NoticeKind::Delivered]),
        (None, "FAILURE", passed(DsnDuty::PassedOn, false), &[]),
    ] {
        let one = Job { deliver_by, ..job(vec![Recipient::new(notify(words))]) };
        let settled = settle(&one, &[(0, verdict)], &Policy::default(), START, EVEN).unwrap();
        let kinds: Vec<_> = settled.notices.iter().map(|n| n.kind).collect();
        assert_eq!(kinds, expected, "{deliver_by:?} {words}");
    }
}

#[test]
fn rfc2852_the_time_that_is_left_is_passed_on_in_whole_seconds() {
    let params = crate::params::By { secs: 120, give_up: true, trace: true };
    let deadline = DeliverBy::new(params, START);
    assert_eq!((deadline.at, deadline.end()), (START + Duration::from_secs(120), Some(deadline.at)));
    assert_eq!(deadline.remaining(START + Duration::from_millis(500)).secs, 119);
    assert_eq!(deadline.remaining(START + MINUTE * 3).secs, -60);
    let far = DeliverBy { at: Timestamp(i64::MAX), ..deadline };
    assert_eq!(far.remaining(Timestamp(i64::MIN)).secs, 999_999_999);
    let past = DeliverBy { at: Timestamp(i64::MIN), ..deadline };
    assert_eq!(past.remaining(Timestamp(i64::MAX)).secs, -999_999_999);
}

#[test]
fn time_and_attempts_count_from_the_start_and_not_from_acceptance() {
    // Held for a day: at its release nothing is late, and the TTL begins.
    let held = Job { start: START + HOUR * 24, ..job(vec![Recipient::new(Notify::Absent)]) };
    let policy = Policy::default();
    let settled = settle(&held, &[(0, later())], &policy, held.start, EVEN).unwrap();
    assert_eq!((settled.next_due, settled.notices.len()), (Some(held.start + Duration::from_secs(30)), 0));
    let settled = settle(&held, &[(0, later())], &policy, held.start + HOUR, EVEN).unwrap();
    assert_eq!(settled.notices.len(), 1);
    assert!(settle(&held, &[(0, later())], &policy, START + HOUR * 47, EVEN).unwrap().next_due.is_some());
    assert_eq!(settle(&held, &[(0, later())], &policy, START + HOUR * 48, EVEN).unwrap().next_due, None);
}
