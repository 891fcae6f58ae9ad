//! The session machine of an IMAP server over a small mailbox, with others at work in it.

use std::sync::Arc;

use protocol_core::message::decode::{DecodedSize, Decoder, TextDecoder};
use protocol_core::message::{Encoding, Scanner, Structure};
use protocol_core::{Instant, RecvBuf, SendBuf, Timestamp};
use protocol_imap::codec::frame::{ResponseFrame, ResponseFramer};
use protocol_imap::codec::{Response, StoreOp, Untagged};
use protocol_imap::server::{
    Change, Fetching, FlagBits, Folder, Found, Need, No, Request, RowData, RowStep, Running, Searching,
    Selected, ServerConfig, ServerSession, StatusData, Step, Storing, TlsInfo, Transport, Verdict, limits,
};

use crate::input::{Cut, Input};

const NOW: Timestamp = Timestamp(1_795_700_000_000);
const NAMES: [&str; 3] = ["INBOX", "Sent", "Work/Entw\u{fc}rfe"];
const MESSAGES: [&[u8]; 2] = [
    b"From: Ann <ann@x.test>\r\nTo: bob@x.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nHello.\r\n",
    b"Subject: two\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n\
      Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+eDwvYj4=\r\n--b\r\n\
      Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nx\r\n--b--\r\n",
];

/// The same conversation, however it arrives, whatever is answered and whoever else is at work; and every
/// response is one that a client reads.
pub fn imap_server(data: &[u8]) {
    let input = Input::new(data);
    let [whole, octets, pieces] = Cut::all(input.seed).map(|cut| Player::new(&input).play(cut));
    compare(&whole, &octets);
    compare(&whole, &pieces);
    check_grammar(&whole);
}

fn compare(a: &[u8], b: &[u8]) {
    assert!(a == b, "--- one\n{}\n--- other\n{}", a.escape_ascii(), b.escape_ascii());
}

fn check_grammar(said: &[u8]) {
    let mut input = RecvBuf::with_limit(1 << 22);
    let mut rest = said;
    while !rest.is_empty() {
        let fed = input.feed(rest);
        assert!(fed > 0, "the session says too much");
        rest = &rest[fed..];
    }
    let mut framer = ResponseFramer::new(1 << 20, 1 << 21);
    while let ResponseFrame::Whole { len } = framer.poll(&mut input) {
        let octets = input.take(len);
        let read = Response::parse(octets);
        let known = !matches!(read, Ok(Response::Untagged(Untagged::Other(_))) | Err(_));
        assert!(known, "{}: {read:?}", octets.escape_ascii());
    }
    assert!(input.is_empty(), "half a response: {}", input.bytes().escape_ascii());
}

struct Stored {
    data: RowData,
    bytes: &'static [u8],
    structure: Structure,
}

struct Player<'i> {
    input: &'i Input<'i>,
    session: ServerSession,
    out: SendBuf,
    said: Vec<u8>,
    rows: Vec<Stored>,
    keywords: Vec<String>,
    uid_next: u32,
    modseq: u64,
    selected: bool,
    questions: usize,
    spooled: usize,
    upgraded: bool,
    closed: bool,
}

impl<'i> Player<'i> {
    fn new(input: &'i Input<'i>) -> Self {
        let plain = input.config & 1 != 0;
        let transport = if plain { Transport::Plain } else { Transport::Tls(TlsInfo::default()) };
        let config = ServerConfig::new("mx.test", 500);
        let mut player = Player {
            input,
            session: ServerSession::new(Arc::new(config), transport, Instant(0)),
            out: SendBuf::with_high_water(1024),
            said: Vec::new(),
            rows: Vec::new(),
            keywords: vec!["$Forwarded".into()],
            uid_next: 3,
            modseq: 5,
            selected: false,
            questions: 0,
            spooled: 0,
            upgraded: false,
            closed: false,
        };
        for n in 0..3 {
            player.deliver(n);
        }
        player
    }

    fn deliver(&mut self, which: usize) -> u32 {
        let bytes = MESSAGES[which % MESSAGES.len()];
        let mut scanner = Scanner::new();
        scanner.feed(bytes);
        let uid = self.uid_next;
        self.uid_next += 2;
        self.modseq += 1;
        let data = RowData {
            uid,
            flags: FlagBits(which as u64 & 3),
            modseq: self.modseq,
            size: bytes.len() as u64,
            internal_date: NOW,
        };
        self.rows.push(Stored { data, bytes, structure: scanner.finish() });
        uid
    }

