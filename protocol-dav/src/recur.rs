//! Recurrence (RFC 5545 §3.3.10, §3.8.5): rules by window, and the instances of whole objects.
//!
//! Nothing is ever counted from DTSTART unless COUNT makes it necessary: the first period that can matter is
//! computed. All work is bounded by a [`Budget`], and when it is used up the answer is [`TooMany`], never a set
//! that was silently cut short.

mod calendar;
mod occurrences;
mod rule;

#[cfg(test)]
mod tests;

pub use occurrences::Occurrences;
pub use rule::{Frequency, Rule, RuleFault, Until};

use crate::limits;

/// How much work may still be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    steps: u64,
    instances: usize,
}

/// The work or the instances are more than the budget allowed (`CALDAV:max-instances`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl std::fmt::Display for TooMany {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the recurrence has more instances than are computed at once")
    }
}

impl std::error::Error for TooMany {}

impl Default for Budget {
    fn default() -> Budget {
        Budget { steps: limits::EXPANSION_STEPS_MAX, instances: limits::INSTANCES_MAX }
    }
}

impl Budget {
    /// Of this many steps and instances.
    pub fn new(steps: u64, instances: usize) -> Budget {
        Budget { steps, instances }
    }

    /// What is left of the steps.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Takes steps; when there are fewer, none are left.
    pub(crate) fn spend(&mut self, steps: u64) -> Result<(), TooMany> {
        let left = self.steps.checked_sub(steps);
        self.steps = left.unwrap_or(0);
        left.map(|_| ()).ok_or(TooMany)
    }

    /// Takes note of several instances.
    pub(crate) fn take_instances(&mut self, count: usize) -> Result<(), TooMany> {
        self.instances = self.instances.checked_sub(count).ok_or(TooMany)?;
        Ok(())
    }

    /// Takes note of an instance that goes into an answer.
    pub fn instance(&mut self) -> Result<(), TooMany> {
        self.instances = self.instances.checked_sub(1).ok_or(TooMany)?;
        Ok(())
    }
}
