//! What a server session is told once, for all connections of a port.

use alloc::string::String;

use protocol_core::time::Duration;
use protocol_core::{SendBuf, Timestamp};

use crate::params::{Accepts, write_date_time};
use crate::reply;

/// Offered in front of the others when TLS gives channel bindings (RFC 7677).
const SCRAM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Which service a port offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Mail from other servers (port 25): no AUTH.
    Transfer,
    /// Mail from users (587): STARTTLS, then AUTH, both required.
    Submission,
    /// Mail from users over implicit TLS (465).
    Submissions,
    /// Local delivery (RFC 2033).
    Lmtp,
}

impl Service {
    /// Whether AUTH is required before MAIL.
    pub fn is_submission(self) -> bool {
        matches!(self, Service::Submission | Service::Submissions)
    }
}

/// Extensions that can be turned off. What is off is neither announced nor are its parameters known. Three
/// more are switches of [`ServerConfig`]: `starttls`, `binarymime` and `require_tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions {
    /// PIPELINING (RFC 2920). Only announced or not: groups of commands are always read.
    pub pipelining: bool,
    /// SIZE (RFC 1870). Without it the limit still holds.
    pub size: bool,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034). Only announced or not: replies always have them.
    pub enhanced_status_codes: bool,
    /// CHUNKING (RFC 3030).
    pub chunking: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// LIMITS (RFC 9422).
    pub limits: bool,
    /// DELIVERBY (RFC 2852); off at first.
    pub deliver_by: bool,
    /// HOLDFOR and HOLDUNTIL (RFC 4865); off at first.
    pub future_release: bool,
}

impl Default for Extensions {
    fn default() -> Self {
        Extensions {
            pipelining: true,
            size: true,
            eight_bit_mime: true,
            smtputf8: true,
            enhanced_status_codes: true,
            chunking: true,
            dsn: true,
            limits: true,
            deliver_by: false,
            future_release: false,
        }
    }
}

/// What EHLO announces depends on, beside the configuration.
pub(super) struct Offer {
    pub(super) accepts: Accepts,
    pub(super) tls: bool,
    pub(super) channel_binding: bool,
    pub(super) authenticated: bool,
    pub(super) hold_until_max: Option<Timestamp>,
}

/// Limits and names; shared by all sessions of a port.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Name in banner and replies, ASCII.
    pub hostname: String,
    /// What this port is.
    pub service: Service,
    /// What is offered.
    pub extensions: Extensions,
    /// Octets of one message, announced as SIZE.
    pub message_max: u64,
    /// Recipients of one transaction, announced as LIMITS RCPTMAX.
    pub recipients_max: usize,
    /// Whether STARTTLS is offered while there is no TLS.
    pub starttls: bool,
    /// Mechanisms offered under TLS, in order of strength; empty turns AUTH off.
    pub mechanisms: &'static [&'static str],
    /// Whether SCRAM-SHA-256-PLUS is offered in front of them when TLS gives channel bindings.
    pub scram_plus: bool,
    /// BINARYMIME is offered: what is delivered is re-encoded, what is relayed goes to servers that take it.
    pub binarymime: bool,
    /// REQUIRETLS is offered under TLS.
    pub require_tls: bool,
    /// Seconds that HOLDFOR may name, announced with FUTURERELEASE.
    pub hold_max_secs: u64,
    /// How long the greeting waits for clients that speak too soon; zero looks at what is there already.
    pub greet_delay: Duration,
    /// Time without a completed command or data (RFC 5321 §4.5.3.2.7).
    pub idle: Duration,
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Time for one message.
    pub message_time: Duration,
    /// Average octets a second that a message must reach after its first minute.
    pub message_rate: u64,
    /// Errors that end a session.
    pub errors_max: u32,
    /// Commands without effect (NOOP, RSET, VRFY, ...), since the last message, that end a session.
    pub idle_commands_max: u32,
    /// Unknown recipients, without any known one, that end a session.
    pub unknown_recipients_max: u32,
    /// How long such a session waits for its end.
    pub tarpit: Duration,
}

