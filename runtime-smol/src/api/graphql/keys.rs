//! Keys and suppressions of an organisation.

use async_graphql::{Context, Enum, ID, Object, SimpleObject};
use protocol_core::Timestamp;
use storage::{Scopes, SuppressionScope, SuppressionSource};

use super::query::{count, parts};
use super::types::DateTime;
use crate::api::keys;

/// What a key lets its bearer do.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub enum KeyScope {
    /// Send, schedule and cancel e-mails.
    Send,
    /// See e-mails and what became of them.
    Read,
    /// Change what belongs to the organisation.
    Admin,
    /// Make and remove organisations, and say what they may send. Given by hand only, never over the API.
    Operator,
    /// Read the key's mailbox over IMAP: with this, SMTP or DAV the secret is an app password of the mailbox.
    Imap,
    /// Submit mail as the key's mailbox.
    Smtp,
    /// The calendars, contacts and files of the key's mailbox.
    Dav,
}

impl KeyScope {
    /// What these give together.
    pub fn all_of(scopes: &[KeyScope]) -> Scopes {
        let given = |scope| scopes.contains(&scope);
        Scopes {
            send: given(KeyScope::Send),
            read: given(KeyScope::Read),
            admin: given(KeyScope::Admin),
            operator: given(KeyScope::Operator),
            imap: given(KeyScope::Imap),
            smtp: given(KeyScope::Smtp),
            dav: given(KeyScope::Dav),
        }
    }
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
    /// The ID of the mailbox that it acts for; none: the organisation.
    mailbox_id: Option<ID>,
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
        let Scopes { send, read, admin, operator, imap, smtp, dav } = key.scopes;
        let given = [
            (send, KeyScope::Send),
            (read, KeyScope::Read),
            (admin, KeyScope::Admin),
            (operator, KeyScope::Operator),
            (imap, KeyScope::Imap),
            (smtp, KeyScope::Smtp),
            (dav, KeyScope::Dav),
        ];
        ApiKey {
            id: ID(key.id.to_string()),
            name: key.name,
            scopes: given.into_iter().filter(|(given, _)| *given).map(|(_, scope)| scope).collect(),
            mailbox_id: key.mailbox.map(|id| ID(id.to_string())),
            senders: key.domains.into_iter().chain(key.addresses).collect(),
            networks: key.networks,
            test: key.test,
            created_at: DateTime(key.created),
            expires_at: key.expires.map(DateTime),
            last_used_at: key.last_used.map(DateTime),
        }
    }
}

impl From<(storage::ApiKey, String)> for NewApiKey {
    fn from((key, secret): (storage::ApiKey, String)) -> NewApiKey {
        NewApiKey { api_key: key.into(), secret }
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

/// What can be asked about keys and suppressions.
#[derive(Default)]
pub struct KeyQuery;

#[Object]
impl KeyQuery {
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
}

/// What can be done with keys and suppressions.
#[derive(Default)]
pub struct KeyMutation;

#[Object]
impl KeyMutation {
    /// Makes a key. It gives no right that the caller does not have. Needs the scope `admin`.
    #[allow(clippy::too_many_arguments)] // each is an argument of the field
    async fn create_api_key(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "What people call it.")] name: String,
        #[graphql(desc = "What it lets its bearer do.")] scopes: Vec<KeyScope>,
        #[graphql(desc = "Domains and addresses it may send for; none: all of the organisation's.")]
        senders: Option<Vec<String>>,
        #[graphql(desc = "Networks it may be used from; none: everywhere.")] networks: Option<Vec<String>>,
        #[graphql(desc = "From then on it is worth nothing.")] expires_at: Option<DateTime>,
        #[graphql(desc = "What is sent with it is never delivered.")] test: Option<bool>,
        #[graphql(
            desc = "The address of the mailbox that it acts for; absent: the organisation. Needed for IMAP, SMTP and DAV."
        )]
        mailbox: Option<String>,
    ) -> async_graphql::Result<NewApiKey> {
        let (app, caller) = parts(context)?;
        let scopes = KeyScope::all_of(&scopes);
        let expires = expires_at.map(|time| time.0);
        let (senders, networks) = (senders.unwrap_or_default(), networks.unwrap_or_default());
        let test = test.unwrap_or_default();
        let wanted = keys::Wanted { name, scopes, mailbox, senders, networks, expires, test };
        Ok(keys::create(app, caller, wanted).await?.into())
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
}
