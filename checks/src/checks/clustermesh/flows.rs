//! The traffic a mesh needs between clusters. Source of the ports: Cilium documentation, system requirements and cluster mesh pages.

pub(super) mod joined;
mod needs;
mod path_mtu;

use crate::check::{Check, declare_check};
use crate::checks::flow_verdict::judge;
use crate::checks::path_mtu_verdict;
use crate::fleet::Audit;
use crate::profile::flow::Flow;

use needs::{CONTROL_PLANE, ESP, HEALTH, HUBBLE, ICMP, PATH_MTU, POD_ROUTING, TUNNEL, WIREGUARD};

pub(super) static CHECKS: &[&Check] = &[
    &TUNNEL_FLOW,
    &WIREGUARD_FLOW,
    &ESP_FLOW,
    &POD_ROUTING_FLOW,
    &CONTROL_PLANE_FLOW,
    &HEALTH_FLOW,
    &ICMP_FLOW,
    &PATH_MTU_FLOW,
    &HUBBLE_FLOW,
];

/// The flows of this profile.
pub(crate) static FLOWS: &[&Flow] = &[
    &TUNNEL,
    &WIREGUARD,
    &ESP,
    &POD_ROUTING,
    &CONTROL_PLANE,
    &HEALTH,
    &ICMP,
    &PATH_MTU,
    &HUBBLE,
    &joined::PODS_OF_PEERS,
    &joined::POD_PATH_MTU,
    &joined::GLOBAL_SERVICE,
];

