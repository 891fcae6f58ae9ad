//! What the results of SPF, DKIM and DMARC lead to (SPEC section 4): acceptance, a refusal with its exact
//! reply, or the Junk folder.

use alloc::string::String;

use protocol_core::auth::{
    ArcChain, ArcResult, DkimResult, DmarcPolicy, DmarcResult, MessageResults, Spf, SpfResult,
};

use crate::server::{Refusal, Verdict};
use crate::trace;

/// What is required of mail for one recipient: for each check the name of the setting that requires it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Required {
    /// SPF must pass.
    pub spf: Option<&'static str>,
    /// A DKIM signature must pass.
    pub dkim: Option<&'static str>,
    /// DMARC must pass.
    pub dmarc: Option<&'static str>,
}

/// What is set for SPF, DKIM and DMARC, in this order.
pub type Settings<T> = [T; 3];

/// What a sender's own DMARC policy does (`SMTP_DMARC_APPLY_SENDER_POLICY`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SenderPolicy {
    /// `reject` refuses, `quarantine` means Junk.
    #[default]
    Apply,
    /// Both mean Junk.
    Junk,
    /// Nothing.
    Ignore,
}

/// Where an accepted message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where mail goes.
    Inbox,
    /// The Junk folder.
    Junk,
}

impl Required {
    /// The installation's settings, each overridden by the recipient's domain where that says something.
    pub fn merge(installation: Settings<bool>, domain: Settings<Option<bool>>) -> Required {
        let one = |n: usize, variable, field| match domain[n] {
            Some(true) => Some(field),
            Some(false) => None,
            None => installation[n].then_some(variable),
        };
        Required {
            spf: one(0, "SMTP_REQUIRE_SPF_PASS", "require_spf_pass of the recipient's domain"),
            dkim: one(1, "SMTP_REQUIRE_DKIM_PASS", "require_dkim_pass of the recipient's domain"),
            dmarc: one(2, "SMTP_REQUIRE_DMARC_PASS", "require_dmarc_pass of the recipient's domain"),
        }
    }

    /// Whether nothing is required.
    pub fn is_empty(&self) -> bool {
        *self == Required::default()
    }

    /// Whether both are judged alike at the end of data, so that one reply can speak for both.
    pub fn agrees(&self, other: &Required, spf_waits: bool) -> bool {
        let same = |a: Option<&str>, b: Option<&str>| a.is_some() == b.is_some();
        same(self.dkim, other.dkim)
            && same(self.dmarc, other.dmarc)
            && (!spf_waits || same(self.spf, other.spf))
    }
}

/// Judges SPF at RCPT. For a null reverse-path the HELO identity was evaluated, and only `fail` is refused
/// (RFC 7208 §2.4).
///
/// # Errors
/// The refusal.
pub fn spf(required: &Required, found: &Spf, null_sender: bool) -> Result<(), Refusal> {
    let Some(variable) = required.spf else { return Ok(()) };
    let verdict = match found.result {
        SpfResult::Pass => return Ok(()),
        SpfResult::Fail => Verdict::Fail,
        _ if null_sender => return Ok(()),
        SpfResult::SoftFail => Verdict::SoftFail,
        SpfResult::Neutral => Verdict::Neutral,
        SpfResult::None => Verdict::None,
        SpfResult::PermError => Verdict::PermError,
        SpfResult::TempError => Verdict::TempError,
    };
    Err(Refusal::spf(verdict, &found.domain, variable))
}

/// On what terms a message is judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terms<'a> {
    /// What is required for its recipients.
    pub required: Required,
    /// The reverse-path is null.
    pub null_sender: bool,
    /// SPF was not judged at RCPT: an aligned DKIM signature may stand for it (`SMTP_SPF_ACCEPT_ALIGNED_DKIM`), or
    /// a gateway's verdict.
    pub spf_waits: bool,
    /// Such a signature does stand for it.
    pub accept_aligned_dkim: bool,
    /// What the sender's own DMARC policy does.
    pub sender_policy: SenderPolicy,
    /// Domains in lower case whose ARC seals are believed (`SMTP_ARC_TRUSTED_SEALERS`).
    pub trusted_sealers: &'a [String],
}

