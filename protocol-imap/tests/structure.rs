//! ENVELOPE and BODYSTRUCTURE of real messages, read back by the client's parser.

use protocol_core::SendBuf;
use protocol_core::message::Scanner;
use protocol_imap::codec::{Body, Envelope, FetchAttr, FetchWriter, Response, Text, Untagged};

/// What a client reads of a message's ENVELOPE, BODY and BODYSTRUCTURE.
fn shown<T>(message: &[u8], look: impl FnOnce(Envelope<'_>, Body<'_>, Body<'_>) -> T) -> T {
    let mut scanner = Scanner::new();
    scanner.feed(message);
    let structure = scanner.finish();
    let mut out = SendBuf::with_high_water(1 << 20);
    let mut row = FetchWriter::begin(1, false, &mut out);
    row.envelope(structure.envelope(), &mut out);
    row.structure(&structure, false, &mut out);
    row.structure(&structure, true, &mut out);
    row.end(&mut out);
    let response = Response::parse(out.bytes()).unwrap_or_else(|fault| {
        panic!("{fault}: {}", out.bytes().escape_ascii());
    });
    let Response::Untagged(Untagged::Fetch { attrs, .. }) = response else { panic!("{response:?}") };
    let attrs: Vec<_> = attrs.iter().collect();
    let [FetchAttr::Envelope(envelope), FetchAttr::Body(body), FetchAttr::BodyStructure(extended)] =
        attrs[..]
    else {
        panic!("{attrs:?}");
    };
    look(envelope, body, extended)
}

fn s(text: &str) -> Option<Text<'_>> {
    Some(text.into())
}

const MESSAGE: &[u8] = b"From: \"Terry \\\"T\\\" Gray\" <gray@cac.example>\r\n\
To: A Group:Ed Jones <joe@where.test>,<john@one.test>;, plain@x.example\r\n\
Cc: undisclosed <\r\n\
Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?= \xfc\r\n\
Date: Wed, 17 Jul 1996 02:23:25 -0700\r\n\
Message-ID: <a@b>\r\n\
MIME-Version: 1.0\r\n\
Content-Type: multipart/mixed; boundary=b\r\n\
\r\n\
--b\r\n\
\r\n\
one\r\ntwo\r\n\
--b\r\n\
Content-Type: message/rfc822\r\n\
Content-Disposition: attachment; filename=\"x y.eml\"\r\n\
\r\n\
Subject: inner\r\n\
\r\n\
body\r\n\
--b\r\n\
Content-Type: message/delivery-status\r\n\
Content-Language: en, de\r\n\
Content-MD5: Q2hlY2s=\r\n\
\r\n\
X: y\r\n\
--b--\r\n";

#[test]
fn an_envelope_shows_the_header() {
    shown(MESSAGE, |envelope, _, _| {
        // 8-bit octets and encoded words go out as they stand.
        let subject = envelope.subject.unwrap().to_vec();
        assert_eq!(subject, b"=?UTF-8?Q?Gr=C3=BC=C3=9Fe?= \xfc");
        assert_eq!((envelope.message_id, envelope.in_reply_to), (s("<a@b>"), None));
        let from: Vec<_> = envelope.from.iter().collect();
        assert_eq!(from.len(), 1);
        assert_eq!((from[0].name, from[0].mailbox), (s("Terry \"T\" Gray"), s("gray")));
        // RFC 9051 §7.5.2: absent Sender and Reply-To are From.
        assert_eq!((envelope.sender, envelope.reply_to), (envelope.from, envelope.from));
        let to: Vec<_> = envelope.to.iter().map(|a| (a.mailbox, a.host)).collect();
        assert_eq!(
            to,
            [
                (s("A Group"), None),
                (s("joe"), s("where.test")),
                (s("john"), s("one.test")),
                (None, None),
                (s("plain"), s("x.example")),
            ]
        );
        assert!(envelope.bcc.is_empty());
        // What is no address has an empty host: neither a group nor an address of someone.
        let cc: Vec<_> = envelope.cc.iter().collect();
        assert_eq!((cc.len(), cc[0].host), (1, s("")));
    });
}

#[test]
fn a_structure_shows_the_parts() {
    shown(MESSAGE, |_, body, extended| {
        let Body::Multi { parts, subtype, params, .. } = extended else { panic!("{extended:?}") };
        assert_eq!((parts.len(), subtype), (3, "mixed".into()));
        assert_eq!(params.iter().next().map(|p| p.value), s("b"));
        let parts: Vec<_> = parts.iter().collect();
        let [Body::Single(text), Body::Single(message), Body::Single(status)] = parts[..] else {
            panic!("{parts:?}");
        };
        assert_eq!((text.media_type, text.lines, text.fields.octets), ("text".into(), Some(1), 8));
        let (inner, within) = message.message.unwrap();
        assert_eq!(inner.subject, s("inner"));
        assert!(matches!(within.iter().next(), Some(Body::Single(part)) if part.fields.octets == 4));
        let disposition = message.extension.disposition.unwrap();
        assert_eq!(disposition.params.iter().next().map(|p| p.value), s("x y.eml"));
        // message/* other than a message has neither envelope nor lines.
        assert_eq!((status.message, status.lines, status.md5), (None, None, s("Q2hlY2s=")));
        assert_eq!(status.extension.language.len(), 2);
        let Body::Multi { params, parts, .. } = body else { panic!("{body:?}") };
        assert!(params.is_empty(), "BODY has no extension data");
        assert_eq!(parts.len(), 3);
    });
}

#[test]
fn odd_messages_have_structures_that_clients_can_read() {
    let deep = |n: usize| {
        let mut message = String::new();
        for level in 0..n {
            message
                .push_str(&format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n"));
        }
        message.into_bytes()
    };
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(30);
    let odd: [Vec<u8>; 8] = [
        b"".to_vec(),
        b"\r\n".to_vec(),
        b"no header at all".to_vec(),
        b"Content-Type: multipart/mixed\r\n\r\nno boundary\r\n".to_vec(),
        b"Content-Type: message/rfc822\r\n\r\n".to_vec(),
        b"From: \"\\\"\r\nTo: ,,;:<>@\r\nSubject:\r\n\r\n".to_vec(),
        deep(60),
        messages.into_bytes(),
    ];
    for message in odd {
        shown(&message, |_, _, extended| assert!(!format!("{extended:?}").is_empty()));
    }
}