declare_check! {
    /// ## What it checks
    /// Every node reaches every node of the other clusters on the tunnel port, both ways, wherever a cluster tunnels.
    ///
    /// ## Why it matters
    /// The overlay carries all pod traffic between clusters. A filtered tunnel port leaves the control plane green and pods
    /// unreachable.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Allow the UDP port named here between all nodes of all clusters, in both directions, on their InternalIPs.
    ///
    /// ## References
    /// Cilium documentation, system requirements (firewall rules); `pkg/datapath/tunnel/tunnel.go`.
    pub static TUNNEL_FLOW = {
        code: "CM501",
        slug: "tunnel-flow",
        title: "The tunnel does not get through",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "pods of different clusters never reach each other",
        rules: ["clustermesh P1", "clustermesh P2"],
        run: Between(|audit: &Audit<'_>| judge(audit, &TUNNEL)),
    };
}

declare_check! {
    /// ## What it checks
    /// Every node reaches every node of the other clusters on UDP 51871 where WireGuard is on. The port cannot be changed.
    ///
    /// ## Why it matters
    /// With WireGuard on, pod traffic between clusters travels in it and nowhere else.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Allow UDP 51871 between all nodes of all clusters, both directions.
    ///
    /// ## References
    /// Cilium documentation, WireGuard encryption; `pkg/wireguard/types`.
    pub static WIREGUARD_FLOW = {
        code: "CM502",
        slug: "wireguard-flow",
        title: "WireGuard does not get through",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "encrypted pod traffic between clusters is lost",
        rules: ["clustermesh P3"],
        run: Between(|audit: &Audit<'_>| judge(audit, &WIREGUARD)),
    };
}

declare_check! {
    /// ## What it checks
    /// IP protocol 50 passes between all nodes where IPsec is on.
    ///
    /// ## Why it matters
    /// Cloud security groups pass no ESP unless told, and a test of TCP or UDP ports does not show it.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Allow IP protocol 50 between all nodes, or use WireGuard.
    ///
    /// ## References
    /// Cilium documentation, IPsec encryption.
    pub static ESP_FLOW = {
        code: "CM503",
        slug: "esp-flow",
        title: "ESP does not get through",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "encrypted pod traffic between clusters is lost",
        rules: ["clustermesh P4"],
        run: Between(|audit: &Audit<'_>| judge(audit, &ESP)),
    };
}

declare_check! {
    /// ## What it checks
    /// In native routing mode the network routes every pod range of every cluster, both ways, and filters nothing between them.
    ///
    /// ## Why it matters
    /// Without a tunnel the network in between must know where each pod range is.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Announce pod ranges by BGP, cloud route tables or static routes, and open the filters for them.
    ///
    /// ## References
    /// Cilium documentation, routing and cluster mesh pages.
    pub static POD_ROUTING_FLOW = {
        code: "CM504",
        slug: "pod-routing-flow",
        title: "Pod ranges are not routed between clusters",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "pods of different clusters never reach each other",
        rules: ["clustermesh P5", "clustermesh ADDR-14"],
        run: Between(|audit: &Audit<'_>| judge(audit, &POD_ROUTING)),
    };
}

declare_check! {
    /// ## What it checks
    /// The control plane of each cluster is reachable from the others on the port its Service shows: from the pod network with
    /// KVStoreMesh, from every node without.
    ///
    /// ## Why it matters
    /// Nothing of the mesh works until the peers read each other's state.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Open the port from the node ranges of the peers, and from their pod ranges where these are not masqueraded.
    ///
    /// ## References
    /// Cilium documentation, cluster mesh setup and troubleshooting.
    pub static CONTROL_PLANE_FLOW = {
        code: "CM505",
        slug: "control-plane-flow",
        title: "The mesh control plane is not reachable",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the clusters never learn of each other",
        rules: ["clustermesh P6", "clustermesh P7", "clustermesh P17", "clustermesh P19"],
        run: Between(|audit: &Audit<'_>| judge(audit, &CONTROL_PLANE)),
    };
}

declare_check! {
    /// ## What it checks
    /// TCP 4240 (or `cluster-health-port`) passes between all nodes and to the health endpoints.
    ///
    /// ## Why it matters
    /// A health matrix that is always red hides real faults.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Open the port between nodes and towards pod ranges.
    ///
    /// ## References
    /// Cilium documentation, system requirements.
    pub static HEALTH_FLOW = {
        code: "CM506",
        slug: "health-flow",
        title: "Health checks do not get through",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the mesh works, but its health matrix stays red",
        rules: ["clustermesh P8"],
        run: Between(|audit: &Audit<'_>| judge(audit, &HEALTH)),
    };
}

declare_check! {
    /// ## What it checks
    /// ICMP echo passes between the InternalIPs of all nodes of all clusters.
    ///
    /// ## Why it matters
    /// Cilium probes nodes by ICMP; it is also the plainest proof that the node networks reach each other without translation.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Allow ICMP types 0 and 8 between all nodes.
    ///
    /// ## References
    /// Cilium documentation, system requirements.
    pub static ICMP_FLOW = {
        code: "CM507",
        slug: "icmp-flow",
        title: "ICMP echo does not get through",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "the mesh works, but its health matrix stays red",
        rules: ["clustermesh P9", "clustermesh ADDR-9"],
        run: Between(|audit: &Audit<'_>| judge(audit, &ICMP)),
    };
}

declare_check! {
    /// ## What it checks
    /// The path between nodes carries the largest packet that a node sends, encapsulation and encryption included, in both
    /// directions.
    ///
    /// ## Why it matters
    /// Small probes pass a path that drops full packets: pings succeed, transfers hang.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Lower chart value `MTU` on both sides to the path MTU and restart the pods, or raise the MTU of the link.
    ///
    /// ## References
    /// Cilium, `pkg/mtu`; cilium/cilium issue 23397.
    pub static PATH_MTU_FLOW = {
        code: "CM508",
        slug: "path-mtu",
        title: "The path MTU is too small",
        severity: Fail,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "connections open and then stall on the first full packet",
        rules: ["clustermesh P10", "clustermesh MTU-3", "clustermesh MTU-7"],
        run: Between(|audit: &Audit<'_>| path_mtu_verdict::judge(audit, &PATH_MTU, &path_mtu::RULE)),
    };
}

declare_check! {
    /// ## What it checks
    /// Hubble Relay reaches port 4244 (or what `hubble-listen-address` says) of every node of every cluster.
    ///
    /// ## Why it matters
    /// Relay connects to each node itself.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Open the port from the pod ranges of the clusters that run Relay.
    ///
    /// ## References
    /// Cilium documentation, cluster mesh setup; `pkg/hubble/peer`.
    pub static HUBBLE_FLOW = {
        code: "CM509",
        slug: "hubble-flow",
        title: "Hubble Relay does not reach the other clusters' nodes",
        severity: Warn,
        profiles: [Clustermesh],
        since: "0.1.0",
        why: "flows of the other clusters are missing from Hubble",
        rules: ["clustermesh P11"],
        run: Between(|audit: &Audit<'_>| judge(audit, &HUBBLE)),
    };
}

#[cfg(test)]
mod tests {
    use crate::engine::judge;
    use crate::intent::Intent;
    use crate::policy::Probe;
    use crate::profile::Profile::Clustermesh;
    use crate::report::Verdict;
    use crate::samples::{cilium, findings, policy, set_cilium_key};

    #[test]
    fn without_agents_a_required_flow_is_unknown_and_the_audit_incomplete() {
        let mut policy = policy(Clustermesh);
        policy.probe = Probe::Cover;
        let report = judge(&[cilium("east", 1), cilium("west", 2)], &Intent::default(), &policy);
        let tunnel = findings(&report, "CM501")[0];
        assert_eq!((tunnel.verdict, tunnel.reason.as_str()), (Verdict::Unknown, "no agent"));
        assert!(tunnel.expected.contains("UDP 8472 (vxlan)"), "{}", tunnel.expected);
        assert_eq!(report.exit_code, 5);
    }

    #[test]
    fn what_was_not_asked_is_skipped_and_counted() {
        let report = judge(
            &[cilium("east", 1), cilium("west", 2)],
            &Intent::default(),
            &policy(Clustermesh),
        );
        let tunnel = findings(&report, "CM501")[0];
        assert_eq!((tunnel.verdict, tunnel.reason.as_str()), (Verdict::Skip, "not asked"));
        assert!(report.coverage.not_asked > 0);
        assert_eq!(
            (report.coverage.flows.known, report.coverage.flows.wanted > 0),
            (0, true)
        );
    }

    #[test]
    fn port_numbers_come_from_the_clusters() {
        let mut east = cilium("east", 1);
        set_cilium_key(&mut east, "tunnel-port", Some("8473"));
        let report = judge(&[east, cilium("west", 2)], &Intent::default(), &policy(Clustermesh));
        assert!(
            findings(&report, "CM501")[0]
                .expected
                .contains("UDP 8473 (vxlan) on east")
        );
        assert!(findings(&report, "CM505")[0].expected.contains("TCP 32379"));
    }
}
