use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::app::Stop;
use crate::config::{self, Profile, Sources};
use crate::net::{Limits, Sessions, accept_all, bind};
use crate::ports::free_port;

struct Server {
    port: u16,
    stop: Stop,
    sessions: Sessions,
    health: Arc<Health>,
    pings: Arc<AtomicUsize>,
    healthy: Arc<AtomicBool>,
    dir: std::path::PathBuf,
}

impl Server {
    fn start(name: &str) -> Server {
        let dir = std::env::temp_dir().join(format!("inbox-http-{name}-{}", std::process::id()));
        let port = free_port();
        let off = [
            "SMTP_TRANSFER_PORT",
            "SMTP_SUBMISSION_PORT",
            "SMTP_SUBMISSIONS_PORT",
            "IMAP_PORT",
            "IMAPS_PORT",
            "HTTPS_PORT",
        ];
        let environment =
            off.iter().map(|n| (n.into(), "0".into())).chain([("HTTP_PORT".into(), port.to_string().into())]);
        let sources = Sources {
            data_dir: Some(dir.clone()),
            env_file: None,
            profile: Profile::Quickstart { deliver: false },
            environment: environment.collect(),
        };
        let config = config::load(&sources).unwrap().config;
        let tls = Arc::new(ServerTls::open(&config).unwrap());
        let (pings, healthy) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
        let (count, good) = (pings.clone(), healthy.clone());
        let health = Health::new(Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            let good = good.load(Ordering::SeqCst);
            Box::pin(async move { if good { Ok(()) } else { Err("broken".into()) } })
        }));
        let policy: OwnPolicy = Box::new(|host| {
            Box::pin(async move {
                match host.as_str() {
                    "mta-sts.broken.test" => Err("broken".into()),
                    host => Ok(host.strip_prefix("mta-sts.").map(|domain| format!("of {domain}\r\n"))),
                }
            })
        });
        let http = Http::new(tls, health.clone(), policy, None);
        let stop = Stop::default();
        let sessions = Sessions::new(stop.clone());
        let limits = Limits::new(10, 10);
        let serve = move |incoming| http.clone().serve(incoming);
        task::spawn(accept_all(bind(&config).unwrap(), limits, sessions.clone(), |_| REFUSAL, serve))
            .detach();
        Server { port, stop, sessions, health, pings, healthy, dir }
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = Vec::new();
        // A reset after a refusal is as good as an end.
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut chunk) {
            text.extend_from_slice(&chunk[..n]);
        }
        String::from_utf8(text).unwrap()
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.set();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn health_is_known_by_flag_and_database_and_the_database_is_not_asked_each_time() {
    let server = Server::start("health");
    assert!(server.get("/health/live").starts_with("HTTP/1.1 200 "));
    assert!(server.get("/health/ready").starts_with("HTTP/1.1 503 "));
    assert_eq!(server.pings.load(Ordering::SeqCst), 0);
    server.health.set_ready(true);
    server.healthy.store(false, Ordering::SeqCst);
    for _ in 0..20 {
        let text = server.get("/health/ready");
        assert!(text.starts_with("HTTP/1.1 503 ") && !text.contains("broken"), "{text}");
    }
    assert!(server.pings.load(Ordering::SeqCst) < 20);
    server.healthy.store(true, Ordering::SeqCst);
    #[allow(clippy::disallowed_methods)] // how long an answer takes is what is tested
    let begun = std::time::Instant::now();
    while !server.get("/health/ready").starts_with("HTTP/1.1 200 ") {
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    let metrics = server.get("/metrics");
    assert!(metrics.contains("# TYPE inbox_connections_total counter"), "{metrics}");
    assert!(server.get("/nothing").starts_with("HTTP/1.1 404 "));
    assert!(server.get("//evil.example/health/live").starts_with("HTTP/1.1 400 "));
    let posted =
        server.ask("POST /health/live HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(posted.starts_with("HTTP/1.1 405 "), "{posted}");
}

#[test]
fn the_policy_is_that_of_the_host() {
    let server = Server::start("policy");
    let of = |host: &str| {
        let path = "/.well-known/mta-sts.txt";
        server.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    };
    let text = of("mta-sts.a.test");
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("\r\n\r\nof a.test\r\n"), "{text}");
    assert!(text.to_ascii_lowercase().contains("content-type: text/plain"), "{text}");
    assert!(of("a.test").starts_with("HTTP/1.1 404 "));
    let text = of("mta-sts.broken.test");
    assert!(text.starts_with("HTTP/1.1 503 ") && !text.contains("broken"), "{text}");
}

#[test]
fn headers_and_bodies_have_limits() {
    let server = Server::start("limits");
    let with = |octets: usize| {
        let padding = "x".repeat(octets);
        server.ask(&format!(
            "GET /health/live HTTP/1.1\r\nHost: a\r\nX: {padding}\r\nConnection: close\r\n\r\n"
        ))
    };
    assert!(with(HEADER_MAX - 200).starts_with("HTTP/1.1 200 "));
    assert!(with(HEADER_MAX + 1).starts_with("HTTP/1.1 431 "));
    let announced = |octets: usize| {
        server.ask(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: {octets}\r\nConnection: close\r\n\r\n"
        ))
    };
    assert!(announced(BODY_MAX as usize + 1).starts_with("HTTP/1.1 413 "));
    assert!(
        server.ask("GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 400 ")
    );
    let twice = server.ask("GET /health/live HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n");
    assert!(twice.starts_with("HTTP/1.1 400 "), "{twice}");
    let lengths =
        server.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd");
    assert!(lengths.starts_with("HTTP/1.1 400 "), "{lengths}");
}

#[test]
fn an_idle_connection_ends_when_the_process_stops() {
    let server = Server::start("stop");
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    server.stop.set();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("live\n"), "{rest}");
    assert_eq!(task::block_on(server.sessions.drained(Duration::from_secs(10))), 0);
}
