//! The transactional API: GraphQL on `/graphql`, and the same over REST on `/v1`.
//!
//! Whoever asks is known before more than a header is read. What is asked is bounded before it is carried out, and
//! both forms go through the same functions: [`send`](send::send), [`emails`], and those beside them.

mod auth;
mod body;
#[cfg(test)]
mod crash_tests;
mod directory;
mod emails;
mod error;
mod event;
mod events;
mod graphql;
mod input;
mod keys;
mod rest;
mod routes;
mod send;
mod simulate;
mod socket;
mod sse;
mod stream;
mod templates;
mod tenants;
mod time;
mod upgraded;
mod upload;
pub(crate) mod webhooks;

use std::sync::Arc;

use async_lock::Semaphore;
use tide::http::headers::HeaderName;
use tide::{Request, Response, StatusCode};
use tracing::{Instrument, Span};

use crate::app::App;
use crate::metrics::METRICS;
use auth::{Caller, authenticate};
use error::{ApiError, Code};
use graphql::ApiSchema;
pub(crate) use stream::Pieces;

pub use auth::{Client, Fields, MailboxAccess, authenticate_mailbox};
pub(crate) use time::parse as read_time;
pub use webhooks::run as send_events;

/// Octets of a body of a caller who may not send, and of one who does not say who they are.
const SMALL_BODY_MAX: usize = 1024 * 1024;
/// Octets of a body of a caller who may send: a message with its attachments in base64.
pub const BODY_MAX: usize = 36 * 1024 * 1024;
/// Octets of a question for the schema, where anybody may ask for it.
const INTROSPECTION_MAX: usize = 64 * 1024;
/// Bodies over [`SMALL_BODY_MAX`] that are in memory at once; with all copies each takes four times its size at most.
const LARGE_AT_ONCE: usize = 4;

/// The API over HTTP.
pub struct Api {
    app: Arc<App>,
    schema: ApiSchema,
    /// Anybody may ask for the schema, and see the page to try it on (quickstart).
    open: bool,
    large: Arc<Semaphore>,
}

impl Api {
    /// The API of a server.
    pub fn new(app: Arc<App>, open: bool) -> Arc<Api> {
        Arc::new(Api { app, schema: graphql::schema(), open, large: Arc::new(Semaphore::new(LARGE_AT_ONCE)) })
    }

    /// Whether bodies for a path may be larger than others: how large is decided when it is known who asks.
    pub fn takes_large_bodies(path: &str) -> bool {
        matches!(path, "/graphql" | "/v1/emails")
    }

