//! The configuration: one table of variables, four sources (defaults, the quickstart profile, a file, the
//! environment), and a typed [`Config`] that the rest of the program reads.
//!
//! All faults are collected before any is reported, each with the variable, its value (secrets masked) and
//! what would be valid.

mod build;
mod load;
mod show;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use load::{Effective, Fault, Faults, Loaded, Profile, Source, Sources, load};
pub use show::{json, text};
pub use table::{Feature, Kind, VARIABLES, Variable};
pub use value::{HostPort, Listen, Networks, is_hostname};

/// Everything the program is told. Made by [`load`]; shared as `Arc<Config>`.
#[derive(Clone, Debug)]
pub struct Config {
    /// INBOX_DATA_DIR, absolute or as given.
    pub data_dir: PathBuf,
    /// Names, addresses and limits of the listeners.
    pub server: Server,
    /// Which port each service has; `None` is off.
    pub ports: Ports,
    /// Certificates and roots.
    pub tls: Tls,
    /// What comes in by SMTP.
    pub smtp: Smtp,
    /// What goes out.
    pub outbound: Outbound,
    /// SMTP_RATE_LIMIT_*.
    pub rate_limit: RateLimit,
    /// Sender authentication.
    pub auth: AuthPolicy,
    /// SMTP_DKIM_*.
    pub dkim: Dkim,
    /// DATABASE_*.
    pub database: Database,
    /// Master key and message objects.
    pub objects: Objects,
    /// S3; `None` unless endpoint, key ID and secret are set.
    pub s3: Option<S3>,
    /// DNS_*.
    pub dns: Dns,
    /// What is logged and how.
    pub log: Log,
    /// OTEL_*, but for the console; none when no traces are exported.
    pub otel: Option<Otel>,
    /// MTA_STS_*.
    pub mta_sts: MtaSts,
    /// HTTP_TRUSTED_PROXIES.
    pub http_trusted_proxies: Networks,
    /// DAV_MAX_FILE_BYTES.
    pub http_file_max_bytes: u64,
    /// PROXY_PROTOCOL_NETWORKS.
    pub proxy_protocol_networks: Networks,
    /// WEBHOOK_ALLOW_PRIVATE_NETWORKS.
    pub webhook_allow_private_networks: bool,
    /// OIDC_ISSUER.
    pub oidc_issuer: Option<String>,
}

/// SERVER_*.
#[derive(Clone, Debug)]
pub struct Server {
    /// SERVER_HOSTNAME, lower case, never empty: the machine's full name, else `mail.localhost`.
    pub hostname: String,
    /// SERVER_BIND_ADDR, at least one.
    pub bind_addrs: Vec<IpAddr>,
    /// SERVER_MAX_CONNECTIONS.
    pub max_connections: usize,
    /// SERVER_MAX_CONNECTIONS_PER_IP.
    pub max_connections_per_ip: usize,
}

/// Ports by service; `None` is off.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Ports {
    pub smtp_transfer: Option<u16>,
    pub smtp_submission: Option<u16>,
    pub smtp_submissions: Option<u16>,
    pub lmtp: Option<Listen>,
    pub imap: Option<u16>,
    pub imaps: Option<u16>,
    pub managesieve: Option<u16>,
    pub http: Option<u16>,
    pub https: Option<u16>,
}

/// TLS_*.
#[derive(Clone, Debug)]
pub struct Tls {
    /// TLS_CERT_PATH and TLS_KEY_PATH; `None` means a self-signed pair under `data/tls/`.
    pub cert_and_key: Option<(PathBuf, PathBuf)>,
    /// TLS_EXTRA_ROOTS_FILE.
    pub extra_roots_file: Option<PathBuf>,
}

/// SMTP_MAX_MESSAGE_BYTES, SMTP_INBOUND_* and SMTP_TRANSFER_*.
#[derive(Clone, Debug)]
pub struct Smtp {
    /// SMTP_MAX_MESSAGE_BYTES, for the transfer port and LMTP.
    pub max_message_bytes: u64,
    /// SMTP_INBOUND_MAX_RCPT_TO, for all SMTP ports.
    pub max_rcpt_to: usize,
    /// SMTP_TRANSFER_GREET_DELAY_SECS.
    pub greet_delay: Duration,
}

