//! Operations over a WebSocket, by the protocol `graphql-transport-ws`.
//!
//! Who asks is told by the Authorization field of the handshake, or, because pages in browsers cannot set one, by
//! `Authorization` in the payload of `connection_init`.

use std::any::TypeId;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_graphql::http::{WebSocket, WebSocketProtocols, WsMessage};
use async_graphql::{Data, Executor, Request, Response};
use async_io::Timer;
use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::handshake::derive_accept_key;
use async_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use futures_lite::{Stream, StreamExt, future};
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST, HeaderValue, ORIGIN, UPGRADE};
use hyper::upgrade::Upgraded;

use super::auth::{Caller, Client, Fields, again, authenticate};
use super::error::{ApiError, Code};
use super::{Api, graphql};
use crate::task;

/// The one protocol that is spoken.
const PROTOCOL: &str = "graphql-transport-ws";
/// Octets of a message.
const MESSAGE_MAX: usize = 1024 * 1024;
/// How long a client may take to say who it is.
const INIT_LIMIT: Duration = Duration::from_secs(10);
/// How often the client is asked whether it is there.
const PING: Duration = Duration::from_secs(30);
/// Operations at once on one connection.
const OPERATIONS_MAX: usize = 20;

/// Whether a request wants a WebSocket.
pub fn is_wanted(head: &HeaderMap) -> bool {
    let has = |name, word: &str| {
        head.get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|token| token.trim().eq_ignore_ascii_case(word)))
    };
    has(CONNECTION, "upgrade") && has(UPGRADE, "websocket")
}

/// A handshake that can be accepted: the fields of the answer, and who asks when that is known already.
pub struct Handshake {
    /// `Sec-WebSocket-Accept`.
    pub accept: String,
    caller: Option<Caller>,
}

/// Reads a handshake (RFC 6455 §4.2.1).
///
/// # Errors
/// Why it cannot be accepted.
pub async fn handshake(api: &Api, head: &HeaderMap, client: Client) -> Result<Handshake, ApiError> {
    let bad = |why: &str| ApiError::new(Code::BadRequest, why);
    let field = |name: &str| head.get(name).and_then(|value| value.to_str().ok());
    if field("sec-websocket-version") != Some("13") {
        return Err(bad("only version 13 of the WebSocket protocol is spoken"));
    }
    let key = field("sec-websocket-key").filter(|key| key.len() == 24);
    let key = key.ok_or_else(|| bad("Sec-WebSocket-Key is missing"))?;
    let protocols = field("sec-websocket-protocol").unwrap_or_default();
    if !protocols.split(',').any(|name| name.trim() == PROTOCOL) {
        return Err(bad("the WebSocket protocol is graphql-transport-ws"));
    }
    // A browser adds credentials it knows to a handshake that any page asks for, and says which page that was.
    if let Some(origin) = head.get(ORIGIN)
        && !is_own(origin, head.get(HOST))
    {
        return Err(ApiError::new(Code::Forbidden, "pages of another origin may not connect"));
    }
    let text = |name| head.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let caller = match text(AUTHORIZATION) {
        None => None,
        some => {
            Some(authenticate(&api.app, client, Fields { authorization: some, ..forwarded(head) }).await?)
        }
    };
    Ok(Handshake { accept: derive_accept_key(key.as_bytes()), caller })
}

fn forwarded(head: &HeaderMap) -> Fields<'_> {
    let last = |name: &str| head.get_all(name).iter().next_back().and_then(|value| value.to_str().ok());
    Fields {
        authorization: None,
        forwarded_for: last("x-forwarded-for"),
        forwarded_proto: last("x-forwarded-proto"),
        traceparent: last("traceparent"),
    }
}

/// Whether an origin is the host that was asked for.
fn is_own(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let (Ok(origin), Some(Ok(host))) = (origin.to_str(), host.map(HeaderValue::to_str)) else { return false };
    origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
}

