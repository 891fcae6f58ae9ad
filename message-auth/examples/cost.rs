//! What it costs to check where a message comes from, with warm DNS: `cargo run --release -p message-auth --example
//! cost`. The name server runs in this process, on loopback.
#![allow(clippy::disallowed_methods)] // What is measured is time.

#[allow(dead_code)]
#[path = "../tests/live/dns.rs"]
mod dns;

use std::future::Future;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hickory_proto::rr::RecordType;
use message_auth::sign::{BodyHash, Key, Signer};
use message_auth::spf::Query;
use message_auth::{DnsSettings, Message, Settings, Verifier};
use protocol_core::Timestamp;
use protocol_core::auth::{DkimResult, DmarcResult, SpfIdentity, SpfResult};
use protocol_core::message::header::header_len;

use dns::{Reply, Server, txt};

const RSA: &str = include_str!("../tests/data/test-rsa-private.b64");
const RSA_PUBLIC: &str = include_str!("../tests/data/test-rsa-public.b64");
const ED25519: &str = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";
const ED25519_PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const ROUNDS: usize = 200;

fn main() {
    let server = Server::start(world);
    let verifier = Verifier::open(&Settings {
        dns: DnsSettings {
            servers: vec![server.addr],
            trust_anchor_file: None,
            query_timeout: Duration::from_secs(2),
        },
        time_limit: Duration::from_secs(20),
        octets_at_once: 64 * 1024 * 1024,
    })
    .expect("it opens");
    for (name, octets) in [("4 KiB", 4 * 1024), ("100 KiB", 100 * 1024), ("1 MiB", 1024 * 1024)] {
        let message = signed(octets);
        measure(&format!("SPF, two signatures (RSA-2048, Ed25519), DMARC; {name}"), ROUNDS, || {
            let found = whole(&verifier, &message, true);
            assert_eq!(found, (SpfResult::Pass, 2, 0, DmarcResult::Pass));
        });
    }
    let many = thousand();
    measure("1,000 signatures over 1 MiB, each another domain's", 20, || {
        assert_eq!(whole(&verifier, &many, false).2, 992);
    });
}

/// SPF's result, signatures that passed and that were not looked at, DMARC's result.
fn whole(verifier: &Verifier, message: &[u8], with_spf: bool) -> (SpfResult, usize, usize, DmarcResult) {
    wait(async {
        let spf = verifier.spf(Query {
            ip: [192, 0, 2, if with_spf { 1 } else { 2 }].into(),
            helo: "mx.example.com".into(),
            identity: SpfIdentity::MailFrom,
            local: "alice".into(),
            domain: "example.com".into(),
            receiver: "here.test".into(),
            now_secs: now().secs(),
        });
        let spf = spf.await;
        let result = spf.result;
        let permit = verifier.permit(message.len() as u64).await;
        let message = Message {
            octets: message.to_vec(),
            from_domains: vec!["example.com".into()],
            spf,
            now_secs: now().secs(),
        };
        let found = verifier.message(permit, message).await;
        let passed = found.dkim.iter().filter(|d| d.result == DkimResult::Pass).count();
        (result, passed, found.dkim_ignored, found.dmarc.result)
    })
}

fn world(name: &str, kind: RecordType) -> Reply {
    let record = match (name, kind) {
        ("example.com", RecordType::TXT) => "v=spf1 ip4:192.0.2.1 -all".to_owned(),
        ("_dmarc.example.com", RecordType::TXT) => "v=DMARC1; p=reject".to_owned(),
        ("rsa._domainkey.example.com", RecordType::TXT) => {
            format!("v=DKIM1; k=rsa; p={}", RSA_PUBLIC.trim())
        }
        ("ed._domainkey.example.com", RecordType::TXT) => format!("v=DKIM1; k=ed25519; p={ED25519_PUBLIC}"),
        _ => return Reply::NxDomain,
    };
    Reply::Records(vec![txt(&record)])
}

fn signed(octets: usize) -> Vec<u8> {
    let line = "The quick brown fox jumps over the lazy dog, and the dog does not mind.\r\n";
    let body = line.repeat(octets / line.len());
    let message = format!(
        "From: Alice <alice@example.com>\r\nTo: bob@here.test\r\nSubject: Figures\r\n\
         Date: Thu, 26 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\r\n{body}"
    );
    let der = |b64: &str| BASE64.decode(b64.split_whitespace().collect::<String>()).expect("base64");
    let keys = [("rsa", RSA), ("ed", ED25519)];
    let keys = keys.map(|(name, key)| (name.to_owned(), Key::from_pkcs8(&der(key)).expect("a key")));
    let always = ["From", "To", "Subject", "Date"].map(str::to_owned);
    let signer = Signer::new("example.com", keys.into(), &always);
    let (header, body) = message.as_bytes().split_at(header_len(message.as_bytes()));
    let mut hash = BodyHash::new();
    hash.feed(body);
    let fields = signer.sign(header, hash.finish(), now()).expect("it signs");
    [fields, message.into_bytes()].concat()
}

fn thousand() -> Vec<u8> {
    let b = "A".repeat(342) + "==";
    let field = |n: usize| {
        let canon = ["relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"][n % 4];
        format!(
            "DKIM-Signature: v=1; a=rsa-sha256; c={canon}; d=d{n}.test; s=s; h=From:To; bh=AAAA; b={b}\r\n"
        )
    };
    let header: String = (0..1000).map(field).collect();
    format!("{header}From: <a@example.com>\r\n\r\n{}", "0123456789\r\n".repeat(87_000)).into_bytes()
}

fn measure(what: &str, rounds: usize, mut each: impl FnMut()) {
    each(); // DNS is asked now, and answers from the cache from then on.
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let begun = Instant::now();
            each();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!("{what}: best {:.2} ms, median {:.2} ms", ms(times[0]), ms(times[rounds / 2]));
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_secs(since.as_secs() as i64)
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::task::Waker::from(std::sync::Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
