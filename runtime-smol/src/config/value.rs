//! From the text of a variable to a typed value.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use super::table::Kind;
use crate::signing;

/// A parsed value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Bool.
    Bool(bool),
    /// Port, RemotePort and Uint.
    Uint(u64),
    /// Ratio.
    Ratio(f64),
    /// Choice, Text, Hostname, Url, SigningKey and Filter.
    Text(String),
    /// Hostnames and FieldNames.
    List(Vec<String>),
    /// Pairs.
    Pairs(Vec<(String, String)>),
    /// Addrs.
    Addrs(Vec<IpAddr>),
    /// Networks.
    Networks(Networks),
    /// HostPort and HostPorts.
    HostPorts(Vec<HostPort>),
    /// Path and File; none when empty.
    Path(Option<PathBuf>),
    /// Listen; none when empty.
    Listen(Option<Listen>),
}

/// A host (name or address) and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl HostPort {
    /// Reads `name:port`, `1.2.3.4:port` and `[::1]:port`.
    pub fn parse(text: &str) -> Option<HostPort> {
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return (addr.port() > 0).then(|| HostPort { host: addr.ip().to_string(), port: addr.port() });
        }
        let (host, port) = text.rsplit_once(':')?;
        if host.contains(':') || !is_hostname(host) {
            return None;
        }
        let port: u16 = port.parse().ok().filter(|p| *p > 0)?;
        Some(HostPort { host: host.to_ascii_lowercase(), port })
    }

    /// Asks the system for its addresses. Blocks; for start-up only.
    pub fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, self.port).fmt(f),
            Err(_) => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Where LMTP listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(HostPort),
}

/// A set of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<(IpAddr, u8)>);

impl Networks {
    /// Reads networks and addresses separated by commas.
    pub fn parse(text: &str) -> Option<Networks> {
        items(text).map(parse_network).collect::<Option<Vec<_>>>().map(Networks)
    }

    /// Whether one of them holds `ip`. An IPv4-mapped address counts as the IPv4 address it holds.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|(net, len)| match (net, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(*len)).unwrap_or(0);
                u32::from(*net) & mask == u32::from(ip) & mask
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(*len)).unwrap_or(0);
                u128::from(*net) & mask == u128::from(ip) & mask
            }
            _ => false,
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn parse_network(text: &str) -> Option<(IpAddr, u8)> {
    let (addr, len) = text.split_once('/').map_or((text, None), |(a, l)| (a, Some(l)));
    let addr: IpAddr = addr.parse().ok()?;
    let max = if addr.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS } as u8;
    let len = match len {
        Some(len) => len.parse().ok().filter(|l| *l <= max)?,
        None => max,
    };
    Some((addr, len))
}

/// The items of a comma-separated list; none in an empty text.
fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(move |item| !(item.is_empty() && text.trim().is_empty()))
}

/// Letters, digits, hyphens and underscores in labels of 1 to 63, at most 253 in all.
pub fn is_hostname(text: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn is_field_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b':')
}

/// Reads `text` as `kind`. `Err` says what is wrong beyond "not valid", possibly nothing.
pub fn parse(kind: Kind, text: &str) -> Result<Value, String> {
    let fail = || String::new();
    if text.chars().any(char::is_control) {
        return Err("it holds control characters".into());
    }
    Ok(match kind {
        Kind::Bool => Value::Bool(text.parse().map_err(|_| fail())?),
        Kind::Port => Value::Uint(text.parse::<u16>().map_err(|_| fail())?.into()),
        Kind::RemotePort => Value::Uint(text.parse::<u16>().ok().filter(|p| *p > 0).ok_or_else(fail)?.into()),
        Kind::Uint { min, max } => {
            Value::Uint(text.parse().ok().filter(|n| (min..=max).contains(n)).ok_or_else(fail)?)
        }
        Kind::Ratio => Value::Ratio(text.parse().ok().filter(|r| (0.0..=1.0).contains(r)).ok_or_else(fail)?),
        Kind::Choice(words) => Value::Text(words.iter().find(|w| **w == text).ok_or_else(fail)?.to_string()),
        Kind::Text => Value::Text(text.into()),
        Kind::Hostname if text.is_empty() => Value::Text(String::new()),
        Kind::Hostname => {
            let name = text.strip_suffix('.').unwrap_or(text);
            let name = is_hostname(name).then(|| name.to_ascii_lowercase()).ok_or_else(fail)?;
            Value::Text(name)
        }
        Kind::Hostnames => Value::List(list(text, |n| is_hostname(n).then(|| n.to_ascii_lowercase()))?),
        Kind::FieldNames => Value::List(list(text, |n| is_field_name(n).then(|| n.to_owned()))?),
        Kind::Pairs => Value::Pairs(list(text, pair)?),
        Kind::Addrs => {
            Value::Addrs(list(text, |a| a.trim_start_matches('[').trim_end_matches(']').parse().ok())?)
        }
        Kind::Networks => Value::Networks(Networks::parse(text).ok_or_else(fail)?),
        Kind::HostPort | Kind::HostPorts => {
            let found = list(text, HostPort::parse)?;
            if kind == Kind::HostPort && found.len() > 1 {
                return Err("only one can be given".into());
            }
            Value::HostPorts(found)
        }
        Kind::Listen if text.is_empty() => Value::Listen(None),
        Kind::Listen if text.contains('/') => Value::Listen(Some(Listen::Unix(text.into()))),
        Kind::Listen => Value::Listen(Some(Listen::Tcp(HostPort::parse(text).ok_or_else(fail)?))),
        Kind::Path => Value::Path((!text.is_empty()).then(|| text.into())),
        Kind::File if text.is_empty() => Value::Path(None),
        Kind::File => {
            std::fs::File::open(text).map_err(|e| e.to_string())?;
            Value::Path(Some(text.into()))
        }
        Kind::Url(schemes) => {
            let ok = text.is_empty() || schemes.iter().any(|s| text.starts_with(s));
            Value::Text(ok.then(|| text.to_owned()).ok_or_else(fail)?)
        }
        Kind::SigningKey if text.is_empty() => Value::Text(String::new()),
        Kind::SigningKey => {
            signing::read_key(text)?;
            Value::Text(text.to_owned())
        }
        Kind::Filter => {
            let ok = text.parse::<tracing_subscriber::filter::Targets>();
            ok.map_err(|e| e.to_string())?;
            Value::Text(text.into())
        }
    })
}

