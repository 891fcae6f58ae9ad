//! A deterministic simulator of the outbound queue.
//!
//! **It is** one thread and one seed: the seed makes the clock, the generator, the network, the database with
//! its faults, the nodes with their crashes and pauses, the remote servers and the clients. What runs in it is
//! the product's own code: the queue machine, the client and server machines, and the rules of the store. The
//! same seed gives the same log, byte for byte.
//!
//! **It is not** a model of the code under test: the [`books`] know only what really happened, and compare.
//!
//! **To drive it**: [`run::run`] a seed; [`run::Outcome::failure`] names the invariant that was broken.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod admins;
mod attempt;
pub mod books;
mod chaos;
mod clients;
mod clock;
mod convert;
mod db;
pub mod exec;
mod front;
mod log;
pub mod mutants;
mod node;
mod notice;
mod pipe;
mod quotas;
mod remote;
mod rng;
mod rogue;
mod rows;
pub mod run;
pub mod setup;
mod world;
