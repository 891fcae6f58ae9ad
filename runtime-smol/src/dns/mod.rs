//! Questions to the name servers, by hickory-resolver over smol. Answers have the shape that
//! [`protocol_smtp::route`] decides on.
//!
//! Query IDs and source ports are random, letters of the name have random case, and a truncated answer is
//! asked for again over TCP. The hosts file is not read. DNSSEC is not validated.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::{Async, Timer};
use async_trait::async_trait;
use futures_lite::{AsyncRead, AsyncWrite, future};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::{DnsTcpStream, DnsUdpSocket, RuntimeProvider, Spawn, Time};
use hickory_resolver::net::{DnsError, NetError};
use protocol_smtp::route::{AddressAnswer, DnsFailure, Mx, MxAnswer};

use crate::config;
use crate::task;

mod servers;

pub use servers::name_servers;

/// Answers kept; the oldest go first.
const CACHE_ENTRIES: u64 = 16_384;
/// An answer is never believed for longer than this.
const TTL_MAX: Duration = Duration::from_secs(86_400);
/// That there is none is never believed for longer than this.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(900);
/// How long one name server is waited for, once.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a question may take in all.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(25);
/// EDNS payload that no path has to fragment.
const EDNS_PAYLOAD: u16 = 1232;

/// The resolver. One for the process.
pub struct Resolver {
    inner: hickory_resolver::Resolver<Provider>,
    limit: Duration,
}

impl Resolver {
    /// Asks DNS_RESOLVERS, or the system's name servers when there are none.
    pub fn open(dns: &config::Dns) -> Result<Resolver, String> {
        Resolver::with_timeouts(dns, QUERY_TIMEOUT, LOOKUP_TIMEOUT)
    }

    fn with_timeouts(dns: &config::Dns, query: Duration, limit: Duration) -> Result<Resolver, String> {
        let config = if dns.resolvers.is_empty() {
            let (system, _) = hickory_resolver::system_conf::read_system_conf()
                .map_err(|e| format!("the system names no DNS servers ({e}): set DNS_RESOLVERS"))?;
            ResolverConfig::from_name_servers(system.name_servers().to_vec())
        } else {
            let mut servers = Vec::new();
            for host in &dns.resolvers {
                let addrs = host.resolve().map_err(|e| format!("DNS_RESOLVERS: {host}: {e}"))?;
                servers.extend(addrs.into_iter().map(server));
            }
            ResolverConfig::from_name_servers(servers)
        };
        if config.name_servers().is_empty() {
            return Err("the system names no DNS servers: set DNS_RESOLVERS".into());
        }
        let mut options = ResolverOpts::default();
        options.timeout = query;
        options.cache_size = CACHE_ENTRIES;
        options.positive_max_ttl = Some(TTL_MAX);
        options.negative_max_ttl = Some(NEGATIVE_TTL_MAX);
        options.use_hosts_file = ResolveHosts::Never;
        options.case_randomization = true;
        options.edns_payload_len = EDNS_PAYLOAD;
        let resolver =
            hickory_resolver::Resolver::builder_with_config(config, Provider).with_options(options).build();
        Ok(Resolver { inner: resolver.map_err(|e| e.to_string())?, limit })
    }

    /// The MX records of a domain (an A-label).
    pub async fn lookup_mx(&self, domain: &str) -> MxAnswer {
        let lookup = match self.ask(domain, RecordType::MX).await {
            Ok(lookup) => lookup,
            Err(Missing::NxDomain) => return MxAnswer::NxDomain,
            Err(Missing::NoData) => return MxAnswer::NoData,
            Err(Missing::Failed(why)) => return MxAnswer::Failed(why),
        };
        let records: Vec<Mx> = lookup
            .answers()
            .iter()
            .filter_map(|r| match &r.data {
                RData::MX(mx) => Some(Mx { preference: mx.preference, exchange: mx.exchange.to_ascii() }),
                _ => None,
            })
            .collect();
        if records.is_empty() { MxAnswer::NoData } else { MxAnswer::Records(records) }
    }

    /// The addresses of a host, of both families.
    pub async fn lookup_ip(&self, host: &str) -> AddressAnswer {
        let (v4, v6) = (self.addresses(host, RecordType::A), self.addresses(host, RecordType::AAAA));
        let (v4, v6) = future::zip(v4, v6).await;
        let mut found = Vec::new();
        let mut failure = None;
        for answer in [v6, v4] {
            match answer {
                Ok(addresses) => found.extend(addresses),
                Err(Missing::Failed(why)) => failure = Some(why),
                Err(_) => {}
            }
        }
        match (found.is_empty(), failure) {
            (false, _) => AddressAnswer::Addresses(found),
            (true, Some(why)) => AddressAnswer::Failed(why),
            (true, None) => AddressAnswer::None,
        }
    }

