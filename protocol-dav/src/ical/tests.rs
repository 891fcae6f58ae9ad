use super::*;
use crate::limits;
use crate::recur::{Budget, TooMany};
use crate::refusal::Condition;
use crate::request::{ComponentFilter, ReportBody, TimeRange};
use crate::resource::Components;
use crate::time::{utc, write_date_time};

/// An object with these components, each given by the lines in it.
fn calendar(components: &[(&str, &str)]) -> String {
    let mut out = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\n".to_owned();
    for (name, lines) in components {
        let inner: String = lines.split_whitespace_lines();
        out.push_str(&format!("BEGIN:{name}\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\n{inner}END:{name}\r\n"));
    }
    out + "END:VCALENDAR\r\n"
}

trait Lines {
    fn split_whitespace_lines(&self) -> String;
}

impl Lines for str {
    /// Lines divided by `|` in the tests.
    fn split_whitespace_lines(&self) -> String {
        self.split('|').filter(|line| !line.is_empty()).map(|line| format!("{}\r\n", line.trim())).collect()
    }
}

fn event(lines: &str) -> String {
    calendar(&[("VEVENT", lines)])
}

fn range(start: &str, end: &str) -> TimeRange {
    TimeRange { start: utc(start), end: utc(end) }
}

fn shown(seconds: i64) -> String {
    let mut out = String::new();
    write_date_time(seconds, true, &mut out);
    out
}

/// The beginnings of the instances in a range.
fn starts(text: &str, from: &str, to: &str) -> Vec<String> {
    let object = parse(text).unwrap();
    let zones = Zones::of(&object, &Zone::Utc);
    let series = Series::of(&object, "VEVENT", &zones);
    let instances = series.instances(range(from, to), &mut Budget::default()).unwrap();
    instances.iter().map(|i| shown(i.start_utc().unwrap())).collect()
}

#[test]
fn a_series_follows_the_clock_on_the_wall() {
    let text = event("DTSTART;TZID=Europe/Berlin:20260327T090000|DURATION:PT1H|RRULE:FREQ=DAILY;COUNT=4");
    assert_eq!(
        starts(&text, "20260101T000000Z", "20270101T000000Z"),
        ["20260327T080000Z", "20260328T080000Z", "20260329T070000Z", "20260330T070000Z"]
    );
    let until = event(
        "DTSTART;TZID=America/New_York:20260307T210000|RRULE:FREQ=DAILY;UNTIL=20260310T010000Z|DURATION:PT1H",
    );
    assert_eq!(starts(&until, "20260101T000000Z", "20270101T000000Z").len(), 3);
}

#[test]
fn dates_exceptions_and_moved_instances() {
    let text = calendar(&[
        (
            "VEVENT",
            "DTSTART:20260101T100000Z|DTEND:20260101T110000Z|RRULE:FREQ=DAILY;COUNT=6\
             |EXDATE:20260102T100000Z|RDATE:20260110T100000Z,20260101T100000Z",
        ),
        ("VEVENT", "RECURRENCE-ID:20260103T100000Z|DTSTART:20260120T100000Z|DTEND:20260120T120000Z"),
        ("VEVENT", "RECURRENCE-ID:20260104T100000Z|DTSTART:20260104T150000Z|DTEND:20260104T160000Z"),
    ]);
    assert_eq!(
        starts(&text, "20260101T000000Z", "20260201T000000Z"),
        [
            "20260101T100000Z",
            "20260104T150000Z",
            "20260105T100000Z",
            "20260106T100000Z",
            "20260110T100000Z",
            "20260120T100000Z"
        ]
    );
    assert_eq!(starts(&text, "20260103T000000Z", "20260104T120000Z"), [] as [&str; 0]);
    assert_eq!(starts(&text, "20260120T110000Z", "20260121T000000Z"), ["20260120T100000Z"]);
}