/// `name=value`; the value may hold octets as `%2C`, which must come to UTF-8.
fn pair(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let (name, value) = (name.trim(), value.trim());
    let mut octets = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        octets.push(match first {
            b'%' => {
                let (hex, behind) = rest.split_at_checked(2)?;
                rest = behind;
                u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?
            }
            other => *other,
        });
    }
    let value = String::from_utf8(octets).ok()?;
    (is_field_name(name) && !value.chars().any(char::is_control)).then(|| (name.to_owned(), value))
}

fn list<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    items(text).map(|item| read(item).ok_or_else(|| format!("{item:?} is not"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_what_they_should() {
        let nets = Networks::parse("10.0.0.0/8, 192.0.2.7,fd00::/8").unwrap();
        for (ip, inside) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("fdff::1", true),
            ("fe80::1", false),
            ("::ffff:10.1.2.3", true),
        ] {
            assert_eq!(nets.contains(ip.parse().unwrap()), inside, "{ip}");
        }
        assert!(Networks::parse("0.0.0.0/0").unwrap().contains("8.8.8.8".parse().unwrap()));
        assert!(Networks::parse("10.0.0.0/33").is_none());
        assert!(Networks::parse("10.0.0.0/8,,").is_none());
        assert!(Networks::parse(" ").unwrap().is_empty());
    }

    #[test]
    fn hosts_with_ports() {
        let show = |t: &str| HostPort::parse(t).map(|h| h.to_string());
        assert_eq!(show("Relay.Example.com:587").as_deref(), Some("relay.example.com:587"));
        assert_eq!(show("[::1]:53").as_deref(), Some("[::1]:53"));
        assert_eq!(show("127.0.0.1:5353").as_deref(), Some("127.0.0.1:5353"));
        for bad in ["host", "host:0", "1.2.3.4:0", "host:65536", "::1:53", "a b:1", ":25"] {
            assert_eq!(show(bad), None, "{bad}");
        }
    }

    #[test]
    fn pairs_are_read_and_decoded() {
        let read = |text| parse(Kind::Pairs, text);
        let want = |pairs: &[(&str, &str)]| {
            Ok(Value::Pairs(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()))
        };
        assert_eq!(read("a=b, c = d%2Ce"), want(&[("a", "b"), ("c", "d,e")]));
        assert_eq!(read("x=a=b"), want(&[("x", "a=b")]));
        assert_eq!(read(""), want(&[]));
        for bad in ["a", "=b", "a b=c", "a=%", "a=%zz", "a=%ff", "a=%0a"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_are_kept_at_both_ends() {
        let kind = Kind::Uint { min: 1, max: 10 };
        assert_eq!(parse(kind, "1"), Ok(Value::Uint(1)));
        assert_eq!(parse(kind, "10"), Ok(Value::Uint(10)));
        for bad in ["0", "11", "-1", "", "1.0", "99999999999999999999999"] {
            assert!(parse(kind, bad).is_err(), "{bad}");
        }
        assert!(is_hostname(&format!("{}.a", "b".repeat(63))));
        assert!(!is_hostname(&format!("{}.a", "b".repeat(64))));
    }
}
