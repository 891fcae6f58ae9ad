//! The tests of WebDAV that litmus makes, against a store in memory.
#![allow(clippy::disallowed_methods)] // a test reads its environment

mod memory;

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

const OWNER: &str = "me@example.test";

/// Whether litmus is there. Without it the test names what it leaves out, or fails when nothing may be.
fn have_litmus() -> bool {
    if Command::new("litmus").arg("--version").stdout(Stdio::null()).status().is_ok() {
        return true;
    }
    assert!(std::env::var_os("INBOX_TEST_REQUIRE_ALL").is_none(), "not installed: litmus");
    eprintln!("left out, not installed: litmus");
    false
}

#[test]
fn litmus_finds_no_fault() {
    if !have_litmus() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let store = Arc::new(Mutex::new(memory::Store::new(OWNER)));
    std::thread::spawn(move || memory::serve(&listener, &store, OWNER));
    let url = format!("http://{address}/dav/files/{OWNER}/");
    let output = Command::new("litmus")
        .args(["--keep-going", &url])
        .current_dir(std::env::temp_dir())
        .output()
        .expect("litmus runs");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("WARNING") && !text.contains("FAIL"), "{text}");
    let good = text.matches(" 0 failed.").count();
    assert_eq!(good, 5, "basic, copymove, props, locks and http: {text}");
}
