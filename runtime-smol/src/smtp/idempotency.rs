//! `Idempotency-Key` on a submitted message: what is sent again under the same key within a day is accepted again and
//! sent no more. The field is for this server alone, and leaves with no message.

use protocol_core::Timestamp;
use protocol_core::message::header::{Field, Fields, unfold};
use protocol_smtp::server::Refusal;
use storage::{Idempotency, MessageId, OrgId};

/// The field's name, as the API has it.
const FIELD: &str = "Idempotency-Key";
/// Octets of a key.
const KEY_MAX: usize = 255;
/// How long a key is kept (SPEC section 9).
const KEPT_SECS: i64 = 86_400;

/// Whether a field is one, as some reader may take it.
pub(super) fn is_key(field: &Field<'_>) -> bool {
    field.name.trim_ascii().eq_ignore_ascii_case(FIELD.as_bytes())
}

/// The key of a message.
///
/// # Errors
/// When there are several, or it is not 1 to 255 printable ASCII characters.
pub(super) fn key_of(header: &[u8]) -> Result<Option<String>, Refusal> {
    let mut fields = Fields::new(header).filter(is_key);
    let Some(field) = fields.next() else { return Ok(None) };
    let value = unfold(field.value);
    let is_plain = |b: &u8| b.is_ascii_graphic() || *b == b' ';
    let good = field.well_formed && (1..=KEY_MAX).contains(&value.len()) && value.iter().all(is_plain);
    match (good, fields.next()) {
        (true, None) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
        _ => Err(Refusal::BadIdempotencyKey),
    }
}

/// The promise that goes with the message's acceptance.
pub(super) fn promise(
    org: OrgId,
    key: String,
    fingerprint: [u8; 32],
    id: MessageId,
    now: Timestamp,
) -> Idempotency {
    Idempotency {
        org,
        key,
        fingerprint,
        answer: id.to_string(),
        expires: Timestamp(now.0 + KEPT_SECS * 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_line_of_ascii_and_there_is_one() {
        let of = |header: &str| key_of(header.as_bytes());
        assert!(matches!(of("From: a@b\r\n\r\nIdempotency-Key: body\r\n"), Ok(None)));
        assert_eq!(of("idempotency-key:  order 7 \r\n\r\n").ok().flatten().as_deref(), Some("order 7"));
        let long = "k".repeat(KEY_MAX);
        assert_eq!(of(&format!("Idempotency-Key: {long}\r\n\r\n")).ok().flatten(), Some(long.clone()));
        for bad in [
            "Idempotency-Key: \r\n\r\n",
            "Idempotency-Key: \u{e9}\r\n\r\n",
            "Idempotency-Key: a\tb\r\n\r\n",
            "Idempotency-Key: a\r\nIdempotency-Key: a\r\n\r\n",
            "Idempotency-Key : a\r\n\r\n",
            &format!("Idempotency-Key: {long}k\r\n\r\n"),
        ] {
            assert!(matches!(of(bad), Err(Refusal::BadIdempotencyKey)), "{bad:?}");
        }
    }
}