    fn play(mut self, cut: Cut) -> Vec<u8> {
        let mut buffer = RecvBuf::with_limit(limits::RECV_LIMIT);
        self.drive(&mut buffer);
        let login: &[u8] = match self.input.config >> 1 & 3 {
            0 => b"",
            1 => b"0 LOGIN ann pw\r\n",
            2 => b"0 LOGIN ann pw\r\n1 ENABLE IMAP4rev2\r\n2 SELECT INBOX\r\n",
            _ => b"0 LOGIN ann pw\r\n1 ENABLE CONDSTORE\r\n2 EXAMINE INBOX\r\n",
        };
        self.feed(login, &mut buffer);
        for burst in self.input.bursts() {
            self.upgraded = false;
            cut.pieces(burst).into_iter().for_each(|piece| self.feed(piece, &mut buffer));
        }
        buffer.commit_eof();
        self.drive(&mut buffer);
        assert!(self.closed, "a session without a client ends");
        self.said
    }

    fn feed(&mut self, mut bytes: &[u8], buffer: &mut RecvBuf) {
        while !bytes.is_empty() && !self.upgraded && !self.closed {
            let fed = buffer.feed(bytes);
            bytes = &bytes[fed..];
            self.drive(buffer);
            assert!(fed > 0 || self.closed || self.upgraded, "the session reads no more");
        }
    }

    fn collect(&mut self) {
        assert!(self.out.len() < 256 * 1024, "the send buffer grows");
        self.said.extend_from_slice(self.out.bytes());
        self.out.advance(self.out.len());
    }

    fn drive(&mut self, buffer: &mut RecvBuf) {
        for _ in 0..100_000 {
            match self.session.poll(Instant(0), buffer, &mut self.out) {
                Step::NeedInput | Step::Idle => return self.collect(),
                Step::Flush => self.collect(),
                Step::Closed(_) => {
                    self.closed = true;
                    return self.collect();
                }
                Step::Chunk(octets) => self.spooled += octets.len(),
                Step::Discard => self.spooled = 0,
                step => {
                    let answer = self.input.answer(self.questions);
                    self.questions += 1;
                    self.answer(step, answer);
                    self.collect();
                }
            }
        }
        panic!("no end of steps");
    }

    /// `.` answers as a store would; others refuse, drop the question, or let others change the folder first.
    fn answer(&mut self, step: Step<'_>, answer: u8) {
        let why = No::ALL[usize::from(answer >> 3) % No::ALL.len()];
        let (session, out) = (&mut self.session, &mut self.out);
        match step {
            step if answer & 7 == 3 => drop(step),
            Step::Connect(connect) => connect.accept(session, out),
            Step::UpgradeTls(upgrade) => {
                self.upgraded = true;
                upgrade.done(TlsInfo { channel_binding: answer & 1 != 0 }, session, Instant(0));
            }
            Step::Authenticate(ask) => match answer & 7 {
                1 => ask.fail(why, session, out),
                2 => ask.challenge(b"go on", session, out),
                _ => ask.succeed(session, out),
            },
            Step::Append(append) => {
                assert!(append.size() <= 500, "APPENDLIMIT");
                let _ = (append.name().len(), append.keywords().count(), append.internal_date());
                self.spooled = 0;
                if answer & 7 == 1 { append.refuse(why, session, out) } else { append.accept(session, out) }
            }
            Step::Appended(running) => {
                assert!(self.spooled <= 500);
                if answer & 7 == 1 {
                    return running.no(why, session, out);
                }
                let uid = self.deliver(0);
                self.tell(Change::Added { uid });
                running.appended(7, uid, &mut self.session, &mut self.out);
            }
            Step::Command(running, request) => {
                if answer & 7 >= 4 && answer != b'.' {
                    self.others(answer);
                }
                if matches!(request, Request::Select { .. } | Request::Close { .. } | Request::Unselect) {
                    self.selected = false;
                }
                if answer & 7 == 1 {
                    return running.no(why, &mut self.session, &mut self.out);
                }
                self.command(running, &request);
            }
            _ => {}
        }
    }

    fn tell(&mut self, change: Change) {
        if self.selected {
            self.session.mailbox_changed(change, &mut self.out);
        }
    }

    /// What other sessions do to the folder.
    fn others(&mut self, answer: u8) {
        if answer & 8 != 0 {
            let uid = self.deliver(usize::from(answer));
            self.tell(Change::Added { uid });
        }
        self.modseq += 1;
        let modseq = self.modseq;
        if answer & 16 != 0 && !self.rows.is_empty() {
            let gone = self.rows.remove(usize::from(answer) % self.rows.len());
            self.tell(Change::Expunged { uid: gone.data.uid, modseq });
        }
        if answer & 32 != 0
            && let Some(row) = self.rows.last_mut()
        {
            (row.data.flags, row.data.modseq) = (FlagBits(u64::from(answer) << 4 & 0x11f), modseq);
            let (uid, flags) = (row.data.uid, row.data.flags);
            self.tell(Change::Flags { uid, flags, modseq });
        }
    }

