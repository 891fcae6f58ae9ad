//! From a connection to what is noted about it.

use std::net::IpAddr;

use protocol_core::Timestamp;
use protocol_smtp::route::dane::Tlsa;
use protocol_smtp::tlsrpt::{PolicyKind, PolicySeen, ResultType, Session};

use crate::mta_sts::Look;

/// Which policy held for a connection.
#[derive(Clone, Copy, Debug)]
pub enum Applied<'a> {
    /// DANE, by these usable records of the host.
    Dane(&'a [Tlsa]),
    /// Whatever the look at the domain's MTA-STS policy gave, nothing included.
    Sts(&'a Look),
    /// None was looked for.
    Nothing,
}

/// How the TLS of a connection came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It was negotiated, and the certificate passed, or nobody asks for its worth: neither a policy (an MTA-STS
    /// policy in mode `testing` is one) nor the settings.
    Good,
    /// STARTTLS was not offered, or refused.
    NoStarttls,
    /// The certificate is not valid: what the verifier said.
    Certificate(&'a str),
    /// The certificate fits no TLSA record: what was found.
    Tlsa(&'a str),
    /// The handshake broke: why.
    Handshake(&'a str),
    /// The TLSA records, or the way to them, are proved false.
    Dnssec(&'a str),
    /// DANE is demanded here, and the host has no usable records.
    NoDane,
}

/// One connection, or one host that was not dialled because of its TLSA records.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// When it ended.
    pub at: Timestamp,
    /// The recipients' domain, an A-label.
    pub domain: &'a str,
    /// Which policy held.
    pub applied: Applied<'a>,
    /// Our address, when there was a connection.
    pub sending_ip: Option<IpAddr>,
    /// The host, as MX has it.
    pub mx: &'a str,
    /// Its address, when there was a connection.
    pub receiving_ip: Option<IpAddr>,
    /// How it came out.
    pub outcome: Outcome<'a>,
}

/// What is noted about a connection. A host that the domain's MTA-STS policy does not list is a failure even
/// where its certificate is good.
pub fn session_of(connection: Connection<'_>) -> Session {
    let Connection { at, domain, applied, sending_ip, mx, receiving_ip, outcome } = connection;
    let mx_name = mx.trim_end_matches('.').to_ascii_lowercase();
    let policy = match applied {
        Applied::Dane(records) => PolicySeen {
            kind: PolicyKind::Tlsa,
            domain: domain.to_owned(),
            strings: records.iter().map(Tlsa::to_string).collect(),
            mx_hosts: Vec::new(),
        },
        Applied::Sts(look) => look.seen(domain),
        Applied::Nothing => PolicySeen {
            kind: PolicyKind::NoPolicyFound,
            domain: domain.to_owned(),
            strings: Vec::new(),
            mx_hosts: Vec::new(),
        },
    };
    let (failure, reason) = match outcome {
        Outcome::Good => match applied {
            Applied::Sts(Look { policy: Some(policy), .. })
                if !policy.mx.is_empty() && !policy.allows(&mx_name) =>
            {
                (Some(ResultType::ValidationFailure), Some("the host is not listed in the policy".to_owned()))
            }
            _ => (None, None),
        },
        Outcome::NoStarttls => (Some(ResultType::StarttlsNotSupported), None),
        Outcome::Certificate(why) => (Some(certificate_result(why)), Some(why.to_owned())),
        Outcome::Tlsa(why) => (Some(ResultType::TlsaInvalid), Some(why.to_owned())),
        Outcome::Handshake(why) => (Some(ResultType::ValidationFailure), Some(why.to_owned())),
        Outcome::Dnssec(why) => (Some(ResultType::DnssecInvalid), Some(why.to_owned())),
        Outcome::NoDane => (Some(ResultType::DaneRequired), None),
    };
    Session { at, policy, failure, sending_ip, mx: Some(mx_name), receiving_ip, reason }
}

/// What the verifier's words come to (RFC 8460 §4.3.1). It gives its verdict as a text only; a test holds this
/// against the texts of the errors themselves.
fn certificate_result(why: &str) -> ResultType {
    let says = |words: &[&str]| words.iter().any(|word| why.contains(word));
    if says(&["not valid for name", "NotValidForName"]) {
        ResultType::CertificateHostMismatch
    } else if says(&["certificate expired", "not valid yet", "Expired", "NotValidYet"]) {
        ResultType::CertificateExpired
    } else {
        ResultType::CertificateNotTrusted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol_smtp::route::mta_sts::Policy;
    use protocol_smtp::route::posture::StsState;
    use rustls::{CertificateError, Error};
    use rustls_pki_types::{ServerName, UnixTime};

    use super::*;

    fn connection<'a>(applied: Applied<'a>, outcome: Outcome<'a>) -> Connection<'a> {
        Connection {
            at: Timestamp::from_secs(1_795_433_195),
            domain: "example.net",
            applied,
            sending_ip: None,
            mx: "MX.Example.net.",
            receiving_ip: Some([192, 0, 2, 1].into()),
            outcome,
        }
    }

    #[test]
    fn the_verifiers_errors_have_their_names() {
        let time = |secs| UnixTime::since_unix_epoch(Duration::from_secs(secs));
        let name = ServerName::try_from("mx.example.net").unwrap();
        for (error, expected) in [
            (CertificateError::Expired, ResultType::CertificateExpired),
            (
                CertificateError::ExpiredContext { time: time(9), not_after: time(5) },
                ResultType::CertificateExpired,
            ),
            (
                CertificateError::NotValidYetContext { time: time(5), not_before: time(9) },
                ResultType::CertificateExpired,
            ),
            (CertificateError::NotValidForName, ResultType::CertificateHostMismatch),
            (
                CertificateError::NotValidForNameContext { expected: name.clone(), presented: vec![] },
                ResultType::CertificateHostMismatch,
            ),
            (CertificateError::UnknownIssuer, ResultType::CertificateNotTrusted),
            (CertificateError::BadSignature, ResultType::CertificateNotTrusted),
        ] {
            let why = Error::InvalidCertificate(error).to_string();
            assert_eq!(certificate_result(&why), expected, "{why}");
        }
    }

    #[test]
    fn the_policy_that_held_is_told() {
        let tlsa = Tlsa { usage: 3, selector: 1, matching: 1, data: vec![0xab; 32] };
        let records = [tlsa];
        let session = session_of(connection(Applied::Dane(&records), Outcome::Tlsa("no record fits")));
        assert_eq!((session.policy.kind, session.policy.strings.len()), (PolicyKind::Tlsa, 1));
        assert_eq!(session.failure, Some(ResultType::TlsaInvalid));
        let session = session_of(connection(Applied::Nothing, Outcome::NoStarttls));
        assert_eq!(session.policy.kind, PolicyKind::NoPolicyFound);
        assert_eq!(session.failure, Some(ResultType::StarttlsNotSupported));
        assert_eq!(session.mx.as_deref(), Some("mx.example.net"));
    }

    #[test]
    fn a_host_that_the_policy_does_not_list_is_a_failure() {
        let look = |mx: &str| {
            let text = format!("version: STSv1\nmode: testing\nmx: {mx}\nmax_age: 9\n");
            let policy = Policy::parse_body(text.as_bytes()).unwrap();
            Look { state: StsState::Testing, policy: Some(policy) }
        };
        for (mx, failure) in [("*.example.net", None), ("a.example", Some(ResultType::ValidationFailure))] {
            let look = look(mx);
            let session = session_of(connection(Applied::Sts(&look), Outcome::Good));
            assert_eq!((session.policy.kind, session.failure), (PolicyKind::Sts, failure), "{mx}");
            assert_eq!(session.policy.mx_hosts, [mx]);
        }
        let nothing = Look { state: StsState::None, policy: None };
        let session = session_of(connection(Applied::Sts(&nothing), Outcome::Good));
        assert_eq!((session.policy.kind, session.failure), (PolicyKind::NoPolicyFound, None));
    }
}
