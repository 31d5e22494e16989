//! Addressing, whatever the clusters are to be joined with. Codes: `NET1xx` collisions, `NET2xx` truth of the ranges read,
//! `NET3xx` nodes.

use crate::check::Check;

/// The subjects of this family.
pub(crate) static CHECKS: &[&[&Check]] = &[];
