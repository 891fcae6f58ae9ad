//! Who can be reached: each recipient is looked up, judged and taken into the transaction, or refused.

use protocol_core::SendBuf;
use protocol_smtp::address::{Mailbox as Address, Path};
use protocol_smtp::server::{Recipient as AskRecipient, Refusal, ServerSession};
use storage::OrgId;
use storage::directory::{Requires, Resolution, resolve};

use super::accept::storage_failed;
use super::domain_of;
use super::session::Connection;
use super::transaction::{Recipient, Remote, canonical};

impl Connection {
    pub(super) async fn recipient(
        &mut self,
        ask: AskRecipient<'_>,
        session: &mut ServerSession,
        out: &mut SendBuf,
    ) {
        let given = match ask.path() {
            Path::Mailbox(mailbox) => mailbox.as_str().to_owned(),
            Path::Null | Path::Postmaster => format!("postmaster@{}", self.app.config.server.hostname),
        };
        let verdict = match self.resolve(&ask, &given).await {
            Ok(resolution) => {
                let elsewhere = match &resolution {
                    Resolution::UnknownLocal | Resolution::NotLocal => self.bounce_target(&given).await,
                    Resolution::Local { remote, .. } if !remote.is_empty() => self.forwarder(&given).await,
                    _ => None,
                };
                self.await_spf().await;
                let (role, requires) = match &resolution {
                    Resolution::Local { role, requires, .. } => (*role, *requires),
                    _ => (false, Requires::default()),
                };
                let ready = match &resolution {
                    Resolution::Local { mailboxes, .. } => {
                        self.app.storage.encryption_ready(mailboxes).await.map_err(storage_failed)
                    }
                    // Whether there is such a mailbox must not show in the time that this takes.
                    _ => {
                        let _ = self.app.storage.encryption_ready_at(&domain_of(&given)).await;
                        Ok(())
                    }
                };
                let leaves = matches!(resolution, Resolution::NotLocal) && elsewhere.is_none();
                let admitted = match self.admit(&given, ask.params(), resolution, elsewhere) {
                    Ok(()) if leaves => {
                        self.not_suppressed(&given).await.inspect_err(|_| self.give_up_recipient())
                    }
                    admitted => admitted,
                };
                let admitted = admitted.and_then(|()| ready.inspect_err(|_| self.give_up_recipient()));
                match admitted {
                    Ok(()) => {
                        self.judge_recipient(role, requires).await.inspect_err(|_| self.give_up_recipient())
                    }
                    refused => refused,
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a recipient could not be looked up");
                Err(Refusal::StorageFailed)
            }
        };
        match verdict {
            Ok(()) => ask.accept(session, out),
            Err(why) => {
                let sender = self.transaction.as_ref().map_or("", |t| &t.sender);
                self.log_refusal(sender, Some(&given), &why);
                ask.refuse(&why, session, out);
            }
        }
    }

    /// Looks a recipient up, and with it all that the client has sent behind it, in one query.
    async fn resolve(&mut self, ask: &AskRecipient<'_>, given: &str) -> storage::Result<Resolution> {
        let own_host = &self.app.config.server.hostname;
        let Some(transaction) = &mut self.transaction else { return Ok(Resolution::NotLocal) };
        let key = Address::parse(given).map_or_else(|_| given.to_owned(), canonical);
        if let Some(known) = transaction.ahead.remove(&key) {
            return Ok(known);
        }
        let mut keys = vec![key.clone()];
        keys.extend(ask.upcoming().map(canonical));
        keys.sort_unstable();
        keys.dedup();
        let found = resolve(self.app.storage.store(), own_host, &keys).await?;
        transaction.ahead = keys.into_iter().zip(found).collect();
        Ok(transaction.ahead.remove(&key).unwrap_or(Resolution::NotLocal))
    }

    /// Takes a recipient into the transaction, or says why not.
    fn admit(
        &mut self,
        given: &str,
        params: protocol_smtp::params::RcptParams<'_>,
        resolution: Resolution,
        elsewhere: Option<(String, OrgId)>,
    ) -> Result<(), Refusal> {
        if let Some(transaction) = &self.transaction {
            self.within_quotas(transaction)?;
        }
        let Some(transaction) = &mut self.transaction else { return Err(Refusal::StorageFailed) };
        let mut recipient = Recipient::new(given, params);
        match (resolution, &self.account, elsewhere) {
            (Resolution::Local { mailboxes, remote, role, .. }, _, forwarder) => {
                recipient.mailboxes = mailboxes;
                recipient.role = role;
                match forwarder {
                    Some((_, org)) => {
                        let forward = |address| Remote { address, forwarded: true, org };
                        recipient.remote = remote.into_iter().map(forward).collect();
                    }
                    None if remote.is_empty() => {}
                    None => return Err(Refusal::StorageFailed),
                }
            }
            (Resolution::Disabled, ..) => return Err(Refusal::Disabled),
            (Resolution::OverQuota, ..) => return Err(Refusal::OverQuota),
            (Resolution::AliasLoop, ..) => return Err(Refusal::Loop),
            (Resolution::UnknownLocal | Resolution::NotLocal, _, Some((address, org))) => {
                recipient.remote.push(Remote { address, forwarded: true, org });
            }
            (Resolution::UnknownLocal, ..) => return Err(Refusal::UnknownRecipient),
            (Resolution::NotLocal, Some(account), None) => {
                recipient.remote.push(Remote {
                    address: given.to_owned(),
                    forwarded: false,
                    org: account.org,
                });
            }
            (Resolution::NotLocal, None, None) => return Err(Refusal::RelayDenied),
        }
        // The queued body has one owner: another organisation's forwarding comes in a transaction of its own.
        let mut orgs = transaction.recipients.iter().flat_map(|r| &r.remote).map(|r| r.org);
        if let (Some(first), Some(new)) = (orgs.next(), recipient.remote.first())
            && first != new.org
        {
            return Err(Refusal::SeparateTransaction);
        }
        transaction.recipients.push(recipient);
        Ok(())
    }

    /// Takes the recipient out again that was taken in last.
    fn give_up_recipient(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.recipients.pop();
        }
    }
}
