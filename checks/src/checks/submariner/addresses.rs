//! The addresses at which gateways find each other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

use crate::alike::some_of;
use crate::check::{Check, Judged, NoVerdict, declare_check};
use crate::facts::node::Node;
use crate::facts::provenance::{Source, Unknown};
use crate::facts::submariner::Endpoint;
use crate::fleet::{Audit, Cluster};
use crate::outcome::{ClusterId, Outcome};
use crate::profile::submariner::gateways::{
    self, active, has_fixed_public_ip, labelled, labelled_or_candidates, own_endpoint, setting,
};
use crate::profile::submariner::{Mesh, installed, member};
use crate::report::{Evidence, Severity};

pub(super) static CHECKS: &[&Check] = &[
    &SHARED_NAT_PORT,
    &AIR_GAPPED_ADDRESS,
    &PRIVATE_ADDRESSES,
    &SHARED_PUBLIC_ADDRESS,
    &NETWORK_LOAD_BALANCER,
    &PUBLIC_ADDRESS_FAMILY,
    &PUBLIC_ADDRESS,
];

/// Members with what they tell about their gateways, and why the others tell nothing.
struct Endpoints<'a> {
    members: Vec<(ClusterId, &'a Endpoint, Source)>,
    outcomes: Vec<Outcome>,
}

impl<'a> Endpoints<'a> {
    fn of(audit: &Audit<'a>) -> Self {
        let mut endpoints = Self {
            members: Vec::new(),
            outcomes: Vec::new(),
        };
        let mut without: BTreeMap<NoVerdict, Vec<ClusterId>> = BTreeMap::new();
        for cluster in audit.clusters {
            match own_endpoint(cluster) {
                Ok(Some((endpoint, source))) => endpoints.members.push((cluster.id, endpoint, source)),
                Ok(None) => {
                    let why = NoVerdict::does_not_apply("no gateway is active");
                    without.entry(why).or_default().push(cluster.id);
                }
                Err(why) => without.entry(why.into()).or_default().push(cluster.id),
            }
        }
        let silent = without.into_iter().map(|(why, ids)| Outcome::none(why).about(ids));
        endpoints.outcomes = silent.collect();
        endpoints
    }

    /// Members by a value of their endpoint.
    fn by<K: Ord>(&self, key: impl Fn(&Endpoint) -> Option<K>) -> BTreeMap<K, Vec<&(ClusterId, &'a Endpoint, Source)>> {
        let mut groups: BTreeMap<K, Vec<_>> = BTreeMap::new();
        for member in &self.members {
            if let Some(key) = key(member.1) {
                groups.entry(key).or_default().push(member);
            }
        }
        groups
    }
}

/// The first address that is not empty.
fn first(addresses: &[String]) -> Option<&str> {
    addresses.iter().map(String::as_str).find(|address| !address.is_empty())
}

fn ipv4(addresses: &[String]) -> Option<Ipv4Addr> {
    addresses.iter().find_map(|address| address.parse().ok())
}

declare_check! {
    /// ## What it checks
    /// Gateways behind one public address use different UDP ports.
    ///
    /// ## Why it matters
    /// A router forwards a port to one host. Of two gateways that others look for at the same address and port only one can be reached from
    /// outside. Gateways that only connect out, to a preferred server or on a private path, need no forwarding.
    ///
    /// ## How it is determined
    /// `public_ip` and `udp-port` of members' `Endpoint` objects. It fails if a member elsewhere that is no preferred server is not connected with one of
    /// them, else it is a warning: equal ports may work by luck while the router keeps them apart.
    ///
    /// ## How to fix
    /// Annotate the gateway nodes with different `gateway.submariner.io/udp-port`, forward each, and restart the gateway pods. Not with the VXLAN
    /// cable driver, which needs one port everywhere.
    ///
    /// ## References
    /// Submariner documentation, NAT traversal; submariner issue 1492.
    pub static SHARED_NAT_PORT = {
        code: "SM409",
        slug: "gateway-shared-nat-port",
        title: "Gateways behind one public address use one port",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the router forwards the port to one of them: the others cannot be reached from outside",
        rules: ["submariner NODE-09"],
        run: Between(shared_nat_port),
    };
}

