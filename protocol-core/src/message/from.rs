//! What the From address of a message is, decided in one place for policy, IMAP and the API.

use alloc::string::String;
use alloc::vec::Vec;

use super::address_list::{AddressList, Entry, Mailbox};
use super::header::{Field, Fields, trim};

/// Why a message is refused for its From (550 5.6.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromFault {
    /// There is no From field.
    Missing,
    /// There are several From fields (RFC 5322 §3.6 allows one).
    Several,
    /// Something that some readers take for a From field but that is none by RFC 5322: `From :`, a folded
    /// name, or a first line that begins with white space.
    Lookalike,
    /// The one From field holds no valid address.
    NoAddress,
}

impl FromFault {
    /// A reason for a reply or a log line.
    pub fn reason(self) -> &'static str {
        match self {
            FromFault::Missing => "message has no From field",
            FromFault::Several => "message has more than one From field",
            FromFault::Lookalike => "message has a malformed From field",
            FromFault::NoAddress => "From field holds no valid address",
        }
    }
}

/// What the From fields of a header are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FromVerdict {
    /// Well-formed From fields.
    pub fields: u32,
    /// Lines that some reader may take for a From field.
    pub lookalikes: u32,
    /// Valid addresses in the first From field.
    pub valid: u32,
    /// Entries of the first From field that are no addresses.
    pub invalid: u32,
}

impl FromVerdict {
    /// Accounts for one field of the root header, in order; `is_first` for the first line.
    pub(super) fn see(&mut self, field: &Field<'_>, raw: &[u8], is_first: bool) {
        if field.is("From") {
            self.fields = self.fields.saturating_add(1);
            if self.fields == 1 {
                for entry in AddressList::new(field.value) {
                    match entry {
                        Entry::Mailbox(_) => self.valid = self.valid.saturating_add(1),
                        Entry::Invalid(_) => self.invalid = self.invalid.saturating_add(1),
                        Entry::GroupStart(_) | Entry::GroupEnd => {}
                    }
                }
            }
            return;
        }
        // Nothing stands above such a line that it could continue, until somebody puts a field there.
        let continues_nothing = is_first && matches!(raw.first(), Some(b' ' | b'\t'));
        if continues_nothing || (!field.well_formed && is_like_from(field.name)) {
            self.lookalikes = self.lookalikes.saturating_add(1);
        }
    }

    /// Whether the message may be accepted. For a null reverse-path one From field suffices, whatever it
    /// holds.
    pub fn judge(&self, null_sender: bool) -> Result<(), FromFault> {
        match self {
            FromVerdict { lookalikes: 1.., .. } => Err(FromFault::Lookalike),
            FromVerdict { fields: 0, .. } => Err(FromFault::Missing),
            FromVerdict { fields: 2.., .. } => Err(FromFault::Several),
            FromVerdict { valid: 0, .. } if !null_sender => Err(FromFault::NoAddress),
            _ => Ok(()),
        }
    }
}

/// Whether a malformed name is From with white space, line ends or control characters about it.
fn is_like_from(name: &[u8]) -> bool {
    let mut letters = name.iter().filter(|b| b.is_ascii_graphic());
    b"from".iter().all(|want| letters.next().is_some_and(|b| b.to_ascii_lowercase() == *want))
        && letters.next().is_none()
}

/// The addresses of a message's From field, `local@domain` as written, from its header block: what DMARC,
/// the submission rules, the API and IMAP's ENVELOPE agree on.
///
/// # Errors
/// When the header has no From field that can be judged; see [`FromVerdict::judge`].
pub fn from_addresses(header: &[u8], null_sender: bool) -> Result<Vec<Mailbox<'_>>, FromFault> {
    let mut verdict = FromVerdict::default();
    let mut first = None;
    for (index, field) in Fields::new(header).enumerate() {
        verdict.see(&field, &header[field.range.clone()], index == 0);
        if first.is_none() && field.is("From") {
            first = Some(field.value);
        }
    }
    verdict.judge(null_sender)?;
    Ok(AddressList::new(first.unwrap_or_default()).mailboxes().collect())
}

/// The domains of From addresses, each once, in lower case: DMARC asks all of them, and the strictest policy
/// counts (RFC 9989 leaves several to the receiver; RFC 7489 §6.6.1).
pub fn from_domains(addresses: &[Mailbox<'_>]) -> Vec<String> {
    let mut domains = Vec::new();
    for mailbox in addresses {
        let domain = String::from_utf8_lossy(trim(&mailbox.domain)).to_lowercase();
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    domains
}
