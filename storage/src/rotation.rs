//! Changing keys while mail comes and goes.
//!
//! A new key seals from the moment it is stored. Then everything that older keys sealed is sealed anew, object by
//! object, and at last the older keys are forgotten. What was not finished when the process ended goes on when the next
//! one starts: whatever names an older key is still to be done, so nothing else has to be remembered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use crate::api::{EmailPlace, Webhook, WebhookEdit};
use crate::error::{Error, Refusal, Result};
use crate::facade::{Inner, Storage};
use crate::keys::{self, KEY_LEN, Purpose, Ring};
use crate::objects::{CHUNK_LEN, Content, Encoder, Listed, NewObject, ObjectKey};
use crate::types::*;

/// Rows whose meta is read and written at once.
const ROWS_AT_ONCE: usize = 500;
const EMAILS_AT_ONCE: usize = 200;
/// How often, and how many times, it is looked whether somebody still seals with replaced keys: for five minutes.
const HANDLE_POLL: Duration = Duration::from_millis(50);
const HANDLE_POLLS_MAX: u32 = 6_000;
/// For how long another process may go on with keys that it read before they changed.
const OTHERS_AGE: Duration = Duration::from_secs(180);

/// What was sealed anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Objects.
    pub objects: u64,
    /// Rows.
    pub rows: u64,
    /// Old keys are kept, because something that they sealed could not be sealed anew, or needs not to be because it is
    /// going to be removed.
    pub keys_kept: bool,
}

impl Storage {
    /// Gives an organisation a new key, seals everything anew and forgets the old keys. What a crash interrupts is
    /// finished by [`Storage::finish_rotations`].
    pub async fn rotate_tenant_key(&self, name: &str) -> Result<Resealed> {
        let org = self.inner.store.org(name).await?.id;
        self.change_keys(org, |ring| ring.add(None, None).map(drop)).await?;
        self.reseal(org).await
    }

    /// Gives a domain a key of its own, with which mail for its mailboxes is sealed, or takes it away. Mail that is there
    /// is sealed anew by [`Storage::reseal`]; whether there is anything to do.
    pub async fn set_domain_key(&self, domain: &Domain, key: Option<[u8; KEY_LEN]>) -> Result<bool> {
        let key = key.map(Zeroizing::new);
        let name = domain.name.clone();
        let sealed = self.inner.store.org_key(domain.org).await?;
        let ring = self.inner.keys.open_ring(domain.org, &sealed)?;
        let is_so = match &key {
            Some(key) => ring.is_current(&name, key),
            None => !ring.has_own(&name),
        };
        if is_so {
            return Ok(false);
        }
        self.change_keys(domain.org, move |ring| match &key {
            Some(key) if ring.is_current(&name, key) => Ok(()),
            Some(key) => ring.add(Some(&name), Some(key.clone())).map(drop),
            None => {
                ring.release(&name);
                Ok(())
            }
        })
        .await?;
        Ok(true)
    }

    /// Seals anew what older keys of an organisation sealed, and forgets these keys.
    pub async fn reseal(&self, org: OrgId) -> Result<Resealed> {
        if !self.inner.alone() {
            // Other processes may go on with the old key until they look at the database again.
            async_io::Timer::after(OTHERS_AGE).await;
        }
        self.durable(async move |inner| inner.reseal(org).await).await
    }

    /// Finishes what earlier processes began.
    pub async fn finish_rotations(&self) -> Result<()> {
        if self.inner.keys.has_old_master() && self.inner.alone() {
            let done = self.durable(async move |inner| inner.finish_master().await).await?;
            tracing::info!(secrets = done, "a change of the master key was finished");
        }
        for org in self.inner.store.list_orgs().await? {
            let sealed = self.inner.store.org_key(org.id).await?;
            if self.inner.keys.open_ring(org.id, &sealed)?.has_old() {
                let done = self.reseal(org.id).await?;
                tracing::info!(org = %org.id, objects = done.objects, rows = done.rows, "a change of keys was finished");
            }
        }
        Ok(())
    }

