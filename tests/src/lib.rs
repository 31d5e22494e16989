//! What the tests of all crates share: Kubernetes API servers made of recorded or built objects, and the
//! kubeconfig files that lead to them.
//!
//! Nothing here depends on another crate of the workspace, so that each of them can use it in its own tests.

pub mod api_server;
pub mod fixtures;
pub mod kubeconfig;
pub mod kubernetes;
pub mod lab;
pub mod large_cluster;
pub mod running;
