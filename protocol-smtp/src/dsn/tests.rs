use super::returned::is_text;
use super::*;
use alloc::string::ToString;
use alloc::vec;

const NOW: Timestamp = Timestamp(1_795_433_195_000);

fn report<'a>(recipient: &'a str, action: Action, status: Status, diagnostic: &str) -> Report<'a> {
    let diagnostic = String::from(diagnostic);
    let (remote, last_attempt) = (Some("mx.test"), Some(NOW));
    Report { recipient, orcpt: None, action, status, remote, diagnostic, last_attempt, retry_until: None }
}

fn dsn<'a>(reports: &'a [Report<'a>], returned: Returned) -> Dsn<'a> {
    Dsn {
        hostname: "mail.own.test",
        id: "0123456789abcdefghjkmnpqrs",
        to: "sender@own.test",
        arrival: Timestamp::from_secs(NOW.secs() - 3_600),
        envid: None,
        deliver_by: None,
        reports,
        returned,
        now: NOW,
    }
}

fn text(dsn: &Dsn<'_>) -> String {
    let bytes = build(dsn);
    assert!(is_text(&bytes), "only CRLF ends lines");
    assert!(bytes.split(|b| *b == b'\n').all(|line| line.len() <= 999), "no line is too long");
    String::from_utf8(bytes).unwrap()
}

#[test]
fn so14_a_failure_in_full() {
    let mut failed = report("b@mx.test", Action::Failed, Status::new(5, 1, 1), "550 5.1.1 no such user");
    failed.orcpt = Some("rfc822;B+2Bx@mx.test");
    let reports = [failed];
    let message = Returned::Message(b"Subject: x\r\n\r\nbody\r\n".to_vec());
    let text = text(&Dsn { envid: Some("id+2B7"), ..dsn(&reports, message) });
    let expected = "From: Mail Delivery System <MAILER-DAEMON@mail.own.test>\r\n\
        To: <sender@own.test>\r\n\
        Subject: Your message could not be delivered\r\n\
        Date: Mon, 23 Nov 2026 11:26:35 +0000\r\n\
        Message-ID: <0123456789abcdefghjkmnpqrs@mail.own.test>\r\n\
        Auto-Submitted: auto-replied\r\n\
        MIME-Version: 1.0\r\n\
        Content-Type: multipart/report; report-type=delivery-status;\r\n\
        \x20boundary=\"=_0123456789abcdefghjkmnpqrs_0\"\r\n\
        \r\n\
        --=_0123456789abcdefghjkmnpqrs_0\r\n\
        Content-Type: text/plain; charset=utf-8\r\n\
        Content-Transfer-Encoding: 7bit\r\n\
        \r\n\
        This is the mail server at mail.own.test.\r\n\
        \r\n\
        Your message could not be delivered to the following recipients. It will not\r\n\
        be tried again.\r\n\
        \r\n\
        \x20 <b@mx.test>\r\n\
        \x20   the server mx.test said:\r\n\
        \x20   550 5.1.1 no such user\r\n\
        \r\n\
        --=_0123456789abcdefghjkmnpqrs_0\r\n\
        Content-Type: message/delivery-status\r\n\
        Content-Transfer-Encoding: 7bit\r\n\
        \r\n\
        Original-Envelope-Id: id+7\r\n\
        Reporting-MTA: dns; mail.own.test\r\n\
        Arrival-Date: Mon, 23 Nov 2026 10:26:35 +0000\r\n\
        \r\n\
        Original-Recipient: rfc822; B+x@mx.test\r\n\
        Final-Recipient: rfc822; b@mx.test\r\n\
        Action: failed\r\n\
        Status: 5.1.1\r\n\
        Remote-MTA: dns; mx.test\r\n\
        Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n\
        Last-Attempt-Date: Mon, 23 Nov 2026 11:26:35 +0000\r\n\
        \r\n\
        --=_0123456789abcdefghjkmnpqrs_0\r\n\
        Content-Type: message/rfc822\r\n\
        Content-Transfer-Encoding: 7bit\r\n\
        \r\n\
        Subject: x\r\n\
        \r\n\
        body\r\n\
        \r\n\
        --=_0123456789abcdefghjkmnpqrs_0--\r\n";
    assert_eq!(text, expected);
}

#[test]
fn so14_a_delay_says_until_when() {
    let mut delayed = report("b@mx.test", Action::Delayed, Status::new(4, 2, 0), "450 4.2.0 later");
    delayed.retry_until = Some(Timestamp::from_secs(NOW.secs() + 82_800));
    let reports = [delayed];
    let text = text(&dsn(&reports, Returned::Header(b"Subject: x\r\n".to_vec())));
    for line in [
        "Subject: Your message is delayed\r\n",
        "Action: delayed\r\n",
        "Status: 4.2.0\r\n",
        "Will-Retry-Until: Tue, 24 Nov 2026 10:26:35 +0000\r\n",
        "It is tried until Tue, 24 Nov 2026 10:26:35 +0000.\r\n",
        "Content-Type: text/rfc822-headers\r\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn so14_a_deadline_of_the_sender_is_named() {
    let reports = [report("b@mx.test", Action::Failed, Status::EXPIRED, "550 5.4.7 too late")];
    let at = Timestamp::from_secs(NOW.secs() + 1_800);
    let text = text(&Dsn { deliver_by: Some(at), ..dsn(&reports, Returned::Header(Vec::new())) });
    let fields = "Arrival-Date: Mon, 23 Nov 2026 10:26:35 +0000\r\n\
                  Deliver-By-Date: Mon, 23 Nov 2026 11:56:35 +0000\r\n\r\n";
    assert!(text.contains(fields), "{text}");
}

/// Our own words are no reply, and nobody is named as having said them; what was not tried has no last attempt.
#[test]
fn so14_what_no_server_said_is_not_put_into_its_mouth() {
    let mut own = report("b@mx.test", Action::Failed, Status::SUPPRESSED, "5.7.1 suppressed since yesterday");
    own.last_attempt = None;
    let reports = [own];
    let text = text(&dsn(&reports, Returned::Header(Vec::new())));
    assert!(text.contains("the server mx.test was tried last:\r\n"), "{text}");
    assert!(text.contains("Diagnostic-Code: X-Inbox; 5.7.1 suppressed since yesterday\r\n"), "{text}");
    for absent in ["Remote-MTA", "Last-Attempt-Date", "Will-Retry-Until", "Deliver-By-Date", "said"] {
        assert!(!text.contains(absent), "{absent} in {text}");
    }
}

#[test]
fn so14_orcpt_comes_back_as_it_was_given() {
    let original = |orcpt: Option<&str>, recipient: &str| {
        let mut failed = report(recipient, Action::Failed, Status::PERMANENT, "550 no");
        failed.orcpt = orcpt;
        let text = text(&dsn(&[failed], Returned::Header(Vec::new())));
        let line = text.lines().find_map(|line| line.strip_prefix("Original-Recipient: "));
        line.map(ToString::to_string)
    };
    for (orcpt, recipient, shown) in [
        (None, "b@mx.test", None),
        (Some("rfc822;b@mx.test"), "b@mx.test", Some("rfc822; b@mx.test")),
        (Some("RFC822;B+2Bx+20y@mx.test"), "b@mx.test", Some("RFC822; B+x y@mx.test")),
        (Some("x400;/S+3Db/"), "b@mx.test", Some("x400; /S=b/")),
        // RFC 6533 §3: raw where the notification is international, escaped where it is not.
        (Some("utf-8;ä@mx.test"), "ä@mx.test", Some("utf-8; ä@mx.test")),
        (Some("utf-8;ä@mx.test"), "b@mx.test", Some("utf-8; \\x{E4}@mx.test")),
        (Some("utf-8;\\x{E4}@mx.test"), "ä@mx.test", Some("utf-8; \\x{E4}@mx.test")),
        // What cannot be read is left out.
        (Some("rfc822;a+0D+0A"), "b@mx.test", None),
        (Some("rfc822"), "b@mx.test", None),
    ] {
        assert_eq!(original(orcpt, recipient).as_deref(), shown, "{orcpt:?}");
    }
}

#[test]
fn so14_ret_decides_what_goes_back_of_a_failed_message_that_fits() {
    let plain =
        Returnable { ret: Some("FULL"), size: RETURNED_MAX as u64, binary: false, require_tls: false };
    for (message, action, whole) in [
        (plain, Action::Failed, true),
        (plain, Action::Delayed, false),
        (plain, Action::Relayed, false),
        (plain, Action::Delivered, false),
        (Returnable { ret: Some("HDRS"), ..plain }, Action::Failed, false),
        (Returnable { ret: None, ..plain }, Action::Failed, false),
        (Returnable { size: RETURNED_MAX as u64 + 1, ..plain }, Action::Failed, false),
        (Returnable { binary: true, ..plain }, Action::Failed, false),
        (Returnable { require_tls: true, ..plain }, Action::Failed, false),
    ] {
        assert_eq!(returns_whole(message, action), whole, "{message:?} {action:?}");
    }
}

#[test]
fn so14_several_recipients_have_one_group_each() {
    let reports = [
        report("a@mx.test", Action::Delivered, Status::OK, "250 2.0.0 in"),
        report("b@mx.test", Action::Relayed, Status::OK, "250 2.0.0 ok"),
        report("c@mx.test", Action::Failed, Status::EXPIRED, "the name server did not answer in time"),
    ];
    let text = text(&dsn(&reports, Returned::Header(Vec::new())));
    assert_eq!(text.matches("\r\n\r\nFinal-Recipient: rfc822; ").count(), 3);
    assert!(text.contains("Subject: Your message could not be delivered\r\n"));
    assert!(text.contains("Diagnostic-Code: X-Inbox; the name server did not answer in time\r\n"));
    assert!(!text.contains("rfc822-headers") && !text.contains("message/rfc822"), "nothing goes back");
}

#[test]
fn rfc6533_forms_for_addresses_that_are_not_ascii() {
    let mut failed = report("ä@mx.test", Action::Failed, Status::new(5, 1, 1), "550 5.1.1 nö");
    failed.orcpt = Some("utf-8;ä@mx.test");
    let text_of = |r: Report<'_>| text(&dsn(&[r], Returned::Header("Subject: ä\r\n".as_bytes().to_vec())));
    let global = text_of(failed);
    for line in [
        "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n",
        "Original-Recipient: utf-8; ä@mx.test\r\n",
        "Final-Recipient: utf-8; ä@mx.test\r\n",
        "Diagnostic-Code: smtp; 550 5.1.1 nö\r\n",
        "Content-Type: message/global-headers\r\n",
    ] {
        assert!(global.contains(line), "{line} in {global}");
    }
    let plain = text_of(report("b@mx.test", Action::Failed, Status::new(5, 1, 1), "550 5.1.1 nö"));
    assert!(plain.contains("Diagnostic-Code: smtp; 550 5.1.1 n?\r\n"));
    assert!(plain.contains("Content-Type: message/delivery-status\r\nContent-Transfer-Encoding: 7bit\r\n"));
}

#[test]
fn so14_size_is_capped_at_the_limit() {
    let reports = [report("b@mx.test", Action::Failed, Status::PERMANENT, "550 no")];
    let message = |len: usize| {
        let mut bytes = b"Subject: x\r\n\r\n".to_vec();
        bytes.resize(len - 2, b'x');
        bytes.extend_from_slice(b"\r\n");
        bytes
    };
    let fits = build(&dsn(&reports, Returned::Message(message(RETURNED_MAX))));
    assert!(fits.len() > RETURNED_MAX && fits.len() < RETURNED_MAX + 3_000);
    assert!(memchr::memmem::find(&fits, b"message/rfc822").is_some());
    let over = text(&dsn(&reports, Returned::Message(message(RETURNED_MAX + 1))));
    assert!(over.contains("text/rfc822-headers\r\n") && over.contains("\r\nSubject: x\r\n\r\n--"));
    assert!(over.len() < 3_000);

    let lines = b"X: 0123456789\r\n".repeat(10_000);
    let cut = text(&dsn(&reports, Returned::Header(lines)));
    assert!(cut.len() <= RETURNED_MAX + 3_000 && cut.contains("X: 0123456789\r\n\r\n--"));
}

#[test]
fn nothing_from_outside_adds_a_field_or_a_part() {
    let evil = "x\r\nBcc: y@z.test\r\n\r\n--=_0123456789abcdefghjkmnpqrs_0\u{2028}";
    let mut failed = report(evil, Action::Failed, Status::PERMANENT, evil);
    (failed.orcpt, failed.remote) = (Some("rfc822;a+0D+0ABcc:b"), Some(evil));
    let reports = [failed];
    let mut dsn =
        dsn(&reports, Returned::Message(b"Subject: x\r\n\r\n--=_0123456789abcdefghjkmnpqrs_1\r\n".to_vec()));
    (dsn.to, dsn.hostname, dsn.envid) = (evil, "mail.own.test", Some("a+0D+0AX:+20y"));
    let text = text(&dsn);
    assert!(
        !text.contains("\r\nBcc:")
            && !text.contains("Original-Recipient")
            && !text.contains("Original-Envelope-Id")
    );
    // Two boundaries occur in what came from outside, so the third is taken: three parts and the end.
    assert_eq!(text.matches("\r\n--=_0123456789abcdefghjkmnpqrs_2").count(), 4);
}

#[test]
fn long_words_do_not_make_long_lines() {
    let long = alloc::format!("550 {}", "x".repeat(5_000));
    let reports = [report("b@mx.test", Action::Failed, Status::PERMANENT, &long)];
    let text = text(&dsn(&reports, Returned::Header(Vec::new())));
    // Whole in the text for people and in the status, but for the cuts.
    assert!(text.matches('x').count() >= 10_000);
}

#[test]
fn octets_that_no_message_may_hold_do_not_go_back() {
    let reports = [report("b@mx.test", Action::Failed, Status::PERMANENT, "550 no")];
    for bytes in
        [&b"Subject: x\r\n\r\na\nb\r\n"[..], b"Subject: x\r\n\r\na\0b\r\n", b"Subject: x\r\n\r\nend\r"]
    {
        let text = text(&dsn(&reports, Returned::Message(bytes.to_vec())));
        assert!(text.contains("text/rfc822-headers\r\n") && text.contains("\r\nSubject: x\r\n\r\n--"));
    }
    for bytes in [vec![b'\n'; 3], b"Sub\rject: x\r\n".to_vec()] {
        assert!(!text(&dsn(&reports, Returned::Header(bytes))).contains("rfc822-headers"));
    }
}
