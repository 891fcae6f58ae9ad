//! A connection whose requests are looked at before hyper reads them.
//!
//! What is good goes on as it came. Where a request is not, hyper reads a request of ours in its place, which the
//! service answers with the status: so it comes behind the answers to those before it, and nothing behind it is read.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_io::{Async, Timer};
use futures_lite::{AsyncRead, AsyncWrite, Future};
use futures_rustls::server::TlsStream;
use hyper::{Method, StatusCode};

use super::framing::{Framing, Step};

/// A method that nobody can write, since longer ones than [`super::head::METHOD_MAX`] are refused; the status is
/// behind it.
const REFUSED: &str = "REFUSED-BEFORE-IT-WAS-READ-";
/// Octets that are read at a time.
const PIECE: usize = 4096;
/// Octets that a client may still send when its connection ends, and how long that may take: a connection that is
/// closed with octets unread is reset, which can cost the client the answer (RFC 9112 §9.6).
const LINGER_MAX: usize = 256 * 1024;
const LINGER_LIMIT: Duration = Duration::from_secs(2);

/// The status of a request that was put in the place of one that is refused.
pub fn refusal(method: &Method) -> Option<StatusCode> {
    method.as_str().strip_prefix(REFUSED)?.parse::<u16>().ok().and_then(|n| StatusCode::from_u16(n).ok())
}

/// What the connection must know of the answers.
#[derive(Clone, Default)]
pub struct Answers(Arc<Mutex<Answered>>);

#[derive(Default)]
struct Answered {
    many: u64,
    switched: bool,
    waits: Option<Waker>,
}

impl Answers {
    /// One more request was answered, by changing to another protocol or not.
    pub fn answered(&self, switched: bool) {
        let mut answered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answered.many += 1;
        answered.switched |= switched;
        if let Some(waker) = answered.waits.take() {
            waker.wake();
        }
    }

    /// Whether the connection is another protocol's, as soon as so many were answered.
    fn poll_switched(&self, many: u64, context: &Context<'_>) -> Poll<bool> {
        let mut answered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answered.many >= many {
            return Poll::Ready(answered.switched);
        }
        answered.waits = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A connection whose sending side can be closed by itself.
pub trait HalfClose {
    /// Tells the client that nothing more will come.
    fn half_close(&self);
}

impl HalfClose for Async<TcpStream> {
    fn half_close(&self) {
        // It fails only when there is nobody any more to be told.
        let _ = self.get_ref().shutdown(Shutdown::Write);
    }
}

impl<S: HalfClose> HalfClose for TlsStream<S> {
    fn half_close(&self) {
        self.get_ref().0.half_close();
    }
}

/// The connection.
pub struct Guard<S> {
    inner: S,
    framing: Framing,
    answers: Answers,
    /// What was read and has not gone on, and how much of it is good.
    octets: Vec<u8>,
    good: usize,
    /// Requests that went on.
    requests: u64,
    refused: bool,
    ended: bool,
    linger: Option<(Timer, usize)>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guard<S> {
    /// Around a connection; a request's line and fields have at most `head_max` octets.
    pub fn new(inner: S, head_max: usize, answers: Answers) -> Guard<S> {
        let framing = Framing::new(head_max);
        Guard {
            inner,
            framing,
            answers,
            octets: Vec::new(),
            good: 0,
            requests: 0,
            refused: false,
            ended: false,
            linger: None,
        }
    }

    fn refuse(&mut self, status: u16) {
        let request = format!("{REFUSED}{status} / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n");
        self.octets = request.into_bytes();
        self.good = self.octets.len();
        self.refused = true;
    }

    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut piece = [0; PIECE];
        let many = ready!(Pin::new(&mut self.inner).poll_read(context, &mut piece))?;
        self.ended = many == 0;
        self.octets.extend_from_slice(&piece[..many]);
        Poll::Ready(Ok(()))
    }

    fn look(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let was_head = self.framing.in_head();
        match self.framing.advance(&mut self.octets) {
            Step::Pass(many) => {
                self.requests += u64::from(was_head);
                self.good = many;
            }
            Step::More if !self.ended => return self.poll_more(context),
            Step::More if self.framing.at_rest() => self.octets.clear(),
            // Half a request, and nothing will come any more.
            Step::More => self.refuse(StatusCode::BAD_REQUEST.as_u16()),
            Step::Refuse(status) => self.refuse(status),
            Step::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            Step::Wait => {
                let switched = ready!(self.answers.poll_switched(self.requests, context));
                self.framing.switched(switched);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what the client still sends.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let busy = self.refused || !self.framing.at_rest() || !self.octets.is_empty();
        let (late, left) = self.linger.get_or_insert_with(|| (Timer::after(LINGER_LIMIT), LINGER_MAX));
        let mut piece = [0; PIECE];
        while *left > 0 {
            match Pin::new(&mut self.inner).poll_read(context, &mut piece) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(many)) => *left = left.saturating_sub(many),
                // Nothing is under way, and nothing has come.
                Poll::Pending if !busy => return Poll::Ready(()),
                Poll::Pending => return Pin::new(late).poll(context).map(drop),
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        loop {
            if this.good > 0 {
                let many = this.good.min(out.len());
                out[..many].copy_from_slice(&this.octets[..many]);
                this.octets.drain(..many);
                this.good -= many;
                if this.octets.is_empty() {
                    this.octets = Vec::new(); // a connection that rests holds no buffer
                }
                return Poll::Ready(Ok(many));
            }
            if this.refused {
                // An end would be taken for that of the client, who is to be answered first.
                return Poll::Pending;
            }
            if this.ended && this.octets.is_empty() {
                return Poll::Ready(Ok(0));
            }
            let bulk = this.framing.bulk().min(out.len() as u64) as usize;
            if this.octets.is_empty() && bulk > 0 {
                let many = ready!(Pin::new(&mut this.inner).poll_read(context, &mut out[..bulk]))?;
                this.framing.went_on(many as u64);
                return Poll::Ready(Ok(many));
            }
            ready!(this.look(context))?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + HalfClose + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, pieces)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.inner).poll_close(context))?;
            self.inner.half_close();
        }
        ready!(self.poll_linger(context));
        Poll::Ready(Ok(()))
    }
}
