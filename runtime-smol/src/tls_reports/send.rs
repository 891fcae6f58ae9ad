//! When a day is over: its reports are made and sent to the domains that ask for them, and files that nobody
//! needs any more are removed.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use async_lock::Mutex;
use protocol_core::Timestamp;
use protocol_smtp::tlsrpt::{
    Aggregate, Day, Destination, MEDIA_TYPE, Mail, RECORD_PREFIX, Report, destinations,
};
use serde_json::{Value, json};

use super::{ENVID, journal};
use crate::admin::{Context, Failure};
use crate::dns::Resolver;
use crate::https::{self, Fault, Https, Limits, Target};
use crate::reports::files::{self, Mark, Marks};
use crate::reports::{Letter, compressed, hex, key};
use crate::signing::{Signing, sign_whole};
use crate::tls::ClientTls;
use crate::wire::wall_now;

/// How often the running server looks whether there is something to send.
const TICK: Duration = Duration::from_secs(600);
/// Reports go out within this time after their day; when exactly is each server's own, so that not all of the
/// world reports at midnight (RFC 8460 §4.1).
const SPREAD_SECS: u64 = 4 * 3_600;
/// How long a destination that failed is left alone.
const RETRY: Duration = Duration::from_secs(3_600);
/// From the end of a day until destinations that fail are given up.
const GIVE_UP: Duration = Duration::from_secs(48 * 3_600);
/// Days that files are kept (SPEC section 7).
const KEEP_DAYS: i64 = 60;
/// What the answer to a report may take.
const POST_LIMITS: Limits = Limits { octets: 64 * 1024, time: Duration::from_secs(60) };

/// One sender at a time: what one does, another finds marked.
static ALONE: Mutex<()> = Mutex::new(());

/// Makes and sends reports.
pub struct Sender {
    context: Context,
    dir: PathBuf,
    resolver: Arc<Resolver>,
    https: Https,
    signing: Signing,
}

/// What became of one report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// About whom.
    pub domain: String,
    /// Where to.
    pub to: String,
    /// `queued`, `posted`, or why not.
    pub result: String,
}

/// How a destination came out.
enum Outcome {
    /// It has the report, or will never have it; the word for the mark.
    Settled(&'static str),
    /// Not now.
    Failed(String),
}

/// Sends every day's reports for as long as the server runs.
pub async fn run(context: Context) {
    let sender = match Sender::open(context) {
        Ok(Some(sender)) => sender,
        Ok(None) => return,
        Err(why) => return tracing::error!(why, "no TLS reports are sent"),
    };
    let mut not_before: HashMap<Day, Timestamp> = HashMap::new();
    loop {
        if let Err(error) = sender.tick(wall_now(), &mut not_before).await {
            tracing::warn!(dir = %sender.dir.display(), %error, "TLS reports could not be looked after");
        }
        Timer::after(TICK).await;
    }
}

impl Sender {
    /// With resolver, roots and keys of its own. `None`: nothing is noted here.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn open(context: Context) -> Result<Option<Sender>, String> {
        let config = context.config.clone();
        let Some(dir) = config.outbound.tls_report_dir.clone() else { return Ok(None) };
        let resolver = Arc::new(Resolver::open(&config.dns)?);
        let tls = ClientTls::open(config.tls.extra_roots_file.as_deref()).map_err(|e| e.0)?;
        let https = Https::new(resolver.clone(), tls, config.outbound.allow_private_networks);
        let signing = Signing::open(&config.dkim)?;
        Ok(Some(Sender { context, dir, resolver, https, signing }))
    }

    /// Sends what is due, and removes what is old.
    pub(super) async fn tick(
        &self,
        now: Timestamp,
        not_before: &mut HashMap<Day, Timestamp>,
    ) -> io::Result<()> {
        let today = Day::of(now);
        let dir = self.dir.clone();
        let days = blocking::unblock(move || {
            match files::remove_before(&dir, Day(today.0 - KEEP_DAYS))? {
                0 => {}
                removed => tracing::info!(removed, "removed TLS report files past their time"),
            }
            files::days(&dir)
        });
        for day in days.await? {
            let over = Day(day.0 + 1).start();
            let due = over + self.delay(day);
            if day >= today || now < due || not_before.get(&day).is_some_and(|at| now < *at) {
                continue;
            }
            if self.send_day(day, now >= over + GIVE_UP).await?.1 {
                not_before.remove(&day);
            } else {
                not_before.insert(day, now + RETRY);
            }
        }
        Ok(())
    }

