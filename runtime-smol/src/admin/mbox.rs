//! mbox files (RFC 4155, with the reversible quoting called mboxrd).

use std::io::{self, BufRead, Write};

use protocol_core::Timestamp;
use protocol_core::time::{Civil, MONTHS};

use super::frame::Head;

/// What stands in an mbox file.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// A message with CRLF line ends.
    Message(Head, Vec<u8>),
    /// Nothing to import: no octets, or the note to itself that some programs keep first.
    Skipped,
    /// A message that cannot be taken, and why.
    Bad(String),
}

/// Reads the messages of an mbox file one after the other.
pub struct Reader<R> {
    inner: R,
    max: usize,
    /// The separator that was read behind the previous message.
    separator: Option<Vec<u8>>,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Reader<R> {
    /// Messages of more than `max` octets are [`Entry::Bad`].
    pub fn new(inner: R, max: usize) -> Reader<R> {
        Reader { inner, max, separator: None, line: Vec::new(), number: 0 }
    }

    /// The next entry; `None` at the end of the file.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let separator = match self.separator.take() {
            Some(line) => line,
            None => match self.first_separator()? {
                Some(line) => line,
                None => return Ok(None),
            },
        };
        let begins = self.number;
        let mut message = Vec::new();
        let mut fault = None;
        let mut blank = false;
        while self.next_line()? {
            if blank && self.line.starts_with(b"From ") {
                self.separator = Some(std::mem::take(&mut self.line));
                break;
            }
            blank = self.line.is_empty();
            let line = unquoted(&self.line);
            if self.line.iter().any(|b| matches!(b, b'\r' | 0)) {
                fault = fault.or(Some(format!("line {} holds a lone CR or a NUL", self.number)));
            }
            if message.len() + line.len() + 2 > self.max {
                fault = fault.or(Some(format!("it has more than {} octets", self.max)));
                message.clear();
            }
            if fault.is_none() {
                message.extend_from_slice(line);
                message.extend_from_slice(b"\r\n");
            }
        }
        if let Some(why) = fault {
            return Ok(Some(Entry::Bad(format!("the message that begins at line {begins}: {why}"))));
        }
        // The empty line in front of the next separator belongs to the separator.
        if blank && message.ends_with(b"\r\n") {
            message.truncate(message.len() - 2);
        }
        if message.is_empty() || is_internal(&message) {
            return Ok(Some(Entry::Skipped));
        }
        let head = Head { octets: message.len() as u64, ..head_of(&separator, &message) };
        Ok(Some(Entry::Message(head, message)))
    }

    fn first_separator(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if !self.next_line()? {
                return Ok(None);
            }
            if self.line.starts_with(b"From ") {
                return Ok(Some(std::mem::take(&mut self.line)));
            }
            if !self.line.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "this is no mbox file: it does not begin with \"From \"",
                ));
            }
        }
    }

    /// Reads a line without its end; `false` at the end of the file. What is longer than any message is cut,
    /// and the message is then too large anyway.
    fn next_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        self.number += 1;
        let mut any = false;
        loop {
            let room = self.max + 3 - self.line.len().min(self.max + 2);
            let buffer = self.inner.fill_buf()?;
            if buffer.is_empty() {
                break;
            }
            any = true;
            let end = memchr::memchr(b'\n', buffer);
            let part = &buffer[..end.unwrap_or(buffer.len())];
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let used = end.map_or(part.len(), |at| at + 1);
            self.inner.consume(used);
            if end.is_some() {
                break;
            }
        }
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        Ok(any)
    }
}

/// Takes one `>` off a line that begins with `>From `, `>>From ` and so on.
fn unquoted(line: &[u8]) -> &[u8] {
    match line.strip_prefix(b">") {
        Some(rest) if is_from(rest) => rest,
        _ => line,
    }
}

/// Whether a line is `From ` behind any number of `>`.
fn is_from(line: &[u8]) -> bool {
    let at = line.iter().position(|b| *b != b'>').unwrap_or(line.len());
    line[at..].starts_with(b"From ")
}