fn shared_nat_port(audit: &Audit<'_>) -> Vec<Outcome> {
    let endpoints = Endpoints::of(audit);
    let port = |endpoint: &Endpoint| endpoint.backend_config.get("udp-port").cloned().unwrap_or_default();
    let groups = endpoints.by(|endpoint| Some((first(&endpoint.public_ips)?.to_owned(), port(endpoint))));
    let connected = connections(audit);
    let mut outcomes = Vec::new();
    for ((address, port), group) in groups.into_iter().filter(|(_, group)| group.len() > 1) {
        let cut_off = endpoints.members.iter().any(|(id, endpoint, _)| {
            let elsewhere = first(&endpoint.public_ips) != Some(address.as_str());
            let dialled = endpoint
                .backend_config
                .get("preferred-server")
                .is_some_and(|value| value == "true");
            let reaches = |peer: &Endpoint| connected.contains(&(*id, peer.cluster_id.as_str()));
            elsewhere && !dialled && !group.iter().all(|(_, peer, _)| reaches(peer))
        });
        let severity = if cut_off { Severity::Fail } else { Severity::Warn };
        outcomes.push(
            shared(audit, &group, Outcome::broken_as(severity))
                .expected("a UDP port of its own for each gateway behind one address")
                .found(format!("{address} port {port} for {}", audit.names(&ids(&group))))
                .remedy("annotate the gateway nodes with different gateway.submariner.io/udp-port, forward each port")
                .cause(format!("public address {address}")),
        );
    }
    conclude(endpoints, outcomes, "no gateways share address and port")
}

/// Which member says that it is connected with which cluster ID.
fn connections<'a>(audit: &Audit<'a>) -> BTreeSet<(ClusterId, &'a str)> {
    let of = |cluster: &Cluster<'a>| Some((cluster.id, active(cluster).ok()??.0));
    audit
        .clusters
        .iter()
        .filter_map(of)
        .flat_map(|(id, gateway)| {
            let up = gateway
                .connections
                .iter()
                .filter(|connection| connection.status == "connected");
            up.map(move |connection| (id, connection.endpoint.cluster_id.as_str()))
        })
        .collect()
}

fn ids(group: &[&(ClusterId, &Endpoint, Source)]) -> Vec<ClusterId> {
    group.iter().map(|(id, _, _)| *id).collect()
}

fn shared(audit: &Audit<'_>, group: &[&(ClusterId, &Endpoint, Source)], outcome: Outcome) -> Outcome {
    let evidence = group.iter().map(|(id, endpoint, source)| {
        let value = first(&endpoint.public_ips).unwrap_or_default();
        Evidence::new(audit.cluster(*id).name(), &value, source)
    });
    outcome.evidence_all(evidence).within(ids(group)).about(ids(group))
}

/// What is broken, or that nothing is, and who could not be asked.
fn conclude(endpoints: Endpoints<'_>, mut outcomes: Vec<Outcome>, holds: &str) -> Vec<Outcome> {
    let members: Vec<ClusterId> = endpoints.members.iter().map(|(id, _, _)| *id).collect();
    if outcomes.is_empty() && members.len() > 1 {
        outcomes.push(Outcome::holds().found(holds).about(members));
    } else if outcomes.is_empty() && !members.is_empty() {
        outcomes.push(crate::compare::nothing_to_compare(members));
    }
    outcomes.extend(endpoints.outcomes);
    outcomes
}

