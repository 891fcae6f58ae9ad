use super::*;
use crate::queue::DsnDuty;
use crate::route::Tls;
use alloc::string::ToString;
use alloc::vec;

const OPEN: TlsDemand = TlsDemand { tls: Tls::Opportunistic, verify: false, plaintext_ok: true };
const STRICT: TlsDemand = TlsDemand { tls: Tls::Required, verify: true, plaintext_ok: false };

fn walk(hosts: usize, demand: TlsDemand) -> Walk {
    let candidate = |n| Candidate { host: format!("m{n}.test"), address: [9, 9, 9, n].into(), port: 25 };
    Walk::new((0..hosts as u8).map(candidate).collect(), demand, &[0, 1, 2])
}

fn dialled(walk: &Walk) -> (String, bool, Vec<u16>) {
    match walk.next() {
        Next::Dial { candidate, plaintext, recipients, .. } => (candidate.host, plaintext, recipients),
        Next::Finish { verdicts, .. } => panic!("finished with {verdicts:?}"),
    }
}

fn finished(walk: &Walk) -> (Vec<(u16, Verdict)>, Health) {
    match walk.next() {
        Next::Finish { verdicts, health } => (verdicts, health),
        Next::Dial { candidate, .. } => panic!("{} is dialled", candidate.host),
    }
}

fn failure(status: Status) -> Failure {
    Failure { status, reply: "no".to_string() }
}

#[test]
fn so6_a_recipient_that_was_answered_is_not_tried_at_the_next_host() {
    let mut walk = walk(2, OPEN);
    let done = Verdict::Delivered { reply: "250 ok".to_string(), dsn: DsnDuty::Relayed };
    let later = Verdict::Temporary(failure(Status::new(4, 2, 0)));
    let verdicts = vec![(0, done.clone()), (1, later.clone())];
    walk.report(HostResult::Answered { verdicts, health: Health::Good });
    assert_eq!(dialled(&walk), ("m1.test".to_string(), false, vec![2]));
    let never = Verdict::Permanent(failure(Status::new(5, 1, 1)));
    // An answer for one that is settled already changes nothing.
    let verdicts = vec![(2, never.clone()), (0, never.clone())];
    walk.report(HostResult::Answered { verdicts, health: Health::Good });
    assert_eq!(finished(&walk), (vec![(0, done), (1, later), (2, never)], Health::Good));
}

#[test]
fn every_host_is_tried_once_and_the_last_failure_stays() {
    let mut walk = walk(2, OPEN);
    walk.report(HostResult::NoConnection("refused".to_string()));
    walk.report(HostResult::NoConnection("timed out".to_string()));
    let (verdicts, health) = finished(&walk);
    assert_eq!(health, Health::Unreachable);
    let reply = "m1.test [9.9.9.1]: timed out".to_string();
    assert!(
        verdicts
            .iter()
            .all(|(_, v)| *v
                == Verdict::Temporary(Failure { status: Status::NO_ANSWER, reply: reply.clone() }))
    );
    assert_eq!(verdicts.len(), 3);
}

#[test]
fn so3_a_broken_handshake_leads_to_one_connection_in_plaintext_when_allowed() {
    let mut open = walk(2, OPEN);
    open.report(HostResult::Tls(TlsOutcome::Broken, "bytes behind 220".to_string()));
    assert_eq!(dialled(&open), ("m0.test".to_string(), true, vec![0, 1, 2]));
    open.report(HostResult::Tls(TlsOutcome::Broken, "again".to_string()));
    assert_eq!(dialled(&open), ("m1.test".to_string(), false, vec![0, 1, 2]));

    let mut strict = walk(1, STRICT);
    strict.report(HostResult::Tls(TlsOutcome::Broken, "bytes behind 220".to_string()));
    let (verdicts, _) = finished(&strict);
    let Verdict::Temporary(why) = &verdicts[0].1 else { panic!() };
    assert_eq!(why.status, Status::BAD_TLS);
    assert!(why.reply.contains("m0.test") && why.reply.contains("bytes behind 220"));
    assert!(why.reply.contains("SMTP_OUTBOUND_ALLOW_INVALID_CERTS"));
}

#[test]
fn a_tls_failure_is_not_hidden_by_a_later_host_that_is_down() {
    let mut walk = walk(2, STRICT);
    walk.report(HostResult::Tls(TlsOutcome::NotOffered, "no STARTTLS".to_string()));
    walk.report(HostResult::NoConnection("refused".to_string()));
    let Verdict::Temporary(why) = &finished(&walk).0[0].1 else { panic!() };
    assert_eq!(why.status, Status::NO_TLS);
}