    /// When this server reports on a day, after its end.
    fn delay(&self, day: Day) -> Duration {
        let hash = self.key(&[&day.to_string()]);
        let number =
            u64::from_le_bytes([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]]);
        Duration::from_secs(number % SPREAD_SECS)
    }

    /// Sends a day's reports, but for those that are marked as sent. With `last` what fails now is given up. The
    /// second part of the answer is whether the day is done.
    pub async fn send_day(&self, day: Day, last: bool) -> io::Result<(Vec<Sent>, bool)> {
        let _alone = ALONE.lock().await;
        let dir = self.dir.clone();
        let (marks, sum) = blocking::unblock(move || {
            let marks = Marks::read(&dir, day)?;
            let sum = if marks.is_done() { journal::DaySum::default() } else { journal::sum(&dir, day)? };
            io::Result::Ok((marks, sum))
        })
        .await?;
        if marks.is_done() {
            return Ok((Vec::new(), true));
        }
        if sum.damaged > 0 {
            tracing::warn!(%day, lines = sum.damaged, "lines of a TLS report file cannot be read");
        }
        let (mut all, mut done) = (Vec::new(), true);
        for (domain, aggregate) in sum.domains {
            if marks.has(&domain, None) {
                continue;
            }
            let (sent, settled) = self.send_one(day, &domain, &aggregate, &marks).await?;
            all.extend(sent);
            if settled || last {
                self.mark(day, Some(&domain), None, if settled { "done" } else { "given up" }).await?;
            }
            done &= settled || last;
        }
        if done {
            self.mark(day, None, None, "done").await?;
        }
        Ok((all, done))
    }

    /// Sends one domain's report wherever it wants it. The second part of the answer is whether that is settled.
    async fn send_one(
        &self,
        day: Day,
        domain: &str,
        aggregate: &Aggregate,
        marks: &Marks,
    ) -> io::Result<(Vec<Sent>, bool)> {
        let records = match self.resolver.lookup_txt(&format!("{RECORD_PREFIX}{domain}")).await {
            Ok(records) => records,
            Err(why) => {
                tracing::info!(
                    domain,
                    why = why.text(),
                    "it is not known whether a domain wants TLS reports"
                );
                return Ok((Vec::new(), false));
            }
        };
        let wanted = destinations(records.iter().map(String::as_bytes));
        if wanted.is_empty() {
            return Ok((Vec::new(), true));
        }
        let hostname = &self.context.config.server.hostname;
        let report_id = format!("{day}.{}@{hostname}", hex(&self.key(&[&day.to_string(), domain])));
        let report = Report {
            organization: hostname,
            contact: &format!("postmaster@{hostname}"),
            id: &report_id,
            day,
            aggregate,
        };
        let gzip = compressed(report.json()).await?;
        let (mut sent, mut settled) = (Vec::new(), true);
        for destination in wanted {
            let to = match &destination {
                Destination::Mail(address) => format!("mailto:{address}"),
                Destination::Https(url) => url.clone(),
            };
            if marks.has(domain, Some(&to)) {
                continue;
            }
            let outcome = match &destination {
                Destination::Mail(address) => self.mail(day, domain, &report_id, address, &gzip).await,
                Destination::Https(url) => self.post(url, gzip.clone()).await,
            };
            let result = match outcome {
                Outcome::Settled(result) => {
                    self.mark(day, Some(domain), Some(&to), result).await?;
                    tracing::info!(%day, domain, to, result, "a TLS report");
                    result.to_owned()
                }
                Outcome::Failed(why) => {
                    settled = false;
                    tracing::warn!(%day, domain, to, why, "a TLS report could not be sent");
                    why
                }
            };
            sent.push(Sent { domain: domain.to_owned(), to, result });
        }
        Ok((sent, settled))
    }

    async fn mail(&self, day: Day, domain: &str, report_id: &str, to: &str, gzip: &[u8]) -> Outcome {
        let hostname = &self.context.config.server.hostname;
        let storage = &self.context.storage;
        let signer = match self.signing.for_host(storage, hostname).await {
            Ok(Some(signer)) => signer,
            // RFC 8460 §3: without a signature nobody would believe it.
            Ok(None) => return Outcome::Settled("not sent: this host has no DKIM key"),
            Err(error) => return Outcome::Failed(error.to_string()),
        };
        let key = self.key(&[&day.to_string(), domain, to]);
        let now = wall_now();
        let message = Mail {
            submitter: hostname,
            domain,
            id: &hex(&key),
            report_id,
            from: &format!("postmaster@{hostname}"),
            to,
            day,
            gzip,
            now,
        };
        let bytes = sign_whole(&signer, &message.build(), now);
        match (Letter { key, envid: ENVID, to, bytes, hostname, now }.place(storage).await) {
            Ok(true) => {
                (self.context.wake_queue)();
                Outcome::Settled("queued")
            }
            Ok(false) => Outcome::Settled("not sent: there is nobody at this address"),
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }

    async fn post(&self, url: &str, gzip: Vec<u8>) -> Outcome {
        let usable = |t: &Target| t.port == https::PORT || self.https.allows_private();
        let Some(target) = Target::parse(url).filter(usable) else {
            return Outcome::Settled("not sent: the address cannot be used");
        };
        match self.https.post(&target, MEDIA_TYPE, gzip, POST_LIMITS).await {
            Ok(answer) if (200..300).contains(&answer.status) => Outcome::Settled("posted"),
            Ok(answer) => Outcome::Failed(format!("status {}", answer.status)),
            // It was taken, and answered at length.
            Err(Fault::TooLong) => Outcome::Settled("posted"),
            Err(fault) => Outcome::Failed(fault.to_string()),
        }
    }

    async fn mark(&self, day: Day, domain: Option<&str>, to: Option<&str>, result: &str) -> io::Result<()> {
        let mark =
            Mark { domain: domain.map(str::to_owned), to: to.map(str::to_owned), result: result.to_owned() };
        let dir = self.dir.clone();
        blocking::unblock(move || files::mark(&dir, day, &mark)).await
    }

    fn key(&self, parts: &[&str]) -> [u8; 16] {
        key(&self.context.config.server.hostname, parts)
    }
}

