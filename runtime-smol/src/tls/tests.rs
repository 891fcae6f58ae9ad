use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::{ClientConnection, ServerConnection};
use rustls_pki_types::ServerName;

use super::*;
use crate::config::{self, Config, Profile, Sources};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("inbox-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    fn config(&self, env: &[(&str, &str)]) -> Config {
        let environment = env.iter().map(|(n, v)| (n.into(), v.into())).collect();
        let sources = Sources {
            data_dir: Some(self.0.clone()),
            env_file: None,
            profile: Profile::Quickstart { deliver: false },
            environment,
        };
        config::load(&sources).unwrap().config
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Lets the two talk in memory until neither has anything to say; the first error of each.
fn talk(client: &mut ClientConnection, server: &mut ServerConnection) -> [Option<rustls::Error>; 2] {
    let mut errors = [None, None];
    for _ in 0..10 {
        let mut wire = Vec::new();
        while client.wants_write() && client.write_tls(&mut wire).is_ok_and(|n| n > 0) {}
        let mut rest = &wire[..];
        while !rest.is_empty() && server.read_tls(&mut rest).is_ok_and(|n| n > 0) {
            errors[1] = errors[1].take().or(server.process_new_packets().err());
        }
        let mut wire = Vec::new();
        while server.wants_write() && server.write_tls(&mut wire).is_ok_and(|n| n > 0) {}
        let mut rest = &wire[..];
        while !rest.is_empty() && client.read_tls(&mut rest).is_ok_and(|n| n > 0) {
            errors[0] = errors[0].take().or(client.process_new_packets().err());
        }
    }
    errors
}

fn connect(
    server: &ServerTls,
    alpn: Alpn,
    client: Arc<rustls::ClientConfig>,
    offered: &[&str],
) -> (ClientConnection, [Option<rustls::Error>; 2]) {
    let mut config = (*client).clone();
    config.alpn_protocols = offered.iter().map(|n| n.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("mail.example.test").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut server = ServerConnection::new(server.identity().config(alpn)).unwrap();
    let errors = talk(&mut client, &mut server);
    if errors == [None, None] {
        client.writer().write_all(b"ping").unwrap();
        talk(&mut client, &mut server);
        let mut read = [0; 4];
        server.reader().read_exact(&mut read).unwrap();
        assert_eq!(&read, b"ping");
    }
    (client, errors)
}

#[test]
fn si41_a_protocol_name_of_another_port_gets_alert_120() {
    let dir = Dir::new("alpn");
    let server = ServerTls::open(&dir.config(&[])).unwrap();
    let client = ClientTls::open(None).unwrap();
    for (alpn, offered, good) in [
        (Alpn::Smtp, &["http/1.1"][..], false),
        (Alpn::Imap, &["smtp"], false),
        (Alpn::Http, &["imap"], false),
        (Alpn::Smtp, &["smtp"], true),
        (Alpn::Imap, &["h2", "imap"], true),
        (Alpn::Http, &["h2", "http/1.1"], true),
        (Alpn::Smtp, &[], true),
    ] {
        let (_, errors) = connect(&server, alpn, client.recording().unwrap().0, offered);
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol);
        assert_eq!(errors[0], (!good).then_some(alert), "{alpn:?} {offered:?}");
    }
}

/// The first message of a client (RFC 5246 §7.4.1.2) that offers one version and one cipher suite.
fn client_hello(version: [u8; 2], suite: [u8; 2]) -> Vec<u8> {
    let extensions = [
        0, 10, 0, 4, 0, 2, 0, 23, // supported_groups: secp256r1
        0, 13, 0, 6, 0, 4, 4, 3, 4, 1, // signature_algorithms: ECDSA and RSA with SHA-256
    ];
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.extend([0, 0, 2, suite[0], suite[1], 1, 0, 0, extensions.len() as u8]);
    body.extend(extensions);
    let mut record = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    record.extend(body);
    record
}

#[test]
fn dt11_old_versions_rsa_key_exchange_and_floods_of_records_are_refused_and_there_is_no_early_data() {
    let dir = Dir::new("old");
    let server = ServerTls::open(&dir.config(&[])).unwrap();
    let hear = |octets: &[u8]| {
        let mut connection = ServerConnection::new(server.identity().config(Alpn::Smtp)).unwrap();
        let (mut rest, mut error) = (octets, None);
        while !rest.is_empty() && error.is_none() {
            assert!(connection.read_tls(&mut rest).is_ok_and(|n| n > 0));
            error = connection.process_new_packets().err();
        }
        let mut said = Vec::new();
        while connection.wants_write() && connection.write_tls(&mut said).is_ok_and(|n| n > 0) {}
        (error, said)
    };
    const ECDHE: [u8; 2] = [0xc0, 0x2b];
    for (version, suite, alert) in [
        ([3, 1], ECDHE, 70),     // TLS 1.0: protocol_version
        ([3, 2], ECDHE, 70),     // TLS 1.1
        ([3, 3], [0, 0x9c], 40), // RSA key exchange: handshake_failure
        ([3, 3], [0, 0x05], 40), // RC4
    ] {
        let (error, said) = hear(&client_hello(version, suite));
        assert!(error.is_some(), "{version:?} {suite:?}");
        assert_eq!(said.last(), Some(&alert), "{version:?} {suite:?}: {error:?}");
    }
    let (error, said) = hear(&client_hello([3, 3], ECDHE));
    assert!(error.is_none() && said[5] == 2, "what is offered by the book is answered: {error:?}");
    // Records that say nothing, before and behind the first message.
    let change = [20, 3, 3, 0, 1, 1].repeat(100);
    let empty = [22, 3, 3, 0, 0].repeat(100);
    for flood in [&change, &empty] {
        assert!(hear(flood).0.is_some());
        assert!(hear(&[client_hello([3, 3], ECDHE), flood.clone()].concat()).0.is_some());
    }
    for alpn in [Alpn::Smtp, Alpn::Imap, Alpn::Http] {
        assert_eq!(server.identity().config(alpn).max_early_data_size, 0);
    }
}

#[test]
fn a_self_signed_certificate_is_made_once_recorded_as_invalid_and_trusted_as_an_extra_root() {
    let dir = Dir::new("roots");
    let config = dir.config(&[]);
    let server = ServerTls::open(&config).unwrap();
    assert!(server.warning().unwrap().contains("self-signed"));
    let made = fs::read(server.cert_path()).unwrap();
    assert_eq!(fs::read(ServerTls::open(&config).unwrap().cert_path()).unwrap(), made);
    let key = server.cert_path().with_extension("key");
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(key).unwrap().permissions()) & 0o777,
        0o600
    );

    let client = ClientTls::open(None).unwrap();
    let (recording, verdict) = client.recording().unwrap();
    assert_eq!(verdict.result(), None);
    let (_, errors) = connect(&server, Alpn::Smtp, recording, &[]);
    assert_eq!(errors, [None, None]);
    assert!(verdict.result().is_some_and(|r| r.is_err()));
    let (_, errors) = connect(&server, Alpn::Smtp, client.verifying().unwrap(), &[]);
    assert!(matches!(errors[0], Some(rustls::Error::InvalidCertificate(_))), "{errors:?}");

    let trusting = ClientTls::open(Some(server.cert_path())).unwrap();
    let (recording, verdict) = trusting.recording().unwrap();
    connect(&server, Alpn::Smtp, recording, &[]);
    assert!(verdict.is_valid(), "{:?}", verdict.result());
    assert_eq!(connect(&server, Alpn::Smtp, trusting.verifying().unwrap(), &[]).1, [None, None]);
}

