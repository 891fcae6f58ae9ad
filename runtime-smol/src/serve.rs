//! Starting, running and stopping the server.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use event_listener::Event;
use futures_lite::{StreamExt, future};
use storage::{Storage, StorageOptions, SurrealOptions};

use crate::admin::server::Listener as AdminListener;
use crate::admin::{Context, rotate};
use crate::api::Api;
use crate::app::{App, Stop};
use crate::cli::Quickstart;
use crate::config::{Config, Loaded};
use crate::dav::{self, Dav};
use crate::dmarc_reports::{self, Observations};
use crate::dns::Resolver;
use crate::http::{Health, Http};
use crate::https::Https;
use crate::mta_sts::{Policies, own::Own};
use crate::net::{self, Incoming, Limits, Listener, Service, Sessions, Signal, accept_all, signals};
use crate::signing::Signing;
use crate::tls::{ClientTls, ServerTls};
use crate::tls_reports::{self, Reports};
use crate::{again, api, http, imap, logging, outbound, smtp, task};

/// How long sessions and attempts under way may take after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How often objects without rows are looked for.
const COLLECT_INTERVAL: Duration = Duration::from_secs(6 * 3600);

/// Why the server does not start; one message.
#[derive(Debug)]
struct StartError(String);

impl<E: std::error::Error> From<E> for StartError {
    fn from(error: E) -> StartError {
        StartError(error.to_string())
    }
}

/// Everything that was opened, ready to run.
struct Started {
    app: Arc<App>,
    health: Arc<Health>,
    http: Http,
    listeners: Vec<Listener>,
    admin: AdminListener,
    context: Context,
    sessions: Sessions,
}

/// Runs the server until it is told to stop.
pub fn run(loaded: Loaded, quickstart: Option<Quickstart>) -> ExitCode {
    logging::start(&loaded.config.log);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(line) = smtp::strictness(&loaded.config.auth) {
        tracing::info!("{line}");
    }
    tracing::info!("retries: {}", outbound::policy(&loaded.config.outbound).horizon());
    task::block_on(async {
        match start(loaded.config, quickstart).await {
            Ok(started) => started.run().await,
            Err(StartError(why)) => {
                eprintln!("inbox: {why}");
                ExitCode::FAILURE
            }
        }
    })
}

/// Opens database, objects and keys.
pub(crate) async fn open_storage(config: &Config) -> Result<Storage, storage::OpenError> {
    let database = &config.database;
    let (username, password) = match &database.credentials {
        Some((name, secret)) => (Some(name.clone()), Some(secret.expose().to_owned())),
        None => (None, None),
    };
    Storage::open(StorageOptions {
        database: SurrealOptions {
            url: database.url.clone(),
            namespace: database.namespace.clone(),
            database: database.name.clone(),
            username,
            password,
        },
        data_dir: config.data_dir.clone(),
        objects_dir: config.objects.incoming_dir.clone(),
        master_key_file: config.objects.master_key_file.clone(),
        spool_limit: smtp::Configs::new(config).message_max(),
    })
    .await
}

