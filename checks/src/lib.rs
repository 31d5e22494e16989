//! What must be true before Kubernetes clusters are joined.
//!
//! Facts go in, a report comes out. Nothing here reads a file, opens a socket, looks at the clock or knows
//! what Kubernetes' client is: the same input gives the same report, byte for byte, on any machine.
//!
//! ```text
//! facts::ClusterFacts        ─┐
//! observation::Observations  ─┼─▶ engine::judge ─▶ report::Report
//! intent::Intent             ─┤        │
//! policy::Policy             ─┘        └─ catalog: check::Check, which looks at fleet::Audit and gives outcome::Outcome
//! ```
//!
//! * [`address`]: one index over every range that can collide: what overlaps, why, and what is free
//! * [`cidr`]: the address blocks everything speaks about
//! * [`facts`]: everything known about one cluster, with where it was read
//! * [`addressing`]: which ranges follow from that
//! * [`profile`]: what each product needs, as data
//! * [`plan`]: its flows made concrete: who probes whom; [`observation`]: what the agents saw
//! * [`checks`]: the rules; [`compare`] helps those that hold clusters against each other
//! * [`report`]: what was found; [`diff`]: what changed since; [`history`]: what becomes of both over time

pub mod address;
pub mod addressing;
pub mod alike;
pub mod catalog;
mod chance;
pub mod check;
pub mod checks;
pub mod cidr;
pub mod compare;
pub mod diff;
pub mod engine;
pub mod explain;
pub mod facts;
pub mod fleet;
pub mod history;
pub mod intent;
pub mod observation;
pub mod outcome;
pub mod path_mtu;
pub mod plan;
pub mod policy;
pub mod profile;
pub mod report;
#[cfg(any(test, feature = "samples"))]
pub mod samples;
