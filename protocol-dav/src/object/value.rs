//! Values: text with its escapes, lists, structured values (RFC 5545 §3.3.11, RFC 6350 §3.4, §4.1).

use std::borrow::Cow;

/// The text that a value stands for. A backslash before anything but what can be escaped stands for itself.
pub fn unescape_text(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n' | 'N') => out.push('\n'),
            Some(escaped @ ('\\' | ';' | ',' | ':')) => out.push(escaped),
            Some(other) => out.extend(['\\', other]),
            None => out.push('\\'),
        }
    }
    Cow::Owned(out)
}

/// The value that stands for a text.
pub fn escape_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | ';' | ',' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => {}
            _ => out.push(c),
        }
    }
    out
}

/// The parts of a list, still escaped: divided at commas that are not.
pub fn split_list(value: &str) -> impl Iterator<Item = &str> {
    split_at(value, ',')
}

/// The parts of a structured value, still escaped: divided at semicolons that are not.
pub fn split_structured(value: &str) -> impl Iterator<Item = &str> {
    split_at(value, ';')
}

fn split_at(value: &str, mark: char) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut escaped = false;
        for (at, c) in text.char_indices() {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == mark {
                rest = Some(&text[at + 1..]);
                return Some(&text[..at]);
            }
        }
        rest = None;
        Some(text)
    })
}
