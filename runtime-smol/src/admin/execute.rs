//! Carries out requests on storage.

use std::collections::HashMap;
use std::sync::Arc;

use protocol_core::Timestamp;
use protocol_core::address::{Canonical, canonical_domain};
use protocol_core::sasl::prepare_password;
use serde_json::{Value, json};
use storage::{
    Alias, CheckReport, DeliveryRecord, Domain, DomainSettings, Error, Job, JobAction, JobEvent, JobId,
    OrgId, Purpose, Storage,
};

use super::{
    Failure, QueueAction, Request, audit, dkim, encryption, fields, keys, reports, rotate, suppressions,
    webhooks,
};
use crate::config::Config;

/// Jobs that a listing shows.
const JOBS_MAX: usize = 100_000;
/// Octets of an organisation's name.
const NAME_MAX: usize = 128;

/// What requests are carried out on.
#[derive(Clone)]
pub struct Context {
    /// Everything that lasts.
    pub storage: Storage,
    /// For names and ports in DNS records.
    pub config: Arc<Config>,
    /// Called when a job became due.
    pub wake_queue: Arc<dyn Fn() + Send + Sync>,
}

pub(super) type Answer = Result<Value, Failure>;

/// Carries out a request that needs no messages besides.
pub async fn execute(context: &Context, request: Request) -> Answer {
    let storage = &context.storage;
    match request {
        Request::OrgCreate { name } => org_create(storage, &name).await,
        Request::OrgList => org_list(storage).await,
        Request::OrgDelete { name } => {
            storage.delete_org(&name).await.map_err(|e| explained(&format!("organisation {name}"), e))?;
            Ok(json!({"deleted": name}))
        }
        Request::RotateMasterKey => encryption::rotate_master(storage).await,
        Request::OrgRotateKey { name } => encryption::rotate_org(storage, &name).await,
        Request::DomainAdd { domain, org, set } => domain_add(context, &domain, &org, &set).await,
        Request::DomainSet { domain, set } => domain_set(context, &domain, &set).await,
        Request::DomainShow { domain } => domain_show(context, &domain).await,
        Request::DomainList => domain_list(storage).await,
        Request::DomainDelete { domain } => {
            let name = domain_name(&domain)?;
            storage
                .store()
                .delete_domain(&name)
                .await
                .map_err(|e| explained(&format!("domain {name}"), e))?;
            Ok(json!({"deleted": name}))
        }
        Request::DomainRotateDkim { domain, finish: false } => rotate::begin(context, &domain).await,
        Request::DomainRotateDkim { domain, finish: true } => rotate::finish(context, &domain).await,
        Request::MailboxCreate { address, password, name, quota } => {
            let password = password_octets(password.0.expose())?;
            mailbox_create(storage, &address, &password, &name, quota).await
        }
        Request::MailboxPasswd { address, password } => {
            let (address, password) = (canonical(&address)?, password_octets(password.0.expose())?);
            let set = storage.set_password(&address, &password).await;
            set.map_err(|e| explained(&format!("mailbox {address}"), e))?;
            Ok(json!({"address": address}))
        }
        Request::MailboxDisable { address, disabled } => {
            let address = canonical(&address)?;
            let set = storage.set_disabled(&address, disabled).await;
            set.map_err(|e| explained(&format!("mailbox {address}"), e))?;
            Ok(json!({"address": address, "disabled": disabled}))
        }
        Request::MailboxList => mailbox_list(storage).await,
        Request::MailboxDelete { address } => {
            let address = canonical(&address)?;
            storage
                .delete_mailbox(&address)
                .await
                .map_err(|e| explained(&format!("mailbox {address}"), e))?;
            Ok(json!({"deleted": address}))
        }
        Request::MailboxWebhook { address, url } => webhooks::set(context, &address, url).await,
        Request::AliasAdd { alias, to } => alias_add(storage, &alias, &to).await,
        Request::AliasList => alias_list(storage).await,
        Request::AliasDelete { alias } => {
            let alias = canonical(&alias)?;
            storage
                .store()
                .delete_alias(&alias)
                .await
                .map_err(|e| explained(&format!("alias {alias}"), e))?;
            Ok(json!({"deleted": alias}))
        }
        Request::KeyCreate(wanted) => keys::create(storage, wanted).await,
        Request::KeyList => keys::list(storage).await,
        Request::KeyRevoke { id } => keys::revoke(storage, &id).await,
        Request::QueueList => {
            let jobs = storage.list_jobs(JOBS_MAX).await.map_err(failed)?;
            Ok(jobs.iter().map(job_json).collect())
        }
        Request::QueueShow { id } => queue_show(storage, &id).await,
        Request::QueueAct { id, action } => queue_act(context, &id, action).await,
        Request::SuppressionList { org } => suppressions::list(storage, org.as_deref()).await,
        Request::SuppressionAdd { entry, scope, org } => {
            suppressions::add(storage, &entry, scope, org.as_deref()).await
        }
        Request::SuppressionRemove { entry, org } => {
            suppressions::remove(storage, &entry, org.as_deref()).await
        }
        Request::Check { repair } => check(storage, repair).await,
        Request::Audit { org } => audit::list(storage, org.as_deref()).await,
        Request::TlsReportList
        | Request::TlsReportSend { .. }
        | Request::TlsReportReceived { .. }
        | Request::DmarcReportList
        | Request::DmarcReportSend { .. }
        | Request::DmarcReportReceived { .. } => reports::execute(context, request).await,
        Request::Import { .. } | Request::Export { .. } => {
            Err(Failure("messages cannot be carried this way".into()))
        }
    }
}

