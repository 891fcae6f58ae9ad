//! The header of a message before it is stored: whose it is, what is completed and taken out, and the
//! signatures over the result.

use std::cell::Cell;

use protocol_core::Timestamp;
use protocol_core::address::Canonical;
use protocol_core::message::from::from_addresses;
use protocol_core::message::header::is_authentication_results_by;
use protocol_core::message::{self, AddressList, Edit, Fields, submission};
use protocol_smtp::server::Refusal;
use storage::{AddressRow, Mailbox, Storage};

use super::accept::storage_failed;
use super::bodies::Form;
use super::domain_of;
use super::idempotency::is_key;
use super::origin::Judged;
use super::session::Connection;
use super::transaction::Transaction;
use crate::signing::sign_spooled;

impl Connection {
    /// Judges who wrote a message: exactly one From field, and for submission only addresses that the account may
    /// send as, there and in Sender. The domain of the first author, or else the account's.
    pub(super) async fn judge_authors(
        &self,
        transaction: &Transaction,
        header: &[u8],
    ) -> Result<String, Refusal> {
        let from = from_addresses(header, transaction.sender.is_empty()).map_err(|_| Refusal::BadFrom)?;
        let author = from.first().and_then(written).map(|address| address.domain().to_owned());
        let Some(account) = &self.account else { return Ok(author.unwrap_or_default()) };
        for mailbox in &from {
            if !may_send_as(&self.app.storage, account, written(mailbox)).await.map_err(storage_failed)? {
                return Err(Refusal::SenderNotAllowed("From"));
            }
        }
        if let Some(sender) = Fields::find(header, "Sender") {
            for mailbox in AddressList::new(sender.value).mailboxes() {
                if !may_send_as(&self.app.storage, account, written(&mailbox))
                    .await
                    .map_err(storage_failed)?
                {
                    return Err(Refusal::SenderNotAllowed("Sender"));
                }
            }
        }
        Ok(author.unwrap_or_else(|| domain_of(&account.address)))
    }

    /// How one form of a message changes: for submission, fields that are missing or must go, and signatures of
    /// its author's domain over the result; for all, results that claim to be ours go.
    pub(super) async fn edit(
        &self,
        form: &Form,
        judged: &Judged,
        author: &str,
        now: Timestamp,
        random: [u8; 16],
    ) -> Result<Edit, Refusal> {
        let header = &header_of(form).await?;
        let mut edit = match &self.account {
            None => Edit::default(),
            Some(account) => submission::complete(header, now, random, &domain_of(&account.address)),
        };
        let own = &self.app.config.server.hostname;
        let kept = Cell::new(!judged.keeps_results);
        edit.skip_fields(header, |field| {
            // The gateway's is the topmost.
            is_authentication_results_by(field, own) && kept.replace(true)
        });
        if self.account.is_none() {
            return Ok(edit); // it is its author's server's to sign
        }
        edit.skip_fields(header, is_key);
        let signing = &self.app.signing;
        let signer = signing.for_author(&self.app.storage, author).await.map_err(storage_failed)?;
        if let Some(signer) = signer {
            // Nothing of what is signed changes any more; trace fields go above.
            let signatures = sign_spooled(&signer, header, &edit, &form.spool, now).await;
            edit.prefix = [signatures.map_err(storage_failed)?, edit.prefix].concat();
        }
        Ok(edit)
    }
}

/// Whether an address is the account's own, or one of its aliases, with a tag or without.
pub(crate) async fn may_send_as(
    storage: &Storage,
    account: &Mailbox,
    address: Option<Canonical>,
) -> storage::Result<bool> {
    let Some(address) = address else { return Ok(false) };
    let store = storage.store();
    let settings = match store.domain(address.domain()).await {
        Ok(domain) if domain.org == account.org => domain.settings,
        Ok(_) | Err(storage::Error::NotFound) => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut forms = vec![address.to_string()];
    if settings.plus_addressing.unwrap_or(true) {
        let delimiter = settings.plus_delimiter.and_then(|d| d.chars().next()).unwrap_or('+');
        forms.extend(address.split_plus(delimiter).map(|(plain, _)| plain.to_string()));
    }
    if forms.contains(&account.address) {
        return Ok(true);
    }
    let rows = store.address_rows(&forms).await?;
    Ok(rows.iter().flatten().any(|row| match row {
        AddressRow::Alias(alias) => alias.org == account.org && alias.targets.contains(&account.address),
        AddressRow::Mailbox(_) => false,
    }))
}

/// The header of a message, its blank line included.
pub(super) async fn header_of(form: &Form) -> Result<Vec<u8>, Refusal> {
    let length = usize::try_from(form.structure.root().body_start).unwrap_or(usize::MAX);
    form.spool.read(0, length).await.map_err(storage_failed)
}

/// An address of a header field in canonical form.
pub(super) fn written(mailbox: &message::Mailbox<'_>) -> Option<Canonical> {
    let local = std::str::from_utf8(&mailbox.local).ok()?;
    Canonical::from_parts(local, std::str::from_utf8(&mailbox.domain).ok()?).ok()
}
