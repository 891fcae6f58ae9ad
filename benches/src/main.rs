//! The codecs beside two other libraries, in one run on one machine: `cargo run --release -p benches`.
//!
//! Each figure is the best of several rounds, for the others too, so that a busy moment counts against nobody.
//! Allocations are counted by this binary's own allocator.
#![allow(clippy::disallowed_methods)] // measuring time is what this is for

mod counting;

use std::hint::black_box;
use std::time::{Duration, Instant};

use imap_codec::CommandCodec;
use imap_codec::decode::Decoder;
use protocol_smtp::params::Accepts;
use protocol_smtp::stuffing::{Scan, Unstuff};
use smtp_proto::request::receiver::DataReceiver;

const ROUNDS: u32 = 15;
const CALLS: u32 = 20_000;

const SMTP_COMMANDS: [&str; 5] = [
    "EHLO mail.client.example.net\r\n",
    "MAIL FROM:<sender.name@mail.example.net> SIZE=104857 BODY=8BITMIME\r\n",
    "RCPT TO:<some.recipient@department.example.org> NOTIFY=SUCCESS,FAILURE\r\n",
    "DATA\r\n",
    "QUIT\r\n",
];

const IMAP_COMMANDS: [&str; 6] = [
    "a1 NOOP\r\n",
    "a2 SELECT \"Archive/2026\"\r\n",
    "a3 UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY.PEEK[HEADER.FIELDS (From To Subject)])\r\n",
    "a4 UID STORE 1,3,5:9 +FLAGS.SILENT (\\Seen \\Answered)\r\n",
    "a5 UID SEARCH OR FROM \"somebody\" SUBJECT \"something\" SINCE 1-Jan-2026 UNSEEN\r\n",
    "a6 LIST \"\" \"*\"\r\n",
];

/// The best time of a call over several rounds.
fn best(calls: u32, mut call: impl FnMut()) -> Duration {
    (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            (0..calls).for_each(|_| call());
            begun.elapsed() / calls
        })
        .min()
        .unwrap_or_default()
}

fn row(name: &str, ours: Duration, theirs: Duration, call: impl FnMut()) {
    let (ours, theirs) = (ours.as_nanos() as f64, theirs.as_nanos() as f64);
    let allocations = counting::allocations(call);
    let name: String = name.trim().chars().take(48).collect();
    println!("| {name:<48} | {ours:>8.0} | {theirs:>8.0} | {:>5.1} | {allocations:>2} |", theirs / ours);
}

fn smtp() {
    println!("\nSMTP commands: ns a command\n");
    println!("| {:<48} | inbox ns | smtp-proto | ratio | allocations (inbox) |", "command");
    println!("|---|---|---|---|---|");
    for line in SMTP_COMMANDS {
        let bare = line.trim_end().as_bytes();
        let ours = || {
            let _ = black_box(protocol_smtp::command::Command::parse(black_box(bare), &Accepts::ALL));
        };
        let theirs = || {
            let _ = black_box(smtp_proto::Request::parse(&mut black_box(line).as_bytes().iter()));
        };
        row(line, best(CALLS, ours), best(CALLS, theirs), ours);
    }
}

fn imap() {
    println!("\nIMAP commands: ns a command\n");
    println!("| {:<48} | inbox ns | imap-codec | ratio | allocations (inbox) |", "command");
    println!("|---|---|---|---|---|");
    let codec = CommandCodec::default();
    for line in IMAP_COMMANDS {
        let ours = || {
            let _ = black_box(protocol_imap::codec::Command::parse(black_box(line.as_bytes()), false));
        };
        let theirs = || {
            let _ = black_box(codec.decode(black_box(line.as_bytes())));
        };
        row(line, best(CALLS / 4, ours), best(CALLS / 4, theirs), ours);
    }
}

/// A message of 25 MB with lines of usual length, every hundredth stuffed.
fn stuffed_message() -> Vec<u8> {
    let mut message = Vec::with_capacity(25_000_000);
    for n in 0.. {
        if message.len() > 24_999_000 {
            break;
        }
        if n % 100 == 0 {
            message.extend_from_slice(b"..a line that began with a dot\r\n");
        }
        message
            .extend_from_slice(b"A line of text as messages have them, about seventy characters long.\r\n");
    }
    message.extend_from_slice(b".\r\n");
    message
}

fn unstuff(message: &[u8]) -> usize {
    let mut unstuff = Unstuff::new();
    let (mut at, mut octets) = (0, 0);
    // As a receive buffer hands it over.
    while let Some(end) = (at < message.len()).then(|| message.len().min(at + 256 * 1024)) {
        match unstuff.scan(&message[at..end]) {
            Scan::Text { skip, len } => {
                at += skip + len;
                octets += len;
            }
            _ => break,
        }
    }
    octets
}

fn stuffing() {
    println!("\nUnstuffing of 25 MB: GB/s\n");
    println!("| | GB/s | allocations |");
    println!("|---|---|---|");
    let message = stuffed_message();
    let gbps = |time: Duration| message.len() as f64 / time.as_nanos() as f64;
    let ours = || {
        black_box(unstuff(black_box(&message)));
    };
    let theirs = || {
        let mut receiver = DataReceiver::new();
        let mut out = Vec::with_capacity(message.len());
        black_box(receiver.ingest(&mut black_box(&message).iter(), &mut out));
        black_box(out.len());
    };
    println!("| inbox (borrowed slices) | {:.2} | {} |", gbps(best(4, ours)), counting::allocations(ours));
    println!(
        "| smtp-proto (copies into a vector) | {:.2} | {} |",
        gbps(best(4, theirs)),
        counting::allocations(theirs)
    );
}

fn main() {
    if cfg!(debug_assertions) {
        eprintln!("warning: without --release these figures mean nothing");
    }
    smtp();
    imap();
    stuffing();
}
