//! Proving ourselves to a relay host: the SASL machine between its challenges and the configured password.

use protocol_core::SendBuf;
use protocol_core::sasl::{ChannelBinding, Client, Mechanism, Secret};
use protocol_smtp::client::{ClientSession, Prove};

use crate::config;
use crate::wire::Wire;

/// An exchange under way.
pub struct Proof(Client);

impl Proof {
    /// Takes the next turn.
    pub fn go_on(
        proof: &mut Option<Proof>,
        prove: Prove,
        credentials: Option<&(String, config::Secret)>,
        wire: &Wire,
        session: &mut ClientSession,
        out: &mut SendBuf,
    ) {
        let Some((user, password)) = credentials else {
            return prove.cancel("SMTP_OUTBOUND_RELAY_USERNAME is not set", session);
        };
        if let (Some(Proof(client)), Some(challenge)) = (proof.as_mut(), prove.challenge()) {
            return match client.respond(challenge) {
                Ok(response) => prove.respond(response.expose(), session, out),
                Err(_) => prove.cancel("the relay failed to prove itself", session),
            };
        }
        let binding = ChannelBinding { tls_exporter: wire.tls_exporter(), tls_server_end_point: None };
        let offered: Vec<Mechanism> = Mechanism::ALL.into_iter().filter(|m| prove.offers(m.name())).collect();
        let Some(mechanism) = Client::choose(&offered, &binding) else {
            return prove.cancel("the relay offers no mechanism that is known here", session);
        };
        let mut seed = [0; 24];
        let password = Secret::new(password.expose().as_bytes().to_vec());
        let made = getrandom::fill(&mut seed)
            .ok()
            .and_then(|()| Client::new(mechanism, user, &password, &binding, seed).ok());
        let Some(mut client) = made else {
            return prove.cancel("SMTP_OUTBOUND_RELAY_PASSWORD cannot be used", session);
        };
        let initial = client.initial();
        prove.start(mechanism.name(), Some(initial.expose()), session, out);
        *proof = Some(Proof(client));
    }
}
