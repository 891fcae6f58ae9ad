//! Mail read: the IMAP machine's requests carried out on storage.

mod append;
mod fetch;
mod folders;
mod search;
mod selected;
mod session;
mod store;

pub use session::serve;
