//! Who asks: a key as a bearer token (RFC 6750), or a mailbox's address and password (RFC 7617). Either only over
//! a connection that nobody can listen to.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use protocol_core::address::Canonical;
use storage::{ApiKey, Charge, CounterKey, CounterKind, Mailbox, OrgId, Quota, Scopes, Storage};
use tracing::Span;
use zeroize::Zeroizing;

use super::error::{ApiError, Code};
use crate::app::App;
use crate::auth::{Entrance, Protocol, admit, admits_from};
use crate::config::Networks;
use crate::metrics::METRICS;
use crate::smtp::may_send_as;
use crate::telemetry::{self, TARGET};

/// Octets of an Authorization field that are looked at.
const AUTHORIZATION_MAX: usize = 2_048;

/// The connection that a request came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The other end of it.
    pub peer: IpAddr,
    /// It is encrypted, by us.
    pub tls: bool,
}

/// The fields of a request that tell who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    /// Authorization.
    pub authorization: Option<&'a str>,
    /// X-Forwarded-For.
    pub forwarded_for: Option<&'a str>,
    /// X-Forwarded-Proto.
    pub forwarded_proto: Option<&'a str>,
    /// Traceparent (W3C Trace Context).
    pub traceparent: Option<&'a str>,
}

/// Who asks, and what they may do.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Nothing of any other organisation is theirs to see.
    pub org: OrgId,
    /// What they may do.
    pub scopes: Scopes,
    /// The key, when they have one.
    pub key: Option<ApiKey>,
    /// The mailbox that they are, or that their key acts for.
    pub mailbox: Option<Mailbox>,
    /// The request came encrypted.
    pub tls: bool,
    /// From where it came.
    pub origin: IpAddr,
    /// What changes when the password does by which they logged in.
    pub proof: Option<[u8; 32]>,
    /// The trace that the caller says the request belongs to.
    pub trace: Option<String>,
}

/// What a caller wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Scope {
    Send,
    Read,
    Admin,
    Operator,
}

impl Client {
    /// The address of whoever asks, and whether nobody on the way can have read it. Only a proxy that is named in
    /// HTTP_TRUSTED_PROXIES is believed what it says of others.
    fn origin(&self, proxies: &Networks, fields: &Fields<'_>) -> (IpAddr, bool) {
        if !proxies.contains(self.peer) {
            return (self.peer, self.tls || self.peer.is_loopback());
        }
        let named = fields.forwarded_for.into_iter().flat_map(|value| value.rsplit(','));
        let mut named =
            named.map_while(|text| text.trim().parse::<IpAddr>().ok().map(|ip| ip.to_canonical()));
        // The last one that is no proxy of ours was written by a proxy of ours.
        let origin = named.find(|ip| !proxies.contains(*ip)).unwrap_or(self.peer);
        let encrypted = fields.forwarded_proto.is_none_or(|proto| proto.trim().eq_ignore_ascii_case("https"));
        (origin, encrypted)
    }
}

/// Finds out who asks.
///
/// # Errors
/// [`Code::InsecureTransport`], [`Code::Unauthenticated`], [`Code::Forbidden`] for a key that may not be used from
/// there, [`Code::RateLimited`], [`Code::Unavailable`].
pub async fn authenticate(app: &App, client: Client, fields: Fields<'_>) -> Result<Caller, ApiError> {
    let (origin, private) = client.origin(&app.config.http_trusted_proxies, &fields);
    let Some(authorization) = fields.authorization.filter(|text| text.len() <= AUTHORIZATION_MAX) else {
        return Err(ApiError::new(Code::Unauthenticated, "give an API key as a bearer token"));
    };
    if !private {
        return Err(ApiError::new(
            Code::InsecureTransport,
            "keys and passwords are taken over TLS, from this host, or through a proxy in HTTP_TRUSTED_PROXIES only",
        ));
    }
    let (scheme, rest) = authorization.split_once(' ').unwrap_or((authorization, ""));
    let found = if scheme.eq_ignore_ascii_case("bearer") {
        bearer(app, rest.trim(), origin, client.tls).await?
    } else if scheme.eq_ignore_ascii_case("basic") {
        basic(app, rest.trim(), origin, client.tls, Protocol::Api).await?
    } else {
        None
    };
    let Some(mut caller) = found else {
        METRICS.login_failures.add("http");
        tracing::info!(peer = %origin, scheme = if scheme.len() < 16 { scheme } else { "?" }, "a log-in over HTTP failed");
        return Err(ApiError::new(Code::Unauthenticated, "the key or password is not valid"));
    };
    count(app, &caller).await?;
    caller.trace = fields.traceparent.and_then(telemetry::read);
    Ok(caller)
}

