//! One connection's transport: plain or TLS, with the time-outs of writing. No protocol is known here.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::{Async, Timer};
use futures_lite::{AsyncRead, AsyncWrite, AsyncWriteExt, future};
use futures_rustls::{TlsAcceptor, TlsConnector, client, server};
use protocol_core::{Instant, RecvBuf, SendBuf};
use rustls::{ClientConfig, CommonState, ServerConfig};
use rustls_pki_types::ServerName;

/// A peer that takes no octet for this long is given up.
const WRITE_STALL: Duration = Duration::from_secs(60);
/// After our last word, the peer's octets are still read for this long, so that a reset does not overtake it.
const LINGER: Duration = Duration::from_secs(2);

// The two looks at a clock of the whole program.

/// The process's monotonic clock: nanoseconds since the first call.
pub fn monotonic_now() -> Instant {
    Instant(u64::try_from(epoch().elapsed().as_nanos()).unwrap_or(u64::MAX))
}

#[allow(clippy::disallowed_methods)]
fn epoch() -> std::time::Instant {
    static EPOCH: OnceLock<std::time::Instant> = OnceLock::new();
    *EPOCH.get_or_init(std::time::Instant::now)
}

/// The wall clock.
#[allow(clippy::disallowed_methods)]
pub fn wall_now() -> protocol_core::Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    protocol_core::Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A timer for a deadline of a machine; never ends without one.
pub fn timer_at(deadline: Option<Instant>) -> Timer {
    match deadline.and_then(|at| epoch().checked_add(Duration::from_nanos(at.0))) {
        Some(at) => Timer::at(at),
        None => Timer::never(),
    }
}

enum Stream {
    Tcp(Async<TcpStream>),
    Unix(Async<UnixStream>),
    Server(Box<server::TlsStream<Async<TcpStream>>>),
    Client(Box<client::TlsStream<Async<TcpStream>>>),
    /// A handshake failed half-way: there is nothing left to speak through.
    Gone,
}

/// One connection.
pub struct Wire {
    stream: Stream,
    write_stall: Duration,
}

impl Wire {
    /// Over an accepted or dialled TCP connection.
    pub fn tcp(stream: Async<TcpStream>) -> io::Result<Wire> {
        stream.get_ref().set_nodelay(true)?;
        Ok(Wire { stream: Stream::Tcp(stream), write_stall: WRITE_STALL })
    }

    /// Over a Unix socket (LMTP).
    pub fn unix(stream: Async<UnixStream>) -> Wire {
        Wire { stream: Stream::Unix(stream), write_stall: WRITE_STALL }
    }

    /// How long a peer may take no octet before it is given up.
    pub fn set_write_stall(&mut self, limit: Duration) {
        self.write_stall = limit;
    }

    /// Monotonic time.
    pub fn now(&self) -> Instant {
        monotonic_now()
    }

    /// Ends at the deadline.
    pub fn timer(&self, deadline: Option<Instant>) -> Timer {
        timer_at(deadline)
    }

    /// Reads into the buffer's room; the number of octets is not committed yet. While nothing arrives, an
    /// empty buffer gives its memory back.
    pub async fn read(&mut self, input: &mut RecvBuf) -> io::Result<usize> {
        poll_fn(|cx| {
            let room = input.spare();
            if room.is_empty() {
                return Poll::Ready(Err(io::Error::other("a machine waits for input with a full buffer")));
            }
            let read = Pin::new(&mut self.stream).poll_read(cx, room);
            if read.is_pending() {
                input.shrink();
            }
            read
        })
        .await
    }

