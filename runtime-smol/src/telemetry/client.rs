//! The way to the collector: one HTTP/1.1 request on a connection of its own for each batch, over TLS for `https`.
//! It runs on the thread of the exporter, within its time, and reads no more than it must.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_io::{Async, Timer};
use bytes::Bytes;
use futures_lite::future;
use futures_rustls::TlsConnector;
use http_body_util::Full;
use hyper::header::{ACCEPT_ENCODING, CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response, Uri};
use opentelemetry_http::{HttpClient, HttpError};
use rustls_pki_types::ServerName;

use crate::https::exchange;
use crate::metrics::METRICS;
use crate::tls::ClientTls;

/// Octets of an answer.
const ANSWER_MAX: usize = 64 * 1024;

/// The client of one collector.
pub struct Collector {
    tls: ClientTls,
    time: Duration,
    /// The last request came to nothing, and that was said.
    failing: AtomicBool,
}

impl Collector {
    /// A request may take so long, from the look-up of the host on.
    pub fn new(tls: ClientTls, time: Duration) -> Collector {
        Collector { tls, time, failing: AtomicBool::new(false) }
    }

    async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let uri = request.uri().clone();
        let host = uri.host().ok_or("the endpoint names no host")?.trim_matches(['[', ']']).to_owned();
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = connect(&host, port).await.map_err(|e| format!("{host}: {e}"))?;
        let request = prepared(request, &uri)?;
        let answer = if secure {
            let config = self.tls.verifying().map_err(|e| e.0)?;
            let name = ServerName::try_from(host.clone()).map_err(|e| e.to_string())?;
            let stream = TlsConnector::from(config).connect(name, stream).await;
            exchange(stream.map_err(|e| format!("{host}: {e}"))?, request, ANSWER_MAX).await
        } else {
            exchange(stream, request, ANSWER_MAX).await
        };
        let answer = answer.map_err(|fault| fault.to_string())?;
        Response::builder().status(answer.status).body(Bytes::from(answer.body)).map_err(|e| e.to_string())
    }

    /// Says that the collector cannot be reached when that begins, and when it is over; not for every batch.
    fn note(&self, outcome: &Result<Response<Bytes>, String>) {
        let failure = match outcome {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status().as_u16())),
            Err(why) => Some(why.clone()),
        };
        METRICS.trace_exports.add(if failure.is_some() { "failed" } else { "taken" });
        match failure {
            Some(why) if !self.failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(why, "traces cannot be exported; what waits too long is dropped");
            }
            None if self.failing.swap(false, Ordering::Relaxed) => {
                tracing::info!("traces are exported again");
            }
            _ => {}
        }
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let late = async {
            Timer::after(self.time).await;
            Err(format!("no whole answer within {} ms", self.time.as_millis()))
        };
        let outcome = future::or(self.ask(request), late).await;
        self.note(&outcome);
        outcome.map_err(Into::into)
    }
}

/// The first of the host's addresses that answers. The operator named it, so it may be a private one.
async fn connect(host: &str, port: u16) -> io::Result<Async<TcpStream>> {
    let asked = (host.to_owned(), port);
    let addresses: Vec<SocketAddr> =
        blocking::unblock(move || asked.to_socket_addrs().map(Iterator::collect)).await?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    for address in addresses {
        match Async::<TcpStream>::connect(address).await {
            Ok(stream) => {
                stream.get_ref().set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// In origin form (RFC 9112 §3.2.1), with the fields every request has.
fn prepared(request: Request<Bytes>, uri: &Uri) -> Result<Request<Full<Bytes>>, String> {
    let authority = uri.authority().ok_or("the endpoint names no host")?.as_str();
    // What stands before an @ would be a secret in the clear (RFC 9110 §4.2.4).
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (mut head, body) = request.into_parts();
    head.uri =
        uri.path_and_query().map_or("/", |p| p.as_str()).parse().map_err(|_| "the endpoint has no path")?;
    head.headers.insert(HOST, HeaderValue::from_str(host).map_err(|e| e.to_string())?);
    head.headers.insert(USER_AGENT, HeaderValue::from_static("inbox"));
    head.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(Request::from_parts(head, Full::new(body)))
}
