//! One connection's answers to the server machine: who may log in, send and be reached, and where the octets go.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol_core::address::Canonical;
use protocol_core::{Instant, RecvBuf, SendBuf};
use protocol_smtp::address::Path;
use protocol_smtp::limits::RECV_BUF_MIN;
use protocol_smtp::server::{
    Authenticate, Begin, CloseReason, Finish, Refusal, Sender, ServerConfig, ServerSession, Service, Step,
};
use storage::Mailbox;

use super::header::may_send_as;
use super::transaction::{Incoming, Transaction};
use crate::app::{App, Peer};
use crate::auth::{Entrance, Login, Outcome, Protocol, channel_binding};
use crate::config::{self, Config};
use crate::driver::{Handler, Machine, Progress, drive};
use crate::logging;
use crate::metrics::METRICS;
use crate::net;
use crate::telemetry::TARGET;
use crate::tls::{Alpn, Identity};
use crate::wire::{Wire, monotonic_now, wall_now};

/// Octets received ahead of the machine: enough for large messages to move in large pieces.
const RECEIVE_MAX: usize = 256 * 1024;

impl Machine for ServerSession {
    type Ask<'b> = Step<'b>;

    fn poll<'b>(&mut self, now: Instant, input: &'b mut RecvBuf, out: &mut SendBuf) -> Progress<Step<'b>> {
        match ServerSession::poll(self, now, input, out) {
            Step::NeedInput => Progress::NeedInput,
            Step::Flush => Progress::Flush,
            Step::Closed(reason) => {
                tracing::debug!(?reason, "SMTP session ended");
                Progress::Closed
            }
            ask => Progress::Ask(ask),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        ServerSession::deadline(self).map(|(at, _)| at)
    }
}

/// Limits and names of the SMTP services, made once.
pub struct Configs {
    transfer: Arc<ServerConfig>,
    submission: Arc<ServerConfig>,
    submissions: Arc<ServerConfig>,
    lmtp: Arc<ServerConfig>,
}

impl Configs {
    /// As the configuration says. On the submission ports the size is fixed (SPEC section 5).
    pub fn new(config: &Config) -> Configs {
        let make = |service: Service| {
            let mut made = ServerConfig::new(&config.server.hostname, service);
            made.recipients_max = config.smtp.max_rcpt_to;
            made.binarymime = true;
            // What never starts TLS cannot carry it on.
            made.require_tls = config.outbound.tls_mode != config::TlsMode::Disabled;
            if !service.is_submission() {
                made.message_max = config.smtp.max_message_bytes;
            }
            // RFC 4865 §2 is for submission only; a deadline is kept from where the message enters.
            made.extensions.future_release = service.is_submission();
            made.extensions.deliver_by = service.is_submission();
            if service == Service::Transfer {
                made.greet_delay = config.smtp.greet_delay;
            }
            Arc::new(made)
        };
        Configs {
            transfer: make(Service::Transfer),
            submission: make(Service::Submission),
            submissions: make(Service::Submissions),
            lmtp: make(Service::Lmtp),
        }
    }

    /// Octets of the largest message that any of them takes.
    pub fn message_max(&self) -> u64 {
        self.transfer.message_max.max(self.submission.message_max)
    }
}

