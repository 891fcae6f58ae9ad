//! From checked values to the [`Config`]: no check fails here.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::value::{HostPort, Listen, Networks, Value};
use super::*;

/// Builds the configuration from values that were checked.
pub(super) fn build(v: &Values, data_dir: PathBuf) -> Config {
    Config {
        data_dir,
        server: Server {
            hostname: v.text("SERVER_HOSTNAME").to_owned(),
            bind_addrs: v.addrs("SERVER_BIND_ADDR"),
            max_connections: v.count("SERVER_MAX_CONNECTIONS"),
            max_connections_per_ip: v.count("SERVER_MAX_CONNECTIONS_PER_IP"),
        },
        ports: Ports {
            smtp_transfer: v.port("SMTP_TRANSFER_PORT"),
            smtp_submission: v.port("SMTP_SUBMISSION_PORT"),
            smtp_submissions: v.port("SMTP_SUBMISSIONS_PORT"),
            lmtp: v.listen("LMTP_SOCKET"),
            imap: v.port("IMAP_PORT"),
            imaps: v.port("IMAPS_PORT"),
            managesieve: v.port("MANAGESIEVE_PORT"),
            http: v.port("HTTP_PORT"),
            https: v.port("HTTPS_PORT"),
        },
        tls: Tls {
            cert_and_key: v.some_path("TLS_CERT_PATH").zip(v.some_path("TLS_KEY_PATH")),
            extra_roots_file: v.some_path("TLS_EXTRA_ROOTS_FILE"),
        },
        smtp: Smtp {
            max_message_bytes: v.uint("SMTP_MAX_MESSAGE_BYTES"),
            max_rcpt_to: v.count("SMTP_INBOUND_MAX_RCPT_TO"),
            greet_delay: v.secs("SMTP_TRANSFER_GREET_DELAY_SECS"),
        },
        outbound: outbound(v),
        rate_limit: rate_limit(v),
        auth: auth(v),
        dkim: Dkim {
            domain: v.some_text("SMTP_DKIM_DOMAIN"),
            selector: v.text("SMTP_DKIM_SELECTOR").to_owned(),
            private_key_b64_pkcs8: v.some_text("SMTP_DKIM_PRIVATE_KEY_B64_PKCS8").map(Secret::new),
            headers: v.list("SMTP_DKIM_HEADERS"),
        },
        database: Database {
            url: v.text("DATABASE_URL").to_owned(),
            namespace: v.text("DATABASE_NAMESPACE").to_owned(),
            name: v.text("DATABASE_NAME").to_owned(),
            credentials: v.credentials("DATABASE_USERNAME", "DATABASE_PASSWORD"),
        },
        objects: Objects {
            master_key_file: v.path("INBOX_MASTER_KEY_FILE"),
            incoming_dir: v.path("INBOX_INCOMING_DIR"),
            store_parsed_parts: v.bool("INBOX_STORE_PARSED_PARTS"),
        },
        s3: s3(v),
        dns: Dns {
            resolvers: v.host_ports("DNS_RESOLVERS"),
            trust_anchor_file: v.some_path("DNS_TRUST_ANCHOR_FILE"),
        },
        log: Log {
            filter: v.text("LOG_LEVEL").to_owned(),
            hash_addresses: v.text("LOG_ADDRESSES") == "hash",
            console: v.bool("OTEL_CONSOLE_LOGS"),
        },
        otel: otel(v),
        mta_sts: MtaSts {
            own_mode: v.text("MTA_STS_OWN_MODE").to_owned(),
            https_port: v.remote_port("MTA_STS_HTTPS_PORT"),
        },
        http_trusted_proxies: v.networks("HTTP_TRUSTED_PROXIES"),
        http_file_max_bytes: v.uint("DAV_MAX_FILE_BYTES"),
        proxy_protocol_networks: v.networks("PROXY_PROTOCOL_NETWORKS"),
        webhook_allow_private_networks: v.bool("WEBHOOK_ALLOW_PRIVATE_NETWORKS"),
        oidc_issuer: v.some_text("OIDC_ISSUER"),
    }
}

