use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use async_io::Timer;
use futures_lite::{AsyncReadExt, AsyncWriteExt, future};

use super::*;
use crate::app::Stop;
use crate::config::{self, Config, Profile, Sources};
use crate::ports::free_port;
use crate::task::{block_on, spawn};

fn config(env: &[(&str, &str)]) -> Config {
    let off = [
        "SMTP_TRANSFER_PORT",
        "SMTP_SUBMISSION_PORT",
        "SMTP_SUBMISSIONS_PORT",
        "IMAP_PORT",
        "IMAPS_PORT",
        "HTTP_PORT",
        "HTTPS_PORT",
    ];
    let environment = off.iter().map(|n| (*n, "0")).chain([("SERVER_BIND_ADDR", "127.0.0.1")]);
    let environment = environment.chain(env.iter().copied()).map(|(n, v)| (n.into(), v.into())).collect();
    let sources = Sources { data_dir: None, env_file: None, profile: Profile::Serve, environment };
    config::load(&sources).unwrap_or_else(|e| panic!("{e}")).config
}

fn refusals(service: Service) -> &'static [u8] {
    assert_eq!(service, Service::Transfer);
    b"421 4.7.0 later\r\n"
}

#[test]
fn a_port_in_use_is_named_with_its_variable_address_and_reason() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let errors = bind(&config(&[("IMAP_PORT", &port)])).unwrap_err();
    assert_eq!(errors.len(), 1);
    let text = errors[0].to_string();
    assert!(text.starts_with(&format!("IMAP_PORT: cannot listen on 127.0.0.1:{port}: ")), "{text}");
    assert!(text.ends_with("another program listens there"), "{text}");
}

#[test]
fn a_privileged_port_comes_with_its_cures() {
    let error = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    let error =
        |port| bind::test_error(Service::Transfer, port, std::io::Error::from(error.kind())).to_string();
    assert!(error(25).contains("cap_net_bind_service") && error(25).contains("forward port 25"));
    assert!(error(1023).contains("cap_net_bind_service"));
    assert!(!error(1024).contains("cap_net_bind_service"));
}

#[test]
fn connections_over_the_limit_are_told_so_and_the_rest_is_served_until_the_end() {
    let port = free_port();
    let listeners = bind(&config(&[("SMTP_TRANSFER_PORT", &port.to_string())])).unwrap();
    assert_eq!(listeners[0].port(), Some(port));
    let stop = Stop::default();
    let sessions = Sessions::new(stop.clone());
    let limits = Limits::new(16, 1);
    let serve = |mut incoming: Incoming| async move {
        assert_eq!(incoming.service, Service::Transfer);
        let Socket::Tcp(mut socket) = incoming.socket else { panic!("TCP") };
        assert!(socket.get_ref().nodelay().unwrap());
        let mut byte = [0];
        let read = async { socket.read(&mut byte).await.unwrap() };
        let told = async {
            incoming.session.stopping().await;
            0
        };
        if future::or(read, told).await == 0 {
            socket.write_all(b"bye").await.unwrap();
            return;
        }
        incoming.slot.authenticated();
        socket.write_all(b"in").await.unwrap();
        incoming.session.stopping().await;
        socket.write_all(b"bye").await.unwrap();
    };
    let accepting = spawn(accept_all(listeners, limits.clone(), sessions.clone(), refusals, serve));
    let dial = || {
        let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    };
    let everything = |mut stream: &TcpStream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let mut first = dial();
    while limits.open() == 0 {
        std::thread::yield_now();
    }
    assert_eq!(everything(&dial()), "421 4.7.0 later\r\n");
    std::io::Write::write_all(&mut first, b"x").unwrap();
    let mut word = [0; 2];
    first.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"in");
    let second = dial();
    while limits.open() == 0 {
        std::thread::yield_now();
    }
    stop.set();
    block_on(accepting);
    assert_eq!(everything(&first), "bye");
    assert_eq!(everything(&second), "bye");
    assert_eq!(block_on(sessions.drained(Duration::from_secs(10))), 0);
    assert!(TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).is_err());
}

#[test]
fn sessions_that_do_not_end_are_counted_and_left() {
    let stop = Stop::default();
    let sessions = Sessions::new(stop.clone());
    let session = sessions.begin();
    assert!(!session.is_stopping());
    stop.set();
    assert!(session.is_stopping());
    assert_eq!(block_on(sessions.drained(Duration::from_millis(1))), 1);
    let waiting = spawn(async move { sessions.drained(Duration::from_secs(60)).await });
    drop(session);
    let too_long = async {
        Timer::after(Duration::from_secs(10)).await;
        9
    };
    assert_eq!(block_on(future::or(waiting, too_long)), 0);
}

#[test]
fn a_unix_socket_is_replaced_only_when_nobody_listens() {
    let dir = std::env::temp_dir().join(format!("inbox-net-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("lmtp.sock");
    let first = bind::unix_listener(&path, 0o600).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let second = bind::unix_listener(&path, 0o600).unwrap_err();
    assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);
    drop(first);
    let listeners = bind(&config(&[("LMTP_SOCKET", path.to_str().unwrap())])).unwrap();
    assert_eq!(listeners[0].place(), path.to_str().unwrap());
    drop(listeners);
    assert!(!path.exists());
    std::fs::remove_dir_all(&dir).unwrap();
}
