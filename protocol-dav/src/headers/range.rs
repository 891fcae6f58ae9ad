//! `Range` and `If-Range` (RFC 9110 §14).

use super::etag::EntityTag;
use crate::limits;

/// A range as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From the first octet to the last, inclusive; to the end without one.
    From(u64, Option<u64>),
    /// So many octets at the end.
    Last(u64),
}

/// The `Range` of a request, with the `If-Range` that it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeRequest {
    ranges: Vec<ByteRange>,
    only_if: Option<Option<EntityTag>>,
}

/// What part of an entity is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// All of it, with `200`.
    Whole,
    /// From an octet, so many, with `206`.
    Part {
        /// The first octet.
        from: u64,
        /// How many, at least one.
        length: u64,
    },
    /// Nothing of it, with `416` and `Content-Range: bytes */length`.
    Unsatisfiable,
}

impl RangeRequest {
    /// From the two fields. What is not understood is ignored (§14.2): the whole entity is sent. Dates in
    /// `If-Range` are never strong enough here.
    pub fn parse(range: Option<&str>, if_range: Option<&str>) -> Option<RangeRequest> {
        let (unit, set) = range?.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let mut ranges = Vec::new();
        for spec in set.split(',').map(str::trim).filter(|spec| !spec.is_empty()) {
            if ranges.len() == limits::RANGES_MAX {
                return None;
            }
            ranges.push(byte_range(spec)?);
        }
        if ranges.is_empty() {
            return None;
        }
        let only_if = if_range.map(|value| EntityTag::read(value).map(|(tag, _)| tag));
        Some(RangeRequest { ranges, only_if })
    }

    /// What is sent of an entity of this length in this state. Of several ranges that can be satisfied none is
    /// served alone: the whole is sent, which §15.3.7 allows and every client understands.
    pub fn of(&self, length: u64, etag: &str) -> Ranges {
        if let Some(tag) = &self.only_if
            && !tag.as_ref().is_some_and(|tag| tag.is_strongly(etag))
        {
            return Ranges::Whole;
        }
        let mut parts = self.ranges.iter().filter_map(|range| satisfied(*range, length));
        match (parts.next(), parts.next()) {
            (None, _) => Ranges::Unsatisfiable,
            (Some((from, length)), None) => Ranges::Part { from, length },
            (Some(_), Some(_)) => Ranges::Whole,
        }
    }
}

fn byte_range(spec: &str) -> Option<ByteRange> {
    let (first, last) = spec.split_once('-')?;
    let number = |digits: &str| -> Option<u64> {
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        // A number too large for us is beyond every entity.
        Some(digits.parse().unwrap_or(u64::MAX))
    };
    if first.is_empty() {
        return number(last).map(ByteRange::Last);
    }
    let first = number(first)?;
    if last.is_empty() {
        return Some(ByteRange::From(first, None));
    }
    let last = number(last)?;
    (first <= last).then_some(ByteRange::From(first, Some(last)))
}

fn satisfied(range: ByteRange, length: u64) -> Option<(u64, u64)> {
    match range {
        ByteRange::From(first, last) => {
            let end = last.map_or(length, |last| last.saturating_add(1).min(length));
            (first < end).then(|| (first, end - first))
        }
        ByteRange::Last(count) => {
            let count = count.min(length);
            (count > 0).then(|| (length - count, count))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_ten_octets() {
        let of = |range, if_range| RangeRequest::parse(Some(range), if_range).map(|r| r.of(10, "e"));
        let part = |from, length| Some(Ranges::Part { from, length });
        assert_eq!(of("bytes=0-0", None), part(0, 1));
        assert_eq!(of("Bytes = 3-", None), part(3, 7));
        assert_eq!(of("bytes=-4", None), part(6, 4));
        assert_eq!(of("bytes=-40", None), part(0, 10));
        assert_eq!(of("bytes=9-99999999999999999999999", None), part(9, 1));
        assert_eq!(of("bytes=10-", None), Some(Ranges::Unsatisfiable));
        assert_eq!(of("bytes=-0", None), Some(Ranges::Unsatisfiable));
        assert_eq!(of("bytes=0-1,3-4", None), Some(Ranges::Whole));
        assert_eq!(of("bytes=20-21,3-4", None), part(3, 2));
        assert_eq!(of("bytes=0-1", Some("\"e\"")), part(0, 2));
        assert_eq!(of("bytes=0-1", Some("W/\"e\"")), Some(Ranges::Whole));
        assert_eq!(of("bytes=0-1", Some("Tue, 29 Feb 2000 00:00:00 GMT")), Some(Ranges::Whole));
        for ignored in ["bytes=", "bytes=5-2", "bytes=a-b", "bytes=+1-2", "lines=0-1", "bytes 0-1", "bytes=1"]
        {
            assert_eq!(of(ignored, None), None, "{ignored}");
        }
        let many = |count: usize| format!("bytes={}", vec!["0-1"; count].join(","));
        assert!(RangeRequest::parse(Some(&many(limits::RANGES_MAX)), None).is_some());
        assert!(RangeRequest::parse(Some(&many(limits::RANGES_MAX + 1)), None).is_none());
        assert_eq!(RangeRequest::parse(Some("bytes=0-"), None).unwrap().of(0, "e"), Ranges::Unsatisfiable);
    }
}
