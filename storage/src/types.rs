//! The values that cross the boundary of this crate. Plain data: no database type appears here.

mod jobs;

use core::fmt;
use protocol_core::Timestamp;
use serde::{Deserialize, Serialize};

pub use jobs::*;

/// 128 random bits; 26 characters of lower-case Crockford base32 as text. Never guessable, never sequential.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 16]);

macro_rules! id_types {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub Id);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
        impl $name {
            /// A new random identifier.
            pub fn random() -> Self { $name(Id::random()) }
            /// Reads what `Display` wrote.
            pub fn parse(text: &str) -> Option<Self> { Id::parse(text).map($name) }
        }
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> { to.collect_str(self) }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an ID"))
            }
        }
    )*};
}

id_types! {
    /// An organisation (a tenant).
    OrgId,
    /// A person's or role's account.
    MailboxId,
    /// An IMAP folder of a mailbox.
    FolderId,
    /// A stored message: its object, shared by every folder of one mailbox that shows it. Also the queue ID
    /// in Received fields and log lines.
    MessageId,
    /// One outbound job: one message for one destination domain.
    JobId,
    /// A key of the API.
    ApiKeyId,
    /// A webhook.
    WebhookId,
    /// A template, all its versions.
    TemplateId,
    /// An entry of the audit log.
    AuditId,
}

/// Jobs that one message can have: one for each destination of at most so many recipients.
pub const JOBS_OF_MESSAGE_MAX: u16 = 1_024;

impl JobId {
    /// The ID of a message's job number `n`, from 0: a message's jobs follow its own ID, so that all that was
    /// written about them is one range.
    pub fn of(message: MessageId, n: u16) -> JobId {
        let first = u128::from_be_bytes(message.0.0);
        JobId(Id(first.wrapping_add(u128::from(n)).to_be_bytes()))
    }
}

