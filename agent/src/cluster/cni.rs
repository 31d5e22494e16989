//! What network plugins other than Cilium say of their ranges, each where it says so.

mod calico;
mod env_ranges;
mod flannel;
mod ovn;

use prejoin_checks::facts::cni::Cni;
use prejoin_checks::facts::provenance::Fact;

use super::reader::Reader;
use super::workloads::Workloads;

/// Reads the settings of every plugin whose workload or resources are there; which plugins run is told by `plugins.rs`.
pub(crate) async fn read(reader: &Reader<'_>, workloads: &Workloads) -> Cni {
    let (calico_pools, flannel, ovn) = tokio::join!(
        calico::read(reader),
        flannel::read(reader, workloads),
        ovn::read(reader, workloads)
    );
    Cni {
        plugins: Fact::default(),
        calico_pools,
        flannel,
        ovn,
        env_ranges: env_ranges::read(workloads),
    }
}
