//! Entity tags and the lists of `If-Match` and `If-None-Match` (RFC 9110 §8.8.3, §13.1).

use crate::limits;
use crate::refusal::Refusal;

/// An entity tag as it stands in a field. Our own are always strong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityTag {
    /// Whether it was written with `W/`.
    pub weak: bool,
    /// What stands between the quotes.
    pub opaque: Box<str>,
}

impl EntityTag {
    /// The tag at the beginning of `text`, and what follows it.
    pub(crate) fn read(text: &str) -> Option<(EntityTag, &str)> {
        let (weak, rest) = match text.strip_prefix("W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (opaque, rest) = rest.strip_prefix('"')?.split_once('"')?;
        let holds = |c: char| !c.is_control() && c != ' ';
        if opaque.len() > limits::TAG_MAX || !opaque.chars().all(holds) {
            return None;
        }
        Some((EntityTag { weak, opaque: opaque.into() }, rest))
    }

    /// Strong comparison with a strong tag of ours (RFC 9110 §8.8.3.2).
    pub fn is_strongly(&self, opaque: &str) -> bool {
        !self.weak && *self.opaque == *opaque
    }

    /// Weak comparison.
    pub fn is_weakly(&self, opaque: &str) -> bool {
        *self.opaque == *opaque
    }
}

/// What `If-Match` or `If-None-Match` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagList {
    /// `*`: whatever is there.
    Any,
    /// These.
    Tags(Vec<EntityTag>),
}

impl TagList {
    /// From a field's value. Some clients leave the quotes out; one token without them is taken for a tag.
    pub fn parse(value: &str) -> Result<TagList, Refusal> {
        let fault = || Refusal::status(400, "a list of entity tags is not valid");
        if value == "*" {
            return Ok(TagList::Any);
        }
        if !value.contains('"')
            && !value.is_empty()
            && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return Ok(TagList::Tags(vec![EntityTag { weak: false, opaque: value.into() }]));
        }
        let mut tags = Vec::new();
        let mut rest = value;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            let (tag, after) = EntityTag::read(rest).ok_or_else(fault)?;
            let after = after.trim_start_matches([' ', '\t']);
            if !after.is_empty() && !after.starts_with(',') {
                return Err(fault());
            }
            if tags.len() == limits::ENTITY_TAGS_MAX {
                return Err(Refusal::status(400, "there are too many entity tags"));
            }
            tags.push(tag);
            rest = after;
        }
        if tags.is_empty() { Err(fault()) } else { Ok(TagList::Tags(tags)) }
    }

    /// Whether it names this state, by strong comparison (`If-Match`).
    pub fn matches_strongly(&self, etag: Option<&str>) -> bool {
        match (self, etag) {
            (_, None) => false,
            (TagList::Any, Some(_)) => true,
            (TagList::Tags(tags), Some(etag)) => tags.iter().any(|tag| tag.is_strongly(etag)),
        }
    }

    /// Whether it names this state, by weak comparison (`If-None-Match`).
    pub fn matches_weakly(&self, etag: Option<&str>) -> bool {
        match (self, etag) {
            (_, None) => false,
            (TagList::Any, Some(_)) => true,
            (TagList::Tags(tags), Some(etag)) => tags.iter().any(|tag| tag.is_weakly(etag)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let list = TagList::parse("\"a\" ,, W/\"b,c\"").unwrap();
        assert!(list.matches_strongly(Some("a")) && !list.matches_strongly(Some("b,c")));
        assert!(list.matches_weakly(Some("b,c")) && !list.matches_weakly(Some("x")));
        assert!(!list.matches_weakly(None) && !TagList::Any.matches_strongly(None));
        assert!(TagList::Any.matches_strongly(Some("x")));
        assert!(TagList::parse("bare-1").unwrap().matches_strongly(Some("bare-1")));
        for value in ["", ",", "\"a", "\"a\" \"b\"", "w/\"a\"", "\"a b\"", "a,b", "*, \"a\""] {
            assert!(TagList::parse(value).is_err(), "{value}");
        }
    }

    #[test]
    fn limits_of_tags() {
        let many = |count: usize| vec!["\"a\""; count].join(",");
        assert!(TagList::parse(&many(limits::ENTITY_TAGS_MAX)).is_ok());
        assert!(TagList::parse(&many(limits::ENTITY_TAGS_MAX + 1)).is_err());
        let long = |length: usize| format!("\"{}\"", "x".repeat(length));
        assert!(TagList::parse(&long(limits::TAG_MAX)).is_ok());
        assert!(TagList::parse(&long(limits::TAG_MAX + 1)).is_err());
    }
}
