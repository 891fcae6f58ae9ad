//! The command line: what may be typed ([`parse`]), and what is done then.

mod help;
mod keys;
mod parse;
mod print;
mod quickstart;
mod run;

pub use parse::{Command, Invocation, Usage, parse};
pub use quickstart::Quickstart;
pub use run::main;