declare_check! {
    /// ## What it checks
    /// With `--air-gapped`, gateways have their public address from an annotation if they need one.
    ///
    /// ## Why it matters
    /// An air-gapped gateway asks nobody for its public address, not even the load balancer before it: the address it publishes is empty, and
    /// peers that cannot use the private one find no way in.
    ///
    /// ## How it is determined
    /// `airGappedDeployment` and `loadBalancerEnabled` of the `Submariner` object or the plan, and items `ipv4:` of the gateway nodes' setting
    /// `public-ip`. Without a load balancer an empty public address is recorded only: private paths may do.
    ///
    /// ## How to fix
    /// `kubectl annotate node NAME gateway.submariner.io/public-ip=ipv4:ADDRESS`, and restart the gateway pod.
    ///
    /// ## References
    /// submariner issues 2053 and 4108.
    pub static AIR_GAPPED_ADDRESS = {
        code: "SM420",
        slug: "air-gapped-address",
        title: "An air-gapped gateway publishes no address",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the address of the load balancer is not found out: peers outside find no way in",
        rules: ["submariner ADDR-03"],
        run: Cluster(air_gapped_address),
    };
}

fn air_gapped_address(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let mesh = Mesh::of(audit);
    let air_gapped = mesh.air_gapped(cluster)?;
    if !air_gapped.value {
        return Err(NoVerdict::does_not_apply("not air-gapped"));
    }
    let balanced = mesh.load_balancer(cluster)?;
    let gateways = labelled_or_candidates(cluster)?;
    let without: Vec<&str> = gateways
        .iter()
        .filter(|node| !has_fixed_public_ip(node))
        .map(|node| node.name.as_str())
        .collect();
    let outcome = match (without.is_empty(), balanced.value) {
        (true, _) => Outcome::holds().found("every gateway's address is annotated"),
        (false, true) => Outcome::broken().found(format!("a load balancer, and no address on {}", some_of(&without))),
        (false, false) => {
            Outcome::broken_as(Severity::Info).found(format!("no public address on {}", some_of(&without)))
        }
    };
    Ok(outcome
        .expected("an annotated public address on every gateway node")
        .evidence(Evidence::of(cluster.name(), &air_gapped))
        .evidence(Evidence::of(cluster.name(), &balanced))
        .remedy("annotate gateway nodes with gateway.submariner.io/public-ip=ipv4:ADDRESS")
        .nodes(without))
}

declare_check! {
    /// ## What it checks
    /// No gateways of two clusters have the same private address.
    ///
    /// ## Why it matters
    /// A gateway that looks for its peer at an address of its own finds itself: the private path can never be tested. With the VXLAN cable driver
    /// both get the same tunnel address, with libreswan the same identity. Equal *ranges* of nodes are no fault.
    ///
    /// ## How it is determined
    /// `private_ip` of members' `Endpoint` objects and the first IPv4 InternalIP of nodes labelled as gateways or, while none is, of those that
    /// `subctl join` would offer. It fails with VXLAN; with libreswan and a preferred server, a load balancer or one common public address; and
    /// where no public address is left. Else it is a warning.
    ///
    /// ## How to fix
    /// Renumber one of the gateways, or use WireGuard over public addresses.
    ///
    /// ## References
    /// `submariner`, `pkg/cable/libreswan/libreswan.go` and `pkg/cable/vxlan/vxlan.go`; submariner issue 761.
    pub static PRIVATE_ADDRESSES = {
        code: "SM421",
        slug: "gateway-private-addresses",
        title: "Gateways of different clusters have one private address",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "each looks for the other at its own address",
        rules: ["submariner ADDR-04", "submariner KIND-04"],
        run: Between(private_addresses),
    };
}

/// The clusters with one address, and where each has it from.
type Holders = Vec<(ClusterId, Source)>;