#[test]
fn this_and_future() {
    let text = calendar(&[
        ("VEVENT", "DTSTART:20260101T100000Z|DURATION:PT1H|RRULE:FREQ=WEEKLY;COUNT=6|SUMMARY:old"),
        (
            "VEVENT",
            "RECURRENCE-ID;RANGE=THISANDFUTURE:20260115T100000Z|DTSTART:20260116T120000Z|DURATION:PT3H|SUMMARY:new",
        ),
        ("VEVENT", "RECURRENCE-ID:20260129T100000Z|DTSTART:20260129T080000Z|DURATION:PT1H|SUMMARY:one"),
    ]);
    let object = parse(&text).unwrap();
    let zones = Zones::of(&object, &Zone::Utc);
    let series = Series::of(&object, "VEVENT", &zones);
    let all = range("20260101T000000Z", "20260301T000000Z");
    let instances = series.instances(all, &mut Budget::default()).unwrap();
    let described: Vec<String> = instances
        .iter()
        .map(|i| {
            let start = i.start_utc().unwrap();
            format!("{} {} {}", shown(start), (i.end - start) / 3_600, i.component.value("SUMMARY").unwrap())
        })
        .collect();
    assert_eq!(
        described,
        [
            "20260101T100000Z 1 old",
            "20260108T100000Z 1 old",
            "20260116T120000Z 3 new",
            "20260123T120000Z 3 new",
            "20260129T080000Z 1 one",
            "20260206T120000Z 3 new",
        ]
    );
    // Found by a window that only the shifted instance is in.
    assert_eq!(starts(&text, "20260206T130000Z", "20260206T140000Z"), ["20260206T120000Z"]);
    // Nothing of it lies outside its span.
    let (first, last) = series.span();
    assert!(first <= utc("20260101T100000Z") && last >= utc("20260206T150000Z"));
}

#[test]
fn this_and_future_in_another_zone() {
    let text = calendar(&[
        ("VEVENT", "DTSTART;TZID=America/New_York:20260601T090000|DURATION:PT1H|RRULE:FREQ=DAILY;COUNT=3"),
        (
            "VEVENT",
            "RECURRENCE-ID;RANGE=THISANDFUTURE:20260602T130000Z|DTSTART;TZID=Europe/Berlin:20260602T160000\
             |DURATION:PT1H",
        ),
    ]);
    assert_eq!(
        starts(&text, "20260101T000000Z", "20270101T000000Z"),
        ["20260601T130000Z", "20260602T140000Z", "20260603T140000Z"]
    );
}

#[test]
fn the_first_instance_is_dtstart_whatever_the_rule_says() {
    let text = event("DTSTART:20260101T100000Z|RRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=3|DURATION:PT1H");
    assert_eq!(
        starts(&text, "20260101T000000Z", "20270101T000000Z"),
        ["20260101T100000Z", "20260105T100000Z", "20260112T100000Z"]
    );
}

#[test]
fn whole_days_lie_in_the_zone_of_the_calendar() {
    let text = event("DTSTART;VALUE=DATE:20260101|RRULE:FREQ=DAILY;COUNT=2|EXDATE;VALUE=DATE:20260102");
    let object = parse(&text).unwrap();
    let zone = Zone::named("Asia/Tokyo").unwrap();
    let zones = Zones::of(&object, &zone);
    let series = Series::of(&object, "VEVENT", &zones);
    let all = range("20251231T140000Z", "20260101T160000Z");
    let instances = series.instances(all, &mut Budget::default()).unwrap();
    assert_eq!(instances.len(), 1);
    assert_eq!(shown(instances[0].start_utc().unwrap()), "20251231T150000Z");
    assert_eq!(shown(instances[0].end), "20260101T150000Z");
}

#[test]
fn dv5_the_example_of_rfc_4791_section_11() {
    let text = event("DTSTART:20260101T000000Z|DURATION:PT1S|RRULE:FREQ=SECONDLY;UNTIL=21260101T000000Z");
    let object = parse(&text).unwrap();
    let zones = Zones::of(&object, &Zone::Utc);
    let series = Series::of(&object, "VEVENT", &zones);
    let century = range("20260101T000000Z", "21260101T000000Z");
    assert_eq!(series.instances(century, &mut Budget::default()).err(), Some(TooMany));
    let second = range("20770101T000000Z", "20770101T000005Z");
    let mut budget = Budget::new(10_000_000, limits::INSTANCES_MAX);
    assert_eq!(series.instances(second, &mut budget).unwrap().len(), 5);
    // At the limit, and one past it.
    let exactly = |count: usize| {
        let lines = format!("DTSTART:20260101T000000Z|DURATION:PT1S|RRULE:FREQ=DAILY;COUNT={count}");
        let text = event(&lines);
        let object = parse(&text).unwrap();
        let zones = Zones::of(&object, &Zone::Utc);
        let all = TimeRange { start: None, end: None };
        Series::of(&object, "VEVENT", &zones).instances(all, &mut Budget::default()).map(|i| i.len())
    };
    assert_eq!(exactly(limits::INSTANCES_MAX), Ok(limits::INSTANCES_MAX));
    assert_eq!(exactly(limits::INSTANCES_MAX + 1), Err(TooMany));
}

