//! Framing: the same frames for every split, limits at and one past, messages streamed, bad commands read to
//! their end.

use protocol_core::RecvBuf;
use protocol_imap::codec::frame::*;

const BUFFER: usize = 256 * 1024;

/// What a driver sees, as text.
#[derive(Debug, PartialEq, Clone)]
enum Seen {
    Continue(u64),
    Whole(String),
    Message(String, u64),
    Octets(String),
    Bad(Option<String>, FrameFault, bool),
    Drained,
    Refused(Refused),
}

/// Drives a framer over `pieces`; every message is accepted or refused as `accept` says.
fn drive(limits: Limits, pieces: &[&[u8]], accept: bool) -> Vec<Seen> {
    let mut framer = Framer::new(limits);
    let mut input = RecvBuf::with_limit(BUFFER);
    let mut seen: Vec<Seen> = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for piece in pieces {
        let mut piece = *piece;
        while !piece.is_empty() {
            let fed = input.feed(piece);
            piece = &piece[fed..];
            loop {
                match framer.poll(&mut input) {
                    Frame::NeedInput => break,
                    Frame::Continue(literal) => seen.push(Seen::Continue(literal.octets)),
                    Frame::Whole { len } => seen.push(Seen::Whole(text(input.take(len)))),
                    Frame::Message { len, literal } => {
                        seen.push(Seen::Message(text(input.take(len)), literal.octets));
                        if accept {
                            framer.accept();
                        } else {
                            seen.push(Seen::Refused(framer.refuse()));
                        }
                    }
                    Frame::Chunk { len } => {
                        let chunk = text(input.take(len));
                        match seen.last_mut() {
                            Some(Seen::Octets(whole)) => whole.push_str(&chunk),
                            _ => seen.push(Seen::Octets(chunk)),
                        }
                    }
                    Frame::Bad(bad) => {
                        let tag = bad.tag.map(|tag| tag.as_str().to_owned());
                        seen.push(Seen::Bad(tag, bad.fault, bad.fatal));
                        if bad.fatal {
                            return seen;
                        }
                    }
                    Frame::Drained => seen.push(Seen::Drained),
                }
            }
        }
    }
    seen
}

/// The frames, which are the same for the whole, octet by octet and every two-way split.
fn frames(limits: Limits, bytes: &[u8], accept: bool) -> Vec<Seen> {
    let whole = drive(limits, &[bytes], accept);
    let octets: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(drive(limits, &octets, accept), whole, "octet by octet");
    for at in 1..bytes.len().min(300) {
        let (a, b) = bytes.split_at(at);
        assert_eq!(drive(limits, &[a, b], accept), whole, "split at {at}");
    }
    whole
}

fn whole(s: &str) -> Seen {
    Seen::Whole(s.into())
}

fn bad(tag: Option<&str>, fault: FrameFault) -> Seen {
    Seen::Bad(tag.map(Into::into), fault, false)
}

const AFTER: Limits = Limits::AFTER_LOGIN;
const BEFORE: Limits = Limits::BEFORE_LOGIN;

#[test]
fn lines_and_literals_make_commands() {
    let table: [(&[u8], Vec<Seen>); 9] = [
        (b"a NOOP\r\nb NOOP\r\n", vec![whole("a NOOP\r\n"), whole("b NOOP\r\n")]),
        (b"\r\na\r\n", vec![whole("\r\n"), whole("a\r\n")]),
        (
            b"a LOGIN {1}\r\nu {3+}\r\np\nw\r\nb NOOP\r\n",
            vec![Seen::Continue(1), whole("a LOGIN {1}\r\nu {3+}\r\np\nw\r\n"), whole("b NOOP\r\n")],
        ),
        (b"a X {0}\r\n\r\n", vec![Seen::Continue(0), whole("a X {0}\r\n\r\n")]),
        (b"a X {2+}\r\n\r\n\r\n", vec![whole("a X {2+}\r\n\r\n\r\n")]),
        (b"a X ~{1}\r\nz\r\n", vec![Seen::Continue(1), whole("a X ~{1}\r\nz\r\n")]),
        // Only CRLF ends a line.
        (b"a X\nb\rc\r\n", vec![whole("a X\nb\rc\r\n")]),
        // What announces no literal is a line like any other; the reader refuses it.
        (b"a X {-1}\r\nb {}\r\nc 5}\r\n", vec![whole("a X {-1}\r\n"), whole("b {}\r\n"), whole("c 5}\r\n")]),
        (b"a X {1}\r\n\r\r\n", vec![Seen::Continue(1), whole("a X {1}\r\n\r\r\n")]),
    ];
    for (bytes, seen) in table {
        assert_eq!(frames(AFTER, bytes, true), seen, "{}", bytes.escape_ascii());
    }
}

