//! What goes wrong, as the API tells it: a code for programs, a sentence for people, and nothing of what is inside.

use api_message::Fault;
use storage::{Error, Refusal};

/// Codes of errors. Each stands in `extensions.code` of a GraphQL error and in `code` of a REST error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The request is not one that can be read.
    BadRequest,
    /// No key or password, or one that is worth nothing.
    Unauthenticated,
    /// The connection is neither encrypted nor from this host.
    InsecureTransport,
    /// The key does not give the right, or may not be used from there.
    Forbidden,
    /// The address or domain is not the caller's to send for.
    SenderNotAllowed,
    /// There is no such thing, or it is not the caller's to see.
    NotFound,
    /// An argument is wrong; `argument` and `reason` say which, and how.
    InvalidArgument,
    /// Another request was accepted under the same key of idempotency.
    IdempotencyConflict,
    /// What is there does not allow it (any more).
    Conflict,
    /// A quota of the sender's domain is used up.
    QuotaExceeded,
    /// Too many requests in this window.
    RateLimited,
    /// The body is larger than it may be.
    TooLarge,
    /// Nothing was done; the same request may succeed later.
    Unavailable,
    /// A fault of the server's own. The log says more.
    Internal,
}

/// All of them.
const CODES: [Code; 14] = [
    Code::BadRequest,
    Code::Unauthenticated,
    Code::InsecureTransport,
    Code::Forbidden,
    Code::SenderNotAllowed,
    Code::NotFound,
    Code::InvalidArgument,
    Code::IdempotencyConflict,
    Code::Conflict,
    Code::QuotaExceeded,
    Code::RateLimited,
    Code::TooLarge,
    Code::Unavailable,
    Code::Internal,
];

impl Code {
    /// The code of a name.
    pub fn named(name: &str) -> Option<Code> {
        CODES.into_iter().find(|code| code.name() == name)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Code::BadRequest => "BAD_REQUEST",
            Code::Unauthenticated => "UNAUTHENTICATED",
            Code::InsecureTransport => "INSECURE_TRANSPORT",
            Code::Forbidden => "FORBIDDEN",
            Code::SenderNotAllowed => "SENDER_NOT_ALLOWED",
            Code::NotFound => "NOT_FOUND",
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::IdempotencyConflict => "IDEMPOTENCY_CONFLICT",
            Code::Conflict => "CONFLICT",
            Code::QuotaExceeded => "QUOTA_EXCEEDED",
            Code::RateLimited => "RATE_LIMITED",
            Code::TooLarge => "TOO_LARGE",
            Code::Unavailable => "UNAVAILABLE",
            Code::Internal => "INTERNAL",
        }
    }

    /// The status that goes with it over HTTP.
    pub fn status(self) -> u16 {
        match self {
            Code::BadRequest | Code::InvalidArgument => 400,
            Code::Unauthenticated => 401,
            Code::InsecureTransport | Code::Forbidden | Code::SenderNotAllowed => 403,
            Code::NotFound => 404,
            Code::IdempotencyConflict | Code::Conflict => 409,
            Code::TooLarge => 413,
            Code::QuotaExceeded | Code::RateLimited => 429,
            Code::Internal => 500,
            Code::Unavailable => 503,
        }
    }
}

/// An error of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
    /// Which argument is wrong.
    pub argument: Option<String>,
    /// How it is wrong.
    pub reason: Option<&'static str>,
}

impl ApiError {
    /// An error without an argument.
    pub fn new(code: Code, message: impl Into<String>) -> ApiError {
        ApiError { code, message: message.into(), argument: None, reason: None }
    }

    /// There is no such thing, or it is another's: the same words for both.
    pub fn not_found() -> ApiError {
        ApiError::new(Code::NotFound, "not found")
    }

    /// An argument is wrong.
    pub fn argument(argument: &str, reason: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            argument: Some(argument.to_owned()),
            reason: Some(reason),
            ..ApiError::new(Code::InvalidArgument, message)
        }
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> ApiError {
        ApiError::argument(&fault.argument, fault.reason.name(), fault.to_string())
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> ApiError {
        match error {
            Error::NotFound => ApiError::not_found(),
            Error::Refused(Refusal::IdempotencyConflict) => ApiError::new(
                Code::IdempotencyConflict,
                "another request was accepted under the same idempotencyKey within the last 24 hours",
            ),
            Error::Refused(Refusal::Quota(quota)) => {
                let message = format!("the sender's domain has reached its limit of {quota}");
                ApiError::new(Code::QuotaExceeded, message)
            }
            Error::Refused(Refusal::OverQuota) => {
                ApiError::new(Code::QuotaExceeded, "a mailbox is over its quota")
            }
            Error::Refused(refusal @ (Refusal::InUse(_) | Refusal::Exists(_) | Refusal::TooMany(_))) => {
                ApiError::new(Code::Conflict, refusal.to_string())
            }
            Error::Refused(Refusal::Invalid(why)) => ApiError::new(Code::InvalidArgument, why),
            Error::Refused(refusal @ Refusal::NoEncryptionKey(_)) => {
                tracing::error!(%refusal, "mail is not taken");
                ApiError::new(Code::Unavailable, "a recipient's encryption key is not usable now")
            }
            Error::Refused(Refusal::Fenced | Refusal::Repeated(_)) => {
                ApiError::new(Code::Conflict, "something else changed it at the same time")
            }
            Error::Unavailable(_) | Error::OutcomeUnknown(_) => {
                tracing::error!(%error, "a request of the API could not be carried out");
                ApiError::new(Code::Unavailable, "the request cannot be carried out now; try again later")
            }
            Error::Corrupt(_) => {
                tracing::error!(%error, "a request of the API met with damaged data");
                ApiError::new(Code::Internal, "the server cannot carry out this request")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hg12_nothing_from_inside_is_told() {
        let inside = "SELECT * FROM x; /var/lib/inbox/db: disk";
        for error in [
            Error::Unavailable(inside.into()),
            Error::OutcomeUnknown(inside.into()),
            Error::Corrupt(inside.into()),
        ] {
            let told = ApiError::from(error);
            assert!(!told.message.contains("SELECT") && !told.message.contains('/'), "{told:?}");
        }
        assert_eq!(ApiError::from(Error::NotFound), ApiError::not_found());
    }
}
