//! When a day is over: its reports are made and sent to the domains that ask for them.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_io::Timer;
use async_lock::Mutex;
use message_auth::Verifier;
use message_auth::aggregate::{Aggregate, Observation, ReportPolicy, Reporter};
use protocol_core::Timestamp;
use protocol_smtp::dmarc::AggregateMail;
use protocol_smtp::tlsrpt::Day;
use serde_json::{Value, json};

use super::ENVID;
use crate::admin::{Context, Failure};
use crate::reports::files::{self, Mark, Marks};
use crate::reports::{Letter, compressed, hex, key};
use crate::signing::{Signing, sign_whole};
use crate::smtp::open_verifier;
use crate::wire::{monotonic_now, wall_now};

/// How often the running server looks whether there is something to send.
const TICK: Duration = Duration::from_secs(600);
/// Reports go out within this time after their day; when exactly is each server's own.
const SPREAD_SECS: u64 = 4 * 3_600;
/// How long a day with failures is left alone.
const RETRY: Duration = Duration::from_secs(3_600);
/// From the end of a day until what fails is given up.
const GIVE_UP: Duration = Duration::from_secs(48 * 3_600);
/// How long one run asks where reports go: slow name servers of some do not hold up the reports of all. What was not
/// asked is asked by the next run.
const ASKING: Duration = Duration::from_secs(3_600);
/// Days that files are kept.
const KEEP_DAYS: i64 = 60;

/// One sender at a time: what one does, another finds marked.
static ALONE: Mutex<()> = Mutex::new(());

/// Makes and sends reports.
pub struct Sender {
    context: Context,
    dir: PathBuf,
    verifier: Verifier,
    signing: Signing,
}

/// What became of one report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// About whom.
    pub domain: String,
    /// Where to.
    pub to: String,
    /// `queued`, or why not.
    pub result: String,
}

/// Sends every day's reports for as long as the server runs.
pub async fn run(context: Context) {
    let sender = match Sender::open(context) {
        Ok(Some(sender)) => sender,
        Ok(None) => return,
        Err(why) => return tracing::error!(why, "no DMARC reports are sent"),
    };
    let mut not_before: HashMap<Day, Timestamp> = HashMap::new();
    loop {
        if let Err(error) = sender.tick(wall_now(), &mut not_before).await {
            tracing::warn!(dir = %sender.dir.display(), %error, "DMARC reports could not be looked after");
        }
        Timer::after(TICK).await;
    }
}

