use super::*;
use crate::limits;

fn round_trip(text: &str) {
    let object = Component::parse(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(object.to_string(), text);
}

#[test]
fn what_is_not_changed_is_written_as_it_came() {
    round_trip(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nX-WR-calname;X-Foo=\"a;b\";LANGUAGE=de:Hal\\, lo\\Nx\\q\r\n\
         BEGIN:VEVENT\r\nX-BLOB;ENCODING=BASE64;VALUE=BINARY:AAA\r\n  =\r\n\t=\r\n\
         ATTENDEE;CUTYPE=individual;X-NUM_GUESTS=0:MAILTO:a@b\r\nRRULE:FREQ=DAILY;X-FOO=1\r\n\
         END:VEVENT\r\nEND:VCALENDAR\r\n",
    );
}

#[test]
fn folds() {
    let object = Component::parse("BEGIN:A\nX:1\n  2\r\n\t3\nEND:A").unwrap();
    assert_eq!(object.properties[0].value(), "1 23");
    // With bare line feeds it is folded anew.
    assert_eq!(object.to_string(), "BEGIN:A\r\nX:1 23\r\nEND:A\r\n");

    let value = "ä".repeat(100);
    let long = Property::new("X", &[], &value);
    let mut out = String::new();
    long.write(&mut out);
    assert!(out.lines().all(|line| line.len() <= 75), "{out}");
    let text = format!("BEGIN:A\r\n{out}END:A\r\n");
    let object = Component::parse(&text).unwrap();
    assert_eq!(object.properties[0].value(), value);
    assert_eq!(object.to_string(), text);
}

#[test]
fn a_fold_within_a_character() {
    let mut octets = b"BEGIN:A\r\nX:\xC3\r\n \xA4b\r\n c\r\nEND:A\r\n".to_vec();
    let text = decode(&octets).unwrap();
    assert_eq!(Component::parse(&text).unwrap().properties[0].value(), "äbc");
    octets.push(0xFF);
    assert_eq!(decode(&octets), None);
    assert_eq!(decode("\u{FEFF}x".as_bytes()).as_deref(), Some("x"));
}

#[test]
fn parameters() {
    let text = "BEGIN:A\r\nitem1.TEL;TYPE=home,\"a,b\";HOME;X=\"1:2;3\";Y=a^'b^^c^nd^e:+1\r\nEND:A\r\n";
    let object = Component::parse(text).unwrap();
    let tel = &object.properties[0];
    assert_eq!((tel.group(), tel.name(), tel.value()), (Some("item1"), "TEL", "+1"));
    let all: Vec<(&str, Vec<String>)> =
        tel.parameters().map(|p| (p.name, p.values().map(Cow::into_owned).collect())).collect();
    assert_eq!(
        all,
        [
            ("TYPE", vec!["home".to_owned(), "a,b".to_owned()]),
            ("HOME", vec![]),
            ("X", vec!["1:2;3".to_owned()]),
            ("Y", vec!["a\"b^c\nd^e".to_owned()]),
        ]
    );
    let changed = tel.with_parameter("x", None).with_parameter("Z", Some("q\";\n^"));
    let mut out = String::new();
    changed.write(&mut out);
    assert_eq!(out, "item1.TEL;TYPE=home,\"a,b\";HOME;Y=a^'b^^c^nd^e;Z=\"q^';^n^^\":+1\r\n");
    assert_eq!(changed.parameter("z").as_deref(), Some("q\";\n^"));
    assert_eq!(changed.with_value("2").value(), "2");
    assert!(changed.has("type", "HOME"));
}

#[test]
fn what_is_no_object_is_refused() {
    for text in [
        "X:1\r\n",
        "BEGIN:A\r\n",
        "BEGIN:A\r\nEND:B\r\n",
        "END:A\r\n",
        "BEGIN:A\r\nEND:A\r\nBEGIN:A\r\nEND:A\r\n",
        "BEGIN:A\r\nX\r\nEND:A\r\n",
        "BEGIN:A\r\nX;Y=1\r\nEND:A\r\n",
        "BEGIN:A\r\nX;=1:2\r\nEND:A\r\n",
        "BEGIN:A\r\nX;Y=\"1:2\r\nEND:A\r\n",
        "BEGIN:A\r\nX Y:2\r\nEND:A\r\n",
        "BEGIN:A\r\n.X:2\r\nEND:A\r\n",
        "BEGIN:A\r\nX:\u{0}\r\nEND:A\r\n",
        "BEGIN:A\r\nX:a\rb\r\nEND:A\r\n",
        " X:1\r\n",
    ] {
        assert_eq!(Component::parse(text), Err(ObjectFault::Malformed), "{text:?}");
    }
    assert_eq!(Component::parse_all("", 1), Ok(vec![]));
}

#[test]
fn dv8_each_limit_holds_and_one_past_it_is_refused() {
    let refused = |text: &str| Component::parse(text) == Err(ObjectFault::TooLarge);
    let nested = |depth: usize| format!("{}{}", "BEGIN:A\r\n".repeat(depth), "END:A\r\n".repeat(depth));
    assert!(Component::parse(&nested(limits::COMPONENT_DEPTH_MAX)).is_ok());
    assert!(refused(&nested(limits::COMPONENT_DEPTH_MAX + 1)) && refused(&nested(10_000)));

    let many = |count: usize| format!("BEGIN:A\r\n{}END:A\r\n", "BEGIN:B\r\nEND:B\r\n".repeat(count - 1));
    assert!(Component::parse(&many(limits::COMPONENTS_MAX)).is_ok());
    assert!(refused(&many(limits::COMPONENTS_MAX + 1)));

    let long = |lines: usize| format!("BEGIN:A\r\n{}END:A\r\n", "X:1\r\n".repeat(lines - 2));
    assert!(Component::parse(&long(limits::LINES_MAX)).is_ok());
    assert!(refused(&long(limits::LINES_MAX + 1)));

    let wide = |parameters: usize| format!("BEGIN:A\r\nX{}:1\r\nEND:A\r\n", ";Y=1".repeat(parameters));
    assert!(Component::parse(&wide(limits::PARAMETERS_MAX)).is_ok());
    assert!(refused(&wide(limits::PARAMETERS_MAX + 1)) && refused(&wide(100_000)));
}

#[test]
fn files_may_be_longer_than_objects() {
    let file = "BEGIN:A\r\nEND:A\r\n".repeat(limits::COMPONENTS_MAX + 1);
    assert_eq!(Component::parse_file(&file).unwrap().len(), limits::COMPONENTS_MAX + 1);
    let past = "BEGIN:A\r\nEND:A\r\n".repeat(limits::FILE_COMPONENTS_MAX + 1);
    assert_eq!(Component::parse_file(&past), Err(ObjectFault::TooLarge));
    assert!(Component::parse_file(&past[16..]).is_ok());
    let lines = |count: usize| format!("BEGIN:A\r\n{}END:A\r\n", "\r\n".repeat(count - 2));
    assert!(Component::parse_file(&lines(limits::FILE_LINES_MAX)).is_ok());
    assert_eq!(Component::parse_file(&lines(limits::FILE_LINES_MAX + 1)), Err(ObjectFault::TooLarge));
}

#[test]
fn values() {
    assert_eq!(unescape_text("a\\nb\\N\\,\\;\\\\\\q\\"), "a\nb\n,;\\\\q\\");
    let text = "a\nb,c;d\\";
    assert_eq!(unescape_text(&escape_text(text)), text);
    assert_eq!(split_list("a\\,b,c,").collect::<Vec<_>>(), ["a\\,b", "c", ""]);
    assert_eq!(split_structured("a\\\\;b").collect::<Vec<_>>(), ["a\\\\", "b"]);
}

#[test]
fn setting_a_property_replaces_all_of_its_name() {
    let mut object = Component::parse("BEGIN:A\r\nX:1\r\nY:2\r\nx:3\r\nEND:A\r\n").unwrap();
    object.set(Property::new("X", &[], "4"));
    object.set(Property::new("Z", &[], "5"));
    object.remove(&["y"]);
    assert_eq!(object.to_string(), "BEGIN:A\r\nX:4\r\nZ:5\r\nEND:A\r\n");
}