    fn status(&self) -> StatusData {
        StatusData {
            messages: self.rows.len() as u32,
            uid_next: self.uid_next,
            uid_validity: 7,
            unseen: 1,
            deleted: 1,
            size: self.rows.iter().map(|r| r.data.size).sum(),
            highest_modseq: self.modseq,
        }
    }

    fn command(&mut self, running: Running, request: &Request<'_>) {
        let known = |name: &str| NAMES.contains(&name);
        let status = self.status();
        let (session, out) = (&mut self.session, &mut self.out);
        match request {
            Request::Select { name, .. } | Request::Status { name, .. } if !known(name) => {
                running.no(No::NonExistent, session, out);
            }
            Request::Select { name, read_only } => {
                let folder = Selected {
                    name,
                    uid_validity: 7,
                    uid_next: self.uid_next,
                    highest_modseq: self.modseq,
                    read_only: *read_only,
                };
                let rows = self.rows.iter().map(|r| (r.data.uid, r.data.flags));
                running.selected(&folder, self.keywords.iter().map(String::as_str), rows, session, out);
                self.selected = true;
            }
            Request::Status { name, query } => running.status(name, query, &status, session, out),
            Request::List(listing) => {
                let folders = NAMES.map(|name| Folder { name, special_use: None, status });
                running.listed(listing, &folders, ["INBOX", "Gone/Far"].into_iter(), session, out);
            }
            Request::Expunge => {
                let gone = self.remove_deleted();
                running.expunged(&gone, &mut self.session, &mut self.out);
            }
            Request::Close { expunge } => {
                if *expunge {
                    self.rows.retain(|r| !r.data.flags.contains(FlagBits::DELETED));
                }
                running.ok(&mut self.session, &mut self.out);
            }
            Request::Search(searching) => self.search(running, searching),
            Request::Fetch(fetching) => self.fetch(running, fetching),
            Request::Store(storing) => self.store(running, storing),
            Request::Copy { to } | Request::Move { to } if !known(to) => {
                running.no(No::TryCreate, session, out);
            }
            Request::Copy { .. } => {
                let pairs: Vec<_> = self.targets().into_iter().zip(100..).collect();
                running.copied(8, &pairs, &mut self.session, &mut self.out);
            }
            Request::Move { .. } => {
                let pairs: Vec<_> = self.targets().into_iter().zip(100..).collect();
                self.rows.retain(|r| !pairs.iter().any(|(from, _)| *from == r.data.uid));
                running.moved(8, &pairs, &mut self.session, &mut self.out);
            }
            _ => running.ok(session, out),
        }
    }

    /// UIDs of the targets that are still there.
    fn targets(&mut self) -> Vec<u32> {
        let mut targets = self.session.targets();
        let mut uids = Vec::new();
        while let Some(message) = targets.next(&self.session) {
            assert_eq!(self.session.view().number(message.uid), Some(message.number));
            if self.rows.iter().any(|r| r.data.uid == message.uid) {
                uids.push(message.uid);
            } else {
                self.session.message_gone();
            }
        }
        assert!(uids.is_sorted() && uids.len() <= self.rows.len(), "each target once, in order");
        uids
    }

    fn remove_deleted(&mut self) -> Vec<u32> {
        let targets = self.targets();
        let goes = |r: &Stored| targets.contains(&r.data.uid) && r.data.flags.contains(FlagBits::DELETED);
        let gone = self.rows.iter().filter(|r| goes(r)).map(|r| r.data.uid).collect();
        self.rows.retain(|r| !goes(r));
        gone
    }

