//! A day's report as JSON (RFC 8460 §4.4), and the day itself.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

use protocol_core::Timestamp;
use protocol_core::time::{Civil, Duration};

use super::aggregate::Aggregate;
use super::json::Json;
use super::session;

const DAY_SECS: i64 = 86_400;

/// A day in UTC, counted from 1970-01-01.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Day(pub i64);

impl Day {
    /// The day of a time.
    pub fn of(at: Timestamp) -> Day {
        Day(at.secs().div_euclid(DAY_SECS))
    }

    /// Its first moment.
    pub fn start(self) -> Timestamp {
        Timestamp::from_secs(self.0.saturating_mul(DAY_SECS))
    }

    /// Its last second.
    pub fn last_second(self) -> Timestamp {
        self.start() + Duration::from_secs(86_399)
    }

    /// From `2026-11-26`.
    pub fn parse(text: &str) -> Option<Day> {
        let mut parts = text.split('-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let shape = [year.len(), month.len(), day.len()] == [4, 2, 2] && parts.next().is_none();
        let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        if !shape || !digits {
            return None;
        }
        let civil = Civil {
            year: year.parse().ok()?,
            month: month.parse().ok()?,
            day: day.parse().ok()?,
            hour: 0,
            minute: 0,
            second: 0,
            weekday: 0,
        };
        Some(Day(civil.to_unix()?.div_euclid(DAY_SECS)))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let civil = self.start().civil();
        write!(f, "{:04}-{:02}-{:02}", civil.year, civil.month, civil.day)
    }
}

/// RFC 3339 in UTC, to the second.
pub(super) fn date_time(at: Timestamp) -> String {
    let civil = at.civil();
    format!("{}T{:02}:{:02}:{:02}Z", Day::of(at), civil.hour, civil.minute, civil.second)
}

/// One report: what happened on one day towards one domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report<'a> {
    /// `organization-name`: whose report this is.
    pub organization: &'a str,
    /// `contact-info`: an address of ours.
    pub contact: &'a str,
    /// `report-id`: unique.
    pub id: &'a str,
    /// The day.
    pub day: Day,
    /// What happened.
    pub aggregate: &'a Aggregate,
}

impl Report<'_> {
    /// The JSON text.
    pub fn json(&self) -> String {
        let mut json = Json::default();
        json.open('{');
        json.member("organization-name", self.organization);
        json.key("date-range");
        json.open('{');
        json.member("start-datetime", &date_time(self.day.start()));
        json.member("end-datetime", &date_time(self.day.last_second()));
        json.close('}');
        json.member("contact-info", self.contact);
        json.member("report-id", self.id);
        json.key("policies");
        json.open('[');
        for (policy, totals) in self.aggregate.policies() {
            json.open('{');
            json.key("policy");
            json.open('{');
            session::policy(&mut json, policy);
            json.close('}');
            json.key("summary");
            json.open('{');
            json.key("total-successful-session-count");
            json.number(totals.successes);
            json.key("total-failure-session-count");
            json.number(totals.failures);
            json.close('}');
            if !totals.details.is_empty() {
                json.key("failure-details");
                json.open('[');
                for (detail, count) in &totals.details {
                    json.open('{');
                    json.member("result-type", detail.result.as_str());
                    if let Some(ip) = detail.sending_ip {
                        json.member("sending-mta-ip", &ip.to_string());
                    }
                    if let Some(mx) = &detail.mx {
                        json.member("receiving-mx-hostname", mx);
                    }
                    if let Some(ip) = detail.receiving_ip {
                        json.member("receiving-ip", &ip.to_string());
                    }
                    json.key("failed-session-count");
                    json.number(*count);
                    if let Some(reason) = &detail.reason {
                        json.member("failure-reason-code", reason);
                    }
                    json.close('}');
                }
                json.close(']');
            }
            json.close('}');
        }
        json.close(']');
        json.close('}');
        json.finish()
    }
}
