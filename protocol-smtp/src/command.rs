//! Commands (RFC 5321 §4.1), parsed without copying and written back.

use core::str;

use protocol_core::SendBuf;

use crate::address::Path;
use crate::limits::MECHANISM_MAX;
use crate::params::{Accepts, MailParams, ParamError, RcptParams};
use crate::word;

/// One command, borrowed from its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'b> {
    /// EHLO with the client's name or address literal.
    Ehlo(&'b str),
    /// HELO.
    Helo(&'b str),
    /// LHLO (RFC 2033 §4.1).
    Lhlo(&'b str),
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH (RFC 4954 §4).
    Auth {
        /// As given; compare without case.
        mechanism: &'b str,
        /// Initial response, still in base64; `=` is the empty one.
        initial: Option<&'b str>,
    },
    /// MAIL FROM.
    Mail(Path<'b>, MailParams<'b>),
    /// RCPT TO.
    Rcpt(Path<'b>, RcptParams<'b>),
    /// DATA.
    Data,
    /// BDAT (RFC 3030 §2).
    Bdat {
        /// Octets that follow the command.
        size: u64,
        /// The message ends with them.
        last: bool,
    },
    /// RSET.
    Rset,
    /// NOOP with whatever stood behind it ignored.
    Noop,
    /// VRFY.
    Vrfy,
    /// EXPN.
    Expn,
    /// HELP.
    Help,
    /// QUIT.
    Quit,
}

/// Why a line is no command that can be obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// 500 5.5.1.
    Unknown,
    /// 500 5.5.2: octets that no command line holds.
    Octets,
    /// 501 5.5.4.
    Argument,
    /// 501 5.1.7.
    Sender,
    /// 501 5.1.3.
    Recipient,
    /// 555 5.5.4.
    Parameter,
    /// 553 5.6.7: a non-ASCII address without SMTPUTF8.
    NeedsUtf8,
    /// 501 5.5.4, and the connection is closed: nobody knows how many octets follow a BDAT like this.
    ChunkSize,
    /// An HTTP request line: a browser or an attack by way of one.
    Http,
}

const HTTP_VERBS: [&str; 9] =
    ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE"];

impl<'b> Command<'b> {
    /// Parses a line without its CRLF. `accepts` says which extensions' parameters exist.
    pub fn parse(line: &'b [u8], accepts: &Accepts) -> Result<Command<'b>, CommandError> {
        let Some((verb, rest)) = line.split_first_chunk::<VERB>() else { return not_a_verb(line) };
        // Clearing this bit makes a lower-case letter upper-case and turns nothing else into a letter.
        let verb = u32::from_be_bytes(*verb) & 0xdfdf_dfdf;
        match verb {
            MAIL if ends_verb(rest) => mail(line, accepts),
            RCPT if ends_verb(rest) => rcpt(line, accepts),
            EHLO if ends_verb(rest) => ehlo(rest),
            DATA if rest.is_empty() => Ok(Command::Data),
            RSET if rest.is_empty() => Ok(Command::Rset),
            QUIT if rest.is_empty() => Ok(Command::Quit),
            _ => other(verb, rest, line),
        }
    }

    /// Appends the command with its CRLF.
    pub fn write(&self, out: &mut SendBuf) {
        match self {
            Command::Ehlo(name) => push_all(out, &["EHLO ", name]),
            Command::Helo(name) => push_all(out, &["HELO ", name]),
            Command::Lhlo(name) => push_all(out, &["LHLO ", name]),
            Command::StartTls => push_all(out, &["STARTTLS"]),
            Command::Auth { mechanism, initial: None } => push_all(out, &["AUTH ", mechanism]),
            Command::Auth { mechanism, initial: Some(text) } => {
                push_all(out, &["AUTH ", mechanism, " ", text])
            }
            Command::Mail(path, params) => {
                out.push(b"MAIL FROM:");
                path.write(out);
                params.write(out);
            }
            Command::Rcpt(path, params) => {
                out.push(b"RCPT TO:");
                path.write(out);
                params.write(out);
            }
            Command::Data => push_all(out, &["DATA"]),
            Command::Bdat { size, last } => {
                out.push(b"BDAT ");
                out.push_decimal(*size);
                out.push(if *last { b" LAST" } else { b"" });
            }
            Command::Rset => push_all(out, &["RSET"]),
            Command::Noop => push_all(out, &["NOOP"]),
            Command::Vrfy => push_all(out, &["VRFY postmaster"]),
            Command::Expn => push_all(out, &["EXPN"]),
            Command::Help => push_all(out, &["HELP"]),
            Command::Quit => push_all(out, &["QUIT"]),
        }
        out.push(b"\r\n");
    }
}

/// Octets of a verb.
const VERB: usize = 4;

/// The commands that need nothing of what the server offers.
#[inline(never)]
fn other<'b>(verb: u32, rest: &'b [u8], line: &'b [u8]) -> Result<Command<'b>, CommandError> {
    match verb {
        DATA if ends_verb(rest) => bare(Command::Data, rest),
        RSET if ends_verb(rest) => bare(Command::Rset, rest),
        QUIT if ends_verb(rest) => bare(Command::Quit, rest),
        BDAT if ends_verb(rest) => bdat(text(rest)?.trim_ascii()),
        NOOP if ends_verb(rest) => text(rest).map(|_| Command::Noop),
        HELO if ends_verb(rest) => client_name(rest).map(Command::Helo),
        LHLO if ends_verb(rest) => client_name(rest).map(Command::Lhlo),
        AUTH if ends_verb(rest) => auth(text(rest)?.trim_ascii()),
        STAR => match rest.split_first_chunk::<4>() {
            Some((tail, rest)) if tail.eq_ignore_ascii_case(b"TTLS") && ends_verb(rest) => {
                bare(Command::StartTls, rest)
            }
            _ => not_a_verb(line),
        },
        VRFY if ends_verb(rest) && text(rest)?.trim_ascii().is_empty() => Err(CommandError::Argument),
        VRFY if ends_verb(rest) => Ok(Command::Vrfy),
        EXPN if ends_verb(rest) => text(rest).map(|_| Command::Expn),
        HELP if ends_verb(rest) => text(rest).map(|_| Command::Help),
        _ => not_a_verb(line),
    }
}

const fn verb(name: &[u8; 4]) -> u32 {
    u32::from_be_bytes(*name)
}

const MAIL: u32 = verb(b"MAIL");
const RCPT: u32 = verb(b"RCPT");
const DATA: u32 = verb(b"DATA");
const BDAT: u32 = verb(b"BDAT");
const EHLO: u32 = verb(b"EHLO");
const HELO: u32 = verb(b"HELO");
const LHLO: u32 = verb(b"LHLO");
const RSET: u32 = verb(b"RSET");
const NOOP: u32 = verb(b"NOOP");
const QUIT: u32 = verb(b"QUIT");
const VRFY: u32 = verb(b"VRFY");
const EXPN: u32 = verb(b"EXPN");
const HELP: u32 = verb(b"HELP");
const AUTH: u32 = verb(b"AUTH");
const STAR: u32 = verb(b"STAR");

#[inline(always)]
fn ends_verb(rest: &[u8]) -> bool {
    matches!(rest.first(), None | Some(b' '))
}

/// Behind the other verbs: UTF-8 without controls.
fn text(rest: &[u8]) -> Result<&str, CommandError> {
    // Without a branch for each octet, so that several are looked at in one step.
    let controls = rest.iter().fold(false, |seen, &b| seen | (b < b' ' && b != b'\t') | (b == 0x7f));
    if controls {
        return Err(CommandError::Octets);
    }
    str::from_utf8(rest).map_err(|_| CommandError::Octets)
}

fn bare<'b>(command: Command<'b>, rest: &[u8]) -> Result<Command<'b>, CommandError> {
    // RFC 5321 §4.1.1: trailing white space is tolerated.
    if rest.trim_ascii().is_empty() { Ok(command) } else { Err(CommandError::Argument) }
}