async fn org_create(storage: &Storage, name: &str) -> Answer {
    let good = !name.trim().is_empty() && name.len() <= NAME_MAX && !name.chars().any(char::is_control);
    if !good {
        return Err(Failure(format!(
            "an organisation's name has 1 to {NAME_MAX} octets and no control characters"
        )));
    }
    let org = storage.create_org(name).await.map_err(|e| explained(&format!("organisation {name}"), e))?;
    Ok(json!({"id": org.id.to_string(), "name": org.name}))
}

async fn org_list(storage: &Storage) -> Answer {
    let orgs = storage.store().list_orgs().await.map_err(failed)?;
    let shown =
        orgs.iter().map(|o| json!({"id": o.id.to_string(), "name": o.name, "createdAt": iso(o.created)}));
    Ok(shown.collect())
}

async fn domain_add(context: &Context, domain: &str, org: &str, set: &[(String, String)]) -> Answer {
    let org =
        context.storage.store().org(org).await.map_err(|e| explained(&format!("organisation {org}"), e))?;
    let (row, notes) = new_domain(context, domain, org.id, set).await?;
    let name = &row.name;
    let added = context.storage.store().add_domain(&row).await;
    added.map_err(|e| explained(&format!("domain {name}"), e))?;
    encryption::follow_domain(&context.storage, &row).await?;
    let dns = dkim::records(&context.config, &row);
    Ok(json!({"id": name, "domain": name, "org": org.name, "dns": dns, "notes": notes}))
}

/// A domain with these settings, and with DKIM keys that are made unless they are given, not stored; and notes for the
/// administrator.
pub(crate) async fn new_domain(
    context: &Context,
    domain: &str,
    org: OrgId,
    set: &[(String, String)],
) -> Result<(Domain, Vec<String>), Failure> {
    let name = domain_name(domain)?;
    let keys = context.storage.keys();
    let mut row = Domain { name: name.clone(), org, settings: DomainSettings::default() };
    row.settings.dkim_selector = Some(context.config.dkim.selector.clone());
    let notes = fields::apply(keys, &mut row, set)?;
    if row.settings.dkim_private_key_b64_pkcs8.is_none() {
        let pair = blocking::unblock(dkim::make_rsa).await?;
        row.settings.dkim_private_key_b64_pkcs8 =
            Some(dkim::seal(keys, Purpose::Dkim, &name, &pair.private)?);
        row.settings.dkim_public_key_b64 = Some(pair.public);
    }
    if row.settings.dkim_ed25519_private_key_b64_pkcs8.is_none() {
        let pair = dkim::make_ed25519()?;
        row.settings.dkim_ed25519_private_key_b64_pkcs8 =
            Some(dkim::seal(keys, Purpose::Dkim, &name, &pair.private)?);
        row.settings.dkim_ed25519_public_key_b64 = Some(pair.public);
    }
    Ok((row, notes))
}

async fn domain_set(context: &Context, domain: &str, set: &[(String, String)]) -> Answer {
    let mut row = domain_row(&context.storage, domain).await?;
    let notes = fields::apply(context.storage.keys(), &mut row, set)?;
    let saved = context.storage.store().set_domain(&row.name, &row.settings).await;
    saved.map_err(|e| explained(&format!("domain {}", row.name), e))?;
    encryption::follow_domain(&context.storage, &row).await?;
    Ok(json!({"domain": row.name, "settings": fields::shown(&row.settings), "notes": notes}))
}

async fn domain_show(context: &Context, domain: &str) -> Answer {
    let row = domain_row(&context.storage, domain).await?;
    let names = org_names(&context.storage).await?;
    Ok(json!({
        "domain": row.name,
        "org": names.get(&row.org),
        "settings": fields::shown(&row.settings),
        "dns": dkim::records(&context.config, &row),
    }))
}

