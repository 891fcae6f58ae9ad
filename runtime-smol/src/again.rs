//! Starting the program anew in its own place: the same command line, environment and process ID.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_io::Timer;

/// Counts the starts; not one of the configuration's variables.
const STARTS: &str = "STARTED_AGAIN_INBOX";
/// Starts after which a fault is no accident.
const STARTS_MAX: u32 = 5;
/// A process that lived so long had no trouble starting: the count begins anew.
const SOUND_AFTER: Duration = Duration::from_secs(600);
static SOUND: AtomicBool = AtomicBool::new(false);

/// Forgets earlier starts once the server has run for ten minutes.
pub async fn forgive() {
    Timer::after(SOUND_AFTER).await;
    SOUND.store(true, Ordering::Relaxed);
}

/// Starts anew, for a fault that a new process usually does not have; `input` is what standard input gives it,
/// where that was read already. Returns only when it could not, or was tried too often.
#[allow(clippy::disallowed_methods)] // a count for this function alone, and no configuration
pub fn start(why: &str, input: Option<&[u8]>) -> io::Error {
    let earlier = std::env::var(STARTS).ok().and_then(|n| n.parse::<u32>().ok());
    let starts = earlier.filter(|_| !SOUND.load(Ordering::Relaxed)).unwrap_or(0) + 1;
    if starts > STARTS_MAX {
        return io::Error::other("started again too often");
    }
    tracing::warn!(starts, "{why}; starting again");
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).env(STARTS, starts.to_string());
    if let Some(input) = input {
        match pipe(input) {
            Ok(stdin) => command.stdin(stdin),
            Err(error) => return error,
        };
    }
    command.exec()
}

/// A pipe that holds `input`, which is far smaller than a pipe.
fn pipe(input: &[u8]) -> io::Result<Stdio> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(input)?;
    Ok(reader.into())
}
