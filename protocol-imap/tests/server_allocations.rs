//! Commands cost no heap once buffers have grown: NOOP, STORE, FETCH of flags and of a body, SEARCH refused.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use protocol_core::{Instant, RecvBuf, SendBuf, Timestamp};
use protocol_imap::server::{
    FlagBits, Request, RowData, RowStep, Selected, ServerConfig, ServerSession, Step, TlsInfo, Transport,
    limits,
};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; only a counter of this thread is touched.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(ptr, layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Driver {
    session: ServerSession,
    input: RecvBuf,
    out: SendBuf,
    modseq: u64,
}

const KEYWORDS: [&str; 2] = ["$Label1", "NonJunk"];

fn row_data(uid: u32, modseq: u64) -> RowData {
    RowData {
        uid,
        flags: FlagBits::SEEN.union(FlagBits::keyword(1)),
        modseq,
        size: 4711,
        internal_date: Timestamp::from_secs(1_795_433_195),
    }
}

impl Driver {
    fn selected() -> Driver {
        let config = Arc::new(ServerConfig::new("mx.test", 1000));
        let transport = Transport::Tls(TlsInfo::default());
        let mut driver = Driver {
            session: ServerSession::new(config, transport, Instant(0)),
            input: RecvBuf::with_limit(limits::RECV_LIMIT),
            out: SendBuf::with_high_water(64 * 1024),
            modseq: 200_000,
        };
        driver.run(b"a LOGIN ann pw\r\nb SELECT INBOX\r\n");
        driver
    }

    fn run(&mut self, octets: &[u8]) {
        assert_eq!(self.input.feed(octets), octets.len());
        loop {
            match self.session.poll(Instant(0), &mut self.input, &mut self.out) {
                Step::NeedInput => break,
                Step::Flush => self.out.advance(self.out.len()),
                Step::Connect(connect) => connect.accept(&mut self.session, &mut self.out),
                Step::Authenticate(ask) => ask.succeed(&mut self.session, &mut self.out),
                Step::Command(running, request) => match request {
                    Request::Select { name, .. } => {
                        let folder = Selected {
                            name: &name,
                            uid_validity: 1,
                            uid_next: 100_001,
                            highest_modseq: 200_000,
                            read_only: false,
                        };
                        let rows = (1..=100_000).map(|uid| (uid, FlagBits::SEEN));
                        let keywords = KEYWORDS.into_iter();
                        running.selected(&folder, keywords, rows, &mut self.session, &mut self.out);
                    }
                    Request::Fetch(fetching) => {
                        let mut targets = self.session.targets();
                        while let Some(message) = targets.next(&self.session) {
                            let data = row_data(message.uid, self.modseq);
                            let mut row = self.session.row(&fetching, message, data, false, None);
                            loop {
                                match row.step(&mut self.session, &mut self.out) {
                                    RowStep::Done => break,
                                    RowStep::Stream { range } => {
                                        row.streamed(range.end - range.start).expect("as announced");
                                    }
                                    other => panic!("{other:?}"),
                                }
                            }
                            if self.out.is_high() {
                                self.out.advance(self.out.len());
                            }
                        }
                        running.fetched(&mut self.session, &mut self.out);
                    }
                    Request::Store(storing) => {
                        self.modseq += 1;
                        let mut targets = self.session.targets();
                        while let Some(message) = targets.next(&self.session) {
                            let data = row_data(message.uid, self.modseq);
                            let flags = data.flags.union(storing.system());
                            let out = &mut self.out;
                            self.session.stored_row(&storing, message.uid, flags, data.modseq, out);
                        }
                        running.stored(&storing, &[], &mut self.session, &mut self.out);
                    }
                    Request::Noop => running.ok(&mut self.session, &mut self.out),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        }
        self.out.advance(self.out.len());
    }

    fn allocations(&mut self, octets: &[u8]) -> u64 {
        let before = COUNT.with(Cell::get);
        self.run(octets);
        COUNT.with(Cell::get) - before
    }
}

#[test]
fn simple_commands_allocate_nothing_after_warm_up() {
    let mut driver = Driver::selected();
    let commands: [&[u8]; 9] = [
        b"c NOOP\r\n",
        b"d UID FETCH 77 (FLAGS)\r\n",
        b"e FETCH 77,99,1:3 (UID FLAGS INTERNALDATE RFC822.SIZE)\r\n",
        b"f STORE 5 +FLAGS (\\Flagged $Label1)\r\n",
        b"g UID STORE 5 -FLAGS.SILENT (\\Flagged)\r\n",
        b"h UID FETCH 8 (BODY.PEEK[]<100.200>)\r\n",
        b"i CAPABILITY\r\n",
        b"j FROB\r\n",
        b"k CHECK\r\n",
    ];
    for command in commands {
        driver.run(command);
    }
    for command in commands {
        assert_eq!(driver.allocations(command), 0, "{}", command.escape_ascii());
    }
}

#[test]
fn a_hundred_thousand_rows_allocate_nothing_either() {
    let mut driver = Driver::selected();
    driver.run(b"c FETCH 1:* (FLAGS)\r\n");
    assert_eq!(driver.allocations(b"d FETCH 1:* (FLAGS)\r\n"), 0);
}

#[test]
fn the_view_of_a_hundred_thousand_messages_is_small() {
    let before = COUNT.with(Cell::get);
    let driver = Driver::selected();
    assert_eq!(driver.session.view().len(), 100_000);
    assert_eq!(driver.session.view().uid(100_000), Some(100_000));
    // One run of neighbours, keywords, buffers: nothing for each message.
    assert!(COUNT.with(Cell::get) - before < 60);
}