async fn domain_list(storage: &Storage) -> Answer {
    let names = org_names(storage).await?;
    let domains = storage.store().list_domains().await.map_err(failed)?;
    Ok(domains.iter().map(|d| json!({"domain": d.name, "org": names.get(&d.org)})).collect())
}

pub(super) async fn domain_row(storage: &Storage, domain: &str) -> Result<Domain, Failure> {
    let name = domain_name(domain)?;
    storage.store().domain(&name).await.map_err(|e| explained(&format!("domain {name}"), e))
}

/// The first mailbox of an organisation is its administrator's: mail for postmaster@ and abuse@ goes there.
async fn mailbox_create(
    storage: &Storage,
    address: &str,
    password: &[u8],
    name: &str,
    quota: Option<u64>,
) -> Answer {
    let address = canonical(address)?;
    if name.chars().any(char::is_control) {
        return Err(Failure("a display name has no control characters".into()));
    }
    let domain = address.rsplit_once('@').map_or("", |(_, d)| d);
    let row = storage.store().domain(domain).await.map_err(|e| explained(&format!("domain {domain}"), e))?;
    let admin = !storage.store().list_mailboxes().await.map_err(failed)?.iter().any(|m| m.org == row.org);
    let made = storage.create_mailbox(&address, password, name, quota, admin).await;
    let made = made.map_err(|e| explained(&format!("mailbox {address}"), e))?;
    Ok(json!({"id": made.id.to_string(), "address": made.address, "admin": made.admin}))
}

async fn mailbox_list(storage: &Storage) -> Answer {
    let names = org_names(storage).await?;
    let mailboxes = storage.store().list_mailboxes().await.map_err(failed)?;
    let shown = mailboxes.iter().map(|m| {
        json!({
            "id": m.id.to_string(), "address": m.address, "name": m.name, "org": names.get(&m.org),
            "quotaBytes": m.quota_bytes, "usedBytes": m.used_bytes, "disabled": m.disabled, "admin": m.admin,
        })
    });
    Ok(shown.collect())
}

/// Targets at our own domains are kept in canonical form, others as they were given.
async fn alias_add(storage: &Storage, alias: &str, to: &[String]) -> Answer {
    let address = canonical(alias)?;
    let domain = address.rsplit_once('@').map_or("", |(_, d)| d);
    let row = storage.store().domain(domain).await.map_err(|e| explained(&format!("domain {domain}"), e))?;
    let ours: Vec<String> =
        storage.store().list_domains().await.map_err(failed)?.into_iter().map(|d| d.name).collect();
    let mut targets = Vec::new();
    for target in to {
        let parsed = Canonical::parse(target).map_err(|e| Failure(format!("{target}: {e}")))?;
        let local = ours.iter().any(|d| d == parsed.domain());
        targets.push(if local { parsed.to_string() } else { target.clone() });
    }
    let alias = Alias { address: address.clone(), org: row.org, targets };
    storage.store().add_alias(&alias).await.map_err(|e| explained(&format!("alias {address}"), e))?;
    Ok(json!({"address": address, "to": alias.targets}))
}

async fn alias_list(storage: &Storage) -> Answer {
    let names = org_names(storage).await?;
    let aliases = storage.store().list_aliases().await.map_err(failed)?;
    Ok(aliases
        .iter()
        .map(|a| json!({"address": a.address, "org": names.get(&a.org), "to": a.targets}))
        .collect())
}

async fn queue_show(storage: &Storage, id: &str) -> Answer {
    let (job, deliveries) = storage.job(job_id(id)?).await.map_err(|e| explained(&format!("job {id}"), e))?;
    let is_attempt = |record: &&DeliveryRecord| record.event == JobEvent::Attempted;
    let attempts: Vec<Value> = deliveries.iter().filter(is_attempt).map(delivery_json).collect();
    let events: Vec<Value> = deliveries
        .iter()
        .filter(|record| !is_attempt(record))
        .map(|d| json!({"event": d.event, "recipient": d.recipient, "reply": d.reply, "at": iso(Timestamp(d.at_ms))}))
        .collect();
    let mut shown = job.as_ref().map_or_else(|| json!({"id": id, "state": "settled"}), job_json);
    if let Some(shown) = shown.as_object_mut() {
        if let Some(job) = &job {
            shown.insert("domain".into(), job.spec.domain.clone().into());
            shown.insert("message".into(), job.spec.message.to_string().into());
            shown.insert("size".into(), job.spec.size.into());
        }
        shown.insert("deliveries".into(), attempts.into());
        shown.insert("events".into(), events.into());
    }
    Ok(shown)
}

