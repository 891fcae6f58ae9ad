//! When the certificate that we present ends.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use super::provider;

/// A certificate that ends sooner is warned about.
pub const WARN_BEFORE: Duration = Duration::from_secs(21 * 86_400);
/// The last second of the year 9999: every certificate has ended then.
const LATEST: Duration = Duration::from_secs(253_402_300_799);

/// The end of a certificate's time. `None` for one that cannot be read or never ends.
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<UnixTime> {
    // The verifier looks at the dates first, and says in its error what they are.
    let end_entity = EndEntityCert::try_from(certificate).ok()?;
    let anchor = webpki::anchor_from_trusted_cert(certificate).ok()?;
    let algorithms = provider().signature_verification_algorithms;
    let at = UnixTime::since_unix_epoch(LATEST);
    let usage = KeyUsage::server_auth();
    match end_entity.verify_for_usage(algorithms.all, &[anchor], &[], at, usage, None, None) {
        Err(Error::CertExpired { not_after, .. }) => Some(not_after),
        _ => None,
    }
}

/// What to say of a certificate that ends soon, or has ended.
pub fn warning(not_after: UnixTime, now: UnixTime) -> Option<String> {
    let left = not_after.as_secs().saturating_sub(now.as_secs());
    match left {
        0 => Some("the certificate has expired: other servers and mail programs refuse it".into()),
        left if left < WARN_BEFORE.as_secs() => {
            let days = left / 86_400;
            Some(format!(
                "the certificate expires in {days} days; replaced files are picked up by themselves"
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn dt12_a_certificate_that_ends_within_three_weeks_is_warned_about() {
        let mut params = CertificateParams::new(vec!["mx.test".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2027, 1, 1);
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let ends = not_after(certificate.der()).unwrap();
        assert_eq!(ends.as_secs(), 1_798_761_600);
        let days_before = |days: u64| {
            let now = UnixTime::since_unix_epoch(Duration::from_secs(ends.as_secs() - days * 86_400));
            warning(ends, now)
        };
        assert_eq!(days_before(21), None);
        assert!(days_before(20).unwrap().contains("in 20 days"));
        assert!(days_before(0).unwrap().contains("has expired"));
        assert_eq!(not_after(&CertificateDer::from(vec![0x30, 0])), None);
    }
}
