//! The node agent: reads a node's kernel, probes from it. Knows nothing of Kubernetes.

use std::process::ExitCode;

use prejoin_agent::program;
use prejoin_agent::protocol::Role;

fn main() -> ExitCode {
    program::main("prejoin-agent", Role::Node, None)
}
