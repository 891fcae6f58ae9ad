//! Patterns of LIST: `*` stands for anything, `%` for anything without the delimiter.

/// Whether `name` matches `pattern`. INBOX, and INBOX as the first level, match in any letter case.
///
/// Takes time proportional to the product of the lengths at worst: the last `%` is tried at every later place
/// of its level, then the last `*` one place further. Earlier wildcards need no second look: what stands
/// between two of them was matched as early as it can be, which leaves the most for those behind.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let fold = if name == b"INBOX" || name.starts_with(b"INBOX/") { 5 } else { 0 };
    let equal = |p: u8, at: usize, n: u8| p == n || at < fold && p.eq_ignore_ascii_case(&n);
    let (mut p, mut n) = (0, 0);
    // Where to go on in the pattern, and in the name, when what follows the wildcard does not match.
    let mut star: Option<(usize, usize)> = None;
    let mut percent: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(p), name.get(n)) {
            (Some(b'*'), _) => {
                p += 1;
                star = Some((p, n));
                percent = None;
                continue;
            }
            (Some(b'%'), _) => {
                p += 1;
                percent = Some((p, n));
                continue;
            }
            (None, None) => return true,
            (Some(&a), Some(&b)) if equal(a, n, b) => {
                p += 1;
                n += 1;
                continue;
            }
            _ => {}
        }
        match percent {
            Some((behind, at)) if name.get(at).is_some_and(|&b| b != b'/') => {
                percent = Some((behind, at + 1));
                (p, n) = (behind, at + 1);
            }
            _ => match star {
                Some((behind, at)) if at < name.len() => {
                    star = Some((behind, at + 1));
                    percent = None;
                    (p, n) = (behind, at + 1);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, without any cleverness.
    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|n| naive(rest, &name[n..])),
            Some((b'%', rest)) => {
                (0..=name.len()).take_while(|&n| !name[..n].contains(&b'/')).any(|n| naive(rest, &name[n..]))
            }
            Some((first, rest)) => name.first() == Some(first) && naive(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn patterns_match_as_they_are_defined(pattern in "[ab/%*]{0,9}", name in "[ab/]{0,9}") {
            prop_assert_eq!(matches(&pattern, &name), naive(pattern.as_bytes(), name.as_bytes()));
        }
    }

    #[test]
    fn inbox_matches_in_any_case_and_nothing_else_does() {
        for (pattern, name, expected) in [
            ("inbox", "INBOX", true),
            ("inb%", "INBOX", true),
            ("InBox/*", "INBOX/sub", true),
            ("InBox/SUB", "INBOX/sub", false),
            ("sent", "Sent", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_of_many_wildcards_is_answered_at_once() {
        let pattern = "%*".repeat(500) + "b";
        assert!(!matches(&pattern, &"a".repeat(1000)));
    }
}
