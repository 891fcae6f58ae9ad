use super::*;
use alloc::string::ToString;
use alloc::vec;

const SEED: [u8; 32] = [7; 32];
const OWN: [&str; 1] = ["mx.own.test"];

fn records(list: &[(u16, &str)]) -> MxAnswer {
    MxAnswer::Records(list.iter().map(|(p, x)| Mx { preference: *p, exchange: x.to_string() }).collect())
}

fn names(answer: &MxAnswer) -> Result<Vec<String>, Status> {
    match hosts("example.test", answer, &OWN, SEED) {
        Ok(Hosts::Named { hosts, .. }) => Ok(hosts.into_iter().map(|h| h.name).collect()),
        Ok(Hosts::Literal(_)) => panic!("a domain is no literal"),
        Err(failure) => Err(failure.status),
    }
}

fn own(list: &[&str]) -> Result<Vec<String>, Status> {
    Ok(list.iter().map(|s| s.to_string()).collect())
}

#[test]
fn so11_mx_answers_by_row() {
    let table = [
        (records(&[(20, "b.test."), (10, "A.test"), (30, "c.test")]), own(&["a.test", "b.test", "c.test"])),
        (records(&[(0, ".")]), Err(Status::NULL_MX)),
        (records(&[(0, "")]), Err(Status::NULL_MX)),
        (records(&[(0, "."), (10, "a.test")]), own(&["a.test"])),
        (MxAnswer::NoData, own(&["example.test"])),
        (MxAnswer::NxDomain, Err(Status::NO_SUCH_DOMAIN)),
        (MxAnswer::Failed(DnsFailure::ServFail), Err(Status::DNS_FAILED)),
        (MxAnswer::Failed(DnsFailure::Timeout), Err(Status::DNS_FAILED)),
        (MxAnswer::Failed(DnsFailure::CnameLoop), Err(Status::DNS_FAILED)),
        (MxAnswer::Failed(DnsFailure::Bogus), Err(Status::DNS_FAILED)),
        // Ourselves: only what is strictly better stays.
        (records(&[(10, "a.test"), (20, "MX.own.test."), (20, "b.test"), (30, "c.test")]), own(&["a.test"])),
        (records(&[(10, "mx.own.test"), (10, "a.test"), (20, "b.test")]), Err(Status::LOOP)),
        // An address is no host name.
        (records(&[(10, "127.0.0.1"), (20, "a.test")]), own(&["a.test"])),
        (records(&[(10, "127.0.0.1"), (20, "::1"), (30, "bad name")]), Err(Status::new(5, 4, 4))),
        // The same host twice counts at its best place.
        (records(&[(30, "a.test"), (20, "b.test"), (10, "a.test.")]), own(&["a.test", "b.test"])),
    ];
    for (answer, expected) in table {
        assert_eq!(names(&answer), expected, "{answer:?}");
    }
    assert_eq!(hosts("mx.own.test", &MxAnswer::NoData, &OWN, SEED).unwrap_err().status, Status::LOOP);
}

#[test]
fn equal_preferences_are_shuffled_and_others_are_not() {
    let answer =
        records(&[(10, "a.test"), (10, "b.test"), (10, "c.test"), (5, "first.test"), (20, "last.test")]);
    let mut orders = BTreeSet::new();
    for n in 0..100 {
        let Ok(Hosts::Named { hosts, .. }) = hosts("example.test", &answer, &OWN, [n; 32]) else { panic!() };
        let order: Vec<String> = hosts.into_iter().map(|h| h.name).collect();
        assert_eq!((&*order[0], &*order[4]), ("first.test", "last.test"));
        orders.insert(order);
    }
    assert_eq!(orders.len(), 6);
}

#[test]
fn so11_five_thousand_mx_are_cut_behind_the_best_ten() {
    let many: Vec<Mx> =
        (0..5_000u16).rev().map(|n| Mx { preference: n, exchange: format!("m{n}.test") }).collect();
    let expected: Vec<String> = (0..HOSTS_MAX).map(|n| format!("m{n}.test")).collect();
    assert_eq!(names(&MxAnswer::Records(many)), Ok(expected));
}

fn limits<'a>(family: Family, allow_private: bool, own_addresses: &'a [IpAddr]) -> Limits<'a> {
    Limits { family, allow_private, own_addresses, port: 25 }
}

fn host(name: &str, preference: u16, addresses: &[&str]) -> HostAddresses {
    let list: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
    let answer = if list.is_empty() { AddressAnswer::None } else { AddressAnswer::Addresses(list) };
    HostAddresses { host: Host { name: name.to_string(), preference }, answer }
}

fn dialled(hosts: &[HostAddresses], limits: &Limits<'_>) -> Result<Vec<String>, Status> {
    match candidates("example.test", hosts, false, limits) {
        Ok(list) => Ok(list.into_iter().map(|c| c.address.to_string()).collect()),
        Err(failure) => Err(failure.status),
    }
}

#[test]
fn families_take_turns_and_can_be_chosen() {
    let hosts = [host("a.test", 10, &["8.8.8.8", "8.8.4.4", "2606:4700::1", "2606:4700::2"])];
    assert_eq!(
        dialled(&hosts, &limits(Family::Any, false, &[])),
        own(&["2606:4700::1", "8.8.8.8", "2606:4700::2", "8.8.4.4"])
    );
    assert_eq!(dialled(&hosts, &limits(Family::Ipv4, false, &[])), own(&["8.8.8.8", "8.8.4.4"]));
    assert_eq!(dialled(&hosts, &limits(Family::Ipv6, false, &[])), own(&["2606:4700::1", "2606:4700::2"]));
}

