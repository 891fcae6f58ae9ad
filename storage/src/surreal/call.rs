//! The small tokio runtime that the database needs, and the one way through which queries go.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use surrealdb::Surreal;
use surrealdb::engine::any::Any;
use surrealdb::engine::local::Db;
use surrealdb_core::kvs::Datastore;
use surrealdb_types::{Error as SdkError, QueryError, Value, Variables};
use tokio::runtime::{Handle, Runtime};

use crate::error::{Error, Result, STANDSTILL};
use crate::rows::ApplyError;

/// Thrown by our own statements when a guarded revision has moved on.
pub const STALE: &str = "inbox:stale";

/// The engine's query interpreter recurses; its frames are large in a build with little optimisation.
const WORKER_STACK_BYTES: usize = 10 << 20;
const WORKERS: usize = 2;
/// Waits between attempts after a conflict: doubled from the first to the last, half of it random.
const BACKOFF_FIRST_MICROS: u64 = 500;
const BACKOFF_LAST_MICROS: u64 = 50_000;
/// How long one query may take. The embedded engine (SurrealKV 0.21) can come to a standstill: a range read takes
/// the locks of its memory tables and of its manifest in one order, compaction and flush in the other. Nothing
/// moves after that but a new process, so a query that is not answered ends this one.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// The same for opening, where nothing is at stake yet and the caller starts again.
pub const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// How long closing waits for the runtime's own threads.
const RUNTIME_CLOSE: Duration = Duration::from_secs(5);

pub fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_stack_size(WORKER_STACK_BYTES)
        .thread_name("inbox-database")
        .enable_all()
        .build()
}

/// A connection to a database in this process or to a server.
pub enum Connection {
    Embedded(Surreal<Db>, Arc<Datastore>),
    Remote(Surreal<Any>),
}

/// All slots of an answer.
pub struct Answer {
    values: Vec<Value>,
    errors: HashMap<usize, SdkError>,
}

impl Connection {
    pub async fn query(&self, text: Cow<'static, str>, bound: Variables) -> Result<Answer, SdkError> {
        let mut response = match self {
            Connection::Embedded(db, _) => db.query(text).bind(bound).await?,
            Connection::Remote(db) => db.query(text).bind(bound).await?,
        };
        let slots = response.num_statements();
        let errors = response.take_errors();
        let mut values = Vec::with_capacity(slots);
        for slot in 0..slots {
            let value =
                if errors.contains_key(&slot) { Value::None } else { response.take::<Value>(slot)? };
            values.push(value);
        }
        Ok(Answer { values, errors })
    }
}

impl Answer {
    /// The value of the last slot, when no slot has an error.
    pub fn last(mut self) -> Result<Value, SdkError> {
        match self.errors.into_values().next() {
            Some(error) => Err(error),
            None => Ok(self.values.pop().unwrap_or_default()),
        }
    }

    /// What became of a `BEGIN; ...; COMMIT`.
    pub fn committed(self) -> Result<(), ApplyError> {
        let Answer { values, mut errors } = self;
        if errors.is_empty() && !values.is_empty() {
            return Ok(());
        }
        let conflict = |error: &SdkError| error.query_details() == Some(&QueryError::TransactionConflict);
        if errors.values().any(conflict) {
            return Err(ApplyError::Stale);
        }
        let Some(commit) = values.len().checked_sub(1).and_then(|last| errors.remove(&last)) else {
            return Err(unknown("the commit has no answer"));
        };
        if !commit.message().contains("aborted due to a prior error") {
            return Err(unknown(commit.message()));
        }
        // The transaction was given up before its commit, by the one statement whose error is its own.
        let skipped = |error: &SdkError| {
            matches!(error.query_details(), Some(QueryError::NotExecuted | QueryError::Cancelled))
        };
        match errors.into_values().find(|error| !skipped(error)) {
            Some(error) if error.is_thrown() && error.message().contains(STALE) => Err(ApplyError::Stale),
            Some(error) if error.is_already_exists() => Err(ApplyError::Exists),
            Some(error) => Err(ApplyError::Other(Error::Unavailable(error.message().to_owned()))),
            None => Err(ApplyError::Other(Error::Unavailable(commit.message().to_owned()))),
        }
    }
}

