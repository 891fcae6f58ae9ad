use super::*;
use crate::time::{read_date_time, utc, write_date_time};

fn time(text: &str) -> i64 {
    read_date_time(text).expect("a time").0
}

/// What a rule yields from `from` on, at most `most`.
fn yields(rule: &str, start: &str, from: &str, most: usize) -> Vec<String> {
    let rule = Rule::parse(rule).unwrap_or_else(|e| panic!("{e}: {rule}"));
    let mut budget = Budget::default();
    let mut occurrences = Occurrences::new(&rule, time(start), time(from), i64::MAX);
    let mut out = Vec::new();
    while out.len() < most {
        let Some(next) = occurrences.next(&mut budget).expect("within the budget") else { break };
        let mut text = String::new();
        write_date_time(next, false, &mut text);
        out.push(text);
    }
    out
}

#[test]
fn examples_of_rfc_5545() {
    let days = |rule: &str, start: &str, most: usize| -> Vec<String> {
        let start = format!("{start}T090000");
        yields(rule, &start, &start, most).iter().map(|time| time[2..8].to_owned()).collect()
    };
    for (rule, start, expected) in [
        ("FREQ=DAILY;INTERVAL=10;COUNT=5", "19970902", "970902 970912 970922 971002 971012"),
        (
            "FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH",
            "19970902",
            "970902 970904 970916 970918 970930 971002 971014 971016",
        ),
        (
            "FREQ=MONTHLY;INTERVAL=2;COUNT=10;BYDAY=1SU,-1SU",
            "19970907",
            "970907 970928 971102 971130 980104 980125 980301 980329 980503 980531",
        ),
        ("FREQ=MONTHLY;COUNT=6;BYDAY=-2MO", "19970922", "970922 971020 971117 971222 980119 980216"),
        ("FREQ=MONTHLY;BYMONTHDAY=-3", "19970928", "970928 971029 971128 971229 980129 980226"),
        (
            "FREQ=MONTHLY;COUNT=10;BYMONTHDAY=1,-1",
            "19970930",
            "970930 971001 971031 971101 971130 971201 971231 980101 980131 980201",
        ),
        (
            "FREQ=YEARLY;INTERVAL=3;COUNT=10;BYYEARDAY=1,100,200",
            "19970101",
            "970101 970410 970719 000101 000409 000718 030101 030410 030719 060101",
        ),
        ("FREQ=YEARLY;BYDAY=20MO", "19970519", "970519 980518 990517"),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", "19970512", "970512 980511 990517"),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", "19980213", "980213 980313 981113 990813 001013"),
        (
            "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
            "19961105",
            "961105 001107 041102",
        ),
        ("FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", "19970904", "970904 971007 971106"),
        (
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2",
            "19970929",
            "970929 971030 971127 971230 980129 980226 980330",
        ),
        ("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO", "19970805", "970805 970810 970819 970824"),
        ("FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU", "19970805", "970805 970817 970819 970831"),
        ("FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5", "20070115", "070115 070130 070215 070315 070330"),
    ] {
        let most = expected.split(' ').count();
        assert_eq!(days(rule, start, most).join(" "), expected, "{rule}");
    }
    let times = yields("FREQ=MINUTELY;INTERVAL=90;COUNT=4", "19970902T090000", "19970902T090000", 9);
    assert_eq!(times, ["19970902T090000", "19970902T103000", "19970902T120000", "19970902T133000"]);
    let times = yields("FREQ=DAILY;BYHOUR=9,10;BYMINUTE=0,20,40", "19970902T090000", "19970902T094500", 3);
    assert_eq!(times, ["19970902T100000", "19970902T102000", "19970902T104000"]);
    let same = yields("FREQ=MINUTELY;INTERVAL=20;BYHOUR=9,10", "19970902T090000", "19970902T094500", 3);
    assert_eq!(same, times);
}

