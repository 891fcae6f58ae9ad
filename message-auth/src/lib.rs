//! Who sent a message.

pub mod sign;
