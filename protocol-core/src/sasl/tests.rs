//! Both sides against each other, against the vectors of RFC 7677, and against attacks.

use super::*;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const SEED: [u8; 24] = [7; 24];

fn none() -> ChannelBinding {
    ChannelBinding::default()
}

fn exporter(octet: u8) -> ChannelBinding {
    ChannelBinding { tls_exporter: Some([octet; 32]), tls_server_end_point: None }
}

fn pencil() -> ScramVerifier {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    ScramVerifier::from_password(&Secret::from("pencil"), &salt, 4096)
}

#[test]
fn plain_asks_for_the_password() {
    for (response, user) in [(&b"\0tim\0tanstaaftanstaaf"[..], "tim"), (b"Ursel\0Ursel\0xipj3plmq", "Ursel")]
    {
        let mut server = Server::new(Mechanism::Plain, none(), SEED);
        let Step::Question(Question::Password { user: asked, password }) = server.start(Some(response))
        else {
            panic!("no question")
        };
        assert_eq!(asked, user);
        assert!(response.ends_with(password.expose()));
        assert_eq!(server.verified(true), Step::Success { user: user.into() });
        assert_eq!(server.respond(b""), Step::Failure(Failure::Malformed));
    }
    let mut server = Server::new(Mechanism::Plain, none(), SEED);
    assert_eq!(server.start(None), Step::Challenge(Vec::new()));
    assert!(matches!(server.respond(b"\0a\0b"), Step::Question(_)));
    assert_eq!(server.verified(false), Step::Failure(Failure::Credentials));
    assert_eq!(server.verified(true), Step::Failure(Failure::Credentials), "a second answer changes nothing");
}

#[test]
fn plain_refuses_what_is_not_plain() {
    for (response, why) in [
        (&b""[..], Failure::Malformed),
        (b"user", Failure::Malformed),
        (b"\0user", Failure::Malformed),
        (b"\0\0password", Failure::Malformed),
        (b"\0\xff\0password", Failure::Malformed),
        (b"\0user\0", Failure::Credentials),
        (b"\0user\0pass\0word", Failure::Credentials),
        (b"other\0user\0password", Failure::Credentials),
    ] {
        let mut server = Server::new(Mechanism::Plain, none(), SEED);
        assert_eq!(server.start(Some(response)), Step::Failure(why), "{response:?}");
    }
    let mut long = b"\0".to_vec();
    long.extend(core::iter::repeat_n(b'u', USER_MAX));
    long.extend(b"\0p");
    assert!(matches!(Server::new(Mechanism::Plain, none(), SEED).start(Some(&long)), Step::Question(_)));
    long.insert(1, b'u');
    let refused = Server::new(Mechanism::Plain, none(), SEED).start(Some(&long));
    assert_eq!(refused, Step::Failure(Failure::Malformed));
    let refused = Server::new(Mechanism::Plain, none(), SEED).start(Some(&[b'x'; RESPONSE_MAX + 1]));
    assert_eq!(refused, Step::Failure(Failure::Malformed));
}

#[test]
fn login_asks_twice() {
    let mut server = Server::new(Mechanism::Login, none(), SEED);
    assert_eq!(server.start(None), Step::Challenge(b"Username:".to_vec()));
    assert_eq!(server.respond(b"tim"), Step::Challenge(b"Password:".to_vec()));
    let asked = Step::Question(Question::Password { user: "tim".into(), password: Secret::from("secret") });
    assert_eq!(server.respond(b"secret"), asked);
    assert_eq!(server.verified(true), Step::Success { user: "tim".into() });
    let mut server = Server::new(Mechanism::Login, none(), SEED);
    assert_eq!(server.start(Some(b"tim")), Step::Challenge(b"Password:".to_vec()));
    assert_eq!(server.respond(b""), Step::Failure(Failure::Credentials));
}

