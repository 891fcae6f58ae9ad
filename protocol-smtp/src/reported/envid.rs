//! The envelope identifier (RFC 3461 §4.4) that messages submitted here are given when their sender chose none.
//!
//! It names the job and carries a keyed hash of it, so that a report which repeats it is about that job: only the
//! server that took the message, and those it told, have seen it. The hash is computed by the caller, so that no
//! key lives here.

use alloc::string::String;
use core::fmt::Write as _;

/// Octets of the hash: 128 bits.
const TAG_LEN: usize = 16;
/// Octets of a job's name.
const JOB_MAX: usize = 40;

/// `JOB.HASH`, which is its own xtext. `job` is letters and digits; of `mac`, the keyed hash of whatever the job is,
/// the first half is used.
pub fn write(job: &str, mac: &[u8; 32]) -> String {
    let mut out = String::with_capacity(job.len() + 1 + 2 * TAG_LEN);
    out.push_str(job);
    out.push('.');
    for octet in &mac[..TAG_LEN] {
        // Writing to a string does not fail.
        let _ = write!(out, "{octet:02x}");
    }
    out
}

/// An identifier that has the form of ours. It proves nothing until [`Claimed::is_by`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claimed<'a> {
    /// The job's name.
    pub job: &'a str,
    tag: [u8; TAG_LEN],
}

impl<'a> Claimed<'a> {
    /// None for an identifier of another form.
    pub fn read(envid: &'a str) -> Option<Claimed<'a>> {
        let (job, hash) = envid.split_once('.')?;
        let named = (1..=JOB_MAX).contains(&job.len()) && job.bytes().all(|b| b.is_ascii_alphanumeric());
        if !named
            || hash.len() != 2 * TAG_LEN
            || !hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        {
            return None;
        }
        let mut tag = [0; TAG_LEN];
        for (octet, digits) in tag.iter_mut().zip(hash.as_bytes().chunks(2)) {
            let digits = core::str::from_utf8(digits).ok()?;
            *octet = u8::from_str_radix(digits, 16).ok()?;
        }
        Some(Claimed { job, tag })
    }

    /// Whether `mac` was given to [`write`], in a time that does not depend on where the difference is.
    pub fn is_by(&self, mac: &[u8; 32]) -> bool {
        self.tag.iter().zip(mac).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ENVID_MAX;

    const JOB: &str = "0123456789abcdefghjkmnpqrs";

    #[test]
    fn what_is_written_is_known_by_its_hash_alone() {
        let mac = core::array::from_fn(|i| i as u8 * 7);
        let envid = write(JOB, &mac);
        assert!(envid.len() <= ENVID_MAX);
        let claimed = Claimed::read(&envid).unwrap();
        assert_eq!(claimed.job, JOB);
        assert!(claimed.is_by(&mac));
        for at in 0..TAG_LEN {
            let mut other = mac;
            other[at] ^= 1;
            assert!(!claimed.is_by(&other), "octet {at} counts");
        }
    }

    #[test]
    fn other_identifiers_are_not_of_the_form() {
        let hash = "00".repeat(TAG_LEN);
        assert!(Claimed::read(&alloc::format!("{}.{hash}", "j".repeat(JOB_MAX))).is_some());
        for other in [
            alloc::format!("{}.{hash}", "j".repeat(JOB_MAX + 1)),
            alloc::format!(".{hash}"),
            alloc::format!("{JOB}.{hash}0"),
            alloc::format!("{JOB}.{}", &hash[1..]),
            alloc::format!("{JOB}.{}", "0A".repeat(TAG_LEN)),
            alloc::format!("{JOB}.{}", "+0".repeat(TAG_LEN)),
            alloc::format!("{JOB} .{hash}"),
            alloc::format!("tlsrpt.{JOB}"),
            String::from("QQ314159"),
            String::new(),
        ] {
            assert_eq!(Claimed::read(&other), None, "{other}");
        }
    }
}
