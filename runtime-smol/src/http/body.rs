//! Bodies, piece by piece: a request's as it arrives, and a response's as it is made.

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_io::Timer;
use bytes::{Buf, Bytes};
use futures_lite::{AsyncBufRead, AsyncRead, Future};
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// How long a client may take between two pieces of a body.
const PIECE_LIMIT: Duration = Duration::from_secs(30);
/// How long a client may take for a whole body.
const BODY_LIMIT: Duration = Duration::from_secs(300);
/// How long a client may take for a file.
const FILE_LIMIT: Duration = Duration::from_secs(600);
/// Octets of a response that are read at a time.
const PIECE: usize = 16 * 1024;

/// A request's body. How much of it is read is decided by whoever reads; what takes too long is an error.
pub struct Inbound {
    // Never locked: only a body behind a lock can be shared between threads, and tide wants bodies that can.
    body: Mutex<Incoming>,
    piece: Bytes,
    piece_late: Timer,
    late: Timer,
}

impl Inbound {
    /// As hyper reads it.
    pub fn new(body: Incoming) -> Inbound {
        Inbound {
            body: Mutex::new(body),
            piece: Bytes::new(),
            piece_late: Timer::after(PIECE_LIMIT),
            late: Timer::after(BODY_LIMIT),
        }
    }

    /// The same for what may be a large file.
    pub fn of_file(body: Incoming) -> Inbound {
        Inbound { late: Timer::after(FILE_LIMIT), ..Inbound::new(body) }
    }

    /// Waits for the next octets; none only at the end.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.piece.is_empty() {
            let body = self.body.get_mut().unwrap_or_else(|e| e.into_inner());
            match Pin::new(body).poll_frame(context) {
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(io::Error::other(error))),
                Poll::Ready(Some(Ok(frame))) => {
                    self.piece_late.set_after(PIECE_LIMIT);
                    // Trailers say nothing that anybody here wants to know.
                    self.piece = frame.into_data().unwrap_or_default();
                }
                Poll::Pending => {
                    let late = Pin::new(&mut self.piece_late).poll(context).is_ready()
                        || Pin::new(&mut self.late).poll(context).is_ready();
                    if late {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Inbound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_piece(context))?;
        let many = self.piece.len().min(out.len());
        out[..many].copy_from_slice(&self.piece[..many]);
        self.piece.advance(many);
        Poll::Ready(Ok(many))
    }
}

impl AsyncBufRead for Inbound {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_piece(context))?;
        Poll::Ready(Ok(&this.piece))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        let many = amount.min(self.piece.len());
        self.piece.advance(many);
    }
}

/// A response's body.
pub struct Outbound {
    body: tide::Body,
    ended: bool,
}

impl Outbound {
    /// As a route made it.
    pub fn new(body: tide::Body) -> Outbound {
        let ended = body.is_empty() == Some(true);
        Outbound { body, ended }
    }

    /// None at all.
    pub fn empty() -> Outbound {
        Outbound { body: tide::Body::empty(), ended: true }
    }
}

impl Body for Outbound {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut piece = vec![0; PIECE];
        let read = ready!(Pin::new(&mut self.body).poll_read(context, &mut piece))?;
        piece.truncate(read);
        self.ended = read == 0;
        Poll::Ready((read > 0).then(|| Ok(Frame::data(piece.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        match self.body.len() {
            Some(octets) if !self.ended => SizeHint::with_exact(octets as u64),
            Some(_) => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}
