//! Answers as server-sent events: one connection for each operation, `next` for each answer and `complete` at the end.

use std::pin::Pin;
use std::time::Duration;

use async_graphql::Response;
use async_io::Timer;
use futures_lite::{Stream, StreamExt, future, stream};

use super::stream::Pieces;

/// How often something is said when there is nothing to say, so that nobody on the way takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

type Answers = Pin<Box<dyn Stream<Item = Response> + Send>>;

/// The body that tells these answers.
pub fn body(answers: Answers) -> tide::Body {
    // The first line comes at once: the client learns that it is listened to.
    let told = stream::once(b":\n\n".to_vec()).chain(stream::unfold(Some(answers), told)).map(Ok);
    tide::Body::from_reader(Pieces::new(Box::pin(told)), None)
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