fn condition(text: &str) -> Option<Condition> {
    check(text.as_bytes(), Components::ALL).err().and_then(|refusal| refusal.condition)
}

#[test]
fn what_may_be_stored_is_kept_to_the_octet() {
    let text = event("DTSTART:20260101T100000Z|X-unknown;X-y=\"1;2\":\\q");
    let stored = check(text.as_bytes(), Components::EVENT).unwrap();
    assert_eq!((stored.text.as_str(), stored.altered), (text.as_str(), false));
    let index = stored.index;
    assert_eq!((&*index.uid, index.component, index.recurring), ("1", Components::EVENT, false));
    assert_eq!((index.first, index.last), (utc("20260101T100000Z"), utc("20260101T100000Z")));
}

#[test]
fn what_may_not_be_stored() {
    let two_types = calendar(&[("VEVENT", "DTSTART:20260101T100000Z"), ("VTODO", "DUE:20260101T100000Z")]);
    let two_masters = calendar(&[("VEVENT", "DTSTART:20260101"), ("VEVENT", "DTSTART:20260101")]);
    let two_uids = two_masters.replacen("UID:1", "UID:2", 1);
    let same_ids = calendar(&[("VEVENT", "DTSTART:20260101|RECURRENCE-ID:20260101"); 2]);
    let good = event("DTSTART:20260101T100000Z");
    let unfit = Some(Condition::ValidCalendarObjectResource);
    let invalid = Some(Condition::ValidCalendarData);
    for (text, expected) in [
        (good.clone(), None),
        (two_types, unfit),
        (two_masters, unfit),
        (two_uids, unfit),
        (same_ids, unfit),
        (calendar(&[]), unfit),
        (good.replace("PRODID", "METHOD:REQUEST\r\nPRODID"), unfit),
        (good.replace("VERSION:2.0", "VERSION:1.0"), invalid),
        (good.replace("PRODID", "X-PRODID"), invalid),
        (good.replace("UID:1", "X:1"), invalid),
        (good.replace("UID:1", "UID:1\r\nUID:1"), invalid),
        (good.replace("DTSTART", "X"), invalid),
        (event("DTSTART:2026"), invalid),
        (event("DTSTART;VALUE=DATE:20260101T000000"), invalid),
        (event("DTSTART:20260101T100000Z|DTEND:20260101|DURATION:PT1H"), invalid),
        (event("DTSTART:20260101T100000Z|RRULE:FREQ=X"), invalid),
        (event("DTSTART:20260101T100000Z|RRULE:RSCALE=CHINESE;FREQ=YEARLY"), invalid),
        (event("DTSTART:20260101T100000Z|EXDATE:x"), invalid),
        (calendar(&[("VTIMEZONE", "TZID:x"), ("VEVENT", "DTSTART:20260101")]), invalid),
        (calendar(&[("VPOLL", "X:1")]), Some(Condition::SupportedCalendarComponent)),
        ("BEGIN:VCARD\r\nEND:VCARD\r\n".to_owned(), invalid),
        ("not a calendar".to_owned(), invalid),
    ] {
        assert_eq!(condition(&text), expected, "{text}");
    }
    assert_eq!(check(b"\xFF", Components::ALL).unwrap_err().condition, invalid);
    let todo_only = check(good.as_bytes(), Components::TODO).unwrap_err().condition;
    assert_eq!(todo_only, Some(Condition::SupportedCalendarComponent));
}

#[test]
fn dv8_limits_of_a_stored_object() {
    let sized = |octets: usize| {
        let empty = event("DTSTART:20260101T100000Z|X:").len();
        event(&format!("DTSTART:20260101T100000Z|X:{}", "x".repeat(octets - empty)))
    };
    assert_eq!(condition(&sized(limits::CALENDAR_OBJECT_MAX)), None);
    assert_eq!(condition(&sized(limits::CALENDAR_OBJECT_MAX + 1)), Some(Condition::MaxResourceSize));
    let named =
        |length: usize| event("DTSTART:20260101").replace("UID:1", &format!("UID:{}", "u".repeat(length)));
    assert_eq!(condition(&named(limits::UID_MAX)), None);
    assert_eq!(condition(&named(limits::UID_MAX + 1)), Some(Condition::ValidCalendarData));
    let nested = "BEGIN:X\r\n".repeat(10_000);
    assert_eq!(condition(&format!("BEGIN:VCALENDAR\r\n{nested}")), Some(Condition::ValidCalendarData));
}

