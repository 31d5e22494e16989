//! Submariner: what a set of clusters is, or will be, as members of one clusterset.
//!
//! Where a cluster has joined, its own objects say how. Where it has not, the plan says how it will, then the broker's
//! objects, and a join by `subctl` with its defaults where nothing else is said.
//! Source of all defaults: `subctl`, `cmd/subctl/join.go` and `cmd/subctl/deploybroker.go`.

pub mod discovery;
pub mod gateways;
pub mod id;
pub mod release;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use crate::addressing::Range;
use crate::cidr::Cidr;
use crate::facts::provenance::{Known, Reason, Source, Unknown};
use crate::facts::submariner::{Broker, RangeInfo, Submariner, SubmarinerConfig};
use crate::fleet::{Audit, Cluster};
use crate::intent::{SubmarinerClusterPlan, SubmarinerPlan};

/// Where Globalnet takes its blocks from by default.
pub const GLOBALNET_RANGE: &str = "242.0.0.0/8";
/// Where clusterset IPs are taken from by default.
pub const CLUSTERSET_IP_RANGE: &str = "243.0.0.0/8";
/// The UDP port of the tunnel between gateways by default.
pub const TUNNEL_PORT: u16 = 4500;
/// The UDP port of NAT discovery between gateways by default.
pub const NAT_DISCOVERY_PORT: u16 = 4490;

/// One clusterset: what is installed, what is planned, what `subctl` does by default.
#[derive(Debug)]
pub struct Mesh<'a> {
    clusters: &'a [Cluster<'a>],
    plan: &'a SubmarinerPlan,
    // Both take a walk over all clusters, which checks of one cluster that do not ask need not pay for.
    broker: OnceLock<Result<Option<BrokerCluster<'a>>, Unknown>>,
    globalnet: OnceLock<Result<Known<bool>, Unknown>>,
}

/// The audited cluster that holds the broker.
#[derive(Debug, Clone, Copy)]
pub struct BrokerCluster<'a> {
    /// The cluster.
    pub cluster: &'a Cluster<'a>,
    /// Its Submariner objects.
    pub facts: &'a Submariner,
}

/// The `Submariner` object of a member; `None` where the cluster has not joined.
pub fn installed<'a>(cluster: &Cluster<'a>) -> Result<Option<&'a Known<SubmarinerConfig>>, Unknown> {
    match member(cluster) {
        Ok(config) => Ok(Some(config)),
        Err(unknown) if matches!(unknown.reason, Reason::NotInstalled | Reason::NotDeclared) => Ok(None),
        Err(unknown) => Err(unknown),
    }
}

/// The `Submariner` object of a member; `not installed` where the cluster has not joined, for rules about live objects.
pub fn member<'a>(cluster: &Cluster<'a>) -> Result<&'a Known<SubmarinerConfig>, Unknown> {
    cluster.facts.submariner.get()?.config.known_value()
}

/// A field of a member's `Submariner` object as a source.
pub fn field(config: &Known<SubmarinerConfig>, field: &str) -> Source {
    Source::read(config.source.object.clone(), field)
}

/// The blocks of a comma list, in order; an item that is no block makes the whole list unparsable.
pub fn split(list: &str, source: &Source) -> Result<Vec<Range>, Unknown> {
    Cidr::split_list(list)
        .into_iter()
        .map(|item| match item {
            Ok((cidr, _)) => Ok(Range::new(cidr, source.clone())),
            Err(_) => Err(Unknown::unparsable(source, list)),
        })
        .collect()
}

impl<'a> Mesh<'a> {
    /// The clusterset of an audit.
    pub fn of(audit: &Audit<'a>) -> Self {
        Self {
            clusters: audit.clusters,
            plan: &audit.intent.submariner,
            broker: OnceLock::new(),
            globalnet: OnceLock::new(),
        }
    }