    async fn change_keys(
        &self,
        org: OrgId,
        change: impl Fn(&mut Ring) -> Result<()> + Send + Sync + 'static,
    ) -> Result<()> {
        self.durable(async move |inner| inner.change_keys(org, change).await).await
    }
}

impl Inner {
    async fn change_keys(&self, org: OrgId, change: impl Fn(&mut Ring) -> Result<()>) -> Result<()> {
        loop {
            let before = self.store.org_key(org).await?;
            let mut ring = self.keys.open_ring(org, &before)?;
            change(&mut ring)?;
            let after = self.keys.seal_ring(&ring)?;
            let set = self.store.set_org_key(org, &before, &after).await;
            if self.settle(set)? {
                self.keys.open_tenant(org, &after)?;
                return Ok(());
            }
        }
    }

    async fn reseal(self: &Arc<Self>, org: OrgId) -> Result<Resealed> {
        // Two at once would forget what the other has just sealed with.
        let _one_at_a_time = self.rotating.lock().await;
        self.tenant_now(org).await?;
        // What was begun with the old keys must rest before it is looked for.
        let keys_kept = !self.old_handles_gone(org).await;
        let mut done = Resealed { keys_kept, ..Resealed::default() };
        let old = self.keys.open_ring(org, &self.store.org_key(org).await?)?.old();
        // Objects first: from them rows can be made again.
        let mut listed = Vec::new();
        for prefix in ObjectKey::org_prefixes(org) {
            listed.extend(self.blobs.list(&prefix).await?);
        }
        for some in listed.chunk_by(|a, b| a.key.mailbox == b.key.mailbox) {
            for some in some.chunks(ROWS_AT_ONCE) {
                let _flight = self.begin_flight(some.iter().map(|object| object.key).collect());
                let mut again = Vec::new();
                for object in some {
                    match self.reseal_object(object.key).await {
                        Ok(true) => again.push(object),
                        Ok(false) | Err(Error::NotFound) => {}
                        Err(error) => {
                            tracing::error!(%error, object = %object.key, "an object cannot be sealed anew");
                            done.keys_kept = true;
                        }
                    }
                }
                done.objects += again.len() as u64;
                self.mark_again(&again).await?;
            }
        }
        for mailbox in self.store.list_mailboxes().await?.into_iter().filter(|mailbox| mailbox.org == org) {
            done.rows += self.reseal_rows(&mailbox).await?;
            // Rows of calendars and contacts are not sealed anew: the key that sealed them stays.
            done.keys_kept |= self.store.dav_owner(mailbox.id).await?.is_some();
        }
        // What is written of an e-mail of the API goes with its time; the key stays as long.
        done.keys_kept |= self.has_old_emails(org).await?;
        if !done.keys_kept {
            // Only what was old before everything was looked at: a newer key may have come since.
            self.change_keys(org, |ring| {
                ring.forget(&old);
                Ok(())
            })
            .await?;
        }
        Ok(done)
    }

    /// Waits until nobody seals with the keys as they were; whether that was so in time.
    async fn old_handles_gone(&self, org: OrgId) -> bool {
        for _ in 0..HANDLE_POLLS_MAX {
            if !self.keys.has_replaced_handles(org) {
                return true;
            }
            async_io::Timer::after(HANDLE_POLL).await;
        }
        false
    }

    async fn reseal_object(self: &Arc<Self>, key: ObjectKey) -> Result<bool> {
        let mut object = self.open_object(key).await?;
        if object.is_current() {
            return Ok(false);
        }
        let mut spool = crate::Spool::new(self.spool_dir.clone(), u64::MAX);
        let mut at = 0;
        while at < object.len() {
            let piece = object.read(at, CHUNK_LEN).await?;
            at += piece.len() as u64;
            spool.write(piece).await?;
        }
        if spool.hash() != object.envelope().hash {
            return Err(Error::Corrupt(format!("object {key}")));
        }
        let content = Content::new(Vec::new(), &spool, &[])?;
        let tenant = self.tenant_of(key.org, key.mailbox).await?;
        let blobs = self.blobs_of(&tenant);
        let new = NewObject { key, envelope: object.envelope().clone(), content };
        blobs.replace(key, Box::new(Encoder::new(new, tenant))).await?;
        Ok(true)
    }

