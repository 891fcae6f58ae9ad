//! What can be asked for.

use std::sync::Arc;

use async_graphql::connection::{Connection, Edge};
use async_graphql::{Context, ID, InputObject, Object};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol_core::Timestamp;
use storage::{EmailPlace, MessageId};

use super::types::{DateTime, Email, EmailState};
use crate::api::auth::Caller;
use crate::api::emails::{self, Filter, PAGE_MAX};
use crate::api::error::ApiError;
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

/// What can be asked for.
pub struct Query;

#[Object]
impl Query {
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
        let first = usize::try_from(first.unwrap_or(PAGE)).ok().filter(|n| (1..=PAGE_MAX).contains(n));
        let first =
            first.ok_or_else(|| ApiError::argument("first", "SYNTAX", "first: a number from 1 to 100"))?;
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
            connection.edges.push(Edge::new(write_cursor(place), Email::from(story)));
        }
        Ok(connection)
    }
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