/// Speaks on an upgraded connection until one side ends it.
pub async fn speak(
    api: Arc<Api>,
    upgraded: Upgraded,
    handshake: Handshake,
    client: Client,
    forwarded: (Option<String>, Option<String>),
) {
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_MAX)).max_frame_size(Some(MESSAGE_MAX));
    let io = super::upgraded::Io::new(upgraded);
    let (mut sink, incoming) = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await.split();
    let known = Arc::new(AtomicBool::new(false));
    let texts = incoming.filter_map(|message| match message {
        Ok(Message::Text(text)) => Some(text.as_bytes().to_vec()),
        Ok(Message::Binary(octets)) => Some(octets.to_vec()),
        // tungstenite answers pings itself; after a close or an error nothing comes any more.
        _ => None,
    });
    let (init_api, init_known) = (api.clone(), known.clone());
    let on_init = move |payload: serde_json::Value| async move {
        let caller = match handshake.caller {
            Some(caller) => caller,
            None => {
                let authorization = payload.get("Authorization").or_else(|| payload.get("authorization"));
                let fields = Fields {
                    authorization: authorization.and_then(serde_json::Value::as_str),
                    forwarded_for: forwarded.0.as_deref(),
                    forwarded_proto: forwarded.1.as_deref(),
                    traceparent: payload.get("traceparent").and_then(serde_json::Value::as_str),
                };
                authenticate(&init_api.app, client, fields).await?
            }
        };
        init_known.store(true, Ordering::SeqCst);
        let mut data = Data::default();
        data.insert(caller);
        Ok(data)
    };
    let guarded = Guarded { api: api.clone(), open: Arc::default() };
    let answers = WebSocket::new(guarded, texts, WebSocketProtocols::GraphQLWS).on_connection_init(on_init);
    let mut answers = std::pin::pin!(answers);
    let mut waited = INIT_LIMIT;
    loop {
        let next = async { Next::Answer(answers.next().await) };
        let quiet = async {
            Timer::after(waited).await;
            Next::Quiet
        };
        let stop = async {
            api.app.stop.wait().await;
            Next::Stop
        };
        let message = match future::or(next, future::or(stop, quiet)).await {
            Next::Answer(Some(WsMessage::Text(text))) => Message::text(text),
            // The library's word for a log-in that failed; the protocol has one of its own.
            Next::Answer(Some(WsMessage::Close(1002, _))) if !known.load(Ordering::SeqCst) => {
                close(4403, "Forbidden")
            }
            Next::Answer(Some(WsMessage::Close(code, reason))) => close(code, &reason),
            Next::Answer(None) => break,
            Next::Stop => close(1001, "the server is stopping"),
            Next::Quiet if !known.load(Ordering::SeqCst) => close(4408, "Connection initialisation timeout"),
            Next::Quiet => Message::Ping(Vec::new().into()),
        };
        waited = PING;
        let is_last = matches!(message, Message::Close(_));
        if sink.send(message).await.is_err() || is_last {
            break;
        }
    }
    let _ = sink.close(None).await;
}

enum Next {
    Answer(Option<WsMessage>),
    Quiet,
    Stop,
}

fn close(code: u16, reason: &str) -> Message {
    Message::Close(Some(CloseFrame { code: code.into(), reason: reason.to_owned().into() }))
}

/// Carries out what comes over one connection, within the same bounds as what comes by POST.
#[derive(Clone)]
struct Guarded {
    api: Arc<Api>,
    open: Arc<AtomicUsize>,
}

type Answers = Pin<Box<dyn Stream<Item = Response> + Send>>;

impl Executor for Guarded {
    async fn execute(&self, _: Request) -> Response {
        // The protocol has no operation that is carried out this way.
        graphql::response_of(ApiError::new(Code::BadRequest, "subscribe to the operation"))
    }

    fn execute_stream(&self, request: Request, session_data: Option<Arc<Data>>) -> Answers {
        let refuse = |error| -> Answers { Box::pin(futures_lite::stream::once(graphql::response_of(error))) };
        let caller = session_data.as_deref().and_then(|data| data.get(&TypeId::of::<Caller>()));
        let Some(caller) = caller.and_then(|caller| caller.downcast_ref::<Caller>()) else {
            return refuse(ApiError::new(Code::Unauthenticated, "give an API key"));
        };
        let place = Operation(self.open.clone());
        if self.open.fetch_add(1, Ordering::AcqRel) >= OPERATIONS_MAX {
            return refuse(ApiError::new(Code::RateLimited, "too many operations at once on one connection"));
        }
        let (api, caller) = (self.api.clone(), caller.clone());
        let begun = async move {
            // The connection may be older than what was done to the key since (AU7).
            match again(&api.app, caller).await {
                Ok(caller) => graphql::stream(&api.schema, &api.app, caller, request),
                Err(error) => refuse(error),
            }
        };
        Box::pin(futures_lite::stream::once_future(begun).flatten().map(move |answer| {
            let _held = &place;
            answer
        }))
    }
}

/// Gives its place back when it is dropped.
struct Operation(Arc<AtomicUsize>);

impl Drop for Operation {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Runs a connection in a task of its own, once hyper has given it away.
pub fn begin(
    api: Arc<Api>,
    on_upgrade: hyper::upgrade::OnUpgrade,
    handshake: Handshake,
    client: Client,
    head: &HeaderMap,
) {
    let fields = forwarded(head);
    let forwarded = (fields.forwarded_for.map(str::to_owned), fields.forwarded_proto.map(str::to_owned));
    task::spawn(async move {
        match on_upgrade.await {
            Ok(upgraded) => speak(api, upgraded, handshake, client, forwarded).await,
            Err(error) => tracing::debug!(%error, "a WebSocket was not begun"),
        }
    })
    .detach();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_origins_are_strangers() {
        let own = |origin: &str, host: &str| {
            is_own(&HeaderValue::from_str(origin).unwrap(), Some(&HeaderValue::from_str(host).unwrap()))
        };
        assert!(own("https://mail.example.com:8443", "Mail.Example.com:8443"));
        assert!(!own("https://evil.example", "mail.example.com"));
        assert!(!own("null", "mail.example.com"));
        assert!(!is_own(&HeaderValue::from_static("https://x"), None));
    }

    #[test]
    fn an_upgrade_is_asked_for_by_both_fields() {
        let head = |connection: &'static str, upgrade: &'static str| {
            let mut head = HeaderMap::new();
            head.insert(CONNECTION, HeaderValue::from_static(connection));
            head.insert(UPGRADE, HeaderValue::from_static(upgrade));
            head
        };
        assert!(is_wanted(&head("keep-alive, Upgrade", "WebSocket")));
        assert!(!is_wanted(&head("keep-alive", "websocket")) && !is_wanted(&head("upgrade", "h2c")));
        assert!(!is_wanted(&HeaderMap::new()));
    }
}
