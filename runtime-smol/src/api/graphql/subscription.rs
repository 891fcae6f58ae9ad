//! What can be listened to.

use async_graphql::{Context, ID, Subscription};
use futures_lite::{Stream, StreamExt};

use super::query::{parts, position, wanted};
use super::types::{DeliveryEvent, EventType};
use crate::api::events;

/// What can be listened to.
pub struct Subscription;

/// What can be listened to.
#[Subscription]
impl Subscription {
    /// What happens to the organisation's e-mails, as it happens, in order. Whoever lost the connection goes on behind
    /// the last event they have seen. Needs the scope `read`.
    async fn delivery_events(
        &self,
        context: &Context<'_>,
        #[graphql(
            desc = "The ID of an event: those behind it, at once when they have happened already. Absent: from now on."
        )]
        after: Option<ID>,
        #[graphql(desc = "Only of this e-mail.")] email_id: Option<ID>,
        #[graphql(desc = "Only of these types.")] types: Option<Vec<EventType>>,
    ) -> async_graphql::Result<impl Stream<Item = async_graphql::Result<DeliveryEvent>> + use<>> {
        let (app, caller) = parts(context)?;
        let wanted = wanted(email_id, types)?;
        let events = events::stream(app, caller, wanted, position(after)?).await?;
        Ok(events.map(|event| Ok(DeliveryEvent::from(event?))))
    }
}
