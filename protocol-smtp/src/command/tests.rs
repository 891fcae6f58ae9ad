use super::*;

fn parse(line: &str) -> Result<Command<'_>, CommandError> {
    Command::parse(line.as_bytes(), &Accepts::ALL)
}

#[test]
fn what_is_read_is_written() {
    for line in [
        "EHLO client.example.test",
        "HELO [192.0.2.1]",
        "LHLO a",
        "STARTTLS",
        "AUTH PLAIN",
        "AUTH PLAIN AGEAYg==",
        "AUTH SCRAM-SHA-256 =",
        "MAIL FROM:<>",
        "MAIL FROM:<a@b.test> SIZE=10 BODY=8BITMIME",
        "RCPT TO:<postmaster>",
        "RCPT TO:<\"a b\"@[IPv6:::1]> NOTIFY=NEVER",
        "DATA",
        "BDAT 0 LAST",
        "BDAT 18446744073709551615",
        "RSET",
        "NOOP",
        "EXPN",
        "HELP",
        "QUIT",
        "MAIL FROM:<grüße@exämple.test> SMTPUTF8",
    ] {
        let mut out = SendBuf::with_high_water(1024);
        parse(line).unwrap_or_else(|e| panic!("{line}: {e:?}")).write(&mut out);
        let written = str::from_utf8(out.bytes()).unwrap();
        assert_eq!(
            written.strip_suffix("\r\n"),
            Some(if line == "RCPT TO:<postmaster>" { written.trim_end() } else { line })
        );
    }
}

#[test]
fn tolerated_forms_mean_the_same() {
    for (odd, plain) in [
        ("mail from: <a@b.test>  SIZE=1 ", "MAIL FROM:<a@b.test> SIZE=1"),
        ("Rcpt To:<@relay.test:a@b.test>", "RCPT TO:<a@b.test>"),
        ("quit  ", "QUIT"),
        ("NOOP whatever", "NOOP"),
        ("bdat 5 last", "BDAT 5 LAST"),
    ] {
        assert_eq!(parse(odd), parse(plain), "{odd}");
        assert!(parse(odd).is_ok(), "{odd}");
    }
}

#[test]
fn what_is_no_command() {
    use CommandError::*;
    for (line, error) in [
        ("", Unknown),
        ("FOO", Unknown),
        ("MAILFROM:<a@b.test>", Unknown),
        ("GET / HTTP/1.1", Http),
        ("EHLO", Argument),
        ("EHLO a b", Argument),
        ("DATA now", Argument),
        ("VRFY", Argument),
        ("MAIL a@b.test", Argument),
        ("MAIL FROM:a@b.test", Sender),
        ("MAIL FROM:<postmaster>", Sender),
        ("MAIL FROM:<a@b.test>SIZE=1", Argument),
        ("MAIL FROM:<a@b.test> X=1", Parameter),
        ("MAIL FROM:<ü@b.test>", NeedsUtf8),
        ("RCPT TO:<>", Recipient),
        ("RCPT TO:<a@>", Recipient),
        ("BDAT", ChunkSize),
        ("BDAT -1", ChunkSize),
        ("BDAT 18446744073709551616", ChunkSize),
        ("BDAT 1 FIRST", ChunkSize),
        ("AUTH", Argument),
        ("AUTH PLAIN a b", Argument),
        ("AUTH TWENTY-ONE-CHARACTERS", Argument),
        ("NOOP \u{1b}", Octets),
    ] {
        assert_eq!(parse(line), Err(error), "{line}");
    }
    assert_eq!(Command::parse(b"NOOP \xff", &Accepts::ALL), Err(Octets));
}

#[test]
fn si12_si22_hostile_paths_are_syntax_errors() {
    for path in [
        "<;id;>",
        "<$(id)@>",
        "<`id`@x",
        "<(any@legit>",
        "<legit(.attack>",
        "<a@b>@c>",
        "<a@b.test\0@c.test>",
    ] {
        let mut line = alloc::string::String::from("MAIL FROM:");
        line.push_str(path);
        assert!(parse(&line).is_err(), "{path}");
    }
}
