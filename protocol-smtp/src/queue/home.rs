//! Recipients who live here: no host is dialled for them, and looking them up says what becomes of them.

use alloc::string::{String, ToString};

use super::types::{DsnDuty, Failure, Verdict};
use crate::server::Refusal;

/// What is kept as the reply of a mailbox here.
const PLACED: &str = "250 2.1.5 In the mailbox";
/// What is kept when an alias leads elsewhere only.
const FORWARDED: &str = "250 2.1.5 Goes on from here";

impl Verdict {
    /// The message goes into a mailbox here, or an alias sends it on (`forwarded`), in the transaction that settles it.
    /// What goes on is reported as relayed (RFC 3461 §5.2.7.3 leaves it to us to pass the wish on; we do not).
    pub fn at_home(forwarded: bool) -> Verdict {
        let (reply, dsn) = if forwarded { (FORWARDED, DsnDuty::Relayed) } else { (PLACED, DsnDuty::Final) };
        Verdict::Delivered { reply: String::from(reply), dsn, by_passed_on: !forwarded }
    }

    /// What a client would be told at RCPT, for a recipient that is looked up later. It says nothing of an address
    /// elsewhere: no suppression follows from it.
    pub fn refused_here(why: &Refusal) -> Verdict {
        let failure = Failure::local(why.status(), why.to_string());
        if why.is_temporary() { Verdict::Temporary(failure) } else { Verdict::Permanent(failure) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;

    #[test]
    fn a_recipient_here_fares_as_at_rcpt() {
        let Verdict::Permanent(gone) = Verdict::refused_here(&Refusal::UnknownRecipient) else { panic!() };
        assert_eq!(
            (gone.status, gone.reply.as_str()),
            (Status::new(5, 1, 1), "550 5.1.1 No such recipient here")
        );
        let Verdict::Temporary(full) = Verdict::refused_here(&Refusal::OverQuota) else { panic!() };
        assert_eq!(full.status, Status::new(4, 2, 2));
        let Verdict::Delivered { dsn, by_passed_on, .. } = Verdict::at_home(false) else { panic!() };
        assert_eq!((dsn, by_passed_on), (DsnDuty::Final, true));
        let Verdict::Delivered { dsn, by_passed_on, .. } = Verdict::at_home(true) else { panic!() };
        assert_eq!((dsn, by_passed_on), (DsnDuty::Relayed, false));
    }
}
