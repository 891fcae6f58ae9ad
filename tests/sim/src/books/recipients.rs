//! One recipient in a change of its job: its new state, and the notice that this makes due.

use protocol_smtp::queue::{DsnDuty, Verdict};
use storage::{JobRecipient, RecipientState};

use super::commits::{Change, is_failure};
use super::limits::is_held_back;
use super::reports::Told;
use super::{Books, Found, Learnt, notify_of};
use crate::db::world_name;
use crate::setup::Kind;
use crate::world::{MILLI, T0};

impl Books {
    /// I1, I2, I6, I7, I8, I9: the recipient's new state follows from its own verdict and from nothing else.
    pub(super) fn check_recipient(
        &mut self,
        change: &Change<'_>,
        n: usize,
        (before, after): (&JobRecipient, &JobRecipient),
        verdict: Option<&Verdict>,
        number: u32,
    ) -> Found {
        use RecipientState::*;
        let spec = &change.old.job.spec;
        let (id, epoch) = (spec.id, change.old.job.epoch);
        let name = world_name(id);
        if before.state != Pending {
            let same = before.state == after.state;
            return if same {
                Ok(())
            } else {
                Err(format!("I4: {name}: recipient {n} changed after its end"))
            };
        }
        let now_ms = T0.0 + (change.at / MILLI) as i64;
        let end_ms = (spec.start + self.policy.ttl).0;
        let used_up = number >= self.policy.max_attempts;
        let may_expire = used_up || now_ms + self.tolerance.as_millis() as i64 >= end_ms;
        let fits = match (verdict, after.state) {
            (None | Some(Verdict::NotTried), Pending) => true,
            (None | Some(Verdict::NotTried), Expired) => may_expire,
            (Some(Verdict::Delivered { .. }), Delivered) => true,
            (Some(Verdict::Permanent(_)), Bounced) => true,
            (Some(Verdict::Suppressed(_)), Suppressed) => true,
            (Some(Verdict::Temporary(_) | Verdict::InDoubt(_)), Expired) => may_expire,
            (Some(Verdict::Temporary(_) | Verdict::InDoubt(_)), Pending) => !used_up,
            _ => false,
        };
        if !fits {
            return Err(format!("I1, I8, I9: {name}: recipient {n} is {:?} after {verdict:?}", after.state));
        }
        if is_held_back(before.state, after.state) {
            self.had_a_reason((id, epoch), &after.address)?;
        }
        let in_doubt = matches!(verdict, Some(Verdict::InDoubt(_)));
        if after.in_doubt != before.in_doubt + u32::from(in_doubt) {
            return Err(format!("I2: {name}: recipient {n} was {} times in doubt", after.in_doubt));
        }
        let scripted = matches!(self.kind(&spec.domain), Some(Kind::Plain | Kind::Home));
        let said = self.said.get(&(id, epoch, after.address.clone())).copied().unwrap_or(0);
        if after.state == Bounced && scripted && said < 500 {
            return Err(format!("I1: {name}: {} bounced, its server said {said}", after.address));
        }
        if in_doubt || after.state == Delivered {
            self.explained.insert((id, epoch, after.address.clone()));
            self.doubts_written += u64::from(in_doubt);
        }
        let took = |a: &&super::Accepted| (a.job, a.epoch) == (id, epoch) && a.recipient == after.address;
        if after.state == Delivered && scripted && self.accepted.iter().find(took).is_none() {
            return Err(format!("I1: {name}: {} counts as delivered, nobody took it", after.address));
        }
        if after.state != Pending
            && let Some(book) = self.jobs.get_mut(&id)
        {
            book.settled[n] = Some((change.at, epoch));
        }
        Ok(())
    }

    /// I5: which notice this change makes due; and at most one of each kind ever.
    pub(super) fn notice_due(
        &mut self,
        change: &Change<'_>,
        n: usize,
        (before, after): (&JobRecipient, &JobRecipient),
        verdict: Option<&Verdict>,
        learnt: Option<&Learnt>,
    ) -> Result<Option<Told>, String> {
        let spec = &change.old.job.spec;
        let name = world_name(spec.id);
        let notify = notify_of(self.wish(spec.message, &after.address));
        let silent = spec.sender.is_empty() || spec.is_dsn;
        let over = before.state == RecipientState::Pending && after.state != RecipientState::Pending;
        let warned = !before.delay_notified && after.delay_notified;
        let warning = self.policy.delay_warning;
        let age_at = |at: u64| (T0.0 + (at / MILLI) as i64) - (spec.start + warning).0;
        // It was decided between the two: a node may have been stopped after it learnt what became of its attempt.
        let (age, age_written) = (age_at(learnt.map_or(change.at, |l| l.at)), age_at(change.at));
        let slack = self.tolerance.as_millis() as i64;
        if warned && (silent || !notify.delay() || warning.is_zero() || age_written < -slack) {
            return Err(format!("I5: {name}: a delay notice for recipient {n} that is not due"));
        }
        let failed_again = !over && matches!(verdict, Some(Verdict::Temporary(_) | Verdict::InDoubt(_)));
        let owed = failed_again && !silent && notify.delay() && !warning.is_zero() && age > slack;
        if owed && !after.delay_notified {
            return Err(format!(
                "I5: {name}: recipient {n} waits for {age} ms more than the warning, untold"
            ));
        }
        let (kind, action) = match verdict {
            _ if silent => return Ok(None),
            _ if over && is_failure(after.state) && notify.failure() => (0, "failed"),
            _ if warned => (1, "delayed"),
            Some(Verdict::Delivered { dsn: DsnDuty::Relayed, .. }) if over && notify.success() => {
                (2, "relayed")
            }
            Some(Verdict::Delivered { dsn: DsnDuty::Final, .. }) if over && notify.success() => {
                (2, "delivered")
            }
            _ => return Ok(None),
        };
        if let Some(count) = self.jobs.get_mut(&spec.id).and_then(|b| b.notices.get_mut(n)) {
            count[kind] += 1;
            if count[kind] > 1 {
                return Err(format!("I5: {name}: recipient {n} is told `{action}` again"));
            }
        }
        Ok(Some(Told { recipient: after.address.clone(), action: action.into() }))
    }

    /// NOTIFY as it was submitted, whatever the row says.
    fn wish(&self, message: storage::MessageId, address: &str) -> Option<&str> {
        let message = self.messages.get(&message)?;
        message.recipients.iter().find(|(a, _)| a == address)?.1.as_deref()
    }
}
