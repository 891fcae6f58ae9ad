//! Once the buffers have grown to their size, the server session allocates nothing: not for a
//! command, not for a refusal without a text of the driver's, not for the octets of a message.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use protocol_core::{Instant, RecvBuf, SendBuf};
use protocol_smtp::limits::RECV_BUF_MIN;
use protocol_smtp::server::{Refusal, ServerConfig, ServerSession, Service, Step};

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is handed to the system's allocator; the counter is a plain cell of this thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|c| c.set(c.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `System` with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = COUNT.try_with(|c| c.set(c.get() + 1));
        // SAFETY: `ptr` came from `System` with this layout.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Feeds `bytes`, answers everything well but recipients at `unknown.test`, and counts allocations in `poll`
/// and in the answers. Returns the count, and the octets handed out and said.
fn converse(
    session: &mut ServerSession,
    input: &mut RecvBuf,
    out: &mut SendBuf,
    bytes: &[u8],
) -> (usize, usize, usize) {
    let (mut rest, mut octets, mut said) = (bytes, 0, 0);
    let before = COUNT.with(Cell::get);
    loop {
        let n = input.feed(rest);
        rest = &rest[n..];
        loop {
            match session.poll(Instant(0), input, out) {
                Step::NeedInput => break,
                Step::Flush | Step::Discard => {}
                Step::Connect(q) => q.accept(session, out),
                Step::Sender(q) => q.accept(session, out),
                Step::Recipient(q) => {
                    let unknown = q.path().mailbox().is_some_and(|m| m.domain() == "unknown.test");
                    let ahead = q.upcoming().count();
                    assert!(ahead < 100);
                    if unknown {
                        q.refuse(&Refusal::UnknownRecipient, session, out);
                    } else {
                        q.accept(session, out);
                    }
                }
                Step::Begin(q) => q.accept(session, out),
                Step::Chunk(text) => octets += text.len(),
                Step::Finish(q) => q.accept("0q1", session, out),
                step => panic!("{step:?} {}", out.bytes().escape_ascii()),
            }
            said += out.len();
            out.advance(out.len());
        }
        said += out.len();
        out.advance(out.len());
        if rest.is_empty() {
            return (COUNT.with(Cell::get) - before, octets, said);
        }
    }
}

#[test]
fn nothing_is_allocated_once_the_buffers_have_grown() {
    let config = Arc::new(ServerConfig::new("mx.example.test", Service::Transfer));
    let mut session = ServerSession::new(config, None, Instant(0));
    let mut input = RecvBuf::with_limit(4 * RECV_BUF_MIN);
    let mut out = SendBuf::with_high_water(16 * 1024);
    let commands = b"EHLO client.example.test\r\nNOOP\r\nVRFY x\r\nBOGUS\r\nMAIL FROM:<a@ext.test> SIZE=1000 \
        BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=abc+2Bdef\r\nRCPT TO:<alice@example.test> NOTIFY=SUCCESS,FAILURE \
        ORCPT=rfc822;alice@example.test\r\nRCPT TO:<x@unknown.test>\r\nRCPT TO:<\xc3\xa9@example.test>\r\nDATA\r\n";
    let mut message = b"Received: from a by b; x\r\nFrom: a@ext.test\r\nSubject: x\r\n\r\n".to_vec();
    for line in 0..2_000 {
        message.extend_from_slice(if line % 10 == 0 {
            b"..a line that begins with a dot\r\n"
        } else {
            b"a line of text, as it is\r\n"
        });
    }
    message.extend_from_slice(b".\r\n");
    let chunked = b"MAIL FROM:<a@ext.test>\r\nRCPT TO:<alice@example.test>\r\nBDAT 7\r\nX: y\r\n\rBDAT 1 LAST\r\n\nRSET\r\n";

    let round = |session: &mut ServerSession, input: &mut RecvBuf, out: &mut SendBuf| {
        let commands = converse(session, input, out, commands);
        let message = converse(session, input, out, &message);
        let chunked = converse(session, input, out, chunked);
        assert!(
            commands.2 > 300 && message.1 > 50_000 && chunked.1 == 8,
            "{commands:?} {message:?} {chunked:?}"
        );
        [commands.0, message.0, chunked.0]
    };
    converse(&mut session, &mut input, &mut out, b"");
    let first = round(&mut session, &mut input, &mut out);
    assert!(first.iter().sum::<usize>() > 0, "the buffers began empty, so the counter counts");
    // A receive buffer that was filled grows at the next read, up to its limit.
    for _ in 0..2 {
        round(&mut session, &mut input, &mut out);
    }
    for _ in 0..3 {
        assert_eq!(round(&mut session, &mut input, &mut out), [0, 0, 0]);
    }
}