async fn queue_act(context: &Context, id: &str, action: QueueAction) -> Answer {
    let what = match action {
        QueueAction::Retry => JobAction::Retry,
        QueueAction::Hold => JobAction::Hold,
        QueueAction::Release => JobAction::Release,
        QueueAction::Cancel => JobAction::Cancel,
    };
    let done = context.storage.act_on_job(job_id(id)?, what, context.storage.store_now()).await;
    done.map_err(|e| explained(&format!("job {id}"), e))?;
    if matches!(action, QueueAction::Retry | QueueAction::Release) {
        (context.wake_queue)();
    }
    Ok(json!({"id": id, "done": action}))
}

async fn check(storage: &Storage, repair: bool) -> Answer {
    let report: CheckReport = storage.check(repair).await.map_err(failed)?;
    let names = |keys: &[storage::ObjectKey]| keys.iter().map(|k| k.to_string()).collect::<Vec<_>>();
    Ok(json!({
        "clean": report.is_clean(),
        "mailboxes": report.mailboxes,
        "messages": report.messages,
        "objects": report.objects,
        "withoutObject": names(&report.without_object),
        "damaged": names(&report.damaged),
        "leftoversYoung": report.leftovers_young,
        "leftoversOld": report.leftovers_old.len(),
        "strangers": report.strangers,
        "counters": report.counters,
        "restored": report.restored,
        "removed": report.removed,
    }))
}

fn job_json(job: &Job) -> Value {
    let recipients: Vec<Value> = job
        .spec
        .recipients
        .iter()
        .map(|r| json!({"address": r.address, "state": r.state, "reply": r.reply}))
        .collect();
    let waits = matches!(job.state, storage::JobState::Queued);
    json!({
        "id": job.spec.id.to_string(),
        "state": job.state,
        "sender": job.spec.sender,
        "recipients": recipients,
        "attempts": job.attempts,
        "nextAttemptAt": waits.then(|| iso(job.due)),
        "leaseUntil": job.lease_until.map(iso),
        "createdAt": iso(job.spec.created),
    })
}

fn delivery_json(d: &DeliveryRecord) -> Value {
    json!({
        "recipient": d.recipient, "state": d.state, "host": d.host, "reply": d.reply, "tls": d.tls,
        "attempt": d.attempt, "inDoubt": d.in_doubt, "at": iso(Timestamp(d.at_ms)),
    })
}

pub(super) async fn org_names(storage: &Storage) -> Result<HashMap<OrgId, String>, Failure> {
    let orgs = storage.store().list_orgs().await.map_err(failed)?;
    Ok(orgs.into_iter().map(|o| (o.id, o.name)).collect())
}

fn job_id(text: &str) -> Result<JobId, Failure> {
    JobId::parse(text).ok_or_else(|| Failure(format!("{text} is no job's ID")))
}

pub(super) fn canonical(address: &str) -> Result<String, Failure> {
    Canonical::parse(address).map(|c| c.to_string()).map_err(|e| Failure(format!("{address}: {e}")))
}

pub(crate) fn domain_name(domain: &str) -> Result<String, Failure> {
    // Zone files write a final dot, and so do people who copy from them.
    let name = canonical_domain(domain.strip_suffix('.').unwrap_or(domain))
        .map_err(|e| Failure(format!("{domain}: {e}")))?;
    if name.starts_with('[') {
        return Err(Failure(format!("{domain}: an address literal is no domain")));
    }
    Ok(name)
}

/// As SASL compares it (RFC 4013), so that every mechanism accepts what was typed.
fn password_octets(password: &str) -> Result<zeroize::Zeroizing<Vec<u8>>, Failure> {
    if password.is_empty() {
        return Err(Failure("the password is empty".into()));
    }
    let prepared = prepare_password(password.as_bytes());
    let prepared =
        prepared.map_err(|_| Failure("the password holds characters that no password can have".into()))?;
    Ok(zeroize::Zeroizing::new(prepared.expose().to_vec()))
}

pub(super) fn explained(what: &str, error: Error) -> Failure {
    match error {
        Error::NotFound => Failure(format!("there is no {what}")),
        error => Failure(format!("{what}: {error}")),
    }
}

pub(super) fn failed(error: Error) -> Failure {
    Failure(error.to_string())
}

/// RFC 3339, in UTC.
pub(super) fn iso(time: Timestamp) -> String {
    let c = time.civil();
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", c.year, c.month, c.day, c.hour, c.minute, c.second)
}
