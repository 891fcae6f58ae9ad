//! Commands: one table for reader and writer, other spellings, and what is refused.

use protocol_core::{SendBuf, Timestamp};
use protocol_imap::codec::command::fetch::{FETCH_ITEMS_MAX, PART_DEPTH_MAX};
use protocol_imap::codec::command::search::{SEARCH_DEPTH_MAX, SEARCH_OPS_MAX};
use protocol_imap::codec::command::{ID_FIELDS_MAX, TAG_MAX};
use protocol_imap::codec::*;
use protocol_imap::set::{Bound, SET_RANGES_MAX, SeqRange, SequenceSet};

const ONE: SequenceSet<'static> = SequenceSet::of(&[SeqRange::new(1, 1)]);
const ALL: SequenceSet<'static> =
    SequenceSet::of(&[SeqRange { first: Bound::Number(1), last: Bound::Largest }]);
const INBOX: MailboxName<'static> = MailboxName::new(b"INBOX");

fn text(s: &'static str) -> Text<'static> {
    s.into()
}

fn fetch(items: &'static [FetchItem<'static>]) -> CommandBody<'static> {
    CommandBody::Fetch(Fetch {
        uid: false,
        set: ONE,
        items: List::of(items),
        changed_since: None,
        vanished: false,
    })
}

fn search(program: &'static [SearchOp<'static>]) -> CommandBody<'static> {
    CommandBody::Search(Search { uid: false, returns: None, charset: None, program: List::of(program) })
}

