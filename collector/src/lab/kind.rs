//! A lab of kind clusters. What was made is read from kind and from the nodes themselves: nothing is written down elsewhere.

mod fault;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::program::Program;
use super::{CLUSTERS, Fault, LabError, Up};
use crate::cli::LabUp;
use crate::output;
use fault::{Change, Node};

/// With kind's own network plugin, and without one.
const CONFIGURATIONS: [(&str, &str); 3] = [
    (
        include_str!("../../../manifests/kind/submariner/east.yaml"),
        include_str!("../../../manifests/kind/clustermesh/east.yaml"),
    ),
    (
        include_str!("../../../manifests/kind/submariner/west.yaml"),
        include_str!("../../../manifests/kind/clustermesh/west.yaml"),
    ),
    (
        include_str!("../../../manifests/kind/submariner/north.yaml"),
        include_str!("../../../manifests/kind/clustermesh/north.yaml"),
    ),
];
/// By this variable kind takes another container engine than Docker.
const ENGINE: &str = "KIND_EXPERIMENTAL_PROVIDER";

/// A lab of this kind, made or not.
#[derive(Debug)]
pub(super) struct Kind {
    program: Program,
    /// `docker` or `podman`.
    engine: Program,
    name: String,
}

impl Kind {
    /// What is lacking for it otherwise.
    pub(super) fn find(name: &str) -> Result<Self, String> {
        let kind = Program::on_path("kind").ok_or("kind is not on PATH")?;
        let wanted = std::env::var(ENGINE).ok();
        let engines = match wanted.as_deref() {
            Some(engine @ ("docker" | "podman")) => vec![engine],
            Some(other) => return Err(format!("{ENGINE}={other}: faults are made with docker or podman")),
            None => vec!["docker", "podman"],
        };
        let mut lacking = Vec::new();
        for engine in engines {
            let Some(found) = Program::on_path(engine) else {
                lacking.push(format!("{engine} is not on PATH"));
                continue;
            };
            match found.run(&["info"], "") {
                Ok(_) => {
                    return Ok(Self {
                        program: kind.with(ENGINE, engine),
                        engine: found,
                        name: name.to_owned(),
                    });
                }
                Err(_) => lacking.push(format!("{engine} does not answer (`{engine} info` says why)")),
            }
        }
        Err(lacking.join(", "))
    }

    /// `prejoin-east` and so on, whether it is there or not.
    fn all(&self) -> impl Iterator<Item = String> {
        CLUSTERS.into_iter().map(|cluster| format!("{}-{cluster}", self.name))
    }

    /// Those clusters of the lab that are there.
    pub(super) fn clusters(&self) -> Result<Vec<String>, LabError> {
        let there = self.program.run(&["get", "clusters"], "")?;
        Ok(self
            .all()
            .filter(|cluster| there.lines().any(|line| line == cluster))
            .collect())
    }

    pub(super) fn up(&self, wanted: &LabUp) -> Result<Up, LabError> {
        if let Some(cluster) = self.clusters()?.into_iter().next() {
            return Err(LabError::IsUp(cluster));
        }
        let clusters: Vec<String> = self.all().take(wanted.clusters.into()).collect();
        let mut made = Vec::new();
        for (cluster, (with_cni, without)) in clusters.iter().zip(CONFIGURATIONS) {
            let configuration = if wanted.no_cni { without } else { with_cni };
            made.push(cluster.as_str());
            if let Err(error) = self.create(cluster, configuration, wanted) {
                // Half a lab is none.
                for cluster in made {
                    if let Err(left) = self.delete(cluster) {
                        output::say(&left.to_string());
                    }
                }
                return Err(error);
            }
        }
        Ok(Up {
            kubeconfig: None,
            contexts: clusters.iter().map(|cluster| format!("kind-{cluster}")).collect(),
        })
    }

