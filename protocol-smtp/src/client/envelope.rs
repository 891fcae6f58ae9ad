//! A message to be sent, and what a peer lacks for it.

use core::fmt;

use super::extensions::Extensions;
use crate::address::Path;
use crate::params::{Body, By, RcptParams, Ret};
use crate::queue::Failure;
use crate::status::Status;

/// A message to be sent: everything but its octets.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Reverse-path.
    pub sender: Path<'a>,
    /// At least one.
    pub recipients: &'a [Recipient<'a>],
    /// Octets of the message.
    pub size: u64,
    /// What its octets need.
    pub body: Body,
    /// It was declared SMTPUTF8, and a header field holds non-ASCII octets.
    pub utf8_header: bool,
    /// It was submitted with REQUIRETLS.
    pub require_tls: bool,
    /// RET, passed on to a peer with DSN.
    pub ret: Option<Ret>,
    /// ENVID in xtext, passed on to a peer with DSN.
    pub envid: Option<&'a str>,
    /// The time that is left for the delivery ([`DeliverBy::remaining`](crate::queue::DeliverBy::remaining)), passed
    /// on to a peer with DELIVERBY.
    pub by: Option<By>,
}

/// A recipient of an envelope.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// What its verdict is reported under.
    pub index: u16,
    /// Forward-path.
    pub path: Path<'a>,
    /// NOTIFY and ORCPT, passed on to a peer with DSN.
    pub params: RcptParams<'a>,
}

/// What the peer lacks for a message. Nothing was sent; another host may have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    /// Its SIZE is smaller.
    Size {
        /// What it takes, in octets.
        limit: u64,
    },
    /// 8BITMIME.
    EightBitMime,
    /// BINARYMIME, with CHUNKING and PIPELINING to send it.
    BinaryMime,
    /// SMTPUTF8, for the sender's or a recipient's address.
    Utf8Address,
    /// SMTPUTF8, for the header.
    Utf8Header,
    /// REQUIRETLS, or TLS itself.
    RequireTls,
    /// DELIVERBY in mode `R`: it is not offered, or the server needs more time than is left.
    DeliverBy,
}

impl Missing {
    /// The status of a message that no host can take for this reason.
    pub fn status(self) -> Status {
        match self {
            Missing::Size { .. } => Status::TOO_BIG,
            Missing::EightBitMime | Missing::BinaryMime => Status::CONVERSION,
            Missing::Utf8Address => Status::UTF8_ADDRESS,
            Missing::Utf8Header => Status::UTF8_HEADER,
            Missing::RequireTls => Status::REQUIRETLS,
            Missing::DeliverBy => Status::EXPIRED,
        }
    }

    /// The same as a failure, for [`HostResult::Lacks`](crate::route::HostResult::Lacks).
    pub fn failure(self, host: &str) -> Failure {
        Failure::local(self.status(), alloc::format!("{host}: {self}"))
    }

    /// The first thing that `extensions` lack for the message as a whole. A recipient whose address alone
    /// needs SMTPUTF8 is settled by itself.
    pub(super) fn of(envelope: &Envelope<'_>, extensions: &Extensions, tls: bool) -> Option<Missing> {
        if let Some(limit @ 1..) = extensions.size
            && envelope.size > limit
        {
            return Some(Missing::Size { limit });
        }
        if envelope.require_tls && !(tls && extensions.require_tls) {
            return Some(Missing::RequireTls);
        }
        if envelope.by.is_some_and(|by| by.give_up && !extensions.keeps(by)) {
            return Some(Missing::DeliverBy);
        }
        if !extensions.smtputf8 && !envelope.sender.is_ascii() {
            return Some(Missing::Utf8Address);
        }
        if !extensions.smtputf8 && envelope.utf8_header {
            return Some(Missing::Utf8Header);
        }
        match envelope.body {
            Body::EightBit if !extensions.eight_bit => Some(Missing::EightBitMime),
            Body::Binary if !(extensions.binary && extensions.bdat()) => Some(Missing::BinaryMime),
            Body::SevenBit | Body::EightBit | Body::Binary => None,
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Size { limit } => write!(f, "the server takes at most {limit} octets"),
            Missing::EightBitMime => f.write_str("the server lacks 8BITMIME, which this message needs"),
            Missing::BinaryMime => f.write_str("the server lacks BINARYMIME, which this message needs"),
            Missing::Utf8Address => f.write_str("the server lacks SMTPUTF8, which an address needs"),
            Missing::Utf8Header => f.write_str("the server lacks SMTPUTF8, which the header needs"),
            Missing::DeliverBy => {
                f.write_str("the server does not promise to deliver within the time that is left")
            }
            Missing::RequireTls => f.write_str("the server lacks REQUIRETLS, which this message demands"),
        }
    }
}