#[cold]
fn not_a_verb<'b>(line: &[u8]) -> Result<Command<'b>, CommandError> {
    let line = text(line)?;
    let (word, argument) = line.split_once(' ').unwrap_or((line, ""));
    let http = HTTP_VERBS.contains(&word) && argument.contains("HTTP/");
    Err(if http { CommandError::Http } else { CommandError::Unknown })
}

fn push_all(out: &mut SendBuf, parts: &[&str]) {
    parts.iter().for_each(|p| out.push(p.as_bytes()));
}

#[inline(never)]
fn ehlo(rest: &[u8]) -> Result<Command<'_>, CommandError> {
    client_name(rest).map(Command::Ehlo)
}

#[inline(always)]
fn client_name(rest: &[u8]) -> Result<&str, CommandError> {
    let name = match rest {
        [b' ', name @ ..] if matches!(name, [b'!'..=255, .., b'!'..=255]) => name,
        _ => rest.trim_ascii(),
    };
    if !crate::address::is_client_name(name) {
        return Err(CommandError::Argument);
    }
    str::from_utf8(name).map_err(|_| CommandError::Argument)
}

/// The line without white space at its end and where the path begins in it: behind the verb, spaces and `FROM:`
/// or `TO:` in any case. A space behind the colon is against RFC 5321 §3.3, common and harmless.
///
/// MAIL and RCPT are made of parts that are each judged by a grammar without controls. That they are UTF-8 is
/// looked at once for the whole line, which costs less than for each part. What stands before the path is ASCII;
/// as much of it is left away as makes the rest begin where whole words are read at once.
#[inline(always)]
fn path_argument<'b, const N: usize>(
    line: &'b [u8],
    keyword: &[u8; N],
) -> Result<(&'b str, usize), CommandError> {
    let mut at = VERB + 1;
    if line.get(at) == Some(&b' ') {
        at += white_space(line, at);
    }
    if !word::begins(word::word_at(line, at), keyword) {
        return Err(no_path(line));
    }
    at += N;
    if line.get(at) != Some(&b'<') {
        at += white_space(line, at);
    }
    let is_trimmed = line.last().is_some_and(|b| *b > b' ');
    let line = if is_trimmed { line } else { line.trim_ascii_end() };
    let skipped = line.as_ptr().align_offset(8).min(VERB + 1 + N);
    let rest = line.get(skipped..).unwrap_or_default();
    str::from_utf8(rest).map(|rest| (rest, at - skipped)).map_err(|_| CommandError::Octets)
}

