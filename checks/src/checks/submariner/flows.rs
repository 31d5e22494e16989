//! The traffic Submariner needs. Source of the ports: Submariner, `pkg/port/ports.go` and the prerequisites page.

pub(super) mod joined;
mod nat_answers;
mod needs;
mod path_mtu;

use crate::check::{Check, declare_check};
use crate::checks::flow_verdict::judge;
use crate::checks::path_mtu_verdict;
use crate::fleet::Audit;
use crate::profile::flow::Flow;

use needs::{
    APPLICATIONS, BROKER_API, DNS, ESP, HEALTH_CHECK, INTRA_CLUSTER, NAT_DISCOVERY, PATH_MTU, PUBLIC_IP, TUNNEL,
};

/// The flows of this profile.
pub(crate) static FLOWS: &[&Flow] = &[
    &TUNNEL,
    &NAT_DISCOVERY,
    &ESP,
    &INTRA_CLUSTER,
    &BROKER_API,
    &HEALTH_CHECK,
    &DNS,
    &PUBLIC_IP,
    &APPLICATIONS,
    &PATH_MTU,
    &joined::POD_PATH_MTU,
    &joined::EXPORTED_SERVICE,
];

pub(super) static CHECKS: &[&Check] = &[
    &TUNNEL_FLOW,
    &NAT_DISCOVERY_FLOW,
    &ESP_FLOW,
    &INTRA_CLUSTER_FLOW,
    &BROKER_API_FLOW,
    &HEALTH_CHECK_FLOW,
    &DNS_FLOW,
    &PUBLIC_IP_FLOW,
    &APPLICATIONS_FLOW,
    &PATH_MTU_FLOW,
    &nat_answers::NAT_ANSWERS,
];

