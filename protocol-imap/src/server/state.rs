//! All transitions of a session.
//!
//! # Theory of operation
//!
//! A session is in one [`Level`] and one [`Phase`]. The level is RFC 9051 §3's state: who the client is and
//! whether a folder is selected. The phase says what the next octets are, or whose answer is awaited; one
//! command runs at a time, so there is one phase and no queue.
//!
//! Everything that happens is an [`Event`]. [`TABLE`] lists which events may happen in which phase and level,
//! and what then holds; what is not listed can not happen, and `State::apply` says so. The session writes
//! octets and asks questions; it never assigns a level or a phase by hand.
//!
//! Where an answer is awaited (`Connect`, `Running`, `Sasl`, `AppendAsked`, `Upgrade`), the driver holds a
//! value that must be consumed. If it drops the value, the next `poll` finds the phase unchanged, answers
//! `NO [UNAVAILABLE]` in its place, and applies the event that the refusal would have.
//!
//! A command goes `Line → Running → Line`. Three go further: AUTHENTICATE alternates between `Sasl` (the
//! driver's turn) and `SaslLine` (the client's); APPEND passes `AppendAsked`, then `Message` while its literal
//! streams through, then `MessageEnd`, then `Running` for the commit; IDLE stays in `Idle` until DONE. A
//! refused or damaged command whose octets still come is read to its end in `Drain`. An answer that grows with
//! the folder and is above the send buffer's high-water mark goes on in `Answering`, poll by poll, before the
//! next command is looked at.

/// RFC 9051 §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Not authenticated.
    Stranger,
    /// Authenticated, nothing selected.
    User,
    /// A folder is selected.
    Selected,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The driver decides whether to greet.
    Connect,
    /// A command.
    Line,
    /// The driver carries out a command.
    Running,
    /// The answer to a command is known and longer than the send buffer takes at once.
    Answering,
    /// The driver judges a response of AUTHENTICATE, or LOGIN.
    Sasl,
    /// The client's next response of AUTHENTICATE.
    SaslLine,
    /// The driver decides whether a message may be appended.
    AppendAsked,
    /// Octets of a message.
    Message,
    /// What stands behind the message.
    MessageEnd,
    /// Octets of a command that was answered, or will be when they end.
    Drain,
    /// DONE.
    Idle,
    /// The driver shakes hands.
    Upgrade,
    /// Nothing more.
    Ended,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The driver lets the client in.
    Greet,
    /// A command goes to the driver.
    Ask,
    /// SELECT or EXAMINE goes to the driver: whatever was selected no longer is (RFC 9051 §6.3.2).
    AskSelect,
    /// The driver completed a command.
    Complete,
    /// The driver completed SELECT or EXAMINE with a folder.
    CompleteSelect,
    /// The driver completed CLOSE or UNSELECT.
    CompleteClose,
    /// The answer does not fit into the send buffer.
    HoldAnswer,
    /// Its last line is written.
    EndAnswer,
    /// LOGIN or AUTHENTICATE goes to the driver.
    AskSasl,
    /// A challenge went out.
    Challenge,
    /// The client is who it says.
    LogIn,
    /// It is not, or gave up.
    RefuseLogIn,
    /// APPEND goes to the driver.
    AskAppend,
    /// The driver takes the message.
    TakeMessage,
    /// The last octet of the message came.
    EndMessage,
    /// The whole APPEND came.
    AskCommit,
    /// The rest of a command is not wanted.
    Drop,
    /// The last octet of it came.
    EndDrop,
    /// IDLE begins.
    BeginIdle,
    /// DONE came.
    EndIdle,
    /// STARTTLS.
    AskUpgrade,
    /// TLS stands: all earlier state is gone (RFC 9051 §6.2.1).
    Upgraded,
    /// The session is over, for whatever reason.
    End,
}

use Level::{Selected, Stranger, User};

const ANY: &[Level] = &[Stranger, User, Selected];
const KNOWN: &[Level] = &[User, Selected];

