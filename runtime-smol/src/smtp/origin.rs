//! Where a message comes from: SPF and the client's name are asked for at MAIL, SPF is judged at each recipient,
//! DKIM, ARC and DMARC after the data. What the results lead to is decided by [`protocol_smtp::policy`].

use std::net::IpAddr;
use std::time::Duration;

use async_io::Timer;
use futures_lite::future;
use message_auth::Pending;
use message_auth::aggregate::{Disposition, Observation};
use protocol_core::address::Canonical;
use protocol_core::auth::{
    DkimResult, DmarcResult, Iprev, IprevResult, MessageResults, Spf, SpfIdentity, SpfResult,
};
use protocol_core::message::Fields;
use protocol_core::message::from::{from_addresses, from_domains};
use protocol_core::message::header::is_authentication_results_by;
use protocol_smtp::policy::{self, Place, Required, SenderPolicy, Terms};
use protocol_smtp::server::{Refusal, ServerSession, Service};
use protocol_smtp::trace::{self, ReadResults};
use storage::Spool;
use storage::directory::Requires;

use super::accept::storage_failed;
use super::header::written;
use super::repeats::REPLAYS_MAX;
use super::session::Connection;
use super::transaction::Transaction;
use crate::app::App;
use crate::config::{self, AuthPolicy};
use crate::metrics::METRICS;
use crate::wire::{monotonic_now, wall_now};

/// How long a message waits for the name of the peer's address.
const PTR_LIMIT: Duration = Duration::from_secs(3);

/// What is known of a transaction's origin before its message is there.
#[derive(Default)]
pub struct Origin {
    spf: Option<Asked<Spf>>,
    iprev: Option<Asked<Iprev>>,
    /// What the accepted recipients require, alike for all at the end of data.
    required: Option<Required>,
}

/// A question to DNS under way, or its answer.
enum Asked<T> {
    Pending(Pending<T>),
    Known(T),
}

impl<T: Clone + Unpin> Asked<T> {
    async fn answer(&mut self) -> T {
        let answer = match self {
            Asked::Pending(pending) => pending.await,
            Asked::Known(answer) => return answer.clone(),
        };
        *self = Asked::Known(answer.clone());
        answer
    }
}

impl Origin {
    /// The client's name, forward-confirmed, waited for a few seconds. `None`: it was not asked for.
    pub(super) async fn iprev(&mut self) -> Option<Iprev> {
        let asked = self.iprev.as_mut()?;
        let late = async {
            Timer::after(PTR_LIMIT).await;
            Iprev { result: IprevResult::TempError, name: None }
        };
        Some(future::or(asked.answer(), late).await)
    }
}

/// What was found about a whole message.
pub(super) struct Judged {
    pub place: Place,
    /// Trace fields that say what was found.
    pub fields: Vec<u8>,
    /// The gateway's own field stands for ours and stays.
    pub keeps_results: bool,
    /// Whether the reverse-path is its owner's: what is sent to it unasked reaches nobody who has nothing to do with
    /// the message.
    pub sender_is_known: bool,
    /// The one author, when their domain vouches for the message.
    pub author: Option<Canonical>,
}

impl Judged {
    /// Of mail that is not judged.
    fn nothing() -> Judged {
        Judged {
            place: Place::Inbox,
            fields: Vec::new(),
            keeps_results: false,
            sender_is_known: true,
            author: None,
        }
    }
}

impl Connection {
    /// Whether mail of this connection is checked: submission, LMTP and exempt networks are not.
    fn is_checked(&self) -> bool {
        let exempt = |ip| self.app.config.auth.exempt_networks.contains(ip);
        self.service == Service::Transfer && self.peer.ip().is_some_and(|ip| !exempt(ip))
    }

    /// Whether a gateway's results may stand for ours on this connection.
    fn is_overridden(&self) -> bool {
        let auth = &self.app.config.auth;
        auth.allow_header_override && self.peer.ip().is_some_and(|ip| auth.trusted_networks.contains(ip))
    }

    /// SPF can only be judged when the message is there.
    fn spf_waits(&self) -> bool {
        self.app.config.auth.spf_accept_aligned_dkim || self.is_overridden()
    }

    /// Asks about a sender; nothing waits for the answers yet.
    pub(super) fn ask_about_sender(&self, sender: &str, session: &ServerSession) -> Origin {
        let Some(ip) = self.peer.ip().filter(|_| !self.service.is_submission()) else {
            return Origin::default();
        };
        let checked = self.is_checked();
        let named = checked || protocol_smtp::route::is_public(ip);
        let spf = || {
            let helo = session.client_name().unwrap_or_default();
            self.app.verifier.spf(spf_query(sender, helo, ip, &self.app.config.server.hostname))
        };
        Origin {
            spf: checked.then(|| Asked::Pending(spf())),
            iprev: named.then(|| Asked::Pending(self.app.verifier.iprev(ip))),
            required: None,
        }
    }

