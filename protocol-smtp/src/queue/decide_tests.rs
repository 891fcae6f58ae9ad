use super::*;
use alloc::string::ToString;

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

/// One row: NOTIFY, attempt number, time since the start, verdict, silent.
fn row(words: &str, number: u32, after: Duration, verdict: &Verdict, silent: bool) -> Decision {
    let recipient = Recipient::new(if words.is_empty() { Notify::Absent } else { notify(words) });
    let attempt = Attempt { number, start: START, silent, deliver_by: None, verdict };
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
        let attempt = Attempt { number: 1, start: START, silent: false, deliver_by: None, verdict: &verdict };
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

/// Under a deadline: mode, its distance from the start, NOTIFY, time since the start.
fn row_by(mode: &str, by: Duration, words: &str, after: Duration, verdict: &Verdict) -> Decision {
    let recipient = Recipient::new(if words.is_empty() { Notify::Absent } else { notify(words) });
    let (give_up, trace) = (mode.starts_with('R'), mode.ends_with('T'));
    let deliver_by = Some(DeliverBy { at: START + by, give_up, trace });
    let attempt = Attempt { number: 1, start: START, silent: false, deliver_by, verdict };
    decide(&recipient, &attempt, &Policy::default(), START + after, EVEN)
}

#[test]
fn a_deadline_of_mode_r_cuts_the_retry_and_ends_it() {
    let secs = Duration::from_secs;
    let expired = Decision::Expire { status: Status::EXPIRED, notify: true };
    // The retry of 30 s later is cut to the deadline, and at the deadline all is over, for a TLS failure too.
    assert_eq!(row_by("R", MINUTE, "", secs(20), &later()), retry(secs(50), false));
    assert_eq!(row_by("R", MINUTE, "", secs(40), &later()), retry(MINUTE, false));
    assert_eq!(row_by("R", MINUTE, "", MINUTE, &later()), expired);
    assert_eq!(row_by("R", MINUTE, "", MINUTE, &Verdict::Temporary(failure(Status::NO_TLS))), expired);
    let doubt = Verdict::InDoubt(failure(Status::BAD_CONNECTION));
    assert_eq!(row_by("R", MINUTE, "", secs(40), &doubt), retry(MINUTE, false));
    // The TTL stays an end, when it is the first.
    assert_eq!(row_by("R", HOUR * 48, "", HOUR * 24, &later()), expired);
    // The warning that is set here is not touched by it.
    assert_eq!(row_by("R", HOUR * 2, "", HOUR, &later()), retry(HOUR + secs(30), true));
}

#[test]
fn a_deadline_of_mode_n_is_one_notice_of_delay_in_place_of_ours() {
    let secs = Duration::from_secs;
    // Due at the deadline, so that the notice is in time; it goes with a failure after it.
    assert_eq!(row_by("N", MINUTE, "", secs(40), &later()), retry(MINUTE, false));
    assert_eq!(row_by("N", MINUTE, "", MINUTE, &later()), retry(secs(90), true));
    assert_eq!(row_by("N", MINUTE, "FAILURE", MINUTE, &later()), retry(secs(90), false));
    assert_eq!(row_by("N", MINUTE, "NEVER", secs(40), &later()), retry(secs(70), false));
    // Ours, after an hour, is not sent before a deadline that is later.
    assert_eq!(row_by("N", HOUR * 2, "", HOUR, &later()), retry(HOUR + secs(30), false));
    assert_eq!(row_by("N", HOUR * 2, "", HOUR * 2, &later()), retry(HOUR * 2 + secs(30), true));
}

#[test]
fn a_trace_and_a_deadline_out_of_sight_are_reported_as_relayed() {
    let relayed = |told: bool| Decision::Delivered { notice: told.then_some(NoticeKind::Relayed) };
    let passed_on = delivered(DsnDuty::PassedOn);
    let lost = Verdict::Delivered { reply: "250".to_string(), dsn: DsnDuty::PassedOn, by_passed_on: false };
    for (mode, words, verdict, told) in [
        ("N", "", &passed_on, false),
        ("R", "", &passed_on, false),
        ("NT", "", &passed_on, true),
        ("RT", "FAILURE", &passed_on, true),
        ("NT", "NEVER", &passed_on, false),
        ("N", "", &lost, true),
        ("N", "NEVER", &lost, false),
        ("NT", "", &delivered(DsnDuty::Final), false),
    ] {
        assert_eq!(row_by(mode, MINUTE, words, MINUTE, verdict), relayed(told), "{mode} {words}");
    }
}
