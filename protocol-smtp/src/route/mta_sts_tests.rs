use alloc::format;
use alloc::vec;
use std::string::ToString;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn txt(records: &[&str]) -> Txt {
    Txt::parse(records.iter().map(|r| r.as_bytes()))
}

fn id(text: &str) -> Txt {
    Txt::Id(text.to_string())
}

fn policy(text: &str) -> Result<Policy, PolicyFault> {
    Policy::parse_body(text.as_bytes())
}

fn enforce(max_age_secs: u32) -> Policy {
    Policy { mode: Mode::Enforce, mx: vec!["mx.example.net".into()], max_age_secs }
}

fn cached(max_age_secs: u32, at: i64) -> Cached {
    let at = Timestamp::from_secs(at);
    Cached { id: "1".into(), policy: enforce(max_age_secs), fetched: at, used: at }
}

#[test]
fn the_record() {
    let longest = "a".repeat(ID_MAX);
    for (records, expected) in [
        (&["v=STSv1; id=20160831085700Z;"][..], id("20160831085700Z")),
        (&["v=STSv1;id=1"], id("1")),
        (&["v=STSv1 ;\tid=1 ; x.y-z_0=3.14;"], id("1")),
        (&["v=STSv1; id=1; id=2"], id("1")),
        (&["v=spf1 -all", "v=STSv1; id=1", "v=STSv1x; id=2", "v=STSv2; id=3"], id("1")),
        (&[&format!("v=STSv1; id={longest}")], Txt::Id(longest.clone())),
        (&[&format!("v=STSv1; id={longest}a")], Txt::Absent),
        (&[], Txt::Absent),
        (&["v=STSv1; id=1", "v=STSv1; id=1"], Txt::Absent),
        (&["v=STSv1"], Txt::Absent),
        (&["v=STSv1;"], Txt::Absent),
        (&["v=stsv1; id=1"], Txt::Absent),
        (&[" v=STSv1; id=1"], Txt::Absent),
        (&["v=STSv1; id="], Txt::Absent),
        (&["v=STSv1; id=a-b"], Txt::Absent),
        (&["v=STSv1; ID=1"], Txt::Absent),
        (&["v=STSv1;; id=1"], Txt::Absent),
        (&["v=STSv1; id=1; broken"], Txt::Absent),
        (&["v=STSv1; id=1; a=b=c"], Txt::Absent),
        (&["v=STSv1; id=\u{e9}"], Txt::Absent),
    ] {
        assert_eq!(txt(records), expected, "{records:?}");
    }
    assert_eq!(Txt::parse([&b"v=STSv1; id=\xff"[..]]), Txt::Absent);
}

#[test]
fn a_policy_is_read_line_by_line() {
    let text = "version: STSv1\r\nmode: enforce\r\nmx: Mail.Example.com\r\nmx: *.example.net\r\n\
                mx: backupmx.example.com.\r\nmax_age: 604800\r\n";
    let read = policy(text).unwrap();
    assert_eq!(read.mode, Mode::Enforce);
    assert_eq!(read.mx, ["mail.example.com", "*.example.net", "backupmx.example.com"]);
    assert_eq!(read.max_age_secs, 604_800);
    assert_eq!(policy(&text.replace("\r\n", "\n")).unwrap(), read);
    assert_eq!(policy(text.trim_end()).unwrap(), read);
    assert_eq!(policy(&format!("{text}future: x y: z\r\n")).unwrap(), read);
    assert_eq!(policy(&format!("{text}mode: none\r\nmax_age: 1\r\nversion: STSv2\r\n")).unwrap(), read);
    assert_eq!(policy(&read.text()).unwrap(), read);
    assert_eq!(policy("mode:none\nmax_age:1 \nversion:STSv1").unwrap().mx, [""; 0]);
}