#[test]
fn until_is_inclusive() {
    for (until, expected) in [
        ("19970904", Until::Date(time("19970904T235959"))),
        ("19970904T090000", Until::Local(time("19970904T090000"))),
        ("19970904T090000Z", Until::Utc(utc("19970904T090000Z").unwrap())),
    ] {
        let rule = Rule::parse(&format!("FREQ=DAILY;UNTIL={until}")).unwrap();
        assert_eq!(rule.until, Some(expected));
    }
    let rule = Rule::parse("FREQ=DAILY").unwrap();
    let start = time("19970902T090000");
    let mut occurrences = Occurrences::new(&rule, start, start, time("19970904T090000"));
    let mut budget = Budget::default();
    let mut count = 0;
    while occurrences.next(&mut budget).unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn rules_that_are_none() {
    for text in [
        "",
        "INTERVAL=1",
        "FREQ=OFTEN",
        "FREQ=DAILY;FREQ=DAILY",
        "FREQ=DAILY;COUNT=0",
        "FREQ=DAILY;COUNT=1;UNTIL=20260101",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=DAILY;INTERVAL=-1",
        "FREQ=DAILY;UNTIL=x",
        "FREQ=DAILY;BYHOUR=24",
        "FREQ=DAILY;BYMONTH=0",
        "FREQ=DAILY;BYMONTH=13",
        "FREQ=MONTHLY;BYMONTHDAY=0",
        "FREQ=MONTHLY;BYMONTHDAY=32",
        "FREQ=YEARLY;BYDAY=0MO",
        "FREQ=YEARLY;BYDAY=54MO",
        "FREQ=YEARLY;BYDAY=M",
        "FREQ=YEARLY;BYDAY=",
        "FREQ=DAILY;BYSETPOS=1",
        "FREQ=DAILY;NEW=1",
        "FREQ",
    ] {
        assert_eq!(Rule::parse(text), Err(RuleFault::Malformed), "{text}");
    }
    for text in
        ["RSCALE=CHINESE;FREQ=YEARLY", "RSCALE=HEBREW;FREQ=YEARLY;SKIP=FORWARD", "FREQ=DAILY;SKIP=OMIT"]
    {
        assert_eq!(Rule::parse(text), Err(RuleFault::OtherCalendar), "{text}");
    }
    assert!(Rule::parse("freq=daily;x-what=1;wkst=su;").is_ok());
}

/// However a rule begins in the past, what is asked for is found by a few steps.
#[test]
fn dv5_windows_are_skipped_to() {
    for (rule, from, first) in [
        ("FREQ=SECONDLY", "20990101T000000", "20990101T000000"),
        ("FREQ=SECONDLY;INTERVAL=7", "20990101T000000", "20990101T000003"),
        ("FREQ=MINUTELY;BYSECOND=0,30", "20990101T000001", "20990101T000030"),
        ("FREQ=DAILY;INTERVAL=3", "20990101T000000", "20990101T000000"),
        ("FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU", "20991231T000000", "20991231T000000"),
    ] {
        let parsed = Rule::parse(rule).unwrap();
        let mut budget = Budget::new(400, 1);
        let mut occurrences = Occurrences::new(&parsed, time("19000101T000000"), time(from), i64::MAX);
        let found = occurrences.next(&mut budget).expect("few steps");
        assert_eq!(found, Some(time(first)), "{rule}");
    }
}

#[test]
fn dv5_rules_that_never_match_come_to_an_end() {
    for rule in [
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30;COUNT=1",
        "FREQ=HOURLY;INTERVAL=24;BYHOUR=1",
        "FREQ=WEEKLY;BYMONTHDAY=31;BYMONTH=4",
        "FREQ=YEARLY;INTERVAL=4000000000",
        "FREQ=SECONDLY;INTERVAL=60;BYSECOND=1",
    ] {
        let parsed = Rule::parse(rule).unwrap();
        let mut budget = Budget::default();
        let start = time("19970902T000000");
        let mut occurrences = Occurrences::new(&parsed, start, start + 1, i64::MAX);
        assert!(matches!(occurrences.next(&mut budget), Ok(None) | Err(TooMany)), "{rule}");
    }
}

#[test]
fn dv5_counts_are_bounded_by_steps() {
    let rule = Rule::parse("FREQ=SECONDLY;COUNT=3000000000").unwrap();
    let start = time("20000101T000000");
    let mut occurrences = Occurrences::new(&rule, start, time("21000101T000000"), i64::MAX);
    assert_eq!(occurrences.next(&mut Budget::default()), Err(TooMany));
    // A count within one long period is counted without being walked through.
    let rule = Rule::parse(
        "FREQ=YEARLY;COUNT=31622400;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYHOUR=0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,\
         16,17,18,19,20,21,22,23",
    )
    .unwrap();
    let mut occurrences = Occurrences::new(&rule, start, time("20500101T000000"), i64::MAX);
    assert_eq!(occurrences.next(&mut Budget::default()), Ok(Some(time("20500101T000000"))));
}

#[test]
fn budgets() {
    let mut budget = Budget::new(2, 1);
    assert!(budget.spend(2).is_ok() && budget.spend(1).is_err());
    assert!(budget.instance().is_ok() && budget.instance().is_err());
}

/// The same from DTSTART on and from any window on.
#[test]
fn windows_agree_with_the_whole() {
    let rules = [
        "FREQ=YEARLY;BYDAY=2TU,-1FR;BYHOUR=3,9",
        "FREQ=MONTHLY;INTERVAL=5;BYMONTHDAY=31,-2",
        "FREQ=WEEKLY;INTERVAL=3;BYDAY=MO,SU;WKST=SU",
        "FREQ=DAILY;INTERVAL=11;BYMONTH=1,5",
        "FREQ=HOURLY;INTERVAL=37;BYDAY=WE",
        "FREQ=MINUTELY;INTERVAL=7901;BYHOUR=1,2,3",
        "FREQ=SECONDLY;INTERVAL=100003",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1,-1",
        "FREQ=MONTHLY;BYDAY=MO,TU;COUNT=90",
    ];
    let start = time("20110314T093015");
    for text in rules {
        let rule = Rule::parse(text).unwrap();
        let all = |from: i64, until: i64| {
            let mut occurrences = Occurrences::new(&rule, start, from, until);
            let mut budget = Budget::default();
            let mut out = Vec::new();
            while let Some(next) = occurrences.next(&mut budget).unwrap() {
                out.push(next);
            }
            out
        };
        let end = time("20160101T000000");
        let whole = all(start, end);
        assert!(whole.len() > 5, "{text}");
        for window in 0..50 {
            let from = start + window * 3_000_017;
            let expected: Vec<i64> = whole.iter().copied().filter(|t| *t >= from).collect();
            assert_eq!(all(from, end), expected, "{text} from {from}");
        }
    }
}
