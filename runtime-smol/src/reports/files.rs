//! A directory of reports: for each day (UTC) `DAY.jsonl` with a line for each thing noted, and beside it `DAY.sent`
//! with a line for each report that went out.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use protocol_smtp::tlsrpt::Day;
use serde::{Deserialize, Serialize};

/// Octets of a line that is read; no line that was written is longer.
const LINE_MAX: u64 = 256 * 1024;
/// Octets of one day's file. Whoever is refused is noted too, so that without a limit strangers could fill the disk.
const DAY_MAX: u64 = 256 * 1024 * 1024;

/// The file of what was noted on a day.
pub(crate) fn day_file(dir: &Path, day: Day) -> PathBuf {
    dir.join(format!("{day}.jsonl"))
}

/// The file of what was sent for a day.
pub(crate) fn marks(dir: &Path, day: Day) -> PathBuf {
    dir.join(format!("{day}.sent"))
}

/// Adds lines to a file with mode 0600, in a directory that is made with mode 0700. A line that a crash cut off
/// is ended first.
pub(crate) fn append(path: &Path, lines: &str) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let mut last = *b"\n";
    let length = file.metadata()?.len();
    if length.saturating_add(lines.len() as u64) > DAY_MAX {
        return Err(io::Error::other("the file of this day is full"));
    }
    if length > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let lines = if last == *b"\n" { lines.to_owned() } else { format!("\n{lines}") };
    file.write_all(lines.as_bytes())
}

/// The days on which something was noted, oldest first.
pub(crate) fn days(dir: &Path) -> io::Result<Vec<Day>> {
    let mut days: Vec<Day> =
        names(dir)?.filter_map(|(_, day, kind)| (kind == "jsonl").then_some(day)).collect();
    days.sort_unstable();
    Ok(days)
}

/// Removes files of days before `first`; how many.
pub(crate) fn remove_before(dir: &Path, first: Day) -> io::Result<usize> {
    let mut removed = 0;
    for (path, ..) in names(dir)?.filter(|(_, day, _)| *day < first) {
        fs::remove_file(path)?;
        removed += 1;
    }
    Ok(removed)
}

fn names(dir: &Path) -> io::Result<impl Iterator<Item = (PathBuf, Day, &'static str)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => Some(entries),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(entries.into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name();
        let (day, kind) = name.to_str()?.split_once('.')?;
        let kind = ["jsonl", "sent"].into_iter().find(|known| *known == kind)?;
        Some((entry.path(), Day::parse(day)?, kind))
    }))
}

/// Each line of a file; none when it is not there.
pub(crate) fn lines(path: &Path, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        each(&line);
    }
}

/// A line of the marks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Whose report; none: the whole day is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Where it went; none: this domain is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What became of it.
    pub result: String,
}

/// What was sent for a day.
#[derive(Default)]
pub(crate) struct Marks {
    all: HashSet<(Option<String>, Option<String>)>,
    /// Reports that went out.
    pub sent: usize,
}

impl Marks {
    /// Reads a day's marks. Blocks.
    pub(crate) fn read(dir: &Path, day: Day) -> io::Result<Marks> {
        let mut found = Marks::default();
        lines(&marks(dir, day), |line| {
            if let Ok(mark) = serde_json::from_slice::<Mark>(line) {
                found.sent += usize::from(mark.to.is_some());
                found.all.insert((mark.domain, mark.to));
            }
        })?;
        Ok(found)
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_done(&self) -> bool {
        self.all.contains(&(None, None))
    }

    /// Whether nothing is left to do for a domain, or, with `to`, for one of its destinations.
    pub(crate) fn has(&self, domain: &str, to: Option<&str>) -> bool {
        self.all.contains(&(Some(domain.to_owned()), to.map(str::to_owned)))
    }
}

/// Adds a mark, durably. Blocks.
pub(crate) fn mark(dir: &Path, day: Day, mark: &Mark) -> io::Result<()> {
    let path = marks(dir, day);
    let line = serde_json::to_string(mark).map_err(io::Error::other)?;
    append(&path, &format!("{line}\n"))?;
    fs::File::open(&path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_days_file_has_an_end() {
        let dir = std::env::temp_dir().join(format!("inbox-reports-{}", std::process::id()));
        let path = day_file(&dir, Day(20_000));
        append(&path, "one\n").unwrap();
        // Nearly full, without writing so much: the hole takes no room on the disk.
        OpenOptions::new().write(true).open(&path).unwrap().set_len(DAY_MAX - 5).unwrap();
        // A line that a crash cut off is ended first, which takes one octet more.
        append(&path, "1234").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), DAY_MAX);
        assert!(append(&path, "x").is_err());
        assert_eq!(fs::metadata(&path).unwrap().len(), DAY_MAX);
        fs::remove_dir_all(&dir).unwrap();
    }
}
