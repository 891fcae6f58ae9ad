//! SCRAM-SHA-256 and -PLUS (RFC 5802, 7677), both sides. Channel binding is tls-exporter (RFC 9266).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::server::Turn;
use super::{NAME_MAX, Secret};

/// Iterations a client accepts: a server that asks for fewer than RFC 7677 §4 allows is no server of ours, and
/// one that asks for very many wants us busy.
const ITERATIONS: core::ops::RangeInclusive<u32> = 4_096..=1_000_000;
const BINDING_NAME: &str = "tls-exporter";

/// What a server keeps (RFC 5802 §3). The password cannot be had from it, but who has it can pose as the server.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramVerifier {
    /// Salt.
    pub salt: Vec<u8>,
    /// Iteration count.
    pub iterations: u32,
    /// StoredKey.
    pub stored_key: [u8; 32],
    /// ServerKey.
    pub server_key: [u8; 32],
}

impl ScramVerifier {
    /// Computes a verifier; takes milliseconds. `password` is prepared ([`super::prepared`]).
    pub fn make(password: &Secret, salt: &[u8], iterations: u32) -> ScramVerifier {
        let mut salted = salted_password(password.expose(), salt, iterations);
        let mut client_key = hmac(&salted, b"Client Key");
        let verifier = ScramVerifier {
            salt: salt.to_vec(),
            iterations,
            stored_key: Sha256::digest(client_key).into(),
            server_key: hmac(&salted, b"Server Key"),
        };
        salted.zeroize();
        client_key.zeroize();
        verifier
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramVerifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(key) else { return [0; 32] };
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// Hi() of RFC 5802 §2.2.
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
    let Ok(keyed) = <Hmac<Sha256> as Mac>::new_from_slice(password) else { return [0; 32] };
    let mut mac = keyed.clone();
    mac.update(salt);
    mac.update(&1u32.to_be_bytes());
    let mut last: [u8; 32] = mac.finalize().into_bytes().into();
    let mut sum = last;
    for _ in 1..iterations {
        let mut mac = keyed.clone();
        mac.update(&last);
        last = mac.finalize().into_bytes().into();
        sum.iter_mut().zip(last).for_each(|(s, l)| *s ^= l);
    }
    sum
}

fn xor(mut a: [u8; 32], b: &[u8; 32]) -> [u8; 32] {
    a.iter_mut().zip(b).for_each(|(a, b)| *a ^= b);
    a
}

#[derive(Debug)]
pub(super) struct ScramServer {
    nonce: String,
    binding: Option<Secret>,
    plus_offered: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    First,
    Lookup {
        user: String,
        gs2_header: String,
        client_first_bare: String,
    },
    Final {
        user: String,
        gs2_header: String,
        auth_message: String,
        verifier: ScramVerifier,
    },
    /// The server's signature was sent and the client acknowledges it with an empty message.
    Acknowledge {
        user: String,
    },
    Over,
}

impl ScramServer {
    pub(super) fn new(nonce: [u8; 24], binding: Option<&[u8]>, plus_offered: bool) -> Self {
        let nonce = STANDARD_NO_PAD.encode(nonce);
        ScramServer { nonce, binding: binding.map(Secret::new), plus_offered, state: State::First }
    }

    pub(super) fn respond(&mut self, message: &[u8]) -> Turn {
        let state = core::mem::replace(&mut self.state, State::Over);
        let Ok(message) = core::str::from_utf8(message) else { return Turn::Failure };
        let turn = match state {
            State::First => self.client_first(message),
            State::Final { user, gs2_header, auth_message, verifier } => {
                self.client_final(message, user, &gs2_header, auth_message, &verifier)
            }
            State::Acknowledge { user } if message.is_empty() => Some(Turn::Success { user }),
            _ => None,
        };
        turn.unwrap_or(Turn::Failure)
    }

    /// `gs2-header n=user,r=nonce` (RFC 5802 §7).
    fn client_first(&mut self, message: &str) -> Option<Turn> {
        let (flag, rest) = message.split_once(',')?;
        let flag_fine = match (flag, &self.binding) {
            ("n", None) => true,
            // The client could bind and believes we cannot: we said that we can (RFC 5802 §6).
            ("y", None) => !self.plus_offered,
            (flag, Some(_)) => flag.strip_prefix("p=") == Some(BINDING_NAME),
            _ => false,
        };
        let (authzid, bare) = rest.split_once(',')?;
        let mut attributes = bare.split(',');
        let user = saslname(attributes.next()?.strip_prefix("n=")?)?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        let nonce_fine =
            !nonce.is_empty() && nonce.len() <= 256 && nonce.bytes().all(|b| matches!(b, 0x21..=0x7e));
        let authzid_fine =
            authzid.is_empty() || authzid.strip_prefix("a=").and_then(saslname).as_deref() == Some(&*user);
        if !flag_fine || !nonce_fine || !authzid_fine {
            return None;
        }
        self.nonce.insert_str(0, nonce);
        self.state = State::Lookup {
            user: user.clone(),
            gs2_header: format!("{flag},{authzid},"),
            client_first_bare: bare.to_string(),
        };
        Some(Turn::Lookup { user })
    }