fn unknown(why: &str) -> ApplyError {
    ApplyError::Other(Error::OutcomeUnknown(why.to_owned()))
}

/// The result of `work`, if it comes in time; work in a task goes on without being awaited.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let late = async {
        async_io::Timer::after(limit).await;
        None
    };
    futures_lite::future::or(async { Some(work.await) }, late).await
}

/// A connection and the runtime on which everything about it happens.
pub struct Calls {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
    connection: Mutex<Option<Arc<Connection>>>,
}

impl Calls {
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub fn new(runtime: Runtime, connection: Connection) -> Self {
        Calls {
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            connection: Mutex::new(Some(Arc::new(connection))),
        }
    }

    fn connection(&self) -> Result<Arc<Connection>> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.clone().ok_or_else(|| Error::Unavailable("the database is closed".into()))
    }

    /// Runs one query on the runtime. The task goes on when the caller stops waiting. `Err` in the inner
    /// result: there is no whole answer. `until_done` is dropped when the engine is done with it, and before the answer.
    async fn call(
        &self,
        text: Cow<'static, str>,
        bound: Variables,
        until_done: impl Send + 'static,
    ) -> Result<Result<Answer, String>> {
        let connection = self.connection()?;
        let task = self.handle.spawn(async move {
            let answer = connection.query(text, bound).await;
            drop(until_done);
            answer.map_err(|error| error.message().to_owned())
        });
        // The timer is not on the runtime, whose threads may all stand still.
        match within(ANSWER_LIMIT, task).await {
            Some(answer) => Ok(answer.unwrap_or_else(|died| Err(died.to_string()))),
            None => Err(Error::OutcomeUnknown(STANDSTILL.into())),
        }
    }

    /// A read: one statement, which the engine runs on one snapshot.
    pub async fn read(&self, text: impl Into<Cow<'static, str>>, bound: Variables) -> Result<Value> {
        let answer = self.call(text.into(), bound, ()).await?.map_err(Error::Unavailable)?;
        answer.last().map_err(|error| Error::Unavailable(error.message().to_owned()))
    }

    /// A transaction: `text` is the statements between BEGIN and COMMIT.
    pub async fn transaction(&self, text: &str, bound: Variables) -> Result<(), ApplyError> {
        self.transaction_with(text, bound, ()).await
    }

    /// The same; `until_done` is dropped when nothing happens any more, and before anybody hears what came of it.
    pub async fn transaction_with(
        &self,
        text: &str,
        bound: Variables,
        until_done: impl Send + 'static,
    ) -> Result<(), ApplyError> {
        let text = format!("BEGIN;\n{text}COMMIT;");
        match self.call(text.into(), bound, until_done).await.map_err(ApplyError::Other)? {
            Ok(answer) => answer.committed(),
            Err(why) => Err(unknown(&why)),
        }
    }

    pub async fn pause(&self, attempt: u32) {
        let ceiling = (BACKOFF_FIRST_MICROS << attempt.min(16)).min(BACKOFF_LAST_MICROS);
        let mut random = [0; 8];
        // Without randomness the pause is still a pause.
        let _ = getrandom::fill(&mut random);
        let micros = ceiling / 2 + u64::from_le_bytes(random) % (ceiling / 2 + 1);
        let sleep = self.handle.spawn(async move { tokio::time::sleep(Duration::from_micros(micros)).await });
        let _ = sleep.await;
    }

    fn take_connection(&self) -> Option<Arc<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Closes the database, then stops the runtime.
    pub async fn close(&self) {
        if let Some(connection) = self.take_connection() {
            let _ = within(ANSWER_LIMIT, self.handle.spawn(shut_down(connection))).await;
        }
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

async fn shut_down(connection: Arc<Connection>) {
    if let Connection::Embedded(_, datastore) = &*connection
        && let Err(error) = datastore.shutdown().await
    {
        tracing::warn!(%error, "the database did not close cleanly");
    }
    drop(connection);
}

impl Drop for Calls {
    fn drop(&mut self) {
        // What the SDK handed out must be dropped on its runtime, and before it. Not waited for here: a
        // destructor may run on an executor's thread. `close` is the way to wait.
        let connection = self.take_connection();
        let runtime = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            std::thread::spawn(move || {
                if let Some(connection) = connection {
                    let _ = runtime.block_on(runtime.spawn(shut_down(connection)));
                }
                runtime.shutdown_timeout(RUNTIME_CLOSE);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use surrealdb_types::{AlreadyExistsError, ErrorDetails};

    use super::*;

    fn query_error(message: &str, kind: Option<QueryError>) -> SdkError {
        SdkError::query(message.to_owned(), kind)
    }

    fn thrown(message: &str) -> SdkError {
        SdkError::from_details(message.to_owned(), ErrorDetails::Thrown)
    }

    /// The answer to a transaction of two statements whose slots have these errors.
    fn outcome(errors: Vec<(usize, SdkError)>) -> Result<(), ApplyError> {
        Answer { values: vec![Value::None; 4], errors: errors.into_iter().collect() }.committed()
    }

    fn aborted() -> (usize, SdkError) {
        let message = "Cannot COMMIT: the transaction was aborted due to a prior error";
        (3, query_error(message, Some(QueryError::NotExecuted)))
    }

    fn skipped(slot: usize) -> (usize, SdkError) {
        (
            slot,
            query_error(
                "The query was not executed due to a failed transaction",
                Some(QueryError::NotExecuted),
            ),
        )
    }

    #[test]
    fn a_conflict_in_any_slot_is_tried_again() {
        let conflict = || query_error("Transaction conflict", Some(QueryError::TransactionConflict));
        assert!(outcome(vec![]).is_ok());
        assert!(matches!(outcome(vec![skipped(1), skipped(2), (3, conflict())]), Err(ApplyError::Stale)));
        assert!(matches!(outcome(vec![(1, conflict()), aborted()]), Err(ApplyError::Stale)));
    }

    #[test]
    fn what_a_statement_refused_is_definite() {
        let stale = thrown("An error occurred: inbox:stale");
        assert!(matches!(outcome(vec![(1, stale), skipped(2), aborted()]), Err(ApplyError::Stale)));
        let exists = SdkError::already_exists("exists".into(), None::<AlreadyExistsError>);
        assert!(matches!(outcome(vec![skipped(1), (2, exists), aborted()]), Err(ApplyError::Exists)));
        let refused = outcome(vec![(1, thrown("something else")), aborted()]);
        assert!(
            matches!(refused, Err(ApplyError::Other(Error::Unavailable(why))) if why == "something else")
        );
    }

    #[test]
    fn q5_any_other_error_of_a_commit_leaves_the_outcome_unknown() {
        for commit in [
            query_error("Cannot COMMIT: disk on fire", Some(QueryError::NotExecuted)),
            query_error("Cannot COMMIT: outcome unknown", None),
            SdkError::internal("closed".into()),
        ] {
            let unknown = outcome(vec![skipped(1), skipped(2), (3, commit)]);
            assert!(matches!(unknown, Err(ApplyError::Other(Error::OutcomeUnknown(_)))), "{unknown:?}");
        }
        // A statement's error without one in the commit's slot makes no sense: nothing is concluded from it.
        let odd = outcome(vec![(1, thrown("x"))]);
        assert!(matches!(odd, Err(ApplyError::Other(Error::OutcomeUnknown(_)))));
        let nothing = Answer { values: vec![], errors: HashMap::new() }.committed();
        assert!(matches!(nothing, Err(ApplyError::Other(Error::OutcomeUnknown(_)))));
    }
}