fn list(reference: &'static str, patterns: &'static [ListPattern<'static>]) -> ListCommand<'static> {
    ListCommand {
        selection: ListSelection::default(),
        reference: reference.into(),
        patterns: List::of(patterns),
        returns: None,
        extended: false,
    }
}

fn select(params: SelectParams<'static>) -> CommandBody<'static> {
    CommandBody::Select { mailbox: INBOX, params }
}

fn append(message: AppendMessage<'static>) -> CommandBody<'static> {
    CommandBody::Append(Append { mailbox: INBOX, message })
}

const MESSAGE: AppendMessage<'static> = AppendMessage {
    flags: List::empty(),
    date: None,
    size: 310,
    binary: false,
    utf8: false,
    non_sync: false,
};

const HEADERS: &[Text<'static>] = &[Text::new(b"From"), Text::new(b"X \"q\"")];
const STATUS: &[StatusItem] = &[StatusItem::Messages, StatusItem::Size];
const STAR: &[ListPattern<'static>] = &[ListPattern(Text::new(b"*"))];
const KEY_ALL: SearchOp<'static> = SearchOp::Key(SearchKey::All);

/// As the writer writes them, without tag and line end.
fn simple() -> Vec<(&'static str, CommandBody<'static>)> {
    use CommandBody as C;
    vec![
        ("CAPABILITY", C::Capability),
        ("NOOP", C::Noop),
        ("LOGOUT", C::Logout),
        ("STARTTLS", C::StartTls),
        ("NAMESPACE", C::Namespace),
        ("IDLE", C::Idle),
        ("CHECK", C::Check),
        ("CLOSE", C::Close),
        ("UNSELECT", C::Unselect),
        ("EXPUNGE", C::Expunge),
        ("UID EXPUNGE 1:*", C::UidExpunge(ALL)),
        ("ID NIL", C::Id(None)),
        (
            "ID (\"name\" \"x\" \"os\" NIL)",
            C::Id(Some(List::of(
                const {
                    &[
                        IdField { name: Text::new(b"name"), value: Some(Text::new(b"x")) },
                        IdField { name: Text::new(b"os"), value: None },
                    ]
                },
            ))),
        ),
        ("LOGIN u \"p w\"", C::Login { user: text("u"), password: Secret(text("p w")) }),
        ("AUTHENTICATE PLAIN", C::Authenticate { mechanism: Atom("PLAIN"), initial: None }),
        (
            "AUTHENTICATE EXTERNAL =",
            C::Authenticate { mechanism: Atom("EXTERNAL"), initial: Some(Initial::Empty) },
        ),
        (
            "AUTHENTICATE SCRAM-SHA-256 biws",
            C::Authenticate { mechanism: Atom("SCRAM-SHA-256"), initial: Some(Initial::Base64(b"biws")) },
        ),
        ("ENABLE CONDSTORE QRESYNC", C::Enable(List::of(&[Atom("CONDSTORE"), Atom("QRESYNC")]))),
        ("COMPRESS DEFLATE", C::Compress(Atom("DEFLATE"))),
        ("COPY 1 Trash", C::Copy { uid: false, set: ONE, mailbox: "Trash".into() }),
        ("UID COPY 1 Trash", C::Copy { uid: true, set: ONE, mailbox: "Trash".into() }),
        ("MOVE 1:* \"a b\"", C::Move { uid: false, set: ALL, mailbox: "a b".into() }),
        ("UID MOVE $ Trash", C::Move { uid: true, set: SequenceSet::SAVED, mailbox: "Trash".into() }),
    ]
}

fn mailboxes() -> Vec<(&'static str, CommandBody<'static>)> {
    use CommandBody as C;
    let known = SequenceSet::of(const { &[SeqRange::new(1, 9)] });
    vec![
        ("SELECT INBOX", select(SelectParams::default())),
        ("EXAMINE INBOX", C::Examine { mailbox: INBOX, params: SelectParams::default() }),
        ("SELECT INBOX (CONDSTORE)", select(SelectParams { condstore: true, qresync: None })),
        (
            "SELECT INBOX (QRESYNC (67890007 20050715194045000 1:9 (1 1)))",
            select(SelectParams {
                condstore: false,
                qresync: Some(Qresync {
                    uid_validity: 67890007,
                    modseq: 20050715194045000,
                    known_uids: Some(known),
                    seq_match: Some((ONE, ONE)),
                }),
            }),
        ),
        (
            "SELECT INBOX (CONDSTORE QRESYNC (1 2 (1 1:9)))",
            select(SelectParams {
                condstore: true,
                qresync: Some(Qresync {
                    uid_validity: 1,
                    modseq: 2,
                    known_uids: None,
                    seq_match: Some((ONE, known)),
                }),
            }),
        ),
        ("CREATE a/b", C::Create { mailbox: "a/b".into(), uses: List::empty() }),
        (
            "CREATE a (USE (\\Sent \\Drafts))",
            C::Create { mailbox: "a".into(), uses: List::of(&[Attribute("Sent"), Attribute("Drafts")]) },
        ),
        ("DELETE a", C::Delete("a".into())),
        ("RENAME a \"b c\"", C::Rename { from: "a".into(), to: "b c".into() }),
        ("SUBSCRIBE a", C::Subscribe("a".into())),
        ("UNSUBSCRIBE \"\"", C::Unsubscribe("".into())),
        ("LSUB \"\" *", C::Lsub { reference: "".into(), pattern: text("*") }),
        ("STATUS a (MESSAGES SIZE)", C::Status { mailbox: "a".into(), items: List::of(STATUS) }),
        ("LIST \"\" *", C::List(list("", STAR))),
        ("LIST # %", C::List(list("#", const { &[ListPattern(Text::new(b"%"))] }))),
    ]
}

fn extended_lists() -> Vec<(&'static str, CommandBody<'static>)> {
    use CommandBody as C;
    let two: &'static [ListPattern<'static>] =
        const { &[ListPattern(Text::new(b"a/%")), ListPattern(Text::new(b"b \"c"))] };
    let selection = |subscribed, recursive_match| ListSelection {
        subscribed,
        recursive_match,
        ..ListSelection::default()
    };
    vec![
        (
            "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" *",
            C::List(ListCommand { selection: selection(true, true), extended: true, ..list("", STAR) }),
        ),
        (
            "LIST (SUBSCRIBED) \"\" (a/% \"b \\\"c\") RETURN (CHILDREN SPECIAL-USE STATUS (MESSAGES SIZE))",
            C::List(ListCommand {
                selection: selection(true, false),
                returns: Some(ListReturn {
                    children: true,
                    special_use: true,
                    status: Some(List::of(STATUS)),
                    ..ListReturn::default()
                }),
                extended: true,
                ..list("", two)
            }),
        ),
        (
            "LIST (REMOTE SPECIAL-USE) \"\" * RETURN ()",
            C::List(ListCommand {
                selection: ListSelection { remote: true, special_use: true, ..ListSelection::default() },
                returns: Some(ListReturn::default()),
                extended: true,
                ..list("", STAR)
            }),
        ),
        ("LIST () \"\" *", C::List(ListCommand { extended: true, ..list("", STAR) })),
    ]
}

fn messages() -> Vec<(&'static str, CommandBody<'static>)> {
    let section = |text| FetchItem::Section {
        peek: true,
        section: Section { part: PartPath::of(&[4, 2]), text },
        partial: Some(Partial { offset: 0, count: 2048 }),
    };
    let sections: &'static [FetchItem<'static>] = Box::leak(Box::new([
        section(SectionText::Mime),
        section(SectionText::HeaderFields(List::of(HEADERS))),
        section(SectionText::All),
        FetchItem::Section { peek: false, section: Section::MESSAGE, partial: None },
        FetchItem::Section {
            peek: false,
            section: Section {
                part: PartPath::MESSAGE,
                text: SectionText::HeaderFieldsNot(List::of(HEADERS)),
            },
            partial: None,
        },
        FetchItem::Binary { peek: true, part: PartPath::of(&[1]), partial: None },
        FetchItem::Binary { peek: false, part: PartPath::MESSAGE, partial: None },
        FetchItem::BinarySize(PartPath::of(&[1, 1])),
    ]));
    vec![
        (
            "FETCH 1 (UID FLAGS INTERNALDATE ENVELOPE BODY BODYSTRUCTURE RFC822.SIZE RFC822 RFC822.HEADER RFC822.TEXT MODSEQ)",
            fetch(&[
                FetchItem::Uid,
                FetchItem::Flags,
                FetchItem::InternalDate,
                FetchItem::Envelope,
                FetchItem::Body,
                FetchItem::BodyStructure,
                FetchItem::Rfc822Size,
                FetchItem::Rfc822,
                FetchItem::Rfc822Header,
                FetchItem::Rfc822Text,
                FetchItem::ModSeq,
            ]),
        ),
        (
            "FETCH 1 (BODY.PEEK[4.2.MIME]<0.2048> BODY.PEEK[4.2.HEADER.FIELDS (From \"X \\\"q\\\"\")]<0.2048> BODY.PEEK[4.2]<0.2048> BODY[] BODY[HEADER.FIELDS.NOT (From \"X \\\"q\\\"\")] BINARY.PEEK[1] BINARY[] BINARY.SIZE[1.1])",
            fetch(sections),
        ),
        (
            "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 12345 VANISHED)",
            CommandBody::Fetch(Fetch {
                uid: true,
                set: ALL,
                items: List::of(&[FetchItem::Flags]),
                changed_since: Some(12345),
                vanished: true,
            }),
        ),
        (
            "STORE 1 (UNCHANGEDSINCE 9) -FLAGS.SILENT (\\Seen $Junk \\Custom)",
            CommandBody::Store(Store {
                uid: false,
                set: ONE,
                unchanged_since: Some(9),
                op: StoreOp::Remove,
                silent: true,
                flags: List::of(&[Flag::Seen, Flag::Keyword("$Junk"), Flag::Extension("Custom")]),
            }),
        ),
        (
            "UID STORE 1 FLAGS ()",
            CommandBody::Store(Store {
                uid: true,
                set: ONE,
                unchanged_since: None,
                op: StoreOp::Replace,
                silent: false,
                flags: List::empty(),
            }),
        ),
    ]
}

fn searches() -> Vec<(&'static str, CommandBody<'static>)> {
    use SearchKey as K;
    use SearchOp::{And, End, Key, Not, Or};
    let day = Date { year: 1994, month: 2, day: 1 };
    let keys: &'static [SearchOp<'static>] = Box::leak(Box::new([
        Key(K::Header(text("X-Spam"), text(""))),
        Key(K::Subject(text("a \"b\""))),
        Key(K::Since(day)),
        Key(K::SentOn(day)),
        Key(K::Larger(4_294_967_296)),
        Key(K::Younger(60)),
        Key(K::ModSeq(620162338)),
        Key(K::Keyword("$Forwarded")),
        Key(K::Uid(SequenceSet::SAVED)),
        Key(K::Sequence(ALL)),
        Key(K::Undraft),
    ]));
    vec![
        ("SEARCH ALL", search(&[KEY_ALL])),
        (
            "SEARCH HEADER X-Spam \"\" SUBJECT \"a \\\"b\\\"\" SINCE 1-Feb-1994 SENTON 1-Feb-1994 LARGER 4294967296 YOUNGER 60 MODSEQ 620162338 KEYWORD $Forwarded UID $ 1:* UNDRAFT",
            search(keys),
        ),
        (
            "SEARCH OR (SEEN NOT DELETED) NOT (OR ALL ALL) FLAGGED",
            search(&[
                Or,
                And,
                Key(K::Seen),
                Not,
                Key(K::Deleted),
                End,
                Not,
                And,
                Or,
                KEY_ALL,
                KEY_ALL,
                End,
                Key(K::Flagged),
            ]),
        ),
        (
            "UID SEARCH RETURN (MIN MAX ALL COUNT SAVE) CHARSET UTF-8 ALL",
            CommandBody::Search(Search {
                uid: true,
                returns: Some(SearchReturn { min: true, max: true, all: true, count: true, save: true }),
                charset: Some(text("UTF-8")),
                program: List::of(&[KEY_ALL]),
            }),
        ),
        (
            "SEARCH RETURN () ALL",
            CommandBody::Search(Search {
                uid: false,
                returns: Some(SearchReturn::default()),
                charset: None,
                program: List::of(&[KEY_ALL]),
            }),
        ),
    ]
}

fn write(command: &Command<'_>) -> Vec<u8> {
    let mut out = SendBuf::with_high_water(1 << 20);
    command.write(&mut Emit::client(&mut out, LiteralMode::Plus, false, 0));
    out.bytes().to_vec()
}

#[test]
fn one_table_reads_and_writes() {
    let tables = [simple(), mailboxes(), extended_lists(), messages(), searches()];
    let mut seen = 0;
    for (wire, body) in tables.into_iter().flatten() {
        let line = format!("a1 {wire}\r\n");
        let command = Command { tag: "a1", body };
        assert_eq!(Command::parse(line.as_bytes(), false), Ok(command), "reading {wire}");
        assert_eq!(String::from_utf8(write(&command)).unwrap(), line, "writing {wire}");
        assert!(wire.starts_with(body.name().as_str()));
        seen += 1;
    }
    assert!(seen > 50);
}

#[test]
fn append_is_read_up_to_its_message() {
    let date = Some(DateTime(Timestamp::from_secs(837_594_300)));
    let flags = List::of(&[Flag::Seen]);
    let table = [
        ("{310}", MESSAGE),
        ("{310+}", AppendMessage { non_sync: true, ..MESSAGE }),
        ("(\\Seen) {310}", AppendMessage { flags, ..MESSAGE }),
        ("(\\Seen) \"17-Jul-1996 09:05:00 +0000\" {310}", AppendMessage { flags, date, ..MESSAGE }),
        ("~{310}", AppendMessage { binary: true, ..MESSAGE }),
        ("UTF8 (~{310+}", AppendMessage { binary: true, utf8: true, non_sync: true, ..MESSAGE }),
    ];
    for (wire, message) in table {
        let line = format!("a APPEND INBOX {wire}\r\n");
        let command = Command { tag: "a", body: append(message) };
        assert_eq!(Command::parse(line.as_bytes(), false), Ok(command), "reading {wire}");
        assert_eq!(String::from_utf8(write(&command)).unwrap(), line, "writing {wire}");
    }
    let further = AppendMessage::parse_next(b" (\\Seen) {310}\r\n").unwrap();
    assert_eq!(further, AppendMessage { flags, ..MESSAGE });
    assert!(AppendMessage::parse_next(b"{310}\r\n").is_err());
}

#[test]
fn other_spellings_read_the_same() {
    let table: [(&str, CommandBody<'_>); 13] = [
        ("login {1}\r\nu {3+}\r\np w", CommandBody::Login { user: text("u"), password: Secret(text("p w")) }),
        ("Uid Fetch 1 all", {
            let CommandBody::Fetch(f) = fetch(&[
                FetchItem::Flags,
                FetchItem::InternalDate,
                FetchItem::Rfc822Size,
                FetchItem::Envelope,
            ]) else {
                unreachable!()
            };
            CommandBody::Fetch(Fetch { uid: true, ..f })
        }),
        ("FETCH 1 FAST", fetch(&[FetchItem::Flags, FetchItem::InternalDate, FetchItem::Rfc822Size])),
        ("FETCH 1 flags", fetch(&[FetchItem::Flags])),
        (
            "FETCH 1 body[]",
            fetch(&[FetchItem::Section { peek: false, section: Section::MESSAGE, partial: None }]),
        ),
        ("STORE 1 +flags \\Seen \\deleted", {
            CommandBody::Store(Store {
                uid: false,
                set: ONE,
                unchanged_since: None,
                op: StoreOp::Add,
                silent: false,
                flags: List::of(&[Flag::Seen, Flag::Deleted]),
            })
        }),
        ("SELECT inbox", select(SelectParams::default())),
        ("SELECT {5}\r\ninbox", select(SelectParams::default())),
        ("SELECT \"InBox\"", select(SelectParams::default())),
        ("LIST \"\" \"*\"", CommandBody::List(list("", STAR))),
        ("SEARCH (ALL)", search(&[SearchOp::And, KEY_ALL, SearchOp::End])),
        (
            "SEARCH SINCE \"01-feb-1994\"",
            search(&[SearchOp::Key(SearchKey::Since(Date { year: 1994, month: 2, day: 1 }))]),
        ),
        (
            "SEARCH MODSEQ \"/flags/\\\\draft\" all 620162338",
            search(&[SearchOp::Key(SearchKey::ModSeq(620162338))]),
        ),
    ];
    for (wire, body) in table {
        let line = format!("A {wire}\r\n");
        assert_eq!(Command::parse(line.as_bytes(), false), Ok(Command { tag: "A", body }), "{wire}");
    }
}

#[test]
fn what_is_no_command_is_refused_with_its_tag() {
    let bad = [
        "",
        "FOO",
        "NOOP ",
        "NOOP x",
        " NOOP",
        "LOGIN u",
        "LOGIN u  p",
        "LOGIN u p x",
        "LOGIN u \"p",
        "LOGIN (u) p",
        "LOGIN u \"p\\n\"",
        "LOGIN u {5}\r\nabc",
        "LOGIN u {-1}",
        "LOGIN {99999999999999999999}",
        "LOGIN u \"\u{e9}\"",
        "SELECT",
        "SELECT \"a\u{0}b\"",
        "SELECT {1}\r\n\u{0}",
        "SELECT a (FOO)",
        "SELECT a (QRESYNC (0 1))",
        "SELECT a (QRESYNC (1 1 1:*))",
        "SELECT a (QRESYNC (1 1 $))",
        "UID",
        "UID NOOP",
        "UID UID FETCH 1 ALL",
        "FETCH 0 ALL",
        "FETCH 1,, ALL",
        "FETCH 1: ALL",
        "FETCH a ALL",
        "FETCH 4294967296 ALL",
        "FETCH 1 ()",
        "FETCH 1 (ALL)",
        "FETCH 1 (FLAGS",
        "FETCH 1 FLAGS UID",
        "FETCH 1 (FLAGS  UID)",
        "FETCH 1 BODY[MIME]",
        "FETCH 1 BODY[0]",
        "FETCH 1 BODY[1.]",
        "FETCH 1 BODY[1.FOO]",
        "FETCH 1 BODY[HEADER.FIELDS]",
        "FETCH 1 BODY[HEADER.FIELDS ()]",
        "FETCH 1 BODY[]<0>",
        "FETCH 1 BODY[]<0.0>",
        "FETCH 1 BODY[]<0.9223372036854775808>",
        "FETCH 1 UID[]",
        "FETCH 1 FLAGS (VANISHED)",
        "FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)",
        "STORE 1 FLAGS",
        "STORE 1 FLAG (\\Seen)",
        "STORE 1 FLAGS (\\*)",
        "STORE 1 FLAGS (\\Seen\\Deleted)",
        "STORE 1 (UNCHANGEDSINCE) FLAGS ()",
        "SEARCH",
        "SEARCH FOO",
        "SEARCH NOT",
        "SEARCH OR ALL",
        "SEARCH OR ALL ",
        "SEARCH ()",
        "SEARCH (ALL",
        "SEARCH ALL)",
        "SEARCH ( ALL)",
        "SEARCH SINCE 30-Feb-2000",
        "SEARCH SINCE 1-Foo-2000",
        "SEARCH YOUNGER 0",
        "SEARCH RETURN (FOO) ALL",
        "SEARCH RETURN (ALL)",
        "SEARCH CHARSET UTF-8",
        "LIST \"\"",
        "LIST \"\" ()",
        "LIST (FOO) \"\" *",
        "LIST (RECURSIVEMATCH) \"\" *",
        "LIST (REMOTE RECURSIVEMATCH) \"\" *",
        "LIST \"\" * RETURN",
        "LIST \"\" * FOO",
        "LIST \"\" * RETURN (STATUS)",
        "STATUS a",
        "STATUS a ()",
        "STATUS a (FOO)",
        "STATUS a MESSAGES",
        "CREATE a (FOO)",
        "CREATE a (USE \\Sent)",
        "ENABLE",
        "ID",
        "ID (\"a\")",
        "ID (a b)",
        "AUTHENTICATE",
        "AUTHENTICATE PLAIN !",
        "AUTHENTICATE PLAIN ",
        "APPEND a",
        "APPEND a {x}",
        "APPEND a UTF8 ({3}",
        "APPEND a (\\Seen {3}",
        "APPEND a \"1-Jan-2000 00:00:00 +0000\" {3}",
        "APPEND a \"01-Jan-2000 24:00:00 +0000\" {3}",
        "COPY 1",
        "MOVE 1:2:3 a",
        "COMPRESS",
        "RENAME a",
    ];
    for wire in bad {
        let line = format!("a7 {wire}\r\n");
        let refused = Command::parse(line.as_bytes(), false).expect_err(wire);
        assert_eq!(refused.tag, Some("a7"), "{wire}");
    }
    for untagged in ["", "\r\n", "+ NOOP\r\n", "(a) NOOP\r\n", "\u{e9} NOOP\r\n", "{5}\r\nNOOP \r\n"] {
        assert_eq!(Command::parse(untagged.as_bytes(), false).expect_err(untagged).tag, None);
    }
}

#[test]
fn utf8_stands_in_quoted_strings_only_when_enabled() {
    let line = "a SELECT \"Entw\u{fc}rfe\"\r\n".as_bytes();
    assert!(Command::parse(line, false).is_err());
    let Ok(Command { body: CommandBody::Select { mailbox, .. }, .. }) = Command::parse(line, true) else {
        panic!("a quoted name in UTF-8 is read when enabled");
    };
    assert_eq!(mailbox.decode(true).unwrap(), "Entw\u{fc}rfe");
    assert!(mailbox.decode(false).is_err());
    assert!(Command::parse(b"a SELECT \"Entw\xfcrfe\"\r\n", true).is_err());
}

#[test]
fn passwords_and_initial_responses_are_not_in_debug_output() {
    for line in ["a LOGIN u hunter2\r\n", "a AUTHENTICATE PLAIN hunter2=\r\n"] {
        let shown = format!("{:?}", Command::parse(line.as_bytes(), false).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

/// Reads the line with `at` repetitions, and refuses one more.
fn limit(name: &str, at: usize, line: impl Fn(usize) -> String) {
    let read = |n| Command::parse(line(n).as_bytes(), false).map(|_| ()).map_err(|bad| bad.fault);
    assert_eq!(read(at), Ok(()), "{name} at the limit");
    assert!(matches!(read(at + 1), Err(Fault::Limit(_))), "{name} one past the limit");
}

#[test]
fn limits_hold_at_and_one_past() {
    limit("tag", TAG_MAX, |n| format!("{} NOOP\r\n", "t".repeat(n)));
    limit("fetch items", FETCH_ITEMS_MAX, |n| format!("a FETCH 1 (UID{})\r\n", " UID".repeat(n - 1)));
    limit("part depth", PART_DEPTH_MAX, |n| format!("a FETCH 1 BODY[1{}]\r\n", ".1".repeat(n - 1)));
    limit("id fields", ID_FIELDS_MAX, |n| format!("a ID (\"a\" \"b\"{})\r\n", " \"a\" \"b\"".repeat(n - 1)));
    limit("set ranges", SET_RANGES_MAX, |n| format!("a FETCH 1{} FLAGS\r\n", ",1".repeat(n - 1)));
    limit("search keys", SEARCH_OPS_MAX, |n| format!("a SEARCH ALL{}\r\n", " ALL".repeat(n - 1)));
}

#[test]
fn im4_search_nesting_is_limited_and_needs_no_stack() {
    let nots = |n: usize| format!("a SEARCH {}ALL\r\n", "NOT ".repeat(n));
    let ors = |n: usize| format!("a SEARCH {}ALL{}\r\n", "OR ".repeat(n), " ALL".repeat(n));
    let parens = |n: usize| format!("a SEARCH {}ALL{}\r\n", "(".repeat(n), ")".repeat(n));
    limit("NOT", SEARCH_DEPTH_MAX, nots);
    limit("OR", SEARCH_DEPTH_MAX, ors);
    limit("parentheses", SEARCH_DEPTH_MAX, parens);
    for line in [nots(10_000), ors(10_000), parens(10_000)] {
        assert!(Command::parse(line.as_bytes(), false).is_err());
    }
}

#[test]
fn a_client_stops_at_each_synchronising_literal() {
    let command = Command {
        tag: "a",
        body: CommandBody::Login { user: Text::new(b"u\r\nx"), password: Secret(Text::new(b"p\nw")) },
    };
    let part = |mode, part| {
        let mut out = SendBuf::with_high_water(1 << 20);
        let mut e = Emit::client(&mut out, mode, false, part);
        command.write(&mut e);
        let cut = e.is_cut();
        (String::from_utf8(out.bytes().to_vec()).unwrap(), cut)
    };
    assert_eq!(part(LiteralMode::Synchronising, 0), ("a LOGIN {4}\r\n".into(), true));
    assert_eq!(part(LiteralMode::Synchronising, 1), ("u\r\nx {3}\r\n".into(), true));
    assert_eq!(part(LiteralMode::Synchronising, 2), ("p\nw\r\n".into(), false));
    assert_eq!(part(LiteralMode::Minus, 0), ("a LOGIN {4+}\r\nu\r\nx {3+}\r\np\nw\r\n".into(), false));
    let long = [b'\n'; 4097];
    let select = |len: usize| {
        let mailbox = MailboxName::new(&long[..len]);
        let command = Command { tag: "a", body: CommandBody::Delete(mailbox) };
        let mut out = SendBuf::with_high_water(1 << 20);
        let mut e = Emit::client(&mut out, LiteralMode::Minus, false, 0);
        command.write(&mut e);
        e.is_cut()
    };
    assert!(!select(4096), "RFC 7888 §5: 4096 octets need no continuation");
    assert!(select(4097));
}

#[test]
fn names_and_properties_agree_with_the_rules_of_expunge() {
    use protocol_imap::codec::table::NAMES;
    for name in NAMES {
        let p = name.properties();
        let uid = name.as_str().starts_with("UID ");
        assert!(!(uid && p.uses_numbers), "{} has no message numbers", name.as_str());
        // RFC 9051 §7.5.1: no EXPUNGE during FETCH, STORE, SEARCH; their UID forms may have it.
        let holds = matches!(name, Name::Fetch | Name::Store | Name::Search | Name::Copy);
        assert!(!holds || p.uses_numbers && !p.breaks_numbers, "{}", name.as_str());
        assert!(p.states.contains(States::SELECTED) || p.states == States::NOT_AUTHENTICATED);
    }
    assert!(Name::Login.properties().secret && Name::Authenticate.properties().secret);
}
