//! One connection's answers to the IMAP machine.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_lite::future;
use protocol_core::{Instant, RecvBuf, SendBuf};
use protocol_imap::server::limits::RECV_LIMIT;
use protocol_imap::server::{
    Authenticate, Bye, No, Request, Running, ServerConfig, ServerSession, Step, TlsInfo, Transport,
};
use storage::{Error, Mailbox, Refusal};

use super::append::Incoming;
use super::selected::Selected;
use crate::app::{App, Peer};
use crate::auth::{Entrance, Login, Outcome, Protocol, channel_binding};
use crate::driver::{Handler, Machine, Progress, drive};
use crate::metrics::METRICS;
use crate::net;
use crate::tls::{Alpn, Identity};
use crate::wire::{Wire, monotonic_now};

impl Machine for ServerSession {
    type Ask<'b> = Step<'b>;

    fn poll<'b>(&mut self, now: Instant, input: &'b mut RecvBuf, out: &mut SendBuf) -> Progress<Step<'b>> {
        match ServerSession::poll(self, now, input, out) {
            Step::NeedInput | Step::Idle => Progress::NeedInput,
            Step::Flush => Progress::Flush,
            Step::Closed(reason) => {
                tracing::debug!(?reason, "IMAP session ended");
                Progress::Closed
            }
            ask => Progress::Ask(ask),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        ServerSession::deadline(self).map(|(at, _)| at)
    }
}

