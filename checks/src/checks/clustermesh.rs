//! Cilium ClusterMesh. Codes: `CM0xx` presence and versions, `CM1xx` identity, `CM2xx` addressing, `CM3xx` datapath, `CM4xx` encryption,
//! `CM5xx` flows, `CM6xx` control plane and TLS, `CM7xx` features, `CM8xx` capacity, `CM9xx` kernel and lab.

pub mod addressing;
pub mod capacity;
pub mod datapath;
pub mod encryption;
pub mod exposure;
pub mod features;
pub mod flows;
pub mod identity;
pub mod node;
pub mod platform;
pub mod presence;
mod setting;
pub mod tls;

use crate::check::Check;
pub(crate) use flows::FLOWS;

/// The subjects of this family.
pub(crate) static CHECKS: &[&[&Check]] = &[
    presence::CHECKS,
    identity::CHECKS,
    identity::identities::CHECKS,
    identity::peers::CHECKS,
    addressing::CHECKS,
    addressing::agent_addresses::CHECKS,
    addressing::masquerading::CHECKS,
    datapath::CHECKS,
    datapath::state::CHECKS,
    datapath::load_balancing::CHECKS,
    datapath::features::CHECKS,
    encryption::CHECKS,
    encryption::ipsec::CHECKS,
    encryption::strict::CHECKS,
    flows::CHECKS,
    flows::joined::CHECKS,
    exposure::CHECKS,
    tls::CHECKS,
    features::CHECKS,
    capacity::CHECKS,
    platform::CHECKS,
    node::mtu::CHECKS,
    node::kernel::CHECKS,
    node::routing::CHECKS,
    node::ports::CHECKS,
];