/// Serves one connection to its end.
pub async fn serve(app: Arc<App>, incoming: net::Incoming) {
    let config = match incoming.service {
        net::Service::Submission => &app.smtp.submission,
        net::Service::Submissions => &app.smtp.submissions,
        net::Service::Lmtp => &app.smtp.lmtp,
        _ => &app.smtp.transfer,
    }
    .clone();
    let net::Incoming { socket, peer, slot, session: open, .. } = incoming;
    let mut wire = match socket {
        net::Socket::Tcp(stream) => match Wire::tcp(stream) {
            Ok(wire) => wire,
            Err(_) => return,
        },
        net::Socket::Unix(stream) => Wire::unix(stream),
    };
    let service = config.service;
    let implicit = service == Service::Submissions;
    let mut identity = None;
    if implicit {
        let presented = app.tls.identity();
        let tls = presented.config(Alpn::Smtp);
        identity = Some(presented);
        if let Err(error) = wire.accept_tls(tls, config.handshake).await {
            tracing::debug!(%peer, %error, "TLS handshake failed");
            METRICS.tls_failures.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
    let binding = implicit.then(|| wire.tls_exporter().is_some());
    let mut session = ServerSession::new(config, binding, monotonic_now());
    if service.is_submission() {
        session.set_wall_clock(wall_now(), monotonic_now());
    }
    let mut handler = Connection {
        app,
        service,
        peer,
        slot: Some(slot),
        open,
        identity,
        login: None,
        account: None,
        transaction: None,
        tls: wire.tls_description(),
        told_to_stop: false,
        began: monotonic_now(),
    };
    if let Err(error) = drive(&mut session, &mut handler, &mut wire, RECEIVE_MAX.max(RECV_BUF_MIN)).await {
        tracing::debug!(%peer, %error, "SMTP connection broke");
    }
}

pub(super) struct Connection {
    pub app: Arc<App>,
    pub service: Service,
    pub peer: Peer,
    /// Held until the client has logged in.
    slot: Option<net::Slot>,
    open: net::Session,
    /// The certificate this connection was shown.
    identity: Option<Arc<Identity>>,
    login: Option<Login>,
    /// Who logged in.
    pub account: Option<Mailbox>,
    /// On the heap while it lasts: an idle connection would keep room for it.
    pub transaction: Option<Box<Transaction>>,
    /// TLS version and cipher.
    pub tls: Option<String>,
    told_to_stop: bool,
    /// When the message began to come.
    pub began: Instant,
}

impl Handler<ServerSession> for Connection {
    async fn answer<'a>(
        &'a mut self,
        step: Step<'a>,
        session: &'a mut ServerSession,
        out: &'a mut SendBuf,
        wire: &'a mut Wire,
    ) -> io::Result<()> {
        match step {
            Step::Connect(connect) => match Box::pin(self.count_connection()).await {
                Ok(()) => connect.accept(session, out),
                Err(why) => {
                    self.log_refusal("", None, &why);
                    connect.refuse(&why, session, out);
                }
            },
            // On the heap while they last: an idle connection would keep room for the largest of them.
            Step::Authenticate(ask) => Box::pin(self.authenticate(ask, session, out, wire)).await,
            Step::Sender(ask) => Box::pin(self.sender(ask, session, out)).await,
            Step::Recipient(ask) => Box::pin(self.recipient(ask, session, out)).await,
            Step::Begin(begin) => self.begin(begin, session, out),
            Step::Chunk(octets) => self.chunk(octets).await,
            Step::Finish(finish) => Box::pin(self.finish(finish, session, out)).await,
            Step::Discard => self.drop_message(),
            Step::UpgradeTls(upgrade) => {
                wire.flush(out).await?;
                let identity = self.app.tls.identity();
                let tls = identity.config(Alpn::Smtp);
                self.identity = Some(identity);
                if let Err(error) = wire.accept_tls(tls, session.handshake_limit()).await {
                    METRICS.tls_failures.fetch_add(1, Ordering::Relaxed);
                    upgrade.failed(session);
                    return Err(error);
                }
                self.tls = wire.tls_description();
                (self.login, self.account, self.transaction) = (None, None, None);
                upgrade.done(wire.tls_exporter().is_some(), session, wire.now());
            }
            Step::NeedInput | Step::Flush | Step::Closed(CloseReason::Quit | _) => {}
        }
        Ok(())
    }

    async fn wake(&mut self) {
        if self.told_to_stop {
            return std::future::pending().await;
        }
        self.open.stopping().await;
    }

    async fn woken<'a>(&'a mut self, session: &'a mut ServerSession, out: &'a mut SendBuf) -> io::Result<()> {
        self.told_to_stop = true;
        session.shut_down(out);
        Ok(())
    }
}

impl Connection {
    async fn authenticate(
        &mut self,
        ask: Authenticate,
        session: &mut ServerSession,
        out: &mut SendBuf,
        wire: &Wire,
    ) {
        if ask.is_first() {
            let identity = self.identity.clone();
            let entrance = Entrance { protocol: Protocol::Smtp, origin: self.peer.ip() };
            let binding = channel_binding(wire, identity.as_deref());
            self.login = Login::new(ask.mechanism(), binding, entrance);
        }
        let outcome = match &mut self.login {
            Some(login) => login.turn(&self.app.storage, ask.response()).await,
            None => Outcome::Failed,
        };
        match outcome {
            Outcome::Challenge(text) => ask.challenge(&text, session, out),
            Outcome::Success(mailbox) => {
                self.login = None;
                ask.succeed(&mailbox.address, session, out);
                self.account = Some(*mailbox);
                self.slot = None;
            }
            Outcome::Failed => {
                self.login = None;
                METRICS.login_failures.add("smtp");
                tracing::info!(peer = %self.peer, "log-in failed");
                ask.fail(&Refusal::AuthFailed, session, out);
            }
            Outcome::Unavailable => {
                self.login = None;
                ask.fail(&Refusal::AuthUnavailable, session, out);
            }
        }
    }

