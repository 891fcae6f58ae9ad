//! Bodies of requests: JSON, read to a limit that depends on who asks.

use std::time::Duration;

use async_io::Timer;
use async_lock::{Semaphore, SemaphoreGuardArc};
use futures_lite::{AsyncReadExt, future};
use serde::de::DeserializeOwned;
use tide::Request;

use super::SMALL_BODY_MAX;
use super::error::{ApiError, Code};

/// The reason of an error that is told as 415: a page in a browser can send other types without being asked, and must
/// not be able to make anything happen.
pub const NOT_JSON: &str = "NOT_JSON";
/// Octets that are read at a time.
const PIECE: usize = 64 * 1024;
/// How long a large body waits for its turn.
const TURN_LIMIT: Duration = Duration::from_secs(30);

/// A place among the large bodies.
pub type Place = SemaphoreGuardArc;

/// A body in memory; a large one holds its place among those.
pub struct Read {
    octets: Vec<u8>,
    place: Option<Place>,
}

impl Read {
    /// Its place, without the octets.
    pub fn into_place(self) -> Option<Place> {
        self.place
    }

    /// Reads it as JSON. What is wrong is told without what stands there.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.octets)
            .map_err(|e| ApiError::new(Code::BadRequest, format!("the body cannot be read: {e}")))
    }
}

/// Reads a body of at most `limit` octets.
pub async fn read_json<S>(
    request: &mut Request<S>,
    limit: usize,
    large: &std::sync::Arc<Semaphore>,
) -> Result<Read, ApiError> {
    let is_json = request.content_type().is_some_and(|mime| mime.essence() == "application/json");
    if !is_json {
        let why = "the body must be JSON, with the content type application/json";
        return Err(ApiError { reason: Some(NOT_JSON), ..ApiError::new(Code::BadRequest, why) });
    }
    let too_large = || ApiError::new(Code::TooLarge, format!("the body has more than {limit} octets"));
    let mut body = request.take_body();
    let announced = body.len().unwrap_or(0);
    if announced > limit {
        return Err(too_large());
    }
    let mut place = None;
    let mut octets = Vec::with_capacity(announced.min(SMALL_BODY_MAX));
    loop {
        if place.is_none() && octets.len().max(announced) > SMALL_BODY_MAX {
            place = Some(turn(large).await?);
        }
        let start = octets.len();
        octets.resize(start + PIECE, 0);
        let read = body.read(&mut octets[start..]).await.map_err(unreadable)?;
        octets.truncate(start + read);
        if octets.len() > limit {
            return Err(too_large());
        }
        if read == 0 {
            return Ok(Read { octets, place });
        }
    }
}

/// Waits for a place among the large bodies.
pub async fn turn(large: &std::sync::Arc<Semaphore>) -> Result<Place, ApiError> {
    let late = async {
        Timer::after(TURN_LIMIT).await;
        Err(ApiError::new(Code::Unavailable, "too many large requests at once; try again later"))
    };
    future::or(async { Ok(large.acquire_arc().await) }, late).await
}

fn unreadable(error: std::io::Error) -> ApiError {
    tracing::debug!(%error, "the body of a request did not arrive");
    ApiError::new(Code::BadRequest, "the body did not arrive in time or in full")
}
