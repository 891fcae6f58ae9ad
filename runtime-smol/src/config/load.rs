//! Reads the sources, checks every variable and how they go together, and builds the [`Config`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::build::{Values, build};
use super::table::{self, Feature, Kind, OTHERS, PREFIXES, VARIABLES, Variable};
use super::value::{self, Value};
use super::*;

/// Where a value came from; later ones win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Source {
    Default,
    Quickstart,
    File,
    Environment,
    CommandLine,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Default => "default",
            Source::Quickstart => "quickstart",
            Source::File => "env-file",
            Source::Environment => "environment",
            Source::CommandLine => "command line",
        })
    }
}

/// Which values stand between the defaults and the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// None.
    Serve,
    /// A demonstration on loopback; without `deliver` nothing leaves the machine.
    Quickstart {
        /// Whether mail for other domains is sent.
        deliver: bool,
    },
}

/// What the configuration is read from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--env-file`.
    pub env_file: Option<PathBuf>,
    /// The profile.
    pub profile: Profile,
    /// The process's environment.
    pub environment: Vec<(OsString, OsString)>,
}

/// A variable with a value that is not valid, or a combination that is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The variable, or the file that could not be read.
    pub name: String,
    /// Its value, secrets masked.
    pub value: String,
    /// What is wrong and what would be valid.
    pub valid: String,
}

/// All faults of a configuration; the exit status is 78.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.0.len();
        writeln!(f, "inbox: the configuration has {n} fault{}:", if n == 1 { "" } else { "s" })?;
        for fault in &self.0 {
            writeln!(f, "  {}={}\n      {}", fault.name, fault.value, fault.valid)?;
        }
        Ok(())
    }
}

/// One variable as it is in effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// The variable.
    pub variable: &'static Variable,
    /// Its value, secrets masked.
    pub value: String,
    /// Where it came from.
    pub source: Source,
}

/// A configuration without faults.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What the administrator should know; one line each.
    pub warnings: Vec<String>,
    /// Every variable, in the table's order.
    pub effective: Vec<Effective>,
}

struct Raw {
    text: String,
    source: Source,
}

/// Reads and checks everything.
pub fn load(sources: &Sources) -> Result<Loaded, Faults> {
    let mut loader = Loader { raw: BTreeMap::new(), faults: Vec::new(), warnings: Vec::new() };
    loader.profile(sources.profile);
    loader.file(sources.env_file.as_deref());
    loader.environment(&sources.environment);
    if let Some(dir) = &sources.data_dir {
        loader.put("INBOX_DATA_DIR", dir.display().to_string(), Source::CommandLine);
    }
    let data_dir = loader.data_dir();
    let (values, effective) = loader.values(&data_dir);
    loader.combinations(&effective);
    if !loader.faults.is_empty() {
        return Err(Faults(loader.faults));
    }
    loader.absent_features();
    let mut config = build(&values, data_dir);
    loader.hostname(&mut config);
    loader.advice(&config);
    Ok(Loaded { config, warnings: loader.warnings, effective })
}

struct Loader {
    raw: BTreeMap<String, Raw>,
    faults: Vec<Fault>,
    warnings: Vec<String>,
}

impl Loader {
    fn put(&mut self, name: &str, text: String, source: Source) {
        self.raw.insert(name.to_owned(), Raw { text, source });
    }

    fn fault(&mut self, name: &str, value: impl Into<String>, valid: impl Into<String>) {
        self.faults.push(Fault { name: name.into(), value: value.into(), valid: valid.into() });
    }

    fn profile(&mut self, profile: Profile) {
        let Profile::Quickstart { deliver } = profile else { return };
        for (name, text) in QUICKSTART {
            self.put(name, text.to_string(), Source::Quickstart);
        }
        if !deliver {
            self.put("SMTP_OUTBOUND_QUEUE_ENABLED", "false".into(), Source::Quickstart);
        }
    }

