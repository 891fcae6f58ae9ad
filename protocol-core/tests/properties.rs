//! What holds for every message, however it is cut.

mod support;

use proptest::prelude::*;
use protocol_core::address::Canonical;
use protocol_core::message::{AddressList, Scanner, Structure, binary, encoded_word, header, submission};
use protocol_core::message::{Encoding, Flags, date::DateTime};
use support::{check_invariants, scan};

/// Pieces that messages are made of, chosen so that random sequences make trees.
const PIECES: &[&str] = &[
    "Content-Type: multipart/mixed; boundary=a\r\n\r\n",
    "Content-Type: multipart/digest; boundary=\"ab\"\r\n\r\n",
    "Content-Type: message/rfc822\r\n\r\n",
    "Content-Type: text/html; charset=utf-8\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Transfer-Encoding: binary\r\n",
    "Content-Disposition: attachment; filename*0*=utf-8''%e2; filename*1=x\r\n",
    "From: A <a@b>, c@d\r\n",
    "Subject: x\r\n folded\r\n",
    "To: (c) \"q\"@[1.2.3.4], G:;\r\n",
    "--a\r\n",
    "--a--\r\n",
    "--ab\r\n",
    "--ab--\r\n",
    "--a--",
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "text\r\n",
    "--",
    ":",
    "\u{e4}",
];

