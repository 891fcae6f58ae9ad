//! The structure of messages.

use protocol_core::SendBuf;
use protocol_core::message::{Envelope, Kind, Scanner, Structure};
use protocol_imap::codec::{FetchWriter, Response};

use crate::input::Cut;

/// A message has one structure, however it arrives; it is stored and shown to clients without loss.
pub fn message_structure(data: &[u8]) {
    let (seed, message) = data.split_first().map_or((0, data), |(seed, message)| (*seed, message));
    let [whole, octets, pieces] = Cut::all(seed).map(|cut| scan(message, cut));
    assert_eq!(whole, octets);
    assert_eq!(whole, pieces);
    assert_eq!(whole.size, message.len() as u64);
    assert_eq!(Structure::decode(&whole.encode()).expect("what was encoded decodes"), whole);
    let _ = Structure::decode(message).map(|structure| show(&structure));
    check_parts(&whole);
    show(&whole);
}

fn scan(message: &[u8], cut: Cut) -> Structure {
    let mut scanner = Scanner::new();
    cut.pieces(message).into_iter().for_each(|piece| scanner.feed(piece));
    scanner.finish()
}

fn check_parts(structure: &Structure) {
    for (index, part) in structure.parts().iter().enumerate() {
        assert!(part.header_start <= part.body_start && part.body_start <= part.body_end, "{part:?}");
        assert!(part.body_end <= structure.size, "{part:?}");
        let children = structure.children(index).count();
        match part.kind {
            Kind::Leaf => assert_eq!(children, 0),
            Kind::Multipart => assert!(children > 0),
            Kind::Message => assert_eq!(children, 1),
        }
        let named = structure.section(&structure.path(index)).expect("a part's path names a part");
        let inner_multipart = part.kind == Kind::Multipart
            && part.parent.is_some_and(|p| structure.parts()[p as usize].kind == Kind::Message);
        assert!(named == index || inner_multipart, "{index} is {named}");
        let _ = (part.file_name(), part.charset(), part.is_attachment());
    }
}

/// The client's parser reads every structure that the server writes.
fn show(structure: &Structure) {
    for utf8 in [false, true] {
        let mut out = SendBuf::with_high_water(1 << 20);
        let mut row = FetchWriter::begin(1, utf8, &mut out);
        row.envelope(structure.envelope(), &mut out);
        row.structure(structure, false, &mut out);
        row.structure(structure, true, &mut out);
        row.end(&mut out);
        // NUL in a header stands in a literal, where RFC 9051 has no place for it; such mail is refused.
        if !out.bytes().contains(&0)
            && let Err(fault) = Response::parse(out.bytes())
        {
            panic!("{fault}: {}", out.bytes().escape_ascii());
        }
    }
    let _ = Envelope::list(&structure.envelope().to).count();
}
