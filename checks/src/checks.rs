//! The checks, one file per subject: `net` is shared addressing, the others belong to one product each.
//!
//! A family lists its subjects, a subject lists its checks; see `CONTRIBUTING.md` for how to add one.

pub mod clustermesh;
mod flow_verdict;
mod join_verdict;
pub mod net;
mod path_mtu_verdict;
pub mod per_node;
pub mod submariner;
