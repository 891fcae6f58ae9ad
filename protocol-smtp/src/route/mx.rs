//! From DNS answers to addresses to dial (RFC 5321 §5.1, RFC 7505).

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use protocol_core::time::Duration;

use super::net::is_public;
use crate::address::Literal;
use crate::queue::{Failure, Origin};
use crate::rng::Rng;
use crate::status::Status;

/// Addresses tried in one attempt.
pub const ADDRESSES_MAX: usize = 5;
/// Addresses of one host tried in one attempt while another host has any.
pub const PER_HOST_MAX: usize = 3;
/// Hosts whose addresses are asked for; a longer MX set is cut behind the best.
pub const HOSTS_MAX: usize = 10;
/// How long a connection is awaited alone before the next address of the same host is dialled beside it.
pub const FALLBACK_DELAY: Duration = Duration::from_millis(250);

/// One MX record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mx {
    /// Lower is better.
    pub preference: u16,
    /// Host name as DNS gave it, with or without its final dot.
    pub exchange: String,
}

/// What the name server said when asked for MX.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MxAnswer {
    /// Records, at least one.
    Records(Vec<Mx>),
    /// The name exists and has none.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// No answer.
    Failed(DnsFailure),
}

/// What the name server said when asked for A and AAAA of a host, both taken together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AddressAnswer {
    /// At least one, of any family.
    Addresses(Vec<IpAddr>),
    /// Neither exists, or the name does not.
    None,
    /// No answer to one of the questions, and no address from the other.
    Failed(DnsFailure),
}

/// Why there is no answer. All are temporary: the name may be fine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DnsFailure {
    /// SERVFAIL, REFUSED or an answer that makes no sense.
    ServFail,
    /// No answer in time.
    Timeout,
    /// Aliases lead in a circle or too far.
    CnameLoop,
    /// DNSSEC proves that the answer was changed on the way.
    Bogus,
}

impl DnsFailure {
    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            DnsFailure::ServFail => "the name server failed",
            DnsFailure::Timeout => "the name server did not answer in time",
            DnsFailure::CnameLoop => "its aliases (CNAME) lead in a circle",
            DnsFailure::Bogus => "the answer does not pass DNSSEC validation",
        }
    }

    /// In words, with the variable that would relax it, if there is one.
    pub fn explained(self) -> String {
        match self {
            DnsFailure::Bogus => format!("{} (SMTP_OUTBOUND_DNSSEC_VALIDATE)", self.text()),
            _ => String::from(self.text()),
        }
    }
}

/// A host that takes mail for a destination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// Lower case, no final dot: the name that a certificate must show.
    pub name: String,
    /// Preference of its MX record; 0 for an implicit MX.
    pub preference: u16,
}

/// Whom to ask for addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hosts {
    /// The destination is an address literal: nothing is asked.
    Literal(IpAddr),
    /// In the order to try them, at most [`HOSTS_MAX`].
    Named {
        /// The hosts.
        hosts: Vec<Host>,
        /// There was no MX: the host is the domain itself.
        implicit: bool,
    },
}

/// Which address families are dialled: `SMTP_OUTBOUND_IP_FAMILY`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Family {
    Any,
    Ipv4,
    Ipv6,
}

/// What restricts the addresses that are dialled.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// Families.
    pub family: Family,
    /// `SMTP_OUTBOUND_ALLOW_PRIVATE_NETWORKS`.
    pub allow_private: bool,
    /// Addresses on which this installation itself takes mail at the port dialled: a host there is ourselves.
    pub own_addresses: &'a [IpAddr],
    /// Where to dial.
    pub port: u16,
}

/// A host with what DNS said of its addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostAddresses {
    /// The host.
    pub host: Host,
    /// Its addresses.
    pub answer: AddressAnswer,
}

/// An address to dial.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The host's name, for its certificate and for logs; an address literal in brackets has none to prove.
    pub host: String,
    /// Where to.
    pub address: IpAddr,
    /// Where to.
    pub port: u16,
}

