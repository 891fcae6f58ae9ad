//! The executor: one for the process, with a thread for each processor.

use std::future::Future;
use std::sync::OnceLock;
use std::thread;

use async_executor::{Executor, Task};
use futures_lite::future;

static EXECUTOR: OnceLock<&'static Executor<'static>> = OnceLock::new();

fn executor() -> &'static Executor<'static> {
    EXECUTOR.get_or_init(|| {
        let executor: &'static Executor<'static> = Box::leak(Box::new(Executor::new()));
        let threads = thread::available_parallelism().map_or(1, |n| n.get());
        for n in 0..threads {
            let run = move || loop {
                // A panic ends the task it is in; the thread goes on with the others.
                let run = || future::block_on(executor.run(future::pending::<()>()));
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
            };
            let spawned = thread::Builder::new().name(format!("inbox-{n}")).spawn(run);
            if spawned.is_err() && n == 0 {
                panic!("no thread can be started");
            }
        }
        executor
    })
}

/// Runs a future on the executor. Dropping the task cancels it; [`Task::detach`] lets it run.
pub fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Task<T> {
    executor().spawn(work)
}

/// Runs a future to its end on the current thread, while spawned tasks run on the others.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    async_io::block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_a_task_stops_nothing_else() {
        let threads = thread::available_parallelism().map_or(1, |n| n.get());
        for _ in 0..=threads {
            spawn(async { panic!("on purpose") }).detach();
        }
        assert_eq!(block_on(spawn(async { 7 })), 7);
    }
}
