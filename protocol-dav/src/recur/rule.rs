//! RRULE, read.

use std::fmt;

use crate::time::{DAY, Seconds, read_date, read_date_time};

/// FREQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Frequency {
    /// `YEARLY`.
    Yearly,
    /// `MONTHLY`.
    Monthly,
    /// `WEEKLY`.
    Weekly,
    /// `DAILY`.
    Daily,
    /// `HOURLY`.
    Hourly,
    /// `MINUTELY`.
    Minutely,
    /// `SECONDLY`.
    Secondly,
}

/// UNTIL: the last moment that an instance may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// A date: all of it, on the clock of DTSTART.
    Date(Seconds),
    /// A time on the clock of DTSTART.
    Local(Seconds),
    /// A time in UTC.
    Utc(Seconds),
}

/// A recurrence rule. Times are on the clock of DTSTART.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// How often.
    pub frequency: Frequency,
    /// Every how many periods; at least one.
    pub interval: i64,
    /// How many instances, the first included.
    pub count: Option<u32>,
    /// Until when.
    pub until: Option<Until>,
    pub(super) seconds: Vec<i64>,
    pub(super) minutes: Vec<i64>,
    pub(super) hours: Vec<i64>,
    /// Weekdays without a number, as bits; Monday is the lowest.
    pub(super) weekdays: u8,
    /// Weekdays with a number: the how manieth, from the end when negative.
    pub(super) nth: Vec<(i64, u8)>,
    pub(super) month_days: Vec<i64>,
    pub(super) year_days: Vec<i64>,
    pub(super) weeks: Vec<i64>,
    /// Months as bits; January is bit 1. Zero for any.
    pub(super) months: u16,
    pub(super) positions: Vec<i64>,
    /// 0 is Monday.
    pub(super) week_start: u8,
}

/// Why something is no rule that can be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleFault {
    /// It is not written as RFC 5545 §3.3.10 has it.
    Malformed,
    /// It is in another calendar (`RSCALE`, RFC 7529), which this server does not compute.
    OtherCalendar,
}

impl fmt::Display for RuleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RuleFault::Malformed => "the recurrence rule is not valid",
            RuleFault::OtherCalendar => "recurrence in calendars other than the Gregorian is not computed",
        })
    }
}

impl std::error::Error for RuleFault {}

const WEEKDAYS: [&str; 7] = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];
/// No interval is longer: in seconds it is more than a lifetime.
const INTERVAL_MAX: i64 = 4_000_000_000;

