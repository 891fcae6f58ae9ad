//! Keys that mail is sealed with, by hand.

use serde_json::{Value, json};
use storage::{Domain, Purpose, Resealed, Storage};

use super::Failure;
use super::execute::{explained, failed};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Gives a domain's mail the key that its settings say, and seals what is there with it.
pub(crate) async fn follow_domain(storage: &Storage, domain: &Domain) -> Result<Option<Resealed>, Failure> {
    let key = match &domain.settings.enc_sse_c_key_b64 {
        None => None,
        Some(sealed) => {
            let sealed = BASE64.decode(sealed).map_err(failed_text)?;
            let opened = storage.keys().open_sealed(Purpose::SseC, &domain.name, &sealed).map_err(failed)?;
            let text = std::str::from_utf8(&opened).map_err(failed_text)?;
            Some(*storage::read_customer_key(text).map_err(failed)?)
        }
    };
    if storage.set_domain_key(domain, key).await.map_err(failed)? {
        return Ok(Some(storage.reseal(domain.org).await.map_err(failed)?));
    }
    Ok(None)
}

fn failed_text(why: impl std::fmt::Display) -> Failure {
    Failure(why.to_string())
}

/// Gives an organisation a new key and seals everything with it.
pub(super) async fn rotate_org(storage: &Storage, name: &str) -> Result<Value, Failure> {
    let done = storage.rotate_tenant_key(name).await;
    let done = done.map_err(|e| explained(&format!("organisation {name}"), e))?;
    Ok(shown(name, done))
}

fn shown(org: &str, done: Resealed) -> Value {
    let mut notes = Vec::new();
    if done.keys_kept {
        notes.push("the old key is kept until nothing that it sealed is left, and removed at a later start");
    }
    json!({"org": org, "objects": done.objects, "rows": done.rows, "notes": notes})
}

/// Replaces the master key.
pub(super) async fn rotate_master(storage: &Storage) -> Result<Value, Failure> {
    let done = storage.rotate_master_key().await.map_err(failed)?;
    let notes = ["the master key file has changed: keep a copy of it elsewhere"];
    Ok(json!({"secrets": done, "notes": notes}))
}
