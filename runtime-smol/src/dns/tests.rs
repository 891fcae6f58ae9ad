use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::{A, CNAME, MX};

use protocol_smtp::route::{Mx, MxAnswer};

use super::answer::Outcome;
use super::*;
use crate::task::block_on;

/// A name server on loopback that knows a few names; how many questions it was asked.
fn name_server() -> (config::Dns, Arc<AtomicUsize>) {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = udp.local_addr().unwrap();
    let tcp = TcpListener::bind(addr).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        let mut buf = [0; 2048];
        while let Ok((n, from)) = udp.recv_from(&mut buf) {
            count.fetch_add(1, Ordering::Relaxed);
            for reply in forged(&buf[..n]).into_iter().chain(reply(&buf[..n], false)) {
                udp.send_to(&reply, from).unwrap();
            }
        }
    });
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut len = [0; 2];
            while stream.read_exact(&mut len).is_ok() {
                let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
                stream.read_exact(&mut query).unwrap();
                let reply = reply(&query, true).unwrap();
                stream.write_all(&u16::try_from(reply.len()).unwrap().to_be_bytes()).unwrap();
                stream.write_all(&reply).unwrap();
            }
        }
    });
    let dns = config::Dns {
        resolvers: vec![config::HostPort { host: addr.ip().to_string(), port: addr.port() }],
        trust_anchor_file: None,
    };
    (dns, asked)
}

fn reply(query: &[u8], tcp: bool) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).unwrap();
    let question = query.queries[0].clone();
    let name = question.name().to_lowercase().to_ascii();
    let mut reply = query.clone();
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.recursion_available = true;
    let record = |data: RData| Record::from_rdata(question.name().clone(), 300, data);
    let mx = |preference, host: &str| RData::MX(MX::new(preference, Name::from_ascii(host).unwrap()));
    match (name.as_str(), question.query_type()) {
        ("good.test.", RecordType::MX) => {
            reply.answers.extend([record(mx(20, "mx2.good.test.")), record(mx(10, "mx1.good.test."))]);
        }
        ("null.test.", RecordType::MX) => reply.answers.push(record(mx(0, "."))),
        ("long.test.", RecordType::MX) if !tcp => reply.metadata.truncation = true,
        ("long.test.", RecordType::MX) => {
            reply.answers.extend((0..400).map(|n| record(mx(n, "mx.long.test."))))
        }
        ("mx1.good.test.", RecordType::A) => reply.answers.push(record(RData::A(A::new(192, 0, 2, 1)))),
        ("spoofed.test.", RecordType::A) => reply.answers.push(record(RData::A(A::new(192, 0, 2, 6)))),
        ("spoofed.test.", _) => {}
        ("half.test.", RecordType::A) => reply.answers.push(record(RData::A(A::new(192, 0, 2, 2)))),
        ("half.test." | "broken.test.", _) => reply.metadata.response_code = ResponseCode::ServFail,
        ("silent.test.", _) => return None,
        ("trap.test." | "deep.trap.test.", RecordType::A | RecordType::DNSKEY) if !tcp => {
            reply.metadata.truncation = true;
        }
        ("trap.test." | "deep.trap.test.", RecordType::A) => {
            reply.answers.push(record(RData::A(A::new(192, 0, 2, 3))));
            let signatures = if name == "trap.test." { 16 } else { 17 };
            reply.answers.extend((0..signatures).map(|n| record(trap::signature(n))));
        }
        ("trap.test.", RecordType::DNSKEY) => {
            reply.answers.extend(trap::keys().into_iter().map(|key| record(trap::dnskey(key))));
        }
        ("alias.test.", RecordType::A) => {
            let target = Name::from_ascii("mx1.good.test.").unwrap();
            reply.answers.push(record(RData::CNAME(CNAME(target))));
        }
        ("good.test." | "mx1.good.test.", _) => {}
        _ => reply.metadata.response_code = ResponseCode::NXDomain,
    }
    Some(reply.to_vec().unwrap())
}

