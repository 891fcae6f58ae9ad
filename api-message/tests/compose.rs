//! What is composed, read again by the scanner that everything else reads messages with.

use api_message::limits::*;
use api_message::{Attachment, Composed, Pair, Reason, Request, Unique, Unsubscribe};
use protocol_core::Timestamp;
use protocol_core::message::decode::Decoder;
use protocol_core::message::{AddressList, Fields, Flags, Kind, Scanner, Structure, encoded_word, header};

const NOW: Timestamp = Timestamp(1_770_000_000_000);

fn unique() -> Unique {
    Unique { message_id: [1; 16], boundary: [2; 16] }
}

fn request() -> Request {
    Request {
        from: "Sender <sender@example.com>".into(),
        to: vec!["user@example.net".into()],
        subject: Some("Hello".into()),
        text: Some("Hi from Inbox".into()),
        html: Some("<p>Hi from Inbox</p>".into()),
        ..Request::default()
    }
}

fn octets(composed: &Composed) -> Vec<u8> {
    let bytes: Vec<u8> = composed.chunks().flat_map(|chunk| chunk.into_owned()).collect();
    assert_eq!(bytes.len() as u64, composed.octets());
    assert!(bytes.ends_with(b"\r\n"));
    bytes
}

fn compose(request: Request) -> (Vec<u8>, Structure) {
    let composed = request.check(NOW).unwrap().compose(NOW, unique()).unwrap();
    let bytes = octets(&composed);
    let mut scanner = Scanner::new();
    scanner.feed(&bytes);
    let structure = scanner.finish();
    for line in bytes.split(|b| *b == b'\n') {
        assert!(line.is_empty() || line.ends_with(b"\r"), "a line ends in CRLF");
        assert!(line.len() <= 999, "a line has at most 998 octets");
    }
    assert!(!structure.flags.has(Flags::BODY_8BIT));
    (bytes, structure)
}

fn shape(structure: &Structure) -> Vec<String> {
    // A lone part is section 1 of its message.
    let depth = |n: usize| if n == 0 { 0 } else { structure.path(n).len() };
    let part = |(n, p): (usize, &protocol_core::message::Part)| {
        format!("{}{}/{}", " ".repeat(depth(n)), p.media_type, p.media_subtype)
    };
    structure.parts().iter().enumerate().map(part).collect()
}

fn decoded(bytes: &[u8], structure: &Structure, n: usize) -> Vec<u8> {
    let part = structure.part(n).unwrap();
    assert_eq!(part.kind, Kind::Leaf);
    let range = part.body();
    let mut decoder = Decoder::new(&part.encoding);
    let mut out = Vec::new();
    decoder.feed(&bytes[range.start as usize..range.end as usize], &mut out);
    decoder.finish(&mut out);
    out
}

fn field(bytes: &[u8], name: &str) -> String {
    let field = Fields::find(bytes, name).unwrap_or_else(|| panic!("a {name} field"));
    encoded_word::decode(&header::unfold(field.value))
}

