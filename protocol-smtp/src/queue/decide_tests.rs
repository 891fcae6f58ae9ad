use super::*;
use alloc::string::ToString;
use alloc::vec;

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
    Verdict::Delivered { reply: "250 ok".to_string(), dsn }
}

fn notify(words: &str) -> Notify {
    Notify::parse(words).unwrap()
}

/// One row: NOTIFY, attempt number, time since the start, verdict, silent.
fn row(words: &str, number: u32, after: Duration, verdict: &Verdict, silent: bool) -> Decision {
    let recipient = Recipient::new(if words.is_empty() { Notify::Absent } else { notify(words) });
    let attempt = Attempt { number, start: START, silent, verdict };
    decide(&recipient, &attempt, &Policy::default(), START + after, EVEN)
}

fn retry(after: Duration, warn: bool) -> Decision {
    Decision::Retry { due: START + after, warn }
}

#[test]
fn verdicts_by_row() {
    let secs = Duration::from_secs;
    let never = Verdict::Permanent(failure(Status::new(5, 1, 1)));
    let doubt = Verdict::InDoubt(failure(Status::BAD_CONNECTION));
    let barred = Verdict::Suppressed(failure(Status::SUPPRESSED));
    let expired = |notify| Decision::Expire { status: Status::EXPIRED, notify };
    let table = [
        // Success and who reports it.
        (row("", 1, MINUTE, &delivered(DsnDuty::Relayed), false), Decision::Delivered { notice: None }),
        (row("NEVER", 1, MINUTE, &delivered(DsnDuty::Relayed), false), Decision::Delivered { notice: None }),
        (row("FAILURE", 1, MINUTE, &delivered(DsnDuty::Final), false), Decision::Delivered { notice: None }),
        (
            row("SUCCESS", 1, MINUTE, &delivered(DsnDuty::PassedOn), false),
            Decision::Delivered { notice: None },
        ),
        (
            row("SUCCESS", 1, MINUTE, &delivered(DsnDuty::Relayed), false),
            Decision::Delivered { notice: Some(NoticeKind::Relayed) },
        ),
        (
            row("success,failure", 1, MINUTE, &delivered(DsnDuty::Final), false),
            Decision::Delivered { notice: Some(NoticeKind::Delivered) },
        ),
        (row("SUCCESS", 1, MINUTE, &delivered(DsnDuty::Relayed), true), Decision::Delivered { notice: None }),
        // Permanent failures bounce at once, whatever the attempt.
        (row("", 1, MINUTE, &never, false), Decision::Bounce { notify: true }),
        (row("FAILURE", 9, HOUR, &never, false), Decision::Bounce { notify: true }),
        (row("SUCCESS", 1, MINUTE, &never, false), Decision::Bounce { notify: false }),
        (row("NEVER", 1, MINUTE, &never, false), Decision::Bounce { notify: false }),
        (row("", 1, MINUTE, &never, true), Decision::Bounce { notify: false }),
        // Suppressed: not tried, and the sender hears of it.
        (row("", 1, MINUTE, &barred, false), Decision::Suppress { notify: true }),
        (row("NEVER", 1, MINUTE, &barred, false), Decision::Suppress { notify: false }),
        // Delays double, up to the maximum.
        (row("", 1, Duration::ZERO, &later(), false), retry(secs(30), false)),
        (row("", 2, MINUTE, &later(), false), retry(secs(60 + 60), false)),
        (row("", 7, MINUTE, &later(), false), retry(secs(60 + 1_920), false)),
        (row("", 8, MINUTE, &later(), false), retry(secs(60 + 3_600), false)),
        (row("", 9, MINUTE, &later(), false), retry(secs(60 + 3_600), false)),
        // The limit of attempts.
        (row("", 10, MINUTE, &later(), false), expired(true)),
        (row("NEVER", 10, MINUTE, &later(), false), expired(false)),
        (row("", 10, MINUTE, &later(), true), expired(false)),
        (row("", 11, MINUTE, &later(), false), expired(true)),
        // The TTL, one millisecond before and at its end. A retry is never due after it.
        (row("", 1, secs(86_400), &later(), false), expired(true)),
        (
            row("NEVER", 1, secs(86_400) - Duration::from_millis(1), &later(), false),
            retry(secs(86_400), false),
        ),
        // The notice of delay: after an hour, when wanted.
        (
            row("", 1, HOUR - Duration::from_millis(1), &later(), false),
            retry(HOUR + secs(30) - Duration::from_millis(1), false),
        ),
        (row("", 1, HOUR, &later(), false), retry(HOUR + secs(30), true)),
        (row("DELAY", 1, HOUR, &later(), false), retry(HOUR + secs(30), true)),
        (row("FAILURE,SUCCESS", 1, HOUR, &later(), false), retry(HOUR + secs(30), false)),
        (row("NEVER", 1, HOUR, &later(), false), retry(HOUR + secs(30), false)),
        (row("", 1, HOUR, &later(), true), retry(HOUR + secs(30), false)),
        // In doubt: ten minutes at least, and counted like any failure.
        (row("", 1, MINUTE, &doubt, false), retry(secs(60 + 600), false)),
        (row("", 7, MINUTE, &doubt, false), retry(secs(60 + 1_920), false)),
        (row("", 10, MINUTE, &doubt, false), expired(true)),
        // Nothing tried, nothing decided.
        (row("", 10, HOUR, &Verdict::NotTried, false), Decision::Untouched),
    ];
    for (n, (got, expected)) in table.into_iter().enumerate() {
        assert_eq!(got, expected, "row {n}");
    }
}

