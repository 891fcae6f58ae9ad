use std::vec::Vec;

use proptest::prelude::*;

use super::*;

#[derive(Debug, PartialEq, Eq, Clone)]
enum End {
    At(usize),
    Fault(BareOctet),
    Never,
}

/// Feeds `input` cut at `cuts`, as a driver with one buffer would; the message, and how it ended.
fn unstuff(input: &[u8], cuts: &[usize]) -> (Vec<u8>, End) {
    let (mut scanner, mut message, mut head) = (Unstuff::new(), Vec::new(), 0);
    let mut ends: Vec<usize> = cuts.iter().map(|c| (*c).min(input.len())).collect();
    ends.push(input.len());
    ends.sort_unstable();
    for end in ends {
        loop {
            match scanner.scan(&input[head..end]) {
                Scan::Text { skip, len } => {
                    message.extend_from_slice(&input[head + skip..head + skip + len]);
                    head += skip + len;
                }
                Scan::End { len } => return (message, End::At(head + len)),
                Scan::Bare(fault) => return (message, End::Fault(fault)),
                Scan::NeedInput => break,
            }
        }
        assert!(end - head <= 2, "at most two octets wait");
    }
    (message, End::Never)
}

fn stuff(chunks: &[&[u8]]) -> Vec<u8> {
    let mut encoder = Stuff::new();
    let mut wire = Vec::new();
    for chunk in chunks {
        encoder.encode(chunk).for_each(|piece| wire.extend_from_slice(piece));
    }
    wire.extend_from_slice(encoder.finish());
    wire
}

const SMUGGLING: [&[u8]; 10] = [
    b"\n.\n",
    b"\r.\r",
    b"\r.\n",
    b"\n.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
];

#[test]
fn si1_smuggling_endings_never_end_the_message() {
    for ending in SMUGGLING {
        let mut input = b"Subject: x\r\n\r\ntext".to_vec();
        input.extend_from_slice(ending);
        input.extend_from_slice(b"MAIL FROM:<admin@x>\r\n.\r\n");
        for cut in 0..=input.len() {
            let (_, end) = unstuff(&input, &[cut]);
            assert!(matches!(end, End::Fault(_)), "{ending:?} cut at {cut}: {end:?}");
        }
        let every: Vec<usize> = (0..input.len()).collect();
        assert!(matches!(unstuff(&input, &every).1, End::Fault(_)), "{ending:?}");
    }
}

#[test]
fn dots_come_out_at_every_split() {
    let input = b"..a\r\n.\r\n";
    for (input, message) in [
        (&input[..], &b".a\r\n"[..]),
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"a\r\n..\r\n...\r\nb.\r\n.c\r\n.\r\n", b"a\r\n.\r\n..\r\nb.\r\nc\r\n"),
    ] {
        for a in 0..=input.len() {
            for b in a..=input.len() {
                assert_eq!(
                    unstuff(input, &[a, b]),
                    (message.to_vec(), End::At(input.len())),
                    "{input:?} {a} {b}"
                );
            }
        }
    }
}

#[test]
fn what_follows_the_end_is_left_alone() {
    assert_eq!(unstuff(b"a\r\n.\r\nQUIT\r\n", &[]), (b"a\r\n".to_vec(), End::At(6)));
}

#[test]
fn chunks_are_maximal() {
    let mut scanner = Unstuff::new();
    assert_eq!(scanner.scan(b"one\r\ntwo\r\n\r\nthree\r\n..four\r\n"), Scan::Text { skip: 0, len: 19 });
    assert_eq!(scanner.scan(b"..four\r\n"), Scan::Text { skip: 1, len: 7 });
}

#[test]
fn line_check_follows_a_crlf_across_chunks() {
    let mut check = LineCheck::new();
    assert_eq!(check.check(b"a\r"), Ok(()));
    assert_eq!(check.finish(), Err(BareOctet::Cr));
    assert_eq!(check.check(b"\n.\r\n"), Ok(()));
    assert_eq!(check.finish(), Ok(()));
    assert_eq!(LineCheck::new().check(b"\n"), Err(BareOctet::Lf));
    assert_eq!(LineCheck::new().check(b"a\0"), Err(BareOctet::Nul));
    assert_eq!(LineCheck::new().check(b"a\rb"), Err(BareOctet::Cr));
    let mut check = LineCheck::new();
    assert_eq!(check.check(b"\r"), Ok(()));
    assert_eq!(check.check(b""), Ok(()));
    assert_eq!(check.check(b"\r"), Err(BareOctet::Cr));
}

