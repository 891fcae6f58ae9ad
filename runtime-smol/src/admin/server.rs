//! The administration socket's server end.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_io::{Async, Timer};
use futures_lite::io::BufReader;
use futures_lite::{AsyncWriteExt, future};

use super::frame::{self, Frame};
use super::{Context, Request, audit, execute, transfer};
use crate::app::Stop;
use crate::net::{Sessions, unix_listener};
use crate::task;

/// How long accepting rests after an error.
const PAUSE: Duration = Duration::from_millis(100);

/// The bound socket; its file goes with it.
pub struct Listener {
    socket: Async<std::os::unix::net::UnixListener>,
    path: PathBuf,
}

impl Listener {
    /// Binds the socket with mode 0600.
    pub fn bind(path: &Path) -> io::Result<Listener> {
        let socket = Async::new(unix_listener(path, 0o600)?)?;
        Ok(Listener { socket, path: path.to_owned() })
    }

    /// Answers requests until the server stops; each connection is one request.
    pub async fn serve(self, context: Context, sessions: Sessions, stop: Stop) {
        let accept = async {
            loop {
                match self.socket.accept().await {
                    Ok((stream, _)) => {
                        let (context, session) = (context.clone(), sessions.begin());
                        task::spawn(async move {
                            if let Err(error) = answer(&context, stream).await {
                                tracing::warn!(%error, "an administration request broke");
                            }
                            drop(session);
                        })
                        .detach();
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept on the administration socket");
                        Timer::after(PAUSE).await;
                    }
                }
            }
        };
        future::or(accept, stop.wait()).await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Answers the one request of a connection.
pub async fn answer(context: &Context, stream: Async<UnixStream>) -> io::Result<()> {
    let mut from = BufReader::new(&stream);
    let mut to = &stream;
    let Some(Frame::Request(request)) = frame::receive(&mut from).await? else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no request came"));
    };
    let entries = match audit::begin(context, &request).await {
        Ok(entries) => entries,
        Err(failure) => {
            frame::send(&mut to, &Frame::Failed(failure.0)).await?;
            return to.flush().await;
        }
    };
    let result = match request {
        Request::Import { mailbox, folder } => {
            transfer::import(context, &mailbox, folder.as_deref(), &mut from, &mut to).await
        }
        Request::Export { mailbox } => transfer::export(context, &mailbox, &mut to).await,
        request => execute::execute(context, request).await,
    };
    audit::end(context, entries, &result).await;
    let last = match result {
        Ok(value) => Frame::Done(value),
        Err(failure) => Frame::Failed(failure.0),
    };
    frame::send(&mut to, &last).await?;
    to.flush().await
}
