//! What a document may ask of the server, found out before anything else looks at it (HG5).
//!
//! The executor has limits of its own; these come first, because what nests or repeats itself can cost much before
//! they are reached.

use std::collections::HashMap;

use async_graphql::Positioned;
use async_graphql::parser::types::{ExecutableDocument, Selection, SelectionSet};

use crate::api::error::{ApiError, Code};

/// Brackets within one another, before the document is parsed at all.
const BRACKETS_MAX: usize = 64;
/// Fields within one another, fragments spread out.
pub const DEPTH_MAX: usize = 12;
/// Fields that are answered, fragments spread out.
pub const COMPLEXITY_MAX: usize = 1_000;
/// Aliases in the whole document.
pub const ALIASES_MAX: usize = 50;
/// Directives in the whole document.
pub const DIRECTIVES_MAX: usize = 50;
/// Operations and fragments of one document.
pub const DEFINITIONS_MAX: usize = 50;

fn refused(what: &str, max: usize) -> ApiError {
    ApiError::new(Code::BadRequest, format!("the document has more than {max} {what}"))
}

/// Looks at the text: how deep its brackets go. Strings and comments are passed over.
pub fn check_text(text: &str) -> Result<(), ApiError> {
    let mut depth = 0usize;
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match first {
            b'#' => after(tail, b"\n").unwrap_or_default(),
            b'"' => after_string(rest),
            b'{' | b'(' | b'[' => {
                depth += 1;
                tail
            }
            b'}' | b')' | b']' => {
                depth = depth.saturating_sub(1);
                tail
            }
            _ => tail,
        };
        if depth > BRACKETS_MAX {
            return Err(refused("brackets within one another", BRACKETS_MAX));
        }
    }
    Ok(())
}

fn after<'a>(bytes: &'a [u8], end: &[u8]) -> Option<&'a [u8]> {
    memchr::memmem::find(bytes, end).and_then(|at| bytes.get(at + end.len()..))
}

/// What stands behind the string that `bytes` begins with.
fn after_string(bytes: &[u8]) -> &[u8] {
    if let Some(rest) = bytes.strip_prefix(b"\"\"\"") {
        return after(rest, b"\"\"\"").unwrap_or_default();
    }
    let mut rest = bytes.get(1..).unwrap_or_default();
    loop {
        match rest {
            [b'\\', _, tail @ ..] => rest = tail,
            [b'"', tail @ ..] => return tail,
            [_, tail @ ..] => rest = tail,
            [] => return rest,
        }
    }
}

/// Looks at the parsed document.
pub fn check(document: &ExecutableDocument) -> Result<(), ApiError> {
    let operations = document.operations.iter().count();
    if operations + document.fragments.len() > DEFINITIONS_MAX {
        return Err(refused("operations and fragments", DEFINITIONS_MAX));
    }
    let fragments = document.fragments.iter().map(|(name, fragment)| {
        (name.as_str(), (&fragment.node.selection_set.node, fragment.node.directives.len()))
    });
    let mut walk = Walk { fragments: fragments.collect(), sizes: HashMap::new(), aliases: 0, directives: 0 };
    walk.directives += walk.fragments.values().map(|(_, directives)| directives).sum::<usize>();
    for (_, operation) in document.operations.iter() {
        walk.directives += operation.node.directives.len();
    }
    let operations = document.operations.iter().map(|(_, operation)| &operation.node.selection_set.node);
    let operations: Vec<&SelectionSet> = operations.collect();
    let fragments: Vec<&SelectionSet> = walk.fragments.values().map(|(set, _)| *set).collect();
    for set in operations.iter().chain(&fragments) {
        walk.count(set);
    }
    if walk.aliases > ALIASES_MAX {
        return Err(refused("aliases", ALIASES_MAX));
    }
    if walk.directives > DIRECTIVES_MAX {
        return Err(refused("directives", DIRECTIVES_MAX));
    }
    for set in operations {
        if walk.size(set)?.depth > DEPTH_MAX {
            return Err(refused("fields within one another", DEPTH_MAX));
        }
    }
    // Those that no operation spreads are the executor's to refuse, but it looks into them before it does.
    fragments.into_iter().try_for_each(|set| walk.size(set).map(drop))
}

