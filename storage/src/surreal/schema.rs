//! The schema and its versions.
//!
//! Record IDs are chosen so that the natural reads are range scans: a mailbox's folders are
//! `folder:[mailbox, folder]`, a folder's messages `message:[folder, uid]`, its removals
//! `expunged:[folder, modseq]`, what is due `due:[organisation, time, job]`. IDs are text, times are milliseconds since the
//! epoch, flags are an integer's bits. Rows that guard others carry a revision, `rev`.

use surrealdb_types::Variables;

use super::call::Calls;
use super::value::{Fields, int};
use crate::error::{Error, Result};
use crate::rows::ApplyError;

/// The version this program writes.
pub const VERSION: u64 = 9;

/// How often opening tries again after another instance that opens at the same time was first.
const STARTS_MAX: u32 = 50;

/// What each version adds to the one before it.
const MIGRATIONS: [&str; VERSION as usize] =
    [VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6, VERSION_7, VERSION_8, VERSION_9];

const VERSION_1: &str = "
DEFINE TABLE organization SCHEMAFULL;
DEFINE FIELD name ON organization TYPE string;
DEFINE FIELD created ON organization TYPE int;
DEFINE FIELD sealed_key ON organization TYPE bytes;
DEFINE INDEX organization_name ON organization FIELDS name UNIQUE;

DEFINE TABLE domain SCHEMAFULL;
DEFINE FIELD name ON domain TYPE string;
DEFINE TABLE has_domain TYPE RELATION IN organization OUT domain SCHEMAFULL;
DEFINE FIELD dkim_selector ON has_domain TYPE option<string>;
DEFINE FIELD dkim_private_key_b64_pkcs8 ON has_domain TYPE option<string>;
DEFINE FIELD dkim_ed25519_private_key_b64_pkcs8 ON has_domain TYPE option<string>;
DEFINE FIELD dkim_public_key_b64 ON has_domain TYPE option<string>;
DEFINE FIELD dkim_ed25519_public_key_b64 ON has_domain TYPE option<string>;
DEFINE FIELD dkim_headers ON has_domain TYPE option<string>;
DEFINE FIELD require_spf_pass ON has_domain TYPE option<bool>;
DEFINE FIELD require_dkim_pass ON has_domain TYPE option<bool>;
DEFINE FIELD require_dmarc_pass ON has_domain TYPE option<bool>;
DEFINE FIELD outbound_dnssec_validate ON has_domain TYPE option<bool>;
DEFINE FIELD enc_mode ON has_domain TYPE option<string>;
DEFINE FIELD enc_sse_c_key_b64 ON has_domain TYPE option<string>;
DEFINE FIELD enc_wrapped_dek_customer ON has_domain TYPE option<string>;
DEFINE FIELD enc_e2ee_recipient ON has_domain TYPE option<string>;
DEFINE FIELD quota_max_recipients_per_message ON has_domain TYPE option<int>;
DEFINE FIELD quota_hourly_send_limit ON has_domain TYPE option<int>;
DEFINE FIELD quota_daily_send_limit ON has_domain TYPE option<int>;
DEFINE FIELD quota_max_queued_jobs ON has_domain TYPE option<int>;
DEFINE FIELD plus_addressing ON has_domain TYPE option<bool>;
DEFINE FIELD plus_delimiter ON has_domain TYPE option<string>;
DEFINE FIELD catch_all ON has_domain TYPE option<string>;
DEFINE FIELD quota_mailbox_bytes ON has_domain TYPE option<int>;

DEFINE TABLE mailbox SCHEMAFULL;
DEFINE FIELD org ON mailbox TYPE string;
DEFINE FIELD address ON mailbox TYPE string;
DEFINE FIELD domain ON mailbox TYPE record<has_domain>;
DEFINE FIELD name ON mailbox TYPE string;
DEFINE FIELD quota_bytes ON mailbox TYPE option<int>;
DEFINE FIELD used_bytes ON mailbox TYPE int;
DEFINE FIELD disabled ON mailbox TYPE bool;
DEFINE FIELD admin ON mailbox TYPE bool;
DEFINE FIELD rev ON mailbox TYPE int;
DEFINE FIELD uid_validity_last ON mailbox TYPE int;
DEFINE FIELD uid_validity_vacated ON mailbox TYPE int;
DEFINE TABLE address SCHEMAFULL;
DEFINE FIELD mailbox ON address TYPE record<mailbox>;
DEFINE TABLE alias SCHEMAFULL;
DEFINE FIELD org ON alias TYPE string;
DEFINE FIELD targets ON alias TYPE array<string>;
DEFINE TABLE administrator SCHEMAFULL;
DEFINE FIELD mailbox ON administrator TYPE record<mailbox>;
DEFINE TABLE credential SCHEMAFULL;
DEFINE FIELD argon2 ON credential TYPE string;
DEFINE FIELD scram_sealed ON credential TYPE bytes;

