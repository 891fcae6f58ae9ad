use super::*;

fn mail(rest: &str) -> Result<MailParams<'_>, ParamError> {
    MailParams::parse(rest, &Accepts::ALL)
}

#[test]
fn what_is_read_is_written() {
    for text in [
        "",
        " SIZE=100",
        " SIZE=0 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb AUTH=x+3Dy REQUIRETLS HOLDFOR=60 BY=120;RT",
        " BODY=BINARYMIME RET=FULL HOLDUNTIL=2026-11-23T12:00:00Z BY=-5;N",
    ] {
        let mut out = SendBuf::with_high_water(1024);
        mail(text).unwrap().write(&mut out);
        assert_eq!(core::str::from_utf8(out.bytes()), Ok(text));
    }
    for text in ["", " NOTIFY=NEVER", " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@c.test"] {
        let mut out = SendBuf::with_high_water(1024);
        RcptParams::parse(text, &Accepts::ALL).unwrap().write(&mut out);
        assert_eq!(core::str::from_utf8(out.bytes()), Ok(text));
    }
}

#[test]
fn bad_values_and_unknown_words() {
    for text in [
        "SIZE=1",
        " SIZE=",
        " SIZE=-1",
        " SIZE=99999999999999999999",
        " SIZE=1 SIZE=2",
        " BODY=9BIT",
        " SMTPUTF8=yes",
        " RET=SOME",
        " ENVID=",
        " ENVID=a=b",
        " HOLDFOR=4294967296",
        " BY=0;R",
        " BY=1;X",
        " HOLDFOR=1 HOLDUNTIL=2026-11-23T12:00:00Z",
    ] {
        assert_eq!(mail(text), Err(ParamError::Bad), "{text}");
    }
    assert_eq!(mail(" FOO=1"), Err(ParamError::Unknown));
    assert_eq!(mail(" NOTIFY=NEVER"), Err(ParamError::Unknown));
    let none = Accepts { require_tls: false, dsn: false, ..Accepts::ALL };
    assert_eq!(MailParams::parse(" REQUIRETLS", &none), Err(ParamError::Unknown));
    for text in [" NOTIFY=SOMETIMES", " NOTIFY=NEVER,DELAY", " ORCPT=a@b", " ORCPT=rfc822;", " ORCPT=;a"] {
        assert_eq!(RcptParams::parse(text, &Accepts::ALL), Err(ParamError::Bad), "{text}");
    }
}

#[test]
fn si11_line_ends_in_xtext_are_refused() {
    assert_eq!(mail(" AUTH=x+0D+0AY"), Err(ParamError::Bad));
    assert_eq!(mail(" ENVID=x+00"), Err(ParamError::Bad));
    let rcpt = RcptParams::parse(" ORCPT=rfc822;x+0D+0AInjected:+20y", &Accepts::ALL);
    assert_eq!(rcpt, Err(ParamError::Bad));
}

#[test]
fn xtext_is_written_as_it_is_read() {
    for (text, written) in [
        ("a@b.test", "a@b.test"),
        ("a+b=c@b.test", "a+2Bb+3Dc@b.test"),
        ("\"a b\"@ü", "\"a+20b\"@+C3+BC"),
        ("", ""),
    ] {
        assert_eq!(encode_xtext(text), written);
        let octets: alloc::vec::Vec<u8> = decode_xtext(written).unwrap().collect();
        assert_eq!(octets, text.as_bytes());
    }
}

#[test]
fn envid_and_orcpt_at_their_limits() {
    use alloc::{format, string::String};
    let long = |n: usize| String::from_utf8(alloc::vec![b'e'; n]).unwrap();
    assert!(mail(&format!(" ENVID={}", long(ENVID_MAX))).is_ok());
    assert_eq!(mail(&format!(" ENVID={}", long(ENVID_MAX + 1))), Err(ParamError::Bad));
    let orcpt = |n: usize| format!(" ORCPT=rfc822;{}", long(n - 7));
    assert!(RcptParams::parse(&orcpt(ORCPT_MAX), &Accepts::ALL).is_ok());
    assert_eq!(RcptParams::parse(&orcpt(ORCPT_MAX + 1), &Accepts::ALL), Err(ParamError::Bad));
}
