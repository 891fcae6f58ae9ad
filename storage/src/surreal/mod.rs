//! The rows in SurrealDB: embedded in this process (`surrealkv://`, `mem://`) or on a server (`ws://`, `wss://`).

mod call;
mod dav;
mod jobs;
mod lately;
mod read;
mod rows;
mod schema;
mod slots;
mod value;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use protocol_core::Timestamp;
use surrealdb::Surreal;
use surrealdb::engine::local::Db;
use surrealdb::opt::auth::Root;
use surrealdb_cnf::ConfigMap;
use surrealdb_core::kvs::Datastore;

use crate::engine::Engine;
use crate::types::MailboxId;
use call::{Calls, Connection};

/// The [`Store`](crate::Store) in SurrealDB.
pub type SurrealStore = Engine<SurrealRows>;

/// The tables of a [`SurrealStore`].
#[derive(Clone)]
pub struct SurrealRows {
    calls: Arc<Calls>,
    /// A mailbox that was found lately: it is read in place of one that does not exist, so that a look-up of
    /// an unknown address takes as long as one of a known address.
    decoy: Arc<Mutex<Option<MailboxId>>>,
    lately: lately::Lately,
    /// The clock of an embedded database is this process's; a server has its own.
    clock: Option<Clock>,
}

/// Wall-clock time as it was when the database was opened, and counted by the monotonic clock since: a lease does
/// not end because somebody sets the clock.
#[derive(Clone, Copy, Debug)]
struct Clock(Timestamp, Instant);

impl Clock {
    #[allow(clippy::disallowed_methods)] // the one anchor of the leases' clock
    fn start() -> Clock {
        Clock(crate::facade::now(), Instant::now())
    }

    fn now(self) -> Timestamp {
        self.0 + self.1.elapsed()
    }
}

/// Memory for blocks that were read from the embedded engine's files.
const BLOCK_CACHE_BYTES: u64 = 64 << 20;
/// Memory for what was written and is not in such a file yet. No transaction can be larger.
const MEMTABLE_BYTES: u64 = 64 << 20;
/// How long connecting to a server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause after another instance was first to make the namespace.
const USE_AGAIN: Duration = Duration::from_millis(20);

/// Where the database is.
#[derive(Clone, Debug)]
pub struct SurrealOptions {
    /// `surrealkv://PATH`, `mem://`, `ws://HOST:PORT` or `wss://HOST:PORT`.
    pub url: String,
    /// Namespace.
    pub namespace: String,
    /// Database in the namespace.
    pub database: String,
    /// User of the server; of no meaning for an embedded database.
    pub username: Option<String>,
    /// That user's password.
    pub password: Option<String>,
}

impl SurrealOptions {
    /// A database of its own in memory, for tests.
    pub fn memory() -> Self {
        SurrealOptions::at("mem://")
    }

    /// The database at a URL, in the default namespace.
    pub fn at(url: impl Into<String>) -> Self {
        SurrealOptions {
            url: url.into(),
            namespace: "inbox".into(),
            database: "inbox".into(),
            username: None,
            password: None,
        }
    }
}

/// Why a database was not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The URL is none of those that are understood.
    Url(String),
    /// The directory cannot be made or written to: path and reason.
    NotWritable(PathBuf, String),
    /// Another process has the directory open.
    InUse(PathBuf),
    /// The files are not what was written: path and reason.
    Damaged(PathBuf, String),
    /// A newer version of the program wrote the schema: its version and ours.
    Newer(u64, u64),
    /// The server does not answer, or refuses: URL and reason.
    Connect(String, String),
    /// The engine does not come to an end with opening. A new process usually does.
    Standstill,
    /// Anything else the database said.
    Failed(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Url(url) => {
                write!(
                    f,
                    "{url:?} is no database URL: surrealkv://PATH, mem://, ws://HOST:PORT or wss://HOST:PORT"
                )
            }
            OpenError::Standstill => f.write_str(
                "the database engine has come to a standstill while opening; starting again usually helps",
            ),
            OpenError::NotWritable(path, why) => {
                write!(f, "the database directory {} cannot be written: {why}", path.display())
            }
            OpenError::InUse(path) => {
                write!(f, "the database in {} is in use by another process", path.display())
            }
            OpenError::Damaged(path, why) => {
                write!(f, "the database in {} is damaged: {why}", path.display())
            }
            OpenError::Newer(stored, ours) => write!(
                f,
                "the database was written by a newer version of this program (schema {stored}, this one knows {ours})"
            ),
            OpenError::Connect(url, why) => write!(f, "cannot connect to the database at {url}: {why}"),
            OpenError::Failed(why) => write!(f, "the database cannot be opened: {why}"),
        }
    }
}

