//! The checks of where messages come from: how they are run, and what the start says about them.

use std::time::Duration;

use message_auth::{DnsSettings, Settings, Verifier};

use crate::config::{self, AuthPolicy};
use crate::dns::name_servers;

/// How long SPF, and how long all signatures of a message may take (RFC 7208 §4.6.4: at least 20 seconds).
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// How long one name server is waited for, once.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Octets of messages that are in memory at once because their signatures are verified: two of the largest, and
/// many of the usual ones.
const OCTETS_AT_ONCE: u64 = 64 * 1024 * 1024;

/// Opens it.
///
/// # Errors
/// A text that says what is wrong with the settings.
pub fn open_verifier(dns: &config::Dns) -> Result<Verifier, String> {
    Verifier::open(&Settings {
        dns: DnsSettings {
            servers: name_servers(dns)?,
            // What SPF, DKIM and DMARC publish is believed as it comes; RFC 7208, 6376 and 9989 demand no proof.
            trust_anchor_file: None,
            query_timeout: QUERY_TIMEOUT,
        },
        time_limit: TIME_LIMIT,
        octets_at_once: OCTETS_AT_ONCE,
    })
}

/// One line that says whose mail the requirements refuse, when they refuse mail that others take.
pub fn strictness(auth: &AuthPolicy) -> Option<String> {
    if !auth.require_spf_pass {
        return None;
    }
    let forwarded = match auth.spf_accept_aligned_dkim {
        true => "mail that was forwarded plainly and carries no aligned DKIM signature",
        false => {
            "mail that was forwarded plainly (SMTP_SPF_ACCEPT_ALIGNED_DKIM=true takes it when it is signed)"
        }
    };
    Some(format!(
        "SMTP_REQUIRE_SPF_PASS=true: mail of domains without an SPF record is refused, and so is {forwarded}; \
         a domain can override it by require_spf_pass"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Profile, Sources, load};

    #[test]
    fn the_start_says_whose_mail_is_refused() {
        let line = |profile, environment: &[(&str, &str)]| {
            let environment = environment.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
            let sources = Sources { data_dir: None, env_file: None, profile, environment };
            strictness(&load(&sources).unwrap().config.auth)
        };
        let strict = line(Profile::Serve, &[]).unwrap();
        assert!(
            strict.contains("without an SPF record") && strict.contains("SMTP_SPF_ACCEPT_ALIGNED_DKIM=true")
        );
        let milder = line(Profile::Serve, &[("SMTP_SPF_ACCEPT_ALIGNED_DKIM", "true")]).unwrap();
        assert!(milder.contains("no aligned DKIM signature"));
        assert_eq!(line(Profile::Serve, &[("SMTP_REQUIRE_SPF_PASS", "false")]), None);
        assert_eq!(line(Profile::Quickstart { deliver: false }, &[]), None);
    }
}
