//! Dates of the two versions: `1996-04-15` there, `19960415` and `--0415` here (RFC 2426 §3.1.5, RFC 6350 §4.3.1).

/// The year that a date without one is written with in version 3.0, and the parameter that says so: Apple's way,
/// which other clients follow.
pub(super) const NO_YEAR: &str = "1604";
/// The parameter.
pub(super) const OMIT_YEAR: &str = "X-APPLE-OMIT-YEAR";

/// A date of version 4.0, without hyphens; what is no date as it is.
pub(super) fn to_basic(value: &str, omits_year: bool) -> String {
    let (date, time) = value.split_at(value.find('T').unwrap_or(value.len()));
    let Some((year, month, day)) = split_extended(date).or_else(|| split_basic(date)) else {
        return value.to_owned();
    };
    let year = if omits_year { "--" } else { year };
    format!("{year}{month}{day}{}", time.replace(':', ""))
}

/// A date of version 3.0, with hyphens, and whether its year means nothing; what is no full date as it is.
pub(super) fn to_extended(value: &str) -> (String, bool) {
    let (date, time) = value.split_at(value.find('T').unwrap_or(value.len()));
    if let Some(rest) = date.strip_prefix("--").filter(|rest| rest.len() == 4 && is_digits(rest)) {
        return (format!("{NO_YEAR}-{}-{}", &rest[..2], &rest[2..]), true);
    }
    match split_basic(date) {
        Some((year, month, day)) => (format!("{year}-{month}-{day}{time}"), false),
        None => (value.to_owned(), false),
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

fn split_extended(date: &str) -> Option<(&str, &str, &str)> {
    let mut parts = date.split('-');
    let parts = (parts.next()?, parts.next()?, parts.next()?, parts.next());
    let (year, month, day, None) = parts else { return None };
    let fits = year.len() == 4 && month.len() == 2 && day.len() == 2;
    (fits && is_digits(year) && is_digits(month) && is_digits(day)).then_some((year, month, day))
}

fn split_basic(date: &str) -> Option<(&str, &str, &str)> {
    (date.len() == 8 && is_digits(date)).then(|| (&date[..4], &date[4..6], &date[6..]))
}
