//! The batching writer: what waits while a transaction is in progress goes into the next one, so that under
//! load one fsync serves many acceptances, and an idle server answers without delay.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::store::Store;
use crate::types::*;
use crate::view::Views;

/// Commits in one transaction.
pub const BATCH_MAX: usize = 200;
/// Commits that may wait; beyond that, whoever brings one waits before it is queued.
pub const WAITING_MAX: usize = 1_000;

pub(crate) struct Pending {
    commit: Commit,
    answer: async_channel::Sender<Result<Vec<Placed>>>,
}

/// The writer's end for those who commit.
pub(crate) struct Writer {
    queue: async_channel::Sender<Pending>,
}

impl Writer {
    /// The writer, and what it receives: drive [`run`] with it.
    pub(crate) fn new() -> (Writer, async_channel::Receiver<Pending>) {
        let (queue, received) = async_channel::bounded(WAITING_MAX);
        (Writer { queue }, received)
    }

    /// Makes a commit durable together with others.
    pub(crate) async fn commit(&self, commit: Commit) -> Result<Vec<Placed>> {
        let (answer, answered) = async_channel::bounded(1);
        let closed = || Error::Unavailable("storage is closed".into());
        self.queue.send(Pending { commit, answer }).await.map_err(|_| closed())?;
        // The writer answers whatever it took; it goes without an answer only when its thread dies.
        answered.recv().await.unwrap_or_else(|_| Err(Error::OutcomeUnknown("the writer ended".into())))
    }

    /// Takes no more commits; what waits is still written.
    pub(crate) fn close(&self) {
        self.queue.close();
    }
}

/// Writes batches until the writer is closed or dropped and nothing waits any more.
pub(crate) async fn run(
    received: async_channel::Receiver<Pending>,
    store: Arc<dyn Store>,
    views: Arc<Views>,
) {
    while let Ok(first) = received.recv().await {
        let mut commits = vec![first.commit];
        let mut answers = vec![first.answer];
        while commits.len() < BATCH_MAX
            && let Ok(next) = received.try_recv()
        {
            commits.push(next.commit);
            answers.push(next.answer);
        }
        let results = store.commit_batch(commits).await;
        // Views first: who is told that a message was stored finds it in its folder.
        views.placed(results.iter().flatten().flatten()).await;
        let missing = || Err(Error::OutcomeUnknown("the store left a commit unanswered".into()));
        let results = results.into_iter().chain(std::iter::repeat_with(missing));
        for (answer, result) in answers.into_iter().zip(results) {
            // Nobody waits when the caller went away; the commit stands all the same.
            let _ = answer.try_send(result);
        }
    }
}
