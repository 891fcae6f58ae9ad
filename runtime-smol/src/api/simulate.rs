//! Recipients that nothing is ever sent to, for trying out what an application makes of each outcome.

use protocol_core::Timestamp;
use protocol_core::address::Canonical;
use storage::{DeliveryRecord, JobEvent, RecipientState};

/// Mail for this domain ends here. Under `.invalid` there is no name that anybody could have (RFC 6761 §6.4).
pub const DOMAIN: &str = "simulator.invalid";

/// What becomes of mail for an address of the simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `delivered@`, and whatever a test key sends to.
    Delivered,
    /// `deferred@`: delivered at the second attempt.
    Deferred,
    /// `bounced@`.
    Bounced,
    /// `suppressed@`.
    Suppressed,
    /// `complained@`: delivered, and the recipient complains.
    Complained,
}

/// The outcome that an address asks for; none when it is not the simulator's. What stands behind a `+` is the
/// application's own.
pub fn outcome_of(address: &Canonical) -> Option<Outcome> {
    if address.domain() != DOMAIN {
        return None;
    }
    let plain = address
        .split_plus('+')
        .map_or_else(|| address.local().to_owned(), |(base, _)| base.local().to_owned());
    Some(match plain.as_str() {
        "deferred" => Outcome::Deferred,
        "bounced" => Outcome::Bounced,
        "suppressed" => Outcome::Suppressed,
        "complained" => Outcome::Complained,
        _ => Outcome::Delivered,
    })
}

/// What is told of a recipient, as if it had happened at `now`.
pub fn records(address: &str, outcome: Outcome, now: Timestamp) -> Vec<DeliveryRecord> {
    let record = |attempt, state, event, reply: &str| DeliveryRecord {
        recipient: address.to_owned(),
        state,
        host: Some(DOMAIN.to_owned()),
        reply: reply.to_owned(),
        tls: "simulated".to_owned(),
        attempt,
        in_doubt: false,
        at_ms: now.0 + i64::from(attempt),
        event,
    };
    use JobEvent::{Attempted, Complained};
    use RecipientState::{Bounced, Delivered, Pending, Suppressed};
    match outcome {
        Outcome::Delivered => vec![record(1, Delivered, Attempted, "250 2.0.0 simulated")],
        Outcome::Deferred => vec![
            record(1, Pending, Attempted, "451 4.3.0 simulated"),
            record(2, Delivered, Attempted, "250 2.0.0 simulated"),
        ],
        Outcome::Bounced => vec![record(1, Bounced, Attempted, "550 5.1.1 simulated")],
        Outcome::Suppressed => vec![record(0, Suppressed, Attempted, "suppressed: simulated")],
        Outcome::Complained => vec![
            record(1, Delivered, Attempted, "250 2.0.0 simulated"),
            record(2, Delivered, Complained, "abuse: simulated"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_ask_for_outcomes() {
        let of = |text: &str| outcome_of(&Canonical::parse(text).unwrap());
        assert_eq!(of("bounced@simulator.invalid"), Some(Outcome::Bounced));
        assert_eq!(of("Bounced+order-7@Simulator.Invalid"), Some(Outcome::Bounced));
        assert_eq!(of("anything@simulator.invalid"), Some(Outcome::Delivered));
        assert_eq!(of("bounced@example.net"), None);
        assert_eq!(of("bounced@x.simulator.invalid"), None);
    }

    #[test]
    fn every_outcome_ends_in_its_state() {
        let last = |outcome| records("a@b", outcome, Timestamp(5)).pop().map(|r| (r.state, r.event));
        use RecipientState::*;
        assert_eq!(last(Outcome::Deferred), Some((Delivered, JobEvent::Attempted)));
        assert_eq!(last(Outcome::Bounced), Some((Bounced, JobEvent::Attempted)));
        assert_eq!(last(Outcome::Suppressed), Some((Suppressed, JobEvent::Attempted)));
        assert_eq!(last(Outcome::Complained), Some((Delivered, JobEvent::Complained)));
    }
}