    /// Marks objects of one place as they were marked before they were sealed anew. What was removed meanwhile must
    /// not come back.
    async fn mark_again(&self, again: &[&Listed]) -> Result<()> {
        let Some(first) = again.first() else { return Ok(()) };
        let rows = self.rows_of(first.key.org, first.key.mailbox).await?;
        let were = again.iter().filter(|object| object.confirmed != Some(false)).map(|object| object.key);
        let (there, gone): (Vec<ObjectKey>, Vec<ObjectKey>) =
            were.partition(|key| rows.contains(&key.message));
        self.confirm(&there).await;
        self.delete_objects(&gone).await;
        Ok(())
    }

    async fn reseal_rows(&self, mailbox: &Mailbox) -> Result<u64> {
        let tenant = self.tenant_of(mailbox.org, Some(mailbox.id)).await?;
        let (mut done, mut seen) = (0, HashSet::new());
        let folders = match self.store.folders(mailbox.id).await {
            Err(Error::NotFound) => return Ok(0),
            other => other?,
        };
        for folder in folders {
            let rows = match self.store.load_folder(folder.id).await {
                Err(Error::NotFound) => continue,
                other => other?.1,
            };
            for some in rows.chunks(ROWS_AT_ONCE) {
                let (Some(first), Some(last)) = (some.first(), some.last()) else { continue };
                let sealed = match self.store.meta(folder.id, first.uid..=last.uid).await {
                    Err(Error::NotFound) => break,
                    other => other?,
                };
                let mut metas = Vec::new();
                for (uid, old) in sealed {
                    let Ok(at) = some.binary_search_by_key(&uid, |row| row.uid) else { continue };
                    let message = some[at].message;
                    // Folders of one mailbox share it.
                    if !seen.insert(message) || tenant.is_current_meta(&old) {
                        continue;
                    }
                    let meta = tenant.open_meta(mailbox.id, message, &old)?;
                    let new = tenant.seal_meta(mailbox.id, message, &meta)?;
                    metas.push((message, keys::with_wrapped_key(new, keys::wrapped_key(&old))));
                }
                done += metas.len() as u64;
                if !metas.is_empty() {
                    self.settle(self.store.set_meta(mailbox.id, metas).await)?;
                }
            }
        }
        Ok(done)
    }

    async fn has_old_emails(&self, org: OrgId) -> Result<bool> {
        let tenant = self.tenant(org).await?;
        let mut after: Option<EmailPlace> = None;
        loop {
            let emails = self.store.emails(org, after, EMAILS_AT_ONCE).await?;
            if emails.iter().any(|email| !tenant.is_current_meta(&email.sealed)) {
                return Ok(true);
            }
            match emails.last() {
                Some(last) if emails.len() == EMAILS_AT_ONCE => {
                    after = Some(EmailPlace { created: last.open.created, id: last.id });
                }
                _ => return Ok(false),
            }
        }
    }
}

