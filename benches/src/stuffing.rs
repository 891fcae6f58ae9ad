//! Unstuffing beside `smtp-proto` and beside what no unstuffing goes below: one look at each octet for the
//! octets that matter, and for those who copy, one copy.

use std::hint::black_box;

use protocol_smtp::stuffing::{Scan, Unstuff};
use smtp_proto::request::receiver::DataReceiver;

use crate::counting;
use crate::rounds::{Plan, best_of_many};

const PLAN: Plan = Plan { rounds: 40, calls: 1 };

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

/// The rows of unstuffing.
pub fn rows() {
    let message = stuffed_message();
    // Room for those who copy, used again and again, so that no new pages count against them.
    let mut room = vec![0; message.len()];
    let mut out = Vec::with_capacity(message.len());
    let mut call = |side: usize| match side {
        0 => {
            black_box(unstuff(black_box(&message)));
        }
        1 => {
            let mut receiver = DataReceiver::new();
            out.clear();
            black_box(receiver.ingest(&mut black_box(&message).iter(), &mut out));
            black_box(out.len());
        }
        2 => {
            black_box(memchr::memchr_iter(b'\r', black_box(&message)).count());
        }
        3 => {
            black_box(black_box(&message).iter().fold(0_u8, |all, &b| all | b));
        }
        _ => {
            room.copy_from_slice(black_box(&message));
            black_box(&room);
        }
    };
    let allocations = [counting::allocations(|| call(0)), counting::allocations(|| call(1))];
    let rates = best_of_many::<5>(PLAN, &mut call).map(|best| best.rate(message.len()));
    let [ours, theirs, lines, look, copy] = rates;
    println!("| unstuffing of 25 MB, slices | {ours:.1} | {} |", allocations[0]);
    println!("| the same by `smtp-proto`, which copies | {theirs:.1} | {} |", allocations[1]);
    println!("| `memchr` from CR to CR | {lines:.1} | |");
    println!("| one look at each octet | {look:.1} | |");
    println!("| one copy | {copy:.1} | |");
    println!("\nUnstuffing: {:.1} times `smtp-proto`.", ours / theirs);
}
