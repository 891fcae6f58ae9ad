use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use core::net::IpAddr;

use protocol_core::Timestamp;

use super::*;

fn found(records: &[&str]) -> Vec<Destination> {
    destinations(records.iter().map(|r| r.as_bytes()))
}

fn mail(address: &str) -> Destination {
    Destination::Mail(address.into())
}

fn ip(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

fn sts(domain: &str) -> PolicySeen {
    PolicySeen {
        kind: PolicyKind::Sts,
        domain: domain.into(),
        strings: vec!["version: STSv1".into(), "mode: testing".into()],
        mx_hosts: vec!["*.mail.example.net".into()],
    }
}

fn session(failure: Option<ResultType>) -> Session {
    Session {
        at: Timestamp::from_secs(1_795_433_195),
        policy: sts("example.net"),
        failure,
        sending_ip: ip("192.0.2.1"),
        mx: Some("mx1.mail.example.net".into()),
        receiving_ip: ip("2001:db8::2"),
        reason: failure.map(|f| format!("we saw {}", f.as_str())),
    }
}

#[test]
fn where_reports_go() {
    let https = || Destination::Https("https://r.example/v1/tls?a=b".into());
    for (records, expected) in [
        (&["v=TLSRPTv1; rua=mailto:r@example.com"][..], vec![mail("r@example.com")]),
        (&["v=TLSRPTv1;rua=https://r.example/v1/tls?a=b;"], vec![https()]),
        (
            &["v=TLSRPTv1 ; rua=mailto:a@example.com , https://r.example/v1/tls?a=b,mailto:b@example.com"],
            vec![mail("a@example.com"), https(), mail("b@example.com")],
        ),
        (
            &["v=spf1 -all", "v=TLSRPTv1; x=1; rua=MAILTO:a%21b@example.com?cc=x@y.example"],
            vec![mail("a!b@example.com")],
        ),
        (&["v=TLSRPTv1; rua=ftp://x.example/,mailto:a@example.com"], vec![mail("a@example.com")]),
        (&["v=TLSRPTv1; rua=mailto:,mailto:no,https:,https://"], vec![]),
        (&["v=TLSRPTv1; rua=mailto:a%0d%0aX@example.com"], vec![]),
        (&["v=TLSRPTv1; rua=mailto:a@[192.0.2.1]"], vec![]),
        (&["v=TLSRPTv1; rua=mailto:a%4@example.com"], vec![]),
        (&["v=TLSRPTv1"], vec![]),
        (&["v=TLSRPTv2; rua=mailto:a@example.com"], vec![]),
        (&["v=TLSRPTv1; rua=mailto:a@example.com", "v=TLSRPTv1; rua=mailto:b@example.com"], vec![]),
        (&[], vec![]),
    ] {
        assert_eq!(found(records), expected, "{records:?}");
    }
}

#[test]
fn destinations_at_their_limits() {
    let many = |n: usize| {
        let uris: Vec<String> = (0..n).map(|i| format!("mailto:a{i}@example.com")).collect();
        found(&[&format!("v=TLSRPTv1; rua={}", uris.join(","))]).len()
    };
    assert_eq!(many(DESTINATIONS_MAX), DESTINATIONS_MAX);
    assert_eq!(many(DESTINATIONS_MAX + 1), DESTINATIONS_MAX);
    let long = |n: usize| format!("v=TLSRPTv1; rua=https://{}", "x".repeat(n - "https://".len()));
    assert_eq!(found(&[&long(DESTINATION_OCTETS_MAX)]).len(), 1);
    assert_eq!(found(&[&long(DESTINATION_OCTETS_MAX + 1)]).len(), 0);
}

#[test]
fn a_line_of_the_journal() {
    assert_eq!(
        session(Some(ResultType::CertificateExpired)).line(),
        "{\"time\":\"2026-11-23T11:26:35Z\",\"policy-type\":\"sts\",\
         \"policy-string\":[\"version: STSv1\",\"mode: testing\"],\"policy-domain\":\"example.net\",\
         \"mx-host\":[\"*.mail.example.net\"],\"result\":\"failure\",\"result-type\":\"certificate-expired\",\
         \"sending-mta-ip\":\"192.0.2.1\",\"receiving-mx-hostname\":\"mx1.mail.example.net\",\
         \"receiving-ip\":\"2001:db8::2\",\"failure-reason-code\":\"we saw certificate-expired\"}\n"
    );
    let plain = Session {
        policy: PolicySeen {
            kind: PolicyKind::NoPolicyFound,
            domain: "example.org".into(),
            strings: vec![],
            mx_hosts: vec![],
        },
        sending_ip: None,
        mx: None,
        receiving_ip: None,
        ..session(None)
    };
    assert_eq!(
        plain.line(),
        "{\"time\":\"2026-11-23T11:26:35Z\",\"policy-type\":\"no-policy-found\",\
         \"policy-domain\":\"example.org\",\"result\":\"success\"}\n"
    );
}

#[test]
fn dt10_a_reason_names_nobody_and_has_an_end() {
    let reason = |text: &str| {
        let line = Session { reason: Some(text.into()), ..session(None) }.line();
        let (_, rest) = line.split_once("failure-reason-code\":\"").unwrap();
        rest.trim_end_matches("\"}\n").to_string()
    };
    assert_eq!(reason("550 <bob@example.net>:\r\n no <1@x>"), "550 (address) no (address)");
    assert_eq!(reason(&"x".repeat(REASON_MAX)).len(), REASON_MAX);
    assert_eq!(reason(&"é".repeat(REASON_MAX + 1)).chars().count(), REASON_MAX);
}

#[test]
fn names_are_read_as_they_are_written() {
    for name in [
        "starttls-not-supported",
        "certificate-host-mismatch",
        "certificate-expired",
        "certificate-not-trusted",
        "validation-failure",
        "tlsa-invalid",
        "dnssec-invalid",
        "dane-required",
        "sts-policy-fetch-error",
        "sts-policy-invalid",
        "sts-webpki-invalid",
    ] {
        assert_eq!(ResultType::parse(name).map(ResultType::as_str), Some(name));
    }
    for name in ["tlsa", "sts", "no-policy-found"] {
        assert_eq!(PolicyKind::parse(name).map(PolicyKind::as_str), Some(name));
    }
    assert_eq!(ResultType::parse("success"), None);
}

#[test]
fn days() {
    let day = Day::of(Timestamp::from_secs(1_795_433_195));
    assert_eq!(day.to_string(), "2026-11-23");
    assert_eq!(Day::parse("2026-11-23"), Some(day));
    assert_eq!(Day::of(day.start()), day);
    assert_eq!(Day::of(day.last_second()), day);
    assert_eq!(Day::of(Timestamp(day.start().0 - 1)), Day(day.0 - 1));
    for bad in ["2026-11-31", "2026-1-23", "2026-11-23-1", "2026-11", "+026-11-23", "node"] {
        assert_eq!(Day::parse(bad), None, "{bad}");
    }
}

#[test]
fn dt10_the_report_counts_for_each_policy() {
    let mut aggregate = Aggregate::default();
    assert!(aggregate.is_empty());
    for failure in [None, None, Some(ResultType::CertificateExpired), Some(ResultType::CertificateExpired)] {
        aggregate.add(session(failure));
    }
    aggregate.add(session(Some(ResultType::StarttlsNotSupported)));
    aggregate.add(Session {
        policy: PolicySeen { kind: PolicyKind::NoPolicyFound, ..sts("b.example") },
        ..session(None)
    });
    let report = Report {
        organization: "mx.example.org",
        contact: "postmaster@mx.example.org",
        id: "2026-11-23.x@mx.example.org",
        day: Day::of(Timestamp::from_secs(1_795_433_195)),
        aggregate: &aggregate,
    };
    let json = report.json();
    let detail = "\"sending-mta-ip\":\"192.0.2.1\",\"receiving-mx-hostname\":\"mx1.mail.example.net\",\
                  \"receiving-ip\":\"2001:db8::2\"";
    let policy = "\"policy-string\":[\"version: STSv1\",\"mode: testing\"]";
    assert_eq!(
        json,
        format!(
            "{{\"organization-name\":\"mx.example.org\",\"date-range\":\
             {{\"start-datetime\":\"2026-11-23T00:00:00Z\",\"end-datetime\":\"2026-11-23T23:59:59Z\"}},\
             \"contact-info\":\"postmaster@mx.example.org\",\"report-id\":\"2026-11-23.x@mx.example.org\",\
             \"policies\":[{{\"policy\":{{\"policy-type\":\"sts\",{policy},\"policy-domain\":\"example.net\",\
             \"mx-host\":[\"*.mail.example.net\"]}},\"summary\":{{\"total-successful-session-count\":2,\
             \"total-failure-session-count\":3}},\"failure-details\":[\
             {{\"result-type\":\"starttls-not-supported\",{detail},\"failed-session-count\":1,\
             \"failure-reason-code\":\"we saw starttls-not-supported\"}},\
             {{\"result-type\":\"certificate-expired\",{detail},\"failed-session-count\":2,\
             \"failure-reason-code\":\"we saw certificate-expired\"}}]}},\
             {{\"policy\":{{\"policy-type\":\"no-policy-found\",{policy},\"policy-domain\":\"b.example\",\
             \"mx-host\":[\"*.mail.example.net\"]}},\"summary\":{{\"total-successful-session-count\":1,\
             \"total-failure-session-count\":0}}}}]}}"
        )
    );
}

#[test]
fn a_report_at_its_limits() {
    let mut aggregate = Aggregate::default();
    for n in 0..=POLICIES_MAX {
        aggregate.add(Session { policy: sts(&format!("{n}.example")), ..session(None) });
    }
    assert_eq!(aggregate.policies().count(), POLICIES_MAX);
    let mut aggregate = Aggregate::default();
    for n in 0..=DETAILS_MAX {
        let mx = Some(format!("{n}.example"));
        aggregate.add(Session { mx, ..session(Some(ResultType::ValidationFailure)) });
    }
    let (_, totals) = aggregate.policies().next().unwrap();
    assert_eq!(totals.details.len(), DETAILS_MAX);
    assert_eq!(totals.failures, DETAILS_MAX as u64 + 1, "the summary counts them all");
}

#[test]
fn dt10_the_report_as_a_message() {
    let gzip: Vec<u8> = (0..=255).collect();
    let mail = Mail {
        submitter: "mx.example.org",
        domain: "example.net",
        id: "abc123",
        report_id: "2026-11-23.x@mx.example.org",
        from: "tls-reports@mx.example.org",
        to: "reports@example.net",
        day: Day::parse("2026-11-23").unwrap(),
        gzip: &gzip,
        now: Timestamp::from_secs(1_795_500_000),
    };
    let text = String::from_utf8(mail.build()).unwrap();
    for line in [
        "From: <tls-reports@mx.example.org>\r\n",
        "To: <reports@example.net>\r\n",
        "TLS-Report-Domain: example.net\r\n",
        "TLS-Report-Submitter: mx.example.org\r\n",
        "TLS-Required: No\r\n",
        "Message-ID: <abc123@mx.example.org>\r\n",
        "Content-Type: application/tlsrpt+gzip\r\n",
        "Content-Type: multipart/report; report-type=\"tlsrpt\"; boundary=\"=_abc123_0\"\r\n",
        "filename=\"mx.example.org!example.net!1795392000!1795478399.json.gz\"\r\n",
        "\r\n\r\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4\r\n",
        "\r\n--=_abc123_0--\r\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let subject = "Subject: Report Domain: example.net Submitter: mx.example.org Report-ID:\r\n \
                   <2026-11-23.x@mx.example.org>\r\n";
    assert!(text.contains(subject), "{text}");
    assert!(text.split("\r\n").all(|line| line.len() <= 120 && !line.contains('\n')));
}
