//! Dialling the addresses of one host: the next one is dialled too when there is no connection after a quarter of
//! a second, and the first that connects is taken (RFC 8305 §5).

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use async_io::{Async, Timer};
use futures_lite::future;
use protocol_smtp::route::Candidate;

/// How long an address is waited for before the next one is dialled beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// What came of dialling several addresses.
#[derive(Debug)]
pub struct Raced<T> {
    /// Which address connected first.
    pub winner: Option<(usize, T)>,
    /// Which failed before, and why. Those that were still under way are not among them.
    pub failed: Vec<(usize, String)>,
}

/// Dials these addresses of a host, each within `limit`. `source` is the local address to dial from, if one is
/// chosen for the family.
pub async fn first(
    addresses: &[&Candidate],
    limit: Duration,
    source: impl Fn(&Candidate) -> Option<IpAddr>,
) -> Raced<Async<TcpStream>> {
    let connect = |n: usize| {
        let to = addresses[n];
        within(limit, connect(SocketAddr::new(to.address, to.port), source(to)))
    };
    race(addresses.len(), || Timer::after(HEAD_START), connect).await
}

async fn race<T, P: Future, F: Future<Output = io::Result<T>>>(
    count: usize,
    head_start: impl Fn() -> P,
    connect: impl Fn(usize) -> F,
) -> Raced<T> {
    let mut failed = Vec::new();
    let mut under_way: Vec<(usize, Pin<Box<F>>)> = Vec::new();
    let mut next = 0;
    loop {
        if next < count {
            under_way.push((next, Box::pin(connect(next))));
            next += 1;
        }
        if under_way.is_empty() {
            return Raced { winner: None, failed };
        }
        let ended = any(&mut under_way);
        let ended = match next < count {
            true => future::or(async { Some(ended.await) }, async { head_start().await.discard() }).await,
            false => Some(ended.await),
        };
        match ended {
            Some((n, Ok(connection))) => return Raced { winner: Some((n, connection)), failed },
            Some((n, Err(why))) => failed.push((n, why.to_string())),
            None => {}
        }
    }
}

trait Discard: Sized {
    /// Nothing has ended.
    fn discard<T>(self) -> Option<T> {
        None
    }
}

impl<T> Discard for T {}

/// The first of these that ends; it is taken out.
async fn any<T, F: Future<Output = T>>(under_way: &mut Vec<(usize, Pin<Box<F>>)>) -> (usize, T) {
    poll_fn(|cx| {
        for at in 0..under_way.len() {
            if let Poll::Ready(result) = under_way[at].1.as_mut().poll(cx) {
                return Poll::Ready((under_way.remove(at).0, result));
            }
        }
        Poll::Pending
    })
    .await
}

async fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<Async<TcpStream>> {
    let Some(source) = source else { return Async::<TcpStream>::connect(address).await };
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
            Err(error)
        }
        _ => {
            let stream = Async::new(TcpStream::from(socket))?;
            stream.writable().await?;
            match stream.get_ref().take_error()? {
                Some(error) => Err(error),
                None => Ok(stream),
            }
        }
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    future::or(work, async {
        Timer::after(limit).await;
        Err(io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures_lite::future::{block_on, pending, ready};

    use super::*;

    fn refused() -> io::Result<u32> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    /// Dials addresses of which `silent` never answer, `refusing` refuse and the others connect; the head start is
    /// over at once, or never. What came of it, and which were dialled.
    fn raced(count: usize, silent: &[usize], refusing: &[usize], patient: bool) -> (Raced<u32>, Vec<usize>) {
        let dialled = RefCell::new(Vec::new());
        let connect = |n: usize| {
            dialled.borrow_mut().push(n);
            let (silent, refusing) = (silent.contains(&n), refusing.contains(&n));
            async move {
                match (silent, refusing) {
                    (true, _) => pending().await,
                    (_, true) => refused(),
                    _ => Ok(n as u32),
                }
            }
        };
        let head_start = || async move {
            match patient {
                true => pending().await,
                false => ready(()).await,
            }
        };
        let raced = block_on(race(count, head_start, connect));
        (raced, dialled.into_inner())
    }

    #[test]
    fn the_first_that_connects_is_taken_and_the_rest_is_not_dialled() {
        let (raced, dialled) = raced(3, &[], &[], true);
        assert_eq!((raced.winner, dialled), (Some((0, 0)), vec![0]));
    }

    #[test]
    fn a_refusal_leads_to_the_next_at_once() {
        let (raced, dialled) = raced(4, &[], &[0, 1], true);
        assert_eq!((raced.winner, dialled), (Some((2, 2)), vec![0, 1, 2]));
        assert_eq!(raced.failed.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn a_silent_one_goes_on_while_the_next_is_dialled() {
        let (raced, dialled) = raced(4, &[0, 1], &[], false);
        assert_eq!((raced.winner, dialled), (Some((2, 2)), vec![0, 1, 2]));
        assert!(raced.failed.is_empty(), "who was only slow did not fail");
    }

    #[test]
    fn when_all_fail_each_says_why() {
        let (raced, dialled) = raced(2, &[], &[0, 1], true);
        assert_eq!((raced.winner, dialled), (None, vec![0, 1]));
        assert!(raced.failed.iter().all(|(_, why)| why.contains("refused")), "{:?}", raced.failed);
    }

    #[test]
    fn an_address_that_swallows_everything_does_not_hold_up_the_next() {
        // A listener whose queue is full takes no further connection, and refuses none either.
        let swallowing = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        swallowing.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        swallowing.listen(0).unwrap();
        let full = swallowing.local_addr().unwrap().as_socket().unwrap();
        let mut fillers = Vec::new();
        while let Ok(filler) = TcpStream::connect_timeout(&full, Duration::from_millis(200)) {
            fillers.push(filler);
        }
        let open = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let candidate = |to: SocketAddr| Candidate { host: "m".into(), address: to.ip(), port: to.port() };
        let (silent, open) = (candidate(full), candidate(open.local_addr().unwrap()));
        let raced = block_on(first(&[&silent, &open], Duration::from_secs(60), |_| None));
        assert_eq!(raced.winner.map(|(n, _)| n), Some(1));
        assert!(raced.failed.is_empty() && !fillers.is_empty());
    }
}
