//! Address lists and the From address.

mod support;

use protocol_core::message::from::{from_addresses, from_domains};
use protocol_core::message::{AddressList, Entry, Envelope, FromFault};
use support::{crlf, scan};

/// One line per entry: `name|route|local|domain`, `{name`, `}`, `!invalid`.
fn list(value: &str) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    AddressList::new(value.as_bytes())
        .map(|entry| match entry {
            Entry::Mailbox(m) => {
                let name = m.name.as_deref().map(text).unwrap_or_default();
                let route = m.route.as_deref().map(text).unwrap_or_default();
                format!("{name}|{route}|{}|{}", text(&m.local), text(&m.domain))
            }
            Entry::GroupStart(name) => format!("{{{}", text(&name)),
            Entry::GroupEnd => "}".into(),
            Entry::Invalid(raw) => format!("!{}", text(raw)),
        })
        .collect()
}

#[test]
fn lists() {
    for (value, want) in [
        ("", &[][..]),
        (" ,, ; ,", &[]),
        ("a@b", &["||a|b"]),
        ("<a@b>", &["||a|b"]),
        ("Name <a@b.c>", &["Name||a|b.c"]),
        ("\"Q. \\\"x\\\" \\\\\" <a@b>", &["Q. \"x\" \\||a|b"]),
        ("John Q. Public <a@b>, c@d", &["John Q. Public||a|b", "||c|d"]),
        ("a@b (Comment (nested))", &["Comment (nested)||a|b"]),
        ("(before) a@b", &["||a|b"]),
        ("Joe (x) Doe <a@b>", &["Joe Doe||a|b"]),
        // RFC 5322 A.1.2, A.1.3, A.5, A.6.
        (
            "\"Giant; \\\"Big\\\" Box\" <sysservices@example.net>",
            &["Giant; \"Big\" Box||sysservices|example.net"],
        ),
        (
            "A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;",
            &["{A Group", "Ed Jones||c|a.test", "||joe|where.test", "John||jdoe|one.test", "}"],
        ),
        ("Undisclosed recipients:;", &["{Undisclosed recipients", "}"]),
        ("G(c):a@b (x) , c@d(y);, e@f", &["{G", "x||a|b", "y||c|d", "}", "||e|f"]),
        ("G: a@b", &["{G", "||a|b", "}"]),
        ("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", &["Pete||pete|silly.test"]),
        (
            "Mary Smith <@node.test,@other.test: mary@example.net>",
            &["Mary Smith|@node.test,@other.test|mary|example.net"],
        ),
        ("john . doe @ machine . example", &["||john.doe|machine.example"]),
        ("jdoe@test   . example, , x@y", &["||jdoe|test.example", "||x|y"]),
        ("\"a b\"@c, \"a\".b.\"c\"@d", &["||a b|c", "||a.b.c|d"]),
        ("a@[192.0.2.1], b@[IPv6:::1]", &["||a|[192.0.2.1]", "||b|[IPv6:::1]"]),
        ("=?utf-8?Q?=C3=A4?= <a@b>", &["=?utf-8?Q?=C3=A4?=||a|b"]),
        ("ä@ö.example, Ö <u@x>", &["||ä|ö.example", "Ö||u|x"]),
        ("a..b.@x", &["||a..b.|x"]),
        // Common and tolerated.
        ("[List] Name <a@b>", &["[List] Name||a|b"]),
        ("a@b <c@d>", &["a@b||c|d"]),
        ("a@b; c@d", &["||a|b", "||c|d"]),
        ("a\r\n @b,\r\n\tc@d", &["||a|b", "||c|d"]),
        // No addresses.
        ("root", &["!root"]),
        ("<>", &["!<>"]),
        ("a@", &["!a@"]),
        ("@b", &["!@b"]),
        ("a@b.", &["!a@b."]),
        ("a@b..c", &["!a@b..c"]),
        ("a b@c", &["!a b@c"]),
        ("<a@b", &["!<a@b"]),
        ("a@b>", &["!a@b>"]),
        ("<a@b> <c@d>", &["!<a@b> <c@d>"]),
        ("<a@b>c@d, e@f", &["!<a@b>c@d", "||e|f"]),
        ("\"open <a@b>, c@d", &["!\"open <a@b>, c@d"]),
        ("(open <a@b>, c@d", &["!(open <a@b>, c@d"]),
        ("a@b (open, <c@d>", &["!a@b (open, <c@d>"]),
        ("a@b, (open <c@d>", &["||a|b", "!(open <c@d>"]),
        ("a@(b", &["!a@(b"]),
        ("G:(open;", &["{G", "!(open;", "}"]),
        ("x (open <a@b>, c@d", &["!x (open <a@b>, c@d"]),
        ("a@b@c, d@e", &["!a@b@c", "||d|e"]),
        ("G: H: a@b; c@d", &["{G", "!H: a@b", "}", "||c|d"]),
        ("a\0@b", &["!a\0@b"]),
        ("a@[1 2]", &["!a@[1 2]"]),
    ] {
        assert_eq!(list(value), want, "{value:?}");
    }
}

