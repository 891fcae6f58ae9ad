//! Nothing is allocated to frame, read and write commands and responses.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use protocol_core::{RecvBuf, SendBuf};
use protocol_imap::codec::frame::{Frame, Framer, Limits};
use protocol_imap::codec::{
    Command, CommandBody, Emit, FetchWriter, Flag, LiteralMode, Response, Section, SectionText,
};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(call: impl FnOnce()) -> u64 {
    let before = COUNT.with(Cell::get);
    call();
    COUNT.with(Cell::get) - before
}

const COMMANDS: [&str; 12] = [
    "a NOOP\r\n",
    "a LOGIN \"u\\\"s\" {3+}\r\npwd\r\n",
    "a SELECT \"Entw&APw-rfe\" (QRESYNC (1 2 1:9 (1 1)))\r\n",
    "a UID FETCH 1:*,7 (UID FLAGS BODY.PEEK[1.2.HEADER.FIELDS (From To)]<0.10>) (CHANGEDSINCE 5 VANISHED)\r\n",
    "a STORE 1:5 +FLAGS.SILENT (\\Seen $x)\r\n",
    "a SEARCH RETURN (MIN) CHARSET UTF-8 OR (FROM x NOT SEEN) SUBJECT \"y z\" SINCE 1-Jan-2026\r\n",
    "a LIST (SUBSCRIBED) \"\" (a b) RETURN (STATUS (MESSAGES UIDNEXT))\r\n",
    "a STATUS x (MESSAGES SIZE)\r\n",
    "a APPEND x (\\Seen) \"17-Jul-1996 09:05:00 +0000\" {5+}\r\n",
    "a ID (\"name\" \"x\")\r\n",
    "a UID MOVE $ Trash\r\n",
    "a BAD command\r\n",
];

/// Reads everything that a server reads of a command.
fn walk(command: &Command<'_>) -> usize {
    match &command.body {
        CommandBody::Fetch(fetch) => fetch.items.iter().count() + fetch.set.resolve(9).count(),
        CommandBody::Search(search) => search.program.iter().count(),
        CommandBody::Store(store) => store.flags.iter().count(),
        CommandBody::Status { items, .. } => items.iter().count(),
        _ => 1,
    }
}

#[test]
fn commands_are_framed_read_and_written_without_allocating() {
    let mut input = RecvBuf::with_limit(64 * 1024);
    let mut out = SendBuf::with_high_water(64 * 1024);
    out.push(&[0; 4096]);
    out.advance(4096);
    for line in COMMANDS {
        let mut framer = Framer::new(Limits::AFTER_LOGIN);
        input.feed(line.as_bytes());
        let mut read = 0;
        let count = allocations(|| {
            let (Frame::Whole { len } | Frame::Message { len, .. }) = framer.poll(&mut input) else { return };
            if let Ok(command) = Command::parse(input.take(len), false) {
                read = walk(&command);
                command.write(&mut Emit::client(&mut out, LiteralMode::Plus, false, 0));
            }
        });
        assert_eq!(count, 0, "{line}");
        assert_eq!(read == 0, line.contains("BAD"), "{line}");
        out.advance(out.len());
    }
}

#[test]
fn responses_are_read_and_written_without_allocating() {
    let responses = [
        "* 1 FETCH (FLAGS (\\Seen) UID 7 ENVELOPE (NIL \"a\" ((NIL NIL \"b\" \"c\")) NIL NIL NIL NIL NIL NIL NIL))\r\n",
        "* LIST (\\HasNoChildren) \"/\" \"a b\"\r\n",
        "* OK [COPYUID 1 2:3 4:5] done\r\n",
        "* 1 FETCH (BODYSTRUCTURE (\"text\" \"plain\" NIL NIL NIL \"7bit\" 1 1 NIL NIL NIL NIL))\r\n",
    ];
    let mut out = SendBuf::with_high_water(64 * 1024);
    out.push(&[0; 4096]);
    out.advance(4096);
    for line in responses {
        let count = allocations(|| {
            let response = Response::parse(line.as_bytes()).expect(line);
            response.write(&mut Emit::server(&mut out, false));
        });
        assert_eq!((count, out.bytes()), (0, line.as_bytes()));
        out.advance(out.len());
    }
    let count = allocations(|| {
        let mut row = FetchWriter::begin(1, false, &mut out);
        row.flags([Flag::Seen, Flag::Keyword("k")], &mut out);
        row.literal(&Section { text: SectionText::Header, ..Section::default() }, None, 7, &mut out);
        row.end(&mut out);
    });
    assert_eq!(count, 0);
}
