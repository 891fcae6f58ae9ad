//! The audit log: what is changed over the API is written into it, whatever mutation does it, and its organisation's
//! administrators can read it.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextResolve, ResolveInfo};
use async_graphql::{Context, Enum, ID, Object, ServerResult, SimpleObject, Value, Variables};
use protocol_core::Timestamp;
use storage::{Actor, AuditId, AuditOutcome, AuditPlace, Deed, Error, OrgId};

use super::query::{count, parts};
use super::types::DateTime;
use crate::api::auth::{Caller, Scope};
use crate::api::error::{ApiError, Code};
use crate::app::App;

/// Mutations that send mail: what became of each e-mail is told elsewhere.
const OF_EMAILS: [&str; 4] = ["sendEmail", "sendEmails", "updateScheduledEmail", "cancelEmail"];
/// Arguments that name the thing, the most telling first. Never one that can hold a secret.
const TARGETS: [&str; 7] = ["id", "address", "domain", "entry", "name", "mailbox", "organizationId"];
/// Octets of a target: longer ones are no name of anything.
const TARGET_MAX: usize = 320;

/// The variables of a document that can name a thing.
pub struct Named(BTreeMap<String, String>);

impl Named {
    /// Those among the variables: short strings.
    pub fn of(variables: &Variables) -> Named {
        let short = |(name, value): (&async_graphql::Name, &async_graphql::Value)| match value {
            Value::String(text) if text.len() <= TARGET_MAX => Some((name.to_string(), text.clone())),
            _ => None,
        };
        Named(variables.iter().filter_map(short).collect())
    }
}

/// Writes an entry before each mutation, and what came of it afterwards.
pub struct Audit;

impl ExtensionFactory for Audit {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Audit)
    }
}

#[async_trait::async_trait]
impl Extension for Audit {
    async fn resolve(
        &self,
        context: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        let is_change = info.parent_type == "Mutation" && !OF_EMAILS.contains(&info.name);
        let who = (context.data_opt::<Arc<App>>(), context.data_opt::<Caller>());
        let (true, (Some(app), Some(caller))) = (is_change, who) else {
            return next.run(context, info).await;
        };
        // Whoever may change nothing is told so, and fills no log.
        if !caller.scopes.admin && !caller.scopes.operator {
            return next.run(context, info).await;
        }
        let given = arguments(&info, context.data_opt::<Named>());
        let orgs = concerned(app, caller, &given).await;
        let position = info.field.name.pos;
        let failed = |error: Error| {
            let error: async_graphql::Error = ApiError::from(error).into();
            error.into_server_error(position)
        };
        let orgs = orgs.map_err(failed)?;
        let entries = app.storage.audit_begin(&orgs, deed(caller, info.name, given)).await.map_err(failed)?;
        let answer = next.run(context, info).await;
        let outcome = match &answer {
            Ok(_) => AuditOutcome::Done,
            Err(error) => {
                let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
                AuditOutcome::Refused(match code {
                    Some(Value::String(code)) => code.clone(),
                    _ => Code::BadRequest.name().to_owned(),
                })
            }
        };
        app.storage.audit_end(entries, outcome).await;
        answer
    }
}

/// The arguments by name, with those texts that can name a thing.
fn arguments(info: &ResolveInfo<'_>, named: Option<&Named>) -> Vec<(String, Option<String>)> {
    let of_variable = |name: &str| named.and_then(|named| named.0.get(name)).cloned();
    let given = info.field.arguments.iter().map(|(name, value)| {
        let name = name.node.to_string();
        if !TARGETS.contains(&name.as_str()) {
            return (name, None);
        }
        let value = value.node.clone().into_const_with(|variable| {
            Ok::<_, Error>(of_variable(&variable).map_or(Value::Null, Value::String))
        });
        let text = match value {
            Ok(Value::String(text)) => Some(text),
            _ => None,
        };
        (name, text)
    });
    given.collect()
}

fn deed(caller: &Caller, action: &str, given: Vec<(String, Option<String>)>) -> Deed {
    let of = |wanted: &&str| {
        let (name, text) = given.iter().find(|(name, _)| name == wanted)?;
        Some((name.clone(), text.clone()?))
    };
    let (subject, target) = TARGETS.iter().find_map(of).unwrap_or_default();
    let actor = match (&caller.key, &caller.mailbox) {
        (Some(key), _) => Actor::Key(key.id),
        (None, Some(mailbox)) => Actor::Mailbox(mailbox.id),
        // There is no third way in.
        (None, None) => Actor::CommandLine,
    };
    let target = target.chars().filter(|c| !c.is_control()).take(TARGET_MAX).collect();
    let named = given.into_iter().map(|(name, _)| name).filter(|name| *name != subject).collect();
    Deed { actor, action: action.to_owned(), target, named }
}

