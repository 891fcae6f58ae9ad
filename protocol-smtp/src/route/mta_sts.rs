//! MTA-STS (RFC 8461): the record that announces a policy, the policy itself, and what is done with a cached
//! one.
//!
//! Pure: TXT answers and what came over HTTPS go in as data. [`Cached::plan`] says whether to fetch, and
//! [`standing`] what holds for mail that leaves now. One rule stands above the others: a policy once seen
//! binds until its `max_age` has passed, whatever becomes of the record and of the policy host, because
//! making those vanish is what an attacker would do (RFC 8461 §10).

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use protocol_core::Timestamp;
use protocol_core::address::canonical_domain;
use protocol_core::time::Duration;

/// Octets of a policy (RFC 8461 §3.3 suggests this limit).
pub const POLICY_OCTETS_MAX: usize = 64 * 1024;
/// The longest life of a policy, about a year, in seconds (RFC 8461 §3.2).
pub const MAX_AGE_SECS_MAX: u32 = 31_557_600;
/// Characters of a policy's `id` (RFC 8461 §3.1).
pub const ID_MAX: usize = 32;
/// A whole fetch, from connecting to the last octet, may take this long.
pub const FETCH_LIMIT: Duration = Duration::from_secs(10);
/// Where a policy stands on its host (RFC 8461 §3.3).
pub const POLICY_PATH: &str = "/.well-known/mta-sts.txt";
/// Where a policy stands is `mta-sts.` and the domain (RFC 8461 §3.3).
pub const POLICY_HOST_PREFIX: &str = "mta-sts.";
/// The record stands at `_mta-sts.` and the domain (RFC 8461 §3.1).
pub const RECORD_PREFIX: &str = "_mta-sts.";
/// A policy that is used is fetched again so often (RFC 8461 §5.1 asks for it before it expires; DT7: daily).
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(86_400);
/// After a failed fetch the next one waits at least this long (RFC 8461 §3.3: five minutes or longer).
pub const RETRY_INTERVAL: Duration = Duration::from_secs(300);
/// A policy that no mail asked for in this time is left to expire.
pub const UNUSED_AFTER: Duration = Duration::from_secs(30 * 86_400);

/// What `_mta-sts` says about a domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Txt {
    /// There is no record, or not exactly one that is valid: the domain announces no policy.
    Absent,
    /// A policy of this `id` is announced.
    Id(String),
    /// The name servers gave no answer; nothing follows from that.
    Failed,
}

impl Txt {
    /// Reads the TXT records, the strings of each joined (RFC 8461 §3.1). Records of other kinds are skipped;
    /// what is left must be one.
    pub fn parse<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Txt {
        let mut ours = records.into_iter().filter(|r| is_of_version(r));
        match (ours.next(), ours.next()) {
            (Some(record), None) => match record_id(record) {
                Some(id) => Txt::Id(id),
                None => Txt::Absent,
            },
            _ => Txt::Absent,
        }
    }
}

/// RFC 8461 §3.1: records that do not begin with `v=STSv1;` are discarded.
fn is_of_version(record: &[u8]) -> bool {
    record
        .strip_prefix(b"v=STSv1")
        .is_some_and(|rest| rest.iter().find(|b| !matches!(b, b' ' | b'\t')) == Some(&b';'))
}

/// The `id` of a record whose every field is well-formed. Of a field that stands twice the first counts.
fn record_id(record: &[u8]) -> Option<String> {
    let record = core::str::from_utf8(record).ok()?;
    let mut id = None;
    let mut fields = record.split(';').map(|f| f.trim_matches([' ', '\t'])).peekable();
    fields.next(); // the version
    while let Some(field) = fields.next() {
        if field.is_empty() && fields.peek().is_none() {
            break; // what stands behind the final delimiter
        }
        let (name, value) = field.split_once('=')?;
        let good_name = !name.is_empty()
            && name.len() <= 32
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        let good_value = !value.is_empty() && value.bytes().all(|b| b.is_ascii_graphic() && b != b'=');
        if !good_name || !good_value {
            return None;
        }
        if name == "id" {
            if value.len() > ID_MAX || !value.bytes().all(|b| b.is_ascii_alphanumeric()) {
                return None;
            }
            id.get_or_insert_with(|| String::from(value));
        }
    }
    id
}

/// What a policy asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Mail goes to listed hosts with a valid certificate, or waits.
    Enforce,
    /// Failures are reported, and mail goes.
    Testing,
    /// There is no policy any more.
    None,
}

impl Mode {
    /// As it stands in a policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Testing => "testing",
            Mode::None => "none",
        }
    }

    /// `enforce`, `testing` or `none`.
    pub fn parse(text: &str) -> Option<Mode> {
        [Mode::Enforce, Mode::Testing, Mode::None].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// Why what the policy host sent is no policy. The result is the same for all: `sts-policy-invalid`
/// (RFC 8460 §4.3.2).
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum PolicyFault {
    TooLong,
    MediaType,
    Encoding,
    Line,
    Version,
    Mode,
    MaxAge,
    Mx,
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PolicyFault::TooLong => "the policy is longer than 64 KiB",
            PolicyFault::MediaType => "the policy is not text/plain",
            PolicyFault::Encoding => "the policy is not UTF-8",
            PolicyFault::Line => "a line of the policy is not `key: value`",
            PolicyFault::Version => "the policy has no `version: STSv1`",
            PolicyFault::Mode => "the policy's mode is missing or unknown",
            PolicyFault::MaxAge => "the policy's max_age is missing or no number of at most 10 digits",
            PolicyFault::Mx => "the policy's mx is missing or no host name",
        })
    }
}

