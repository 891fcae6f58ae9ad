//! The `inbox` program over smol: configuration, listeners, TLS, DNS, HTTP, administration, and the drivers
//! that connect sockets and storage to the protocol machines.
//!
//! **It is** the only place with I/O, a clock and randomness. **It is not** where a reply is decided: texts,
//! retry arithmetic and parsing are in the protocol crates.
#![warn(missing_docs)]

pub mod admin;
pub mod again;
pub mod api;
pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
pub mod dav;
pub mod dmarc_reports;
pub mod dns;
pub mod driver;
pub mod files;
pub mod http;
pub mod https;
pub mod imap;
pub mod logging;
pub mod metrics;
pub mod mta_sts;
pub mod net;
pub mod outbound;
#[cfg(test)]
#[path = "../../tests/ports.rs"]
mod ports;
mod reported;
pub mod reports;
pub mod serve;
pub mod signing;
pub mod smtp;
pub mod task;
pub mod telemetry;
pub mod tls;
pub mod tls_reports;
pub mod wire;
#[cfg(test)]
mod world;