    pub(super) fn verifier(&mut self, verifier: ScramVerifier) -> Turn {
        let State::Lookup { user, gs2_header, client_first_bare } =
            core::mem::replace(&mut self.state, State::Over)
        else {
            return Turn::Failure;
        };
        let server_first =
            format!("r={},s={},i={}", self.nonce, STANDARD.encode(&verifier.salt), verifier.iterations);
        let auth_message = format!("{client_first_bare},{server_first}");
        self.state = State::Final { user, gs2_header, auth_message, verifier };
        Turn::Challenge(server_first.into_bytes())
    }

    /// `c=binding,r=nonce,p=proof`.
    fn client_final(
        &mut self,
        message: &str,
        user: String,
        gs2_header: &str,
        mut auth_message: String,
        verifier: &ScramVerifier,
    ) -> Option<Turn> {
        let (without_proof, proof) = message.rsplit_once(",p=")?;
        let mut attributes = without_proof.split(',');
        let binding = STANDARD.decode(attributes.next()?.strip_prefix("c=")?).ok()?;
        let nonce = attributes.next()?.strip_prefix("r=")?;
        let mut expected = gs2_header.as_bytes().to_vec();
        expected.extend_from_slice(self.binding.as_ref().map_or(&[][..], Secret::expose));
        let bound = bool::from(binding.ct_eq(&expected));
        let fresh = bool::from(nonce.as_bytes().ct_eq(self.nonce.as_bytes()));
        auth_message.push(',');
        auth_message.push_str(without_proof);
        let proof: [u8; 32] = STANDARD.decode(proof).ok()?.try_into().ok()?;
        let client_key = xor(proof, &hmac(&verifier.stored_key, auth_message.as_bytes()));
        let stored: [u8; 32] = Sha256::digest(client_key).into();
        let known = bool::from(stored.ct_eq(&verifier.stored_key));
        if !(bound && fresh && known) {
            return None;
        }
        let signature = hmac(&verifier.server_key, auth_message.as_bytes());
        self.state = State::Acknowledge { user };
        Some(Turn::Challenge(format!("v={}", STANDARD.encode(signature)).into_bytes()))
    }
}

/// Takes `=2C` and `=3D` apart (RFC 5802 §5.1); any other `=` is an error.
fn saslname(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > NAME_MAX || text.chars().any(char::is_control) {
        return None;
    }
    let mut out = String::new();
    let mut pieces = text.split('=');
    out.push_str(pieces.next()?);
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2)?;
        out.push(match code {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        out.push_str(rest);
    }
    Some(out)
}

/// Why a client's exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramError {
    /// The server's message has bad syntax or is out of order.
    Malformed,
    /// The server's nonce does not begin with ours, or its iteration count is out of bounds.
    Untrusted,
    /// The server does not know the password: it is not who it says.
    WrongServer,
}

/// The client's side.
#[derive(Debug)]
pub struct ScramClient {
    user: String,
    password: Secret,
    nonce: String,
    binding: Option<Secret>,
    expect: Option<[u8; 32]>,
}

impl ScramClient {
    /// `password` is prepared; `nonce` fresh random octets; `binding` the tls-exporter value for -PLUS.
    pub fn new(user: &str, password: Secret, nonce: [u8; 24], binding: Option<&[u8]>) -> ScramClient {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let nonce = STANDARD_NO_PAD.encode(nonce);
        ScramClient { user, password, nonce, binding: binding.map(Secret::new), expect: None }
    }

    fn gs2_header(&self) -> String {
        if self.binding.is_some() { format!("p={BINDING_NAME},,") } else { "n,,".to_string() }
    }

    fn first_bare(&self) -> String {
        format!("n={},r={}", self.user, self.nonce)
    }

    /// The initial response.
    pub fn first(&self) -> Vec<u8> {
        (self.gs2_header() + &self.first_bare()).into_bytes()
    }