/// The first message that UW's programs write holds their bookkeeping, not mail.
fn is_internal(message: &[u8]) -> bool {
    let header = &message[..protocol_core::message::header::header_len(message)];
    field(header, "Subject").is_some_and(|s| s.contains("FOLDER INTERNAL DATA"))
        && field(header, "X-IMAP").is_some()
}

fn head_of(separator: &[u8], message: &[u8]) -> Head {
    let header = &message[..protocol_core::message::header::header_len(message)];
    let status = field(header, "Status").unwrap_or_default();
    let more = field(header, "X-Status").unwrap_or_default();
    let separator = String::from_utf8_lossy(separator);
    let mut words = separator.split_whitespace().skip(1);
    let sender = words.next().filter(|w| w.contains('@')).unwrap_or_default().to_owned();
    let words: Vec<&str> = words.collect();
    let date = asctime(&words).or_else(|| received(header));
    Head {
        octets: 0,
        date_ms: date.map(|d| d.0),
        sender,
        seen: status.contains('R'),
        answered: more.contains('A'),
        flagged: more.contains('F'),
        draft: more.contains('T'),
    }
}

fn field(header: &[u8], name: &str) -> Option<String> {
    let value = protocol_core::message::Fields::find(header, name)?.value;
    Some(String::from_utf8_lossy(value).trim().to_owned())
}

/// The date of the first Received field, which is the last hop's.
fn received(header: &[u8]) -> Option<Timestamp> {
    let value = protocol_core::message::Fields::find(header, "Received")?.value;
    let date = value.rsplit(|b| *b == b';').next()?;
    protocol_core::message::DateTime::parse_rfc5322(date).map(|d| d.time)
}

/// `Thu Jan  1 00:00:01 2015`, in UTC (RFC 4155), possibly with a zone name before the year.
fn asctime(words: &[&str]) -> Option<Timestamp> {
    let month = words.iter().position(|w| MONTHS.contains(w))?;
    let number = MONTHS.iter().position(|m| *m == words[month])?;
    let mut time = words.get(month + 2)?.split(':').map(|n| n.parse::<u8>().ok());
    let year = words[month + 3..].iter().find_map(|w| w.parse::<i64>().ok().filter(|y| *y > 1900))?;
    let civil = Civil {
        year,
        month: u8::try_from(number + 1).ok()?,
        day: words.get(month + 1)?.parse().ok()?,
        hour: time.next()??,
        minute: time.next()??,
        second: time.next().unwrap_or(Some(0))?.min(59),
        weekday: 0,
    };
    civil.to_unix().map(Timestamp::from_secs)
}

