//! The `offramp` command.

fn main() {}
