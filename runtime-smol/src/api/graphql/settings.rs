//! What an organisation sets for itself: keys, suppressions, webhooks, templates.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};
use protocol_core::Timestamp;
use storage::{Scopes, SuppressionScope, SuppressionSource, TemplateId, TemplateVariable};

use super::query::{count, parts, position};
use super::types::{DateTime, EventType};
use crate::api::error::ApiError;
use crate::api::event::{Kind, Position};
use crate::api::{keys, templates, webhooks};

/// What a key lets its bearer do.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub enum KeyScope {
    /// Send, schedule and cancel e-mails.
    Send,
    /// See e-mails and what became of them.
    Read,
    /// Change what belongs to the organisation.
    Admin,
}

/// A key of the API.
#[derive(SimpleObject)]
pub struct ApiKey {
    /// Its ID.
    id: ID,
    /// What people call it.
    name: String,
    /// What it lets its bearer do.
    scopes: Vec<KeyScope>,
    /// Domains and addresses it may send for; none: all of the organisation's.
    senders: Vec<String>,
    /// Networks it may be used from; none: everywhere.
    networks: Vec<String>,
    /// What is sent with it is never delivered.
    test: bool,
    /// When it was made.
    created_at: DateTime,
    /// From then on it is worth nothing.
    expires_at: Option<DateTime>,
    /// When it was used last, to within a minute.
    last_used_at: Option<DateTime>,
}

/// A key and its secret, which is shown once.
#[derive(SimpleObject)]
pub struct NewApiKey {
    /// The key.
    api_key: ApiKey,
    /// The secret: the bearer token.
    secret: String,
}

impl From<storage::ApiKey> for ApiKey {
    fn from(key: storage::ApiKey) -> ApiKey {
        let given = [(key.scopes.send, KeyScope::Send), (key.scopes.read, KeyScope::Read)];
        let given = given.into_iter().chain([(key.scopes.admin, KeyScope::Admin)]);
        ApiKey {
            id: ID(key.id.to_string()),
            name: key.name,
            scopes: given.filter(|(given, _)| *given).map(|(_, scope)| scope).collect(),
            senders: key.domains.into_iter().chain(key.addresses).collect(),
            networks: key.networks,
            test: key.test,
            created_at: DateTime(key.created),
            expires_at: key.expires.map(DateTime),
            last_used_at: key.last_used.map(DateTime),
        }
    }
}

/// Where a suppression comes from.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "SuppressionSource")]
pub enum SuppressionOrigin {
    /// A person made it.
    Manual,
    /// A permanent failure.
    Bounce,
    /// The recipient complained.
    Complaint,
    /// A first sign that a domain is gone.
    Suspicion,
}

/// An address or a domain that gets no mail of the organisation.
#[derive(SimpleObject)]
pub struct Suppression {
    /// The address or domain.
    entry: String,
    /// It is a domain, with all its addresses.
    is_domain: bool,
    /// Why.
    reason: String,
    /// Where it comes from.
    source: SuppressionOrigin,
    /// Since when.
    created_at: DateTime,
    /// Until when; none: until it is removed.
    expires_at: Option<DateTime>,
}

impl From<storage::Suppression> for Suppression {
    fn from(row: storage::Suppression) -> Suppression {
        Suppression {
            entry: row.key.entry,
            is_domain: row.key.scope == SuppressionScope::Domain,
            reason: row.reason,
            source: row.source.into(),
            created_at: DateTime(row.created),
            expires_at: row.expires.map(DateTime),
        }
    }
}

/// An address that events are sent to.
#[derive(SimpleObject)]
pub struct Webhook {
    /// Its ID.
    id: ID,
    /// The address.
    url: String,
    /// Types of events that are sent; none: all.
    types: Vec<EventType>,
    /// Events are sent.
    enabled: bool,
    /// When it was made.
    created_at: DateTime,
    /// The event that was taken last.
    position: ID,
    /// Tries of the next event so far.
    attempts: u32,
    /// When the next event is tried again, while it waits.
    next_try_at: Option<DateTime>,
    /// Events that were given up after their last try.
    given_up: u64,
    /// What went wrong last.
    last_error: Option<String>,
    /// When an event was taken last.
    last_success_at: Option<DateTime>,
}

