//! The search for the path MTU, as a state machine without input or output: the last answers in, the next sizes out.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a search for the path MTU found. All sizes are of whole IP packets, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PathMtu {
    /// The largest size that arrived, as the peer confirmed; 0 if none did.
    pub largest_confirmed: u16,
    /// The smallest size that did not; absent where the ceiling itself arrived.
    pub smallest_failed: Option<u16>,
    /// MTU of the sender's own link: larger sizes never leave.
    pub link_mtu: u16,
    /// The hop that said "too big", and the MTU it gave; absent where nobody said so.
    pub told: Option<TooBig>,
    /// Whether sizes fail and nobody says why: a black hole.
    pub black_hole: bool,
    /// Datagrams sent.
    pub sent: u32,
    /// Rounds of waiting that took.
    pub rounds: u32,
}

/// What a hop said of a packet that was too big.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TooBig {
    /// The hop.
    pub by: IpAddr,
    /// The MTU of its next link, as it said.
    pub mtu: u16,
}
