//! Who asks: a key as a bearer token (RFC 6750), or a mailbox's address and password (RFC 7617). Either only over
//! a connection that nobody can listen to.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use protocol_core::address::Canonical;
use storage::{ApiKey, Charge, CounterKey, CounterKind, Mailbox, OrgId, Quota, Scopes, Storage};
use zeroize::Zeroizing;

use super::error::{ApiError, Code};
use crate::app::App;
use crate::auth::{Outcome, verify};
use crate::config::Networks;
use crate::metrics::METRICS;
use crate::smtp::may_send_as;

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
}

/// What a caller wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Scope {
    Send,
    Read,
    Admin,
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
        basic(app, rest.trim(), client.tls).await?
    } else {
        None
    };
    let Some(caller) = found else {
        METRICS.login_failures.add("http");
        tracing::info!(peer = %origin, scheme = if scheme.len() < 16 { scheme } else { "?" }, "a log-in over HTTP failed");
        return Err(ApiError::new(Code::Unauthenticated, "the key or password is not valid"));
    };
    let who = match (&caller.key, &caller.mailbox) {
        (Some(key), _) => format!("key {}", key.id),
        (None, Some(mailbox)) => format!("mailbox {}", mailbox.id),
        (None, None) => format!("org {}", caller.org),
    };
    count(app, format!("api requests {who}"), app.config.rate_limit.api_requests, origin).await?;
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

/// Finds out whose mailbox a request is about, by its password alone: keys open no mailbox.
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
        true => basic(app, rest.trim(), client.tls).await,
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
    match count(app, name, app.config.rate_limit.dav_requests, origin).await {
        Ok(()) => MailboxAccess::Granted(Box::new(mailbox)),
        Err(error) if error.code == Code::RateLimited => MailboxAccess::TooMany,
        Err(_) => MailboxAccess::Unavailable,
    }
}

async fn bearer(app: &App, secret: &str, origin: IpAddr, tls: bool) -> Result<Option<Caller>, ApiError> {
    let storage = &app.storage;
    let Some(key) = storage.api_key_of(secret, storage.store_now()).await? else { return Ok(None) };
    let networks = Networks::parse(&key.networks.join(",")).unwrap_or_default();
    if !key.networks.is_empty() && !networks.contains(origin) {
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
    Ok(Some(Caller { org: key.org, scopes: key.scopes, key: Some(key), mailbox, tls }))
}

async fn basic(app: &App, credentials: &str, tls: bool) -> Result<Option<Caller>, ApiError> {
    let Ok(decoded) = BASE64.decode(credentials).map(Zeroizing::new) else { return Ok(None) };
    let Some(colon) = decoded.iter().position(|b| *b == b':') else { return Ok(None) };
    let (user, password) = (&decoded[..colon], &decoded[colon + 1..]);
    let Ok(user) = std::str::from_utf8(user) else { return Ok(None) };
    match verify(&app.storage, user, password).await {
        Outcome::Success(mailbox) => {
            let scopes = Scopes { send: true, read: true, admin: mailbox.admin };
            Ok(Some(Caller { org: mailbox.org, scopes, key: None, mailbox: Some(*mailbox), tls }))
        }
        Outcome::Failed | Outcome::Challenge(_) => Ok(None),
        Outcome::Unavailable => Err(ApiError::new(Code::Unavailable, "log-ins cannot be checked now")),
    }
}

/// Counts a request in the window of this name, on all nodes together.
async fn count(app: &App, name: String, limit: u64, origin: IpAddr) -> Result<(), ApiError> {
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
        };
        if has { Ok(()) } else { Err(ApiError::new(Code::Forbidden, format!("this needs the scope {name}"))) }
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
        let fields = Fields { authorization: None, forwarded_for: forwarded, forwarded_proto: proto };
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
