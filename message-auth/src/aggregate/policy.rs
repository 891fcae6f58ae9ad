//! Where the reports about a domain go: the record that holds for it, the addresses it names, and whether those of
//! other domains agree (RFC 9990 §4).

use hickory_resolver::TokioResolver;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::dmarc::Dmarc;

use crate::dns;
use crate::spf::{Answer, Question};

/// Addresses of one record that get a report.
const DESTINATIONS_MAX: usize = 5;
/// Names that are asked on the way up from a domain (RFC 9989 §4.10).
const NAMES_MAX: usize = 8;

/// Who gets the reports about a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportPolicy {
    /// Where the record stands.
    pub domain: String,
    /// Addresses that want them and may have them.
    pub to: Vec<String>,
}

/// Asks for the policy that holds for a domain: its own, or else that of its organisation, which is the highest
/// name above it with a record. `Ok(None)`: there is none, or it names nobody.
///
/// # Errors
/// DNS did not answer.
pub(crate) async fn find(resolver: &TokioResolver, domain: &str) -> Result<Option<ReportPolicy>, ()> {
    let mut found = None;
    for (n, name) in ancestors(domain).enumerate() {
        if let Some(record) = record(resolver, &format!("_dmarc.{name}")).await? {
            found = Some((name, record));
            if n == 0 {
                break;
            }
        }
    }
    let Some((domain, record)) = found else { return Ok(None) };
    let mut to = Vec::new();
    for uri in record.rua().iter().take(DESTINATIONS_MAX) {
        let address = uri.uri();
        let Some((_, host)) = address.rsplit_once('@').map(|(l, h)| (l, h.to_ascii_lowercase())) else {
            continue;
        };
        if is_own(&host, domain) || agrees(resolver, domain, &host).await? {
            to.push(address.to_owned());
        }
    }
    Ok((!to.is_empty()).then(|| ReportPolicy { domain: domain.to_owned(), to }))
}

/// The domain and the names above it, but for the top-level domain.
fn ancestors(domain: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(domain), |name| {
        let (_, rest) = name.split_once('.')?;
        rest.contains('.').then_some(rest)
    })
    .take(NAMES_MAX)
}

fn is_own(host: &str, domain: &str) -> bool {
    host == domain || host.strip_suffix(domain).is_some_and(|prefix| prefix.ends_with('.'))
}

/// Whether a host takes reports about a domain that is not its own.
async fn agrees(resolver: &TokioResolver, domain: &str, host: &str) -> Result<bool, ()> {
    let name = format!("{domain}._report._dmarc.{host}");
    match dns::ask(resolver, &Question::Txt(name)).await {
        Answer::Txt(texts) => Ok(texts.iter().any(|text| text.starts_with(b"v=DMARC1"))),
        Answer::Failed => Err(()),
        _ => Ok(false),
    }
}

/// The record at a name, when there is exactly one.
async fn record(resolver: &TokioResolver, name: &str) -> Result<Option<Dmarc>, ()> {
    match dns::ask(resolver, &Question::Txt(name.to_owned())).await {
        Answer::Txt(texts) => {
            let mut ours = texts.iter().filter(|text| text.starts_with(b"v=DMARC1"));
            match (ours.next(), ours.next()) {
                (Some(text), None) => Ok(Dmarc::parse(text).ok()),
                _ => Ok(None),
            }
        }
        Answer::Failed => Err(()),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_up() {
        assert_eq!(ancestors("a.b.c.test").collect::<Vec<_>>(), ["a.b.c.test", "b.c.test", "c.test"]);
        assert_eq!(ancestors("test").collect::<Vec<_>>(), ["test"]);
        assert!(is_own("a.test", "a.test") && is_own("x.a.test", "a.test") && !is_own("xa.test", "a.test"));
    }
}