    async fn sender(&mut self, ask: Sender<'_>, session: &mut ServerSession, out: &mut SendBuf) {
        let sender = match ask.path() {
            Path::Mailbox(mailbox) => mailbox.as_str().to_owned(),
            Path::Null | Path::Postmaster => String::new(),
        };
        if let Some(account) =
            self.account.clone().filter(|_| self.service.is_submission() && !sender.is_empty())
        {
            match may_send_as(&self.app.storage, &account, Canonical::parse(&sender).ok()).await {
                Ok(true) => {}
                Ok(false) => {
                    let why = Refusal::SenderNotAllowed("MAIL FROM");
                    self.log_refusal(&sender, None, &why);
                    return ask.refuse(&why, session, out);
                }
                Err(_) => return ask.refuse(&Refusal::StorageFailed, session, out),
            }
        }
        // The transaction before this one ended without a message: nobody was accepted, or it was reset.
        let before = self.transaction.take();
        self.give_back(before.and_then(|transaction| transaction.counted));
        let counted = match self.count_message().await {
            Ok(counted) => counted,
            Err(why) => {
                self.log_refusal(&sender, None, &why);
                return ask.refuse(&why, session, out);
            }
        };
        let quotas = match self.account.as_ref().filter(|_| self.service.is_submission()) {
            Some(account) => self.quotas_of(account).await,
            None => Ok(None),
        };
        let Ok(quotas) = quotas else {
            self.give_back(counted);
            return ask.refuse(&Refusal::StorageFailed, session, out);
        };
        let origin = self.ask_about_sender(&sender, session);
        let org = self.account.as_ref().map(|account| account.org);
        let mut transaction = Transaction::new(sender, ask.params(), origin, (org, wall_now()));
        (transaction.counted, transaction.quotas) = (counted, quotas);
        transaction.span = tracing::info_span!(
            target: TARGET,
            "smtp.message",
            otel.kind = "server",
            inbox.listener = self.service_name(),
            inbox.org = org.map(tracing::field::display),
            inbox.message = tracing::field::Empty,
            inbox.octets = tracing::field::Empty,
            inbox.reply = tracing::field::Empty,
        );
        self.transaction = Some(Box::new(transaction));
        ask.accept(session, out);
    }

    /// The listener, as logs and metrics name it.
    pub(super) fn service_name(&self) -> &'static str {
        match self.service {
            Service::Transfer => "transfer",
            Service::Submission | Service::Submissions => "submission",
            Service::Lmtp => "lmtp",
        }
    }

    fn begin(&mut self, begin: Begin, session: &mut ServerSession, out: &mut SendBuf) {
        let Some(transaction) = &mut self.transaction else {
            return begin.refuse(&Refusal::StorageFailed, session, out);
        };
        self.began = monotonic_now();
        let (spool, own_host) = (self.app.storage.spool(), &self.app.config.server.hostname);
        transaction.incoming = Some(Incoming::new(spool, own_host, self.service.is_submission()));
        begin.accept(session, out);
    }

    /// A spool that fails is remembered, and the message refused at its end: the client is still sending.
    async fn chunk(&mut self, octets: &[u8]) {
        let Some(incoming) = self.transaction.as_mut().and_then(|t| t.incoming.as_mut()) else { return };
        incoming.scanner.feed(octets);
        incoming.hasher.update(octets);
        if incoming.failed.is_none() {
            incoming.failed = incoming.spool.write(octets).await.err();
        }
    }

    async fn finish(&mut self, finish: Finish, session: &mut ServerSession, out: &mut SendBuf) {
        let Some(mut transaction) = self.transaction.take() else {
            return finish.refuse(&Refusal::StorageFailed, session, out);
        };
        let octets = finish.octets();
        let iprev = transaction.origin.iprev().await;
        let counted = transaction.counted.take();
        match self.store(*transaction, iprev, octets, session).await {
            Ok(id) => finish.accept(&id, session, out),
            Err(why) => {
                self.give_back(counted);
                finish.refuse(&why, session, out);
            }
        }
    }

    fn drop_message(&mut self) {
        let dropped = self.transaction.take();
        self.give_back(dropped.and_then(|transaction| transaction.counted));
    }

    pub(super) fn log_refusal(&self, sender: &str, recipient: Option<&str>, why: &Refusal) {
        METRICS.messages_refused.add(&why.code().to_string());
        let mut result = "";
        if let Refusal::Policy { label, .. } = why {
            result = label;
            METRICS.origin_refusals.add(label);
        }
        tracing::info!(
            peer = %self.peer,
            from = %logging::address(sender),
            to = %recipient.map(logging::address).unwrap_or_default(),
            tls = self.tls.as_deref().unwrap_or("none"),
            code = why.code(),
            status = %why.status(),
            result,
            "refused"
        );
    }
}