/// The 32 octets of a key in base64; the error says what it must be.
pub fn read_customer_key(text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>> {
    keys::parse_base64_key(text)
        .ok_or_else(|| Refusal::Invalid("valid is a key of 32 octets, in base64".into()).into())
}

// ---- the master key ----------------------------------------------------------------------------------------

impl Storage {
    /// Makes a new master key in the place of the one in the file, and seals every secret with it; how many. What a
    /// crash interrupts is finished by [`Storage::finish_rotations`]. The file then holds both keys.
    pub async fn rotate_master_key(&self) -> Result<u64> {
        if !self.inner.alone() {
            let why = "several processes share the database: stop all but one, and give its key file to all";
            return Err(Refusal::Invalid(why.into()).into());
        }
        self.durable(async move |inner| {
            inner.keys.begin_master().map_err(|why| Error::Unavailable(why.to_string()))?;
            inner.finish_master().await
        })
        .await
    }
}

impl Inner {
    /// Seals with the current master key what older ones sealed, and forgets these.
    async fn finish_master(&self) -> Result<u64> {
        let mut done = 0;
        for org in self.store.list_orgs().await? {
            done += u64::from(self.org_key_again(org.id).await?);
            for webhook in self.store.webhooks(Some(org.id)).await? {
                done += u64::from(self.webhook_again(&webhook).await?);
            }
        }
        for mailbox in self.store.list_mailboxes().await? {
            done += u64::from(self.password_again(&mailbox.address).await?);
        }
        for domain in self.store.list_domains().await? {
            done += u64::from(self.settings_again(&domain.name).await?);
        }
        self.keys.end_master().map_err(|why| Error::Unavailable(why.to_string()))?;
        Ok(done)
    }

    /// The same secret under the current key; none when it is that already.
    fn again(&self, purpose: Purpose, id: &str, sealed: &[u8]) -> Result<Option<Vec<u8>>> {
        if self.keys.is_current(purpose, id, sealed)? {
            return Ok(None);
        }
        let opened = self.keys.open_sealed(purpose, id, sealed)?;
        self.keys.seal(purpose, id, &opened).map(Some)
    }

    async fn org_key_again(&self, org: OrgId) -> Result<bool> {
        loop {
            let before = match self.store.org_key(org).await {
                Err(Error::NotFound) => return Ok(false),
                other => other?,
            };
            let Some(after) = self.again(Purpose::TenantKey, "", &before)? else { return Ok(false) };
            let set = self.store.set_org_key(org, &before, &after).await;
            if self.settle(set)? {
                return Ok(true);
            }
        }
    }

    async fn webhook_again(&self, webhook: &Webhook) -> Result<bool> {
        let id = webhook.id.to_string();
        let Some(sealed) = self.again(Purpose::Webhook, &id, &webhook.sealed_secret)? else {
            return Ok(false);
        };
        let edit = WebhookEdit { sealed_secret: Some(sealed), ..WebhookEdit::default() };
        match self.settle(self.store.edit_webhook(webhook.org, webhook.id, edit).await) {
            Err(Error::NotFound) => Ok(false),
            other => other.map(|_| true),
        }
    }

    async fn password_again(&self, address: &str) -> Result<bool> {
        loop {
            let Some((_, before)) = self.store.credential(address).await? else { return Ok(false) };
            let Some(scram_sealed) = self.again(Purpose::Scram, address, &before.scram_sealed)? else {
                return Ok(false);
            };
            let after = PasswordRecord { scram_sealed, ..before.clone() };
            match self.settle(self.store.set_password_if(address, &before, &after).await) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(Error::NotFound) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    async fn settings_again(&self, name: &str) -> Result<bool> {
        loop {
            let before = match self.store.domain(name).await {
                Err(Error::NotFound) => return Ok(false),
                other => other?.settings,
            };
            let mut after = before.clone();
            let mut changed = false;
            for (purpose, secret) in secrets_of(&mut after) {
                let Some(text) = secret else { continue };
                let sealed =
                    BASE64.decode(&*text).map_err(|_| Error::Corrupt(format!("settings of {name}")))?;
                if let Some(again) = self.again(purpose, name, &sealed)? {
                    *text = BASE64.encode(again);
                    changed = true;
                }
            }
            if !changed {
                return Ok(false);
            }
            match self.settle(self.store.replace_domain(name, &before, &after).await) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(Error::NotFound) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

/// What the settings of a domain keep sealed, in base64.
fn secrets_of(s: &mut DomainSettings) -> [(Purpose, &mut Option<String>); 5] {
    [
        (Purpose::Dkim, &mut s.dkim_private_key_b64_pkcs8),
        (Purpose::Dkim, &mut s.dkim_ed25519_private_key_b64_pkcs8),
        (Purpose::Dkim, &mut s.dkim_next_private_key_b64_pkcs8),
        (Purpose::Dkim, &mut s.dkim_next_ed25519_private_key_b64_pkcs8),
        (Purpose::SseC, &mut s.enc_sse_c_key_b64),
    ]
}
