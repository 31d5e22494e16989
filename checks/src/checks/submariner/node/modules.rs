//! Kernel modules that Submariner needs. The kernel loads them on demand: not loaded alone is no failure.

use super::{gateways, without_ovn};
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::checks::per_node::{Seen, asked, judge, nodes};
use crate::fleet::{Audit, Cluster};
use crate::profile::submariner::Mesh;
use crate::report::Severity;

pub(in crate::checks::submariner) static CHECKS: &[&Check] = &[&VXLAN_MODULE, &CABLE_MODULES, &FILTER_MODULES, &FIPS];

/// What to do where a module is absent, for nodes of kind too.
fn remedy(cluster: &Cluster<'_>, what: &str) -> String {
    let nodes = cluster.facts.nodes.ok();
    let on_kind = nodes.is_some_and(|nodes| nodes.iter().any(|node| node.provider_id.starts_with("kind://")));
    let place = if on_kind {
        "on the machine that the kind nodes run on, whose kernel they share"
    } else {
        "on these nodes"
    };
    format!("install the distribution's package of extra modules {place}, or boot a kernel with {what}")
}

declare_check! {
    /// ## What it checks
    /// The kernel of every node has VXLAN.
    ///
    /// ## Why it matters
    /// The route agent builds the tunnel between nodes with it, and exits without.
    ///
    /// ## How it is determined
    /// The module as loaded, built in, or in the module tree of the running kernel; a device of the kind proves it. Not with OVN-Kubernetes, which
    /// carries the packets itself. Nodes of kind have their modules from the machine they run on.
    ///
    /// ## How to fix
    /// Install the distribution's package of extra modules.
    ///
    /// ## References
    /// `submariner`, `pkg/vxlan`.
    pub static VXLAN_MODULE = {
        code: "SM445",
        slug: "vxlan-module",
        title: "A kernel lacks VXLAN",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the route agent exits on these nodes",
        rules: ["submariner NODE-13", "submariner KIND-08"],
        run: Cluster(vxlan_module),
    };
}

fn vxlan_module(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        without_ovn(cluster)?;
        let remedy = remedy(cluster, "VXLAN");
        judge(
            audit,
            cluster,
            nodes(cluster)?,
            ("VXLAN in the kernel", &remedy),
            |on| on.expect_features(&[&["vxlan"]]),
        )
    })
}

declare_check! {
    /// ## What it checks
    /// The kernel of every gateway has what the cable driver needs: for libreswan XFRM, ESP and AES, for WireGuard its module, for the VXLAN cable VXLAN.
    ///
    /// ## Why it matters
    /// A gateway without it exits when it becomes active: a passive one that never was looks healthy until then.
    ///
    /// ## How it is determined
    /// The cable driver; modules as loaded, built in, or in the module tree of the running kernel, on gateways or, while none is labelled, on the nodes
    /// that `subctl join` would offer.
    ///
    /// ## How to fix
    /// Install the distribution's package of extra modules, or choose another cable driver.
    ///
    /// ## References
    /// Submariner documentation, prerequisites; submariner issue 1281.
    pub static CABLE_MODULES = {
        code: "SM446",
        slug: "cable-modules",
        title: "A gateway's kernel lacks what the cable driver needs",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the gateway exits when it becomes active",
        rules: ["submariner NODE-13", "submariner KIND-08"],
        run: Cluster(cable_modules),
    };
}

fn cable_modules(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let driver = Mesh::of(audit).cable_driver(cluster)?.value;
        let needed: &[&[&str]] = match driver.as_str() {
            "wireguard" => &[&["wireguard"]],
            "vxlan" => &[&["vxlan"]],
            "libreswan" => &[
                &["xfrm_user"],
                &["esp4"],
                &["gcm", "cbc"],
                &["sha256", "sha256_generic"],
            ],
            _ => return Err(NoVerdict::does_not_apply("the cable driver is not a known one")),
        };
        let remedy = format!("{}; or choose another cable driver", remedy(cluster, "them"));
        let expected = format!("what {driver} needs in the kernel of gateways");
        judge(audit, cluster, gateways(cluster)?, (&expected, &remedy), |on| {
            on.expect_features(needed)
        })
    })
}

