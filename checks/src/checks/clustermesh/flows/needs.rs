//! The traffic a mesh needs between clusters, as data. Source of the ports: Cilium documentation, system requirements and cluster mesh pages.

use std::net::IpAddr;

use crate::check::NoVerdict;
use crate::checks::clustermesh::exposure::dialled_port;
use crate::facts::provenance::Known;
use crate::fleet::{Audit, Cluster};
use crate::plan::Service;
use crate::profile::cilium::control_plane::{kvstoremesh, service};
use crate::profile::cilium::values::{Family, RoutingMode};
use crate::profile::flow::{Flow, PODS, Reach, Sender, Target, What, linux_nodes, on_nodes};

/// The UDP port of Cilium's WireGuard, a constant of its code.
pub(super) const WIREGUARD_PORT: u16 = 51871;

type Need = Result<Known<String>, NoVerdict>;
type Targets = Result<Vec<Target>, NoVerdict>;

/// The family that nodes speak to each other: tunnels and encryption use one.
fn underlay(cluster: &Cluster<'_>) -> Result<impl Fn(IpAddr) -> bool, NoVerdict> {
    let ipv4 = cluster.cilium()?.underlay()?.value == Family::Ipv4;
    Ok(move |ip: IpAddr| ip.is_ipv4() == ipv4)
}

/// The families that are switched on.
fn families(cluster: &Cluster<'_>) -> Result<impl Fn(IpAddr) -> bool, NoVerdict> {
    let families = cluster.cilium()?.families()?.value;
    Ok(move |ip: IpAddr| if ip.is_ipv4() { families.ipv4 } else { families.ipv6 })
}

pub(crate) static TUNNEL: Flow = Flow {
    code: "CM501",
    from: "every node",
    to: "every node of the other clusters",
    purpose: "encapsulated pod traffic",
    sender: |_, _| Ok(Sender::Nodes),
    reach: Reach::OtherClusters,
    need: |_, cluster| {
        let settings = cluster.cilium()?;
        if settings.routing_mode()?.value != RoutingMode::Tunnel {
            return Err(NoVerdict::does_not_apply("native routing needs no tunnel"));
        }
        let protocol = settings.tunnel_protocol()?.value;
        Ok(settings.tunnel_port()?.map(|port| format!("UDP {port} ({protocol})")))
    },
    targets: |_, cluster| {
        let port = cluster.cilium()?.tunnel_port()?.value;
        on_nodes(cluster, underlay(cluster)?, &What::Service(Service::Udp(port)))
    },
};

pub(crate) static WIREGUARD: Flow = Flow {
    code: "CM502",
    from: "every node",
    to: "every node of the other clusters",
    purpose: "encrypted traffic",
    sender: |_, _| Ok(Sender::Nodes),
    reach: Reach::OtherClusters,
    need: |_, cluster| on(cluster, "enable-wireguard", "UDP 51871 (WireGuard)", "WireGuard is off"),
    targets: |_, cluster| {
        on_nodes(
            cluster,
            underlay(cluster)?,
            &What::Service(Service::Udp(WIREGUARD_PORT)),
        )
    },
};

pub(crate) static ESP: Flow = Flow {
    code: "CM503",
    from: "every node",
    to: "every node of the other clusters",
    purpose: "encrypted traffic, IPsec without UDP around it",
    sender: |_, _| Ok(Sender::Nodes),
    reach: Reach::OtherClusters,
    need: |_, cluster| on(cluster, "enable-ipsec", "IP protocol 50 (ESP)", "IPsec is off"),
    targets: |_, cluster| on_nodes(cluster, underlay(cluster)?, &What::Service(Service::IpProtocol(50))),
};

pub(crate) static POD_ROUTING: Flow = Flow {
    code: "CM504",
    from: "every pod",
    to: "every pod of the other clusters",
    purpose: "pod traffic that the network itself routes",
    sender: |_, _| Ok(Sender::PodsOfEveryNode),
    reach: Reach::OtherClusters,
    need: |_, cluster| {
        let mode = cluster.cilium()?.routing_mode()?;
        if mode.value == RoutingMode::Native {
            Ok(Known::new("all protocols between pod ranges".to_owned(), mode.source))
        } else {
            Err(NoVerdict::does_not_apply("pod traffic is tunnelled"))
        }
    },
    targets: |_, _| {
        let what = What::Service(Service::Udp(crate::plan::SPARE_UDP_PORT));
        Ok(vec![Target::ours(PODS, what)])
    },
};

pub(crate) static CONTROL_PLANE: Flow = Flow {
    code: "CM505",
    from: "KVStoreMesh (a pod), or every node without it",
    to: "the control planes of the other clusters",
    purpose: "state of the peers",
    sender: |_, cluster| {
        Ok(match kvstoremesh(cluster)? {
            // Agents dial their own cluster's cache; the cache, a pod, dials the peers.
            Some(true) | None => Sender::Pods,
            Some(false) => Sender::Nodes,
        })
    },
    reach: Reach::OtherClusters,
    need: |_, cluster| {
        cluster.cilium()?;
        Ok(dialled_port(cluster)?.map(|port| format!("TCP {port}")))
    },
    targets: control_plane,
};