impl core::error::Error for PolicyFault {}

/// A policy (RFC 8461 §3.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// What it asks for.
    pub mode: Mode,
    /// Host names in lower case, those with `*.` in front standing for any one label.
    pub mx: Vec<String>,
    /// How long it binds after it was fetched, in seconds; at most [`MAX_AGE_SECS_MAX`].
    pub max_age_secs: u32,
}

impl Policy {
    /// Reads what the policy host sent with status 200: its `Content-Type` and the body.
    pub fn parse(content_type: &str, body: &[u8]) -> Result<Policy, PolicyFault> {
        let media_type = content_type.split(';').next().unwrap_or("").trim();
        if !media_type.eq_ignore_ascii_case("text/plain") {
            return Err(PolicyFault::MediaType);
        }
        Policy::parse_body(body)
    }

    /// Reads a policy's text. Lines end with CRLF or LF; unknown keys are skipped, and of a key that stands
    /// twice, `mx` apart, the first counts (RFC 8461 §3.2).
    pub fn parse_body(body: &[u8]) -> Result<Policy, PolicyFault> {
        if body.len() > POLICY_OCTETS_MAX {
            return Err(PolicyFault::TooLong);
        }
        let text = core::str::from_utf8(body).map_err(|_| PolicyFault::Encoding)?;
        let (mut version, mut mode, mut max_age) = (None, None, None);
        let mut mx = Vec::new();
        for line in text.split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line).trim_matches([' ', '\t']);
            if line.is_empty() {
                continue;
            }
            let (key, value) = line.split_once(':').ok_or(PolicyFault::Line)?;
            let value = value.trim_matches([' ', '\t']);
            if key.is_empty()
                || !key.bytes().all(|b| b.is_ascii_graphic())
                || value.contains(char::is_control)
            {
                return Err(PolicyFault::Line);
            }
            match key {
                "version" => drop(version.get_or_insert(value)),
                "mode" => drop(mode.get_or_insert(value)),
                "max_age" => drop(max_age.get_or_insert(value)),
                "mx" => mx.push(pattern(value).ok_or(PolicyFault::Mx)?),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(PolicyFault::Version);
        }
        let mode = mode.and_then(Mode::parse).ok_or(PolicyFault::Mode)?;
        let max_age_secs = max_age.and_then(seconds).ok_or(PolicyFault::MaxAge)?;
        if mx.is_empty() && mode != Mode::None {
            return Err(PolicyFault::Mx);
        }
        Ok(Policy { mode, mx, max_age_secs })
    }

    /// Whether a host is listed.
    pub fn allows(&self, host: &str) -> bool {
        self.mx.iter().any(|pattern| matches(pattern, host))
    }

    /// The lines, without their ends: what a report quotes (RFC 8460 §4.4), and what
    /// [`Policy::parse_body`] reads.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::with_capacity(self.mx.len() + 3);
        lines.push(String::from("version: STSv1"));
        lines.push(alloc::format!("mode: {}", self.mode.as_str()));
        lines.extend(self.mx.iter().map(|pattern| alloc::format!("mx: {pattern}")));
        lines.push(alloc::format!("max_age: {}", self.max_age_secs));
        lines
    }

    /// The text, every line with CRLF.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for line in self.lines() {
            text.push_str(&line);
            text.push_str("\r\n");
        }
        text
    }
}

/// At most ten digits (RFC 8461 §3.2), cut at [`MAX_AGE_SECS_MAX`].
fn seconds(value: &str) -> Option<u32> {
    if value.is_empty() || value.len() > 10 || !value.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let secs: u64 = value.parse().ok()?;
    Some(u32::try_from(secs).unwrap_or(u32::MAX).min(MAX_AGE_SECS_MAX))
}

/// A host name, or one with `*.` in front, in canonical form.
fn pattern(value: &str) -> Option<String> {
    let (star, name) = match value.strip_prefix("*.") {
        Some(name) => ("*.", name),
        None => ("", value),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let name = canonical_domain(name).ok().filter(|n| !n.starts_with('['))?;
    Some(alloc::format!("{star}{name}"))
}

/// Whether a host is what a pattern of [`Policy::mx`] stands for. The star is exactly one label
/// (RFC 8461 §4.1, as RFC 6125 §6.4.3).
pub fn matches(pattern: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    match pattern.strip_prefix("*.") {
        None => pattern.eq_ignore_ascii_case(host),
        Some(rest) => host
            .split_once('.')
            .is_some_and(|(label, tail)| !label.is_empty() && rest.eq_ignore_ascii_case(tail)),
    }
}

// ---- the cache ------------------------------------------------------------------------------------------

/// A policy that was fetched, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cached {
    /// The `id` that was announced when it was fetched.
    pub id: String,
    /// The policy.
    pub policy: Policy,
    /// When it was fetched last.
    pub fetched: Timestamp,
    /// When mail asked for it last; kept to the day.
    pub used: Timestamp,
}