#[test]
fn dv5_rules_are_counted() {
    let ruled =
        |count: usize| event(&format!("DTSTART:20260101T100000Z{}", "|RRULE:FREQ=DAILY".repeat(count)));
    assert_eq!(condition(&ruled(limits::RULES_MAX)), None);
    assert_eq!(condition(&ruled(limits::RULES_MAX + 1)), Some(Condition::ValidCalendarData));
}

#[test]
fn dv13_attendees_are_counted_and_programs_are_not_kept() {
    let invited = |count: usize| {
        event(&format!("DTSTART:20260101T100000Z{}", "|ATTENDEE:mailto:x@h.example".repeat(count)))
    };
    assert_eq!(condition(&invited(limits::ATTENDEES_MAX)), None);
    assert_eq!(condition(&invited(limits::ATTENDEES_MAX + 1)), Some(Condition::MaxAttendeesPerInstance));
    let alarm = "BEGIN:VALARM|ACTION:procedure|TRIGGER:-PT5M|ATTACH:file:///bin/sh|END:VALARM";
    let kept = "BEGIN:VALARM|ACTION:DISPLAY|TRIGGER:-PT5M|DESCRIPTION:x|END:VALARM";
    let stored =
        check(event(&format!("DTSTART:20260101T100000Z|{alarm}|{kept}")).as_bytes(), Components::ALL)
            .unwrap();
    assert!(stored.altered && !stored.text.contains("/bin/sh") && stored.text.contains("ACTION:DISPLAY"));
}

#[test]
fn what_an_index_knows() {
    let index = |text: &str| check(text.as_bytes(), Components::ALL).unwrap().index;
    let endless = index(&event("DTSTART:20260101T100000Z|DURATION:PT1H|RRULE:FREQ=DAILY"));
    assert_eq!((endless.first, endless.last, endless.recurring), (utc("20260101T100000Z"), None, true));
    let counted = index(&event("DTSTART:20260101T100000Z|DURATION:PT1H|RRULE:FREQ=DAILY;COUNT=3"));
    assert!(counted.last >= utc("20260103T110000Z") && counted.last < utc("20260106T000000Z"));
    let costly = index(&event("DTSTART:20260101T100000Z|RRULE:FREQ=SECONDLY;COUNT=2000000000"));
    assert_eq!(costly.last, None);
    let floating = index(&event("DTSTART:20260101T100000|DURATION:PT1H"));
    assert!(floating.first < utc("20251231T230000Z") && floating.last > utc("20260101T220000Z"));
    let timeless = index(&calendar(&[("VTODO", "SUMMARY:x")]));
    assert_eq!((timeless.first, timeless.last, timeless.component), (None, None, Components::TODO));
    let moved = index(&calendar(&[
        ("VEVENT", "DTSTART:20260110T100000Z|RRULE:FREQ=DAILY;COUNT=3"),
        ("VEVENT", "RECURRENCE-ID:20260111T100000Z|DTSTART:20250101T100000Z"),
    ]));
    assert_eq!(moved.first, utc("20250101T100000Z"));
}

/// A filter, as the XML within VCALENDAR's comp-filter.
fn filter(inner: &str) -> ComponentFilter {
    let text = format!(
        "<C:calendar-query xmlns:C='urn:ietf:params:xml:ns:caldav'><C:filter>\
         <C:comp-filter name='VCALENDAR'>{inner}</C:comp-filter></C:filter></C:calendar-query>"
    );
    let root = crate::xml::parse(text.as_bytes()).unwrap();
    match ReportBody::parse(&root, "").unwrap_or_else(|e| panic!("{e}: {inner}")) {
        ReportBody::CalendarQuery(query) => query.filter,
        other => panic!("{other:?}"),
    }
}

fn passes(inner: &str, text: &str) -> bool {
    let object = parse(text).unwrap();
    matches(&filter(inner), &object, &Context { floating: &Zone::Utc }, &mut Budget::default()).unwrap()
}

fn in_range(name: &str, start: &str, end: &str) -> String {
    let time = |text: &str| format!("{text}T000000Z");
    let (start, end) = (time(start), time(end));
    format!("<C:comp-filter name='{name}'><C:time-range start='{start}' end='{end}'/></C:comp-filter>")
}