/// SMTP_OUTBOUND_TLS_MODE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TlsMode {
    Required,
    Opportunistic,
    Disabled,
}

/// SMTP_OUTBOUND_DANE_MODE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum DaneMode {
    Off,
    Prefer,
    Require,
}

/// SMTP_OUTBOUND_IP_FAMILY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum IpFamily {
    Any,
    Ipv4,
    Ipv6,
}

/// SMTP_OUTBOUND_*.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// SMTP_OUTBOUND_PORT.
    pub port: u16,
    /// TLS_MODE.
    pub tls_mode: TlsMode,
    /// REQUIRE_STARTTLS.
    pub require_starttls: bool,
    /// ALLOW_INVALID_CERTS.
    pub allow_invalid_certs: bool,
    /// ALLOW_PLAINTEXT_FALLBACK.
    pub allow_plaintext_fallback: bool,
    /// DANE_MODE.
    pub dane_mode: DaneMode,
    /// DNSSEC_VALIDATE.
    pub dnssec_validate: bool,
    /// MTA_STS_ENFORCE.
    pub mta_sts_enforce: bool,
    /// SMTP_TLS_REPORT_DIR.
    pub tls_report_dir: Option<PathBuf>,
    /// TIMEOUT_SECS.
    pub timeout: Duration,
    /// ALLOW_PRIVATE_NETWORKS.
    pub allow_private_networks: bool,
    /// RELAY_*; `None` means MX.
    pub relay: Option<Relay>,
    /// SOURCE_ADDRS.
    pub source_addrs: Vec<IpAddr>,
    /// IP_FAMILY.
    pub ip_family: IpFamily,
    /// DELAY_WARNING_SECS; `None` means never.
    pub delay_warning: Option<Duration>,
    /// QUEUE_*.
    pub queue: Queue,
    /// RETRY_*, MAX_ATTEMPTS and TTL.
    pub retry: Retry,
    /// DEAD_JOB_RETENTION_SECS.
    pub dead_job_retention: Duration,
    /// DELIVERY_RETENTION_SECS.
    pub delivery_retention: Duration,
}

/// SMTP_OUTBOUND_RELAY_*.
#[derive(Clone, Debug)]
pub struct Relay {
    /// RELAY_HOST.
    pub host: HostPort,
    /// RELAY_USERNAME and RELAY_PASSWORD.
    pub credentials: Option<(String, Secret)>,
    /// RELAY_TLS is `implicit`.
    pub implicit_tls: bool,
}

/// SMTP_OUTBOUND_QUEUE_*.
#[derive(Clone, Debug)]
pub struct Queue {
    /// ENABLED.
    pub enabled: bool,
    /// POLL_INTERVAL_SECS.
    pub poll_interval: Duration,
    /// CLEANUP_INTERVAL_SECS.
    pub cleanup_interval: Duration,
    /// BATCH_SIZE.
    pub batch_size: usize,
    /// LEASE_SECS.
    pub lease: Duration,
}

/// When a message is tried again, and when no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// RETRY_BASE_DELAY_SECS.
    pub base_delay: Duration,
    /// RETRY_MAX_DELAY_SECS.
    pub max_delay: Duration,
    /// MAX_ATTEMPTS.
    pub max_attempts: u32,
    /// TTL_SECS.
    pub ttl: Duration,
}

/// SMTP_RATE_LIMIT_*.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct RateLimit {
    pub enabled: bool,
    pub window: Duration,
    pub transfer_connections: u64,
    pub submission_connections: u64,
    pub transfer_messages: u64,
    pub submission_messages: u64,
    /// HTTP_RATE_LIMIT_REQUESTS_PER_WINDOW, of one key or mailbox.
    pub api_requests: u64,
    /// DAV_RATE_LIMIT_REQUESTS_PER_WINDOW, of one mailbox.
    pub dav_requests: u64,
    pub fail_open_on_db_error: bool,
    pub exempt_networks: Networks,
}

