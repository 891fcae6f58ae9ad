//! Questions to the name servers, by hickory-resolver over smol. Answers have the shape that
//! [`protocol_smtp::route`] decides on.
//!
//! Query IDs and source ports are random, letters of the name have random case, and a truncated answer is
//! asked for again over TCP. The hosts file is not read.
//!
//! There are two resolvers over the same name servers. One believes what it is told; it is asked for what decides
//! nothing about trust. The other validates by DNSSEC ([`secure`]), and is asked for what leads to a host
//! ([`facts`]) when DANE or REQUIRETLS wants proof.

mod anchors;
mod answer;
mod cache;
mod facts;
mod limited;
mod provider;
mod secure;
mod servers;
#[cfg(test)]
mod tests;
mod wildcard;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_io::Timer;
use futures_lite::future;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use protocol_smtp::route::{AddressAnswer, DnsFailure};

use crate::config;
use provider::Provider;
use secure::Validator;

pub use facts::{Asking, Seen};
pub use servers::name_servers;

/// Answers kept; the oldest go first.
const CACHE_ENTRIES: usize = 16_384;
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
    validator: Validator,
    limit: Duration,
}

impl Resolver {
    /// Asks DNS_RESOLVERS, or the system's name servers when there are none.
    pub fn open(dns: &config::Dns) -> Result<Resolver, String> {
        Resolver::with_timeouts(dns, QUERY_TIMEOUT, LOOKUP_TIMEOUT)
    }

    fn with_timeouts(dns: &config::Dns, query: Duration, limit: Duration) -> Result<Resolver, String> {
        let servers: Vec<NameServerConfig> = name_servers(dns)?.into_iter().map(server).collect();
        let config = ResolverConfig::from_name_servers(servers);
        let mut options = ResolverOpts::default();
        options.timeout = query;
        options.cache_size = CACHE_ENTRIES as u64;
        options.positive_max_ttl = Some(TTL_MAX);
        options.negative_max_ttl = Some(NEGATIVE_TTL_MAX);
        options.use_hosts_file = ResolveHosts::Never;
        options.case_randomization = true;
        options.edns_payload_len = EDNS_PAYLOAD;
        let validator = Validator::open(dns, config.name_servers().to_vec(), options.clone())?;
        let resolver =
            hickory_resolver::Resolver::builder_with_config(config, Provider).with_options(options).build();
        Ok(Resolver { inner: resolver.map_err(|e| e.to_string())?, validator, limit })
    }

    /// The addresses of a host, of both families, as they are said to be.
    pub async fn lookup_ip(&self, host: &str) -> AddressAnswer {
        self.addresses(host, Asking::Plainly).await.answer
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

    /// The records of a type at a name, as a zone file has them: TXT joined, MX, CNAME and SRV with final dots; none
    /// when there are none, and of other types.
    pub async fn lookup_shown(&self, name: &str, kind: &str) -> Result<Vec<String>, DnsFailure> {
        let asked = match kind {
            "TXT" => return self.lookup_txt(name).await,
            "MX" => RecordType::MX,
            "CNAME" => RecordType::CNAME,
            "SRV" => RecordType::SRV,
            _ => return Ok(Vec::new()),
        };
        let lookup = match self.ask(name, asked).await {
            Ok(lookup) => lookup,
            Err(Missing::NxDomain | Missing::NoData) => return Ok(Vec::new()),
            Err(Missing::Failed(why)) => return Err(why),
        };
        let shown = lookup.answers().iter().filter_map(|r| match &r.data {
            RData::MX(mx) => Some(format!("{} {}", mx.preference, dotted(&mx.exchange))),
            RData::CNAME(alias) => Some(dotted(&alias.0)),
            RData::SRV(srv) => {
                Some(format!("{} {} {} {}", srv.priority, srv.weight, srv.port, dotted(&srv.target)))
            }
            _ => None,
        });
        Ok(shown.collect())
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Lookup, Missing> {
        let mut name = Name::from_ascii(name).map_err(|_| Missing::Failed(DnsFailure::ServFail))?;
        // A name with its final dot is asked for as it is: no search list.
        name.set_fqdn(true);
        self.ask_name(name, kind).await
    }

    async fn ask_name(&self, name: Name, kind: RecordType) -> Result<Lookup, Missing> {
        let lookup = async { self.inner.lookup(name, kind).await.map_err(|e| why(&e)) };
        future::or(lookup, async {
            Timer::after(self.limit).await;
            Err(Missing::Failed(DnsFailure::Timeout))
        })
        .await
    }
}

/// In lower case, with the final dot.
fn dotted(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    if text.ends_with('.') { text } else { text + "." }
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