const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl Id {
    /// 128 bits from the system's generator.
    pub fn random() -> Id {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the system's random generator works");
        Id(bytes)
    }

    /// Reads what `Display` wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Id> {
        let text = text.as_bytes();
        if text.len() != 26 {
            return None;
        }
        let mut n: u128 = 0;
        for (i, c) in text.iter().enumerate() {
            let digit = BASE32.iter().position(|b| b == c)? as u128;
            if i == 0 && digit > 7 {
                return None;
            }
            n = n << 5 | digit;
        }
        Some(Id(n.to_be_bytes()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = u128::from_be_bytes(self.0);
        let mut text = [0u8; 26];
        for (i, c) in text.iter_mut().enumerate() {
            *c = BASE32[(n >> (125 - 5 * i) & 31) as usize];
        }
        f.write_str(core::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// ---- directory ------------------------------------------------------------------------------------------

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Org {
    /// Its ID.
    pub id: OrgId,
    /// Unique on the installation.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
}

/// A domain and the edge `has_domain` that gives it to an organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// A-label, lower case, no final dot.
    pub name: String,
    /// The one organisation that has it.
    pub org: OrgId,
    /// What overrides the installation's settings.
    pub settings: DomainSettings,
}

/// The optional fields of `has_domain`. Secrets are sealed with the master key before they come here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct DomainSettings {
    pub dkim_selector: Option<String>,
    /// Sealed (base64 of the sealed bytes).
    pub dkim_private_key_b64_pkcs8: Option<String>,
    /// The Ed25519 key beside it; selector `<dkim_selector>-ed25519`. Sealed.
    pub dkim_ed25519_private_key_b64_pkcs8: Option<String>,
    /// Public halves, base64, for the DNS records.
    pub dkim_public_key_b64: Option<String>,
    pub dkim_ed25519_public_key_b64: Option<String>,
    pub dkim_headers: Option<String>,
    /// Keys that are to sign once their records are published, sealed, and their public halves.
    pub dkim_next_selector: Option<String>,
    pub dkim_next_private_key_b64_pkcs8: Option<String>,
    pub dkim_next_ed25519_private_key_b64_pkcs8: Option<String>,
    pub dkim_next_public_key_b64: Option<String>,
    pub dkim_next_ed25519_public_key_b64: Option<String>,
    /// Keys that signed before: their records stay published until then (seconds since 1970). The private
    /// halves are gone.
    pub dkim_old_selector: Option<String>,
    pub dkim_old_public_key_b64: Option<String>,
    pub dkim_old_ed25519_public_key_b64: Option<String>,
    pub dkim_old_until: Option<u64>,
    pub require_spf_pass: Option<bool>,
    pub require_dkim_pass: Option<bool>,
    pub require_dmarc_pass: Option<bool>,
    pub outbound_dnssec_validate: Option<bool>,
    /// `standard` or `e2ee`.
    pub enc_mode: Option<String>,
    /// Sealed.
    pub enc_sse_c_key_b64: Option<String>,
    pub enc_wrapped_dek_customer: Option<String>,
    pub enc_e2ee_recipient: Option<String>,
    pub quota_max_recipients_per_message: Option<u64>,
    pub quota_hourly_send_limit: Option<u64>,
    pub quota_daily_send_limit: Option<u64>,
    pub quota_max_queued_jobs: Option<u64>,
    /// On when absent.
    pub plus_addressing: Option<bool>,
    /// `+` when absent.
    pub plus_delimiter: Option<String>,
    /// Local part or whole address that takes what nothing else does.
    pub catch_all: Option<String>,
    pub quota_mailbox_bytes: Option<u64>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// Its ID.
    pub id: MailboxId,
    /// Its organisation.
    pub org: OrgId,
    /// Canonical address: see `address::Canonical`.
    pub address: String,
    /// Display name, possibly empty.
    pub name: String,
    /// In bytes; none means the domain's, else no limit.
    pub quota_bytes: Option<u64>,
    /// Sum of the sizes of what is stored, each message once however many folders show it.
    pub used_bytes: u64,
    /// Refuses mail and log-ins; keeps what is stored.
    pub disabled: bool,
    /// Administrator of the organisation (receives its role addresses).
    pub admin: bool,
    /// What arrives in its inbox goes into the organisation's log too, for webhooks ([`JobEvent::Received`]).
    pub told: bool,
}

/// What is changed about a mailbox; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailboxEdit {
    /// Display name.
    pub name: Option<String>,
    /// In bytes; none within: the domain's, else no limit.
    pub quota_bytes: Option<Option<u64>>,
}

/// An alias: mail for it goes to each target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// Canonical address.
    pub address: String,
    /// Its organisation.
    pub org: OrgId,
    /// Canonical when local, as given otherwise.
    pub targets: Vec<String>,
}

/// What proves a password. The password itself is never kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordRecord {
    /// PHC string, Argon2id.
    pub argon2: String,
    /// SCRAM-SHA-256 verifier (salt, iterations, StoredKey, ServerKey), sealed with the master key.
    pub scram_sealed: Vec<u8>,
}

/// What one address is, as rows say it; `directory::resolve` makes a decision of several of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressRow {
    /// A mailbox, disabled or not.
    Mailbox(Mailbox),
    /// An alias.
    Alias(Alias),
}

// ---- folders and messages -------------------------------------------------------------------------------

/// RFC 6154 special uses, and the inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
#[serde(rename_all = "lowercase")]
pub enum SpecialUse {
    Inbox,
    Drafts,
    Sent,
    Junk,
    Trash,
    Archive,
}

/// A folder's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderInfo {
    /// Its ID; survives a rename.
    pub id: FolderId,
    /// Whose it is.
    pub mailbox: MailboxId,
    /// NFC UTF-8, levels separated by `/`; the inbox is `INBOX`.
    pub name: String,
    /// The attribute it carries; moves along in a rename.
    pub special_use: Option<SpecialUse>,
    /// Never 0, never smaller than an earlier folder's of the same name.
    pub uid_validity: u32,
    /// The next UID to be given.
    pub uid_next: u32,
    /// The highest modification sequence in the folder; at least 1.
    pub highest_modseq: u64,
    /// Keyword names; bit 8+n of [`Flags`] is keyword n. Grows only, at most [`KEYWORDS_MAX`].
    pub keywords: Vec<String>,
    /// Messages in it.
    pub messages: u32,
    /// Of these, without `\Seen`.
    pub unseen: u32,
    /// Sum of the sizes of its messages.
    pub size: u64,
}

