//! Counters and gauges for `/metrics`, in the Prometheus text format. Labels come from fixed sets or reply
//! codes; none holds an address or anything else a peer chose.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Different label values one counter keeps; what comes later is counted as `other`.
const LABELS_MAX: usize = 64;

/// A counter with one label.
#[derive(Debug, Default)]
pub struct Labelled(Mutex<BTreeMap<String, u64>>);

impl Labelled {
    /// Adds one under `label`.
    pub fn add(&self, label: &str) {
        let mut counts = self.0.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(n) = counts.get_mut(label) {
            *n += 1;
            return;
        }
        let label = if counts.len() < LABELS_MAX { label } else { "other" };
        *counts.entry(label.to_owned()).or_default() += 1;
    }

    /// The count under `label`.
    pub fn count(&self, label: &str) -> u64 {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).get(label).copied().unwrap_or(0)
    }
}

/// Everything that is counted. One for the process: [`METRICS`].
#[derive(Debug)]
pub struct Metrics {
    /// Connections accepted, by listener.
    pub connections: Labelled,
    /// Connections refused at a limit, by listener.
    pub connections_refused: Labelled,
    /// Open sessions.
    pub sessions: AtomicI64,
    /// TLS handshakes that failed.
    pub tls_failures: AtomicU64,
    /// Messages accepted, by listener.
    pub messages_accepted: Labelled,
    /// Messages and recipients refused, by reply code and enhanced status.
    pub messages_refused: Labelled,
    /// Results of SPF, DKIM, DMARC and ARC, by check and result.
    pub origin_results: Labelled,
    /// Recipients and messages refused for such a result, by check and result.
    pub origin_refusals: Labelled,
    /// Connections and messages over a rate limit.
    pub rate_limited: Labelled,
    /// Messages whose valid signature was seen within the hour before.
    pub signatures_repeated: AtomicU64,
    /// Messages that were accepted before, minutes ago, for the same recipients.
    pub messages_repeated: AtomicU64,
    /// Log-ins that failed, by protocol.
    pub login_failures: Labelled,
    /// Requests over HTTP, by the class of their answer; `malformed` for those that were refused before they were read.
    pub http_requests: Labelled,
    /// Requests of the API, by code; `OK` for what was carried out.
    pub api_requests: Labelled,
    /// Tries to hand events to webhooks, by outcome.
    pub webhook_deliveries: Labelled,
    /// Batches of spans offered to the collector, by outcome.
    pub trace_exports: Labelled,
    /// Connections that messages went out over: made for them, or kept from the message before.
    pub outbound_connections: Labelled,
    /// Outbound delivery attempts, by outcome.
    pub deliveries: Labelled,
    /// What other servers reported of recipients of ours, by what they told.
    pub reported: Labelled,
    /// Deliveries into mailboxes.
    pub local_deliveries: AtomicU64,
    /// When the certificate that we present ends, in seconds of the Unix epoch; 0 when that is not known.
    pub certificate_not_after: AtomicI64,
    /// Jobs in the queue when it was last looked at.
    pub queue_depth: AtomicI64,
    /// 1 while the name servers leave out what DNSSEC needs.
    pub dnssec_stripped: AtomicI64,
}

/// The process's metrics.
pub static METRICS: Metrics = Metrics {
    connections: Labelled(Mutex::new(BTreeMap::new())),
    connections_refused: Labelled(Mutex::new(BTreeMap::new())),
    sessions: AtomicI64::new(0),
    tls_failures: AtomicU64::new(0),
    messages_accepted: Labelled(Mutex::new(BTreeMap::new())),
    messages_refused: Labelled(Mutex::new(BTreeMap::new())),
    origin_results: Labelled(Mutex::new(BTreeMap::new())),
    origin_refusals: Labelled(Mutex::new(BTreeMap::new())),
    rate_limited: Labelled(Mutex::new(BTreeMap::new())),
    signatures_repeated: AtomicU64::new(0),
    messages_repeated: AtomicU64::new(0),
    login_failures: Labelled(Mutex::new(BTreeMap::new())),
    http_requests: Labelled(Mutex::new(BTreeMap::new())),
    api_requests: Labelled(Mutex::new(BTreeMap::new())),
    webhook_deliveries: Labelled(Mutex::new(BTreeMap::new())),
    trace_exports: Labelled(Mutex::new(BTreeMap::new())),
    outbound_connections: Labelled(Mutex::new(BTreeMap::new())),
    deliveries: Labelled(Mutex::new(BTreeMap::new())),
    reported: Labelled(Mutex::new(BTreeMap::new())),
    local_deliveries: AtomicU64::new(0),
    certificate_not_after: AtomicI64::new(0),
    queue_depth: AtomicI64::new(0),
    dnssec_stripped: AtomicI64::new(0),
};

