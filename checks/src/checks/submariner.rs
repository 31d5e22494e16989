//! Submariner. Codes: `SM0xx` platform and kube-proxy, `SM1xx` identity, `SM2xx` ranges and Globalnet, `SM3xx` network plugins, `SM4xx` nodes and
//! gateways, `SM5xx` flows, `SM6xx` truth of what is advertised, `SM7xx` MCS, `SM8xx` DNS, `SM9xx` live state.

use crate::check::Check;
use crate::profile::flow::Flow;

/// The subjects of this family.
pub(crate) static CHECKS: &[&[&Check]] = &[];

/// The flows of this profile.
pub(crate) static FLOWS: &[&Flow] = &[];
