//! Serves one owner's calendars, address books and files from memory over blocking sockets, without any
//! authentication: for trying clients out on loopback.
//!
//!     cargo run -p protocol-dav --example serve -- 127.0.0.1:8008
//!
//! Then `http://127.0.0.1:8008/dav/principals/me@example.test/` is the principal.

#[path = "../tests/memory/mod.rs"]
mod memory;

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

const OWNER: &str = "me@example.test";

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8008".to_owned());
    let listener = TcpListener::bind(&address)?;
    println!("http://{}/dav/principals/{OWNER}/", listener.local_addr()?);
    memory::serve(&listener, &Arc::new(Mutex::new(memory::Store::new(OWNER))), OWNER);
    Ok(())
}
