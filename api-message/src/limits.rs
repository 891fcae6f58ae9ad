//! Every limit on what a request can make grow. Sizes are octets of UTF-8 unless they say otherwise.

/// Recipients of one e-mail, To, Cc and Bcc together. Each has a job of its own at worst, and one message has at
/// most 1,024 of those.
pub const RECIPIENTS_MAX: usize = 1_000;
/// Reply-To addresses.
pub const REPLY_TO_MAX: usize = 25;
/// A local part as it is written, quotes included (RFC 5321 §4.5.3.1.1).
pub const LOCAL_MAX: usize = 64;
/// A whole address (RFC 5321 §4.5.3.1.3).
pub const ADDRESS_MAX: usize = 254;
/// A display name.
pub const NAME_MAX: usize = 255;
/// A subject.
pub const SUBJECT_MAX: usize = 998;
/// One body, text or HTML, before it is encoded.
pub const BODY_MAX: usize = 8 * 1024 * 1024;
/// Custom header fields.
pub const HEADERS_MAX: usize = 50;
/// A custom field's name.
pub const HEADER_NAME_MAX: usize = 76;
/// A custom field's value.
pub const HEADER_VALUE_MAX: usize = 900;
/// Attachments and inline parts together.
pub const ATTACHMENTS_MAX: usize = 100;
/// One attachment, decoded (SPEC section 5).
pub const ATTACHMENT_MAX: usize = 18_874_368;
/// A file's name.
pub const FILE_NAME_MAX: usize = 255;
/// A media type with its parameters.
pub const MEDIA_TYPE_MAX: usize = 255;
/// A Content-ID without its brackets.
pub const CONTENT_ID_MAX: usize = 128;
/// Tags.
pub const TAGS_MAX: usize = 20;
/// One tag.
pub const TAG_MAX: usize = 64;
/// Pairs of metadata.
pub const METADATA_MAX: usize = 50;
/// A name of metadata.
pub const METADATA_NAME_MAX: usize = 64;
/// A value of metadata.
pub const METADATA_VALUE_MAX: usize = 500;
/// A key of idempotency.
pub const IDEMPOTENCY_KEY_MAX: usize = 255;
/// The address that unsubscribes with one click.
pub const UNSUBSCRIBE_URL_MAX: usize = 900;
/// How far ahead a message may be scheduled, in seconds: 30 days.
pub const SEND_AT_AHEAD_MAX_SECS: i64 = 30 * 86_400;
/// The whole message as it is submitted (SPEC section 5).
pub const MESSAGE_MAX: u64 = 26_214_400;
