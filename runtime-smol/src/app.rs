//! What every part of the running server shares.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use event_listener::Event;
use storage::Storage;

use crate::config::Config;
use crate::dmarc_reports::Observations;
use crate::dns::Resolver;
use crate::https::Https;
use crate::mta_sts::Policies;
use crate::signing::Signing;
use crate::smtp;
use crate::tls::{ClientTls, ServerTls};
use crate::tls_reports::Reports;

/// The running server's parts; shared as `Arc<App>`.
pub struct App {
    /// What it was told.
    pub config: Arc<Config>,
    /// Everything that lasts.
    pub storage: Storage,
    /// Certificates.
    pub tls: Arc<ServerTls>,
    /// Trust for connections that we open.
    pub client_tls: ClientTls,
    /// Limits and names of the SMTP services.
    pub smtp: smtp::Configs,
    /// Messages accepted in the last minutes.
    pub repeats: smtp::Repeats,
    /// Signatures seen in the last hour.
    pub replays: smtp::Repeats,
    /// Checks of where messages come from.
    pub verifier: message_auth::Verifier,
    /// Limits and names of the IMAP service.
    pub imap: Arc<protocol_imap::server::ServerConfig>,
    /// The name servers.
    pub resolver: Arc<Resolver>,
    /// MTA-STS policies of other domains.
    pub policies: Policies,
    /// Where connections to other servers are noted.
    pub reports: Reports,
    /// Where checked messages are noted for DMARC reports.
    pub observations: Observations,
    /// Keys that sign what leaves.
    pub signing: Signing,
    /// Set when the server stops.
    pub stop: Stop,
    /// Notified when a job was queued on this node.
    pub queued: Arc<Event>,
    /// Notified when this node wrote to the log of an organisation.
    pub logged: Event,
}

impl App {
    /// Opens everything that is not storage.
    ///
    /// # Errors
    /// One message, for whoever starts the server.
    pub fn open(config: Arc<Config>, storage: Storage) -> Result<App, String> {
        let tls = ServerTls::open(&config).map_err(|e| e.to_string())?;
        let client_tls =
            ClientTls::open(config.tls.extra_roots_file.as_deref()).map_err(|e| e.to_string())?;
        let resolver = Arc::new(Resolver::open(&config.dns)?);
        let reports = Reports::open(config.outbound.tls_report_dir.as_deref());
        let https = Https::new(resolver.clone(), client_tls.clone(), config.outbound.allow_private_networks);
        let imap =
            protocol_imap::server::ServerConfig::new(&config.server.hostname, config.smtp.max_message_bytes);
        Ok(App {
            tls: Arc::new(tls),
            smtp: smtp::Configs::new(&config),
            repeats: smtp::Repeats::of_messages(),
            replays: smtp::Repeats::of_signatures(),
            verifier: smtp::open_verifier(&config.dns)?,
            imap: Arc::new(imap),
            policies: Policies::new(
                https,
                resolver.clone(),
                storage.clone(),
                reports.clone(),
                config.mta_sts.https_port,
            ),
            observations: Observations::open(config.auth.dmarc_report_dir.as_deref()),
            signing: Signing::open(&config.dkim)?,
            stop: Stop::default(),
            queued: Arc::default(),
            logged: Event::new(),
            client_tls,
            resolver,
            reports,
            config,
            storage,
        })
    }

    /// What requests of administration are carried out on.
    pub fn administration(self: &Arc<App>) -> crate::admin::Context {
        let woken = self.clone();
        let wake_queue = Arc::new(move || {
            woken.queued.notify(usize::MAX);
        });
        crate::admin::Context { storage: self.storage.clone(), config: self.config.clone(), wake_queue }
    }
}

/// A flag that tasks can wait for.
#[derive(Clone, Default)]
pub struct Stop(Arc<(AtomicBool, Event)>);

impl Stop {
    /// Tells everybody to stop.
    pub fn set(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.notify(usize::MAX);
    }

    /// Whether it was set.
    pub fn is_set(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }

    /// Waits until it is set.
    pub async fn wait(&self) {
        loop {
            let listener = self.0.1.listen();
            if self.is_set() {
                return;
            }
            listener.await;
        }
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// TCP.
    Ip(SocketAddr),
    /// A Unix socket.
    Local,
}

impl Peer {
    /// Its address, when it has one.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Peer::Ip(address) => Some(address.ip().to_canonical()),
            Peer::Local => None,
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.ip() {
            Some(ip) => ip.fmt(f),
            None => f.write_str("local"),
        }
    }
}
