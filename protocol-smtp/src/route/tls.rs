//! What encryption a connection needs (`SMTP_OUTBOUND_TLS_MODE` and its companions), and what follows from
//! what happened. DANE and MTA-STS are judged before and replace [`TlsDemand::by_settings`] by a stricter
//! demand for their hosts; the table below does not change with them.

use core::fmt;

use crate::status::Status;

/// `SMTP_OUTBOUND_TLS_MODE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum TlsMode {
    Required,
    Opportunistic,
    Disabled,
}

/// The four variables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TlsSettings {
    /// `TLS_MODE`.
    pub mode: TlsMode,
    /// `REQUIRE_STARTTLS`.
    pub require_starttls: bool,
    /// `ALLOW_PLAINTEXT_FALLBACK`.
    pub allow_plaintext_fallback: bool,
    /// `ALLOW_INVALID_CERTS`.
    pub allow_invalid_certs: bool,
}

/// Whether TLS is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tls {
    /// Always.
    Required,
    /// When it is offered.
    Opportunistic,
    /// Never.
    Disabled,
}

/// What a connection to one host needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TlsDemand {
    /// Whether TLS is started.
    pub tls: Tls,
    /// A certificate that is not valid for the host's name ends the session. Where it does not, it is
    /// recorded.
    pub verify: bool,
    /// The message may go without encryption.
    pub plaintext_ok: bool,
}

/// `TLS_MODE=disabled` together with `REQUIRE_STARTTLS=true`: a fault of configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contradiction;

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TLS is disabled and required at once")
    }
}

impl core::error::Error for Contradiction {}

impl TlsDemand {
    /// The demand for hosts of which nothing else is known.
    pub fn by_settings(settings: TlsSettings) -> Result<TlsDemand, Contradiction> {
        let TlsSettings { mode, require_starttls, allow_plaintext_fallback, allow_invalid_certs } = settings;
        Ok(match mode {
            TlsMode::Required => {
                TlsDemand { tls: Tls::Required, verify: !allow_invalid_certs, plaintext_ok: false }
            }
            TlsMode::Opportunistic => {
                let plaintext_ok = allow_plaintext_fallback && !require_starttls;
                // An unproven peer is better than an open line, so a bad certificate passes where none would.
                let verify = !plaintext_ok && !allow_invalid_certs;
                TlsDemand { tls: Tls::Opportunistic, verify, plaintext_ok }
            }
            TlsMode::Disabled if require_starttls => return Err(Contradiction),
            TlsMode::Disabled => TlsDemand { tls: Tls::Disabled, verify: false, plaintext_ok: true },
        })
    }

    /// For a message with REQUIRETLS (RFC 8689 §4.2.1): nothing less than a proven host, whatever is set.
    pub fn with_requiretls(self) -> TlsDemand {
        TlsDemand { tls: Tls::Required, verify: true, plaintext_ok: false }
    }

    /// For a message with `TLS-Required: No` (RFC 8689 §4.2.2): no certificate is checked. The ban on
    /// plaintext stays.
    pub fn with_tls_optional(self) -> TlsDemand {
        TlsDemand { verify: false, ..self }
    }
}

/// What became of TLS on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsOutcome {
    /// EHLO did not announce STARTTLS.
    NotOffered,
    /// STARTTLS was answered with anything but 220.
    Refused,
    /// Octets stood behind the 220 line (response injection), or the handshake broke.
    Broken,
    /// Encrypted, and the certificate is valid for the host's name.
    Valid,
    /// Encrypted, and the certificate proves nothing.
    Invalid,
}

/// What follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proceed {
    /// Go on, on this connection.
    GoOn,
    /// Go on without encryption, on a new connection to the same host.
    Plaintext,
    /// Not to this host: 4.7.4 or 4.7.5. The next one is tried.
    Defer(Status),
}

/// The table. `TlsOutcome::Valid` is the only row that does not depend on the demand.
pub fn after_tls(demand: TlsDemand, outcome: TlsOutcome) -> Proceed {
    let or_plaintext =
        |otherwise| if demand.plaintext_ok { Proceed::Plaintext } else { Proceed::Defer(otherwise) };
    match outcome {
        TlsOutcome::Valid => Proceed::GoOn,
        TlsOutcome::Invalid if demand.verify => Proceed::Defer(Status::BAD_TLS),
        TlsOutcome::Invalid => Proceed::GoOn,
        TlsOutcome::NotOffered if demand.plaintext_ok => Proceed::GoOn,
        TlsOutcome::NotOffered => Proceed::Defer(Status::NO_TLS),
        TlsOutcome::Refused => or_plaintext(Status::NO_TLS),
        TlsOutcome::Broken => or_plaintext(Status::BAD_TLS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Proceed::*;

    const NO: Proceed = Defer(Status::NO_TLS);
    const BAD: Proceed = Defer(Status::BAD_TLS);

    /// Every combination of the four variables: mode, require, fallback, invalid; then the outcome of not
    /// offered, refused, broken and invalid certificate. `valid` always goes on.
    #[test]
    fn so4_every_combination_of_the_variables() {
        let (r, o, d) = (TlsMode::Required, TlsMode::Opportunistic, TlsMode::Disabled);
        let (y, n) = (true, false);
        let strict = Some([NO, NO, BAD, BAD]);
        let lax_cert = Some([NO, NO, BAD, GoOn]);
        let open = Some([GoOn, Plaintext, Plaintext, GoOn]);
        let table = [
            ((r, n, n, n), strict),
            ((r, n, n, y), lax_cert),
            ((r, n, y, n), strict),
            ((r, n, y, y), lax_cert),
            ((r, y, n, n), strict),
            ((r, y, n, y), lax_cert),
            ((r, y, y, n), strict),
            ((r, y, y, y), lax_cert),
            ((o, n, n, n), strict),
            ((o, n, n, y), lax_cert),
            ((o, n, y, n), open),
            ((o, n, y, y), open),
            ((o, y, n, n), strict),
            ((o, y, n, y), lax_cert),
            ((o, y, y, n), strict),
            ((o, y, y, y), lax_cert),
            ((d, n, n, n), open),
            ((d, n, n, y), open),
            ((d, n, y, n), open),
            ((d, n, y, y), open),
            ((d, y, n, n), None),
            ((d, y, n, y), None),
            ((d, y, y, n), None),
            ((d, y, y, y), None),
        ];
        for ((mode, require_starttls, allow_plaintext_fallback, allow_invalid_certs), expected) in table {
            let settings =
                TlsSettings { mode, require_starttls, allow_plaintext_fallback, allow_invalid_certs };
            let demand = TlsDemand::by_settings(settings);
            let got = demand.ok().map(|demand| {
                assert_eq!(after_tls(demand, TlsOutcome::Valid), GoOn);
                use TlsOutcome::*;
                [NotOffered, Refused, Broken, Invalid].map(|outcome| after_tls(demand, outcome))
            });
            assert_eq!(got, expected, "{settings:?}");
        }
    }

    #[test]
    fn a_message_can_ask_for_more_or_for_less_than_the_settings() {
        let open = TlsDemand { tls: Tls::Opportunistic, verify: false, plaintext_ok: true };
        let strict = TlsDemand { tls: Tls::Required, verify: true, plaintext_ok: false };
        assert_eq!(open.with_requiretls(), strict);
        assert_eq!(after_tls(strict.with_tls_optional(), TlsOutcome::Invalid), GoOn);
        assert_eq!(after_tls(strict.with_tls_optional(), TlsOutcome::NotOffered), NO);
    }
}