    /// Waits for SPF, so that a recipient who exists and one who does not are answered after the same time.
    pub(super) async fn await_spf(&mut self) {
        if let Some(asked) = self.transaction.as_mut().and_then(|t| t.origin.spf.as_mut()) {
            let first = matches!(asked, Asked::Pending(_));
            let found = asked.answer().await;
            if first {
                METRICS.origin_results.add(&format!("spf-{}", found.result));
            }
        }
    }

    /// Judges the sender for one recipient who exists.
    pub(super) async fn judge_recipient(&mut self, role: bool, requires: Requires) -> Result<(), Refusal> {
        if !self.is_checked() {
            return Ok(());
        }
        let waits = self.spf_waits();
        let auth = &self.app.config.auth;
        let required = if role { Required::default() } else { merged(auth, requires) };
        let Some(transaction) = &mut self.transaction else { return Ok(()) };
        if transaction.origin.required.is_some_and(|first| !first.agrees(&required, waits)) {
            return Err(Refusal::SeparateTransaction);
        }
        if let (Some(spf), false) = (&mut transaction.origin.spf, waits) {
            policy::spf(&required, &spf.answer().await, transaction.sender.is_empty())?;
        }
        transaction.origin.required.get_or_insert(required);
        Ok(())
    }

    /// Judges a whole message: where it goes, and the fields that say what was found. `spool` holds it as it
    /// came.
    pub(super) async fn judge_message(
        &self,
        transaction: &Transaction,
        origin: &mut Origin,
        iprev: Option<&Iprev>,
        spool: &Spool,
        header: &[u8],
        session: &ServerSession,
    ) -> Result<Judged, Refusal> {
        let (Some(asked), Some(ip)) = (&mut origin.spf, self.peer.ip()) else { return Ok(Judged::nothing()) };
        let spf = asked.answer().await;
        let auth = &self.app.config.auth;
        let terms = Terms {
            required: origin.required.unwrap_or_default(),
            null_sender: transaction.sender.is_empty(),
            spf_waits: self.spf_waits(),
            accept_aligned_dkim: auth.spf_accept_aligned_dkim,
            sender_policy: sender_policy(auth.apply_sender_policy),
            trusted_sealers: &auth.arc_trusted_sealers,
        };
        let own = &self.app.config.server.hostname;
        if let Some(said) = self.gateways_results(header, own) {
            let spf = said.spf();
            let place = policy::message(&terms, &spf, &said.message())?;
            let sender_is_known = spf.result == SpfResult::Pass;
            let author = proved_author(header, &spf, &said.message());
            return Ok(Judged { place, fields: Vec::new(), keeps_results: true, sender_is_known, author });
        }
        let found = verify(&self.app, spool, header, &spf, terms.null_sender).await?;
        count(&found);
        let judged = policy::message(&terms, &spf, &found);
        self.observe(transaction, ip, &spf, &found, &judged);
        let place = judged?;
        self.throttle_replays(header, &found)?;
        let helo = session.client_name().unwrap_or_default();
        let iprev = iprev.map(|iprev| (ip, iprev));
        let mut fields = trace::authentication_results(own, iprev, &spf, &transaction.sender, &found);
        fields.extend(trace::received_spf(own, &spf, &transaction.sender, helo, ip));
        let author = proved_author(header, &spf, &found);
        let sender_is_known = spf.result == SpfResult::Pass;
        Ok(Judged { place, fields, keeps_results: false, sender_is_known, author })
    }

    /// Notes for DMARC reports what was found and what became of it.
    fn observe(
        &self,
        transaction: &Transaction,
        ip: IpAddr,
        spf: &Spf,
        found: &MessageResults,
        judged: &Result<Place, Refusal>,
    ) {
        let disposition = match judged {
            Ok(Place::Inbox) => Disposition::Delivered,
            Ok(Place::Junk) => Disposition::Quarantined,
            // It comes again, and is noted then.
            Err(why) if why.is_temporary() => return,
            Err(_) => Disposition::Rejected,
        };
        let vouched_for = found.dmarc.result == DmarcResult::Fail
            && policy::is_vouched_for(&found.arc, &self.app.config.auth.arc_trusted_sealers);
        let sender = &transaction.sender;
        if let Some(observation) = Observation::of(ip, sender, spf, found, disposition, vouched_for) {
            self.app.observations.note(&observation);
        }
    }

    /// The topmost results under our own name, where they may be believed.
    fn gateways_results(&self, header: &[u8], own: &str) -> Option<ReadResults> {
        if !self.is_overridden() {
            return None;
        }
        let field = Fields::new(header).find(|f| is_authentication_results_by(f, own))?;
        trace::read_results(field.value)
    }

