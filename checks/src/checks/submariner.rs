//! Submariner. Codes: `SM0xx` platform and kube-proxy, `SM1xx` identity, `SM2xx` ranges and Globalnet, `SM3xx` network plugins, `SM4xx` nodes and
//! gateways, `SM5xx` flows, `SM6xx` truth of what is advertised, `SM7xx` MCS, `SM8xx` DNS, `SM9xx` live state.

pub mod addresses;
pub mod admission;
pub mod broker;
pub mod calico;
pub mod captured;
pub mod cni;
pub mod cni_datapath;
pub mod dns;
pub mod dns_policies;
pub mod flows;
pub mod gateway;
pub mod gateway_settings;
pub mod globalnet;
pub mod globalnet_live;
pub mod identity;
pub mod kube_proxy;
pub mod lab;
pub mod live;
pub mod mcs;
pub mod node;
pub mod platform;
pub mod ports;
pub mod psk;
pub mod ranges;
pub mod truth;
pub mod tunnel_addresses;

use crate::check::Check;
use crate::facts::provenance::{Reason, Unknown};
pub(crate) use flows::FLOWS;

/// The subjects of this family.
pub(crate) static CHECKS: &[&[&Check]] = &[
    platform::CHECKS,
    admission::CHECKS,
    broker::CHECKS,
    kube_proxy::CHECKS,
    identity::CHECKS,
    ranges::CHECKS,
    tunnel_addresses::CHECKS,
    captured::CHECKS,
    globalnet::CHECKS,
    globalnet_live::CHECKS,
    cni::CHECKS,
    calico::CHECKS,
    cni_datapath::CHECKS,
    gateway::CHECKS,
    gateway_settings::CHECKS,
    addresses::CHECKS,
    ports::CHECKS,
    lab::CHECKS,
    node::addresses::CHECKS,
    node::modules::CHECKS,
    node::sockets::CHECKS,
    node::filters::CHECKS,
    node::host::CHECKS,
    node::mtu::CHECKS,
    node::routing::CHECKS,
    node::sysctls::CHECKS,
    flows::CHECKS,
    flows::joined::CHECKS,
    truth::CHECKS,
    live::CHECKS,
    psk::CHECKS,
    mcs::CHECKS,
    dns::CHECKS,
    dns_policies::CHECKS,
];

/// A value that must be there if the cluster is to be judged at all: what is not there was not seen, which is no verdict.
fn unseen(unknown: Unknown, what: &str) -> Unknown {
    match unknown.reason {
        Reason::NotInstalled => Unknown::not_found(format!("{what}: {}", unknown.detail)),
        _ => unknown,
    }
}
