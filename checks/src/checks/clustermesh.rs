//! Cilium ClusterMesh. Codes: `CM0xx` presence and versions, `CM1xx` identity, `CM2xx` addressing, `CM3xx` datapath, `CM4xx` encryption,
//! `CM5xx` flows, `CM6xx` control plane and TLS, `CM7xx` features, `CM8xx` capacity, `CM9xx` kernel and lab.

pub mod datapath;
pub mod flows;

use crate::check::Check;
pub(crate) use flows::FLOWS;

/// The subjects of this family.
pub(crate) static CHECKS: &[&[&Check]] = &[datapath::CHECKS, flows::CHECKS];
