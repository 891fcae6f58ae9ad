//! From a verdict to a notification: who is told what, by NOTIFY (RFC 3461 §4.1, §5.2).

use protocol_core::Timestamp;
use protocol_core::message::Scanner;
use protocol_core::time::Duration;
use protocol_smtp::dsn::{Action, Dsn, Report, Returned, build};
use protocol_smtp::queue::{
    DsnDuty, Failure, Fence, Job, JobKey, NoticeKind, Notify, Origin, Policy, Recipient, Verdict, settle,
};
use protocol_smtp::reported::{self, Located};
use protocol_smtp::status::Status;

const START: Timestamp = Timestamp(1_795_433_195_000);
const HOUR: Duration = Duration::from_secs(3_600);

fn job(notify: &str) -> Job {
    let notify = if notify.is_empty() { Notify::Absent } else { Notify::parse(notify).unwrap() };
    Job {
        fence: Fence { job: JobKey([1; 16]), epoch: 1 },
        lease_until: START + HOUR,
        destination: "mx.test".into(),
        null_sender: false,
        is_dsn: false,
        start: START,
        attempts: 0,
        tenant: [0; 16],
        deliver_by: None,
        recipients: vec![Recipient::new(notify)],
    }
}

fn refused(code: u16, status: Status) -> Failure {
    Failure { status, reply: format!("{code} {status} said"), origin: Origin::Peer { code, own: true } }
}

fn delivered(dsn: DsnDuty) -> Verdict {
    Verdict::Delivered { reply: "250 2.0.0 ok".into(), dsn, by_passed_on: true }
}

/// The Action and Status of the one notification that a verdict after an hour and a half causes, as they are read
/// from its octets; none when there is none.
fn told(job: &Job, verdict: &Verdict) -> Option<(reported::Action, Status)> {
    let settled =
        settle(job, &[(0, verdict.clone())], &Policy::default(), START + HOUR + HOUR / 2, 0).unwrap();
    assert!(settled.notices.len() <= 1, "one recipient, one notification");
    let notice = settled.notices.first()?;
    let change = &settled.changes[0];
    let reports = [Report {
        recipient: "b@mx.test",
        orcpt: None,
        action: match notice.kind {
            NoticeKind::Failed => Action::Failed,
            NoticeKind::Delayed => Action::Delayed,
            NoticeKind::Relayed => Action::Relayed,
            NoticeKind::Delivered => Action::Delivered,
        },
        status: change.status,
        remote: Some("mx.test"),
        diagnostic: change.reply.clone(),
        last_attempt: Some(START),
        retry_until: None,
    }];
    let written = build(&Dsn {
        hostname: "mail.own.test",
        id: "id",
        to: "alice@own.test",
        arrival: START,
        envid: None,
        deliver_by: None,
        reports: &reports,
        returned: Returned::Header(Vec::new()),
        now: START,
    });
    let mut scanner = Scanner::new();
    scanner.feed(&written);
    let located: Located = reported::locate(&scanner.finish()).unwrap();
    let status = &written[located.status.start as usize..located.status.end as usize];
    let Ok(reported::Report::Delivery(report)) = reported::read(&located, status, b"") else {
        panic!("no report")
    };
    let recipient = &report.recipients[0];
    Some((recipient.action, recipient.status.unwrap()))
}

#[test]
fn so14_who_is_told_what() {
    use reported::Action::{Delayed, Delivered, Failed, Relayed};
    let permanent = Verdict::Permanent(refused(550, Status::new(5, 1, 1)));
    let suppressed = Verdict::Suppressed(Failure::local(Status::SUPPRESSED, "suppressed"));
    let later = Verdict::Temporary(refused(450, Status::new(4, 2, 0)));
    let (near, next, end) =
        (delivered(DsnDuty::Final), delivered(DsnDuty::Relayed), delivered(DsnDuty::PassedOn));
    let gone = Some((Failed, Status::new(5, 1, 1)));
    let held_back = Some((Failed, Status::SUPPRESSED));
    let late = Some((Delayed, Status::new(4, 2, 0)));
    let (passed, arrived) = (Some((Relayed, Status::OK)), Some((Delivered, Status::OK)));
    for (notify, expected) in [
        // NOTIFY, and what is told of: a refusal, a suppression, a delay, a delivery here, one to a server without
        // DSN, one to a server with DSN.
        ("", [gone, held_back, late, None, None, None]),
        ("NEVER", [None; 6]),
        ("FAILURE", [gone, held_back, None, None, None, None]),
        ("DELAY", [None, None, late, None, None, None]),
        ("SUCCESS", [None, None, None, arrived, passed, None]),
        ("SUCCESS,FAILURE", [gone, held_back, None, arrived, passed, None]),
        ("SUCCESS,FAILURE,DELAY", [gone, held_back, late, arrived, passed, None]),
    ] {
        for (verdict, expected) in
            [&permanent, &suppressed, &later, &near, &next, &end].into_iter().zip(expected)
        {
            assert_eq!(told(&job(notify), verdict), expected, "NOTIFY={notify} {verdict:?}");
            // SI18: nobody is there to be told, and a notification is about nothing but itself.
            assert_eq!(told(&Job { null_sender: true, ..job(notify) }, verdict), None);
            assert_eq!(told(&Job { is_dsn: true, ..job(notify) }, verdict), None);
        }
    }
}
