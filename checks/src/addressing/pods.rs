//! The ranges of pods: which plugin runs decides which source tells the truth.

use super::services::{field, node_args};
use super::{PodRanges, Range, Shape, listed};
use crate::facts::cilium::CiliumNode;
use crate::facts::cni::PluginKind;
use crate::facts::provenance::{Known, Source, Unknown};
use crate::facts::{ClusterFacts, RangeKind};
use crate::fleet::Cluster;
use crate::profile::cilium::Settings;

impl PodRanges {
    /// Reconciles all sources of a cluster.
    pub fn of(cluster: &Cluster<'_>) -> Result<Self, Unknown> {
        let facts = cluster.facts;
        let declared: Vec<Range> = facts
            .declared
            .iter()
            .filter(|range| range.kind == RangeKind::Pods)
            .map(|range| Range::new(range.cidr, range.source.clone()))
            .collect();
        if facts.planned {
            if declared.is_empty() {
                return Err(facts
                    .nodes
                    .why()
                    .cloned()
                    .unwrap_or_else(|| Unknown::not_found("no pod range is declared")));
            }
            return Ok(Self {
                pools: declared,
                basis: "declared".to_owned(),
                ..Self::default()
            });
        }
        let mut ranges = match cluster.cilium() {
            Ok(settings) => cilium(cluster, settings)?,
            Err(unknown) if facts.cilium.is_not_installed() => other_plugin(facts, &unknown)?,
            Err(unknown) => return Err(unknown),
        };
        ranges.pools.extend(declared);
        ranges.advisory = general(facts)
            .into_iter()
            .flatten()
            .filter(|range| !ranges.all().any(|used| used == range))
            .collect();
        if ranges.pools.is_empty() && ranges.allocated.is_empty() {
            return Err(Unknown::not_found(format!("{} shows no pod range", ranges.basis)));
        }
        Ok(ranges)
    }
}

/// Where Cilium hands out the addresses, or sits on top of a plugin that does. Source of the table: Cilium documentation, IPAM modes.
fn cilium(cluster: &Cluster<'_>, settings: &Settings<'_>) -> Result<PodRanges, Unknown> {
    let facts = cluster.facts;
    let chaining = settings.value("cni-chaining-mode")?.value;
    let ipam = settings.value("ipam")?.value;
    if !matches!(chaining.as_str(), "" | "none" | "portmap") {
        let ranges = addresses(facts, settings, &format!("chained on another plugin ({chaining})"))?;
        return Ok(PodRanges {
            internal: pool_key(settings, "cluster-pool-ipv4-cidr")?,
            ..ranges
        });
    }
    let basis = format!("Cilium IPAM {ipam}");
    let ranges = match ipam.as_str() {
        "kubernetes" => PodRanges {
            pools: general(facts)
                .into_iter()
                .find(|ranges| !ranges.is_empty())
                .unwrap_or_default(),
            allocated: node_blocks(facts)?,
            ..PodRanges::default()
        },
        "multi-pool" => {
            let pools = settings.cilium.pod_ip_pools.known_value()?;
            let pools = pools.value.iter().flat_map(|pool| {
                Range::all(
                    &pool.cidrs,
                    &Source::read(format!("CiliumPodIPPool {}", pool.name), "spec"),
                )
            });
            let allocated = cilium_nodes(settings, |node| {
                node.pools
                    .iter()
                    .flat_map(|(pool, cidrs)| {
                        cidrs
                            .iter()
                            .map(move |cidr| (*cidr, format!("spec.ipam.pools.allocated {pool}")))
                    })
                    .collect()
            })?;
            PodRanges {
                pools: pools.collect(),
                allocated,
                ..PodRanges::default()
            }
        }
        "eni" | "azure" | "alibabacloud" | "crd" | "delegated-plugin" => return addresses(facts, settings, &ipam),
        // cluster-pool, its beta, and whatever a chart lets through that hands out blocks.
        _ => {
            let mut pools = pool_key(settings, "cluster-pool-ipv4-cidr")?;
            if settings.flag("enable-ipv6")?.value {
                pools.extend(pool_key(settings, "cluster-pool-ipv6-cidr")?);
            }
            let allocated = cilium_nodes(settings, |node| {
                node.pod_cidrs
                    .iter()
                    .map(|cidr| (*cidr, "spec.ipam.podCIDRs".to_owned()))
                    .collect()
            })?;
            PodRanges {
                pools,
                allocated,
                ..PodRanges::default()
            }
        }
    };
    Ok(PodRanges { basis, ..ranges })
}

fn pool_key(settings: &Settings<'_>, key: &str) -> Result<Vec<Range>, Unknown> {
    let Some(Known { value, source }) = settings.written(key) else {
        return Ok(Vec::new());
    };
    let ranges = listed(&value, &source);
    if ranges.is_empty() && !value.trim().is_empty() {
        Err(Unknown::unparsable(&source, &value))
    } else {
        Ok(ranges)
    }
}

/// The addresses of endpoints and what cloud IPAM handed to nodes: they are the range, as others may share the network around them.
fn addresses(facts: &ClusterFacts, settings: &Settings<'_>, mode: &str) -> Result<PodRanges, Unknown> {
    let mut allocated = match settings.cilium.nodes.get() {
        Ok(_) => cilium_nodes(settings, |node| {
            node.addresses_assigned
                .iter()
                .map(|cidr| (*cidr, "spec.ipam.pool".to_owned()))
                .collect()
        })?,
        Err(unknown) => return Err(unknown),
    };
    if allocated.is_empty() {
        let known = facts.pods.known_value()?;
        allocated = Range::all(&known.value.addresses, &field(&known.source, "status.podIPs"));
    }
    Ok(PodRanges {
        allocated,
        basis: format!("addresses in use, {mode}"),
        shape: Shape::Addresses,
        ..PodRanges::default()
    })
}

