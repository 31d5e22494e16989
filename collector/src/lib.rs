//! What we do about it: gathers facts from clusters, judges them, reports.

pub mod report;
pub mod text;
