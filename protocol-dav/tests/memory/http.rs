//! Just enough of HTTP/1.1 to be spoken to by real clients over loopback.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use protocol_dav::headers::Head;
use protocol_dav::refusal::Refusal;

use super::{BODY_MAX, Store};

/// Answers every connection, each in a thread of its own, until the process ends.
pub fn serve(listener: &TcpListener, store: &Arc<Mutex<Store>>, principal: &str) {
    for stream in listener.incoming().flatten() {
        let (store, principal) = (Arc::clone(store), principal.to_owned());
        std::thread::spawn(move || {
            // A client that goes away in the middle of something is no fault.
            let _ = connection(&stream, &store, &principal);
        });
    }
}

fn connection(stream: &TcpStream, store: &Mutex<Store>, principal: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream);
    let mut output = stream;
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut parts = line.trim_end().split(' ');
        let (method, target) = (parts.next().unwrap_or("").to_owned(), parts.next().unwrap_or("").to_owned());
        let fields = read_fields(&mut input)?;
        let field =
            |name: &str| fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str());
        if field("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            output.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let chunked = field("transfer-encoding").is_some();
        let length = field("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let body = if chunked { read_chunks(&mut input)? } else { read_body(&mut input, length)? };
        let borrowed: Vec<(&str, &[u8])> = fields.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        let host = field("host").unwrap_or("");
        let head = Head { method: &method, target: &target, host, fields: &borrowed, principal };
        let response = match store.lock() {
            Ok(mut store) => store.handle(&head, &body),
            Err(_) => Refusal::status(500, "an earlier request ended badly").response(),
        };
        let mut out = format!("HTTP/1.1 {} {}\r\n", response.status.0, response.status.phrase());
        for (name, value) in &response.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        if response.status.0 != 204 && response.status.0 != 304 {
            out.push_str(&format!("content-length: {}\r\n", response.body.len()));
        }
        out.push_str("\r\n");
        output.write_all(out.as_bytes())?;
        if method != "HEAD" {
            output.write_all(&response.body)?;
        }
    }
}

fn read_fields(input: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => fields.push((name.to_owned(), value.trim().to_owned())),
            None => return Ok(fields),
        }
    }
}

fn read_body(input: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    if length > BODY_MAX {
        return Err(io::Error::other("the body is too long"));
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok(body)
}

fn read_chunks(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        body.extend(read_body(input, length)?);
        line.clear();
        input.read_line(&mut line)?;
        if length == 0 || body.len() > BODY_MAX {
            return Ok(body);
        }
    }
}