/// What somebody off the path would send first for `spoofed.test`: an answer to another question's ID, and one that
/// did not see the letters of the name.
fn forged(query: &[u8]) -> Vec<Vec<u8>> {
    let query = Message::from_vec(query).unwrap();
    let question = query.queries[0].clone();
    if question.name().to_lowercase().to_ascii() != "spoofed.test." {
        return Vec::new();
    }
    let forge = |id: u16, name: Name| {
        let mut reply = query.clone();
        reply.metadata.message_type = MessageType::Response;
        reply.metadata.recursion_available = true;
        reply.metadata.id = id;
        reply.queries[0].set_name(name.clone());
        reply.answers.push(Record::from_rdata(name, 300, RData::A(A::new(203, 0, 113, 66))));
        reply.to_vec().unwrap()
    };
    let id = query.metadata.id;
    let other: String = question.name().to_ascii().chars().map(swapped).collect();
    vec![
        forge(id.wrapping_add(1), question.name().clone()),
        forge(id, Name::from_ascii("elsewhere.test.").unwrap()),
        forge(id, Name::from_ascii(other).unwrap()),
    ]
}

fn swapped(c: char) -> char {
    if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
}

#[test]
fn dt6_forged_answers_are_not_believed() {
    let (config, _) = name_server();
    let dns = Resolver::open(&config).unwrap();
    for _ in 0..20 {
        let answer = block_on(dns.lookup_ip("spoofed.test"));
        let right = AddressAnswer::Addresses(vec!["192.0.2.6".parse().unwrap()]);
        // A forgery may cost the answer, and never changes it.
        assert!(answer == right || matches!(answer, AddressAnswer::Failed(_)), "{answer:?}");
    }
}

async fn mx_of(dns: &Resolver, domain: &str) -> MxAnswer {
    dns.mx(domain, Asking::Plainly).await.answer
}

fn mx(preference: u16, exchange: &str) -> Mx {
    Mx { preference, exchange: exchange.into() }
}

#[test]
fn mail_exchangers_as_records_none_or_no_domain() {
    let (config, asked) = name_server();
    let dns = Resolver::open(&config).unwrap();
    let mut expected = vec![mx(20, "mx2.good.test."), mx(10, "mx1.good.test.")];
    let MxAnswer::Records(mut found) = block_on(mx_of(&dns, "good.test")) else { panic!("records") };
    found.sort_by_key(|m| m.preference);
    expected.sort_by_key(|m| m.preference);
    assert_eq!(found, expected);
    let once = asked.load(Ordering::Relaxed);
    assert!(matches!(block_on(mx_of(&dns, "good.test")), MxAnswer::Records(_)));
    assert_eq!(asked.load(Ordering::Relaxed), once, "the second answer is from the cache");
    assert_eq!(block_on(mx_of(&dns, "null.test")), MxAnswer::Records(vec![mx(0, ".")]));
    assert_eq!(block_on(mx_of(&dns, "mx1.good.test")), MxAnswer::NoData);
    assert_eq!(block_on(mx_of(&dns, "nowhere.test")), MxAnswer::NxDomain);
    assert_eq!(block_on(mx_of(&dns, "broken.test")), MxAnswer::Failed(DnsFailure::ServFail));
    let MxAnswer::Records(many) = block_on(mx_of(&dns, "long.test")) else { panic!("over TCP") };
    assert_eq!(many.len(), 400);
}

#[test]
fn addresses() {
    let (config, _) = name_server();
    let dns = Resolver::open(&config).unwrap();
    let one = |text: &str| AddressAnswer::Addresses(vec![text.parse().unwrap()]);
    assert_eq!(block_on(dns.lookup_ip("mx1.good.test")), one("192.0.2.1"));
    // Its target is known, and then it is not.
    for dns in [&dns, &Resolver::open(&config).unwrap()] {
        let seen = block_on(dns.addresses("alias.test", Asking::Plainly));
        assert_eq!((seen.answer, seen.expanded.as_str()), (one("192.0.2.1"), "mx1.good.test"));
    }
    assert_eq!(block_on(dns.lookup_ip("half.test")), one("192.0.2.2"));
    assert_eq!(block_on(dns.lookup_ip("good.test")), AddressAnswer::None);
    assert_eq!(block_on(dns.lookup_ip("nowhere.test")), AddressAnswer::None);
    assert_eq!(block_on(dns.lookup_ip("broken.test")), AddressAnswer::Failed(DnsFailure::ServFail));
}

