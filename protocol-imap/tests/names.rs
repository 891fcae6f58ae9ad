//! Mailbox names in modified UTF-7 and UTF-8, and sequence sets.

use proptest::prelude::*;
use protocol_core::SendBuf;
use protocol_imap::codec::{Command, CommandBody, MailboxName};
use protocol_imap::set::{self, SeqRange, SequenceSet};
use protocol_imap::utf7::{self, BadName};

#[test]
fn one_table_encodes_and_decodes_names() {
    let table = [
        ("INBOX", "INBOX"),
        ("", ""),
        ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
        ("Entwürfe", "Entw&APw-rfe"),
        ("a&b", "a&-b"),
        ("&", "&-"),
        ("&&", "&-&-"),
        ("ä&", "&AOQ-&-"),
        ("&ä", "&-&AOQ-"),
        ("😀", "&2D3eAA-"),
        ("ab\u{3bb}", "ab&A7s-"),
        ("a\u{2028}-", "a&ICg--"),
    ];
    for (name, encoded) in table {
        assert_eq!(utf7::encode(name), encoded, "{name}");
        assert_eq!(utf7::decode(encoded.as_bytes()).as_deref(), Ok(name), "{encoded}");
    }
}

#[test]
fn a_name_has_one_encoding() {
    let bad: [&[u8]; 16] = [
        b"&",
        b"a&",
        b"&AOQ",
        b"&AGE-",      // "a" needs no shift
        b"&ACY-",      // "&" is written &-
        b"&AOQ-&APw-", // one shift would do
        b"&AO-",       // half a character
        b"&AOQA-",     // more bits than the character has
        b"&AOR-",      // bits behind it that are not zero
        b"&A/Q-",      // "/" is not in this alphabet
        b"&2D0-",      // half a pair
        b"&3gDYPQ-",   // a pair the wrong way round
        b"&AAA-",      // NUL
        b"&AIU-",      // a control character
        b"a\x7f",
        "ä".as_bytes(),
    ];
    for octets in bad {
        assert_eq!(utf7::decode(octets), Err(BadName), "{}", octets.escape_ascii());
    }
}

#[test]
fn names_are_decoded_as_the_session_speaks() {
    let name = MailboxName::new(b"Entw&APw-rfe");
    assert_eq!(name.decode(false).unwrap(), "Entwürfe");
    assert_eq!(name.decode(true).unwrap(), "Entw&APw-rfe");
    assert_eq!(MailboxName::new(b"iNbOx").decode(true).unwrap(), "INBOX");
    assert_eq!(MailboxName::new(b"inbox/x").decode(false).unwrap(), "inbox/x");
    assert!(MailboxName::new(b"a\x01b").decode(true).is_err());
    assert!(MailboxName::new(b"a\xff").decode(true).is_err());
    let escaped = Command::parse(b"a DELETE \"x\\\\y\\\"&APw-\"\r\n", false).unwrap();
    let CommandBody::Delete(name) = escaped.body else { panic!("{escaped:?}") };
    assert_eq!(name.decode(false).unwrap(), "x\\y\"ü");
}

fn parsed(text: &str) -> Vec<(u32, u32)> {
    let line = format!("a UID EXPUNGE {text}\r\n");
    let command = Command::parse(line.as_bytes(), false).unwrap();
    let CommandBody::UidExpunge(set) = command.body else { panic!("{command:?}") };
    set.resolve(10).collect()
}

#[test]
fn sets_resolve_in_either_order_and_with_the_largest_number() {
    assert_eq!(parsed("1,3:5,9:7"), [(1, 1), (3, 5), (7, 9)]);
    assert_eq!(parsed("*"), [(10, 10)]);
    assert_eq!(parsed("8:*"), [(8, 10)]);
    assert_eq!(parsed("*:8"), [(8, 10)]);
    // RFC 9051 §9: the last message is in 15:* even when there are fewer.
    assert_eq!(parsed("15:*"), [(10, 15)]);
    assert_eq!(parsed("4294967295"), [(u32::MAX, u32::MAX)]);
    let all = SequenceSet::of(&[SeqRange { first: set::Bound::Number(1), last: set::Bound::Largest }]);
    assert_eq!(all.resolve(0).count(), 0, "nothing is in an empty mailbox");
    assert!(all.contains(7, 7) && !all.contains(8, 7));
    assert!(all.has_largest() && !SequenceSet::SAVED.has_largest());
    assert!(SequenceSet::SAVED.is_saved() && SequenceSet::SAVED.ranges().next().is_none());
}

fn compact(numbers: &[u32]) -> String {
    let mut out = SendBuf::with_high_water(1 << 20);
    let any = set::write_compact(numbers.iter().copied(), &mut out);
    assert_eq!(any, !numbers.is_empty());
    String::from_utf8(out.bytes().to_vec()).unwrap()
}

#[test]
fn numbers_are_written_compactly_in_their_order() {
    for (numbers, text) in [
        (&[][..], ""),
        (&[7], "7"),
        (&[1, 2, 3, 5], "1:3,5"),
        (&[5, 4, 3], "5,4,3"),
        (&[1, 3, 4, 4, 5], "1,3:4,4:5"),
        (&[u32::MAX - 1, u32::MAX, 1], "4294967294:4294967295,1"),
    ] {
        assert_eq!(compact(numbers), text);
        let ranges: Vec<_> = SequenceSet::of_numbers(numbers).ranges().collect();
        assert_eq!(ranges.len(), text.split(',').filter(|s| !s.is_empty()).count());
    }
}

proptest! {
    #[test]
    fn names_decode_as_they_were_encoded(name in "\\PC{0,20}") {
        let encoded = utf7::encode(&name).into_owned();
        prop_assert!(encoded.bytes().all(|b| (0x20..=0x7e).contains(&b)));
        let decoded = utf7::decode(encoded.as_bytes());
        prop_assert_eq!(decoded.as_deref(), Ok(name.as_str()));
    }

    #[test]
    fn what_decodes_encodes_to_itself(octets in "[ -~]{0,12}|(&[A-Za-z0-9+,]{1,6}-|[a-z&-]){0,5}") {
        if let Ok(name) = utf7::decode(octets.as_bytes()) {
            prop_assert_eq!(utf7::encode(&name), octets.as_str());
        }
    }

    #[test]
    fn compact_sets_hold_the_same_numbers(mut numbers in prop::collection::vec(1u32..40, 1..40)) {
        numbers.sort_unstable();
        numbers.dedup();
        let read: Vec<u32> = parsed(&compact(&numbers)).into_iter().flat_map(|(low, high)| low..=high).collect();
        prop_assert_eq!(read, numbers);
    }
}
