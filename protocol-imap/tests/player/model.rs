//! A client that believes every untagged response, against the store: whatever others do and whenever, it
//! always counts as the server does, and after NOOP it knows what there is.

use std::sync::Arc;

use proptest::prelude::*;
use protocol_core::{Instant, RecvBuf, SendBuf};
use protocol_imap::server::{ServerConfig, ServerSession, TlsInfo, Transport, limits};

use super::store::Store;
use super::{Event, Player};

/// What happens.
#[derive(Clone, Debug)]
enum Op {
    /// By another session, between commands.
    Other(Other),
    /// A command, and what another session does while it runs.
    Command(Command, Vec<Other>),
}

#[derive(Clone, Debug)]
enum Other {
    Deliver,
    /// Of the n-th message, when there is one.
    Flags(usize, u8),
    Expunge(usize),
}

#[derive(Clone, Copy, Debug)]
enum Command {
    Noop,
    Fetch(usize),
    UidFetch,
    Store(usize),
    UidStore(usize),
    Search,
    UidSearch,
    Expunge,
    Copy(usize),
    Idle,
}

/// What the client believes of a message.
#[derive(Clone, Debug, Default)]
struct Known {
    uid: Option<u32>,
    flags: Option<String>,
}

struct Client<'p> {
    player: Player<'p>,
    input: RecvBuf,
    known: Vec<Known>,
    tag: u32,
}

const FLAGS: [&str; 4] = ["\\Seen", "\\Answered", "\\Flagged", "\\Deleted"];

impl Client<'_> {
    fn selected() -> Client<'static> {
        let config = Arc::new(ServerConfig::new("mx.test", 10_000));
        let transport = Transport::Tls(TlsInfo::default());
        let player = Player {
            session: ServerSession::new(config, transport, Instant(0)),
            out: SendBuf::with_high_water(1 << 20),
            store: Store::new(),
            now: Instant(0),
            answers: [].iter(),
            events: Vec::new(),
            asks: false,
            upgraded: false,
            closed: false,
            spool: Vec::new(),
            sasl: None,
            during: Vec::new(),
        };
        let mut client =
            Client { player, input: RecvBuf::with_limit(limits::RECV_LIMIT), known: Vec::new(), tag: 0 };
        client.say("0 LOGIN ann pw\r\n");
        client.say("0 SELECT INBOX\r\n");
        client
    }

    /// Sends, and believes what comes back: the responses.
    fn say(&mut self, text: &str) -> Vec<String> {
        self.player.feed(text.as_bytes(), &mut self.input, "model");
        self.hear()
    }

    fn hear(&mut self) -> Vec<String> {
        let mut heard = String::new();
        for event in self.player.events.drain(..) {
            if let Event::Said(said) = event {
                heard.push_str(std::str::from_utf8(&said).expect("ASCII"));
            }
        }
        let lines: Vec<String> = heard.lines().map(String::from).collect();
        lines.iter().for_each(|line| self.believe(line));
        lines
    }

    fn believe(&mut self, line: &str) {
        let mut words = line.splitn(4, ' ');
        let (Some("*"), Some(number), Some(what)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        let Ok(number) = number.parse::<usize>() else { return };
        match what {
            "EXISTS" => {
                assert!(number >= self.known.len(), "EXISTS never shrinks: {line}");
                self.known.resize(number, Known::default());
            }
            "EXPUNGE" => {
                assert!((1..=self.known.len()).contains(&number), "{line} of {}", self.known.len());
                self.known.remove(number - 1);
            }
            "FETCH" => {
                let known = self.known.get_mut(number - 1).unwrap_or_else(|| panic!("{line}"));
                if let Some((_, behind)) = line.split_once("UID ") {
                    let uid = behind.split([' ', ')']).next().and_then(|u| u.parse().ok());
                    assert!(known.uid.is_none() || known.uid == uid, "{line}, and it was {:?}", known.uid);
                    known.uid = uid;
                }
                if let Some((_, behind)) = line.split_once("FLAGS (") {
                    known.flags = behind.split(')').next().map(String::from);
                }
            }
            _ => {}
        }
    }

    fn change(&mut self, other: &Other) -> Option<String> {
        let rows = &self.player.store.current().rows;
        let uid = |n: usize| (!rows.is_empty()).then(|| rows[n % rows.len()].data.uid);
        Some(match other {
            Other::Deliver => "deliver".to_owned(),
            Other::Expunge(n) => format!("expunge {}", uid(*n)?),
            Other::Flags(n, bits) => {
                let names = FLAGS.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1).map(|(_, f)| *f);
                let keyword = (bits & 16 != 0).then(|| format!("Word{}", bits >> 5));
                let names: Vec<String> = names.map(String::from).chain(keyword).collect();
                format!("flags {} {}", uid(*n)?, names.join(" ")).trim_end().to_owned()
            }
        })
    }

    fn run(&mut self, command: Command, during: &[Other]) {
        self.tag += 1;
        let count = self.known.len();
        let number = |n: usize| n % count.max(1) + 1;
        let line = match command {
            Command::Noop => "NOOP".to_owned(),
            Command::Fetch(n) => format!("FETCH {}:* (UID FLAGS)", number(n)),
            Command::UidFetch => "UID FETCH 1:* FLAGS".to_owned(),
            Command::Store(n) => format!("STORE {} +FLAGS (\\Deleted)", number(n)),
            Command::UidStore(n) => format!("UID STORE {} +FLAGS.SILENT (\\Flagged)", n % 12),
            Command::Search => "SEARCH UNSEEN".to_owned(),
            Command::UidSearch => "UID SEARCH UNSEEN".to_owned(),
            Command::Expunge => "EXPUNGE".to_owned(),
            Command::Copy(n) => format!("COPY {} Archive", number(n)),
            Command::Idle => "IDLE".to_owned(),
        };
        if matches!(command, Command::UidStore(n) if n % 12 == 0) {
            return;
        }
        let during: Vec<String> = during.iter().filter_map(|other| self.change(other)).collect();
        if let Command::Idle = command {
            self.say(&format!("t{} IDLE\r\n", self.tag));
            for change in during {
                if self.player.store.is_possible(&change) {
                    self.player.change(&change);
                    self.hear();
                }
            }
            self.agree();
            self.say("DONE\r\n");
            return;
        }
        self.player.during = during;
        let heard = self.say(&format!("t{} {line}\r\n", self.tag));
        self.player.during.clear();
        if let Command::UidStore(n) = command {
            self.assume_flagged(n as u32 % 12);
        }
        let by_number =
            matches!(command, Command::Fetch(_) | Command::Store(_) | Command::Search | Command::Copy(_));
        if by_number {
            assert!(!heard.iter().any(|l| l.ends_with(" EXPUNGE")), "{line}: {heard:?}");
        }
        assert!(heard.last().is_some_and(|l| l.starts_with(&format!("t{} ", self.tag))), "{heard:?}");
        if let Command::Noop = command {
            self.agree();
        }
    }

    /// What a client does after a silent STORE: it takes for granted what it asked for. (Only a message that
    /// it knows by its UID and was not told gone in the meantime.)
    fn assume_flagged(&mut self, uid: u32) {
        let Some(number) = self.player.session.view().number(uid) else { return };
        if let Some(flags) = &mut self.known[number as usize - 1].flags
            && !flags.contains("\\Flagged")
        {
            *flags = format!("{flags} \\Flagged").trim_start().to_owned();
        }
    }

    /// The client knows what there is: as many messages, the UIDs and flags it was told of.
    fn agree(&mut self) {
        let folder = self.player.store.current();
        assert_eq!(self.known.len(), folder.rows.len());
        for (known, row) in self.known.iter().zip(&folder.rows) {
            assert!(known.uid.is_none_or(|uid| uid == row.data.uid), "{known:?} is {}", row.data.uid);
            if let Some(flags) = &known.flags {
                assert_eq!(folder.bits_of(flags), row.data.flags, "UID {} is {flags}", row.data.uid);
            }
        }
    }
}

