//! Files that come beside a document, as octets and not in base64: the GraphQL multipart request specification.

use std::sync::Arc;

use async_graphql::http::{MultipartOptions, receive_body};
use async_graphql::{
    Context, InputValueError, InputValueResult, ParseRequestError, Scalar, ScalarType, UploadValue, Value,
};
use async_lock::Semaphore;
use futures_lite::AsyncReadExt;
use tide::Request;

use super::body;
use super::error::{ApiError, Code};

/// Octets of a body with files: a message of the largest size, and what stands around its parts.
pub const BODY_MAX: u64 = 28 * 1024 * 1024;
/// Places for files in one document.
pub const FILES_MAX: usize = 100;
/// A page in a browser can send forms to any server without being asked, and the browser may add a password it knows. No
/// page can add one of these fields that way: whoever does is no form.
const NO_FORM: [&str; 3] = ["graphql-require-preflight", "apollo-require-preflight", "x-requested-with"];
/// What stands for a file in the variables once they are read.
const MARK: &str = "#__graphql_file__:";

/// Whether a body is of this kind.
pub fn is_wanted<S>(request: &Request<S>) -> bool {
    request.content_type().is_some_and(|mime| mime.essence() == "multipart/form-data")
}

/// Reads a document and the files beside it; a place among the large bodies is held until the answer is dropped.
///
/// # Errors
/// [`Code::BadRequest`] for what is no such body or could be a form of a page, [`Code::TooLarge`].
pub async fn read<S>(
    request: &mut Request<S>,
    large: &Arc<Semaphore>,
) -> Result<(async_graphql::Request, body::Place), ApiError> {
    if !NO_FORM.iter().any(|name| request.header(*name).is_some()) {
        let why = "a body with files needs the header field GraphQL-Require-Preflight: 1";
        return Err(ApiError { reason: Some(body::NOT_JSON), ..ApiError::new(Code::BadRequest, why) });
    }
    let kind = request.header("content-type").map(|values| values.last().as_str().to_owned());
    let body = request.take_body();
    let too_large = || ApiError::new(Code::TooLarge, format!("the body has more than {BODY_MAX} octets"));
    if body.len().is_some_and(|octets| octets as u64 > BODY_MAX) {
        return Err(too_large());
    }
    let place = body::turn(large).await?;
    let mut body = body.take(BODY_MAX + 1);
    let max = api_message::limits::ATTACHMENT_MAX;
    let options = MultipartOptions::default().max_file_size(max);
    let read = receive_body(kind, &mut body, options).await;
    if body.limit() == 0 {
        return Err(too_large());
    }
    let too_many = || ApiError::new(Code::TooLarge, format!("at most {FILES_MAX} files of {max} octets"));
    match read {
        // The reader counts octets, and not files.
        Ok(document) if document.uploads.len() > FILES_MAX => Err(too_many()),
        Ok(document) => Ok((document, place)),
        Err(ParseRequestError::PayloadTooLarge) => Err(too_many()),
        Err(error) => Err(ApiError::new(Code::BadRequest, format!("the body cannot be read: {error}"))),
    }
}

/// A file that comes beside the document, by the GraphQL multipart request specification.
pub struct Upload(usize);

// Not the library's own: it takes any text that begins like the mark, and ends the task at one that names no file.
#[Scalar(name = "Upload")]
impl ScalarType for Upload {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => {
                let number = text.strip_prefix(MARK).and_then(|number| number.parse().ok());
                number.map(Upload).ok_or_else(|| InputValueError::custom("this is no file of the request"))
            }
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::Null
    }
}

impl Upload {
    /// The file; none when the request has no such one.
    pub fn of<'a>(&self, context: &'a Context<'_>) -> Option<&'a UploadValue> {
        context.query_env.uploads.get(self.0)
    }
}