/// In whose logs an entry stands: the caller's organisation's, and that of the one whose things are changed by whoever
/// runs the installation.
async fn concerned(
    app: &App,
    caller: &Caller,
    given: &[(String, Option<String>)],
) -> storage::Result<Vec<Option<OrgId>>> {
    let mut orgs = vec![Some(caller.org)];
    if !caller.scopes.operator {
        return Ok(orgs);
    }
    let of =
        |wanted: &str| given.iter().find(|(name, _)| name == wanted).and_then(|(_, text)| text.as_deref());
    if let Some(id) = of("organizationId").and_then(OrgId::parse) {
        let known = app.storage.store().list_orgs().await?.into_iter().any(|org| org.id == id);
        orgs.extend(known.then_some(Some(id)));
    }
    if let Some(name) = of("domain") {
        match app.storage.store().domain(name).await {
            Ok(domain) => orgs.push(Some(domain.org)),
            Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    orgs.dedup();
    Ok(orgs)
}

/// Who did something.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub enum AuditActor {
    /// Whoever may use the command line of the server.
    CommandLine,
    /// The bearer of a key.
    Key,
    /// The owner of a mailbox, by its password.
    Mailbox,
}

/// What came of it.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(name = "AuditOutcome")]
pub enum AuditResult {
    /// It was begun, and nothing is known of its end.
    Begun,
    /// It was done.
    Done,
    /// It was refused, or failed.
    Refused,
}

/// An entry of the audit log. It holds no secret, and no values but the name of the thing.
#[derive(SimpleObject)]
pub struct AuditEntry {
    /// Its ID, and where it stands: entries behind it are older.
    id: ID,
    /// When it was begun.
    at: DateTime,
    /// Who did it.
    actor: AuditActor,
    /// The ID of the key or the mailbox.
    actor_id: Option<ID>,
    /// What: a field of Mutation, or a command of the command line.
    action: String,
    /// To which thing: an address, a domain, an ID.
    target: Option<String>,
    /// What was named beside it, without values.
    named: Vec<String>,
    /// What came of it.
    outcome: AuditResult,
    /// The code of the error by which it was refused.
    code: Option<String>,
}

impl From<storage::AuditEntry> for AuditEntry {
    fn from(entry: storage::AuditEntry) -> AuditEntry {
        let (actor, actor_id) = match entry.actor {
            Actor::CommandLine => (AuditActor::CommandLine, None),
            Actor::Key(id) => (AuditActor::Key, Some(ID(id.to_string()))),
            Actor::Mailbox(id) => (AuditActor::Mailbox, Some(ID(id.to_string()))),
        };
        let (outcome, code) = match entry.outcome {
            AuditOutcome::Begun => (AuditResult::Begun, None),
            AuditOutcome::Done => (AuditResult::Done, None),
            AuditOutcome::Refused(code) => (AuditResult::Refused, Some(code)),
        };
        AuditEntry {
            id: ID(format!("{}.{}", entry.at.0, entry.id)),
            at: DateTime(entry.at),
            actor,
            actor_id,
            action: entry.action,
            target: Some(entry.target).filter(|target| !target.is_empty()),
            named: entry.named,
            outcome,
            code,
        }
    }
}

fn place(id: &ID) -> Option<AuditPlace> {
    let (at, id) = id.split_once('.')?;
    Some(AuditPlace { at: Timestamp(at.parse().ok()?), id: AuditId::parse(id)? })
}

/// What can be asked about the audit log.
#[derive(Default)]
pub struct AuditQuery;

#[Object]
impl AuditQuery {
    /// Who changed what of the organisation, the newest first; kept for 400 days. Needs the scope `admin`.
    async fn audit_log(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The ID of an entry: those behind it, which are older.")] after: Option<ID>,
        #[graphql(desc = "How many at most, 1 to 100; 20 when absent.")] first: Option<i32>,
    ) -> async_graphql::Result<Vec<AuditEntry>> {
        let (app, caller) = parts(context)?;
        caller.needs(Scope::Admin)?;
        let bad = || ApiError::argument("after", "SYNTAX", "after: this is no entry's ID");
        let after = after.map(|id| place(&id).ok_or_else(bad)).transpose()?;
        let found =
            app.storage.audit(Some(caller.org), after, count(first)?).await.map_err(ApiError::from)?;
        Ok(found.into_iter().map(AuditEntry::from).collect())
    }
}
