//! HTTP: hyper reads and writes it, tide routes it. Nothing else here knows either.
//!
//! HTTP/1.1 on HTTP_PORT; on HTTPS_PORT HTTP/2 too, as the client's protocol names say. What comes over HTTP/1.1 passes
//! a [guard](guard::Guard) first, which refuses what two servers could read differently.

mod body;
mod framing;
mod guard;
mod head;
mod routes;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use futures_lite::{AsyncRead, AsyncWrite, future};
use futures_rustls::TlsAcceptor;
use hyper::body::{Body, Incoming as HyperBody};
use hyper::header::{ALLOW, CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, UPGRADE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use smol_hyper::rt::{FuturesIo, SmolTimer};

use crate::api::{self, Api, Client};
use crate::dav::Dav;
use crate::metrics::METRICS;
use crate::net::{Incoming, Session, Socket};
use crate::task;
use crate::tls::{Alpn, ServerTls};

use body::{Inbound, Outbound};
use guard::{Answers, Guard, HalfClose};
pub use routes::{Health, OwnPolicy, Ping};

/// Octets of a request's line and header, over HTTP/1.1 and (decoded) over HTTP/2: 431 beyond.
const HEADER_MAX: usize = 8 * 1024;
/// Octets that a request's body may announce: 413 beyond. The API decides for itself.
const BODY_MAX: u64 = 1024 * 1024;
/// How long a client may take for its handshake.
const TLS_LIMIT: Duration = Duration::from_secs(10);
/// How long a client may take for a request's header, and a connection may be idle.
const HEADER_LIMIT: Duration = Duration::from_secs(30);
/// After this a connection is told to end, so that none is kept open for ever by a trickle.
const CONNECTION_LIMIT: Duration = Duration::from_secs(600);
/// How long the end of a connection may take.
const END_LIMIT: Duration = Duration::from_secs(20);
/// HTTP/2 streams at once on one connection.
const STREAMS_MAX: u32 = 64;

/// What a connection over the limits is told (SPEC: 503).
pub const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 10\r\nConnection: close\r\n\r\n";

/// The routes and what they answer from.
#[derive(Clone)]
pub struct Http {
    app: tide::Server<routes::State>,
    api: Option<Arc<Api>>,
    dav: Option<Arc<Dav>>,
    tls: Arc<ServerTls>,
}

impl Http {
    /// With these certificates, this health, the policies of our domains, and the API.
    pub fn new(tls: Arc<ServerTls>, health: Arc<Health>, policy: OwnPolicy, api: Option<Arc<Api>>) -> Http {
        let mut app = routes::routes(health, policy);
        if let Some(api) = &api {
            api.mount(&mut app);
        }
        Http { app, api, dav: None, tls }
    }

    /// And with DAV.
    pub fn with_dav(self, dav: Arc<Dav>) -> Http {
        Http { dav: Some(dav), ..self }
    }

    /// Serves one connection to its end.
    pub async fn serve(self, incoming: Incoming) {
        let Incoming { service, socket, peer, slot, session, .. } = incoming;
        let (Socket::Tcp(stream), Some(address)) = (socket, peer.ip()) else { return };
        let client = Client { peer: address, tls: service.implicit_tls() };
        let served = if service.implicit_tls() {
            let acceptor = TlsAcceptor::from(self.tls.identity().config(Alpn::Http));
            let handshake = async { acceptor.accept(stream).await };
            match within(TLS_LIMIT, handshake).await {
                Ok(stream) => {
                    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    self.connection(stream, h2, client, &session).await
                }
                Err(e) => {
                    METRICS.tls_failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    Err(e.to_string())
                }
            }
        } else {
            self.connection(stream, false, client, &session).await
        };
        if let Err(error) = served {
            tracing::debug!(listener = service.name(), %peer, error, "HTTP connection ended");
        }
        drop(slot);
    }

    async fn connection<S>(
        &self,
        stream: S,
        h2: bool,
        client: Client,
        session: &Session,
    ) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + HalfClose + Send + Unpin + 'static,
    {
        let http = self.clone();
        let answers = Answers::default();
        let told = answers.clone();
        let service = service_fn(move |request| {
            let (http, told) = (http.clone(), told.clone());
            async move {
                let response = http.answer(request, client).await;
                told.answered(response.status() == StatusCode::SWITCHING_PROTOCOLS);
                Ok::<_, Infallible>(response)
            }
        });
        if h2 {
            let mut builder = hyper::server::conn::http2::Builder::new(Spawner);
            builder
                .timer(SmolTimer::new())
                .max_header_list_size(HEADER_MAX as u32)
                .max_concurrent_streams(STREAMS_MAX)
                .keep_alive_interval(HEADER_LIMIT)
                .keep_alive_timeout(END_LIMIT);
            let connection = pin!(builder.serve_connection(FuturesIo::new(stream), service));
            run(connection, session, |c| c.graceful_shutdown()).await
        } else {
            let mut builder = hyper::server::conn::http1::Builder::new();
            // The limit of heads is the guard's: hyper only has to have room for one.
            builder.timer(SmolTimer::new()).header_read_timeout(HEADER_LIMIT).max_buf_size(2 * HEADER_MAX);
            let io = FuturesIo::new(Guard::new(stream, HEADER_MAX, answers));
            let connection = pin!(builder.serve_connection(io, service).with_upgrades());
            run(connection, session, |c| c.graceful_shutdown()).await
        }
    }

    async fn answer(&self, request: Request<HyperBody>, client: Client) -> Response<Outbound> {
        let is_h2 = request.version() == Version::HTTP_2;
        if let Some(status) = guard::refusal(request.method()) {
            METRICS.http_requests.add("malformed");
            return refused(status, is_h2);
        }
        match self.route(request, client).await {
            Ok(response) => {
                METRICS.http_requests.add(class(response.status()));
                response
            }
            Err(status) => {
                METRICS.http_requests.add(class(status));
                refused(status, is_h2)
            }
        }
    }

    async fn route(
        &self,
        mut request: Request<HyperBody>,
        client: Client,
    ) -> Result<Response<Outbound>, StatusCode> {
        settle_host(&mut request)?;
        if request.uri().path() == "*" {
            return Ok(own_options());
        }
        if let Some(api) = &self.api
            && let Some(upgraded) = api.upgrade(&mut request, client).await
        {
            return switched(upgraded);
        }
        if let Some(dav) = &self.dav
            && Dav::answers(request.uri().path())
        {
            return answer_dav(dav, request, client).await;
        }
        let path = request.uri().path().to_owned();
        let mut request = to_tide(request)?;
        request.ext_mut().insert(client);
        let failed = |_| StatusCode::INTERNAL_SERVER_ERROR;
        let mut response: tide::http::Response = self.app.respond(request).await.map_err(failed)?;
        let mut out = Response::new(Outbound::new(response.take_body()));
        let status: u16 = response.status().into();
        *out.status_mut() = StatusCode::from_u16(status).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        if status == StatusCode::METHOD_NOT_ALLOWED.as_u16() && response.header("allow").is_none() {
            out.headers_mut().insert(ALLOW, HeaderValue::from_static(Api::methods(&path)));
        }
        for (name, values) in response.iter() {
            let Ok(name) = hyper::header::HeaderName::try_from(name.as_str()) else { continue };
            // hyper counts the octets of the body itself.
            if name == CONTENT_LENGTH {
                continue;
            }
            for value in values.iter().filter_map(|v| HeaderValue::from_str(v.as_str()).ok()) {
                out.headers_mut().append(name.clone(), value);
            }
        }
        Ok(out)
    }
}

/// What follows on this connection may not be what it seems.
fn refused(status: StatusCode, is_h2: bool) -> Response<Outbound> {
    let mut response = Response::new(Outbound::empty());
    *response.status_mut() = status;
    if !is_h2 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        ..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

/// DAV has methods, bodies and answers of its own.
async fn answer_dav(
    dav: &Dav,
    request: Request<HyperBody>,
    client: Client,
) -> Result<Response<Outbound>, StatusCode> {
    let (head, body) = request.into_parts();
    let announced = body.size_hint().lower();
    let answer = dav.answer(&head, announced, Inbound::of_file(body), client).await;
    let mut out = Response::new(Outbound::new(answer.body));
    *out.status_mut() = StatusCode::from_u16(answer.status).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            out.headers_mut().append(name, value);
        }
    }
    Ok(out)
}

