//! What a message says about its own way (RFC 8689).

use protocol_core::message::Fields;
use protocol_core::message::header::trim;

use super::posture::MessageWish;

impl MessageWish {
    /// Of a message whose MAIL had REQUIRETLS or not, and whose header is this. `TLS-Required: No` counts when it
    /// stands there once (RFC 8689 §5: at most one) and without REQUIRETLS (§4.1).
    pub fn of(require_tls: bool, header: &[u8]) -> MessageWish {
        let mut fields = Fields::new(header).filter(|field| field.is("TLS-Required"));
        let tls_optional = match (fields.next(), fields.next()) {
            (Some(field), None) => trim(field.value).eq_ignore_ascii_case(b"No"),
            _ => false,
        };
        MessageWish { require_tls, tls_optional: tls_optional && !require_tls }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_field_that_says_no() {
        for (header, optional) in [
            ("TLS-Required: No\r\n\r\n", true),
            ("From: a@b.test\r\ntls-required:\r\n no \r\n\r\n", true),
            ("TLS-Required: Yes\r\n\r\n", false),
            ("TLS-Required: No\r\nTLS-Required: No\r\n\r\n", false),
            ("TLS-Required : No\r\n\r\n", false),
            ("From: a@b.test\r\n\r\nTLS-Required: No\r\n", false),
        ] {
            let wish = MessageWish::of(false, header.as_bytes());
            assert_eq!(wish, MessageWish { require_tls: false, tls_optional: optional }, "{header:?}");
            let strict = MessageWish::of(true, header.as_bytes());
            assert_eq!(strict, MessageWish { require_tls: true, tls_optional: false }, "{header:?}");
        }
    }
}