DEFINE TABLE folder SCHEMAFULL;
DEFINE FIELD name ON folder TYPE string;
DEFINE FIELD special_use ON folder TYPE option<string>;
DEFINE FIELD uid_validity ON folder TYPE int;
DEFINE FIELD uid_next ON folder TYPE int;
DEFINE FIELD highest_modseq ON folder TYPE int;
DEFINE FIELD keywords ON folder TYPE array<string>;
DEFINE FIELD messages ON folder TYPE int;
DEFINE FIELD unseen ON folder TYPE int;
DEFINE FIELD size ON folder TYPE int;
DEFINE TABLE folder_owner SCHEMAFULL;
DEFINE FIELD mailbox ON folder_owner TYPE string;
DEFINE TABLE message SCHEMAFULL;
DEFINE FIELD flags ON message TYPE int;
DEFINE FIELD modseq ON message TYPE int;
DEFINE FIELD size ON message TYPE int;
DEFINE FIELD date ON message TYPE int;
DEFINE FIELD message ON message TYPE string;
DEFINE TABLE expunged SCHEMAFULL;
DEFINE FIELD uids ON expunged TYPE array<int>;
DEFINE TABLE object SCHEMAFULL;
DEFINE FIELD refs ON object TYPE int;
DEFINE FIELD size ON object TYPE int;
DEFINE FIELD meta ON object TYPE bytes;
DEFINE TABLE subscription SCHEMAFULL;

DEFINE TABLE outbound_queue SCHEMAFULL;
DEFINE FIELD rev ON outbound_queue TYPE int;
DEFINE FIELD org ON outbound_queue TYPE string;
DEFINE FIELD message ON outbound_queue TYPE string;
DEFINE FIELD size ON outbound_queue TYPE int;
DEFINE FIELD sender ON outbound_queue TYPE string;
DEFINE FIELD domain ON outbound_queue TYPE string;
DEFINE FIELD recipients ON outbound_queue TYPE array<string>;
DEFINE FIELD envid ON outbound_queue TYPE option<string>;
DEFINE FIELD ret ON outbound_queue TYPE option<string>;
DEFINE FIELD eight_bit ON outbound_queue TYPE bool;
DEFINE FIELD binary ON outbound_queue TYPE bool;
DEFINE FIELD smtputf8 ON outbound_queue TYPE bool;
DEFINE FIELD require_tls ON outbound_queue TYPE bool;
DEFINE FIELD is_dsn ON outbound_queue TYPE bool;
DEFINE FIELD created ON outbound_queue TYPE int;
DEFINE FIELD starts ON outbound_queue TYPE int;
DEFINE FIELD first_due ON outbound_queue TYPE int;
DEFINE FIELD state ON outbound_queue TYPE string;
DEFINE FIELD attempts ON outbound_queue TYPE int;
DEFINE FIELD epoch ON outbound_queue TYPE int;
DEFINE FIELD owner ON outbound_queue TYPE option<string>;
DEFINE FIELD lease_until ON outbound_queue TYPE option<int>;
DEFINE FIELD due ON outbound_queue TYPE int;
DEFINE FIELD updated ON outbound_queue TYPE int;
DEFINE FIELD dot_sent ON outbound_queue TYPE array<int>;
DEFINE FIELD deliveries ON outbound_queue TYPE int;
DEFINE TABLE due SCHEMAFULL;
DEFINE FIELD leased ON due TYPE bool;
DEFINE TABLE delivery SCHEMAFULL;
DEFINE FIELD at ON delivery TYPE int;
DEFINE FIELD record ON delivery TYPE string;

