//! The traffic Submariner needs. Source of the ports: Submariner, `pkg/port/ports.go` and the prerequisites page.

use crate::check::{Check, NoVerdict, declare_check};
use crate::facts::provenance::{Known, Source};
use crate::fleet::Audit;
use crate::profile::flow::{Flow, judge};
use crate::profile::submariner::discovery::is_ovn_kubernetes;
use crate::profile::submariner::gateways::labelled_or_candidates;
use crate::profile::submariner::{Mesh, NAT_DISCOVERY_PORT, TUNNEL_PORT, declared, field, installed};

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
];

static TUNNEL: Flow = Flow {
    code: "SM501",
    from: "the gateways",
    to: "the gateways of the other clusters",
    purpose: "IKE, WireGuard or the VXLAN cable",
    need: |audit, cluster| {
        let port = match installed(cluster)? {
            Some(config) => Known::new(
                config.value.nat_t_port.unwrap_or(0).to_string(),
                field(config, "spec.ceIPSecNATTPort"),
            ),
            None => Known::new(
                TUNNEL_PORT.to_string(),
                Source::default_of("subctl join", "--nattport", "subctl"),
            ),
        };
        let driver = Mesh::of(audit).cable_driver(cluster)?.value;
        Ok(port.map(|port| format!("UDP {port} ({driver})")))
    },
};

static NAT_DISCOVERY: Flow = Flow {
    code: "SM502",
    from: "the gateways",
    to: "the gateways of the other clusters, private and public address",
    purpose: "NAT discovery",
    need: |_, cluster| {
        labelled_or_candidates(cluster)?;
        Ok(Known::new(
            format!("UDP {NAT_DISCOVERY_PORT}"),
            Source::default_of("gateway", "natt-discovery-port", "Submariner"),
        ))
    },
};

static ESP: Flow = Flow {
    code: "SM503",
    from: "the gateways",
    to: "the private addresses of the other gateways",
    purpose: "encrypted traffic where no NAT lies between",
    need: |audit, cluster| {
        let mesh = Mesh::of(audit);
        let driver = mesh.cable_driver(cluster)?;
        if driver.value != "libreswan" {
            return Err(NoVerdict::does_not_apply("only libreswan sends ESP"));
        }
        if mesh.force_udp_encaps(cluster)?.value {
            return Err(NoVerdict::does_not_apply("ESP is wrapped in UDP"));
        }
        Ok(driver.map(|_| "IP protocol 50 (ESP)".to_owned()))
    },
};

static INTRA_CLUSTER: Flow = Flow {
    code: "SM504",
    from: "every node",
    to: "the gateways of its own cluster",
    purpose: "pod traffic to the gateway, with its source address",
    need: |_, cluster| {
        if is_ovn_kubernetes(cluster)? {
            return Err(NoVerdict::does_not_apply("OVN-Kubernetes carries it itself"));
        }
        if cluster.facts.nodes.get()?.len() < 2 {
            return Err(NoVerdict::does_not_apply("the gateway is the only node"));
        }
        Ok(Known::new(
            "UDP 4800 (VXLAN)".to_owned(),
            Source::default_of("route agent", "VXLAN port", "Submariner"),
        ))
    },
};

static BROKER_API: Flow = Flow {
    code: "SM505",
    from: "gateway pods, the operator and Lighthouse",
    to: "the broker's API server",
    purpose: "exchange of Clusters, Endpoints and ServiceImports",
    need: |audit, cluster| {
        if let Some(config) = installed(cluster)? {
            return Ok(Known::new(
                format!("TCP {}", config.value.broker_api_server),
                field(config, "spec.brokerK8sApiServer"),
            ));
        }
        match &audit.intent.submariner.broker_url {
            Some(url) => Ok(Known::new(format!("TCP {url}"), declared("brokerUrl"))),
            None => Ok(Known::new(
                "TCP 6443 (or what the broker's URL says)".to_owned(),
                Source::default_of("broker file", "URL", "subctl"),
            )),
        }
    },
};