/// The days that have files, for the command line.
pub(crate) async fn list(dir: &Path) -> Result<Value, Failure> {
    let dir = dir.to_owned();
    let listed = blocking::unblock(move || {
        let mut all = Vec::new();
        for day in files::days(&dir)? {
            let (sum, marks) = (journal::sum(&dir, day)?, Marks::read(&dir, day)?);
            all.push(json!({
                "day": day.to_string(),
                "sessions": sum.sessions,
                "failures": sum.failures,
                "domains": sum.domains.len(),
                "reports": marks.sent,
                "state": if marks.is_done() { "done" } else { "waiting" },
            }));
        }
        io::Result::Ok(Value::from(all))
    });
    Ok(listed.await?)
}

/// Sends the reports of a day, or of all days that are over, for the command line.
pub(crate) async fn send_now(context: &Context, day: Option<Day>) -> Result<Value, Failure> {
    let today = Day::of(wall_now());
    if day.is_some_and(|day| day >= today) {
        return Err(Failure("a day is reported on when it is over (UTC)".into()));
    }
    let sender = Sender::open(context.clone()).map_err(Failure)?;
    let sender = sender.ok_or_else(|| Failure("SMTP_TLS_REPORT_DIR is not set".into()))?;
    let days = match day {
        Some(day) => vec![day],
        None => {
            let dir = sender.dir.clone();
            blocking::unblock(move || files::days(&dir)).await?
        }
    };
    let mut all = Vec::new();
    for day in days.into_iter().filter(|day| *day < today) {
        let (sent, _) = sender.send_day(day, false).await?;
        let shown =
            |s: Sent| json!({"day": day.to_string(), "domain": s.domain, "to": s.to, "state": s.result});
        all.extend(sent.into_iter().map(shown));
    }
    Ok(Value::from(all))
}