#[test]
fn an_accepted_message_is_streamed() {
    let bytes = b"a APPEND x (\\Seen) {5}\r\nab\r\nc\r\nb NOOP\r\n";
    let seen = vec![
        Seen::Message("a APPEND x (\\Seen) {5}\r\n".into(), 5),
        Seen::Octets("ab\r\nc".into()),
        whole("\r\n"),
        whole("b NOOP\r\n"),
    ];
    assert_eq!(frames(AFTER, bytes, true), seen);
    let named_by_a_literal = b"a APPEND {1}\r\nx {0+}\r\n\r\n";
    let seen = vec![Seen::Continue(1), Seen::Message("a APPEND {1}\r\nx {0+}\r\n".into(), 0), whole("\r\n")];
    assert_eq!(frames(AFTER, named_by_a_literal, true), seen);
    let several = b"a APPEND x {1}\r\nA (\\Seen) {1+}\r\nB\r\n";
    let seen = vec![
        Seen::Message("a APPEND x {1}\r\n".into(), 1),
        Seen::Octets("A".into()),
        Seen::Message(" (\\Seen) {1+}\r\n".into(), 1),
        Seen::Octets("B".into()),
        whole("\r\n"),
    ];
    assert_eq!(frames(AFTER, several, true), seen);
    let in_utf8 = b"a APPEND x UTF8 (~{1+}\r\nA)\r\n";
    let seen =
        vec![Seen::Message("a APPEND x UTF8 (~{1+}\r\n".into(), 1), Seen::Octets("A".into()), whole(")\r\n")];
    assert_eq!(frames(AFTER, in_utf8, true), seen);
}

#[test]
fn a_refused_message_is_drained_only_when_it_comes_anyway() {
    let waits = b"a APPEND x {5}\r\nb NOOP\r\n";
    let seen = vec![
        Seen::Message("a APPEND x {5}\r\n".into(), 5),
        Seen::Refused(Refused::Answer),
        whole("b NOOP\r\n"),
    ];
    assert_eq!(frames(AFTER, waits, false), seen);
    let comes = b"a APPEND x {5+}\r\n{9}\r\n (\\Seen) {3+}\r\nabc\r\nb NOOP\r\n";
    let seen = vec![
        Seen::Message("a APPEND x {5+}\r\n".into(), 5),
        Seen::Refused(Refused::Drain),
        Seen::Drained,
        whole("b NOOP\r\n"),
    ];
    assert_eq!(frames(AFTER, comes, false), seen);
    let drain = |octets: u64| {
        let bytes = format!("a APPEND x {{{octets}+}}\r\n");
        drive(AFTER, &[bytes.as_bytes()], false).pop()
    };
    assert_eq!(drain(AFTER.drain), Some(Seen::Refused(Refused::Drain)));
    assert_eq!(drain(AFTER.drain + 1), Some(Seen::Refused(Refused::Close)));
}

#[test]
fn a_bad_append_is_a_command_like_any_other() {
    // No message literal stands where the grammar has none.
    let bytes = b"a APPEND x FOO {1+}\r\nA\r\n";
    assert_eq!(frames(AFTER, bytes, true), vec![whole("a APPEND x FOO {1+}\r\nA\r\n")]);
    let bytes = b"a APPEND x FOO {5000+}\r\n";
    let rest = [b'z'; 5000];
    let seen = drive(AFTER, &[bytes, &rest, b"\r\nb NOOP\r\n"], true);
    assert_eq!(seen, vec![bad(Some("a"), FrameFault::NonSyncLiteralTooLarge), whole("b NOOP\r\n")]);
}

