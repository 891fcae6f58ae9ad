//! Who gets no mail: looked up when an attempt begins, whatever was known when the message was accepted.

use protocol_smtp::queue::{Failure, Verdict};
use protocol_smtp::status::Status;
use storage::{Job, SuppressionKey, SuppressionScope};

use super::Worker;
use crate::exec::lock;
use crate::mutants::Mutant;

/// Recipients that may be tried, verdicts for those that may not, and from when until when it was looked up.
type Looked = (Vec<u16>, Vec<(u16, Verdict)>, Option<(u64, u64)>);

/// The keys by which mail of a job to an address may be held back.
pub fn keys(job: &Job, address: &str) -> [SuppressionKey; 4] {
    let (org, domain) = (Some(job.spec.org), address.rsplit_once('@').map_or("", |(_, domain)| domain));
    let key = |org, scope, entry: &str| SuppressionKey { org, scope, entry: entry.to_owned() };
    [
        key(None, SuppressionScope::Address, address),
        key(None, SuppressionScope::Domain, domain),
        key(org, SuppressionScope::Address, address),
        key(org, SuppressionScope::Domain, domain),
    ]
}

fn keys_of(job: &Job) -> Vec<SuppressionKey> {
    job.spec.recipients.iter().flat_map(|recipient| keys(job, &recipient.address)).collect()
}

impl Worker {
    /// Who of them may be tried. Without an answer nobody is.
    pub(super) async fn not_suppressed(&self, job: &Job, recipients: Vec<u16>) -> Looked {
        if self.world.setup.limits.is_none() {
            return (recipients, Vec::new(), None);
        }
        let from = self.world.exec.now();
        let holding = match self.world.mutant {
            Some(Mutant::SuppressionUnlooked) => Ok(Vec::new()),
            Some(Mutant::SuppressionAtClaim) => {
                Ok(lock(&self.at_claim).get(&job.spec.id).cloned().unwrap_or_default())
            }
            _ => {
                let now = self.store_now().await;
                self.store.suppressed(&keys_of(job), now).await
            }
        };
        let looked = Some((from, self.world.exec.now()));
        let Ok(holding) = holding else { return (Vec::new(), Vec::new(), looked) };
        let (mut tried, mut held_back) = (Vec::new(), Vec::new());
        for index in recipients {
            let address = job.spec.recipients.get(usize::from(index)).map_or("", |r| &*r.address);
            if keys(job, address).iter().any(|key| holding.contains(key)) {
                let failure = Failure::local(Status::SUPPRESSED, "suppressed");
                held_back.push((index, Verdict::Suppressed(failure)));
            } else {
                tried.push(index);
            }
        }
        let names = held_back.iter().filter_map(|(index, _)| job.spec.recipients.get(usize::from(*index)));
        let names = names.map(|recipient| recipient.address.clone()).collect();
        self.world.books().held_back(job, names, looked);
        (tried, held_back, looked)
    }

    /// For a planted fault.
    pub(super) async fn looks_at_claim(&self, jobs: &[Job]) {
        if self.world.mutant != Some(Mutant::SuppressionAtClaim) {
            return;
        }
        for job in jobs {
            let now = self.store_now().await;
            let holding = self.store.suppressed(&keys_of(job), now).await.unwrap_or_default();
            lock(&self.at_claim).insert(job.spec.id, holding);
        }
    }
}
