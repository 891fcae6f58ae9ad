//! IM6: answers that grow with the folder pass through a send buffer that does not, whatever the client reads
//! at a time.

use std::fmt::Write as _;
use std::sync::Arc;

use protocol_core::{Instant, RecvBuf, SendBuf, Timestamp};
use protocol_imap::server::{
    Bye, Change, FlagBits, Found, Request, Running, Selected, ServerConfig, ServerSession, Step, TlsInfo,
    Transport, limits,
};

const MESSAGES: u32 = 100_000;
const HIGH: usize = 64 * 1024;
/// Octets of the longest response line here; of a SEARCH response, of one number in it.
const LINE_MAX: usize = 80;
/// How much the client reads at a time.
const READS: [usize; 4] = [1, 1_000, HIGH, usize::MAX];

struct Driver {
    session: ServerSession,
    input: RecvBuf,
    out: SendBuf,
    read: usize,
    got: Vec<u8>,
    /// Every n-th message matches a SEARCH and goes by EXPUNGE.
    every: u32,
}

impl Driver {
    /// A client that has selected a folder whose UIDs are twice the numbers.
    fn selected(read: usize, every: u32, messages: u32) -> Driver {
        let config = Arc::new(ServerConfig::new("mx.test", 1000));
        let session = ServerSession::new(config, Transport::Tls(TlsInfo::default()), Instant(0));
        let input = RecvBuf::with_limit(limits::RECV_LIMIT);
        let out = SendBuf::with_high_water(HIGH);
        let mut driver = Driver { session, input, out, read, got: Vec::new(), every };
        driver.session_rows(messages);
        driver
    }

    fn session_rows(&mut self, messages: u32) {
        self.send(b"a LOGIN ann pw\r\nb SELECT INBOX\r\n", messages);
        self.got.clear();
    }

    /// What the client gets for these commands.
    fn run(&mut self, octets: &[u8]) -> String {
        self.send(octets, 0);
        String::from_utf8(std::mem::take(&mut self.got)).unwrap()
    }

    fn receive(&mut self, octets: usize) {
        let n = self.out.len().min(octets);
        self.got.extend_from_slice(&self.out.bytes()[..n]);
        self.out.advance(n);
    }

    fn send(&mut self, octets: &[u8], messages: u32) {
        assert_eq!(self.input.feed(octets), octets.len());
        loop {
            let step = self.session.poll(Instant(0), &mut self.input, &mut self.out);
            assert!(self.out.len() <= HIGH + LINE_MAX, "{} octets wait", self.out.len());
            match step {
                Step::NeedInput | Step::Idle | Step::Closed(_) => return self.receive(usize::MAX),
                Step::Flush => self.receive(self.read),
                Step::Connect(connect) => connect.accept(&mut self.session, &mut self.out),
                Step::Authenticate(ask) => ask.succeed(&mut self.session, &mut self.out),
                Step::Command(running, request) => {
                    answer(running, &request, messages, self.every, &mut self.session, &mut self.out);
                }
                other => panic!("{other:?}"),
            }
            assert!(self.out.len() <= HIGH + LINE_MAX, "{} octets wait", self.out.len());
        }
    }
}

fn answer(
    running: Running,
    request: &Request<'_>,
    messages: u32,
    every: u32,
    session: &mut ServerSession,
    out: &mut SendBuf,
) {
    let mut targets = session.targets();
    let matching = std::iter::from_fn(|| targets.next(session)).filter(|m| m.number.is_multiple_of(every));
    match request {
        Request::Select { .. } => {
            let folder = Selected {
                name: "INBOX",
                uid_validity: 7,
                uid_next: 2 * messages + 1,
                highest_modseq: 1,
                read_only: false,
            };
            let rows = (1..=messages).map(|n| (2 * n, FlagBits::SEEN));
            running.selected(&folder, std::iter::empty(), rows, session, out);
        }
        Request::Expunge => {
            let gone: Vec<u32> = matching.map(|m| m.uid).collect();
            running.expunged(&gone, session, out);
        }
        Request::Search(searching) => {
            let program = searching.program(session, Timestamp::from_secs(0)).unwrap();
            let mut found = Found::new();
            matching.for_each(|message| found.push(message, 5));
            running.searched(searching, &program, &found, session, out);
        }
        Request::Noop => running.ok(session, out),
        other => panic!("{other:?}"),
    }
}

/// What EXPUNGE of every n-th of so many messages tells.
fn expunges(every: u32, messages: u32) -> String {
    let mut text = String::new();
    for (gone, number) in (every..=messages).step_by(every as usize).enumerate() {
        writeln!(text, "* {} EXPUNGE\r", number - gone as u32).unwrap();
    }
    text
}

fn joined(numbers: impl Iterator<Item = u32>, between: &str) -> String {
    numbers.map(|n| n.to_string()).collect::<Vec<_>>().join(between)
}

#[test]
fn im6_expunge_of_a_hundred_thousand_messages() {
    for read in READS {
        for every in [1, 2] {
            let mut driver = Driver::selected(read, every, MESSAGES);
            let got = driver.run(b"c EXPUNGE\r\nd NOOP\r\n");
            let tail = "c OK EXPUNGE completed\r\nd OK NOOP completed\r\n";
            assert!(got == expunges(every, MESSAGES) + tail, "reading {read}, every {every}");
            assert_eq!(driver.session.view().len(), MESSAGES - MESSAGES / every);
        }
    }
}

