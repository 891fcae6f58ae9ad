//! Planted faults: each breaks one rule where the simulator's shell meets the product's code, and each must be
//! found.

use protocol_core::Timestamp;
use protocol_core::time::Duration;
use protocol_smtp::queue::{DsnDuty, Effect, Job as QueueJob, Notify, Policy, Settlement, State, Verdict};

use crate::rng::Rng;
use crate::setup::{Act, Clocks, Limits, Setup};
use crate::world::SECOND;

macro_rules! mutants {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A planted fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[$doc])* $variant,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Mutant] = &[$(Mutant::$variant),*];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Mutant::$variant => $name,)*
                }
            }

            /// By name.
            pub fn named(name: &str) -> Option<Mutant> {
                Mutant::ALL.iter().copied().find(|m| m.name() == name)
            }
        }
    };
}

mutants! {
    /// A result is written under whatever epoch is current.
    NoFence = "no-fence",
    /// A claim does not raise the epoch.
    EpochNotRaised = "epoch-not-raised",
    /// A client is told that its message is accepted before the commit is made.
    AckBeforeCommit = "ack-before-commit",
    /// Leases are judged by a wall clock that steps.
    WallClockLease = "wall-clock-lease",
    /// A lease is taken over when half of it is left.
    TakeoverTooSoon = "takeover-too-soon",
    /// A lease counts for its whole length, though the clock that counts it may be slow.
    LeaseNotShortened = "lease-not-shortened",
    /// The lease is prolonged and the dot not recorded.
    NoDotRecord = "no-dot-record",
    /// The store's time is taken over at claims only, however long ago the last one was.
    StoreClockStale = "store-clock-stale",
    /// The store's time is counted on from when its answer was heard, and not from before it was asked.
    StoreClockLate = "store-clock-late",
    /// The dot is written while its record is on its way.
    ProceedBeforeDurable = "proceed-before-durable",
    /// The word to write the dot is taken however old it is.
    ProceedUnlooked = "proceed-unlooked",
    /// A permanent failure counts as a temporary one.
    RetryPermanent = "retry-of-550",
    /// Two notifications instead of one.
    TwoDsns = "two-dsns",
    /// A null sender is told.
    DsnForNullSender = "dsn-for-null-sender",
    /// NOTIFY=NEVER is not read.
    NeverIgnored = "notify-never-ignored",
    /// The notice of delay goes with every failure.
    DelayEachTime = "delay-each-time",
    /// The last of several recipients is left out of a settlement.
    LostRecipient = "lost-recipient",
    /// After a success the job is given back instead of written.
    ReleaseAfterSuccess = "release-after-success",
    /// The first recipient's verdict counts for all.
    OneVerdict = "one-verdict-for-all",
    /// Leases are not renewed.
    NoRenewal = "no-renewal",
    /// A renewal that was refused counts as done.
    RenewalIgnoresStale = "renewal-ignores-stale",
    /// What a holder that died had in hand counts as delivered.
    CrashAsDelivered = "crash-as-delivered",
    /// Doubt counts as a permanent failure.
    DoubtAsPermanent = "doubt-as-permanent",
    /// Doubt counts as delivered.
    DoubtAsDelivered = "doubt-as-delivered",
    /// Doubt counts as an ordinary failure.
    DoubtForgotten = "doubt-forgotten",
    /// An unknown outcome of a submission counts as a failure: the same message is queued again.
    UnknownResubmitted = "unknown-resubmitted",
    /// Revisions do not guard writes.
    NoWriteGuard = "no-write-guard",
    /// The due index is not kept.
    DueForgotten = "due-forgotten",
    /// Retries come at once.
    NoBackoff = "no-backoff",
    /// Messages live for ever.
    TtlIgnored = "ttl-ignored",
    /// The number of attempts has no limit.
    AttemptsUnlimited = "attempts-unlimited",
    /// One claim starts two attempts.
    ClaimedTwice = "claimed-twice",
    /// Attempts to one destination have no limit.
    DestinationUnlimited = "destination-unlimited",
    /// Jobs held at once have no limit.
    HeldUnlimited = "held-unlimited",
    /// Delivery records are left out.
    RecordMissing = "record-missing",
    /// A job is sent with another message's octets.
    WrongBody = "wrong-body",
    /// Writing the dot counts as delivery, whatever the reply.
    DotIsDelivery = "dot-is-delivery",
    /// Quotas are looked at first and counted later, in a write of their own.
    CountThenInsert = "count-then-insert",
    /// A node goes by the quotas that it saw first.
    QuotaRemembered = "quota-remembered",
    /// Who is suppressed is not looked up.
    SuppressionUnlooked = "suppression-unlooked",
    /// Who is suppressed is looked up when a job is claimed, and not when it is tried.
    SuppressionAtClaim = "suppression-at-claim",
    /// A job is cancelled although its final dot was announced.
    CancelAfterDot = "cancel-after-dot",
    /// The sender of a cancelled job is told that it failed.
    CancelTold = "cancel-told",
    /// A cancelled job keeps its place among those that are queued.
    CancelKeepsPlace = "cancel-keeps-place",
    /// Jobs are taken as they are queued, and nobody writes it down.
    NewClaimUnwritten = "new-claim-unwritten",
    /// The jobs of a deleted tenant that are leased are left to their holders.
    DeletionLeavesLeased = "deletion-leaves-leased",
}

