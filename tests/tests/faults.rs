//! One fault, one cause: a healthy lab audits green, and for each thing that can go wrong the report names this cause and no other.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests say what they expect by unwrapping it"
)]

mod faults {
    mod agents;
    mod clusters;
    mod example;
    mod filters;
    mod healthy;
    mod machine;
    mod mtu;
    mod nodes;
    mod quality;
    mod scenario;
    mod wire;
}