/// The answer to a request for a WebSocket (RFC 6455 §4.2.2).
fn switched(upgraded: Result<String, u16>) -> Result<Response<Outbound>, StatusCode> {
    let accept =
        upgraded.map_err(|status| StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST))?;
    let mut response = Response::new(Outbound::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = response.headers_mut();
    fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
    fields.insert("sec-websocket-protocol", HeaderValue::from_static("graphql-transport-ws"));
    let accept = HeaderValue::from_str(&accept).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    fields.insert("sec-websocket-accept", accept);
    Ok(response)
}

/// Drives a connection: at the word to stop, and after its longest time, it is told to end.
async fn run<C>(mut connection: Pin<&mut C>, session: &Session, end: fn(Pin<&mut C>)) -> Result<(), String>
where
    C: Future<Output = hyper::Result<()>>,
{
    let until = async {
        let longest = async {
            Timer::after(CONNECTION_LIMIT).await;
        };
        future::or(session.stopping(), longest).await;
        None
    };
    let first = future::or(async { Some(connection.as_mut().await) }, until).await;
    let result = match first {
        Some(result) => result,
        None => {
            end(connection.as_mut());
            let late = async {
                Timer::after(END_LIMIT).await;
                Ok(())
            };
            future::or(connection, late).await
        }
    };
    result.map_err(|e| e.to_string())
}

