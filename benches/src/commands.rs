//! Commands of SMTP and IMAP beside `smtp-proto` and `imap-codec`.

use std::env;
use std::hint::black_box;

use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use protocol_smtp::params::Accepts;

use crate::counting;
use crate::rounds::{Plan, best_of_two};

const PLAN: Plan = Plan { rounds: 10_000, calls: 200 };

const SMTP: [(&str, &str); 5] = [
    ("SMTP `EHLO`", "EHLO mail.client.example.net\r\n"),
    (
        "SMTP `MAIL` with SIZE and BODY",
        "MAIL FROM:<sender.name@mail.example.net> SIZE=104857 BODY=8BITMIME\r\n",
    ),
    ("SMTP `RCPT` with NOTIFY", "RCPT TO:<some.recipient@department.example.org> NOTIFY=SUCCESS,FAILURE\r\n"),
    ("SMTP `DATA`", "DATA\r\n"),
    ("SMTP `QUIT`", "QUIT\r\n"),
];

const IMAP: [(&str, &str); 6] = [
    ("IMAP `NOOP`", "a1 NOOP\r\n"),
    ("IMAP `SELECT`", "a2 SELECT \"Archive/2026\"\r\n"),
    (
        "IMAP `UID FETCH` of seven items",
        "a3 UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY.PEEK[HEADER.FIELDS (From To Subject)])\r\n",
    ),
    ("IMAP `UID STORE`", "a4 UID STORE 1,3,5:9 +FLAGS.SILENT (\\Seen \\Answered)\r\n"),
    (
        "IMAP `UID SEARCH` of four keys",
        "a5 UID SEARCH OR FROM \"somebody\" SUBJECT \"something\" SINCE 1-Jan-2026 UNSEEN\r\n",
    ),
    ("IMAP `LIST`", "a6 LIST \"\" \"*\"\r\n"),
];

/// What the command line asks for.
pub enum Asked {
    /// Every row, timed.
    Table,
    /// One side's calls and nothing else, for a tool that counts instructions.
    Calls {
        /// A part of the row's name.
        row: String,
        /// Whose.
        ours: bool,
        /// How many.
        calls: u32,
    },
}

impl Asked {
    /// `calls ROW inbox|other N`, or nothing.
    pub fn from_args() -> Asked {
        let args: Vec<String> = env::args().skip(1).collect();
        match args.as_slice() {
            [word, row, side, calls] if word == "calls" => Asked::Calls {
                row: row.clone(),
                ours: side == "inbox",
                calls: calls.parse().unwrap_or(1_000),
            },
            _ => Asked::Table,
        }
    }
}

fn row(asked: &Asked, name: &str, other: &str, mut ours: impl FnMut(), mut theirs: impl FnMut()) {
    match asked {
        Asked::Calls { row, ours: true, calls } if name.contains(row) => (0..*calls).for_each(|_| ours()),
        Asked::Calls { row, ours: false, calls } if name.contains(row) => (0..*calls).for_each(|_| theirs()),
        Asked::Calls { .. } => {}
        Asked::Table => {
            let (our_best, their_best) = best_of_two(PLAN, &mut ours, &mut theirs);
            let allocations = counting::allocations(ours);
            let ratio = their_best.0 / our_best.0;
            println!(
                "| {name} | {:.1} | {:.0} (`{other}`) | {ratio:.1} | {allocations} |",
                our_best.0, their_best.0
            );
        }
    }
}

/// The rows of SMTP.
pub fn smtp(asked: &Asked) {
    for (name, line) in SMTP {
        let bare = line.trim_end().as_bytes();
        let ours = || {
            black_box(&protocol_smtp::command::Command::parse(black_box(bare), &Accepts::ALL));
        };
        let theirs = || {
            black_box(&smtp_proto::Request::parse(&mut black_box(line).as_bytes().iter()));
        };
        row(asked, name, "smtp-proto", ours, theirs);
    }
}

/// The rows of IMAP.
pub fn imap(asked: &Asked) {
    let codec = CommandCodec::default();
    for (name, line) in IMAP {
        let ours = || {
            black_box(&protocol_imap::codec::Command::parse(black_box(line.as_bytes()), false));
        };
        let theirs = || {
            black_box(&codec.decode(black_box(line.as_bytes())));
        };
        row(asked, name, "imap-codec", ours, theirs);
    }
}
