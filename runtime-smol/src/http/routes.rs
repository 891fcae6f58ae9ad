//! What there is to ask for: health, metrics and the MTA-STS policies of our domains.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_io::Timer;
use async_lock::Mutex;
use futures_lite::future;
use protocol_smtp::route::mta_sts::POLICY_PATH;
use tide::StatusCode;

use crate::metrics::METRICS;

/// The header that tells which domain's policy is asked for.
const HOST: &str = "host";
/// How long an answer of the database is believed: anybody may ask for it, any number of times.
const PING_LIFE: Duration = Duration::from_secs(1);
/// How long the database may take.
const PING_LIMIT: Duration = Duration::from_secs(5);

/// Asks storage whether it can read and write.
pub type Ping = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// Whether the process should get work.
pub struct Health {
    ready: AtomicBool,
    ping: Ping,
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Health {
    /// Not ready yet.
    pub fn new(ping: Ping) -> Arc<Health> {
        Arc::new(Health { ready: AtomicBool::new(false), ping, last: Mutex::new(None) })
    }

    /// Every listener is open (`true`), or the process is stopping (`false`).
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::SeqCst);
    }

    async fn check(&self) -> Result<(), String> {
        if !self.ready.load(Ordering::SeqCst) {
            return Err("starting or stopping".into());
        }
        let mut last = self.last.lock().await;
        if let Some((at, result)) = last.as_ref()
            && at.elapsed() < PING_LIFE
        {
            return result.clone();
        }
        let late = async {
            Timer::after(PING_LIMIT).await;
            Err("the database does not answer".into())
        };
        let result = future::or((self.ping)(), late).await;
        if let Err(error) = &result {
            tracing::warn!(error, "not ready: the database cannot be used");
        }
        #[allow(clippy::disallowed_methods)] // the age of an answer that is given again
        let now = Instant::now();
        *last = Some((now, result.clone()));
        result
    }
}

/// The MTA-STS policy of the domain that a `Host` names: none when it is not ours, an error when that cannot be
/// known now.
pub type OwnPolicy =
    Box<dyn Fn(String) -> Pin<Box<dyn Future<Output = Result<Option<String>, String>> + Send>> + Send + Sync>;

/// What is answered from.
#[derive(Clone)]
pub(super) struct State {
    health: Arc<Health>,
    policy: Arc<OwnPolicy>,
}

/// The router.
pub(super) fn routes(health: Arc<Health>, policy: OwnPolicy) -> tide::Server<State> {
    let mut app = tide::with_state(State { health, policy: Arc::new(policy) });
    app.at("/health/live").get(|_| async { Ok("live\n") });
    app.at("/health/ready").get(|request: tide::Request<State>| async move {
        // The reason is in the log; who asks from outside learns only whether.
        Ok(match request.state().health.check().await {
            Ok(()) => tide::Response::builder(StatusCode::Ok).body("ready\n"),
            Err(_) => tide::Response::builder(StatusCode::ServiceUnavailable).body("not ready\n"),
        })
    });
    app.at("/metrics").get(|_| async {
        let response = tide::Response::builder(StatusCode::Ok).body(METRICS.render());
        Ok(response.content_type("text/plain; version=0.0.4"))
    });
    app.at(POLICY_PATH).get(|request: tide::Request<State>| async move {
        let host = request.header(HOST).map(|values| values.last().as_str().to_owned()).unwrap_or_default();
        Ok(match (request.state().policy)(host).await {
            Ok(Some(text)) => {
                tide::Response::builder(StatusCode::Ok).body(text).content_type("text/plain").build()
            }
            Ok(None) => tide::Response::new(StatusCode::NotFound),
            Err(error) => {
                tracing::warn!(error, "an MTA-STS policy of ours could not be served");
                tide::Response::new(StatusCode::ServiceUnavailable)
            }
        })
    });
    app
}