declare_check! {
    /// ## What it checks
    /// The tunnel port is open between the gateways, in the directions the cable driver needs.
    ///
    /// ## Why it matters
    /// It carries everything between the clusters.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with
    /// `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Open the UDP port between the gateways' addresses, both ways, or move it with `--nattport`.
    ///
    /// ## References
    /// Submariner documentation, prerequisites.
    pub static TUNNEL_FLOW = {
        code: "SM501",
        slug: "gateway-tunnel-flow",
        title: "The tunnel between gateways does not get through",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "clusters never connect",
        rules: ["submariner PORT-01"],
        run: Between(|audit: &Audit<'_>| judge(audit, &TUNNEL)),
    };
}

declare_check! {
    /// ## What it checks
    /// UDP 4490 is open between the gateways, to private and public addresses.
    ///
    /// ## Why it matters
    /// Without an answer gateways take the static NAT setting, 60 seconds later, without an error.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with
    /// `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Open UDP 4490 both ways, or annotate another port.
    ///
    /// ## References
    /// Submariner documentation, NAT traversal; `pkg/natdiscovery`.
    pub static NAT_DISCOVERY_FLOW = {
        code: "SM502",
        slug: "gateway-nat-discovery-flow",
        title: "NAT discovery does not get through",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "gateways fall back to a fixed setting and may choose the wrong address",
        rules: ["submariner PORT-02", "submariner NAT-01", "submariner NAT-07"],
        run: Between(|audit: &Audit<'_>| judge(audit, &NAT_DISCOVERY)),
    };
}

declare_check! {
    /// ## What it checks
    /// IP protocol 50 passes between gateways that see each other without NAT.
    ///
    /// ## Why it matters
    /// It is needed exactly where the network is simplest, and cloud security groups do not pass it unless told.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with
    /// `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Allow IP protocol 50 between the gateways, or join with `--force-udp-encaps`.
    ///
    /// ## References
    /// Submariner documentation, prerequisites; subctl issue 1137.
    pub static ESP_FLOW = {
        code: "SM503",
        slug: "gateway-esp-flow",
        title: "ESP does not get through",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "clusters connect, and no packet passes",
        rules: ["submariner PORT-03", "submariner PORT-04"],
        run: Between(|audit: &Audit<'_>| judge(audit, &ESP)),
    };
}

declare_check! {
    /// ## What it checks
    /// UDP 4800 is open between all nodes of a cluster and its gateways, both ways. The port cannot be changed.
    ///
    /// ## Why it matters
    /// Traffic of pods on other nodes reaches the gateway in this tunnel.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with
    /// `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Open UDP 4800 between all nodes of the cluster.
    ///
    /// ## References
    /// Submariner, `pkg/port/ports.go`.
    pub static INTRA_CLUSTER_FLOW = {
        code: "SM504",
        slug: "intra-cluster-flow",
        title: "Nodes do not reach their gateway",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "only pods on the gateway node reach other clusters",
        rules: ["submariner PORT-05", "submariner MTU-02"],
        run: Between(|audit: &Audit<'_>| judge(audit, &INTRA_CLUSTER)),
    };
}

declare_check! {
    /// ## What it checks
    /// The broker's API server is reachable, by name and certificate, from inside every member.
    ///
    /// ## Why it matters
    /// `subctl join` tests it from the workstation only.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with
    /// `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Open the path, or publish the API on a reachable address and use `--broker-url`.
    ///
    /// ## References
    /// Submariner documentation, broker.
    pub static BROKER_API_FLOW = {
        code: "SM505",
        slug: "gateway-broker-flow",
        title: "The broker is not reachable",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "clusters never learn of each other",
        rules: ["submariner PORT-07", "submariner PLAT-10"],
        run: Between(|audit: &Audit<'_>| judge(audit, &BROKER_API)),
    };
}

declare_check! {
    /// ## What it checks
    /// ICMP echo passes through the tunnel to the peers' health-check addresses.
    ///
    /// ## Why it matters
    /// More than five lost make the connection `error`.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with
    /// `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Allow ICMP on the CNI address, or join with `--health-check=false`.
    ///
    /// ## References
    /// Submariner, `pkg/pinger`.
    pub static HEALTH_CHECK_FLOW = {
        code: "SM506",
        slug: "gateway-health-check-flow",
        title: "Health checks do not get through",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the connection is taken for broken, and DNS stops answering with that cluster",
        rules: ["submariner PORT-08"],
        run: Between(|audit: &Audit<'_>| judge(audit, &HEALTH_CHECK)),
    };
}

declare_check! {
    /// ## What it checks
    /// CoreDNS reaches the ClusterIP of `submariner-lighthouse-coredns` on UDP and TCP 53.
    ///
    /// ## Why it matters
    /// The forward is one address in one Corefile.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with
    /// `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Allow port 53 from CoreDNS to the operator namespace.
    ///
    /// ## References
    /// Submariner operator, `controllers/servicediscovery`.
    pub static DNS_FLOW = {
        code: "SM507",
        slug: "gateway-dns-flow",
        title: "Cluster DNS does not reach Lighthouse",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "names of exported services do not resolve",
        rules: ["submariner PORT-12", "submariner DNS-10"],
        run: Between(|audit: &Audit<'_>| judge(audit, &DNS)),
    };
}

declare_check! {
    /// ## What it checks
    /// Gateways reach one of the public services that tell an address, names through cluster DNS.
    ///
    /// ## Why it matters
    /// If all fail the gateway exits, even where nobody needs the public address.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with
    /// `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Allow egress, join with `--air-gapped`, or annotate `gateway.submariner.io/public-ip=ipv4:…`.
    ///
    /// ## References
    /// submariner-operator issue 2999.
    pub static PUBLIC_IP_FLOW = {
        code: "SM508",
        slug: "gateway-public-ip-flow",
        title: "Gateways cannot find their public address",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the gateway pod exits and starts again, for ever",
        rules: ["submariner PORT-13", "submariner ADDR-01", "submariner KIND-05"],
        run: Between(|audit: &Audit<'_>| judge(audit, &PUBLIC_IP)),
    };
}

declare_check! {
    /// ## What it checks
    /// Pods on every node reach pods on every node of the joined clusters through the gateways, by their own addresses, both ways.
    ///
    /// ## Why it matters
    /// A connection that gateways call `connected` proves the gateways. Cloud firewalls filter by pod and service addresses as well, and nodes
    /// that are no gateway need their way to one.
    ///
    /// ## How it is determined
    /// Short-lived pods of prejoin's own (`--agents ephemeral`) send authenticated datagrams to each other. Asked only between clusters that
    /// are joined. With Globalnet pods have no address that others reach; SM514 looks at exported Services then.
    ///
    /// ## How to fix
    /// Allow the ranges of the other clusters (with Globalnet: the global ranges).
    ///
    /// ## References
    /// Submariner documentation, GKE quickstart.
    pub static APPLICATIONS_FLOW = {
        code: "SM510",
        slug: "gateway-application-flow",
        title: "Pods do not reach pods of a joined cluster",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "clusters connect, and applications do not",
        rules: ["submariner PORT-15", "submariner CIDR-13"],
        run: Between(|audit: &Audit<'_>| judge(audit, &APPLICATIONS)),
    };
}

declare_check! {
    /// ## What it checks
    /// The path between gateways carries a full packet with the cable's overhead, or TCP is clamped to what it carries.
    ///
    /// ## Why it matters
    /// Small probes pass a path that drops full packets.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with
    /// `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Annotate `submariner.io/tcp-clamp-mss`, or lower the MTU of the pods.
    ///
    /// ## References
    /// Submariner issues 1774, 2364.
    pub static PATH_MTU_FLOW = {
        code: "SM511",
        slug: "gateway-path-mtu",
        title: "The path MTU is too small",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "connections open and then stall on the first full packet",
        rules: ["submariner MTU-01", "submariner MTU-03", "submariner MTU-04", "submariner MTU-09", "submariner NAT-06"],
        run: Between(|audit: &Audit<'_>| path_mtu_verdict::judge(audit, &PATH_MTU, &path_mtu::RULE)),
    };
}

#[cfg(test)]
mod tests {
    use crate::engine::judge;
    use crate::intent::Intent;
    use crate::policy::Probe;
    use crate::profile::Profile::Submariner;
    use crate::report::{Report, Verdict};
    use crate::samples::flannel;
    use crate::samples::{findings, policy};

    fn judged(probe: Probe, change: impl FnOnce(&mut Intent)) -> Report {
        let mut intent = Intent::default();
        change(&mut intent);
        let mut policy = policy(Submariner);
        policy.probe = probe;
        judge(&[flannel("east", 1), flannel("west", 2)], &intent, &policy)
    }

    #[test]
    fn the_default_join_needs_tunnel_discovery_and_esp() {
        let report = judged(Probe::Cover, |_| {});
        assert!(findings(&report, "SM501")[0].expected.contains("UDP 4500 (libreswan)"));
        for code in ["SM501", "SM502", "SM503", "SM504", "SM505", "SM508", "SM511"] {
            assert_eq!(
                (
                    findings(&report, code)[0].verdict,
                    findings(&report, code)[0].reason.as_str()
                ),
                (Verdict::Unknown, "no agent"),
                "{code}"
            );
        }
        assert_eq!(report.exit_code, 5);
    }

    #[test]
    fn what_the_plan_makes_needless_is_not_required() {
        let report = judged(Probe::Cover, |intent| {
            intent.submariner.cable_driver = Some("wireguard".to_owned());
            intent.submariner.air_gapped = Some(true);
            intent.submariner.health_check = Some(false);
            intent.submariner.service_discovery = Some(false);
        });
        for code in ["SM503", "SM506", "SM507", "SM508"] {
            assert_eq!(findings(&report, code)[0].verdict, Verdict::Skip, "{code}");
        }
    }

    #[test]
    fn without_probes_nothing_is_asked() {
        let report = judged(Probe::None, |_| {});
        assert_eq!(findings(&report, "SM501")[0].reason, "not asked");
    }
}
