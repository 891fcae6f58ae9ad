//! WebDAV, CalDAV and CardDAV over HTTP: what `protocol-dav` decides is carried out on storage's trees.
//!
//! Who asks is known before anything else is looked at, and sees their own tree alone. What changes something is
//! decided by what the tree is at one moment and written only when it is that still.

mod body;
mod directory;
mod fault;
pub(crate) mod imip;
mod mail;
mod node;
mod publish;
mod read;
mod rows;
mod schedule;
mod session;
mod share;
mod views;
mod write;

use std::sync::Arc;

use async_lock::{Mutex, MutexGuard};
use futures_lite::{AsyncRead, AsyncReadExt};
use hyper::http::request::Parts;
use protocol_dav::headers::{Head, Preferences};
use protocol_dav::plan::{self, BodyKind, DAV_CLASSES, Plan, Planner};
use protocol_dav::refusal::{Condition, Refusal, Response};
use storage::{DavDraft, Mailbox, MailboxId};

use crate::api::{Client, Fields, MailboxAccess, authenticate_mailbox};
use crate::app::App;
use crate::task;
use fault::Fault;
pub use mail::run as send_mails;
use session::Session;
use views::Views;
use write::{Content, Decision};

/// Octets of a body that are read at a time.
const PIECE: usize = 64 * 1024;
/// How often a change is decided anew when others keep changing the same trees.
const TRIES_MAX: u32 = 16;
/// Locks that keep requests of one process from making each other's decisions stale. Nothing rests on them.
const STRIPES: usize = 64;
/// A field of answers to those who have not said who they are (RFC 7617 §2.1).
const CHALLENGE: &str = "Basic realm=\"inbox\", charset=\"UTF-8\"";

/// An answer.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its fields, names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// Its content.
    pub body: tide::Body,
}

impl From<Response> for Answer {
    fn from(response: Response) -> Answer {
        let body = match response.body.is_empty() {
            true => tide::Body::empty(),
            false => tide::Body::from_bytes(response.body),
        };
        Answer { status: response.status.0, headers: response.headers, body }
    }
}

/// DAV over HTTP.
pub struct Dav {
    app: Arc<App>,
    stripes: Vec<Mutex<()>>,
    views: Arc<Views>,
}

impl Dav {
    /// Of a server.
    pub fn new(app: Arc<App>) -> Arc<Dav> {
        let stripes = (0..STRIPES).map(|_| Mutex::new(())).collect();
        Arc::new(Dav { app, stripes, views: Arc::default() })
    }

    /// Whether a path is answered here.
    pub fn answers(path: &str) -> bool {
        path == "/dav" || path.starts_with("/dav/") || well_known(path).is_some()
    }

    /// Answers a request whose body is read by `body`.
    pub async fn answer<B>(&self, request: &Parts, announced: u64, body: B, client: Client) -> Answer
    where
        B: AsyncRead + Send + Unpin,
    {
        if let Some(target) = well_known(request.uri.path()) {
            let headers = vec![("location", target.to_owned()), ("cache-control", "no-cache".to_owned())];
            return Answer { status: 301, headers, body: tide::Body::empty() };
        }
        if publish::is_public(request.uri.path()) {
            let answer =
                publish::answer(&self.app.storage, request.method.as_str(), request.uri.path()).await;
            return answer.unwrap_or_else(|fault| fault.response().into());
        }
        let mailbox = match self.mailbox(request, client).await {
            Ok(mailbox) => mailbox,
            Err(answer) => return *answer,
        };
        let fields: Vec<(&str, &[u8])> =
            request.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let host = request.headers.get("host").and_then(|value| value.to_str().ok());
        let host = host.or(request.uri.authority().map(|authority| authority.as_str())).unwrap_or("");
        let head = Head {
            method: request.method.as_str(),
            target: request.uri.path_and_query().map_or("/", |target| target.as_str()),
            host,
            fields: &fields,
            principal: &mailbox.address,
        };
        let base = format!("{}://{host}", if self.is_encrypted(request, client) { "https" } else { "http" });
        let mut answer = match self.carry_out(&head, &base, &mailbox, announced, body).await {
            Ok(answer) => answer,
            Err(fault) => fault.response().into(),
        };
        answer.headers.retain(|(name, _)| *name != "dav");
        answer.headers.push(("dav", DAV_CLASSES.to_owned()));
        if matches!(head.method, "PROPFIND" | "PROPPATCH" | "REPORT" | "MKCOL" | "MKCALENDAR") {
            answer.headers.push(("vary", "Prefer, Brief".to_owned()));
            let applied = Preferences::of(&head).ok().and_then(Preferences::applied);
            if let Some(applied) = applied.filter(|_| answer.status < 300) {
                answer.headers.push(("preference-applied", applied.to_owned()));
            }
        }
        answer
    }