/// Whether a policy is fetched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// What is there serves.
    Keep,
    /// First: what is there is nothing, or of another `id`.
    Fetch,
    /// Mail goes by what is there; it is fetched again meanwhile.
    Refresh,
}

impl Cached {
    /// From when on it binds no more.
    pub fn expires(&self) -> Timestamp {
        self.fetched + Duration::from_secs(u64::from(self.policy.max_age_secs))
    }

    /// Whether it binds.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires()
    }

    /// From when on it is fetched again although its `id` has not changed: after a day, and well before it
    /// expires.
    pub fn refresh_at(&self) -> Timestamp {
        let half = Duration::from_secs(u64::from(self.policy.max_age_secs / 2));
        self.fetched + half.min(REFRESH_INTERVAL)
    }

    /// Whether the background refreshes it: it is due, it still binds, and mail asked for it lately.
    pub fn is_refreshed(&self, now: Timestamp) -> bool {
        self.is_live(now) && self.refresh_at() <= now && now.since(self.used) <= UNUSED_AFTER
    }

    /// As one text: what a store keeps. [`Cached::decode`] reads it.
    pub fn encode(&self) -> String {
        alloc::format!("{}\n{}\n{}\n{}", self.id, self.fetched.0, self.used.0, self.policy.text())
    }

    /// What [`Cached::encode`] wrote.
    pub fn decode(text: &str) -> Option<Cached> {
        let mut parts = text.splitn(4, '\n');
        let id = parts.next()?.to_string();
        let fetched = Timestamp(parts.next()?.parse().ok()?);
        let used = Timestamp(parts.next()?.parse().ok()?);
        let policy = Policy::parse_body(parts.next()?.as_bytes()).ok()?;
        Some(Cached { id, policy, fetched, used })
    }
}

/// What to do about a domain's policy before mail goes to it. `failed`: when a fetch of the same `id` failed
/// last.
pub fn plan(now: Timestamp, cached: Option<&Cached>, txt: &Txt, failed: Option<Timestamp>) -> Plan {
    let live = cached.filter(|c| c.is_live(now));
    let wait = failed.is_some_and(|at| now.since(at) < RETRY_INTERVAL);
    match (live, txt) {
        _ if wait => Plan::Keep,
        (Some(cached), Txt::Id(id)) if cached.id != *id => Plan::Fetch,
        (Some(cached), _) if cached.refresh_at() <= now => Plan::Refresh,
        (Some(_), _) => Plan::Keep,
        (None, Txt::Id(_)) => Plan::Fetch,
        // RFC 8461 §3.1: without a record there is no policy to look for.
        (None, Txt::Absent | Txt::Failed) => Plan::Keep,
    }
}

/// What holds for a domain now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// No policy is announced, none is cached.
    Nothing,
    /// A policy is announced, none could be fetched ever, or the last one has expired: someone may be in the
    /// way.
    Advertised,
    /// This one.
    Policy(Policy),
}

/// What holds, once [`plan`] was carried out: `cached` is what is there then, and `fetched` the policy that
/// was fetched for this mail, which counts even when its `max_age` is zero.
pub fn standing(now: Timestamp, cached: Option<&Cached>, txt: &Txt, fetched: Option<&Policy>) -> Standing {
    if let Some(policy) = fetched {
        return Standing::Policy(policy.clone());
    }
    match (cached.filter(|c| c.is_live(now)), txt) {
        (Some(cached), _) => Standing::Policy(cached.policy.clone()),
        (None, Txt::Id(_)) => Standing::Advertised,
        (None, Txt::Absent | Txt::Failed) => Standing::Nothing,
    }
}

/// Our own policy for a domain whose mail comes to `mx`. While our certificate is not publicly valid for that
/// name the mode is `none`, and it is short-lived, so that it does not outlast the cause.
pub fn own(mode: Mode, mx: &str, publicly_valid: bool) -> Policy {
    const OWN_SECS: u32 = 7 * 86_400;
    const NONE_SECS: u32 = 86_400;
    match publicly_valid {
        true => Policy { mode, mx: alloc::vec![String::from(mx)], max_age_secs: OWN_SECS },
        false => Policy { mode: Mode::None, mx: alloc::vec![String::from(mx)], max_age_secs: NONE_SECS },
    }
}

/// The `id` under which a policy is announced: it changes whenever the policy does.
pub fn id_of(policy: &Policy) -> String {
    // FNV-1a: short, without a dependency, and nobody gains anything from a collision in our own policy.
    let hash = policy
        .text()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    alloc::format!("{hash:016x}")
}

#[cfg(test)]
#[path = "mta_sts_tests.rs"]
mod tests;
