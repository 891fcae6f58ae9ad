//! Every variable there is, in one table: name, kind, default, what it means, and whether what it governs
//! is part of this version.

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// 0 to 65535; 0 turns a listener off.
    Port,
    /// 1 to 65535.
    RemotePort,
    /// A whole number within bounds.
    Uint {
        /// Smallest valid value.
        min: u64,
        /// Largest valid value.
        max: u64,
    },
    /// 0.0 to 1.0.
    Ratio,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any text.
    Text,
    /// A DNS name.
    Hostname,
    /// DNS names separated by commas.
    Hostnames,
    /// IP addresses separated by commas.
    Addrs,
    /// Networks (`10.0.0.0/8`, `::1/128`, a bare address) separated by commas.
    Networks,
    /// `host:port`.
    HostPort,
    /// `address:port` separated by commas.
    HostPorts,
    /// `host:port` or the path of a Unix socket.
    Listen,
    /// Header field names separated by commas.
    FieldNames,
    /// `name=value` separated by commas, values percent-encoded.
    Pairs,
    /// A path that is made when absent.
    Path,
    /// A file that must be readable when named.
    File,
    /// A URL of one of these schemes.
    Url(&'static [&'static str]),
    /// A private key for DKIM in PKCS#8, in base64.
    SigningKey,
    /// A `tracing` filter: `info`, `debug`, `info,runtime_smol::smtp=debug`.
    Filter,
}

impl Kind {
    /// What would be valid, for a person.
    pub fn valid(self) -> String {
        match self {
            Kind::Bool => "true or false".into(),
            Kind::Port => "a port number, 0 to 65535 (0 turns it off)".into(),
            Kind::RemotePort => "a port number, 1 to 65535".into(),
            Kind::Uint { min, max } => format!("a whole number, {min} to {max}"),
            Kind::Ratio => "a number from 0.0 to 1.0".into(),
            Kind::Choice(words) => {
                words.iter().copied().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" or ")
            }
            Kind::Text => "one line of text".into(),
            Kind::Hostname => "a host name such as mail.example.com".into(),
            Kind::Hostnames => "domain names separated by commas".into(),
            Kind::Addrs => "IP addresses separated by commas".into(),
            Kind::Networks => "networks such as 10.0.0.0/8 or fd00::/8, separated by commas".into(),
            Kind::HostPort => "host:port".into(),
            Kind::HostPorts => "address:port, several separated by commas".into(),
            Kind::Listen => "host:port or the path of a Unix socket, with at least one /".into(),
            Kind::Pairs => "name=value, several separated by commas, values percent-encoded".into(),
            Kind::FieldNames => "header field names separated by commas".into(),
            Kind::Path => "a path".into(),
            Kind::File => "the path of a file that can be read".into(),
            Kind::Url(schemes) => format!("a URL that begins with {}", schemes.join(" or ")),
            Kind::SigningKey => {
                "an RSA key of 2,048 to 4,096 bits or an Ed25519 key, in PKCS#8 in base64".into()
            }
            Kind::Filter => "off, error, warn, info, debug or trace, or a list of target=level".into(),
        }
    }
}

/// Whether what a variable governs is part of this version.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Feature {
    /// It has effect.
    Built,
    /// It has none yet.
    Absent {
        /// What is missing.
        what: &'static str,
        /// The value that asks for nothing that is missing; setting it is no reason for a warning.
        inert: &'static str,
    },
}

/// One variable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variable {
    /// The name in the environment.
    pub name: &'static str,
    /// What a value must look like.
    pub kind: Kind,
    /// The value when no source gives one. Paths that begin with `data/` lie under the data directory.
    pub default: &'static str,
    /// Never printed.
    pub secret: bool,
    /// Whether it has effect.
    pub feature: Feature,
    /// One line for `inbox config`.
    pub meaning: &'static str,
}

