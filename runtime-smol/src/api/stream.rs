//! Bodies that are told piece by piece.

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};

use futures_lite::{AsyncBufRead, AsyncRead, Stream, stream};
use storage::Object;

/// Octets of a stored message that are read at a time.
const PIECE: usize = 64 * 1024;

/// Pieces of a body; an error breaks it off, so that nobody takes it for whole.
pub type Octets = Pin<Box<dyn Stream<Item = io::Result<Vec<u8>>> + Send>>;

/// The body that tells a stored message.
pub fn body(object: Object, len: Option<usize>) -> tide::Body {
    let told = stream::unfold(Some((object, 0)), |state| async move {
        let (mut object, at) = state?;
        if at >= object.len() {
            return None;
        }
        let piece = object.read(at, PIECE).await.map(<[u8]>::to_vec);
        Some(match piece {
            Ok(piece) if !piece.is_empty() => {
                let next = at + piece.len() as u64;
                (Ok(piece), Some((object, next)))
            }
            Ok(_) => (Err(io::ErrorKind::UnexpectedEof.into()), None),
            Err(error) => {
                tracing::warn!(%error, message = %object.key(), "a stored message cannot be read");
                (Err(io::ErrorKind::InvalidData.into()), None)
            }
        })
    });
    tide::Body::from_reader(Pieces::new(Box::pin(told)), len)
}

/// A stream of octets, read.
pub struct Pieces {
    // Never locked: it makes what is only sent something that can be shared, which tide asks of bodies.
    octets: Mutex<Octets>,
    piece: Vec<u8>,
    at: usize,
}

impl Pieces {
    /// Reads what the stream tells.
    pub fn new(octets: Octets) -> Pieces {
        Pieces { octets: Mutex::new(octets), piece: Vec::new(), at: 0 }
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.at == self.piece.len() {
            let octets = self.octets.get_mut().unwrap_or_else(|e| e.into_inner());
            match ready!(octets.as_mut().poll_next(context)) {
                Some(Ok(piece)) => (self.piece, self.at) = (piece, 0),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_piece(context))?;
        let many = (self.piece.len() - self.at).min(out.len());
        out[..many].copy_from_slice(&self.piece[self.at..self.at + many]);
        self.at += many;
        Poll::Ready(Ok(many))
    }
}

impl AsyncBufRead for Pieces {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_piece(context))?;
        Poll::Ready(Ok(&this.piece[this.at..]))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.at = (self.at + amount).min(self.piece.len());
    }
}
