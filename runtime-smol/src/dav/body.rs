//! Bodies of answers that are made while they are sent.

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};

use async_channel::{Receiver, Sender};
use futures_lite::{AsyncBufRead, AsyncRead, Stream};

use crate::task;

/// Pieces that wait to be sent; whoever makes them waits then.
const WAITING_MAX: usize = 2;

type Piece = io::Result<Vec<u8>>;

/// Where the pieces of a body go.
pub struct Sink(Sender<Piece>);

impl Sink {
    /// Sends a piece.
    ///
    /// # Errors
    /// Nobody reads the body any more.
    pub async fn send(&self, piece: Vec<u8>) -> io::Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        self.0.send(Ok(piece)).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// A body that `work` makes on the executor, of a length when that is known. When it fails the body breaks off, so that
/// nobody takes what was sent for all of it.
pub fn made_by<F>(length: Option<u64>, work: impl FnOnce(Sink) -> F) -> tide::Body
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let (sender, receiver) = async_channel::bounded(WAITING_MAX);
    let work = work(Sink(sender.clone()));
    task::spawn(async move {
        if let Err(error) = work.await {
            let _ = sender.send(Err(error)).await;
        }
    })
    .detach();
    let length = length.and_then(|octets| usize::try_from(octets).ok());
    tide::Body::from_reader(
        Reader { pieces: Mutex::new(Box::pin(receiver)), piece: Vec::new(), at: 0 },
        length,
    )
}

struct Reader {
    // Never locked: only what is behind a lock can be shared between threads, and tide wants bodies that can.
    pieces: Mutex<Pin<Box<Receiver<Piece>>>>,
    piece: Vec<u8>,
    at: usize,
}

impl Reader {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.at == self.piece.len() {
            let pieces = self.pieces.get_mut().unwrap_or_else(|e| e.into_inner());
            match ready!(pieces.as_mut().poll_next(context)) {
                Some(piece) => (self.piece, self.at) = (piece?, 0),
                None => return Poll::Ready(Ok(())),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_piece(context))?;
        let many = out.len().min(self.piece.len() - self.at);
        out[..many].copy_from_slice(&self.piece[self.at..self.at + many]);
        self.at += many;
        Poll::Ready(Ok(many))
    }
}

impl AsyncBufRead for Reader {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_piece(context))?;
        Poll::Ready(Ok(&this.piece[this.at..]))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.at = self.piece.len().min(self.at + amount);
    }
}