/// A selection with all its fragments spread out.
#[derive(Clone, Copy, Default)]
struct Size {
    fields: usize,
    depth: usize,
}

struct Walk<'a> {
    fragments: HashMap<&'a str, (&'a SelectionSet, usize)>,
    /// Of each fragment: none while it is being measured.
    sizes: HashMap<&'a str, Option<Size>>,
    aliases: usize,
    directives: usize,
}

impl<'a> Walk<'a> {
    /// Counts aliases and directives as they stand.
    fn count(&mut self, set: &'a SelectionSet) {
        for Positioned { node, .. } in &set.items {
            match node {
                Selection::Field(field) => {
                    self.aliases += usize::from(field.node.alias.is_some());
                    self.directives += field.node.directives.len();
                    self.count(&field.node.selection_set.node);
                }
                Selection::InlineFragment(fragment) => {
                    self.directives += fragment.node.directives.len();
                    self.count(&fragment.node.selection_set.node);
                }
                Selection::FragmentSpread(spread) => self.directives += spread.node.directives.len(),
            }
        }
    }

    /// Each fragment is measured once, however often it is spread. What is asked about the schema itself has as many
    /// fields as it has, and one level: types are within types, and every tool asks for them.
    fn size(&mut self, set: &'a SelectionSet) -> Result<Size, ApiError> {
        let mut whole = Size::default();
        for Positioned { node, .. } in &set.items {
            let size = match node {
                Selection::Field(field) => {
                    let below = self.size(&field.node.selection_set.node)?;
                    let is_schema = field.node.name.node.starts_with("__");
                    let depth = if is_schema { 1 } else { below.depth + 1 };
                    Size { fields: below.fields.saturating_add(1), depth }
                }
                Selection::InlineFragment(fragment) => self.size(&fragment.node.selection_set.node)?,
                Selection::FragmentSpread(spread) => {
                    self.fragment(spread.node.fragment_name.node.as_str())?
                }
            };
            whole.fields = whole.fields.saturating_add(size.fields);
            whole.depth = whole.depth.max(size.depth);
        }
        if whole.fields > COMPLEXITY_MAX {
            return Err(refused("fields", COMPLEXITY_MAX));
        }
        Ok(whole)
    }

