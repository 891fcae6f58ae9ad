//! How many connections that have not authenticated there may be, in all and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

/// SERVER_MAX_CONNECTIONS and SERVER_MAX_CONNECTIONS_PER_IP. An IPv6 network of 64 bits counts as one address.
#[derive(Debug)]
pub struct Limits {
    total_max: usize,
    per_ip_max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
}

impl Limits {
    /// With these maxima.
    pub fn new(total_max: usize, per_ip_max: usize) -> Arc<Limits> {
        Arc::new(Limits { total_max, per_ip_max, open: Mutex::default() })
    }

    /// A place for a connection from `ip`; `None` when one of the limits is reached.
    pub fn take(self: &Arc<Limits>, ip: IpAddr) -> Option<Slot> {
        let key = network(ip);
        let mut open = self.open.lock().unwrap_or_else(|e| e.into_inner());
        if open.total >= self.total_max || open.by_ip.get(&key).is_some_and(|n| *n >= self.per_ip_max) {
            return None;
        }
        open.total += 1;
        *open.by_ip.entry(key).or_default() += 1;
        Some(Slot(Some((self.clone(), key))))
    }

    /// Connections that hold a place.
    pub fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(|e| e.into_inner()).total
    }

    fn give_back(&self, key: IpAddr) {
        let mut open = self.open.lock().unwrap_or_else(|e| e.into_inner());
        open.total = open.total.saturating_sub(1);
        if let Some(n) = open.by_ip.get_mut(&key) {
            *n -= 1;
            if *n == 0 {
                open.by_ip.remove(&key);
            }
        }
    }
}

/// What counts as one source: an IPv4 address, or an IPv6 network of 64 bits.
pub fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & u128::MAX << 64).into(),
        v4 => v4,
    }
}

/// A place among the connections not yet authenticated; given back when the peer authenticates, or dropped.
#[derive(Debug)]
pub struct Slot(Option<(Arc<Limits>, IpAddr)>);

impl Slot {
    /// The peer has authenticated: the place is free for another.
    pub fn authenticated(&mut self) {
        if let Some((limits, key)) = self.0.take() {
            limits.give_back(key);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.authenticated();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_one_address_and_one_past_it() {
        let limits = Limits::new(100, 2);
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut first = limits.take(ip("192.0.2.1")).unwrap();
        let second = limits.take(ip("::ffff:192.0.2.1")).unwrap();
        assert!(limits.take(ip("192.0.2.1")).is_none());
        assert!(limits.take(ip("192.0.2.2")).is_some());
        first.authenticated();
        first.authenticated();
        let third = limits.take(ip("192.0.2.1")).unwrap();
        assert!(limits.take(ip("192.0.2.1")).is_none());
        drop((first, second, third));
        assert_eq!(limits.open(), 0);
        assert!(limits.open.lock().unwrap().by_ip.is_empty());
    }

    #[test]
    fn the_limit_in_all_and_networks_of_64_bits() {
        let limits = Limits::new(3, 2);
        let take = |text: &str| limits.take(text.parse().unwrap());
        let slots = [take("2001:db8::1").unwrap(), take("2001:db8::2").unwrap()];
        assert!(take("2001:db8::3").is_none());
        let other = take("2001:db8:0:1::1").unwrap();
        assert!(take("192.0.2.9").is_none());
        drop((slots, other));
        assert!(take("192.0.2.9").is_some());
    }
}
