//! The limits of SI33, at each and one past it. The suite of RFC 7208 stands in `tests/rfc7208.rs`.

use protocol_core::auth::SpfIdentity;

use super::*;

const ANY: [u8; 4] = [192, 0, 2, 1];

/// Evaluates `example.com` with a zone told by a function; returns the result and the number of questions.
fn check_as(local: &str, zone: impl Fn(&Question) -> Answer) -> (Spf, usize) {
    let mut check = Check::new(Query {
        ip: ANY.into(),
        helo: "mx.example.net".into(),
        identity: SpfIdentity::MailFrom,
        local: local.into(),
        domain: "example.com".into(),
        receiver: "mx.example.org".into(),
        now_secs: 0,
    });
    for asked in 0.. {
        match check.poll() {
            Step::Done(spf) => return (spf, asked),
            Step::Ask(question) => {
                let answer = zone(&question);
                check.answer(question, answer);
            }
        }
    }
    unreachable!("the number of questions is bounded")
}

fn check(zone: impl Fn(&Question) -> Answer) -> Spf {
    check_as("user", zone).0
}

fn txt(text: &str) -> Answer {
    Answer::Txt(vec![text.as_bytes().to_vec()])
}

fn elsewhere() -> Answer {
    Answer::Addresses(vec![[198, 51, 100, 1].into()])
}

#[test]
fn si33_eleven_look_ups() {
    for (count, want) in [(10, SpfResult::Fail), (11, SpfResult::PermError)] {
        let record = format!("v=spf1 {}-all", "a ".repeat(count));
        let zone = |q: &Question| match q {
            Question::Txt(_) => txt(&record),
            _ => elsewhere(),
        };
        assert_eq!(check(zone).result, want, "{count}");
    }
}

#[test]
fn si33_three_void_look_ups() {
    for (count, want) in [(2, SpfResult::Fail), (3, SpfResult::PermError)] {
        let names: Vec<String> = (0..count).map(|n| format!("exists:n{n}.example.com")).collect();
        let record = format!("v=spf1 {} -all", names.join(" "));
        let zone = |q: &Question| match q {
            Question::Txt(_) => txt(&record),
            _ => Answer::Void,
        };
        assert_eq!(check(zone).result, want, "{count}");
    }
}

#[test]
fn si33_mx_with_eleven_hosts() {
    for (count, want) in [(10, SpfResult::Fail), (11, SpfResult::PermError)] {
        let zone = |q: &Question| match q {
            Question::Txt(_) => txt("v=spf1 mx -all"),
            Question::Mx(_) => Answer::Mx((0..count).map(|n| format!("mx{n}.example.com")).collect()),
            _ => elsewhere(),
        };
        assert_eq!(check(zone).result, want, "{count}");
    }
}

#[test]
fn si33_an_include_that_leads_back_and_two_records() {
    let back = |q: &Question| match q {
        Question::Txt(_) => txt("v=spf1 include:example.com -all"),
        _ => elsewhere(),
    };
    assert_eq!(check(back).result, SpfResult::PermError);
    let two = |_: &Question| Answer::Txt(vec![b"v=spf1 +all".to_vec(), b"v=spf1".to_vec()]);
    assert_eq!(check(two).result, SpfResult::PermError);
}

#[test]
fn si33_a_record_of_64_kib_and_the_longest_local_part_are_bounded() {
    let long = format!("v=spf1 {}-all", "?all ".repeat(13_000));
    assert_eq!(check(|_| txt(&long)).result, SpfResult::PermError);
    let asked = std::cell::RefCell::new(Vec::new());
    let zone = |q: &Question| match q {
        Question::Txt(_) => {
            txt("v=spf1 exists:%{l}.%{l}.%{l}.%{l}.example.org exists:%{l1r+}.example.org -all")
        }
        other => {
            asked.borrow_mut().push(other.clone());
            elsewhere()
        }
    };
    let (spf, _) = check_as(&format!("{}+tag", "x".repeat(60)), zone);
    assert_eq!(spf.result, SpfResult::Pass);
    // A local part of 64 octets makes a label that DNS cannot carry: the name does not exist.
    assert_eq!(asked.borrow().as_slice(), [Question::A(format!("{}.example.org", "x".repeat(60)))]);
}

#[test]
fn the_most_questions_a_record_can_cause() {
    // Ten mx of ten hosts each: one for the record, and for each term its exchangers and their addresses.
    let terms: Vec<String> = (0..10).map(|n| format!("mx:m{n}.example.com")).collect();
    let record = format!("v=spf1 {} -all", terms.join(" "));
    let zone = |q: &Question| match q {
        Question::Txt(_) => txt(&record),
        Question::Mx(name) => Answer::Mx((0..10).map(|n| format!("h{n}.{name}")).collect()),
        _ => elsewhere(),
    };
    let (spf, asked) = check_as("user", zone);
    assert_eq!((spf.result, asked), (SpfResult::Fail, 1 + 10 * (1 + 10)));
}

#[test]
fn an_ipv6_client_and_exchangers_with_ipv4_only_make_one_void() {
    let mut check = Check::new(Query {
        ip: "2001:db8::1".parse().unwrap(),
        helo: "mx.example.net".into(),
        identity: SpfIdentity::MailFrom,
        local: "user".into(),
        domain: "example.com".into(),
        receiver: String::new(),
        now_secs: 0,
    });
    let spf = loop {
        match check.poll() {
            Step::Done(spf) => break spf,
            Step::Ask(question) => {
                let answer = match &question {
                    Question::Txt(_) => txt("v=spf1 mx ip6:2001:db8::/32 -all"),
                    Question::Mx(_) => Answer::Mx((0..10).map(|n| format!("mx{n}.example.com")).collect()),
                    _ => Answer::Void,
                };
                check.answer(question, answer);
            }
        }
    };
    assert_eq!((spf.result, spf.mechanism.as_deref()), (SpfResult::Pass, Some("ip6:2001:db8::/32")));
}

#[test]
fn si22_what_is_no_domain_has_no_result() {
    for domain in
        ["", "localhost", "[192.0.2.1]", "a..b", "legit.example(.attack.example", "a.b\0c", "x y.example"]
    {
        let mut query = Query {
            ip: ANY.into(),
            helo: "h.example".into(),
            identity: SpfIdentity::MailFrom,
            local: "any".into(),
            domain: domain.into(),
            receiver: String::new(),
            now_secs: 0,
        };
        let found = Check::new(query.clone()).poll();
        assert!(matches!(found, Step::Done(Spf { result: SpfResult::None, .. })), "{domain:?}");
        query.domain = "sub.legit.example".into();
        // A name below a domain says nothing about the domain itself: its own record is asked for.
        assert_eq!(Check::new(query).poll(), Step::Ask(Question::Txt("sub.legit.example".into())));
    }
}
