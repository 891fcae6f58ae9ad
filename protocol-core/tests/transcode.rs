//! Changing transfer encodings: what parts decode to stays, what comes out fits, and no split matters.

mod support;

use proptest::prelude::*;
use protocol_core::message::decode::Decoder;
use protocol_core::message::limits::{LEAF_DECODED_MAX, LINE_OCTETS_MAX};
use protocol_core::message::transcode::{Hindrance, Transcoder, is_signed};
use protocol_core::message::{Encoding, Flags, Scanner, Structure, header};
use support::{check_invariants, crlf, scan};

fn run(mut transcoder: Transcoder, message: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    message.chunks(size.max(1)).for_each(|chunk| transcoder.feed(chunk, &mut out));
    transcoder.finish(&mut out);
    out
}

fn seven_bit(message: &[u8]) -> Result<Vec<u8>, Hindrance> {
    Transcoder::seven_bit(&scan(message)).map(|t| run(t, message, message.len()))
}

fn short_lines(message: &[u8]) -> Option<Vec<u8>> {
    Transcoder::short_lines(&scan(message)).map(|t| run(t, message, message.len()))
}

/// What each leaf decodes to.
fn leaves(message: &[u8], structure: &Structure) -> Vec<Vec<u8>> {
    let decoded = structure.leaves().map(|(_, part)| {
        let mut out = Vec::new();
        let mut decoder = Decoder::new(&part.encoding);
        decoder.feed(&message[part.body_start as usize..part.body_end as usize], &mut out);
        decoder.finish(&mut out);
        out
    });
    decoded.collect()
}

fn longest_body_line(message: &[u8]) -> usize {
    message.split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l).len()).max().unwrap_or(0)
}

const PIECES: &[&str] = &[
    "Content-Type: multipart/mixed; boundary=a\r\n\r\n",
    "Content-Type: multipart/alternative; boundary=\"ab\"\r\n\r\n",
    "Content-Type: multipart/mixed; boundary=a\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
    "Content-Type: message/rfc822\r\n\r\n",
    "Content-Type: text/html; charset=utf-8\r\n",
    "Content-Type: image/png\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Transfer-Encoding: quoted-printable\r\n",
    "Content-Transfer-Encoding: 8bit\r\n",
    "Content-Transfer-Encoding:\r\n binary\r\n",
    "MIME-Version: 1.0\r\n",
    "Subject: x\r\n folded\r\n",
    "--a\r\n",
    "--a--\r\n",
    "--ab\r\n",
    "--ab--\r\n",
    "\r\n",
    "\r\n\r\n",
    " ",
    "\t",
    "text \r\n",
    "=3D=\r\n",
    "--",
    "\u{e4}",
    "\u{e4}\u{f6}\u{fc} gr\u{fc}n\r\n",
    "LONG",
    "LONG\r\n",
];