#[test]
fn filters_by_component_property_and_parameter() {
    let text = event(
        "DTSTART:20260101T100000Z|SUMMARY:Team\\, lunch|ATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:a@h.example\
         |BEGIN:VALARM|ACTION:DISPLAY|TRIGGER:-PT5M|END:VALARM",
    );
    let event = |inner: &str| format!("<C:comp-filter name='VEVENT'>{inner}</C:comp-filter>");
    let property =
        |name: &str, inner: &str| event(&format!("<C:prop-filter name='{name}'>{inner}</C:prop-filter>"));
    for (inner, expected) in [
        (String::new(), true),
        (event(""), true),
        ("<C:comp-filter name='VTODO'/>".to_owned(), false),
        ("<C:comp-filter name='VTODO'><C:is-not-defined/></C:comp-filter>".to_owned(), true),
        (event("<C:comp-filter name='VALARM'/>"), true),
        (event("<C:comp-filter name='VALARM'><C:is-not-defined/></C:comp-filter>"), false),
        (property("SUMMARY", ""), true),
        (property("SUMMARY", "<C:text-match>team, LUNCH</C:text-match>"), true),
        (property("SUMMARY", "<C:text-match collation='i;octet'>team</C:text-match>"), false),
        (property("SUMMARY", "<C:text-match negate-condition='yes'>team</C:text-match>"), false),
        (property("LOCATION", "<C:is-not-defined/>"), true),
        (property("LOCATION", "<C:text-match>x</C:text-match>"), false),
        (
            property(
                "ATTENDEE",
                "<C:text-match>a@h</C:text-match><C:param-filter name='PARTSTAT'>\
                 <C:text-match>needs-action</C:text-match></C:param-filter>",
            ),
            true,
        ),
        (property("ATTENDEE", "<C:param-filter name='ROLE'><C:is-not-defined/></C:param-filter>"), true),
        (property("DTSTART", "<C:time-range start='20260101T100000Z' end='20260101T100001Z'/>"), true),
        (property("DTSTART", "<C:time-range start='20260101T100001Z'/>"), false),
    ] {
        assert_eq!(passes(&inner, &text), expected, "{inner}");
    }
}

#[test]
fn time_ranges_of_events() {
    for (lines, start, end, expected) in [
        ("DTSTART:20260102T000000Z|DTEND:20260103T000000Z", "20260103", "20260104", false),
        ("DTSTART:20260102T000000Z|DTEND:20260103T000000Z", "20260101", "20260102", false),
        ("DTSTART:20260102T000000Z|DTEND:20260103T000001Z", "20260103", "20260104", true),
        ("DTSTART:20260102T000000Z|DURATION:PT0S", "20260102", "20260103", true),
        ("DTSTART:20260102T000000Z|DURATION:PT0S", "20260101", "20260102", false),
        ("DTSTART:20260102T000000Z", "20260102", "20260103", true),
        ("DTSTART;VALUE=DATE:20260102", "20260102", "20260103", true),
        ("DTSTART;VALUE=DATE:20260102", "20260103", "20260104", false),
        ("DTSTART:20260101T000000Z|DURATION:PT1H|RRULE:FREQ=YEARLY", "20990101", "20990102", true),
        ("DTSTART:20260101T000000Z|DURATION:PT1H|RRULE:FREQ=YEARLY", "20990102", "20990103", false),
        ("DTSTART:20260101T000000Z|DURATION:P10D|RRULE:FREQ=YEARLY", "20990110", "20990111", true),
    ] {
        assert_eq!(passes(&in_range("VEVENT", start, end), &event(lines)), expected, "{lines} {start}");
    }
}

/// A range without an end and a series without one: what cannot pass is not walked through.
#[test]
fn dv5_open_ranges_of_endless_series() {
    let text = event("DTSTART:20260101T000000Z|DURATION:PT1S|RRULE:FREQ=SECONDLY|SUMMARY:x");
    let since = "<C:time-range start='20300101T000000Z'/>";
    let asked = |inner: &str| format!("<C:comp-filter name='VEVENT'>{inner}{since}</C:comp-filter>");
    assert!(passes(&asked(""), &text));
    let summary = |value: &str| {
        asked(&format!("<C:prop-filter name='SUMMARY'><C:text-match>{value}</C:text-match></C:prop-filter>"))
    };
    assert!(passes(&summary("x"), &text) && !passes(&summary("y"), &text));
    let overridden = calendar(&[
        ("VEVENT", "DTSTART:20260101T000000Z|DURATION:PT1S|RRULE:FREQ=SECONDLY|SUMMARY:x"),
        ("VEVENT", "RECURRENCE-ID:20310101T000000Z|DTSTART:20310101T000000Z|SUMMARY:y"),
    ]);
    assert!(passes(&summary("y"), &overridden));
}

