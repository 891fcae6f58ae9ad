//! Every transition of a session. Theory of operation:
//!
//! A session reads one command line at a time. The line is parsed, then judged twice without looking at its
//! arguments: by [`gate`] (does this command exist on this port, is TLS or AUTH missing?) and by [`TABLE`]
//! (is it its turn?). What passes both is run; what asks the driver parks the session in `Asked` until the
//! answer, and the answer moves it on:
//!
//! ```text
//!  Start ── Connect ──┬─ accept ── Greet ──┬─ silence ── 220 ── Line ◀───────────────────────────┐
//!                     │                    └─ octets ── 554, Ended                               │
//!                     └─ refuse ── 421, Ended                                                    │
//!  Line ── command ───┬─ answered at once ───────────────────────────────────────────────────────┤
//!                     ├─ MAIL, RCPT ── Asked ── accept, refuse ──────────────────────────────────┤
//!                     ├─ AUTH ── Asked ─┬─ challenge ── AuthLine ── response ── Asked            │
//!                     │                 └─ succeed, fail; `*`, bad line ─────────────────────────┤
//!                     ├─ STARTTLS ── Upgrading ── done ── everything forgotten ──────────────────┤
//!                     └─ DATA, BDAT ── Asked(Begin) ─┬─ refuse ── (BDAT: SkipBdat) ──────────────┤
//!                                                    └─ accept ── Data, Bdat                     │
//!  Data ── chunks ────┬─ CRLF.CRLF ── Asked(Finish) ── accept, refuse, each ─────────────────────┤
//!                     ├─ too large, loop ── Discard ── Drain ── CRLF.CRLF ── reply ──────────────┤
//!                     └─ bare CR, LF, NUL ── reply, Discard, Ended                               │
//!  Bdat ── chunks ────┬─ chunk done ── 250, the message stays open ──────────────────────────────┤
//!                     ├─ LAST done ── Asked(Finish) ── accept, refuse, each ─────────────────────┤
//!                     ├─ too large, loop ── Discard ── SkipBdat ── reply ────────────────────────┤
//!                     └─ bare CR, LF, NUL ── reply, Discard, Ended                               │
//!  Line, AuthLine ── too long ── reply ── LongLine ── its CRLF ──────────────────────────────────┘
//! ```
//!
//! Whoever ends the session or the transaction while the driver holds a spool makes `Discard` the next step.
//! A question still in `Asked` at the next `poll` was dropped: a temporary failure. `Ended` is final.

use super::replies::{self, Row};
use super::session::{Hello, ServerSession};
use super::{ServerConfig, Service};
use crate::command::Command;

/// The verbs, in the order of the rows of [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Ehlo,
    Helo,
    Lhlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    Bdat,
    Rset,
    Noop,
    Vrfy,
    Expn,
    Help,
    Quit,
}

/// How far the client has come, in the order of the columns of [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No EHLO, HELO or LHLO yet.
    Fresh,
    /// No transaction.
    Ready,
    /// MAIL was accepted.
    Sender,
    /// At least one RCPT was accepted.
    Recipients,
    /// Between two BDAT of one message.
    Chunks,
}

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// It is run.
    Run,
    /// It is out of order.
    No(&'static Row),
    /// It is out of order, and the transaction is forgotten.
    Reset(&'static Row),
}

use Act::{No, Reset, Run};

/// Verb by phase. The order of EHLO, transactions and RSET is RFC 5321 §4.1.4; of BDAT, RFC 3030 §2; of AUTH,
/// RFC 4954 §4.
static TABLE: [[Act; 5]; 15] = {
    use replies::{
        HELLO_FIRST as HELLO, IN_CHUNKS as CHUNKS, IN_TRANSACTION as OPEN, MAIL_FIRST as MAIL,
        RCPT_FIRST as RCPT,
    };
    [
        // Fresh       Ready       Sender        Recipients     Chunks
        [Run, Run, Run, Run, Run], // EHLO: forgets the transaction
        [Run, Run, Run, Run, Run], // HELO
        [Run, Run, Run, Run, Run], // LHLO
        [Run, Run, Reset(&OPEN), Reset(&OPEN), Reset(&OPEN)], // STARTTLS
        [No(&HELLO), Run, No(&OPEN), No(&OPEN), No(&OPEN)], // AUTH
        [No(&HELLO), Run, No(&OPEN), No(&OPEN), No(&OPEN)], // MAIL
        [No(&HELLO), No(&MAIL), Run, Run, No(&CHUNKS)], // RCPT
        [No(&HELLO), No(&MAIL), No(&RCPT), Run, No(&CHUNKS)], // DATA
        [No(&HELLO), No(&MAIL), No(&RCPT), Run, Run], // BDAT
        [Run, Run, Run, Run, Run], // RSET
        [Run, Run, Run, Run, Run], // NOOP
        [Run, Run, Run, Run, Run], // VRFY
        [Run, Run, Run, Run, Run], // EXPN
        [Run, Run, Run, Run, Run], // HELP
        [Run, Run, Run, Run, Run], // QUIT
    ]
};

/// What becomes of `verb` in `phase`.
pub(super) fn act(verb: Verb, phase: Phase) -> Act {
    TABLE
        .get(verb as usize)
        .and_then(|row| row.get(phase as usize))
        .copied()
        .unwrap_or(No(&replies::UNKNOWN_COMMAND))
}

/// Whether a command exists here at all, whatever its turn; the reply if not.
pub(super) fn gate(verb: Verb, config: &ServerConfig, tls: bool) -> Option<&'static Row> {
    let lmtp = config.service == Service::Lmtp;
    match verb {
        // RFC 2033 §4.1: LMTP has LHLO and neither of the others.
        Verb::Ehlo | Verb::Helo if lmtp => Some(&replies::UNKNOWN_COMMAND),
        Verb::Lhlo if !lmtp => Some(&replies::UNKNOWN_COMMAND),
        _ if needs_tls(Some(verb), config, tls) => Some(&replies::NEEDS_TLS),
        Verb::Auth if !config.service.is_submission() => Some(&replies::NO_AUTH),
        Verb::StartTls if tls => Some(&replies::TLS_ACTIVE),
        Verb::StartTls if !config.starttls => Some(&replies::NO_STARTTLS),
        Verb::Bdat if !config.extensions.chunking => Some(&replies::NO_CHUNKING),
        Verb::Expn => Some(&replies::NO_EXPN),
        _ => None,
    }
}

