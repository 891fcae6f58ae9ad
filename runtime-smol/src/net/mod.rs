//! Listeners: which ports there are, binding them, accepting within limits, and stopping.

mod accept;
mod bind;
mod limits;
mod shutdown;
#[cfg(test)]
mod tests;

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;

use async_io::Async;

pub use accept::{Refusals, accept_all};
pub(crate) use bind::unix_listener;
pub use bind::{BindError, Listener, bind, raise_descriptor_limit};
pub use limits::{Limits, Slot, network};
pub use shutdown::{Session, Sessions, Signal, signals};

use crate::app::Peer;
use crate::tls::Alpn;

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Service {
    Transfer,
    Submission,
    Submissions,
    Lmtp,
    Imap,
    Imaps,
    Http,
    Https,
}

impl Service {
    /// The variable that names its port.
    pub fn variable(self) -> &'static str {
        match self {
            Service::Transfer => "SMTP_TRANSFER_PORT",
            Service::Submission => "SMTP_SUBMISSION_PORT",
            Service::Submissions => "SMTP_SUBMISSIONS_PORT",
            Service::Lmtp => "LMTP_SOCKET",
            Service::Imap => "IMAP_PORT",
            Service::Imaps => "IMAPS_PORT",
            Service::Http => "HTTP_PORT",
            Service::Https => "HTTPS_PORT",
        }
    }

    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Service::Transfer => "transfer",
            Service::Submission => "submission",
            Service::Submissions => "submissions",
            Service::Lmtp => "lmtp",
            Service::Imap => "imap",
            Service::Imaps => "imaps",
            Service::Http => "http",
            Service::Https => "https",
        }
    }

    /// Whether TLS comes before the first word.
    pub fn implicit_tls(self) -> bool {
        matches!(self, Service::Submissions | Service::Imaps | Service::Https)
    }

    /// The protocol name of its TLS.
    pub fn alpn(self) -> Alpn {
        match self {
            Service::Transfer | Service::Submission | Service::Submissions | Service::Lmtp => Alpn::Smtp,
            Service::Imap | Service::Imaps => Alpn::Imap,
            Service::Http | Service::Https => Alpn::Http,
        }
    }
}

/// An accepted connection's socket. TCP has TCP_NODELAY set.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Socket {
    Tcp(Async<TcpStream>),
    Unix(Async<UnixStream>),
}

/// A connection within the limits.
pub struct Incoming {
    /// What it came to.
    pub service: Service,
    /// The socket.
    pub socket: Socket,
    /// The other side.
    pub peer: Peer,
    /// Our side; none for a Unix socket.
    pub local: Option<SocketAddr>,
    /// Its place among the connections not yet authenticated.
    pub slot: Slot,
    /// Counts it among the open sessions, and says when the process stops.
    pub session: Session,
}
