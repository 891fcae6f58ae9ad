//! Every limit on a message, at it and one past it, and what hostile messages cost.

mod support;

use std::time::{Duration, Instant};

use protocol_core::message::limits::*;
use protocol_core::message::{Flags, Kind, Scanner, Structure};
use support::{check_invariants, crlf, scan};

fn multiparts(depth: usize) -> Vec<u8> {
    let mut text = String::new();
    for level in 0..depth {
        text += &format!("Content-Type: multipart/mixed; boundary=b{level}_\n\n--b{level}_\n");
    }
    text += "\nleaf\n";
    crlf(&text)
}

#[test]
fn depth() {
    for (depth, deep) in [(DEPTH_MAX, false), (DEPTH_MAX + 1, true)] {
        let message = multiparts(depth);
        let structure = scan(&message);
        assert_eq!(structure.flags.has(Flags::TOO_DEEP), deep);
        assert_eq!(structure.parts().len(), DEPTH_MAX + 1);
        let last = structure.parts().last().unwrap();
        assert_eq!(last.kind, Kind::Leaf);
        assert_eq!(last.media_type, if deep { "application" } else { "text" });
        check_invariants(&message, &structure);
    }
    let message = crlf(&"Content-Type: message/rfc822\n\n".repeat(DEPTH_MAX + 1));
    let structure = scan(&message);
    assert!(structure.flags.has(Flags::TOO_DEEP));
    assert_eq!(structure.parts().len(), DEPTH_MAX + 1);
    check_invariants(&message, &structure);
}

#[test]
fn parts() {
    for (children, many) in [(PARTS_MAX - 2, false), (PARTS_MAX - 1, true), (PARTS_MAX + 5, true)] {
        let mut text = String::from("Content-Type: multipart/mixed; boundary=x\n\n");
        for child in 0..children {
            text += &format!("--x\n\n{child}\n");
        }
        text += "--x--\n";
        let message = crlf(&text);
        let structure = scan(&message);
        assert_eq!(structure.flags.has(Flags::TOO_MANY_PARTS), many, "{children}");
        assert_eq!(structure.parts().len(), (children + 1).min(PARTS_MAX));
        let last = structure.parts().last().unwrap();
        assert_eq!(last.media_type, if many { "application" } else { "text" });
        assert_eq!(last.body_end == structure.size, many, "the last part takes the rest");
        check_invariants(&message, &structure);
    }
}

#[test]
fn parts_that_are_messages_count_twice() {
    let mut text = String::from("Content-Type: multipart/digest; boundary=x\n\n");
    for child in 0..PARTS_MAX {
        text += &format!("--x\n\nSubject: {child}\n\nbody\n");
    }
    let message = crlf(&text);
    let structure = scan(&message);
    assert!(structure.flags.has(Flags::TOO_MANY_PARTS));
    assert_eq!(structure.parts().len(), PARTS_MAX);
    check_invariants(&message, &structure);
    // Here a message part is the very last one and has no room for the message inside.
    let mut text = String::from("Content-Type: multipart/mixed; boundary=x\n\n");
    text += &"--x\n\nbody\n".repeat(PARTS_MAX - 3);
    text +=
        "--x\nContent-Type: message/rfc822\n\nContent-Type: message/rfc822\n\nSubject: x\n\nbody\n--x--\n";
    let message = crlf(&text);
    let structure = scan(&message);
    assert!(structure.flags.has(Flags::TOO_MANY_PARTS));
    assert_eq!(structure.parts().len(), PARTS_MAX);
    assert_eq!(structure.parts()[PARTS_MAX - 1].kind, Kind::Leaf);
    check_invariants(&message, &structure);
}

#[test]
fn header_fields() {
    for (fields, large) in [(HEADER_FIELDS_MAX, false), (HEADER_FIELDS_MAX + 1, true)] {
        let mut text = "X: y\n".repeat(fields - 1);
        text += "Subject: last\n\nbody\n";
        let message = crlf(&text);
        let structure = scan(&message);
        assert_eq!(structure.flags.has(Flags::HEADER_TOO_LARGE), large);
        assert_eq!(structure.envelope().subject.is_none(), large);
        assert_eq!(structure.root().size(), 6, "the body is found all the same");
    }
}

