//! A database engine that stands still while it is opened is no reason to have no mail server.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Inbox, eventually, have};

/// Whether a thread of the process waits for somebody to write into a pipe. Where the system does not tell,
/// a few seconds must do.
fn waits_for_a_writer(pid: u32, since: Instant) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let places: Vec<String> =
        tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("wchan")).ok()).collect();
    let told = places.iter().any(|place| !place.is_empty() && place != "0");
    let waits = places.iter().any(|place| place == "wait_for_partner");
    waits || (!told && since.elapsed() > Duration::from_secs(5))
}

#[test]
fn an_engine_that_stands_still_while_opening_is_started_again() {
    if !have(&["mkfifo"]) {
        return;
    }
    let mut inbox = Inbox::prepared();
    // The engine opens its manifest and waits for ever: a named pipe that nobody writes to stands in its place.
    let directory = inbox.data_dir().join("db/manifest");
    let manifest = fs::read_dir(&directory).expect("a manifest").flatten().next().expect("a manifest").path();
    let aside = inbox.dir.0.join("aside");
    fs::rename(&manifest, &aside).expect("it can be moved");
    assert!(Command::new("mkfifo").arg(&manifest).status().expect("mkfifo runs").success());
    let begun = Instant::now();
    inbox.spawn(&["serve"]);
    let pid = inbox.pid();
    eventually(Duration::from_secs(20), "the engine stands still", || waits_for_a_writer(pid, begun));
    // Whoever opens it now finds it whole; the process that runs is stuck with the pipe.
    fs::remove_file(&manifest).expect("the pipe can be removed");
    fs::rename(&aside, &manifest).expect("it can be moved back");
    inbox.wait_ready();
    assert_eq!(inbox.pid(), pid, "in its own place");
    assert!(inbox.log().contains("starting again"), "and says so");
    assert!(inbox.stop().success());
}