DEFINE TABLE suppression SCHEMAFULL;
DEFINE TABLE rate_window SCHEMAFULL;
DEFINE TABLE idempotency SCHEMAFULL;
DEFINE TABLE calendar SCHEMAFULL;
DEFINE TABLE event SCHEMAFULL;
DEFINE TABLE address_book SCHEMAFULL;
DEFINE TABLE contact SCHEMAFULL;
DEFINE TABLE file SCHEMAFULL;
DEFINE TABLE audit SCHEMAFULL;

DEFINE FIELD rev ON meta TYPE option<int>;
UPSERT meta:directory SET rev = 0;
";

/// The state of a change of DKIM keys.
const VERSION_2: &str = "
DEFINE FIELD IF NOT EXISTS dkim_next_selector ON has_domain TYPE option<string>;
DEFINE FIELD IF NOT EXISTS dkim_next_private_key_b64_pkcs8 ON has_domain TYPE option<string>;
DEFINE FIELD IF NOT EXISTS dkim_next_ed25519_private_key_b64_pkcs8 ON has_domain TYPE option<string>;
DEFINE FIELD IF NOT EXISTS dkim_next_public_key_b64 ON has_domain TYPE option<string>;
DEFINE FIELD IF NOT EXISTS dkim_next_ed25519_public_key_b64 ON has_domain TYPE option<string>;
DEFINE FIELD IF NOT EXISTS dkim_old_selector ON has_domain TYPE option<string>;
DEFINE FIELD IF NOT EXISTS dkim_old_public_key_b64 ON has_domain TYPE option<string>;
DEFINE FIELD IF NOT EXISTS dkim_old_ed25519_public_key_b64 ON has_domain TYPE option<string>;
DEFINE FIELD IF NOT EXISTS dkim_old_until ON has_domain TYPE option<int>;
";

/// MTA-STS policies of other domains; the key is the domain.
const VERSION_3: &str = "
DEFINE TABLE IF NOT EXISTS mta_sts SCHEMAFULL;
DEFINE FIELD IF NOT EXISTS text ON mta_sts TYPE string;
DEFINE FIELD IF NOT EXISTS fetched ON mta_sts TYPE int;
DEFINE FIELD IF NOT EXISTS refresh ON mta_sts TYPE int;
DEFINE FIELD IF NOT EXISTS expires ON mta_sts TYPE int;
";

/// Counters, suppressions and keys of idempotency; what is due by organisation.
const VERSION_4: &str = "
DEFINE FIELD IF NOT EXISTS rev ON suppression TYPE int;
DEFINE FIELD IF NOT EXISTS reason ON suppression TYPE string;
DEFINE FIELD IF NOT EXISTS source ON suppression TYPE string;
DEFINE FIELD IF NOT EXISTS created ON suppression TYPE int;
DEFINE FIELD IF NOT EXISTS expires ON suppression TYPE option<int>;
DEFINE FIELD IF NOT EXISTS rev ON rate_window TYPE int;
DEFINE FIELD IF NOT EXISTS used ON rate_window TYPE int;
DEFINE TABLE IF NOT EXISTS quota SCHEMAFULL;
DEFINE FIELD IF NOT EXISTS rev ON quota TYPE int;
DEFINE FIELD IF NOT EXISTS used ON quota TYPE int;
DEFINE FIELD IF NOT EXISTS rev ON idempotency TYPE int;
DEFINE FIELD IF NOT EXISTS fingerprint ON idempotency TYPE bytes;
DEFINE FIELD IF NOT EXISTS answer ON idempotency TYPE string;
DEFINE FIELD IF NOT EXISTS expires ON idempotency TYPE int;
DEFINE FIELD IF NOT EXISTS crashes ON outbound_queue TYPE option<int>;
DEFINE FIELD IF NOT EXISTS lost ON outbound_queue TYPE option<int>;
DEFINE FIELD IF NOT EXISTS by_at ON outbound_queue TYPE option<int>;
DEFINE FIELD IF NOT EXISTS by_give_up ON outbound_queue TYPE option<bool>;
DEFINE FIELD IF NOT EXISTS by_trace ON outbound_queue TYPE option<bool>;
DEFINE FIELD IF NOT EXISTS counted ON outbound_queue TYPE option<string>;
FOR $old IN (SELECT id, leased FROM due WHERE array::len(record::id(id)) = 2) {
    LET $key = record::id($old.id);
    LET $org = (SELECT VALUE org FROM type::record('outbound_queue', $key[1]))[0];
    IF $org != NONE { UPSERT type::record('due', [$org, $key[0], $key[1]]) SET leased = $old.leased RETURN NONE };
    DELETE $old.id RETURN NONE;
};
";

