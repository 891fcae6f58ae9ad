//! The binary as people use it: started on free loopback ports, spoken to by real clients and by hostile bytes.

mod attacks;
mod crash;
mod harness;
mod imap_clients;
mod inbound;
mod outbound;
mod startup;
