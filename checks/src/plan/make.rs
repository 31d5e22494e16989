//! Makes a [`Plan`] of the flows that the profiles need.

mod gaps;
mod kind;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use self::gaps::{Gaps, Lack};
use super::choice::{self, Party};
use super::{AgentId, Destination, Listener, Pace, Plan, PlannedProbe, ProbeKind, Service};
use crate::catalog;
use crate::check::NoVerdict;
use crate::facts::kernel::{NetworkView, NodeFacts};
use crate::facts::node::Node;
use crate::facts::provenance::{Reason, Unknown};
use crate::fleet::{Audit, Cluster};
use crate::policy::Probe;
use crate::profile::Profile;
use crate::profile::flow::{self, Flow, PODS, Reach, Sender, TEST_SERVICE, Target, What};
use crate::profile::submariner::gateways::labelled_or_candidates;

/// A Service of ours with a pod of ours behind it, as another cluster reaches it through the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestService {
    /// What carries it.
    pub profile: Profile,
    /// The cluster whose pod is behind it.
    pub of: String,
    /// The cluster from which it is reached so.
    pub from: String,
    /// Its address there; absent where `host` is to be resolved.
    pub address: Option<IpAddr>,
    /// The name to resolve there.
    pub host: String,
    /// Its TCP port, of Service and pod alike.
    pub port: u16,
    /// The address of the pod behind it.
    pub pod: IpAddr,
}

/// How a plan is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// What the choice of pairs is drawn from.
    pub seed: u64,
    /// How probes are sent.
    pub pace: Pace,
    /// The Services of ours that there are.
    pub services: Vec<TestService>,
    /// Those of the agents that could not be had, with why: nothing is asked of them, and what that leaves open is a gap.
    pub absent: BTreeMap<AgentId, String>,
}

/// Makes the plan of these audits (one for each profile, all of the same clusters) for these agents.
pub fn make(audits: &[Audit<'_>], agents: &[AgentId], options: &PlanOptions) -> Plan {
    let level = audits.first().map_or(Probe::None, |audit| audit.policy.probe);
    let mut maker = Maker::new(agents, level, options);
    if level != Probe::None && !agents.is_empty() {
        for audit in audits {
            let selected = |flow: &&Flow| catalog::find(flow.code).is_none_or(|check| audit.policy.selects(check));
            for flow in flow::required(audit).into_iter().filter(selected) {
                maker.add(audit, flow);
            }
        }
    }
    maker.finish()
}

/// A plan in the making.
struct Maker<'a> {
    plan: Plan,
    agents: &'a [AgentId],
    services: &'a [TestService],
    absent: &'a BTreeMap<AgentId, String>,
    /// Where agents were to be, with why there is none; of several in one place, one is enough.
    places: HashMap<(&'a str, &'a str, NetworkView), Option<&'a str>>,
    listeners: HashMap<Listener, u32>,
    /// Probes by what makes them the same probe, so that flows share them.
    probes: HashMap<(u32, String, Option<IpAddr>, String), usize>,
    codes: Vec<BTreeSet<String>>,
    gaps: Gaps,
}

/// A receiver: a target of one cluster.
struct Receiver<'c, 'f> {
    cluster: &'c Cluster<'f>,
    target: Target,
    zone: String,
}

impl<'a> Maker<'a> {
    fn new(agents: &'a [AgentId], level: Probe, options: &'a PlanOptions) -> Self {
        let mut places = HashMap::new();
        for agent in agents {
            let why = options.absent.get(agent).map(|why| match why.as_str() {
                "" => "it could not be had",
                why => why,
            });
            let place = (agent.cluster.as_str(), agent.node.as_str(), agent.network);
            places
                .entry(place)
                .and_modify(|known: &mut Option<&str>| *known = known.and(why))
                .or_insert(why);
        }
        Self {
            places,
            plan: Plan {
                seed: options.seed,
                level,
                pace: options.pace,
                agents: agents.to_vec(),
                ..Plan::default()
            },
            agents,
            services: &options.services,
            absent: &options.absent,
            listeners: HashMap::new(),
            probes: HashMap::new(),
            codes: Vec::new(),
            gaps: Gaps::default(),
        }
    }