#[test]
fn im1_literals_before_login() {
    for line in ["a LOGIN {4294967295}\r\n", "a LOGIN {9223372036854775807}\r\n"] {
        let seen = frames(BEFORE, format!("{line}b NOOP\r\n").as_bytes(), true);
        assert_eq!(seen, vec![bad(Some("a"), FrameFault::LiteralTooLarge), whole("b NOOP\r\n")]);
    }
    // Not numbers of a literal: the reader refuses the line.
    for line in ["a LOGIN {99999999999999999999}\r\n", "a LOGIN {-1}\r\n"] {
        assert_eq!(frames(BEFORE, line.as_bytes(), true), vec![whole(line)]);
    }
    // Such literals come at once, so nothing behind them can be told from them.
    for line in ["a LOGIN {4294967295+}\r\n", "a LOGIN {99999999999999999999+}\r\n"] {
        let seen = frames(BEFORE, line.as_bytes(), true);
        assert_eq!(seen, vec![Seen::Bad(Some("a".into()), FrameFault::LiteralTooLarge, true)], "{line}");
    }
}

#[test]
fn im2_many_small_literals_end_at_the_command_limit() {
    for sign in ["", "+"] {
        let mut bytes = String::from("a LOGIN");
        for _ in 0..100_000 {
            bytes.push_str(" {1");
            bytes.push_str(sign);
            bytes.push_str("}\r\nx");
        }
        bytes.push_str("\r\n");
        for limits in [BEFORE, AFTER] {
            let seen = drive(limits, &[bytes.as_bytes()], true);
            let first_bad = seen.iter().find(|seen| matches!(seen, Seen::Bad(..))).cloned();
            let Some(Seen::Bad(Some(tag), FrameFault::CommandTooLong, _)) = first_bad else {
                panic!("{first_bad:?}");
            };
            assert_eq!(tag, "a");
            if sign == "+" && limits == AFTER {
                assert_eq!(seen, vec![bad(Some("a"), FrameFault::CommandTooLong)], "read to its end");
            }
        }
    }
}

#[test]
fn im2_a_literal_without_continuation_is_limited() {
    let command = |n: usize| format!("a SELECT {{{n}+}}\r\n{}\r\nb NOOP\r\n", "x".repeat(n));
    let at = drive(AFTER, &[command(4096).as_bytes()], true);
    assert_eq!(at.len(), 2);
    assert_eq!(at[1], whole("b NOOP\r\n"));
    let past = drive(AFTER, &[command(4097).as_bytes()], true);
    assert_eq!(past, vec![bad(Some("a"), FrameFault::NonSyncLiteralTooLarge), whole("b NOOP\r\n")]);
}

#[test]
fn lines_before_login_hold_12288_octets() {
    let line = |n: usize| format!("a {}\r\nb NOOP\r\n", "x".repeat(n - 2));
    let at = drive(BEFORE, &[line(12_288).as_bytes()], true);
    assert_eq!(at.len(), 2);
    let past = drive(BEFORE, &[line(12_289).as_bytes()], true);
    assert_eq!(past, vec![bad(Some("a"), FrameFault::LineTooLong), whole("b NOOP\r\n")]);
    let past = line(12_289);
    let octets: Vec<&[u8]> = past.as_bytes().chunks(1).collect();
    assert_eq!(drive(BEFORE, &octets, true)[0], bad(Some("a"), FrameFault::LineTooLong));
}

#[test]
fn literals_before_login_hold_1024_octets() {
    let command = |n: usize| format!("a LOGIN {{{n}}}\r\n");
    assert_eq!(drive(BEFORE, &[command(1024).as_bytes()], true), vec![Seen::Continue(1024)]);
    let past = drive(BEFORE, &[command(1025).as_bytes()], true);
    assert_eq!(past, vec![bad(Some("a"), FrameFault::LiteralTooLarge)]);
}

#[test]
fn a_command_holds_65536_octets() {
    // The line, its CRLF, a literal, and the last CRLF.
    let command =
        |n: usize| format!("a X {{60000}}\r\n{}{}\r\nb NOOP\r\n", "x".repeat(60_000), "y".repeat(n));
    let fits = AFTER.command - "a X {60000}\r\n".len() - 60_000 - 2;
    let at = drive(AFTER, &[command(fits).as_bytes()], true);
    assert!(matches!(&at[..], [Seen::Continue(60_000), Seen::Whole(c), Seen::Whole(_)] if c.len() == 65_536));
    let past = drive(AFTER, &[command(fits + 1).as_bytes()], true);
    assert_eq!(
        past,
        vec![Seen::Continue(60_000), bad(Some("a"), FrameFault::CommandTooLong), whole("b NOOP\r\n")]
    );
}

