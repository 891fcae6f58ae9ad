//! The `inbox` program.

fn main() {}
