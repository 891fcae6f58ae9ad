//! Binds every configured port, or says about all that cannot be bound why.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use async_io::Async;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Type};

use super::Service;
use crate::config::{Config, Listen};

/// Connections the system keeps for us until they are accepted.
const BACKLOG: i32 = 1024;
/// Descriptors that are no connections: database, objects, outbound connections, name servers.
const OTHER_DESCRIPTORS: u64 = 1024;

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    /// What it is for.
    pub service: Service,
    pub(super) socket: ListenerSocket,
}

#[derive(Debug)]
pub(super) enum ListenerSocket {
    Tcp(Async<TcpListener>),
    Unix(Async<UnixListener>, PathBuf),
}

impl Listener {
    /// Where it listens, for the log.
    pub fn place(&self) -> String {
        match &self.socket {
            ListenerSocket::Tcp(socket) => {
                socket.get_ref().local_addr().map_or_else(|e| e.to_string(), |a| a.to_string())
            }
            ListenerSocket::Unix(_, path) => path.display().to_string(),
        }
    }

    /// The port it listens on; `None` for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        match &self.socket {
            ListenerSocket::Tcp(socket) => socket.get_ref().local_addr().ok().map(|a| a.port()),
            ListenerSocket::Unix(..) => None,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let ListenerSocket::Unix(_, path) = &self.socket {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A port that cannot be bound.
#[derive(Debug)]
pub struct BindError {
    service: Service,
    place: String,
    port: Option<u16>,
    error: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variable = self.service.variable();
        write!(f, "{variable}: cannot listen on {}: {}", self.place, self.error)?;
        match (self.error.kind(), self.port) {
            (io::ErrorKind::PermissionDenied, Some(port @ 1..1024)) => write!(
                f,
                "; ports below 1024 need a privilege: give it with `setcap cap_net_bind_service=+ep` on the program \
                 (under systemd AmbientCapabilities=CAP_NET_BIND_SERVICE), or set {variable} to a port from 1024 on \
                 and forward port {port} to it"
            ),
            (io::ErrorKind::AddrInUse, _) => f.write_str("; another program listens there"),
            (io::ErrorKind::AddrNotAvailable, _) => {
                f.write_str("; SERVER_BIND_ADDR names an address that this machine does not have")
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for BindError {}

/// Binds every configured listener on every address of SERVER_BIND_ADDR.
pub fn bind(config: &Config) -> Result<Vec<Listener>, Vec<BindError>> {
    let ports = &config.ports;
    let tcp = [
        (Service::Transfer, ports.smtp_transfer),
        (Service::Submission, ports.smtp_submission),
        (Service::Submissions, ports.smtp_submissions),
        (Service::Imap, ports.imap),
        (Service::Imaps, ports.imaps),
        (Service::Http, ports.http),
        (Service::Https, ports.https),
    ];
    let mut listeners = Vec::new();
    let mut errors = Vec::new();
    let mut add = |service, result: Result<ListenerSocket, (String, Option<u16>, io::Error)>| match result {
        Ok(socket) => listeners.push(Listener { service, socket }),
        Err((place, port, error)) => errors.push(BindError { service, place, port, error }),
    };
    for (service, port) in tcp {
        for ip in port.iter().flat_map(|_| &config.server.bind_addrs) {
            add(service, bind_tcp(SocketAddr::new(*ip, port.unwrap_or(0))));
        }
    }
    match &ports.lmtp {
        None => {}
        Some(Listen::Unix(path)) => add(Service::Lmtp, bind_unix(path)),
        Some(Listen::Tcp(host)) => match host.resolve() {
            Ok(addrs) => addrs.into_iter().for_each(|addr| add(Service::Lmtp, bind_tcp(addr))),
            Err(e) => add(Service::Lmtp, Err((host.to_string(), None, e))),
        },
    }
    if errors.is_empty() { Ok(listeners) } else { Err(errors) }
}

fn bind_tcp(addr: SocketAddr) -> Result<ListenerSocket, (String, Option<u16>, io::Error)> {
    tcp_listener(addr).map(ListenerSocket::Tcp).map_err(|e| (addr.to_string(), Some(addr.port()), e))
}

fn tcp_listener(addr: SocketAddr) -> io::Result<Async<TcpListener>> {
    let socket = socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        // `0.0.0.0,::` names two sockets: the second must not claim the first one's addresses.
        socket.set_only_v6(true)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Async::new(socket.into())
}

fn bind_unix(path: &Path) -> Result<ListenerSocket, (String, Option<u16>, io::Error)> {
    unix_listener(path, 0o660)
        .and_then(Async::new)
        .map(|socket| ListenerSocket::Unix(socket, path.to_owned()))
        .map_err(|e| (path.display().to_string(), None, e))
}

/// Binds a Unix socket; one that a dead process left behind is replaced. Nobody can connect before the
/// mode is set: the socket is bound under another name first.
pub(crate) fn unix_listener(path: &Path, mode: u32) -> io::Result<UnixListener> {
    match UnixStream::connect(path) {
        Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(e) => return Err(e),
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let early = path.with_file_name(name);
    match std::fs::remove_file(&early) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&early)?;
    std::fs::set_permissions(&early, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&early, path)?;
    Ok(listener)
}

/// Raises the limit of open descriptors to the hard one. The warning says when even that is too low for
/// SERVER_MAX_CONNECTIONS.
pub fn raise_descriptor_limit(max_connections: usize) -> Option<String> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        let _ = setrlimit(Resource::Nofile, raised);
    }
    let current = getrlimit(Resource::Nofile).current?;
    let wanted = u64::try_from(max_connections).unwrap_or(u64::MAX).saturating_add(OTHER_DESCRIPTORS);
    (current < wanted).then(|| {
        format!(
            "this process may open {current} files, but SERVER_MAX_CONNECTIONS={max_connections} needs about {wanted}: \
             raise the limit (ulimit -n, LimitNOFILE=) or lower the variable"
        )
    })
}

#[cfg(test)]
pub(super) fn test_error(service: Service, port: u16, error: io::Error) -> BindError {
    BindError { service, place: format!("0.0.0.0:{port}"), port: Some(port), error }
}