#[test]
fn time_ranges_of_to_dos_journals_and_free_busy() {
    for (name, lines, start, end, expected) in [
        ("VTODO", "DTSTART:20260102T000000Z|DURATION:P1D", "20260103", "20260104", true),
        ("VTODO", "DTSTART:20260102T000000Z|DUE:20260104T000000Z", "20260103", "20260104", true),
        ("VTODO", "DTSTART:20260102T000000Z|DUE:20260104T000000Z", "20260104", "20260105", false),
        ("VTODO", "DTSTART:20260102T000000Z", "20260102", "20260103", true),
        ("VTODO", "DUE:20260102T000000Z", "20260101", "20260102", true),
        ("VTODO", "DUE:20260102T000000Z", "20260102", "20260103", false),
        ("VTODO", "COMPLETED:20260102T000000Z|CREATED:20260101T000000Z", "20260102", "20260103", true),
        ("VTODO", "COMPLETED:20260102T000000Z", "20260103", "20260104", false),
        ("VTODO", "CREATED:20260102T000000Z", "20260101", "20260102", false),
        ("VTODO", "CREATED:20260102T000000Z", "20260105", "20260106", true),
        ("VTODO", "SUMMARY:x", "20260105", "20260106", true),
        (
            "VTODO",
            "DTSTART:20260102T000000Z|DUE:20260102T010000Z|RRULE:FREQ=DAILY",
            "20260105",
            "20260106",
            true,
        ),
        ("VJOURNAL", "DTSTART;VALUE=DATE:20260102", "20260102", "20260103", true),
        ("VJOURNAL", "DTSTART:20260102T000000Z", "20260103", "20260104", false),
        ("VJOURNAL", "SUMMARY:x", "20260103", "20260104", false),
        ("VFREEBUSY", "DTSTART:20260102T000000Z|DTEND:20260103T000000Z", "20260103", "20260104", true),
        ("VFREEBUSY", "FREEBUSY:20260102T000000Z/PT1H", "20260102", "20260103", true),
        ("VFREEBUSY", "FREEBUSY:20260102T000000Z/PT1H", "20260103", "20260104", false),
    ] {
        let text = calendar(&[(name, lines)]);
        assert_eq!(passes(&in_range(name, start, end), &text), expected, "{name} {lines} {start}");
        // The index never hides what passes.
        let index = check(text.as_bytes(), Components::ALL).unwrap().index;
        let asked = range(&format!("{start}T000000Z"), &format!("{end}T000000Z"));
        let (from, to) = asked.bounds();
        let in_index =
            index.first.is_none_or(|first| first <= to) && index.last.is_none_or(|last| last >= from);
        assert!(in_index || !expected, "{name} {lines} {start}: {index:?}");
    }
}

#[test]
fn time_ranges_of_alarms() {
    let text = event(
        "DTSTART:20260102T000000Z|DURATION:PT1H|RRULE:FREQ=WEEKLY\
         |BEGIN:VALARM|ACTION:DISPLAY|TRIGGER:-P1DT1H|REPEAT:1|DURATION:PT30M|END:VALARM",
    );
    let alarm = |start: &str, end: &str| {
        format!(
            "<C:comp-filter name='VEVENT'><C:comp-filter name='VALARM'>\
             <C:time-range start='{start}' end='{end}'/></C:comp-filter></C:comp-filter>"
        )
    };
    assert!(passes(&alarm("20260107T230000Z", "20260107T230001Z"), &text));
    assert!(passes(&alarm("20260107T233000Z", "20260107T233001Z"), &text));
    assert!(!passes(&alarm("20260107T233001Z", "20260108T000000Z"), &text));
    let absolute =
        event("DTSTART:20260102T000000Z|BEGIN:VALARM|TRIGGER;VALUE=DATE-TIME:20260101T120000Z|END:VALARM");
    assert!(passes(&alarm("20260101T120000Z", "20260101T120001Z"), &absolute));
}

fn rendered(data: &str, text: &str) -> Result<String, TooMany> {
    let body = format!(
        "<D:propfind xmlns:D='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav'><D:prop>\
         <C:calendar-data>{data}</C:calendar-data></D:prop></D:propfind>"
    );
    let root = crate::xml::parse(body.as_bytes()).unwrap();
    let crate::request::PropSet::Some(requests) = crate::request::PropSet::of_propfind(&root).unwrap() else {
        panic!("properties")
    };
    let Some(crate::request::DataRequest::Calendar(request)) = &requests[0].data else { panic!("data") };
    render(request, &parse(text).unwrap(), &Zone::Utc, &mut Budget::default())
}