/// The host that is asked for, in one place: that of the target counts, whatever the Host field says (RFC 9112
/// §3.2.2, RFC 9113 §8.3.1).
fn settle_host(request: &mut Request<HyperBody>) -> Result<(), StatusCode> {
    if request.headers().get_all(HOST).iter().count() > 1 {
        return Err(StatusCode::BAD_REQUEST);
    }
    let authority = request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    if let Some(authority) = authority {
        request.headers_mut().insert(HOST, authority.map_err(|_| StatusCode::BAD_REQUEST)?);
    }
    Ok(())
}

/// What the server as a whole can do (RFC 9110 §9.3.7).
fn own_options() -> Response<Outbound> {
    let mut response = Response::new(Outbound::empty());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, OPTIONS"));
    response
}

fn to_tide(request: Request<HyperBody>) -> Result<tide::http::Request, StatusCode> {
    let (head, body) = request.into_parts();
    let method: tide::http::Method = head.method.as_str().parse().map_err(|_| StatusCode::NOT_IMPLEMENTED)?;
    // RFC 9110 §9.1: `get` is another method than `GET`.
    if Method::from_bytes(method.as_ref().as_bytes()).ok().as_ref() != Some(&head.method) {
        return Err(StatusCode::NOT_IMPLEMENTED);
    }
    let path = head.uri.path_and_query().map_or("/", |p| p.as_str());
    let url = tide::http::Url::parse("http://localhost").and_then(|base| base.join(path));
    // A path that begins with two slashes would otherwise name a host.
    let url = url.ok().filter(|u| u.host_str() == Some("localhost")).ok_or(StatusCode::BAD_REQUEST)?;
    let announced = body.size_hint().lower();
    let limit = if Api::takes_large_bodies(url.path()) { api::BODY_MAX as u64 } else { BODY_MAX };
    if announced > limit {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let mut out = tide::http::Request::new(method, url);
    for (name, value) in &head.headers {
        let value = value.to_str().map_err(|_| StatusCode::BAD_REQUEST)?;
        out.append_header(name.as_str(), value);
    }
    if !body.is_end_stream() {
        let mime = out.header("content-type").map(|v| v.last().as_str().to_owned());
        let length = body.size_hint().exact().and_then(|octets| usize::try_from(octets).ok());
        out.set_body(tide::Body::from_reader(Inbound::new(body), length));
        match mime {
            Some(mime) => drop(out.insert_header("content-type", mime)),
            None => drop(out.remove_header("content-type")),
        }
    }
    Ok(out)
}

/// Puts hyper's HTTP/2 streams on our executor.
#[derive(Clone, Copy)]
struct Spawner;

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, work: F) {
        task::spawn(work).detach();
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    future::or(work, async {
        Timer::after(limit).await;
        Err(io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long"))
    })
    .await
}
