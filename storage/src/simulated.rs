//! The door for a simulator: row stores made outside of this crate under the rules of the
//! [`Store`](crate::Store), and the maps of the memory's rows copied, brought back and written again.
//!
//! **It is not** for a server: a row store that is not one of this crate's has no promise of durability.

pub use crate::rows::*;

use crate::engine::Engine;
use crate::memory::MemoryRows;

/// The rules of the [`Store`](crate::Store) over some row store: one value stands for one node.
pub fn engine<R: Rows>(rows: R) -> Engine<R> {
    Engine::over(rows)
}

/// Empty maps.
pub fn memory_rows() -> MemoryRows {
    MemoryRows::default()
}