/// A webhook and its secret, which is shown once.
#[derive(SimpleObject)]
pub struct NewWebhook {
    /// The webhook.
    webhook: Webhook,
    /// The secret that signs, as Standard Webhooks writes it.
    secret: String,
}

impl From<storage::Webhook> for Webhook {
    fn from(webhook: storage::Webhook) -> Webhook {
        let waits = webhook.attempts > 0;
        Webhook {
            id: ID(webhook.id.to_string()),
            url: webhook.url,
            types: webhook.kinds.iter().filter_map(|name| Kind::named(name)).map(EventType::from).collect(),
            enabled: webhook.enabled,
            created_at: DateTime(webhook.created),
            position: ID(webhook.position),
            attempts: webhook.attempts,
            next_try_at: waits.then_some(DateTime(webhook.next_try)),
            given_up: webhook.given_up,
            last_error: webhook.last_error,
            last_success_at: webhook.last_success.map(DateTime),
        }
    }
}

impl From<(storage::Webhook, String)> for NewWebhook {
    fn from((webhook, secret): (storage::Webhook, String)) -> NewWebhook {
        NewWebhook { webhook: webhook.into(), secret }
    }
}

/// What a variable of a template holds.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub enum VariableType {
    /// Text.
    String,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A list.
    List,
    /// Names and values.
    Object,
}

const VARIABLE_TYPES: [(VariableType, &str); 5] = [
    (VariableType::String, "string"),
    (VariableType::Number, "number"),
    (VariableType::Boolean, "boolean"),
    (VariableType::List, "list"),
    (VariableType::Object, "object"),
];

/// A variable of a template.
#[derive(SimpleObject)]
pub struct Variable {
    /// Its name.
    name: String,
    /// What it holds.
    r#type: VariableType,
    /// It may be left out.
    optional: bool,
}

/// A variable of a template.
#[derive(InputObject)]
pub struct VariableInput {
    /// Its name.
    name: String,
    /// What it holds.
    r#type: VariableType,
    /// It may be left out.
    #[graphql(default)]
    optional: bool,
}

/// One version of a template.
#[derive(SimpleObject)]
pub struct Template {
    /// Its ID, the same for all versions.
    id: ID,
    /// Which version this is, from 1.
    version: u32,
    /// What people call it.
    name: String,
    /// The subject, with places for variables.
    subject: String,
    /// The body as plain text, with places for variables.
    text_body: Option<String>,
    /// The body as HTML, with places for variables.
    html_body: Option<String>,
    /// What can be put into it.
    variables: Vec<Variable>,
    /// When this version was made.
    created_at: DateTime,
}

impl From<storage::Template> for Template {
    fn from(template: storage::Template) -> Template {
        let kind = |kind: &str| VARIABLE_TYPES.iter().find(|(_, name)| *name == kind).map(|(kind, _)| *kind);
        let variable = |v: TemplateVariable| {
            Some(Variable { r#type: kind(&v.kind)?, name: v.name, optional: v.optional })
        };
        Template {
            id: ID(template.id.to_string()),
            version: template.version,
            name: template.name,
            subject: template.subject,
            text_body: template.text,
            html_body: template.html,
            variables: template.variables.into_iter().filter_map(variable).collect(),
            created_at: DateTime(template.created),
        }
    }
}

/// What an organisation has set.
#[derive(Default)]
pub struct SettingsQuery;

#[Object]
impl SettingsQuery {
    /// The organisation's keys. Needs the scope `admin`.
    async fn api_keys(&self, context: &Context<'_>) -> async_graphql::Result<Vec<ApiKey>> {
        let (app, caller) = parts(context)?;
        Ok(keys::list(app, caller).await?.into_iter().map(ApiKey::from).collect())
    }

    /// Addresses and domains that get no mail of the organisation now, by address and then domain. Needs the scope
    /// `read`.
    async fn suppressions(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "An address or domain: those behind it.")] after: Option<String>,
        #[graphql(desc = "How many at most, 1 to 100; 20 when absent.")] first: Option<i32>,
    ) -> async_graphql::Result<Vec<Suppression>> {
        let (app, caller) = parts(context)?;
        let after = after.map(|entry| keys::entry_key(caller, &entry)).transpose()?;
        let found = keys::suppressions(app, caller, after, count(first)?).await?;
        Ok(found.into_iter().map(Suppression::from).collect())
    }

