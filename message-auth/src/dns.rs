//! DNS for the checks: one resolver, bounded caches, time-outs.
//!
//! Query IDs and source ports are random, letters of names have random case, the hosts file is not read. With
//! a trust anchor answers are validated, and what is bogus counts as no answer.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::dnssec::TrustAnchors;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};

use crate::spf::{Answer, PTR_NAMES_MAX, Question};

/// Answers kept; the oldest go first.
const CACHE_ENTRIES: u64 = 16_384;
/// An answer is never believed for longer than this.
const TTL_MAX: Duration = Duration::from_secs(86_400);
/// That there is none is never believed for longer than this.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(900);
/// EDNS payload that no path has to fragment.
const EDNS_PAYLOAD: u16 = 1232;
/// Records of one answer that are looked at; a response holds 64 KiB.
const RECORDS_MAX: usize = 4096;

/// Whom to ask.
#[derive(Clone, Debug)]
pub struct DnsSettings {
    /// Name servers.
    pub servers: Vec<SocketAddr>,
    /// A file of trust anchors; without one nothing is validated.
    pub trust_anchor_file: Option<PathBuf>,
    /// How long one server is waited for, once.
    pub query_timeout: Duration,
}

/// Opens the resolver.
///
/// # Errors
/// A text that says what is wrong with the settings.
pub fn open(settings: &DnsSettings) -> Result<TokioResolver, String> {
    if settings.servers.is_empty() {
        return Err("there are no name servers to ask".into());
    }
    let servers = settings.servers.iter().map(|addr| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = addr.port();
            connection
        });
        NameServerConfig::new(addr.ip(), true, connections.to_vec())
    });
    let mut options = ResolverOpts::default();
    options.timeout = settings.query_timeout;
    options.cache_size = CACHE_ENTRIES;
    options.positive_max_ttl = Some(TTL_MAX);
    options.negative_max_ttl = Some(NEGATIVE_TTL_MAX);
    options.use_hosts_file = ResolveHosts::Never;
    options.case_randomization = true;
    options.edns_payload_len = EDNS_PAYLOAD;
    let config = ResolverConfig::from_name_servers(servers.collect());
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    if let Some(path) = &settings.trust_anchor_file {
        let anchors = TrustAnchors::from_file(path).map_err(|e| format!("{}: {e}", path.display()))?;
        builder = builder.with_trust_anchor(Arc::new(anchors));
    }
    builder.with_options(options).build().map_err(|e| e.to_string())
}

/// Asks one question.
pub async fn ask(resolver: &TokioResolver, question: &Question) -> Answer {
    let (name, kind) = match question {
        Question::Txt(name) => (name_of(name), RecordType::TXT),
        Question::A(name) => (name_of(name), RecordType::A),
        Question::Aaaa(name) => (name_of(name), RecordType::AAAA),
        Question::Mx(name) => (name_of(name), RecordType::MX),
        Question::Ptr(ip) => (Some(Name::from(*ip)), RecordType::PTR),
    };
    let Some(name) = name else { return Answer::Void };
    let lookup = match resolver.lookup(name, kind).await {
        Ok(lookup) => lookup,
        Err(error) => return missing(&error),
    };
    let data = || lookup.answers().iter().map(|r| &r.data).take(RECORDS_MAX);
    let plain = |name: &Name| name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let answer = match kind {
        RecordType::TXT => Answer::Txt(
            data()
                .filter_map(|d| if let RData::TXT(t) = d { Some(t.txt_data.concat()) } else { None })
                .collect(),
        ),
        RecordType::MX => Answer::Mx(
            data()
                .filter_map(|d| if let RData::MX(mx) = d { Some(plain(&mx.exchange)) } else { None })
                .collect(),
        ),
        RecordType::PTR => Answer::Names(
            data().filter_map(|d| if let RData::PTR(p) = d { Some(plain(&p.0)) } else { None }).collect(),
        ),
        _ => Answer::Addresses(
            data()
                .filter_map(|d| match d {
                    RData::A(a) => Some(IpAddr::V4(a.0)),
                    RData::AAAA(a) => Some(IpAddr::V6(a.0)),
                    _ => None,
                })
                .collect(),
        ),
    };
    let empty = match &answer {
        Answer::Txt(list) => list.is_empty(),
        Answer::Mx(list) | Answer::Names(list) => list.is_empty(),
        Answer::Addresses(list) => list.is_empty(),
        Answer::Void | Answer::Failed => false,
    };
    if empty { Answer::Void } else { answer }
}

/// A name from its labels as they are: nothing in them is an escape or an end.
fn name_of(text: &str) -> Option<Name> {
    let mut name = Name::from_labels(text.split('.').map(str::as_bytes)).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn missing(error: &NetError) -> Answer {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none))
            if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
        {
            Answer::Void
        }
        _ => Answer::Failed,
    }
}

/// The reverse look-up of an address, forward-confirmed (RFC 8601 §3).
pub async fn iprev(resolver: &TokioResolver, ip: IpAddr) -> protocol_core::auth::Iprev {
    use protocol_core::auth::{Iprev, IprevResult};
    let failed = |result| Iprev { result, name: None };
    let names = match ask(resolver, &Question::Ptr(ip)).await {
        Answer::Names(names) => names,
        Answer::Failed => return failed(IprevResult::TempError),
        _ => return failed(IprevResult::PermError),
    };
    let mut result = IprevResult::Fail;
    for name in names.into_iter().take(PTR_NAMES_MAX) {
        let question = if ip.is_ipv4() { Question::A } else { Question::Aaaa };
        match ask(resolver, &question(name.clone())).await {
            Answer::Addresses(addresses) if addresses.contains(&ip) => {
                return Iprev { result: IprevResult::Pass, name: Some(name) };
            }
            Answer::Failed => result = IprevResult::TempError,
            _ => {}
        }
    }
    failed(result)
}
