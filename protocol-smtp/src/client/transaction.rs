//! One transaction: its recipients and the lines that ask for it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use protocol_core::SendBuf;

use super::envelope::{Envelope, Recipient};
use super::extensions::Extensions;
use super::replies::Duty;
use super::session::Expect;
use crate::command::Command;
use crate::params::{MailParams, RcptParams};
use crate::queue::Verdict;

/// What a session knows of the message under way.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) recipients: Vec<(u16, Standing)>,
    /// By BDAT instead of DATA.
    pub(super) bdat: bool,
    pub(super) duty: Duty,
    /// MAIL was refused.
    pub(super) sender_refused: bool,
    /// A BDAT chunk was refused.
    pub(super) failed: Option<Verdict>,
    /// The final dot may be on the wire.
    pub(super) after_dot: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Asked,
    Accepted,
    Settled,
}

impl Transaction {
    pub(super) fn new(recipients: &[Recipient<'_>], bdat: bool, duty: Duty) -> Transaction {
        let recipients = recipients.iter().map(|r| (r.index, Standing::Asked)).collect();
        Transaction { recipients, bdat, duty, sender_refused: false, failed: None, after_dot: false }
    }

    /// How many recipients stand.
    pub(super) fn accepted(&self) -> usize {
        self.recipients.iter().filter(|(_, s)| *s == Standing::Accepted).count()
    }

    /// Whether what is said of the message is said of one recipient.
    pub(super) fn is_for_one(&self) -> bool {
        self.recipients.len() == 1
    }

    /// Which recipients stand.
    pub(super) fn standing(&self) -> Vec<u16> {
        self.recipients.iter().filter(|(_, s)| *s == Standing::Accepted).map(|(index, _)| *index).collect()
    }
}

/// The lines of a transaction, with what each awaits.
pub(super) fn script(
    envelope: &Envelope<'_>,
    recipients: &[Recipient<'_>],
    extensions: &Extensions,
    reset: bool,
) -> VecDeque<(Expect, Vec<u8>)> {
    let utf8_addresses = !envelope.sender.is_ascii() || recipients.iter().any(|r| !r.path.is_ascii());
    let smtputf8 = extensions.smtputf8 && (utf8_addresses || envelope.utf8_header);
    let mail = MailParams {
        size: extensions.size.map(|_| envelope.size),
        body: envelope.body,
        smtputf8,
        require_tls: envelope.require_tls,
        ret: envelope.ret.filter(|_| extensions.dsn),
        envid: envelope.envid.filter(|id| extensions.dsn && is_word(id)),
        by: envelope.by.filter(|_| extensions.deliver_by.is_some()),
        ..MailParams::default()
    };
    let mut lines = VecDeque::new();
    if reset {
        lines.push_back((Expect::Rset, line(&Command::Rset)));
    }
    lines.push_back((Expect::Mail, line(&Command::Mail(envelope.sender, mail))));
    for (at, recipient) in recipients.iter().enumerate() {
        let wanted = |word: &&str| extensions.dsn && is_word(word) && (smtputf8 || word.is_ascii());
        let params = RcptParams {
            notify: recipient.params.notify.filter(wanted),
            orcpt: recipient.params.orcpt.filter(wanted),
        };
        lines.push_back((Expect::Rcpt(at), line(&Command::Rcpt(recipient.path, params))));
    }
    if !extensions.bdat() {
        lines.push_back((Expect::Data, line(&Command::Data)));
    }
    lines
}

fn line(command: &Command<'_>) -> Vec<u8> {
    let mut out = SendBuf::with_high_water(0);
    command.write(&mut out);
    Vec::from(out.bytes())
}

/// Whether a parameter's value can stand on a command line as it is. Values were checked when they came in;
/// what is not a word now was changed since, and is left out.
fn is_word(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|b| b > b' ' && b != 0x7f)
}
