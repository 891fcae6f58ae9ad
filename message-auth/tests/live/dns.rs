//! A name server on loopback for one test: what a function answers for name and type.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, MX, PTR, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// What the server does with a question.
pub enum Reply {
    Records(Vec<RData>),
    NxDomain,
    ServFail,
    Silence,
}

pub struct Server {
    pub addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(zone: impl Fn(&str, RecordType) -> Reply + Send + 'static) -> Server {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (addr, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut buf) else { continue };
                if let Some(answer) = answer(&buf[..len], &zone) {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        Server { addr, stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn answer(question: &[u8], zone: &impl Fn(&str, RecordType) -> Reply) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let query = question.queries.first()?.clone();
    let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    match zone(&name, query.query_type()) {
        Reply::Silence => return None,
        Reply::ServFail => answer.metadata.response_code = ResponseCode::ServFail,
        Reply::NxDomain => answer.metadata.response_code = ResponseCode::NXDomain,
        Reply::Records(records) => {
            for data in records {
                answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
            }
        }
    }
    answer.to_vec().ok()
}

pub fn txt(text: &str) -> RData {
    let strings = text.as_bytes().chunks(255).map(|c| String::from_utf8(c.to_vec()).unwrap());
    RData::TXT(TXT::new(strings.collect()))
}

pub fn a(ip: [u8; 4]) -> RData {
    RData::A(A(ip.into()))
}

pub fn mx(host: &str) -> RData {
    RData::MX(MX::new(10, Name::from_ascii(host).unwrap()))
}

pub fn ptr(host: &str) -> RData {
    RData::PTR(PTR(Name::from_ascii(host).unwrap()))
}