/// What comes of a log-in for what is a mailbox's own.
pub enum MailboxAccess {
    /// It is this one's owner.
    Granted(Box<Mailbox>),
    /// It is not said who asks, or the password does not fit.
    Unknown,
    /// Somebody could listen.
    Insecure,
    /// Too many requests.
    TooMany,
    /// It could not be found out now.
    Unavailable,
}

/// Finds out whose mailbox a request is about, by its password or an app password for it.
pub async fn authenticate_mailbox(app: &App, client: Client, fields: Fields<'_>) -> MailboxAccess {
    let (origin, private) = client.origin(&app.config.http_trusted_proxies, &fields);
    if !private {
        return MailboxAccess::Insecure;
    }
    let authorization = fields.authorization.filter(|text| text.len() <= AUTHORIZATION_MAX);
    let Some((scheme, rest)) = authorization.and_then(|text| text.split_once(' ')) else {
        return MailboxAccess::Unknown;
    };
    let found = match scheme.eq_ignore_ascii_case("basic") {
        true => basic(app, rest.trim(), origin, client.tls, Protocol::Dav).await,
        false => Ok(None),
    };
    let mailbox = match found {
        Ok(Some(Caller { mailbox: Some(mailbox), .. })) => mailbox,
        Ok(_) => {
            METRICS.login_failures.add("http");
            tracing::info!(peer = %origin, "a log-in over HTTP failed");
            return MailboxAccess::Unknown;
        }
        Err(_) => return MailboxAccess::Unavailable,
    };
    let name = format!("dav requests mailbox {}", mailbox.id);
    match count_as(app, name, app.config.rate_limit.dav_requests, origin).await {
        Ok(()) => MailboxAccess::Granted(Box::new(mailbox)),
        Err(error) if error.code == Code::RateLimited => MailboxAccess::TooMany,
        Err(_) => MailboxAccess::Unavailable,
    }
}

async fn bearer(app: &App, secret: &str, origin: IpAddr, tls: bool) -> Result<Option<Caller>, ApiError> {
    let storage = &app.storage;
    let Some(key) = storage.api_key_of(secret, storage.store_now()).await? else { return Ok(None) };
    // One that is for other protocols is none here.
    if !key.scopes.of_api() {
        return Ok(None);
    }
    if !admits_from(&key, Some(origin)) {
        return Err(ApiError::new(Code::Forbidden, "this key may not be used from this address"));
    }
    let mailbox = match key.mailbox {
        None => None,
        Some(id) => match storage.store().mailbox(id).await {
            Ok(mailbox) if !mailbox.disabled && mailbox.org == key.org => Some(mailbox),
            Ok(_) | Err(storage::Error::NotFound) => return Ok(None),
            Err(error) => return Err(error.into()),
        },
    };
    storage.touch_api_key(key.id);
    Ok(Some(Caller {
        org: key.org,
        scopes: key.scopes,
        key: Some(key),
        mailbox,
        tls,
        origin,
        proof: None,
        trace: None,
    }))
}