/// Keys, e-mails, webhooks and templates of the API, and the log of what became of what was sent.
const VERSION_5: &str = "
DEFINE FIELD IF NOT EXISTS logged ON outbound_queue TYPE option<bool>;
DEFINE TABLE IF NOT EXISTS api_key SCHEMAFULL;
DEFINE FIELD IF NOT EXISTS rev ON api_key TYPE int;
DEFINE FIELD IF NOT EXISTS record ON api_key TYPE string;
DEFINE TABLE IF NOT EXISTS email SCHEMAFULL;
DEFINE FIELD IF NOT EXISTS rev ON email TYPE int;
DEFINE FIELD IF NOT EXISTS record ON email TYPE string;
DEFINE FIELD IF NOT EXISTS sealed ON email TYPE bytes;
DEFINE TABLE IF NOT EXISTS email_time SCHEMAFULL;
DEFINE FIELD IF NOT EXISTS rev ON email_time TYPE int;
DEFINE FIELD IF NOT EXISTS expires ON email_time TYPE int;
DEFINE TABLE IF NOT EXISTS webhook SCHEMAFULL;
DEFINE FIELD IF NOT EXISTS rev ON webhook TYPE int;
DEFINE FIELD IF NOT EXISTS record ON webhook TYPE string;
DEFINE TABLE IF NOT EXISTS template SCHEMAFULL;
DEFINE FIELD IF NOT EXISTS rev ON template TYPE int;
DEFINE FIELD IF NOT EXISTS record ON template TYPE string;
DEFINE TABLE IF NOT EXISTS api_log SCHEMAFULL;
DEFINE FIELD IF NOT EXISTS at ON api_log TYPE int;
DEFINE FIELD IF NOT EXISTS email ON api_log TYPE string;
DEFINE FIELD IF NOT EXISTS job ON api_log TYPE string;
DEFINE FIELD IF NOT EXISTS record ON api_log TYPE string;
";

/// The trace that a job is a part of; mailboxes of which webhooks are told what arrives.
const VERSION_6: &str = "
DEFINE FIELD IF NOT EXISTS told ON mailbox TYPE option<bool>;
DEFINE FIELD IF NOT EXISTS trace ON outbound_queue TYPE option<string>;
";

