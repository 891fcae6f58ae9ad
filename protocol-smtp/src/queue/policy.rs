//! The variables of the outbound queue, and what follows from them.

use core::fmt;
use protocol_core::time::Duration;

/// `SMTP_OUTBOUND_*` as far as the queue's decisions use it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// `RETRY_BASE_DELAY_SECS`.
    pub retry_base: Duration,
    /// `RETRY_MAX_DELAY_SECS`: no delay is longer.
    pub retry_max: Duration,
    /// `MAX_ATTEMPTS`, at least 1.
    pub max_attempts: u32,
    /// `TTL_SECS`.
    pub ttl: Duration,
    /// `DELAY_WARNING_SECS`; zero: never.
    pub delay_warning: Duration,
    /// `QUEUE_POLL_INTERVAL_SECS`.
    pub poll_interval: Duration,
    /// `QUEUE_BATCH_SIZE`: jobs in one claim.
    pub batch: u16,
    /// `QUEUE_LEASE_SECS`.
    pub lease: Duration,
    /// `TIMEOUT_SECS`: the longest a single step of a session can take before the final dot.
    pub timeout: Duration,
    /// Jobs held at once, waiting or under way.
    pub held_max: usize,
    /// Attempts under way at once.
    pub deliveries_max: usize,
    /// Attempts under way at once for a destination not yet known.
    pub per_destination_start: u32,
    /// The most attempts under way at once for one destination, however well it works.
    pub per_destination_max: u32,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            retry_base: Duration::from_secs(30),
            retry_max: Duration::from_secs(3_600),
            max_attempts: 10,
            ttl: Duration::from_secs(86_400),
            delay_warning: Duration::from_secs(3_600),
            poll_interval: Duration::from_secs(2),
            batch: 100,
            lease: Duration::from_secs(120),
            timeout: Duration::from_secs(30),
            held_max: 400,
            deliveries_max: 100,
            per_destination_start: 5,
            per_destination_max: 20,
        }
    }
}

/// Parts per million.
const MILLION: u128 = 1_000_000;

impl Policy {
    /// The delay after attempt number `attempt` (from 1): `min(max, base × 2^(attempt−1) × j)`, with j
    /// uniform in 0.8 to 1.2 as `jitter` is uniform in its whole range.
    pub fn retry_delay(&self, attempt: u32, jitter: u64) -> Duration {
        self.delay_at(attempt, 800_000 + u128::from(jitter % 400_001))
    }

    /// `retry_delay` for a given j, in parts per million.
    fn delay_at(&self, attempt: u32, j: u128) -> Duration {
        let factor = 1u128.checked_shl(attempt.saturating_sub(1).min(100)).unwrap_or(u128::MAX);
        let delay_ms = self.retry_base.as_millis().saturating_mul(factor).saturating_mul(j) / MILLION;
        Duration::from_millis(u64::try_from(delay_ms).unwrap_or(u64::MAX)).min(self.retry_max)
    }

    /// How much of a lease must be left for an attempt to be started: one step of a session, and never more
    /// than what a renewal at half the lease leaves.
    pub(crate) fn start_margin(&self) -> Duration {
        self.timeout.min(self.lease / 4)
    }

    /// What these variables mean for a message whose every attempt fails at once.
    pub fn horizon(&self) -> Horizon {
        let mut after = Duration::ZERO;
        let mut attempts = 1;
        while attempts < self.max_attempts {
            let delay = self.delay_at(attempts, MILLION);
            let next = after.saturating_add(delay);
            if next >= self.ttl {
                break;
            }
            (after, attempts) = (next, attempts + 1);
            if delay == self.retry_max || delay.is_zero() {
                // From here on the gaps are equal: no need to count them one by one.
                let left = self.max_attempts - attempts;
                let room = (self.ttl - after).as_millis().saturating_sub(1);
                let fit =
                    room.checked_div(delay.as_millis()).map_or(left, |n| n.min(u128::from(left)) as u32);
                attempts += fit;
                after = after.saturating_add(delay.saturating_mul(fit));
                break;
            }
        }
        Horizon { attempts, after, policy: self.clone() }
    }
}

/// Until when a message is tried; `Display` is the sentence that start and `config` print.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Horizon {
    /// Attempts that are made.
    pub attempts: u32,
    /// The last of them, counted from acceptance.
    pub after: Duration,
    policy: Policy,
}

impl Horizon {
    /// Whether the TTL ends the attempts, and not their number.
    pub fn ttl_reached(&self) -> bool {
        self.attempts < self.policy.max_attempts
    }
}

/// Below this a hint is added: RFC 5321 §4.5.4.1 advises to try for four to five days.
const ADVISED: Duration = Duration::from_secs(4 * 86_400);

impl fmt::Display for Horizon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ttl, after) = (Span(self.policy.ttl), Span(self.after));
        if self.ttl_reached() {
            let most = self.policy.max_attempts;
            write!(f, "the TTL of {ttl} is reached after {} of {most} attempts", self.attempts)?;
            write!(f, ", the last of them about {after} after acceptance")?;
        } else {
            write!(f, "the last of {} attempts is about {after} after acceptance", self.attempts)?;
            write!(f, ", the TTL of {ttl} is not reached")?;
        }
        if self.after < ADVISED {
            f.write_str(
                "; for the five days that RFC 5321 advises set MAX_ATTEMPTS=130 and TTL_SECS=432000",
            )?;
        }
        Ok(())
    }
}

/// A duration in hours and minutes, rounded; in seconds below one minute.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs();
        if secs < 60 {
            return write!(f, "{secs} s");
        }
        let minutes = secs.saturating_add(30) / 60;
        match (minutes / 60, minutes % 60) {
            (0, m) => write!(f, "{m} min"),
            (h, 0) => write!(f, "{h} h"),
            (h, m) => write!(f, "{h} h {m} min"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn the_horizon_of_the_default_variables_is_the_sentence_of_the_manual() {
        assert_eq!(
            Policy::default().horizon().to_string(),
            "the last of 10 attempts is about 3 h 4 min after acceptance, the TTL of 24 h is not reached; \
             for the five days that RFC 5321 advises set MAX_ATTEMPTS=130 and TTL_SECS=432000"
        );
    }

    #[test]
    fn the_advised_variables_need_no_advice() {
        let policy = Policy { max_attempts: 130, ttl: Duration::from_secs(432_000), ..Policy::default() };
        assert_eq!(
            policy.horizon().to_string(),
            "the TTL of 120 h is reached after 126 of 130 attempts, the last of them about 119 h 4 min \
             after acceptance"
        );
    }

    #[test]
    fn extreme_variables_end() {
        let quick = Policy { retry_base: Duration::ZERO, max_attempts: u32::MAX, ..Policy::default() };
        assert_eq!((quick.horizon().attempts, quick.horizon().after), (u32::MAX, Duration::ZERO));
        let slow = Policy { max_attempts: u32::MAX, ..Policy::default() };
        assert!(slow.horizon().ttl_reached());
        let once = Policy { max_attempts: 1, ..Policy::default() };
        assert_eq!((once.horizon().attempts, once.horizon().after), (1, Duration::ZERO));
        assert_eq!(slow.retry_delay(u32::MAX, u64::MAX), slow.retry_max);
    }
}