/// Submission without TLS: nothing but what leads to TLS or away. `None` stands for an unknown verb.
pub(super) fn needs_tls(verb: Option<Verb>, config: &ServerConfig, tls: bool) -> bool {
    use Verb::{Ehlo, Helo, Help, Noop, Quit, Rset, StartTls};
    let free = matches!(verb, Some(Ehlo | Helo | StartTls | Noop | Rset | Help | Quit));
    config.service.is_submission() && !tls && !free
}

impl Verb {
    /// The verb at the front of a line that is no well-formed command.
    pub(super) fn named(line: &[u8]) -> Option<Verb> {
        use Verb::*;
        const NAMES: [(&str, Verb); 15] = [
            ("EHLO", Ehlo),
            ("HELO", Helo),
            ("LHLO", Lhlo),
            ("STARTTLS", StartTls),
            ("AUTH", Auth),
            ("MAIL", Mail),
            ("RCPT", Rcpt),
            ("DATA", Data),
            ("BDAT", Bdat),
            ("RSET", Rset),
            ("NOOP", Noop),
            ("VRFY", Vrfy),
            ("EXPN", Expn),
            ("HELP", Help),
            ("QUIT", Quit),
        ];
        let end = line.iter().position(|b| !b.is_ascii_alphabetic()).unwrap_or(line.len());
        let word = line.get(..end)?;
        NAMES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(_, verb)| *verb)
    }

    /// The verb of a parsed command.
    pub(super) fn of(command: &Command<'_>) -> Verb {
        match command {
            Command::Ehlo(_) => Verb::Ehlo,
            Command::Helo(_) => Verb::Helo,
            Command::Lhlo(_) => Verb::Lhlo,
            Command::StartTls => Verb::StartTls,
            Command::Auth { .. } => Verb::Auth,
            Command::Mail(..) => Verb::Mail,
            Command::Rcpt(..) => Verb::Rcpt,
            Command::Data => Verb::Data,
            Command::Bdat { .. } => Verb::Bdat,
            Command::Rset => Verb::Rset,
            Command::Noop => Verb::Noop,
            Command::Vrfy => Verb::Vrfy,
            Command::Expn => Verb::Expn,
            Command::Help => Verb::Help,
            Command::Quit => Verb::Quit,
        }
    }
}

impl ServerSession {
    /// How far the client has come.
    pub(super) fn phase(&self) -> Phase {
        match &self.transaction {
            Some(t) if t.message.is_some() => Phase::Chunks,
            Some(t) if t.recipients > 0 => Phase::Recipients,
            Some(_) => Phase::Sender,
            None if self.hello == Hello::None => Phase::Fresh,
            None => Phase::Ready,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn si10_auth_is_refused_where_it_does_not_belong() {
        let config = |service| ServerConfig::new("mx.example.test", service);
        assert_eq!(gate(Verb::Auth, &config(Service::Submission), false), Some(&replies::NEEDS_TLS));
        assert_eq!(gate(Verb::Auth, &config(Service::Submission), true), None);
        for service in [Service::Transfer, Service::Lmtp] {
            assert_eq!(gate(Verb::Auth, &config(service), false), Some(&replies::NO_AUTH));
            assert_eq!(gate(Verb::Auth, &config(service), true), Some(&replies::NO_AUTH));
        }
    }

    #[test]
    fn before_tls_submission_knows_seven_commands() {
        use Verb::*;
        let config = ServerConfig::new("mx.example.test", Service::Submission);
        for verb in [Ehlo, Helo, StartTls, Noop, Rset, Help, Quit] {
            assert_eq!(gate(verb, &config, false), None, "{verb:?}");
        }
        for verb in [Auth, Mail, Rcpt, Data, Bdat, Vrfy, Expn] {
            assert_eq!(gate(verb, &config, false), Some(&replies::NEEDS_TLS), "{verb:?}");
        }
    }

    #[test]
    fn every_verb_and_phase_has_its_place_in_the_table() {
        assert_eq!(act(Verb::Ehlo, Phase::Fresh), Run);
        assert_eq!(act(Verb::Quit, Phase::Chunks), Run);
        assert_eq!(act(Verb::Bdat, Phase::Chunks), Run);
        assert_eq!(act(Verb::Data, Phase::Chunks), No(&replies::IN_CHUNKS));
        assert_eq!(act(Verb::Data, Phase::Sender), No(&replies::RCPT_FIRST));
        assert_eq!(act(Verb::StartTls, Phase::Sender), Reset(&replies::IN_TRANSACTION));
        assert_eq!(act(Verb::Mail, Phase::Fresh), No(&replies::HELLO_FIRST));
    }
}