fn private_addresses(audit: &Audit<'_>) -> Vec<Outcome> {
    let mesh = Mesh::of(audit);
    let mut outcomes = Vec::new();
    let mut holders: HashMap<Ipv4Addr, Holders> = HashMap::new();
    let mut asked = Vec::new();
    for cluster in audit.clusters {
        match gateway_addresses(cluster) {
            Ok(addresses) => {
                asked.push(cluster.id);
                for (address, source) in addresses {
                    holders.entry(address).or_default().push((cluster.id, source));
                }
            }
            Err(why) => outcomes.push(Outcome::none(why).about([cluster.id])),
        }
    }
    // Clusters that share several addresses share one fault.
    let mut shared: BTreeMap<Vec<ClusterId>, BTreeMap<Ipv4Addr, Holders>> = BTreeMap::new();
    for (address, holders) in holders.into_iter().filter(|(_, holders)| holders.len() > 1) {
        let ids = holders.iter().map(|(id, _)| *id).collect();
        shared.entry(ids).or_default().insert(address, holders);
    }
    let broken = shared.into_iter().map(|(ids, addresses)| {
        let evidence = addresses.iter().flat_map(|(address, holders)| {
            holders
                .iter()
                .map(|(id, source)| Evidence::new(audit.cluster(*id).name(), address, source))
        });
        Outcome::broken_as(clash(&mesh, audit, &ids))
            .expected("a private address of its own for each gateway")
            .found(format!("{} on {}", some_of(addresses.keys()), audit.names(&ids)))
            .evidence_all(evidence.take(8))
            .remedy("renumber the gateways of all but one of them, or use WireGuard over public addresses")
            .within(ids.clone())
            .about(ids.clone())
    });
    let broken: Vec<Outcome> = broken.collect();
    if broken.is_empty() && asked.len() > 1 {
        outcomes.insert(0, Outcome::holds().found("different addresses").about(asked));
    } else if broken.is_empty() && !asked.is_empty() {
        outcomes.insert(0, crate::compare::nothing_to_compare(asked));
    }
    outcomes.splice(0..0, broken);
    outcomes
}

/// The private addresses of a cluster's gateways, those they have and those they may get.
fn gateway_addresses(cluster: &Cluster<'_>) -> Result<BTreeMap<Ipv4Addr, Source>, Unknown> {
    let nodes = if installed(cluster)?.is_some() {
        labelled(cluster)?
    } else {
        labelled_or_candidates(cluster)?
    };
    gateways::private_addresses(cluster, nodes)
}

/// What it means that gateways of these clusters have one private address.
fn clash(mesh: &Mesh<'_>, audit: &Audit<'_>, ids: &[ClusterId]) -> Severity {
    let clusters = || ids.iter().map(|id| audit.cluster(*id));
    let driver =
        |name: &str| clusters().any(|cluster| mesh.cable_driver(cluster).is_ok_and(|known| known.value == name));
    let public_addresses = || {
        clusters()
            .filter_map(|cluster| own_endpoint(cluster).ok().flatten())
            .map(|(endpoint, _)| first(&endpoint.public_ips))
    };
    let distinct: BTreeSet<_> = public_addresses().flatten().collect();
    let one_public_address = distinct.len() < public_addresses().flatten().count();
    let dialled = || {
        clusters().any(|cluster| {
            let by_object = installed(cluster)
                .ok()
                .flatten()
                .is_some_and(|own| own.value.preferred_server == Some(true));
            let by_setting = |node: &&Node| setting(node, "preferred-server").is_some_and(|(value, _)| value == "true");
            by_object || labelled(cluster).is_ok_and(|nodes| nodes.iter().any(by_setting))
        })
    };
    let balanced = || clusters().any(|cluster| mesh.load_balancer(cluster).is_ok_and(|known| known.value));
    let only_private = public_addresses().any(|address| address.is_none());
    if driver("vxlan") || only_private || (driver("libreswan") && (one_public_address || dialled() || balanced())) {
        Severity::Fail
    } else {
        Severity::Warn
    }
}

