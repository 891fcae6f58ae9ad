//! check_host() (RFC 7208 §4): mechanisms in order, includes and redirects, and all limits.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use protocol_core::auth::{Spf, SpfResult};

use super::macros::{MacroString, Values};
use super::record::{Directive, Mechanism, Prefix, Record, is_spf};
use super::{Answer, Query, Question, Step};

/// Terms that ask DNS, in one check (RFC 7208 §4.6.4).
pub const LOOKUPS_MAX: u32 = 10;
/// Terms to which DNS answers that there is nothing (RFC 7208 §4.6.4).
pub const VOIDS_MAX: u32 = 2;
/// Mail exchangers of one `mx` (RFC 7208 §4.6.4).
pub const MX_HOSTS_MAX: usize = 10;
/// Names of the client's address that are looked at (RFC 7208 §4.6.4).
pub const PTR_NAMES_MAX: usize = 10;

/// One check as it goes on.
#[derive(Clone, Debug)]
pub struct Check {
    query: Query,
    answers: BTreeMap<Question, Answer>,
}

impl Check {
    /// Begins a check. An IPv4 address mapped into IPv6 counts as IPv4; an empty local part is `postmaster`
    /// (RFC 7208 §4.3, §5).
    pub fn new(mut query: Query) -> Check {
        query.ip = query.ip.to_canonical();
        query.domain = query.domain.strip_suffix('.').unwrap_or(&query.domain).to_ascii_lowercase();
        if query.local.is_empty() {
            query.local = "postmaster".into();
        }
        Check { query, answers: BTreeMap::new() }
    }

    /// What is needed next, or the result.
    pub fn poll(&self) -> Step {
        let mut run = Run { query: &self.query, answers: &self.answers, lookups: 0, voids: 0 };
        match run.whole() {
            Ok(found) => Step::Done(self.done(found.result, found.matched, found.explanation, None)),
            Err(Stop::Ask(question)) => Step::Ask(question),
            Err(Stop::Temp(why)) => Step::Done(self.done(SpfResult::TempError, None, None, Some(why))),
            Err(Stop::Perm(why)) => Step::Done(self.done(SpfResult::PermError, None, None, Some(why))),
        }
    }

    /// Remembers what DNS said. Names and addresses that are too many for any use are cut off.
    pub fn answer(&mut self, question: Question, answer: Answer) {
        self.answers.insert(question, answer);
    }

    /// The result when the time is over (RFC 7208 §4.6.4: at least 20 seconds).
    pub fn timed_out(&self) -> Spf {
        self.done(SpfResult::TempError, None, None, Some("the time for DNS is over".into()))
    }

    fn done(
        &self,
        result: SpfResult,
        mechanism: Option<String>,
        explanation: Option<String>,
        problem: Option<String>,
    ) -> Spf {
        let domain = self.query.domain.clone();
        Spf { identity: self.query.identity, domain, result, mechanism, explanation, problem }
    }
}

/// Why an evaluation does not go on.
enum Stop {
    Ask(Question),
    Temp(String),
    Perm(String),
}

/// What check_host() found.
struct Found {
    result: SpfResult,
    matched: Option<String>,
    explanation: Option<String>,
}

impl Found {
    fn nothing() -> Found {
        Found { result: SpfResult::None, matched: None, explanation: None }
    }
}

/// One evaluation with the answers known so far.
struct Run<'a> {
    query: &'a Query,
    answers: &'a BTreeMap<Question, Answer>,
    lookups: u32,
    voids: u32,
}

impl<'a> Run<'a> {
    fn whole(&mut self) -> Result<Found, Stop> {
        if !is_domain(&self.query.domain) {
            return Ok(Found::nothing());
        }
        self.check_host(&self.query.domain.clone(), true)
    }

    /// check_host() for `domain`; only the outermost (and what it redirects to) explains itself (RFC 7208 §6.2).
    fn check_host(&mut self, domain: &str, explains: bool) -> Result<Found, Stop> {
        let Some(text) = self.record(domain)? else { return Ok(Found::nothing()) };
        let record = Record::read(&text).map_err(|why| Stop::Perm(format!("{domain}: {why}")))?;
        for directive in &record.directives {
            if self.matches(directive, domain)? {
                let explanation = match (&record.explanation, directive.result) {
                    (Some(spec), SpfResult::Fail) if explains => self.explain(spec, domain)?,
                    _ => None,
                };
                let matched = Some(directive.text.clone());
                return Ok(Found { result: directive.result, matched, explanation });
            }
        }
        let Some(target) = &record.redirect else {
            return Ok(Found {
                result: SpfResult::Neutral,
                matched: Some("default".into()),
                explanation: None,
            });
        };
        self.count_lookup()?;
        let target = self.name(target, domain)?;
        if !is_domain(&target) {
            return Err(Stop::Perm(format!("{domain}: redirect to what is no domain")));
        }
        match self.check_host(&target, explains)? {
            Found { result: SpfResult::None, .. } => {
                Err(Stop::Perm(format!("{domain}: redirect to {target}, which has no record")))
            }
            found => Ok(found),
        }
    }