/// Collections and what is in them: nodes in a table for each kind of them, `event:[mailbox, collection, name's hash]`,
/// what guards a mailbox's tree, content, removals, UIDs, and mails to be sent.
const VERSION_7: &str = "
DEFINE TABLE IF NOT EXISTS dav_owner SCHEMAFULL;
DEFINE FIELD IF NOT EXISTS rev ON dav_owner TYPE int;
DEFINE FIELD IF NOT EXISTS last ON dav_owner TYPE int;
DEFINE TABLE IF NOT EXISTS dav_home SCHEMAFULL;
DEFINE FIELD IF NOT EXISTS node ON dav_home TYPE int;
DEFINE FIELD IF NOT EXISTS changed ON dav_home TYPE int;
DEFINE FIELD IF NOT EXISTS members_changed ON dav_home TYPE option<int>;
DEFINE FIELD IF NOT EXISTS members_removed ON dav_home TYPE option<int>;
DEFINE FIELD IF NOT EXISTS members_forgotten ON dav_home TYPE option<int>;
DEFINE FIELD IF NOT EXISTS size ON dav_home TYPE int;
DEFINE FIELD IF NOT EXISTS object ON dav_home TYPE option<string>;
DEFINE FIELD IF NOT EXISTS uid ON dav_home TYPE option<string>;
DEFINE FIELD IF NOT EXISTS meta ON dav_home TYPE bytes;
DEFINE FIELD IF NOT EXISTS node ON calendar TYPE int;
DEFINE FIELD IF NOT EXISTS changed ON calendar TYPE int;
DEFINE FIELD IF NOT EXISTS members_changed ON calendar TYPE option<int>;
DEFINE FIELD IF NOT EXISTS members_removed ON calendar TYPE option<int>;
DEFINE FIELD IF NOT EXISTS members_forgotten ON calendar TYPE option<int>;
DEFINE FIELD IF NOT EXISTS size ON calendar TYPE int;
DEFINE FIELD IF NOT EXISTS object ON calendar TYPE option<string>;
DEFINE FIELD IF NOT EXISTS uid ON calendar TYPE option<string>;
DEFINE FIELD IF NOT EXISTS meta ON calendar TYPE bytes;
DEFINE FIELD IF NOT EXISTS node ON event TYPE int;
DEFINE FIELD IF NOT EXISTS changed ON event TYPE int;
DEFINE FIELD IF NOT EXISTS members_changed ON event TYPE option<int>;
DEFINE FIELD IF NOT EXISTS members_removed ON event TYPE option<int>;
DEFINE FIELD IF NOT EXISTS members_forgotten ON event TYPE option<int>;
DEFINE FIELD IF NOT EXISTS size ON event TYPE int;
DEFINE FIELD IF NOT EXISTS object ON event TYPE option<string>;
DEFINE FIELD IF NOT EXISTS uid ON event TYPE option<string>;
DEFINE FIELD IF NOT EXISTS meta ON event TYPE bytes;
DEFINE FIELD IF NOT EXISTS node ON address_book TYPE int;
DEFINE FIELD IF NOT EXISTS changed ON address_book TYPE int;
DEFINE FIELD IF NOT EXISTS members_changed ON address_book TYPE option<int>;
DEFINE FIELD IF NOT EXISTS members_removed ON address_book TYPE option<int>;
DEFINE FIELD IF NOT EXISTS members_forgotten ON address_book TYPE option<int>;
DEFINE FIELD IF NOT EXISTS size ON address_book TYPE int;
DEFINE FIELD IF NOT EXISTS object ON address_book TYPE option<string>;
DEFINE FIELD IF NOT EXISTS uid ON address_book TYPE option<string>;
DEFINE FIELD IF NOT EXISTS meta ON address_book TYPE bytes;
DEFINE FIELD IF NOT EXISTS node ON contact TYPE int;
DEFINE FIELD IF NOT EXISTS changed ON contact TYPE int;
DEFINE FIELD IF NOT EXISTS members_changed ON contact TYPE option<int>;
DEFINE FIELD IF NOT EXISTS members_removed ON contact TYPE option<int>;
DEFINE FIELD IF NOT EXISTS members_forgotten ON contact TYPE option<int>;
DEFINE FIELD IF NOT EXISTS size ON contact TYPE int;
DEFINE FIELD IF NOT EXISTS object ON contact TYPE option<string>;
DEFINE FIELD IF NOT EXISTS uid ON contact TYPE option<string>;
DEFINE FIELD IF NOT EXISTS meta ON contact TYPE bytes;
DEFINE FIELD IF NOT EXISTS node ON file TYPE int;
DEFINE FIELD IF NOT EXISTS changed ON file TYPE int;
DEFINE FIELD IF NOT EXISTS members_changed ON file TYPE option<int>;
DEFINE FIELD IF NOT EXISTS members_removed ON file TYPE option<int>;
DEFINE FIELD IF NOT EXISTS members_forgotten ON file TYPE option<int>;
DEFINE FIELD IF NOT EXISTS size ON file TYPE int;
DEFINE FIELD IF NOT EXISTS object ON file TYPE option<string>;
DEFINE FIELD IF NOT EXISTS uid ON file TYPE option<string>;
DEFINE FIELD IF NOT EXISTS meta ON file TYPE bytes;
DEFINE TABLE IF NOT EXISTS dav_text SCHEMAFULL;
DEFINE FIELD IF NOT EXISTS text ON dav_text TYPE bytes;
DEFINE TABLE IF NOT EXISTS dav_gone SCHEMAFULL;
DEFINE FIELD IF NOT EXISTS name ON dav_gone TYPE bytes;
DEFINE TABLE IF NOT EXISTS dav_uid SCHEMAFULL;
DEFINE FIELD IF NOT EXISTS kind ON dav_uid TYPE string;
DEFINE FIELD IF NOT EXISTS name ON dav_uid TYPE string;
DEFINE TABLE IF NOT EXISTS dav_mail SCHEMAFULL;
DEFINE FIELD IF NOT EXISTS mail ON dav_mail TYPE bytes;
";