    /// The plan for all clusters.
    pub fn plan(&self) -> &'a SubmarinerPlan {
        self.plan
    }

    /// The plan for one cluster, if there is one.
    pub fn cluster_plan(&self, cluster: &Cluster<'_>) -> Option<&'a SubmarinerClusterPlan> {
        self.plan.clusters.get(cluster.name())
    }

    /// The audited cluster that holds the broker, if there is one.
    pub fn broker(&self) -> Result<Option<BrokerCluster<'a>>, Unknown> {
        self.broker.get_or_init(|| broker_of(self.clusters, self.plan)).clone()
    }

    /// Whether `subctl` installs Submariner in clusters that have not joined, rather than Helm or GitOps.
    pub fn joined_by_subctl(&self) -> bool {
        self.plan
            .installer
            .as_deref()
            .is_none_or(|installer| installer == "subctl")
    }

    /// The ID a cluster has, is to have, or would get from `subctl join`.
    pub fn cluster_id(&self, cluster: &Cluster<'_>) -> Result<Known<String>, Unknown> {
        if let Some(config) = installed(cluster)? {
            let id = config.value.cluster_id.clone();
            return Ok(Known::new(id, field(config, "spec.clusterID")));
        }
        if let Some(id) = self.cluster_plan(cluster).and_then(|plan| plan.cluster_id.clone()) {
            return Ok(Known::new(id, declared_for(cluster, "clusterId")));
        }
        let name = cluster.facts.kubeconfig_cluster.known_value()?;
        Ok(name.clone().map(|name| id::sanitise(&name)))
    }

    /// Whether the broker gives Globalnet to those who join.
    pub fn broker_globalnet(&self) -> Result<Known<bool>, Unknown> {
        self.globalnet
            .get_or_init(|| broker_globalnet(self.clusters, self.plan, self.broker()))
            .clone()
    }

    /// Whether a cluster is, or will be, in Globalnet.
    pub fn globalnet(&self, cluster: &Cluster<'_>) -> Result<Known<bool>, Unknown> {
        if let Some(config) = installed(cluster)? {
            let own = &config.value;
            let on = !(own.global_cidr.is_empty() && own.status_global_cidr.is_empty());
            return Ok(Known::new(on, field(config, "spec.globalCIDR")));
        }
        let declared = self.cluster_plan(cluster).and_then(|plan| plan.globalnet);
        match (declared, self.broker_globalnet()) {
            (Some(false), _) | (Some(true), Err(_)) => {
                Ok(Known::new(declared == Some(true), declared_for(cluster, "globalnet")))
            }
            (_, decided) => decided,
        }
    }

    /// The Global CIDRs a cluster has or was given; empty without Globalnet, and where `subctl join` will take one from the range.
    pub fn global_cidrs(&self, cluster: &Cluster<'_>) -> Result<Vec<Range>, Unknown> {
        if !self.globalnet(cluster)?.value {
            return Ok(Vec::new());
        }
        if let Some(config) = installed(cluster)? {
            let own = &config.value;
            return if own.status_global_cidr.is_empty() {
                split(&own.global_cidr, &field(config, "spec.globalCIDR"))
            } else {
                split(&own.status_global_cidr, &field(config, "status.globalCIDR"))
            };
        }
        let allotted = self.allotted(cluster, "submariner-globalnet-info", |facts| facts.globalnet_info.ok())?;
        if !allotted.is_empty() {
            return Ok(allotted);
        }
        match self.cluster_plan(cluster).and_then(|plan| plan.globalnet_cidr.as_ref()) {
            Some(cidr) => split(cidr, &declared_for(cluster, "globalnetCidr")),
            None => Ok(Vec::new()),
        }
    }

    /// Where a cluster's global addresses are or will be: its Global CIDRs, or all of the range while it has none. Empty without Globalnet.
    pub fn global_space(&self, cluster: &Cluster<'_>) -> Result<Vec<Range>, Unknown> {
        let own = self.global_cidrs(cluster)?;
        if own.is_empty() && self.globalnet(cluster)?.value {
            return Ok(vec![self.globalnet_range()?]);
        }
        Ok(own)
    }

    /// The range Global CIDRs are taken from.
    pub fn globalnet_range(&self) -> Result<Range, Unknown> {
        self.range(
            "submariner-globalnet-info",
            "globalnetCidrRange",
            |facts| facts.globalnet_info.known_value().map(|known| &known.value),
            |broker| &broker.globalnet_cidr_range,
            (self.plan.globalnet_range, "globalnetRange"),
            GLOBALNET_RANGE,
        )
    }

    /// The clusterset-IP blocks a cluster has or was given; empty where `subctl join` will take one from the range.
    pub fn clusterset_cidrs(&self, cluster: &Cluster<'_>) -> Result<Vec<Range>, Unknown> {
        if let Some(config) = installed(cluster)? {
            return split(
                &config.value.clusterset_ip_cidr,
                &field(config, "spec.clustersetIPCIDR"),
            );
        }
        self.allotted(cluster, "submariner-clustersetip-info", |facts| {
            facts.clusterset_ip_info.ok()
        })
    }

    /// The range clusterset-IP blocks are taken from.
    pub fn clusterset_ip_range(&self) -> Result<Range, Unknown> {
        self.range(
            "submariner-clustersetip-info",
            "clustersetIPCidrRange",
            |facts| facts.clusterset_ip_info.known_value().map(|known| &known.value),
            |broker| &broker.clusterset_ip_cidr_range,
            (self.plan.clusterset_ip_range, "clustersetIpRange"),
            CLUSTERSET_IP_RANGE,
        )
    }

    /// Pod ranges that a member's object or the plan states, to be advertised whatever pods really use; empty if neither states any.
    pub fn stated_pod_cidrs(&self, cluster: &Cluster<'_>) -> Result<Vec<Range>, Unknown> {
        if let Some(config) = installed(cluster)? {
            let own = &config.value;
            return stated(config, (&own.cluster_cidr, &own.status_cluster_cidr), "clusterCIDR");
        }
        let planned = self.cluster_plan(cluster).map_or(&[][..], |plan| &plan.cluster_cidr);
        Ok(Range::all(planned, &declared_for(cluster, "clusterCidr")))
    }

    /// Service ranges that a member's object or the plan states; empty if neither states any.
    pub fn stated_service_cidrs(&self, cluster: &Cluster<'_>) -> Result<Vec<Range>, Unknown> {
        if let Some(config) = installed(cluster)? {
            let own = &config.value;
            return stated(config, (&own.service_cidr, &own.status_service_cidr), "serviceCIDR");
        }
        let planned = self.cluster_plan(cluster).map_or(&[][..], |plan| &plan.service_cidr);
        Ok(Range::all(planned, &declared_for(cluster, "serviceCidr")))
    }

    /// The IPv4 ranges other clusters will route to this one: its Global CIDRs with Globalnet (all of the range while it has none),
    /// else those of Services and pods, as stated or, where nothing is stated, as they are.
    pub fn advertised(&self, cluster: &Cluster<'_>) -> Result<Vec<Range>, Unknown> {
        if self.globalnet(cluster)?.value {
            return self.global_space(cluster);
        }
        let mut ranges = self.stated_service_cidrs(cluster)?;
        if ranges.is_empty() {
            ranges.clone_from(&cluster.services()?.ranges);
        }
        let pods = self.stated_pod_cidrs(cluster)?;
        if pods.is_empty() {
            let own = cluster.pods()?;
            ranges.extend(if own.pools.is_empty() {
                own.allocated.clone()
            } else {
                own.pools.clone()
            });
        } else {
            ranges.extend(pods);
        }
        ranges.retain(|range| range.cidr.is_ipv4());
        Ok(ranges)
    }

    /// The cable driver of a cluster: `libreswan`, `wireguard`, `vxlan`.
    pub fn cable_driver(&self, cluster: &Cluster<'_>) -> Result<Known<String>, Unknown> {
        let source = |name| Source::default_of("subctl join", name, "subctl");
        let known = match installed(cluster)? {
            Some(config) => Known::new(config.value.cable_driver.clone(), field(config, "spec.cableDriver")),
            None => match &self.plan.cable_driver {
                Some(driver) => Known::new(driver.clone(), declared("cableDriver")),
                None => Known::new(String::new(), source("--cable-driver")),
            },
        };
        Ok(known.map(|driver| {
            if driver.is_empty() {
                "libreswan".to_owned()
            } else {
                driver.to_ascii_lowercase()
            }
        }))
    }

    /// The Submariner release of a cluster: what runs, or what is planned; `None` if the plan does not say.
    pub fn version(&self, cluster: &Cluster<'_>) -> Result<Option<Known<String>>, Unknown> {
        let Some(config) = installed(cluster)? else {
            let planned = self.plan.version.clone();
            return Ok(planned.map(|version| Known::new(version, declared("version"))));
        };
        let running = cluster.facts.submariner.get()?.versions.known_value();
        if let Ok(running) = running
            && let Some(operator) = running.value.get("operator")
        {
            return Ok(Some(Known::new(operator.clone(), running.source.clone())));
        }
        let own = config.value.version.clone();
        Ok((!own.is_empty()).then(|| Known::new(own, field(config, "spec.version"))))
    }

    /// Whether service discovery (Lighthouse) runs or will run.
    pub fn service_discovery(&self, cluster: &Cluster<'_>) -> Result<Known<bool>, Unknown> {
        if let (None, None, Ok(Some(broker))) = (installed(cluster)?, self.plan.service_discovery, self.broker())
            && let Ok(known) = broker.facts.broker.known_value()
            && !known.value.components.is_empty()
        {
            let wanted = known
                .value
                .components
                .iter()
                .any(|component| component == "service-discovery");
            let source = Source::read(known.source.object.clone(), "spec.components");
            return Ok(Known::new(wanted, source));
        }
        let read = |own: &SubmarinerConfig| own.service_discovery_enabled.unwrap_or(false);
        let names = ("serviceDiscoveryEnabled", "serviceDiscovery");
        switch(cluster, names, read, self.plan.service_discovery, true)
    }

    /// `--natt`: whether gateways are taken to be behind NAT unless discovery says otherwise.
    pub fn nat_traversal(&self, cluster: &Cluster<'_>) -> Result<Known<bool>, Unknown> {
        let read = |own: &SubmarinerConfig| own.nat_enabled.unwrap_or(false);
        switch(
            cluster,
            ("natEnabled", "natTraversal"),
            read,
            self.plan.nat_traversal,
            true,
        )
    }

    /// `--air-gapped`: public addresses are not asked for.
    pub fn air_gapped(&self, cluster: &Cluster<'_>) -> Result<Known<bool>, Unknown> {
        let read = |own: &SubmarinerConfig| own.air_gapped.unwrap_or(false);
        switch(
            cluster,
            ("airGappedDeployment", "airGapped"),
            read,
            self.plan.air_gapped,
            false,
        )
    }

    /// `--load-balancer`: a load balancer stands before the gateway.
    pub fn load_balancer(&self, cluster: &Cluster<'_>) -> Result<Known<bool>, Unknown> {
        let read = |own: &SubmarinerConfig| own.load_balancer_enabled.unwrap_or(false);
        let names = ("loadBalancerEnabled", "loadBalancer");
        switch(cluster, names, read, self.plan.load_balancer, false)
    }

    /// `--health-check`: gateways ping each other through the tunnel. An absent object means yes, one without `enabled` no.
    pub fn health_check(&self, cluster: &Cluster<'_>) -> Result<Known<bool>, Unknown> {
        let read = |own: &SubmarinerConfig| !own.health_check_present || own.health_check_enabled.unwrap_or(false);
        let names = ("connectionHealthCheck.enabled", "healthCheck");
        switch(cluster, names, read, self.plan.health_check, true)
    }

    /// `--force-udp-encaps`: ESP always inside UDP.
    pub fn force_udp_encaps(&self, cluster: &Cluster<'_>) -> Result<Known<bool>, Unknown> {
        let read = |own: &SubmarinerConfig| own.force_udp_encaps.unwrap_or(false);
        let names = ("ceIPSecForceUDPEncaps", "forceUdpEncaps");
        switch(cluster, names, read, self.plan.force_udp_encaps, false)
    }

    /// Whether clusterset IPs are used by default (an export can still ask for one).
    pub fn clusterset_ip(&self, cluster: &Cluster<'_>) -> Result<Known<bool>, Unknown> {
        if let (None, None, Ok(Some(broker))) = (installed(cluster)?, self.plan.clusterset_ip, self.broker())
            && let Ok(known) = broker.facts.broker.known_value()
            && let Some(enabled) = known.value.clusterset_ip_enabled
        {
            let source = Source::read(known.source.object.clone(), "spec.clustersetIPEnabled");
            return Ok(Known::new(enabled, source));
        }
        let read = |own: &SubmarinerConfig| own.clusterset_ip_enabled.unwrap_or(false);
        let names = ("clustersetIPEnabled", "clustersetIp");
        switch(cluster, names, read, self.plan.clusterset_ip, false)
    }

    /// The blocks the broker has noted down for a cluster that has not joined (yet, or any more).
    fn allotted(
        &self,
        cluster: &Cluster<'_>,
        config_map: &str,
        info: impl Fn(&'a Submariner) -> Option<&'a RangeInfo>,
    ) -> Result<Vec<Range>, Unknown> {
        let (Ok(Some(broker)), Ok(id)) = (self.broker(), self.cluster_id(cluster)) else {
            return Ok(Vec::new());
        };
        let Some(info) = info(broker.facts) else {
            return Ok(Vec::new());
        };
        let source = Source::read(format!("ConfigMap {}/{config_map}", info.namespace), "clusterinfo");
        let entry = info.clusters.iter().find(|entry| entry.cluster_id == id.value);
        entry.map_or(Ok(Vec::new()), |entry| split(&entry.cidrs.join(","), &source))
    }

    fn range(
        &self,
        config_map: &str,
        key: &str,
        info: impl Fn(&'a Submariner) -> Result<&'a RangeInfo, Unknown>,
        of_broker: impl Fn(&'a Broker) -> &'a String,
        (planned, in_plan): (Option<Cidr>, &str),
        default: &str,
    ) -> Result<Range, Unknown> {
        if let Some(broker) = self.broker()? {
            let info = info(broker.facts);
            let written = match &info {
                Ok(info) if !info.range.is_empty() => Some((
                    &info.range,
                    Source::read(format!("ConfigMap {}/{config_map}", info.namespace), key),
                )),
                // The operator of the broker's cluster makes the ConfigMap from the Broker object.
                Err(why) if absent(why) => broker.facts.broker.known_value().ok().and_then(|known| {
                    let text = of_broker(&known.value);
                    (!text.is_empty()).then(|| (text, known.source.clone()))
                }),
                Err(why) if planned.is_none() => return Err(why.clone()),
                Ok(_) | Err(_) => None,
            };
            if let Some((text, source)) = written {
                let cidr = text.parse().map_err(|_| Unknown::unparsable(&source, text))?;
                return Ok(Range::new(cidr, source));
            }
        }
        match planned {
            Some(cidr) => Ok(Range::new(cidr, declared(in_plan))),
            None => Ok(Range::new(
                default.parse().expect("the default range is a block"),
                Source::default_of("subctl deploy-broker", key, "subctl"),
            )),
        }
    }
}

/// A switch of a member's object, else of the plan, else its default in `subctl`.
fn switch(
    cluster: &Cluster<'_>,
    (in_object, in_plan): (&str, &str),
    read: impl Fn(&SubmarinerConfig) -> bool,
    planned: Option<bool>,
    default: bool,
) -> Result<Known<bool>, Unknown> {
    Ok(match (installed(cluster)?, planned) {
        (Some(config), _) => Known::new(read(&config.value), field(config, &format!("spec.{in_object}"))),
        (None, Some(planned)) => Known::new(planned, declared(in_plan)),
        (None, None) => Known::new(default, Source::default_of("subctl join", in_object, "subctl")),
    })
}

/// A value of the plan for all clusters as a source.
pub fn declared(name: &str) -> Source {
    Source::declared(format!("submariner.{name}"))
}

/// A value of the plan for one cluster as a source.
pub fn declared_for(cluster: &Cluster<'_>, name: &str) -> Source {
    Source::declared(format!("submariner.clusters.{}.{name}", cluster.name()))
}

/// Whether it is known that there is nothing to read.
pub(crate) fn absent(unknown: &Unknown) -> bool {
    matches!(
        unknown.reason,
        Reason::NotFound | Reason::NotInstalled | Reason::NotDeclared
    )
}

/// What a member states: `spec` where it says something, else what its operator discovered.
fn stated(config: &Known<SubmarinerConfig>, (spec, status): (&str, &str), name: &str) -> Result<Vec<Range>, Unknown> {
    if spec.is_empty() {
        split(status, &field(config, &format!("status.{name}")))
    } else {
        split(spec, &field(config, &format!("spec.{name}")))
    }
}

/// The cluster that holds the broker: the one the plan names, else the one with a broker's objects.
fn broker_of<'a>(clusters: &'a [Cluster<'a>], plan: &SubmarinerPlan) -> Result<Option<BrokerCluster<'a>>, Unknown> {
    let holders: Vec<BrokerCluster<'a>> = clusters
        .iter()
        .filter_map(|cluster| {
            let facts = cluster.facts.submariner.ok()?;
            let holds = facts.broker.ok().is_some() || facts.globalnet_info.ok().is_some();
            holds.then_some(BrokerCluster { cluster, facts })
        })
        .collect();
    if let Some(name) = &plan.broker_cluster {
        return Ok(holders.into_iter().find(|broker| broker.cluster.name() == name));
    }
    match holders.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        [first, second, ..] => Err(Unknown::not_found(format!(
            "{} and {} both hold a broker: submariner.brokerCluster says which one is meant",
            first.cluster.name(),
            second.cluster.name()
        ))),
    }
}

/// Whether the broker has Globalnet on. Its ConfigMap decides; it is made once from the Broker object.
fn broker_globalnet(
    clusters: &[Cluster<'_>],
    plan: &SubmarinerPlan,
    broker: Result<Option<BrokerCluster<'_>>, Unknown>,
) -> Result<Known<bool>, Unknown> {
    if let Some(broker) = broker? {
        match broker.facts.globalnet_info.known_value() {
            Ok(info) => {
                let source = Source::read(info.source.object.clone(), "globalnetEnabled");
                return Ok(Known::new(info.value.enabled.unwrap_or(false), source));
            }
            Err(why) if absent(&why) => {
                if let Ok(own) = broker.facts.broker.known_value() {
                    let source = Source::read(own.source.object.clone(), "spec.globalnetEnabled");
                    return Ok(Known::new(own.value.globalnet_enabled.unwrap_or(false), source));
                }
            }
            Err(why) if plan.globalnet.is_none() => return Err(why),
            Err(_) => {}
        }
    }
    if let Some(planned) = plan.globalnet {
        return Ok(Known::new(planned, declared("globalnet")));
    }
    // A broker elsewhere: those who joined it before show what it gives.
    let mut members = clusters
        .iter()
        .filter_map(|cluster| installed(cluster).ok().flatten())
        .peekable();
    if members.peek().is_some() {
        let any = members.any(|config| !config.value.global_cidr.is_empty());
        let source = Source::estimate("Submariner objects of members", "spec.globalCIDR");
        return Ok(Known::new(any, source));
    }
    Ok(Known::new(
        false,
        Source::default_of("subctl deploy-broker", "--globalnet", "subctl"),
    ))
}