#[test]
fn a_settled_recipient_stays_settled() {
    for state in [State::Delivered, State::Bounced, State::Expired, State::Suppressed, State::Cancelled] {
        let recipient = Recipient { state, ..Recipient::new(Notify::Absent) };
        let verdict = later();
        let attempt = Attempt { number: 1, start: START, silent: false, verdict: &verdict };
        assert_eq!(decide(&recipient, &attempt, &Policy::default(), START, 0), Decision::Untouched);
    }
}

#[test]
fn so4_a_tls_failure_stays_one_at_the_end() {
    for (last, at_the_end) in [
        (Status::NO_TLS, Status::new(5, 7, 4)),
        (Status::BAD_TLS, Status::new(5, 7, 5)),
        (Status::new(4, 7, 1), Status::EXPIRED),
        (Status::NO_ANSWER, Status::EXPIRED),
    ] {
        let verdict = Verdict::Temporary(failure(last));
        assert_eq!(row("", 10, HOUR, &verdict, false), Decision::Expire { status: at_the_end, notify: true });
    }
}

#[test]
fn so16_jitter_stays_within_its_fifth_and_below_the_maximum() {
    let policy = Policy::default();
    let mut seen = (u128::MAX, 0);
    for jitter in (0..400_001).step_by(97).chain([400_000, u64::MAX]) {
        for attempt in 1..200 {
            let plain = 30_000u128 << (attempt - 1).min(40);
            let got = policy.retry_delay(attempt, jitter).as_millis();
            assert!(got <= 3_600_000);
            assert!(got >= (plain * 8 / 10).min(3_600_000) && got <= plain * 12 / 10);
        }
        let first = policy.retry_delay(1, jitter).as_millis();
        seen = (seen.0.min(first), seen.1.max(first));
    }
    assert_eq!(seen, (24_000, 36_000));
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

#[test]
fn notify_is_read_as_rfc_3461_writes_it() {
    assert_eq!(Notify::parse("never"), Some(Notify::Never));
    assert_eq!(
        Notify::parse("DELAY,SUCCESS"),
        Some(Notify::On { success: true, failure: false, delay: true })
    );
    for bad in ["", "NEVER,DELAY", "FAILURE,", "ALWAYS"] {
        assert_eq!(Notify::parse(bad), None, "{bad}");
    }
}