    /// Writes everything out.
    pub async fn flush(&mut self, out: &mut SendBuf) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        while !out.is_empty() {
            let n = self.write_some(&[IoSlice::new(out.bytes())]).await?;
            out.advance(n);
        }
        self.stalling(|stream, cx| Pin::new(stream).poll_flush(cx)).await
    }

    /// Writes these octets out, behind what was flushed before.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = self.write_some(&[IoSlice::new(bytes)]).await?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// Writes these pieces in order, in as few writes as the transport allows.
    pub async fn write_pieces(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        match pieces {
            [] => Ok(()),
            [one] => self.write_all(one).await,
            many => {
                let joined: Vec<u8> = many.concat();
                self.write_all(&joined).await
            }
        }
    }

    async fn write_some(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let n = self.stalling(|stream, cx| Pin::new(stream).poll_write_vectored(cx, pieces)).await?;
        if n == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(n) }
    }

    /// Runs a poll function, bounded by the time a peer may take nothing.
    async fn stalling<T>(
        &mut self,
        mut poll: impl FnMut(&mut Stream, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        let stall = self.write_stall;
        let work = poll_fn(|cx| poll(&mut self.stream, cx));
        let limit = async {
            Timer::after(stall).await;
            Err(io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing"))
        };
        future::or(work, limit).await
    }

    /// The server's side of a TLS handshake, within `limit`.
    pub async fn accept_tls(&mut self, config: Arc<ServerConfig>, limit: Duration) -> io::Result<()> {
        let tcp = self.take_tcp()?;
        // On the heap while it lasts: a connection without TLS would keep room for it.
        let handshake = Box::pin(TlsAcceptor::from(config).accept(tcp));
        self.stream = Stream::Server(Box::new(within(limit, handshake).await?));
        Ok(())
    }

    /// The client's side of a TLS handshake, within `limit`.
    pub async fn connect_tls(
        &mut self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        limit: Duration,
    ) -> io::Result<()> {
        let tcp = self.take_tcp()?;
        let handshake = TlsConnector::from(config).connect(name, tcp);
        self.stream = Stream::Client(Box::new(within(limit, handshake).await?));
        Ok(())
    }

    fn take_tcp(&mut self) -> io::Result<Async<TcpStream>> {
        match std::mem::replace(&mut self.stream, Stream::Gone) {
            Stream::Tcp(tcp) => Ok(tcp),
            other => {
                self.stream = other;
                Err(io::Error::other("TLS can only be started once, over TCP"))
            }
        }
    }

    /// The TLS session, when there is one.
    pub fn tls(&self) -> Option<&CommonState> {
        match &self.stream {
            Stream::Server(tls) => Some(tls.get_ref().1),
            Stream::Client(tls) => Some(tls.get_ref().1),
            _ => None,
        }
    }

    /// TLS version and cipher for trace fields and logs: `TLSv1.3 TLS13_AES_256_GCM_SHA384`.
    pub fn tls_description(&self) -> Option<String> {
        let tls = self.tls()?;
        let version = match tls.protocol_version()? {
            rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3",
            rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2",
            _ => "TLS",
        };
        Some(format!("{version} {:?}", tls.negotiated_cipher_suite()?.suite()))
    }

    /// RFC 9266 `tls-exporter` channel binding, when there is TLS 1.3 (RFC 9266 §4.2 for 1.2 needs extended
    /// master secrets, which rustls always uses).
    pub fn tls_exporter(&self) -> Option<[u8; 32]> {
        let (label, context) = (b"EXPORTER-Channel-Binding", Some(&b""[..]));
        match &self.stream {
            Stream::Server(tls) => tls.get_ref().1.export_keying_material([0; 32], label, context).ok(),
            Stream::Client(tls) => tls.get_ref().1.export_keying_material([0; 32], label, context).ok(),
            _ => None,
        }
    }

    /// Says goodbye: closes our side, and reads on for a moment, so that what was written arrives.
    pub async fn close(&mut self) {
        let drain = async {
            // TLS says its goodbye; closing the socket's side is left to us.
            if self.stream.close().await.is_err() || self.stream.shut_down_writing().is_err() {
                return;
            }
            let mut sink = [0u8; 4096];
            while matches!(futures_lite::AsyncReadExt::read(&mut self.raw(), &mut sink).await, Ok(n) if n > 0)
            {
            }
        };
        future::or(drain, async {
            Timer::after(LINGER).await;
        })
        .await;
    }

    fn raw(&mut self) -> Raw<'_> {
        Raw(&mut self.stream)
    }
}

impl Stream {
    fn shut_down_writing(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(s) => s.get_ref().shutdown(Shutdown::Write),
            Stream::Unix(s) => s.get_ref().shutdown(Shutdown::Write),
            Stream::Server(s) => s.get_ref().0.get_ref().shutdown(Shutdown::Write),
            Stream::Client(s) => s.get_ref().0.get_ref().shutdown(Shutdown::Write),
            Stream::Gone => Ok(()),
        }
    }
}

/// The octets below TLS.
struct Raw<'a>(&'a mut Stream);

impl AsyncRead for Raw<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut *self.0 {
            Stream::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Unix(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Server(s) => Pin::new(&mut &*s.get_ref().0).poll_read(cx, buf),
            Stream::Client(s) => Pin::new(&mut &*s.get_ref().0).poll_read(cx, buf),
            Stream::Gone => Poll::Ready(Ok(0)),
        }
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    future::or(work, async {
        Timer::after(limit).await;
        Err(io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long"))
    })
    .await
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Unix(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Server(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Client(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Gone => Poll::Ready(Ok(0)),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Stream::Unix(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Stream::Server(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Stream::Client(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Stream::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_flush(cx),
            Stream::Unix(s) => Pin::new(s).poll_flush(cx),
            Stream::Server(s) => Pin::new(s).poll_flush(cx),
            Stream::Client(s) => Pin::new(s).poll_flush(cx),
            Stream::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(s) => Pin::new(s).poll_close(cx),
            Stream::Unix(s) => Pin::new(s).poll_close(cx),
            Stream::Server(s) => Pin::new(s).poll_close(cx),
            Stream::Client(s) => Pin::new(s).poll_close(cx),
            Stream::Gone => Poll::Ready(Ok(())),
        }
    }
}
