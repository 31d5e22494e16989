//! What a test and its lab's process say to each other: one JSON object per line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::topology::Topology;
use super::traffic::Traffic;
use super::trial::{Outcome, Trial};

/// To the lab.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Make everything; the first order.
    Up(Topology),
    /// Make a fault.
    Fault(Fault),
    /// Undo the fault of this number.
    Heal(u64),
    /// What was on the wire since the last such order?
    Traffic,
    /// Send something by plain sockets.
    Try(Trial),
}

/// From the lab, one to each order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// All namespaces and links are there.
    Up(Doors),
    /// The fault is made and has this number.
    Fault(u64),
    /// The fault is gone.
    Healed,
    /// What was on the wire.
    Traffic(Traffic),
    /// What came of a trial.
    Tried(Outcome),
    /// It did not work.
    Failed(String),
}

/// How other processes get in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Doors {
    /// Path of the user namespace to enter first, where the lab is in one of its own.
    pub user: Option<String>,
    /// Path of each node's and pod's network namespace, by name.
    pub nodes: BTreeMap<String, String>,
}
