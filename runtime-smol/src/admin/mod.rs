//! Administration: requests and their answers, the same whether a server runs (through its Unix socket) or
//! not (on the database itself, with the two ends of a socket pair in one process).

mod audit;
pub mod client;
pub(crate) mod dkim;
pub(crate) mod encryption;
mod execute;
pub(crate) mod fields;
mod frame;
pub(crate) mod keys;
pub mod mbox;
mod reports;
pub mod rotate;
pub mod server;
mod suppressions;
#[cfg(test)]
mod tests;
mod transfer;
mod webhooks;

use serde::{Deserialize, Serialize};

use crate::config::Secret;

pub use execute::{Context, execute};
pub(crate) use execute::{domain_name, new_domain};

/// What the command line asks for. Names and addresses are as typed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Request {
    OrgCreate { name: String },
    OrgList,
    OrgDelete { name: String },
    OrgRotateKey { name: String },
    RotateMasterKey,
    DomainAdd { domain: String, org: String, set: Vec<(String, String)> },
    DomainSet { domain: String, set: Vec<(String, String)> },
    DomainShow { domain: String },
    DomainList,
    DomainDelete { domain: String },
    DomainRotateDkim { domain: String, finish: bool },
    MailboxCreate { address: String, password: Password, name: String, quota: Option<u64> },
    MailboxPasswd { address: String, password: Password },
    MailboxDisable { address: String, disabled: bool },
    MailboxList,
    MailboxDelete { address: String },
    MailboxWebhook { address: String, url: Option<String> },
    AliasAdd { alias: String, to: Vec<String> },
    AliasList,
    AliasDelete { alias: String },
    KeyCreate(KeyCreate),
    KeyList,
    KeyRevoke { id: String },
    QueueList,
    QueueShow { id: String },
    QueueAct { id: String, action: QueueAction },
    SuppressionList { org: Option<String> },
    SuppressionAdd { entry: String, scope: Option<Scope>, org: Option<String> },
    SuppressionRemove { entry: String, org: Option<String> },
    Check { repair: bool },
    Audit { org: Option<String> },
    TlsReportList,
    TlsReportSend { day: Option<String> },
    TlsReportReceived { mailbox: String, folder: Option<String> },
    DmarcReportList,
    DmarcReportSend { day: Option<String> },
    DmarcReportReceived { mailbox: String, folder: Option<String> },
    Import { mailbox: String, folder: Option<String> },
    Export { mailbox: String },
}

/// A key of the API to be made. Organisation or mailbox, not both.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct KeyCreate {
    pub org: Option<String>,
    pub mailbox: Option<String>,
    /// Names separated by commas.
    pub scopes: String,
    /// A day or a time.
    pub expires: Option<String>,
    pub name: String,
    /// Domains and addresses it may send for; none: all of the organisation's.
    pub senders: Vec<String>,
    /// Networks it may be used from; none: everywhere.
    pub networks: Vec<String>,
    pub test: bool,
}

/// What can be done to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum QueueAction {
    Retry,
    Hold,
    Release,
    Cancel,
}

/// What a suppression is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Scope {
    Address,
    Domain,
}

/// A password on its way to the database; `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct Password(pub Secret);

impl Serialize for Password {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Password(Secret::new(text)))
    }
}

/// Why a request was refused or failed; exit status 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(pub String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure(error.to_string())
    }
}