#[test]
fn so11_at_most_five_addresses_and_not_all_of_one_host() {
    let many: Vec<String> = (1..=50).map(|n| format!("8.8.8.{n}")).collect();
    let many: Vec<&str> = many.iter().map(|s| &**s).collect();
    let alone = [host("a.test", 10, &many)];
    assert_eq!(dialled(&alone, &limits(Family::Any, false, &[])).unwrap().len(), ADDRESSES_MAX);
    let two = [host("a.test", 10, &many), host("b.test", 20, &["9.9.9.9", "9.9.9.10", "9.9.9.11"])];
    assert_eq!(
        dialled(&two, &limits(Family::Any, false, &[])),
        own(&["8.8.8.1", "8.8.8.2", "8.8.8.3", "9.9.9.9", "9.9.9.10"])
    );
}

#[test]
fn so11_forbidden_addresses_are_not_candidates_unless_allowed() {
    let inside = ["127.0.0.1", "::1", "::ffff:10.0.0.1", "169.254.169.254"];
    for address in inside {
        let hosts = [host("a.test", 10, &[address]), host("b.test", 20, &["9.9.9.9"])];
        assert_eq!(dialled(&hosts, &limits(Family::Any, false, &[])), own(&["9.9.9.9"]), "{address}");
        let hosts = [host("a.test", 10, &[address])];
        assert_eq!(dialled(&hosts, &limits(Family::Any, false, &[])), Err(Status::new(4, 4, 4)), "{address}");
        assert_eq!(dialled(&hosts, &limits(Family::Any, true, &[])).unwrap().len(), 1, "{address}");
    }
    for never in ["0.0.0.0", "::", "224.0.0.1", "ff02::1"] {
        let hosts = [host("a.test", 10, &[never])];
        assert_eq!(dialled(&hosts, &limits(Family::Any, true, &[])), Err(Status::new(4, 4, 4)), "{never}");
    }
}

#[test]
fn so11_our_own_address_is_ourselves_under_any_name() {
    let here: [IpAddr; 1] = ["9.9.9.9".parse().unwrap()];
    let limits = limits(Family::Any, false, &here);
    let hosts = [
        host("a.test", 10, &["8.8.8.8"]),
        host("alias.test", 20, &["9.9.9.9"]),
        host("c.test", 30, &["8.8.4.4"]),
    ];
    assert_eq!(dialled(&hosts, &limits), own(&["8.8.8.8"]));
    assert_eq!(dialled(&hosts[1..], &limits), Err(Status::LOOP));
    assert_eq!(dialled(&[host("m.test", 1, &["::ffff:9.9.9.9"])], &limits), Err(Status::LOOP));
}

#[test]
fn hosts_without_addresses_by_row() {
    let failed = |why| HostAddresses {
        host: Host { name: "f.test".to_string(), preference: 10 },
        answer: AddressAnswer::Failed(why),
    };
    let limits = limits(Family::Any, false, &[]);
    let none = host("a.test", 10, &[]);
    assert_eq!(dialled(core::slice::from_ref(&none), &limits), Err(Status::NO_SUCH_DOMAIN));
    assert_eq!(dialled(&[none.clone(), failed(DnsFailure::Timeout)], &limits), Err(Status::DNS_FAILED));
    assert_eq!(
        dialled(&[failed(DnsFailure::ServFail), host("b.test", 20, &["9.9.9.9"])], &limits),
        own(&["9.9.9.9"])
    );
    let implicit = candidates("example.test", &[none], true, &limits).unwrap_err();
    assert_eq!(implicit, fail(Status::NO_SUCH_DOMAIN, "example.test has neither MX nor address".to_string()));
}

#[test]
fn address_literals_are_dialled_without_dns_and_under_the_same_rules() {
    let table = [
        ("[8.8.8.8]", false, Ok("[8.8.8.8]")),
        ("[IPv6:2606:4700::1]", false, Ok("[IPv6:2606:4700::1]")),
        ("[127.0.0.1]", false, Err(Status::new(4, 4, 4))),
        ("[127.0.0.1]", true, Ok("[127.0.0.1]")),
        ("[IPv6:::ffff:10.0.0.1]", false, Err(Status::new(4, 4, 4))),
    ];
    for (literal, allow_private, expected) in table {
        let found = hosts(literal, &MxAnswer::NoData, &OWN, SEED).unwrap();
        let candidate = found.literal(&limits(Family::Any, allow_private, &[])).unwrap();
        assert_eq!(candidate.map(|c| c.host).map_err(|f| f.status), expected.map(String::from), "{literal}");
    }
    for bad in ["[x400:c=us]", "[8.8.8]", "[]"] {
        assert_eq!(hosts(bad, &MxAnswer::NoData, &OWN, SEED).unwrap_err().status, Status::NO_SUCH_DOMAIN);
    }
}

#[test]
fn a_relay_is_a_name_or_an_address() {
    let named =
        |n: &str| Hosts::Named { hosts: vec![Host { name: n.to_string(), preference: 0 }], implicit: true };
    assert_eq!(relay("Smtp.Relay.test"), named("smtp.relay.test"));
    assert_eq!(relay("192.0.2.1"), Hosts::Literal("192.0.2.1".parse().unwrap()));
    assert_eq!(relay("[2001:db8::1]"), Hosts::Literal("2001:db8::1".parse().unwrap()));
}
