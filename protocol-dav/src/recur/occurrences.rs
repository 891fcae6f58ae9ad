//! What a rule yields, in order, from any moment on.
//!
//! A rule makes periods: years, months, weeks, days, hours, minutes or seconds, of which every `interval`th
//! counts. In each the days are found that pass every part of the rule, the times of day are put beside them, and
//! BYSETPOS picks from what that comes to. Days and times are never multiplied out: an index says which.

use super::calendar::{Day, DayOf, END_OF_TIME, days_in_month, days_in_year, first_of, week_of, weekday};
use super::{Budget, Frequency, Rule, TooMany};
use crate::time::{DAY, Seconds};

/// The times that a rule yields, on the clock of DTSTART. DTSTART itself is among them only when the rule
/// yields it.
#[derive(Debug)]
pub struct Occurrences {
    rule: Rule,
    start: Seconds,
    from: Seconds,
    until: Seconds,
    /// How many the rule may still yield, counted from DTSTART.
    left: Option<u32>,
    /// The number of the period that comes next.
    period: i64,
    /// Where the set of the present period begins: midnights, or the one hour, minute or second.
    bases: Vec<Seconds>,
    /// What is added to each base; put together with the first period.
    offsets: Vec<Seconds>,
    /// Which of the set are meant, when BYSETPOS picks.
    picked: Option<Vec<usize>>,
    at: usize,
    done: bool,
}

impl Occurrences {
    /// Of a rule that begins at `start`: those not before `from` and not after `until`.
    pub fn new(rule: &Rule, start: Seconds, from: Seconds, until: Seconds) -> Occurrences {
        let mut rule = rule.clone();
        add_defaults(&mut rule, start);
        let first = period_of(&rule, start);
        let mut period = first;
        // With COUNT every one before `from` has to be counted.
        if rule.count.is_none() && from > start {
            let ahead = (period_of(&rule, from.min(END_OF_TIME)) - first) / rule.interval;
            period += ahead * rule.interval;
        }
        Occurrences {
            start,
            from: from.max(start),
            until: until.min(END_OF_TIME),
            left: rule.count,
            period,
            bases: Vec::new(),
            offsets: Vec::new(),
            picked: None,
            at: 0,
            done: false,
            rule,
        }
    }

    /// The next one; none when there are no more. Each period, day and time looked at is a step.
    pub fn next(&mut self, budget: &mut Budget) -> Result<Option<Seconds>, TooMany> {
        loop {
            if self.done || self.left == Some(0) {
                return Ok(None);
            }
            if self.at < self.len() {
                let time = self.time(self.at);
                if time > self.until {
                    self.done = true;
                    return Ok(None);
                }
                self.at += 1;
                budget.spend(1)?;
                if let Some(left) = &mut self.left {
                    *left -= 1;
                }
                return Ok(Some(time));
            }
            self.advance(budget)?;
        }
    }

    fn len(&self) -> usize {
        self.picked.as_ref().map_or(self.bases.len() * self.offsets.len(), Vec::len)
    }

    fn time(&self, at: usize) -> Seconds {
        let at = self.picked.as_ref().map_or(at, |picked| picked[at]);
        self.bases[at / self.offsets.len()] + self.offsets[at % self.offsets.len()]
    }

    /// Goes to the next period that has anything, and in it past all that is before `start` or `from`.
    fn advance(&mut self, budget: &mut Budget) -> Result<(), TooMany> {
        self.bases.clear();
        self.picked = None;
        budget.spend(1)?;
        let begins = period_start(&self.rule, self.period);
        if begins > self.until {
            self.done = true;
            return Ok(());
        }
        if self.offsets.is_empty() {
            self.offsets = offsets(&self.rule, budget)?;
        }
        let skipped_to = self.fill(budget)?;
        self.pick();
        self.period = match skipped_to {
            Some(period) => self.aligned(period),
            None => self.period + self.rule.interval,
        };
        let first = self.first_not_before(self.start);
        self.at = self.first_not_before(self.from);
        if let Some(left) = &mut self.left {
            let before = u32::try_from(self.at - first).unwrap_or(u32::MAX);
            *left = left.saturating_sub(before);
        }
        Ok(())
    }

