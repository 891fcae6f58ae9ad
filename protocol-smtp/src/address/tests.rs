use std::format;
use std::string::String;

use super::*;

fn reverse(text: &str) -> Result<Path<'_>, AddressError> {
    match Path::reverse(text) {
        Ok((path, "")) => Ok(path),
        Ok(_) => Err(AddressError::Syntax),
        Err(e) => Err(e),
    }
}

#[test]
fn paths_that_the_grammar_allows() {
    for (text, local, domain) in [
        ("<a@b>", "a", "b"),
        ("<Some.One+tag@Mail.Example.COM>", "Some.One+tag", "Mail.Example.COM"),
        ("<\"a b\\\"c@d\"@example.com>", "\"a b\\\"c@d\"", "example.com"),
        ("<\"\"@example.com>", "\"\"", "example.com"),
        ("<a@[192.0.2.1]>", "a", "[192.0.2.1]"),
        ("<a@[IPv6:2001:db8::1]>", "a", "[IPv6:2001:db8::1]"),
        ("<a@[x400:c=de]>", "a", "[x400:c=de]"),
        ("<@one.example,@two.example:a@three.example>", "a", "three.example"),
        ("<用户@例え.jp>", "用户", "例え.jp"),
        ("<!#$%&'*+-/=?^_`{|}~@x-y.z9>", "!#$%&'*+-/=?^_`{|}~", "x-y.z9"),
    ] {
        let path = reverse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let mailbox = path.mailbox().unwrap();
        assert_eq!((mailbox.local(), mailbox.domain()), (local, domain), "{text}");
        assert_eq!(format!("{path}"), format!("<{local}@{domain}>"));
    }
    assert_eq!(reverse("<>"), Ok(Path::Null));
    assert_eq!(Path::forward("<PostMaster> X"), Ok((Path::Postmaster, " X")));
}

#[test]
fn si12_shell_text_is_refused_or_plain_data() {
    for text in ["<;id;>", "<$(id)@x>", "<a;b@x>", "<|id>", "<a@x;id>"] {
        assert_eq!(reverse(text), Err(AddressError::Syntax), "{text}");
    }
    assert_eq!(reverse("<`id`@x>").unwrap().mailbox().unwrap().local(), "`id`");
}

#[test]
fn si22_tricks_with_quotes_comments_and_routes() {
    for text in
        ["<(any@legit>", "<any@legit(.attack>", "<a@legit\0.attack>", "<a@b@c>", "<a@b,c@d>", "<a@b> <c@d>"]
    {
        assert_eq!(reverse(text), Err(AddressError::Syntax), "{text}");
    }
    let routed = reverse("<@legit,@any.example:'any@attack.example>").unwrap();
    assert_eq!(routed.mailbox().unwrap().domain(), "attack.example");
    let quoted = reverse("<\"any@legit\"@attack.example>").unwrap();
    assert_eq!(quoted.mailbox().unwrap().domain(), "attack.example");
}

#[test]
fn what_the_grammar_does_not_allow() {
    for text in [
        "",
        "<",
        ">",
        "a@b",
        "<a>",
        "<@b>",
        "<a@>",
        "<a@b",
        "<a@b.>",
        "<a@.b>",
        "<a..b@c>",
        "<.a@c>",
        "<a.@c>",
        "<a@-b>",
        "<a@b->",
        "<a b@c>",
        "<a@b c>",
        "<\"a@b>",
        "<\"a\"b@c>",
        "<\"a\r\"@c>",
        "<\"\\\r\"@c>",
        "<a@[]>",
        "<a@[1.2.3]>",
        "<a@[1.2.3.04]>",
        "<a@[IPv6:1]>",
        "<a@[IPv6:]>",
        "<a@[:x]>",
        "<a@[1.2.3.4>",
        "<a@[IPv6\u{e9}:2001:db8::1]>",
        "<a@[t\u{e9}g:x]>",
        "<postmaster>",
        "<@a:>",
        "<@a,b:c@d>",
        "<a@b_c>",
        "< a@b>",
        "<a@b >",
        "<a\u{85}@b>",
        "<a\u{2028}@b>",
        "<a\u{202e}@b>",
        "<a@b\u{feff}>",
        "<a\u{7f}@b>",
    ] {
        assert_eq!(reverse(text), Err(AddressError::Syntax), "{text:?}");
    }
    assert_eq!(Path::forward("<>"), Err(AddressError::Syntax));
}

#[test]
fn lengths_at_the_limit_and_one_past_it() {
    let local = |n: usize| "l".repeat(n);
    assert!(reverse(&format!("<{}@b>", local(64))).is_ok());
    assert_eq!(reverse(&format!("<{}@b>", local(65))), Err(AddressError::TooLong));
    let label = |n: usize| "d".repeat(n);
    assert!(reverse(&format!("<a@{}>", label(63))).is_ok());
    assert_eq!(reverse(&format!("<a@{}>", label(64))), Err(AddressError::TooLong));
    // 252 octets of domain with "a@" and the brackets are the 256 of a path.
    let domain = |n: usize| {
        let mut d: String = "d.".repeat(n / 2 - 1);
        d.push_str(if n.is_multiple_of(2) { "dd" } else { "ddd" });
        assert_eq!(d.len(), n);
        d
    };
    assert!(reverse(&format!("<a@{}>", domain(252))).is_ok());
    assert_eq!(reverse(&format!("<a@{}>", domain(253))), Err(AddressError::TooLong));
    assert!(Mailbox::parse(&format!("a@{}", domain(255))).is_ok());
    assert_eq!(Mailbox::parse(&format!("a@{}", domain(256))), Err(AddressError::TooLong));
}

#[test]
fn quotes_come_off() {
    let unquoted = |text| Mailbox::parse(text).unwrap().local_unquoted().collect::<String>();
    assert_eq!(unquoted("\"a \\\"b\\\\\"@c"), "a \"b\\");
    assert_eq!(unquoted("plain@c"), "plain");
}

#[test]
fn names_in_ehlo() {
    for name in ["mail.example.com", "[192.0.2.1]", "[IPv6:2001:db8::1]", "DESKTOP_7", "x"] {
        assert!(is_client_name(name.as_bytes()), "{name}");
    }
    for name in ["", "a b", "a(b", "a\0", "a\"b", "é"] {
        assert!(!is_client_name(name.as_bytes()), "{name}");
    }
    assert!(is_client_name(&[b'a'; 255]));
    assert!(!is_client_name(&[b'a'; 256]));
}