fn message() -> impl Strategy<Value = Vec<u8>> {
    let long = ["--a ", &"ab-c d".repeat(170)].concat();
    prop::collection::vec(prop::sample::select(PIECES), 0..40)
        .prop_map(move |p| p.concat().replace("LONG", &long).into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn so5_seven_bit_messages_hold_the_same_and_are_seven_bit(message in message(), size in 1usize..60) {
        let structure = scan(&message);
        check_invariants(&message, &structure);
        let Ok(transcoder) = Transcoder::seven_bit(&structure) else { return Ok(()) };
        let out = run(transcoder, &message, message.len());
        let again = scan(&out);
        prop_assert_eq!(leaves(&message, &structure), leaves(&out, &again));
        prop_assert!(out.is_ascii());
        prop_assert!(longest_body_line(&out) <= LINE_OCTETS_MAX, "{:?}", String::from_utf8_lossy(&out));
        prop_assert_eq!(seven_bit(&out), Ok(out.clone()));
        prop_assert_eq!(run(Transcoder::seven_bit(&structure).unwrap(), &message, size), out);
        let labels = again.parts().iter().any(|p| matches!(p.encoding, Encoding::EightBit | Encoding::Binary));
        prop_assert!(!labels);
    }

    #[test]
    fn so5_short_lines_hold_the_same(message in message(), size in 1usize..60) {
        let structure = scan(&message);
        let Some(transcoder) = Transcoder::short_lines(&structure) else { return Ok(()) };
        let out = run(transcoder, &message, message.len());
        let again = scan(&out);
        prop_assert_eq!(leaves(&message, &structure), leaves(&out, &again));
        prop_assert_eq!(structure.envelope(), again.envelope());
        prop_assert_eq!(run(Transcoder::short_lines(&structure).unwrap(), &message, size), out.clone());
        if let Some(twice) = short_lines(&out) {
            prop_assert_eq!(twice, out);
        }
    }

    #[test]
    fn decoded_sizes_are_those_of_the_parts(message in message(), size in 1usize..60) {
        let mut scanner = Scanner::new().with_decoded_sizes();
        message.chunks(size).for_each(|chunk| scanner.feed(chunk));
        let (structure, largest) = scanner.finish_counted();
        let sizes = leaves(&message, &structure);
        let counted = structure.leaves().zip(&sizes).filter(|((_, p), _)| !p.is_inline_text());
        prop_assert_eq!(largest, counted.map(|(_, octets)| octets.len() as u64).max().unwrap_or(0));
    }
}

#[test]
fn so5_a_nested_message_is_made_seven_bit() {
    let message = crlf(
        "From: a@b\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\nContent-Transfer-Encoding: 8bit\n\n\
         --x\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\nX: y\n\nGr\u{fc}\u{df}e und mehr davon=\n-- \nsig\n\
         --x\nContent-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\nSubject: inner\n\n\u{fc}\n\
         --x\nContent-Type: image/png\n\n\u{ff}\n--x--\n",
    );
    let want = crlf(
        "From: a@b\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n\
         --x\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\nX: y\n\n\
         Gr=C3=BC=C3=9Fe und mehr davon=3D\n=2D-=20\nsig\n\
         --x\nContent-Type: message/rfc822\n\nSubject: inner\nContent-Transfer-Encoding: base64\n\nw7w=\n\
         --x\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\nw78=\n--x--\n",
    );
    assert_eq!(String::from_utf8_lossy(&seven_bit(&message).unwrap()), String::from_utf8_lossy(&want));
    for size in 1..message.len() {
        assert_eq!(run(Transcoder::seven_bit(&scan(&message)).unwrap(), &message, size), want);
    }
    // A message without MIME gets its version beside the encoding.
    let plain = seven_bit("From: a@b\r\n\r\nplain text with one \u{e4} in it\r\n".as_bytes()).unwrap();
    assert_eq!(
        String::from_utf8(plain).unwrap(),
        "From: a@b\r\nContent-Transfer-Encoding: quoted-printable\r\nMIME-Version: 1.0\r\n\r\n\
         plain text with one =C3=A4 in it\r\n"
    );
}

#[test]
fn so5_what_cannot_be_made_seven_bit_says_why() {
    let signed = "Content-Type: multipart/signed; boundary=x\n\n--x\n\n\u{e4}\n--x--\n";
    for (text, why) in [
        (signed, Hindrance::Signed),
        ("Content-Type: multipart/encrypted; boundary=x\n\n--x\n\na\n--x--\n", Hindrance::Signed),
        ("Subject: \u{e4}\n\n\u{e4}\n", Hindrance::Header),
        ("Content-Type: message/rfc822\n\nSubject: \u{e4}\n\na\n", Hindrance::Header),
        ("Content-Type: multipart/mixed; boundary=x\n\n\u{e4}\n--x\n\na\n--x--\n", Hindrance::Place),
        ("Content-Type: message/partial; id=x\n\n\u{e4}\n", Hindrance::Place),
        ("Content-Transfer-Encoding: x-uuencode\n\n\u{e4}\n", Hindrance::Place),
        ("Content-Type: multipart/mixed\n\n\u{e4}\n", Hindrance::Structure),
    ] {
        assert_eq!(seven_bit(&crlf(text)), Err(why), "{text}");
        assert!(!why.to_string().is_empty());
    }
    for (name, signed) in [("DKIM-Signature", true), ("arc-seal", true), ("X-DKIM-Signature", false)] {
        assert_eq!(
            is_signed(format!("From: a@b\r\n{name}: x\r\n\r\nDKIM-Signature: x\r\n").as_bytes()),
            signed
        );
    }
}

#[test]
fn so5_lines_over_998_are_encoded_but_not_under_a_signature() {
    for (n, changed) in [(LINE_OCTETS_MAX, false), (LINE_OCTETS_MAX + 1, true)] {
        let text = [&b"From: a@b\r\n\r\nshort\r\n"[..], &b"x".repeat(n), b"\r\n"].concat();
        assert_eq!(short_lines(&text).is_some(), changed, "{n}");
    }
    let long = "y".repeat(1_000_000);
    for (front, back) in [
        ("Content-Type: multipart/signed; boundary=x\n\n--x\n\n", "\n--x--\n"),
        ("Content-Type: multipart/encrypted; boundary=x\n\n--x\n\n", "\n--x--\n"),
        ("Content-Type: message/rfc822\n\nSubject: inner\n\n", "\n"),
        ("Content-Type: message/partial; id=x\n\n", "\n"),
    ] {
        assert_eq!(short_lines(&crlf(&[front, &long, back].concat())), None, "{front}");
    }
    let base64 =
        crlf(&["Content-Type: image/png\nContent-Transfer-Encoding: base64\n\n", &long, "\n"].concat());
    let out = short_lines(&base64).unwrap();
    assert_eq!(longest_body_line(&out), 76);
    assert_eq!(leaves(&base64, &scan(&base64)), leaves(&out, &scan(&out)));
    // The same leaf beside a signed part is encoded, the signed part is not.
    let mixed = crlf(&[
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: multipart/signed; boundary=x\n\n--x\n\n",
        &long, "\n--x--\n--o\n\n", &long, "\n--o--\n",
    ].concat());
    let out = short_lines(&mixed).unwrap();
    assert_eq!(leaves(&mixed, &scan(&mixed)), leaves(&out, &scan(&out)));
    assert_eq!(out.split(|b| *b == b'\n').filter(|l| l.len() > LINE_OCTETS_MAX).count(), 1);
}

#[test]
fn long_header_lines_are_folded_where_they_can() {
    for value in ["word ".repeat(1_000), ["x".repeat(1_200), " end ".into()].concat(), "x".repeat(1_200)] {
        let message = ["Subject: ", &value, "\r\nFrom: a@b\r\n\r\nbody\r\n"].concat().into_bytes();
        let structure = scan(&message);
        assert!(structure.flags.has(Flags::HEADER_LONG_LINE));
        let out = short_lines(&message).unwrap();
        let again = scan(&out);
        assert_eq!(structure.envelope(), again.envelope());
        assert!(!out.windows(3).any(|w| w == b"\n \r"));
        let rest = value.split(' ').map(str::len).max().unwrap_or(0);
        assert!(longest_body_line(&out) <= (rest + 1).max(LINE_OCTETS_MAX), "{}", longest_body_line(&out));
        assert_eq!(header::header_len(&out) - header::header_len(&message), out.len() - message.len());
        for size in [1, 2, 7, 997, 998, 999, 1000] {
            assert_eq!(run(Transcoder::short_lines(&structure).unwrap(), &message, size), out);
        }
    }
}

#[test]
fn one_leaf_is_counted_up_to_its_limit_and_past_it() {
    for over in [0, 1] {
        let octets = LEAF_DECODED_MAX + over;
        let mut scanner = Scanner::new().with_decoded_sizes();
        scanner.feed(b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\ntext\r\n--x\r\n");
        scanner.feed(b"Content-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n");
        let mut left = octets;
        while left > 0 {
            let now = left.min(57);
            let group = if now == 57 { "QUFB".repeat(19) } else { "QUFB".repeat(now as usize / 3) };
            scanner.feed(group.as_bytes());
            match now % 3 {
                1 => scanner.feed(b"QQ=="),
                2 => scanner.feed(b"QUE="),
                _ => {}
            }
            scanner.feed(b"\r\n");
            left -= now;
        }
        scanner.feed(b"--x--\r\n");
        assert_eq!(scanner.finish_counted().1, octets);
    }
    let size = |head: &str| {
        let mut scanner = Scanner::new().with_decoded_sizes();
        scanner.feed(crlf(&format!("{head}\n\n12345")).as_slice());
        scanner.finish_counted().1
    };
    assert_eq!(size("Content-Type: text/html"), 0);
    assert_eq!(size("Content-Type: text/html\nContent-Disposition: inline; filename=x"), 0);
    assert_eq!(size("Content-Type: text/html\nContent-Disposition: attachment"), 5);
    assert_eq!(size("Content-Type: text/html\nContent-Disposition: unheard-of"), 5);
    assert_eq!(size("Content-Type: application/zip\nContent-Disposition: inline"), 5);
}