/// None when nothing is exported.
fn otel(v: &Values) -> Option<Otel> {
    if !v.bool("OTEL_ENABLED") || v.bool("OTEL_SDK_DISABLED") {
        return None;
    }
    let given = v.text("OTEL_EXPORTER_OTLP_ENDPOINT");
    let endpoint = v.some_text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").unwrap_or_else(|| traces_url(given));
    let own_headers = v.pairs("OTEL_EXPORTER_OTLP_TRACES_HEADERS");
    let protocol = v.some_text("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL");
    let protocol = protocol.unwrap_or_else(|| v.text("OTEL_EXPORTER_OTLP_PROTOCOL").to_owned());
    let own_timeout = Some(v.uint("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")).filter(|ms| *ms > 0);
    let ratio = v.text("OTEL_TRACES_SAMPLER_ARG").parse().unwrap_or_else(|_| v.ratio("OTEL_SAMPLE_RATIO"));
    let (parent_based, name) = match v.text("OTEL_TRACES_SAMPLER").strip_prefix("parentbased_") {
        Some(name) => (true, name),
        None => (false, v.text("OTEL_TRACES_SAMPLER")),
    };
    Some(Otel {
        endpoint,
        headers: match own_headers.is_empty() {
            true => v.pairs("OTEL_EXPORTER_OTLP_HEADERS"),
            false => own_headers,
        },
        json: protocol == "http/json",
        timeout: Duration::from_millis(own_timeout.unwrap_or_else(|| v.uint("OTEL_EXPORTER_OTLP_TIMEOUT"))),
        service_name: v.text("OTEL_SERVICE_NAME").to_owned(),
        attributes: v.pairs("OTEL_RESOURCE_ATTRIBUTES"),
        sample_ratio: match name {
            "always_on" => 1.0,
            "always_off" => 0.0,
            _ => ratio,
        },
        parent_based,
    })
}

/// The endpoint as it was given; the path of traces is added when it has none (SPEC section 11).
fn traces_url(given: &str) -> String {
    let authority = given.split_once("://").map_or(given, |(_, rest)| rest);
    match authority.split_once('/') {
        None => format!("{given}/v1/traces"),
        Some((_, "")) => format!("{given}v1/traces"),
        Some(_) => given.to_owned(),
    }
}

fn outbound(v: &Values) -> Outbound {
    Outbound {
        port: v.remote_port("SMTP_OUTBOUND_PORT"),
        tls_mode: match v.text("SMTP_OUTBOUND_TLS_MODE") {
            "opportunistic" => TlsMode::Opportunistic,
            "disabled" => TlsMode::Disabled,
            _ => TlsMode::Required,
        },
        require_starttls: v.bool("SMTP_OUTBOUND_REQUIRE_STARTTLS"),
        allow_invalid_certs: v.bool("SMTP_OUTBOUND_ALLOW_INVALID_CERTS"),
        allow_plaintext_fallback: v.bool("SMTP_OUTBOUND_ALLOW_PLAINTEXT_FALLBACK"),
        dane_mode: match v.text("SMTP_OUTBOUND_DANE_MODE") {
            "off" => DaneMode::Off,
            "require" => DaneMode::Require,
            _ => DaneMode::Prefer,
        },
        dnssec_validate: v.bool("SMTP_OUTBOUND_DNSSEC_VALIDATE"),
        mta_sts_enforce: v.bool("SMTP_OUTBOUND_MTA_STS_ENFORCE"),
        tls_report_dir: v.some_path("SMTP_TLS_REPORT_DIR"),
        timeout: v.secs("SMTP_OUTBOUND_TIMEOUT_SECS"),
        allow_private_networks: v.bool("SMTP_OUTBOUND_ALLOW_PRIVATE_NETWORKS"),
        relay: v.host_ports("SMTP_OUTBOUND_RELAY_HOST").into_iter().next().map(|host| Relay {
            host,
            credentials: v.credentials("SMTP_OUTBOUND_RELAY_USERNAME", "SMTP_OUTBOUND_RELAY_PASSWORD"),
            implicit_tls: v.text("SMTP_OUTBOUND_RELAY_TLS") == "implicit",
        }),
        source_addrs: v.addrs("SMTP_OUTBOUND_SOURCE_ADDRS"),
        ip_family: match v.text("SMTP_OUTBOUND_IP_FAMILY") {
            "ipv4" => IpFamily::Ipv4,
            "ipv6" => IpFamily::Ipv6,
            _ => IpFamily::Any,
        },
        delay_warning: Some(v.secs("SMTP_OUTBOUND_DELAY_WARNING_SECS")).filter(|d| !d.is_zero()),
        queue: Queue {
            enabled: v.bool("SMTP_OUTBOUND_QUEUE_ENABLED"),
            poll_interval: v.secs("SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS"),
            cleanup_interval: v.secs("SMTP_OUTBOUND_QUEUE_CLEANUP_INTERVAL_SECS"),
            batch_size: v.count("SMTP_OUTBOUND_QUEUE_BATCH_SIZE"),
            lease: v.secs("SMTP_OUTBOUND_QUEUE_LEASE_SECS"),
        },
        retry: Retry {
            base_delay: v.secs("SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS"),
            max_delay: v.secs("SMTP_OUTBOUND_RETRY_MAX_DELAY_SECS"),
            max_attempts: u32::try_from(v.uint("SMTP_OUTBOUND_MAX_ATTEMPTS")).unwrap_or(u32::MAX),
            ttl: v.secs("SMTP_OUTBOUND_TTL_SECS"),
        },
        dead_job_retention: v.secs("SMTP_OUTBOUND_DEAD_JOB_RETENTION_SECS"),
        delivery_retention: v.secs("SMTP_OUTBOUND_DELIVERY_RETENTION_SECS"),
    }
}