async fn basic(
    app: &App,
    credentials: &str,
    origin: IpAddr,
    tls: bool,
    protocol: Protocol,
) -> Result<Option<Caller>, ApiError> {
    let Ok(decoded) = BASE64.decode(credentials).map(Zeroizing::new) else { return Ok(None) };
    let Some(colon) = decoded.iter().position(|b| *b == b':') else { return Ok(None) };
    let (user, password) = (&decoded[..colon], &decoded[colon + 1..]);
    let Ok(user) = std::str::from_utf8(user) else { return Ok(None) };
    let entrance = Entrance { protocol, origin: Some(origin) };
    let admitted = admit(&app.storage, user, password, entrance).await.map_err(|error| {
        tracing::warn!(%error, "log-in could not be checked");
        ApiError::new(Code::Unavailable, "log-ins cannot be checked now")
    })?;
    let Some((mailbox, key)) = admitted else { return Ok(None) };
    let (scopes, proof) = match &key {
        Some(key) => (key.scopes, None),
        None => {
            let scopes = Scopes { send: true, read: true, admin: mailbox.admin, ..Scopes::default() };
            (scopes, proof_of(app, &mailbox.address).await?)
        }
    };
    Ok(Some(Caller {
        org: mailbox.org,
        scopes,
        key,
        mailbox: Some(mailbox),
        tls,
        origin,
        proof,
        trace: None,
    }))
}