async fn start(config: Config, quickstart: Option<Quickstart>) -> Result<Started, StartError> {
    if let Some(warning) = net::raise_descriptor_limit(config.server.max_connections) {
        tracing::warn!("{warning}");
    }
    let storage = match open_storage(&config).await {
        Err(error) if error.is_standstill() => {
            let _ = again::start(&error.to_string(), None);
            return Err(error.into());
        }
        opened => opened?,
    };
    report(&storage);
    let tls = Arc::new(ServerTls::open(&config)?);
    if let Some(warning) = tls.warning() {
        tracing::warn!("{warning}");
    }
    let client_tls = ClientTls::open(config.tls.extra_roots_file.as_deref())?;
    let resolver = Arc::new(Resolver::open(&config.dns).map_err(StartError)?);
    let verifier = smtp::open_verifier(&config.dns).map_err(StartError)?;
    let signing = Signing::open(&config.dkim).map_err(StartError)?;
    let listeners = net::bind(&config).map_err(|errors| {
        StartError(errors.iter().map(|e| e.to_string()).collect::<Vec<_>>().join("\ninbox: "))
    })?;
    let admin = AdminListener::bind(&config.admin_socket())
        .map_err(|e| StartError(format!("{}: {e}", config.admin_socket().display())))?;
    let config = Arc::new(config);
    let reports = Reports::open(config.outbound.tls_report_dir.as_deref());
    let observations = Observations::open(config.auth.dmarc_report_dir.as_deref());
    let https = Https::new(resolver.clone(), client_tls.clone(), config.outbound.allow_private_networks);
    let policies =
        Policies::new(https, resolver.clone(), storage.clone(), reports.clone(), config.mta_sts.https_port);
    let own = Arc::new(Own::new(config.clone(), storage.clone(), tls.clone(), client_tls.clone()));
    let stop = Stop::default();
    let app = Arc::new(App {
        smtp: smtp::Configs::new(&config),
        repeats: smtp::Repeats::of_messages(),
        replays: smtp::Repeats::of_signatures(),
        verifier,
        imap: Arc::new(protocol_imap::server::ServerConfig::new(
            &config.server.hostname,
            config.smtp.max_message_bytes,
        )),
        config: config.clone(),
        storage: storage.clone(),
        tls: tls.clone(),
        client_tls,
        resolver,
        policies,
        reports,
        observations,
        signing,
        stop: stop.clone(),
        queued: Event::new(),
    });
    let woken = app.clone();
    let wake_queue = Arc::new(move || {
        woken.queued.notify(usize::MAX);
    });
    let context = Context { storage: storage.clone(), config, wake_queue };
    let api = Api::new(app.clone(), quickstart.is_some());
    if let Some(quickstart) = quickstart {
        let text = quickstart.prepare(&context).await?;
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
    let health = Health::new(Box::new(move || {
        let storage = storage.clone();
        Box::pin(async move { storage.store().ping().await.map_err(|e| e.to_string()) })
    }));
    let policy = move |host: String| -> PolicyFuture {
        let own = own.clone();
        Box::pin(async move { own.text(&host).await.map_err(|e| e.to_string()) })
    };
    let http = Http::new(tls, health.clone(), Box::new(policy), Some(api)).with_dav(Dav::new(app.clone()));
    Ok(Started { app, health, http, listeners, admin, context, sessions: Sessions::new(stop) })
}

/// What the comparison of database and objects found at start.
fn report(storage: &Storage) {
    let report = storage.start_report();
    if report.missing.is_empty() && report.damaged.is_empty() {
        return;
    }
    tracing::warn!(
        missing = report.missing.len(),
        restored = report.restored,
        damaged = report.damaged.len(),
        "the database lacked what stored messages say it had; `inbox check` shows more"
    );
}

impl Started {
    async fn run(self) -> ExitCode {
        let Started { app, health, http, listeners, admin, context, sessions } = self;
        let mut signals = match signals() {
            Ok(signals) => signals,
            Err(error) => {
                eprintln!("inbox: signals cannot be received: {error}");
                return ExitCode::FAILURE;
            }
        };
        for listener in &listeners {
            tracing::info!(service = listener.service.name(), address = listener.place(), "listening");
        }
        let mut queue = None;
        if app.config.outbound.queue.enabled {
            queue = Some(task::spawn(outbound::run(app.clone())));
            task::spawn(outbound::clean(app.clone())).detach();
            task::spawn(outbound::watch_dnssec(app.clone())).detach();
            task::spawn(app.policies.clone().tend()).detach();
            task::spawn(tls_reports::run(context.clone())).detach();
            task::spawn(dmarc_reports::run(context.clone())).detach();
        }
        let tls = app.tls.clone();
        task::spawn(async move { tls.watch().await }).detach();
        task::spawn(collect(app.storage.clone())).detach();
        task::spawn(api::send_events(app.clone())).detach();
        task::spawn(dav::send_mails(app.clone())).detach();
        task::spawn(rotate::tend(context.clone())).detach();
        let administration = task::spawn(admin.serve(context, sessions.clone(), app.stop.clone()));
        let limits = Limits::new(app.config.server.max_connections, app.config.server.max_connections_per_ip);
        let dispatch = dispatcher(app.clone(), http);
        let accepting = task::spawn(accept_all(listeners, limits, sessions.clone(), refusal, dispatch));
        health.set_ready(true);
        task::spawn(again::forgive()).detach();
        tracing::info!(hostname = app.config.server.hostname, "ready");

        if !until_told(&app, &mut signals).await {
            return ExitCode::FAILURE;
        }
        tracing::info!("stopping");
        health.set_ready(false);
        app.stop.set();
        accepting.await;
        administration.await;
        let queue_ended = async {
            if let Some(queue) = queue {
                queue.await;
            }
        };
        let late = async {
            Timer::after(STOP_LIMIT).await;
            tracing::warn!("delivery attempts were cut off");
        };
        let (left, ()) = future::zip(sessions.drained(STOP_LIMIT), future::or(queue_ended, late)).await;
        if left > 0 {
            tracing::warn!(sessions = left, "sessions were cut off");
        }
        app.reports.flush().await;
        app.observations.flush().await;
        app.storage.close().await;
        tracing::info!("stopped");
        ExitCode::SUCCESS
    }
}

/// Waits for SIGTERM (`true`), reloading certificates on SIGHUP. `false`: it is not known what is stored, and
/// the process must not go on.
async fn until_told(app: &App, signals: &mut (impl futures_lite::Stream<Item = Signal> + Unpin)) -> bool {
    let told = async {
        loop {
            match signals.next().await {
                Some(Signal::Stop) | None => return true,
                Some(Signal::Reload) => match app.tls.reload() {
                    Ok(()) => tracing::info!("certificates reloaded"),
                    Err(error) => {
                        tracing::error!(%error, "certificates cannot be reloaded; the old ones stay")
                    }
                },
            }
        }
    };
    let fatal = async {
        let error = app.storage.fatal().await;
        tracing::error!(%error, "the process ends: a restart reads again what is stored");
        if error.is_standstill() {
            // Nothing in this process can move the engine; what replaces it reads again what is stored.
            let failed = again::start(&error.to_string(), None);
            tracing::error!(%failed, "the program could not be started again");
        }
        eprintln!("inbox: {error}; the process ends so that a restart reads again what is stored");
        false
    };
    future::or(told, fatal).await
}

/// Serves a connection by the protocol of its port.
fn dispatcher(app: Arc<App>, http: Http) -> impl Fn(Incoming) -> BoxFuture + Clone + Send + Sync + 'static {
    move |incoming| match incoming.service {
        Service::Transfer | Service::Submission | Service::Submissions | Service::Lmtp => {
            Box::pin(smtp::serve(app.clone(), incoming))
        }
        Service::Imap | Service::Imaps => Box::pin(imap::serve(app.clone(), incoming)),
        Service::Http | Service::Https => Box::pin(http.clone().serve(incoming)),
    }
}

type PolicyFuture = std::pin::Pin<Box<dyn Future<Output = Result<Option<String>, String>> + Send>>;
type BoxFuture = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a connection over the limits is told. With implicit TLS nothing can be said before a handshake, and
/// a handshake is more than it gets.
fn refusal(service: Service) -> &'static [u8] {
    match service {
        Service::Transfer | Service::Submission | Service::Lmtp => {
            protocol_smtp::server::TOO_MANY_CONNECTIONS
        }
        Service::Imap => protocol_imap::server::TOO_MANY_CONNECTIONS,
        Service::Http => http::REFUSAL,
        Service::Submissions | Service::Imaps | Service::Https => b"",
    }
}

/// Removes objects that no row refers to, now and then.
async fn collect(storage: Storage) {
    loop {
        Timer::after(COLLECT_INTERVAL).await;
        match storage.collect().await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed objects that nothing refers to"),
            Err(error) => tracing::warn!(%error, "objects could not be collected"),
        }
    }
}
