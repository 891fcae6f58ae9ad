//! Webhooks of an organisation.

use async_graphql::{Context, ID, Object, SimpleObject};

use super::query::{parts, position};
use super::types::{DateTime, EventType};
use crate::api::event::{Kind, Position};
use crate::api::webhooks;

/// An address that events are sent to.
#[derive(SimpleObject)]
pub struct Webhook {
    /// Its ID.
    id: ID,
    /// The address.
    url: String,
    /// Types of events that are sent; none: all.
    types: Vec<EventType>,
    /// The mailbox of which it is told what arrives, by its ID; none: of all that the organisation sends, and of what
    /// arrives in mailboxes that have a webhook.
    mailbox_id: Option<ID>,
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
            mailbox_id: webhook.mailbox.map(|id| ID(id.to_string())),
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

/// What can be asked about webhooks.
#[derive(Default)]
pub struct WebhookQuery;

#[Object]
impl WebhookQuery {
    /// The organisation's webhooks. Needs the scope `admin`.
    async fn webhooks(&self, context: &Context<'_>) -> async_graphql::Result<Vec<Webhook>> {
        let (app, caller) = parts(context)?;
        Ok(webhooks::list(app, caller).await?.into_iter().map(Webhook::from).collect())
    }
}

/// What can be done with webhooks.
#[derive(Default)]
pub struct WebhookMutation;

#[Object]
impl WebhookMutation {
    /// Sends events to an address from now on. With a mailbox: an event for each message that arrives in its inbox,
    /// with the header and where the message can be fetched. Needs the scope `admin`.
    async fn create_webhook(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "An address that begins with https:// and names a host.")] url: String,
        #[graphql(desc = "Types of events; none: all.")] types: Option<Vec<EventType>>,
        #[graphql(desc = "The address of a mailbox, to be told of what arrives there only.")] mailbox: Option<
            String,
        >,
    ) -> async_graphql::Result<NewWebhook> {
        let (app, caller) = parts(context)?;
        let kinds = types.unwrap_or_default().into_iter().map(Kind::from).collect();
        let wanted = webhooks::Wanted { url: Some(url), kinds: Some(kinds), enabled: None, mailbox };
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
        let wanted = webhooks::Wanted { url, kinds, enabled, mailbox: None };
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
}
