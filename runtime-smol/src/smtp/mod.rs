//! Mail in: transfer, submission and LMTP over the server machine, up to the durable 250.

mod accept;
mod bodies;
mod repeats;
mod session;
mod transaction;

pub use repeats::Repeats;
pub use session::{Configs, serve};
pub(crate) use transaction::{canonical_text, domain_of};