#[test]
fn replaced_files_are_picked_up_and_a_broken_pair_changes_nothing() {
    let dir = Dir::new("reload");
    let pair = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["mail.example.test".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap(), key)
    };
    let (cert_path, key_path) = (dir.0.join("c.pem"), dir.0.join("k.pem"));
    let put = |cert: &rcgen::Certificate, key: Option<&rcgen::KeyPair>| {
        fs::write(&cert_path, cert.pem()).unwrap();
        if let Some(key) = key {
            fs::write(&key_path, key.serialize_pem()).unwrap();
        }
    };
    let presented = |server: &ServerTls| {
        let (client, errors) =
            connect(server, Alpn::Imap, ClientTls::open(None).unwrap().recording().unwrap().0, &[]);
        assert_eq!(errors, [None, None]);
        client.peer_certificates().unwrap()[0].to_vec()
    };
    let (first, key) = pair();
    put(&first, Some(&key));
    let env = [("TLS_CERT_PATH", cert_path.to_str().unwrap()), ("TLS_KEY_PATH", key_path.to_str().unwrap())];
    let server = ServerTls::open(&dir.config(&env)).unwrap();
    assert_eq!(server.warning(), None);
    assert_eq!(presented(&server), first.der().to_vec());
    assert_eq!(server.reload_if_changed(), Ok(false));

    let (second, key) = pair();
    put(&second, None);
    assert!(server.reload_if_changed().is_err(), "the certificate is new, the key is not");
    assert_eq!(presented(&server), first.der().to_vec());
    put(&second, Some(&key));
    assert_eq!(server.reload_if_changed(), Ok(true));
    assert_eq!(presented(&server), second.der().to_vec());
    assert_eq!(server.identity().end_point(), binding::end_point(second.der()).as_deref());

    fs::write(&cert_path, "not a certificate").unwrap();
    assert!(server.reload().unwrap_err().to_string().contains("c.pem"));
    assert_eq!(presented(&server), second.der().to_vec());
}
