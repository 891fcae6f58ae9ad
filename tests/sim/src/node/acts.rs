//! What clients and administrators ask of a node.

use std::sync::Arc;

use async_channel::Sender;
use protocol_smtp::queue::Event;
use storage::{Error, JobId, NewJob};

use super::Worker;
use crate::mutants::Mutant;

impl Worker {
    /// Accepts a message for a client, in a task of this node.
    pub fn submit(self: &Arc<Self>, jobs: Vec<NewJob>, answer: Sender<Result<(), Error>>) {
        let worker = self.clone();
        self.world.exec.spawn(self.group, async move {
            let _phase = worker.phase("submit");
            if worker.world.mutant == Some(Mutant::AckBeforeCommit) {
                let _ = answer.try_send(Ok(()));
            }
            let accepted = worker.store.submit(jobs, worker.store_now().await).await;
            if accepted.is_ok() {
                let _ = worker.events.try_send(Event::Wake);
            }
            let _ = worker.answer(accepted.clone());
            let _ = answer.try_send(accepted);
        });
    }
}

    /// Releases a job that is held, for an administrator, in a task of this node.
    pub fn release_held(self: &Arc<Self>, job: JobId) {
        let worker = self.clone();
        self.world.exec.spawn(self.group, async move {
            let now = worker.store_now().await;
            let released = worker.store.release_held(job, now).await;
            worker.world.note(format_args!("n{}: {job} is released: {released:?}", worker.node));
        });
    }
}
