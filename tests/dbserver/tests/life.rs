//! The server says where it listens, and ends with its standard input.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};

#[test]
fn it_listens_and_ends_with_its_input() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_dbserver"))
        .args(["127.0.0.1:0", "mem://"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap();
    assert!(TcpStream::connect(address).is_ok());
    drop(server.stdin.take());
    assert!(server.wait().unwrap().success());
    assert!(TcpStream::connect(address).is_err());
}
