//! The one loop that drives every protocol machine: it polls, reads, writes and waits, and decides nothing.
//!
//! A machine says what it needs; what needs an answer goes to the [`Handler`] of its protocol, which may use
//! the wire in the meantime (TLS, literals streamed from storage).

use std::future::Future;
use std::io;

use futures_lite::future;
use protocol_core::{Instant, RecvBuf, SendBuf};

use crate::wire::Wire;

/// Steps after which a busy connection lets others run.
const STEPS_A_TURN: u32 = 32;
/// Unsent octets at which a machine asks for a flush.
const SEND_HIGH_WATER: usize = 64 * 1024;

/// What a machine wants next, the same for every protocol.
pub enum Progress<Ask> {
    /// Flush, then wait for bytes, end of file, the deadline or a wake-up.
    NeedInput,
    /// The send buffer is above its high-water mark.
    Flush,
    /// Only the handler can answer this.
    Ask(Ask),
    /// The conversation is over.
    Closed,
}

/// A protocol machine as the loop sees it.
pub trait Machine: Send {
    /// Questions; they may borrow from the receive buffer.
    type Ask<'b>: Send;
    /// Consumes from `input`, appends to `out`, returns one step.
    fn poll<'b>(
        &mut self,
        now: Instant,
        input: &'b mut RecvBuf,
        out: &mut SendBuf,
    ) -> Progress<Self::Ask<'b>>;
    /// `poll` no later than this.
    fn deadline(&self) -> Option<Instant>;
}

/// Answers a machine's questions for one connection.
pub trait Handler<M: Machine>: Send {
    /// Answers one question. An error ends the connection without another word.
    fn answer<'a>(
        &'a mut self,
        ask: M::Ask<'a>,
        machine: &'a mut M,
        out: &'a mut SendBuf,
        wire: &'a mut Wire,
    ) -> impl Future<Output = io::Result<()>> + Send + 'a;

    /// Completes when something outside the connection happened; the loop then calls [`Handler::woken`].
    fn wake(&mut self) -> impl Future<Output = ()> + Send;

    /// Tells the machine what happened.
    fn woken<'a>(
        &'a mut self,
        machine: &'a mut M,
        out: &'a mut SendBuf,
    ) -> impl Future<Output = io::Result<()>> + Send + 'a;
}

enum Wants {
    Input,
    Flush,
    Nothing,
    Close,
}

enum Event {
    Read(io::Result<usize>),
    Deadline,
    Woken,
}

/// Drives `machine` until it closes or the connection breaks. `limit` bounds the octets received ahead.
pub async fn drive<M: Machine, H: Handler<M>>(
    machine: &mut M,
    handler: &mut H,
    wire: &mut Wire,
    limit: usize,
) -> io::Result<()> {
    let mut input = RecvBuf::with_limit(limit);
    let mut out = SendBuf::with_high_water(SEND_HIGH_WATER);
    let mut steps = 0u32;
    loop {
        steps = steps.wrapping_add(1);
        if steps.is_multiple_of(STEPS_A_TURN) {
            future::yield_now().await;
        }
        let wants = match machine.poll(wire.now(), &mut input, &mut out) {
            Progress::NeedInput => Wants::Input,
            Progress::Flush => Wants::Flush,
            Progress::Closed => Wants::Close,
            Progress::Ask(ask) => {
                handler.answer(ask, machine, &mut out, wire).await?;
                Wants::Nothing
            }
        };
        match wants {
            Wants::Nothing => {}
            Wants::Flush => wire.flush(&mut out).await?,
            Wants::Close => {
                wire.flush(&mut out).await?;
                wire.close().await;
                return Ok(());
            }
            Wants::Input => {
                wire.flush(&mut out).await?;
                out.shrink();
                match wait(machine.deadline(), handler, wire, &mut input).await {
                    Event::Read(Ok(0)) => input.commit_eof(),
                    Event::Read(Ok(n)) => input.commit(n),
                    Event::Read(Err(e)) if is_disconnect(&e) => input.commit_eof(),
                    Event::Read(Err(e)) => return Err(e),
                    Event::Deadline => {}
                    Event::Woken => handler.woken(machine, &mut out).await?,
                }
            }
        }
    }
}

async fn wait<M: Machine, H: Handler<M>>(
    deadline: Option<Instant>,
    handler: &mut H,
    wire: &mut Wire,
    input: &mut RecvBuf,
) -> Event {
    let timer = wire.timer(deadline);
    let woken = async {
        handler.wake().await;
        Event::Woken
    };
    let timed = async {
        timer.await;
        Event::Deadline
    };
    let read = async { Event::Read(wire.read(input).await) };
    future::or(read, future::or(woken, timed)).await
}

/// A peer that goes away without a word is an end of file, not a fault of ours.
fn is_disconnect(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof)
}