    fn fragment(&mut self, name: &'a str) -> Result<Size, ApiError> {
        if let Some(known) = self.sizes.get(name) {
            let cycle = || ApiError::new(Code::BadRequest, "a fragment spreads itself");
            return known.ok_or_else(cycle);
        }
        // One that is not there is the executor's to refuse.
        let Some((set, _)) = self.fragments.get(name).copied() else { return Ok(Size::default()) };
        self.sizes.insert(name, None);
        let size = self.size(set)?;
        self.sizes.insert(name, Some(size));
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::parser::parse_query;

    fn checked(text: &str) -> Result<(), String> {
        check_text(text).map_err(|e| e.message)?;
        let document = parse_query(text).map_err(|e| e.to_string())?;
        check(&document).map_err(|e| e.message)
    }

    fn nested(depth: usize) -> String {
        format!("query{}{}", "{a".repeat(depth), "}".repeat(depth))
    }

    #[test]
    fn hg5_limits_at_their_values_and_one_past() {
        assert_eq!(checked(&nested(DEPTH_MAX)), Ok(()));
        assert!(checked(&nested(DEPTH_MAX + 1)).is_err());
        assert!(checked(&nested(100_000)).is_err());
        let aliases =
            |n: usize| format!("{{{}}}", (0..n).map(|n| format!("a{n}:login ")).collect::<String>());
        assert_eq!(checked(&aliases(ALIASES_MAX)), Ok(()));
        assert!(checked(&aliases(ALIASES_MAX + 1)).is_err());
        assert!(checked(&aliases(10_000)).is_err());
        let directives = |n: usize| format!("{{a {}}}", "@skip(if:false) ".repeat(n));
        assert_eq!(checked(&directives(DIRECTIVES_MAX)), Ok(()));
        assert!(checked(&directives(DIRECTIVES_MAX + 1)).is_err());
        let fields = |n: usize| format!("{{{}}}", "a ".repeat(n));
        assert_eq!(checked(&fields(COMPLEXITY_MAX)), Ok(()));
        assert!(checked(&fields(COMPLEXITY_MAX + 1)).is_err());
        let definitions = |n: usize| (0..n).map(|n| format!("query q{n} {{a}} ")).collect::<String>();
        assert_eq!(checked(&definitions(DEFINITIONS_MAX)), Ok(()));
        assert!(checked(&definitions(DEFINITIONS_MAX + 1)).is_err());
    }

    #[test]
    fn hg5_fragments_that_multiply_or_turn_in_circles_are_refused_at_once() {
        let mut text = String::from("{...f0} ");
        for n in 0..40 {
            text.push_str(&format!("fragment f{n} on Query {{...f{0} ...f{0}}} ", n + 1));
        }
        text.push_str("fragment f40 on Query {a}");
        assert!(checked(&text).unwrap_err().contains("fields"));
        assert!(checked("{...a} fragment a on Query {...b} fragment b on Query {...a}").is_err());
        assert_eq!(checked("{...a ...a} fragment a on Query {x y}"), Ok(()));
    }

    #[test]
    fn the_question_that_tools_ask_about_the_schema_is_answered() {
        let of_types = "kind name ".to_owned() + &"ofType{kind name ".repeat(9) + &"}".repeat(9);
        let text = format!(
            "query IntrospectionQuery {{ __schema {{ queryType {{ name }} mutationType {{ name }} \
             subscriptionType {{ name }} types {{ ...FullType }} directives {{ name description locations \
             args {{ ...InputValue }} }} }} }} \
             fragment FullType on __Type {{ kind name description fields(includeDeprecated: true) {{ name \
             description args {{ ...InputValue }} type {{ ...TypeRef }} isDeprecated deprecationReason }} \
             inputFields {{ ...InputValue }} interfaces {{ ...TypeRef }} enumValues(includeDeprecated: true) {{ name \
             description isDeprecated deprecationReason }} possibleTypes {{ ...TypeRef }} }} \
             fragment InputValue on __InputValue {{ name description type {{ ...TypeRef }} defaultValue }} \
             fragment TypeRef on __Type {{ {of_types} }}"
        );
        assert_eq!(checked(&text), Ok(()));
        let doubled = "{__schema{types{...f0}}} ".to_owned()
            + &(0..40)
                .map(|n| format!("fragment f{n} on __Type {{...f{0} ...f{0}}} ", n + 1))
                .collect::<String>()
            + "fragment f40 on __Type {name}";
        assert!(checked(&doubled).is_err());
    }

    #[test]
    fn brackets_in_strings_and_comments_count_for_nothing() {
        let many = "{".repeat(100);
        for text in [
            format!("{{a(b:\"{many}\\\"{many}\")}}"),
            format!("{{a(b:\"\"\"{many}\"{many}\"\"\")}}"),
            format!("# {many}\n{{a}}"),
        ] {
            assert_eq!(checked(&text), Ok(()), "{text}");
        }
        assert!(check_text(&format!("{{a(b:{}1{})}}", "[".repeat(100), "]".repeat(100))).is_err());
        for text in ["\"", "\"\\", "\"\"\"", "#", "\"\"\"\"\""] {
            assert!(check_text(text).is_ok());
        }
    }
}
