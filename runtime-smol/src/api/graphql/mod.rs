//! The schema, and how a document of it is carried out.

mod audit;
mod directory;
mod guard;
mod keys;
mod mutation;
mod query;
mod subscription;
mod templates;
mod tenants;
mod types;
mod webhooks;

use std::pin::Pin;
use std::sync::Arc;

use async_graphql::parser::parse_query;
use async_graphql::{ErrorExtensions, MergedObject, Request, Response, Schema, ServerError, Value};

use futures_lite::{Stream, StreamExt};

use super::auth::Caller;
use super::error::{ApiError, Code};
use crate::app::App;

use audit::AuditQuery;
use directory::{DirectoryMutation, DirectoryQuery};
use keys::{KeyMutation, KeyQuery};
use mutation::EmailMutation;
use query::EmailQuery;
pub use subscription::Subscription;
use templates::{TemplateMutation, TemplateQuery};
use tenants::{TenantMutation, TenantQuery};
pub use types::{DateTime, Json};
use webhooks::{WebhookMutation, WebhookQuery};

/// What can be asked for.
#[derive(MergedObject, Default)]
pub struct Query(EmailQuery, KeyQuery, WebhookQuery, TemplateQuery, DirectoryQuery, TenantQuery, AuditQuery);

/// What can be changed.
#[derive(MergedObject, Default)]
pub struct Mutation(
    EmailMutation,
    KeyMutation,
    WebhookMutation,
    TemplateMutation,
    DirectoryMutation,
    TenantMutation,
);

/// The schema of the API.
pub type ApiSchema = Schema<Query, Mutation, Subscription>;

/// Makes the schema.
pub fn schema() -> ApiSchema {
    Schema::build(Query::default(), Mutation::default(), Subscription)
        .limit_depth(guard::DEPTH_MAX + 8) // what the guard leaves to it is introspection
        .limit_complexity(guard::COMPLEXITY_MAX)
        .limit_directives(guard::DIRECTIVES_MAX)
        .extension(audit::Audit)
        .finish()
}

/// Carries out a document for a caller; without one only the schema can be asked for.
pub async fn execute(
    schema: &ApiSchema,
    app: &Arc<App>,
    caller: Option<Caller>,
    mut request: Request,
) -> Response {
    if let Err(error) = prepare(&mut request) {
        return response_of(error);
    }
    let mut response = schema.execute(furnished(app, caller, request)).await;
    response.errors.iter_mut().for_each(coded);
    response
}

/// The same for one that may have many answers.
pub fn stream(
    schema: &ApiSchema,
    app: &Arc<App>,
    caller: Caller,
    mut request: Request,
) -> Pin<Box<dyn Stream<Item = Response> + Send>> {
    if let Err(error) = prepare(&mut request) {
        return Box::pin(futures_lite::stream::once(response_of(error)));
    }
    let answers = schema.execute_stream(furnished(app, Some(caller), request));
    Box::pin(answers.map(|mut response| {
        response.errors.iter_mut().for_each(coded);
        response
    }))
}

fn furnished(app: &Arc<App>, caller: Option<Caller>, request: Request) -> Request {
    match caller {
        Some(caller) => {
            let named = audit::Named::of(&request.variables);
            request.data(app.clone()).data(caller).data(named)
        }
        None => request.only_introspection(),
    }
}

/// Bounds what the document can cost, and parses it once.
fn prepare(request: &mut Request) -> Result<(), ApiError> {
    guard::check_text(&request.query)?;
    let document = parse_query(&request.query).map_err(|e| ApiError::new(Code::BadRequest, e.to_string()))?;
    guard::check(&document)?;
    request.set_parsed_query(document);
    Ok(())
}

/// An error of the executor's own has a code too.
fn coded(error: &mut ServerError) {
    let extensions = error.extensions.get_or_insert_default();
    if extensions.get("code").is_none() {
        extensions.set("code", Code::BadRequest.name());
    }
}

/// The code that an answer is counted under: that of its first error.
pub fn code_of(response: &Response) -> &'static str {
    let code =
        response.errors.first().map(|error| error.extensions.as_ref()?.get("code")).map(|code| match code {
            Some(Value::String(code)) => Code::named(code),
            _ => None,
        });
    match code {
        None => "OK",
        Some(code) => code.unwrap_or(Code::Internal).name(),
    }
}

/// An answer that is one error.
pub fn response_of(error: ApiError) -> Response {
    let error: async_graphql::Error = error.into();
    Response::from_errors(vec![error.into_server_error(Default::default())])
}

impl From<ApiError> for async_graphql::Error {
    fn from(error: ApiError) -> async_graphql::Error {
        async_graphql::Error::new(error.message.clone()).extend_with(|_, extensions| {
            extensions.set("code", error.code.name());
            if let Some(argument) = &error.argument {
                extensions.set("argument", argument.as_str());
            }
            if let Some(reason) = error.reason {
                extensions.set("reason", reason);
            }
        })
    }
}

#[cfg(test)]
mod tests;
