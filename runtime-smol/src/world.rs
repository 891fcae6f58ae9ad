//! A small world for unit tests: a name server and an HTTPS server on loopback, with a certification authority of
//! their own. Both answer what the test says at that moment.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, TXT};
use hickory_proto::rr::{RData, Record, RecordType};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::config::{Dns, HostPort};

/// A directory of a test's own, removed at its end.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Dir {
        let path = std::env::temp_dir().join(format!("inbox-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the name server knows.
#[derive(Default)]
struct Zone {
    texts: HashMap<String, Vec<String>>,
    /// Every question fails.
    broken: bool,
}

/// A name server: every host is 127.0.0.1, and TXT records are those that were set. Nothing may be kept.
#[derive(Clone, Default)]
pub(crate) struct Names(Arc<Mutex<Zone>>);

impl Names {
    /// Starts it.
    pub(crate) fn start() -> (Names, Dns) {
        let names = Names::default();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let zone = names.clone();
        std::thread::spawn(move || {
            let mut buf = [0; 2048];
            while let Ok((n, from)) = socket.recv_from(&mut buf) {
                socket.send_to(&zone.reply(&buf[..n]), from).unwrap();
            }
        });
        let resolvers = vec![HostPort { host: addr.ip().to_string(), port: addr.port() }];
        (names, Dns { resolvers, trust_anchor_file: None })
    }

    /// The texts at a name.
    pub(crate) fn set(&self, name: &str, texts: &[&str]) {
        let texts = texts.iter().map(|t| t.to_string()).collect();
        lock(&self.0).texts.insert(format!("{name}."), texts);
    }

    /// Whether every question fails from now on.
    pub(crate) fn set_broken(&self, broken: bool) {
        lock(&self.0).broken = broken;
    }

    fn reply(&self, query: &[u8]) -> Vec<u8> {
        let query = Message::from_vec(query).unwrap();
        let question = query.queries[0].clone();
        let name = question.name().to_lowercase().to_ascii();
        let mut reply = query.clone();
        reply.metadata.message_type = MessageType::Response;
        reply.metadata.recursion_available = true;
        let record = |data: RData| Record::from_rdata(question.name().clone(), 0, data);
        let zone = lock(&self.0);
        match question.query_type() {
            _ if zone.broken => reply.metadata.response_code = ResponseCode::ServFail,
            RecordType::A => reply.answers.push(record(RData::A(A::new(127, 0, 0, 1)))),
            RecordType::TXT => {
                let texts = zone.texts.get(&name).into_iter().flatten();
                reply.answers.extend(texts.map(|t| record(RData::TXT(TXT::new(vec![t.clone()])))));
            }
            _ => {}
        }
        reply.to_vec().unwrap()
    }
}

/// Signs certificates.
pub(crate) struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// A new one; its certificate is written to `path`.
    pub(crate) fn new(path: &Path) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(path, params.self_signed(&key).unwrap().pem()).unwrap();
        Authority(Issuer::new(params, key))
    }

    /// A certificate for names.
    pub(crate) fn identity(&self, names: &[&str]) -> Arc<ServerConfig> {
        let (params, key) = request(names);
        let cert = params.signed_by(&key, &self.0).unwrap();
        identity(cert.der().clone(), &key)
    }

    /// One that ended in the year 2000.
    pub(crate) fn expired(&self, names: &[&str]) -> Arc<ServerConfig> {
        let (mut params, key) = request(names);
        params.not_before = rcgen::date_time_ymd(1999, 1, 1);
        params.not_after = rcgen::date_time_ymd(2000, 1, 1);
        let cert = params.signed_by(&key, &self.0).unwrap();
        identity(cert.der().clone(), &key)
    }
}

/// A certificate that nobody else signed.
pub(crate) fn self_signed(names: &[&str]) -> Arc<ServerConfig> {
    let (params, key) = request(names);
    let cert = params.self_signed(&key).unwrap();
    identity(cert.der().clone(), &key)
}

fn request(names: &[&str]) -> (CertificateParams, KeyPair) {
    let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
    (CertificateParams::new(names).unwrap(), KeyPair::generate().unwrap())
}

fn identity(cert: CertificateDer<'static>, key: &KeyPair) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert], key)
        .unwrap();
    Arc::new(config)
}

/// What the HTTPS server does.
struct Scene {
    identity: Arc<ServerConfig>,
    answer: Vec<u8>,
    requests: Vec<(String, Vec<u8>)>,
}

/// An HTTPS server that gives the same answer to all requests, one connection at a time.
#[derive(Clone)]
pub(crate) struct Web {
    scene: Arc<Mutex<Scene>>,
    port: u16,
}

impl Web {
    /// Starts it.
    pub(crate) fn start(identity: Arc<ServerConfig>) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let scene = Scene { identity, answer: Vec::new(), requests: Vec::new() };
        let web = Web { scene: Arc::new(Mutex::new(scene)), port };
        let server = web.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that does not like the certificate goes away.
                let _ = server.serve(stream);
            }
        });
        web
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The certificate of connections from now on.
    pub(crate) fn present(&self, identity: Arc<ServerConfig>) {
        lock(&self.scene).identity = identity;
    }

    /// The answer from now on, octet by octet. An empty one closes the connection.
    pub(crate) fn answer(&self, answer: impl Into<Vec<u8>>) {
        lock(&self.scene).answer = answer.into();
    }

    /// Heads and bodies of the requests so far.
    pub(crate) fn requests(&self) -> Vec<(String, Vec<u8>)> {
        lock(&self.scene).requests.clone()
    }

    fn serve(&self, stream: std::net::TcpStream) -> std::io::Result<()> {
        let identity = lock(&self.scene).identity.clone();
        let connection = ServerConnection::new(identity).map_err(std::io::Error::other)?;
        let mut tls = StreamOwned::new(connection, stream);
        let mut head = Vec::new();
        let mut octet = [0];
        while !head.ends_with(b"\r\n\r\n") {
            tls.read_exact(&mut octet)?;
            head.push(octet[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head
            .lines()
            .filter_map(|l| l.split_once(": "))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .map_or(0, |(_, n)| n.parse().unwrap());
        let mut body = vec![0; length];
        tls.read_exact(&mut body)?;
        let answer = {
            let mut scene = lock(&self.scene);
            scene.requests.push((head, body));
            scene.answer.clone()
        };
        tls.write_all(&answer)?;
        tls.conn.send_close_notify();
        tls.flush()
    }
}