/// A weekly event in a zone of its own, one instance of which was moved.
fn zoned() -> String {
    let zone = "BEGIN:VTIMEZONE\r\nTZID:Here\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\n\
                TZOFFSETFROM:-0500\r\nTZOFFSETTO:-0500\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n";
    let text = calendar(&[
        (
            "VEVENT",
            "DTSTART;TZID=Here:20260105T120000|DURATION:PT1H|RRULE:FREQ=DAILY;COUNT=5|SUMMARY:Event\
             |EXDATE;TZID=Here:20260108T120000",
        ),
        (
            "VEVENT",
            "RECURRENCE-ID;TZID=Here:20260106T120000|DTSTART;TZID=Here:20260106T140000|DURATION:PT1H|SUMMARY:Moved",
        ),
    ]);
    text.replacen("BEGIN:VEVENT", &format!("{zone}BEGIN:VEVENT"), 1)
}

#[test]
fn expansion_makes_instances_in_utc() {
    let text = rendered("<C:expand start='20260106T000000Z' end='20260110T000000Z'/>", &zoned()).unwrap();
    let object = parse(&text).unwrap();
    let lines: Vec<String> = object
        .components
        .iter()
        .map(|c| {
            let value = |name| c.value(name).unwrap_or("-");
            format!("{} {} {}", value("RECURRENCE-ID"), value("DTSTART"), value("SUMMARY"))
        })
        .collect();
    assert_eq!(
        lines,
        [
            "20260106T170000Z 20260106T190000Z Moved",
            "20260107T170000Z 20260107T170000Z Event",
            "20260109T170000Z 20260109T170000Z Event",
        ]
    );
    for gone in ["VTIMEZONE", "RRULE", "EXDATE", "TZID"] {
        assert!(!text.contains(gone), "{gone} in {text}");
    }
    let single = event("DTSTART;TZID=Europe/Berlin:20260105T120000|DTEND;TZID=Europe/Berlin:20260105T130000");
    let text = rendered("<C:expand start='20260101T000000Z' end='20260110T000000Z'/>", &single).unwrap();
    assert!(text.contains("DTSTART:20260105T110000Z") && text.contains("DTEND:20260105T120000Z"), "{text}");
    assert!(!text.contains("RECURRENCE-ID"));
    let day = event("DTSTART;VALUE=DATE:20260105|DTEND;VALUE=DATE:20260106|RRULE:FREQ=DAILY");
    let text = rendered("<C:expand start='20260107T000000Z' end='20260108T000000Z'/>", &day).unwrap();
    assert!(
        text.contains("DTSTART;VALUE=DATE:20260107") && text.contains("DTEND;VALUE=DATE:20260108"),
        "{text}"
    );
}

#[test]
fn dv5_expansion_is_refused_when_it_is_too_much() {
    let text = event("DTSTART:20260101T000000Z|DURATION:PT1S|RRULE:FREQ=SECONDLY");
    let century = "<C:expand start='20260101T000000Z' end='21260101T000000Z'/>";
    assert_eq!(rendered(century, &text), Err(TooMany));
}

#[test]
fn dv6_an_expansion_does_not_multiply_a_long_text() {
    let text = |octets: usize| {
        let lines = format!("DTSTART:20260101T000000Z|RRULE:FREQ=DAILY;COUNT=100|X:{}", "x".repeat(octets));
        rendered("<C:expand start='20260101T000000Z' end='20270101T000000Z'/>", &event(&lines))
            .map(|t| t.len())
    };
    let each = limits::EXPANDED_OCTETS_MAX / 100;
    assert!(text(each - 200).unwrap() > limits::EXPANDED_OCTETS_MAX * 9 / 10);
    assert_eq!(text(each), Err(TooMany));
}

#[test]
fn recurrence_sets_are_limited() {
    let limit = |start: &str, end: &str| {
        let data = format!("<C:limit-recurrence-set start='{start}T000000Z' end='{end}T000000Z'/>");
        let text = rendered(&data, &zoned()).unwrap();
        (text.contains("RRULE"), text.contains("VTIMEZONE"), text.contains("Moved"))
    };
    assert_eq!(limit("20260106", "20260107"), (true, true, true));
    assert_eq!(limit("20260107", "20260108"), (true, true, false));
}