declare_check! {
    /// ## What it checks
    /// No two members publish the same public address.
    ///
    /// ## Why it matters
    /// Members behind one router find each other at their private addresses, or only if the router turns packets around (hairpin). If NAT
    /// discovery cannot tell, they stay in `connecting`.
    ///
    /// ## How it is determined
    /// `public_ip` of members' `Endpoint` objects.
    ///
    /// ## How to fix
    /// Join with `--natt=false` if they reach each other privately; else give each gateway a port of its own, forward them, and see that the
    /// router turns packets around.
    ///
    /// ## References
    /// submariner issue 2901.
    pub static SHARED_PUBLIC_ADDRESS = {
        code: "SM422",
        slug: "gateway-shared-public-address",
        title: "Members share one public address",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "they reach each other only privately, or if their router turns packets around",
        rules: ["submariner ADDR-05"],
        run: Between(shared_public_address),
    };
}

fn shared_public_address(audit: &Audit<'_>) -> Vec<Outcome> {
    let endpoints = Endpoints::of(audit);
    let groups = endpoints.by(|endpoint| first(&endpoint.public_ips).map(str::to_owned));
    let outcomes = groups
        .into_iter()
        .filter(|(_, group)| group.len() > 1)
        .map(|(address, group)| {
            shared(audit, &group, Outcome::broken())
                .expected("a public address of its own for each member")
                .found(format!("{address} for {}", audit.names(&ids(&group))))
                .remedy("join with --natt=false if they reach each other privately, else forward a port for each")
                .cause(format!("public address {address}"))
        })
        .collect();
    conclude(endpoints, outcomes, "different public addresses")
}

declare_check! {
    /// ## What it checks
    /// No load balancer of AWS stands before the gateway.
    ///
    /// ## Why it matters
    /// It cannot carry NAT discovery reliably. Peers wait six seconds and then use the public address, which is what is wanted here.
    ///
    /// ## How it is determined
    /// `loadBalancerEnabled` and the nodes' provider.
    ///
    /// ## How to fix
    /// Nothing needs to be done.
    ///
    /// ## References
    /// submariner issue 1410.
    pub static NETWORK_LOAD_BALANCER = {
        code: "SM423",
        slug: "aws-network-load-balancer",
        title: "NAT discovery gets no answer through AWS' load balancer",
        severity: Info,
        profiles: [Submariner],
        since: "0.1.0",
        why: "connecting takes some seconds more",
        rules: ["submariner ADDR-06"],
        run: Cluster(network_load_balancer),
    };
}

fn network_load_balancer(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let balanced = Mesh::of(audit).load_balancer(cluster)?;
    if !balanced.value {
        return Err(NoVerdict::does_not_apply("no load balancer stands before the gateway"));
    }
    let nodes = cluster.facts.nodes.get()?;
    let Some(node) = nodes.iter().find(|node| node.provider_id.starts_with("aws://")) else {
        return Ok(Outcome::holds().found("not on AWS"));
    };
    let source = Source::read(format!("Node {}", node.name), "spec.providerID");
    Ok(Outcome::broken()
        .found("a load balancer on AWS")
        .evidence(Evidence::of(cluster.name(), &balanced))
        .evidence(Evidence::new(cluster.name(), &node.provider_id, &source)))
}

declare_check! {
    /// ## What it checks
    /// The public address a member publishes is an IPv4 address.
    ///
    /// ## Why it matters
    /// Every peer opens an IPv4 socket towards it to learn its own address on that path, and its gateway exits if that fails.
    ///
    /// ## How it is determined
    /// The public addresses in the member's own `Endpoint`. Whether a peer has a route to it takes an agent.
    ///
    /// ## How to fix
    /// Annotate the gateway nodes with `gateway.submariner.io/public-ip=ipv4:ADDRESS` and restart the gateway pod.
    ///
    /// ## References
    /// `submariner`, `pkg/natdiscovery/request_send.go` and `pkg/endpoint/local_ip.go`.
    pub static PUBLIC_ADDRESS_FAMILY = {
        code: "SM424",
        slug: "gateway-public-address-family",
        title: "A member publishes no IPv4 address",
        severity: Fail,
        profiles: [Submariner],
        since: "0.1.0",
        why: "the gateways of all its peers exit",
        rules: ["submariner ADDR-07"],
        run: Cluster(public_address_family),
    };
}

