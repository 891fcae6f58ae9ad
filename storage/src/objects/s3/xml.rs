//! The few things that are taken from the object store's documents. Names of ours need no escapes and documents
//! are small, so looking for an element by its name is enough; what is not found is not there.

use std::time::{Duration, SystemTime};

use protocol_core::time::Civil;

/// The text of the first element of that name.
pub(super) fn first(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inner, _) = rest.split_once(&format!("</{name}>"))?;
    Some(unescaped(inner))
}

/// The inner texts of all elements of that name, which must not hold another of it.
pub(super) fn all<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(open.as_str())?;
        let (inner, after) = after.split_once(close.as_str())?;
        rest = after;
        Some(inner)
    })
}

/// `2009-10-12T17:50:30.000Z`.
pub(super) fn time(text: &str) -> Option<SystemTime> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u8>().ok();
    let civil = Civil {
        year: text.get(0..4)?.parse().ok()?,
        month: number(5..7)?,
        day: number(8..10)?,
        hour: number(11..13)?,
        minute: number(14..16)?,
        second: number(17..19)?.min(59),
        weekday: 0,
    };
    let millis = text.get(20..23).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    let secs = u64::try_from(civil.to_unix()?).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(secs) + Duration::from_millis(millis))
}

fn unescaped(text: &str) -> String {
    let mut text = text.to_owned();
    for (entity, plain) in
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&apos;", "'"), ("&amp;", "&")]
    {
        text = text.replace(entity, plain);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_and_times_are_found() {
        let text =
            "<L xmlns=\"x\"><Contents><Key>a&amp;b</Key></Contents><Contents><Key>c</Key></Contents></L>";
        assert_eq!(first(text, "Key").as_deref(), Some("a&b"));
        assert_eq!(first(text, "Size"), None);
        let keys: Vec<_> = all(text, "Contents").filter_map(|c| first(c, "Key")).collect();
        assert_eq!(keys, ["a&b", "c"]);
        assert_eq!(first("<a>cut", "a"), None);
        let at =
            |secs: u64, millis: u64| SystemTime::UNIX_EPOCH + Duration::from_millis(secs * 1000 + millis);
        assert_eq!(time("2026-11-23T11:26:35.250Z"), Some(at(1_795_433_195, 250)));
        assert_eq!(time("2026-11-23T11:26:35Z"), Some(at(1_795_433_195, 0)));
        assert_eq!(time("yesterday"), None);
    }
}
