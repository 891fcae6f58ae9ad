//! What must hold when everything is over.

use storage::RecipientState;

use super::{Books, Found};
use crate::db::world_name;
use crate::world::World;

impl Books {
    /// Whether every durable job has come to its end.
    pub fn is_settled(&self) -> bool {
        let pending = |r: &storage::JobRecipient| r.state == RecipientState::Pending;
        self.jobs.values().all(|book| book.gone || !book.row.job.spec.recipients.iter().any(pending))
    }

    /// Jobs that are not at their end.
    pub fn unsettled(&self) -> Vec<String> {
        let pending = |r: &storage::JobRecipient| r.state == RecipientState::Pending;
        let open = self.jobs.values().filter(|b| !b.gone && b.row.job.spec.recipients.iter().any(pending));
        open.map(|b| {
            format!("{} {:?} due {}", world_name(b.row.job.spec.id), b.row.job.state, b.row.job.due.0)
        })
        .collect()
    }

    /// I1, I2 and Q10 over everything that happened.
    pub fn at_end(&self, world: &World) -> Found {
        self.counters_fit(world)?;
        for (id, message) in &self.messages {
            if message.acknowledged.is_none() {
                continue;
            }
            for (address, _) in &message.recipients {
                self.accounted_for(id, address)?;
            }
        }
        for taken in &self.accepted {
            let key = (taken.job, taken.epoch, taken.recipient.clone());
            if !self.explained.contains(&key) && self.jobs.contains_key(&taken.job) {
                return Err(format!(
                    "I2: {} took {} under epoch {}, and nothing written explains it",
                    taken.recipient,
                    world_name(taken.job),
                    taken.epoch
                ));
            }
        }
        Ok(())
    }

    /// I1: an acknowledged recipient has come to one known end.
    fn accounted_for(&self, message: &storage::MessageId, address: &str) -> Found {
        let of_message = self.jobs.values().filter(|b| b.row.job.spec.message == *message);
        let states: Vec<(RecipientState, &super::JobBook)> = of_message
            .flat_map(|b| b.row.job.spec.recipients.iter().map(move |r| (r, b)))
            .filter(|(r, _)| r.address == address)
            .map(|(r, b)| (r.state, b))
            .collect();
        let [(state, book)] = &states[..] else {
            return Err(format!("I1: {address} of {message} has {} jobs", states.len()));
        };
        let name = world_name(book.row.job.spec.id);
        match state {
            RecipientState::Pending => Err(format!("I1: {address} of {name} has no end")),
            RecipientState::Cancelled if self.may_be_cancelled(&book.row) => Ok(()),
            RecipientState::Cancelled => Err(format!("I1: {address} of {name} was cancelled by nobody")),
            _ => Ok(()),
        }
    }
}
