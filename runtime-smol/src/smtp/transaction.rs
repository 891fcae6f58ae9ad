//! One mail transaction as it grows: the sender, what each recipient resolved to, and the message's octets.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use protocol_core::Timestamp;
use protocol_core::address::Canonical;
use protocol_core::message::Scanner;
use protocol_core::time::Duration;
use protocol_smtp::address::Mailbox as Address;
use protocol_smtp::params::{self, Body, By, MailParams, RcptParams, Ret};
use storage::directory::Resolution;
use storage::{Charge, Mailbox, MailboxId, OrgId, Spool};
use tracing::Span;

use super::limits::Quotas;
use super::origin::Origin;
use crate::telemetry;

/// What MAIL said.
pub struct Transaction {
    /// Reverse-path without brackets; empty is the null reverse-path.
    pub sender: String,
    /// BODY.
    pub body: Body,
    /// SMTPUTF8 was given.
    pub smtputf8: bool,
    /// REQUIRETLS was given.
    pub require_tls: bool,
    /// RET as it is stored.
    pub ret: Option<&'static str>,
    /// ENVID in xtext.
    pub envid: Option<String>,
    /// HOLDFOR or HOLDUNTIL: nothing goes anywhere before, not even into a mailbox here.
    pub hold: Option<Hold>,
    /// BY.
    pub by: Option<By>,
    /// Accepted recipients, in order.
    pub recipients: Vec<Recipient>,
    /// Answers for recipients that were looked up ahead of their RCPT.
    pub ahead: HashMap<String, Resolution>,
    /// What is known of where it comes from.
    pub origin: Origin,
    /// The message, once DATA or BDAT began.
    pub incoming: Option<Incoming>,
    /// Quotas of the authenticated sender's domain, when it has any.
    pub quotas: Option<Quotas>,
    /// Gives the place in the rate window back, when the message is refused.
    pub counted: Option<Charge>,
    /// From MAIL to the answer.
    pub span: Span,
}

/// A message that its sender wants to leave later (RFC 4865).
pub struct Hold {
    /// When, by the wall clock.
    pub release: Timestamp,
    /// Whose mail it is.
    pub org: OrgId,
}

/// A message as it arrives: kept in the spool, understood by the scanner.
pub struct Incoming {
    pub spool: Spool,
    pub scanner: Scanner,
    /// Of the octets as they came: two tries of one message are the same.
    pub hasher: blake3::Hasher,
    /// Why the spool takes no more; the message is refused at its end.
    pub failed: Option<storage::Error>,
}

/// An accepted recipient.
pub struct Recipient {
    /// As given in RCPT, without brackets.
    pub given: String,
    /// NOTIFY.
    pub notify: Option<String>,
    /// ORCPT in xtext.
    pub orcpt: Option<String>,
    /// Local mailboxes it reaches.
    pub mailboxes: Vec<Mailbox>,
    /// A role address: quotas do not apply.
    pub role: bool,
    /// Addresses elsewhere that it reaches.
    pub remote: Vec<Remote>,
}

/// An address elsewhere.
pub struct Remote {
    /// Without brackets.
    pub address: String,
    /// Whether an alias (and not the sender) named it: its next hop sees a rewritten sender.
    pub forwarded: bool,
    /// Whose mail it is: the alias's organisation, or the sender's.
    pub org: OrgId,
}

/// One job: the organisation it is sent for, the destination domain, and whether the sender is rewritten.
pub type Group = (OrgId, String, bool);

impl Transaction {
    /// For mail of `org`, where a member of it logged in, at this time.
    pub fn new(
        sender: String,
        params: &MailParams<'_>,
        origin: Origin,
        (org, now): (Option<OrgId>, Timestamp),
    ) -> Transaction {
        let release = params.hold.map(|hold| match hold {
            params::Hold::For(secs) => now + Duration::from_secs(u64::from(secs)),
            params::Hold::Until(at) => at,
        });
        // A time that is over is no hold: local copies need no detour through the queue.
        let release = release.filter(|at| *at > now);
        Transaction {
            sender,
            body: params.body,
            smtputf8: params.smtputf8,
            require_tls: params.require_tls,
            ret: params.ret.map(|r| match r {
                Ret::Full => "FULL",
                Ret::Headers => "HDRS",
            }),
            envid: params.envid.map(str::to_owned),
            hold: release.zip(org).map(|(release, org)| Hold { release, org }),
            by: params.by,
            recipients: Vec::new(),
            ahead: HashMap::new(),
            origin,
            incoming: None,
            quotas: None,
            counted: None,
            span: Span::none(),
        }
    }

