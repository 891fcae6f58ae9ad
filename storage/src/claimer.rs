//! Jobs that are claimed in the transaction that queues them, by the node that accepts them: a message that can be
//! sent at once costs one transaction less, and waits for nobody.

use crate::types::{Claim, Job};

/// The queue of this process, as [`Storage`](crate::Storage) knows it
/// ([`Storage::set_claimer`](crate::Storage::set_claimer)).
pub trait Claimer: Send + Sync {
    /// A claim on so many jobs that are about to be queued; none when the queue has other work.
    fn claim(&self, jobs: usize) -> Option<Box<dyn Claiming>>;

    /// Jobs have been queued that are due and nobody's.
    fn queued(&self);
}

/// A claim that was given. Dropped, it is given back.
pub trait Claiming: Send {
    /// What is written.
    fn claim(&self) -> Claim;

    /// It is durable, and these are the jobs.
    fn claimed(self: Box<Self>, jobs: Vec<Job>);
}