impl std::error::Error for OpenError {}

fn failed(error: impl fmt::Display) -> OpenError {
    OpenError::Failed(error.to_string())
}

enum Place {
    Memory,
    Directory(PathBuf),
    Server,
}

fn place(url: &str) -> Result<Place, OpenError> {
    match url.split_once("://") {
        Some(("mem" | "memory", "")) => Ok(Place::Memory),
        Some(("surrealkv", path)) if !path.is_empty() && !path.contains('?') => {
            Ok(Place::Directory(path.into()))
        }
        Some(("ws" | "wss", host)) if !host.is_empty() => Ok(Place::Server),
        _ => Err(OpenError::Url(url.to_owned())),
    }
}

impl SurrealStore {
    /// Opens the database and brings its schema up to date.
    pub async fn open(options: SurrealOptions) -> Result<SurrealStore, OpenError> {
        let place = place(&options.url)?;
        let runtime = call::runtime().map_err(failed)?;
        let connecting = runtime.spawn(connect(place, options));
        let connection = match call::within(call::OPEN_LIMIT, connecting).await {
            Some(Ok(connection)) => connection,
            Some(Err(died)) => Err(failed(died)),
            None => Err(OpenError::Standstill),
        };
        let connection = match connection {
            Ok(connection) => connection,
            Err(why) => {
                runtime.shutdown_background();
                return Err(why);
            }
        };
        let clock = matches!(connection, Connection::Embedded(..)).then(Clock::start);
        let calls = Calls::new(runtime, connection);
        let migrated = call::within(call::OPEN_LIMIT, schema::migrate(&calls)).await;
        match migrated.unwrap_or_else(|| Err(standstill())) {
            Ok(Ok(())) => Ok(Engine::over(SurrealRows {
                calls: Arc::new(calls),
                decoy: Arc::default(),
                lately: lately::Lately::new(clock.is_some()),
                clock,
            })),
            Ok(Err(stored)) => {
                calls.close().await;
                Err(OpenError::Newer(stored, schema::VERSION))
            }
            Err(why) if why.is_standstill() => Err(OpenError::Standstill),
            Err(why) => {
                calls.close().await;
                Err(failed(why))
            }
        }
    }
}

fn standstill() -> crate::Error {
    crate::Error::Unavailable(crate::error::STANDSTILL.into())
}

impl SurrealStore {
    /// The runtime on which the database runs, for other work of storage that needs one. It ends with the database.
    pub(crate) fn runtime(&self) -> tokio::runtime::Handle {
        self.rows().calls.handle()
    }

    /// Writes another schema version, as a later program would. For tests of what an older one does then.
    #[doc(hidden)]
    pub async fn set_schema_version(&self, version: u64) -> crate::Result<()> {
        let mut bound = surrealdb_types::Variables::new();
        bound.insert("version", value::int(version));
        let text = "UPSERT meta:schema SET version = $version;\n";
        self.rows().calls.transaction(text, bound).await.map_err(Into::into)
    }
}

impl SurrealStore {
    /// Makes the due index what version 3 of the schema had, which knew no organisations there. For a test of what
    /// becomes of it.
    #[doc(hidden)]
    pub async fn due_as_in_version_3(&self) -> crate::Result<()> {
        let text = "FOR $row IN (SELECT id, leased FROM due) {
            LET $key = record::id($row.id);
            CREATE type::record('due', [$key[1], $key[2]]) SET leased = $row.leased RETURN NONE;
            DELETE $row.id RETURN NONE;
        };\n";
        let changed = self.rows().calls.transaction(text, surrealdb_types::Variables::new()).await;
        changed.map_err(crate::Error::from)?;
        self.set_schema_version(3).await
    }

    /// Writes jobs as version 7 of the schema had them, with a field for each of their values. For a test of what becomes
    /// of them.
    #[doc(hidden)]
    pub async fn jobs_as_in_version_7(&self) -> crate::Result<()> {
        self.rows().calls.transaction(jobs::AS_IN_VERSION_7, surrealdb_types::Variables::new()).await?;
        self.set_schema_version(7).await
    }
}