#[test]
fn an_endless_line_is_drained_only_so_far() {
    let line = vec![b'x'; BEFORE.drain as usize + 1000];
    let seen = drive(BEFORE, &[b"a ", &line], true);
    assert_eq!(seen, vec![Seen::Bad(Some("a".into()), FrameFault::LineTooLong, true)]);
}

#[test]
fn a_buffer_smaller_than_the_limits_does_not_stall() {
    let mut framer = Framer::new(AFTER);
    let mut input = RecvBuf::with_limit(2048);
    let mut bad = 0;
    for octets in [&b"a X {3000+}\r\n"[..], &[b'x'; 3000], b"\r\n"] {
        let mut rest = octets;
        while !rest.is_empty() {
            let fed = input.feed(rest);
            rest = &rest[fed..];
            match framer.poll(&mut input) {
                Frame::NeedInput => {}
                Frame::Bad(frame) => {
                    assert_eq!(frame.fault, FrameFault::CommandTooLong);
                    bad += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(bad, 1);
}

#[test]
fn a_plain_line_takes_no_literal() {
    let mut framer = Framer::new(BEFORE);
    let mut input = RecvBuf::with_limit(BUFFER);
    for octet in b"DONE {5}\r" {
        input.feed(&[*octet]);
        assert_eq!(framer.poll_line(&mut input), Frame::NeedInput);
    }
    input.feed(b"\na NOOP\r\n");
    assert_eq!(framer.poll_line(&mut input), Frame::Whole { len: 10 });
    input.consume(10);
    assert_eq!(framer.poll(&mut input), Frame::Whole { len: 8 });
}

fn responses(pieces: &[&[u8]]) -> Vec<String> {
    let mut framer = ResponseFramer::new(4, 64);
    let mut input = RecvBuf::with_limit(4096);
    let mut seen: Vec<String> = Vec::new();
    for piece in pieces {
        input.feed(piece);
        loop {
            match framer.poll(&mut input) {
                ResponseFrame::NeedInput => break,
                ResponseFrame::Whole { len } => {
                    seen.push(format!("whole {}", input.take(len).escape_ascii()));
                }
                ResponseFrame::Stream { len, octets } => {
                    seen.push(format!("stream {octets} {}", input.take(len).escape_ascii()));
                    seen.push("chunk ".into());
                }
                ResponseFrame::Chunk { len } => {
                    let chunk = input.take(len).escape_ascii().to_string();
                    seen.last_mut().unwrap().push_str(&chunk);
                }
                ResponseFrame::TooLong => {
                    seen.push("too long".into());
                    return seen;
                }
            }
        }
    }
    seen
}

#[test]
fn responses_hold_small_literals_and_stream_large_ones() {
    let bytes = b"* 1 FETCH (X {4}\r\nabcd Y {5}\r\nefghi)\r\n* OK\r\n";
    let seen = vec![
        "stream 5 * 1 FETCH (X {4}\\r\\nabcd Y {5}\\r\\n",
        "chunk efghi",
        "whole )\\r\\n",
        "whole * OK\\r\\n",
    ];
    assert_eq!(responses(&[bytes]), seen);
    for at in 1..bytes.len() {
        let (a, b) = bytes.split_at(at);
        assert_eq!(responses(&[a, b]), seen, "split at {at}");
    }
    let line = |n: usize| format!("* {}\r\n", "x".repeat(n - 4));
    assert_eq!(responses(&[line(64).as_bytes()]).len(), 1);
    assert_ne!(responses(&[line(64).as_bytes()]), ["too long"]);
    assert_eq!(responses(&[line(65).as_bytes()]), ["too long"]);
    // A streamed literal does not excuse a long line before it.
    let before = format!("* {} {{5}}\r\n", "x".repeat(57));
    assert_eq!(responses(&[before.as_bytes()]), ["too long"]);
    assert_ne!(responses(&[&before.as_bytes()[2..]]), ["too long"]);
}
