//! What making a text of a template may take in memory. Steps are bounded by fuel, but one step can make a string out
//! of two, twice as long: forty of them would be all the memory there is.
//!
//! So a template only shows, chooses and repeats. Nothing is kept between two steps (no `set`, no macros, no captured
//! blocks), no operator makes a longer string, of the filters those are left that do not, and what comes out is counted
//! as it is written.

use std::io::{self, Write};

use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind};

/// Statements that a template may hold.
const STATEMENTS: [&str; 7] = ["if", "elif", "else", "endif", "for", "endfor", "raw"];
/// Filters that make more of a value than it is, by a factor that the template chooses.
const FILTERS_GONE: [&str; 10] =
    ["replace", "indent", "format", "pprint", "tojson", "map", "sum", "batch", "slice", "join"];
/// Functions that keep or tell what is none of a template's business.
const FUNCTIONS_GONE: [&str; 2] = ["namespace", "debug"];
/// Filters within one tag: each may make a value some times longer.
const FILTERS_MAX: usize = 8;
/// Octets that `join` makes.
const JOINED_MAX: usize = 1024 * 1024;

/// Takes away what could make a value longer without end.
pub fn bound(environment: &mut Environment<'static>) {
    FILTERS_GONE.iter().for_each(|name| environment.remove_filter(name));
    FUNCTIONS_GONE.iter().for_each(|name| environment.remove_global(name));
    environment.add_filter("join", join);
}

/// A list's elements, with something between them.
fn join(list: &Value, between: Option<String>) -> Result<String, Error> {
    let between = between.unwrap_or_default();
    let mut out = String::new();
    for (n, item) in list.try_iter()?.enumerate() {
        if n > 0 {
            out.push_str(&between);
        }
        match item.as_str() {
            Some(text) => out.push_str(text),
            None => out.push_str(&item.to_string()),
        }
        if out.len() > JOINED_MAX {
            return Err(Error::new(ErrorKind::InvalidOperation, "what join makes is too long"));
        }
    }
    Ok(out)
}

/// Looks at a template's text; the answer says what it must not hold.
pub fn check(source: &str) -> Result<(), String> {
    let mut rest = source;
    while let Some(at) = rest.find('{') {
        let tag = &rest[at..];
        let (inside, behind) = if let Some(tail) = tag.strip_prefix("{%") {
            let (inside, behind) = inside(tail, "%}");
            if statement(inside)? == "raw" {
                rest = after_raw(behind);
                continue;
            }
            (inside, behind)
        } else if let Some(tail) = tag.strip_prefix("{{") {
            inside(tail, "}}")
        } else if let Some(tail) = tag.strip_prefix("{#") {
            rest = tail.split_once("#}").map_or("", |(_, behind)| behind);
            continue;
        } else {
            rest = &tag[1..];
            continue;
        };
        operators(inside)?;
        rest = behind;
    }
    Ok(())
}

/// What stands in a tag, and what behind it. The end of the tag is not looked for in its strings.
fn inside<'a>(tail: &'a str, end: &str) -> (&'a str, &'a str) {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in tail.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if tail[at..].starts_with(end) => return (&tail[..at], &tail[at + end.len()..]),
            None => {}
        }
    }
    (tail, "")
}

/// Behind the end of what is not read as a template.
fn after_raw(mut rest: &str) -> &str {
    while let Some((_, tail)) = rest.split_once("{%") {
        let (inside, behind) = inside(tail, "%}");
        if word(inside) == "endraw" {
            return behind;
        }
        rest = tail;
    }
    ""
}

fn word(inside: &str) -> &str {
    let inside = inside.trim_start_matches(['-', '+']).trim_start();
    inside.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default()
}

fn statement(inside: &str) -> Result<&str, String> {
    let word = word(inside);
    match STATEMENTS.contains(&word) {
        true => Ok(word),
        false => Err(format!("a template holds no {}", if word.is_empty() { "empty tag" } else { word })),
    }
}

/// Looks at a tag, its strings left out.
fn operators(inside: &str) -> Result<(), String> {
    let mut filters = 0;
    let (mut quote, mut escaped) = (None, false);
    let mut plain = String::with_capacity(inside.len());
    for c in inside.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            // The first and the last may say what becomes of white space around the tag.
            None => plain.push(c),
        }
    }
    let plain = plain.strip_prefix(['-', '+']).unwrap_or(&plain);
    let plain = plain.strip_suffix(['-', '+']).unwrap_or(plain);
    for c in plain.chars() {
        match c {
            '*' | '~' | '+' => return Err(format!("a template calculates nothing with {c}")),
            '|' => filters += 1,
            _ => {}
        }
    }
    if filters > FILTERS_MAX {
        return Err(format!("a tag has at most {FILTERS_MAX} filters"));
    }
    match plain.split_whitespace().any(|word| word == "recursive") {
        true => Err("a template holds no recursive loop".into()),
        false => Ok(()),
    }
}

/// What comes out, up to a number of octets.
pub struct Bounded {
    octets: Vec<u8>,
    max: usize,
}

impl Bounded {
    /// At most so many octets.
    pub fn new(max: usize) -> Bounded {
        Bounded { octets: Vec::new(), max }
    }

    /// As text.
    pub fn into_text(self) -> String {
        String::from_utf8(self.octets).unwrap_or_default()
    }
}

impl Write for Bounded {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.octets.len() + octets.len() > self.max {
            return Err(io::Error::other(format!("more than {} octets", self.max)));
        }
        self.octets.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_chooses_and_repeats_is_a_template() {
        for good in [
            "Hi {{ name }}, {{- order.number -}}",
            "{% if a and b == 'x*y' %}1{% elif not c %}2{%- else -%}3{% endif %}",
            "{% for item in items %}{{ loop.index }}: {{ item.name|upper }}{% endfor %}",
            "{% raw %}{% set x = 1 %}{{ a * b }}{% endraw %}",
            "{# {% set x %} a * b #}",
            "a { b } {% if x %}{{ \"%} ~ }}\" }}{% endif %}",
            "{{ list|join(', ') }} 100 * 2 ~ 3",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_could_grow_without_end_is_none() {
        for bad in [
            "{% set x = 'a' %}",
            "{%- set x = y ~ y %}",
            "{% macro m() %}{% endmacro %}",
            "{% filter upper %}x{% endfilter %}",
            "{% include 'x' %}",
            "{{ 'a' * 100000000 }}",
            "{{ a ~ a }}",
            "{{ a + a }}",
            "{% for x in list recursive %}{% endfor %}",
            "{% if a * b %}{% endif %}",
            "{% raw %}{% endraw %}{{ a ~ a }}",
            "{{ a|e|e|e|e|e|e|e|e|e }}",
            "{% %}",
            "{{ '\\'' ~ a }}",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_comes_out_is_counted() {
        let mut out = Bounded::new(3);
        assert!(out.write_all(b"abc").is_ok());
        assert!(out.write_all(b"d").is_err());
        assert_eq!(out.into_text(), "abc");
    }
}
