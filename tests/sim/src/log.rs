//! What happened, line by line: hashed always, shown when asked for, its end kept for a report.

use std::collections::VecDeque;
use std::fmt::{Arguments, Write};

/// Lines that a report of a failure shows.
const TAIL: usize = 60;

/// See the module.
#[derive(Default)]
pub struct Log {
    hash: u64,
    lines: u64,
    tail: VecDeque<String>,
    echo: bool,
}

impl Log {
    /// An empty log; with `echo` its lines are printed too.
    pub fn new(echo: bool) -> Log {
        Log { echo, ..Log::default() }
    }

    /// Adds a line at a moment of true time.
    pub fn note(&mut self, now: u64, what: Arguments<'_>) {
        let mut line = match self.tail.len() {
            TAIL => self.tail.pop_front().unwrap_or_default(),
            _ => String::new(),
        };
        line.clear();
        let _ = write!(line, "{:>9}.{:06} {what}", now / 1_000_000_000, now / 1_000 % 1_000_000);
        for chunk in line.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.hash = (self.hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.hash ^= self.hash >> 29;
        }
        self.lines += 1;
        if self.echo {
            println!("{line}");
        }
        self.tail.push_back(line);
    }

    /// A hash over all lines.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many lines there were.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The last lines.
    pub fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }
}
