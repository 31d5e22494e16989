//! Ports on nodes that Submariner's pods take, as far as objects show who else does.

use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::kubernetes::HostPort;
use crate::facts::provenance::{Known, Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::Outcome;
use crate::profile::submariner::gateways::{labelled_or_candidates, setting};
use crate::profile::submariner::{Mesh, NAT_DISCOVERY_PORT, TUNNEL_PORT, field, installed, member};
use crate::report::Evidence;

pub(super) static CHECKS: &[&Check] = &[
    &METRICS_PORTS,
    &GATEWAY_PORTS,
    &TUNNEL_PORT_NUMBER,
    &LOAD_BALANCER_PORTS,
    &LOAD_BALANCER_READY,
];

declare_check! {
    /// ## What it checks
    /// No Service and no other pod takes TCP 32780, 32781 or 32782 on the nodes.
    ///
    /// ## Why it matters
    /// Gateway and Globalnet serve their metrics on the first two, the route agent its profiling on the third. They lie inside the usual range of
    /// ephemeral ports, and inside a NodePort range that was made wider. A process that cannot bind only logs it: the metrics are missing.
    ///
    /// ## How it is determined
    /// NodePorts of Services, and ports that pods outside Submariner's namespace declare on the host. Other listeners take an agent.
    ///
    /// ## How to fix
    /// Free the port, or reserve it (`net.ipv4.ip_local_reserved_ports`).
    ///
    /// ## References
    /// `submariner-operator`, `controllers/submariner`; `submariner`, `pkg/routeagent_driver/environment/env.go`.
    pub static METRICS_PORTS = {
        code: "SM450",
        slug: "submariner-metrics-ports",
        title: "Another one has the port of Submariner's metrics",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the metrics of gateway or Globalnet are missing",
        rules: ["submariner PORT-09"],
        run: Cluster(metrics_ports),
    };
}

fn metrics_ports(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const PORTS: std::ops::RangeInclusive<u16> = 32780..=32782;
    let own = own_namespace(cluster)?;
    let mut takers: Vec<(String, Evidence)> = Vec::new();
    let services = cluster.facts.services.get();
    for service in services.iter().flat_map(|services| services.iter()) {
        let node_ports = service
            .ports
            .iter()
            .filter(|port| port.protocol == "TCP")
            .filter_map(|port| port.node_port);
        for port in node_ports.filter(|port| PORTS.contains(port)) {
            let source = Source::read(format!("Service {}", service.key()), "spec.ports[].nodePort");
            takers.push((
                format!("Service {} has {port}", service.key()),
                Evidence::new(cluster.name(), &port, &source),
            ));
        }
    }
    let pods = cluster.facts.pods.get();
    for taken in pods.iter().flat_map(|pods| &pods.host_ports) {
        if taken.protocol == "TCP" && PORTS.contains(&taken.port) && !is_of(taken, own) {
            takers.push((
                format!("Pod {} has {}", taken.pod, taken.port),
                pod_evidence(cluster, taken),
            ));
        }
    }
    if takers.is_empty() {
        services?;
        pods?;
        return Ok(Outcome::holds().found("nobody declares TCP 32780 to 32782"));
    }
    Ok(Outcome::broken()
        .expected("TCP 32780 to 32782 free on the nodes")
        .found(some_of(takers.iter().map(|(what, _)| what)))
        .evidence_all(takers.into_iter().map(|(_, evidence)| evidence).take(8))
        .remedy("give it another port"))
}

/// Submariner's own namespace in this cluster.
fn own_namespace<'a>(cluster: &Cluster<'a>) -> Result<&'a str, Unknown> {
    Ok(installed(cluster)?.map_or("submariner-operator", |config| &config.value.namespace))
}

fn is_of(taken: &HostPort, namespace: &str) -> bool {
    taken.pod.split('/').next() == Some(namespace)
}

