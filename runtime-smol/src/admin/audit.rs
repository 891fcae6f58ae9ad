//! What the command line changes, in the audit log (see `storage::Actor`), and the log itself.

use serde_json::{Value, json};
use storage::{Actor, ApiKeyId, AuditEntry, AuditOutcome, Deed, Error, JobId, OrgId, Storage};

use super::execute::{Answer, canonical, domain_name, explained, failed, iso, org_names};
use super::{Context, Failure, QueueAction, Request};

/// Entries that a listing shows.
const ENTRIES_MAX: usize = 10_000;
/// Octets of a target: longer ones are no name of anything.
const TARGET_MAX: usize = 320;

/// Whose log an entry belongs to, by what the request names.
enum Of<'a> {
    Installation,
    Org(&'a str),
    Domain(&'a str),
    Address(&'a str),
    Key(&'a str),
    Job(&'a str),
}

/// Writes down what a request is about to change; nothing for one that only looks. The answer is for [`end`].
///
/// # Errors
/// When it cannot be written down: then it must not be done.
pub(super) async fn begin(context: &Context, request: &Request) -> Result<Option<Vec<AuditEntry>>, Failure> {
    let Some((action, target, of)) = told(request) else { return Ok(None) };
    let org = org_of(&context.storage, of).await.map_err(failed)?;
    let named = match request {
        Request::DomainAdd { set, .. } | Request::DomainSet { set, .. } => {
            set.iter().map(|(name, _)| name.chars().take(TARGET_MAX).collect()).collect()
        }
        Request::KeyCreate(wanted) => {
            wanted.scopes.split(',').map(|s| s.chars().take(32).collect()).collect()
        }
        _ => Vec::new(),
    };
    let target = target.chars().filter(|c| !c.is_control()).take(TARGET_MAX).collect();
    let deed = Deed { actor: Actor::CommandLine, action: action.into(), target, named };
    context.storage.audit_begin(&[org], deed).await.map(Some).map_err(failed)
}

/// Writes down what came of it.
pub(super) async fn end(context: &Context, entries: Option<Vec<AuditEntry>>, answer: &Answer) {
    let Some(mut entries) = entries else { return };
    let outcome = match answer {
        Ok(made) => {
            // What was made has its name only now.
            if let Some(id) = made["id"].as_str() {
                entries.iter_mut().filter(|e| e.target.is_empty()).for_each(|e| e.target = id.to_owned());
            }
            AuditOutcome::Done
        }
        Err(_) => AuditOutcome::Refused("FAILED".into()),
    };
    context.storage.audit_end(entries, outcome).await;
}

/// The action, its target and whose log it belongs to; none for what changes nothing.
fn told(request: &Request) -> Option<(&'static str, &str, Of<'_>)> {
    use Of::{Address, Domain, Installation, Job, Key, Org};
    Some(match request {
        Request::OrgCreate { name } => ("org create", name, Installation),
        Request::OrgDelete { name } => ("org delete", name, Installation),
        Request::OrgRotateKey { name } => ("org rotate-key", name, Org(name)),
        Request::RotateMasterKey => ("master-key rotate", "", Installation),
        Request::DomainAdd { domain, org, .. } => ("domain add", domain, Org(org)),
        Request::DomainSet { domain, .. } => ("domain set", domain, Domain(domain)),
        Request::DomainDelete { domain } => ("domain delete", domain, Domain(domain)),
        Request::DomainRotateDkim { domain, .. } => ("domain rotate-dkim", domain, Domain(domain)),
        Request::MailboxCreate { address, .. } => ("mailbox create", address, Address(address)),
        Request::MailboxPasswd { address, .. } => ("mailbox passwd", address, Address(address)),
        Request::MailboxDisable { address, disabled: true } => ("mailbox disable", address, Address(address)),
        Request::MailboxDisable { address, disabled: false } => ("mailbox enable", address, Address(address)),
        Request::MailboxDelete { address } => ("mailbox delete", address, Address(address)),
        Request::MailboxWebhook { address, .. } => ("mailbox webhook", address, Address(address)),
        Request::AliasAdd { alias, .. } => ("alias add", alias, Address(alias)),
        Request::AliasDelete { alias } => ("alias delete", alias, Address(alias)),
        Request::KeyCreate(wanted) => match (&wanted.org, &wanted.mailbox) {
            (Some(org), _) => ("key create", "", Org(org)),
            (None, Some(mailbox)) => ("key create", "", Address(mailbox)),
            (None, None) => ("key create", "", Installation),
        },
        Request::KeyRevoke { id } => ("key revoke", id, Key(id)),
        Request::QueueAct { id, action } => (queue_action(*action), id, Job(id)),
        Request::SuppressionAdd { entry, org, .. } => {
            ("suppression add", entry, org.as_deref().map_or(Installation, Org))
        }
        Request::SuppressionRemove { entry, org } => {
            ("suppression remove", entry, org.as_deref().map_or(Installation, Org))
        }
        Request::Check { repair: true } => ("check repair", "", Installation),
        Request::Import { mailbox, .. } => ("import", mailbox, Address(mailbox)),
        // Whoever takes the mail of somebody out reads it.
        Request::Export { mailbox } => ("export", mailbox, Address(mailbox)),
        Request::OrgList
        | Request::DomainShow { .. }
        | Request::DomainList
        | Request::MailboxList
        | Request::AliasList
        | Request::KeyList
        | Request::QueueList
        | Request::QueueShow { .. }
        | Request::SuppressionList { .. }
        | Request::Check { repair: false }
        | Request::Audit { .. }
        | Request::TlsReportList
        | Request::TlsReportSend { .. }
        | Request::TlsReportReceived { .. }
        | Request::DmarcReportList
        | Request::DmarcReportSend { .. }
        | Request::DmarcReportReceived { .. } => return None,
    })
}

fn queue_action(action: QueueAction) -> &'static str {
    match action {
        QueueAction::Retry => "queue retry",
        QueueAction::Hold => "queue hold",
        QueueAction::Release => "queue release",
        QueueAction::Cancel => "queue cancel",
    }
}

/// The organisation; none when there is no such thing, and then the installation's log tells of the try.
async fn org_of(storage: &Storage, of: Of<'_>) -> storage::Result<Option<OrgId>> {
    let store = storage.store();
    let found = match of {
        Of::Installation => return Ok(None),
        Of::Org(name) => store.org(name).await.map(|org| org.id),
        Of::Domain(name) => match domain_name(name) {
            Ok(name) => store.domain(&name).await.map(|domain| domain.org),
            Err(_) => return Ok(None),
        },
        Of::Address(address) => match canonical(address) {
            Ok(address) => {
                let (_, domain) = address.rsplit_once('@').unwrap_or_default();
                store.domain(domain).await.map(|domain| domain.org)
            }
            Err(_) => return Ok(None),
        },
        Of::Key(id) => match ApiKeyId::parse(id) {
            Some(id) => store.api_key(id).await.map(|key| key.org),
            None => return Ok(None),
        },
        Of::Job(id) => match JobId::parse(id) {
            Some(id) => match store.job(id).await {
                Ok((job, _)) => return Ok(job.map(|job| job.spec.org)),
                Err(error) => Err(error),
            },
            None => return Ok(None),
        },
    };
    match found {
        Ok(org) => Ok(Some(org)),
        Err(Error::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The log of an organisation, or all there are, the newest first.
pub(super) async fn list(storage: &Storage, org: Option<&str>) -> Answer {
    let names = org_names(storage).await?;
    let logs: Vec<Option<OrgId>> = match org {
        Some(name) => {
            let org = storage.store().org(name).await;
            vec![Some(org.map_err(|e| explained(&format!("organisation {name}"), e))?.id)]
        }
        None => std::iter::once(None).chain(names.keys().copied().map(Some)).collect(),
    };
    let mut entries = Vec::new();
    for log in logs {
        entries.extend(storage.audit(log, None, ENTRIES_MAX).await.map_err(failed)?);
    }
    entries.sort_by_key(AuditEntry::place);
    entries.truncate(ENTRIES_MAX);
    let shown = entries.iter().map(|entry| {
        json!({
            "at": iso(entry.at), "org": entry.org.and_then(|org| names.get(&org)), "actor": actor(entry.actor),
            "action": entry.action, "target": entry.target, "named": entry.named,
            "outcome": outcome(&entry.outcome),
        })
    });
    Ok(shown.collect::<Value>())
}

fn actor(actor: Actor) -> String {
    match actor {
        Actor::CommandLine => "command line".into(),
        Actor::Key(id) => format!("key {id}"),
        Actor::Mailbox(id) => format!("mailbox {id}"),
    }
}

fn outcome(outcome: &AuditOutcome) -> String {
    match outcome {
        AuditOutcome::Begun => "begun".into(),
        AuditOutcome::Done => "done".into(),
        AuditOutcome::Refused(code) => format!("refused {code}"),
    }
}
