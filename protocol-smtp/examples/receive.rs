//! The server machine over blocking sockets: prints every message it receives. Nothing is stored, so no mail
//! that matters should be sent here.
//!
//!     cargo run -p protocol-smtp --example receive -- 127.0.0.1:2525
#![allow(clippy::disallowed_methods)] // a driver is where the clock is read

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant as Clock;

use protocol_core::{Instant, RecvBuf, SendBuf};
use protocol_smtp::limits::RECV_BUF_MIN;
use protocol_smtp::server::{ServerConfig, ServerSession, Service, Step};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:2525".into());
    let listener = TcpListener::bind(&address)?;
    println!("listening on {}", listener.local_addr()?);
    let mut config = ServerConfig::new("receive.example", Service::Transfer);
    config.starttls = false;
    let config = Arc::new(config);
    for stream in listener.incoming() {
        let config = config.clone();
        std::thread::spawn(move || match stream.and_then(|stream| serve(stream, config)) {
            Ok(()) => {}
            Err(error) => eprintln!("connection: {error}"),
        });
    }
    Ok(())
}

fn serve(mut stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    let epoch = Clock::now();
    let now = || Instant(epoch.elapsed().as_nanos() as u64);
    let mut session = ServerSession::new(config, None, now());
    let mut input = RecvBuf::with_limit(RECV_BUF_MIN);
    let mut out = SendBuf::with_high_water(16 * 1024);
    let mut message = Vec::new();
    loop {
        match session.poll(now(), &mut input, &mut out) {
            Step::NeedInput => {
                flush(&mut stream, &mut out)?;
                let wait = session
                    .deadline()
                    .map(|(at, _)| at.since(now()).max(std::time::Duration::from_millis(1)));
                stream.set_read_timeout(wait)?;
                match stream.read(input.spare()) {
                    Ok(0) => input.commit_eof(),
                    Ok(n) => input.commit(n),
                    Err(error)
                        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                    Err(error) => return Err(error),
                }
            }
            Step::Flush => flush(&mut stream, &mut out)?,
            Step::Connect(connect) => connect.accept(&mut session, &mut out),
            Step::Sender(sender) => {
                println!("from {}", sender.path());
                sender.accept(&mut session, &mut out);
            }
            Step::Recipient(recipient) => {
                println!("to   {}", recipient.path());
                recipient.accept(&mut session, &mut out);
            }
            Step::Begin(begin) => begin.accept(&mut session, &mut out),
            Step::Chunk(octets) => message.extend_from_slice(octets),
            Step::Finish(finish) => {
                println!("{}\n-- {} octets", String::from_utf8_lossy(&message), finish.octets());
                message.clear();
                finish.accept("printed", &mut session, &mut out);
            }
            Step::Discard => message.clear(),
            // Neither is offered: dropping the question refuses it.
            Step::Authenticate(_) | Step::UpgradeTls(_) => {}
            Step::Closed(reason) => {
                flush(&mut stream, &mut out)?;
                println!("closed: {reason:?}");
                return Ok(());
            }
        }
    }
}

fn flush(stream: &mut TcpStream, out: &mut SendBuf) -> io::Result<()> {
    while !out.is_empty() {
        let n = stream.write(out.bytes())?;
        out.advance(n);
    }
    Ok(())
}
