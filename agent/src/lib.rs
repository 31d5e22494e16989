//! What is there: reads a Kubernetes API or a node's kernel into facts, and sends and answers probes.
//!
//! Two binaries are made of it. The node agent is built without feature `cluster` and has no Kubernetes client inside.

#[cfg(feature = "cluster")]
pub mod cluster;
pub mod node;
pub mod protocol;
mod sys;
