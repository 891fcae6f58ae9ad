//! Free loopback ports for tests, from below the range that the system gives to outgoing connections: a port that
//! is free when it is chosen is not the source of somebody's connection when the server under test binds it.
use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;

/// A port of 127.0.0.1 that is free for TCP and UDP and that this process gives nobody else.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Two test processes begin far apart, so that they do not race for the same ports.
    let begin = std::process::id().wrapping_mul(7919);
    for _ in 0..COUNT {
        let n = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + n % COUNT).expect("within the range");
        // A server restarted on its port may have old connections in TIME-WAIT; std sets SO_REUSEADDR as it does.
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no loopback port is free");
}