#[test]
fn im6_one_line_of_search_over_a_hundred_thousand_messages() {
    for read in READS {
        let mut driver = Driver::selected(read, 1, MESSAGES);
        let got = driver.run(b"c SEARCH ALL\r\n");
        assert!(got == format!("* SEARCH {}\r\nc OK SEARCH completed\r\n", joined(1..=MESSAGES, " ")));
        let got = driver.run(b"d UID SEARCH MODSEQ 1\r\n");
        let uids = joined((1..=MESSAGES).map(|n| 2 * n), " ");
        let (_, got) = got.split_once("* SEARCH ").unwrap();
        assert!(got == format!("{uids} (MODSEQ 5)\r\nd OK UID SEARCH completed\r\n"));
    }
}

#[test]
fn im6_a_set_of_esearch_over_a_hundred_thousand_messages() {
    for read in READS {
        let mut driver = Driver::selected(read, 2, MESSAGES);
        let got = driver.run(b"c SEARCH RETURN (MIN MAX ALL COUNT) ALL\r\n");
        let numbers = joined((2..=MESSAGES).step_by(2), ",");
        let head =
            format!("* ESEARCH (TAG \"c\") MIN 2 MAX {MESSAGES} ALL {numbers} COUNT {}\r\n", MESSAGES / 2);
        assert!(got == head + "c OK SEARCH completed\r\n", "reading {read}");
        driver.every = 1;
        let got = driver.run(b"d SEARCH RETURN (ALL) ALL\r\n");
        assert_eq!(got, format!("* ESEARCH (TAG \"d\") ALL 1:{MESSAGES}\r\nd OK SEARCH completed\r\n"));
        let got = driver.run(b"e UID SEARCH RETURN (ALL) ALL\r\n");
        let uids = joined((1..=MESSAGES).map(|n| 2 * n), ",");
        assert!(got == format!("* ESEARCH (TAG \"e\") UID ALL {uids}\r\ne OK UID SEARCH completed\r\n"));
    }
}

/// Every second message of a folder went, the others' flags changed, and as many came.
fn upheaval() -> impl Iterator<Item = Change> {
    (1..=MESSAGES)
        .map(|n| match n % 2 {
            0 => Change::Expunged { uid: 2 * n, modseq: 9 },
            _ => Change::Flags { uid: 2 * n, flags: FlagBits::FLAGGED, modseq: 9 },
        })
        .chain((1..=MESSAGES).map(|n| Change::Added { uid: 2 * (MESSAGES + n) }))
}

fn upheaval_told() -> String {
    let mut text = expunges(2, MESSAGES);
    write!(text, "* {} EXISTS\r\n* 0 RECENT\r\n", MESSAGES / 2 + MESSAGES).unwrap();
    for number in 1..=MESSAGES / 2 {
        write!(text, "* {number} FETCH (UID {} FLAGS (\\Flagged))\r\n", 4 * number - 2).unwrap();
    }
    text
}

#[test]
fn im6_changes_by_others_told_at_noop() {
    for read in READS {
        let mut driver = Driver::selected(read, 1, MESSAGES);
        driver.session.mailbox_changes(upheaval(), &mut driver.out);
        let got = driver.run(b"c NOOP\r\nd NOOP\r\n");
        assert!(got == upheaval_told() + "c OK NOOP completed\r\nd OK NOOP completed\r\n", "reading {read}");
    }
}

#[test]
fn im6_changes_by_others_told_in_idle() {
    for read in READS {
        let mut driver = Driver::selected(read, 1, MESSAGES);
        assert_eq!(driver.run(b"c IDLE\r\n"), "+ Idling\r\n");
        driver.session.mailbox_changes(upheaval(), &mut driver.out);
        assert!(driver.out.len() <= HIGH + LINE_MAX);
        // DONE is already here while the changes are told.
        let got = driver.run(b"DONE\r\nd NOOP\r\n");
        assert!(got == upheaval_told() + "c OK IDLE completed\r\nd OK NOOP completed\r\n", "reading {read}");
    }
}

#[test]
fn im6_at_the_mark_nothing_is_held_and_one_response_later_it_is() {
    // `* SEARCH` and numbers of five digits: the mark is reached with the last number, or is not.
    let fits = |messages: u32| {
        let mut driver = Driver::selected(1, 1, messages);
        assert_eq!(driver.input.feed(b"c SEARCH ALL\r\n"), 14);
        let step = driver.session.poll(Instant(0), &mut driver.input, &mut driver.out);
        let Step::Command(running, request) = step else { panic!("{step:?}") };
        answer(running, &request, 0, 1, &mut driver.session, &mut driver.out);
        driver.out.bytes().ends_with(b"c OK SEARCH completed\r\n")
    };
    let octets = |messages: u32| 8 + joined(1..=messages, " ").len() + 1;
    let last = (10_000..).find(|n| octets(*n) >= HIGH).unwrap();
    assert!(fits(last - 1));
    assert!(!fits(last + 1));
}

#[test]
fn im6_bye_inside_a_line_ends_the_line() {
    let mut driver = Driver::selected(1, 1, MESSAGES);
    assert_eq!(driver.input.feed(b"c SEARCH ALL\r\n"), 14);
    let step = driver.session.poll(Instant(0), &mut driver.input, &mut driver.out);
    let Step::Command(running, request) = step else { panic!("{step:?}") };
    answer(running, &request, 0, 1, &mut driver.session, &mut driver.out);
    driver.session.bye(Bye::ShuttingDown, &mut driver.out);
    driver.receive(usize::MAX);
    let got = String::from_utf8(std::mem::take(&mut driver.got)).unwrap();
    let (line, rest) = got.split_once("\r\n").unwrap();
    assert!(line.starts_with("* SEARCH 1 2 3 ") && line.ends_with(|c: char| c.is_ascii_digit()));
    assert!(rest.starts_with("* BYE [UNAVAILABLE] ") && rest.ends_with("\r\n"));
}
