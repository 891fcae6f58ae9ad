//! What a server session is told once, for all connections of a port.

use alloc::string::String;
use protocol_core::time::Duration;

use crate::params::Accepts;

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

/// Limits and names; shared by all sessions of a port.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Name in banner and replies, ASCII.
    pub hostname: String,
    /// What this port is.
    pub service: Service,
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
    /// REQUIRETLS is offered under TLS.
    pub require_tls: bool,
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
    /// Commands without effect (NOOP, RSET, VRFY, ...) that end a session.
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
            message_max: 26_214_400,
            recipients_max: 100,
            starttls: !matches!(service, Service::Submissions | Service::Lmtp),
            mechanisms: if service.is_submission() { &["SCRAM-SHA-256", "PLAIN", "LOGIN"] } else { &[] },
            scram_plus: true,
            require_tls: false,
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

    pub(crate) fn accepts(&self, tls: bool) -> Accepts {
        Accepts {
            auth: self.service.is_submission(),
            require_tls: self.require_tls && tls,
            future_release: false,
            deliver_by: false,
            ..Accepts::ALL
        }
    }
}