/// SMTP_DMARC_APPLY_SENDER_POLICY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SenderPolicy {
    Apply,
    Junk,
    Ignore,
}

/// SMTP_REQUIRE_*, SMTP_AUTH_* and their like.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct AuthPolicy {
    pub require_spf_pass: bool,
    pub require_dkim_pass: bool,
    pub require_dmarc_pass: bool,
    pub spf_accept_aligned_dkim: bool,
    pub exempt_networks: Networks,
    pub allow_header_override: bool,
    pub trusted_networks: Networks,
    pub arc_trusted_sealers: Vec<String>,
    pub apply_sender_policy: SenderPolicy,
    pub dmarc_report_dir: Option<PathBuf>,
}

/// SMTP_DKIM_*.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Dkim {
    pub domain: Option<String>,
    pub selector: String,
    pub private_key_b64_pkcs8: Option<Secret>,
    pub headers: Vec<String>,
}

/// DATABASE_*.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Database {
    pub url: String,
    pub namespace: String,
    pub name: String,
    pub credentials: Option<(String, Secret)>,
}

/// Where objects and the key that seals secrets lie.
#[derive(Clone, Debug)]
pub struct Objects {
    /// INBOX_MASTER_KEY_FILE.
    pub master_key_file: PathBuf,
    /// INBOX_INCOMING_DIR.
    pub incoming_dir: PathBuf,
    /// INBOX_STORE_PARSED_PARTS.
    pub store_parsed_parts: bool,
}

/// S3_*.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct S3 {
    pub endpoint: String,
    pub region: String,
    pub bucket: String,
    pub access_key_id: String,
    pub secret_access_key: Secret,
    pub force_path_style: bool,
    pub encryption: String,
}

/// DNS_*.
#[derive(Clone, Debug)]
pub struct Dns {
    /// DNS_RESOLVERS; empty means the system's.
    pub resolvers: Vec<HostPort>,
    /// DNS_TRUST_ANCHOR_FILE.
    pub trust_anchor_file: Option<PathBuf>,
}

/// LOG_* and OTEL_CONSOLE_LOGS.
#[derive(Clone, Debug)]
pub struct Log {
    /// LOG_LEVEL.
    pub filter: String,
    /// LOG_ADDRESSES is `hash`.
    pub hash_addresses: bool,
    /// OTEL_CONSOLE_LOGS.
    pub console: bool,
}

/// OTEL_*: where traces go, and which.
#[derive(Clone)]
pub struct Otel {
    /// The whole URL.
    pub endpoint: String,
    /// Fields that go with each request; some of them are secrets.
    pub headers: Vec<(String, String)>,
    /// As JSON; else as protobuf.
    pub json: bool,
    /// For one request.
    pub timeout: Duration,
    /// `service.name`.
    pub service_name: String,
    /// What else is said of this process.
    pub attributes: Vec<(String, String)>,
    /// The share of traces that is kept, 0.0 to 1.0.
    pub sample_ratio: f64,
    /// A trace that began elsewhere is kept when it is kept there.
    pub parent_based: bool,
}

impl std::fmt::Debug for Otel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Otel").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// MTA_STS_*.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct MtaSts {
    pub own_mode: String,
    pub https_port: u16,
}

/// Text that `Debug` never shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(zeroize::Zeroizing<String>);

impl Secret {
    /// Takes over `text`.
    pub fn new(text: String) -> Secret {
        Secret(zeroize::Zeroizing::new(text))
    }

    /// The secret itself; not for logs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Config {
    /// `name` under the data directory.
    pub fn data_path(&self, name: &str) -> PathBuf {
        self.data_dir.join(name)
    }

    /// The administration socket.
    pub fn admin_socket(&self) -> PathBuf {
        self.data_path("inbox.sock")
    }
}