#[test]
fn dt7_what_is_no_policy() {
    let good = ["version: STSv1", "mode: testing", "mx: a.example", "max_age: 1"];
    let with = |at: usize, line: &str| {
        let mut lines = good.map(String::from);
        lines[at] = line.into();
        policy(&lines.join("\n"))
    };
    assert!(with(0, good[0]).is_ok());
    for (at, line, fault) in [
        (0, "", PolicyFault::Version),
        (0, "version: STSv2", PolicyFault::Version),
        (0, "version STSv1", PolicyFault::Line),
        (1, "", PolicyFault::Mode),
        (1, "mode: Enforce", PolicyFault::Mode),
        (1, "mode: report", PolicyFault::Mode),
        (2, "", PolicyFault::Mx),
        (2, "mx: ", PolicyFault::Mx),
        (2, "mx: *", PolicyFault::Mx),
        (2, "mx: a.*.example", PolicyFault::Mx),
        (2, "mx: [192.0.2.1]", PolicyFault::Mx),
        (2, "mx: a b", PolicyFault::Mx),
        (3, "", PolicyFault::MaxAge),
        (3, "max_age: -1", PolicyFault::MaxAge),
        (3, "max_age: 1.5", PolicyFault::MaxAge),
        (3, "max_age: 12345678901", PolicyFault::MaxAge),
        (3, "max_age: 1\0", PolicyFault::Line),
    ] {
        assert_eq!(with(at, line), Err(fault), "{line:?}");
    }
    assert_eq!(Policy::parse_body(b"version: STSv1\nmode: \xff"), Err(PolicyFault::Encoding));
    for (media_type, good) in [
        ("text/plain", true),
        ("Text/Plain; charset=utf-8", true),
        ("text/html", false),
        ("text/plainer", false),
        ("", false),
    ] {
        let read = Policy::parse(media_type, b"version: STSv1\nmode: none\nmax_age: 1");
        assert_eq!(read.is_ok(), good, "{media_type}");
    }
}

#[test]
fn dt7_a_policy_at_its_limits() {
    let head = "version: STSv1\nmode: none\nmax_age: 1\nx: ";
    let fits = format!("{head}{}", "y".repeat(POLICY_OCTETS_MAX - head.len()));
    assert!(policy(&fits).is_ok());
    assert_eq!(policy(&format!("{fits}y")), Err(PolicyFault::TooLong));
    for (text, secs) in [
        ("0", 0),
        ("31557600", MAX_AGE_SECS_MAX),
        ("31557601", MAX_AGE_SECS_MAX),
        ("315576000", MAX_AGE_SECS_MAX),
        ("9999999999", MAX_AGE_SECS_MAX),
    ] {
        let read = policy(&format!("version: STSv1\nmode: none\nmax_age: {text}")).unwrap();
        assert_eq!(read.max_age_secs, secs, "{text}");
    }
}

#[test]
fn dt7_a_star_is_one_label() {
    for (pattern, host, expected) in [
        ("mx.example.net", "MX.example.net", true),
        ("mx.example.net", "mx.example.net.", true),
        ("mx.example.net", "a.mx.example.net", false),
        ("*.example.net", "mx.example.net", true),
        ("*.example.net", "example.net", false),
        ("*.example.net", ".example.net", false),
        ("*.example.net", "a.mx.example.net", false),
        ("*.example.net", "mxexample.net", false),
        ("*.example.net", "mx.example.net.evil.example", false),
    ] {
        assert_eq!(matches(pattern, host), expected, "{pattern} {host}");
        let policy = Policy { mx: vec![pattern.into()], ..enforce(1) };
        assert_eq!(policy.allows(host), expected);
    }
}

