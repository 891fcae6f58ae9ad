//! Which name servers are asked.

use std::net::SocketAddr;

use crate::config;

/// DNS_RESOLVERS, or the system's name servers when there are none.
///
/// # Errors
/// A text that names the variable.
pub fn name_servers(dns: &config::Dns) -> Result<Vec<SocketAddr>, String> {
    const NONE: &str = "the system names no DNS servers: set DNS_RESOLVERS";
    let mut servers = Vec::new();
    for host in &dns.resolvers {
        servers.extend(host.resolve().map_err(|e| format!("DNS_RESOLVERS: {host}: {e}"))?);
    }
    if dns.resolvers.is_empty() {
        let (system, _) = hickory_resolver::system_conf::read_system_conf()
            .map_err(|e| format!("the system names no DNS servers ({e}): set DNS_RESOLVERS"))?;
        for server in system.name_servers() {
            let port = server.connections.first().map_or(53, |connection| connection.port);
            let address = SocketAddr::new(server.ip, port);
            if !servers.contains(&address) {
                servers.push(address);
            }
        }
    }
    if servers.is_empty() { Err(NONE.into()) } else { Ok(servers) }
}