impl Sender {
    /// `None`: nothing is noted here.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn open(context: Context) -> Result<Option<Sender>, String> {
        let Some(dir) = context.config.auth.dmarc_report_dir.clone() else { return Ok(None) };
        let verifier = open_verifier(&context.config.dns)?;
        let signing = Signing::open(&context.config.dkim)?;
        Ok(Some(Sender { context, dir, verifier, signing }))
    }

    /// Sends what is due, and removes what is old.
    async fn tick(&self, now: Timestamp, not_before: &mut HashMap<Day, Timestamp>) -> io::Result<()> {
        let today = Day::of(now);
        let dir = self.dir.clone();
        let days = blocking::unblock(move || {
            files::remove_before(&dir, Day(today.0 - KEEP_DAYS))?;
            files::days(&dir)
        });
        for day in days.await? {
            let over = Day(day.0 + 1).start();
            let [a, b, ..] = self.key(&[&day.to_string()]);
            let due = over + Duration::from_secs(u64::from(u16::from_le_bytes([a, b])) % SPREAD_SECS);
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

    /// Sends a day's reports, but for those that are marked as sent. With `last` what fails now is given up. The
    /// second part of the answer is whether the day is done.
    pub async fn send_day(&self, day: Day, last: bool) -> io::Result<(Vec<Sent>, bool)> {
        let _alone = ALONE.lock().await;
        let dir = self.dir.clone();
        let (marks, (sum, damaged)) = blocking::unblock(move || {
            let marks = Marks::read(&dir, day)?;
            let sum = if marks.is_done() { (Aggregate::default(), 0) } else { sum(&dir, day)? };
            io::Result::Ok((marks, sum))
        })
        .await?;
        if marks.is_done() {
            return Ok((Vec::new(), true));
        }
        if damaged > 0 {
            tracing::warn!(%day, lines = damaged, "lines of a DMARC report file cannot be read");
        }
        // Domains under one policy are told of in one report.
        let mut policies: BTreeMap<String, (ReportPolicy, Vec<&str>)> = BTreeMap::new();
        let mut done = true;
        let began = monotonic_now();
        for domain in sum.domains() {
            if monotonic_now().since(began) > ASKING {
                tracing::warn!(%day, "it takes too long to ask where DMARC reports go");
                done = last;
                break;
            }
            match self.verifier.report_policy(domain.to_owned()).await {
                Ok(Some(policy)) => {
                    let entry = policies.entry(policy.domain.clone());
                    entry.or_insert_with(|| (policy, Vec::new())).1.push(domain);
                }
                Ok(None) => {}
                Err(()) => {
                    tracing::info!(domain, "it is not known where DMARC reports go");
                    done = last;
                }
            }
        }
        let mut all = Vec::new();
        for (policy, domains) in policies.values() {
            for to in &policy.to {
                if marks.has(&policy.domain, Some(to)) {
                    continue;
                }
                let (result, settled) = match self.mail(day, &sum, policy, domains, to).await {
                    Ok(result) => (result.to_owned(), true),
                    Err(error) => (error.to_string(), false),
                };
                if settled || last {
                    self.mark(day, Some(&policy.domain), Some(to), &result).await?;
                }
                done &= settled || last;
                tracing::info!(%day, domain = policy.domain, to, result, "a DMARC report");
                all.push(Sent { domain: policy.domain.clone(), to: to.clone(), result });
            }
        }
        if done {
            self.mark(day, None, None, "done").await?;
        }
        Ok((all, done))
    }

    async fn mail(
        &self,
        day: Day,
        sum: &Aggregate,
        policy: &ReportPolicy,
        domains: &[&str],
        to: &str,
    ) -> storage::Result<&'static str> {
        let hostname = &self.context.config.server.hostname;
        let storage = &self.context.storage;
        // RFC 9990 §3.5.2: without a signature that is aligned with it nobody would believe it.
        let Some(signer) = self.signing.for_host(storage, hostname).await? else {
            return Ok("not sent: this host has no DKIM key");
        };
        let key = self.key(&[&day.to_string(), &policy.domain, to]);
        let reporter = Reporter {
            host: hostname,
            address: &format!("postmaster@{hostname}"),
            id: &format!("{day}.{}@{hostname}", hex(&key)),
        };
        let seconds = |at: Timestamp| u64::try_from(at.secs()).unwrap_or_default();
        let time = (seconds(day.start()), seconds(day.last_second()));
        let Some(xml) = sum.report(&policy.domain, domains, reporter, time) else {
            return Ok("not sent: there is nothing to tell");
        };
        let gzip = compressed(xml).await.map_err(|e| storage::Error::Unavailable(e.to_string()))?;
        let now = wall_now();
        let message = AggregateMail {
            submitter: hostname,
            domain: &policy.domain,
            id: &hex(&key),
            report_id: reporter.id,
            from: reporter.address,
            to,
            time,
            gzip: &gzip,
            now,
        };
        let bytes = sign_whole(&signer, &message.build(), now);
        match (Letter { key, envid: ENVID, to, bytes, hostname, now }).place(storage).await? {
            true => {
                (self.context.wake_queue)();
                Ok("queued")
            }
            false => Ok("not sent: there is nobody at this address"),
        }
    }

    async fn mark(&self, day: Day, domain: Option<&str>, to: Option<&str>, result: &str) -> io::Result<()> {
        let mark =
            Mark { domain: domain.map(str::to_owned), to: to.map(str::to_owned), result: result.to_owned() };
        let dir = self.dir.clone();
        blocking::unblock(move || files::mark(&dir, day, &mark)).await
    }

    fn key(&self, parts: &[&str]) -> [u8; 16] {
        key(&self.context.config.server.hostname, &[&[ENVID], parts].concat())
    }
}

/// Adds up a day, and counts lines that cannot be read. Blocks.
fn sum(dir: &Path, day: Day) -> io::Result<(Aggregate, u64)> {
    let (mut sum, mut damaged) = (Aggregate::default(), 0);
    files::lines(&files::day_file(dir, day), |line| {
        match std::str::from_utf8(line).ok().and_then(Observation::parse) {
            Some(observation) => sum.add(observation),
            None => damaged += u64::from(line != b"\n"),
        }
    })?;
    Ok((sum, damaged))
}

/// The days that have files, for the command line.
pub(crate) async fn list(dir: &Path) -> Result<Value, Failure> {
    let dir = dir.to_owned();
    let listed = blocking::unblock(move || {
        let mut all = Vec::new();
        for day in files::days(&dir)? {
            let ((sum, _), marks) = (sum(&dir, day)?, Marks::read(&dir, day)?);
            all.push(json!({
                "day": day.to_string(),
                "domains": sum.domains().len(),
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
    let sender = sender.ok_or_else(|| Failure("SMTP_DMARC_REPORT_DIR is not set".into()))?;
    let dir = sender.dir.clone();
    let days = match day {
        Some(day) => vec![day],
        None => blocking::unblock(move || files::days(&dir)).await?,
    };
    let mut all = Vec::new();
    for day in days.into_iter().filter(|day| *day < today) {
        let (sent, _) = sender.send_day(day, false).await?;
        all.extend(
            sent.into_iter()
                .map(|s| json!({"day": day.to_string(), "domain": s.domain, "to": s.to, "state": s.result})),
        );
    }
    Ok(Value::from(all))
}
