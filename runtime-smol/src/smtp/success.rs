//! Word to the sender that a message is in the mailbox, for recipients with NOTIFY=SUCCESS who live here
//! (RFC 3461 §5.2.1). It is written in the transaction that puts the message there.

use protocol_core::Timestamp;
use protocol_core::message::{binary, header::header_len};
use protocol_smtp::dsn::{Action, RETURNED_MAX, Report, Returned};
use protocol_smtp::params::Body;
use protocol_smtp::queue::{Notify, Verdict};
use protocol_smtp::status::Status;
use storage::{Accept, OrgId, Spool};

use super::session::Connection;
use super::transaction::Transaction;
use crate::outbound::{Told, compose};

impl Connection {
    /// The notification, if one is due.
    pub(super) async fn success_notice(
        &self,
        transaction: &Transaction,
        header: &[u8],
        now: Timestamp,
    ) -> storage::Result<Option<(Spool, Accept)>> {
        if transaction.sender.is_empty() || transaction.hold.is_some() {
            return Ok(None);
        }
        let Verdict::Delivered { reply, .. } = Verdict::at_home(false) else { return Ok(None) };
        let asks =
            |notify: &Option<String>| notify.as_deref().and_then(Notify::parse).is_some_and(Notify::success);
        let placed = transaction.recipients.iter().filter(|r| !r.mailboxes.is_empty() && asks(&r.notify));
        let reports: Vec<Report<'_>> = placed
            .map(|recipient| Report {
                recipient: &recipient.given,
                orcpt: recipient.orcpt.as_deref(),
                action: Action::Delivered,
                status: Status::new(2, 1, 5),
                remote: None,
                diagnostic: reply.clone(),
                last_attempt: None,
                retry_until: None,
            })
            .collect();
        let Some(org) = owner(transaction).filter(|_| !reports.is_empty()) else { return Ok(None) };
        let mut header = header[..header_len(header)].to_vec();
        if transaction.body == Body::Binary {
            header = binary::clean_header(&header);
        }
        header.truncate(RETURNED_MAX);
        let told = Told {
            org,
            sender: &transaction.sender,
            arrival: now,
            envid: transaction.envid.as_deref(),
            deliver_by: None,
            require_tls: transaction.require_tls,
            reports: &reports,
            returned: Returned::Header(header),
        };
        compose(&self.app, told, now).await.map(Some)
    }
}

/// Whose notification it is: that of the first mailbox's organisation.
fn owner(transaction: &Transaction) -> Option<OrgId> {
    transaction.recipients.iter().flat_map(|r| &r.mailboxes).map(|mailbox| mailbox.org).next()
}
