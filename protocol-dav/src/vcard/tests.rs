use super::*;
use crate::request::{CardFilter, ReportBody};

fn card(version: &str, lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("BEGIN:VCARD\r\nVERSION:{version}\r\nUID:1\r\nFN:Ada Lovelace\r\n{lines}END:VCARD\r\n")
}

fn condition(text: &str) -> Option<Condition> {
    check(text.as_bytes()).err().and_then(|refusal| refusal.condition)
}

#[test]
fn what_may_be_stored() {
    let good = card("3.0", &["N:Lovelace;Ada;;;", "item1.X-thing;Y=z:\\q"]);
    let stored = check(good.as_bytes()).unwrap();
    assert_eq!((stored.text.as_str(), &*stored.uid, stored.version), (good.as_str(), "1", CardVersion::V3));
    assert!(!stored.altered && !stored.is_group);
    assert!(check(card("4.0", &["KIND:group"]).as_bytes()).unwrap().is_group);
    assert!(check(card("3.0", &["X-ADDRESSBOOKSERVER-KIND:group"]).as_bytes()).unwrap().is_group);
    let invalid = Some(Condition::ValidAddressData);
    for (text, expected) in [
        (card("2.1", &[]), Some(Condition::SupportedAddressData)),
        (good.replace("UID:1\r\n", ""), invalid),
        (good.replace("UID:1\r\n", "UID:1\r\nUID:2\r\n"), invalid),
        (good.replace("FN:", "X-FN:"), invalid),
        (good.repeat(2), invalid),
        (good.replace("VCARD", "VCALENDAR"), invalid),
        (card("3.0", &["BEGIN:VCARD", "END:VCARD"]), invalid),
        ("nothing".to_owned(), invalid),
    ] {
        assert_eq!(condition(&text), expected, "{text}");
    }
    assert_eq!(check(b"\xFF").unwrap_err().condition, invalid);
}

#[test]
fn dv8_limits_of_a_stored_card() {
    let sized = |octets: usize| {
        let empty = card("3.0", &["PHOTO;ENCODING=b:"]).len();
        card("3.0", &[&format!("PHOTO;ENCODING=b:{}", "A".repeat(octets - empty))])
    };
    assert_eq!(condition(&sized(limits::CARD_MAX)), None);
    assert_eq!(condition(&sized(limits::CARD_MAX + 1)), Some(Condition::CardMaxResourceSize));
    let wide = |count: usize| card("3.0", &[&format!("TEL{}:1", ";A=1".repeat(count))]);
    assert_eq!(condition(&wide(limits::PARAMETERS_MAX)), None);
    assert_eq!(condition(&wide(limits::PARAMETERS_MAX + 1)), Some(Condition::ValidAddressData));
}

fn filter(xml: &str) -> CardFilter {
    let text =
        format!("<R:addressbook-query xmlns:R='urn:ietf:params:xml:ns:carddav'>{xml}</R:addressbook-query>");
    let root = crate::xml::parse(text.as_bytes()).unwrap();
    match ReportBody::parse(&root, "").unwrap_or_else(|e| panic!("{e}: {xml}")) {
        ReportBody::CardQuery(query) => query.filter,
        other => panic!("{other:?}"),
    }
}

