//! Addressing and nodes, whatever the clusters are to be joined with. Codes: `NET1xx` collisions, `NET2xx` truth of the ranges read,
//! `NET3xx` paths between nodes, `NET4xx` nodes.

pub mod collisions;
pub mod node;
pub mod paths;
pub mod rule;
pub mod space;
pub mod truth;

use crate::check::Check;

/// The subjects of this family.
pub(crate) static CHECKS: &[&[&Check]] = &[collisions::CHECKS, truth::CHECKS, paths::CHECKS, node::CHECKS];
