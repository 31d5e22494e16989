//! The `prejoin` command.
fn main() {}
