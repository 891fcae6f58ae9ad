//! Responses: one table for reader and writer, other servers' spellings, FETCH item by item.

use protocol_core::{SendBuf, Timestamp};
use protocol_imap::codec::response::{FetchPiece, Streamed};
use protocol_imap::codec::*;
use protocol_imap::set::{SeqRange, SequenceSet};

fn write(response: &Response<'_>, utf8: bool) -> String {
    let mut out = SendBuf::with_high_water(1 << 20);
    response.write(&mut Emit::server(&mut out, utf8));
    String::from_utf8(out.bytes().to_vec()).unwrap()
}

/// Checks that `wire` reads as the response and the response writes as `wire`.
#[track_caller]
fn both(wire: &str, response: Response<'_>) {
    let line = format!("{wire}\r\n");
    assert_eq!(Response::parse(line.as_bytes()), Ok(response), "reading {wire}");
    assert_eq!(write(&response, false), line, "writing {wire}");
}

fn untagged(wire: &str, data: Untagged<'_>) {
    both(wire, Response::Untagged(data));
}

fn s(text: &str) -> Option<Text<'_>> {
    Some(text.into())
}

const UIDS: SequenceSet<'static> = SequenceSet::of(&[SeqRange::new(304, 304), SeqRange::new(319, 320)]);

#[test]
fn status_responses() {
    both("a OK done", Response::Tagged { tag: "a", status: Status::ok("done") });
    both(
        "a NO [NONEXISTENT] no",
        Response::Tagged { tag: "a", status: Status::no("no").with(Code::NonExistent) },
    );
    both("a BAD what", Response::Tagged { tag: "a", status: Status::bad("what") });
    both("+ ", Response::Continue("".into()));
    both("+ dGVzdA==", Response::Continue("dGVzdA==".into()));
    untagged("* BYE gone", Untagged::Status(Status::bye("gone")));
    let preauth = Status { kind: StatusKind::PreAuth, code: None, text: "hi".into() };
    untagged("* PREAUTH hi", Untagged::Status(preauth));
    let cap = Code::Capability(List::of(&[Atom("IMAP4rev2"), Atom("AUTH=PLAIN")]));
    untagged("* OK [CAPABILITY IMAP4rev2 AUTH=PLAIN] hi", Untagged::Status(Status::ok("hi").with(cap)));
}