fn message() -> impl Strategy<Value = Vec<u8>> {
    let pieces =
        prop::collection::vec(prop::sample::select(PIECES), 0..40).prop_map(|p| p.concat().into_bytes());
    prop_oneof![4 => pieces, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

fn scan_cut(message: &[u8], cuts: &[usize]) -> Structure {
    let mut cuts: Vec<usize> = cuts.iter().map(|c| c % (message.len() + 1)).collect();
    cuts.sort_unstable();
    let mut scanner = Scanner::new().with_own_host("mx.example.test");
    let mut from = 0;
    for cut in cuts {
        scanner.feed(&message[from..cut]);
        from = cut;
    }
    scanner.feed(&message[from..]);
    scanner.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_one_structure(message in message(), cuts in prop::collection::vec(any::<usize>(), 0..20)) {
        let whole = scan(&message);
        check_invariants(&message, &whole);
        prop_assert_eq!(scan_cut(&message, &cuts), whole);
    }

    #[test]
    fn damaged_structures_are_refused_or_hold_together(message in message(), at in any::<usize>(), bit in 0u8..8) {
        let mut bytes = scan(&message).encode();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(structure) = Structure::decode(&bytes) {
            for (index, part) in structure.parts().iter().enumerate() {
                prop_assert!(part.body_end <= structure.size);
                structure.path(index);
                prop_assert!(structure.children(index).count() <= structure.parts().len());
            }
        }
        prop_assert!(Structure::decode(&bytes[..at]).is_err());
    }

    #[test]
    fn a_prefix_moves_everything_but_the_top(message in message()) {
        let prefix = b"Received: from x\r\n by y; z\r\n";
        let mut shifted = scan(&message);
        // A first line that begins with white space would continue the prefix's last field.
        prop_assume!(!matches!(message.first(), Some(b' ' | b'\t')));
        shifted.shift(prefix.len() as u64);
        let rescanned = scan(&[&prefix[..], &message].concat());
        prop_assert_eq!(shifted.size, rescanned.size);
        for (a, b) in shifted.parts().iter().zip(rescanned.parts()) {
            prop_assert_eq!((a.header_start, a.body_start, a.body_end, a.end), (b.header_start, b.body_start, b.body_end, b.end));
            prop_assert_eq!(&a.encoding_fields, &b.encoding_fields);
        }
    }

    #[test]
    fn a_completed_submission_has_the_structure_that_was_predicted(message in message()) {
        prop_assume!(!matches!(message.first(), Some(b' ' | b'\t')));
        let mut predicted = scan(&message);
        let header = &message[..header::header_len(&message)];
        let edit = submission::complete(header, protocol_core::Timestamp(0), [5; 16], "example.test");
        predicted.apply(&edit);
        let mut edited = edit.prefix.clone();
        for piece in edit.kept(0, &message) {
            edited.extend_from_slice(piece);
        }
        let rescanned = scan(&edited);
        prop_assert_eq!(predicted.size, rescanned.size);
        prop_assert_eq!(predicted.envelope(), rescanned.envelope());
        for (a, b) in predicted.parts().iter().zip(rescanned.parts()) {
            prop_assert_eq!((a.header_start, a.body_start, a.body_end), (b.header_start, b.body_start, b.body_end));
        }
    }

    #[test]
    fn re_encoded_messages_are_clean(message in message(), size in 1usize..50) {
        let structure = scan(&message);
        let mut out = Vec::new();
        let mut reencoder = binary::Reencoder::new(&structure);
        for chunk in message.chunks(size) {
            reencoder.feed(chunk, &mut out);
        }
        reencoder.finish(&mut out);
        let again = scan(&out);
        // The very last line may lack its line end, as it did before; nothing else may be unclean.
        prop_assert!(!again.flags.has(Flags::UNCLEAN), "{:?}", String::from_utf8_lossy(&out));
        if !binary::is_needed(&structure) {
            prop_assert_eq!(out, message);
        }
    }

    #[test]
    fn nothing_panics(octets in prop::collection::vec(prop_oneof![
        3 => prop::sample::select(&b"<>()@,;:\\\".[] =?*'%\r\n\tab12"[..]), 1 => any::<u8>()], 0..120)) {
        let _ = AddressList::new(&octets).count();
        let _ = encoded_word::decode(&octets);
        let _ = DateTime::parse_rfc5322(&octets);
        let _ = DateTime::parse_imap(&octets);
        let _ = Encoding::parse(&octets);
        let _ = header::Fields::new(&octets).count();
        let _ = header::message_ids(&octets).count();
        let _ = Structure::decode(&octets);
        let mut content = b"Content-Type: a/b; ".to_vec();
        content.extend_from_slice(&octets);
        let _ = scan(&content).root().file_name();
        if let Some(address) = core::str::from_utf8(&octets).ok().and_then(|t| Canonical::parse(t).ok()) {
            prop_assert_eq!(Canonical::parse(&address.to_string()), Ok(address));
        }
    }
}

#[test]
fn a_binary_message_becomes_a_clean_one() {
    let message = b"From: a@b\r\nContent-Type: multipart/mixed; boundary=x\r\nContent-Transfer-Encoding: binary\r\n\r\n\
        --x\r\nContent-Type: text/plain\r\n\r\nplain\r\n\
        --x\r\nContent-Type: image/png\r\nContent-Transfer-Encoding:\r\n binary\r\nX: y\r\n\r\n\x89PNG\r\n\x1a\n\0\r\n--x--\r\n";
    let structure = scan(message);
    assert!(binary::is_needed(&structure));
    let want = "MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\nFrom: a@b\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
        --x\r\nContent-Type: text/plain\r\n\r\nplain\r\n\
        --x\r\nContent-Transfer-Encoding: base64\r\nContent-Type: image/png\r\nX: y\r\n\r\niVBORw0KGgoA\r\n--x--\r\n";
    for size in 1..message.len() {
        let mut out = Vec::new();
        let mut reencoder = binary::Reencoder::new(&structure);
        for chunk in message.chunks(size) {
            reencoder.feed(chunk, &mut out);
        }
        reencoder.finish(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), want);
    }
    let mut long = b"Content-Transfer-Encoding: binary\r\n\r\n".to_vec();
    long.extend(std::iter::repeat_n(0u8, 115));
    let mut out = Vec::new();
    let mut reencoder = binary::Reencoder::new(&scan(&long));
    reencoder.feed(&long, &mut out);
    reencoder.finish(&mut out);
    let body: Vec<usize> = String::from_utf8(out).unwrap().split("\r\n").skip(3).map(str::len).collect();
    assert_eq!(body, [76, 76, 4, 0]);
    assert_eq!(binary::clean_header(b"A: b\r\nC:\0 d\ne\rf\r\n\r\n"), b"A: b\r\nC: d\r\ne\r\nf\r\n\r\n");
}
