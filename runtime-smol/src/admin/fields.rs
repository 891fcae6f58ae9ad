//! `FIELD=VALUE` for a domain: checking values, sealing secrets, showing what is set.

use protocol_core::address::Canonical;
use serde_json::{Map, Value};
use storage::{Domain, DomainSettings, EncryptionRecipient, Keys, Purpose};

use super::{Failure, dkim};
use crate::config::is_hostname;
use crate::wire::wall_now;

/// Octets of a wrapped key: it goes with every row.
const WRAPPED_KEY_MAX: usize = 4096;

/// Sets fields; an empty value removes a setting. The answer is notes for the administrator.
pub(crate) fn apply(
    keys: &Keys,
    domain: &mut Domain,
    set: &[(String, String)],
) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    for (field, value) in set {
        apply_one(keys, domain, field, value).map_err(|Failure(why)| Failure(format!("{field}: {why}")))?;
    }
    if domain.settings.enc_mode.as_deref() == Some("e2ee") && domain.settings.enc_e2ee_recipient.is_none() {
        notes.push("mail for this domain is refused for the time being: set enc_e2ee_recipient".into());
    }
    Ok(notes)
}

fn apply_one(keys: &Keys, domain: &mut Domain, field: &str, value: &str) -> Result<(), Failure> {
    let name = domain.name.clone();
    let s = &mut domain.settings;
    match field {
        "dkim_selector" => s.dkim_selector = checked(value, is_hostname, "a selector, such as mail")?,
        "dkim_private_key_b64_pkcs8" => {
            let pair = (!value.is_empty()).then(|| dkim::read_rsa(value)).transpose()?;
            let sealed =
                pair.as_ref().map(|p| dkim::seal(keys, Purpose::Dkim, &name, &p.private)).transpose()?;
            (s.dkim_private_key_b64_pkcs8, s.dkim_public_key_b64) = (sealed, pair.map(|p| p.public));
        }
        "dkim_ed25519_private_key_b64_pkcs8" => {
            let pair = (!value.is_empty()).then(|| dkim::read_ed25519(value)).transpose()?;
            let sealed =
                pair.as_ref().map(|p| dkim::seal(keys, Purpose::Dkim, &name, &p.private)).transpose()?;
            (s.dkim_ed25519_private_key_b64_pkcs8, s.dkim_ed25519_public_key_b64) =
                (sealed, pair.map(|p| p.public));
        }
        "dkim_headers" => {
            let good = |v: &str| {
                let name = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_graphic() && b != b':');
                v.split(',').all(|n| name(n.trim()))
            };
            s.dkim_headers = checked(value, good, "header field names separated by commas")?;
        }
        "require_spf_pass" => s.require_spf_pass = parsed(value, "true or false")?,
        "require_dkim_pass" => s.require_dkim_pass = parsed(value, "true or false")?,
        "require_dmarc_pass" => s.require_dmarc_pass = parsed(value, "true or false")?,
        "outbound_dnssec_validate" => s.outbound_dnssec_validate = parsed(value, "true or false")?,
        "enc_mode" => {
            s.enc_mode = checked(value, |v| matches!(v, "standard" | "e2ee"), "standard or e2ee")?;
        }
        "enc_sse_c_key_b64" if value.is_empty() => s.enc_sse_c_key_b64 = None,
        "enc_sse_c_key_b64" => {
            storage::read_customer_key(value).map_err(|e| Failure(e.to_string()))?;
            s.enc_sse_c_key_b64 = Some(dkim::seal(keys, Purpose::SseC, &name, value.trim())?);
        }
        "enc_wrapped_dek_customer" => {
            let good = |v: &str| v.len() <= WRAPPED_KEY_MAX && v.bytes().all(|b| (0x20..0x7f).contains(&b));
            s.enc_wrapped_dek_customer = checked(value, good, "at most 4,096 characters of ASCII")?;
        }
        "enc_e2ee_recipient" => {
            if !value.is_empty() {
                let usable = EncryptionRecipient::parse(value).and_then(|key| key.check(wall_now()));
                usable.map_err(Failure)?;
            }
            s.enc_e2ee_recipient = (!value.is_empty()).then(|| value.trim().to_owned());
        }
        "quota_max_recipients_per_message" => s.quota_max_recipients_per_message = parsed(value, "a number")?,
        "quota_hourly_send_limit" => s.quota_hourly_send_limit = parsed(value, "a number")?,
        "quota_daily_send_limit" => s.quota_daily_send_limit = parsed(value, "a number")?,
        "quota_max_queued_jobs" => s.quota_max_queued_jobs = parsed(value, "a number")?,
        "plus_addressing" => s.plus_addressing = parsed(value, "true or false")?,
        "plus_delimiter" => {
            let good = |v: &str| v.len() == 1 && v.bytes().all(|b| b"+-_.=#!$%&'*/?^`{|}~".contains(&b));
            s.plus_delimiter = checked(value, good, "one character, such as + or -")?;
        }
        "catch_all" => {
            let address = if value.contains('@') || value.is_empty() {
                value.into()
            } else {
                format!("{value}@{name}")
            };
            s.catch_all = match value {
                "" => None,
                _ => Some(Canonical::parse(&address).map_err(|e| Failure(e.to_string()))?.to_string()),
            };
        }
        "quota_mailbox_bytes" => s.quota_mailbox_bytes = parsed(value, "a number of bytes")?,
        _ => return Err(Failure("there is no such field".into())),
    }
    Ok(())
}

fn parsed<T: std::str::FromStr>(value: &str, valid: &str) -> Result<Option<T>, Failure> {
    if value.is_empty() {
        return Ok(None);
    }
    value.parse().map(Some).map_err(|_| Failure(format!("{value:?} is not valid; valid is {valid}")))
}

fn checked(value: &str, good: impl Fn(&str) -> bool, valid: &str) -> Result<Option<String>, Failure> {
    if value.is_empty() {
        return Ok(None);
    }
    if !good(value) {
        return Err(Failure(format!("{value:?} is not valid; valid is {valid}")));
    }
    Ok(Some(value.to_owned()))
}

/// What is set, secrets masked.
pub(super) fn shown(settings: &DomainSettings) -> Map<String, Value> {
    let Ok(Value::Object(all)) = serde_json::to_value(settings) else { return Map::new() };
    let secret = |name: &str| name.contains("private_key") || name == "enc_sse_c_key_b64";
    all.into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| if secret(&name) { (name, "********".into()) } else { (name, value) })
        .collect()
}
