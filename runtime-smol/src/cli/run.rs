//! Carries out a command line; the exit status says how it went.

use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use async_io::Async;
use serde_json::Value;
use zeroize::Zeroize;

use super::parse::{Command, Invocation, Usage, parse};
use super::{help, print, quickstart};
use crate::admin::client::Client;
use crate::admin::{self, Context, Failure, Password, Request};
use crate::config::{self, Config, Loaded, Profile, Secret, Sources};
use crate::{again, serve, task};

/// EX_CONFIG.
const WRONG_CONFIGURATION: u8 = 78;
const WRONG_USAGE: u8 = 2;
/// Octets of a password.
const PASSWORD_MAX: u64 = 4096;

/// Runs the program with these arguments (without its name).
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let invocation = match parse(args) {
        Ok(invocation) => invocation,
        Err(Usage(why)) => {
            eprintln!("inbox: {why}\nTry `inbox --help`.");
            return WRONG_USAGE.into();
        }
    };
    match &invocation.command {
        Command::Help => return said(help::HELP),
        Command::Version => return said(concat!("inbox ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Absent(name) => {
            eprintln!("inbox: this version does not have `inbox {name}`");
            return ExitCode::FAILURE;
        }
        _ => {}
    }
    let profile = match invocation.command {
        Command::Quickstart { deliver } => Profile::Quickstart { deliver },
        _ => Profile::Serve,
    };
    let sources = Sources {
        data_dir: invocation.data_dir.clone(),
        env_file: invocation.env_file.clone(),
        profile,
        environment: std::env::vars_os().collect(),
    };
    match config::load(&sources) {
        Ok(loaded) => run(invocation, loaded),
        Err(faults) => {
            eprint!("{faults}");
            WRONG_CONFIGURATION.into()
        }
    }
}

fn run(invocation: Invocation, loaded: Loaded) -> ExitCode {
    let json = invocation.json;
    let request = match invocation.command {
        Command::Serve => return serve::run(loaded, None),
        Command::Quickstart { .. } => return serve::run(loaded, Some(quickstart::Quickstart { json })),
        Command::Config => return show_config(&loaded, json),
        Command::MailboxCreate { address, name, quota } => match read_password() {
            Ok(password) => Work::Ask(Request::MailboxCreate { address, password, name, quota }),
            Err(failure) => return refused(&failure),
        },
        Command::MailboxPasswd { address } => match read_password() {
            Ok(password) => Work::Ask(Request::MailboxPasswd { address, password }),
            Err(failure) => return refused(&failure),
        },
        Command::Admin(request) => Work::Ask(request),
        Command::Import { path, mailbox, folder } => Work::Import { path, mailbox, folder },
        Command::Export { path, mailbox } => Work::Export { path, mailbox },
        Command::Help | Command::Version | Command::Absent(_) => return ExitCode::SUCCESS,
    };
    let is_check = matches!(request, Work::Ask(Request::Check { .. }));
    match task::block_on(administer(loaded.config, request)) {
        Ok(answer) => {
            print::notes(&answer).for_each(|note| eprintln!("inbox: {note}"));
            let text = if json { format!("{answer}\n") } else { print::text(&answer) };
            let shown = said(&text);
            let unclean = is_check && answer.get("clean") == Some(&Value::Bool(false));
            if unclean { ExitCode::FAILURE } else { shown }
        }
        Err(failure) => refused(&failure),
    }
}

/// What goes through the administration socket.
enum Work {
    Ask(Request),
    Import { path: std::path::PathBuf, mailbox: String, folder: Option<String> },
    Export { path: std::path::PathBuf, mailbox: String },
}

impl Work {
    /// What was read from standard input for it.
    fn input(&self) -> Option<Vec<u8>> {
        match self {
            Work::Ask(
                Request::MailboxCreate { password, .. } | Request::MailboxPasswd { address: _, password },
            ) => Some(format!("{}\n", password.0.expose()).into_bytes()),
            _ => None,
        }
    }

    async fn through(self, client: Client) -> Result<Value, Failure> {
        match self {
            Work::Ask(request) => client.ask(request).await,
            Work::Import { path, mailbox, folder } => client.import(&path, &mailbox, folder.as_deref()).await,
            Work::Export { path, mailbox } => client.export(&path, &mailbox).await,
        }
    }
}

/// By the server that runs; without one, on the database itself.
async fn administer(config: Config, work: Work) -> Result<Value, Failure> {
    if let Work::Import { path, .. } = &work {
        // Before a database is opened or made for it.
        std::fs::File::open(path).map_err(|e| Failure(format!("{}: {e}", path.display())))?;
    }
    if let Some(client) = Client::connect(&config.admin_socket())? {
        return work.through(client).await;
    }
    let storage = match serve::open_storage(&config).await {
        Ok(storage) => storage,
        Err(error) => {
            if error.is_standstill() {
                let _ = again::start(&error.to_string(), work.input().as_deref());
            }
            return Err(Failure(error.to_string()));
        }
    };
    let (ours, theirs) = UnixStream::pair()?;
    let context = Context { storage: storage.clone(), config: Arc::new(config), wake_queue: Arc::new(|| {}) };
    let theirs = Async::new(theirs)?;
    let answering = task::spawn(async move { admin::server::answer(&context, theirs).await });
    let answer = work.through(Client::over(ours)?).await;
    // The database is closed only when nothing is under way any more.
    let _ = answering.await;
    storage.close().await;
    answer
}

fn show_config(loaded: &Loaded, json: bool) -> ExitCode {
    for warning in &loaded.warnings {
        eprintln!("inbox: warning: {warning}");
    }
    if json { said(&format!("{}\n", config::json(loaded))) } else { said(&config::text(loaded)) }
}

/// One line of standard input without its line end.
fn read_password() -> Result<Password, Failure> {
    let mut line = Vec::new();
    let read = io::Read::take(io::stdin().lock(), PASSWORD_MAX + 1).read_until(b'\n', &mut line);
    read.map_err(|e| Failure(format!("the password cannot be read: {e}")))?;
    let end = line.len() - usize::from(line.ends_with(b"\n"));
    let end = end - usize::from(line[..end].ends_with(b"\r"));
    let text = std::str::from_utf8(&line[..end]).map(str::to_owned);
    let too_long = line.len() as u64 > PASSWORD_MAX;
    line.zeroize();
    match text {
        _ if too_long => Err(Failure(format!("a password has at most {PASSWORD_MAX} octets"))),
        Ok(text) if !text.is_empty() => Ok(Password(Secret::new(text))),
        Ok(_) => Err(Failure("no password came on standard input".into())),
        Err(_) => Err(Failure("the password is not UTF-8".into())),
    }
}

fn said(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // `inbox config | head` is no failure.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn refused(failure: &Failure) -> ExitCode {
    eprintln!("inbox: {failure}");
    ExitCode::FAILURE
}
