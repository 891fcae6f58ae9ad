//! Answers as text for people.

use serde_json::{Map, Value};

/// Columns that come first, in this order; the others follow by name.
const FIRST: &[&str] =
    &["id", "day", "address", "domain", "name", "org", "state", "sender", "recipients", "recipient", "to"];

/// Prints an answer: lists as columns, objects as lines, DNS records as a zone file has them. What stands
/// under `notes` is for stderr and not printed here.
pub(super) fn text(answer: &Value) -> String {
    match answer {
        Value::Array(rows) => table(rows),
        Value::Object(object) => lines(object),
        other => format!("{}\n", cell(other)),
    }
}

/// The notes of an answer.
pub(super) fn notes(answer: &Value) -> impl Iterator<Item = &str> {
    answer.get("notes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn lines(object: &Map<String, Value>) -> String {
    let mut out = String::new();
    for (name, value) in object.iter().filter(|(name, _)| *name != "notes" && *name != "dns") {
        match value {
            Value::Null => {}
            Value::Array(rows) if rows.iter().any(Value::is_object) => {
                out.push_str(&format!("{name}:\n{}", table(rows)));
            }
            Value::Object(inner) => {
                out.push_str(&format!("{name}:\n"));
                inner.iter().for_each(|(n, v)| out.push_str(&format!("  {n}={}\n", cell(v))));
            }
            value => out.push_str(&format!("{name}: {}\n", cell(value))),
        }
    }
    if let Some(Value::Array(records)) = object.get("dns") {
        out.push_str("\nDNS records to publish:\n");
        let of = |record: &Value, name: &str| record.get(name).map(cell).unwrap_or_default();
        for record in records {
            let value = match of(record, "type").as_str() {
                "TXT" => txt(&of(record, "value")),
                _ => of(record, "value"),
            };
            let state = match record.get("live").and_then(Value::as_bool) {
                Some(true) => " ; published",
                Some(false) => " ; not published yet",
                None => "",
            };
            out.push_str(&format!("{} IN {} {value}{state}\n", of(record, "name"), of(record, "type")));
        }
    }
    out
}

/// A TXT record's text in pieces of at most 255 octets (RFC 1035 §3.3.14).
fn txt(value: &str) -> String {
    let pieces: Vec<String> =
        value.as_bytes().chunks(255).map(|c| format!("\"{}\"", String::from_utf8_lossy(c))).collect();
    pieces.join(" ")
}

fn table(rows: &[Value]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for row in rows.iter().filter_map(Value::as_object) {
        names.extend(row.keys().map(String::as_str).filter(|k| !names.contains(k)).collect::<Vec<_>>());
    }
    names.sort_by_key(|name| (FIRST.iter().position(|f| f == name).unwrap_or(FIRST.len()), *name));
    let mut grid = vec![names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()];
    grid.extend(rows.iter().map(|r| names.iter().map(|n| r.get(*n).map(cell).unwrap_or_default()).collect()));
    if rows.is_empty() {
        return "(none)\n".into();
    }
    let width = |column: usize| {
        grid.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let mut out = String::new();
    for row in &grid {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(c, w)| format!("{c:<w$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => crate::logging::peer(text.as_bytes()),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(object) => {
            let shown = object.values().filter(|v| !v.is_null()).map(cell);
            shown.collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_are_columns_and_records_are_split() {
        let list = json!([{"a": "x", "b": [1, 2]}, {"a": "long", "b": null}]);
        assert_eq!(text(&list), "a     b\nx     1, 2\nlong  -\n");
        assert_eq!(
            text(&json!([{"attempts": 1, "id": "x", "state": "y"}])),
            "id  state  attempts\nx   y      1\n"
        );
        assert_eq!(text(&json!([])), "(none)\n");
        let key = "k".repeat(300);
        let object = json!({"domain": "a.test", "notes": ["n"], "dns": [{"name": "a.test.", "type": "TXT", "value": key}]});
        let shown = text(&object);
        assert!(
            shown.contains(&format!("a.test. IN TXT \"{}\" \"{}\"\n", "k".repeat(255), "k".repeat(45))),
            "{shown}"
        );
        assert!(!shown.contains("notes"));
        let record = |live: bool| json!({"name": "a.", "type": "TXT", "value": "x", "live": live});
        let shown = text(&json!({"dns": [record(true), record(false)]}));
        assert!(
            shown.ends_with("a. IN TXT \"x\" ; published\na. IN TXT \"x\" ; not published yet\n"),
            "{shown}"
        );
        assert_eq!(notes(&object).collect::<Vec<_>>(), ["n"]);
    }
}