    fn finish(mut self) -> Plan {
        for (probe, codes) in self.plan.probes.iter_mut().zip(self.codes) {
            probe.codes = codes.into_iter().collect();
        }
        self.plan.gaps = self.gaps.into_list();
        self.plan
    }

    fn gap(&mut self, flow: &Flow, clusters: &[&str], why: Unknown) {
        self.gaps.add(flow.code, clusters, why);
    }

    /// A node of the last of these clusters is left out.
    fn gap_of_node(&mut self, flow: &Flow, clusters: &[&str], node: &str, lack: Lack) {
        self.gaps.add_node(flow.code, clusters, node, lack);
    }

    /// The agents in this network of a cluster.
    fn agents_of<'m>(
        &'m self,
        cluster: &'m str,
        network: NetworkView,
    ) -> impl Iterator<Item = (u32, &'a AgentId)> + 'm {
        let is_there = move |agent: &AgentId| agent.cluster == cluster && agent.network == network;
        (0..).zip(self.agents).filter(move |(_, agent)| is_there(agent))
    }

    /// Whether an agent is on a node, or in a pod of it; if not, why, where one was to be had.
    fn has_agent(&self, cluster: &str, network: NetworkView, node: &str) -> Result<(), &'a str> {
        match self.places.get(&(cluster, node, network)) {
            Some(None) => Ok(()),
            Some(Some(why)) => Err(why),
            None => Err(""),
        }
    }

    fn add(&mut self, audit: &Audit<'_>, flow: &Flow) {
        for from in audit.clusters.iter().filter(|cluster| !cluster.facts.planned) {
            if (flow.need)(audit, from).is_err() {
                continue;
            }
            let receivers: Vec<&Cluster<'_>> = match flow.reach {
                Reach::OtherClusters | Reach::JoinedClusters => audit
                    .clusters
                    .iter()
                    .filter(|to| to.id != from.id && !to.facts.planned && (flow.need)(audit, to).is_ok())
                    .filter(|to| {
                        flow.reach == Reach::OtherClusters || audit.joins().are_joined(from.id, to.id) == Ok(true)
                    })
                    .collect(),
                _ => vec![from],
            };
            let senders = match self.senders(audit, flow, from) {
                Ok(senders) => senders,
                Err(NoVerdict::Missing(why)) => {
                    self.gap(flow, &[from.name()], why);
                    continue;
                }
                Err(NoVerdict::DoesNotApply(_)) => continue,
            };
            for to in receivers {
                self.connect(audit, flow, from, to, &senders);
            }
        }
    }

    /// The agents that send, with gaps for those that should and are not there.
    fn senders(&mut self, audit: &Audit<'_>, flow: &Flow, cluster: &Cluster<'_>) -> Result<Vec<u32>, NoVerdict> {
        let sender = (flow.sender)(audit, cluster)?;
        let network = if sender.is_pod() {
            NetworkView::Pod
        } else {
            NetworkView::Host
        };
        let wanted: Option<BTreeSet<&str>> = match sender {
            Sender::Pods => None,
            Sender::Nodes | Sender::PodsOfEveryNode => Some(names(flow::linux_nodes(cluster)?)),
            Sender::Gateways => Some(names(labelled_or_candidates(cluster)?)),
        };
        // A pod is one wherever it is.
        let is_wanted = |agent: &AgentId| {
            let named = |wanted: &BTreeSet<&str>| wanted.contains(agent.node.as_str());
            sender.is_pod() || wanted.as_ref().is_none_or(named)
        };
        let present: Vec<u32> = self
            .agents_of(cluster.name(), network)
            .filter(|(_, agent)| is_wanted(agent) && !self.absent.contains_key(*agent))
            .map(|(position, _)| position)
            .collect();
        let covered: BTreeSet<&str> = present.iter().map(|agent| self.agent(*agent).node.as_str()).collect();
        let missing: Vec<&str> = wanted
            .unwrap_or_default()
            .into_iter()
            .filter(|node| !covered.contains(node))
            .collect();
        let is_told = missing.iter().any(|node| {
            self.has_agent(cluster.name(), network, node)
                .is_err_and(|why| !why.is_empty())
        });
        if present.is_empty() && !is_told {
            let what = if sender.is_pod() {
                "no agent is in the pod network"
            } else {
                "no agent is on its nodes"
            };
            let mut absent = self.agents_of(cluster.name(), network);
            let told = absent.find_map(|(_, agent)| self.absent.get(agent));
            let told = told.map(|why| format!(": {why}")).unwrap_or_default();
            let detail = format!("{}: {what}{told}", cluster.name());
            return Err(NoVerdict::missing(Reason::NoAgent, detail));
        }
        let zones: BTreeSet<&str> = present.iter().map(|agent| self.agent(*agent).zone.as_str()).collect();
        let zone_of = zones_of(cluster);
        for node in missing {
            let zone = zone_of.get(node).copied().unwrap_or_default();
            if self.plan.level == Probe::Smoke && zones.contains(zone) {
                continue;
            }
            let why = self.has_agent(cluster.name(), network, node).err().unwrap_or_default();
            let lack = Lack::Agent {
                in_pod: sender.is_pod(),
                why: why.to_owned(),
                of: nodes_of(cluster).len(),
            };
            self.gap_of_node(flow, &[cluster.name()], node, lack);
        }
        Ok(present)
    }

    fn agent(&self, position: u32) -> &'a AgentId {
        &self.agents[position as usize]
    }

    fn connect(&mut self, audit: &Audit<'_>, flow: &Flow, from: &Cluster<'_>, to: &Cluster<'_>, senders: &[u32]) {
        let targets = match (flow.targets)(audit, to) {
            Ok(targets) => self.with_ours(audit.profile, from, to, targets),
            Err(NoVerdict::Missing(why)) => {
                self.gap(flow, &[from.name(), to.name()], why);
                return;
            }
            Err(NoVerdict::DoesNotApply(_)) => return,
        };
        if targets.is_empty() {
            let why = Unknown::new(Reason::NotFound, format!("{}: nothing is known to send to", to.name()));
            self.gap(flow, &[from.name(), to.name()], why);
            return;
        }
        let zones = zones_of(to);
        let receivers: Vec<Receiver<'_, '_>> = targets
            .into_iter()
            .map(|target| Receiver {
                cluster: to,
                zone: zones.get(target.name.as_str()).copied().unwrap_or_default().to_owned(),
                target,
            })
            .collect();
        let level = match flow.reach {
            Reach::AnyPlace | Reach::Places => Probe::Full,
            _ => self.plan.level,
        };
        let receivers = self.reachable(flow, level, from, to, receivers);
        let parties: Vec<Party<'_>> = receivers
            .iter()
            .map(|receiver| Party {
                name: if from.id == to.id || receiver.target.is_node {
                    receiver.target.name.as_str()
                } else {
                    ""
                },
                zone: &receiver.zone,
            })
            .collect();
        let own: Vec<Party<'_>> = senders
            .iter()
            .map(|agent| Party {
                // Nodes of different clusters may have one name.
                name: if from.id == to.id {
                    self.agent(*agent).node.as_str()
                } else {
                    "\u{0}"
                },
                zone: &self.agent(*agent).zone,
            })
            .collect();
        for (sender, receiver) in choice::pairs(level, &own, &parties, self.plan.seed) {
            self.probe(audit, flow, from, senders[sender], &receivers[receiver]);
        }
    }

    /// Those receivers that can be probed, with gaps for the others: nothing is asked of nodes whose agent could not be had, or that have no
    /// address.
    fn reachable<'c, 'f>(
        &mut self,
        flow: &Flow,
        level: Probe,
        from: &Cluster<'_>,
        to: &Cluster<'_>,
        receivers: Vec<Receiver<'c, 'f>>,
    ) -> Vec<Receiver<'c, 'f>> {
        let of = nodes_of(to).len();
        let mut left_out = Vec::new();
        let mut reachable = Vec::new();
        for receiver in receivers {
            let target = &receiver.target;
            let in_pod = !target.is_node;
            let network = if in_pod { NetworkView::Pod } else { NetworkView::Host };
            let absent = self.has_agent(to.name(), network, &target.name).err();
            // A place that is no node may be held by an agent of any name.
            let is_needed = target.is_node && kind::needs_listener(&target.what);
            if let Some(why) = absent.filter(|why| !why.is_empty() || is_needed) {
                let why = why.to_owned();
                left_out.push((receiver, Lack::Agent { in_pod, why, of }));
            } else if target.is_node && target.addresses.is_empty() && target.host.is_empty() {
                left_out.push((receiver, Lack::Address { of }));
            } else {
                reachable.push(receiver);
            }
        }
        let zones: BTreeSet<&str> = reachable.iter().map(|receiver| receiver.zone.as_str()).collect();
        // Of each zone one is enough then.
        left_out.retain(|(receiver, _)| level != Probe::Smoke || !zones.contains(receiver.zone.as_str()));
        for (receiver, lack) in left_out {
            self.gap_of_node(flow, &[from.name(), to.name()], &receiver.target.name, lack);
        }
        reachable
    }

    /// Targets that stand for something of ours become what there is of it.
    fn with_ours(&self, profile: Profile, from: &Cluster<'_>, to: &Cluster<'_>, targets: Vec<Target>) -> Vec<Target> {
        let is_pod = |agent: &&AgentId| agent.cluster == to.name() && agent.network == NetworkView::Pod;
        let is_between = |service: &&TestService| {
            service.profile == profile && service.of == to.name() && service.from == from.name()
        };
        let settled = |target: Target| match target.name.as_str() {
            PODS if !target.is_node => {
                let pods = self.agents.iter().filter(is_pod);
                pods.map(|agent| Target {
                    name: agent.node.clone(),
                    addresses: agent.addresses.clone(),
                    ..target.clone()
                })
                .collect()
            }
            TEST_SERVICE if !target.is_node => {
                let services = self.services.iter().filter(is_between);
                services
                    .map(|service| Target {
                        addresses: service.address.into_iter().collect(),
                        host: service.host.clone(),
                        what: What::Service(Service::Tcp(service.port)),
                        behind: Some(service.pod),
                        ..target.clone()
                    })
                    .collect()
            }
            _ => vec![target],
        };
        targets.into_iter().flat_map(settled).collect()
    }

    fn probe(&mut self, audit: &Audit<'_>, flow: &Flow, from: &Cluster<'_>, sender: u32, receiver: &Receiver<'_, '_>) {
        let target = &receiver.target;
        let agent = self.agent(sender);
        let mut reached = false;
        for ipv4 in [true, false] {
            let address = target.addresses.iter().copied().find(|ip| ip.is_ipv4() == ipv4);
            let can_send = agent.addresses.is_empty() || agent.addresses.iter().any(|ip| ip.is_ipv4() == ipv4);
            if let Some(address) = address.filter(|_| can_send) {
                self.probe_address(audit, flow, from, sender, receiver, Some(address));
                reached = true;
            }
        }
        if !target.host.is_empty() {
            self.probe_address(audit, flow, from, sender, receiver, None);
        } else if !reached {
            let of = nodes_of(receiver.cluster).len();
            self.gap_of_node(
                flow,
                &[from.name(), receiver.cluster.name()],
                &target.name,
                Lack::Address { of },
            );
        }
    }

    fn probe_address(
        &mut self,
        audit: &Audit<'_>,
        flow: &Flow,
        from: &Cluster<'_>,
        sender: u32,
        receiver: &Receiver<'_, '_>,
        address: Option<IpAddr>,
    ) {
        let target = &receiver.target;
        let there = (0..).zip(self.agents).find(|(_, agent)| {
            let same_node = agent.cluster == receiver.cluster.name()
                && agent.node == target.name
                && (agent.network == NetworkView::Host) == target.is_node;
            let at_address = target
                .behind
                .or(address)
                .is_some_and(|address| agent.addresses.contains(&address));
            if target.is_node {
                same_node
            } else {
                same_node || at_address
            }
        });
        let there = there.map(|(position, _)| position);
        let holder = there.and_then(|agent| node_facts(audit, self.agent(agent)));
        // A pod's link is not its node's.
        let on_host = Some(self.agent(sender)).filter(|agent| agent.network == NetworkView::Host);
        let link = on_host.and_then(|agent| node_facts(audit, agent));
        let kind = kind::of(&target.what, address, holder, link);
        let service = kind::service(&kind);
        let listener = match (service, there, target.behind.or(address)) {
            (Some(service), Some(agent), Some(address)) => Some(self.listener(Listener {
                agent,
                address,
                service,
            })),
            _ => None,
        };
        if kind::needs_listener(&target.what) && listener.is_none() {
            let lack = Lack::Agent {
                in_pod: false,
                why: String::new(),
                of: nodes_of(receiver.cluster).len(),
            };
            self.gap_of_node(flow, &[from.name(), receiver.cluster.name()], &target.name, lack);
            return;
        }
        self.planned(flow, sender, receiver, address, there, &kind, listener);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one probe")]
    fn planned(
        &mut self,
        flow: &Flow,
        sender: u32,
        receiver: &Receiver<'_, '_>,
        address: Option<IpAddr>,
        there: Option<u32>,
        kind: &ProbeKind,
        listener: Option<u32>,
    ) {
        // A port asked about by two flows is asked once; whether its TLS is looked at does not make it another port.
        let what = match kind {
            ProbeKind::Tcp { port, .. } => format!("tcp {port}"),
            ProbeKind::PathMtu { .. } => "path mtu".to_owned(),
            other => format!("{other:?}"),
        };
        let key = (sender, what, address, receiver.target.host.clone());
        let position = *self.probes.entry(key).or_insert_with(|| {
            let id = u32::try_from(self.plan.probes.len()).unwrap_or(u32::MAX);
            // A place is where an agent there says it is, else outside all clusters.
            let cluster = match there.and_then(|agent| self.agents.get(agent as usize)) {
                Some(agent) => agent.cluster.clone(),
                None if flow.reach == Reach::Places || flow.reach == Reach::AnyPlace => String::new(),
                None => receiver.cluster.name().to_owned(),
            };
            self.plan.probes.push(PlannedProbe {
                id,
                codes: Vec::new(),
                from: sender,
                to: Destination {
                    cluster,
                    name: receiver.target.name.clone(),
                    address,
                    host: receiver.target.host.clone(),
                    agent: there,
                },
                kind: kind.clone(),
                listener,
            });
            self.codes.push(BTreeSet::new());
            self.plan.probes.len() - 1
        });
        if let (ProbeKind::Tcp { tls: known, .. }, ProbeKind::Tcp { tls: true, .. }) =
            (&mut self.plan.probes[position].kind, kind)
        {
            *known = true;
        }
        self.codes[position].insert(flow.code.to_owned());
    }

    fn listener(&mut self, listener: Listener) -> u32 {
        let next = u32::try_from(self.plan.listeners.len()).unwrap_or(u32::MAX);
        *self.listeners.entry(listener.clone()).or_insert_with(|| {
            self.plan.listeners.push(listener);
            next
        })
    }
}

fn node_facts<'f>(audit: &Audit<'f>, agent: &AgentId) -> Option<&'f NodeFacts> {
    let cluster = audit.clusters.iter().find(|cluster| cluster.name() == agent.cluster)?;
    cluster.facts.node_facts_of(&agent.node)
}

fn names(nodes: Vec<&Node>) -> BTreeSet<&str> {
    nodes.into_iter().map(|node| node.name.as_str()).collect()
}

/// The nodes of a cluster, as far as they are known.
fn nodes_of<'c>(cluster: &Cluster<'c>) -> &'c [Node] {
    cluster.facts.nodes.ok().map(Vec::as_slice).unwrap_or_default()
}

/// The zones of a cluster's nodes, by their names.
fn zones_of<'c>(cluster: &Cluster<'c>) -> HashMap<&'c str, &'c str> {
    let nodes = nodes_of(cluster).iter();
    nodes.map(|node| (node.name.as_str(), node.zone.as_str())).collect()
}

#[cfg(test)]
mod tests;
