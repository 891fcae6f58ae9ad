//! A database server for tests: the embedded engine behind a WebSocket, as the SDK's `ws://` client speaks to it.
//!
//! It is the engine that is compiled anyway, with the same features, so that several processes can be tried on one
//! database without a second build of it. It is no server for production: no TLS, no limits, no other format than
//! the SDK's own.
//!
//! `dbserver ADDRESS [mem://|surrealkv://PATH]` prints `listening on ADDRESS` when it is ready, and ends when its
//! standard input does, so that it never outlives the test. With `DATABASE_USERNAME` and `DATABASE_PASSWORD` in its
//! environment nobody else may read or write.
#![recursion_limit = "512"] // the futures of the engine are deep
#![allow(clippy::disallowed_methods)] // a program of its own, which reads its environment

use std::collections::HashMap as StdMap;
use std::error::Error;
use std::io::Read;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use async_channel::{Receiver, Sender};
use futures_lite::{StreamExt, future};
use futures_util::SinkExt;
use surrealdb_cnf::ConfigMap;
use surrealdb_core::dbs::Session;
use surrealdb_core::kvs::Datastore;
use surrealdb_core::rpc::RpcProtocol;
use surrealdb_rpc::{DbResponse, DbResult, Request};
use surrealdb_types::{HashMap, Notification, SurrealValue, Value, decode, encode};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::RwLock;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request as Upgrade, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use uuid::Uuid;

/// The engine's query interpreter recurses; its frames are large in a build with little optimisation.
const WORKER_STACK_BYTES: usize = 10 << 20;
/// Octets of one message, either way.
const MESSAGE_MAX: usize = 256 << 20;
/// The one format that is spoken.
const FORMAT: &str = "flatbuffers";

type Answer<T> = Result<T, Box<dyn Error + Send + Sync>>;
/// Who hears of a live query: its connection, and the session that asked.
type Listeners = Arc<Mutex<StdMap<Uuid, (Sender<Message>, Uuid)>>>;

fn main() -> Answer<()> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:0".into());
    let path = args.next().unwrap_or_else(|| "mem://".into());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(WORKER_STACK_BYTES)
        .enable_all()
        .build()?;
    runtime.block_on(async { tokio::spawn(serve(address, path)).await? })
}

async fn serve(address: String, path: String) -> Answer<()> {
    let (notify, notices) = async_channel::unbounded();
    let datastore = open(&path, notify).await?;
    let listeners = Listeners::default();
    tokio::spawn(pass_on(notices, Arc::clone(&listeners)));
    let listener = TcpListener::bind(&address).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let (datastore, listeners) = (Arc::clone(&datastore), Arc::clone(&listeners));
        tokio::spawn(async move {
            if let Err(why) = connection(stream, datastore, listeners).await {
                eprintln!("connection: {why}");
            }
        });
    }
}

async fn open(path: &str, notify: Sender<Notification>) -> Answer<Arc<Datastore>> {
    let credentials = std::env::var("DATABASE_USERNAME").ok().zip(std::env::var("DATABASE_PASSWORD").ok());
    // As durable as the embedded database: what is committed is on the disk.
    let config = ConfigMap::empty().with_key_value("datastore_sync", "every");
    let path = if path == "mem://" { "memory" } else { path };
    let builder = Datastore::builder().with_config(config).with_notify(notify);
    let datastore = builder.with_auth(credentials.is_some()).build_with_path(path).await?;
    datastore.check_version().await?;
    datastore.bootstrap().await?;
    if let Some((username, password)) = credentials {
        datastore.initialise_credentials(&username, &password).await?;
    }
    Ok(datastore)
}

/// Hands notices of live queries to the connections that asked.
async fn pass_on(notices: Receiver<Notification>, listeners: Listeners) {
    while let Ok(notice) = notices.recv().await {
        let query = notice.id.into_inner();
        let listener = listeners.lock().unwrap_or_else(PoisonError::into_inner).get(&query).cloned();
        if let Some((connection, session)) = listener
            && let Ok(message) = written(DbResponse::success(None, Some(session), DbResult::Live(notice)))
        {
            let _ = connection.send(message).await;
        }
    }
}

/// One client's connection: requests are carried out side by side, as a transaction of one must not wait for another.
struct Connection {
    datastore: Arc<Datastore>,
    sessions: HashMap<Uuid, Arc<RwLock<Session>>>,
    answers: Sender<Message>,
    listeners: Listeners,
}

