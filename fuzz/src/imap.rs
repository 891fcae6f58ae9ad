//! The codec of IMAP.

use protocol_core::{RecvBuf, SendBuf};
use protocol_imap::codec::frame::{Frame, Framer, Limits, Refused, ResponseFrame, ResponseFramer};
use protocol_imap::codec::response::FetchPiece;
use protocol_imap::codec::{Command, Emit, LiteralMode, Response};

use crate::input::{Cut, Input};

/// A command that reads is written so that it reads the same, in every form of literal.
pub fn imap_command(data: &[u8]) {
    for utf8 in [false, true] {
        let Ok(command) = Command::parse(data, utf8) else { continue };
        for mode in [LiteralMode::Plus, LiteralMode::Minus, LiteralMode::Synchronising] {
            let wire = written(&command, mode, utf8);
            let again = Command::parse(&wire, utf8);
            assert_eq!(again, Ok(command), "{}", wire.escape_ascii());
        }
    }
}

/// All parts of a command in a row.
fn written(command: &Command<'_>, mode: LiteralMode, utf8: bool) -> Vec<u8> {
    let mut out = SendBuf::with_high_water(1 << 20);
    for part in 0.. {
        let mut e = Emit::client(&mut out, mode, utf8, part);
        command.write(&mut e);
        if !e.is_cut() {
            break;
        }
    }
    out.bytes().to_vec()
}

/// What a client reads it can write, and reads the same again. The first writing may differ: odd spellings of
/// other servers are read, extension data that is unknown is left out.
pub fn imap_response(data: &[u8]) {
    let write = |response: &Response<'_>| {
        let mut out = SendBuf::with_high_water(1 << 20);
        response.write(&mut Emit::server(&mut out, true));
        out.bytes().to_vec()
    };
    let _ = FetchPiece::parse_first(data).map(|piece| piece.attrs.iter().count());
    let _ = FetchPiece::parse_next(data).map(|piece| piece.attrs.iter().count());
    let Ok(first) = Response::parse(data) else { return };
    let wire = write(&first);
    let second = match Response::parse(&wire) {
        Ok(second) => second,
        Err(fault) => panic!("{fault}: {}", wire.escape_ascii()),
    };
    assert_eq!(write(&second), wire, "{first:?}");
    assert_eq!(Response::parse(&wire), Ok(second));
}

/// Small, so that inputs reach them.
const LIMITS: Limits = Limits { line: 64, literal: 48, non_sync_literal: 16, command: 128, drain: 512 };

/// The frames of a stream are the same however it arrives, for servers and for clients.
pub fn imap_framing(data: &[u8]) {
    let input = Input::new(data);
    let [whole, octets, pieces] = Cut::all(input.seed).map(|cut| frames(&input, cut));
    assert_eq!(whole, octets);
    assert_eq!(whole, pieces);
    let [whole, octets, pieces] = Cut::all(input.seed).map(|cut| responses(&input, cut));
    assert_eq!(whole, octets);
    assert_eq!(whole, pieces);
}

fn add(seen: &mut Vec<String>, chunk: &[u8]) {
    let chunk = chunk.escape_ascii().to_string();
    match seen.last_mut() {
        Some(last) if last.starts_with("octets ") => last.push_str(&chunk),
        _ => seen.push(format!("octets {chunk}")),
    }
}

fn frames(input: &Input<'_>, cut: Cut) -> Vec<String> {
    let mut framer = Framer::new(LIMITS);
    let mut buffer = RecvBuf::with_limit(4096);
    let (mut seen, mut questions) = (Vec::new(), 0);
    for mut piece in cut.pieces(input.octets) {
        while !piece.is_empty() {
            piece = &piece[buffer.feed(piece)..];
            loop {
                match framer.poll(&mut buffer) {
                    Frame::NeedInput => break,
                    Frame::Whole { len } => {
                        let bytes = buffer.take(len);
                        assert!(len <= LIMITS.command && bytes.ends_with(b"\r\n"));
                        seen.push(format!("whole {}", bytes.escape_ascii()));
                    }
                    Frame::Message { len, literal } => {
                        let bytes = buffer.take(len);
                        seen.push(format!("message {literal:?} behind {}", bytes.escape_ascii()));
                        questions += 1;
                        match input.answer(questions) % 4 {
                            0 | 2 => framer.accept(),
                            1 => match framer.refuse() {
                                Refused::Close => return seen,
                                refused => seen.push(format!("{refused:?}")),
                            },
                            _ => {}
                        }
                    }
                    Frame::Chunk { len } => add(&mut seen, buffer.take(len)),
                    frame @ Frame::Bad(bad) => {
                        seen.push(format!("{frame:?}"));
                        if bad.fatal {
                            return seen;
                        }
                    }
                    frame @ (Frame::Continue(_) | Frame::Drained) => seen.push(format!("{frame:?}")),
                }
            }
        }
    }
    seen
}

fn responses(input: &Input<'_>, cut: Cut) -> Vec<String> {
    let mut framer = ResponseFramer::new(16, 256);
    let mut buffer = RecvBuf::with_limit(4096);
    let mut seen = Vec::new();
    for mut piece in cut.pieces(input.octets) {
        while !piece.is_empty() {
            piece = &piece[buffer.feed(piece)..];
            loop {
                match framer.poll(&mut buffer) {
                    ResponseFrame::NeedInput => break,
                    ResponseFrame::Whole { len } => {
                        seen.push(format!("whole {}", buffer.take(len).escape_ascii()));
                    }
                    ResponseFrame::Stream { len, octets } => {
                        seen.push(format!("{octets} behind {}", buffer.take(len).escape_ascii()));
                    }
                    ResponseFrame::Chunk { len } => add(&mut seen, buffer.take(len)),
                    ResponseFrame::TooLong => {
                        seen.push("too long".into());
                        return seen;
                    }
                }
            }
        }
    }
    seen
}
