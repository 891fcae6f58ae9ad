//! TLSA records, and what they ask of a certificate chain (RFC 6698, RFC 7671, RFC 7672).
//!
//! Records and certificates are data. Whether a chain leads to the certificate that a usage 2 record names is
//! a matter of signatures: [`matches`] says which certificate it is, and the caller builds the path.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use sha2::{Digest, Sha256, Sha512};

/// Records of one name that are looked at; what an answer holds beyond them makes it unusable as a whole,
/// since a record left out might be the one that is meant.
pub const RECORDS_MAX: usize = 32;
/// Certificates of a presented chain that are looked at, the server's own included.
pub const CHAIN_MAX: usize = 10;
/// Octets of association data that are looked at in a record of matching type 0: no certificate that TLS
/// can carry in one chain of ours is longer.
pub const ASSOCIATION_MAX: usize = 64 * 1024;

/// A TLSA record as DNS gave it (RFC 6698 §2.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tlsa {
    /// 0 PKIX-TA, 1 PKIX-EE, 2 DANE-TA, 3 DANE-EE.
    pub usage: u8,
    /// 0 the whole certificate, 1 its public key.
    pub selector: u8,
    /// 0 as it is, 1 SHA-256, 2 SHA-512.
    pub matching: u8,
    /// What the selected part is, or its hash.
    pub data: Vec<u8>,
}

impl Tlsa {
    /// Whether the record can be used for SMTP: usages 0 and 1 cannot (RFC 7672 §3.1.3), nor can those whose
    /// parameters are unknown or whose data cannot be what they say (RFC 7671 §4, RFC 6698 §4.1).
    pub fn is_usable(&self) -> bool {
        let length_fits = match self.matching {
            0 => (1..=ASSOCIATION_MAX).contains(&self.data.len()),
            1 => self.data.len() == 32,
            2 => self.data.len() == 64,
            _ => false,
        };
        matches!(self.usage, 2 | 3) && matches!(self.selector, 0 | 1) && length_fits
    }

    fn covers(&self, certificate: &Certificate<'_>) -> bool {
        let selected = if self.selector == 0 { certificate.der } else { certificate.spki };
        match self.matching {
            0 => self.data == selected,
            1 => self.data == Sha256::digest(selected).as_slice(),
            2 => self.data == Sha512::digest(selected).as_slice(),
            _ => false,
        }
    }
}

/// As in a zone file, long data cut.
impl fmt::Display for Tlsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.usage, self.selector, self.matching)?;
        self.data.iter().take(64).try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// The records of a name that can be used. Empty where none can, which means TLS without authentication
/// (RFC 7672 §2.2), or where there are more than [`RECORDS_MAX`].
pub fn usable(records: &[Tlsa]) -> Vec<Tlsa> {
    if records.len() > RECORDS_MAX {
        return Vec::new();
    }
    records.iter().filter(|r| r.is_usable()).cloned().collect()
}

/// A certificate that a server showed.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// The whole, in DER.
    pub der: &'a [u8],
    /// Its SubjectPublicKeyInfo, in DER with the outer SEQUENCE.
    pub spki: &'a [u8],
}

/// What a chain is worth under a set of records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Match {
    /// A usage 3 record names the server's key: nothing else is looked at, neither names nor dates
    /// (RFC 7672 §3.1.1).
    EndEntity,
    /// A usage 2 record names the certificate at this place of the chain, the server's own being 0. The chain
    /// must lead there, be within its dates, and be for one of [`reference_names()`] (RFC 7672 §3.1.2).
    Anchor(usize),
}

/// Every way in which the chain fits, best first. The caller accepts with the first that holds; none: the
/// host is not the one that was published. `records` are [`usable`], `chain` begins with the server's own
/// certificate, and of it no more than [`CHAIN_MAX`] are looked at.
pub fn matches(records: &[Tlsa], chain: &[Certificate<'_>]) -> Vec<Match> {
    let Some(own) = chain.first() else { return Vec::new() };
    if records.iter().any(|r| r.usage == 3 && r.is_usable() && r.covers(own)) {
        return Vec::from([Match::EndEntity]);
    }
    let anchors = || records.iter().filter(|r| r.usage == 2 && r.is_usable());
    let named = |certificate: &Certificate<'_>| anchors().any(|r| r.covers(certificate));
    let looked_at = chain.iter().take(CHAIN_MAX).enumerate();
    looked_at.filter(|(_, certificate)| named(certificate)).map(|(at, _)| Match::Anchor(at)).collect()
}

/// A host name and what its address answer showed of aliases (CNAME).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expansion {
    /// The name as MX has it (or the relay's, or the domain where there is no MX).
    pub original: String,
    /// Where its aliases lead; the same without aliases.
    pub expanded: String,
    /// Every step from the one to the other was secure.
    pub secure: bool,
}

/// The names at which TLSA records are looked for, in this order, the next when the one before has none
/// (RFC 7672 §2.2.2): where the aliases lead, when the way there is secure; then the name itself. The name
/// at which they are found is the TLSA base domain, and the name sent in SNI.
pub fn base_domains(expansion: &Expansion) -> Vec<String> {
    let Expansion { original, expanded, secure } = expansion;
    match *secure && original != expanded {
        true => Vec::from([expanded.clone(), original.clone()]),
        false => Vec::from([original.clone()]),
    }
}

/// Where the records of a base domain stand (RFC 7672 §2.2.3).
pub fn owner(port: u16, base_domain: &str) -> String {
    alloc::format!("_{port}._tcp.{base_domain}")
}

/// The names of which a certificate under a usage 2 anchor must show one (RFC 7672 §3.2.2): the TLSA base
/// domain, and where the way there from the destination is secure, the destination's domain as it was asked
/// for and as its aliases expand it.
pub fn reference_names<'a>(
    base_domain: &'a str,
    domain: &'a str,
    expanded: &'a str,
    secure: bool,
) -> Vec<&'a str> {
    let mut names = Vec::from([base_domain]);
    for name in [domain, expanded] {
        if secure && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
#[path = "dane_tests.rs"]
mod tests;