fn public_address_family(_: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    let (endpoint, source) = published(cluster)?;
    let Some(address) = first(&endpoint.public_ips) else {
        return Ok(Outcome::holds()
            .found("no public address")
            .evidence(Evidence::new(cluster.name(), &"", &source)));
    };
    let outcome = if ipv4(&endpoint.public_ips).is_some() {
        Outcome::holds()
    } else {
        Outcome::broken().remedy("annotate gateway nodes with gateway.submariner.io/public-ip=ipv4:ADDRESS")
    };
    Ok(outcome
        .expected("an IPv4 address")
        .found(some_of(&endpoint.public_ips))
        .evidence(Evidence::new(cluster.name(), &address, &source)))
}

/// A member's own endpoint; the rule does not apply while there is none.
fn published<'a>(cluster: &Cluster<'a>) -> Result<(&'a Endpoint, Source), NoVerdict> {
    own_endpoint(cluster)?.ok_or_else(|| NoVerdict::does_not_apply("no gateway is active"))
}

declare_check! {
    /// ## What it checks
    /// The public address a member publishes is one its gateway node is known by.
    ///
    /// ## Why it matters
    /// The gateway asks services on the internet for its address: it gets the one its requests leave with. Behind a proxy, a carrier's NAT or
    /// several uplinks that is not the address at which it is reached.
    ///
    /// ## How it is determined
    /// `public_ip` of the member's own `Endpoint` against the ExternalIP of the active gateway's node. Not asked if the address is annotated, if a load
    /// balancer stands before the gateway, or if the node has no ExternalIP.
    ///
    /// ## How to fix
    /// Annotate the gateway nodes with `gateway.submariner.io/public-ip=ipv4:ADDRESS` and restart the gateway pod.
    ///
    /// ## References
    /// Submariner documentation, NAT traversal.
    pub static PUBLIC_ADDRESS = {
        code: "SM425",
        slug: "gateway-public-address",
        title: "A member publishes an address that is not its node's",
        severity: Warn,
        profiles: [Submariner],
        since: "0.1.0",
        why: "peers look for the gateway where it is not",
        rules: ["submariner ADDR-02"],
        run: Cluster(public_address),
    };
}

fn public_address(audit: &Audit<'_>, cluster: &Cluster<'_>) -> Judged {
    member(cluster)?;
    let (endpoint, source) = published(cluster)?;
    let skip = |why: &str| Err(NoVerdict::does_not_apply(why));
    let Some(address) = first(&endpoint.public_ips) else {
        return skip("no public address is published");
    };
    if Mesh::of(audit).load_balancer(cluster)?.value {
        return skip("the address is a load balancer's");
    }
    let node = cluster
        .facts
        .nodes
        .get()?
        .iter()
        .find(|node| node.name == endpoint.hostname);
    let Some(node) = node else {
        return skip("no node has the gateway's host name");
    };
    if setting(node, "public-ip").is_some() {
        return skip("the address is chosen by a setting of the node");
    }
    let external: Vec<String> = node.external_ips().map(|ip| ip.to_string()).collect();
    if external.is_empty() {
        return skip("the node has no ExternalIP");
    }
    let outcome = if external.iter().any(|ip| ip == address) {
        Outcome::holds()
    } else {
        Outcome::broken().remedy("annotate gateway nodes with gateway.submariner.io/public-ip=ipv4:ADDRESS")
    };
    let of_node = Source::read(format!("Node {}", node.name), "status.addresses[ExternalIP]");
    Ok(outcome
        .expected(format!("the node's address, {}", some_of(&external)))
        .found(address)
        .evidence(Evidence::new(cluster.name(), &address, &source))
        .evidence(Evidence::new(cluster.name(), &external[0], &of_node))
        .nodes([&node.name]))
}

#[cfg(test)]
mod tests;