impl ServerConfig {
    /// The specification's figures for a service.
    pub fn new(hostname: &str, service: Service) -> ServerConfig {
        ServerConfig {
            hostname: String::from(hostname),
            service,
            extensions: Extensions::default(),
            message_max: 26_214_400,
            recipients_max: 100,
            starttls: !matches!(service, Service::Submissions | Service::Lmtp),
            mechanisms: if service.is_submission() { &["SCRAM-SHA-256", "PLAIN", "LOGIN"] } else { &[] },
            scram_plus: true,
            binarymime: false,
            require_tls: false,
            hold_max_secs: 30 * 86_400,
            greet_delay: Duration::ZERO,
            idle: Duration::from_secs(300),
            handshake: Duration::from_secs(10),
            message_time: Duration::from_secs(30 * 60),
            message_rate: 1024,
            errors_max: 20,
            idle_commands_max: 100,
            unknown_recipients_max: 20,
            tarpit: Duration::from_secs(10),
        }
    }

    /// Extensions whose parameters are known. BINARYMIME needs CHUNKING (RFC 3030 §3), REQUIRETLS a session
    /// under TLS (RFC 8689 §2).
    pub(crate) fn accepts(&self, tls: bool) -> Accepts {
        let extensions = &self.extensions;
        Accepts {
            size: extensions.size,
            eight_bit: extensions.eight_bit_mime,
            binary: self.binarymime && extensions.chunking,
            smtputf8: extensions.smtputf8,
            dsn: extensions.dsn,
            auth: self.service.is_submission(),
            require_tls: self.require_tls && tls,
            future_release: extensions.future_release,
            deliver_by: extensions.deliver_by,
        }
    }

    /// The mechanism of that name, when it is offered.
    pub(super) fn mechanism(&self, name: &str, channel_binding: bool) -> Option<&'static str> {
        if name.eq_ignore_ascii_case(SCRAM_PLUS) {
            return (self.scram_plus && channel_binding).then_some(SCRAM_PLUS);
        }
        self.mechanisms.iter().copied().find(|m| m.eq_ignore_ascii_case(name))
    }

    pub(super) fn write_greeting(&self, out: &mut SendBuf) {
        out.push(b"220 ");
        out.push(self.hostname.as_bytes());
        out.push(if self.service == Service::Lmtp { b" LMTP Inbox\r\n" } else { b" ESMTP Inbox\r\n" });
    }

    /// The reply to EHLO and LHLO (RFC 5321 §4.1.1.1).
    pub(super) fn write_extensions(&self, offer: &Offer, out: &mut SendBuf) {
        let extensions = &self.extensions;
        let Offer { accepts, tls, .. } = *offer;
        reply::write_line(out, 250, false, None, &self.hostname);
        let words = [
            (extensions.pipelining, "PIPELINING"),
            (accepts.eight_bit, "8BITMIME"),
            (accepts.smtputf8, "SMTPUTF8"),
            (extensions.chunking, "CHUNKING"),
            (accepts.binary, "BINARYMIME"),
            (accepts.dsn, "DSN"),
            (self.starttls && !tls, "STARTTLS"),
            (accepts.require_tls, "REQUIRETLS"),
            (accepts.deliver_by, "DELIVERBY"),
            (extensions.enhanced_status_codes, "ENHANCEDSTATUSCODES"),
        ];
        for (_, word) in words.iter().filter(|(offered, _)| *offered) {
            reply::write_line(out, 250, false, None, word);
        }
        // RFC 4954 §4: not offered where it would be refused.
        if self.service.is_submission() && tls && !offer.authenticated && !self.mechanisms.is_empty() {
            out.push(b"250-AUTH");
            let plus = (self.scram_plus && offer.channel_binding).then_some(SCRAM_PLUS);
            for mechanism in plus.iter().chain(self.mechanisms) {
                out.push_u8(b' ');
                out.push(mechanism.as_bytes());
            }
            out.push(b"\r\n");
        }
        if extensions.limits {
            out.push(b"250-LIMITS RCPTMAX=");
            out.push_decimal(self.recipients_max as u64);
            out.push(b"\r\n");
        }
        if let Some(max) = offer.hold_until_max {
            out.push(b"250-FUTURERELEASE ");
            out.push_decimal(self.hold_max_secs);
            out.push_u8(b' ');
            write_date_time(max, out);
            out.push(b"\r\n");
        }
        // RFC 1870 §4: the keyword may stand without a figure, so it is always a fit last line.
        reply::write_start(out, 250, true, None);
        if extensions.size {
            out.push(b"SIZE ");
            out.push_decimal(self.message_max);
        } else {
            out.push(b"HELP");
        }
        out.push(b"\r\n");
    }
}
