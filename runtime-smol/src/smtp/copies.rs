//! A mailbox's own copy of a message: its trace fields in front, and the structure as it is with them.

use protocol_core::Timestamp;
use protocol_core::message::{Edit, Structure};
use protocol_smtp::trace;
use storage::{Deliver, FolderTarget, Mailbox, MessageId, NamedFlags, SpecialUse};

/// What all copies of a message share.
pub(crate) struct Copies<'a> {
    /// Reverse-path without brackets.
    pub sender: &'a str,
    /// Fields that stand in front of the message, behind each copy's own.
    pub received: &'a [u8],
    /// What is changed of the message as it is spooled.
    pub edit: &'a Edit,
    /// Of the message as it is spooled.
    pub structure: &'a Structure,
    /// Where it goes.
    pub folder: SpecialUse,
    /// When it came.
    pub now: Timestamp,
}

impl Copies<'_> {
    /// The copy for a mailbox, which the recipient `given` led to.
    pub fn one(&self, mailbox: &Mailbox, given: &str, message: MessageId, check_quota: bool) -> Deliver {
        let mut edit = self.edit.clone();
        let own = [trace::return_path(self.sender), trace::delivered_to(given)].concat();
        edit.prefix = [&own, self.received, &edit.prefix].concat();
        let mut structure = self.structure.clone();
        structure.apply(&edit);
        Deliver {
            org: mailbox.org,
            mailbox: mailbox.id,
            message,
            prefix: edit.prefix,
            skip: edit.skip,
            folder: FolderTarget::Use(self.folder),
            flags: NamedFlags::default(),
            internal_date: self.now,
            meta: structure.encode(),
            check_quota,
            // What is taken for junk is told to nobody.
            told: (mailbox.told && self.folder == SpecialUse::Inbox).then(|| mailbox.address.clone()),
        }
    }
}