    fn store(&mut self, running: Running, storing: &Storing<'_>) {
        let targets = self.targets();
        self.modseq += 1;
        let bits = storing.keywords().fold(storing.system(), |bits, name| {
            let known = self.keywords.iter().position(|k| k.eq_ignore_ascii_case(name));
            let n = known.unwrap_or_else(|| {
                self.keywords.push(name.into());
                self.keywords.len() - 1
            });
            bits.union(FlagBits::keyword(n.min(limits::KEYWORDS_MAX - 1)))
        });
        self.keywords.truncate(limits::KEYWORDS_MAX);
        self.session.learn_keywords(self.keywords.iter().map(String::as_str), &mut self.out);
        let mut modified = Vec::new();
        for row in self.rows.iter_mut().filter(|r| targets.contains(&r.data.uid)) {
            if storing.unchanged_since().is_some_and(|since| row.data.modseq > since) {
                modified.push(row.data.uid);
                continue;
            }
            let old = row.data.flags.0;
            row.data.flags.0 = match storing.op() {
                StoreOp::Add => old | bits.0,
                StoreOp::Remove => old & !bits.0,
                StoreOp::Replace => bits.0,
            };
            row.data.modseq = self.modseq;
            let data = row.data;
            self.session.stored_row(storing, data.uid, data.flags, data.modseq, &mut self.out);
        }
        running.stored(storing, &modified, &mut self.session, &mut self.out);
    }

    fn fetch(&mut self, running: Running, fetching: &Fetching<'_>) {
        let mut targets = self.session.targets();
        while let Some(message) = targets.next(&self.session) {
            let Some(stored) = self.rows.iter_mut().find(|r| r.data.uid == message.uid) else {
                self.session.message_gone();
                continue;
            };
            if !fetching.wants(stored.data.modseq) {
                continue;
            }
            let seen = fetching.sets_seen() && !stored.data.flags.contains(FlagBits::SEEN);
            if seen {
                self.modseq += 1;
                stored.data.flags = stored.data.flags.union(FlagBits::SEEN);
                stored.data.modseq = self.modseq;
            }
            let structure = fetching.needs().structure.then_some(&stored.structure);
            let mut row = self.session.row(fetching, message, stored.data, seen, structure);
            let mut next = None;
            let part = |range: std::ops::Range<u64>| &stored.bytes[range.start as usize..range.end as usize];
            loop {
                let step = match next.take() {
                    Some(step) => step,
                    None => row.step(&mut self.session, &mut self.out),
                };
                match step {
                    RowStep::Done => break,
                    RowStep::Read { range } => row.supply(part(range), &mut self.session, &mut self.out),
                    RowStep::Size { range, encoding } => {
                        let mut size = DecodedSize::new(&encoding);
                        size.feed(part(range));
                        next = row.decoded_size(Some(size.finish()), &mut self.session, &mut self.out);
                    }
                    RowStep::Stream { range } => {
                        let octets = part(range);
                        assert!(!octets.is_empty());
                        self.out.push(octets);
                        row.streamed(octets.len() as u64).expect("as many as announced");
                    }
                    RowStep::StreamDecoded { range, encoding, skip, len } => {
                        let octets = decoded(part(range), &encoding);
                        self.out.push(&octets[skip as usize..(skip + len) as usize]);
                        row.streamed(len).expect("as many as announced");
                    }
                }
            }
        }
        running.fetched(&mut self.session, &mut self.out);
    }

    fn search(&mut self, running: Running, searching: &Searching<'_>) {
        let mut program = match searching.program(&self.session, NOW) {
            Ok(program) => program,
            Err(why) => return running.no(why, &mut self.session, &mut self.out),
        };
        let mut found = Found::new();
        let mut targets = self.session.targets();
        while let Some(message) = targets.next(&self.session) {
            let Some(stored) = self.rows.iter().find(|r| r.data.uid == message.uid) else {
                self.session.message_gone();
                continue;
            };
            let mut verdict = program.row(message, &stored.data);
            for needs in 0.. {
                assert!(needs < 4, "a row needs each thing once");
                let Verdict::Need(need) = verdict else { break };
                verdict = match need {
                    Need::Structure => program.structure(&stored.structure),
                    Need::Header => {
                        let header = stored.structure.root().header();
                        program.header(&stored.bytes[..header.end as usize])
                    }
                    Need::Text => {
                        for (_, part) in stored.structure.leaves().filter(|(_, p)| p.media_type == "text") {
                            let body = part.body();
                            let mut decoder = TextDecoder::new(&part.encoding, part.charset().as_deref());
                            let mut text = String::new();
                            decoder.feed(&stored.bytes[body.start as usize..body.end as usize], &mut text);
                            decoder.finish(&mut text);
                            let _ = program.text(&text);
                            program.part_ended();
                        }
                        program.text_ended()
                    }
                };
            }
            if verdict == Verdict::Match {
                found.push(message, stored.data.modseq);
            }
        }
        running.searched(searching, &program, &found, &mut self.session, &mut self.out);
    }
}

fn decoded(bytes: &[u8], encoding: &Encoding) -> Vec<u8> {
    let mut decoder = Decoder::new(encoding);
    let mut out = Vec::new();
    decoder.feed(bytes, &mut out);
    decoder.finish(&mut out);
    out
}