#[test]
fn a_silent_name_server_is_a_time_out() {
    let (config, _) = name_server();
    let dns =
        Resolver::with_timeouts(&config, Duration::from_millis(20), Duration::from_millis(200)).unwrap();
    assert_eq!(block_on(mx_of(&dns, "silent.test")), MxAnswer::Failed(DnsFailure::Timeout));
}

#[test]
fn dt13_a_name_server_without_dnssec_is_told_from_one_that_validates() {
    let (config, _) = name_server();
    let dns = Resolver::open(&config).unwrap();
    assert!(block_on(dns.is_stripped()), "it knows no root");
    let seen = block_on(dns.addresses("mx1.good.test", Asking::Plainly));
    assert_eq!((seen.secure, seen.first_secure, seen.expanded.as_str()), (false, false, "mx1.good.test"));
    // What is not signed, and not shown to be outside of DNSSEC, is no answer when proof is wanted.
    let seen = block_on(dns.addresses("mx1.good.test", Asking::Validated));
    assert_eq!(seen.answer, AddressAnswer::Failed(DnsFailure::Bogus));
    assert_eq!(block_on(dns.mx("good.test", Asking::Validated)).answer, MxAnswer::Failed(DnsFailure::Bogus));
}

/// A zone of many keys with one tag, and of many signatures that none of them made (KeyTrap, CVE-2023-50387).
mod trap {
    use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, RRSIG, SigInput};
    use hickory_proto::dnssec::{Algorithm, PublicKeyBuf};
    use hickory_proto::rr::SerialNumber;

    use super::*;

    /// The tag is a sum of words: it does not see their order.
    pub fn keys() -> Vec<Vec<u8>> {
        let words = |first: u8| (0..32).flat_map(move |n| [0, (first + n) % 32]).collect();
        (0..32).map(words).collect()
    }

    fn key(octets: Vec<u8>) -> DNSKEY {
        DNSKEY::new(true, true, false, PublicKeyBuf::new(octets, Algorithm::ECDSAP256SHA256))
    }

    pub fn dnskey(octets: Vec<u8>) -> RData {
        RData::DNSSEC(DNSSECRData::DNSKEY(key(octets)))
    }

    pub fn signature(n: u8) -> RData {
        let now = u32::try_from(crate::wire::wall_now().0 / 1000).unwrap();
        let input = SigInput {
            type_covered: RecordType::A,
            algorithm: Algorithm::ECDSAP256SHA256,
            num_labels: 2,
            original_ttl: 300,
            sig_expiration: SerialNumber::new(now + 3600),
            sig_inception: SerialNumber::new(now - 3600),
            key_tag: key(keys().remove(0)).calculate_key_tag().unwrap(),
            signer_name: Name::from_ascii("trap.test.").unwrap(),
        };
        RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, vec![n + 1; 64])))
    }

    /// The line of each key as a file of trust anchors has it.
    pub fn anchors() -> String {
        let engine = &base64::engine::general_purpose::STANDARD;
        let line = |key| format!("trap.test. IN DNSKEY 257 3 13 {}\n", base64::Engine::encode(engine, key));
        keys().into_iter().map(line).collect()
    }
}

#[test]
fn dt5_many_keys_and_signatures_are_a_failure_soon() {
    let (mut config, asked) = name_server();
    let path = std::env::temp_dir().join(format!("inbox-trap-{}", std::process::id()));
    std::fs::write(&path, trap::anchors()).unwrap();
    config.trust_anchor_file = Some(path.clone());
    let dns = Resolver::open(&config).unwrap();
    std::fs::remove_file(&path).unwrap();
    for (name, why) in [("trap.test", DnsFailure::Bogus), ("deep.trap.test", DnsFailure::ServFail)] {
        let (begun, before) = (cache::now(), asked.load(Ordering::Relaxed));
        let answer = block_on(dns.question(name, RecordType::A, Asking::Validated));
        assert_eq!(answer.outcome, Outcome::Failed(why), "{name}");
        assert!(begun.elapsed() < Duration::from_secs(1), "{name}: {:?}", begun.elapsed());
        assert!(asked.load(Ordering::Relaxed) - before < 50, "{name}");
    }
    // Others are answered as before.
    assert_eq!(block_on(dns.mx("mx1.good.test", Asking::Plainly)).answer, MxAnswer::NoData);
}
