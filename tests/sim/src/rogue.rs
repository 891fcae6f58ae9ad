//! Servers that break the protocol: raw scripts instead of a machine. They promise nothing, so nothing that
//! they are sent counts as taken.

use protocol_core::RecvBuf;

use crate::pipe::Conn;
use crate::world::{SECOND, World};

/// Ways to break it; the number picks one.
const LINES_MAX: usize = 400;

/// Serves one connection in one of seven ways.
pub async fn serve(world: &World, conn: Conn, way: u8) {
    let mut input = RecvBuf::with_limit(65_536);
    let greeting: &[u8] = match way {
        0 => b"HELLO THERE\r\n",
        1 => b"220-rogue\r\n250 really\r\n",
        _ => b"220 rogue ESMTP\r\n",
    };
    if conn.write(greeting).is_err() {
        return;
    }
    let mut data = false;
    for n in 0..LINES_MAX {
        let Some(line) = line(world, &conn, &mut input).await else { return };
        if data {
            data = line != b".\r\n";
            if !data && conn.write(b"250 2.0.0 yes\r\n250 2.0.0 yes again\r\n").is_err() {
                return;
            }
            continue;
        }
        let word = String::from_utf8_lossy(&line[..line.len().min(4)]).to_ascii_uppercase();
        let reply: Vec<u8> = match (&*word, way) {
            ("EHLO", 2) => endless(),
            ("EHLO", _) => b"250-rogue\r\n250-PIPELINING\r\n250 8BITMIME\r\n".to_vec(),
            // Two replies for one recipient; none for every second; a reply too soon; a reply that is none.
            ("RCPT", 3) => b"250 2.1.5 ok\r\n250 2.1.5 ok\r\n".to_vec(),
            ("RCPT", 4) if n % 2 == 0 => Vec::new(),
            ("DATA", 5) => b"354 go on\r\n451 4.3.0 changed my mind\r\n".to_vec(),
            ("DATA", 6) => b"354 go on\r\n\xff\xfe250\r\n".to_vec(),
            ("DATA", _) => b"354 go on\r\n".to_vec(),
            ("QUIT", _) => return,
            _ => b"250 2.0.0 ok\r\n".to_vec(),
        };
        data = word == "DATA";
        if conn.write(&reply).is_err() {
            return;
        }
    }
}

/// A reply without an end.
fn endless() -> Vec<u8> {
    b"250-and so on, and so on, and so on, and so on, and so on\r\n".repeat(1_500)
}

async fn line(world: &World, conn: &Conn, input: &mut RecvBuf) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = input.find_lf() {
            return Some(input.take(at + 1).to_vec());
        }
        let until = world.exec.now() + 900 * SECOND;
        if matches!(conn.read_until(input, until).await, None | Some(0)) {
            return None;
        }
    }
}
