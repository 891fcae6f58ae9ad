//! What is noted about a connection for TLS reports (RFC 8460).

use protocol_smtp::queue::Failure;
use protocol_smtp::route::mta_sts::Mode;
use protocol_smtp::route::posture::{Check, HostFacts, HostPlan, TlsaAnswer};
use protocol_smtp::route::{Candidate, DnsFailure, HostResult, TlsOutcome};
use storage::Job;

use super::session::Conversation;
use crate::app::App;
use crate::config::DaneMode;
use crate::mta_sts::Look;
use crate::tls_reports::{Applied, Connection, Outcome, is_report, session_of};
use crate::wire::wall_now;

/// Notes how TLS came out on a connection. `plaintext`: it was not started, because it broke on the connection
/// before, which was noted.
pub(super) fn connection(
    app: &App,
    job: &Job,
    (candidate, plan, look): (&Candidate, &HostPlan, &Look),
    plaintext: bool,
    (conversation, result): (&Conversation, &HostResult),
) {
    if plaintext || is_report(&job.spec) {
        return;
    }
    let asks = plan.demand.verify || look.policy.as_ref().is_some_and(|p| p.mode != Mode::None);
    let outcome = match (&conversation.certificate, &conversation.broken, result) {
        (Some(Ok(())), ..) => Outcome::Good,
        (Some(Err(why)), ..) if matches!(plan.check, Check::Dane { .. }) => Outcome::Tlsa(why),
        (Some(Err(why)), ..) if asks => Outcome::Certificate(why),
        (Some(Err(_)), ..) => Outcome::Good,
        (None, Some(why), _) => Outcome::Handshake(why),
        (None, None, HostResult::Tls(TlsOutcome::Broken, why)) => Outcome::Handshake(why),
        // What was sent in the clear was sent because nothing else was offered.
        (None, None, HostResult::Tls(..) | HostResult::Answered { .. } | HostResult::Lacks(_)) => {
            Outcome::NoStarttls
        }
        (None, None, _) => return,
    };
    let applied = match &plan.check {
        Check::Dane { records, .. } => Applied::Dane(records),
        Check::Pkix => Applied::Sts(look),
    };
    app.reports.note(&session_of(Connection {
        at: wall_now(),
        domain: &job.spec.domain,
        applied,
        sending_ip: conversation.sending_ip,
        mx: &candidate.host,
        receiving_ip: Some(candidate.address),
        outcome,
    }));
}

/// Notes hosts that are not dialled because of their TLSA records, or because the domain's policy does not list
/// them. `planned` are those that are used.
pub(super) fn left_out(
    app: &App,
    job: &Job,
    look: &Look,
    facts: &[HostFacts],
    planned: &Result<Vec<HostPlan>, Failure>,
) {
    if is_report(&job.spec) {
        return;
    }
    let is_used = |name: &str| planned.as_ref().is_ok_and(|plans| plans.iter().any(|plan| plan.name == name));
    for host in facts.iter().filter(|host| !is_used(&host.name)) {
        let unlisted = look.policy.as_ref().is_some_and(|p| p.mode == Mode::Enforce && !p.allows(&host.name));
        let (applied, outcome) = match &host.tlsa {
            TlsaAnswer::Failed(DnsFailure::Bogus) => {
                (Applied::Dane(&[]), Outcome::Dnssec("the TLSA records are bogus"))
            }
            TlsaAnswer::Failed(_) => continue,
            // The certificate plays no part: that the host is not listed is what is told.
            _ if unlisted => (Applied::Sts(look), Outcome::Good),
            _ if app.config.outbound.dane_mode == DaneMode::Require => (Applied::Dane(&[]), Outcome::NoDane),
            _ => continue,
        };
        app.reports.note(&session_of(Connection {
            at: wall_now(),
            domain: &job.spec.domain,
            applied,
            sending_ip: None,
            mx: &host.name,
            receiving_ip: None,
            outcome,
        }));
    }
}
