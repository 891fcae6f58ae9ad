use super::*;

const RSA: &str = include_str!("../../tests/data/test-rsa-private.b64");
const RSA_1024: &str = include_str!("../../tests/data/test-rsa-1024-private.b64");
/// RFC 8032 §7.1, test 1; RFC 8463 §A.2.
const SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";

fn der(b64: &str) -> Vec<u8> {
    BASE64.decode(b64.split_whitespace().collect::<String>()).unwrap()
}

/// RFC 8410 §7: the seed in PKCS#8.
fn ed25519_der() -> Vec<u8> {
    let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    [&prefix[..], &der(SEED)].concat()
}

fn signer(always: &[&str]) -> Signer {
    let keys = vec![
        ("s1".to_owned(), Key::from_pkcs8(&der(RSA)).unwrap()),
        ("s1-ed25519".to_owned(), Key::from_pkcs8(&ed25519_der()).unwrap()),
    ];
    Signer::new("example.com", keys, &always.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
}

fn signed(signer: &Signer, header: &[u8]) -> String {
    let fields = signer.sign(header, BodyHash::new().finish(), Timestamp::from_secs(1_000)).unwrap();
    String::from_utf8(fields).unwrap()
}

/// The value of `h=` in the first of the fields.
fn names(fields: &str) -> String {
    let (_, rest) = fields.split_once("h=").unwrap();
    rest.split_once(';').unwrap().0.replace("\r\n\t", "")
}

/// RFC 8463 §A: the message, the key and the signature that the RFC prints.
#[test]
fn the_example_of_rfc_8463_comes_out_as_printed() {
    let header =
        b"From: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\n\
        Subject: Is dinner ready?\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
        Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\n";
    let field = " v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; \
        i=@football.example.com;\r\n q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : date : \
        message-id : from : subject : date;\r\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=";
    let mut hash = BodyHash::new();
    hash.feed(b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n");
    assert_eq!(BASE64.encode(hash.finish().0), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
    let mut canonical = Vec::new();
    for name in ["from", "to", "subject", "date", "message-id"] {
        let found = Fields::find(header, name).unwrap();
        relaxed_field(found.name, found.value, &mut canonical);
        canonical.extend_from_slice(b"\r\n");
    }
    relaxed_field(b"DKIM-Signature", field.as_bytes(), &mut canonical);
    let key = Key::from_pkcs8(&ed25519_der()).unwrap();
    assert_eq!(key.algorithm(), "ed25519-sha256");
    assert_eq!(
        BASE64.encode(key.sign(&canonical).unwrap()),
        "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw=="
    );
}

#[test]
fn si31_every_name_stands_once_more_than_its_field() {
    let signer = signer(&["From", "To", "Subject", "Date"]);
    assert_eq!(
        names(&signed(&signer, b"From: a\r\nTo: b\r\nTo: c\r\nX: y\r\nCc: d\r\nReceived: z\r\n\r\n")),
        "From:From:To:To:To:Subject:Date:Cc:Cc"
    );
    let header: String =
        SIGNED_WHEN_PRESENT.iter().map(|name| format!("{}: x\r\n", name.to_lowercase())).collect();
    let want: String = SIGNED_WHEN_PRESENT.iter().map(|name| format!(":{name}:{name}")).collect();
    assert_eq!(names(&signed(&signer, header.as_bytes())), format!("From:To:Subject:Date{want}"));
}

#[test]
fn from_is_always_signed_and_trace_fields_never() {
    let always = [
        "subject",
        "Return-Path",
        "RECEIVED",
        "arc-seal",
        "dkim-signature",
        "Delivered-To",
        "X-A",
        "",
        "b d",
    ];
    assert_eq!(
        names(&signed(&signer(&always), b"Return-Path: <>\r\nReceived: x\r\nX-A: 1\r\n")),
        "From:subject:X-A:X-A"
    );
    assert_eq!(names(&signed(&signer(&["Cc", "cc", "FROM"]), b"Cc: x\r\nFrom: y\r\n")), "From:From:Cc:Cc");
    assert!(is_never_signed("Received-SPF") && is_never_signed("authentication-results"));
    assert!(!is_never_signed("Received-At") && !is_never_signed("ARC"));
}

#[test]
fn si32_a_signature_ends_after_seven_days() {
    let fields = signed(&signer(&[]), b"From: a\r\n\r\n");
    assert_eq!(fields.matches("t=1000; x=605800;").count(), 2);
    assert_eq!((fields.matches(" l=").count(), VALID_SECS), (0, 604_800));
    let early = signer(&[]).sign(b"", BodyHash::new().finish(), Timestamp::from_secs(-5)).unwrap();
    assert!(String::from_utf8(early).unwrap().contains("t=0; x=604800;"));
}

#[test]
fn lines_are_short_and_one_signature_stands_for_each_key() {
    let many = "To: x\r\n".repeat(2_000);
    let fields = signed(&signer(&["To"]), many.as_bytes());
    assert!(fields.split("\r\n").all(|line| line.len() <= COLUMNS), "{fields}");
    assert_eq!(names(&fields).matches("To").count(), 2_001);
    let starts: Vec<&str> = fields.split("\r\n").filter(|line| line.starts_with("DKIM-Signature:")).collect();
    assert_eq!(
        starts,
        [
            "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;",
            "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;"
        ]
    );
}

#[test]
fn only_usable_keys_are_read_and_none_is_shown() {
    assert_eq!(format!("{:?}", Key::from_pkcs8(&der(RSA)).unwrap()), "Key(rsa-sha256)");
    assert_eq!(Key::from_pkcs8(&der(RSA_1024)).err(), Some(BadKey));
    let cut = der(RSA);
    for bad in [&b""[..], b"\x30", &cut[..cut.len() - 1], &ed25519_der()[..40]] {
        assert_eq!(Key::from_pkcs8(bad).err(), Some(BadKey));
    }
}
