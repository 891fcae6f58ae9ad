//! The checks, run: a small tokio runtime that nobody outside sees, a resolver, and limits on how much is done
//! at once.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mail_auth::MessageAuthenticator;
use protocol_core::auth::{Iprev, IprevResult, MessageResults, Spf, SpfResult};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::aggregate::{ReportPolicy, policy};
use crate::dns::{self, DnsSettings};
use crate::message::{self, Message};
use crate::spf::{Check, Query, Step};

/// Threads of the runtime: look-ups wait and verifying a message is short.
const THREADS: usize = 2;
/// Threads on which bodies are hashed.
const BLOCKING_THREADS: usize = 4;
/// SPF checks and reverse look-ups that are run at once; more wait.
const CHECKS_AT_ONCE: usize = 512;

/// How the checks are run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whom to ask.
    pub dns: DnsSettings,
    /// How long one check may take in all (RFC 7208 §4.6.4: at least 20 seconds).
    pub time_limit: Duration,
    /// Octets of messages that are in memory at once to be verified; more wait.
    pub octets_at_once: u64,
}

/// Runs checks. One for the process; a call returns a future that any executor can await, and dropping that
/// ends the check.
pub struct Verifier {
    runtime: Option<Runtime>,
    shared: Arc<Shared>,
}

struct Shared {
    authenticator: MessageAuthenticator,
    time_limit: Duration,
    checks: Arc<Semaphore>,
    /// One permit for each KiB of memory.
    memory: Arc<Semaphore>,
    memory_kib: u32,
}

/// The right to have one message in memory; given up when it is dropped.
pub struct Permit {
    _place: OwnedSemaphorePermit,
}

impl Verifier {
    /// Opens the resolver and starts the runtime.
    ///
    /// # Errors
    /// A text that says what is wrong with the settings, or that threads could not be started.
    pub fn open(settings: &Settings) -> Result<Verifier, String> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("message-auth")
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        let resolver = {
            let _inside = runtime.enter();
            dns::open(&settings.dns)?
        };
        let memory_kib = kib(settings.octets_at_once);
        let shared = Arc::new(Shared {
            authenticator: MessageAuthenticator(resolver),
            time_limit: settings.time_limit,
            checks: Arc::new(Semaphore::new(CHECKS_AT_ONCE)),
            memory: Arc::new(Semaphore::new(memory_kib as usize)),
            memory_kib,
        });
        Ok(Verifier { runtime: Some(runtime), shared })
    }

    /// SPF for one identity (RFC 7208). Time spent waiting for a free place counts.
    pub fn spf(&self, query: Query) -> Pending<Spf> {
        let shared = Arc::clone(&self.shared);
        let lost = Spf {
            identity: query.identity,
            domain: query.domain.clone(),
            result: SpfResult::TempError,
            problem: Some("the check was given up".into()),
            ..Spf::default()
        };
        self.spawn(lost, async move {
            let deadline = Instant::now() + shared.time_limit;
            let _place = timeout_at(deadline, shared.checks.acquire()).await;
            let mut check = Check::new(query);
            loop {
                match check.poll() {
                    Step::Done(spf) => return spf,
                    Step::Ask(question) => {
                        let asked = dns::ask(shared.authenticator.resolver(), &question);
                        match timeout_at(deadline, asked).await {
                            Ok(answer) => check.answer(question, answer),
                            Err(_) => return check.timed_out(),
                        }
                    }
                }
            }
        })
    }

    /// The name of an address, forward-confirmed (RFC 8601 §3).
    pub fn iprev(&self, ip: IpAddr) -> Pending<Iprev> {
        let shared = Arc::clone(&self.shared);
        let lost = Iprev { result: IprevResult::TempError, name: None };
        let late = lost.clone();
        self.spawn(lost, async move {
            let deadline = Instant::now() + shared.time_limit;
            let _place = timeout_at(deadline, shared.checks.acquire()).await;
            let asked = dns::iprev(shared.authenticator.resolver(), ip);
            timeout_at(deadline, asked).await.unwrap_or(late)
        })
    }

    /// Who gets the aggregate reports about a domain; `Ok(None)` when nobody wants them.
    ///
    /// The error says that DNS did not answer.
    pub fn report_policy(&self, domain: String) -> Pending<Result<Option<ReportPolicy>, ()>> {
        let shared = Arc::clone(&self.shared);
        self.spawn(Err(()), async move {
            let deadline = Instant::now() + shared.time_limit;
            let _place = timeout_at(deadline, shared.checks.acquire()).await;
            let asked = policy::find(shared.authenticator.resolver(), &domain);
            timeout_at(deadline, asked).await.unwrap_or(Err(()))
        })
    }

    /// Waits for the right to have a message of so many octets in memory; to be asked for before it is read. A
    /// small message waits for no large one that is not before it.
    pub async fn permit(&self, octets: u64) -> Permit {
        let needed = kib(octets).min(self.shared.memory_kib);
        match Arc::clone(&self.shared.memory).acquire_many_owned(needed).await {
            Ok(place) => Permit { _place: place },
            Err(_) => unreachable!("the semaphore is never closed"),
        }
    }

    /// DKIM, ARC and DMARC for a message. The permit is given back when that is done.
    pub fn message(&self, permit: Permit, message: Message) -> Pending<MessageResults> {
        let shared = Arc::clone(&self.shared);
        let lost = message::given_up(&message);
        self.spawn(lost, async move {
            let _permit = permit;
            let deadline = Instant::now() + shared.time_limit;
            message::verify(&shared.authenticator, message, deadline).await
        })
    }

    fn spawn<T: Send + 'static>(
        &self,
        lost: T,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Pending<T> {
        let runtime = self.runtime.as_ref().expect("it is there until the verifier is dropped");
        Pending { task: runtime.spawn(work), lost: Some(lost) }
    }
}

/// Octets in KiB, at least one.
fn kib(octets: u64) -> u32 {
    u32::try_from(octets.div_ceil(1024)).unwrap_or(u32::MAX / 8).clamp(1, u32::MAX / 8)
}

impl Drop for Verifier {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // The verifier may be dropped where blocking is not allowed.
            runtime.shutdown_background();
        }
    }
}

/// A check under way. It runs whether it is awaited or not, and ends when this is dropped.
pub struct Pending<T> {
    task: JoinHandle<T>,
    /// The result when the check breaks off.
    lost: Option<T>,
}

impl<T: Unpin> Future for Pending<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match ready!(Pin::new(&mut self.task).poll(cx)) {
            Ok(outcome) => Poll::Ready(outcome),
            Err(error) => {
                tracing::error!(%error, "a check of a message's origin broke off");
                Poll::Ready(self.lost.take().expect("not polled after it was ready"))
            }
        }
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
