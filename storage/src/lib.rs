//! Where Inbox keeps its data: rows in SurrealDB (or in memory, for tests) and encrypted objects in files or in a bucket.
//!
//! **It is** the only place that knows the database, the object layout and the keys. **It is not** aware of
//! any protocol: no reply text, no command. It hides the small tokio runtime that the database needs; every
//! method can be awaited from any executor, and dropping the future never abandons a transaction half-way.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod accept;
mod accounts;
mod api;
mod api_keys;
mod audit;
mod check;
mod claimer;
mod dav;
pub mod directory;
mod e2ee;
mod emails;
mod engine;
mod error;
mod facade;
mod folders;
mod keys;
mod limits;
mod lock;
mod memory;
mod objects;
mod parts;
mod passwords;
mod queue;
mod rotation;
#[allow(missing_docs)] // columns, named as the values they hold
mod rows;
pub mod simulated;
mod slots;
mod spool;
mod store;
mod surreal;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod types;
mod view;
mod writer;

pub use accept::{Accept, Deliver, Queued};
pub use api::*;
pub use audit::*;
pub use check::{CheckReport, LEFTOVER_AGE, REQUEUE_AGE, StartReport};
pub use claimer::{Claimer, Claiming};
pub use dav::*;
pub use e2ee::Recipient as EncryptionRecipient;
pub use engine::*;
pub use error::{Error, Refusal, Result};
pub use facade::{OpenError, Parts, Storage, StorageOptions};
pub use keys::{KEY_LEN, KeyError, Keys, Purpose, SEAL_OVERHEAD, TenantKey};
pub use lock::{DataLock, LOCK_FILE, LockError};
pub use memory::{Fault, FaultHook, MemoryRows, MemoryStore};
pub use objects::{
    Blobs, CHUNK_LEN, Content, Envelope, EnvelopeJob, Listed, LocalBlobs, Object, ObjectKey, ObjectPart,
    PartPath, Place, S3_PATIENCE, S3Blobs, S3Encryption, S3Options, Source,
};
pub use parts::PART_OBJECTS_MAX;
pub use passwords::{ARGON2_AT_ONCE, ARGON2_WAITING_MAX};
pub use protocol_core::sasl::ScramVerifier;
pub use rotation::{Resealed, read_customer_key};
pub use slots::*;
pub use spool::{MEMORY_MAX, Spool, SpoolReader};
pub use store::{Api, Dav, Directory, Hooks, Jobs, Limits, Mail, Policies, Store};
pub use surreal::{OpenError as DatabaseOpenError, SurrealOptions, SurrealRows, SurrealStore};
pub use types::*;
pub use view::{CHANGES_MAX, Change, Changes, FolderState, FolderView};
pub use writer::{BATCH_MAX, WAITING_MAX};
