//! DMARC (RFC 9989) for the domains of a From field, by mail-auth: its tree walk finds the organisational
//! domain, so no list of public suffixes is needed.

use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::dmarc::{Alignment, Policy};
use mail_auth::{
    AuthenticatedMessage, DkimOutput, DmarcOutput, DmarcResult as Outcome, DnsError, Error,
    MessageAuthenticator, SpfOutput, SpfResult as SpfOutcome,
};
use protocol_core::auth::{
    Dkim, DkimResult, Dmarc, DmarcPolicy, DmarcResult, PublishedPolicy, Spf, SpfResult,
};
use tokio::time::{Instant, timeout_at};

use crate::message::FROM_DOMAINS_MAX;

/// Evaluates each domain; of several the strictest outcome counts (RFC 7489 §6.6.1), for a message is as good
/// as its worst claim.
pub(crate) async fn verify(
    authenticator: &MessageAuthenticator,
    from_domains: &[String],
    spf: &Spf,
    dkim: &[Dkim],
    deadline: Instant,
) -> Dmarc {
    let mut worst: Option<Dmarc> = None;
    if from_domains.len() > FROM_DOMAINS_MAX {
        let domain = from_domains[0].clone();
        return Dmarc { result: DmarcResult::PermError, domain, ..Dmarc::default() };
    }
    for domain in from_domains {
        let found = match timeout_at(deadline, verify_one(authenticator, domain, spf, dkim)).await {
            Ok(found) => found,
            Err(_) => Dmarc { result: DmarcResult::TempError, domain: domain.clone(), ..Dmarc::default() },
        };
        if worst.as_ref().is_none_or(|w| badness(&found) > badness(w)) {
            worst = Some(found);
        }
    }
    worst.unwrap_or_default()
}

/// A failure with a stricter policy is worse than one with a milder, an unknown result worse than none, and a
/// pass is best.
fn badness(dmarc: &Dmarc) -> (u8, DmarcPolicy) {
    let rank = match dmarc.result {
        DmarcResult::Pass => 0,
        DmarcResult::None => 1,
        DmarcResult::PermError => 2,
        DmarcResult::Fail if dmarc.policy == DmarcPolicy::None => 3,
        DmarcResult::TempError => 4,
        DmarcResult::Fail => 5,
    };
    (rank, dmarc.policy)
}

async fn verify_one(authenticator: &MessageAuthenticator, domain: &str, spf: &Spf, dkim: &[Dkim]) -> Dmarc {
    let view = AuthenticatedMessage { from: vec![format!("from@{domain}")], ..Default::default() };
    let signatures: Vec<(mail_auth::dkim::Signature, DkimResult)> = dkim
        .iter()
        .filter(|d| matches!(d.result, DkimResult::Pass | DkimResult::TempError))
        .map(|d| (mail_auth::dkim::Signature { d: d.domain.clone(), ..Default::default() }, d.result))
        .collect();
    let outputs: Vec<DkimOutput<'_>> = signatures
        .iter()
        .map(|(signature, result)| match result {
            DkimResult::Pass => DkimOutput::pass().with_signature(signature),
            _ => {
                DkimOutput::temp_err(Error::Dns(DnsError::Resolver(String::new()))).with_signature(signature)
            }
        })
        .collect();
    let spf_output = SpfOutput::new(spf.domain.clone()).with_result(match spf.result {
        SpfResult::Pass => SpfOutcome::Pass,
        SpfResult::TempError => SpfOutcome::TempError,
        _ => SpfOutcome::Fail,
    });
    let parameters = DmarcParameters::new(&view, &outputs, &spf.domain, &spf_output);
    plain(domain, &authenticator.verify_dmarc(parameters).await)
}

fn plain(domain: &str, output: &DmarcOutput) -> Dmarc {
    Dmarc {
        result: match output.result() {
            Outcome::Pass => DmarcResult::Pass,
            Outcome::Fail(_) => DmarcResult::Fail,
            Outcome::TempError(_) => DmarcResult::TempError,
            Outcome::PermError(_) => DmarcResult::PermError,
            Outcome::None => DmarcResult::None,
        },
        domain: domain.to_owned(),
        policy: stated(output.policy()).unwrap_or_default(),
        published: output.dmarc_record().map(|record| PublishedPolicy {
            policy: stated(record.p).unwrap_or_default(),
            subdomains: stated(record.sp),
            non_existent: stated(record.np),
            strict_dkim: record.adkim == Alignment::Strict,
            strict_spf: record.aspf == Alignment::Strict,
            testing: record.t,
        }),
        spf_aligned: matches!(output.spf_result(), Outcome::Pass),
        dkim_aligned: matches!(output.dkim_result(), Outcome::Pass),
        report_to: output
            .dmarc_record()
            .map_or_else(Vec::new, |record| record.rua().iter().map(|uri| uri.uri().to_owned()).collect()),
    }
}

fn stated(policy: Policy) -> Option<DmarcPolicy> {
    match policy {
        Policy::Reject => Some(DmarcPolicy::Reject),
        Policy::Quarantine => Some(DmarcPolicy::Quarantine),
        Policy::None => Some(DmarcPolicy::None),
        Policy::Unspecified => None,
    }
}
