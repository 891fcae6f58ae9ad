use super::*;
use alloc::string::ToString;
use alloc::vec;

const REQUIRED: TlsSettings = TlsSettings {
    mode: TlsMode::Required,
    require_starttls: false,
    allow_plaintext_fallback: true,
    allow_invalid_certs: false,
};
const OPPORTUNISTIC: TlsSettings = TlsSettings { mode: TlsMode::Opportunistic, ..REQUIRED };
const DISABLED: TlsSettings = TlsSettings { mode: TlsMode::Disabled, ..REQUIRED };
const OPEN: TlsDemand = TlsDemand { tls: Tls::Opportunistic, verify: false, plaintext_ok: true };
const NEVER: TlsDemand = TlsDemand { tls: Tls::Disabled, verify: false, plaintext_ok: true };
const NO_WISH: MessageWish = MessageWish { require_tls: false, tls_optional: false };
const STRICT_WISH: MessageWish = MessageWish { require_tls: true, tls_optional: false };
const LENIENT_WISH: MessageWish = MessageWish { require_tls: false, tls_optional: true };

/// One row: everything not named is the default, with `TLS_MODE=opportunistic`.
#[derive(Clone)]
struct Row {
    tls: TlsSettings,
    dane: DaneMode,
    validate: bool,
    enforce: bool,
    way: Way,
    secure: bool,
    tlsa: TlsaAnswer,
    sts: StsState,
    stripped: bool,
    wish: MessageWish,
}

fn row() -> Row {
    Row {
        tls: OPPORTUNISTIC,
        dane: DaneMode::Prefer,
        validate: true,
        enforce: true,
        way: Way::SecureMx,
        secure: true,
        tlsa: TlsaAnswer::None,
        sts: StsState::None,
        stripped: false,
        wish: NO_WISH,
    }
}

fn records(usage: u8) -> TlsaAnswer {
    let record = Tlsa { usage, selector: 1, matching: 1, data: vec![7; 32] };
    TlsaAnswer::Records { records: vec![record], base_domain: "mx.test".to_string() }
}

fn enforce(pattern: &str) -> StsState {
    StsState::Enforce { mx: vec![pattern.to_string()] }
}

impl Row {
    fn plan(&self) -> Result<HostPlan, Failure> {
        let settings = Settings {
            tls: self.tls,
            dane: self.dane,
            dnssec_validate: self.validate,
            mta_sts_enforce: self.enforce,
        };
        let destination = Destination {
            domain: "test",
            expanded: "test",
            way: self.way,
            sts: &self.sts,
            stripped: self.stripped,
        };
        let host = HostFacts {
            name: "mx.test".to_string(),
            preference: 10,
            secure: self.secure,
            tlsa: self.tlsa.clone(),
        };
        plan(settings, destination, self.wish, &[host]).map(|mut plans| plans.remove(0))
    }
}

