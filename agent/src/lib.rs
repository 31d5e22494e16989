//! Reads what is there: a Kubernetes API into facts.

pub mod cluster;
