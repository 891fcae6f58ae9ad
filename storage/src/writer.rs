//! The batching writer: what waits while a transaction is in progress goes into the next one, so that under
//! load one fsync serves many acceptances, and an idle server answers without delay.

use crate::error::{Error, Result};

/// Changes in one transaction.
pub const BATCH_MAX: usize = 200;
/// Changes that may wait; beyond that, whoever brings one waits before it is queued.
pub const WAITING_MAX: usize = 1_000;

pub(crate) struct Pending<T, A> {
    change: T,
    answer: async_channel::Sender<Result<A>>,
}

/// The writer's end for those who bring changes.
pub(crate) struct Writer<T, A> {
    queue: async_channel::Sender<Pending<T, A>>,
}

/// What a writer receives.
pub(crate) type Received<T, A> = async_channel::Receiver<Pending<T, A>>;

impl<T, A> Writer<T, A> {
    /// The writer, and what it receives: drive [`run`] with it.
    pub(crate) fn new() -> (Writer<T, A>, Received<T, A>) {
        let (queue, received) = async_channel::bounded(WAITING_MAX);
        (Writer { queue }, received)
    }

    /// Makes a change durable together with others.
    pub(crate) async fn write(&self, change: T) -> Result<A> {
        let (answer, answered) = async_channel::bounded(1);
        let closed = || Error::Unavailable("storage is closed".into());
        self.queue.send(Pending { change, answer }).await.map_err(|_| closed())?;
        // The writer answers whatever it took; it goes without an answer only when its thread dies.
        answered.recv().await.unwrap_or_else(|_| Err(Error::OutcomeUnknown("the writer ended".into())))
    }

    /// Takes no more changes; what waits is still written.
    pub(crate) fn close(&self) {
        self.queue.close();
    }
}

/// Writes batches until the writer is closed or dropped and nothing waits any more. `write` gives one answer for
/// each change, in order.
pub(crate) async fn run<T, A>(received: Received<T, A>, write: impl AsyncFn(Vec<T>) -> Vec<Result<A>>) {
    while let Ok(first) = received.recv().await {
        let mut changes = vec![first.change];
        let mut answers = vec![first.answer];
        while changes.len() < BATCH_MAX
            && let Ok(next) = received.try_recv()
        {
            changes.push(next.change);
            answers.push(next.answer);
        }
        let results = write(changes).await;
        let missing = || Err(Error::OutcomeUnknown("the store left a change unanswered".into()));
        let results = results.into_iter().chain(std::iter::repeat_with(missing));
        for (answer, result) in answers.into_iter().zip(results) {
            // Nobody waits when the caller went away; the change stands all the same.
            let _ = answer.try_send(result);
        }
    }
}
