//! What agents read on healthy nodes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::{NOW, value_mut};
use crate::facts::ClusterFacts;
use crate::facts::kernel::{
    BoundSocket, Clock, FileKind, FilterChain, KernelFeature, Link, LinkAddress, NetworkView, NodeFacts, PacketFilter,
    Presence, Route, Rule, Tunnel,
};
use crate::facts::provenance::{Fact, Source, Unknown};
use crate::profile::submariner::gateways::is_gateway;

/// A healthy node: one card `eth0` of MTU 1500 with 192.0.2.11/24 and a default route over 192.0.2.1, loose reverse-path filters,
/// every module there or loadable, its clock synchronised, nothing that listens but SSH and the kubelet.
pub fn node_facts(name: &str) -> NodeFacts {
    on_address(name, [192, 0, 2, 11].into())
}

fn on_address(name: &str, address: Ipv4Addr) -> NodeFacts {
    let source = |field: &str| Source::read(format!("node {name}"), field);
    let [a, b, c, _] = address.octets();
    let gateway: IpAddr = [a, b, c, 1].into();
    let loopback = Link {
        index: 1,
        name: "lo".to_owned(),
        kind: "loopback".to_owned(),
        mtu: 65536,
        up: true,
        addresses: vec![link_address([127, 0, 0, 1].into(), 8)],
        ..Link::default()
    };
    let card = Link {
        index: 2,
        name: "eth0".to_owned(),
        mtu: 1500,
        up: true,
        oper_state: "up".to_owned(),
        mac: mac(address),
        addresses: vec![link_address(address.into(), 24)],
        ..Link::default()
    };
    let default_route = Route {
        destination: "0.0.0.0/0".to_owned(),
        table: 254,
        gateway: Some(gateway),
        link: "eth0".to_owned(),
        protocol: "dhcp".to_owned(),
        ..Route::default()
    };
    let connected = Route {
        destination: format!("{a}.{b}.{c}.0/24"),
        table: 254,
        link: "eth0".to_owned(),
        source: Some(address.into()),
        protocol: "kernel".to_owned(),
        ..Route::default()
    };
    let rules = [(0, 255), (32766, 254), (32767, 253)].map(|(priority, table)| Rule {
        priority,
        table,
        ..Rule::default()
    });
    let socket = |protocol: &str, port| BoundSocket {
        protocol: protocol.to_owned(),
        address: Ipv4Addr::UNSPECIFIED.into(),
        port,
        uid: 0,
        program: String::new(),
    };
    NodeFacts {
        node: name.to_owned(),
        collected_at: Some(NOW.parse().expect("a timestamp")),
        collected_by: "0.1.0".to_owned(),
        network: Fact::known(NetworkView::Host, source("/proc/self/ns/net")),
        host_name: Fact::known(name.to_owned(), source("uname -n")),
        kernel_release: Fact::known("6.8.0-45-generic".to_owned(), source("uname -r")),
        capabilities: Fact::known(
            vec!["CAP_NET_ADMIN".to_owned(), "CAP_NET_RAW".to_owned()],
            source("capabilities"),
        ),
        links: Fact::known(vec![loopback, card], source("links")),
        routes: Fact::known(vec![default_route, connected], source("routes")),
        rules: Fact::known(rules.to_vec(), source("rules")),
        sysctls: Fact::known(
            SYSCTLS.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            source("/proc/sys"),
        ),
        sockets: Fact::known(vec![socket("tcp", 22), socket("tcp", 10250)], source("sockets")),
        features: Fact::known(
            FEATURES
                .map(|(name, presence)| KernelFeature {
                    name: name.to_owned(),
                    presence,
                    seen_in: "/lib/modules".to_owned(),
                })
                .to_vec(),
            source("modules"),
        ),
        xfrm_policies: Fact::known(Vec::new(), source("xfrm policies")),
        packet_filter: Fact::known(
            PacketFilter {
                chains: vec![FilterChain {
                    family: "ip".to_owned(),
                    table: "filter".to_owned(),
                    chain: "FORWARD".to_owned(),
                    hook: "forward".to_owned(),
                    drops_by_default: false,
                    rules: 3,
                }],
                ..PacketFilter::default()
            },
            source("packet filter"),
        ),
        clock: Fact::known(
            Clock {
                synchronised: true,
                max_error_micros: 3_000,
                estimated_error_micros: 40,
                source: "kvm-clock".to_owned(),
            },
            source("adjtimex"),
        ),
        counters: Fact::known(
            COUNTERS.map(|(name, count)| (name.to_owned(), count)).into(),
            source("/proc/net/snmp"),
        ),
        files: Fact::known(
            BTreeMap::from([
                ("/run/xtables.lock".to_owned(), FileKind::File),
                ("/run/NetworkManager".to_owned(), FileKind::Absent),
                ("/sys/fs/bpf".to_owned(), FileKind::Mount),
            ]),
            source("files"),
        ),
        ..NodeFacts::unread(name, &Unknown::not_found("not in this sample"))
    }
}

