//! What is there: reads a Kubernetes API or a node's kernel into facts, and sends and answers probes.
//!
//! Two binaries are made of it. The node agent is built without feature `cluster` and has no Kubernetes client inside.

pub mod arguments;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod datagram;
#[cfg(feature = "cluster")]
pub mod dial;
#[cfg(feature = "cluster")]
pub mod exec;
pub mod listen;
pub mod node;
pub mod nonce;
pub mod probe;
pub mod program;
pub mod protocol;
#[cfg(feature = "cluster")]
pub mod proxy;
pub mod session;
mod sys;
pub mod wait;