impl Mutant {
    /// Makes room for the fault to show where a seed would hide it.
    pub fn adjust(self, setup: &mut Setup) {
        match self {
            Mutant::TakeoverTooSoon | Mutant::NoWriteGuard => several(setup),
            Mutant::WallClockLease => {
                several(setup);
                (setup.focus, setup.chaos_gap) = (Some("wall clock step"), 30 * SECOND);
            }
            Mutant::NoFence | Mutant::RenewalIgnoresStale => {
                several(setup);
                (setup.focus, setup.chaos_gap) = (Some("pause"), 30 * SECOND);
                (setup.read_latency, setup.write_latency) = (2 * SECOND, 2 * SECOND);
            }
            Mutant::ProceedUnlooked => {
                several(setup);
                (setup.focus, setup.chaos_gap, setup.stops_before_dots) = (None, 0, true);
                setup.safety = setup.safety.max(10_000 * SECOND);
            }
            Mutant::StoreClockLate => {
                several(setup);
                setup.stops_before_dots = true;
                setup.safety = setup.safety.max(6_000 * SECOND);
                (setup.focus, setup.chaos_gap) = (Some("pause at an await"), 30 * SECOND);
            }
            Mutant::TtlIgnored => setup.policy.max_attempts = 60,
            // Who is cut off from the database cannot prolong a lease, and goes by its own clock.
            Mutant::LeaseNotShortened => {
                several(setup);
                (setup.clocks, setup.focus, setup.chaos_gap) = (Clocks::Wild, Some("link cut"), 60 * SECOND);
            }
            // Whoever looks up who is suppressed asks for the time more often.
            // So does a node with room for more jobs: this one waits long for the last answers of the few it holds.
            Mutant::StoreClockStale => {
                several(setup);
                (setup.limits, setup.clocks, setup.embedded) = (None, Clocks::Wild, false);
                (setup.policy.held_max, setup.messages) = (2, setup.messages.max(16));
                setup.domains.iter_mut().for_each(|domain| domain.endings_permille = 400);
            }
            Mutant::CountThenInsert => {
                several(setup);
                let limits = limited(setup, None);
                limits.rush = true;
                limits.quotas.iter_mut().for_each(|quotas| quotas.hourly = Some(9));
                (setup.messages, setup.write_latency) = (setup.messages.max(12), 2 * SECOND);
            }
            Mutant::QuotaRemembered => {
                limited(setup, Some(Act::Edit));
                setup.messages = setup.messages.max(12);
            }
            Mutant::SuppressionUnlooked => drop(limited(setup, Some(Act::Suppress))),
            Mutant::SuppressionAtClaim => {
                limited(setup, Some(Act::Suppress));
                (setup.policy.deliveries_max, setup.policy.batch) = (1, 8);
            }
            Mutant::CancelAfterDot | Mutant::CancelTold | Mutant::CancelKeepsPlace => {
                let limits = limited(setup, Some(Act::Cancel));
                limits.quotas.iter_mut().for_each(|quotas| quotas.jobs = Some(20));
            }
            Mutant::DeletionLeavesLeased => {
                let at = setup.safety / 2;
                limited(setup, None).deletion = Some((0, at));
                setup.messages = setup.messages.max(10);
            }
            _ => {}
        }
    }

