//! SPF, DMARC and the reverse look-up over DNS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::rr::RecordType;
use message_auth::spf::Query;
use protocol_core::auth::{DmarcPolicy, DmarcResult, IprevResult, Spf, SpfIdentity, SpfResult};

use crate::dns::{Reply, Server, a, mx, ptr, txt};
use crate::{MESSAGE, SIGNED, have_dkimpy, key, sign, verifier, verify_as, wait, world};

const LIMIT: Duration = Duration::from_secs(20);

fn query(domain: &str) -> Query {
    Query {
        ip: [192, 0, 2, 1].into(),
        helo: "mx.sender.example".into(),
        identity: SpfIdentity::MailFrom,
        local: "user".into(),
        domain: domain.into(),
        receiver: "here.example".into(),
        now_secs: crate::NOW,
    }
}

fn senders(name: &str, kind: RecordType) -> Reply {
    match (name, kind) {
        ("pass.example", RecordType::TXT) => Reply::Records(vec![txt("v=spf1 mx -all"), txt("other")]),
        ("pass.example", RecordType::MX) => Reply::Records(vec![mx("mx.pass.example.")]),
        ("mx.pass.example", RecordType::A) => Reply::Records(vec![a([192, 0, 2, 1])]),
        ("fail.example", RecordType::TXT) => Reply::Records(vec![txt("v=spf1 -all exp=why.fail.example")]),
        ("why.fail.example", RecordType::TXT) => Reply::Records(vec![txt("%{i} is not ours")]),
        ("down.example", _) => Reply::ServFail,
        ("silent.example", _) => Reply::Silence,
        ("1.2.0.192.in-addr.arpa", RecordType::PTR) => {
            Reply::Records(vec![ptr("elsewhere.example."), ptr("mx.pass.example.")])
        }
        ("2.2.0.192.in-addr.arpa", RecordType::PTR) => Reply::Records(vec![ptr("elsewhere.example.")]),
        _ => Reply::NxDomain,
    }
}

#[test]
fn spf_over_dns() {
    let server = Server::start(senders);
    let verifier = verifier(&server, LIMIT);
    for (domain, want) in [
        ("pass.example", SpfResult::Pass),
        ("PASS.example.", SpfResult::Pass),
        ("fail.example", SpfResult::Fail),
        ("none.example", SpfResult::None),
        ("down.example", SpfResult::TempError),
    ] {
        let spf = wait(verifier.spf(query(domain)));
        assert_eq!(spf.result, want, "{spf:?}");
    }
    let spf = wait(verifier.spf(query("fail.example")));
    assert_eq!(spf.explanation.as_deref(), Some("192.0.2.1 is not ours"));
    assert_eq!(spf.mechanism.as_deref(), Some("-all"));
}

#[test]
fn si33_when_every_server_is_slow_the_time_ends_the_check() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let server = Server::start(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        Reply::Silence
    });
    let verifier = verifier(&server, Duration::from_millis(500));
    let spf = wait(verifier.spf(query("silent.example")));
    assert_eq!(spf.result, SpfResult::TempError);
    assert!(asked.load(Ordering::Relaxed) > 0);
}

#[test]
fn the_name_of_an_address_must_lead_back() {
    let server = Server::start(senders);
    let verifier = verifier(&server, LIMIT);
    let of = |last| wait(verifier.iprev([192, 0, 2, last].into()));
    assert_eq!((of(1).result, of(1).name.as_deref()), (IprevResult::Pass, Some("mx.pass.example")));
    assert_eq!((of(2).result, of(2).name), (IprevResult::Fail, None));
    assert_eq!(of(3).result, IprevResult::PermError);
}

fn spf_pass(domain: &str) -> Spf {
    Spf { domain: domain.into(), result: SpfResult::Pass, ..Spf::default() }
}

