//! Starting, running and stopping the server.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use futures_lite::{StreamExt, future};
use storage::{S3Encryption, S3Options, Storage, StorageOptions, SurrealOptions};

use crate::admin::server::Listener as AdminListener;
use crate::admin::{Context, rotate};
use crate::api::Api;
use crate::app::App;
use crate::cli::Quickstart;
use crate::config::{Config, Loaded};
use crate::dav::{self, Dav};
use crate::dmarc_reports;
use crate::http::{Health, Http};
use crate::mta_sts::own::Own;
use crate::net::{self, Incoming, Limits, Listener, Service, Sessions, Signal, accept_all, signals};
use crate::telemetry::Telemetry;
use crate::tls::ClientTls;
use crate::tls_reports;
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
    let telemetry = match open_telemetry(&loaded.config) {
        Ok(telemetry) => telemetry,
        Err(why) => {
            eprintln!("inbox: traces cannot be exported: {why}");
            return ExitCode::FAILURE;
        }
    };
    logging::start(&loaded.config.log, telemetry.as_ref().map(Telemetry::layer));
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(line) = smtp::strictness(&loaded.config.auth) {
        tracing::info!("{line}");
    }
    tracing::info!("retries: {}", outbound::policy(&loaded.config.outbound).horizon());
    task::block_on(async {
        let code = match start(loaded.config, quickstart).await {
            Ok(started) => started.run().await,
            Err(StartError(why)) => {
                eprintln!("inbox: {why}");
                ExitCode::FAILURE
            }
        };
        if let Some(telemetry) = telemetry {
            telemetry.end().await;
        }
        code
    })
}

fn open_telemetry(config: &Config) -> Result<Option<Telemetry>, String> {
    let Some(otel) = &config.otel else { return Ok(None) };
    let tls = ClientTls::open(config.tls.extra_roots_file.as_deref()).map_err(|e| e.0)?;
    Telemetry::open(otel, tls, &config.server.hostname).map(Some)
}

/// Opens database, objects and keys.
pub(crate) async fn open_storage(config: &Config) -> Result<Storage, storage::OpenError> {
    let database = &config.database;
    let (username, password) = match &database.credentials {
        Some((name, secret)) => (Some(name.clone()), Some(secret.expose().to_owned())),
        None => (None, None),
    };
    let s3 = match config.s3.as_ref().map(|s3| bucket(s3, config)).transpose() {
        Ok(s3) => s3,
        Err(why) => return Err(storage::OpenError::Bucket(why)),
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
        s3,
        parsed_parts: config.objects.store_parsed_parts,
        master_key_file: config.objects.master_key_file.clone(),
        spool_limit: smtp::Configs::new(config).message_max(),
    })
    .await
}

/// Where the bucket is. The error names the file that could not be read.
fn bucket(s3: &crate::config::S3, config: &Config) -> Result<S3Options, String> {
    let roots = config.tls.extra_roots_file.as_ref();
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(|e| format!("TLS_EXTRA_ROOTS_FILE={}: {e}", path.display()))
    };
    Ok(S3Options {
        endpoint: s3.endpoint.clone(),
        region: s3.region.clone(),
        bucket: s3.bucket.clone(),
        access_key_id: s3.access_key_id.clone(),
        secret_access_key: s3.secret_access_key.expose().to_owned().into(),
        path_style: s3.force_path_style,
        encryption: match s3.encryption.as_str() {
            "sse-c" => S3Encryption::SseC,
            "client" => S3Encryption::Client,
            _ => S3Encryption::Auto,
        },
        extra_roots_pem: roots.map(read).transpose()?,
        patience: storage::S3_PATIENCE,
    })
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
    let config = Arc::new(config);
    let app = Arc::new(App::open(config.clone(), storage.clone()).map_err(StartError)?);
    if let Some(warning) = app.tls.warning() {
        tracing::warn!("{warning}");
    }
    let listeners = net::bind(&config).map_err(|errors| {
        StartError(errors.iter().map(|e| e.to_string()).collect::<Vec<_>>().join("\ninbox: "))
    })?;
    let admin = AdminListener::bind(&config.admin_socket())
        .map_err(|e| StartError(format!("{}: {e}", config.admin_socket().display())))?;
    let (tls, client_tls, stop) = (app.tls.clone(), app.client_tls.clone(), app.stop.clone());
    let own = Arc::new(Own::new(config, storage.clone(), tls.clone(), client_tls));
    let context = app.administration();
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
        task::spawn(finish_rotations(app.storage.clone())).detach();
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

/// Seals anew what a change of keys left over when the last process ended.
async fn finish_rotations(storage: Storage) {
    if let Err(error) = storage.finish_rotations().await {
        tracing::error!(%error, "a change of keys is not finished; it goes on at the next start");
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