#[test]
fn a_shutdown_is_no_attempt() {
    let mut walk = walk(2, OPEN);
    walk.report(HostResult::NoConnection("refused".to_string()));
    walk.report(HostResult::Stopped);
    assert!(finished(&walk).0.iter().all(|(_, v)| *v == Verdict::NotTried));
}

#[test]
fn routing_failures_settle_all_recipients() {
    let Next::Finish { verdicts, health } = Walk::failed(&failure(Status::NULL_MX), &[0, 1]) else {
        panic!()
    };
    assert_eq!(health, Health::Good);
    assert!(verdicts.iter().all(|(_, v)| matches!(v, Verdict::Permanent(f) if f.status == Status::NULL_MX)));
    let Next::Finish { verdicts, health } = Walk::failed(&failure(Status::DNS_FAILED), &[0]) else {
        panic!()
    };
    assert_eq!(health, Health::Unreachable);
    assert!(matches!(verdicts[0].1, Verdict::Temporary(_)));
}

#[test]
fn so4_every_candidate_has_its_own_demand() {
    let candidate = |n| Candidate { host: format!("m{n}.test"), address: [9, 9, 9, n].into(), port: 25 };
    let strict = Conditioned { candidate: candidate(0), demand: STRICT, variable: Some("VARIABLE") };
    let open = Conditioned { candidate: candidate(1), demand: OPEN, variable: None };
    let mut walk = Walk::conditioned(vec![strict, open], &[0]);
    assert!(matches!(walk.next(), Next::Dial { demand, .. } if demand == STRICT));
    walk.report(HostResult::Tls(TlsOutcome::Broken, "broken".to_string()));
    assert!(matches!(walk.next(), Next::Dial { demand, plaintext: false, .. } if demand == OPEN));
    walk.report(HostResult::Tls(TlsOutcome::Broken, "broken".to_string()));
    assert_eq!(dialled(&walk), ("m1.test".to_string(), true, vec![0]));
    walk.report(HostResult::NoConnection("refused".to_string()));
    let Verdict::Temporary(why) = &finished(&walk).0[0].1 else { panic!() };
    assert_eq!((why.status, why.reply.as_str()), (Status::BAD_TLS, "m0.test [9.9.9.0]: broken (VARIABLE)"));
}

#[test]
fn addresses_of_one_host_are_dialled_together_and_the_one_that_connects_is_taken() {
    let address = |n| Candidate { host: "m.test".to_string(), address: [9, 9, 9, n].into(), port: 25 };
    let other = Candidate { host: "other.test".to_string(), ..address(9) };
    let mut candidates: Vec<Candidate> = (0..4).map(address).collect();
    candidates.push(other.clone());
    let mut walk = Walk::new(candidates, OPEN, &[0]);
    let named = |walk: &Walk| match walk.next() {
        Next::Dial { candidate, others, .. } => (candidate, others),
        Next::Finish { verdicts, .. } => panic!("finished with {verdicts:?}"),
    };
    assert_eq!(named(&walk), (address(0), vec![address(1), address(2), address(3)]));
    walk.not_connected(&address(1), "refused");
    walk.connected(&address(2));
    assert_eq!(named(&walk), (address(2), vec![address(0), address(3)]));
    // Its TLS breaks: the same address once more, and no other.
    walk.report(HostResult::Tls(TlsOutcome::Broken, "broken".to_string()));
    assert_eq!(named(&walk), (address(2), vec![]));
    walk.not_connected(&address(2), "gone now");
    // Those that were passed over, and did not fail, have their turn.
    assert_eq!(named(&walk), (address(0), vec![address(3)]));
    walk.not_connected(&address(0), "refused");
    walk.not_connected(&address(3), "timed out");
    assert_eq!(named(&walk), (other.clone(), vec![]));
    walk.not_connected(&other, "refused");
    walk.not_connected(&other, "twice");
    let (verdicts, health) = finished(&walk);
    assert_eq!(health, Health::Good, "the host that was spoken to was there");
    assert!(matches!(&verdicts[0].1, Verdict::Temporary(f) if f.reply == "other.test [9.9.9.9]: refused"));
}

#[test]
fn so18_addresses_under_other_conditions_are_not_dialled_together() {
    let candidate = |n| Candidate { host: "m.test".to_string(), address: [9, 9, 9, n].into(), port: 25 };
    let conditioned = |n, demand| Conditioned { candidate: candidate(n), demand, variable: Some("VARIABLE") };
    let walk = Walk::conditioned(vec![conditioned(0, STRICT), conditioned(1, OPEN)], &[0]);
    assert!(matches!(walk.next(), Next::Dial { others, .. } if others.is_empty()));
}