/// Writes one message with its separator. Lines end in LF; a line that a reader would take for a separator is
/// quoted.
pub fn write(to: &mut impl Write, head: &Head, message: &[u8]) -> io::Result<()> {
    let date = Civil::from_unix(head.date_ms.unwrap_or_default().div_euclid(1000));
    let weekday =
        ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"].get(usize::from(date.weekday)).unwrap_or(&"Sun");
    let month = MONTHS.get(usize::from(date.month).saturating_sub(1)).unwrap_or(&"Jan");
    let plain = !head.sender.is_empty() && head.sender.bytes().all(|b| b.is_ascii_graphic());
    let sender = if plain { head.sender.as_str() } else { "MAILER-DAEMON" };
    writeln!(
        to,
        "From {sender} {weekday} {month} {:>2} {:02}:{:02}:{:02} {:04}",
        date.day, date.hour, date.minute, date.second, date.year
    )?;
    let body = message.strip_suffix(b"\r\n").or_else(|| message.strip_suffix(b"\n")).unwrap_or(message);
    for line in body.split(|b| *b == b'\n') {
        if is_from(line) {
            to.write_all(b">")?;
        }
        to.write_all(line.strip_suffix(b"\r").unwrap_or(line))?;
        to.write_all(b"\n")?;
    }
    to.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str, max: usize) -> Vec<Entry> {
        let mut reader = Reader::new(text.as_bytes(), max);
        std::iter::from_fn(|| reader.next_entry().unwrap()).collect()
    }

    fn octets(entry: &Entry) -> &[u8] {
        match entry {
            Entry::Message(_, octets) => octets,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_are_split_unquoted_and_written_back() {
        let text = "From a@b.test Thu Jan  1 00:00:01 2015\nFrom: a@b.test\nSubject: one\n\n>From the start\n\
                    >>From twice\nFrom here\nend\n\nFrom c@d.test Thu Jan  1 00:00:02 2015\nSubject: two\n\nbody\n\n";
        let found = entries(text, 1000);
        assert_eq!(found.len(), 2);
        assert_eq!(
            octets(&found[0]),
            b"From: a@b.test\r\nSubject: one\r\n\r\nFrom the start\r\n>From twice\r\nFrom here\r\nend\r\n"
        );
        let mut out = Vec::new();
        for entry in &found {
            let Entry::Message(head, octets) = entry else { panic!() };
            write(&mut out, head, octets).unwrap();
        }
        // A separator counts only behind an empty line, but is always quoted when written.
        assert_eq!(String::from_utf8(out).unwrap(), text.replace("\nFrom here", "\n>From here"));
    }

    #[test]
    fn dates_senders_and_flags() {
        let text = "From a@b.test Thu Jan  1 00:00:01 CET 2015\nStatus: RO\nX-Status: AFT\n\nx\n\n\
                    From MAILER-DAEMON\nReceived: from a by b; Thu, 1 Jan 2015 01:00:05 +0100\n\nx\n";
        let heads: Vec<Head> = entries(text, 1000)
            .into_iter()
            .map(|e| match e {
                Entry::Message(head, _) => head,
                other => panic!("{other:?}"),
            })
            .collect();
        let first = &heads[0];
        assert_eq!((first.date_ms, first.sender.as_str()), (Some(1_420_070_401_000), "a@b.test"));
        assert!(first.seen && first.answered && first.flagged && first.draft);
        assert_eq!(
            (heads[1].date_ms, heads[1].sender.as_str(), heads[1].seen),
            (Some(1_420_070_405_000), "", false)
        );
    }

    #[test]
    fn the_largest_message_and_one_octet_more() {
        let text = |n: usize| format!("From a@b\nA: b\n\n{}\n\nFrom a@b\nC: d\n\n", "x".repeat(n));
        let framing = "A: b\r\n\r\n\r\n".len();
        // The empty line in front of a separator is counted until it is known to be one.
        let max = 100;
        let found = entries(&text(max - framing - 2), max);
        assert_eq!(octets(&found[0]).len(), max - 2);
        let found = entries(&text(max - framing - 1), max);
        assert!(matches!(&found[0], Entry::Bad(why) if why.contains("line 1") && why.contains("100 octets")));
        assert_eq!(octets(&found[1]), b"C: d\r\n");
        assert!(matches!(&entries(&text(1_000_000), max)[..], [Entry::Bad(_), Entry::Message(..)]));
    }

    #[test]
    fn what_is_no_mail_is_skipped_or_refused() {
        assert!(entries("", 100).is_empty());
        assert_eq!(entries("\n\nFrom a@b\n\nFrom a@b\n\n", 100), [Entry::Skipped, Entry::Skipped]);
        let note = "From M Thu Jan 1 00:00:01 2015\nSubject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1\n\nx\n";
        assert_eq!(entries(note, 1000), [Entry::Skipped]);
        assert!(
            matches!(&entries("From a@b\nA: b\rc\n\n", 100)[0], Entry::Bad(why) if why.contains("line 2"))
        );
        assert!(matches!(&entries("From a@b\nA: \0\n\n", 100)[0], Entry::Bad(_)));
        assert!(Reader::new(&b"Subject: x\n"[..], 100).next_entry().is_err());
        assert_eq!(octets(&entries("From a@b\r\nA: b\r\n\r\nx", 100)[0]), b"A: b\r\n\r\nx\r\n");
    }
}