    fn create(&self, cluster: &str, configuration: &str, wanted: &LabUp) -> Result<(), LabError> {
        let mut words = vec!["create", "cluster", "--name", cluster, "--config", "-"];
        if !wanted.no_cni {
            words.extend(["--wait", "3m"]);
        }
        self.program.run_aloud(&words, configuration)?;
        if let Some(archive) = &wanted.image_archive {
            let archive = archive.display().to_string();
            self.program
                .run_aloud(&["load", "image-archive", &archive, "--name", cluster], "")?;
        }
        Ok(())
    }

    fn delete(&self, cluster: &str) -> Result<(), LabError> {
        self.program
            .run_aloud(&["delete", "cluster", "--name", cluster], "")
            .map(drop)
    }

    pub(super) fn down(&self) -> Result<(), LabError> {
        self.clusters()?.iter().try_for_each(|cluster| self.delete(cluster))
    }

    /// The nodes of each cluster that is there, control planes first.
    fn nodes(&self) -> Result<Vec<Vec<Node>>, LabError> {
        let clusters = self.clusters()?;
        let nodes = clusters.iter().map(|cluster| {
            let names = self.program.run(&["get", "nodes", "--name", cluster], "")?;
            let mut names: Vec<&str> = names.split_whitespace().collect();
            names.sort_unstable();
            names.into_iter().map(|name| self.node(name)).collect()
        });
        nodes.collect()
    }

    fn node(&self, name: &str) -> Result<Node, LabError> {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}";
        let said = self.engine.run(&["inspect", "--format", format, name], "")?;
        let address = said.split_whitespace().find_map(|word| word.parse::<Ipv4Addr>().ok());
        let address = address
            .ok_or_else(|| LabError::Cannot(format!("the container {name} has no IPv4 address: does it run?")))?;
        Ok(Node {
            name: name.to_owned(),
            address,
        })
    }

    fn inside(&self, node: &str, command: &[&str], input: &str) -> Result<String, LabError> {
        self.engine.run(&[&["exec", "-i", node], command].concat(), input)
    }

    /// What of ours is on a node.
    fn found(&self, node: &str) -> Result<BTreeMap<Fault, Change>, LabError> {
        let filters = self.inside(node, &["iptables-save", "-t", "mangle"], "")?;
        let link = self.inside(node, &["ip", "-details", "link", "show", "dev", "eth0"], "")?;
        let queues = self.inside(node, &["tc", "qdisc", "show", "dev", "eth0"], "")?;
        Ok(fault::found(&filters, &link, &queues))
    }

    pub(super) fn make(&self, fault: Fault) -> Result<(), LabError> {
        let clusters = self.nodes()?;
        for node in clusters.iter().flatten() {
            if self.found(&node.name)?.contains_key(&fault) {
                return Err(LabError::Broken(fault.name()));
            }
        }
        for (node, change) in fault::changes(fault, &clusters) {
            let changed = self.change(&node, &change);
            if changed.is_err() {
                // A fault that is there in part is worse than none.
                if let Err(left) = self.heal(Some(fault)) {
                    output::say(&left.to_string());
                }
                return changed;
            }
        }
        Ok(())
    }

    fn change(&self, node: &str, change: &Change) -> Result<(), LabError> {
        let mtu = match change {
            Change::Mtu(_) => fault::mtu(&self.inside(node, &["ip", "-details", "link", "show", "dev", "eth0"], "")?),
            _ => None,
        };
        for (command, input) in change.make(mtu)? {
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            self.inside(node, &command, &input)?;
        }
        Ok(())
    }

    pub(super) fn heal(&self, only: Option<Fault>) -> Result<Vec<Fault>, LabError> {
        let mut healed = Vec::new();
        for node in self.nodes()?.iter().flatten() {
            for (fault, change) in self.found(&node.name)? {
                if only.is_some_and(|only| only != fault) {
                    continue;
                }
                for (command, input) in change.undo() {
                    let command: Vec<&str> = command.iter().map(String::as_str).collect();
                    self.inside(&node.name, &command, &input)?;
                }
                healed.push(fault);
            }
        }
        healed.sort_unstable();
        healed.dedup();
        Ok(healed)
    }
}
