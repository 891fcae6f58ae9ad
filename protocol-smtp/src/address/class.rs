//! What each octet may be.

use crate::limits::DOMAIN_MAX;

/// Whether `name` may stand in EHLO, HELO or LHLO.
///
/// Names without dots and with underscores are common there and harmless, so more is allowed than a domain;
/// what is allowed can stand in a trace field and in a log line without quoting.
#[inline(always)]
pub fn is_client_name(name: &[u8]) -> bool {
    if name.len() > DOMAIN_MAX {
        return false;
    }
    let all = |all, &b: &u8| all & class(b);
    let Some(last) = name.last_chunk::<8>() else {
        return !name.is_empty() && name.iter().fold(CLIENT_NAME, all) == CLIENT_NAME;
    };
    // The last eight may have been looked at in part before.
    let (eights, _) = name.as_chunks::<8>();
    let last = last.iter().fold(CLIENT_NAME, all);
    eights.iter().fold(last, |found, eight| eight.iter().fold(found, all)) == CLIENT_NAME
}

pub(super) const ATEXT: u8 = 1;
pub(super) const LET_DIG: u8 = 2;
const CLIENT_NAME: u8 = 4;

/// What each octet may be, so that scanning costs one look-up for each.
static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut class = [0; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        if b.is_ascii_alphanumeric() {
            class[i] |= ATEXT | LET_DIG | CLIENT_NAME;
        }
        // RFC 5322 §3.2.3.
        if matches!(
            b,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'/'
                | b'='
                | b'?'
                | b'^'
                | b'_'
                | b'`'
        ) || matches!(b, b'{' | b'|' | b'}' | b'~')
        {
            class[i] |= ATEXT;
        }
        if matches!(b, b'-' | b'.' | b'_' | b':' | b'[' | b']') {
            class[i] |= CLIENT_NAME;
        }
        i += 1;
    }
    class
}

#[inline(always)]
fn class(b: u8) -> u8 {
    CLASS[usize::from(b)]
}

#[inline(always)]
pub(super) fn is(b: u8, wanted: u8) -> bool {
    class(b) & wanted != 0
}
