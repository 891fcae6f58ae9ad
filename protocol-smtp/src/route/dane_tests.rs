use super::*;
use alloc::string::ToString;
use alloc::vec;

const OWN: Certificate<'_> = Certificate { der: b"own certificate", spki: b"own key" };
const MIDDLE: Certificate<'_> = Certificate { der: b"middle certificate", spki: b"middle key" };
const TOP: Certificate<'_> = Certificate { der: b"top certificate", spki: b"top key" };

fn tlsa(usage: u8, selector: u8, matching: u8, data: &[u8]) -> Tlsa {
    Tlsa { usage, selector, matching, data: data.to_vec() }
}

/// The record that names a certificate.
fn naming(usage: u8, selector: u8, matching: u8, certificate: &Certificate<'_>) -> Tlsa {
    let selected = if selector == 0 { certificate.der } else { certificate.spki };
    match matching {
        1 => tlsa(usage, selector, matching, &Sha256::digest(selected)),
        2 => tlsa(usage, selector, matching, &Sha512::digest(selected)),
        _ => tlsa(usage, selector, matching, selected),
    }
}

#[test]
fn dt3_every_parameter_of_a_record() {
    for usage in 0..=4 {
        for selector in 0..=2 {
            for matching in 0..=3 {
                let record = naming(usage, selector, matching, &OWN);
                let usable = (2..4).contains(&usage) && selector < 2 && matching < 3;
                assert_eq!(record.is_usable(), usable, "{record}");
                let expected = match usage {
                    3 if usable => vec![Match::EndEntity],
                    2 if usable => vec![Match::Anchor(0)],
                    _ => vec![],
                };
                assert_eq!(matches(core::slice::from_ref(&record), &[OWN, TOP]), expected, "{record}");
                assert_eq!(matches(&[record], &[TOP]), vec![], "the record names another certificate");
            }
        }
    }
}

#[test]
fn dt3_data_of_the_wrong_length_make_a_record_unusable() {
    for (matching, length, usable) in [
        (0, 0, false),
        (0, 1, true),
        (0, ASSOCIATION_MAX, true),
        (0, ASSOCIATION_MAX + 1, false),
        (1, 0, false),
        (1, 31, false),
        (1, 32, true),
        (1, 33, false),
        (2, 63, false),
        (2, 64, true),
        (2, 65, false),
    ] {
        let record = tlsa(3, 1, matching, &vec![0; length]);
        assert_eq!(record.is_usable(), usable, "matching type {matching}, {length} octets");
    }
}

#[test]
fn dt3_eight_records_of_which_the_last_fits() {
    let mut records: Vec<Tlsa> = (0..7).map(|n| tlsa(3, 1, 1, &[n; 32])).collect();
    assert_eq!(matches(&records, &[OWN]), vec![]);
    records.push(naming(3, 1, 1, &OWN));
    assert_eq!(matches(&records, &[OWN]), vec![Match::EndEntity]);
}

#[test]
fn an_anchor_may_stand_anywhere_in_the_chain_and_the_own_key_outweighs_it() {
    let chain = [OWN, MIDDLE, TOP];
    let top = naming(2, 0, 1, &TOP);
    let middle = naming(2, 1, 2, &MIDDLE);
    assert_eq!(matches(core::slice::from_ref(&top), &chain), vec![Match::Anchor(2)]);
    assert_eq!(matches(&[top.clone(), middle], &chain), vec![Match::Anchor(1), Match::Anchor(2)]);
    assert_eq!(matches(&[top, naming(3, 1, 1, &OWN)], &chain), vec![Match::EndEntity]);
    // A usage 3 record speaks of the server's own certificate only.
    assert_eq!(matches(&[naming(3, 1, 1, &TOP)], &chain), vec![]);
    assert_eq!(matches(&[naming(3, 1, 1, &OWN)], &[]), vec![]);
}

#[test]
fn chain_and_records_are_looked_at_up_to_their_limits() {
    let mut chain = vec![MIDDLE; CHAIN_MAX - 1];
    chain.push(TOP);
    assert_eq!(matches(&[naming(2, 0, 1, &TOP)], &chain), vec![Match::Anchor(CHAIN_MAX - 1)]);
    chain.insert(0, MIDDLE);
    assert_eq!(matches(&[naming(2, 0, 1, &TOP)], &chain), vec![]);

    let mut records = vec![naming(3, 1, 1, &OWN); RECORDS_MAX];
    assert_eq!(usable(&records).len(), RECORDS_MAX);
    records.push(naming(3, 1, 1, &OWN));
    assert_eq!(usable(&records), vec![]);
    assert_eq!(usable(&[naming(1, 1, 1, &OWN), naming(2, 1, 1, &OWN)]), vec![naming(2, 1, 1, &OWN)]);
}

#[test]
fn records_are_looked_for_where_secure_aliases_lead_and_then_at_the_name() {
    let expansion = |expanded: &str, secure| Expansion {
        original: "mx.test".to_string(),
        expanded: expanded.to_string(),
        secure,
    };
    assert_eq!(base_domains(&expansion("mx.test", true)), ["mx.test"]);
    assert_eq!(base_domains(&expansion("mx.test", false)), ["mx.test"]);
    assert_eq!(base_domains(&expansion("real.test", true)), ["real.test", "mx.test"]);
    assert_eq!(base_domains(&expansion("real.test", false)), ["mx.test"]);
    assert_eq!(owner(2525, "mx.test"), "_2525._tcp.mx.test");
}

#[test]
fn names_under_an_anchor() {
    assert_eq!(reference_names("mx.test", "test", "test", true), ["mx.test", "test"]);
    assert_eq!(reference_names("mx.test", "alias", "test", true), ["mx.test", "alias", "test"]);
    assert_eq!(reference_names("mx.test", "test", "test", false), ["mx.test"]);
    assert_eq!(reference_names("test", "test", "test", true), ["test"]);
}
