//! Addressing, whatever the clusters are to be joined with. Codes: `NET1xx` collisions, `NET2xx` truth of the ranges read.

pub mod collisions;
pub mod rule;
pub mod space;
pub mod truth;

use crate::check::Check;

/// The subjects of this family.
pub(crate) static CHECKS: &[&[&Check]] = &[collisions::CHECKS, truth::CHECKS];
