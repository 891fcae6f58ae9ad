//! How long a message is tried, in a sentence.

use std::time::Duration;

use super::Retry;

/// What RFC 5321 §4.5.4.1 advises at least to give up after: 4 to 5 days.
const ADVISED: Duration = Duration::from_secs(5 * 86_400);

/// "the last of 10 attempts is about 3 h 4 min after acceptance, the TTL of 24 h is not reached; ...".
pub fn horizon(retry: &Retry) -> String {
    let last = last_attempt(retry, retry.max_attempts);
    let attempts = retry.max_attempts;
    let mut text = if last < retry.ttl {
        format!(
            "the last of {attempts} attempts is about {} after acceptance, the TTL of {} is not reached",
            spoken(last),
            spoken(retry.ttl)
        )
    } else {
        format!("the TTL of {} ends before the last of {attempts} attempts", spoken(retry.ttl))
    };
    if last.min(retry.ttl) < ADVISED {
        text.push_str(&format!(
            "; for the five days that RFC 5321 advises set SMTP_OUTBOUND_MAX_ATTEMPTS={} and SMTP_OUTBOUND_TTL_SECS={}",
            attempts_for(retry, ADVISED),
            ADVISED.as_secs()
        ));
    }
    text
}

/// When attempt `n` is due, without jitter; attempt 1 is at once.
fn last_attempt(retry: &Retry, n: u32) -> Duration {
    let mut sum = Duration::ZERO;
    let mut delay = retry.base_delay.min(retry.max_delay);
    for left in (1..n).rev() {
        if delay == retry.max_delay {
            return sum.saturating_add(delay.saturating_mul(left));
        }
        sum = sum.saturating_add(delay);
        delay = delay.saturating_mul(2).min(retry.max_delay);
    }
    sum
}

/// The attempts that reach `target`, rounded up to a full ten.
fn attempts_for(retry: &Retry, target: Duration) -> u32 {
    let (mut low, mut high) = (1u32, 1_000_000u32);
    while low < high {
        let middle = low + (high - low) / 2;
        if last_attempt(retry, middle) >= target {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low.div_ceil(10) * 10
}

/// Rounded to the minute from a minute on: `3 h 4 min`.
fn spoken(time: Duration) -> String {
    let secs = time.as_secs();
    if secs < 60 {
        return format!("{secs} s");
    }
    let minutes = (secs + 30) / 60;
    match (minutes / 60, minutes % 60) {
        (0, m) => format!("{m} min"),
        (h, 0) => format!("{h} h"),
        (h, m) => format!("{h} h {m} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(base: u64, max: u64, max_attempts: u32, ttl: u64) -> Retry {
        Retry {
            base_delay: Duration::from_secs(base),
            max_delay: Duration::from_secs(max),
            max_attempts,
            ttl: Duration::from_secs(ttl),
        }
    }

    #[test]
    fn the_defaults_reach_three_hours() {
        assert_eq!(
            horizon(&retry(30, 3600, 10, 86_400)),
            "the last of 10 attempts is about 3 h 4 min after acceptance, the TTL of 24 h is not reached; for the \
             five days that RFC 5321 advises set SMTP_OUTBOUND_MAX_ATTEMPTS=130 and SMTP_OUTBOUND_TTL_SECS=432000"
        );
    }

    #[test]
    fn five_days_need_no_advice() {
        let text = horizon(&retry(30, 3600, 130, 432_000));
        assert_eq!(text, "the TTL of 120 h ends before the last of 130 attempts");
    }

    #[test]
    fn extremes_end() {
        assert_eq!(last_attempt(&retry(30, 3600, 1, 60), 1), Duration::ZERO);
        assert!(last_attempt(&retry(1, 31_622_400, 1, 60), u32::MAX) > ADVISED);
        assert!(horizon(&retry(1, 1, 1, 1)).contains("MAX_ATTEMPTS=432010"));
    }
}
