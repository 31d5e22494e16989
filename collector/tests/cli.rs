//! `prejoin` as a user runs it: what is typed, what comes out, with which exit code.
//!
//! These tests stand beside the command because Cargo builds it for them, and only for them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by unwrapping it"
)]

mod cli {
    mod audit;
    mod bad_input;
    mod baseline;
    mod catalogue;
    mod check;
    mod command;
    mod diff;
    mod facts;
    mod lab;
    mod probe;
}
