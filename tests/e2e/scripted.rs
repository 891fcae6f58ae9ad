//! Another organisation's server that fails as its script says, by the number in a recipient's address: `mN@...`.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long the server thinks about a message of [`Class::Slow`]: time to be killed between the final dot and its
/// reply.
const THINKS: Duration = Duration::from_millis(400);

/// What happens to a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Accepted at once.
    Well,
    /// 450 to the first RCPT.
    Later,
    /// 550 to every RCPT.
    NoSuchUser,
    /// 421 after the first final dot, and nothing kept.
    Closing,
    /// Kept, and the connection cut instead of the first reply to the final dot.
    KeptAndCut,
    /// Not kept, and the connection cut.
    LostAndCut,
    /// Kept, and the reply to the final dot comes late.
    Slow,
}

/// The script.
pub fn class(number: u64) -> Class {
    match (number % 10, number % 20) {
        (0, _) => Class::Later,
        (1, _) => Class::NoSuchUser,
        (2, _) => Class::Closing,
        (3, 3) => Class::KeptAndCut,
        (3, _) => Class::LostAndCut,
        (4 | 7, _) => Class::Slow,
        _ => Class::Well,
    }
}

#[derive(Default)]
struct Seen {
    /// Messages whose scripted failure has happened.
    failed: HashSet<u64>,
    copies: HashMap<u64, u32>,
    connections: u32,
}

/// The server; its threads end with the test's process.
pub struct Remote {
    pub port: u16,
    seen: Arc<Mutex<Seen>>,
}

fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Remote {
    pub fn start() -> Remote {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = Arc::clone(&shared);
                locked(&seen).connections += 1;
                // A peer that is killed ends its connection's thread with an error, which is of no interest.
                std::thread::spawn(move || serve(&stream, &seen).ok());
            }
        });
        Remote { port, seen }
    }

    /// How often each message was kept.
    pub fn copies(&self) -> HashMap<u64, u32> {
        locked(&self.seen).copies.clone()
    }

    pub fn connections(&self) -> u32 {
        locked(&self.seen).connections
    }
}

/// One connection, until the peer or the script ends it.
fn serve(stream: &TcpStream, seen: &Mutex<Seen>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    let mut say = |text: &str| writer.write_all(format!("{text}\r\n").as_bytes());
    say("220 remote.test ESMTP")?;
    let mut rcpts: Vec<u64> = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => say("250-remote.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES")?,
            "RCPT" => {
                let (reply, number) = at_rcpt(&line, &mut locked(seen));
                rcpts.extend(number);
                say(reply)?;
            }
            "DATA" if rcpts.is_empty() => say("554 5.5.1 no valid recipients")?,
            "DATA" => {
                say("354 go on")?;
                while line != ".\r\n" {
                    line.clear();
                    if reader.read_line(&mut line)? == 0 {
                        return Ok(()); // without its final dot nothing is kept
                    }
                }
                match at_dot(&std::mem::take(&mut rcpts), seen) {
                    Some(reply) if reply.starts_with("421") => return say(reply),
                    Some(reply) => say(reply)?,
                    None => return Ok(()),
                }
            }
            "QUIT" => return say("221 2.0.0 bye"),
            "MAIL" | "RSET" | "HELO" => {
                rcpts.clear();
                say("250 2.0.0 OK")?;
            }
            _ => say("500 5.5.1 what?")?,
        }
    }
}

/// The reply to RCPT, and the message's number when it is accepted.
fn at_rcpt(line: &str, seen: &mut Seen) -> (&'static str, Option<u64>) {
    let number = line.split_once("<m").and_then(|(_, rest)| rest.split('@').next()?.parse().ok());
    let Some(number) = number else { return ("550 5.1.1 not one of the script's", None) };
    match class(number) {
        Class::NoSuchUser => ("550 5.1.1 no such user", None),
        Class::Later if seen.failed.insert(number) => ("450 4.2.0 not now", None),
        _ => ("250 2.1.5 OK", Some(number)),
    }
}

/// The reply to the final dot, or none and the connection is cut. Locked for no longer than it takes to count.
fn at_dot(numbers: &[u64], seen: &Mutex<Seen>) -> Option<&'static str> {
    let mut reply = Some("250 2.0.0 kept");
    for &number in numbers {
        let mut seen = locked(seen);
        let class = class(number);
        let scripted = matches!(class, Class::Closing | Class::KeptAndCut | Class::LostAndCut);
        let fails = scripted && seen.failed.insert(number);
        if !fails || class == Class::KeptAndCut {
            *seen.copies.entry(number).or_default() += 1;
        }
        if fails {
            reply = (class == Class::Closing).then_some("421 4.3.2 closing");
        }
        drop(seen);
        if class == Class::Slow {
            std::thread::sleep(THINKS);
        }
    }
    reply
}
