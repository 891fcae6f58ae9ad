//! What other servers report.

use protocol_core::message::Scanner;
use protocol_smtp::reported::{
    NoReport, RECIPIENTS_MAX, REPORT_OCTETS_MAX, RETURNED_OCTETS_MAX, Report, VALUE_MAX, envid, locate,
    outcomes, read,
};

/// A message that may be a report: it is located within the message and its limits, and what it says is about
/// recipients that there are, on one line, and never for ever unless somebody complained.
pub fn smtp_report(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Some(claimed) = envid::Claimed::read(text)
    {
        assert!(!claimed.job.is_empty() && text.starts_with(claimed.job));
    }
    let mut scanner = Scanner::new();
    scanner.feed(data);
    let Ok(located) = locate(&scanner.finish()) else { return };
    let octets = |range: &std::ops::Range<u64>| &data[range.start as usize..range.end as usize];
    let (status, returned) = (octets(&located.status), octets(&located.returned));
    assert!(status.len() as u64 <= REPORT_OCTETS_MAX && returned.len() as u64 <= RETURNED_OCTETS_MAX);
    let report = match read(&located, status, returned) {
        Ok(report) => report,
        Err(why) => {
            assert!(matches!(why, NoReport::Malformed | NoReport::TooLarge));
            return;
        }
    };
    let line =
        |text: &str| assert!(text.len() <= VALUE_MAX && !text.chars().any(char::is_control), "{text:?}");
    report.envelope_id().into_iter().chain(report.message_id()).for_each(line);
    let mut sent = vec!["b@mx.test"];
    if let Report::Delivery(report) = &report {
        assert!((1..=RECIPIENTS_MAX).contains(&report.recipients.len()));
        sent.extend(report.recipients.iter().filter_map(|r| r.last.as_deref().or(r.original.as_deref())));
    }
    for outcome in outcomes(&report, &sent) {
        assert!(outcome.recipient < sent.len());
        line(&outcome.reply);
        let complained = matches!(report, Report::Feedback(_));
        assert!(outcome.suppress.is_none_or(|suppress| suppress.lasts.is_none() == complained));
    }
}