impl Variable {
    const fn new(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Variable {
        Variable { name, kind, default, secret: false, feature: Feature::Built, meaning }
    }

    const fn secret(mut self) -> Variable {
        self.secret = true;
        self
    }

    const fn absent(mut self, what: &'static str, inert: &'static str) -> Variable {
        self.feature = Feature::Absent { what, inert };
        self
    }

    /// An empty value is valid where the default is empty.
    pub fn may_be_empty(&self) -> bool {
        self.default.is_empty()
    }
}

/// A name that begins with one of these is ours: unknown ones are warned about.
pub const PREFIXES: &[&str] = &[
    "DAV_",
    "SERVER_",
    "SMTP_",
    "IMAP_",
    "IMAPS_",
    "LMTP_",
    "MANAGESIEVE_",
    "HTTP_",
    "HTTPS_",
    "S3_",
    "INBOX_",
    "OTEL_",
    "DATABASE_",
    "TLS_",
    "DNS_",
    "WEBHOOK_",
    "PROXY_PROTOCOL_",
    "LOG_",
    "MTA_STS_",
    "OIDC_",
];

/// Names under our prefixes that mean something to other programs or to the tests.
pub const OTHERS: &[&str] = &["HTTP_PROXY", "HTTPS_PROXY", "INBOX_TEST_REQUIRE_ALL"];

const DAY_SECS: u64 = 86_400;
const SECS: Kind = Kind::Uint { min: 1, max: 366 * DAY_SECS };
const SECS_OR_NEVER: Kind = Kind::Uint { min: 0, max: 366 * DAY_SECS };
const COUNT: Kind = Kind::Uint { min: 1, max: 1_000_000_000 };
const OTLP: &[&str] = &["http/protobuf", "http/json"];
const OTLP_OR_NONE: &[&str] = &["", "http/protobuf", "http/json"];
const SAMPLERS: &[&str] = &[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

const fn v(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Variable {
    Variable::new(name, kind, default, meaning)
}

/// All variables, in the order `inbox config` prints them.
pub const VARIABLES: &[Variable] = &[
    v("INBOX_DATA_DIR", Kind::Path, "data", "where everything is kept; --data-dir wins over it"),
    v(
        "SERVER_HOSTNAME",
        Kind::Hostname,
        "",
        "the name in greetings, Received and the certificate; empty: the machine's full name",
    ),
    v("SERVER_BIND_ADDR", Kind::Addrs, "0.0.0.0", "addresses every listener binds"),
    v("SERVER_MAX_CONNECTIONS", COUNT, "16384", "connections not yet authenticated"),
    v("SERVER_MAX_CONNECTIONS_PER_IP", COUNT, "256", "the same, of one address"),
    v("SMTP_TRANSFER_PORT", Kind::Port, "25", "mail from other servers"),
    v("SMTP_SUBMISSION_PORT", Kind::Port, "587", "submission, STARTTLS then AUTH"),
    v("SMTP_SUBMISSIONS_PORT", Kind::Port, "465", "submission over implicit TLS"),
    v("LMTP_SOCKET", Kind::Listen, "", "LMTP listener: host:port or the path of a Unix socket"),
    v("IMAP_PORT", Kind::Port, "143", "IMAP with STARTTLS"),
    v("IMAPS_PORT", Kind::Port, "993", "IMAP over implicit TLS"),
    v("MANAGESIEVE_PORT", Kind::Port, "0", "ManageSieve").absent("ManageSieve", "0"),
    v("HTTP_PORT", Kind::Port, "8080", "HTTP: the API, health, metrics and MTA-STS policies"),
    v("HTTPS_PORT", Kind::Port, "8443", "the same over TLS"),
    v("HTTP_TRUSTED_PROXIES", Kind::Networks, "", "proxies whose forwarded headers count"),
    v("PROXY_PROTOCOL_NETWORKS", Kind::Networks, "", "load balancers that speak the PROXY protocol")
        .absent("the PROXY protocol", ""),
    v("TLS_CERT_PATH", Kind::File, "", "certificate chain, PEM; empty: a self-signed one is made"),
    v("TLS_KEY_PATH", Kind::File, "", "its private key, PEM"),
    v("TLS_EXTRA_ROOTS_FILE", Kind::File, "", "roots trusted beside the public ones, PEM"),
    v(
        "SMTP_MAX_MESSAGE_BYTES",
        Kind::Uint { min: 65_536, max: 2_147_483_648 },
        "26214400",
        "largest message on the transfer port and LMTP",
    ),
    v(
        "SMTP_INBOUND_MAX_RCPT_TO",
        Kind::Uint { min: 1, max: 10_000 },
        "100",
        "recipients of one message, on every SMTP port",
    ),
    v(
        "SMTP_TRANSFER_GREET_DELAY_SECS",
        Kind::Uint { min: 0, max: 30 },
        "0",
        "how long the greeting on the transfer port waits for clients that speak first, which are refused",
    ),
    v("SMTP_OUTBOUND_PORT", Kind::RemotePort, "25", "the port of other servers"),
    v(
        "SMTP_OUTBOUND_TLS_MODE",
        Kind::Choice(&["required", "opportunistic", "disabled"]),
        "required",
        "TLS to other servers",
    ),
    v("SMTP_OUTBOUND_REQUIRE_STARTTLS", Kind::Bool, "false", "opportunistic never falls back to plaintext"),
    v("SMTP_OUTBOUND_ALLOW_INVALID_CERTS", Kind::Bool, "false", "any certificate will do"),
    v(
        "SMTP_OUTBOUND_ALLOW_PLAINTEXT_FALLBACK",
        Kind::Bool,
        "true",
        "opportunistic may fall back to plaintext",
    ),
    v("SMTP_OUTBOUND_DANE_MODE", Kind::Choice(&["off", "prefer", "require"]), "prefer", "TLSA records"),
    v("SMTP_OUTBOUND_DNSSEC_VALIDATE", Kind::Bool, "true", "TLSA records need proof"),
    v("SMTP_OUTBOUND_MTA_STS_ENFORCE", Kind::Bool, "true", "policies in mode enforce are obeyed"),
    v(
        "MTA_STS_OWN_MODE",
        Kind::Choice(&["none", "testing", "enforce"]),
        "testing",
        "mode of our own domains' policy, once the certificate is valid for SERVER_HOSTNAME; none until then",
    ),
    v("MTA_STS_HTTPS_PORT", Kind::RemotePort, "443", "port policies are fetched from; for tests"),
    v("SMTP_TLS_REPORT_DIR", Kind::Path, "data/tlsrpt", "TLS successes and failures, JSONL"),
    v(
        "SMTP_OUTBOUND_TIMEOUT_SECS",
        SECS,
        "30",
        "connecting, handshake, each reply and each write without progress",
    ),
    v(
        "SMTP_OUTBOUND_ALLOW_PRIVATE_NETWORKS",
        Kind::Bool,
        "false",
        "loopback, private and link-local addresses may be dialled",
    ),
    v("SMTP_OUTBOUND_RELAY_HOST", Kind::HostPort, "", "everything goes to this server; empty: MX"),
    v("SMTP_OUTBOUND_RELAY_USERNAME", Kind::Text, "", "name for AUTH at the relay"),
    v("SMTP_OUTBOUND_RELAY_PASSWORD", Kind::Text, "", "password for AUTH at the relay").secret(),
    v(
        "SMTP_OUTBOUND_RELAY_TLS",
        Kind::Choice(&["starttls", "implicit"]),
        "starttls",
        "how TLS begins at the relay",
    ),
    v(
        "SMTP_OUTBOUND_SOURCE_ADDRS",
        Kind::Addrs,
        "",
        "local addresses to dial from; empty: the system's choice",
    ),
    v("SMTP_OUTBOUND_IP_FAMILY", Kind::Choice(&["any", "ipv4", "ipv6"]), "any", "address family to dial"),
    v(
        "SMTP_OUTBOUND_DELAY_WARNING_SECS",
        SECS_OR_NEVER,
        "3600",
        "a delay notice goes out after this; 0: never",
    ),
    v("SMTP_OUTBOUND_QUEUE_ENABLED", Kind::Bool, "true", "this instance delivers what is queued"),
    v(
        "SMTP_OUTBOUND_QUEUE_POLL_INTERVAL_SECS",
        SECS,
        "2",
        "how often the queue is looked at without an event",
    ),
    v("SMTP_OUTBOUND_QUEUE_CLEANUP_INTERVAL_SECS", SECS, "300", "how often old rows are removed"),
    v("SMTP_OUTBOUND_QUEUE_BATCH_SIZE", Kind::Uint { min: 1, max: 10_000 }, "100", "jobs claimed at once"),
    v(
        "SMTP_OUTBOUND_QUEUE_LEASE_SECS",
        Kind::Uint { min: 10, max: DAY_SECS },
        "120",
        "how long a claim holds without renewal",
    ),
    v("SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS", SECS, "30", "delay after the first attempt; doubles each time"),
    v("SMTP_OUTBOUND_RETRY_MAX_DELAY_SECS", SECS, "3600", "the delay never grows beyond this"),
    v(
        "SMTP_OUTBOUND_MAX_ATTEMPTS",
        Kind::Uint { min: 1, max: 100_000 },
        "10",
        "attempts before a message is returned",
    ),
    v("SMTP_OUTBOUND_TTL_SECS", SECS, "86400", "age at which a message is returned"),
    v("SMTP_OUTBOUND_DEAD_JOB_RETENTION_SECS", SECS, "604800", "how long failed jobs can be looked at"),
    v("SMTP_OUTBOUND_DELIVERY_RETENTION_SECS", SECS, "2592000", "how long delivery records are kept"),
    v("SMTP_RATE_LIMIT_ENABLED", Kind::Bool, "true", "windows by source address"),
    v("SMTP_RATE_LIMIT_WINDOW_SECS", SECS, "60", "length of a window"),
    v("SMTP_RATE_LIMIT_TRANSFER_CONNECTIONS_PER_WINDOW", COUNT, "240", "connections to the transfer port"),
    v(
        "SMTP_RATE_LIMIT_SUBMISSION_CONNECTIONS_PER_WINDOW",
        COUNT,
        "120",
        "connections to the submission ports",
    ),
    v("SMTP_RATE_LIMIT_TRANSFER_MESSAGES_PER_WINDOW", COUNT, "240", "messages on the transfer port"),
    v("SMTP_RATE_LIMIT_SUBMISSION_MESSAGES_PER_WINDOW", COUNT, "120", "messages on the submission ports"),
    v("HTTP_RATE_LIMIT_REQUESTS_PER_WINDOW", COUNT, "600", "requests of one API key or mailbox over HTTP"),
    v("DAV_RATE_LIMIT_REQUESTS_PER_WINDOW", COUNT, "6000", "DAV requests of one mailbox"),
    v(
        "DAV_MAX_FILE_BYTES",
        Kind::Uint { min: 1, max: 1_099_511_627_776 },
        "1073741824",
        "octets of a file that is kept over DAV",
    ),
    v("SMTP_RATE_LIMIT_FAIL_OPEN_ON_DB_ERROR", Kind::Bool, "true", "without a database nothing is limited"),
    v("SMTP_RATE_LIMIT_EXEMPT_NETWORKS", Kind::Networks, "", "networks that are not counted"),
    v("SMTP_REQUIRE_SPF_PASS", Kind::Bool, "true", "mail without an SPF pass is refused"),
    v("SMTP_REQUIRE_DKIM_PASS", Kind::Bool, "false", "mail without a DKIM pass is refused"),
    v("SMTP_REQUIRE_DMARC_PASS", Kind::Bool, "false", "mail without a DMARC pass is refused"),
    v("SMTP_SPF_ACCEPT_ALIGNED_DKIM", Kind::Bool, "false", "an aligned DKIM pass stands for SPF"),
    v("SMTP_AUTH_EXEMPT_NETWORKS", Kind::Networks, "", "networks no requirement applies to"),
    v(
        "SMTP_AUTH_ALLOW_HEADER_OVERRIDE",
        Kind::Bool,
        "false",
        "a gateway's Authentication-Results replace ours",
    ),
    v("SMTP_AUTH_TRUSTED_NETWORKS", Kind::Networks, "127.0.0.0/8,::1/128", "where such gateways are"),
    v("SMTP_ARC_TRUSTED_SEALERS", Kind::Hostnames, "", "domains whose ARC seals count"),
    v(
        "SMTP_DMARC_APPLY_SENDER_POLICY",
        Kind::Choice(&["apply", "junk", "ignore"]),
        "apply",
        "what a sender's DMARC policy does",
    ),
    v("SMTP_DMARC_REPORT_DIR", Kind::Path, "data/dmarcrpt", "what aggregate reports are made of, JSONL"),
    v("SMTP_DKIM_DOMAIN", Kind::Hostname, "", "signing domain of the installation's key"),
    v(
        "SMTP_DKIM_SELECTOR",
        Kind::Hostname,
        "mail",
        "selector of keys made here and of the installation's key",
    ),
    v("SMTP_DKIM_PRIVATE_KEY_B64_PKCS8", Kind::SigningKey, "", "the installation's key, RSA or Ed25519")
        .secret(),
    v("SMTP_DKIM_HEADERS", Kind::FieldNames, "From,To,Subject,Date", "fields that are signed, there or not"),
    v("OIDC_ISSUER", Kind::Url(&["https://", "http://"]), "", "issuer of accepted bearer tokens")
        .absent("OAUTHBEARER and XOAUTH2", ""),
    v(
        "DATABASE_URL",
        Kind::Url(&["surrealkv://", "mem://", "ws://", "wss://"]),
        "surrealkv://data/db",
        "the database",
    ),
    v("DATABASE_NAMESPACE", Kind::Text, "inbox", "its namespace"),
    v("DATABASE_NAME", Kind::Text, "inbox", "its name in the namespace"),
    v("DATABASE_USERNAME", Kind::Text, "", "name to sign in with, for ws:// and wss://"),
    v("DATABASE_PASSWORD", Kind::Text, "", "password to sign in with").secret(),
    v(
        "INBOX_MASTER_KEY_FILE",
        Kind::Path,
        "data/master.key",
        "seals every secret; made with mode 0600 when absent",
    ),
    v("INBOX_INCOMING_DIR", Kind::Path, "data/incoming", "where message objects lie"),
    v("INBOX_STORE_PARSED_PARTS", Kind::Bool, "false", "decoded body parts are kept as objects too"),
    v(
        "S3_ENDPOINT",
        Kind::Url(&["https://", "http://"]),
        "",
        "endpoint of the object store; empty: objects are files",
    ),
    v("S3_REGION", Kind::Text, "auto", "its region"),
    v("S3_BUCKET", Kind::Text, "inbox-mail", "its bucket"),
    v("S3_ACCESS_KEY_ID", Kind::Text, "", "key ID"),
    v("S3_SECRET_ACCESS_KEY", Kind::Text, "", "secret key").secret(),
    v("S3_FORCE_PATH_STYLE", Kind::Bool, "false", "the bucket is in the path, not in the host name"),
    v(
        "S3_ENCRYPTION",
        Kind::Choice(&["auto", "sse-c", "client"]),
        "auto",
        "who encrypts objects beside us: the store with the tenant's key (https only), or nobody",
    ),
    v("DNS_RESOLVERS", Kind::HostPorts, "", "resolvers to ask; empty: the system's"),
    v("DNS_TRUST_ANCHOR_FILE", Kind::File, "", "trust anchors, DNSKEY records; empty: the root's"),
    v("WEBHOOK_ALLOW_PRIVATE_NETWORKS", Kind::Bool, "false", "webhooks may go to private addresses"),
    v("LOG_ADDRESSES", Kind::Choice(&["plain", "hash"]), "plain", "how addresses appear in the log"),
    v("LOG_LEVEL", Kind::Filter, "info", "what is logged"),
    v("OTEL_ENABLED", Kind::Bool, "false", "traces are exported"),
    v("OTEL_SDK_DISABLED", Kind::Bool, "false", "true: none are, whatever OTEL_ENABLED says"),
    v(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        Kind::Url(&["https://", "http://"]),
        "http://localhost:4318/v1/traces",
        "where they go; /v1/traces is added when there is no path",
    ),
    v(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        Kind::Url(&["https://", "http://"]),
        "",
        "where they go instead, as it stands",
    ),
    v("OTEL_EXPORTER_OTLP_HEADERS", Kind::Pairs, "", "fields that go with each request").secret(),
    v("OTEL_EXPORTER_OTLP_TRACES_HEADERS", Kind::Pairs, "", "the same, instead of those").secret(),
    v("OTEL_EXPORTER_OTLP_PROTOCOL", Kind::Choice(OTLP), "http/protobuf", "in which form they go"),
    v("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", Kind::Choice(OTLP_OR_NONE), "", "the same, instead of that"),
    v("OTEL_EXPORTER_OTLP_TIMEOUT", Kind::Uint { min: 1, max: 600_000 }, "10000", "ms for one request"),
    v(
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        Kind::Uint { min: 0, max: 600_000 },
        "0",
        "the same, instead; 0: that",
    ),
    v("OTEL_SERVICE_NAME", Kind::Text, "inbox", "the service they name"),
    v("OTEL_RESOURCE_ATTRIBUTES", Kind::Pairs, "", "what else they say of this process"),
    v("OTEL_SAMPLE_RATIO", Kind::Ratio, "1.0", "the share of traces that is kept"),
    v("OTEL_TRACES_SAMPLER", Kind::Choice(SAMPLERS), "parentbased_traceidratio", "which traces are kept"),
    v("OTEL_TRACES_SAMPLER_ARG", Kind::Text, "", "its share, instead of OTEL_SAMPLE_RATIO"),
    v("OTEL_CONSOLE_LOGS", Kind::Bool, "true", "false silences the console"),
];

/// The variable of that name.
pub fn find(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|v| v.name == name)
}

/// The known name with the fewest edits between, at most a third of its length.
pub fn nearest(name: &str) -> Option<&'static str> {
    let (distance, known) = VARIABLES.iter().map(|v| (edits(name, v.name), v.name)).min()?;
    (distance <= known.len() / 3).then_some(known)
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_under_a_prefix() {
        for (i, v) in VARIABLES.iter().enumerate() {
            assert!(VARIABLES[..i].iter().all(|w| w.name != v.name), "{} twice", v.name);
            assert!(PREFIXES.iter().any(|p| v.name.starts_with(p)), "{} has no prefix", v.name);
        }
    }

    #[test]
    fn the_nearest_name_is_found_and_far_ones_are_not() {
        assert_eq!(nearest("SMTP_TRANSFER_PROT"), Some("SMTP_TRANSFER_PORT"));
        assert_eq!(nearest("SMTP_OUTBOUND_TSL_MODE"), Some("SMTP_OUTBOUND_TLS_MODE"));
        assert_eq!(nearest("S3_X"), None);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