fn pod_evidence(cluster: &Cluster<'_>, taken: &HostPort) -> Evidence {
    let source = Source::read(format!("Pod {}", taken.pod), "spec.containers[].ports");
    Evidence::new(
        cluster.name(),
        &format!("{}/{} on {}", taken.port, taken.protocol, taken.node),
        &source,
    )
}

declare_check! {
    /// ## What it checks
    /// No other pod takes UDP 4500 (or the tunnel port chosen instead) or UDP 4490 on the gateway nodes.
    ///
    /// ## Why it matters
    /// The gateway's pod declares both as host ports. Where another pod has one, the scheduler keeps the gateway waiting; a process that listens
    /// on the second makes it exit.
    ///
    /// ## How it is determined
    /// Ports that pods outside Submariner's namespace declare on the host, on gateway nodes or, while none is labelled, on the nodes that
    /// `subctl join` would offer. Processes outside of pods take an agent.
    ///
    /// ## How to fix
    /// Move the pod to other nodes, or free the port.
    ///
    /// ## References
    /// `submariner-operator`, `controllers/submariner/gateway_resources.go`; `submariner`, `pkg/natdiscovery/listener.go`.
    pub static GATEWAY_PORTS = {
        code: "SM451",
        slug: "gateway-host-ports",
        title: "Another pod has a port of the gateway",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the gateway's pod is not scheduled, or exits",
        rules: ["submariner PORT-18"],
        run: Cluster(gateway_ports),
    };
}

/// Host ports that facts keep: others than these are not seen, so that nothing can be said of them.
const KEPT_PORTS: [u16; 4] = [500, TUNNEL_PORT, NAT_DISCOVERY_PORT, 4800];

