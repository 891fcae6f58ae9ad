//! Mail in: transfer, submission and LMTP over the server machine, up to the durable 250.

mod accept;
mod bodies;
mod header;
mod idempotency;
mod limits;
mod origin;
mod recipients;
mod repeats;
mod session;
mod transaction;
mod verifier;

pub(crate) use accept::Copy;
pub(crate) use header::may_send_as;
pub(crate) use limits::{Quotas, told as suppression_told};
pub use repeats::Repeats;
pub use session::{Configs, serve};
pub(crate) use transaction::{canonical_text, domain_of};
pub use verifier::{open_verifier, strictness};
