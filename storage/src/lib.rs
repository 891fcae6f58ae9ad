//! Where Inbox keeps its data: rows in SurrealDB (or in memory, for tests) and encrypted objects in files.
//!
//! **It is** the only place that knows the database, the object layout and the keys. **It is not** aware of
//! any protocol: no reply text, no command. It hides the small tokio runtime that the database needs; every
//! method can be awaited from any executor, and dropping the future never abandons a transaction half-way.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod engine;
mod error;
mod memory;
mod rows;
mod store;
mod types;

pub use engine::*;
pub use error::{Error, Refusal, Result};
pub use memory::{Fault, FaultHook, MemoryRows, MemoryStore};
pub use store::{Directory, Jobs, Mail, Store};
pub use types::*;
