//! Mail in: transfer, submission and LMTP over the server machine, up to the durable 250.

mod accept;
mod bodies;
mod copies;
pub(crate) mod forward;
mod header;
mod idempotency;
mod limits;
mod origin;
mod recipients;
mod repeats;
mod reported;
mod session;
mod success;
mod transaction;
mod verifier;

pub(crate) use bodies::Forms;
pub(crate) use copies::Copies;
pub(crate) use header::may_send_as;
pub(crate) use limits::{Quotas, told as suppression_told};
pub use repeats::Repeats;
pub use session::{Configs, serve};
pub(crate) use transaction::{Incoming, canonical_text, domain_of};
pub use verifier::{open_verifier, strictness};
