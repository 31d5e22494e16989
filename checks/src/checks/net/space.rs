//! [`AddressSpace`]: every range of every cluster that can collide, in one index.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::OnceLock;

use crate::address::AddressIndex;
use crate::addressing::{PodRanges, Shape};
use crate::cidr::Cidr;
use crate::facts::RangeKind;
use crate::facts::provenance::{Source, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::outcome::ClusterId;
use crate::profile::Profile;
use crate::profile::submariner::Mesh;

/// One range of someone.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The cluster; `None` for a network outside all clusters.
    pub cluster: Option<ClusterId>,
    /// What it is and what rules look at.
    pub class: Class,
    /// Where it was read.
    pub source: Source,
    /// The node it belongs to, empty if it is no node's.
    pub node: String,
}

/// What rules about collisions look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Class {
    /// What it is used for.
    pub kind: RangeKind,
    /// How real it is.
    pub state: State,
    /// The cluster has Globalnet (Submariner).
    pub globalnet: bool,
    /// The mesh's control plane is exposed as a ClusterIP, so that peers must reach Services of this cluster (ClusterMesh).
    pub exposes_cluster_ips: bool,
    /// Nodes and pods share subnets by design (VPC and Azure plugins), and the mesh can do with it.
    pub shares_subnets: bool,
}

/// How real a range is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// In use: blocks handed out, addresses, what the user declared.
    InUse,
    /// A pool from which some will be handed out.
    Pool,
    /// A pool that serves a plugin's internal addresses only.
    InternalPool,
    /// A lower bound concluded from observations.
    Estimate,
}

/// Every range of every cluster that can collide.
#[derive(Debug)]
pub struct AddressSpace {
    /// The ranges.
    pub index: AddressIndex<Claimed>,
    /// What could not be told, by cluster and kind.
    pub unknown: Vec<(ClusterId, RangeKind, Unknown)>,
    outline: OnceLock<Vec<(Cidr, Holder)>>,
}

/// Who holds addresses, and what for.
type Holder = (Option<ClusterId>, RangeKind);

impl AddressSpace {
    /// Collects the ranges that matter to the audit's profile.
    pub fn of(audit: &Audit<'_>) -> Self {
        let mut ranges = Vec::new();
        let mut unknown = Vec::new();
        let mesh = (audit.profile == Profile::Submariner).then(|| Mesh::of(audit));
        for cluster in audit.clusters {
            let mut globalnet = false;
            if let Some(mesh) = &mesh {
                match mesh.globalnet(cluster) {
                    Ok(known) => globalnet = known.value,
                    Err(why) => unknown.push((cluster.id, RangeKind::Globalnet, why)),
                }
            }
            let mut collector = Collector {
                cluster,
                globalnet,
                shares_subnets: shares_subnets(cluster, mesh.as_ref()),
                ranges: &mut ranges,
                unknown: &mut unknown,
            };
            collector.pods();
            collector.services();
            collector.nodes();
            collector.load_balancers();
            if let Some(mesh) = &mesh {
                collector.globalnet(mesh);
            }
        }
        for network in &audit.intent.external_networks {
            let class = Class::plain(RangeKind::External, State::InUse);
            let source = Source {
                object: format!("external network {}", network.name),
                ..network.source.clone()
            };
            ranges.push((
                canonical(network.cidr),
                Claimed {
                    cluster: None,
                    class,
                    source,
                    node: String::new(),
                },
            ));
        }
        Self {
            index: AddressIndex::new(ranges),
            unknown,
            outline: OnceLock::new(),
        }
    }

    /// The lowest block of this length inside `within` of which nobody but `holder` has any address.
    pub(super) fn first_free(&self, prefix_len: u8, within: Cidr, holder: Holder) -> Option<Cidr> {
        let of_others = self.outline().iter().filter(|(_, other)| *other != holder);
        Cidr::first_free_among(prefix_len, within, of_others.map(|(cidr, _)| *cidr))
    }

    /// What each holder has, joined where it touches, in order: a few blocks for each cluster, however many nodes it
    /// has. Every group of collisions asks for a free block, so this is made once.
    fn outline(&self) -> &[(Cidr, Holder)] {
        self.outline.get_or_init(|| {
            let mut held: HashMap<Holder, Vec<Cidr>> = HashMap::new();
            for (cidr, claimed) in self.index.ranges() {
                held.entry((claimed.cluster, claimed.class.kind))
                    .or_default()
                    .push(*cidr);
            }
            let joined = held.into_iter().flat_map(|(holder, cidrs)| {
                let joined = Cidr::aggregate(&cidrs);
                joined.into_iter().map(move |cidr| (cidr, holder))
            });
            let mut outline: Vec<_> = joined.collect();
            outline.sort_unstable();
            outline
        })
    }
}

impl Class {
    fn plain(kind: RangeKind, state: State) -> Self {
        Self {
            kind,
            state,
            globalnet: false,
            exposes_cluster_ips: false,
            shares_subnets: false,
        }
    }
}