#[test]
fn so5_dots_go_in_after_crlf_only() {
    assert_eq!(stuff(&[b".\r\n..\r\na.b\r\n"]), b"..\r\n...\r\na.b\r\n.\r\n");
    assert_eq!(stuff(&[b""]), b".\r\n");
    assert_eq!(stuff(&[b"no line end"]), b"no line end\r\n.\r\n");
    assert_eq!(stuff(&[b"a\r", b"\n", b".b"]), b"a\r\n..b\r\n.\r\n");
    assert_eq!(stuff(&[b"a\r", b"\n.b"]), b"a\r\n..b\r\n.\r\n");
    assert_eq!(stuff(&[b"a\r\n", b"", b".\r\n"]), b"a\r\n..\r\n.\r\n");
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![Just(&b"."[..]), Just(&b"\r\n"[..]), Just(&b"a"[..]), Just(&b"\xff "[..])];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| {
        let mut m = pieces.concat();
        if !m.is_empty() && !m.ends_with(b"\r\n") {
            m.extend_from_slice(b"\r\n");
        }
        m
    })
}

proptest! {
    #[test]
    fn what_is_stuffed_comes_out_the_same(m in message(), cuts in prop::collection::vec(0usize..100, 0..4)) {
        let mut sorted: Vec<usize> = cuts.iter().map(|c| (*c).min(m.len())).collect();
        sorted.sort_unstable();
        let mut chunks = Vec::new();
        let mut from = 0;
        for cut in sorted {
            chunks.push(&m[from..cut]);
            from = cut;
        }
        chunks.push(&m[from..]);
        let wire = stuff(&chunks);
        prop_assert_eq!(&wire, &stuff(&[&m]));
        prop_assert_eq!(unstuff(&wire, &cuts), (m, End::At(wire.len())));
    }

    #[test]
    fn si2_every_split_gives_the_same_verdict(
        pieces in prop::collection::vec(
            prop_oneof![Just(&b"."[..]), Just(&b"\r\n"[..]), Just(&b"\r"[..]), Just(&b"\n"[..]), Just(&b"\0"[..]), Just(&b"a"[..])], 0..30),
        cuts in prop::collection::vec(0usize..60, 0..5),
    ) {
        let input = pieces.concat();
        let (whole, split) = (unstuff(&input, &[]), unstuff(&input, &cuts));
        prop_assert_eq!(&whole.1, &split.1);
        if !matches!(whole.1, End::Fault(_)) {
            prop_assert_eq!(whole.0, split.0);
        }
    }
}

/// What is looked at in blocks and what is looked at octet by octet come to the same, wherever it stands.
#[test]
fn long_texts_are_judged_as_short_ones() {
    let more: [&[u8]; 9] =
        [b"\r\n", b"\r\n..", b"\r\n.a", b"\r\n\r\n", b"\r\n.\r\n", b"\0", b"\r", b"\n", b"\r\r\n"];
    for piece in SMUGGLING.iter().chain(&more) {
        for at in 0..2 * BLOCK + 5 {
            let mut input = std::vec![b'a'; at];
            input.extend_from_slice(piece);
            input.extend_from_slice(&[b'b'; BLOCK + 5]);
            let mut lines = LineCheck::new();
            let found = lines.check(&input);
            let mut lines = LineCheck::new();
            assert_eq!(found, input.chunks(1).try_for_each(|octet| lines.check(octet)), "{piece:?} at {at}");
            input.extend_from_slice(b"\r\n.\r\n");
            let cuts: Vec<usize> = (0..input.len()).collect();
            assert_eq!(unstuff(&input, &[]).1, unstuff(&input, &cuts).1, "{piece:?} at {at}");
            if matches!(unstuff(&input, &[]).1, End::At(_)) {
                assert_eq!(unstuff(&input, &[]), unstuff(&input, &cuts), "{piece:?} at {at}");
            }
        }
    }
}