    /// The name of an address, when one is published that leads back to it (forward-confirmed). Without
    /// final dot.
    pub async fn lookup_ptr(&self, ip: IpAddr) -> Option<String> {
        let lookup = self.ask(&Name::from(ip).to_ascii(), RecordType::PTR).await.ok()?;
        let name = lookup.answers().iter().find_map(|r| match &r.data {
            RData::PTR(name) => Some(name.0.to_ascii()),
            _ => None,
        })?;
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if !config::is_hostname(&name) {
            return None;
        }
        match self.lookup_ip(&name).await {
            AddressAnswer::Addresses(addresses) if addresses.contains(&ip) => Some(name),
            _ => None,
        }
    }

    /// The texts of the TXT records at a name (an A-label), their pieces joined; none when there are none.
    pub async fn lookup_txt(&self, name: &str) -> Result<Vec<String>, DnsFailure> {
        let lookup = match self.ask(name, RecordType::TXT).await {
            Ok(lookup) => lookup,
            Err(Missing::NxDomain | Missing::NoData) => return Ok(Vec::new()),
            Err(Missing::Failed(why)) => return Err(why),
        };
        let texts = lookup.answers().iter().filter_map(|r| match &r.data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        });
        Ok(texts.collect())
    }

    async fn addresses(&self, host: &str, kind: RecordType) -> Result<Vec<IpAddr>, Missing> {
        let lookup = self.ask(host, kind).await?;
        let addresses = lookup.answers().iter().filter_map(|r| match &r.data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(a) => Some(IpAddr::V6(a.0)),
            _ => None,
        });
        Ok(addresses.collect())
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Lookup, Missing> {
        let mut name = Name::from_ascii(name).map_err(|_| Missing::Failed(DnsFailure::ServFail))?;
        // A name with its final dot is asked for as it is: no search list.
        name.set_fqdn(true);
        let lookup = async { self.inner.lookup(name, kind).await.map_err(|e| why(&e)) };
        future::or(lookup, async {
            Timer::after(self.limit).await;
            Err(Missing::Failed(DnsFailure::Timeout))
        })
        .await
    }
}

fn server(addr: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = addr.port();
        connection
    });
    NameServerConfig::new(addr.ip(), true, connections.to_vec())
}

/// Why there are no records.
#[derive(Debug, PartialEq)]
enum Missing {
    NxDomain,
    NoData,
    Failed(DnsFailure),
}

fn why(error: &NetError) -> Missing {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Missing::NxDomain,
            ResponseCode::NoError => Missing::NoData,
            _ => Missing::Failed(DnsFailure::ServFail),
        },
        NetError::Timeout => Missing::Failed(DnsFailure::Timeout),
        NetError::Io(e) if e.kind() == io::ErrorKind::TimedOut => Missing::Failed(DnsFailure::Timeout),
        _ => Missing::Failed(DnsFailure::ServFail),
    }
}

/// Sockets, timers and tasks for hickory.
#[derive(Clone, Copy)]
struct Provider;

impl RuntimeProvider for Provider {
    type Handle = Provider;
    type Timer = SmolTime;
    type Udp = Udp;
    type Tcp = Tcp;

    fn create_handle(&self) -> Provider {
        Provider
    }

    fn connect_tcp(
        &self,
        server_addr: SocketAddr,
        _bind_addr: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Tcp>>>> {
        Box::pin(async move {
            let connect = async {
                let stream = Async::<TcpStream>::connect(server_addr).await?;
                stream.get_ref().set_nodelay(true)?;
                Ok(Tcp(stream))
            };
            future::or(connect, async {
                Timer::after(timeout.unwrap_or(QUERY_TIMEOUT)).await;
                Err(io::ErrorKind::TimedOut.into())
            })
            .await
        })
    }

    fn bind_udp(
        &self,
        local_addr: SocketAddr,
        _server_addr: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Udp>>>> {
        Box::pin(async move { Async::<UdpSocket>::bind(local_addr).map(Udp) })
    }
}

impl Spawn for Provider {
    fn spawn_bg(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        task::spawn(work).detach();
    }
}

struct SmolTime;

#[async_trait]
impl Time for SmolTime {
    async fn delay_for(duration: Duration) {
        Timer::after(duration).await;
    }

    async fn timeout<F: 'static + Future + Send>(duration: Duration, work: F) -> io::Result<F::Output> {
        future::or(async { Ok(work.await) }, async {
            Timer::after(duration).await;
            Err(io::ErrorKind::TimedOut.into())
        })
        .await
    }
}

struct Udp(Async<UdpSocket>);

#[async_trait]
impl DnsUdpSocket for Udp {
    type Time = SmolTime;

    fn poll_recv_from(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        loop {
            match self.0.get_ref().recv_from(buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                done => return Poll::Ready(done),
            }
            std::task::ready!(self.0.poll_readable(cx))?;
        }
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, buf: &[u8], target: SocketAddr) -> Poll<io::Result<usize>> {
        loop {
            match self.0.get_ref().send_to(buf, target) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                done => return Poll::Ready(done),
            }
            std::task::ready!(self.0.poll_writable(cx))?;
        }
    }
}

struct Tcp(Async<TcpStream>);

impl DnsTcpStream for Tcp {
    type Time = SmolTime;
}

impl AsyncRead for Tcp {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

#[cfg(test)]
mod tests;
