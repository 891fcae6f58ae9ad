//! SASL, both sides.

use std::sync::OnceLock;

use protocol_core::sasl::{
    ChannelBinding, Client, Mechanism, Question, ScramVerifier, Secret, Server, Step, wire,
};

use crate::input::Input;

fn verifier() -> ScramVerifier {
    static VERIFIER: OnceLock<ScramVerifier> = OnceLock::new();
    VERIFIER
        .get_or_init(|| ScramVerifier::from_password(&Secret::from("pencil"), b"0123456789abcdef", 4096))
        .clone()
}

fn binding(config: u8) -> ChannelBinding {
    ChannelBinding {
        tls_exporter: (config & 4 != 0).then_some([7; 32]),
        tls_server_end_point: (config & 8 != 0).then(|| vec![9; 32]),
    }
}

/// A server fed with arbitrary lines, a client with arbitrary challenges: neither panics, neither lets anyone
/// in who does not know the password, and each comes to an end.
pub fn sasl(data: &[u8]) {
    let input = Input::new(data);
    let mechanism = Mechanism::ALL[usize::from(input.config & 3)];
    server(mechanism, &input);
    client(mechanism, &input);
    if let Ok(decoded) = wire::decode(input.octets) {
        let again = wire::encode(decoded.expose());
        assert_eq!(
            wire::decode(again.as_bytes()).expect("what was encoded decodes").expose(),
            decoded.expose()
        );
    }
    if let Some(read) = ScramVerifier::decode(input.octets) {
        assert_eq!(read.encode().expose(), input.octets);
    }
}

fn server(mechanism: Mechanism, input: &Input<'_>) {
    let mut server = Server::new(mechanism, binding(input.config), [3; 24]);
    let mut lines = input.octets.split(|&b| b == b'\n');
    let initial = if input.config & 16 != 0 { lines.next() } else { None };
    let mut step = server.start(initial);
    let mut knew = false;
    for questions in 0.. {
        assert!(questions < 1000, "the exchange does not end");
        step = match step {
            Step::Question(Question::Password { password, .. }) => {
                knew = password.expose() == b"pencil";
                server.verified(knew)
            }
            Step::Question(Question::Verifier { .. }) => {
                // Only who knows the password can answer this verifier's salt.
                server.verifier(verifier(), input.answer(questions) & 1 == 0)
            }
            Step::Challenge(_) => match lines.next() {
                Some(line) => server.respond(line),
                None => return,
            },
            Step::Success { .. } => {
                let scram = matches!(mechanism, Mechanism::ScramSha256 | Mechanism::ScramSha256Plus);
                assert!(knew || scram, "let in without the password");
                return;
            }
            Step::Failure(_) => return,
        };
    }
}

/// Iterations beyond this cost more than they find.
fn is_costly(challenge: &[u8]) -> bool {
    challenge.windows(2).enumerate().any(|(at, w)| {
        w == b"i=" && challenge[at + 2..].iter().take_while(|b| b.is_ascii_digit()).count() > 4
    })
}

fn client(mechanism: Mechanism, input: &Input<'_>) {
    let seed = [3; 24];
    let password = Secret::from("pencil");
    let Ok(mut client) = Client::new(mechanism, "user", &password, &binding(input.config), seed) else {
        return;
    };
    let _ = client.initial();
    for line in input.octets.split(|&b| b == b'\n').filter(|line| !is_costly(line)).take(8) {
        if client.respond(line).is_err() {
            assert!(!client.is_complete());
            return;
        }
    }
}