/// Jobs are one text but for what queries ask for. Rows of before are read as they are.
const VERSION_8: &str = "
REMOVE FIELD IF EXISTS size ON outbound_queue;
REMOVE FIELD IF EXISTS sender ON outbound_queue;
REMOVE FIELD IF EXISTS domain ON outbound_queue;
REMOVE FIELD IF EXISTS recipients ON outbound_queue;
REMOVE FIELD IF EXISTS envid ON outbound_queue;
REMOVE FIELD IF EXISTS ret ON outbound_queue;
REMOVE FIELD IF EXISTS eight_bit ON outbound_queue;
REMOVE FIELD IF EXISTS binary ON outbound_queue;
REMOVE FIELD IF EXISTS smtputf8 ON outbound_queue;
REMOVE FIELD IF EXISTS require_tls ON outbound_queue;
REMOVE FIELD IF EXISTS is_dsn ON outbound_queue;
REMOVE FIELD IF EXISTS starts ON outbound_queue;
REMOVE FIELD IF EXISTS first_due ON outbound_queue;
REMOVE FIELD IF EXISTS attempts ON outbound_queue;
REMOVE FIELD IF EXISTS epoch ON outbound_queue;
REMOVE FIELD IF EXISTS owner ON outbound_queue;
REMOVE FIELD IF EXISTS lease_until ON outbound_queue;
REMOVE FIELD IF EXISTS due ON outbound_queue;
REMOVE FIELD IF EXISTS dot_sent ON outbound_queue;
REMOVE FIELD IF EXISTS deliveries ON outbound_queue;
REMOVE FIELD IF EXISTS crashes ON outbound_queue;
REMOVE FIELD IF EXISTS lost ON outbound_queue;
REMOVE FIELD IF EXISTS by_at ON outbound_queue;
REMOVE FIELD IF EXISTS by_give_up ON outbound_queue;
REMOVE FIELD IF EXISTS by_trace ON outbound_queue;
REMOVE FIELD IF EXISTS counted ON outbound_queue;
REMOVE FIELD IF EXISTS logged ON outbound_queue;
REMOVE FIELD IF EXISTS trace ON outbound_queue;
DEFINE FIELD IF NOT EXISTS record ON outbound_queue TYPE string;
";

/// The audit log, and the trace of what arrived.
const VERSION_9: &str = "
DEFINE TABLE IF NOT EXISTS audit SCHEMAFULL;
DEFINE FIELD IF NOT EXISTS rev ON audit TYPE int;
DEFINE FIELD IF NOT EXISTS record ON audit TYPE string;
DEFINE FIELD IF NOT EXISTS trace ON api_log TYPE option<string>;
";

const META: &str = "
DEFINE TABLE IF NOT EXISTS meta SCHEMAFULL;
DEFINE FIELD IF NOT EXISTS version ON meta TYPE option<int>;
";

/// The version in the database; 0 when there is nothing.
async fn stored(calls: &Calls) -> Result<u64> {
    let value = calls.read("RETURN (SELECT version FROM meta:schema)", Variables::new()).await?;
    match super::value::rows("meta", value)?.pop() {
        Some(mut row) => Fields::int(&mut row, "version"),
        None => Ok(0),
    }
}

/// Brings the schema up to this program's version. `Ok(Err(version))`: it is newer than that, and nothing was
/// touched.
pub async fn migrate(calls: &Calls) -> Result<Result<(), u64>> {
    let mut tries = 0;
    // Several instances may start at once on an empty database, and each defines the same table.
    loop {
        match calls.transaction(META, Variables::new()).await {
            Err(ApplyError::Stale) if tries < STARTS_MAX => {
                tries += 1;
                calls.pause(tries).await;
            }
            outcome => break outcome.map_err(Error::from)?,
        }
    }
    loop {
        let version = stored(calls).await?;
        if version > VERSION {
            return Ok(Err(version));
        }
        let Some(next) = usize::try_from(version).ok().and_then(|n| MIGRATIONS.get(n)) else {
            return Ok(Ok(()));
        };
        let mut bound = Variables::new();
        bound.insert("version", int(version + 1));
        bound.insert("before", int(version));
        // Two instances may start at once: the one that comes second finds the version it expected gone.
        let text = format!(
            "IF ((SELECT VALUE version FROM meta:schema)[0] ?? 0) != $before {{ THROW 'inbox:stale' }};\n\
             {next}UPSERT meta:schema SET version = $version;\n"
        );
        match calls.transaction(&text, bound).await {
            Err(ApplyError::Stale) if tries < STARTS_MAX => {
                tries += 1;
                calls.pause(tries).await;
            }
            outcome => outcome.map_err(Error::from)?,
        }
    }
}
