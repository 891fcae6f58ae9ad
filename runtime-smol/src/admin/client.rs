//! The administration socket's client end: what the command line speaks through.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use async_io::Async;
use futures_lite::io::BufReader;
use futures_lite::{AsyncWriteExt, future};
use serde_json::{Value, json};

use super::frame::{self, Frame, MESSAGE_MAX};
use super::mbox::{self, Entry};
use super::{Failure, Request};

/// Messages between two words on a terminal.
const SHOW_EVERY: u64 = 100;

/// A connection to whoever carries out requests; good for one.
pub struct Client {
    stream: Async<UnixStream>,
}

/// Takes the frames that come before the answer.
type OnFrame<'a> = dyn FnMut(Frame, &[u8]) -> Result<(), Failure> + Send + 'a;

impl Client {
    /// To the server that listens there; `None` when no server does.
    pub fn connect(socket: &Path) -> io::Result<Option<Client>> {
        match UnixStream::connect(socket) {
            Ok(stream) => Client::over(stream).map(Some),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(e) => Err(io::Error::new(e.kind(), format!("{}: {e}", socket.display()))),
        }
    }

    /// Over a connected socket.
    pub fn over(stream: UnixStream) -> io::Result<Client> {
        Ok(Client { stream: Async::new(stream)? })
    }

    /// Sends a request and waits for its answer.
    pub async fn ask(self, request: Request) -> Result<Value, Failure> {
        let mut to = &self.stream;
        frame::send(&mut to, &Frame::Request(request)).await?;
        self.answer(&mut |frame, _| unexpected(&frame)).await
    }

    /// Sends the messages of an mbox file.
    pub async fn import(self, path: &Path, mailbox: &str, folder: Option<&str>) -> Result<Value, Failure> {
        let file = File::open(path).map_err(|e| Failure(format!("{}: {e}", path.display())))?;
        let reader = mbox::Reader::new(io::BufReader::with_capacity(256 * 1024, file), MESSAGE_MAX as usize);
        let request = Request::Import { mailbox: mailbox.into(), folder: folder.map(str::to_owned) };
        let sent = self.send_entries(request, reader, path);
        let mut progress = Progress::new("imported");
        let mut take = |frame, _: &[u8]| progress.take(frame);
        let answered = self.answer(&mut take);
        let (sent, answered) = future::zip(sent, answered).await;
        let (skipped, bad) = sent?;
        let mut answer = answered?;
        for (name, more) in [("skipped", skipped), ("failed", bad)] {
            let sum = answer.get(name).and_then(Value::as_u64).unwrap_or(0) + more;
            answer[name] = json!(sum);
        }
        Ok(answer)
    }

    /// What was skipped, and what could not be sent.
    async fn send_entries(
        &self,
        request: Request,
        mut reader: mbox::Reader<io::BufReader<File>>,
        path: &Path,
    ) -> Result<(u64, u64), Failure> {
        let mut to = &self.stream;
        frame::send(&mut to, &Frame::Request(request)).await?;
        let (mut skipped, mut bad) = (0, 0);
        loop {
            let (entry, given_back) = blocking::unblock(move || (reader.next_entry(), reader)).await;
            reader = given_back;
            match entry {
                Ok(None) => break,
                // A server that takes no more has said why, or has gone: the answer tells.
                Ok(Some(Entry::Message(head, octets))) => {
                    if frame::send_message(&mut to, &head, &octets).await.is_err() {
                        return Ok((skipped, bad));
                    }
                }
                Ok(Some(Entry::Skipped)) => skipped += 1,
                Ok(Some(Entry::Bad(why))) => {
                    bad += 1;
                    eprintln!("inbox: {}: {why}", path.display());
                }
                Err(error) => {
                    // Without an end the server waits for more; it must not take half a file for a whole.
                    let _ = self.stream.get_ref().shutdown(std::net::Shutdown::Write);
                    return Err(Failure(format!("{}: {error}", path.display())));
                }
            }
        }
        if frame::send(&mut to, &Frame::End).await.is_ok() {
            to.flush().await?;
        }
        Ok((skipped, bad))
    }

    /// Writes the messages of a mailbox into an mbox file, which appears whole or not at all.
    pub async fn export(self, path: &Path, mailbox: &str) -> Result<Value, Failure> {
        let named = |e: io::Error| Failure(format!("{}: {e}", path.display()));
        let temporary = temporary_name(path);
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
        let mut out = BufWriter::with_capacity(256 * 1024, file.map_err(named)?);
        let mut to = &self.stream;
        frame::send(&mut to, &Frame::Request(Request::Export { mailbox: mailbox.into() })).await?;
        let mut progress = Progress::new("exported");
        let answer = self
            .answer(&mut |frame, octets| match frame {
                Frame::Message(head) => {
                    progress.one();
                    mbox::write(&mut out, &head, octets).map_err(named)
                }
                other => progress.take(other),
            })
            .await;
        let mut finish = || -> io::Result<()> {
            out.flush()?;
            out.get_ref().sync_all()?;
            std::fs::rename(&temporary, path)
        };
        match answer.and_then(|value| finish().map_err(named).map(|()| value)) {
            Ok(value) => Ok(value),
            Err(failure) => {
                let _ = std::fs::remove_file(&temporary);
                Err(failure)
            }
        }
    }

    async fn answer(&self, other: &mut OnFrame<'_>) -> Result<Value, Failure> {
        let mut from = BufReader::with_capacity(256 * 1024, &self.stream);
        loop {
            let broken = |e: io::Error| Failure(format!("the server's answer broke off: {e}"));
            match frame::receive(&mut from).await.map_err(broken)? {
                Some(Frame::Done(value)) => return Ok(value),
                Some(Frame::Failed(why)) => return Err(Failure(why)),
                Some(Frame::Message(head)) => {
                    let octets = frame::receive_octets(&mut from, &head).await.map_err(broken)?;
                    other(Frame::Message(head), &octets)?;
                }
                Some(frame) => other(frame, &[])?,
                None => return Err(Failure("the server went away without an answer; see its log".into())),
            }
        }
    }
}

fn unexpected(frame: &Frame) -> Result<(), Failure> {
    Err(Failure(format!("the server's answer is not understood: {frame:?}")))
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// Says on a terminal how far it is.
struct Progress {
    what: &'static str,
    done: u64,
    shown: bool,
}

impl Progress {
    fn new(what: &'static str) -> Progress {
        Progress { what, done: 0, shown: io::stderr().is_terminal() }
    }

    fn one(&mut self) {
        self.done += 1;
        if self.done.is_multiple_of(SHOW_EVERY) {
            self.show();
        }
    }

    fn take(&mut self, frame: Frame) -> Result<(), Failure> {
        match frame {
            Frame::Progress(done) => {
                self.done = done;
                self.show();
                Ok(())
            }
            Frame::Trouble(why) => {
                eprintln!("inbox: {why}");
                Ok(())
            }
            other => unexpected(&other),
        }
    }

    fn show(&self) {
        if self.shown {
            eprint!("\r{} {}", self.done, self.what);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown && self.done >= SHOW_EVERY {
            eprintln!();
        }
    }
}