    /// The organisation's webhooks. Needs the scope `admin`.
    async fn webhooks(&self, context: &Context<'_>) -> async_graphql::Result<Vec<Webhook>> {
        let (app, caller) = parts(context)?;
        Ok(webhooks::list(app, caller).await?.into_iter().map(Webhook::from).collect())
    }

    /// The newest versions of the organisation's templates. Needs the scope `read`.
    async fn templates(&self, context: &Context<'_>) -> async_graphql::Result<Vec<Template>> {
        let (app, caller) = parts(context)?;
        Ok(templates::list(app, caller).await?.into_iter().map(Template::from).collect())
    }

    /// One template. Needs the scope `read`.
    async fn template(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its ID.")] id: ID,
        #[graphql(desc = "Which version; the newest when absent.")] version: Option<u32>,
    ) -> async_graphql::Result<Template> {
        let (app, caller) = parts(context)?;
        Ok(templates::find(app, caller, &id, version).await?.into())
    }
}

/// What an organisation can set.
#[derive(Default)]
pub struct SettingsMutation;

#[Object]
impl SettingsMutation {
    /// Makes a key. It gives no right that the caller does not have. Needs the scope `admin`.
    #[allow(clippy::too_many_arguments)] // each is an argument of the field
    async fn create_api_key(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "What people call it.")] name: String,
        #[graphql(desc = "What it lets its bearer do.")] scopes: Vec<KeyScope>,
        #[graphql(default, desc = "Domains and addresses it may send for; none: all of the organisation's.")]
        senders: Vec<String>,
        #[graphql(default, desc = "Networks it may be used from; none: everywhere.")] networks: Vec<String>,
        #[graphql(desc = "From then on it is worth nothing.")] expires_at: Option<DateTime>,
        #[graphql(default, desc = "What is sent with it is never delivered.")] test: bool,
    ) -> async_graphql::Result<NewApiKey> {
        let (app, caller) = parts(context)?;
        let given = |scope| scopes.contains(&scope);
        let scopes = Scopes {
            send: given(KeyScope::Send),
            read: given(KeyScope::Read),
            admin: given(KeyScope::Admin),
        };
        let expires = expires_at.map(|time| time.0);
        let wanted = keys::Wanted { name, scopes, senders, networks, expires, test };
        let (key, secret) = keys::create(app, caller, wanted).await?;
        Ok(NewApiKey { api_key: key.into(), secret })
    }

    /// Makes a key worth nothing, from this moment on. Needs the scope `admin`.
    async fn revoke_api_key(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its ID.")] id: ID,
    ) -> async_graphql::Result<ID> {
        let (app, caller) = parts(context)?;
        keys::revoke(app, caller, &id).await?;
        Ok(id)
    }

    /// Holds mail to an address or a domain back. Needs the scope `admin`.
    async fn suppress(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The address or domain.")] entry: String,
        #[graphql(desc = "Why, for people.")] reason: Option<String>,
        #[graphql(desc = "Until when; absent: until it is removed.")] expires_at: Option<DateTime>,
    ) -> async_graphql::Result<Suppression> {
        let (app, caller) = parts(context)?;
        let expires: Option<Timestamp> = expires_at.map(|time| time.0);
        Ok(keys::suppress(app, caller, &entry, reason, expires).await?.into())
    }

    /// Lets mail to an address or a domain go again; whether anything held it back. Needs the scope `admin`.
    async fn unsuppress(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The address or domain.")] entry: String,
    ) -> async_graphql::Result<bool> {
        let (app, caller) = parts(context)?;
        Ok(keys::unsuppress(app, caller, &entry).await?)
    }

    /// Sends events to an address from now on. Needs the scope `admin`.
    async fn create_webhook(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "An address that begins with https:// and names a host.")] url: String,
        #[graphql(default, desc = "Types of events; none: all.")] types: Vec<EventType>,
    ) -> async_graphql::Result<NewWebhook> {
        let (app, caller) = parts(context)?;
        let kinds = types.into_iter().map(Kind::from).collect();
        let wanted = webhooks::Wanted { url: Some(url), kinds: Some(kinds), enabled: None };
        Ok(webhooks::create(app, caller, wanted).await?.into())
    }

    /// Changes a webhook; what is not named stays. Needs the scope `admin`.
    async fn update_webhook(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its ID.")] id: ID,
        #[graphql(desc = "An address that begins with https:// and names a host.")] url: Option<String>,
        #[graphql(desc = "Types of events; an empty list: all.")] types: Option<Vec<EventType>>,
        #[graphql(desc = "Whether events are sent.")] enabled: Option<bool>,
    ) -> async_graphql::Result<Webhook> {
        let (app, caller) = parts(context)?;
        let kinds = types.map(|types| types.into_iter().map(Kind::from).collect());
        let wanted = webhooks::Wanted { url, kinds, enabled };
        Ok(webhooks::update(app, caller, &id, wanted).await?.into())
    }

    /// Gives a webhook another secret. Needs the scope `admin`.
    async fn rotate_webhook_secret(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its ID.")] id: ID,
    ) -> async_graphql::Result<NewWebhook> {
        let (app, caller) = parts(context)?;
        Ok(webhooks::rotate(app, caller, &id).await?.into())
    }

    /// Sends events to a webhook again, those behind one of them. Needs the scope `admin`.
    async fn replay_webhook(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its ID.")] id: ID,
        #[graphql(desc = "The ID of an event: those behind it. Absent: all that are kept.")] after: Option<
            ID,
        >,
    ) -> async_graphql::Result<Webhook> {
        let (app, caller) = parts(context)?;
        let after = position(after)?.unwrap_or_else(Position::start);
        Ok(webhooks::replay(app, caller, &id, after).await?.into())
    }

    /// Removes a webhook. Needs the scope `admin`.
    async fn delete_webhook(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its ID.")] id: ID,
    ) -> async_graphql::Result<ID> {
        let (app, caller) = parts(context)?;
        webhooks::remove(app, caller, &id).await?;
        Ok(id)
    }

    /// Makes a template, or the next version of one. Versions are never changed. Needs the scope `admin`.
    #[allow(clippy::too_many_arguments)] // each is an argument of the field
    async fn save_template(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Of which it is a new version; absent: a new template.")] id: Option<ID>,
        #[graphql(desc = "What people call it.")] name: String,
        #[graphql(desc = "The subject; {{ name }} is the place of a variable.")] subject: String,
        #[graphql(desc = "The body as plain text.")] text_body: Option<String>,
        #[graphql(desc = "The body as HTML; what is put into it is escaped.")] html_body: Option<String>,
        #[graphql(default, desc = "What can be put into it.")] variables: Vec<VariableInput>,
    ) -> async_graphql::Result<Template> {
        let (app, caller) = parts(context)?;
        let kind = |wanted: VariableType| {
            VARIABLE_TYPES.iter().find(|(kind, _)| *kind == wanted).map_or("", |(_, name)| name).to_owned()
        };
        let variable =
            |v: VariableInput| TemplateVariable { kind: kind(v.r#type), name: v.name, optional: v.optional };
        let wanted = templates::Wanted {
            id: id.map(|id| TemplateId::parse(&id).ok_or_else(ApiError::not_found)).transpose()?,
            name,
            subject,
            text: text_body,
            html: html_body,
            variables: variables.into_iter().map(variable).collect(),
        };
        Ok(templates::save(app, caller, wanted).await?.into())
    }

    /// Removes a template with all its versions. Needs the scope `admin`.
    async fn delete_template(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its ID.")] id: ID,
    ) -> async_graphql::Result<ID> {
        let (app, caller) = parts(context)?;
        templates::remove(app, caller, &id).await?;
        Ok(id)
    }
}