fn gateway_ports(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let own = own_namespace(cluster)?;
    let tunnel = tunnel_port(cluster)?.map_or(TUNNEL_PORT, |known| known.value);
    let gateways = labelled_or_candidates(cluster)?;
    let pods = &cluster.facts.pods.get()?.host_ports;
    let takers: Vec<&HostPort> = pods
        .iter()
        .filter(|taken| taken.protocol == "UDP" && [tunnel, NAT_DISCOVERY_PORT].contains(&taken.port))
        .filter(|taken| !is_of(taken, own) && gateways.iter().any(|node| node.name == taken.node))
        .collect();
    if takers.is_empty() {
        if !KEPT_PORTS.contains(&tunnel) {
            return Err(Unknown::not_found(format!("who has UDP {tunnel} on the nodes is not among the facts")).into());
        }
        return Ok(Outcome::holds().found(format!("nobody declares UDP {tunnel} or {NAT_DISCOVERY_PORT}")));
    }
    let mut nodes: Vec<&str> = takers.iter().map(|taken| taken.node.as_str()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    Ok(Outcome::broken()
        .expected(format!("UDP {tunnel} and {NAT_DISCOVERY_PORT} free on gateway nodes"))
        .found(some_of(takers.iter().map(|taken| {
            format!("Pod {} has {} on {}", taken.pod, taken.port, taken.node)
        })))
        .evidence_all(takers.iter().take(8).map(|taken| pod_evidence(cluster, taken)))
        .remedy("move these pods to other nodes, or give them other ports")
        .nodes(nodes))
}

/// The tunnel port of a member; `None` before a join, or if its object names no valid one.
fn tunnel_port(cluster: &Cluster<'_>) -> Result<Option<Known<u16>>, Unknown> {
    Ok(installed(cluster)?.and_then(|config| {
        let port = u16::try_from(config.value.nat_t_port?).ok().filter(|port| *port > 0)?;
        Some(Known::new(port, field(config, "spec.ceIPSecNATTPort")))
    }))
}

declare_check! {
    /// ## What it checks
    /// The `Submariner` object names a tunnel port from 1 to 65535.
    ///
    /// ## Why it matters
    /// `subctl` and the chart write 4500. An object written by hand that leaves it out gets 0, which is no valid port of a container: the
    /// gateway's DaemonSet is refused.
    ///
    /// ## How it is determined
    /// `spec.ceIPSecNATTPort`.
    ///
    /// ## How to fix
    /// Set it to 4500.
    ///
    /// ## References
    /// `submariner-operator`, `controllers/submariner/gateway_resources.go`.
    pub static TUNNEL_PORT_NUMBER = {
        code: "SM452",
        slug: "submariner-tunnel-port",
        title: "The tunnel port is no port",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the gateway's DaemonSet is refused",
        rules: ["submariner PORT-19"],
        run: Cluster(tunnel_port_number),
    };
}

fn tunnel_port_number(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let config = member(cluster)?;
    let written = config
        .value
        .nat_t_port
        .map_or("absent, which is 0".to_owned(), |port| port.to_string());
    let outcome = if tunnel_port(cluster)?.is_some() {
        Outcome::holds()
    } else {
        Outcome::broken().remedy(format!("set ceIPSecNATTPort: {TUNNEL_PORT}"))
    };
    Ok(outcome
        .expected("a port from 1 to 65535")
        .found(&written)
        .evidence(Evidence::new(
            cluster.name(),
            &written,
            &field(config, "spec.ceIPSecNATTPort"),
        )))
}

declare_check! {
    /// ## What it checks
    /// Behind a load balancer, gateways listen on the ports that the load balancer sends to.
    ///
    /// ## Why it matters
    /// Service `submariner-gateway` always targets `ceIPSecNATTPort` and 4490. A gateway with other ports in its node's settings listens elsewhere:
    /// nothing arrives.
    ///
    /// ## How it is determined
    /// `loadBalancerEnabled` and the settings `udp-port` and `natt-discovery-port` of the gateway nodes.
    ///
    /// ## How to fix
    /// Remove the annotations, or turn the load balancer off.
    ///
    /// ## References
    /// `submariner-operator`, `controllers/submariner/loadbalancer_resources.go`.
    pub static LOAD_BALANCER_PORTS = {
        code: "SM453",
        slug: "load-balancer-ports",
        title: "The load balancer sends to ports no gateway listens on",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "nothing that comes through the load balancer arrives",
        rules: ["submariner PORT-20"],
        run: Cluster(load_balancer_ports),
    };
}

fn load_balancer_ports(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    if !Mesh::of(audit).load_balancer(cluster)?.value {
        return Err(NoVerdict::does_not_apply("no load balancer stands before the gateway"));
    }
    let tunnel = tunnel_port(cluster)?.map_or(TUNNEL_PORT, |known| known.value);
    let mut found = Vec::new();
    let mut evidence = Vec::new();
    let mut nodes = Vec::new();
    for node in labelled_or_candidates(cluster)? {
        for (name, target) in [("udp-port", tunnel), ("natt-discovery-port", NAT_DISCOVERY_PORT)] {
            let Some((value, source)) = setting(node, name) else {
                continue;
            };
            if value.parse() != Ok(target) {
                found.push(format!("{name}={value} on {}", node.name));
                evidence.push(Evidence::new(cluster.name(), &value, &source));
                nodes.push(node.name.clone());
            }
        }
    }
    nodes.dedup();
    if found.is_empty() {
        return Ok(Outcome::holds().found(format!("UDP {tunnel} and {NAT_DISCOVERY_PORT} on every gateway")));
    }
    Ok(Outcome::broken()
        .expected(format!(
            "UDP {tunnel} and {NAT_DISCOVERY_PORT}, where the load balancer sends to"
        ))
        .found(some_of(&found))
        .evidence_all(evidence)
        .remedy("remove these settings of the nodes, or turn the load balancer off")
        .nodes(nodes))
}

declare_check! {
    /// ## What it checks
    /// Where a load balancer stands before the gateway, it has an address, passes on both UDP ports, and sends them to the active gateway alone.
    ///
    /// ## Why it matters
    /// The other clusters dial the load balancer. One that the cloud never made, or made without UDP, leaves every connection `connecting`.
    ///
    /// ## How it is determined
    /// Service `submariner-gateway`: `status.loadBalancer.ingress`, its UDP ports, and a selector with `gateway.submariner.io/status: active`; the
    /// Gateway objects of which one is active. Whether the cloud lets UDP and its health probes through takes a packet.
    ///
    /// ## How to fix
    /// Look at the events of the Service and at the cloud's load balancer (UDP support, health probe, node ports), or turn the load balancer off.
    ///
    /// ## References
    /// Submariner documentation, "OpenShift on GCP with load balancer"; `submariner-operator`, `controllers/submariner/loadbalancer_resources.go`.
    pub static LOAD_BALANCER_READY = {
        code: "SM454",
        slug: "gateway-load-balancer-ready",
        title: "The load balancer before the gateway is not ready",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "other clusters dial an address that leads to no gateway",
        rules: ["submariner PORT-14"],
        run: Cluster(load_balancer_ready),
    };
}

fn load_balancer_ready(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    const NAME: &str = "submariner-gateway";
    const STATUS_LABEL: &str = "gateway.submariner.io/status";
    if !Mesh::of(audit).load_balancer(cluster)?.value {
        return Err(NoVerdict::does_not_apply("no load balancer stands before the gateway"));
    }
    let config = member(cluster)?;
    let namespace = &config.value.namespace;
    let tunnel = tunnel_port(cluster)?.map_or(TUNNEL_PORT, |known| known.value);
    let expected = format!("an address, UDP {tunnel} and {NAT_DISCOVERY_PORT}, and one active gateway behind them");
    let services = cluster.facts.services.get()?;
    let Some(service) = services
        .iter()
        .find(|service| service.name == NAME && &service.namespace == namespace)
    else {
        return Ok(Outcome::broken()
            .expected(expected)
            .found(format!("there is no Service {namespace}/{NAME}"))
            .evidence(Evidence::new(
                cluster.name(),
                &"true",
                &field(config, "spec.loadBalancerEnabled"),
            ))
            .remedy("look at the operator's log: it makes the Service, or turn the load balancer off"));
    };
    let gateways = cluster.facts.submariner.get()?.gateways.get()?;
    let active: Vec<&str> = gateways
        .iter()
        .filter(|gateway| gateway.ha_status == "active")
        .map(|gateway| gateway.name.as_str())
        .collect();
    let mut flaws = Vec::new();
    if service.kind != "LoadBalancer" {
        flaws.push(format!("the Service is a {}", service.kind));
    } else if service.ingress.is_empty() {
        flaws.push("the cloud has given it no address".to_owned());
    }
    for wanted in [tunnel, NAT_DISCOVERY_PORT] {
        if !service
            .ports
            .iter()
            .any(|port| port.protocol == "UDP" && port.port == wanted)
        {
            flaws.push(format!("UDP {wanted} is not among its ports"));
        }
    }
    if service.selector.get(STATUS_LABEL).map(String::as_str) != Some("active") {
        flaws.push(format!("its selector does not ask for {STATUS_LABEL}: active"));
    }
    match active.as_slice() {
        [_] => {}
        [] => flaws.push("no gateway is active".to_owned()),
        several => flaws.push(format!("{} gateways are active: {}", several.len(), some_of(several))),
    }
    let object = format!("Service {namespace}/{NAME}");
    let outcome = if flaws.is_empty() {
        Outcome::holds().found(format!("{} leads to {}", some_of(&service.ingress), some_of(&active)))
    } else {
        Outcome::broken()
            .found(flaws.join("; "))
            .remedy("look at the events of the Service and at the cloud's load balancer (UDP, health probe, node ports), or turn the load balancer off")
    };
    Ok(outcome
        .expected(expected)
        .evidence(Evidence::new(
            cluster.name(),
            &if service.ingress.is_empty() {
                "no address".to_owned()
            } else {
                some_of(&service.ingress)
            },
            &Source::read(object, "status.loadBalancer.ingress"),
        ))
        .evidence_all(active.iter().map(|name| {
            Evidence::new(
                cluster.name(),
                &"active",
                &Source::read(format!("Gateway {name}"), "status.haStatus"),
            )
        })))
}

#[cfg(test)]
mod tests {
    use crate::engine::judge;
    use crate::facts::ClusterFacts;
    use crate::facts::kubernetes::HostPort;
    use crate::facts::provenance::{Fact, Reason};
    use crate::facts::service::{Service, ServicePort};
    use crate::intent::Intent;
    use crate::profile::Profile::Submariner;
    use crate::report::{Finding, Verdict};
    use crate::samples::{
        findings, flannel, policy, report, submariner, submariner_config_mut, submariner_mut, value_mut,
    };

    fn alone(facts: &ClusterFacts, code: &str) -> Finding {
        findings(&report(Submariner, std::slice::from_ref(facts)), code)[0].clone()
    }

    fn with_host_port(pod: &str, node: &str, protocol: &str, port: u16) -> ClusterFacts {
        let mut facts = flannel("east", 1);
        value_mut(&mut facts.pods).host_ports.push(HostPort {
            node: node.to_owned(),
            pod: pod.to_owned(),
            protocol: protocol.to_owned(),
            port,
        });
        facts
    }

    #[test]
    fn metrics_ports_are_taken_by_node_ports_and_pods_but_not_by_submariner() {
        assert_eq!(alone(&flannel("east", 1), "SM450").verdict, Verdict::Pass);
        let mut service = flannel("east", 1);
        value_mut(&mut service.services).push(Service {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            kind: "NodePort".to_owned(),
            ports: vec![ServicePort {
                protocol: "TCP".to_owned(),
                port: 80,
                node_port: Some(32781),
                ..ServicePort::default()
            }],
            ..Service::default()
        });
        assert_eq!(alone(&service, "SM450").found, "Service shop/web has 32781");
        assert_eq!(
            alone(&with_host_port("shop/a", "east-n1", "TCP", 32780), "SM450").verdict,
            Verdict::Warn
        );
        let own = with_host_port("submariner-operator/submariner-gateway-x", "east-n2", "TCP", 32780);
        assert_eq!(alone(&own, "SM450").verdict, Verdict::Pass);
        let mut unread = flannel("east", 1);
        unread.pods = Fact::unknown(Reason::Forbidden, "list pods: forbidden");
        assert_eq!(alone(&unread, "SM450").verdict, Verdict::Unknown);
        assert_eq!(alone(&unread, "SM451").verdict, Verdict::Unknown);
    }

    #[test]
    fn a_pod_with_the_gateways_port_on_its_node_fails() {
        assert_eq!(alone(&flannel("east", 1), "SM451").verdict, Verdict::Pass);
        let taken = alone(&with_host_port("vpn/strongswan", "east-n2", "UDP", 4500), "SM451");
        assert_eq!(
            (taken.verdict, taken.subject.nodes),
            (Verdict::Fail, vec!["east-n2".to_owned()])
        );
        assert_eq!(
            alone(&with_host_port("vpn/strongswan", "east-n1", "UDP", 4500), "SM451").verdict,
            Verdict::Pass
        );
        assert_eq!(
            alone(&with_host_port("shop/a", "east-n2", "TCP", 4490), "SM451").verdict,
            Verdict::Pass
        );
    }

    #[test]
    fn a_port_that_facts_do_not_keep_is_unknown() {
        let mut member = submariner(&[("east", 1)]).remove(0);
        submariner_config_mut(&mut member).nat_t_port = Some(4501);
        assert_eq!(alone(&member, "SM451").verdict, Verdict::Unknown);
    }

    #[test]
    fn a_tunnel_port_left_out_is_zero() {
        let mut member = submariner(&[("east", 1)]).remove(0);
        assert_eq!(alone(&member, "SM452").verdict, Verdict::Pass);
        for port in [None, Some(0), Some(70_000)] {
            submariner_config_mut(&mut member).nat_t_port = port;
            assert_eq!(alone(&member, "SM452").verdict, Verdict::Fail, "{port:?}");
        }
        assert_eq!(alone(&flannel("east", 1), "SM452").verdict, Verdict::Skip);
        member.submariner = Fact::unknown(Reason::Forbidden, "list submariners: forbidden");
        assert_eq!(alone(&member, "SM452").verdict, Verdict::Unknown);
    }

    #[test]
    fn ports_in_node_settings_miss_the_load_balancers() {
        let mut intent = Intent::default();
        intent.submariner.load_balancer = Some(true);
        let verdict = |facts: &ClusterFacts| {
            let report = judge(std::slice::from_ref(facts), &intent, &policy(Submariner));
            findings(&report, "SM453")[0].verdict
        };
        let mut facts = flannel("east", 1);
        assert_eq!(alone(&facts, "SM453").verdict, Verdict::Skip);
        assert_eq!(verdict(&facts), Verdict::Pass);
        let annotations = &mut value_mut(&mut facts.nodes)[1].annotations;
        annotations.insert("gateway.submariner.io/udp-port".to_owned(), "4501".to_owned());
        assert_eq!(verdict(&facts), Verdict::Fail);
        facts.nodes = Fact::unknown(Reason::Forbidden, "list nodes: forbidden");
        assert_eq!(verdict(&facts), Verdict::Unknown);
    }

    /// A member whose gateway is reached through a load balancer, all in order.
    fn behind_load_balancer() -> ClusterFacts {
        let mut member = submariner(&[("east", 1)]).remove(0);
        submariner_config_mut(&mut member).load_balancer_enabled = Some(true);
        let port = |number| ServicePort {
            protocol: "UDP".to_owned(),
            port: number,
            ..ServicePort::default()
        };
        value_mut(&mut member.services).push(Service {
            namespace: "submariner-operator".to_owned(),
            name: "submariner-gateway".to_owned(),
            kind: "LoadBalancer".to_owned(),
            ports: vec![port(4500), port(4490)],
            ingress: vec!["203.0.113.9".to_owned()],
            selector: [("gateway.submariner.io/status".to_owned(), "active".to_owned())].into(),
            ..Service::default()
        });
        member
    }

    fn gateway_service(facts: &mut ClusterFacts) -> &mut Service {
        let mut services = value_mut(&mut facts.services).iter_mut();
        services.find(|service| service.name == "submariner-gateway").unwrap()
    }

    #[test]
    fn a_load_balancer_leads_to_the_active_gateway() {
        let ready = alone(&behind_load_balancer(), "SM454");
        assert_eq!(
            (ready.verdict, ready.found.as_str()),
            (Verdict::Pass, "203.0.113.9 leads to east-n2")
        );
        let off = submariner(&[("east", 1)]).remove(0);
        assert_eq!(alone(&off, "SM454").verdict, Verdict::Skip);
        let mut unread = behind_load_balancer();
        unread.services = Fact::unknown(Reason::Forbidden, "list services: forbidden");
        assert_eq!(alone(&unread, "SM454").verdict, Verdict::Unknown);
    }

    #[test]
    fn each_flaw_of_a_load_balancer_is_told() {
        let told = |change: fn(&mut ClusterFacts)| {
            let mut facts = behind_load_balancer();
            change(&mut facts);
            let finding = alone(&facts, "SM454");
            assert_eq!(finding.verdict, Verdict::Fail, "{}", finding.found);
            finding.found
        };
        assert_eq!(
            told(|facts| value_mut(&mut facts.services).retain(|service| service.name != "submariner-gateway")),
            "there is no Service submariner-operator/submariner-gateway"
        );
        assert_eq!(
            told(|facts| gateway_service(facts).ingress.clear()),
            "the cloud has given it no address"
        );
        assert_eq!(
            told(|facts| gateway_service(facts).ports.truncate(1)),
            "UDP 4490 is not among its ports"
        );
        assert_eq!(
            told(|facts| gateway_service(facts).selector.clear()),
            "its selector does not ask for gateway.submariner.io/status: active"
        );
        assert_eq!(
            told(|facts| value_mut(&mut submariner_mut(facts).gateways)[0].ha_status = "passive".to_owned()),
            "no gateway is active"
        );
    }
}