#[test]
fn header_octets() {
    for (octets, large) in [(HEADER_OCTETS_MAX, false), (HEADER_OCTETS_MAX + 1, true)] {
        let mut message = b"X: ".to_vec();
        message.resize(octets - 2, b'y');
        message.extend_from_slice(b"\r\n\r\nbody\r\n");
        for size in [1, 7, message.len()] {
            let structure = support::scan_by(&message, size);
            assert_eq!(structure.flags.has(Flags::HEADER_TOO_LARGE), large);
            assert_eq!(structure.root().body_start, octets as u64 + 2);
        }
    }
}

#[test]
fn the_header_limit_shows_while_the_message_arrives() {
    let mut scanner = Scanner::new();
    scanner.feed(&vec![b'x'; HEADER_OCTETS_MAX]);
    assert!(!scanner.flags().has(Flags::HEADER_TOO_LARGE));
    scanner.feed(b"x");
    assert!(scanner.flags().has(Flags::HEADER_TOO_LARGE));
    assert_eq!(scanner.header_len(), None);
    let mut scanner = Scanner::new();
    scanner.feed(b"A: b\r\n\r");
    assert_eq!(scanner.header_len(), None);
    scanner.feed(b"\nbody");
    assert_eq!(scanner.header_len(), Some(8));
}

#[test]
fn envelope_fields_are_cut_at_a_comma() {
    for (octets, cut) in [(ENVELOPE_FIELD_MAX, false), (ENVELOPE_FIELD_MAX + 1, true)] {
        let mut to = "a@b,".repeat(octets / 4 - 1);
        to += "c@";
        to += &"d".repeat(octets - to.len());
        let structure = scan(&crlf(&format!("To: {to}\n\n")));
        assert_eq!(structure.flags.has(Flags::CUT), cut);
        let kept = structure.envelope().to.clone().unwrap();
        assert!(kept.len() <= ENVELOPE_FIELD_MAX);
        assert!(kept.ends_with(if cut { b"@b" } else { b"dd" }));
    }
    let subject = "s".repeat(ENVELOPE_FIELD_MAX + 1);
    let structure = scan(&crlf(&format!("Subject: {subject}\n\n")));
    assert_eq!(structure.envelope().subject.as_ref().map(Vec::len), Some(ENVELOPE_FIELD_MAX));
    let structure = scan(&crlf(&format!("References: {}<end@x>\n\n", "<a@b> ".repeat(REFERENCES_MAX))));
    let references = structure.references.unwrap();
    assert_eq!(references.len(), REFERENCES_MAX);
    assert!(references.ends_with(b"<end@x>"));
}

#[test]
fn parameters() {
    for (count, fine) in [(PARAMS_MAX, true), (PARAMS_MAX + 1, false)] {
        let params: String = (0..count).map(|n| format!("; p{n}=v")).collect();
        let structure = scan(&crlf(&format!("Content-Type: a/b{params}\n\n")));
        assert_eq!(structure.root().params.len(), count.min(PARAMS_MAX));
        assert_eq!(structure.flags.has(Flags::MALFORMED_CONTENT), !fine);
    }
    for (count, fine) in [(PARAM_PIECES_MAX, true), (PARAM_PIECES_MAX + 1, false)] {
        let params: String = (0..count).map(|n| format!("; p*{n}=v")).collect();
        let structure = scan(&crlf(&format!("Content-Type: a/b{params}\n\n")));
        assert_eq!(structure.root().params[0].value.len(), PARAM_PIECES_MAX);
        assert_eq!(structure.flags.has(Flags::MALFORMED_CONTENT), !fine);
    }
    for (len, fine) in [(PARAM_VALUE_MAX, true), (PARAM_VALUE_MAX + 1, false)] {
        let structure = scan(&crlf(&format!("Content-Type: a/b; p={}\n\n", "v".repeat(len))));
        assert_eq!(structure.root().params[0].value.len(), PARAM_VALUE_MAX);
        assert_eq!(structure.flags.has(Flags::MALFORMED_CONTENT), !fine);
    }
    for (len, fine) in [(BOUNDARY_MAX, true), (BOUNDARY_MAX + 1, false)] {
        let boundary = "b".repeat(len);
        let text = format!(
            "Content-Type: multipart/mixed; boundary={boundary}\n\n--{boundary}\n\nx\n--{boundary}--\n"
        );
        assert_eq!(scan(&crlf(&text)).flags.has(Flags::NO_PARTS), !fine);
    }
    let tags = "de,".repeat(LANGUAGES_MAX + 1);
    assert_eq!(scan(&crlf(&format!("Content-Language: {tags}\n\n"))).root().language.len(), LANGUAGES_MAX);
}

