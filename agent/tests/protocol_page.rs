//! `docs/protocol.md` shows lines that both ends understand.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by unwrapping it"
)]

use std::fmt::Debug;

use prejoin_agent::protocol::{Reply, Request, line};
use serde::Serialize;
use serde::de::DeserializeOwned;

const PAGE: &str = include_str!("../../docs/protocol.md");

fn lines(block: usize) -> Vec<&'static str> {
    let blocks = PAGE
        .split("```json\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    blocks.map(|block| block.lines().collect()).nth(block).unwrap()
}

/// Understood, and without anything that this version would not write.
fn expect_fresh<T: DeserializeOwned + Serialize + Debug>(text: &str) -> T {
    let value: T = line::decode(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
    let written: serde_json::Value = line::decode(&line::encode(&value).unwrap()).unwrap();
    assert_eq!(written, line::decode::<serde_json::Value>(text.as_bytes()).unwrap());
    value
}

#[test]
fn its_requests_and_answers_are_those_of_this_version() {
    let mut asked: Vec<u64> = lines(0)
        .into_iter()
        .map(|line| expect_fresh::<Request>(line).id)
        .collect();
    let mut answered: Vec<u64> = lines(1)
        .into_iter()
        .map(|line| expect_fresh::<Reply>(line).id)
        .collect();
    answered.dedup();
    assert_eq!(asked, answered);
    asked.dedup();
    assert_eq!(asked.len(), 5, "each request has its own id");
}