    fn file(&mut self, path: Option<&Path>) {
        let Some(path) = path else { return };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) => return self.fault("--env-file", path.display().to_string(), e.to_string()),
        };
        for (n, line) in text.lines().enumerate() {
            match env_line(line) {
                Ok(None) => {}
                Ok(Some((name, value))) => self.take(name, value, Source::File),
                Err(why) => {
                    let place = format!("{}:{}", path.display(), n + 1);
                    self.fault("--env-file", place, format!("{why}; valid is NAME=VALUE, or a # comment"));
                }
            }
        }
    }

    fn environment(&mut self, environment: &[(OsString, OsString)]) {
        for (name, value) in environment {
            let Some(name) = name.to_str() else { continue };
            if !PREFIXES.iter().any(|p| name.starts_with(p)) {
                continue;
            }
            match value.to_str() {
                Some(value) => self.take(name, value.to_owned(), Source::Environment),
                None if table::find(name).is_some() => {
                    self.fault(name, "(not UTF-8)", "a value in UTF-8");
                }
                None => {}
            }
        }
    }

    /// Keeps a known variable; warns about an unknown one that looks like ours.
    fn take(&mut self, name: &str, value: String, source: Source) {
        if table::find(name).is_some() {
            return self.put(name, value, source);
        }
        if source != Source::File && OTHERS.contains(&name) {
            return;
        }
        let hint = table::nearest(name).map_or(String::new(), |n| format!("; the nearest known name is {n}"));
        self.warnings.push(format!("{name} ({source}) is not a variable of Inbox{hint}"));
    }

    fn data_dir(&mut self) -> PathBuf {
        match self.raw.get("INBOX_DATA_DIR").map(|r| r.text.clone()) {
            None => "data".into(),
            Some(text) if text.is_empty() => {
                self.fault("INBOX_DATA_DIR", "", "a path");
                "data".into()
            }
            Some(text) => text.into(),
        }
    }

    fn values(&mut self, data_dir: &Path) -> (Values, Vec<Effective>) {
        let mut values = BTreeMap::new();
        let mut effective = Vec::new();
        for variable in VARIABLES {
            let (text, source) = match self.raw.get(variable.name) {
                Some(raw) => (raw.text.clone(), raw.source),
                None => (default_text(variable, data_dir), Source::Default),
            };
            let shown = masked(variable, &text);
            match parse_variable(variable, &text) {
                Ok(value) => {
                    values.insert(variable.name, value);
                }
                Err(why) => {
                    let why =
                        if why.is_empty() || variable.secret { String::new() } else { format!("{why}; ") };
                    let empty = if variable.may_be_empty() { ", or empty" } else { "" };
                    let valid = format!("{why}valid is {}{empty} (from the {source})", variable.kind.valid());
                    self.fault(variable.name, shown.clone(), valid);
                }
            }
            effective.push(Effective { variable, value: shown, source });
        }
        (Values::new(values), effective)
    }

    /// What no variable alone can be blamed for. Looks at the texts, so that a value which is not valid by
    /// itself hides no fault of another.
    fn combinations(&mut self, effective: &[Effective]) {
        let texts: BTreeMap<&str, &str> =
            effective.iter().map(|e| (e.variable.name, e.value.as_str())).collect();
        let is = |name: &str, text: &str| texts.get(name).is_some_and(|t| *t == text);
        self.together(&texts, &["S3_ENDPOINT", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"]);
        if is("S3_ENCRYPTION", "sse-c")
            && texts.get("S3_ENDPOINT").is_some_and(|url| url.starts_with("http://"))
        {
            self.fault(
                "S3_ENCRYPTION",
                "sse-c",
                "auto or client, because keys are sent to an https S3_ENDPOINT only",
            );
        }
        self.together(&texts, &["SMTP_OUTBOUND_RELAY_USERNAME", "SMTP_OUTBOUND_RELAY_PASSWORD"]);
        self.together(&texts, &["TLS_CERT_PATH", "TLS_KEY_PATH"]);
        self.together(&texts, &["SMTP_DKIM_DOMAIN", "SMTP_DKIM_PRIVATE_KEY_B64_PKCS8"]);
        self.needs(&texts, "SMTP_OUTBOUND_RELAY_USERNAME", "SMTP_OUTBOUND_RELAY_HOST");
        self.needs(&texts, "DATABASE_USERNAME", "DATABASE_PASSWORD");
        for (name, text) in
            [("SMTP_OUTBOUND_REQUIRE_STARTTLS", "true"), ("SMTP_OUTBOUND_DANE_MODE", "require")]
        {
            if is("SMTP_OUTBOUND_TLS_MODE", "disabled") && is(name, text) {
                let valid = format!("required or opportunistic, because {name}={text}");
                self.fault("SMTP_OUTBOUND_TLS_MODE", "disabled", valid);
            }
        }
        let share = texts.get("OTEL_TRACES_SAMPLER_ARG").copied().unwrap_or_default();
        if !share.is_empty() && value::parse(Kind::Ratio, share).is_err() {
            self.fault(
                "OTEL_TRACES_SAMPLER_ARG",
                share,
                format!("valid is {}, or empty", Kind::Ratio.valid()),
            );
        }
        let number = |name: &str| texts.get(name).and_then(|t| t.parse::<u64>().ok());
        let (base, max) = ("SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS", "SMTP_OUTBOUND_RETRY_MAX_DELAY_SECS");
        if let (Some(least), Some(most)) = (number(base), number(max))
            && least > most
        {
            self.fault(base, least.to_string(), format!("at most {max}, which is {most}"));
        }
        let mut seen: BTreeMap<u64, &str> = BTreeMap::new();
        let ports = VARIABLES.iter().filter(|v| v.kind == Kind::Port && v.feature == Feature::Built);
        for name in ports.map(|v| v.name) {
            let Some(port) = number(name).filter(|p| *p > 0) else { continue };
            match seen.get(&port) {
                Some(other) => {
                    self.fault(name, port.to_string(), format!("a port other than that of {other}"));
                }
                None => {
                    seen.insert(port, name);
                }
            }
        }
    }

    fn needs(&mut self, texts: &BTreeMap<&str, &str>, one: &str, other: &str) {
        let set = |name: &str| texts.get(name).is_some_and(|t| !t.is_empty());
        if set(one) && !set(other) {
            self.fault(other, "", format!("a value, because {one} is set"));
        }
    }

    fn together(&mut self, texts: &BTreeMap<&str, &str>, names: &[&str]) {
        let (set, missing): (Vec<&str>, Vec<&str>) =
            names.iter().partition(|n| texts.get(*n).is_some_and(|t| !t.is_empty()));
        if set.is_empty() {
            return;
        }
        for name in missing {
            self.fault(name, "", format!("a value, because {} is set: all or none", set.join(" and ")));
        }
    }

    /// A variable that asks for something that is not part of this version is named, never ignored in silence.
    fn absent_features(&mut self) {
        for variable in VARIABLES {
            let Feature::Absent { what, inert } = variable.feature else { continue };
            let Some(raw) = self.raw.get(variable.name) else { continue };
            if raw.source > Source::Quickstart && raw.text != inert {
                let shown = masked(variable, &raw.text);
                self.warnings.push(format!(
                    "{}={shown} has no effect: {what} is not part of this version",
                    variable.name
                ));
            }
        }
    }

    fn hostname(&mut self, config: &mut Config) {
        if !config.server.hostname.is_empty() {
            return;
        }
        config.server.hostname = match machine_name() {
            Some(name) => name,
            None => {
                self.warnings.push(
                    "this machine has no fully qualified name: SERVER_HOSTNAME is mail.localhost, and other servers \
                     will refuse mail from it"
                        .into(),
                );
                "mail.localhost".into()
            }
        };
    }

    fn advice(&mut self, config: &Config) {
        if config.outbound.tls_mode == TlsMode::Disabled {
            self.warnings.push("SMTP_OUTBOUND_TLS_MODE=disabled: mail leaves this server unencrypted".into());
        }
        let outbound = &config.outbound;
        let asks_tlsa = outbound.dane_mode != DaneMode::Off && outbound.tls_mode != TlsMode::Disabled;
        if asks_tlsa && !outbound.dnssec_validate {
            self.warnings.push(
                "SMTP_OUTBOUND_DNSSEC_VALIDATE=false: TLSA records are used without proof that they are genuine"
                    .into(),
            );
        }
        if config.outbound.allow_invalid_certs {
            self.warnings.push(
                "SMTP_OUTBOUND_ALLOW_INVALID_CERTS=true: anybody on the way can pose as the receiving server"
                    .into(),
            );
        }
        if !config.outbound.queue.enabled {
            self.warnings.push(
                "SMTP_OUTBOUND_QUEUE_ENABLED=false: this instance queues mail for other domains and does not send it"
                    .into(),
            );
        }
    }
}

const QUICKSTART: &[(&str, &str)] = &[
    ("SERVER_HOSTNAME", "mail.example.test"),
    ("SERVER_BIND_ADDR", "127.0.0.1"),
    ("SMTP_TRANSFER_PORT", "2525"),
    ("SMTP_SUBMISSION_PORT", "2587"),
    ("SMTP_SUBMISSIONS_PORT", "2465"),
    ("IMAP_PORT", "2143"),
    ("IMAPS_PORT", "2993"),
    ("HTTP_PORT", "8080"),
    ("HTTPS_PORT", "8443"),
    ("SMTP_REQUIRE_SPF_PASS", "false"),
    // What comes from this machine itself has no sender policy to ask about, and there may be no name server.
    ("SMTP_AUTH_EXEMPT_NETWORKS", "127.0.0.0/8,::1/128"),
    ("SMTP_RATE_LIMIT_EXEMPT_NETWORKS", "127.0.0.0/8,::1/128"),
    ("SMTP_OUTBOUND_TLS_MODE", "opportunistic"),
    ("SMTP_OUTBOUND_ALLOW_PRIVATE_NETWORKS", "true"),
    ("WEBHOOK_ALLOW_PRIVATE_NETWORKS", "true"),
];

fn default_text(variable: &Variable, data_dir: &Path) -> String {
    let under = |rest: &str| data_dir.join(rest).display().to_string();
    match (variable.kind, variable.default) {
        (_, text) if variable.name == "INBOX_DATA_DIR" => text.into(),
        (Kind::Path, text) => text.strip_prefix("data/").map_or(text.to_owned(), under),
        (_, text) => match text.strip_prefix("surrealkv://data/") {
            Some(rest) => format!("surrealkv://{}", under(rest)),
            None => text.into(),
        },
    }
}

fn parse_variable(variable: &Variable, text: &str) -> Result<Value, String> {
    if text.is_empty() && !variable.may_be_empty() {
        return Err("it is empty".into());
    }
    value::parse(variable.kind, text)
}

fn masked(variable: &Variable, text: &str) -> String {
    match (variable.secret, text.is_empty()) {
        (true, false) => "********".into(),
        _ => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
    }
}

/// `NAME=VALUE`, possibly after `export`, the value possibly quoted; `None` for comments and empty lines.
fn env_line(line: &str) -> Result<Option<(&str, String)>, &'static str> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, text) = line.split_once('=').ok_or("there is no =")?;
    let name = name.trim();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err("what stands before = is no name");
    }
    let text = text.trim();
    for quote in ['"', '\''] {
        if let Some(rest) = text.strip_prefix(quote) {
            let inner = rest.strip_suffix(quote).ok_or("the quote is not closed")?;
            return Ok(Some((name, inner.to_owned())));
        }
    }
    Ok(Some((name, text.to_owned())))
}

/// The fully qualified name: the node name when it has a dot, else the first dotted name beside it in
/// /etc/hosts, which is where `hostname -f` finds it too.
fn machine_name() -> Option<String> {
    let uname = rustix::system::uname();
    let node = uname.nodename().to_str().ok()?.trim_end_matches('.').to_ascii_lowercase();
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    full_name(&node, &hosts)
}

pub(super) fn full_name(node: &str, hosts: &str) -> Option<String> {
    let good = |name: &str| name.contains('.') && is_hostname(name) && name.parse::<IpAddr>().is_err();
    if good(node) {
        return Some(node.to_owned());
    }
    let lines = hosts.lines().map(|l| l.split('#').next().unwrap_or(""));
    lines
        .map(|l| l.split_whitespace().skip(1).map(str::to_ascii_lowercase).collect::<Vec<_>>())
        .filter(|names| names.iter().any(|n| n == node))
        .flatten()
        .find(|name| good(name))
}
