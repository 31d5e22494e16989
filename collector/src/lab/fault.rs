//! The faults that a lab can be given.

use clap::ValueEnum;

/// Something that goes wrong between clusters, as operators know it. Nothing inside a cluster is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Fault {
    /// The tunnels' UDP ports are closed: 8472 (Cilium's VXLAN) and 4500 (Submariner's cable)
    TunnelPort,
    /// The TCP ports of the ClusterMesh control plane are closed: 2379 and NodePorts 32379 to 32381
    MeshPort,
    /// The API servers' TCP port 6443 is closed to other clusters, Submariner's broker with it
    ApiPort,
    /// No ICMP passes, errors included
    Icmp,
    /// Packets of more than 1400 bytes towards the first cluster vanish, and nobody is told
    Mtu,
    /// Nothing from other clusters reaches the last node of the last cluster
    OneNode,
    /// One packet in ten is lost
    Loss,
    /// Round trips take 100 ms more
    Latency,
}

impl Fault {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::TunnelPort => "tunnel-port",
            Self::MeshPort => "mesh-port",
            Self::ApiPort => "api-port",
            Self::Icmp => "icmp",
            Self::Mtu => "mtu",
            Self::OneNode => "one-node",
            Self::Loss => "loss",
            Self::Latency => "latency",
        }
    }

    /// All of them.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// The fault of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::value_variants()
            .iter()
            .copied()
            .find(|fault| fault.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_called_what_it_is_typed_as() {
        for fault in Fault::all() {
            let typed = fault.to_possible_value().unwrap();
            assert_eq!(fault.name(), typed.get_name());
            assert_eq!(Fault::by_name(fault.name()), Some(*fault));
        }
    }
}
