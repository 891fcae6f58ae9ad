//! Answers as server-sent events: one connection for each operation, `next` for each answer and `complete` at the end.

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_graphql::Response;
use async_io::Timer;
use futures_lite::{AsyncBufRead, AsyncRead, Stream, StreamExt, future, stream};

/// How often something is said when there is nothing to say, so that nobody on the way takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

type Answers = Pin<Box<dyn Stream<Item = Response> + Send>>;
type Octets = Pin<Box<dyn Stream<Item = Vec<u8>> + Send>>;

/// The body that tells these answers.
pub fn body(answers: Answers) -> tide::Body {
    // The first line comes at once: the client learns that it is listened to.
    let told = stream::once(b":\n\n".to_vec()).chain(stream::unfold(Some(answers), told));
    tide::Body::from_reader(Pieces { octets: Mutex::new(Box::pin(told)), piece: Vec::new(), at: 0 }, None)
}

async fn told(answers: Option<Answers>) -> Option<(Vec<u8>, Option<Answers>)> {
    let mut answers = answers?;
    let next = async { Some(answers.next().await) };
    let quiet = async {
        Timer::after(KEEP_ALIVE).await;
        None
    };
    Some(match future::or(next, quiet).await {
        None => (b":\n\n".to_vec(), Some(answers)),
        Some(None) => (b"event: complete\ndata:\n\n".to_vec(), None),
        Some(Some(answer)) => {
            // JSON in one line: it holds no line end.
            let json = serde_json::to_string(&answer).unwrap_or_default();
            (format!("event: next\ndata: {json}\n\n").into_bytes(), Some(answers))
        }
    })
}

/// A stream of octets, read.
struct Pieces {
    // Never locked: it makes what is only sent something that can be shared, which tide asks of bodies.
    octets: Mutex<Octets>,
    piece: Vec<u8>,
    at: usize,
}

impl Pieces {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.at == self.piece.len() {
            let octets = self.octets.get_mut().unwrap_or_else(|e| e.into_inner());
            match ready!(octets.as_mut().poll_next(context)) {
                Some(piece) => (self.piece, self.at) = (piece, 0),
                None => return Poll::Ready(()),
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_piece(context));
        let many = (self.piece.len() - self.at).min(out.len());
        out[..many].copy_from_slice(&self.piece[self.at..self.at + many]);
        self.at += many;
        Poll::Ready(Ok(many))
    }
}

impl AsyncBufRead for Pieces {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_piece(context));
        Poll::Ready(Ok(&this.piece[this.at..]))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.at = (self.at + amount).min(self.piece.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::AsyncReadExt;

    #[test]
    fn answers_are_events_and_the_end_is_one_too() {
        let answers = [1, 2].map(|n| Response::new(async_graphql::Value::from(n)));
        let mut body = body(Box::pin(stream::iter(answers)));
        let mut text = String::new();
        future::block_on(body.read_to_string(&mut text)).unwrap();
        let want = ":\n\nevent: next\ndata: {\"data\":1}\n\nevent: next\ndata: {\"data\":2}\n\nevent: complete\ndata:\n\n";
        assert_eq!(text, want);
    }
}
