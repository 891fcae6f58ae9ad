//! Requests to other servers over HTTPS: for each a connection of its own, to an address that was checked.
//! Redirects are not followed, nothing is decompressed, and what comes back has a limit in octets and in time.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use async_io::{Async, Timer};
use bytes::Bytes;
use futures_lite::{AsyncRead, AsyncWrite, future};
use futures_rustls::TlsConnector;
use futures_rustls::client::TlsStream;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::Builder;
use hyper::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Request, Uri};
use protocol_smtp::route::{AddressAnswer, is_public};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use smol_hyper::rt::FuturesIo;

use crate::config::is_hostname;
use crate::dns::Resolver;
use crate::tls::ClientTls;

/// The port of HTTPS.
pub const PORT: u16 = 443;
/// Octets of an answer's header.
const HEADER_MAX: usize = 16 * 1024;
/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A host name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

impl Target {
    /// Reads an `https` URL with a host name in it. One with a user's name or an address is refused.
    pub fn parse(url: &str) -> Option<Target> {
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority().filter(|a| !a.as_str().contains('@'))?;
        let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
        let is_name = is_hostname(&host) && host.parse::<IpAddr>().is_err();
        if uri.scheme_str() != Some("https") || !is_name {
            return None;
        }
        let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        Some(Target { host, port: authority.port_u16().unwrap_or(PORT), path })
    }
}

/// What an answer may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets of its body.
    pub octets: usize,
    /// From the look-up of the host to the last octet.
    pub time: Duration,
}

/// An answer, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// `Content-Type`, empty when absent.
    pub content_type: String,
    /// Its content.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The host was not found, not reached, or did not answer in time.
    Unreached(String),
    /// Its certificate is not valid.
    Certificate(String),
    /// What came is no HTTP.
    Http(String),
    /// The body is longer than its limit.
    TooLong,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Unreached(why) | Fault::Certificate(why) | Fault::Http(why) => f.write_str(why),
            Fault::TooLong => f.write_str("the answer is too long"),
        }
    }
}

/// What a certificate must be worth.
#[derive(Clone, Copy)]
enum Trust {
    Valid,
    Any,
}

/// The client.
#[derive(Clone)]
pub struct Https {
    resolver: Arc<Resolver>,
    tls: ClientTls,
    allow_private: bool,
}

impl Https {
    /// Over these name servers and roots. Without `allow_private` only public addresses are dialled.
    pub fn new(resolver: Arc<Resolver>, tls: ClientTls, allow_private: bool) -> Https {
        Https { resolver, tls, allow_private }
    }

    /// Whether private addresses may be dialled.
    pub fn allows_private(&self) -> bool {
        self.allow_private
    }

    /// Asks for what is there. The certificate must be valid.
    pub async fn get(&self, target: &Target, limits: Limits) -> Result<Answer, Fault> {
        self.bounded(target, Method::GET, &[], Trust::Valid, Bytes::new(), limits).await
    }

    /// Hands something in. The certificate must be valid.
    pub async fn deliver(
        &self,
        target: &Target,
        fields: &[(&str, &str)],
        body: Vec<u8>,
        limits: Limits,
    ) -> Result<Answer, Fault> {
        self.bounded(target, Method::POST, fields, Trust::Valid, Bytes::from(body), limits).await
    }

    /// Hands in a report, whatever the certificate is worth: that TLS fails is what it may have to tell
    /// (RFC 8460 §3).
    pub async fn post(
        &self,
        target: &Target,
        content_type: &str,
        body: Vec<u8>,
        limits: Limits,
    ) -> Result<Answer, Fault> {
        let fields = [(CONTENT_TYPE.as_str(), content_type)];
        self.bounded(target, Method::POST, &fields, Trust::Any, Bytes::from(body), limits).await
    }

    async fn bounded(
        &self,
        target: &Target,
        method: Method,
        fields: &[(&str, &str)],
        trust: Trust,
        body: Bytes,
        limits: Limits,
    ) -> Result<Answer, Fault> {
        let asked = async {
            let config = match trust {
                Trust::Valid => self.tls.verifying(),
                Trust::Any => self.tls.recording().map(|(config, _)| config),
            };
            let config = config.map_err(|e| Fault::Unreached(e.0))?;
            let stream = self.connect(target, config, limits.time / 3).await?;
            let request = request(target, method, fields, body)?;
            exchange(stream, request, limits.octets).await
        };
        let late = async {
            Timer::after(limits.time).await;
            Err(Fault::Unreached(format!("no whole answer within {} s", limits.time.as_secs())))
        };
        future::or(asked, late).await
    }