fn rate_limit(v: &Values) -> RateLimit {
    RateLimit {
        enabled: v.bool("SMTP_RATE_LIMIT_ENABLED"),
        window: v.secs("SMTP_RATE_LIMIT_WINDOW_SECS"),
        transfer_connections: v.uint("SMTP_RATE_LIMIT_TRANSFER_CONNECTIONS_PER_WINDOW"),
        submission_connections: v.uint("SMTP_RATE_LIMIT_SUBMISSION_CONNECTIONS_PER_WINDOW"),
        transfer_messages: v.uint("SMTP_RATE_LIMIT_TRANSFER_MESSAGES_PER_WINDOW"),
        submission_messages: v.uint("SMTP_RATE_LIMIT_SUBMISSION_MESSAGES_PER_WINDOW"),
        api_requests: v.uint("HTTP_RATE_LIMIT_REQUESTS_PER_WINDOW"),
        dav_requests: v.uint("DAV_RATE_LIMIT_REQUESTS_PER_WINDOW"),
        fail_open_on_db_error: v.bool("SMTP_RATE_LIMIT_FAIL_OPEN_ON_DB_ERROR"),
        exempt_networks: v.networks("SMTP_RATE_LIMIT_EXEMPT_NETWORKS"),
    }
}

fn auth(v: &Values) -> AuthPolicy {
    AuthPolicy {
        require_spf_pass: v.bool("SMTP_REQUIRE_SPF_PASS"),
        require_dkim_pass: v.bool("SMTP_REQUIRE_DKIM_PASS"),
        require_dmarc_pass: v.bool("SMTP_REQUIRE_DMARC_PASS"),
        spf_accept_aligned_dkim: v.bool("SMTP_SPF_ACCEPT_ALIGNED_DKIM"),
        exempt_networks: v.networks("SMTP_AUTH_EXEMPT_NETWORKS"),
        allow_header_override: v.bool("SMTP_AUTH_ALLOW_HEADER_OVERRIDE"),
        trusted_networks: v.networks("SMTP_AUTH_TRUSTED_NETWORKS"),
        arc_trusted_sealers: v.list("SMTP_ARC_TRUSTED_SEALERS"),
        dmarc_report_dir: v.some_path("SMTP_DMARC_REPORT_DIR"),
        apply_sender_policy: match v.text("SMTP_DMARC_APPLY_SENDER_POLICY") {
            "junk" => SenderPolicy::Junk,
            "ignore" => SenderPolicy::Ignore,
            _ => SenderPolicy::Apply,
        },
    }
}