/// Phase and levels before, the event, phase after, and the level after where it changes.
pub type Transition = (Phase, &'static [Level], Event, Phase, Option<Level>);

/// All transitions.
pub const TABLE: &[Transition] = &[
    (Phase::Connect, &[Stranger], Event::Greet, Phase::Line, None),
    (Phase::Line, KNOWN, Event::Ask, Phase::Running, None),
    (Phase::Line, KNOWN, Event::AskSelect, Phase::Running, Some(User)),
    (Phase::Running, KNOWN, Event::Complete, Phase::Line, None),
    (Phase::Running, &[User], Event::CompleteSelect, Phase::Line, Some(Selected)),
    (Phase::Running, &[Selected], Event::CompleteClose, Phase::Line, Some(User)),
    (Phase::Line, KNOWN, Event::HoldAnswer, Phase::Answering, None),
    (Phase::Answering, KNOWN, Event::EndAnswer, Phase::Line, None),
    (Phase::Line, &[Stranger], Event::AskSasl, Phase::Sasl, None),
    (Phase::SaslLine, &[Stranger], Event::AskSasl, Phase::Sasl, None),
    (Phase::Sasl, &[Stranger], Event::Challenge, Phase::SaslLine, None),
    (Phase::Sasl, &[Stranger], Event::LogIn, Phase::Line, Some(User)),
    (Phase::Sasl, &[Stranger], Event::RefuseLogIn, Phase::Line, None),
    (Phase::SaslLine, &[Stranger], Event::RefuseLogIn, Phase::Line, None),
    (Phase::Line, KNOWN, Event::AskAppend, Phase::AppendAsked, None),
    (Phase::AppendAsked, KNOWN, Event::TakeMessage, Phase::Message, None),
    (Phase::AppendAsked, KNOWN, Event::Complete, Phase::Line, None),
    (Phase::AppendAsked, KNOWN, Event::Drop, Phase::Drain, None),
    (Phase::Message, KNOWN, Event::EndMessage, Phase::MessageEnd, None),
    (Phase::Message, KNOWN, Event::Drop, Phase::Drain, None),
    (Phase::MessageEnd, KNOWN, Event::AskCommit, Phase::Running, None),
    (Phase::MessageEnd, KNOWN, Event::Drop, Phase::Drain, None),
    (Phase::Line, ANY, Event::Drop, Phase::Drain, None),
    (Phase::SaslLine, &[Stranger], Event::Drop, Phase::Drain, None),
    (Phase::Drain, ANY, Event::EndDrop, Phase::Line, None),
    (Phase::Line, KNOWN, Event::BeginIdle, Phase::Idle, None),
    (Phase::Idle, KNOWN, Event::EndIdle, Phase::Line, None),
    (Phase::Line, &[Stranger], Event::AskUpgrade, Phase::Upgrade, None),
    (Phase::Upgrade, &[Stranger], Event::Upgraded, Phase::Line, None),
    (Phase::Connect, ANY, Event::End, Phase::Ended, None),
    (Phase::Line, ANY, Event::End, Phase::Ended, None),
    (Phase::Running, ANY, Event::End, Phase::Ended, None),
    (Phase::Answering, ANY, Event::End, Phase::Ended, None),
    (Phase::Sasl, ANY, Event::End, Phase::Ended, None),
    (Phase::SaslLine, ANY, Event::End, Phase::Ended, None),
    (Phase::AppendAsked, ANY, Event::End, Phase::Ended, None),
    (Phase::Message, ANY, Event::End, Phase::Ended, None),
    (Phase::MessageEnd, ANY, Event::End, Phase::Ended, None),
    (Phase::Drain, ANY, Event::End, Phase::Ended, None),
    (Phase::Idle, ANY, Event::End, Phase::Ended, None),
    (Phase::Upgrade, ANY, Event::End, Phase::Ended, None),
    (Phase::Ended, ANY, Event::End, Phase::Ended, None),
];

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    level: Level,
    phase: Phase,
}

impl State {
    /// A connection that nobody has greeted.
    pub const START: State = State { level: Stranger, phase: Phase::Connect };

    /// Who the client is.
    pub fn level(self) -> Level {
        self.level
    }

    /// What comes next.
    pub fn phase(self) -> Phase {
        self.phase
    }

    /// Whether the client has logged in.
    pub fn is_known(self) -> bool {
        self.level != Stranger
    }

    /// Lets `event` happen. An event that is not in the table is a fault of the driver (a question answered
    /// twice, an answer to another session's question) and changes nothing.
    pub(super) fn apply(&mut self, event: Event) -> bool {
        let row = TABLE.iter().find(|(phase, levels, e, ..)| {
            *phase == self.phase && *e == event && levels.contains(&self.level)
        });
        debug_assert!(row.is_some(), "{event:?} can not happen in {self:?}");
        let Some((.., phase, level)) = row else { return false };
        self.phase = *phase;
        self.level = level.unwrap_or(self.level);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn no_row_contradicts_another() {
        for (i, (phase, levels, event, ..)) in TABLE.iter().enumerate() {
            for (other_phase, other_levels, other_event, ..) in &TABLE[i + 1..] {
                let same = phase == other_phase && event == other_event;
                assert!(!same || !levels.iter().any(|l| other_levels.contains(l)), "{phase:?} {event:?}");
            }
        }
    }

    #[test]
    fn every_phase_is_reached_and_can_end() {
        let mut reached: Vec<State> = Vec::from([State::START]);
        let mut at = 0;
        while let Some(&state) = reached.get(at) {
            at += 1;
            for (phase, levels, event, ..) in TABLE {
                if *phase == state.phase && levels.contains(&state.level) {
                    let mut next = state;
                    assert!(next.apply(*event));
                    if !reached.contains(&next) {
                        reached.push(next);
                    }
                }
            }
        }
        for (phase, ..) in TABLE {
            assert!(reached.iter().any(|s| s.phase == *phase), "{phase:?}");
        }
        for mut state in reached {
            assert!(state.apply(Event::End), "{state:?}");
        }
    }
}
