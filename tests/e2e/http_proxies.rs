//! HG3: every request of the corpus through nginx and through haproxy, which keep their connections to Inbox open. A
//! proxy and Inbox that read the same octets differently would count different numbers of requests.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::{Inbox, eventually, free_port, have, http_get};
use crate::http_conformance::{exchange, started};
use crate::http_corpus::{self, LAST};

/// A proxy in front of Inbox, and how many requests its log says it passed on.
struct Proxy {
    child: Child,
    port: u16,
    log: PathBuf,
    passed_on: fn(&str) -> bool,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    fn started(program: &str, dir: &Path, args: &[&str], port: u16, passed_on: fn(&str) -> bool) -> Proxy {
        let log = dir.join("access.log");
        let out = fs::File::create(dir.join("output")).expect("a file");
        let path = [Path::new("/usr/sbin"), Path::new("/usr/bin"), Path::new("/usr/local/sbin")]
            .map(|place| place.join(program))
            .into_iter()
            .find(|path| path.is_file())
            .expect("it was looked for");
        let stdout = if program == "haproxy" { fs::File::create(&log) } else { out.try_clone() };
        let child = Command::new(path)
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(stdout.expect("a file"))
            .stderr(out)
            .spawn()
            .expect("the proxy starts");
        let proxy = Proxy { child, port, log, passed_on };
        eventually(Duration::from_secs(20), "the proxy listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        proxy
    }

    fn nginx(inbox: &Inbox, buffered: bool) -> Proxy {
        let (dir, port, upstream) = (inbox.dir.0.join("nginx"), free_port(), inbox.port("HTTP_PORT"));
        fs::create_dir_all(&dir).expect("a directory");
        let here = dir.display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {here}/{what};\n"))
            .concat();
        let buffering = if buffered { "on" } else { "off" };
        let text = format!(
            "daemon off; master_process off; pid {here}/pid; error_log {here}/error.log;\n\
             events {{ worker_connections 64; }}\n\
             http {{\n{temporary}log_format passed '$upstream_addr';\naccess_log {here}/access.log passed;\n\
             upstream inbox {{ server 127.0.0.1:{upstream}; keepalive 4; }}\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://inbox; proxy_http_version 1.1;\n\
             proxy_set_header Connection ''; proxy_request_buffering {buffering}; proxy_next_upstream off; }} }} }}\n"
        );
        fs::write(dir.join("conf"), text).expect("written");
        let conf = format!("{here}/conf");
        let error_log = format!("{here}/error.log");
        Proxy::started("nginx", &dir, &["-c", &conf, "-e", &error_log], port, |line| line != "-")
    }

    fn haproxy(inbox: &Inbox) -> Proxy {
        let (dir, port, upstream) = (inbox.dir.0.join("haproxy"), free_port(), inbox.port("HTTP_PORT"));
        fs::create_dir_all(&dir).expect("a directory");
        let text = format!(
            "global\n log stdout format raw local0\n\
             defaults\n mode http\n log global\n retries 0\n http-reuse always\n timeout connect 5s\n\
             timeout client 10s\n timeout server 10s\n log-format \"%b/%s\"\n\
             frontend in\n bind 127.0.0.1:{port}\n default_backend out\n\
             backend out\n server inbox 127.0.0.1:{upstream}\n"
        );
        fs::write(dir.join("conf"), text).expect("written");
        Proxy::started("haproxy", &dir, &["-db", "-f", "conf"], port, |line| line == "out/inbox")
    }

    fn passed_on(&self) -> usize {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter(|line| (self.passed_on)(line)).count()
    }
}

/// Requests that Inbox has read or refused, this one not included.
fn seen(port: u16) -> usize {
    let text = http_get(port, "/metrics").expect("metrics");
    let counts = text.lines().filter(|line| line.starts_with("inbox_http_requests_total{"));
    counts.filter_map(|line| line.rsplit_once(' ')?.1.trim().parse::<usize>().ok()).sum()
}

fn compare(inbox: &Inbox, proxy: &Proxy, credentials: &str) {
    let port = inbox.port("HTTP_PORT");
    let mut looked = 0;
    let before = seen(port);
    let passed_before = proxy.passed_on();
    for (rfc, name, text, _) in http_corpus::all() {
        let octets = [&http_corpus::filled(text, credentials)[..], LAST.as_bytes()].concat();
        let answer = exchange(proxy.port, &octets);
        assert!(!String::from_utf8_lossy(&answer).contains("secret"), "RFC {rfc}: {name}");
        eventually(
            Duration::from_secs(15),
            &format!("RFC {rfc}: {name}: as many requests here as there"),
            || {
                looked += 1;
                seen(port) - before - looked == proxy.passed_on() - passed_before
            },
        );
    }
    let passed = proxy.passed_on() - passed_before;
    assert!(passed > http_corpus::all().count() / 2, "only {passed} requests came through");
}

#[test]
fn hg3_nginx_and_inbox_count_the_same_requests() {
    if !have(&["nginx"]) {
        return;
    }
    let (inbox, credentials) = started();
    for buffered in [true, false] {
        let proxy = Proxy::nginx(&inbox, buffered);
        compare(&inbox, &proxy, &credentials);
    }
}

#[test]
fn hg3_haproxy_and_inbox_count_the_same_requests() {
    if !have(&["haproxy"]) {
        return;
    }
    let (inbox, credentials) = started();
    let proxy = Proxy::haproxy(&inbox);
    compare(&inbox, &proxy, &credentials);
}
