//! The schema, and how a document of it is carried out.

mod guard;
mod mutation;
mod query;
mod types;

use std::sync::Arc;

use async_graphql::parser::parse_query;
use async_graphql::{EmptySubscription, ErrorExtensions, Request, Response, Schema, ServerError};

use super::auth::Caller;
use super::error::{ApiError, Code};
use crate::app::App;

pub use mutation::{BATCH_MAX, Mutation};
pub use query::Query;
pub use types::{DateTime, event_name};

/// The schema of the API.
pub type ApiSchema = Schema<Query, Mutation, EmptySubscription>;

/// Makes the schema.
pub fn schema() -> ApiSchema {
    Schema::build(Query, Mutation, EmptySubscription)
        .limit_depth(guard::DEPTH_MAX + 8) // what the guard leaves to it is introspection
        .limit_complexity(guard::COMPLEXITY_MAX)
        .limit_directives(guard::DIRECTIVES_MAX)
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
    let request = match caller {
        Some(caller) => request.data(app.clone()).data(caller),
        None => request.only_introspection(),
    };
    let mut response = schema.execute(request).await;
    response.errors.iter_mut().for_each(coded);
    response
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
