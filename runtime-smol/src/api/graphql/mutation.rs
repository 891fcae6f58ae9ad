//! What can be changed.

use async_graphql::{Context, ID, Object, SimpleObject};
use futures_lite::StreamExt;

use super::query::parts;
use super::types::{DateTime, Email, Json};
use crate::api::auth::Scope;
use crate::api::emails;
use crate::api::error::ApiError;
use crate::api::input::{AttachmentInput, NameValueInput, SendEmailInput, UnsubscribeInput};
use crate::api::send::send;

/// E-mails of one `sendEmails`.
pub const BATCH_MAX: usize = 100;

/// What can be done with e-mails.
#[derive(Default)]
pub struct EmailMutation;

/// What became of one e-mail of a batch: an ID or an error.
#[derive(SimpleObject)]
pub struct SendEmailResult {
    /// The ID of the e-mail that was accepted.
    id: Option<ID>,
    /// Why it was not.
    error: Option<SendEmailError>,
}

/// Why an e-mail was not accepted.
#[derive(SimpleObject)]
pub struct SendEmailError {
    /// For programs; the same codes as in `extensions.code`.
    code: String,
    /// For people.
    message: String,
    /// Which argument is wrong.
    argument: Option<String>,
    /// How it is wrong.
    reason: Option<String>,
}

impl From<ApiError> for SendEmailError {
    fn from(error: ApiError) -> SendEmailError {
        SendEmailError {
            code: error.code.name().to_owned(),
            message: error.message,
            argument: error.argument,
            reason: error.reason.map(str::to_owned),
        }
    }
}

#[Object]
impl EmailMutation {
    /// Sends an e-mail and answers its ID as soon as it can no longer be lost. Needs the scope `send`.
    #[allow(clippy::too_many_arguments)] // each is an argument of the field
    async fn send_email(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The author: an address, or a name with the address in angle brackets.")]
        from: String,
        #[graphql(desc = "Recipients that everybody sees.")] to: Vec<String>,
        #[graphql(desc = "Further recipients that everybody sees.")] cc: Option<Vec<String>>,
        #[graphql(desc = "Recipients that nobody else sees.")] bcc: Option<Vec<String>>,
        #[graphql(desc = "Where answers go.")] reply_to: Option<Vec<String>>,
        #[graphql(desc = "The subject.")] subject: Option<String>,
        #[graphql(desc = "The body as plain text.")] text_body: Option<String>,
        #[graphql(desc = "The body as HTML.")] html_body: Option<String>,
        #[graphql(desc = "Further header fields: those for threads and lists, and X- fields.")]
        headers: Option<Vec<NameValueInput>>,
        #[graphql(desc = "Files, and parts that the HTML shows.")] attachments: Option<Vec<AttachmentInput>>,
        #[graphql(desc = "Words to find it by.")] tags: Option<Vec<String>>,
        #[graphql(desc = "Names and values that come back with everything that is told of it.")]
        metadata: Option<Vec<NameValueInput>>,
        #[graphql(desc = "Not to be sent before; at most 30 days ahead.")] send_at: Option<DateTime>,
        #[graphql(desc = "Every server on the way must use TLS that can be verified (RFC 8689).")]
        require_tls: Option<bool>,
        #[graphql(desc = "How a reader leaves the list.")] unsubscribe: Option<UnsubscribeInput>,
        #[graphql(desc = "The ID of a template: subject and bodies come from it.")] template_id: Option<ID>,
        #[graphql(desc = "Which version; the newest when absent.")] template_version: Option<u32>,
        #[graphql(
            desc = "What is put into the template: an object with a member for each of its variables."
        )]
        variables: Option<Json>,
        #[graphql(
            desc = "Requests with the same key within 24 hours are one: the same arguments get the same ID, others the error IDEMPOTENCY_CONFLICT."
        )]
        idempotency_key: Option<String>,
    ) -> async_graphql::Result<ID> {
        let (app, caller) = parts(context)?;
        let input = SendEmailInput {
            from,
            to,
            cc,
            bcc,
            reply_to,
            subject,
            text_body,
            html_body,
            headers,
            attachments,
            tags,
            metadata,
            send_at,
            require_tls: require_tls.unwrap_or_default(),
            unsubscribe,
            template_id,
            template_version,
            variables,
            idempotency_key,
        };
        let (request, key) = input.into_request(Some(context))?;
        Ok(ID(send(app, caller, request, key).await?.to_string()))
    }

    /// Sends up to 100 e-mails. Each has a result of its own, in order; one that is refused hinders no other. Needs the
    /// scope `send`.
    async fn send_emails(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The e-mails.")] emails: Vec<SendEmailInput>,
    ) -> async_graphql::Result<Vec<SendEmailResult>> {
        let (app, caller) = parts(context)?;
        caller.needs(Scope::Send)?;
        if emails.len() > BATCH_MAX {
            return Err(ApiError::argument("emails", "TOO_MANY", "emails: at most 100").into());
        }
        let each = emails.into_iter().map(async |input| {
            let (request, key) = input.into_request(Some(context))?;
            send(app, caller, request, key).await
        });
        let outcomes = futures_lite::stream::iter(each).then(|work| work).collect::<Vec<_>>().await;
        let result = |outcome: Result<storage::MessageId, ApiError>| match outcome {
            Ok(id) => SendEmailResult { id: Some(ID(id.to_string())), error: None },
            Err(error) => SendEmailResult { id: None, error: Some(error.into()) },
        };
        Ok(outcomes.into_iter().map(result).collect())
    }

    /// Sends a scheduled e-mail at another time, as long as nothing of it was tried. Needs the scope `send`.
    async fn update_scheduled_email(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The ID that sendEmail answered.")] id: ID,
        #[graphql(desc = "Not to be sent before; at most 30 days ahead. A past time: as soon as may be.")]
        send_at: DateTime,
    ) -> async_graphql::Result<Email> {
        let (app, caller) = parts(context)?;
        Ok(emails::reschedule(app, caller, &id, send_at.0).await?.into())
    }

    /// Gives up what is not sent yet of an e-mail. CONFLICT when nothing waits any more. Needs the scope `send`.
    async fn cancel_email(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The ID that sendEmail answered.")] id: ID,
    ) -> async_graphql::Result<Email> {
        let (app, caller) = parts(context)?;
        Ok(emails::cancel(app, caller, &id).await?.into())
    }
}
