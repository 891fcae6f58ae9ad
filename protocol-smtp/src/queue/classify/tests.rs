use super::*;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString;

#[path = "cases.rs"]
mod cases;
use cases::CASES;

/// Code, enhanced code and text, as the client finds them in a reply.
fn parts(reply: &str) -> (u16, Option<Status>, &str) {
    let (code, rest) = reply.split_once(' ').unwrap_or((reply, ""));
    (code.parse().unwrap(), Status::parse(rest.as_bytes()), reply)
}

fn rule_of(reply: &str) -> &'static Rule {
    let (code, status, text) = parts(reply);
    rule(code, status, text)
}

#[test]
fn every_rule_is_hit_by_its_own_row() {
    assert!(RULES.len() >= 60, "{} rules", RULES.len());
    let names: BTreeSet<&str> = RULES.iter().map(|r| r.name).collect();
    assert_eq!(names.len(), RULES.len(), "names are unique");
    for (name, reply) in CASES {
        assert_eq!(rule_of(reply).name, *name, "{reply}");
    }
    let hit: BTreeSet<&str> = CASES.iter().map(|(name, _)| *name).collect();
    let missing: alloc::vec::Vec<_> = names.difference(&hit).collect();
    assert!(missing.is_empty(), "rules without a row: {missing:?}");
}

#[test]
fn only_5yz_replies_say_that_an_address_or_a_domain_is_gone() {
    for (_, reply) in CASES {
        let (code, status, text) = parts(reply);
        for status in [status, status.map(|s| s.with_class(4)), None] {
            let class = classify(400 + code % 100, status, text);
            assert!(!class.is_for_good(), "4{} of {reply}: {class}", code % 100);
        }
    }
}

#[test]
fn so15_a_block_never_counts_against_the_address_whatever_its_code() {
    let blocks = CASES.iter().filter(|(name, _)| {
        RULES.iter().any(|r| r.name == *name && matches!(r.class, Class::Policy | Class::Auth) && says(r))
    });
    let mut seen = 0;
    for (name, reply) in blocks {
        let (_, _, text) = parts(reply);
        let bare = text.split_once(' ').unwrap().1;
        let (first, rest) = bare.split_once(' ').unwrap_or((bare, ""));
        let words = if Status::parse(first.as_bytes()).is_some() { rest } else { bare };
        for code in [550, 551, 552, 553, 554, 521, 556] {
            for status in [Status::new(5, 1, 1), Status::new(5, 1, 6), Status::new(5, 2, 1)] {
                let class = classify(code, Some(status), &format!("{code} {status} {words}"));
                assert_ne!(class, Class::AddressPermanent, "{name}: {code} {status} {words}");
                // Even with the most common words of a missing mailbox behind it.
                let class = classify(code, Some(status), &format!("{code} {status} {words}; user unknown"));
                assert_ne!(class, Class::AddressPermanent, "{name}: {code} {status} {words}; user unknown");
                seen += 1;
            }
        }
    }
    assert!(seen >= 60 * 21, "{seen}");
}

fn says(rule: &Rule) -> bool {
    matches!(rule.test, Test::Says(_) | Test::SaysUnder(..))
}

#[test]
fn addresses_and_codes_in_a_text_are_no_words_of_it() {
    for reply in [
        "550 5.1.1 <spam@x.test>: user unknown",
        "550 5.1.1 spamhaus@blocklist.test User Unknown",
        "550 5.1.1 The email account that 5.1.1 you tried to 550 reach does not 550-5.1.1 exist",
        "554 sorry, no mailbox here by that name. (#5.1.1)",
    ] {
        assert_eq!(rule_of(reply).class, Class::AddressPermanent, "{reply}");
    }
    // A code within the text counts where the reply has none of its own, and only one of its class.
    assert_eq!(rule_of("550 rejected (#5.1.1)").name, "no-mailbox");
    assert_eq!(rule_of("550 5.0.0 rejected (#5.1.1)").name, "no-mailbox");
    assert_eq!(rule_of("550 rejected (4.1.1)").name, "not-taken");
    assert_eq!(rule_of("450 rejected (#5.1.1)").name, "temporary-reply");
}

#[test]
fn a_reply_of_any_length_and_octets_is_classified() {
    let filler = "x".repeat(CLASSIFIED_MAX - 4 - " user unknown".len());
    assert_eq!(classify(550, None, &format!("550 {filler} user unknown")), Class::AddressPermanent);
    assert_eq!(classify(550, None, &format!("550 {filler}x user unknown")), Class::Policy);
    for text in ["", " ", "5", "550", "550-", "550 \u{e9}", &"\u{e9}".repeat(CLASSIFIED_MAX), "- - @ # ()"] {
        assert_eq!(classify(550, None, text), Class::Policy, "{text}");
    }
    for code in [0, 199, 250, 354, 600, u16::MAX] {
        assert_eq!(rule(code, None, "ok").name, "unknown");
    }
}

#[test]
fn failures_of_our_own_are_named_by_their_status() {
    for (status, class) in [
        (Status::NO_ANSWER, Class::Transient),
        (Status::DNS_FAILED, Class::Transient),
        (Status::EXPIRED, Class::Transient),
        (Status::LOOP, Class::Transient),
        (Status::NO_SUCH_DOMAIN, Class::DomainPermanent),
        (Status::TOO_BIG, Class::Content),
        (Status::UTF8_ADDRESS, Class::Content),
        (Status::NO_TLS, Class::Policy),
        (Status::REQUIRETLS, Class::Policy),
    ] {
        assert_eq!(class_of(&Failure::local(status, "why")), class, "{status}");
    }
    let of = |origin, status| class_of(&Failure { status, reply: "x".to_string(), origin });
    assert_eq!(of(Origin::NullMx, Status::NULL_MX), Class::DomainPermanent);
    assert_eq!(of(Origin::NoSuchDomain, Status::NO_SUCH_DOMAIN), Class::DomainPermanent);
    let peer = Origin::Peer { code: 550, own: true };
    assert_eq!(of(peer, Status::new(5, 1, 1)), Class::AddressPermanent);
    assert_eq!(class_of(&Failure::kept("550 5.1.1 no such user")), Class::AddressPermanent);
    assert_eq!(class_of(&Failure::kept("5.4.7 given up")), Class::Transient);
}

#[test]
fn names_are_stable() {
    let names = Class::ALL.map(Class::name);
    assert_eq!(
        names,
        ["address-permanent", "domain-permanent", "policy", "mailbox-full", "transient", "content", "auth"]
    );
}
