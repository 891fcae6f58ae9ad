//! What scanning holds at most, counted by the allocator. One test, so that nothing else allocates meanwhile.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use protocol_core::message::Scanner;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged; only sizes are counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        // SAFETY: as promised by our own caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as promised by our own caller.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Scans a message that `piece` makes, `times` over, between `top` and nothing; octets held at most.
fn peak(top: &str, piece: &str, times: usize) -> usize {
    let chunk = piece.repeat(64 * 1024 / piece.len());
    let chunks = times * piece.len() / chunk.len();
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    let mut scanner = Scanner::new().with_own_host("mx.example.test");
    scanner.feed(top.as_bytes());
    for _ in 0..chunks {
        scanner.feed(chunk.as_bytes());
    }
    let structure = scanner.finish();
    assert!(structure.size as usize >= chunks * chunk.len());
    drop(structure.encode());
    PEAK.load(Relaxed) - before
}

#[test]
fn si35_scanning_holds_little_whatever_arrives() {
    const MIB: usize = 1 << 20;
    let multipart = "Content-Type: multipart/mixed; boundary=x\r\n\r\n";
    for (name, held_max, held) in [
        ("a million addresses", 3 * MIB, peak("To: ", "a@b, ", 1_000_000)),
        ("half a million To lines", 3 * MIB, peak("", "To: a@b\r\n", 500_000)),
        ("one long field", 3 * MIB, peak("X: ", "xxxxxxxx", 6_000_000)),
        ("a long From", 3 * MIB, peak("From: ", "a@b(c),", 70_000)),
        ("parameters", 3 * MIB, peak("Content-Type: a/b", "; a=b", 100_000)),
        ("one line of 50 MiB", MIB / 4, peak("\r\n", "-x", 25 * MIB)),
        ("50 MiB of text", MIB / 4, peak("\r\n", "some text\r\n", 50 * MIB / 11)),
        ("parts", 3 * MIB, peak(multipart, "--x\r\n\r\n\r\n", 1_000_000)),
        (
            "long fields of many parts",
            6 * MIB,
            peak(multipart, "--x\r\nContent-ID: <0123456789>\r\n\r\n", 400_000),
        ),
        ("messages in messages", 3 * MIB, peak("", "Content-Type: message/rfc822\r\n\r\n", 400_000)),
    ] {
        assert!(held <= held_max, "{name}: {held} octets held");
    }
}