/// Orders the hosts of `destination` (an A-label domain or an address literal in brackets): by preference,
/// shuffled within one. `own_names` are this installation's own host names, lower case.
pub fn hosts(
    destination: &str,
    answer: &MxAnswer,
    own_names: &[&str],
    seed: [u8; 32],
) -> Result<Hosts, Failure> {
    if let Some(inner) = destination.strip_prefix('[').and_then(|d| d.strip_suffix(']')) {
        return match Literal::parse(inner) {
            Some(Literal::V4(v4)) => Ok(Hosts::Literal(IpAddr::V4(v4))),
            Some(Literal::V6(v6)) => Ok(Hosts::Literal(IpAddr::V6(v6))),
            Some(Literal::General { .. }) | None => {
                Err(fail(Status::NO_SUCH_DOMAIN, format!("{destination} is no address that can be dialled")))
            }
        };
    }
    match answer {
        MxAnswer::Failed(why) => {
            Err(fail(Status::DNS_FAILED, format!("MX of {destination}: {}", why.explained())))
        }
        MxAnswer::NxDomain => {
            let reply = format!("the domain {destination} does not exist");
            Err(Failure { origin: Origin::NoSuchDomain, ..fail(Status::NO_SUCH_DOMAIN, reply) })
        }
        MxAnswer::NoData => {
            // RFC 5321 §5.1: the implicit MX.
            let host = Host { name: canonical(destination), preference: 0 };
            let named = without_own(Vec::from([host]), |h| own_names.contains(&&*h.name), destination)?;
            Ok(Hosts::Named { hosts: named, implicit: true })
        }
        MxAnswer::Records(records) => {
            let named = order(destination, records, own_names, seed)?;
            Ok(Hosts::Named { hosts: named, implicit: false })
        }
    }
}

/// The hosts of a relay: its name alone, or its address.
pub fn relay(host: &str) -> Hosts {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    match bare.parse() {
        Ok(address) => Hosts::Literal(address),
        Err(_) => {
            Hosts::Named { hosts: Vec::from([Host { name: canonical(host), preference: 0 }]), implicit: true }
        }
    }
}

fn order(
    destination: &str,
    records: &[Mx],
    own_names: &[&str],
    seed: [u8; 32],
) -> Result<Vec<Host>, Failure> {
    // RFC 7505 §3: a single record with an empty host name.
    if records.iter().all(|mx| canonical(&mx.exchange).is_empty()) {
        let reply = format!("{destination} takes no mail (null MX)");
        return Err(Failure { origin: Origin::NullMx, ..fail(Status::NULL_MX, reply) });
    }
    let mut all: Vec<Host> = records
        .iter()
        .map(|mx| Host { name: canonical(&mx.exchange), preference: mx.preference })
        .filter(|h| is_host_name(&h.name))
        .collect();
    if all.is_empty() {
        // RFC 5321 §5.1: records that lead nowhere are an error, not a reason for an implicit MX.
        let text = format!("no MX of {destination} is a host name");
        return Err(fail(Status::new(5, 4, 4), text));
    }
    let mut rng = Rng::new(seed, 0);
    rng.shuffle(&mut all);
    all.sort_by_key(|h| h.preference); // stable: the shuffle stays within one preference
    let mut seen = BTreeSet::new();
    all.retain(|h| seen.insert(h.name.clone()));
    let mut left = without_own(all, |h| own_names.contains(&&*h.name), destination)?;
    left.truncate(HOSTS_MAX);
    Ok(left)
}

/// RFC 5321 §5.1: when this host is among them, it goes with all of equal or worse preference; mail that
/// nobody better takes would come back to us for ever.
fn without_own(
    mut hosts: Vec<Host>,
    is_own: impl Fn(&Host) -> bool,
    destination: &str,
) -> Result<Vec<Host>, Failure> {
    if let Some(own) = hosts.iter().filter(|h| is_own(h)).map(|h| h.preference).min() {
        hosts.retain(|h| h.preference < own);
    }
    if hosts.is_empty() {
        let text = format!("mail for {destination} leads back to this server, which does not take it");
        return Err(fail(Status::LOOP, text));
    }
    Ok(hosts)
}

/// The hosts without those at whose addresses this installation takes mail itself, and without those of equal or
/// worse preference. Done before anything is decided that may leave out or reorder hosts.
pub fn not_ourselves(
    destination: &str,
    hosts: &[HostAddresses],
    limits: &Limits<'_>,
) -> Result<Vec<HostAddresses>, Failure> {
    let is_own = |host: &Host| {
        let found = hosts.iter().find(|h| h.host == *host);
        found.is_some_and(|h| addresses(h).iter().any(|a| limits.own_addresses.contains(&a.to_canonical())))
    };
    let names: Vec<Host> = hosts.iter().map(|h| h.host.clone()).collect();
    let left = without_own(names, is_own, destination)?;
    Ok(hosts.iter().filter(|h| left.contains(&h.host)).cloned().collect())
}