fn other() -> impl Strategy<Value = Other> {
    prop_oneof![
        Just(Other::Deliver),
        (0..9usize, any::<u8>()).prop_map(|(n, bits)| Other::Flags(n, bits)),
        (0..9usize).prop_map(Other::Expunge),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        2 => Just(Command::Noop),
        2 => (0..9usize).prop_map(Command::Fetch),
        1 => Just(Command::UidFetch),
        1 => (0..9usize).prop_map(Command::Store),
        1 => (0..24usize).prop_map(Command::UidStore),
        1 => Just(Command::Search),
        1 => Just(Command::UidSearch),
        1 => Just(Command::Expunge),
        1 => (0..9usize).prop_map(Command::Copy),
        1 => Just(Command::Idle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn im13_a_client_that_believes_what_it_is_told_knows_what_there_is(
        ops in proptest::collection::vec(
            prop_oneof![
                other().prop_map(Op::Other),
                (command(), proptest::collection::vec(other(), 0..3)).prop_map(|(c, o)| Op::Command(c, o)),
            ],
            0..40,
        )
    ) {
        let mut client = Client::selected();
        for op in &ops {
            match op {
                Op::Other(other) => {
                    if let Some(change) = client.change(other) {
                        client.player.change(&change);
                        client.hear();
                    }
                }
                Op::Command(command, during) => client.run(*command, during),
            }
        }
        client.run(Command::Noop, &[]);
        client.run(Command::Fetch(0), &[]);
        client.run(Command::Noop, &[]);
        prop_assert!(client.known.iter().all(|k| k.uid.is_some() && k.flags.is_some()));
    }
}