    /// The one SPF record of a domain (RFC 7208 §4.5).
    fn record(&mut self, domain: &str) -> Result<Option<Cow<'a, [u8]>>, Stop> {
        let texts = match self.ask(Question::Txt(domain.to_owned()))? {
            Answer::Txt(texts) => texts,
            Answer::Failed => return Err(Stop::Temp(format!("no answer from DNS about {domain}"))),
            _ => return Ok(None),
        };
        let mut records = texts.iter().filter(|t| is_spf(t));
        match (records.next(), records.next()) {
            (_, Some(_)) => Err(Stop::Perm(format!("{domain} has more than one SPF record"))),
            (record, None) => Ok(record.map(|r| Cow::Borrowed(r.as_slice()))),
        }
    }

    fn matches(&mut self, directive: &Directive, domain: &str) -> Result<bool, Stop> {
        let ip = self.query.ip;
        match &directive.mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip(network, bits) => Ok(super::record::within(*network, ip, *bits)),
            Mechanism::Include(spec) => {
                self.count_lookup()?;
                let target = self.name(spec, domain)?;
                self.include(&target, domain)
            }
            Mechanism::A(spec, prefix) => {
                self.count_lookup()?;
                let target = self.target(spec.as_ref(), domain)?;
                let addresses = self.addresses(&target, ip.is_ipv4())?;
                self.count_void(addresses.is_empty())?;
                Ok(any_within(addresses, ip, *prefix))
            }
            Mechanism::Mx(spec, prefix) => {
                self.count_lookup()?;
                let target = self.target(spec.as_ref(), domain)?;
                self.mx(&target, *prefix)
            }
            Mechanism::Ptr(spec) => {
                self.count_lookup()?;
                let target = self.target(spec.as_ref(), domain)?;
                let names = self.validated_names(true)?;
                Ok(names.iter().any(|name| is_at_or_below(name, &target)))
            }
            Mechanism::Exists(spec) => {
                self.count_lookup()?;
                let target = self.name(spec, domain)?;
                let addresses = self.addresses(&target, true)?;
                self.count_void(addresses.is_empty())?;
                Ok(!addresses.is_empty())
            }
        }
    }

    /// RFC 7208 §5.2.
    fn include(&mut self, target: &str, domain: &str) -> Result<bool, Stop> {
        let found = if is_domain(target) { self.check_host(target, false)? } else { Found::nothing() };
        match found.result {
            SpfResult::Pass => Ok(true),
            SpfResult::None => Err(Stop::Perm(format!("{domain}: include of {target}, which has no record"))),
            _ => Ok(false),
        }
    }

    /// RFC 7208 §5.4.
    fn mx(&mut self, target: &str, prefix: Prefix) -> Result<bool, Stop> {
        let hosts = match self.ask_name(target, Question::Mx)? {
            Answer::Mx(hosts) => hosts.as_slice(),
            Answer::Failed => return Err(Stop::Temp(format!("no answer from DNS about {target}"))),
            _ => &[],
        };
        if hosts.len() > MX_HOSTS_MAX {
            return Err(Stop::Perm(format!("{target} has more than {MX_HOSTS_MAX} mail exchangers")));
        }
        // One void for the term, however many of its hosts lack an address of the client's family.
        let mut void = hosts.is_empty();
        for host in hosts {
            let addresses = self.addresses(host, self.query.ip.is_ipv4())?;
            void |= addresses.is_empty();
            if any_within(addresses, self.query.ip, prefix) {
                return Ok(true);
            }
        }
        self.count_void(void)?;
        Ok(false)
    }

    /// Names of the client's address that lead back to it (RFC 7208 §5.5); failures of DNS count as none.
    fn validated_names(&mut self, counts_void: bool) -> Result<Vec<String>, Stop> {
        let names = match self.ask(Question::Ptr(self.query.ip))? {
            Answer::Names(names) => names.as_slice(),
            Answer::Void if counts_void => {
                self.count_void(true)?;
                &[]
            }
            _ => &[],
        };
        let mut validated = Vec::new();
        for name in names.iter().take(PTR_NAMES_MAX) {
            match self.addresses(name, self.query.ip.is_ipv4()) {
                Ok(addresses) if addresses.contains(&self.query.ip) => {
                    validated.push(name.to_ascii_lowercase())
                }
                Ok(_) | Err(Stop::Temp(_)) => {}
                Err(stop) => return Err(stop),
            }
        }
        Ok(validated)
    }

    fn addresses(&mut self, name: &str, v4: bool) -> Result<&'a [IpAddr], Stop> {
        let question = if v4 { Question::A } else { Question::Aaaa };
        match self.ask_name(name, question)? {
            Answer::Addresses(addresses) => Ok(addresses),
            Answer::Failed => Err(Stop::Temp(format!("no answer from DNS about {name}"))),
            _ => Ok(&[]),
        }
    }

    /// The explanation, when there is one that can be had; nothing about it changes the result (RFC 7208 §6.2).
    fn explain(&mut self, spec: &MacroString, domain: &str) -> Result<Option<String>, Stop> {
        let name = self.name(spec, domain)?;
        let text = match self.ask_name(&name, Question::Txt)? {
            Answer::Txt(texts) => match texts.as_slice() {
                [one] => one,
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let text = std::str::from_utf8(text).ok().filter(|t| t.is_ascii());
        let Some(Ok(explanation)) = text.map(MacroString::explanation) else { return Ok(None) };
        let validated = self.validated_name(&explanation, domain)?;
        let expanded = explanation.expand_text(&self.values(domain, &validated));
        // The local part and the HELO name are the client's own words.
        Ok(Some(expanded).filter(|t| t.bytes().all(|b| (b' '..=b'~').contains(&b))))
    }

    fn target(&mut self, spec: Option<&MacroString>, domain: &str) -> Result<String, Stop> {
        match spec {
            Some(spec) => self.name(spec, domain),
            None => Ok(domain.to_owned()),
        }
    }

    fn name(&mut self, spec: &MacroString, domain: &str) -> Result<String, Stop> {
        let validated = self.validated_name(spec, domain)?;
        Ok(spec.expand_name(&self.values(domain, &validated)))
    }

    /// The value of `p`: the domain itself, else a name below it, else any (RFC 7208 §7.3).
    fn validated_name(&mut self, spec: &MacroString, domain: &str) -> Result<String, Stop> {
        if !spec.needs_validated_name() {
            return Ok(String::new());
        }
        let names = self.validated_names(false)?;
        let exact = names.iter().find(|name| *name == domain);
        let below = || names.iter().find(|name| is_at_or_below(name, domain));
        Ok(exact.or_else(below).or(names.first()).map_or_else(|| "unknown".into(), String::clone))
    }

    fn values<'v>(&'v self, domain: &'v str, validated: &'v str) -> Values<'v> {
        Values {
            local: &self.query.local,
            sender_domain: &self.query.domain,
            domain,
            ip: self.query.ip,
            helo: &self.query.helo,
            receiver: &self.query.receiver,
            now_secs: self.query.now_secs,
            validated,
        }
    }

    fn count_lookup(&mut self) -> Result<(), Stop> {
        self.lookups += 1;
        if self.lookups > LOOKUPS_MAX {
            return Err(Stop::Perm(format!("more than {LOOKUPS_MAX} terms that ask DNS")));
        }
        Ok(())
    }

    fn count_void(&mut self, void: bool) -> Result<(), Stop> {
        self.voids += u32::from(void);
        if self.voids > VOIDS_MAX {
            return Err(Stop::Perm(format!("more than {VOIDS_MAX} look-ups that found nothing")));
        }
        Ok(())
    }

    /// A name that cannot be asked for does not exist.
    fn ask_name(&self, name: &str, question: fn(String) -> Question) -> Result<&'a Answer, Stop> {
        let name = name.strip_suffix('.').unwrap_or(name);
        if !can_be_asked(name) {
            return Ok(&Answer::Void);
        }
        self.ask(question(name.to_ascii_lowercase()))
    }

    fn ask(&self, question: Question) -> Result<&'a Answer, Stop> {
        self.answers.get(&question).ok_or(Stop::Ask(question))
    }
}

fn any_within(addresses: &[IpAddr], ip: IpAddr, prefix: Prefix) -> bool {
    addresses.iter().any(|a| prefix.matches(*a, ip))
}

fn is_at_or_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

/// Whether a name has the lengths that DNS can carry.
fn can_be_asked(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()))
}

/// Whether something is a domain with at least two labels (RFC 7208 §4.3).
fn is_domain(name: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    can_be_asked(name) && name.contains('.') && name.bytes().all(|b| b == b'.' || fine(b))
}

#[cfg(test)]
mod tests;
