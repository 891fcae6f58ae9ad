//! The `If` field (RFC 4918 §10.4).
//!
//! ```text
//! If         = 1*No-tag-list | 1*Tagged-list
//! Tagged-list = Resource-Tag 1*List
//! List       = "(" 1*Condition ")"
//! Condition  = ["Not"] (State-token | "[" entity-tag "]")
//! ```
//!
//! The whole is true when any list is. Every token that is named counts as submitted, whatever its list comes to
//! (§10.4.1).

use super::etag::EntityTag;
use super::is_token;
use crate::limits;
use crate::path::Path;
use crate::refusal::Refusal;

/// An `If` field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfHeader {
    /// Its lists, in order.
    pub lists: Vec<List>,
}

/// Conditions that must all hold for one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The resource; none for that of the request.
    pub tag: Option<Tag>,
    /// The conditions.
    pub conditions: Vec<Condition>,
}

/// The resource that a list is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    /// One that can be of this server.
    Path(Path),
    /// One that cannot: nothing is there, so it has neither entity tags nor locks.
    Elsewhere,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Whether it must not hold.
    pub not: bool,
    /// What is looked for.
    pub test: Test,
}

/// What a condition looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// The resource is locked with this token.
    Token(Box<str>),
    /// The resource is in this state.
    Etag(EntityTag),
}

impl IfHeader {
    /// From a field's value. `host` is that of the request.
    pub fn parse(value: &str, host: &str) -> Result<IfHeader, Refusal> {
        if value.len() > limits::IF_HEADER_MAX {
            return Err(Refusal::status(400, "the If field is too long"));
        }
        Reader { rest: value.trim(), host, conditions: 0 }.header()
    }

    /// All tokens that are submitted with it.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        let conditions = self.lists.iter().flat_map(|list| &list.conditions);
        conditions.filter_map(|condition| match &condition.test {
            Test::Token(token) => Some(&**token),
            Test::Etag(_) => None,
        })
    }
}

struct Reader<'v> {
    rest: &'v str,
    host: &'v str,
    conditions: usize,
}

fn fault() -> Refusal {
    Refusal::status(400, "the If field is not valid")
}

impl<'v> Reader<'v> {
    fn header(mut self) -> Result<IfHeader, Refusal> {
        let mut lists = Vec::new();
        let tagged = self.rest.starts_with('<');
        while !self.rest.is_empty() {
            let tag = if tagged { Some(self.tag()?) } else { None };
            if !self.rest.starts_with('(') {
                return Err(fault());
            }
            while self.take('(') {
                let conditions = self.list()?;
                lists.push(List { tag: tag.clone(), conditions });
            }
            if !tagged && !self.rest.is_empty() {
                return Err(fault());
            }
        }
        if lists.is_empty() { Err(fault()) } else { Ok(IfHeader { lists }) }
    }

    fn tag(&mut self) -> Result<Tag, Refusal> {
        let uri = self.coded()?;
        // An absolute URL or path that is not ours is no fault of the syntax.
        match Path::parse(uri, self.host) {
            Ok(path) => Ok(Tag::Path(path)),
            Err(_) if uri.starts_with('/') || uri.contains(':') => Ok(Tag::Elsewhere),
            Err(_) => Err(fault()),
        }
    }

    fn list(&mut self) -> Result<Vec<Condition>, Refusal> {
        let mut conditions = Vec::new();
        loop {
            self.conditions += 1;
            if self.conditions > limits::IF_CONDITIONS_MAX {
                return Err(Refusal::status(400, "the If field has too many conditions"));
            }
            conditions.push(self.condition()?);
            if self.take(')') {
                return Ok(conditions);
            }
        }
    }

    fn condition(&mut self) -> Result<Condition, Refusal> {
        let not = self.rest.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("not"));
        if not {
            self.rest = self.rest[3..].trim_start();
        }
        let test = if self.take('[') {
            let (etag, rest) = EntityTag::read(self.rest).ok_or_else(fault)?;
            self.rest = rest.trim_start();
            if !self.take(']') {
                return Err(fault());
            }
            Test::Etag(etag)
        } else {
            let token = self.coded()?;
            if !is_token(token) {
                return Err(fault());
            }
            Test::Token(token.into())
        };
        Ok(Condition { not, test })
    }

    /// What stands between angle brackets.
    fn coded(&mut self) -> Result<&'v str, Refusal> {
        let (inner, rest) = self.rest.strip_prefix('<').and_then(|r| r.split_once('>')).ok_or_else(fault)?;
        self.rest = rest.trim_start();
        Ok(inner)
    }

    fn take(&mut self, mark: char) -> bool {
        match self.rest.strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<IfHeader, Refusal> {
        IfHeader::parse(value, "h.example")
    }

    #[test]
    fn the_examples_of_rfc_4918() {
        let header = parse("(<urn:uuid:181d4fae> [\"I am an ETag\"])");
        // §10.4.6 has spaces in an entity tag, which RFC 9110 §8.8.3 does not.
        assert!(header.is_err());
        let header = parse("(<urn:uuid:181d4fae> [\"etag\"]) ([\"another\"])").unwrap();
        assert_eq!(header.lists.len(), 2);
        assert_eq!(header.lists[0].conditions.len(), 2);
        let header = parse("(Not <urn:uuid:181> <urn:uuid:58f>)").unwrap();
        assert!(header.lists[0].conditions[0].not && !header.lists[0].conditions[1].not);
        assert_eq!(header.tokens().collect::<Vec<_>>(), ["urn:uuid:181", "urn:uuid:58f"]);
        let header = parse("(<urn:uuid:1>) (Not <DAV:no-lock>)").unwrap();
        assert_eq!(header.lists.len(), 2);
        let header = parse(
            "</dav/files/a@h.example/r1> (<urn:uuid:1> [W/\"A\"]) ([\"strong\"]) <http://other/r2>([\"x\"])",
        )
        .unwrap();
        let tags: Vec<_> = header.lists.iter().map(|list| list.tag.clone().unwrap()).collect();
        let first = Tag::Path(Path::parse("/dav/files/a@h.example/r1", "").unwrap());
        assert_eq!(tags, [first.clone(), first, Tag::Elsewhere]);
    }

    #[test]
    fn what_the_grammar_does_not_have_is_refused() {
        for value in [
            "",
            "()",
            "(",
            "(<urn:a:1>",
            "<urn:a:1>",
            "(<urn:a:1>) x",
            "(<urn:a:1>) </dav/> (<urn:a:2>)",
            "</dav/>",
            "</dav/> </dav/> (<urn:a:1>)",
            "<relative> (<urn:a:1>)",
            "([etag])",
            "([\"a\")",
            "(Not Not <urn:a:1>)",
            "(Not)",
            "(<urn a>)",
        ] {
            assert!(parse(value).is_err(), "{value}");
        }
    }

    #[test]
    fn limits_of_the_field() {
        let many = |count: usize| format!("({})", "<a:1>".repeat(count));
        assert!(parse(&many(limits::IF_CONDITIONS_MAX)).is_ok());
        assert!(parse(&many(limits::IF_CONDITIONS_MAX + 1)).is_err());
        let long = |length: usize| format!("(<a:1>){}(<a:1>)", " ".repeat(length - 14));
        assert!(parse(&long(limits::IF_HEADER_MAX)).is_ok());
        assert!(parse(&long(limits::IF_HEADER_MAX + 1)).is_err());
    }
}