#[test]
fn dmarc_by_spf() {
    let server = Server::start(world);
    let verifier = verifier(&server, LIMIT);
    for (from, spf, result, policy) in [
        ("legit.example", "legit.example", DmarcResult::Pass, DmarcPolicy::Reject),
        ("legit.example", "bounces.legit.example", DmarcResult::Pass, DmarcPolicy::Reject),
        ("legit.example", "attack.example", DmarcResult::Fail, DmarcPolicy::Reject),
        ("legit.example", "notlegit.example", DmarcResult::Fail, DmarcPolicy::Reject),
        ("sub.legit.example", "attack.example", DmarcResult::Fail, DmarcPolicy::Quarantine),
        ("strict.example", "sub.strict.example", DmarcResult::Fail, DmarcPolicy::Reject),
        ("mild.example", "attack.example", DmarcResult::Fail, DmarcPolicy::None),
        ("none.example", "none.example", DmarcResult::None, DmarcPolicy::None),
        ("down.example", "down.example", DmarcResult::TempError, DmarcPolicy::None),
    ] {
        let dmarc = verify_as(&verifier, MESSAGE, &[from], spf_pass(spf)).dmarc;
        assert_eq!((dmarc.result, dmarc.policy), (result, policy), "{from} {spf}: {dmarc:?}");
        assert_eq!(dmarc.spf_aligned, result == DmarcResult::Pass, "{from} {spf}");
        assert_eq!(dmarc.domain, from);
    }
    let failing = Spf { domain: "legit.example".into(), result: SpfResult::SoftFail, ..Spf::default() };
    let dmarc = verify_as(&verifier, MESSAGE, &["legit.example"], failing).dmarc;
    assert_eq!((dmarc.result, dmarc.spf_aligned), (DmarcResult::Fail, false));
    assert_eq!(dmarc.report_to, ["reports@legit.example"]);
}

#[test]
fn dmarc_by_dkim() {
    if !have_dkimpy() {
        return;
    }
    let server = Server::start(world);
    let verifier = verifier(&server, LIMIT);
    let signed = |selector: &str, domain: &str| {
        sign(MESSAGE, &["dkim", "rsa-sha256", &key(2048), selector, domain, SIGNED])
    };
    for (selector, domain, want) in [
        ("rsa", "legit.example", DmarcResult::Pass),
        ("rsa", "news.legit.example", DmarcResult::Pass),
        ("rsa", "relay.example", DmarcResult::Fail),
        ("missing", "legit.example", DmarcResult::Fail),
        ("down", "legit.example", DmarcResult::TempError),
    ] {
        let results = verify_as(&verifier, &signed(selector, domain), &["legit.example"], Spf::default());
        assert_eq!(results.dmarc.result, want, "{selector} {domain}: {results:?}");
        assert_eq!(results.dmarc.dkim_aligned, want == DmarcResult::Pass);
    }
}

#[test]
fn si26_of_several_from_domains_the_strictest_counts() {
    let server = Server::start(world);
    let verifier = verifier(&server, LIMIT);
    let dmarc = |from: &[&str]| verify_as(&verifier, MESSAGE, from, spf_pass("attack.example")).dmarc;
    let found = dmarc(&["mild.example", "legit.example", "none.example"]);
    assert_eq!((found.result, found.policy), (DmarcResult::Fail, DmarcPolicy::Reject));
    assert_eq!(found.domain, "legit.example");
    assert_eq!(dmarc(&["attack.example", "none.example"]).result, DmarcResult::None);
    assert_eq!(dmarc(&[]).result, DmarcResult::None);
    let names: Vec<String> = (0..9).map(|n| format!("d{n}.example")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(dmarc(&names[..8]).result, DmarcResult::None);
    assert_eq!(dmarc(&names).result, DmarcResult::PermError);
}

#[test]
fn permits_bound_how_many_messages_are_in_memory() {
    let server = Server::start(senders);
    let verifier = verifier(&server, LIMIT);
    let (first, second) = (wait(verifier.permit(1024)), wait(verifier.permit(1024)));
    let third = verifier.permit(1024);
    let mut third = std::pin::pin!(third);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::future::Future::poll(third.as_mut(), &mut cx).is_pending());
    drop(first);
    assert!(std::future::Future::poll(third.as_mut(), &mut cx).is_ready());
    drop(second);
}

#[test]
fn si34_reports_go_where_they_are_wanted() {
    let server = Server::start(|name, kind| match (name, kind) {
        ("_dmarc.legit.example", RecordType::TXT) => Reply::Records(vec![txt(
            "v=DMARC1; p=none; rua=mailto:in@legit.example,mailto:sub@x.legit.example,mailto:yes@helper.example,\
             mailto:victim@other.example",
        )]),
        ("legit.example._report._dmarc.helper.example", RecordType::TXT) => {
            Reply::Records(vec![txt("v=DMARC1")])
        }
        ("_dmarc.down.example", RecordType::TXT) => Reply::ServFail,
        _ => Reply::NxDomain,
    });
    let verifier = verifier(&server, LIMIT);
    for author in ["legit.example", "mail.deep.legit.example"] {
        let policy = wait(verifier.report_policy(author.into())).unwrap().unwrap();
        assert_eq!(policy.domain, "legit.example");
        assert_eq!(policy.to, ["in@legit.example", "sub@x.legit.example", "yes@helper.example"]);
    }
    assert_eq!(wait(verifier.report_policy("none.example".into())), Ok(None));
    assert_eq!(wait(verifier.report_policy("down.example".into())), Err(()));
}
