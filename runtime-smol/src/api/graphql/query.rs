//! What can be asked for.

use std::sync::Arc;

use async_graphql::connection::{Connection, Edge};
use async_graphql::{Context, ID, InputObject, Object};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol_core::Timestamp;
use storage::{EmailPlace, MessageId};

use super::types::{DateTime, DeliveryEvent, Email, EmailState, EventType};
use crate::api::auth::Caller;
use crate::api::emails::{self, Filter, PAGE_MAX};
use crate::api::error::ApiError;
use crate::api::event::{Kind, Position};
use crate::api::events::{self, Wanted};
use crate::app::App;
use crate::smtp::canonical_text;

/// E-mails of a page when nobody says how many.
const PAGE: i32 = 20;

/// Which e-mails are wanted. What is left out does not matter.
#[derive(InputObject)]
pub struct EmailFilter {
    /// In one of these states.
    states: Option<Vec<EmailState>>,
    /// For this recipient.
    recipient: Option<String>,
    /// With this tag.
    tag: Option<String>,
    /// Accepted at this time or later.
    created_after: Option<DateTime>,
    /// Accepted before this time.
    created_before: Option<DateTime>,
}

impl From<EmailFilter> for Filter {
    fn from(filter: EmailFilter) -> Filter {
        Filter {
            states: filter.states.unwrap_or_default().into_iter().map(emails::State::from).collect(),
            recipient: filter.recipient.map(|address| canonical_text(&address)),
            tag: filter.tag,
            after: filter.created_after.map(|time| time.0),
            before: filter.created_before.map(|time| time.0),
        }
    }
}

/// What can be asked about e-mails.
#[derive(Default)]
pub struct EmailQuery;

#[Object]
impl EmailQuery {
    /// One e-mail, with its recipients and what became of it for each. Needs the scope `read`.
    #[graphql(complexity = "1 + child_complexity")]
    async fn email(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The ID that sendEmail answered.")] id: ID,
    ) -> async_graphql::Result<Email> {
        let (app, caller) = parts(context)?;
        Ok(emails::find(app, caller, &id).await?.into())
    }

    /// E-mails, the newest first. Needs the scope `read`. A page may hold fewer than were asked for, even none, when
    /// many had to be passed over; as long as `hasNextPage` is true, the listing goes on behind `endCursor`.
    #[graphql(complexity = "1 + child_complexity * (1 + first.unwrap_or(20).clamp(1, 100) as usize / 20)")]
    async fn emails(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which ones.")] filter: Option<EmailFilter>,
        #[graphql(desc = "The cursor of an e-mail: those behind it.")] after: Option<String>,
        #[graphql(desc = "How many at most, 1 to 100; 20 when absent.")] first: Option<i32>,
    ) -> async_graphql::Result<Connection<String, Email>> {
        let (app, caller) = parts(context)?;
        let first = count(first)?;
        let has_previous = after.is_some();
        let after = after.map(|cursor| {
            let bad = || ApiError::argument("after", "SYNTAX", "after: this is no cursor");
            read_cursor(&cursor).ok_or_else(bad)
        });
        let filter = filter.map(Filter::from).unwrap_or_default();
        let page = emails::list(app, caller, &filter, after.transpose()?, first).await?;
        let mut connection = Connection::new(has_previous, page.more);
        for story in page.stories {
            let place = EmailPlace { created: story.email.open.created, id: story.email.id };
            connection.edges.push(Edge::new(write_cursor(place), story.into()));
        }
        Ok(connection)
    }

    /// What happened to the organisation's e-mails, in order, behind an event: for those who would rather ask than
    /// listen. Fewer than were asked for: there are no more so far. Needs the scope `read`.
    #[graphql(complexity = "1 + child_complexity * (1 + first.unwrap_or(20).clamp(1, 100) as usize / 20)")]
    async fn delivery_events(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The ID of an event: those behind it. Absent: from the beginning.")] after: Option<
            ID,
        >,
        #[graphql(desc = "Only of this e-mail.")] email_id: Option<ID>,
        #[graphql(desc = "Only of these types.")] types: Option<Vec<EventType>>,
        #[graphql(desc = "How many at most, 1 to 100; 20 when absent.")] first: Option<i32>,
    ) -> async_graphql::Result<Vec<DeliveryEvent>> {
        let (app, caller) = parts(context)?;
        let first = count(first)?;
        let after = position(after)?.unwrap_or_else(Position::start);
        let wanted = wanted(email_id, types)?;
        let found = events::list(app, caller, &wanted, after, first).await?;
        Ok(found.into_iter().map(DeliveryEvent::from).collect())
    }
}

/// How many of a listing.
pub(super) fn count(first: Option<i32>) -> Result<usize, ApiError> {
    let first = usize::try_from(first.unwrap_or(PAGE)).ok().filter(|n| (1..=PAGE_MAX).contains(n));
    first.ok_or_else(|| ApiError::argument("first", "SYNTAX", "first: a number from 1 to 100"))
}

pub(super) fn position(after: Option<ID>) -> Result<Option<Position>, ApiError> {
    let bad = || ApiError::argument("after", "SYNTAX", "after: this is no event's ID");
    after.map(|id| Position::parse(&id).ok_or_else(bad)).transpose()
}

pub(super) fn wanted(email_id: Option<ID>, types: Option<Vec<EventType>>) -> Result<Wanted, ApiError> {
    let email = email_id.map(|id| MessageId::parse(&id).ok_or_else(ApiError::not_found)).transpose()?;
    Ok(Wanted { email, kinds: types.unwrap_or_default().into_iter().map(Kind::from).collect() })
}

/// The application and the caller of a request.
pub(super) fn parts<'a>(context: &'a Context<'_>) -> Result<(&'a Arc<App>, &'a Caller), ApiError> {
    let missing =
        |_| ApiError::new(crate::api::error::Code::Unauthenticated, "give an API key as a bearer token");
    Ok((context.data::<Arc<App>>().map_err(missing)?, context.data::<Caller>().map_err(missing)?))
}

fn write_cursor(place: EmailPlace) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {}", place.created.0, place.id))
}

fn read_cursor(cursor: &str) -> Option<EmailPlace> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (created, id) = text.split_once(' ')?;
    Some(EmailPlace { created: Timestamp(created.parse().ok()?), id: MessageId::parse(id)? })
}
