//! The messages of SCRAM (RFC 5802 §5, §7).

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::verifier::hmac;
use super::{NONCE_MAX, USER_MAX};

/// The channel-binding flag of a client's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BindingFlag<'a> {
    /// `n`: the client cannot bind.
    Unsupported,
    /// `y`: the client can, and believes the server cannot.
    ServerCannot,
    /// `p=`: bound by this type.
    Bound(&'a str),
}

/// client-first-message.
#[derive(Debug)]
pub(super) struct ClientFirst<'a> {
    pub flag: BindingFlag<'a>,
    /// The gs2-header as it stands, with its final comma.
    pub gs2_header: &'a str,
    /// What follows the gs2-header.
    pub bare: &'a str,
    pub authzid: Option<String>,
    pub user: String,
    pub nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let text = core::str::from_utf8(message).ok()?;
        let (flag, rest) = text.split_once(',')?;
        let (authzid, bare) = rest.split_once(',')?;
        let gs2_header = &text[..text.len() - bare.len()];
        let flag = match flag {
            "n" => BindingFlag::Unsupported,
            "y" => BindingFlag::ServerCannot,
            _ => BindingFlag::Bound(flag.strip_prefix("p=")?),
        };
        let authzid = match authzid {
            "" => None,
            _ => Some(unescape(authzid.strip_prefix("a=")?)?),
        };
        let mut attributes = bare.split(',');
        // A mandatory extension `m=` would stand here; none is known, and it must fail (§5.1).
        let user = unescape(attributes.next()?.strip_prefix("n=")?)?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        let valid =
            is_nonce(nonce) && !user.is_empty() && user.len() <= USER_MAX && are_extensions(attributes);
        valid.then_some(ClientFirst { flag, gs2_header, bare, authzid, user, nonce })
    }
}

/// client-final-message.
#[derive(Debug)]
pub(super) struct ClientFinal<'a> {
    pub without_proof: &'a str,
    /// The decoded `c=`.
    pub binding: Vec<u8>,
    pub nonce: &'a str,
    pub proof: [u8; 32],
}

impl<'a> ClientFinal<'a> {
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let text = core::str::from_utf8(message).ok()?;
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let mut attributes = without_proof.split(',');
        let binding = from_base64(attributes.next()?.strip_prefix("c=")?)?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        let proof = from_base64(proof)?.try_into().ok()?;
        are_extensions(attributes).then_some(ClientFinal { without_proof, binding, nonce, proof })
    }
}

/// server-first-message.
#[derive(Debug)]
pub(super) struct ServerFirst<'a> {
    pub nonce: &'a str,
    pub salt: Vec<u8>,
    pub iterations: u32,
}

impl<'a> ServerFirst<'a> {
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let text = core::str::from_utf8(message).ok()?;
        let mut attributes = text.split(',');
        let nonce = attributes.next()?.strip_prefix("r=")?;
        let salt = from_base64(attributes.next()?.strip_prefix("s=")?)?;
        let iterations = attributes.next()?.strip_prefix("i=")?;
        if !iterations.bytes().all(|b| b.is_ascii_digit()) || nonce.len() > NONCE_MAX || salt.is_empty() {
            return None;
        }
        let iterations = iterations.parse().ok()?;
        are_extensions(attributes).then_some(ServerFirst { nonce, salt, iterations })
    }
}

/// Optional extensions (`attr-val` after the known ones) are passed over; anything else is a fault.
fn are_extensions<'a>(attributes: impl Iterator<Item = &'a str>) -> bool {
    attributes.into_iter().all(|a| matches!(a.as_bytes(), [name, b'=', _, ..] if name.is_ascii_alphabetic()))
}

/// RFC 5802 §7 `printable`, which leaves the comma out.
fn is_nonce(nonce: &str) -> bool {
    (1..=NONCE_MAX).contains(&nonce.len()) && nonce.bytes().all(|b| b.is_ascii_graphic() && b != b',')
}

/// `saslname`: `=2C` is a comma, `=3D` an equals sign, no other `=` may stand there (§5.1).
fn unescape(name: &str) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((plain, escaped)) = rest.split_once('=') {
        out.push_str(plain);
        match escaped.get(..2)? {
            "2C" => out.push(','),
            "3D" => out.push('='),
            _ => return None,
        }
        rest = &escaped[2..];
    }
    out.push_str(rest);
    (!out.contains('\0')).then_some(out)
}

/// The inverse of [`unescape`].
pub(super) fn escape(name: &str) -> Cow<'_, str> {
    if name.contains(['=', ',']) {
        Cow::Owned(name.replace('=', "=3D").replace(',', "=2C"))
    } else {
        Cow::Borrowed(name)
    }
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// Whether a proof fits a StoredKey, in constant time (§3).
pub(super) fn proof_fits(stored_key: &[u8; 32], auth_message: &[u8], proof: &[u8; 32]) -> bool {
    let mut client_key = hmac(stored_key, auth_message);
    for (k, p) in client_key.iter_mut().zip(proof) {
        *k ^= p;
    }
    let fits = Sha256::digest(client_key).as_slice().ct_eq(stored_key);
    zeroize::Zeroize::zeroize(&mut client_key);
    fits.into()
}