#[allow(clippy::result_large_err)] // the handshake's own type
fn agree(request: &Upgrade, mut response: Response) -> Result<Response, ErrorResponse> {
    if request.headers().get(SEC_WEBSOCKET_PROTOCOL).is_none_or(|asked| asked != FORMAT) {
        return Err(Response::default().map(|()| Some(format!("only {FORMAT} is spoken here"))));
    }
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(FORMAT));
    Ok(response)
}

async fn connection(stream: TcpStream, datastore: Arc<Datastore>, listeners: Listeners) -> Answer<()> {
    stream.set_nodelay(true)?;
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_MAX)).max_frame_size(Some(MESSAGE_MAX));
    let mut socket = tokio_tungstenite::accept_hdr_async_with_config(stream, agree, Some(config)).await?;
    let (answers, outgoing) = async_channel::unbounded();
    let own = Uuid::from_u128(0);
    let connection = Connection { datastore, sessions: HashMap::new(), answers, listeners };
    let session = Session { id: Some(own), ..Session::default().with_rt(true) };
    connection.sessions.insert(own, Arc::new(RwLock::new(session)));
    let connection = Arc::new(connection);
    let outcome = loop {
        let received = async { Ok(socket.next().await) };
        let answered = async { Err(outgoing.recv().await) };
        match future::or(pin!(answered), pin!(received)).await {
            Ok(Some(Ok(Message::Binary(request)))) => {
                let connection = Arc::clone(&connection);
                tokio::spawn(async move { connection.carry_out(&request, own).await });
            }
            Ok(Some(Ok(Message::Close(_))) | None) => break Ok(()),
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => break Err(error.into()),
            Err(Ok(answer)) => socket.send(answer).await?,
            Err(Err(closed)) => break Err(closed.into()),
        }
    };
    connection.cleanup_all_lqs().await;
    outcome
}

fn written(response: DbResponse) -> Answer<Message> {
    Ok(Message::Binary(encode(&response.into_value())?.into()))
}

impl Connection {
    async fn carry_out(&self, request: &[u8], own: Uuid) {
        let request = match decode(request) {
            Ok(Value::Object(fields)) => Request::from_object(fields),
            _ => return,
        };
        let response = match request {
            Ok(Request { id, session_id, txn, method, params, .. }) => {
                let (session, txn) = (session_id.map(|s| s.into_inner()), txn.map(|t| t.into_inner()));
                let result = self.execute(txn, session.unwrap_or(own), session, method, params).await;
                DbResponse::new(id, session, result)
            }
            Err(why) => DbResponse::failure(None, None, why),
        };
        if let Ok(message) = written(response) {
            let _ = self.answers.send(message).await;
        }
    }

    /// Ends the live queries of one session, or of all.
    async fn end_live(&self, of: Option<&Uuid>) {
        let mut ended = Vec::new();
        let ours = |to: &Sender<Message>| to.same_channel(&self.answers);
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).retain(|query, (to, session)| {
            let goes = ours(to) && of.is_none_or(|of| of == session);
            if goes {
                ended.push(*query);
            }
            !goes
        });
        if !ended.is_empty()
            && let Err(error) = self.datastore.delete_queries(ended).await
        {
            eprintln!("live queries: {error}");
        }
    }
}

impl RpcProtocol for Connection {
    const LQ_SUPPORT: bool = true;

    fn kvs(&self) -> &Datastore {
        &self.datastore
    }

    fn kvs_arc(&self) -> Arc<Datastore> {
        Arc::clone(&self.datastore)
    }

    fn version_data(&self) -> DbResult {
        // What the client checks its own version against.
        DbResult::Other(Value::String("surrealdb-3.3.5".into()))
    }

    fn session_map(&self) -> &HashMap<Uuid, Arc<RwLock<Session>>> {
        &self.sessions
    }

    async fn handle_live(&self, query: &Uuid, session: Uuid, _: Option<String>, _: Option<String>) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.insert(*query, (self.answers.clone(), session));
    }

    async fn cleanup_lqs(&self, session: &Uuid) {
        self.end_live(Some(session)).await;
    }

    async fn cleanup_all_lqs(&self) {
        self.end_live(None).await;
    }
}