/// Whether a caller is who they were when they said so: their key was not revoked, their mailbox not disabled, their
/// password not changed (AU7).
pub async fn is_still(app: &App, caller: &Caller) -> storage::Result<bool> {
    let store = app.storage.store();
    if let Some(key) = &caller.key {
        match store.api_key(key.id).await {
            Ok(key) if key.expires.is_none_or(|end| app.storage.store_now() < end) => {}
            Ok(_) | Err(storage::Error::NotFound) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    let Some(mailbox) = &caller.mailbox else { return Ok(true) };
    let now = match store.mailbox(mailbox.id).await {
        Ok(mailbox) => mailbox,
        Err(storage::Error::NotFound) => return Ok(false),
        Err(error) => return Err(error),
    };
    if now.disabled || (caller.scopes.admin && caller.key.is_none() && !now.admin) {
        return Ok(false);
    }
    Ok(caller.key.is_some() || proof_of(app, &now.address).await? == caller.proof)
}

/// What changes when a mailbox's password does.
async fn proof_of(app: &App, address: &str) -> storage::Result<Option<[u8; 32]>> {
    let found = app.storage.store().credential(address).await?;
    Ok(found.map(|(_, record)| *blake3::hash(record.argon2.as_bytes()).as_bytes()))
}

/// The caller of a connection that has been open for a while, for the next thing they ask over it: they must still be
/// who they were, and it counts as a request.
///
/// # Errors
/// As in [`authenticate`].
pub async fn again(app: &App, caller: Caller) -> Result<Caller, ApiError> {
    if !is_still(app, &caller).await? {
        return Err(ApiError::new(Code::Unauthenticated, "the key or password is not valid any more"));
    }
    count(app, &caller).await?;
    Ok(caller)
}

/// Counts a request in the window of the caller's key or mailbox.
async fn count(app: &App, caller: &Caller) -> Result<(), ApiError> {
    let who = match (&caller.key, &caller.mailbox) {
        (Some(key), _) => format!("key {}", key.id),
        (None, Some(mailbox)) => format!("mailbox {}", mailbox.id),
        (None, None) => format!("org {}", caller.org),
    };
    count_as(app, format!("api requests {who}"), app.config.rate_limit.api_requests, caller.origin).await
}

/// Counts a request in the window of this name, on all nodes together.
async fn count_as(app: &App, name: String, limit: u64, origin: IpAddr) -> Result<(), ApiError> {
    let rates = &app.config.rate_limit;
    if !rates.enabled || rates.exempt_networks.contains(origin) {
        return Ok(());
    }
    let secs = i64::try_from(rates.window.as_secs()).unwrap_or(i64::MAX);
    let counter = CounterKey::window(CounterKind::Rate, name, secs, app.storage.store_now());
    let charge = Charge { counter, amount: 1, limit, quota: Quota::Rate };
    match app.storage.count(charge).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            METRICS.rate_limited.add("api");
            Err(ApiError::new(Code::RateLimited, "too many requests; try again in a while"))
        }
        Err(error) if rates.fail_open_on_db_error => {
            tracing::warn!(%error, "a request of the API could not be counted");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

impl Caller {
    /// Whether the caller has a right.
    ///
    /// # Errors
    /// [`Code::Forbidden`] when not.
    pub fn needs(&self, scope: Scope) -> Result<(), ApiError> {
        let (has, name) = match scope {
            Scope::Send => (self.scopes.send, "send"),
            Scope::Read => (self.scopes.read, "read"),
            Scope::Admin => (self.scopes.admin, "admin"),
            Scope::Operator => (self.scopes.operator, "operator"),
        };
        if has { Ok(()) } else { Err(ApiError::new(Code::Forbidden, format!("this needs the scope {name}"))) }
    }

    /// The span of a request of theirs, in the trace that they say it belongs to.
    pub fn span(&self, route: &'static str) -> Span {
        let span = tracing::info_span!(
            target: TARGET,
            "api.request",
            otel.name = route,
            otel.kind = "server",
            http.route = route,
            inbox.org = %self.org,
            inbox.key = self.key.as_ref().map(|key| tracing::field::display(key.id)),
        );
        telemetry::continues(span, self.trace.as_deref())
    }

    /// Whether what the caller sends is only pretended to be sent.
    pub fn is_test(&self) -> bool {
        self.key.as_ref().is_some_and(|key| key.test)
    }

    /// Whether the caller may send as an address: its domain is the organisation's, the key's own list holds it, and
    /// a mailbox sends only as itself.
    pub async fn may_send_as(&self, storage: &Storage, address: &Canonical) -> storage::Result<bool> {
        match storage.store().domain(address.domain()).await {
            Ok(domain) if domain.org == self.org => {}
            Ok(_) | Err(storage::Error::NotFound) => return Ok(false),
            Err(error) => return Err(error),
        }
        if let Some(key) = &self.key {
            let free = key.domains.is_empty() && key.addresses.is_empty();
            let listed = || {
                key.domains.iter().any(|domain| domain == address.domain())
                    || key.addresses.contains(&address.to_string())
            };
            if !free && !listed() {
                return Ok(false);
            }
        }
        match &self.mailbox {
            Some(mailbox) => may_send_as(storage, mailbox, Some(address.clone())).await,
            None => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(
        peer: &str,
        tls: bool,
        proxies: &str,
        forwarded: Option<&str>,
        proto: Option<&str>,
    ) -> (String, bool) {
        let client = Client { peer: peer.parse().unwrap(), tls };
        let fields = Fields {
            authorization: None,
            forwarded_for: forwarded,
            forwarded_proto: proto,
            traceparent: None,
        };
        let (ip, private) = client.origin(&Networks::parse(proxies).unwrap(), &fields);
        (ip.to_string(), private)
    }

    #[test]
    fn hg4_only_a_trusted_proxy_is_believed() {
        let outside = Some("203.0.113.9");
        let want = |ip: &str, private| (ip.to_owned(), private);
        assert_eq!(origin("198.51.100.1", false, "", outside, Some("https")), want("198.51.100.1", false));
        assert_eq!(origin("198.51.100.1", true, "", outside, None), want("198.51.100.1", true));
        assert_eq!(origin("127.0.0.1", false, "", outside, None), want("127.0.0.1", true));
        assert_eq!(
            origin("10.0.0.1", false, "10.0.0.0/8", outside, Some("https")),
            want("203.0.113.9", true)
        );
        assert_eq!(
            origin("10.0.0.1", false, "10.0.0.0/8", outside, Some("http")),
            want("203.0.113.9", false)
        );
        // What a client wrote itself stands left of what the proxy added.
        let forged = Some("127.0.0.1, 203.0.113.9, 10.0.0.2");
        assert_eq!(origin("10.0.0.1", false, "10.0.0.0/8", forged, None), want("203.0.113.9", true));
        assert_eq!(
            origin("10.0.0.1", false, "10.0.0.0/8", Some("x, 10.0.0.2"), None),
            want("10.0.0.1", true)
        );
    }
}
