//! What is sent to a target, and what it needs there.

use std::net::IpAddr;

use super::super::{ProbeKind, SPARE_UDP_PORT, Service};
use crate::facts::kernel::NodeFacts;
use crate::profile::flow::What;

/// The largest packet that is worth trying.
const CEILING: u16 = 9_216;
/// The smallest path MTU that is worth knowing: what every IPv4 host must take (RFC 791), well below what any mesh can use.
const FLOOR: u16 = 576;
/// Sizes at which paths usually end: Ethernet and its tunnels.
const USUAL_SIZES: [u16; 16] = [
    9_000, 8_951, 8_900, 1_500, 1_480, 1_460, 1_450, 1_440, 1_430, 1_420, 1_400, 1_380, 1_370, 1_350, 1_320, 1_280,
];

/// The probe of this target at this address. `holder` is the node that holds it, `sender` the one that sends, each where it is known.
pub(super) fn of(
    what: &What,
    address: Option<IpAddr>,
    holder: Option<&NodeFacts>,
    sender: Option<&NodeFacts>,
) -> ProbeKind {
    match what {
        What::Service(Service::Tcp(port)) => ProbeKind::Tcp {
            port: *port,
            tls: false,
        },
        What::Tls(port) => ProbeKind::Tcp { port: *port, tls: true },
        What::Service(Service::Udp(port)) => ProbeKind::Udp { port: *port },
        What::Service(Service::IpProtocol(number)) => ProbeKind::IpProtocol { number: *number },
        What::Service(Service::IcmpEcho) => ProbeKind::Icmp,
        What::NatDiscovery {
            port,
            cluster_id,
            endpoint_id,
        } => ProbeKind::NatDiscovery {
            port: *port,
            cluster_id: cluster_id.clone(),
            endpoint_id: endpoint_id.clone(),
        },
        What::PathMtu { port } => {
            let free = port.filter(|port| *port != 0 && holder.is_some_and(|node| udp_is_free(node, *port)));
            path_mtu(free, address, sender)
        }
    }
}

/// What has to listen for a probe, if anything.
pub(super) fn service(kind: &ProbeKind) -> Option<Service> {
    match kind {
        ProbeKind::Tcp { port, .. } => Some(Service::Tcp(*port)),
        ProbeKind::Udp { port } | ProbeKind::PathMtu { port, .. } => Some(Service::Udp(*port)),
        ProbeKind::IpProtocol { number } => Some(Service::IpProtocol(*number)),
        ProbeKind::Icmp | ProbeKind::NatDiscovery { .. } | ProbeKind::Resolve { .. } => None,
    }
}

/// Whether nothing answers but a listener of ours.
pub(super) fn needs_listener(what: &What) -> bool {
    match what {
        What::Service(service) => matches!(service, Service::Udp(_) | Service::IpProtocol(_)),
        What::PathMtu { .. } => true,
        What::Tls(_) | What::NatDiscovery { .. } => false,
    }
}

fn path_mtu(port: Option<u16>, address: Option<IpAddr>, sender: Option<&NodeFacts>) -> ProbeKind {
    let own = address
        .and_then(|address| sender?.path_to(address))
        .and_then(|route| route.ok())
        .and_then(|route| u16::try_from(route.link_mtu).ok())
        .filter(|mtu| *mtu >= FLOOR);
    let ceiling = own.unwrap_or(CEILING).min(CEILING);
    let mut candidates: Vec<u16> = USUAL_SIZES.into_iter().filter(|size| *size < ceiling).collect();
    candidates.insert(0, ceiling);
    ProbeKind::PathMtu {
        port: port.unwrap_or(SPARE_UDP_PORT),
        floor: FLOOR,
        ceiling,
        candidates,
    }
}

/// Whether nothing holds this UDP port, socket or kernel tunnel.
fn udp_is_free(node: &NodeFacts, port: u16) -> bool {
    let by_socket = node.sockets.ok().is_none_or(|sockets| {
        sockets
            .iter()
            .any(|socket| socket.protocol == "udp" && socket.port == port)
    });
    let by_tunnel = node.links.ok().is_none_or(|links| {
        links
            .iter()
            .filter_map(|link| link.tunnel.as_ref())
            .any(|tunnel| tunnel.port == Some(port))
    });
    !by_socket && !by_tunnel
}
