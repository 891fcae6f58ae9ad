//! The server's side: PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, 7677).

use alloc::string::String;
use alloc::vec::Vec;

use super::scram::{ScramServer, ScramVerifier};
use super::{NAME_MAX, PASSWORD_MAX, RESPONSE_MAX, Secret};

/// One authentication exchange.
#[derive(Debug)]
pub struct Exchange {
    state: State,
}

#[derive(Debug)]
enum State {
    Plain,
    LoginUser,
    LoginPassword(String),
    Scram(ScramServer),
    Over,
}

/// What the driver does next.
#[derive(Debug)]
#[must_use]
pub enum Turn {
    /// Send this and wait for the response.
    Challenge(Vec<u8>),
    /// Check this password and end the exchange accordingly.
    Verify {
        /// As the client wrote it.
        user: String,
        /// As the client wrote it; prepare it before hashing.
        password: Secret,
    },
    /// Find this user's verifier, or one made up for it, and give it to [`Exchange::verifier`].
    Lookup {
        /// As the client wrote it.
        user: String,
    },
    /// The client proved that it knows the user's password.
    Success {
        /// As the client wrote it.
        user: String,
    },
    /// It did not, or it broke the rules of the mechanism.
    Failure,
}

impl Exchange {
    /// An exchange by the mechanism of that name; `None` for an unknown one.
    ///
    /// `nonce` is fresh random octets. `binding` is the connection's tls-exporter value (RFC 9266), needed for
    /// -PLUS; `plus_offered`: the client could have used -PLUS, so one that claims the server cannot was
    /// deceived (RFC 5802 §6).
    pub fn new(
        mechanism: &str,
        nonce: [u8; 24],
        binding: Option<&[u8]>,
        plus_offered: bool,
    ) -> Option<Exchange> {
        let state = match mechanism {
            "PLAIN" => State::Plain,
            "LOGIN" => State::LoginUser,
            "SCRAM-SHA-256" => State::Scram(ScramServer::new(nonce, None, plus_offered)),
            "SCRAM-SHA-256-PLUS" => State::Scram(ScramServer::new(nonce, Some(binding?), true)),
            _ => return None,
        };
        Some(Exchange { state })
    }

    /// The first turn, for a client that sent no initial response.
    pub fn start(&mut self) -> Turn {
        match &self.state {
            State::LoginUser => Turn::Challenge(b"Username:".to_vec()),
            _ => Turn::Challenge(Vec::new()),
        }
    }

    /// Takes the client's response.
    pub fn respond(&mut self, response: &[u8]) -> Turn {
        let state = core::mem::replace(&mut self.state, State::Over);
        if response.len() > RESPONSE_MAX {
            return Turn::Failure;
        }
        match state {
            State::Plain => plain(response),
            State::LoginUser => match name(response) {
                Some(user) => {
                    self.state = State::LoginPassword(user);
                    Turn::Challenge(b"Password:".to_vec())
                }
                None => Turn::Failure,
            },
            State::LoginPassword(user) if response.len() <= PASSWORD_MAX => {
                Turn::Verify { user, password: Secret::new(response) }
            }
            State::Scram(mut scram) => {
                let turn = scram.respond(response);
                if !matches!(turn, Turn::Success { .. } | Turn::Failure) {
                    self.state = State::Scram(scram);
                }
                turn
            }
            State::LoginPassword(_) | State::Over => Turn::Failure,
        }
    }

    /// Answers [`Turn::Lookup`].
    pub fn verifier(&mut self, verifier: ScramVerifier) -> Turn {
        match &mut self.state {
            State::Scram(scram) => scram.verifier(verifier),
            _ => Turn::Failure,
        }
    }
}

fn name(octets: &[u8]) -> Option<String> {
    let text = core::str::from_utf8(octets).ok()?;
    let fine = !text.is_empty() && text.len() <= NAME_MAX && !text.chars().any(char::is_control);
    fine.then(|| String::from(text))
}

/// `[authzid] NUL authcid NUL passwd`. Nobody acts for another here, so an authorisation identity must be the
/// user's own name.
fn plain(message: &[u8]) -> Turn {
    let mut parts = message.split(|b| *b == 0);
    let (Some(authzid), Some(user), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Turn::Failure;
    };
    match name(user) {
        Some(name) if (authzid.is_empty() || authzid == user) && password.len() <= PASSWORD_MAX => {
            Turn::Verify { user: name, password: Secret::new(password) }
        }
        _ => Turn::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn exchange(mechanism: &str) -> Exchange {
        Exchange::new(mechanism, [7; 24], None, false).unwrap()
    }

    #[test]
    fn plain_messages() {
        let verify = |message: &[u8]| match exchange("PLAIN").respond(message) {
            Turn::Verify { user, password } => Some((user, password.expose().to_vec())),
            _ => None,
        };
        assert_eq!(verify(b"\0tim\0tanstaaf"), Some(("tim".into(), b"tanstaaf".to_vec())));
        assert_eq!(verify(b"tim\0tim\0x"), Some(("tim".into(), b"x".to_vec())));
        for bad in [&b"tom\0tim\0x"[..], b"", b"tim\0x", b"\0\0x", b"\0tim\0x\0", b"\0t\r\n\0x", b"\0\xff\0x"]
        {
            assert_eq!(verify(bad), None, "{}", bad.escape_ascii());
        }
        let long = |n: usize| [b"\0u\0".to_vec(), vec![b'p'; n]].concat();
        assert!(verify(&long(PASSWORD_MAX)).is_some());
        assert!(verify(&long(PASSWORD_MAX + 1)).is_none());
    }

    #[test]
    fn login_asks_twice() {
        let mut login = exchange("LOGIN");
        assert!(matches!(login.start(), Turn::Challenge(c) if c == b"Username:"));
        assert!(matches!(login.respond(b"tim"), Turn::Challenge(c) if c == b"Password:"));
        assert!(matches!(login.respond(b"pw"), Turn::Verify { user, .. } if user == "tim"));
        assert!(matches!(login.respond(b"again"), Turn::Failure));
    }

    #[test]
    fn unknown_mechanisms_and_plus_without_binding() {
        assert!(Exchange::new("CRAM-MD5", [0; 24], None, false).is_none());
        assert!(Exchange::new("SCRAM-SHA-256-PLUS", [0; 24], None, true).is_none());
    }
}