    /// Dials the addresses that may be dialled, one after the other, and proves the first that answers.
    async fn connect(
        &self,
        target: &Target,
        config: Arc<ClientConfig>,
        each: Duration,
    ) -> Result<TlsStream<Async<TcpStream>>, Fault> {
        let unreached = |why: String| Fault::Unreached(format!("{}: {why}", target.host));
        let addresses = match self.resolver.lookup_ip(&target.host).await {
            AddressAnswer::Addresses(addresses) => addresses,
            AddressAnswer::None => return Err(unreached("it has no address".into())),
            AddressAnswer::Failed(why) => return Err(unreached(why.text().into())),
        };
        let dialled = addresses.into_iter().filter(|a| self.allow_private || is_public(*a));
        let mut last = unreached("it has no address that may be dialled".into());
        for address in dialled.take(ADDRESSES_MAX) {
            let dial = async {
                let stream = Async::<TcpStream>::connect(SocketAddr::new(address, target.port)).await?;
                stream.get_ref().set_nodelay(true)?;
                io::Result::Ok(stream)
            };
            let late = async {
                Timer::after(each).await;
                Err(io::ErrorKind::TimedOut.into())
            };
            match future::or(dial, late).await {
                Ok(stream) => return secure(target, config, stream).await,
                Err(error) => last = unreached(format!("{address}: {error}")),
            }
        }
        Err(last)
    }
}

async fn secure(
    target: &Target,
    config: Arc<ClientConfig>,
    stream: Async<TcpStream>,
) -> Result<TlsStream<Async<TcpStream>>, Fault> {
    let name = ServerName::try_from(target.host.clone()).map_err(|e| Fault::Unreached(e.to_string()))?;
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| {
        let why = format!("{}: {error}", target.host);
        match error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                Fault::Certificate(why)
            }
            _ => Fault::Unreached(why),
        }
    })
}

fn request(
    target: &Target,
    method: Method,
    fields: &[(&str, &str)],
    body: Bytes,
) -> Result<Request<Full<Bytes>>, Fault> {
    let host = match target.port {
        PORT => target.host.clone(),
        port => format!("{}:{port}", target.host),
    };
    let mut request = Request::builder()
        .method(method)
        .uri(&target.path)
        .header(HOST, host)
        .header(USER_AGENT, "inbox")
        .header(ACCEPT_ENCODING, "identity")
        .header(CONNECTION, "close");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body)).map_err(|e| Fault::Http(e.to_string()))
}

/// One request and its answer, of at most so many octets, on a connection that was made for it.
pub(crate) async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    octets: usize,
) -> Result<Answer, Fault>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |e: hyper::Error| Fault::Http(e.to_string());
    let mut builder = Builder::new();
    builder.max_buf_size(HEADER_MAX);
    let (mut sender, connection) = builder.handshake(FuturesIo::new(stream)).await.map_err(broken)?;
    let asked = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let content_type = content_type.unwrap_or("").to_owned();
        let body =
            Limited::new(response.into_body(), octets).collect().await.map_err(|error| match error
                .downcast::<LengthLimitError>(
            ) {
                Ok(_) => Fault::TooLong,
                Err(error) => Fault::Http(error.to_string()),
            })?;
        Ok(Answer { status, content_type, body: body.to_bytes().to_vec() })
    };
    // The connection is driven until the answer is there, which may be after its own end.
    let driven = async {
        let _ = connection.await;
        future::pending().await
    };
    future::or(asked, driven).await
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;
    use crate::task::block_on;
    use crate::world::{Authority, Dir, Names, Web};

    #[test]
    fn hg11_a_host_that_never_comes_to_an_end_is_left() {
        let dir = Dir::new("https-slow");
        let roots = dir.path().join("roots.pem");
        let authority = Authority::new(&roots);
        let resolver = Arc::new(Resolver::open(&Names::start().1).unwrap());
        let https = Https::new(resolver, ClientTls::open(Some(&roots)).unwrap(), true);
        let target = |port| Target { host: "a.test".into(), port, path: "/".into() };
        let limits = Limits { octets: 1_024, time: Duration::from_millis(1_500) };
        // One that says nothing, not even in TLS.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = silent.local_addr().unwrap().port();
        std::thread::spawn(move || silent.accept().map(|(mut s, _)| s.read_to_end(&mut Vec::new())));
        let answer = block_on(https.get(&target(port), limits));
        assert!(
            matches!(&answer, Err(Fault::Unreached(why)) if why.contains("no whole answer")),
            "{answer:?}"
        );
        // One that sends more than anybody wants: what stands beyond the limit is not waited for.
        let web = Web::start(authority.identity(&["a.test"]));
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
        web.answer(format!("{head}{}", "x".repeat(100_000)));
        assert_eq!(block_on(https.get(&target(web.port()), limits)), Err(Fault::TooLong));
        // Exactly so much is taken.
        for (octets, good) in [(1_024, true), (1_025, false)] {
            let body = "x".repeat(octets);
            web.answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {octets}\r\n\r\n{body}"));
            assert_eq!(block_on(https.get(&target(web.port()), limits)).is_ok(), good, "{octets}");
        }
    }

    #[test]
    fn only_https_to_a_host_by_its_name() {
        let target = |host: &str, port, path: &str| Target { host: host.into(), port, path: path.into() };
        for (url, expected) in [
            ("https://r.example/v1?a=b", Some(target("r.example", 443, "/v1?a=b"))),
            ("https://R.Example.:8443", Some(target("r.example", 8443, "/"))),
            ("https://r.example/x#y", Some(target("r.example", 443, "/x"))),
            ("http://r.example/", None),
            ("https://user@r.example/", None),
            ("https://192.0.2.1/", None),
            ("https://[2001:db8::1]/", None),
            ("https:///x", None),
            ("/x", None),
            ("https://r.example/a b", None),
        ] {
            assert_eq!(Target::parse(url), expected, "{url}");
        }
    }
}