#[test]
fn filters() {
    let text = card(
        "3.0",
        &["EMAIL;TYPE=home:ada@h.example", "work.EMAIL;TYPE=work:l@w.example", "NOTE:Straße\\, \\nÉté"],
    );
    let card = parse(&text).unwrap();
    let one = |inner: &str, attributes: &str| format!("<R:prop-filter {attributes}>{inner}</R:prop-filter>");
    let text = |match_type: &str, text: &str| {
        format!("<R:text-match match-type='{match_type}'>{text}</R:text-match>")
    };
    for (inner, expected) in [
        ("<R:filter/>".to_owned(), true),
        (one("", "name='EMAIL'"), true),
        (one("", "name='TEL'"), false),
        (one("<R:is-not-defined/>", "name='TEL'"), true),
        (one(&text("equals", "ADA@H.EXAMPLE"), "name='email'"), true),
        (one(&text("starts-with", "ada"), "name='EMAIL'"), true),
        (one(&text("ends-with", "ada"), "name='EMAIL'"), false),
        (one(&text("contains", "été"), "name='NOTE'"), true),
        (one(&text("contains", "STRASSE, \n"), "name='NOTE'"), true),
        (one(&text("contains", "ada"), "name='WORK.EMAIL'"), false),
        (one(&text("contains", "l@w"), "name='WORK.EMAIL'"), true),
        (one(&(text("contains", "l@w") + &text("contains", "none")), "name='EMAIL'"), true),
        (one(&(text("contains", "l@w") + &text("contains", "none")), "name='EMAIL' test='allof'"), false),
        (
            one(
                &format!(
                    "{}<R:param-filter name='type'>{}</R:param-filter>",
                    text("contains", "ada"),
                    text("equals", "work")
                ),
                "name='EMAIL' test='allof'",
            ),
            false,
        ),
        (one("<R:param-filter name='X'><R:is-not-defined/></R:param-filter>", "name='EMAIL'"), true),
    ] {
        let inner =
            if inner.starts_with("<R:filter") { inner } else { format!("<R:filter>{inner}</R:filter>") };
        assert_eq!(matches(&filter(&inner), &card), expected, "{inner}");
    }
    let both = one("", "name='EMAIL'") + &one("", "name='TEL'");
    assert!(matches(&filter(&format!("<R:filter>{both}</R:filter>")), &card));
    assert!(!matches(&filter(&format!("<R:filter test='allof'>{both}</R:filter>")), &card));
}

/// Pairs of lines that say the same in version 3.0 and in 4.0.
const BOTH_WAYS: &[(&str, &str)] = &[
    ("N:Lovelace;Ada;;;", "N:Lovelace;Ada;;;"),
    ("TEL;TYPE=home;TYPE=voice;TYPE=pref:+1", "TEL;TYPE=home;TYPE=voice;PREF=1:+1"),
    ("item1.ADR;TYPE=work:;;1 Main St;City;;1;US", "item1.ADR;TYPE=work:;;1 Main St;City;;1;US"),
    ("PHOTO;ENCODING=b;TYPE=JPEG:AAAA", "PHOTO:data:image/jpeg;base64,AAAA"),
    ("KEY;ENCODING=b;TYPE=PGP:AAAA", "KEY:data:application/pgp-keys;base64,AAAA"),
    ("SOUND;ENCODING=b;TYPE=OGG:AAAA", "SOUND:data:audio/ogg;base64,AAAA"),
    ("PHOTO;VALUE=uri:https://h.example/a.png", "PHOTO;VALUE=uri:https://h.example/a.png"),
    ("NOTE:data:image/png;base64,AAAA", "NOTE:data:image/png;base64,AAAA"),
    ("BDAY:1815-12-10", "BDAY:18151210"),
    ("BDAY;X-APPLE-OMIT-YEAR=1604:1604-12-10", "BDAY:--1210"),
    ("BDAY;VALUE=text:around 1815", "BDAY;VALUE=text:around 1815"),
    ("X-ANNIVERSARY:1835-07-08", "ANNIVERSARY:18350708"),
    ("X-GENDER:F", "GENDER:F"),
    ("X-ADDRESSBOOKSERVER-KIND:group", "KIND:group"),
    ("X-ADDRESSBOOKSERVER-MEMBER:urn:uuid:2", "MEMBER:urn:uuid:2"),
    ("GEO:37.386013;-122.082932", "GEO:geo:37.386013,-122.082932"),
    ("LABEL;TYPE=home:1 Main St\\nCity", "X-LABEL;TYPE=home:1 Main St\\nCity"),
    ("item2.X-ABLabel:_$!<Other>!$_", "item2.X-ABLabel:_$!<Other>!$_"),
    ("X-UNKNOWN;Z=\"1;2\":a\\,b", "X-UNKNOWN;Z=\"1;2\":a\\,b"),
    ("IMPP;TYPE=work:xmpp:a@h.example", "IMPP;TYPE=work:xmpp:a@h.example"),
];

fn converted(version: &str, line: &str, to: CardVersion) -> Vec<String> {
    let name: &[&str] =
        if line.starts_with("N:") || line.starts_with("N;") { &[line] } else { &["N:Lovelace;Ada;;;", line] };
    let text = card(version, name);
    let converted = convert(&parse(&text).unwrap(), to);
    // It is written as it would be read.
    let written = converted.to_string();
    assert_eq!(parse(&written).unwrap(), converted);
    converted.properties.iter().map(ToString::to_string).collect()
}

