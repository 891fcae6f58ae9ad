//! The scanner's tree, row by row.

mod support;

use protocol_core::message::{Encoding, Entry, Envelope, Flags, Kind};
use support::{check_invariants, crlf, scan, scan_by, tree};

/// A message, its tree, and flags that must be set.
const ROWS: &[(&str, &str, Flags)] = &[
    ("\nbody\n", r#"text/plain "body\r\n""#, Flags(0)),
    ("", r#"text/plain """#, Flags::HEADER_ONLY),
    ("Subject: x\n", r#"text/plain """#, Flags::HEADER_ONLY),
    ("Subject: x", r#"text/plain """#, Flags::HEADER_ONLY),
    ("Content-Type: TEXT/Html; x=y\n\nb", r#"text/html "b""#, Flags(0)),
    // Preamble, epilogue, the line end in front of a delimiter, white space behind one.
    (
        "Content-Type: multipart/mixed; boundary=x\n\npreamble\n--x\n\none\n--x \t\nContent-Type: text/html\n\ntwo\n\n--x--\nepilogue\n",
        r#"multipart/mixed[text/plain "one", text/html "two\r\n"]"#,
        Flags(0),
    ),
    // The last line has no line end.
    (
        "Content-Type: multipart/mixed; boundary=x\n\n--x\n\none\n--x--",
        r#"multipart/mixed[text/plain "one"]"#,
        Flags(0),
    ),
    // Missing close.
    (
        "Content-Type: multipart/mixed; boundary=x\n\n--x\n\none\n",
        r#"multipart/mixed[text/plain "one\r\n"]"#,
        Flags::UNCLOSED,
    ),
    // Nothing between delimiters; a part without a blank line.
    (
        "Content-Type: multipart/mixed; boundary=x\n\n--x\n--x\nContent-Type: text/html\n--x\n\n--x--\n",
        r#"multipart/mixed[text/plain "", text/html "", text/plain ""]"#,
        Flags(0),
    ),
    // A boundary that another one begins with, and lines that only look alike.
    (
        "Content-Type: multipart/mixed; boundary=ab\n\n--ab\nContent-Type: multipart/alternative; boundary=abc\n\n\
         --abc\n\n--abd\n--a\n--ab-\n --ab\n--abc--\n--ab--\n",
        r#"multipart/mixed[multipart/alternative[text/plain "--abd\r\n--a\r\n--ab-\r\n --ab"]]"#,
        Flags(0),
    ),
    // `x--` opening is not `x` closing.
    (
        "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: multipart/mixed; boundary=\"x--\"\n\n\
         --x--\n\ninner\n--x----\n--x--\n",
        r#"multipart/mixed[multipart/mixed[text/plain "inner"]]"#,
        Flags(0),
    ),
    // The outer delimiter ends an inner multipart that was not closed.
    (
        "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/mixed; boundary=i\n\n--i\n\na\n--o\n\nb\n--o--\n",
        r#"multipart/mixed[multipart/mixed[text/plain "a"], text/plain "b"]"#,
        Flags::UNCLOSED,
    ),
    // One boundary at two levels: the innermost counts until it is closed.
    (
        "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: multipart/mixed; boundary=x\n\n--x\n\na\n--x--\n--x\n\nb\n--x--\n",
        r#"multipart/mixed[multipart/mixed[text/plain "a"], text/plain "b"]"#,
        Flags(0),
    ),
    // After the close the boundary is text.
    (
        "Content-Type: multipart/mixed; boundary=x\n\n--x\n\na\n--x--\n--x\n\nb\n--x--\n",
        r#"multipart/mixed[text/plain "a"]"#,
        Flags(0),
    ),
    // No boundary, none found, and one that cannot be.
    ("Content-Type: multipart/mixed\n\n--x\n\na\n", r#"text/plain "--x\r\n\r\na\r\n""#, Flags::NO_PARTS),
    (
        "Content-Type: multipart/mixed; boundary=y\n\n--x\n\na\n",
        r#"text/plain "--x\r\n\r\na\r\n""#,
        Flags::NO_PARTS,
    ),
    (
        "Content-Type: multipart/mixed; boundary=\"\"\n\n--\n\na\n",
        r#"text/plain "--\r\n\r\na\r\n""#,
        Flags::NO_PARTS,
    ),
    // Messages in messages.
    (
        "Content-Type: message/rfc822\n\nSubject: in\nContent-Type: text/html\n\nbody\n",
        r#"message/rfc822{text/html "body\r\n"}"#,
        Flags(0),
    ),
    (
        "Content-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: 1\n\na\n--d\nContent-Type: text/plain\n\nb\n--d--\n",
        r#"multipart/digest[message/rfc822{text/plain "a"}, text/plain "b"]"#,
        Flags(0),
    ),
    (
        "Content-Type: multipart/mixed; boundary=d\n\n--d\nContent-Type: message/global\n\nSubject: in\n--d\nContent-Type: message/rfc822\n--d--\n",
        r#"multipart/mixed[message/global{text/plain ""}, message/rfc822{text/plain ""}]"#,
        Flags(0),
    ),
    (
        "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nSubject: in\n\nbody",
        r#"message/rfc822{text/plain "body"}"#,
        Flags::ENCODED_CONTAINER,
    ),
    ("Content-Type: message/delivery-status\n\na: b\n", "message/delivery-status \"a: b\\r\\n\"", Flags(0)),
    // Lines that are no fields.
    ("garbage\nContent-Type: text/html\n\nb", r#"text/html "b""#, Flags::MALFORMED_HEADER),
    (" Content-Type: text/html\n\nb", r#"text/plain "b""#, Flags::MALFORMED_HEADER),
    ("Content-Type : text/html\n\nb", r#"text/plain "b""#, Flags::MALFORMED_HEADER),
];

#[test]
fn trees() {
    for (text, want, flags) in ROWS {
        let message = crlf(text);
        let structure = scan(&message);
        assert_eq!(tree(&message, &structure), *want, "{text}");
        assert!(structure.flags.has(*flags), "{text}: {:?}", structure.flags);
        if *flags == Flags(0) {
            let faults = structure.flags.0 & !(Flags::HEADER_8BIT.0 | Flags::BODY_8BIT.0);
            assert_eq!(faults, 0, "{text}");
        }
        check_invariants(&message, &structure);
    }
}

#[test]
fn every_split_gives_the_same_structure() {
    for (text, _, _) in ROWS {
        for message in [crlf(text), text.as_bytes().to_vec()] {
            let whole = scan(&message);
            for size in 1..message.len().min(40) {
                assert_eq!(scan_by(&message, size), whole, "{text} in pieces of {size}");
            }
        }
    }
}

#[test]
fn line_feeds_alone_give_the_same_trees_and_are_noticed() {
    for (text, want, _) in ROWS {
        let structure = scan(text.as_bytes());
        let tree = tree(text.as_bytes(), &structure);
        assert_eq!(tree, want.replace("\\r", ""), "{text}");
        assert!(structure.flags.has(Flags::UNCLEAN) || !text.contains('\n'));
        check_invariants(text.as_bytes(), &structure);
    }
}

#[test]
fn si37_ambiguous_fields_have_one_reading_and_are_flagged() {
    for (header, media, flags) in [
        ("Content-Type: text/html\nContent-Type: text/plain\n", "text/html", Flags::DUPLICATE_CONTENT_FIELD),
        ("Content-Type: junk\nContent-Type: text/html\n", "text/plain", Flags::DUPLICATE_CONTENT_FIELD),
        ("Content-Type: text\n", "text/plain", Flags::MALFORMED_CONTENT),
        ("Content-Type:\n", "text/plain", Flags::MALFORMED_CONTENT),
        ("Content-Type: text/html; =x\n", "text/html", Flags::MALFORMED_CONTENT),
        ("Content-Type: text/html; a=1; A=2\n", "text/html", Flags::DUPLICATE_CONTENT_FIELD),
        ("Content-Type: (c) text (c) / (c(c)) html (c) ; (c) a (c) = (c) b\n", "text/html", Flags(0)),
        (
            "Content-Transfer-Encoding: base64\nContent-Transfer-Encoding: 7bit\n",
            "text/plain",
            Flags::DUPLICATE_CONTENT_FIELD,
        ),
    ] {
        let structure = scan(&crlf(&format!("{header}\nbody")));
        let root = structure.root();
        assert_eq!(format!("{}/{}", root.media_type, root.media_subtype), media, "{header}");
        assert!(structure.flags.has(flags), "{header}");
        if header.contains("base64") {
            assert_eq!(root.encoding, Encoding::Base64);
        }
    }
}

#[test]
fn si37_boundaries_that_mislead() {
    for (param, delimiter, parts) in [
        ("boundary=x", "--x", 2),
        ("boundary=\"x \"", "--x", 2),
        ("boundary=\"a b\"", "--a b", 2),
        ("boundary='x'", "--'x'", 2),
        ("boundary==?utf-8?Q?x?=", "--=?utf-8?Q?x?=", 2),
        ("boundary==?utf-8?Q?x?=", "--x", 1),
        ("boundary*=utf-8''x", "--x", 1),
        ("boundary*0=x;boundary*1=y", "--xy", 2),
        ("boundary=x; boundary=y", "--x", 2),
        ("boundary=x; boundary=y", "--y", 1),
        ("boundary=\"x\0y\"", "--x\0y", 1),
        ("boundary=\"x\0y\"", "--x", 1),
        ("boundary=x", "--X", 1),
    ] {
        let message =
            crlf(&format!("Content-Type: multipart/mixed; {param}\n\n{delimiter}\n\nbody\n{delimiter}--\n"));
        assert_eq!(scan(&message).parts().len(), parts, "{param:?} {delimiter:?}");
    }
}

#[test]
fn si37_one_file_name() {
    for (fields, want) in [
        ("Content-Disposition: attachment; filename=a.txt\nContent-Type: x/y; name=b.txt\n", Some("a.txt")),
        ("Content-Type: x/y; name=b.txt\n", Some("b.txt")),
        ("Content-Disposition: attachment; filename=a; filename*=utf-8'en'%E2%82%AC.txt\n", Some("€.txt")),
        ("Content-Disposition: attachment; filename*0=a; filename*1=\"b.txt\"\n", Some("ab.txt")),
        ("Content-Disposition: attachment; filename*1=b; filename*0=a; filename*3=d\n", Some("ab")),
        ("Content-Disposition: attachment; filename*0*=iso-8859-1''%fc; filename*1=\" x\"\n", Some("ü x")),
        ("Content-Disposition: attachment; filename*0=\"a'b\"; filename*1*=%20c\n", Some("a'b c")),
        ("Content-Disposition: attachment; filename=\"=?utf-8?B?w6QudHh0?=\"\n", Some("ä.txt")),
        ("Content-Disposition: attachment; filename=\"a\\\"b\\\\c\"\n", Some("a\"b\\c")),
        ("Content-Disposition: attachment; filename=whole; filename*0=piece\n", Some("whole")),
        ("Content-Disposition: attachment\n", None),
    ] {
        let structure = scan(&crlf(&format!("{fields}\n")));
        assert_eq!(structure.root().file_name().as_deref(), want, "{fields}");
    }
}

#[test]
fn fields_of_a_part() {
    let message = crlf(
        "Content-Type: Image/PNG; Name=\"x y.png\"; a=b\nContent-ID: <1@x>\nContent-Description: a\n folded one\n\
         Content-MD5: abc==\nContent-Language: de, en-GB ,\nContent-Location: http://x/\nContent-Transfer-Encoding: BASE64\n\
         Content-Disposition: INLINE; filename=z\n\nAAAA\n",
    );
    let structure = scan(&message);
    let part = structure.root();
    let params: Vec<_> = part.params.iter().map(|p| (p.name.as_str(), p.value.as_slice())).collect();
    assert_eq!(params, [("name", &b"x y.png"[..]), ("a", b"b")]);
    assert_eq!(part.id.as_deref(), Some(&b"<1@x>"[..]));
    assert_eq!(part.description.as_deref(), Some(&b"a folded one"[..]));
    assert_eq!(part.md5.as_deref(), Some(&b"abc=="[..]));
    assert_eq!(part.language, [b"de".to_vec(), b"en-GB".to_vec()]);
    assert_eq!(part.location.as_deref(), Some(&b"http://x/"[..]));
    assert_eq!(part.encoding, Encoding::Base64);
    assert_eq!(part.disposition.as_ref().map(|d| d.kind.as_str()), Some("inline"));
    assert_eq!((part.size(), part.lines), (6, 1));
    assert!(part.is_attachment());
    check_invariants(&message, &structure);
}

#[test]
fn the_envelope_of_the_message_and_of_the_one_inside() {
    let message = crlf(
        "Received: from a by MX.example.test with ESMTP; x\nReceived: from b by other\n by mx.example.test\n\
         From: A <a@x>\nTo: b@x\nTo: G: c@x, d@x;\nCc: \nSubject: =?utf-8?Q?=C3=A4?=\n folded\nDate: today\n\
         Subject: second\nMessage-ID: <m@x>\nIn-Reply-To: <i@x>\nReferences: <r@x>\n <i@x>\n\
         Content-Type: message/rfc822\n\nSubject: inner\n\nbody\n",
    );
    let structure = scan(&message);
    let envelope = structure.envelope();
    assert_eq!(envelope.subject.as_deref(), Some(&b"=?utf-8?Q?=C3=A4?= folded"[..]));
    assert_eq!(envelope.to.as_deref(), Some(&b"b@x, G: c@x, d@x;"[..]));
    assert_eq!(envelope.cc.as_deref(), Some(&b""[..]));
    assert_eq!(envelope.bcc, None);
    assert_eq!(envelope.message_id.as_deref(), Some(&b"<m@x>"[..]));
    assert_eq!(structure.references.as_deref(), Some(&b"<r@x> <i@x>"[..]));
    assert_eq!(Envelope::list(&envelope.to).filter(|e| matches!(e, Entry::Mailbox(_))).count(), 3);
    assert_eq!((structure.received, structure.own_received), (2, 1));
    assert_eq!((structure.from.fields, structure.from.valid), (1, 1));
    assert_eq!(structure.root().kind, Kind::Message);
    let inner = structure.parts()[1].envelope.as_deref().unwrap();
    assert_eq!(inner.subject.as_deref(), Some(&b"inner"[..]));
    check_invariants(&message, &structure);
}

#[test]
fn sections_are_found_as_in_rfc_9051_6_4_5() {
    // The example of RFC 9051 §6.4.5.1, but for its leaf types.
    let message = crlf(
        "Content-Type: multipart/mixed; boundary=1\n\n--1\n\n1\n--1\nContent-Type: application/octet-stream\n\n2\n\
         --1\nContent-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=3\n\n--3\n\n3.1\n--3\n\n3.2\n--3--\n\
         --1\nContent-Type: multipart/mixed; boundary=4\n\n--4\nContent-Type: image/gif\n\n4.1\n\
         --4\nContent-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=42\n\n--42\n\n4.2.1\n\
         --42\nContent-Type: multipart/alternative; boundary=422\n\n--422\n\n4.2.2.1\n--422\n\n4.2.2.2\n--422--\n--42--\n\
         --4--\n--1--\n",
    );
    let structure = scan(&message);
    for leaf in ["1", "2", "3.1", "3.2", "4.1", "4.2.1", "4.2.2.1", "4.2.2.2"] {
        let path: Vec<u32> = leaf.split('.').map(|n| n.parse().unwrap()).collect();
        let index = structure.section(&path).unwrap_or_else(|| panic!("no section {leaf}"));
        let body = structure.parts()[index].body();
        assert_eq!(&message[body.start as usize..body.end as usize], leaf.as_bytes());
        assert_eq!(structure.path(index), path);
    }
    for (path, kind) in [
        (&[3][..], Kind::Message),
        (&[4], Kind::Multipart),
        (&[4, 2], Kind::Message),
        (&[4, 2, 2], Kind::Multipart),
    ] {
        assert_eq!(structure.parts()[structure.section(path).unwrap()].kind, kind);
    }
    for none in [&[0][..], &[5], &[1, 1], &[3, 3], &[4, 1, 1], &[4, 3], &[u32::MAX]] {
        assert_eq!(structure.section(none), None, "{none:?}");
    }
    assert_eq!(structure.section(&[]), Some(0));
    let single = scan(b"\r\nbody");
    assert_eq!((single.section(&[1]), single.section(&[2]), single.section(&[1, 1])), (Some(0), None, None));
    let forwarded = scan(b"Content-Type: message/rfc822\r\n\r\n\r\nbody");
    assert_eq!((forwarded.section(&[1]), forwarded.section(&[1, 1])), (Some(0), Some(1)));
    check_invariants(&message, &structure);
}

#[test]
fn octets_and_lines_are_noticed() {
    for (message, flags) in [
        (&b"A: b\r\n\r\nc\r\n"[..], Flags(0)),
        (b"A: \xc3\xa4\r\n\r\nc\r\n", Flags::HEADER_8BIT),
        (b"A: b\r\n\r\n\xc3\xa4\r\n", Flags::BODY_8BIT),
        (
            b"Content-Type: message/rfc822\r\n\r\nA: \xc3\xa4\r\n\r\n",
            Flags(Flags::BODY_8BIT.0 | Flags::INNER_HEADER_8BIT.0),
        ),
        (b"A: b\r\n\r\nc\n", Flags::UNCLEAN),
        (b"A: b\r\n\r\nc\rd\r\n", Flags::UNCLEAN),
        (b"A: b\r\n\r\nc\r", Flags::UNCLEAN),
        (b"A: b\r\n\r\nc\0d\r\n", Flags::UNCLEAN),
        (b"A: b\r\n\r\nc\r\r\n", Flags::UNCLEAN),
        (b"A: b\0\r\n\r\nc\r\n", Flags::UNCLEAN),
    ] {
        for size in 1..=message.len() {
            assert_eq!(scan_by(message, size).flags, flags, "{message:?} in pieces of {size}");
        }
    }
    let structure = scan(b"A: b\r\n\r\n12345\r\n1234567\r\n12");
    assert_eq!(structure.longest_line, 7);
    assert_eq!(scan(b"A: b\r\n\r\n1\r\n12345").longest_line, 5);
}