#[cold]
fn no_path(line: &[u8]) -> CommandError {
    if str::from_utf8(line).is_ok() { CommandError::Argument } else { CommandError::Octets }
}

/// Length of the white space at `at`.
#[cold]
fn white_space(octets: &[u8], at: usize) -> usize {
    let rest = octets.get(at..).unwrap_or_default();
    rest.iter().take_while(|b| b.is_ascii_whitespace()).count()
}

#[inline(never)]
fn mail<'b>(line: &'b [u8], accepts: &Accepts) -> Result<Command<'b>, CommandError> {
    let (line, at) = path_argument(line, b"FROM:")?;
    let (path, end) = Path::reverse_at(line, at).map_err(|_| CommandError::Sender)?;
    let mut params = MailParams::default();
    params.read(line, end, accepts).map_err(param_error)?;
    if !params.smtputf8 && !path.is_ascii() {
        return Err(CommandError::NeedsUtf8);
    }
    Ok(Command::Mail(path, params))
}

/// Whether the transaction has SMTPUTF8 is known to the session, which refuses a non-ASCII path without it.
#[inline(never)]
fn rcpt<'b>(line: &'b [u8], accepts: &Accepts) -> Result<Command<'b>, CommandError> {
    let (line, at) = path_argument(line, b"TO:")?;
    let (path, end) = Path::forward_at(line, at).map_err(|_| CommandError::Recipient)?;
    let mut params = RcptParams::default();
    params.read(line, end, accepts).map_err(param_error)?;
    Ok(Command::Rcpt(path, params))
}

fn param_error(error: ParamError) -> CommandError {
    match error {
        ParamError::Unknown => CommandError::Parameter,
        ParamError::Bad => CommandError::Argument,
    }
}

fn bdat<'b>(argument: &str) -> Result<Command<'b>, CommandError> {
    let (size, rest) = argument.split_once(' ').unwrap_or((argument, ""));
    let last = match rest.trim_ascii() {
        "" => false,
        word if word.eq_ignore_ascii_case("LAST") => true,
        _ => return Err(CommandError::ChunkSize),
    };
    if size.is_empty() || size.len() > 20 || !size.bytes().all(|b| b.is_ascii_digit()) {
        return Err(CommandError::ChunkSize);
    }
    let size = size.parse().map_err(|_| CommandError::ChunkSize)?;
    Ok(Command::Bdat { size, last })
}

fn auth(argument: &str) -> Result<Command<'_>, CommandError> {
    let (mechanism, initial) = match argument.split_once(' ') {
        Some((mechanism, initial)) => (mechanism, Some(initial.trim_ascii())),
        None => (argument, None),
    };
    let fine = !mechanism.is_empty()
        && mechanism.len() <= MECHANISM_MAX
        && mechanism.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !fine || initial.is_some_and(|i| i.is_empty() || i.contains(' ')) {
        return Err(CommandError::Argument);
    }
    Ok(Command::Auth { mechanism, initial })
}

#[cfg(test)]
mod tests;