    /// The policy that the queue is given.
    pub fn policy(self, policy: &Policy) -> Policy {
        let policy = policy.clone();
        match self {
            Mutant::TtlIgnored => Policy { ttl: Duration::from_secs(10_000_000), ..policy },
            Mutant::AttemptsUnlimited => Policy { max_attempts: u32::MAX, ..policy },
            Mutant::NoBackoff => Policy { retry_base: Duration::ZERO, retry_max: Duration::ZERO, ..policy },
            Mutant::DestinationUnlimited => {
                let most = 100;
                Policy { per_destination_start: most, per_destination_max: most, ..policy }
            }
            Mutant::HeldUnlimited => Policy { held_max: 1_000, batch: 100, ..policy },
            _ => policy,
        }
    }

    /// What a claim tells the queue.
    pub fn claimed(self, job: &mut QueueJob) {
        match self {
            Mutant::DsnForNullSender => (job.null_sender, job.is_dsn) = (false, false),
            Mutant::NeverIgnored => {
                let never = job.recipients.iter_mut().filter(|r| r.notify == Notify::Never);
                never.for_each(|r| r.notify = Notify::Absent);
            }
            Mutant::DelayEachTime => job.recipients.iter_mut().for_each(|r| r.delay_notified = false),
            Mutant::CrashAsDelivered => {
                let doubted =
                    job.recipients.iter_mut().filter(|r| r.in_doubt > 0 && r.state == State::Pending);
                doubted.for_each(|r| r.state = State::Delivered);
            }
            _ => {}
        }
    }

    /// What an attempt tells the queue.
    pub fn verdicts(self, verdicts: &mut [(u16, Verdict)]) {
        let first = verdicts.first().map(|(_, v)| v.clone());
        for (_, verdict) in verdicts {
            let changed = match (self, &*verdict) {
                (Mutant::RetryPermanent, Verdict::Permanent(f)) => Verdict::Temporary(f.clone()),
                (Mutant::DoubtAsPermanent, Verdict::InDoubt(f)) => Verdict::Permanent(f.clone()),
                (Mutant::DoubtForgotten, Verdict::InDoubt(f)) => Verdict::Temporary(f.clone()),
                (Mutant::DoubtAsDelivered, Verdict::InDoubt(f)) => {
                    Verdict::Delivered { reply: f.reply.clone(), dsn: DsnDuty::PassedOn, by_passed_on: false }
                }
                (Mutant::OneVerdict, _) => first.clone().unwrap_or(Verdict::NotTried),
                _ => continue,
            };
            *verdict = changed;
        }
    }

    /// What the queue asks for.
    pub fn effect(self, effect: &mut Effect) {
        let Effect::Save { fence, settlement } = effect else { return };
        let fence = *fence;
        if self == Mutant::LostRecipient && settlement.changes.len() > 1 {
            settlement.changes.pop();
        }
        if self == Mutant::ReleaseAfterSuccess && has_success(settlement) {
            *effect = Effect::Release { fence, due: Timestamp(0), crashed: false };
        }
    }
}

/// There are limits, and administrators who do most of all this.
fn limited(setup: &mut Setup, focus: Option<Act>) -> &mut Limits {
    let mut rng = Rng::new(setup.safety ^ setup.messages);
    let made = crate::setup::limits(&mut rng, setup);
    let limits = setup.limits.insert(made);
    (limits.focus, limits.acts_gap, limits.deletion) = (focus, 10 * SECOND, None);
    limits
}

/// Several nodes that share the work.
fn several(setup: &mut Setup) {
    (setup.nodes, setup.embedded) = (setup.nodes.max(2), false);
}

fn has_success(settlement: &Settlement) -> bool {
    settlement.changes.iter().any(|c| c.recipient.state == State::Delivered)
}
