//! What is written is read as it was meant.

use proptest::prelude::*;

use protocol_dav::object::{Component, Property, escape_text, split_list, unescape_text};
use protocol_dav::path::{Area, Path};
use protocol_dav::recur::{Budget, Occurrences, Rule};
use protocol_dav::request::{Collation, MatchKind, TextMatch};
use protocol_dav::time;
use protocol_dav::xml;

proptest! {
    #[test]
    fn text_values(text in "\\PC{0,80}") {
        let escaped = escape_text(&text);
        prop_assert_eq!(unescape_text(&escaped), text.as_str());
        let list = format!("{},{}", escape_text(&text), escape_text(&text));
        let parts: Vec<String> = split_list(&list).map(|part| unescape_text(part).into_owned()).collect();
        prop_assert_eq!(parts, vec![text.clone(), text]);
    }

    #[test]
    fn properties_however_long(parameter in "[^\\p{Cc}]{0,120}", value in "[^\\p{Cc}]{0,200}") {
        let property = Property::new("X-A", &[("P", &parameter)], &value);
        let mut lines = String::new();
        property.write(&mut lines);
        prop_assert!(lines.split("\r\n").all(|line| line.len() <= 75));
        let text = format!("BEGIN:A\r\n{lines}END:A\r\n");
        let object = Component::parse(&text).unwrap();
        let read = &object.properties[0];
        prop_assert_eq!(read.value(), value.as_str());
        prop_assert_eq!(read.parameter("p").unwrap_or_default(), parameter.as_str());
        prop_assert_eq!(object.to_string(), text);
    }

    #[test]
    fn names_in_paths(names in prop::collection::vec("[^/\\p{Cc}]{1,40}", 0..5)) {
        prop_assume!(names.iter().all(|name| name != "." && name != ".."));
        let mut path = Path::home(Area::Files, "a@h.example");
        for name in &names {
            path = path.join(name);
        }
        prop_assert_eq!(Path::parse(&path.href(true), ""), Ok(path.clone()));
        prop_assert_eq!(Path::parse(&path.href(false), ""), Ok(path));
    }

    #[test]
    fn text_in_xml(text in "\\PC{0,80}", attribute in "[\\PC\\t\\n\\r]{0,40}") {
        let mut out = String::from("<a b=\"");
        xml::escape_attribute(&attribute, &mut out);
        out.push_str("\">");
        xml::escape_text(&format!("{text}\r\n"), &mut out);
        out.push_str("</a>");
        let root = xml::parse(out.as_bytes()).unwrap();
        prop_assert_eq!(root.raw_text(), format!("{text}\r\n"));
        prop_assert_eq!(root.attribute("b"), Some(attribute.as_str()));
    }

    #[test]
    fn matches_are_what_they_say(text in "\\PC{0,20}", before in "\\PC{0,20}", after in "\\PC{0,20}") {
        let value = format!("{before}{text}{after}");
        for (_, collation) in Collation::ALL {
            let found = |kind, value: &str| TextMatch::new(&text, collation, kind, false).matches(value);
            // A letter's case can depend on its neighbours in Unicode, so only the others are certain.
            if collation != Collation::UnicodeCasemap {
                prop_assert!(found(MatchKind::Contains, &value));
                let (start, end) = (format!("{text}{after}"), format!("{before}{text}"));
                prop_assert!(found(MatchKind::StartsWith, &start) && found(MatchKind::EndsWith, &end));
            }
            prop_assert!(found(MatchKind::Equals, &text));
            prop_assert!(!TextMatch::new(&text, collation, MatchKind::Equals, true).matches(&text));
        }
    }

    /// Times are yielded in order, each once, and from any moment on the same ones.
    #[test]
    fn rules_yield_in_order(
        frequency in prop::sample::select(vec!["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"]),
        interval in 1..40u32,
        by in prop::sample::select(vec!["", ";BYDAY=MO,SU", ";BYMONTHDAY=-1,15", ";BYMONTH=2,3", ";BYHOUR=1,23;BYMINUTE=0,59"]),
        start in 0..2_000_000_000i64,
        skip in 0..400_000_000i64,
    ) {
        let rule = Rule::parse(&format!("FREQ={frequency};INTERVAL={interval}{by}")).unwrap();
        let take = |from: i64| {
            let mut budget = Budget::new(20_000_000, 0);
            let mut occurrences = Occurrences::new(&rule, start, from, start + 600_000_000);
            std::iter::from_fn(move || occurrences.next(&mut budget).unwrap()).collect::<Vec<_>>()
        };
        let whole = take(start);
        prop_assert!(whole.windows(2).all(|pair| pair[0] < pair[1]));
        let expected: Vec<i64> = whole.into_iter().filter(|time| *time >= start + skip).collect();
        prop_assert_eq!(take(start + skip), expected);
    }

    #[test]
    fn times_are_read_as_they_are_written(seconds in -60_000_000_000i64..253_402_300_800) {
        let mut text = String::new();
        time::write_date_time(seconds, true, &mut text);
        prop_assert_eq!(time::utc(&text), Some(seconds));
    }
}
