//! Bodies of answers that are made while they are sent.

use std::io;

use async_channel::Sender;

use crate::api::Pieces;
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
    tide::Body::from_reader(Pieces::new(Box::pin(receiver)), length)
}