pub(crate) static HEALTH: Flow = Flow {
    code: "CM506",
    from: "every node",
    to: "every node of the other clusters and its health endpoint",
    purpose: "Cilium's health matrix",
    sender: |_, _| Ok(Sender::Nodes),
    reach: Reach::OtherClusters,
    need: |_, cluster| {
        let settings = cluster.cilium()?;
        let enabled = settings.flag("enable-health-checking")?;
        if !enabled.value {
            return Err(NoVerdict::does_not_apply("health checking is off"));
        }
        Ok(settings.value("cluster-health-port")?.map(|port| format!("TCP {port}")))
    },
    targets: |_, cluster| {
        let port = port_of(&cluster.cilium()?.value("cluster-health-port")?)?;
        on_nodes(cluster, families(cluster)?, &What::Service(Service::Tcp(port)))
    },
};

pub(crate) static ICMP: Flow = Flow {
    code: "CM507",
    from: "every node",
    to: "every node of the other clusters and its health endpoint",
    purpose: "Cilium's health matrix, round trip times",
    sender: |_, _| Ok(Sender::Nodes),
    reach: Reach::OtherClusters,
    need: |_, cluster| on(cluster, "enable-health-checking", "ICMP echo", "health checking is off"),
    targets: |_, cluster| on_nodes(cluster, families(cluster)?, &What::Service(Service::IcmpEcho)),
};

pub(crate) static PATH_MTU: Flow = Flow {
    code: "CM508",
    from: "every node",
    to: "every node of the other clusters",
    purpose: "full-size packets with what encapsulation and encryption add",
    sender: |_, _| Ok(Sender::Nodes),
    reach: Reach::OtherClusters,
    need: |_, cluster| {
        Ok(cluster
            .cilium()?
            .routing_mode()?
            .map(|mode| format!("the path MTU that {mode} routing needs")))
    },
    targets: |_, cluster| {
        let settings = cluster.cilium()?;
        let tunnels = settings.routing_mode()?.value == RoutingMode::Tunnel;
        let port = if tunnels {
            Some(settings.tunnel_port()?.value)
        } else {
            None
        };
        on_nodes(cluster, families(cluster)?, &What::PathMtu { port })
    },
};

pub(crate) static HUBBLE: Flow = Flow {
    code: "CM509",
    from: "Hubble Relay (a pod)",
    to: "every node of the other clusters",
    purpose: "flow visibility across the mesh",
    sender: |_, _| Ok(Sender::Pods),
    reach: Reach::OtherClusters,
    need: |_, cluster| {
        let settings = cluster.cilium()?;
        if !settings.flag("enable-hubble")?.value {
            return Err(NoVerdict::does_not_apply("Hubble is off"));
        }
        let relay = cluster
            .facts
            .workloads
            .get()?
            .iter()
            .any(|workload| workload.name == "hubble-relay");
        if !relay {
            return Err(NoVerdict::does_not_apply("Hubble Relay is not installed"));
        }
        let address = settings.value("hubble-listen-address")?;
        Ok(address.map(|address| format!("TCP {}", address.rsplit(':').next().unwrap_or("4244"))))
    },
    targets: |_, cluster| {
        let address = cluster.cilium()?.value("hubble-listen-address")?;
        let port = port_of(&address.map(|address| address.rsplit(':').next().unwrap_or_default().to_owned()))?;
        on_nodes(cluster, families(cluster)?, &What::Service(Service::Tcp(port)))
    },
};

fn on(cluster: &Cluster<'_>, key: &str, what: &str, off: &str) -> Need {
    let known = cluster.cilium()?.flag(key)?;
    if known.value {
        Ok(known.map(|_| what.to_owned()))
    } else {
        Err(NoVerdict::does_not_apply(off))
    }
}

fn port_of(text: &Known<String>) -> Result<u16, NoVerdict> {
    let port = text.value.parse();
    port.map_err(|_| crate::facts::provenance::Unknown::unparsable(&text.source, &text.value).into())
}

/// Where peers dial: the load balancer's addresses, else the nodes' port, else the ClusterIP.
fn control_plane(_: &Audit<'_>, cluster: &Cluster<'_>) -> Targets {
    let port = dialled_port(cluster)?.value;
    let Some(service) = service(cluster)? else {
        return Err(NoVerdict::does_not_apply(
            "the mesh is not enabled yet: there is no Service to dial",
        ));
    };
    let place = |host: &String| Target::place(format!("Service {}", service.key()), host, What::Tls(port));
    match service.kind.as_str() {
        "NodePort" => Ok(linux_nodes(cluster)?
            .into_iter()
            .map(|node| Target::node(node, node.internal_ips(), What::Tls(port)))
            .collect()),
        "LoadBalancer" if service.ingress.is_empty() => Err(NoVerdict::missing(
            crate::facts::provenance::Reason::NotFound,
            format!("Service {} has no address yet", service.key()),
        )),
        "LoadBalancer" => Ok(service.ingress.iter().map(place).collect()),
        _ => Ok(service.cluster_ips.iter().map(|ip| place(&ip.to_string())).collect()),
    }
}