/// The addresses to dial, in order: hosts as they come, within a host the families in turn, IPv6 first
/// (RFC 8305 §4). `hosts` must be what [`hosts`] named, each with its answer.
pub fn candidates(
    destination: &str,
    hosts: &[HostAddresses],
    implicit: bool,
    limits: &Limits<'_>,
) -> Result<Vec<Candidate>, Failure> {
    let left = not_ourselves(destination, hosts, limits)?;
    let usable: Vec<(&HostAddresses, Vec<IpAddr>)> = left
        .iter()
        .map(|h| (h, dialable(addresses(h), limits)))
        .filter(|(_, list)| !list.is_empty())
        .collect();
    let mut found = Vec::new();
    let last = usable.len().saturating_sub(1);
    for (at, (host, list)) in usable.into_iter().enumerate() {
        let most = if at == last { ADDRESSES_MAX } else { PER_HOST_MAX };
        let name = &host.host.name;
        let of_host = list.into_iter().take(most);
        found.extend(of_host.map(|address| Candidate { host: name.clone(), address, port: limits.port }));
    }
    found.truncate(ADDRESSES_MAX);
    if found.is_empty() { Err(nowhere(destination, hosts, implicit)) } else { Ok(found) }
}

impl Hosts {
    /// The candidate of an address literal; `None` for named hosts, whose addresses must be asked for.
    pub fn literal(&self, limits: &Limits<'_>) -> Option<Result<Candidate, Failure>> {
        let Hosts::Literal(address) = self else { return None };
        let host = match address {
            IpAddr::V4(v4) => format!("[{v4}]"),
            IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
        };
        Some(if limits.own_addresses.contains(&address.to_canonical()) {
            Err(fail(Status::LOOP, format!("{host} is this server, which does not take the mail")))
        } else if dialable(&[*address], limits).is_empty() {
            Err(forbidden(&host))
        } else {
            Ok(Candidate { host, address: *address, port: limits.port })
        })
    }
}

fn addresses(host: &HostAddresses) -> &[IpAddr] {
    match &host.answer {
        AddressAnswer::Addresses(list) => list,
        AddressAnswer::None | AddressAnswer::Failed(_) => &[],
    }
}

/// Those that may be dialled, without doubles, the families in turn.
fn dialable(list: &[IpAddr], limits: &Limits<'_>) -> Vec<IpAddr> {
    let mut seen = BTreeSet::new();
    let wanted = list.iter().map(|a| a.to_canonical()).filter(|a| match limits.family {
        Family::Any => true,
        Family::Ipv4 => a.is_ipv4(),
        Family::Ipv6 => a.is_ipv6(),
    });
    let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = wanted
        .filter(|a| limits.allow_private || is_public(*a))
        .filter(|a| !a.is_unspecified() && !a.is_multicast() && seen.insert(*a))
        .take(4 * ADDRESSES_MAX)
        .partition(IpAddr::is_ipv6);
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut out = Vec::new();
    loop {
        let pair = (v6.next(), v4.next());
        if pair == (None, None) {
            return out;
        }
        out.extend(pair.0.into_iter().chain(pair.1));
    }
}

/// Why there is no address to dial; a failing name server outweighs the rest, since it may hide one.
fn nowhere(destination: &str, hosts: &[HostAddresses], implicit: bool) -> Failure {
    for host in hosts {
        if let AddressAnswer::Failed(why) = host.answer {
            return fail(Status::DNS_FAILED, format!("address of {}: {}", host.host.name, why.explained()));
        }
    }
    if let Some(host) = hosts.iter().find(|h| !addresses(h).is_empty()) {
        return forbidden(&host.host.name);
    }
    if implicit {
        fail(Status::NO_SUCH_DOMAIN, format!("{destination} has neither MX nor address"))
    } else {
        fail(Status::NO_SUCH_DOMAIN, format!("no MX host of {destination} has an address"))
    }
}

/// Deferred, not bounced: what stands in the way is set here or in DNS, and both are corrected in time.
fn forbidden(host: &str) -> Failure {
    let text = format!(
        "{host} has only addresses that are not dialled \
         (SMTP_OUTBOUND_ALLOW_PRIVATE_NETWORKS, SMTP_OUTBOUND_IP_FAMILY)"
    );
    fail(Status::new(4, 4, 4), text)
}

fn fail(status: Status, reply: String) -> Failure {
    Failure::local(status, reply)
}

fn canonical(name: &str) -> String {
    let mut name = String::from(name.strip_suffix('.').unwrap_or(name));
    name.make_ascii_lowercase();
    name
}

/// Labels of letters, digits, hyphens and underscores, at least one of them not a number: an MX that shows
/// an IP address is none (RFC 5321 §5.1, RFC 1035 §3.3.9).
fn is_host_name(name: &str) -> bool {
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    (1..=253).contains(&name.len())
        && name.split('.').all(label_fits)
        && !name.rsplit('.').next().is_none_or(numeric)
}

#[cfg(test)]
#[path = "mx_tests.rs"]
mod tests;
