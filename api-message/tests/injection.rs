//! HG7: whatever stands in any argument, it is refused, or the message has exactly the fields it should have, and
//! they say what was asked for.

use api_message::{Attachment, Pair, Request, Unique, Unsubscribe};
use proptest::prelude::*;
use protocol_core::Timestamp;
use protocol_core::message::{AddressList, Entry, Fields, Scanner, encoded_word, header};

const NOW: Timestamp = Timestamp(1_770_000_000_000);

/// Pieces that break something somewhere, and plain ones.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("\r\n".to_owned()),
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just("\0".to_owned()),
        Just("\u{85}".to_owned()),
        Just("\u{2028}".to_owned()),
        Just("\r\nBcc: evil@evil.example".to_owned()),
        Just("=?utf-8?q?=0d=0aBcc:_x?=".to_owned()),
        Just("=?utf-8?b?aGVsbG8=?=".to_owned()),
        Just("=?".to_owned()),
        Just("a@b.example".to_owned()),
        Just("<".to_owned()),
        Just(">".to_owned()),
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just(", ".to_owned()),
        Just(";".to_owned()),
        Just(":".to_owned()),
        Just("  ".to_owned()),
        Just("(".to_owned()),
        Just("ü".to_owned()),
        "[a-zA-Z0-9 .@-]{0,12}",
        any::<char>().prop_map(String::from),
        "\\PC{0,80}",
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..6).prop_map(|pieces| pieces.concat())
}

/// A good request with some of its arguments replaced by anything.
fn request() -> impl Strategy<Value = Request> {
    let good = || Request {
        from: "Sender <sender@example.com>".into(),
        to: vec!["user@example.net".into()],
        subject: Some("Hello".into()),
        text: Some("Hi".into()),
        html: Some("<p>Hi</p>".into()),
        ..Request::default()
    };
    (0u8..16, text(), text()).prop_map(move |(which, text, other)| {
        let mut request = good();
        let named = |text: &str| format!("{text} <name@example.net>");
        match which {
            0 => request.from = text,
            1 => request.from = named(&text),
            2 => request.to.push(text),
            3 => request.cc.push(named(&text)),
            4 => request.bcc.push(text),
            5 => request.reply_to.push(named(&text)),
            6 => request.subject = Some(text),
            7 => request.headers.push(Pair::new(text, other)),
            8 => request.headers.push(Pair::new("X-Test", text)),
            9 => request.headers.push(Pair::new("In-Reply-To", text)),
            10 => request.attachments.push(Attachment { filename: Some(text), ..Attachment::default() }),
            11 => request.attachments.push(Attachment {
                filename: Some("f".into()),
                content_type: Some(text),
                ..Attachment::default()
            }),
            12 => request.attachments.push(Attachment { content_id: Some(text), ..Attachment::default() }),
            13 => request.unsubscribe = Some(Unsubscribe { url: Some(text), mailto: None, one_click: true }),
            14 => request.unsubscribe = Some(Unsubscribe { url: None, mailto: Some(text), one_click: false }),
            _ => (request.text, request.html) = (Some(text), Some(other)),
        }
        request
    })
}

fn expected(request: &Request) -> Vec<String> {
    let mut names = vec!["From", "To"];
    names.extend((!request.cc.is_empty()).then_some("Cc"));
    names.extend((!request.reply_to.is_empty()).then_some("Reply-To"));
    names.extend(["Subject", "Date", "Message-ID"]);
    names.extend(request.unsubscribe.as_ref().map(|_| "List-Unsubscribe"));
    names.extend(request.unsubscribe.as_ref().filter(|u| u.one_click).map(|_| "List-Unsubscribe-Post"));
    names.extend(request.headers.iter().map(|header| header.name.as_str()));
    names.extend(["MIME-Version", "Content-Type"]);
    names.into_iter().map(str::to_owned).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn hg7_any_string_is_refused_or_adds_no_field(request in request()) {
        let Ok(email) = request.clone().check(NOW) else { return Ok(()) };
        let recipients = email.recipients.clone();
        let unique = Unique { message_id: [1; 16], boundary: [2; 16] };
        let composed = email.compose(NOW, unique).unwrap();
        let bytes: Vec<u8> = composed.chunks().flat_map(|chunk| chunk.into_owned()).collect();
        let names: Vec<String> =
            Fields::new(&bytes).map(|field| String::from_utf8_lossy(field.name).into_owned()).collect();
        prop_assert_eq!(names, expected(&request));
        prop_assert!(Fields::new(&bytes).all(|field| field.well_formed));
        // Nothing between the fields is left over, and no field holds a line end that is not a fold.
        let head = header::header_len(&bytes);
        let lone = bytes[..head].windows(2).any(|w| (w[0] == b'\r') != (w[1] == b'\n'));
        prop_assert!(!lone && !bytes[..head].contains(&0));
        let subject = Fields::find(&bytes, "Subject").unwrap();
        prop_assert_eq!(encoded_word::decode(&header::unfold(subject.value)), request.subject.unwrap());
        // The fields name the recipients of the envelope and nobody else.
        let mut found = 0;
        for name in ["To", "Cc"] {
            for entry in Fields::find(&bytes, name).into_iter().flat_map(|f| AddressList::new(f.value).collect::<Vec<_>>()) {
                let Entry::Mailbox(mailbox) = entry else {
                    return Err(TestCaseError::fail(format!("{name} holds {entry:?}")));
                };
                let canonical = protocol_core::address::Canonical::from_parts(
                    std::str::from_utf8(&mailbox.local).unwrap(),
                    std::str::from_utf8(&mailbox.domain).unwrap(),
                ).unwrap();
                prop_assert!(recipients.iter().any(|r| r.address.canonical == canonical));
                found += 1;
            }
        }
        prop_assert_eq!(found, recipients.iter().filter(|r| r.kind != api_message::RecipientKind::Bcc).count());
        let mut scanner = Scanner::new();
        scanner.feed(&bytes);
        let structure = scanner.finish();
        prop_assert_eq!(structure.parts().len(), 3 + if request.attachments.is_empty() { 0 } else { 2 });
        for (n, attachment) in request.attachments.iter().enumerate() {
            let part = structure.parts().iter().rev().nth(request.attachments.len() - 1 - n).unwrap();
            prop_assert_eq!(part.file_name(), attachment.filename.clone());
        }
    }
}