    /// A signed message that somebody sends on to everybody is slowed down: its signature stays valid, and its
    /// signer's good name is what is abused.
    fn throttle_replays(&self, header: &[u8], found: &MessageResults) -> Result<(), Refusal> {
        let signatures = Fields::new(header).filter(|f| f.is("DKIM-Signature"));
        let Some((field, _)) = signatures.zip(&found.dkim).find(|(_, d)| d.result == DkimResult::Pass) else {
            return Ok(());
        };
        let mut hasher = blake3::Hasher::new();
        field.value.split(u8::is_ascii_whitespace).for_each(|piece| {
            hasher.update(piece);
        });
        let times = self.app.replays.note(*hasher.finalize().as_bytes(), monotonic_now());
        if times > 1 {
            METRICS.signatures_repeated.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        if times > REPLAYS_MAX { Err(Refusal::RateLimited) } else { Ok(()) }
    }
}

/// DKIM, ARC and DMARC. The body is read only when there is a signature over it, and only so many octets of all
/// messages are in memory at once.
async fn verify(
    app: &App,
    spool: &Spool,
    header: &[u8],
    spf: &Spf,
    null_sender: bool,
) -> Result<MessageResults, Refusal> {
    let from = from_addresses(header, null_sender).map_err(|_| Refusal::BadFrom)?;
    let mut domains: Vec<String> =
        from.iter().filter_map(written).map(|address| address.domain().to_owned()).collect();
    if domains.len() < from.len() {
        domains.extend(from_domains(&from));
    }
    domains.sort_unstable();
    domains.dedup();
    let whole = message_auth::needs_body(header);
    let length = if whole { spool.len() } else { header.len() as u64 };
    let permit = app.verifier.permit(length).await;
    let octets = if whole {
        spool.read(0, usize::try_from(length).unwrap_or(usize::MAX)).await.map_err(storage_failed)?
    } else {
        header.to_vec()
    };
    let message = message_auth::Message {
        octets,
        from_domains: domains,
        spf: spf.clone(),
        now_secs: wall_now().secs(),
    };
    Ok(app.verifier.message(permit, message).await)
}

/// The author of a message that has one, when their domain vouches for it: by DMARC, by a signature of that very domain,
/// or as the domain that SPF allows to send.
fn proved_author(header: &[u8], spf: &Spf, found: &MessageResults) -> Option<Canonical> {
    let from = from_addresses(header, false).ok()?;
    let [author] = from.as_slice() else { return None };
    let author = written(author)?;
    let signed = |dkim: &protocol_core::auth::Dkim| {
        dkim.result == DkimResult::Pass && dkim.domain.eq_ignore_ascii_case(author.domain())
    };
    let sent = spf.result == SpfResult::Pass
        && spf.identity == SpfIdentity::MailFrom
        && spf.domain.eq_ignore_ascii_case(author.domain());
    let proved = match found.dmarc.result {
        DmarcResult::Pass => true,
        DmarcResult::Fail => false,
        _ => sent || found.dkim.iter().any(signed),
    };
    proved.then_some(author)
}

/// The installation's requirements, each overridden by the recipient's domain where that says something.
fn merged(auth: &AuthPolicy, domain: Requires) -> Required {
    Required::merge(
        [auth.require_spf_pass, auth.require_dkim_pass, auth.require_dmarc_pass],
        [domain.spf_pass, domain.dkim_pass, domain.dmarc_pass],
    )
}

/// The identity that is judged: the reverse-path, or for a null one the HELO name (RFC 7208 §2.4).
fn spf_query(sender: &str, helo: &str, ip: IpAddr, own_host: &str) -> message_auth::spf::Query {
    let canonical = Canonical::parse(sender).ok();
    let (identity, local, domain) = match (&canonical, sender.rsplit_once('@')) {
        (Some(address), _) => (SpfIdentity::MailFrom, address.local(), address.domain()),
        (None, Some((local, domain))) => (SpfIdentity::MailFrom, local, domain),
        (None, None) => (SpfIdentity::Helo, "postmaster", helo),
    };
    message_auth::spf::Query {
        ip,
        helo: helo.to_owned(),
        identity,
        local: local.to_owned(),
        domain: domain.to_owned(),
        receiver: own_host.to_owned(),
        now_secs: wall_now().secs(),
    }
}

fn sender_policy(configured: config::SenderPolicy) -> SenderPolicy {
    match configured {
        config::SenderPolicy::Apply => SenderPolicy::Apply,
        config::SenderPolicy::Junk => SenderPolicy::Junk,
        config::SenderPolicy::Ignore => SenderPolicy::Ignore,
    }
}

fn count(found: &MessageResults) {
    METRICS.origin_results.add(&format!("dkim-{}", found.dkim_overall()));
    METRICS.origin_results.add(&format!("dmarc-{}", found.dmarc.result));
    METRICS.origin_results.add(&format!("arc-{}", found.arc.result));
}