    /// Whether whoever asks has asked over TLS, as far as it can be known.
    fn is_encrypted(&self, request: &Parts, client: Client) -> bool {
        let proto = request.headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
        let forwarded = proto.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"));
        client.tls || (forwarded && self.app.config.http_trusted_proxies.contains(client.peer))
    }

    /// Who asks.
    async fn mailbox(&self, request: &Parts, client: Client) -> Result<Mailbox, Box<Answer>> {
        let field = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        let fields = Fields {
            authorization: field("authorization"),
            forwarded_for: field("x-forwarded-for"),
            forwarded_proto: field("x-forwarded-proto"),
            traceparent: None,
        };
        let refusal = match authenticate_mailbox(&self.app, client, fields).await {
            MailboxAccess::Granted(mailbox) => return Ok(*mailbox),
            MailboxAccess::Unknown => {
                let refusal = Refusal::status(401, "give a mailbox's address and password");
                let mut answer = Answer::from(refusal.response());
                answer.headers.push(("www-authenticate", CHALLENGE.to_owned()));
                return Err(Box::new(answer));
            }
            // Who asked without TLS is not made to send a password.
            MailboxAccess::Insecure => Refusal::status(403, "passwords are taken over TLS only"),
            MailboxAccess::TooMany => Refusal::status(429, "too many requests; try again in a while"),
            MailboxAccess::Unavailable => Refusal::status(503, "log-ins cannot be checked now"),
        };
        let mut answer = Answer::from(refusal.response());
        if matches!(answer.status, 429 | 503) {
            answer.headers.push(("retry-after", "10".to_owned()));
        }
        Err(Box::new(answer))
    }

    async fn carry_out<B>(
        &self,
        head: &Head<'_>,
        base: &str,
        mailbox: &Mailbox,
        announced: u64,
        mut body: B,
    ) -> Result<Answer, Fault>
    where
        B: AsyncRead + Send + Unpin,
    {
        let mut planner = plan::plan(head)?;
        let content = self.content(&mut planner, mailbox, announced, &mut body).await?;
        let storage = &self.app.storage;
        let plan = planner.finish()?;
        match plan {
            Plan::Options(path) => Ok(plan::options(&path).into()),
            Plan::Propfind(_) | Plan::Get(_) | Plan::Report(_) => {
                let session = share::open(storage, &self.views, mailbox, &plan).await?;
                match plan {
                    Plan::Propfind(propfind) => read::propfind(storage, session, propfind).await,
                    Plan::Report(report) => read::report(storage, session, report).await,
                    Plan::Get(get) => read::get(session, &get).await,
                    _ => Err(Refusal::not_found().into()),
                }
            }
            Plan::ScheduleOutbox(_) => {
                let Content::Object(octets) = &content else { return Err(Refusal::not_found().into()) };
                let session = Session::open(storage, mailbox).await?;
                schedule::free_busy(&self.app, &session, octets).await
            }
            plan => self.change(mailbox, base, &plan, content).await,
        }
    }

