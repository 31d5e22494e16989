//! Gathers facts from clusters, judges them and reports.
