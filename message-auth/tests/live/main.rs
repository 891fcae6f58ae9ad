//! The verifier as it runs: over a name server on loopback, with messages that another implementation
//! (dkimpy) signed.

mod dkim;
mod dns;
mod origin;

use std::future::Future;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use hickory_proto::rr::RecordType;
use message_auth::{DnsSettings, Message, Settings, Verifier};
use protocol_core::auth::{MessageResults, Spf};

use dns::{Reply, Server, txt};

const NOW: i64 = 1_900_000_000;
const RSA_2048: &str = include_str!("../keys/rsa2048.pub");
const RSA_512: &str = include_str!("../keys/rsa512.pub");
const RSA_8192: &str = include_str!("../keys/rsa8192.pub");
/// Of the seed 0, 1, 2 ... 31.
const ED25519: &str = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
const SIGNED: &str = "From:To:Subject:Date";

const MESSAGE: &str = "From: Alice <alice@legit.example>\r\n\
                       To: bob@here.example\r\n\
                       Subject: Hello\r\n\
                       Date: Mon, 23 Nov 2026 11:26:35 +0000\r\n\
                       \r\n\
                       Hello,  Bob\r\n\r\n";

/// Whether dkimpy is there; when nothing may be left out, it must be.
fn have_dkimpy() -> bool {
    let found = Command::new("python3")
        .args(["-c", "import dkim, nacl, authres"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success());
    assert!(
        found || std::env::var_os("INBOX_TEST_REQUIRE_ALL").is_none(),
        "not installed: dkimpy, PyNaCl, authres"
    );
    if !found {
        eprintln!("left out, not installed: dkimpy, PyNaCl, authres");
    }
    found
}

/// Puts dkimpy's signature on top of a message.
fn sign(message: &str, arguments: &[&str]) -> String {
    let here = env!("CARGO_MANIFEST_DIR");
    let mut child = Command::new("python3")
        .arg(format!("{here}/tests/sign.py"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap() + message
}

/// The path of a key.
fn key(bits: u32) -> String {
    format!("{}/tests/keys/rsa{bits}.pem", env!("CARGO_MANIFEST_DIR"))
}

/// What everybody publishes in these tests.
fn world(name: &str, kind: RecordType) -> Reply {
    let text = match name {
        "rsa._domainkey.legit.example"
        | "rsa._domainkey.relay.example"
        | "rsa._domainkey.news.legit.example" => {
            format!("v=DKIM1; k=rsa; p={RSA_2048}")
        }
        "ed._domainkey.legit.example" => format!("v=DKIM1; k=ed25519; p={ED25519}"),
        "short._domainkey.legit.example" => format!("v=DKIM1; k=rsa; p={RSA_512}"),
        "long._domainkey.legit.example" => format!("v=DKIM1; k=rsa; p={RSA_8192}"),
        "revoked._domainkey.legit.example" => "v=DKIM1; p=".to_owned(),
        "down._domainkey.legit.example" | "_dmarc.down.example" => return Reply::ServFail,
        "slow._domainkey.legit.example" => return Reply::Silence,
        "_dmarc.legit.example" => {
            "v=DMARC1; p=reject; sp=quarantine; rua=mailto:reports@legit.example".to_owned()
        }
        "_dmarc.strict.example" => "v=DMARC1; p=reject; adkim=s; aspf=s".to_owned(),
        "_dmarc.mild.example" => "v=DMARC1; p=none".to_owned(),
        _ => return Reply::NxDomain,
    };
    if kind == RecordType::TXT { Reply::Records(vec![txt(&text)]) } else { Reply::Records(Vec::new()) }
}

fn verifier(server: &Server, time_limit: Duration) -> Verifier {
    Verifier::open(&Settings {
        dns: DnsSettings {
            servers: vec![server.addr],
            trust_anchor_file: None,
            query_timeout: Duration::from_secs(2),
        },
        time_limit,
        octets_at_once: 2 * 1024,
    })
    .unwrap()
}

/// Verifies a message of `legit.example` (or of the domains given) with no SPF result.
fn verify(verifier: &Verifier, message: &str) -> MessageResults {
    verify_as(verifier, message, &["legit.example"], Spf::default())
}

fn verify_as(verifier: &Verifier, message: &str, from: &[&str], spf: Spf) -> MessageResults {
    wait(async {
        let permit = verifier.permit(message.len() as u64).await;
        let message = Message {
            octets: message.as_bytes().to_vec(),
            from_domains: from.iter().map(|d| (*d).to_owned()).collect(),
            spf,
            now_secs: NOW,
        };
        verifier.message(permit, message).await
    })
}

/// Awaits a future with nothing but the standard library: no runtime of ours is needed outside.
fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
