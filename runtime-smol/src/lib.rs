//! The `inbox` program over smol: configuration, listeners, TLS, DNS, HTTP, administration, and the drivers
//! that connect sockets and storage to the protocol machines.
//!
//! **It is** the only place with I/O, a clock and randomness. **It is not** where a reply is decided: texts,
//! retry arithmetic and parsing are in the protocol crates.
#![warn(missing_docs)]

pub mod config;
pub mod logging;
pub mod metrics;
pub mod tls;
pub mod dns;
pub mod net;
pub mod task;
pub mod app;
pub mod auth;
pub mod driver;
pub mod outbound;
pub mod smtp;
pub mod wire;
pub mod files;
pub mod http;
pub mod imap;
pub mod admin;
pub mod cli;
pub mod serve;
