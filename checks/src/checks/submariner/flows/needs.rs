//! The traffic Submariner needs, as data. Source of the ports: Submariner, `pkg/port/ports.go` and the prerequisites page.

use super::joined::own_addresses;
use crate::check::NoVerdict;
use crate::facts::provenance::{Known, Reason, Source};
use crate::facts::submariner::Gateway;
use crate::fleet::{Audit, Cluster};
use crate::plan::{SPARE_UDP_PORT, Service};
use crate::profile::cilium::control_plane::parse_endpoint;
use crate::profile::flow::{Flow, PODS, Reach, Sender, Target, What};
use crate::profile::submariner::discovery::is_ovn_kubernetes;
use crate::profile::submariner::gateways::{labelled_or_candidates, own_endpoint, setting};
use crate::profile::submariner::{Mesh, NAT_DISCOVERY_PORT, TUNNEL_PORT, declared, field, installed};

/// The UDP port of the VXLAN between the nodes of a cluster, a constant of the route agent.
const INTRA_CLUSTER_PORT: u16 = 4800;

/// Who a gateway asks for its public address, in random order; one that answers is enough. Source: Submariner, `pkg/endpoint/public_ip.go`.
const PUBLIC_ADDRESS_SERVICES: [&str; 3] = ["api.ipify.org", "checkip.amazonaws.com", "ifconfig.me"];

/// What only exists once Submariner runs cannot be proven before.
pub(super) fn joined(cluster: &Cluster<'_>) -> Result<(), NoVerdict> {
    match installed(cluster)? {
        Some(_) => Ok(()),
        None => Err(NoVerdict::does_not_apply(
            "Submariner is not installed yet: there is nothing to reach",
        )),
    }
}

/// The port on which the tunnels of this cluster arrive: the installed `natTPort`, else the product's default. What is no port becomes 0,
/// which no probe can be sent to and the check of the setting itself reports.
fn tunnel_port(cluster: &Cluster<'_>) -> Result<u16, NoVerdict> {
    let port = match installed(cluster)? {
        Some(config) => config.value.nat_t_port.unwrap_or(0),
        None => i64::from(TUNNEL_PORT),
    };
    Ok(u16::try_from(port).unwrap_or(0))
}

/// The same thing on every gateway or candidate, on its IPv4 InternalIPs, with the port that the node's own setting may change.
fn on_gateways(
    cluster: &Cluster<'_>,
    name: &str,
    port: u16,
    what: impl Fn(u16) -> What,
) -> Result<Vec<Target>, NoVerdict> {
    let gateways = labelled_or_candidates(cluster)?.into_iter();
    Ok(gateways
        .map(|node| {
            let own = setting(node, name).and_then(|(value, _)| value.trim().parse().ok());
            Target::node(
                node,
                node.internal_ips().filter(std::net::IpAddr::is_ipv4),
                what(own.unwrap_or(port)),
            )
        })
        .collect())
}

/// A gateway that runs, active or not, is asked in its own language, at its private and its public address; where none runs, the port is
/// proven.
fn nat_discovery(_: &Audit<'_>, cluster: &Cluster<'_>) -> Result<Vec<Target>, NoVerdict> {
    let running: &[Gateway] = match installed(cluster)? {
        Some(_) => cluster.facts.submariner.get()?.gateways.get()?,
        None => &[],
    };
    let mut targets = on_gateways(cluster, "natt-discovery-port", NAT_DISCOVERY_PORT, |port| {
        What::Service(Service::Udp(port))
    })?;
    let mut public = Vec::new();
    for target in &mut targets {
        let gateway = running.iter().find(|gateway| gateway.name == target.name);
        let Some(endpoint) = gateway.and_then(|gateway| gateway.local_endpoint.as_ref()) else {
            continue;
        };
        let What::Service(Service::Udp(port)) = target.what else {
            continue;
        };
        target.what = What::NatDiscovery {
            port,
            cluster_id: endpoint.cluster_id.clone(),
            endpoint_id: endpoint.cable_name.clone(),
        };
        let elsewhere = endpoint
            .public_ips
            .iter()
            .filter(|ip| !endpoint.private_ips.contains(ip));
        for ip in elsewhere {
            public.push(Target::place(
                format!("public address of {}", target.name),
                ip,
                target.what.clone(),
            ));
        }
    }
    targets.extend(public);
    Ok(targets)
}

