//! hickory over smol: its sockets, timers and tasks.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::{Async, Timer};
use async_trait::async_trait;
use futures_lite::{AsyncRead, AsyncWrite, future};
use hickory_resolver::net::runtime::{DnsTcpStream, DnsUdpSocket, RuntimeProvider, Spawn, Time};

use super::QUERY_TIMEOUT;
use crate::task;

/// Sockets, timers and tasks for hickory.
#[derive(Clone, Copy)]
pub(super) struct Provider;

impl RuntimeProvider for Provider {
    type Handle = Provider;
    type Timer = SmolTime;
    type Udp = Udp;
    type Tcp = Tcp;

    fn create_handle(&self) -> Provider {
        Provider
    }

    fn connect_tcp(
        &self,
        server_addr: SocketAddr,
        _bind_addr: Option<SocketAddr>,
        timeout: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Tcp>>>> {
        Box::pin(async move {
            let connect = async {
                let stream = Async::<TcpStream>::connect(server_addr).await?;
                stream.get_ref().set_nodelay(true)?;
                Ok(Tcp(stream))
            };
            future::or(connect, async {
                Timer::after(timeout.unwrap_or(QUERY_TIMEOUT)).await;
                Err(io::ErrorKind::TimedOut.into())
            })
            .await
        })
    }

    fn bind_udp(
        &self,
        local_addr: SocketAddr,
        _server_addr: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Udp>>>> {
        Box::pin(async move { Async::<UdpSocket>::bind(local_addr).map(Udp) })
    }
}

impl Spawn for Provider {
    fn spawn_bg(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        task::spawn(work).detach();
    }
}

pub(super) struct SmolTime;

#[async_trait]
impl Time for SmolTime {
    async fn delay_for(duration: Duration) {
        Timer::after(duration).await;
    }

    async fn timeout<F: 'static + Future + Send>(duration: Duration, work: F) -> io::Result<F::Output> {
        future::or(async { Ok(work.await) }, async {
            Timer::after(duration).await;
            Err(io::ErrorKind::TimedOut.into())
        })
        .await
    }
}

pub(super) struct Udp(Async<UdpSocket>);

#[async_trait]
impl DnsUdpSocket for Udp {
    type Time = SmolTime;

    fn poll_recv_from(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        loop {
            match self.0.get_ref().recv_from(buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                done => return Poll::Ready(done),
            }
            std::task::ready!(self.0.poll_readable(cx))?;
        }
    }

    fn poll_send_to(&self, cx: &mut Context<'_>, buf: &[u8], target: SocketAddr) -> Poll<io::Result<usize>> {
        loop {
            match self.0.get_ref().send_to(buf, target) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                done => return Poll::Ready(done),
            }
            std::task::ready!(self.0.poll_writable(cx))?;
        }
    }
}

pub(super) struct Tcp(Async<TcpStream>);

impl DnsTcpStream for Tcp {
    type Time = SmolTime;
}

impl AsyncRead for Tcp {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}
