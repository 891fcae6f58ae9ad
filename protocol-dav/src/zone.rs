//! Time zones.

/// Whether a text is an iCalendar object with exactly one VTIMEZONE.
pub fn is_timezone(text: &str) -> bool {
    text.matches("BEGIN:VTIMEZONE").count() == 1
}
