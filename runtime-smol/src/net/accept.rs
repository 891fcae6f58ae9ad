//! The accept loops.

use std::future::Future;
use std::io;
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_io::{Async, Timer};
use futures_lite::future;

use super::bind::{Listener, ListenerSocket};
use super::limits::Limits;
use super::shutdown::Sessions;
use super::{Incoming, Service, Socket};
use crate::app::Peer;
use crate::metrics::METRICS;
use crate::task;

/// How long accepting rests when the process or the system is out of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// What a connection over the limits is told before it is closed; nothing on ports with implicit TLS.
pub type Refusals = fn(Service) -> &'static [u8];

/// Accepts on every listener until the word to stop; `serve` runs once for each connection, each in a task
/// of its own. Completes when the listeners are closed; sessions may go on.
pub async fn accept_all<F, S>(
    listeners: Vec<Listener>,
    limits: Arc<Limits>,
    sessions: Sessions,
    refusals: Refusals,
    serve: F,
) where
    F: Fn(Incoming) -> S + Clone + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let loops: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let (limits, sessions, serve) = (limits.clone(), sessions.clone(), serve.clone());
            task::spawn(async move {
                let stop = sessions.stop().wait();
                future::or(accept(&listener, &limits, &sessions, refusals, serve), stop).await;
            })
        })
        .collect();
    for each in loops {
        each.await;
    }
}

async fn accept<F, S>(
    listener: &Listener,
    limits: &Arc<Limits>,
    sessions: &Sessions,
    refusals: Refusals,
    serve: F,
) where
    F: Fn(Incoming) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let service = listener.service;
    loop {
        let (socket, peer, local) = match accept_one(listener).await {
            Ok(accepted) => accepted,
            Err(e) if is_of_the_peer(&e) => continue,
            Err(e) => {
                tracing::warn!(listener = service.name(), error = %e, "cannot accept a connection");
                Timer::after(EXHAUSTED_PAUSE).await;
                continue;
            }
        };
        let Some(slot) = limits.take(peer.ip().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED))) else {
            METRICS.connections_refused.add(service.name());
            refuse(socket, refusals(service));
            continue;
        };
        METRICS.connections.add(service.name());
        let session = sessions.begin();
        task::spawn(serve(Incoming { service, socket, peer, local, slot, session })).detach();
    }
}

async fn accept_one(listener: &Listener) -> io::Result<(Socket, Peer, Option<SocketAddr>)> {
    match &listener.socket {
        ListenerSocket::Tcp(socket) => {
            let (stream, peer) = socket.accept().await?;
            stream.get_ref().set_nodelay(true)?;
            let local = stream.get_ref().local_addr()?;
            let canonical = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
            Ok((Socket::Tcp(stream), Peer::Ip(canonical(peer)), Some(canonical(local))))
        }
        ListenerSocket::Unix(socket, _) => {
            let (stream, _) = socket.accept().await?;
            Ok((Socket::Unix(stream), Peer::Local, None))
        }
    }
}

/// The connection broke before it was accepted: nothing is wrong with the listener.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionReset | ConnectionAborted | ConnectionRefused | Interrupted | NotConnected | InvalidInput
    )
}

/// Says why in one write that cannot block, and closes.
fn refuse(socket: Socket, text: &[u8]) {
    match socket {
        Socket::Tcp(stream) => say(stream, text, |s| s.shutdown(std::net::Shutdown::Write)),
        Socket::Unix(stream) => say(stream, text, |s| s.shutdown(std::net::Shutdown::Write)),
    }
}

fn say<T>(stream: Async<T>, text: &[u8], end: impl Fn(&T) -> io::Result<()>)
where
    for<'a> &'a T: Write,
{
    let _ = stream.get_ref().write_all(text);
    let _ = end(stream.get_ref());
}