    /// The first index whose time is not before a moment.
    fn first_not_before(&self, moment: Seconds) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.time(middle) < moment { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// The first period that counts and is not before this one.
    fn aligned(&self, period: i64) -> i64 {
        let interval = self.rule.interval;
        self.period + (period - self.period + interval - 1).div_euclid(interval) * interval
    }

    /// Finds the bases of the present period. When there can be none for a while, the period up to which.
    fn fill(&mut self, budget: &mut Budget) -> Result<Option<i64>, TooMany> {
        match self.rule.frequency {
            Frequency::Yearly => {
                let year = self.period;
                for month in 1..=12u8 {
                    if self.rule.months == 0 || self.rule.months & 1 << month != 0 {
                        self.days_of_month(year, month, budget)?;
                    }
                }
            }
            Frequency::Monthly => {
                let (year, month) = (self.period.div_euclid(12), self.period.rem_euclid(12) as u8 + 1);
                if self.rule.months == 0 || self.rule.months & 1 << month != 0 {
                    self.days_of_month(year, month, budget)?;
                }
            }
            Frequency::Weekly => {
                let first = self.period * 7 + week_offset(self.rule.week_start);
                budget.spend(7)?;
                for day in first..first + 7 {
                    self.day(DayOf::of(day));
                }
            }
            Frequency::Daily | Frequency::Hourly | Frequency::Minutely | Frequency::Secondly => {
                return Ok(self.fill_short());
            }
        }
        Ok(None)
    }

    fn days_of_month(&mut self, year: i64, month: u8, budget: &mut Budget) -> Result<(), TooMany> {
        let first = first_of(year, month);
        let mut day = DayOf::of(first);
        let days = days_in_month(year, month);
        budget.spend(days as u64)?;
        for _ in 0..days {
            self.day(day);
            day = DayOf { day: day.day + 1, of_month: day.of_month + 1, of_year: day.of_year + 1, ..day };
        }
        Ok(())
    }

    fn day(&mut self, day: DayOf) {
        if passes(&self.rule, day) {
            self.bases.push(day.day * DAY);
        }
    }

    /// A period within one day. When the whole day, month, hour or minute fails, the next one is gone to at once.
    fn fill_short(&mut self) -> Option<i64> {
        let unit = unit(self.rule.frequency);
        let time = self.period * unit;
        let day = DayOf::of(time.div_euclid(DAY));
        let next = |seconds: Seconds| Some((seconds + unit - 1).div_euclid(unit));
        if self.rule.months != 0 && self.rule.months & 1 << day.month == 0 {
            let days = days_in_month(day.year, day.month) - day.of_month + 1;
            return next((day.day + days) * DAY);
        }
        if !passes(&self.rule, day) {
            return next((day.day + 1) * DAY);
        }
        let of_day = time.rem_euclid(DAY);
        let allows = |list: &[i64], value: i64| list.is_empty() || list.contains(&value);
        if unit < DAY && !allows(&self.rule.hours, of_day / 3_600) {
            return next((time.div_euclid(3_600) + 1) * 3_600);
        }
        if unit < 3_600 && !allows(&self.rule.minutes, of_day / 60 % 60) {
            return next((time.div_euclid(60) + 1) * 60);
        }
        if unit < 60 && !allows(&self.rule.seconds, of_day % 60) {
            return None;
        }
        self.bases.push(time);
        None
    }

    /// BYSETPOS.
    fn pick(&mut self) {
        if self.rule.positions.is_empty() {
            return;
        }
        let all = (self.bases.len() * self.offsets.len()) as i64;
        let positions = self.rule.positions.iter();
        let index = |position: &i64| if *position > 0 { position - 1 } else { all + position };
        let mut picked: Vec<usize> =
            positions.map(index).filter(|at| (0..all).contains(at)).map(|at| at as usize).collect();
        picked.sort_unstable();
        picked.dedup();
        self.picked = Some(picked);
    }
}

/// What a rule does not say is taken from DTSTART (RFC 5545 §3.3.10).
fn add_defaults(rule: &mut Rule, start: Seconds) {
    let day = DayOf::of(start.div_euclid(DAY));
    let of_day = start.rem_euclid(DAY);
    if !rule.has_day_rule() {
        match rule.frequency {
            Frequency::Yearly => {
                if rule.months == 0 {
                    rule.months = 1 << day.month;
                }
                rule.month_days = vec![day.of_month];
            }
            Frequency::Monthly => rule.month_days = vec![day.of_month],
            Frequency::Weekly => rule.weekdays = 1 << weekday(day.day),
            _ => {}
        }
    }
    let only_weeks = rule.weekdays == 0 && rule.nth.is_empty() && rule.month_days.is_empty();
    if !rule.weeks.is_empty() && only_weeks && rule.year_days.is_empty() {
        rule.weekdays = 1 << weekday(day.day);
    }
    if rule.frequency < Frequency::Hourly && rule.hours.is_empty() {
        rule.hours = vec![of_day / 3_600];
    }
    if rule.frequency < Frequency::Minutely && rule.minutes.is_empty() {
        rule.minutes = vec![of_day / 60 % 60];
    }
    if rule.frequency < Frequency::Secondly && rule.seconds.is_empty() {
        rule.seconds = vec![of_day % 60];
    }
}

/// The times within a base: of a day, an hour or a minute. At most one for each second of a day.
fn offsets(rule: &Rule, budget: &mut Budget) -> Result<Vec<Seconds>, TooMany> {
    let zero = [0];
    let (hours, minutes, seconds): (&[i64], &[i64], &[i64]) = match rule.frequency {
        Frequency::Secondly => (&zero, &zero, &zero),
        Frequency::Minutely => (&zero, &zero, &rule.seconds),
        Frequency::Hourly => (&zero, &rule.minutes, &rule.seconds),
        _ => (&rule.hours, &rule.minutes, &rule.seconds),
    };
    let count = hours.len() * minutes.len() * seconds.len();
    budget.spend(count as u64)?;
    let mut offsets = Vec::with_capacity(count);
    for hour in hours {
        for minute in minutes {
            offsets.extend(seconds.iter().map(|second| hour * 3_600 + minute * 60 + second));
        }
    }
    Ok(offsets)
}

fn passes(rule: &Rule, day: DayOf) -> bool {
    let from_end = |number: i64, of: i64| number - of - 1;
    if rule.months != 0 && rule.months & 1 << day.month == 0 {
        return false;
    }
    if !rule.month_days.is_empty() {
        let of = days_in_month(day.year, day.month);
        let listed = |number| rule.month_days.binary_search(&number).is_ok();
        if !listed(day.of_month) && !listed(from_end(day.of_month, of)) {
            return false;
        }
    }
    if !rule.year_days.is_empty() {
        let listed = |number| rule.year_days.binary_search(&number).is_ok();
        if !listed(day.of_year) && !listed(from_end(day.of_year, days_in_year(day.year))) {
            return false;
        }
    }
    if !rule.weeks.is_empty() {
        let (week, weeks) = week_of(day.day, day.year, rule.week_start);
        let listed = |number| rule.weeks.binary_search(&number).is_ok();
        if !listed(week) && !listed(from_end(week, weeks)) {
            return false;
        }
    }
    (rule.weekdays == 0 && rule.nth.is_empty())
        || rule.weekdays & 1 << weekday(day.day) != 0
        || is_nth(rule, day)
}

/// Whether it is the how manieth weekday of its month, or of its year when the rule is about whole years.
fn is_nth(rule: &Rule, day: DayOf) -> bool {
    let of_year = rule.frequency == Frequency::Yearly && rule.months == 0;
    let (number, of) = if of_year {
        (day.of_year, days_in_year(day.year))
    } else {
        (day.of_month, days_in_month(day.year, day.month))
    };
    let own = weekday(day.day);
    let (nth, from_end) = ((number - 1) / 7 + 1, -((of - number) / 7 + 1));
    rule.nth.iter().any(|(wanted, weekday)| *weekday == own && (*wanted == nth || *wanted == from_end))
}

/// Seconds of a period that is no longer than a day.
fn unit(frequency: Frequency) -> Seconds {
    match frequency {
        Frequency::Hourly => 3_600,
        Frequency::Minutely => 60,
        Frequency::Secondly => 1,
        _ => DAY,
    }
}

/// The first day of some week that begins on this weekday.
fn week_offset(week_start: u8) -> Day {
    // Day 4 was a Monday.
    4 + i64::from(week_start)
}

/// The number of the period that a time is in.
fn period_of(rule: &Rule, time: Seconds) -> i64 {
    let day = time.div_euclid(DAY);
    match rule.frequency {
        Frequency::Yearly => DayOf::of(day).year,
        Frequency::Monthly => {
            let day = DayOf::of(day);
            day.year * 12 + i64::from(day.month) - 1
        }
        Frequency::Weekly => (day - week_offset(rule.week_start)).div_euclid(7),
        frequency => time.div_euclid(unit(frequency)),
    }
}

/// When a period begins.
fn period_start(rule: &Rule, period: i64) -> Seconds {
    match rule.frequency {
        Frequency::Yearly if period > 9_999 => Seconds::MAX,
        Frequency::Yearly => first_of(period, 1) * DAY,
        Frequency::Monthly if period > 9_999 * 12 + 11 => Seconds::MAX,
        Frequency::Monthly => first_of(period.div_euclid(12), period.rem_euclid(12) as u8 + 1) * DAY,
        Frequency::Weekly => (period * 7 + week_offset(rule.week_start)) * DAY,
        frequency => period * unit(frequency),
    }
}
