//! Keywords in any case, compared as a whole.

/// Whether `octets` are `keyword`, which is given in upper case.
///
/// The mask clears, in letters only, the bit that tells their case; for other octets it would take a control for
/// a digit. Without a branch for each octet, and with lengths and keywords known when it is compiled, this is
/// one comparison of a word.
#[inline(always)]
pub(crate) fn is_keyword<const N: usize>(octets: &[u8; N], keyword: &[u8; N]) -> bool {
    let mut differ = 0;
    let mut i = 0;
    while i < N {
        let mask = if keyword[i].is_ascii_uppercase() { 0xdf } else { 0xff };
        differ |= (octets[i] & mask) ^ keyword[i];
        i += 1;
    }
    differ == 0
}
