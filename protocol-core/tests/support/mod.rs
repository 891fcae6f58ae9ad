//! Shared by the tests of messages.
#![allow(dead_code)]

use std::fmt::Write as _;

use protocol_core::message::{Kind, Scanner, Structure};

/// Scans a message in one piece.
pub fn scan(message: &[u8]) -> Structure {
    scan_by(message, message.len().max(1))
}

/// Scans a message in pieces of `size` octets.
pub fn scan_by(message: &[u8], size: usize) -> Structure {
    let mut scanner = Scanner::new().with_own_host("mx.example.test");
    for chunk in message.chunks(size) {
        scanner.feed(chunk);
    }
    scanner.finish()
}

/// Line ends of a table's text made CRLF.
pub fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

/// The tree with its bodies: `multipart/mixed[text/plain "a", text/html "b"]`, `message/rfc822{...}`.
pub fn tree(message: &[u8], structure: &Structure) -> String {
    let mut out = String::new();
    write_part(message, structure, 0, &mut out);
    out
}

fn write_part(message: &[u8], structure: &Structure, index: usize, out: &mut String) {
    let part = &structure.parts()[index];
    write!(out, "{}/{}", part.media_type, part.media_subtype).unwrap();
    let (open, close) = match part.kind {
        Kind::Leaf => {
            let body = &message[part.body_start as usize..part.body_end as usize];
            write!(out, " {:?}", String::from_utf8_lossy(body)).unwrap();
            return;
        }
        Kind::Multipart => ('[', ']'),
        Kind::Message => ('{', '}'),
    };
    out.push(open);
    for (nth, child) in structure.children(index).enumerate() {
        if nth > 0 {
            out.push_str(", ");
        }
        write_part(message, structure, child, out);
    }
    out.push(close);
}

/// What must hold for every structure of every message.
pub fn check_invariants(message: &[u8], structure: &Structure) {
    assert_eq!(structure.size, message.len() as u64);
    let mut leaf_end = 0;
    for (index, part) in structure.parts().iter().enumerate() {
        assert!(part.header_start <= part.body_start && part.body_start <= part.body_end);
        assert!(part.body_end <= structure.size);
        if part.kind == Kind::Leaf {
            assert!(part.header_start >= leaf_end, "part {index} overlaps the one in front of it");
            leaf_end = part.body_end;
        }
        let body = &message[part.body_start as usize..part.body_end as usize];
        assert_eq!(part.lines, body.iter().filter(|b| **b == b'\n').count() as u64, "lines of part {index}");
        let path = structure.path(index);
        let is_inner_multipart = part.kind == Kind::Multipart
            && part.parent.is_some_and(|p| structure.parts()[p as usize].kind == Kind::Message);
        if !is_inner_multipart {
            assert_eq!(structure.section(&path), Some(index), "section {path:?}");
        }
    }
    let bytes = structure.encode();
    assert!(bytes.len() <= protocol_core::message::limits::ENCODED_MAX);
    assert_eq!(Structure::decode(&bytes).as_ref(), Ok(structure));
}
