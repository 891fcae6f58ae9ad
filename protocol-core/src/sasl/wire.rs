//! How responses and challenges stand on a line: base64 (RFC 4954 §4, RFC 9051 §6.2.2).

use alloc::string::String;
use alloc::vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroize;

use super::{RESPONSE_MAX, Secret};

/// Why a response line cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireFault {
    /// `*`: the client gives up.
    Cancelled,
    /// Not base64.
    Base64,
    /// Over [`RESPONSE_MAX`] octets.
    TooLong,
}

/// Decodes a response line without its line end. `=` alone is an empty response, as an initial response may
/// be (RFC 4954 §4); an empty line is one too.
pub fn decode(line: &[u8]) -> Result<Secret, WireFault> {
    match line {
        b"*" => return Err(WireFault::Cancelled),
        b"" | b"=" => return Ok(Secret::default()),
        _ => {}
    }
    if line.len() > RESPONSE_MAX / 3 * 4 {
        return Err(WireFault::TooLong);
    }
    let mut octets = vec![0; line.len() / 4 * 3 + 3];
    match STANDARD.decode_slice(line, &mut octets) {
        Ok(len) => {
            octets.truncate(len);
            Ok(Secret::new(octets))
        }
        Err(_) => {
            octets.zeroize();
            Err(WireFault::Base64)
        }
    }
}

/// A challenge or response in base64; empty for an empty one.
pub fn encode(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}

/// A response for the client to write, which may hold a password.
pub fn encode_secret(response: &Secret) -> Secret {
    Secret::from(STANDARD.encode(response.expose()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_decoded_up_to_their_limit() {
        assert_eq!(decode(b"AGEAYg=="), Ok(Secret::from("\0a\0b")));
        assert_eq!(decode(b"="), Ok(Secret::default()));
        assert_eq!(decode(b"*"), Err(WireFault::Cancelled));
        for bad in [&b"A"[..], b"AG EA", b"AGEAYg=", b"\xff\xff\xff\xff", b"**"] {
            assert_eq!(decode(bad), Err(WireFault::Base64));
        }
        assert_eq!(decode(&[b'A'; 12_288]).map(|s| s.len()), Ok(RESPONSE_MAX));
        assert_eq!(decode(&[b'A'; 12_292]), Err(WireFault::TooLong));
    }
}
