//! What agents read on the nodes of a cluster that runs Cilium. Codes: `CM35x` MTU, `CM92x` kernel, ports and routes.

pub mod kernel;
pub mod mtu;
pub mod ports;
pub mod routing;