    /// The answer to the server's first message.
    pub fn answer(&mut self, server_first: &[u8]) -> Result<Vec<u8>, ScramError> {
        let text = core::str::from_utf8(server_first).map_err(|_| ScramError::Malformed)?;
        let mut attributes = text.split(',');
        let mut next =
            |name| attributes.next().and_then(|a| a.strip_prefix(name)).ok_or(ScramError::Malformed);
        let (nonce, salt, iterations) = (next("r=")?, next("s=")?, next("i=")?);
        let salt = STANDARD.decode(salt).map_err(|_| ScramError::Malformed)?;
        let iterations: u32 = iterations.parse().map_err(|_| ScramError::Malformed)?;
        let ours = nonce.strip_prefix(&*self.nonce).is_some_and(|theirs| !theirs.is_empty());
        if !ours || !ITERATIONS.contains(&iterations) {
            return Err(ScramError::Untrusted);
        }
        let mut binding = self.gs2_header().into_bytes();
        binding.extend_from_slice(self.binding.as_ref().map_or(&[][..], Secret::expose));
        let without_proof = format!("c={},r={nonce}", STANDARD.encode(binding));
        let auth_message = format!("{},{text},{without_proof}", self.first_bare());
        let mut salted = salted_password(self.password.expose(), &salt, iterations);
        let mut client_key = hmac(&salted, b"Client Key");
        let stored: [u8; 32] = Sha256::digest(client_key).into();
        let proof = xor(client_key, &hmac(&stored, auth_message.as_bytes()));
        self.expect = Some(hmac(&hmac(&salted, b"Server Key"), auth_message.as_bytes()));
        salted.zeroize();
        client_key.zeroize();
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes())
    }

    /// Checks the server's last message.
    pub fn finish(&self, server_final: &[u8]) -> Result<(), ScramError> {
        let signature = server_final.strip_prefix(b"v=").ok_or(ScramError::WrongServer)?;
        let signature = STANDARD.decode(signature).map_err(|_| ScramError::Malformed)?;
        let expect = self.expect.as_ref().ok_or(ScramError::Malformed)?;
        if bool::from(signature.as_slice().ct_eq(expect)) { Ok(()) } else { Err(ScramError::WrongServer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sasl::Exchange;

    fn verifier() -> ScramVerifier {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        ScramVerifier::make(&Secret::new(b"pencil"), &salt, 4096)
    }

    /// RFC 7677 §3.
    #[test]
    fn the_vector_of_the_rfc() {
        let mut server = ScramServer::new([0; 24], None, false);
        server.nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".into();
        assert!(
            matches!(server.respond(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"), Turn::Lookup { user } if user == "user")
        );
        let first = server.verifier(verifier());
        assert!(matches!(first, Turn::Challenge(c) if c
            == b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"));
        let last = server.respond(
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        );
        assert!(matches!(last, Turn::Challenge(c) if c == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(matches!(server.respond(b""), Turn::Success { user } if user == "user"));
    }

    fn run(
        password: &str,
        mechanism: &str,
        client_binding: Option<&[u8]>,
        server_binding: Option<&[u8]>,
    ) -> bool {
        let mut client = ScramClient::new("a,b=c", Secret::new(password.as_bytes()), [1; 24], client_binding);
        let mut server = Exchange::new(mechanism, [2; 24], server_binding, true).unwrap();
        let Turn::Lookup { user } = server.respond(&client.first()) else { return false };
        assert_eq!(user, "a,b=c");
        let Turn::Challenge(first) = server.verifier(verifier()) else { return false };
        let Ok(answer) = client.answer(&first) else { return false };
        let Turn::Challenge(last) = server.respond(&answer) else { return false };
        client.finish(&last).is_ok() && matches!(server.respond(b""), Turn::Success { .. })
    }

    #[test]
    fn both_sides_agree_on_the_password_and_on_the_channel() {
        assert!(run("pencil", "SCRAM-SHA-256", None, None));
        assert!(!run("eraser", "SCRAM-SHA-256", None, None));
        assert!(run("pencil", "SCRAM-SHA-256-PLUS", Some(b"same"), Some(b"same")));
        assert!(!run("pencil", "SCRAM-SHA-256-PLUS", Some(b"one"), Some(b"two")));
    }

    #[test]
    fn au6_downgrades_and_replays_fail() {
        let first = |message: &[u8], plus: bool| {
            let mut server = Exchange::new("SCRAM-SHA-256", [2; 24], None, plus).unwrap();
            matches!(server.respond(message), Turn::Lookup { .. })
        };
        assert!(first(b"n,,n=u,r=x", true));
        assert!(first(b"y,,n=u,r=x", false));
        assert!(!first(b"y,,n=u,r=x", true), "we offered PLUS");
        assert!(!first(b"p=tls-exporter,,n=u,r=x", true));
        assert!(!first(b"n,a=other,n=u,r=x", true));
        assert!(!first(b"n,,n=u=2Dx,r=x", true));
        assert!(!first(b"n,,m=ext,n=u,r=x", true));
        let mut plus = Exchange::new("SCRAM-SHA-256-PLUS", [2; 24], Some(b"b"), true).unwrap();
        assert!(matches!(plus.respond(b"n,,n=u,r=x"), Turn::Failure));
    }

    #[test]
    fn a_client_trusts_no_weak_or_foreign_server() {
        let mut client = ScramClient::new("u", Secret::new(b"p"), [1; 24], None);
        assert_eq!(client.answer(b"r=foreign,s=AAAA,i=4096"), Err(ScramError::Untrusted));
        let weak = format!("r={}x,s=AAAA,i=4095", client.nonce);
        assert_eq!(client.answer(weak.as_bytes()), Err(ScramError::Untrusted));
        assert_eq!(client.finish(b"e=other-error"), Err(ScramError::WrongServer));
    }
}
