//! The codecs beside two other libraries, in one run on one machine: `cargo run --release -p benches`.
//!
//! What is printed is the table of docs/BENCHMARKS.md. Allocations are counted by this binary's own allocator.
//! With `calls ROW inbox|other N` it does nothing but N calls, for `valgrind --tool=callgrind`.
#![allow(clippy::disallowed_methods)] // measuring time is what this is for

mod commands;
mod counting;
mod rounds;
mod stuffing;

use commands::Asked;

fn main() {
    if cfg!(debug_assertions) {
        eprintln!("warning: without --release these figures mean nothing");
    }
    let asked = Asked::from_args();
    if matches!(asked, Asked::Table) {
        println!("| command, ns | Inbox | other | ratio | allocations |");
        println!("|---|---|---|---|---|");
    }
    commands::smtp(&asked);
    commands::imap(&asked);
    if matches!(asked, Asked::Table) {
        println!("\n| GB/s | | allocations |");
        println!("|---|---|---|");
        stuffing::rows();
    }
}