fn cilium_nodes(
    settings: &Settings<'_>,
    blocks: impl Fn(&CiliumNode) -> Vec<(crate::cidr::Cidr, String)>,
) -> Result<Vec<Range>, Unknown> {
    let nodes = settings.cilium.nodes.get()?;
    Ok(nodes
        .iter()
        .flat_map(|node| {
            blocks(node).into_iter().map(|(cidr, path)| Range {
                cidr,
                source: Source::read(format!("CiliumNode {}", node.name), path),
                node: node.name.clone(),
            })
        })
        .collect())
}

fn node_blocks(facts: &ClusterFacts) -> Result<Vec<Range>, Unknown> {
    Ok(facts
        .nodes
        .get()?
        .iter()
        .flat_map(|node| {
            node.pod_cidrs.iter().map(|cidr| Range {
                cidr: *cidr,
                source: Source::read(format!("Node {}", node.name), "spec.podCIDRs"),
                node: node.name.clone(),
            })
        })
        .collect())
}

/// Plugins other than Cilium.
fn other_plugin(facts: &ClusterFacts, no_cilium: &Unknown) -> Result<PodRanges, Unknown> {
    let plugins = facts.cni.plugins.get()?;
    let runs = |kind: PluginKind| plugins.iter().any(|plugin| plugin.running && plugin.kind == kind);
    let named = |kind: PluginKind, pools: Vec<Range>, allocated: Vec<Range>| {
        Ok(PodRanges {
            pools,
            allocated,
            basis: kind.to_string(),
            ..PodRanges::default()
        })
    };
    let openshift = facts.control_plane.openshift_network.known_value().ok().map(|known| {
        Range::all(
            &known.value.cluster_network,
            &field(&known.source, "spec.clusterNetwork"),
        )
    });
    for kind in [PluginKind::AwsVpc, PluginKind::AzureCni] {
        if runs(kind) {
            let known = facts.pods.known_value()?;
            let allocated = Range::all(&known.value.addresses, &field(&known.source, "status.podIPs"));
            return Ok(PodRanges {
                allocated,
                basis: kind.to_string(),
                shape: Shape::Addresses,
                ..PodRanges::default()
            });
        }
    }
    if runs(PluginKind::Calico) || runs(PluginKind::Canal) {
        if let Ok(known) = facts.cni.calico_pools.known_value() {
            let ours = known
                .value
                .iter()
                .filter(|pool| !pool.disabled && !pool.labels.contains_key("submariner.io/ippool"));
            let pools: Vec<Range> = ours
                .map(|pool| Range::new(pool.cidr, Source::read(format!("IPPool {}", pool.name), "spec.cidr")))
                .collect();
            if !pools.is_empty() {
                return named(PluginKind::Calico, pools, Vec::new());
            }
        } else if !facts.cni.calico_pools.is_not_installed() && !runs(PluginKind::Canal) {
            return Err(facts
                .cni
                .calico_pools
                .why()
                .cloned()
                .unwrap_or_else(|| no_cilium.clone()));
        }
    }
    if let (true, Ok(known)) = (runs(PluginKind::OvnKubernetes), facts.cni.ovn.known_value()) {
        return named(
            PluginKind::OvnKubernetes,
            Range::all(&known.value.pod_cidrs, &field(&known.source, "net_cidr")),
            Vec::new(),
        );
    }
    if let Some(pools) = openshift {
        return Ok(PodRanges {
            pools,
            basis: "OpenShift Network".to_owned(),
            ..PodRanges::default()
        });
    }
    if let Ok(known) = facts.cni.flannel.known_value() {
        return named(
            PluginKind::Flannel,
            Range::all(&known.value.networks, &field(&known.source, "net-conf.json Network")),
            node_blocks(facts)?,
        );
    }
    if let Ok(known) = facts.cni.env_ranges.known_value()
        && let Some(env) = known.value.iter().find(|env| runs(env.kind) && !env.cidrs.is_empty())
    {
        let allocated = if env.kind == PluginKind::Kindnet {
            node_blocks(facts)?
        } else {
            Vec::new()
        };
        return named(env.kind, Range::all(&env.cidrs, &env.source), allocated);
    }
    Ok(PodRanges {
        pools: general(facts)
            .into_iter()
            .find(|ranges| !ranges.is_empty())
            .unwrap_or_default(),
        allocated: node_blocks(facts)?,
        basis: "node podCIDRs".to_owned(),
        ..PodRanges::default()
    })
}

/// What Kubernetes' own components say about pod ranges, most trusted first; true only where the plugin follows them.
fn general(facts: &ClusterFacts) -> Vec<Vec<Range>> {
    let control_plane = &facts.control_plane;
    let mut sources = Vec::new();
    if let Ok(known) = control_plane.controller_manager_flags.known_value()
        && let Some(text) = known.value.get("cluster-cidr")
    {
        sources.push(listed(text, &field(&known.source, "--cluster-cidr")));
    }
    if let Ok(known) = control_plane.kubeadm.known_value() {
        sources.push(Range::all(
            &known.value.pod_subnets,
            &field(&known.source, "networking.podSubnet"),
        ));
    }
    if let Ok(known) = facts.kube_proxy.known_value() {
        sources.push(Range::all(
            &known.value.cluster_cidrs,
            &field(&known.source, "clusterCIDR"),
        ));
    }
    sources.push(node_args(facts, "--cluster-cidr"));
    sources
}