fn s3(v: &Values) -> Option<S3> {
    Some(S3 {
        endpoint: v.some_text("S3_ENDPOINT")?,
        region: v.text("S3_REGION").to_owned(),
        bucket: v.text("S3_BUCKET").to_owned(),
        access_key_id: v.some_text("S3_ACCESS_KEY_ID")?,
        secret_access_key: v.some_text("S3_SECRET_ACCESS_KEY").map(Secret::new)?,
        force_path_style: v.bool("S3_FORCE_PATH_STYLE"),
        encryption: v.text("S3_ENCRYPTION").to_owned(),
    })
}

/// Parsed values by name.
pub(super) struct Values(BTreeMap<&'static str, Value>);

/// The accessors panic when a variable's kind in the table is not the one asked for; a test builds a
/// `Config` from the table, so that cannot reach a user.
impl Values {
    pub(super) fn new(values: BTreeMap<&'static str, Value>) -> Values {
        Values(values)
    }
    pub(super) fn bool(&self, name: &str) -> bool {
        let Some(Value::Bool(b)) = self.0.get(name) else { panic!("{name} is a Bool") };
        *b
    }
    pub(super) fn uint(&self, name: &str) -> u64 {
        let Some(Value::Uint(n)) = self.0.get(name) else { panic!("{name} is a number") };
        *n
    }
    pub(super) fn port(&self, name: &str) -> Option<u16> {
        u16::try_from(self.uint(name)).ok().filter(|p| *p > 0)
    }
    pub(super) fn remote_port(&self, name: &str) -> u16 {
        self.port(name).unwrap_or_else(|| panic!("{name} is a port other than 0"))
    }
    pub(super) fn count(&self, name: &str) -> usize {
        usize::try_from(self.uint(name)).unwrap_or(usize::MAX)
    }
    pub(super) fn secs(&self, name: &str) -> Duration {
        Duration::from_secs(self.uint(name))
    }
    pub(super) fn ratio(&self, name: &str) -> f64 {
        let Some(Value::Ratio(r)) = self.0.get(name) else { panic!("{name} is a Ratio") };
        *r
    }
    pub(super) fn text(&self, name: &str) -> &str {
        let Some(Value::Text(t)) = self.0.get(name) else { panic!("{name} is text") };
        t
    }
    pub(super) fn some_text(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|t| !t.is_empty()).map(str::to_owned)
    }
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let Some(Value::List(l)) = self.0.get(name) else { panic!("{name} is a list") };
        l.clone()
    }
    pub(super) fn pairs(&self, name: &str) -> Vec<(String, String)> {
        let Some(Value::Pairs(p)) = self.0.get(name) else { panic!("{name} is a list of pairs") };
        p.clone()
    }
    pub(super) fn addrs(&self, name: &str) -> Vec<IpAddr> {
        let Some(Value::Addrs(a)) = self.0.get(name) else { panic!("{name} is a list of addresses") };
        a.clone()
    }
    pub(super) fn networks(&self, name: &str) -> Networks {
        let Some(Value::Networks(n)) = self.0.get(name) else { panic!("{name} is a list of networks") };
        n.clone()
    }
    pub(super) fn host_ports(&self, name: &str) -> Vec<HostPort> {
        let Some(Value::HostPorts(h)) = self.0.get(name) else { panic!("{name} is host:port") };
        h.clone()
    }
    pub(super) fn some_path(&self, name: &str) -> Option<PathBuf> {
        let Some(Value::Path(p)) = self.0.get(name) else { panic!("{name} is a path") };
        p.clone()
    }
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.some_path(name).unwrap_or_else(|| panic!("{name} is never empty"))
    }
    pub(super) fn listen(&self, name: &str) -> Option<Listen> {
        let Some(Value::Listen(l)) = self.0.get(name) else { panic!("{name} is a listener") };
        l.clone()
    }
    pub(super) fn credentials(&self, name: &str, password: &str) -> Option<(String, Secret)> {
        Some((self.some_text(name)?, Secret::new(self.some_text(password)?)))
    }
}