type Expected = Result<(Posture, TlsDemand, bool), (Status, &'static str)>;

fn check(table: Vec<(&str, Row, Expected)>) {
    for (name, row, expected) in table {
        match (row.plan(), expected) {
            (Ok(plan), Ok((posture, demand, dane))) => {
                assert_eq!((plan.posture, plan.demand), (posture, demand), "{name}");
                assert_eq!(matches!(plan.check, Check::Dane { .. }), dane, "{name}");
            }
            (Err(failure), Err((status, part))) => {
                assert_eq!(failure.status, status, "{name}");
                let text = &failure.reply;
                assert!(text.contains(part) && text.contains("mx.test"), "{name}: {text}");
            }
            (got, _) => panic!("{name}: {got:?}"),
        }
    }
}

#[test]
fn so4_dt1_dt2_dt3_what_dane_says() {
    use Posture::*;
    const VARIABLE: &str = "SMTP_OUTBOUND_DANE_MODE";
    let dane = Ok((Dane, PROVED, true));
    let settings = Ok((Opportunistic, OPEN, false));
    let failed = |why| Row { tlsa: TlsaAnswer::Failed(why), ..row() };
    let must = Row { dane: DaneMode::Require, ..row() };
    let lax = TlsSettings { allow_invalid_certs: true, ..REQUIRED };
    let insecure = Row { way: Way::InsecureMx, tlsa: records(3), ..row() };
    let unsigned = Row { secure: false, tlsa: records(3), ..row() };
    let none = Err((Status::BAD_TLS, VARIABLE));
    check(vec![
        ("usage 3", Row { tlsa: records(3), ..row() }, dane),
        ("usage 2", Row { tlsa: records(2), ..row() }, dane),
        ("invalid certificates are not allowed", Row { tls: lax, tlsa: records(3), ..row() }, dane),
        ("unusable", Row { tlsa: records(1), ..row() }, Ok((Opportunistic, ENCRYPTED, false))),
        (
            "unusable, TLS_MODE=required",
            Row { tls: REQUIRED, tlsa: records(0), ..row() },
            Ok((Opportunistic, ENCRYPTED, false)),
        ),
        ("none", row(), settings),
        ("insecure answer", Row { tlsa: TlsaAnswer::Insecure, ..row() }, settings),
        ("insecure MX", insecure.clone(), settings),
        ("insecure MX, without validation", Row { validate: false, ..insecure.clone() }, dane),
        ("insecure address", unsigned.clone(), settings),
        ("relay", Row { way: Way::Relay, tlsa: records(3), ..row() }, dane),
        ("no MX", Row { way: Way::Domain { secure: true }, tlsa: records(3), ..row() }, dane),
        ("no MX, unproved", Row { way: Way::Domain { secure: false }, tlsa: records(3), ..row() }, settings),
        ("bogus", failed(DnsFailure::Bogus), Err((Status::BAD_TLS, VARIABLE))),
        ("SERVFAIL", failed(DnsFailure::ServFail), Err((Status::DNS_FAILED, VARIABLE))),
        ("timeout", failed(DnsFailure::Timeout), Err((Status::DNS_FAILED, VARIABLE))),
        ("off", Row { dane: DaneMode::Off, tlsa: records(3), ..row() }, settings),
        ("off, bogus", Row { dane: DaneMode::Off, ..failed(DnsFailure::Bogus) }, settings),
        ("TLS disabled", Row { tls: DISABLED, tlsa: records(3), ..row() }, Ok((Plaintext, NEVER, false))),
        ("require", Row { tlsa: records(3), ..must.clone() }, dane),
        ("require, none", must.clone(), none),
        ("require, unusable", Row { tlsa: records(1), ..must.clone() }, none),
        ("require, insecure MX", Row { dane: DaneMode::Require, ..insecure }, none),
        ("require, insecure address", Row { dane: DaneMode::Require, ..unsigned }, none),
        ("stripped, prefer", Row { stripped: true, tlsa: records(3), ..row() }, settings),
        ("stripped, require", Row { stripped: true, tlsa: records(3), ..must }, none),
        ("MTA-STS is not consulted", Row { tlsa: records(3), sts: enforce("other.test"), ..row() }, dane),
    ]);
}

#[test]
fn so4_dt7_what_mta_sts_says() {
    use Posture::*;
    let row = |sts| Row { sts, ..row() };
    let sts = Ok((MtaSts, PROVED, false));
    let settings = Ok((Opportunistic, OPEN, false));
    let unlisted = Err((Status::BAD_TLS, "SMTP_OUTBOUND_MTA_STS_ENFORCE"));
    let lax = TlsSettings { allow_invalid_certs: true, ..REQUIRED };
    check(vec![
        ("none", row(StsState::None), settings),
        ("testing", row(StsState::Testing), settings),
        ("mode none", row(StsState::Off), settings),
        ("advertised", row(StsState::Advertised), Ok((MtaSts, ENCRYPTED, false))),
        (
            "advertised, TLS_MODE=required",
            Row { tls: REQUIRED, ..row(StsState::Advertised) },
            Ok((Pkix, PROVED, false)),
        ),
        ("listed", row(enforce("mx.test")), sts),
        ("listed with a star", row(enforce("*.test")), sts),
        ("a star is one label", row(enforce("*.mx.test")), unlisted),
        ("not listed", row(enforce("other.test")), unlisted),
        ("invalid certificates are not allowed", Row { tls: lax, ..row(enforce("mx.test")) }, sts),
        ("not enforced", Row { enforce: false, ..row(enforce("other.test")) }, settings),
        ("not enforced, advertised", Row { enforce: false, ..row(StsState::Advertised) }, settings),
        ("TLS disabled", Row { tls: DISABLED, ..row(enforce("other.test")) }, Ok((Plaintext, NEVER, false))),
        ("relay", Row { way: Way::Relay, ..row(enforce("other.test")) }, settings),
    ]);
}

#[test]
fn so12_what_a_message_asks_for() {
    use Posture::*;
    let strict = |row: Row| Row { wish: STRICT_WISH, ..row };
    let lenient = |row: Row| Row { wish: LENIENT_WISH, ..row };
    let insecure = Row { way: Way::InsecureMx, ..row() };
    let both = MessageWish { require_tls: true, tls_optional: true };
    check(vec![
        ("REQUIRETLS, DANE", strict(Row { tlsa: records(3), ..row() }), Ok((RequireTls, PROVED, true))),
        ("REQUIRETLS, secure MX", strict(row()), Ok((RequireTls, PROVED, false))),
        ("REQUIRETLS, unusable", strict(Row { tlsa: records(1), ..row() }), Ok((RequireTls, PROVED, false))),
        ("REQUIRETLS, insecure MX", strict(insecure.clone()), Err((Status::REQUIRETLS, "REQUIRETLS"))),
        (
            "REQUIRETLS, listed",
            strict(Row { sts: enforce("mx.test"), ..insecure.clone() }),
            Ok((RequireTls, PROVED, false)),
        ),
        ("REQUIRETLS outweighs", Row { wish: both, ..row() }, Ok((RequireTls, PROVED, false))),
        ("optional, DANE", lenient(Row { tlsa: records(3), ..row() }), Ok((Dane, ENCRYPTED, true))),
        (
            "optional, bogus",
            lenient(Row { tlsa: TlsaAnswer::Failed(DnsFailure::Bogus), ..row() }),
            Ok((Opportunistic, OPEN, false)),
        ),
        (
            "optional, DANE required",
            lenient(Row { dane: DaneMode::Require, ..row() }),
            Ok((Opportunistic, OPEN, false)),
        ),
        (
            "optional, not listed",
            lenient(Row { sts: enforce("other.test"), ..insecure }),
            Ok((MtaSts, ENCRYPTED, false)),
        ),
        (
            "optional, TLS_MODE=required",
            lenient(Row { tls: REQUIRED, ..row() }),
            Ok((Pkix, ENCRYPTED, false)),
        ),
    ]);
}

#[test]
fn hosts_under_dane_come_first_within_one_preference() {
    let settings =
        Settings { tls: OPPORTUNISTIC, dane: DaneMode::Prefer, dnssec_validate: true, mta_sts_enforce: true };
    let destination = Destination {
        domain: "test",
        expanded: "test",
        way: Way::SecureMx,
        sts: &StsState::None,
        stripped: false,
    };
    let host =
        |name: &str, preference, tlsa| HostFacts { name: name.to_string(), preference, secure: true, tlsa };
    let hosts = [
        host("a", 10, TlsaAnswer::None),
        host("b", 10, records(3)),
        host("c", 10, records(1)),
        host("d", 10, records(2)),
        host("e", 20, records(3)),
        host("f", 5, TlsaAnswer::Failed(DnsFailure::Bogus)),
    ];
    let names = |settings| -> Vec<String> {
        plan(settings, destination, NO_WISH, &hosts).unwrap().into_iter().map(|p| p.name).collect()
    };
    assert_eq!(names(settings), ["b", "d", "a", "c", "e"]);
    assert_eq!(names(Settings { dane: DaneMode::Require, ..settings }), ["b", "d", "e"]);
}

#[test]
fn contradictions_are_no_demand() {
    let off = TlsSettings { require_starttls: true, ..DISABLED };
    for (tls, dane, fits) in [
        (DISABLED, DaneMode::Prefer, true),
        (DISABLED, DaneMode::Require, false),
        (off, DaneMode::Off, false),
        (REQUIRED, DaneMode::Require, true),
    ] {
        let settings = Settings { tls, dane, dnssec_validate: true, mta_sts_enforce: true };
        assert_eq!(settings.demand().is_ok(), fits, "{settings:?}");
    }
}

#[test]
fn the_posture_of_a_delivery_in_plaintext_is_plaintext() {
    let plan = row().plan().unwrap();
    assert_eq!(plan.posture_used(true).as_str(), "opportunistic");
    assert_eq!(plan.posture_used(false).as_str(), "plaintext");
}