const SYSCTLS: [(&str, &str); 19] = [
    ("net.ipv4.ip_forward", "1"),
    ("net.ipv6.conf.all.forwarding", "1"),
    ("net.ipv6.conf.all.disable_ipv6", "0"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.eth0.rp_filter", "2"),
    ("net.ipv4.conf.all.forwarding", "1"),
    ("net.ipv4.conf.eth0.forwarding", "1"),
    ("net.ipv4.conf.all.send_redirects", "0"),
    ("net.ipv4.conf.eth0.send_redirects", "0"),
    ("net.ipv4.tcp_mtu_probing", "0"),
    ("net.ipv4.tcp_base_mss", "1024"),
    ("net.ipv4.ip_no_pmtu_disc", "0"),
    ("net.ipv4.ip_local_port_range", "32768\t60999"),
    ("net.ipv4.ip_local_reserved_ports", ""),
    ("net.netfilter.nf_conntrack_count", "1200"),
    ("net.netfilter.nf_conntrack_max", "262144"),
    ("crypto.fips_enabled", "0"),
    ("fs.inotify.max_user_instances", "8192"),
    ("fs.inotify.max_user_watches", "524288"),
];

const FEATURES: [(&str, Presence); 24] = [
    ("vxlan", Presence::Loadable),
    ("geneve", Presence::Loadable),
    ("wireguard", Presence::Loadable),
    ("esp4", Presence::Loadable),
    ("esp6", Presence::Loadable),
    ("xfrm_user", Presence::Loaded),
    ("gcm", Presence::BuiltIn),
    ("cbc", Presence::BuiltIn),
    ("sha256_generic", Presence::BuiltIn),
    ("ip_set", Presence::Loaded),
    ("ip_set_hash_net", Presence::Loadable),
    ("ip_set_hash_ip", Presence::Loadable),
    ("xt_set", Presence::Loadable),
    ("xt_comment", Presence::Loaded),
    ("xt_mark", Presence::Loaded),
    ("xt_MARK", Presence::Loaded),
    ("xt_CT", Presence::Loadable),
    ("xt_socket", Presence::Loadable),
    ("xt_TPROXY", Presence::Loadable),
    ("xt_TCPMSS", Presence::Loadable),
    ("xt_nat", Presence::Loaded),
    ("iptable_nat", Presence::Loadable),
    ("nf_nat", Presence::Loaded),
    ("nf_tables", Presence::Loaded),
];

const COUNTERS: [(&str, u64); 8] = [
    ("Udp.InDatagrams", 1_000_000),
    ("Udp.NoPorts", 120),
    ("Udp.InCsumErrors", 0),
    ("Tcp.InSegs", 90_000_000),
    ("Tcp.InCsumErrors", 2),
    ("Ip.InReceives", 100_000_000),
    ("TcpExt.IPReversePathFilter", 0),
    ("IpExt.InCsumErrors", 0),
];

fn link_address(ip: IpAddr, prefix_len: u8) -> LinkAddress {
    LinkAddress {
        ip,
        prefix_len,
        scope: "global".to_owned(),
        secondary: false,
    }
}

fn mac(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("52:54:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// Gives every node of a cluster an agent, with the devices and routes of what runs in the cluster: Cilium's, Flannel's, Submariner's.
pub fn with_agents(mut facts: ClusterFacts) -> ClusterFacts {
    let nodes = facts.nodes.get().expect("the sample has nodes").clone();
    let has_cilium = facts.cilium.ok().is_some();
    let has_flannel = facts.cni.flannel.ok().is_some();
    let is_member = facts
        .submariner
        .ok()
        .is_some_and(|submariner| submariner.config.ok().is_some());
    facts.node_facts = nodes
        .iter()
        .map(|node| {
            let address = node.internal_ips().find_map(|ip| match ip {
                IpAddr::V4(ip) => Some(ip),
                IpAddr::V6(_) => None,
            });
            let mut kernel = on_address(&node.name, address.expect("the sample's nodes have IPv4 addresses"));
            let pods = node.pod_cidrs.first().map(|cidr| cidr.first());
            let Some(IpAddr::V4(pods)) = pods else {
                return kernel;
            };
            let [a, b, c, _] = pods.octets();
            let others = nodes.iter().filter(|other| other.name != node.name);
            let remote: Vec<String> = others
                .flat_map(|other| &other.pod_cidrs)
                .map(ToString::to_string)
                .collect();
            if has_cilium {
                add_link(
                    &mut kernel,
                    "cilium_host",
                    "veth",
                    1500,
                    None,
                    Some(link_address([a, b, c, 77].into(), 32)),
                );
                add_link(&mut kernel, "cilium_vxlan", "vxlan", 1500, Some(8472), None);
                add_routes(&mut kernel, "cilium_host", &remote, Some(1450));
            }
            if has_flannel {
                add_link(
                    &mut kernel,
                    "flannel.1",
                    "vxlan",
                    1450,
                    Some(8472),
                    Some(link_address(pods.into(), 32)),
                );
                add_link(
                    &mut kernel,
                    "cni0",
                    "bridge",
                    1450,
                    None,
                    Some(link_address([a, b, c, 1].into(), 24)),
                );
                add_routes(&mut kernel, "flannel.1", &remote, None);
            }
            if is_member {
                let own = address.expect("checked above").octets();
                let vtep = is_gateway(node).then(|| link_address([240, own[1], own[2], own[3]].into(), 8));
                add_link(&mut kernel, "vx-submariner", "vxlan", 1450, Some(4800), vtep);
            }
            kernel
        })
        .collect();
    facts
}

fn add_link(kernel: &mut NodeFacts, name: &str, kind: &str, mtu: u32, port: Option<u16>, address: Option<LinkAddress>) {
    let links = value_mut(&mut kernel.links);
    let index = u32::try_from(links.len() + 1).expect("few links");
    links.push(Link {
        index,
        name: name.to_owned(),
        kind: kind.to_owned(),
        mtu,
        up: true,
        mac: format!(
            "0a:00:00:00:{:02x}:{index:02x}",
            kernel.node.bytes().fold(0_u8, u8::wrapping_add)
        ),
        tunnel: port.map(|port| Tunnel {
            port: Some(port),
            ..Tunnel::default()
        }),
        addresses: address.into_iter().collect(),
        ..Link::default()
    });
    let own = [("rp_filter", "0"), ("forwarding", "1"), ("send_redirects", "0")];
    for (setting, value) in own {
        let value = if setting == "rp_filter" && ["vx-submariner", "cni0", "flannel.1"].contains(&name) {
            "2"
        } else {
            value
        };
        let key = format!("net.ipv4.conf.{}.{setting}", name.replace('.', "/"));
        value_mut(&mut kernel.sysctls).insert(key, value.to_owned());
    }
    if let Some(port) = port {
        value_mut(&mut kernel.sockets).push(BoundSocket {
            protocol: "udp".to_owned(),
            address: Ipv4Addr::UNSPECIFIED.into(),
            port,
            uid: 0,
            program: String::new(),
        });
    }
}

fn add_routes(kernel: &mut NodeFacts, link: &str, destinations: &[String], mtu: Option<u32>) {
    let routes = destinations.iter().map(|destination| Route {
        destination: destination.clone(),
        table: 254,
        link: link.to_owned(),
        mtu,
        protocol: "kernel".to_owned(),
        ..Route::default()
    });
    value_mut(&mut kernel.routes).extend(routes);
}

/// What the agent on a node read, to change it.
pub fn kernel_mut<'a>(facts: &'a mut ClusterFacts, node: &str) -> &'a mut NodeFacts {
    let found = facts.node_facts.iter_mut().find(|kernel| kernel.node == node);
    found.expect("the sample has an agent on this node")
}

/// Sets a kernel setting.
pub fn set_sysctl(kernel: &mut NodeFacts, name: &str, value: &str) {
    value_mut(&mut kernel.sysctls).insert(name.to_owned(), value.to_owned());
}

/// Says in what form the kernel has a feature.
pub fn set_feature(kernel: &mut NodeFacts, name: &str, presence: Presence) {
    let features = value_mut(&mut kernel.features);
    features.retain(|feature| feature.name != name);
    features.push(KernelFeature {
        name: name.to_owned(),
        presence,
        seen_in: "modules.dep".to_owned(),
    });
}

/// A link, to change it.
pub fn link_mut<'a>(kernel: &'a mut NodeFacts, name: &str) -> &'a mut Link {
    let found = value_mut(&mut kernel.links).iter_mut().find(|link| link.name == name);
    found.expect("the sample has this link")
}

/// Adds a socket that holds a port.
pub fn add_socket(kernel: &mut NodeFacts, protocol: &str, port: u16, program: &str) {
    value_mut(&mut kernel.sockets).push(BoundSocket {
        protocol: protocol.to_owned(),
        address: Ipv4Addr::UNSPECIFIED.into(),
        port,
        uid: 0,
        program: program.to_owned(),
    });
}