static HEALTH_CHECK: Flow = Flow {
    code: "SM506",
    from: "gateways and route agents",
    to: "the health-check address of the other gateways, inside the tunnel",
    purpose: "health checks",
    need: |audit, cluster| {
        let check = Mesh::of(audit).health_check(cluster)?;
        if check.value {
            Ok(check.map(|_| "ICMP echo".to_owned()))
        } else {
            Err(NoVerdict::does_not_apply("health checks are off"))
        }
    },
};

static DNS: Flow = Flow {
    code: "SM507",
    from: "cluster DNS",
    to: "Lighthouse's DNS server in its own cluster",
    purpose: "names in clusterset.local",
    need: |audit, cluster| {
        let discovery = Mesh::of(audit).service_discovery(cluster)?;
        if discovery.value {
            Ok(discovery.map(|_| "UDP and TCP 53".to_owned()))
        } else {
            Err(NoVerdict::does_not_apply("service discovery is off"))
        }
    },
};

static PUBLIC_IP: Flow = Flow {
    code: "SM508",
    from: "the gateways",
    to: "public address services",
    purpose: "resolution of the public address",
    need: |audit, cluster| {
        let mesh = Mesh::of(audit);
        if mesh.air_gapped(cluster)?.value || mesh.load_balancer(cluster)?.value {
            return Err(NoVerdict::does_not_apply("the public address comes from elsewhere"));
        }
        let annotated = labelled_or_candidates(cluster)?.iter().all(|node| {
            node.annotations
                .get("gateway.submariner.io/public-ip")
                .is_some_and(|value| value.starts_with("ipv4:"))
        });
        if annotated {
            return Err(NoVerdict::does_not_apply("the public address is annotated"));
        }
        Ok(Known::new(
            "TCP 443 outwards".to_owned(),
            Source::default_of("subctl join", "--air-gapped", "subctl"),
        ))
    },
};

static APPLICATIONS: Flow = Flow {
    code: "SM510",
    from: "pods and Services",
    to: "pods and Services of the other clusters",
    purpose: "application traffic inside the tunnel",
    need: |audit, cluster| {
        let ranges = Mesh::of(audit).advertised(cluster)?;
        let source = ranges
            .first()
            .map_or_else(|| Source::read("cluster", ""), |range| range.source.clone());
        let text = ranges
            .iter()
            .take(3)
            .map(|range| range.cidr.to_string())
            .collect::<Vec<_>>()
            .join(", ");
        Ok(Known::new(format!("all protocols to {text}"), source))
    },
};

static PATH_MTU: Flow = Flow {
    code: "SM511",
    from: "the gateways",
    to: "the gateways of the other clusters",
    purpose: "full-size packets with what the cable adds",
    need: |audit, cluster| {
        Ok(Mesh::of(audit)
            .cable_driver(cluster)?
            .map(|driver| format!("the path MTU that {driver} needs")))
    },
};

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
        rules: ["submariner PORT-02", "submariner NAT-01"],
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
    /// Firewalls that look at inner addresses admit the other clusters' ranges.
    ///
    /// ## Why it matters
    /// Cloud firewalls filter by pod and service addresses as well.
    ///
    /// ## How it is determined
    /// Agents send real packets on the real ports in each direction. Without agents the flow is `unknown`; with
    /// `--probe none` it is not asked.
    ///
    /// ## How to fix
    /// Allow the ranges of the other clusters (with Globalnet: the global ranges).
    ///
    /// ## References
    /// Submariner documentation, GKE quickstart.
    pub static APPLICATIONS_FLOW = {
        code: "SM510",
        slug: "gateway-application-flow",
        title: "The network filters traffic between ranges",
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
        rules: ["submariner MTU-01", "submariner MTU-03", "submariner MTU-04", "submariner MTU-09"],
        run: Between(|audit: &Audit<'_>| judge(audit, &PATH_MTU)),
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
        for code in [
            "SM501", "SM502", "SM503", "SM504", "SM505", "SM506", "SM508", "SM510", "SM511",
        ] {
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