/// Judges a message after its data.
///
/// # Errors
/// The refusal.
pub fn message(terms: &Terms<'_>, found: &Spf, results: &MessageResults) -> Result<Place, Refusal> {
    let Terms { required, null_sender, .. } = terms;
    let dmarc = &results.dmarc;
    let stands_for_spf = terms.accept_aligned_dkim && dmarc.result == DmarcResult::Pass && dmarc.dkim_aligned;
    if terms.spf_waits && !stands_for_spf {
        spf(required, found, *null_sender)?;
    }
    if let Some(variable) = required.dkim {
        dkim(results, variable)?;
    }
    let verdict = match dmarc.result {
        DmarcResult::Pass => return Ok(Place::Inbox),
        DmarcResult::Fail => Verdict::Fail,
        DmarcResult::None => Verdict::None,
        DmarcResult::TempError => Verdict::TempError,
        DmarcResult::PermError => Verdict::PermError,
    };
    // What a null reverse-path's From holds need not be an address at all, and then DMARC has no say.
    let has_none = *null_sender && dmarc.domain.is_empty();
    if let Some(variable) = required.dmarc.filter(|_| !has_none) {
        return Err(Refusal::dmarc(verdict, &dmarc.domain, variable));
    }
    if dmarc.result != DmarcResult::Fail || is_vouched_for(&results.arc, terms.trusted_sealers) {
        return Ok(Place::Inbox);
    }
    match (terms.sender_policy, dmarc.policy) {
        (SenderPolicy::Ignore, _) | (_, DmarcPolicy::None) => Ok(Place::Inbox),
        (SenderPolicy::Apply, DmarcPolicy::Reject) => Err(Refusal::dmarc(
            verdict,
            &dmarc.domain,
            "the domain's own policy, SMTP_DMARC_APPLY_SENDER_POLICY",
        )),
        _ => Ok(Place::Junk),
    }
}

/// Whether a chain that validates says that DMARC passed, and everybody who handled the message since then is
/// trusted: a later sealer could have written anything into the message.
pub fn is_vouched_for(arc: &ArcChain, trusted_sealers: &[String]) -> bool {
    let is_trusted = |sealer: &str| trusted_sealers.iter().any(|t| t.eq_ignore_ascii_case(sealer));
    arc.result == ArcResult::Pass
        && arc.sets.iter().rev().take_while(|set| is_trusted(&set.sealer)).any(|set| {
            // The instance stands before the results proper (RFC 8617 §4.1.1).
            let results = set.results.split_once(';').map_or("", |(_, rest)| rest);
            let recorded = trace::read_results(results.as_bytes());
            recorded.is_some_and(|r| r.methods.iter().any(|m| m.is("dmarc") && m.result == "pass"))
        })
}