impl Rule {
    /// Reads a rule.
    pub fn parse(text: &str) -> Result<Rule, RuleFault> {
        let mut parts: Vec<(String, &str)> = Vec::new();
        // Some clients write a semicolon at the end.
        for part in text.split(';').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or(RuleFault::Malformed)?;
            let name = name.trim().to_ascii_uppercase();
            if parts.iter().any(|(other, _)| *other == name) {
                return Err(RuleFault::Malformed);
            }
            parts.push((name, value.trim()));
        }
        let frequency = parts.iter().find(|(name, _)| name == "FREQ").ok_or(RuleFault::Malformed)?.1;
        let mut rule = Rule::every(read_frequency(frequency)?);
        for (name, value) in &parts {
            rule.read_part(name, value)?;
        }
        let bare = rule.positions.is_empty() || rule.has_any_by();
        if (rule.count.is_some() && rule.until.is_some()) || !bare {
            return Err(RuleFault::Malformed);
        }
        if rule.frequency > Frequency::Monthly {
            // A number is only defined within months and years; the weekday is what is left of it.
            rule.weekdays = rule.nth.drain(..).fold(rule.weekdays, |bits, (_, weekday)| bits | 1 << weekday);
        }
        Ok(rule)
    }

    fn every(frequency: Frequency) -> Rule {
        Rule {
            frequency,
            interval: 1,
            count: None,
            until: None,
            seconds: Vec::new(),
            minutes: Vec::new(),
            hours: Vec::new(),
            weekdays: 0,
            nth: Vec::new(),
            month_days: Vec::new(),
            year_days: Vec::new(),
            weeks: Vec::new(),
            months: 0,
            positions: Vec::new(),
            week_start: 0,
        }
    }

    fn read_part(&mut self, name: &str, value: &str) -> Result<(), RuleFault> {
        match name {
            "FREQ" => {}
            "INTERVAL" => self.interval = positive(value)?.min(INTERVAL_MAX),
            "COUNT" => self.count = Some(u32::try_from(positive(value)?).unwrap_or(u32::MAX)),
            "UNTIL" => self.until = Some(read_until(value)?),
            // The leap second is the last of its minute (RFC 5545 §3.3.12).
            "BYSECOND" => self.seconds = numbers(value, 0, 60)?.into_iter().map(|s| s.min(59)).collect(),
            "BYMINUTE" => self.minutes = numbers(value, 0, 59)?,
            "BYHOUR" => self.hours = numbers(value, 0, 23)?,
            "BYDAY" => self.read_days(value)?,
            "BYMONTHDAY" => self.month_days = signed(value, 31)?,
            "BYYEARDAY" => self.year_days = signed(value, 366)?,
            "BYWEEKNO" => self.weeks = signed(value, 53)?,
            "BYMONTH" => {
                self.months = numbers(value, 1, 12)?.iter().fold(0, |bits, month| bits | 1 << month);
            }
            "BYSETPOS" => self.positions = signed(value, 366)?,
            "WKST" => self.week_start = read_weekday(value)?,
            "RSCALE" if value.eq_ignore_ascii_case("GREGORIAN") => {}
            "RSCALE" | "SKIP" => return Err(RuleFault::OtherCalendar),
            name if name.starts_with("X-") => {}
            _ => return Err(RuleFault::Malformed),
        }
        self.seconds.dedup();
        Ok(())
    }

    fn read_days(&mut self, value: &str) -> Result<(), RuleFault> {
        for day in value.split(',') {
            let day = day.trim();
            let at = day.len().checked_sub(2).filter(|at| day.is_char_boundary(*at));
            let (number, name) = day.split_at(at.ok_or(RuleFault::Malformed)?);
            let weekday = read_weekday(name)?;
            if number.is_empty() {
                self.weekdays |= 1 << weekday;
                continue;
            }
            let number = integer(number).filter(|n| *n != 0 && n.abs() <= 53).ok_or(RuleFault::Malformed)?;
            if !self.nth.contains(&(number, weekday)) {
                self.nth.push((number, weekday));
            }
        }
        Ok(())
    }

    fn has_any_by(&self) -> bool {
        self.has_day_rule()
            || self.months != 0
            || !self.hours.is_empty()
            || !self.minutes.is_empty()
            || !self.seconds.is_empty()
    }

    /// Whether any part says which days.
    pub(super) fn has_day_rule(&self) -> bool {
        self.weekdays != 0
            || !self.nth.is_empty()
            || !self.month_days.is_empty()
            || !self.year_days.is_empty()
            || !self.weeks.is_empty()
    }
}

fn read_frequency(text: &str) -> Result<Frequency, RuleFault> {
    Ok(match text.to_ascii_uppercase().as_str() {
        "YEARLY" => Frequency::Yearly,
        "MONTHLY" => Frequency::Monthly,
        "WEEKLY" => Frequency::Weekly,
        "DAILY" => Frequency::Daily,
        "HOURLY" => Frequency::Hourly,
        "MINUTELY" => Frequency::Minutely,
        "SECONDLY" => Frequency::Secondly,
        _ => return Err(RuleFault::Malformed),
    })
}

fn read_until(text: &str) -> Result<Until, RuleFault> {
    if let Some(date) = read_date(text) {
        return Ok(Until::Date(date + DAY - 1));
    }
    match read_date_time(text) {
        Some((time, true)) => Ok(Until::Utc(time)),
        Some((time, false)) => Ok(Until::Local(time)),
        None => Err(RuleFault::Malformed),
    }
}

fn read_weekday(text: &str) -> Result<u8, RuleFault> {
    let found = WEEKDAYS.iter().position(|name| name.eq_ignore_ascii_case(text));
    found.map(|at| at as u8).ok_or(RuleFault::Malformed)
}

/// `[plus / minus] 1*DIGIT`.
fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || digits.len() > 18 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.strip_prefix('+').unwrap_or(text).parse().ok()
}

fn positive(text: &str) -> Result<i64, RuleFault> {
    integer(text).filter(|n| *n > 0).ok_or(RuleFault::Malformed)
}

/// A list of numbers of a range, sorted, each once.
fn numbers(text: &str, least: i64, most: i64) -> Result<Vec<i64>, RuleFault> {
    let mut list = Vec::new();
    for number in text.split(',') {
        let number = integer(number.trim()).filter(|n| (least..=most).contains(n));
        list.push(number.ok_or(RuleFault::Malformed)?);
    }
    list.sort_unstable();
    list.dedup();
    Ok(list)
}

/// As [`numbers`], from the end when negative, and never zero.
fn signed(text: &str, most: i64) -> Result<Vec<i64>, RuleFault> {
    let list = numbers(text, -most, most)?;
    if list.contains(&0) { Err(RuleFault::Malformed) } else { Ok(list) }
}