    /// Reads the body as the plan wants it.
    async fn content<B>(
        &self,
        planner: &mut Planner,
        mailbox: &Mailbox,
        announced: u64,
        body: &mut B,
    ) -> Result<Content, Fault>
    where
        B: AsyncRead + Send + Unpin,
    {
        let mut piece = vec![0; PIECE];
        match planner.body() {
            BodyKind::None | BodyKind::Xml => loop {
                let many = body.read(&mut piece).await.map_err(Fault::Body)?;
                planner.feed(&piece[..many])?;
                if many == 0 {
                    return Ok(Content::None);
                }
            },
            BodyKind::Object(max) => {
                // One octet too many is enough for the check to say so.
                let mut octets = Vec::new();
                let mut limited = body.take(max as u64 + 1);
                limited.read_to_end(&mut octets).await.map_err(Fault::Body)?;
                Ok(Content::Object(octets.into()))
            }
            BodyKind::Stream => {
                let max = self.app.config.http_file_max_bytes;
                let too_large = || Refusal::status(413, "the file is larger than this server keeps");
                if announced > max {
                    return Err(too_large().into());
                }
                let session = Session::open(&self.app.storage, mailbox).await?;
                let quota = session.quota(&self.app.storage).await?;
                if quota.is_some_and(|quota| announced > quota.available) {
                    let condition = Condition::QuotaNotExceeded;
                    return Err(Refusal::condition(condition, "the quota would be exceeded").into());
                }
                let mut spool = self.app.storage.spool_up_to(max);
                loop {
                    let many = body.read(&mut piece).await.map_err(Fault::Body)?;
                    if many == 0 {
                        return Ok(Content::File(self.app.storage.dav_file(mailbox, &spool).await?));
                    }
                    match spool.write(&piece[..many]).await {
                        Ok(()) => {}
                        Err(storage::Error::Refused(_)) => return Err(too_large().into()),
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }

    async fn lock(&self, mailbox: MailboxId) -> Option<MutexGuard<'_, ()>> {
        let stripe = self.stripes.get(usize::from(mailbox.0.0[15]) % STRIPES)?;
        Some(stripe.lock().await)
    }

    /// Carries a change out: decided anew until the trees are what they were when it was decided.
    async fn change(
        &self,
        mailbox: &Mailbox,
        base: &str,
        plan: &Plan,
        content: Content,
    ) -> Result<Answer, Fault> {
        let _one_at_a_time = self.lock(mailbox.id).await;
        let outcome = self.try_change(mailbox, base, plan, &content).await;
        if let (Err(_), Content::File(file)) = (&outcome, content) {
            self.app.storage.dav_discard(file).await;
        }
        outcome
    }

    async fn try_change(
        &self,
        mailbox: &Mailbox,
        base: &str,
        plan: &Plan,
        content: &Content,
    ) -> Result<Answer, Fault> {
        for _ in 0..TRIES_MAX {
            let session = share::open(&self.app.storage, &self.views, mailbox, plan).await?;
            let Decision { answer, drafts } = self.decide(&session, base, plan, content).await?;
            let has_mail = drafts.iter().any(DavDraft::has_mail);
            let effects = drafts.iter().map(DavDraft::effect).collect();
            if drafts.is_empty() || self.app.storage.dav_commit(drafts, content.file()).await? {
                self.views.apply(effects);
                if has_mail {
                    let app = self.app.clone();
                    task::spawn(async move { mail::send_waiting(&app).await }).detach();
                }
                return Ok(answer);
            }
        }
        Err(storage::Error::Unavailable("too many change the same collections".into()).into())
    }

    async fn decide(
        &self,
        session: &Session,
        base: &str,
        plan: &Plan,
        content: &Content,
    ) -> Result<Decision, Fault> {
        let app = &self.app;
        match plan {
            Plan::Put(put) => write::put(app, session, put, content).await,
            Plan::Delete(delete) => write::delete(app, session, delete).await,
            Plan::Make(make) => write::make(session, make).await,
            Plan::Proppatch(patch) => write::proppatch(session, patch).await,
            Plan::Copy(relocate) => write::relocate(session, relocate, false).await,
            Plan::Move(relocate) => write::relocate(session, relocate, true).await,
            Plan::Lock(lock) => write::lock(session, lock).await,
            Plan::Refresh(_) | Plan::Unlock(_) if session.is_lent() => Err(plan::not_allowed().into()),
            Plan::Refresh(refresh) => write::refresh(session, refresh),
            Plan::Unlock(unlock) => write::unlock(session, unlock),
            Plan::Share(share) => share::share(app, session, share).await,
            Plan::Publish(publish) => publish::publish(&app.storage, session, publish, base).await,
            _ => Err(Refusal::status(501, "this is not done here").into()),
        }
    }
}

/// Where a well-known path leads (RFC 6764 §5).
fn well_known(path: &str) -> Option<&'static str> {
    match path.trim_end_matches('/') {
        "/.well-known/caldav" | "/.well-known/carddav" => Some("/dav/"),
        _ => None,
    }
}