/// Serves one connection to its end.
pub async fn serve(app: Arc<App>, incoming: net::Incoming) {
    let implicit = incoming.service == net::Service::Imaps;
    let net::Incoming { socket, peer, slot, session: open, .. } = incoming;
    let net::Socket::Tcp(stream) = socket else { return };
    let Ok(mut wire) = Wire::tcp(stream) else { return };
    let mut identity = None;
    if implicit {
        let presented = app.tls.identity();
        let tls = presented.config(Alpn::Imap);
        identity = Some(presented);
        if let Err(error) = wire.accept_tls(tls, HANDSHAKE).await {
            tracing::debug!(%peer, %error, "TLS handshake failed");
            METRICS.tls_failures.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
    let transport = match implicit {
        true => Transport::Tls(tls_info(&wire, identity.as_deref())),
        false => Transport::Plain,
    };
    let config: Arc<ServerConfig> = app.imap.clone();
    let mut session = ServerSession::new(config, transport, monotonic_now());
    let mut handler = Connection {
        app,
        peer,
        slot: Some(slot),
        open,
        identity,
        login: None,
        account: None,
        selected: None,
        incoming: None,
        told_to_stop: false,
    };
    if let Err(error) = drive(&mut session, &mut handler, &mut wire, RECV_LIMIT).await {
        tracing::debug!(%peer, %error, "IMAP connection broke");
    }
}

/// Time for a TLS handshake.
const HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(10);

fn tls_info(wire: &Wire, identity: Option<&Identity>) -> TlsInfo {
    TlsInfo { channel_binding: channel_binding(wire, identity).is_available() }
}

pub(super) struct Connection {
    pub app: Arc<App>,
    peer: Peer,
    /// Held until the client has logged in.
    slot: Option<net::Slot>,
    open: net::Session,
    identity: Option<Arc<Identity>>,
    login: Option<Login>,
    pub account: Option<Mailbox>,
    pub selected: Option<Selected>,
    /// A message that APPEND is sending; on the heap, for it is seldom there.
    pub incoming: Option<Box<Incoming>>,
    told_to_stop: bool,
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
            Step::Connect(connect) => connect.accept(session, out),
            // On the heap while they last: an idle connection would keep room for the largest of them.
            Step::Authenticate(ask) => Box::pin(self.authenticate(ask, session, out, wire)).await,
            Step::Command(running, request) => {
                return Box::pin(self.command(running, request, session, out, wire)).await;
            }
            Step::Append(append) => Box::pin(self.append(append, session, out)).await,
            Step::Chunk(octets) => Box::pin(self.chunk(octets)).await,
            Step::Appended(running) => Box::pin(self.appended(running, session, out)).await,
            Step::Discard => self.incoming = None,
            Step::UpgradeTls(upgrade) => {
                wire.flush(out).await?;
                let identity = self.app.tls.identity();
                if let Err(error) = wire.accept_tls(identity.config(Alpn::Imap), HANDSHAKE).await {
                    METRICS.tls_failures.fetch_add(1, Ordering::Relaxed);
                    return Err(error);
                }
                let info = tls_info(wire, Some(&identity));
                self.identity = Some(identity);
                (self.login, self.account, self.selected) = (None, None, None);
                upgrade.done(info, session, wire.now());
            }
            Step::NeedInput | Step::Idle | Step::Flush | Step::Closed(_) => {}
        }
        Ok(())
    }

    async fn wake(&mut self) {
        let stop = async {
            if self.told_to_stop {
                return future::pending().await;
            }
            self.open.stopping().await;
        };
        match &self.selected {
            Some(selected) => future::or(stop, selected.changed()).await,
            None => stop.await,
        }
    }

    async fn woken<'a>(&'a mut self, session: &'a mut ServerSession, out: &'a mut SendBuf) -> io::Result<()> {
        if self.open.is_stopping() && !self.told_to_stop {
            self.told_to_stop = true;
            session.bye(Bye::ShuttingDown, out);
            return Ok(());
        }
        self.follow(session, out);
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
        if ask.begins() {
            let binding = channel_binding(wire, self.identity.as_deref());
            let entrance = Entrance { protocol: Protocol::Imap, origin: self.peer.ip() };
            self.login = Login::new(ask.mechanism().name(), binding, entrance);
        }
        let outcome = match &mut self.login {
            Some(login) => login.turn(&self.app.storage, ask.response()).await,
            None => Outcome::Failed,
        };
        match outcome {
            Outcome::Challenge(text) => return ask.challenge(&text, session, out),
            Outcome::Success(mailbox) => {
                self.account = Some(*mailbox);
                self.slot = None;
                ask.succeed(session, out);
            }
            Outcome::Failed => {
                METRICS.login_failures.add("imap");
                tracing::info!(peer = %self.peer, "log-in failed");
                ask.fail(No::AuthenticationFailed, session, out);
            }
            Outcome::Unavailable => ask.fail(No::Unavailable, session, out),
        }
        self.login = None;
    }

    async fn command(
        &mut self,
        running: Running,
        request: Request<'_>,
        session: &mut ServerSession,
        out: &mut SendBuf,
        wire: &mut Wire,
    ) -> io::Result<()> {
        let Some(account) = self.account.clone() else {
            running.no(No::Unavailable, session, out);
            return Ok(());
        };
        match request {
            Request::Noop => {
                self.refresh(session, out).await;
                running.ok(session, out);
            }
            Request::Select { name, read_only } => self.select(running, &name, read_only, session, out).await,
            Request::Create { .. }
            | Request::Delete { .. }
            | Request::Rename { .. }
            | Request::Subscribe { .. } => {
                self.change_folders(running, request, &account, session, out).await
            }
            Request::List(listing) => self.list(running, &listing, session, out).await,
            Request::Status { name, query } => self.status(running, &name, &query, session, out).await,
            Request::Close { expunge } => self.close(running, expunge, session, out).await,
            Request::Unselect => {
                self.selected = None;
                running.ok(session, out);
            }
            Request::Expunge => self.expunge(running, session, out).await,
            Request::Search(searching) => self.search(running, &searching, session, out).await,
            Request::Fetch(fetching) => return self.fetch(running, &fetching, session, out, wire).await,
            Request::Store(storing) => return self.store(running, &storing, session, out, wire).await,
            Request::Copy { to } => self.copy(running, &to, false, session, out).await,
            Request::Move { to } => self.copy(running, &to, true, session, out).await,
        }
        Ok(())
    }

    /// Passes on what others did to the selected folder, and what this session did itself.
    pub fn follow(&mut self, session: &mut ServerSession, out: &mut SendBuf) {
        let Some(selected) = &mut self.selected else { return };
        if !selected.tell(session, out) {
            self.selected = None;
            session.bye(Bye::Deleted, out);
        }
    }

    /// The same, after asking a shared database.
    async fn refresh(&mut self, session: &mut ServerSession, out: &mut SendBuf) {
        self.follow(session, out);
    }
}

/// What a storage error is to the client. What is damaged is told apart, for then waiting does not help.
pub(super) fn reason(error: &Error) -> No {
    match error {
        Error::NotFound => No::NonExistent,
        Error::Refused(Refusal::Exists(_)) => No::AlreadyExists,
        Error::Refused(Refusal::OverQuota) => No::OverQuota,
        Error::Refused(Refusal::NoEncryptionKey(_)) => No::Unavailable,
        Error::Refused(Refusal::TooMany(_)) => No::Limit,
        Error::Refused(Refusal::InUse(_)) => No::HasChildren,
        Error::Refused(_) => No::Cannot,
        Error::Corrupt(_) => No::Corruption,
        Error::Unavailable(_) | Error::OutcomeUnknown(_) => No::Unavailable,
    }
}

/// Refuses a command for a storage error, and logs what the client is not told.
pub(super) fn refuse(running: Running, error: &Error, session: &mut ServerSession, out: &mut SendBuf) {
    if !matches!(error, Error::NotFound | Error::Refused(_)) {
        tracing::warn!(%error, "an IMAP command failed");
    }
    running.no(reason(error), session, out);
}
