//! The client machine over a blocking socket: sends the message on standard input, without TLS.
//!
//!     cargo run -p protocol-smtp --example send -- HOST:PORT SENDER RECIPIENT... < message.eml
#![allow(clippy::disallowed_methods)] // a driver is where the clock is read

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::{Duration, Instant as Clock};

use protocol_core::{Instant, RecvBuf, SendBuf};
use protocol_smtp::address::{Mailbox, Path};
use protocol_smtp::client::{ClientConfig, ClientSession, ClientStep, Envelope, RECV_BUF_MIN, Recipient};
use protocol_smtp::params::{Body, RcptParams};
use protocol_smtp::queue::Verdict;
use protocol_smtp::route::{TlsDemand, TlsMode, TlsSettings};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, sender, recipients @ ..] = arguments.as_slice() else {
        eprintln!("usage: send HOST:PORT SENDER RECIPIENT... < message.eml");
        return ExitCode::from(2);
    };
    match send(server, sender, recipients) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{server}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every recipient was reached.
fn send(server: &str, sender: &str, recipients: &[String]) -> io::Result<bool> {
    let mut message = Vec::new();
    io::stdin().read_to_end(&mut message)?;
    let address =
        |text: &str| Mailbox::parse(text).map(|_| ()).map_err(|e| io::Error::other(format!("{text}: {e}")));
    address(sender)?;
    recipients.iter().try_for_each(|r| address(r))?;

    let epoch = Clock::now();
    let now = || Instant(epoch.elapsed().as_nanos() as u64);
    let settings = TlsSettings {
        mode: TlsMode::Disabled,
        require_starttls: false,
        allow_plaintext_fallback: true,
        allow_invalid_certs: false,
    };
    let config = ClientConfig {
        name: "send.example".into(),
        lmtp: false,
        timeout: Duration::from_secs(30),
        demand: TlsDemand::by_settings(settings).map_err(io::Error::other)?,
        plaintext: true,
        authenticate: false,
    };
    let mut stream = TcpStream::connect(server)?;
    let mut session = ClientSession::new(config.into(), None);
    let mut input = RecvBuf::with_limit(RECV_BUF_MIN);
    let mut out = SendBuf::with_high_water(16 * 1024);
    let mut left: Vec<u16> = (0..recipients.len() as u16).collect();
    let mut reached = 0;
    loop {
        match session.poll(now(), &mut input, &mut out) {
            ClientStep::NeedInput => {
                flush(&mut stream, &mut out)?;
                let wait = session.deadline().map(|(at, _)| at.since(now()).max(Duration::from_millis(1)));
                stream.set_read_timeout(wait)?;
                match stream.read(input.spare()) {
                    Ok(0) => input.commit_eof(),
                    Ok(n) => input.commit(n),
                    Err(error)
                        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                    Err(error) => return Err(error),
                }
            }
            ClientStep::Flush => flush(&mut stream, &mut out)?,
            ClientStep::Ready if left.is_empty() => session.quit(&mut out),
            ClientStep::Ready => {
                let recipients: Vec<Recipient<'_>> = left
                    .iter()
                    .filter_map(|index| {
                        Some((*index, Mailbox::parse(&recipients[usize::from(*index)]).ok()?))
                    })
                    .map(|(index, mailbox)| Recipient {
                        index,
                        path: Path::Mailbox(mailbox),
                        params: RcptParams::default(),
                    })
                    .collect();
                let envelope = Envelope {
                    sender: Mailbox::parse(sender).map_or(Path::Null, Path::Mailbox),
                    recipients: &recipients,
                    size: message.len() as u64,
                    body: if message.is_ascii() { Body::SevenBit } else { Body::EightBit },
                    utf8_header: false,
                    require_tls: false,
                    ret: None,
                    envid: None,
                    by: None,
                };
                match session.send(&envelope, &mut out) {
                    Ok(taken) => drop(left.drain(..taken)),
                    Err(missing) => return Err(io::Error::other(missing.to_string())),
                }
            }
            ClientStep::Settled { index, verdict } => {
                println!("{}: {verdict:?}", recipients[usize::from(index)]);
                reached += usize::from(matches!(verdict, Verdict::Delivered { .. }));
            }
            ClientStep::Later { index } => left.push(index),
            ClientStep::Body(mut encoder) => {
                flush(&mut stream, &mut out)?;
                for chunk in message.chunks(64 * 1024) {
                    for piece in encoder.encode(chunk) {
                        stream.write_all(piece)?;
                    }
                }
                encoder.finish(&mut session);
            }
            ClientStep::DotPending { .. } => session.proceed(&mut out),
            // Neither is asked for: dropping the question ends the session.
            ClientStep::UpgradeTls(_) | ClientStep::Prove(_) => {}
            ClientStep::Closed(reason) => {
                println!("closed: {reason:?}");
                return Ok(reached == recipients.len());
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
