//! Messages of ours, as other servers know them: the envelope identifier that goes out with what was submitted
//! here, and the job and organisation that one which comes back is proved to be about.

use protocol_smtp::params::encode_xtext;
use protocol_smtp::reported::envid::{self, Claimed};
use protocol_smtp::srs;
use storage::{Error, JobId, JobRecipient, NewJob, OrgId, Storage};

use crate::smtp::domain_of;

/// What a server with DSN is told of a message whose sender asked for nothing himself.
pub(crate) struct Marks {
    /// ENVID.
    pub envid: String,
    /// ORCPT of each recipient that has none, in the job's order: mail that is forwarded there comes back under
    /// another address.
    pub orcpts: Vec<Option<String>>,
}

/// The marks of a job; none when its sender chose an ENVID, when nobody is told of it, and for mail that only passes
/// through: a server that relays adds no ENVID (RFC 3461 §5.2.1), and what was submitted here is not relayed but
/// sent for the first time, on behalf of its author.
pub(crate) async fn marks(storage: &Storage, spec: &NewJob) -> storage::Result<Option<Marks>> {
    let sent_here = spec.envid.is_none() && !spec.is_dsn && !spec.sender.is_empty();
    if !sent_here || srs::is_rewritten(&spec.sender) {
        return Ok(None);
    }
    match storage.store().domain_lately(&domain_of(&spec.sender)).await {
        Ok(domain) if domain.org == spec.org => {}
        Ok(_) | Err(Error::NotFound) => return Ok(None),
        Err(error) => return Err(error),
    }
    let envid = envid::write(&spec.id.to_string(), &mac(storage, spec.id, spec.org));
    Ok(Some(Marks { envid, orcpts: spec.recipients.iter().map(orcpt).collect() }))
}

/// RFC 3461 §4.2. An address that is not ASCII would need a server with SMTPUTF8 to understand it.
fn orcpt(recipient: &JobRecipient) -> Option<String> {
    let absent = recipient.orcpt.is_none() && recipient.address.is_ascii();
    absent.then(|| format!("rfc822;{}", encode_xtext(&recipient.address)))
}

/// The job that an identifier is proved to be of, and whose it is; none for any other identifier.
pub(crate) async fn proved(storage: &Storage, envid: &str) -> storage::Result<Option<(JobId, OrgId)>> {
    let Some(claimed) = Claimed::read(envid) else { return Ok(None) };
    let Some(job) = JobId::parse(claimed.job) else { return Ok(None) };
    let orgs = storage.store().list_orgs().await?;
    let mut ids = orgs.into_iter().map(|org| org.id);
    Ok(ids.find(|org| claimed.is_by(&mac(storage, job, *org))).map(|org| (job, org)))
}

fn mac(storage: &Storage, job: JobId, org: OrgId) -> [u8; 32] {
    storage.keys().tag("envid", &[&job.0.0, &org.0.0])
}