#[test]
fn two_bodies_are_alternatives_the_better_one_last() {
    let (bytes, structure) = compose(request());
    assert_eq!(shape(&structure), ["multipart/alternative", " text/plain", " text/html"]);
    assert_eq!(decoded(&bytes, &structure, 1), b"Hi from Inbox");
    assert_eq!(decoded(&bytes, &structure, 2), b"<p>Hi from Inbox</p>");
    let names: Vec<String> =
        Fields::new(&bytes).map(|f| String::from_utf8_lossy(f.name).into_owned()).collect();
    assert_eq!(names, ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"]);
    assert_eq!(field(&bytes, "Date"), "Mon, 2 Feb 2026 02:40:00 +0000");
    assert_eq!(field(&bytes, "Message-ID"), "<aeaqcaibaeaqcaibaeaqcaibae@example.com>");
}

#[test]
fn one_body_stands_alone() {
    let (bytes, structure) = compose(Request { html: None, ..request() });
    assert_eq!(shape(&structure), ["text/plain"]);
    assert!(bytes.ends_with(b"\r\n\r\nHi from Inbox\r\n"));
    let (_, structure) = compose(Request { text: None, ..request() });
    assert_eq!(shape(&structure), ["text/html"]);
}

#[test]
fn files_and_inline_parts_have_their_places_and_their_octets() {
    let logo: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let file = |name: &str, id: Option<&str>, content: Vec<u8>| Attachment {
        filename: Some(name.into()),
        content_type: Some("image/png".into()),
        content_id: id.map(Into::into),
        content,
    };
    let attachments = vec![
        file("Rechnung März.pdf", None, b"pdf".to_vec()),
        file("logo.png", Some("logo"), logo.clone()),
        file("empty", None, Vec::new()),
    ];
    let (bytes, structure) = compose(Request { attachments, ..request() });
    assert_eq!(
        shape(&structure),
        [
            "multipart/mixed",
            " multipart/alternative",
            "  text/plain",
            "  multipart/related",
            "   text/html",
            "   image/png",
            " image/png",
            " image/png"
        ]
    );
    assert_eq!(decoded(&bytes, &structure, 5), logo);
    assert_eq!(decoded(&bytes, &structure, 6), b"pdf");
    assert_eq!(decoded(&bytes, &structure, 7), b"");
    assert_eq!(structure.part(6).unwrap().file_name().as_deref(), Some("Rechnung März.pdf"));
    assert!(structure.part(6).unwrap().is_attachment());
    assert_eq!(structure.part(5).unwrap().disposition.as_ref().unwrap().kind, "inline");
}

#[test]
fn any_text_comes_back_as_it_was() {
    for text in [
        "Grüße\r\naus Köln",
        "ürümqi ütüñ",
        &"x".repeat(5_000),
        "From here\r\n.\r\n..dots\r\n--=_0.x\r\n trailing \r\n",
        "",
        "日本語のテキスト",
        &"ü".repeat(3_000),
    ] {
        let (bytes, structure) = compose(Request { text: Some(text.into()), ..request() });
        assert_eq!(String::from_utf8(decoded(&bytes, &structure, 1)).unwrap(), text);
        let (bytes, structure) = compose(Request { text: Some(text.into()), html: None, ..request() });
        let got = String::from_utf8(decoded(&bytes, &structure, 0)).unwrap();
        assert_eq!(got.strip_suffix("\r\n").unwrap_or(&got), text.strip_suffix("\r\n").unwrap_or(text));
    }
}

#[test]
fn so13_bcc_is_in_no_octet_of_the_message() {
    let bcc = vec!["Secret Person <hidden@secret.example>".to_owned()];
    let (bytes, _) = compose(Request { bcc: bcc.clone(), ..request() });
    let text = String::from_utf8(bytes).unwrap().to_lowercase();
    assert!(!text.contains("bcc") && !text.contains("hidden") && !text.contains("secret"), "{text}");
    let (bytes, _) = compose(Request { to: Vec::new(), bcc, ..request() });
    assert_eq!(field(&bytes, "To"), "undisclosed-recipients:;");
    assert!(!String::from_utf8(bytes).unwrap().contains("hidden"));
}

#[test]
fn recipients_are_kept_once_as_what_they_were_named_first() {
    let email = Request {
        cc: vec!["USER@example.net".into(), "b@example.net".into()],
        bcc: vec!["B@EXAMPLE.net".into(), "c@example.net".into()],
        ..request()
    };
    let email = email.check(NOW).unwrap();
    let wires: Vec<&str> = email.recipients.iter().map(|r| r.address.wire.as_str()).collect();
    assert_eq!(wires, ["user@example.net", "b@example.net", "c@example.net"]);
}

#[test]
fn only_a_local_part_outside_ascii_in_a_field_needs_smtputf8() {
    let composed = |to: &str, bcc: &[&str]| {
        let request =
            Request { to: vec![to.into()], bcc: bcc.iter().map(|b| b.to_string()).collect(), ..request() };
        request.check(NOW).unwrap().compose(NOW, unique()).unwrap()
    };
    assert!(!composed("Jörg <j@bücher.example>", &[]).smtputf8);
    assert!(!composed("a@b.example", &["jörg@b.example"]).smtputf8);
    let with = composed("jörg@b.example", &[]);
    assert!(with.smtputf8);
    assert_eq!(field(&octets(&with), "To"), "jörg@b.example");
}

#[test]
fn unsubscribing_with_one_click_has_both_fields() {
    let unsubscribe = |url: &str, mailto: &str, one_click| {
        let some = |text: &str| Some(text.to_owned()).filter(|t| !t.is_empty());
        Some(Unsubscribe { url: some(url), mailto: some(mailto), one_click })
    };
    let with = |u| Request { unsubscribe: u, ..request() };
    let (bytes, _) = compose(with(unsubscribe("https://l.example/u?x=1", "leave@l.example", true)));
    assert_eq!(field(&bytes, "List-Unsubscribe"), "<https://l.example/u?x=1>, <mailto:leave@l.example>");
    assert_eq!(field(&bytes, "List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    for bad in [
        unsubscribe("http://l.example/", "", true),
        unsubscribe("https://", "", true),
        unsubscribe("https://l.example/>,<https://evil.example/", "", true),
        unsubscribe("", "leave@l.example", true),
        unsubscribe("", "", false),
        unsubscribe("", "a?subject=x@l.example", false),
    ] {
        assert!(with(bad.clone()).check(NOW).is_err(), "{bad:?}");
    }
    let twice = Request {
        headers: vec![Pair::new("list-unsubscribe", "<https://other.example>")],
        ..with(unsubscribe("https://l.example/", "", true))
    };
    assert_eq!(twice.check(NOW).unwrap_err().reason, Reason::Conflict);
}

#[test]
fn counts_at_their_limits_and_one_past() {
    let address = |n: usize| format!("r{n}@example.net");
    let many = |n: usize| Request { to: (0..n).map(address).collect(), ..request() };
    assert!(many(RECIPIENTS_MAX).check(NOW).unwrap().compose(NOW, unique()).is_ok());
    assert_eq!(many(RECIPIENTS_MAX + 1).check(NOW).unwrap_err().reason, Reason::TooMany);
    let headers = |n: usize| Request {
        headers: (0..n).map(|n| Pair::new(format!("X-{n}"), "v")).collect(),
        ..request()
    };
    assert!(headers(HEADERS_MAX).check(NOW).is_ok());
    assert_eq!(headers(HEADERS_MAX + 1).check(NOW).unwrap_err().reason, Reason::TooMany);
    let tags = |n: usize| Request { tags: (0..n).map(|n| format!("t{n}")).collect(), ..request() };
    assert!(tags(TAGS_MAX).check(NOW).is_ok());
    assert_eq!(tags(TAGS_MAX + 1).check(NOW).unwrap_err().reason, Reason::TooMany);
    let metadata = |n: usize| Request {
        metadata: (0..n).map(|n| Pair::new(format!("m{n}"), "v")).collect(),
        ..request()
    };
    assert!(metadata(METADATA_MAX).check(NOW).is_ok());
    assert_eq!(metadata(METADATA_MAX + 1).check(NOW).unwrap_err().reason, Reason::TooMany);
    let file = |n: usize| Attachment { filename: Some(format!("f{n}")), ..Attachment::default() };
    let files = |n: usize| Request { attachments: (0..n).map(file).collect(), ..request() };
    assert!(files(ATTACHMENTS_MAX).check(NOW).is_ok());
    assert_eq!(files(ATTACHMENTS_MAX + 1).check(NOW).unwrap_err().reason, Reason::TooMany);
    let replies = |n: usize| Request { reply_to: (0..n).map(address).collect(), ..request() };
    assert!(replies(REPLY_TO_MAX).check(NOW).is_ok());
    assert_eq!(replies(REPLY_TO_MAX + 1).check(NOW).unwrap_err().reason, Reason::TooMany);
}

#[test]
fn sizes_at_their_limits_and_one_past() {
    let file = |octets: usize| Attachment {
        filename: Some("f".into()),
        content: vec![7; octets],
        ..Attachment::default()
    };
    let files =
        |sizes: &[usize]| Request { attachments: sizes.iter().map(|n| file(*n)).collect(), ..request() };
    assert!(files(&[ATTACHMENT_MAX]).check(NOW).unwrap().compose(NOW, unique()).is_ok());
    let fault = files(&[ATTACHMENT_MAX + 1]).check(NOW).unwrap_err();
    assert_eq!((fault.argument.as_str(), fault.reason), ("attachments[0].content", Reason::TooLarge));
    // Two of them pass one by one; the message does not.
    let fault = files(&[ATTACHMENT_MAX, 2_000_000]).check(NOW).unwrap().compose(NOW, unique()).unwrap_err();
    assert_eq!(fault.reason, Reason::TooLarge);
    let text = |octets: usize| Request { text: Some("x\n".repeat(octets / 2)), html: None, ..request() };
    assert!(text(BODY_MAX).check(NOW).is_ok());
    assert_eq!(text(BODY_MAX + 2).check(NOW).unwrap_err().reason, Reason::TooLarge);
    // Names that are long in the header, each within its limit.
    let long = |n: usize| format!("{} <r{n}@{}.example>", "ü".repeat(127), "d".repeat(63));
    let wide = Request { to: (0..RECIPIENTS_MAX).map(long).collect(), ..request() };
    assert_eq!(wide.check(NOW).unwrap().compose(NOW, unique()).unwrap_err().reason, Reason::TooLarge);
}

#[test]
fn send_at_reaches_thirty_days_and_no_further() {
    let at = |ms: i64| Request { send_at: Some(Timestamp(NOW.0 + ms)), ..request() };
    let month = SEND_AT_AHEAD_MAX_SECS * 1_000;
    assert_eq!(at(month).check(NOW).unwrap().send_at, Some(Timestamp(NOW.0 + month)));
    assert_eq!(at(month + 1).check(NOW).unwrap_err().reason, Reason::TooFarAhead);
    assert_eq!(at(0).check(NOW).unwrap().send_at, None);
    assert_eq!(at(-1).check(NOW).unwrap().send_at, None);
}

#[test]
fn what_is_missing_is_named() {
    let fault = |request: Request| {
        let fault = request.check(NOW).unwrap_err();
        (fault.argument, fault.reason)
    };
    assert_eq!(fault(Request { to: Vec::new(), ..request() }), ("to".into(), Reason::Missing));
    assert_eq!(fault(Request { text: None, html: None, ..request() }), ("textBody".into(), Reason::Missing));
    assert_eq!(fault(Request { from: "".into(), ..request() }), ("from".into(), Reason::Missing));
    assert_eq!(
        fault(Request { from: "a@[192.0.2.1]".into(), ..request() }),
        ("from".into(), Reason::Address)
    );
    let inline = Attachment { content_id: Some("x".into()), ..Attachment::default() };
    let without = Request { html: None, attachments: vec![inline.clone()], ..request() };
    assert_eq!(fault(without), ("attachments[0].contentId".into(), Reason::Conflict));
    let twice = Request { attachments: vec![inline.clone(), inline], ..request() };
    assert_eq!(fault(twice), ("attachments[1].contentId".into(), Reason::Conflict));
}

#[test]
fn an_address_in_a_field_is_the_address_of_the_envelope() {
    let tricky = "\"a <evil@x.example>, b\" <\"quoted \\\" part\"@example.net>";
    let (bytes, _) = compose(Request { to: vec![tricky.into()], ..request() });
    let field = Fields::find(&bytes, "To").unwrap();
    let found: Vec<_> = AddressList::new(field.value).mailboxes().collect();
    assert_eq!(found.len(), 1);
    assert_eq!((&*found[0].local, &*found[0].domain), (&b"quoted \" part"[..], &b"example.net"[..]));
}