#[test]
fn parts_of_an_object() {
    let text = rendered(
        "<C:comp name='VCALENDAR'><C:prop name='VERSION'/><C:comp name='VEVENT'><C:prop name='UID'/>\
         <C:prop name='SUMMARY' novalue='yes'/></C:comp></C:comp>",
        &event("DTSTART:20260101T000000Z|SUMMARY:secret"),
    )
    .unwrap();
    assert_eq!(
        text,
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    );
    let text = rendered(
        "<C:limit-freebusy-set start='20260102T000000Z' end='20260103T000000Z'/>",
        &calendar(&[(
            "VFREEBUSY",
            "FREEBUSY:20260101T000000Z/PT1H,20260102T000000Z/PT1H|FREEBUSY:20260105T000000Z/PT1H",
        )]),
    )
    .unwrap();
    assert!(text.contains("FREEBUSY:20260102T000000Z/PT1H\r\n") && !text.contains("20260105"), "{text}");
}

#[test]
fn files_of_many_events() {
    let zone = "BEGIN:VTIMEZONE\r\nTZID:Here\r\nEND:VTIMEZONE\r\n";
    let file = calendar(&[
        ("VEVENT", "DTSTART;TZID=Here:20260101T100000|SUMMARY:a"),
        ("VEVENT", "RECURRENCE-ID;TZID=Here:20260102T100000|DTSTART:20260101T100000Z"),
        ("VTODO", "SUMMARY:b"),
    ]);
    let file = file.replacen("BEGIN:VEVENT", &format!("{zone}BEGIN:VEVENT"), 1)
        + &event("DTSTART:20260101T100000Z").replace("UID:1", "UID:2");
    let objects = split(&file).unwrap();
    let kinds: Vec<Vec<&str>> =
        objects.iter().map(|o| o.components.iter().map(|c| &*c.name).collect()).collect();
    assert_eq!(kinds, [vec!["VTIMEZONE", "VEVENT", "VEVENT"], vec!["VTODO"], vec!["VEVENT"]]);
    assert_eq!(split(&join(&objects).to_string()).unwrap().len(), 3);
    assert_eq!(join(&[objects[0].clone(), objects[0].clone()]).components.len(), 5);
    assert!(split("BEGIN:VCARD\r\nEND:VCARD\r\n").is_err() && split("x").is_err());
}

#[test]
fn free_and_busy_times() {
    let day = range("20260101T000000Z", "20260102T000000Z");
    let mut busy = BusyPeriods::new(day);
    for text in [
        event("DTSTART:20260101T100000Z|DURATION:PT1H"),
        event("DTSTART:20260101T110000Z|DURATION:PT1H"),
        event("DTSTART:20260101T130000Z|DURATION:PT1H|TRANSP:TRANSPARENT"),
        event("DTSTART:20260101T140000Z|DURATION:PT1H|STATUS:CANCELLED"),
        event("DTSTART:20260101T150000Z|DURATION:PT1H|STATUS:TENTATIVE"),
        event("DTSTART:20260101T160000Z|DURATION:PT1H|ATTENDEE;PARTSTAT=DECLINED:MAILTO:a@h.example"),
        event("DTSTART:20251231T230000Z|DURATION:PT2H|RRULE:FREQ=DAILY"),
        calendar(&[(
            "VFREEBUSY",
            "FREEBUSY;FBTYPE=FREE:20260101T170000Z/PT1H\
                   |FREEBUSY;FBTYPE=BUSY-UNAVAILABLE:20260101T180000Z/20260101T190000Z",
        )]),
    ] {
        let owner = Some("mailto:a@h.example");
        busy.add(&parse(&text).unwrap(), &Zone::Utc, owner, &mut Budget::default()).unwrap();
    }
    let periods = busy.merged();
    let shown: Vec<String> = periods
        .iter()
        .map(|(kind, start, end)| {
            format!("{} {}-{}", kind.name(), &shown(*start)[6..13], &shown(*end)[6..13])
        })
        .collect();
    assert_eq!(
        shown,
        [
            "BUSY 01T0000-01T0100",
            "BUSY 01T1000-01T1200",
            "BUSY 01T2300-02T0000",
            "BUSY-UNAVAILABLE 01T1800-01T1900",
            "BUSY-TENTATIVE 01T1500-01T1600",
        ]
    );
    let object = free_busy_object(day, &periods, None, Vec::new(), 0);
    let object = parse(&object).unwrap();
    assert_eq!(object.components[0].all("FREEBUSY").count(), 5);
}
