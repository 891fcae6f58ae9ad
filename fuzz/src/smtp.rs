//! The codec of SMTP.

use protocol_core::{RecvBuf, SendBuf};
use protocol_smtp::command::Command;
use protocol_smtp::params::Accepts;
use protocol_smtp::reply::ReplyParser;
use protocol_smtp::stuffing::{BareOctet, LineCheck, Scan, Stuff, Unstuff};

use crate::input::Cut;

/// A command that reads is written so that it reads the same.
pub fn smtp_command(data: &[u8]) {
    let Ok(command) = Command::parse(data, &Accepts::ALL) else { return };
    let mut out = SendBuf::with_high_water(1 << 16);
    command.write(&mut out);
    let line = out.bytes().strip_suffix(b"\r\n").expect("a command ends with CRLF");
    assert_eq!(Command::parse(line, &Accepts::ALL), Ok(command), "{}", line.escape_ascii());
}

/// The same replies and the same fault, however they arrive.
pub fn smtp_reply(data: &[u8]) {
    let (seed, octets) = data.split_first().map_or((0, data), |(seed, octets)| (*seed, octets));
    let [whole, single, pieces] = Cut::all(seed).map(|cut| replies(octets, cut));
    assert_eq!(whole, single);
    assert_eq!(whole, pieces);
}

fn replies(octets: &[u8], cut: Cut) -> Vec<String> {
    let mut parser = ReplyParser::new();
    let mut buffer = RecvBuf::with_limit(1 << 17);
    let mut seen = Vec::new();
    for mut piece in cut.pieces(octets) {
        while !piece.is_empty() {
            piece = &piece[buffer.feed(piece)..];
            loop {
                match parser.poll(&mut buffer) {
                    Ok(None) => break,
                    Ok(Some(reply)) => {
                        let shown = reply.to_string();
                        assert!(!shown.contains(['\r', '\n']));
                        let lines = reply.lines().count();
                        seen.push(format!("{} {lines} {:?} {shown}", reply.code(), reply.status()));
                    }
                    Err(fault) => {
                        seen.push(format!("{fault:?}"));
                        return seen;
                    }
                }
            }
        }
    }
    seen
}

/// Unstuffing agrees with a plain reading of RFC 5321 §4.5.2 for every cut, and undoes stuffing.
pub fn unstuffing(data: &[u8]) {
    let (seed, octets) = data.split_first().map_or((0, data), |(seed, octets)| (*seed, octets));
    let expected = reference(octets);
    for cut in Cut::all(seed) {
        let (message, end) = unstuffed(octets, cut);
        assert_eq!(end, expected.1, "{cut:?}");
        // How much is handed out of a message that is refused is nobody's business.
        let refused = matches!(end, End::Bare(_));
        assert!(if refused { expected.0.starts_with(&message) } else { expected.0 == message }, "{cut:?}");
    }
    // The octets as a message: what is stuffed in pieces comes out whole.
    let mut check = LineCheck::new();
    let ends = Cut::Pieces(seed).pieces(octets).into_iter().try_for_each(|piece| check.check(piece));
    if ends.and_then(|()| check.finish()).is_err() {
        return;
    }
    for cut in Cut::all(seed) {
        let mut stuff = Stuff::new();
        let mut wire = Vec::new();
        for piece in cut.pieces(octets) {
            stuff.encode(piece).for_each(|octets| wire.extend_from_slice(octets));
        }
        wire.extend_from_slice(stuff.finish());
        let mut message = octets.to_vec();
        if !message.is_empty() && !message.ends_with(b"\r\n") {
            message.extend_from_slice(b"\r\n");
        }
        assert_eq!(unstuffed(&wire, Cut::Whole), (message, End::Ended(wire.len())), "{cut:?}");
    }
}

#[derive(Debug, PartialEq)]
enum End {
    /// After so many octets of the wire.
    Ended(usize),
    Bare(BareOctet),
    /// The last octets cannot be judged.
    Open,
}

fn unstuffed(octets: &[u8], cut: Cut) -> (Vec<u8>, End) {
    let mut unstuff = Unstuff::new();
    let (mut message, mut held, mut consumed) = (Vec::new(), Vec::new(), 0);
    for piece in cut.pieces(octets) {
        held.extend_from_slice(piece);
        let mut at = 0;
        loop {
            match unstuff.scan(&held[at..]) {
                Scan::Text { skip, len } => {
                    assert!(skip <= 1 && len > 0);
                    message.extend_from_slice(&held[at + skip..at + skip + len]);
                    at += skip + len;
                }
                Scan::End { len } => return (message, End::Ended(consumed + at + len)),
                Scan::Bare(octet) => return (message, End::Bare(octet)),
                Scan::NeedInput => break,
            }
        }
        consumed += at;
        held.drain(..at);
        assert!(held.len() <= 2, "at most two octets cannot be judged");
    }
    (message, End::Open)
}

/// Octet by octet, with no care for speed.
fn reference(octets: &[u8]) -> (Vec<u8>, End) {
    let mut message = Vec::new();
    let (mut at, mut line_start) = (0, true);
    while at < octets.len() {
        let rest = &octets[at..];
        if line_start && rest[0] == b'.' {
            match rest {
                [b'.', b'\r', b'\n', ..] => return (message, End::Ended(at + 3)),
                [b'.'] | [b'.', b'\r'] => return (message, End::Open),
                _ => {
                    at += 1;
                    line_start = false;
                    continue;
                }
            }
        }
        match rest {
            [b'\r', b'\n', ..] => {
                message.extend_from_slice(b"\r\n");
                (at, line_start) = (at + 2, true);
            }
            [b'\r'] => return (message, End::Open),
            [b'\r', ..] => return (message, End::Bare(BareOctet::Cr)),
            [b'\n', ..] => return (message, End::Bare(BareOctet::Lf)),
            [0, ..] => return (message, End::Bare(BareOctet::Nul)),
            [octet, ..] => {
                message.push(*octet);
                (at, line_start) = (at + 1, false);
            }
            [] => {}
        }
    }
    (message, End::Open)
}
