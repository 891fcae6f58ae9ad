//! What goes over the administration socket: one JSON object a line, a message's octets right behind the line
//! that announces them.

use std::io;

use futures_lite::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use serde::{Deserialize, Serialize};

use super::Request;

/// Octets of one line.
const LINE_MAX: usize = 16 * 1024 * 1024;
/// Octets of one imported message.
pub const MESSAGE_MAX: u64 = 256 * 1024 * 1024;

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Frame {
    /// The client's first word.
    Request(Request),
    /// So many octets of a message follow the line.
    Message(Head),
    /// The client sends no more messages.
    End,
    /// So many messages are done.
    Progress(u64),
    /// One message could not be taken; the others go on.
    Trouble(String),
    /// The answer.
    Done(serde_json::Value),
    /// There is none, and why.
    Failed(String),
}

/// What is known of a message beside its octets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Head {
    /// How many octets follow; lines end in CRLF.
    pub octets: u64,
    /// When it was received, milliseconds since the epoch.
    pub date_ms: Option<i64>,
    /// Reverse-path without brackets, when known.
    pub sender: String,
    /// `\Seen`.
    pub seen: bool,
    /// `\Answered`.
    pub answered: bool,
    /// `\Flagged`.
    pub flagged: bool,
    /// `\Draft`.
    pub draft: bool,
}

/// Sends one line.
pub async fn send(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let mut line = serde_json::to_vec(frame)?;
    line.push(b'\n');
    to.write_all(&line).await
}

/// Sends a message.
pub async fn send_message(to: &mut (impl AsyncWrite + Unpin), head: &Head, octets: &[u8]) -> io::Result<()> {
    send(to, &Frame::Message(Head { octets: octets.len() as u64, ..head.clone() })).await?;
    to.write_all(octets).await
}

/// Receives one line; `None` at the end.
pub async fn receive(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut line = Vec::new();
    let read = from.take(LINE_MAX as u64).read_until(b'\n', &mut line).await?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a line was cut off or is too long"));
    }
    Ok(Some(serde_json::from_slice(&line)?))
}

/// Receives the octets behind a [`Frame::Message`].
pub async fn receive_octets(from: &mut (impl AsyncBufRead + Unpin), head: &Head) -> io::Result<Vec<u8>> {
    if head.octets > MESSAGE_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is larger than any that is taken"));
    }
    let mut octets = Vec::new();
    from.take(head.octets).read_to_end(&mut octets).await?;
    if octets.len() as u64 != head.octets {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(octets)
}
