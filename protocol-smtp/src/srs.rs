//! Sender rewriting for forwarded mail (SRS), so that SPF at the next server judges us, who send it, and a
//! bounce finds its way back through us to the original sender.
//!
//! `user@example.net` forwarded by `mx.example.org` becomes `SRS0=HHHHHHHH=TT=example.net=user@mx.example.org`;
//! an address that was rewritten elsewhere becomes `SRS1=HHHHHHHH=first.example==HHHH=TT=...@mx.example.org`.
//! The hash keeps others from using us to send bounces anywhere. It is computed by the caller's `mac`, so that
//! no key lives here.

use alloc::string::String;
use core::fmt::Write as _;

/// Days for which a rewritten address takes bounces.
pub const VALID_DAYS: i64 = 21;
/// The two characters of a time stamp count days modulo this.
const STAMP_DAYS: i64 = 1024;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Characters of the hash: 40 bits.
const HASH_LEN: usize = 8;
/// RFC 5321 §4.5.3.1.1 allows 64 octets; longer rewritten local parts are sent all the same by every
/// forwarder, and accepted by the servers that matter, but not without bound.
const LOCAL_MAX: usize = 200;

/// A keyed hash of the parts, which the caller computes.
pub type Mac<'a> = &'a dyn Fn(&[&[u8]]) -> [u8; 32];

/// The reverse-path under which `sender` is forwarded by `host` on day `day` (days since 1970). The null
/// reverse-path, and addresses without a domain, stay as they are.
pub fn forward(sender: &str, host: &str, day: i64, mac: Mac<'_>) -> String {
    let Some((local, domain)) = sender.rsplit_once('@') else { return String::from(sender) };
    let rewritten = match srs_parts(local) {
        // Rewritten once already: only the first forwarder's name is kept in front of its own address.
        Some((Kind::First, rest)) => srs1(domain, &rest[1..], mac),
        Some((Kind::Second, rest)) => match second(rest) {
            Some((_, first, inner)) => srs1(first, inner, mac),
            None => srs0(local, domain, day, mac),
        },
        None => srs0(local, domain, day, mac),
    };
    if rewritten.len() > LOCAL_MAX {
        return String::from(sender);
    }
    let mut out = rewritten;
    let _ = write!(out, "@{host}");
    out
}

/// The address that `local`, the local part of a recipient at our own host, stands for: `None` when it is not
/// ours, was tampered with or is too old.
pub fn reverse(local: &str, day: i64, mac: Mac<'_>) -> Option<String> {
    let (kind, rest) = srs_parts(local)?;
    match kind {
        Kind::First => {
            let mut parts = rest[1..].splitn(4, '=');
            let (hash, stamp) = (parts.next()?, parts.next()?);
            let (domain, user) = (parts.next()?, parts.next()?);
            let fresh = age(stamp, day)? <= VALID_DAYS;
            let stamp = stamp.to_ascii_uppercase();
            let ours =
                same(hash, &encode(&mac(&[b"SRS0", stamp.as_bytes(), domain.as_bytes(), user.as_bytes()])));
            (fresh && ours && !domain.is_empty()).then(|| join(user, domain))
        }
        Kind::Second => {
            let (hash, first, inner) = second(rest)?;
            let ours = same(hash, &encode(&mac(&[b"SRS1", first.as_bytes(), inner.as_bytes()])));
            let mut user = String::from("SRS0=");
            user.push_str(inner);
            ours.then(|| join(&user, first))
        }
    }
}

/// Whether an address has the form of a rewritten one, whoever rewrote it.
pub fn is_rewritten(address: &str) -> bool {
    srs_parts(address).is_some()
}

enum Kind {
    First,
    Second,
}

/// `SRS0` or `SRS1` and what follows, which begins with a separator.
fn srs_parts(local: &str) -> Option<(Kind, &str)> {
    let (tag, rest) = local.split_at_checked(4)?;
    let separated = rest.starts_with(['=', '+', '-']);
    match tag {
        _ if !separated => None,
        _ if tag.eq_ignore_ascii_case("SRS0") => Some((Kind::First, rest)),
        _ if tag.eq_ignore_ascii_case("SRS1") => Some((Kind::Second, rest)),
        _ => None,
    }
}

/// Hash, first forwarder and the rest of its address, of what follows `SRS1`.
fn second(rest: &str) -> Option<(&str, &str, &str)> {
    let (hash, rest) = rest.get(1..)?.split_once('=')?;
    let (first, inner) = rest.split_once("==")?;
    (!first.is_empty() && !inner.is_empty()).then_some((hash, first, inner))
}

fn srs0(local: &str, domain: &str, day: i64, mac: Mac<'_>) -> String {
    let n = day.rem_euclid(STAMP_DAYS) as usize;
    let stamp = [BASE32[n >> 5], BASE32[n & 31]];
    let hash = encode(&mac(&[b"SRS0", &stamp, domain.as_bytes(), local.as_bytes()]));
    let mut out = String::from("SRS0=");
    push_all(&mut out, &[&hash, b"=", &stamp, b"="]);
    let _ = write!(out, "{domain}={local}");
    out
}

