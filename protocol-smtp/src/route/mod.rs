//! Where a message goes, and under what conditions: pure functions over DNS answers given as data.
//!
//! **It is** three steps. [`hosts`] turns a destination and its MX answer into host names in the order to
//! try them; [`candidates`] turns their addresses into at most [`ADDRESSES_MAX`] addresses to dial, none of
//! which is forbidden; [`Walk`] goes through them, remembers what became of each recipient, and says when the
//! attempt is over. [`posture::plan`] says which hosts may be used, and what each connection and its
//! certificate must show; [`dane`] judges certificates by TLSA records. [`TlsDemand`] and [`after_tls`] say what encryption each connection needs.
//!
//! **It is not** a resolver, and it dials nothing.
//!
//! **To drive it**: ask DNS for MX (unless the destination is an address literal or a relay host), call
//! [`hosts`], ask for A and AAAA of each host, take ourselves out ([`not_ourselves`]), ask for TLSA, call
//! [`posture::plan`], then [`candidates`] for the hosts that it leaves, and do what [`Walk::next`] says.
//! Every failure is a [`Failure`](crate::queue::Failure) in a verdict: class 5 is for good, class 4 is not.

pub mod dane;
pub mod mta_sts;
mod mx;
mod net;
pub mod posture;
mod tls;
mod walk;
mod wish;

pub use mx::{
    ADDRESSES_MAX, AddressAnswer, Candidate, DnsFailure, FALLBACK_DELAY, Family, HOSTS_MAX, Host,
    HostAddresses, Hosts, Limits, Mx, MxAnswer, PER_HOST_MAX, candidates, hosts, not_ourselves, relay,
};
pub use net::is_public;
pub use tls::{Contradiction, Proceed, Tls, TlsDemand, TlsMode, TlsOutcome, TlsSettings, after_tls};
pub use walk::{Conditioned, HostResult, Next, Walk};