async fn connect(place: Place, options: SurrealOptions) -> Result<Connection, OpenError> {
    let SurrealOptions { namespace, database, .. } = &options;
    match place {
        Place::Server => server(options).await,
        Place::Memory => {
            let datastore = Datastore::builder().build_with_path("memory").await.map_err(failed)?;
            embedded(datastore, namespace, database).await.map_err(failed)
        }
        Place::Directory(path) => {
            check_writable(&path)?;
            let damaged = |why: String| damaged_or_in_use(&path, why);
            let url = format!("surrealkv://{}", path.display());
            let datastore = Datastore::builder().with_config(engine_settings()).build_with_path(&url);
            let datastore = datastore.await.map_err(|error| damaged(error.to_string()))?;
            embedded(datastore, namespace, database).await.map_err(damaged)
        }
    }
}

/// The engine's own defaults take half of the machine's memory for a cache and a gigabyte and more for what
/// is being written. Values stay in the tables: their blocks carry checksums, a separate value log's do not.
fn engine_settings() -> ConfigMap {
    ConfigMap::empty()
        .with_key_value("datastore_sync", "every")
        .with_key_value("surrealkv_block_cache_capacity", BLOCK_CACHE_BYTES.to_string())
        .with_key_value("surrealkv_max_memtable_size", MEMTABLE_BYTES.to_string())
        .with_key_value("surrealkv_enable_vlog", "false")
}

async fn embedded(datastore: Arc<Datastore>, namespace: &str, database: &str) -> Result<Connection, String> {
    datastore.check_version().await.map_err(|error| error.to_string())?;
    datastore.bootstrap().await.map_err(|error| error.to_string())?;
    let db = Surreal::<Db>::unstable_from_datastore(Arc::clone(&datastore), None).await;
    let db = db.map_err(|error| error.message().to_owned())?;
    let used = db.use_ns(namespace).use_db(database).await;
    used.map_err(|error| error.message().to_owned())?;
    Ok(Connection::Embedded(db, datastore))
}

async fn server(options: SurrealOptions) -> Result<Connection, OpenError> {
    let url = options.url.clone();
    let connecting = async {
        let db = surrealdb::engine::any::connect(options.url.as_str()).await?;
        if let (Some(username), Some(password)) = (options.username, options.password) {
            db.signin(Root { username, password }).await?;
        }
        // The first use makes namespace and database, and of several instances that start at once all but one
        // meet with a conflict. The time limit around this ends it.
        loop {
            match db.use_ns(&options.namespace).use_db(&options.database).await {
                Err(error) if error.message().contains("Transaction conflict") => {
                    tokio::time::sleep(USE_AGAIN).await;
                }
                used => break used.map(|_| db),
            }
        }
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(db)) => Ok(Connection::Remote(db)),
        Ok(Err(error)) => {
            let error: surrealdb::Error = error;
            Err(OpenError::Connect(url, error.message().to_owned()))
        }
        Err(_) => Err(OpenError::Connect(url, format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
    }
}

fn check_writable(path: &Path) -> Result<(), OpenError> {
    let refused = |error: std::io::Error| OpenError::NotWritable(path.to_owned(), error.to_string());
    std::fs::create_dir_all(path).map_err(refused)?;
    let probe = path.join(".writable");
    std::fs::write(&probe, b"").map_err(refused)?;
    std::fs::remove_file(&probe).map_err(refused)
}

fn damaged_or_in_use(path: &Path, why: String) -> OpenError {
    // The engine gives its reasons as text only.
    if why.to_ascii_lowercase().contains("lock") {
        OpenError::InUse(path.to_owned())
    } else {
        OpenError::Damaged(path.to_owned(), why)
    }
}