/// Whether a cluster's nodes may be among its pods. Of Submariner's cable drivers only Libreswan, the default, makes an exception
/// from the routes to pods for gateways among them.
fn shares_subnets(cluster: &Cluster<'_>, mesh: Option<&Mesh<'_>>) -> bool {
    let by_design = cluster
        .pods()
        .is_ok_and(|pods: &PodRanges| pods.shape == Shape::Addresses);
    let driver = mesh.and_then(|mesh| mesh.cable_driver(cluster).ok());
    by_design && driver.is_none_or(|driver| driver.value == "libreswan")
}

/// An IPv4-mapped IPv6 block stands for IPv4 addresses and collides where they do.
fn canonical(cidr: Cidr) -> Cidr {
    cidr.ipv4_mapped().unwrap_or(cidr)
}

struct Collector<'a, 'b> {
    cluster: &'b Cluster<'a>,
    globalnet: bool,
    shares_subnets: bool,
    ranges: &'b mut Vec<(Cidr, Claimed)>,
    unknown: &'b mut Vec<(ClusterId, RangeKind, Unknown)>,
}

impl Collector<'_, '_> {
    fn add(&mut self, cidr: Cidr, class: Class, source: &Source, node: &str) {
        let claimed = Claimed {
            cluster: Some(self.cluster.id),
            class: Class {
                globalnet: self.globalnet,
                ..class
            },
            source: source.clone(),
            node: node.to_owned(),
        };
        self.ranges.push((canonical(cidr), claimed));
    }

    fn miss(&mut self, kind: RangeKind, why: Unknown) {
        self.unknown.push((self.cluster.id, kind, why));
    }

    fn pods(&mut self) {
        let cluster = self.cluster;
        match cluster.pods() {
            Ok(pods) => {
                let class = Class {
                    shares_subnets: self.shares_subnets,
                    ..Class::plain(RangeKind::Pods, State::InUse)
                };
                for range in &pods.allocated {
                    self.add(range.cidr, class, &range.source, &range.node);
                }
                for range in &pods.pools {
                    let state = if range.source.basis.is_read() {
                        State::Pool
                    } else {
                        State::InUse
                    };
                    self.add(range.cidr, Class { state, ..class }, &range.source, "");
                }
                for range in &pods.internal {
                    self.add(
                        range.cidr,
                        Class {
                            state: State::InternalPool,
                            ..class
                        },
                        &range.source,
                        "",
                    );
                }
            }
            Err(why) => self.miss(RangeKind::Pods, why),
        }
    }

    fn services(&mut self) {
        let cluster = self.cluster;
        match cluster.services() {
            Ok(services) => {
                let state = if services.is_estimate {
                    State::Estimate
                } else {
                    State::InUse
                };
                let class = Class {
                    exposes_cluster_ips: exposes_cluster_ips(cluster),
                    ..Class::plain(RangeKind::Services, state)
                };
                for range in &services.ranges {
                    self.add(range.cidr, class, &range.source, "");
                }
            }
            Err(why) => self.miss(RangeKind::Services, why),
        }
    }

    fn nodes(&mut self) {
        let facts = self.cluster.facts;
        let class = Class {
            shares_subnets: self.shares_subnets,
            ..Class::plain(RangeKind::Nodes, State::InUse)
        };
        for range in facts.declared.iter().filter(|range| range.kind == RangeKind::Nodes) {
            self.add(range.cidr, class, &range.source, "");
        }
        match facts.nodes.get() {
            Ok(nodes) => {
                for node in nodes {
                    // Meshes talk to InternalIPs; others only where there is none.
                    let mut addresses: Vec<IpAddr> = node.internal_ips().collect();
                    if addresses.is_empty() {
                        addresses = node.external_ips().collect();
                    }
                    let source = Source::read(format!("Node {}", node.name), "status.addresses");
                    for address in addresses {
                        self.add(Cidr::host(address), class, &source, &node.name);
                    }
                }
            }
            Err(why) => self.miss(RangeKind::Nodes, why),
        }
    }

    fn load_balancers(&mut self) {
        let facts = self.cluster.facts;
        let class = Class::plain(RangeKind::LoadBalancers, State::InUse);
        for range in facts
            .declared
            .iter()
            .filter(|range| range.kind == RangeKind::LoadBalancers)
        {
            self.add(range.cidr, class, &range.source, "");
        }
        match facts.load_balancer_pools.get() {
            Ok(pools) => {
                for pool in pools.iter().filter(|pool| !pool.disabled) {
                    for cidr in &pool.cidrs {
                        self.add(*cidr, class, &pool.source, "");
                    }
                }
            }
            Err(why) => self.miss(RangeKind::LoadBalancers, why),
        }
    }

    fn globalnet(&mut self, mesh: &Mesh<'_>) {
        match mesh.global_cidrs(self.cluster) {
            Ok(ranges) => {
                for range in ranges {
                    self.add(
                        range.cidr,
                        Class::plain(RangeKind::Globalnet, State::InUse),
                        &range.source,
                        "",
                    );
                }
            }
            Err(why) => self.miss(RangeKind::Globalnet, why),
        }
    }
}

/// Whether peers reach this cluster's control plane by a ClusterIP.
fn exposes_cluster_ips(cluster: &Cluster<'_>) -> bool {
    let services = cluster.facts.services.ok();
    services.is_some_and(|services| {
        services
            .iter()
            .any(|service| service.name == "clustermesh-apiserver" && service.kind == "ClusterIP")
    })
}