#[test]
fn si26_one_reading_of_misleading_addresses() {
    for (value, want) in [
        ("a@x, b@y", &["||a|x", "||b|y"][..]),
        ("admin@legit,<second@attack>", &["||admin|legit", "||second|attack"]),
        ("<any@attack>admin@legit", &["!<any@attack>admin@legit"]),
        ("<@attack,@any:admin@legit>", &["|@attack,@any|admin|legit"]),
        ("admin@legit\\,<second@attack>", &["!admin@legit\\", "||second|attack"]),
        ("<admin@legit\\,<second@attack>>", &["!<admin@legit\\", "!<second@attack>>"]),
        ("=?utf-8?B?PGFkbWluQGxlZ2l0Pg==?= <a@attack>", &["=?utf-8?B?PGFkbWluQGxlZ2l0Pg==?=||a|attack"]),
        ("=?utf-8?B?YWRtaW5AbGVnaXQ=?=", &["!=?utf-8?B?YWRtaW5AbGVnaXQ=?="]),
        ("\"admin@legit\" <a@attack>", &["admin@legit||a|attack"]),
        ("admin@legit(,<a@attack>)", &[",<a@attack>||admin|legit"]),
        ("\"admin@legit,\"@attack", &["||admin@legit,|attack"]),
    ] {
        assert_eq!(list(value), want, "{value:?}");
        // ENVELOPE, policy and the API see the same.
        let header = crlf(&format!("From: {value}\n\n"));
        let structure = scan(&header);
        let shown: Vec<_> = Envelope::list(&structure.envelope().from).mailboxes().collect();
        match from_addresses(&header, false) {
            Ok(addresses) => assert_eq!(addresses, shown),
            Err(fault) => assert!(fault == FromFault::NoAddress && shown.is_empty(), "{value}"),
        }
        assert_eq!(structure.from.judge(false).is_ok(), !shown.is_empty());
    }
    let header = crlf("From: a@X.example, b@y.example, c@x.EXAMPLE\n\n");
    let addresses = from_addresses(&header, false).unwrap();
    assert_eq!(from_domains(&addresses), ["x.example", "y.example"]);
}

#[test]
fn si24_exactly_one_strict_from() {
    for (header, want) in [
        ("From: a@b\n", Ok(())),
        ("FROM:a@b\n", Ok(())),
        ("From: a@b, junk\n", Ok(())),
        ("From: G: a@b;\n", Ok(())),
        ("To: a@b\n", Err(FromFault::Missing)),
        ("", Err(FromFault::Missing)),
        ("From: a@b\nFrom: c@d\n", Err(FromFault::Several)),
        ("From: a@b\nFROM: \n", Err(FromFault::Several)),
        ("From : a@b\n", Err(FromFault::Lookalike)),
        ("From\t: c@d\nFrom: a@b\n", Err(FromFault::Lookalike)),
        ("From: a@b\nFrom : c@d\n", Err(FromFault::Lookalike)),
        (" From: c@d\nFrom: a@b\n", Err(FromFault::Lookalike)),
        ("\tfrom: c@d\nFrom: a@b\n", Err(FromFault::Lookalike)),
        (" To: c@d\nFrom: a@b\n", Err(FromFault::Lookalike)),
        (" junk\nFrom: a@b\n", Err(FromFault::Lookalike)),
        ("From\n : c@d\nFrom: a@b\n", Err(FromFault::Lookalike)),
        ("Fr\u{0}om: c@d\nFrom: a@b\n", Err(FromFault::Lookalike)),
        ("X From : c@d\nFrom: a@b\n", Ok(())),
        ("From: \n", Err(FromFault::NoAddress)),
        ("From: junk\n", Err(FromFault::NoAddress)),
        ("From: <>\n", Err(FromFault::NoAddress)),
        ("From:\n a@b\n", Ok(())),
        ("Subject: x\n From: c@d\nFrom: a@b\n", Ok(())),
        ("Sender: a@b\nResent-From: c@d\n", Err(FromFault::Missing)),
    ] {
        let message = crlf(&format!("{header}\nFrom: body@x\n"));
        assert_eq!(scan(&message).from.judge(false), want, "{header:?}");
        assert_eq!(from_addresses(&message, false).map(|_| ()), want, "{header:?}");
        let null_sender = match want {
            Err(FromFault::NoAddress) => Ok(()),
            other => other,
        };
        assert_eq!(scan(&message).from.judge(true), null_sender, "{header:?}");
    }
}