/// The broker's API server: what a member was told, what is planned, else the API server of the audited cluster that holds the broker.
fn broker(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Result<Vec<Target>, NoVerdict> {
    let url = match (installed(cluster)?, &audit.intent.submariner.broker_url) {
        (Some(config), _) => Some(config.value.broker_api_server.clone()),
        (None, Some(url)) => Some(url.clone()),
        (None, None) => match Mesh::of(audit).broker()? {
            Some(broker) => Some(broker.cluster.facts.api_server.get()?.clone()),
            None => None,
        },
    };
    let endpoint = url.as_deref().and_then(parse_endpoint);
    let endpoint = endpoint.ok_or_else(|| {
        NoVerdict::missing(
            Reason::NotFound,
            "where the broker's API server is dialled is not known: declare submariner.brokerUrl",
        )
    })?;
    Ok(vec![Target::place("broker", &endpoint.host, What::Tls(endpoint.port))])
}

pub(crate) static TUNNEL: Flow = Flow {
    code: "SM501",
    from: "the gateways",
    to: "the gateways of the other clusters",
    purpose: "IKE, WireGuard or the VXLAN cable",
    sender: |_, _| Ok(Sender::Gateways),
    reach: Reach::OtherClusters,
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
    targets: |_, cluster| {
        on_gateways(cluster, "udp-port", tunnel_port(cluster)?, |port| {
            What::Service(Service::Udp(port))
        })
    },
};

pub(crate) static NAT_DISCOVERY: Flow = Flow {
    code: "SM502",
    from: "the gateways",
    to: "the gateways of the other clusters, private and public address",
    purpose: "NAT discovery",
    sender: |_, _| Ok(Sender::Gateways),
    reach: Reach::OtherClusters,
    need: |_, cluster| {
        labelled_or_candidates(cluster)?;
        Ok(Known::new(
            format!("UDP {NAT_DISCOVERY_PORT}"),
            Source::default_of("gateway", "natt-discovery-port", "Submariner"),
        ))
    },
    targets: nat_discovery,
};

pub(crate) static ESP: Flow = Flow {
    code: "SM503",
    from: "the gateways",
    to: "the private addresses of the other gateways",
    purpose: "encrypted traffic where no NAT lies between",
    sender: |_, _| Ok(Sender::Gateways),
    reach: Reach::OtherClusters,
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
    targets: |_, cluster| on_gateways(cluster, "", 0, |_| What::Service(Service::IpProtocol(50))),
};

pub(crate) static INTRA_CLUSTER: Flow = Flow {
    code: "SM504",
    from: "every node",
    to: "the gateways of its own cluster",
    purpose: "pod traffic to the gateway, with its source address",
    sender: |_, _| Ok(Sender::Nodes),
    reach: Reach::OwnCluster,
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
    targets: |_, cluster| {
        on_gateways(cluster, "", INTRA_CLUSTER_PORT, |port| {
            What::Service(Service::Udp(port))
        })
    },
};

pub(crate) static BROKER_API: Flow = Flow {
    code: "SM505",
    from: "gateway pods, the operator and Lighthouse",
    to: "the broker's API server",
    purpose: "exchange of Clusters, Endpoints and ServiceImports",
    sender: |_, _| Ok(Sender::Gateways),
    reach: Reach::Places,
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
    targets: broker,
};

pub(crate) static HEALTH_CHECK: Flow = Flow {
    code: "SM506",
    from: "gateways and route agents",
    to: "the health-check address of the other gateways, inside the tunnel",
    purpose: "health checks",
    sender: |_, _| Ok(Sender::Gateways),
    reach: Reach::OtherClusters,
    need: |audit, cluster| {
        joined(cluster)?;
        let check = Mesh::of(audit).health_check(cluster)?;
        if check.value {
            Ok(check.map(|_| "ICMP echo".to_owned()))
        } else {
            Err(NoVerdict::does_not_apply("health checks are off"))
        }
    },
    targets: |_, cluster| {
        let endpoint = own_endpoint(cluster)?.map(|(endpoint, _)| endpoint);
        let addresses = endpoint
            .map(|endpoint| endpoint.health_check_ips.clone())
            .unwrap_or_default();
        Ok(addresses
            .iter()
            .map(|ip| Target::place("health-check address", ip, What::Service(Service::IcmpEcho)))
            .collect())
    },
};

pub(crate) static DNS: Flow = Flow {
    code: "SM507",
    from: "cluster DNS",
    to: "Lighthouse's DNS server in its own cluster",
    purpose: "names in clusterset.local",
    sender: |_, _| Ok(Sender::Pods),
    reach: Reach::OwnCluster,
    need: |audit, cluster| {
        joined(cluster)?;
        let discovery = Mesh::of(audit).service_discovery(cluster)?;
        if discovery.value {
            Ok(discovery.map(|_| "UDP and TCP 53".to_owned()))
        } else {
            Err(NoVerdict::does_not_apply("service discovery is off"))
        }
    },
    targets: |_, cluster| {
        let services = cluster.facts.services.get()?;
        let lighthouse = services
            .iter()
            .filter(|service| service.name == "submariner-lighthouse-coredns");
        let addresses = lighthouse.flat_map(|service| &service.cluster_ips);
        Ok(addresses
            .map(|ip| {
                Target::place(
                    "Lighthouse's DNS server",
                    &ip.to_string(),
                    What::Service(Service::Tcp(53)),
                )
            })
            .collect())
    },
};

pub(crate) static PUBLIC_IP: Flow = Flow {
    code: "SM508",
    from: "the gateways",
    to: "public address services",
    purpose: "resolution of the public address",
    sender: |_, _| Ok(Sender::Gateways),
    reach: Reach::AnyPlace,
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
    targets: |_, _| {
        let services = PUBLIC_ADDRESS_SERVICES.iter();
        Ok(services
            .map(|host| Target::place(*host, host, What::Service(Service::Tcp(443))))
            .collect())
    },
};

pub(crate) static APPLICATIONS: Flow = Flow {
    code: "SM510",
    from: "pods on every node",
    to: "pods on every node of the joined clusters",
    purpose: "application traffic inside the tunnel",
    sender: |_, _| Ok(Sender::PodsOfEveryNode),
    reach: Reach::JoinedClusters,
    need: |audit, cluster| {
        own_addresses(audit, cluster)?;
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
    targets: |_, _| Ok(vec![Target::ours(PODS, What::Service(Service::Udp(SPARE_UDP_PORT)))]),
};

pub(crate) static PATH_MTU: Flow = Flow {
    code: "SM511",
    from: "the gateways",
    to: "the gateways of the other clusters",
    purpose: "full-size packets with what the cable adds",
    sender: |_, _| Ok(Sender::Gateways),
    reach: Reach::OtherClusters,
    need: |audit, cluster| {
        Ok(Mesh::of(audit)
            .cable_driver(cluster)?
            .map(|driver| format!("the path MTU that {driver} needs")))
    },
    targets: |_, cluster| {
        on_gateways(cluster, "udp-port", tunnel_port(cluster)?, |port| What::PathMtu {
            port: Some(port),
        })
    },
};