    /// Its place in a trace, where there is one.
    pub fn trace(&self) -> Option<String> {
        telemetry::of(&self.span)
    }

    /// Each mailbox that gets its copy now, once, however many recipients lead to it, with the first recipient that did.
    pub fn deliveries(&self) -> Vec<(&Mailbox, &Recipient)> {
        if self.hold.is_some() {
            return Vec::new();
        }
        let mut seen: BTreeSet<MailboxId> = BTreeSet::new();
        let each = self.recipients.iter().flat_map(|r| r.mailboxes.iter().map(move |m| (m, r)));
        each.filter(|(mailbox, _)| seen.insert(mailbox.id)).collect()
    }

    /// What is queued: one job for each group, and in it each address once.
    pub fn groups(&self) -> BTreeMap<Group, Vec<(&Recipient, &str)>> {
        let mut groups: BTreeMap<Group, Vec<(&Recipient, &str)>> = BTreeMap::new();
        for (key, recipient, address) in self.hold.as_ref().map_or_else(|| self.remote(), |h| self.held(h)) {
            let group = groups.entry(key).or_default();
            if !group.iter().any(|(_, other)| *other == address) {
                group.push((recipient, address));
            }
        }
        groups
    }

    /// Addresses elsewhere.
    fn remote(&self) -> Vec<(Group, &Recipient, &str)> {
        let each = self.recipients.iter().flat_map(|r| r.remote.iter().map(move |remote| (r, remote)));
        let keyed = each.map(|(r, remote)| {
            ((remote.org, domain_of(&remote.address), remote.forwarded), r, remote.address.as_str())
        });
        keyed.collect()
    }

    /// All recipients as they were given. Those who live here are one group, whatever their domains: an alias and its
    /// mailbox still get one copy.
    fn held(&self, hold: &Hold) -> Vec<(Group, &Recipient, &str)> {
        let lives_here = |r: &Recipient| !r.mailboxes.is_empty() || r.remote.iter().any(|r| r.forwarded);
        let home = self.recipients.iter().find(|r| lives_here(r)).map(|r| domain_of(&r.given));
        let keyed = self.recipients.iter().map(|r| {
            let domain = home.clone().filter(|_| lives_here(r)).unwrap_or_else(|| domain_of(&r.given));
            ((hold.org, domain, false), r, r.given.as_str())
        });
        keyed.collect()
    }
}

impl Recipient {
    pub fn new(given: &str, params: RcptParams<'_>) -> Recipient {
        Recipient {
            given: given.to_owned(),
            notify: params.notify.map(str::to_owned),
            orcpt: params.orcpt.map(str::to_owned),
            mailboxes: Vec::new(),
            role: false,
            remote: Vec::new(),
        }
    }
}

impl Incoming {
    pub fn new(spool: Spool, own_host: &str, submitted: bool) -> Incoming {
        let mut scanner = Scanner::new().with_own_host(own_host);
        if submitted {
            scanner = scanner.with_decoded_sizes();
        }
        Incoming { spool, scanner, hasher: blake3::Hasher::new(), failed: None }
    }
}

/// The domain under which mail for an address is queued: its A-label, or the literal with its brackets.
pub fn domain_of(address: &str) -> String {
    match Canonical::parse(address) {
        Ok(canonical) => canonical.domain().to_owned(),
        Err(_) => address.rsplit_once('@').map_or_else(String::new, |(_, d)| d.to_ascii_lowercase()),
    }
}

/// The canonical form of an address, or its plain text when it has none (it is then nobody's).
pub fn canonical(address: Address<'_>) -> String {
    canonical_text(address.as_str())
}

/// The same for an address as text.
pub fn canonical_text(address: &str) -> String {
    Canonical::parse(address).map_or_else(|_| address.to_owned(), |c| c.to_string())
}