/// RFC 7677 §3, with the server's nonce of the example put in the place of ours.
#[test]
fn rfc_7677_section_3_vectors() {
    let bare = "n=user,r=rOprNGfwEbeRWgbNEkqO";
    let server_first =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    let without_proof = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let auth_message = format!("{bare},{server_first},{without_proof}");
    let verifier = pencil();
    let proof = STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
    let mut proof: [u8; 32] = proof.try_into().unwrap();
    assert!(scram::proof_fits(&verifier.stored_key, auth_message.as_bytes(), &proof));
    let signature = verifier::hmac(&verifier.server_key, auth_message.as_bytes());
    assert_eq!(STANDARD.encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    proof[31] ^= 1;
    assert!(!scram::proof_fits(&verifier.stored_key, auth_message.as_bytes(), &proof));
}

/// Plays client against server; what the server ends with, and whether the client believes it.
fn play(client: &mut Client, server: &mut Server, verifier: ScramVerifier, usable: bool) -> (Step, bool) {
    let mut step = server.start(Some(client.initial().expose()));
    loop {
        step = match step {
            Step::Question(Question::Verifier { .. }) => server.verifier(verifier.clone(), usable),
            Step::Challenge(challenge) => match client.respond(&challenge) {
                Ok(response) => server.respond(response.expose()),
                Err(_) => return (Step::Failure(Failure::Malformed), false),
            },
            end => return (end, client.is_complete()),
        };
    }
}

fn attempt(
    mechanism: Mechanism,
    theirs: ChannelBinding,
    ours: ChannelBinding,
    password: &str,
) -> (Step, bool) {
    let mut client = Client::new(mechanism, "us=e,r", &Secret::from(password), &theirs, [1; 24]).unwrap();
    let mut server = Server::new(mechanism, ours, SEED);
    play(&mut client, &mut server, pencil(), true)
}

fn success() -> (Step, bool) {
    (Step::Success { user: "us=e,r".to_string() }, true)
}

fn failure(why: Failure) -> (Step, bool) {
    (Step::Failure(why), false)
}

#[test]
fn scram_client_and_server_agree() {
    use Mechanism::{ScramSha256, ScramSha256Plus};
    assert_eq!(attempt(ScramSha256, none(), none(), "pencil"), success());
    assert_eq!(attempt(ScramSha256, none(), exporter(1), "pencil"), success());
    assert_eq!(attempt(ScramSha256, exporter(1), none(), "pencil"), success());
    assert_eq!(attempt(ScramSha256Plus, exporter(1), exporter(1), "pencil"), success());
    let end_point = ChannelBinding { tls_exporter: None, tls_server_end_point: Some(alloc::vec![5; 48]) };
    assert_eq!(attempt(ScramSha256Plus, end_point.clone(), end_point, "pencil"), success());
    assert_eq!(attempt(ScramSha256, none(), none(), "pencil2"), failure(Failure::Credentials));
}

#[test]
fn au6_channel_binding_mismatch_and_downgrades_are_refused() {
    use Mechanism::{ScramSha256, ScramSha256Plus};
    // Another TLS connection: somebody stands in between.
    assert_eq!(
        attempt(ScramSha256Plus, exporter(1), exporter(2), "pencil"),
        failure(Failure::ChannelBinding)
    );
    // `y` although PLUS was offered: the list was tampered with.
    assert_eq!(attempt(ScramSha256, exporter(1), exporter(1), "pencil"), failure(Failure::ChannelBinding));
    // A binding type we have not got.
    let end_point = ChannelBinding { tls_exporter: None, tls_server_end_point: Some(alloc::vec![5; 48]) };
    assert_eq!(attempt(ScramSha256Plus, end_point, exporter(1), "pencil"), failure(Failure::ChannelBinding));
    for (mechanism, first) in [
        (ScramSha256Plus, "n,,n=user,r=abc"),
        (ScramSha256Plus, "y,,n=user,r=abc"),
        (ScramSha256, "p=tls-exporter,,n=user,r=abc"),
        (ScramSha256Plus, "p=tls-unique,,n=user,r=abc"),
    ] {
        let mut server = Server::new(mechanism, exporter(1), SEED);
        assert_eq!(server.start(Some(first.as_bytes())), Step::Failure(Failure::ChannelBinding), "{first}");
    }
}

#[test]
fn au6_a_changed_gs2_header_is_noticed() {
    // The client said `y`, somebody made `n` of it: the proof covers what the client said.
    let mut client =
        Client::new(Mechanism::ScramSha256, "user", &Secret::from("pencil"), &exporter(1), [1; 24]).unwrap();
    let first = client.initial();
    let tampered = first.expose_str().unwrap().replacen('y', "n", 1);
    let mut server = Server::new(Mechanism::ScramSha256, exporter(1), SEED);
    assert!(matches!(server.start(Some(tampered.as_bytes())), Step::Question(_)));
    let Step::Challenge(challenge) = server.verifier(pencil(), true) else { panic!("no challenge") };
    let last = client.respond(&challenge).unwrap();
    assert_eq!(server.respond(last.expose()), Step::Failure(Failure::ChannelBinding));
}

#[test]
fn au6_nonces_of_another_attempt_are_refused() {
    let begin = |seed: u8| {
        let mut client =
            Client::new(Mechanism::ScramSha256, "user", &Secret::from("pencil"), &none(), [1; 24]).unwrap();
        let mut server = Server::new(Mechanism::ScramSha256, none(), [seed; 24]);
        assert!(matches!(server.start(Some(client.initial().expose())), Step::Question(_)));
        let Step::Challenge(challenge) = server.verifier(pencil(), true) else { panic!("no challenge") };
        (client, server, challenge)
    };
    let (mut client, _, first_challenge) = begin(7);
    let (_, mut second, _) = begin(8);
    let replayed = client.respond(&first_challenge).unwrap();
    assert_eq!(second.respond(replayed.expose()), Step::Failure(Failure::Credentials));
}

#[test]
fn au6_the_client_trusts_no_weak_or_costly_server() {
    for (challenge, fault) in [
        ("r=NONCEx,s=c2FsdA==,i=4096", None),
        ("r=NONCEx,s=c2FsdA==,i=4095", Some(ClientFault::Untrusted)),
        ("r=NONCEx,s=c2FsdA==,i=1000001", Some(ClientFault::Untrusted)),
        ("r=NONCE,s=c2FsdA==,i=4096", Some(ClientFault::Untrusted)),
        ("r=xNONCE,s=c2FsdA==,i=4096", Some(ClientFault::Untrusted)),
        ("r=NONCEx,s=c2FsdA==,i=+4096", Some(ClientFault::Challenge)),
        ("m=x,r=NONCEx,s=c2FsdA==,i=4096", Some(ClientFault::Challenge)),
        ("e=other-error", Some(ClientFault::Challenge)),
        ("", Some(ClientFault::Challenge)),
    ] {
        let mut client =
            Client::new(Mechanism::ScramSha256, "user", &Secret::from("pencil"), &none(), [1; 24]).unwrap();
        let first = client.initial();
        let nonce = first.expose_str().unwrap().rsplit_once("r=").unwrap().1;
        let got = client.respond(challenge.replace("NONCE", nonce).as_bytes());
        assert_eq!(got.err(), fault, "{challenge}");
        assert!(!client.is_complete());
    }
}

#[test]
fn au1_an_account_that_is_not_usable_fails_like_a_wrong_password() {
    let mut client =
        Client::new(Mechanism::ScramSha256, "user", &Secret::from("pencil"), &none(), [1; 24]).unwrap();
    let mut server = Server::new(Mechanism::ScramSha256, none(), SEED);
    assert_eq!(play(&mut client, &mut server, pencil(), false), failure(Failure::Credentials));
    let mut client =
        Client::new(Mechanism::ScramSha256, "user", &Secret::from("pencil"), &none(), [1; 24]).unwrap();
    let mut server = Server::new(Mechanism::ScramSha256, none(), SEED);
    let fake = ScramVerifier::fake(&[3; 32], "user");
    assert_eq!(play(&mut client, &mut server, fake, false), failure(Failure::Credentials));
}

#[test]
fn scram_refuses_malformed_messages() {
    for first in [
        "",
        "n",
        "n,",
        "n,,",
        "n,,n=user",
        "n,,n=,r=abc",
        "n,,n=user,r=",
        "n,,r=abc,n=user",
        "x,,n=user,r=abc",
        "n,,m=ext,n=user,r=abc",
        "n,,n=us=er,r=abc",
        "n,,n=us=2cer,r=abc",
        "n,b=x,n=user,r=abc",
        "n,,n=user,r=a\u{7f}",
        "n,,n=user,r=abc,",
        "n,,n=user,r=abc,x",
        "n,,n=u\0ser,r=abc",
        "n,,n=user,r=a b",
    ] {
        let mut server = Server::new(Mechanism::ScramSha256, none(), SEED);
        assert_eq!(server.start(Some(first.as_bytes())), Step::Failure(Failure::Malformed), "{first:?}");
    }
    let mut server = Server::new(Mechanism::ScramSha256, none(), SEED);
    let foreign = server.start(Some(b"n,a=other,n=user,r=abc"));
    assert_eq!(foreign, Step::Failure(Failure::Credentials));
    for last in [
        "",
        "c=biws",
        "c=biws,r=x",
        "c=biws,r=x,p=",
        "c=!,r=x,p=AA==",
        "c=biws,r=x,p=AA==",
        "r=x,c=biws,p=AA==",
    ] {
        let mut server = Server::new(Mechanism::ScramSha256, none(), SEED);
        assert!(matches!(server.start(Some(b"n,,n=user,r=abc")), Step::Question(_)));
        assert!(matches!(server.verifier(pencil(), true), Step::Challenge(_)));
        assert_eq!(server.respond(last.as_bytes()), Step::Failure(Failure::Malformed), "{last}");
    }
}

#[test]
fn scram_nonces_are_limited() {
    for (len, fine) in [(NONCE_MAX, true), (NONCE_MAX + 1, false)] {
        let first = format!("n,,n=user,r={}", "x".repeat(len));
        let mut server = Server::new(Mechanism::ScramSha256, none(), SEED);
        assert_eq!(matches!(server.start(Some(first.as_bytes())), Step::Question(_)), fine);
    }
}

#[test]
fn mechanisms_are_named_and_chosen() {
    for mechanism in Mechanism::ALL {
        assert_eq!(Mechanism::parse(mechanism.name().to_lowercase().as_bytes()), Some(mechanism));
    }
    assert_eq!(Mechanism::parse(b"CRAM-MD5"), None);
    assert!(!Mechanism::Plain.is_usable(false, &none()));
    assert!(!Mechanism::ScramSha256Plus.is_usable(true, &none()));
    let all = Mechanism::ALL;
    assert_eq!(Client::choose(&all, &none()), Some(Mechanism::ScramSha256));
    assert_eq!(Client::choose(&all, &exporter(1)), Some(Mechanism::ScramSha256Plus));
    assert_eq!(Client::choose(&[Mechanism::Login], &none()), None);
    let debug: String = format!("{:?}", Server::new(Mechanism::Plain, none(), SEED));
    assert!(!debug.contains("BwcH"), "the nonce is not shown");
}