/// Keywords a folder can hold.
pub const KEYWORDS_MAX: usize = 50;

/// Flags of a message in a folder: bits 0 to 4 are the system flags, bit 8+n is the folder's keyword n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u64);

#[allow(missing_docs)]
impl Flags {
    pub const SEEN: Flags = Flags(1);
    pub const ANSWERED: Flags = Flags(2);
    pub const FLAGGED: Flags = Flags(4);
    pub const DELETED: Flags = Flags(8);
    pub const DRAFT: Flags = Flags(16);

    pub fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
    pub fn union(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
    pub fn minus(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }
    /// The flag of the folder's keyword `n`.
    pub fn keyword(n: usize) -> Flags {
        assert!(n < KEYWORDS_MAX, "keyword index within the folder's limit");
        Flags(1 << (8 + n))
    }
}

/// Flags by name, before a folder has given its keywords bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedFlags {
    /// System flags only.
    pub system: Flags,
    /// Keywords as the client wrote them; compared without case.
    pub keywords: Vec<String>,
}

/// A message in a folder: one line of the folder view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Unique and rising in the folder.
    pub uid: u32,
    /// Its flags.
    pub flags: Flags,
    /// Modification sequence of its last change.
    pub modseq: u64,
    /// Exact size in octets (RFC822.SIZE).
    pub size: u64,
    /// INTERNALDATE.
    pub internal_date: Timestamp,
    /// The stored message.
    pub message: MessageId,
}

/// A message that a transaction puts into a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRow {
    /// Whose folder.
    pub mailbox: MailboxId,
    /// Which folder.
    pub folder: FolderTarget,
    /// The object, written before.
    pub message: MessageId,
    /// Size in octets.
    pub size: u64,
    /// INTERNALDATE.
    pub internal_date: Timestamp,
    /// Initial flags.
    pub flags: NamedFlags,
    /// Envelope and structure, sealed by the caller; opaque here.
    pub meta: Vec<u8>,
    /// Whether the mailbox's quota is checked (refused with [`Refusal::OverQuota`]).
    pub check_quota: bool,
}

/// Where a new row goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderTarget {
    /// The folder that carries this use; the inbox when none does.
    Use(SpecialUse),
    /// This folder.
    Id(FolderId),
}

/// Where a new row went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The folder.
    pub folder: FolderId,
    /// Its UIDVALIDITY.
    pub uid_validity: u32,
    /// The message's row as it is now.
    pub row: Row,
}

/// How STORE changes flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FlagOp {
    Add,
    Remove,
    Replace,
}

/// The answer to a change of flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagsChanged {
    /// Rows as they are now. Unchanged rows are left out.
    pub changed: Vec<Row>,
    /// UIDs that `unchanged_since` kept from changing (RFC 7162 §3.1.3).
    pub modified: Vec<u32>,
    /// The folder's keywords after the change.
    pub keywords: Vec<String>,
}

/// The answer to COPY or MOVE, in order of the source UIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// UIDVALIDITY of the destination.
    pub uid_validity: u32,
    /// Source UID and the new row.
    pub pairs: Vec<(u32, Row)>,
    /// For MOVE: the source folder's modseq of the removal.
    pub removed_modseq: Option<u64>,
    /// The destination's keywords after the change.
    pub keywords: Vec<String>,
}

/// The answer to EXPUNGE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expunged {
    /// UIDs that went.
    pub uids: Vec<u32>,
    /// Modification sequence of the removal.
    pub modseq: u64,
    /// Messages that no folder shows any more: their objects can be deleted.
    pub orphans: Vec<MessageId>,
}
// ---- policies of other domains ----------------------------------------------------------------------------

/// An MTA-STS policy that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPolicy {
    /// Whose it is, an A-label.
    pub domain: String,
    /// What it says, as the caller writes it.
    pub text: String,
    /// When it was fetched.
    pub fetched: Timestamp,
    /// When it is to be fetched again.
    pub refresh: Timestamp,
    /// From when on it binds no more.
    pub expires: Timestamp,
}