fn srs1(first: &str, inner: &str, mac: Mac<'_>) -> String {
    let hash = encode(&mac(&[b"SRS1", first.as_bytes(), inner.as_bytes()]));
    let mut out = String::from("SRS1=");
    push_all(&mut out, &[&hash, b"="]);
    let _ = write!(out, "{first}=={inner}");
    out
}

fn push_all(out: &mut String, parts: &[&[u8]]) {
    out.extend(parts.iter().flat_map(|p| p.iter()).map(|b| char::from(*b)));
}

fn join(user: &str, domain: &str) -> String {
    let mut out = String::from(user);
    let _ = write!(out, "@{domain}");
    out
}

fn encode(mac: &[u8; 32]) -> [u8; HASH_LEN] {
    let bits = mac[..5].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    core::array::from_fn(|i| BASE32[(bits >> (35 - 5 * i) & 31) as usize])
}

/// Days since the stamp, modulo the stamp's period.
fn age(stamp: &str, day: i64) -> Option<i64> {
    let digit = |c: u8| BASE32.iter().position(|b| *b == c.to_ascii_uppercase());
    let &[high, low] = stamp.as_bytes() else { return None };
    let then = (digit(high)? << 5 | digit(low)?) as i64;
    Some((day - then).rem_euclid(STAMP_DAYS))
}

/// Compares without regard to case (some servers fold local parts) and in a time that does not depend on where
/// the difference is.
fn same(given: &str, ours: &[u8; HASH_LEN]) -> bool {
    given.len() == HASH_LEN
        && given.bytes().zip(ours).fold(0, |differ, (a, b)| differ | (a.to_ascii_uppercase() ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(parts: &[&[u8]]) -> [u8; 32] {
        let mut state = [7u8; 32];
        for (i, b) in parts.iter().flat_map(|p| p.iter().chain(b"|")).enumerate() {
            state[i % 32] = state[i % 32].wrapping_mul(31).wrapping_add(*b).rotate_left(3);
            state[(i * 7 + 3) % 5] ^= b.wrapping_mul(17);
        }
        state
    }

    #[test]
    fn what_is_forwarded_comes_back() {
        for sender in ["user@example.net", "a=b=c@example.net", "\"odd local\"@x.test", "grüße@example.net"]
        {
            let path = forward(sender, "mx.example.org", 20_000, &mac);
            let local = path.strip_suffix("@mx.example.org").unwrap();
            assert!(local.starts_with("SRS0="));
            assert_eq!(reverse(local, 20_010, &mac).as_deref(), Some(sender));
        }
    }

    #[test]
    fn a_second_forwarder_keeps_the_first() {
        let once = forward("user@example.net", "first.example", 20_000, &mac);
        let twice = forward(&once, "second.example", 20_000, &mac);
        let thrice = forward(&twice, "third.example", 20_000, &mac);
        let local = |path: &str| String::from(path.rsplit_once('@').unwrap().0);
        assert_eq!(reverse(&local(&twice), 20_000, &mac), Some(once.clone()));
        assert_eq!(reverse(&local(&thrice), 20_000, &mac), Some(once));
    }

    #[test]
    fn old_foreign_and_changed_addresses_are_nobodys() {
        let path = forward("user@example.net", "mx.example.org", 20_000, &mac);
        let local = path.rsplit_once('@').unwrap().0;
        assert!(reverse(local, 20_000 + VALID_DAYS, &mac).is_some());
        assert_eq!(reverse(local, 20_000 + VALID_DAYS + 1, &mac), None);
        assert_eq!(reverse(&local.replace("example.net", "victim.net"), 20_000, &mac), None);
        for foreign in ["user", "SRS0", "SRS0=", "SRS0=a=b", "SRS1=x", "SRS1=h=a=b", "SRSX=1=2=3=4"] {
            assert_eq!(reverse(foreign, 20_000, &mac), None, "{foreign}");
        }
    }

    #[test]
    fn a_rewritten_address_is_known_by_its_form() {
        let path = forward("user@example.net", "mx.example.org", 20_000, &mac);
        assert!(is_rewritten(&path) && is_rewritten("srs1-x=y@z.test"));
        assert!(!is_rewritten("user@example.net") && !is_rewritten("SRS0@x.test") && !is_rewritten(""));
    }

    #[test]
    fn the_null_reverse_path_stays() {
        assert_eq!(forward("", "mx.example.org", 20_000, &mac), "");
    }

    #[test]
    fn a_folded_local_part_still_comes_back() {
        let path = forward("user@example.net", "mx.example.org", 20_000, &mac);
        let folded = path.rsplit_once('@').unwrap().0.to_lowercase();
        assert_eq!(reverse(&folded, 20_000, &mac).as_deref(), Some("user@example.net"));
    }
}
