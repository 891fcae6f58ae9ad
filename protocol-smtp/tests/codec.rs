//! What is written is read back the same, for every command and reply that can be made.

use proptest::option;
use proptest::prelude::*;
use protocol_core::{RecvBuf, SendBuf, Timestamp};
use protocol_smtp::address::{Mailbox, Path};
use protocol_smtp::command::Command;
use protocol_smtp::params::{Accepts, Body, By, Hold, MailParams, RcptParams, Ret, decode_xtext};
use protocol_smtp::reply::{self, ReplyParser};
use protocol_smtp::status::Status;

fn local() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,10}(\\.[a-z0-9]{1,10}){0,3}",
        "\"([ -!#-\\[\\]-~]|\\\\[ -~]){0,20}\"",
        "[a-zäöüß用户]{1,8}",
    ]
}

fn domain() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9]([a-z0-9-]{0,10}[a-z0-9])?(\\.[a-z0-9]{1,10}){0,3}",
        "[a-z0-9]{1,5}\\.[äöü例え]{1,4}",
        any::<[u8; 4]>().prop_map(|a| format!("[{}.{}.{}.{}]", a[0], a[1], a[2], a[3])),
        any::<u128>().prop_map(|a| format!("[IPv6:{}]", std::net::Ipv6Addr::from(a))),
        "\\[x[a-z0-9]{0,5}:[!-Z^-~]{1,20}\\]",
    ]
}

fn mailbox() -> impl Strategy<Value = String> {
    (local(), domain()).prop_map(|(local, domain)| format!("{local}@{domain}"))
}

fn xtext() -> impl Strategy<Value = String> {
    "([!-*,-<>-~]|\\+2B|\\+3D|\\+20){1,33}"
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![Just(Body::SevenBit), Just(Body::EightBit), Just(Body::Binary)]
}

fn hold() -> impl Strategy<Value = Hold> {
    prop_oneof![
        any::<u32>().prop_map(Hold::For),
        (0i64..253_402_300_800).prop_map(|secs| Hold::Until(Timestamp::from_secs(secs))),
    ]
}

fn by() -> impl Strategy<Value = By> {
    (-999_999_999i32..=999_999_999, any::<bool>(), any::<bool>()).prop_map(|(secs, give_up, trace)| By {
        secs,
        give_up: give_up && secs > 0,
        trace,
    })
}

fn check(command: Command<'_>) -> Result<(), TestCaseError> {
    let mut out = SendBuf::with_high_water(4096);
    command.write(&mut out);
    let line = out.bytes().strip_suffix(b"\r\n").expect("a line");
    prop_assert!(!line.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
    prop_assert_eq!(Command::parse(line, &Accepts::ALL), Ok(command));
    Ok(())
}

proptest! {
    #[test]
    fn mail(
        sender in option::of(mailbox()),
        (size, body, ret) in (option::of(any::<u64>()), body(), option::of(prop_oneof![Just(Ret::Full), Just(Ret::Headers)])),
        (envid, auth) in (option::of(xtext()), option::of(xtext())),
        (require_tls, hold, by) in (any::<bool>(), option::of(hold()), option::of(by())),
    ) {
        let path = match &sender {
            Some(text) => Path::Mailbox(Mailbox::parse(text).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?),
            None => Path::Null,
        };
        let params = MailParams {
            size, body, smtputf8: true, ret, envid: envid.as_deref(), auth: auth.as_deref(), require_tls, hold, by,
        };
        check(Command::Mail(path, params))?;
    }

    #[test]
    fn rcpt(
        recipient in option::of(mailbox()),
        notify in option::of(prop_oneof![Just("NEVER"), Just("SUCCESS"), Just("SUCCESS,FAILURE,DELAY")]),
        orcpt in option::of(prop_oneof![
            xtext().prop_map(|x| format!("rfc822;{x}")),
            "utf-8;([a-z@.]|é|\\\\x\\{2B\\}|\\\\x\\{1F600\\}){1,20}",
        ]),
    ) {
        let path = match &recipient {
            Some(text) => Path::Mailbox(Mailbox::parse(text).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?),
            None => Path::Postmaster,
        };
        check(Command::Rcpt(path, RcptParams { notify, orcpt: orcpt.as_deref() }))?;
    }

    #[test]
    fn the_others(name in "[a-z0-9.-]{1,30}|\\[[0-9.]{7,15}\\]", size in any::<u64>(), last in any::<bool>(), initial in option::of("[A-Za-z0-9+/]{4}|=")) {
        for command in [
            Command::Ehlo(&name), Command::Helo(&name), Command::Lhlo(&name), Command::StartTls, Command::Data,
            Command::Bdat { size, last }, Command::Rset, Command::Noop, Command::Vrfy, Command::Expn, Command::Help,
            Command::Quit, Command::Auth { mechanism: "SCRAM-SHA-256", initial: initial.as_deref() },
        ] {
            check(command)?;
        }
    }

    #[test]
    fn lines_of_any_octets_are_survived(line in prop::collection::vec(any::<u8>(), 0..200), verb in 0usize..6) {
        let verbs: [&[u8]; 6] = [b"", b"MAIL FROM:<", b"RCPT TO:<", b"MAIL FROM:<> ", b"AUTH ", b"BDAT "];
        let line = [verbs[verb], &line].concat();
        if let Ok(command) = Command::parse(&line, &Accepts::ALL) {
            check(command)?;
        }
    }

    #[test]
    fn xtext_decodes_to_what_was_encoded(octets in prop::collection::vec(any::<u8>(), 0..50)) {
        let encode = |b: &u8| match b {
            b'!'..=b'~' if !matches!(b, b'+' | b'=') => char::from(*b).to_string(),
            _ => format!("+{b:02X}"),
        };
        let text: String = octets.iter().map(encode).collect();
        let decoded: Vec<u8> = decode_xtext(&text).expect("xtext").collect();
        prop_assert_eq!(decoded, octets);
    }

    #[test]
    fn replies(
        code in 200u16..600,
        status in option::of((0u16..1000, 0u16..1000)),
        lines in prop::collection::vec("[ -~]{0,60}", 1..10),
        cut in any::<prop::sample::Index>(),
    ) {
        let status = status.map(|(subject, detail)| Status::new((code / 100) as u8, subject, detail))
            .filter(|s| matches!(s.class, 2 | 4 | 5));
        let mut out = SendBuf::with_high_water(4096);
        for (i, line) in lines.iter().enumerate() {
            reply::write_line(&mut out, code, i + 1 == lines.len(), status, line);
        }
        let mut input = RecvBuf::with_limit(65_536);
        let mut parser = ReplyParser::new();
        let at = cut.index(out.len());
        input.feed(&out.bytes()[..at]);
        prop_assert!(parser.poll(&mut input).expect("a reply so far").is_none());
        input.feed(&out.bytes()[at..]);
        let reply = parser.poll(&mut input).expect("a reply").expect("a whole reply");
        prop_assert_eq!(reply.code(), code);
        if status.is_some() {
            prop_assert_eq!(reply.status(), status);
        }
        let prefix = status.map_or(String::new(), |s| format!("{s} "));
        let read: Vec<String> = reply.lines().map(|l| String::from_utf8_lossy(l).into_owned()).collect();
        let written: Vec<String> = lines.iter().map(|l| format!("{prefix}{l}")).collect();
        prop_assert_eq!(read, written);
    }
}
