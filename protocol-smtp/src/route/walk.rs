//! One attempt over the hosts of a destination: who is dialled next, and what remains for it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::mx::Candidate;
use super::tls::{Proceed, TlsDemand, TlsOutcome, after_tls};
use crate::queue::{Failure, Health, Verdict};
use crate::status::Status;

/// One attempt. Every recipient that was answered by a host is settled with that answer: no recipient is
/// tried twice. The others go on to the next host.
#[derive(Clone, Debug)]
pub struct Walk {
    candidates: Vec<Conditioned>,
    /// Which of the candidates is next.
    at: usize,
    /// The next connection goes without TLS to the host that was dialled last.
    plaintext: bool,
    pending: Vec<u16>,
    verdicts: Vec<(u16, Verdict)>,
    last: Option<Failure>,
    health: Health,
    /// The attempt is over, whoever is left.
    over: bool,
}

/// An address, and under what conditions it is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conditioned {
    /// Where to.
    pub candidate: Candidate,
    /// What the connection needs.
    pub demand: TlsDemand,
    /// Which variable would relax the demand ([`HostPlan::variable`](super::posture::HostPlan)); where none
    /// is named, those of the settings are.
    pub variable: Option<&'static str>,
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// Dial this address, for these recipients.
    Dial {
        /// Where to.
        candidate: Candidate,
        /// Under what conditions.
        demand: TlsDemand,
        /// Do not start TLS: it broke on the connection before, and plaintext is allowed.
        plaintext: bool,
        /// Who is left.
        recipients: Vec<u16>,
        /// Further addresses of the same host under the same conditions: dialled too when the first does not
        /// connect soon (RFC 8305 §5). What becomes of each is told to [`Walk::not_connected`] and
        /// [`Walk::connected`].
        others: Vec<Candidate>,
    },
    /// The attempt is over: report this to the queue.
    Finish {
        /// One for each recipient.
        verdicts: Vec<(u16, Verdict)>,
        /// How the destination behaved.
        health: Health,
    },
}

/// What became of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostResult {
    /// It could not be made (refused, unreachable, too slow).
    NoConnection(String),
    /// TLS came out so that [`after_tls`] does not let it go on; the text names the check that failed.
    Tls(TlsOutcome, String),
    /// The session ended before the first recipient was answered: greeting, EHLO or AUTH refused, connection
    /// lost, protocol broken.
    NoSession(Failure),
    /// The host lacks what the message needs ([`Missing`](crate::client::Missing)); another may have it.
    Lacks(Failure),
    /// The session got as far as recipients. Those not mentioned go on to the next host.
    Answered {
        /// One for each recipient that was settled.
        verdicts: Vec<(u16, Verdict)>,
        /// How the host behaved.
        health: Health,
    },
    /// Stop here: the process is shutting down. Those left were not tried by anyone.
    Stopped,
}

impl Walk {
    /// At the first candidate, one demand for all. `candidates` is not empty, as
    /// [`candidates`](super::candidates) gives it.
    pub fn new(candidates: Vec<Candidate>, demand: TlsDemand, recipients: &[u16]) -> Walk {
        let conditioned = |candidate| Conditioned { candidate, demand, variable: None };
        Walk::conditioned(candidates.into_iter().map(conditioned).collect(), recipients)
    }

    /// At the first candidate, each under its own conditions.
    pub fn conditioned(candidates: Vec<Conditioned>, recipients: &[u16]) -> Walk {
        Walk {
            candidates,
            at: 0,
            plaintext: false,
            pending: Vec::from(recipients),
            verdicts: Vec::new(),
            last: None,
            health: Health::Unreachable,
            over: false,
        }
    }

    /// An attempt that ends before anything is dialled: routing failed for all alike.
    pub fn failed(failure: &Failure, recipients: &[u16]) -> Next {
        let verdicts = recipients.iter().map(|r| (*r, verdict_of(failure.clone()))).collect();
        // A domain that does not exist is not down: its jobs are settled as fast as they come.
        let health = if failure.status.class == 5 { Health::Good } else { Health::Unreachable };
        Next::Finish { verdicts, health }
    }

    /// What to do now. The same until [`Walk::report`] is called.
    pub fn next(&self) -> Next {
        match self.candidates.get(self.at) {
            Some(to) if !self.pending.is_empty() && !self.over => Next::Dial {
                candidate: to.candidate.clone(),
                demand: to.demand,
                plaintext: self.plaintext,
                recipients: self.pending.clone(),
                others: if self.plaintext { Vec::new() } else { self.others(to) },
            },
            _ => self.finish(),
        }
    }