    /// The methods of a path that is there, for whoever asked by another one (RFC 9110 §15.5.6).
    pub fn methods(path: &str) -> &'static str {
        match path {
            "/graphql" => "GET, POST",
            "/v1/emails" => "POST",
            path if path.starts_with("/v1/emails/") && path.ends_with("/cancel") => "POST",
            _ => "GET, HEAD",
        }
    }

    /// Answers a request for a WebSocket, before anything else looks at it. None: it is no such request.
    pub(crate) async fn upgrade<B>(
        self: &Arc<Self>,
        request: &mut hyper::Request<B>,
        client: Client,
    ) -> Option<Result<String, u16>> {
        if request.uri().path() != "/graphql" || !socket::is_wanted(request.headers()) {
            return None;
        }
        Some(match socket::handshake(self, request.headers(), client).await {
            Ok(handshake) => {
                let accept = handshake.accept.clone();
                let on_upgrade = hyper::upgrade::on(&mut *request);
                socket::begin(self.clone(), on_upgrade, handshake, client, request.headers());
                Ok(accept)
            }
            Err(error) => Err(error.code.status()),
        })
    }

    /// Puts its routes on a server.
    pub fn mount<S: Clone + Send + Sync + 'static>(self: &Arc<Self>, server: &mut tide::Server<S>) {
        let api = self.clone();
        server.at("/graphql").post(move |request| api.clone().answer_graphql(request));
        let api = self.clone();
        server.at("/graphql").get(move |request| api.clone().page(request));
        rest::mount(self, server);
    }

    /// Who asks; needs nothing but the header.
    async fn caller<S>(&self, request: &Request<S>) -> Result<Caller, ApiError> {
        let client = request.ext::<Client>().copied();
        let client = client.ok_or_else(|| ApiError::new(Code::Internal, "the connection is not known"))?;
        let field = |name: &str| request.header(name).map(|values| values.last().as_str());
        let fields = Fields {
            authorization: field("authorization"),
            forwarded_for: field("x-forwarded-for"),
            forwarded_proto: field("x-forwarded-proto"),
            traceparent: field("traceparent"),
        };
        authenticate(&self.app, client, fields).await
    }

    async fn answer_graphql<S>(self: Arc<Self>, mut request: Request<S>) -> tide::Result {
        let wants_stream =
            |accept: &str| accept.split(',').any(|kind| kind.trim().starts_with("text/event-stream"));
        if request.header("accept").is_some_and(|values| wants_stream(values.last().as_str())) {
            return self.answer_stream(request).await;
        }
        let response = match self.graphql(&mut request).await {
            Ok(response) => {
                METRICS.api_requests.add(graphql::code_of(&response));
                return json(StatusCode::Ok, serde_json::to_vec(&response)?);
            }
            Err(error) => error,
        };
        let body = serde_json::to_vec(&graphql::response_of(response.clone()))?;
        refused(&response, body)
    }

    /// A document whose answers are told as they come.
    async fn answer_stream<S>(&self, mut request: Request<S>) -> tide::Result {
        let begun = async {
            let caller = self.caller(&request).await?;
            let document = body::read_json(&mut request, SMALL_BODY_MAX, &self.large).await?.parse()?;
            Ok(graphql::stream(&self.schema, &self.app, caller, document))
        };
        match begun.await {
            Ok(answers) => {
                let response = Response::builder(StatusCode::Ok).body(sse::body(answers));
                let response = response.content_type("text/event-stream").header("cache-control", "no-store");
                Ok(response.header(NOSNIFF.0, NOSNIFF.1).build())
            }
            Err(error) => {
                let error: ApiError = error;
                refused(&error, serde_json::to_vec(&graphql::response_of(error.clone()))?)
            }
        }
    }

    async fn graphql<S>(&self, request: &mut Request<S>) -> Result<async_graphql::Response, ApiError> {
        let (caller, limit) = match self.caller(request).await {
            Ok(caller) if caller.scopes.send => (Some(caller), BODY_MAX),
            Ok(caller) => (Some(caller), SMALL_BODY_MAX),
            Err(error) if error.code == Code::Unauthenticated && self.is_anonymous(request) => {
                (None, INTROSPECTION_MAX)
            }
            Err(error) => return Err(error),
        };
        // One document, never a list of them. What it holds is in memory until it is carried out, and so is its place.
        let (document, _place): (async_graphql::Request, _) =
            if upload::is_wanted(request) && limit == BODY_MAX {
                let (document, place) = upload::read(request, &self.large).await?;
                (document, Some(place))
            } else {
                let body = body::read_json(request, limit, &self.large).await?;
                (body.parse()?, body.into_place())
            };
        let span = caller.as_ref().map_or_else(Span::none, |caller| caller.span("POST /graphql"));
        Ok(graphql::execute(&self.schema, &self.app, caller, document).instrument(span).await)
    }

    /// Whether anybody may ask for the schema, and the request does not claim to be from somebody.
    fn is_anonymous<S>(&self, request: &Request<S>) -> bool {
        self.open && request.header("authorization").is_none()
    }

    /// The page on which documents can be tried. A document in the address is refused: whatever an address does, a
    /// link on any page can do (HG6).
    async fn page<S>(self: Arc<Self>, request: Request<S>) -> tide::Result {
        if request.url().query().is_some() {
            return Ok(Response::builder(StatusCode::MethodNotAllowed).header("allow", "POST").build());
        }
        if !self.is_anonymous(&request)
            && let Err(error) = self.caller(&request).await
        {
            return refused(&error, error.message.clone().into_bytes());
        }
        let response = Response::builder(StatusCode::Ok).body(include_str!("graphiql.html"));
        Ok(response.content_type("text/html; charset=utf-8").header("cache-control", "no-store").build())
    }
}

const NOSNIFF: (&str, &str) = ("x-content-type-options", "nosniff");

fn json(status: StatusCode, body: Vec<u8>) -> tide::Result {
    let response = Response::builder(status).body(body).content_type(tide::http::mime::JSON);
    Ok(response.header("cache-control", "no-store").header(NOSNIFF.0, NOSNIFF.1).build())
}

/// An error before anything was carried out.
fn refused(error: &ApiError, body: Vec<u8>) -> tide::Result {
    METRICS.api_requests.add(error.code.name());
    let status = StatusCode::try_from(error.code.status()).unwrap_or(StatusCode::InternalServerError);
    let status = if error.reason == Some(body::NOT_JSON) { StatusCode::UnsupportedMediaType } else { status };
    let mut response = json(status, body)?;
    if error.code == Code::Unauthenticated {
        // RFC 9110 §11.6.1.
        response.insert_header(
            HeaderName::from_bytes(b"www-authenticate".to_vec())?,
            "Bearer realm=\"inbox\", Basic realm=\"inbox\", charset=\"UTF-8\"",
        );
    }
    Ok(response)
}