declare_check! {
    /// ## What it checks
    /// The kernel of every node has the netfilter modules of Submariner's rules: sets and the clamp of TCP's segment size, with Globalnet marks and NAT too.
    ///
    /// ## Why it matters
    /// Without them rules cannot be installed: nothing is clamped, and with Globalnet nothing is translated.
    ///
    /// ## How it is determined
    /// Modules `ip_set_hash_net`, `xt_set`, `xt_TCPMSS`, with Globalnet `xt_mark` and `nf_nat`, as loaded, built in, or in the module tree of the
    /// running kernel. Where only nf_tables is there this warns: releases with a driver for nftables do with it.
    ///
    /// ## How to fix
    /// Install the distribution's package of extra modules.
    ///
    /// ## References
    /// `submariner`, `pkg/packetfilter`, `pkg/globalnet`.
    pub static FILTER_MODULES = {
        code: "SM447",
        slug: "packet-filter-modules",
        title: "A kernel lacks netfilter modules that Submariner's rules use",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "rules cannot be installed: TCP is not clamped, and with Globalnet nothing is translated",
        rules: ["submariner NODE-13", "submariner KIND-08"],
        run: Cluster(filter_modules),
    };
}

fn filter_modules(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    asked(audit, cluster, || {
        let mut needed: Vec<&[&str]> = vec![&["ip_set_hash_net"], &["xt_set"], &["xt_TCPMSS"]];
        if Mesh::of(audit).globalnet(cluster)?.value {
            needed.extend([&["xt_mark", "xt_MARK"][..], &["nf_nat"]]);
        }
        let remedy = remedy(cluster, "them");
        let advice = ("the netfilter modules of Submariner's rules", remedy.as_str());
        judge(audit, cluster, nodes(cluster)?, advice, |on| {
            let seen = on.expect_features(&needed)?;
            let has_nft = !seen.is_fine() && on.has_one_of(&["nf_tables"])?;
            Ok(if has_nft { seen.weighing(Severity::Warn) } else { seen })
        })
    })
}

declare_check! {
    /// ## What it checks
    /// Gateways in FIPS mode do not use the WireGuard cable.
    ///
    /// ## Why it matters
    /// WireGuard's ciphers are not among those that FIPS 140 approves.
    ///
    /// ## How it is determined
    /// `crypto.fips_enabled` on gateways; the cable driver.
    ///
    /// ## How to fix
    /// Use libreswan.
    ///
    /// ## References
    /// WireGuard, protocol and cryptography.
    pub static FIPS = {
        code: "SM448",
        slug: "fips-and-wireguard",
        title: "A gateway in FIPS mode is to use WireGuard",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the tunnel uses ciphers that the host's policy does not approve",
        rules: ["submariner NODE-13"],
        run: Cluster(fips),
    };
}

fn fips(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const SETTING: &str = "crypto.fips_enabled";
    asked(audit, cluster, || {
        if Mesh::of(audit).cable_driver(cluster)?.value != "wireguard" {
            return Err(NoVerdict::does_not_apply("the cable driver is not WireGuard"));
        }
        let advice = (
            "gateways outside of FIPS mode with WireGuard",
            "use libreswan (--cable-driver libreswan)",
        );
        judge(audit, cluster, gateways(cluster)?, advice, |on| {
            // A kernel built without FIPS mode has no such setting.
            let fault =
                (on.kernel.sysctl(SETTING)?.is_some() && on.number(SETTING)? != 0).then(|| "FIPS mode".to_owned());
            Ok(Seen::faults(fault, "not in FIPS mode").evidence(on.sysctl_evidence(SETTING)))
        })
    })
}

#[cfg(test)]
mod tests;
