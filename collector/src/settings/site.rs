//! Sites of the configuration: their facts, and the ways to their agents.

use std::path::Path;
use std::sync::Arc;

use prejoin_checks::facts::ClusterFacts;
use prejoin_checks::facts::kernel::NetworkView;
use prejoin_checks::facts::node::{Node, NodeAddress};
use prejoin_checks::facts::provenance::{Fact, Reason, Source, Unknown};
use prejoin_checks::plan::AgentId;

use crate::config::{ExecEntry, LocalEntry, Site, SiteNode, SshEntry, SshOptions};
use crate::run::Member;
use crate::transport::{Exec, Local, Route, Ssh, exec};

/// The agent's program, where nothing else is said.
const AGENT: &str = "prejoin-agent";

/// A site of which nothing is known but its nodes; `key` is where the file `file` says so.
pub(super) fn facts(site: &Site, file: &str, key: &str) -> ClusterFacts {
    let unknown = Unknown::new(
        Reason::NotDeclared,
        format!("{} is a site without facts, and this is not declared", site.name),
    );
    let mut nodes: Vec<Node> = Vec::new();
    for entry in &site.nodes {
        // Addresses in a pod's network are the pod's.
        let addresses = if network(entry) == NetworkView::Host {
            entry.addresses.as_slice()
        } else {
            &[]
        };
        let addresses = addresses.iter().map(|ip| NodeAddress {
            kind: "InternalIP".to_owned(),
            ip: *ip,
        });
        if let Some(known) = nodes.iter_mut().find(|node| node.name == entry.name) {
            known.addresses.extend(addresses);
            continue;
        }
        nodes.push(Node {
            name: entry.name.clone(),
            addresses: addresses.collect(),
            zone: entry.zone.clone().unwrap_or_default(),
            os: "linux".to_owned(),
            ready: true,
            ..Node::default()
        });
    }
    ClusterFacts {
        nodes: Fact::known(nodes, Source::declared(format!("{file} {key}.nodes"))),
        ..ClusterFacts::unread(&site.name, &unknown)
    }
}

/// The site's agents, and the ways to them. Relative paths are relative to `directory`.
pub(super) fn members(site: &Site, directory: &Path) -> Vec<Member> {
    let member = |entry: &SiteNode| {
        Some(Member {
            route: route(entry, directory)?,
            id: AgentId {
                cluster: site.name.clone(),
                node: entry.name.clone(),
                network: network(entry),
                addresses: entry.addresses.clone(),
                zone: entry.zone.clone().unwrap_or_default(),
            },
        })
    };
    site.nodes.iter().filter_map(member).collect()
}

fn network(entry: &SiteNode) -> NetworkView {
    entry.network.unwrap_or(NetworkView::Host)
}

fn route(entry: &SiteNode, directory: &Path) -> Option<Route> {
    let ssh = entry.ssh.as_ref().map(|ssh| Route::Ssh(over_ssh(ssh)));
    let exec = entry.exec.as_ref().map(|exec| Route::Exec(in_pod(exec, directory)));
    let local = entry.local.as_ref().map(|local| Route::Local(here(local)));
    ssh.or(exec).or(local)
}

fn session(program: &str) -> Vec<String> {
    vec![program.to_owned(), "session".to_owned()]
}

fn over_ssh(entry: &SshEntry) -> Ssh {
    let options = match entry {
        SshEntry::Destination(destination) => SshOptions {
            destination: destination.clone(),
            ..SshOptions::default()
        },
        SshEntry::Full(options) => options.clone(),
    };
    let mut command = session(options.agent.as_deref().unwrap_or(AGENT));
    if options.sudo {
        // Without a terminal it could not ask, and a question on standard input would spoil the session.
        let sudo = ["sudo", "-n", "--"].map(str::to_owned);
        command.splice(0..0, sudo);
    }
    Ssh {
        destination: options.destination,
        options: options.options,
        command,
    }
}

fn in_pod(entry: &ExecEntry, directory: &Path) -> Exec {
    let kubeconfig = entry.kubeconfig.as_ref().map(|path| directory.join(path));
    Exec {
        cluster: Arc::new(exec::Cluster::new(kubeconfig, entry.context.clone())),
        namespace: entry.namespace.clone(),
        pod: entry.pod.clone(),
        container: entry.container.clone(),
        command: session(entry.agent.as_deref().unwrap_or(AGENT)),
    }
}

fn here(entry: &LocalEntry) -> Local {
    let command = match entry {
        LocalEntry::Command(command) => command.clone(),
        LocalEntry::Beside(_) => {
            let own = std::env::current_exe().ok();
            let beside = own.map(|own| own.with_file_name(AGENT)).filter(|path| path.is_file());
            session(&beside.map_or_else(|| AGENT.to_owned(), |path| path.to_string_lossy().into_owned()))
        }
    };
    Local { command }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> SiteNode {
        SiteNode {
            name: name.to_owned(),
            addresses: vec!["192.0.2.1".parse().unwrap()],
            ..SiteNode::default()
        }
    }

    #[test]
    fn a_site_without_facts_is_known_by_its_nodes_and_is_not_planned() {
        let site = Site {
            name: "edge".to_owned(),
            facts: None,
            nodes: vec![
                node("a"),
                SiteNode {
                    network: Some(NetworkView::Pod),
                    ..node("a")
                },
                node("b"),
            ],
        };
        let facts = facts(&site, "prejoin.yaml", "sites[0]");
        assert!(!facts.planned);
        assert_eq!(facts.unreachable(), None);
        let nodes = facts.nodes.get().unwrap();
        assert_eq!(
            nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(),
            ["a", "b"]
        );
        assert_eq!(nodes[0].internal_ips().count(), 1);
        assert_eq!(facts.cilium.why().unwrap().reason, Reason::NotDeclared);
    }

    #[test]
    fn sudo_is_told_not_to_ask() {
        let ssh = over_ssh(&SshEntry::Full(SshOptions {
            destination: "gw".to_owned(),
            agent: Some("/opt/agent".to_owned()),
            sudo: true,
            ..SshOptions::default()
        }));
        assert_eq!(ssh.command, ["sudo", "-n", "--", "/opt/agent", "session"]);
        let ssh = over_ssh(&SshEntry::Destination("root@gw".to_owned()));
        assert_eq!((ssh.destination.as_str(), ssh.command.len()), ("root@gw", 2));
    }
}
