//! Structured logs: JSON lines on stderr, or plain lines when stderr is a terminal.
//!
//! What a peer sent goes into a field only through [`peer`], and an address only through [`address`].

use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config;
use crate::telemetry::{BoxedLayer, TARGET};

/// Octets of a peer's text that reach the log.
pub const PEER_TEXT_MAX: usize = 1024;

/// The key of hashed addresses when LOG_ADDRESSES=hash.
static HASH_KEY: OnceLock<Option<[u8; 32]>> = OnceLock::new();

/// Starts logging as configured, and what takes spans. A second call changes nothing.
pub fn start(log: &config::Log, spans: Option<BoxedLayer>) {
    let _ = HASH_KEY.set(log.hash_addresses.then(random_key));
    let mut layers: Vec<BoxedLayer> = spans.into_iter().collect();
    if log.console {
        let filter = filter(&log.filter);
        let terminal = std::io::stderr().is_terminal();
        let layer: BoxedLayer = if terminal {
            tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).boxed()
        } else {
            tracing_subscriber::fmt::layer().with_writer(std::io::stderr).json().flatten_event(true).boxed()
        };
        layers.push(layer.with_filter(filter).boxed());
    }
    if !layers.is_empty() {
        let _ = tracing_subscriber::registry().with(layers).try_init();
    }
}

/// Libraries whose informative events are about themselves: warnings and worse only, unless LOG_LEVEL names
/// the library or asks for more than `info`.
const LIBRARIES: &[&str] = &["surrealdb", "surrealkv", "hickory_net", "hickory_proto", "hickory_resolver"];

fn filter(text: &str) -> Targets {
    let mut filter: Targets = text.parse().unwrap_or_default();
    if filter.default_level() == Some(LevelFilter::INFO) {
        let named = |library: &str| text.split(',').any(|directive| directive.trim().starts_with(library));
        for library in LIBRARIES.iter().filter(|l| !named(l)) {
            filter = filter.with_target(*library, LevelFilter::WARN);
        }
        // It warns of every zone that is signed badly, with the whole answer; what follows from it is said by us.
        if !named("hickory_net") {
            filter = filter.with_target("hickory_net::dnssec", LevelFilter::OFF);
        }
    }
    // Spans are the collector's: without one they are never made, and no line of the log repeats them.
    filter.with_target(TARGET, LevelFilter::OFF)
}

/// Hashes can be compared within one run of the process only: the key is never kept.
fn random_key() -> [u8; 32] {
    let mut key = [0; 32];
    if getrandom::fill(&mut key).is_err() {
        tracing::warn!("no randomness for LOG_ADDRESSES=hash: addresses are hidden altogether");
    }
    key
}

/// A peer's octets for the log: printable ASCII and letters of other scripts as they are, everything else
/// escaped, at most [`PEER_TEXT_MAX`] octets.
pub fn peer(text: &[u8]) -> String {
    let cut = text.len() > PEER_TEXT_MAX;
    let head = &text[..text.len().min(PEER_TEXT_MAX)];
    let mut out = String::with_capacity(head.len());
    for chunk in head.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' || c.is_control() || is_format(c) {
                let _ = write!(out, "{}", c.escape_unicode());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    truncate(&mut out, PEER_TEXT_MAX);
    if cut {
        out.push('…');
    }
    out
}

/// An envelope address for the log; a keyed hash when LOG_ADDRESSES=hash.
pub fn address(text: &str) -> String {
    match HASH_KEY.get() {
        Some(Some(key)) => hashed(key, text),
        _ => peer(text.as_bytes()),
    }
}

fn hashed(key: &[u8; 32], text: &str) -> String {
    let hash = blake3::keyed_hash(key, text.to_lowercase().as_bytes());
    format!("#{}", &hash.to_hex()[..16])
}

/// Line and paragraph separators, bidirectional controls and other invisible characters.
fn is_format(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn truncate(text: &mut String, max: usize) {
    if text.len() > max {
        let mut at = max;
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        text.truncate(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn si42_peer_text_is_escaped() {
        assert_eq!(peer(b"EHLO a\r\nlevel=ERROR"), "EHLO a\\u{d}\\u{a}level=ERROR");
        assert_eq!(peer("\u{1b}[31m \u{2028} \u{202e}".as_bytes()), "\\u{1b}[31m \\u{2028} \\u{202e}");
        assert_eq!(peer(b"\xff\\ \x00"), "\\xff\\u{5c} \\u{0}");
        assert_eq!(peer("grün".as_bytes()), "grün");
    }

    #[test]
    fn si42_peer_text_is_cut_at_its_limit() {
        assert_eq!(peer(&[b'x'; PEER_TEXT_MAX]), "x".repeat(PEER_TEXT_MAX));
        assert_eq!(peer(&[b'x'; PEER_TEXT_MAX + 1]), format!("{}…", "x".repeat(PEER_TEXT_MAX)));
        assert!(peer(&[0x1b; 1 << 20]).len() <= PEER_TEXT_MAX + '…'.len_utf8());
    }

    #[test]
    fn libraries_are_quiet_unless_asked() {
        let enabled = |text: &str, target: &str| filter(text).would_enable(target, &tracing::Level::INFO);
        assert!(!enabled("info", "surrealdb::core::kvs") && enabled("info", "runtime_smol::serve"));
        assert!(enabled("info,surrealdb=info", "surrealdb::core::kvs"));
        assert!(enabled("debug", "surrealdb::core::kvs"));
        assert!(!enabled("warn", "runtime_smol::serve"));
        assert!(!enabled("trace", TARGET) && !enabled("telemetry=trace", TARGET));
    }

    #[test]
    fn hashes_hide_the_address_and_tell_addresses_apart() {
        let key = [7; 32];
        assert_eq!(hashed(&key, "Alice@Example.test"), hashed(&key, "alice@example.test"));
        assert_ne!(hashed(&key, "alice@example.test"), hashed(&key, "bob@example.test"));
        assert_ne!(hashed(&key, "alice@example.test"), hashed(&[8; 32], "alice@example.test"));
        assert!(!hashed(&key, "alice@example.test").contains("alice"));
    }
}
