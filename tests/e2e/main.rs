//! The binary as people use it: started on free loopback ports, spoken to by real clients and by hostile bytes.
#![allow(clippy::disallowed_methods)] // a test waits, measures and reads its environment

mod acceptance;
mod api;
mod api_clients;
mod api_emails;
mod api_events;
mod api_once;
mod api_refusals;
mod api_tenants;
mod api_uploads;
mod app_passwords;
mod attacks;
mod audit;
mod bodies;
mod canary;
mod crash;
mod dane;
mod dav;
mod dav_attacks;
mod dav_schedule;
mod dav_share;
mod dav_sync;
mod harness;
mod http;
mod http_conformance;
mod http_corpus;
mod http_proxies;
mod imap_clients;
mod inbound;
mod injection;
mod kept;
mod later;
mod limits;
mod mta_sts;
mod nodes;
mod objects;
mod origin;
mod outbound;
#[path = "../ports.rs"]
mod ports;
mod reports_in;
#[path = "../s3.rs"]
mod s3;
mod scripted;
mod signed;
mod signing;
mod standstill;
mod startup;
mod telemetry;
mod tenants;
mod webhooks;
mod wishes;
