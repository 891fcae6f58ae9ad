//! Simulated connections: octets arrive later, in other pieces, or not at all.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use futures_lite::future;
use protocol_core::{RecvBuf, SendBuf};

use crate::exec::lock;
use crate::world::World;

/// What happens when so many octets went in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Both directions end.
    Cut,
    /// This direction ends, the other goes on.
    HalfClose,
    /// Nothing arrives in this direction any more.
    Stall,
}

/// How a connection behaves, decided when it is made.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    /// Nanoseconds that octets are under way, at most.
    pub latency: u64,
    /// Segments are torn into pieces.
    pub torn: bool,
    /// After so many octets from the client, and from the server.
    pub breaks: [Option<(u64, Break)>; 2],
}

#[derive(Default)]
struct Direction {
    segments: VecDeque<(u64, Vec<u8>)>,
    arrives: u64,
    octets: u64,
    ends_at: Option<u64>,
    stalled: bool,
    reader: Option<Waker>,
}

struct Link {
    weather: Weather,
    directions: [Direction; 2],
}

/// One end of a connection; dropping it closes it.
pub struct Conn {
    world: Arc<World>,
    link: Arc<Mutex<Link>>,
    /// 0 is the client.
    side: usize,
}

/// The connection is gone.
#[derive(Debug)]
pub struct Broken;

/// Both ends of a new connection: the client's, the server's.
pub fn pair(world: &Arc<World>, weather: Weather) -> (Conn, Conn) {
    let link = Link { weather, directions: Default::default() };
    let link = Arc::new(Mutex::new(link));
    let end = |side| Conn { world: world.clone(), link: link.clone(), side };
    (end(0), end(1))
}

impl Direction {
    fn end(&mut self, at: u64) {
        if self.ends_at.is_none() {
            self.ends_at = Some(at.max(self.arrives));
            self.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }
}

impl Conn {
    /// Sends octets.
    pub fn write(&self, octets: &[u8]) -> Result<(), Broken> {
        let world = &self.world;
        let now = world.exec.now();
        let mut link = lock(&self.link);
        let Link { weather, directions } = &mut *link;
        let direction = &mut directions[self.side];
        if direction.ends_at.is_some() {
            return Err(Broken);
        }
        if octets.is_empty() || direction.stalled {
            return Ok(());
        }
        let room = weather.breaks[self.side].map(|(at, _)| at.saturating_sub(direction.octets));
        let through = room.map_or(octets.len(), |room| octets.len().min(room as usize));
        let mut rest = &octets[..through];
        while !rest.is_empty() {
            let size = match weather.torn {
                true => world.rng().between(1, rest.len() as u64) as usize,
                false => rest.len(),
            };
            let delay = world.rng().between(weather.latency / 4, weather.latency);
            direction.arrives = direction.arrives.max(now + delay);
            direction.segments.push_back((direction.arrives, rest[..size].to_vec()));
            rest = &rest[size..];
        }
        direction.octets += through as u64;
        direction.wake();
        if let Some((at, how)) = weather.breaks[self.side].filter(|(at, _)| direction.octets >= *at) {
            world.count(match how {
                Break::Cut => "connection cut",
                Break::HalfClose => "connection half closed",
                Break::Stall => "connection stalled",
            });
            world.note(format_args!("net: {how:?} after {at} octets {}", ["up", "down"][self.side]));
            match how {
                Break::Cut => directions.iter_mut().for_each(|d| d.end(now)),
                Break::HalfClose => direction.end(now),
                Break::Stall => direction.stalled = true,
            }
        }
        Ok(())
    }

    /// Sends all that waits.
    pub fn flush(&self, out: &mut SendBuf) -> Result<(), Broken> {
        let n = out.len();
        let written = self.write(out.bytes());
        out.advance(n);
        written
    }

    /// Waits for octets; 0 at the end.
    pub async fn read(&self, input: &mut RecvBuf) -> usize {
        loop {
            let wait = {
                let now = self.world.exec.now();
                let mut link = lock(&self.link);
                let direction = &mut link.directions[1 - self.side];
                if let Some((at, octets)) = direction.segments.front_mut() {
                    if *at <= now {
                        let n = input.feed(octets);
                        octets.drain(..n);
                        if octets.is_empty() {
                            direction.segments.pop_front();
                        }
                        return n;
                    }
                    Some(*at)
                } else if direction.ends_at.is_some_and(|at| at <= now) {
                    return 0;
                } else {
                    direction.ends_at
                }
            };
            let changed = poll_fn(|cx| {
                let mut link = lock(&self.link);
                let direction = &mut link.directions[1 - self.side];
                let next = direction.segments.front().map(|(at, _)| *at).or(direction.ends_at);
                if next != wait {
                    return Poll::Ready(());
                }
                direction.reader = Some(cx.waker().clone());
                Poll::Pending
            });
            match wait {
                Some(at) => self.world.exec.sleep_until(at).await,
                None => changed.await,
            }
        }
    }

    /// As `read`, but not beyond a moment of true time; none when it came first.
    pub async fn read_until(&self, input: &mut RecvBuf, at: u64) -> Option<usize> {
        future::or(async { Some(self.read(input).await) }, async {
            self.world.exec.sleep_until(at).await;
            None
        })
        .await
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        let now = self.world.exec.now();
        // What was written before still arrives; then the other end sees that this one is gone.
        lock(&self.link).directions.iter_mut().for_each(|d| d.end(now));
    }
}