#[test]
fn response_codes() {
    let one = SequenceSet::of(const { &[SeqRange::new(7, 7)] });
    let table: [(&str, Code<'_>); 16] = [
        ("ALERT", Code::Alert),
        ("READ-WRITE", Code::ReadWrite),
        ("UNKNOWN-CTE", Code::UnknownCte),
        ("BADCHARSET", Code::BadCharset(List::empty())),
        (
            "BADCHARSET (UTF-8 US-ASCII)",
            Code::BadCharset(List::of(const { &[Text::new(b"UTF-8"), Text::new(b"US-ASCII")] })),
        ),
        ("APPENDUID 1 304,319:320", Code::AppendUid { uid_validity: 1, uids: UIDS }),
        ("COPYUID 1 7 304,319:320", Code::CopyUid { uid_validity: 1, from: one, to: UIDS }),
        ("HIGHESTMODSEQ 715194045007", Code::HighestModSeq(715194045007)),
        ("MODIFIED 7", Code::Modified(one)),
        (
            "PERMANENTFLAGS (\\Seen $x \\*)",
            Code::PermanentFlags(List::of(&[Flag::Seen, Flag::Keyword("$x"), Flag::Wildcard])),
        ),
        ("PERMANENTFLAGS ()", Code::PermanentFlags(List::empty())),
        ("UIDNEXT 4392", Code::UidNext(4392)),
        ("UIDVALIDITY 3857529045", Code::UidValidity(3857529045)),
        ("UNSEEN 17", Code::Unseen(17)),
        ("X-MINE", Code::Other { name: Atom("X-MINE"), text: None }),
        ("X-MINE a \"[\" b", Code::Other { name: Atom("X-MINE"), text: Some(Text::new(b"a \"[\" b")) }),
    ];
    for (wire, code) in table {
        untagged(&format!("* OK [{wire}] text"), Untagged::Status(Status::ok("text").with(code)));
    }
    // A code that is not as its RFC says is no reason to drop the response.
    let odd = Response::parse(b"* OK [UIDNEXT x] text\r\n").unwrap();
    let code = Code::Other { name: Atom("UIDNEXT"), text: s("x") };
    assert_eq!(odd, Response::Untagged(Untagged::Status(Status::ok("text").with(code))));
    assert!(Response::parse(b"* OK [UIDNEXT 1 text\r\n").is_err());
    // The first "]" ends a code (RFC 9051 §9), and everything stands on one line.
    let code = Code::Other { name: Atom("X"), text: s("\"a") };
    let status = Status::ok("\" b] text").with(code);
    let cut = Response::parse(b"* OK [X \"a]\" b] text\r\n");
    assert_eq!(cut, Ok(Response::Untagged(Untagged::Status(status))));
    for line in ["* OK [X a\nb] text", "* OK a\0b", "* OK a\rb"] {
        assert!(Response::parse(line.as_bytes()).is_err(), "{line}");
    }
}

#[test]
fn every_plain_code_reads_what_it_writes() {
    let all = [
        Code::AlreadyExists,
        Code::AuthenticationFailed,
        Code::AuthorizationFailed,
        Code::Cannot,
        Code::ClientBug,
        Code::Closed,
        Code::CompressionActive,
        Code::ContactAdmin,
        Code::Corruption,
        Code::Expired,
        Code::ExpungeIssued,
        Code::HasChildren,
        Code::InUse,
        Code::Limit,
        Code::NoModSeq,
        Code::NoPerm,
        Code::NotSaved,
        Code::OverQuota,
        Code::Parse,
        Code::PrivacyRequired,
        Code::ReadOnly,
        Code::ServerBug,
        Code::TooBig,
        Code::TryCreate,
        Code::UidNotSticky,
        Code::Unavailable,
        Code::UseAttr,
    ];
    for code in all {
        let name = code.name();
        assert!(!name.is_empty(), "{code:?}");
        untagged(&format!("* NO [{name}] x"), Untagged::Status(Status::no("x").with(code)));
    }
}

#[test]
fn mailbox_data() {
    let info = ListInfo {
        attributes: List::of(&[Attribute("HasNoChildren"), Attribute("Sent")]),
        delimiter: Some(b'/'),
        mailbox: "a b".into(),
        child_info: List::empty(),
        old_name: None,
    };
    untagged("* LIST (\\HasNoChildren \\Sent) \"/\" \"a b\"", Untagged::List(info));
    untagged(
        "* LSUB () NIL INBOX",
        Untagged::Lsub(ListInfo {
            attributes: List::empty(),
            delimiter: None,
            mailbox: "INBOX".into(),
            ..info
        }),
    );
    let child_info = List::of(const { &[Str(Text::new(b"SUBSCRIBED"))] });
    untagged(
        "* LIST (\\HasNoChildren \\Sent) \"\\\\\" x (\"CHILDINFO\" (\"SUBSCRIBED\") \"OLDNAME\" (\"old x\"))",
        Untagged::List(ListInfo {
            delimiter: Some(b'\\'),
            mailbox: "x".into(),
            child_info,
            old_name: Some("old x".into()),
            ..info
        }),
    );
    let items: &[StatusValue] = &[
        StatusValue { item: StatusItem::Messages, value: Some(231) },
        StatusValue { item: StatusItem::AppendLimit, value: None },
        StatusValue { item: StatusItem::Size, value: Some(1 << 40) },
    ];
    untagged(
        "* STATUS blurdybloop (MESSAGES 231 APPENDLIMIT NIL SIZE 1099511627776)",
        Untagged::StatusOf { mailbox: "blurdybloop".into(), items: List::of(items) },
    );
    untagged("* STATUS x ()", Untagged::StatusOf { mailbox: "x".into(), items: List::empty() });
    let item = |prefix: &'static str| [NamespaceItem { prefix: prefix.into(), delimiter: Some(b'/') }];
    let (personal, others) = (item(""), [item("Users/")[0], item("Shared/")[0]]);
    untagged(
        "* NAMESPACE ((\"\" \"/\")) ((\"Users/\" \"/\")(\"Shared/\" \"/\")) NIL",
        Untagged::Namespace(Namespace {
            personal: List::of(&personal),
            other_users: List::of(&others),
            shared: List::empty(),
        }),
    );
}

#[test]
fn message_data() {
    untagged("* 23 EXISTS", Untagged::Exists(23));
    untagged("* 0 EXISTS", Untagged::Exists(0));
    untagged("* 5 RECENT", Untagged::Recent(5));
    untagged("* 44 EXPUNGE", Untagged::Expunge(44));
    assert!(Response::parse(b"* 0 EXPUNGE\r\n").is_err());
    untagged("* VANISHED 304,319:320", Untagged::Vanished { earlier: false, uids: UIDS });
    untagged("* VANISHED (EARLIER) 304,319:320", Untagged::Vanished { earlier: true, uids: UIDS });
    untagged("* FLAGS (\\Answered $x)", Untagged::Flags(List::of(&[Flag::Answered, Flag::Keyword("$x")])));
    untagged("* SEARCH", Untagged::Search { numbers: List::empty(), modseq: None });
    untagged("* SEARCH 2 3 6", Untagged::Search { numbers: List::of(&[2, 3, 6]), modseq: None });
    untagged("* SEARCH 2 5 (MODSEQ 917)", Untagged::Search { numbers: List::of(&[2, 5]), modseq: Some(917) });
    let none = Esearch { tag: None, uid: false, items: List::empty() };
    untagged("* ESEARCH", Untagged::Esearch(none));
    untagged("* ESEARCH (TAG \"a\")", Untagged::Esearch(Esearch { tag: s("a"), ..none }));
    untagged("* ESEARCH UID", Untagged::Esearch(Esearch { uid: true, ..none }));
    let items = [
        EsearchItem::Min(304),
        EsearchItem::Max(320),
        EsearchItem::All(UIDS),
        EsearchItem::Count(3),
        EsearchItem::ModSeq(9),
    ];
    untagged(
        "* ESEARCH (TAG \"a\") UID MIN 304 MAX 320 ALL 304,319:320 COUNT 3 MODSEQ 9",
        Untagged::Esearch(Esearch { tag: s("a"), uid: true, items: List::of(&items) }),
    );
    untagged(
        "* CAPABILITY IMAP4rev1 IDLE",
        Untagged::Capability(List::of(&[Atom("IMAP4rev1"), Atom("IDLE")])),
    );
    untagged("* ENABLED", Untagged::Enabled(List::empty()));
    untagged("* ENABLED QRESYNC", Untagged::Enabled(List::of(&[Atom("QRESYNC")])));
    untagged("* ID NIL", Untagged::Id(None));
    let fields: &[IdField<'_>] = &[IdField { name: Text::new(b"name"), value: Some(Text::new(b"x")) }];
    untagged("* ID (\"name\" \"x\")", Untagged::Id(Some(List::of(fields))));
    untagged("* XYZZY plugh", Untagged::Other("XYZZY plugh".into()));
    untagged("* 5 XYZZY", Untagged::Other("5 XYZZY".into()));
}

#[test]
fn compact_sets_come_of_numbers() {
    let vanished = Untagged::Vanished { earlier: false, uids: SequenceSet::of_numbers(&[1, 2, 3, 5, 7, 8]) };
    assert_eq!(write(&Response::Untagged(vanished), false), "* VANISHED 1:3,5,7:8\r\n");
}

#[test]
fn fetch_data() {
    let flags: &[Flag<'_>] = &[Flag::Seen];
    let section = |part: &'static [u32], text| Section { part: PartPath::of(part), text };
    let names: &[Text<'_>] = &[Text::new(b"Date")];
    let attrs = [
        FetchAttr::Uid(9),
        FetchAttr::Flags(List::of(flags)),
        FetchAttr::InternalDate(DateTime(Timestamp::from_secs(837_594_300))),
        FetchAttr::Rfc822Size(44827),
        FetchAttr::ModSeq(65402),
        FetchAttr::Rfc822(s("a")),
        FetchAttr::Rfc822Header(None),
        FetchAttr::Rfc822Text(s("")),
        FetchAttr::Section { section: Section::MESSAGE, origin: None, data: s("a\r\nb") },
        FetchAttr::Section { section: section(&[1, 2], SectionText::Mime), origin: Some(0), data: None },
        FetchAttr::Section {
            section: section(&[], SectionText::HeaderFields(List::of(names))),
            origin: None,
            data: s("x"),
        },
        FetchAttr::Binary { part: PartPath::of(&[1]), origin: None, data: s("a\0b") },
        FetchAttr::BinarySize { part: PartPath::of(&[1]), size: 3 },
        FetchAttr::Other { name: Atom("X-GM-LABELS"), value: b"(\\Inbox \"a b\" (1 NIL))" },
    ];
    untagged(
        "* 23 FETCH (UID 9 FLAGS (\\Seen) INTERNALDATE \"17-Jul-1996 09:05:00 +0000\" RFC822.SIZE 44827 \
         MODSEQ (65402) RFC822 \"a\" RFC822.HEADER NIL RFC822.TEXT \"\" BODY[] {4}\r\na\r\nb BODY[1.2.MIME]<0> NIL \
         BODY[HEADER.FIELDS (Date)] \"x\" BINARY[1] ~{3}\r\na\0b BINARY.SIZE[1] 3 \
         X-GM-LABELS (\\Inbox \"a b\" (1 NIL)))",
        Untagged::Fetch { number: 23, attrs: List::of(&attrs) },
    );
}

fn address<'a>(name: &'a str, mailbox: &'a str, host: &'a str) -> Address<'a> {
    Address { name: s(name), route: None, mailbox: s(mailbox), host: s(host) }
}

#[test]
fn envelopes_and_structures() {
    let from =
        [address("Terry Gray", "gray", "cac.example"), Address { mailbox: s("grp"), ..Address::default() }];
    let envelope = Envelope {
        date: s("Wed, 17 Jul 1996 02:23:25 -0700"),
        subject: s("IMAP4rev2 \"WG\""),
        from: List::of(&from),
        message_id: s("<B27397-0100000@cac.example>"),
        ..Envelope::default()
    };
    let env = "(\"Wed, 17 Jul 1996 02:23:25 -0700\" \"IMAP4rev2 \\\"WG\\\"\" ((\"Terry Gray\" NIL \"gray\" \
               \"cac.example\")(NIL NIL \"grp\" NIL)) NIL NIL NIL NIL NIL NIL \"<B27397-0100000@cac.example>\")";
    let params = [Param { name: "charset".into(), value: "us-ascii".into() }];
    let fields = BodyFields {
        params: List::of(&params),
        id: None,
        description: s("d"),
        encoding: "7bit".into(),
        octets: 3028,
    };
    let plain = Single {
        media_type: "text".into(),
        subtype: "plain".into(),
        fields,
        message: None,
        lines: Some(92),
        md5: None,
        extension: Extension::default(),
    };
    let within = [Body::Single(plain)];
    let disposition = Disposition { kind: "attachment".into(), params: List::of(&params) };
    let language = [Str("en".into()), Str("de".into())];
    let message = Single {
        media_type: "message".into(),
        subtype: "rfc822".into(),
        message: Some((envelope, List::of(&within))),
        md5: s("md5"),
        extension: Extension {
            disposition: Some(disposition),
            language: List::of(&language),
            location: s("loc"),
        },
        ..plain
    };
    let parts = [Body::Single(plain), Body::Single(message)];
    let multi = Body::Multi {
        parts: List::of(&parts),
        subtype: "mixed".into(),
        params: List::of(&params),
        extension: Extension::default(),
    };
    let attrs = [FetchAttr::Envelope(envelope), FetchAttr::BodyStructure(multi)];
    let text = "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL \"d\" \"7bit\" 3028 92 NIL NIL NIL NIL)";
    let wire = format!(
        "* 1 FETCH (ENVELOPE {env} BODYSTRUCTURE ({text}(\"message\" \"rfc822\" (\"charset\" \"us-ascii\") NIL \"d\" \
         \"7bit\" 3028 {env} {text} 92 \"md5\" (\"attachment\" (\"charset\" \"us-ascii\")) (\"en\" \"de\") \"loc\") \
         \"mixed\" (\"charset\" \"us-ascii\") NIL NIL NIL))"
    );
    untagged(&wire, Untagged::Fetch { number: 1, attrs: List::of(&attrs) });
    let attrs = [FetchAttr::Body(Body::Single(plain))];
    untagged(
        "* 1 FETCH (BODY (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL \"d\" \"7bit\" 3028 92))",
        Untagged::Fetch { number: 1, attrs: List::of(&attrs) },
    );
    // Later extension data is skipped, and a single language may stand without a list.
    let odd =
        "* 1 FETCH (BODYSTRUCTURE (\"a\" \"b\" NIL NIL NIL \"7bit\" 1 NIL NIL \"en\" NIL (1 (\"x\")) 5))\r\n";
    assert!(Response::parse(odd.as_bytes()).is_ok());
}

#[test]
fn nested_structures_are_limited() {
    let nested = |n: usize| {
        let inner = "(\"a\" \"b\" NIL NIL NIL \"7bit\" 1)";
        let line =
            format!("* 1 FETCH (BODY {}{inner}{})\r\n", "(".repeat(n - 1), " \"mixed\")".repeat(n - 1));
        Response::parse(line.as_bytes()).map(|_| ())
    };
    assert_eq!(nested(100), Ok(()));
    assert!(matches!(nested(101), Err(Fault::Limit(_))));
    assert!(nested(20_000).is_err());
}

#[test]
fn eight_bit_text_goes_quoted_only_to_who_enabled_it() {
    let subject = Envelope { subject: s("Gr\u{fc}\u{df}e"), ..Envelope::default() };
    let attrs = [FetchAttr::Envelope(subject)];
    let response = Response::Untagged(Untagged::Fetch { number: 1, attrs: List::of(&attrs) });
    let tail = "NIL NIL NIL NIL NIL NIL NIL NIL))\r\n";
    let plain = format!("* 1 FETCH (ENVELOPE (NIL {{7}}\r\nGr\u{fc}\u{df}e {tail}");
    assert_eq!(write(&response, false), plain);
    let utf8 = format!("* 1 FETCH (ENVELOPE (NIL \"Gr\u{fc}\u{df}e\" {tail}");
    assert_eq!(write(&response, true), utf8);
    for line in [plain, utf8] {
        assert_eq!(Response::parse(line.as_bytes()), Ok(response));
    }
}

#[test]
fn a_quoted_string_holds_1000_octets_escapes_not_counted() {
    let field = |content: &'static [u8]| {
        let fields = [IdField { name: Text::new(content), value: None }];
        write(&Response::Untagged(Untagged::Id(Some(List::of(&fields)))), false)
    };
    let at = field(&[b'"'; 1000]);
    assert!(at.starts_with("* ID (\"\\\""), "{at}");
    let response = Response::parse(at.as_bytes()).unwrap();
    assert_eq!(write(&response, false), at, "what was read escaped is written the same");
    assert!(field(&[b'"'; 1001]).starts_with("* ID ({1001}\r\n"));
}

#[test]
fn text_for_people_cannot_end_the_line() {
    let status = Status::no("a\r\nb OK [ALERT] c\0");
    assert_eq!(write(&Response::Tagged { tag: "t", status }, false), "t NO a  b OK [ALERT] c \r\n");
}

#[test]
fn the_writer_and_the_streaming_reader_of_fetch_agree() {
    let mut out = SendBuf::with_high_water(1 << 20);
    let mut row = FetchWriter::begin(7, false, &mut out);
    row.attr(&FetchAttr::Uid(9), &mut out);
    row.flags([Flag::Seen, Flag::Keyword("k")], &mut out);
    row.literal(&Section::MESSAGE, Some(0), 5, &mut out);
    let first = out.len();
    out.push(b"ab)\r\n");
    row.binary(&PartPath::of(&[2]), None, 1, true, &mut out);
    let second = out.len();
    out.push(b"\0");
    row.attr(&FetchAttr::ModSeq(3), &mut out);
    row.end(&mut out);
    let bytes = out.bytes();
    assert_eq!(
        bytes.escape_ascii().to_string(),
        "* 7 FETCH (UID 9 FLAGS (\\\\Seen k) BODY[]<0> {5}\\r\\nab)\\r\\n BINARY[2] ~{1}\\r\\n\\x00 MODSEQ (3))\\r\\n"
    );
    let whole = Response::parse(bytes).unwrap();
    let Response::Untagged(Untagged::Fetch { number: 7, attrs }) = whole else { panic!("{whole:?}") };
    assert_eq!(attrs.len(), 5);

    let piece = FetchPiece::parse_first(&bytes[..first]).unwrap();
    assert_eq!((piece.number, piece.attrs.len()), (Some(7), 2));
    assert_eq!(piece.streamed, Some(Streamed::Section { section: Section::MESSAGE, origin: Some(0) }));
    let piece = FetchPiece::parse_next(&bytes[first + 5..second]).unwrap();
    assert_eq!(piece.streamed, Some(Streamed::Binary { part: PartPath::of(&[2]), origin: None }));
    assert!(piece.attrs.is_empty());
    let piece = FetchPiece::parse_next(&bytes[second + 1..]).unwrap();
    assert_eq!((piece.number, piece.streamed), (None, None));
    assert_eq!(piece.attrs.iter().collect::<Vec<_>>(), [FetchAttr::ModSeq(3)]);
    assert!(FetchPiece::parse_next(b") x\r\n").is_err());
}

#[test]
fn other_servers_spellings_are_read() {
    let odd = [
        "+\r\n",
        "* OK\r\n",
        "a OK\r\n",
        "* SEARCH \r\n",
        "* SEARCH 1 2 \r\n",
        "* FLAGS (\\Seen) \r\n",
        "* LIST (\\Noselect) \"/\" \"\"\r\n",
        "* LIST () \".\" {3}\r\na b (\"X\" (1 2))\r\n",
        "* NAMESPACE ((\"\" \"/\") (\"#mh/\" \"/\" \"X-PARAM\" (\"F1\" \"F2\"))) NIL NIL\r\n",
        "* 1 FETCH (ENVELOPE (NIL NIL ((NIL NIL \"a\" \"b\") (NIL NIL \"c\" \"d\")) NIL NIL NIL NIL NIL NIL NIL))\r\n",
        "* OK [ALERT]\r\n",
        "* OK [X {3] y\r\n",
    ];
    for line in odd {
        assert!(Response::parse(line.as_bytes()).is_ok(), "{line}");
    }
    let bad = [
        "",
        "a YES\r\n",
        "a BYE x\r\n",
        "* 1 FETCH (UID 0)\r\n",
        "* 1 FETCH UID 1\r\n",
        "* STATUS x (MESSAGES)\r\n",
        "* LIST () \"ab\" x\r\n",
        "* 1 EXISTS x\r\n",
        "* 4294967296 EXISTS\r\n",
    ];
    for line in bad {
        assert!(Response::parse(line.as_bytes()).is_err(), "{line}");
    }
}
