//! `inbox config`: what is in effect and where it came from.

use std::fmt::Write;

use super::Feature;
use super::load::Loaded;
use crate::outbound::policy;

/// For a terminal: one line each, then what the retry settings amount to and the warnings.
pub fn text(loaded: &Loaded) -> String {
    let mut out = String::new();
    let width =
        loaded.effective.iter().map(|e| e.variable.name.len() + e.value.len() + 1).filter(|w| *w < 64).max();
    for e in &loaded.effective {
        let absent = match e.variable.feature {
            Feature::Built => String::new(),
            Feature::Absent { what, .. } => format!("; no effect: {what} is not part of this version"),
        };
        let line = format!("{}={}", e.variable.name, e.value);
        let _ =
            writeln!(out, "{line:<0$}  # {1}: {2}{absent}", width.unwrap_or(0), e.source, e.variable.meaning);
    }
    let _ = writeln!(out, "\n# SERVER_HOSTNAME in effect: {}", loaded.config.server.hostname);
    let _ = writeln!(out, "# retries: {}", policy(&loaded.config.outbound).horizon());
    for warning in &loaded.warnings {
        let _ = writeln!(out, "# warning: {warning}");
    }
    out
}

/// For programs.
pub fn json(loaded: &Loaded) -> serde_json::Value {
    let variables: Vec<serde_json::Value> = loaded
        .effective
        .iter()
        .map(|e| {
            serde_json::json!({
                "name": e.variable.name,
                "value": e.value,
                "source": e.source.to_string(),
                "meaning": e.variable.meaning,
                "effective": e.variable.feature == Feature::Built,
            })
        })
        .collect();
    serde_json::json!({
        "variables": variables,
        "hostname": loaded.config.server.hostname,
        "retries": policy(&loaded.config.outbound).horizon().to_string(),
        "warnings": loaded.warnings,
    })
}
