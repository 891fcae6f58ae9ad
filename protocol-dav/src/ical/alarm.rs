//! When alarms go off (RFC 5545 §3.6.6, §3.8.6.3).

use super::series::Instance;
use super::zone::Zones;
use crate::object::Component;
use crate::time::{Seconds, read_date_time, read_duration};

/// Repetitions of an alarm that are looked at.
const REPEATS_MAX: i64 = 100;

/// The moments at which an alarm of an instance goes off, in UTC: its trigger and its repetitions.
pub(super) fn triggers(alarm: &Component<'_>, instance: &Instance<'_>, zones: &Zones<'_>) -> Vec<Seconds> {
    let Some(trigger) = alarm.property("TRIGGER") else { return Vec::new() };
    let value = trigger.value().trim();
    let first = match read_duration(value) {
        Some(duration) => {
            let Some(start) = instance.start else { return Vec::new() };
            let (anchor, at_end) = (start.utc(), trigger.has("RELATED", "END"));
            let anchor = if at_end { instance.end } else { anchor };
            // Days are those of the clock on the wall.
            let local = start.zone.to_local(anchor) + duration.days * crate::time::DAY;
            start.zone.to_utc(local) + duration.seconds
        }
        None => match read_date_time(value) {
            Some((time, true)) => time,
            Some((time, false)) => zones.floating().to_utc(time),
            None => return Vec::new(),
        },
    };
    let repeat = alarm.value("REPEAT").and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
    let pause = alarm.value("DURATION").and_then(read_duration).map_or(0, |duration| duration.total());
    let repeat = if pause > 0 { repeat.clamp(0, REPEATS_MAX) } else { 0 };
    (0..=repeat).map(|count| first + count * pause).collect()
}