    fn others(&self, first: &Conditioned) -> Vec<Candidate> {
        let behind = self.candidates.iter().skip(self.at + 1);
        let same = behind.take_while(|c| {
            c.candidate.host == first.candidate.host
                && (c.demand, c.variable) == (first.demand, first.variable)
        });
        same.map(|c| c.candidate.clone()).collect()
    }

    /// One of the addresses that [`Walk::next`] named could not be connected to: it is not named again.
    pub fn not_connected(&mut self, to: &Candidate, why: &str) {
        let Some(at) = self.position(to) else { return };
        self.candidates.remove(at);
        if at == self.at {
            self.plaintext = false;
        }
        let reply = format!("{} [{}]: {why}", to.host, to.address);
        self.remember(Failure { status: Status::NO_ANSWER, reply });
    }

    /// This one of the addresses that [`Walk::next`] named is the one that connected: what is reported next is
    /// of it. Those that were passed over keep their turn.
    pub fn connected(&mut self, to: &Candidate) {
        if let Some(at) = self.position(to) {
            self.candidates[self.at..=at].rotate_right(1);
        }
    }

    fn position(&self, to: &Candidate) -> Option<usize> {
        (self.at..self.candidates.len()).find(|at| self.candidates[*at].candidate == *to)
    }

    /// What became of the connection that [`Walk::next`] asked for.
    pub fn report(&mut self, result: HostResult) {
        let Some(Conditioned { candidate, demand, variable }) = self.candidates.get(self.at) else { return };
        let (demand, variable) = (*demand, *variable);
        let host = format!("{} [{}]", candidate.host, candidate.address);
        match result {
            HostResult::NoConnection(why) => {
                let reply = format!("{host}: {why}");
                self.go_on(Failure { status: Status::NO_ANSWER, reply });
            }
            HostResult::Tls(outcome, why) => {
                self.report_tls(after_tls(demand, outcome), variable, format!("{host}: {why}"));
            }
            HostResult::NoSession(failure) => {
                self.health = Health::Busy;
                self.go_on(failure);
            }
            HostResult::Lacks(failure) => {
                self.health = Health::Good;
                self.go_on(failure);
            }
            HostResult::Answered { verdicts, health } => {
                self.health = health;
                for (index, verdict) in verdicts {
                    self.settle(index, verdict);
                }
                let reply = format!("{host}: the session ended before this recipient's turn");
                self.go_on(Failure { status: Status::BAD_CONNECTION, reply });
            }
            HostResult::Stopped => self.over = true,
        }
    }

    fn report_tls(&mut self, proceed: Proceed, variable: Option<&str>, text: String) {
        self.health = Health::Good; // it is there; what is wrong with it is no reason for fewer connections
        match proceed {
            Proceed::Plaintext if !self.plaintext => self.plaintext = true,
            Proceed::Defer(status) => {
                let variable = match variable {
                    Some(variable) => variable,
                    None if status == Status::NO_TLS => {
                        "SMTP_OUTBOUND_TLS_MODE, SMTP_OUTBOUND_REQUIRE_STARTTLS"
                    }
                    None => "SMTP_OUTBOUND_ALLOW_INVALID_CERTS, SMTP_OUTBOUND_TLS_MODE",
                };
                self.go_on(Failure { status, reply: format!("{text} ({variable})") });
            }
            Proceed::Plaintext | Proceed::GoOn => {
                self.go_on(Failure { status: Status::BAD_CONNECTION, reply: text });
            }
        }
    }

    fn settle(&mut self, index: u16, verdict: Verdict) {
        if verdict == Verdict::NotTried || !self.pending.contains(&index) {
            return;
        }
        self.pending.retain(|i| *i != index);
        self.verdicts.push((index, verdict));
    }

    fn go_on(&mut self, failure: Failure) {
        self.remember(failure);
        self.plaintext = false;
        self.at += 1;
    }

    /// A TLS failure is kept over one of the network that comes later: it is the one to be cured.
    fn remember(&mut self, failure: Failure) {
        let keep = self.last.as_ref().is_some_and(|f| f.status.subject == 7) && failure.status.subject != 7;
        if !keep {
            self.last = Some(failure);
        }
    }

    fn finish(&self) -> Next {
        let mut verdicts = self.verdicts.clone();
        let rest = match &self.last {
            Some(failure) if !self.over => verdict_of(failure.clone()),
            _ => Verdict::NotTried,
        };
        verdicts.extend(self.pending.iter().map(|index| (*index, rest.clone())));
        Next::Finish { verdicts, health: self.health }
    }
}

fn verdict_of(failure: Failure) -> Verdict {
    if failure.status.class == 5 { Verdict::Permanent(failure) } else { Verdict::Temporary(failure) }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