/// The cached policy (live, stale), what `_mta-sts` says, and what follows before and after a fetch that
/// failed.
#[test]
fn dt7_dt8_what_is_used_and_when_it_is_fetched() {
    let policy = || Standing::Policy(enforce(1_000));
    let live = cached(1_000, 0);
    let [early, late, dead] = [1, 999, 1_000].map(Timestamp::from_secs);
    for (now, cached, txt, planned, holds) in [
        (early, None, Txt::Absent, Plan::Keep, Standing::Nothing),
        (early, None, Txt::Failed, Plan::Keep, Standing::Nothing),
        (early, None, id("1"), Plan::Fetch, Standing::Advertised),
        (early, Some(&live), id("1"), Plan::Keep, policy()),
        (early, Some(&live), id("2"), Plan::Fetch, policy()),
        (early, Some(&live), Txt::Absent, Plan::Keep, policy()),
        (early, Some(&live), Txt::Failed, Plan::Keep, policy()),
        (late, Some(&live), id("1"), Plan::Refresh, policy()),
        (late, Some(&live), Txt::Absent, Plan::Refresh, policy()),
        (late, Some(&live), Txt::Failed, Plan::Refresh, policy()),
        (dead, Some(&live), id("1"), Plan::Fetch, Standing::Advertised),
        (dead, Some(&live), Txt::Absent, Plan::Keep, Standing::Nothing),
        (dead, Some(&live), Txt::Failed, Plan::Keep, Standing::Nothing),
    ] {
        let row = format!("{now:?} {cached:?} {txt:?}");
        assert_eq!(plan(now, cached, &txt, None), planned, "{row}");
        assert_eq!(standing(now, cached, &txt, None), holds, "{row}");
    }
}

#[test]
fn a_failed_fetch_is_not_repeated_at_once() {
    let failed = Timestamp::from_secs(100);
    let at = |after| failed + after;
    let past = RETRY_INTERVAL - Duration::from_millis(1);
    assert_eq!(plan(at(past), None, &id("1"), Some(failed)), Plan::Keep);
    assert_eq!(standing(at(past), None, &id("1"), None), Standing::Advertised);
    assert_eq!(plan(at(RETRY_INTERVAL), None, &id("1"), Some(failed)), Plan::Fetch);
}

#[test]
fn dt7_a_policy_that_expires_at_once_holds_for_the_mail_that_asked() {
    let once = enforce(0);
    let now = Timestamp::from_secs(5);
    let kept = Cached { policy: once.clone(), ..cached(0, 5) };
    assert!(!kept.is_live(now));
    assert_eq!(standing(now, Some(&kept), &id("1"), Some(&once)), Standing::Policy(once));
    assert_eq!(plan(now, Some(&kept), &id("1"), None), Plan::Fetch);
}

#[test]
fn dt7_refreshed_daily_and_well_before_it_expires() {
    let long = cached(MAX_AGE_SECS_MAX, 0);
    assert_eq!(long.refresh_at(), Timestamp(0) + DAY);
    assert_eq!(cached(3_600, 0).refresh_at(), Timestamp::from_secs(1_800));
    assert!(!long.is_refreshed(Timestamp(0) + DAY - Duration::from_secs(1)));
    assert!(long.is_refreshed(Timestamp(0) + DAY));
    assert!(long.is_refreshed(Timestamp(0) + UNUSED_AFTER));
    assert!(!long.is_refreshed(Timestamp(0) + UNUSED_AFTER + Duration::from_secs(1)), "nobody asks for it");
    assert!(!cached(10, 0).is_refreshed(Timestamp::from_secs(10)), "it has expired");
}

#[test]
fn a_cached_policy_is_kept_as_text() {
    let kept = cached(604_800, 1_795_433_195);
    assert_eq!(Cached::decode(&kept.encode()), Some(kept.clone()));
    for broken in ["", "1\n2\n3", "1\nx\n3\nversion: STSv1\nmode: none\nmax_age: 1", "1\n2\n3\nx"] {
        assert_eq!(Cached::decode(broken), None, "{broken:?}");
    }
}

#[test]
fn our_own_policy_waits_for_a_certificate() {
    let bad = own(Mode::Enforce, "mx.example.net", false);
    assert_eq!((bad.mode, bad.max_age_secs), (Mode::None, 86_400));
    let good = own(Mode::Enforce, "mx.example.net", true);
    assert_eq!(good.mode, Mode::Enforce);
    assert!(good.allows("mx.example.net"));
    assert_eq!(policy(&good.text()), Ok(good.clone()));
    assert_ne!(id_of(&good), id_of(&bad));
    assert_eq!(txt(&[&format!("v=STSv1; id={};", id_of(&good))]), Txt::Id(id_of(&good)));
}
