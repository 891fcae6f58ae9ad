//! Lines on their way to their files. Noting never waits: a report is worth less than what it is about.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_channel::{Receiver, Sender};
use protocol_smtp::tlsrpt::Day;

use super::files;
use crate::task;

/// Lines on their way to their file; what comes when there are so many is lost rather than waited for.
pub(crate) const WAITING_MAX: usize = 4_096;

/// Where things are noted. Copies share it.
#[derive(Clone)]
pub struct Notes {
    lines: Sender<Entry>,
    full: Arc<AtomicBool>,
}

enum Entry {
    Line(Day, String),
    /// Everything before it is to be written, and its sender dropped.
    Flush(Sender<()>),
}

impl Notes {
    /// Notes into a directory, which is made when absent; without one nothing is noted.
    pub fn open(dir: Option<&Path>) -> Notes {
        let (lines, received) = async_channel::bounded(WAITING_MAX);
        if let Some(dir) = dir {
            task::spawn(write(received, dir.to_owned())).detach();
        }
        Notes { lines, full: Arc::default() }
    }

    /// Notes a line, its end included.
    pub fn note(&self, day: Day, line: String) {
        let is_full = self.lines.try_send(Entry::Line(day, line)).is_err_and(|e| e.is_full());
        if is_full && !self.full.swap(true, Ordering::Relaxed) {
            tracing::warn!("things happen faster than they can be noted for reports");
        }
    }

    /// Waits until everything that was noted is written.
    pub async fn flush(&self) {
        let (done, written) = async_channel::bounded::<()>(1);
        if self.lines.send(Entry::Flush(done)).await.is_ok() {
            let _ = written.recv().await;
        }
    }
}

/// Writes lines to the files of their days, as many at once as there are. A fault is said once, until writing
/// succeeds again.
async fn write(received: Receiver<Entry>, dir: PathBuf) {
    let mut told = false;
    while let Ok(first) = received.recv().await {
        let mut days: BTreeMap<Day, String> = BTreeMap::new();
        let mut waiting = Vec::new();
        let mut next = Some(first);
        while let Some(entry) = next {
            match entry {
                Entry::Line(day, line) => days.entry(day).or_default().push_str(&line),
                Entry::Flush(done) => waiting.push(done),
            }
            next = received.try_recv().ok();
        }
        let to = dir.clone();
        let written = blocking::unblock(move || {
            days.into_iter().try_for_each(|(day, lines)| files::append(&files::day_file(&to, day), &lines))
        });
        match written.await {
            Ok(()) => told = false,
            Err(_) if told => {}
            Err(error) => {
                told = true;
                tracing::warn!(dir = %dir.display(), %error, "nothing can be noted for reports");
            }
        }
    }
}