impl Metrics {
    /// The Prometheus text format, version 0.0.4.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let labelled = [
            ("connections_total", "Connections accepted.", "listener", &self.connections),
            ("connections_refused_total", "Connections over a limit.", "listener", &self.connections_refused),
            ("messages_accepted_total", "Messages accepted.", "listener", &self.messages_accepted),
            ("messages_refused_total", "Messages and recipients refused.", "reply", &self.messages_refused),
            ("origin_results_total", "Results of the checks of origin.", "result", &self.origin_results),
            ("rate_limited_total", "Refused for a rate limit.", "what", &self.rate_limited),
            ("origin_refusals_total", "Refusals for such a result.", "result", &self.origin_refusals),
            ("http_requests_total", "Requests over HTTP.", "class", &self.http_requests),
            ("api_requests_total", "Requests of the API.", "code", &self.api_requests),
            ("webhook_deliveries_total", "Events offered to webhooks.", "outcome", &self.webhook_deliveries),
            ("trace_exports_total", "Batches of spans for the collector.", "outcome", &self.trace_exports),
            ("login_failures_total", "Log-ins that failed.", "protocol", &self.login_failures),
            (
                "outbound_connections_total",
                "Connections that messages went out over.",
                "kind",
                &self.outbound_connections,
            ),
            ("deliveries_total", "Delivery attempts for recipients.", "outcome", &self.deliveries),
            ("reported_total", "What other servers reported of recipients.", "told", &self.reported),
        ];
        for (name, help, label, counter) in labelled {
            let _ = writeln!(out, "# HELP inbox_{name} {help}\n# TYPE inbox_{name} counter");
            for (value, n) in counter.0.lock().unwrap_or_else(|e| e.into_inner()).iter() {
                let _ = writeln!(out, "inbox_{name}{{{label}=\"{}\"}} {n}", escape(value));
            }
        }
        let plain = [
            ("sessions", "Open sessions.", "gauge", self.sessions.load(Ordering::Relaxed)),
            ("queue_jobs", "Jobs in the outbound queue.", "gauge", self.queue_depth.load(Ordering::Relaxed)),
            (
                "dnssec_stripped",
                "1 while the name servers leave out what DNSSEC needs: no delivery is under DANE.",
                "gauge",
                self.dnssec_stripped.load(Ordering::Relaxed),
            ),
            (
                "certificate_not_after_seconds",
                "When our certificate ends.",
                "gauge",
                self.certificate_not_after.load(Ordering::Relaxed),
            ),
            ("tls_failures_total", "Failed TLS handshakes.", "counter", signed(&self.tls_failures)),
            (
                "local_deliveries_total",
                "Messages put into mailboxes.",
                "counter",
                signed(&self.local_deliveries),
            ),
            (
                "signatures_repeated_total",
                "Messages whose valid signature was seen within the hour before.",
                "counter",
                signed(&self.signatures_repeated),
            ),
            (
                "messages_repeated_total",
                "Messages accepted minutes after the same message for the same recipients.",
                "counter",
                signed(&self.messages_repeated),
            ),
        ];
        for (name, help, kind, n) in plain {
            let _ = writeln!(out, "# HELP inbox_{name} {help}\n# TYPE inbox_{name} {kind}\ninbox_{name} {n}");
        }
        out
    }
}

fn signed(n: &AtomicU64) -> i64 {
    i64::try_from(n.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded() {
        let counter = Labelled::default();
        for i in 0..=LABELS_MAX {
            counter.add(&i.to_string());
        }
        assert_eq!(counter.count(&(LABELS_MAX - 1).to_string()), 1);
        assert_eq!(counter.count(&LABELS_MAX.to_string()), 0);
        assert_eq!(counter.count("other"), 1);
    }

    #[test]
    fn the_text_format() {
        METRICS.messages_refused.add("550 5.1.1");
        let text = METRICS.render();
        assert!(text.contains("# TYPE inbox_messages_refused_total counter\n"));
        assert!(text.contains("inbox_messages_refused_total{reply=\"550 5.1.1\"} "));
        assert!(text.lines().all(|l| l.starts_with('#') || l.starts_with("inbox_")));
        assert_eq!(escape("a\"\\\n"), "a\\\"\\\\\\n");
    }
}