#[test]
fn all_text_together_is_bounded() {
    let description = "d".repeat(ENVELOPE_FIELD_MAX);
    let mut text = String::from("Content-Type: multipart/mixed; boundary=x\n\n");
    for _ in 0..TEXT_MAX / ENVELOPE_FIELD_MAX + 2 {
        text += &format!("--x\nContent-Description: {description}\n\nbody\n");
    }
    let message = crlf(&text);
    let structure = scan(&message);
    let kept: usize = structure.parts().iter().filter_map(|p| p.description.as_ref()).map(Vec::len).sum();
    assert!(kept <= TEXT_MAX && kept > TEXT_MAX / 2);
    assert!(structure.flags.has(Flags::CUT));
    check_invariants(&message, &structure);
}

/// Far more than any machine that runs tests needs, far less than anything quadratic takes.
const SECONDS_MAX: u64 = 5;

#[expect(
    clippy::disallowed_methods,
    reason = "a test measures what parsing costs; no machine asks for the time"
)]
fn hostile(name: &str, message: &[u8]) -> Structure {
    let begun = Instant::now();
    let structure = scan(message);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(SECONDS_MAX), "{name} took {took:?}");
    check_invariants(message, &structure);
    structure
}

#[test]
fn si35_messages_made_to_be_expensive() {
    let to_lines = hostile("500,000 To lines", &crlf(&"To: a@b\n".repeat(500_000)));
    assert!(to_lines.flags.has(Flags::HEADER_TOO_LARGE));
    let addresses = hostile("1,000,000 addresses", &crlf(&format!("To: {}\n\n", "a@b,".repeat(1_000_000))));
    assert!(addresses.flags.has(Flags::HEADER_TOO_LARGE));
    let from = hostile("addresses in From", &crlf(&format!("From: {}\n\n", "a@b,".repeat(130_000))));
    assert_eq!(from.from.valid, 130_000);
    let opened = hostile("open comments in From", &crlf(&format!("From: {}\n\n", "a@b((((,".repeat(65_000))));
    assert_eq!(opened.from.valid, 0);
    hostile("angle brackets in From", &crlf(&format!("From: {}\n\n", "<".repeat(500_000))));
    hostile("quotes in From", &crlf(&format!("From: {}\n\n", "\"\\\",".repeat(130_000))));
    hostile("dots in From", &crlf(&format!("From: {}\n\n", ". ".repeat(260_000))));
    hostile("domains in From", &crlf(&format!("From: a@{}\n\n", "b. ".repeat(170_000))));
    hostile("routes in From", &crlf(&format!("From: <{}\n\n", "@b,".repeat(170_000))));
    hostile("words in From", &crlf(&format!("From: {}\n\n", "a ".repeat(260_000))));
    let params: String = (0..100_000).map(|n| format!("; p*{n}=v")).collect();
    hostile("100,000 parameters", &crlf(&format!("Content-Type: a/b{params}\n\n")));
    hostile("comments in parameters", &crlf(&format!("Content-Type: a/b; {}\n\n", "(a;".repeat(170_000))));
    let mut one_field = b"X: ".to_vec();
    one_field.resize(50 << 20, b'x');
    hostile("one field of 50 MiB", &one_field);
    let mut near_misses = multiparts(DEPTH_MAX);
    near_misses.extend(crlf(&"--b9_x\n".repeat(1_000_000)));
    hostile("a hundred multiparts and a million near misses", &near_misses);
}
