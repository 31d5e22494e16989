//! What must be true before Kubernetes clusters are joined.
//!
//! Facts go in, a report comes out. Nothing here reads a file, opens a socket, looks at the clock or knows
//! what Kubernetes' client is: the same bundle gives the same report, byte for byte, on any machine.
//!
//! * [`cidr`]: the address blocks everything speaks about
//! * [`facts`]: everything known about one cluster

pub mod cidr;
pub mod facts;