#[test]
fn both_versions_say_the_same() {
    for (three, four) in BOTH_WAYS {
        let up = converted("3.0", three, CardVersion::V4);
        assert!(up.iter().any(|line| line == four), "{three} became {up:?}");
        assert!(up.contains(&"VERSION:4.0".to_owned()) && !up.contains(&"VERSION:3.0".to_owned()));
        let down = converted("4.0", four, CardVersion::V3);
        assert!(down.iter().any(|line| line == three), "{four} became {down:?}");
        assert!(down.contains(&"VERSION:3.0".to_owned()));
    }
}

#[test]
fn what_goes_one_way_only() {
    for (three, four) in [
        ("EMAIL;TYPE=INTERNET,pref:a@h.example", "EMAIL;PREF=1:a@h.example"),
        ("TEL;HOME;VOICE:1", "TEL;TYPE=home;TYPE=voice:1"),
        ("PHOTO;ENCODING=BASE64;TYPE=PNG:AA AA", "PHOTO:data:image/png;base64,AAAA"),
        ("X-EVOLUTION-ANNIVERSARY:1835-07-08", "ANNIVERSARY:18350708"),
        ("REV:1995-10-31T22:27:10Z", "REV:19951031T222710Z"),
        ("NOTE;CHARSET=UTF-8:x", "NOTE:x"),
    ] {
        let up = converted("3.0", three, CardVersion::V4);
        assert!(up.iter().any(|line| line == four), "{three} became {up:?}");
    }
    for (four, three) in [
        ("TEL;VALUE=uri;TYPE=\"voice,home\":tel:+1-555", "TEL;TYPE=voice;TYPE=home:+1-555"),
        ("ADR;LABEL=\"1 Main^nCity\";TYPE=home:;;1 Main;;;;", "LABEL;TYPE=home:1 Main\\nCity"),
        ("EMAIL;PID=1.1;ALTID=2:a@h.example", "EMAIL:a@h.example"),
        ("N;SORT-AS=\"Ada,L\":L;A", "SORT-STRING:Ada\\,L"),
    ] {
        let down = converted("4.0", four, CardVersion::V3);
        assert!(down.iter().any(|line| line == three), "{four} became {down:?}");
    }
    let nameless = convert(&parse(&card("4.0", &[])).unwrap(), CardVersion::V3).to_string();
    assert!(nameless.contains("\r\nN:Ada Lovelace;;;;\r\n"), "{nameless}");
    let preferred = card("4.0", &["TEL;PREF=2:1", "TEL;PREF=1:2", "TEL:3", "N:a;;;;", "N;ALTID=1:b;;;;"]);
    let down = convert(&parse(&preferred).unwrap(), CardVersion::V3).to_string();
    assert!(down.contains("TEL:1\r\nTEL;TYPE=pref:2\r\nTEL:3\r\nN:a;;;;\r\nEND"), "{down}");
}

#[test]
fn dv8_types_and_parameters_of_a_converted_card_are_counted() {
    let wide: String = (0..limits::PARAMETERS_MAX).map(|n| format!(";X{n}=1")).collect();
    let types: Vec<String> = (0..limits::PARAMETERS_MAX).map(|n| format!("t{n}")).collect();
    for line in [format!("PHOTO{wide}:data:image/png;base64,AA"), format!("TEL;TYPE={}:1", types.join(","))] {
        for (from, to) in [("3.0", CardVersion::V4), ("4.0", CardVersion::V3)] {
            let lines = converted(from, &line, to);
            assert!(lines.iter().any(|line| line.starts_with("PHOTO") || line.starts_with("TEL")));
        }
    }
}

#[test]
fn parts_of_a_card() {
    let text = card("3.0", &["TEL:1", "BDAY:1815-12-10"]);
    let card = parse(&text).unwrap();
    let select = |name: &str, no_value| crate::request::PropertySelection { name: name.into(), no_value };
    let properties = Some(vec![select("VERSION", false), select("BDAY", false), select("TEL", true)]);
    let request = CardDataRequest { version: Some(CardVersion::V4), properties };
    let text = render(&request, &card);
    assert_eq!(text, "BEGIN:VCARD\r\nVERSION:4.0\r\nTEL:\r\nBDAY:18151210\r\nEND:VCARD\r\n");
}