fn dkim(results: &MessageResults, variable: &str) -> Result<(), Refusal> {
    let verdict = match results.dkim_overall() {
        DkimResult::Pass => return Ok(()),
        DkimResult::None => Verdict::None,
        DkimResult::TempError => Verdict::TempError,
        DkimResult::PermError => Verdict::PermError,
        DkimResult::Neutral => Verdict::Neutral,
        DkimResult::Fail | DkimResult::Policy => Verdict::Fail,
    };
    let domain = results.dkim.first().map_or("this message", |d| d.domain.as_str());
    Err(Refusal::dkim(verdict, domain, variable))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;
    use protocol_core::auth::{ArcSet, Dkim, Dmarc};

    const ALL: Settings<bool> = [true; 3];
    const NOTHING: Settings<Option<bool>> = [None; 3];

    fn of(result: SpfResult) -> Spf {
        Spf { domain: "a.test".into(), result, ..Spf::default() }
    }

    fn start(refused: Result<impl core::fmt::Debug, Refusal>) -> String {
        match refused {
            Ok(place) => alloc::format!("{place:?}"),
            Err(why) => why.to_string().split(' ').take(2).collect::<vec::Vec<_>>().join(" "),
        }
    }

    #[test]
    fn a_domain_overrides_the_installation_both_ways() {
        let merged = Required::merge([true, false, true], [Some(false), Some(true), None]);
        assert_eq!(merged.spf, None);
        assert_eq!(merged.dkim, Some("require_dkim_pass of the recipient's domain"));
        assert_eq!(merged.dmarc, Some("SMTP_REQUIRE_DMARC_PASS"));
        assert!(Required::merge([false; 3], NOTHING).is_empty());
    }

    #[test]
    fn spf_for_every_result_and_both_kinds_of_sender() {
        let required = Required::merge(ALL, NOTHING);
        for (result, sender, null) in [
            (SpfResult::Pass, "()", "()"),
            (SpfResult::Fail, "550 5.7.23", "550 5.7.23"),
            (SpfResult::SoftFail, "550 5.7.23", "()"),
            (SpfResult::Neutral, "550 5.7.23", "()"),
            (SpfResult::None, "550 5.7.23", "()"),
            (SpfResult::PermError, "550 5.7.24", "()"),
            (SpfResult::TempError, "451 4.4.3", "()"),
        ] {
            assert_eq!(start(spf(&required, &of(result), false)), sender, "{result}");
            assert_eq!(start(spf(&required, &of(result), true)), null, "{result}, null");
            assert_eq!(start(spf(&Required::default(), &of(result), false)), "()", "{result}, not required");
        }
        let Err(why) = spf(&required, &of(SpfResult::SoftFail), false) else { panic!("accepted") };
        assert_eq!(
            why.to_string(),
            "550 5.7.23 SPF of a.test is softfail; required by SMTP_REQUIRE_SPF_PASS"
        );
    }

    fn results(dkim: DkimResult, dmarc: DmarcResult, policy: DmarcPolicy, aligned: bool) -> MessageResults {
        MessageResults {
            dkim: vec![Dkim { result: dkim, domain: "d.test".into(), ..Dkim::default() }],
            dmarc: Dmarc {
                result: dmarc,
                domain: "f.test".into(),
                policy,
                dkim_aligned: aligned,
                ..Dmarc::default()
            },
            ..MessageResults::default()
        }
    }

    #[test]
    fn dkim_and_dmarc_when_required() {
        let only = |dkim, dmarc| Required::merge([false, dkim, dmarc], NOTHING);
        let judge = |required: &Required, dkim, dmarc| {
            let results = results(dkim, dmarc, DmarcPolicy::None, false);
            let terms = Terms { required: *required, ..Terms::default() };
            start(message(&terms, &of(SpfResult::None), &results))
        };
        for (result, want) in [
            (DkimResult::Pass, "Inbox"),
            (DkimResult::Fail, "550 5.7.20"),
            (DkimResult::Policy, "550 5.7.20"),
            (DkimResult::None, "550 5.7.20"),
            (DkimResult::PermError, "550 5.7.20"),
            (DkimResult::TempError, "451 4.4.3"),
        ] {
            assert_eq!(judge(&only(true, false), result, DmarcResult::None), want, "{result}");
        }
        for (result, want) in [
            (DmarcResult::Pass, "Inbox"),
            (DmarcResult::Fail, "550 5.7.26"),
            (DmarcResult::None, "550 5.7.26"),
            (DmarcResult::PermError, "550 5.7.26"),
            (DmarcResult::TempError, "451 4.4.3"),
        ] {
            assert_eq!(judge(&only(false, true), DkimResult::None, result), want, "{result}");
        }
    }

    #[test]
    fn the_senders_own_policy() {
        for (policy, apply, junk) in [
            (DmarcPolicy::None, "Inbox", "Inbox"),
            (DmarcPolicy::Quarantine, "Junk", "Junk"),
            (DmarcPolicy::Reject, "550 5.7.26", "Junk"),
        ] {
            let failed = results(DkimResult::Fail, DmarcResult::Fail, policy, false);
            let judge = |sender_policy| {
                let terms = Terms { sender_policy, ..Terms::default() };
                start(message(&terms, &of(SpfResult::Pass), &failed))
            };
            assert_eq!(judge(SenderPolicy::Apply), apply);
            assert_eq!(judge(SenderPolicy::Junk), junk);
            assert_eq!(judge(SenderPolicy::Ignore), "Inbox");
        }
    }

    #[test]
    fn an_aligned_signature_stands_for_spf_when_that_may_wait() {
        let required = Required::merge([true, false, false], NOTHING);
        for (dmarc, aligned, waits, want) in [
            (DmarcResult::Pass, true, true, "Inbox"),
            (DmarcResult::Pass, false, true, "550 5.7.23"),
            (DmarcResult::None, false, true, "550 5.7.23"),
            (DmarcResult::None, false, false, "Inbox"),
        ] {
            let results = results(DkimResult::Pass, dmarc, DmarcPolicy::None, aligned);
            let terms = Terms { required, spf_waits: waits, accept_aligned_dkim: waits, ..Terms::default() };
            let judged = message(&terms, &of(SpfResult::Fail), &results);
            assert_eq!(start(judged), want, "{dmarc} {aligned} {waits}");
        }
    }

    #[test]
    fn a_trusted_chain_that_recorded_a_pass_lifts_the_senders_policy_and_nothing_else() {
        let set = |instance, sealer: &str, dmarc: &str| ArcSet {
            instance,
            sealer: sealer.into(),
            results: alloc::format!("i={instance}; {sealer}; dkim=none; dmarc={dmarc} header.from=f.test"),
        };
        let trusted = [String::from("list.test"), String::from("gate.test")];
        for (sets, want) in [
            (vec![set(1, "list.test", "pass")], "Inbox"),
            (vec![set(1, "list.test", "pass"), set(2, "gate.test", "fail")], "Inbox"),
            (vec![set(1, "list.test", "fail")], "550 5.7.26"),
            (vec![set(1, "other.test", "pass")], "550 5.7.26"),
            // Whoever came after the pass was recorded can have written the message anew.
            (vec![set(1, "list.test", "pass"), set(2, "other.test", "pass")], "550 5.7.26"),
            (vec![set(1, "other.test", "pass"), set(2, "list.test", "fail")], "550 5.7.26"),
        ] {
            let mut found = results(DkimResult::Fail, DmarcResult::Fail, DmarcPolicy::Reject, false);
            found.arc = ArcChain { result: ArcResult::Pass, sets, reason: None };
            let terms = Terms { trusted_sealers: &trusted, ..Terms::default() };
            assert_eq!(start(message(&terms, &of(SpfResult::Fail), &found)), want, "{:?}", found.arc.sets);
            let required = Required::merge([false, false, true], NOTHING);
            let strict = Terms { required, ..terms };
            assert_eq!(start(message(&strict, &of(SpfResult::Fail), &found)), "550 5.7.26");
            found.arc.result = ArcResult::Fail;
            assert_eq!(start(message(&terms, &of(SpfResult::Fail), &found)), "550 5.7.26");
        }
    }

    #[test]
    fn recipients_that_differ_need_another_transaction() {
        let plain = Required::merge([true, false, false], NOTHING);
        let signed = Required::merge([true, true, false], NOTHING);
        let open = Required::default();
        assert!(!plain.agrees(&signed, false) && plain.agrees(&plain, true));
        assert!(plain.agrees(&open, false) && !plain.agrees(&open, true));
    }
}
